/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tests of the data path share: a small real pool in a folder of its own, a worker with its thread, requests on it. */
#ifndef VV_ENGINE_POOL_H
#define VV_ENGINE_POOL_H

#include "engine-test.h"
#include "engine.h"
#include "pool_private.h"

typedef struct {
    char *folder; /* owned; the pool is in "pool" */
    char *directory;
    VvPool *pool;
} TestPool;

static inline void test_pool_open(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    test->pool = vv_pool_open(test->directory, NULL, &error);
    g_assert_no_error(error);
}

static inline TestPool *test_pool_new(uint64_t size_bytes)
{
    g_autoptr(GError) error = NULL;
    TestPool *test = g_new0(TestPool, 1);
    test->folder = test_folder_new(true);
    test->directory = g_build_filename(test->folder, "pool", NULL);
    VvPoolCreate create = { .directory = test->directory, .name = "tank", .size_bytes = size_bytes };
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    test_pool_open(test);
    return test;
}

static inline void test_pool_reopen(TestPool *test)
{
    vv_pool_close(test->pool);
    test_pool_open(test);
}

static inline void test_check_cb(void *user, const VvCheckError *error)
{
    unsigned *count = user;
    (*count)++;
    g_test_message("check: %s %s: %s", error->code, error->object, error->message);
}

/* The metadata of the pool is as it should be. */
static inline void test_pool_check(TestPool *test)
{
    unsigned count = 0;
    g_assert_cmpint(vv_meta_check(test->pool->meta, false, test_check_cb, &count), ==, 0);
    g_assert_cmpuint(count, ==, 0);
}

static inline void test_pool_free(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    vv_pool_close(test->pool);
    vv_pool_destroy(test->directory, false, NULL, &error);
    g_assert_no_error(error);
    (void) g_rmdir(test->directory);
    test_folder_free(test->folder);
    g_free(test->directory);
    g_free(test);
}

static inline uint64_t test_lun_new(TestPool *test, const char *name, uint64_t size_bytes)
{
    g_autoptr(GError) error = NULL;
    uint64_t id;
    VvLunCreate create = { .name = name, .size_bytes = size_bytes, .elastic = size_bytes == 0 };
    vv_pool_lun_create(test->pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    return id;
}

static inline VvHandle *test_open(TestPool *test, uint64_t id, bool write)
{
    VvHandle *handle = NULL;
    VvOpen open = { .write = write };
    g_assert_cmpint(vv_handle_open(test->pool, id, &open, &handle), ==, 0);
    return handle;
}

static inline void test_snapshot(TestPool *test, const char *object)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };
    vv_pool_snapshot_create(test->pool, objects, &options, NULL, &error);
    g_assert_no_error(error);
}

static inline uint64_t test_snapshot_id(TestPool *test, const char *lun, const char *name)
{
    vv_meta_read_lock(test->pool->meta);
    const VvLun *found = vv_meta_lun_by_name(test->pool->meta, lun);
    const VvSnapshot *snapshot = found ? vv_meta_snapshot_by_name(test->pool->meta, found, name) : NULL;
    uint64_t id = snapshot ? snapshot->id : 0;
    vv_meta_read_unlock(test->pool->meta);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

#endif
