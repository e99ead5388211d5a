/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What must not reach libraft 0.22. It asserts what a well-behaved peer sends, and a release build goes on where the assertion would
 * have failed; a peer's bytes are never trusted (I8). Seen in its source, 9 and 10 by the simulator.
 *
 *   1 An append or a state of our own term while we lead: there cannot be one; libraft would go on as if it were a follower.
 *   2 An append with previous index 0 and a term, or an index and no term; entries of term 0, or of a term above the message's.
 *   3 An append of a lower term: 0.22.1 answers with last_log_index as it was on the stack. With previous index 0 that is a success for
 *     whatever it says, and counted if it arrives when its receiver leads our term. We answer ourselves: our term, rejected = max.
 *   4 A configuration that is not the first new entry of an append: libraft notes it under the first's index. It would neither be taken
 *     back when it is truncated nor be settled when it is committed. Appends are cut before each.
 *   5 A rejection that says that the peer has less than what it acknowledged before (late, or it lost its log): next_index would fall to or
 *     below match_index, and the number of entries in flight below zero.
 *   6 (raft.c) commit_index goes back when an append says more is committed than it has entries for; ours never does.
 *   7 A vote's or pre-vote's answer of a higher term that grants; candidates that do not speak for themselves.
 *   8 Bytes of a configuration: libraft's decoder reads past their end. They are checked first (vvr_conf_valid).
 *   9 (raft.c) A base at index 1: libraft takes its term for that of an entry 1 in the log, and sends who has nothing empty appends for ever.
 *  10 An append whose previous entry is before our base: libraft says that it is missing, and its leader goes back until it offers a state
 *     that we have. What is at or before the base is committed, so it is the leader's too: the append is cut to begin behind the base. *  11 Numbers next to 2^64: what is added to them wraps, so that the second piece of an append (4) would begin at index 0 and replace
 *     what is committed; and a term that we took over could not be followed by another. */
#include "limits.h"
#include "raft_private.h"

static VvRaftVerdict filter_append(VvRaft *raft, const struct raft_append_entries *append)
{
    if ((append->prev_log_index == 0) != (append->prev_log_term == 0) || append->term == 0 || append->prev_log_term > append->term)
        return VVR_DROP;
    if (append->term < raft_current_term(&raft->raft))
        return VVR_ANSWER_TERM;
    if (append->term == raft_current_term(&raft->raft) && raft_state(&raft->raft) == RAFT_LEADER)
        return VVR_DROP;
    for (unsigned i = 0; i < append->n_entries; i++) {
        uint64_t before = i > 0 ? append->entries[i - 1].term : append->prev_log_term;

        if (append->entries[i].term < before || append->entries[i].term == 0 || append->entries[i].term > append->term)
            return VVR_DROP;
    }
    return VVR_PASS;
}

static VvRaftVerdict filter_append_result(VvRaft *raft, uint64_t from, const struct raft_append_entries_result *result)
{
    raft_index match;

    if (raft_state(&raft->raft) != RAFT_LEADER || result->term != raft_current_term(&raft->raft))
        return VVR_PASS;
    if (raft_match_index(&raft->raft, from, &match) != 0)
        return VVR_DROP;
    if (result->rejected > 0 && result->last_log_index < match)
        return VVR_DROP;
    return VVR_PASS;
}

static bool numbers_fit(const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return message->append_entries.term <= VV_RAFT_NUMBER_MAX && message->append_entries.prev_log_index <= VV_RAFT_NUMBER_MAX;
    case RAFT_APPEND_ENTRIES_RESULT: /* rejected: only compared, and all ones is an answer of ours */
        return message->append_entries_result.term <= VV_RAFT_NUMBER_MAX &&
               message->append_entries_result.last_log_index <= VV_RAFT_NUMBER_MAX;
    case RAFT_REQUEST_VOTE:
        return message->request_vote.term <= VV_RAFT_NUMBER_MAX;
    case RAFT_REQUEST_VOTE_RESULT:
        return message->request_vote_result.term <= VV_RAFT_NUMBER_MAX;
    case RAFT_TIMEOUT_NOW:
        return message->timeout_now.term <= VV_RAFT_NUMBER_MAX;
    default:
        return true;
    }
}

VvRaftVerdict vvr_filter(VvRaft *raft, uint64_t from, const struct raft_message *message)
{
    if (!numbers_fit(message))
        return VVR_DROP;
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return filter_append(raft, &message->append_entries);
    case RAFT_APPEND_ENTRIES_RESULT:
        return filter_append_result(raft, from, &message->append_entries_result);
    case RAFT_REQUEST_VOTE:
        return message->request_vote.candidate_id == from && message->request_vote.term > 0 ? VVR_PASS : VVR_DROP;
    case RAFT_REQUEST_VOTE_RESULT:
        /* A grant is for the term that was asked for: ours, or the next if it is a pre-vote. */
        if (message->request_vote_result.vote_granted &&
            message->request_vote_result.term > raft_current_term(&raft->raft) + message->request_vote_result.pre_vote)
            return VVR_DROP;
        return VVR_PASS;
    case RAFT_TIMEOUT_NOW:
        return VVR_PASS;
    default:
        return VVR_DROP;
    }
}

unsigned vvr_piece(const struct raft_append_entries *append, unsigned first)
{
    unsigned i = first;

    while (i < append->n_entries && (i == first || append->entries[i].type != RAFT_CHANGE))
        i++;
    return i - first;
}

void vvr_cut_base(const VvRaft *raft, struct raft_append_entries *append)
{
    uint64_t known = raft->base_index;
    unsigned cut;

    if (append->prev_log_index >= known || append->term < raft->base_term)
        return;
    cut = (unsigned) MIN(known - append->prev_log_index, append->n_entries);
    append->entries = append->entries ? append->entries + cut : NULL;
    append->n_entries -= cut;
    append->prev_log_index = known;
    append->prev_log_term = raft->base_term;
}
