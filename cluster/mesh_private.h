/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of a mesh, for mesh*.c alone. Everything is the door's thread's, but for what @lock guards: the table of nodes, the peer
 * of each slot and what has been counted are changed by the door with the lock held, so others may look with it held. */
#ifndef VV_MESH_PRIVATE_H
#define VV_MESH_PRIVATE_H

#include "mesh.h"
#include "util.h"

#include <stdatomic.h>

#define VV_OLD_INSTANCES 4u

struct evconnlistener;
typedef struct VvMeshNode VvMeshNode;

/* One connection to one node, there or not. */
typedef struct {
    VvMesh *mesh;
    VvMeshNode *node;
    unsigned channel;     /* 0: control */
    bool inward;          /* data for the other's requests: never dialled by us */
    VvPeer *peer;         /* lock; reference */
    VvGreeting *greeting; /* our dial under way */
    VvPeerTimer *timer;   /* ... or the next one; NULL: inward */
    guint next_address;
    uint64_t pause_ms;
    char *why; /* lock; the last dial failed so; NULL: it did not */
} VvMeshSlot;

struct VvMeshNode {
    uint64_t id;
    bool guest;
    char *name;
    GArray *addresses; /* VvAddress */
    VvMeshSlot control;
    VvMeshSlot out[VV_CHANNELS_MAX], in[VV_CHANNELS_MAX]; /* [0] is channel 1 */
    uint64_t instance;                                    /* that is known to be its newest; 0: none yet */
    uint64_t old[VV_OLD_INSTANCES];
    unsigned old_at;
    VvPeerCounters ended; /* lock; of connections that have ended */
};

struct VvMesh {
    /* ---- set by vv_mesh_new */
    const VvMeshEvents *events;
    void *user;
    VvTls *tls;
    VvHello hello; /* what all of ours have in common */
    unsigned channels;
    VvPeerTimes times;
    uint64_t greeting_ms;
    VvPeerLoop *door, *control;
    VvPeerLoop *data[VV_CHANNELS_MAX];
    unsigned port;

    /* ---- the door's thread */
    struct evconnlistener *listener;
    VvPeerTimer *accept_again;
    GPtrArray *greetings; /* of those who dialled us, oldest first; borrowed */
    uint64_t dials;
    GArray *gone; /* u64: ids that are used up */
    bool stopping;
    uint64_t told_since_ms;
    unsigned told[VV_MESH_TROUBLES], suppressed[VV_MESH_TROUBLES]; /* a kind cannot silence another */

    _Atomic bool joining;

    pthread_mutex_t lock; /* guards the next two, and what is marked above; a leaf */
    GHashTable *nodes;    /* id -> VvMeshNode, owned */
    unsigned live;        /* peers that are not down */
    pthread_cond_t ended;
};

/* ---- mesh.c */
VvMeshNode *vvm_mesh_node(VvMesh *mesh, uint64_t id);
bool vvm_mesh_is_gone(const VvMesh *mesh, uint64_t id);
#define VVM_GONE_TEXT "it is not a node of the pool any more"
/* NULL: no such channel. */
VvMeshSlot *vvm_mesh_slot(VvMeshNode *node, VvPurpose purpose, unsigned channel, bool inward);
void vvm_mesh_tell(VvMesh *mesh, VvMeshTrouble trouble, uint64_t node, const char *format, ...) G_GNUC_PRINTF(4, 5);

/* ---- mesh_meet.c */
bool vvm_mesh_listen(VvMesh *mesh, const VvAddress *address, GError **error);
void vvm_mesh_dial_later(VvMeshSlot *slot, uint64_t delay_ms);
uint64_t vvm_mesh_longer_pause(uint64_t pause_ms);
void vvm_mesh_dial_cb(void *slot);
void vvm_mesh_accept_again(void *mesh);

/* ---- mesh_peer.c: peers of a mesh */
/* @met becomes the slot's peer; what was there goes. */
void vvm_mesh_install(VvMeshSlot *slot, VvPeerOptions *met);

#endif
