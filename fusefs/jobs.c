/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operation threads: see jobs.h. The state of a lane:
 *
 *     running < limit    its next job, if any, is in `runnable` or runs
 *     running = limit    its further jobs wait in `waiting`
 *     nothing left       it is freed
 *
 * J1  `running` counts jobs in `runnable` too: they have a place.
 * J2  A job that is runnable has a thread soon: idle ones are woken, and if there are fewer than runnable jobs a new one is
 *     made, below the limit. */
#include "jobs.h"

#include "util.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

struct VvLane {
    uint64_t node;
    VvLaneClass class;
    unsigned running; /* J1 */
    GQueue waiting;   /* VvJobRequest */
};

static guint lane_hash(gconstpointer key)
{
    const VvLane *lane = key;
    return g_int64_hash(&lane->node) * 2 + lane->class;
}

static gboolean lane_equal(gconstpointer a, gconstpointer b)
{
    const VvLane *one = a, *other = b;
    return one->node == other->node && one->class == other->class;
}

static unsigned lane_limit(const VvLane *lane)
{
    return lane->class == VV_LANE_ORDER ? 1 : VV_LANE_LONG_AT_ONCE;
}

void vv_jobs_init(VvJobs *jobs, VvJobRun run, void *user)
{
    jobs->run = run;
    jobs->user = user;
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&jobs->work, &attributes);
    pthread_cond_init(&jobs->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    jobs->lanes = g_hash_table_new_full(lane_hash, lane_equal, NULL, g_free);
    jobs->uniques = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_queue_init(&jobs->runnable);
}

void vv_jobs_clear(VvJobs *jobs)
{
    g_assert(jobs->threads == 0 && jobs->pending == 0);
    g_hash_table_unref(jobs->lanes);
    g_hash_table_unref(jobs->uniques);
    pthread_cond_destroy(&jobs->ended);
    pthread_cond_destroy(&jobs->work);
    pthread_mutex_destroy(&jobs->lock);
}

static void end_locked(VvJobs *jobs, VvJobRequest *job)
{
    VvLane *lane = job->lane;
    g_hash_table_remove(jobs->uniques, &job->unique);
    lane->running--;
    VvJobRequest *next = g_queue_pop_head(&lane->waiting);
    if (next) {
        lane->running++;
        g_queue_push_tail(&jobs->runnable, next);
    } else if (lane->running == 0) {
        g_hash_table_remove(jobs->lanes, lane);
    }
    jobs->pending--;
    if (jobs->pending == 0)
        pthread_cond_broadcast(&jobs->ended);
}

/* The next job, or NULL: the thread shall end. */
static VvJobRequest *wait_locked(VvJobs *jobs)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += VV_JOB_IDLE_S;
    VvJobRequest *job;
    while ((job = g_queue_pop_head(&jobs->runnable)) == NULL) {
        if (jobs->stopping)
            return NULL;
        jobs->idle++;
        int rc = pthread_cond_timedwait(&jobs->work, &jobs->lock, &until);
        jobs->idle--;
        if (rc == ETIMEDOUT && g_queue_is_empty(&jobs->runnable))
            return NULL;
    }
    return job;
}

static void *run_jobs(void *user)
{
    VvJobs *jobs = user;
    pthread_mutex_lock(&jobs->lock);
    for (VvJobRequest *job; (job = wait_locked(jobs));) {
        pthread_mutex_unlock(&jobs->lock);
        jobs->run(jobs->user, job);
        pthread_mutex_lock(&jobs->lock);
        end_locked(jobs, job);
        g_free(job);
    }
    jobs->threads--;
    pthread_cond_broadcast(&jobs->ended);
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* J2 */
static void provide_thread_locked(VvJobs *jobs)
{
    if (jobs->idle > 0)
        pthread_cond_signal(&jobs->work);
    if (g_queue_get_length(&jobs->runnable) <= jobs->idle || jobs->threads == VV_JOB_THREADS_MAX)
        return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int rc = pthread_create(&thread, &attributes, run_jobs, jobs);
    if (rc == 0)
        jobs->threads++;
    else
        vv_log(VV_LOG_WARNING, "no further operation thread: %s", g_strerror(rc));
    g_assert(jobs->threads > 0); /* without one nothing would ever be answered */
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void vv_jobs_add(
    VvJobs *jobs, uint64_t node, VvLaneClass class, uint64_t unique, int fd, const void *request, size_t length_bytes)
{
    VvJobRequest *job = g_malloc(sizeof *job + length_bytes);
    job->unique = unique;
    job->fd = fd;
    job->length_bytes = length_bytes;
    memcpy(job->request, request, length_bytes);

    VV_LOCKED(&jobs->lock);
    VvLane key = { .node = node, .class = class };
    VvLane *lane = g_hash_table_lookup(jobs->lanes, &key);
    if (lane == NULL) {
        lane = g_new0(VvLane, 1);
        lane->node = node;
        lane->class = class;
        g_queue_init(&lane->waiting);
        g_hash_table_add(jobs->lanes, lane);
    }
    job->lane = lane;
    g_hash_table_add(jobs->uniques, &job->unique);
    jobs->pending++;
    if (lane->running == lane_limit(lane)) {
        g_queue_push_tail(&lane->waiting, job);
        return;
    }
    lane->running++;
    g_queue_push_tail(&jobs->runnable, job);
    provide_thread_locked(jobs);
}

bool vv_jobs_has(VvJobs *jobs, uint64_t unique)
{
    VV_LOCKED(&jobs->lock);
    return g_hash_table_contains(jobs->uniques, &unique);
}

void vv_jobs_stop(VvJobs *jobs)
{
    VV_LOCKED(&jobs->lock);
    while (jobs->pending > 0)
        pthread_cond_wait(&jobs->ended, &jobs->lock);
    jobs->stopping = true;
    pthread_cond_broadcast(&jobs->work);
    while (jobs->threads > 0)
        pthread_cond_wait(&jobs->ended, &jobs->lock);
    jobs->stopping = false;
}
