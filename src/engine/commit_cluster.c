/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The committer in a cluster: it proposes instead of logging, and applies what the log brings, its own entries and others'.
 *
 *   proposed   in the builder's entries, with a ticket          handed   the driver's next entry, one at a time (CL1)
 *   decided    the entry came back with the ticket, applied or refused; its records are gone from pending when it was applied
 *
 * While it waits for its own entries it applies whatever comes before them. */
#include "commit_private.h"
#include "elsewhere_view.h"
#include "journal_log.h"
#include "news.h"
#include "slab.h"

#include <errno.h>

#define BATCH_ENTRIES_MAX 64u /* proposed and not decided */

/* ---- what the driver calls */

void vv_pool_cluster_apply(VvPool *pool, const VvClusterEntry *entry)
{
    VvCommitter *committer = pool->committer;
    VV_LOCKED(&committer->lock);
    g_assert(committer->handed.index == 0 && entry->index > 0); /* CL1 */
    committer->handed = *entry;
    committer->kicked = true;
    pthread_cond_signal(&committer->changed);
}

void vv_pool_cluster_lost(VvPool *pool, const char *why)
{
    VvCommitter *committer = pool->committer;
    VV_LOCKED(&committer->lock);
    if (committer->lost == NULL)
        committer->lost = g_strdup(why);
    committer->kicked = true;
    pthread_cond_signal(&committer->changed);
}

bool vv_pool_cluster_may_apply(VvPool *pool)
{
    if (!vv_meta_overlay_is_full(pool->meta) && !(vv_slab_is_low() && vv_meta_overlay_bytes(pool->meta) > 0))
        return true;
    vv_pool_checkpoint_kick(pool);
    return false;
}

int vv_pool_cluster_checkpoint(VvPool *pool, uint64_t *ret_index)
{
    g_auto(VvBase) base = { .index = 0 };
    int rc = vv_pool_checkpoint_now(pool);
    if (rc == 0 && vv_meta_base(pool->meta, &base))
        *ret_index = base.index;
    return rc;
}

void vv_pool_is_ending(VvPool *pool)
{
    const VvClusterLog *log = atomic_load(&pool->cluster);
    if (log)
        log->closing(log->user);
}

bool vv_pool_is_without_disks(const VvPool *pool)
{
    return pool->without_disks;
}

/* ---- applying */

/* The LUN whose view shows what the op sets; 0: none. */
static uint64_t lun_of_op(const VvOp *op)
{
    switch (op->kind) {
    case VV_OP_LUN_SET:
        return op->lun_set.id;
    case VV_OP_LUN_SIZE:
        return op->lun_size.id;
    case VV_OP_RESTORE:
        return op->restore.lun;
    case VV_OP_ADOPT:
        return op->adopt.lun;
    default:
        return 0;
    }
}

/* What views show of a LUN that another node has changed. Of one that is elastic the size is newer in the answers to what was written to it. */
static void reload_views(VvPool *pool, const VvOps *ops)
{
    for (unsigned i = 0; i < ops->len; i++) {
        const VvOp *op = vv_ops_get(ops, i);
        uint64_t lun = lun_of_op(op);
        g_autoptr(VvView) view = lun ? vv_view_peek(pool, lun) : NULL;
        if (view == NULL)
            continue;
        VvViewStat now;
        vv_view_stat(view, &now);
        if (op->kind != VV_OP_LUN_SIZE || !now.elastic)
            vv_view_reload(view);
    }
}

static VvBatchEntry *find_proposed(VvCommitter *committer, uint64_t ticket)
{
    GArray *entries = committer->builder.entries;
    for (unsigned i = 0; ticket != 0 && i < entries->len; i++)
        if (g_array_index(entries, VvBatchEntry, i).index == ticket)
            return &g_array_index(entries, VvBatchEntry, i);
    return NULL;
}

