/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scrubbing: a thread that, when asked, reads all that is in use and verifies what has a checksum; and that tells of damage whoever
 * found it.
 *
 * A scrub is a job of the catalog. It first verifies the metadata (as `pool check`) and both labels of each disk, then goes through the
 * segments in the order of disks and of places on them, each place once, however many snapshots share it. Its cursor is the next MiB.
 *
 * Q1  A MiB is read within an era: a block that was in use when the era began, by the applied bitmap, is not used again before it
 *     ends. So the bytes are those of the checksum that is looked up after, or there is none any more. A write in place beside it
 *     (only of blocks without checksums) does not matter: those are read for the errors of the medium alone.
 * Q2  What is damaged and belongs to nothing that can be read (its removal is under way) is no error.
 * Q3  The job's state is looked at before each MiB: pausing and cancelling wait for no more than that.
 * Q4  While others use the pool, work is followed by thrice as much rest; and a rate, if one is given, is never exceeded. */
#include "scrub_private.h"

#include "idle.h"
#include "pool_jobs.h"
#include "pool_private.h"
#include "transaction.h"

#include <stdlib.h>
#include <time.h>

#define BATCH_MIBS 256u      /* between entries at most, */
#define BATCH_MS 2000u       /* and so long */
#define BUSY_MS 500u         /* who has used the pool so lately is using it */
#define BUSY_SHARE 3u        /* then each millisecond of work is followed by so many of rest */
#define RETRY_MS 2000u       /* the journal took no step: again then */

struct VvScrub {
    VvPool *pool;
    pthread_t thread;
    bool started;
    /* the thread's own */
    VvIdle idle;
    uint8_t *data; /* a MiB, aligned, while there is a job */

    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t changed;
    uint64_t last_job;    /* the last scrub's id */
    bool kicked, stopping;
};

static bool is_stopping(void *user)
{
    VvScrub *scrub = user;
    VV_LOCKED(&scrub->lock);

    return scrub->stopping;
}

/* Wait @ms (0: for ever), or for a kick if @kicks_count. */
static void wait_ms(VvScrub *scrub, uint64_t ms, bool kicks_count)
{
    uint64_t ns = vv_monotonic_ns() + ms * 1000000;
    struct timespec until = { .tv_sec = (time_t) (ns / 1000000000), .tv_nsec = (long) (ns % 1000000000) };

    VV_LOCKED(&scrub->lock);
    while (!scrub->stopping && !(kicks_count && scrub->kicked)) {
        if (ms == 0)
            pthread_cond_wait(&scrub->changed, &scrub->lock);
        else if (pthread_cond_timedwait(&scrub->changed, &scrub->lock, &until) == ETIMEDOUT)
            break;
    }
    if (kicks_count)
        scrub->kicked = false;
}

/* ---- the job */

/* False: there is none, or it is paused. */
static bool find_job(VvPool *pool, VvJob *ret_job)
{
    VV_META_READ(pool->meta);
    GPtrArray *jobs = vv_meta_jobs(pool->meta);

    for (unsigned i = 0; i < jobs->len; i++) {
        const VvJob *job = g_ptr_array_index(jobs, i);

        if (job->kind != VV_JOB_SCRUB || job->state == VV_JOB_PAUSED)
            continue;
        *ret_job = *job;
        return true;
    }
    return false;
}

/* Q3 */
static bool goes_on(VvScrub *scrub, uint64_t id)
{
    VvJob job;

    return !is_stopping(scrub) && !atomic_load(&scrub->pool->failed) && find_job(scrub->pool, &job) && job.id == id;
}

static int commit_step(VvScrub *scrub, const VvJob *job, bool done)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_JOB_STEP);

    op->job_step.id = job->id;
    op->job_step.scrub = true;
    op->job_step.disk = job->cursor_epoch;
    op->job_step.cursor = job->cursor_region;
    op->job_step.errors = job->point_epoch;
    op->job_step.total = MAX(MAX(job->total_pages, job->done_pages), 1);
    op->job_step.done = done ? op->job_step.total : job->done_pages;
    if (done) {
        op = vv_ops_add(ops, VV_OP_JOB_SET);
        op->job_set.id = job->id;
        op->job_set.state = VV_JOB_DONE;
    }
    return vv_commit_ops(scrub->pool->committer, NULL, 0, ops);
}

/* ---- in which order */

typedef struct {
    uint64_t disk, family;
    uint32_t unit, units, segment;
} Extent;

