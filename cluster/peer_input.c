/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a peer receives: TLS -> the bufferevent's input, at most a record or two -> body and data of one frame at a time.
 *
 * Copies: TLS decrypts a record where the kernel put it and copies it out, at most 16 KiB; from there each byte is copied once to its
 * place while it is still in the processor's cache: a body into memory of its own, data to where its receiver said (place(), into of
 * a request). So a message of 1 MiB takes 16 KiB of the transport's memory.
 *
 * A frame's rules are checked before a byte of it is taken:
 *   kind      HELLO, JOIN, JOINED: never. GOODBYE, PING, PONG: short, no data, no id. Others below VV_FRAME_OWNER: DISK alone.
 *   lengths   what our hello said
 *   request   ids ascend; no more unanswered ones than our hello said; on data connections only from who dialled (P3)
 *   reply     once, to an id that was used; if its request is no longer waiting it is dropped; no more data than was asked for */
#include "peer_private.h"

#include "codec.h"

#include <errno.h>

static uint8_t nothing; /* where no data goes: place() with 0 bytes is not asked */

/* ---- one frame */
static bool check_own(VvPeer *peer, const VvFrame *frame)
{
    bool known = frame->kind == VV_FRAME_GOODBYE || frame->kind == VV_FRAME_PING || frame->kind == VV_FRAME_PONG;

    if (known && frame->flags == 0 && frame->data_bytes == 0 && frame->body_bytes <= VV_HELLO_BYTES_MAX)
        return true;
    vvp_fail(peer, "it broke the protocol: a message of kind %u that does not belong there", frame->kind);
    return false;
}

static bool check_request(VvPeer *peer, const VvFrame *frame)
{
    if (!peer->control && peer->options.dialled)
        vvp_fail(peer, "it broke the protocol: a request on a connection that is not for its requests");
    else if (frame->request <= peer->last_request_in)
        vvp_fail(peer, "it broke the protocol: request ids do not ascend");
    else if (g_hash_table_size(peer->unanswered) >= peer->unanswered_max)
        vvp_fail(peer, "it broke the protocol: more than %u requests at a time", peer->unanswered_max);
    else
        return true;
    return false;
}

static bool check_reply(VvPeer *peer, const VvFrame *frame)
{
    uint64_t last;
    void *asked;

    {
        VV_LOCKED(&peer->lock);
        last = peer->last_request_out;
    }
    if (frame->request > last) {
        vvp_fail(peer, "it broke the protocol: a reply to nothing");
        return false;
    }
    if (!g_hash_table_steal_extended(peer->asked, &frame->request, NULL, &asked)) {
        peer->data_dropped = true;
        if (vvp_late_done(peer, frame->request))
            return true;
        vvp_fail(peer, "it broke the protocol: a second reply, or one to what was never sent");
        return false;
    }
    peer->answered = asked;
    if (frame->data_bytes > peer->answered->request.into_bytes) {
        vvp_fail(peer, "it broke the protocol: a reply with more data than was asked for");
        return false;
    }
    peer->data = peer->answered->request.into;
    if (frame->data_bytes == 0)
        peer->data = &nothing;
    return true;
}

/* A header is whole. False: it ended the connection. */
static bool begin_frame(VvPeer *peer, const uint8_t *raw)
{
    g_autoptr(GError) error = NULL;
    VvFrame *frame = &peer->frame;

    if (!vv_frame_decode(raw, frame, &error)) {
        vvp_fail(peer, "it broke the protocol: %s", error->message);
        return false;
    }
    peer->data_dropped = false;
    if (frame->kind < VV_FRAME_DISK && !check_own(peer, frame))
        return false;
    if (frame->kind > VV_FRAME_DISK && frame->kind < VV_FRAME_OWNER) {
        vvp_fail(peer, "it broke the protocol: a message of unknown kind %u", frame->kind);
        return false;
    }
    if (frame->body_bytes > peer->body_in_max || frame->data_bytes > peer->data_in_max) {
        vvp_fail(peer, "it broke the protocol: a message of %u and %u bytes", frame->body_bytes, frame->data_bytes);
        return false;
    }
    if (frame->flags == VV_FRAME_REQUEST && !check_request(peer, frame))
        return false;
    if (frame->flags == VV_FRAME_REPLY && !check_reply(peer, frame))
        return false;
    peer->in_frame = true;
    peer->body = frame->body_bytes > 0 ? g_malloc(frame->body_bytes) : NULL;
    return true;
}

static void incoming_set(const VvPeer *peer, VvIncoming *in)
{
    *in = (VvIncoming){
        .kind = peer->frame.kind,
        .request = peer->frame.flags == VV_FRAME_REQUEST ? peer->frame.request : 0,
        .body = peer->body,
        .body_bytes = peer->frame.body_bytes,
        .data = peer->frame.data_bytes > 0 ? peer->data : NULL,
        .data_bytes = peer->frame.data_bytes,
    };
}

/* The body is there: where does the data go? False: there is no place now. */
static bool find_place(VvPeer *peer)
{
    const VvPeerEvents *events = peer->options.events;
    VvIncoming in;

    if (peer->data || peer->data_dropped || peer->frame.data_bytes == 0)
        return true;
    if (!events->place || peer->control) {
        peer->data = g_malloc(peer->frame.data_bytes);
        peer->data_ours = true;
        return true;
    }
    incoming_set(peer, &in);
    peer->data = events->place(peer, &in, peer->options.user);
    peer->data_placed = peer->data != NULL;
    if (!peer->data)
        vvp_set_pause(peer, VV_PAUSE_PLACE, true);
    return peer->data != NULL;
}

