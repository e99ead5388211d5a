/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The insides of VvMeta, for the files of meta/ alone.
 *
 * State (catalog, overlay, space pieces) is guarded by meta->lock; functions named vvm_* that change it need the write
 * lock, those that look need the read lock. */
#ifndef VV_META_PRIVATE_H
#define VV_META_PRIVATE_H

#include "meta.h"
#include "overlay.h"
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- space: pieces of free bitmaps in memory */
typedef struct {
    uint64_t family;
    uint32_t segment;
    uint32_t piece;
    bool dirty;
    uint64_t bits[VV_PIECE_BYTES / 8]; /* 1 = free */
} VvPiece;

/* Which record differs from the checkpoint's. */
typedef struct {
    VvTable table;
    uint64_t a, b;
} VvDirtyKey;

/* What a checkpoint writes: made under the write lock, written without it, kept until it has been written. */
typedef struct {
    uint64_t index;
    GPtrArray *records; /* of VvBatchRecord */
} VvBatch;

struct VvMeta {
    char *directory;
    bool read_only;
    VvStore *store;
    VvJournal *journal; struct VvMetaCluster *cluster; /* NULL: a pool of one node; base.c */
    const VvMetaHooks *hooks; /* NULL in replay */
    void *hooks_user;

    pthread_mutex_t log_lock; GByteArray *log_body; /* calls into the journal that write; the entry of such a call */
    pthread_mutex_t turnstile; /* before lock: writers hold it while they wait, so that who reads slice upon slice lets them in */
    pthread_rwlock_t lock;
    /* all below: lock */
    VvPoolInfo pool;
    uint64_t next_job;
    GHashTable *luns, *lun_names;           /* id -> VvLun (orphans too), name -> VvLun */
    GHashTable *snapshots, *snapshot_names; /* id -> VvSnapshot; "lun id/name" -> VvSnapshot */
    GHashTable *branches, *families, *disks, *jobs;
    GPtrArray *lun_list, *disk_list, *job_list, *family_list, *orphan_luns, *orphan_snapshots, *members;
    GHashTable *requests;                   /* id -> VvRequestRecord */
    GQueue request_queue, mount_requests;   /* VvRequestRecord, oldest first; the mount's own apart */
    VvSet pieces;                           /* VvPiece as its own key */
    VvSet dirty;                            /* of VvDirtyKey */
    VvOverlay filling, writing;
    VvBatch *batch;                         /* not NULL: writing is what it holds */
    uint64_t checkpoint_index;              /* what the store holds */
    uint64_t total_used_blocks, total_held_blocks;
    _Atomic size_t summary_bytes;           /* what all summaries take */
    bool ignore_summaries;                  /* tests: search everywhere, make none */
    VvStoreRead *apply_read;                /* the applier's transaction while an entry is applied */
    struct { uint64_t family; uint32_t segment, first, count; } freed; /* run not told to the hook yet */

    pthread_mutex_t id_lock; uint64_t reserved_counter; /* ids handed out, applied or not */
    char *_Atomic failure; _Atomic bool cramped; _Atomic uint64_t room_bytes, used_bytes, beyond_bytes; /* room.c */ _Atomic uint64_t reclaim_ns; /* reclaim.c */
};

typedef struct {
    uint64_t time_ns;
    char *id;
    char *result;
} VvRequestRecord;

typedef struct {
    VvTable table;
    bool remove;
    uint16_t key_bytes;
    uint32_t value_bytes;
    uint8_t data[]; /* key, then value */
} VvBatchRecord;

#include "records.h"

