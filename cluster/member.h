/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's own side: its session, what it may do with which range, its gates, and its entries on their way into the log.
 *
 * M1 The deadline is the sending time of the last answered renewal + T. Past it, or with another session, nothing is acknowledged
 *    (vv_member_check after every I/O).
 * M2 A session is adopted only if its entry carries the nonce that is waited for, and asked for only when all I/O of earlier ones ended.
 * M3 A lease is used only as the applied state says, and not from the moment its release begins; there is no way back but a new grant.
 * M4 Release: drain, sync, journal, then the release entry. Quiesce: close the gate, drain, sync, journal, then the answer.
 * M5 A gate is the set of the quiesces that hold it. One leaves the set by its entry applied here, by its resume, by an entry of a later
 *    term, or with the session; never by a timer.
 * M6 Entries of the session are numbered; one that is not applied yet is proposed again with its number, in order.
 *
 * What it does to data goes through VvMemberOps; answers come back by vv_member_settled. Operations do not call back into this header. */
#ifndef VV_MEMBER_H
#define VV_MEMBER_H

#include "state.h"

typedef struct VvMember VvMember;

/* The steps of letting go, in order. */
typedef enum { VV_SETTLE_DRAIN, VV_SETTLE_SYNC, VV_SETTLE_JOURNAL, VV_SETTLE_DONE } VvSettleStep;

typedef struct {
    void (*send)(void *user, uint64_t node, uint16_t kind, const VvFields *fields);
    /* Begin a step for these ranges: DRAIN: writes (and reads) under way there end, held ones stay held; SYNC: all disks they wrote;
     * JOURNAL: propose what is pending there and wait until it is applied. Then vv_member_settled(@job). */
    void (*settle)(void *user, uint64_t job, VvSettleStep step, const VvRange *ranges, unsigned count, bool reads);
    bool (*old_io)(void *user);                    /* is any I/O of a session that ended still under way? */
    bool (*uses)(void *user, uint64_t object);     /* a handle or a read on this snapshot? */
    uint64_t (*nonce)(void *user);                 /* never the same twice, not 0 */
    void (*session_changed)(void *user, uint64_t session); /* 0: it ended: drop what is pending, answer EIO to the next flush */
    void (*proposal_done)(void *user, uint64_t seq, VvVerdict verdict);
    void (*retry)(void *user); /* leases or gates changed: what is held may go on */
} VvMemberOps;

typedef struct {
    uint64_t id;
    uint64_t session_ms; /* T */
    bool no_session;     /* a witness: it asks for none, so it holds nothing and is not asked to let go */
} VvMemberConfig;

/* What an I/O was begun under. */
typedef struct {
    uint64_t session;
    uint64_t fence; /* index of the last session end applied here: goes with every request to a disk */
} VvIoToken;

/* @state: borrowed; the applied state, changed by its owner. */
VvMember *vv_member_new(const VvMemberConfig *config, const VvMemberOps *ops, void *user, const VvClusterState *state);
void vv_member_free(VvMember *member);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvMember, vv_member_free)

/* ---- events */
void vv_member_receive(VvMember *member, uint64_t now_ms, uint64_t from, uint16_t kind, const VvFields *fields);
/* After the state has it. @entry NULL: Raft's own. */
void vv_member_applied(VvMember *member, uint64_t now_ms, uint64_t index, const VvEntry *entry, const VvApplied *applied);
/* The state was replaced by another node's: what this session had on its way cannot be known, so it ends here. */
void vv_member_state_replaced(VvMember *member, uint64_t now_ms, const VvClusterState *state);
/* 0: unknown. */
void vv_member_coordinator(VvMember *member, uint64_t now_ms, uint64_t node, uint64_t term);
void vv_member_settled(VvMember *member, uint64_t now_ms, uint64_t job);
void vv_member_work(VvMember *member, uint64_t now_ms);
uint64_t vv_member_deadline(const VvMember *member);

/* ---- the data path */
bool vv_member_may(const VvMember *member, uint64_t now_ms, const VvRange *range, VvLeaseMode mode, VvIoToken *ret_token);
/* After the I/O, before anything is published or answered. */
bool vv_member_check(const VvMember *member, uint64_t now_ms, const VvIoToken *token);
bool vv_member_alive(const VvMember *member, uint64_t now_ms); /* a session, before its deadline: snapshots may be read */
bool vv_member_gated(const VvMember *member, uint64_t lun);
VvIoToken vv_member_token(const VvMember *member);

/* ---- wishes */
void vv_member_want(VvMember *member, uint64_t now_ms, const VvRange *range, VvLeaseMode mode);
void vv_member_release(VvMember *member, uint64_t now_ms, const VvRange *range); /* what of it is held */
/* MAP or SEGMENT: node, session and seq are filled in. 0; -EAGAIN: too many on their way; -ESTALE: no session. */
int vv_member_propose(VvMember *member, uint64_t now_ms, const VvEntry *entry, uint64_t *ret_seq);

/* ---- as it is */
uint64_t vv_member_session(const VvMember *member);
/* The deadline of M1; 0: it has no session. */
uint64_t vv_member_good_until(const VvMember *member);
unsigned vv_member_gates(const VvMember *member);

#endif
