/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The map of a request's blocks: pending first, then the page cache, then a helper thread that may wait for the store.
 *
 * M1  Pending is read before the applied map. A block that is not pending then is either not going to be, or newer in the
 *     applied map when that is read: never older than what was acknowledged before the request.
 * M2  The era is entered before: a place that was found stays what it is until the request leaves it.
 * M3  Checksums are looked up after the map (io_sums.c), here or on the helper. */
#include "io_sums.h"

#include <errno.h>
#include <stdio.h>

#define HELPERS 2u

struct VvLookup {
    VvPool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    VvIoList queue;
    bool stopping;
    pthread_t threads[HELPERS];
};

/* ---- what is in memory */

static unsigned region_count(const VvIoState *state)
{
    return vv_io_region_of(state, state->block_count - 1) + 1;
}

/* The state's blocks [*ret_i, + count) are blocks [*ret_first, + count) of its @r-th region. */
static unsigned region_part(const VvIoState *state, unsigned r, unsigned *ret_i, unsigned *ret_first)
{
    uint64_t base = (state->first_block / VV_REGION_BLOCKS + r) * VV_REGION_BLOCKS;
    uint64_t begin = MAX(state->first_block, base);
    uint64_t end = MIN(state->first_block + state->block_count, base + VV_REGION_BLOCKS);
    *ret_i = (unsigned) (begin - state->first_block);
    *ret_first = (unsigned) (begin - base);
    return (unsigned) (end - begin);
}

/* view->lock held. */
static void read_pending(VvIoState *state)
{
    const VvView *view = state->view;
    uint64_t region = state->first_block / VV_REGION_BLOCKS;
    unsigned first = (unsigned) (state->first_block % VV_REGION_BLOCKS);
    state->redirects = view->redirect_always;
    state->summed = false;
    const VvPendingRegion *pending = vv_pending_find(&view->pending, region);
    const VvPendingBlock *before = pending && first > 0 ? vv_pending_block(pending, first - 1) : NULL;
    state->hint = before && before->place ? before->place + 1 : view->alloc_hint;
    for (unsigned i = 0; i < state->block_count; i++, first++) {
        if (first == VV_REGION_BLOCKS) {
            first = 0;
            pending = vv_pending_find(&view->pending, ++region);
        }
        const VvPendingBlock *block = pending ? vv_pending_block(pending, first) : NULL;
        state->how[i] = 0;
        if (block) {
            state->old[i] = block->place;
            state->how[i] = VV_HOW_PENDING | (block->tag == view->tag ? VV_HOW_TAG : 0);
            vv_io_sums_pending(state, i, vv_records_get(&view->records, (size_t) (block->sequence - view->applied_sequence - 1)));
        }
    }
}

void vv_io_read_pending(VvIoState *state)
{
    if (!state->in_era) /* M2 */
        state->era = vv_era_enter(state->pool);
    state->in_era = true;
    read_pending(state); /* M1 */
    state->pending_read = true;
}

static void take_applied(VvIoState *state, unsigned r, const VvCachedPage *page, const VvPlace *places)
{
    unsigned i, first;
    unsigned count = region_part(state, r, &i, &first);
    state->regions[r].page = *page;
    for (unsigned k = 0; k < count; k++)
        if (!(state->how[i + k] & VV_HOW_PENDING))
            state->old[i + k] = places[k];
}

static bool read_cache(VvIoState *state)
{
    VvPlace places[VV_REGION_BLOCKS];
    bool missing = false;
    for (unsigned r = 0; r < region_count(state); r++) {
        unsigned i, first;
        unsigned count = region_part(state, r, &i, &first);
        VvCachedPage page;
        state->regions[r].missing = !vv_page_cache_get(state->pool->cache, state->branch, state->epoch,
            state->first_block / VV_REGION_BLOCKS + r, first, count, &page, places);
        if (state->regions[r].missing)
            missing = true;
        else
            take_applied(state, r, &page, places);
    }
    return !missing;
}

/* ---- what is not: on a helper's thread */

