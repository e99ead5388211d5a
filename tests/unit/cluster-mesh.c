/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Meshes of several nodes on the loopback interface: who is connected, who stays out, who comes back. */
#include "cluster-mesh.h"
#include "codec.h"
#include "message.h"

#include <openssl/ssl.h>
#include <signal.h>

/* ---- friends */
static void reply_cb(void *user, int result, const VvIncoming *reply)
{
    TestNode *node = user;

    g_assert_cmpint(result, ==, 0);
    g_assert_cmpmem(reply->body, reply->body_bytes, "echo", 4);
    VV_LOCKED(&node->lock);
    node->replies++;
    pthread_cond_broadcast(&node->changed);
}

static void ask(TestNode *node, uint64_t other, unsigned channel)
{
    VvPeer *peer = vv_mesh_peer(node->mesh, other, channel);
    VvOutgoing out = { .kind = TEST_KIND, .body = "echo", .body_bytes = 4 };
    VvPeerRequest request = { .timeout_ms = 10000, .done = reply_cb, .user = node };

    g_assert_nonnull(peer);
    g_assert_cmpint(vv_peer_request(peer, &out, &request), ==, 0);
    vv_peer_unref(peer);
}

/* All to all, one control connection a pair and two data connections each way; all of them work. */
static void test_all(void)
{
    TestMesh *test = test_mesh_new(3);

    test_introduce_all(test);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned other = 1; other <= 3; other++)
            if (other != i + 1) {
                test_await(&test->nodes[i], &test->nodes[i].up[other], 1);
                test_await(&test->nodes[i], &test->nodes[i].data_up[other], 4);
            }
    for (unsigned i = 0; i < 3; i++) {
        TestNode *node = &test->nodes[i];
        VvPeerCounters counters;
        unsigned asked = 0;

        for (unsigned other = 1; other <= 3; other++)
            for (unsigned channel = 0; channel <= 2 && other != node->id; channel++, asked++)
                ask(node, other, channel);
        test_await(node, &node->replies, asked);
        g_assert_null(vv_mesh_peer(node->mesh, node->id, 0));
        g_assert_null(vv_mesh_peer(node->mesh, 99, 0));
        g_assert_true(vv_mesh_counters(node->mesh, i == 0 ? 2 : 1, &counters));
        g_assert_cmpuint(counters.messages_in, >=, 3);
        g_assert_cmpuint(counters.bytes_out, >=, 3 * 36);
        g_assert_cmpuint(counters.last_seen_ms, >, 0);
        g_assert_false(vv_mesh_counters(node->mesh, 99, &counters));
    }
    test_mesh_free(test);
}

/* Both dial at the same moment, again and again: in the end one control connection, that works both ways. */
static void test_simultaneous(void)
{
    for (unsigned round = 0; round < 10; round++) {
        TestMesh *test = test_mesh_new(2);
        TestNode *one = &test->nodes[0], *two = &test->nodes[1];
        unsigned ups;

        test_introduce(test, round % 2, 3);
        test_introduce(test, 1 - round % 2, 3);
        test_await(one, &one->data_up[2], 4);
        test_await(two, &two->data_up[1], 4);
        test_await_link(one, 2);
        test_await_link(two, 1);
        test_await(one, &one->messages, 1);
        test_await(two, &two->messages, 1);
        {
            VV_LOCKED(&one->lock);
            ups = one->up[2];
        }
        g_assert_cmpuint(ups, <=, 2);
        test_mesh_free(test);
    }
}

/* A node ends and comes again at the same address; another one dies without a word. */
static void test_again(void)
{
    TestMesh *test = test_mesh_new(3);
    TestNode *one = &test->nodes[0], *three = &test->nodes[2];

    test_introduce_all(test);
    test_await(one, &one->up[3], 1);
    test_await(three, &three->up[1], 1);
    for (unsigned life = 1; life <= 3; life++) {
        vv_mesh_free(three->mesh);
        test_await(one, &one->down[3], life);
        test_node_start(test, 2, 3, NULL);
        test_introduce(test, 2, 7);
        test_await(one, &one->up[3], life + 1);
        test_await_link(one, 3);
        test_await_link(three, 1);
    }
    test_mesh_free(test);
}

