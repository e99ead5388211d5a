/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A peer's life: states in peer.h, and the one timer that watches it.
 *
 *   since                       longest             then
 *   anything was sent           idle_ms             a ping goes
 *   anything came               dead_ms             down, unless reading is paused
 *   a frame began               frame_ms            down, unless reading is paused
 *   output went, and some waits stall_ms            down
 *   a request was sent          its timeout         it is answered -ETIMEDOUT
 *
 * A process that was stopped finds all of them over when it goes on. What was not heard meanwhile is not the other end's silence: the
 * time by which the timer itself is late does not count. */
#include "peer_private.h"

#include "codec.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#define LATE_MS 100u /* a timer that is later than this was not run: the process stood still */

uint64_t vvp_limit(uint64_t chosen_ms, uint64_t usual_ms)
{
    return chosen_ms ? chosen_ms : usual_ms;
}

/* ---- making and freeing */
static void asked_free(void *data)
{
    g_free(data);
}

static void set_limits(VvPeer *peer)
{
    const VvHello *ours = &peer->options.ours, *theirs = &peer->options.theirs;

    peer->control = ours->purpose == VV_PURPOSE_CONTROL;
    peer->body_in_max = ours->body_max;
    peer->data_in_max = ours->data_max;
    peer->body_out_max = MIN(theirs->body_max, VV_PEER_BODY_BYTES_MAX);
    peer->data_out_max = MIN(theirs->data_max, VV_PEER_DATA_BYTES_MAX);
    peer->asked_max = theirs->requests_max;
    peer->unanswered_max = ours->requests_max;
    peer->output_high = peer->control ? VV_PEER_OUTPUT_BYTES_HIGH : VV_DATA_OUTPUT_BYTES_HIGH;
    peer->output_low = peer->control ? VV_PEER_OUTPUT_BYTES_LOW : VV_DATA_OUTPUT_BYTES_LOW;
    peer->output_max = peer->control ? VV_PEER_OUTPUT_BYTES_MAX : VV_DATA_OUTPUT_BYTES_MAX;
}

VvPeer *vv_peer_new(const VvPeerOptions *options)
{
    VvPeer *peer = g_new0(VvPeer, 1);

    g_assert(options->events->message);
    peer->references = 1;
    peer->loop = options->loop;
    peer->options = *options;
    peer->options.times.idle_ms = vvp_limit(options->times.idle_ms, VV_PEER_IDLE_MS);
    peer->options.times.dead_ms = vvp_limit(options->times.dead_ms, VV_PEER_DEAD_MS);
    peer->options.times.frame_ms = vvp_limit(options->times.frame_ms, VV_PEER_FRAME_MS);
    set_limits(peer);
    peer->options.times.stall_ms =
        vvp_limit(options->times.stall_ms, peer->control ? VV_CONTROL_STALL_MS : VV_DATA_STALL_MS);
    peer->input = options->carry ? options->carry : evbuffer_new();
    g_assert(peer->input);
    peer->asked = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, asked_free);
    peer->late = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    peer->unanswered = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    g_queue_init(&peer->waiting);
    g_queue_init(&peer->queue);
    pthread_mutex_init(&peer->lock, NULL);
    return peer;
}

VvPeer *vv_peer_ref(VvPeer *peer)
{
    g_atomic_int_inc(&peer->references);
    return peer;
}

static void close_socket(SSL *ssl)
{
    int fd = ssl ? SSL_get_fd(ssl) : -1;

    if (!ssl)
        return;
    ERR_clear_error();
    SSL_shutdown(ssl);
    ERR_clear_error();
    SSL_free(ssl);
    if (fd >= 0)
        close(fd);
}

void vv_peer_options_clear(VvPeerOptions *options)
{
    if (options->ssl)
        close_socket(g_steal_pointer(&options->ssl));
    if (options->carry)
        evbuffer_free(g_steal_pointer(&options->carry));
}

void vv_peer_unref(VvPeer *peer)
{
    if (!peer || !g_atomic_int_dec_and_test(&peer->references))
        return;
    g_assert(peer->state == VV_PEER_NEW || peer->state == VV_PEER_DOWN);
    if (peer->options.ssl)
        close_socket(peer->options.ssl);
    for (VvSend *send; (send = g_queue_pop_head(&peer->queue));)
        vvp_send_free(send);
    evbuffer_free(peer->input);
    g_hash_table_unref(peer->asked);
    g_hash_table_unref(peer->late);
    g_hash_table_unref(peer->unanswered);
    pthread_mutex_destroy(&peer->lock);
    g_free(peer->why);
    g_free(peer);
}

