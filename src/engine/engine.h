/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's own structs: who owns what, what guards what, and in which order locks are taken. Only files of src/engine
 * include this.
 *
 * Locks, in order (take only to the right of what you hold; none is held across I/O or a callback to another layer):
 *   pool->config_lock > pool->grant_lock > meta read/write lock > pool->views_lock > view->lock > cache stripe >
 *   alloc->lock > leaf locks (committer queue, segment table, stats, events, disk table). Hooks of meta run with its write
 *   lock held.
 *
 * One write: vv_io_submit -> admit (gate, size, block lock; in flight, era) -> look up (pending, page cache; on a miss the
 * look-up helper) -> decide per block (may_write_in_place) -> read old parts of partial blocks -> allocate -> disk writes
 * -> publish in pending (records), leave era, unlock blocks, wake waiters -> done.
 * One flush: tickets of the disks this view wrote -> committer if the view has records up to now -> journal sync, apply,
 * pending dropped -> done.
 * One snapshot: flush; gates closed; drained; switched (tag + 1, floor = E, commit limit = last record); gates opened; tickets;
 * committer {records up to the limit, SNAPSHOT_CREATE} as one batch; limit lifted.
 * One crash: nothing here survives; the journal's entries do, and every flush that was answered is in them. */
#ifndef VV_ENGINE_H
#define VV_ENGINE_H

#include "io.h"
#include "meta.h"
#include "pool.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- resolver (DESIGN section 10): places to disks. Loops over runs even when there is one. */
typedef enum { VV_FOR_READ, VV_FOR_WRITE, VV_FOR_SYNC, VV_FOR_DISCARD } VvPurpose;
typedef struct {
    VvDisk *disk; /* borrowed; disks leave only when they hold no segment */
    unsigned disk_slot; /* index in pool->disks, bit in disk sets */
    uint64_t offset_bytes;
    uint32_t length_bytes;
} VvRun;
/* @ret_runs has room for VV_SEGMENT_COPIES_MAX. Returns the count (copies for WRITE, one for READ), or -EUCLEAN if the
 * segment is unknown. Source: a table of segments that the engine keeps from meta's hooks; takes a leaf lock. */
int vv_resolve(VvPool *pool, uint64_t family, uint32_t segment, uint32_t block, uint32_t count_blocks, VvPurpose purpose,
               VvRun *ret_runs);
typedef struct VvSegmentTable VvSegmentTable;
/* Of all segments in the catalog: when the disks are open, before the first request. Takes the read lock. */
VvSegmentTable *vv_segments_new(VvPool *pool);
void vv_segments_free(VvSegmentTable *table);
/* From meta's hooks. */
void vv_segments_granted(VvPool *pool, const VvSegment *segment);
void vv_segments_shrunk(VvPool *pool, const VvSegment *segment, uint8_t old_shift);

/* ---- eras (I4): every request that may use a place enters before its look-up and leaves after its last disk I/O */
#define VV_ERAS 8u
typedef struct VvEras VvEras;
VvEras *vv_eras_new(void);
void vv_eras_free(VvEras *eras);
uint32_t vv_era_enter(VvPool *pool);             /* returns the slot to leave */
void vv_era_leave(VvPool *pool, uint32_t slot);  /* any thread */
/* A tag for what was freed now, and whether everything that began before that tag has ended. */
uint64_t vv_era_tag(VvPool *pool);
bool vv_era_passed(VvPool *pool, uint64_t tag);

/* ---- page cache: what views see, in stored form, striped; a bounded number of bytes (VV_PAGE_CACHE_BYTES)
 * Key: (branch, epoch or UINT64_MAX for the head, region). */
typedef struct VvPageCache VvPageCache;
typedef struct { bool present; VvPageKey key; uint64_t family; } VvCachedPage; /* present false: no version, all holes */
VvPageCache *vv_page_cache_new(uint64_t bytes_max);
void vv_page_cache_free(VvPageCache *cache);
/* Copies places of blocks [first, first + count) into @ret_places. False: a miss. */
bool vv_page_cache_get(VvPageCache *cache, uint64_t branch, uint64_t epoch, uint64_t region, unsigned first, unsigned count,
                       VvCachedPage *ret_info, VvPlace *ret_places);
