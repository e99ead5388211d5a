/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two peers, or one and a hostile end, over real sockets and real TLS. */
#include "cluster-test.h"
#include "codec.h"
#include "error.h"
#include "peer.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define DATA_BYTES (1u << 20)
#define KIND (VV_FRAME_OWNER + 1)

/* ---- one end that is a VvPeer, and what happened to it */
typedef struct {
    VvPeer *peer;
    VvPeerLoop *loop;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    GString *heard;   /* bodies, one after the other, if they are short */
    GArray *requests; /* u64: not answered yet */
    unsigned messages, replies, timeouts, resets, downs, writables, data_done, places, unplaces;
    uint64_t sum;
    bool echo;     /* answer every request with its own body and data */
    bool no_place; /* place() says no, once */
    bool with_place;
    char *why;
    uint8_t *data;
} End;

static void note(End *end, unsigned *counter)
{
    VV_LOCKED(&end->lock);
    (*counter)++;
    pthread_cond_broadcast(&end->changed);
}

/* Wait until *@counter is at least @value; 20 s are for ever. */
static void await(End *end, const unsigned *counter, unsigned value)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    pthread_mutex_lock(&end->lock);
    while (*counter < value)
        g_assert_cmpint(pthread_cond_timedwait(&end->changed, &end->lock, &limit), ==, 0);
    pthread_mutex_unlock(&end->lock);
}

static void data_done_cb(void *user)
{
    End *end = user;

    note(end, &end->data_done);
}

static void message_cb(VvPeer *peer, const VvIncoming *in, void *user)
{
    End *end = user;
    bool echo;

    pthread_mutex_lock(&end->lock);
    echo = end->echo;
    if (in->body_bytes == 8)
        end->sum = end->sum * 31 + vv_get_u64(in->body);
    else if (in->body_bytes > 0 && in->body_bytes < 64)
        g_string_append_len(end->heard, (const char *) in->body, in->body_bytes);
    if (in->request != 0 && !echo)
        g_array_append_val(end->requests, in->request);
    if (in->data_bytes > 0 && end->with_place)
        g_assert_true(in->data == end->data);
    end->messages++;
    pthread_cond_broadcast(&end->changed);
    pthread_mutex_unlock(&end->lock);
    if (echo && in->request != 0) {
        VvOutgoing out = { .kind = in->kind,
            .body = in->body,
            .body_bytes = in->body_bytes,
            .data = end->data,
            .data_bytes = in->data_bytes,
            .data_done = data_done_cb,
            .data_user = end };

        if (in->data_bytes > 0)
            memcpy(end->data, in->data, in->data_bytes);
        vv_peer_reply(peer, in->request, &out);
    }
}

static void *place_cb(VvPeer *peer, const VvIncoming *in, void *user)
{
    End *end = user;
    bool refuse;

    (void) peer;
    g_assert_cmpuint(in->data_bytes, <=, DATA_BYTES);
    {
        VV_LOCKED(&end->lock);
        refuse = end->no_place;
        end->no_place = false;
    }
    note(end, &end->places);
    return refuse ? NULL : end->data;
}

static void unplace_cb(VvPeer *peer, void *data, void *user)
{
    End *end = user;

    (void) peer;
    g_assert_true(data == end->data);
    note(end, &end->unplaces);
}

static void writable_cb(VvPeer *peer, void *user)
{
    End *end = user;

    (void) peer;
    note(end, &end->writables);
}

static void down_cb(VvPeer *peer, const char *why, void *user)
{
    End *end = user;

    (void) peer;
    end->why = g_strdup(why);
    note(end, &end->downs);
}

static void done_cb(void *user, int result, const VvIncoming *reply)
{
    End *end = user;

    g_assert_true((result == 0) == (reply != NULL));
    if (result == 0)
        note(end, &end->replies);
    else if (result == -ETIMEDOUT)
        note(end, &end->timeouts);
    else if (result == -ECONNRESET)
        note(end, &end->resets);
    else
        g_assert_not_reached();
}

static const VvPeerEvents plain_events = { message_cb, NULL, NULL, writable_cb, down_cb };
static const VvPeerEvents place_events = { message_cb, place_cb, unplace_cb, writable_cb, down_cb };

/* ---- a line between two ends */
typedef struct {
    TestPool *pool;
    VvTls *tls[2];
    SSL *ssl[2];
    End end[2];
} Line;

