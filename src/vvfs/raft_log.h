/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal and the vote's file as the log that Raft asks for (VvRaftOps of cluster/raft.h).
 *
 *   append   on Raft's thread: entries go into memory and into the queue -> the log's thread: vv_journal_put for all that waits, one
 *            sync for them -> stored() with the newest ticket -> whoever drives Raft posts vv_raft_stored to its thread
 *   read     the newest entries from memory (at least all that are not in the journal yet), others from the journal; that may wait for
 *            a sync under way, which only who lags behind or starts needs
 *
 * RL1 What is in memory is the log as Raft knows it; the journal follows, in the order of the appends.
 * RL2 Entries leave memory from the front, when they are durable, and only while there are more than VV_RAFT_TAIL_BYTES.
 * RL3 The first failure is the last: stored() tells it once, and nothing is taken or written any more.
 *
 * Threads: the log's own; Raft's one thread calls all below. Locks: journal lock > queue lock. */
#ifndef VV_RAFT_LOG_H
#define VV_RAFT_LOG_H

#include "journal_log.h"
#include "raft.h"
#include "vote.h"

#define VV_RAFT_TAIL_BYTES (2u << 20) /* newest entries in memory: what followers that keep up are sent */

typedef struct VvRaftLog VvRaftLog;

typedef struct {
    VvJournal *journal; /* a log; borrowed, and nobody else's meanwhile */
    VvVote *vote;       /* borrowed */
    /* The log's thread: all appends up to @ticket are durable (@result 0), or it has failed. */
    void (*stored)(void *user, uint64_t ticket, int result);
    /* The log's thread: the journal is full: release some of it (vv_raft_log_release), by a checkpoint. Then it is tried again, once.
     * NULL: nobody can. */
    void (*full)(void *user);
    void *user;
} VvRaftLogOptions;

VvRaftLog *vv_raft_log_new(const VvRaftLogOptions *options);
/* What is queued is made durable first, unless it has failed; stored() comes for it. */
void vv_raft_log_free(VvRaftLog *log);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvRaftLog, vv_raft_log_free)

/* ---- for VvRaftOps: the same contracts */
int vv_raft_log_store_vote(VvRaftLog *log, uint64_t term, uint64_t vote);
int vv_raft_log_append(VvRaftLog *log, const VvRaftEntry *entries, unsigned count, uint64_t ticket);
int vv_raft_log_read(VvRaftLog *log, uint64_t index, VvRaftEntry *ret_entry);
/* Raft does not need entries up to @index any more. They go when the store holds them too. */
void vv_raft_log_compact(VvRaftLog *log, uint64_t index);

/* The store holds entries up to @index. Any thread. */
void vv_raft_log_release(VvRaftLog *log, uint64_t index);
/* The first of the entries that take the last @bytes of the journal, about. */
uint64_t vv_raft_log_recent(VvRaftLog *log, uint64_t bytes);
/* Of what is durable: vote, first_index and last_index; the rest is the base's, which the caller has filled in. */
void vv_raft_log_start(VvRaftLog *log, VvRaftStart *start);

#endif
