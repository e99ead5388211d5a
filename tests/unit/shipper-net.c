/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other end of a shipper's connection: see shipper-net.h. */
#include "shipper-net.h"

#include "base.h"
#include "cluster-test.h"
#include "mesh.h"

#include <string.h>

#define DISK_BYTES (1u << 20)
#define AWAIT_SECONDS 20

struct ShipNet {
    TestPool *pool;
    VvShipper *shipper;
    VvMesh *client, *server;
    unsigned port, client_port;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    unsigned connections;
    VvPeer *lines[SHIP_ASKED_MAX]; /* of the server; by connection - 1; references */
    ShipAsked asked[SHIP_ASKED_MAX];
    unsigned count;
    unsigned held_ops;
    uint64_t held_object;
    int open_result;
    unsigned open_times;
    uint64_t incarnation, applied, size_bytes;
    uint8_t disk[DISK_BYTES];
};

/* ---- the server */
static unsigned connection_of(ShipNet *net, const VvPeer *peer)
{
    for (unsigned i = 0; i < net->connections; i++)
        if (net->lines[i] == peer)
            return i + 1;
    return 0;
}

static void server_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    ShipNet *net = user;
    VV_LOCKED(&net->lock);

    (void) mesh;
    if (vv_peer_ours(peer)->purpose != VV_PURPOSE_DATA || vv_peer_dialled(peer))
        return;
    g_assert_cmpuint(net->connections, <, SHIP_ASKED_MAX);
    net->lines[net->connections++] = vv_peer_ref(peer);
}

static void answer_locked(ShipNet *net, ShipAsked *asked, int result)
{
    const VvObjectAsk *ask = &asked->ask;
    uint8_t body[VV_OBJECT_ANSWER_BYTES];
    VvOutgoing out = { .kind = VV_OBJECT_REQUEST, .body = body, .body_bytes = sizeof body };
    VvObjectAnswer answer = { .result = result,
        .is_lun = true,
        .incarnation = net->incarnation,
        .size_bytes = net->size_bytes,
        .mtime_ns = 5,
        .used_bytes = 4096,
        .applied = net->applied };

    if (result == 0 && (ask->op == VV_OBJECT_READ || ask->op == VV_OBJECT_WRITE_DATA))
        answer.value = ask->length_bytes;
    if (result == 0 && ask->op == VV_OBJECT_SEEK)
        answer.value = ask->offset_bytes + (ask->flags & VV_OBJECT_DATA ? 512 : 1024);
    if (result == 0 && ask->op == VV_OBJECT_READ) {
        out.data = net->disk + ask->offset_bytes;
        out.data_bytes = (uint32_t) ask->length_bytes;
    }
    vv_object_answer_encode(&answer, body);
    vv_peer_reply(asked->peer, asked->request, &out);
    g_clear_pointer(&asked->peer, vv_peer_unref);
}

static bool is_held(const ShipNet *net, const VvObjectAsk *ask)
{
    return (net->held_ops & 1u << ask->op) && (net->held_object == 0 || net->held_object == ask->object);
}

static int result_of(ShipNet *net, const VvObjectAsk *ask)
{
    if (ask->op != VV_OBJECT_OPEN || net->open_times == 0)
        return 0;
    net->open_times--;
    return net->open_result;
}

static void server_message(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    ShipNet *net = user;
    ShipAsked *asked;
    VV_LOCKED(&net->lock);

    (void) mesh;
    if (in->request == 0)
        return;
    g_assert_cmpuint(in->kind, ==, VV_OBJECT_REQUEST);
    g_assert_cmpuint(net->count, <, SHIP_ASKED_MAX);
    asked = &net->asked[net->count++];
    *asked = (ShipAsked){ .peer = vv_peer_ref(peer), .request = in->request, .connection = connection_of(net, peer) };
    g_assert_true(vv_object_ask_decode(in->body, in->body_bytes, in->data_bytes, &asked->ask, NULL));
    for (const ShipAsked *other = net->asked; other < asked; other++)
        asked->opens_waiting += other->ask.op == VV_OBJECT_OPEN && other->ask.object == asked->ask.object && other->connection == asked->connection && other->peer;
    if (in->data_bytes > 0) {
        asked->first = in->data[0];
        memcpy(net->disk + asked->ask.offset_bytes, in->data, in->data_bytes);
    }
    if (!is_held(net, &asked->ask))
        answer_locked(net, asked, result_of(net, &asked->ask));
    pthread_cond_broadcast(&net->changed);
}

static const VvMeshEvents server_events = { .up = server_up, .message = server_message };

/* ---- the client */
static bool is_for_data(const VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && vv_peer_dialled(peer);
}

static void client_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    (void) mesh;
    if (is_for_data(peer))
        vv_shipper_up(((ShipNet *) user)->shipper, peer);
}

static void client_down(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    (void) mesh;
    (void) why;
    if (is_for_data(peer))
        vv_shipper_down(((ShipNet *) user)->shipper, peer);
}

static void client_writable(VvMesh *mesh, VvPeer *peer, void *user)
{
    (void) mesh;
    if (is_for_data(peer))
        vv_shipper_writable(((ShipNet *) user)->shipper, peer);
}

static void client_message(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    (void) peer;
    (void) in;
    (void) user;
}

