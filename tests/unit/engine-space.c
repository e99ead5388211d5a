/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a full pool still does, and whom it makes wait: zeroing. */
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/space/zero-shared", test_zero_shared);
    g_test_add_func("/engine/space/zero-makes-room", test_zero_makes_room);
    return g_test_run();
}
