/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions: who believes to have one, and whose entries count. */
#include "message.h"
#include "stories.h"

/* V1. 3 has handed over to 1 and does not know that 1 took it: it answers 4, which does not know either. 2 and 5 are 1's majority, and 4's
 * session ends. Elections take longer than T here, else 3 would have noticed that nobody but 4 follows it. */
void story_confirm(History *h)
{
    SimNode *first;
    uint64_t session;

    history_lead(h, 3);
    history_write(h, 4, 0, 0);
    session = history_session(h, 4);
    first = history_node(h, 3);
    vv_raft_transfer(first->raft, sim_local_ms(first), 1);
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_lose(h, 1, 4, HISTORY_RAFT);
    history_lose(h, 2, 4, HISTORY_RAFT);
    history_lose(h, 5, 4, HISTORY_RAFT);
    history_lose(h, 1, 4, VV_MESSAGE_RECALL, VV_MESSAGE_RECALL);
    history_leads(h, 1);
    history_want(h, 1, 0, 0, DATA_BLOCKS, VV_LEASE_WRITE);
    history_expired(h, 4, session);
    history_begin_write(h, 4, 0, 0);
    history_wait(h, 20);
    history_pass(h);
}

/* 3 is cut off and writes as soon as its session is over for the others. */
static void write_after_expiry(History *h)
{
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_expire(h, 3, 2, 0);
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 20);
    history_pass(h);
}

/* V2. 3's clock is slower than 2's. */
void story_drift_wait(History *h)
{
    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    write_after_expiry(h);
}

/* The answer to a renewal takes almost T. */
void story_send_time(History *h)
{
    uint64_t session;

    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    session = history_session(h, 3);
    history_keep(h, 2, 3, VV_MESSAGE_RENEWED);
    history_wait(h, 110);
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_silence(h, 3, 2);
    history_want(h, 2, 0, 0, DATA_BLOCKS, VV_LEASE_WRITE);
    history_wait(h, 280);
    history_let_go(h);
    history_expired(h, 3, session);
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 20);
    history_pass(h);
}

static bool has_uncommitted(Sim *sim, uint64_t id)
{
    const SimNode *node = sim->nodes[id];

    return vv_raft_last(node->raft) > node->applied_index;
}

/* V3. The end of 3's session is in 2's log and not committed yet when 3 renews. */
void story_no_answer(History *h)
{
    uint64_t session;

    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    session = history_session(h, 3);
    history_silence(h, 3, 2);
    history_want(h, 2, 0, 0, DATA_BLOCKS, VV_LEASE_WRITE);
    history_wait(h, 290);
    history_lose(h, 0, 2, VV_MESSAGE_RAFT_APPEND_RESULT, VV_MESSAGE_RAFT_APPEND_RESULT);
    history_until(h, "the end in the tail", has_uncommitted, 2);
    history_pass(h);
    history_lose(h, 0, 2, VV_MESSAGE_RAFT_APPEND_RESULT, VV_MESSAGE_RAFT_APPEND_RESULT);
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_wait(h, 110);
    history_pass(h);
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_expired(h, 3, session);
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 20);
    history_pass(h);
}

/* V18. A map entry of the session before, whose number is the next of the new one, is late. */
void story_apply_session(History *h)
{
    history_lead(h, 2);
    history_write(h, 3, 0, 0); /* its first entry claims a segment */
    history_keep(h, 3, 2, VV_MESSAGE_PROPOSE);
    history_begin_flush(h, 3, 0); /* the second maps the block */
    history_kept(h, 1);
    history_expire(h, 3, 2, 0);
    history_pass(h);
    history_write(h, 2, 0, 0);
    history_flush(h, 2, 0);
    history_alive(h, 3);
    history_write(h, 3, 1, 0); /* the first of the new session */
    history_let_go(h);
    history_wait(h, 20);
    history_read(h, 2, 0, 0);
}

