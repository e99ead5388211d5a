/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Space: which MiB of a disk belong to a segment, which blocks of a segment are in use. Changed by applied entries alone. */
#include "codec.h"
#include "sums_private.h"

#include <errno.h>
#include <string.h>

/* ---- units of a disk */
static bool unit_used(const VvDiskInfo *disk, uint32_t unit) { return (disk->used_units[unit / 64] >> (unit % 64) & 1) != 0; }

bool vvm_units_take(VvDiskInfo *disk, uint32_t unit, uint32_t count)
{
    if (unit + (uint64_t) count > disk->unit_count)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (unit_used(disk, unit + i))
            return false;
    }
    for (uint32_t i = unit; i < unit + count; i++)
        disk->used_units[i / 64] |= (uint64_t) 1 << (i % 64);
    disk->free_unit_count -= count;
    return true;
}

void vvm_units_give(VvDiskInfo *disk, uint32_t unit, uint32_t count)
{
    for (uint32_t i = unit; i < unit + count; i++)
        disk->used_units[i / 64] &= ~((uint64_t) 1 << (i % 64));
    disk->free_unit_count += count;
}

static bool run_is_free(const VvDiskInfo *disk, uint32_t unit, uint32_t count)
{
    if (count >= 64) {
        for (uint32_t w = unit / 64; w < (unit + count) / 64; w++) {
            if (disk->used_units[w] != 0)
                return false;
        }
        return true;
    }
    uint64_t mask = (((uint64_t) 1 << count) - 1) << (unit % 64);
    return (disk->used_units[unit / 64] & mask) == 0;
}

static bool run_is_taken(const GHashTable *taken, uint64_t disk_id, uint32_t unit, uint32_t count)
{
    GHashTableIter iter;
    gpointer key;
    if (taken == NULL)
        return false;
    g_hash_table_iter_init(&iter, (GHashTable *) taken);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const VvSegment *s = key;
        uint32_t s_count = 1u << (s->shift - VV_SEGMENT_SHIFT_MIN);
        if (s->copies[0].disk_id == disk_id && unit < s->copies[0].unit + s_count && s->copies[0].unit < unit + count)
            return true;
    }
    return false;
}

/* Of two free buddies the one whose other half is in use leaves larger runs whole. */
static bool buddy_is_used(const VvDiskInfo *disk, uint32_t unit, uint32_t count)
{
    uint32_t buddy = unit ^ count;
    return buddy + (uint64_t) count > disk->unit_count || !run_is_free(disk, buddy, count);
}

static bool find_on_disk(const VvDiskInfo *disk, uint32_t count, const GHashTable *taken, VvCopy *ret_copy)
{
    bool found = false;
    for (uint32_t unit = 0; unit + (uint64_t) count <= disk->unit_count; unit += count) {
        uint64_t word = disk->used_units[unit / 64];
        /* All used: none is free. None used: none is tight, as a small run's buddy lies in the same word (save at the end). */
        if (count < 64 && unit % 64 == 0 && (word == UINT64_MAX || (found && word == 0 && unit + 64 <= disk->unit_count))) {
            unit += 64 - count;
            continue;
        }
        if (!run_is_free(disk, unit, count) || run_is_taken(taken, disk->id, unit, count))
            continue;
        bool tight = buddy_is_used(disk, unit, count);
        if (!found || tight)
            *ret_copy = (VvCopy){ .disk_id = disk->id, .unit = unit };
        found = true;
        if (tight)
            break;
    }
    return found;
}

bool vv_space_find_run(
    const VvMeta *meta, uint8_t shift, const VvDiskSet *disks, const GHashTable *taken, VvCopy *ret_copy)
{
    uint32_t count = 1u << (shift - VV_SEGMENT_SHIFT_MIN);
    g_autoptr(GHashTable) tried = g_hash_table_new(NULL, NULL);
    for (;;) { /* the disk with most free space first */
        const VvDiskInfo *best = NULL;
        for (guint i = 0; i < meta->disk_list->len; i++) {
            const VvDiskInfo *disk = g_ptr_array_index(meta->disk_list, i);
            if (disk->state == VV_STATE_OK && disk->free_unit_count >= count && vv_disk_set_has(disks, disk->id) &&
                !g_hash_table_contains(tried, disk) && (best == NULL || disk->free_unit_count > best->free_unit_count))
                best = disk;
        }
        if (best == NULL)
            return false;
        if (find_on_disk(best, count, taken, ret_copy))
            return true;
        g_hash_table_add(tried, (gpointer) best);
    }
}

