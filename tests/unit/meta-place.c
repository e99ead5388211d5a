/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks chosen for a family: the record and its hostile forms, what apply and loading refuse, where space is looked for, what
 * `pool check` tells. */
#include "codec.h"
#include "meta-ops-test.h"
#include "error.h"
#include "meta_private.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define DISK_MIB 20u /* of which 18 are for data */

/* ---- the record */

static GByteArray *family_record(const VvFamily *family)
{
    GByteArray *record = g_byte_array_new();
    vvm_family_encode(family, record);
    return record;
}

static void family_drop(VvFamily *family)
{
    g_free(family->disks);
    g_free(family);
}

/* A family whose tail is @tail, with the right checksum. NULL: refused. */
static VvFamily *decode_with_tail(const GByteArray *tail)
{
    VvFamily plain = { .id = 7, .next_segment = 3 };
    g_autoptr(GByteArray) record = family_record(&plain);
    g_byte_array_append(record, tail->data, tail->len);
    vv_put_u32(record->data + 4, vv_crc32c(vv_crc32c(0, record->data, 4), record->data + 8, record->len - 8));
    return vvm_family_decode(7, record->data, record->len);
}

static void add_field(GByteArray *tail, uint16_t type, const uint64_t *ids, unsigned count, unsigned length_bytes)
{
    vv_write_u16(tail, type);
    vv_write_u16(tail, (uint16_t) length_bytes);
    for (unsigned i = 0; i < count; i++)
        vv_write_u64(tail, ids[i]);
}

static void assert_tail_refused(uint16_t type, const uint64_t *ids, unsigned count, unsigned length_bytes)
{
    g_autoptr(GByteArray) tail = g_byte_array_new();
    add_field(tail, type, ids, count, length_bytes);
    g_assert_null(decode_with_tail(tail));
}

static void test_record(void)
{
    uint64_t ids[] = { 30, 10, 20 };
    VvFamily any = { .id = 7, .next_segment = 3 }, some = { .id = 7, .next_segment = 3, .disks = vv_disk_set_new(ids, 3) };
    g_autoptr(GByteArray) old = family_record(&any), new = family_record(&some);
    g_assert_cmpuint(old->len, ==, 16 + 4); /* as it was before there was a choice */
    VvFamily *back = vvm_family_decode(7, old->data, old->len);
    g_assert_nonnull(back);
    g_assert_null(back->disks);
    family_drop(back);
    back = vvm_family_decode(7, new->data, new->len);
    g_assert_nonnull(back);
    g_assert_cmpuint(back->next_segment, ==, 3);
    g_assert_true(vv_disk_set_equal(back->disks, some.disks));
    g_assert_cmpuint(back->disks->ids[0], ==, 10);
    g_assert_true(vv_disk_set_has(back->disks, 30) && !vv_disk_set_has(back->disks, 31) && vv_disk_set_has(NULL, 31));
    family_drop(back);
    for (guint at = 0; at < new->len; at++) { /* any flipped bit, any cut */
        for (unsigned bit = 0; bit < 8; bit++) {
            new->data[at] ^= (uint8_t) (1u << bit);
            g_assert_null(vvm_family_decode(7, new->data, new->len));
            new->data[at] ^= (uint8_t) (1u << bit);
        }
        g_assert_null(vvm_family_decode(7, new->data, at));
    }
    g_free(some.disks);
}

static void test_hostile_tails(void)
{
    uint64_t many[VV_FAMILY_DISKS_MAX + 1], twice[] = { 5, 5 }, falling[] = { 6, 5 }, good[] = { 5, 6 };
    for (unsigned i = 0; i <= VV_FAMILY_DISKS_MAX; i++)
        many[i] = i + 1;
    assert_tail_refused(0x8000, many, VV_FAMILY_DISKS_MAX + 1, 8 * (VV_FAMILY_DISKS_MAX + 1));
    assert_tail_refused(0x8000, NULL, 0, 0);
    assert_tail_refused(0x8000, twice, 2, 16);
    assert_tail_refused(0x8000, falling, 2, 16);
    assert_tail_refused(0x8000, good, 2, 15); /* not whole; what is left is no field either */
    assert_tail_refused(0x8000, good, 2, 24); /* longer than there is */
    assert_tail_refused(0x8000, good, 2, 65535);
    assert_tail_refused(0x8001, good, 2, 16); /* of a newer version, and must be known */
    g_autoptr(GByteArray) tail = g_byte_array_new();
    add_field(tail, 1, good, 2, 16); /* may be skipped */
    add_field(tail, 0x8000, many, VV_FAMILY_DISKS_MAX, 8 * VV_FAMILY_DISKS_MAX);
    VvFamily *family = decode_with_tail(tail);
    g_assert_nonnull(family);
    g_assert_cmpuint(family->disks->count, ==, VV_FAMILY_DISKS_MAX);
    family_drop(family);
    add_field(tail, 0x8000, good, 2, 16); /* said twice */
    g_assert_null(decode_with_tail(tail));
}