/* Who is taken out of the table is told, closed, and does not come in again; the others go on. */
static void test_evicted(void)
{
    TestMesh *test = test_mesh_new(3);
    TestNode *one = &test->nodes[0], *two = &test->nodes[1], *three = &test->nodes[2];
    g_autoptr(GArray) gone = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autofree char *told = g_strdup_printf("%d 2 ", VV_MESH_GONE);
    uint64_t id = 3;

    test_introduce_all(test);
    test_await(one, &one->up[3], 1);
    test_await(two, &two->up[3], 1);
    test_await(one, &one->up[2], 1);
    g_array_append_val(gone, id);
    vv_mesh_set_gone(two->mesh, gone); /* it knows that this is for good, where node 1 only does not know the other */
    test_introduce(test, 0, 3);
    test_introduce(test, 1, 3);
    test_await(one, &one->down[3], 1);
    test_await(two, &two->down[3], 1);
    test_await(three, &three->down[1], 1);
    test_await_trouble(three, "not any more");
    test_await_trouble(three, told);
    test_await_trouble(one, "node 3 was refused");
    g_assert_null(vv_mesh_peer(one->mesh, 3, 0));
    test_await_link(one, 2);
    test_await_link(two, 1);
    {
        VV_LOCKED(&one->lock);
        g_assert_cmpuint(one->up[3], ==, one->down[3]);
        g_assert_cmpuint(one->up[2], ==, one->down[2] + 1);
    }
    test_mesh_free(test);
}

/* ---- mistakes */
/* Whoever's certificate is not what the table says is told of by the one who dials too. */
static void test_not_a_guest(void)
{
    TestMesh *test = test_mesh_new(2);
    TestNode *one = &test->nodes[0];

    one->guests = 1u << 1;
    test_introduce_all(test);
    test_await_trouble(one, "it has a member's certificate, and is a guest here");
    g_assert_null(vv_mesh_peer(one->mesh, 2, 0));
    test_mesh_free(test);
}

/* Until node 1 has thrown out node 2 @times: connections that are on their way out take messages too. */
static void send_until_thrown_out(TestMesh *test, uint16_t kind, unsigned times)
{
    TestNode *one = &test->nodes[0];

    for (unsigned i = 0; i < 1000; i++) {
        VvPeer *peer = vv_mesh_peer(test->nodes[1].mesh, 1, 0);

        if (peer)
            vv_peer_send(peer, &(VvOutgoing){ .kind = kind });
        vv_peer_unref(peer);
        poll(NULL, 0, 20);
        VV_LOCKED(&one->lock);
        if (one->thrown_out >= times)
            return;
    }
    g_error("kind %x of a guest is taken", kind);
}

/* A guest may send what the transport's owner knows, and is thrown out if it means to vote, to lead, to change the pool, or to have a session. */
static void test_guest(void)
{
    static const uint16_t forbidden[] = { VV_MESSAGE_RAFT_APPEND, VV_MESSAGE_SYNC_ASK, VV_MESSAGE_CONFIRMED, VV_MESSAGE_RESUME,
        VV_MESSAGE_REQUEST, VV_MESSAGE_OPEN, VV_MESSAGE_RENEW, VV_MESSAGE_PROPOSE, VV_MESSAGE_LEASE, VV_MESSAGE_QUIESCED, VV_MESSAGE_LATEST };
    TestMesh *test = test_mesh_new(2);
    TestNode *one = &test->nodes[0], *two = &test->nodes[1];
    VvPeer *peer;

    test_node_end(two);
    two->guest = true;
    one->guests = two->guests = 1u << 1;
    test_node_start(test, 1, 2, NULL);
    test_introduce_all(test);
    test_await_link(two, 1);
    peer = vv_mesh_peer(two->mesh, 1, 0);
    g_assert_cmpint(vv_peer_send(peer, &(VvOutgoing){ .kind = 0x0301 }), ==, 0);
    vv_peer_unref(peer);
    test_await(one, &one->messages, 2);
    g_assert_cmpuint(one->thrown_out, ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(forbidden); i++)
        send_until_thrown_out(test, forbidden[i], i + 1);
    g_assert_cmpuint(one->forbidden, ==, 0);
    test_await_trouble(one, "is a guest, and sent what only members may");
    test_mesh_free(test);
}