/* A look-up for a later put: remember the stripe's version first; put does nothing if an invalidation came between. */
uint64_t vv_page_cache_version(VvPageCache *cache, uint64_t branch, uint64_t region);
void vv_page_cache_put(VvPageCache *cache, uint64_t version, uint64_t branch, uint64_t epoch, uint64_t region,
                       const VvCachedPage *info, const VvPage *page);
void vv_page_cache_invalidate(VvPageCache *cache, uint64_t branch, uint64_t region); /* all epochs: same stripe */

/* ---- pending: acknowledged, not applied. Per view, guarded by its lock. */
typedef struct { /* one change in the order acknowledged; the ring in issue 4's memfd will hold the same */
    uint64_t sequence; /* 1, 2, 3 ... per view */
    uint64_t region;
    VvPlace place;     /* 0: discarded */
    uint32_t tag;      /* which side of the last switch */
    uint16_t count;
    uint8_t first;
} VvRecord;
typedef struct { /* a growing ring of them */
    VvRecord *records; /* owned */
    size_t first, count, capacity;
} VvRecordRing;
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
    pid_t pid;
    uint64_t opened_ns;
};

/* ---- lists of requests: see io_state.h */
struct VvIoState;
typedef struct VvBlockLock VvBlockLock;
#define VV_LOCK_BUCKETS 32u
typedef struct { struct VvIoState *first, *last; } VvIoList;
typedef struct { VvBlockLock *first, *last; } VvBlockLockList;
/* What a view wrote to a disk. */
typedef struct { unsigned slot; uint64_t written, synced; } VvDiskMark;

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
    bool redirect_always;
    uint8_t on_full;
    uint32_t timeout_s;
    GQueue handles;         /* VvHandle */

    /* gates: a set of quiesce ids (DESIGN section 6); here a count suffices since ids never leave this node */
    unsigned write_gates, read_gates;
    unsigned writes_in_flight, reads_in_flight;
    pthread_cond_t drained; /* signalled when an in-flight count reaches 0 under a gate */

    /* snapshot switching */
    uint64_t last_live;     /* newest live frozen epoch of the branch, as applied */
    uint64_t switched_epoch; /* frozen in memory, not applied yet; 0: none. Pages at or below max(both) are not the head's */
    uint32_t tag;           /* pending blocks with another tag are not overwritten in place */
    uint64_t commit_limit;  /* records above it are not journalled yet; UINT64_MAX: no limit */
    uint64_t limit_size_bytes, limit_mtime_ns; /* size and mtime at that record, while there is a limit */

    /* pending */
    VvPending pending;
    VvRecordRing records;   /* ascending, not applied yet */
    uint64_t next_sequence, applied_sequence;
    uint64_t logged_sequence; /* the committer's: in the journal, perhaps not applied */
    uint64_t size_sequence; /* an elastic growth was acknowledged at this sequence */
    uint64_t pending_since_ms; /* of the oldest record or dirty mtime; 0: none. Holds a reference while it is set */
    bool committing;        /* background journalling of it is under way */

    /* disks written since: per disk slot, counts of completed writes and what a completed ticket covers */
    GArray *disk_marks;     /* of VvDiskMark */

    /* block locks and parked requests: lock.c, park.c */
    VvBlockLockList block_locks[VV_LOCK_BUCKETS]; /* by region: held and waited for, in order of arrival */
    VvIoList parked;        /* waiting for gate, block lock or space */
    VvPlace alloc_hint;     /* behind the last allocation */
    VvOpStat stats[VV_N_STATS];
};
/* May this block be overwritten where it is? The one decider. @place and @key are what the look-up (applied) found.
 * view->lock held. */
bool vv_may_write_in_place(const VvView *view, const VvPageKey *key, VvPlace place);

/* Find or make the view of an object (ref taken); -ENOENT. Control threads. */
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
/* References to all views, to look at without views_lock: of VvView, with free function. [any] */
GPtrArray *vv_views_all(VvPool *pool);
/* Everything acknowledged before the call is on the disks (tickets only). Blocking. */
int vv_view_sync_disks(VvView *view);

