/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two meshes, one of them with a server of objects: see objects-net.h. */
#include "objects-net.h"

#include "base.h"
#include "cluster-test.h"
#include "mesh.h"

#include <errno.h>

#define AWAIT_SECONDS 20
#define ANSWER_MS 60000u

struct ServeNet {
    TestPool *pool;
    VvObjectServer *objects;
    VvMesh *server, *client;
    unsigned port, client_port;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    VvPeer *line; /* of the client; reference */
    unsigned ups;
};

/* ---- the server: as node_mesh.c does it */
static bool is_theirs(const VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && !vv_peer_dialled(peer);
}

static void server_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    (void) mesh;
    if (is_theirs(peer))
        vv_object_server_up(((ServeNet *) user)->objects, peer);
}

static void server_down(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    (void) mesh;
    (void) why;
    if (is_theirs(peer))
        vv_object_server_down(((ServeNet *) user)->objects, peer);
}

static void *server_place(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    g_assert_true(is_theirs(peer));
    return vv_object_server_place(((ServeNet *) user)->objects, peer, in);
}

static void server_unplace(VvMesh *mesh, VvPeer *peer, void *data, void *user)
{
    (void) mesh;
    vv_object_server_unplace(((ServeNet *) user)->objects, peer, data);
}

static void server_message(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    if (is_theirs(peer) && in->request != 0 && in->kind == VV_OBJECT_REQUEST)
        vv_object_server_take(((ServeNet *) user)->objects, peer, in);
}

static const VvMeshEvents server_events = {
    .up = server_up, .down = server_down, .place = server_place, .unplace = server_unplace, .message = server_message
};

/* ---- the client */
static bool is_ours(const VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && vv_peer_dialled(peer);
}

static void client_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    ServeNet *net = user;
    VV_LOCKED(&net->lock);

    (void) mesh;
    if (!is_ours(peer))
        return;
    g_assert_null(net->line);
    net->line = vv_peer_ref(peer);
    net->ups++;
    pthread_cond_broadcast(&net->changed);
}

static void client_down(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    ServeNet *net = user;
    VV_LOCKED(&net->lock);

    (void) mesh;
    (void) why;
    if (net->line == peer)
        g_clear_pointer(&net->line, vv_peer_unref);
}

static void client_message(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    (void) peer;
    (void) in;
    (void) user;
}

static const VvMeshEvents client_events = { .up = client_up, .down = client_down, .message = client_message };

/* ---- life */
static VvMesh *mesh_new(ServeNet *net, uint64_t id, bool guest, unsigned port)
{
    g_auto(VvCredentials) credentials = { 0 };
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf("127.0.0.1:%u", port);
    VvAddress address;
    VvMeshOptions options = { .credentials = &credentials,
        .name = id == 1 ? "n1" : "n2",
        .software = "1",
        .listen = &address,
        .times = { .idle_ms = 50, .dead_ms = 5000 },
        .events = id == 1 ? &server_events : &client_events,
        .user = net };
    VvMesh *mesh;

    test_pool_node(net->pool, id, guest, 0, &credentials);
    g_assert_true(vv_address_parse(text, true, &address, NULL));
    mesh = vv_mesh_new(&options, &error);
    g_assert_no_error(error);
    return mesh;
}

static void introduce(VvMesh *mesh, uint64_t id, bool guest, unsigned port)
{
    g_autoptr(GArray) nodes = vv_known_nodes_new();
    g_autofree char *text = g_strdup_printf("127.0.0.1:%u", port);

    vv_known_nodes_add(nodes, id, guest, id == 1 ? "n1" : "n2", (const char *const[]){ text, NULL });
    g_assert_true(vv_mesh_set_nodes(mesh, nodes, NULL));
}

ServeNet *serve_net_new(VvObjectServer *server)
{
    ServeNet *net = g_new0(ServeNet, 1);

    net->objects = server;
    net->pool = test_pool_new();
    pthread_mutex_init(&net->lock, NULL);
    pthread_cond_init(&net->changed, NULL);
    net->server = mesh_new(net, 1, false, 0);
    net->port = vv_mesh_port(net->server);
    return net;
}

static void start_client(ServeNet *net, bool guest)
{
    unsigned before = serve_net_ups(net);

    g_assert_null(net->client);
    net->client = mesh_new(net, 2, guest, 0);
    introduce(net->server, 2, guest, vv_mesh_port(net->client));
    introduce(net->client, 1, false, net->port);
    serve_net_await_ups(net, before + 1);
}

