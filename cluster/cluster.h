/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One node of a cluster: the replicated state, the member's and, where Raft leads, the coordinator's part, held together.
 *
 *   Raft's entries --> apply --> state --> member, coordinator        messages --> member, coordinator, confirmations
 *
 * Who owns VvRaft calls: vv_cluster_apply from its `apply`, vv_cluster_changed from its `changed`, and vv_cluster_work after every event
 * of any kind. All on one thread; no locks, no I/O, no clock. */
#ifndef VV_CLUSTER_H
#define VV_CLUSTER_H

#include "coordinator.h"
#include "member.h"
#include "raft.h"

typedef struct VvCluster VvCluster;

typedef struct {
    uint64_t id;
    uint64_t session_ms; /* T */
    uint64_t drift_permille;
    bool no_session; /* member.h */
} VvClusterConfig;

typedef struct {
    void (*send)(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes);
    /* May this entry be applied now? A disk server says no to the end of a session whose I/O is under way there. NULL: always.
     * For a session that a state sync would end it is asked with an EXPIRE that is in no log. */
    bool (*may_apply)(void *user, const VvEntry *entry);
    /* A session ended, by an entry or by a state sync: a disk server syncs before it serves anything more. NULL: not wanted. */
    void (*ended)(void *user, VvHolder session);
    VvAdmitFunc admit; /* NULL: all bodies */
    /* After the state has it: what the body asks for is done, if the verdict is OK. @entry NULL: Raft's own. */
    void (*applied)(void *user, uint64_t index, uint64_t term, const VvEntry *entry, const VvApplied *applied);
    /* The answer to vv_cluster_ask_latest: all that was committed anywhere when that was called is at or before @index. NULL: not wanted. */
    void (*latest)(void *user, uint64_t nonce, uint64_t number, uint64_t index);
    VvMemberOps member; /* its `send` is not used */
} VvClusterOps;

/* @raft: borrowed; may not be started yet. */
VvCluster *vv_cluster_new(const VvClusterConfig *config, VvRaft *raft, const VvClusterOps *ops, void *user);
void vv_cluster_free(VvCluster *cluster);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvCluster, vv_cluster_free)

/* May this state, which a state sync brought, take the place of ours now: may all sessions end that it ends? Ask in VvRaftOps.sync_ready,
 * and let nothing of the disks be served between that and vv_cluster_load. */
bool vv_cluster_may_load(VvCluster *cluster, uint64_t index, const uint8_t *data, size_t data_bytes);
/* The state of a checkpoint: at the start, or after a state sync. False: it does not decode, or is not that of entries up to @index. */
bool vv_cluster_load(VvCluster *cluster, uint64_t now_ms, uint64_t index, const uint8_t *data, size_t data_bytes);

/* False: not now. -EUCLEAN in vv_cluster_error: a committed entry that does not decode; the node must stop. */
bool vv_cluster_apply(VvCluster *cluster, uint64_t now_ms, const VvRaftEntry *entry);
void vv_cluster_changed(VvCluster *cluster);
/* False: the message does not decode. One that its sender's role does not allow is ignored; @from is as the transport knows it, and a guest's
 * were sorted out there (vv_message_may_be_guests). */
bool vv_cluster_receive(VvCluster *cluster, uint64_t now_ms, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes);
void vv_cluster_work(VvCluster *cluster, uint64_t now_ms);
uint64_t vv_cluster_deadline(const VvCluster *cluster);
/* An entry with a request id, to whoever coordinates; ask again until the state knows its result. */
void vv_cluster_request(VvCluster *cluster, const VvEntry *entry);

/* Up to where is the log committed by now? Ask again until `latest` answers; @nonce: who asks, drawn, not 0. */
void vv_cluster_ask_latest(VvCluster *cluster, uint64_t nonce, uint64_t number);

const VvClusterState *vv_cluster_state(const VvCluster *cluster);
VvMember *vv_cluster_member(VvCluster *cluster);
VvCoordinator *vv_cluster_coordinator(VvCluster *cluster);
int vv_cluster_error(const VvCluster *cluster);

#endif
