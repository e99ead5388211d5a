/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Summaries: which regions a branch may have a version of, as those see it that hang on one of its points. With them a
 * look-up through a long chain of clones asks overlay and store only where there is something to find.
 *
 *   belongs to   a point with branches on it, whose own branch has an origin (at the last of a chain nothing is saved)
 *   holds        every region of which the point's branch has a version at or below the point's epoch: four bits of one
 *                word, chosen by the region's number, 16 to 32 bits a region; below 1 % of the others look held too
 *   made         when the searches in vain that it would have saved are worth it; from the index
 *
 * U1  A region with such a version is held. One without it that looks held costs a search and nothing else.
 * U2  Made under the read lock, set once (whoever is second gives up), and only if the index named as many pages as the
 *     catalog counts: an index or a counter that is damaged costs time, never data.
 * U3  Changed under the write lock: a page that is put is added to all points at or above its epoch (heads write above them
 *     all; a merge moves pages to epoch 0). Pages that go stay held. With twice as many regions as at first it is dropped.
 * U4  All together take at most VV_SUMMARY_BYTES_MAX, one VV_SUMMARY_PAGES_MAX pages. Without one every look-up searches. */
#include "meta_private.h"

#include <errno.h>

/* A search in vain takes about as long as reading this many keys of the index; twice that, as it may not be needed again. */
#define PAGES_PER_SEARCH 8u
#define REGIONS_PER_WORD 4u

struct VvSummary {
    uint32_t word_mask; /* their number less 1, a power of two */
    uint32_t regions_left; /* that may be added */
    uint64_t words[];
};

static size_t summary_bytes(const VvSummary *summary)
{
    return sizeof *summary + ((size_t) summary->word_mask + 1) * sizeof summary->words[0];
}

static uint64_t bits_of(uint64_t region, uint64_t *ret_word)
{
    uint64_t h = region * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    *ret_word = h >> 32;
    return (uint64_t) 1 << (h & 63) | (uint64_t) 1 << (h >> 6 & 63) | (uint64_t) 1 << (h >> 12 & 63) | (uint64_t) 1 << (h >> 18 & 63);
}

static void add(VvSummary *summary, uint64_t region)
{
    uint64_t word, bits = bits_of(region, &word);
    summary->words[word & summary->word_mask] |= bits;
}

static bool holds(const VvSummary *summary, uint64_t region)
{
    uint64_t word, bits = bits_of(region, &word);
    return (summary->words[word & summary->word_mask] & bits) == bits;
}

/* ---- making one */

/* Pages that the catalog counts at or below the point. */
static uint64_t pages_below(const VvBranch *branch, const VvSnapshot *point)
{
    uint64_t pages = 0;
    for (guint i = 0; i < branch->points->len; i++) {
        const VvSnapshot *s = g_ptr_array_index(branch->points, i);
        if (s->epoch > point->epoch)
            break;
        pages += s->page_count;
    }
    return pages;
}

static bool read_key(int result, const uint8_t *bytes, size_t length_bytes, VvPageKey *ret_key)
{
    if (result != 0 || length_bytes != VV_KEY_BYTES)
        return false;
    vv_index_key_decode(bytes, ret_key);
    return true;
}

static int compare(const VvPageKey *a, const VvPageKey *b)
{
    if (a->branch != b->branch)
        return a->branch < b->branch ? -1 : 1;
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    return a->region < b->region ? -1 : a->region > b->region;
}

/* Regions of the branch's pages at or below @epoch, from the index: the store's keys and both generations' changes at once,
 * the newer deciding. False: it cannot be read, or there are more than @count_max. */
static bool collect(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t epoch, uint64_t count_max, GArray *ret_regions)
{
    const VvOverlay *generations[] = { &meta->writing, &meta->filling };
    const VvOverlayIndex *changes[2];
    VvPageKey from = { .branch = branch }, stored;
    uint8_t from_bytes[VV_KEY_BYTES];
    const uint8_t *bytes, *value;
    size_t length_bytes, value_bytes;
    vv_index_key_encode(&from, from_bytes);
    int result = vv_store_seek(read, VV_TABLE_INDEX, VV_SEEK_GE, from_bytes, sizeof from_bytes, &bytes, &length_bytes, &value,
                               &value_bytes);
    bool has_stored = read_key(result, bytes, length_bytes, &stored);
    for (unsigned i = 0; i < 2; i++)
        changes[i] = vv_sorted_at_or_after(&generations[i]->index, &from);
    for (;;) {
        const VvPageKey *least = has_stored ? &stored : NULL;
        for (unsigned i = 0; i < 2; i++) {
            if (changes[i] != NULL && (least == NULL || compare(&changes[i]->key, least) < 0))
                least = &changes[i]->key;
        }
        if (least == NULL || least->branch != branch || least->epoch > epoch)
            return result == 0 || result == -ENODATA;
        VvPageKey at = *least;
        bool exists = false;
        if (has_stored && compare(&stored, &at) == 0) {
            exists = true;
            result = vv_store_next(read, VV_TABLE_INDEX, &bytes, &length_bytes, &value, &value_bytes);
            has_stored = read_key(result, bytes, length_bytes, &stored);
        }
        for (unsigned i = 0; i < 2; i++) {
            if (changes[i] == NULL || compare(&changes[i]->key, &at) != 0)
                continue;
            exists = changes[i]->added;
            changes[i] = vv_sorted_next(changes[i]);
        }
        if (exists && ret_regions->len == count_max)
            return false;
        if (exists)
            g_array_append_val(ret_regions, at.region);
    }
}

