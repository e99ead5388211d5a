/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One node that is a cluster's: the way there, a death at each point of it, and all that a pool does, through the log. */
#include "driver-net.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* In a process of its own, which dies as if it was killed when @work returns, or before. */
static void in_child(void (*work)(Net *net), Net *net)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        work(net);
        _exit(0);
    }
    g_assert_cmpint(pid, >, 0);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static uint64_t find(Node *node, const char *name)
{
    VvMeta *meta = vv_pool_meta(node->pool);
    uint64_t id = 0;

    vv_meta_read_lock(meta);
    if (vv_meta_lun_by_name(meta, name))
        id = vv_meta_lun_by_name(meta, name)->id;
    vv_meta_read_unlock(meta);
    return id;
}

static VvHandle *open_lun(Node *node, const char *name)
{
    VvHandle *handle = NULL;
    VvOpen how = { .write = true };

    g_assert_cmpint(vv_handle_open(node->pool, find(node, name), &how, &handle), ==, 0);
    return handle;
}

static void write_block(Node *node, const char *name, unsigned block, int value)
{
    VvHandle *handle = open_lun(node, name);
    uint8_t bytes[VV_BLOCK_BYTES];

    memset(bytes, value, sizeof bytes);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), bytes, (uint64_t) block * sizeof bytes, sizeof bytes), ==, sizeof bytes);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
}

static void check_block(Node *node, const char *name, unsigned block, int value)
{
    VvHandle *handle = open_lun(node, name);
    uint8_t bytes[VV_BLOCK_BYTES];

    g_assert_cmpint(vv_view_read(vv_handle_view(handle), bytes, (uint64_t) block * sizeof bytes, sizeof bytes), ==, sizeof bytes);
    for (unsigned i = 0; i < sizeof bytes; i++)
        g_assert_cmpuint(bytes[i], ==, value);
    vv_handle_close(handle);
}

static void check_offline(Node *node)
{
    g_autoptr(GError) error = NULL;
    unsigned findings = 0;

    vv_pool_check_offline(node->directory, false, test_check_cb, &findings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(findings, ==, 0);
}

static void snapshot(Node *node, const char *object)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };

    vv_pool_snapshot_create(node->pool, objects, &options, NULL, &error);
    g_assert_no_error(error);
}

