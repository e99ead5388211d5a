/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks: late writes, lost power. Node 1 serves the disk unless it is shared. */
#include "message.h"
#include "stories.h"

static void own(History *h, uint64_t node, unsigned lun, unsigned block)
{
    history_write(h, node, lun, block);
    history_flush(h, node, lun);
}

/* V5. 3's write in place is on its way to the disk when its session ends, and a snapshot freezes the block. */
void story_refuse(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_hold(h, 3, true);
    history_begin_write(h, 3, 0, 0);
    history_expire(h, 3, 2, 0);
    history_pass(h);
    history_snapshot(h, 2);
    history_applied(h, 1);
    history_hold(h, 3, false);
    history_wait(h, 20);
}

/* The same when the disk's server lags: 2 reads the snapshot before and after 3's write, and the server knows of neither end nor snapshot. */
void story_fence_index(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_hold(h, 3, true);
    history_begin_write(h, 3, 0, 0);
    history_lose(h, 0, 1, HISTORY_RAFT);
    history_expire(h, 3, 2, 0);
    history_snapshot(h, 2);
    history_applied(h, 2);
    history_begin_read_snapshot(h, 2, 0, 0, 0);
    history_wait(h, 20);
    history_hold(h, 3, false);
    history_wait(h, 20);
    history_begin_read_snapshot(h, 2, 0, 0, 0);
    history_wait(h, 20);
    history_pass(h);
}

/* 3's write in place takes a second; its session ends and a snapshot is made meanwhile. */
static void write_across_snapshot(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    h->data.script.landing_us[3] = 1000000;
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 5);
    history_expire(h, 3, 2, 0);
    history_pass(h);
    history_snapshot(h, 2);
    history_wait(h, 1000);
}

/* V6. The server accepted it before. */
void story_barrier(History *h)
{
    write_across_snapshot(h);
}

/* Section 5 (b): nobody refuses it. */
void story_shared_redirect(History *h)
{
    write_across_snapshot(h);
}

/* V7. 2 reads what 3 wrote and did not sync before its session ended; then the disk loses power. */
void story_end_sync(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_write(h, 3, 0, 0);
    history_expire(h, 3, 2, 0);
    history_pass(h);
    history_read(h, 2, 0, 0);
    history_restart(h, 1);
    history_read(h, 2, 0, 0);
}

/* V8. A write comes back while a flush waits for its sync, which does not cover it; the flush must not name its place. */
void story_sync_first(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    own(h, 3, 0, 1);
    history_snapshot(h, 2);
    history_write(h, 3, 0, 0);
    history_hold(h, 3, true);
    history_begin_flush(h, 3, 0);
    history_begin_write(h, 3, 0, 1);
    history_wait(h, 5);
    history_hold(h, 3, false);
    history_idle(h, 3);
    history_restart(h, 1);
    history_read(h, 3, 0, 1);
}

/* ---- ends of sessions that come with a state sync */

/* 1 falls so far behind that it gets a state: the end of 3's session and a snapshot after it come at once. */
static void behind(History *h)
{
    history_lose(h, 0, 1, HISTORY_RAFT);
    history_expire(h, 3, 2, 0);
    history_snapshot(h, 2);
    history_applied(h, 3);
    for (uint64_t node = 2; node <= 3; node++)
        sim_checkpoint(history_node(h, node));
    history_pass(h);
}

/* The write of the ended session is under way when the state comes: it lands before the state counts, or on a frozen block. */
void story_state_sync_write(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    h->data.script.landing_us[3] = 3000000;
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 5);
    behind(h);
    history_wait(h, 3000);
    history_applied(h, 1);
}

/* What the ended session wrote and did not sync was read by another: it is synced with the end. */
void story_state_sync_power(History *h)
{
    history_lead(h, 2);
    own(h, 3, 0, 0);
    history_write(h, 3, 0, 0);
    behind(h);
    history_applied(h, 1);
    history_read(h, 2, 0, 0);
    history_restart(h, 1);
    history_read(h, 2, 0, 0);
}
