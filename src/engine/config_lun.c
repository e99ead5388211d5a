/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUNs: create, size, name, properties, clone. */
#include "transaction.h"

#include "config_point.h"
#include "elsewhere_view.h"
#include "intent.h"
#include "pool_private.h"
#include "sharing.h"

#include <errno.h>

#define SIZE_HINT "sizes are multiples of 512 bytes, from 512 to 8 EiB - 4 KiB: 512, 1.5G, 40G"
#define SHRINK_TRIES 8u /* an elastic LUN may be written while it is cut */

static bool check_size(const char *name, uint64_t size_bytes, GError **error)
{
    if (size_bytes > 0 && size_bytes <= VV_LUN_BYTES_MAX && size_bytes % VV_SECTOR_BYTES == 0)
        return true;
    vv_set_error(
        error, VV_ERROR_USAGE, name, SIZE_HINT, "%s cannot have %" G_GUINT64_FORMAT " bytes", name, size_bytes);
    return false;
}

static void tell_changed(VvPool *pool, uint64_t id)
{
    if (pool->hooks.object_changed)
        pool->hooks.object_changed(pool->hooks_user, id);
}

/* The view, if somebody uses the LUN, learns what the catalog says now. */
static void reload_view(VvPool *pool, uint64_t id)
{
    VvView *view;

    if (vv_view_get(pool, id, &view) < 0)
        return;
    vv_view_reload(view);
    vv_view_unref(view);
}

/* ---- create */

/* A first segment in the same entry, if there is space: the first write need not wait for one. */
static bool commit_with_space(
    VvTransaction *tx, uint64_t family, const VvDiskSet *disks, const char *name, GError **error)
{
    VvGrants grants = { .disks = disks };
    bool ok;

    if (!tx->pool->without_disks)
        (void) vv_grant_add(tx->pool, &grants, tx->ops, family, 0, VV_SEGMENT_SHIFT_MIN);
    ok = vv_transaction_commit(tx, NULL, 0, name, error);
    vv_grants_end(tx->pool, &grants);
    return ok;
}

static bool lun_create_once(VvPool *pool, const VvLunCreate *create, VvRequest *request, uint64_t *ret_id,
    GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autofree VvDiskSet *disks = NULL;
    VvLunProps props;
    uint64_t id, family;
    VvOp *op;

    if (!vv_name_check(create->name, "LUN", error) ||
        (!create->elastic && !check_size(create->name, create->size_bytes, error)) ||
        !vv_props_check(create->props_mask, &create->props, create->name, error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);

        if (!vv_refuse_existing_lun(pool, create->name, error) || !vv_refuse_cramped(pool, create->name, error))
            return false;
        if (vv_meta_luns(pool->meta)->len >= VV_LUNS_MAX) {
            vv_set_error(error, VV_ERROR_LIMIT, create->name, NULL, "a pool holds at most %u LUNs", VV_LUNS_MAX);
            return false;
        }
        if (create->disks && !(disks = vv_choose_disks(pool, create->name, create->disks, error)))
            return false;
        vv_setting_defaults(pool, &props);
    }
    vv_props_merge(&props, create->props_mask, &create->props);

    id = vv_meta_new_id(pool->meta);
    op = vv_transaction_add(&tx, VV_OP_LUN_CREATE);
    op->lun_create.id = id;
    vv_uuid_generate(&op->lun_create.uuid);
    op->lun_create.name = g_strdup(create->name);
    op->lun_create.size_bytes = create->elastic ? 0 : create->size_bytes;
    op->lun_create.branch = vv_meta_new_id(pool->meta);
    op->lun_create.family = vv_meta_new_id(pool->meta);
    op->lun_create.props = props;
    op->lun_create.elastic = create->elastic;
    op->lun_create.created_ns = tx.now_ns;
    op->lun_create.disks = vv_disk_set_copy(disks);
    family = op->lun_create.family;
    if (create->elastic)
        vv_share_own(&tx, id, create->node); /* may move the ops */
    if (!commit_with_space(&tx, family, disks, create->name, error))
        return false;
    if (ret_id)
        *ret_id = id;
    return true;
}

