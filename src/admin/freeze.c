/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A child process freezes and thaws, because nothing may come between: not a Ctrl-C, not a kill of the parent, not a
 * daemon that hangs. It has two pipes with its parent:
 *
 *   child                               parent
 *   FIFREEZE each
 *   Report {0 or errno, which}     ->   goes on, or fails
 *   poll: end of file, or 10 s          ... the snapshot ...
 *                                  <-   closes its end (or dies)
 *   FITHAW each
 *   Report {0 or ETIMEDOUT}        ->   knows if the time was enough
 *
 * The child has a session of its own, ignores signals, holds open what it needs, and prints nothing: a frozen file
 * system may be the one that its output goes to. */
#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "error.h"
#include "limits.h"
#include "loop.h"
#include "util.h"

#define FREEZE_MS (VV_FREEZE_SECONDS_MAX * 1000u)

typedef struct {
    int err;
    unsigned which; /* index of the mount that could not be frozen */
} Report;

struct VvFreeze {
    pid_t child;
    int from_child;
    int to_child;
    uint64_t deadline_ms;
};

static void lun_mount_free(VvLunMount *mount)
{
    g_free(mount->lun);
    g_free(mount->mountpoint);
    g_free(mount->type);
    g_free(mount);
}

GPtrArray *vv_lun_mounts(const char *mountpoint, GPtrArray *luns)
{
    GPtrArray *mounts = g_ptr_array_new_with_free_func((GDestroyNotify) lun_mount_free);

    for (unsigned i = 0; i < luns->len; i++) {
        const char *lun = g_ptr_array_index(luns, i);
        g_autofree char *path = vv_object_path(mountpoint, lun);
        g_autoptr(GPtrArray) loops = vv_loops_find(path, false);

        for (unsigned j = 0; j < loops->len; j++) {
            g_autoptr(GPtrArray) users = vv_loop_users(g_ptr_array_index(loops, j));

            for (unsigned k = 0; k < users->len; k++) {
                const VvLoopUser *user = g_ptr_array_index(users, k);
                VvLunMount *mount;

                if (!user->mountpoint)
                    continue;
                mount = g_new0(VvLunMount, 1);
                mount->lun = g_strdup(lun);
                mount->mountpoint = g_strdup(user->mountpoint);
                mount->type = g_strdup(user->type);
                g_ptr_array_add(mounts, mount);
            }
        }
    }
    return mounts;
}

/* ---- the child */

static void thaw(const int *fds, unsigned count)
{
    while (count-- > 0)
        ioctl(fds[count], FITHAW, 0);
}

static G_GNUC_NORETURN void run_child(
    const int *fds, unsigned count, int from_parent, int to_parent, uint64_t deadline_ms)
{
    struct pollfd pfd = { .fd = from_parent, .events = POLLIN };
    Report report = { 0 };
    uint64_t now_ms;
    int n;

    setsid();
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_IGN);
    for (; report.which < count; report.which++) {
        if (ioctl(fds[report.which], FIFREEZE, 0) == 0)
            continue;
        report.err = errno;
        thaw(fds, report.which);
        break;
    }
    if (write(to_parent, &report, sizeof report) != sizeof report || report.err) {
        if (!report.err)
            thaw(fds, count);
        _exit(1);
    }
    do {
        now_ms = vv_monotonic_ms();
        n = now_ms < deadline_ms ? poll(&pfd, 1, (int) (deadline_ms - now_ms)) : 0;
    } while (n < 0 && errno == EINTR);
    thaw(fds, count);
    report.err = n > 0 ? 0 : ETIMEDOUT;
    n = (int) write(to_parent, &report, sizeof report);
    _exit(n == sizeof report ? 0 : 1);
}

/* ---- the parent */

static void close_all(const GArray *fds)
{
    for (unsigned i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
}

/* One descriptor for each file system, however often it is mounted. */
static bool open_all(GPtrArray *mounts, GArray *fds, GArray *indices, GError **error)
{
    g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(dev_t));

    for (unsigned i = 0; i < mounts->len; i++) {
        const VvLunMount *mount = g_ptr_array_index(mounts, i);
        struct stat root;
        bool known = false;
        int fd = open(mount->mountpoint, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || fstat(fd, &root) < 0) {
            vv_set_error_errno(
                error, errno, mount->mountpoint, "cannot freeze %s: nothing was changed", mount->mountpoint);
            vv_close_fd(&fd);
            return false;
        }
        for (unsigned j = 0; j < devices->len; j++)
            known |= g_array_index(devices, dev_t, j) == root.st_dev;
        if (known) {
            close(fd);
            continue;
        }
        g_array_append_val(devices, root.st_dev);
        g_array_append_val(fds, fd);
        g_array_append_val(indices, i);
    }
    return true;
}

