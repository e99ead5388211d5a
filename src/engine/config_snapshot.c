/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots: create (several LUNs at one instant), rename, set, refresh, differences.
 *
 * S1  Between the closing of the last gate and the opening of the first no write of any LUN concerned is under way, so that
 *     all points lie at one instant (I7).
 * S2  Only memory is touched behind closed gates: the stall is the drain, no sync.
 * S3  Data of the frozen epochs is on the disks before the entry is logged (I2). */
#include "config_point.h"
#include "faultpoint.h"
#include "sharing.h"

#include <errno.h>
#include <string.h>

/* ---- freezing */

void vv_freeze_clear(VvFreeze *freeze)
{
    g_clear_pointer(&freeze->views, g_ptr_array_unref);
    g_clear_pointer(&freeze->epochs, g_free);
}

static unsigned stall_bucket(uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned bucket = 0;

    while (bucket < VV_STAT_BUCKETS - 1 && (UINT64_C(1) << bucket) < us)
        bucket++;
    return bucket;
}

static void count_stall(VvPool *pool, uint64_t ns)
{
    uint64_t us = ns / 1000, most = atomic_load(&pool->quiesce_max_us);

    atomic_fetch_add(&pool->quiesce_count, 1);
    while (us > most && !atomic_compare_exchange_weak(&pool->quiesce_max_us, &most, us))
        ;
    VV_LOCKED(&pool->stats_lock);
    pool->snapshot_stall.count++;
    pool->snapshot_stall.nanoseconds += ns;
    pool->snapshot_stall.buckets[stall_bucket(ns)]++;
}

/* The epoch that the last of the LUN's SNAPSHOT_CREATEs will freeze: each opens the next one. */
static bool find_epochs(VvFreeze *freeze, VvPool *pool, const GArray *lun_ids, GError **error)
{
    VV_META_READ(pool->meta);

    freeze->epochs = g_new0(uint64_t, freeze->views->len ? freeze->views->len : 1);
    for (unsigned i = 0; i < freeze->views->len; i++) {
        VvView *view = g_ptr_array_index(freeze->views, i);
        const VvLun *lun = vv_meta_lun(pool->meta, view->id);
        const VvBranch *branch = lun ? vv_meta_branch(pool->meta, lun->branch) : NULL;
        unsigned times = 0;

        if (!branch) {
            vv_set_error(error, VV_ERROR_NOT_FOUND, NULL, NULL, "a LUN of the snapshot is gone");
            return false;
        }
        for (unsigned k = 0; k < lun_ids->len; k++)
            times += g_array_index(lun_ids, uint64_t, k) == view->id;
        freeze->epochs[i] = branch->epoch + times - 1;
    }
    return true;
}

static bool sync_all(GPtrArray *views, GError **error)
{
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = g_ptr_array_index(views, i);
        int result = vv_view_sync_disks(view);

        if (result < 0) {
            g_autofree char *name = vv_object_name(view->pool, view->id);

            vv_set_error_errno(error, result, name, "%s cannot be synced", name);
            return false;
        }
    }
    return true;
}

bool vv_freeze_commit(VvFreeze *freeze, VvTransaction *tx, const GArray *lun_ids, const char *object, GError **error)
{
    GPtrArray *views = freeze->views = vv_views_get(tx->pool, lun_ids, error);
    uint64_t begin_ns;
    bool ok;

    if (!views || !find_epochs(freeze, tx->pool, lun_ids, error) || !vv_views_flush(views, error))
        return false;
    begin_ns = vv_monotonic_ns();
    if (!vv_views_close_gates(views, false, error))
        return false;
    vv_may_die(VV_DIE_SNAPSHOT_CLOSED);
    for (unsigned i = 0; i < views->len; i++)
        vv_view_switch(g_ptr_array_index(views, i), freeze->epochs[i]);
    vv_views_open_gates(views, false);
    count_stall(tx->pool, vv_monotonic_ns() - begin_ns);

    vv_may_die(VV_DIE_SNAPSHOT_SWITCHED);
    ok = sync_all(views, error) && vv_transaction_commit(tx, (VvView *const *) views->pdata, views->len, object, error);
    for (unsigned i = 0; i < views->len; i++)
        vv_view_switched(g_ptr_array_index(views, i));
    if (ok)
        vv_may_die(VV_DIE_SNAPSHOT_ENTERED);
    return ok;
}

