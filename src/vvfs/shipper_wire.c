/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes to the server: in which order, over which connection.
 *
 * W1  A connection's requests come back, each once, before the next connection is there, or at the latest when the transport has let their
 *     data go. Nothing is sent on a connection one of whose requests came back with -ECONNRESET. */
#include "shipper_private.h"

#include <errno.h>

/* ---- coming back; the data loop */
static void come_back(VvsRequest *request)
{
    VvsObject *object = request->object;
    VvShipper *shipper = object->shipper;

    if (!request->replied || !request->data_gone)
        return;
    object->references++; /* until the request's own is not needed any more */
    vvs_take_answer(request);
    vvs_object_unref(object);
    vvs_pump(shipper);
}

static void data_done_cb(void *user)
{
    VvsRequest *request = user;

    VV_LOCKED(&request->shipper->lock);
    request->data_gone = true;
    come_back(request);
}

static void take_reply(VvsRequest *request, int result, const VvIncoming *reply)
{
    g_autoptr(GError) error = NULL;

    request->wire = result;
    if (result < 0 || vv_object_answer_decode(reply->body, reply->body_bytes, reply->data_bytes, &request->ask, &request->answer, &error))
        return;
    vv_log(VV_LOG_WARNING, "the node with the disks: %s", error->message);
    request->answer = (VvObjectAnswer){ .result = -EIO, .incarnation = request->object->shipper->incarnation };
}

static void reply_cb(void *user, int result, const VvIncoming *reply)
{
    VvsRequest *request = user;

    VV_LOCKED(&request->shipper->lock);
    take_reply(request, result, reply);
    if (result == 0 && request->answer.result == 0 && request->view) {
        const VvObjectAnswer *answer = &request->answer;
        VvViewStat stat = { answer->size_bytes, answer->mtime_ns, answer->used_bytes, answer->elastic };

        vv_view_learn(request->view, &stat, answer->applied);
    }
    request->replied = true;
    come_back(request);
}

/* ---- sending */
static int send_request(VvShipper *shipper, VvsRequest *request)
{
    uint8_t body[VV_OBJECT_ASK_BYTES];
    VvOutgoing out = { .kind = VV_OBJECT_REQUEST, .body = body, .body_bytes = sizeof body };
    VvPeerRequest wire = { .done = reply_cb, .user = request };
    int rc;

    vv_object_ask_encode(&request->ask, body);
    wire.timeout_ms = (request->timeout_ms == UINT64_MAX ? 1000u * VV_LUN_TIMEOUT_SECONDS : request->timeout_ms) + VV_SHIP_MARGIN_MS;
    request->replied = false;
    request->data_gone = request->ask.op != VV_OBJECT_WRITE_DATA;
    if (request->ask.op == VV_OBJECT_WRITE_DATA) {
        out.data = request->io->data;
        out.data_bytes = request->io->length_bytes;
        out.data_done = data_done_cb;
        out.data_user = request;
    } else if (request->ask.op == VV_OBJECT_READ) {
        wire.into = request->io->data;
        wire.into_bytes = request->io->length_bytes;
    }
    rc = vv_peer_request(shipper->peer, &out, &wire); /* its callbacks wait for our lock */
    if (rc == 0)
        shipper->shipped++;
    return rc;
}

/* The next one of it that may go; NULL: none may now. */
static VvsRequest *next_of(const VvsObject *object)
{
    VvsRequest *first = object->queue.first;

    if (first && first->ask.op == VV_OBJECT_INTERRUPT)
        return first; /* Q7 */
    if (object->telling > 0)
        return first && first->tells ? first : NULL; /* Q2 */
    return object->sent_count < VV_PEER_REQUESTS_MAX - MIN(object->shipper->sent_count, VV_PEER_REQUESTS_MAX) ? first : NULL; /* Q3 */
}

