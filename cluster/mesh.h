/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connections of one node to all others. Between two nodes there is one control connection, which either dials, and in each
 * direction data connections, which are dialled by the one whose requests they carry.
 *
 *   thread      runs
 *   vv-door     accepts, dials, TLS handshakes, hellos, requests to join, which of two connections is kept
 *   vv-control  control connections of all nodes, and what the owner posts there; nothing that blocks
 *   vv-data-N   data connections: channel c is on loop c modulo their number
 *
 * Which of two connections of the same pair and channel is kept (both ends come to the same result):
 *   M1 The other's instance differs from that of the one we have: the other end was started again; the new one. An instance that
 *      was replaced once does not come back: two processes have one node's certificate (VV_GOODBYE_TWIN).
 *   M2 Both dialled at a time: what the node with the lower id dialled. It dials at once, the other VV_DIAL_GRACE_MS later.
 *   M3 The same end dialled both: the newer one, by the dial's number.
 *   M4 Who is refused as a duplicate makes us doubt what we have: silent for VV_PEER_DOUBT_MS, it ends.
 * The one that goes is down before the one that comes is up. */
#ifndef VV_MESH_H
#define VV_MESH_H

#include "greet.h"

typedef struct VvMesh VvMesh;

typedef enum {
    VV_MESH_STRANGER, /* a connection that came to nothing: what it did */
    VV_MESH_UNWELCOME, /* a machine that asked to join was not let in: why */
    VV_MESH_REFUSED,  /* a node was refused, or refuses us: why */
    VV_MESH_MISTAKEN, /* another node answers at an address, two processes have one certificate: the configuration is wrong */
    VV_MESH_GONE,     /* another node says that this one is no node of the pool any more */
    VV_MESH_TROUBLES
} VvMeshTrouble;

typedef struct {
    /* On the peer's loop. down() comes once for each up(). vv_peer_ours(peer)->purpose and channel tell which it is. */
    void (*up)(VvMesh *mesh, VvPeer *peer, void *user);
    void (*down)(VvMesh *mesh, VvPeer *peer, const char *why, void *user);
    /* A guest that sends what only members may (message.h) is closed before. */
    void (*message)(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user);
    void *(*place)(
        VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user); /* peer.h; NULL: the transport's memory */
    void (*unplace)(VvMesh *mesh, VvPeer *peer, void *data, void *user);
    void (*writable)(VvMesh *mesh, VvPeer *peer, void *user);
    /* On the door's thread. At most VV_LOG_PER_MINUTE_MAX a minute of each kind; @suppressed: how many of it were not told before. */
    void (*trouble)(
        VvMesh *mesh, VvMeshTrouble trouble, uint64_t node, const char *text, unsigned suppressed, void *user);
    void (*join)(VvMesh *mesh, VvJoin *join, void *user); /* answer it, from any thread, in VV_JOIN_MS
                                                                  * and before vv_mesh_free() */
} VvMeshEvents;                                           /* all but message may be NULL */

typedef struct {
    const VvCredentials *credentials; /* only read by vv_mesh_new */
    const char *name, *software;
    uint64_t features_required, features_offered;
    const VvAddress *listen; /* NULL: only dials; port 0: any */
    const GArray *nodes; /* known from the first, as with vv_mesh_set_nodes: else who is faster is turned away; or NULL */
    unsigned channels;       /* data connections to each node, and data loops: 0 is 1 */
    VvPeerTimes times;       /* peer.h */
    uint64_t greeting_ms;    /* 0: VV_GREETING_MS */
    const VvMeshEvents *events;
    void *user;
} VvMeshOptions;

/* Errors: credentials (tls.h), the address cannot be listened on (VV_ERROR_IN_USE_DEVICE, ...). */
VvMesh *vv_mesh_new(const VvMeshOptions *options, GError **error);
/* Says goodbye to all, waits until each is down, ends the threads. No other thread may use the mesh any more. */
void vv_mesh_free(VvMesh *mesh);

/* ---- any thread */
/* Who there is besides this node (which may be among them): who is new is dialled, whose addresses changed from now on there; who
 * is missing is told so, closed and refused (evicted). Error: vv_known_nodes_check(). */
bool vv_mesh_set_nodes(VvMesh *mesh, const GArray *nodes, GError **error);
/* Ids (u64) that are used up: who comes with one is told that it is gone for good, where who is only not known yet may ask again. To be
 * told before vv_mesh_set_nodes(). */
void vv_mesh_set_gone(VvMesh *mesh, const GArray *ids);
/* May strangers ask to join? Not at first: then who has no certificate does not get through the handshake. */
void vv_mesh_set_joining(VvMesh *mesh, bool on);
/* The connection that is up, a new reference; NULL: there is none. Channel 0: control; from 1: data, for our requests. */
VvPeer *vv_mesh_peer(VvMesh *mesh, uint64_t node, unsigned channel);
/* Why @node could not be dialled the last time, for people; newly allocated; NULL: it could. */
char *vv_mesh_why(VvMesh *mesh, uint64_t node);
VvPeerLoop *vv_mesh_control_loop(VvMesh *mesh);
const VvIdentity *vv_mesh_self(const VvMesh *mesh);
unsigned vv_mesh_port(const VvMesh *mesh); /* listened on; 0: none */

/* Of all connections to and from @node since it was added, those that ended too. False: unknown. */
bool vv_mesh_counters(VvMesh *mesh, uint64_t node, VvPeerCounters *ret_counters);

#endif