bool vv_space_may_adopt(const VvMeta *meta, const VvLun *lun, uint64_t branch)
{
    const VvDiskSet *chosen = vv_meta_lun_disks(meta, lun);
    uint64_t family = vv_meta_branch(meta, branch)->family;
    return chosen == NULL || vv_disk_set_equal(chosen, vv_meta_family(meta, family)->disks);
}

/* ---- pieces of free bitmaps */
guint vvm_piece_hash(gconstpointer key)
{
    const VvPiece *p = key;
    return vv_piece_key_hash(p->family, p->segment, p->piece);
}

gboolean vvm_piece_equal(gconstpointer a, gconstpointer b)
{
    const VvPiece *x = a, *y = b;
    return x->family == y->family && x->segment == y->segment && x->piece == y->piece;
}

static void piece_key(uint8_t *bytes, uint64_t family, uint32_t segment, uint32_t piece)
{
    vv_put_be64(bytes, family);
    vv_put_be64(bytes + 8, segment);
    vv_put_be64(bytes + 16, piece);
}

static int piece_from_store(VvStoreRead *read, VvPiece *piece)
{
    uint8_t key[VV_KEY_BYTES];
    const uint8_t *value;
    size_t value_bytes;
    piece_key(key, piece->family, piece->segment, piece->piece);
    int result = vv_store_get(read, VV_TABLE_FREE, key, sizeof key, &value, &value_bytes);
    if (result != 0)
        return result;
    return vvm_piece_decode(piece, value, value_bytes) ? 0 : -EUCLEAN;
}

VvPiece *vvm_piece(VvMeta *meta, VvStoreRead *read, uint64_t family, uint32_t segment, uint32_t piece, bool create, int *ret_error)
{
    VvPiece want = { .family = family, .segment = segment, .piece = piece };
    VvPiece *found = vv_set_find(&meta->pieces, &want);
    *ret_error = 0;
    if (found != NULL)
        return found;
    int result = piece_from_store(read, &want);
    if (result == -ENODATA && !create)
        return NULL;
    if (result != 0 && result != -ENODATA) {
        *ret_error = result;
        return NULL;
    }
    return vv_set_add(&meta->pieces, &want);
}

static bool piece_is_clean(const void *piece)
{
    return !((const VvPiece *) piece)->dirty;
}

/* After a checkpoint, clean pieces need not be kept; they come back from the store. */
void vvm_pieces_trim(VvMeta *meta)
{
    if (meta->pieces.count > 4096)
        vv_set_remove_if(&meta->pieces, piece_is_clean);
}

int vv_space_piece(VvMeta *meta, uint64_t family, uint32_t segment, uint32_t piece, uint64_t *ret_bits)
{
    VvPiece want = { .family = family, .segment = segment, .piece = piece };
    VvStoreRead *read;
    vv_meta_read_lock(meta);
    const VvPiece *found = vv_set_find(&meta->pieces, &want);
    int result = 0;
    if (found != NULL) {
        want = *found;
    } else {
        result = vv_store_read_begin(meta->store, &read);
        if (result == 0) {
            result = piece_from_store(read, &want);
            vv_store_read_end(read);
        }
    }
    vv_meta_read_unlock(meta);
    if (result == 0)
        memcpy(ret_bits, want.bits, sizeof want.bits);
    return result;
}

static void piece_touch(VvMeta *meta, VvPiece *piece)
{
    if (!piece->dirty) {
        piece->dirty = true;
        /* The key of a dirty piece: the segment and piece share the second number. */
        vvm_dirty(meta, VV_TABLE_FREE, piece->family, (uint64_t) piece->segment << 32 | piece->piece);
    }
}

static void count_blocks(VvMeta *meta, VvFamily *family, VvSegment *segment, int64_t by)
{
    segment->used_blocks = (uint32_t) ((int64_t) segment->used_blocks + by);
    family->used_blocks += (uint64_t) by;
    family->held_blocks -= (uint64_t) by;
    meta->total_used_blocks += (uint64_t) by;
    meta->total_held_blocks -= (uint64_t) by;
    vvm_dirty(meta, VV_TABLE_SEGMENT, family->id, segment->number);
}

