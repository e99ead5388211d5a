/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking over a mount from a predecessor, and leaving one to a successor (survival.h).
 *
 *     taking over    descriptors of the connection come from outside | INIT is played again, its answer swallowed | what is
 *                    open is opened again by its records | RESEND | workers start
 *     leaving        workers stop reading | what is under way ends; what waits ends without an answer, as does what fails because
 *                    everything ends: the kernel sends it again | handles are let go, their records stay
 *
 * L1  A request that was answered was carried out; one that was not is sent again. So nothing is answered with an error that has
 *     its cause in leaving.
 * L2  RESEND comes when the predecessor has been reaped (what it had read is nobody's) and before anybody reads here. */
#include "nodes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define NOTIFY_RESEND 7u          /* 6.9; not in older headers */
#define HAS_RESEND_FLAG2 (1u << 7) /* FUSE_HAS_RESEND, bit 39 of INIT's flags */
#define KICK_US 2000

/* ---- what a successor needs */

void vv_fuse_connection(const VvFuse *fuse, VvFuseConnection *ret_connection)
{
    g_assert(fuse->mounted && !fuse->uring);
    *ret_connection = fuse->takeover.connection;
    ret_connection->root_fd = fuse->root_fd;
    ret_connection->device_minor = fuse->device_minor;
    ret_connection->clone_count = 0;
    for (unsigned i = 0; i < fuse->server_count; i++) {
        ret_connection->clone_fds[ret_connection->clone_count++] = fuse->servers[i].blocking_fd;
        ret_connection->clone_fds[ret_connection->clone_count++] = fuse->servers[i].nonblocking_fd;
    }
}

void vv_takeover_save_init(VvFuse *fuse, const void *request, size_t length_bytes)
{
    const struct fuse_in_header *header = request;
    const struct fuse_init_in *in = (const void *) (header + 1);
    if (length_bytes > VV_FUSE_INIT_BYTES_MAX)
        return;
    memcpy(fuse->takeover.connection.init, request, length_bytes);
    fuse->takeover.connection.init_bytes = (uint32_t) length_bytes;
    fuse->takeover.connection.can_resend =
        length_bytes >= sizeof *header + sizeof *in && in->flags & FUSE_INIT_EXT && in->flags2 & HAS_RESEND_FLAG2;
}

/* ---- taking over */

static void restore_file(void *user, VvFile *file, const VvOpenRecord *record, bool open)
{
    VvFuse *fuse = user;
    if (!open) {
        if (record->kind == VV_HANDLE_OBJECT && record->node)
            vv_pool_closed_before(fuse->pool, record->node);
    } else if (record->kind == VV_HANDLE_OBJECT) {
        VvOpen again = { .write = record->write, .again = true, .pid = (pid_t) record->pid };
        VvHandle *handle;
        int rc = vv_handle_open(fuse->pool, record->node, &again, &handle);
        if (rc < 0) {
            vv_log(VV_LOG_WARNING, "object %" G_GUINT64_FORMAT " was open, and cannot be opened again: %s",
                record->node, g_strerror(-rc));
            return;
        }
        vv_file_set_object(&fuse->handles, file, handle);
        file->kind = VV_HANDLE_OBJECT;
    } else if (record->kind == VV_HANDLE_TEXT) {
        unsigned number = (unsigned) (record->node - VV_NODE_TEXT);
        if (record->node >= VV_NODE_TEXT && number < fuse->text_count)
            file->text = fuse->texts[number].producer(fuse->texts[number].user, &file->text_bytes);
        file->old_text_bytes = record->text_bytes;
    }
}

bool vv_takeover_restore_files(VvFuse *fuse, GError **error)
{
    if (!fuse->takeover.keeps_opens)
        return true;
    if (!vv_handles_keep_in(&fuse->handles, fuse->takeover.opens_fd, error))
        return false;
    vv_handles_each_file(&fuse->handles, restore_file, fuse);
    return true;
}

static bool ask_to_resend(VvFuse *fuse, GError **error)
{
    const struct fuse_out_header ask = { .len = sizeof ask, .error = NOTIFY_RESEND };
    if (!fuse->takeover.connection.can_resend) /* its predecessor left nothing unanswered */
        return true;
    ssize_t n = write(fuse->root_fd, &ask, sizeof ask);
    if (n == (ssize_t) sizeof ask || errno == ENODEV || errno == ENOTCONN) /* the mount ended meanwhile: readers will see it */
        return true;
    vv_set_error_errno(error, errno, fuse->mount_point, "the kernel does not send again what was not answered");
    return false;
}

void vv_takeover_look(VvFuse *fuse, const struct fuse_in_header *request)
{
    bool out_of_turn = (request->opcode == FUSE_INTERRUPT || request->opcode == FUSE_FORGET || request->opcode == FUSE_BATCH_FORGET);
    if (!out_of_turn && !(request->unique & VV_RESENT_BIT))
        atomic_store(&fuse->takeover.resent_read, true);
}

void vv_fuse_wait_for_resent(VvFuse *fuse)
{
    uint64_t until_ms = vv_monotonic_ms() + VV_RESENT_MS;
    unsigned looks = 0; /* in a row: between its reading and its counting a request is not seen */
    while (looks < 3 && vv_monotonic_ms() < until_ms) {
        struct pollfd pending = { .fd = fuse->root_fd, .events = POLLIN };
        if (poll(&pending, 1, 0) == 0)
            atomic_store(&fuse->takeover.resent_read, true);
        looks = atomic_load(&fuse->takeover.resent_read) && atomic_load(&fuse->takeover.resent) == 0 ? looks + 1 : 0;
        g_usleep(1000);
    }
}

static int keep_fd(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

bool vv_takeover_adopt(VvFuse *fuse, GError **error)
{
    const VvFuseConnection *c = &fuse->takeover.connection;
    int session_fd = keep_fd(c->root_fd);
    fuse->root_fd = keep_fd(c->root_fd);
    fuse->device_minor = c->device_minor;
    fuse->mounted = true;
    bool ok = session_fd >= 0 && fuse->root_fd >= 0 && vv_session_set_io(fuse, session_fd);
    for (unsigned i = 0; ok && i < fuse->server_count; i++) {
        VvServer *server = &fuse->servers[i];
        server->blocking_fd = keep_fd(c->clone_fds[2 * i]);
        server->nonblocking_fd = keep_fd(c->clone_fds[2 * i + 1]);
        ok = server->blocking_fd >= 0 && server->nonblocking_fd >= 0;
        vv_worker_set_source(server->worker, server->blocking_fd, server->nonblocking_fd, vv_take, server);
        vv_worker_share_source(server->worker, &fuse->roster);
    }
    if (!ok) {
        vv_set_error(error, VV_ERROR_INTERNAL, fuse->mount_point, NULL, "the connection cannot be taken over");
        return false;
    }
    return vv_session_replay_init(fuse, c->init, c->init_bytes, error) && vv_takeover_restore_files(fuse, error) &&
           ask_to_resend(fuse, error); /* L2 */
}

void vv_takeover_detach(VvFuse *fuse)
{
    struct pollfd poll_fd = { .fd = fuse->root_fd };
    const char *argv[] = { "fusermount3", "-u", "-q", "-z", "--", fuse->mount_point, NULL };
    if (poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & POLLERR) /* it has ended: what is mounted there now is another */
        return;
    if (umount2(fuse->mount_point, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno == EPERM)
        g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

/* ---- leaving */

static void interrupted(int number)
{
    (void) number;
}

/* Which ends a read that a worker sleeps in. */
static int kick_signal(void)
{
    return SIGURG;
}

void vv_takeover_worker_begins(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void vv_takeover_worker_ended(VvServer *server)
{
    VV_LOCKED(&server->fuse->takeover.lock);
    server->running = false;
}

static bool kick_workers(VvFuse *fuse)
{
    bool any = false;
    VV_LOCKED(&fuse->takeover.lock);
    for (unsigned i = 0; i < fuse->server_count; i++) {
        if (!fuse->servers[i].running)
            continue;
        any = true;
        pthread_kill(fuse->servers[i].thread, kick_signal()); /* again and again: it may have been about to read */
    }
    return any;
}

void vv_fuse_leave(VvFuse *fuse)
{
    const struct sigaction action = { .sa_handler = interrupted }; /* no SA_RESTART */
    if (!fuse->mounted || fuse->uring || atomic_exchange(&fuse->takeover.leaving, true))
        return;
    sigaction(kick_signal(), &action, NULL);
    for (unsigned i = 0; i < fuse->server_count; i++)
        vv_worker_stop(fuse->servers[i].worker);
    if (fuse->takeover.connection.can_resend) /* otherwise what waits must end well, since nobody would do it again */
        vv_pool_abort_waiting(fuse->pool);
    while (kick_workers(fuse))
        g_usleep(KICK_US);
}

bool vv_takeover_swallows(const VvFuse *fuse, int error)
{
    return atomic_load_explicit(&fuse->takeover.leaving, memory_order_relaxed) && fuse->takeover.connection.can_resend &&
           (error == -EIO || error == -ESHUTDOWN);
}