uint64_t vv_add_snapshot(VvTransaction *tx, uint64_t lun_id, const char *name, const VvSnapshotOptions *options)
{
    uint64_t id = vv_meta_new_id(tx->pool->meta);
    VvOp *op = vv_transaction_add(tx, VV_OP_SNAPSHOT_CREATE);

    op->snapshot_create.id = id;
    vv_uuid_generate(&op->snapshot_create.uuid);
    op->snapshot_create.lun = lun_id;
    op->snapshot_create.name = g_strdup(name);
    op->snapshot_create.kind = (uint8_t) (options ? options->kind : VV_SNAPSHOT_MANUAL);
    op->snapshot_create.created_ns = tx->now_ns;
    op->snapshot_create.keep_until_ns = options ? options->keep_until_ns : 0;
    op->snapshot_create.note = g_strdup(options && options->note ? options->note : "");
    return id;
}

static bool check_note(const char *note, const char *object, GError **error)
{
    if (!note || (strlen(note) <= VV_NOTE_BYTES_MAX && g_utf8_validate(note, -1, NULL)))
        return true;
    vv_set_error(error, VV_ERROR_USAGE, object, NULL, "the note of %s is not valid text of at most %u bytes", object,
        VV_NOTE_BYTES_MAX);
    return false;
}

/* ---- create */

static bool count_snapshots(VvPool *pool, unsigned more, const char *object, GError **error)
{
    const GPtrArray *luns = vv_meta_luns(pool->meta);
    uint64_t count = more;

    for (unsigned i = 0; i < luns->len; i++)
        count += ((const VvLun *) g_ptr_array_index(luns, i))->snapshots->len;
    if (count <= VV_SNAPSHOTS_MAX)
        return true;
    vv_set_error(error, VV_ERROR_LIMIT, object, NULL, "a pool holds at most %u snapshots", VV_SNAPSHOTS_MAX);
    return false;
}

/* Find the LUN of one object and append its op. */
static bool plan_snapshot(VvTransaction *tx, const char *object, const VvSnapshotOptions *options, const VvShareWanted *share,
    GHashTable *seen, GArray *lun_ids, GError **error)
{
    g_autofree char *lun_name = NULL, *name = NULL;
    const VvLun *lun;

    if (!vv_name_split(object, false, &lun_name, &name, error))
        return false;
    lun = vv_find_lun(tx->pool, lun_name, error);
    if (!lun || !vv_refuse_existing_snapshot(tx->pool, lun, name, error))
        return false;
    if (!g_hash_table_add(seen, g_strdup(object))) {
        vv_set_error(error, VV_ERROR_USAGE, object, NULL, "%s is named twice", object);
        return false;
    }
    g_array_append_val(lun_ids, lun->id);
    return vv_share_inherit(tx, lun->id, vv_add_snapshot(tx, lun->id, name, options), true, share, error);
}

