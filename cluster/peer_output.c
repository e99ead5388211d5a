/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a peer sends: queue (any thread) -> waiting (the loop) -> the bufferevent's output -> TLS.
 *
 * Copies: header and body once, into one piece of memory; data and shared bodies not at all before TLS, which encrypts from where they
 * lie into its record, save data of a block or two, which shares a record with its header. The output holds VV_PEER_QUEUE_BATCH_BYTES and what one message goes beyond it; the rest waits outside, where
 * a request whose time is over is taken away unsent. */
#include "peer_private.h"

#include <errno.h>

#define SMALL_BYTES 2048u /* copied into the output rather than referenced: fewer TLS records and system calls */
#define RECORD_BYTES 16384u /* what TLS has in one. Each piece of the output becomes one record at least, and each record costs who reads it a turn of its loop */
#define RECORD_DATA_BYTES 8192u /* data up to here is copied behind its header: that costs less than a record of its own */

typedef struct {
    void (*done)(void *user);
    void *user;
} VvLent;

void vvp_send_free(VvSend *send)
{
    if (send->data_done)
        send->data_done(send->data_user);
    g_clear_pointer(&send->shared, g_bytes_unref);
    g_free(send->head);
    g_free(send->asked);
    g_free(send);
}

/* True: who was refused is to be told. */
static bool free_slot(VvPeer *peer)
{
    bool tell;

    VV_LOCKED(&peer->lock);
    peer->asked_count--;
    tell = peer->refused && !peer->is_down && peer->waiting_bytes <= peer->output_low;
    if (tell)
        peer->refused = false;
    return tell;
}

void vvp_asked_done(VvPeer *peer, VvAsked *asked, int result, const VvIncoming *reply, bool over)
{
    bool tell = over && free_slot(peer);

    asked->request.done(asked->request.user, result, reply);
    g_free(asked);
    if (tell && peer->options.events->writable)
        peer->options.events->writable(peer, peer->options.user);
}

bool vvp_late_done(VvPeer *peer, uint64_t id)
{
    if (!g_hash_table_remove(peer->late, &id))
        return false;
    if (free_slot(peer) && peer->options.events->writable)
        peer->options.events->writable(peer, peer->options.user);
    return true;
}

/* ---- any thread */
static void pump_cb(void *data)
{
    vvp_pump(data);
    vv_peer_unref(data);
}

static VvSend *send_new(const VvOutgoing *out)
{
    VvSend *send = g_new0(VvSend, 1);
    VvFrame frame = { .kind = out->kind, .data_bytes = out->data_bytes };
    size_t shared_bytes = out->shared_body ? g_bytes_get_size(out->shared_body) : 0;

    frame.body_bytes = out->shared_body ? (uint32_t) shared_bytes : out->body_bytes;
    g_assert(out->kind >= VV_FRAME_DISK);
    send->head_bytes = VV_FRAME_BYTES + (out->shared_body ? 0 : out->body_bytes);
    send->head = g_malloc(send->head_bytes);
    vv_frame_encode(&frame, send->head); /* again, when the request id is known */
    if (!out->shared_body && out->body_bytes > 0)
        memcpy(send->head + VV_FRAME_BYTES, out->body, out->body_bytes);
    if (out->shared_body)
        send->shared = g_bytes_ref(out->shared_body);
    send->data = out->data;
    send->data_bytes = out->data_bytes;
    send->data_done = out->data_done;
    send->data_user = out->data_user;
    return send;
}

/* What the other end takes is what it said: never asserted. */
static bool is_too_long(const VvPeer *peer, const VvOutgoing *out)
{
    size_t body_bytes = out->shared_body ? g_bytes_get_size(out->shared_body) : out->body_bytes;

    return body_bytes > peer->body_out_max || out->data_bytes > peer->data_out_max;
}

static size_t send_bytes(const VvSend *send)
{
    return send->head_bytes + (send->shared ? g_bytes_get_size(send->shared) : 0) + send->data_bytes;
}

