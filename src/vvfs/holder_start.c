/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting processes that serve, and hearing them. */
#include "holder_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

int vv_holder_memfd(const char *name, uint64_t bytes)
{
    vv_autofd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int result;

    if (fd < 0 || ftruncate(fd, (off_t) bytes) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return -1;
    result = fd;
    fd = -1;
    return result;
}

const char *vv_holder_what(const VvHolding *h)
{
    return h->options->mountpoint ? h->options->mountpoint : h->directory;
}

/* ---- starting */

static void inherit(int fd)
{
    int flags = fd >= 0 ? fcntl(fd, F_GETFD) : -1;

    if (flags >= 0)
        fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
}

void vv_holder_set_oom_score(const char *text)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);

    if (fd >= 0 && write(fd, text, length) != (ssize_t) length)
        errno = 0; /* not permitted: as the user's other processes */
    if (fd >= 0)
        close(fd);
}

/* In the child: nothing but system calls, and no memory of its own. */
static void run_program(VvHolding *h, int program_fd, int socket, int error_fd, char **argv)
{
    const VvHoldState *state = h->state;
    static char empty[] = "";

    sigprocmask(SIG_SETMASK, &h->signals_before, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    vv_holder_set_oom_score(h->oom_score); /* ours is not its */
    inherit(h->state_fd);
    inherit(socket);
    if (socket >= 0) {
        inherit(state->opens_fd);
        inherit(state->pending_fd);
        inherit(state->events_fd);
        if (state->mounted) {
            inherit(state->connection.root_fd);
            for (unsigned i = 0; i < state->connection.clone_count; i++)
                inherit(state->connection.clone_fds[i]);
        }
    }
    if (error_fd >= 0)
        dup2(error_fd, STDERR_FILENO);
    execveat(program_fd, empty, argv, environ, AT_EMPTY_PATH);
    _exit(127);
}

pid_t vv_holder_spawn(VvHolding *h, int program_fd, int socket, int error_fd)
{
    GStrv words = h->options->words;
    unsigned count = 0, length = words ? g_strv_length(words) : 0;
    g_autofree char **argv = g_new0(char *, length + 6);
    char serve[48];
    pid_t pid;

    g_snprintf(serve, sizeof(serve), "--serve=%d,%d", h->state_fd, socket);
    argv[count++] = (char *) "vvfs";
    argv[count++] = serve;
    for (unsigned i = 0; i < length; i++)
        argv[count++] = words[i];
    argv[count++] = (char *) "--";
    argv[count++] = (char *) h->directory;
    argv[count++] = h->options->mountpoint; /* NULL: a witness */
    pid = fork();
    if (pid == 0)
        run_program(h, program_fd, socket, error_fd, argv);
    return pid;
}

bool vv_holder_start(VvHolding *h)
{
    int pair[2];

    h->ready = false;
    atomic_store(&h->state->phase, VV_PHASE_STARTING);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        vv_log(VV_LOG_ERROR, "cannot start a process: %s", g_strerror(errno));
        return false;
    }
    h->child = vv_holder_spawn(h, h->program_fd, pair[1], -1);
    close(pair[1]);
    if (h->child < 0) {
        vv_log(VV_LOG_ERROR, "cannot start a process: %s", g_strerror(errno));
        close(pair[0]);
        h->child = 0;
        return false;
    }
    h->socket = pair[0];
    return true;
}

/* ---- hearing */

void vv_holder_tell(VvHolding *h, char message)
{
    if (h->socket >= 0 && send(h->socket, &message, 1, MSG_NOSIGNAL) != 1)
        vv_log(VV_LOG_DEBUG, "the serving process does not hear: %s", g_strerror(errno));
}

/* The caller's terminal and directory are let go; logging is elsewhere already. */
static void tell_caller(VvHolding *h)
{
    char code = VV_EXIT_OK;
    int null;

    if (h->ready_fd < 0)
        return;
    if (chdir("/") != 0)
        vv_log(VV_LOG_INFO, "cannot leave the directory: %s", g_strerror(errno));
    if (write(h->ready_fd, &code, 1) != 1)
        vv_log(VV_LOG_INFO, "nobody waits for the start to be done");
    vv_close_fd(&h->ready_fd);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
}

static void it_is_ready(VvHolding *h)
{
    h->ready_ms = vv_monotonic_ms();
    h->ready = true;
    if (!h->was_ready)
        vv_holder_listen(h);
    h->was_ready = true;
    vv_holder_serves_again(h);
    tell_caller(h);
}

/* Root first, then the clones. */
static void keep_connection(VvHolding *h, const VvFuseConnection *said, const int *fds, unsigned count)
{
    if (count != said->clone_count + 1 || said->clone_count > VV_FUSE_CLONES_MAX || h->state->mounted) {
        for (unsigned i = 0; i < count; i++)
            close(fds[i]);
        return;
    }
    h->state->connection = *said;
    h->state->connection.root_fd = fds[0];
    for (unsigned i = 0; i + 1 < count; i++)
        h->state->connection.clone_fds[i] = fds[i + 1];
    h->state->mounted = true;
}

/* One message. False: there is none. */
static bool read_message(VvHolding *h)
{
    char what, control[CMSG_SPACE(sizeof(int) * (VV_FUSE_CLONES_MAX + 1))];
    VvFuseConnection connection;
    struct iovec iov[] = { { &what, 1 }, { &connection, sizeof(connection) } };
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof(control) };
    ssize_t length = recvmsg(h->socket, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header;

    if (length <= 0) {
        if (length == 0 || errno != EAGAIN)
            vv_close_fd(&h->socket); /* SIGCHLD follows */
        return false;
    }
    header = CMSG_FIRSTHDR(&message);
    if (what == VV_HOLD_MOUNTED && length == 1 + (ssize_t) sizeof(connection) && header && header->cmsg_type == SCM_RIGHTS)
        keep_connection(h, &connection, (const int *) (const void *) CMSG_DATA(header),
            (unsigned) ((header->cmsg_len - CMSG_LEN(0)) / sizeof(int)));
    else if (what == VV_HOLD_READY)
        it_is_ready(h);
    return true;
}

void vv_holder_read_messages(VvHolding *h)
{
    while (h->socket >= 0 && read_message(h))
        continue;
}
