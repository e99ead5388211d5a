/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views of a pool whose data is on disks of another node: they have no pending, gates or records (E1), and what they show of an object
 * comes from the catalog and from answers.
 *
 *     told by                     size                                                 mtime, used
 *     the catalog, at first       as it says                                           as it says
 *     an entry of size, restore   as it says, if it is newer than the newest answer    the same
 *     any other entry             the catalog's, or an elastic LUN's if that is more   the same
 *     an answer                   more: always; less: only if the server's map had     the newest
 *                                 an entry more than at the newest answer
 *
 * An elastic LUN grows without entries and shrinks with one. The server looks at size and index at once (vv_view_stat_at), so what is
 * smaller with no new entry is only late. */
#include "elsewhere_view.h"

#include "io_state.h"
#include "transaction.h"

#include <errno.h>

#define STAT_TRIES 8u /* entries that come while it is looked at: then the next answer tells it */

/* ---- what is known of an object */

static uint64_t index_here(const VvView *view)
{
    return vv_meta_pool(view->pool->meta)->applied_index;
}

void vv_view_load_locked(VvView *view, const VvLun *lun)
{
    bool newer = index_here(view) >= view->learnt;
    if (view->learnt == 0 || view->resized > view->learnt)
        view->size_bytes = lun->size_bytes;
    else if (lun->elastic)
        view->size_bytes = MAX(view->size_bytes, lun->size_bytes);
    else if (newer)
        view->size_bytes = lun->size_bytes;
    if (newer)
        view->mtime_ns = lun->mtime_ns;
}

void vv_view_learn(VvView *view, const VvViewStat *stat, uint64_t applied)
{
    VV_LOCKED(&view->lock);
    if (applied < view->resized)
        return;
    bool newer = applied > view->learnt;
    if (stat->size_bytes > view->size_bytes || newer)
        view->size_bytes = stat->size_bytes;
    if (stat->mtime_ns > view->mtime_ns || newer)
        view->mtime_ns = stat->mtime_ns;
    if (applied < view->learnt)
        return;
    view->elastic = stat->elastic;
    view->learnt_used_bytes = stat->used_bytes;
    view->learnt = applied;
}

uint64_t vv_view_stat_at(VvView *view, VvViewStat *ret_stat)
{
    VvMeta *meta = view->pool->meta;
    uint64_t index = vv_meta_applied_index(meta), before;
    unsigned tries = 0;
    do { /* else what was seen before some growth could go with a larger index than what was seen after it */
        before = index;
        vv_view_stat(view, ret_stat);
        index = vv_meta_applied_index(meta);
    } while (index != before && ++tries < STAT_TRIES);
    return before;
}

unsigned vv_view_timeout_s(VvView *view)
{
    VV_LOCKED(&view->lock);
    return MAX(view->timeout_s, 1);
}

uint64_t vv_view_applied(VvView *view)
{
    return vv_meta_applied_index(view->pool->meta);
}

/* The LUN whose size, content or attributes the op changes; 0: none. */
static uint64_t changed_lun(const VvOp *op, bool *ret_resized)
{
    *ret_resized = op->kind == VV_OP_LUN_SIZE || op->kind == VV_OP_RESTORE || op->kind == VV_OP_ADOPT;
    switch (op->kind) {
    case VV_OP_LUN_SIZE:
        return op->lun_size.id;
    case VV_OP_RESTORE:
        return op->restore.lun;
    case VV_OP_ADOPT:
        return op->adopt.lun;
    case VV_OP_LUN_SET:
        return op->lun_set.id;
    case VV_OP_MAP:
        return op->map.lun;
    default:
        return 0;
    }
}

void vv_views_follow(VvPool *pool, uint64_t index, const VvOps *ops)
{
    for (unsigned i = 0; i < ops->len; i++) {
        bool resized;
        uint64_t id = changed_lun(vv_ops_get(ops, i), &resized);
        VvView *view = id ? vv_view_peek(pool, id) : NULL;
        if (view == NULL)
            continue;
        if (resized) {
            VV_LOCKED(&view->lock);
            view->resized = MAX(view->resized, index);
        }
        vv_view_reload(view);
        vv_view_unref(view);
    }
}

