/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules of the cluster protocol, each of which the simulator can switch off to see that it is needed.
 * In the daemon vv_rule() is the constant true: no build that is installed has a switch. Only the objects that tests/sim compiles for
 * itself (VV_RULES_SWITCHABLE) ask the set. */
#ifndef VV_RULES_H
#define VV_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* name, what is done only if it is on */
#define VV_RULES(X) \
    X(CONFIRM, "a renewal is answered only after a majority of voters confirmed the term, asked after it arrived") \
    X(NEW_WAIT, "a new coordinator starts every session's timer afresh") \
    X(DRIFT_WAIT, "the coordinator waits T (1 + drift), not T") \
    X(SEND_TIME, "a node's deadline counts from the sending of the renewal") \
    X(NO_ANSWER, "no renewal is answered once the end of the session is in the coordinator's tail") \
    X(APPLY_SESSION, "apply takes entries of a live session only") \
    X(SEQUENCE, "apply takes each session's entries once and in order") \
    X(POST_CHECK_WRITE, "session and deadline are checked after a write, before the answer") \
    X(POST_CHECK_READ, "session and deadline are checked after a read, before the answer") \
    X(RELEASE_STOP, "a range is not used from the moment its release begins") \
    X(RELEASE_DRAIN, "a release waits for I/O under way") \
    X(RELEASE_SYNC, "a release waits for a sync") \
    X(RELEASE_JOURNAL, "a release waits until what is pending is journalled") \
    X(QUIESCE_DRAIN, "a quiesce is answered after the writes under way") \
    X(QUIESCE_SYNC, "a quiesce is answered after a sync") \
    X(QUIESCE_JOURNAL, "a quiesce is answered after what is pending is journalled") \
    X(QUIESCE_CHECK, "apply of a snapshot wants every present W holder in its list") \
    X(QUIESCE_HOLD, "a node never opens a gate on a timer of its own") \
    X(QUIESCE_FINAL, "a quiesce that was aborted is never proposed") \
    X(QUIESCE_SET, "a gate is the set of the quiesces that hold it") \
    X(QUIESCE_TERM, "an entry of a later term opens the gates of earlier ones") \
    X(DROP_ASK, "a purge wants the drop of every live session older than the removal") \
    X(DROP_ID, "drops and purges name the removal") \
    X(OPEN_NONCE, "a node adopts only the session that carries the nonce it waits for") \
    X(OPEN_PREVIOUS, "a session follows the one that its opener knew to be its last")                        \
    X(OLD_IO, "a session is opened only when all I/O of the old one has ended") \
    X(REFUSE, "a disk server refuses ended sessions") \
    X(FENCE_INDEX, "a disk server applies up to the sender's last session end first") \
    X(BARRIER, "a disk server applies a session end only after that session's I/O") \
    X(END_SYNC, "a disk server syncs at a session end") \
    X(INCARNATION, "a disk's incarnation is looked at in every reply") \
    X(REVALIDATE_READ, "a read looks up again after its I/O") \
    X(REVALIDATE_WRITE, "a write in place looks up again after its I/O") \
    X(NO_SEGMENT, "segments of an ended session are not allocated from until it is fenced") \
    X(SHARED_REDIRECT, "a disk that cannot refuse is never written in place") \
    X(SYNC_FIRST, "data is durable before an entry maps it")

typedef enum {
#define X(name, text) VV_RULE_##name,
    VV_RULES(X)
#undef X
        VV_RULE_COUNT
} VvRule;

#ifdef VV_RULES_SWITCHABLE
extern uint64_t vv_rules_off; /* bit 1 << VvRule */
static inline bool vv_rule(VvRule rule)
{
    return !(vv_rules_off >> rule & 1);
}
#else
static inline bool vv_rule(VvRule rule)
{
    (void) rule;
    return true;
}
#endif

#endif
