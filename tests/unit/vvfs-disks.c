/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk of another node: server and line over TLS on the loopback interface, with a medium that keeps what is not synced in a cache, and may
 * lose it, or let writes wait. */
#include "disk_line.h"
#include "disk_server.h"

#include "base.h"
#include "cluster-test.h"
#include "error.h"
#include "mesh.h"
#include "waiter.h"

#include <glib/gstdio.h>
#include <string.h>

#define DISK_BYTES VV_DISK_BYTES_MIN
#define DISK_ID 77u
#define DATA_AT (1u << 20)
#define MANY 400u

typedef struct {
    TestPool *pool;
    char *folder, *path;
    VvUuid pool_uuid, disk_uuid;
    VvMesh *client, *server_mesh;
    unsigned port, client_port;
    VvDiskServer *server;
    VvDiskLine *line;
    VvRemote *remote;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    uint8_t *cached, *stable; /* the medium: all, and what is synced */
    bool hold;                /* writes wait */
    unsigned held, writes, syncs;
    VvPeer *peer; /* of the server, the newest */
    uint64_t session, fence;
} Net;

/* ---- the medium */
static Net *net_of(VvDisk *disk)
{
    return vv_disk_ops_user(disk);
}

static int medium_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    Net *net = net_of(disk);
    VV_LOCKED(&net->lock);

    memcpy(data, net->cached + offset, length_bytes);
    return 0;
}

static int medium_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    Net *net = net_of(disk);
    VV_LOCKED(&net->lock);

    if (net->hold && offset >= DATA_AT) {
        net->held++;
        pthread_cond_broadcast(&net->changed);
        while (net->hold)
            pthread_cond_wait(&net->changed, &net->lock);
        net->held--;
    }
    memcpy(net->cached + offset, data, length_bytes);
    net->writes += offset >= DATA_AT; /* not the beats */
    pthread_cond_broadcast(&net->changed);
    return 0;
}

static int medium_sync(VvDisk *disk)
{
    Net *net = net_of(disk);
    VV_LOCKED(&net->lock);

    memcpy(net->stable, net->cached, DISK_BYTES);
    net->syncs++;
    pthread_cond_broadcast(&net->changed);
    return 0;
}

static int medium_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    Net *net = net_of(disk);
    VV_LOCKED(&net->lock);

    memset(net->cached + offset, 0, length_bytes);
    return 0;
}

static const VvDiskOps medium_ops = { medium_read, medium_write, medium_sync, medium_discard };

/* ---- the meshes */
static bool is_asked(const VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && !vv_peer_dialled(peer);
}

static void server_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    Net *net = user;

    (void) mesh;
    if (!is_asked(peer))
        return;
    vv_disk_server_up(net->server, peer);
    VV_LOCKED(&net->lock);
    g_clear_pointer(&net->peer, vv_peer_unref);
    net->peer = vv_peer_ref(peer);
}

static void server_down(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    (void) mesh;
    (void) why;
    if (is_asked(peer))
        vv_disk_server_down(((Net *) user)->server, peer);
}

static void *server_place(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    return vv_disk_server_place(((Net *) user)->server, peer, in);
}

static void server_unplace(VvMesh *mesh, VvPeer *peer, void *data, void *user)
{
    (void) mesh;
    vv_disk_server_unplace(((Net *) user)->server, peer, data);
}

static void server_message(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    if (in->request != 0 && in->kind == VV_FRAME_DISK)
        vv_disk_server_take(((Net *) user)->server, peer, in);
}

static const VvMeshEvents server_events = {
    .up = server_up, .down = server_down, .place = server_place, .unplace = server_unplace, .message = server_message
};

static bool is_ours(const VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && vv_peer_dialled(peer);
}

static void client_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    (void) mesh;
    if (is_ours(peer))
        vv_disk_line_up(((Net *) user)->line, peer);
}

static void client_down(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    (void) mesh;
    (void) why;
    if (is_ours(peer))
        vv_disk_line_down(((Net *) user)->line, peer);
}

