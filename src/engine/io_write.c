/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes, zeroes (discards) and preallocation: one path, which decides per block.
 *
 *   kind      block is                  so it is
 *   WRITE     the head's own, or        written in place
 *             pending on this side
 *   WRITE     anything else             redirected: a new place, and a record
 *   ZERO      wholly covered, mapped    recorded as a hole
 *   ZERO      partly covered, mapped    as in WRITE, with zeroes
 *   ZERO      not mapped                left
 *   ALLOCATE  not mapped                redirected, with zeroes
 *   ALLOCATE  mapped                    left
 *   any       as for in place, but its  redirected: repack_batch.c
 *             place is being moved
 *   any       as for in place, but its  redirected: io_sums.c
 *             place has a checksum
 *
 * W1  A block that is covered in part is held alone from before its old bytes are read until it is published: lock.c.
 * W2  Nothing waits for space or for the journal while it holds anything: what was allocated goes back, everything is left,
 *     and the request is admitted anew (I9). So neither gates nor flushes wait for those who wait.
 * W3  Records, pending and the end of the in-flight count are one critical section: whoever drained the view sees all. */
#include "alloc_private.h"
#include "io_sums.h"
#include "moving.h"
#include "pending_slots.h"

#include <errno.h>

/* What ALLOCATE writes; never touched, so it costs no memory. */
static _Alignas(VV_BLOCK_BYTES) uint8_t zeroes[(VV_IO_RUNS_MAX + 1) * VV_BLOCK_BYTES];

static bool is_partial(const VvIoState *state, unsigned i)
{
    return (i == 0 && state->head_partial) || (i == state->block_count - 1 && state->tail_partial);
}

static uint8_t *block_memory(const VvIoState *state, unsigned i)
{
    size_t at = (size_t) i << VV_BLOCK_SHIFT;
    switch (state->io->kind) {
    case VV_IO_ALLOCATE:
        return zeroes + at;
    case VV_IO_ZERO: /* only the partial ones have data */
        return state->bounce + (i == 0 ? 0 : VV_BLOCK_BYTES);
    default:
        if (state->bounce_all)
            return state->bounce + at;
        return is_partial(state, i) ? state->bounce : (uint8_t *) state->io->data + at;
    }
}

/* ---- deciding */

bool vv_may_write_in_place(const VvView *view, const VvPageKey *key, VvPlace place)
{
    uint64_t frozen = MAX(view->last_live, view->switched_epoch); /* 0: none; a merged page has epoch 0 too */

    return !view->redirect_always && key->branch == view->branch && (frozen == 0 || key->epoch > frozen) &&
           vv_place_own(place);
}

static uint8_t decide_write(const VvIoState *state, unsigned i)
{
    const VvView *view = state->view;
    if (state->old[i] == 0 || state->redirects || state->how[i] & VV_HOW_SUM)
        return VV_HOW_REDIRECT;
    if (state->how[i] & VV_HOW_PENDING)
        return state->how[i] & VV_HOW_TAG && !view->redirect_always ? VV_HOW_IN_PLACE : VV_HOW_REDIRECT;
    const VvPageKey *key = &state->regions[vv_io_region_of(state, i)].page.key;
    return vv_may_write_in_place(view, key, state->old[i]) ? VV_HOW_IN_PLACE : VV_HOW_REDIRECT;
}

static uint8_t decide_block(const VvIoState *state, unsigned i)
{
    switch (state->io->kind) {
    case VV_IO_ALLOCATE:
        return state->old[i] ? 0 : VV_HOW_REDIRECT;
    case VV_IO_ZERO:
        if (state->old[i] == 0)
            return 0;
        return is_partial(state, i) ? decide_write(state, i) : VV_HOW_DISCARD;
    default:
        return decide_write(state, i);
    }
}