static VvHello hello_of(const Line *line, unsigned side, VvPurpose purpose)
{
    VvHello hello = { .version_min = 1,
        .version_max = 1,
        .pool = line->pool->uuid,
        .node = side + 1,
        .to = 2 - side,
        .instance = side + 100,
        .dial = 1,
        .purpose = purpose,
        .channel = purpose == VV_PURPOSE_DATA,
        .channels = 1,
        .requests_max = 8,
        .body_max = 65536,
        .data_max = DATA_BYTES,
        .name = "n" };

    return hello;
}

static void shake(SSL *client, SSL *server)
{
    bool a = false, b = false;

    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    for (unsigned i = 0; i < 1000 && !(a && b); i++) {
        a = SSL_do_handshake(client) == 1;
        b = SSL_do_handshake(server) == 1;
    }
    g_assert_true(a && b);
}

/* TLS is up; no end is a peer yet. Side 0 dialled. */
static Line *line_new(void)
{
    Line *line = g_new0(Line, 1);
    int fds[2];

    line->pool = test_pool_new();
    line->tls[0] = test_pool_tls(line->pool, 1, false, 0);
    line->tls[1] = test_pool_tls(line->pool, 2, false, 0);
    line->ssl[0] = vv_tls_connect(line->tls[0]);
    line->ssl[1] = vv_tls_accept(line->tls[1], false);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), ==, 0);
    for (unsigned i = 0; i < 2; i++) {
        End *end = &line->end[i];

        SSL_set_fd(line->ssl[i], fds[i]);
        pthread_mutex_init(&end->lock, NULL);
        pthread_cond_init(&end->changed, NULL);
        end->heard = g_string_new(NULL);
        end->requests = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        end->data = g_malloc0(DATA_BYTES);
    }
    shake(line->ssl[0], line->ssl[1]);
    return line;
}

static void start_cb(void *data)
{
    vv_peer_start(data);
}

static void line_start(
    Line *line, unsigned side, VvPurpose purpose, const VvPeerTimes *times, const VvPeerEvents *events)
{
    End *end = &line->end[side];
    VvPeerOptions options = { .ssl = g_steal_pointer(&line->ssl[side]),
        .ours = hello_of(line, side, purpose),
        .theirs = hello_of(line, 1 - side, purpose),
        .identity = { .node = 2 - side },
        .dialled = side == 0,
        .times = *times,
        .events = events,
        .user = end };

    end->loop = vv_peer_loop_new("vv-test", NULL);
    end->with_place = events == &place_events;
    options.loop = end->loop;
    end->peer = vv_peer_new(&options);
    vv_peer_loop_post(end->loop, start_cb, end->peer);
}

static Line *line_new_both(VvPurpose purpose, const VvPeerEvents *events)
{
    static const VvPeerTimes times = { .idle_ms = 50 };
    Line *line = line_new();

    line_start(line, 0, purpose, &times, events);
    line_start(line, 1, purpose, &times, events);
    return line;
}

static void line_free(Line *line)
{
    for (unsigned i = 0; i < 2; i++) {
        End *end = &line->end[i];

        if (end->peer) {
            vv_peer_close(end->peer, 0, "over");
            await(end, &end->downs, 1);
            vv_peer_unref(end->peer);
            vv_peer_loop_free(end->loop);
            g_assert_cmpuint(end->downs, ==, 1);
        }
        if (line->ssl[i]) {
            int fd = SSL_get_fd(line->ssl[i]);
            SSL_free(line->ssl[i]);
            close(fd);
        }
        g_string_free(end->heard, TRUE);
        g_array_unref(end->requests);
        g_free(end->data);
        g_free(end->why);
        pthread_mutex_destroy(&end->lock);
        pthread_cond_destroy(&end->changed);
        vv_tls_free(line->tls[i]);
    }
    test_pool_free(line->pool);
    g_free(line);
}

/* ---- messages */
#define MANY 4000u

static void *send_many(void *data)
{
    End *end = data;

    for (uint64_t i = 0; i < MANY;) {
        uint8_t body[8];
        VvOutgoing out = { .kind = KIND, .body = body, .body_bytes = sizeof body };
        unsigned before;
        int err;

        vv_put_u64(body, i);
        {
            VV_LOCKED(&end->lock);
            before = end->writables;
        }
        err = vv_peer_send(end->peer, &out);
        if (err == -EAGAIN)
            await(end, &end->writables, before + 1);
        else
            g_assert_cmpint(err, ==, 0);
        i += err == 0;
    }
    return NULL;
}

