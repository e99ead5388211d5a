/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a holder left to us, and our words to it. */
#include "held.h"

#include "config.h"
#include "error.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct VvHeld {
    VvHoldState *state; /* mapped */
    int socket;         /* -1: a probe */
    struct event *heard;
    VvHeldFuncs funcs;
    void *user;
};

static void close_on_exec(int fd)
{
    int flags = fd >= 0 ? fcntl(fd, F_GETFD) : -1;

    if (flags >= 0)
        fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

static bool is_understood(const VvHoldState *state, GError **error)
{
    char magic[sizeof(state->magic) + 1] = "";

    memcpy(magic, state->magic, sizeof(state->magic));
    if (strcmp(magic, VV_HOLD_MAGIC) == 0 && state->state_bytes == sizeof(*state) &&
        state->connection.clone_count <= VV_FUSE_CLONES_MAX && state->connection.clone_count % 2 == 0 &&
        state->connection.init_bytes <= VV_FUSE_INIT_BYTES_MAX)
        return true;
    vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, "unmount it and mount it again with the new one",
        "this vvfs (%s) cannot take over: the running one keeps its mount as %s of %u bytes, and this one knows %s of %zu",
        PACKAGE_VERSION, g_str_is_ascii(magic) ? magic : "something else", state->state_bytes, VV_HOLD_MAGIC,
        sizeof(*state));
    return false;
}

VvHeld *vv_held_open(const char *words, GError **error)
{
    int state_fd, socket;
    struct stat st;
    VvHeld *held;
    void *map;

    if (sscanf(words, "%d,%d", &state_fd, &socket) != 2 || fstat(state_fd, &st) != 0) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs --help", "--serve is for vvfs itself");
        return NULL;
    }
    close_on_exec(state_fd);
    close_on_exec(socket);
    map = (size_t) st.st_size < sizeof(VvHoldState)
              ? MAP_FAILED
              : mmap(NULL, sizeof(VvHoldState), PROT_READ | PROT_WRITE, MAP_SHARED, state_fd, 0);
    if (map == MAP_FAILED) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, NULL, "this vvfs (%s) cannot read what the running one keeps",
            PACKAGE_VERSION);
        return NULL;
    }
    held = g_new0(VvHeld, 1);
    held->state = map;
    held->socket = socket;
    if (!is_understood(held->state, error)) {
        vv_held_free(held);
        return NULL;
    }
    if (socket >= 0) {
        close_on_exec(held->state->opens_fd);
        close_on_exec(held->state->pending_fd);
        close_on_exec(held->state->events_fd);
        for (unsigned i = 0; held->state->mounted && i < held->state->connection.clone_count; i++)
            close_on_exec(held->state->connection.clone_fds[i]);
        if (held->state->mounted)
            close_on_exec(held->state->connection.root_fd);
    }
    return held;
}

void vv_held_free(VvHeld *held)
{
    if (!held)
        return;
    if (held->heard)
        event_free(held->heard);
    vv_close_fd(&held->socket);
    munmap(held->state, sizeof(*held->state));
    g_free(held);
}

bool vv_held_is_probe(const VvHeld *held)
{
    return held->socket < 0;
}

const VvHoldState *vv_held_state(const VvHeld *held)
{
    return held->state;
}

bool vv_held_give(VvHeld *held, const VvFuseConnection *connection, GError **error)
{
    char what = VV_HOLD_MOUNTED, control[CMSG_SPACE(sizeof(int) * (VV_FUSE_CLONES_MAX + 1))] = "";
    size_t count = connection->clone_count + 1;
    struct iovec iov[] = { { &what, 1 }, { (void *) connection, sizeof(*connection) } };
    struct msghdr message = { .msg_iov = iov,
        .msg_iovlen = 2,
        .msg_control = control,
        .msg_controllen = CMSG_SPACE(sizeof(int) * count) };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int fds[VV_FUSE_CLONES_MAX + 1];

    fds[0] = connection->root_fd;
    memcpy(fds + 1, connection->clone_fds, sizeof(int) * connection->clone_count);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    if (sendmsg(held->socket, &message, MSG_NOSIGNAL) > 0)
        return true;
    vv_set_error_errno(error, errno, NULL, "the holder does not take the mount");
    return false;
}

static void heard_cb(evutil_socket_t fd, short what, void *user)
{
    VvHeld *held = user;
    char message;
    ssize_t length;

    (void) what;
    while ((length = recv((int) fd, &message, 1, 0)) == 1) {
        if (message == VV_HOLD_TERM)
            held->funcs.term(held->user, atomic_load(&held->state->terms));
        else if (message == VV_HOLD_LEAVE)
            held->funcs.leave(held->user);
    }
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    event_del(held->heard);
    held->funcs.alone(held->user);
}

bool vv_held_watch(VvHeld *held, VvControl *loop, const VvHeldFuncs *funcs, void *user)
{
    held->funcs = *funcs;
    held->user = user;
    held->heard = event_new(vv_control_base(loop), held->socket, EV_READ | EV_PERSIST, heard_cb, held);
    return held->heard && event_add(held->heard, NULL) == 0;
}

void vv_held_ready(VvHeld *held)
{
    char what = VV_HOLD_READY;

    atomic_store(&held->state->phase, VV_PHASE_SERVING);
    if (send(held->socket, &what, 1, MSG_NOSIGNAL) != 1)
        vv_log(VV_LOG_DEBUG, "the holder does not hear: %s", g_strerror(errno));
}

void vv_held_end(VvHeld *held, VvHoldPhase phase)
{
    atomic_store(&held->state->phase, phase);
}
