/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What follows the last close: an orphan is purged, an elastic LUN gets a whole number of blocks and is elastic no more. Also at
 * the start, for what a crash left behind. */
#include "members.h"
#include "pool_private.h"
#include "transaction.h"

#include <errno.h>

#define PURGES_PER_ENTRY 1024u

typedef enum { NOTHING, ORPHAN_LUN, ORPHAN_SNAPSHOT, ELASTIC } Kind;

static Kind kind_of(VvPool *pool, uint64_t id)
{
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(pool->meta, id);

    if (lun)
        return lun->orphan ? ORPHAN_LUN : lun->elastic ? ELASTIC : NOTHING;
    return snapshot && snapshot->orphan ? ORPHAN_SNAPSHOT : NOTHING;
}

static void add_purge(VvOps *ops, uint64_t id, bool snapshot)
{
    VvOp *op = vv_ops_add(ops, VV_OP_PURGE);

    op->purge.snapshot = snapshot;
    op->purge.id = id;
    op->purge.time_ns = vv_now_ns();
}

void vv_pool_purge_unopened(VvPool *pool, const GArray *ids)
{
    VvOps *ops = vv_ops_new();

    for (unsigned i = 0; i < ids->len; i++) {
        uint64_t id = g_array_index(ids, uint64_t, i);
        Kind kind = kind_of(pool, id);

        if ((kind != ORPHAN_LUN && kind != ORPHAN_SNAPSHOT) || vv_pool_is_open(pool, id, false, true))
            continue;
        g_hash_table_remove(pool->threads->adoptions, &id);
        add_purge(ops, id, kind == ORPHAN_SNAPSHOT);
    }
    if (ops->len == 0)
        vv_ops_free(ops);
    else
        (void) vv_commit_ops(pool->committer, NULL, 0, ops); /* a failure fails the pool: the next start purges them */
}

static int end_elasticity(VvPool *pool, VvView *view)
{
    g_autoptr(GError) error = NULL;
    VvViewStat stat;
    VvOps *ops;
    VvOp *op;
    int result = vv_view_flush(view);

    if (result < 0)
        return result;
    if (!vv_adoption_end(view, &error)) {
        vv_log(VV_LOG_WARNING, "%s", error->message);
        return -vv_error_to_errno(error);
    }
    vv_view_stat(view, &stat);
    ops = vv_ops_new();
    if (stat.size_bytes % VV_BLOCK_BYTES != 0) {
        op = vv_ops_add(ops, VV_OP_LUN_SIZE);
        op->lun_size.id = view->id;
        op->lun_size.size_bytes = (stat.size_bytes + VV_BLOCK_BYTES - 1) & ~(uint64_t) (VV_BLOCK_BYTES - 1);
        op->lun_size.mtime_ns = stat.mtime_ns;
    }
    op = vv_ops_add(ops, VV_OP_LUN_SET);
    op->lun_set.id = view->id;
    op->lun_set.mask = VV_LUN_ELASTIC;
    op->lun_set.elastic = false;
    op->lun_set.ctime_ns = vv_now_ns();
    result = vv_commit_ops(pool->committer, &view, 1, ops);
    vv_view_reload(view);
    return result;
}

static void settle_elastic(VvPool *pool, uint64_t id)
{
    VvView *view;
    int result;

    if (vv_view_get(pool, id, &view) < 0)
        return;
    /* Claimed with its flush: who opens it again at once opens a finished LUN. */
    if (!vv_claim(pool, id, VV_CLAIM_ALL)) {
        g_autoptr(GError) error = NULL;

        if (!vv_adoption_end(view, &error)) /* somebody waits to write behind the end */
            vv_log(VV_LOG_WARNING, "%s", error->message);
    } else {
        result = end_elasticity(pool, view);
        vv_claim_end(pool, id, VV_CLAIM_ALL);
        if (result < 0)
            vv_log(VV_LOG_WARNING, "LUN %" G_GUINT64_FORMAT " cannot be finished: %s", id, g_strerror(-result));
    }
    vv_view_unref(view);
}

