/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "codec.h"
#include "error.h"
#include "limits.h"
#include "meta-store.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct {
    char *path;
    VvStore *store;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    f->path = test_store_new();
    f->store = test_store_open(f->path);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    test_store_free(f->store, f->path);
}

static void reopen(Fixture *f)
{
    vv_store_close(f->store);
    f->store = test_store_open(f->path);
}

static void put(VvStoreTxn *txn, VvTable table, uint64_t key, const void *value, size_t value_bytes)
{
    uint8_t k[8];

    vv_put_be64(k, key);
    g_assert_cmpint(vv_store_put(txn, table, k, sizeof k, value, value_bytes), ==, 0);
}

static void put_one(Fixture *f, VvTable table, uint64_t key, const char *text)
{
    VvStoreTxn *txn = NULL;

    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    put(txn, table, key, text, strlen(text));
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
}

/* NULL if absent. */
static char *get_text(VvStoreRead *read, VvTable table, uint64_t key)
{
    const uint8_t *value = NULL;
    size_t value_bytes = 0;
    uint8_t k[8];
    int err;

    vv_put_be64(k, key);
    err = vv_store_get(read, table, k, sizeof k, &value, &value_bytes);
    if (err == -ENODATA)
        return NULL;
    g_assert_cmpint(err, ==, 0);
    return g_strndup((const char *) value, value_bytes);
}

static void assert_text(VvStoreRead *read, VvTable table, uint64_t key, const char *expected)
{
    g_autofree char *text = get_text(read, table, key);

    g_assert_cmpstr(text, ==, expected);
}

static VvStoreRead *begin_read(Fixture *f)
{
    VvStoreRead *read = NULL;

    g_assert_cmpint(vv_store_read_begin(f->store, &read), ==, 0);
    return read;
}

/* ---- tables, transactions, views */

static void test_round_trip(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;
    VvStoreRead *read;

    (void) data;
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (unsigned table = 0; table < VV_N_TABLES; table++) {
        put(txn, (VvTable) table, 7, vv_table_name((VvTable) table), strlen(vv_table_name((VvTable) table)));
        put(txn, (VvTable) table, 8, "", 0);
    }
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    reopen(f);
    read = begin_read(f);
    for (unsigned table = 0; table < VV_N_TABLES; table++) {
        assert_text(read, (VvTable) table, 7, vv_table_name((VvTable) table));
        assert_text(read, (VvTable) table, 8, "");
        assert_text(read, (VvTable) table, 9, NULL);
    }
    vv_store_read_end(read);
}

