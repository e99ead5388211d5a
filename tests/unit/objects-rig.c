/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool, its server, and who asks it: see objects-rig.h. */
#include "objects-rig.h"

#include "engine-test.h"
#include "members.h"

#define POOL_BYTES ((uint64_t) 64 << 20)

/* ---- a pool of which n2 is a node too */
static bool nothing_to_store(void *user, const char *directory, GError **error)
{
    (void) user;
    (void) directory;
    (void) error;
    return true;
}

static bool proves(void *user, const uint8_t verifier[VV_INVITE_VERIFIER_BYTES])
{
    (void) user;
    (void) verifier;
    return true;
}

static void join(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    g_auto(VvInviteRecord) invite = { .id = 77, .role = VV_ROLE_VOTER, .name = g_strdup(""), .created_ns = vv_now_ns() };
    g_auto(VvNodeRecord) node = { .id = 0 };
    const char *addresses[] = { "10.0.0.2:7333", NULL };
    VvJoinAsk ask = { .invite = invite.id, .name = "n2", .software = "1.0", .addresses = addresses, .proves = proves };
    bool again;

    invite.expiry_seconds = invite.created_ns / 1000000000u + 3600;
    memset(ask.key_id, 2, sizeof ask.key_id);
    vv_pool_invite_add(test->pool, &invite, NULL, &error);
    g_assert_no_error(error);
    vv_pool_join(test->pool, &ask, &node, &again, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(node.id, ==, N2);
}

void rig_open_pool(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .node = 1, .others_return = true };

    test->pool = vv_pool_open(test->directory, &options, &error);
    g_assert_no_error(error);
}

static TestPool *two_nodes(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(VvNodeRecord) node = { .id = 1, .role = VV_ROLE_VOTER, .name = g_strdup("n1"), .software = g_strdup("1.0") };
    struct VvFirstNode first = { .node = &node, .prepare = nothing_to_store };
    TestPool *test = g_new0(TestPool, 1);

    node.addresses = g_strdupv((char *[]){ (char *) "10.0.0.1:7333", NULL });
    test->folder = test_folder_new(true);
    test->directory = g_build_filename(test->folder, "pool", NULL);
    VvPoolCreate create = { .directory = test->directory, .name = "tank", .size_bytes = POOL_BYTES, .first = &first };
    vv_uuid_generate(&first.uuid);
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    rig_open_pool(test);
    join(test);
    return test;
}

uint64_t rig_lun_new(TestPool *test, const char *name, uint64_t size_bytes)
{
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = name, .size_bytes = size_bytes, .elastic = size_bytes == 0 };
    uint64_t id;

    vv_pool_lun_create(test->pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    return id;
}

/* "a@s"; its id. */
uint64_t rig_snapshot_new(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { "a@s", NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };
    VvMeta *meta = vv_pool_meta(test->pool);
    uint64_t id;

    vv_pool_snapshot_create(test->pool, objects, &options, NULL, &error);
    g_assert_no_error(error);
    vv_meta_read_lock(meta);
    id = vv_meta_snapshot_by_name(meta, vv_meta_lun_by_name(meta, "a"), "s")->id;
    vv_meta_read_unlock(meta);
    return id;
}

static void report_cb(void *user, const VvCheckError *found)
{
    (void) user;
    g_error("check: %s %s: %s", found->code, found->object, found->message);
}

static void pool_free(TestPool *test)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(vv_meta_check(vv_pool_meta(test->pool), false, report_cb, NULL), ==, 0);
    vv_pool_close(test->pool);
    vv_pool_destroy(test->directory, false, NULL, &error);
    g_assert_no_error(error);
    (void) g_rmdir(test->directory);
    test_folder_free(test->folder);
    g_free(test->directory);
    g_free(test);
}

/* ---- a server, and n2 that asks it */
void rig_serve(Rig *rig)
{
    g_autoptr(GError) error = NULL;

    vv_object_server_open(rig->server, rig->pool->pool, &error);
    g_assert_no_error(error);
}

