/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: tables come back as they went in and bad ones are refused; objects get, keep and lose theirs in the entry that makes or ends them;
 * what is taken away is refused to who uses it, or ends what they do, and nobody comes in between. */
#include "engine-pool.h"
#include "error.h"
#include "members.h"
#include "sharing.h"
#include "transaction.h"
#include "waiter.h"

#include <string.h>

#define POOL_BYTES ((uint64_t) 64 << 20)
#define LUN_BYTES ((uint64_t) 4 << 20)
#define N2 2u
#define BK 3u

/* ---- tables */
static VvShareTable three(void)
{
    VvShareTable table = { .standard = VV_SHARE_NONE };

    g_assert_true(vv_share_table_set(&table, 7, VV_SHARE_RO));
    g_assert_true(vv_share_table_set(&table, 1, VV_SHARE_RW));
    g_assert_true(vv_share_table_set(&table, 3, VV_SHARE_NONE));
    return table;
}

static void test_tables(void)
{
    VvShareTable table = three(), back, full = { .standard = VV_SHARE_UNSET };
    g_autoptr(GByteArray) body = g_byte_array_new();

    g_assert_cmpuint(table.count, ==, 3);
    g_assert_cmpuint(table.rows[0].node, ==, 1);
    g_assert_cmpuint(table.rows[2].node, ==, 7);
    vv_share_encode(&table, body);
    g_assert_true(vv_share_decode(body->data, body->len, &back));
    g_assert_cmpuint(back.count, ==, 3);
    g_assert_cmpint(vv_share_table_mode(&back, 7, false, VV_SHARE_RW), ==, VV_SHARE_RO);
    g_assert_cmpint(vv_share_table_mode(&back, 2, false, VV_SHARE_RW), ==, VV_SHARE_NONE);
    for (guint cut = 0; cut < body->len; cut++)
        g_assert_false(vv_share_decode(body->data, cut, &back));
    vv_share_table_cap(&table);
    g_assert_cmpint(vv_share_table_mode(&table, 1, false, VV_SHARE_RW), ==, VV_SHARE_RO);
    vv_share_table_set(&table, 1, VV_SHARE_UNSET);
    vv_share_table_set(&table, 1, VV_SHARE_UNSET);
    g_assert_cmpuint(table.count, ==, 2);
    g_assert_cmpint(vv_share_table_mode(&full, 5, true, VV_SHARE_RW), ==, VV_SHARE_NONE); /* a guest */
    g_assert_cmpint(vv_share_table_mode(&full, 5, false, VV_SHARE_RO), ==, VV_SHARE_RO);
    for (uint64_t node = 1; node <= VV_NODES_MAX; node++)
        g_assert_true(vv_share_table_set(&full, node, VV_SHARE_RO));
    g_assert_false(vv_share_table_set(&full, VV_NODES_MAX + 1, VV_SHARE_RO));
    g_assert_true(vv_share_table_set(&full, 5, VV_SHARE_RW));
    g_byte_array_set_size(body, 0);
    vv_share_encode(&full, body);
    g_assert_cmpuint(body->len, <=, VV_MEMBER_BYTES_MAX);
}

/* A changed byte is refused, or gives a table that is in range: encoding it again asserts that. */
static void test_flips(void)
{
    VvShareTable table = three(), got;
    g_autoptr(GByteArray) body = g_byte_array_new();

    vv_share_encode(&table, body);
    for (guint at = 0; at < body->len * 8; at++) {
        g_autoptr(GByteArray) out = g_byte_array_new();

        body->data[at / 8] ^= (uint8_t) (1u << at % 8);
        if (vv_share_decode(body->data, body->len, &got))
            vv_share_encode(&got, out);
        body->data[at / 8] ^= (uint8_t) (1u << at % 8);
    }
}

/* ---- a pool with three nodes; this one is n1 */
static const VvDiskOps *ops; /* NULL: files */

static void open_as_n1(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .node = 1, .disk_ops = ops };

    test->pool = vv_pool_open(test->directory, &options, &error);
    g_assert_no_error(error);
}

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

