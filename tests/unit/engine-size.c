/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lies behind the end of a LUN stays there: adopted maps, growth beside a writer, restores; and nothing else is cut. */
#include "engine-pool.h"

#include "io_state.h"

#define POOL_BYTES ((uint64_t) 64 << 20)
#define BLOCK VV_BLOCK_BYTES

static void fill(VvView *view, uint64_t offset, uint64_t length_bytes, int value)
{
    g_autofree uint8_t *bytes = g_malloc(length_bytes);
    memset(bytes, value, length_bytes);
    g_assert_cmpint(vv_view_write(view, bytes, offset, length_bytes), ==, (int64_t) length_bytes);
}

static void assert_filled(VvView *view, uint64_t offset, uint64_t length_bytes, int value)
{
    g_autofree uint8_t *bytes = g_malloc(length_bytes);
    g_assert_cmpint(vv_view_read(view, bytes, offset, length_bytes), ==, (int64_t) length_bytes);
    for (uint64_t i = 0; i < length_bytes; i++)
        g_assert_cmpint(bytes[i], ==, value);
}

static uint64_t make_source(TestPool *test, uint64_t size_bytes)
{
    uint64_t id = test_lun_new(test, "source", size_bytes);
    VvHandle *handle = test_open(test, id, true);
    fill(vv_handle_view(handle), 0, size_bytes, 7);
    vv_handle_close(handle);
    return id;
}

/* ---- adopted in pieces */

