/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Repacking: a thread that brings together what random overwrites under snapshots have scattered, so that a LUN reads sequentially
 * again. The moves themselves: repack_batch.c.
 *
 * A repack is a job of the catalog: one per LUN, asked for by people, or added here when large reads of the LUN fell apart, nobody has
 * used the pool for a while, and a look at its map says that it is worth it. The job's cursor is the next region; it ends behind
 * the LUN's last one.
 *
 * U1  A batch is bounded in memory (a region's data and a mark), in space (VV_REPACK_REGIONS_MAX regions, and their old blocks while
 *     they cool), and in what its entry does. Space that a LUN uses does not grow: versions share their places before and after.
 * U2  Nothing is moved while less than VV_REPACK_ROOM_PERCENT of the pool is free: whoever writes comes first.
 * U3  While others use the pool a batch is one region, and the rest of the time is theirs.
 * U4  A family whose blocks are being counted (exclusive) is left alone: a move would make the count begin anew.
 * U5  repack->lock is a leaf: meta's hooks take it.
 * U6  A repack that nobody asked for begins only where what the LUN maps and VV_REPACK_AMPLE_PERCENT of the pool are free. */
#include "repack.h"

#include "idle.h"
#include "pool_jobs.h"
#include "pool_private.h"
#include "transaction.h"

#include <errno.h>
#include <time.h>

#define BUSY_MS 500u        /* who has used the pool so lately is using it */
#define BUSY_SHARE 3u       /* then each millisecond of work is followed by so many of rest */
#define ROOM_WAIT_MS 2000u  /* no room, or an error: look again then */
#define IDLE_MS 10000u      /* a job of our own begins when nobody used the pool for so long */
#define HINT_WAIT_MS 1000u  /* while hints wait for that */
#define AGAIN_MS 3600000u   /* a LUN that was looked at is not looked at again before */
#define WORTH_REGIONS 16u   /* so many scattered regions, */
#define WORTH_SHARE 8u      /* and one in so many of those it has */

struct VvRepack {
    VvPool *pool;
    pthread_t thread;
    bool started;
    /* the thread's own */
    VvIdle idle;
    GHashTable *looked;             /* LUN id -> when, ms; owned keys and values */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool kicked, stopping;
    GHashTable *hinted; /* LUN ids, owned */
    GHashTable *jobs;   /* LUN id -> its last repack's id; owned keys and values */
};

/* ---- how scattered */

unsigned vv_repack_breaks(const VvPage *page)
{
    unsigned breaks = 0;

    for (unsigned i = 1; i < VV_REGION_BLOCKS; i++) {
        VvPlace before = page->place[i - 1], here = page->place[i];

        breaks += before != 0 && here != 0 && !vv_place_same(vv_place_after(before, 1), here);
    }
    return breaks;
}

int vv_repack_find(VvPool *pool, uint64_t branch, uint64_t *cursor, unsigned most, uint64_t *ret_regions, unsigned *ret_count)
{
    *ret_count = 0;
    for (unsigned looked = 0; looked < VV_REPACK_SCAN_REGIONS && *ret_count < most; looked++) {
        VvPage page;
        uint64_t region;
        int rc = vv_map_next_region(pool->meta, branch, *cursor, UINT64_MAX, &region);

        if (rc == -ENODATA)
            return 1;
        if (rc == 0)
            rc = vv_map_lookup(pool->meta, branch, region, UINT64_MAX, &page, NULL, NULL);
        if (rc < 0 && rc != -ENODATA)
            return rc;
        *cursor = region + 1;
        if (rc == 0 && vv_repack_breaks(&page) >= VV_REPACK_BREAKS_MIN)
            ret_regions[(*ret_count)++] = region;
    }
    return 0;
}

/* ---- what others do */

static bool is_busy(VvRepack *repack, uint64_t quiet_ms) { return vv_idle_is_busy(&repack->idle, repack->pool, quiet_ms); }

bool vv_repack_has_room(VvPool *pool)
{
    VvSpaceSummary space;

    vv_meta_space(pool->meta, &space);
    return !vv_meta_is_cramped(pool->meta) && space.free_bytes * 100 >= space.total_bytes * VV_REPACK_ROOM_PERCENT; /* U2 */
}

/* Segments that a LUN leaves may stay with its family, with holes that only its own blocks fill: up to about what the LUN maps. So
 * much must be to spare before one is repacked that nobody asked for (U6). */
