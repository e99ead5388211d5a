/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exports of NBD servers: a transport through libnbd, which is called by the link's thread alone and calls back only from within these
 * calls. An NBD server does not tell its incarnation. */
#include "nbd.h"

#include "error.h"
#include "limits.h"
#include "link.h"
#include "nbd_library.h"
#include "util.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define GOODBYE_MS 1000u
#define SILENCE_MS 20000u         /* of a peer's machine, not of a server that takes its time */

typedef struct {
    VvTransport transport; /* first */
    char *uri;             /* owned */
    struct nbd_handle *handle; /* NULL: not begun, or ended */
    char *why;             /* the last error, or NULL */
} VvNbd;

static VvNbdLibrary libnbd; /* of the first export that is opened on; then it does not change */

static VvNbd *nbd_of(VvTransport *transport)
{
    return (VvNbd *) transport;
}

/* The last error of libnbd on this thread, without the name of the function. */
static const char *last_error(void)
{
    const char *text = libnbd.get_error(), *colon;

    if (!text)
        return "unknown error";
    colon = strstr(text, ": ");
    return colon && g_str_has_prefix(text, "nbd_") ? colon + 2 : text;
}

static void note_error(VvNbd *nbd)
{
    if (!nbd->why)
        nbd->why = g_strdup(last_error());
}

/* ---- its life */

static bool nbd_begin(VvTransport *transport, GError **error)
{
    VvNbd *nbd = nbd_of(transport);

    nbd->handle = libnbd.create();
    if (!nbd->handle) {
        vv_set_error(error, VV_ERROR_IO, nbd->uri, NULL, "%s", last_error());
        return false;
    }
    (void) libnbd.set_pread_initialize(nbd->handle, false);
    if (libnbd.aio_connect_uri(nbd->handle, nbd->uri) == 0)
        return true;
    if (libnbd.get_errno() == EINVAL)
        vv_set_error(error, VV_ERROR_USAGE, nbd->uri, NULL, "%s is no address of an NBD export: %s", nbd->uri, last_error());
    else
        vv_set_error(error, VV_ERROR_IO, nbd->uri, NULL, "%s", last_error());
    return false;
}

static bool has_ended(const VvNbd *nbd)
{
    return libnbd.aio_is_dead(nbd->handle) > 0 || libnbd.aio_is_closed(nbd->handle) > 0;
}

static VvTransportState nbd_state(VvTransport *transport, char **ret_why)
{
    VvNbd *nbd = nbd_of(transport);

    if (nbd->why || has_ended(nbd)) {
        *ret_why = nbd->why ? g_strdup(nbd->why) : g_strdup("the server closed the connection");
        return VV_TRANSPORT_GONE;
    }
    return libnbd.aio_is_ready(nbd->handle) > 0 ? VV_TRANSPORT_READY : VV_TRANSPORT_BUSY;
}

