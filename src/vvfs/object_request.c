/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request of another node: begun -> (memory) -> the engine, or the crew -> over -> answered -> forgotten. */
#include "object_server_private.h"

#include "base.h"
#include "done.h"
#include "elsewhere.h"
#include "faultpoint.h"
#include "incarnation.h"
#include "intent.h"
#include "slab.h"

#include <errno.h>

/* ---- lists */
void vvo_list_push(VvoList *list, VvoRequest *request)
{
    request->next = NULL;
    *(list->last ? &list->last->next : &list->first) = request;
    list->last = request;
}

VvoRequest *vvo_list_pop(VvoList *list)
{
    VvoRequest *request = list->first;

    if (request) {
        list->first = request->next;
        if (!list->first)
            list->last = NULL;
    }
    return request;
}

/* ---- life */
VvoRequest *vvo_request_new(VvObjectServer *server, const VvIncoming *in)
{
    VvoRequest *request = vv_slab_get0(sizeof *request);

    request->server = server;
    request->references = 1;
    request->id = in->request;
    request->data = in->data;
    return request;
}

static void unref_locked(VvoRequest *request)
{
    if (--request->references > 0)
        return;
    vvo_memory_put_locked(request->node, request->data);
    if (request->on_heap)
        g_free(request);
    else
        vv_slab_put(request);
}

/* ---- to the engine */
static void ios_remove(VvoRequest *request)
{
    VvObjectServer *server = request->server;

    if (request->io_next)
        request->io_next->io_last = request->io_last;
    *(request->io_last ? &request->io_last->io_next : &server->ios) = request->io_next;
    request->in_ios = false;
}

/* What it has changed, of what was asked for: the beginning may have been changed before, and overwritten since. */
static uint64_t bytes_of(const VvoRequest *request, uint64_t result)
{
    uint64_t before = request->io.offset - request->ask.offset_bytes;

    return result < request->io.length_bytes || !request->io.intent ? before + result : request->ask.length_bytes;
}

static void io_over(VvoRequest *request, int64_t result)
{
    VvObjectServer *server = request->server;

    vvo_lock(server); /* nobody interrupts it meanwhile */
    ios_remove(request);
    if ((result == -EINTR && server->state != VVO_OPEN) || (result == -EIO && vv_pool_aborts_waiting(server->pool)))
        result = -ESHUTDOWN; /* by us: who serves next does it */
    if (result >= 0 && (request->ask.op == VV_OBJECT_READ || request->ask.op == VV_OBJECT_WRITE_DATA))
        request->answer.value = bytes_of(request, (uint64_t) result);
    vvo_over_locked(request, result < 0 ? (int) result : 0);
    if (result != -ESHUTDOWN) /* else it is asked of who serves next */
        vv_intent_end(server->pool, request->io.intent);
    vv_may_die(VV_DIE_OBJECT_DONE);
    vvo_unlock(server);
}

/* A worker's thread, or, of a flush, any. */
static void io_done_cb(VvIo *io)
{
    io_over(io->user, io->result);
}

/* A worker's thread: who was interrupted before he waited need not begin to. */
static void io_waits_cb(VvIo *io, bool waits)
{
    VvoRequest *request = io->user;

    vvo_lock(request->server);
    if (waits && request->interrupted)
        vv_io_interrupt(io);
    vvo_unlock(request->server);
}

static void interrupt_locked(VvoRequest *interrupt)
{
    for (VvoRequest *request = interrupt->server->ios; request; request = request->io_next)
        if (request->line == interrupt->line && request->ask.number == interrupt->ask.number && request->ask.origin == interrupt->ask.origin) {
            request->interrupted = true;
            vv_io_interrupt(&request->io);
        }
    vvo_over_locked(interrupt, 0);
}