/* ---- size */

/* What lies in [from, to) of the LUN's applied map is all holes? Used behind its end, where only an adopted map has pages. */
static int tail_is_hole(VvView *view, uint64_t from_bytes, uint64_t to_bytes, bool *ret_hole)
{
    VvMeta *meta = view->pool->meta;
    uint64_t first = (from_bytes + VV_BLOCK_BYTES - 1) >> VV_BLOCK_SHIFT;
    uint64_t end =
        to_bytes > UINT64_MAX - VV_BLOCK_BYTES ? UINT64_MAX : (to_bytes + VV_BLOCK_BYTES - 1) >> VV_BLOCK_SHIFT;
    g_autofree VvPage *page = g_new(VvPage, 1);
    uint64_t region = first / VV_REGION_BLOCKS, next;

    *ret_hole = true;
    while (vv_map_next_region(meta, view->branch, region, UINT64_MAX, &next) == 0 && next * VV_REGION_BLOCKS < end) {
        int result = vv_map_lookup(meta, view->branch, next, UINT64_MAX, page, NULL, NULL);

        if (result < 0 && result != -ENODATA)
            return result;
        for (uint64_t i = 0; result == 0 && i < VV_REGION_BLOCKS; i++) {
            uint64_t block = next * VV_REGION_BLOCKS + i;

            if (block >= first && block < end && vv_place_mapped(page->place[i])) {
                *ret_hole = false;
                return 0;
            }
        }
        region = next + 1;
    }
    return 0;
}

bool vv_lun_tail_is_hole(VvView *view, uint64_t from_bytes, uint64_t to_bytes, bool *ret_hole, GError **error)
{
    int result = tail_is_hole(view, from_bytes, to_bytes, ret_hole);

    if (result < 0)
        vv_set_error_errno(error, result, NULL, "the map behind the end cannot be read");
    return result == 0;
}

static int log_discards(VvPool *pool, uint64_t lun_id, GArray *changes)
{
    VvOps *ops;
    VvOp *op;

    if (changes->len == 0)
        return 0;
    ops = vv_ops_new();
    op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = lun_id;
    op->map.mtime_ns = vv_now_ns();
    op->map.size_bytes = UINT64_MAX;
    op->map.change_count = changes->len;
    op->map.changes = g_memdup2(changes->data, changes->len * sizeof(VvMapChange));
    g_array_set_size(changes, 0);
    return vv_commit_ops(pool->committer, NULL, 0, ops);
}

bool vv_lun_cut_tail(VvView *view, uint64_t size_bytes, GError **error)
{
    VvMeta *meta = view->pool->meta;
    uint64_t first = (size_bytes + VV_BLOCK_BYTES - 1) >> VV_BLOCK_SHIFT, next;
    g_autoptr(GArray) changes = g_array_new(FALSE, TRUE, sizeof(VvMapChange));
    uint64_t region = first / VV_REGION_BLOCKS;
    int result = 0;

    while (result == 0 && vv_map_next_region(meta, view->branch, region, UINT64_MAX, &next) == 0) {
        uint64_t start = MAX(first, next * VV_REGION_BLOCKS) - next * VV_REGION_BLOCKS;
        VvMapChange change = {
            .region = next, .first = (uint8_t) start, .count = (uint16_t) (VV_REGION_BLOCKS - start)
        };

        g_array_append_val(changes, change);
        if (changes->len == VV_ENTRY_REGIONS_MAX)
            result = log_discards(view->pool, view->id, changes);
        region = next + 1;
    }
    if (result == 0)
        result = log_discards(view->pool, view->id, changes);
    if (result < 0)
        vv_set_error_errno(error, result, NULL, "what lies behind the end cannot be dropped");
    return result == 0;
}

static void add_size(VvTransaction *tx, uint64_t id, uint64_t size_bytes)
{
    VvOp *op = vv_transaction_add(tx, VV_OP_LUN_SIZE);

    op->lun_size.id = id;
    op->lun_size.size_bytes = size_bytes;
    op->lun_size.mtime_ns = tx->now_ns;
}

