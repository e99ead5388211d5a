/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of places: stored form, overlay, apply. The rules: sums.h.
 *
 *   offset  size  field
 *        0     1  version (1)
 *        1     1  flags (0; others are refused)
 *        2     2  number of sums, 1 to 256
 *        4     4  crc32c of the key (24 bytes as in table "sum"), bytes 0-3 and 8 to the end
 *        8    32  a bit per block of the MiB, bit 0 of byte 0 the first: it has a sum
 *       40   4*n  crc32c of each of these, ascending
 *
 * The overlay holds whole pieces: the generation that fills has a copy of every piece that changed since the last checkpoint, which
 * hides the one in the generation that is being written and the store's. A piece without sums is deleted there. */
#include "sums_private.h"

#include "codec.h"

#include <errno.h>
#include <string.h>

#define SUM_VERSION 1u
#define PIECE_BYTES (sizeof(VvSumPiece) + 16u + 24u) /* with what the allocator and its slot in the table take */

_Static_assert(VV_SUM_BYTES_MAX <= VV_PAGE_VALUE_BYTES_MAX, "a piece of sums stays on an LMDB leaf");
_Static_assert(VV_REGION_BLOCKS * VV_BLOCK_BYTES == 1u << 20, "a piece is a MiB");

uint32_t vv_sum_of(const void *data)
{
    return vv_crc32c(0, data, VV_BLOCK_BYTES);
}

/* ---- stored form */

static void piece_key(const VvSumPiece *piece, uint8_t *bytes)
{
    vv_put_be64(bytes, piece->family);
    vv_put_be64(bytes + 8, piece->segment);
    vv_put_be64(bytes + 16, piece->mib);
}

static uint32_t piece_crc(const VvSumPiece *piece, const uint8_t *bytes, size_t length_bytes)
{
    uint8_t key[VV_KEY_BYTES];
    piece_key(piece, key);
    uint32_t crc = vv_crc32c(0, key, sizeof key);
    crc = vv_crc32c(crc, bytes, 4);
    return vv_crc32c(crc, bytes + 8, length_bytes - 8);
}

static unsigned count_present(const uint64_t *present)
{
    unsigned n = 0;
    for (unsigned i = 0; i < VV_REGION_BLOCKS / 64; i++)
        n += (unsigned) __builtin_popcountll(present[i]);
    return n;
}

size_t vv_sum_piece_encode(const VvSumPiece *piece, uint8_t *bytes)
{
    size_t at = VV_SUM_HEADER_BYTES;
    for (unsigned i = 0; i < VV_REGION_BLOCKS / 64; i++)
        vv_put_u64(bytes + 8 + 8 * i, piece->present[i]);
    for (unsigned block = 0; block < VV_REGION_BLOCKS; block++) {
        if (!vv_sum_present(piece, block))
            continue;
        vv_put_u32(bytes + at, piece->crc[block]);
        at += 4;
    }
    bytes[0] = SUM_VERSION;
    bytes[1] = 0;
    vv_put_u16(bytes + 2, (uint16_t) count_present(piece->present));
    vv_put_u32(bytes + 4, piece_crc(piece, bytes, at));
    return at;
}

int vv_sum_piece_decode(VvSumPiece *piece, const uint8_t *bytes, size_t length_bytes)
{
    memset(piece->present, 0, sizeof piece->present);
    if (length_bytes < VV_SUM_HEADER_BYTES || length_bytes > VV_SUM_BYTES_MAX || bytes[0] != SUM_VERSION || bytes[1] != 0 ||
        vv_get_u32(bytes + 4) != piece_crc(piece, bytes, length_bytes))
        return -EUCLEAN;
    uint64_t present[VV_REGION_BLOCKS / 64];
    for (unsigned i = 0; i < VV_REGION_BLOCKS / 64; i++)
        present[i] = vv_get_u64(bytes + 8 + 8 * i);
    unsigned count = count_present(present);
    if (count == 0 || vv_get_u16(bytes + 2) != count || length_bytes != VV_SUM_HEADER_BYTES + (size_t) count * 4)
        return -EUCLEAN;
    const uint8_t *in = bytes + VV_SUM_HEADER_BYTES;
    memcpy(piece->present, present, sizeof present);
    for (unsigned block = 0; block < VV_REGION_BLOCKS; block++) {
        if (!vv_sum_present(piece, block))
            continue;
        piece->crc[block] = vv_get_u32(in);
        in += 4;
    }
    return 0;
}

/* ---- overlay */

guint vvm_sum_hash(gconstpointer key)
{
    const VvSumPiece *p = key;
    return vv_piece_key_hash(p->family, p->segment, p->mib);
}

gboolean vvm_sum_equal(gconstpointer a, gconstpointer b)
{
    const VvSumPiece *x = a, *y = b;
    return x->family == y->family && x->segment == y->segment && x->mib == y->mib;
}

int vvm_sums_get(VvMeta *meta, VvStoreRead *read, VvSumPiece *piece)
{
    const VvSumPiece *found = vv_set_find(&meta->filling.sums, piece);
    uint8_t key[VV_KEY_BYTES];
    const uint8_t *value;
    size_t value_bytes;
    if (found == NULL)
        found = vv_set_find(&meta->writing.sums, piece);
    if (found != NULL) {
        *piece = *found;
        return 0;
    }
    piece_key(piece, key);
    memset(piece->present, 0, sizeof piece->present);
    int result = vv_store_get(read, VV_TABLE_SUM, key, sizeof key, &value, &value_bytes);
    if (result != 0)
        return result == -ENODATA ? 0 : result;
    return vv_sum_piece_decode(piece, value, value_bytes);
}

