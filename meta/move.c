/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MOVE: one region of one family goes to new places that hold the same bytes (DESIGN section 4).
 *
 * Places are shared by the versions of a region, and a place belongs to one block of one region of its family; so a move
 * re-points every version in every branch of the family that names the old place, keeps its own flag, and swaps the two blocks
 * in the bitmaps. What a version maps, and who owns it, does not change: no counter and no rule of reclaim notices.
 *
 *   at apply                                                             so
 *   the LUN is gone, or its head is on another branch (restore, adopt)   nothing moves
 *   branches and versions of the region exceed VV_MOVE_VISITS_MAX        nothing moves
 *   the head maps the block elsewhere, or nowhere (write, discard)       the block stays where it is
 *   the head maps the block at the old place                             all versions that name the old place are re-pointed
 *
 * X1  The head of one branch must name the old place from the copy to the apply: as long as a live point beside an in-place
 *     writer sees a block, that writer does not own it; and the head's own writers are the mover's affair.
 * X2  Old blocks are told as freed when no look-up can find them any more: after all pages were changed and every branch of the family
 *     was told, since readers of one branch find pages in another. Otherwise an era could begin between the two.
 * X3  New blocks that are not taken are told as freed, so that who reserved them has them back. */
#include "sums_private.h"

#include <errno.h>
#include <string.h>

typedef struct {
    VvPlace from[VV_REGION_BLOCKS], to[VV_REGION_BLOCKS]; /* 0: nothing moves there */
} Moves;

static void expand(const VvOp *op, Moves *moves)
{
    memset(moves, 0, sizeof *moves);
    for (uint32_t r = 0; r < op->move.run_count; r++) {
        const VvMoveRun *run = &op->move.runs[r];
        for (unsigned i = 0; i < run->count; i++) {
            moves->from[run->first + i] = vv_place_after(run->from, i);
            moves->to[run->first + i] = vv_place_after(run->to, i);
        }
    }
}

/* X3: the runs of to[] that are left. */
static void tell_unused(VvMeta *meta, const VvFamily *family, const Moves *moves)
{
    if (meta->hooks == NULL || meta->hooks->blocks_freed == NULL)
        return;
    for (unsigned i = 0, end; i < VV_REGION_BLOCKS; i = end) {
        end = i + 1;
        if (moves->to[i] == 0)
            continue;
        while (end < VV_REGION_BLOCKS && vv_place_same(moves->to[end - 1] + 1, moves->to[end]))
            end++;
        meta->hooks->blocks_freed(meta->hooks_user, family->id, vv_place_segment(moves->to[i]), vv_place_block(moves->to[i]), end - i);
    }
}

/* 0; -E2BIG: too many to visit in one entry; or the store's error. */
static int count_visits(VvMeta *meta, VvStoreRead *read, const VvFamily *family, uint64_t region)
{
    unsigned visits = 0;
    for (guint b = 0; b < family->branches->len; b++) {
        const VvBranch *branch = g_ptr_array_index(family->branches, b);
        VvVersion version = { .key.epoch = 0 };
        int result;
        for (uint64_t epoch = 0; (result = vvm_version_at_or_above(meta, read, branch->id, region, epoch, &version)) == 0;
             epoch = version.key.epoch + 1)
            if (++visits > VV_MOVE_VISITS_MAX)
                return -E2BIG;
        if (result != -ENODATA)
            return result;
        if (++visits > VV_MOVE_VISITS_MAX)
            return -E2BIG;
    }
    return 0;
}

/* Take out of @moves what the head does not map there. */
static int keep_heads(VvMeta *meta, const VvBranch *branch, uint64_t region, Moves *moves, Moves *unused)
{
    VvVersion version;
    VvPage page = { 0 };
    int result = vvm_version_find(meta, meta->apply_read, branch->id, region, branch->epoch, false, &version);
    if (result == 0)
        result = vv_page_decode(version.bytes, version.length_bytes, &version.key, &page);
    if (result != 0 && result != -ENODATA)
        return result;
    memset(unused, 0, sizeof *unused);
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        if (moves->to[i] == 0 || (page.place[i] != 0 && vv_place_same(page.place[i], moves->from[i])))
            continue;
        unused->to[i] = moves->to[i];
        moves->from[i] = moves->to[i] = 0;
    }
    return 0;
}

