/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tells a successor how far the process before it came: each LUN's sequence, and the number drawn at each opening. */
#include "codec.h"
#include "meta-ops-test.h"
#include "error.h"
#include "meta_private.h"
#include "util.h"

#include <glib/gstdio.h>

#define LUN 4u

static VvMeta *open_meta(const char *directory, uint64_t number)
{
    g_autoptr(GError) error = NULL;
    VvOpening opening = { .number = number };
    VvMeta *meta = number ? vv_meta_open_as(directory, false, NULL, &opening, &error)
                          : vv_meta_open(directory, false, NULL, &error);
    g_assert_no_error(error);
    return meta;
}

static char *new_pool(void)
{
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "tank", .created_ns = 1 };
    char *directory = g_dir_make_tmp("vvfs-test-XXXXXX", NULL);
    vv_uuid_generate(&create.uuid);
    vv_meta_create(directory, &create, &error);
    g_assert_no_error(error);
    return directory;
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

static void map(VvMeta *meta, uint64_t sequence)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = LUN;
    op->map.sequence = sequence;
    op->map.size_bytes = UINT64_MAX;
    test_commit(meta, ops);
}

static uint64_t sequence(VvMeta *meta)
{
    vv_meta_read_lock(meta);
    uint64_t found = vv_meta_lun(meta, LUN)->sequence;
    vv_meta_read_unlock(meta);
    return found;
}

/* It is what the newest entry said, whether that comes from the journal or from the store, and never goes back. */
static void test_sequence(void)
{
    g_autofree char *directory = new_pool();
    VvMeta *meta = open_meta(directory, 0);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    op->lun_create.id = LUN;
    op->lun_create.name = g_strdup("db");
    op->lun_create.size_bytes = 1 << 20;
    op->lun_create.branch = 3;
    op->lun_create.family = 2;
    test_commit(meta, ops);
    g_assert_cmpuint(sequence(meta), ==, 0);
    map(meta, 7);
    map(meta, 0); /* the engine's own: nobody's writes */
    vv_meta_close(meta);
    meta = open_meta(directory, 0); /* replayed */
    g_assert_cmpuint(sequence(meta), ==, 7);
    map(meta, 9);
    g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
    vv_meta_close(meta);
    meta = open_meta(directory, 0); /* stored */
    g_assert_cmpuint(sequence(meta), ==, 9);
    vv_meta_close(meta);
    remove_folder(directory);
}

static bool refuse_cb(void *user, uint64_t before, GError **error)
{
    *(uint64_t *) user = before;
    vv_set_error(error, VV_ERROR_CONFLICT, NULL, NULL, "no");
    return false;
}

/* Who is refused by the check has changed nothing. */
static void test_refused(void)
{
    g_autofree char *directory = new_pool();
    g_autoptr(GError) error = NULL;
    uint64_t before = 99;
    VvOpening opening = { .number = 8, .check = refuse_cb, .user = &before };
    vv_meta_close(open_meta(directory, 7));
    g_assert_null(vv_meta_open_as(directory, false, NULL, &opening, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_CONFLICT);
    g_assert_cmpuint(before, ==, 7);
    VvMeta *meta = open_meta(directory, 9);
    g_assert_cmpuint(vv_meta_pool(meta)->opening_before, ==, 7);
    g_assert_cmpuint(vv_meta_pool(meta)->incarnation, ==, 2);
    vv_meta_close(meta);
    remove_folder(directory);
}

static void test_opening(void)
{
    g_autofree char *directory = new_pool();
    VvMeta *meta = open_meta(directory, 55);
    g_assert_cmpuint(vv_meta_pool(meta)->opening_before, ==, 0);
    g_assert_cmpuint(vv_meta_pool(meta)->opening, ==, 55);
    vv_meta_close(meta);
    meta = open_meta(directory, 0);
    g_assert_cmpuint(vv_meta_pool(meta)->opening_before, ==, 55);
    uint64_t drawn = vv_meta_pool(meta)->opening;
    g_assert_cmpuint(drawn, !=, 0);
    g_assert_cmpuint(drawn, !=, 55);
    vv_meta_close(meta);
    meta = open_meta(directory, 0);
    g_assert_cmpuint(vv_meta_pool(meta)->opening_before, ==, drawn);
    g_assert_cmpuint(vv_meta_pool(meta)->opening, !=, drawn);
    vv_meta_close(meta);
    g_autoptr(GError) error = NULL;
    meta = vv_meta_open(directory, true, NULL, &error); /* for looking: nothing is drawn */
    g_assert_no_error(error);
    drawn = vv_meta_pool(meta)->opening;
    vv_meta_close(meta);
    meta = open_meta(directory, 0);
    g_assert_cmpuint(vv_meta_pool(meta)->opening_before, ==, drawn);
    vv_meta_close(meta);
    remove_folder(directory);
}

/* A LUN's record with @sequence and then the bytes of @tail, with the right checksum; NULL: refused. */
static VvLun *decode(uint64_t number, const GByteArray *tail)
{
    g_autoptr(GByteArray) record = g_byte_array_new();
    VvLun plain = { .id = LUN, .name = (char *) "db", .origin = (char *) "", .size_bytes = 4096, .sequence = number };
    vvm_lun_encode(&plain, record);
    if (tail)
        g_byte_array_append(record, tail->data, tail->len);
    vv_put_u32(record->data + 4, vv_crc32c(vv_crc32c(0, record->data, 4), record->data + 8, record->len - 8));
    return vvm_lun_decode(LUN, record->data, record->len);
}

static void lun_free(VvLun *lun)
{
    g_free(lun->name);
    g_free(lun->origin);
    g_free(lun);
}

static void test_tail(void)
{
    g_autoptr(GByteArray) tail = g_byte_array_new();
    VvLun *lun = decode(0, NULL);
    g_assert_cmpuint(lun->sequence, ==, 0);
    lun_free(lun);
    vv_write_u16(tail, 0x7000); /* a newer field that may be skipped */
    vv_write_u16(tail, 3);
    vv_write_bytes(tail, "abc", 3);
    lun = decode(UINT64_MAX, tail);
    g_assert_cmpuint(lun->sequence, ==, UINT64_MAX);
    lun_free(lun);
    g_byte_array_set_size(tail, tail->len - 1); /* cut */
    g_assert_null(decode(5, tail));
    vv_put_u16(tail->data, 0x8000); /* one that must be known */
    vv_put_u16(tail->data + 2, 2);
    g_assert_null(decode(5, tail));
    vv_put_u16(tail->data, 1); /* not a number */
    g_assert_null(decode(5, tail));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/meta-sequence/lun", test_sequence);
    g_test_add_func("/meta-sequence/opening", test_opening);
    g_test_add_func("/meta-sequence/refused", test_refused);
    g_test_add_func("/meta-sequence/tail", test_tail);
    return g_test_run();
}