static void client_writable(VvMesh *mesh, VvPeer *peer, void *user)
{
    (void) mesh;
    if (is_ours(peer))
        vv_disk_line_writable(((Net *) user)->line, peer);
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

static VvMesh *mesh_new(Net *net, uint64_t id, unsigned port, const VvMeshEvents *events)
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

/* The server comes (0: goes), with this incarnation. */
static void serve(Net *net, uint64_t incarnation)
{
    g_autoptr(GError) error = NULL;
    VvDisk *disk;

    g_clear_pointer(&net->server_mesh, vv_mesh_free);
    g_clear_pointer(&net->peer, vv_peer_unref);
    g_clear_pointer(&net->server, vv_disk_server_free);
    if (incarnation == 0)
        return;
    net->server = vv_disk_server_new(incarnation);
    disk = vv_disk_open(net->path, &net->pool_uuid, &net->disk_uuid, false, 0, &error);
    g_assert_no_error(error);
    vv_disk_set_ops(disk, &medium_ops, net);
    vv_disk_server_add(net->server, disk);
    net->server_mesh = mesh_new(net, 2, net->port, &server_events);
    introduce(net->server_mesh, 1, net->client_port);
}

static void lose_cache(Net *net)
{
    VV_LOCKED(&net->lock);
    memcpy(net->cached, net->stable, DISK_BYTES);
}

static void cut(Net *net)
{
    VV_LOCKED(&net->lock);
    if (net->peer)
        vv_peer_close(net->peer, 0, "cut");
}

/* It does not rise within ten times as long as it would take. */
static void stays(Net *net, const unsigned *count, unsigned most)
{
    struct timespec until;
    VV_LOCKED(&net->lock);

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    while (*count <= most && pthread_cond_timedwait(&net->changed, &net->lock, &until) == 0)
        ;
    g_assert_cmpuint(*count, <=, most);
}

static void set_hold(Net *net, bool hold)
{
    VV_LOCKED(&net->lock);
    net->hold = hold;
    pthread_cond_broadcast(&net->changed);
}

static void await_held(Net *net, unsigned count)
{
    VV_LOCKED(&net->lock);
    while (net->held < count)
        pthread_cond_wait(&net->changed, &net->lock);
}

static void stamp(void *user, uint64_t *ret_session, uint64_t *ret_fence)
{
    Net *net = user;
    VV_LOCKED(&net->lock);

    *ret_session = net->session;
    *ret_fence = net->fence;
}

static void set_stamp(Net *net, uint64_t session, uint64_t fence)
{
    VV_LOCKED(&net->lock);
    net->session = session;
    net->fence = fence;
}

static void load(Net *net)
{
    g_autofree char *bytes = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(net->path, &bytes, &length, NULL));
    g_assert_cmpuint(length, ==, DISK_BYTES);
    net->cached = g_memdup2(bytes, DISK_BYTES);
    net->stable = g_memdup2(bytes, DISK_BYTES);
}

static void set_up(Net *net, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VvDiskFormat format = { .create_bytes = DISK_BYTES };
    VvLabel label = { .disk_id = DISK_ID, .pool_name = "p", .disk_name = "far" };

    pthread_mutex_init(&net->lock, NULL);
    pthread_cond_init(&net->changed, NULL);
    net->folder = g_dir_make_tmp("vv-disks-XXXXXX", NULL);
    net->path = g_build_filename(net->folder, "disk", NULL);
    vv_uuid_generate(&label.pool_uuid);
    vv_uuid_generate(&label.disk_uuid);
    net->pool_uuid = label.pool_uuid;
    net->disk_uuid = label.disk_uuid;
    g_assert_true(vv_disk_format(net->path, &format, &label, &error));
    load(net);
    net->session = 5;
    net->pool = test_pool_new();
    net->line = vv_disk_line_new("n2", stamp, net);
    net->server_mesh = mesh_new(net, 2, 0, &server_events); /* for a port to come back to */
    net->port = vv_mesh_port(net->server_mesh);
    g_clear_pointer(&net->server_mesh, vv_mesh_free);
    net->client = mesh_new(net, 1, 0, &client_events);
    net->client_port = vv_mesh_port(net->client);
    introduce(net->client, 2, net->port);
    serve(net, 100);
    net->remote = vv_link_open(vv_disk_transport_new(net->line, DISK_ID), "disk far", false, 10000, &error);
    g_assert_no_error(error);
    net->remote->ops->expect(net->remote, &label);
}

static void tear_down(Net *net, const void *data G_GNUC_UNUSED)
{
    vv_remote_free(net->remote);
    vv_mesh_free(net->client);
    serve(net, 0);
    vv_disk_line_free(net->line);
    test_pool_free(net->pool);
    g_unlink(net->path);
    g_rmdir(net->folder);
    g_free(net->path);
    g_free(net->folder);
    g_free(net->cached);
    g_free(net->stable);
    pthread_cond_destroy(&net->changed);
    pthread_mutex_destroy(&net->lock);
}

/* ---- requests */
typedef struct {
    VvRemoteRequest request;
    VvWaiter waiter;
    uint8_t data[4 * VV_BLOCK_BYTES];
} Asked;

static void over_cb(VvRemoteRequest *request, int result)
{
    vv_waiter_over_cb(&((Asked *) request->user)->waiter, result);
}