static void decide(VvIoState *state)
{
    VV_LOCKED(&state->view->lock);
    VvMoving *moving = state->view->moving;
    state->redirect_count = 0;
    state->changes_map = state->forced = false;
    state->journal_full = vv_pending_is_full(state->view);
    state->summing = state->view->integrity;
    for (unsigned i = 0; i < state->block_count; i++) {
        uint8_t how = decide_block(state, i);
        if (moving && how & VV_HOW_IN_PLACE && !vv_moving_allows(moving, state->first_block + i, state->old[i])) {
            how = VV_HOW_REDIRECT;
            state->forced = true;
        }
        state->how[i] |= how;
        state->target[i] = how & VV_HOW_IN_PLACE ? state->old[i] : 0;
        state->redirect_count += (how & VV_HOW_REDIRECT) != 0;
        state->changes_map |= (how & (VV_HOW_REDIRECT | VV_HOW_DISCARD)) != 0;
    }
}

/* ---- allocating */

/* Blocks that were given new places give them back; @written: disks may have them under way or dirty. */
static void give_back(VvIoState *state, bool written)
{
    for (unsigned i = 0; i < state->block_count; i++) {
        if (!(state->how[i] & VV_HOW_REDIRECT) || state->target[i] == 0)
            continue;
        if (written)
            vv_alloc_give_back(state->pool->alloc, state->family, state->target[i], 1);
        else
            vv_alloc_unreserve(state->pool->alloc, state->family, state->target[i], 1);
        state->target[i] = 0;
    }
}

/* W2 */
static void wait_for_space(VvIoState *state)
{
    int rc;
    uint64_t family = state->family;
    uint32_t blocks = state->redirect_count;
    VvAlloc *alloc = state->pool->alloc;
    vv_io_leave(state);
    {
        VV_LOCKED(&state->view->lock);
        state->resume = vv_io_admit;
        rc = vv_park(state, VV_PARK_SPACE);
    }
    if (rc < 0) {
        vv_io_finish(state, rc);
        return;
    }
    vv_park_told(state);
    vv_alloc_want(alloc, family, blocks);
}

static void mark_disks_locked(VvIoState *state)
{
    for (unsigned word = 0; word < G_N_ELEMENTS(state->disk_set); word++)
        for (uint64_t bits = state->disk_set[word]; bits; bits &= bits - 1)
            vv_view_mark(state->view, 64 * word + (unsigned) __builtin_ctzll(bits))->written++;
}

/* What the disk stands on is full: it is tried again every now and then. W2. */
static void wait_for_medium(VvIoState *state)
{
    int rc;
    uint64_t family = state->family;
    VvAlloc *alloc = state->pool->alloc;
    vv_io_leave(state);
    {
        VV_LOCKED(&state->view->lock);
        mark_disks_locked(state); /* a part of it may be written in place */
        state->resume = vv_io_admit;
        rc = vv_park(state, VV_PARK_SPACE);
    }
    if (rc < 0) {
        vv_io_finish(state, rc);
        return;
    }
    vv_park_told(state);
    vv_alloc_want_later(alloc, family);
}

/* W2. Only what changes the map waits: the journal does not know of the others. */
static void wait_for_journal(VvIoState *state)
{
    VvPool *pool = state->pool;
    bool idle;
    int rc;
    vv_io_leave(state);
    {
        VV_LOCKED(&state->view->lock);
        state->resume = vv_io_admit;
        rc = vv_park(state, VV_PARK_JOURNAL);
        idle = !state->view->committing;
    }
    if (rc < 0) {
        vv_io_finish(state, rc);
        return;
    }
    atomic_fetch_add_explicit(&pool->journal_waits, 1, memory_order_relaxed);
    vv_park_told(state);
    if (idle)
        vv_ticker_rush(pool->ticker);
    vv_pending_wake(pool);
}

/* Distribute runs over the blocks to redirect, in order. Returns the first block that got none. */
static unsigned set_targets(VvIoState *state, const VvAllocRun *runs, unsigned run_count)
{
    unsigned run = 0, used = 0, i;
    for (i = 0; i < state->block_count; i++) {
        if (!(state->how[i] & VV_HOW_REDIRECT))
            continue;
        if (run < run_count && used == runs[run].count) {
            run++;
            used = 0;
        }
        if (run == run_count)
            break;
        state->target[i] = vv_place_after(runs[run].place, used++);
    }
    return i;
}

