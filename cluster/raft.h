/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raft without I/O: libraft's raft_step(), fed with events and an explicit time; what is to be done goes out through VvRaftOps.
 *
 * Who calls promises: one thread at a time; now_ms never goes back; operations do not call back into this header (asserted) but note
 * what they want and call later. What this file promises:
 *   L1 store_vote has returned, so is durable, before any message of that step is sent.
 *   L2 Only entries that the log reported durable (vv_raft_stored) are acknowledged, counted or applied.
 *   L3 A report for entries that were replaced meanwhile counts for nothing.
 *   L4 A new leader submits an entry of its term first, and vv_raft_ready() is false until it is applied; nothing is proposed before.
 *   L5 Of several messages that libraft 0.22 would mishandle none reaches it (raft_filter.c says which and why).
 *   L6 A sole voter starts in a new term, so that entries it sent but did not keep are never taken for those it makes later.
 *   L7 Entries are applied in order and once in the life of the process; never while a state is being installed.
 * After a negative answer from an operation, or an error of libraft, the instance has failed: every later call does nothing. */
#ifndef VV_RAFT_H
#define VV_RAFT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VvRaft VvRaft;

#define VV_RAFT_BASE_MIN 2u /* the first index that a base may have (raft_filter.c, 9) */

/* Numbers are on disk and on the wire. */
typedef enum { VV_RAFT_COMMAND = 1, VV_RAFT_BARRIER = 2, VV_RAFT_CHANGE = 3 } VvRaftEntryType;

typedef struct {
    uint64_t index;
    uint64_t term;
    VvRaftEntryType type;
    const uint8_t *data; /* borrowed: until the next call of the log, or the end of the operation it is given to */
    size_t data_bytes;
} VvRaftEntry;

typedef enum { VV_RAFT_STANDBY = 0, VV_RAFT_VOTER = 1 } VvRaftRole;

/* A state that can be given to who lags behind the log: all that entries up to @index made. */
typedef struct {
    uint64_t stream; /* chosen by the giver; another state has another */
    uint64_t index;
    uint64_t size_bytes;
} VvSyncSource;

typedef struct {
    /* ---- log. 0 or -errno */
    /* Durable when it returns; it may take as long as two syncs (docs/cluster.md says why that is no harm). */
    int (*store_vote)(void *user, uint64_t term, uint64_t vote);
    /* Entries from @entries[0].index on replace whatever was there and behind. Durable later: then vv_raft_stored(@ticket). Tickets
     * rise, and become durable in their order. @count >= 1. */
    int (*append)(void *user, const VvRaftEntry *entries, unsigned count, uint64_t ticket);
    int (*read)(void *user, uint64_t index, VvRaftEntry *ret_entry); /* durable or not; -ENODATA: not there */
    void (*compact)(void *user, uint64_t index);                      /* entries up to @index are not needed any more */

    /* ---- effects */
    void (*send)(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes);
    /* In order. False: not now; the same entry comes again with the next call of vv_raft_poll. */
    bool (*apply)(void *user, const VvRaftEntry *entry);
    void (*changed)(void *user); /* role, leader, term or readiness is another than at the last call */

    /* ---- state sync. NULLs: cannot give, cannot take */
    bool (*sync_source)(void *user, VvSyncSource *ret_source); /* of the newest compaction point */
    /* At most @most bytes from @offset; -ESTALE: another state is given by now. */
    int (*sync_read)(void *user, const VvSyncSource *source, uint64_t offset, GByteArray *out, size_t most);
    int (*sync_begin)(void *user, uint64_t index, uint64_t size_bytes); /* drop what was taken so far, take another */
    int (*sync_write)(void *user, uint64_t offset, const uint8_t *data, size_t data_bytes);
    /* All of it is taken: may it become ours now? False: the leader's next offer asks again. NULL: always. */
    bool (*sync_ready)(void *user);
    /* What was taken becomes, at once or not at all, state and log: no entries, next index + 1. Later: vv_raft_installed(). @conf is
     * kept beside it for vv_raft_start. */
    int (*sync_install)(void *user, uint64_t index, uint64_t term, uint64_t conf_index, const uint8_t *conf, size_t conf_bytes);
} VvRaftOps;

typedef struct {
    uint64_t id;
    uint32_t seed; /* of the election timeouts */
    unsigned election_ms;
    unsigned heartbeat_ms;
    unsigned inflight_max; /* entries sent and not answered, to one node; 0: libraft's 32 */
    bool prompt;           /* followers hear of a commit at once, and not with the next append or heartbeat */
    unsigned trailing;     /* entries kept before the compaction point, for who lags a little */
    size_t chunk_bytes;    /* of a state on its way; 0: VV_SYNC_CHUNK_BYTES */
} VvRaftConfig;