static void send_number(VvSend *send, uint16_t flags, uint64_t request)
{
    VvFrame frame;

    g_assert(vv_frame_decode(send->head, &frame, NULL));
    frame.flags = flags;
    frame.request = request;
    send->flags = flags;
    send->request = request;
    vv_frame_encode(&frame, send->head);
}

/* May one more be taken? With the lock held. */
static int may_send_locked(VvPeer *peer, uint16_t flags)
{
    if (peer->is_down)
        return -ENOTCONN;
    if (flags == VV_FRAME_REPLY)
        return 0;
    if (peer->waiting_bytes >= peer->output_high ||
        (flags == VV_FRAME_REQUEST && peer->asked_count >= peer->asked_max)) {
        peer->refused = true;
        return -EAGAIN;
    }
    return 0;
}

/* @send is taken if this returns 0; otherwise it is freed, and what it borrowed stays the caller's. */
static int enqueue(VvPeer *peer, VvSend *send, uint16_t flags, uint64_t request)
{
    bool wake = false;
    int err;

    {
        VV_LOCKED(&peer->lock);
        err = may_send_locked(peer, flags);
        if (err == 0) {
            if (flags == VV_FRAME_REQUEST) {
                request = ++peer->last_request_out;
                send->asked->id = request;
                peer->asked_count++;
            }
            send_number(send, flags, request);
            peer->waiting_bytes += send_bytes(send);
            g_queue_push_tail(&peer->queue, send);
            wake = !peer->woken;
            peer->woken = true;
            if (wake)
                vv_peer_loop_post(peer->loop, pump_cb, vv_peer_ref(peer));
        }
    }
    if (err != 0) {
        send->data_done = NULL;
        vvp_send_free(send);
    }
    return err;
}

int vv_peer_send(VvPeer *peer, const VvOutgoing *out)
{
    return is_too_long(peer, out) ? -EMSGSIZE : enqueue(peer, send_new(out), 0, 0);
}

int vv_peer_request(VvPeer *peer, const VvOutgoing *out, const VvPeerRequest *request)
{
    VvSend *send;

    g_assert(peer->control || peer->options.dialled); /* P3 */
    if (is_too_long(peer, out))
        return -EMSGSIZE;
    send = send_new(out);
    send->asked = g_new0(VvAsked, 1);
    send->asked->request = *request;
    send->asked->deadline_ms = vv_monotonic_ms() + request->timeout_ms;
    return enqueue(peer, send, VV_FRAME_REQUEST, 0);
}

int vv_peer_reply(VvPeer *peer, uint64_t request, const VvOutgoing *out)
{
    g_assert(request != 0);
    return is_too_long(peer, out) ? -EMSGSIZE : enqueue(peer, send_new(out), VV_FRAME_REPLY, request);
}

/* ---- the loop's thread */
static void data_cleanup(const void *data, size_t bytes, void *user)
{
    VvLent *lent = user;

    (void) data;
    (void) bytes;
    if (lent->done)
        lent->done(lent->user);
    g_free(lent);
}

static void shared_cleanup(const void *data, size_t bytes, void *user)
{
    (void) data;
    (void) bytes;
    g_bytes_unref(user);
}

static void head_cleanup(const void *data, size_t bytes, void *user)
{
    (void) data;
    (void) bytes;
    g_free(user);
}

static int add_data(struct evbuffer *output, VvSend *send)
{
    VvLent *lent;

    if (send->data_bytes == 0)
        return 0;
    if (send->data_bytes <= RECORD_DATA_BYTES) /* who lent it has it back when the message is freed */
        return evbuffer_add(output, send->data, send->data_bytes);
    lent = g_new(VvLent, 1);
    *lent = (VvLent){ send->data_done, send->data_user };
    if (evbuffer_add_reference(output, send->data, send->data_bytes, data_cleanup, lent) != 0) {
        g_free(lent);
        return -1;
    }
    send->data_done = NULL; /* the output has it */
    return 0;
}

