/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store's checksums (store_sums.c): what a random load leaves is all vouched for and nothing else is; a commit that was not
 * certified never was; a byte changed anywhere in data.mdb or sums is mended, refused, or of no use to anybody. All of it also as in a large
 * map, whose leaves are compared when they are read, or in the background ("late"). */
#include "codec.h"
#include "error.h"
#include "meta-store.h"
#include "share.h"
#include "store_sums.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdatomic.h>
#include <string.h>

#define KEYS 600u

typedef struct {
    char *path;
    VvStore *store;
    GRand *rand;
    bool late;
    uint32_t values[KEYS]; /* what must be there: a seed of the value; 0: none */
} Fixture;

static void reopen(Fixture *f)
{
    g_clear_pointer(&f->store, vv_store_close);
    f->store = test_store_open(f->path);
}

static void set_up(Fixture *f, gconstpointer data)
{
    const char *seed = g_getenv("VV_MODEL_SEED");
    uint32_t number = seed != NULL ? (uint32_t) strtoul(seed, NULL, 10) : g_random_int();

    f->late = data != NULL;
    vv_sums_at_once_bytes = f->late ? 0 : UINT64_MAX;
    g_test_message("VV_MODEL_SEED=%u", number);
    f->rand = g_rand_new_with_seed(number);
    f->path = test_store_new();
    reopen(f);
}

static char *in_path(Fixture *f, const char *name) { return g_build_filename(f->path, name, NULL); }

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    test_store_free(f->store, f->path);
    g_rand_free(f->rand);
}

/* Lengths from nothing to three pages; late: to what leaves hold. */
static size_t make_value(const Fixture *f, uint32_t seed, uint8_t value[9000])
{
    size_t length_bytes = seed % 7 == 0 ? seed % (f->late ? 2000 : 9000) : seed % 300;

    for (size_t i = 0; i < length_bytes; i++)
        value[i] = (uint8_t) (seed >> i % 4 * 8);
    return length_bytes;
}

static int change_some(Fixture *f, unsigned count)
{
    static uint8_t value[9000];
    VvStoreTxn *txn = NULL;
    uint8_t key[8];

    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (unsigned i = 0; i < count; i++) {
        unsigned k = (unsigned) g_rand_int_range(f->rand, 0, KEYS);

        vv_put_be64(key, k);
        f->values[k] = g_rand_int_range(f->rand, 0, 3) == 0 ? 0 : g_rand_int(f->rand) | 1;
        if (f->values[k] == 0)
            g_assert_cmpint(vv_store_delete(txn, VV_TABLE_PAGE, key, sizeof key), ==, 0);
        else
            g_assert_cmpint(
                vv_store_put(txn, VV_TABLE_PAGE, key, sizeof key, value, make_value(f, f->values[k], value)), ==, 0);
    }
    return vv_store_commit(txn);
}

/* False: something else is there. *ret_refused: for so many the map says that it is damaged. */
static bool look(Fixture *f, unsigned *ret_refused)
{
    static uint8_t expected[9000];
    VvStoreRead *read = NULL;
    bool right = true;

    g_assert_cmpint(vv_store_read_begin(f->store, &read), ==, 0);
    for (unsigned k = 0; k < KEYS; k++) {
        const uint8_t *value = NULL;
        size_t value_bytes = 0;
        uint8_t key[8];
        int err;

        vv_put_be64(key, k);
        err = vv_store_get(read, VV_TABLE_PAGE, key, sizeof key, &value, &value_bytes);
        if (err == -EUCLEAN)
            ++*ret_refused;
        else if (f->values[k] == 0)
            right = right && err == -ENODATA;
        else
            right = right && err == 0 && value_bytes == make_value(f, f->values[k], expected) &&
                    memcmp(value, expected, value_bytes) == 0;
    }
    vv_store_read_end(read);
    return right;
}

static bool is_as_expected(Fixture *f)
{
    unsigned count_refused = 0;

    return look(f, &count_refused) && count_refused == 0;
}

/* As they would be if they were lost. */
static void rebuild_sums(Fixture *f)
{
    g_autofree char *path = in_path(f, "sums");
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&f->store, vv_store_close);
    g_assert_cmpint(g_unlink(path), ==, 0);
    vv_store_rebuild(f->path, &error);
    g_assert_no_error(error);
    g_assert_true(vv_store_end_trial(f->path, true, NULL));
}

/* Every page of each state is vouched for, and those that went are forgotten. */
static void test_load(Fixture *f, gconstpointer data)
{
    uint64_t in_memory, on_disk, usec;

    (void) data;
    for (unsigned round = 0; round < TEST_SHARE_OF(120u); round++) {
        g_assert_cmpint(change_some(f, 1 + (unsigned) g_rand_int_range(f->rand, 0, round % 10 == 0 ? 400 : 20)), ==, 0);
        if (round % 3 == 0)
            continue;
        vv_store_checked(f->store, &in_memory, &usec);
        if (round % 10 == 7)
            rebuild_sums(f);
        reopen(f);
        vv_store_checked(f->store, &on_disk, &usec);
        g_assert_cmpuint(in_memory, ==, on_disk);
        g_assert_true(is_as_expected(f));
    }
}

