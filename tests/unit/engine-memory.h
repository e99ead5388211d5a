/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of memory: malloc's family and mmap, counted on the threads of the path of I/O, and made to fail there. Included once, by
 * the program itself: what it defines takes the place of the C library's functions, for the libraries too. */
#ifndef VV_ENGINE_MEMORY_H
#define VV_ENGINE_MEMORY_H

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

typedef enum { TEST_UNKNOWN, TEST_PATH, TEST_OTHER } TestThread;

static struct {
    atomic_bool counts, fails;
    atomic_uint path, other; /* calls while it counts */
    atomic_uint failed;
    atomic_bool traps;       /* the first on the path stops the program: for a debugger */
    char last[16];           /* thread of the last on the path */
    atomic_size_t last_bytes;
} test_memory;

/* Threads that requests, flushes and their entries go through. The rest: transactions, space, jobs, checkpoints. */
static inline TestThread test_thread(void)
{
    static const char *const path[] = { "vv-service", "committer", "sync-", "lookup", "ticker", "vvfs-fuse/" };
    static _Thread_local TestThread thread;
    char name[16] = "";
    if (thread != TEST_UNKNOWN)
        return thread;
    prctl(PR_GET_NAME, name, 0, 0, 0);
    for (unsigned i = 0; i < sizeof path / sizeof path[0]; i++)
        if (strncmp(name, path[i], strlen(path[i])) == 0)
            thread = TEST_PATH;
    if (thread == TEST_PATH)
        return thread;
    return TEST_OTHER; /* it may get its name later */
}

/* False: there is no memory. */
static inline bool test_memory_asked(size_t bytes)
{
    bool counts = atomic_load_explicit(&test_memory.counts, memory_order_relaxed);
    bool fails = atomic_load_explicit(&test_memory.fails, memory_order_relaxed);
    if (!counts && !fails)
        return true;
    if (test_thread() != TEST_PATH) {
        atomic_fetch_add(&test_memory.other, counts);
        return true;
    }
    if (counts) {
        atomic_fetch_add(&test_memory.path, 1);
        prctl(PR_GET_NAME, test_memory.last, 0, 0, 0);
        atomic_store(&test_memory.last_bytes, bytes);
        if (atomic_load(&test_memory.traps))
            __builtin_trap();
    }
    if (fails && atomic_fetch_add(&test_memory.failed, 1) > 64) /* GLib cannot even say so: it would go on for ever */
        abort();
    if (fails)
        errno = ENOMEM;
    return !fails;
}

#if !TEST_SANITIZED
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes)
{
    return test_memory_asked(bytes) ? __libc_malloc(bytes) : NULL;
}

void *calloc(size_t count, size_t bytes)
{
    return test_memory_asked(count * bytes) ? __libc_calloc(count, bytes) : NULL;
}

void *realloc(void *memory, size_t bytes)
{
    return test_memory_asked(bytes) ? __libc_realloc(memory, bytes) : NULL;
}

void *memalign(size_t alignment, size_t bytes)
{
    return test_memory_asked(bytes) ? __libc_memalign(alignment, bytes) : NULL;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return memalign(alignment, bytes);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
    void *memory = memalign(alignment, bytes);
    if (memory == NULL)
        return ENOMEM;
    *ret_memory = memory;
    return 0;
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!test_memory_asked(bytes))
        return MAP_FAILED;
    return (void *) syscall(SYS_mmap, address, bytes, protection, flags, fd, offset); /* NOLINT: what the call returns */
}
#endif

static inline void test_memory_count(void)
{
    atomic_store(&test_memory.path, 0);
    atomic_store(&test_memory.other, 0);
    atomic_store(&test_memory.counts, true);
}

/* Calls on the path since test_memory_count. */
static inline unsigned test_memory_counted(void)
{
    atomic_store(&test_memory.counts, false);
    return atomic_load(&test_memory.path);
}

#endif
