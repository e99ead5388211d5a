/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shipper's life, and what the engine calls: see shipper.h. */
#include "shipper_private.h"

#include "slab.h"

#include <errno.h>

/* ---- objects */
/* NULL: there is none, and none is made. */
static VvsObject *object_get(VvShipper *shipper, uint64_t id, bool make)
{
    VvsObject *object = g_hash_table_lookup(shipper->objects, &id);

    if (!object && make) {
        object = g_new0(VvsObject, 1);
        object->shipper = shipper;
        object->id = id;
        g_queue_init(&object->handles);
        g_hash_table_insert(shipper->objects, &object->id, object);
    }
    return object;
}

void vvs_object_unref(VvsObject *object)
{
    if (--object->references > 0)
        return;
    g_assert(!object->active && object->sent_count == 0 && object->telling == 0 && object->handles.length == 0);
    g_hash_table_remove(object->shipper->objects, &object->id);
    g_free(object);
}

/* ---- requests */
static bool changes_data(VvObjectOp op)
{
    return op == VV_OBJECT_WRITE_DATA || op == VV_OBJECT_ZERO || op == VV_OBJECT_ALLOCATE || op == VV_OBJECT_TRUNCATE || op == VV_OBJECT_EXTEND;
}

VvsRequest *vvs_request_new(VvsObject *object, VvView *view, const VvObjectAsk *ask)
{
    VvShipper *shipper = object->shipper;
    VvsRequest *request = vv_slab_get0(sizeof *request);

    request->shipper = shipper;
    request->object = object;
    request->view = view;
    request->ask = *ask;
    request->ask.object = object->id;
    request->number = ++shipper->last_number;
    if (changes_data(ask->op) && ask->number == 0) { /* Q6 */
        request->ask.origin = shipper->origin;
        request->ask.number = request->number & VV_OBJECT_NUMBER_MAX;
    }
    request->timeout_ms = UINT64_MAX;
    request->begun_ms = vv_monotonic_ms();
    object->references++;
    return request;
}

void vvs_finish(VvsRequest *request, int64_t result)
{
    VvsObject *object = request->object;

    g_assert(request->since_ms == 0);
    request->state = VVS_OVER;
    request->result = result;
    request->object = NULL;
    if (request->io) {
        if (!request->posted)
            vv_worker_post(request->worker, &request->task);
        request->posted = true;
    } else if (request->waiter) {
        pthread_cond_broadcast(&request->shipper->ended);
    } else {
        vv_slab_put(request);
    }
    vvs_object_unref(object);
}

/* Nothing is to be waited for any more, and there is nobody to ask. */
static bool is_hopeless(const VvShipper *shipper)
{
    return shipper->aborted && !shipper->peer;
}

/* The submitter's worker: @task's request waits, goes on, or is over. */
static void task_run(VvTask *task)
{
    VvsRequest *request = (VvsRequest *) ((char *) task - G_STRUCT_OFFSET(VvsRequest, task));
    VvIo *io = request->io;
    bool over, waits, tell;

    {
        VV_LOCKED(&request->shipper->lock);
        request->posted = false;
        over = request->state == VVS_OVER;
        waits = request->waits;
        tell = waits != request->told;
        request->told = waits;
    }
    if (!over) {
        if (tell && io->waits)
            io->waits(io, waits);
        return;
    }
    vv_worker_unhold(request->worker);
    vv_io_end_elsewhere(io, request->result, request->started_ns);
    vv_slab_put(request); /* who interrupts keeps done from returning */
}

/* ---- requests of the data path */
static void ask_of(const VvIo *io, VvObjectAsk *ret_ask)
{
    static const VvObjectOp ops[] = { [VV_IO_READ] = VV_OBJECT_READ,
        [VV_IO_WRITE] = VV_OBJECT_WRITE_DATA,
        [VV_IO_FLUSH] = VV_OBJECT_FLUSH,
        [VV_IO_ZERO] = VV_OBJECT_ZERO,
        [VV_IO_ALLOCATE] = VV_OBJECT_ALLOCATE };

    *ret_ask = (VvObjectAsk){ .op = ops[io->kind] };
    if (io->kind == VV_IO_FLUSH)
        return;
    ret_ask->offset_bytes = io->offset;
    ret_ask->length_bytes = io->length_bytes;
    if (io->kind == VV_IO_READ)
        return;
    ret_ask->origin = io->origin;
    ret_ask->number = io->number & VV_OBJECT_NUMBER_MAX;
}

