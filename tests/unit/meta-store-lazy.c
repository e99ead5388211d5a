/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comparing pages of the map late (store_lazy.h): by two at a time, of which one is held up in the midst of it. */
#include "codec.h"
#include "store_lazy.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE_BYTES 4096u
#define CHUNK_PAGES 64u
#define PAGES 250u            /* fewer than 256, so that the last has a byte that tells it */
#define MAPPED_BYTES (1u << 20) /* more, as LMDB does */

typedef struct {
    int data_fd, sums_fd;
    uint8_t *base;
    VvFault *fault;
    VvLazy *lazy;
} Fixture;

static struct {
    int fd;
    off_t at;
    void (*run)(void *user);
    void *user;
} held; /* a read to come: somebody else has his turn before it */

static struct {
    int fd;
    off_t at;
} failing = { .fd = -1 }; /* reads that the medium refuses */
static bool no_memory;

/* Instead of those in libc. */
int mprotect(void *memory, size_t length_bytes, int protection)
{
    if (no_memory) {
        errno = ENOMEM;
        return -1;
    }
    return (int) syscall(SYS_mprotect, memory, length_bytes, protection);
}

ssize_t pread64(int fd, void *bytes, size_t length_bytes, off_t at);
ssize_t pread64(int fd, void *bytes, size_t length_bytes, off_t at)
{
    if (held.run != NULL && fd == held.fd && at == held.at) {
        void (*run)(void *) = held.run;

        held.run = NULL;
        run(held.user);
    }
    if (fd == failing.fd && at == failing.at) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, length_bytes, at);
}

