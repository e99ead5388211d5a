/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a full pool still does, and whom it makes wait: zeroing, jobs that cannot go on. */
#include "engine-pool.h"

#define POOL_BYTES ((uint64_t) 32 << 20)
#define BLOCK VV_BLOCK_BYTES

/* Until nothing more fits, down to single blocks. */
static void fill(VvView *view, uint64_t offset)
{
    g_autofree uint8_t *data = g_malloc0(256 * BLOCK);
    memset(data, 0xee, 256 * BLOCK);
    for (size_t length = 256 * BLOCK; length >= BLOCK; length /= 2) {
        int64_t rc;
        while ((rc = vv_view_write(view, data, offset, length)) > 0)
            offset += (uint64_t) rc;
        g_assert_cmpint(rc, ==, -ENOSPC);
    }
}

static void write_all(VvView *view, uint64_t offset, uint64_t length, int value)
{
    g_autofree uint8_t *data = g_malloc(length);
    memset(data, value, length);
    g_assert_cmpint(vv_view_write(view, data, offset, length), ==, (int64_t) length);
}

static void assert_filled(VvView *view, uint64_t offset, uint64_t length, int value)
{
    g_autofree uint8_t *data = g_malloc(length);
    g_assert_cmpint(vv_view_read(view, data, offset, length), ==, (int64_t) length);
    for (uint64_t i = 0; i < length; i++)
        g_assert_cmpuint(data[i], ==, value);
}

/* ---- zeroing: [HOLE, HOLE_END) begins and ends within blocks */

#define HOLE 1000u
#define HOLE_END (300u * BLOCK + 1000u)

/* A full pool: LUN "a" has a snapshot that shares it; its whole blocks of the hole are its own if @own. */
static VvView *make_shared(TestPool *test, bool own, VvHandle **ret_handle)
{
    *ret_handle = test_open(test, test_lun_new(test, "a", 4 * POOL_BYTES), true);
    VvView *view = vv_handle_view(*ret_handle);
    write_all(view, 0, 512 * BLOCK, 7);
    test_snapshot(test, "a@s");
    if (own)
        write_all(view, BLOCK, 299 * BLOCK, 7);
    fill(view, POOL_BYTES);
    return view;
}

static void test_zero_shared(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle;
    VvView *view = make_shared(test, false, &handle);
    g_assert_cmpint(vv_view_zero(view, HOLE, HOLE_END - HOLE), ==, -ENOSPC); /* nothing came free */
    assert_filled(view, 0, BLOCK, 7);
    assert_filled(view, BLOCK, 299 * BLOCK, 0);
    assert_filled(view, 300 * BLOCK, BLOCK, 7);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    VvHandle *snapshot = test_open(test, test_snapshot_id(test, "a", "s"), false);
    assert_filled(vv_handle_view(snapshot), 0, 512 * BLOCK, 7);
    vv_handle_close(snapshot);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* What the whole blocks free is enough for the others. */
static void test_zero_makes_room(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle;
    VvView *view = make_shared(test, true, &handle);
    g_assert_cmpint(vv_view_zero(view, HOLE, HOLE_END - HOLE), ==, 0);
    assert_filled(view, 0, HOLE, 7);
    assert_filled(view, HOLE, HOLE_END - HOLE, 0);
    assert_filled(view, HOLE_END, BLOCK, 7);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- jobs behind a paused one free nothing: nobody waits for them */

static uint64_t first_job(TestPool *test)
{
    vv_meta_read_lock(test->pool->meta);
    GPtrArray *jobs = vv_meta_jobs(test->pool->meta);
    uint64_t id = jobs->len > 0 ? ((const VvJob *) g_ptr_array_index(jobs, 0))->id : 0;
    vv_meta_read_unlock(test->pool->meta);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

static void remove_snapshot(TestPool *test, const char *object)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };
    VvRemoval removal = { .removed = NULL };
    vv_pool_snapshot_remove(test->pool, objects, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
}

static void test_paused_job(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .timeout_s = 60 };
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 4 * POOL_BYTES), true);
    VvView *view = vv_handle_view(handle);
    vv_pool_lun_set(test->pool, "a", VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *object = g_strdup_printf("a@%u", i);
        write_all(view, 0, 512 * BLOCK, 7);
        test_snapshot(test, object);
    }
    fill(view, POOL_BYTES);
    vv_jobs_stop(test->pool); /* so that the first is not done before it is paused */
    remove_snapshot(test, "a@0");
    g_assert_true(vv_jobs_may_free(test->pool));
    uint64_t first = first_job(test);
    vv_pool_job_set(test->pool, first, VV_JOB_PAUSED, &error);
    g_assert_no_error(error);
    remove_snapshot(test, "a@1");
    remove_snapshot(test, "a@2");
    g_assert_true(vv_jobs_start(test->pool, &error));
    g_assert_false(vv_jobs_may_free(test->pool));
    uint64_t began_ms = vv_monotonic_ms();
    uint8_t byte = 1;
    g_assert_cmpint(vv_view_write(view, &byte, 3 * POOL_BYTES, 1), ==, -ENOSPC);
    g_assert_cmpuint(vv_monotonic_ms() - began_ms, <, 60000); /* told, and not by its time limit */
    vv_pool_job_set(test->pool, first, VV_JOB_QUEUED, &error);
    g_assert_no_error(error);
    vv_pool_job_wait(test->pool, NULL, 0, 60000, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(vv_view_write(view, &byte, 3 * POOL_BYTES, 1), ==, 1);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/space/zero-shared", test_zero_shared);
    g_test_add_func("/engine/space/zero-makes-room", test_zero_makes_room);
    g_test_add_func("/engine/space/paused-job", test_paused_job);
    return g_test_run();
}
