/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs' thread: reclaim and merge in batches, one branch after the other; then what cools, what was closed, counts that
 * somebody asked for, and empty segments.
 *
 * J1  A job is state of the catalog and its batches are entries: what this thread forgets at a stop, the next start finds.
 * J2  The configuration lock is taken only for closed objects, never while jobs->lock is held, and only if it is free: who has it may
 *     wait for a disk, and jobs bring the space that others wait for. An object stays in the queue until it was seen to, so who
 *     releases the lock finds it there.
 * J3  jobs->lock is a leaf: meta's hooks take it with meta's write lock held.
 * J4  A transaction waits for a batch of reclaim at most, so a batch is as many pages as lately were applied in about BATCH_NS. While the
 *     pool has room a batch is followed by as much rest, so that half of them need not wait; while others use it, by fifteen times as
 *     much, so that it is one request in a hundred that meets a batch.
 *     Without room batches are full and nobody rests: writers wait for what they bring. */
#include "alloc_private.h"
#include "idle.h"
#include "pool_jobs.h"
#include "pool_private.h"
#include "repack.h"
#include "scrub.h"
#include "transaction.h"

#include <errno.h>
#include <time.h>

#define COOL_MS_MIN 20u /* between looks at what cools: an era needs one */
#define COOL_MS_MAX 1000u
#define RETRY_MS 1000u /* after -ENOSPC of the journal */
#define BUSY_MS 50u     /* J4: others use the pool if one did so recently */
#define BATCH_NS 200000u
#define BATCH_PAGES_MIN 1u
#define BUSY_SHARE 15u
#define REST_MS_MAX 1000u

typedef struct {
    uint64_t id;
    uint64_t began_ms, began_pages; /* when this thread first worked on it; 0: not yet */
    uint64_t seen_ms, seen_pages, total_pages;
} Progress;

struct VvJobs {
    VvPool *pool;
    pthread_t thread;
    bool started;
    uint64_t last_branch; /* the thread's: whose turn it was */
    _Atomic bool stuck;   /* the last batch could not be journalled */
    VvIdle idle;            /* the thread's: J4 */
    uint64_t rest_until_ns; /* the thread's: J4 */
    unsigned batch_pages;                          /* the thread's: J4 */
    struct VvExclusive *exclusive;

    pthread_mutex_t lock;   /* a leaf; guards all below */
    pthread_cond_t work;    /* something to do */
    pthread_cond_t changed; /* a job ended, closed objects were seen to, or the pool failed */
    bool kicked, stopping;
    GHashTable *live; /* job id -> Progress */
    GQueue ended;     /* VvEndedJob, owned: the last VV_ENDED_JOBS_MAX, oldest first */
    GQueue closed;    /* u64, owned; taken out by the thread alone */
    uint64_t closed_asked, closed_done;
};

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static struct timespec after_ms(uint64_t ms)
{
    uint64_t ns = vv_monotonic_ns() + ms * 1000000;

    return (struct timespec){ .tv_sec = (time_t) (ns / 1000000000), .tv_nsec = (long) (ns % 1000000000) };
}

struct VvJobs *vv_jobs_new(VvPool *pool)
{
    struct VvJobs *jobs = g_new0(struct VvJobs, 1);
    GPtrArray *list;

    jobs->pool = pool;
    jobs->batch_pages = BATCH_PAGES_MIN;
    jobs->exclusive = vv_exclusive_new();
    pthread_mutex_init(&jobs->lock, NULL);
    init_condition(&jobs->work);
    init_condition(&jobs->changed);
    jobs->live = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    g_queue_init(&jobs->closed);
    g_queue_init(&jobs->ended);
    VV_META_READ(pool->meta);
    list = vv_meta_jobs(pool->meta);
    for (unsigned i = 0; i < list->len; i++) {
        Progress *progress = g_new0(Progress, 1);

        progress->id = ((const VvJob *) g_ptr_array_index(list, i))->id;
        g_hash_table_insert(jobs->live, &progress->id, progress);
    }
    return jobs;
}

void vv_jobs_free(struct VvJobs *jobs)
{
    if (!jobs)
        return;
    g_assert(!jobs->started);
    vv_exclusive_free(jobs->exclusive);
    g_queue_clear_full(&jobs->closed, g_free);
    g_queue_clear_full(&jobs->ended, vv_ended_job_free);
    g_hash_table_unref(jobs->live);
    pthread_cond_destroy(&jobs->work);
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
    g_free(jobs);
}

