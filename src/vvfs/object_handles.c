/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What other nodes have open (S2, S4), and what may block.
 *
 * H1  Operations on an object of a node run one after the other, in the order in which they came: an OPEN after a CLOSE of the same object.
 * H2  A handle is closed in the engine when it is out of the table and no request goes through it any more. */
#include "object_server_private.h"

#include "base.h"
#include "error.h"

#include <errno.h>

/* ---- objects */
static VvoObject *object_get(VvoNode *node, uint64_t id)
{
    VvoObject *object = g_hash_table_lookup(node->objects, &id);

    if (!object) {
        object = g_new0(VvoObject, 1);
        object->node = node;
        object->id = id;
        g_queue_init(&object->handles);
        g_hash_table_insert(node->objects, &object->id, object);
    }
    return object;
}

void vvo_object_free(VvoObject *object)
{
    g_assert(object->users == 0 && !object->operating && !object->operations.first);
    g_free(object);
}

/* If nothing is left of it. */
static void look_at_object(VvoObject *object)
{
    if (object->handles.length > 0 || object->users > 0 || object->operating || object->operations.first)
        return;
    g_hash_table_remove(object->node->objects, &object->id);
    vvo_object_free(object);
}

/* Out of the table: nobody uses it from now on. The caller's. */
static VvoHandle *take_handle(VvoHandle *handle)
{
    VvoObject *object = handle->object;

    g_queue_unlink(&object->handles, &handle->link);
    g_hash_table_remove(object->node->handles, &handle->number);
    return handle;
}

void vvo_handle_free(VvoHandle *handle)
{
    g_free(handle->closer);
    g_free(handle);
}

/* ---- opening: the crew */
/* Lock held. 1: there is no such handle yet; 0: it is open so; or -errno. */
static int look_up(const VvoRequest *request, bool write)
{
    const VvoHandle *handle = g_hash_table_lookup(request->node->handles, &request->ask.handle);

    if (handle && vv_handle_is_revoked(handle->handle))
        return -EACCES;
    if (handle)
        return handle->object->id == request->ask.object && handle->write == write ? 0 : -EINVAL;
    if (request->node->gone)
        return -EACCES;
    return g_hash_table_size(request->node->handles) >= VV_SERVE_HANDLES_MAX ? -ENFILE : 1;
}

static void insert(VvoRequest *request, VvoObject *object, VvHandle *engines, bool write)
{
    VvoHandle *handle = g_new0(VvoHandle, 1);

    handle->number = request->ask.handle;
    handle->object = object;
    handle->handle = engines;
    handle->write = write;
    handle->closer = g_new0(VvoRequest, 1);
    handle->link.data = handle;
    if (write)
        g_queue_push_head_link(&object->handles, &handle->link);
    else
        g_queue_push_tail_link(&object->handles, &handle->link);
    g_hash_table_insert(request->node->handles, &handle->number, handle);
}

static int open_object(VvoRequest *request, VvoObject *object)
{
    VvObjectServer *server = request->server;
    const VvObjectAsk *ask = &request->ask;
    VvOpen how = { .write = (ask->flags & VV_OBJECT_WRITE) != 0,
        .again = (ask->flags & VV_OBJECT_AGAIN) != 0,
        .pid = (pid_t) ask->pid,
        .node = request->node->id };
    const VvoHandle *old;
    VvHandle *handle = NULL;
    int rc;

    vvo_lock(server);
    rc = look_up(request, how.write);
    old = rc == 0 ? g_hash_table_lookup(request->node->handles, &ask->handle) : NULL; /* only a later operation (H1) closes it */
    vvo_unlock(server);
    if (old)
        vvo_tell(request, vv_handle_view(old->handle));
    if (rc == 1)
        rc = vv_handle_open(server->pool, ask->object, &how, &handle);
    if (!handle)
        return rc;
    vvo_tell(request, vv_handle_view(handle));
    vvo_lock(server);
    rc = look_up(request, how.write);
    if (rc == 1)
        insert(request, object, g_steal_pointer(&handle), how.write);
    vvo_unlock(server);
    if (!handle)
        return 0;
    vv_handle_close(handle);
    return rc;
}

/* ---- the others: the crew */
static int change_size(VvoRequest *request, VvView *view)
{
    VvPool *pool = request->server->pool;
    const VvObjectAsk *ask = &request->ask;
    g_autoptr(GError) error = NULL;
    bool good = vvo_was_done(request);

    if (!good)
        good = ask->op == VV_OBJECT_TRUNCATE ? vv_pool_lun_truncate(pool, ask->object, ask->length_bytes, &error)
                                             : vv_pool_lun_extend(pool, ask->object, ask->length_bytes, &error);
    vvo_tell(request, view);
    return good ? 0 : -vv_error_to_errno(error);
}

static int seek(VvoRequest *request, VvView *view)
{
    uint64_t found = 0;
    int rc = vv_view_seek(view, request->ask.offset_bytes, (request->ask.flags & VV_OBJECT_DATA) != 0, &found);

    if (rc == 0)
        request->answer.value = found;
    vvo_tell(request, view);
    return rc;
}

