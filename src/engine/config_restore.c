/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restore: a LUN goes back to one of its snapshots. One entry: what it held is kept as LUN@before-restore-N (unless it is
 * thrown away), and a new branch begins at the snapshot. Both gates are closed from the drain until the view looks at the
 * new branch, so that no request sees half of each. */
#include "config_point.h"
#include "frees.h"
#include "intent.h"
#include "sharing.h"

#include <errno.h>
#include <stdio.h>

#define RESTORE_PREFIX "before-restore-"

typedef struct {
    uint64_t lun_id, snapshot_id;
    char *lun_name;
    char *keep_name; /* "before-restore-N"; NULL: discard */
    GArray *orphans;
    GArray *dropped; /* older restore points that go */
} Plan;

static void plan_clear(Plan *plan)
{
    g_free(plan->lun_name);
    g_free(plan->keep_name);
    g_clear_pointer(&plan->orphans, g_array_unref);
    g_clear_pointer(&plan->dropped, g_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

static char *free_restore_name(VvPool *pool, const VvLun *lun)
{
    for (uint64_t n = (uint64_t) lun->restore_count + 1;; n++) {
        g_autofree char *name = g_strdup_printf(RESTORE_PREFIX "%" G_GUINT64_FORMAT, n);

        if (!vv_meta_snapshot_by_name(pool->meta, lun, name))
            return g_steal_pointer(&name);
    }
}

static bool make_plan(VvTransaction *tx, const char *object, bool discard, Plan *plan, GError **error)
{
    VvPool *pool = tx->pool;
    VV_META_READ(pool->meta);
    const VvLun *lun;
    const VvSnapshot *snapshot = vv_find_snapshot(pool, object, &lun, error);

    if (!snapshot || !vv_refuse_kept(lun, NULL, tx->now_ns, error))
        return false;
    plan->lun_id = lun->id;
    plan->snapshot_id = snapshot->id;
    plan->lun_name = g_strdup(lun->name);
    if (!discard)
        plan->keep_name = free_restore_name(pool, lun);
    return true;
}

/* Setting restore-keep: of the points that restores left only the newest stay. */
static void find_old_points(VvTransaction *tx, Plan *plan)
{
    VvPool *pool = tx->pool;
    VV_META_READ(pool->meta);
    uint64_t keep = vv_setting_number(pool, "restore-keep");
    const VvLun *lun = vv_meta_lun(pool->meta, plan->lun_id);
    uint64_t seen = plan->keep_name ? 1 : 0;

    if (keep == 0 || !lun)
        return;
    for (unsigned i = lun->snapshots->len; i-- > 0;) {
        const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, i);

        if (snapshot->kind != VV_SNAPSHOT_RESTORE || snapshot->id == plan->snapshot_id ||
            vv_keep_holds(snapshot->keep_until_ns, tx->now_ns) || ++seen <= keep)
            continue;
        g_array_append_val(plan->dropped, snapshot->id);
    }
}

static void drop_old_points(VvTransaction *tx, Plan *plan)
{
    find_old_points(tx, plan);
    for (unsigned i = 0; i < plan->dropped->len; i++)
        vv_add_snapshot_removal(tx, g_array_index(plan->dropped, uint64_t, i), plan->orphans);
}

static bool add_ops(VvTransaction *tx, Plan *plan, const char *object, GError **error)
{
    VvOp *op;

    if (plan->keep_name) {
        VvSnapshotOptions options = { .kind = VV_SNAPSHOT_RESTORE };

        uint64_t id = vv_add_snapshot(tx, plan->lun_id, plan->keep_name, &options);
        VV_META_READ(tx->pool->meta);

        if (!vv_share_inherit(tx, plan->lun_id, id, true, NULL, error))
            return false;
    }
    op = vv_transaction_add(tx, VV_OP_RESTORE);
    op->restore.lun = plan->lun_id;
    op->restore.snapshot = plan->snapshot_id;
    op->restore.branch = vv_meta_new_id(tx->pool->meta);
    op->restore.time_ns = tx->now_ns;
    op->restore.origin = g_strdup(object);
    op->restore.count_restore = plan->keep_name != NULL;
    drop_old_points(tx, plan);
    return true;
}

static bool switch_over(VvTransaction *tx, Plan *plan, const char *object, GError **error)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autoptr(GPtrArray) views = NULL;
    VvView *view;
    int result;
    bool ok;

    g_array_append_val(ids, plan->lun_id);
    views = vv_views_get(tx->pool, ids, error);
    if (!views || !vv_views_flush(views, error) || !vv_views_close_gates(views, true, error))
        return false;
    view = g_ptr_array_index(views, 0);
    result = vv_view_sync_disks(view);
    if (result < 0)
        vv_set_error_errno(error, result, plan->lun_name, "%s cannot be synced", plan->lun_name);
    ok = result == 0;
    ok = ok && add_ops(tx, plan, object, error) &&
         vv_transaction_commit(tx, (VvView *const *) views->pdata, views->len, object, error);
    if (ok) {
        vv_view_reload(view);
        vv_intents_cover(tx->pool, plan->lun_id, 0);
    }
    vv_views_open_gates(views, true);
    return ok;
}

