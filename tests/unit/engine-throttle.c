/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A journal that does not keep up: writes that change the map wait at a bound on memory, nothing else does, and all go on when the
 * journal does. */
#include "engine-pool.h"

#include "io_state.h"

#define POOL_BYTES ((uint64_t) 512 << 20)
#define LUN_BYTES ((uint64_t) 64 << 30)
#define BLOCKS 24576u /* 96 MiB; one by one, not so many fit */
_Static_assert(BLOCKS > VV_PENDING_MEMORY_PER_LUN / VV_RECORD_MEMORY_BYTES + 100, "enough to be stopped");
#define PATIENCE_MS 60000u

/* ---- a journal that stops on demand */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopped, fails;
} Journal;

static Journal journal = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static int journal_write(void *user G_GNUC_UNUSED, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    return pwrite(fd, data, length_bytes, (off_t) offset) == (ssize_t) length_bytes ? 0 : -EIO;
}

static int journal_sync(void *user G_GNUC_UNUSED, int fd)
{
    pthread_mutex_lock(&journal.lock);
    while (journal.stopped)
        pthread_cond_wait(&journal.changed, &journal.lock);
    bool fails = journal.fails;
    pthread_mutex_unlock(&journal.lock);
    return fails ? -EIO : fdatasync(fd) == 0 ? 0 : -errno;
}

static void set_journal(bool stopped, bool fails)
{
    VV_LOCKED(&journal.lock);
    journal.stopped = stopped;
    journal.fails = fails;
    pthread_cond_broadcast(&journal.changed);
}

static const VvRunOps journal_ops = { .write = journal_write, .sync = journal_sync };

static TestPool *pool_with_journal(void)
{
    g_autoptr(GError) error = NULL;
    TestPool *test = test_pool_new(POOL_BYTES);
    VvPoolOptions options = { .run_ops = &journal_ops };
    vv_pool_close(test->pool);
    test->pool = vv_pool_open(test->directory, &options, &error);
    g_assert_no_error(error);
    return test;
}

/* ---- writers: blocks are written while the journal runs, because space comes by it, and discarded while it does not */

typedef struct {
    VvView *view;
    pthread_t thread;
    unsigned wanted;
    atomic_uint done;
    int64_t result; /* of the last; valid once joined */
} Writer;

static void *writer_main(void *user)
{
    Writer *writer = user;
    for (unsigned i = 0; i < writer->wanted; i++) {
        writer->result = vv_view_zero(writer->view, (uint64_t) i << VV_BLOCK_SHIFT, VV_BLOCK_BYTES);
        if (writer->result < 0)
            break;
        atomic_fetch_add(&writer->done, 1);
    }
    return NULL;
}

static void writer_start(Writer *writer, VvHandle *handle, unsigned wanted)
{
    *writer = (Writer){ .view = vv_handle_view(handle), .wanted = wanted };
    g_assert_cmpint(pthread_create(&writer->thread, NULL, writer_main, writer), ==, 0);
}

static void wait_for_waiters(VvPool *pool, unsigned wanted)
{
    uint64_t deadline_ms = vv_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&pool->journal_waiters) < wanted && vv_monotonic_ms() < deadline_ms)
        g_usleep(1000);
    g_assert_cmpuint(atomic_load(&pool->journal_waiters), >=, wanted);
}

static uint64_t memory_of(VvView *view)
{
    VV_LOCKED(&view->lock);
    return view->pending_memory;
}

static void *flush_main(void *user)
{
    return GINT_TO_POINTER(vv_view_flush(user));
}

static void *snapshot_main(void *user)
{
    test_snapshot(user, "fast@s");
    return NULL;
}

static VvHandle *new_lun(TestPool *test, const char *name, unsigned blocks)
{
    VvHandle *handle = test_open(test, test_lun_new(test, name, LUN_BYTES), true);
    uint64_t bytes = (uint64_t) blocks << VV_BLOCK_SHIFT;
    void *data = test_blocks_new(blocks, 0x5a);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), data, 0, bytes), ==, (int64_t) bytes);
    free(data);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    return handle;
}