/* Into the output. Frees @send. */
static void put(VvPeer *peer, VvSend *send)
{
    struct evbuffer *output = bufferevent_get_output(peer->bev);
    gsize shared_bytes = 0;
    const void *shared = send->shared ? g_bytes_get_data(send->shared, &shared_bytes) : NULL;
    int err = 0;

    if (evbuffer_get_length(output) == 0 && send->data_bytes > 0 && send->data_bytes <= RECORD_DATA_BYTES)
        err = evbuffer_expand(output, RECORD_BYTES); /* in one piece, with what follows */
    if (err != 0)
        ;
    else if (send->head_bytes <= SMALL_BYTES)
        err = evbuffer_add(output, send->head, send->head_bytes);
    else if ((err = evbuffer_add_reference(output, send->head, send->head_bytes, head_cleanup, send->head)) == 0)
        send->head = NULL;
    if (err == 0 && shared_bytes > 0 && shared_bytes <= SMALL_BYTES)
        err = evbuffer_add(output, shared, shared_bytes);
    else if (err == 0 && shared_bytes > 0 &&
             (err = evbuffer_add_reference(output, shared, shared_bytes, shared_cleanup, send->shared)) == 0)
        send->shared = NULL;
    if (err == 0)
        err = add_data(output, send);
    if (err != 0)
        vvp_fail(peer, "no memory");
    atomic_fetch_add_explicit(&peer->messages_out, 1, memory_order_relaxed);
    peer->sent_ms = vv_monotonic_ms();
    vvp_send_free(send);
}

/* What the queue holds comes to the loop: requests begin to wait for answers, requests that came are answered. */
static void take_queue(VvPeer *peer)
{
    GQueue taken = G_QUEUE_INIT;

    {
        VV_LOCKED(&peer->lock);
        taken = peer->queue;
        g_queue_init(&peer->queue);
        peer->woken = false;
    }
    for (VvSend *send; (send = g_queue_pop_head(&taken));) {
        if (send->asked) {
            VvAsked *asked = g_steal_pointer(&send->asked);

            vvp_due(peer, asked->deadline_ms);
            g_hash_table_insert(peer->asked, &asked->id, asked);
        }
        if (send->flags == VV_FRAME_REPLY)
            g_assert(g_hash_table_remove(peer->unanswered, &send->request)); /* a reply to nothing, or a second one */
        g_queue_push_tail(&peer->waiting, send);
    }
}

void vvp_pump(VvPeer *peer)
{
    struct evbuffer *output;
    size_t waiting_bytes;

    if (peer->state != VV_PEER_UP)
        return;
    take_queue(peer);
    output = bufferevent_get_output(peer->bev);
    while (!g_queue_is_empty(&peer->waiting) && evbuffer_get_length(output) < VV_PEER_QUEUE_BATCH_BYTES) {
        if (evbuffer_get_length(output) == 0)
            peer->drained_ms = vv_monotonic_ms();
        put(peer, g_queue_pop_head(&peer->waiting));
    }
    {
        VV_LOCKED(&peer->lock);
        waiting_bytes = peer->waiting_bytes;
    }
    if (waiting_bytes > peer->output_max)
        vvp_fail(peer, "%zu bytes wait for it", waiting_bytes);
    else if (!peer->control && !peer->options.dialled && waiting_bytes > peer->output_high)
        vvp_set_pause(peer, VV_PAUSE_OUTPUT, true); /* no further requests while answers pile up */
}

void vvp_write(VvPeer *peer, uint16_t kind, const void *body, size_t body_bytes)
{
    struct evbuffer *output = bufferevent_get_output(peer->bev);
    VvFrame frame = { .kind = kind, .body_bytes = (uint32_t) body_bytes };
    uint8_t raw[VV_FRAME_BYTES];

    vv_frame_encode(&frame, raw);
    {
        VV_LOCKED(&peer->lock);
        peer->waiting_bytes += sizeof raw + body_bytes;
    }
    peer->sent_ms = vv_monotonic_ms();
    if (evbuffer_get_length(output) == 0)
        peer->drained_ms = peer->sent_ms;
    if (evbuffer_add(output, raw, sizeof raw) != 0 || evbuffer_add(output, body, body_bytes) != 0)
        vvp_fail(peer, "no memory");
}

