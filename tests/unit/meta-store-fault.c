/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A map that cannot be read any more while it is open (store_fault.h): its mapping gives SIGBUS, as for a medium's error, in some places or
 * because the file has become shorter. What can be read is right, the rest is -EIO; who watches is told once; nothing is written any more, and closing it is
 * possible. */
#include "codec.h"
#include "error.h"
#include "limits.h"
#include "meta-store.h"
#include "store_fault.h"
#include "store_sums.h"
#include "store_watch.h"
#include "util.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define KEYS 4000u
#define VALUE_BYTES 500u
#define ROUNDS 200000u

typedef struct {
    char *path, *data;
    VvStore *store;
    _Atomic unsigned count_told;
} Fixture;

static void make_value(unsigned k, uint8_t value[VALUE_BYTES]) { memset(value, (int) (k % 251 + 1), VALUE_BYTES); }

static int put(VvStoreTxn *txn, unsigned k)
{
    uint8_t key[8], value[VALUE_BYTES];

    vv_put_be64(key, k);
    make_value(k, value);
    return vv_store_put(txn, VV_TABLE_PAGE, key, sizeof key, value, sizeof value);
}

static void set_up(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;

    f->path = test_store_new();
    f->data = g_build_filename(f->path, "data.mdb", NULL);
    f->store = test_store_open(f->path);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (unsigned k = 0; k < KEYS; k++)
        g_assert_cmpint(put(txn, k), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    g_clear_pointer(&f->store, vv_store_close);
    vv_sums_at_once_bytes = data != NULL ? 0 : UINT64_MAX;
    f->store = test_store_open(f->path);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    test_store_free(f->store, f->path);
    g_free(f->data);
}

/* How many give an error. The others are right. */
static unsigned count_errors(Fixture *f)
{
    VvStoreRead *read = NULL;
    unsigned count = 0;

    if (vv_store_read_begin(f->store, &read) != 0)
        return KEYS;
    for (unsigned k = 0; k < KEYS; k++) {
        const uint8_t *value;
        size_t value_bytes;
        uint8_t key[8], expected[VALUE_BYTES];
        int err;

        vv_put_be64(key, k);
        make_value(k, expected);
        err = vv_store_get(read, VV_TABLE_PAGE, key, sizeof key, &value, &value_bytes);
        if (err == 0)
            g_assert_true(value_bytes == VALUE_BYTES && memcmp(value, expected, VALUE_BYTES) == 0);
        else
            g_assert_cmpint(err, ==, -EIO);
        count += err != 0;
    }
    vv_store_read_end(read);
    return count;
}

static void told_cb(void *user, const char *why)
{
    g_assert_nonnull(strstr(why, "data.mdb cannot be read at offset "));
    atomic_fetch_add((_Atomic unsigned *) user, 1);
}

static void wait_until_told(Fixture *f)
{
    uint64_t limit_ms = vv_monotonic_ms() + 20000;

    while (f->count_told == 0 && vv_monotonic_ms() < limit_ms)
        g_usleep(1000);
    g_assert_cmpuint(f->count_told, ==, 1);
}

/* From now on the page that has @k cannot be read. */
static void lose_page(Fixture *f, unsigned k)
{
    size_t page_bytes = (size_t) sysconf(_SC_PAGESIZE), value_bytes;
    vv_autofd int empty = memfd_create("empty", MFD_CLOEXEC);
    VvStoreRead *read = NULL;
    const uint8_t *value;
    uint8_t key[8], *page;

    vv_put_be64(key, k);
    g_assert_cmpint(vv_store_read_begin(f->store, &read), ==, 0);
    g_assert_cmpint(vv_store_get(read, VV_TABLE_PAGE, key, sizeof key, &value, &value_bytes), ==, 0);
    page = (uint8_t *) value - (uintptr_t) value % page_bytes;
    vv_store_read_end(read);
    g_assert_true(mmap(page, page_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, empty, 0) == page);
}

/* Somebody who reads meets it, then somebody who writes. */
static void test_read(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;
    unsigned count;

    (void) data;
    g_assert_cmpuint(count_errors(f), ==, 0);
    g_assert_true(vv_store_watch(f->store, told_cb, &f->count_told, NULL));
    g_assert_null(vv_store_trouble(f->store));
    for (unsigned k = KEYS / 2; k < KEYS; k += KEYS / 10)
        lose_page(f, k);
    count = count_errors(f);
    g_assert_cmpuint(count, >=, 5);
    g_assert_cmpuint(count, <, 100);
    wait_until_told(f);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, 0);
    for (unsigned k = 0; k < KEYS; k++)
        if (put(txn, k) != 0)
            break;
    g_assert_cmpint(vv_store_commit(txn), ==, -EIO);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, -EIO);
    g_assert_cmpuint(count_errors(f), ==, count);
}

