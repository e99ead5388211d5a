/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog: everything of a pool's metadata but the pages, wholly in memory.
 *
 * Structs are owned by VvMeta, changed only by applying entries, and read by anybody who holds the read lock
 * (vv_meta_read_lock); pointers are valid until it is released. Ids are a pool's random tag and a counter, never used
 * again. Records and their offset tables: records.c. */
#ifndef VV_CATALOG_H
#define VV_CATALOG_H

#include "segment.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VvMeta VvMeta;

/* id: bits 40-61 the pool's tag, 0-39 the counter. Bits 62 and 63 stay clear (the mount uses them for folders). */
#define VV_ID_TAG_SHIFT 40
#define VV_ID_TAG_BITS 22

typedef struct VvBranch VvBranch;
typedef struct VvLun VvLun;
typedef struct VvSnapshot VvSnapshot;
typedef struct VvSummary VvSummary;

/* A live point that is a frozen epoch. Visible ones are the users' snapshots; hidden ones are kept by branches that hang
 * on them, or (orphan) by opens. */
struct VvSnapshot {
    uint64_t id;
    VvUuid uuid;
    uint64_t lun;          /* whose snapshot it is (was, when hidden) */
    char *name;            /* "" when hidden */
    uint64_t branch;
    uint64_t epoch;
    uint64_t size_bytes;
    uint64_t used_blocks;  /* what it maps */
    uint64_t page_count;   /* pages of the branch in (previous live point, this one] */
    uint64_t created_ns;
    uint64_t mtime_ns;     /* of the LUN at that instant */
    uint64_t keep_until_ns; /* 0 off, UINT64_MAX on, else a date */
    char *note;
    uint8_t kind;          /* VvSnapshotKind */
    uint8_t form;          /* 0: row */
    bool hidden;
    bool orphan;           /* hidden, but somebody has it open */
    GArray *kids;          /* not stored: u64 branch ids whose origin this is */
    /* not stored: meta/summary.c */
    VvSummary *_Atomic summary;
    _Atomic uint64_t searches_in_vain;
};
typedef enum { VV_SNAPSHOT_MANUAL, VV_SNAPSHOT_AUTO, VV_SNAPSHOT_RESTORE } VvSnapshotKind;

struct VvBranch {
    uint64_t id;
    uint64_t family;
    uint64_t origin_snapshot; /* the point it hangs on, 0: none */
    uint64_t epoch;           /* the open one; the head's, if there is a head */
    uint64_t lun;             /* whose head it is, 0: none */
    uint64_t head_page_count; /* pages newer than the last live point */
    GPtrArray *points;        /* not stored: VvSnapshot by epoch */
    GPtrArray *jobs;          /* not stored: VvJob in the order queued */
    bool ending;              /* not stored: guards recursion */
};

typedef enum { VV_ON_FULL_ERROR, VV_ON_FULL_WAIT } VvOnFull;

/* What `lun set` can change. */
typedef struct {
    uint32_t mode; /* permission bits */
    uint32_t uid;
    uint32_t gid;
    bool integrity;
    bool redirect_always;
    uint8_t on_full;
    uint8_t copies;
    uint32_t timeout_s;
    uint64_t keep_until_ns; /* 0 off, UINT64_MAX on, else a date */
} VvLunProps;
/* Which of them an op changes. */
enum {
    VV_LUN_MODE = 1 << 0, VV_LUN_UID = 1 << 1, VV_LUN_GID = 1 << 2, VV_LUN_INTEGRITY = 1 << 3, VV_LUN_REDIRECT = 1 << 4,
    VV_LUN_ON_FULL = 1 << 5, VV_LUN_COPIES = 1 << 6, VV_LUN_TIMEOUT = 1 << 7, VV_LUN_KEEP = 1 << 8,
    VV_LUN_MTIME = 1 << 9, VV_LUN_ATIME = 1 << 10, VV_LUN_ELASTIC = 1 << 11, VV_LUN_ALL = (1 << 12) - 1,
};

struct VvLun {
    uint64_t id;
    VvUuid uuid;
    char *name;            /* "" when orphan */
    uint64_t branch;
    uint64_t size_bytes;
    uint64_t used_blocks;  /* what its head maps */
    uint64_t created_ns;
    uint64_t mtime_ns;
    uint64_t atime_ns;
    uint64_t ctime_ns;
    char *origin;          /* "db@before-upgrade", or "" */
    VvLunProps props;
    bool elastic;          /* made by create(2), not closed yet */
    bool orphan;           /* removed, but open */
    uint32_t restore_count; /* for the names before-restore-N */
    uint64_t sequence;     /* of the newest change that MAP ops brought; its writers' changes are numbered on from it, for ever */
    GPtrArray *snapshots;  /* not stored: visible VvSnapshot by id (the order of creation) */
};

