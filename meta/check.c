/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pool check`: recompute everything from the pages and compare.
 *
 *   the map              is what its checksums say: else nothing that follows is looked at
 *   every page           decodes, is in the index, and (no job on its branch) some live point sees it
 *   every index entry    has its page
 *   every block          is own in exactly one page if the bitmap says used, in none if it says free; what pages name is used
 *   every counter        used blocks of segments, LUNs and snapshots; pages of points and heads
 *   every checksum       is of a block that is in use; the family's record counts them (sums_check.c)
 *   every segment        lies on disks that are there and, if disks were chosen for its family, on those
 *
 * Repaired without guessing: index, bitmaps, counters. Not: pages that do not decode, blocks that two pages own, segments on
 * other disks. */
#include "codec.h"
#include "sums_private.h"

#include <errno.h>
#include <string.h>

typedef struct {
    VvMeta *meta;
    VvStoreRead *read;
    bool repair;
    VvCheckFunc report;
    void *user;
    GHashTable *segments; /* (family, number) -> SegmentMarks */
    GHashTable *points;   /* VvSnapshot or VvBranch (its head) -> PointSums */
} Check;

typedef struct {
    uint64_t family;
    uint64_t number;
    uint64_t *owned, *named; /* a bit per block */
} SegmentMarks;

typedef struct {
    int64_t used_blocks;
    uint64_t pages;
} PointSums;

static void G_GNUC_PRINTF(5, 6)
    report(Check *check, const char *code, bool repaired, const char *object, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args), *name = g_strdup(object);
    va_end(args);
    VvCheckError error = { .code = code, .object = name, .message = message, .repaired = repaired };
    check->report(check->user, &error);
}

/* What people call a branch. */
static char *branch_name(const VvMeta *meta, uint64_t id)
{
    const VvBranch *branch = vv_meta_branch(meta, id);
    const VvLun *lun = branch != NULL && branch->lun != 0 ? vv_meta_lun(meta, branch->lun) : NULL;
    for (guint i = 0; branch != NULL && lun == NULL && i < branch->points->len; i++)
        lun = vv_meta_lun(meta, ((const VvSnapshot *) g_ptr_array_index(branch->points, i))->lun);
    return lun != NULL && lun->name[0] != 0 ? g_strdup(lun->name) : g_strdup_printf("branch %" G_GUINT64_FORMAT, id);
}

static guint marks_hash(gconstpointer key)
{
    const SegmentMarks *m = key;
    return (guint) (m->family * 31 + m->number);
}

static gboolean marks_equal(gconstpointer a, gconstpointer b)
{
    const SegmentMarks *x = a, *y = b;
    return x->family == y->family && x->number == y->number;
}

static void marks_free(gpointer data)
{
    SegmentMarks *m = data;
    g_free(m->owned);
    g_free(m->named);
    g_free(m);
}

static SegmentMarks *marks_of(Check *check, const VvSegment *segment)
{
    SegmentMarks want = { .family = segment->family, .number = segment->number };
    SegmentMarks *marks = g_hash_table_lookup(check->segments, &want);
    if (marks == NULL) {
        size_t words = (vv_segment_blocks(segment) + 63) / 64;
        marks = g_memdup2(&want, sizeof want);
        marks->owned = g_new0(uint64_t, words);
        marks->named = g_new0(uint64_t, words);
        g_hash_table_add(check->segments, marks);
    }
    return marks;
}

static PointSums *sums_of(Check *check, gconstpointer point)
{
    PointSums *sums = g_hash_table_lookup(check->points, point);
    if (sums == NULL) {
        sums = g_new0(PointSums, 1);
        g_hash_table_insert(check->points, (gpointer) point, sums);
    }
    return sums;
}

static void check_places(Check *check, const VvPageKey *key, const VvPage *page)
{
    const VvBranch *branch = vv_meta_branch(check->meta, key->branch);
    g_autofree char *name = branch_name(check->meta, key->branch);
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        VvPlace place = page->place[i];
        if (place == 0)
            continue;
        const VvSegment *segment = vv_meta_segment(check->meta, branch->family, vv_place_segment(place));
        uint32_t block = vv_place_block(place);
        if (segment == NULL || block >= vv_segment_blocks(segment)) {
            report(check, "bad-place", false, name, "%s: region %" G_GUINT64_FORMAT " maps block %u to segment %u, which is not there",
                   name, key->region, i, vv_place_segment(place));
            continue;
        }
        SegmentMarks *marks = marks_of(check, segment);
        uint64_t bit = (uint64_t) 1 << (block % 64);
        if (vv_place_own(place) && (marks->owned[block / 64] & bit) != 0)
            report(check, "double-use", false, name, "%s: block %u of segment %u is owned by two pages (one of region %" G_GUINT64_FORMAT ")",
                   name, block, segment->number, key->region);
        marks->named[block / 64] |= bit;
        if (vv_place_own(place))
            marks->owned[block / 64] |= bit;
    }
}

/* A page counts for each point and head that sees it: those with epochs in [from, before). */
static bool count_for_points(Check *check, const VvBranch *branch, uint64_t from, uint64_t before, int64_t mapped)
{
    bool seen = false;
    for (guint i = branch->points->len; i > 0; i--) {
        const VvSnapshot *point = g_ptr_array_index(branch->points, i - 1);
        if (point->epoch < from)
            break;
        if (point->epoch < before) {
            sums_of(check, point)->used_blocks += mapped;
            seen = true;
        }
    }
    if (branch->lun != 0 && branch->epoch >= from && branch->epoch < before) {
        sums_of(check, branch)->used_blocks += mapped;
        seen = true;
    }
    return seen;
}

static void count_page(Check *check, const VvBranch *branch, uint64_t epoch)
{
    for (guint i = 0; i < branch->points->len; i++) {
        const VvSnapshot *point = g_ptr_array_index(branch->points, i);
        if (point->epoch >= epoch) {
            sums_of(check, point)->pages++;
            return;
        }
    }
    sums_of(check, branch)->pages++;
}

static int check_index_has(Check *check, const VvPageKey *key)
{
    VvPageKey found;
    int result = vvm_index_next(check->meta, check->read, key, &found);
    if (result == 0 && found.epoch == key->epoch && found.region == key->region)
        return 0;
    if (result != 0 && result != -ENODATA)
        return result;
    g_autofree char *name = branch_name(check->meta, key->branch);
    if (check->repair)
        vvm_overlay_index(&check->meta->filling, key, true);
    report(check, "index", check->repair, name, "%s: the index lacks the page of region %" G_GUINT64_FORMAT ", epoch %" G_GUINT64_FORMAT,
           name, key->region, key->epoch);
    return 0;
}

/* All versions of one region in one branch, newest first. */
static int check_region(Check *check, const VvBranch *branch, uint64_t region)
{
    uint64_t before = UINT64_MAX, oldest = 0;
    VvVersion version;
    int result;
    while ((result = vvm_version_at_or_below(check->meta, check->read, branch->id, region, before - 1, &version)) == 0) {
        VvPage page;
        g_autofree char *name = branch_name(check->meta, branch->id);
        result = vv_page_decode(version.bytes, version.length_bytes, &version.key, &page);
        if (result != 0) {
            report(check, "bad-page", false, name, "%s: the page of region %" G_GUINT64_FORMAT ", epoch %" G_GUINT64_FORMAT " does not decode",
                   name, region, version.key.epoch);
            memset(&page, 0, sizeof page);
        }
        check_places(check, &version.key, &page);
        count_page(check, branch, version.key.epoch);
        result = check_index_has(check, &version.key);
        if (result != 0)
            return result;
        if (!vvm_summaries_hold(branch, &version.key))
            report(check, "summary", false, name, "%s: a summary in memory lacks the page of region %" G_GUINT64_FORMAT ", epoch %"
                   G_GUINT64_FORMAT, name, region, version.key.epoch);
        bool seen = count_for_points(check, branch, version.key.epoch, before, vv_page_mapped_count(&page));
        if (!seen && branch->jobs->len == 0)
            report(check, "unreachable", false, name, "%s: nothing can reach the page of region %" G_GUINT64_FORMAT ", epoch %" G_GUINT64_FORMAT,
                   name, region, version.key.epoch);
        before = oldest = version.key.epoch;
        if (before == 0)
            break;
    }
    if (result != 0 && result != -ENODATA)
        return result;
    /* What sees this branch's page does not see the origin's. */
    VvVersion below;
    VvPage page;
    result = vvm_version_find(check->meta, check->read, branch->id, region, oldest, true, &below);
    if (result == 0 && vv_page_decode(below.bytes, below.length_bytes, &below.key, &page) == 0)
        count_for_points(check, branch, oldest, UINT64_MAX, -(int64_t) vv_page_mapped_count(&page));
    return result == -ENODATA ? 0 : result;
}

static int check_branch(Check *check, const VvBranch *branch)
{
    uint64_t region = 0;
    int result;
    while ((result = vvm_next_region(check->meta, check->read, branch->id, region, &region)) == 0) {
        result = check_region(check, branch, region);
        if (result != 0)
            return result;
        region++;
    }
    if (result != -ENODATA)
        return result;
    VvPageKey from = { .branch = branch->id }, key;
    while ((result = vvm_index_next(check->meta, check->read, &from, &key)) == 0) {
        VvVersion version;
        result = vvm_version_at_or_below(check->meta, check->read, key.branch, key.region, key.epoch, &version);
        if (result != 0 && result != -ENODATA)
            return result;
        if (result == -ENODATA || version.key.epoch != key.epoch) {
            g_autofree char *name = branch_name(check->meta, key.branch);
            if (check->repair)
                vvm_overlay_index(&check->meta->filling, &key, false);
            report(check, "index", check->repair, name, "%s: the index names a page of region %" G_GUINT64_FORMAT ", epoch %" G_GUINT64_FORMAT
                   " that is not there", name, key.region, key.epoch);
        }
        from = key;
        from.region++;
    }
    return result == -ENODATA ? 0 : result;
}

/* ---- used blocks: a branch begins with what its origin maps, so origins come first */
static void add_origin(Check *check, const VvBranch *branch, GHashTable *done)
{
    if (g_hash_table_contains(done, branch))
        return;
    g_hash_table_add(done, (gpointer) branch);
    const VvSnapshot *origin = branch->origin_snapshot != 0 ? vv_meta_snapshot(check->meta, branch->origin_snapshot) : NULL;
    if (origin == NULL)
        return;
    add_origin(check, vv_meta_branch(check->meta, origin->branch), done);
    int64_t used = sums_of(check, origin)->used_blocks;
    for (guint i = 0; i < branch->points->len; i++)
        sums_of(check, g_ptr_array_index(branch->points, i))->used_blocks += used;
    if (branch->lun != 0)
        sums_of(check, branch)->used_blocks += used;
}

static void check_count(Check *check, const char *object, const char *what, uint64_t *stored, uint64_t is, VvTable table, uint64_t id)
{
    if (*stored == is)
        return;
    report(check, "counter", check->repair, object, "%s: the record says %" G_GUINT64_FORMAT " %s, the pages %" G_GUINT64_FORMAT, object,
           *stored, what, is);
    if (check->repair) {
        *stored = is;
        vvm_dirty(check->meta, table, id, 0);
    }
}

static void check_counters(Check *check)
{
    GHashTableIter iter;
    gpointer value;
    g_autoptr(GHashTable) done = g_hash_table_new(NULL, NULL);
    g_hash_table_iter_init(&iter, check->meta->branches);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        add_origin(check, value, done);
    g_hash_table_iter_init(&iter, check->meta->branches);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvBranch *branch = value;
        g_autofree char *name = branch_name(check->meta, branch->id);
        check_count(check, name, "pages of the head", &branch->head_page_count, sums_of(check, branch)->pages, VV_TABLE_BRANCH, branch->id);
        VvLun *lun = branch->lun != 0 ? g_hash_table_lookup(check->meta->luns, &branch->lun) : NULL;
        if (branch->lun != 0 && (lun == NULL || lun->branch != branch->id))
            report(check, "catalog", false, name, "%s: its branch is the head of LUN %" G_GUINT64_FORMAT ", which says otherwise", name, branch->lun);
        if (lun != NULL)
            check_count(check, name, "used blocks", &lun->used_blocks, (uint64_t) sums_of(check, branch)->used_blocks, VV_TABLE_LUN, lun->id);
        for (guint i = 0; i < branch->points->len; i++) {
            VvSnapshot *s = g_ptr_array_index(branch->points, i);
            g_autofree char *object = g_strdup_printf("%s@%s", name, s->hidden ? "(hidden)" : s->name);
            /* Nobody reads a hidden point, and a merge moves its pages away one by one. */
            if (!s->hidden || s->orphan)
                check_count(check, object, "used blocks", &s->used_blocks, (uint64_t) sums_of(check, s)->used_blocks, VV_TABLE_SNAPSHOT, s->id);
            check_count(check, object, "pages", &s->page_count, sums_of(check, s)->pages, VV_TABLE_SNAPSHOT, s->id);
        }
    }
}

/* ---- bitmaps */
static int check_piece(Check *check, VvSegment *segment, const SegmentMarks *marks, uint32_t number, uint64_t *leaked, uint64_t *lost)
{
    VvMeta *meta = check->meta;
    VvPiece want = { .family = segment->family, .segment = segment->number, .piece = number };
    VvPiece *piece = vv_set_find(&meta->pieces, &want);
    uint8_t key[VV_KEY_BYTES];
    const uint8_t *value;
    size_t value_bytes;
    int result = 0;
    bool damaged = false;
    if (piece != NULL) {
        want = *piece;
    } else {
        vv_put_be64(key, want.family);
        vv_put_be64(key + 8, want.segment);
        vv_put_be64(key + 16, want.piece);
        result = vv_store_get(check->read, VV_TABLE_FREE, key, sizeof key, &value, &value_bytes);
        if (result == 0 && !vvm_piece_decode(&want, value, value_bytes))
            damaged = true;
        if (result != 0 && result != -ENODATA)
            return result;
    }
    uint32_t first = number * VV_PIECE_BLOCKS, count = MIN(vv_segment_blocks(segment) - first, VV_PIECE_BLOCKS);
    bool differs = damaged;
    uint64_t right[VV_PIECE_BYTES / 8] = { 0 };
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = first + i;
        bool is_free = (want.bits[i / 64] >> (i % 64) & 1) != 0, owned = marks != NULL && (marks->owned[block / 64] >> (block % 64) & 1) != 0;
        if (!owned)
            right[i / 64] |= (uint64_t) 1 << (i % 64);
        *leaked += !is_free && !owned;
        *lost += is_free && owned;
        differs |= is_free == owned;
    }
    if (damaged)
        report(check, "bad-record", check->repair, "space", "a free bitmap of segment %u of family %" G_GUINT64_FORMAT " is damaged",
               segment->number, segment->family);
    if (differs && check->repair) {
        memcpy(want.bits, right, sizeof right);
        want.dirty = true;
        if (piece != NULL)
            *piece = want;
        else
            vv_set_add(&meta->pieces, &want);
        vvm_dirty(meta, VV_TABLE_FREE, want.family, (uint64_t) want.segment << 32 | want.piece);
    }
    return 0;
}

static int check_segment(Check *check, VvSegment *segment)
{
    SegmentMarks want = { .family = segment->family, .number = segment->number };
    const SegmentMarks *marks = g_hash_table_lookup(check->segments, &want);
    uint32_t blocks = vv_segment_blocks(segment), owned = 0, unowned = 0;
    uint64_t leaked = 0, lost = 0;
    for (uint32_t w = 0; marks != NULL && w < (blocks + 63) / 64; w++) {
        owned += (uint32_t) __builtin_popcountll(marks->owned[w]);
        unowned += (uint32_t) __builtin_popcountll(marks->named[w] & ~marks->owned[w]);
    }
    for (uint32_t piece = 0; piece * VV_PIECE_BLOCKS < blocks; piece++) {
        int result = check_piece(check, segment, marks, piece, &leaked, &lost);
        if (result != 0)
            return result;
    }
    g_autofree char *name = g_strdup_printf("segment %u of family %" G_GUINT64_FORMAT, segment->number, segment->family);
    if (unowned > 0)
        report(check, "unowned", false, name, "%s: %u blocks are mapped, but no page owns them", name, unowned);
    if (leaked > 0)
        report(check, "leak", check->repair, name, "%s: %" G_GUINT64_FORMAT " blocks are marked used, but nothing maps them", name, leaked);
    if (lost > 0)
        report(check, "free-in-use", check->repair, name, "%s: %" G_GUINT64_FORMAT " blocks are marked free, but are mapped", name, lost);
    if (owned != segment->used_blocks) {
        report(check, "counter", check->repair, name, "%s: the record says %u used blocks, the pages %u", name, segment->used_blocks, owned);
        if (check->repair) {
            segment->used_blocks = owned;
            vvm_dirty(check->meta, VV_TABLE_SEGMENT, segment->family, segment->number);
        }
    }
    return 0;
}

/* ---- checksums */
static bool is_owned(void *user, const VvSegment *segment, uint32_t block)
{
    const Check *check = user;
    SegmentMarks want = { .family = segment->family, .number = segment->number };
    const SegmentMarks *marks = g_hash_table_lookup(check->segments, &want);
    return marks != NULL && (marks->owned[block / 64] >> block % 64 & 1) != 0;
}

static void report_sums(void *user, const VvCheckError *error)
{
    const Check *check = user;
    check->report(check->user, error);
}

/* ---- placement */
static void check_family(Check *check, const VvFamily *family)
{
    const VvBranch *branch = family->branches->len > 0 ? g_ptr_array_index(family->branches, 0) : NULL;
    g_autofree char *name = branch != NULL ? branch_name(check->meta, branch->id)
                                           : g_strdup_printf("family %" G_GUINT64_FORMAT, family->id);
    for (unsigned i = 0; family->disks != NULL && i < family->disks->count; i++) {
        if (vv_meta_disk(check->meta, family->disks->ids[i]) == NULL)
            report(check, "placement", false, name, "%s: disk %" G_GUINT64_FORMAT " was chosen for it, which is not there", name,
                   family->disks->ids[i]);
    }
    for (guint n = 0; n < family->segments->len; n++) {
        const VvSegment *segment = g_ptr_array_index(family->segments, n);
        for (unsigned i = 0; segment != NULL && i < segment->copy_count; i++) {
            const VvDiskInfo *disk = vv_meta_disk(check->meta, segment->copies[i].disk_id);
            if (disk == NULL)
                report(check, "placement", false, name, "%s: segment %u is on disk %" G_GUINT64_FORMAT ", which is not there", name,
                       n, segment->copies[i].disk_id);
            else if (!vv_disk_set_has(family->disks, disk->id))
                report(check, "placement", false, name, "%s: segment %u is on disk %s, which was not chosen for it", name, n,
                       disk->name);
        }
    }
}

static int check_all(Check *check)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, check->meta->branches);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VvBranch *branch = value;
        int result = check_branch(check, branch);
        if (result != 0)
            return result;
        if (branch->lun == 0 && branch->points->len == 0 && branch->jobs->len == 0)
            report(check, "catalog", false, "map", "branch %" G_GUINT64_FORMAT " serves nothing and should have gone", branch->id);
    }
    check_counters(check);
    for (guint i = 0; i < check->meta->family_list->len; i++) {
        const VvFamily *family = g_ptr_array_index(check->meta->family_list, i);
        check_family(check, family);
        for (guint n = 0; n < family->segments->len; n++) {
            VvSegment *segment = g_ptr_array_index(family->segments, n);
            int result = segment != NULL ? check_segment(check, segment) : 0;
            if (result != 0)
                return result;
        }
    }
    return vvm_sums_check(check->meta, check->read, check->repair, is_owned, report_sums, check);
}

int vv_meta_check(VvMeta *meta, bool repair, VvCheckFunc report_func, void *user)
{
    Check check = { .meta = meta, .repair = repair, .report = report_func, .user = user };
    if (vv_store_check(meta->store) == -EUCLEAN) { /* what opening left (store.h): nothing can be counted from pages that are not there */
        g_autofree char *trouble = vv_store_trouble(meta->store);
        report(&check, "damaged", false, vv_meta_pool(meta)->name, "%s", trouble);
        return 0;
    }
    if (repair)
        vvm_write_lock(meta);
    else
        vv_meta_read_lock(meta);
    int result = vv_store_read_begin(meta->store, &check.read);
    if (result == 0) {
        check.segments = g_hash_table_new_full(marks_hash, marks_equal, marks_free, NULL);
        check.points = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        result = check_all(&check);
        g_hash_table_unref(check.segments);
        g_hash_table_unref(check.points);
        vv_store_read_end(check.read);
    }
    if (repair)
        vvm_write_unlock(meta);
    else
        vv_meta_read_unlock(meta);
    return result == 0 ? 0 : -EIO;
}
