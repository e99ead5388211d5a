/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vvfs --upgrade`, at the holder: who asks sends an open program; a probe of it looks at the state; only if it understands that does
 * the old one leave. One at a time.
 *
 *     asked -> probe -> agreed -> the old one leaves -> the new one starts -> it serves: answered
 *                 `-> refused: answered, nothing has changed      `-> it ends first: the old program again, then answered */
#include "holder_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- the socket */

static char *socket_path(const VvHolding *h)
{
    return g_build_filename(h->directory, VV_HOLD_SOCKET, NULL);
}

void vv_holder_listen(VvHolding *h)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_autofree char *path = socket_path(h);
    vv_autofd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;
    mode_t before;
    int rc;

    if (strlen(path) >= sizeof(address.sun_path)) /* the admin socket's is longer, and was checked */
        return;
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    unlink(path); /* who serves has the pool's lock: it is nobody's */
    before = umask(0177);
    rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *) &address, sizeof(address));
    umask(before);
    if (rc != 0 || listen(fd, 4) != 0 || lstat(path, &st) != 0) {
        vv_log(VV_LOG_NOTE, "no `vvfs --upgrade` of this mount: %s: %s", path, g_strerror(errno));
        return;
    }
    h->listener_inode = st.st_ino;
    h->listener = fd;
    fd = -1;
}

void vv_holder_close_socket(VvHolding *h)
{
    g_autofree char *path = socket_path(h);
    struct stat st;

    if (h->listener >= 0 && lstat(path, &st) == 0 && st.st_ino == h->listener_inode)
        unlink(path);
    vv_close_fd(&h->listener);
}

static void answer_to(int fd, int code, const char *text)
{
    char answer[600];
    int length = g_snprintf(answer, sizeof(answer), "%c%s", (char) code, text);

    if (send(fd, answer, MIN((size_t) length, sizeof(answer) - 1), MSG_NOSIGNAL) < 0)
        vv_log(VV_LOG_DEBUG, "who asked for the upgrade has gone: %s", g_strerror(errno));
}

void vv_holder_answer(VvHolding *h, int code, const char *text)
{
    if (h->client >= 0)
        answer_to(h->client, code, text);
    vv_close_fd(&h->client);
}

void vv_holder_accept(VvHolding *h)
{
    vv_autofd int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer = { .uid = (uid_t) -1 };
    socklen_t length = sizeof(peer);

    if (fd < 0)
        return;
    /* It is going to run as us. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || (peer.uid != 0 && peer.uid != geteuid())) {
        answer_to(fd, VV_EXIT_FAILED, "only root and the user who mounted it may exchange what serves a mount");
        return;
    }
    if (h->client >= 0 || h->probe || h->upgrading) {
        answer_to(fd, VV_EXIT_FAILED, "another upgrade is under way");
        return;
    }
    h->client = fd;
    fd = -1;
}

/* ---- asked */

static void probe(VvHolding *h, int program_fd)
{
    int pipe_fds[2];

    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        close(program_fd);
        vv_holder_answer(h, VV_EXIT_FAILED, g_strerror(errno));
        return;
    }
    h->old_program_fd = h->program_fd;
    h->program_fd = program_fd;
    h->probe_fd = pipe_fds[0];
    h->probe = vv_holder_spawn(h, program_fd, -1, pipe_fds[1]);
    close(pipe_fds[1]);
    if (h->probe > 0)
        return;
    h->probe = 0;
    close(h->probe_fd);
    vv_holder_revert(h, "no process can be started");
    vv_holder_answer(h, VV_EXIT_FAILED, h->failure);
}

void vv_holder_read_client(VvHolding *h)
{
    char magic[sizeof(VV_UPGRADE_MAGIC)] = "", control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { magic, sizeof(magic) };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    ssize_t length = recvmsg(h->client, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    int fd = -1;

    if (length < 0 && errno == EAGAIN)
        return;
    if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    if (length == sizeof(magic) && memcmp(magic, VV_UPGRADE_MAGIC, sizeof(magic)) == 0 && fd >= 0 && !h->probe &&
        !h->upgrading) {
        h->failure[0] = '\0';
        probe(h, fd);
        return;
    }
    vv_close_fd(&fd);
    if (length > 0)
        vv_holder_answer(h, VV_EXIT_FAILED, "the vvfs that holds the mount does not know this kind of upgrade");
    vv_close_fd(&h->client); /* gone: what it began goes on */
}

static void go_on_with_new(VvHolding *h)
{
    h->upgrading = true;
    h->deaths = 0;
    if (h->child > 0 && h->ready) {
        h->leaving = true;
        h->leave_by_ms = vv_monotonic_ms() + VV_LEAVE_SECONDS_MAX * 1000u;
        vv_holder_tell(h, VV_HOLD_LEAVE);
    } else if (h->child == 0) {
        h->start_at_ms = vv_monotonic_ms();
    }
}

void vv_holder_probe_ended(VvHolding *h, pid_t pid, int status)
{
    char text[400];
    ssize_t length;

    if (pid != h->probe)
        return;
    h->probe = 0;
    length = read(h->probe_fd, text, sizeof(text) - 1);
    text[MAX(length, 0)] = '\0';
    g_strchomp(text);
    close(h->probe_fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        go_on_with_new(h);
        return;
    }
    vv_holder_revert(h, text[0] ? text : "the new vvfs cannot be started");
    vv_log(VV_LOG_WARNING, "upgrade of %s refused: %s", vv_holder_what(h), h->failure);
    vv_holder_answer(h, VV_EXIT_FAILED, h->failure);
}

/* ---- and done */

void vv_holder_revert(VvHolding *h, const char *why)
{
    g_strlcpy(h->failure, why, sizeof(h->failure));
    if (h->old_program_fd < 0)
        return;
    close(h->program_fd);
    h->program_fd = h->old_program_fd;
    h->old_program_fd = -1;
}

void vv_holder_serves_again(VvHolding *h)
{
    char text[64];

    if (!h->upgrading)
        return;
    h->upgrading = false;
    vv_close_fd(&h->old_program_fd);
    g_snprintf(text, sizeof(text), "%d", (int) h->child);
    vv_holder_answer(h, h->failure[0] ? VV_EXIT_FAILED : VV_EXIT_OK, h->failure[0] ? h->failure : text);
}