static bool snapshot_create_once(VvPool *pool, const char *const *objects, const VvSnapshotOptions *options,
    VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_auto(VvFreeze) freeze = VV_FREEZE_INIT;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GArray) lun_ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autofree VvShareWanted *share = NULL;
    unsigned count = g_strv_length((char **) objects);

    if (count == 0 || count > VV_OBJECTS_PER_COMMAND) {
        vv_set_error(error, count ? VV_ERROR_LIMIT : VV_ERROR_USAGE, NULL, NULL, "name 1 to %u snapshots",
            VV_OBJECTS_PER_COMMAND);
        return false;
    }
    if (options && !check_note(options->note, objects[0], error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    if (options && options->share && !(share = vv_share_read_changes(pool, options->share, objects[0], error)))
        return false;
    {
        VV_META_READ(pool->meta);

        if (!count_snapshots(pool, count, objects[0], error))
            return false;
        for (unsigned i = 0; i < count; i++)
            if (!plan_snapshot(&tx, objects[i], options, share, seen, lun_ids, error))
                return false;
    }
    if (!vv_refuse_snapshot(pool, lun_ids, objects[0], error))
        return false;
    return vv_freeze_commit(&freeze, &tx, lun_ids, objects[0], error);
}

/* ---- refresh: a new image under the old name */

static bool snapshot_refresh_once(VvPool *pool, const char *object, VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_auto(VvFreeze) freeze = VV_FREEZE_INIT;
    g_autoptr(GArray) lun_ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autoptr(GArray) orphans = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t old_id;

    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);
        const VvLun *lun;
        const VvSnapshot *snapshot = vv_find_snapshot(pool, object, &lun, error);

        if (!snapshot || !vv_refuse_kept(lun, snapshot, tx.now_ns, error))
            return false;
        old_id = snapshot->id;
        g_array_append_val(lun_ids, lun->id);
    }
    if (!vv_refuse_snapshot(pool, lun_ids, object, error))
        return false;
    vv_add_snapshot_removal(&tx, old_id, orphans);
    {
        VV_META_READ(pool->meta);
        const VvSnapshot *snapshot = vv_meta_snapshot(pool->meta, old_id);
        VvSnapshotOptions options = {
            .kind = snapshot->kind, .keep_until_ns = snapshot->keep_until_ns, .note = snapshot->note
        };

        if (!vv_share_inherit(&tx, old_id, vv_add_snapshot(&tx, snapshot->lun, snapshot->name, &options), true, NULL, error))
            return false;
    }
    if (!vv_freeze_commit(&freeze, &tx, lun_ids, object, error))
        return false;
    vv_pool_purge_unopened(pool, orphans);
    vv_transaction_clear(&tx);
    if (pool->hooks.object_removed)
        pool->hooks.object_removed(pool->hooks_user, old_id);
    return true;
}

/* ---- rename and set */

static bool snapshot_rename_once(VvPool *pool, const char *object, const char *new_name, VvRequest *request,
    GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    uint64_t id;
    VvOp *op;

    if (!vv_name_check(new_name, "snapshot", error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);
        const VvLun *lun;
        const VvSnapshot *snapshot = vv_find_snapshot(pool, object, &lun, error);

        if (!snapshot || !vv_refuse_existing_snapshot(pool, lun, new_name, error))
            return false;
        id = snapshot->id;
    }
    op = vv_transaction_add(&tx, VV_OP_SNAPSHOT_RENAME);
    op->snapshot_rename.id = id;
    op->snapshot_rename.name = g_strdup(new_name);
    if (!vv_transaction_commit(&tx, NULL, 0, object, error))
        return false;
    vv_transaction_clear(&tx);
    if (pool->hooks.object_changed)
        pool->hooks.object_changed(pool->hooks_user, id);
    return true;
}

/* With the read lock held. */
static bool plan_set(VvTransaction *tx, const char *object, const uint64_t *keep_until_ns, const char *note,
    GHashTable *seen, GError **error)
{
    const VvSnapshot *snapshot = vv_find_snapshot(tx->pool, object, NULL, error);
    VvOp *op;

    if (!snapshot)
        return false;
    if (!g_hash_table_add(seen, (gpointer) object))
        return true;
    op = vv_transaction_add(tx, VV_OP_SNAPSHOT_SET);
    op->snapshot_set.id = snapshot->id;
    op->snapshot_set.keep_until_ns = keep_until_ns ? *keep_until_ns : snapshot->keep_until_ns;
    op->snapshot_set.note = g_strdup(note ? note : snapshot->note);
    return true;
}