/* ---- allocator: inside the family's segments; the bitmap "not available" = applied | reserved | cooling */
typedef struct VvAlloc VvAlloc;
#define VV_GRANTS_PER_ENTRY_MAX 16u
VvAlloc *vv_alloc_new(VvPool *pool);
void vv_alloc_free(VvAlloc *alloc);
/* Up to @want blocks near @hint (a place, 0: none) as runs that never cross a segment; at most @runs_max. Returns blocks got
 * (0: none now). Asks the committer for a grant when the family runs low. Any thread. */
typedef struct { VvPlace place; uint32_t count; } VvAllocRun;
uint32_t vv_alloc_blocks(VvAlloc *alloc, uint64_t family, uint32_t want, VvPlace hint, VvAllocRun *ret_runs, unsigned runs_max,
                         unsigned *ret_run_count);
/* Blocks that were allocated and never published (a failed write): usable again after their era. */
void vv_alloc_give_back(VvAlloc *alloc, uint64_t family, VvPlace place, uint32_t count);
/* A request of the family that wants so many blocks is parked for space: find some, or tell it that there is none (alloc_space.c). */
void vv_alloc_want(VvAlloc *alloc, uint64_t family, uint32_t blocks);
/* A grant for anybody who builds an entry. Begin (zeroed) with the first vv_grant_add, which takes pool->grant_lock, because where
 * space is free is known only when the entry before is applied; vv_grants_end, when the entry was applied or given up, releases it.
 * Adds one SEGMENT_GRANT of at most 1 << @shift bytes (smaller if the pool is low or cut up); false: no space at all. @family may
 * be made by the same entry: then its first @number is 0. Waits for returned space to be punched. Takes the read lock. */
typedef struct { VvCopy copies[VV_GRANTS_PER_ENTRY_MAX]; uint8_t shifts[VV_GRANTS_PER_ENTRY_MAX]; unsigned count; bool locked; } VvGrants;
bool vv_grant_add(VvPool *pool, VvGrants *grants, VvOps *ops, uint64_t family, uint32_t number, uint8_t shift);
void vv_grants_end(VvPool *pool, VvGrants *grants);
/* For who gives space back: take the blocks of the segment behind 1 << @shift bytes (0: all of it) out of the allocator, if none
 * is used, reserved or cooling, nor needed soon by a family that writes fast, and punch them on the disk. True: the caller
 * logs SEGMENT_SHRINK to @shift next, and if that fails puts them back. Blocks; takes the read lock. */
bool vv_alloc_take_out(VvAlloc *alloc, uint64_t family, uint32_t segment, uint8_t shift);
void vv_alloc_put_back(VvAlloc *alloc, uint64_t family, uint32_t segment);
/* Free bytes of the pool's disks changed from outside (disk added, grown): parked requests try again. [any] */
void vv_alloc_space_changed(VvAlloc *alloc);
/* From meta's hooks. */
void vv_alloc_freed(VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count);
void vv_alloc_granted(VvAlloc *alloc, const VvSegment *segment);
void vv_alloc_shrunk(VvAlloc *alloc, const VvSegment *segment, uint8_t old_shift);
/* Make what has cooled usable; punch holes of long runs first (job thread). */
void vv_alloc_cool(VvAlloc *alloc);
uint64_t vv_alloc_cooling_bytes(VvAlloc *alloc);

/* ---- committer: the one thread that logs, syncs and applies */
typedef struct VvCommitter VvCommitter;
VvCommitter *vv_committer_new(VvPool *pool);
void vv_committer_free(VvCommitter *committer); /* after a last flush */
/* Journal and apply @view's records up to @sequence (its data is durable already: I2), then call done (committer's thread,
 * must not block). Any thread. */
typedef void (*VvCommitDone)(void *user, int result);
void vv_commit_view(VvCommitter *committer, VvView *view, uint64_t sequence, VvCommitDone done, void *user);
/* One entry of a transaction: first all records of @views up to their commit limits (in entries before it), then @ops, in one
 * batch, one sync, applied; blocks. 0, -ENOSPC (after a checkpoint was tried), -EIO, -EUCLEAN. Takes over @ops. */