static Asked *ask(Net *net, VvRemoteKind kind, uint64_t block, uint8_t fill)
{
    Asked *asked = g_new0(Asked, 1);

    asked->waiter = (VvWaiter) VV_WAITER_INIT;
    memset(asked->data, fill, sizeof asked->data);
    asked->request = (VvRemoteRequest){ .kind = kind,
        .data = kind == VV_REMOTE_SYNC ? NULL : asked->data,
        .offset = kind == VV_REMOTE_SYNC ? 0 : DATA_AT + block * sizeof asked->data,
        .length_bytes = kind == VV_REMOTE_SYNC ? 0 : sizeof asked->data,
        .done = over_cb,
        .user = asked };
    net->remote->ops->submit(net->remote, &asked->request);
    return asked;
}

static void is_done(Asked *asked)
{
    g_assert_cmpint(vv_waiter_wait(&asked->waiter), ==, 0);
    g_free(asked);
}

static void write_block(Net *net, uint64_t block, uint8_t fill)
{
    is_done(ask(net, VV_REMOTE_WRITE, block, fill));
}

static void sync_all(Net *net)
{
    is_done(ask(net, VV_REMOTE_SYNC, 0, 0));
}

static void holds(Net *net, uint64_t block, uint8_t fill)
{
    Asked *asked = ask(net, VV_REMOTE_READ, block, 0xee);

    g_assert_cmpint(vv_waiter_wait(&asked->waiter), ==, 0);
    for (size_t i = 0; i < sizeof asked->data; i++)
        g_assert_cmpuint(asked->data[i], ==, fill);
    g_free(asked);
}

static uint8_t stable_at(Net *net, uint64_t block)
{
    VV_LOCKED(&net->lock);
    return net->stable[DATA_AT + block * 4 * VV_BLOCK_BYTES];
}

/* ---- tests */

static void test_plain(Net *net, const void *data G_GNUC_UNUSED)
{
    uint8_t *large = g_malloc(2u << 20), *back = g_malloc0(2u << 20);

    g_assert_cmpuint(net->remote->ops->bytes(net->remote), ==, DISK_BYTES);
    write_block(net, 3, 7);
    holds(net, 3, 7);
    g_assert_cmpuint(stable_at(net, 3), ==, 0);
    sync_all(net);
    g_assert_cmpuint(stable_at(net, 3), ==, 7);
    for (unsigned i = 0; i < 2u << 20; i++)
        large[i] = (uint8_t) (i * 31 / 7);
    g_assert_cmpint(vv_remote_do(net->remote, VV_REMOTE_WRITE, large, 2u << 20, 4u << 20), ==, 0); /* in pieces */
    g_assert_cmpint(vv_remote_do(net->remote, VV_REMOTE_READ, back, 2u << 20, 4u << 20), ==, 0);
    g_assert_cmpmem(large, 2u << 20, back, 2u << 20);
    g_assert_cmpint(vv_remote_do(net->remote, VV_REMOTE_DISCARD, NULL, 2u << 20, 4u << 20), ==, 0);
    g_assert_cmpint(vv_remote_do(net->remote, VV_REMOTE_READ, back, 2u << 20, 4u << 20), ==, 0);
    g_assert_cmpuint(back[5000], ==, 0);
    g_assert_cmpint(vv_remote_do(net->remote, VV_REMOTE_READ, back, 4096, DISK_BYTES), ==, -EIO);
    g_free(large);
    g_free(back);
}

static void test_cuts(Net *net, const void *data G_GNUC_UNUSED)
{
    Asked *asked[MANY];

    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < MANY; i++)
            asked[i] = ask(net, VV_REMOTE_WRITE, i, (uint8_t) (round * 50 + i % 50));
        vv_waiter_wait(&asked[MANY / 4]->waiter);
        cut(net);
        for (unsigned i = 0; i < MANY; i++)
            if (i != MANY / 4)
                is_done(asked[i]);
        g_free(asked[MANY / 4]);
    }
    for (unsigned i = 0; i < MANY; i += 7)
        holds(net, i, (uint8_t) (150 + i % 50));
}

/* The process was started anew: nothing is lost, nothing is written again. */
static void test_same_incarnation(Net *net, const void *data G_GNUC_UNUSED)
{
    for (unsigned i = 0; i < 20; i++)
        write_block(net, i, (uint8_t) (i + 1));
    g_assert_cmpuint(net->writes, ==, 20);
    serve(net, 0);
    serve(net, 100);
    sync_all(net);
    g_assert_cmpuint(net->writes, ==, 20);
    for (unsigned i = 0; i < 20; i++)
        g_assert_cmpuint(stable_at(net, i), ==, i + 1);
}