static void join_as(TestPool *test, VvNodeRole role, const char *name, const char *address, uint8_t key, uint64_t wanted_id)
{
    g_autoptr(GError) error = NULL;
    g_auto(VvInviteRecord) invite = { .id = 70u + key, .role = role, .name = g_strdup(""), .created_ns = vv_now_ns() };
    g_auto(VvNodeRecord) node = { .id = 0 };
    const char *addresses[] = { address, NULL };
    VvJoinAsk ask = { .invite = invite.id, .name = name, .software = "1.0", .addresses = addresses, .proves = proves };
    bool again;

    invite.expiry_seconds = invite.created_ns / 1000000000u + 3600;
    memset(ask.key_id, key, sizeof ask.key_id);
    vv_pool_invite_add(test->pool, &invite, NULL, &error);
    g_assert_no_error(error);
    vv_pool_join(test->pool, &ask, &node, &again, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(node.id, ==, wanted_id);
}

static void join(TestPool *test, const char *name, const char *address, uint8_t key, uint64_t wanted_id)
{
    join_as(test, VV_ROLE_VOTER, name, address, key, wanted_id);
}

static TestPool *three_nodes(void)
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
    open_as_n1(test);
    join(test, "n2", "10.0.0.2:7333", 2, N2);
    join(test, "bk", "10.0.0.3:7333", 3, BK);
    return test;
}

static void reopen(TestPool *test)
{
    vv_pool_close(test->pool);
    open_as_n1(test);
}

/* "n1=rw n2=none default=ro" */
static bool share(TestPool *test, const char *object, const char *text, VvShareHow how, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    const char *nodes[8] = { NULL };
    VvShareMode modes[8];
    struct VvShareChanges changes = { nodes, modes };

    for (unsigned i = 0; words[i]; i++) {
        char *equals = strchr(words[i], '=');

        *equals = '\0';
        nodes[i] = words[i];
        g_assert_true(vv_share_mode_parse(equals + 1, &modes[i], NULL));
    }
    return vv_pool_share_set(test->pool, object, &changes, &how, NULL, error);
}

static void must_share(TestPool *test, const char *object, const char *text)
{
    g_autoptr(GError) error = NULL;

    share(test, object, text, (VvShareHow){ .force = false }, &error);
    g_assert_no_error(error);
}

/* "default=none n1=rw" as the table says. */
static void assert_table(TestPool *test, const char *object, const char *wanted)
{
    g_auto(VvShareView) view = { 0 };
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);

    vv_pool_share_get(test->pool, object, &view, &error);
    g_assert_no_error(error);
    g_string_append_printf(text, "default=%s", vv_share_mode_name(view.standard));
    for (unsigned i = 0; view.nodes[i]; i++)
        g_string_append_printf(text, " %s=%s", view.nodes[i], vv_share_mode_name(view.modes[i]));
    g_assert_cmpstr(text->str, ==, wanted);
}

static void assert_in_order(TestPool *test)
{
    unsigned wrong = 0;

    vv_members_check(test->pool->meta, test_check_cb, &wrong);
    g_assert_cmpuint(wrong, ==, 0);
    test_pool_check(test);
}

static unsigned table_count(TestPool *test)
{
    unsigned count = 0;
    vv_meta_read_lock(test->pool->meta);
    const GPtrArray *members = vv_meta_members(test->pool->meta);

    for (unsigned i = 0; i < members->len; i++)
        count += ((const VvMemberRecord *) g_ptr_array_index(members, i))->kind == VV_MEMBER_SHARE;
    vv_meta_read_unlock(test->pool->meta);
    return count;
}

static int try_open(TestPool *test, uint64_t id, uint64_t node, bool write, VvHandle **ret_handle)
{
    VvHandle *handle = NULL;
    VvOpen open = { .write = write, .node = node };
    int rc = vv_handle_open(test->pool, id, &open, &handle);

    if (ret_handle)
        *ret_handle = handle;
    else if (rc == 0)
        vv_handle_close(handle);
    return rc;
}