Rig *rig_unopened(const VvObjectServerOptions *options)
{
    Rig *rig = g_new0(Rig, 1);

    rig->pool = two_nodes();
    rig->lun = rig_lun_new(rig->pool, "a", LUN_BYTES);
    rig->server = vv_object_server_new(options);
    rig->net = serve_net_new(rig->server);
    return rig;
}

Rig *rig_new_with(const VvObjectServerOptions *options)
{
    Rig *rig = rig_unopened(options);

    rig_serve(rig);
    serve_net_client(rig->net, true);
    return rig;
}

Rig *rig_new(void)
{
    return rig_new_with(NULL);
}

void rig_free(Rig *rig)
{
    vv_object_server_end(rig->server);
    serve_net_free(rig->net);
    vv_object_server_free(rig->server);
    pool_free(rig->pool);
    g_free(rig);
}

VvObjectServerStats rig_stats(Rig *rig)
{
    VvObjectServerStats now;

    vv_object_server_stats(rig->server, &now);
    return now;
}

/* ---- asking */
ServeCall call_of(VvObjectOp op, uint64_t object, uint64_t offset, uint64_t length)
{
    return (ServeCall){ .ask = { .op = op, .object = object, .offset_bytes = offset, .length_bytes = length } };
}

int call(Rig *rig, ServeCall *one)
{
    serve_net_send(rig->net, one);
    serve_net_await(one);
    g_assert_cmpint(one->wire, ==, 0);
    return one->answer.result;
}

int ask(Rig *rig, VvObjectOp op, uint64_t object, uint64_t offset, uint64_t length)
{
    ServeCall one = call_of(op, object, offset, length);

    return call(rig, &one);
}

ServeCall open_call(uint64_t object, uint64_t handle, unsigned flags)
{
    return (ServeCall){ .ask = { .op = VV_OBJECT_OPEN, .flags = (uint8_t) flags, .object = object, .handle = handle, .pid = 4711 } };
}

int open_as(Rig *rig, uint64_t object, uint64_t handle, unsigned flags)
{
    ServeCall one = open_call(object, handle, flags);

    return call(rig, &one);
}

int close_as(Rig *rig, uint64_t object, uint64_t handle)
{
    ServeCall one = { .ask = { .op = VV_OBJECT_CLOSE, .object = object, .handle = handle } };

    return call(rig, &one);
}

uint8_t block[MIB];

ServeCall write_call(uint64_t object, uint64_t offset, uint32_t length, int value)
{
    ServeCall one = call_of(VV_OBJECT_WRITE_DATA, object, offset, length);

    memset(block, value, sizeof block);
    one.data = block;
    return one;
}

int put(Rig *rig, uint64_t object, uint64_t offset, uint32_t length, int value)
{
    ServeCall one = write_call(object, offset, length, value);

    return call(rig, &one) < 0 ? one.answer.result : (int) one.answer.value;
}

int get(Rig *rig, uint64_t object, uint64_t offset, uint32_t length)
{
    g_autofree uint8_t *into = g_malloc0(length);
    ServeCall one = call_of(VV_OBJECT_READ, object, offset, length);

    one.into = into;
    if (call(rig, &one) < 0)
        return one.answer.result;
    g_assert_cmpuint(one.answer.value, ==, length);
    for (uint32_t i = 1; i < length; i++)
        if (into[i] != into[0])
            return -1;
    return into[0];
}

VvView *rig_view(Rig *rig, uint64_t object)
{
    VvView *view = vv_view_peek(rig->pool->pool, object);

    g_assert_nonnull(view);
    return view; /* a reference */
}

unsigned rig_openers(Rig *rig, uint64_t object)
{
    g_autoptr(GPtrArray) openers = vv_pool_openers(rig->pool->pool, object);
    unsigned count = 0;

    for (unsigned i = 0; i < openers->len; i++)
        count += ((const VvOpener *) g_ptr_array_index(openers, i))->node == N2;
    return count;
}
