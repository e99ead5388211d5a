/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay: pages changed by applied entries that the store does not hold yet, whole and in stored form.
 *
 * Versions of a region are a small array, newest first; a removed page stays as a version without bytes, so that it hides
 * what the generation below (or the store) still has.
 *
 * Bytes are what is taken of slab.h, not what was asked of it. A table's node has three links and a quarter at most. */
#include "slab.h"
#include "sums_private.h"

#include <string.h>

typedef struct {
    uint64_t branch;
    uint64_t region;
    VvOverlayPage *versions; /* owned; epoch descending */
    uint32_t count, capacity;
} OverlayRegion;

#define REGION_BYTES (80u + 16u) /* itself with its links, and its array's least size beyond a version */
#define INDEX_BYTES 64u

static size_t taken_by(size_t length_bytes)
{
    return length_bytes > 128 ? length_bytes + length_bytes / 8 : (length_bytes + 15) / 16 * 16;
}

static int region_compare(const void *a, const void *b)
{
    const OverlayRegion *x = a, *y = b;
    if (x->branch != y->branch)
        return x->branch < y->branch ? -1 : 1;
    return x->region < y->region ? -1 : x->region > y->region;
}

static int index_compare(const void *a, const void *b)
{
    const VvPageKey *x = a, *y = b;
    if (x->branch != y->branch)
        return x->branch < y->branch ? -1 : 1;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x->region < y->region ? -1 : x->region > y->region;
}

void vvm_overlay_init(VvOverlay *overlay)
{
    vv_sorted_init(&overlay->regions, region_compare, sizeof(OverlayRegion));
    vv_sorted_init(&overlay->index, index_compare, sizeof(VvOverlayIndex));
    vv_set_init(&overlay->sums, vvm_sum_hash, vvm_sum_equal, sizeof(VvSumPiece));
    overlay->bytes = 0;
}

void vvm_overlay_clear(VvOverlay *overlay)
{
    for (const OverlayRegion *r = vv_sorted_first(&overlay->regions); r != NULL; r = vv_sorted_next(r)) {
        for (uint32_t i = 0; i < r->count; i++)
            vv_slab_put(r->versions[i].bytes);
        vv_slab_put(r->versions);
    }
    vv_sorted_clear(&overlay->regions);
    vv_sorted_clear(&overlay->index);
    vv_set_clear(&overlay->sums);
    overlay->bytes = 0;
}

static OverlayRegion *region_of(const VvOverlay *overlay, uint64_t branch, uint64_t region)
{
    OverlayRegion key = { .branch = branch, .region = region };
    return vv_sorted_find(&overlay->regions, &key);
}

static void insert_version(OverlayRegion *r, uint32_t at, uint64_t epoch)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity > 0 ? 2 * r->capacity : 1;
        r->versions = vv_slab_renew(r->versions, r->capacity * sizeof *r->versions);
    }
    memmove(&r->versions[at + 1], &r->versions[at], (r->count - at) * sizeof *r->versions);
    r->versions[at] = (VvOverlayPage){ .epoch = epoch };
    r->count++;
}

void vvm_overlay_put(VvOverlay *overlay, const VvPageKey *key, const uint8_t *bytes, size_t length_bytes)
{
    OverlayRegion *r = region_of(overlay, key->branch, key->region);
    if (r == NULL) {
        OverlayRegion fresh = { .branch = key->branch, .region = key->region };
        r = vv_sorted_add(&overlay->regions, &fresh);
        overlay->bytes += REGION_BYTES;
    }
    uint32_t at = 0;
    while (at < r->count && r->versions[at].epoch > key->epoch)
        at++;
    if (at < r->count && r->versions[at].epoch == key->epoch) {
        overlay->bytes -= taken_by(r->versions[at].length_bytes);
        vv_slab_put(r->versions[at].bytes);
    } else {
        insert_version(r, at, key->epoch);
        overlay->bytes += sizeof(VvOverlayPage);
    }
    VvOverlayPage *page = &r->versions[at];
    page->bytes = bytes != NULL ? vv_slab_copy(bytes, length_bytes) : NULL;
    page->length_bytes = bytes != NULL ? (uint16_t) length_bytes : 0;
    overlay->bytes += taken_by(page->length_bytes);
}

void vvm_overlay_index(VvOverlay *overlay, const VvPageKey *key, bool added)
{
    VvOverlayIndex fresh = { .key = *key }, *found = vv_sorted_find(&overlay->index, &fresh);
    if (found == NULL) {
        found = vv_sorted_add(&overlay->index, &fresh);
        overlay->bytes += INDEX_BYTES;
    }
    found->added = added;
}

const VvOverlayPage *vvm_overlay_at_or_below(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t epoch)
{
    const OverlayRegion *r = region_of(overlay, branch, region);
    for (uint32_t i = 0; r != NULL && i < r->count; i++) {
        if (r->versions[i].epoch <= epoch)
            return &r->versions[i];
    }
    return NULL;
}

const VvOverlayPage *vvm_overlay_at_or_above(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t epoch)
{
    const OverlayRegion *r = region_of(overlay, branch, region);
    for (uint32_t i = r != NULL ? r->count : 0; i > 0; i--) {
        if (r->versions[i - 1].epoch >= epoch)
            return &r->versions[i - 1];
    }
    return NULL;
}

bool vvm_overlay_index_next(const VvOverlay *overlay, const VvPageKey *key, VvPageKey *ret_key, bool *ret_added)
{
    const VvOverlayIndex *found = vv_sorted_at_or_after(&overlay->index, key);
    if (found == NULL)
        return false;
    *ret_key = found->key;
    *ret_added = found->added;
    return true;
}

bool vvm_overlay_next_region(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t *ret_region)
{
    OverlayRegion key = { .branch = branch, .region = region };
    const OverlayRegion *found = vv_sorted_at_or_after(&overlay->regions, &key);
    if (found == NULL || found->branch != branch)
        return false;
    *ret_region = found->region;
    return true;
}

void vvm_overlay_foreach(const VvOverlay *overlay, VvOverlayVisit visit, void *user)
{
    for (const OverlayRegion *r = vv_sorted_first(&overlay->regions); r != NULL; r = vv_sorted_next(r)) {
        for (uint32_t i = 0; i < r->count; i++) {
            VvPageKey key = { .branch = r->branch, .region = r->region, .epoch = r->versions[i].epoch };
            visit(user, &key, &r->versions[i]);
        }
    }
}

void vvm_overlay_index_foreach(const VvOverlay *overlay, VvOverlayIndexVisit visit, void *user)
{
    for (const VvOverlayIndex *at = vv_sorted_first(&overlay->index); at != NULL; at = vv_sorted_next(at))
        visit(user, &at->key, at->added);
}