/* Both ways at a time, from threads of their own: all of it, in order. */
static void test_many(void)
{
    Line *line = line_new_both(VV_PURPOSE_CONTROL, &plain_events);
    pthread_t threads[2];
    uint64_t sum = 0;

    for (uint64_t i = 0; i < MANY; i++)
        sum = sum * 31 + i;
    for (unsigned i = 0; i < 2; i++)
        g_assert_cmpint(pthread_create(&threads[i], NULL, send_many, &line->end[i]), ==, 0);
    for (unsigned i = 0; i < 2; i++) {
        VvPeerCounters counters;

        await(&line->end[i], &line->end[i].messages, MANY);
        pthread_join(threads[i], NULL);
        g_assert_cmpuint(line->end[i].sum, ==, sum);
        vv_peer_counters(line->end[i].peer, &counters);
        g_assert_cmpuint(counters.messages_in, >=, MANY);
        g_assert_cmpuint(counters.bytes_in, >=, MANY * 40);
    }
    line_free(line);
}

static int ask(End *end, const char *body, uint32_t data_bytes, uint32_t into_bytes, uint64_t timeout_ms, uint8_t *into)
{
    VvOutgoing out = { .kind = KIND,
        .body = body,
        .body_bytes = (uint32_t) strlen(body),
        .data = end->data,
        .data_bytes = data_bytes,
        .data_done = data_done_cb,
        .data_user = end };
    VvPeerRequest request = {
        .timeout_ms = timeout_ms, .into = into, .into_bytes = into_bytes, .done = done_cb, .user = end
    };

    return vv_peer_request(end->peer, &out, &request);
}

/* 1 MiB there and back, through place() and into; everything borrowed is given back. */
static void test_data(void)
{
    Line *line = line_new_both(VV_PURPOSE_DATA, &place_events);
    End *client = &line->end[0], *server = &line->end[1];
    g_autofree uint8_t *into = g_malloc0(DATA_BYTES);
    enum { ROUNDS = 20 };

    server->echo = true;
    for (uint32_t i = 0; i < DATA_BYTES; i++)
        client->data[i] = (uint8_t) (i * 7 + i / 4096);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        uint32_t bytes = i == ROUNDS ? DATA_BYTES : i * 4096 + i;

        memset(into, 0, DATA_BYTES);
        g_assert_cmpint(ask(client, "w", bytes, DATA_BYTES, 10000, into), ==, 0);
        await(client, &client->replies, i);
        g_assert_true(memcmp(into, client->data, bytes) == 0);
    }
    await(client, &client->data_done, ROUNDS);
    await(server, &server->data_done, ROUNDS);
    g_assert_cmpuint(server->places, ==, ROUNDS);
    g_assert_cmpuint(server->unplaces, ==, 0);
    line_free(line);
}

/* No room at the receiver: it is asked again when there is; nothing is lost. */
static void count_records(int written, int version, int type, const void *data, size_t bytes, SSL *ssl, void *count)
{
    (void) version;
    (void) data;
    (void) bytes;
    (void) ssl;
    if (written && type == SSL3_RT_HEADER)
        atomic_fetch_add((atomic_uint *) count, 1);
}

/* A message with data of a block or two is one record, with what is lent given back all the same. */
static void test_records(void)
{
    static const VvPeerTimes times = { 0 };
    static const uint32_t sizes[] = { 512, 4096, 8192, 4096 };
    Line *line = line_new();
    End *client = &line->end[0], *server = &line->end[1];
    atomic_uint records = 0;

    SSL_set_msg_callback(line->ssl[0], count_records);
    SSL_set_msg_callback_arg(line->ssl[0], &records);
    line_start(line, 0, VV_PURPOSE_DATA, &times, &place_events);
    line_start(line, 1, VV_PURPOSE_DATA, &times, &place_events);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        VvOutgoing out = {
            .kind = KIND, .data = client->data, .data_bytes = sizes[i], .data_done = data_done_cb, .data_user = client
        };

        g_assert_cmpint(vv_peer_send(client->peer, &out), ==, 0);
        await(server, &server->messages, i + 1);
        await(client, &client->data_done, i + 1);
        g_assert_cmpuint(atomic_load(&records), ==, i + 1);
    }
    line_free(line);
}