static void make(VvMeta *meta, VvStoreRead *read, const VvBranch *branch, VvSnapshot *point, uint64_t pages)
{
    g_autoptr(GArray) regions = g_array_sized_new(FALSE, FALSE, sizeof(uint64_t), (guint) pages);
    if (!collect(meta, read, branch->id, point->epoch, pages, regions) || regions->len != pages) /* U2 */
        return;
    uint32_t words = 1;
    while ((uint64_t) words * REGIONS_PER_WORD < pages)
        words *= 2;
    VvSummary *summary = g_malloc0(sizeof *summary + words * sizeof summary->words[0]), *none = NULL;
    summary->word_mask = words - 1;
    summary->regions_left = words * REGIONS_PER_WORD;
    for (guint i = 0; i < regions->len; i++)
        add(summary, g_array_index(regions, uint64_t, i));
    size_t bytes = summary_bytes(summary);
    bool fits = atomic_fetch_add(&meta->summary_bytes, bytes) + bytes <= VV_SUMMARY_BYTES_MAX;
    if (fits && atomic_compare_exchange_strong(&point->summary, &none, summary))
        return;
    atomic_fetch_sub(&meta->summary_bytes, bytes);
    g_free(summary);
}

/* ---- using them */
bool vvm_summary_may_hold(const VvMeta *meta, const VvSnapshot *point, uint64_t region)
{
    const VvSummary *summary = atomic_load_explicit(&point->summary, memory_order_acquire);
    return summary == NULL || meta->ignore_summaries || holds(summary, region);
}

void vvm_summary_missed(VvMeta *meta, VvStoreRead *read, const VvBranch *branch, VvSnapshot *point)
{
    if (branch->origin_snapshot == 0 || meta->ignore_summaries || atomic_load_explicit(&point->summary, memory_order_relaxed) != NULL)
        return;
    uint64_t searches = atomic_fetch_add_explicit(&point->searches_in_vain, 1, memory_order_relaxed) + 1;
    if ((searches & (searches - 1)) != 0) /* counting pages takes time too, with many points */
        return;
    uint64_t pages = pages_below(branch, point);
    if (pages <= MIN(searches * PAGES_PER_SEARCH, VV_SUMMARY_PAGES_MAX))
        make(meta, read, branch, point, pages);
}

void vvm_summary_drop(VvMeta *meta, VvSnapshot *point)
{
    VvSummary *summary = atomic_load_explicit(&point->summary, memory_order_relaxed);
    if (summary == NULL)
        return;
    atomic_fetch_sub(&meta->summary_bytes, summary_bytes(summary));
    atomic_store(&point->summary, NULL);
    atomic_store(&point->searches_in_vain, 0);
    g_free(summary);
}

void vvm_summary_put(VvMeta *meta, const VvBranch *branch, const VvPageKey *key)
{
    for (guint i = branch->points->len; i > 0; i--) {
        VvSnapshot *point = g_ptr_array_index(branch->points, i - 1);
        if (point->epoch < key->epoch)
            return;
        VvSummary *summary = atomic_load_explicit(&point->summary, memory_order_relaxed);
        if (summary == NULL || holds(summary, key->region))
            continue;
        if (summary->regions_left == 0) {
            vvm_summary_drop(meta, point);
        } else {
            summary->regions_left--;
            add(summary, key->region);
        }
    }
}

bool vvm_summaries_hold(const VvBranch *branch, const VvPageKey *key)
{
    for (guint i = branch->points->len; i > 0; i--) {
        const VvSnapshot *point = g_ptr_array_index(branch->points, i - 1);
        if (point->epoch < key->epoch)
            break;
        const VvSummary *summary = atomic_load_explicit(&point->summary, memory_order_acquire);
        if (summary != NULL && !holds(summary, key->region))
            return false;
    }
    return true;
}
