/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests: submission, admission, leaving, the end. The states are in io_state.h.
 *
 * A1  A request is counted in flight from admission to publish (or to giving up), and never while it waits for a gate or
 *     for space: closing a gate waits only for what goes on by itself.
 * A2  What it found in the view at admission (branch, epoch, tag, family) stays true while it is counted.
 * A3  It enters its era before its first look-up and leaves it after its last disk I/O. */
#include "elsewhere_view.h"
#include "intent.h"
#include "io_state.h"

#include <errno.h>

static bool is_read(const VvIoState *state)
{
    return state->io->kind == VV_IO_READ;
}

/* ---- admission: view->lock held */

/* 0, or why the view takes no such request at all. */
static int check_locked(const VvIoState *state)
{
    const VvView *view = state->view;
    const VvPool *pool = state->pool;
    if (view->gone)
        return -ESTALE;
    if (atomic_load(&pool->closing))
        return -ESHUTDOWN;
    if (state->io->handle && vv_handle_is_revoked(state->io->handle))
        return -EIO;
    if (is_read(state))
        return 0;
    if (!view->is_lun || pool->read_only)
        return -EROFS;
    return atomic_load(&pool->failed) ? -EROFS : 0;
}

/* Set the range, clipped to the object. Returns 1 if there is something to do, 0 if not, or -errno. */
static int clip_locked(VvIoState *state)
{
    const VvView *view = state->view;
    const VvIo *io = state->io;
    bool grows = io->kind == VV_IO_WRITE && view->elastic;
    uint64_t limit = grows ? VV_LUN_BYTES_MAX : view->size_bytes;
    if (io->length_bytes == 0)
        return 0;
    if (io->offset >= limit)
        return io->kind == VV_IO_WRITE ? -ENOSPC : 0;
    state->offset = io->offset;
    state->end = io->offset + MIN((uint64_t) io->length_bytes, limit - io->offset);

    uint64_t last_block = (state->end - 1) >> VV_BLOCK_SHIFT;
    state->first_block = state->offset >> VV_BLOCK_SHIFT;
    state->block_count = (unsigned) (last_block - state->first_block + 1);
    state->head_partial = state->offset % VV_BLOCK_BYTES != 0;
    state->tail_partial = state->end % VV_BLOCK_BYTES != 0;
    /* Behind the end of a LUN that cannot grow there is nothing to keep. */
    if (state->end == view->size_bytes && !view->elastic && io->kind == VV_IO_ZERO)
        state->tail_partial = false;
    if (state->block_count == 1 && (state->head_partial || state->tail_partial))
        state->head_partial = state->tail_partial = true;
    return 1;
}

/* An adopted map goes on behind the end: nothing may extend the LUN before that is cut off. */
static bool uncovers_tail_locked(const VvIoState *state)
{
    return state->view->tail_behind && state->io->kind == VV_IO_WRITE && state->end > state->view->size_bytes;
}

/* Returns 1: go on; 0: parked; or the request's result: -errno, or INT_MIN for "nothing to do". */
static int admit_locked(VvIoState *state, bool *ret_cut_tail)
{
    VvView *view = state->view;
    int rc = check_locked(state);
    if (rc < 0)
        return rc;
    if (is_read(state) ? view->read_gates > 0 : view->write_gates > 0) {
        state->resume = vv_io_admit;
        return vv_park(state, VV_PARK_GATE);
    }
    rc = clip_locked(state);
    if (rc <= 0)
        return rc < 0 ? rc : INT_MIN;
    if (uncovers_tail_locked(state)) {
        *ret_cut_tail = true;
        state->resume = vv_io_admit;
        return vv_park(state, VV_PARK_GATE);
    }
    state->waits_for_space = view->on_full == VV_ON_FULL_WAIT;
    state->branch = view->branch;
    state->epoch = view->epoch;
    state->family = view->family;
    if (is_read(state)) {
        view->reads_in_flight++;
        state->counted_read = true;
        vv_io_read_pending(state);
        return 1;
    }
    vv_intents_enter(state);
    view->writes_in_flight++;
    state->counted_write = true;
    if (vv_block_lock_acquire(state, state->io->kind == VV_IO_ALLOCATE)) {
        vv_io_read_pending(state);
        return 1;
    }
    state->resume = vv_io_write_start;
    return vv_park(state, VV_PARK_LOCK);
}

void vv_io_admit(VvIoState *state)
{
    int rc;
    bool cut_tail = false;
    VvPool *pool = state->pool;
    uint64_t id = state->view->id;
    {
        VV_LOCKED(&state->view->lock);
        rc = admit_locked(state, &cut_tail);
    }
    if (cut_tail)
        vv_pool_object_closed(pool, id);
    if (rc == 0) /* parked: it comes back through the mailbox */
        vv_park_told(state);
    else if (rc < 0)
        vv_io_finish(state, rc == INT_MIN ? 0 : rc);
    else if (is_read(state))
        vv_io_read_start(state);
    else
        vv_io_write_start(state);
}

