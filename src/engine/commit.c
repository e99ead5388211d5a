/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The committer: one thread that turns records into MAP ops, logs entries, syncs the journal once for whoever is ready,
 * applies, and answers (group commit).
 *
 *   request   ready                                     in the batch
 *   view      its sequence is at or below the view's    its view's records up to that sequence
 *             commit limit
 *   ops       always                                    records of its views up to their limits, then an entry of its own
 *
 * C1  Records are logged in their order, each once: logged_sequence says how far. What is logged stays pending until it is
 *     applied.
 * C2  Only records up to a sequence that somebody asked for are logged: that somebody has synced their data (I2).
 * C3  An entry that takes a LUN away retires its view before any later entry is built, so no entry names what is gone. What the
 *     view had pending stays reserved and known to a successor until that entry is durable: if it is not, the LUN is still there.
 * C4  A journal that is full (-ENOSPC) is given a checkpoint, after what was logged so far has been applied; then the rest is
 *     tried again. Any other failure fails the pool: nobody is told that something is durable any more.
 * C5  Nothing is applied to an overlay that is full while a checkpoint is writing the other generation: the committer waits for
 *     that. Records then stay pending, and writers wait when these are too many (io_write.c W2): memory is bounded from the store
 *     up. A checkpoint that fails lets one entry pass, so what it is that the pool needs (a removal) is not stopped; the
 *     journal's size is the bound then.
 * C6  An entry may hold what several requests asked for: each is answered by whether its own part was logged. */
#include "commit_private.h"
#include "error.h"
#include "waiter.h"
#include "slab.h"

#include <errno.h>

#define BATCH_ENTRIES_MAX 64u /* logged and not applied: a bound on memory, and on what one sync makes wait */