int vv_sums_lookup(VvMeta *meta, uint64_t family, uint32_t segment, uint32_t mib, VvSumPiece *ret_piece)
{
    VvSumPiece piece = { .family = family, .segment = segment, .mib = mib };
    VvStoreRead *read;
    vvm_slice_lock(meta);
    int result = vv_store_read_begin(meta->store, &read);
    if (result == 0) {
        result = vvm_sums_get(meta, read, &piece);
        vv_store_read_end(read);
    }
    vv_meta_read_unlock(meta);
    if (result == 0)
        *ret_piece = piece;
    return result;
}

/* The piece with the place, to look at: in the generation that fills, or in *copy. */
static int find_piece(VvMeta *meta, const VvFamily *family, VvPlace place, VvSumPiece *copy, VvSumPiece **ret_filling)
{
    *copy = (VvSumPiece){ .family = family->id, .segment = vv_place_segment(place), .mib = vv_place_block(place) / VV_REGION_BLOCKS };
    *ret_filling = vv_set_find(&meta->filling.sums, copy);
    if (*ret_filling != NULL)
        return 0;
    int result = vvm_sums_get(meta, meta->apply_read, copy);
    if (result == -EUCLEAN)
        return vvm_damaged(meta, "the checksums of segment %u, MiB %u, of family %" G_GUINT64_FORMAT " do not decode", copy->segment,
                           copy->mib, family->id);
    return result;
}

static VvSumPiece *fill_piece(VvMeta *meta, const VvSumPiece *copy, VvSumPiece *filling)
{
    if (filling == NULL) {
        filling = vv_set_add(&meta->filling.sums, copy);
        meta->filling.bytes += PIECE_BYTES;
    }
    return filling;
}

/* ---- apply */

static void count_sums(VvMeta *meta, VvFamily *family, int64_t by)
{
    family->sum_blocks += (uint64_t) by;
    family->has_sums |= by > 0;
    vvm_dirty(meta, VV_TABLE_FAMILY, family->id, 0);
}

/* Within one MiB. */
static int set_sums(VvMeta *meta, VvFamily *family, VvPlace place, unsigned count, const uint32_t *sums)
{
    VvSumPiece copy, *piece;
    int result = find_piece(meta, family, place, &copy, &piece);
    if (result != 0)
        return result;
    piece = fill_piece(meta, &copy, piece);
    unsigned first = vv_place_block(place) % VV_REGION_BLOCKS;
    for (unsigned i = 0; i < count; i++) {
        if (vv_sum_present(piece, first + i))
            return vvm_damaged(meta, "block %u of segment %u in family %" G_GUINT64_FORMAT " had a checksum while it was free",
                               vv_place_block(place) + i, piece->segment, family->id);
        piece->present[(first + i) / 64] |= (uint64_t) 1 << (first + i) % 64;
        piece->crc[first + i] = sums[i];
    }
    count_sums(meta, family, count);
    return 0;
}

int vvm_sums_use(VvMeta *meta, VvFamily *family, VvPlace place, unsigned count, const uint32_t *sums)
{
    if (sums == NULL && !family->has_sums)
        return 0;
    for (unsigned i = 0, n; sums != NULL && i < count; i += n) {
        n = MIN(count - i, VV_REGION_BLOCKS - vv_place_block(place + i) % VV_REGION_BLOCKS);
        int result = set_sums(meta, family, vv_place_after(place, i), n, sums + i);
        if (result != 0)
            return result;
    }
    if (meta->hooks != NULL && meta->hooks->sums_set != NULL)
        meta->hooks->sums_set(meta->hooks_user, family->id, vv_place_segment(place), vv_place_block(place), count, sums);
    return 0;
}

int vvm_sums_release(VvMeta *meta, VvFamily *family, VvPlace place)
{
    VvSumPiece copy, *piece;
    unsigned block = vv_place_block(place) % VV_REGION_BLOCKS;
    if (family->sum_blocks == 0)
        return 0;
    int result = find_piece(meta, family, place, &copy, &piece);
    if (result != 0 || !vv_sum_present(piece != NULL ? piece : &copy, block))
        return result;
    piece = fill_piece(meta, &copy, piece);
    piece->present[block / 64] &= ~((uint64_t) 1 << block % 64);
    count_sums(meta, family, -1);
    return 0;
}

int vvm_sums_copy(VvMeta *meta, VvFamily *family, VvPlace from, VvPlace to)
{
    VvSumPiece copy, *piece;
    unsigned block = vv_place_block(from) % VV_REGION_BLOCKS;
    if (!family->has_sums)
        return 0;
    int result = find_piece(meta, family, from, &copy, &piece);
    if (result != 0)
        return result;
    const VvSumPiece *found = piece != NULL ? piece : &copy;
    uint32_t crc = found->crc[block];
    return vvm_sums_use(meta, family, to, 1, vv_sum_present(found, block) ? &crc : NULL);
}

/* ---- checkpoint */

int vvm_sums_write(const VvOverlay *overlay, VvStoreTxn *txn)
{
    VvSetIter iter;
    const VvSumPiece *piece;
    int result = 0;
    vv_set_begin(&overlay->sums, &iter);
    while (result == 0 && (piece = vv_set_next(&overlay->sums, &iter)) != NULL) {
        uint8_t key[VV_KEY_BYTES], bytes[VV_SUM_BYTES_MAX];
        piece_key(piece, key);
        if (count_present(piece->present) == 0)
            result = vv_store_delete(txn, VV_TABLE_SUM, key, sizeof key);
        else
            result = vv_store_put(txn, VV_TABLE_SUM, key, sizeof key, bytes, vv_sum_piece_encode(piece, bytes));
    }
    return result;
}