static void pump(VvoObject *object);

static void operate_chore(void *data)
{
    VvoRequest *request = data;
    VvObjectServer *server = request->server;
    VvoObject *object = request->object;
    int rc = 0;

    switch (request->ask.op) {
    case VV_OBJECT_OPEN:
        rc = open_object(request, object);
        break;
    case VV_OBJECT_CLOSE:
        vvo_tell(request, vv_handle_view(request->closes->handle));
        vv_handle_close(request->closes->handle);
        break;
    case VV_OBJECT_SEEK:
        rc = seek(request, vv_handle_view(request->handle->handle));
        break;
    default:
        rc = change_size(request, vv_handle_view(request->handle->handle));
        break;
    }
    vvo_lock(server);
    object->operating = false;
    vvo_over_locked(request, rc);
    pump(object);
    vvo_unlock(server);
}

/* ---- one after the other; lock held */
/* Can it run? False: it is over, or waits. */
static bool prepare(VvoRequest *request, VvoObject *object)
{
    bool writes = request->ask.op == VV_OBJECT_TRUNCATE || request->ask.op == VV_OBJECT_EXTEND;
    VvoHandle *handle;

    if (request->ask.op == VV_OBJECT_OPEN)
        return true;
    if (request->ask.op != VV_OBJECT_CLOSE) {
        request->handle = vvo_use_locked(object, writes);
        if (request->handle)
            return true;
        vvo_over_locked(request, -ESTALE);
        return false;
    }
    if (!request->closes) {
        handle = g_hash_table_lookup(object->node->handles, &request->ask.handle);
        if (!handle || handle->object != object) {
            vvo_over_locked(request, 0);
            return false;
        }
        request->closes = take_handle(handle);
    }
    if (request->closes->users == 0)
        return true;
    request->closes->closing = request; /* H2 */
    object->operating = true;
    return false;
}

static void pump(VvoObject *object)
{
    VvoRequest *request;

    while (!object->operating && (request = vvo_list_pop(&object->operations)))
        if (prepare(request, object)) {
            object->operating = true;
            vv_crew_run(object->node->server->crew, operate_chore, request);
        }
    look_at_object(object);
}

void vvo_operate_locked(VvoRequest *request)
{
    VvoObject *object = object_get(request->node, request->ask.object);

    request->object = object;
    vvo_list_push(&object->operations, request);
    pump(object);
}

VvoHandle *vvo_use_locked(VvoObject *object, bool write)
{
    for (GList *link = object->handles.head; link; link = link->next) {
        VvoHandle *handle = link->data;

        if (vv_handle_is_revoked(handle->handle)) /* and not closed yet, while others were opened since */
            continue;
        if (write && !handle->write)
            break;
        handle->users++;
        object->users++;
        return handle;
    }
    return NULL;
}

void vvo_unuse_locked(VvoHandle *handle)
{
    VvoObject *object = handle->object;
    VvoRequest *closing;

    object->users--;
    closing = --handle->users == 0 ? g_steal_pointer(&handle->closing) : NULL;
    if (closing)
        vv_crew_run(object->node->server->crew, operate_chore, closing);
    else
        look_at_object(object);
}

void vvo_refuse_operations_locked(VvoNode *node)
{
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, node->objects);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvoObject *object = value;
        VvoList all = object->operations;
        VvoRequest *request;

        object->operations = (VvoList){ NULL, NULL };
        while ((request = vvo_list_pop(&all)))
            if (request->line)
                vvo_over_locked(request, -ESHUTDOWN);
            else
                vvo_list_push(&object->operations, request);
    }
}

/* ---- closes of our own */
void vvo_close_locked(VvoHandle *handle)
{
    VvoObject *object = handle->object;
    VvoNode *node = object->node;
    VvoRequest *request = g_steal_pointer(&handle->closer);

    *request = (VvoRequest){ .server = node->server,
        .node = node,
        .object = object,
        .ask = { .op = VV_OBJECT_CLOSE, .object = object->id, .handle = handle->number },
        .references = 1,
        .on_heap = true,
        .counted = true };
    request->closes = take_handle(handle);
    node->server->under_way++;
    node->closes++;
    vvo_list_push(&object->operations, request);
    pump(object);
}

void vvo_close_all_locked(VvoNode *node)
{
    g_autoptr(GList) handles = g_hash_table_get_values(node->handles);

    for (GList *i = handles; i; i = i->next)
        vvo_close_locked(i->data);
}

/* What the engine has revoked. */
static void close_revoked_locked(VvoNode *node)
{
    g_autoptr(GList) handles = g_hash_table_get_values(node->handles);

    for (GList *i = handles; i; i = i->next)
        if (vv_handle_is_revoked(((VvoHandle *) i->data)->handle))
            vvo_close_locked(i->data);
}

void vv_object_server_shares_changed(VvObjectServer *server)
{
    GHashTableIter iter;
    void *node;

    vvo_lock(server);
    g_hash_table_iter_init(&iter, server->nodes);
    while (server->state == VVO_OPEN && g_hash_table_iter_next(&iter, NULL, &node))
        close_revoked_locked(node);
    vvo_unlock(server);
}