/* What was durable. A node that never was in a cluster has zeros. */
typedef struct {
    uint64_t term;
    uint64_t vote;
    uint64_t base_index; /* of the state (checkpoint): it holds all entries up to here; 0: none, else VV_RAFT_BASE_MIN or more */
    uint64_t base_term;
    uint64_t conf_index; /* of the configuration as of the base */
    const uint8_t *conf;
    size_t conf_bytes;
    uint64_t first_index; /* of the log; at most base_index + 1 */
    uint64_t last_index;  /* first_index - 1: the log is empty */
} VvRaftStart;

VvRaft *vv_raft_new(const VvRaftConfig *config, const VvRaftOps *ops, void *user);
void vv_raft_free(VvRaft *raft);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvRaft, vv_raft_free)

/* Bytes of a configuration of @count voters: what the first node of a cluster starts with, as entry 1 or beside its base. */
void vv_raft_encode_voters(const uint64_t *ids, unsigned count, GByteArray *out);

/* Once, before all else. 0; -EUCLEAN: log and base do not fit together. */
int vv_raft_start(VvRaft *raft, uint64_t now_ms, const VvRaftStart *start);

/* ---- events */
/* @from as the transport knows it. What does not decode is dropped; false says so. */
bool vv_raft_receive(VvRaft *raft, uint64_t now_ms, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes);
void vv_raft_tick(VvRaft *raft, uint64_t now_ms);
uint64_t vv_raft_deadline(VvRaft *raft); /* when to tick next */
void vv_raft_stored(VvRaft *raft, uint64_t now_ms, uint64_t ticket);
void vv_raft_installed(VvRaft *raft, uint64_t now_ms);
/* Try again to apply. */
void vv_raft_poll(VvRaft *raft, uint64_t now_ms);
/* A checkpoint holds all entries up to @index <= the last applied. Below VV_RAFT_BASE_MIN: nothing happens. */
void vv_raft_compact(VvRaft *raft, uint64_t now_ms, uint64_t index);
/* From now on so many entries are kept before a compaction point (VvRaftConfig.trailing). */
void vv_raft_set_trailing(VvRaft *raft, unsigned trailing);

/* ---- as leader. 0; -EAGAIN: not the leader, not ready, or leadership is being handed over; -EBUSY: another change is under way;
 * -ENOENT: no such node; -EEXIST; -EINVAL */
int vv_raft_propose(VvRaft *raft, uint64_t now_ms, const uint8_t *data, size_t data_bytes, uint64_t *ret_index);
int vv_raft_add(VvRaft *raft, uint64_t now_ms, uint64_t id);     /* as standby: gets the log, is not counted */
int vv_raft_promote(VvRaft *raft, uint64_t now_ms, uint64_t id); /* standby: catches up, then votes. At most VV_VOTERS_MAX */
int vv_raft_demote(VvRaft *raft, uint64_t now_ms, uint64_t id);  /* a voter is a standby; otherwise as remove */
int vv_raft_remove(VvRaft *raft, uint64_t now_ms, uint64_t id);  /* not the leader itself: -EINVAL, transfer first. A promotion that
                                                                 * waits for its node is given up: it is not waited for */
int vv_raft_transfer(VvRaft *raft, uint64_t now_ms, uint64_t id);
uint64_t vv_raft_promoting(const VvRaft *raft); /* 0: none */

/* ---- as it is */
bool vv_raft_is_leader(const VvRaft *raft);
bool vv_raft_ready(const VvRaft *raft); /* leader, and an entry of its term is applied */
uint64_t vv_raft_leader(VvRaft *raft);  /* 0: unknown */
uint64_t vv_raft_term(const VvRaft *raft);
uint64_t vv_raft_commit(const VvRaft *raft);
uint64_t vv_raft_applied(const VvRaft *raft);
uint64_t vv_raft_last(VvRaft *raft);
/* Of the newest configuration, committed or not. @index 0..; false past the last. */
bool vv_raft_member(const VvRaft *raft, unsigned index, uint64_t *ret_id, VvRaftRole *ret_role);
bool vv_raft_change_pending(const VvRaft *raft);
/* Asked of who leads: has @id acknowledged all that is committed? */
bool vv_raft_follows(const VvRaft *raft, uint64_t id);
int vv_raft_error(const VvRaft *raft); /* -errno once failed */

#endif
