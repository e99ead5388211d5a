/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block locks: writes that cover a block in part have it alone from read to publish; whole blocks are shared.
 *
 * K1  A lock waits for every earlier one in its region with which it conflicts, held or not: first come, first served, so
 *     nobody starves.
 * K2  A request asks for all its locks in one critical section, so waiting goes from later to earlier arrivals only:
 *     there are no circles.
 * K3  state->blockers is the number of (own lock, earlier conflicting lock) pairs that are still in line. */
#include "io_state.h"

static VvBlockLockList *list_of(VvView *view, uint64_t region)
{
    return &view->block_locks[region % VV_LOCK_BUCKETS];
}

static bool conflict(const VvBlockLock *a, const VvBlockLock *b)
{
    if (a->region != b->region)
        return false;
    unsigned begin = MAX(a->begin, b->begin);
    unsigned end = MIN(a->end, b->end);
    if (begin >= end)
        return false;
    bool a_shares = begin >= a->body_begin && end <= a->body_end;
    bool b_shares = begin >= b->body_begin && end <= b->body_end;
    return !a_shares || !b_shares;
}

/* The part of the state's range that lies in its @i-th region. */
static void set_range(VvBlockLock *lock, VvIoState *state, unsigned i, bool exclusive)
{
    uint64_t region = state->first_block / VV_REGION_BLOCKS + i;
    uint64_t base = region * VV_REGION_BLOCKS;
    uint64_t begin = MAX(state->first_block, base);
    uint64_t end = MIN(state->first_block + state->block_count, base + VV_REGION_BLOCKS);
    *lock = (VvBlockLock){
        .owner = state,
        .region = region,
        .begin = (uint16_t) (begin - base),
        .end = (uint16_t) (end - base),
    };
    lock->body_begin = lock->begin;
    lock->body_end = lock->end;
    if (state->head_partial && begin == state->first_block)
        lock->body_begin++;
    if (state->tail_partial && end == state->first_block + state->block_count)
        lock->body_end--;
    if (exclusive || lock->body_begin >= lock->body_end)
        lock->body_begin = lock->body_end = lock->begin;
}

bool vv_block_lock_acquire(VvIoState *state, bool exclusive)
{
    uint64_t last = state->first_block + state->block_count - 1;
    state->lock_count = (unsigned) (last / VV_REGION_BLOCKS - state->first_block / VV_REGION_BLOCKS) + 1;
    state->blockers = 0;
    g_assert(state->block_count > 0 && state->lock_count <= G_N_ELEMENTS(state->locks));
    for (unsigned i = 0; i < state->lock_count; i++) {
        VvBlockLock *lock = &state->locks[i];
        set_range(lock, state, i, exclusive);
        VvBlockLockList *list = list_of(state->view, lock->region);
        for (const VvBlockLock *earlier = list->first; earlier; earlier = earlier->next)
            if (conflict(earlier, lock))
                state->blockers++;
        lock->previous = list->last;
        *(list->last ? &list->last->next : &list->first) = lock;
        list->last = lock;
    }
    return state->blockers == 0;
}

void vv_block_lock_release(VvIoState *state, VvIoList *woken)
{
    for (unsigned i = 0; i < state->lock_count; i++) {
        VvBlockLock *lock = &state->locks[i];
        VvBlockLockList *list = list_of(state->view, lock->region);
        for (VvBlockLock *later = lock->next; later; later = later->next) {
            VvIoState *owner = later->owner;
            if (owner == state || !conflict(lock, later))
                continue;
            g_assert(owner->blockers > 0);
            if (--owner->blockers == 0 && owner->parked == VV_PARK_LOCK)
                vv_unpark(owner, 0, woken);
        }
        *(lock->previous ? &lock->previous->next : &list->first) = lock->next;
        *(lock->next ? &lock->next->previous : &list->last) = lock->previous;
    }
    state->lock_count = 0;
}
