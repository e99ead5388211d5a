/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ops: what journal entries say. An entry is a list of ops, applied in order, all or nothing. They name everything that
 * a decision chose (ids, UUIDs, times, places), so that applying them is a deterministic function of the state (I5). */
#ifndef VV_OPS_H
#define VV_OPS_H

#include "catalog.h"
#include "page.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    VV_OP_NOOP = 0,
    VV_OP_POOL_SET = 1,
    VV_OP_DISK_ADD = 2,
    VV_OP_DISK_SET = 3,
    VV_OP_DISK_REMOVE = 4,
    VV_OP_SEGMENT_GRANT = 5,
    VV_OP_SEGMENT_SHRINK = 6, /* to half, or away */
    VV_OP_LUN_CREATE = 7,
    VV_OP_LUN_SET = 8,
    VV_OP_LUN_RENAME = 9,
    VV_OP_LUN_SIZE = 10,      /* shrinking needs the tail discarded by MAP ops before */
    VV_OP_LUN_REMOVE = 11,    /* its snapshots by SNAPSHOT_REMOVE ops before */
    VV_OP_MAP = 12,
    VV_OP_SNAPSHOT_CREATE = 13,
    VV_OP_SNAPSHOT_SET = 14,
    VV_OP_SNAPSHOT_RENAME = 15,
    VV_OP_SNAPSHOT_REMOVE = 16,
    VV_OP_CLONE = 17,
    VV_OP_RESTORE = 18,
    VV_OP_ADOPT = 19,         /* copy_file_range into an empty LUN: it becomes a clone of a snapshot or of a LUN's head */
    VV_OP_PURGE = 20,         /* an orphan was closed for the last time */
    VV_OP_RECLAIM = 21,
    VV_OP_JOB_SET = 22,
    VV_OP_REQUEST = 23,       /* remember a request id and its result */
    VV_OP_MOVE = 24,          /* a region's blocks to other places that hold the same bytes: move.c */
    VV_OP_JOB_ADD = 25,       /* a job that is not made by a removal; it gets its number at apply */
    VV_OP_JOB_STEP = 26,      /* how far it is; nothing if it has ended */
    VV_OP_MEMBER_SET = 27,    /* a record of table member: member_table.h */
    VV_N_OPS,
} VvOpKind;

/* One run of blocks of a region that is now somewhere else, or (place 0) nowhere. */
typedef struct {
    uint64_t region;
    VvPlace place; /* of the first block; own is implied */
    uint8_t first;
    uint16_t count; /* 1 to 256 */
    uint32_t sums;  /* 0: without checksums; else one more than the index of the first block's among the op's */
} VvMapChange;

/* One run of blocks of a region, from where they are to where their copy is. Runs ascend and do not overlap. */
typedef struct {
    VvPlace from, to; /* of the first block */
    uint8_t first;
    uint16_t count; /* 1 to 256 */
} VvMoveRun;

