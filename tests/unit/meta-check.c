/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pool check` and `--repair`: each kind of damage, made in the store behind the metadata's back, is told by its code; what
 * can be mended without guessing is, and nothing else is touched. */
#include "codec.h"
#include "meta-ops-test.h"
#include "meta_private.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

typedef struct {
    char *directory;
    uint64_t lun, branch, family;
    GPtrArray *codes; /* of what the last check told */
    bool all_repaired;
} Fixture;

/* A disk, a LUN with a segment, two blocks written, a snapshot, one of the blocks written again. */
static void fill(Fixture *f, VvMeta *meta)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    uint64_t disk = op->disk_add.id = vv_meta_new_id(meta);
    op->disk_add.name = g_strdup("d");
    op->disk_add.path = g_strdup("d");
    op->disk_add.size_bytes = (uint64_t) 64 << 20;
    op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    f->lun = op->lun_create.id = vv_meta_new_id(meta);
    f->branch = op->lun_create.branch = vv_meta_new_id(meta);
    f->family = op->lun_create.family = vv_meta_new_id(meta);
    op->lun_create.name = g_strdup("db");
    op->lun_create.size_bytes = (uint64_t) 4 << 20;
    op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = f->family;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0].disk_id = disk;
    for (unsigned i = 0; i < 2; i++) {
        op = vv_ops_add(ops, VV_OP_MAP);
        op->map.lun = f->lun;
        op->map.size_bytes = UINT64_MAX;
        op->map.change_count = 1;
        op->map.changes = g_new0(VvMapChange, 1);
        op->map.changes[0] = (VvMapChange){ .region = 1, .first = 5, .count = i == 0 ? 2 : 1, .place = vv_place(0, 10 + 10 * i, true) };
        if (i == 0) {
            op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
            op->snapshot_create.id = vv_meta_new_id(meta);
            op->snapshot_create.lun = f->lun;
            op->snapshot_create.name = g_strdup("s");
        }
    }
    test_commit(meta, ops);
    g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
}

static VvMeta *open_meta(const Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VvMeta *meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
    return meta;
}

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    VvMetaCreate create = { .name = "check", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-check-XXXXXX", NULL);
    f->codes = g_ptr_array_new_with_free_func(g_free);
    vv_uuid_generate(&create.uuid);
    g_assert_true(vv_meta_create(f->directory, &create, NULL));
    g_autoptr(VvMeta) meta = open_meta(f);
    fill(f, meta);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    const char *argv[] = { "rm", "-rf", f->directory, NULL };
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_ptr_array_unref(f->codes);
    g_free(f->directory);
}

static void note(void *user, const VvCheckError *error)
{
    Fixture *f = user;
    g_assert_true(error->message[0] != 0 && error->object[0] != 0);
    g_ptr_array_add(f->codes, g_strdup(error->code));
    f->all_repaired = f->all_repaired && error->repaired;
}

static bool told(const Fixture *f, const char *code)
{
    for (guint i = 0; i < f->codes->len; i++) {
        if (strcmp(g_ptr_array_index(f->codes, i), code) == 0)
            return true;
    }
    return false;
}

static void run_check(Fixture *f, bool repair)
{
    g_autoptr(VvMeta) meta = open_meta(f);
    g_ptr_array_set_size(f->codes, 0);
    f->all_repaired = true;
    g_assert_cmpint(vv_meta_check(meta, repair, note, f), ==, 0);
    if (repair)
        g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
}

/* What is there is told by @code; repair mends it if it can, else leaves it as it was. */
static void expect(Fixture *f, const char *code, bool mendable)
{
    run_check(f, false);
    g_assert_true(told(f, code));
    g_assert_false(f->all_repaired);
    run_check(f, true);
    g_assert_true(told(f, code));
    g_assert_cmpint(f->all_repaired, ==, mendable);
    run_check(f, false);
    g_assert_cmpint(told(f, code), ==, !mendable);
    if (mendable)
        g_assert_cmpuint(f->codes->len, ==, 0);
}

/* ---- damage */
static void store_put(const Fixture *f, VvTable table, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    g_autofree char *map = g_build_filename(f->directory, "map", NULL);
    g_autoptr(VvStore) store = vv_store_open(map, false, NULL);
    VvStoreTxn *txn;
    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    g_assert_cmpint(value != NULL ? vv_store_put(txn, table, key, key_bytes, value, value_bytes)
                                  : vv_store_delete(txn, table, key, key_bytes), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
}

static void put_page(const Fixture *f, uint64_t region, uint64_t epoch, const VvPage *page, bool flip)
{
    VvPageKey key = { .branch = f->branch, .region = region, .epoch = epoch };
    uint8_t key_bytes[VV_KEY_BYTES], index_bytes[VV_KEY_BYTES], bytes[VV_PAGE_BYTES_MAX];
    size_t n = vv_page_encode(page, &key, bytes);
    bytes[n - 1] ^= (uint8_t) flip;
    vv_page_key_encode(&key, key_bytes);
    vv_index_key_encode(&key, index_bytes);
    store_put(f, VV_TABLE_PAGE, key_bytes, sizeof key_bytes, bytes, n);
    store_put(f, VV_TABLE_INDEX, index_bytes, sizeof index_bytes, "", 0);
}

static void put_index(const Fixture *f, uint64_t region, uint64_t epoch, bool there)
{
    VvPageKey key = { .branch = f->branch, .region = region, .epoch = epoch };
    uint8_t bytes[VV_KEY_BYTES];
    vv_index_key_encode(&key, bytes);
    store_put(f, VV_TABLE_INDEX, bytes, sizeof bytes, there ? "" : NULL, 0);
}

static void put_piece(const Fixture *f, uint64_t first_word)
{
    VvPiece piece = { .family = f->family };
    uint8_t key[VV_KEY_BYTES] = { 0 };
    g_autoptr(GByteArray) value = g_byte_array_new();
    memset(piece.bits, 0xff, 256 / 8);
    piece.bits[0] = first_word;
    vvm_piece_encode(&piece, value);
    vv_put_be64(key, f->family);
    store_put(f, VV_TABLE_FREE, key, sizeof key, value->data, value->len);
}

#define USED_BITS ((UINT64_C(1) << 10) | (UINT64_C(1) << 11) | (UINT64_C(1) << 20)) /* what fill() uses */

static void test_clean(Fixture *f, gconstpointer data)
{
    (void) data;
    run_check(f, true);
    g_assert_cmpuint(f->codes->len, ==, 0);
}

static void test_index_lacks(Fixture *f, gconstpointer data)
{
    (void) data;
    put_index(f, 1, 1, false);
    expect(f, "index", true);
}

static void test_index_has_more(Fixture *f, gconstpointer data)
{
    (void) data;
    put_index(f, 3, 1, true);
    expect(f, "index", true);
}

static void test_leak(Fixture *f, gconstpointer data)
{
    (void) data;
    put_piece(f, ~(USED_BITS | UINT64_C(1) << 30));
    expect(f, "leak", true);
}

static void test_free_in_use(Fixture *f, gconstpointer data)
{
    (void) data;
    put_piece(f, ~(USED_BITS & ~(UINT64_C(1) << 11)));
    expect(f, "free-in-use", true);
}

static void test_counters(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GByteArray) value = g_byte_array_new();
    uint8_t key[8];
    {
        g_autoptr(VvMeta) meta = open_meta(f);
        VvLun *lun = (VvLun *) vv_meta_lun(meta, f->lun);
        lun->used_blocks += 7;
        vvm_lun_encode(lun, value);
        lun->used_blocks -= 7;
    }
    vv_put_be64(key, f->lun);
    store_put(f, VV_TABLE_LUN, key, sizeof key, value->data, value->len);
    expect(f, "counter", true);
}

static void test_bad_page(Fixture *f, gconstpointer data)
{
    (void) data;
    VvPage page = { 0 };
    page.place[5] = vv_place(0, 10, true);
    put_page(f, 1, 1, &page, true);
    run_check(f, true);
    g_assert_true(told(f, "bad-page"));
    g_assert_false(f->all_repaired);
    run_check(f, false);
    g_assert_true(told(f, "bad-page"));
}

static void test_double_use(Fixture *f, gconstpointer data)
{
    (void) data;
    VvPage page = { 0 };
    page.place[9] = vv_place(0, 20, true); /* the head's own block, again */
    put_page(f, 2, 2, &page, false);
    run_check(f, true);
    g_assert_true(told(f, "double-use"));
    run_check(f, false);
    g_assert_true(told(f, "double-use"));
}

static void test_unreachable(Fixture *f, gconstpointer data)
{
    (void) data;
    VvPage page = { 0 };
    page.place[0] = vv_place(0, 10, false);
    put_page(f, 1, 0, &page, false); /* below the first point's page: nobody looks there */
    run_check(f, false);
    g_assert_true(told(f, "unreachable"));
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*test)(Fixture *, gconstpointer); } tests[] = {
        { "clean", test_clean },           { "index-lacks", test_index_lacks }, { "index-has-more", test_index_has_more },
        { "leak", test_leak },             { "free-in-use", test_free_in_use }, { "counters", test_counters },
        { "bad-page", test_bad_page },     { "double-use", test_double_use },   { "unreachable", test_unreachable },
    };
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/meta/check/%s", tests[i].name);
        g_test_add(path, Fixture, NULL, set_up, tests[i].test, tear_down);
    }
    return g_test_run();
}
