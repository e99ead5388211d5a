/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes of a test's pool: events, life, waiting. */
#include "cluster-mesh.h"

#include "message.h"

static const VvPeerTimes test_times = { .idle_ms = 50, .dead_ms = 1000 };

/* ---- events */
static void test_up(VvMesh *mesh, VvPeer *peer, void *user)
{
    TestNode *node = user;
    uint64_t other = vv_peer_node(peer);

    (void) mesh;
    VV_LOCKED(&node->lock);
    if (vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA) {
        node->data_up[other]++;
    } else {
        node->bad_order |= node->up[other] != node->down[other];
        node->up[other]++;
    }
    pthread_cond_broadcast(&node->changed);
}

static void test_down(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    TestNode *node = user;

    (void) mesh;
    VV_LOCKED(&node->lock);
    node->thrown_out += strstr(why, "a guest sent") != NULL;
    if (vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA)
        node->data_down[vv_peer_node(peer)]++;
    else
        node->down[vv_peer_node(peer)]++;
    pthread_cond_broadcast(&node->changed);
}

static void test_message(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    TestNode *node = user;

    (void) mesh;
    if (in->request != 0)
        vv_peer_reply(
            peer, in->request, &(VvOutgoing){ .kind = in->kind, .body = in->body, .body_bytes = in->body_bytes });
    VV_LOCKED(&node->lock);
    node->messages++;
    node->forbidden += !vv_message_may_be_guests(in->kind);
    pthread_cond_broadcast(&node->changed);
}

static void test_trouble(
    VvMesh *mesh, VvMeshTrouble trouble, uint64_t about, const char *text, unsigned suppressed, void *user)
{
    TestNode *node = user;

    (void) mesh;
    VV_LOCKED(&node->lock);
    g_string_append_printf(
        node->troubles, "%d %" G_GUINT64_FORMAT " %s (%u)\n", (int) trouble, about, text, suppressed);
    pthread_cond_broadcast(&node->changed);
}

/* What a coordinator will do: each invitation once, and once more for who asks with the same key. */
static void test_join(VvMesh *mesh, VvJoin *join, void *user)
{
    TestNode *node = user;
    const VvJoinRequest *request = vv_join_request(join);
    g_auto(VvJoined) joined = { .role = VV_TOKEN_VOTER, .pool_name = g_strdup("prod") };
    g_autoptr(GError) error = NULL;
    uint8_t key_id[VV_FINGERPRINT_BYTES];
    const uint8_t *known;

    (void) mesh;
    VV_LOCKED(&node->lock);
    node->joins++;
    known = g_hash_table_lookup(node->used, &request->invite);
    if (node->busy_joins > 0) {
        node->busy_joins--;
        vv_set_error(&error, VV_ERROR_BUSY, NULL, NULL, "this node is busy");
    } else if (request->invite != 7 || !vv_join_proves(join, node->verifier))
        vv_set_error(&error, VV_ERROR_DENIED, NULL, NULL, "no such invitation");
    else if (!vv_request_key_id(request->request, key_id) || (known && memcmp(known, key_id, sizeof key_id) != 0))
        vv_set_error(&error, VV_ERROR_STALE, NULL, NULL, "the token was used already");
    if (!error) {
        VvIdentity identity = { .pool = node->pool->uuid, .node = node->next_id };

        g_hash_table_insert(node->used, g_memdup2(&request->invite, 8), g_memdup2(key_id, sizeof key_id));
        joined.node = identity.node;
        joined.node_name = g_strdup(request->name);
        joined.nodes = vv_known_nodes_new();
        vv_known_nodes_add(joined.nodes, node->id, false, node->name, (const char *const[]){ NULL });
        joined.credentials.authority_certificate = vv_authority_certificate(node->pool->authority);
        joined.credentials.authority_key = vv_authority_key(node->pool->authority);
        joined.credentials.node_certificate =
            vv_authority_sign(node->pool->authority, request->request, &identity, 0, &error);
    }
    if (error)
        vv_join_refuse(join, error);
    else
        vv_join_accept(join, &joined);
}

static const VvMeshEvents test_events = {
    .up = test_up, .down = test_down, .message = test_message, .trouble = test_trouble, .join = test_join
};

/* ---- life */
uint64_t test_greeting_ms = 400;

