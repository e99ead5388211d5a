/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views with what is pending, parked and locked in them; gates. For src/engine: see engine.h. */
#ifndef VV_VIEW_H
#define VV_VIEW_H

#include "io.h"
#include "meta.h"
#include "pool.h"

#include <pthread.h>

/* ---- pending: acknowledged, not applied. Per view, guarded by its lock. */
typedef struct { /* one change in the order acknowledged; pending_file.h holds the same */
    uint64_t sequence; /* 1, 2, 3 ... per LUN, for ever */
    uint64_t region;
    VvPlace place;     /* 0: discarded */
    uint32_t tag;      /* which side of the last switch */
    uint32_t slot;     /* in pool->pending_file; VV_NO_SLOT */
    uint16_t count;
    uint8_t first;
    uint32_t *sums;    /* of its blocks; NULL: without. Owned by the ring that it is in */
} VvRecord;
typedef struct { /* a growing queue of them, in blocks */
    VvRecord **blocks; /* owned, as they are; a ring */
    size_t first_block, block_count, capacity; /* of the ring of pointers, in blocks; the last a power of two */
    size_t first, count; /* place of the first record in the first block; records */
} VvRecordRing;
#define VV_RECORDS_PER_BLOCK 128u
typedef struct VvPendingRegion VvPendingRegion; /* the look-up form of one region with pending: pending.h */
typedef struct {
    VvPendingRegion **buckets; /* by region; owned */
    unsigned bucket_count, region_count;
    VvPendingRegion *spare;    /* emptied ones, a bounded number */
    unsigned spare_count;
    int64_t used_delta;        /* blocks that pending adds to the applied count */
} VvPending;

/* ---- handles */
struct VvHandle {
    VvView *view; /* holds a reference */
    bool write;
    bool internal;
    uint64_t elsewhere; /* its number for who asks the node that has the disks: elsewhere.h */
    pid_t pid;
    uint64_t node; /* 0: this one */
    uint64_t opened_ns;
    _Atomic bool revoked; /* set with view->lock, never taken back: sharing.h, H4 */
};

/* ---- lists of requests: see io_state.h */
struct VvIoState;
typedef struct VvBlockLock VvBlockLock;
#define VV_LOCK_BUCKETS 32u
typedef struct { struct VvIoState *first, *last; } VvIoList;
typedef struct { VvBlockLock *first, *last; } VvBlockLockList;
/* What a view wrote to a disk. */
typedef struct { unsigned slot; uint64_t written, synced; } VvDiskMark;
typedef struct VvMoving VvMoving; /* moving.h */
struct VvViewSlots; /* both: pending_slots.h */
struct VvRetired;

/* ---- view */
struct VvView {
    VvPool *pool;
    uint64_t id;
    bool is_lun;
    gint refs;              /* atomic; handles and requests of the engine itself. pool->views_lock at 1 -> 0 */

    pthread_mutex_t lock;
    /* all below: lock */
    uint64_t branch;
    uint64_t epoch;         /* UINT64_MAX for a head */
    uint64_t family;
    uint64_t size_bytes;
    uint64_t mtime_ns;
    bool mtime_dirty;
    bool elastic;
    bool tail_behind;       /* an adopted map goes on behind the end. A write that extends the LUN must not bring it to light:
                             * admission parks it as for a gate and calls vv_pool_object_closed, which cuts the tail and wakes it */
    bool gone;              /* purged or pool closing: everything answers -ESTALE */
    bool redirect_always;   /* also if integrity */
    bool integrity;         /* what is written gets checksums */
    uint8_t on_full;
    uint32_t timeout_s;
    GQueue handles;         /* VvHandle */

    /* of a pool whose data is elsewhere: size, mtime and this are what answers tell. elsewhere.c */
    uint64_t learnt;        /* the newest of them, by the index of the server's map; 0: none yet */
    uint64_t learnt_used_bytes;
    uint64_t resized;       /* index of the last entry here that gave it another size or content: older answers do not count */

    /* gates: a set of quiesce ids (DESIGN section 6); here a count suffices since ids never leave this node */
    unsigned write_gates, read_gates;
    unsigned writes_in_flight, reads_in_flight;
    pthread_cond_t drained; /* signalled when an in-flight count reaches 0 under a gate */

