/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a removal would free, exactly: which points would stay live is worked out on the catalog (as points.c would do it,
 * with all jobs at their end), then every page of the family is looked at once and its blocks marked as seen by somebody
 * now, and as seen by somebody afterwards.
 *
 * A point is a root if it is read through (named, open, or two branches hang on it): what it sees stays. A point that
 * would be merged (R7) is no root: what it sees stays only where the branch that hangs on it looks through.
 *
 * Of a LUN that is cut nothing goes but what its head sees behind the cut: all points and branches stay, so the fates do, and
 * behind the cut the head is taken for blind. */
#include "meta_private.h"

#include <errno.h>

typedef enum { POINT_DEAD, POINT_MERGED, POINT_ROOT } Fate;

/* A family as it would be. Hash values are Fate + 1. */
typedef struct {
    VvMeta *meta;
    GHashTable *removed; /* ids: snapshots and LUNs; NULL: none */
    GHashTable *fates;   /* VvSnapshot -> Fate + 1 */
    GHashTable *weights; /* VvBranch -> hangs on its origin still: 2, or 1 */
    uint64_t blind;      /* id of a branch whose head is there and looks at nothing; 0: none */
} Future;

static bool is_removed(const Future *f, uint64_t id) { return f->removed != NULL && g_hash_table_contains(f->removed, &id); }

static bool head_stays(const Future *f, const VvBranch *branch)
{
    return branch->lun != 0 && !is_removed(f, branch->lun) && !is_removed(f, branch->id);
}

static bool head_looks(const Future *f, const VvBranch *branch) { return head_stays(f, branch) && branch->id != f->blind; }

static bool point_is_kept(const Future *f, const VvSnapshot *point)
{
    return (!point->hidden || point->orphan) && !is_removed(f, point->id) && !(is_removed(f, point->lun) && !point->orphan);
}

static unsigned branch_weight(Future *f, const VvBranch *branch);

static unsigned kids_of(Future *f, const VvSnapshot *point)
{
    unsigned kids = 0;
    for (guint i = 0; i < point->kids->len; i++) {
        const VvBranch *kid = vv_meta_branch(f->meta, g_array_index(point->kids, uint64_t, i));
        if (kid != NULL)
            kids += branch_weight(f, kid);
    }
    return kids;
}

/* 1 if the branch, or the one it is merged into, still hangs on its origin. Decides its points' fates, newest first. */
static unsigned branch_weight(Future *f, const VvBranch *branch)
{
    gpointer known = g_hash_table_lookup(f->weights, branch);
    if (known != NULL)
        return GPOINTER_TO_UINT(known) - 1;
    bool live_above = head_stays(f, branch);
    unsigned weight = live_above, carried = 0;
    for (guint i = branch->points->len; i > 0; i--) {
        const VvSnapshot *point = g_ptr_array_index(branch->points, i - 1);
        unsigned kids = kids_of(f, point) + carried;
        Fate fate = point_is_kept(f, point) || kids >= 2 || (kids == 1 && live_above) ? POINT_ROOT
                    : kids == 1 ? POINT_MERGED : POINT_DEAD;
        carried = fate == POINT_MERGED;
        live_above |= fate == POINT_ROOT;
        weight |= fate != POINT_DEAD;
        g_hash_table_insert(f->fates, (gpointer) point, GUINT_TO_POINTER((guint) fate + 1));
    }
    g_hash_table_insert(f->weights, (gpointer) branch, GUINT_TO_POINTER(weight + 1));
    return weight;
}

static Fate fate_of(Future *f, const VvSnapshot *point) { return GPOINTER_TO_UINT(g_hash_table_lookup(f->fates, point)) - 1; }

static void future_init(Future *f, VvMeta *meta, const VvFamily *family, GHashTable *removed)
{
    *f = (Future){ .meta = meta, .removed = removed, .fates = g_hash_table_new(NULL, NULL), .weights = g_hash_table_new(NULL, NULL) };
    for (guint i = 0; i < family->branches->len; i++)
        branch_weight(f, g_ptr_array_index(family->branches, i));
}

static void future_clear(Future *f)
{
    g_clear_pointer(&f->fates, g_hash_table_unref);
    g_clear_pointer(&f->weights, g_hash_table_unref);
}