/* Engine/intent.h. True: to the engine, with what is left of it. */
static bool begin_change(VvoRequest *request)
{
    VvIo *io = &request->io;
    const VvObjectAsk *ask = &request->ask;
    VvIntended intended = { .node = request->node->id,
        .origin = ask->origin,
        .number = ask->number,
        .object = ask->object,
        .offset = io->offset,
        .end = io->offset + io->length_bytes };

    if ((io->kind != VV_IO_WRITE && io->kind != VV_IO_ZERO) || ask->number == 0 || io->length_bytes == 0)
        return true;
    switch (vv_intent_begin(request->server->pool, &intended, &request->task, &io->intent)) {
    case VV_INTENT_WAITS:
        return false;
    case VV_INTENT_LOST:
        io_over(request, -EIO);
        return false;
    case VV_INTENT_NONE:
        io_over(request, io->kind == VV_IO_WRITE ? io->length_bytes : 0);
        return false;
    case VV_INTENT_GO:
    default:
        break;
    }
    if (io->data && intended.offset > io->offset)
        memmove(io->data, (uint8_t *) io->data + (intended.offset - io->offset), intended.end - intended.offset);
    io->offset = intended.offset;
    io->length_bytes = (uint32_t) (intended.end - intended.offset);
    return true;
}

/* A worker's thread. */
static void submit_cb(VvTask *task)
{
    VvoRequest *request = (VvoRequest *) ((char *) task - G_STRUCT_OFFSET(VvoRequest, task));

    vv_may_die(VV_DIE_OBJECT_TAKEN);
    if (begin_change(request))
        vv_io_submit(vv_worker_current(), &request->io);
}

void vvo_start_locked(VvoRequest *request)
{
    static const VvIoKind kinds[VV_OBJECT_OPS] = { [VV_OBJECT_READ] = VV_IO_READ,
        [VV_OBJECT_WRITE_DATA] = VV_IO_WRITE,
        [VV_OBJECT_FLUSH] = VV_IO_FLUSH,
        [VV_OBJECT_ZERO] = VV_IO_ZERO,
        [VV_OBJECT_ALLOCATE] = VV_IO_ALLOCATE };
    VvObjectServer *server = request->server;

    request->io = (VvIo){ .kind = kinds[request->ask.op],
        .view = vv_handle_view(request->handle->handle),
        .handle = request->handle->handle,
        .data = request->data,
        .length_bytes = (uint32_t) request->ask.length_bytes,
        .offset = request->ask.offset_bytes,
        .done = io_done_cb,
        .waits = io_waits_cb,
        .user = request };
    request->task.run = submit_cb;
    request->in_ios = true;
    request->io_last = NULL;
    request->io_next = server->ios;
    if (server->ios)
        server->ios->io_last = request;
    server->ios = request;
    vv_worker_post(server->workers[server->next_worker++ % server->worker_count], &request->task);
}

static bool is_io(VvObjectOp op)
{
    return op == VV_OBJECT_READ || op == VV_OBJECT_WRITE_DATA || op == VV_OBJECT_FLUSH || op == VV_OBJECT_ZERO || op == VV_OBJECT_ALLOCATE;
}

static void begin_io(VvoRequest *request)
{
    const VvObjectAsk *ask = &request->ask;
    VvoObject *object = g_hash_table_lookup(request->node->objects, &ask->object);
    bool reads = ask->op == VV_OBJECT_READ || ask->op == VV_OBJECT_FLUSH;

    if (ask->length_bytes > VV_IO_BYTES_MAX ||
        (ask->op == VV_OBJECT_READ && ask->length_bytes > vv_peer_data_max(request->line->peer))) {
        vvo_over_locked(request, -EINVAL);
        return;
    }
    request->handle = object ? vvo_use_locked(object, !reads) : NULL;
    if (!request->handle) {
        vvo_over_locked(request, -ESTALE);
        return;
    }
    request->object = object;
    if (vvo_was_done(request)) {
        vvo_over_locked(request, 0);
        return;
    }
    if (ask->op == VV_OBJECT_READ) {
        request->data = vvo_memory_get_locked(request->node, (uint32_t) ask->length_bytes);
        if (!request->data) {
            request->waiter = (VvoWaiter){ .request = request, .bytes = (uint32_t) ask->length_bytes };
            vvo_wait_locked(request->node, &request->waiter);
            return;
        }
    }
    vvo_start_locked(request);
}

