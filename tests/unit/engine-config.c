/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration transactions: what is refused and in which words, request ids, dry runs, disks, settings. */
#include "engine-pool.h"
#include "pool_jobs.h"

#include <glib/gstdio.h>

#define POOL_BYTES (UINT64_C(64) << 20)

static void assert_refused(bool ok, GError **error, VvErrorCode code, const char *message, const char *hint)
{
    g_assert_false(ok);
    g_assert_error(*error, VV_ERROR, (int) code);
    if (message && !strstr((*error)->message, message))
        g_error("\"%s\" is not in \"%s\"", message, (*error)->message);
    if (hint)
        g_assert_cmpstr(vv_error_get_hint(*error), ==, hint);
    g_clear_error(error);
}

static uint64_t make_lun(VvPool *pool, const char *name)
{
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = name, .size_bytes = 4 << 20 };
    uint64_t id;

    vv_pool_lun_create(pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    return id;
}

static void snap(VvPool *pool, const char *object, const VvSnapshotOptions *options)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };

    vv_pool_snapshot_create(pool, objects, options, NULL, &error);
    g_assert_no_error(error);
}

static void write_lun(VvPool *pool, uint64_t id, uint64_t offset, size_t length, int byte)
{
    static const VvOpen how = { .write = true };
    g_autofree uint8_t *bytes = g_malloc(length);
    VvHandle *handle;

    memset(bytes, byte, length);
    g_assert_cmpint(vv_handle_open(pool, id, &how, &handle), ==, 0);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), bytes, offset, length), ==, (int64_t) length);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
}

