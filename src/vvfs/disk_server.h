/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node serves its disks to the node that runs the pool's engine: requests of cluster/shipped.h from data connections that the other end has
 * dialled.
 *
 * G1  Each request is answered once, unless its connection has gone; what is under way when it goes is done all the same.
 * G2  A new connection of a node begins when nothing of its older ones is under way any more; what comes by an older one after that is
 *     refused. So a request that was given up there does not come after what was sent here.
 * G3  A request with a fence that has not been passed here waits until it is (PROTOCOL FENCEIDX). The end of a session is passed when nothing of
 *     the session is under way (BARRIER) and what it wrote is synced (ENDSYNC); what comes of it afterwards is refused with ESTALE.
 * G4  Every answer has the incarnation (VERIF): the same means that nothing is lost that was acknowledged.
 * G5  Data waits in memory of a fixed size. Who finds none waits: writes by not being read, reads in their order. */
#ifndef VV_DISK_SERVER_H
#define VV_DISK_SERVER_H

#include "disk.h"
#include "peer.h"

#define VV_DISK_SERVER_BYTES (32u << 20) /* of data on its way: 20 ms of a 10 Gbit/s link */
#define VV_DISK_SERVER_THREADS 4u        /* as many as the engine has workers */

typedef struct VvDiskServer VvDiskServer;

/* @incarnation: not 0. */
VvDiskServer *vv_disk_server_new(uint64_t incarnation);
/* All connections are down; closes its disks. NULL is allowed. */
void vv_disk_server_free(VvDiskServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvDiskServer, vv_disk_server_free)
/* Serve @disk, which is open, locked and whose label was checked. Taken. Any thread. */
void vv_disk_server_add(VvDiskServer *server, VvDisk *disk);
/* Serve it no more, when nothing on it is under way; it is closed. False: it is not served. May wait. */
bool vv_disk_server_remove(VvDiskServer *server, uint64_t disk_id);
/* The entry with @index ended all sessions of @node up to @session: G3. Waits for what is under way and syncs; in the order of indices. Returns 0,
 * or the error of the sync that failed: it is passed all the same, and the disk's own syncs fail from then on. */
int vv_disk_server_end_session(VvDiskServer *server, uint64_t node, uint64_t session, uint64_t index);

/* ---- the mesh's, of data connections that the other end has dialled. On the peer's loop. */
void vv_disk_server_up(VvDiskServer *server, VvPeer *peer);
void vv_disk_server_down(VvDiskServer *server, VvPeer *peer);
/* Of a VV_FRAME_DISK with data. */
void *vv_disk_server_place(VvDiskServer *server, VvPeer *peer, const VvIncoming *in);
void vv_disk_server_unplace(VvDiskServer *server, VvPeer *peer, void *data);
void vv_disk_server_take(VvDiskServer *server, VvPeer *peer, const VvIncoming *in);

#endif
