/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What follows when who may use what has changed (sharing.h, H4): handles that may not be any more are revoked, and the mount is told.
 *
 *   flag set on each such handle, under view->lock      what is admitted from now on ends with EIO
 *   gates closed until nothing is in flight             what was admitted before is done: it wrote before the change, as its user knows
 *   gates opened                                        what was parked is admitted anew, and ends with EIO
 *   hooks                                               the kernel forgets names, attributes and pages
 *
 * A handle stays revoked also if its node may again. Where the disks are another node's there are no gates (E1 of elsewhere.h): what was admitted
 * here is drained there. */
#include "engine.h"
#include "error.h"
#include "sharing.h"
#include "transaction.h"

/* Handles of @view that may not be are marked. Number of them. */
static unsigned mark(VvPool *pool, VvView *view)
{
    unsigned count = 0;
    VV_META_READ(pool->meta);
    VV_LOCKED(&view->lock);

    for (GList *i = view->handles.head; i; i = i->next) {
        VvHandle *handle = i->data;
        VvShareMode mode;

        if (handle->internal || vv_handle_is_revoked(handle))
            continue;
        mode = vv_pool_share_mode_locked(pool, view->id, handle->node);
        if (mode == VV_SHARE_RW || (mode == VV_SHARE_RO && !handle->write))
            continue;
        atomic_store(&handle->revoked, true);
        count++;
    }
    return count;
}

static void drain(VvPool *pool, VvView *view)
{
    g_autofree char *name = NULL;
    bool drained = vv_gate_close(view, true, VV_QUIESCE_MS_MAX);

    vv_gate_open(view, true);
    vv_view_wake(view);
    if (drained)
        return;
    name = vv_object_name(pool, view->id);
    vv_log(VV_LOG_WARNING, "requests on %s did not end within %u s after it was taken away from who made them", name, VV_QUIESCE_MS_MAX / 1000);
}

static void revoke_users(VvPool *pool, VvView *view)
{
    unsigned count = mark(pool, view);
    g_autofree char *name = NULL;

    if (count == 0)
        return;
    if (!pool->elsewhere)
        drain(pool, view);
    name = vv_object_name(pool, view->id);
    vv_pool_event(pool, VV_SEVERITY_WARNING, "revoked", name, "%s is not shared any more with who had it open: %u open file%s of it end%s with EIO",
        name, count, count == 1 ? "" : "s", count == 1 ? "s" : "");
}

/* @all: of everything that is open, also of what is removed already. */
static void revoke_handles(VvPool *pool, const GArray *ids, bool all)
{
    g_autoptr(VvViewList) views = all ? vv_views_all(pool) : NULL;

    for (unsigned i = 0; views && i < views->len; i++)
        revoke_users(pool, views->at[i]);
    for (unsigned i = 0; !all && i < ids->len; i++) {
        VvView *view = vv_view_peek(pool, g_array_index(ids, uint64_t, i));

        if (!view)
            continue;
        revoke_users(pool, view);
        vv_view_unref(view);
    }
}

/* The LUN of an object; 0: it is gone. */
static uint64_t lun_of(VvPool *pool, uint64_t id, bool *ret_snapshot)
{
    VV_META_READ(pool->meta);
    const VvSnapshot *snapshot = vv_meta_snapshot(pool->meta, id);

    *ret_snapshot = snapshot;
    return snapshot ? snapshot->lun : vv_meta_lun(pool->meta, id) ? id : 0;
}

/* The mount is told of one object; of its LUN later, once for all of its snapshots. */
static void tell(VvPool *pool, uint64_t id, GHashTable *luns)
{
    bool snapshot, hidden = vv_pool_share_mode(pool, id, 0) == VV_SHARE_NONE;
    uint64_t lun = lun_of(pool, id, &snapshot);

    if (lun == 0)
        return;
    if (hidden && snapshot && pool->hooks.content_changed) /* pages in the kernel's cache */
        pool->hooks.content_changed(pool->hooks_user, id);
    if (hidden && snapshot && pool->hooks.object_removed)
        pool->hooks.object_removed(pool->hooks_user, id);
    g_hash_table_add(luns, g_memdup2(&lun, sizeof lun));
}

static void add_all(VvPool *pool, GArray *ids)
{
    VV_META_READ(pool->meta);
    const GPtrArray *luns = vv_meta_luns(pool->meta);

    g_array_set_size(ids, 0);
    for (unsigned i = 0; i < luns->len; i++)
        vv_append_lun_ids(g_ptr_array_index(luns, i), ids);
}

void vv_pool_shares_settle(VvPool *pool)
{
    g_autoptr(GHashTable) luns = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    g_autoptr(GArray) ids = NULL;
    GHashTableIter iter;
    gpointer lun;
    bool all;
    VV_LOCKED(&pool->settle_lock); /* who comes second has what the first took seen to as well */

    ids = vv_shares_take(pool, &all);
    if (all)
        add_all(pool, ids);
    revoke_handles(pool, ids, all);
    for (unsigned i = 0; i < ids->len; i++)
        tell(pool, g_array_index(ids, uint64_t, i), luns);
    g_hash_table_iter_init(&iter, luns);
    while (pool->hooks.object_removed && g_hash_table_iter_next(&iter, &lun, NULL)) /* attributes are old, also the folder's */
        pool->hooks.object_removed(pool->hooks_user, *(const uint64_t *) lun);
}
