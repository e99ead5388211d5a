/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages: looking them up through overlay, store and origins; changing a head's pages (R1, R2, R6). */
#include "codec.h"
#include "sums_private.h"

#include <errno.h>
#include <string.h>

/* ---- versions of a region in one branch: three sources, the newer hiding the older */
static int store_version(VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, bool above, VvVersion *ret)
{
    VvPageKey want = { .branch = branch, .region = region, .epoch = epoch };
    uint8_t key_bytes[VV_KEY_BYTES];
    vv_page_key_encode(&want, key_bytes);
    const uint8_t *found, *value;
    size_t found_bytes, value_bytes;
    /* Epochs descend in the table: at or below is the next key, at or above the previous one. */
    int result = vv_store_seek(read, VV_TABLE_PAGE, above ? VV_SEEK_LE : VV_SEEK_GE, key_bytes, sizeof key_bytes, &found,
                               &found_bytes, &value, &value_bytes);
    if (result != 0)
        return result;
    if (found_bytes != VV_KEY_BYTES)
        return -EUCLEAN;
    if (memcmp(found, key_bytes, 16) != 0)
        return -ENODATA;
    vv_page_key_decode(found, &ret->key);
    ret->bytes = value;
    ret->length_bytes = value_bytes;
    return 0;
}

static void take_overlay(const VvOverlayPage *page, const VvPageKey *key, VvVersion *best, bool *found, bool above)
{
    if (page == NULL || (*found && (above ? page->epoch >= best->key.epoch : page->epoch <= best->key.epoch)))
        return;
    *found = true;
    best->key = (VvPageKey){ .branch = key->branch, .region = key->region, .epoch = page->epoch };
    best->bytes = page->bytes;
    best->length_bytes = page->length_bytes;
}

static int version_nearest(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, bool above,
                           VvVersion *ret)
{
    VvPageKey key = { .branch = branch, .region = region };
    for (;;) {
        VvVersion best = { 0 };
        bool found = false;
        take_overlay(above ? vvm_overlay_at_or_above(&meta->filling, branch, region, epoch)
                           : vvm_overlay_at_or_below(&meta->filling, branch, region, epoch), &key, &best, &found, above);
        take_overlay(above ? vvm_overlay_at_or_above(&meta->writing, branch, region, epoch)
                           : vvm_overlay_at_or_below(&meta->writing, branch, region, epoch), &key, &best, &found, above);
        if (!found || best.key.epoch != epoch) {
            VvVersion stored;
            int result = store_version(read, branch, region, epoch, above, &stored);
            if (result != 0 && result != -ENODATA)
                return result;
            if (result == 0 && (!found || (above ? stored.key.epoch < best.key.epoch : stored.key.epoch > best.key.epoch))) {
                best = stored;
                found = true;
            }
        }
        if (!found)
            return -ENODATA;
        if (best.bytes != NULL) {
            *ret = best;
            return 0;
        }
        /* removed: look further */
        if (above ? best.key.epoch == UINT64_MAX : best.key.epoch == 0)
            return -ENODATA;
        epoch = above ? best.key.epoch + 1 : best.key.epoch - 1;
    }
}

int vvm_version_at_or_below(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, VvVersion *ret)
{
    return version_nearest(meta, read, branch, region, epoch, false, ret);
}

int vvm_version_at_or_above(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch, VvVersion *ret)
{
    return version_nearest(meta, read, branch, region, epoch, true, ret);
}

int vvm_version_find(VvMeta *meta, VvStoreRead *read, uint64_t branch_id, uint64_t region, uint64_t epoch, bool below, VvVersion *ret)
{
    const VvBranch *branch = vv_meta_branch(meta, branch_id);
    bool in_branch = !below || epoch > 0;
    if (below && epoch > 0)
        epoch--;
    VvSnapshot *origin = NULL;
    while (branch != NULL) {
        if (in_branch) {
            int result = vvm_version_at_or_below(meta, read, branch->id, region, epoch, ret);
            if (result != -ENODATA)
                return result;
            if (origin != NULL)
                vvm_summary_missed(meta, read, branch, origin);
        }
        origin = branch->origin_snapshot != 0 ? g_hash_table_lookup(meta->snapshots, &branch->origin_snapshot) : NULL;
        if (origin == NULL)
            break;
        branch = vv_meta_branch(meta, origin->branch);
        epoch = origin->epoch;
        in_branch = vvm_summary_may_hold(meta, origin, region);
    }
    return -ENODATA;
}

