/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `pool check` says of checksums. Repaired: sums of blocks that are not in use and records of segments that are not there go, the
 * count is put right; a record that does not decode goes too, and its blocks are without checksums from then on. */
#include "sums_private.h"

#include "codec.h"

#include <errno.h>
#include <string.h>

typedef struct {
    VvMeta *meta;
    VvStoreRead *read;
    bool repair;
    VvSumsUsed is_used;
    VvCheckFunc report;
    void *user;
} SumsCheck;

static void G_GNUC_PRINTF(4, 5) tell(SumsCheck *check, const char *code, uint64_t family, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *name = g_strdup_printf("family %" G_GUINT64_FORMAT, family);
    g_autofree char *message = g_strdup_printf("%s: %s", name, what);
    VvCheckError error = { .code = code, .object = name, .message = message, .repaired = check->repair };
    check->report(check->user, &error);
}

static void replace(SumsCheck *check, const VvSumPiece *piece)
{
    if (!check->repair)
        return;
    VvSumPiece *found = vv_set_find(&check->meta->filling.sums, piece);
    if (found != NULL)
        *found = *piece;
    else
        vv_set_add(&check->meta->filling.sums, piece);
    check->meta->filling.bytes += sizeof *piece; /* there is something to write */
}

/* Adds what is left of it to *count. */
static int check_piece(SumsCheck *check, const VvSegment *segment, VvSumPiece *piece, uint64_t *count)
{
    unsigned stray = 0;
    int result = vvm_sums_get(check->meta, check->read, piece);
    if (result == -EUCLEAN) {
        tell(check, "bad-record", piece->family, "the checksums of segment %u, MiB %u, do not decode", piece->segment, piece->mib);
        replace(check, piece);
        return 0;
    }
    if (result != 0)
        return result;
    for (unsigned block = 0; block < VV_REGION_BLOCKS; block++) {
        if (!vv_sum_present(piece, block))
            continue;
        if (segment != NULL && check->is_used(check->user, segment, piece->mib * VV_REGION_BLOCKS + block)) {
            ++*count;
            continue;
        }
        piece->present[block / 64] &= ~((uint64_t) 1 << block % 64);
        stray++;
    }
    if (stray == 0)
        return 0;
    tell(check, "sum", piece->family, "segment %u, MiB %u: %u blocks have checksums and are not in use", piece->segment, piece->mib, stray);
    replace(check, piece);
    return 0;
}

static int check_family(SumsCheck *check, VvFamily *family)
{
    uint64_t count = 0;
    if (!family->has_sums)
        return 0;
    for (guint n = 0; n < family->segments->len; n++) {
        const VvSegment *segment = g_ptr_array_index(family->segments, n);
        uint32_t mibs = segment != NULL ? vv_segment_blocks(segment) / VV_REGION_BLOCKS : 0;
        for (uint32_t mib = 0; mib < mibs; mib++) {
            VvSumPiece piece = { .family = family->id, .segment = n, .mib = mib };
            int result = check_piece(check, segment, &piece, &count);
            if (result != 0)
                return result;
        }
    }
    if (count == family->sum_blocks)
        return 0;
    tell(check, "counter", family->id, "the record says %" G_GUINT64_FORMAT " checksums, there are %" G_GUINT64_FORMAT, family->sum_blocks, count);
    if (check->repair) {
        family->sum_blocks = count;
        family->has_sums |= count > 0;
        vvm_dirty(check->meta, VV_TABLE_FAMILY, family->id, 0);
    }
    return 0;
}

/* Records in the store that no family's segment accounts for. */
static int check_strays(SumsCheck *check)
{
    const uint8_t *key, *value;
    size_t key_bytes, value_bytes;
    static const uint8_t first[1];
    uint64_t none = 0;
    int result = vv_store_seek(check->read, VV_TABLE_SUM, VV_SEEK_GE, first, sizeof first, &key, &key_bytes, &value, &value_bytes);
    for (; result == 0; result = vv_store_next(check->read, VV_TABLE_SUM, &key, &key_bytes, &value, &value_bytes)) {
        if (key_bytes != VV_KEY_BYTES)
            return -EUCLEAN;
        VvSumPiece piece = { .family = vv_get_be64(key), .segment = (uint32_t) vv_get_be64(key + 8), .mib = (uint32_t) vv_get_be64(key + 16) };
        const VvFamily *family = vv_meta_family(check->meta, piece.family);
        const VvSegment *segment = vv_meta_segment(check->meta, piece.family, piece.segment);
        if (segment != NULL && family->has_sums && piece.mib < vv_segment_blocks(segment) / VV_REGION_BLOCKS)
            continue;
        int checked = check_piece(check, NULL, &piece, &none);
        if (checked != 0)
            return checked;
    }
    return result == -ENODATA ? 0 : result;
}

int vvm_sums_check(VvMeta *meta, VvStoreRead *read, bool repair, VvSumsUsed is_used, VvCheckFunc report, void *user)
{
    SumsCheck check = { .meta = meta, .read = read, .repair = repair, .is_used = is_used, .report = report, .user = user };
    for (guint i = 0; i < meta->family_list->len; i++) {
        int result = check_family(&check, g_ptr_array_index(meta->family_list, i));
        if (result != 0)
            return result;
    }
    return check_strays(&check);
}
