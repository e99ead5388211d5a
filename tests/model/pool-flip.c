/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps of pool-model about checksums: turning integrity on and off, and flipping a bit of a block on the disk: everybody who maps
 * this place, and nobody else, must be told, if it has a checksum; and be well again when the bit is. */
#include "pool-state.h"

#include "engine.h"
#include "pool_jobs.h"

#include <errno.h>
#include <stdlib.h>

void m_step_integrity(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    VvLunProps props = { .integrity = m_chance(3) != 0 };

    if (!lun)
        return;
    vv_pool_lun_set(pool, lun->name, VV_LUN_INTEGRITY, &props, NULL, &error);
    g_assert_no_error(error);
}

typedef struct {
    uint64_t family;
    uint64_t block; /* of the LUN */
    VvPlace place;
    bool summed;
} Flipped;

/* What an object maps there, as applied. */
static VvPlace place_of(uint64_t id, uint64_t block, uint64_t *ret_family)
{
    g_autoptr(VvHandle) handle = m_open_object(id, false);
    const VvView *view = vv_handle_view(handle);
    VvPage page;

    if (block * VV_BLOCK_BYTES >= view->size_bytes || vv_map_lookup(vv_pool_meta(pool), view->branch, block / VV_REGION_BLOCKS,
                                                          view->epoch, &page, NULL, ret_family) != 0)
        return 0;
    return page.place[block % VV_REGION_BLOCKS];
}

static void flip(const Flipped *flipped, unsigned bit)
{
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    uint8_t *data = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);

    g_assert_nonnull(data);
    g_assert_cmpint(vv_resolve(pool, flipped->family, vv_place_segment(flipped->place), vv_place_block(flipped->place), 1,
                        VV_FOR_READ, runs), ==, 1);
    g_assert_cmpint(vv_disk_read(runs[0].disk, data, VV_BLOCK_BYTES, runs[0].offset_bytes), ==, 0);
    data[bit / 8] ^= (uint8_t) (1u << bit % 8);
    g_assert_cmpint(vv_disk_write(runs[0].disk, data, VV_BLOCK_BYTES, runs[0].offset_bytes), ==, 0);
    free(data);
}

static void look(const Flipped *flipped, uint64_t id, const uint8_t *bytes, uint64_t size, const char *name, bool whole)
{
    g_autoptr(VvHandle) handle = m_open_object(id, false);
    uint64_t offset = flipped->block * VV_BLOCK_BYTES, family, length = MIN(VV_BLOCK_BYTES, size - MIN(size, offset));
    VvPlace place = place_of(id, flipped->block, &family);
    bool sees = !whole && place != 0 && family == flipped->family && vv_place_same(place, flipped->place);
    uint8_t got[VV_BLOCK_BYTES];

    if (length == 0)
        return;
    if (!sees)
        m_compare(vv_handle_view(handle), bytes, offset, length, name);
    else if (flipped->summed)
        g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, offset + m_chance(length), 1), ==, -EIO);
}

static void look_everywhere(const Flipped *flipped, bool whole)
{
    for (unsigned i = 0; i < LUNS; i++) {
        ModelLun *lun = &model->luns[i];

        if (!lun->used)
            continue;
        look(flipped, lun->id, lun->bytes, lun->size, lun->name, whole);
        for (unsigned k = 0; k < SNAPSHOTS; k++)
            if (lun->snapshots[k].used)
                look(flipped, m_snapshot_id(lun, &lun->snapshots[k]), lun->snapshots[k].bytes, lun->snapshots[k].size,
                    lun->snapshots[k].name, whole);
    }
}

void m_step_flip(void)
{
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_chance(2) ? m_any_snapshot(lun) : NULL;
    Flipped flipped = { .block = m_chance(BLOCKS_MAX) };
    VvSumPiece piece;
    unsigned bit = (unsigned) m_chance(VV_BLOCK_BYTES * 8);

    if (!lun)
        return;
    for (unsigned i = 0; i < LUNS; i++)
        if (model->luns[i].used)
            m_flush_lun(&model->luns[i]);
    flipped.place = place_of(snapshot ? m_snapshot_id(lun, snapshot) : lun->id, flipped.block, &flipped.family);
    if (flipped.place == 0)
        return;
    g_assert_cmpint(vv_sums_lookup(vv_pool_meta(pool), flipped.family, vv_place_segment(flipped.place),
                        vv_place_block(flipped.place) / VV_REGION_BLOCKS, &piece), ==, 0);
    flipped.summed = vv_sum_present(&piece, vv_place_block(flipped.place) % VV_REGION_BLOCKS);
    flip(&flipped, bit);
    look_everywhere(&flipped, false);
    flip(&flipped, bit);
    look_everywhere(&flipped, true);
}
