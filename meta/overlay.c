/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay: pages changed by applied entries that the store does not hold yet, whole and in stored form.
 *
 * Versions of a region are a small array, newest first; a removed page stays as a version without bytes, so that it hides
 * what the generation below (or the store) still has.
 *
 * Bytes are what the allocator takes, not what was asked of it: a node of a tree 64, and 16 around what is small. */
#include "sums_private.h"

#include <string.h>

typedef struct {
    uint64_t branch;
    uint64_t region;
    GArray *versions; /* VvOverlayPage, epoch descending */
} OverlayRegion;

#define REGION_BYTES (32u + 64u + 48u + 32u) /* itself, its node, its array's head and least size */
#define INDEX_BYTES (32u + 64u)             /* key and node */

static size_t taken_by(size_t length_bytes)
{
    return length_bytes > 0 ? (length_bytes + 8 + 15) / 16 * 16 : 0;
}

static int region_compare(gconstpointer a, gconstpointer b, gpointer user)
{
    (void) user;
    const OverlayRegion *x = a, *y = b;
    if (x->branch != y->branch)
        return x->branch < y->branch ? -1 : 1;
    return x->region < y->region ? -1 : x->region > y->region;
}

static void region_free(gpointer data)
{
    OverlayRegion *r = data;
    for (guint i = 0; i < r->versions->len; i++)
        g_free(g_array_index(r->versions, VvOverlayPage, i).bytes);
    g_array_unref(r->versions);
    g_free(r);
}

static int index_compare(gconstpointer a, gconstpointer b, gpointer user)
{
    (void) user;
    const VvPageKey *x = a, *y = b;
    if (x->branch != y->branch)
        return x->branch < y->branch ? -1 : 1;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x->region < y->region ? -1 : x->region > y->region;
}

void vvm_overlay_init(VvOverlay *overlay)
{
    overlay->regions = g_tree_new_full(region_compare, NULL, region_free, NULL);
    overlay->index = g_tree_new_full(index_compare, NULL, g_free, NULL);
    overlay->sums = g_hash_table_new_full(vvm_sum_hash, vvm_sum_equal, g_free, NULL);
    overlay->bytes = 0;
}

void vvm_overlay_clear(VvOverlay *overlay)
{
    g_clear_pointer(&overlay->regions, g_tree_unref);
    g_clear_pointer(&overlay->index, g_tree_unref);
    g_clear_pointer(&overlay->sums, g_hash_table_unref);
    overlay->bytes = 0;
}

static OverlayRegion *region_of(const VvOverlay *overlay, uint64_t branch, uint64_t region)
{
    OverlayRegion key = { .branch = branch, .region = region };
    return g_tree_lookup(overlay->regions, &key);
}

void vvm_overlay_put(VvOverlay *overlay, const VvPageKey *key, const uint8_t *bytes, size_t length_bytes)
{
    OverlayRegion *r = region_of(overlay, key->branch, key->region);
    if (r == NULL) {
        r = g_new0(OverlayRegion, 1);
        r->branch = key->branch;
        r->region = key->region;
        r->versions = g_array_sized_new(FALSE, FALSE, sizeof(VvOverlayPage), 1);
        g_tree_insert(overlay->regions, r, r);
        overlay->bytes += REGION_BYTES;
    }
    guint at = 0;
    while (at < r->versions->len && g_array_index(r->versions, VvOverlayPage, at).epoch > key->epoch)
        at++;
    if (at < r->versions->len && g_array_index(r->versions, VvOverlayPage, at).epoch == key->epoch) {
        VvOverlayPage *old = &g_array_index(r->versions, VvOverlayPage, at);
        overlay->bytes -= taken_by(old->length_bytes);
        g_free(old->bytes);
    } else {
        VvOverlayPage fresh = { .epoch = key->epoch };
        g_array_insert_val(r->versions, at, fresh);
        overlay->bytes += sizeof fresh;
    }
    VvOverlayPage *page = &g_array_index(r->versions, VvOverlayPage, at);
    page->bytes = bytes != NULL ? g_memdup2(bytes, length_bytes) : NULL;
    page->length_bytes = bytes != NULL ? (uint16_t) length_bytes : 0;
    overlay->bytes += taken_by(page->length_bytes);
}

void vvm_overlay_index(VvOverlay *overlay, const VvPageKey *key, bool added)
{
    if (g_tree_lookup(overlay->index, key) == NULL)
        overlay->bytes += INDEX_BYTES;
    g_tree_replace(overlay->index, g_memdup2(key, sizeof *key), GINT_TO_POINTER(added ? 1 : 2));
}

const VvOverlayPage *vvm_overlay_at_or_below(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t epoch)
{
    const OverlayRegion *r = region_of(overlay, branch, region);
    for (guint i = 0; r != NULL && i < r->versions->len; i++) {
        const VvOverlayPage *page = &g_array_index(r->versions, VvOverlayPage, i);
        if (page->epoch <= epoch)
            return page;
    }
    return NULL;
}

const VvOverlayPage *vvm_overlay_at_or_above(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t epoch)
{
    const OverlayRegion *r = region_of(overlay, branch, region);
    for (guint i = r != NULL ? r->versions->len : 0; i > 0; i--) {
        const VvOverlayPage *page = &g_array_index(r->versions, VvOverlayPage, i - 1);
        if (page->epoch >= epoch)
            return page;
    }
    return NULL;
}

bool vvm_overlay_index_next(const VvOverlay *overlay, const VvPageKey *key, VvPageKey *ret_key, bool *ret_added)
{
    GTreeNode *node = g_tree_lower_bound(overlay->index, key);
    if (node == NULL)
        return false;
    *ret_key = *(const VvPageKey *) g_tree_node_key(node);
    *ret_added = GPOINTER_TO_INT(g_tree_node_value(node)) == 1;
    return true;
}

bool vvm_overlay_next_region(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t *ret_region)
{
    OverlayRegion key = { .branch = branch, .region = region };
    GTreeNode *node = g_tree_lower_bound(overlay->regions, &key);
    const OverlayRegion *found = node != NULL ? g_tree_node_key(node) : NULL;
    if (found == NULL || found->branch != branch)
        return false;
    *ret_region = found->region;
    return true;
}

void vvm_overlay_foreach(const VvOverlay *overlay, VvOverlayVisit visit, void *user)
{
    for (GTreeNode *node = g_tree_node_first(overlay->regions); node != NULL; node = g_tree_node_next(node)) {
        const OverlayRegion *r = g_tree_node_key(node);
        for (guint i = 0; i < r->versions->len; i++) {
            const VvOverlayPage *page = &g_array_index(r->versions, VvOverlayPage, i);
            VvPageKey key = { .branch = r->branch, .region = r->region, .epoch = page->epoch };
            visit(user, &key, page);
        }
    }
}

void vvm_overlay_index_foreach(const VvOverlay *overlay, VvOverlayIndexVisit visit, void *user)
{
    for (GTreeNode *node = g_tree_node_first(overlay->index); node != NULL; node = g_tree_node_next(node))
        visit(user, g_tree_node_key(node), GPOINTER_TO_INT(g_tree_node_value(node)) == 1);
}
