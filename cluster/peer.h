/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One live connection to another node, from the end of its hello to its death.
 *
 *   state     enters by                       what it does
 *   new       vv_peer_new                     takes messages to send, sends none
 *   up        vv_peer_start                   reads, writes, pings
 *   leaving   vv_peer_close with a goodbye    writes what waits, for VV_PEER_IDLE_MS at most; reads nothing
 *   down      anything that ends it           every request has been answered or failed, all borrowed data given back
 *
 * P1 All but the queue and the counters is touched by the loop's thread alone, and every callback comes from there.
 * P2 done() of a request comes exactly once, data_done() of accepted data exactly once, down() exactly once and last.
 * P3 On data connections only who dialled asks: so answers never wait for requests, and pausing cannot tie both ends.
 * P4 Who breaks the rules is closed; nothing in its bytes is asserted. */
#ifndef VV_PEER_H
#define VV_PEER_H

#include "address.h"
#include "frame.h"
#include "hello.h"
#include "identity.h"
#include "peerloop.h"

#include <openssl/types.h>

struct evbuffer;
typedef struct VvPeer VvPeer;

/* What has come. */
typedef struct {
    uint16_t kind;
    uint64_t request;    /* not 0: vv_peer_reply() is owed */
    const uint8_t *body; /* borrowed for the call */
    uint32_t body_bytes;
    uint8_t *data; /* of place(), whose owner it stays; borrowed for the call if there is no place() */
    uint32_t data_bytes;
} VvIncoming;

/* What goes. */
typedef struct {
    uint16_t kind;
    const void *body; /* copied */
    uint32_t body_bytes;
    GBytes *shared_body; /* instead of body, for what goes to many: referenced */
    const void *data;    /* borrowed until data_done(), which comes on the loop's thread */
    uint32_t data_bytes;
    void (*data_done)(void *data_user); /* may be NULL */
    void *data_user;
} VvOutgoing;

/* The other end's answer, or why there is none: -ETIMEDOUT, -ECONNRESET (the connection went; it may have been done there). @reply
 * is NULL then, and @into is not written to any more. */
typedef void (*VvReplyFunc)(void *user, int result, const VvIncoming *reply);
typedef struct {
    uint64_t timeout_ms;
    void *into; /* where the answer's data goes; an answer with more ends the connection */
    uint32_t into_bytes;
    VvReplyFunc done;
    void *user;
} VvPeerRequest;

typedef struct {
    void (*message)(VvPeer *peer, const VvIncoming *in, void *user);
    /* Where in->data_bytes of data go, as soon as the body is known. NULL: there is no room now; the connection is not read until
     * vv_peer_resume(), then this is asked again. Without it, and on control connections, which never wait, the
     * transport has memory of its own. */
    void *(*place)(VvPeer *peer, const VvIncoming *in, void *user);
    /* The connection ended while @data of place() was being filled. */
    void (*unplace)(VvPeer *peer, void *data, void *user);
    void (*writable)(VvPeer *peer, void *user); /* after -EAGAIN: try again */
    void (*down)(VvPeer *peer, const char *why, void *user);
} VvPeerEvents; /* all but message may be NULL */

/* Times, so that tests need not wait; 0: those of peer_limits.h. */
typedef struct {
    uint64_t idle_ms, dead_ms, frame_ms, stall_ms;
} VvPeerTimes;

typedef struct {
    VvPeerLoop *loop;
    SSL *ssl;               /* taken, with its descriptor; the handshake is over */
    struct evbuffer *carry; /* taken: what came behind the hello; may be NULL */
    VvHello ours, theirs;
    VvIdentity identity;
    VvAddress address;
    bool dialled; /* by us */
    VvPeerTimes times;
    const VvPeerEvents *events;
    void *user;
} VvPeerOptions;

/* Close what would have become a peer. */
void vv_peer_options_clear(VvPeerOptions *options);
/* Any thread. One reference, the caller's. */
VvPeer *vv_peer_new(const VvPeerOptions *options);
VvPeer *vv_peer_ref(VvPeer *peer);
void vv_peer_unref(VvPeer *peer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvPeer, vv_peer_unref)
/* On the loop's thread, once; down() will come. */
void vv_peer_start(VvPeer *peer);
/* Any thread; down() comes later, on the loop's. @reason: a VvGoodbyeReason that is told to the other end, 0: just closed. */
void vv_peer_close(VvPeer *peer, unsigned reason, const char *why);

/* ---- sending, from any thread; in the order of the calls. Return 0; -ENOTCONN: it is down; -EAGAIN: too much waits (not
 * replies), writable() will come; -EMSGSIZE: longer than the other end takes (vv_peer_body_max()). What is refused is
 * not taken: data_done() and done() do not come. */
int vv_peer_send(VvPeer *peer, const VvOutgoing *out);
int vv_peer_request(VvPeer *peer, const VvOutgoing *out, const VvPeerRequest *request);
/* Once for each request that came. */
int vv_peer_reply(VvPeer *peer, uint64_t request, const VvOutgoing *out);

/* ---- reading stops (TCP then holds the other end) and goes on; pauses of a control connection are a mistake, as sessions die of
 * them (asserted). Any thread; they do not nest. */
void vv_peer_pause(VvPeer *peer);
void vv_peer_resume(VvPeer *peer);
/* The other end is dialling anew: if it says nothing within VV_PEER_DOUBT_MS, this connection ends. Any thread. */
void vv_peer_doubt(VvPeer *peer);

/* ---- what does not change */
uint64_t vv_peer_node(const VvPeer *peer);
const VvHello *vv_peer_theirs(const VvPeer *peer);
const VvHello *vv_peer_ours(const VvPeer *peer);
const VvIdentity *vv_peer_identity(const VvPeer *peer);
const VvAddress *vv_peer_address(const VvPeer *peer);
bool vv_peer_dialled(const VvPeer *peer);
uint32_t vv_peer_body_max(const VvPeer *peer); /* what the other end takes, and this one may send */
uint32_t vv_peer_data_max(const VvPeer *peer);

typedef struct {
    uint64_t bytes_in, bytes_out; /* without what TLS adds */
    uint64_t messages_in, messages_out;
    uint64_t last_seen_ms;  /* vv_monotonic_ms() */
    uint64_t round_trip_us; /* of the last ping; 0: none yet */
    uint64_t waiting_bytes; /* of output, now */
} VvPeerCounters;
void vv_peer_counters(VvPeer *peer, VvPeerCounters *ret_counters); /* any thread */

#endif
