/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The insides of VvClusterNode, for node*.c and invite.c alone. */
#ifndef VV_NODE_PRIVATE_H
#define VV_NODE_PRIVATE_H

#include "driver.h"
#include "node.h"
#include "shipper.h"
#include "object_server.h"

#include <pthread.h>

struct VvClusterNode {
    VvDaemon *daemon; /* borrowed */
    /* constant after vv_node_open */
    VvCredentials credentials;
    GError *unfit; /* owned: why what is in tls/ cannot be used; NULL: it can */
    uint64_t id;
    bool is_guest;        /* as the certificate says */
    bool takes_over;      /* a mount that a process before us served */
    VvDriver *driver;     /* owned */
    VvShipper *shipper;   /* owned; NULL: the disks are here */
    VvObjectServer *objects; /* owned: serves what others have open; NULL: the disks are not here */
    struct VvFarDisks *far;  /* owned: disks of other nodes, or those of this one; NULL: a guest or a witness */
    struct VvGuests *guests; /* owned: tells guests; NULL: the same */
    struct VvGuest *guest;   /* owned: this node is one; NULL: a member */
    char *name, *address; /* owned; after the pool is there */
    VvJoined kept;        /* owned: what the file "nodes" said when the pool opened; nodes is NULL: nothing */

    /* the opener's, while a guest waits: node_guest.c */
    uint64_t wait_began_ms, wait_asked_ms;
    unsigned wait_looks;
    bool wait_told;

    pthread_mutex_t follow_lock; /* over lock: held while records are followed, so that the pool does not go meanwhile */
    pthread_mutex_t lock;  /* held while the mesh is told something, so never taken by its threads, nor by the driver's */
    VvMesh *_Atomic mesh;  /* owned; NULL: it does not listen now. Set once; while a state is taken there is another */
    VvPeerTimer *timer;    /* vv-control's */
    struct event *listen_again; /* owned; the daemon's loop */
    bool serving;          /* lock: the pool is open, so who asks may join */
    unsigned gone_told;    /* lock: how many records said `gone` when the mesh was told of them */

    pthread_mutex_t switch_lock; /* over the driver's conversion of the pool */

    pthread_mutex_t join_lock; /* a leaf */
    bool settling;             /* join_lock: a chore of vv_node_shares_changed is queued */
    bool ending;               /* join_lock: nobody may be let in any more, and the crews get nothing more */

    struct VvSettled *settled; /* owned: settle.h */

    pthread_mutex_t event_lock; /* a leaf */
    VvPool *pool;               /* event_lock: where events go; NULL: to the log */

    /* while it is waited for other nodes: node_wait.c */
    pthread_t waiter;
    bool waiter_runs;
    bool desk_tried;
    struct VvDesk *desk; /* owned: answers meanwhile; NULL: not yet, or not at all. Who waits opens and closes it */
    _Atomic bool waited; /* no longer */
    _Atomic bool taken;  /* the state of the cluster is there */

    _Atomic uint64_t silent_since_ns; /* no connection to the node with the disks since then; 0: there is one */
    _Atomic bool gone; /* it is no node of the pool any more; for good */
};

/* ---- node.c */
/* The pool is there: who this node is, who the others are, the mesh. */
bool vvn_meet(VvClusterNode *node, VvPool *pool, GError **error);

/* ---- node_known.c */
void vvn_load_kept(VvClusterNode *node);
/* Who this node is: name and address. Error: denied: it is none of the pool's. */
bool vvn_find_self(VvClusterNode *node, GError **error);
/* The mesh knows @known (vv_node_known): it is kept beside the map. */
void vvn_keep_known(VvClusterNode *node, GArray *known);

/* ---- node_mesh.c */
/* Listen, and know @known (taken over). */
bool vvn_listen(VvClusterNode *node, const char *address, GArray *known, GError **error);
/* The same of the pool's records; again and again where a mount must not end because of it. */
bool vvn_begin_to_listen(VvClusterNode *node, GError **error);
/* Where it did not listen so far. True: it does. One thread at a time. */
bool vvn_listen_again(VvClusterNode *node);
void vvn_stop_listening(VvClusterNode *node);
/* Who asks may join from now on. */
void vvn_open_door(VvClusterNode *node);
/* Nobody may ask to join any more, and nothing looks at the pool. */
void vvn_close_door(VvClusterNode *node);
/* To the pool's events, or while there is none to the log. Any thread. */
void vvn_event(VvClusterNode *node, VvSeverity severity, const char *code, const char *object, const char *format, ...) G_GNUC_PRINTF(5, 6);

/* ---- node_ship.c: the connection over which data is asked for */
void vvn_make_shipper(VvClusterNode *node);
void vvn_up_cb(VvMesh *mesh, VvPeer *peer, void *user);
void vvn_down_cb(VvMesh *mesh, VvPeer *peer, const char *why, void *user);
void vvn_writable_cb(VvMesh *mesh, VvPeer *peer, void *user);

/* ---- node_leave.c */
/* This node is none of the pool's any more: that is told, and the daemon ends, or does not start. If it leads it waits until another does.
 * Again: nothing happens. Not on a thread of the mesh, or of the driver. */
void vvn_gone(VvClusterNode *node);
/* The same from any thread, later. */
void vvn_gone_later(VvClusterNode *node);
/* Do the records say so of this node? */
bool vvn_is_gone(VvClusterNode *node);
/* If the records name somebody who is newly gone: long enough for his own log to tell him, before nobody talks to him any more. */
void vvn_wait_for_last_word(VvClusterNode *node);
/* Who comes with an id that is used up is told so. node->lock held, there is a mesh. */
void vvn_follow_gone(VvClusterNode *node);
/* The error of a node that is gone. */
void vvn_set_gone_error(const VvClusterNode *node, GError **error);

/* ---- node_guest.c */
/* A map that is made anew, and what fills it. */
bool vvn_make_guest(VvClusterNode *node, GError **error);
/* Control connections, and what comes on them. vv-control. */
void vvn_guests_up(VvClusterNode *node, VvPeer *peer);
void vvn_guests_down(VvClusterNode *node, VvPeer *peer);
void vvn_take_description(VvClusterNode *node, VvPeer *peer, const VvIncoming *in);

/* ---- node_drive.c */
/* The driver of this node's part of the cluster. */
bool vvn_make_driver(VvClusterNode *node, GError **error);
/* A directory that joined and has no map: take the state of the cluster. Blocks; an error if the daemon is asked to end. */
bool vvn_take_state(VvClusterNode *node, GError **error);
/* The daemon's loop: this process ends, and a successor opens the pool, if there is a holder. */
void vvn_start_anew(void *node);
/* Tell the driver whom the records name. */
void vvn_tell_members(VvClusterNode *node);
/* If there is more than one node, and the pool runs on one still: now it is a cluster's. */
bool vvn_make_cluster(VvClusterNode *node, GError **error);
void vvn_end_waiting(VvClusterNode *node);
/* It is waited since @began_ms: after a while commands are answered (desk.h). Who waits calls it now and then, and vvn_close_desk at the end. */
void vvn_open_desk(VvClusterNode *node, uint64_t began_ms);
void vvn_close_desk(VvClusterNode *node);

#endif
