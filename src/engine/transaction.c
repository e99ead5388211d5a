/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration transactions: begin, commit, and what all of them look up and refuse.
 *
 * T1  Nothing is logged before everything is validated; a refusal changes nothing.
 * T2  One entry per transaction: it is applied whole or not at all.
 * T3  The result of a request id is in the entry that did it. */
#include "limits.h"
#include "pool_private.h"
#include "sharing.h"
#include "transaction.h"

#include <errno.h>

/* A claim that ends with the transaction. */
typedef struct {
    uint64_t id;
    VvClaim claim;
} Held;

/* ---- begin and commit */

void vv_refuse_guest(const char *name, GError **error)
{
    vv_set_error(error, VV_ERROR_DENIED, name, "do it on a member: vvfs-admin node list",
        "this node is a guest of pool %s: it changes nothing but what is in LUNs that are shared with it", name);
}

static bool refuse_unwritable(VvPool *pool, GError **error)
{
    const char *name;

    vv_meta_read_lock(pool->meta);
    name = vv_meta_pool(pool->meta)->name;
    vv_meta_read_unlock(pool->meta);
    if (atomic_load(&pool->closing)) {
        vv_set_error(error, VV_ERROR_NO_DAEMON, name, NULL, "pool %s is being closed", name);
        return false;
    }
    if (pool->read_only) {
        vv_set_error(error, VV_ERROR_DENIED, name, NULL, "pool %s is mounted read-only", name);
        return false;
    }
    if (pool->options.guest) {
        vv_refuse_guest(name, error);
        return false;
    }
    if (vv_pool_failure(pool)) {
        vv_set_error(error, VV_ERROR_IO, name, "vvfs-admin doctor", "pool %s has failed and takes no changes: %s", name,
            vv_pool_failure(pool));
        return false;
    }
    return true;
}

void vv_config_lock(VvPool *pool)
{
    pthread_mutex_lock(&pool->config_lock);
}

bool vv_config_try_lock(VvPool *pool)
{
    return pthread_mutex_trylock(&pool->config_lock) == 0;
}

void vv_config_unlock(VvPool *pool)
{
    pthread_mutex_unlock(&pool->config_lock);
    vv_jobs_config_unlocked(pool);
}

static void count_paused(VvTransaction *tx, bool paused)
{
    VV_LOCKED(&tx->pool->claims.lock);
    if (paused == tx->paused)
        return;
    tx->paused = paused;
    if (paused)
        tx->pool->claims.paused++;
    else
        tx->pool->claims.paused--;
    pthread_cond_broadcast(&tx->pool->claims.changed);
}

bool vv_transaction_resume(VvTransaction *tx, GError **error)
{
    VvPool *pool = tx->pool;
    VvRequest *request = tx->request;

    if (!tx->locked)
        vv_config_lock(pool);
    tx->locked = true;
    count_paused(tx, false);
    if (!tx->dry_run && !refuse_unwritable(pool, error)) /* it may have begun to close while this waited */
        return false;
    if (request && request->id && !tx->dry_run) {
        char *previous = vv_meta_request_result(pool->meta, request->id);

        if (previous) {
            request->ret_previous = previous;
            tx->repeated = true;
            return false;
        }
    }
    tx->now_ns = vv_now_ns();
    tx->seen = vv_meta_config_index(tx->pool->meta);
    return true;
}

void vv_transaction_pause(VvTransaction *tx)
{
    g_assert(tx->locked && tx->ops->len == 0);
    count_paused(tx, true);
    tx->locked = false;
    vv_config_unlock(tx->pool);
}

void vv_transactions_wait_paused(VvPool *pool)
{
    VV_LOCKED(&pool->claims.lock);
    while (pool->claims.paused > 0)
        pthread_cond_wait(&pool->claims.changed, &pool->claims.lock);
}

bool vv_transaction_begin(VvTransaction *tx, VvPool *pool, VvRequest *request, bool dry_run, GError **error)
{
    g_assert(!tx->pool);
    if (!dry_run && !refuse_unwritable(pool, error))
        return false;
    tx->pool = pool;
    tx->request = request;
    tx->dry_run = dry_run;
    tx->ops = vv_ops_new();
    return vv_transaction_resume(tx, error);
}

