/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transports to disks of another node: T1 to T3 are in disk_line.h. One lock for a line and its transports, taken before a peer's. */
#include "disk_line.h"

#include "error.h"
#include "limits.h"
#include "peer.h"
#include "shipped.h"
#include "util.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

typedef struct Transport Transport;

struct VvDiskLine {
    char *name;
    VvDiskStamp stamp;
    void *stamp_user;
    pthread_mutex_t lock; /* guards the rest, and its transports */
    pthread_cond_t changed;
    VvPeer *peer; /* reference; NULL: there is no connection */
    GPtrArray *transports; /* borrowed */
};

/* A request on its way, or (request NULL) our look. */
typedef struct Piece Piece;
struct Piece {
    Piece *next; /* in unsent or answered */
    Transport *transport;
    VvRemoteRequest *request;
    VvShipped ask;
    void *data;
    bool sent, replied, data_gone;
    int error;
    uint64_t incarnation;
};

struct Transport {
    VvTransport transport; /* first */
    VvDiskLine *line;
    uint64_t disk_id;
    int event_fd; /* wakes the link's thread */
    bool begun, looked;
    VvPeer *peer;      /* reference; of this attempt, NULL before there is one */
    char *why;         /* it is gone */
    uint64_t bytes;
    unsigned outstanding; /* pieces that the connection borrows from */
    Piece *unsent, **unsent_last;
    Piece *answered, **answered_last;
};

static Transport *transport_of(VvTransport *transport)
{
    return (Transport *) transport;
}

static void wake(Transport *transport)
{
    uint64_t one = 1;

    (void) !write(transport->event_fd, &one, sizeof one);
}

static void gone_locked(Transport *transport, const char *why)
{
    if (!transport->why)
        transport->why = g_strdup(why);
    wake(transport);
}

/* ---- answers: on the peer's loop */

/* What the link is told: T3, and a disk that is not there yet may come. */
static int error_of(int result)
{
    return result == -ESTALE || result == -ESHUTDOWN || result == -ENODATA ? ENOTCONN : -result;
}

static const char *why_of(int result)
{
    switch (result) {
    case -ENODATA:
        return "it does not serve the disk";
    case -ESTALE:
        return "the session has ended";
    case -ESHUTDOWN:
        return "another connection has taken its place";
    default:
        return g_strerror(-result);
    }
}

/* The connection borrows from it no more. */
static void piece_over_locked(Piece *piece)
{
    Transport *transport = piece->transport;

    transport->outstanding--;
    piece->next = NULL;
    *transport->answered_last = piece;
    transport->answered_last = &piece->next;
    wake(transport);
    pthread_cond_broadcast(&transport->line->changed);
}

static void reply_cb(void *user, int result, const VvIncoming *reply)
{
    Piece *piece = user;
    Transport *transport = piece->transport;
    VvShippedDone done = { .result = -EIO };
    uint32_t wanted = piece->ask.op == VV_SHIPPED_READ ? (uint32_t) piece->ask.length_bytes : 0;
    g_autoptr(GError) error = NULL;
    VV_LOCKED(&transport->line->lock);

    if (result == 0 && vv_shipped_done_decode(reply->body, reply->body_bytes, reply->data_bytes, wanted, &done, &error)) {
        piece->error = error_of(done.result);
        piece->incarnation = done.incarnation;
        if (!piece->request && done.result == 0)
            transport->bytes = done.bytes;
        if (!piece->request)
            transport->looked = done.result == 0;
        if (piece->error == ENOTCONN || !transport->looked)
            gone_locked(transport, why_of(done.result));
    } else {
        piece->error = ENOTCONN;
        gone_locked(transport, result == 0 ? "its answer is none" : "the connection has gone");
    }
    piece->replied = true;
    if (piece->data_gone)
        piece_over_locked(piece);
}

static void data_gone_cb(void *user)
{
    Piece *piece = user;
    VV_LOCKED(&piece->transport->line->lock);

    piece->data_gone = true;
    if (piece->replied)
        piece_over_locked(piece);
}

/* ---- to the server */

/* 0: it is on its way; -EAGAIN: not now; else there is no connection. */
static int send_locked(Transport *transport, Piece *piece)
{
    VvDiskLine *line = transport->line;
    bool writes = piece->ask.op == VV_SHIPPED_WRITE, reads = piece->ask.op == VV_SHIPPED_READ;
    uint8_t body[VV_SHIPPED_BYTES];
    VvOutgoing out = { .kind = VV_FRAME_DISK, .body = body, .body_bytes = sizeof body };
    VvPeerRequest request = { .timeout_ms = 2 * VV_REMOTE_WAIT_MS, .done = reply_cb, .user = piece };

    line->stamp(line->stamp_user, &piece->ask.session, &piece->ask.fence);
    vv_shipped_encode(&piece->ask, body);
    if (writes) {
        out.data = piece->data;
        out.data_bytes = (uint32_t) piece->ask.length_bytes;
        out.data_done = data_gone_cb;
        out.data_user = piece;
    }
    if (reads) {
        request.into = piece->data;
        request.into_bytes = (uint32_t) piece->ask.length_bytes;
    }
    piece->data_gone = !writes;
    int rc = vv_peer_request(transport->peer, &out, &request);
    if (rc == 0)
        transport->outstanding++;
    return rc;
}

