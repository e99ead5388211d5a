/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Greetings: states in greet.h. Nothing is freed within a callback of the bufferevent: who ends posts its end. */
#include "greet.h"

#include "codec.h"
#include "error.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

typedef enum { CONNECTING, SHAKING, HELLO, FLUSHING, STRANGER, JOINING, PARTING, ENDED } VvGreetingState;

struct VvGreeting {
    VvPeerLoop *door;
    VvTls *tls;
    const VvGreetingEvents *events;
    void *user;
    VvGreetingState state;
    bool dialled, strange;
    bool met, told; /* how it ended */
    bool joining, let_in;
    unsigned reason; /* of a goodbye; 0: none */
    int fd;
    SSL *ssl;
    struct event *connecting;
    struct bufferevent *bev;
    VvPeerTimer *timer;
    VvAddress address;
    VvHello ours, theirs;
    VvIdentity identity;
    VvJoin *join; /* of state joining; borrowed */
    char *why;
};

struct VvJoin {
    gint references;
    VvPeerLoop *door;
    VvGreeting *greeting; /* the door's thread; NULL: it has gone */
    VvJoinRequest request;
    VvAddress address;
    GByteArray *signed_bytes; /* what the proof is over */
};

/* ---- the end */
static void join_unref(VvJoin *join)
{
    if (!g_atomic_int_dec_and_test(&join->references))
        return;
    vv_join_request_clear(&join->request);
    g_byte_array_unref(join->signed_bytes);
    g_free(join);
}

static void release_socket(VvGreeting *greeting)
{
    if (greeting->connecting)
        event_free(greeting->connecting);
    greeting->connecting = NULL;
    if (greeting->bev) {
        bufferevent_setcb(greeting->bev, NULL, NULL, NULL, NULL);
        bufferevent_free(greeting->bev);
        greeting->bev = NULL;
    }
}

static void greeting_free(VvGreeting *greeting)
{
    release_socket(greeting);
    vv_peer_timer_free(greeting->timer);
    if (greeting->ssl) {
        ERR_clear_error();
        if (SSL_is_init_finished(greeting->ssl))
            SSL_shutdown(greeting->ssl);
        ERR_clear_error();
        SSL_free(greeting->ssl);
    }
    vv_close_fd(&greeting->fd);
    if (greeting->join) {
        greeting->join->greeting = NULL;
        join_unref(greeting->join);
    }
    g_free(greeting->why);
    g_free(greeting);
}

/* Give the session away: TLS, descriptor, and what came behind the hello. */
static void hand_on(VvGreeting *greeting)
{
    VvPeerOptions met = {
        .ssl = greeting->ssl,
        .carry = evbuffer_new(),
        .ours = greeting->ours,
        .theirs = greeting->theirs,
        .identity = greeting->identity,
        .address = greeting->address,
        .dialled = greeting->dialled,
    };
    uint8_t rest[4096];
    int bytes;

    evbuffer_add_buffer(met.carry, bufferevent_get_input(greeting->bev));
    release_socket(greeting);
    /* libevent leaves nothing in TLS's memory once it has called back; should it ever, nobody would look there */
    while (SSL_pending(met.ssl) > 0 && (bytes = SSL_read(met.ssl, rest, sizeof rest)) > 0)
        evbuffer_add(met.carry, rest, (size_t) bytes);
    ERR_clear_error();
    greeting->ssl = NULL;
    greeting->fd = -1;
    greeting->events->met(greeting, &met, greeting->user);
}

static void ended_cb(void *data)
{
    VvGreeting *greeting = data;

    if (greeting->told) {
        /* cancelled meanwhile */
    } else if (greeting->met) {
        hand_on(greeting);
    } else {
        greeting->events->ended(greeting, greeting->why ? greeting->why : "ended", greeting->user);
    }
    greeting_free(greeting);
}

static void finish(VvGreeting *greeting, bool met)
{
    if (greeting->state == ENDED)
        return;
    greeting->state = ENDED;
    greeting->met = met;
    if (greeting->bev)
        bufferevent_disable(greeting->bev, EV_READ | EV_WRITE);
    vv_peer_timer_clear(greeting->timer);
    vv_peer_loop_post(greeting->door, ended_cb, greeting);
}

