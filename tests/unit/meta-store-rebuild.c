/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lost checksums made anew (store_rebuild.c). From the older of LMDB's headers, because the newest leads nowhere: for the trial LMDB has to
 * find the older one, and when it is refused data.mdb is as it was. And not if a page would be given out twice. */
#include "codec.h"
#include "error.h"
#include "meta-store.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

typedef struct {
    char *path, *data, *sums;
    VvStore *store;
    char *bytes; /* of data.mdb, its newest header broken */
    gsize length_bytes;
    char *sums_bytes; /* before they were lost */
    gsize sums_length_bytes;
} Fixture;

static struct {
    ino_t inode; /* 0: none */
    off_t at;
} failing; /* reads that the medium refuses */

/* Instead of the one in libc. */
ssize_t pread64(int fd, void *bytes, size_t length_bytes, off_t at);
ssize_t pread64(int fd, void *bytes, size_t length_bytes, off_t at)
{
    struct stat st;

    if (failing.inode != 0 && at == failing.at && fstat(fd, &st) == 0 && st.st_ino == failing.inode) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, length_bytes, at);
}

static bool folder_is_synced;

int noted_fsync(int fd) __asm__("fsync") __attribute__((used, visibility("default")));

int noted_fsync(int fd)
{
    struct stat st;

    folder_is_synced = folder_is_synced || (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode));
    return (int) syscall(SYS_fsync, fd);
}