static int read_store(VvIoState *state, unsigned r)
{
    VvPool *pool = state->pool;
    uint64_t region = state->first_block / VV_REGION_BLOCKS + r;
    uint64_t version = vv_page_cache_version(pool->cache, state->branch, region);
    VvCachedPage info = { .present = true };
    VvPage page;
    unsigned i, first;
    int rc = vv_map_lookup(pool->meta, state->branch, region, state->epoch, &page, &info.key, &info.family);
    if (rc == -ENODATA) {
        info = (VvCachedPage){ .present = false, .family = state->family };
        memset(&page, 0, sizeof page);
    } else if (rc < 0) {
        return rc;
    }
    vv_page_cache_put(pool->cache, version, state->branch, state->epoch, region, &info, &page);
    (void) region_part(state, r, &i, &first);
    take_applied(state, r, &info, &page.place[first]);
    return 0;
}

static void back_run(VvTask *task)
{
    VvIoState *state = (VvIoState *) ((char *) task - G_STRUCT_OFFSET(VvIoState, task));
    vv_worker_unhold(state->worker);
    state->resume(state);
}

static void *helper_main(void *user)
{
    VvLookup *lookup = user;
    pthread_setname_np(pthread_self(), "lookup");
    pthread_mutex_lock(&lookup->lock);
    for (;;) {
        while (lookup->queue.first == NULL && !lookup->stopping)
            pthread_cond_wait(&lookup->changed, &lookup->lock);
        VvIoState *state = vv_io_list_pop(&lookup->queue);
        if (state == NULL)
            break;
        pthread_mutex_unlock(&lookup->lock);
        for (unsigned r = 0; r < region_count(state) && state->part_result == 0; r++)
            if (state->regions[r].missing)
                state->part_result = read_store(state, r);
        if (state->part_result == 0)
            state->part_result = vv_io_sums_load(state);
        vv_worker_post(state->worker, &state->task);
        pthread_mutex_lock(&lookup->lock);
    }
    pthread_mutex_unlock(&lookup->lock);
    return NULL;
}

VvLookup *vv_lookup_new(VvPool *pool)
{
    VvLookup *lookup = g_new0(VvLookup, 1);
    lookup->pool = pool;
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_cond_init(&lookup->changed, NULL);
    for (unsigned i = 0; i < HELPERS; i++) {
        int rc = pthread_create(&lookup->threads[i], NULL, helper_main, lookup);
        g_assert(rc == 0);
    }
    return lookup;
}

void vv_lookup_free(VvLookup *lookup)
{
    if (lookup == NULL)
        return;
    pthread_mutex_lock(&lookup->lock);
    lookup->stopping = true;
    pthread_cond_broadcast(&lookup->changed);
    pthread_mutex_unlock(&lookup->lock);
    for (unsigned i = 0; i < HELPERS; i++)
        pthread_join(lookup->threads[i], NULL);
    g_assert(lookup->queue.first == NULL);
    pthread_cond_destroy(&lookup->changed);
    pthread_mutex_destroy(&lookup->lock);
    g_free(lookup);
}

/* ---- for the data path */

uint64_t vv_io_family_of(const VvIoState *state, unsigned i)
{
    return state->how[i] & VV_HOW_PENDING ? state->family : state->regions[vv_io_region_of(state, i)].page.family;
}

void vv_io_map(VvIoState *state, void (*next)(VvIoState *state))
{
    VvLookup *lookup = state->pool->lookup;
    state->part_result = 0;
    if (!state->pending_read) {
        VV_LOCKED(&state->view->lock);
        vv_io_read_pending(state);
    }
    state->pending_read = false; /* who maps again looks again */
    atomic_fetch_add_explicit(&state->pool->page_lookups, 1, memory_order_relaxed);
    if (read_cache(state) && vv_io_sums_cached(state)) {
        next(state);
        return;
    }
    atomic_fetch_add_explicit(&state->pool->page_misses, 1, memory_order_relaxed);
    state->resume = next;
    state->task.run = back_run;
    vv_worker_hold(state->worker);
    pthread_mutex_lock(&lookup->lock);
    vv_io_list_append(&lookup->queue, state);
    pthread_cond_signal(&lookup->changed);
    pthread_mutex_unlock(&lookup->lock);
}