/* ---- records */
static void test_set_and_get(void)
{
    TestPool *test = three_nodes();
    uint64_t id = test_lun_new(test, "db", LUN_BYTES);

    g_assert_false(vv_pool_share_any(test->pool));
    assert_table(test, "db", "default=rw");
    must_share(test, "db", "default=none n1=rw n2=ro");
    g_assert_true(vv_pool_share_any(test->pool));
    assert_table(test, "db", "default=none n1=rw n2=ro");
    g_assert_cmpint(try_open(test, id, 0, true, NULL), ==, 0);
    g_assert_cmpint(try_open(test, id, N2, false, NULL), ==, 0);
    g_assert_cmpint(try_open(test, id, N2, true, NULL), ==, -EACCES);
    g_assert_cmpint(try_open(test, id, BK, false, NULL), ==, -EACCES);
    reopen(test);
    assert_table(test, "db", "default=none n1=rw n2=ro");
    g_assert_cmpint(try_open(test, id, BK, false, NULL), ==, -EACCES);
    must_share(test, "db", "default=default n1=default n2=default");
    assert_table(test, "db", "default=rw");
    g_assert_cmpuint(table_count(test), ==, 0); /* what says nothing is not there */
    g_assert_false(vv_pool_share_any(test->pool));
    assert_in_order(test);
    test_pool_free(test);
}

static void test_inheritance(void)
{
    TestPool *test = three_nodes();
    g_autoptr(GError) error = NULL;
    g_autofree char *kept = NULL;
    VvLunProps props = { 0 };

    test_lun_new(test, "db", LUN_BYTES);
    test_lun_new(test, "plain", LUN_BYTES);
    must_share(test, "db", "default=none n1=rw n2=rw");
    test_snapshot(test, "db@a");
    test_snapshot(test, "plain@a");
    assert_table(test, "db@a", "default=none n1=ro n2=ro");
    assert_table(test, "plain@a", "default=ro");
    g_assert_cmpuint(table_count(test), ==, 2);

    must_share(test, "db", "bk=ro"); /* the snapshot's is its own */
    assert_table(test, "db@a", "default=none n1=ro n2=ro");
    must_share(test, "db@a", "bk=ro n2=none");
    g_assert_true(vv_pool_snapshot_refresh(test->pool, "db@a", NULL, &error));
    assert_table(test, "db@a", "default=none bk=ro n1=ro n2=none");
    g_assert_true(vv_pool_clone(test->pool, "db@a", "copy", 0, &props, NULL, NULL, &error));
    assert_table(test, "copy", "default=none bk=ro n1=ro n2=none");
    g_assert_true(vv_pool_clone(test->pool, "plain@a", "copy2", 0, &props, NULL, NULL, &error));
    assert_table(test, "copy2", "default=rw");
    g_assert_true(vv_pool_snapshot_restore(test->pool, "db@a", false, false, false, NULL, &kept, &error));
    assert_table(test, "db", "default=none bk=ro n1=rw n2=rw");
    assert_table(test, kept, "default=none bk=ro n1=ro n2=ro");
    reopen(test);
    assert_table(test, "copy", "default=none bk=ro n1=ro n2=none");
    assert_in_order(test);
    test_pool_free(test);
}

static void test_with_snapshots(void)
{
    TestPool *test = three_nodes();
    g_autoptr(GError) error = NULL;

    test_lun_new(test, "db", LUN_BYTES);
    test_snapshot(test, "db@a");
    must_share(test, "db@a", "bk=none");
    g_assert_true(share(test, "db", "default=ro n2=rw", (VvShareHow){ .with_snapshots = true }, &error));
    assert_table(test, "db", "default=ro n2=rw");
    assert_table(test, "db@a", "default=ro bk=none n2=ro");
    test_pool_free(test);
}

static uint64_t entries(TestPool *test)
{
    VvPoolStats stats;

    vv_pool_stats(test->pool, &stats);
    return stats.journal_entries;
}