static void pump_locked(Transport *transport)
{
    Piece *piece;

    while (transport->peer && (piece = transport->unsent)) {
        int rc = send_locked(transport, piece);
        if (rc == -EAGAIN)
            return;
        if (rc != 0) {
            gone_locked(transport, "the connection has gone");
            return;
        }
        transport->unsent = piece->next;
        if (!transport->unsent)
            transport->unsent_last = &transport->unsent;
    }
}

static Piece *piece_new(Transport *transport, VvRemoteRequest *request, VvShippedOp op, void *data, uint64_t offset, uint64_t bytes)
{
    Piece *piece = g_new0(Piece, 1);

    piece->transport = transport;
    piece->request = request;
    piece->data = data;
    piece->ask = (VvShipped){ .op = op, .disk = transport->disk_id };
    if (op != VV_SHIPPED_SYNC && op != VV_SHIPPED_LOOK) {
        piece->ask.offset_bytes = offset;
        piece->ask.length_bytes = bytes;
    }
    return piece;
}

static void queue_locked(Transport *transport, Piece *piece)
{
    *transport->unsent_last = piece;
    transport->unsent_last = &piece->next;
    pump_locked(transport);
}

/* There is a connection: this attempt is by it. */
static void meet_locked(Transport *transport)
{
    if (!transport->begun || transport->peer || transport->why || !transport->line->peer)
        return;
    transport->peer = vv_peer_ref(transport->line->peer);
    queue_locked(transport, piece_new(transport, NULL, VV_SHIPPED_LOOK, NULL, 0, 0));
}

/* ---- for the link */

static bool shipped_begin(VvTransport *base, GError **error)
{
    Transport *transport = transport_of(base);
    VV_LOCKED(&transport->line->lock);

    (void) error;
    transport->begun = true;
    transport->looked = false;
    meet_locked(transport);
    return true;
}

static VvTransportState shipped_state(VvTransport *base, char **ret_why)
{
    Transport *transport = transport_of(base);
    VV_LOCKED(&transport->line->lock);

    if (!transport->why)
        return transport->looked ? VV_TRANSPORT_READY : VV_TRANSPORT_BUSY;
    *ret_why = g_strdup_printf("node %s: %s", transport->line->name, transport->why);
    return VV_TRANSPORT_GONE;
}

static bool shipped_examine(VvTransport *base, bool read_only, VvTransportFacts *ret_facts, GError **error)
{
    Transport *transport = transport_of(base);
    VV_LOCKED(&transport->line->lock);

    (void) read_only;
    (void) error;
    *ret_facts = (VvTransportFacts){
        .bytes = transport->bytes, .piece_bytes_max = VV_PEER_DATA_BYTES_MAX, .can_discard = true
    };
    return true;
}

static int shipped_give(VvTransport *base, VvRemoteRequest *request, void *data, uint64_t offset, uint64_t bytes)
{
    static const VvShippedOp ops[] = { [VV_REMOTE_READ] = VV_SHIPPED_READ,
        [VV_REMOTE_WRITE] = VV_SHIPPED_WRITE,
        [VV_REMOTE_SYNC] = VV_SHIPPED_SYNC,
        [VV_REMOTE_DISCARD] = VV_SHIPPED_DISCARD };
    Transport *transport = transport_of(base);
    VV_LOCKED(&transport->line->lock);

    g_assert(request->kind < G_N_ELEMENTS(ops));
    if (transport->why)
        return ENOTCONN;
    queue_locked(transport, piece_new(transport, request, ops[request->kind], data, offset, bytes));
    return 0;
}

static void tell_answers(Transport *transport)
{
    Piece *piece;
    {
        VV_LOCKED(&transport->line->lock);
        pump_locked(transport);
        piece = transport->answered;
        transport->answered = NULL;
        transport->answered_last = &transport->answered;
    }
    while (piece) {
        Piece *next = piece->next;
        if (piece->request)
            vv_link_answered(piece->request, piece->error, piece->error == ENOTCONN ? 0 : piece->incarnation);
        g_free(piece);
        piece = next;
    }
}