/* Behind the present end there may be what copy_file_range brought and was never asked for: it must not come to light. Holes
 * of it may: that is how cp ends a sparse copy. */
static bool uncover(VvView *view, uint64_t old_bytes, uint64_t new_bytes, GError **error)
{
    bool hole, rest = true;

    if (!vv_lun_tail_is_hole(view, old_bytes, new_bytes, &hole, error) ||
        (hole && !vv_lun_tail_is_hole(view, new_bytes, UINT64_MAX, &rest, error)) ||
        (!hole && !vv_lun_cut_tail(view, old_bytes, error)))
        return false;
    VV_LOCKED(&view->lock);
    view->tail_behind = !rest;
    return true;
}

/* @at_least: if it is larger by then, that will do. */
static bool grow(VvTransaction *tx, uint64_t id, const char *name, uint64_t new_bytes, bool at_least, GError **error)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof id);
    g_autoptr(GPtrArray) views = NULL;
    VvView *view;
    bool ok;

    g_array_append_val(ids, id);
    views = vv_views_get(tx->pool, ids, error);
    if (!views)
        return false;
    view = g_ptr_array_index(views, 0);
    if (!vv_views_flush(views, error) || !vv_views_close_gates(views, false, error))
        return false;
    if (at_least && vv_view_size(view) >= new_bytes) {
        vv_views_open_gates(views, false);
        return true;
    }
    ok = vv_view_size(view) <= new_bytes; /* an elastic LUN may have been written meanwhile */
    if (!ok)
        vv_set_error(error, VV_ERROR_BUSY, name, "Try again.", "%s grows by itself: nothing was changed", name);
    ok = ok && uncover(view, vv_view_size(view), new_bytes, error);
    if (ok && vv_view_sync_disks(view) < 0) {
        vv_set_error(error, VV_ERROR_IO, name, "vvfs-admin doctor", "%s cannot be synced", name);
        ok = false;
    }
    if (ok) {
        add_size(tx, id, new_bytes);
        ok = vv_transaction_commit(tx, (VvView *const *) views->pdata, views->len, name, error);
    }
    if (ok)
        vv_view_reload(view);
    vv_views_open_gates(views, false);
    return ok;
}

/* Is what the block at the new end has behind it zero? The write gate is closed. */
static int edge_is_clear(VvView *view, uint64_t size_bytes, bool *ret_clear)
{
    uint64_t block_end = (size_bytes + VV_BLOCK_BYTES - 1) & ~(uint64_t) (VV_BLOCK_BYTES - 1);
    uint64_t end = MIN(block_end, vv_view_size(view));
    g_autofree char *edge = g_malloc0(VV_BLOCK_BYTES);
    int64_t got = 0;

    *ret_clear = true;
    if (size_bytes < end)
        got = vv_view_read(view, edge, size_bytes, end - size_bytes);
    for (int64_t i = 0; i < got; i++)
        if (edge[i] != 0)
            *ret_clear = false;
    return got < 0 ? (int) got : 0;
}

/* Whatever somebody wrote behind the new end since it was zeroed. The write gate is closed. */
static bool drop_rest(VvView *view, uint64_t size_bytes, const char *name, GError **error)
{
    int result = vv_view_sync_disks(view);

    if (result == 0) {
        VvOps *ops = vv_ops_new();

        vv_ops_add(ops, VV_OP_NOOP);
        result = vv_commit_ops(view->pool->committer, &view, 1, ops); /* nothing is pending behind it */
    }
    if (result < 0)
        vv_set_error_errno(error, result, name, "%s cannot be flushed", name);
    return result == 0 && vv_lun_cut_tail(view, size_bytes, error);
}

/* Zero the tail, with gates open and without the lock: it is long work, and in a full pool may wait for space. False: @error, or
 * the request was done meanwhile. */