/* --share of a snapshot: all or none, in its entry. */
static void test_snapshot_share(void)
{
    TestPool *test = three_nodes();
    const char *both[] = { "db@a", "web@a", NULL }, *nodes[] = { "bk", NULL }, *unknown[] = { "bk", "nobody", NULL };
    VvShareMode modes[] = { VV_SHARE_RO, VV_SHARE_RO }, writes[] = { VV_SHARE_RW };
    struct VvShareChanges good = { nodes, modes }, bad = { unknown, modes }, rw = { nodes, writes };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL, .share = &bad };
    g_autoptr(GError) not_found = NULL, usage = NULL, error = NULL;
    uint64_t before;

    test_lun_new(test, "db", LUN_BYTES);
    test_lun_new(test, "web", LUN_BYTES);
    must_share(test, "db", "default=none n1=rw n2=rw");
    before = entries(test);
    g_assert_false(vv_pool_snapshot_create(test->pool, both, &options, NULL, &not_found));
    g_assert_error(not_found, VV_ERROR, VV_ERROR_NOT_FOUND);
    options.share = &rw;
    g_assert_false(vv_pool_snapshot_create(test->pool, both, &options, NULL, &usage));
    g_assert_error(usage, VV_ERROR, VV_ERROR_USAGE);
    g_assert_cmpuint(entries(test), ==, before);
    options.share = &good;
    g_assert_true(vv_pool_snapshot_create(test->pool, both, &options, NULL, &error));
    g_assert_cmpuint(entries(test), ==, before + 1);
    assert_table(test, "db@a", "default=none bk=ro n1=ro n2=ro");
    assert_table(test, "web@a", "default=ro bk=ro");
    assert_in_order(test);
    test_pool_free(test);
}

/* The table goes with the object, in its entry; of what is open when it is purged. */
static void test_removal(void)
{
    TestPool *test = three_nodes();
    const char *snapshots[] = { "db@a", NULL }, *luns[] = { "db", NULL };
    g_autoptr(GError) error = NULL;
    VvHandle *handle;
    uint64_t before, snapshot;

    test_lun_new(test, "db", LUN_BYTES);
    must_share(test, "db", "n2=ro");
    test_snapshot(test, "db@a");
    test_snapshot(test, "db@b");
    snapshot = test_snapshot_id(test, "db", "b");
    g_assert_cmpuint(table_count(test), ==, 3);
    before = entries(test);
    g_assert_true(vv_pool_snapshot_remove(test->pool, snapshots, false, false, NULL, NULL, &error));
    g_assert_cmpuint(entries(test), ==, before + 1);
    g_assert_cmpuint(table_count(test), ==, 2);
    g_assert_cmpint(try_open(test, snapshot, 0, false, &handle), ==, 0);
    g_assert_true(vv_pool_lun_remove(test->pool, luns, true, false, false, NULL, NULL, &error));
    g_assert_cmpuint(table_count(test), ==, 1); /* who has it open still, has it as before */
    g_assert_false(vv_handle_is_revoked(handle));
    assert_in_order(test);
    vv_handle_close(handle);
    vv_jobs_drain_closed(test->pool);
    g_assert_cmpuint(table_count(test), ==, 0);
    assert_in_order(test);
    reopen(test);
    g_assert_cmpuint(table_count(test), ==, 0);
    assert_in_order(test);
    test_pool_free(test);
}

static void test_refused(void)
{
    TestPool *test = three_nodes(), *plain = test_pool_new(POOL_BYTES);
    static const struct {
        const char *object, *text;
        VvErrorCode code;
    } cases[] = {
        { "nope", "n2=ro", VV_ERROR_NOT_FOUND },
        { "db@nope", "n2=ro", VV_ERROR_NOT_FOUND },
        { "db", "n9=ro", VV_ERROR_NOT_FOUND },
        { "db", "w=ro", VV_ERROR_CONFLICT },
        { "db", "w=default", VV_ERROR_CONFLICT },
        { "db@a", "n2=rw", VV_ERROR_USAGE },
        { "db@a", "default=rw", VV_ERROR_USAGE },
        { "db", "n2=rw n2=ro", VV_ERROR_USAGE },
        { "db", "default=ro default=rw", VV_ERROR_USAGE },
        { "db", "n2=default n2=ro", VV_ERROR_USAGE },
    };
    g_autoptr(GError) alone = NULL;
    uint64_t before;

    test_lun_new(test, "db", LUN_BYTES);
    test_lun_new(plain, "db", LUN_BYTES);
    test_snapshot(test, "db@a");
    join_as(test, VV_ROLE_WITNESS, "w", "10.0.0.9:7333", 9, 4); /* it has no mount */
    before = entries(test);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(share(test, cases[i].object, cases[i].text, (VvShareHow){ .force = false }, &error));
        g_assert_error(error, VV_ERROR, (gint) cases[i].code);
    }
    g_assert_cmpuint(entries(test), ==, before);
    g_assert_false(share(plain, "db", "default=ro", (VvShareHow){ .force = false }, &alone));
    g_assert_error(alone, VV_ERROR, VV_ERROR_UNSUPPORTED);
    assert_table(plain, "db", "default=rw");
    test_pool_free(test);
    test_pool_free(plain);
}

