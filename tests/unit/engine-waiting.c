/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What waits ends: gates, time limits, interrupts, the forced end; and what a failing disk does to writes and flushes. */
#include "engine-pool.h"

#include "io_state.h"

#define POOL_BYTES ((uint64_t) 64 << 20)

typedef struct {
    VvIo io;
    VvTask task;
    VvWorker *worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
} Request;

static void over_cb(VvIo *io)
{
    Request *request = io->user;
    VV_LOCKED(&request->lock);
    request->over = true;
    pthread_cond_signal(&request->changed);
}

static void submit_run(VvTask *task)
{
    Request *request = (Request *) ((char *) task - G_STRUCT_OFFSET(Request, task));
    vv_io_submit(request->worker, &request->io);
}

static void start(Request *request, VvView *view, VvIoKind kind, void *data, uint64_t offset, uint32_t length_bytes)
{
    *request = (Request){ .worker = view->pool->service, .task = { .run = submit_run } };
    request->io = (VvIo){ .kind = kind,
        .view = view,
        .data = data,
        .offset = offset,
        .length_bytes = length_bytes,
        .done = over_cb,
        .user = request };
    pthread_mutex_init(&request->lock, NULL);
    pthread_cond_init(&request->changed, NULL);
    vv_worker_post(request->worker, &request->task);
}

static bool is_over(Request *request)
{
    VV_LOCKED(&request->lock);
    return request->over;
}

static int64_t finish(Request *request)
{
    pthread_mutex_lock(&request->lock);
    while (!request->over)
        pthread_cond_wait(&request->changed, &request->lock);
    pthread_mutex_unlock(&request->lock);
    return request->io.result;
}

static void wait_until_parked(VvView *view, unsigned wanted)
{
    unsigned parked = 0;
    while (parked < wanted) {
        VV_LOCKED(&view->lock);
        parked = 0;
        for (const VvIoState *state = view->parked.first; state; state = state->next)
            parked++;
    }
}

static void test_gate(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 1 << 20), true);
    VvView *view = vv_handle_view(handle);
    void *data = test_blocks_new(1, 0x11), *got = test_blocks_new(1, 0);
    Request write, read;
    g_assert_true(vv_gate_close(view, false, 1000));
    start(&write, view, VV_IO_WRITE, data, 0, 4096);
    wait_until_parked(view, 1);
    start(&read, view, VV_IO_READ, got, 0, 4096); /* reads go on */
    g_assert_cmpint(finish(&read), ==, 4096);
    g_assert_false(is_over(&write));
    g_assert_true(vv_gate_close(view, true, 1000)); /* a second one; what is parked is not in flight */
    start(&read, view, VV_IO_READ, got, 0, 4096);
    wait_until_parked(view, 2);
    vv_gate_open(view, false);
    g_assert_false(is_over(&write));
    vv_gate_open(view, true);
    g_assert_cmpint(finish(&write), ==, 4096);
    g_assert_cmpint(finish(&read), ==, 4096);
    free(data);
    free(got);
    vv_handle_close(handle);
    test_pool_free(test);
}

static void test_limits(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .timeout_s = 1 };
    uint64_t id = test_lun_new(test, "a", 1 << 20);
    vv_pool_lun_set(test->pool, "a", VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    void *data = test_blocks_new(1, 0x11);
    Request late, interrupted, aborted;
    g_assert_cmpint(vv_view_write(view, data, 0, 1), ==, 1); /* the space is there, the map known */
    g_assert_true(vv_gate_close(view, false, 1000));
    start(&late, view, VV_IO_WRITE, data, 0, 4096);
    wait_until_parked(view, 1);
    start(&interrupted, view, VV_IO_WRITE, data, 4096, 4096);
    wait_until_parked(view, 2);
    vv_io_interrupt(&interrupted.io);
    g_assert_cmpint(finish(&interrupted), ==, -EINTR);
    g_assert_cmpint(finish(&late), ==, -ETIMEDOUT);
    start(&aborted, view, VV_IO_WRITE, data, 0, 4096);
    wait_until_parked(view, 1);
    vv_pool_abort_waiting(test->pool);
    g_assert_cmpint(finish(&aborted), ==, -EIO);
    g_assert_cmpint(vv_view_write(view, data, 0, 4096), ==, -EIO); /* nor does it wait any more */
    vv_gate_open(view, false);
    g_assert_cmpint(vv_view_write(view, data, 0, 4096), ==, 4096);
    free(data);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* ---- a disk that fails or stops on demand */

typedef struct {
    _Atomic int write_result, sync_result;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hold; /* writes stay under way */
    unsigned held;
} Faults;

static Faults faults = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static int faulty_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    pthread_mutex_lock(&faults.lock);
    faults.held++;
    pthread_cond_broadcast(&faults.changed);
    while (faults.hold)
        pthread_cond_wait(&faults.changed, &faults.lock);
    faults.held--;
    pthread_mutex_unlock(&faults.lock);
    int rc = atomic_load(&faults.write_result);
    return rc < 0 ? rc : vv_disk_file_ops.write(disk, data, length_bytes, offset);
}

static int faulty_sync(VvDisk *disk)
{
    int rc = atomic_load(&faults.sync_result);
    return rc < 0 ? rc : vv_disk_file_ops.sync(disk);
}

static int plain_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    return vv_disk_file_ops.read(disk, data, length_bytes, offset);
}