/* ---- the end */
static void fail_requests(VvPeer *peer)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    GHashTableIter iter;
    void *asked;

    g_hash_table_iter_init(&iter, peer->asked);
    while (g_hash_table_iter_next(&iter, NULL, &asked))
        g_ptr_array_add(all, asked);
    g_hash_table_steal_all(peer->asked);
    for (guint i = 0; i < all->len; i++)
        vvp_asked_done(peer, g_ptr_array_index(all, i), -ECONNRESET, NULL, true);
}

static void go_down(VvPeer *peer)
{
    const VvPeerEvents *events = peer->options.events;

    if (peer->state == VV_PEER_DOWN)
        return;
    peer->state = VV_PEER_DOWN;
    g_clear_pointer(&peer->timer, vv_peer_timer_free);
    vvp_input_clear(peer);
    vvp_output_clear(peer);
    fail_requests(peer);
    if (peer->bev) {
        bufferevent_setcb(peer->bev, NULL, NULL, NULL, NULL);
        bufferevent_free(peer->bev);
        peer->bev = NULL;
    }
    close_socket(g_steal_pointer(&peer->options.ssl));
    if (events->down)
        events->down(peer, peer->why, peer->options.user);
    vv_peer_unref(peer); /* of vv_peer_start */
}

static void down_cb(void *data)
{
    go_down(data);
    vv_peer_unref(data);
}

static void begin_end(VvPeer *peer)
{
    peer->state = VV_PEER_ENDING;
    {
        VV_LOCKED(&peer->lock);
        peer->is_down = true;
    }
    if (peer->bev)
        bufferevent_disable(peer->bev, EV_READ | EV_WRITE);
    vv_peer_loop_post(peer->loop, down_cb, vv_peer_ref(peer));
}

void vvp_fail(VvPeer *peer, const char *format, ...)
{
    va_list arguments;

    if (peer->state != VV_PEER_UP && peer->state != VV_PEER_LEAVING)
        return;
    if (!peer->why) {
        va_start(arguments, format);
        peer->why = g_strdup_vprintf(format, arguments);
        va_end(arguments);
    }
    begin_end(peer);
}

static void event_cb(struct bufferevent *bev, short what, void *user)
{
    VvPeer *peer = user;
    int err = EVUTIL_SOCKET_ERROR();
    unsigned long tls = bufferevent_get_openssl_error(bev);

    if ((what & BEV_EVENT_EOF) || ERR_GET_REASON(tls) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        vvp_fail(peer, "it closed the connection");
    else if (tls != 0 && ERR_reason_error_string(tls))
        vvp_fail(peer, "TLS: %s", ERR_reason_error_string(tls));
    else if (what & BEV_EVENT_ERROR)
        vvp_fail(peer, "%s", err ? g_strerror(err) : "the connection broke");
}

typedef struct {
    VvPeer *peer; /* reference */
    unsigned reason;
    char *why;
} VvLeave;

static void say_goodbye(VvPeer *peer, unsigned reason)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    vv_goodbye_encode((uint16_t) reason, peer->why, body);
    vvp_write(peer, VV_FRAME_GOODBYE, body->data, body->len);
    if (peer->state != VV_PEER_UP)
        return;
    {
        VV_LOCKED(&peer->lock);
        peer->is_down = true; /* what is taken would not be sent */
    }
    peer->state = VV_PEER_LEAVING;
    bufferevent_disable(peer->bev, EV_READ);
    peer->timer_due_ms = 0;
    vvp_due(peer, vv_monotonic_ms() + peer->options.times.idle_ms);
}

static void leave_cb(void *data)
{
    VvLeave *leave = data;
    VvPeer *peer = leave->peer;

    if (leave->reason == 0 && peer->state != VV_PEER_NEW && peer->state != VV_PEER_DOWN) {
        /* at once, even if it is about to: its successor's start may be the next thing that was posted */
        if (!peer->why)
            peer->why = g_strdup(leave->why);
        begin_end(peer);
        go_down(peer);
    } else if (peer->state == VV_PEER_NEW && !peer->why) {
        peer->why = g_strdup(leave->why); /* it ends when it starts */
    } else if (peer->state == VV_PEER_UP) {
        peer->why = g_strdup(leave->why);
        say_goodbye(peer, leave->reason);
    }
    vv_peer_unref(peer);
    g_free(leave->why);
    g_free(leave);
}

void vv_peer_close(VvPeer *peer, unsigned reason, const char *why)
{
    VvLeave *leave = g_new0(VvLeave, 1);

    leave->peer = vv_peer_ref(peer);
    leave->reason = reason;
    leave->why = g_strdup(why);
    vv_peer_loop_post(peer->loop, leave_cb, leave);
}

