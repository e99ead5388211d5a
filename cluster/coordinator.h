/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The coordinator: what the Raft leader does beside Raft. All of it is volatile, and may be lost at any step: nodes ask again.
 *
 * C1 It begins when the first entry of its term is applied, with every node heard "now", no quiesces and no drops.
 * C2 It judges by the tail: the state as it will be when all that it proposed is applied. A renewal of a session whose end is in the tail
 *    is not answered.
 * C3 A renewal is answered when a majority of voters has said "my term is yours" to a question asked after the renewal arrived. So is who asks up
 *    to where the log is committed, with the index as it was when that arrived: nobody else can have committed more by then.
 * C4 A session is expired after T (1 + drift) of silence, counted from the last renewal received or from the beginning, and only if
 *    somebody needs what it holds.
 * C5 A quiesce that was aborted is never proposed; who was asked is told until it answers.
 *
 * Messages go out through `send` (also to its own node), entries through `propose`; neither may call back. */
#ifndef VV_COORDINATOR_H
#define VV_COORDINATOR_H

#include "state.h"

typedef struct VvCoordinator VvCoordinator;

typedef struct {
    uint64_t id;
    uint64_t session_ms;    /* T */
    uint64_t drift_permille; /* how much faster than ours another clock may run */
} VvCoordinatorConfig;

typedef struct {
    void (*send)(void *user, uint64_t node, uint16_t kind, const VvFields *fields);
    /* 0, or -EAGAIN: not now, nothing was done. */
    int (*propose)(void *user, const VvEntry *entry, uint64_t *ret_index);
    unsigned (*voters)(void *user, uint64_t *ids, unsigned most); /* of the newest configuration */
    uint64_t (*committed)(void *user); /* index */
} VvCoordinatorOps;

VvCoordinator *vv_coordinator_new(const VvCoordinatorConfig *config, const VvCoordinatorOps *ops, void *user);
void vv_coordinator_free(VvCoordinator *coordinator);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvCoordinator, vv_coordinator_free)

/* @applied: borrowed; changes as entries are applied, is the same object until end. */
void vv_coordinator_begin(VvCoordinator *coordinator, uint64_t now_ms, uint64_t term, const VvClusterState *applied);
void vv_coordinator_end(VvCoordinator *coordinator);
bool vv_coordinator_active(const VvCoordinator *coordinator, uint64_t term);

/* A decoded control message; kinds that are not a coordinator's are ignored. */
void vv_coordinator_receive(VvCoordinator *coordinator, uint64_t now_ms, uint64_t from, uint16_t kind, const VvFields *fields);
/* An entry that was applied here; after the state changed. */
void vv_coordinator_applied(VvCoordinator *coordinator, uint64_t now_ms, const VvEntry *entry, const VvApplied *applied);
/* Do what can be done now: after every event, and at the deadline. */
void vv_coordinator_work(VvCoordinator *coordinator, uint64_t now_ms);
uint64_t vv_coordinator_deadline(const VvCoordinator *coordinator);
/* @node is to go: its session is expired once it was silent for long enough, then it is removed. Forgotten with the coordinator. */
void vv_coordinator_evict(VvCoordinator *coordinator, uint64_t node);
/* When @node's session was renewed last, as far as this coordinator knows, and from when on it may be expired (C4). False: it does not coordinate,
 * or knows no such node. */
bool vv_coordinator_heard(const VvCoordinator *coordinator, uint64_t node, uint64_t *ret_heard_ms, uint64_t *ret_until_ms);

#endif