static void set_default(TestPool *test, const char *value, VvErrorCode code)
{
    const char *keys[] = { "share-default", NULL }, *values[] = { value, NULL };
    g_autoptr(GError) error = NULL;

    if (vv_pool_set(test->pool, keys, values, NULL, &error))
        g_assert_cmpint((int) code, ==, 0);
    else
        g_assert_error(error, VV_ERROR, (gint) code);
}

static void test_pool_default(void)
{
    TestPool *test = three_nodes();
    uint64_t id = test_lun_new(test, "db", LUN_BYTES), own, made;
    VvLunCreate create = { .name = "made", .elastic = true };
    VvHandle *handle;

    own = test_lun_new(test, "own", LUN_BYTES);
    must_share(test, "own", "default=rw");
    g_assert_cmpint(try_open(test, id, N2, false, &handle), ==, 0);
    set_default(test, "maybe", VV_ERROR_USAGE);
    set_default(test, "default", VV_ERROR_USAGE);
    set_default(test, "none", VV_ERROR_BUSY);
    set_default(test, "ro", 0);
    assert_table(test, "db", "default=ro");
    vv_handle_close(handle);
    set_default(test, "none", 0);
    assert_table(test, "db", "default=none");
    assert_table(test, "own", "default=rw");
    g_assert_cmpint(try_open(test, id, N2, false, NULL), ==, -EACCES);
    g_assert_cmpint(try_open(test, own, N2, true, NULL), ==, 0);
    g_assert_true(vv_pool_lun_create(test->pool, &create, NULL, &made, NULL)); /* cp into the mount */
    g_assert_cmpint(try_open(test, made, 0, true, NULL), ==, 0);
    g_assert_cmpint(try_open(test, made, N2, false, NULL), ==, -EACCES);
    create = (VvLunCreate){ .name = "theirs", .elastic = true, .node = N2 };
    g_assert_true(vv_pool_lun_create(test->pool, &create, NULL, &made, NULL)); /* into that of another node */
    g_assert_cmpint(try_open(test, made, N2, true, NULL), ==, 0);
    g_assert_cmpint(try_open(test, made, 0, false, NULL), ==, -EACCES);
    reopen(test);
    assert_table(test, "db", "default=none");
    set_default(test, "rw", 0);
    assert_table(test, "db", "default=rw");
    assert_in_order(test);
    test_pool_free(test);
}

/* A record of what there is not, or that cannot be read, is told by `pool check`; the latter lets nobody in. */
static void test_check(void)
{
    TestPool *test = three_nodes();
    uint64_t id = test_lun_new(test, "db", LUN_BYTES);
    static uint8_t body[] = { 1, VV_SHARE_RO, 0, 0 }, bad[] = { 9, 9, 9 };
    VvOps *ops_list = vv_ops_new();
    unsigned wrong = 0;

    for (unsigned i = 0; i < 2; i++) {
        VvOp *op = vv_ops_add(ops_list, VV_OP_MEMBER_SET);

        op->member_set.kind = VV_MEMBER_SHARE;
        op->member_set.id = i ? id : 12345;
        op->member_set.body = i ? g_memdup2(bad, sizeof bad) : g_memdup2(body, sizeof body);
        op->member_set.body_bytes = i ? sizeof bad : sizeof body;
    }
    g_assert_cmpint(vv_commit_ops(test->pool->committer, NULL, 0, ops_list), ==, 0);
    vv_members_check(test->pool->meta, test_check_cb, &wrong);
    g_assert_cmpuint(wrong, ==, 2);
    g_assert_cmpint(try_open(test, id, 0, false, NULL), ==, -EACCES);
    must_share(test, "db", "default=rw");
    g_assert_cmpint(try_open(test, id, 0, true, NULL), ==, 0);
    test_pool_free(test);
}