/* V18. 3's map entry arrives a second time, when the block is elsewhere by now. */
void story_sequence(History *h)
{
    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    history_twice(h, 3, 2, VV_MESSAGE_PROPOSE);
    history_flush(h, 3, 0);
    history_pass(h);
    history_snapshot(h, 2); /* so that the next write goes elsewhere */
    history_write(h, 3, 0, 0);
    history_flush(h, 3, 0);
    history_let_go(h);
    history_wait(h, 20);
    history_read(h, 2, 0, 0);
}

/* 3's read is at the disk while its session ends, and the block's place goes to another block. */
void story_post_check_read(History *h)
{
    history_lead(h, 2);
    h->data.script.segment[2] = 1 + 1;
    history_write(h, 2, 0, 0);
    history_flush(h, 2, 0);
    history_read(h, 3, 0, 0);
    h->data.script.landing_us[3] = 1500000;
    history_begin_read(h, 3, 0, 0);
    history_wait(h, 5);
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_silence(h, 3, 2);
    history_write(h, 2, 0, 0);
    history_flush(h, 2, 0);
    history_write(h, 2, 0, 1);
    history_wait(h, 1500);
    history_pass(h);
}

/* 2 takes 3's segment, so what 3 has under way lands on its blocks. 3 wrote two places there, the second slowly. */
static void take_segment(History *h)
{
    h->data.script.landing_us[3] = 0;
    h->data.script.segment[2] = 1 + 2;
    history_write(h, 2, 1, 0);
    history_write(h, 2, 1, 1);
    history_flush(h, 2, 1);
    history_wait(h, 1500);
}

static void write_slowly(History *h)
{
    h->data.script.segment[3] = 1 + 2;
    history_write(h, 3, 0, 0);
    h->data.script.landing_us[3] = 1500000;
    history_begin_write(h, 3, 0, 1);
    history_wait(h, 5);
}

/* V4. 3 asks and crashes; its session begins. It asks again 300 ms later, applies the first ask's entry, and counts from the second. */
void story_open_nonce(History *h)
{
    history_lead(h, 2);
    history_keep(h, 3, 2, VV_MESSAGE_OPEN);
    sim_crash(history_node(h, 3));
    sim_start(history_node(h, 3));
    history_kept(h, 1);
    sim_crash(history_node(h, 3));
    history_pass(h);
    history_let_go(h);
    history_wait(h, 300);
    history_lose(h, 3, 2, VV_MESSAGE_RENEW, VV_MESSAGE_RENEW);
    sim_start(history_node(h, 3));
    history_alive(h, 3);
    history_write(h, 3, 0, 0);
    write_after_expiry(h);
}

/* An ask of 3 from before a restart comes late: it ends the session of after it, and says that all its I/O is over. */
void story_open_previous(History *h)
{
    history_lead(h, 2);
    history_keep(h, 3, 2, VV_MESSAGE_OPEN);
    sim_crash(history_node(h, 3));
    sim_start(history_node(h, 3));
    history_kept(h, 1);
    history_pass(h);
    history_restart(h, 3);
    write_slowly(h);
    history_let_go(h);
    history_wait(h, 20);
    take_segment(h);
}

/* 3 restarts with a write in the kernel. */
void story_old_io(History *h)
{
    history_lead(h, 2);
    write_slowly(h);
    history_restart(h, 3);
    take_segment(h);
}

/* The same without a restart: 3's session has ended, its write has not. */
void story_no_segment(History *h)
{
    history_lead(h, 2);
    write_slowly(h);
    history_expire(h, 3, 2, 0);
    take_segment(h);
    history_pass(h);
}

/* 3 is off, and somebody vouches for that; his word is late. Meanwhile 3 came back, and its next session ended with a write under way. */
void story_fenced_late(History *h)
{
    uint64_t session;

    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    session = history_session(h, 3);
    sim_crash(history_node(h, 3));
    history_expire(h, 3, 2, 0);
    history_keep(h, 1, 2, VV_MESSAGE_REQUEST);
    history_fenced(h, 1, 3, session);
    history_pass(h);
    sim_start(history_node(h, 3));
    history_alive(h, 3);
    write_slowly(h);
    history_expire(h, 3, 2, 0);
    history_let_go(h);
    history_wait(h, 20);
    take_segment(h);
    history_pass(h);
}