static void submit_cb(void *user, VvWorker *worker, VvIo *io)
{
    VvShipper *shipper = user;
    uint64_t timeout_ms = 1000u * (uint64_t) vv_view_timeout_s(io->view);
    VvsRequest *request;
    VvObjectAsk ask;
    bool waits;

    ask_of(io, &ask);
    vv_worker_hold(worker);
    {
        VV_LOCKED(&shipper->lock);
        VvsObject *object = object_get(shipper, vv_view_id(io->view), true);

        request = vvs_request_new(object, io->view, &ask);
        request->io = io;
        request->worker = worker;
        request->task.run = task_run;
        request->started_ns = vv_monotonic_ns();
        request->timeout_ms = timeout_ms;
        request->covers = object->acknowledged;
        request->posted = request->told = true; /* until this returns nothing is told by the task */
        __atomic_store_n(&io->state, (struct VvIoState *) request, __ATOMIC_RELEASE);
        if (is_hopeless(shipper) || (object->handles.length > 0 && object->refused_handles == object->handles.length && object->telling == 0)) {
            vvs_finish(request, is_hopeless(shipper) ? -EIO : -ESTALE);
        } else {
            vvs_enqueue(request);
            vvs_pump(shipper);
        }
        waits = request->told = request->waits && request->state != VVS_OVER;
        request->posted = request->state == VVS_OVER;
        if (request->posted)
            vv_worker_post(worker, &request->task);
    }
    if (waits && io->waits)
        io->waits(io, true);
}

/* What waits at the server; only what changes something waits there for long. */
static void send_interrupt(const VvsRequest *request)
{
    VvObjectAsk ask = { .op = VV_OBJECT_INTERRUPT, .origin = request->ask.origin, .number = request->ask.number };
    VvsRequest *interrupt;

    if (ask.number == 0)
        return;
    interrupt = vvs_request_new(request->object, NULL, &ask);
    interrupt->number = 0; /* before all others: Q7 */
    vvs_enqueue(interrupt);
    vvs_pump(request->shipper);
}

static bool interrupt_cb(void *user, VvIo *io)
{
    VvShipper *shipper = user;
    VvsRequest *request;
    VV_LOCKED(&shipper->lock);

    request = (VvsRequest *) __atomic_load_n(&io->state, __ATOMIC_ACQUIRE);
    if (request && request->state == VVS_SENT && !request->interrupted) {
        request->interrupted = true;
        send_interrupt(request);
    }
    if (!request || (request->state != VVS_QUEUED && request->state != VVS_LATE))
        return false;
    vvs_take_out(request);
    vvs_finish(request, -EINTR);
    return true;
}

/* ---- blocking */
/* Its result. Frees it. */
static int64_t wait_locked(VvsRequest *request, uint64_t *ret_value)
{
    VvShipper *shipper = request->shipper;
    int64_t result;

    request->waiter = true;
    if (is_hopeless(shipper)) {
        vvs_finish(request, -EIO);
    } else {
        vvs_enqueue(request);
        vvs_pump(shipper);
    }
    while (request->state != VVS_OVER)
        pthread_cond_wait(&shipper->ended, &shipper->lock);
    result = request->result;
    if (ret_value)
        *ret_value = request->answer.value;
    vv_slab_put(request);
    return result;
}