/* ---- who uses it */
typedef struct {
    VvTask task;
    VvIo io;
    VvWorker *worker;
    VvWaiter waiter;
} Request;

static void request_done(VvIo *io)
{
    vv_waiter_over_cb(&((Request *) io->user)->waiter, (int) io->result);
}

static void request_run(VvTask *task)
{
    Request *request = (Request *) ((char *) task - G_STRUCT_OFFSET(Request, task));

    vv_io_submit(request->worker, &request->io);
}

static void begin(Request *request, VvHandle *handle, VvIoKind kind, void *data)
{
    VvPool *pool = vv_handle_view(handle)->pool;

    *request = (Request){ .task = { .run = request_run }, .worker = pool->service, .waiter = VV_WAITER_INIT };
    request->io = (VvIo){ .kind = kind, .view = vv_handle_view(handle), .handle = handle, .data = data, .done = request_done, .user = request };
    request->io.length_bytes = kind == VV_IO_FLUSH ? 0 : VV_BLOCK_BYTES;
    vv_worker_post(pool->service, &request->task);
}

static int request(VvHandle *handle, VvIoKind kind)
{
    g_autofree void *data = test_blocks_new(1, 0x5a);
    Request now;

    begin(&now, handle, kind, data);
    return vv_waiter_wait(&now.waiter);
}

static void test_busy_and_force(void)
{
    TestPool *test = three_nodes();
    uint64_t id = test_lun_new(test, "db", LUN_BYTES);
    VvHandle *ours, *theirs, *reader;
    g_autoptr(GError) busy = NULL, error = NULL;

    g_assert_cmpint(try_open(test, id, 0, true, &ours), ==, 0);
    g_assert_cmpint(try_open(test, id, N2, true, &theirs), ==, 0);
    g_assert_cmpint(try_open(test, id, N2, false, &reader), ==, 0);
    g_assert_false(share(test, "db", "n2=ro", (VvShareHow){ .force = false }, &busy));
    g_assert_error(busy, VV_ERROR, VV_ERROR_BUSY);
    g_assert_cmpstr(busy->message, ==, "db is open on n2: a process of that node, read-write");
    g_assert_cmpstr(vv_error_get_hint(busy), ==, "Close it, or `--force` ends it with EIO there.");
    assert_table(test, "db", "default=rw");
    g_assert_cmpint(request(theirs, VV_IO_WRITE), ==, VV_BLOCK_BYTES);
    must_share(test, "db", "n2=rw bk=none"); /* takes nothing from anybody who uses it */

    g_assert_true(share(test, "db", "n2=ro", (VvShareHow){ .force = true }, &error));
    g_assert_true(vv_handle_is_revoked(theirs));
    g_assert_false(vv_handle_is_revoked(reader));
    g_assert_cmpint(request(theirs, VV_IO_WRITE), ==, -EIO);
    g_assert_cmpint(request(theirs, VV_IO_READ), ==, -EIO);
    g_assert_cmpint(request(theirs, VV_IO_FLUSH), ==, -EIO);
    g_assert_cmpint(request(reader, VV_IO_READ), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(request(ours, VV_IO_WRITE), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(request(ours, VV_IO_FLUSH), ==, 0);
    must_share(test, "db", "n2=rw"); /* what was revoked stays so, and is in nobody's way */
    g_assert_cmpint(request(theirs, VV_IO_WRITE), ==, -EIO);
    g_assert_cmpint(vv_handle_zero(theirs, 0, LUN_BYTES), ==, -EIO);
    g_assert_cmpint(vv_handle_allocate(theirs, 0, LUN_BYTES), ==, -EIO);
    g_assert_cmpint((int) vv_handle_copy(theirs, 0, ours, 0, VV_BLOCK_BYTES), ==, -EIO);
    g_assert_cmpint((int) vv_handle_copy(ours, 0, theirs, VV_BLOCK_BYTES, VV_BLOCK_BYTES), ==, -EIO);
    g_assert_cmpint((int) vv_handle_copy(ours, 0, ours, VV_BLOCK_BYTES, VV_BLOCK_BYTES), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(vv_handle_allocate(ours, 0, LUN_BYTES), ==, 0);
    vv_handle_close(reader);
    must_share(test, "db", "n2=none");
    vv_handle_close(theirs);
    vv_handle_close(ours);
    test_pool_free(test);
}

/* What waits for a gate when it is taken away ends too, though the gate stays closed. */
static void test_parked(void)
{
    TestPool *test = three_nodes();
    uint64_t id = test_lun_new(test, "db", LUN_BYTES);
    g_autofree void *data = test_blocks_new(1, 1);
    g_autoptr(GError) error = NULL;
    VvHandle *theirs;
    Request parked;

    g_assert_cmpint(try_open(test, id, N2, true, &theirs), ==, 0);
    g_assert_true(vv_gate_close(vv_handle_view(theirs), false, 1000));
    begin(&parked, theirs, VV_IO_WRITE, data);
    g_assert_true(share(test, "db", "n2=none", (VvShareHow){ .force = true }, &error));
    g_assert_cmpint(vv_waiter_wait(&parked.waiter), ==, -EIO);
    vv_gate_open(vv_handle_view(theirs), false);
    vv_handle_close(theirs);
    test_pool_free(test);
}

/* What is at the disk when it is taken away is waited for. */
static VvHandle *slow_handle;
static atomic_bool returned, was_at_disk;

static int slow_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    if (slow_handle) {
        uint64_t until_ms;

        atomic_store(&was_at_disk, true);
        while (!vv_handle_is_revoked(slow_handle))
            g_usleep(1000);
        until_ms = vv_monotonic_ms() + 200; /* time for the change to return, if it does not wait */
        while (!atomic_load(&returned) && vv_monotonic_ms() < until_ms)
            g_usleep(1000);
        g_assert_false(atomic_load(&returned));
    }
    return vv_disk_file_ops.write(disk, data, length_bytes, offset);
}

static int plain_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    return vv_disk_file_ops.read(disk, data, length_bytes, offset);
}

static int plain_sync(VvDisk *disk)
{
    return vv_disk_file_ops.sync(disk);
}

static int plain_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    return vv_disk_file_ops.discard(disk, offset, length_bytes);
}