typedef enum { VV_JOB_RECLAIM, VV_JOB_MERGE, VV_JOB_REPACK, VV_JOB_SCRUB } VvJobKind;
typedef enum { VV_JOB_QUEUED, VV_JOB_RUNNING, VV_JOB_PAUSED, VV_JOB_DONE, VV_JOB_FAILED, VV_JOB_CANCELLED } VvJobState;
const char *vv_job_state_name(VvJobState state);

/* Work on a branch's pages (DESIGN R4, R7), continued by RECLAIM ops; the cursor is state. A repack works on a LUN instead, by MOVE
 * and JOB_STEP ops: it has no branch and no epochs, is in no branch's queue (nothing waits for it), its cursor is the next region,
 * its pages are regions; a LUN has at most one, and takes it along. A scrub, of which there is at most one, works on disks by JOB_STEP
 * ops: it has no LUN either; its cursor is a disk's id and a MiB of its data area (0: nothing yet), its pages are MiB of segments,
 * point_epoch counts what it found wrong, above_epoch is its rate in bytes a second (0: as fast as others leave it). */
typedef struct {
    uint64_t id;
    VvJobKind kind;
    VvJobState state;      /* QUEUED, RUNNING or PAUSED; it is gone when done */
    uint64_t branch;
    uint64_t lun;          /* for people: whose removal it serves */
    uint64_t point_epoch;  /* s */
    uint64_t below_epoch;  /* p: newest live epoch below s, 0: none */
    uint64_t above_epoch;  /* n: next live epoch or the head's; 0: none */
    bool newer_side;       /* visits (s, n], else (p, s] */
    uint64_t child;        /* merge: the branch that hangs on s */
    uint64_t cursor_epoch, cursor_region; /* last page visited; epoch UINT64_MAX: none yet */
    uint64_t done_pages, total_pages;
    uint64_t created_ns;
} VvJob;

typedef struct {
    VvUuid uuid;
    char *name;
    uint64_t created_ns;
    uint64_t id_tag;        /* already shifted */
    uint64_t next_counter;
    uint64_t lineage;
    uint64_t incarnation;   /* raised at every start */
    uint64_t opening;       /* drawn at every start: who remembers it knows whether anybody else opened the pool since. 0: never */
    uint64_t opening_before; /* not stored: the one before this start */
    uint64_t applied_index;
    uint64_t member_count;  /* records of table member */
    bool is_cluster;        /* there is a base: base.h */
    GHashTable *settings;   /* text -> text */
} VvPoolInfo;

/* ---- looking: all need the read lock; NULL if there is none. Lists are in the order of creation. */
const VvPoolInfo *vv_meta_pool(const VvMeta *meta);
const VvLun *vv_meta_lun(const VvMeta *meta, uint64_t id); /* orphans too */
const VvLun *vv_meta_lun_by_name(const VvMeta *meta, const char *name);
const VvSnapshot *vv_meta_snapshot(const VvMeta *meta, uint64_t id); /* hidden ones too */
const VvSnapshot *vv_meta_snapshot_by_name(const VvMeta *meta, const VvLun *lun, const char *name);
const VvDiskSet *vv_meta_lun_disks(const VvMeta *meta, const VvLun *lun); /* its family's; NULL: any disk */
const VvBranch *vv_meta_branch(const VvMeta *meta, uint64_t id);
const VvFamily *vv_meta_family(const VvMeta *meta, uint64_t id);
const VvSegment *vv_meta_segment(const VvMeta *meta, uint64_t family, uint32_t number);
const VvDiskInfo *vv_meta_disk(const VvMeta *meta, uint64_t id);
const VvJob *vv_meta_job(const VvMeta *meta, uint64_t id);
GPtrArray *vv_meta_luns(const VvMeta *meta);      /* VvLun, no orphans; borrowed */
GPtrArray *vv_meta_disks(const VvMeta *meta);     /* VvDiskInfo */
GPtrArray *vv_meta_jobs(const VvMeta *meta);      /* VvJob */
GPtrArray *vv_meta_families(const VvMeta *meta);  /* VvFamily */
GPtrArray *vv_meta_orphan_luns(const VvMeta *meta);
GPtrArray *vv_meta_orphan_snapshots(const VvMeta *meta);
/* The newest live frozen epoch of the branch, 0: none (epochs start at 1). */
uint64_t vv_branch_last_live(const VvBranch *branch);

#endif
