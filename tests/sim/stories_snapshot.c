/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots and their removal. */
#include "message.h"
#include "stories.h"

static bool is_open(Sim *sim, uint64_t id)
{
    return vv_member_gates(vv_cluster_member(data_node(sim->nodes[id])->cluster)) == 0;
}

static void own(History *h, uint64_t node, unsigned lun, unsigned block)
{
    history_write(h, node, lun, block);
    history_flush(h, node, lun);
}

/* V7. What the snapshot shows was not synced when the disk loses power. */
void story_quiesce_sync(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_write(h, 3, 0, 0);
    history_snapshot(h, 2);
    history_read_snapshot(h, 2, 0, 0, 0);
    history_restart(h, 1);
    history_read_snapshot(h, 2, 0, 0, 0);
}

/* V12. 1 is granted W of the other LUN while 3 is quiesced, and writes there in place. */
void story_quiesce_check(History *h)
{
    history_lead(h, 2);
    own(h, 1, 1, 0);
    history_release(h, 1, 1, 0, UINT64_MAX);
    own(h, 3, 0, 0);
    history_keep(h, 3, 2, VV_MESSAGE_QUIESCED);
    history_begin_snapshot(h, 2);
    history_kept(h, 1);
    h->data.script.landing_us[1] = 100000;
    history_begin_write(h, 1, 1, 0);
    history_wait(h, 20);
    history_pass(h);
    history_let_go(h);
    history_wait(h, 100);
}

/* V10. 3 knows that the quiesce was aborted, and writes; its answer of before comes late, and that it knows is not known. */
void story_quiesce_final(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_keep(h, 3, 2, VV_MESSAGE_QUIESCED);
    history_lose(h, 3, 2, VV_MESSAGE_RESUMED, VV_MESSAGE_RESUMED);
    history_begin_snapshot(h, 2);
    history_kept(h, 1);
    history_until(h, "an abort", is_open, 3);
    h->data.script.landing_us[3] = 100000;
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 2);
    history_pass(h);
    history_let_go(h);
    history_wait(h, 100);
}

/* V11. The first quiesce's snapshot is committed and 3 has not applied it; a second one is aborted, and 3 hears of that. */
void story_quiesce_set(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_keep(h, 3, 2, VV_MESSAGE_QUIESCED);
    history_begin_snapshot(h, 2);
    history_kept(h, 1);
    history_lose(h, 0, 3, HISTORY_RAFT);
    history_let_go(h);
    history_wait(h, 5);
    history_begin_snapshot(h, 2);
    history_wait(h, 235);
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 20);
    history_pass(h);
}

/* V14. 3 reads a snapshot slowly while it is removed, and its block becomes the LUN's own. */
void story_drop_ask(History *h)
{
    history_lead(h, 2);
    own(h, 2, 0, 0);
    history_snapshot(h, 2);
    history_read_snapshot(h, 3, 0, 0, 0);
    h->data.script.landing_us[3] = 300000;
    history_begin_read_snapshot(h, 3, 0, 0, 0);
    history_wait(h, 5);
    history_remove(h, 2, 0);
    history_write(h, 2, 0, 0);
    history_wait(h, 300);
}

/* V15. The same of the second snapshot of one id, when 3's answer for the first comes again. */
void story_drop_id(History *h)
{
    history_reuse_ids(h);
    history_lead(h, 2);
    own(h, 2, 0, 0);
    history_snapshot(h, 2);
    history_twice(h, 3, 2, VV_MESSAGE_DROPPED);
    history_remove(h, 2, 0);
    history_pass(h);
    history_snapshot(h, 2);
    history_read_snapshot(h, 3, 0, 0, 0);
    h->data.script.landing_us[3] = 500000;
    history_begin_read_snapshot(h, 3, 0, 0, 0);
    history_wait(h, 5);
    history_begin_remove(h, 2, 0);
    history_wait(h, 10);
    history_let_go(h);
    history_wait(h, 100);
    history_write(h, 2, 0, 0);
    history_wait(h, 400);
}
