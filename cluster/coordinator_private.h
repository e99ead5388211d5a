/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between coordinator.c (sessions), coordinator_lease.c and coordinator_quiesce.c. */
#ifndef VV_COORDINATOR_PRIVATE_H
#define VV_COORDINATOR_PRIVATE_H

#include "coordinator.h"

typedef struct {
    uint64_t node;
    uint64_t heard_ms;
    bool needed; /* somebody waits for what its session holds */
    bool evict;
} VvcNode;

typedef struct {
    uint64_t node, session, number;
    uint64_t round; /* the first that was asked after it arrived */
} VvcRenewal;

typedef struct {
    uint64_t node, nonce, number;
    uint64_t index;
    uint64_t round; /* as of a renewal */
} VvcLatest;

typedef struct {
    VvHolder holder;
    VvRange range;
    VvLeaseMode mode;
    uint64_t recalled_ms; /* 0: not yet */
} VvcWant;

typedef enum { VVC_ASKED, VVC_PROPOSED, VVC_ABORTED } VvcStage;

typedef struct {
    VvQuiesceId id;
    VvcStage stage;
    VvEntry entry; /* the snapshot as it was asked for; owns luns and body through @bytes */
    GBytes *bytes;
    GArray *asked; /* VvHolder */
    GArray *acked; /* VvHolder; for an aborted one: who knows */
    uint64_t since_ms, sent_ms;
} VvcQuiesce;

typedef struct {
    GBytes *bytes;
    VvEntry entry;
    uint64_t not_before_ms;
} VvcRequest;

typedef struct {
    uint64_t object, removal;
    GArray *dropped; /* VvHolder */
    uint64_t sent_ms;
    bool proposed;
} VvcDrop;

struct VvCoordinator {
    VvCoordinatorConfig config;
    VvCoordinatorOps ops;
    void *user;
    bool active;
    uint64_t term;
    const VvClusterState *applied;
    VvClusterState *tail;
    uint64_t worked_ms;
    GArray *nodes; /* VvcNode that are not removed in the tail */

    GArray *renewals;   /* VvcRenewal that wait for a confirmation */
    GArray *latest;     /* VvcLatest, one of each node, that wait for it too */
    uint64_t round;     /* asked last */
    uint64_t confirmed; /* the highest that a majority answered */
    GArray *answers;    /* u64 nodes that answered `round` */
    uint64_t asked_ms;

    GArray *wants;       /* VvcWant, first come first */
    GPtrArray *requests; /* VvcRequest that wait for a quiesce of their own */
    GPtrArray *quiesces; /* VvcQuiesce */
    uint64_t last_quiesce;
    GPtrArray *drops; /* VvcDrop */
};

/* Propose, and have it in the tail. False: not now. */
bool vvc_propose(VvCoordinator *c, const VvEntry *entry, uint64_t *ret_index);
/* NULL: it is no node, or none any more. */
VvcNode *vvc_node(VvCoordinator *c, uint64_t node);
void vvc_need(VvCoordinator *c, uint64_t node);
bool vvc_listed(const GArray *holders, VvHolder holder);
bool vvc_due(uint64_t now_ms, uint64_t *last_ms, uint64_t every_ms);

void vvc_want(VvCoordinator *c, uint64_t from, const VvFields *fields);
void vvc_work_leases(VvCoordinator *c, uint64_t now_ms);

void vvc_request(VvCoordinator *c, uint64_t now_ms, const VvFields *fields);
void vvc_quiesced(VvCoordinator *c, uint64_t from, const VvFields *fields);
void vvc_resumed(VvCoordinator *c, uint64_t from, const VvFields *fields);
void vvc_dropped(VvCoordinator *c, uint64_t from, const VvFields *fields);
void vvc_quiesce_applied(VvCoordinator *c, uint64_t now_ms, const VvEntry *entry, const VvApplied *applied);
void vvc_work_quiesces(VvCoordinator *c, uint64_t now_ms);
void vvc_work_drops(VvCoordinator *c, uint64_t now_ms);
void vvc_quiesce_free(void *quiesce);
void vvc_request_free(void *request);
void vvc_drop_free(void *drop);

#endif