struct VvExclusive *vv_jobs_exclusive(VvPool *pool)
{
    return pool->jobs->exclusive;
}

/* ---- told from elsewhere */

void vv_jobs_kick(VvPool *pool)
{
    struct VvJobs *jobs = pool->jobs;

    if (!jobs) /* the pool is being opened or freed */
        return;
    VV_LOCKED(&jobs->lock);
    jobs->kicked = true;
    pthread_cond_signal(&jobs->work);
    pthread_cond_broadcast(&jobs->changed);
}

void vv_jobs_added(VvPool *pool, const VvJob *job)
{
    struct VvJobs *jobs = pool->jobs;
    Progress *progress;

    if (!jobs)
        return;
    VV_LOCKED(&jobs->lock);
    if (!g_hash_table_contains(jobs->live, &job->id)) {
        progress = g_new0(Progress, 1);
        progress->id = job->id;
        g_hash_table_insert(jobs->live, &progress->id, progress);
    }
    jobs->kicked = true;
    pthread_cond_signal(&jobs->work);
}

void vv_ended_job_free(void *job)
{
    g_free(((VvEndedJob *) job)->lun);
    g_free(job);
}

static VvEndedJob *ended_job_new(const VvEndedJob *from)
{
    VvEndedJob *job = g_memdup2(from, sizeof *from);

    job->lun = g_strdup(from->lun);
    return job;
}

/* Meta's write lock is held: the job and its LUN stay while this looks at them. */
void vv_jobs_ended(VvPool *pool, const VvJob *job)
{
    struct VvJobs *jobs = pool->jobs;
    const VvLun *lun = vv_meta_lun(pool->meta, job->lun);
    VvEndedJob ended = { .id = job->id, .kind = job->kind, .total_pages = job->total_pages, .created_ns = job->created_ns,
        .ended_ns = vv_now_ns(), .errors = job->kind == VV_JOB_SCRUB ? job->point_epoch : 0, .lun = lun && *lun->name ? lun->name : NULL };

    if (!jobs)
        return;
    VV_LOCKED(&jobs->lock);
    g_hash_table_remove(jobs->live, &job->id);
    if (jobs->ended.length >= VV_ENDED_JOBS_MAX)
        vv_ended_job_free(g_queue_pop_head(&jobs->ended));
    g_queue_push_tail(&jobs->ended, ended_job_new(&ended));
    pthread_cond_broadcast(&jobs->changed);
}

void vv_pool_object_closed(VvPool *pool, uint64_t object_id)
{
    struct VvJobs *jobs = pool->jobs;

    VV_LOCKED(&jobs->lock);
    g_queue_push_tail(&jobs->closed, g_memdup2(&object_id, sizeof object_id));
    jobs->closed_asked++;
    jobs->kicked = true;
    pthread_cond_signal(&jobs->work);
}

void vv_jobs_config_unlocked(VvPool *pool)
{
    struct VvJobs *jobs = pool->jobs;

    if (!jobs)
        return;
    VV_LOCKED(&jobs->lock);
    if (jobs->closed.length == 0)
        return;
    jobs->kicked = true;
    pthread_cond_signal(&jobs->work);
}

void vv_jobs_drain_closed(VvPool *pool)
{
    struct VvJobs *jobs = pool->jobs;

    VV_LOCKED(&jobs->lock);
    while (jobs->started && jobs->closed_done < jobs->closed_asked)
        pthread_cond_wait(&jobs->changed, &jobs->lock);
}

/* ---- work */

/* J2 */
static void settle_closed(struct VvJobs *jobs, bool wait)
{
    for (;;) {
        const uint64_t *id;

        pthread_mutex_lock(&jobs->lock);
        id = g_queue_peek_head(&jobs->closed);
        pthread_mutex_unlock(&jobs->lock);
        if (!id || !vv_pool_settle_object(jobs->pool, *id, wait))
            return;
        pthread_mutex_lock(&jobs->lock);
        g_free(g_queue_pop_head(&jobs->closed));
        jobs->closed_done++;
        pthread_cond_broadcast(&jobs->changed);
        pthread_mutex_unlock(&jobs->lock);
    }
}

/* The job of the branch that is done next; NULL: there is none, or it is paused, and those behind it wait for it. Read lock held. */
static const VvJob *next_of_branch(const VvMeta *meta, uint64_t id)
{
    const VvBranch *branch = vv_meta_branch(meta, id);
    const VvJob *first = branch && branch->jobs->len > 0 ? g_ptr_array_index(branch->jobs, 0) : NULL;

    return first && first->state != VV_JOB_PAUSED ? first : NULL;
}