void test_node_start(TestMesh *test, unsigned index, uint64_t id, const char *listen)
{
    TestNode *node = &test->nodes[index];
    g_auto(VvCredentials) credentials = { 0 };
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf("%s:%u", listen ? listen : "127.0.0.1", node->port);
    VvAddress address;
    VvMeshOptions options = { .credentials = &credentials,
        .name = node->name,
        .software = "1",
        .listen = &address,
        .channels = 2,
        .times = test_times,
        .greeting_ms = test_greeting_ms,
        .events = &test_events,
        .user = node };

    test_pool_node(test->pool, id, node->guest, 0, &credentials);
    g_assert_true(vv_address_parse(text, true, &address, NULL));
    node->mesh = vv_mesh_new(&options, &error);
    g_assert_no_error(error);
    node->port = vv_mesh_port(node->mesh);
}

void test_node_end(TestNode *node)
{
    g_clear_pointer(&node->mesh, vv_mesh_free);
}

TestMesh *test_mesh_new(unsigned count)
{
    static const char *const names[] = { "n1", "n2", "n3", "n4" };
    TestMesh *test = g_new0(TestMesh, 1);

    test->pool = test_pool_new();
    test->count = count;
    for (unsigned i = 0; i < count; i++) {
        TestNode *node = &test->nodes[i];

        node->id = i + 1;
        node->name = names[i];
        node->pool = test->pool;
        node->next_id = 9;
        node->troubles = g_string_new(NULL);
        node->used = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
        pthread_mutex_init(&node->lock, NULL);
        pthread_cond_init(&node->changed, NULL);
        test_node_start(test, i, node->id, NULL);
    }
    return test;
}

void test_mesh_free(TestMesh *test)
{
    for (unsigned i = 0; i < test->count; i++) {
        TestNode *node = &test->nodes[i];

        vv_mesh_free(node->mesh);
        g_assert_false(node->bad_order);
        for (unsigned other = 1; other <= TEST_NODES; other++) {
            g_assert_cmpuint(node->up[other], ==, node->down[other]);
            g_assert_cmpuint(node->data_up[other], ==, node->data_down[other]);
        }
        g_string_free(node->troubles, TRUE);
        g_hash_table_unref(node->used);
        pthread_mutex_destroy(&node->lock);
        pthread_cond_destroy(&node->changed);
    }
    test_pool_free(test->pool);
    g_free(test);
}

void test_introduce(TestMesh *test, unsigned index, unsigned who)
{
    g_autoptr(GArray) nodes = vv_known_nodes_new();
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < test->count; i++) {
        g_autofree char *address = g_strdup_printf("127.0.0.1:%u", test->nodes[i].port);
        const char *const addresses[] = { address, NULL };

        if (who & (1u << i))
            vv_known_nodes_add(nodes, test->nodes[i].id, test->nodes[index].guests & (1u << i), test->nodes[i].name, addresses);
    }
    g_assert_true(vv_mesh_set_nodes(test->nodes[index].mesh, nodes, &error));
    g_assert_no_error(error);
}

void test_introduce_all(TestMesh *test)
{
    for (unsigned i = 0; i < test->count; i++)
        test_introduce(test, i, (1u << test->count) - 1);
}

void test_await(TestNode *node, const unsigned *counter, unsigned value)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    pthread_mutex_lock(&node->lock);
    while (*counter < value)
        if (pthread_cond_timedwait(&node->changed, &node->lock, &limit) != 0)
            g_error("%s waited in vain; troubles:\n%s", node->name, node->troubles->str);
    pthread_mutex_unlock(&node->lock);
}

void test_await_trouble(TestNode *node, const char *text)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    pthread_mutex_lock(&node->lock);
    while (!strstr(node->troubles->str, text))
        if (pthread_cond_timedwait(&node->changed, &node->lock, &limit) != 0)
            g_error("%s was not told \"%s\", but:\n%s", node->name, text, node->troubles->str);
    pthread_mutex_unlock(&node->lock);
}

void test_await_link(TestNode *node, uint64_t other)
{
    for (unsigned i = 0; i < 2000; i++) {
        VvPeer *peer = vv_mesh_peer(node->mesh, other, 0);
        int err = peer ? vv_peer_send(peer, &(VvOutgoing){ .kind = TEST_KIND }) : -ENOTCONN;

        vv_peer_unref(peer);
        if (err == 0)
            return;
        poll(NULL, 0, 10);
    }
    g_error("%s has no connection to %" G_GUINT64_FORMAT "; troubles:\n%s", node->name, other, node->troubles->str);
}