/* The machine was: what was acknowledged and not synced is lost there, and is written again before a sync is answered or anything read. */
static void test_other_incarnation(Net *net, const void *data G_GNUC_UNUSED)
{
    write_block(net, 50, 9);
    sync_all(net);
    for (unsigned i = 0; i < 20; i++)
        write_block(net, i, (uint8_t) (i + 1));
    write_block(net, 3, 99);
    serve(net, 0);
    lose_cache(net);
    serve(net, 101);
    holds(net, 3, 99);
    g_assert_cmpuint(net->writes, ==, 1 + 21 + 21); /* not block 50 */
    sync_all(net);
    for (unsigned i = 0; i < 20; i++)
        g_assert_cmpuint(stable_at(net, i), ==, i == 3 ? 99 : i + 1);
    serve(net, 0);
    serve(net, 102);
    holds(net, 50, 9);
    g_assert_cmpuint(net->writes, ==, 1 + 21 + 21); /* all was synced */
}

static void *end_session_main(void *user)
{
    Net *net = user;
    return GINT_TO_POINTER(vv_disk_server_end_session(net->server, 1, 5, 40));
}

/* FENCEIDX, BARRIER, ENDSYNC. */
static void test_session(Net *net, const void *data G_GNUC_UNUSED)
{
    pthread_t thread;
    void *result;
    Asked *slow, *later;

    write_block(net, 1, 1);
    set_hold(net, true);
    slow = ask(net, VV_REMOTE_WRITE, 2, 2);
    await_held(net, 1);
    g_assert_cmpint(pthread_create(&thread, NULL, end_session_main, net), ==, 0);
    set_stamp(net, 41, 40);
    later = ask(net, VV_REMOTE_READ, 2, 0xee); /* waits for the end to be passed, or is sent when it is */
    stays(net, &net->syncs, 0); /* BARRIER: not passed with a write under way */
    set_hold(net, false);
    pthread_join(thread, &result);
    g_assert_cmpint(GPOINTER_TO_INT(result), ==, 0);
    g_assert_cmpuint(stable_at(net, 1), ==, 1);
    g_assert_cmpuint(stable_at(net, 2), ==, 2); /* ENDSYNC */
    is_done(slow);
    g_assert_cmpint(vv_waiter_wait(&later->waiter), ==, 0);
    g_assert_cmpuint(later->data[0], ==, 2);
    g_free(later);

    set_stamp(net, 41, 60); /* ahead of the server: it waits until it has caught up */
    later = ask(net, VV_REMOTE_WRITE, 4, 4);
    vv_disk_server_end_session(net->server, 9, 3, 60);
    is_done(later);

    set_stamp(net, 5, 60); /* late writes of the session that has ended are never done */
    unsigned before = net->writes;
    later = ask(net, VV_REMOTE_WRITE, 1, 77);
    for (bool told = false; !told; sched_yield()) {
        g_autofree char *why = net->remote->ops->trouble(net->remote);
        told = why && strstr(why, "the session has ended");
    }
    g_assert_cmpuint(net->writes, ==, before);
    set_stamp(net, 41, 60);
    is_done(later);
    holds(net, 1, 77);
}

/* G2: what was given up with a connection does not come after what is sent on the next. */
static void test_order(Net *net, const void *data G_GNUC_UNUSED)
{
    Asked *asked;

    set_hold(net, true);
    asked = ask(net, VV_REMOTE_WRITE, 6, 1);
    await_held(net, 1);
    cut(net); /* the same write comes again, and must not begin beside the old one */
    stays(net, &net->held, 1);
    set_hold(net, false);
    is_done(asked);
    g_assert_cmpuint(net->writes, ==, 2);
    holds(net, 6, 1);
}

static void test_unserved(Net *net, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vv_link_open(vv_disk_transport_new(net->line, 78), "disk other", false, 0, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_IO);
    g_assert_cmpstr(error->message, ==, "disk other cannot be reached: node n2: it does not serve the disk");
    write_block(net, 1, 1);
    holds(net, 1, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/disks/plain", Net, NULL, set_up, test_plain, tear_down);
    g_test_add("/disks/cuts", Net, NULL, set_up, test_cuts, tear_down);
    g_test_add("/disks/same-incarnation", Net, NULL, set_up, test_same_incarnation, tear_down);
    g_test_add("/disks/other-incarnation", Net, NULL, set_up, test_other_incarnation, tear_down);
    g_test_add("/disks/session", Net, NULL, set_up, test_session, tear_down);
    g_test_add("/disks/order", Net, NULL, set_up, test_order, tear_down);
    g_test_add("/disks/unserved", Net, NULL, set_up, test_unserved, tear_down);
    return g_test_run();
}