static int apply_ops(VvCommitter *committer, const VvClusterEntry *handed, const VvBatchEntry *own, const VvOps *ops)
{
    VvPool *pool = committer->pool;
    if (ops && !(own && own->built))
        vv_commit_note_ops(committer, ops);
    int rc = pool->options.guest
                 ? vv_meta_apply_described(pool->meta, handed->index, ops, handed->described, handed->described_count)
                 : vv_meta_apply_entry(pool->meta, handed->index, ops, handed->config);
    vv_may_die(VV_DIE_APPLIED);
    if (rc == 0 && ops && pool->elsewhere)
        vv_views_follow(pool, handed->index, ops);
    else if (rc == 0 && own)
        vv_batch_entry_applied(pool, own);
    else if (rc == 0 && ops)
        reload_views(pool, ops);
    for (unsigned i = 0; rc == 0 && i < handed->described_count; i++)
        if (handed->described[i].content)
            vv_news_note_content(pool->news, handed->described[i].id);
    if (rc == 0)
        vv_news_add(pool->news, handed->index, own ? NULL : ops);
    vv_may_die(VV_DIE_DROPPED);
    return rc;
}

static int apply_entry(VvCommitter *committer, const VvClusterEntry *handed)
{
    VvBatchEntry *own = find_proposed(committer, handed->ticket);
    VvOps *decoded = NULL;
    const VvOps *ops = handed->given;
    int rc = 0;
    if (atomic_load(&committer->pool->failed))
        return -EIO;
    if (own)
        committer->refused = handed->refused;
    if (handed->ops && !handed->refused) {
        ops = own ? own->ops : NULL;
        if (!own && (rc = vv_ops_decode(handed->ops, handed->ops_bytes, &decoded)) == 0)
            ops = decoded;
    }
    if (rc == 0)
        rc = apply_ops(committer, handed, handed->refused ? NULL : own, ops);
    if (decoded)
        vv_ops_free(decoded);
    if (own)
        own->index = 0;
    return rc;
}

static void take_entry(VvCommitter *committer, VvClusterEntry *handed)
{
    VvPool *pool = committer->pool;
    uint64_t index = handed->index;
    vv_may_die(VV_DIE_COMMITTED);
    int rc = apply_entry(committer, handed);
    g_free(handed->ops);
    if (rc < 0 && !atomic_load(&pool->failed)) {
        if (rc == -EOPNOTSUPP)
            vv_pool_fail(pool, "entry %" G_GUINT64_FORMAT " of the cluster's log is of a newer vvfs", index);
        else
            vv_pool_fail(pool, "entry %" G_GUINT64_FORMAT " of the cluster's log cannot be applied: %s", index, g_strerror(-rc));
    }
    if (rc == 0 && !pool->options.guest && vv_meta_checkpoint_due(pool->meta))
        vv_pool_checkpoint_kick(pool);
    committer->cluster->applied(committer->cluster->user, index, rc);
}

/* The next entry; with @wait until there is one. False: there is none, or all is lost. */
static bool take_handed(VvCommitter *committer, bool wait, VvClusterEntry *ret_handed)
{
    g_autofree char *lost = NULL;
    {
        VV_LOCKED(&committer->lock);
        while (wait && committer->handed.index == 0 && committer->lost == NULL)
            pthread_cond_wait(&committer->changed, &committer->lock);
        *ret_handed = committer->handed;
        committer->handed = (VvClusterEntry){ .index = 0 };
        if (ret_handed->index == 0)
            lost = g_strdup(committer->lost);
    }
    if (lost)
        vv_pool_fail(committer->pool, "%s", lost);
    return ret_handed->index != 0;
}

void vv_commit_apply_handed(VvCommitter *committer)
{
    VvClusterEntry handed;
    if (take_handed(committer, false, &handed))
        take_entry(committer, &handed);
}

/* ---- proposing */

static bool is_decided(const VvCommitter *committer)
{
    for (unsigned i = 0; i < committer->builder.entries->len; i++)
        if (g_array_index(committer->builder.entries, VvBatchEntry, i).index != 0)
            return false;
    return true;
}