/* Before the claim: who opens the LUN meanwhile need not wait for that. A failure comes again. */
static void flush_ahead(VvPool *pool, uint64_t lun_id)
{
    VvView *view = vv_view_peek(pool, lun_id);

    if (!view)
        return;
    (void) vv_view_flush(view);
    vv_view_unref(view);
}

static void tell(VvPool *pool, const Plan *plan)
{
    if (pool->hooks.content_changed)
        pool->hooks.content_changed(pool->hooks_user, plan->lun_id);
    if (pool->hooks.object_changed)
        pool->hooks.object_changed(pool->hooks_user, plan->lun_id);
    for (unsigned i = 0; pool->hooks.object_removed && i < plan->dropped->len; i++)
        pool->hooks.object_removed(pool->hooks_user, g_array_index(plan->dropped, uint64_t, i));
}

/* The LUN's head, unless it is kept, and restore points that are too many. */
static bool find_losses(VvPool *pool, const char *object, bool discard, GArray *ids)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_auto(Plan) plan = { .dropped = g_array_new(FALSE, FALSE, sizeof(uint64_t)) };
    const VvLun *lun;

    if (!vv_transaction_begin(&tx, pool, NULL, true, NULL) || !make_plan(&tx, object, discard, &plan, NULL))
        return false;
    find_old_points(&tx, &plan);
    g_array_append_vals(ids, plan.dropped->data, plan.dropped->len);
    VV_META_READ(pool->meta);
    lun = vv_meta_lun(pool->meta, plan.lun_id);
    if (lun && discard)
        g_array_append_val(ids, lun->branch);
    return lun;
}

bool vv_pool_restore_frees(VvPool *pool, const char *object, bool discard, uint64_t *ret_bytes)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    if (!find_losses(pool, object, discard, ids))
        return false;
    *ret_bytes = 0;
    return ids->len == 0 ||
           vv_count_exclusive(pool, (const uint64_t *) (const void *) ids->data, ids->len, UINT64_MAX, ret_bytes);
}

static bool snapshot_restore_once(VvPool *pool, const char *object, bool force, bool discard, bool dry_run,
    VvRequest *request, char **ret_kept, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_auto(Plan) plan = { .orphans = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
        .dropped = g_array_new(FALSE, FALSE, sizeof(uint64_t)) };

    if (!vv_transaction_begin(&tx, pool, request, dry_run, error))
        return tx.repeated;
    if (!make_plan(&tx, object, discard, &plan, error))
        return false;
    if (!dry_run && !force)
        flush_ahead(pool, plan.lun_id);
    if (!force && !vv_transaction_claim_from_writers(&tx, plan.lun_id, VV_CLAIM_WRITERS, plan.lun_name, true, error))
        return false;
    if (!dry_run) {
        if (!switch_over(&tx, &plan, object, error))
            return false;
        vv_pool_purge_unopened(pool, plan.orphans);
    }
    vv_transaction_clear(&tx);
    if (!dry_run)
        tell(pool, &plan);
    if (ret_kept)
        *ret_kept = plan.keep_name ? g_strdup_printf("%s@%s", plan.lun_name, plan.keep_name) : NULL;
    return true;
}

/* ---- until they are decided: another node may have changed something while they looked */

bool vv_pool_snapshot_restore(VvPool *pool, const char *object, bool force, bool discard, bool dry_run,
    VvRequest *request, char **ret_kept, GError **error)
{
    VV_UNTIL_DECIDED(
        error, snapshot_restore_once(pool, object, force, discard, dry_run, request, ret_kept, &failure));
}