/* Does anything look through the merged @point's branches into it, in @region? */
static int looks_through(Future *f, VvStoreRead *read, const VvSnapshot *point, uint64_t region, bool *ret_seen);

static int branch_looks_through(Future *f, VvStoreRead *read, const VvBranch *branch, uint64_t region, bool *ret_seen)
{
    VvVersion oldest;
    int result = vvm_version_at_or_above(f->meta, read, branch->id, region, 0, &oldest);
    if (result != 0 && result != -ENODATA)
        return result;
    uint64_t before = result == 0 ? oldest.key.epoch : UINT64_MAX;
    for (guint i = 0; i < branch->points->len && !*ret_seen; i++) {
        const VvSnapshot *point = g_ptr_array_index(branch->points, i);
        if (point->epoch >= before)
            return 0;
        Fate fate = fate_of(f, point);
        if (fate == POINT_ROOT)
            *ret_seen = true;
        else if (fate == POINT_MERGED && (result = looks_through(f, read, point, region, ret_seen)) != 0)
            return result;
    }
    if (head_looks(f, branch) && branch->epoch < before)
        *ret_seen = true;
    return 0;
}

static int looks_through(Future *f, VvStoreRead *read, const VvSnapshot *point, uint64_t region, bool *ret_seen)
{
    for (guint i = 0; i < point->kids->len && !*ret_seen; i++) {
        const VvBranch *kid = vv_meta_branch(f->meta, g_array_index(point->kids, uint64_t, i));
        int result = kid != NULL ? branch_looks_through(f, read, kid, region, ret_seen) : 0;
        if (result != 0)
            return result;
    }
    return 0;
}

/* Is the version that rules [from, before) of @branch seen by anybody? */
static int version_is_seen(Future *f, VvStoreRead *read, const VvBranch *branch, uint64_t region, uint64_t from, uint64_t before,
                           bool *ret_seen)
{
    *ret_seen = head_looks(f, branch) && branch->epoch >= from && branch->epoch < before;
    const VvSnapshot *point = from == 0 ? vvm_branch_first_point(branch) : vvm_branch_point_above(branch, from - 1);
    while (point != NULL && point->epoch < before && !*ret_seen) {
        Fate fate = fate_of(f, point);
        if (fate == POINT_ROOT)
            *ret_seen = true;
        if (fate == POINT_MERGED) {
            /* Also the branches carried down from merged points above see through this one. */
            int result = looks_through(f, read, point, region, ret_seen);
            if (result != 0)
                return result;
        }
        point = vvm_branch_point_above(branch, point->epoch);
    }
    return 0;
}

/* ---- marks: two bits per block */
typedef struct {
    GHashTable *segments; /* number -> uint64_t words: now, then afterwards */
} Marks;

/* Who sees a version. */
typedef struct {
    bool now, after;
    bool behind;   /* afterwards, of the blocks from @edge on */
    unsigned edge; /* VV_REGION_BLOCKS: none */
} Seen;

static void mark(Marks *marks, const VvFamily *family, const VvPage *page, const Seen *seen)
{
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        VvPlace place = page->place[i];
        uint32_t number = vv_place_segment(place), block = vv_place_block(place);
        const VvSegment *segment = place != 0 && number < family->segments->len ? g_ptr_array_index(family->segments, number) : NULL;
        if (segment == NULL || block >= vv_segment_blocks(segment))
            continue;
        size_t words = (vv_segment_blocks(segment) + 63) / 64;
        uint64_t *bits = g_hash_table_lookup(marks->segments, GUINT_TO_POINTER(number));
        if (bits == NULL) {
            bits = g_new0(uint64_t, 2 * words);
            g_hash_table_insert(marks->segments, GUINT_TO_POINTER(number), bits);
        }
        bits[block / 64] |= (uint64_t) seen->now << (block % 64);
        bits[words + block / 64] |= (uint64_t) (i < seen->edge ? seen->after : seen->behind) << (block % 64);
    }
}