/* It was redirected only because its blocks are being moved, and there is no space: after the move it needs none. */
static void wait_for_move(VvIoState *state)
{
    int rc = 0;
    bool over;
    vv_io_leave(state);
    {
        VV_LOCKED(&state->view->lock);
        state->resume = vv_io_admit;
        over = state->view->moving == NULL;
        if (!over)
            rc = vv_park(state, VV_PARK_GATE);
    }
    if (over)
        vv_io_admit(state);
    else if (rc < 0)
        vv_io_finish(state, rc);
    else
        vv_park_told(state);
}

/* Places for all redirected blocks. 0; -EAGAIN: it waits for space; -EBUSY: for a move; -ENOSPC. A write that gets only some is
 * cut short. */
static int allocate(VvIoState *state)
{
    VvAllocRun runs[VV_IO_RUNS_MAX];
    unsigned run_count = 0;
    VvAlloc *alloc = state->pool->alloc;
    if (vv_meta_is_cramped(state->pool->meta)) /* there may be places, but no room in the map */
        return state->forced ? -EBUSY : state->waits_for_space ? -EAGAIN : -ENOSPC;
    if (state->how[0] & VV_HOW_IN_PLACE)
        for (unsigned i = 1; i < state->block_count && state->how[i] & (VV_HOW_IN_PLACE | VV_HOW_REDIRECT); i++)
            if (state->how[i] & VV_HOW_REDIRECT) {
                state->hint = state->old[i - 1] + 1;
                break;
            }
    uint32_t got =
        vv_alloc_blocks(alloc, state->family, state->redirect_count, state->hint, runs, VV_IO_RUNS_MAX, &run_count);
    unsigned end = set_targets(state, runs, run_count);
    if (got == state->redirect_count)
        return 0;
    if (state->forced) {
        give_back(state, false);
        return -EBUSY;
    }
    bool final = state->space_final || (!state->waits_for_space && vv_alloc_is_hopeless(alloc, state->family));
    if (final && state->io->kind == VV_IO_WRITE && end > 0) {
        state->block_count = end;
        state->end = (state->first_block + end) << VV_BLOCK_SHIFT;
        state->tail_partial = false;
        state->redirect_count = got;
        state->changes_map = got > 0;
        return 0;
    }
    give_back(state, false);
    return final ? -ENOSPC : -EAGAIN;
}

/* ---- publishing */

static VvRecord make_record(const VvIoState *state, unsigned i, unsigned end)
{
    uint64_t block = state->first_block + i;
    return (VvRecord){
        .region = block / VV_REGION_BLOCKS,
        .first = (uint8_t) (block % VV_REGION_BLOCKS),
        .count = (uint16_t) (end - i),
        .place = state->target[i],
        .tag = state->view->tag,
        .sums = vv_io_sums_of_record(state, i, end - i),
    };
}

/* Blocks from @i on that one record can tell of. */
static unsigned record_end(const VvIoState *state, unsigned i)
{
    const uint8_t mask = VV_HOW_REDIRECT | VV_HOW_DISCARD;
    uint8_t how = state->how[i] & mask;
    unsigned end = i + 1;
    while (end < state->block_count && (state->how[end] & mask) == how &&
           (state->first_block + end) % VV_REGION_BLOCKS != 0 &&
           (how & VV_HOW_DISCARD || vv_place_follows(state->target[end - 1], state->target[end])))
        end++;
    return end;
}

static void add_record_locked(VvIoState *state, VvRecord *record, const VvPlace *applied)
{
    VvView *view = state->view;
    record->sequence = view->next_sequence++;
    vv_slots_put(view, record);
    vv_records_push(&view->records, record);
    vv_pending_set(&view->pending, record, applied);
    vv_pending_count(view, record);
}