    /* snapshot switching */
    uint64_t last_live;     /* newest live frozen epoch of the branch, as applied */
    uint64_t switched_epoch; /* frozen in memory, not applied yet; 0: none. Pages at or below max(both), unless 0, are not the head's */
    uint32_t tag;           /* pending blocks with another tag are not overwritten in place */
    uint64_t commit_limit;  /* records above it are not journalled yet; UINT64_MAX: no limit */
    uint64_t limit_size_bytes, limit_mtime_ns; /* size and mtime at that record, while there is a limit */

    /* pending */
    VvPending pending;
    VvRecordRing records;   /* ascending, not applied yet */
    struct VvViewSlots *slots; /* in pool->pending_file, while something is pending: pending_slots.h */
    uint64_t pending_memory; /* its part of pool->pending_memory */
    uint64_t next_sequence, applied_sequence;
    uint64_t logged_sequence; /* the committer's: in the journal, perhaps not applied */
    uint64_t size_sequence; /* an elastic growth was acknowledged at this sequence */
    uint64_t pending_since_ms; /* of the oldest record, dirty mtime or unsynced write; 0: none. Holds a reference while it is set */
    bool committing;        /* background journalling of it is under way */

    /* disks written since: per disk slot, counts of completed writes and what a completed ticket covers */
    GArray *disk_marks;     /* of VvDiskMark */

    /* block locks and parked requests: lock.c, park.c */
    VvBlockLockList block_locks[VV_LOCK_BUCKETS]; /* by region: held and waited for, in order of arrival */
    VvIoList parked;        /* waiting for gate, block lock, space or journal */
    VvPlace alloc_hint;     /* behind the last allocation */
    VvMoving *moving;       /* repacking has marked regions; the mover's. NULL: none */
    uint32_t scattered_reads; /* large ones that fell apart, for repacking; atomic, without lock */
    VvOpStat stats[VV_N_STATS];
};
/* May this block be overwritten where it is? The one decider. @place and @key are what the look-up (applied) found.
 * view->lock held. */
bool vv_may_write_in_place(const VvView *view, const VvPageKey *key, VvPlace place);

/* Find or make the view of an object (ref taken); -ENOENT; -EREMOTE: the disks are another node's, and not asked for. Control threads. */
int vv_view_get(VvPool *pool, uint64_t object_id, VvView **ret_view);
void vv_view_unref(VvView *view);

/* ---- gates, for transactions (config_*.c). Control threads. */
/* Close (a ref-count), wait until nothing of that kind is in flight (writes: and discards, read-modify-writes). False after
 * @timeout_ms: still closed; open it again. Requests parked for space, or for this gate, are not in flight. */
bool vv_gate_close(VvView *view, bool reads_too, unsigned timeout_ms);
void vv_gate_open(VvView *view, bool reads_too);
/* Gate closed and drained: freeze @epoch (the branch's open one) in memory: tag + 1, switched_epoch = @epoch, commit_limit = last record. */
void vv_view_switch(VvView *view, uint64_t epoch);
/* The entry was applied (or given up): switched_epoch = 0, last_live from the catalog, no limit; committer is kicked. */
void vv_view_switched(VvView *view);
/* Re-read branch, epoch, size, props, last_live ... from the catalog (restore, resize, set, adopt). */
void vv_view_reload(VvView *view);
/* Bring requests parked for a gate or for space back (they are admitted anew). */
void vv_view_wake(VvView *view);
/* Everything parked, on all views, ends with -EIO (what vv_pool_abort_waiting does after setting abort_waiting), or -EIO because
 * the pool failed. [any] */
void vv_views_abort_waiting(VvPool *pool);
/* A reference if the view exists already, else NULL. [any] */
VvView *vv_view_peek(VvPool *pool, uint64_t object_id);
/* References to all views, to look at without views_lock. [any] */
typedef struct { unsigned len; VvView *at[]; } VvViewList;
VvViewList *vv_views_all(VvPool *pool);
void vv_view_list_free(VvViewList *views);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvViewList, vv_view_list_free)
/* Everything acknowledged before the call is on the disks (tickets only). Blocking. */
int vv_view_sync_disks(VvView *view);

#endif
