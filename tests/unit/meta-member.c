/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table "member": records by kind and id are kept as they were given, through replay and store; what is lost is told; and a pool that has
 * none is as it was before there were any. */
#include "codec.h"
#include "error.h"
#include "member_table.h"
#include "meta-ops-test.h"
#include "meta_private.h"
#include "util.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

typedef struct {
    char *directory;
    VvMeta *meta;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "tank", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-test-XXXXXX", NULL);
    vv_uuid_generate(&create.uuid);
    vv_meta_create(f->directory, &create, &error);
    g_assert_no_error(error);
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    const char *argv[] = { "rm", "-rf", f->directory, NULL };
    if (f->meta != NULL)
        vv_meta_close(f->meta);
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(f->directory);
}

static void reopen(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    vv_meta_close(f->meta);
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
}

static void set(Fixture *f, uint8_t kind, uint64_t id, const char *body)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);
    op->member_set.kind = kind;
    op->member_set.id = id;
    op->member_set.body_bytes = (uint32_t) strlen(body);
    op->member_set.body = g_memdup2(body, strlen(body));
    test_commit(f->meta, ops);
}

/* "KIND:ID=BODY ..." of all. */
static char *all(const Fixture *f)
{
    GString *text = g_string_new(NULL);
    vv_meta_read_lock(f->meta);
    const GPtrArray *members = vv_meta_members(f->meta);
    for (guint i = 0; i < members->len; i++) {
        const VvMemberRecord *m = g_ptr_array_index(members, i);
        g_string_append_printf(text, "%u:%" G_GUINT64_FORMAT "=%.*s ", m->kind, m->id, (int) m->body_bytes, (const char *) m->body);
        g_assert_true(vv_meta_member(f->meta, m->kind, m->id) == m);
    }
    g_assert_cmpuint(vv_meta_pool(f->meta)->member_count, ==, members->len);
    vv_meta_read_unlock(f->meta);
    return g_string_free(text, FALSE);
}

static void assert_all(const Fixture *f, const char *wanted)
{
    g_autofree char *found = all(f);
    g_assert_cmpstr(found, ==, wanted);
}

static void test_kept(Fixture *f, gconstpointer data)
{
    (void) data;
    assert_all(f, "");
    set(f, 2, 1, "invite");
    set(f, 1, 2, "two");
    set(f, 1, 1, "one");
    assert_all(f, "1:1=one 1:2=two 2:1=invite ");
    reopen(f); /* replayed */
    assert_all(f, "1:1=one 1:2=two 2:1=invite ");
    set(f, 1, 2, "changed");
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    reopen(f); /* stored */
    assert_all(f, "1:1=one 1:2=changed 2:1=invite ");
    set(f, 2, 1, "");
    set(f, 2, 9, ""); /* was not there */
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    assert_all(f, "1:1=one 1:2=changed ");
    reopen(f);
    assert_all(f, "1:1=one 1:2=changed ");
    g_assert_null(vv_meta_member(f->meta, 2, 1));
}

/* Somebody who does not know of members is kept out by a field that he must know, and only as long as there are some. */
static void test_older_are_kept_out(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GByteArray) before = g_byte_array_new(), with = g_byte_array_new(), after = g_byte_array_new();
    vvm_pool_encode(f->meta, before);
    set(f, 1, 1, "one");
    vvm_pool_encode(f->meta, with);
    g_assert_cmpuint(with->len, ==, before->len + 12);
    g_assert_cmpuint(vv_get_u16(with->data + with->len - 12), ==, 0x8000);
    g_assert_cmpuint(vv_get_u64(with->data + with->len - 8), ==, 1);
    set(f, 1, 1, "");
    vvm_pool_encode(f->meta, after);
    g_assert_cmpuint(after->len, ==, before->len);
}