static void add_records_locked(VvIoState *state)
{
    VvView *view = state->view;
    bool grows = view->elastic && state->io->kind == VV_IO_WRITE && state->end > view->size_bytes;
    unsigned i = 0;
    if (grows)
        view->size_bytes = state->end;
    while (i < state->block_count) {
        unsigned end = i + 1;
        if (state->how[i] & (VV_HOW_REDIRECT | VV_HOW_DISCARD)) {
            end = record_end(state, i);
            VvRecord record = make_record(state, i, end);
            add_record_locked(state, &record, &state->old[i]);
            if (record.place)
                view->alloc_hint = vv_place_after(record.place, record.count);
        }
        i = end;
    }
    if (grows) {
        if (!state->changes_map) { /* a growth has a sequence of its own then */
            VvRecord record = { .region = state->first_block / VV_REGION_BLOCKS, .tag = view->tag };
            add_record_locked(state, &record, NULL);
        }
        view->size_sequence = view->next_sequence - 1;
    }
}

/* W3, and the end of the request's account. @return @result, or that nothing was recorded: -ESTALE, the view is gone meanwhile;
 * -ENOMEM. */
static int64_t publish(VvIoState *state, bool changed, int64_t result)
{
    VvView *view = state->view;
    VvIoList woken = { NULL, NULL };
    {
        VV_LOCKED(&view->lock);
        mark_disks_locked(state);
        if (view->gone && result >= 0)
            result = -ESTALE;
        else if (changed && !vv_slots_reserve(view, state->changes_map ? state->block_count : view->elastic))
            result = -ENOMEM;
        if (changed && result >= 0) {
            add_records_locked(state);
            view->mtime_ns = vv_now_ns();
            view->mtime_dirty = true;
            vv_slots_publish(view);
            vv_view_has_pending(view);
        }
        vv_io_account_locked(state, result, &woken);
    }
    vv_wake(&woken);
    return result;
}

static void count_blocks(VvIoState *state)
{
    VvPool *pool = state->pool;
    unsigned in_place = 0, copied = 0;
    bool frees = false;
    for (unsigned i = 0; i < state->block_count; i++) {
        in_place += (state->how[i] & VV_HOW_IN_PLACE) != 0;
        copied += state->how[i] & VV_HOW_REDIRECT && state->old[i] && is_partial(state, i);
        frees |= state->how[i] & (VV_HOW_REDIRECT | VV_HOW_DISCARD) && state->old[i];
    }
    atomic_fetch_add_explicit(&pool->blocks_in_place, in_place, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->blocks_redirected, state->redirect_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->cow_bytes_copied, (uint64_t) copied << VV_BLOCK_SHIFT, memory_order_relaxed);
    if (frees)
        vv_alloc_will_free(pool->alloc);
}

static void write_finished(VvIoState *state)
{
    int rc = state->part_result;
    bool changed = false;
    vv_may_die(VV_DIE_DATA_WRITTEN);
    for (unsigned i = 0; i < state->block_count && !changed; i++)
        changed = (state->how[i] & (VV_HOW_IN_PLACE | VV_HOW_REDIRECT | VV_HOW_DISCARD)) != 0;
    if (rc < 0) {
        give_back(state, true);
        if (rc == -ENOSPC && state->waits_for_space)
            wait_for_medium(state);
        else
            vv_io_finish(state, publish(state, false, rc));
        return;
    }
    int64_t result = publish(state, changed, state->io->kind == VV_IO_WRITE ? (int64_t) (state->end - state->offset) : 0);
    if (result < 0) {
        give_back(state, true);
    } else {
        vv_may_die(VV_DIE_PUBLISHED);
        count_blocks(state);
    }
    vv_io_finish(state, result);
}

/* ---- disks */

static void write_disks(VvIoState *state)
{
    const uint8_t mask = VV_HOW_IN_PLACE | VV_HOW_REDIRECT;
    unsigned i = 0;
    for (unsigned k = 0; state->summing && k < state->block_count; k++)
        if (state->how[k] & VV_HOW_REDIRECT)
            vv_io_sums_make(state, k, block_memory(state, k));
    vv_io_parts_begin(state, write_finished);
    while (i < state->block_count) {
        unsigned end = i + 1;
        if (state->how[i] & mask) {
            uint8_t *data = block_memory(state, i);
            while (end < state->block_count && state->how[end] & mask &&
                   vv_place_follows(state->target[end - 1], state->target[end]) &&
                   block_memory(state, end) == data + ((size_t) (end - i) << VV_BLOCK_SHIFT))
                end++;
            vv_io_parts_add(state, true, state->family, state->target[i], end - i, data);
        }
        i = end;
    }
    vv_io_parts_end(state);
}