static bool zero_tail(VvTransaction *tx, VvView *view, uint64_t size_bytes, const char *name, GError **error)
{
    uint64_t end = vv_view_size(view);
    int result = 0;

    vv_transaction_pause(tx);
    if (end > size_bytes)
        result = vv_view_zero(view, size_bytes, end - size_bytes);
    if (result == 0)
        result = vv_view_flush(view);
    if (!vv_transaction_resume(tx, error))
        return false;
    if (result < 0)
        vv_set_error_errno(error, result, name, "%s cannot be cut", name);
    return result == 0;
}

typedef enum { CUT_FAILED, CUT_READY, CUT_SMALLER } Cut;

/* What may have happened to the LUN while the lock was not held. */
static Cut look_again(
    VvTransaction *tx, VvView *view, uint64_t size_bytes, bool truncate, const char *name, GError **error)
{
    VvViewStat now;

    vv_view_stat(view, &now);
    VV_META_READ(tx->pool->meta);
    const VvLun *lun = vv_meta_lun(tx->pool->meta, view->id);

    if (!lun || (lun->orphan && !truncate)) {
        vv_set_error(error, VV_ERROR_STALE, name, NULL, "%s is gone", name);
        return CUT_FAILED;
    }
    if (!truncate && !vv_refuse_kept(lun, NULL, tx->now_ns, error))
        return CUT_FAILED;
    if (truncate && !now.elastic) {
        vv_set_error(error, VV_ERROR_DENIED, name, NULL, "%s was finished meanwhile", name);
        return CUT_FAILED;
    }
    return now.size_bytes < size_bytes ? CUT_SMALLER : CUT_READY;
}

/* READY: the gates are closed, the tail is zero, and nobody wrote to the edge since. */
static Cut cut_and_close(
    VvTransaction *tx, GPtrArray *views, uint64_t size_bytes, bool truncate, const char *name, GError **error)
{
    VvView *view = g_ptr_array_index(views, 0);

    for (unsigned try = 0; try < SHRINK_TRIES; try++) {
        bool clear = true;
        int result;
        Cut cut = zero_tail(tx, view, size_bytes, name, error) ? CUT_READY : CUT_FAILED;

        if (cut == CUT_READY)
            cut = look_again(tx, view, size_bytes, truncate, name, error);
        if (cut != CUT_READY)
            return cut;
        if (!vv_adoption_end(view, error) || !vv_views_close_gates(views, false, error))
            return CUT_FAILED;
        result = edge_is_clear(view, size_bytes, &clear);
        if (result == 0 && clear)
            return CUT_READY;
        vv_views_open_gates(views, false);
        if (result < 0) {
            vv_set_error_errno(error, result, name, "%s cannot be cut", name);
            return CUT_FAILED;
        }
    }
    vv_set_error(error, VV_ERROR_BUSY, name, "Try again.", "%s is written where it is cut", name);
    return CUT_FAILED;
}

/* @truncate: through the mount, of an elastic LUN. */
static bool shrink_to(
    VvTransaction *tx, uint64_t id, const char *name, uint64_t size_bytes, bool truncate, GError **error)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof id);
    g_autoptr(GPtrArray) views = NULL;
    VvView *view;
    bool ok;

    g_array_append_val(ids, id);
    views = vv_views_get(tx->pool, ids, error);
    if (!views)
        return false;
    view = g_ptr_array_index(views, 0);
    if (!vv_adoption_end(view, error))
        return false;
    switch (cut_and_close(tx, views, size_bytes, truncate, name, error)) {
    case CUT_SMALLER: /* somebody else cut it to less: this one is the last to say how large it is */
        return grow(tx, id, name, size_bytes, false, error);
    case CUT_FAILED:
        return tx->repeated;
    case CUT_READY:
    default:
        break;
    }
    ok = drop_rest(view, size_bytes, name, error);
    if (ok) {
        add_size(tx, id, size_bytes);
        ok = vv_transaction_commit(tx, (VvView *const *) views->pdata, views->len, name, error);
    }
    if (ok) {
        vv_view_reload(view);
        vv_intents_cover(tx->pool, id, size_bytes);
    }
    vv_views_open_gates(views, false);
    return ok;
}