/* A record that is not there any more would let in a node that was evicted, or an invite be used twice. */
static void test_lost_record_is_told(Fixture *f, gconstpointer data)
{
    (void) data;
    static const uint8_t key[9] = { 1, 0, 0, 0, 0, 0, 0, 0, 2 };
    g_autoptr(GError) error = NULL;
    VvStoreTxn *txn;
    set(f, 1, 1, "one");
    set(f, 1, 2, "two");
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    g_assert_cmpint(vv_store_begin(f->meta->store, &txn), ==, 0);
    g_assert_cmpint(vv_store_delete(txn, VV_TABLE_MEMBER, key, sizeof key), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    g_clear_pointer(&f->meta, vv_meta_close);
    g_assert_null(vv_meta_open(f->directory, false, NULL, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    g_assert_nonnull(strstr(error->message, "has 1 records instead of 2"));
    f->meta = NULL;
}

/* The first record makes the table in its transaction; if that comes to nothing so does the table, and the next one makes it. */
static void test_table_is_made_late(Fixture *f, gconstpointer data)
{
    (void) data;
    static const uint8_t key[9] = { 1, 0, 0, 0, 0, 0, 0, 0, 7 };
    const uint8_t *k, *v;
    size_t k_bytes, v_bytes;
    VvStoreTxn *txn;
    VvStoreRead *read;
    g_assert_cmpint(vv_store_begin(f->meta->store, &txn), ==, 0);
    g_assert_cmpint(vv_store_delete(txn, VV_TABLE_MEMBER, key, sizeof key), ==, 0); /* makes nothing */
    g_assert_cmpint(vv_store_put(txn, VV_TABLE_MEMBER, key, sizeof key, "x", 1), ==, 0);
    vv_store_abort(txn);
    g_assert_cmpint(vv_store_read_begin(f->meta->store, &read), ==, 0);
    g_assert_cmpint(vv_store_get(read, VV_TABLE_MEMBER, key, sizeof key, &v, &v_bytes), ==, -ENODATA);
    g_assert_cmpint(vv_store_seek(read, VV_TABLE_MEMBER, VV_SEEK_GE, key, 1, &k, &k_bytes, &v, &v_bytes), ==, -ENODATA);
    g_assert_cmpint(vv_store_next(read, VV_TABLE_MEMBER, &k, &k_bytes, &v, &v_bytes), ==, -ENODATA);
    vv_store_read_end(read);
    set(f, 1, 7, "seven");
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    g_assert_cmpint(vv_store_read_begin(f->meta->store, &read), ==, 0);
    g_assert_cmpint(vv_store_get(read, VV_TABLE_MEMBER, key, sizeof key, &v, &v_bytes), ==, 0);
    vv_store_read_end(read);
    reopen(f);
    assert_all(f, "1:7=seven ");
}

static int decode_one(uint8_t kind, uint32_t body_bytes)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    g_autoptr(GArray) ops = vv_ops_new(), back = NULL;
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);
    op->member_set.kind = kind;
    op->member_set.id = 1;
    op->member_set.body = g_malloc0(body_bytes + 1);
    op->member_set.body_bytes = body_bytes;
    vv_ops_encode(ops, body);
    return vv_ops_decode(body->data, body->len, &back);
}

static void test_limits(void)
{
    g_assert_cmpint(decode_one(1, 0), ==, 0);
    g_assert_cmpint(decode_one(1, VV_MEMBER_BYTES_MAX), ==, 0);
    g_assert_cmpint(decode_one(1, VV_MEMBER_BYTES_MAX + 1), ==, -EUCLEAN);
    g_assert_cmpint(decode_one(0, 1), ==, -EUCLEAN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/member/kept", Fixture, NULL, set_up, test_kept, tear_down);
    g_test_add("/member/older-are-kept-out", Fixture, NULL, set_up, test_older_are_kept_out, tear_down);
    g_test_add("/member/lost-record", Fixture, NULL, set_up, test_lost_record_is_told, tear_down);
    g_test_add("/member/table-made-late", Fixture, NULL, set_up, test_table_is_made_late, tear_down);
    g_test_add_func("/member/limits", test_limits);
    return g_test_run();
}