static void test_delete(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;
    VvStoreRead *read;
    uint8_t key[8];

    (void) data;
    put_one(f, VV_TABLE_LUN, 1, "one");
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    vv_put_be64(key, 1);
    g_assert_cmpint(vv_store_delete(txn, VV_TABLE_LUN, key, sizeof key), ==, 0);
    g_assert_cmpint(vv_store_delete(txn, VV_TABLE_LUN, key, sizeof key), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    read = begin_read(f);
    assert_text(read, VV_TABLE_LUN, 1, NULL);
    vv_store_read_end(read);
}

static void test_abort(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;
    VvStoreRead *read;

    (void) data;
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    put(txn, VV_TABLE_LUN, 1, "x", 1);
    vv_store_abort(txn);
    read = begin_read(f);
    assert_text(read, VV_TABLE_LUN, 1, NULL);
    vv_store_read_end(read);
}

/* S5: after a put that failed the commit fails too and changes nothing. */
static void test_failed_put(Fixture *f, gconstpointer data)
{
    static const uint8_t long_key[600];
    VvStoreTxn *txn = NULL;
    VvStoreRead *read;

    (void) data;
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    put(txn, VV_TABLE_LUN, 1, "x", 1);
    g_assert_cmpint(vv_store_put(txn, VV_TABLE_LUN, long_key, sizeof long_key, "", 0), ==, -EIO);
    g_assert_cmpint(vv_store_commit(txn), ==, -EIO);
    read = begin_read(f);
    assert_text(read, VV_TABLE_LUN, 1, NULL);
    vv_store_read_end(read);
    put_one(f, VV_TABLE_LUN, 1, "later");
}

static void test_views(Fixture *f, gconstpointer data)
{
    VvStoreRead *before, *after;

    (void) data;
    put_one(f, VV_TABLE_LUN, 1, "old");
    before = begin_read(f);
    put_one(f, VV_TABLE_LUN, 1, "new");
    after = begin_read(f);
    assert_text(before, VV_TABLE_LUN, 1, "old");
    assert_text(after, VV_TABLE_LUN, 1, "new");
    vv_store_read_end(before);
    before = begin_read(f); /* the pooled one, with a new view */
    assert_text(before, VV_TABLE_LUN, 1, "new");
    vv_store_read_end(before);
    vv_store_read_end(after);
}

/* A pooled cursor belongs to the view of the read that uses it, and starts nowhere. */
static void test_pooled_cursor(Fixture *f, gconstpointer data)
{
    const uint8_t *key = NULL, *value = NULL;
    size_t key_bytes = 0, value_bytes = 0;
    uint8_t zero[8] = { 0 };
    VvStoreRead *read, *first;

    (void) data;
    put_one(f, VV_TABLE_LUN, 1, "a");
    put_one(f, VV_TABLE_LUN, 2, "b");
    first = begin_read(f);
    g_assert_cmpint(
        vv_store_seek(first, VV_TABLE_LUN, VV_SEEK_GE, zero, 8, &key, &key_bytes, &value, &value_bytes), ==, 0);
    vv_store_read_end(first);
    put_one(f, VV_TABLE_LUN, 1, "changed");
    read = begin_read(f);
    g_assert_true(read == first);
    g_assert_cmpint(vv_store_next(read, VV_TABLE_LUN, &key, &key_bytes, &value, &value_bytes), ==, -ENODATA);
    g_assert_cmpint(
        vv_store_seek(read, VV_TABLE_LUN, VV_SEEK_GE, zero, 8, &key, &key_bytes, &value, &value_bytes), ==, 0);
    g_assert_cmpuint(value_bytes, ==, 7);
    g_assert_cmpint(memcmp(value, "changed", 7), ==, 0);
    vv_store_read_end(read);
}

/* ---- order */

static uint64_t seek(VvStoreRead *read, VvSeek how, uint64_t at)
{
    const uint8_t *key = NULL, *value = NULL;
    size_t key_bytes = 0, value_bytes = 0;
    uint8_t k[8];
    int err;

    vv_put_be64(k, at);
    err = vv_store_seek(read, VV_TABLE_PAGE, how, k, sizeof k, &key, &key_bytes, &value, &value_bytes);
    if (err == -ENODATA)
        return UINT64_MAX;
    g_assert_cmpint(err, ==, 0);
    g_assert_cmpuint(key_bytes, ==, 8);
    return vv_get_be64(key);
}

static uint64_t next(VvStoreRead *read)
{
    const uint8_t *key = NULL, *value = NULL;
    size_t key_bytes = 0, value_bytes = 0;
    int err = vv_store_next(read, VV_TABLE_PAGE, &key, &key_bytes, &value, &value_bytes);

    if (err == -ENODATA)
        return UINT64_MAX;
    g_assert_cmpint(err, ==, 0);
    return vv_get_be64(key);
}

static void test_seek(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;
    VvStoreRead *read;

    (void) data;
    read = begin_read(f);
    g_assert_cmpuint(seek(read, VV_SEEK_GE, 0), ==, UINT64_MAX);
    g_assert_cmpuint(seek(read, VV_SEEK_LE, UINT64_MAX), ==, UINT64_MAX);
    vv_store_read_end(read);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (uint64_t i = 1; i <= 1000; i++) /* 10, 20, ... 10000: over the byte borders, on several leaves */
        put(txn, VV_TABLE_PAGE, i * 10, &i, sizeof i);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    read = begin_read(f);
    for (uint64_t at = 0; at <= 10010; at++) {
        uint64_t ge = at == 0 ? 10 : (at + 9) / 10 * 10, le = at / 10 * 10;

        g_assert_cmpuint(seek(read, VV_SEEK_GE, at), ==, ge > 10000 ? UINT64_MAX : ge);
        g_assert_cmpuint(seek(read, VV_SEEK_LE, at), ==, le == 0 ? UINT64_MAX : MIN(le, 10000));
    }
    g_assert_cmpuint(seek(read, VV_SEEK_LE, 5009), ==, 5000);
    for (uint64_t i = 5010; i <= 10000; i += 10)
        g_assert_cmpuint(next(read), ==, i);
    g_assert_cmpuint(next(read), ==, UINT64_MAX);
    g_assert_cmpuint(next(read), ==, UINT64_MAX);
    g_assert_cmpuint(seek(read, VV_SEEK_GE, 10001), ==, UINT64_MAX);
    g_assert_cmpuint(next(read), ==, UINT64_MAX); /* a seek that missed leaves no place to go on from */
    vv_store_read_end(read);
}

/* Gets and another table's seeks leave a table's place alone. */
static void test_seek_place(Fixture *f, gconstpointer data)
{
    const uint8_t *key = NULL, *value = NULL;
    size_t key_bytes = 0, value_bytes = 0;
    uint8_t zero[8] = { 0 };
    VvStoreRead *read;

    (void) data;
    for (uint64_t i = 1; i <= 3; i++)
        put_one(f, VV_TABLE_PAGE, i, "p");
    put_one(f, VV_TABLE_LUN, 9, "l");
    read = begin_read(f);
    g_assert_cmpuint(seek(read, VV_SEEK_GE, 1), ==, 1);
    assert_text(read, VV_TABLE_PAGE, 3, "p");
    g_assert_cmpint(
        vv_store_seek(read, VV_TABLE_LUN, VV_SEEK_GE, zero, 8, &key, &key_bytes, &value, &value_bytes), ==, 0);
    g_assert_cmpuint(next(read), ==, 2);
    vv_store_read_end(read);
}

/* ---- sizes */

/* Bytes in use for each of 10,000 values of @value_bytes under 24-byte keys that come in scattered order. */
static uint64_t bytes_per_value(Fixture *f, size_t value_bytes)
{
    g_autofree uint8_t *value = g_malloc0(value_bytes);
    uint64_t file_bytes[2] = { 0 }, free_bytes[2] = { 0 };
    const uint64_t count = 10000;
    VvStoreTxn *txn = NULL;
    uint8_t key[24] = { 0 };

    g_assert_cmpint(vv_store_usage(f->store, &file_bytes[0], &free_bytes[0]), ==, 0);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (uint64_t i = 0; i < count; i++) {
        vv_put_be64(key + 8, i * 7919 % count);
        g_assert_cmpint(vv_store_put(txn, VV_TABLE_PAGE, key, sizeof key, value, value_bytes), ==, 0);
    }
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    g_assert_cmpint(vv_store_usage(f->store, &file_bytes[1], &free_bytes[1]), ==, 0);
    return (file_bytes[1] - free_bytes[1] - file_bytes[0] + free_bytes[0]) / count;
}

static void test_page_value(Fixture *f, gconstpointer data)
{
    uint64_t bytes;

    (void) data;
    bytes = bytes_per_value(f, VV_PAGE_VALUE_BYTES_MAX);
    g_test_message("%u bytes: %" G_GUINT64_FORMAT " each", VV_PAGE_VALUE_BYTES_MAX, bytes);
    g_assert_cmpuint(bytes, <, 3400); /* less than a page of its own each */
}

static void test_page_value_above(Fixture *f, gconstpointer data)
{
    uint64_t bytes;

    (void) data;
    if (sysconf(_SC_PAGESIZE) != 4096) {
        g_test_skip("pages are not 4 KiB here");
        return;
    }
    bytes = bytes_per_value(f, VV_PAGE_VALUE_BYTES_MAX + 1);
    g_test_message("%u bytes: %" G_GUINT64_FORMAT " each", VV_PAGE_VALUE_BYTES_MAX + 1, bytes);
    g_assert_cmpuint(bytes, >, 4096);
}

static void test_usage(Fixture *f, gconstpointer data)
{
    uint64_t file_bytes = 0, free_bytes = 0, full_bytes = 0;
    uint8_t value[1000] = { 0 }, key[8];
    VvStoreTxn *txn = NULL;

    (void) data;
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (uint64_t i = 0; i < 1000; i++)
        put(txn, VV_TABLE_SUM, i, value, sizeof value);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    g_assert_cmpint(vv_store_usage(f->store, &full_bytes, &free_bytes), ==, 0);
    g_assert_cmpuint(full_bytes - free_bytes, >, 1000 * 1000);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        vv_put_be64(key, i);
        g_assert_cmpint(vv_store_delete(txn, VV_TABLE_SUM, key, sizeof key), ==, 0);
    }
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    g_assert_cmpint(vv_store_usage(f->store, &file_bytes, &free_bytes), ==, 0);
    g_assert_cmpuint(file_bytes - free_bytes, <, 200000);
}