int vvm_index_next(VvMeta *meta, VvStoreRead *read, const VvPageKey *from, VvPageKey *ret_key)
{
    VvPageKey at = *from;
    for (;;) {
        VvPageKey best = { 0 }, key;
        bool found = false, added = false, exists = false;
        uint8_t key_bytes[VV_KEY_BYTES];
        const uint8_t *stored, *value;
        size_t stored_bytes, value_bytes;
        vv_index_key_encode(&at, key_bytes);
        int result = vv_store_seek(read, VV_TABLE_INDEX, VV_SEEK_GE, key_bytes, sizeof key_bytes, &stored, &stored_bytes,
                                   &value, &value_bytes);
        if (result != 0 && result != -ENODATA)
            return result;
        if (result == 0 && stored_bytes != VV_KEY_BYTES)
            return -EUCLEAN;
        if (result == 0) {
            vv_index_key_decode(stored, &best);
            found = exists = true;
        }
        const VvOverlay *generations[] = { &meta->writing, &meta->filling };
        for (unsigned i = 0; i < 2; i++) {
            if (!vvm_overlay_index_next(generations[i], &at, &key, &added))
                continue;
            uint8_t best_bytes[VV_KEY_BYTES];
            vv_index_key_encode(&key, key_bytes);
            vv_index_key_encode(&best, best_bytes);
            if (!found || memcmp(key_bytes, best_bytes, VV_KEY_BYTES) <= 0) {
                best = key;
                exists = added;
                found = true;
            }
        }
        if (!found || best.branch != from->branch)
            return -ENODATA;
        if (exists) {
            *ret_key = best;
            return 0;
        }
        at = best;
        if (at.region != UINT64_MAX) {
            at.region++;
        } else {
            at.region = 0;
            at.epoch++;
        }
    }
}

/* The least region at or after @region that has any live version in one branch at or below @epoch. */
static int next_in_branch(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t epoch,
                          uint64_t *ret_region)
{
    uint64_t at = region;
    for (;;) {
        VvPageKey want = { .branch = branch, .region = at, .epoch = UINT64_MAX };
        uint8_t key_bytes[VV_KEY_BYTES];
        const uint8_t *key, *value;
        size_t found_bytes, value_bytes;
        VvPageKey found;
        uint64_t candidate = UINT64_MAX;
        vv_page_key_encode(&want, key_bytes);
        int result = vv_store_seek(read, VV_TABLE_PAGE, VV_SEEK_GE, key_bytes, sizeof key_bytes, &key, &found_bytes, &value,
                                   &value_bytes);
        if (result != 0 && result != -ENODATA)
            return result;
        if (result == 0) {
            vv_page_key_decode(key, &found);
            if (found.branch == branch)
                candidate = found.region;
        }
        uint64_t changed;
        if (vvm_overlay_next_region(&meta->filling, branch, at, &changed))
            candidate = MIN(candidate, changed);
        if (vvm_overlay_next_region(&meta->writing, branch, at, &changed))
            candidate = MIN(candidate, changed);
        if (candidate == UINT64_MAX)
            return -ENODATA;
        VvVersion version;
        result = vvm_version_at_or_below(meta, read, branch, candidate, epoch, &version);
        if (result == 0) {
            *ret_region = candidate;
            return 0;
        }
        if (result != -ENODATA)
            return result;
        at = candidate + 1;
    }
}

int vvm_next_region(VvMeta *meta, VvStoreRead *read, uint64_t branch, uint64_t region, uint64_t *ret_region)
{
    return next_in_branch(meta, read, branch, region, UINT64_MAX, ret_region);
}