static void write_page(Fixture *f, uint64_t page, uint8_t byte)
{
    uint8_t bytes[PAGE_BYTES], sector[SECTOR_BYTES], number[8];
    uint64_t sector_number = page / SECTOR_SUMS;

    memset(bytes, byte, sizeof bytes);
    g_assert_cmpint(vv_pwrite_full(f->data_fd, bytes, sizeof bytes, page * PAGE_BYTES), ==, 0);
    g_assert_cmpint(vvs_read_sector(f->sums_fd, sector_number, sector), ==, 0);
    vv_put_u32(sector + page % SECTOR_SUMS * 4, vv_crc32c(vvs_page_crc_begin(page), bytes, sizeof bytes));
    vv_put_u64(number, sector_number);
    vv_put_u32(sector + SECTOR_SUMS * 4, vv_crc32c(vv_crc32c(0, number, sizeof number), sector, SECTOR_SUMS * 4));
    g_assert_cmpint(vv_pwrite_full(f->sums_fd, sector, sizeof sector, SECTORS_AT + sector_number * SECTOR_BYTES), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    f->data_fd = memfd_create("data", MFD_CLOEXEC);
    f->sums_fd = memfd_create("sums", MFD_CLOEXEC);
    for (uint64_t page = 0; page < PAGES; page++)
        write_page(f, page, (uint8_t) (page + 1));
    f->base = mmap(NULL, MAPPED_BYTES, PROT_READ, MAP_SHARED, f->data_fd, 0);
    f->lazy = vv_lazy_new(f->data_fd, f->sums_fd, PAGE_BYTES, PAGES);
    f->fault = vv_fault_new(f->base, MAPPED_BYTES, vv_lazy_admit, f->lazy);
    for (uint64_t page = 2; page < PAGES; page++)
        vv_lazy_add(f->lazy, page);
    g_assert_true(vv_lazy_close(f->lazy, f->base, f->fault));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    vv_fault_free(f->fault);
    vv_lazy_free(f->lazy);
    munmap(f->base, MAPPED_BYTES);
    vv_close_fd(&f->data_fd);
    vv_close_fd(&f->sums_fd);
}

/* All are compared, so a checkpoint comes and changes one. */
static void overtake(void *user)
{
    Fixture *f = user;
    VvFaultKind kind;
    uint64_t offset;

    g_assert_cmpint(vv_lazy_finish(f->lazy, &kind, &offset), ==, 0);
    write_page(f, 9, 0xff);
}

static void test_overtaken(Fixture *f, gconstpointer data)
{
    uint64_t bytes = 0, offset = 0;

    (void) data;
    held.fd = f->data_fd;
    held.at = 9 * PAGE_BYTES;
    held.user = f;
    held.run = overtake;
    g_assert_true(vv_lazy_next(f->lazy, &bytes));
    g_assert_null(held.run);
    g_assert_cmpint(vv_fault_get(f->fault, &offset), ==, VV_FAULT_NONE);
    g_assert_cmpuint(vv_lazy_left(f->lazy), ==, 0);
    g_assert_cmpint(f->base[9 * PAGE_BYTES], ==, 0xff);
}

/* One that nobody has compared is damaged whoever looks. */
static void test_damaged(Fixture *f, gconstpointer data)
{
    uint64_t bytes = 0, offset = 0;
    VvFaultKind kind = VV_FAULT_NONE;

    (void) data;
    g_assert_cmpint(vv_pwrite_full(f->data_fd, "x", 1, 9 * PAGE_BYTES + 100), ==, 0);
    g_assert_true(vv_lazy_next(f->lazy, &bytes));
    g_assert_cmpint(vv_fault_get(f->fault, &offset), ==, VV_FAULT_DAMAGED);
    g_assert_cmpuint(offset, ==, 9 * PAGE_BYTES);
    g_assert_cmpuint(vv_lazy_left(f->lazy), ==, 1 + PAGES - CHUNK_PAGES);
    g_assert_cmpint(vv_lazy_finish(f->lazy, &kind, &offset), ==, -EUCLEAN);
    g_assert_cmpint(kind, ==, VV_FAULT_DAMAGED);
}

/* It is its sum that is wrong, and not the page: the sums are named, and where in them. */
static void test_sums_damaged(Fixture *f, gconstpointer data)
{
    uint64_t bytes = 0, offset = 0;
    VvFaultKind kind = VV_FAULT_NONE;

    (void) data;
    g_assert_cmpint(vv_pwrite_full(f->sums_fd, "x", 1, SECTORS_AT + 100), ==, 0);
    g_assert_true(vv_lazy_next(f->lazy, &bytes));
    g_assert_cmpint(vv_fault_get(f->fault, &offset), ==, VV_FAULT_SUMS_DAMAGED);
    g_assert_cmpuint(offset, ==, SECTORS_AT);
    g_assert_cmpint(vv_lazy_finish(f->lazy, &kind, &offset), ==, -EUCLEAN);
    g_assert_cmpint(kind, ==, VV_FAULT_SUMS_DAMAGED);
}

/* The medium does not give a page, or its sum. */
static void test_unreadable(Fixture *f, gconstpointer data)
{
    bool sums = data != NULL;
    VvFaultKind kind = VV_FAULT_NONE;
    uint64_t offset = 0;

    failing.fd = sums ? f->sums_fd : f->data_fd;
    failing.at = sums ? SECTORS_AT : 9 * PAGE_BYTES;
    g_assert_cmpint(vv_lazy_finish(f->lazy, &kind, &offset), ==, -EIO);
    g_assert_cmpint(kind, ==, sums ? VV_FAULT_SUMS_UNREADABLE : VV_FAULT_UNREADABLE);
    g_assert_cmpint(offset, ==, failing.at);
    g_assert_cmpint(vv_lazy_admit(f->lazy, 9 * PAGE_BYTES), ==, kind);
    g_assert_cmpint(vv_lazy_admit(f->lazy, 10 * PAGE_BYTES), ==, sums ? kind : VV_FAULT_NONE);
    failing.fd = -1;
    g_assert_cmpint(vv_lazy_finish(f->lazy, &kind, &offset), ==, 0);
}

/* The kernel has no memory for one range more: who needs a page is told so, nothing is wrong with the map, and later it opens. */
static void test_no_memory(Fixture *f, gconstpointer data)
{
    uint64_t bytes = 0, offset = 0;

    (void) data;
    no_memory = true;
    g_assert_true(vv_lazy_next(f->lazy, &bytes));
    g_assert_cmpint(vv_lazy_admit(f->lazy, 9 * PAGE_BYTES), ==, VV_FAULT_NO_MEMORY);
    g_assert_cmpint(vv_fault_get(f->fault, &offset), ==, VV_FAULT_NONE);
    no_memory = false;
    g_assert_cmpint(f->base[9 * PAGE_BYTES], ==, 10);
}

static void stop(void *user)
{
    Fixture *f = user;

    vv_lazy_stop(f->lazy);
}

/* Who waits for all of it is let go while a chunk is compared: that is the last one. */
static void test_stopped(Fixture *f, gconstpointer data)
{
    VvFaultKind kind;
    uint64_t offset;

    (void) data;
    held.fd = f->data_fd;
    held.at = 9 * PAGE_BYTES;
    held.user = f;
    held.run = stop;
    g_assert_cmpint(vv_lazy_finish(f->lazy, &kind, &offset), ==, -ESHUTDOWN);
    g_assert_cmpuint(vv_lazy_left(f->lazy), ==, PAGES - CHUNK_PAGES);
    g_assert_cmpint(f->base[(PAGES - 1) * PAGE_BYTES], ==, PAGES); /* reads go on */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/meta/store-lazy/overtaken", Fixture, NULL, set_up, test_overtaken, tear_down);
    g_test_add("/meta/store-lazy/sums-damaged", Fixture, NULL, set_up, test_sums_damaged, tear_down);
    g_test_add("/meta/store-lazy/unreadable", Fixture, NULL, set_up, test_unreadable, tear_down);
    g_test_add("/meta/store-lazy/sums-unreadable", Fixture, "", set_up, test_unreadable, tear_down);
    g_test_add("/meta/store-lazy/no-memory", Fixture, NULL, set_up, test_no_memory, tear_down);
    g_test_add("/meta/store-lazy/stopped", Fixture, NULL, set_up, test_stopped, tear_down);
    g_test_add("/meta/store-lazy/damaged", Fixture, NULL, set_up, test_damaged, tear_down);
    return g_test_run();
}