static VvSegment *segment_of(VvFamily *family, VvPlace place, unsigned count)
{
    uint32_t number = vv_place_segment(place);
    VvSegment *segment = number < family->segments->len ? g_ptr_array_index(family->segments, number) : NULL;
    return segment != NULL && vv_place_block(place) + count <= vv_segment_blocks(segment) ? segment : NULL;
}

/* Set (free) or clear (use) one bit; it must be the other way now. */
static int piece_flip(VvMeta *meta, VvFamily *family, VvPlace place, bool to_free)
{
    uint32_t block = vv_place_block(place), segment = vv_place_segment(place);
    int result;
    VvPiece *piece = vvm_piece(meta, meta->apply_read, family->id, segment, block / VV_PIECE_BLOCKS, to_free, &result);
    if (result != 0)
        return result;
    uint64_t bit = (uint64_t) 1 << (block % 64);
    unsigned word = block % VV_PIECE_BLOCKS / 64;
    if (piece == NULL || ((piece->bits[word] & bit) != 0) == to_free)
        return vvm_damaged(meta, "block %u of segment %u in family %" G_GUINT64_FORMAT " is %s twice", block, segment,
                           family->id, to_free ? "freed" : "used");
    piece->bits[word] ^= bit;
    piece_touch(meta, piece);
    return 0;
}

int vvm_space_use(VvMeta *meta, VvFamily *family, VvPlace place, unsigned count)
{
    VvSegment *segment = segment_of(family, place, count);
    if (segment == NULL)
        return vvm_damaged(meta, "segment %u of family %" G_GUINT64_FORMAT " is named but not there", vv_place_segment(place),
                           family->id);
    for (unsigned i = 0; i < count; i++) {
        int result = piece_flip(meta, family, place + i, false);
        if (result != 0)
            return result;
    }
    count_blocks(meta, family, segment, (int64_t) count);
    return 0;
}

int vvm_space_release(VvMeta *meta, VvFamily *family, VvPlace place)
{
    VvSegment *segment = segment_of(family, place, 1);
    if (segment == NULL)
        return vvm_damaged(meta, "segment %u of family %" G_GUINT64_FORMAT " is named but not there", vv_place_segment(place),
                           family->id);
    int result = piece_flip(meta, family, place, true);
    if (result == 0)
        result = vvm_sums_release(meta, family, place);
    if (result != 0)
        return result;
    count_blocks(meta, family, segment, -1);
    uint32_t block = vv_place_block(place);
    if (meta->freed.count > 0 && meta->freed.family == family->id && meta->freed.segment == segment->number &&
        meta->freed.first + meta->freed.count == block) {
        meta->freed.count++;
        return 0;
    }
    vvm_space_tell_freed(meta);
    meta->freed.family = family->id;
    meta->freed.segment = segment->number;
    meta->freed.first = block;
    meta->freed.count = 1;
    return 0;
}

void vvm_space_tell_freed(VvMeta *meta)
{
    if (meta->freed.count > 0 && meta->hooks != NULL && meta->hooks->blocks_freed != NULL)
        meta->hooks->blocks_freed(meta->hooks_user, meta->freed.family, meta->freed.segment, meta->freed.first, meta->freed.count);
    meta->freed.count = 0;
}