void serve_net_client(ServeNet *net, bool on)
{
    if (on)
        start_client(net, false);
    else
        g_clear_pointer(&net->client, vv_mesh_free);
}

void serve_net_guest(ServeNet *net)
{
    start_client(net, true);
}

void serve_net_free(ServeNet *net)
{
    g_clear_pointer(&net->client, vv_mesh_free);
    vv_mesh_free(net->server);
    test_pool_free(net->pool);
    pthread_cond_destroy(&net->changed);
    pthread_mutex_destroy(&net->lock);
    g_free(net);
}

void serve_net_cut(ServeNet *net)
{
    unsigned before;

    pthread_mutex_lock(&net->lock);
    before = net->ups;
    g_assert_nonnull(net->line);
    vv_peer_close(net->line, 0, "cut");
    pthread_mutex_unlock(&net->lock);
    serve_net_await_ups(net, before + 1);
}

/* ---- waiting */
static void await_locked(ServeNet *net, const char *what)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += AWAIT_SECONDS;
    if (pthread_cond_timedwait(&net->changed, &net->lock, &until) != 0)
        g_error("%s has not come", what);
}

unsigned serve_net_ups(ServeNet *net)
{
    VV_LOCKED(&net->lock);
    return net->ups;
}

void serve_net_await_ups(ServeNet *net, unsigned count)
{
    VV_LOCKED(&net->lock);
    while (net->ups < count)
        await_locked(net, "a connection");
}

/* ---- asking */
static void data_done_cb(void *user)
{
    ServeCall *call = user;
    ServeNet *net = call->net;
    VV_LOCKED(&net->lock);

    call->data_gone = true;
    pthread_cond_broadcast(&net->changed);
}

static void reply_cb(void *user, int result, const VvIncoming *reply)
{
    ServeCall *call = user;
    ServeNet *net = call->net;
    g_autoptr(GError) error = NULL;
    VV_LOCKED(&net->lock);

    if (result == 0) {
        g_assert_cmpuint(reply->kind, ==, VV_OBJECT_REQUEST);
        vv_object_answer_decode(reply->body, reply->body_bytes, reply->data_bytes, &call->ask, &call->answer, &error);
        g_assert_no_error(error);
    }
    call->wire = result;
    call->replied = true;
    pthread_cond_broadcast(&net->changed);
}

void serve_net_send_raw(ServeNet *net, ServeCall *call, const void *body, uint32_t body_bytes, uint32_t data_bytes)
{
    VvOutgoing out = { .kind = VV_OBJECT_REQUEST, .body = body, .body_bytes = body_bytes };
    VvPeerRequest request = { .timeout_ms = ANSWER_MS, .done = reply_cb, .user = call };
    g_autoptr(VvPeer) peer = NULL;
    int rc;

    call->net = net;
    call->replied = false;
    call->data_gone = data_bytes == 0;
    out.data = call->data;
    out.data_bytes = data_bytes;
    out.data_done = data_bytes > 0 ? data_done_cb : NULL;
    out.data_user = call;
    request.into = call->into;
    request.into_bytes = call->into ? (uint32_t) call->ask.length_bytes : 0;
    pthread_mutex_lock(&net->lock);
    peer = net->line ? vv_peer_ref(net->line) : NULL;
    pthread_mutex_unlock(&net->lock);
    rc = peer ? vv_peer_request(peer, &out, &request) : -ENOTCONN;
    g_assert_true(rc == 0 || rc == -ENOTCONN);
    if (rc == 0)
        return;
    call->wire = rc;
    call->replied = call->data_gone = true;
}

void serve_net_send(ServeNet *net, ServeCall *call)
{
    uint8_t body[VV_OBJECT_ASK_BYTES];

    vv_object_ask_encode(&call->ask, body);
    serve_net_send_raw(net, call, body, sizeof body, call->data ? (uint32_t) call->ask.length_bytes : 0);
}

bool serve_net_is_over(ServeCall *call)
{
    VV_LOCKED(&call->net->lock);
    return call->replied && call->data_gone;
}

void serve_net_await(ServeCall *call)
{
    ServeNet *net = call->net;
    VV_LOCKED(&net->lock);

    while (!call->replied || !call->data_gone)
        await_locked(net, "an answer");
}