static int ask_cb(void *user, VvView *view, VvAskKind kind, uint64_t at, uint64_t *ret_value)
{
    VvShipper *shipper = user;
    bool seeks = kind == VV_ASK_SEEK_DATA || kind == VV_ASK_SEEK_HOLE;
    VvObjectAsk ask = { .op = seeks ? VV_OBJECT_SEEK : kind == VV_ASK_TRUNCATE ? VV_OBJECT_TRUNCATE : VV_OBJECT_EXTEND,
        .flags = kind == VV_ASK_SEEK_DATA ? VV_OBJECT_DATA : 0,
        .offset_bytes = seeks ? at : 0,
        .length_bytes = seeks ? 0 : at };
    uint64_t timeout_ms = 1000u * (uint64_t) vv_view_timeout_s(view), value = 0;
    VvsRequest *request;
    int result;

    if (at > INT64_MAX)
        return seeks ? -ENXIO : -EINVAL;
    VV_LOCKED(&shipper->lock);
    request = vvs_request_new(object_get(shipper, vv_view_id(view), true), view, &ask);
    request->timeout_ms = timeout_ms;
    result = (int) wait_locked(request, &value);
    if (result == 0)
        *ret_value = value;
    return result;
}

/* ---- handles */
static VvsHandle *handle_new(VvShipper *shipper, uint64_t object_id, const VvOpen *open)
{
    VvsHandle *handle = g_new0(VvsHandle, 1);
    VvsObject *object = object_get(shipper, object_id, true);

    handle->number = ++shipper->last_handle;
    handle->object = object;
    handle->pid = open->pid > 0 ? (uint64_t) open->pid : 0;
    handle->write = open->write;
    object->references++;
    g_queue_push_tail(&object->handles, handle);
    g_hash_table_insert(shipper->handles, &handle->number, handle);
    return handle;
}

static void handle_free(VvsHandle *handle)
{
    VvsObject *object = handle->object;
    VvsRequest *tell = handle->tell;

    if (tell && tell->state == VVS_SENT) {
        tell->handle = NULL;
    } else if (tell) {
        vvs_take_out(tell);
        object->telling--;
        vvs_finish(tell, 0);
    }
    object->refused_handles -= handle->refused;
    g_queue_remove(&object->handles, handle);
    g_hash_table_remove(object->shipper->handles, &handle->number);
    g_free(handle);
    vvs_object_unref(object);
}

static void send_close(VvsHandle *handle)
{
    VvObjectAsk ask = { .op = VV_OBJECT_CLOSE, .handle = handle->number };

    vvs_enqueue(vvs_request_new(handle->object, NULL, &ask));
}

static int open_cb(void *user, VvView *view, const VvOpen *open, uint64_t *ret_handle)
{
    VvShipper *shipper = user;
    uint64_t timeout_ms = 1000u * (uint64_t) vv_view_timeout_s(view), applied = open->again ? 0 : vv_view_applied(view);
    VvObjectAsk ask = { .op = VV_OBJECT_OPEN, .flags = open->write ? VV_OBJECT_WRITE : 0 };
    VvsRequest *request;
    VvsHandle *handle;
    int result;
    VV_LOCKED(&shipper->lock);

    handle = handle_new(shipper, vv_view_id(view), open);
    *ret_handle = handle->number;
    if (open->again) {
        vvs_tell(handle);
        vvs_pump(shipper);
        return 0;
    }
    handle->opening = true;
    ask.handle = handle->number;
    ask.pid = handle->pid;
    request = vvs_request_new(handle->object, view, &ask);
    request->handle = handle;
    request->timeout_ms = timeout_ms;
    request->applied = applied;
    result = (int) wait_locked(request, NULL);
    if (result == 0)
        return 0;
    if (result == -ETIMEDOUT)
        send_close(handle); /* perhaps it was opened */
    handle_free(handle);
    return result;
}

static void close_cb(void *user, VvView *view, uint64_t number, bool leave)
{
    VvShipper *shipper = user;
    VvsHandle *handle;
    VV_LOCKED(&shipper->lock);

    (void) view;
    handle = g_hash_table_lookup(shipper->handles, &number);
    g_assert(handle);
    if (!leave)
        send_close(handle);
    handle_free(handle);
    vvs_pump(shipper);
}

/* ---- the end of waiting */
static void end_list(VvsList *list)
{
    VvsRequest *next;

    for (VvsRequest *request = list->first; request; request = next) {
        next = request->next;
        if (request->tells)
            continue;
        vvs_take_out(request);
        vvs_finish(request, -EIO);
    }
}

void vvs_end_waiting(VvShipper *shipper)
{
    VvsObject *next;

    for (VvsObject *object = shipper->active_first; object; object = next) {
        next = object->next;
        end_list(&object->queue);
    }
    end_list(&shipper->late);
}

