/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int temporary_fd(void)
{
    int fd = open(g_get_tmp_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void test_round_trip(void)
{
    vv_autofd int fd = temporary_fd();
    char data[6];

    g_assert_cmpint(vv_pwrite_full(fd, "abcdef", 6, UINT64_C(5) << 30), ==, 0);
    g_assert_cmpint(vv_pread_full(fd, data, 6, UINT64_C(5) << 30), ==, 0);
    g_assert_cmpmem(data, 6, "abcdef", 6);
    g_assert_cmpint(vv_pread_full(fd, data, 0, 0), ==, 0);
}

static void test_short_read(void)
{
    vv_autofd int fd = temporary_fd();
    char data[6];

    g_assert_cmpint(vv_pwrite_full(fd, "abc", 3, 0), ==, 0);
    g_assert_cmpint(vv_pread_full(fd, data, 6, 0), ==, -EIO);
    g_assert_cmpint(vv_pread_full(fd, data, 1, 100), ==, -EIO);
}

static void test_errors(void)
{
    vv_autofd int reader = open("/dev/null", O_RDONLY | O_CLOEXEC);
    vv_autofd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char data[1] = { 0 };

    g_assert_cmpint(vv_pwrite_full(reader, data, 1, 0), ==, -EBADF);
    g_assert_cmpint(vv_pwrite_full(full, data, 1, 0), ==, -ENOSPC);
    g_assert_cmpint(vv_pread_full(-1, data, 1, 0), ==, -EBADF);
}

static void test_sync_directory(void)
{
    g_assert_cmpint(vv_sync_directory(g_get_tmp_dir()), ==, 0);
    g_assert_cmpint(vv_sync_directory("/dev/null"), ==, -ENOTDIR);
    g_assert_cmpint(vv_sync_directory("/nonexistent/x"), ==, -ENOENT);
}

static void test_locked(void)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    {
        VV_LOCKED(&lock);
        g_assert_cmpint(pthread_mutex_trylock(&lock), ==, EBUSY);
    }
    g_assert_cmpint(pthread_mutex_trylock(&lock), ==, 0);
    pthread_mutex_unlock(&lock);
}

static void test_autofd(void)
{
    int kept;

    {
        vv_autofd int fd = temporary_fd();
        kept = fd;
    }
    g_assert_cmpint(fcntl(kept, F_GETFD), ==, -1);
}

static void test_log_levels(void)
{
    static const char *const names[] = { "error", "warning", "note", "info", "debug" };
    VvLogLevel level = VV_LOG_ERROR;

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_true(vv_log_level_parse(names[i], &level));
        g_assert_cmpint(level, ==, i);
    }
    g_assert_false(vv_log_level_parse("loud", &level));
    g_assert_cmpint(level, ==, VV_LOG_DEBUG);
}

static void test_log_lines(void)
{
    if (g_test_subprocess()) {
        vv_log_init(VV_LOG_INFO, false, "vvfs-test");
        vv_log(VV_LOG_WARNING, "disk %s\nis \033[1mgone", "sda");
        vv_log(VV_LOG_DEBUG, "unheard");
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*vvfs-test: warning: disk sda is  ?1mgone\n*");
    g_test_trap_assert_stderr_unmatched("*unheard*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/io/round-trip", test_round_trip);
    g_test_add_func("/base/io/short-read", test_short_read);
    g_test_add_func("/base/io/errors", test_errors);
    g_test_add_func("/base/io/sync-directory", test_sync_directory);
    g_test_add_func("/base/io/locked", test_locked);
    g_test_add_func("/base/io/autofd", test_autofd);
    g_test_add_func("/base/log/levels", test_log_levels);
    g_test_add_func("/base/log/lines", test_log_lines);
    return g_test_run();
}