static void copy_file(Fixture *f, const char *name, char **contents, gsize *bytes)
{
    g_autofree char *path = in_path(f, name);

    g_assert_true(g_file_get_contents(path, contents, bytes, NULL));
}

static void write_file(Fixture *f, const char *name, const char *contents, gsize bytes)
{
    g_autofree char *path = in_path(f, name);
    vv_autofd int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    g_assert_cmpint(vv_pwrite_full(fd, contents, bytes, 0), ==, 0);
}

/* A power cut between LMDB's commit and ours, with none, all or some of the sums of the new pages written. */
static void test_uncertified(Fixture *f, gconstpointer data)
{
    (void) data;
    for (unsigned round = 0; round < TEST_SHARE_OF(60u); round++) {
        g_autofree char *before = NULL, *after = NULL;
        gsize before_bytes, after_bytes;
        uint32_t values[KEYS];

        g_assert_cmpint(change_some(f, 30), ==, 0);
        copy_file(f, "sums", &before, &before_bytes);
        memcpy(values, f->values, sizeof values);
        g_assert_cmpint(change_some(f, 1 + (unsigned) g_rand_int_range(f->rand, 0, 100)), ==, 0);
        g_clear_pointer(&f->store, vv_store_close);
        copy_file(f, "sums", &after, &after_bytes);
        for (gsize at = 4096; at + 512 <= after_bytes; at += 512)
            if (g_rand_boolean(f->rand)) {
                if (at + 512 > before_bytes) {
                    before = g_realloc(before, at + 512);
                    memset(before + before_bytes, 0, at + 512 - before_bytes);
                    before_bytes = at + 512;
                }
                memcpy(before + at, after + at, 512);
            }
        write_file(f, "sums", before, before_bytes);
        memcpy(f->values, values, sizeof values);
        reopen(f);
        g_assert_true(is_as_expected(f));
    }
}

static void note_trouble(void *user, const char *why)
{
    g_assert_nonnull(strstr(why, "data.mdb is damaged at offset"));
    atomic_fetch_add((_Atomic unsigned *) user, 1);
}

/* What is read is right or refused, nothing is written, and the next start, which compares everything, finds the damage too. */
static void see_damage(Fixture *f)
{
    VvStoreTxn *txn = NULL;
    g_autofree char *why = NULL;
    bool watched = g_rand_boolean(f->rand); /* found by the reads alone, or also in the background */
    _Atomic unsigned count_told = 0;
    unsigned count_refused = 0;
    uint64_t limit_ms = vv_monotonic_ms() + 20000;

    g_assert_true(!watched || vv_store_watch(f->store, note_trouble, &count_told, NULL));
    g_assert_true(look(f, &count_refused));
    g_assert_cmpuint(count_refused, <, KEYS);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, -EUCLEAN);
    why = vv_store_trouble(f->store);
    g_assert_nonnull(strstr(why, "data.mdb is damaged at offset"));
    while (watched && count_told == 0 && vv_monotonic_ms() < limit_ms)
        g_usleep(1000);
    vv_store_unwatch(f->store);
    g_assert_cmpuint(count_told, ==, watched);
    g_clear_pointer(&f->store, vv_store_close);
    vv_sums_at_once_bytes = UINT64_MAX;
    g_assert_null(vv_store_open(f->path, false, NULL));
    vv_sums_at_once_bytes = 0;
}

/* Change a byte and open: refused as damage, or everything is there, also after a change and another start. */
static bool try_flip(Fixture *f, const char *name, gsize at, uint8_t mask)
{
    g_autofree char *path = in_path(f, name);
    g_autoptr(GError) error = NULL;
    vv_autofd int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte = 0;

    g_assert_cmpint(vv_pread_full(fd, &byte, 1, at), ==, 0);
    byte ^= mask;
    g_assert_cmpint(vv_pwrite_full(fd, &byte, 1, at), ==, 0);
    f->store = vv_store_open(f->path, false, &error);
    if (f->store == NULL) {
        if (!g_error_matches(error, VV_ERROR, VV_ERROR_UNSUPPORTED))
            g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
        return false;
    }
    if (vv_store_check(f->store) != 0) {
        g_clear_pointer(&f->store, vv_store_close);
        f->store = vv_store_open(f->path, false, NULL);
        see_damage(f);
        return false;
    }
    g_assert_true(is_as_expected(f));
    g_assert_cmpint(change_some(f, 5), ==, 0);
    reopen(f);
    g_assert_true(is_as_expected(f));
    g_clear_pointer(&f->store, vv_store_close);
    return true;
}

