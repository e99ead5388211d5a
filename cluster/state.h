/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replicated state of the cluster: what follows from the log and from nothing else.
 *
 *   nodes       ids in use and used up; each one's session (the index of its entry), its last session, seq of its last entry
 *   leases      ranges of LUNs, R or W, of live sessions
 *   segments    who may allocate from a segment; an ended session keeps its segments until it is fenced
 *   unfenced    ended sessions whose I/O could still land on a disk that cannot refuse it
 *   removals    snapshots that are removed and whose space is not free yet
 *   requests    results of the last requests, so that a repeat is not a second one
 *   done        quiesces of this term that ended with their entry: what opens gates, also of who was not there when it was applied
 *
 * S1 apply() is a pure function of state and entry: every node that applied index N holds the same bytes (vv_state_digest).
 * S2 An entry that fails its check changes nothing but the applied index and the result of its request.
 * S3 No two live sessions hold overlapping ranges of which one is W.
 * S4 Leases and seqs belong to live sessions only; last_end is the index of the last entry that ended one.
 *
 * No locks, no I/O. Not to be shared between threads. */
#ifndef VV_STATE_H
#define VV_STATE_H

#include "entry.h"

typedef enum {
    VV_VERDICT_OK,
    VV_VERDICT_NODE,      /* no such node, or its id is used up */
    VV_VERDICT_SESSION,   /* the session has ended, or is not the one that was named */
    VV_VERDICT_SEQ,       /* not the next entry of the session */
    VV_VERDICT_CONFLICT,  /* another session holds the range, or its own holds it in another mode */
    VV_VERDICT_HOLDERS,   /* a session is missing in the list of those that were asked */
    VV_VERDICT_GONE,      /* no such removal, or it is removed already */
    VV_VERDICT_UNFENCED,  /* the segment's owner may still write */
    VV_VERDICT_LIMIT,     /* a maximum of limits.h is reached */
    VV_VERDICT_REFUSED,   /* the engine does not take the body */
    VV_VERDICT_DUPLICATE, /* the request was answered before: VvApplied has that result */
    VV_VERDICTS
} VvVerdict;

typedef struct {
    uint64_t id;
    uint64_t session;      /* 0: none is live */
    uint64_t last_session; /* the newest ever, live or not; 0: never had one */
    uint64_t nonce;        /* of the newest */
    uint64_t seq;          /* of the last entry of the live session */
    bool removed;
    uint8_t *body; /* name and so on; owned */
    uint32_t body_bytes;
} VvNodeState;

typedef struct {
    VvRange range;
    VvHolder holder;
    VvLeaseMode mode;
    uint64_t index; /* of the newest grant in it */
} VvLease;

typedef struct {
    VvHolder holder;
    uint64_t end_index;
} VvUnfenced;

typedef struct {
    uint64_t segment;
    VvHolder owner;
} VvSegmentOwner;

typedef struct {
    uint64_t object;
    uint64_t index; /* of the remove entry */
} VvPendingRemoval;

typedef struct {
    VvRequestId id;
    uint64_t index; /* of the entry that was decided */
    VvVerdict verdict;
} VvRequestResult;

/* Fields are to be read; vv_state_apply alone changes them. */
typedef struct {
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t last_end;  /* index of the last entry that ended a session */
    uint64_t next_node; /* ids below it are used */
    GArray *nodes;      /* VvNodeState by id */
    GArray *leases;     /* VvLease by (lun, first, node) */
    GArray *segments;   /* VvSegmentOwner by segment */
    GArray *unfenced;   /* VvUnfenced, oldest first */
    GArray *removals;   /* VvPendingRemoval by index */
    GArray *requests;   /* VvRequestResult, oldest first */
    GArray *done;       /* u64: numbers of the quiesces of applied_term whose snapshot entry was applied, oldest first */
} VvClusterState;

typedef struct {
    VvVerdict verdict;
    VvHolder ended;           /* the session that ended, or {0, 0} */
    VvRequestResult original; /* with DUPLICATE */
} VvApplied;

/* The engine's say about bodies: a pure function of what it has applied. Asked only when all else is well. NULL: takes all. */
typedef bool (*VvAdmitFunc)(void *user, uint64_t index, const VvEntry *entry);

VvClusterState *vv_state_new(void);
void vv_state_free(VvClusterState *state);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvClusterState, vv_state_free)
VvClusterState *vv_state_copy(const VvClusterState *state);
/* Of a cluster that begins behind entry @index, of @term, with these nodes (rising ids, @count >= 1); ids between them are used up. */
VvClusterState *vv_state_first(uint64_t index, uint64_t term, const uint64_t *ids, unsigned count);

/* @index follows applied_index (asserted). @entry NULL: an entry that carries nothing for us (Raft's own). */
VvVerdict vv_state_apply(VvClusterState *state, uint64_t index, uint64_t term, const VvEntry *entry, VvAdmitFunc admit, void *user,
    VvApplied *ret_applied);

/* The whole state: checkpoint and state sync. */
void vv_state_encode(const VvClusterState *state, GByteArray *out);
/* NULL: not a state of this version, or one that contradicts itself. */
VvClusterState *vv_state_decode(const uint8_t *data, size_t length_bytes);
/* Equal for equal states, and practically only for them. */
uint64_t vv_state_digest(const VvClusterState *state);

/* NULL if there is none with this id. Borrowed until the next apply. */
const VvNodeState *vv_state_node(const VvClusterState *state, uint64_t node);
/* 0 if the node has none. */
uint64_t vv_state_session(const VvClusterState *state, uint64_t node);
/* Does @holder hold all of @range, in @mode or more? False for a session that is not live. */
bool vv_state_holds(const VvClusterState *state, VvHolder holder, const VvRange *range, VvLeaseMode mode);
/* The first lease from position @from in state->leases that keeps @holder from getting @range in @mode, or -1. */
int vv_state_conflict(const VvClusterState *state, VvHolder holder, const VvRange *range, VvLeaseMode mode, unsigned from);
/* May @holder's session claim (or keep) this segment? */
bool vv_state_segment_free(const VvClusterState *state, uint64_t segment, VvHolder holder);
bool vv_state_segment_owned(const VvClusterState *state, uint64_t segment, VvHolder holder);
/* NULL if the request is not known (any more). */
const VvRequestResult *vv_state_request(const VvClusterState *state, VvRequestId id);
/* Has this quiesce ended, as far as the log tells: by its entry, or by any entry of a later term? */
bool vv_state_quiesce_ended(const VvClusterState *state, VvQuiesceId quiesce);
const char *vv_verdict_name(VvVerdict verdict);

#endif