static void test_odd_piece(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    uint64_t from = make_source(test, 1 << 20), to = test_lun_new(test, "to", 0);
    VvHandle *handle = test_open(test, to, true);
    g_assert_true(vv_pool_lun_adopt(test->pool, to, from, BLOCK, &error));
    /* Not at a block's end: what is behind it in the block could not be cut. */
    g_assert_false(vv_pool_lun_adopt(test->pool, to, from, BLOCK + 1000, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_UNSUPPORTED);
    VvView *view = vv_handle_view(handle);
    fill(view, BLOCK, 1000, 7);
    vv_handle_close(handle);
    vv_jobs_drain_closed(test->pool);
    handle = test_open(test, to, false);
    g_assert_cmpuint(vv_view_size(vv_handle_view(handle)), ==, 2 * BLOCK);
    assert_filled(vv_handle_view(handle), 0, BLOCK + 1000, 7);
    assert_filled(vv_handle_view(handle), BLOCK + 1000, BLOCK - 1000, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

typedef struct {
    VvIo io;
    VvTask task;
    VvWorker *worker;
    _Atomic bool over;
} Request;

static void over_cb(VvIo *io)
{
    atomic_store(&((Request *) io->user)->over, true);
}

static void submit_run(VvTask *task)
{
    Request *request = (Request *) ((char *) task - G_STRUCT_OFFSET(Request, task));
    vv_io_submit(request->worker, &request->io);
}

/* A write behind the end waits for the tail to be cut; the last piece comes first, and there is no tail any more. */
static void test_last_piece_wakes(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *bytes = aligned_alloc(BLOCK, BLOCK);
    uint64_t from = make_source(test, 1 << 20), to = test_lun_new(test, "to", 0);
    VvHandle *handle = test_open(test, to, true);
    VvView *view = vv_handle_view(handle);
    memset(bytes, 9, BLOCK);
    g_assert_true(vv_pool_lun_adopt(test->pool, to, from, BLOCK, &error));
    Request request = { .worker = test->pool->service, .task = { .run = submit_run } };
    request.io = (VvIo){ .kind = VV_IO_WRITE,
        .view = view,
        .data = bytes,
        .offset = 1 << 20,
        .length_bytes = BLOCK,
        .done = over_cb,
        .user = &request };
    vv_config_lock(test->pool); /* the cut waits behind this */
    vv_worker_post(request.worker, &request.task);
    for (bool parked = false; !parked; g_usleep(1000)) {
        VV_LOCKED(&view->lock);
        parked = view->parked.first != NULL;
    }
    pthread_mutex_lock(&view->lock); /* what the last piece does */
    view->tail_behind = false;
    pthread_mutex_unlock(&view->lock);
    vv_config_unlock(test->pool);
    for (unsigned i = 0; i < 5000 && !atomic_load(&request.over); i++)
        g_usleep(1000);
    g_assert_true(atomic_load(&request.over));
    g_assert_cmpint(request.io.result, ==, BLOCK);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* The view went while the tail was there: nobody remembers it but the map. */
static void test_tail_is_remembered(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autofree char *kept = NULL;
    uint64_t from = make_source(test, 1 << 20), to = test_lun_new(test, "to", 0);
    VvHandle *handle = test_open(test, to, true);
    VvView *view = vv_handle_view(handle);
    g_assert_true(vv_pool_lun_adopt(test->pool, to, from, BLOCK, &error));
    test_snapshot(test, "to@short");
    fill(view, 8 * BLOCK, BLOCK, 9); /* cuts the tail of the LUN, not that of the snapshot */
    g_assert_true(vv_pool_snapshot_restore(test->pool, "to@short", true, false, false, NULL, &kept, &error));
    g_assert_cmpuint(vv_view_size(view), ==, BLOCK);
    fill(view, 8 * BLOCK, BLOCK, 5);
    assert_filled(view, 0, BLOCK, 7);
    assert_filled(view, BLOCK, 7 * BLOCK, 0);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* ---- growth */

/* An elastic LUN is longer than its journalled size: that is no tail. */
static void test_resize_beside_writer(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    uint64_t id = test_lun_new(test, "new", 0);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    fill(view, 0, 1 << 20, 3);
    g_assert_true(vv_pool_lun_resize(test->pool, "new", 2 << 20, false, false, NULL, &error));
    g_assert_no_error(error);
    assert_filled(view, 0, 1 << 20, 3);
    fill(view, 2 << 20, 1 << 20, 4);
    g_assert_false(vv_pool_lun_resize(test->pool, "new", 5 << 19, false, false, NULL, &error)); /* 2.5 MiB of 3 */
    g_assert_error(error, VV_ERROR, VV_ERROR_DENIED);
    assert_filled(view, 2 << 20, 1 << 20, 4);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* Somebody writes behind the size that is asked for, between the question and the change. */
typedef struct {
    VvPool *pool;
    uint64_t id;
    bool ok;
} Extend;

static void *extend_main(void *user)
{
    Extend *extend = user;
    g_autoptr(GError) error = NULL;
    extend->ok = vv_pool_lun_extend(extend->pool, extend->id, 8 * BLOCK, &error);
    g_assert_no_error(error);
    return NULL;
}

static void test_extend(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    Extend extend = { .pool = test->pool, .id = test_lun_new(test, "a", 0) };
    VvHandle *handle = test_open(test, extend.id, true);
    VvView *view = vv_handle_view(handle);
    pthread_t thread;
    vv_config_lock(test->pool);
    g_assert_cmpint(pthread_create(&thread, NULL, extend_main, &extend), ==, 0);
    g_usleep(20000); /* let it ask; whatever it saw, the write comes before its change */
    fill(view, 63 * BLOCK, BLOCK, 3);
    vv_config_unlock(test->pool);
    pthread_join(thread, NULL);
    g_assert_true(extend.ok);
    g_assert_cmpuint(vv_view_size(view), ==, 64 * BLOCK);
    assert_filled(view, 63 * BLOCK, BLOCK, 3);
    g_assert_true(vv_pool_lun_extend(test->pool, extend.id, 65 * BLOCK, &error));
    g_assert_cmpuint(vv_view_size(view), ==, 65 * BLOCK);
    vv_handle_close(handle);
    vv_jobs_drain_closed(test->pool);
    g_assert_true(vv_pool_lun_extend(test->pool, extend.id, 65 * BLOCK, &error)); /* finished, and so large */
    g_assert_false(vv_pool_lun_extend(test->pool, extend.id, 66 * BLOCK, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_NO_SPACE);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/size/odd-piece", test_odd_piece);
    g_test_add_func("/size/last-piece-wakes", test_last_piece_wakes);
    g_test_add_func("/size/tail-is-remembered", test_tail_is_remembered);
    g_test_add_func("/size/resize-beside-writer", test_resize_beside_writer);
    g_test_add_func("/size/extend", test_extend);
    return g_test_run();
}
