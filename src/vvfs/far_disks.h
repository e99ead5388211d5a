/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of other nodes, in the daemon (docs/cluster-daemon.md, "Disks on other nodes"): on the node with the map the lines to
 * the others, of which its engine asks ways (engine/reach.h); on the others the server, and what it serves.
 *
 * FD1  A node serves what the records of its own map name as its: a disk is opened, locked and checked first, and tried again every
 *      VV_FAR_AGAIN_MS. One whose record is gone is let go, and its label erased.
 * FD2  Ends of sessions are told to the server in the order of the log, by the thread that also opens disks; none is before the fence of
 *      the map that the process began with.
 *
 *   thread              calls
 *   the daemon's        new, begin, end, free
 *   loops of the mesh   up, down, writable, place, unplace, take
 *   the driver's        session_ended
 *   the committer's     changed
 *   vv-far              opens, serves, lets go */
#ifndef VV_FAR_DISKS_H
#define VV_FAR_DISKS_H

#include "node.h"
#include "reach.h"
#include "rpc.h"

#define VV_FAR_AGAIN_MS 5000u

typedef struct VvFarDisks VvFarDisks;

/* Borrows @node. */
VvFarDisks *vv_far_disks_new(VvClusterNode *node);
/* The mesh has gone, the pool is closed. NULL is allowed. */
void vv_far_disks_free(VvFarDisks *far);
/* For VvPoolOptions; NULL: this node's engine has no disks. */
const VvDiskWays *vv_far_disks_reach(VvFarDisks *far);

/* The pool is open, and its records are followed; it goes, and they are not, but what is served still is. Both may be called again. NULL is
 * allowed. */
void vv_far_disks_begin(VvFarDisks *far, VvPool *pool);
void vv_far_disks_end(VvFarDisks *far);
/* The pool is served: what `node join --disk` named is added (far_join.h). */
void vv_far_disks_serve(VvFarDisks *far);
/* Records of disks have changed. Waits for nothing. */
void vv_far_disks_changed(VvFarDisks *far);
/* VvDriverOptions.ended. */
void vv_far_disks_session_ended(VvFarDisks *far, uint64_t node, uint64_t session, uint64_t index);
/* Does this node serve the disk with that id? Any thread; @far may be NULL. */
bool vv_far_disks_serves(VvFarDisks *far, uint64_t disk_id);

/* ---- the mesh's; @far may be NULL. What is not about disks is left alone. */
void vv_far_disks_up(VvFarDisks *far, VvPeer *peer);
void vv_far_disks_down(VvFarDisks *far, VvPeer *peer);
void vv_far_disks_writable(VvFarDisks *far, VvPeer *peer);
/* Is the request or data that came on @peer for the server? */
bool vv_far_disks_is_server(const VvFarDisks *far, VvPeer *peer);
void *vv_far_disks_place(VvFarDisks *far, VvPeer *peer, const VvIncoming *in);
void vv_far_disks_unplace(VvFarDisks *far, VvPeer *peer, void *data);
void vv_far_disks_take(VvFarDisks *far, VvPeer *peer, const VvIncoming *in);

/* ---- far_add.c: changers */
/* `disk add` on a node whose pool's map is elsewhere: the disk is made here, and becomes the pool's there. As a handler. */
bool vv_far_disk_add(VvCall *call, GError **error);
/* The same without a call, of what is there. True also if it was done before. */
bool vv_far_disk_add_path(VvDaemon *daemon, const char *path, GError **error);
/* The method by which it does. NULL: @name is another. */
const VvMethod *vv_far_disk_method(const char *name);

#endif