static int repoint_page(VvMeta *meta, const VvVersion *version, const Moves *moves)
{
    VvPage page;
    VvPageKey key = version->key;
    bool changed = false;
    int result = vv_page_decode(version->bytes, version->length_bytes, &key, &page);
    if (result != 0)
        return result;
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        if (moves->to[i] == 0 || page.place[i] == 0 || !vv_place_same(page.place[i], moves->from[i]))
            continue;
        page.place[i] = (moves->to[i] & ~VV_PLACE_OWN) | (page.place[i] & VV_PLACE_OWN);
        changed = true;
    }
    return changed ? vvm_page_put(meta, &key, &page, false) : 0;
}

static int repoint_branch(VvMeta *meta, const VvBranch *branch, uint64_t region, const Moves *moves)
{
    VvVersion version;
    int result;
    for (uint64_t epoch = 0;
         (result = vvm_version_at_or_above(meta, meta->apply_read, branch->id, region, epoch, &version)) == 0;) {
        epoch = version.key.epoch + 1; /* what it points to may go with the put */
        result = repoint_page(meta, &version, moves);
        if (result != 0)
            return result;
    }
    if (result != -ENODATA)
        return result;
    VvPageKey all = { .branch = branch->id, .region = region };
    if (meta->hooks != NULL && meta->hooks->page_changed != NULL)
        meta->hooks->page_changed(meta->hooks_user, branch->family, &all, NULL);
    return 0;
}

/* The new blocks for the old ones; they take the checksums along. */
static int swap_blocks(VvMeta *meta, VvFamily *family, const Moves *moves)
{
    int result = 0;
    for (unsigned i = 0; i < VV_REGION_BLOCKS && result == 0; i++) {
        if (moves->to[i] != 0)
            result = vvm_space_use(meta, family, moves->to[i], 1);
        if (moves->to[i] != 0 && result == 0)
            result = vvm_sums_copy(meta, family, moves->from[i], moves->to[i]);
    }
    for (unsigned i = 0; i < VV_REGION_BLOCKS && result == 0; i++) {
        if (moves->to[i] != 0)
            result = vvm_space_release(meta, family, moves->from[i]);
    }
    return result;
}

static bool any_left(const Moves *moves)
{
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        if (moves->to[i] != 0)
            return true;
    }
    return false;
}

int vvm_move(VvMeta *meta, const VvOp *op)
{
    VvFamily *family = g_hash_table_lookup(meta->families, &op->move.family);
    const VvLun *lun = vv_meta_lun(meta, op->move.lun);
    const VvBranch *branch = vv_meta_branch(meta, op->move.branch);
    Moves moves, unused;
    int result = 0;
    if (family == NULL)
        return 0; /* with it went its segments, and what was reserved in them */
    expand(op, &moves);
    bool stands = lun != NULL && branch != NULL && lun->branch == branch->id && branch->family == family->id;
    if (stands)
        result = count_visits(meta, meta->apply_read, family, op->move.region);
    if (!stands || result == -E2BIG) {
        tell_unused(meta, family, &moves);
        return 0;
    }
    if (result == 0)
        result = keep_heads(meta, branch, op->move.region, &moves, &unused);
    for (guint b = 0; b < family->branches->len && result == 0 && any_left(&moves); b++)
        result = repoint_branch(meta, g_ptr_array_index(family->branches, b), op->move.region, &moves); /* X2 */
    if (result == -EUCLEAN && vv_meta_failure(meta) == NULL)
        return vvm_damaged(meta, "a page of %s, region %" G_GUINT64_FORMAT ", does not decode", lun->name, op->move.region);
    if (result == 0)
        result = swap_blocks(meta, family, &moves);
    if (result == 0)
        tell_unused(meta, family, &unused);
    return result;
}

int vv_map_may_move(VvMeta *meta, uint64_t family_id, uint64_t region)
{
    VvStoreRead *read;
    vv_meta_read_lock(meta);
    const VvFamily *family = vv_meta_family(meta, family_id);
    int result = family != NULL ? vv_store_read_begin(meta->store, &read) : -ESTALE;
    if (result == 0) {
        result = count_visits(meta, read, family, region);
        vv_store_read_end(read);
    }
    vv_meta_read_unlock(meta);
    return result;
}