static void rotate(VvsObject *object)
{
    VvShipper *shipper = object->shipper;

    if (!object->active || object == shipper->active_last)
        return;
    *(object->previous ? &object->previous->next : &shipper->active_first) = object->next;
    object->next->previous = object->previous;
    object->previous = shipper->active_last;
    object->next = NULL;
    shipper->active_last->next = object;
    shipper->active_last = object;
}

static bool send_one(VvsObject *object, VvsRequest *request)
{
    VvShipper *shipper = object->shipper;
    int rc = send_request(shipper, request);

    if (rc == -EAGAIN || rc == -ENOTCONN) {
        shipper->full = true; /* until writable(), or the next connection */
        return false;
    }
    vvs_take_out(request);
    if (rc < 0) {
        vv_log(VV_LOG_ERROR, "a request cannot be sent to the node with the disks: %s", g_strerror(-rc));
        vvs_finish(request, -EIO);
        return true;
    }
    request->state = VVS_SENT;
    request->next = NULL;
    request->previous = object->sent.last;
    *(object->sent.last ? &object->sent.last->next : &object->sent.first) = request;
    object->sent.last = request;
    object->sent_count++;
    shipper->sent_count++;
    return true;
}

void vvs_pump(VvShipper *shipper)
{
    bool some = true;

    while (some && shipper->peer && !shipper->full) {
        VvsObject *object = shipper->active_first, *end = shipper->active_last, *next;

        for (some = false; object && !shipper->full; object = next) {
            VvsRequest *request = next_of(object);

            next = object == end ? NULL : object->next;
            if (!request)
                continue;
            object->references++;
            some |= send_one(object, request);
            rotate(object); /* who sent is last in the next round */
            vvs_object_unref(object);
        }
    }
}

/* ---- the connection */
void vvs_tell(VvsHandle *handle)
{
    VvObjectAsk ask = { .op = VV_OBJECT_OPEN,
        .flags = (uint8_t) (VV_OBJECT_AGAIN | (handle->write ? VV_OBJECT_WRITE : 0)),
        .object = handle->object->id,
        .handle = handle->number,
        .pid = handle->pid };
    VvsRequest *request;

    if (handle->tell || handle->opening)
        return;
    request = vvs_request_new(handle->object, NULL, &ask);
    request->number = 0;
    request->tells = true;
    request->handle = handle;
    handle->tell = request;
    handle->object->telling++;
    if (handle->refused)
        handle->object->refused_handles--;
    handle->refused = false;
    vvs_enqueue(request);
}

static void look_at_all_waits(VvShipper *shipper, uint64_t since_ms)
{
    for (VvsObject *object = shipper->active_first; object; object = object->next)
        vvs_look_at_waits(object, since_ms);
}

void vv_shipper_up(VvShipper *shipper, VvPeer *peer)
{
    GHashTableIter iter;
    void *handle;
    VV_LOCKED(&shipper->lock);

    g_clear_pointer(&shipper->peer, vv_peer_unref); /* should it come before the other has gone */
    shipper->peer = vv_peer_ref(peer);
    shipper->full = false;
    g_hash_table_iter_init(&iter, shipper->handles);
    while (g_hash_table_iter_next(&iter, NULL, &handle))
        vvs_tell(handle); /* S2; and a server that did not end may have closed them meanwhile */
    look_at_all_waits(shipper, 0);
    vvs_pump(shipper);
}

void vv_shipper_down(VvShipper *shipper, VvPeer *peer)
{
    VvPeerCounters counters;
    VV_LOCKED(&shipper->lock);

    if (shipper->peer != peer)
        return;
    vv_peer_counters(peer, &counters);
    g_clear_pointer(&shipper->peer, vv_peer_unref);
    if (shipper->aborted)
        vvs_end_waiting(shipper); /* it was to be sent; now it would wait */
    look_at_all_waits(shipper, counters.last_seen_ms); /* Q4: it was silent from then on */
}

void vv_shipper_writable(VvShipper *shipper, VvPeer *peer)
{
    VV_LOCKED(&shipper->lock);

    if (shipper->peer != peer)
        return;
    shipper->full = false;
    vvs_pump(shipper);
}