/* ---- pauses */
void vvp_set_pause(VvPeer *peer, unsigned reason, bool on)
{
    unsigned before = peer->pauses;
    uint64_t now_ms = vv_monotonic_ms();

    peer->pauses = on ? before | reason : before & ~reason;
    if (peer->state != VV_PEER_UP || (before != 0) == (peer->pauses != 0))
        return;
    if (peer->pauses != 0) {
        peer->paused_ms = now_ms;
        bufferevent_disable(peer->bev, EV_READ);
        return;
    }
    peer->received_ms = now_ms;
    if (peer->frame_ms != 0)
        peer->frame_ms += now_ms - peer->paused_ms;
    vvp_due(peer, now_ms + peer->options.times.dead_ms);
    bufferevent_enable(peer->bev, EV_READ);
}

static void pause_cb(void *data)
{
    vvp_set_pause(data, VV_PAUSE_OWNER, true);
    vv_peer_unref(data);
}

static void resume_cb(void *data)
{
    VvPeer *peer = data;

    vvp_set_pause(peer, VV_PAUSE_OWNER | VV_PAUSE_PLACE, false);
    vvp_input(peer);
    vv_peer_unref(peer);
}

void vv_peer_pause(VvPeer *peer)
{
    g_assert(!peer->control);
    vv_peer_loop_post(peer->loop, pause_cb, vv_peer_ref(peer));
}

void vv_peer_resume(VvPeer *peer)
{
    vv_peer_loop_post(peer->loop, resume_cb, vv_peer_ref(peer));
}

static void doubt_cb(void *data)
{
    VvPeer *peer = data;
    uint64_t now_ms = vv_monotonic_ms();

    if (peer->state == VV_PEER_UP && peer->doubt_ms == 0 && peer->pauses == 0) {
        peer->doubt_ms = now_ms + MIN(VV_PEER_DOUBT_MS, peer->options.times.dead_ms);
        peer->received_ms = now_ms;
        peer->sent_ms = 0; /* a ping at once */
        vvp_due(peer, now_ms);
    }
    vv_peer_unref(peer);
}

void vv_peer_doubt(VvPeer *peer)
{
    vv_peer_loop_post(peer->loop, doubt_cb, vv_peer_ref(peer));
}