int vv_commit_decide(VvCommitter *committer)
{
    VvClusterEntry handed;
    while (!is_decided(committer) && !atomic_load(&committer->pool->failed) && take_handed(committer, true, &handed))
        take_entry(committer, &handed);
    bool lost = !is_decided(committer) || atomic_load(&committer->pool->failed);
    vv_batch_clear(&committer->builder);
    return lost ? -EIO : 0;
}

static int propose(VvCommitter *committer, VvBatchEntry *entry, uint64_t seen)
{
    VvPool *pool = committer->pool;
    if (committer->body == NULL)
        committer->body = g_byte_array_new();
    g_byte_array_set_size(committer->body, 0);
    vv_ops_encode(entry->ops, committer->body);
    int rc = committer->cluster->propose(
        committer->cluster->user, seen, committer->body->data, committer->body->len, &entry->index);
    if (rc < 0) {
        vv_batch_entry_clear(&committer->builder, entry);
        vv_commit_fail_pool(pool);
        committer->log_error = -EIO;
        return -EIO;
    }
    atomic_fetch_add_explicit(&pool->journal_entries, 1, memory_order_relaxed);
    vv_batch_entry_logged(entry);
    g_array_append_val(committer->builder.entries, *entry);
    return 0;
}

int vv_commit_propose(VvCommitter *committer, VvBatchEntry *entry, uint64_t seen)
{
    bool config = seen != VV_NOT_CONFIG;
    int rc = config ? vv_commit_settle(committer) : 0; /* CL2 */
    if (rc < 0) {
        vv_batch_entry_clear(&committer->builder, entry);
        return rc;
    }
    rc = propose(committer, entry, seen);
    if (rc < 0)
        return rc;
    bool full = committer->builder.entries->len >= BATCH_ENTRIES_MAX || vv_batch_is_full(&committer->builder);
    if (!config)
        return full ? vv_commit_settle(committer) : 0;
    committer->refused = false;
    rc = vv_commit_settle(committer);
    return rc == 0 && committer->refused ? -ESTALE : rc;
}

/* ---- from one node to a cluster */

/* A base has an index of 2 or more: entries that do nothing. */
static int raise_index(VvPool *pool)
{
    int rc = 0;
    while (rc == 0 && vv_meta_applied_index(pool->meta) < 2) {
        VvOps *ops = vv_ops_new();
        uint64_t index;
        vv_ops_add(ops, VV_OP_NOOP);
        rc = vv_meta_log(pool->meta, ops, &index);
        if (rc == 0)
            rc = vv_meta_sync(pool->meta);
        if (rc == 0)
            rc = vv_meta_apply(pool->meta, index, ops);
        vv_ops_free(ops);
    }
    return rc;
}

int vv_commit_convert(VvCommitter *committer, const VvClusterLog *log, GError **error)
{
    VvPool *pool = committer->pool;
    g_assert(committer->cluster == NULL && committer->builder.entries->len == 0);
    int rc = raise_index(pool);
    if (rc == 0)
        rc = vv_pool_checkpoint_now(pool); /* what can fail for want of room does it before the switch */
    if (rc < 0)
        return rc;
    if (!log->prepare(log->user, pool, vv_meta_applied_index(pool->meta), error))
        return -EIO;
    vv_meta_set_base_source(pool->meta, &log->base);
    rc = vv_pool_checkpoint_now(pool);
    if (rc < 0) { /* whether the switch is on the medium is not known */
        vv_pool_fail(pool, "the record of a cluster's map cannot be written: %s", g_strerror(-rc));
        return rc;
    }
    vv_journal_make_log(vv_meta_journal(pool->meta));
    vv_news_add(pool->news, vv_meta_applied_index(pool->meta), NULL);
    committer->cluster = log;
    atomic_store(&pool->cluster, log);
    if (!log->attach(log->user, pool, error)) {
        vv_pool_fail(pool, "the log of the cluster cannot be started");
        return -EIO;
    }
    return 0;
}