/* ---- other processes and threads */

static void test_beside_writer(Fixture *f, gconstpointer data)
{
    VvStoreRead *read;
    int status = 0;
    pid_t child;

    (void) data;
    put_one(f, VV_TABLE_LUN, 1, "one");
    read = begin_read(f); /* the writer process is alive and reading */
    child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        /* LMDB environments do not survive fork: the child forgets the parent's and opens its own. */
        VvStore *other = vv_store_open(f->path, true, NULL);
        VvStoreRead *view = NULL;
        g_autofree char *text = NULL;

        if (other == NULL || vv_store_read_begin(other, &view) != 0)
            _exit(1);
        text = get_text(view, VV_TABLE_LUN, 1);
        _exit(g_strcmp0(text, "one") == 0 ? 0 : 2); /* dies with its view open */
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    vv_store_read_end(read);

    /* The dead reader must not keep old pages: the file stops growing. */
    for (unsigned i = 0; i < 50; i++)
        put_one(f, VV_TABLE_LUN, 1, "two");
    {
        uint64_t before = 0, after = 0, free_bytes = 0;

        g_assert_cmpint(vv_store_usage(f->store, &before, &free_bytes), ==, 0);
        for (unsigned i = 0; i < 200; i++)
            put_one(f, VV_TABLE_LUN, 1, "three");
        g_assert_cmpint(vv_store_usage(f->store, &after, &free_bytes), ==, 0);
        g_assert_cmpuint(after, ==, before);
    }
}