/* All of it has gone, LMDB's headers too. */
static void test_nothing_left(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;

    (void) data;
    if (SANITIZED) {
        g_test_skip("LMDB loses what it had for a transaction that did not begin: a leak");
        return;
    }
    g_assert_cmpint(vv_store_check(f->store), ==, 0);
    g_assert_cmpint(truncate(f->data, 0), ==, 0);
    g_assert_cmpuint(count_errors(f), ==, KEYS);
    g_assert_cmpint(vv_store_begin(f->store, &txn), <, 0);
}

/* Nobody reads it: the check in the background does. */
static void test_background(Fixture *f, gconstpointer data)
{
    VvStoreTxn *txn = NULL;
    g_autofree char *why = NULL;

    (void) data;
    g_assert_cmpint(truncate(f->data, 600 << 10), ==, 0);
    g_assert_true(vv_store_watch(f->store, told_cb, &f->count_told, NULL));
    wait_until_told(f);
    g_assert_cmpint(vv_store_begin(f->store, &txn), ==, -EIO);
    g_assert_cmpint(vv_store_check(f->store), ==, -EIO);
    why = vv_store_trouble(f->store);
    g_assert_nonnull(strstr(why, f->data));
}

/* A read meets it long before the check in the background would; and it is told also if nobody waits for that. */
static void test_early(Fixture *f, gconstpointer data)
{
    bool waits = strcmp(data, "late") == 0;
    VvStoreRead *read = NULL;
    unsigned count_bad = 0;

    g_assert_cmpint(truncate(f->data, 600 << 10), ==, 0);
    vv_map_check_bytes = 1;
    g_assert_true(vv_store_watch(f->store, told_cb, &f->count_told, NULL));
    g_assert_cmpint(vv_store_read_begin(f->store, &read), ==, 0);
    for (unsigned k = 0; k < KEYS; k++) {
        const uint8_t *value;
        size_t value_bytes;
        uint8_t key[8];

        vv_put_be64(key, k);
        count_bad += vv_store_get(read, VV_TABLE_PAGE, key, sizeof key, &value, &value_bytes) != 0;
    }
    vv_store_read_end(read);
    g_assert_cmpuint(count_bad, >, 0);
    if (waits)
        wait_until_told(f);
    vv_store_unwatch(f->store);
    vv_map_check_bytes = VV_MAP_CHECK_BYTES;
    g_assert_cmpuint(f->count_told, ==, 1);
}

static int seek(VvStoreRead *read)
{
    const uint8_t *key_found, *value;
    size_t key_bytes, value_bytes;
    uint8_t key[8];

    vv_put_be64(key, KEYS / 2);
    return vv_store_seek(read, VV_TABLE_PAGE, VV_SEEK_GE, key, sizeof key, &key_found, &key_bytes, &value, &value_bytes);
}

/* LMDB looks up a table's root where a cursor is made, or belongs to a new view: that may be the first thing that is gone. */
static void test_seek(Fixture *f, gconstpointer data)
{
    VvStoreRead *read = NULL;
    uint64_t file_bytes, free_bytes;

    if (strstr(data, "again") != NULL) { /* so that there is a cursor */
        g_assert_cmpint(vv_store_read_begin(f->store, &read), ==, 0);
        g_assert_cmpint(seek(read), ==, 0);
        vv_store_read_end(read);
    }
    g_assert_cmpint(vv_store_read_begin(f->store, &read), ==, 0);
    g_assert_cmpint(truncate(f->data, 2 * sysconf(_SC_PAGESIZE)), ==, 0);
    g_assert_cmpint(seek(read), ==, -EIO);
    g_assert_cmpint(seek(read), ==, -EIO);
    vv_store_read_end(read);
    g_assert_cmpint(vv_store_usage(f->store, &file_bytes, &free_bytes), ==, -EIO);
}