VvOp *vv_transaction_add(VvTransaction *tx, VvOpKind kind)
{
    return vv_ops_add(tx->ops, kind);
}

static void refuse_without_disks(const char *object, GError **error)
{
    vv_set_error(error, VV_ERROR_NO_COORDINATOR, object, "do it on the node that has the disks",
        "%s: this cannot be done on a node that has none of the disks", object);
}

/* On a node without disks: only what changes nothing that those who have LUNs open elsewhere would have to be asked about. */
static bool refuse_elsewhere(VvTransaction *tx, const char *object, GError **error)
{
    if (!tx->pool->without_disks)
        return true;
    for (unsigned i = 0; i < tx->ops->len; i++) {
        const VvOp *op = vv_ops_get(tx->ops, i);

        switch (op->kind) {
        case VV_OP_LUN_CREATE:
            if (!op->lun_create.elastic || tx->pool->elsewhere)
                continue;
            break;
        case VV_OP_LUN_SET:
            if (!(op->lun_set.mask & (VV_LUN_ELASTIC | (tx->pool->elsewhere ? 0 : VV_LUN_MTIME))))
                continue;
            break;
        case VV_OP_POOL_SET:
        case VV_OP_LUN_RENAME:
        case VV_OP_SNAPSHOT_SET:
        case VV_OP_SNAPSHOT_RENAME:
        case VV_OP_CLONE:
        case VV_OP_REQUEST:
        case VV_OP_MEMBER_SET:
        case VV_OP_NOOP:
            continue;
        default:
            break;
        }
        refuse_without_disks(object, error);
        return false;
    }
    return true;
}

#define OVERTAKEN_HINT "do it again"

bool vv_transaction_again(GError **failure, unsigned *tries)
{
    if (++*tries >= VV_TRANSACTION_TRIES || !g_error_matches(*failure, VV_ERROR, VV_ERROR_CONFLICT) ||
        g_strcmp0(vv_error_get_hint(*failure), OVERTAKEN_HINT) != 0)
        return false;
    g_clear_error(failure);
    return true;
}

static void set_commit_error(VvPool *pool, int result, const char *object, GError **error)
{
    const char *failure = vv_pool_failure(pool);

    if (result == -ESTALE)
        vv_set_error(error, VV_ERROR_CONFLICT, object, OVERTAKEN_HINT, "%s: other nodes changed the pool meanwhile", object);
    else if (result == -ENOSPC)
        vv_set_error(error, VV_ERROR_NO_SPACE, object, "Remove something, or give that file system more room.",
            "%s: the file system of %s is full", object, pool->directory);
    else if (failure)
        vv_set_error(error, result == -EUCLEAN ? VV_ERROR_DAMAGED : VV_ERROR_IO, object, "vvfs-admin doctor", "%s: %s",
            object, failure);
    else
        vv_set_error_errno(error, result, object, "%s: the change could not be journalled", object);
}

/* An entry is bounded; only large transactions come near it, so only those are measured. */
static bool fits_an_entry(VvTransaction *tx, const char *object, GError **error)
{
    g_autoptr(GByteArray) body = NULL;

    if (tx->ops->len < 64 && !(tx->request && tx->request->id))
        return true;
    body = g_byte_array_new();
    vv_ops_encode(tx->ops, body);
    if (body->len <= (atomic_load(&tx->pool->cluster) ? VV_ENTRY_BODY_BYTES_MAX - sizeof(uint64_t) : VV_ENTRY_BYTES_MAX))
        return true;
    vv_set_error(error, VV_ERROR_LIMIT, object, "do it in several commands",
        "%s: %u changes are too many for one transaction", object, tx->ops->len);
    return false;
}

bool vv_transaction_commit(
    VvTransaction *tx, VvView *const *views, unsigned view_count, const char *object, GError **error)
{
    VvOps *ops;
    int result;

    g_assert(!tx->dry_run);
    if (tx->request && tx->request->id) {
        VvOp *op = vv_transaction_add(tx, VV_OP_REQUEST);

        op->request.time_ns = tx->now_ns;
        op->request.id = g_strdup(tx->request->id);
        op->request.result = g_strdup(tx->request->result_json ? tx->request->result_json : "null");
    }
    if (tx->ops->len == 0)
        return true;
    if (!refuse_elsewhere(tx, object, error) || !fits_an_entry(tx, object, error))
        return false;
    ops = g_steal_pointer(&tx->ops);
    result = vv_commit_config(tx->pool->committer, views, view_count, ops, tx->seen);
    if (result < 0) {
        set_commit_error(tx->pool, result, object, error);
        return false;
    }
    return true;
}