static bool has_ample_room(VvPool *pool, uint64_t lun_id)
{
    VvSpaceSummary space;
    VvViewStat stat;

    vv_meta_space(pool->meta, &space);
    return vv_pool_stat(pool, lun_id, &stat) == 0 &&
           space.free_bytes >= stat.used_bytes + space.total_bytes / 100 * VV_REPACK_AMPLE_PERCENT;
}

static bool is_stopping(VvRepack *repack)
{
    VV_LOCKED(&repack->lock);
    return repack->stopping;
}

/* Wait @ms (0: for ever), or for a kick if @kicks_count. */
static void wait_ms(VvRepack *repack, uint64_t ms, bool kicks_count)
{
    uint64_t ns = vv_monotonic_ns() + ms * 1000000;
    struct timespec until = { .tv_sec = (time_t) (ns / 1000000000), .tv_nsec = (long) (ns % 1000000000) };

    VV_LOCKED(&repack->lock);
    while (!repack->stopping && !(kicks_count && repack->kicked)) {
        if (ms == 0)
            pthread_cond_wait(&repack->changed, &repack->lock);
        else if (pthread_cond_timedwait(&repack->changed, &repack->lock, &until) == ETIMEDOUT)
            break;
    }
    if (kicks_count)
        repack->kicked = false;
}

/* ---- a job's work */

typedef struct {
    VvJob job;
    uint64_t branch, regions; /* of the LUN now */
} Work;

/* The first job that is not paused. */
static bool find_work(VvPool *pool, Work *ret_work)
{
    VV_META_READ(pool->meta);
    GPtrArray *jobs = vv_meta_jobs(pool->meta);

    for (unsigned i = 0; i < jobs->len; i++) {
        const VvJob *job = g_ptr_array_index(jobs, i);
        const VvLun *lun = job->kind == VV_JOB_REPACK ? vv_meta_lun(pool->meta, job->lun) : NULL;

        if (!lun || job->state == VV_JOB_PAUSED)
            continue;
        *ret_work = (Work){ .job = *job, .branch = lun->branch };
        ret_work->regions = (lun->size_bytes + VV_REGION_BYTES - 1) >> VV_REGION_SHIFT;
        return true;
    }
    return false;
}

static void fill_step(VvOp *op, const Work *work, uint64_t cursor)
{
    op->kind = VV_OP_JOB_STEP;
    op->job_step.id = work->job.id;
    op->job_step.cursor = cursor;
    op->job_step.total = MAX(work->regions, 1);
    op->job_step.done = MIN(cursor, op->job_step.total);
}

static int commit_step(VvPool *pool, const Work *work, uint64_t cursor)
{
    VvOps *ops = vv_ops_new();

    fill_step(vv_ops_add(ops, VV_OP_JOB_STEP), work, cursor);
    return vv_commit_ops(pool->committer, NULL, 0, ops);
}

static int end_job(VvRepack *repack, const Work *work)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_JOB_SET);
    uint64_t now_ms = vv_monotonic_ms();

    op->job_set.id = work->job.id;
    op->job_set.state = VV_JOB_DONE;
    g_hash_table_replace(repack->looked, g_memdup2(&work->job.lun, sizeof work->job.lun), g_memdup2(&now_ms, sizeof now_ms));
    return vv_commit_ops(repack->pool->committer, NULL, 0, ops);
}

static int run_batch(VvPool *pool, const Work *work, VvRepackBatch *batch, uint64_t cursor)
{
    int rc = vv_view_get(pool, work->job.lun, &batch->view);

    if (rc < 0)
        return -ESTALE;
    batch->branch = work->branch;
    fill_step(&batch->step, work, cursor);
    rc = vv_repack_run(pool, batch);
    vv_view_unref(batch->view);
    if (rc < 0 && rc != -ENOSPC && rc != -ESTALE && !atomic_load(&pool->failed))
        rc = commit_step(pool, work, cursor); /* a block that cannot be read: who reads it is told, the rest goes on */
    return rc;
}

