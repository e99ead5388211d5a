/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What guests are told, by the node with the disks (docs/cluster-daemon.md, "Guests"): of each LUN and snapshot that is shared with them a
 * description (cluster/describe.h), all at first, then what changes.
 *
 *   an op is applied, the map's write lock held     -> its object is noted for each guest that is connected
 *   vv-guests, read lock held                       -> what is noted becomes a message of one index, or a whole set
 *   one message is under way to a guest at a time   -> its answer: the guest's kernel was told; the next
 *
 * T1  What is noted is noted before anybody can see it, and taken with the map locked: a message says how everything in it is as of its index, and
 *     what a guest knows and is not in it has not changed since the message before.
 * T2  More than VV_GUESTS_NOTED_MAX objects, what does not fit one message, a new connection, an answer that asks for it: a whole set.
 * T3  Nothing is said of what is not shared with the guest (G1 of describe.h).
 * T4  Memory for a guest: an id for each object that it was told of, and one whole set at most. */
#ifndef VV_GUESTS_H
#define VV_GUESTS_H

#include "pool.h"

#define VV_GUESTS_NOTED_MAX 4096u
#define VV_GUESTS_WAITERS_MAX 256u /* as VV_NEWS_WAITERS_MAX */
#define VV_GUESTS_LATE_MS 1000u    /* who has not answered for so long is not waited for */

typedef struct VvGuests VvGuests;
typedef struct VvPeer VvPeer; /* peer.h */

VvGuests *vv_guests_new(void);
/* Tell of @pool, which outlives vv_guests_end. */
bool vv_guests_begin(VvGuests *guests, VvPool *pool, GError **error);
/* Tell nothing any more; who waits is called. Nothing if it did not begin. */
void vv_guests_end(VvGuests *guests);
/* Ended, and all connections are down. NULL is allowed. */
void vv_guests_free(VvGuests *guests);

/* ---- vv-control: control connections of guests */
void vv_guests_up(VvGuests *guests, VvPeer *peer);
void vv_guests_down(VvGuests *guests, VvPeer *peer);

/* VvPoolOptions.op_applied. */
void vv_guests_note(VvGuests *guests, const VvOp *op);
/* @done is called, here or on vv-guests, when all guests that are up show what is in the map now, or are late; it must not block. Any thread. */
void vv_guests_when_shown(VvGuests *guests, void (*done)(void *user), void *user);
/* Is any connected? Any thread. */
bool vv_guests_any(VvGuests *guests);

#endif