static void abort_waiting_cb(void *user)
{
    VvShipper *shipper = user;
    VV_LOCKED(&shipper->lock);

    shipper->aborted = true;
    vvs_end_waiting(shipper);
    if (shipper->sent_count > 0 && shipper->peer) /* what the server lets wait comes back so */
        vv_peer_close(shipper->peer, 0, "what waits there is not waited for any more");
}

/* ---- its thread */
static void tell_lost_locked(VvShipper *shipper)
{
    g_autoptr(GArray) lost = g_steal_pointer(&shipper->lost);

    shipper->lost = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    pthread_mutex_unlock(&shipper->lock);
    for (unsigned i = 0; shipper->options.lost && i < lost->len; i++)
        shipper->options.lost(shipper->options.user, g_array_index(lost, uint64_t, i));
    pthread_mutex_lock(&shipper->lock);
}

static void *shipper_main(void *user)
{
    VvShipper *shipper = user;

    pthread_setname_np(pthread_self(), "vv-shipper");
    pthread_mutex_lock(&shipper->lock);
    while (!shipper->stopping) {
        shipper->next_look_ms = vvs_look_at_time(shipper, vv_monotonic_ms());
        if (shipper->lost->len > 0) {
            tell_lost_locked(shipper);
        } else if (shipper->next_look_ms == UINT64_MAX) {
            pthread_cond_wait(&shipper->changed, &shipper->lock);
        } else {
            struct timespec until = { .tv_sec = (time_t) (shipper->next_look_ms / 1000),
                .tv_nsec = (long) (shipper->next_look_ms % 1000) * 1000000 };

            pthread_cond_timedwait(&shipper->changed, &shipper->lock, &until);
        }
    }
    pthread_mutex_unlock(&shipper->lock);
    return NULL;
}

/* ---- life */
VvShipper *vv_shipper_new(const VvShipperOptions *options)
{
    VvShipper *shipper = g_new0(VvShipper, 1);
    pthread_condattr_t attributes;
    uint32_t first = 0;

    shipper->options = *options;
    vv_random_bytes(&shipper->origin, sizeof shipper->origin);
    shipper->elsewhere = (VvElsewhere){ open_cb, close_cb, submit_cb, interrupt_cb, ask_cb, abort_waiting_cb, shipper };
    shipper->objects = g_hash_table_new(g_int64_hash, g_int64_equal);
    shipper->handles = g_hash_table_new(g_int64_hash, g_int64_equal);
    shipper->lost = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    shipper->next_look_ms = UINT64_MAX;
    vv_random_bytes(&first, sizeof first);
    shipper->last_handle = (uint64_t) first << 32; /* not those of the process before */
    pthread_mutex_init(&shipper->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&shipper->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&shipper->ended, NULL);
    g_assert(pthread_create(&shipper->thread, NULL, shipper_main, shipper) == 0);
    return shipper;
}

void vv_shipper_free(VvShipper *shipper)
{
    if (!shipper)
        return;
    {
        VV_LOCKED(&shipper->lock);
        shipper->stopping = true;
        pthread_cond_signal(&shipper->changed);
    }
    pthread_join(shipper->thread, NULL);
    vvs_end_waiting(shipper); /* closes */
    g_assert(!shipper->peer && shipper->sent_count == 0 && g_hash_table_size(shipper->objects) == 0 && g_hash_table_size(shipper->handles) == 0);
    g_hash_table_unref(shipper->objects);
    g_hash_table_unref(shipper->handles);
    g_array_unref(shipper->lost);
    pthread_cond_destroy(&shipper->changed);
    pthread_cond_destroy(&shipper->ended);
    pthread_mutex_destroy(&shipper->lock);
    g_free(shipper);
}

const VvElsewhere *vv_shipper_elsewhere(VvShipper *shipper)
{
    return &shipper->elsewhere;
}

void vv_shipper_stats(VvShipper *shipper, VvShipperStats *ret_stats)
{
    VV_LOCKED(&shipper->lock);
    *ret_stats = (VvShipperStats){ .connected = shipper->peer != NULL, .shipped = shipper->shipped, .waiting = shipper->sent_count + shipper->waiting_count };
}
