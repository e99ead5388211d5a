/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that need the pool's disks, made on a node without: they are answered by the node that has them.
 *
 *   here, a changer's thread               there
 *   vv_relay_call    --VV_RELAY_CALL {method, params}-->     vv-control: vv_relay_take; the daemon's loop: an ordinary call
 *   waits            <-- {result or error, applied} --       of no client, whose answer is sent to the node that asked
 *   until its own map has what the answer is about
 *
 * Y1  Who asked has been checked here: the other node takes the word of a member, and none of a guest.
 * Y2  What is relayed is not relayed again.
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

/* vv-control. Answers in any case. */
void vv_relay_take(VvDaemon *daemon, struct VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes);
/* The loop's thread, when a call that came so has ended. */
void vv_relay_answer(VvCall *call);
typedef struct VvRelayed VvRelayed;
void vv_relayed_free(VvRelayed *relayed);

#endif
