/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Differences between two points, by address: what the page-by-epoch index says has changed on either side of where their
 * histories part, then page against page. */
#include "meta_private.h"

#include <errno.h>

typedef struct {
    uint64_t branch, epoch;
} Link;

/* (branch, epoch), then the origins. */
static GArray *chain_of(const VvMeta *meta, uint64_t branch_id, uint64_t epoch)
{
    GArray *chain = g_array_new(FALSE, FALSE, sizeof(Link));
    const VvBranch *branch = vv_meta_branch(meta, branch_id);
    while (branch != NULL) {
        Link link = { .branch = branch->id, .epoch = epoch == UINT64_MAX ? branch->epoch : epoch };
        g_array_append_val(chain, link);
        const VvSnapshot *origin = branch->origin_snapshot != 0 ? vv_meta_snapshot(meta, branch->origin_snapshot) : NULL;
        branch = origin != NULL ? vv_meta_branch(meta, origin->branch) : NULL;
        epoch = origin != NULL ? origin->epoch : 0;
    }
    return chain;
}

/* Where two chains meet: the least epoch that both see of the first common branch. */
static bool chains_meet(const GArray *a, const GArray *b, Link *ret_meet)
{
    for (guint i = 0; i < a->len; i++) {
        for (guint j = 0; j < b->len; j++) {
            const Link *x = &g_array_index((GArray *) a, Link, i), *y = &g_array_index((GArray *) b, Link, j);
            if (x->branch == y->branch) {
                *ret_meet = (Link){ .branch = x->branch, .epoch = MIN(x->epoch, y->epoch) };
                return true;
            }
        }
    }
    return false;
}

static int collect_chain(VvMeta *meta, VvStoreRead *read, const GArray *chain, const Link *meet, GArray *regions)
{
    for (guint i = 0; i < chain->len; i++) {
        const Link *link = &g_array_index((GArray *) chain, Link, i);
        bool at_meet = meet != NULL && link->branch == meet->branch;
        VvPageKey from = { .branch = link->branch, .epoch = at_meet ? meet->epoch + 1 : 0 }, key;
        int result;
        while ((result = vvm_index_next(meta, read, &from, &key)) == 0 && key.epoch <= link->epoch) {
            g_array_append_val(regions, key.region);
            from = key;
            from.region++;
        }
        if (result != 0 && result != -ENODATA)
            return result;
        if (at_meet)
            break;
    }
    return 0;
}

static gint compare_region(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

/* The regions that may differ, ascending; some more than once. */
static int changed_regions(VvMeta *meta, const VvPoint *from, const VvPoint *to, GArray *ret_regions)
{
    VvStoreRead *read;
    vv_meta_read_lock(meta);
    bool there = vv_meta_branch(meta, from->branch) != NULL && vv_meta_branch(meta, to->branch) != NULL;
    int result = there ? vv_store_read_begin(meta->store, &read) : -ESTALE;
    if (result == 0) {
        g_autoptr(GArray) a = chain_of(meta, from->branch, from->epoch);
        g_autoptr(GArray) b = chain_of(meta, to->branch, to->epoch);
        Link meet;
        bool met = chains_meet(a, b, &meet);
        result = collect_chain(meta, read, a, met ? &meet : NULL, ret_regions);
        if (result == 0)
            result = collect_chain(meta, read, b, met ? &meet : NULL, ret_regions);
        vv_store_read_end(read);
    }
    vv_meta_read_unlock(meta);
    g_array_sort(ret_regions, compare_region);
    return result;
}

typedef struct {
    VvDiffFunc range;
    void *user;
    uint64_t offset, length;
    bool zero;
    uint64_t limit_bytes;
} Merger;

static bool merger_flush(Merger *m)
{
    bool go_on = m->length == 0 || m->range(m->user, m->offset, m->length, m->zero);
    m->length = 0;
    return go_on;
}

static bool merger_add(Merger *m, uint64_t offset, uint64_t length, bool zero)
{
    if (offset >= m->limit_bytes)
        return true;
    length = MIN(length, m->limit_bytes - offset);
    if (m->length > 0 && m->zero == zero && m->offset + m->length == offset) {
        m->length += length;
        return true;
    }
    if (!merger_flush(m))
        return false;
    m->offset = offset;
    m->length = length;
    m->zero = zero;
    return true;
}

static int page_of(VvMeta *meta, VvStoreRead *read, const VvPoint *point, uint64_t region, VvPage *page)
{
    const VvBranch *branch = vv_meta_branch(meta, point->branch);
    VvVersion version;
    int result = branch == NULL ? -ESTALE
                                : vvm_version_find(meta, read, branch->id, region,
                                                   point->epoch == UINT64_MAX ? branch->epoch : point->epoch, false, &version);
    if (result == 0)
        result = vv_page_decode(version.bytes, version.length_bytes, &version.key, page);
    if (result == -ENODATA)
        *page = (VvPage){ 0 };
    return result == -ENODATA ? 0 : result;
}

/* Both pages as they are at one instant: addresses seen before a move and after it do not compare. */
static int pages_of(VvMeta *meta, const VvPoint *from, const VvPoint *to, uint64_t region, VvPage *a, VvPage *b)
{
    VvStoreRead *read;
    vv_meta_read_lock(meta);
    int result = vv_store_read_begin(meta->store, &read);
    if (result == 0) {
        result = page_of(meta, read, from, region, a);
        if (result == 0)
            result = page_of(meta, read, to, region, b);
        vv_store_read_end(read);
    }
    vv_meta_read_unlock(meta);
    return result;
}

int vv_map_diff(VvMeta *meta, const VvPoint *from, const VvPoint *to, VvDiffFunc range, void *user)
{
    g_autoptr(GArray) regions = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    Merger merger = { .range = range, .user = user, .limit_bytes = MAX(from->size_bytes, to->size_bytes) };
    int result = changed_regions(meta, from, to, regions);
    for (guint r = 0; r < regions->len && result == 0; r++) {
        uint64_t region = g_array_index(regions, uint64_t, r), base = region << VV_REGION_SHIFT;
        VvPage a, b;
        if (r > 0 && g_array_index(regions, uint64_t, r - 1) == region)
            continue;
        result = pages_of(meta, from, to, region, &a, &b);
        if (result != 0)
            return result;
        for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
            if (!vv_place_same(a.place[i], b.place[i]) &&
                !merger_add(&merger, base + ((uint64_t) i << VV_BLOCK_SHIFT), VV_BLOCK_BYTES, b.place[i] == 0))
                return 0;
        }
    }
    if (result == 0)
        merger_flush(&merger);
    return result;
}