static void list_init(VvCommitList *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_push(VvCommitList *list, VvCommitRequest *request)
{
    request->next = NULL;
    *list->last = request;
    list->last = &request->next;
}

static VvCommitRequest *list_pop(VvCommitList *list)
{
    VvCommitRequest *request = list->first;
    if (request) {
        list->first = request->next;
        if (list->first == NULL)
            list->last = &list->first;
    }
    return request;
}

static void list_join(VvCommitList *to, VvCommitList *from)
{
    if (from->first) {
        *to->last = from->first;
        to->last = from->last;
    }
    list_init(from);
}

/* ---- batches: log, sync, apply */

static void retire(VvCommitter *committer, VvView *view)
{
    VvRetired retired;
    vv_view_retire(view, &retired);
    g_array_append_val(committer->retired, retired);
}

/* C3. @keep: the entry may not be durable. */
static void finish_retired(VvCommitter *committer, bool keep)
{
    for (unsigned i = 0; i < committer->retired->len; i++)
        vv_retired_finish(committer->pool, &g_array_index(committer->retired, VvRetired, i), keep);
    g_array_set_size(committer->retired, 0);
}

/* What an entry of somebody else's ops means for views (C3). It is in the journal. */
void vv_commit_note_ops(VvCommitter *committer, const VvOps *ops)
{
    VvPool *pool = committer->pool;
    for (unsigned i = 0; i < ops->len; i++) {
        const VvOp *op = vv_ops_get(ops, i);
        bool removes = (op->kind == VV_OP_LUN_REMOVE && !op->lun_remove.orphan) ||
                       (op->kind == VV_OP_PURGE && !op->purge.snapshot);
        bool sets_mtime = op->kind == VV_OP_LUN_SET && op->lun_set.mask & VV_LUN_MTIME;
        if (!removes && !sets_mtime)
            continue;
        uint64_t id = op->kind == VV_OP_LUN_REMOVE ? op->lun_remove.id : removes ? op->purge.id : op->lun_set.id;
        g_autoptr(VvView) view = vv_view_peek(pool, id);
        if (view == NULL)
            continue;
        if (removes) {
            retire(committer, view);
        } else {
            VV_LOCKED(&view->lock);
            view->mtime_ns = op->lun_set.mtime_ns;
            view->mtime_dirty = false;
        }
    }
}

void vv_commit_fail_pool(VvPool *pool)
{
    const char *why = vv_meta_failure(pool->meta);
    if (why)
        vv_pool_fail(pool, "%s", why);
    else if (pool->committer->cluster) /* the journal is the driver's, and it has told more */
        vv_pool_fail(pool, "the log of the cluster takes nothing any more");
    else
        vv_pool_fail(pool, "the journal in %s/journal cannot be written: %s", pool->directory,
            g_strerror(-vv_meta_journal_error(pool->meta)));
}

/* Make what is logged durable, apply it, forget it in pending. */
int vv_commit_settle(VvCommitter *committer)
{
    VvPool *pool = committer->pool;
    VvBatchBuilder *builder = &committer->builder;
    int rc = 0;
    if (builder->entries->len == 0) { /* what was logged is settled */
        finish_retired(committer, false);
        return 0;
    }
    vv_may_die(VV_DIE_LOGGED);
    if (committer->cluster) {
        rc = vv_commit_decide(committer);
        finish_retired(committer, rc < 0);
        return rc;
    }
    rc = vv_meta_sync(pool->meta);
    vv_may_die(VV_DIE_SYNCED);
    for (unsigned i = 0; i < builder->entries->len; i++) {
        VvBatchEntry *entry = &g_array_index(builder->entries, VvBatchEntry, i);
        if (rc == 0 && (vv_meta_overlay_is_full(pool->meta) || (vv_slab_is_low() && vv_meta_overlay_bytes(pool->meta) > 0))) /* C5 */
            vv_pool_checkpoint_wait(pool);
        if (rc == 0)
            rc = vv_meta_apply(pool->meta, entry->index, entry->ops);
        vv_may_die(VV_DIE_APPLIED);
        if (rc == 0)
            vv_batch_entry_applied(pool, entry);
        vv_may_die(VV_DIE_DROPPED);
    }
    vv_batch_clear(builder);
    finish_retired(committer, rc < 0);
    if (rc < 0) {
        vv_commit_fail_pool(pool);
        return -EIO;
    }
    if (vv_meta_checkpoint_due(pool->meta))
        vv_pool_checkpoint_kick(pool);
    return 0;
}

/* Log one entry; C4. Takes over @entry's contents, also on failure. */
static int log_entry(VvCommitter *committer, VvBatchEntry *entry, uint64_t seen)
{
    VvPool *pool = committer->pool;
    if (committer->cluster)
        return vv_commit_propose(committer, entry, seen);
    int rc = vv_meta_log(pool->meta, entry->ops, &entry->index);
    if (rc == -ENOSPC) {
        rc = vv_commit_settle(committer);
        if (rc == 0)
            rc = vv_pool_checkpoint_now(pool);
        if (rc == 0)
            rc = vv_meta_log(pool->meta, entry->ops, &entry->index);
    }
    if (rc < 0) {
        vv_batch_entry_clear(&committer->builder, entry);
        if (rc != -ENOSPC)
            vv_commit_fail_pool(pool);
        committer->log_error = rc == -ENOSPC ? rc : -EIO;
        return committer->log_error;
    }
    atomic_fetch_add_explicit(&pool->journal_entries, 1, memory_order_relaxed);
    vv_batch_entry_logged(entry);
    g_array_append_val(committer->builder.entries, *entry);
    bool full = committer->builder.entries->len >= BATCH_ENTRIES_MAX || vv_batch_is_full(&committer->builder);
    return full ? vv_commit_settle(committer) : 0;
}

/* ---- building */

static int close_entry(VvCommitter *committer)
{
    VvBatchEntry entry;
    if (!vv_batch_take_entry(&committer->builder, &entry))
        return 0;
    return log_entry(committer, &entry, VV_NOT_CONFIG);
}

/* Records of @view up to @sequence (and its limit), and its mtime, into entries. */
static int add_view(VvCommitter *committer, VvView *view, uint64_t sequence, bool with_mtime)
{
    int rc = 0;
    while (rc == 0 && vv_batch_add_view(&committer->builder, view, sequence, with_mtime))
        rc = close_entry(committer); /* it is full, and there is more */
    return rc;
}

static int add_ops(VvCommitter *committer, VvCommitRequest *request)
{
    int rc = 0;
    for (unsigned i = 0; i < request->view_count && rc == 0; i++)
        rc = add_view(committer, request->views[i], UINT64_MAX, true);
    if (rc == 0)
        rc = close_entry(committer);
    if (rc < 0)
        return rc;
    VvBatchEntry entry = { .ops = g_steal_pointer(&request->ops),
        .parts = g_array_new(FALSE, FALSE, sizeof(VvBatchPart)) };
    VvOps *ops = g_array_ref(entry.ops); /* a full batch may be settled, and the entry cleared, inside */
    rc = log_entry(committer, &entry, request->seen);
    if (rc == 0 && committer->cluster == NULL)
        vv_commit_note_ops(committer, ops);
    vv_ops_free(ops);
    return rc;
}

/* False: it must wait for its view's limit to be lifted. */
static bool is_ready(const VvCommitRequest *request)
{
    if (request->view == NULL)
        return true;
    VV_LOCKED(&request->view->lock);
    return request->view->gone || request->sequence <= request->view->commit_limit;
}

static int add_request(VvCommitter *committer, VvCommitRequest *request)
{
    if (atomic_load(&committer->pool->failed))
        return -EIO;
    if (request->convert) {
        int rc = close_entry(committer);
        if (rc == 0)
            rc = vv_commit_settle(committer);
        return rc == 0 ? vv_commit_convert(committer, request->convert, request->error) : rc;
    }
    if (request->view)
        return add_view(committer, request->view, request->sequence, request->sequence == 0);
    return add_ops(committer, request);
}

static void answer(VvCommitRequest *request)
{
    VvView *view = request->view;
    if (request->ops)
        vv_ops_free(request->ops);
    if (request->done)
        request->done(request->user, request->result);
    vv_slab_put(request);
    if (view)
        vv_view_unref(view);
}

/* C6. Ops have an entry of their own, and its result. */
static bool was_logged(const VvCommitRequest *request)
{
    if (request->view == NULL)
        return true;
    VV_LOCKED(&request->view->lock);
    return request->view->gone || request->sequence <= request->view->logged_sequence;
}

static void run_batch(VvCommitter *committer, VvCommitList *ready)
{
    VvCommitList done;
    list_init(&done);
    VvCommitRequest *request;
    committer->log_error = 0;
    while ((request = list_pop(ready))) {
        request->result = add_request(committer, request);
        list_push(&done, request);
    }
    if (!atomic_load(&committer->pool->failed))
        (void) close_entry(committer);
    (void) vv_commit_settle(committer);
    while ((request = list_pop(&done))) {
        if (request->result == 0 && atomic_load(&committer->pool->failed))
            request->result = -EIO;
        else if (request->result == 0 && committer->log_error < 0 && !was_logged(request))
            request->result = committer->log_error;
        answer(request);
    }
}

/* ---- the thread */

static void take_ready(VvCommitter *committer, VvCommitList *ready)
{
    VvCommitList all = committer->waiting;
    if (all.first == NULL)
        list_init(&all);
    list_init(&committer->waiting);
    VvCommitRequest *request;
    list_init(ready);
    while ((request = list_pop(&all)))
        list_push(is_ready(request) ? ready : &committer->waiting, request);
}

static void *committer_main(void *user)
{
    VvCommitter *committer = user;
    VvCommitList ready;
    pthread_setname_np(pthread_self(), "committer");
    pthread_mutex_lock(&committer->lock);
    for (;;) {
        while (committer->incoming.first == NULL && !committer->kicked && !committer->stopping)
            pthread_cond_wait(&committer->changed, &committer->lock);
        if (committer->incoming.first == NULL && !committer->kicked)
            break;
        list_join(&committer->waiting, &committer->incoming);
        committer->kicked = false;
        pthread_mutex_unlock(&committer->lock);
        if (committer->cluster)
            vv_commit_apply_handed(committer);
        take_ready(committer, &ready);
        if (ready.first)
            run_batch(committer, &ready);
        pthread_mutex_lock(&committer->lock);
    }
    pthread_mutex_unlock(&committer->lock);
    return NULL;
}

VvCommitter *vv_committer_new(VvPool *pool)
{
    VvCommitter *committer = g_new0(VvCommitter, 1);
    committer->pool = pool;
    committer->cluster = atomic_load(&pool->cluster);
    pthread_mutex_init(&committer->lock, NULL);
    pthread_cond_init(&committer->changed, NULL);
    list_init(&committer->incoming);
    list_init(&committer->waiting);
    vv_batch_init(&committer->builder);
    committer->retired = g_array_new(FALSE, FALSE, sizeof(VvRetired));
    int rc = pthread_create(&committer->thread, NULL, committer_main, committer);
    g_assert(rc == 0);
    return committer;
}

void vv_committer_free(VvCommitter *committer)
{
    if (committer == NULL)
        return;
    pthread_mutex_lock(&committer->lock);
    committer->stopping = true;
    pthread_cond_signal(&committer->changed);
    pthread_mutex_unlock(&committer->lock);
    pthread_join(committer->thread, NULL);
    VvCommitRequest *request;
    while (
        (request = list_pop(&committer->waiting))) { /* a limit that nobody lifted: the pool failed amid a snapshot */
        request->result = -ESHUTDOWN;
        answer(request);
    }
    vv_batch_free(&committer->builder);
    finish_retired(committer, true);
    g_array_unref(committer->retired);
    if (committer->body)
        g_byte_array_unref(committer->body);
    g_free(committer->handed.ops);
    g_free(committer->lost);
    pthread_cond_destroy(&committer->changed);
    pthread_mutex_destroy(&committer->lock);
    g_free(committer);
}

size_t vv_committer_lock(VvCommitter *committer)
{
    return vv_batch_lock(&committer->builder);
}

static void submit(VvCommitter *committer, VvCommitRequest *request)
{
    VV_LOCKED(&committer->lock);
    g_assert(!committer->stopping);
    list_push(&committer->incoming, request);
    pthread_cond_signal(&committer->changed);
}

void vv_commit_kick(VvCommitter *committer)
{
    VV_LOCKED(&committer->lock);
    committer->kicked = true;
    pthread_cond_signal(&committer->changed);
}

/* ---- asking */

void vv_commit_view(VvCommitter *committer, VvView *view, uint64_t sequence, VvCommitDone done, void *user)
{
    VvCommitRequest *request = vv_slab_get0(sizeof *request);
    g_atomic_int_inc(&view->refs);
    request->view = view;
    request->sequence = sequence;
    request->done = done;
    request->user = user;
    submit(committer, request);
}

void vv_commit_ops_async(VvCommitter *committer, VvOps *ops, VvCommitDone done, void *user)
{
    VvCommitRequest *request = vv_slab_get0(sizeof *request);
    request->ops = ops;
    request->seen = VV_NOT_CONFIG;
    request->done = done;
    request->user = user;
    submit(committer, request);
}

static int commit_ops(VvCommitter *committer, VvView *const *views, unsigned view_count, VvOps *ops, uint64_t seen)
{
    VvWaiter waiter = VV_WAITER_INIT;
    VvCommitRequest *request = vv_slab_get0(sizeof *request);
    request->ops = ops;
    request->seen = seen;
    request->views = views;
    request->view_count = view_count;
    request->done = vv_waiter_over_cb;
    request->user = &waiter;
    submit(committer, request);
    return vv_waiter_wait(&waiter);
}

int vv_commit_ops(VvCommitter *committer, VvView *const *views, unsigned view_count, VvOps *ops)
{
    return commit_ops(committer, views, view_count, ops, VV_NOT_CONFIG);
}

int vv_commit_config(VvCommitter *committer, VvView *const *views, unsigned view_count, VvOps *ops, uint64_t seen)
{
    return commit_ops(committer, views, view_count, ops, seen);
}

bool vv_pool_make_cluster(VvPool *pool, const VvClusterLog *log, GError **error)
{
    VvWaiter waiter = VV_WAITER_INIT;
    VvCommitRequest *request = vv_slab_get0(sizeof *request);
    int result;
    request->convert = log;
    request->error = error;
    request->done = vv_waiter_over_cb;
    request->user = &waiter;
    submit(pool->committer, request);
    result = vv_waiter_wait(&waiter);
    if (result < 0 && error && *error == NULL)
        vv_set_error_errno(error, result, pool->directory, "the pool in %s cannot become a cluster's", pool->directory);
    return result == 0;
}
