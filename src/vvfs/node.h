/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This daemon as a node of a pool that listens (docs/cluster-daemon.md): the mesh, the door at which machines ask to join, and what
 * is said of nodes. Who a pool's nodes are is in the map (engine/members.h); the folder tls/ of the pool directory says which
 * of them this is. A pool without tls/ has no VvClusterNode, and nothing here runs.
 *
 *   thread                  calls
 *   main, start and stop    vv_node_open, vv_node_start, vv_node_end_joins, vv_node_leave_pool, vv_node_free
 *   vv-door                 events of the mesh: posts requests to join to the changers, makes events of the pool
 *   changers                the join itself, vv_node_changed
 *   vv-control              the driver (driver.h): what it sends goes through the mesh
 *   any                     what looks
 *
 * D1  A machine hears that it has joined when the entry is durable; what is signed is what the entry says.
 * D2  The process that takes over listens when the one before has ended; if the address is still taken it is tried again, and the
 *     pool is served meanwhile; if it runs on one node, also when what is in tls/ cannot be used any more. At a start that takes over
 *     nothing both are refused. */
#ifndef VV_NODE_H
#define VV_NODE_H

#include "cluster_log.h"
#include "daemon.h"
#include "members.h"
#include "mesh.h"

typedef struct VvClusterNode VvClusterNode;

/* Has the pool in @directory a folder tls/? */
bool vv_node_listens(const char *directory);

/* Before the pool is opened: credentials, the driver; where the pool has no map yet, the state of the cluster is taken, however long
 * that takes. Sets daemon->cluster (NULL: it does not listen). Errors: damaged (what is in tls/ does not fit the pool), io, busy (the address is
 * taken), interrupted (the daemon is asked to end). */
bool vv_node_open(VvDaemon *daemon, bool takes_over, GError **error);
/* For VvPoolOptions.cluster. */
const VvClusterLog *vv_node_log(VvClusterNode *node);
/* For VvPoolOptions.elsewhere: how this node asks for data whose disks another node has; NULL: it has them. Until vv_node_free. */
const struct VvElsewhere *vv_node_elsewhere(VvClusterNode *node);
/* For VvPoolOptions.reach. */
const struct VvDiskWays *vv_node_reach(VvClusterNode *node);
/* Is this node a guest: without journal, vote and session, told only of what is shared with it? */
bool vv_node_is_guest(const VvClusterNode *node);
/* Of a guest: since when it is not told what changes; 0: it is. Any thread; @node may be NULL. */
uint64_t vv_node_stale_since_ns(VvClusterNode *node);
/* Waits some seconds for the others to tell that this node is none of the pool's any more. Not for the mesh's threads. */
bool vv_node_await_gone(VvClusterNode *node);
/* Error denied, on a guest. */
bool vv_node_refuse_guest(VvDaemon *daemon, GError **error);
/* VvPoolOptions.op_applied: guests will be told. */
void vv_node_op_applied(void *daemon, const VvOp *op);
/* Requests that this node has shipped to the node with the disks. Any thread; @node may be NULL. */
uint64_t vv_node_shipped_requests(VvClusterNode *node);
/* In this version all disks of a pool, also those of other nodes (far_disks.h), are used by the engine of its first node. */
bool vv_node_has_disks(const VvClusterNode *node, uint64_t id);
/* On a node without the map: is the disk of @of there, as far as this node knows? Any thread; map's read lock may be held. */
bool vv_node_sees_disk(VvClusterNode *node, uint64_t of, uint64_t disk_id);
/* With the pool open: record, mesh, the door. Sets daemon->node. A pool with two nodes that runs on one still becomes a cluster's.
 * Errors: denied (it is no node of the pool any more), busy (the address is taken), io. */
bool vv_node_start(VvDaemon *daemon, GError **error);
/* The mount is served: from now on what other nodes ask of this one's disks is too. Not before what the kernel sent again is done: it is older. */
bool vv_node_serve(VvDaemon *daemon, GError **error);
/* Opening the pool has failed: if that is because this node is none of the pool's any more, *error says so. NULL is allowed. */
void vv_node_explain(VvClusterNode *node, GError **error);
/* Refuse requests to join from now on; those under way go on, on the changers. NULL is allowed. */
void vv_node_end_joins(VvClusterNode *node);
/* The changers have ended, and the pool is going to be closed: it is not looked at any more, but the others are still talked to. What they
 * have open is left: they open it again when the pool is served again. */
