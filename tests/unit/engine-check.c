/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pool check` of a pool that is not mounted and whose map is large, so that leaves are else compared in the background: damage to the
 * checksums is told as such, and mended. */
#include "engine-pool.h"
#include "error.h"
#include "meta-ops-test.h"
#include "meta_private.h"
#include "store_sums.h"
#include "store_sums_private.h"
#include "store_watch.h"

#include <glib/gstdio.h>
#include <string.h>

#define REGIONS 800u /* of 1,800 bytes in the map each: sectors of checksums for 127 leaves, several */

typedef struct {
    TestPool test; /* not open */
    char *sums;
    GPtrArray *found; /* "code: message" */
} Fixture;

static uint64_t add_lun(VvMeta *meta, VvOps *ops)
{
    uint64_t family = vv_meta_new_id(meta);
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    uint64_t lun = op->lun_create.id = vv_meta_new_id(meta);
    op->lun_create.branch = vv_meta_new_id(meta);
    op->lun_create.family = family;
    op->lun_create.name = g_strdup("db");
    op->lun_create.size_bytes = (uint64_t) REGIONS * VV_REGION_BYTES;
    op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = family;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MAX;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0].disk_id = ((const VvDiskInfo *) vv_meta_disks(meta)->pdata[0])->id;
    return lun;
}

/* Each block of the region is an extent. */
static void add_region(VvOps *ops, uint64_t lun, uint32_t region)
{
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = lun;
    op->map.size_bytes = UINT64_MAX;
    op->map.change_count = VV_REGION_BLOCKS;
    op->map.changes = g_new0(VvMapChange, VV_REGION_BLOCKS);
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        op->map.changes[i] = (VvMapChange){ .region = region, .first = (uint8_t) i, .count = 1,
            .place = vv_place(0, (region + 1) * VV_REGION_BLOCKS - 1 - i, true) };
}

/* All leaves anew, when all branches are: so there are sectors of leaves alone. */
static void rewrite_pages(const Fixture *f)
{
    g_autofree char *map = g_build_filename(f->test.directory, "map", NULL);
    g_autoptr(VvStore) store = vv_store_open(map, false, NULL);
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free), values = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    const uint8_t *key, *value, first[1] = { 0 };
    size_t key_bytes, value_bytes;
    VvStoreRead *read;
    VvStoreTxn *txn;
    g_assert_cmpint(vv_store_read_begin(store, &read), ==, 0);
    for (int err = vv_store_seek(read, VV_TABLE_PAGE, VV_SEEK_GE, first, 1, &key, &key_bytes, &value, &value_bytes); err == 0;
         err = vv_store_next(read, VV_TABLE_PAGE, &key, &key_bytes, &value, &value_bytes)) {
        g_ptr_array_add(keys, g_memdup2(key, key_bytes));
        g_ptr_array_add(values, g_bytes_new(value, value_bytes));
    }
    vv_store_read_end(read);
    g_assert_cmpuint(keys->len, ==, REGIONS);
    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    for (unsigned i = 0; i < REGIONS + REGIONS / 16; i++) {
        unsigned k = i < REGIONS / 16 ? i * 16 : i - REGIONS / 16;
        value = g_bytes_get_data(values->pdata[k], &value_bytes);
        g_assert_cmpint(vv_store_put(txn, VV_TABLE_PAGE, keys->pdata[k], VV_KEY_BYTES, value, value_bytes), ==, 0);
    }
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    (void) data;
    vv_sums_at_once_bytes = UINT64_MAX;
    f->test.folder = test_folder_new(true);
    f->test.directory = g_build_filename(f->test.folder, "pool", NULL);
    f->sums = g_build_filename(f->test.directory, "map", VV_SUMS_FILE, NULL);
    f->found = g_ptr_array_new_with_free_func(g_free);
    VvPoolCreate create = { .directory = f->test.directory, .name = "tank", .size_bytes = (uint64_t) 2 << 30 };
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    VvMeta *meta = vv_meta_open(f->test.directory, false, NULL, &error);
    g_assert_no_error(error);
    VvOps *ops = vv_ops_new();
    uint64_t lun = add_lun(meta, ops);
    for (uint32_t region = 0; region < REGIONS; region++) {
        add_region(ops, lun, region);
        if (region % 64 != 63)
            continue;
        test_commit(meta, ops);
        ops = vv_ops_new();
    }
    test_commit(meta, ops);
    g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
    vv_meta_close(meta);
    rewrite_pages(f);
    vv_sums_at_once_bytes = 0;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    (void) data;
    vv_pool_destroy(f->test.directory, false, NULL, &error);
    g_assert_no_error(error);
    test_folder_free(f->test.folder);
    g_ptr_array_unref(f->found);
    g_free(f->sums);
    g_free(f->test.directory);
}

static void note_cb(void *user, const VvCheckError *error)
{
    Fixture *f = user;
    g_ptr_array_add(f->found, g_strdup_printf("%s%s: %s", error->code, error->repaired ? ", repaired" : "", error->message));
}

static unsigned run_check(Fixture *f, bool repair)
{
    g_autoptr(GError) error = NULL;
    g_ptr_array_set_size(f->found, 0);
    g_assert_true(vv_pool_check_offline(f->test.directory, repair, note_cb, f, &error));
    g_assert_no_error(error);
    return f->found->len;
}

static void flip(const char *path, uint64_t at)
{
    uint8_t byte;
    vv_autofd int fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(vv_pread_full(fd, &byte, 1, at), ==, 0);
    byte ^= 0xff;
    g_assert_cmpint(vv_pwrite_full(fd, &byte, 1, at), ==, 0);
}

/* One after the other; some have only sums of leaves, and some only of pages that are free. */
static void test_sectors(Fixture *f, gconstpointer data)
{
    unsigned count_late = 0;
    GStatBuf st;
    (void) data;
    g_assert_cmpint(g_stat(f->sums, &st), ==, 0);
    for (uint64_t at = SECTORS_AT; at < (uint64_t) st.st_size; at += SECTOR_BYTES) {
        flip(f->sums, at + 20);
        g_autoptr(VvMeta) meta = vv_meta_open(f->test.directory, true, NULL, NULL);
        count_late += meta != NULL;
        g_clear_pointer(&meta, vv_meta_close);
        if (run_check(f, false) == 0) {
            flip(f->sums, at + 20);
            count_late--;
            continue;
        }
        g_assert_cmpuint(f->found->len, ==, 1);
        g_assert_nonnull(strstr(g_ptr_array_index(f->found, 0), "sums at offset"));
        g_assert_cmpuint(run_check(f, true), ==, 1);
        g_assert_true(g_str_has_prefix(g_ptr_array_index(f->found, 0), "sums, repaired: "));
        g_assert_cmpuint(run_check(f, false), ==, 0);
    }
    g_assert_cmpuint(count_late, >=, 2);
}

/* A pool that is closed soon after its start does not wait until all of the map was compared: the journal keeps what the map lacks. */
static void test_closed_early(Fixture *f, gconstpointer data)
{
    (void) data;
    vv_map_check_bytes = 1; /* the background's pace */
    test_pool_open(&f->test);
    test_lun_new(&f->test, "new", VV_REGION_BYTES);
    vv_pool_close(f->test.pool);
    vv_map_check_bytes = VV_MAP_CHECK_BYTES;
    g_autoptr(VvMeta) meta = vv_meta_open(f->test.directory, true, NULL, NULL);
    g_assert_nonnull(vv_meta_lun_by_name(meta, "new"));
    g_assert_cmpuint(meta->checkpoint_index, <, meta->pool.applied_index);
    g_clear_pointer(&meta, vv_meta_close);
    g_assert_cmpuint(run_check(f, false), ==, 0);

    vv_sums_at_once_bytes = UINT64_MAX;
    test_pool_open(&f->test);
    vv_pool_close(f->test.pool);
    meta = vv_meta_open(f->test.directory, true, NULL, NULL);
    g_assert_nonnull(vv_meta_lun_by_name(meta, "new"));
    g_assert_cmpuint(meta->checkpoint_index, ==, meta->pool.applied_index);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/engine/check/sectors", Fixture, NULL, set_up, test_sectors, tear_down);
    g_test_add("/engine/check/closed-early", Fixture, NULL, set_up, test_closed_early, tear_down);
    return g_test_run();
}