static void remove_lun(Node *node, const char *name)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { name, NULL };

    vv_pool_lun_remove(node->pool, names, true, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

/* ---- killed and started again */

static void live(Net *net)
{
    Node *node = &net->nodes[1];
    g_autoptr(GError) error = NULL;

    net_start(node);
    g_assert_false(vv_meta_is_cluster(vv_pool_meta(node->pool)));
    g_assert_true(net_create_lun(node, "before", &error));
    write_block(node, "before", 1, 11);
    net_convert(node, 1, &error);
    g_assert_no_error(error);
    g_assert_true(vv_meta_is_cluster(vv_pool_meta(node->pool)));
    g_assert_true(net_create_lun(node, "after", &error));
    write_block(node, "before", 2, 12);
    write_block(node, "after", 3, 13);
    snapshot(node, "after@s");
    write_block(node, "after", 3, 14);
}

static void live_on(Net *net)
{
    Node *node = &net->nodes[1];

    net_start(node);
    for (unsigned i = 0; i < 20; i++)
        write_block(node, "before", 100 + i, (int) i);
}

static void test_killed(void)
{
    Net *net = net_new();
    Node *node = &net->nodes[1];
    g_autoptr(GError) error = NULL;
    VvPool *plain;

    net_create(net);
    in_child(live, net);
    check_offline(node);
    plain = vv_pool_open(node->directory, NULL, &error);
    g_assert_null(plain);
    test_assert_refused(error, VV_ERROR_UNSUPPORTED, "one of several nodes");
    in_child(live_on, net);

    net_begin(net);
    net_start(node);
    check_block(node, "before", 1, 11);
    check_block(node, "before", 2, 12);
    check_block(node, "after", 3, 14);
    for (unsigned i = 0; i < 20; i++)
        check_block(node, "before", 100 + i, (int) i);
    remove_lun(node, "after");
    g_assert_true(net_create_lun(node, "third", &error));
    net_compare(net);
    net_stop(node);
    check_offline(node);
    net_start(node);
    g_assert_cmpuint(net_count_luns(node), ==, 2);
    net_compare(net);
    net_free(net);
}

/* ---- the conversion's commit */

static VvClusterLog saved;

static bool die_prepared(void *user, VvPool *pool, uint64_t index, GError **error)
{
    g_assert_true(saved.prepare(user, pool, index, error));
    _exit(0);
}

static bool die_attached(void *user, VvPool *pool, GError **error)
{
    (void) user;
    (void) pool;
    (void) error;
    _exit(0);
}

static void convert_and_die(Net *net, bool committed)
{
    Node *node = &net->nodes[1];
    VvClusterLog *log;
    g_autoptr(GError) error = NULL;

    net_start(node);
    g_assert_true(net_create_lun(node, "lun", &error));
    write_block(node, "lun", 5, committed);
    log = (VvClusterLog *) vv_driver_log(node->driver);
    saved = *log;
    if (committed)
        log->attach = die_attached;
    else
        log->prepare = die_prepared;
    net_convert(node, 1, &error);
    g_assert_not_reached();
}

static void die_before(Net *net)
{
    convert_and_die(net, false);
}

static void die_after(Net *net)
{
    convert_and_die(net, true);
}

static void test_conversion(void)
{
    for (unsigned committed = 0; committed < 2; committed++) {
        Net *net = net_new();
        Node *node = &net->nodes[1];
        g_autoptr(GError) error = NULL;

        net_create(net);
        in_child(committed ? die_after : die_before, net);
        check_offline(node);
        net_begin(net);
        net_start(node);
        g_assert_cmpint(vv_meta_is_cluster(vv_pool_meta(node->pool)), ==, (int) committed);
        check_block(node, "lun", 5, (int) committed);
        if (!committed) {
            net_convert(node, 1, &error);
            g_assert_no_error(error);
        }
        write_block(node, "lun", 6, 7);
        g_assert_true(net_create_lun(node, "other", &error));
        net_compare(net);
        net_free(net);
    }
}

/* ---- checkpoints while somebody writes: each base is of the entry that its map is of (B2) */

typedef struct {
    Node *node;
    _Atomic bool over;
} Checkpoints;

static void *make_checkpoints(void *user)
{
    Checkpoints *c = user;
    uint64_t index;

    while (!atomic_load(&c->over))
        g_assert_cmpint(vv_pool_cluster_checkpoint(c->node->pool, &index), ==, 0);
    return NULL;
}

static void test_checkpoints(void)
{
    Net *net = net_new();
    Node *node = &net->nodes[1];
    g_autoptr(GError) error = NULL;
    Checkpoints checkpoints = { .node = node };
    pthread_t thread;

    net_begin(net);
    net_create(net);
    net_start(node);
    net_convert(node, 1, &error);
    g_assert_no_error(error);
    g_assert_true(net_create_lun(node, "lun", &error));
    g_assert_cmpint(pthread_create(&thread, NULL, make_checkpoints, &checkpoints), ==, 0);
    for (unsigned i = 0; i < 300; i++)
        write_block(node, "lun", i % 256, (int) (i & 0xff));
    atomic_store(&checkpoints.over, true);
    pthread_join(thread, NULL);
    snapshot(node, "lun@a");
    net_compare(net);
    net_stop(node);
    net_start(node);
    check_block(node, "lun", 43, (int) (299 & 0xff));
    net_free(net);
}

/* ---- more than the journal holds, so that a log that is full waits for a checkpoint, in entries of any size */

static void set_with_result(Node *node, unsigned i, size_t bytes)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *id = g_strdup_printf("id-%u", i), *name = g_strdup_printf("lun-%u", i), *text = g_malloc(bytes + 1);
    VvRequest request = { .id = id, .result_json = text };
    VvLunCreate create = { .name = name, .size_bytes = 4096 };

    memset(text, 'x', bytes);
    text[bytes] = 0;
    vv_pool_lun_create(node->pool, &create, &request, NULL, &error);
    g_assert_no_error(error);
}