/* ---- catalog.c */
void vvm_catalog_init(VvMeta *meta);
void vvm_catalog_clear(VvMeta *meta);
/* Fill the empty catalog from the store. */
bool vvm_catalog_load(VvMeta *meta, GError **error);
void vvm_dirty(VvMeta *meta, VvTable table, uint64_t a, uint64_t b);
/* Record of a dirty key; false: it is to be deleted. LUNs and snapshots: also which of two tables it is in now. */
bool vvm_record_encode(VvMeta *meta, const VvDirtyKey *key, GByteArray *out);
void vvm_lun_add(VvMeta *meta, VvLun *lun);
void vvm_lun_unname(VvMeta *meta, VvLun *lun); /* out of names and lists */
/* Removed but open: hidden (a snapshot: and kept only while @orphan or branches hang on it). */
void vvm_lun_make_orphan(VvMeta *meta, VvLun *lun);
void vvm_snapshot_hide(VvMeta *meta, VvSnapshot *snapshot, bool orphan);
void vvm_lun_delete(VvMeta *meta, VvLun *lun);
void vvm_snapshot_add(VvMeta *meta, VvSnapshot *snapshot);
void vvm_snapshot_unname(VvMeta *meta, VvSnapshot *snapshot);
void vvm_snapshot_rename(VvMeta *meta, VvSnapshot *snapshot, const char *name);
void vvm_snapshot_delete(VvMeta *meta, VvSnapshot *snapshot);
void vvm_branch_add(VvMeta *meta, VvBranch *branch);
void vvm_branch_delete(VvMeta *meta, VvBranch *branch);
bool vvm_disks_exist(const VvMeta *meta, const VvDiskSet *disks); /* all of them */
void vvm_family_add(VvMeta *meta, VvFamily *family);
void vvm_family_delete(VvMeta *meta, VvFamily *family);
void vvm_segment_add(VvMeta *meta, VvFamily *family, VvSegment *segment);
void vvm_disk_add(VvMeta *meta, VvDiskInfo *disk);
void vvm_disk_delete(VvMeta *meta, VvDiskInfo *disk);
void vvm_disk_resize(VvDiskInfo *disk, uint64_t size_bytes);
void vvm_job_add(VvMeta *meta, VvJob *job);
void vvm_job_delete(VvMeta *meta, VvJob *job);
void vvm_request_add(VvMeta *meta, VvRequestRecord *request);
VvSnapshot *vvm_branch_last_point(const VvBranch *branch); /* NULL: none */
VvSnapshot *vvm_branch_first_point(const VvBranch *branch);
VvSnapshot *vvm_branch_point_below(const VvBranch *branch, uint64_t epoch); /* newest with an epoch below */
VvSnapshot *vvm_branch_point_above(const VvBranch *branch, uint64_t epoch);

/* ---- map.c */
typedef struct {
    VvPageKey key;
    const uint8_t *bytes; /* borrowed from overlay or read */
    size_t length_bytes;
} VvVersion;
/* In one branch: newest at or below, oldest at or above. 0, -ENODATA, or the store's error. */
int vvm_version_at_or_below(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, VvVersion *ret);
int vvm_version_at_or_above(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, VvVersion *ret);
/* Through origins; @below: strictly below @epoch. */
int vvm_version_find(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, bool below, VvVersion *ret);
/* The first page of the index at or after @from (branch, epoch, region) within its branch. */
int vvm_index_next(VvMeta *meta, VvStoreRead *read, const VvPageKey *from, VvPageKey *ret_key);
/* The least region at or after @region of which the branch itself has a page. */
int vvm_next_region(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t *ret_region);
/* Write lock, meta->apply_read open. @fresh: no page has this key yet. */
int vvm_page_put(VvMeta *meta, const VvPageKey *key, const VvPage *page, bool fresh);
int vvm_page_remove(VvMeta *meta, const VvPageKey *key);
/* Put, or (R6) remove if it is empty and hides nothing. */
int vvm_page_store(VvMeta *meta, const VvPageKey *key, const VvPage *page, bool fresh);
/* One region's changes at apply (R1, R2, R6); its moves (move.c). */
int vvm_map_edit(VvMeta *meta, VvLun *lun, const VvMapChange *changes, unsigned count, const uint32_t *sums);
int vvm_move(VvMeta *meta, const VvOp *op);