bool vv_jobs_may_free(VvPool *pool, const VvReach *reach)
{
    bool some = false;
    VV_META_READ(pool->meta);
    GPtrArray *list = vv_meta_jobs(pool->meta);

    for (unsigned i = 0; i < list->len && !some; i++) {
        uint64_t id = ((const VvJob *) g_ptr_array_index(list, i))->branch;
        const VvBranch *branch = vv_meta_branch(pool->meta, id);

        some = branch && vv_reach_has_family(reach, branch->family) && next_of_branch(pool->meta, id);
    }
    return some && pool->jobs && !atomic_load(&pool->jobs->stuck);
}

/* The first job of the branch whose turn it is; 0: none. Branches in the order of their numbers, after the last one. */
static uint64_t choose_branch(struct VvJobs *jobs, VvJob *ret_first)
{
    VV_META_READ(jobs->pool->meta);
    GPtrArray *list = vv_meta_jobs(jobs->pool->meta);
    uint64_t next = 0, lowest = 0;

    for (unsigned i = 0; i < list->len; i++) {
        uint64_t id = ((const VvJob *) g_ptr_array_index(list, i))->branch;

        if (!next_of_branch(jobs->pool->meta, id))
            continue;
        if (id > jobs->last_branch && (next == 0 || id < next))
            next = id;
        if (lowest == 0 || id < lowest)
            lowest = id;
    }
    if (next == 0)
        next = lowest;
    if (next != 0)
        *ret_first = *next_of_branch(jobs->pool->meta, next);
    return next;
}

void vv_jobs_note_progress(VvPool *pool, uint64_t id, bool before)
{
    struct VvJobs *jobs = pool->jobs;
    uint64_t now_ms = vv_monotonic_ms(), done = 0, total = 0;
    Progress *progress;

    {
        VV_META_READ(jobs->pool->meta);
        const VvJob *job = vv_meta_job(jobs->pool->meta, id);

        if (!job)
            return;
        done = job->done_pages;
        total = job->total_pages;
    }
    VV_LOCKED(&jobs->lock);
    progress = g_hash_table_lookup(jobs->live, &id);
    if (!progress)
        return;
    if (before && progress->began_ms == 0) {
        progress->began_ms = now_ms;
        progress->began_pages = done;
    }
    progress->seen_ms = now_ms;
    progress->seen_pages = done;
    progress->total_pages = total;
}

/* J4 */
static bool is_busy(struct VvJobs *jobs) { return vv_idle_is_busy(&jobs->idle, jobs->pool, BUSY_MS); }

/* J4: after a batch that took so long, journal and all. */
static void pace(struct VvJobs *jobs, uint64_t took_ns, bool busy)
{
    uint64_t applied_ns = vv_meta_reclaim_ns(jobs->pool->meta);

    if (!vv_repack_has_room(jobs->pool)) {
        jobs->batch_pages = VV_RECLAIM_BATCH_PAGES;
        return;
    }
    if (applied_ns > BATCH_NS)
        jobs->batch_pages = MAX(jobs->batch_pages / 2, BATCH_PAGES_MIN);
    else if (applied_ns < BATCH_NS / 2)
        jobs->batch_pages = MIN(jobs->batch_pages * 2, VV_RECLAIM_BATCH_PAGES);
    jobs->rest_until_ns = vv_monotonic_ns() + MIN(took_ns * (busy ? BUSY_SHARE : 1), REST_MS_MAX * UINT64_C(1000000));
}

/* One entry of reclaim. 1: there may be more; 0: nothing to do; -errno. */
static int run_batch(struct VvJobs *jobs)
{
    VvPool *pool = jobs->pool;
    uint64_t began_ns = vv_monotonic_ns();
    bool busy = is_busy(jobs);
    VvJob first = { 0 };
    uint64_t branch = choose_branch(jobs, &first);
    VvOps *ops;
    VvOp *op;
    int result;

    if (branch == 0)
        return 0;
    jobs->last_branch = branch;
    vv_jobs_note_progress(pool, first.id, true);
    ops = vv_ops_new();
    op = vv_ops_add(ops, VV_OP_RECLAIM);
    op->reclaim.branch = branch;
    op->reclaim.count = jobs->batch_pages;
    result = vv_commit_ops(pool->committer, NULL, 0, ops);
    atomic_store(&jobs->stuck, result < 0);
    if (result < 0)
        return result;
    vv_jobs_note_progress(pool, first.id, false);
    pace(jobs, vv_monotonic_ns() - began_ns, busy && is_busy(jobs));
    return 1;
}