/* What is still in our socket shall not reach the server when its requests have been given up: K4. */
static void reset_socket(VvNbd *nbd)
{
    struct linger none = { .l_onoff = 1, .l_linger = 0 };
    int fd = libnbd.aio_get_fd(nbd->handle);

    if (fd >= 0)
        (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

static void nbd_end(VvTransport *transport, bool orderly)
{
    VvNbd *nbd = nbd_of(transport);
    uint64_t deadline_ms = vv_monotonic_ms() + GOODBYE_MS;

    if (!nbd->handle)
        return;
    if (!orderly)
        reset_socket(nbd);
    else if (libnbd.aio_is_ready(nbd->handle) > 0 && libnbd.aio_disconnect(nbd->handle, 0) == 0)
        while (!has_ended(nbd) && vv_monotonic_ms() < deadline_ms)
            if (libnbd.poll(nbd->handle, (int) GOODBYE_MS) < 0)
                break;
    libnbd.close(nbd->handle); /* forgets what is in flight */
    nbd->handle = NULL;
    g_clear_pointer(&nbd->why, g_free);
}

static void nbd_free(VvTransport *transport)
{
    VvNbd *nbd = nbd_of(transport);

    nbd_end(transport, false);
    g_free(nbd->uri);
    g_free(nbd);
}

/* ---- of use? */

/* A machine that has gone is noticed; a unix socket takes none of these. */
static void watch_peer(VvNbd *nbd)
{
    int fd = libnbd.aio_get_fd(nbd->handle), on = 1, idle = 5, count = 3;
    unsigned silence = SILENCE_MS;

    (void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool nbd_examine(VvTransport *transport, bool read_only, VvTransportFacts *ret_facts, GError **error)
{
    VvNbd *nbd = nbd_of(transport);
    const char *uri = nbd->uri;
    int64_t bytes = libnbd.get_size(nbd->handle), smallest = libnbd.get_block_size(nbd->handle, LIBNBD_SIZE_MINIMUM),
            largest = libnbd.get_block_size(nbd->handle, LIBNBD_SIZE_MAXIMUM);
    uint64_t piece = largest > 0 ? MIN((uint64_t) largest, VV_LINK_PIECE_BYTES_MAX) : VV_LINK_PIECE_BYTES_MAX;

    if (bytes < 0)
        vv_set_error(error, VV_ERROR_IO, uri, NULL, "the size of %s cannot be told: %s", uri, last_error());
    else if (!read_only && libnbd.is_read_only(nbd->handle) != 0)
        vv_set_error(error, VV_ERROR_DENIED, uri, NULL, "%s is read-only", uri);
    else if (!read_only && libnbd.can_flush(nbd->handle) <= 0)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, NULL,
            "%s cannot be flushed: nothing would be safe there when its server ends", uri);
    else if (smallest > (int64_t) VV_BLOCK_BYTES)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, NULL,
            "%s has blocks of %" G_GINT64_FORMAT " bytes: more than %u are not supported", uri, smallest, VV_BLOCK_BYTES);
    else if (piece < VV_BLOCK_BYTES)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, NULL,
            "%s takes at most %" G_GINT64_FORMAT " bytes at once: less than %u are not supported", uri, largest, VV_BLOCK_BYTES);
    else {
        watch_peer(nbd);
        *ret_facts = (VvTransportFacts){
            .bytes = (uint64_t) bytes, .piece_bytes_max = piece - piece % VV_BLOCK_BYTES, .can_discard = libnbd.can_trim(nbd->handle) > 0
        };
        return true;
    }
    return false;
}

/* ---- requests */

static int answered_cb(void *user, int *error)
{
    vv_link_answered(user, *error, 0);
    return 1;
}

static int nbd_give(VvTransport *transport, VvRemoteRequest *request, void *data, uint64_t offset, uint64_t bytes)
{
    nbd_completion_callback over = { .callback = answered_cb, .user_data = request };
    VvNbd *nbd = nbd_of(transport);
    int64_t rc = -1;

    switch (request->kind) {
    case VV_REMOTE_READ:
        rc = libnbd.aio_pread(nbd->handle, data, bytes, offset, over, 0);
        break;
    case VV_REMOTE_WRITE:
        rc = libnbd.aio_pwrite(nbd->handle, data, bytes, offset, over, 0);
        break;
    case VV_REMOTE_SYNC:
        rc = libnbd.aio_flush(nbd->handle, over, 0);
        break;
    case VV_REMOTE_DISCARD:
        rc = libnbd.aio_trim(nbd->handle, bytes, offset, over, 0);
        break;
    case VV_REMOTE_SIZE:
        g_assert_not_reached();
    }
    if (rc >= 0)
        return 0;
    /* Refused by libnbd: beyond the end, or the connection has just gone. */
    return has_ended(nbd) ? ENOTCONN : libnbd.get_errno() ? libnbd.get_errno() : EIO;
}

static void nbd_drive(VvTransport *transport, int wake_fd, int timeout_ms)
{
    VvNbd *nbd = nbd_of(transport);
    struct pollfd polled[2] = { { .fd = wake_fd, .events = POLLIN }, { .fd = -1 } };
    unsigned direction = nbd->handle ? libnbd.aio_get_direction(nbd->handle) : 0;
    int rc = 0;

    if (nbd->handle) {
        polled[1].fd = libnbd.aio_get_fd(nbd->handle);
        polled[1].events = (short) ((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                                    (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    }
    if (poll(polled, 2, timeout_ms) <= 0)
        return;
    if (polled[0].revents) {
        uint64_t value;
        (void) !read(wake_fd, &value, sizeof value);
    }
    if (!nbd->handle || !polled[1].revents)
        return;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (polled[1].revents & (POLLIN | POLLHUP | POLLERR)))
        rc = libnbd.aio_notify_read(nbd->handle);
    else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (polled[1].revents & (POLLOUT | POLLHUP | POLLERR)))
        rc = libnbd.aio_notify_write(nbd->handle);
    if (rc < 0)
        note_error(nbd);
}

static const VvTransportOps nbd_ops = {
    .begin = nbd_begin,
    .state = nbd_state,
    .examine = nbd_examine,
    .give = nbd_give,
    .drive = nbd_drive,
    .end = nbd_end,
    .free = nbd_free,
};

VvRemote *vv_nbd_open(const char *uri, bool read_only, unsigned wait_ms, GError **error)
{
    VvNbd *nbd;

    if (!vv_nbd_library_load(&libnbd, uri, error))
        return NULL;
    nbd = g_new0(VvNbd, 1);
    nbd->transport.ops = &nbd_ops;
    nbd->uri = g_strdup(uri);
    return vv_link_open(&nbd->transport, uri, read_only, wait_ms, error);
}