bool vv_pool_settle_object(VvPool *pool, uint64_t object_id, bool wait)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof object_id);
    Kind kind;

    if (pool->read_only || pool->options.guest || atomic_load(&pool->failed))
        return true;
    if (wait)
        vv_config_lock(pool);
    else if (!vv_config_try_lock(pool))
        return false;
    g_array_append_val(ids, object_id);
    kind = kind_of(pool, object_id);
    if (kind == ELASTIC)
        settle_elastic(pool, object_id);
    else
        vv_pool_purge_unopened(pool, ids);
    vv_config_unlock(pool);
    if (kind == ELASTIC && pool->hooks.object_changed)
        pool->hooks.object_changed(pool->hooks_user, object_id);
    return true;
}

/* Somebody has it open since before this process began. */
static bool is_open_still(VvPool *pool, uint64_t id)
{
    const GArray *ids = pool->options.open_ids;

    for (unsigned i = 0; ids && i < ids->len; i++)
        if (g_array_index(ids, uint64_t, i) == id)
            return true;
    return false;
}

static int purge_some(VvPool *pool, bool *ret_more)
{
    VvOps *ops = vv_ops_new();

    {
        VV_META_READ(pool->meta);
        GPtrArray *luns = vv_meta_orphan_luns(pool->meta), *snapshots = vv_meta_orphan_snapshots(pool->meta);

        for (unsigned i = 0; i < luns->len && ops->len < PURGES_PER_ENTRY; i++) {
            uint64_t id = ((const VvLun *) g_ptr_array_index(luns, i))->id;

            if (!is_open_still(pool, id))
                add_purge(ops, id, false);
        }
        for (unsigned i = 0; i < snapshots->len && ops->len < PURGES_PER_ENTRY; i++) {
            uint64_t id = ((const VvSnapshot *) g_ptr_array_index(snapshots, i))->id;

            if (!is_open_still(pool, id))
                add_purge(ops, id, true);
        }
    }
    *ret_more = ops->len == PURGES_PER_ENTRY;
    if (ops->len > 0)
        return vv_commit_ops(pool->committer, NULL, 0, ops);
    vv_ops_free(ops);
    return 0;
}

/* Are there nodes, or is there none but this? */
static bool has_others(VvPool *pool)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(pool->meta);
    unsigned count = 0;

    for (unsigned i = 0; i < nodes->len; i++)
        count += ((const VvNodeRecord *) g_ptr_array_index(nodes, i))->role != VV_ROLE_GONE;
    return count > 1;
}

static void add_elastic(VvPool *pool, GArray *ids)
{
    VV_META_READ(pool->meta);
    GPtrArray *luns = vv_meta_luns(pool->meta);

    for (unsigned i = 0; i < luns->len; i++) {
        const VvLun *lun = g_ptr_array_index(luns, i);

        if (lun->elastic)
            g_array_append_val(ids, lun->id);
    }
}

static void add_orphans(VvPool *pool, GArray *ids)
{
    VV_META_READ(pool->meta);
    GPtrArray *luns = vv_meta_orphan_luns(pool->meta), *snapshots = vv_meta_orphan_snapshots(pool->meta);

    for (unsigned i = 0; i < luns->len; i++)
        g_array_append_val(ids, ((const VvLun *) g_ptr_array_index(luns, i))->id);
    for (unsigned i = 0; i < snapshots->len; i++)
        g_array_append_val(ids, ((const VvSnapshot *) g_ptr_array_index(snapshots, i))->id);
}

void vv_pool_settle_unopened(VvPool *pool)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    add_elastic(pool, ids);
    add_orphans(pool, ids);
    for (unsigned i = 0; i < ids->len; i++)
        vv_pool_object_closed(pool, g_array_index(ids, uint64_t, i)); /* which looks whether it is open */
}

int vv_pool_settle_all(VvPool *pool)
{
    g_autoptr(GArray) elastic = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    bool more = true;

    if (pool->options.others_return && has_others(pool))
        return 0;
    while (more) {
        int result = purge_some(pool, &more);

        if (result < 0)
            return result;
    }
    if (pool->options.takes_over) /* whoever made them is there still, even if nothing is open just now */
        return 0;
    add_elastic(pool, elastic);
    for (unsigned i = 0; i < elastic->len; i++) {
        VvView *view;

        /* Whether the map goes on behind the end was known only to the process that died. */
        if (vv_view_get(pool, g_array_index(elastic, uint64_t, i), &view) == 0) {
            pthread_mutex_lock(&view->lock);
            view->tail_behind = true;
            pthread_mutex_unlock(&view->lock);
            (void) vv_pool_settle_object(pool, view->id, true);
            vv_view_unref(view);
        }
    }
    return 0;
}