/* ---- summary.c: which regions a chain of origins need not be searched for */
/* May the point's branch hold a version of @region at or below the point's epoch? Read lock. */
bool vvm_summary_may_hold(const VvMeta *meta, const VvSnapshot *point, uint64_t region);
/* Such a version was searched for and not found: perhaps make the summary. Read lock. */
void vvm_summary_missed(VvMeta *meta, VvStoreRead *read, const VvBranch *branch, VvSnapshot *point);
/* The point goes, or the summary is not worth keeping. Write lock. */
void vvm_summary_drop(VvMeta *meta, VvSnapshot *point);
/* A page is put under @key, of @branch. Write lock. */
void vvm_summary_put(VvMeta *meta, const VvBranch *branch, const VvPageKey *key);
/* For check: do all summaries that must hold this page's region hold it? */
bool vvm_summaries_hold(const VvBranch *branch, const VvPageKey *key);

/* ---- space.c */
int vvm_space_use(VvMeta *meta, VvFamily *family, VvPlace place, unsigned count);
int vvm_space_release(VvMeta *meta, VvFamily *family, VvPlace place);
void vvm_space_tell_freed(VvMeta *meta);
int vvm_space_grant(VvMeta *meta, const VvSegment *wanted);
int vvm_space_shrink(VvMeta *meta, uint64_t family, uint32_t number, uint8_t shift);
guint vvm_piece_hash(gconstpointer key);
gboolean vvm_piece_equal(gconstpointer a, gconstpointer b);
/* Loaded, or from the store; NULL with *ret_error 0: all used. Write lock. */
VvPiece *vvm_piece(VvMeta *meta, VvStoreRead *read, uint64_t family, uint32_t segment, uint32_t piece, bool create, int *ret_error);
void vvm_pieces_trim(VvMeta *meta);
bool vvm_units_take(VvDiskInfo *disk, uint32_t unit, uint32_t count);
void vvm_units_give(VvDiskInfo *disk, uint32_t unit, uint32_t count);

/* ---- points.c: what is live */
/* The holders of @point shrank, or it became the last of its branch. */
int vvm_point_settle(VvMeta *meta, VvSnapshot *point, uint64_t lun, uint64_t time_ns);
int vvm_branch_drop_head(VvMeta *meta, VvBranch *branch, uint64_t lun, uint64_t time_ns);
int vvm_branch_end(VvMeta *meta, VvBranch *branch, uint64_t time_ns);
VvBranch *vvm_branch_hang(VvMeta *meta, VvSnapshot *point, uint64_t id, uint64_t lun);
/* ---- reclaim.c */
int vvm_reclaim(VvMeta *meta, uint64_t branch, uint32_t count);

/* ---- meta.c: the write lock, and the read lock for who takes it again and again; one that is empty, without store and journal */
VvMeta *vvm_new(const char *directory, bool read_only);
void vvm_write_lock(VvMeta *meta);
void vvm_write_unlock(VvMeta *meta);
void vvm_slice_lock(VvMeta *meta); /* unlock: vv_meta_read_unlock */

/* ---- checkpoint.c */
void vvm_batch_free(VvBatch *batch);
/* room.c: after a checkpoint with @result, or when the store was opened; 0, -ENOSPC: not all of it is there; -errno. */
int vvm_room_update(VvMeta *meta, int result);
bool vvm_room_is_short(VvMeta *meta); /* for what is filling: a checkpoint is due. Read lock. */

/* ---- apply.c */
int vvm_apply_op(VvMeta *meta, const VvOp *op);
/* Damage found while applying: remembered for the message; returns -EUCLEAN. */
int vvm_damaged(VvMeta *meta, const char *format, ...) G_GNUC_PRINTF(2, 3);
void vvm_fail(VvMeta *meta, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
