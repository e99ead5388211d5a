/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a process may die: the points of PROTOCOL section 3, and those of a single node, at which tests let one be killed, stopped or late.
 *
 * The hook is a pointer that nothing sets but tests: those in C set it themselves; the daemon that tests run, `tests/cluster/vvfs-faults`,
 * sets it as VVFS_FAULT says (tests/cluster/faults.c). What is installed has nobody to set it: a load and a branch never taken.
 *
 * A new point is a line here, and `vv_may_die(VV_DIE_...)` where it is: any thread, whatever locks. */
#ifndef VV_FAULTPOINT_H
#define VV_FAULTPOINT_H

#include <stdatomic.h>
#include <stddef.h>

/* clang-format off: a table */
/*    identifier          name                 when: what is done, and what is not */
#define VV_DIE_POINTS(X)                                                                                               \
    X(DATA_WRITTEN, "data-written")         /* blocks of a write are on their disk; not published, not acknowledged */ \
    X(IN_RECORD, "in-record")               /* half of a pending record is in the memfd */                             \
    X(RECORD_PUT, "record-put")             /* all of it */                                                            \
    X(PUBLISHED, "published")               /* reads see the write; it is not acknowledged */                          \
    X(LOGGED, "logged")                     /* entries are in the journal's buffer; nothing is durable */              \
    X(SYNCED, "synced")                     /* they are durable; not applied */                                        \
    X(APPLIED, "applied")                   /* one is applied; its pending records are still there */                  \
    X(DROPPED, "dropped")                   /* they are not */                                                         \
    X(ANNOUNCED, "announced")               /* the memfd says that a takeover has begun */                             \
    X(OPENED, "opened")                     /* the pool is open; what a predecessor left is not adopted */             \
    X(ADOPTED, "adopted")                   /* it is; nothing stale is forgotten */                                    \
    X(JOURNAL_APPENDED, "journal-appended") /* one entry is in the buffer */                                           \
    X(JOURNAL_WRITTEN, "journal-written")   /* a batch is written; no sync yet */                                      \
    X(JOURNAL_SYNCED, "journal-synced")     /* and durable; nobody knows */                                            \
    X(CHECKPOINT_WRITTEN, "checkpoint-written")     /* all is in LMDB's transaction; not committed */                  \
    X(CHECKPOINT_COMMITTED, "checkpoint-committed") /* and committed; the journal still has it */                      \
    X(CHECKPOINT_RELEASED, "checkpoint-released")   /* the journal's files are given free */                           \
    X(SNAPSHOT_CLOSED, "snapshot-closed")           /* the gates are closed; no head has switched */                   \
    X(SNAPSHOT_SWITCHED, "snapshot-switched") /* heads write into the next epoch, gates are open; there is no entry */ \
    X(SNAPSHOT_ENTERED, "snapshot-entered")   /* its entry is durable and applied; nobody was told */                  \
    X(LABEL_FIRST, "label-first")     /* the first copy of a disk's label is new and durable, the second is old */     \
    X(LABEL_WRITTEN, "label-written") /* both are */                                                                   \
    X(VOTE_FIRST, "vote-first")       /* the first copy of term and vote is new and durable, the second is old */      \
    X(VOTE_WRITTEN, "vote-written")   /* both are; no message says so */                                               \
    X(RAFT_PUT, "raft-put")           /* entries of the Raft log are in the journal's buffer */                        \
    X(RAFT_STORED, "raft-stored")     /* they are durable; the core does not know */                                   \
    X(RENEWAL_HEARD, "renewal-heard") /* of a session, by whoever is asked; not looked at */                           \
    X(SESSION_ASKED, "session-asked") /* the question for a session has left; its entry is not applied */              \
    X(PROPOSAL_HEARD, "proposal-heard") /* another node's, by whoever is asked; not in its log */                      \
    X(COMMITTED, "committed")         /* an entry of the cluster's log is with the committer; not applied */           \
    X(OBJECT_TAKEN, "object-taken")   /* another node's request on a LUN; the engine does not have it */               \
    X(OBJECT_DONE, "object-done")     /* it is done, and its number noted; not answered */                             \
    X(ANSWER_HEARD, "answer-heard")   /* of the node with the disks; nobody here was told */

typedef enum {
#define VV_DIE_ENUM(identifier, name) VV_DIE_##identifier,
    VV_DIE_POINTS(VV_DIE_ENUM)
#undef VV_DIE_ENUM
        VV_N_DIES
} VvDiePoint;
/* clang-format on */

/* For tests: called by whatever thread is at a point; NULL: nobody is. */
extern void (*_Atomic vv_die_hook)(VvDiePoint point);
static inline void vv_may_die(VvDiePoint point)
{
    void (*die)(VvDiePoint) = atomic_load_explicit(&vv_die_hook, memory_order_relaxed);
    if (__builtin_expect(die != NULL, 0))
        die(point);
}

#endif