static void shipped_drive(VvTransport *base, int wake_fd, int timeout_ms)
{
    Transport *transport = transport_of(base);
    struct pollfd polled[2] = { { .fd = wake_fd, .events = POLLIN }, { .fd = transport->event_fd, .events = POLLIN } };
    uint64_t value;

    if (poll(polled, 2, timeout_ms) > 0)
        for (unsigned i = 0; i < 2; i++)
            if (polled[i].revents)
                (void) !read(polled[i].fd, &value, sizeof value);
    tell_answers(transport);
}

static void free_pieces(Piece *piece)
{
    while (piece) {
        Piece *next = piece->next;
        g_free(piece);
        piece = next;
    }
}

static void shipped_end(VvTransport *base, bool orderly)
{
    Transport *transport = transport_of(base);
    VvDiskLine *line = transport->line;
    VV_LOCKED(&line->lock);

    (void) orderly; /* what is on the wire is waited for by nobody */
    transport->begun = transport->looked = false;
    free_pieces(transport->unsent);
    transport->unsent = NULL;
    transport->unsent_last = &transport->unsent;
    if (transport->outstanding > 0) /* T2 */
        vv_peer_close(transport->peer, 0, "requests to a disk are given up");
    while (transport->outstanding > 0) /* T1 */
        pthread_cond_wait(&line->changed, &line->lock);
    free_pieces(transport->answered);
    transport->answered = NULL;
    transport->answered_last = &transport->answered;
    g_clear_pointer(&transport->peer, vv_peer_unref);
    g_clear_pointer(&transport->why, g_free);
}

static void shipped_free(VvTransport *base)
{
    Transport *transport = transport_of(base);
    {
        VV_LOCKED(&transport->line->lock);
        g_assert(!transport->begun);
        g_ptr_array_remove(transport->line->transports, transport);
    }
    close(transport->event_fd);
    g_free(transport);
}

static const VvTransportOps shipped_ops = {
    .begin = shipped_begin,
    .state = shipped_state,
    .examine = shipped_examine,
    .give = shipped_give,
    .drive = shipped_drive,
    .end = shipped_end,
    .free = shipped_free,
};

VvTransport *vv_disk_transport_new(VvDiskLine *line, uint64_t disk_id)
{
    Transport *transport = g_new0(Transport, 1);

    transport->transport.ops = &shipped_ops;
    transport->line = line;
    transport->disk_id = disk_id;
    transport->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert(transport->event_fd >= 0);
    transport->unsent_last = &transport->unsent;
    transport->answered_last = &transport->answered;
    VV_LOCKED(&line->lock);
    g_ptr_array_add(line->transports, transport);
    return &transport->transport;
}

/* ---- the line */

VvDiskLine *vv_disk_line_new(const char *name, VvDiskStamp stamp, void *user)
{
    VvDiskLine *line = g_new0(VvDiskLine, 1);

    line->name = g_strdup(name);
    line->stamp = stamp;
    line->stamp_user = user;
    pthread_mutex_init(&line->lock, NULL);
    pthread_cond_init(&line->changed, NULL);
    line->transports = g_ptr_array_new();
    return line;
}

void vv_disk_line_free(VvDiskLine *line)
{
    if (!line)
        return;
    g_assert(line->transports->len == 0);
    g_clear_pointer(&line->peer, vv_peer_unref);
    g_ptr_array_unref(line->transports);
    pthread_cond_destroy(&line->changed);
    pthread_mutex_destroy(&line->lock);
    g_free(line->name);
    g_free(line);
}

void vv_disk_line_up(VvDiskLine *line, VvPeer *peer)
{
    VV_LOCKED(&line->lock);

    g_clear_pointer(&line->peer, vv_peer_unref);
    line->peer = vv_peer_ref(peer);
    g_free(line->name);
    line->name = g_strdup(vv_peer_theirs(peer)->name);
    for (unsigned i = 0; i < line->transports->len; i++) {
        meet_locked(g_ptr_array_index(line->transports, i));
        wake(g_ptr_array_index(line->transports, i));
    }
}

void vv_disk_line_down(VvDiskLine *line, VvPeer *peer)
{
    VV_LOCKED(&line->lock);

    if (line->peer == peer)
        g_clear_pointer(&line->peer, vv_peer_unref);
    for (unsigned i = 0; i < line->transports->len; i++) {
        Transport *transport = g_ptr_array_index(line->transports, i);
        if (transport->peer == peer)
            gone_locked(transport, "the connection has gone");
    }
}

void vv_disk_line_writable(VvDiskLine *line, VvPeer *peer)
{
    VV_LOCKED(&line->lock);

    for (unsigned i = 0; i < line->transports->len; i++) {
        Transport *transport = g_ptr_array_index(line->transports, i);
        if (transport->peer == peer)
            wake(transport);
    }
}
