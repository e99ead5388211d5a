/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads: map, disks, zeroes where nothing is mapped. */
#include "io_sums.h"

#include <errno.h>

#define LARGE_BLOCKS 32u   /* a read from 128 KiB on */
#define SMALL_PART 4u      /* that fell into parts of less than 16 KiB, on average, */
#define SCATTERED_READS 64u /* so often: its LUN is worth a look */

static void note_parts(VvIoState *state, unsigned parts)
{
    VvView *view = state->view;
    if (state->block_count < LARGE_BLOCKS || parts * SMALL_PART <= state->block_count || !view->is_lun)
        return;
    if ((__atomic_add_fetch(&view->scattered_reads, 1, __ATOMIC_RELAXED) & (SCATTERED_READS - 1)) == 0)
        vv_repack_hint(state->pool->repack, view->id);
}

/* Where the block's bytes go: the caller's memory, or the bounce buffer if the offset is unaligned. */
static uint8_t *block_memory(const VvIoState *state, unsigned i)
{
    uint8_t *base = state->bounce ? state->bounce : state->io->data;
    return base + ((size_t) i << VV_BLOCK_SHIFT);
}

/* Do all blocks hold what was written there? */
static bool is_right(VvIoState *state)
{
    bool right = true;
    for (unsigned i = 0; state->summed && i < state->block_count; i++)
        right &= vv_io_sums_match(state, i, block_memory(state, i));
    return right;
}

static void read_finished(VvIoState *state)
{
    uint64_t length_bytes = state->end - state->offset;
    if (state->part_result == 0 && !is_right(state))
        state->part_result = -EIO;
    if (state->part_result < 0) {
        vv_io_finish(state, state->part_result);
        return;
    }
    if (state->bounce)
        memcpy(state->io->data, state->bounce + state->offset % VV_BLOCK_BYTES, length_bytes);
    vv_io_finish(state, (int64_t) length_bytes);
}

static void read_disks(VvIoState *state)
{
    unsigned i = 0, parts = 0;
    vv_io_parts_begin(state, read_finished);
    while (i < state->block_count) {
        unsigned end = i + 1;
        if (state->old[i] == 0) {
            while (end < state->block_count && state->old[end] == 0)
                end++;
            memset(block_memory(state, i), 0, (size_t) (end - i) << VV_BLOCK_SHIFT);
        } else {
            uint64_t family = vv_io_family_of(state, i);
            while (end < state->block_count && vv_place_follows(state->old[end - 1], state->old[end]) &&
                   vv_io_family_of(state, end) == family)
                end++;
            vv_io_parts_add(state, false, family, state->old[i], end - i, block_memory(state, i));
            parts++;
        }
        i = end;
    }
    note_parts(state, parts);
    vv_io_parts_end(state);
}

static void read_mapped(VvIoState *state)
{
    if (state->part_result < 0) {
        vv_io_finish(state, state->part_result);
        return;
    }
    state->resume = read_disks;
    if (state->offset % VV_BLOCK_BYTES == 0 || vv_bounce_get(state, state->block_count))
        read_disks(state);
}

void vv_io_read_start(VvIoState *state)
{
    vv_io_map(state, read_mapped);
}