/* ---- requests */

/* 0, or why the view takes no such request at all. */
static int check_io(VvIo *io)
{
    const VvView *view = io->view;
    const VvPool *pool = view->pool;
    if (io->kind != VV_IO_FLUSH && (io->length_bytes > VV_IO_BYTES_MAX || io->offset > VV_LUN_BYTES_MAX))
        return io->kind == VV_IO_READ && io->length_bytes <= VV_IO_BYTES_MAX ? 0 : -EINVAL;
    if (atomic_load(&pool->closing) && io->kind != VV_IO_FLUSH)
        return -ESHUTDOWN;
    if (io->handle && vv_handle_is_revoked(io->handle)) /* the server ends what is under way, and says so */
        return -EIO;
    if (io->kind == VV_IO_READ || io->kind == VV_IO_FLUSH)
        return 1;
    return !view->is_lun || pool->read_only || atomic_load(&pool->failed) ? -EROFS : 1;
}

void vv_io_submit_elsewhere(VvWorker *worker, VvIo *io)
{
    const VvElsewhere *elsewhere = io->view->pool->elsewhere;
    bool empty = io->kind != VV_IO_FLUSH && io->length_bytes == 0;
    int rc = check_io(io);
    io->result = 0;
    if (rc <= 0 || empty)
        vv_io_end_elsewhere(io, MIN(rc, 0), vv_monotonic_ns());
    else
        elsewhere->submit(elsewhere->user, worker, io);
}

void vv_io_end_elsewhere(VvIo *io, int64_t result, uint64_t started_ns)
{
    uint64_t zeroed_bytes = result == 0 && io->kind == VV_IO_ZERO ? io->length_bytes : 0;
    {
        VV_LOCKED(&io->view->lock);
        vv_io_count_locked(io, started_ns, result > 0 ? (uint64_t) result : zeroed_bytes);
    }
    io->result = result;
    __atomic_store_n(&io->state, NULL, __ATOMIC_RELEASE);
    io->done(io);
}

/* ---- sizes */

/* The server lets nobody change what he has not open for writing; truncate(2) opens nothing. */
static int ask_size(VvPool *pool, uint64_t id, VvAskKind kind, uint64_t size_bytes)
{
    const VvElsewhere *elsewhere = pool->elsewhere;
    const VvOpen how = { .write = true, .internal = true };
    g_autoptr(VvHandle) handle = NULL;
    VvView *view = vv_view_peek(pool, id);
    uint64_t value;
    bool open = false;
    if (view) {
        VV_LOCKED(&view->lock);
        for (const GList *item = view->handles.head; item; item = item->next)
            open = open || ((const VvHandle *) item->data)->write;
    }
    int rc = open ? 0 : vv_handle_open(pool, id, &how, &handle);
    if (rc == 0)
        rc = elsewhere->ask(elsewhere->user, open ? view : handle->view, kind, size_bytes, &value);
    if (view)
        vv_view_unref(view);
    return rc;
}

bool vv_lun_size_elsewhere(VvPool *pool, uint64_t id, VvAskKind kind, uint64_t size_bytes, GError **error)
{
    g_autofree char *name = vv_object_name(pool, id);
    int rc = ask_size(pool, id, kind, size_bytes);
    if (rc == -ENOSPC)
        vv_set_error(error, VV_ERROR_NO_SPACE, name, "vvfs-admin lun resize", "a range past the end of LUN %s cannot be allocated", name);
    else if (rc == -EPERM || rc == -EACCES)
        vv_set_error(error, VV_ERROR_DENIED, name, "Use `vvfs-admin lun resize --shrink`, or conv=notrunc.",
            "%s is a finished LUN: truncating it to a smaller size is refused", name);
    else if (rc < 0)
        vv_set_error_errno(error, rc, name, "the size of %s cannot be changed", name);
    if (rc == 0 && pool->hooks.object_changed)
        pool->hooks.object_changed(pool->hooks_user, id);
    return rc == 0;
}