static void test_no_place(void)
{
    Line *line = line_new_both(VV_PURPOSE_DATA, &place_events);
    End *client = &line->end[0], *server = &line->end[1];

    server->echo = server->no_place = true;
    g_assert_cmpint(ask(client, "one", DATA_BYTES, DATA_BYTES, 10000, client->data), ==, 0);
    g_assert_cmpint(ask(client, "two", 0, 0, 10000, NULL), ==, 0);
    await(server, &server->places, 1);
    g_assert_cmpuint(server->messages, ==, 0);
    vv_peer_resume(server->peer);
    await(client, &client->replies, 2);
    g_assert_cmpstr(server->heard->str, ==, "onetwo");
    g_assert_cmpuint(server->places, ==, 2);
    line_free(line);
}

/* An answer that does not come, comes too late, or will never come. */
static void test_timeout(void)
{
    Line *line = line_new_both(VV_PURPOSE_CONTROL, &plain_events);
    End *a = &line->end[0], *b = &line->end[1];
    VvOutgoing out = { .kind = KIND,
        .body = "late",
        .body_bytes = 4,
        .data = b->data,
        .data_bytes = 70000,
        .data_done = data_done_cb,
        .data_user = b };
    g_autofree uint8_t *into = g_malloc0(DATA_BYTES);

    g_assert_cmpint(ask(a, "?", 0, DATA_BYTES, 30, into), ==, 0);
    await(b, &b->messages, 1);
    await(a, &a->timeouts, 1);
    memset(b->data, 0xff, 70000);
    g_assert_cmpint(vv_peer_reply(b->peer, g_array_index(b->requests, uint64_t, 0), &out), ==, 0);
    /* it is dropped, and the connection goes on */
    g_assert_cmpint(ask(a, "!", 0, DATA_BYTES, 10000, into), ==, 0);
    await(b, &b->messages, 2);
    g_assert_cmpint(
        vv_peer_reply(b->peer, g_array_index(b->requests, uint64_t, 1), &(VvOutgoing){ .kind = KIND }), ==, 0);
    await(a, &a->replies, 1);
    g_assert_cmpuint(a->timeouts, ==, 1);
    g_assert_cmpuint(into[0], ==, 0);
    await(b, &b->data_done, 1);
    /* the connection ends with a request under way */
    g_assert_cmpint(ask(a, "?", 1000, 0, 10000, NULL), ==, 0);
    await(b, &b->messages, 3);
    vv_peer_close(b->peer, VV_GOODBYE_ENDING, "enough");
    await(a, &a->downs, 1);
    g_assert_cmpuint(a->resets, ==, 1);
    g_assert_cmpstr(a->why, ==, "it said goodbye: enough");
    await(a, &a->data_done, 3);
    g_assert_cmpint(ask(a, "?", 1000, 0, 10000, NULL), ==, -ENOTCONN);
    g_assert_cmpint(
        vv_peer_send(a->peer, &(VvOutgoing){ .kind = KIND, .body = into, .body_bytes = 65537 }), ==, -EMSGSIZE);
    g_assert_cmpuint(a->data_done, ==, 3);
    line_free(line);
}

/* Who is not read is told to wait, holds little, and goes on when it is read again. */
static void test_back_pressure(void)
{
    Line *line = line_new_both(VV_PURPOSE_DATA, &plain_events);
    End *client = &line->end[0], *server = &line->end[1];
    g_autofree uint8_t *body = g_malloc0(60000);
    VvOutgoing out = {
        .kind = KIND, .data = client->data, .data_bytes = 60000, .data_done = data_done_cb, .data_user = client
    };
    unsigned taken = 0, refused = 0;
    VvPeerCounters counters;

    vv_peer_pause(server->peer);
    while (refused < 100) {
        int err = vv_peer_send(client->peer, &out);

        g_assert_true(err == 0 || err == -EAGAIN);
        taken += err == 0;
        refused += err == -EAGAIN;
        vv_peer_counters(client->peer, &counters);
        g_assert_cmpuint(counters.waiting_bytes, <=, VV_DATA_OUTPUT_BYTES_HIGH + 60000 + 3 * VV_FRAME_BYTES);
    }
    g_assert_cmpuint(taken, >=, VV_DATA_OUTPUT_BYTES_HIGH / 60000);
    g_assert_cmpuint(client->downs + server->downs, ==, 0);
    vv_peer_resume(server->peer);
    await(client, &client->writables, 1);
    await(server, &server->messages, taken);
    await(client, &client->data_done, taken);
    line_free(line);
}

