/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool with pending memory, and processes that have it open and die. */
#ifndef VV_ENGINE_DYING_H
#define VV_ENGINE_DYING_H

#include "engine-pool.h"
#include "incarnation.h"
#include "limits.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

typedef struct {
    char *folder, *directory;
    VvPool *pool;
    int fd;
} Dying;

static inline int dying_memfd(void)
{
    int fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(ftruncate(fd, VV_PENDING_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

static inline void dying_open(Dying *f)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .lock_wait_ms = 5000, .have_pending = f->fd >= 0, .pending_fd = f->fd };
    f->pool = vv_pool_open(f->directory, &options, &error);
    g_assert_no_error(error);
}

static inline void dying_close(Dying *f)
{
    g_clear_pointer(&f->pool, vv_pool_close);
}

static inline void dying_set_up(Dying *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    *f = (Dying){ .folder = test_folder_new(true), .fd = dying_memfd() };
    f->directory = g_build_filename(f->folder, "pool", NULL);
    VvPoolCreate create = { .directory = f->directory, .name = "tank", .size_bytes = 64 << 20 };
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
}

static inline void dying_tear_down(Dying *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    vv_pool_destroy(f->directory, false, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(f->directory, G_FILE_TEST_EXISTS) && g_rmdir(f->directory) != 0); /* nothing is left in it */
    test_folder_free(f->folder);
    g_free(f->directory);
    vv_close_fd(&f->fd);
}

/* Run @act in a process of its own that opens the pool and never closes it. Returns its incarnation. */
static inline uint64_t dying_run(Dying *f, void (*act)(Dying *f))
{
    uint64_t incarnation = 0;
    int status, ends[2];
    g_assert_cmpint(pipe(ends), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        dying_open(f);
        incarnation = vv_pool_incarnation(f->pool);
        g_assert_cmpint(write(ends[1], &incarnation, sizeof incarnation), ==, sizeof incarnation);
        if (act)
            act(f);
        kill(getpid(), SIGKILL);
    }
    g_assert_cmpint(read(ends[0], &incarnation, sizeof incarnation), ==, sizeof incarnation);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ends[0]);
    close(ends[1]);
    return incarnation;
}

#endif