static void set_nodes_fails(
    VvMesh *mesh, const char *name, uint64_t id, const char *address, VvErrorCode code, const char *what)
{
    g_autoptr(GArray) nodes = vv_known_nodes_new();
    g_autoptr(GError) error = NULL;

    vv_known_nodes_add(nodes, 5, false, "five", (const char *const[]){ "10.0.0.5:7333", "10.1.0.5:7333", NULL });
    vv_known_nodes_add(nodes, id, false, name, (const char *const[]){ address, NULL });
    g_assert_false(vv_mesh_set_nodes(mesh, nodes, &error));
    g_assert_error(error, VV_ERROR, (int) code);
    g_assert_nonnull(strstr(error->message, what));
}

static void test_two_of_one(void)
{
    TestMesh *test = test_mesh_new(1);
    VvMesh *mesh = test->nodes[0].mesh;

    set_nodes_fails(mesh, "five", 6, "10.0.0.6", VV_ERROR_EXISTS, "one name");
    set_nodes_fails(mesh, "six", 5, "10.0.0.6", VV_ERROR_EXISTS, "one id");
    set_nodes_fails(mesh, "six", 6, "10.1.0.5", VV_ERROR_EXISTS, "one address");
    set_nodes_fails(mesh, "six", 6, "six", VV_ERROR_USAGE, "numeric");
    set_nodes_fails(mesh, "si/x", 6, "10.0.0.6", VV_ERROR_INVALID_NAME, "si/x");
    set_nodes_fails(mesh, "six", 0, "10.0.0.6", VV_ERROR_USAGE, "no id");
    test_mesh_free(test);
}

/* Another node answers at an address: no connection, and the mistake is named. */
static void test_wrong_address(void)
{
    TestMesh *test = test_mesh_new(3);
    TestNode *one = &test->nodes[0], *two = &test->nodes[1];
    unsigned port = test->nodes[2].port;
    g_autofree char *why = NULL;

    test->nodes[2].port = test->nodes[1].port; /* n3 "is" where n2 is */
    test->nodes[1].port = port;
    test_introduce(test, 0, 5);
    test_await_trouble(one, "node 2 answers there, not node 3");
    g_assert_null(vv_mesh_peer(one->mesh, 3, 0));
    why = vv_mesh_why(one->mesh, 3);
    g_assert_nonnull(strstr(why, "n3 at 127.0.0.1"));
    g_assert_cmpuint(one->up[2] + one->up[3] + two->up[1], ==, 0);
    test_mesh_free(test);
}

/* Two processes with one node's certificate: the newer one has it, the older is refused while that lives. */
static void test_twins(void)
{
    TestMesh *test = test_mesh_new(3);
    TestNode *one = &test->nodes[0], *two = &test->nodes[1], *twin = &test->nodes[2];

    test_introduce(test, 0, 3);
    test_introduce(test, 1, 3);
    test_await(one, &one->up[2], 1);
    vv_mesh_free(twin->mesh);
    twin->id = 2;
    twin->name = "n2";
    test_node_start(test, 2, 2, NULL);
    {
        g_autoptr(GArray) nodes = vv_known_nodes_new();
        g_autofree char *address = g_strdup_printf("127.0.0.1:%u", one->port);

        vv_known_nodes_add(nodes, 1, false, "n1", (const char *const[]){ address, NULL });
        g_assert_true(vv_mesh_set_nodes(twin->mesh, nodes, NULL));
    }
    test_await(twin, &twin->up[1], 1);
    test_await(two, &two->down[1], 1);
    test_await_trouble(one, "copied");
    test_await_trouble(two, "another process");
    /* it ends: the other one is let in again */
    vv_mesh_free(twin->mesh);
    twin->mesh = NULL;
    test_await(two, &two->up[1], 2);
    test_mesh_free(test);
}

