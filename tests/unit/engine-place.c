/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUNs on chosen disks: what is refused, where their data lies whatever is done to them, and that a full disk is the affair
 * of those alone that may use no other. The pool has disk0, and disk1 (small) which is chosen. */
#include "engine-pool.h"

#include "io_state.h"
#include "transaction.h"

#include <glib/gstdio.h>

#define POOL_BYTES ((uint64_t) 96 << 20)
#define SMALL_BYTES ((uint64_t) 24 << 20) /* 22 MiB of data */
#define MIB ((uint64_t) 1 << 20)

static const char *const small[] = { "disk1", NULL };

static void assert_refused(bool ok, GError **error, VvErrorCode code, const char *message)
{
    g_assert_false(ok);
    g_assert_error(*error, VV_ERROR, (int) code);
    g_assert_cmpstr((*error)->message, ==, message);
    g_clear_error(error);
}

static void add_disk(TestPool *test, const char *name, uint64_t size_bytes)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(test->directory, name, NULL);
    vv_pool_disk_add(test->pool, path, size_bytes, NULL, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

static TestPool *pool_new(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    add_disk(test, "disk1", SMALL_BYTES);
    return test;
}

static uint64_t lun_on(TestPool *test, const char *name, const char *const *disks)
{
    g_autoptr(GError) error = NULL;
    uint64_t id;
    VvLunCreate create = { .name = name, .size_bytes = (uint64_t) 1 << 40, .disks = disks }; /* thin */
    vv_pool_lun_create(test->pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    return id;
}

static uint64_t disk_id(TestPool *test, const char *name)
{
    VV_META_READ(test->pool->meta);
    return vv_find_disk(test->pool, name, NULL)->id;
}

/* Segments of the LUN's family on that disk. */
static unsigned segments_on(TestPool *test, uint64_t lun, const char *disk)
{
    uint64_t id = disk_id(test, disk);
    unsigned count = 0;
    VV_META_READ(test->pool->meta);
    const VvBranch *branch = vv_meta_branch(test->pool->meta, vv_meta_lun(test->pool->meta, lun)->branch);
    const VvFamily *family = vv_meta_family(test->pool->meta, branch->family);
    for (guint i = 0; i < family->segments->len; i++) {
        const VvSegment *segment = g_ptr_array_index(family->segments, i);
        count += segment && segment->copies[0].disk_id == id;
    }
    return count;
}

static int64_t write_at(VvHandle *handle, uint64_t offset, uint64_t length, int byte)
{
    g_autofree uint8_t *bytes = g_malloc(length);
    memset(bytes, byte, length);
    return vv_view_write(vv_handle_view(handle), bytes, offset, length);
}

/* MiB after MiB, until there is no space. Returns how many went in. */
static unsigned fill(VvHandle *handle, uint64_t from)
{
    unsigned count = 0;
    int64_t result;
    while ((result = write_at(handle, from + count * MIB, MIB, 0x11)) == (int64_t) MIB)
        count++;
    g_assert_cmpint(result, ==, -ENOSPC);
    return count;
}

static void remove_lun(TestPool *test, const char *name)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { name, NULL };
    VvRemoval removal;
    vv_pool_lun_remove(test->pool, names, true, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
}

/* ---- what is refused */

static void refuse_lun(TestPool *test, const char *const *disks, VvErrorCode code, const char *message)
{
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = "db", .size_bytes = MIB, .disks = disks };
    assert_refused(vv_pool_lun_create(test->pool, &create, NULL, NULL, &error), &error, code, message);
}

static void test_refused(void)
{
    TestPool *test = pool_new();
    const char *none[] = { NULL }, *unknown[] = { "disk0", "sdz", NULL }, *twice[] = { "disk1", "disk0", "disk1", NULL };
    g_autofree char *path = g_build_filename(test->directory, "..", "pool", "disk1", NULL);
    const char *aliases[] = { "disk1", path, NULL }, *by_path[] = { path, NULL };
    const char *many[VV_FAMILY_DISKS_MAX + 2] = { NULL };
    for (unsigned i = 0; i <= VV_FAMILY_DISKS_MAX; i++)
        many[i] = "disk0";
    refuse_lun(test, none, VV_ERROR_USAGE, "no disk is named for db");
    refuse_lun(test, unknown, VV_ERROR_NOT_FOUND, "no disk sdz in pool tank");
    refuse_lun(test, twice, VV_ERROR_USAGE, "disk disk1 is named twice for db");
    refuse_lun(test, aliases, VV_ERROR_USAGE, "disk disk1 is named twice for db");
    refuse_lun(test, many, VV_ERROR_LIMIT, "65 disks are named for db, at most 64 can be");
    VvDiskInfo *info; /* as it is in versions that can empty a disk */
    {
        VV_META_READ(test->pool->meta);
        info = (VvDiskInfo *) vv_find_disk(test->pool, "disk1", NULL);
    }
    info->state = VV_STATE_EVACUATING;
    refuse_lun(test, small, VV_ERROR_BUSY, "disk disk1 is evacuating: db cannot be put on it");
    info->state = VV_STATE_OK;
    uint64_t id = lun_on(test, "db", by_path);
    g_assert_cmpuint(segments_on(test, id, "disk1"), ==, 1);
    test_pool_free(test);
}

static void test_disk_removal(void)
{
    TestPool *test = pool_new();
    g_autoptr(GError) error = NULL;
    const char *both[] = { "disk1", "disk0", NULL };
    add_disk(test, "disk2", POOL_BYTES);
    uint64_t db = lun_on(test, "db", small);
    lun_on(test, "e", both);
    test_snapshot(test, "db@s");
    vv_pool_clone(test->pool, "db@s", "clone", 0, &(VvLunProps){ 0 }, NULL, NULL, &error);
    g_assert_no_error(error);
    lun_on(test, "a", small);
    for (unsigned dry = 0; dry < 2; dry++)
        assert_refused(vv_pool_disk_remove(test->pool, "disk1", dry, NULL, &error), &error, VV_ERROR_BUSY,
            "disk disk1 was chosen for a, clone, db and 1 more (`lun create --disks`)");
    assert_refused(vv_pool_disk_remove(test->pool, "disk0", false, NULL, &error), &error, VV_ERROR_BUSY,
        "disk disk0 was chosen for e (`lun create --disks`)");
    g_assert_true(vv_pool_disk_remove(test->pool, "disk2", false, NULL, &error));
    remove_lun(test, "a");
    remove_lun(test, "e");
    VvHandle *handle = test_open(test, db, true); /* removed, but open */
    g_assert_cmpint(write_at(handle, 0, MIB, 1), ==, MIB);
    remove_lun(test, "clone");
    remove_lun(test, "db");
    assert_refused(vv_pool_disk_remove(test->pool, "disk1", false, NULL, &error), &error, VV_ERROR_BUSY,
        "disk disk1 was chosen for a LUN that is removed, but still open or not freed yet");
    vv_handle_close(handle);
    uint64_t deadline_ms = vv_monotonic_ms() + 20000;
    while (!vv_pool_disk_remove(test->pool, "disk1", false, NULL, &error) && vv_monotonic_ms() < deadline_ms) {
        g_clear_error(&error);
        g_usleep(1000);
    }
    g_assert_no_error(error);
    test_pool_check(test);
    test_pool_reopen(test);
    test_pool_free(test);
}

/* ---- where the data lies */

static void test_stays(void)
{
    TestPool *test = pool_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *kept = NULL;
    uint64_t db = lun_on(test, "db", small), clone;
    VvHandle *handle = test_open(test, db, true);
    g_assert_cmpint(write_at(handle, 0, 2 * MIB, 1), ==, 2 * MIB);
    test_snapshot(test, "db@s");
    g_assert_cmpint(write_at(handle, 0, 2 * MIB, 2), ==, 2 * MIB);
    vv_handle_close(handle);
    g_assert_true(vv_pool_clone(test->pool, "db@s", "clone", 0, &(VvLunProps){ 0 }, NULL, &clone, &error));
    handle = test_open(test, clone, true);
    g_assert_cmpint(write_at(handle, 0, 2 * MIB, 3), ==, 2 * MIB);
    vv_handle_close(handle);
    g_assert_true(vv_pool_snapshot_restore(test->pool, "db@s", false, false, false, NULL, &kept, &error));
    g_assert_true(vv_pool_snapshot_refresh(test->pool, "db@s", NULL, &error));
    handle = test_open(test, db, true);
    g_assert_cmpint(write_at(handle, 0, 2 * MIB, 4), ==, 2 * MIB);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
    uint64_t copy = test_lun_new(test, "copy", 0); /* copy_file_range into an empty file: a clone too */
    handle = test_open(test, copy, true);
    g_assert_true(vv_pool_lun_adopt(test->pool, copy, db, (uint64_t) 1 << 40, &error));
    g_assert_cmpint(write_at(handle, 0, MIB, 5), ==, MIB);
    vv_handle_close(handle);
    g_assert_no_error(error);
    remove_lun(test, "db"); /* the clones live on */
    test_pool_reopen(test);
    handle = test_open(test, clone, true);
    g_assert_cmpint(write_at(handle, 4 * MIB, 2 * MIB, 6), ==, 2 * MIB);
    vv_handle_close(handle);
    g_assert_cmpuint(segments_on(test, clone, "disk1"), >, 8);
    g_assert_cmpuint(segments_on(test, clone, "disk0"), ==, 0);
    g_assert_cmpuint(segments_on(test, copy, "disk0"), ==, 0);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- full */

static const VvProblem *find_problem(const GPtrArray *problems, const char *code)
{
    for (guint i = 0; i < problems->len; i++) {
        const VvProblem *problem = g_ptr_array_index(problems, i);
        if (strcmp(problem->code, code) == 0)
            return problem;
    }
    return NULL;
}

static void test_full_disk(void)
{
    TestPool *test = pool_new();
    uint64_t db = lun_on(test, "db", small), web = lun_on(test, "web", NULL);
    VvHandle *a = test_open(test, db, true), *b = test_open(test, web, true);
    unsigned in = fill(a, 0);
    g_assert_cmpuint(in, >=, 21); /* all of the disk but what ends in no whole MiB */
    g_assert_cmpint(write_at(b, 0, 32 * MIB, 7), ==, 32 * MIB);
    g_assert_cmpuint(segments_on(test, web, "disk1"), ==, 0);
    g_assert_cmpuint(segments_on(test, db, "disk0"), ==, 0);
    g_assert_cmpint(write_at(a, 0, MIB, 8), ==, MIB); /* in place */
    g_assert_cmpstr(vv_pool_state(test->pool), ==, "ok");
    g_autoptr(GPtrArray) problems = vv_pool_problems(test->pool);
    const VvProblem *problem = find_problem(problems, "disk-full");
    g_assert_nonnull(problem);
    g_assert_cmpstr(problem->object, ==, "disk1");
    g_assert_cmpstr(problem->message, ==, "disk disk1 is full: no more space for db, which may lie nowhere else");
    g_assert_cmpstr(problem->fix[0], ==, "vvfs-admin disk grow disk1");
    g_autoptr(GError) error = NULL;
    g_assert_true(vv_pool_disk_grow(test->pool, "disk1", 2 * SMALL_BYTES, NULL, &error));
    g_assert_cmpint(write_at(a, in * MIB, 8 * MIB, 9), ==, 8 * MIB);
    g_autoptr(GPtrArray) later = vv_pool_problems(test->pool);
    g_assert_null(find_problem(later, "disk-full"));
    vv_handle_close(a);
    vv_handle_close(b);
    test_pool_check(test);
    test_pool_free(test);
}

/* Blocks of another LUN cool for ever on the other disk: that is no reason to let who finds his disk full wait. */
static void test_others_may_cool(void)
{
    TestPool *test = pool_new();
    g_autoptr(GError) error = NULL;
    const char *large[] = { "disk0", NULL };
    uint64_t db = lun_on(test, "db", small), web = lun_on(test, "web", large);
    VvLunProps props = { .timeout_s = 120, .on_full = VV_ON_FULL_ERROR };
    g_assert_true(vv_pool_lun_set(test->pool, "db", VV_LUN_TIMEOUT | VV_LUN_ON_FULL, &props, NULL, &error));
    VvHandle *a = test_open(test, db, true), *b = test_open(test, web, true);
    g_assert_cmpint(write_at(b, 0, 4 * MIB, 7), ==, 4 * MIB);
    g_assert_cmpint(vv_view_flush(vv_handle_view(b)), ==, 0);
    uint32_t slot = vv_era_enter(test->pool); /* somebody looks at what is freed now */
    g_assert_cmpint(vv_view_zero(vv_handle_view(b), 0, 4 * MIB), ==, 0);
    g_assert_cmpint(vv_view_flush(vv_handle_view(b)), ==, 0);
    g_assert_cmpuint(vv_alloc_cooling_bytes(test->pool->alloc), >, 0);
    uint64_t before_ms = vv_monotonic_ms();
    fill(a, 0);
    g_assert_cmpuint(vv_monotonic_ms() - before_ms, <, 120000); /* not when its time was over */
    g_assert_cmpuint(vv_alloc_cooling_bytes(test->pool->alloc), >, 0);
    vv_era_leave(test->pool, slot);
    vv_handle_close(a);
    vv_handle_close(b);
    test_pool_free(test);
}

/* What others hold unused is taken from them on the disk that is full, and left to them elsewhere. */
static void test_squeeze(void)
{
    TestPool *test = test_pool_new(SMALL_BYTES);
    add_disk(test, "disk1", SMALL_BYTES);
    uint64_t db = lun_on(test, "db", small), web = lun_on(test, "web", NULL);
    VvHandle *a = test_open(test, db, true), *b = test_open(test, web, true);
    g_assert_cmpint(write_at(b, 0, 20 * MIB, 7), ==, 20 * MIB); /* on both: the emptier one first */
    g_assert_cmpint(vv_view_zero(vv_handle_view(b), 0, 20 * MIB), ==, 0);
    g_assert_cmpint(vv_view_flush(vv_handle_view(b)), ==, 0);
    g_assert_cmpuint(segments_on(test, web, "disk0"), >, 2);
    g_assert_cmpuint(segments_on(test, web, "disk1"), >, 2);
    g_assert_cmpuint(fill(a, 0), >=, 20);
    g_assert_cmpuint(segments_on(test, web, "disk1"), <=, 1); /* what it asked for ahead may be there */
    g_assert_cmpuint(segments_on(test, web, "disk0"), >, 2);
    vv_handle_close(a);
    vv_handle_close(b);
    test_pool_check(test);
    test_pool_free(test);
}

typedef struct {
    VvHandle *handle;
    uint64_t offset;
    int64_t result;
    gint over; /* atomic */
} Writer;

static void *writer_main(void *user)
{
    Writer *writer = user;
    writer->result = write_at(writer->handle, writer->offset, MIB, 9);
    g_atomic_int_set(&writer->over, 1);
    return NULL;
}

static bool is_parked(VvView *view)
{
    VV_LOCKED(&view->lock);
    return view->parked.first != NULL;
}

/* On-full=wait: it waits while others go on, and is woken when another LUN of its disk is removed. */
static void test_wakes(void)
{
    TestPool *test = pool_new();
    g_autoptr(GError) error = NULL;
    uint64_t db = lun_on(test, "db", small), old = lun_on(test, "old", small), web = lun_on(test, "web", NULL);
    VvLunProps props = { .timeout_s = 60, .on_full = VV_ON_FULL_WAIT };
    VvHandle *a = test_open(test, db, true), *b = test_open(test, web, true), *c = test_open(test, old, true);
    g_assert_cmpint(write_at(c, 0, 4 * MIB, 1), ==, 4 * MIB);
    vv_handle_close(c);
    Writer writer = { .handle = a, .offset = fill(a, 0) * MIB };
    g_assert_true(vv_pool_lun_set(test->pool, "db", VV_LUN_TIMEOUT | VV_LUN_ON_FULL, &props, NULL, &error));
    GThread *thread = g_thread_new("writer", writer_main, &writer);
    while (!is_parked(vv_handle_view(a)))
        g_usleep(1000);
    g_assert_cmpint(write_at(b, 0, 16 * MIB, 7), ==, 16 * MIB);
    g_assert_cmpint(vv_view_flush(vv_handle_view(b)), ==, 0);
    g_assert_cmpint(g_atomic_int_get(&writer.over), ==, 0);
    remove_lun(test, "old");
    g_thread_join(thread);
    g_assert_cmpint(writer.result, ==, MIB);
    g_assert_cmpuint(segments_on(test, db, "disk0"), ==, 0);
    vv_handle_close(a);
    vv_handle_close(b);
    test_pool_check(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "engine-place");
    g_test_add_func("/place/refused", test_refused);
    g_test_add_func("/place/disk-removal", test_disk_removal);
    g_test_add_func("/place/stays", test_stays);
    g_test_add_func("/place/full-disk", test_full_disk);
    g_test_add_func("/place/others-may-cool", test_others_may_cool);
    g_test_add_func("/place/squeeze", test_squeeze);
    g_test_add_func("/place/wakes", test_wakes);
    return g_test_run();
}