/* Small messages pile up on the loop and at the sender; all of what was taken arrives, and requests are bounded. */
static void test_requests_bounded(void)
{
    Line *line = line_new_both(VV_PURPOSE_CONTROL, &plain_events);
    End *a = &line->end[0], *b = &line->end[1];

    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpint(ask(a, "r", 0, 0, 10000, NULL), ==, 0);
    g_assert_cmpint(ask(a, "r", 0, 0, 10000, NULL), ==, -EAGAIN);
    await(b, &b->messages, 8);
    g_assert_cmpint(
        vv_peer_reply(b->peer, g_array_index(b->requests, uint64_t, 3), &(VvOutgoing){ .kind = KIND }), ==, 0);
    await(a, &a->replies, 1);
    await(a, &a->writables, 1);
    g_assert_cmpint(ask(a, "r", 0, 0, 10000, NULL), ==, 0);
    await(b, &b->messages, 9);
    line_free(line);
    /* the other eight were failed */
}

/* Whose time is over still counts at the other end, until it is answered there: no more are sent than it takes. */
static void test_late_requests_bounded(void)
{
    Line *line = line_new_both(VV_PURPOSE_CONTROL, &plain_events);
    End *a = &line->end[0], *b = &line->end[1];
    uint64_t first;

    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpint(ask(a, "r", 0, 0, 50, NULL), ==, 0);
    await(b, &b->messages, 8);
    await(a, &a->timeouts, 8);
    g_assert_cmpint(ask(a, "r", 0, 0, 10000, NULL), ==, -EAGAIN);
    first = g_array_index(b->requests, uint64_t, 0);
    g_assert_cmpint(vv_peer_reply(b->peer, first, &(VvOutgoing){ .kind = KIND }), ==, 0);
    await(a, &a->writables, 1);
    g_assert_cmpint(ask(a, "r", 0, 0, 10000, NULL), ==, 0);
    await(b, &b->messages, 9);
    g_assert_cmpuint(a->replies, ==, 0);
    g_assert_cmpuint(a->downs + b->downs, ==, 0);
    line_free(line);
}

/* Nothing is said for many times dead_ms: pings keep it alive, and measure. A pause does not kill either. */
static void test_keep_alive(void)
{
    static const VvPeerTimes times = { .idle_ms = 20, .dead_ms = 400 };
    Line *line = line_new();
    VvPeerCounters counters;
    uint64_t until_ms;

    line_start(line, 0, VV_PURPOSE_DATA, &times, &plain_events);
    line_start(line, 1, VV_PURPOSE_DATA, &times, &plain_events);
    vv_peer_pause(line->end[1].peer);
    for (until_ms = vv_monotonic_ms() + 1000; vv_monotonic_ms() < until_ms;) {
        g_assert_cmpuint(line->end[0].downs + line->end[1].downs, ==, 0);
        poll(NULL, 0, 10);
    }
    vv_peer_resume(line->end[1].peer);
    do {
        vv_peer_counters(line->end[0].peer, &counters);
        poll(NULL, 0, 10);
    } while (counters.round_trip_us == 0);
    g_assert_cmpuint(line->end[0].downs + line->end[1].downs, ==, 0);
    line_free(line);
}

/* ---- hostile ends: raw TLS, side 0 dialled */
static const VvPeerTimes short_times = { .idle_ms = 50, .dead_ms = 300, .frame_ms = 300, .stall_ms = 300 };

static void raw_write(Line *line, unsigned side, const void *bytes, size_t length_bytes)
{
    const uint8_t *at = bytes;

    while (length_bytes > 0) {
        int written = SSL_write(line->ssl[side], at, (int) length_bytes);

        if (written > 0) {
            at += written;
            length_bytes -= (size_t) written;
        } else if (SSL_get_error(line->ssl[side], written) != SSL_ERROR_WANT_WRITE) {
            return; /* it has ended us already */
        } else {
            poll(&(struct pollfd){ .fd = SSL_get_fd(line->ssl[side]), .events = POLLOUT }, 1, 100);
        }
    }
}