/* One batch. Returns how long to rest. */
static uint64_t work_once(VvRepack *repack, const Work *work)
{
    VvPool *pool = repack->pool;
    VvRepackBatch batch = { .region_count = 0 };
    uint64_t cursor = work->job.cursor_region, began_ms = vv_monotonic_ms(), rest_ms;
    bool busy = is_busy(repack, BUSY_MS);
    int rc, end;

    if (!vv_repack_has_room(pool))
        return ROOM_WAIT_MS;
    if (atomic_load(&pool->counting) > 0)
        return BUSY_MS; /* U4 */
    vv_jobs_note_progress(pool, work->job.id, true);
    rc = end = vv_repack_find(pool, work->branch, &cursor, busy ? 1 : VV_REPACK_REGIONS_MAX, batch.regions, &batch.region_count);
    if (rc >= 0 && batch.region_count > 0)
        rc = run_batch(pool, work, &batch, cursor);
    else if (rc == 0)
        rc = commit_step(pool, work, cursor);
    vv_jobs_note_progress(pool, work->job.id, false);
    if (rc >= 0 && end == 1)
        rc = end_job(repack, work);
    if (rc < 0)
        return ROOM_WAIT_MS;
    if (!busy && !is_busy(repack, BUSY_MS))
        return 0;
    rest_ms = batch.moved_blocks * VV_BLOCK_BYTES * 1000 / VV_REPACK_BUSY_BYTES;
    return MAX(rest_ms, (vv_monotonic_ms() - began_ms) * BUSY_SHARE); /* U3 */
}

/* ---- jobs of our own */

bool vv_repack_is_worth_it(VvPool *pool, uint64_t lun_id)
{
    uint64_t regions[VV_REPACK_REGIONS_MAX], branch = 0, cursor = 0, used_regions = 0;
    unsigned count, scattered = 0;
    int rc = 0;

    {
        VV_META_READ(pool->meta);
        const VvLun *lun = vv_meta_lun(pool->meta, lun_id);

        if (!lun || lun->orphan || vv_setting_number(pool, "repack") != 0)
            return false;
        branch = lun->branch;
        used_regions = lun->used_blocks / VV_REGION_BLOCKS;
    }
    while (rc == 0 && (scattered < WORTH_REGIONS || scattered * WORTH_SHARE < used_regions)) {
        rc = vv_repack_find(pool, branch, &cursor, VV_REPACK_REGIONS_MAX, regions, &count);
        scattered += count;
    }
    return scattered >= WORTH_REGIONS && scattered * WORTH_SHARE >= used_regions;
}

static uint64_t take_hint(VvRepack *repack)
{
    GHashTableIter iter;
    void *key;
    uint64_t id = 0;

    VV_LOCKED(&repack->lock);
    g_hash_table_iter_init(&iter, repack->hinted);
    if (g_hash_table_iter_next(&iter, &key, NULL)) {
        id = *(const uint64_t *) key;
        g_hash_table_iter_remove(&iter);
    }
    return id;
}

static bool was_looked_at(VvRepack *repack, uint64_t id)
{
    uint64_t now_ms = vv_monotonic_ms();
    const uint64_t *when = g_hash_table_lookup(repack->looked, &id);

    if (when && now_ms - *when < AGAIN_MS)
        return true;
    if (g_hash_table_size(repack->looked) > VV_LUNS_MAX)
        g_hash_table_remove_all(repack->looked);
    g_hash_table_replace(repack->looked, g_memdup2(&id, sizeof id), g_memdup2(&now_ms, sizeof now_ms));
    return false;
}

/* Returns how long to wait, 0: for a kick. */
static uint64_t look_at_hints(VvRepack *repack)
{
    VvPool *pool = repack->pool;
    uint64_t id;
    bool some;

    {
        VV_LOCKED(&repack->lock);
        some = g_hash_table_size(repack->hinted) > 0;
    }
    if (!some)
        return 0;
    if (is_busy(repack, IDLE_MS) || !vv_repack_has_room(pool))
        return HINT_WAIT_MS;
    id = take_hint(repack);
    if (!was_looked_at(repack, id) && has_ample_room(pool, id) && vv_repack_is_worth_it(pool, id)) {
        VvOps *ops = vv_ops_new();
        VvOp *op = vv_ops_add(ops, VV_OP_JOB_ADD);

        op->job_add.kind = VV_JOB_REPACK;
        op->job_add.lun = id;
        op->job_add.total = 1;
        op->job_add.created_ns = vv_now_ns();
        (void) vv_commit_ops(pool->committer, NULL, 0, ops); /* not now: then not */
    }
    return HINT_WAIT_MS;
}

/* ---- the thread */

static void *repack_main(void *user)
{
    VvRepack *repack = user;
    VvPool *pool = repack->pool;

    pthread_setname_np(pthread_self(), "vv-repack");
    while (!is_stopping(repack)) {
        Work work;

        if (atomic_load(&pool->failed)) {
            wait_ms(repack, 0, true);
        } else if (find_work(pool, &work)) {
            uint64_t rest_ms = work_once(repack, &work);

            if (rest_ms > 0)
                wait_ms(repack, rest_ms, false);
        } else {
            wait_ms(repack, look_at_hints(repack), true);
        }
    }
    return NULL;
}