static void fail(VvGreeting *greeting, const char *why)
{
    if (greeting->state != ENDED && !greeting->why)
        greeting->why = g_strdup(why);
    finish(greeting, false);
}

void vv_greeting_cancel(VvGreeting *greeting)
{
    greeting->told = true;
    finish(greeting, false);
}

/* ---- sending */
static void send_frame(VvGreeting *greeting, uint16_t kind, const GByteArray *body)
{
    VvFrame frame = { .kind = kind, .body_bytes = body->len };
    uint8_t raw[VV_FRAME_BYTES];

    vv_frame_encode(&frame, raw);
    bufferevent_write(greeting->bev, raw, sizeof raw);
    bufferevent_write(greeting->bev, body->data, body->len);
}

static void send_hello(VvGreeting *greeting)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    vv_hello_encode(&greeting->ours, body);
    send_frame(greeting, VV_FRAME_HELLO, body);
}

/* Say why, then end: only to those whose certificate is the pool's. */
static void refuse(VvGreeting *greeting, unsigned reason, const char *why)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    greeting->why = g_strdup(why);
    greeting->reason = reason;
    vv_goodbye_encode((uint16_t) reason, why, body);
    send_frame(greeting, VV_FRAME_GOODBYE, body);
    greeting->state = PARTING;
    bufferevent_disable(greeting->bev, EV_READ);
}

/* ---- hellos */
static unsigned reason_of(const GError *error)
{
    return g_error_matches(error, VV_ERROR, VV_ERROR_UNSUPPORTED) ? VV_GOODBYE_VERSION : VV_GOODBYE_POOL;
}

/* Is who speaks who it must be? */
static bool check_speaker(VvGreeting *greeting, const VvHello *theirs, unsigned *ret_reason, GError **error)
{
    uint16_t version;
    uint64_t features;

    if (!vv_hello_agree(&greeting->ours, theirs, &version, &features, error)) {
        *ret_reason = reason_of(*error);
        return false;
    }
    *ret_reason = VV_GOODBYE_NODE;
    if (theirs->node != greeting->identity.node)
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL,
            "it says that it is node %" G_GUINT64_FORMAT ", and its certificate that it is %" G_GUINT64_FORMAT,
            theirs->node, greeting->identity.node);
    else if (theirs->to != greeting->ours.node)
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL,
            "it wants node %" G_GUINT64_FORMAT ", and this is %" G_GUINT64_FORMAT ": an address is wrong", theirs->to,
            greeting->ours.node);
    else
        return true;
    return false;
}

/* We dialled, and this is the answer. */
static void take_answer(VvGreeting *greeting, const VvHello *theirs)
{
    g_autoptr(GError) error = NULL;
    unsigned reason;

    if (!check_speaker(greeting, theirs, &reason, &error)) {
        refuse(greeting, reason, error->message);
    } else if (theirs->purpose != greeting->ours.purpose || theirs->channel != greeting->ours.channel) {
        refuse(greeting, VV_GOODBYE_PROTOCOL, "it answered for another channel");
    } else {
        greeting->theirs = *theirs;
        finish(greeting, true);
    }
}

static void take_call(VvGreeting *greeting, const VvHello *theirs)
{
    g_autoptr(GError) error = NULL;
    unsigned reason = VV_GOODBYE_PROTOCOL;

    greeting->ours.purpose = theirs->purpose;
    greeting->ours.channel = theirs->channel;
    greeting->ours.to = theirs->node;
    if (!check_speaker(greeting, theirs, &reason, &error) ||
        !greeting->events->heard(
            greeting, theirs, &greeting->identity, &greeting->ours, &reason, &error, greeting->user)) {
        refuse(greeting, reason, error->message);
        return;
    }
    greeting->theirs = *theirs;
    greeting->state = FLUSHING;
    bufferevent_disable(greeting->bev, EV_READ); /* what follows is for the peer */
    send_hello(greeting);
}