/* The caller's bytes over the old ones. */
static void fill_bounce(VvIoState *state)
{
    unsigned last = state->block_count - 1;
    unsigned head = (unsigned) (state->offset % VV_BLOCK_BYTES);
    unsigned tail = (unsigned) (state->end % VV_BLOCK_BYTES);
    if (state->io->kind == VV_IO_WRITE) {
        if (state->bounce_all)
            memcpy(state->bounce + head, state->io->data, state->end - state->offset);
        else
            memcpy(state->bounce, (uint8_t *) state->io->data + ((size_t) last << VV_BLOCK_SHIFT), tail);
        return;
    }
    if (last == 0) {
        memset(state->bounce + head, 0, state->end - state->offset);
        return;
    }
    if (state->head_partial)
        memset(state->bounce + head, 0, VV_BLOCK_BYTES - head);
    if (state->tail_partial)
        memset(state->bounce + VV_BLOCK_BYTES, 0, tail);
}

static void old_bytes_read(VvIoState *state)
{
    unsigned last = state->block_count - 1;
    for (unsigned i = 0; state->part_result == 0 && state->summed && i <= last; i = i < last ? last : last + 1)
        if (is_partial(state, i) && state->how[i] & VV_HOW_REDIRECT && !vv_io_sums_match(state, i, block_memory(state, i)))
            state->part_result = -EIO;
    if (state->part_result < 0) { /* nothing was written */
        give_back(state, false);
        vv_io_finish(state, state->part_result);
        return;
    }
    fill_bounce(state);
    write_disks(state);
}

static void read_old_bytes(VvIoState *state)
{
    unsigned last = state->block_count - 1;
    vv_io_parts_begin(state, old_bytes_read);
    for (unsigned i = 0; i <= last; i = i < last ? last : last + 1) {
        if (!is_partial(state, i) || !(state->how[i] & (VV_HOW_IN_PLACE | VV_HOW_REDIRECT)))
            continue;
        if (state->old[i])
            vv_io_parts_add(state, false, vv_io_family_of(state, i), state->old[i], 1, block_memory(state, i));
        else
            memset(block_memory(state, i), 0, VV_BLOCK_BYTES);
    }
    vv_io_parts_end(state);
}

/* ---- the states in order */

/* It would wait for the journal, which waits for room for the map: until that comes it gets no place anyway. */
static bool is_told_at_once(const VvIoState *state)
{
    return state->redirect_count > 0 && !state->waits_for_space && vv_meta_is_cramped(state->pool->meta);
}

static void write_mapped(VvIoState *state)
{
    if (state->part_result < 0) {
        vv_io_finish(state, state->part_result);
        return;
    }
    decide(state);
    if (state->changes_map && state->journal_full && !is_told_at_once(state)) {
        wait_for_journal(state);
        return;
    }
    int rc = state->redirect_count > 0 ? allocate(state) : 0;
    if (rc == -EAGAIN || rc == -EBUSY) {
        (rc == -EBUSY ? wait_for_move : wait_for_space)(state);
        return;
    }
    if (rc < 0) {
        vv_io_finish(state, rc);
        return;
    }
    unsigned bounce_blocks = 0;
    if (state->io->kind == VV_IO_ZERO && (state->head_partial || state->tail_partial))
        bounce_blocks = 2;
    else if (state->io->kind == VV_IO_WRITE && state->offset % VV_BLOCK_BYTES != 0)
        bounce_blocks = state->block_count;
    else if (state->io->kind == VV_IO_WRITE && state->tail_partial)
        bounce_blocks = 1;
    state->bounce_all = state->io->kind == VV_IO_WRITE && state->offset % VV_BLOCK_BYTES != 0;
    state->resume = read_old_bytes;
    if (bounce_blocks == 0)
        write_disks(state);
    else if (vv_bounce_get(state, bounce_blocks))
        read_old_bytes(state);
}

void vv_io_write_start(VvIoState *state)
{
    vv_io_map(state, write_mapped);
}