void vv_transaction_clear(VvTransaction *tx)
{
    if (tx->ops)
        vv_ops_free(g_steal_pointer(&tx->ops));
    for (unsigned i = 0; tx->claims && i < tx->claims->len; i++) {
        const Held *held = &g_array_index(tx->claims, Held, i);

        vv_claim_end(tx->pool, held->id, held->claim);
    }
    g_clear_pointer(&tx->claims, g_array_unref);
    if (tx->locked)
        vv_config_unlock(tx->pool);
    tx->locked = false;
    tx->pool = NULL;
}

bool vv_transaction_claim(VvTransaction *tx, uint64_t object_id, VvClaim claim)
{
    Held held = { object_id, claim };

    if (!vv_claim(tx->pool, object_id, claim))
        return false;
    if (!tx->claims)
        tx->claims = g_array_new(FALSE, FALSE, sizeof(Held));
    g_array_append_val(tx->claims, held);
    return true;
}

/* ---- looking */

const VvLun *vv_find_lun(VvPool *pool, const char *name, GError **error)
{
    const VvLun *lun = vv_meta_lun_by_name(pool->meta, name);

    if (!lun)
        vv_set_error(error, VV_ERROR_NOT_FOUND, name, "vvfs-admin lun list", "no LUN %s in pool %s", name,
            vv_meta_pool(pool->meta)->name);
    return lun;
}

const VvSnapshot *vv_find_snapshot(VvPool *pool, const char *object, const VvLun **ret_lun, GError **error)
{
    g_autofree char *lun_name = NULL, *name = NULL;
    const VvLun *lun;
    const VvSnapshot *snapshot;

    if (!vv_name_split(object, false, &lun_name, &name, error))
        return NULL;
    lun = vv_find_lun(pool, lun_name, error);
    if (!lun)
        return NULL;
    snapshot = vv_meta_snapshot_by_name(pool->meta, lun, name);
    if (!snapshot) {
        g_autofree char *hint = g_strdup_printf("vvfs-admin snapshot list %s", lun_name);

        vv_set_error(error, VV_ERROR_NOT_FOUND, object, hint, "no snapshot %s in pool %s", object,
            vv_meta_pool(pool->meta)->name);
        return NULL;
    }
    if (ret_lun)
        *ret_lun = lun;
    return snapshot;
}

bool vv_refuse_existing_lun(VvPool *pool, const char *name, GError **error)
{
    const VvLun *lun = vv_meta_lun_by_name(pool->meta, name);
    g_autofree char *since = NULL;

    if (!lun)
        return true;
    since = vv_time_format_local(lun->created_ns);
    vv_set_error(error, VV_ERROR_EXISTS, name, NULL, "LUN %s exists in pool %s since %s", name,
        vv_meta_pool(pool->meta)->name, since);
    return false;
}

bool vv_refuse_existing_snapshot(VvPool *pool, const VvLun *lun, const char *name, GError **error)
{
    const VvSnapshot *snapshot = vv_meta_snapshot_by_name(pool->meta, lun, name);
    g_autofree char *since = NULL, *object = NULL;

    if (!snapshot)
        return true;
    since = vv_time_format_local(snapshot->created_ns);
    object = g_strdup_printf("%s@%s", lun->name, name);
    vv_set_error(error, VV_ERROR_EXISTS, object, NULL, "snapshot %s exists in pool %s since %s", object,
        vv_meta_pool(pool->meta)->name, since);
    return false;
}

bool vv_keep_holds(uint64_t keep_until_ns, uint64_t now_ns)
{
    return keep_until_ns == UINT64_MAX || keep_until_ns > now_ns;
}

