/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's own structs: who owns what, what guards what, and in which order locks are taken. Only files of src/engine
 * include this.
 *
 * Locks, in order (take only to the right of what you hold; none is held across I/O or a callback to another layer):
 *   pool->config_lock > pool->claims.lock > pool->grant_lock > meta read/write lock > pool->views_lock > view->lock > cache stripe >
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
 * One crash: nothing here survives; the journal's entries do, and every flush that was answered is in them. If only the process
 * died, what was acknowledged survives too: pending_file.h. */
#ifndef VV_ENGINE_H
#define VV_ENGINE_H

#include "alloc.h"
#include "claims.h"
#include "commit.h"
#include "io.h"
#include "meta.h"
#include "pagecache.h"
#include "places.h"
#include "pool.h"
#include "repack.h"
#include "sumcache.h"
#include "view.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

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
size_t vv_io_pool_lock(VvIoPool *io_pool); /* its reserve stays in memory; bytes */
#define VV_SERVICE_WORKER VV_WORKERS_MAX /* index of pool->service */

/* ---- what pool.c and jobs.c give */
/* A checkpoint now, by the checkpointer's thread; blocks. Its result. For the committer: takes no lock that a transaction holds. */
int vv_pool_checkpoint_now(VvPool *pool);
void vv_pool_checkpoint_kick(VvPool *pool); /* soon, without waiting */
/* Wait for the end of the one under way, or of one that begins now; whatever its result. For the committer. */
void vv_pool_checkpoint_wait(VvPool *pool);
/* The last handle of an orphan, or of an elastic LUN, was closed: purge it, or end its elasticity, in the background. */
void vv_pool_object_closed(VvPool *pool, uint64_t object_id);
/* There may be something to cool: the job thread calls vv_alloc_cool soon. */
void vv_jobs_kick(VvPool *pool);
/* Is there a job that goes on by itself (neither paused nor behind a paused one, nor kept from the journal) and whose space could be
 * the family's of @reach (alloc_private.h)? Takes the read lock. */
struct VvReach;
bool vv_jobs_may_free(VvPool *pool, const struct VvReach *reach);

/* ---- the configuration lock. Closed objects that waited for it are seen to when it is released. */
void vv_config_lock(VvPool *pool);
bool vv_config_try_lock(VvPool *pool);
void vv_config_unlock(VvPool *pool);

/* ---- pool */
struct VvPool {
    char *directory;
    bool read_only;
    VvPoolOptions options;
    VvMeta *meta;
    const struct VvClusterLog *_Atomic cluster; /* NULL: a pool of one node; set when it is opened or, once, by the committer: cluster_log.h */
    bool without_disks;          /* they are another node's: no data is read or written here */
    const struct VvElsewhere *elsewhere; /* ... but it is asked for there; NULL: data is refused. elsewhere.h */

    pthread_mutex_t config_lock; /* one transaction at a time: by vv_config_lock. Opening a file never takes it */
    VvClaims claims;             /* objects that are not open and stay so for a while */
    struct VvHolds *holds;       /* what changes hold, for who looks: holds.h */
    pthread_mutex_t grant_lock;  /* from choosing free space on disks until the entry that takes it is applied */

    pthread_mutex_t disks_lock;  /* leaf */
    GPtrArray *disks;            /* VvDisk by slot, NULL where removed */
    GHashTable *disk_slots;      /* id -> slot */

    pthread_mutex_t views_lock;
    GHashTable *views;           /* object id -> VvView */

    VvPageCache *cache;
    VvSumCache *sums;            /* checksums of places */
    struct VvDamages *damages;   /* what was found damaged: damage.h */
    struct VvScrub *scrub;       /* one thread: scrub.h */
    VvAlloc *alloc;
    VvCommitter *committer;
    VvEras *eras;
    VvSegmentTable *segments;    /* the resolver's */
    VvLookup *lookup;            /* look-up helper threads */
    VvIoPool *io_pool;           /* request states and bounce buffers */
    struct VvJobs *jobs;         /* job runner: reclaim, cooling, give-back, exclusive counts */
    VvRepack *repack;            /* one thread: brings scattered blocks together */
    VvTicker *ticker;            /* one thread, 4 times a second while there is anything to time: parked deadlines, background
                                  * journalling, checkpoints due; sleeps without end when idle */
    VvWorker *service;           /* worker without a source, with its thread: blocking forms run on it */
    pthread_t service_thread;
    pthread_t checkpointer;
    struct VvEventLog *events;
    struct VvMountInfo *mount;
    struct VvPoolThreads *threads; /* pool.c: the lock, checkpointer */
    struct VvLunStats *lun_stats; /* stats.c: of LUNs whose views are gone */

    struct VvPendingFile *pending_file; /* NULL: what is acknowledged and not flushed dies with the process */
    struct VvDones *dones;       /* done.h */
    struct VvIntents *intents;   /* intent.h */
    struct VvLeft *left;         /* what the process before left in it, until it is adopted */
    uint64_t opening, opening_before; /* the catalog's, from now on, and until now */
    uint64_t incarnation;        /* of what is acknowledged and not flushed: incarnation.h */
    _Atomic uint64_t inherited[VV_DISKS_MAX / 64]; /* disk slots with writes of a process that died that no sync of ours covers */

    VvPoolHooks hooks;
    void *hooks_user;
    struct VvNews *news;         /* what other nodes changed: news.h */

    _Atomic uint64_t pending_bytes;   /* of data behind records of all views */
    _Atomic uint64_t pending_memory;  /* that these take: pending.h */
    _Atomic unsigned journal_waiters; /* requests that are parked because it is too much */
    struct VvShares *shares;          /* sharing.h: what changed of who may use what */
    pthread_mutex_t settle_lock;      /* one at a time sees to that; taken with nothing held, before config_lock's */
    _Atomic bool shares_any;          /* there is anything to look at */
    _Atomic bool failed;              /* a journal, apply or store failure: writes that begin answer -EROFS, reads go on */
    char *_Atomic failure;            /* why; NULL: not failed. Owned; stays until the pool is closed */
    _Atomic bool closing, abort_waiting;
    _Atomic uint64_t sums_verified, sums_wrong; /* blocks, relaxed */
    _Atomic unsigned counting;        /* counts of exclusive space under way: nothing is moved meanwhile */
    /* counters, relaxed */
    _Atomic uint64_t cow_bytes_copied, blocks_redirected, blocks_in_place, journal_entries, quiesce_count, quiesce_max_us,
        checkpoints, page_lookups, page_misses, reclaimed_blocks, journal_waits, checkpoint_waits;
    pthread_mutex_t stats_lock;
    VvOpStat snapshot_stall;          /* stats_lock */
};
/* The pool turned read-only: event, log, wake everybody, save if it is already. The text names the failure. */
void vv_pool_fail(VvPool *pool, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
