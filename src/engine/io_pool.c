/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of requests: states, parts and bounce buffers from free lists, so that the steady data path allocates nothing.
 *
 * Lists are split by the worker's number to keep their locks uncontended; a list that is empty is filled by malloc, one
 * that is long gives back. Bounce buffers in use are bounded for all workers together; who comes too late waits in line
 * and gets a buffer when one is put back. Whoever holds one waits for nothing but disks: it comes back. */
#include "io_state.h"

#include <stdlib.h>

#define SHARDS (VV_WORKERS_MAX + 1u)
#define STATES_KEPT 128u /* per shard: 5 KiB each */
#define PARTS_KEPT 512u
#define BOUNCE_BYTES_MAX (8u << 20) /* in use, all workers: 7 unaligned requests of the largest size */
#define BOUNCE_KEPT_BYTES (4u << 20)

static const unsigned bounce_classes[] = { 2, 18,
    258 }; /* blocks: a pair of partial ones, 64 KiB, 1 MiB, each at odd ends */
#define BOUNCE_CLASSES G_N_ELEMENTS(bounce_classes)

typedef struct BounceFree BounceFree;
struct BounceFree {
    BounceFree *next;
};

typedef struct {
    _Alignas(64) pthread_mutex_t lock;
    VvIoState *states;
    VvIoPart *parts;
    unsigned state_count, part_count;
    int64_t live; /* states taken here less those put here: the sum over all shards is what is in use */
} IoShard;

struct VvIoPool {
    IoShard shards[SHARDS];
    pthread_mutex_t bounce_lock; /* a leaf */
    BounceFree *bounce_free[BOUNCE_CLASSES];
    uint64_t bounce_kept_bytes, bounce_used_bytes;
    VvIoList bounce_waiting;
};

VvIoPool *vv_io_pool_new(void)
{
    VvIoPool *io_pool = aligned_alloc(_Alignof(VvIoPool), sizeof *io_pool);
    g_assert(io_pool != NULL);
    memset(io_pool, 0, sizeof *io_pool);
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_init(&io_pool->shards[i].lock, NULL);
    pthread_mutex_init(&io_pool->bounce_lock, NULL);
    return io_pool;
}

static bool is_idle(VvIoPool *io_pool)
{
    int64_t live = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_lock(&io_pool->shards[i].lock);
    for (unsigned i = 0; i < SHARDS; i++)
        live += io_pool->shards[i].live;
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_unlock(&io_pool->shards[i].lock);
    return live == 0;
}

void vv_io_pool_free(VvIoPool *io_pool)
{
    if (io_pool == NULL)
        return;
    /* All requests are done, but the thread that called the last done may not have put the state back yet: no more than
     * a few instructions. */
    while (!is_idle(io_pool))
        g_usleep(100);
    g_assert(io_pool->bounce_used_bytes == 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        IoShard *shard = &io_pool->shards[i];
        while (shard->states) {
            VvIoState *state = shard->states;
            shard->states = state->next;
            g_free(state->sums);
            g_free(state);
        }
        while (shard->parts) {
            VvIoPart *part = shard->parts;
            shard->parts = part->next;
            g_free(part);
        }
        pthread_mutex_destroy(&shard->lock);
    }
    for (unsigned i = 0; i < BOUNCE_CLASSES; i++)
        while (io_pool->bounce_free[i]) {
            BounceFree *buffer = io_pool->bounce_free[i];
            io_pool->bounce_free[i] = buffer->next;
            free(buffer);
        }
    pthread_mutex_destroy(&io_pool->bounce_lock);
    free(io_pool);
}

static IoShard *shard_of(VvIoPool *io_pool)
{
    VvWorker *worker = vv_worker_current();
    return &io_pool->shards[worker ? vv_worker_index(worker) % SHARDS : SHARDS - 1];
}

/* ---- states */

VvIoState *vv_io_state_new(VvPool *pool)
{
    IoShard *shard = shard_of(pool->io_pool);
    VvIoState *state;
    pthread_mutex_lock(&shard->lock);
    state = shard->states;
    shard->live++;
    if (state) {
        shard->states = state->next;
        shard->state_count--;
    }
    pthread_mutex_unlock(&shard->lock);
    if (state == NULL) {
        state = g_new(VvIoState, 1);
        state->sums = NULL;
    }
    memset(state, 0, G_STRUCT_OFFSET(VvIoState, old)); /* the arrays are filled as far as they are used */
    memset(&state->parts, 0, sizeof *state - G_STRUCT_OFFSET(VvIoState, parts));
    state->pool = pool;
    state->io_pool = pool->io_pool;
    return state;
}

void vv_io_state_free(VvIoState *state)
{
    IoShard *shard = shard_of(state->io_pool);
    bool keep;
    g_assert(state->parked == VV_PARK_NONE && state->parts == NULL && state->bounce == NULL);
    pthread_mutex_lock(&shard->lock);
    keep = shard->state_count < STATES_KEPT;
    shard->live--; /* the pool may be freed as soon as the lock is */
    if (keep) {
        state->next = shard->states;
        shard->states = state;
        shard->state_count++;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!keep) {
        g_free(state->sums);
        g_free(state);
    }
}

