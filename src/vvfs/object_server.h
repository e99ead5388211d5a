/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node with the disks serves what others have open: requests of cluster/object.h from data connections, done in this node's engine as if a
 * program here had asked. docs/cluster-daemon.md, "Data on nodes without the disks", has S1 to S5; here:
 *
 *   line     one connection: comes -> begun -> ended. Begun: nothing of an older line of this node and channel is under way any more, and
 *            nothing of an older instance of the node, whose handles are closed (S1). What comes before waits in it.
 *   handle   open under a number of its node, until it is closed, the node is away for VV_SERVE_AWAY_MS, has a new instance, is gone, or may
 *            not have it any more (S4)
 *   object   what a node has open: counts for who may do what, its blocking operations one after the other
 *
 *   thread             runs
 *   a data loop        the mesh's events: up, down, place, unplace, take
 *   vv-serve-N         reads, writes, flushes, zeroes, allocations
 *   serve (a crew)     opens, closes, seeks, sizes
 *   vv-serve-away      closes handles of nodes that are away, or did not come back
 *   any                gone, shares_changed; end and open: one thread
 *
 * O1  Each request is answered once, unless its connection has gone; what is under way when it goes is done all the same.
 * O2  Nothing of the engine is used before open and after end, when all is refused with ESHUTDOWN and was not begun.
 * O3  Data waits in memory of a fixed size, of which no node has more than its part. Who finds none waits, in order. */
#ifndef VV_OBJECT_SERVER_H
#define VV_OBJECT_SERVER_H

#include "peer.h"
#include "pool.h"

#define VV_SERVE_MEMORY_BYTES (64u << 20)      /* of data on its way */
#define VV_SERVE_NODE_BYTES (16u << 20)        /* ... of one node: 10 GB/s at 1.6 ms; a node that takes no answers holds no more */
#define VV_SERVE_WORKERS_MAX 2u
#define VV_SERVE_BLOCKING_MAX 4u               /* threads for what blocks */
#define VV_SERVE_HANDLES_MAX 65536u            /* of one node; as many files as a machine opens */
#define VV_SERVE_AWAY_MS 60000u                /* without a connection, as long as requests wait there by default */

typedef struct VvObjectServer VvObjectServer;

typedef struct {
    size_t memory_bytes, node_bytes; /* multiples of VV_IO_BYTES_MAX; 0: as above */
    uint64_t away_ms;                /* 0: VV_SERVE_AWAY_MS */
} VvObjectServerOptions;

/* Before anybody connects: what comes waits. @options may be NULL. */
VvObjectServer *vv_object_server_new(const VvObjectServerOptions *options);
/* Serve @pool, which outlives vv_object_server_end. What was open before must be told again within the time of a node that is away: then
 * vv_pool_settle_unopened is called. Errors: unsupported, internal (threads). */
bool vv_object_server_open(VvObjectServer *server, VvPool *pool, GError **error);
/* Refuse what comes from now on, wait for what is under way (what waits for space or a gate is interrupted, and refused), leave all
 * handles, of which their nodes tell again who serves next, end the threads. Nothing if it was not opened. */
void vv_object_server_end(VvObjectServer *server);
/* Ended, and all connections are down. NULL is allowed. */
void vv_object_server_free(VvObjectServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvObjectServer, vv_object_server_free)

/* ---- the mesh's, of data connections that the other end has dialled. On the peer's loop. */
void vv_object_server_up(VvObjectServer *server, VvPeer *peer);
void vv_object_server_down(VvObjectServer *server, VvPeer *peer);
void *vv_object_server_place(VvObjectServer *server, VvPeer *peer, const VvIncoming *in);
void vv_object_server_unplace(VvObjectServer *server, VvPeer *peer, void *data);
/* A VV_OBJECT_REQUEST. */
void vv_object_server_take(VvObjectServer *server, VvPeer *peer, const VvIncoming *in);

/* ---- any thread */
/* @node is none of the pool's any more: its handles are closed as soon as nothing of it is under way, all else is refused. Again: nothing. */
void vv_object_server_gone(VvObjectServer *server, uint64_t node);
/* S4: closes what the engine has revoked (sharing.h). */
void vv_object_server_shares_changed(VvObjectServer *server);
typedef struct {
    unsigned handles, under_way, waiting; /* waiting: came before its line was begun, or for memory */
    size_t memory_bytes;
} VvObjectServerStats;
/* Is @node away? Then *ret_ms is how long from now its handles are kept. */
bool vv_object_server_is_away(VvObjectServer *server, uint64_t node, uint64_t *ret_ms);
void vv_object_server_stats(VvObjectServer *server, VvObjectServerStats *ret_stats);

#endif