/* In a thread with all signals blocked, as those of the mount are. */
static void *read_main(void *user)
{
    return GUINT_TO_POINTER(count_errors(user));
}

static void test_blocked(Fixture *f, gconstpointer data)
{
    sigset_t all, before;
    pthread_t thread;
    void *count;

    (void) data;
    lose_page(f, KEYS / 2);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    g_assert_cmpint(pthread_create(&thread, NULL, read_main, f), ==, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_join(thread, &count);
    g_assert_cmpuint(GPOINTER_TO_UINT(count), >, 0);
}

/* ---- what is not ours dies as ever */

static int how_it_ends(void (*run)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        run();
        _exit(0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static uint8_t *mapped;

static VvFaultKind admit_all(void *user, uint64_t offset)
{
    (void) user;
    (void) offset;
    return VV_FAULT_NONE;
}

static void elsewhere(void)
{
    uint8_t *other = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    *(volatile uint8_t *) other = 1;
}
static void a_write(void) { *(volatile uint8_t *) mapped = 1; }
static void by_kill(void) { raise(SIGSEGV); }

static void test_others(void)
{
    VvFault *fault;

    if (SANITIZED) {
        g_test_skip("sanitizers make of these signals what they like");
        return;
    }
    mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fault = vv_fault_new(mapped, 4096, admit_all, NULL);
    g_assert_nonnull(fault);
    g_assert_cmpint(how_it_ends(elsewhere), ==, SIGSEGV);
    g_assert_cmpint(how_it_ends(a_write), ==, SIGSEGV); /* and is not tried for ever */
    g_assert_cmpint(how_it_ends(by_kill), ==, SIGSEGV);
    vv_fault_free(fault);
    munmap(mapped, 4096);
}

/* ---- two meet something at once: neither sees that there is something, and not what */

typedef struct {
    VvFault *fault;
    _Atomic unsigned round;
    _Atomic unsigned done;
} Two;

static void note_and_look(Two *two)
{
    uint64_t offset = 0;

    vv_fault_note(two->fault, VV_FAULT_DAMAGED, 4096);
    g_assert_cmpint(vv_fault_get(two->fault, &offset), ==, VV_FAULT_DAMAGED);
    g_assert_cmpuint(offset, ==, 4096);
}

static void *other_main(void *user)
{
    Two *two = user;

    for (unsigned round = 1;; round++) {
        while (atomic_load(&two->round) < round)
            continue;
        if (atomic_load(&two->round) > round)
            return NULL;
        note_and_look(two);
        atomic_store(&two->done, round);
    }
}

static void test_two(void)
{
    static uint8_t bytes[8192];
    Two two = { .fault = NULL };
    pthread_t thread;

    uint64_t limit_ms = vv_monotonic_ms() + 1000; /* where there is one processor a round takes long */

    g_assert_cmpint(pthread_create(&thread, NULL, other_main, &two), ==, 0);
    for (unsigned round = 1; round <= ROUNDS && vv_monotonic_ms() < limit_ms; round++) {
        two.fault = vv_fault_new(bytes, sizeof bytes, NULL, NULL);
        atomic_store(&two.round, round);
        for (volatile unsigned i = 0; i < round % 256; i++) /* the other needs some time to begin */
            continue;
        note_and_look(&two);
        while (atomic_load(&two.done) != round)
            continue;
        vv_fault_free(two.fault);
    }
    atomic_store(&two.round, UINT_MAX);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, late, function) g_test_add("/meta/store-fault/" name, Fixture, late, set_up, function, tear_down)
    ADD("read", NULL, test_read);
    ADD("nothing-left", NULL, test_nothing_left);
    ADD("blocked", NULL, test_blocked);
    ADD("late/blocked", "late", test_blocked);
    ADD("late/read", "late", test_read);
    ADD("late/nothing-left", "late", test_nothing_left);
    ADD("late/background", "late", test_background);
    ADD("late/early", "late", test_early);
    ADD("late/early-and-closed", "late, closed", test_early);
    ADD("late/seek", "late", test_seek);
    ADD("late/seek-again", "late, again", test_seek);
    g_test_add_func("/meta/store-fault/others", test_others);
    g_test_add_func("/meta/store-fault/two", test_two);
    return g_test_run();
}