/* False: no report by the deadline. */
static bool read_report(const VvFreeze *freeze, uint64_t deadline_ms, Report *ret_report)
{
    struct pollfd pfd = { .fd = freeze->from_child, .events = POLLIN };

    for (;;) {
        uint64_t now_ms = vv_monotonic_ms();
        int n = poll(&pfd, 1, now_ms < deadline_ms ? (int) (deadline_ms - now_ms) : 0);

        if (n > 0)
            return read(freeze->from_child, ret_report, sizeof *ret_report) == sizeof *ret_report;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static void set_error_report(
    GPtrArray *mounts, const GArray *indices, bool reported, const Report *report, GError **error)
{
    const VvLunMount *mount;

    if (!reported || report->which >= indices->len) {
        vv_set_error(error, VV_ERROR_TIMEOUT, NULL, NULL,
            "the file systems could not be frozen within %u s: no snapshot was taken", VV_FREEZE_SECONDS_MAX);
        return;
    }
    mount = g_ptr_array_index(mounts, g_array_index(indices, unsigned, report->which));
    if (report->err == EBUSY)
        vv_set_error(error, VV_ERROR_BUSY, mount->mountpoint, "`fsfreeze --unfreeze` thaws it.",
            "%s is frozen already, by somebody else: no snapshot was taken", mount->mountpoint);
    else if (report->err == EOPNOTSUPP)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, mount->mountpoint,
            "Unmount it, or take the snapshot without `--freeze`.", "%s (%s) cannot be frozen: no snapshot was taken",
            mount->mountpoint, mount->type);
    else
        vv_set_error_errno(
            error, report->err, mount->mountpoint, "cannot freeze %s: no snapshot was taken", mount->mountpoint);
}

static VvFreeze *start_child(const GArray *fds, GError **error)
{
    VvFreeze *freeze;
    uint64_t deadline_ms = vv_monotonic_ms() + FREEZE_MS;
    int up[2];
    int down[2];

    if (pipe2(up, O_CLOEXEC) < 0) {
        vv_set_error_errno(error, errno, NULL, "pipe");
        return NULL;
    }
    if (pipe2(down, O_CLOEXEC) < 0) {
        vv_set_error_errno(error, errno, NULL, "pipe");
        close(up[0]);
        close(up[1]);
        return NULL;
    }
    freeze = g_new0(VvFreeze, 1);
    freeze->deadline_ms = deadline_ms;
    freeze->child = fork();
    if (freeze->child == 0) {
        close(up[0]);
        close(down[1]);
        run_child((const int *) (const void *) fds->data, fds->len, down[0], up[1], deadline_ms);
    }
    close(up[1]);
    close(down[0]);
    freeze->from_child = up[0];
    freeze->to_child = down[1];
    if (freeze->child > 0)
        return freeze;
    vv_set_error_errno(error, errno, NULL, "fork");
    close(up[0]);
    close(down[1]);
    g_free(freeze);
    return NULL;
}

VvFreeze *vv_freeze_begin(GPtrArray *mounts, GError **error)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GArray) indices = g_array_new(FALSE, FALSE, sizeof(unsigned));
    VvFreeze *freeze = NULL;
    Report report = { 0 };
    bool reported;

    if (open_all(mounts, fds, indices, error))
        freeze = start_child(fds, error);
    close_all(fds);
    if (!freeze)
        return NULL;
    reported = read_report(freeze, freeze->deadline_ms, &report);
    if (reported && !report.err)
        return freeze;
    set_error_report(mounts, indices, reported, &report, error);
    close(freeze->to_child); /* a child that is stuck in the kernel thaws as soon as it comes back */
    close(freeze->from_child);
    waitpid(freeze->child, NULL, reported ? 0 : WNOHANG);
    g_free(freeze);
    return NULL;
}

uint64_t vv_freeze_deadline_ms(const VvFreeze *freeze)
{
    return freeze->deadline_ms;
}

bool vv_freeze_end(VvFreeze *freeze)
{
    Report report = { .err = ETIMEDOUT };
    bool reported;

    close(freeze->to_child);
    reported = read_report(freeze, vv_monotonic_ms() + FREEZE_MS, &report);
    close(freeze->from_child);
    waitpid(freeze->child, NULL, reported ? 0 : WNOHANG);
    g_free(freeze);
    return reported && report.err == 0;
}