/* ---- changing pages */
static void count_page(VvMeta *meta, const VvPageKey *key, int by)
{
    VvBranch *branch = g_hash_table_lookup(meta->branches, &key->branch);
    g_assert(branch != NULL);
    VvSnapshot *point = key->epoch == 0 ? vvm_branch_first_point(branch) : vvm_branch_point_above(branch, key->epoch - 1);
    if (point != NULL) {
        point->page_count += (uint64_t) (int64_t) by;
        vvm_dirty(meta, VV_TABLE_SNAPSHOT, point->id, 0);
    } else {
        branch->head_page_count += (uint64_t) (int64_t) by;
        vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
    }
}

/* @page: the head sees this one now, and nobody else has ever seen it (R1); NULL: somebody may have. */
static void page_changed(VvMeta *meta, const VvPageKey *key, const VvPage *page)
{
    const VvBranch *branch = vv_meta_branch(meta, key->branch);
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    family->change_number++;
    if (meta->hooks != NULL && meta->hooks->page_changed != NULL)
        meta->hooks->page_changed(meta->hooks_user, branch->family, key, page);
}

static int put_page(VvMeta *meta, const VvPageKey *key, const VvPage *page, bool fresh, bool is_heads)
{
    uint8_t bytes[VV_PAGE_BYTES_MAX];
    size_t length_bytes = vv_page_encode(page, key, bytes);
    vvm_overlay_put(&meta->filling, key, bytes, length_bytes);
    vvm_summary_put(meta, vv_meta_branch(meta, key->branch), key);
    if (fresh) {
        vvm_overlay_index(&meta->filling, key, true);
        count_page(meta, key, 1);
    }
    page_changed(meta, key, is_heads ? page : NULL);
    return 0;
}

int vvm_page_put(VvMeta *meta, const VvPageKey *key, const VvPage *page, bool fresh)
{
    return put_page(meta, key, page, fresh, false);
}

int vvm_page_remove(VvMeta *meta, const VvPageKey *key)
{
    vvm_overlay_put(&meta->filling, key, NULL, 0);
    vvm_overlay_index(&meta->filling, key, false);
    count_page(meta, key, -1);
    page_changed(meta, key, NULL);
    return 0;
}

static int store_page(VvMeta *meta, const VvPageKey *key, const VvPage *page, bool fresh, bool is_heads)
{
    if (vv_page_mapped_count(page) > 0)
        return put_page(meta, key, page, fresh, is_heads);
    VvVersion below;
    int result = vvm_version_find(meta, meta->apply_read, key->branch, key->region, key->epoch, true, &below);
    if (result != 0 && result != -ENODATA)
        return result;
    if (result == -ENODATA || vv_page_bytes_empty(below.bytes, below.length_bytes))
        return fresh ? 0 : vvm_page_remove(meta, key);
    return put_page(meta, key, page, fresh, is_heads);
}

int vvm_page_store(VvMeta *meta, const VvPageKey *key, const VvPage *page, bool fresh)
{
    return store_page(meta, key, page, fresh, false);
}

bool vv_map_page_is_heads(const VvBranch *branch, const VvPageKey *key)
{
    return key->branch == branch->id && (branch->points->len == 0 || key->epoch > vv_branch_last_live(branch));
}

static int edit_block(VvMeta *meta, VvFamily *family, VvLun *lun, VvPage *page, unsigned block, VvPlace place)
{
    VvPlace old = page->place[block];
    if (vv_place_mapped(old)) {
        lun->used_blocks--;
        if (vv_place_own(old)) {
            int result = vvm_space_release(meta, family, old);
            if (result != 0)
                return result;
        }
    }
    if (vv_place_mapped(place))
        lun->used_blocks++;
    page->place[block] = place;
    return 0;
}