static void raw_frame(Line *line, unsigned side, const VvFrame *frame, const void *body)
{
    uint8_t raw[VV_FRAME_BYTES];

    vv_frame_encode(frame, raw);
    raw_write(line, side, raw, sizeof raw);
    if (body)
        raw_write(line, side, body, frame->body_bytes);
}

typedef void (*Attack)(Line *line);

static void attack_garbage(Line *line)
{
    raw_write(line, 0, "GET / HTTP/1.1\r\nHost: storage\r\n\r\n", 34);
}
static void attack_length(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .body_bytes = UINT32_MAX }, NULL);
}
static void attack_hello_length(Line *line) /* more than our hello said, less than any limit */
{
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .body_bytes = 65537 }, NULL);
}
static void attack_half_header(Line *line)
{
    raw_write(line, 0, "VvPf", 4);
}
static void attack_half_body(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .body_bytes = 1000 }, NULL);
}
static void attack_hello(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = VV_FRAME_HELLO, .body_bytes = 4 }, "abcd");
}
static void attack_join(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = VV_FRAME_JOIN, .body_bytes = 4 }, "abcd");
}
static void attack_long_ping(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = VV_FRAME_PING, .body_bytes = 60000 }, NULL);
}
static void attack_kind(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = 99 }, NULL);
}
static void attack_reply(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .flags = VV_FRAME_REPLY, .request = 1 }, NULL);
}
static void attack_ids(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .flags = VV_FRAME_REQUEST, .request = 7 }, NULL);
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .flags = VV_FRAME_REQUEST, .request = 7 }, NULL);
}
static void attack_requests(Line *line)
{
    for (unsigned i = 1; i <= 9; i++)
        raw_frame(line, 0, &(VvFrame){ .kind = KIND, .flags = VV_FRAME_REQUEST, .request = i }, NULL);
}
static void attack_silence(Line *line)
{
    (void) line;
}
static void attack_goodbye(Line *line)
{
    raw_frame(line, 0, &(VvFrame){ .kind = VV_FRAME_GOODBYE, .body_bytes = 3 }, "abc");
}
static void attack_close(Line *line)
{
    shutdown(SSL_get_fd(line->ssl[0]), SHUT_RDWR);
}
static void attack_cleartext(Line *line)
{
    g_assert_cmpint(write(SSL_get_fd(line->ssl[0]), "VvPf and so on, without TLS", 27), ==, 27);
}
static void attack_trickle(Line *line) /* never silent, never done */
{
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .body_bytes = 60000 }, NULL);
    for (unsigned i = 0; i < 60; i++) {
        char byte;

        SSL_write(line->ssl[0], "x", 1);
        poll(NULL, 0, 10);
        if (SSL_read(line->ssl[0], &byte, 1) <= 0 && SSL_get_error(line->ssl[0], -1) != SSL_ERROR_WANT_READ)
            break;
    }
}

static void test_hostile(void)
{
    static const struct {
        Attack attack;
        const char *why;
    } cases[] = { { attack_garbage, "begin" }, { attack_length, "too long" }, { attack_hello_length, "65537" },
        { attack_half_header, "nothing was heard" }, { attack_half_body, "nothing was heard" },
        { attack_hello, "kind 1" }, { attack_join, "kind 5" }, { attack_long_ping, "kind 3" },
        { attack_kind, "kind 99" }, { attack_reply, "reply to nothing" }, { attack_ids, "ascend" },
        { attack_requests, "more than 8" }, { attack_silence, "nothing was heard" }, { attack_goodbye, "goodbye" },
        { attack_close, "closed" }, { attack_cleartext, "TLS" }, { attack_trickle, "not complete" } };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Line *line = line_new();

        line_start(line, 1, VV_PURPOSE_CONTROL, &short_times, &plain_events);
        cases[i].attack(line);
        await(&line->end[1], &line->end[1].downs, 1);
        if (!strstr(line->end[1].why, cases[i].why))
            g_error("attack %zu ended with: %s", i, line->end[1].why);
        line_free(line);
    }
}

