/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fails half-way stays out of the store; what is late does no harm. */
#include "meta.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>

#define DISK 1u
#define FAMILY 2u
#define BRANCH 3u
#define LUN 4u

typedef struct {
    char *directory; /* owned */
    VvMeta *meta;
} Fixture;

static void open_meta(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
}

static void fixture_set_up(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "tank", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-test-XXXXXX", NULL);
    g_assert_nonnull(f->directory);
    vv_uuid_generate(&create.uuid);
    vv_meta_create(f->directory, &create, &error);
    g_assert_no_error(error);
    open_meta(f);
}

static void remove_folder(const char *path)
{
    const char *name;
    GDir *dir = g_dir_open(path, 0, NULL);
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inside = g_build_filename(path, name, NULL);
        if (g_file_test(inside, G_FILE_TEST_IS_DIR))
            remove_folder(inside);
        else
            g_assert_cmpint(g_unlink(inside), ==, 0);
    }
    if (dir)
        g_dir_close(dir);
    g_assert_cmpint(g_rmdir(path), ==, 0);
}

static void fixture_tear_down(Fixture *f)
{
    vv_meta_close(f->meta);
    remove_folder(f->directory);
    g_free(f->directory);
}

static uint64_t log_ops(Fixture *f, const VvOps *ops)
{
    uint64_t index = 0;
    g_assert_cmpint(vv_meta_log(f->meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(f->meta), ==, 0);
    return index;
}

/* Takes over @ops. */
static int run(Fixture *f, VvOps *ops)
{
    int result = vv_meta_apply(f->meta, log_ops(f, ops), ops);
    vv_ops_free(ops);
    return result;
}

static void add_setting(VvOps *ops)
{
    VvOp *op = vv_ops_add(ops, VV_OP_POOL_SET);
    op->pool_set.key = g_strdup("warn-used");
    op->pool_set.value = g_strdup("77");
}

static bool has_setting(Fixture *f)
{
    vv_meta_read_lock(f->meta);
    bool has = g_hash_table_contains(vv_meta_pool(f->meta)->settings, "warn-used");
    vv_meta_read_unlock(f->meta);
    return has;
}

/* An entry that could not be applied to its end (a read failed, say) is applied from its beginning at the next start: the store
 * must not hold a part of it. */
static void test_half_an_entry(void)
{
    Fixture f = { .meta = NULL };
    VvOps *whole = vv_ops_new(), *half = vv_ops_new();
    fixture_set_up(&f);
    vv_ops_add(whole, VV_OP_NOOP);
    add_setting(half);
    vv_ops_add(half, VV_OP_LUN_REMOVE)->lun_remove.id = LUN; /* there is none */
    uint64_t index = log_ops(&f, whole);
    g_assert_cmpint(vv_meta_apply(f.meta, index, half), ==, -EUCLEAN);
    g_assert_true(has_setting(&f));
    g_assert_cmpint(vv_meta_checkpoint(f.meta), ==, -EIO);
    vv_meta_close(f.meta);
    open_meta(&f);
    g_assert_false(has_setting(&f));
    vv_ops_free(whole);
    vv_ops_free(half);
    fixture_tear_down(&f);
}

static void add_grant(VvOps *ops, uint32_t number)
{
    VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = FAMILY;
    op->segment_grant.number = number;
    op->segment_grant.kind = VV_SEGMENT_DATA;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0] = (VvCopy){ .disk_id = DISK, .unit = number };
}

static VvOps *make_lun(void)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    op->disk_add.id = DISK;
    op->disk_add.name = g_strdup("disk");
    op->disk_add.path = g_strdup("/disk");
    op->disk_add.size_bytes = VV_DISK_BYTES_MIN;
    op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    op->lun_create.id = LUN;
    op->lun_create.name = g_strdup("lun");
    op->lun_create.size_bytes = 1 << 20;
    op->lun_create.branch = BRANCH;
    op->lun_create.family = FAMILY;
    add_grant(ops, 0);
    return ops;
}

/* A grant was asked for while the family's last segment was on its way back: nobody takes it, and nothing is damaged. */
static void test_grant_is_late(void)
{
    Fixture f = { .meta = NULL };
    VvOps *ops = vv_ops_new();
    VvSpaceSummary before, after;
    fixture_set_up(&f);
    g_assert_cmpint(run(&f, make_lun()), ==, 0);
    vv_ops_add(ops, VV_OP_LUN_REMOVE)->lun_remove.id = LUN;
    VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_SHRINK);
    op->segment_shrink.family = FAMILY;
    g_assert_cmpint(run(&f, ops), ==, 0);
    vv_meta_space(f.meta, &before);
    ops = vv_ops_new();
    add_grant(ops, 1);
    g_assert_cmpint(run(&f, ops), ==, 0);
    vv_meta_space(f.meta, &after);
    g_assert_null(vv_meta_failure(f.meta));
    g_assert_cmpuint(after.free_bytes, ==, before.free_bytes);
    fixture_tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/meta-failure/half-an-entry", test_half_an_entry);
    g_test_add_func("/meta-failure/grant-is-late", test_grant_is_late);
    return g_test_run();
}
