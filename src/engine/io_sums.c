/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of a request's blocks: looked up with the map, verified after the disk and before the answer, made before the write.
 *
 * K1  Who reads a block looks for the checksum of its place, and so does who writes without redirecting everything: a place that has
 *     one is not written in place (meta/sums.h S2). Who redirects everything needs those of partly covered blocks alone.
 * K2  The look-up comes after that of the map, so a family that gets its first checksum is known to have some before any of its
 *     places with one is found.
 * K3  A block that is pending has its checksum in its record. */
#include "io_sums.h"

#include "damage.h"
#include "slab.h"

#include <errno.h>

static uint32_t *sums_of(VvIoState *state)
{
    if (state->sums == NULL)
        state->sums = vv_slab_get(VV_IO_RUNS_MAX * sizeof *state->sums); /* stays with the state */
    return state->sums;
}

static void take(VvIoState *state, unsigned i, uint32_t sum)
{
    sums_of(state)[i] = sum;
    state->how[i] |= VV_HOW_SUM;
    state->summed = true;
}

void vv_io_sums_pending(VvIoState *state, unsigned i, const VvRecord *record)
{
    unsigned block = (unsigned) ((state->first_block + i) % VV_REGION_BLOCKS);
    if (record->sums)
        take(state, i, record->sums[block - record->first]);
}

/* K1 */
static bool needs_sum(const VvIoState *state, unsigned i)
{
    if (state->old[i] == 0 || state->how[i] & (VV_HOW_PENDING | VV_HOW_SUM))
        return false;
    bool partial = (i == 0 && state->head_partial) || (i == state->block_count - 1 && state->tail_partial);
    return state->io->kind == VV_IO_READ || !state->redirects || partial;
}

/* @load: also from the store. 1: not all are known; 0; -errno. */
static int find_sums(VvIoState *state, bool load)
{
    VvSumCache *cache = state->pool->sums;
    for (unsigned i = 0; i < state->block_count; i++) {
        bool present;
        uint32_t sum;
        if (!needs_sum(state, i))
            continue;
        uint64_t family = vv_io_family_of(state, i);
        if (!vv_sum_cache_has_family(cache, family))
            continue;
        VvPlace place = state->old[i];
        if (!vv_sum_cache_get(cache, family, place, &present, &sum)) {
            if (!load)
                return 1;
            VvSumPiece piece;
            uint64_t version = vv_sum_cache_version(cache, family, place);
            int rc = vv_sums_lookup(
                state->pool->meta, family, vv_place_segment(place), vv_place_block(place) / VV_REGION_BLOCKS, &piece);
            if (rc < 0)
                return rc;
            vv_sum_cache_put(cache, version, &piece);
            present = vv_sum_present(&piece, vv_place_block(place) % VV_REGION_BLOCKS);
            sum = piece.crc[vv_place_block(place) % VV_REGION_BLOCKS];
        }
        if (present)
            take(state, i, sum);
    }
    return 0;
}

bool vv_io_sums_cached(VvIoState *state)
{
    return !vv_sum_cache_any(state->pool->sums) || find_sums(state, false) == 0;
}

int vv_io_sums_load(VvIoState *state)
{
    return vv_sum_cache_any(state->pool->sums) ? find_sums(state, true) : 0;
}

bool vv_io_sums_match(VvIoState *state, unsigned i, const uint8_t *data)
{
    VvPool *pool = state->pool;
    if (!(state->how[i] & VV_HOW_SUM))
        return true;
    atomic_fetch_add_explicit(&pool->sums_verified, 1, memory_order_relaxed);
    if (vv_sum_of(data) == state->sums[i])
        return true;
    vv_damage_found(pool, vv_io_family_of(state, i), state->old[i], state->first_block + i, VV_DAMAGE_SUM);
    return false;
}

void vv_io_sums_make(VvIoState *state, unsigned i, const uint8_t *data)
{
    sums_of(state)[i] = vv_sum_of(data);
}

uint32_t *vv_io_sums_of_record(const VvIoState *state, unsigned i, unsigned count)
{
    return state->summing && state->how[i] & VV_HOW_REDIRECT ? vv_slab_copy(&state->sums[i], count * sizeof *state->sums) : NULL;
}