static const VvDiskOps slow_ops = { .read = plain_read, .write = slow_write, .sync = plain_sync, .discard = plain_discard };

static void test_drains(void)
{
    g_autofree void *data = test_blocks_new(1, 1);
    g_autoptr(GError) error = NULL;
    VvHandle *theirs;
    TestPool *test;
    Request under_way;
    uint64_t id;

    ops = &slow_ops;
    test = three_nodes();
    id = test_lun_new(test, "db", LUN_BYTES);
    g_assert_cmpint(try_open(test, id, N2, true, &theirs), ==, 0);
    slow_handle = theirs;
    begin(&under_way, theirs, VV_IO_WRITE, data);
    while (!atomic_load(&was_at_disk))
        g_usleep(1000);
    g_assert_true(share(test, "db", "n2=none", (VvShareHow){ .force = true }, &error));
    atomic_store(&returned, true);
    g_assert_cmpint(vv_waiter_wait(&under_way.waiter), ==, VV_BLOCK_BYTES);
    slow_handle = NULL;
    vv_handle_close(theirs);
    test_pool_free(test);
    ops = NULL;
}

/* Without --force nobody who got in is ever thrown out, whoever comes when. H5 */
typedef struct {
    TestPool *test;
    uint64_t id;
    atomic_bool stop;
    unsigned opened, refused;
} Opener;

static void *open_and_close(void *data)
{
    Opener *opener = data;

    while (!atomic_load(&opener->stop)) {
        VvHandle *handle;

        if (try_open(opener->test, opener->id, N2, true, &handle) < 0) {
            opener->refused++;
            continue;
        }
        opener->opened++;
        for (unsigned i = 0; i < 100; i++) {
            g_assert_false(vv_handle_is_revoked(handle));
            g_thread_yield();
        }
        vv_handle_close(handle);
        for (unsigned i = 0; i < 20; i++)
            g_thread_yield();
    }
    return NULL;
}