static void *read_a_lot(void *user)
{
    Fixture *f = user;

    for (unsigned i = 0; i < 300; i++) {
        VvStoreRead *read = begin_read(f);
        g_autofree char *a = get_text(read, VV_TABLE_LUN, 1);
        g_autofree char *b = get_text(read, VV_TABLE_BRANCH, 1);

        g_assert_cmpstr(a, ==, b);
        vv_store_read_end(read);
    }
    return NULL;
}

static void test_threads(Fixture *f, gconstpointer data)
{
    pthread_t threads[4];

    (void) data;
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        g_assert_cmpint(pthread_create(&threads[i], NULL, read_a_lot, f), ==, 0);
    for (unsigned i = 0; i < 50; i++) {
        VvStoreTxn *txn = NULL;

        g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
        put(txn, VV_TABLE_LUN, 1, &i, sizeof i);
        put(txn, VV_TABLE_BRANCH, 1, &i, sizeof i);
        g_assert_cmpint(vv_store_commit(txn), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        g_assert_cmpint(pthread_join(threads[i], NULL), ==, 0);
}

static void test_many_readers(Fixture *f, gconstpointer data)
{
    VvStoreRead *reads[512], *more = NULL;

    (void) data;
    for (unsigned i = 0; i < G_N_ELEMENTS(reads); i++)
        reads[i] = begin_read(f);
    g_assert_cmpint(vv_store_read_begin(f->store, &more), ==, -ENOMEM);
    vv_store_read_end(reads[0]);
    reads[0] = begin_read(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(reads); i++)
        vv_store_read_end(reads[i]);
}

/* ---- what is not a store */

static void expect_refused(Fixture *f, VvErrorCode code)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vv_store_open(f->path, false, &error));
    g_assert_error(error, VV_ERROR, (int) code);
    g_test_message("%s", error->message);
    g_clear_error(&error);
    g_assert_null(vv_store_open(f->path, true, &error));
    g_assert_error(error, VV_ERROR, (int) code);
}