static const VvMeshEvents client_events = {
    .up = client_up, .down = client_down, .writable = client_writable, .message = client_message
};

/* ---- life */
static VvMesh *mesh_new(ShipNet *net, uint64_t id, unsigned port, const VvMeshEvents *events)
{
    g_auto(VvCredentials) credentials = { 0 };
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf("127.0.0.1:%u", port);
    VvAddress address;
    VvMeshOptions options = { .credentials = &credentials,
        .name = id == 1 ? "n1" : "n2",
        .software = "1",
        .listen = &address,
        .times = { .idle_ms = 50, .dead_ms = 2000 },
        .events = events,
        .user = net };
    VvMesh *mesh;

    test_pool_node(net->pool, id, false, 0, &credentials);
    g_assert_true(vv_address_parse(text, true, &address, NULL));
    mesh = vv_mesh_new(&options, &error);
    g_assert_no_error(error);
    return mesh;
}

static void introduce(VvMesh *mesh, uint64_t id, unsigned port)
{
    g_autoptr(GArray) nodes = vv_known_nodes_new();
    g_autofree char *text = g_strdup_printf("127.0.0.1:%u", port);

    vv_known_nodes_add(nodes, id, false, id == 1 ? "n1" : "n2", (const char *const[]){ text, NULL });
    g_assert_true(vv_mesh_set_nodes(mesh, nodes, NULL));
}

ShipNet *ship_net_new(VvShipper *shipper)
{
    ShipNet *net = g_new0(ShipNet, 1);

    net->shipper = shipper;
    net->pool = test_pool_new();
    net->incarnation = net->applied = 1;
    net->size_bytes = DISK_BYTES;
    pthread_mutex_init(&net->lock, NULL);
    pthread_cond_init(&net->changed, NULL);
    net->server = mesh_new(net, 1, 0, &server_events); /* for a port to come back to */
    net->port = vv_mesh_port(net->server);
    g_clear_pointer(&net->server, vv_mesh_free);
    net->client = mesh_new(net, 2, 0, &client_events);
    net->client_port = vv_mesh_port(net->client);
    introduce(net->client, 1, net->port);
    return net;
}

static void forget_lines(ShipNet *net)
{
    VV_LOCKED(&net->lock);
    for (unsigned i = 0; i < net->connections; i++)
        g_clear_pointer(&net->lines[i], vv_peer_unref);
    for (unsigned i = 0; i < net->count; i++)
        g_clear_pointer(&net->asked[i].peer, vv_peer_unref);
}

void ship_net_serve(ShipNet *net, bool on)
{
    g_clear_pointer(&net->server, vv_mesh_free);
    forget_lines(net);
    if (!on)
        return;
    net->server = mesh_new(net, 1, net->port, &server_events);
    introduce(net->server, 2, net->client_port);
}

void ship_net_cut(ShipNet *net)
{
    VV_LOCKED(&net->lock);
    for (unsigned i = 0; i < net->connections; i++)
        if (net->lines[i])
            vv_peer_close(net->lines[i], 0, "cut");
    for (unsigned i = 0; i < net->count; i++)
        g_clear_pointer(&net->asked[i].peer, vv_peer_unref);
}

void ship_net_free(ShipNet *net)
{
    ship_net_serve(net, false);
    vv_mesh_free(net->client);
    test_pool_free(net->pool);
    pthread_cond_destroy(&net->changed);
    pthread_mutex_destroy(&net->lock);
    g_free(net);
}

/* ---- what the test says */
void ship_net_hold(ShipNet *net, unsigned ops, uint64_t object)
{
    VV_LOCKED(&net->lock);
    net->held_ops = ops;
    net->held_object = object;
}

void ship_net_refuse_opens(ShipNet *net, int result, unsigned times)
{
    VV_LOCKED(&net->lock);
    net->open_result = result;
    net->open_times = times;
}

void ship_net_set(ShipNet *net, uint64_t incarnation, uint64_t applied, uint64_t size_bytes)
{
    VV_LOCKED(&net->lock);
    net->incarnation = incarnation;
    net->applied = applied;
    net->size_bytes = size_bytes;
}

void ship_net_await(ShipNet *net, unsigned count)
{
    struct timespec until;
    VV_LOCKED(&net->lock);

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += AWAIT_SECONDS;
    while (net->count < count)
        if (pthread_cond_timedwait(&net->changed, &net->lock, &until) != 0)
            g_error("%u requests came, not %u", net->count, count);
}

ShipAsked ship_net_asked(ShipNet *net, unsigned index)
{
    VV_LOCKED(&net->lock);
    g_assert_cmpuint(index, <, net->count);
    return net->asked[index];
}

unsigned ship_net_count(ShipNet *net)
{
    VV_LOCKED(&net->lock);
    return net->count;
}

void ship_net_answer(ShipNet *net, unsigned index, int result)
{
    VV_LOCKED(&net->lock);
    g_assert_nonnull(net->asked[index].peer);
    answer_locked(net, &net->asked[index], result);
}

void ship_net_answer_all(ShipNet *net)
{
    VV_LOCKED(&net->lock);
    for (unsigned i = 0; i < net->count; i++)
        if (net->asked[i].peer)
            answer_locked(net, &net->asked[i], 0);
}