static void flip_all(Fixture *f, const char *name, gsize step)
{
    g_autofree char *data = NULL, *sums = NULL;
    gsize data_bytes, sums_bytes, end;
    unsigned count_refused = 0, count = 0;
    uint32_t values[KEYS];

    g_assert_cmpint(change_some(f, 200), ==, 0);
    g_assert_cmpint(change_some(f, 20), ==, 0);
    g_clear_pointer(&f->store, vv_store_close);
    copy_file(f, "data.mdb", &data, &data_bytes);
    copy_file(f, "sums", &sums, &sums_bytes);
    memcpy(values, f->values, sizeof values);
    end = strcmp(name, "sums") == 0 ? sums_bytes : data_bytes;
    for (gsize at = 0; at < end; at += 1 + (gsize) g_rand_int_range(f->rand, 0, (gint32) step)) {
        count_refused += !try_flip(f, name, at, (uint8_t) (1u << g_rand_int_range(f->rand, 0, 8)));
        count++;
        memcpy(f->values, values, sizeof values);
        write_file(f, "data.mdb", data, data_bytes);
        write_file(f, "sums", sums, sums_bytes);
    }
    g_test_message("%s: %u of %u refused", name, count_refused, count);
    g_assert_cmpuint(count_refused, >, 0);
    reopen(f);
}

static void test_flip_data(Fixture *f, gconstpointer data)
{
    (void) data;
    flip_all(f, "data.mdb", 500 * TEST_SHARE);
}

static void test_flip_sums(Fixture *f, gconstpointer data)
{
    (void) data;
    flip_all(f, "sums", 20 * TEST_SHARE);
}

/* The headers, each byte: always mended. */
static void test_headers(Fixture *f, gconstpointer data)
{
    (void) data;
    g_assert_cmpint(change_some(f, 50), ==, 0);
    g_clear_pointer(&f->store, vv_store_close);
    for (gsize slot = 0; slot < 2; slot++)
        for (gsize at = 0; at < 152; at += 2 * TEST_SHARE - 1)
            g_assert_true(try_flip(f, "data.mdb", slot * 4096 + at, 0xff));
    reopen(f);
}

/* Both copies of a root: it may have been the newer. */
static void test_roots(Fixture *f, gconstpointer data)
{
    (void) data;
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *sums = NULL;
        g_autoptr(GError) error = NULL;
        gsize bytes;

        g_assert_cmpint(change_some(f, 5), ==, 0);
        g_assert_cmpint(change_some(f, 5), ==, 0);
        g_clear_pointer(&f->store, vv_store_close);
        copy_file(f, "sums", &sums, &bytes);
        sums[i * 1024 + 100] ^= 1;
        sums[i * 1024 + 612] ^= 1;
        write_file(f, "sums", sums, bytes);
        g_assert_null(vv_store_open(f->path, false, &error));
        g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
        sums[i * 1024 + 100] ^= 1;
        write_file(f, "sums", sums, bytes);
        reopen(f);
        g_assert_true(is_as_expected(f));
    }
}

/* The sums of another moment, or none. */
static void test_others(Fixture *f, gconstpointer data)
{
    g_autofree char *old = NULL, *now = NULL, *path = in_path(f, "sums");
    g_autoptr(GError) error = NULL;
    gsize old_bytes, now_bytes;

    (void) data;
    g_assert_cmpint(change_some(f, 300), ==, 0);
    copy_file(f, "sums", &old, &old_bytes);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpint(change_some(f, 300), ==, 0);
    g_clear_pointer(&f->store, vv_store_close);
    copy_file(f, "sums", &now, &now_bytes);
    write_file(f, "sums", old, old_bytes);
    f->store = vv_store_open(f->path, false, &error);
    if (f->store != NULL && f->late) {
        see_damage(f);
    } else {
        g_assert_null(f->store);
        g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
        g_clear_error(&error);
    }
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_null(vv_store_open(f->path, false, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_NOT_FOUND);
    g_assert_true(g_file_set_contents(path, now, (gssize) now_bytes, NULL));
    reopen(f);
    g_assert_true(is_as_expected(f));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const struct {
        const char *name;
        void (*run)(Fixture *f, gconstpointer data);
    } tests[] = { { "load", test_load }, { "uncertified", test_uncertified }, { "flip-data", test_flip_data },
        { "flip-sums", test_flip_sums }, { "headers", test_headers }, { "roots", test_roots }, { "others", test_others } };

    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(tests); i++) {
        unsigned n = i % G_N_ELEMENTS(tests);
        bool late = i >= G_N_ELEMENTS(tests);
        g_autofree char *path = g_strdup_printf("/meta/store-sums/%s%s", late ? "late/" : "", tests[n].name);

        g_test_add(path, Fixture, late ? "late" : NULL, set_up, tests[n].run, tear_down);
    }
    return g_test_run();
}
