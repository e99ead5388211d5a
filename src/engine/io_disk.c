/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts: the disk I/Os of a request. A write goes to every copy, a read to the first; a count of what is outstanding, a
 * result, and the set of disks that were written to. All on the state's worker's thread. */
#include "io_state.h"

static void part_over(VvIoState *state)
{
    g_assert(state->outstanding > 0);
    if (--state->outstanding > 0)
        return;
    vv_io_parts_free(state);
    state->after_parts(state);
}

static void part_done_cb(VvDiskIo *io)
{
    VvIoPart *part = (VvIoPart *) ((char *) io - G_STRUCT_OFFSET(VvIoPart, io));
    VvIoState *state = part->state;
    if (io->result < 0 && state->part_result == 0)
        state->part_result = io->result;
    part->next = state->parts;
    state->parts = part;
    part_over(state);
}

void vv_io_parts_begin(VvIoState *state, void (*after)(VvIoState *state))
{
    g_assert(state->outstanding == 0);
    state->part_result = 0;
    state->after_parts = after;
    state->outstanding = 1; /* so that inline completions do not end it early */
}

void vv_io_parts_add(VvIoState *state, bool write, uint64_t family, VvPlace place, unsigned count, void *data)
{
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    int copies = vv_resolve(state->pool, family, vv_place_segment(place), vv_place_block(place), count,
        write ? VV_FOR_WRITE : VV_FOR_READ, runs);
    if (copies < 0 && state->part_result == 0)
        state->part_result = copies;
    for (int i = 0; i < copies; i++) {
        VvIoPart *part = vv_io_part_new(state);
        part->io = (VvDiskIo){
            .disk = runs[i].disk,
            .data = data,
            .length_bytes = runs[i].length_bytes,
            .write = write,
            .offset = runs[i].offset_bytes,
            .done = part_done_cb,
        };
        if (write)
            state->disk_set[runs[i].disk_slot / 64] |= (uint64_t) 1 << runs[i].disk_slot % 64;
        state->outstanding++;
        vv_worker_submit(state->worker, &part->io);
    }
}

void vv_io_parts_end(VvIoState *state)
{
    part_over(state);
}
