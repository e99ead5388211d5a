/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that wait: in which order, for how long, and who is told that they do. */
#include "shipper_private.h"

#include <errno.h>

/* ---- lists */
static void list_insert(VvsList *list, VvsRequest *before, VvsRequest *request)
{
    request->next = before;
    request->previous = before ? before->previous : list->last;
    *(request->previous ? &request->previous->next : &list->first) = request;
    *(before ? &before->previous : &list->last) = request;
}

void vvs_list_remove(VvsList *list, VvsRequest *request)
{
    *(request->previous ? &request->previous->next : &list->first) = request->next;
    *(request->next ? &request->next->previous : &list->last) = request->previous;
    request->previous = request->next = NULL;
}

static void activate(VvsObject *object, bool active)
{
    VvShipper *shipper = object->shipper;

    if (object->active == active)
        return;
    object->active = active;
    if (active) {
        object->previous = shipper->active_last;
        object->next = NULL;
        *(object->previous ? &object->previous->next : &shipper->active_first) = object;
        shipper->active_last = object;
    } else {
        *(object->previous ? &object->previous->next : &shipper->active_first) = object->next;
        *(object->next ? &object->next->previous : &shipper->active_last) = object->previous;
        object->previous = object->next = NULL;
    }
}

/* ---- waiting (Q4) */
/* Its worker calls io->waits; the task looks what is true by then. */
static void tell_worker(VvsRequest *request)
{
    if (!request->io || request->posted || request->waits == request->told)
        return;
    request->posted = true;
    vv_worker_post(request->worker, &request->task);
}

static uint64_t deadline_ms(const VvsRequest *request)
{
    uint64_t left_ms = request->timeout_ms - MIN(request->waited_ms, request->timeout_ms);

    return request->since_ms == 0 || left_ms > UINT64_MAX - request->since_ms ? UINT64_MAX : request->since_ms + left_ms;
}

static void begin_wait(VvsRequest *request, uint64_t since_ms)
{
    VvShipper *shipper = request->object->shipper;

    if (request->since_ms != 0)
        return;
    request->since_ms = MAX(MAX(since_ms, request->begun_ms), 1);
    request->waits = true;
    shipper->waiting_count++;
    if (deadline_ms(request) < shipper->next_look_ms)
        pthread_cond_signal(&shipper->changed);
    tell_worker(request);
}

static void end_wait(VvsRequest *request, uint64_t now_ms)
{
    if (request->since_ms == 0)
        return;
    request->waited_ms += now_ms - MIN(now_ms, request->since_ms);
    request->since_ms = 0;
    request->waits = false;
    request->object->shipper->waiting_count--;
    tell_worker(request);
}

/* Is the server of no use to what is queued on it? */
static bool is_stuck(const VvsObject *object)
{
    return object->shipper->peer == NULL || object->late_tells > 0;
}

void vvs_look_at_waits(VvsObject *object, uint64_t since_ms)
{
    uint64_t now_ms = vv_monotonic_ms();
    bool stuck = is_stuck(object);

    for (VvsRequest *request = object->queue.first; request; request = request->next)
        if (stuck)
            begin_wait(request, since_ms);
        else
            end_wait(request, now_ms);
}

void vvs_enqueue(VvsRequest *request)
{
    VvsObject *object = request->object;
    VvsRequest *before = NULL;

    if (object->queue.last && object->queue.last->number > request->number)
        for (before = object->queue.first; before->number <= request->number;)
            before = before->next;
    list_insert(&object->queue, before, request);
    request->state = VVS_QUEUED;
    activate(object, true);
    if (is_stuck(object))
        begin_wait(request, vv_monotonic_ms());
    else
        end_wait(request, vv_monotonic_ms());
}

void vvs_make_late(VvsRequest *request)
{
    VvShipper *shipper = request->object->shipper;
    uint64_t now_ms = vv_monotonic_ms();

    list_insert(&shipper->late, NULL, request);
    request->state = VVS_LATE;
    request->due_ms = now_ms + VV_SHIP_LATE_MS;
    begin_wait(request, now_ms);
    if (request->due_ms < shipper->next_look_ms)
        pthread_cond_signal(&shipper->changed);
    if (request->tells) {
        request->object->late_tells++;
        vvs_look_at_waits(request->object, now_ms);
    }
}

void vvs_take_out(VvsRequest *request)
{
    VvsObject *object = request->object;

    if (request->state == VVS_QUEUED) {
        vvs_list_remove(&object->queue, request);
        activate(object, object->queue.first != NULL);
    } else {
        g_assert(request->state == VVS_LATE);
        vvs_list_remove(&object->shipper->late, request);
        if (request->tells) {
            object->late_tells--;
            vvs_look_at_waits(object, 0);
        }
    }
    if (request->since_ms != 0) {
        request->waited_ms += vv_monotonic_ms() - request->since_ms;
        request->since_ms = 0;
        object->shipper->waiting_count--;
    }
}

void vvs_fail_queue(VvsObject *object, int result)
{
    VvsRequest *next;

    for (VvsRequest *request = object->queue.first; request; request = next) {
        next = request->next;
        if (request->ask.op == VV_OBJECT_OPEN || request->ask.op == VV_OBJECT_CLOSE)
            continue;
        vvs_take_out(request);
        vvs_finish(request, result);
    }
}

/* ---- time */
static uint64_t expire(VvsList *list, uint64_t now_ms)
{
    uint64_t due_ms = UINT64_MAX;
    VvsRequest *next;

    for (VvsRequest *request = list->first; request; request = next) {
        uint64_t deadline = deadline_ms(request);

        next = request->next;
        if (deadline > now_ms) {
            due_ms = MIN(due_ms, deadline);
            continue;
        }
        vvs_take_out(request);
        vvs_finish(request, request->ask.op == VV_OBJECT_OPEN ? -ETIMEDOUT : -EIO);
    }
    return due_ms;
}

uint64_t vvs_look_at_time(VvShipper *shipper, uint64_t now_ms)
{
    uint64_t due_ms = UINT64_MAX;
    VvsRequest *late;

    while ((late = shipper->late.first) && late->due_ms <= now_ms) {
        VvsObject *object = late->object;

        vvs_list_remove(&shipper->late, late);
        late->state = VVS_QUEUED;
        if (late->tells)
            object->late_tells--;
        vvs_enqueue(late);
        vvs_look_at_waits(object, 0);
    }
    if (late)
        due_ms = late->due_ms;
    if (shipper->waiting_count > 0) {
        VvsObject *next;

        for (VvsObject *object = shipper->active_first; object; object = next) {
            next = object->next;
            due_ms = MIN(due_ms, expire(&object->queue, now_ms));
        }
        due_ms = MIN(due_ms, expire(&shipper->late, now_ms));
    }
    vvs_pump(shipper);
    return due_ms;
}
