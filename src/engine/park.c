/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parked requests: what waits for a gate, a block lock, space or the journal waits in its view's list, not in a worker.
 *
 *   why     holds while it waits                    goes on with
 *   GATE    nothing                                 admission, anew
 *   SPACE   nothing                                 admission, anew
 *   JOURNAL nothing                                 admission, anew
 *   LOCK    its place in line, its in-flight count  its start: the lock is held
 *
 * K4  A state is in view->parked exactly while state->parked is set; who takes it out posts its task, once.
 * K5  Every wait ends: by what it waits for, its deadline (the view's timeout from the first parking on), an
 *     interrupt, or the forced end of the pool.
 * K6  The worker of a parked request is held, so that it waits where its mailbox wakes it. */
#include "alloc_private.h"
#include "elsewhere.h"
#include "io_state.h"

#include <errno.h>

void vv_io_list_append(VvIoList *list, VvIoState *state)
{
    state->next = NULL;
    state->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = state;
    list->last = state;
}

void vv_io_list_remove(VvIoList *list, VvIoState *state)
{
    *(state->previous ? &state->previous->next : &list->first) = state->next;
    *(state->next ? &state->next->previous : &list->last) = state->previous;
    state->previous = state->next = NULL;
}

VvIoState *vv_io_list_pop(VvIoList *list)
{
    VvIoState *state = list->first;
    if (state)
        vv_io_list_remove(list, state);
    return state;
}

static void unparked_run(VvTask *task)
{
    VvIoState *state = (VvIoState *) ((char *) task - G_STRUCT_OFFSET(VvIoState, task));
    vv_worker_unhold(state->worker);
    if (state->wake_result < 0) {
        vv_io_finish(state, state->wake_result);
        return;
    }
    if (state->told) {
        state->told = false;
        state->io->waits(state->io, false);
    }
    state->resume(state);
}

void vv_park_told(VvIoState *state)
{
    if (state->waits_for == VV_PARK_LOCK ||
        state->io->waits == NULL) /* who is in line for a block waits for disks only */
        return;
    state->told = true;
    state->io->waits(state->io, true);
}

int vv_park(VvIoState *state, VvPark why)
{
    VvView *view = state->view;
    uint64_t now_ms = vv_monotonic_ms();
    if (why != VV_PARK_LOCK && (atomic_load(&state->pool->abort_waiting) || atomic_load(&state->pool->failed)))
        return -EIO; /* who is in line for a block waits for disks only */
    if (state->deadline_ms == 0)
        state->deadline_ms = now_ms + 1000u * (uint64_t) MAX(view->timeout_s, 1);
    if (state->deadline_ms <= now_ms)
        return why == VV_PARK_SPACE ? -ENOSPC : -ETIMEDOUT;
    state->parked = state->waits_for = why;
    state->task.run = unparked_run;
    vv_io_list_append(&view->parked, state);
    if (why == VV_PARK_JOURNAL)
        atomic_fetch_add(&state->pool->journal_waiters, 1);
    vv_worker_hold(state->worker); /* K6 */
    vv_ticker_kick(state->pool->ticker);
    return 0;
}

void vv_unpark(VvIoState *state, int result, VvIoList *woken)
{
    g_assert(state->parked != VV_PARK_NONE);
    vv_io_list_remove(&state->view->parked, state);
    if (state->parked == VV_PARK_JOURNAL)
        atomic_fetch_sub(&state->pool->journal_waiters, 1);
    state->parked = VV_PARK_NONE;
    state->wake_result = result;
    vv_io_list_append(woken, state);
}

void vv_wake(VvIoList *woken)
{
    VvIoState *state;
    while ((state = vv_io_list_pop(woken)))
        vv_worker_post(state->worker, &state->task); /* it may be gone after this */
}

void vv_unpark_all(VvView *view, VvPark why, bool final, VvIoList *woken)
{
    VvIoState *next;
    for (VvIoState *state = view->parked.first; state; state = next) {
        next = state->next;
        if (state->parked != why)
            continue;
        if (final && view->on_full == VV_ON_FULL_WAIT)
            continue;
        state->space_final = final;
        vv_unpark(state, 0, woken);
    }
}

bool vv_park_expire(VvView *view, uint64_t now_ms)
{
    VvIoList woken = { NULL, NULL };
    bool some;
    {
        VV_LOCKED(&view->lock);
        VvIoState *next;
        for (VvIoState *state = view->parked.first; state; state = next) {
            next = state->next;
            if (state->deadline_ms <= now_ms)
                vv_unpark(state, state->parked == VV_PARK_SPACE ? -ENOSPC : -ETIMEDOUT, &woken);
        }
        some = view->parked.first != NULL;
    }
    vv_wake(&woken);
    return some;
}

void vv_view_wake(VvView *view)
{
    VvIoList woken = { NULL, NULL };
    {
        VV_LOCKED(&view->lock);
        vv_unpark_all(view, VV_PARK_GATE, false, &woken);
        vv_unpark_all(view, VV_PARK_SPACE, false, &woken);
    }
    vv_wake(&woken);
}

void vv_views_abort_waiting(VvPool *pool)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        VvIoList woken = { NULL, NULL };
        {
            VV_LOCKED(&view->lock);
            VvIoState *next;
            for (VvIoState *state = view->parked.first; state; state = next) {
                next = state->next;
                if (state->parked != VV_PARK_LOCK)
                    vv_unpark(state, -EIO, &woken);
            }
        }
        vv_wake(&woken);
    }
}

unsigned vv_park_wake_space(VvPool *pool, uint64_t family, bool final)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);
    unsigned left = 0;
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        VvIoList woken = { NULL, NULL };
        {
            VV_LOCKED(&view->lock);
            if (view->family == family)
                vv_unpark_all(view, VV_PARK_SPACE, final, &woken);
            for (const VvIoState *state = view->parked.first; state && view->family == family; state = state->next)
                left += state->parked == VV_PARK_SPACE;
        }
        vv_wake(&woken);
    }
    return left;
}

bool vv_io_is_hopeless(VvIo *io)
{
    VvIoState *state = __atomic_load_n(&io->state, __ATOMIC_ACQUIRE);
    uint64_t family;
    if (state == NULL || io->view->pool->elsewhere) /* what waits there, and for what, is not known here */
        return false;
    {
        VV_LOCKED(&io->view->lock);
        if (state->parked != VV_PARK_SPACE)
            return false;
        family = io->view->family;
    }
    return vv_alloc_is_hopeless(io->view->pool->alloc, family);
}

void vv_io_interrupt(VvIo *io)
{
    VvIoState *state = __atomic_load_n(&io->state, __ATOMIC_ACQUIRE);
    VvIoList woken = { NULL, NULL };
    const VvElsewhere *elsewhere;
    if (state == NULL) /* not begun, or over: its view may have gone */
        return;
    elsewhere = io->view->pool->elsewhere;
    if (elsewhere) {
        (void) elsewhere->interrupt(elsewhere->user, io);
        return;
    }
    {
        VV_LOCKED(&io->view->lock);
        if (state->parked != VV_PARK_NONE)
            vv_unpark(state, -EINTR, &woken);
    }
    vv_wake(&woken);
}