void vvo_begin_locked(VvoRequest *request)
{
    request->counted = true;
    request->server->under_way++;
    request->line->under_way++;
    if (is_io(request->ask.op))
        begin_io(request);
    else if (request->ask.op == VV_OBJECT_INTERRUPT)
        interrupt_locked(request);
    else
        vvo_operate_locked(request);
}

/* ---- the end */
bool vvo_was_done(VvoRequest *request)
{
    VvDone done = { .node = request->node->id, .origin = request->ask.origin, .number = request->ask.number };

    request->again = done.number != 0 && vv_done_look(request->server->pool, &done);
    if (request->again)
        request->answer.value = done.value;
    return request->again;
}

/* Engine/done.h, X1. */
static void note(const VvoRequest *request)
{
    VvDone done = {
        .node = request->node->id, .origin = request->ask.origin, .number = request->ask.number, .value = request->answer.value
    };

    if (done.number != 0 && request->ask.op != VV_OBJECT_INTERRUPT && request->counted && !request->again && request->answer.result == 0)
        vv_done_note(request->server->pool, &done);
}

void vvo_over_locked(VvoRequest *request, int result)
{
    request->answer.result = result;
    note(request);
    vvo_list_push(&request->server->over, request);
}

void vvo_tell(VvoRequest *request, VvView *view)
{
    VvObjectAnswer *answer = &request->answer;
    VvPool *pool = request->server->pool;
    VvViewStat stat;

    answer->incarnation = vv_pool_incarnation(pool);
    if (!view) {
        answer->applied = vv_meta_applied_index(vv_pool_meta(pool));
        return;
    }
    answer->applied = vv_view_stat_at(view, &stat);
    answer->is_lun = vv_view_is_lun(view);
    answer->elastic = stat.elastic;
    answer->size_bytes = stat.size_bytes;
    answer->mtime_ns = stat.mtime_ns;
    answer->used_bytes = stat.used_bytes;
}

/* The data loop. */
static void data_done_cb(void *user)
{
    VvoRequest *request = user;
    VvObjectServer *server = request->server;

    vvo_lock(server);
    unref_locked(request);
    vvo_unlock(server);
}

/* Without the lock. */
static void answer(VvoRequest *request)
{
    uint8_t body[VV_OBJECT_ANSWER_BYTES];
    VvOutgoing out = { .kind = VV_OBJECT_REQUEST, .body = body, .body_bytes = sizeof body };

    if (!request->line)
        return;
    if (request->counted && request->answer.incarnation == 0)
        vvo_tell(request, request->handle ? vv_handle_view(request->handle->handle) : NULL);
    vv_object_answer_encode(&request->answer, body);
    if (request->ask.op == VV_OBJECT_READ && request->answer.value > 0) {
        out.data = request->data;
        out.data_bytes = (uint32_t) request->answer.value;
        out.data_done = data_done_cb;
        out.data_user = request;
        request->references++;
    }
    if (vv_peer_reply(request->line->peer, request->id, &out) < 0 && out.data_done)
        request->references--; /* it has gone, and gives nothing back */
}

static void forget_locked(VvoRequest *request)
{
    VvObjectServer *server = request->server;
    VvoNode *node = request->node;

    if (request->handle)
        vvo_unuse_locked(request->handle);
    if (request->closes)
        vvo_handle_free(request->closes);
    if (request->line) {
        request->line->under_way -= request->counted;
        request->line->references--;
    } else {
        node->closes--;
    }
    if (request->counted && --server->under_way == 0)
        pthread_cond_broadcast(&server->ended);
    unref_locked(request);
    vvo_advance_locked(node);
}

void vvo_lock(VvObjectServer *server)
{
    pthread_mutex_lock(&server->lock);
}

void vvo_unlock(VvObjectServer *server)
{
    VvoRequest *request;

    while ((request = vvo_list_pop(&server->over))) {
        pthread_mutex_unlock(&server->lock);
        answer(request);
        pthread_mutex_lock(&server->lock);
        forget_locked(request);
    }
    pthread_mutex_unlock(&server->lock);
}
