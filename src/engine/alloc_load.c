/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the allocator knows: families from the catalog, pieces from the applied bitmaps, both when they are needed first.
 *
 * L4  Nothing is handed out of a piece that is not known, so nothing of it is reserved: what is applied and what cools is
 *     all there is to know. A piece that was read while something of its segment was freed or cooled is read again. */
#include "alloc_private.h"

#include <errno.h>

VvAllocSegment *vv_alloc_segment_new(uint32_t number, uint32_t blocks)
{
    VvAllocSegment *segment = g_new0(VvAllocSegment, 1);
    segment->number = number;
    segment->blocks = segment->limit = blocks;
    segment->unknown_pieces = vv_alloc_piece_count(segment);
    segment->pieces = g_new0(VvAllocPiece, segment->unknown_pieces);
    return segment;
}

/* lock held. */
static void add_segment(VvAlloc *alloc, VvAllocFamily *family, const VvSegment *stored)
{
    VvAllocSegment *segment = vv_alloc_segment_new(stored->number, vv_segment_blocks(stored));
    bool all = stored->used_blocks == 0 && !vv_cooling_touches(alloc, family->id, stored->number);
    if (all || stored->used_blocks == segment->blocks) { /* known without looking */
        segment->unknown_pieces = 0;
        for (uint32_t i = 0; i < vv_alloc_piece_count(segment); i++) {
            segment->pieces[i].known = true;
            segment->pieces[i].available = (uint16_t) (all ? vv_alloc_piece_blocks(segment, i) : 0);
        }
        segment->available = all ? segment->blocks : 0;
    } else {
        segment->unknown_free = segment->blocks - stored->used_blocks;
    }
    if (stored->number >= family->segments->len)
        g_ptr_array_set_size(family->segments, (gint) stored->number + 1);
    g_ptr_array_index(family->segments, stored->number) = segment;
    family->available += segment->available;
    family->unknown_free += segment->unknown_free;
    family->blocks += segment->blocks;
}

bool vv_alloc_load_family(VvAlloc *alloc, uint64_t id)
{
    VvMeta *meta = alloc->pool->meta;
    bool found = false;
    vv_meta_read_lock(meta); /* held while it becomes known: so no hook falls between */
    const VvFamily *stored = vv_meta_family(meta, id);
    if (stored) {
        VV_LOCKED(&alloc->lock);
        found = true;
        if (vv_alloc_family(alloc, id) == NULL) {
            VvAllocFamily *family = g_new0(VvAllocFamily, 1);
            family->id = id;
            family->segments = g_ptr_array_new_with_free_func(vv_alloc_segment_free);
            for (unsigned i = 0; i < stored->segments->len; i++)
                if (g_ptr_array_index(stored->segments, i))
                    add_segment(alloc, family, g_ptr_array_index(stored->segments, i));
            g_hash_table_insert(alloc->families, &family->id, family);
        }
    }
    vv_meta_read_unlock(meta);
    return found;
}

/* ---- pieces */

/* @bits become the piece's. lock held. */
static void install(VvAlloc *alloc, VvAllocFamily *family, VvAllocSegment *segment, uint32_t number, uint64_t *bits)
{
    VvAllocPiece *piece = &segment->pieces[number];
    uint32_t blocks = vv_alloc_piece_blocks(segment, number);
    uint32_t freed = 0, available = 0;
    for (uint32_t bit = 0; bit < blocks; bit++)
        freed += (uint32_t) (bits[bit / 64] >> bit % 64 & 1);
    vv_cooling_mask(alloc, family->id, segment->number, number * VV_PIECE_BLOCKS, blocks, bits);
    for (uint32_t bit = 0; bit < blocks; bit++)
        available += (uint32_t) (bits[bit / 64] >> bit % 64 & 1);
    piece->known = true;
    piece->available = (uint16_t) available;
    if (available > 0 && available < blocks)
        piece->bits = memcpy(vv_alloc_bits_new(blocks), bits, (blocks + 63) / 64 * sizeof *bits);
    segment->unknown_pieces--;
    uint32_t guessed = segment->unknown_pieces == 0 ? segment->unknown_free : MIN(freed, segment->unknown_free);
    segment->unknown_free -= guessed;
    family->unknown_free -= guessed;
    segment->available += available;
    family->available += available;
}

/* A piece of the family that is not known: its segment and number. lock held. */
static bool find_unknown(const VvAllocFamily *family, uint32_t only_segment, uint32_t *ret_segment, uint32_t *ret_piece)
{
    for (unsigned i = 0; i < family->segments->len; i++) {
        const VvAllocSegment *segment = g_ptr_array_index(family->segments, i);
        if (segment == NULL || segment->unknown_pieces == 0 || (only_segment != UINT32_MAX && i != only_segment))
            continue;
        uint32_t piece = 0;
        while (segment->pieces[piece].known)
            piece++;
        *ret_segment = i;
        *ret_piece = piece;
        return true;
    }
    return false;
}

/* Read one more piece. 0; -ENODATA: all are known; -EAGAIN: it changed meanwhile; or the store's error. */
static int load_piece(VvAlloc *alloc, uint64_t family_id, uint32_t only_segment)
{
    uint64_t bits[VV_PIECE_BLOCKS / 64];
    uint32_t number, piece;
    uint64_t changes;
    {
        VV_LOCKED(&alloc->lock);
        const VvAllocFamily *family = vv_alloc_family(alloc, family_id);
        if (family == NULL || !find_unknown(family, only_segment, &number, &piece))
            return -ENODATA;
        changes = vv_alloc_segment(family, number)->changes;
    }
    int rc = vv_space_piece(alloc->pool->meta, family_id, number, piece, bits);
    if (rc == -ENODATA)
        memset(bits, 0, sizeof bits);
    else if (rc < 0)
        return rc;
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    VvAllocSegment *segment = vv_alloc_segment(family, number);
    if (segment == NULL || segment->changes != changes || segment->pieces[piece].known) /* L4 */
        return -EAGAIN;
    install(alloc, family, segment, piece, bits);
    return 0;
}

void vv_alloc_load_pieces(VvAlloc *alloc, uint64_t family_id, uint64_t wanted)
{
    for (;;) {
        {
            VV_LOCKED(&alloc->lock);
            const VvAllocFamily *family = vv_alloc_family(alloc, family_id);
            if (family == NULL || family->available >= wanted)
                return;
        }
        int rc = load_piece(alloc, family_id, UINT32_MAX);
        if (rc < 0 && rc != -EAGAIN)
            return;
    }
}

bool vv_alloc_load_segment(VvAlloc *alloc, uint64_t family_id, uint32_t segment)
{
    int rc;
    do
        rc = load_piece(alloc, family_id, segment);
    while (rc == 0 || rc == -EAGAIN);
    return rc == -ENODATA;
}

bool vv_alloc_adopt(VvAlloc *alloc, uint64_t family_id, VvPlace place, uint32_t count)
{
    uint32_t number = vv_place_segment(place), first = vv_place_block(place);
    if (!vv_alloc_load_family(alloc, family_id) || !vv_alloc_load_segment(alloc, family_id, number))
        return false;
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    VvAllocSegment *segment = vv_alloc_segment(family, number);
    if (segment == NULL || !vv_alloc_are_available(segment, first, count))
        return false;
    vv_alloc_set(family, segment, first, count, false);
    return true;
}
