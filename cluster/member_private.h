/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between member.c (session, data path) and member_settle.c (leases, releases, gates). */
#ifndef VV_MEMBER_PRIVATE_H
#define VV_MEMBER_PRIVATE_H

#include "member.h"

#define VVM_RENEWALS_KEPT 8u /* sent and not answered: at T/4 the oldest is past its use */

typedef struct {
    VvQuiesceId id;
    GArray *ranges; /* VvRange: whole LUNs */
    uint64_t job;
    uint64_t since_ms;
    VvSettleStep step; /* under way; DONE: answered */
} VvmGate;

typedef struct {
    VvRange range;
    uint64_t job;
    VvSettleStep step; /* DONE: the release entry is on its way */
    uint64_t seq;
} VvmRelease;

typedef struct {
    uint64_t seq;
    GBytes *bytes;
} VvmProposal;

typedef struct {
    VvRange range;
    VvLeaseMode mode;
    uint64_t sent_ms;
} VvmWant;

struct VvMember {
    VvMemberConfig config;
    VvMemberOps ops;
    void *user;
    const VvClusterState *state;
    uint64_t coordinator, term;

    uint64_t session; /* 0: none */
    uint64_t deadline_ms;
    uint64_t nonce, open_ms; /* of the open that is waited for; 0: none */
    uint64_t asked_open_ms;
    uint64_t looked_open_ms; /* whether it could be asked: no more often than it is asked */
    uint64_t renewal; /* number of the newest */
    uint64_t renewed_ms;
    uint64_t sent_ms[VVM_RENEWALS_KEPT]; /* by number */

    uint64_t seq;
    GPtrArray *proposals; /* VvmProposal, in order */
    uint64_t proposed_ms; /* when all were last sent */

    uint64_t next_job;
    GPtrArray *gates;    /* VvmGate */
    GPtrArray *releases; /* VvmRelease */
    GArray *wants;       /* VvmWant */
    GArray *resumed;     /* u64: numbers of this term's quiesces that were aborted */
    uint64_t resumed_term;
};

bool vvm_propose(VvMember *m, uint64_t now_ms, VvEntry *entry, uint64_t *ret_seq);
void vvm_end_all(VvMember *m);
void vvm_gate_free(void *gate);
void vvm_proposal_free(void *proposal);
void vvm_send(VvMember *m, uint16_t kind, const VvFields *fields); /* to the coordinator */

void vvm_recall(VvMember *m, uint64_t now_ms, const VvFields *fields);
void vvm_quiesce(VvMember *m, uint64_t now_ms, const VvFields *fields);
void vvm_resume(VvMember *m, uint64_t from, const VvFields *fields);
void vvm_drop(VvMember *m, const VvFields *fields);
void vvm_open_gates(VvMember *m);
void vvm_work_gates(VvMember *m, uint64_t now_ms);
void vvm_released(VvMember *m, uint64_t seq);
bool vvm_releasing(const VvMember *m, const VvRange *range);
void vvm_work_wants(VvMember *m, uint64_t now_ms);

#endif