/* ---- strangers */
static int connect_to(const TestNode *node)
{
    g_autofree char *text = g_strdup_printf("127.0.0.1:%u", node->port);
    VvAddress address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_true(vv_address_parse(text, false, &address, NULL));
    g_assert_cmpint(connect(fd, (struct sockaddr *) &address.socket, address.socket_bytes), ==, 0);
    return fd;
}

/* Nothing but bytes of TLS comes, then the end. */
static void expect_close(int fd)
{
    char bytes[4096];

    for (;;) {
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

        g_assert_cmpint(poll(&poll_fd, 1, 20000), ==, 1);
        if (read(fd, bytes, sizeof bytes) <= 0)
            break;
    }
    close(fd);
}

typedef struct {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
} Raw;

/* TLS by hand, with the certificate of node @id of @pool; 0: none. False: it was refused. */
static bool raw_open(
    Raw *raw, const TestNode *to, const TestPool *pool, uint64_t id, int version, uint64_t until_seconds)
{
    *raw = (Raw){ .context = SSL_CTX_new(TLS_client_method()), .fd = connect_to(to) };
    SSL_CTX_set_max_proto_version(raw->context, version);
    if (id != 0) {
        g_auto(VvCredentials) own = { 0 };
        gsize certificate, key;

        test_pool_node(pool, id, false, until_seconds, &own);
        g_assert_cmpint(SSL_CTX_use_certificate_ASN1(raw->context,
                            (certificate = g_bytes_get_size(own.node_certificate), (int) certificate),
                            g_bytes_get_data(own.node_certificate, NULL)),
            ==, 1);
        g_assert_cmpint(SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, raw->context, g_bytes_get_data(own.node_key, &key),
                            (long) g_bytes_get_size(own.node_key)),
            ==, 1);
    }
    raw->ssl = SSL_new(raw->context);
    SSL_set_fd(raw->ssl, raw->fd);
    return SSL_connect(raw->ssl) == 1;
}

static void raw_close(Raw *raw)
{
    expect_close(raw->fd);
    SSL_free(raw->ssl);
    SSL_CTX_free(raw->context);
}

static void raw_send(Raw *raw, uint16_t kind, uint32_t says_bytes, const void *body, size_t body_bytes)
{
    VvFrame frame = { .kind = kind, .body_bytes = says_bytes };
    uint8_t header[VV_FRAME_BYTES];

    vv_frame_encode(&frame, header);
    g_assert_cmpint(SSL_write(raw->ssl, header, sizeof header), ==, sizeof header);
    if (body_bytes > 0)
        g_assert_cmpint(SSL_write(raw->ssl, body, (int) body_bytes), ==, (int) body_bytes);
}

/* The next frame is a goodbye with @text in it. */
static void raw_goodbye(Raw *raw, const char *text)
{
    uint8_t header[VV_FRAME_BYTES], body[VV_HELLO_BYTES_MAX];
    VvGoodbye goodbye;
    VvFrame frame;

    g_assert_cmpint(SSL_read(raw->ssl, header, sizeof header), ==, sizeof header);
    g_assert_true(vv_frame_decode(header, &frame, NULL));
    g_assert_cmpuint(frame.kind, ==, VV_FRAME_GOODBYE);
    g_assert_cmpint(SSL_read(raw->ssl, body, (int) frame.body_bytes), ==, (int) frame.body_bytes);
    g_assert_true(vv_goodbye_decode(body, frame.body_bytes, &goodbye, NULL));
    if (!strstr(goodbye.text, text))
        g_error("goodbye: %s", goodbye.text);
}

