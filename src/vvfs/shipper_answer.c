/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes back from the server. */
#include "shipper_private.h"

#include "faultpoint.h"

#include <errno.h>

/* ---- what may be lost (Q5) */
static void lose(VvsObject *object)
{
    VvShipper *shipper = object->shipper;
    bool told = false;

    for (VvsRequest *request = object->sent.first; request; request = request->next)
        told |= request->fails = request->fails || request->ask.op == VV_OBJECT_FLUSH;
    for (VvsRequest *request = object->queue.first; request; request = request->next)
        told |= request->fails = request->fails || request->ask.op == VV_OBJECT_FLUSH;
    for (VvsRequest *request = shipper->late.first; request; request = request->next)
        if (request->object == object && request->ask.op == VV_OBJECT_FLUSH)
            told = request->fails = true;
    object->lost = !told;
    object->flushed = object->acknowledged;
    g_array_append_val(shipper->lost, object->id);
    pthread_cond_signal(&shipper->changed);
}

static void note_incarnation(VvShipper *shipper, uint64_t incarnation)
{
    GHashTableIter iter;
    void *value;

    if (shipper->incarnation == incarnation || incarnation == 0)
        return;
    g_hash_table_iter_init(&iter, shipper->objects);
    while (shipper->incarnation != 0 && g_hash_table_iter_next(&iter, NULL, &value)) {
        VvsObject *object = value;

        if (object->acknowledged > object->flushed)
            lose(object);
    }
    shipper->incarnation = incarnation;
}

/* ---- handles (Q2) */
/* The server's answer about a handle that it was told of again. */
static void told(VvsRequest *request, int result)
{
    VvsObject *object = request->object;
    VvsHandle *handle = request->handle;

    object->telling--;
    if (handle) {
        handle->tell = NULL;
        handle->refused = result < 0;
        object->refused_handles += handle->refused;
    }
    if (handle && result < 0)
        vv_log(VV_LOG_WARNING, "object %" G_GUINT64_FORMAT " was open, and the node with the disks does not let it be so any more: %s", object->id,
            g_strerror(-result));
    if (object->telling == 0 && object->handles.length > 0 && object->refused_handles == object->handles.length)
        vvs_fail_queue(object, -ESTALE);
    vvs_finish(request, result);
}

/* Is it worth asking again? An object that was made a moment ago need not be in the server's map yet. */
static bool may_be_late(VvsRequest *request)
{
    const VvObjectAnswer *answer = &request->answer;

    if (answer->result == -ESHUTDOWN)
        return true; /* that process ends; it has begun nothing of it */
    if (request->ask.op != VV_OBJECT_OPEN || ++request->tries >= VV_SHIP_TELLS_MAX)
        return false;
    if (answer->result == -ENOENT)
        return answer->applied < request->applied;
    return request->tells && (answer->result == -EBUSY || answer->result == -ENOMEM || answer->result == -ETIMEDOUT || answer->result == -EINTR);
}

/* ---- results */
static int64_t result_of(VvsRequest *request)
{
    VvsObject *object = request->object;
    const VvObjectAnswer *answer = &request->answer;
    int64_t result = answer->result;

    switch (request->ask.op) {
    case VV_OBJECT_READ:
        return result < 0 ? result : (int64_t) answer->value;
    case VV_OBJECT_WRITE_DATA:
    case VV_OBJECT_ZERO:
    case VV_OBJECT_ALLOCATE:
        object->acknowledged += result == 0;
        return result < 0 || request->ask.op != VV_OBJECT_WRITE_DATA ? result : (int64_t) answer->value;
    case VV_OBJECT_FLUSH:
        if (result == 0)
            object->flushed = MAX(object->flushed, request->covers);
        if (request->fails || object->lost)
            result = -EIO;
        if (!request->fails)
            object->lost = false;
        return result;
    case VV_OBJECT_OPEN:
        request->handle->opening = result < 0;
        return result;
    default:
        return result;
    }
}

void vvs_take_answer(VvsRequest *request)
{
    VvsObject *object = request->object;
    VvShipper *shipper = object->shipper;

    vv_may_die(VV_DIE_ANSWER_HEARD);
    if (request->wire == 0)
        note_incarnation(shipper, request->answer.incarnation); /* while it is among those that are under way */
    vvs_list_remove(&object->sent, request);
    object->sent_count--;
    shipper->sent_count--;
    if (request->ask.op == VV_OBJECT_INTERRUPT) {
        vvs_finish(request, 0);
    } else if (request->wire == -ECONNRESET) {
        if (request->tells && !request->handle)
            told(request, 0); /* closed meanwhile: another server need not hear of it */
        else if ((shipper->aborted || request->interrupted) && !request->tells)
            vvs_finish(request, shipper->aborted ? -EIO : -EINTR);
        else
            vvs_enqueue(request);
    } else if (request->wire < 0) {
        if (request->tells)
            told(request, -EIO);
        else
            vvs_finish(request, request->ask.op == VV_OBJECT_OPEN ? -ETIMEDOUT : -EIO);
    } else if (!shipper->aborted && may_be_late(request)) {
        if (request->interrupted)
            vvs_finish(request, -EINTR);
        else
            vvs_make_late(request);
    } else if (request->tells) {
        told(request, request->answer.result);
    } else {
        vvs_finish(request, result_of(request));
    }
}