static bool snapshot_set_once(VvPool *pool, const char *const *objects, const uint64_t *keep_until_ns, const char *note,
    VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    unsigned count = g_strv_length((char **) objects);

    if (count == 0 || count > VV_SETTINGS_PER_COMMAND) {
        vv_set_error(error, count ? VV_ERROR_LIMIT : VV_ERROR_USAGE, objects[0],
            count ? "do it in several commands" : NULL, "%u snapshots are given, 1 to %u can be set at once", count,
            VV_SETTINGS_PER_COMMAND);
        return false;
    }
    if (!check_note(note, objects[0], error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    {
        VV_META_READ(pool->meta);

        for (unsigned i = 0; i < count; i++)
            if (!plan_set(&tx, objects[i], keep_until_ns, note, seen, error))
                return false;
    }
    return vv_transaction_commit(&tx, NULL, 0, objects[0], error);
}

/* ---- differences */

/* Open one end of a diff, so that its point stays while it is walked. */
static VvHandle *open_point(VvPool *pool, uint64_t id, const char *object, VvPoint *ret_point, GError **error)
{
    static const VvOpen how = { .internal = true };
    VvHandle *handle = NULL;
    int result = vv_handle_open(pool, id, &how, &handle);

    if (result == 0 && vv_view_is_lun(vv_handle_view(handle)))
        result = vv_view_flush(vv_handle_view(handle));
    if (result < 0) {
        vv_set_error_errno(error, result, object, "%s", object);
        g_clear_pointer(&handle, vv_handle_close);
        return NULL;
    }
    VvView *view = vv_handle_view(handle);
    VV_LOCKED(&view->lock);
    *ret_point = (VvPoint){ .branch = view->branch, .epoch = view->epoch, .size_bytes = view->size_bytes };
    return handle;
}

static bool find_ends(
    VvPool *pool, const char *from, const char *to, uint64_t *ret_from, uint64_t *ret_to, GError **error)
{
    VV_META_READ(pool->meta);
    const VvLun *lun, *other = NULL;
    const VvSnapshot *first = vv_find_snapshot(pool, from, &lun, error);
    const VvSnapshot *second = NULL;

    if (!first)
        return false;
    if (to && strchr(to, '@')) {
        second = vv_find_snapshot(pool, to, &other, error);
        if (!second)
            return false;
    } else if (to) {
        other = vv_find_lun(pool, to, error);
        if (!other)
            return false;
    }
    if (other && other != lun) {
        vv_set_error(error, VV_ERROR_USAGE, to, NULL, "%s and %s are of different LUNs", from, to);
        return false;
    }
    *ret_from = first->id;
    *ret_to = second ? second->id : lun->id;
    return true;
}

bool vv_pool_snapshot_diff(VvPool *pool, const char *from, const char *to, VvDiffFunc range, void *user, GError **error)
{
    g_autoptr(VvHandle) first = NULL, second = NULL;
    VvPoint from_point = { 0 }, to_point = { 0 };
    uint64_t from_id, to_id;
    int result;

    if (!find_ends(pool, from, to, &from_id, &to_id, error))
        return false;
    if (pool->without_disks) { /* what a flush there brings into the map is not in this one yet */
        vv_set_error(error, VV_ERROR_NO_COORDINATOR, from, "do it on the node that has the disks",
            "%s: this cannot be done on a node that has none of the disks", from);
        return false;
    }
    first = open_point(pool, from_id, from, &from_point, error);
    if (!first)
        return false;
    second = open_point(pool, to_id, to ? to : from, &to_point, error);
    if (!second)
        return false;
    result = vv_map_diff(pool->meta, &from_point, &to_point, range, user);
    if (result < 0)
        vv_set_error_errno(error, result, from, "%s cannot be compared", from);
    return result == 0;
}

/* ---- until they are decided: another node may have changed something while they looked */

bool vv_pool_snapshot_create(VvPool *pool, const char *const *objects, const VvSnapshotOptions *options,
    VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, snapshot_create_once(pool, objects, options, request, &failure));
}

bool vv_pool_snapshot_refresh(VvPool *pool, const char *object, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, snapshot_refresh_once(pool, object, request, &failure));
}

bool vv_pool_snapshot_rename(VvPool *pool, const char *object, const char *new_name, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, snapshot_rename_once(pool, object, new_name, request, &failure));
}

bool vv_pool_snapshot_set(VvPool *pool, const char *const *objects, const uint64_t *keep_until_ns, const char *note,
    VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, snapshot_set_once(pool, objects, keep_until_ns, note, request, &failure));
}