/* ---- the timer */
void vvp_due(VvPeer *peer, uint64_t due_ms)
{
    uint64_t now_ms;

    if (peer->timer_due_ms != 0 && peer->timer_due_ms <= due_ms)
        return;
    now_ms = vv_monotonic_ms();
    peer->timer_due_ms = MAX(due_ms, now_ms);
    vv_peer_timer_set(peer->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

/* The process stood still for @late_ms: nobody's fault. */
static void forgive(VvPeer *peer, uint64_t late_ms)
{
    peer->received_ms += late_ms;
    peer->drained_ms += late_ms;
    if (peer->frame_ms != 0)
        peer->frame_ms += late_ms;
    if (peer->doubt_ms != 0)
        peer->doubt_ms += late_ms;
}

static void send_ping(VvPeer *peer)
{
    uint8_t body[8];

    vv_put_u64(body, vv_monotonic_ns() / 1000);
    vvp_write(peer, VV_FRAME_PING, body, sizeof body);
}

/* What is over? Returns when the next thing will be. */
static uint64_t watch(VvPeer *peer, uint64_t now_ms)
{
    const VvPeerTimes *times = &peer->options.times;
    bool waits = evbuffer_get_length(bufferevent_get_output(peer->bev)) > 0;
    uint64_t due_ms = vvp_expire(peer, now_ms);

    if (peer->doubt_ms != 0 && peer->received_ms + MIN(VV_PEER_DOUBT_MS, times->dead_ms) > peer->doubt_ms)
        peer->doubt_ms = 0;
    if (waits && now_ms >= peer->drained_ms + times->stall_ms)
        vvp_fail(peer, "it has not taken anything for %" G_GUINT64_FORMAT " ms", times->stall_ms);
    else if (peer->pauses == 0 && now_ms >= peer->received_ms + times->dead_ms)
        vvp_fail(peer, "nothing was heard of it for %" G_GUINT64_FORMAT " ms", times->dead_ms);
    else if (peer->pauses == 0 && peer->doubt_ms != 0 && now_ms >= peer->doubt_ms)
        vvp_fail(peer, "it dials anew, and this connection is silent");
    else if (peer->pauses == 0 && peer->frame_ms != 0 && now_ms >= peer->frame_ms + times->frame_ms)
        vvp_fail(peer, "a message was not complete after %" G_GUINT64_FORMAT " ms", times->frame_ms);
    if (peer->state != VV_PEER_UP)
        return UINT64_MAX;
    if (now_ms >= peer->sent_ms + times->idle_ms && !waits)
        send_ping(peer);
    due_ms = MIN(due_ms, waits ? peer->drained_ms + times->stall_ms : peer->sent_ms + times->idle_ms);
    if (peer->pauses == 0) {
        due_ms = MIN(due_ms, peer->received_ms + times->dead_ms);
        if (peer->frame_ms != 0)
            due_ms = MIN(due_ms, peer->frame_ms + times->frame_ms);
        if (peer->doubt_ms != 0)
            due_ms = MIN(due_ms, peer->doubt_ms);
    }
    return due_ms;
}

static void timer_cb(void *data)
{
    VvPeer *peer = data;
    uint64_t now_ms = vv_monotonic_ms(), due_ms;

    if (now_ms > peer->timer_due_ms + LATE_MS)
        forgive(peer, now_ms - peer->timer_due_ms);
    peer->timer_due_ms = 0;
    if (peer->state == VV_PEER_LEAVING) {
        vvp_fail(peer, "left");
        return;
    }
    if (peer->state != VV_PEER_UP)
        return;
    due_ms = watch(peer, now_ms);
    if (peer->state == VV_PEER_UP)
        vvp_due(peer, MIN(due_ms, now_ms + peer->options.times.idle_ms));
}

void vv_peer_start(VvPeer *peer)
{
    struct event_base *base = vv_peer_loop_base(peer->loop);
    SSL *ssl = peer->options.ssl;

    g_assert(peer->state == VV_PEER_NEW && vv_peer_loop_is_mine(peer->loop));
    vv_peer_ref(peer);
    peer->state = VV_PEER_UP;
    peer->timer = vv_peer_timer_new(peer->loop, timer_cb, peer);
    peer->sent_ms = peer->received_ms = peer->drained_ms = vv_monotonic_ms();
    if (peer->why) {
        begin_end(peer);
        return;
    }
    peer->bev = bufferevent_openssl_socket_new(base, SSL_get_fd(ssl), ssl, BUFFEREVENT_SSL_OPEN, 0);
    if (!peer->bev) {
        vvp_fail(peer, "no memory");
        return;
    }
    evbuffer_add_cb(bufferevent_get_output(peer->bev), vvp_output_cb, peer);
    bufferevent_setwatermark(peer->bev, EV_WRITE, VV_PEER_QUEUE_BATCH_BYTES / 2, 0);
    bufferevent_setcb(peer->bev, vvp_read_cb, vvp_write_cb, event_cb, peer);
    bufferevent_enable(peer->bev, EV_READ | EV_WRITE);
    vvp_due(peer, peer->sent_ms + peer->options.times.idle_ms);
    vvp_pump(peer);
    vvp_input(peer);
}

/* ---- what does not change */
uint64_t vv_peer_node(const VvPeer *peer)
{
    return peer->options.theirs.node;
}

const VvHello *vv_peer_theirs(const VvPeer *peer)
{
    return &peer->options.theirs;
}

const VvHello *vv_peer_ours(const VvPeer *peer)
{
    return &peer->options.ours;
}

const VvIdentity *vv_peer_identity(const VvPeer *peer)
{
    return &peer->options.identity;
}

const VvAddress *vv_peer_address(const VvPeer *peer)
{
    return &peer->options.address;
}

bool vv_peer_dialled(const VvPeer *peer)
{
    return peer->options.dialled;
}

uint32_t vv_peer_body_max(const VvPeer *peer)
{
    return peer->body_out_max;
}

uint32_t vv_peer_data_max(const VvPeer *peer)
{
    return peer->data_out_max;
}

void vv_peer_counters(VvPeer *peer, VvPeerCounters *ret_counters)
{
    *ret_counters = (VvPeerCounters){
        .bytes_in = atomic_load_explicit(&peer->bytes_in, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&peer->bytes_out, memory_order_relaxed),
        .messages_in = atomic_load_explicit(&peer->messages_in, memory_order_relaxed),
        .messages_out = atomic_load_explicit(&peer->messages_out, memory_order_relaxed),
        .last_seen_ms = atomic_load_explicit(&peer->last_seen_ms, memory_order_relaxed),
        .round_trip_us = atomic_load_explicit(&peer->round_trip_us, memory_order_relaxed),
    };
    VV_LOCKED(&peer->lock);
    ret_counters->waiting_bytes = peer->waiting_bytes;
}