static VvHello raw_hello(const TestMesh *test, uint64_t node)
{
    return (VvHello){ .version_min = 1,
        .version_max = 1,
        .pool = test->pool->uuid,
        .node = node,
        .to = 1,
        .instance = 5,
        .dial = 1,
        .purpose = VV_PURPOSE_CONTROL,
        .channels = 1,
        .requests_max = 8,
        .body_max = 100,
        .data_max = 100,
        .name = "n4" };
}

static void hello_fails(TestMesh *test, uint64_t certificate, const VvHello *hello, const char *text)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    Raw raw;

    vv_hello_encode(hello, body);
    g_assert_true(raw_open(&raw, &test->nodes[0], test->pool, certificate, TLS1_3_VERSION, 0));
    raw_send(&raw, VV_FRAME_HELLO, body->len, body->data, body->len);
    raw_goodbye(&raw, text);
    raw_close(&raw);
}

/* Who has no certificate of the pool, or no TLS 1.3, gets a closed connection; those who are in notice nothing. */
static void test_strangers(void)
{
    TestMesh *test = test_mesh_new(2);
    g_autoptr(TestPool) other = test_pool_new();
    TestNode *one = &test->nodes[0];
    Raw raw;
    int fd;

    test_introduce_all(test);
    test_await(one, &one->data_up[2], 4);
    for (unsigned joining = 0; joining <= 1; joining++) {
        vv_mesh_set_joining(one->mesh, joining == 1);
        fd = connect_to(one); /* silence */
        expect_close(fd);
        fd = connect_to(one); /* clear text */
        g_assert_cmpint(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), ==, 18);
        expect_close(fd);
        fd = connect_to(one); /* half a handshake */
        g_assert_cmpint(write(fd, "\x16\x03\x01\x02\x00\x01\x00", 7), ==, 7);
        expect_close(fd);
        g_assert_false(raw_open(&raw, one, NULL, 0, TLS1_2_VERSION, 0));
        raw_close(&raw);
        raw_open(&raw, one, other, 2, TLS1_3_VERSION, 0); /* another pool's; in TLS 1.3 the client hears it later */
        raw_close(&raw);
        raw_open(&raw, one, test->pool, 2, TLS1_3_VERSION, 1000000000); /* ended */
        raw_close(&raw);
        raw_open(&raw, one, NULL, 0, TLS1_3_VERSION, 0); /* none: at most a silent stranger */
        raw_close(&raw);
    }
    test_await_trouble(one, "a connection from 127.0.0.1");
    {
        VV_LOCKED(&one->lock);
        g_assert_cmpuint(one->up[2], ==, one->down[2] + 1);
        g_assert_cmpuint(one->data_up[2], ==, one->data_down[2] + 4);
    }
    ask(one, 2, 0);
    test_await(one, &one->replies, 1);
    test_mesh_free(test);
}