static uint64_t count_marks(const Marks *marks, const VvFamily *family, bool garbage)
{
    uint64_t blocks = 0;
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init(&iter, marks->segments);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const VvSegment *segment = g_ptr_array_index(family->segments, GPOINTER_TO_UINT(key));
        const uint64_t *bits = value;
        size_t words = (vv_segment_blocks(segment) + 63) / 64;
        for (size_t w = 0; w < words; w++)
            blocks += (uint64_t) __builtin_popcountll(garbage ? bits[w] : bits[w] & ~bits[words + w]);
    }
    return garbage ? family->used_blocks - blocks : blocks;
}

typedef struct {
    VvMeta *meta;
    uint64_t family;
    uint64_t change_number;
    Future now, after, behind;
    uint64_t cut_block; /* of the LUN whose branch is blind in @behind; UINT64_MAX: nothing is cut */
    Marks marks;
    uint64_t *left_looks; /* until it is given up */
} Count;

static unsigned edge_in(const Count *c, uint64_t region)
{
    uint64_t first = region * VV_REGION_BLOCKS;

    return c->cut_block <= first ? 0 : (unsigned) MIN(c->cut_block - first, VV_REGION_BLOCKS);
}

static int count_region(Count *c, VvStoreRead *read, const VvFamily *family, const VvBranch *branch, uint64_t region)
{
    uint64_t before = UINT64_MAX;
    VvVersion version;
    int result;
    while ((result = vvm_version_at_or_below(c->meta, read, branch->id, region, before - 1, &version)) == 0) {
        Seen seen = { .edge = edge_in(c, region) };
        uint64_t epoch = version.key.epoch;
        VvPage page;
        if ((*c->left_looks)-- == 0)
            return -E2BIG;
        result = vv_page_decode(version.bytes, version.length_bytes, &version.key, &page);
        if (result == 0)
            result = version_is_seen(&c->now, read, branch, region, epoch, before, &seen.now);
        if (result == 0)
            result = version_is_seen(&c->after, read, branch, region, epoch, before, &seen.after);
        if (result == 0 && seen.edge < VV_REGION_BLOCKS)
            result = version_is_seen(&c->behind, read, branch, region, epoch, before, &seen.behind);
        if (result != 0)
            return result;
        if (seen.now || seen.after)
            mark(&c->marks, family, &page, &seen);
        if (epoch == 0)
            return 0;
        before = epoch;
    }
    return result == -ENODATA ? 0 : result;
}

#define REGIONS_PER_SLICE 16u /* some 0.3 ms: appliers wait no longer */

/* Up to REGIONS_PER_SLICE regions of one branch from *@region on. 0: more to do; 1: the branch is done. */
static int count_slice(Count *c, uint64_t branch_id, uint64_t *region)
{
    VvStoreRead *read;
    if ((*c->left_looks)-- == 0)
        return -E2BIG;
    vvm_slice_lock(c->meta);
    const VvFamily *family = vv_meta_family(c->meta, c->family);
    const VvBranch *branch = vv_meta_branch(c->meta, branch_id);
    int result = family == NULL || family->change_number != c->change_number || branch == NULL ? -EAGAIN
                                                                                               : vv_store_read_begin(c->meta->store, &read);
    if (result == 0) {
        for (unsigned i = 0; i < REGIONS_PER_SLICE && result == 0; i++) {
            result = vvm_next_region(c->meta, read, branch_id, *region, region);
            if (result == 0)
                result = count_region(c, read, family, branch, (*region)++);
        }
        vv_store_read_end(read);
    }
    vv_meta_read_unlock(c->meta);
    return result == -ENODATA ? 1 : result;
}

