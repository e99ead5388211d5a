/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The asking side of data whose disks another node has: VvElsewhere (engine/elsewhere.h) over a data connection to that node, with the
 * requests of cluster/object.h. S1 to S5 of docs/cluster-daemon.md hold here so:
 *
 * Q1  A request is queued, sent, late (the server said "not now": again in some milliseconds) or over; it is over once. What was sent on a
 *     connection that went goes back to where it was in its object's queue, and keeps its number.
 * Q2  At each new connection all open handles are told again, and of an object nothing is sent before its handles are answered. If none of
 *     them may be open any more its requests end with ESTALE.
 * Q3  An object may have as many requests on the wire as are free for others: what waits on one LUN leaves room for the rest.
 * Q4  The time without a connection, or in which the server says "not now", counts against the LUN's timeout; then EIO. What was sent has
 *     as long and VV_SHIP_MARGIN_MS more, for the server may let it wait itself.
 * Q5  Writes that were acknowledged since the last flush that began after them are unflushed. An answer under another incarnation: they may be lost.
 *     Then the flushes of the view that are under way end with EIO, or if there are none its next one; the event tells, and it is clean.
 * Q6  What changes data has a number that it keeps when it is sent again, the kernel's if it has one: the server does not do it twice. Else a write whose answer was lost with a
 *     connection would come again over what others wrote since.
 * Q7  An interrupt of what was sent is told to the server, before all else and beyond Q3's part, as that may be all that waits: so who writes to a LUN that waits
 *     for space can be killed. It is not told again: what was interrupted is not sent again.
 *
 *   thread             calls
 *   workers            submit
 *   operation threads  open, close, ask
 *   the data loop      vv_shipper_up, _down, _writable; answers
 *   vv-shipper         deadlines, what is late, @lost */
#ifndef VV_SHIPPER_H
#define VV_SHIPPER_H

#include "elsewhere.h"

struct VvPeer;

#define VV_SHIP_MARGIN_MS 30000u /* beyond a LUN's timeout, for an answer to what was sent */
#define VV_SHIP_LATE_MS 20u      /* before what the server could not do now is sent again */
#define VV_SHIP_TELLS_MAX 500u   /* how often a handle is told before "not now" counts as no: 10 s, more than a claim there is held */

typedef struct VvShipper VvShipper;

typedef struct {
    /* Writes on @object that were acknowledged and not flushed are lost. On vv-shipper. */
    void (*lost)(void *user, uint64_t object);
    void *user;
} VvShipperOptions;

VvShipper *vv_shipper_new(const VvShipperOptions *options);
/* No handles are open, nothing is under way, and the mesh has gone. Closes that were not told are forgotten. NULL is allowed. */
void vv_shipper_free(VvShipper *shipper);
/* For VvPoolOptions.elsewhere. Lives as long as the shipper. */
const VvElsewhere *vv_shipper_elsewhere(VvShipper *shipper);

/* ---- the mesh's events about the data connection to the node with the disks that this node has dialled. Its loop. */
void vv_shipper_up(VvShipper *shipper, struct VvPeer *peer);
void vv_shipper_down(VvShipper *shipper, struct VvPeer *peer);
void vv_shipper_writable(VvShipper *shipper, struct VvPeer *peer);

typedef struct {
    bool connected;
    uint64_t shipped;  /* requests that were sent, ever; again counts again */
    unsigned waiting;  /* now: not sent, or on the wire */
} VvShipperStats;
void vv_shipper_stats(VvShipper *shipper, VvShipperStats *ret_stats); /* any thread */

#endif