/* One LUN waits at its share; another, reads, writes in place and discards go on; a flush and a snapshot wait for the journal alone. */
static void test_one_waits(void)
{
    TestPool *test = pool_with_journal();
    VvPool *pool = test->pool;
    VvHandle *fast = new_lun(test, "fast", BLOCKS), *other = new_lun(test, "other", 4);
    VvView *view = vv_handle_view(fast), *beside = vv_handle_view(other);
    uint64_t last = (uint64_t) (BLOCKS - 1) << VV_BLOCK_SHIFT;
    uint8_t block[VV_BLOCK_BYTES] = { 7 };
    pthread_t flush, snapshot;
    void *result;
    Writer writer;
    set_journal(true, false);
    writer_start(&writer, fast, BLOCKS);
    wait_for_waiters(pool, 1);
    g_assert_cmpuint(memory_of(view), >=, VV_PENDING_MEMORY_PER_LUN);
    g_assert_cmpuint(memory_of(view), <=, VV_PENDING_MEMORY_PER_LUN + VV_RECORD_MEMORY_BYTES);
    g_assert_cmpuint(atomic_load(&writer.done), <, BLOCKS);
    g_assert_cmpint(vv_view_read(view, block, last, sizeof block), ==, sizeof block);
    g_assert_cmpint(block[0], ==, 0x5a);
    g_assert_cmpint(vv_view_write(view, block, last, sizeof block), ==, sizeof block); /* in place */
    g_assert_cmpint(vv_view_write(beside, block, 4096, sizeof block), ==, sizeof block);
    g_assert_cmpint(vv_view_zero(beside, 0, 8192), ==, 0);
    g_assert_cmpint(pthread_create(&flush, NULL, flush_main, view), ==, 0);
    g_assert_cmpint(pthread_create(&snapshot, NULL, snapshot_main, test), ==, 0);
    g_assert_true(vv_gate_close(view, false, PATIENCE_MS)); /* nobody has to wait for who waits */
    vv_gate_open(view, false);
    set_journal(false, false);
    pthread_join(flush, &result);
    g_assert_cmpint(GPOINTER_TO_INT(result), ==, 0);
    pthread_join(snapshot, NULL);
    pthread_join(writer.thread, NULL);
    g_assert_cmpint(writer.result, ==, 0);
    g_assert_cmpuint(atomic_load(&writer.done), ==, BLOCKS);
    VvPoolStats stats;
    vv_pool_stats(pool, &stats);
    g_assert_cmpuint(stats.journal_waits, >, 0);
    g_assert_cmpint(vv_pool_flush(pool), ==, 0);
    vv_pool_stats(pool, &stats);
    g_assert_cmpuint(stats.pending_bytes, ==, 0);
    g_assert_cmpuint(stats.pending_memory, ==, 0);
    g_assert_cmpuint(atomic_load(&pool->journal_waiters), ==, 0);
    g_assert_cmpuint(view->records.block_count, <=, 8); /* what grew has gone */
    vv_handle_close(fast);
    vv_handle_close(other);
    test_pool_check(test);
    test_pool_free(test);
}

/* All LUNs together have a bound too; a pool that fails lets nobody wait on. */
static void test_all_wait_and_fail(void)
{
    TestPool *test = pool_with_journal();
    VvHandle *handles[3] = { new_lun(test, "a", BLOCKS), new_lun(test, "b", BLOCKS), new_lun(test, "c", 100) };
    Writer writers[3];
    set_journal(true, false);
    for (unsigned i = 0; i < 3; i++) {
        writer_start(&writers[i], handles[i], i < 2 ? BLOCKS : 100);
        if (i > 0)
            wait_for_waiters(test->pool, i + 1);
    }
    g_assert_cmpuint(atomic_load(&test->pool->pending_memory), >=, VV_PENDING_MEMORY_MAX);
    g_assert_cmpuint(atomic_load(&test->pool->pending_memory), <=, VV_PENDING_MEMORY_MAX + 3 * VV_RECORD_MEMORY_BYTES);
    set_journal(false, true);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(writers[i].thread, NULL);
        g_assert_cmpint(writers[i].result, ==, -EIO);
        vv_handle_close(handles[i]);
    }
    set_journal(false, false);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/throttle/one-waits", test_one_waits);
    g_test_add_func("/engine/throttle/all-wait-and-fail", test_all_wait_and_fail);
    return g_test_run();
}