static int plain_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    return vv_disk_file_ops.discard(disk, offset, length_bytes);
}

static const VvDiskOps faulty_ops = {
    .read = plain_read, .write = faulty_write, .sync = faulty_sync, .discard = plain_discard
};

static void make_faulty(TestPool *test)
{
    faults.hold = false;
    atomic_store(&faults.write_result, 0);
    atomic_store(&faults.sync_result, 0);
    vv_disk_set_ops(g_ptr_array_index(test->pool->disks, 0), &faulty_ops, NULL);
}

/* A write that fails changes nothing and keeps nothing; a sync that fails fails this LUN's flushes from then on. */
static void test_faults(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    make_faulty(test);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 1 << 20), true);
    VvHandle *other = test_open(test, test_lun_new(test, "b", 1 << 20), true);
    VvView *view = vv_handle_view(handle);
    uint8_t data[5000], got[5000], zeroes[5000] = { 0 };
    VvViewStat stat;
    memset(data, 0x22, sizeof data);
    atomic_store(&faults.write_result, -EIO);
    g_assert_cmpint(vv_view_write(view, data, 300, sizeof data), ==, -EIO);
    atomic_store(&faults.write_result, 0);
    g_assert_cmpint(vv_view_read(view, got, 300, sizeof got), ==, (int64_t) sizeof got);
    g_assert_cmpint(memcmp(got, zeroes, sizeof got), ==, 0);
    vv_view_stat(view, &stat);
    g_assert_cmpuint(stat.used_bytes, ==, 0);
    g_assert_cmpint(vv_view_write(view, data, 300, sizeof data), ==, (int64_t) sizeof data);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    test_pool_check(test);

    g_assert_cmpint(vv_view_write(view, data, 600, sizeof data), ==, (int64_t) sizeof data);
    atomic_store(&faults.sync_result, -EIO);
    g_assert_cmpint(vv_view_flush(view), ==, -EIO);
    atomic_store(&faults.sync_result, 0);
    g_assert_cmpint(vv_view_flush(view), ==, -EIO);               /* never as if nothing had happened */
    g_assert_cmpint(vv_view_flush(vv_handle_view(other)), ==, 0); /* it wrote nothing */
    g_assert_cmpint(vv_view_read(view, got, 600, sizeof got), ==, (int64_t) sizeof got);
    vv_handle_close(handle);
    vv_handle_close(other);
    test_pool_free(test);
}

/* A partial write holds its block while its disk write is under way; the snapshot's gate waits for both; what lies elsewhere
 * does not. Inline disks run on their worker's thread, so each request has a worker of its own here. */
static void *worker_main(void *user)
{
    vv_worker_run(user);
    return NULL;
}

static void test_drain(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 1 << 20), true);
    VvView *view = vv_handle_view(handle);
    VvWorker *workers[2];
    pthread_t threads[2];
    Request first, second;
    uint8_t *one = test_blocks_new(1, 0x11), *two = test_blocks_new(1, 0x22), got[4096];
    make_faulty(test);
    g_assert_cmpint(vv_view_write(view, one, 0, 1), ==, 1); /* the space is there, the map known */
    for (unsigned i = 0; i < 2; i++) {
        workers[i] = vv_worker_new(i, false, &error);
        g_assert_no_error(error);
        g_assert_cmpint(pthread_create(&threads[i], NULL, worker_main, workers[i]), ==, 0);
    }
    faults.hold = true;
    start(&first, view, VV_IO_WRITE, one, 512, 512);
    pthread_mutex_lock(&faults.lock);
    while (faults.held == 0)
        pthread_cond_wait(&faults.changed, &faults.lock);
    pthread_mutex_unlock(&faults.lock);
    second = (Request){ .worker = workers[1], .task = { .run = submit_run } };
    second.io = (VvIo){
        .kind = VV_IO_WRITE, .view = view, .data = two, .length_bytes = 4096, .done = over_cb, .user = &second
    };
    pthread_mutex_init(&second.lock, NULL);
    pthread_cond_init(&second.changed, NULL);
    vv_worker_post(workers[1], &second.task);
    wait_until_parked(view, 1);
    g_assert_false(vv_gate_close(view, false, 20)); /* two in flight */
    vv_gate_open(view, false);
    pthread_mutex_lock(&faults.lock);
    faults.hold = false;
    pthread_cond_broadcast(&faults.changed);
    pthread_mutex_unlock(&faults.lock);
    g_assert_cmpint(finish(&first), ==, 512);
    g_assert_cmpint(finish(&second), ==, 4096);
    g_assert_true(vv_gate_close(view, false, 5000));
    vv_gate_open(view, false);
    g_assert_cmpint(vv_view_read(view, got, 0, sizeof got), ==, (int64_t) sizeof got);
    g_assert_cmpint(memcmp(got, two, sizeof got), ==, 0); /* it came second */
    for (unsigned i = 0; i < 2; i++) {
        vv_worker_stop(workers[i]);
        pthread_join(threads[i], NULL);
    }
    vv_handle_close(handle);
    test_pool_free(test);
    for (unsigned i = 0; i < 2; i++)
        vv_worker_free(workers[i]);
    free(one);
    free(two);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/waiting/gate", test_gate);
    g_test_add_func("/engine/waiting/limits", test_limits);
    g_test_add_func("/engine/waiting/faults", test_faults);
    g_test_add_func("/engine/waiting/drain", test_drain);
    return g_test_run();
}