/* A certificate is not enough: what is said first must be a hello that fits it. */
static void test_bad_hellos(void)
{
    TestMesh *test = test_mesh_new(1);
    TestNode *one = &test->nodes[0];
    g_autoptr(GArray) nodes = vv_known_nodes_new();
    VvHello hello;
    Raw raw;

    vv_known_nodes_add(nodes, 4, false, "n4", (const char *const[]){ NULL });
    g_assert_true(vv_mesh_set_nodes(one->mesh, nodes, NULL));
    hello = raw_hello(test, 4);
    hello.version_min = hello.version_max = 9;
    hello_fails(test, 4, &hello, "speaks 9 to 9");
    hello = raw_hello(test, 4);
    hello.features_required = hello.features_offered = 1u << 5;
    hello_fails(test, 4, &hello, "feature 5");
    hello = raw_hello(test, 4);
    hello.pool.bytes[0] ^= 1;
    hello_fails(test, 4, &hello, "another pool");
    hello = raw_hello(test, 3);
    hello_fails(test, 4, &hello, "its certificate");
    hello = raw_hello(test, 4);
    hello.to = 2;
    hello_fails(test, 4, &hello, "an address is wrong");
    hello = raw_hello(test, 4);
    hello.purpose = VV_PURPOSE_DATA;
    hello.channel = 3;
    hello_fails(test, 4, &hello, "data connections");
    hello = raw_hello(test, 3); /* signed by the authority, but no node of the table */
    hello_fails(test, 3, &hello, "not any more");
    hello = raw_hello(test, 1); /* our own */
    hello_fails(test, 1, &hello, "this very node");
    /* no hello at all */
    static const struct {
        uint16_t kind;
        uint32_t says_bytes;
        size_t bytes;
    } firsts[] = { { VV_FRAME_PING, 8, 8 }, { TEST_KIND, 8, 8 }, { VV_FRAME_HELLO, 1 << 20, 0 },
        { VV_FRAME_HELLO, 8, 8 }, { VV_FRAME_HELLO, 100, 50 }, { VV_FRAME_JOIN, 8, 8 }, { VV_FRAME_GOODBYE, 8, 8 } };
    for (size_t i = 0; i < G_N_ELEMENTS(firsts); i++) {
        static const uint8_t zeroes[100];

        g_assert_true(raw_open(&raw, one, test->pool, 4, TLS1_3_VERSION, 0));
        raw_send(&raw, firsts[i].kind, firsts[i].says_bytes, zeroes, firsts[i].bytes);
        raw_close(&raw);
    }
    g_assert_cmpuint(one->up[4] + one->data_up[4], ==, 0);
    test_mesh_free(test);
}

/* So many who say nothing: bounded, and a node still gets in. */
static void test_crowd(void)
{
    TestMesh *test = test_mesh_new(2);
    TestNode *one = &test->nodes[0];
    int fds[VV_GREETINGS_PER_ADDRESS_MAX + 8];

    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = connect_to(one);
    test_await_trouble(one, "too many");
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
        expect_close(fds[i]);
    test_introduce_all(test);
    test_await(one, &one->up[2], 1);
    test_mesh_free(test);
}

static bool is_open(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Strangers hold all places for as long as they may: nodes get in nevertheless, and the oldest of the strangers go. */
static void test_crowd_gives_way(void)
{
    TestMesh *test;
    int fds[2][VV_GREETINGS_PER_ADDRESS_MAX + 8];
    const size_t count = G_N_ELEMENTS(fds[0]);

    test_greeting_ms = 15000;
    test = test_mesh_new(2);
    test_greeting_ms = 400;
    for (size_t i = 0; i < count; i++)
        for (unsigned n = 0; n < 2; n++)
            fds[n][i] = connect_to(&test->nodes[n]);
    test_introduce_all(test);
    test_await(&test->nodes[0], &test->nodes[0].up[2], 1);
    for (unsigned n = 0; n < 2; n++) {
        expect_close(fds[n][0]);
        g_assert_true(is_open(fds[n][count - 1]));
        for (size_t i = 1; i < count; i++)
            close(fds[n][i]);
    }
    test_mesh_free(test);
}

/* However much strangers give to tell about: what nodes do is still told. */
static void test_budgets(void)
{
    TestMesh *test = test_mesh_new(1);
    TestNode *one = &test->nodes[0];
    VvHello hello = raw_hello(test, 2);

    for (unsigned i = 0; i < 2 * VV_LOG_PER_MINUTE_MAX; i++) {
        int fd = connect_to(one);

        g_assert_cmpint(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), ==, 18);
        expect_close(fd);
    }
    hello_fails(test, 2, &hello, "not any more");
    test_await_trouble(one, "node 2 was refused");
    test_mesh_free(test);
}

