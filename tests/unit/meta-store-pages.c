/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A map from a machine with larger pages than this one's, or with smaller ones: it opens, its leaves are compared late where they can be closed
 * one by one and at once where they cannot, what the medium does not give is an error, and it is written. */
#include "codec.h"
#include "meta-store.h"
#include "store_sums.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEYS 3000u
#define VALUE_BYTES 500u /* 1.5 MiB in all */
#define LARGE_BYTES ((size_t) 1 << 30)
#define ODD_BYTES ((size_t) 1 << 16)

static long pretended_bytes; /* 0: as it is */

#if defined(__SANITIZE_THREAD__)
#define IS_THREAD_SANITIZER true /* it asks for both before anything of ours may run */
#else
#define IS_THREAD_SANITIZER false
/* Instead of the one in libc: for LMDB, which makes its pages as large as the system's, and for us. */
long __sysconf(int name);
long sysconf(int name)
{
    return name == _SC_PAGESIZE && pretended_bytes != 0 ? pretended_bytes : __sysconf(name);
}

/* The same: a large file is mapped where no multiple of its pages is, as the kernel may do. */
static void *map_odd(void *wanted, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    uintptr_t at;

    if (wanted != NULL || fd < 0 || bytes < LARGE_BYTES)
        return (void *) syscall(SYS_mmap, wanted, bytes, protection, flags, fd, offset);
    at = (uintptr_t) syscall(SYS_mmap, NULL, bytes + 2 * ODD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    at = (at + ODD_BYTES - 1) / ODD_BYTES * ODD_BYTES + 4096;
    return (void *) syscall(SYS_mmap, at, bytes, protection, flags | MAP_FIXED, fd, offset);
}

void *vvt_mmap(void *wanted, size_t bytes, int protection, int flags, int fd, off_t offset) __asm__("mmap") __attribute__((used));
void *vvt_mmap(void *wanted, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return map_odd(wanted, bytes, protection, flags, fd, offset);
}

void *vvt_mmap64(void *wanted, size_t bytes, int protection, int flags, int fd, off_t offset) __asm__("mmap64") __attribute__((used));
void *vvt_mmap64(void *wanted, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return map_odd(wanted, bytes, protection, flags, fd, offset);
}
#endif

static int put(VvStoreTxn *txn, unsigned k, int byte)
{
    uint8_t key[8], value[VALUE_BYTES];

    vv_put_be64(key, k);
    memset(value, byte, sizeof value);
    return vv_store_put(txn, VV_TABLE_PAGE, key, sizeof key, value, sizeof value);
}

/* How many cannot be read; the others are right. */
static unsigned count_errors(VvStore *store)
{
    VvStoreRead *read = NULL;
    unsigned count = 0;

    g_assert_cmpint(vv_store_read_begin(store, &read), ==, 0);
    for (unsigned k = 0; k < KEYS; k++) {
        const uint8_t *value;
        size_t value_bytes;
        uint8_t key[8], wanted[VALUE_BYTES];
        int err;

        vv_put_be64(key, k);
        memset(wanted, (int) (k % 251 + 1), sizeof wanted);
        err = vv_store_get(read, VV_TABLE_PAGE, key, sizeof key, &value, &value_bytes);
        if (err == 0)
            g_assert_cmpmem(value, (int) value_bytes, wanted, VALUE_BYTES);
        else
            g_assert_cmpint(err, ==, -EIO);
        count += err != 0;
    }
    vv_store_read_end(read);
    return count;
}

static char *make_store(long page_bytes)
{
    char *path;
    VvStore *store;
    VvStoreTxn *txn = NULL;

    pretended_bytes = page_bytes;
    path = test_store_new();
    store = test_store_open(path);
    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    for (unsigned k = 0; k < KEYS; k++)
        g_assert_cmpint(put(txn, k, (int) (k % 251 + 1)), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    vv_store_close(store);
    pretended_bytes = 0;
    return path;
}

static bool is_late(const char *path)
{
    VvSums *sums = vv_sums_open(path, VV_MAP_LATE, NULL);
    bool late = vv_sums_lazy(sums) != NULL;

    vv_sums_close(sums);
    return late;
}

static void write_one(VvStore *store)
{
    VvStoreTxn *txn = NULL;

    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    g_assert_cmpint(put(txn, 7, 8), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
}

static int truncate_data(const char *path)
{
    g_autofree char *data = g_build_filename(path, "data.mdb", NULL);

    return truncate(data, 1 << 20);
}

static void test_larger(gconstpointer page_bytes)
{
    char *path = make_store((long) GPOINTER_TO_SIZE(page_bytes));
    VvStore *store;

    g_assert_true(is_late(path));
    vv_sums_at_once_bytes = 0;
    store = test_store_open(path);
    g_assert_cmpuint(count_errors(store), ==, 0);
    write_one(store);
    g_assert_cmpuint(count_errors(store), ==, 0);
    vv_store_close(store);
    store = test_store_open(path);
    g_assert_cmpint(truncate_data(path), ==, 0); /* what the medium does not give is met where it is */
    g_assert_cmpuint(count_errors(store), >, 0);
    test_store_free(store, path);
}

static void test_smaller(void)
{
    char *path = make_store(0);
    VvStore *store;

    pretended_bytes = 16384;
    g_assert_false(is_late(path));
    vv_sums_at_once_bytes = 0;
    store = test_store_open(path);
    g_assert_cmpuint(count_errors(store), ==, 0);
    write_one(store);
    pretended_bytes = 0;
    test_store_free(store, path);
}

int main(int argc, char **argv)
{
    if (IS_THREAD_SANITIZER) {
        puts("1..0 # SKIP takes the place of mmap and sysconf, which ThreadSanitizer needs first");
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/meta/store-pages/8-kib", GSIZE_TO_POINTER(8192), test_larger);
    g_test_add_data_func("/meta/store-pages/32-kib", GSIZE_TO_POINTER(32768), test_larger);
    g_test_add_func("/meta/store-pages/smaller", test_smaller);
    return g_test_run();
}