void vv_node_leave_pool(VvClusterNode *node);
/* The pool is closed. Says goodbye to all. */
void vv_node_free(VvClusterNode *node);

/* ---- any thread, but those of the mesh */
/* Nodes or invites have changed: whom the mesh knows, and whether the door is open. */
void vv_node_changed(VvClusterNode *node);
/* VvPoolOptions.members_changed: the same, later, from a thread that may not wait. */
void vv_node_members_changed(void *daemon);
/* VvPoolOptions.shares_changed: what was taken away is revoked, later. */
void vv_node_shares_changed(void *daemon);
/* Is nobody to wait for other nodes any more? */
bool vv_node_is_ending(VvClusterNode *node);
VvDaemon *vv_node_daemon(VvClusterNode *node);
uint64_t vv_node_id(const VvClusterNode *node);
/* NULL: it does not listen now (D2). For who drives the cluster; it lives until vv_node_free. */
VvMesh *vv_node_mesh(VvClusterNode *node);
/* May its name, address or key be told to who asks? All but the key, in the words of CLI.md: `up`, `joining`, `leaving`, `down`. */
const char *vv_node_state(VvClusterNode *node, const VvNodeRecord *record);
/* Who decides; 0: unknown. *ret_session: of this node, 0: none. */
uint64_t vv_node_coordinator(VvClusterNode *node, uint64_t *ret_session);
/* Is there who decides about changes, and, if one is looked up @here, does this node's map have all that was decided before? Waits for a coordinator to be chosen, and for its
 * word, but not past @deadline_ms (0: none). @node may be NULL. Error: no-coordinator. */
bool vv_node_may_change(VvClusterNode *node, bool here, uint64_t deadline_ms, GError **error);
/* The authority of the pool, or an error: unsupported (its key is not here), damaged. */
VvAuthority *vv_node_authority(VvClusterNode *node, GError **error);
/* Of all nodes but those that are gone; this one first. */
GArray *vv_node_known(VvClusterNode *node);

/* ---- node_join.c: the door. On vv-door's thread; answers in any case. */
void vv_node_take_join(VvClusterNode *node, VvJoin *join);

/* ---- node_verbs.c: changes of nodes. Changers: they wait for other nodes. Each has told the pool's events when it is done.
 * Errors: not-found, no-quorum (who is down, what to do), and those of vv_pool_node_change. */
/* @role, @address: as typed; NULL: as it is. Errors also: those of vv_invite_role_parse, of addresses (usage), timeout (leadership). */
bool vv_node_set(VvClusterNode *node, const char *name, const char *role, const char *address, VvRequest *request, GError **error);
/* @name leaves for good; if it leads it hands over first. @fenced: somebody vouches that it is off; then it may be gone already, and it
 * is waited for until its last session has ended and that is in the log. Errors also: timeout. */
bool vv_node_evict(VvClusterNode *node, const char *name, bool fenced, VvRequest *request, GError **error);
/* Until it leads. Errors also: conflict (it is no voter; there is one node), busy (it is down), timeout. */
bool vv_node_lead(VvClusterNode *node, const char *name, GError **error);

/* ---- invite.c
 * The secret of an invite is made from the authority's key and what its record says, so it is stored nowhere, and a repeat of the
 * command that made it can tell the token again. */
typedef struct {
    const char *name; /* "" */
    VvNodeRole role;
    uint64_t ttl_seconds;
} VvInviteAsk;
/* Fill in the record of a new invite. Errors: as vv_node_authority, limit (ttl). */
bool vv_invite_prepare(VvClusterNode *node, const VvInviteAsk *ask, VvInviteRecord *ret_invite, GError **error);
/* Its token; NULL: as vv_node_authority. */
char *vv_invite_token(VvClusterNode *node, const VvInviteRecord *invite, GError **error);
/* A word of CLI.md. Errors: usage; unsupported: what nodes of that role do is not in this version. THE place where roles are refused. */
bool vv_invite_role_parse(const char *text, VvNodeRole *ret_role, GError **error);

/* ---- for people */
/* The short name of this machine. */
char *vv_host_name(void);

#endif