/* ---- joining */
static void some_token(const TestMesh *test, VvToken *token, uint8_t verifier[VV_VERIFIER_BYTES])
{
    *token = (VvToken){ .pool = test->pool->uuid, .role = VV_TOKEN_VOTER, .invite = 7, .expiry_seconds = UINT64_MAX };
    vv_authority_fingerprint(test->pool->authority, token->fingerprint);
    vv_random_bytes(token->secret, sizeof token->secret);
    token->pool_name = g_strdup("prod");
    token->node_name = g_strdup("");
    token->addresses = g_new0(char *, 2);
    token->addresses[0] = g_strdup_printf("127.0.0.1:%u", test->nodes[0].port);
    vv_token_verifier(token, verifier);
}

static bool join(const VvToken *token, GBytes *key, const char *name, VvJoined *joined, GError **error)
{
    return vv_join(token, key, name, (const char *const[]){ "127.0.0.1:1", NULL }, "1", 10000, joined, error);
}

static void join_fails(const VvToken *token, GBytes *key, VvErrorCode code, const char *text)
{
    g_auto(VvJoined) joined = { 0 };
    g_autoptr(GError) error = NULL;

    g_assert_false(join(token, key, "n9", &joined, &error));
    if (!strstr(error->message, text))
        g_error("join: %s", error->message);
    g_assert_error(error, VV_ERROR, (int) code);
}