int vv_commit_ops(VvCommitter *committer, VvView *const *views, unsigned view_count, VvOps *ops);
/* The same without waiting (grants, job batches). */
void vv_commit_ops_async(VvCommitter *committer, VvOps *ops, VvCommitDone done, void *user);
void vv_commit_kick(VvCommitter *committer);

/* ---- look-up helpers, ticker, request memory: made when the pool opens, freed after the last request */
typedef struct VvLookup VvLookup;
VvLookup *vv_lookup_new(VvPool *pool);
void vv_lookup_free(VvLookup *lookup);
typedef struct VvTicker VvTicker;
VvTicker *vv_ticker_new(VvPool *pool);
/* Ends its thread, and waits for the background flushes under way; kicks do nothing from then on. */
void vv_ticker_stop(VvTicker *ticker);
void vv_ticker_free(VvTicker *ticker);
void vv_ticker_kick(VvTicker *ticker); /* there is something to time. [any] */
void vv_ticker_rush(VvTicker *ticker); /* look now: much is pending. [any] */
typedef struct VvIoPool VvIoPool;
VvIoPool *vv_io_pool_new(void);
void vv_io_pool_free(VvIoPool *io_pool); /* every request is done */
#define VV_SERVICE_WORKER VV_WORKERS_MAX /* index of pool->service */

/* ---- what pool.c and jobs.c give */
/* A checkpoint now, by the checkpointer's thread; blocks. Its result. For the committer: takes no lock that a transaction holds. */
int vv_pool_checkpoint_now(VvPool *pool);
void vv_pool_checkpoint_kick(VvPool *pool); /* soon, without waiting */
/* The last handle of an orphan, or of an elastic LUN, was closed: purge it, or end its elasticity, in the background. */
void vv_pool_object_closed(VvPool *pool, uint64_t object_id);
/* There may be something to cool: the job thread calls vv_alloc_cool soon. */
void vv_jobs_kick(VvPool *pool);

/* ---- pool */
struct VvPool {
    char *directory;
    bool read_only;
    VvPoolOptions options;
    VvMeta *meta;

    pthread_mutex_t config_lock; /* one transaction at a time */
    pthread_mutex_t grant_lock;  /* from choosing free space on disks until the entry that takes it is applied */

    pthread_mutex_t disks_lock;  /* leaf */
    GPtrArray *disks;            /* VvDisk by slot, NULL where removed */
    GHashTable *disk_slots;      /* id -> slot */

    pthread_mutex_t views_lock;
    GHashTable *views;           /* object id -> VvView */

    VvPageCache *cache;
    VvAlloc *alloc;
    VvCommitter *committer;
    VvEras *eras;
    VvSegmentTable *segments;    /* the resolver's */
    VvLookup *lookup;            /* look-up helper threads */
    VvIoPool *io_pool;           /* request states and bounce buffers */
    struct VvJobs *jobs;         /* job runner: reclaim, cooling, give-back, exclusive counts */
    VvTicker *ticker;            /* one thread, 4 times a second while there is anything to time: parked deadlines, background
                                  * journalling, checkpoints due; sleeps without end when idle */
    VvWorker *service;           /* worker without a source, with its thread: blocking forms run on it */
    pthread_t service_thread;
    pthread_t checkpointer;
    struct VvEventLog *events;
    struct VvMountInfo *mount;
    struct VvPoolThreads *threads; /* pool.c: lock file, checkpointer */
    struct VvLunStats *lun_stats; /* stats.c: of LUNs whose views are gone */

    VvPoolHooks hooks;
    void *hooks_user;

    _Atomic uint64_t pending_bytes;   /* of data behind records of all views */
    _Atomic bool failed;              /* a journal, apply or store failure: writes answer -EIO or -EROFS, reads go on */
    _Atomic bool closing, abort_waiting;
    /* counters, relaxed */
    _Atomic uint64_t cow_bytes_copied, blocks_redirected, blocks_in_place, journal_entries, quiesce_count, quiesce_max_us,
        checkpoints, page_lookups, page_misses, reclaimed_blocks;
    pthread_mutex_t stats_lock;
    VvOpStat snapshot_stall;          /* stats_lock */
};
/* The pool turned read-only: event, log, wake everybody. @why names the failure. */
void vv_pool_fail(VvPool *pool, const char *why);

#endif