/* What goes when @removed (NULL: nothing) does and the head of @cut_branch (0: none) loses its blocks from @cut_block on. */
static int count_family(VvMeta *meta, uint64_t family_id, GHashTable *removed, uint64_t cut_branch, uint64_t cut_block,
                        uint64_t *left_looks, uint64_t *ret_blocks)
{
    Count c = { .meta = meta, .family = family_id, .left_looks = left_looks };
    c.cut_block = cut_branch != 0 ? cut_block : UINT64_MAX;
    g_autoptr(GArray) branches = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    vv_meta_read_lock(meta);
    const VvFamily *family = vv_meta_family(meta, family_id);
    if (family == NULL) {
        vv_meta_read_unlock(meta);
        return -EAGAIN;
    }
    c.change_number = family->change_number;
    c.marks.segments = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    future_init(&c.now, meta, family, NULL);
    future_init(&c.after, meta, family, removed);
    future_init(&c.behind, meta, family, removed);
    c.behind.blind = cut_branch;
    for (guint i = 0; i < family->branches->len; i++)
        g_array_append_val(branches, ((const VvBranch *) g_ptr_array_index(family->branches, i))->id);
    vv_meta_read_unlock(meta);

    int result = 1;
    for (guint i = 0; i < branches->len && result == 1; i++) {
        uint64_t region = 0;
        do
            result = count_slice(&c, g_array_index(branches, uint64_t, i), &region);
        while (result == 0);
    }
    vv_meta_read_lock(meta);
    family = vv_meta_family(meta, family_id);
    if (result == 1 && (family == NULL || family->change_number != c.change_number))
        result = -EAGAIN;
    if (result == 1)
        *ret_blocks += count_marks(&c.marks, family, removed == NULL && cut_branch == 0);
    vv_meta_read_unlock(meta);
    future_clear(&c.now);
    future_clear(&c.after);
    future_clear(&c.behind);
    g_hash_table_unref(c.marks.segments);
    return result == 1 ? 0 : result;
}

static void add_id(GHashTable *ids, uint64_t id)
{
    if (!g_hash_table_contains(ids, &id))
        g_hash_table_add(ids, g_memdup2(&id, sizeof id));
}

static void add_family_of(VvMeta *meta, GHashTable *families, uint64_t branch_id)
{
    const VvBranch *branch = vv_meta_branch(meta, branch_id);
    if (branch != NULL)
        add_id(families, branch->family);
}

/* A LUN goes with its snapshots, which may be in branches of other families; of a branch, its head. */
static void add_object(VvMeta *meta, GHashTable *removed, GHashTable *families, uint64_t id)
{
    const VvLun *lun = vv_meta_lun(meta, id);
    const VvSnapshot *snapshot = vv_meta_snapshot(meta, id);
    add_id(removed, id);
    add_family_of(meta, families, snapshot != NULL ? snapshot->branch : id);
    if (lun == NULL)
        return;
    add_family_of(meta, families, lun->branch);
    for (guint i = 0; i < lun->snapshots->len; i++) {
        const VvSnapshot *s = g_ptr_array_index(lun->snapshots, i);
        add_id(removed, s->id);
        add_family_of(meta, families, s->branch);
    }
}

int vv_space_exclusive(VvMeta *meta, const uint64_t *ids, unsigned count, uint64_t most_looks, uint64_t *ret_blocks)
{
    g_autoptr(GHashTable) removed = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    g_autoptr(GHashTable) families = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    vv_meta_read_lock(meta);
    for (unsigned i = 0; i < count; i++)
        add_object(meta, removed, families, ids[i]);
    for (guint i = 0; count == 0 && i < meta->job_list->len; i++)
        add_family_of(meta, families, ((const VvJob *) g_ptr_array_index(meta->job_list, i))->branch);
    vv_meta_read_unlock(meta);
    uint64_t blocks = 0;
    GHashTableIter iter;
    gpointer family;
    g_hash_table_iter_init(&iter, families);
    while (g_hash_table_iter_next(&iter, &family, NULL)) {
        int result = count_family(meta, *(const uint64_t *) family, count == 0 ? NULL : removed, 0, 0, &most_looks, &blocks);
        if (result != 0)
            return result;
    }
    *ret_blocks = blocks;
    return 0;
}

int vv_space_cut(VvMeta *meta, uint64_t lun_id, uint64_t size_bytes, uint64_t *ret_blocks)
{
    vv_meta_read_lock(meta);
    const VvLun *lun = vv_meta_lun(meta, lun_id);
    const VvBranch *branch = lun != NULL ? vv_meta_branch(meta, lun->branch) : NULL;
    uint64_t branch_id = branch != NULL ? branch->id : 0, family = branch != NULL ? branch->family : 0, blocks = 0, left = UINT64_MAX;
    vv_meta_read_unlock(meta);
    if (branch_id == 0)
        return -EAGAIN;
    int result = count_family(meta, family, NULL, branch_id, (size_bytes + VV_BLOCK_BYTES - 1) / VV_BLOCK_BYTES, &left, &blocks);
    if (result == 0)
        *ret_blocks = blocks;
    return result;
}