bool vv_refuse_kept(const VvLun *lun, const VvSnapshot *snapshot, uint64_t now_ns, GError **error)
{
    uint64_t keep = snapshot ? snapshot->keep_until_ns : lun->props.keep_until_ns;
    g_autofree char *object = NULL, *until = NULL, *hint = NULL;

    if (!vv_keep_holds(keep, now_ns))
        return true;
    object = snapshot ? g_strdup_printf("%s@%s", lun->name, snapshot->name) : g_strdup(lun->name);
    hint = g_strdup_printf("vvfs-admin %s set %s keep=off", snapshot ? "snapshot" : "lun", object);
    if (keep == UINT64_MAX) {
        vv_set_error(error, VV_ERROR_KEEP, object, hint, "%s is kept (keep=on)", object);
        return false;
    }
    until = vv_time_format_local(keep);
    vv_set_error(error, VV_ERROR_KEEP, object, hint, "%s is kept until %s", object, until);
    return false;
}

char *vv_object_name(VvPool *pool, uint64_t id)
{
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(pool->meta, id);

    if (lun && *lun->name)
        return g_strdup(lun->name);
    if (snapshot && *snapshot->name) {
        lun = vv_meta_lun(pool->meta, snapshot->lun);
        if (lun)
            return g_strdup_printf("%s@%s", lun->name, snapshot->name);
    }
    return g_strdup_printf("object %" G_GUINT64_FORMAT, id);
}

/* ---- views and their gates */

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return x < y ? -1 : x > y;
}

static void unref_view(void *view)
{
    vv_view_unref(view);
}

GPtrArray *vv_views_get(VvPool *pool, const GArray *ids, GError **error)
{
    g_autoptr(GPtrArray) views = g_ptr_array_new_full(ids->len, unref_view);
    g_autofree uint64_t *sorted = g_new(uint64_t, ids->len ? ids->len : 1);

    if (pool->without_disks && ids->len > 0) { /* before anything is flushed, or kept waiting by a gate */
        g_autofree char *name = vv_object_name(pool, g_array_index(ids, uint64_t, 0));

        refuse_without_disks(name, error);
        return NULL;
    }
    for (unsigned i = 0; i < ids->len; i++)
        sorted[i] = g_array_index(ids, uint64_t, i);
    qsort(sorted, ids->len, sizeof *sorted, compare_ids);
    for (unsigned i = 0; i < ids->len; i++) {
        VvView *view = NULL;
        int result;

        if (i > 0 && sorted[i] == sorted[i - 1])
            continue;
        result = vv_view_get(pool, sorted[i], &view);
        if (result < 0) {
            g_autofree char *name = vv_object_name(pool, sorted[i]);

            vv_set_error_errno(error, result, name, "%s", name);
            return NULL;
        }
        g_ptr_array_add(views, view);
    }
    return g_steal_pointer(&views);
}

bool vv_views_flush(GPtrArray *views, GError **error)
{
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = g_ptr_array_index(views, i);
        int result = vv_view_flush(view);

        if (result < 0) {
            g_autofree char *name = vv_object_name(view->pool, view->id);

            vv_set_error_errno(error, result, name, "%s cannot be flushed", name);
            return false;
        }
    }
    return true;
}

bool vv_views_close_gates(GPtrArray *views, bool reads_too, GError **error)
{
    uint64_t deadline_ms = vv_monotonic_ms() + VV_QUIESCE_MS_MAX;

    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = g_ptr_array_index(views, i);
        uint64_t now_ms = vv_monotonic_ms();
        g_autofree char *name = NULL;

        if (vv_gate_close(view, reads_too, now_ms < deadline_ms ? (unsigned) (deadline_ms - now_ms) : 0))
            continue;
        for (unsigned k = 0; k <= i; k++)
            vv_gate_open(g_ptr_array_index(views, k), reads_too);
        name = vv_object_name(view->pool, view->id);
        vv_set_error(error, VV_ERROR_TIMEOUT, name, "vvfs-admin doctor",
            "requests on %s did not end within %u s: nothing was changed", name, VV_QUIESCE_MS_MAX / 1000);
        return false;
    }
    return true;
}

void vv_views_open_gates(GPtrArray *views, bool reads_too)
{
    for (unsigned i = 0; i < views->len; i++)
        vv_gate_open(g_ptr_array_index(views, i), reads_too);
}