static bool refuse_shrink(const VvLun *lun, uint64_t old_bytes, uint64_t size_bytes, GError **error)
{
    g_autofree char *was = vv_size_format(old_bytes), *is = vv_size_format(size_bytes);

    vv_set_error(error, VV_ERROR_DENIED, lun->name, "`--shrink` does it and drops what lies behind the new end.",
        "%s has %s and would be cut to %s: nothing was changed", lun->name, was, is);
    return false;
}

/* What its writers were told, journalled or not. Read lock held. */
static uint64_t present_size(VvPool *pool, const VvLun *lun)
{
    VvView *view = vv_view_peek(pool, lun->id);
    uint64_t size_bytes = view ? vv_view_size(view) : lun->size_bytes;

    if (view)
        vv_view_unref(view);
    return size_bytes;
}

static bool lun_resize_once(VvPool *pool, const char *name, uint64_t size_bytes, bool shrink, bool dry_run,
    VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t id, old_bytes;

    if (!check_size(name, size_bytes, error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, dry_run, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);
        const VvLun *lun = vv_find_lun(pool, name, error);

        if (!lun)
            return false;
        id = lun->id;
        old_bytes = present_size(pool, lun);
        if (size_bytes < old_bytes && !shrink)
            return refuse_shrink(lun, old_bytes, size_bytes, error);
        if (size_bytes < old_bytes && !vv_refuse_kept(lun, NULL, tx.now_ns, error))
            return false;
    }
    if (size_bytes < old_bytes && !vv_transaction_claim_from_writers(&tx, id, VV_CLAIM_LONG, name, false, error))
        return false;
    if (dry_run)
        return true;
    if (size_bytes == old_bytes)
        return vv_transaction_commit(&tx, NULL, 0, name, error);
    if (size_bytes < old_bytes ? !shrink_to(&tx, id, name, size_bytes, false, error)
                               : !grow(&tx, id, name, size_bytes, false, error))
        return false;
    vv_transaction_clear(&tx);
    tell_changed(pool, id);
    return true;
}

static bool lun_truncate_once(VvPool *pool, uint64_t id, uint64_t size_bytes, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autofree char *name = NULL;
    VvViewStat stat;
    int result;

    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    name = vv_object_name(pool, id);
    result = vv_pool_stat(pool, id, &stat);
    if (result < 0) {
        vv_set_error_errno(error, result, name, "%s", name);
        return false;
    }
    if (size_bytes == stat.size_bytes)
        return true;
    if (!(stat.elastic && size_bytes == 0) && size_bytes > VV_LUN_BYTES_MAX) {
        check_size(name, size_bytes, error);
        return false;
    }
    if (!stat.elastic && size_bytes < stat.size_bytes) {
        vv_set_error(error, VV_ERROR_DENIED, name, "Use `vvfs-admin lun resize --shrink`, or conv=notrunc.",
            "%s is a finished LUN: truncating it to a smaller size is refused", name);
        return false;
    }
    if (!stat.elastic && !check_size(name, size_bytes, error))
        return false;
    if (size_bytes < stat.size_bytes ? !shrink_to(&tx, id, name, size_bytes, true, error)
                                     : !grow(&tx, id, name, size_bytes, false, error))
        return false;
    vv_transaction_clear(&tx);
    tell_changed(pool, id);
    return true;
}

static bool lun_extend_once(VvPool *pool, uint64_t id, uint64_t size_bytes, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autofree char *name = NULL;
    VvViewStat stat;

    if (vv_pool_stat(pool, id, &stat) == 0 && stat.size_bytes >= size_bytes)
        return true;
    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    name = vv_object_name(pool, id);
    if (vv_pool_stat(pool, id, &stat) < 0) {
        vv_set_error(error, VV_ERROR_STALE, name, NULL, "%s is gone", name);
        return false;
    }
    if (stat.size_bytes >= size_bytes)
        return true;
    if (!stat.elastic || size_bytes > VV_LUN_BYTES_MAX) {
        vv_set_error(error, VV_ERROR_NO_SPACE, name, "vvfs-admin lun resize",
            "a range past the end of LUN %s cannot be allocated", name);
        return false;
    }
    if (!grow(&tx, id, name, size_bytes, true, error))
        return false;
    vv_transaction_clear(&tx);
    tell_changed(pool, id);
    return true;
}