/* Strings and arrays are owned by the op. */
typedef struct {
    VvOpKind kind;
    union {
        struct { char *key; char *value; } pool_set;
        struct { uint64_t id; VvUuid uuid; char *name; char *path; uint64_t size_bytes; uint64_t created_ns; } disk_add;
        struct { uint64_t id; uint64_t size_bytes; uint64_t incarnation; uint8_t state; char *name; char *path; } disk_set; /* whole new values */
        struct { uint64_t id; } disk_remove; /* must hold no segment */
        struct { uint64_t family; uint32_t number; uint8_t kind; uint8_t shift; uint8_t copy_count; VvCopy copies[VV_SEGMENT_COPIES_MAX]; } segment_grant;
        struct { uint64_t family; uint32_t number; uint8_t shift; } segment_shrink; /* new shift; 0: gone */
        struct { uint64_t id; VvUuid uuid; char *name; uint64_t size_bytes; uint64_t branch; uint64_t family; VvLunProps props; bool elastic; uint64_t created_ns;
                 VvDiskSet *disks; /* the family's; NULL: any */ } lun_create; /* makes family and branch */
        struct { uint64_t id; uint32_t mask; VvLunProps props; uint64_t mtime_ns; uint64_t atime_ns; uint64_t ctime_ns; bool elastic; } lun_set;
        struct { uint64_t id; char *name; uint64_t ctime_ns; } lun_rename;
        struct { uint64_t id; uint64_t size_bytes; uint64_t mtime_ns; } lun_size;
        struct { uint64_t id; bool orphan; uint64_t time_ns; } lun_remove; /* orphan: keep it for its opens */
        struct { uint64_t lun; uint64_t session; uint64_t sequence; uint64_t mtime_ns; uint64_t size_bytes; /* elastic growth; UINT64_MAX: as it is */
                 VvMapChange *changes; uint32_t change_count; uint32_t *sums; uint32_t sum_count; /* crc32c of blocks */ } map; /* in order; at most VV_ENTRY_REGIONS_MAX regions */
        struct { uint64_t id; VvUuid uuid; uint64_t lun; char *name; uint8_t kind; uint8_t form; uint64_t created_ns; uint64_t keep_until_ns; char *note; } snapshot_create;
        struct { uint64_t id; uint64_t keep_until_ns; char *note; } snapshot_set; /* whole new values */
        struct { uint64_t id; char *name; } snapshot_rename;
        struct { uint64_t id; bool orphan; uint64_t time_ns; } snapshot_remove;
        struct { uint64_t snapshot; uint64_t id; VvUuid uuid; char *name; uint64_t branch; VvLunProps props; char *origin; uint64_t created_ns; } clone;
        struct { uint64_t lun; uint64_t snapshot; uint64_t branch; uint64_t time_ns; char *origin; bool count_restore; } restore;
        struct { uint64_t lun; uint64_t snapshot; uint64_t branch; uint64_t size_bytes; char *origin; uint64_t time_ns; } adopt; /* @lun must map nothing and have no snapshots; takes @snapshot's family; @size_bytes is its new size */
        struct { bool snapshot; uint64_t id; uint64_t time_ns; } purge;
        struct { uint64_t branch; uint32_t count; } reclaim; /* at most this many page visits of the branch's first jobs */
        struct { uint64_t id; uint8_t state; } job_set; /* paused, queued; a repack also done, cancelled: it goes */
        struct { uint64_t family; uint64_t lun; uint64_t branch; uint64_t region; VvMoveRun *runs; uint32_t run_count; } move; /* as @lun's head on @branch maps it */
        struct { uint8_t kind; uint64_t lun; uint64_t total; uint64_t created_ns; uint64_t rate_bytes; /* scrub */ } job_add; /* a repack, not if the LUN has one; or a scrub, not if there is one */
        struct { uint64_t id; uint64_t cursor; uint64_t done; uint64_t total; bool scrub; uint64_t disk, errors; /* scrub */ } job_step;
        struct { uint64_t time_ns; char *id; char *result; } request; /* JSON text */
        struct { uint8_t kind; uint64_t id; uint8_t *body; uint32_t body_bytes; } member_set; /* without body: it goes */
    };
} VvOp;

void vv_op_clear(VvOp *op);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvOp, vv_op_clear)

/* An entry being built: owns its ops. */
typedef GArray VvOps; /* of VvOp, cleared with it */
VvOps *vv_ops_new(void);
/* Appends a zeroed op of @kind; the pointer is valid until the next add. */
VvOp *vv_ops_add(VvOps *ops, VvOpKind kind);
static inline VvOp *vv_ops_get(const VvOps *ops, unsigned i) { return &g_array_index((GArray *) ops, VvOp, i); }
static inline void vv_ops_free(VvOps *ops) { g_array_unref(ops); }

/* Entry bodies. encode: the whole list. decode: 0, -EUCLEAN (bad bytes), -EOPNOTSUPP (an op of a newer version). */
void vv_ops_encode(const VvOps *ops, GByteArray *out);
int vv_ops_decode(const uint8_t *body, size_t length_bytes, VvOps **ret_ops);

#endif