/* ---- a pool of two disks, "db" on the second, "web" on any */

typedef struct {
    char *directory;
    VvMeta *meta;
    uint64_t disks[2], db, db_family, web, web_family;
} Fixture;

static void add_disk(Fixture *f, VvOps *ops, unsigned number)
{
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    f->disks[number] = op->disk_add.id = vv_meta_new_id(f->meta);
    op->disk_add.name = g_strdup_printf("d%u", number);
    op->disk_add.path = g_strdup_printf("d%u", number);
    op->disk_add.size_bytes = (uint64_t) DISK_MIB << 20;
}

static uint64_t add_lun(Fixture *f, VvOps *ops, const char *name, const uint64_t *disk, uint64_t *ret_family)
{
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    op->lun_create.id = vv_meta_new_id(f->meta);
    op->lun_create.branch = vv_meta_new_id(f->meta);
    op->lun_create.family = *ret_family = vv_meta_new_id(f->meta);
    op->lun_create.name = g_strdup(name);
    op->lun_create.size_bytes = (uint64_t) 4 << 20;
    if (disk)
        op->lun_create.disks = vv_disk_set_new(disk, 1);
    return op->lun_create.id;
}

static VvOps *grant(uint64_t family, uint32_t number, VvCopy copy)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = family;
    op->segment_grant.number = number;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0] = copy;
    return ops;
}