static void test_bad_files(Fixture *f, gconstpointer data)
{
    g_autofree char *name = g_build_filename(f->path, "data.mdb", NULL);
    g_autofree char *garbage = g_malloc(8192);
    g_autoptr(GError) error = NULL;

    (void) data;
    memset(garbage, 0xa5, 8192);
    g_assert_false(vv_store_create(f->path, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_EXISTS);
    g_clear_pointer(&f->store, vv_store_close);
    g_assert_cmpint(truncate(name, 5000), ==, 0);
    expect_refused(f, VV_ERROR_DAMAGED);
    g_assert_cmpint(truncate(name, 0), ==, 0);
    expect_refused(f, VV_ERROR_DAMAGED);
    g_assert_true(g_file_set_contents(name, garbage, 8192, NULL));
    expect_refused(f, VV_ERROR_DAMAGED);
    g_assert_cmpint(g_unlink(name), ==, 0);
    expect_refused(f, VV_ERROR_NOT_FOUND);
}

/* Walk all of VV_TABLE_PAGE; the number of records, or what went wrong. */
static int walk(VvStoreRead *read)
{
    const uint8_t *key = NULL, *value = NULL;
    size_t key_bytes = 0, value_bytes = 0;
    uint8_t zero[8] = { 0 };
    int count = 0,
        err = vv_store_seek(read, VV_TABLE_PAGE, VV_SEEK_GE, zero, 8, &key, &key_bytes, &value, &value_bytes);

    while (err == 0) {
        count++;
        err = vv_store_next(read, VV_TABLE_PAGE, &key, &key_bytes, &value, &value_bytes);
    }
    return err == -ENODATA ? count : err;
}

/* S4, S7: each page of the file lost in turn, or the file cut there: refused, or it was not in use; never a signal. */
static void test_lost_pages(Fixture *f, gconstpointer data)
{
    g_autofree char *name = g_build_filename(f->path, "data.mdb", NULL);
    g_autofree char *contents = NULL;
    unsigned count_bad[2] = { 0 };
    size_t bytes = 0;

    (void) data;
    for (uint64_t i = 0; i < 100; i++) {
        VvStoreTxn *txn = NULL;

        g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
        for (uint64_t j = 0; j < 10; j++)
            put(txn, VV_TABLE_PAGE, i * 10 + j, "some text that fills the pages of the file a little", 51);
        g_assert_cmpint(vv_store_commit(txn), ==, 0);
    }
    g_clear_pointer(&f->store, vv_store_close);
    g_assert_true(g_file_get_contents(name, &contents, &bytes, NULL));
    for (size_t at = 8192; at < bytes; at += 4096) {
        for (unsigned cut = 0; cut < 2; cut++) {
            g_autofree char *bad = g_memdup2(contents, bytes);
            g_autoptr(GError) error = NULL;
            g_autoptr(VvStore) store = NULL;
            VvStoreRead *read = NULL;
            int found;

            memset(bad + at, 0, 4096);
            g_assert_true(g_file_set_contents(name, bad, (gssize) (cut ? at : bytes), NULL));
            store = vv_store_open(f->path, cut != 0, &error);
            if (store == NULL) {
                g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
                count_bad[cut]++;
                continue;
            }
            g_assert_cmpint(vv_store_read_begin(store, &read), ==, 0);
            found = walk(read);
            g_assert_cmpint(found, ==, 1000);
            vv_store_read_end(read);
        }
    }
    g_assert_cmpuint(count_bad[0], >, 5);
    g_assert_cmpuint(count_bad[1], >, 5);
}

/* Cut off the zeroes at the end of the data file, where LMDB took pages and gave them back: what a power failure leaves
 * between a commit and the lengthening. False if there are none. */
static bool cut_zeroes(Fixture *f)
{
    g_autofree char *name = g_build_filename(f->path, "data.mdb", NULL);
    g_autofree char *contents = NULL;
    size_t bytes = 0, used_bytes;

    g_assert_true(g_file_get_contents(name, &contents, &bytes, NULL));
    for (used_bytes = bytes; contents[used_bytes - 1] == 0 && used_bytes > bytes - 4096;)
        used_bytes--;
    if (used_bytes > bytes - 4096)
        return false;
    g_assert_cmpint(truncate(name, (off_t) used_bytes), ==, 0);
    return true;
}

/* S4: a file that LMDB left short is not damage. */
static void test_short_file(Fixture *f, gconstpointer data)
{
    static uint8_t value[9000];
    uint8_t key[8];
    GRand *rand = g_rand_new_with_seed(1);
    unsigned count_short = 0;

    (void) data;
    for (unsigned i = 0; i < 300; i++) {
        VvStoreTxn *txn = NULL;
        VvStoreRead *read;

        g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
        put(txn, VV_TABLE_LUN, 1, "x", 1);
        for (uint64_t j = 0; j < 200; j++) /* some on overflow pages */
            put(txn, VV_TABLE_PAGE, i * 7919 % 500 + j, value, (size_t) g_rand_int_range(rand, 0, sizeof value));
        for (uint64_t j = 0; j < 700; j++) {
            vv_put_be64(key, j);
            if (j % 10 != 0 && g_rand_boolean(rand))
                g_assert_cmpint(vv_store_delete(txn, VV_TABLE_PAGE, key, sizeof key), ==, 0);
        }
        g_assert_cmpint(vv_store_commit(txn), ==, 0);
        g_clear_pointer(&f->store, vv_store_close);
        count_short += cut_zeroes(f);
        reopen(f);
        read = begin_read(f);
        g_assert_cmpint(walk(read), >, 0);
        vv_store_read_end(read);
    }
    g_test_message("%u of 300 were short", count_short);
    g_assert_cmpuint(count_short, >, 0);
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/meta/store/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("round-trip", test_round_trip);
    ADD("delete", test_delete);
    ADD("abort", test_abort);
    ADD("failed-put", test_failed_put);
    ADD("views", test_views);
    ADD("pooled-cursor", test_pooled_cursor);
    ADD("seek", test_seek);
    ADD("seek-place", test_seek_place);
    ADD("page-value", test_page_value);
    ADD("page-value-above", test_page_value_above);
    ADD("usage", test_usage);
    ADD("beside-writer", test_beside_writer);
    ADD("threads", test_threads);
    ADD("many-readers", test_many_readers);
    ADD("bad-files", test_bad_files);
    ADD("lost-pages", test_lost_pages);
    ADD("short-file", test_short_file);
    return g_test_run();
}