/* ---- segments */
int vvm_space_grant(VvMeta *meta, const VvSegment *wanted)
{
    VvFamily *family = g_hash_table_lookup(meta->families, &wanted->family);
    if (family == NULL)
        return 0; /* it ended after the grant was asked for: nobody is left to take it */
    bool reused = wanted->number < family->next_segment && vv_meta_segment(meta, wanted->family, wanted->number) == NULL;
    if ((!reused && wanted->number != family->next_segment) || wanted->number >= VV_SEGMENTS_PER_FAMILY ||
        wanted->shift < VV_SEGMENT_SHIFT_MIN || wanted->shift > VV_SEGMENT_SHIFT_MAX || wanted->copy_count == 0 ||
        wanted->copy_count > VV_SEGMENT_COPIES_MAX)
        return vvm_damaged(meta, "segment %u cannot be granted to family %" G_GUINT64_FORMAT, wanted->number, wanted->family);
    uint32_t units = 1u << (wanted->shift - VV_SEGMENT_SHIFT_MIN);
    for (unsigned i = 0; i < wanted->copy_count; i++) {
        VvDiskInfo *disk = g_hash_table_lookup(meta->disks, &wanted->copies[i].disk_id);
        if (!vv_disk_set_has(family->disks, wanted->copies[i].disk_id))
            return vvm_damaged(meta, "segment %u is granted to family %" G_GUINT64_FORMAT " on a disk that it may not use",
                               wanted->number, wanted->family);
        if (disk == NULL || !vvm_units_take(disk, wanted->copies[i].unit, units))
            return vvm_damaged(meta, "MiB %u of a disk is granted twice", wanted->copies[i].unit);
    }
    VvSegment *segment = g_memdup2(wanted, sizeof *wanted);
    segment->used_blocks = 0;
    vvm_segment_add(meta, family, segment);
    if (!reused)
        family->next_segment++;
    vvm_dirty(meta, VV_TABLE_FAMILY, family->id, 0);
    uint32_t blocks = vv_segment_blocks(segment);
    for (uint32_t first = 0; first < blocks; first += VV_PIECE_BLOCKS) {
        int result;
        VvPiece *piece = vvm_piece(meta, meta->apply_read, family->id, segment->number, first / VV_PIECE_BLOCKS, true, &result);
        if (result != 0)
            return result;
        uint32_t count = MIN(blocks - first, VV_PIECE_BLOCKS);
        memset(piece->bits, 0, sizeof piece->bits);
        memset(piece->bits, 0xff, count / 8);
        piece_touch(meta, piece);
    }
    if (meta->hooks != NULL && meta->hooks->segment_granted != NULL)
        meta->hooks->segment_granted(meta->hooks_user, segment);
    return 0;
}

/* The pieces of [first, end) must be all free; they go. */
static int drop_pieces(VvMeta *meta, const VvSegment *segment, uint32_t first, uint32_t end)
{
    for (uint32_t at = first; at < end;) {
        int result;
        uint32_t number = at / VV_PIECE_BLOCKS, piece_end = MIN(end, (number + 1) * VV_PIECE_BLOCKS);
        VvPiece *piece = vvm_piece(meta, meta->apply_read, segment->family, segment->number, number, false, &result);
        if (result != 0)
            return result;
        for (; at < piece_end; at++) {
            uint64_t *word = piece != NULL ? &piece->bits[at % VV_PIECE_BLOCKS / 64] : NULL;
            if (word == NULL || (*word >> (at % 64) & 1) == 0)
                return vvm_damaged(meta, "segment %u of family %" G_GUINT64_FORMAT " is given back with blocks in use",
                                   segment->number, segment->family);
            *word &= ~((uint64_t) 1 << (at % 64));
        }
        piece_touch(meta, piece);
    }
    return 0;
}

int vvm_space_shrink(VvMeta *meta, uint64_t family_id, uint32_t number, uint8_t shift)
{
    VvFamily *family = g_hash_table_lookup(meta->families, &family_id);
    VvSegment *segment = family != NULL && number < family->segments->len ? g_ptr_array_index(family->segments, number) : NULL;
    if (segment == NULL || shift >= segment->shift || (shift != 0 && shift < VV_SEGMENT_SHIFT_MIN))
        return vvm_damaged(meta, "segment %u of family %" G_GUINT64_FORMAT " cannot be given back", number, family_id);
    uint8_t old_shift = segment->shift;
    uint32_t old_blocks = vv_segment_blocks(segment), new_blocks = shift == 0 ? 0 : 1u << (shift - VV_BLOCK_SHIFT);
    int result = drop_pieces(meta, segment, new_blocks, old_blocks);
    if (result != 0)
        return result;
    uint32_t old_units = old_blocks >> (VV_SEGMENT_SHIFT_MIN - VV_BLOCK_SHIFT);
    uint32_t new_units = new_blocks >> (VV_SEGMENT_SHIFT_MIN - VV_BLOCK_SHIFT);
    for (unsigned i = 0; i < segment->copy_count; i++) {
        VvDiskInfo *disk = g_hash_table_lookup(meta->disks, &segment->copies[i].disk_id);
        vvm_units_give(disk, segment->copies[i].unit + new_units, old_units - new_units);
    }
    family->held_blocks -= old_blocks - new_blocks;
    meta->total_held_blocks -= old_blocks - new_blocks;
    segment->shift = shift;
    family->change_number++; /* who counts the family's blocks by segment begins anew */
    vvm_dirty(meta, VV_TABLE_SEGMENT, family_id, number);
    if (meta->hooks != NULL && meta->hooks->segment_shrunk != NULL)
        meta->hooks->segment_shrunk(meta->hooks_user, segment, old_shift);
    if (shift == 0) {
        g_ptr_array_index(family->segments, number) = NULL;
        g_free(segment);
        bool any = false;
        for (guint i = 0; i < family->segments->len && !any; i++)
            any = g_ptr_array_index(family->segments, i) != NULL;
        if (!any && family->branches->len == 0)
            vvm_family_delete(meta, family);
    }
    return 0;
}