static void take_join(VvGreeting *greeting, const uint8_t *body, size_t length_bytes)
{
    g_autoptr(GError) error = NULL;
    VvJoin *join = g_new0(VvJoin, 1);
    uint8_t binding[VV_TLS_BINDING_BYTES];

    join->references = 1;
    join->door = greeting->door;
    join->address = greeting->address;
    join->signed_bytes = g_byte_array_new();
    if (!vv_join_request_decode(body, length_bytes, &join->request, &error) ||
        !vv_tls_binding(greeting->ssl, binding)) {
        join_unref(join);
        fail(greeting, error ? error->message : "TLS has no binding");
        return;
    }
    vv_write_bytes(join->signed_bytes, binding, sizeof binding);
    vv_write_bytes(join->signed_bytes, body, length_bytes - VV_PROOF_BYTES);
    join->greeting = greeting;
    join->references++;
    greeting->join = join;
    greeting->joining = true;
    greeting->state = JOINING;
    vv_peer_timer_set(greeting->timer, VV_JOIN_MS);
    bufferevent_disable(greeting->bev, EV_READ);
    greeting->events->join(join, greeting->user);
}

/* ---- input */
static bool belongs(const VvGreeting *greeting, const VvFrame *frame)
{
    uint32_t longest = greeting->state == STRANGER ? VV_JOIN_BYTES_MAX : VV_HELLO_BYTES_MAX;

    if (frame->flags != 0 || frame->data_bytes != 0 || frame->body_bytes > longest)
        return false;
    if (greeting->state == STRANGER)
        return frame->kind == VV_FRAME_JOIN;
    return frame->kind == VV_FRAME_HELLO || (greeting->dialled && frame->kind == VV_FRAME_GOODBYE);
}

static void take_body(VvGreeting *greeting, uint16_t kind, const uint8_t *body, size_t length_bytes)
{
    g_autoptr(GError) error = NULL;
    VvGoodbye goodbye;
    VvHello theirs;

    if (kind == VV_FRAME_JOIN) {
        take_join(greeting, body, length_bytes);
    } else if (kind == VV_FRAME_GOODBYE) {
        bool good = vv_goodbye_decode(body, length_bytes, &goodbye, &error);

        greeting->reason = good ? goodbye.reason : 0;
        fail(greeting, good ? goodbye.text : error->message);
    } else if (!vv_hello_decode(body, length_bytes, &theirs, &error)) {
        fail(greeting, error->message);
    } else if (greeting->dialled) {
        take_answer(greeting, &theirs);
    } else {
        take_call(greeting, &theirs);
    }
}

static void read_cb(struct bufferevent *bev, void *user)
{
    VvGreeting *greeting = user;
    struct evbuffer *input = bufferevent_get_input(bev);
    g_autoptr(GError) error = NULL;
    uint8_t raw[VV_FRAME_BYTES];
    g_autofree uint8_t *body = NULL;
    VvFrame frame;

    if ((greeting->state != HELLO && greeting->state != STRANGER) || evbuffer_get_length(input) < VV_FRAME_BYTES)
        return;
    evbuffer_copyout(input, raw, sizeof raw);
    if (!vv_frame_decode(raw, &frame, &error)) {
        fail(greeting, error->message);
        return;
    }
    if (!belongs(greeting, &frame)) {
        fail(greeting, "it began with a message that does not belong there");
        return;
    }
    if (evbuffer_get_length(input) < VV_FRAME_BYTES + (size_t) frame.body_bytes)
        return;
    evbuffer_drain(input, VV_FRAME_BYTES);
    body = g_malloc(frame.body_bytes + 1);
    evbuffer_remove(input, body, frame.body_bytes);
    take_body(greeting, frame.kind, body, frame.body_bytes);
}

