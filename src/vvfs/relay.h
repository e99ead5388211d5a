/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that need the pool's disks, made on a node without: they are answered by the node that has them.
 *
 *   here, a changer's thread               there
 *   vv_relay_call    --VV_RELAY_CALL {method, params}-->     vv-control: vv_relay_take; the daemon's loop: an ordinary call
 *   waits            <-- {result or error, applied} --       of no client, whose answer is sent to the node that asked
 *   until its own map has what the answer is about
 *
 * Y1  Who asked has been checked here: the other node takes the word of a member, and none of a guest: that may ask for one thing, to leave.
 * Y2  What is relayed is not relayed again. It is the node with the disks that answers, save methods with VV_METHOD_ANYWHERE.
 * Y3  A request id goes with the call and is recorded there, so a repeat on any node has the same answer.
 * Y4  Nothing was sent: no-coordinator, nothing was changed. Sent, and no answer: timeout, it may have been. */
#ifndef VV_RELAY_H
#define VV_RELAY_H

#include "rpc.h"

struct VvPeer;

#define VV_RELAY_CALL 0x0300u /* a request between peers: the body is one JSON object */

/* Is @call one that only the node with the disks answers? Any thread. */
bool vv_relay_is_wanted(const VvCall *call);
/* Did it fail here because this node has none of the disks? Then nothing was changed. */
bool vv_relay_may_mend(const VvCall *call);
/* As a handler. Errors: no-coordinator, timeout, and whatever the other node says. */
bool vv_relay_call(VvCall *call, GError **error);

/* How asking ended. */
typedef enum {
    VV_RELAY_DONE,
    VV_RELAY_REFUSED,  /* the other node's own words */
    VV_RELAY_NOT_SENT, /* no-coordinator: nothing was changed (Y4) */
    VV_RELAY_UNHEARD,  /* timeout: it may have been done */
} VvRelayEnd;
/* The same without a call: @method is a row of methods.c or of relay_mount.c; @params, borrowed, are as its row says. *ret_result: on DONE, a
 * reference of the caller's. Blocks; any thread that may. */
VvRelayEnd vv_relay_ask(VvDaemon *daemon, const char *method, JsonObject *params, JsonObject **ret_result, GError **error);
/* A look at what @node knows, whichever that is: no waiting for its map, and params say `timeout_ms`. Its result, owned; NULL: it said nothing, or no. Blocks. */
JsonObject *vv_relay_look(VvDaemon *daemon, uint64_t node, const char *method, JsonObject *params);
/* Is this a node without disks? Constant while the pool is open. */
bool vv_relay_is_elsewhere(const VvDaemon *daemon);

/* ---- relay_mount.c: what the mount of such a node asks (fusefs/far.h), and the methods that answer it: of other nodes, never of clients */
/* *ret_far: for VvFuseOptions. */
void vv_relay_mount(VvDaemon *daemon, struct VvFuseFar *ret_far);
const VvMethod *vv_relay_mount_method(const char *name);
/* ---- rpc_lease.c: the same of what other nodes ask for `lease list`. */
const VvMethod *vv_lease_method(const char *name);

/* vv-control. Answers in any case. */
void vv_relay_take(VvDaemon *daemon, struct VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes);
/* The loop's thread, when a call that came so has ended. */
void vv_relay_answer(VvCall *call);
typedef struct VvRelayed VvRelayed;
/* Its number. */
uint64_t vv_relayed_node(const VvRelayed *relayed);
void vv_relayed_free(VvRelayed *relayed);
uint64_t vv_relayed_by(const VvRelayed *relayed); /* who asked */

#endif