VvRepack *vv_repack_new(VvPool *pool)
{
    VvRepack *repack = g_new0(VvRepack, 1);
    pthread_condattr_t attributes;

    repack->pool = pool;
    vv_idle_begin(&repack->idle);
    pthread_mutex_init(&repack->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&repack->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    repack->hinted = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    repack->jobs = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    repack->looked = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    return repack;
}

bool vv_repack_start(VvRepack *repack, GError **error)
{
    int err = pthread_create(&repack->thread, NULL, repack_main, repack);

    if (err != 0)
        vv_set_error_errno(error, err, NULL, "the thread for repacking cannot be started");
    repack->started = err == 0;
    return err == 0;
}

void vv_repack_stop(VvRepack *repack)
{
    if (!repack || !repack->started)
        return;
    pthread_mutex_lock(&repack->lock);
    repack->stopping = true;
    pthread_cond_signal(&repack->changed);
    pthread_mutex_unlock(&repack->lock);
    pthread_join(repack->thread, NULL);
    repack->started = false;
}

void vv_repack_free(VvRepack *repack)
{
    if (!repack)
        return;
    g_assert(!repack->started);
    g_hash_table_unref(repack->hinted);
    g_hash_table_unref(repack->jobs);
    g_hash_table_unref(repack->looked);
    pthread_cond_destroy(&repack->changed);
    pthread_mutex_destroy(&repack->lock);
    g_free(repack);
}

void vv_repack_kick(VvRepack *repack)
{
    if (!repack)
        return;
    VV_LOCKED(&repack->lock);
    repack->kicked = true;
    pthread_cond_signal(&repack->changed);
}

void vv_repack_added(VvRepack *repack, const VvJob *job)
{
    if (!repack || job->kind != VV_JOB_REPACK)
        return;
    VV_LOCKED(&repack->lock);
    if (g_hash_table_size(repack->jobs) > VV_LUNS_MAX)
        g_hash_table_remove_all(repack->jobs);
    g_hash_table_replace(repack->jobs, g_memdup2(&job->lun, sizeof job->lun), g_memdup2(&job->id, sizeof job->id));
    repack->kicked = true;
    pthread_cond_signal(&repack->changed);
}

void vv_repack_hint(VvRepack *repack, uint64_t lun_id)
{
    if (!repack)
        return;
    VV_LOCKED(&repack->lock);
    if (g_hash_table_size(repack->hinted) < VV_LUNS_MAX && !g_hash_table_contains(repack->hinted, &lun_id)) {
        g_hash_table_add(repack->hinted, g_memdup2(&lun_id, sizeof lun_id));
        repack->kicked = true;
        pthread_cond_signal(&repack->changed);
    }
}

/* ---- asked by people */

/* The LUN's repack, or the one that has just ended. Read lock held. */
static uint64_t repack_of(const VvPool *pool, uint64_t lun_id)
{
    const uint64_t *last;
    GPtrArray *jobs = vv_meta_jobs(pool->meta);

    for (unsigned i = 0; i < jobs->len; i++) {
        const VvJob *job = g_ptr_array_index(jobs, i);

        if (job->kind == VV_JOB_REPACK && job->lun == lun_id)
            return job->id;
    }
    VV_LOCKED(&pool->repack->lock);
    last = g_hash_table_lookup(pool->repack->jobs, &lun_id);
    return last ? *last : 0;
}

bool vv_pool_lun_repack(VvPool *pool, const char *name, uint64_t *ret_job, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t id, regions;
    VvOp *op;

    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    {
        VV_META_READ(pool->meta);
        const VvLun *lun = vv_find_lun(pool, name, error);

        if (!lun)
            return false;
        id = lun->id;
        regions = (lun->size_bytes + VV_REGION_BYTES - 1) >> VV_REGION_SHIFT;
    }
    if (!vv_repack_has_room(pool)) {
        vv_set_error(error, VV_ERROR_NO_SPACE, name, "vvfs-admin disk add", "%s cannot be repacked: less than %u %% of the pool is free",
            name, VV_REPACK_ROOM_PERCENT);
        return false;
    }
    op = vv_transaction_add(&tx, VV_OP_JOB_ADD); /* does nothing if there is one */
    op->job_add.kind = VV_JOB_REPACK;
    op->job_add.lun = id;
    op->job_add.total = MAX(regions, 1);
    op->job_add.created_ns = tx.now_ns;
    if (!vv_transaction_commit(&tx, NULL, 0, name, error))
        return false;
    VV_META_READ(pool->meta);
    *ret_job = repack_of(pool, id);
    return true;
}