/* ---- what jobs will free: told at once, as vv_space_exclusive() would have to read every page of the family for it */

/* What somebody can read: blocks of the largest object, and the number of objects. */
static uint64_t largest_kept(const VvMeta *meta, const VvFamily *family, unsigned *ret_count)
{
    uint64_t blocks = 0;
    *ret_count = 0;
    for (guint i = 0; i < family->branches->len; i++) {
        const VvBranch *branch = g_ptr_array_index(family->branches, i);
        const VvLun *lun = branch->lun != 0 ? vv_meta_lun(meta, branch->lun) : NULL;
        if (lun != NULL) {
            blocks = MAX(blocks, lun->used_blocks);
            ++*ret_count;
        }
        for (guint n = 0; n < branch->points->len; n++) {
            const VvSnapshot *point = g_ptr_array_index(branch->points, n);
            if (point->hidden && !point->orphan)
                continue;
            blocks = MAX(blocks, point->used_blocks);
            ++*ret_count;
        }
    }
    return blocks;
}

/* Pages that a job has yet to visit, each of which may free a region; a head that is written meanwhile makes them more than were
 * counted. */
static uint64_t blocks_to_visit(const VvJob *job)
{
    uint64_t pages = job->total_pages > job->done_pages ? job->total_pages - job->done_pages : 1;
    return pages * VV_REGION_BLOCKS;
}

/* Of one family: exact if at most one object is left in it, as all that this does not map goes; else an upper bound, save that a
 * merge may queue another removal. 0 only if nothing will be freed. */
static uint64_t freeing_blocks_of(const VvMeta *meta, const VvFamily *family, uint64_t to_visit)
{
    unsigned count;
    uint64_t kept = largest_kept(meta, family, &count);
    uint64_t others = family->used_blocks > kept ? family->used_blocks - kept : 0;
    return count <= 1 ? others : MIN(others, to_visit);
}

/* Read lock held. */
static uint64_t freeing_blocks(const VvMeta *meta)
{
    g_autoptr(GHashTable) to_visit = g_hash_table_new_full(NULL, NULL, NULL, g_free); /* VvFamily -> blocks */
    GHashTableIter iter;
    gpointer key, value;
    uint64_t blocks = 0;
    for (guint i = 0; i < meta->job_list->len; i++) {
        const VvJob *job = g_ptr_array_index(meta->job_list, i);
        const VvBranch *branch = vv_meta_branch(meta, job->branch);
        const VvFamily *family = branch != NULL ? vv_meta_family(meta, branch->family) : NULL;
        if (family == NULL)
            continue;
        uint64_t *sum = g_hash_table_lookup(to_visit, family);
        if (sum == NULL) {
            sum = g_new0(uint64_t, 1);
            g_hash_table_insert(to_visit, (gpointer) family, sum);
        }
        *sum += blocks_to_visit(job);
    }
    g_hash_table_iter_init(&iter, to_visit);
    while (g_hash_table_iter_next(&iter, &key, &value))
        blocks += freeing_blocks_of(meta, key, *(const uint64_t *) value);
    return blocks;
}

void vv_meta_space(VvMeta *meta, VvSpaceSummary *ret_space)
{
    VvSpaceSummary space = { 0 };
    vv_meta_read_lock(meta);
    for (guint i = 0; i < meta->disk_list->len; i++) {
        const VvDiskInfo *disk = g_ptr_array_index(meta->disk_list, i);
        space.total_bytes += (uint64_t) disk->unit_count << VV_SEGMENT_SHIFT_MIN;
        space.free_bytes += (uint64_t) disk->free_unit_count << VV_SEGMENT_SHIFT_MIN;
    }
    space.used_bytes = meta->total_used_blocks << VV_BLOCK_SHIFT;
    space.held_bytes = meta->total_held_blocks << VV_BLOCK_SHIFT;
    space.freeing_bytes = freeing_blocks(meta) << VV_BLOCK_SHIFT;
    vv_meta_read_unlock(meta);
    *ret_space = space;
}