static void test_join_once(void)
{
    TestMesh *test = test_mesh_new(1);
    g_autoptr(TestPool) fake = test_pool_new_like(test->pool);
    TestNode *one = &test->nodes[0];
    g_auto(VvToken) token = { 0 };
    g_auto(VvJoined) joined = { 0 };
    g_auto(VvJoined) again = { 0 };
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) key = vv_node_key_create(NULL), other_key = vv_node_key_create(NULL);
    uint8_t verifier[VV_VERIFIER_BYTES];

    some_token(test, &token, verifier);
    one->verifier = verifier;
    /* joining is not possible, the secret is wrong, the invitation unknown, the authority another one */
    join_fails(&token, key, VV_ERROR_DENIED, "no invitation is open");
    vv_mesh_set_joining(one->mesh, true);
    token.secret[0] ^= 1;
    join_fails(&token, key, VV_ERROR_DENIED, "no such invitation");
    token.secret[0] ^= 1;
    token.invite = 8;
    join_fails(&token, key, VV_ERROR_DENIED, "no such invitation");
    token.invite = 7;
    token.fingerprint[0] ^= 1;
    join_fails(&token, key, VV_ERROR_DENIED, "verify failed");
    token.fingerprint[0] ^= 1;
    token.pool.bytes[0] ^= 1;
    join_fails(&token, key, VV_ERROR_DENIED, "verify failed");
    token.pool.bytes[0] ^= 1;
    g_assert_cmpuint(one->joins, ==, 2);
    /* it works, once; and once more for the one whose answer was lost */
    g_assert_true(join(&token, key, "n9", &joined, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(joined.node, ==, 9);
    g_assert_cmpstr(joined.node_name, ==, "n9");
    g_assert_cmpuint(joined.nodes->len, ==, 1);
    g_assert_nonnull(joined.credentials.authority_key);
    g_assert_true(join(&token, key, "n9", &again, &error));
    g_assert_cmpuint(again.node, ==, 9);
    join_fails(&token, other_key, VV_ERROR_STALE, "used already");
    test_mesh_free(test);
}

/* Two addresses: a node that is busy is no decision of the pool's, so the other is asked; a refusal is, whatever its words. Where nobody
 * listens nobody has denied anything. */
static void test_join_final(void)
{
    TestMesh *test = test_mesh_new(1);
    TestNode *one = &test->nodes[0];
    g_auto(VvToken) token = { 0 };
    g_auto(VvJoined) joined = { 0 };
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) key = vv_node_key_create(NULL);
    uint8_t verifier[VV_VERIFIER_BYTES];

    some_token(test, &token, verifier);
    one->verifier = verifier;
    vv_mesh_set_joining(one->mesh, true);
    g_strfreev(token.addresses);
    token.addresses = g_new0(char *, 3);
    token.addresses[0] = g_strdup_printf("127.0.0.1:%u", one->port);
    token.addresses[1] = g_strdup(token.addresses[0]);
    one->busy_joins = 2;
    join_fails(&token, key, VV_ERROR_TIMEOUT, "is busy");
    g_assert_cmpuint(one->joins, ==, 2);
    token.invite = 8;
    join_fails(&token, key, VV_ERROR_DENIED, "no such invitation");
    g_assert_cmpuint(one->joins, ==, 3);
    token.invite = 7;
    one->busy_joins = 1;
    g_assert_true(join(&token, key, "n9", &joined, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(one->joins, ==, 5);
    g_free(token.addresses[0]);
    g_free(token.addresses[1]);
    token.addresses[0] = g_strdup("127.0.0.1:1");
    token.addresses[1] = NULL;
    join_fails(&token, key, VV_ERROR_TIMEOUT, "cannot connect");
    test_mesh_free(test);
}

/* What a stranger may say where joining is possible: a request to join, of the right length. All else closes. */
static void test_join_hostile(void)
{
    TestMesh *test = test_mesh_new(1);
    TestNode *one = &test->nodes[0];
    static const uint8_t zeroes[200];
    VvHello hello = raw_hello(test, 4);
    g_autoptr(GByteArray) body = g_byte_array_new();
    Raw raw;

    vv_mesh_set_joining(one->mesh, true);
    vv_hello_encode(&hello, body);
    static const struct {
        uint16_t kind;
        uint32_t says_bytes;
        size_t bytes;
    } firsts[] = { { VV_FRAME_JOIN, VV_JOIN_BYTES_MAX + 1, 0 }, { VV_FRAME_JOIN, 100, 99 }, { VV_FRAME_JOIN, 0, 0 },
        { VV_FRAME_JOIN, 150, 150 }, { VV_FRAME_PING, 8, 8 }, { TEST_KIND, 8, 8 }, { VV_FRAME_GOODBYE, 8, 8 } };
    for (size_t i = 0; i < G_N_ELEMENTS(firsts); i++) {
        g_assert_true(raw_open(&raw, one, NULL, 0, TLS1_3_VERSION, 0));
        raw_send(&raw, firsts[i].kind, firsts[i].says_bytes, zeroes, firsts[i].bytes);
        raw_close(&raw);
    }
    g_assert_true(raw_open(&raw, one, NULL, 0, TLS1_3_VERSION, 0)); /* says hello, as if it had a certificate */
    raw_send(&raw, VV_FRAME_HELLO, body->len, body->data, body->len);
    raw_close(&raw);
    g_assert_cmpuint(one->joins, ==, 0);
    test_mesh_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN); /* of the hostile ends, which have no loop */
    g_test_add_func("/cluster/mesh/all", test_all);
    g_test_add_func("/cluster/mesh/simultaneous", test_simultaneous);
    g_test_add_func("/cluster/mesh/again", test_again);
    g_test_add_func("/cluster/mesh/evicted", test_evicted);
    g_test_add_func("/cluster/mesh/two-of-one", test_two_of_one);
    g_test_add_func("/cluster/mesh/not-a-guest", test_not_a_guest);
    g_test_add_func("/cluster/mesh/guest", test_guest);
    g_test_add_func("/cluster/mesh/wrong-address", test_wrong_address);
    g_test_add_func("/cluster/mesh/twins", test_twins);
    g_test_add_func("/cluster/mesh/strangers", test_strangers);
    g_test_add_func("/cluster/mesh/bad-hellos", test_bad_hellos);
    g_test_add_func("/cluster/mesh/crowd", test_crowd);
    g_test_add_func("/cluster/mesh/crowd-gives-way", test_crowd_gives_way);
    g_test_add_func("/cluster/mesh/budgets", test_budgets);
    g_test_add_func("/cluster/join/once", test_join_once);
    g_test_add_func("/cluster/join/final", test_join_final);
    g_test_add_func("/cluster/join/hostile", test_join_hostile);
    return g_test_run();
}
