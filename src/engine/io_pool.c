/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of requests: states, parts and bounce buffers from free lists, so that the steady data path allocates nothing.
 *
 * Lists are split by the worker's number to keep their locks uncontended; a list that is empty is filled from slab.h, one
 * that is long gives back. Bounce buffers in use are bounded for all workers together; who comes too late waits in line
 * and gets a buffer when one is put back. Whoever holds one waits for nothing but disks: it comes back.
 *
 * One bounce buffer of the largest size is always there, and used before others: where malloc has none, requests go one by one. */
#include "io_state.h"
#include "pinned.h"
#include "slab.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SHARDS (VV_WORKERS_MAX + 1u)
#define STATES_KEPT 128u /* per shard: 5 KiB each */
#define PARTS_KEPT 512u
#define BOUNCE_BYTES_MAX (8u << 20) /* in use, all workers: 7 unaligned requests of the largest size */
#define BOUNCE_KEPT_BYTES (4u << 20)

static const unsigned bounce_classes[] = { 2, 18,
    258 }; /* blocks: a pair of partial ones, 64 KiB, 1 MiB, each at odd ends */
#define BOUNCE_CLASSES G_N_ELEMENTS(bounce_classes)
#define RESERVE_BYTES ((size_t) 258 << VV_BLOCK_SHIFT)

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
    uint8_t *reserve; /* of the largest class */
    bool reserve_used;
};

VvIoPool *vv_io_pool_new(void)
{
    VvIoPool *io_pool = aligned_alloc(_Alignof(VvIoPool), sizeof *io_pool);
    g_assert(io_pool != NULL);
    memset(io_pool, 0, sizeof *io_pool);
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_init(&io_pool->shards[i].lock, NULL);
    pthread_mutex_init(&io_pool->bounce_lock, NULL);
    io_pool->reserve = mmap(NULL, RESERVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(io_pool->reserve != MAP_FAILED);
    return io_pool;
}

size_t vv_io_pool_lock(VvIoPool *io_pool)
{
    VV_LOCKED(&io_pool->bounce_lock);
    if (!io_pool->reserve_used)
        vv_pin_share(io_pool->reserve, RESERVE_BYTES);
    return vv_pin_lock(io_pool->reserve, RESERVE_BYTES);
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
            vv_slab_put(state->sums);
            vv_slab_put(state);
        }
        while (shard->parts) {
            VvIoPart *part = shard->parts;
            shard->parts = part->next;
            vv_slab_put(part);
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
    munmap(io_pool->reserve, RESERVE_BYTES);
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
        state = vv_slab_get(sizeof *state);
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
        vv_slab_put(state->sums);
        vv_slab_put(state);
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
        part = vv_slab_get(sizeof *part);
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
        vv_slab_put(part);
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

/* The lock is held. NULL: there is none, and it is to be made. */
static uint8_t *take_locked(VvIoPool *io_pool, unsigned class)
{
    BounceFree *buffer = io_pool->bounce_free[class];
    if (!io_pool->reserve_used) {
        io_pool->reserve_used = true;
        return io_pool->reserve;
    }
    if (buffer) {
        io_pool->bounce_free[class] = buffer->next;
        io_pool->bounce_kept_bytes -= class_bytes(class);
    }
    return (uint8_t *) buffer;
}

/* A buffer is counted as the state's; if there was one, it is. False: the limit is reached. */
static bool count_locked(VvIoPool *io_pool, VvIoState *state)
{
    unsigned class = class_of(state->bounce_blocks);
    if (io_pool->bounce_used_bytes + class_bytes(class) > BOUNCE_BYTES_MAX)
        return false;
    state->bounce = take_locked(io_pool, class);
    io_pool->bounce_used_bytes += class_bytes(class);
    return true;
}

/* What was counted is made if there was none; malloc may take its time, so without the lock. False: there is no memory, and the state waits
 * again: the reserve is in use, so somebody has a buffer that comes back. */
static bool make_or_wait(VvIoPool *io_pool, VvIoState *state)
{
    unsigned class = class_of(state->bounce_blocks);
    if (state->bounce == NULL)
        state->bounce = aligned_alloc(VV_BLOCK_BYTES, class_bytes(class));
    if (state->bounce)
        return true;
    VV_LOCKED(&io_pool->bounce_lock);
    state->bounce = take_locked(io_pool, class);
    if (state->bounce)
        return true;
    io_pool->bounce_used_bytes -= class_bytes(class);
    vv_io_list_append(&io_pool->bounce_waiting, state);
    return false;
}

static void bounce_run(VvTask *task)
{
    VvIoState *state = (VvIoState *) ((char *) task - G_STRUCT_OFFSET(VvIoState, task));
    vv_worker_unhold(state->worker);
    state->resume(state);
}

bool vv_bounce_get(VvIoState *state, unsigned blocks)
{
    VvIoPool *io_pool = state->pool->io_pool;
    g_assert(state->bounce == NULL);
    state->bounce_blocks = blocks;
    state->task.run = bounce_run;
    vv_worker_hold(state->worker); /* before anybody can wake it */
    pthread_mutex_lock(&io_pool->bounce_lock);
    bool counted = io_pool->bounce_waiting.first == NULL && count_locked(io_pool, state);
    if (!counted)
        vv_io_list_append(&io_pool->bounce_waiting, state);
    pthread_mutex_unlock(&io_pool->bounce_lock);
    if (!counted || !make_or_wait(io_pool, state))
        return false;
    vv_worker_unhold(state->worker);
    return true;
}

void vv_bounce_put(VvIoState *state)
{
    VvIoPool *io_pool = state->pool->io_pool;
    BounceFree *buffer = (BounceFree *) (void *) state->bounce;
    unsigned class = class_of(state->bounce_blocks);
    VvIoList woken = { NULL, NULL }, ready = { NULL, NULL };
    if (buffer == NULL)
        return;
    state->bounce = NULL;
    pthread_mutex_lock(&io_pool->bounce_lock);
    io_pool->bounce_used_bytes -= class_bytes(class);
    if ((uint8_t *) buffer == io_pool->reserve) {
        io_pool->reserve_used = false;
        buffer = NULL;
    } else if (io_pool->bounce_kept_bytes + class_bytes(class) <= BOUNCE_KEPT_BYTES) {
        buffer->next = io_pool->bounce_free[class];
        io_pool->bounce_free[class] = buffer;
        io_pool->bounce_kept_bytes += class_bytes(class);
        buffer = NULL;
    }
    while (io_pool->bounce_waiting.first && count_locked(io_pool, io_pool->bounce_waiting.first)) {
        VvIoState *first = io_pool->bounce_waiting.first;
        vv_io_list_remove(&io_pool->bounce_waiting, first);
        vv_io_list_append(&woken, first);
    }
    pthread_mutex_unlock(&io_pool->bounce_lock);
    free(buffer);
    while ((state = vv_io_list_pop(&woken)))
        if (make_or_wait(io_pool, state))
            vv_io_list_append(&ready, state);
    vv_wake(&ready);
}