static int in_order(const void *a, const void *b)
{
    const Extent *x = a, *y = b;

    if (x->disk != y->disk)
        return x->disk < y->disk ? -1 : 1;
    return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* All copies of all segments that do not lie wholly before the cursor; *ret_mibs counts all. */
static GArray *list_extents(VvPool *pool, const VvJob *job, uint64_t *ret_mibs)
{
    GArray *extents = g_array_new(FALSE, FALSE, sizeof(Extent));
    VV_META_READ(pool->meta);
    GPtrArray *families = vv_meta_families(pool->meta);

    *ret_mibs = 0;
    for (unsigned f = 0; f < families->len; f++) {
        const VvFamily *family = g_ptr_array_index(families, f);

        for (unsigned n = 0; n < family->segments->len; n++) {
            const VvSegment *segment = g_ptr_array_index(family->segments, n);
            uint32_t units = segment ? vv_segment_blocks(segment) / VV_REGION_BLOCKS : 0;

            for (unsigned c = 0; segment && c < segment->copy_count; c++) {
                Extent e = { segment->copies[c].disk_id, family->id, segment->copies[c].unit, units, segment->number };

                *ret_mibs += units;
                if (e.disk > job->cursor_epoch || (e.disk == job->cursor_epoch && e.unit + units > job->cursor_region))
                    g_array_append_val(extents, e);
            }
        }
    }
    g_array_sort(extents, in_order);
    return extents;
}

/* ---- rest */

/* Q4: after a MiB that took from @began_ns till now. */
static void rest(VvScrub *scrub, const VvJob *job, uint64_t began_ns, uint64_t bytes)
{
    uint64_t took_ns = vv_monotonic_ns() - began_ns, rest_ns = 0;

    if (job->above_epoch != 0) {
        uint64_t due_ns = bytes * 1000000000u / job->above_epoch;

        rest_ns = due_ns > took_ns ? due_ns - took_ns : 0;
    } else if (bytes > 0 && vv_idle_is_busy(&scrub->idle, scrub->pool, BUSY_MS)) {
        rest_ns = took_ns * BUSY_SHARE;
    }
    if (rest_ns >= 1000000)
        wait_ms(scrub, rest_ns / 1000000, false);
}

/* ---- a batch */

/* Errors that are left (Q2) of what a batch found. */
static uint64_t count_errors(VvScrub *scrub, const GArray *found)
{
    uint64_t errors = 0;

    if (found->len == 0)
        return 0;
    vv_damages_tell(scrub->pool, is_stopping, scrub);
    for (unsigned i = 0; i < found->len; i++) {
        const VvScrubFound *one = &g_array_index(found, VvScrubFound, i);

        errors += vv_damage_is_known(scrub->pool, one->family, one->place);
    }
    return errors;
}

/* From the cursor on. 1: all was read; 0: there is more; -errno. */
static int scrub_batch(VvScrub *scrub, VvJob *job)
{
    uint64_t until_ms = vv_monotonic_ms() + BATCH_MS, mibs, left = BATCH_MIBS;
    g_autoptr(GArray) extents = list_extents(scrub->pool, job, &mibs), found = g_array_new(FALSE, FALSE, sizeof(VvScrubFound));
    bool on = true;
    unsigned i = 0;

    job->total_pages = mibs;
    for (; i < extents->len && on && left > 0; i++) {
        const Extent *e = &g_array_index(extents, Extent, i);
        uint32_t mib = e->disk == job->cursor_epoch && e->unit < job->cursor_region ? (uint32_t) job->cursor_region - e->unit : 0;

        for (; mib < e->units && left > 0 && (on = goes_on(scrub, job->id)) && vv_monotonic_ms() < until_ms; mib++, left--) {
            uint64_t began_ns = vv_monotonic_ns();
            uint64_t bytes = vv_scrub_mib(scrub->pool, e->disk, e->family, e->segment, mib, scrub->data, found);

            job->done_pages++;
            job->cursor_epoch = e->disk;
            job->cursor_region = e->unit + mib + 1;
            rest(scrub, job, began_ns, bytes);
        }
        if (mib < e->units)
            break;
    }
    job->point_epoch += count_errors(scrub, found);
    return on && i == extents->len ? 1 : 0;
}

/* Returns how long to rest before more, 0: go on. */
static uint64_t work(VvScrub *scrub, VvJob *job)
{
    int rc = 0, end;

    if (!scrub->data)
        scrub->data = aligned_alloc(VV_BLOCK_BYTES, VV_REGION_BYTES);
    if (!scrub->data)
        return RETRY_MS;
    vv_jobs_note_progress(scrub->pool, job->id, true);
    if (job->cursor_epoch == 0) {
        job->point_epoch = vv_scrub_metadata(scrub->pool);
        job->done_pages = 0;
    }
    end = scrub_batch(scrub, job);
    rc = commit_step(scrub, job, end == 1);
    vv_jobs_note_progress(scrub->pool, job->id, false);
    return rc < 0 ? RETRY_MS : 0;
}

/* ---- the thread */

static void *scrub_main(void *user)
{
    VvScrub *scrub = user;
    VvJob job;

    pthread_setname_np(pthread_self(), "vv-scrub");
    while (!is_stopping(scrub)) {
        uint64_t rest_ms = 0;

        vv_damages_tell(scrub->pool, is_stopping, scrub);
        if (!scrub->pool->read_only && !atomic_load(&scrub->pool->failed) && find_job(scrub->pool, &job)) {
            rest_ms = work(scrub, &job);
            if (rest_ms > 0)
                wait_ms(scrub, rest_ms, false);
            continue;
        }
        g_clear_pointer(&scrub->data, free);
        wait_ms(scrub, 0, true);
    }
    return NULL;
}

VvScrub *vv_scrub_new(VvPool *pool)
{
    VvScrub *scrub = g_new0(VvScrub, 1);
    pthread_condattr_t attributes;

    scrub->pool = pool;
    pthread_mutex_init(&scrub->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&scrub->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return scrub;
}

bool vv_scrub_start(VvScrub *scrub, GError **error)
{
    int err = pthread_create(&scrub->thread, NULL, scrub_main, scrub);

    if (err != 0)
        vv_set_error_errno(error, err, NULL, "the thread for scrubbing cannot be started");
    scrub->started = err == 0;
    return err == 0;
}

void vv_scrub_stop(VvScrub *scrub)
{
    if (!scrub || !scrub->started)
        return;
    pthread_mutex_lock(&scrub->lock);
    scrub->stopping = true;
    pthread_cond_signal(&scrub->changed);
    pthread_mutex_unlock(&scrub->lock);
    pthread_join(scrub->thread, NULL);
    scrub->started = false;
}

void vv_scrub_free(VvScrub *scrub)
{
    if (!scrub)
        return;
    g_assert(!scrub->started);
    free(scrub->data);
    pthread_cond_destroy(&scrub->changed);
    pthread_mutex_destroy(&scrub->lock);
    g_free(scrub);
}

void vv_scrub_kick(VvScrub *scrub)
{
    if (!scrub)
        return;
    VV_LOCKED(&scrub->lock);
    scrub->kicked = true;
    pthread_cond_signal(&scrub->changed);
}

void vv_scrub_added(VvScrub *scrub, const VvJob *job)
{
    if (!scrub || job->kind != VV_JOB_SCRUB)
        return;
    VV_LOCKED(&scrub->lock);
    scrub->last_job = job->id;
    scrub->kicked = true;
    pthread_cond_signal(&scrub->changed);
}

/* ---- asked by people */

bool vv_pool_scrub(VvPool *pool, uint64_t rate_bytes, uint64_t *ret_job, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t mibs;
    VvJob all = { .id = 0 };
    VvOp *op;

    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    g_array_unref(list_extents(pool, &all, &mibs));
    op = vv_transaction_add(&tx, VV_OP_JOB_ADD); /* does nothing if there is one */
    op->job_add.kind = VV_JOB_SCRUB;
    op->job_add.rate_bytes = rate_bytes;
    op->job_add.total = MAX(mibs, 1);
    op->job_add.created_ns = tx.now_ns;
    if (!vv_transaction_commit(&tx, NULL, 0, "pool", error))
        return false;
    VV_META_READ(pool->meta);
    GPtrArray *jobs = vv_meta_jobs(pool->meta);

    for (unsigned i = 0; i < jobs->len; i++) {
        const VvJob *job = g_ptr_array_index(jobs, i);

        if (job->kind != VV_JOB_SCRUB)
            continue;
        *ret_job = job->id;
        return true;
    }
    VV_LOCKED(&pool->scrub->lock);
    *ret_job = pool->scrub->last_job; /* it has ended already */
    return true;
}

void vv_pool_checksummed(VvPool *pool, uint64_t lun_id, uint64_t *ret_used_bytes, uint64_t *ret_bytes)
{
    VV_META_READ(pool->meta);
    GPtrArray *families = vv_meta_families(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, lun_id);
    uint64_t family_id = lun ? vv_meta_branch(pool->meta, lun->branch)->family : 0;

    *ret_used_bytes = *ret_bytes = 0;
    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);

        if (family_id != 0 && family->id != family_id)
            continue;
        *ret_used_bytes += family->used_blocks << VV_BLOCK_SHIFT;
        *ret_bytes += family->sum_blocks << VV_BLOCK_SHIFT;
    }
}