static void test_full(void)
{
    Net *net = net_new();
    Node *node = &net->nodes[1];
    g_autoptr(GError) error = NULL;

    net->trailing = VV_DRIVER_TRAILING;
    net_begin(net);
    net_create(net);
    net_start(node);
    net_convert(node, 1, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 170; i++)
        set_with_result(node, i, 900000);
    net_stop(node);
    net_start(node);
    g_assert_cmpuint(net_count_luns(node), ==, 170);
    net_free(net);
}

/* ---- one memfd through deaths at any instant: what was acknowledged is there, flushed or not, in the log or not */

#define ROUNDS 4u
#define BLOCKS 200u

typedef struct {
    _Atomic unsigned counts[BLOCKS]; /* acknowledged writes of each block */
    _Atomic bool begun;
} Acknowledged;

static void write_for_ever(Node *node, Acknowledged *acknowledged)
{
    VvHandle *handle = open_lun(node, "db");
    uint8_t bytes[VV_BLOCK_BYTES];

    for (unsigned i = 0;; i++) {
        unsigned block = i * 37 % BLOCKS, value = atomic_load(&acknowledged->counts[block]) + 1;

        memset(bytes, (int) (value & 0xff), sizeof bytes);
        g_assert_cmpint(vv_view_write(vv_handle_view(handle), bytes, (uint64_t) block * sizeof bytes, sizeof bytes), ==, sizeof bytes);
        atomic_store(&acknowledged->counts[block], value);
        if (i % 9 == 8)
            g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
        atomic_store(&acknowledged->begun, true);
    }
}

/* A block may hold the write that was under way. */
static void check_acknowledged(Node *node, Acknowledged *acknowledged)
{
    VvHandle *handle = open_lun(node, "db");
    uint8_t bytes[VV_BLOCK_BYTES];

    for (unsigned i = 0; i < BLOCKS; i++) {
        unsigned count = atomic_load(&acknowledged->counts[i]);

        g_assert_cmpint(vv_view_read(vv_handle_view(handle), bytes, (uint64_t) i * sizeof bytes, sizeof bytes), ==, sizeof bytes);
        if (bytes[0] != (count & 0xff))
            g_assert_cmpuint(bytes[0], ==, (count + 1) & 0xff);
        atomic_store(&acknowledged->counts[i], bytes[0] != (count & 0xff) ? count + 1 : count);
    }
    vv_handle_close(handle);
}

static void live_once(Net *net)
{
    Node *node = &net->nodes[1];
    g_autoptr(GError) error = NULL;

    net_start(node);
    net_convert(node, 1, &error);
    g_assert_no_error(error);
    g_assert_true(net_create_lun(node, "db", &error));
    net_stop(node);
}

