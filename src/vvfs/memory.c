/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory locking. mlock2(MLOCK_ONFAULT) counts a mapping's whole size as locked, so what is locked is chosen: executable
 * mappings of files, and private anonymous ones of the size of a thread's stack. */
#include "memory.h"

#include "fusefs.h"
#include "locked.h"
#include "slab.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define STACK_BYTES (512u << 10)
#define LOCKED_BYTES_MAX (48u << 20) /* of the 128 MiB that the daemon may have */

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

void vv_memory_init(void)
{
    pthread_attr_t attr;

    /* Not root: nobody expects it. Root without CAP_SYS_RESOURCE (a container): it should be known. */
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0 && (errno != EPERM || geteuid() == 0))
        vv_log(VV_LOG_NOTE, "PR_SET_IO_FLUSHER: %s; when memory is short, the daemon may wait for what is written to its own LUNs",
            g_strerror(errno));
    if (SANITIZED) /* their frames are larger */
        return;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_setattr_default_np(&attr);
    pthread_attr_destroy(&attr);
}

void vv_memory_reserve(void)
{
    if (vv_slab_lock() == 0 && !SANITIZED)
        vv_log(VV_LOG_INFO, "memory for I/O is not locked: %s", g_strerror(errno));
}

/* A line of /proc/self/maps: "55d0...-55d0... r-xp 00000000 08:01 1234   /usr/sbin/vvfs" */
static bool wanted(const char *line, void **ret_start, size_t *ret_bytes)
{
    unsigned long start, end, inode;
    char permissions[5];

    if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &start, &end, permissions, &inode) != 4)
        return false;
    *ret_start = (void *) start; /* NOLINT: the kernel's text is where addresses come from */
    *ret_bytes = end - start;
    if (strcmp(permissions, "r-xp") == 0)
        return inode != 0;
    if (strcmp(permissions, "rw-p") != 0 || inode != 0)
        return false;
    return strstr(line, "[stack]") != NULL || *ret_bytes == STACK_BYTES;
}

void vv_memory_lock(VvPool *pool, VvFuse *fuse)
{
    FILE *maps = SANITIZED ? NULL : fopen("/proc/self/maps", "re");
    char line[4608];
    size_t locked = 0;

    if (!maps)
        return;
    while (fgets(line, sizeof(line), maps)) {
        void *start;
        size_t bytes;

        if (!wanted(line, &start, &bytes) || locked + bytes > LOCKED_BYTES_MAX)
            continue;
        if (mlock2(start, bytes, MLOCK_ONFAULT) != 0) {
            vv_log(VV_LOG_INFO, "memory is not locked: %s", g_strerror(errno));
            break;
        }
        locked += bytes;
    }
    fclose(maps);
    size_t reserved = vv_pool_lock_memory(pool) + vv_fuse_lock_memory(fuse);
    vv_log(VV_LOG_DEBUG, "%zu KiB of code and stacks are locked, and %zu KiB for I/O while memory is short", locked >> 10, reserved >> 10);
}

/* What the holder runs on: its own program, its data, heap and stack. */
static bool holder_needs(const char *line, const char *program, void **ret_start, size_t *ret_bytes)
{
    unsigned long start, end;
    char permissions[5];
    bool own = program && strstr(line, program);

    if (sscanf(line, "%lx-%lx %4s", &start, &end, permissions) != 3)
        return false;
    *ret_start = (void *) start; /* NOLINT: the kernel's text is where addresses come from */
    *ret_bytes = end - start;
    return strstr(line, "[stack]") || strstr(line, "[heap]") || (own && strcmp(permissions, "r--p") != 0);
}

void vv_memory_hold(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    FILE *maps = SANITIZED ? NULL : fopen("/proc/self/maps", "re");
    char line[4608];

    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0 && errno != EPERM)
        vv_log(VV_LOG_INFO, "PR_SET_IO_FLUSHER: %s", g_strerror(errno));
    while (maps && fgets(line, sizeof(line), maps)) {
        void *start;
        size_t bytes;

        if (holder_needs(line, program, &start, &bytes) && mlock2(start, bytes, MLOCK_ONFAULT) != 0)
            break;
    }
    if (maps)
        fclose(maps);
}