/* Forget the frame; what was placed is the owner's. */
static void end_frame(VvPeer *peer)
{
    if (peer->data_ours)
        g_free(peer->data);
    g_clear_pointer(&peer->body, g_free);
    peer->data = NULL;
    peer->data_ours = peer->data_placed = peer->data_dropped = false;
    peer->body_got = peer->data_got = 0;
    peer->in_frame = false;
    peer->frame_ms = 0;
}

/* Not behind much that waits: when it goes, it tells as well that we live. Who pings and does not read gets no memory of ours. */
static void take_ping(VvPeer *peer)
{
    if (evbuffer_get_length(bufferevent_get_output(peer->bev)) < VV_PEER_QUEUE_BATCH_BYTES)
        vvp_write(peer, VV_FRAME_PONG, peer->body, MIN(peer->frame.body_bytes, 8));
}

static void take_pong(VvPeer *peer)
{
    uint64_t now_us = vv_monotonic_ns() / 1000, sent_us;

    if (peer->frame.body_bytes != 8)
        return;
    sent_us = vv_get_u64(peer->body);
    if (sent_us <= now_us)
        atomic_store_explicit(&peer->round_trip_us, MAX(now_us - sent_us, 1), memory_order_relaxed);
}

static void take_goodbye(VvPeer *peer)
{
    VvGoodbye goodbye;

    if (vv_goodbye_decode(peer->body, peer->frame.body_bytes, &goodbye, NULL))
        vvp_fail(peer, "it said goodbye: %s", goodbye.text);
    else
        vvp_fail(peer, "it broke the protocol: a goodbye that is none");
}

/* The frame is whole. */
static void deliver(VvPeer *peer)
{
    VvIncoming in;

    atomic_fetch_add_explicit(&peer->messages_in, 1, memory_order_relaxed);
    incoming_set(peer, &in);
    switch (peer->frame.kind) {
    case VV_FRAME_PING:
        take_ping(peer);
        return;
    case VV_FRAME_PONG:
        take_pong(peer);
        return;
    case VV_FRAME_GOODBYE:
        take_goodbye(peer);
        return;
    }
    if (peer->frame.flags == VV_FRAME_REPLY) {
        if (peer->answered)
            vvp_asked_done(peer, g_steal_pointer(&peer->answered), 0, &in, true);
        return;
    }
    if (peer->frame.flags == VV_FRAME_REQUEST) {
        peer->last_request_in = peer->frame.request;
        g_hash_table_add(peer->unanswered, g_memdup2(&peer->frame.request, sizeof peer->frame.request));
    }
    peer->data_placed = false; /* the owner's, whatever happens now */
    peer->options.events->message(peer, &in, peer->options.user);
}

/* ---- the stream */
/* Up to @wanted bytes of the input to @to, or nowhere. */
static uint32_t take(VvPeer *peer, uint8_t *to, uint32_t wanted)
{
    size_t there = evbuffer_get_length(peer->input);
    uint32_t bytes = (uint32_t) MIN(there, wanted);

    if (bytes == 0)
        return 0;
    if (to)
        evbuffer_remove(peer->input, to, bytes);
    else
        evbuffer_drain(peer->input, bytes);
    return bytes;
}

/* One step. False: more must come first, or nothing more is taken. */
static bool step(VvPeer *peer)
{
    VvFrame *frame = &peer->frame;
    uint8_t raw[VV_FRAME_BYTES];

    if (!peer->in_frame) {
        size_t there = evbuffer_get_length(peer->input);

        if (there > 0 && peer->frame_ms == 0) {
            peer->frame_ms = vv_monotonic_ms();
            vvp_due(peer, peer->frame_ms + peer->options.times.frame_ms);
        }
        if (there < VV_FRAME_BYTES)
            return false;
        evbuffer_remove(peer->input, raw, sizeof raw);
        if (!begin_frame(peer, raw))
            return false;
    }
    if (peer->body_got < frame->body_bytes)
        peer->body_got += take(peer, peer->body + peer->body_got, frame->body_bytes - peer->body_got);
    if (peer->body_got < frame->body_bytes || !find_place(peer))
        return false;
    if (peer->data_got < frame->data_bytes)
        peer->data_got +=
            take(peer, peer->data ? peer->data + peer->data_got : NULL, frame->data_bytes - peer->data_got);
    if (peer->data_got < frame->data_bytes)
        return false;
    deliver(peer);
    end_frame(peer);
    return true;
}

void vvp_input(VvPeer *peer)
{
    while (peer->state == VV_PEER_UP && peer->pauses == 0 && step(peer))
        continue;
}

void vvp_read_cb(struct bufferevent *bev, void *user)
{
    VvPeer *peer = user;
    struct evbuffer *came = bufferevent_get_input(bev);

    if (peer->state != VV_PEER_UP)
        return;
    peer->received_ms = vv_monotonic_ms();
    atomic_fetch_add_explicit(&peer->bytes_in, evbuffer_get_length(came), memory_order_relaxed);
    atomic_store_explicit(&peer->last_seen_ms, peer->received_ms, memory_order_relaxed);
    evbuffer_add_buffer(peer->input, came); /* moves, does not copy */
    vvp_input(peer);
}

void vvp_input_clear(VvPeer *peer)
{
    if (peer->answered)
        vvp_asked_done(peer, g_steal_pointer(&peer->answered), -ECONNRESET, NULL, true);
    if (peer->data_placed && peer->options.events->unplace)
        peer->options.events->unplace(peer, peer->data, peer->options.user);
    end_frame(peer);
    evbuffer_drain(peer->input, evbuffer_get_length(peer->input));
}