/* ---- the end */

void vv_io_leave_locked(VvIoState *state, VvIoList *woken)
{
    VvView *view = state->view;
    if (state->lock_count > 0)
        vv_block_lock_release(state, woken);
    if (state->counted_read && --view->reads_in_flight == 0)
        pthread_cond_broadcast(&view->drained);
    if (state->counted_write && --view->writes_in_flight == 0)
        pthread_cond_broadcast(&view->drained);
    state->counted_read = state->counted_write = false;
}

void vv_io_leave(VvIoState *state)
{
    VvIoList woken = { NULL, NULL };
    if (state->in_era)
        vv_era_leave(state->pool, state->era);
    state->in_era = state->pending_read = false;
    vv_bounce_put(state);
    vv_io_parts_free(state);
    if (!state->counted_read && !state->counted_write)
        return;
    {
        VV_LOCKED(&state->view->lock);
        vv_intents_leave(state, VV_INTENT_GAVE_UP);
        vv_io_leave_locked(state, &woken);
    }
    vv_wake(&woken);
}

static VvStatOp stat_of(VvIoKind kind)
{
    switch (kind) {
    case VV_IO_READ:
        return VV_STAT_READ;
    case VV_IO_FLUSH:
        return VV_STAT_FLUSH;
    case VV_IO_ZERO:
        return VV_STAT_DISCARD;
    case VV_IO_WRITE:
    case VV_IO_ALLOCATE:
    default:
        return VV_STAT_WRITE;
    }
}

static unsigned bucket_of(uint64_t nanoseconds)
{
    uint64_t us = nanoseconds / 1000;
    unsigned bucket = us <= 1 ? 0 : 64 - (unsigned) __builtin_clzll(us - 1);
    return MIN(bucket, VV_STAT_BUCKETS - 1);
}

void vv_io_count_locked(const VvIo *io, uint64_t started_ns, uint64_t bytes)
{
    VvOpStat *stat = &io->view->stats[stat_of(io->kind)];
    uint64_t nanoseconds = vv_monotonic_ns() - started_ns;
    stat->count++;
    stat->bytes += bytes;
    stat->nanoseconds += nanoseconds;
    stat->buckets[bucket_of(nanoseconds)]++;
}

void vv_io_account_locked(VvIoState *state, int64_t result, VvIoList *woken)
{
    uint64_t zeroed_bytes = result == 0 && state->io->kind == VV_IO_ZERO ? state->end - state->offset : 0;
    vv_intents_leave(state, result);
    vv_io_leave_locked(state, woken);
    vv_io_count_locked(state->io, state->started_ns, result > 0 ? (uint64_t) result : zeroed_bytes);
    state->accounted = true;
}

void vv_io_finish(VvIoState *state, int64_t result)
{
    VvIo *io = state->io;
    VvIoList woken = { NULL, NULL };
    if (state->in_era)
        vv_era_leave(state->pool, state->era);
    state->in_era = false;
    vv_bounce_put(state);
    vv_io_parts_free(state);
    if (!state->accounted) {
        VV_LOCKED(&state->view->lock);
        vv_io_account_locked(state, result, &woken);
    }
    vv_wake(&woken);
    io->result = result;
    __atomic_store_n(&io->state, NULL, __ATOMIC_RELEASE);
    /* An interrupter that still looks at the state keeps done from returning; so the state goes after it. */
    io->done(io);
    vv_io_state_free(state);
}

/* ---- submission */

static void flush_done_cb(void *user, int result)
{
    vv_io_finish(user, result);
}

void vv_io_submit(VvWorker *worker, VvIo *io)
{
    if (G_UNLIKELY(io->view->pool->elsewhere != NULL)) {
        vv_io_submit_elsewhere(worker, io);
        return;
    }
    VvIoState *state = vv_io_state_new(io->view->pool);
    state->io = io;
    state->view = io->view;
    state->worker = worker;
    state->started_ns = vv_monotonic_ns();
    io->result = 0;
    __atomic_store_n(&io->state, state, __ATOMIC_RELEASE);
    if (io->kind == VV_IO_FLUSH && io->handle && vv_handle_is_revoked(io->handle))
        vv_io_finish(state, -EIO);
    else if (io->kind == VV_IO_FLUSH)
        vv_flush_start(io->view, true, flush_done_cb, state);
    else if (io->length_bytes > VV_IO_BYTES_MAX || io->offset > VV_LUN_BYTES_MAX)
        vv_io_finish(state, io->kind == VV_IO_READ && io->length_bytes <= VV_IO_BYTES_MAX ? 0 : -EINVAL);
    else
        vv_io_admit(state);
}
