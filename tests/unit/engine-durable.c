/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A flush covers what was written through handles that are closed by now. */
#include "engine-pool.h"

#include "io_state.h"

#define POOL_BYTES ((uint64_t) 64 << 20)

static void write_block(VvView *view, int value)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    memset(bytes, value, sizeof bytes);
    g_assert_cmpint(vv_view_write(view, bytes, 0, sizeof bytes), ==, sizeof bytes);
}

static uint64_t syncs_of(TestPool *test)
{
    return vv_disk_counters(g_ptr_array_index(test->pool->disks, 0)).syncs;
}

/* Everything pending is journalled, as the ticker does it when it is old. */
static void settle(VvPool *pool)
{
    for (unsigned i = 0; i < 5000 && vv_flush_background(pool, UINT64_MAX, NULL) > 0; i++)
        g_usleep(1000);
    g_assert_cmpuint(vv_flush_background(pool, UINT64_MAX, NULL), ==, 0);
}

/* Whoever flushed it in the background may have it for a moment more. */
static bool is_kept(VvPool *pool, uint64_t id)
{
    bool kept = true;
    for (unsigned i = 0; i < 5000 && kept; i++) {
        VvView *view = vv_view_peek(pool, id);
        kept = view != NULL;
        if (kept) {
            vv_view_unref(view);
            g_usleep(1000);
        }
    }
    return kept;
}

static void test_in_place_then_closed(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "lun", 1 << 20);
    VvHandle *handle = test_open(test, id, true);
    write_block(vv_handle_view(handle), 1);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    settle(test->pool);
    uint64_t before = syncs_of(test), in_place = atomic_load(&test->pool->blocks_in_place);
    write_block(vv_handle_view(handle), 2);
    g_assert_cmpuint(atomic_load(&test->pool->blocks_in_place), ==, in_place + 1);
    vv_handle_close(handle);
    settle(test->pool);
    g_assert_false(is_kept(test->pool, id));
    handle = test_open(test, id, true);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    g_assert_cmpuint(syncs_of(test), >, before); /* I3 */
    vv_handle_close(handle);
    test_pool_free(test);
}

/* The same when the pool is closed at once. */
static void test_in_place_then_pool_closed(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "lun", 1 << 20);
    VvHandle *handle = test_open(test, id, true);
    write_block(vv_handle_view(handle), 1);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    uint64_t before = syncs_of(test);
    write_block(vv_handle_view(handle), 2);
    vv_handle_close(handle);
    g_assert_cmpint(vv_pool_flush(test->pool), ==, 0);
    g_assert_cmpuint(syncs_of(test), >, before);
    test_pool_free(test);
}

static uint64_t stored_mtime(TestPool *test, uint64_t id)
{
    vv_meta_read_lock(test->pool->meta);
    uint64_t mtime_ns = vv_meta_lun(test->pool->meta, id)->mtime_ns;
    vv_meta_read_unlock(test->pool->meta);
    return mtime_ns;
}

static void test_mtime_then_pool_closed(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "lun", 1 << 20);
    VvHandle *handle = test_open(test, id, true);
    VvViewStat stat;
    write_block(vv_handle_view(handle), 1);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    write_block(vv_handle_view(handle), 2);
    vv_view_stat(vv_handle_view(handle), &stat);
    vv_handle_close(handle);
    test_pool_reopen(test);
    g_assert_cmpuint(stored_mtime(test, id), ==, stat.mtime_ns);
    test_pool_free(test);
}

/* What a process that died wrote in place is read from the kernel's memory, by a pool whose views wrote nothing. */
static void test_opened(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_assert_cmpuint(syncs_of(test), >, 0);
    test_pool_reopen(test);
    g_assert_cmpuint(syncs_of(test), >, 0);
    test_pool_free(test);
}

/* What nobody can read any more need not be synced, and keeps nothing. */
static void test_in_place_then_removed(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    const char *names[] = { "lun", NULL };
    uint64_t id = test_lun_new(test, "lun", 1 << 20);
    VvHandle *handle = test_open(test, id, true);
    write_block(vv_handle_view(handle), 1);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    write_block(vv_handle_view(handle), 2);
    vv_handle_close(handle);
    g_assert_true(vv_pool_lun_remove(test->pool, names, false, false, false, NULL, NULL, &error));
    g_assert_false(is_kept(test->pool, id));
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/durable/in-place-then-closed", test_in_place_then_closed);
    g_test_add_func("/durable/in-place-then-pool-closed", test_in_place_then_pool_closed);
    g_test_add_func("/durable/mtime-then-pool-closed", test_mtime_then_pool_closed);
    g_test_add_func("/durable/opened", test_opened);
    g_test_add_func("/durable/in-place-then-removed", test_in_place_then_removed);
    return g_test_run();
}