/* ---- name and properties */

static bool lun_rename_once(VvPool *pool, const char *old_name, const char *new_name, VvRequest *request,
    GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t id;
    VvOp *op;

    if (!vv_name_check(new_name, "LUN", error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);
        const VvLun *lun = vv_find_lun(pool, old_name, error);

        if (!lun || !vv_refuse_existing_lun(pool, new_name, error))
            return false;
        id = lun->id;
    }
    op = vv_transaction_add(&tx, VV_OP_LUN_RENAME);
    op->lun_rename.id = id;
    op->lun_rename.name = g_strdup(new_name);
    op->lun_rename.ctime_ns = tx.now_ns;
    if (!vv_transaction_commit(&tx, NULL, 0, old_name, error))
        return false;
    vv_transaction_clear(&tx);
    tell_changed(pool, id);
    return true;
}

static VvOp *add_set(VvTransaction *tx, const VvLun *lun, uint32_t mask, const VvLunProps *props)
{
    VvOp *op = vv_transaction_add(tx, VV_OP_LUN_SET);

    op->lun_set.id = lun->id;
    op->lun_set.mask = mask;
    op->lun_set.props = lun->props;
    if (props)
        vv_props_merge(&op->lun_set.props, mask, props);
    op->lun_set.mtime_ns = lun->mtime_ns;
    op->lun_set.atime_ns = lun->atime_ns;
    op->lun_set.elastic = lun->elastic;
    op->lun_set.ctime_ns = tx->now_ns;
    return op;
}

static bool lun_set_once(VvPool *pool, const char *name, uint32_t mask, const VvLunProps *props, VvRequest *request,
    GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t id;

    if (!vv_props_check(mask, props, name, error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);
        const VvLun *lun = vv_find_lun(pool, name, error);

        if (!lun)
            return false;
        id = lun->id;
        add_set(&tx, lun, mask & (VV_LUN_KEEP | (VV_LUN_KEEP - 1)), props);
    }
    if (!vv_transaction_commit(&tx, NULL, 0, name, error))
        return false;
    reload_view(pool, id);
    vv_transaction_clear(&tx);
    tell_changed(pool, id);
    return true;
}

static bool lun_set_attributes_once(VvPool *pool, uint64_t id, uint32_t mask, const VvLunProps *props,
    uint64_t mtime_ns, uint64_t atime_ns, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autofree char *name = NULL;

    mask &= VV_LUN_MODE | VV_LUN_UID | VV_LUN_GID | VV_LUN_MTIME | VV_LUN_ATIME;
    if (mask & (VV_LUN_MODE | VV_LUN_UID | VV_LUN_GID) && !vv_props_check(mask, props, "LUN", error))
        return false;
    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    name = vv_object_name(pool, id);
    {
        VV_META_READ(pool->meta);
        const VvLun *lun = vv_meta_lun(pool->meta, id);
        VvOp *op;

        if (!lun) {
            vv_set_error(error, VV_ERROR_STALE, name, NULL, "%s is gone", name);
            return false;
        }
        op = add_set(&tx, lun, mask, props);
        if (mask & VV_LUN_MTIME)
            op->lun_set.mtime_ns = mtime_ns;
        if (mask & VV_LUN_ATIME)
            op->lun_set.atime_ns = atime_ns;
    }
    if (!vv_transaction_commit(&tx, NULL, 0, name, error))
        return false;
    reload_view(pool, id);
    return true;
}

/* ---- clone */