static void test_race(void)
{
    TestPool *test = three_nodes();
    Opener opener = { .test = test, .id = test_lun_new(test, "db", LUN_BYTES) };
    unsigned done = 0, busy = 0;
    pthread_t thread;

    pthread_create(&thread, NULL, open_and_close, &opener);
    for (unsigned i = 0; i < 20000 && (done < 50 || busy < 50); i++) {
        g_autoptr(GError) error = NULL;

        if (share(test, "db", "n2=none", (VvShareHow){ .force = false }, &error)) {
            done++;
            must_share(test, "db", "n2=rw");
        } else {
            g_assert_error(error, VV_ERROR, VV_ERROR_BUSY);
            busy++;
        }
        g_thread_yield();
    }
    atomic_store(&opener.stop, true);
    pthread_join(thread, NULL);
    g_test_message("%u changes, %u busy; %u opens, %u refused", done, busy, opener.opened, opener.refused);
    g_assert_cmpuint(opener.opened, >, 0);
    assert_in_order(test);
    test_pool_free(test);
}

/* ---- what others are told */
static void count_call(void *user)
{
    atomic_fetch_add((_Atomic unsigned *) user, 1);
}

static GPtrArray *told;

static void tell_removed(void *user, uint64_t id)
{
    g_autofree char *name = vv_object_name(user, id);

    g_ptr_array_add(told, g_strdup_printf("removed %s", name));
}

static void tell_content(void *user, uint64_t id)
{
    g_autofree char *name = vv_object_name(user, id);

    g_ptr_array_add(told, g_strdup_printf("content %s", name));
}

static void test_hooks(void)
{
    TestPool *test = three_nodes();
    _Atomic unsigned calls = 0;
    VvPoolHooks hooks = { .object_removed = tell_removed, .content_changed = tell_content };
    g_autoptr(GPtrArray) list = told = g_ptr_array_new_with_free_func(g_free);

    vv_pool_close(test->pool);
    {
        VvPoolOptions options = { .node = 1, .shares_changed = count_call, .members_user = (void *) &calls };
        g_autoptr(GError) error = NULL;

        test->pool = vv_pool_open(test->directory, &options, &error);
        g_assert_no_error(error);
    }
    test_lun_new(test, "db", LUN_BYTES);
    test_snapshot(test, "db@a");
    g_assert_cmpuint(atomic_load(&calls), ==, 0);
    vv_pool_set_hooks(test->pool, &hooks, test->pool);
    must_share(test, "db@a", "n2=none");
    g_assert_cmpuint(atomic_load(&calls), ==, 1);
    g_assert_cmpuint(list->len, ==, 1); /* it is seen here still */
    g_assert_cmpstr(g_ptr_array_index(list, 0), ==, "removed db");
    g_ptr_array_set_size(list, 0);
    must_share(test, "db@a", "n1=none");
    g_assert_cmpuint(list->len, ==, 3);
    g_assert_cmpstr(g_ptr_array_index(list, 0), ==, "content db@a");
    g_assert_cmpstr(g_ptr_array_index(list, 1), ==, "removed db@a");
    g_assert_cmpstr(g_ptr_array_index(list, 2), ==, "removed db");
    vv_pool_set_hooks(test->pool, &(VvPoolHooks){ NULL }, NULL);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/share/tables", test_tables);
    g_test_add_func("/engine/share/flips", test_flips);
    g_test_add_func("/engine/share/set-and-get", test_set_and_get);
    g_test_add_func("/engine/share/inheritance", test_inheritance);
    g_test_add_func("/engine/share/with-snapshots", test_with_snapshots);
    g_test_add_func("/engine/share/snapshot", test_snapshot_share);
    g_test_add_func("/engine/share/removal", test_removal);
    g_test_add_func("/engine/share/refused", test_refused);
    g_test_add_func("/engine/share/pool-default", test_pool_default);
    g_test_add_func("/engine/share/check", test_check);
    g_test_add_func("/engine/share/busy-and-force", test_busy_and_force);
    g_test_add_func("/engine/share/parked", test_parked);
    g_test_add_func("/engine/share/drains", test_drains);
    g_test_add_func("/engine/share/race", test_race);
    g_test_add_func("/engine/share/hooks", test_hooks);
    return g_test_run();
}
