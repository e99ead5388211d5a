/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file system of the pool directory is full: neither the journal nor the map can grow. Whoever asked for something in one
 * batch is told what became of his own part. */
#include "engine-pool.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

#define POOL_BYTES ((uint64_t) 64 << 20)
#define SCATTERED 256u /* records that nothing joins: their entry is larger than what is left in the journal */

typedef struct {
    TestPool *test;
    char *mount; /* a small tmpfs with the pool directory; the disk is beside it */
    char *ballast;
} Fixture;

/* A file system of our own; false: it cannot be mounted here. */
static bool mount_small(Fixture *f)
{
    f->test = g_new0(TestPool, 1);
    f->test->folder = test_folder_new(true);
    f->mount = g_build_filename(f->test->folder, "small", NULL);
    f->ballast = g_build_filename(f->mount, "ballast", NULL);
    f->test->directory = g_build_filename(f->mount, "pool", NULL);
    g_assert_cmpint(g_mkdir(f->mount, 0700), ==, 0);
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", f->mount, "tmpfs", 0, "size=96m") == 0;
}

static void fixture_free(Fixture *f)
{
    (void) umount2(f->mount, MNT_DETACH);
    g_assert_cmpint(g_rmdir(f->mount), ==, 0);
    test_folder_free(f->test->folder);
    g_free(f->test->directory);
    g_free(f->test);
    g_free(f->mount);
    g_free(f->ballast);
}

static void make_pool(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *disk = g_build_filename(f->test->folder, "disk", NULL);
    const char *disks[] = { disk, NULL };
    VvPoolCreate create = { .directory = f->test->directory, .name = "tank", .disks = disks };
    FILE *file = fopen(disk, "w");
    g_assert_nonnull(file);
    g_assert_cmpint(ftruncate(fileno(file), (off_t) POOL_BYTES), ==, 0);
    fclose(file);
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    test_pool_open(f->test);
}

/* No block is left. */
static void fill_file_system(Fixture *f)
{
    g_autofree uint8_t *bytes = g_malloc0(1 << 20);
    int fd = g_open(f->ballast, O_WRONLY | O_CREAT, 0600);
    g_assert_cmpint(fd, >=, 0);
    for (size_t length = 1 << 20; length >= 4096; length /= 2)
        while (write(fd, bytes, length) == (ssize_t) length)
            ;
    close(fd);
}

/* An entry of about @bytes. */
static VvOps *make_ops(unsigned number, size_t bytes)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_REQUEST);
    op->request.time_ns = vv_now_ns();
    op->request.id = g_strdup_printf("filler-%08u", number);
    op->request.result = g_strnfill(bytes, 'x');
    return ops;
}

static void fill_journal(Fixture *f)
{
    unsigned number = 0;
    for (size_t bytes = 900 << 10; bytes >= 2 << 10; bytes /= 4)
        while (vv_commit_ops(f->test->pool->committer, NULL, 0, make_ops(number++, bytes)) == 0)
            ;
}

/* ---- one batch */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open, over;
    int result;
} Gate;
#define GATE_INIT                                                                      \
    {                                                                                  \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER         \
    }

static void gate_set(Gate *gate, bool *what)
{
    VV_LOCKED(&gate->lock);
    *what = true;
    pthread_cond_broadcast(&gate->changed);
}

static void gate_wait(Gate *gate, const bool *what)
{
    VV_LOCKED(&gate->lock);
    while (!*what)
        pthread_cond_wait(&gate->changed, &gate->lock);
}

/* Holds the committer, so that what is asked meanwhile is one batch. */
static void hold_cb(void *user, int result)
{
    Gate *gate = user;
    (void) result;
    gate_set(gate, &gate->over);
    gate_wait(gate, &gate->open);
}

static void over_cb(void *user, int result)
{
    Gate *gate = user;
    gate->result = result;
    gate_set(gate, &gate->over);
}

static void hold_committer(VvPool *pool, Gate *gate)
{
    vv_commit_ops_async(pool->committer, make_ops(0, 8 << 10), hold_cb, gate); /* fails: no matter */
    gate_wait(gate, &gate->over);
}

static VvOps *set_warn_used(const char *value)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_POOL_SET);
    op->pool_set.key = g_strdup("warn-used");
    op->pool_set.value = g_strdup(value);
    return ops;
}

static bool warn_used_is(VvPool *pool, const char *value)
{
    vv_meta_read_lock(pool->meta);
    bool is = g_strcmp0(g_hash_table_lookup(vv_meta_pool(pool->meta)->settings, "warn-used"), value) == 0;
    vv_meta_read_unlock(pool->meta);
    return is;
}

static void write_scattered(VvView *view, int value)
{
    g_autofree uint8_t *bytes = g_malloc(VV_BLOCK_BYTES);
    memset(bytes, value, VV_BLOCK_BYTES);
    for (uint64_t i = 0; i < SCATTERED; i++)
        g_assert_cmpint(vv_view_write(view, bytes, 2 * i * VV_BLOCK_BYTES, VV_BLOCK_BYTES), ==, VV_BLOCK_BYTES);
}

/* Records that cannot be journalled, with the ops of somebody else before or behind them in the batch. */
static void one_batch(VvView *view, bool ops_first, const char *value)
{
    VvPool *pool = view->pool;
    Gate hold = GATE_INIT, flush = GATE_INIT, ops = GATE_INIT;
    uint64_t sequence = view->next_sequence - 1;
    hold_committer(pool, &hold);
    if (ops_first)
        vv_commit_ops_async(pool->committer, set_warn_used(value), over_cb, &ops);
    vv_commit_view(pool->committer, view, sequence, over_cb, &flush);
    if (!ops_first)
        vv_commit_ops_async(pool->committer, set_warn_used(value), over_cb, &ops);
    gate_set(&hold, &hold.open);
    gate_wait(&flush, &flush.over);
    gate_wait(&ops, &ops.over);
    g_assert_cmpint(flush.result, ==, -ENOSPC); /* I3 */
    g_assert_cmpuint(view->applied_sequence, <, sequence);
    g_assert_cmpint(ops.result == 0, ==, warn_used_is(pool, value));
}

/* What removes is taken when nothing else is. */
static void remove_lun(Fixture *f, const char *name)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { name, NULL };
    vv_pool_lun_remove(f->test->pool, names, false, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

static void test_each_is_told_his_own(void)
{
    Fixture f = { .test = NULL };
    if (mount_small(&f)) {
        make_pool(&f);
        uint64_t id = test_lun_new(f.test, "lun", 4 << 20);
        test_lun_new(f.test, "gone", 4 << 20);
        VvHandle *handle = test_open(f.test, id, true);
        VvView *view = vv_handle_view(handle);
        vv_ticker_stop(f.test->pool->ticker); /* nobody else journals */
        write_scattered(view, 1);
        fill_file_system(&f);
        fill_journal(&f);
        one_batch(view, false, "71");
        one_batch(view, true, "72");
        g_assert_true(vv_meta_is_cramped(f.test->pool->meta));
        g_assert_cmpstr(vv_pool_state(f.test->pool), ==, "full");
        remove_lun(&f, "gone");
        g_assert_cmpint(g_unlink(f.ballast), ==, 0);
        g_assert_cmpint(vv_view_flush(view), ==, 0);
        vv_handle_close(handle);
        test_pool_reopen(f.test);
        test_pool_check(f.test);
        vv_pool_close(f.test->pool);
    } else {
        g_test_skip("a tmpfs of its own cannot be mounted here");
    }
    fixture_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/full/each-is-told-his-own", test_each_is_told_his_own);
    return g_test_run();
}
