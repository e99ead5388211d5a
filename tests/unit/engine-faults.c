/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fails below the engine: who is told what, once; and that the journal never names what was not made durable. */
#include "engine-pool.h"

#include "disk_private.h"
#include "io_state.h"

#define POOL_BYTES ((uint64_t) 64 << 20)
#define LUN_BYTES ((uint64_t) 8 << 20)
#define REGION_BYTES ((uint64_t) VV_REGION_BYTES)

static _Atomic int read_result, write_result, sync_result, journal_result;

static int disk_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    int rc = atomic_load(&read_result);
    return rc < 0 ? rc : vv_disk_file_ops.read(disk, data, length_bytes, offset);
}

static int disk_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    int rc = atomic_load(&write_result);
    return rc < 0 ? rc : vv_disk_file_ops.write(disk, data, length_bytes, offset);
}

static int disk_sync(VvDisk *disk)
{
    int rc = atomic_load(&sync_result);
    return rc < 0 ? rc : vv_disk_file_ops.sync(disk);
}

static int disk_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    return vv_disk_file_ops.discard(disk, offset, length_bytes);
}

static int journal_write(void *user G_GNUC_UNUSED, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    return pwrite(fd, data, length_bytes, (off_t) offset) == (ssize_t) length_bytes ? 0 : -EIO;
}

static int journal_sync(void *user G_GNUC_UNUSED, int fd)
{
    int rc = atomic_load(&journal_result);
    return rc < 0 ? rc : fdatasync(fd) == 0 ? 0 : -errno;
}

static const VvDiskOps disk_ops = { .read = disk_read, .write = disk_write, .sync = disk_sync, .discard = disk_discard };
static const VvRunOps journal_ops = { .write = journal_write, .sync = journal_sync };

static void open_faulty(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .run_ops = &journal_ops, .disk_ops = &disk_ops };
    test->pool = vv_pool_open(test->directory, &options, &error);
    g_assert_no_error(error);
}

static TestPool *faulty_pool(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    vv_pool_close(test->pool);
    open_faulty(test);
    return test;
}

static int64_t put(VvView *view, uint64_t offset, int value)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    memset(bytes, value, sizeof bytes);
    return vv_view_write(view, bytes, offset, sizeof bytes);
}

static int get(VvView *view, uint64_t offset)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    int64_t rc = vv_view_read(view, bytes, offset, sizeof bytes);
    return rc < 0 ? (int) rc : bytes[0];
}

static unsigned count_events(VvPool *pool, const char *code)
{
    g_autoptr(GPtrArray) events = vv_pool_events(pool, 0);
    unsigned count = 0;
    for (unsigned i = 0; i < events->len; i++)
        count += g_strcmp0(((const VvEvent *) g_ptr_array_index(events, i))->code, code) == 0;
    return count;
}

static bool doctor_says(VvPool *pool, VvSeverity severity, const char *pattern)
{
    g_autoptr(GPtrArray) problems = vv_pool_problems(pool);
    bool says = false;
    for (unsigned i = 0; i < problems->len; i++) {
        const VvProblem *problem = g_ptr_array_index(problems, i);
        says |= problem->severity == severity && g_pattern_match_simple(pattern, problem->message);
    }
    return says;
}