static bool clone_once(VvPool *pool, const char *object, const char *name, uint32_t props_mask, const VvLunProps *props,
    VvRequest *request, uint64_t *ret_id, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t id;
    VvOp *op;

    if (!vv_name_check(name, "LUN", error) || !vv_props_check(props_mask, props, name, error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    id = vv_meta_new_id(pool->meta);
    op = vv_transaction_add(&tx, VV_OP_CLONE);
    op->clone.id = id;
    op->clone.branch = vv_meta_new_id(pool->meta);
    vv_uuid_generate(&op->clone.uuid);
    {
        VV_META_READ(pool->meta);
        const VvLun *base;
        const VvSnapshot *snapshot = vv_find_snapshot(pool, object, &base, error);

        if (!snapshot || !vv_refuse_existing_lun(pool, name, error) || !vv_refuse_cramped(pool, name, error))
            return false;
        if (vv_meta_luns(pool->meta)->len >= VV_LUNS_MAX) {
            vv_set_error(error, VV_ERROR_LIMIT, name, NULL, "a pool holds at most %u LUNs", VV_LUNS_MAX);
            return false;
        }
        op->clone.snapshot = snapshot->id;
        op->clone.props = base->props;
        op->clone.props.keep_until_ns = 0; /* the base's, not its copy's */
    }
    vv_props_merge(&op->clone.props, props_mask, props);
    op->clone.name = g_strdup(name);
    op->clone.origin = g_strdup(object);
    op->clone.created_ns = tx.now_ns;
    {
        VV_META_READ(pool->meta);

        if (!vv_share_inherit(&tx, op->clone.snapshot, id, false, NULL, error)) /* may move the ops */
            return false;
    }
    if (!vv_transaction_commit(&tx, NULL, 0, name, error))
        return false;
    if (ret_id)
        *ret_id = id;
    return true;
}

/* ---- until they are decided: another node may have changed something while they looked */

bool vv_pool_lun_create(VvPool *pool, const VvLunCreate *create, VvRequest *request, uint64_t *ret_id, GError **error)
{
    VV_UNTIL_DECIDED(error, lun_create_once(pool, create, request, ret_id, &failure));
}

bool vv_pool_lun_resize(VvPool *pool, const char *name, uint64_t size_bytes, bool shrink, bool dry_run,
    VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, lun_resize_once(pool, name, size_bytes, shrink, dry_run, request, &failure));
}

bool vv_pool_lun_truncate(VvPool *pool, uint64_t id, uint64_t size_bytes, GError **error)
{
    if (pool->elsewhere)
        return vv_lun_size_elsewhere(pool, id, VV_ASK_TRUNCATE, size_bytes, error);
    VV_UNTIL_DECIDED(error, lun_truncate_once(pool, id, size_bytes, &failure));
}

bool vv_pool_lun_extend(VvPool *pool, uint64_t id, uint64_t size_bytes, GError **error)
{
    if (pool->elsewhere)
        return vv_lun_size_elsewhere(pool, id, VV_ASK_EXTEND, size_bytes, error);
    VV_UNTIL_DECIDED(error, lun_extend_once(pool, id, size_bytes, &failure));
}

bool vv_pool_lun_rename(VvPool *pool, const char *old_name, const char *new_name, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, lun_rename_once(pool, old_name, new_name, request, &failure));
}

bool vv_pool_lun_set(VvPool *pool, const char *name, uint32_t mask, const VvLunProps *props, VvRequest *request,
    GError **error)
{
    VV_UNTIL_DECIDED(error, lun_set_once(pool, name, mask, props, request, &failure));
}

bool vv_pool_lun_set_attributes(VvPool *pool, uint64_t id, uint32_t mask, const VvLunProps *props, uint64_t mtime_ns,
    uint64_t atime_ns, GError **error)
{
    VV_UNTIL_DECIDED(error, lun_set_attributes_once(pool, id, mask, props, mtime_ns, atime_ns, &failure));
}

bool vv_pool_clone(VvPool *pool, const char *object, const char *name, uint32_t props_mask, const VvLunProps *props,
    VvRequest *request, uint64_t *ret_id, GError **error)
{
    VV_UNTIL_DECIDED(error, clone_once(pool, object, name, props_mask, props, request, ret_id, &failure));
}