static void put(Fixture *f, const char *value)
{
    VvStoreTxn *txn = NULL;

    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    g_assert_cmpint(vv_store_put(txn, VV_TABLE_PAGE, "key", 3, value, strlen(value)), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
}

static void expect(VvStore *store, const char *expected)
{
    VvStoreRead *read = NULL;
    const uint8_t *value;
    size_t value_bytes;

    g_assert_cmpint(vv_store_read_begin(store, &read), ==, 0);
    g_assert_cmpint(vv_store_get(read, VV_TABLE_PAGE, "key", 3, &value, &value_bytes), ==, 0);
    g_assert_cmpmem(value, (int) value_bytes, expected, (int) strlen(expected));
    vv_store_read_end(read);
}

static void write_file(const char *path, const char *bytes, gsize length_bytes)
{
    vv_autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    g_assert_cmpint(vv_pwrite_full(fd, bytes, length_bytes, 0), ==, 0);
}

/* The newest transaction's last page is 1. */
static void break_newest(Fixture *f)
{
    uint32_t page_bytes = vv_get_u32((uint8_t *) f->bytes + PAGE_HEAD_BYTES + META_AT_TREES);
    uint8_t *metas[2] = { (uint8_t *) f->bytes + PAGE_HEAD_BYTES, (uint8_t *) f->bytes + page_bytes + PAGE_HEAD_BYTES };

    vv_put_u64(metas[vv_get_u64(metas[1] + META_AT_TXN) > vv_get_u64(metas[0] + META_AT_TXN) ? 1 : 0] + META_AT_LAST_PAGE, 1);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->path = test_store_new();
    f->data = g_build_filename(f->path, "data.mdb", NULL);
    f->sums = g_build_filename(f->path, "sums", NULL);
    f->store = test_store_open(f->path);
    put(f, "first");
    put(f, "second");
    put(f, "third");
    g_clear_pointer(&f->store, vv_store_close);
    g_assert_true(g_file_get_contents(f->data, &f->bytes, &f->length_bytes, NULL));
    g_assert_true(g_file_get_contents(f->sums, &f->sums_bytes, &f->sums_length_bytes, NULL));
    break_newest(f);
    f->length_bytes -= data != NULL ? 100 : 0; /* LMDB leaves it short, too */
    write_file(f->data, f->bytes, f->length_bytes);
    g_assert_cmpint(g_unlink(f->sums), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    test_store_free(f->store, f->path);
    g_free(f->data);
    g_free(f->sums);
    g_free(f->bytes);
    g_free(f->sums_bytes);
}

static void rebuild(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    vv_store_rebuild(f->path, &error);
    g_assert_no_error(error);
}

static void look(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvStore) store = vv_store_open_as(f->path, true, VV_MAP_TRIAL, &error);

    g_assert_no_error(error);
    expect(store, "second");
}

static void expect_unchanged(Fixture *f)
{
    g_autofree char *bytes = NULL;
    gsize length_bytes;

    g_assert_true(g_file_get_contents(f->data, &bytes, &length_bytes, NULL));
    g_assert_cmpmem(bytes, (int) length_bytes, f->bytes, (int) f->length_bytes);
    g_assert_false(g_file_test(f->sums, G_FILE_TEST_EXISTS));
}

static void test_refused(Fixture *f, gconstpointer data)
{
    (void) data;
    rebuild(f);
    expect_unchanged(f);
    look(f);
    g_assert_true(vv_store_end_trial(f->path, false, NULL));
    expect_unchanged(f);
}

/* A power cut amid the trial: the next one puts it back. */
static void test_cut_short(Fixture *f, gconstpointer data)
{
    (void) data;
    rebuild(f);
    look(f);
    rebuild(f);
    expect_unchanged(f);
    g_assert_true(vv_store_end_trial(f->path, false, NULL));
    expect_unchanged(f);
}

static void test_taken(Fixture *f, gconstpointer data)
{
    (void) data;
    rebuild(f);
    look(f);
    g_assert_true(vv_store_end_trial(f->path, true, NULL));
    f->store = test_store_open(f->path);
    expect(f->store, "second");
    put(f, "fourth");
    g_clear_pointer(&f->store, vv_store_close);
    f->store = test_store_open(f->path);
    expect(f->store, "fourth");
}

/* Whoever took it may have died before its name was durable: who writes makes it so, who reads changes nothing. */
static void test_name(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    VvStore *reader;

    (void) data;
    rebuild(f);
    look(f);
    g_assert_true(vv_store_end_trial(f->path, true, NULL));
    folder_is_synced = false;
    reader = vv_store_open(f->path, true, &error);
    g_assert_no_error(error);
    vv_store_close(reader);
    g_assert_false(folder_is_synced);
    f->store = test_store_open(f->path);
    g_assert_true(folder_is_synced);
}

/* What a trial left behind is nobody's business once the map has gone on. */
static void test_gone_on(Fixture *f, gconstpointer data)
{
    (void) data;
    rebuild(f);
    look(f);
    write_file(f->sums, f->sums_bytes, f->sums_length_bytes);
    f->store = test_store_open(f->path);
    expect(f->store, "third");
    put(f, "fourth");
    g_clear_pointer(&f->store, vv_store_close);
    g_assert_cmpint(g_unlink(f->sums), ==, 0);
    rebuild(f);
    g_assert_true(vv_store_end_trial(f->path, true, NULL));
    f->store = test_store_open(f->path);
    expect(f->store, "fourth");
}

/* ---- free pages */

typedef struct {
    uint8_t *lists[64]; /* how many, and they, descending */
    unsigned count;
} Free;

/* In f->bytes. They take one leaf. */
static void find_free(Fixture *f, Free *ret_free)
{
    uint8_t *bytes = (uint8_t *) f->bytes;
    uint32_t page_bytes = vv_get_u32(bytes + PAGE_HEAD_BYTES + META_AT_TREES);
    uint8_t *metas[2] = { bytes + PAGE_HEAD_BYTES, bytes + page_bytes + PAGE_HEAD_BYTES };
    unsigned newest = vv_get_u64(metas[1] + META_AT_TXN) > vv_get_u64(metas[0] + META_AT_TXN) ? 1 : 0;
    uint8_t *leaf = bytes + vv_get_u64(metas[newest] + META_AT_TREES + TREE_AT_ROOT) * page_bytes;

    vv_put_u32(metas[1 - newest], 0); /* the other is none */
    g_assert_cmpuint(vv_get_u16(leaf + 10), ==, PAGE_LEAF);
    ret_free->count = 0;
    for (unsigned at = PAGE_HEAD_BYTES; at < vv_get_u16(leaf + 12) && ret_free->count < 64; at += 2) {
        uint8_t *node = leaf + vv_get_u16(leaf + at);

        if ((vv_get_u16(node + 4) & NODE_BIG) == 0 && vv_get_u64(node + NODE_HEAD_BYTES + 8) >= 2)
            ret_free->lists[ret_free->count++] = node + NODE_HEAD_BYTES + 8;
    }
}

static void expect_damaged(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    write_file(f->data, f->bytes, f->length_bytes);
    g_assert_false(vv_store_rebuild(f->path, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    g_assert_nonnull(strstr(error->message, "free"));
}

/* A page that is listed twice would be given out twice, and LMDB looks for pages in a row where lists descend. */
static void test_free(Fixture *f, gconstpointer data)
{
    Free lists = { .count = 0 };
    char *now;

    (void) data;
    write_file(f->data, f->bytes, f->length_bytes);
    write_file(f->sums, f->sums_bytes, f->sums_length_bytes);
    f->store = test_store_open(f->path);
    for (unsigned i = 0; i < 20; i++)
        put(f, i % 2 == 0 ? "even" : "odd");
    g_clear_pointer(&f->store, vv_store_close);
    g_clear_pointer(&f->bytes, g_free);
    g_assert_true(g_file_get_contents(f->data, &now, &f->length_bytes, NULL));
    g_assert_cmpint(g_unlink(f->sums), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        f->bytes = g_memdup2(now, f->length_bytes);
        find_free(f, &lists);
        g_assert_cmpuint(lists.count, >=, 2);
        uint8_t *a = lists.lists[0] + 8, *b = lists.lists[1] + 8;
        uint64_t first = vv_get_u64(a), second = vv_get_u64(a + 8);

        if (i == 0)
            vv_put_u64(a + 8, first);
        if (i == 1) {
            vv_put_u64(a, second);
            vv_put_u64(a + 8, first);
        }
        if (i == 2 && first > vv_get_u64(b + 8))
            vv_put_u64(b, first);
        else if (i == 2)
            vv_put_u64(a, vv_get_u64(b));
        expect_damaged(f);
        g_clear_pointer(&f->bytes, g_free);
    }
    f->bytes = now;
    write_file(f->data, f->bytes, f->length_bytes);
    rebuild(f);
    g_assert_true(vv_store_end_trial(f->path, true, NULL));
    f->store = test_store_open(f->path);
    expect(f->store, "odd");
}

/* What the medium does not give is not lost: it may come back, and says more than can be found without it. */
static void test_unreadable(Fixture *f, gconstpointer data)
{
    static const off_t places[] = { 0, SECTORS_AT };
    g_autofree char *fresh = g_build_filename(f->path, "sums.new", NULL);
    struct stat st;

    (void) data;
    write_file(f->sums, f->sums_bytes, f->sums_length_bytes);
    g_assert_cmpint(stat(f->sums, &st), ==, 0);
    failing.inode = st.st_ino;
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autoptr(GError) error = NULL;

        failing.at = places[i];
        g_assert_false(vv_store_rebuild(f->path, &error));
        g_assert_error(error, VV_ERROR, VV_ERROR_IO);
        g_assert_nonnull(strstr(vv_error_get_hint(error), "map/sums"));
        g_assert_false(g_file_test(fresh, G_FILE_TEST_EXISTS));
    }
    failing.inode = 0;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, is_short, function) g_test_add("/meta/store-rebuild/" name, Fixture, is_short, set_up, function, tear_down)
    ADD("refused", NULL, test_refused);
    ADD("refused-short", "short", test_refused);
    ADD("cut-short", "short", test_cut_short);
    ADD("taken", "short", test_taken);
    ADD("name", "short", test_name);
    ADD("gone-on", NULL, test_gone_on);
    ADD("free", NULL, test_free);
    ADD("unreadable", NULL, test_unreadable);
    return g_test_run();
}