static void run(const char *program, const char *option, const char *first, const char *second)
{
    const char *arguments[] = { program, option, first, second, NULL };
    int status = -1;
    g_assert_true(g_spawn_sync(NULL, (char **) arguments, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

/* Does the journal, as a start would read it now, map the region? From a copy: LMDB cannot open the same store twice. */
static bool is_journalled(TestPool *test, uint64_t lun, uint64_t region)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *copy = g_build_filename(test->folder, "copy", NULL);
    VvPage page;
    run("cp", "-r", test->directory, copy);
    VvMeta *meta = vv_meta_open(copy, true, NULL, &error);
    g_assert_no_error(error);
    vv_meta_read_lock(meta);
    uint64_t branch = vv_meta_lun(meta, lun)->branch;
    vv_meta_read_unlock(meta);
    int rc = vv_map_lookup(meta, branch, region, UINT64_MAX, &page, NULL, NULL);
    g_assert_true(rc == 0 || rc == -ENODATA);
    vv_meta_close(meta);
    run("rm", "-r", copy, NULL);
    return rc == 0;
}

static void test_failed_sync(void)
{
    TestPool *test = faulty_pool();
    g_autoptr(GError) error = NULL;
    const char *objects[] = { "a@s", NULL };
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    g_assert_cmpint(put(view, 0, 1), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_assert_true(is_journalled(test, id, 0));

    g_assert_cmpint(put(view, REGION_BYTES, 2), ==, VV_BLOCK_BYTES);
    atomic_store(&sync_result, -EIO);
    g_assert_cmpint(vv_view_flush(view), ==, -EIO);
    atomic_store(&sync_result, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(put(view, (2 + i) * REGION_BYTES, 3), ==, VV_BLOCK_BYTES);
        g_assert_cmpint(vv_view_flush(view), ==, -EIO);
        (void) vv_flush_background(test->pool, UINT64_MAX, NULL);
    }
    g_assert_false(vv_pool_snapshot_create(test->pool, objects, NULL, NULL, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_IO);
    for (unsigned region = 1; region < 5; region++)
        g_assert_false(is_journalled(test, id, region));
    g_assert_cmpint(get(view, REGION_BYTES), ==, 2);
    g_assert_cmpuint(count_events(test->pool, "disk-sync"), ==, 1);
    g_assert_cmpstr(vv_pool_state(test->pool), ==, "degraded");
    g_assert_true(doctor_says(test->pool, VV_SEVERITY_CRITICAL, "disk * failed to sync*"));
    vv_handle_close(handle);

    vv_pool_close(test->pool); /* with what cannot be flushed */
    open_faulty(test);
    handle = test_open(test, id, true);
    view = vv_handle_view(handle);
    g_assert_cmpint(get(view, 0), ==, 1);
    g_assert_cmpint(get(view, REGION_BYTES), ==, 0);
    g_assert_cmpint(put(view, REGION_BYTES, 2), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_assert_true(is_journalled(test, id, 1));
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* Each request is told of its own; the event comes once, doctor counts. */
static void test_failed_transfers(void)
{
    TestPool *test = faulty_pool();
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    VvView *view = vv_handle_view(handle);
    VvDisk *disk = g_ptr_array_index(test->pool->disks, 0);
    VvTrouble trouble;
    g_assert_cmpint(put(view, 0, 1), ==, VV_BLOCK_BYTES);
    atomic_store(&read_result, -EIO);
    atomic_store(&write_result, -ENOSPC);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(get(view, 0), ==, -EIO);
        g_assert_cmpint(put(view, 0, 2), ==, -ENOSPC);
    }
    atomic_store(&read_result, 0);
    atomic_store(&write_result, 0);
    g_assert_cmpint(get(view, 0), ==, 1);
    g_assert_cmpint(put(view, 0, 2), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_assert_cmpuint(count_events(test->pool, "disk-read"), ==, 1);
    g_assert_cmpuint(count_events(test->pool, "disk-write"), ==, 1);
    vv_trouble_get(disk, VV_TROUBLE_READ, &trouble);
    g_assert_cmpuint(trouble.count, ==, 3);
    g_assert_cmpint(trouble.result, ==, -EIO);
    g_assert_cmpuint(trouble.offset, >=, VV_LABEL_BYTES);
    g_assert_true(doctor_says(test->pool, VV_SEVERITY_ERROR, "disk * failed to read 3 times*"));
    g_assert_true(doctor_says(test->pool, VV_SEVERITY_ERROR, "disk * failed to write 3 times*"));

    uint64_t quiet_ns = (VV_TROUBLE_QUIET_SECONDS + 1) * UINT64_C(1000000000);
    disk->troubles.kinds[VV_TROUBLE_READ].time_ns -= quiet_ns; /* as if it had been quiet for so long: U1 */
    atomic_store(&read_result, -EIO);
    g_assert_cmpint(get(view, 0), ==, -EIO);
    g_assert_cmpint(get(view, 0), ==, -EIO);
    atomic_store(&read_result, 0);
    g_assert_cmpuint(count_events(test->pool, "disk-read"), ==, 2);
    for (unsigned kind = 0; kind < VV_N_TROUBLES; kind++)
        disk->troubles.kinds[kind].time_ns -= VV_TROUBLE_SHOWN_SECONDS * UINT64_C(1000000000);
    g_assert_cmpstr(vv_pool_state(test->pool), ==, "ok");
    vv_handle_close(handle);
    test_pool_free(test);
}

/* The pool turns read-only. */
static void test_failed_journal(void)
{
    TestPool *test = faulty_pool();
    g_autoptr(GError) error = NULL;
    const char *objects[] = { "a@t", NULL };
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true), *second = NULL;
    VvView *view = vv_handle_view(handle);
    VvOpen open = { .write = true };
    g_assert_cmpint(put(view, 0, 1), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_assert_null(vv_pool_failure(test->pool));

    g_assert_cmpint(put(view, REGION_BYTES, 2), ==, VV_BLOCK_BYTES);
    atomic_store(&journal_result, -ENODEV);
    g_assert_cmpint(vv_view_flush(view), ==, -EIO);
    atomic_store(&journal_result, 0);
    g_assert_nonnull(strstr(vv_pool_failure(test->pool), g_strerror(ENODEV)));
    g_assert_cmpstr(vv_pool_state(test->pool), ==, "failed");
    g_assert_true(doctor_says(test->pool, VV_SEVERITY_CRITICAL, "pool tank has failed and takes no writes: *"));
    g_assert_cmpint(vv_view_flush(view), ==, -EIO);
    g_assert_cmpint(put(view, 0, 3), ==, -EROFS);
    g_assert_cmpint(put(view, 2 * REGION_BYTES, 3), ==, -EROFS);
    g_assert_cmpint(vv_view_zero(view, 0, VV_BLOCK_BYTES), ==, -EROFS);
    g_assert_cmpint(vv_handle_open(test->pool, id, &open, &second), ==, -EROFS);
    g_assert_false(vv_pool_snapshot_create(test->pool, objects, NULL, NULL, &error));
    test_assert_refused(error, VV_ERROR_IO, "takes no changes");
    g_assert_cmpuint(count_events(test->pool, "failed"), ==, 1);
    open.write = false;
    g_assert_cmpint(vv_handle_open(test->pool, id, &open, &second), ==, 0);
    g_assert_cmpint(get(vv_handle_view(second), 0), ==, 1);
    g_assert_cmpint(get(vv_handle_view(second), REGION_BYTES), ==, 2);
    vv_handle_close(second);
    vv_handle_close(handle);

    vv_pool_close(test->pool);
    open_faulty(test);
    handle = test_open(test, id, true);
    view = vv_handle_view(handle);
    g_assert_cmpint(get(view, 0), ==, 1);
    g_assert_cmpint(put(view, REGION_BYTES, 4), ==, VV_BLOCK_BYTES);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/faults/failed-sync", test_failed_sync);
    g_test_add_func("/engine/faults/failed-transfers", test_failed_transfers);
    g_test_add_func("/engine/faults/failed-journal", test_failed_journal);
    return g_test_run();
}
