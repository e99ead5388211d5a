/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to the disks of another node: a transport (engine/link.h) for each, over the data connection that this node has dialled to it. What
 * waits, is sent again and is written again is the link's affair.
 *
 * T1  A piece that was sent is answered, or its transport ended, when neither its data nor its memory is borrowed by the connection any more.
 * T2  A transport that ends with pieces on the wire closes the connection: they must not be done later. The links of other disks
 *     of that node connect again.
 * T3  Each request carries the session and the fence as they are when it is sent (PROTOCOL FENCEIDX). One of a session that has ended there
 *     (ESTALE) was not done, and is sent again under another. */
#ifndef VV_DISK_LINE_H
#define VV_DISK_LINE_H

#include "link.h"

struct VvPeer;

typedef struct VvDiskLine VvDiskLine;

/* This node's session, and the index of the last end of a session that its map has applied. Any thread. */
typedef void (*VvDiskStamp)(void *user, uint64_t *ret_session, uint64_t *ret_fence);

/* To one node; @name: of it, for messages, until it has told its own. */
VvDiskLine *vv_disk_line_new(const char *name, VvDiskStamp stamp, void *user);
/* Its transports are freed. NULL is allowed. */
void vv_disk_line_free(VvDiskLine *line);

/* ---- the mesh's, of the data connection. Its loop. */
void vv_disk_line_up(VvDiskLine *line, struct VvPeer *peer);
void vv_disk_line_down(VvDiskLine *line, struct VvPeer *peer);
void vv_disk_line_writable(VvDiskLine *line, struct VvPeer *peer);

/* For vv_link_open: the disk with that id there. */
VvTransport *vv_disk_transport_new(VvDiskLine *line, uint64_t disk_id);

#endif
