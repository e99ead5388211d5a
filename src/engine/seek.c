/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEEK_DATA and SEEK_HOLE: which blocks are mapped, pending counted. Looks at the map alone; no data is read. */
#include "elsewhere.h"
#include "io_state.h"

#include <errno.h>

/* What the view has in one region. */
typedef struct {
    bool mapped[VV_REGION_BLOCKS];
} RegionMap;

static void overlay_pending_locked(const VvView *view, uint64_t region, bool *set, RegionMap *map)
{
    const VvPendingRegion *pending = vv_pending_find(&view->pending, region);
    for (unsigned i = 0; pending && i < VV_REGION_BLOCKS; i++) {
        const VvPendingBlock *block = vv_pending_block(pending, i);
        set[i] = block != NULL;
        map->mapped[i] = block && block->place;
    }
}

/* Pending first, then applied, as a read does (lookup.c M1). */
static int read_region(VvView *view, uint64_t region, RegionMap *ret_map)
{
    bool set[VV_REGION_BLOCKS] = { false };
    uint64_t branch, epoch;
    g_autofree VvPage *page = g_new(VvPage, 1);
    memset(ret_map, 0, sizeof *ret_map);
    {
        VV_LOCKED(&view->lock);
        branch = view->branch;
        epoch = view->epoch;
        overlay_pending_locked(view, region, set, ret_map);
    }
    int rc = vv_map_lookup(view->pool->meta, branch, region, epoch, page, NULL, NULL);
    if (rc < 0)
        return rc == -ENODATA ? 0 : rc;
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        if (!set[i])
            ret_map->mapped[i] = page->place[i] != 0;
    return 0;
}

/* The first region at or after @region that may have mapped blocks. -ENODATA: none. */
static int next_region(VvView *view, uint64_t region, uint64_t *ret_region)
{
    uint64_t branch, epoch, pending = 0, applied = 0;
    bool some;
    {
        VV_LOCKED(&view->lock);
        branch = view->branch;
        epoch = view->epoch;
        some = vv_pending_next_region(&view->pending, region, &pending);
    }
    int rc = vv_map_next_region(view->pool->meta, branch, region, epoch, &applied);
    if (rc < 0 && rc != -ENODATA)
        return rc;
    if (rc < 0 && !some)
        return -ENODATA;
    *ret_region = rc < 0 ? pending : some ? MIN(pending, applied) : applied;
    return 0;
}

/* The first block at or after @block that is mapped (@data) or not. -ENODATA: no data any more. */
static int find_block(VvView *view, uint64_t block, uint64_t end_block, bool data, uint64_t *ret_block)
{
    RegionMap map;
    while (block < end_block) {
        uint64_t region = block / VV_REGION_BLOCKS;
        int rc;
        if (data) {
            rc = next_region(view, region, &region);
            if (rc < 0)
                return rc;
            block = MAX(block, region * VV_REGION_BLOCKS);
        }
        rc = read_region(view, region, &map);
        if (rc < 0)
            return rc;
        for (uint64_t i = block % VV_REGION_BLOCKS; i < VV_REGION_BLOCKS; i++)
            if (map.mapped[i] == data) {
                *ret_block = region * VV_REGION_BLOCKS + i;
                return 0;
            }
        block = (region + 1) * VV_REGION_BLOCKS;
    }
    return -ENODATA;
}

int vv_view_seek(VvView *view, uint64_t offset, bool data, uint64_t *ret_offset)
{
    const VvElsewhere *elsewhere = view->pool->elsewhere;
    if (elsewhere)
        return elsewhere->ask(elsewhere->user, view, data ? VV_ASK_SEEK_DATA : VV_ASK_SEEK_HOLE, offset, ret_offset);
    uint64_t size_bytes = vv_view_size(view), block = 0;
    if (offset >= size_bytes)
        return -ENXIO;
    uint64_t end_block = (size_bytes + VV_BLOCK_BYTES - 1) >> VV_BLOCK_SHIFT;
    int rc = find_block(view, offset >> VV_BLOCK_SHIFT, end_block, data, &block);
    if (rc < 0 && rc != -ENODATA)
        return rc;
    if (rc == -ENODATA || block >= end_block) { /* behind the end all is a hole */
        if (data)
            return -ENXIO;
        *ret_offset = size_bytes;
        return 0;
    }
    *ret_offset = MIN(MAX(offset, block << VV_BLOCK_SHIFT), size_bytes);
    return 0;
}