static int new_pending(void)
{
    int fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(ftruncate(fd, VV_PENDING_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

static void test_taken_over(void)
{
    Net *net = net_new();
    Node *node = &net->nodes[1];
    Acknowledged *acknowledged = mmap(NULL, sizeof *acknowledged, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    net->pending_fd = new_pending();
    net_create(net);
    in_child(live_once, net);
    for (unsigned i = 0; i < ROUNDS; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            net_start(node);
            check_acknowledged(node, acknowledged);
            write_for_ever(node, acknowledged);
        }
        g_assert_cmpint(pid, >, 0);
        net_wait_for(atomic_exchange(&acknowledged->begun, false));
        g_usleep((gulong) g_test_rand_int_range(1000, 60000));
        g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        atomic_store(&acknowledged->begun, false);
    }
    net_begin(net);
    net_start(node);
    check_acknowledged(node, acknowledged);
    net_compare(net);
    net_free(net);
    munmap(acknowledged, sizeof *acknowledged);
}

/* ---- what was freed and used again since the checkpoint is in use, whatever is applied before the pool is there */

#define TURNS 40u
#define PIECES 40u /* written in each, of one block to six, anywhere */

typedef struct {
    GRand *random;
    uint8_t blocks[BLOCKS]; /* what they are filled with */
} Turned;

/* @view NULL: as if. */
static void write_pieces(VvView *view, Turned *turned)
{
    uint8_t bytes[6 * VV_BLOCK_BYTES];

    for (unsigned i = 0; i < PIECES; i++) {
        unsigned first = (unsigned) g_rand_int_range(turned->random, 0, BLOCKS), count = (unsigned) g_rand_int_range(turned->random, 1, 7);
        int value = g_rand_int_range(turned->random, 1, 256);

        count = MIN(count, BLOCKS - first);
        memset(bytes, value, sizeof bytes);
        memset(turned->blocks + first, value, count);
        if (view)
            g_assert_cmpint(vv_view_write(view, bytes, (uint64_t) first * VV_BLOCK_BYTES, count * VV_BLOCK_BYTES), ==, count * VV_BLOCK_BYTES);
    }
}

/* What is overwritten goes elsewhere, and where it was is freed. The last pieces are not flushed. */
static void turn_over(Node *node, Turned *turned)
{
    VvHandle *handle = open_lun(node, "db");
    VvView *view = vv_handle_view(handle);
    const char *const name[] = { "db@s", NULL };
    VvSpaceSummary space;

    for (unsigned i = 0; i < TURNS; i++) {
        g_autoptr(GError) error = NULL;

        snapshot(node, "db@s");
        write_pieces(view, turned);
        g_assert_cmpint(vv_view_flush(view), ==, 0);
        vv_pool_snapshot_remove(node->pool, name, false, false, NULL, NULL, &error);
        g_assert_no_error(error);
        net_wait_for((vv_meta_space(vv_pool_meta(node->pool), &space), space.freeing_bytes == 0));
    }
    snapshot(node, "db@s");
    write_pieces(view, turned);
    vv_handle_close(handle);
}

static void live_in_turns(Net *net)
{
    Node *node = &net->nodes[1];
    Turned turned = { .random = g_rand_new_with_seed((uint32_t) net->seed) };
    g_autoptr(GError) error = NULL;

    net_start(node);
    net_convert(node, 1, &error);
    g_assert_no_error(error);
    g_assert_true(net_create_lun(node, "db", &error));
    turn_over(node, &turned);
}

static void test_used_again(void)
{
    Net *net = net_new();
    Node *node = &net->nodes[1];
    Turned turned = { .random = g_rand_new_with_seed((uint32_t) net->seed) };
    const char *const name[] = { "db@s", NULL };
    g_autoptr(GError) error = NULL;

    net->pending_fd = new_pending();
    net_create(net);
    in_child(live_in_turns, net);
    for (unsigned i = 0; i <= TURNS; i++)
        write_pieces(NULL, &turned); /* what the child has written */
    net_begin(net);
    net_start(node);
    vv_pool_snapshot_remove(node->pool, name, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
    turn_over(node, &turned);
    for (unsigned i = 0; i < BLOCKS; i++)
        check_block(node, "db", i, turned.blocks[i]);
    net_compare(net);
    net_free(net);
    g_rand_free(turned.random);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/driver/alone/killed", test_killed);
    g_test_add_func("/driver/alone/conversion", test_conversion);
    g_test_add_func("/driver/alone/checkpoints", test_checkpoints);
    g_test_add_func("/driver/alone/full", test_full);
    g_test_add_func("/driver/alone/taken-over", test_taken_over);
    g_test_add_func("/driver/alone/used-again", test_used_again);
    return g_test_run();
}