/* How long to rest still, in ms, rounded up. */
static uint64_t rest_ms(const struct VvJobs *jobs)
{
    uint64_t now_ns = vv_monotonic_ns();

    return jobs->rest_until_ns > now_ns ? (jobs->rest_until_ns - now_ns + 999999) / 1000000 : 0;
}

/* Wait for a kick, or for @ms (0: for ever). Returns false when the thread shall end. */
static bool wait_for_work(struct VvJobs *jobs, uint64_t ms)
{
    struct timespec until = after_ms(ms);
    bool stopping;

    pthread_mutex_lock(&jobs->lock);
    while (!jobs->kicked && !jobs->stopping) {
        if (ms == 0)
            pthread_cond_wait(&jobs->work, &jobs->lock);
        else if (pthread_cond_timedwait(&jobs->work, &jobs->lock, &until) == ETIMEDOUT)
            break;
    }
    jobs->kicked = false;
    stopping = jobs->stopping;
    pthread_mutex_unlock(&jobs->lock);
    return !stopping;
}

static bool is_stopping(struct VvJobs *jobs)
{
    VV_LOCKED(&jobs->lock);
    return jobs->stopping;
}

/* A round of everything. *ret_wait_ms: until the next one if nobody kicks, 0: for ever. True: at once. */
static bool work_once(struct VvJobs *jobs, uint64_t *cool_ms, uint64_t *ret_wait_ms)
{
    VvPool *pool = jobs->pool;
    bool may_change = !pool->read_only && !atomic_load(&pool->failed), rested = rest_ms(jobs) > 0;
    int result = 0;

    *ret_wait_ms = 0;
    settle_closed(jobs, false);
    if (may_change && !rested)
        result = run_batch(jobs);
    vv_alloc_cool(pool->alloc);
    uint64_t rest = rest_ms(jobs);
    if (result == 1)
        *cool_ms = COOL_MS_MIN;
    if ((result == 1 || rested) && rest == 0) /* who rested has not looked whether there is more */
        return true;
    if (result == -ENOSPC)
        *ret_wait_ms = RETRY_MS;
    if (vv_exclusive_step(pool))
        return true;
    if (may_change && result >= 0 && vv_give_back(pool))
        return true;
    if (vv_alloc_cooling_bytes(pool->alloc) > 0) {
        *ret_wait_ms = *cool_ms;
        *cool_ms = MIN(*cool_ms * 2, COOL_MS_MAX);
    } else {
        *cool_ms = COOL_MS_MIN;
    }
    if (rest > 0)
        *ret_wait_ms = *ret_wait_ms > 0 ? MIN(*ret_wait_ms, rest) : rest;
    return false;
}

static void *run(void *user)
{
    struct VvJobs *jobs = user;
    uint64_t cool_ms = COOL_MS_MIN, wait_ms;

    pthread_setname_np(pthread_self(), "vv-jobs");
    while (!is_stopping(jobs))
        if (!work_once(jobs, &cool_ms, &wait_ms) && !wait_for_work(jobs, wait_ms))
            break;
    settle_closed(jobs, true);
    return NULL;
}

bool vv_jobs_start(VvPool *pool, GError **error)
{
    int err;

    pool->jobs->stopping = false;
    err = pthread_create(&pool->jobs->thread, NULL, run, pool->jobs);
    if (err != 0)
        vv_set_error_errno(error, err, NULL, "the thread for jobs cannot be started");
    pool->jobs->started = err == 0;
    return err == 0;
}

void vv_jobs_stop(VvPool *pool)
{
    struct VvJobs *jobs = pool->jobs;

    if (!jobs || !jobs->started)
        return;
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = true;
    pthread_cond_signal(&jobs->work);
    pthread_mutex_unlock(&jobs->lock);
    pthread_join(jobs->thread, NULL);
    jobs->started = false;
}

/* ---- asked by people */

static void set_no_job(VvPool *pool, uint64_t id, GError **error)
{
    g_autofree char *object = g_strdup_printf("%" G_GUINT64_FORMAT, id);

    vv_set_error(error, VV_ERROR_NOT_FOUND, object, "vvfs-admin job list", "no job %s in pool %s", object,
        vv_meta_pool(pool->meta)->name);
}

