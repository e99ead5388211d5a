/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operation threads: see operations.h. The state of a lane:
 *
 *     running < limit    its next operation, if any, is in `runnable` or runs
 *     running = limit    its further operations wait in `waiting`
 *     nothing left       it is freed
 *
 * J1  `running` counts operations in `runnable` too: they have a place.
 * J2  A operation that is runnable has a thread soon: idle ones are woken, and if there are fewer than runnable operations a new one is
 *     made, below the limit. */
#include "operations.h"

#include "util.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <string.h>
#include <time.h>

struct VvLane {
    uint64_t node;
    VvLaneClass class;
    unsigned running; /* J1 */
    GQueue waiting;   /* VvOperation */
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

void vv_operations_init(VvOperations *operations, VvOperationRun run, void *user)
{
    operations->run = run;
    operations->user = user;
    pthread_mutex_init(&operations->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&operations->work, &attributes);
    pthread_cond_init(&operations->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    operations->lanes = g_hash_table_new_full(lane_hash, lane_equal, NULL, g_free);
    operations->uniques = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_queue_init(&operations->runnable);
}

void vv_operations_clear(VvOperations *operations)
{
    g_assert(operations->threads == 0 && operations->pending == 0);
    g_hash_table_unref(operations->lanes);
    g_hash_table_unref(operations->uniques);
    pthread_cond_destroy(&operations->ended);
    pthread_cond_destroy(&operations->work);
    pthread_mutex_destroy(&operations->lock);
}

static void end_locked(VvOperations *operations, VvOperation *operation)
{
    VvLane *lane = operation->lane;
    g_hash_table_remove(operations->uniques, &operation->unique);
    lane->running--;
    VvOperation *next = g_queue_pop_head(&lane->waiting);
    if (next) {
        lane->running++;
        g_queue_push_tail(&operations->runnable, next);
    } else if (lane->running == 0) {
        g_hash_table_remove(operations->lanes, lane);
    }
    operations->pending--;
    if (operations->pending == 0)
        pthread_cond_broadcast(&operations->ended);
}

/* The next operation, or NULL: the thread shall end. */
static VvOperation *wait_locked(VvOperations *operations)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += VV_OPERATION_IDLE_S;
    VvOperation *operation;
    while ((operation = g_queue_pop_head(&operations->runnable)) == NULL) {
        if (operations->stopping)
            return NULL;
        operations->idle++;
        int rc = pthread_cond_timedwait(&operations->work, &operations->lock, &until);
        operations->idle--;
        if (rc == ETIMEDOUT && g_queue_is_empty(&operations->runnable))
            return NULL;
    }
    return operation;
}

static void *run_operations(void *user)
{
    VvOperations *operations = user;
    pthread_setname_np(pthread_self(), "vvfs-operation");
    pthread_mutex_lock(&operations->lock);
    for (VvOperation *operation; (operation = wait_locked(operations));) {
        pthread_mutex_unlock(&operations->lock);
        operations->run(operations->user, operation);
        pthread_mutex_lock(&operations->lock);
        end_locked(operations, operation);
        g_free(operation);
    }
    operations->threads--;
    pthread_cond_broadcast(&operations->ended);
    pthread_mutex_unlock(&operations->lock);
    return NULL;
}

/* J2 */
static void provide_thread_locked(VvOperations *operations)
{
    if (operations->idle > 0)
        pthread_cond_signal(&operations->work);
    if (g_queue_get_length(&operations->runnable) <= operations->idle ||
        operations->threads == VV_OPERATION_THREADS_MAX)
        return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int rc = pthread_create(&thread, &attributes, run_operations, operations);
    if (rc == 0)
        operations->threads++;
    else
        vv_log(VV_LOG_WARNING, "no further operation thread: %s", g_strerror(rc));
    g_assert(operations->threads > 0); /* without one nothing would ever be answered */
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void vv_operations_add(VvOperations *operations, VvLaneClass class, void *slot, int fd, const void *request,
    size_t length_bytes)
{
    const struct fuse_in_header *header = request;
    VvOperation *operation = g_malloc(sizeof *operation + length_bytes);
    operation->unique = header->unique;
    operation->slot = slot;
    operation->fd = fd;
    operation->length_bytes = length_bytes;
    memcpy(operation->request, request, length_bytes);

    VV_LOCKED(&operations->lock);
    VvLane key = { .node = header->nodeid, .class = class };
    VvLane *lane = g_hash_table_lookup(operations->lanes, &key);
    if (lane == NULL) {
        lane = g_new0(VvLane, 1);
        lane->node = header->nodeid;
        lane->class = class;
        g_queue_init(&lane->waiting);
        g_hash_table_add(operations->lanes, lane);
    }
    operation->lane = lane;
    g_hash_table_add(operations->uniques, &operation->unique);
    operations->pending++;
    if (lane->running == lane_limit(lane)) {
        g_queue_push_tail(&lane->waiting, operation);
        return;
    }
    lane->running++;
    g_queue_push_tail(&operations->runnable, operation);
    provide_thread_locked(operations);
}

bool vv_operations_has(VvOperations *operations, uint64_t unique)
{
    VV_LOCKED(&operations->lock);
    return g_hash_table_contains(operations->uniques, &unique);
}

void vv_operations_stop(VvOperations *operations)
{
    VV_LOCKED(&operations->lock);
    while (operations->pending > 0)
        pthread_cond_wait(&operations->ended, &operations->lock);
    operations->stopping = true;
    pthread_cond_broadcast(&operations->work);
    while (operations->threads > 0)
        pthread_cond_wait(&operations->ended, &operations->lock);
    operations->stopping = false;
}