/* ---- parts */

VvIoPart *vv_io_part_new(VvIoState *state)
{
    IoShard *shard = shard_of(state->pool->io_pool);
    VvIoPart *part;
    pthread_mutex_lock(&shard->lock);
    part = shard->parts;
    if (part) {
        shard->parts = part->next;
        shard->part_count--;
    }
    pthread_mutex_unlock(&shard->lock);
    if (part == NULL)
        part = g_new(VvIoPart, 1);
    memset(part, 0, sizeof *part);
    part->state = state;
    return part;
}

void vv_io_parts_free(VvIoState *state)
{
    IoShard *shard = shard_of(state->pool->io_pool);
    if (state->parts == NULL)
        return;
    pthread_mutex_lock(&shard->lock);
    while (state->parts && shard->part_count < PARTS_KEPT) {
        VvIoPart *part = state->parts;
        state->parts = part->next;
        part->next = shard->parts;
        shard->parts = part;
        shard->part_count++;
    }
    pthread_mutex_unlock(&shard->lock);
    while (state->parts) {
        VvIoPart *part = state->parts;
        state->parts = part->next;
        g_free(part);
    }
}

/* ---- bounce buffers */

static unsigned class_of(unsigned blocks)
{
    unsigned i = 0;
    while (bounce_classes[i] < blocks)
        i++;
    return i;
}

static uint64_t class_bytes(unsigned class)
{
    return (uint64_t) bounce_classes[class] << VV_BLOCK_SHIFT;
}

/* Counts it as used; the lock is held. NULL: none is kept, and it is to be made. */
static uint8_t *take_locked(VvIoPool *io_pool, unsigned class)
{
    BounceFree *buffer = io_pool->bounce_free[class];
    io_pool->bounce_used_bytes += class_bytes(class);
    if (buffer) {
        io_pool->bounce_free[class] = buffer->next;
        io_pool->bounce_kept_bytes -= class_bytes(class);
    }
    return (uint8_t *) buffer;
}

static uint8_t *make(unsigned class)
{
    uint8_t *buffer = aligned_alloc(VV_BLOCK_BYTES, class_bytes(class));
    g_assert(buffer != NULL);
    return buffer;
}

static void bounce_run(VvTask *task)
{
    VvIoState *state = (VvIoState *) ((char *) task - G_STRUCT_OFFSET(VvIoState, task));
    vv_worker_unhold(state->worker);
    if (state->bounce == NULL)
        state->bounce = make(class_of(state->bounce_blocks));
    state->resume(state);
}

bool vv_bounce_get(VvIoState *state, unsigned blocks)
{
    VvIoPool *io_pool = state->pool->io_pool;
    unsigned class = class_of(blocks);
    g_assert(state->bounce == NULL);
    state->bounce_blocks = blocks;
    pthread_mutex_lock(&io_pool->bounce_lock);
    if (io_pool->bounce_waiting.first || io_pool->bounce_used_bytes + class_bytes(class) > BOUNCE_BYTES_MAX) {
        state->task.run = bounce_run;
        vv_worker_hold(state->worker);
        vv_io_list_append(&io_pool->bounce_waiting, state);
        pthread_mutex_unlock(&io_pool->bounce_lock);
        return false;
    }
    state->bounce = take_locked(io_pool, class);
    pthread_mutex_unlock(&io_pool->bounce_lock);
    if (state->bounce == NULL)
        state->bounce = make(class);
    return true;
}

void vv_bounce_put(VvIoState *state)
{
    VvIoPool *io_pool = state->pool->io_pool;
    BounceFree *buffer = (BounceFree *) (void *) state->bounce;
    unsigned class = class_of(state->bounce_blocks);
    VvIoList woken = { NULL, NULL };
    if (buffer == NULL)
        return;
    state->bounce = NULL;
    pthread_mutex_lock(&io_pool->bounce_lock);
    io_pool->bounce_used_bytes -= class_bytes(class);
    if (io_pool->bounce_kept_bytes + class_bytes(class) <= BOUNCE_KEPT_BYTES) {
        buffer->next = io_pool->bounce_free[class];
        io_pool->bounce_free[class] = buffer;
        io_pool->bounce_kept_bytes += class_bytes(class);
        buffer = NULL;
    }
    while (io_pool->bounce_waiting.first) {
        VvIoState *first = io_pool->bounce_waiting.first;
        class = class_of(first->bounce_blocks);
        if (io_pool->bounce_used_bytes + class_bytes(class) > BOUNCE_BYTES_MAX)
            break;
        vv_io_list_remove(&io_pool->bounce_waiting, first);
        first->bounce = take_locked(io_pool, class);
        vv_io_list_append(&woken, first);
    }
    pthread_mutex_unlock(&io_pool->bounce_lock);
    free(buffer);
    vv_wake(&woken);
}