int vvm_map_edit(VvMeta *meta, VvLun *lun, const VvMapChange *changes, unsigned count, const uint32_t *sums)
{
    uint64_t region = changes[0].region;
    VvBranch *branch = g_hash_table_lookup(meta->branches, &lun->branch);
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    VvPageKey key = { .branch = branch->id, .region = region, .epoch = branch->epoch };
    VvPage page = { 0 };
    bool fresh = true;
    VvVersion version;
    int result = vvm_version_find(meta, meta->apply_read, branch->id, region, branch->epoch, false, &version);
    if (result == 0)
        result = vv_page_decode(version.bytes, version.length_bytes, &version.key, &page);
    if (result == -EUCLEAN)
        return vvm_damaged(meta, "the page of %s, region %" G_GUINT64_FORMAT ", does not decode", lun->name, region);
    if (result != 0 && result != -ENODATA)
        return result;
    if (result == 0 && vv_map_page_is_heads(branch, &version.key)) {
        key = version.key;
        fresh = false;
    } else if (result == 0) {
        for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
            page.place[i] &= ~VV_PLACE_OWN;
    }
    for (unsigned c = 0; c < count; c++) {
        const VvMapChange *change = &changes[c];
        if (vv_place_mapped(change->place)) {
            result = vvm_space_use(meta, family, change->place, change->count);
            if (result == 0)
                result = vvm_sums_use(meta, family, change->place, change->count, change->sums > 0 ? &sums[change->sums - 1] : NULL);
            if (result != 0)
                return result;
        }
        for (unsigned i = 0; i < change->count; i++) {
            result = edit_block(meta, family, lun, &page, change->first + i, vv_place_after(change->place, i));
            if (result != 0)
                return result;
        }
    }
    vvm_dirty(meta, VV_TABLE_LUN, lun->id, 0);
    return store_page(meta, &key, &page, fresh, true);
}

/* ---- looking, for other layers */
static uint64_t reader_epoch(const VvBranch *branch, uint64_t epoch) { return epoch == UINT64_MAX ? branch->epoch : epoch; }

int vv_map_lookup(VvMeta *meta, uint64_t branch_id, uint64_t region, uint64_t epoch, VvPage *ret_page, VvPageKey *ret_key,
                  uint64_t *ret_family)
{
    VvStoreRead *read;
    vvm_slice_lock(meta);
    const VvBranch *branch = vv_meta_branch(meta, branch_id);
    int result = branch != NULL ? vv_store_read_begin(meta->store, &read) : -ESTALE;
    if (result != 0) {
        vv_meta_read_unlock(meta);
        return result;
    }
    VvVersion version;
    result = vvm_version_find(meta, read, branch_id, region, reader_epoch(branch, epoch), false, &version);
    if (result == 0 && ret_page != NULL)
        result = vv_page_decode(version.bytes, version.length_bytes, &version.key, ret_page);
    if (result == 0 && ret_key != NULL)
        *ret_key = version.key;
    if (result == 0 && ret_family != NULL)
        *ret_family = vv_meta_branch(meta, version.key.branch)->family;
    vv_store_read_end(read);
    vv_meta_read_unlock(meta);
    return result;
}

int vv_map_next_region(VvMeta *meta, uint64_t branch_id, uint64_t region, uint64_t epoch, uint64_t *ret_region)
{
    VvStoreRead *read;
    uint64_t least = UINT64_MAX;
    vvm_slice_lock(meta);
    const VvBranch *branch = vv_meta_branch(meta, branch_id);
    int result = branch != NULL ? vv_store_read_begin(meta->store, &read) : -ESTALE;
    if (result != 0) {
        vv_meta_read_unlock(meta);
        return result;
    }
    epoch = reader_epoch(branch, epoch);
    while (branch != NULL) {
        uint64_t found;
        result = next_in_branch(meta, read, branch->id, region, epoch, &found);
        if (result == 0)
            least = MIN(least, found);
        else if (result != -ENODATA)
            break;
        const VvSnapshot *origin = branch->origin_snapshot != 0 ? vv_meta_snapshot(meta, branch->origin_snapshot) : NULL;
        branch = origin != NULL ? vv_meta_branch(meta, origin->branch) : NULL;
        epoch = origin != NULL ? origin->epoch : 0;
        result = -ENODATA;
    }
    vv_store_read_end(read);
    vv_meta_read_unlock(meta);
    if (result != -ENODATA)
        return result;
    if (least == UINT64_MAX)
        return -ENODATA;
    *ret_region = least;
    return 0;
}