/* Who dialled a data connection is asked nothing; an answer has no more data than was asked for. */
static void test_hostile_server(void)
{
    Line *line = line_new();

    line_start(line, 0, VV_PURPOSE_DATA, &short_times, &plain_events);
    raw_frame(line, 1, &(VvFrame){ .kind = KIND, .flags = VV_FRAME_REQUEST, .request = 1 }, NULL);
    await(&line->end[0], &line->end[0].downs, 1);
    g_assert_nonnull(strstr(line->end[0].why, "not for its requests"));
    line_free(line);
    line = line_new();
    line_start(line, 0, VV_PURPOSE_DATA, &short_times, &plain_events);
    g_assert_cmpint(ask(&line->end[0], "?", 0, 100, 10000, line->end[0].data), ==, 0);
    do /* until it has been sent */
        poll(&(struct pollfd){ .fd = SSL_get_fd(line->ssl[1]), .events = POLLIN }, 1, 1000);
    while (SSL_read(line->ssl[1], line->end[1].data, 32) != 32);
    raw_frame(line, 1, &(VvFrame){ .kind = KIND, .flags = VV_FRAME_REPLY, .request = 1, .data_bytes = 101 }, NULL);
    await(&line->end[0], &line->end[0].downs, 1);
    g_assert_nonnull(strstr(line->end[0].why, "more data"));
    g_assert_cmpuint(line->end[0].resets, ==, 1);
    line_free(line);
}

/* It says that it lives, and takes nothing: what waits for it is bounded, and ends. Data half received is given back. */
static void test_stall(void)
{
    Line *line = line_new();
    End *end = &line->end[1];
    VvOutgoing out = {
        .kind = KIND, .data = end->data, .data_bytes = DATA_BYTES, .data_done = data_done_cb, .data_user = end
    };
    unsigned taken = 0;

    line_start(line, 1, VV_PURPOSE_DATA, &short_times, &place_events);
    raw_frame(line, 0, &(VvFrame){ .kind = KIND, .data_bytes = 1000 }, NULL);
    await(end, &end->places, 1);
    while (vv_peer_send(end->peer, &out) == 0)
        taken++;
    await(end, &end->downs, 1);
    await(end, &end->data_done, taken);
    g_assert_cmpuint(end->unplaces, ==, 1);
    g_assert_cmpuint(end->data_done, ==, taken);
    line_free(line);
}

/* It pings as fast as it can and never reads: what waits for it is bounded, though it is not closed before it stalls. */
static void test_pings(void)
{
    static const VvPeerTimes times = { .idle_ms = 50, .dead_ms = 20000, .stall_ms = 20000 };
    const unsigned batch = 400, batches = 150;
    Line *line = line_new();
    g_autofree uint8_t *pings = g_malloc0(batch * (VV_FRAME_BYTES + 8));
    VvPeerCounters counters;

    for (unsigned i = 0; i < batch; i++)
        vv_frame_encode(&(VvFrame){ .kind = VV_FRAME_PING, .body_bytes = 8 }, pings + i * (VV_FRAME_BYTES + 8));
    line_start(line, 1, VV_PURPOSE_CONTROL, &times, &plain_events);
    for (unsigned i = 0; i < batches; i++)
        raw_write(line, 0, pings, batch * (VV_FRAME_BYTES + 8));
    do {
        vv_peer_counters(line->end[1].peer, &counters);
        poll(NULL, 0, 2);
    } while (counters.messages_in < batch * batches);
    g_assert_cmpuint(counters.waiting_bytes, <, VV_PEER_QUEUE_BATCH_BYTES + 1024);
    g_assert_cmpuint(line->end[1].downs, ==, 0);
    line_free(line);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN); /* of the hostile ends, which have no loop */
    g_test_add_func("/cluster/peer/many", test_many);
    g_test_add_func("/cluster/peer/data", test_data);
    g_test_add_func("/cluster/peer/records", test_records);
    g_test_add_func("/cluster/peer/no-place", test_no_place);
    g_test_add_func("/cluster/peer/timeout", test_timeout);
    g_test_add_func("/cluster/peer/back-pressure", test_back_pressure);
    g_test_add_func("/cluster/peer/requests-bounded", test_requests_bounded);
    g_test_add_func("/cluster/peer/late-requests-bounded", test_late_requests_bounded);
    g_test_add_func("/cluster/peer/keep-alive", test_keep_alive);
    g_test_add_func("/cluster/peer/hostile", test_hostile);
    g_test_add_func("/cluster/peer/hostile-server", test_hostile_server);
    g_test_add_func("/cluster/peer/stall", test_stall);
    g_test_add_func("/cluster/peer/pings", test_pings);
    return g_test_run();
}