static void test_luns(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = "db", .size_bytes = UINT64_C(1) << 40 };
    uint64_t id;

    g_assert_true(vv_pool_lun_create(test->pool, &create, NULL, &id, &error)); /* thin */
    assert_refused(vv_pool_lun_create(test->pool, &create, NULL, NULL, &error), &error, VV_ERROR_EXISTS,
        "LUN db exists in pool tank since 20", NULL);
    create.name = "a/b";
    assert_refused(
        vv_pool_lun_create(test->pool, &create, NULL, NULL, &error), &error, VV_ERROR_INVALID_NAME, NULL, NULL);
    create.name = "odd";
    create.size_bytes = 513;
    assert_refused(vv_pool_lun_create(test->pool, &create, NULL, NULL, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    create.size_bytes = 0;
    assert_refused(vv_pool_lun_create(test->pool, &create, NULL, NULL, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    create.size_bytes = VV_LUN_BYTES_MAX + 512;
    assert_refused(vv_pool_lun_create(test->pool, &create, NULL, NULL, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    assert_refused(vv_pool_lun_resize(test->pool, "nope", 1024, false, false, NULL, &error), &error, VV_ERROR_NOT_FOUND,
        "no LUN nope in pool tank", "vvfs-admin lun list");
    assert_refused(
        vv_pool_lun_resize(test->pool, "db", 1 << 20, false, false, NULL, &error), &error, VV_ERROR_DENIED, NULL, NULL);
    g_assert_true(vv_pool_lun_resize(test->pool, "db", 1 << 20, true, true, NULL, &error)); /* dry */
    g_assert_true(vv_pool_lun_resize(test->pool, "db", 1 << 20, true, false, NULL, &error));
    assert_refused(vv_pool_lun_truncate(test->pool, id, 4096, &error), &error, VV_ERROR_DENIED, NULL, NULL);
    g_assert_true(vv_pool_lun_truncate(test->pool, id, 2 << 20, &error));
    g_assert_true(vv_pool_lun_rename(test->pool, "db", "web", NULL, &error));
    make_lun(test->pool, "db");
    assert_refused(vv_pool_lun_rename(test->pool, "db", "web", NULL, &error), &error, VV_ERROR_EXISTS, NULL, NULL);
    VvLunProps props = { .copies = 2, .mode = 010000, .timeout_s = 0 };
    assert_refused(vv_pool_lun_set(test->pool, "db", VV_LUN_COPIES, &props, NULL, &error), &error, VV_ERROR_UNSUPPORTED,
        "not in this version", NULL);
    assert_refused(
        vv_pool_lun_set(test->pool, "db", VV_LUN_MODE, &props, NULL, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    assert_refused(
        vv_pool_lun_set(test->pool, "db", VV_LUN_TIMEOUT, &props, NULL, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    test_pool_free(test);
}

/* A family that changes all the time: what goes free is exact or said to be unknown, and nothing is refused for it. */
typedef struct {
    VvPool *pool;
    uint64_t id;
    _Atomic bool stop;
} Changer;

static void *change_main(void *user)
{
    Changer *changer = user;
    VvHandle *handle;
    VvOpen open = { .write = true };
    uint8_t data[4096] = { 1 };

    g_assert_cmpint(vv_handle_open(changer->pool, changer->id, &open, &handle), ==, 0);
    for (uint64_t i = 0; !atomic_load(&changer->stop); i++) {
        (void) vv_view_write(vv_handle_view(handle), data, (i % 2) * sizeof data, sizeof data);
        (void) vv_view_zero(vv_handle_view(handle), ((i + 1) % 2) * sizeof data, sizeof data);
        (void) vv_view_flush(vv_handle_view(handle));
    }
    vv_handle_close(handle);
    return NULL;
}

static void test_uncounted(void)
{
    enum { REGIONS = 3000 };
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = "db", .size_bytes = (uint64_t) REGIONS << 20 };
    Changer changer = { .pool = test->pool };
    const char *objects[] = { "db@s", NULL };
    bool counted = true;
    pthread_t thread;

    g_assert_true(vv_pool_lun_create(test->pool, &create, NULL, &changer.id, &error));
    for (uint64_t i = 0; i < REGIONS; i++)
        write_lun(test->pool, changer.id, i << 20, 4096, 1);
    snap(test->pool, "db@s", NULL);
    g_assert_cmpint(pthread_create(&thread, NULL, change_main, &changer), ==, 0);
    for (unsigned i = 0; i < 200 && counted; i++) {
        VvRemoval removal = { .removed = NULL };

        g_assert_true(vv_pool_snapshot_remove(test->pool, objects, false, true, NULL, &removal, &error));
        counted = removal.counted;
        g_assert_true(counted || removal.freed_bytes == 0);
        vv_removal_clear(&removal);
    }
    g_assert_true(vv_pool_snapshot_remove(test->pool, objects, false, false, NULL, NULL, &error));
    atomic_store(&changer.stop, true);
    pthread_join(thread, NULL);
    if (counted)
        g_test_skip("the family held still each time it was counted");
    test_pool_free(test);
}

/* A removal does not wait for a long count; its dry run does. */
static void test_removal_of_much(void)
{
    enum { REGIONS = 300 };
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = "db", .size_bytes = (uint64_t) REGIONS << 20 };
    const char *objects[] = { "db@s", NULL };
    VvRemoval removal = { .removed = NULL };
    uint64_t id;

    g_assert_true(vv_pool_lun_create(test->pool, &create, NULL, &id, &error));
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < REGIONS; i++)
            write_lun(test->pool, id, i << 20, 4096, 1);
        if (round == 0)
            snap(test->pool, "db@s", NULL);
    }
    g_assert_true(vv_pool_snapshot_remove(test->pool, objects, false, true, NULL, &removal, &error));
    g_assert_true(removal.counted);
    g_assert_cmpuint(removal.freed_bytes, ==, REGIONS * 4096);
    vv_removal_clear(&removal);
    g_assert_true(vv_pool_snapshot_remove(test->pool, objects, false, false, NULL, &removal, &error));
    g_assert_false(removal.counted);
    g_assert_cmpstr(removal.removed[0], ==, "db@s");
    vv_removal_clear(&removal);
    test_pool_free(test);
}

static void test_removal(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    uint64_t id = make_lun(test->pool, "db");
    VvSnapshotOptions kept = { .keep_until_ns = UINT64_MAX };
    const char *luns[] = { "db", NULL }, *pattern[] = { "db@a*", NULL }, *some[] = { "db@a1", "db@nope", NULL },
               *k[] = { "db@k", NULL };
    VvRemoval removal = { .removed = NULL };

    write_lun(test->pool, id, 0, 1 << 20, 1);
    snap(test->pool, "db@a1", NULL);
    write_lun(test->pool, id, 0, 1 << 20, 2);
    snap(test->pool, "db@a2", NULL);
    write_lun(test->pool, id, 0, 1 << 20, 3);
    snap(test->pool, "db@k", &kept);
    assert_refused(vv_pool_lun_remove(test->pool, luns, false, false, false, NULL, NULL, &error), &error,
        VV_ERROR_HAS_SNAPSHOTS, "db has 3 snapshots", "`--with-snapshots` removes them too.");
    assert_refused(vv_pool_lun_remove(test->pool, luns, true, false, false, NULL, NULL, &error), &error, VV_ERROR_KEEP,
        "db@k is kept (keep=on)", "vvfs-admin snapshot set db@k keep=off");
    assert_refused(
        vv_pool_snapshot_remove(test->pool, k, false, false, NULL, NULL, &error), &error, VV_ERROR_KEEP, NULL, NULL);
    assert_refused(vv_pool_snapshot_remove(test->pool, some, false, false, NULL, NULL, &error), &error,
        VV_ERROR_NOT_FOUND, "no snapshot db@nope in pool tank", "vvfs-admin snapshot list db");

    g_assert_true(vv_pool_snapshot_remove(test->pool, pattern, false, true, NULL, &removal, &error));
    g_assert_cmpuint(g_strv_length(removal.removed), ==, 2);
    g_assert_cmpstr(removal.removed[0], ==, "db@a1");
    g_assert_true(removal.counted);
    g_assert_cmpuint(removal.freed_bytes, ==, 2 << 20);
    g_assert_cmpuint(removal.alone_bytes, ==, 2 << 20);
    vv_removal_clear(&removal);
    g_assert_true(vv_pool_snapshot_remove(test->pool, pattern, false, false, NULL, &removal, &error));
    g_assert_cmpuint(removal.freed_bytes, ==, 2 << 20);
    vv_removal_clear(&removal);
    assert_refused(vv_pool_snapshot_remove(test->pool, pattern, false, false, NULL, NULL, &error), &error,
        VV_ERROR_NOT_FOUND, NULL, NULL);
    g_assert_true(vv_pool_snapshot_remove(test->pool, pattern, true, false, NULL, NULL, &error));
    uint64_t off = 0;
    g_assert_true(vv_pool_snapshot_set(test->pool, k, &off, "note", NULL, &error));
    g_assert_true(vv_pool_job_wait(test->pool, NULL, 0, 20000, NULL, &error));
    uint64_t exclusive;
    g_assert_true(vv_pool_exclusive(test->pool, id, true, &exclusive));
    g_assert_cmpuint(exclusive, ==, 1 << 20);
    g_assert_true(vv_pool_lun_remove(test->pool, luns, true, false, false, NULL, &removal, &error));
    g_assert_cmpuint(g_strv_length(removal.removed), ==, 2);
    vv_removal_clear(&removal);
    test_pool_check(test);
    test_pool_free(test);
}

static uint64_t keep_of(VvPool *pool, const char *name)
{
    const VvLun *lun;
    uint64_t keep_until_ns;

    vv_meta_read_lock(pool->meta);
    lun = vv_meta_lun_by_name(pool->meta, "db");
    keep_until_ns = vv_meta_snapshot_by_name(pool->meta, lun, name)->keep_until_ns;
    vv_meta_read_unlock(pool->meta);
    return keep_until_ns;
}

/* Settings of many snapshots: one entry, all or none. */
static void test_set_many(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *note = g_strnfill(VV_NOTE_BYTES_MAX, 'n');
    const char *some[] = { "db@a0", "db@a1", "db@nope", NULL }, *twice[] = { "db@a0", "db@a1", "db@a0", NULL };
    const char *none[] = { NULL };
    const uint64_t on = UINT64_MAX;
    VvPoolStats before, after;

    make_lun(test->pool, "db");
    for (unsigned i = 0; i < 1100; i++)
        g_ptr_array_add(names, g_strdup_printf("db@a%u", i));
    g_ptr_array_add(names, NULL);
    const char *const *all = (const char *const *) names->pdata;
    vv_pool_snapshot_create(test->pool, all, NULL, NULL, &error);
    g_assert_no_error(error);

    assert_refused(vv_pool_snapshot_set(test->pool, some, &on, NULL, NULL, &error), &error, VV_ERROR_NOT_FOUND,
        "no snapshot db@nope in pool tank", NULL);
    g_assert_cmpuint(keep_of(test->pool, "a0"), ==, 0);
    g_assert_cmpuint(keep_of(test->pool, "a1"), ==, 0);
    assert_refused(vv_pool_snapshot_set(test->pool, none, &on, NULL, NULL, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    assert_refused(vv_pool_snapshot_set(test->pool, all, &on, note, NULL, &error), &error, VV_ERROR_LIMIT,
        "1100 changes are too many for one transaction", "do it in several commands");
    g_assert_cmpuint(keep_of(test->pool, "a0"), ==, 0);

    vv_pool_stats(test->pool, &before);
    g_assert_true(vv_pool_snapshot_set(test->pool, all, &on, NULL, NULL, &error));
    vv_pool_stats(test->pool, &after);
    g_assert_cmpuint(after.journal_entries - before.journal_entries, ==, 1);
    g_assert_cmpuint(keep_of(test->pool, "a0"), ==, on);
    g_assert_cmpuint(keep_of(test->pool, "a1099"), ==, on);
    g_assert_true(vv_pool_snapshot_set(test->pool, twice, NULL, "n", NULL, &error));
    test_pool_reopen(test);
    g_assert_cmpuint(keep_of(test->pool, "a1099"), ==, on);
    test_pool_check(test);
    test_pool_free(test);
}

static void test_restore(void)
{
    static const VvOpen how = { .write = true };
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autofree char *kept = NULL, *again = NULL;
    uint64_t id = make_lun(test->pool, "db");
    VvHandle *handle;

    write_lun(test->pool, id, 0, 65536, 1);
    snap(test->pool, "db@a", NULL);
    write_lun(test->pool, id, 0, 65536, 2);
    g_assert_cmpint(vv_handle_open(test->pool, id, &how, &handle), ==, 0);
    assert_refused(vv_pool_snapshot_restore(test->pool, "db@a", false, false, false, NULL, &kept, &error), &error,
        VV_ERROR_BUSY, "db is open for writing on ",
        "Close it, or `--force` restores under it and will damage what it holds.");
    g_assert_true(vv_pool_snapshot_restore(test->pool, "db@a", true, false, true, NULL, &again, &error)); /* dry */
    g_assert_cmpstr(again, ==, "db@before-restore-1");
    g_assert_true(vv_pool_snapshot_restore(test->pool, "db@a", true, false, false, NULL, &kept, &error));
    g_assert_cmpstr(kept, ==, "db@before-restore-1");
    vv_handle_close(handle);
    uint64_t until = vv_now_ns() + UINT64_C(3600000000000);
    VvLunProps props = { .keep_until_ns = until };
    g_assert_true(vv_pool_lun_set(test->pool, "db", VV_LUN_KEEP, &props, NULL, &error));
    assert_refused(vv_pool_snapshot_restore(test->pool, "db@a", false, false, false, NULL, NULL, &error), &error,
        VV_ERROR_KEEP, "db is kept until ", "vvfs-admin lun set db keep=off");
    test_pool_free(test);
}

static bool count_range(void *user, uint64_t offset, uint64_t length, bool zero)
{
    uint64_t *sum = user;

    (void) offset;
    (void) zero;
    *sum += length;
    return true;
}

static void test_snapshots(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    uint64_t id = make_lun(test->pool, "db"), changed = 0;
    const char *both[] = { "db@x", "web@x", NULL }, *twice[] = { "db@y", "db@y", NULL },
               *two[] = { "db@y", "db@z", NULL };
    VvPoolStats stats;

    assert_refused(
        vv_pool_snapshot_create(test->pool, both, NULL, NULL, &error), &error, VV_ERROR_NOT_FOUND, "no LUN web", NULL);
    make_lun(test->pool, "web");
    g_assert_true(vv_pool_snapshot_create(test->pool, both, NULL, NULL, &error));
    assert_refused(vv_pool_snapshot_create(test->pool, both, NULL, NULL, &error), &error, VV_ERROR_EXISTS,
        "snapshot db@x exists in pool tank since ", NULL);
    assert_refused(
        vv_pool_snapshot_create(test->pool, twice, NULL, NULL, &error), &error, VV_ERROR_USAGE, "named twice", NULL);
    g_assert_true(vv_pool_snapshot_create(test->pool, two, NULL, NULL, &error)); /* two points of one instant */
    write_lun(test->pool, id, 8192, 8192, 7);
    g_assert_true(vv_pool_snapshot_diff(test->pool, "db@x", NULL, count_range, &changed, &error));
    g_assert_cmpuint(changed, ==, 8192);
    assert_refused(vv_pool_snapshot_diff(test->pool, "db@x", "web@x", count_range, &changed, &error), &error,
        VV_ERROR_USAGE, NULL, NULL);
    assert_refused(vv_pool_snapshot_rename(test->pool, "db@x", "y", NULL, &error), &error, VV_ERROR_EXISTS, NULL, NULL);
    g_assert_true(vv_pool_snapshot_rename(test->pool, "db@x", "w", NULL, &error));
    g_assert_true(vv_pool_clone(test->pool, "db@w", "copy", 0, NULL, NULL, NULL, &error));
    g_assert_true(vv_pool_snapshot_refresh(test->pool, "db@w", NULL, &error));
    vv_pool_stats(test->pool, &stats);
    g_assert_cmpuint(stats.quiesce_count, ==, 3);
    g_assert_cmpuint(stats.snapshot_stall.count, ==, 3);
    g_assert_cmpuint(stats.journal_syncs, >, 0);
    test_pool_check(test);
    test_pool_free(test);
}

static void test_prune(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    const char *luns[] = { "db", NULL };
    VvPrune prune = { "auto", 2, -1, -1, -1, -1, -1 };
    VvRemoval removal = { .removed = NULL };
    unsigned of;

    make_lun(test->pool, "db");
    for (unsigned i = 0; i < 5; i++) {
        g_autofree char *object = g_strdup_printf("db@auto-2026110%uT000000Z", i + 1);

        snap(test->pool, object, NULL);
    }
    snap(test->pool, "db@mine", NULL);
    g_assert_true(vv_pool_snapshot_prune(test->pool, luns, &prune, false, NULL, &removal, &of, &error));
    g_assert_cmpuint(of, ==, 5);
    g_assert_cmpuint(g_strv_length(removal.removed), ==, 3);
    vv_removal_clear(&removal);
    g_assert_true(vv_pool_snapshot_prune(test->pool, luns, &prune, true, NULL, &removal, &of, &error));
    g_assert_cmpuint(of, ==, 2);
    g_assert_cmpuint(g_strv_length(removal.removed), ==, 0);
    vv_removal_clear(&removal);
    test_pool_free(test);
}

static void test_requests(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = "db", .size_bytes = 1 << 20 };
    VvRequest request = { .id = "a1", .result_json = "{\"made\": true}" };

    g_assert_true(vv_pool_lun_create(test->pool, &create, &request, NULL, &error));
    g_assert_null(request.ret_previous);
    test_pool_reopen(test);
    g_assert_true(vv_pool_lun_create(test->pool, &create, &request, NULL, &error));
    g_assert_cmpstr(request.ret_previous, ==, "{\"made\": true}");
    g_free(request.ret_previous);
    request = (VvRequest){ .id = "a2", .result_json = "null" };
    assert_refused(
        vv_pool_lun_create(test->pool, &create, &request, NULL, &error), &error, VV_ERROR_EXISTS, NULL, NULL);
    create.name = "other";
    g_assert_true(vv_pool_lun_create(test->pool, &create, &request, NULL, &error)); /* refused ones are not kept */
    g_assert_null(request.ret_previous);
    test_pool_free(test);
}

static void test_disks(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(test->directory, "disk1", NULL), *name = NULL;
    VvSpaceSummary before, after;

    vv_meta_space(test->pool->meta, &before);
    assert_refused(
        vv_pool_disk_remove(test->pool, "disk0", false, NULL, &error), &error, VV_ERROR_BUSY, "only disk", NULL);
    g_assert_true(vv_pool_disk_add(test->pool, path, POOL_BYTES, NULL, false, NULL, &name, &error));
    g_assert_cmpstr(name, ==, "disk1");
    assert_refused(
        vv_pool_disk_add(test->pool, path, 0, NULL, false, NULL, NULL, &error), &error, VV_ERROR_EXISTS, NULL, NULL);
    vv_meta_space(test->pool->meta, &after);
    g_assert_cmpuint(after.total_bytes, >, before.total_bytes);
    g_assert_true(vv_pool_disk_grow(test->pool, "disk1", 2 * POOL_BYTES, NULL, &error));
    assert_refused(
        vv_pool_disk_grow(test->pool, "disk1", POOL_BYTES, NULL, &error), &error, VV_ERROR_UNSUPPORTED, NULL, NULL);
    assert_refused(
        vv_pool_disk_grow(test->pool, "sdz", 0, NULL, &error), &error, VV_ERROR_NOT_FOUND, "no disk sdz", NULL);
    uint64_t id = make_lun(test->pool, "db");
    write_lun(test->pool, id, 0, 4 << 20, 9);
    test_pool_reopen(test);
    VvErrorCode code = VV_ERROR_NOT_EMPTY;
    bool first = vv_pool_disk_remove(test->pool, "disk0", true, NULL, NULL),
         second = vv_pool_disk_remove(test->pool, "disk1", true, NULL, NULL);
    g_assert_true(first != second); /* the LUN fits on one of them */
    assert_refused(
        vv_pool_disk_remove(test->pool, first ? "disk1" : "disk0", false, NULL, &error), &error, code, NULL, NULL);
    g_assert_true(vv_pool_disk_remove(test->pool, first ? "disk0" : "disk1", false, NULL, &error));
    g_assert_no_error(error);
    test_pool_check(test);
    test_pool_reopen(test);
    test_pool_free(test);
}

static void test_settings(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    const char *keys[] = { "default-mode", "warn-used", NULL }, *values[] = { "0640", "90", NULL };
    const char *unknown[] = { "nope", NULL }, *bad[] = { "warn-used", NULL }, *value[] = { "101", NULL };
    uint32_t mode;

    g_assert_true(vv_pool_set(test->pool, keys, values, NULL, &error));
    assert_refused(
        vv_pool_set(test->pool, unknown, value, NULL, &error), &error, VV_ERROR_USAGE, "no setting \"nope\"", NULL);
    assert_refused(
        vv_pool_set(test->pool, bad, value, NULL, &error), &error, VV_ERROR_USAGE, NULL, "1 to 100 (percent)");
    g_auto(GStrv) all = vv_pool_settings(test->pool);
    g_assert_cmpstr(all[0], ==, "default-mode");
    g_assert_cmpstr(all[1], ==, "0640");
    uint64_t id = make_lun(test->pool, "db");
    vv_meta_read_lock(test->pool->meta);
    mode = vv_meta_lun(test->pool->meta, id)->props.mode;
    vv_meta_read_unlock(test->pool->meta);
    g_assert_cmpuint(mode, ==, 0640);
    test_pool_free(test);
}

static void test_second_opener(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvPoolCreate create = { .directory = test->directory, .name = "other", .size_bytes = POOL_BYTES };

    g_assert_null(vv_pool_open(test->directory, NULL, &error));
    assert_refused(false, &error, VV_ERROR_BUSY, NULL, NULL);
    assert_refused(vv_pool_create(&create, &error), &error, VV_ERROR_EXISTS, "is the directory of pool tank", NULL);
    create.directory = test->folder;
    assert_refused(vv_pool_create(&create, &error), &error, VV_ERROR_NOT_EMPTY, NULL, NULL);
    create.directory = "relative";
    assert_refused(vv_pool_create(&create, &error), &error, VV_ERROR_USAGE, NULL, NULL);
    test_pool_free(test);
}

static void assert_destroyed(const VvDestroyed *destroyed, const char *own, const char *outside, const char *lost)
{
    const char *const disks[] = { own, outside, NULL }, *const left[] = { lost, NULL };

    g_assert_cmpstrv(destroyed->disks, disks);
    g_assert_cmpstrv(destroyed->left, left);
    g_assert_true(destroyed->all_told);
}

static void test_destroy(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autofree char *outside = g_build_filename(test->folder, "outside", NULL),
                    *foreign = g_build_filename(test->directory, "foreign", NULL),
                    *lost = g_build_filename(test->folder, "lost", NULL), *own = g_build_filename(test->directory, "disk0", NULL);
    g_auto(VvDestroyed) destroyed = { .disks = NULL };
    VvLabel label;

    g_assert_true(vv_pool_disk_add(test->pool, outside, POOL_BYTES, NULL, false, NULL, NULL, &error));
    g_assert_true(vv_pool_disk_add(test->pool, lost, POOL_BYTES, NULL, false, NULL, NULL, &error));
    vv_pool_close(test->pool);
    test->pool = NULL;
    g_assert_true(g_file_set_contents(foreign, "mine", -1, NULL));
    g_assert_cmpint(g_remove(lost), ==, 0);
    g_assert_true(vv_pool_destroy(test->directory, true, &destroyed, &error));
    assert_destroyed(&destroyed, own, outside, lost);
    vv_destroyed_clear(&destroyed);
    g_assert_true(vv_disk_read_label(outside, &label, NULL, NULL)); /* it was a dry run */
    g_assert_true(g_file_test(own, G_FILE_TEST_EXISTS));
    g_assert_true(vv_pool_destroy(test->directory, false, &destroyed, &error));
    assert_destroyed(&destroyed, own, outside, lost);
    g_assert_false(g_file_test(own, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(foreign, G_FILE_TEST_EXISTS)); /* not vvfs' */
    g_assert_true(g_file_test(outside, G_FILE_TEST_EXISTS)); /* not in the pool directory: only its label goes */
    g_assert_false(vv_disk_read_label(outside, &label, NULL, NULL));
    g_assert_cmpint(g_remove(foreign), ==, 0);
    g_assert_cmpint(g_rmdir(test->directory), ==, 0); /* nothing else was left */
    g_assert_cmpint(g_remove(outside), ==, 0);
    assert_refused(vv_pool_destroy(test->directory, false, NULL, &error), &error, VV_ERROR_NOT_FOUND, NULL, NULL);
    g_assert_cmpint(g_rmdir(test->folder), ==, 0);
    g_free(test->folder);
    g_free(test->directory);
    g_free(test);
}

static void put(const char *path, const char *text)
{
    vv_autofd int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 32 << 20), ==, 0);
    g_assert_cmpint(vv_pwrite_full(fd, text, strlen(text), 0), ==, 0);
}

static void assert_holds(const char *path, const char *text)
{
    char got[64] = "";
    vv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(vv_pread_full(fd, got, strlen(text), 0), ==, 0);
    g_assert_cmpstr(got, ==, text);
}

/* A disk that is refused, wherever it stands, leaves those before it as they were. */
static void test_create_all_or_none(void)
{
    char *folder = test_folder_new(true);
    g_autofree char *directory = g_build_filename(folder, "pool", NULL), *a = g_build_filename(folder, "a", NULL),
                    *b = g_build_filename(folder, "b", NULL), *c = g_build_filename(folder, "c", NULL),
                    *link = g_build_filename(folder, "link", NULL), *none = g_build_filename(folder, "none", NULL);
    const char *held[] = { a, b, c, NULL }, *twice[] = { a, b, a, NULL }, *linked[] = { a, b, link, NULL },
               *absent[] = { a, b, none, NULL };
    VvPoolCreate create = { .directory = directory, .name = "tank", .disks = held, .overwrite = true };
    g_autoptr(GError) error = NULL;

    put(a, "first");
    put(b, "second");
    put(c, "third");
    g_assert_cmpint(symlink(a, link), ==, 0);
    vv_autofd int fd = open(c, O_RDWR | O_CLOEXEC);
    const struct {
        const char *const *disks;
        VvErrorCode code;
        const char *message;
    } cases[] = { { held, VV_ERROR_IN_USE_DEVICE, "open in another process" },
        { twice, VV_ERROR_USAGE, "is named twice: nothing was changed" },
        { linked, VV_ERROR_USAGE, "are the same disk: nothing was changed" }, { absent, VV_ERROR_NOT_FOUND, "none" } };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        create.disks = cases[i].disks;
        assert_refused(vv_pool_create(&create, &error), &error, cases[i].code, cases[i].message, NULL);
        assert_refused(vv_pool_create_check(&create, &error), &error, cases[i].code, cases[i].message, NULL);
        assert_holds(a, "first");
        assert_holds(b, "second");
        g_assert_cmpint(access(directory, F_OK), ==, -1);
    }
    close(g_steal_fd(&fd));
    create.disks = held;
    vv_pool_create_check(&create, &error);
    g_assert_no_error(error);
    assert_holds(a, "first");
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    assert_refused(
        vv_pool_create_check(&create, &error), &error, VV_ERROR_EXISTS, "is the directory of pool tank", NULL);
    g_assert_true(vv_pool_destroy(directory, false, NULL, &error));
    g_assert_cmpint(rmdir(directory), ==, -1);
    test_folder_free(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "engine-config");
    g_test_add_func("/config/luns", test_luns);
    g_test_add_func("/config/removal", test_removal);
    g_test_add_func("/config/removal-of-much", test_removal_of_much);
    g_test_add_func("/config/set-many", test_set_many);
    g_test_add_func("/config/restore", test_restore);
    g_test_add_func("/config/snapshots", test_snapshots);
    g_test_add_func("/config/prune", test_prune);
    g_test_add_func("/config/requests", test_requests);
    g_test_add_func("/config/disks", test_disks);
    g_test_add_func("/config/settings", test_settings);
    g_test_add_func("/config/second-opener", test_second_opener);
    g_test_add_func("/config/destroy", test_destroy);
    g_test_add_func("/config/uncounted", test_uncounted);
    g_test_add_func("/config/create-all-or-none", test_create_all_or_none);
    return g_test_run();
}