static void write_cb(struct bufferevent *bev, void *user)
{
    VvGreeting *greeting = user;

    if (evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return;
    if (greeting->state == FLUSHING)
        finish(greeting, true);
    else if (greeting->state == PARTING)
        finish(greeting, false);
}

/* ---- TLS */
static void shaken(VvGreeting *greeting)
{
    g_autoptr(GError) error = NULL;

    if (!vv_tls_peer(greeting->tls, greeting->ssl, &greeting->identity, &error)) {
        fail(greeting, error->message);
        return;
    }
    greeting->strange = greeting->identity.node == 0;
    if (greeting->dialled && greeting->identity.node != greeting->ours.to) {
        g_autofree char *why = g_strdup_printf("node %" G_GUINT64_FORMAT " answers there, not node %" G_GUINT64_FORMAT,
            greeting->identity.node, greeting->ours.to);

        greeting->reason = VV_GOODBYE_NODE;
        fail(greeting, why);
        return;
    }
    greeting->state = greeting->strange ? STRANGER : HELLO;
    if (greeting->dialled)
        send_hello(greeting);
}

static void event_cb(struct bufferevent *bev, short what, void *user)
{
    VvGreeting *greeting = user;
    int err = EVUTIL_SOCKET_ERROR();
    unsigned long tls = bufferevent_get_openssl_error(bev);
    const char *reason = tls ? ERR_reason_error_string(tls) : NULL;

    ERR_clear_error();
    if (what & BEV_EVENT_CONNECTED) {
        if (greeting->state == SHAKING)
            shaken(greeting);
    } else if (reason && ERR_GET_REASON(tls) != SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        g_autofree char *why = g_strdup_printf("TLS: %s", reason);

        fail(greeting, why);
    } else {
        fail(greeting, (what & BEV_EVENT_EOF) || reason || err == 0 ? "it closed the connection" : g_strerror(err));
    }
}

static void shake(VvGreeting *greeting)
{
    int one = 1;

    greeting->state = SHAKING;
    setsockopt(greeting->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (greeting->ssl && SSL_set_fd(greeting->ssl, greeting->fd) == 1)
        greeting->bev = bufferevent_openssl_socket_new(vv_peer_loop_base(greeting->door), greeting->fd, greeting->ssl,
            greeting->dialled ? BUFFEREVENT_SSL_CONNECTING : BUFFEREVENT_SSL_ACCEPTING, 0);
    if (!greeting->bev) {
        fail(greeting, "no memory");
        return;
    }
    bufferevent_setcb(greeting->bev, read_cb, write_cb, event_cb, greeting);
    bufferevent_enable(greeting->bev, EV_READ | EV_WRITE);
}

static void timer_cb(void *data)
{
    VvGreeting *greeting = data;
    static const char *const late[] = { "it does not answer", "the TLS handshake took too long",
        "it did not say hello in time", "it does not take our hello", "it did not say what it wants in time",
        "the request to join took too long", "it does not take our last words", "" };

    fail(greeting, late[greeting->state]);
}

static VvGreeting *greeting_new(VvPeerLoop *door, VvTls *tls, const VvAddress *address, const VvHello *hello,
    uint64_t limit_ms, const VvGreetingEvents *events, void *user)
{
    VvGreeting *greeting = g_new0(VvGreeting, 1);

    greeting->door = door;
    greeting->tls = tls;
    greeting->events = events;
    greeting->user = user;
    greeting->address = *address;
    greeting->ours = *hello;
    greeting->strange = true;
    greeting->timer = vv_peer_timer_new(door, timer_cb, greeting);
    vv_peer_timer_set(greeting->timer, limit_ms ? limit_ms : VV_GREETING_MS);
    return greeting;
}

VvGreeting *vv_greeting_accept(VvPeerLoop *door, VvTls *tls, int fd, const VvAddress *address, bool strangers,
    const VvHello *hello, uint64_t limit_ms, const VvGreetingEvents *events, void *user)
{
    VvGreeting *greeting = greeting_new(door, tls, address, hello, limit_ms, events, user);

    greeting->fd = fd;
    greeting->ssl = vv_tls_accept(tls, strangers);
    shake(greeting);
    return greeting;
}

static void connected_cb(evutil_socket_t fd, short what, void *user)
{
    VvGreeting *greeting = user;
    socklen_t length = sizeof(int);
    int err = 0;

    (void) what;
    if (greeting->state != CONNECTING)
        return;
    if (getsockopt((int) fd, SOL_SOCKET, SO_ERROR, &err, &length) != 0)
        err = errno;
    if (err != 0)
        fail(greeting, g_strerror(err));
    else
        shake(greeting);
}

VvGreeting *vv_greeting_dial(VvPeerLoop *door, VvTls *tls, const VvAddress *address, const VvHello *hello,
    uint64_t limit_ms, const VvGreetingEvents *events, void *user)
{
    VvGreeting *greeting = greeting_new(door, tls, address, hello, limit_ms, events, user);

    greeting->dialled = true;
    greeting->strange = false;
    greeting->ssl = vv_tls_connect(tls);
    greeting->fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (greeting->fd < 0 ||
        (connect(greeting->fd, (const struct sockaddr *) &address->socket, address->socket_bytes) != 0 &&
            errno != EINPROGRESS)) {
        fail(greeting, g_strerror(errno));
        return greeting;
    }
    greeting->connecting = event_new(vv_peer_loop_base(door), greeting->fd, EV_WRITE, connected_cb, greeting);
    if (!greeting->connecting || event_add(greeting->connecting, NULL) != 0)
        fail(greeting, "no memory");
    return greeting;
}

const VvAddress *vv_greeting_address(const VvGreeting *greeting)
{
    return &greeting->address;
}

bool vv_greeting_dialled(const VvGreeting *greeting)
{
    return greeting->dialled;
}

bool vv_greeting_is_strange(const VvGreeting *greeting)
{
    return greeting->strange;
}

uint64_t vv_greeting_node(const VvGreeting *greeting)
{
    return greeting->identity.node;
}

bool vv_greeting_is_joining(const VvGreeting *greeting)
{
    return greeting->joining;
}

bool vv_greeting_is_let_in(const VvGreeting *greeting)
{
    return greeting->let_in;
}

unsigned vv_greeting_reason(const VvGreeting *greeting)
{
    return greeting->reason;
}

/* ---- joining */
const VvJoinRequest *vv_join_request(const VvJoin *join)
{
    return &join->request;
}

const VvAddress *vv_join_address(const VvJoin *join)
{
    return &join->address;
}

bool vv_join_proves(const VvJoin *join, const uint8_t verifier[VV_VERIFIER_BYTES])
{
    return vv_token_verify(verifier, join->signed_bytes->data, join->signed_bytes->len, join->request.proof);
}

typedef struct {
    VvJoin *join;
    GByteArray *body;
    char *why;
    bool let_in;
} VvJoinAnswer;

static void answer_cb(void *data)
{
    VvJoinAnswer *answer = data;
    VvGreeting *greeting = answer->join->greeting;

    if (greeting && greeting->state == JOINING) {
        g_assert(answer->body->len <= VV_JOINED_BYTES_MAX);
        greeting->why = g_steal_pointer(&answer->why);
        greeting->let_in = answer->let_in;
        send_frame(greeting, VV_FRAME_JOINED, answer->body);
        greeting->state = PARTING;
        vv_peer_timer_set(greeting->timer, VV_GREETING_MS);
    }
    join_unref(answer->join);
    OPENSSL_cleanse(answer->body->data, answer->body->len);
    g_byte_array_unref(answer->body);
    g_free(answer->why);
    g_free(answer);
}

static void answer(VvJoin *join, GByteArray *body, char *why, bool let_in)
{
    VvJoinAnswer *data = g_new(VvJoinAnswer, 1);

    *data = (VvJoinAnswer){ join, body, why, let_in };
    vv_peer_loop_post(join->door, answer_cb, data);
}

void vv_join_accept(VvJoin *join, const VvJoined *joined)
{
    GByteArray *body = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    if (!vv_known_nodes_check(joined->nodes, &error)) {
        g_byte_array_unref(body);
        vv_join_refuse(join, error);
        return;
    }
    vv_joined_encode(joined, body);
    answer(join, body, g_strdup_printf("%s joined as node %" G_GUINT64_FORMAT, joined->node_name, joined->node), true);
}

void vv_join_refuse(VvJoin *join, const GError *why)
{
    GByteArray *body = g_byte_array_new();

    vv_joined_encode_refusal(why, body);
    answer(join, body, g_strdup_printf("%s may not join: %s", join->request.name, why->message), false);
}