bool vv_pool_job_set(VvPool *pool, uint64_t id, VvJobState state, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autofree char *object = g_strdup_printf("%" G_GUINT64_FORMAT, id),
                    *hint = g_strdup_printf("vvfs-admin job pause %s", object);
    bool cancels = false;
    VvOp *op;

    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    {
        VV_META_READ(pool->meta);
        const VvJob *job = vv_meta_job(pool->meta, id);

        if (!job) {
            set_no_job(pool, id, error);
            return false;
        }
        cancels = state == VV_JOB_CANCELLED && (job->kind == VV_JOB_REPACK || job->kind == VV_JOB_SCRUB);
        if (state == VV_JOB_CANCELLED && !cancels) {
            vv_set_error(error, VV_ERROR_UNSUPPORTED, object, hint,
                "job %s returns the space of what is removed already and cannot be cancelled", object);
            return false;
        }
        if (state == job->state || (state == VV_JOB_QUEUED && job->state == VV_JOB_RUNNING))
            return true;
    }
    if (state != VV_JOB_PAUSED && state != VV_JOB_QUEUED && !cancels) {
        vv_set_error(error, VV_ERROR_USAGE, object, NULL, "job %s cannot be made %s", object, vv_job_state_name(state));
        return false;
    }
    op = vv_transaction_add(&tx, VV_OP_JOB_SET);
    op->job_set.id = id;
    op->job_set.state = (uint8_t) state;
    if (!vv_transaction_commit(&tx, NULL, 0, object, error))
        return false;
    vv_jobs_kick(pool);
    vv_repack_kick(pool->repack);
    vv_scrub_kick(pool->scrub);
    return true;
}

GPtrArray *vv_pool_ended_jobs(VvPool *pool)
{
    GPtrArray *copies = g_ptr_array_new_with_free_func(vv_ended_job_free);
    VV_LOCKED(&pool->jobs->lock);

    for (GList *i = pool->jobs->ended.head; i; i = i->next)
        g_ptr_array_add(copies, ended_job_new(i->data));
    return copies;
}

/* Any of @ids that has not ended? */
static bool any_live_locked(const struct VvJobs *jobs, const GArray *ids)
{
    for (unsigned i = 0; i < ids->len; i++)
        if (g_hash_table_contains(jobs->live, &g_array_index(ids, uint64_t, i)))
            return true;
    return false;
}

bool vv_pool_job_wait(
    VvPool *pool, const uint64_t *ids, unsigned count, unsigned timeout_ms, bool *ret_failed, GError **error)
{
    struct VvJobs *jobs = pool->jobs;
    g_autoptr(GArray) wanted = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    struct timespec until = after_ms(timeout_ms);
    bool live;

    g_array_append_vals(wanted, ids, count);
    VV_LOCKED(&jobs->lock);
    if (count == 0) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, jobs->live);
        while (g_hash_table_iter_next(&iter, NULL, &value))
            g_array_append_val(wanted, ((const Progress *) value)->id);
    }
    while ((live = any_live_locked(jobs, wanted)) && !atomic_load(&pool->failed) && !jobs->stopping)
        if (pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until) == ETIMEDOUT)
            break;
    live = any_live_locked(jobs, wanted);
    if (ret_failed)
        *ret_failed = live && atomic_load(&pool->failed);
    if (!live || atomic_load(&pool->failed))
        return true;
    vv_set_error(
        error, VV_ERROR_TIMEOUT, NULL, "vvfs-admin job list", "the jobs have not ended within %u s", timeout_ms / 1000);
    return false;
}

bool vv_pool_job_rate(VvPool *pool, uint64_t id, VvJobRate *ret_rate)
{
    struct VvJobs *jobs = pool->jobs;
    const Progress *progress;
    uint64_t pages, ms;

    VV_LOCKED(&jobs->lock);
    progress = g_hash_table_lookup(jobs->live, &id);
    if (!progress || progress->began_ms == 0 || progress->seen_pages <= progress->began_pages)
        return false;
    pages = progress->seen_pages - progress->began_pages;
    ms = MAX(progress->seen_ms - progress->began_ms, 1);
    ret_rate->rate_bytes = pages * VV_REGION_BYTES * 1000 / ms;
    ret_rate->seconds_left = progress->total_pages > progress->seen_pages
                                 ? (progress->total_pages - progress->seen_pages) * ms / pages / 1000
                                 : 0;
    return true;
}