/* Some of the output has gone through TLS into the kernel. */
void vvp_output_cb(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *user)
{
    VvPeer *peer = user;

    (void) buffer;
    if (info->n_deleted == 0)
        return;
    peer->drained_ms = vv_monotonic_ms();
    atomic_fetch_add_explicit(&peer->bytes_out, info->n_deleted, memory_order_relaxed);
    VV_LOCKED(&peer->lock);
    peer->waiting_bytes -= info->n_deleted;
}

void vvp_write_cb(struct bufferevent *bev, void *user)
{
    VvPeer *peer = user;
    bool easy, tell;

    if (peer->state == VV_PEER_LEAVING) {
        if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
            vvp_fail(peer, "left");
        return;
    }
    vvp_pump(peer);
    if (peer->state != VV_PEER_UP)
        return;
    {
        VV_LOCKED(&peer->lock);
        easy = peer->waiting_bytes <= peer->output_low;
        tell = easy && peer->refused && peer->asked_count < peer->asked_max;
        if (tell)
            peer->refused = false;
    }
    if (easy && (peer->pauses & VV_PAUSE_OUTPUT)) {
        vvp_set_pause(peer, VV_PAUSE_OUTPUT, false);
        vvp_input(peer);
    }
    if (tell && peer->options.events->writable)
        peer->options.events->writable(peer, peer->options.user);
}

/* Give back all that was borrowed, forget the rest. */
void vvp_output_clear(VvPeer *peer)
{
    take_queue(peer);
    for (VvSend *send; (send = g_queue_pop_head(&peer->waiting));)
        vvp_send_free(send);
    if (peer->bev) {
        struct evbuffer *output = bufferevent_get_output(peer->bev);

        evbuffer_remove_cb(output, vvp_output_cb, peer);
        evbuffer_unfreeze(output, 1);
        g_assert(evbuffer_drain(output, evbuffer_get_length(output)) == 0);
    }
}

/* Take the request @id out of what has not been sent. False: it has. */
static bool drop_unsent(VvPeer *peer, uint64_t id)
{
    for (GList *link = peer->waiting.head; link; link = link->next) {
        VvSend *send = link->data;

        if (send->flags != VV_FRAME_REQUEST || send->request != id)
            continue;
        {
            VV_LOCKED(&peer->lock);
            peer->waiting_bytes -= send_bytes(send);
        }
        g_queue_delete_link(&peer->waiting, link);
        vvp_send_free(send);
        return true;
    }
    return false;
}

uint64_t vvp_expire(VvPeer *peer, uint64_t now_ms)
{
    g_autoptr(GPtrArray) late = NULL;
    uint64_t next_ms = UINT64_MAX;
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, peer->asked);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvAsked *asked = value;

        if (asked->deadline_ms > now_ms) {
            next_ms = MIN(next_ms, asked->deadline_ms);
            continue;
        }
        if (!late)
            late = g_ptr_array_new();
        g_ptr_array_add(late, asked);
        g_hash_table_iter_steal(&iter);
    }
    if (peer->answered && peer->answered->deadline_ms <= now_ms) { /* what still comes of its answer is dropped */
        peer->data = NULL;
        peer->data_dropped = true;
        vvp_asked_done(peer, g_steal_pointer(&peer->answered), -ETIMEDOUT, NULL, true);
    } else if (peer->answered) {
        next_ms = MIN(next_ms, peer->answered->deadline_ms);
    }
    for (guint i = 0; late && i < late->len; i++) {
        VvAsked *asked = g_ptr_array_index(late, i);

        bool over = drop_unsent(peer, asked->id);

        if (!over)
            g_hash_table_add(peer->late, g_memdup2(&asked->id, sizeof asked->id));
        vvp_asked_done(peer, asked, -ETIMEDOUT, NULL, over);
    }
    return next_ms;
}
