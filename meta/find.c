/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From places back to blocks of LUNs: a walk through all pages of a family, for the few places that turned out to be damaged. */
#include "meta_private.h"

#include <errno.h>

#define SLICE_PAGES 256u /* some hundred microseconds under the read lock */

typedef struct {
    VvMeta *meta;
    const VvPlace *places;
    unsigned count, found;
    uint64_t *blocks;
} Find;

static void look_at_page(Find *find, const VvPageKey *key, const VvPage *page)
{
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        for (unsigned k = 0; k < find->count && page->place[i] != 0; k++) {
            if (find->blocks[k] != UINT64_MAX || !vv_place_same(page->place[i], find->places[k]))
                continue;
            find->blocks[k] = key->region * VV_REGION_BLOCKS + i;
            find->found++;
        }
    }
}

/* Pages from *@from on. 0: there is more, and *@from is where it goes on; -ENODATA: that was the branch. Read lock. */
static int look_at_slice(Find *find, VvStoreRead *read, VvPageKey *from)
{
    for (unsigned n = 0; n < SLICE_PAGES; n++) {
        VvPageKey key;
        VvVersion version;
        VvPage page;
        int result = vvm_index_next(find->meta, read, from, &key);
        if (result != 0)
            return result;
        result = vvm_version_at_or_below(find->meta, read, key.branch, key.region, key.epoch, &version);
        if (result == 0 && version.key.epoch == key.epoch &&
            vv_page_decode(version.bytes, version.length_bytes, &version.key, &page) == 0)
            look_at_page(find, &key, &page);
        if (result != 0 && result != -ENODATA)
            return result;
        *from = key;
        from->region++; /* never the last: a region's number has 43 bits */
    }
    return 0;
}

static int look_at_branch(Find *find, uint64_t branch, bool (*stop)(void *user), void *user)
{
    VvPageKey from = { .branch = branch };
    int result;
    do {
        VvStoreRead *read;
        if (stop != NULL && stop(user))
            return -ECANCELED;
        vvm_slice_lock(find->meta);
        result = vv_store_read_begin(find->meta->store, &read);
        if (result == 0) {
            result = look_at_slice(find, read, &from);
            vv_store_read_end(read);
        }
        vv_meta_read_unlock(find->meta);
    } while (result == 0 && find->found < find->count);
    return result == -ENODATA ? 0 : result;
}

int vv_map_find_places(VvMeta *meta, uint64_t family_id, const VvPlace *places, unsigned count, bool (*stop)(void *user), void *user,
                       uint64_t *ret_blocks)
{
    Find find = { .meta = meta, .places = places, .count = count, .blocks = ret_blocks };
    g_autoptr(GArray) branches = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    int result = 0;
    for (unsigned k = 0; k < count; k++)
        ret_blocks[k] = UINT64_MAX;
    vv_meta_read_lock(meta);
    const VvFamily *family = vv_meta_family(meta, family_id);
    for (guint b = 0; family != NULL && b < family->branches->len; b++)
        g_array_append_val(branches, ((const VvBranch *) g_ptr_array_index(family->branches, b))->id);
    vv_meta_read_unlock(meta);
    for (guint b = 0; b < branches->len && result == 0 && find.found < count; b++)
        result = look_at_branch(&find, g_array_index(branches, uint64_t, b), stop, user);
    return result;
}
