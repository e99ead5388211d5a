/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two nodes of a pool in one process, over TLS on the loopback interface: bench/peerline [SECONDS]. Prints MiB/s of writes and of reads
 * of 1 MiB (8 under way, one data connection), and the time of a request of 64 bytes and its answer, one at a time. */
#include "cluster-test.h"
#include "mesh.h"

#include <stdio.h>
#include <stdlib.h>

#define MIB (1u << 20)
#define UNDER_WAY 8u

enum { WRITES = VV_FRAME_OWNER, READS, SMALL };

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned up, under_way;
    uint64_t answered;
} Bench;

static uint8_t *memory; /* what is sent and received: nobody looks */

static void up_cb(VvMesh *mesh, VvPeer *peer, void *user)
{
    Bench *bench = user;

    (void) mesh;
    (void) peer;
    VV_LOCKED(&bench->lock);
    bench->up++;
    pthread_cond_signal(&bench->changed);
}

static void message_cb(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    VvOutgoing out = { .kind = in->kind, .body = memory, .body_bytes = in->kind == SMALL ? 64 : 24 };

    (void) mesh;
    (void) user;
    if (in->kind == READS) {
        out.data = memory;
        out.data_bytes = MIB;
    }
    vv_peer_reply(peer, in->request, &out);
}

static void *place_cb(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    (void) mesh;
    (void) peer;
    (void) in;
    (void) user;
    return memory + MIB;
}

static void done_cb(void *user, int result, const VvIncoming *reply)
{
    Bench *bench = user;

    (void) reply;
    if (result != 0) {
        fprintf(stderr, "peerline: a request failed: %s\n", g_strerror(-result));
        exit(1);
    }
    VV_LOCKED(&bench->lock);
    bench->under_way--;
    bench->answered++;
    pthread_cond_signal(&bench->changed);
}

static const VvMeshEvents events = { .up = up_cb, .message = message_cb, .place = place_cb };

static void ask(Bench *bench, VvPeer *peer, uint16_t kind)
{
    VvOutgoing out = { .kind = kind, .body = memory, .body_bytes = kind == SMALL ? 64 : 48 };
    VvPeerRequest request = {
        .timeout_ms = 30000, .into = memory + 2 * MIB, .into_bytes = MIB, .done = done_cb, .user = bench
    };

    if (kind == WRITES) {
        out.data = memory;
        out.data_bytes = MIB;
    }
    /* too much waits: the answers that come make room */
    while (vv_peer_request(peer, &out, &request) != 0)
        sched_yield();
}

/* Requests a second. */
static double run(Bench *bench, VvPeer *peer, uint16_t kind, unsigned under_way, double seconds)
{
    uint64_t start_ns = vv_monotonic_ns(), end_ns = start_ns + (uint64_t) (seconds * 1e9), before = bench->answered;

    while (vv_monotonic_ns() < end_ns) {
        pthread_mutex_lock(&bench->lock);
        while (bench->under_way >= under_way)
            pthread_cond_wait(&bench->changed, &bench->lock);
        bench->under_way++;
        pthread_mutex_unlock(&bench->lock);
        ask(bench, peer, kind);
    }
    pthread_mutex_lock(&bench->lock);
    while (bench->under_way > 0)
        pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
    return (double) (bench->answered - before) * 1e9 / (double) (vv_monotonic_ns() - start_ns);
}

static VvMesh *node_start(const TestPool *pool, uint64_t id, Bench *bench)
{
    g_auto(VvCredentials) credentials = { 0 };
    g_autoptr(GError) error = NULL;
    VvAddress address;
    VvMeshOptions options = { .credentials = &credentials,
        .name = id == 1 ? "n1" : "n2",
        .software = "bench",
        .listen = &address,
        .events = &events,
        .user = bench };
    VvMesh *mesh;

    test_pool_node(pool, id, false, 0, &credentials);
    g_assert_true(vv_address_parse("127.0.0.1:0", true, &address, NULL));
    mesh = vv_mesh_new(&options, &error);
    g_assert_no_error(error);
    return mesh;
}

int main(int argc, char **argv)
{
    Bench bench = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(GArray) nodes = vv_known_nodes_new();
    VvMesh *meshes[2];
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    VvPeer *peer, *control;

    memory = g_malloc0(3 * MIB);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *text = NULL;

        meshes[i] = node_start(pool, i + 1, &bench);
        text = g_strdup_printf("127.0.0.1:%u", vv_mesh_port(meshes[i]));
        vv_known_nodes_add(nodes, i + 1, false, i ? "n2" : "n1", (const char *const[]){ text, NULL });
    }
    vv_mesh_set_nodes(meshes[0], nodes, NULL);
    vv_mesh_set_nodes(meshes[1], nodes, NULL);
    pthread_mutex_lock(&bench.lock);
    while (bench.up < 6) /* each end of a control connection and two data connections */
        pthread_cond_wait(&bench.changed, &bench.lock);
    pthread_mutex_unlock(&bench.lock);
    peer = vv_mesh_peer(meshes[0], 2, 1);
    control = vv_mesh_peer(meshes[0], 2, 0);
    printf("writes of 1 MiB       %8.0f MiB/s\n", run(&bench, peer, WRITES, UNDER_WAY, seconds));
    printf("reads of 1 MiB        %8.0f MiB/s\n", run(&bench, peer, READS, UNDER_WAY, seconds));
    printf("64 bytes, control     %8.1f us\n", 1e6 / run(&bench, control, SMALL, 1, seconds));
    printf("64 bytes, data        %8.1f us\n", 1e6 / run(&bench, peer, SMALL, 1, seconds));
    printf("64 bytes, 64 at once  %8.0f /s\n", run(&bench, control, SMALL, 64, seconds));
    vv_peer_unref(peer);
    vv_peer_unref(control);
    for (unsigned i = 0; i < 2; i++)
        vv_mesh_free(meshes[i]);
    g_free(memory);
    return 0;
}