static void open_meta(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
}

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    VvMetaCreate create = { .name = "place", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-place-XXXXXX", NULL);
    vv_uuid_generate(&create.uuid);
    g_assert_true(vv_meta_create(f->directory, &create, NULL));
    open_meta(f);
    VvOps *ops = vv_ops_new();
    add_disk(f, ops, 0);
    add_disk(f, ops, 1);
    f->db = add_lun(f, ops, "db", &f->disks[1], &f->db_family);
    f->web = add_lun(f, ops, "web", NULL, &f->web_family);
    g_assert_cmpint(test_try_ops(f->meta, ops), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    const char *argv[] = { "rm", "-rf", f->directory, NULL };
    if (f->meta)
        vv_meta_close(f->meta);
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(f->directory);
}

static const VvDiskSet *chosen(const Fixture *f) { return vv_meta_family(f->meta, f->db_family)->disks; }

static void test_kept(Fixture *f, gconstpointer checkpoint)
{
    if (checkpoint)
        g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    vv_meta_close(f->meta);
    open_meta(f); /* from the store, or from the journal */
    g_assert_cmpuint(chosen(f)->count, ==, 1);
    g_assert_cmpuint(chosen(f)->ids[0], ==, f->disks[1]);
    g_assert_null(vv_meta_family(f->meta, f->web_family)->disks);
}

static void test_find_run(Fixture *f, gconstpointer data)
{
    (void) data;
    VvCopy copy;
    uint32_t number = 0;
    while (vv_space_find_run(f->meta, VV_SEGMENT_SHIFT_MIN, chosen(f), NULL, &copy)) {
        g_assert_cmpuint(copy.disk_id, ==, f->disks[1]);
        g_assert_cmpint(test_try_ops(f->meta, grant(f->db_family, number++, copy)), ==, 0);
    }
    g_assert_cmpuint(number, ==, vv_meta_disk(f->meta, f->disks[1])->unit_count);
    g_assert_true(vv_space_find_run(f->meta, VV_SEGMENT_SHIFT_MIN, NULL, NULL, &copy)); /* others have space */
    g_assert_cmpuint(copy.disk_id, ==, f->disks[0]);
    g_assert_cmpint(test_try_ops(f->meta, grant(f->web_family, 0, copy)), ==, 0);
}

static void assert_damage(Fixture *f, VvOps *ops)
{
    g_assert_cmpint(test_try_ops(f->meta, ops), ==, -EUCLEAN);
    g_assert_nonnull(vv_meta_failure(f->meta));
}

static void test_grant_elsewhere(Fixture *f, gconstpointer data)
{
    (void) data;
    assert_damage(f, grant(f->db_family, 0, (VvCopy){ .disk_id = f->disks[0] }));
}

static void test_unknown_disk(Fixture *f, gconstpointer data)
{
    (void) data;
    VvOps *ops = vv_ops_new();
    uint64_t nobody = vv_meta_new_id(f->meta), family;
    add_lun(f, ops, "bad", &nobody, &family);
    assert_damage(f, ops);
}

static void test_remove_chosen(Fixture *f, gconstpointer data)
{
    (void) data;
    VvOps *ops = vv_ops_new();
    vv_ops_add(ops, VV_OP_DISK_REMOVE)->disk_remove.id = f->disks[0]; /* nobody chose it */
    g_assert_cmpint(test_try_ops(f->meta, ops), ==, 0);
    ops = vv_ops_new();
    vv_ops_add(ops, VV_OP_DISK_REMOVE)->disk_remove.id = f->disks[1];
    assert_damage(f, ops);
}

static VvOps *adopt(Fixture *f, uint64_t to, uint64_t from)
{
    VvOps *ops = vv_ops_new();
    uint64_t point = vv_meta_new_id(f->meta);
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
    op->snapshot_create.id = point;
    op->snapshot_create.lun = from;
    op = vv_ops_add(ops, VV_OP_ADOPT);
    op->adopt.lun = to;
    op->adopt.snapshot = point;
    op->adopt.branch = vv_meta_new_id(f->meta);
    op->adopt.size_bytes = (uint64_t) 4 << 20;
    return ops;
}

static void test_adopt(Fixture *f, gconstpointer data)
{
    (void) data;
    const VvLun *db = vv_meta_lun(f->meta, f->db), *web = vv_meta_lun(f->meta, f->web);
    g_assert_true(vv_space_may_adopt(f->meta, web, db->branch)); /* a clone lies where its family lies */
    g_assert_false(vv_space_may_adopt(f->meta, db, web->branch));
    g_assert_cmpint(test_try_ops(f->meta, adopt(f, f->web, f->db)), ==, 0);
    g_assert_cmpuint(vv_meta_branch(f->meta, vv_meta_lun(f->meta, f->web)->branch)->family, ==, f->db_family);
    VvOps *ops = vv_ops_new();
    uint64_t family, same = add_lun(f, ops, "same", &f->disks[1], &family), any = add_lun(f, ops, "any", NULL, &family);
    g_assert_cmpint(test_try_ops(f->meta, ops), ==, 0);
    g_assert_cmpint(test_try_ops(f->meta, adopt(f, same, f->db)), ==, 0);
    assert_damage(f, adopt(f, f->db, any));
}

/* ---- behind the metadata's back */

static void put_family(const Fixture *f, const VvFamily *family)
{
    g_autofree char *map = g_build_filename(f->directory, "map", NULL);
    g_autoptr(VvStore) store = vv_store_open(map, false, NULL);
    g_autoptr(GByteArray) value = family_record(family);
    uint8_t key[8];
    VvStoreTxn *txn;
    vv_put_be64(key, family->id);
    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    g_assert_cmpint(vv_store_put(txn, VV_TABLE_FAMILY, key, sizeof key, value->data, value->len), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
}

static void test_load_unknown_disk(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GError) error = NULL;
    uint64_t nobody = vv_meta_new_id(f->meta);
    VvFamily family = { .id = f->db_family, .disks = vv_disk_set_new(&nobody, 1) };
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    g_clear_pointer(&f->meta, vv_meta_close);
    put_family(f, &family);
    g_assert_null(vv_meta_open(f->directory, false, NULL, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    g_assert_nonnull(strstr(error->message, "table family"));
    g_free(family.disks);
}

static void note(void *user, const VvCheckError *error)
{
    char **told = user;
    g_assert_false(error->repaired);
    g_free(*told);
    *told = g_strdup_printf("%s: %s", error->code, error->message);
}

static void test_check(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autofree char *told = NULL;
    VvFamily family = { .id = f->db_family, .next_segment = 1, .disks = vv_disk_set_new(&f->disks[0], 1) };
    g_assert_cmpint(test_try_ops(f->meta, grant(f->db_family, 0, (VvCopy){ .disk_id = f->disks[1] })), ==, 0);
    g_assert_cmpint(vv_meta_check(f->meta, false, note, &told), ==, 0);
    g_assert_null(told);
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    g_clear_pointer(&f->meta, vv_meta_close);
    put_family(f, &family);
    open_meta(f); /* the data is where it is: it is served, and told */
    for (unsigned repair = 0; repair < 2; repair++) {
        g_clear_pointer(&told, g_free);
        g_assert_cmpint(vv_meta_check(f->meta, repair, note, &told), ==, 0);
        g_assert_cmpstr(told, ==, "placement: db: segment 0 is on disk d1, which was not chosen for it");
    }
    g_free(family.disks);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*test)(Fixture *, gconstpointer); gconstpointer data; } tests[] = {
        { "kept-by-journal", test_kept, NULL },
        { "kept-by-checkpoint", test_kept, "" },
        { "find-run", test_find_run, NULL },
        { "grant-elsewhere", test_grant_elsewhere, NULL },
        { "unknown-disk", test_unknown_disk, NULL },
        { "remove-chosen", test_remove_chosen, NULL },
        { "adopt", test_adopt, NULL },
        { "load-unknown-disk", test_load_unknown_disk, NULL },
        { "check", test_check, NULL },
    };
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "meta-place");
    g_test_add_func("/meta/place/record", test_record);
    g_test_add_func("/meta/place/hostile-tails", test_hostile_tails);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/meta/place/%s", tests[i].name);
        g_test_add(path, Fixture, tests[i].data, set_up, tests[i].test, tear_down);
    }
    return g_test_run();
}
