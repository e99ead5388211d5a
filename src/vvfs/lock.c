/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One daemon per pool directory. */
#include "lock.h"

#include "error.h"
#include "mounts.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#define TRY_MS 50u

typedef struct {
    int pid; /* 0 unknown */
    char *state, *mountpoint;
} VvHolder;

static void holder_clear(VvHolder *holder)
{
    g_free(holder->state);
    g_free(holder->mountpoint);
    memset(holder, 0, sizeof(*holder));
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvHolder, holder_clear)

static void read_holder(int fd, VvHolder *ret_holder)
{
    char text[8192];
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    g_auto(GStrv) lines = NULL;

    text[MAX(length, 0)] = '\0';
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], "pid "))
            ret_holder->pid = atoi(lines[i] + 4);
        else if (g_str_has_prefix(lines[i], "state ") && !ret_holder->state)
            ret_holder->state = g_strdup(lines[i] + 6);
        else if (g_str_has_prefix(lines[i], "mountpoint ") && !ret_holder->mountpoint)
            ret_holder->mountpoint = g_strdup(lines[i] + 11);
    }
}

/* It may let go soon: it is on its way in or out, or its mount has gone and it has not noticed yet. */
static bool worth_waiting(const VvHolder *holder, const char *directory)
{
    bool held = holder->pid <= 0 || kill(holder->pid, 0) == 0 || errno != ESRCH; /* otherwise who serves is ending */

    if (held && g_strcmp0(holder->state, VV_LOCK_WITNESS) == 0)
        return false;
    return !held || !holder->state || strcmp(holder->state, "serving") != 0 ||
           !vv_mounts_have(directory, holder->mountpoint);
}

static void set_error_held(const VvHolder *holder, const char *directory, const char *pool_name, GError **error)
{
    g_autoptr(GString) who = g_string_new(NULL);
    const char *state = holder->state ? holder->state : "";

    if (holder->pid > 0)
        g_string_append_printf(who, " by vvfs (pid %d)", holder->pid);
    if (holder->mountpoint)
        g_string_append_printf(who, ", mounted at %s", holder->mountpoint);
    if (strcmp(state, "ending") == 0)
        vv_set_error(error, VV_ERROR_BUSY, pool_name, NULL,
            "pool %s (%s) is still served%s: it is ending, but LUNs are open", pool_name, directory, who->str);
    else
        vv_set_error(error, VV_ERROR_BUSY, pool_name, NULL, "pool %s (%s) is %s already%s", pool_name, directory,
            strcmp(state, "offline") == 0 ? "in use" : strcmp(state, VV_LOCK_WITNESS) == 0 ? "witnessed" : "served", who->str);
}

int vv_lock_take(const char *directory, const char *pool_name, bool must_wait, GError **error)
{
    g_autofree char *path = g_build_filename(directory, VV_LOCK_FILE, NULL);
    uint64_t deadline_ms = vv_monotonic_ms() + VV_LOCK_WAIT_MS;
    vv_autofd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int ret;

    if (fd < 0 && errno == EROFS)
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        vv_set_error_errno(error, errno, directory, "cannot open %s", path);
        return -1;
    }
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        g_auto(VvHolder) holder = { 0 };

        if (errno != EWOULDBLOCK && errno != EINTR) {
            vv_set_error_errno(error, errno, directory, "cannot lock %s", path);
            return -1;
        }
        read_holder(fd, &holder);
        if (!(must_wait || worth_waiting(&holder, directory)) || vv_monotonic_ms() >= deadline_ms) {
            set_error_held(&holder, directory, pool_name, error);
            return -1;
        }
        g_usleep(TRY_MS * 1000);
    }
    ret = fd;
    fd = -1;
    return ret;
}

void vv_lock_tell(int fd, const char *state, const char *mountpoint, pid_t pid)
{
    g_autofree char *text = g_strdup_printf("pid %d\nserving %d\nstate %s\n%s%s%s", (int) pid, (int) getpid(), state,
        mountpoint ? "mountpoint " : "", mountpoint ? mountpoint : "", mountpoint ? "\n" : "");

    /* Only for messages: what goes wrong here harms nothing. */
    if (ftruncate(fd, 0) != 0 || vv_pwrite_full(fd, text, strlen(text), 0) != 0)
        vv_log(VV_LOG_DEBUG, "lock: cannot write who holds it");
}
