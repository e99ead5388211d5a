/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Handles: opens of LUNs and snapshots. Opening waits for no transaction but one that claimed this very object: claims.h. */
#include "elsewhere.h"
#include "io_state.h"
#include "sharing.h"

#include <errno.h>

/* 0 if the catalog lets it be opened so. */
static int check_catalog(VvPool *pool, uint64_t id, const VvOpen *open)
{
    bool write = open->write;
    int rc = -ENOENT;
    vv_meta_read_lock(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(pool->meta, id);
    if (lun && (!lun->orphan || open->again))
        rc = write && (pool->read_only || atomic_load(&pool->failed)) ? -EROFS : 0;
    else if (snapshot && (!snapshot->hidden || (open->again && snapshot->orphan)))
        rc = write ? -EROFS : 0;
    if (rc == 0 && !open->internal && vv_pool_share_any(pool)) {
        VvShareMode mode = vv_pool_share_mode_locked(pool, id, open->node);
        rc = mode == VV_SHARE_NONE || (write && mode != VV_SHARE_RW) ? -EACCES : 0;
    }
    vv_meta_read_unlock(pool->meta);
    return rc;
}

/* claims.lock held. */
static int open_locked(VvPool *pool, uint64_t object_id, const VvOpen *open, VvHandle **ret_handle)
{
    VvView *view;
    int rc = vv_claims_pass_locked(pool, object_id, open);
    if (rc == 0)
        rc = atomic_load(&pool->closing) ? -ESHUTDOWN : check_catalog(pool, object_id, open);
    if (rc == 0)
        rc = vv_view_get(pool, object_id, &view);
    if (rc < 0)
        return rc;
    VvHandle *handle = g_new0(VvHandle, 1);
    handle->view = view;
    handle->write = open->write;
    handle->internal = open->internal;
    handle->pid = open->pid;
    handle->node = open->node;
    handle->opened_ns = vv_now_ns();
    {
        VV_LOCKED(&view->lock);
        g_queue_push_tail(&view->handles, handle);
    }
    *ret_handle = handle;
    return 0;
}

static void forget(VvHandle *handle)
{
    VvView *view = handle->view;
    {
        VV_LOCKED(&view->lock);
        g_queue_remove(&view->handles, handle);
    }
    g_free(handle);
    vv_view_unref(view);
}

/* It is open here, then there: no transaction of this node finds it closed meanwhile. */
static int open_elsewhere(VvPool *pool, uint64_t object_id, const VvOpen *open, VvHandle **ret_handle)
{
    const VvElsewhere *elsewhere = pool->elsewhere;
    VvHandle *handle = NULL;
    int rc;
    {
        VV_LOCKED(&pool->claims.lock);
        rc = open_locked(pool, object_id, open, &handle);
    }
    if (rc < 0)
        return rc;
    rc = elsewhere->open(elsewhere->user, handle->view, open, &handle->elsewhere);
    if (rc < 0)
        forget(handle);
    else
        *ret_handle = handle;
    return rc;
}

int vv_handle_open(VvPool *pool, uint64_t object_id, const VvOpen *open, VvHandle **ret_handle)
{
    if (pool->elsewhere)
        return open_elsewhere(pool, object_id, open, ret_handle);
    VV_LOCKED(&pool->claims.lock);
    return open_locked(pool, object_id, open, ret_handle);
}

/* Is there something to do after its last close? */
static bool needs_settling(VvPool *pool, uint64_t id)
{
    vv_meta_read_lock(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(pool->meta, id);
    bool needs = (lun && (lun->orphan || lun->elastic)) || (snapshot && snapshot->orphan);
    vv_meta_read_unlock(pool->meta);
    return needs;
}

static void end_handle(VvHandle *handle, bool settle)
{
    VvView *view = handle->view;
    VvPool *pool = view->pool;
    uint64_t id = view->id;
    bool last;
    if (pool->elsewhere) { /* what follows a last close is done there */
        pool->elsewhere->close(pool->elsewhere->user, view, handle->elsewhere, !settle);
        forget(handle);
        return;
    }
    {
        VV_LOCKED(&view->lock);
        g_queue_remove(&view->handles, handle);
        last = view->handles.length == 0;
    }
    g_free(handle);
    vv_view_unref(view);
    if (last && settle && needs_settling(pool, id))
        vv_pool_object_closed(pool, id);
}

void vv_handle_close(VvHandle *handle)
{
    if (handle)
        end_handle(handle, true);
}

void vv_handle_leave(VvHandle *handle)
{
    end_handle(handle, false);
}

void vv_pool_closed_before(VvPool *pool, uint64_t object_id)
{
    if (!pool->elsewhere && needs_settling(pool, object_id))
        vv_pool_object_closed(pool, object_id);
}

VvView *vv_handle_view(const VvHandle *handle)
{
    return handle->view;
}

bool vv_handle_may_write(const VvHandle *handle)
{
    return handle->write;
}

bool vv_handle_is_revoked(const VvHandle *handle)
{
    return atomic_load_explicit(&handle->revoked, memory_order_relaxed);
}

uint64_t vv_handle_node(const VvHandle *handle)
{
    return handle->node;
}
