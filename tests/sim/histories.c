/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One history for each rule of the protocol that needs it. The letters of nodes in the comments are those of PROTOCOL's traces. */
#include "history.h"
#include "message.h"

/* ---- ends of sessions that come with a state sync. 1 serves the disk, 2 leads, 3 held the lease. */

/* 1 falls so far behind that it gets a state: the end of 3's session and a snapshot after it come at once. */
static void behind(History *h)
{
    uint64_t session = history_session(h, 3);

    history_lose(h, 0, 1, HISTORY_RAFT);
    history_lose(h, 3, 2, VV_MESSAGE_RENEW, VV_MESSAGE_RENEW);
    history_lose(h, 2, 3, VV_MESSAGE_RECALL, VV_MESSAGE_RECALL);
    history_want(h, 2, 0, 0, DATA_BLOCKS, VV_LEASE_READ);
    history_expired(h, 3, session);
    history_snapshot(h, 2);
    history_applied(h, 3);
    for (uint64_t node = 2; node <= 3; node++)
        sim_checkpoint(history_node(h, node));
    history_pass(h);
}

/* The write of the ended session is under way when the state comes: it lands before the state counts, or on a frozen block. */
static void state_sync_write(History *h)
{
    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    history_flush(h, 3, 0);
    h->data.script.landing_us[3] = 3000000;
    history_begin_write(h, 3, 0, 0);
    history_wait(h, 5);
    behind(h);
    history_wait(h, 3000);
    history_applied(h, 1);
}

/* What the ended session wrote and did not sync was read by another: it is synced with the end. */
static void state_sync_power(History *h)
{
    history_lead(h, 2);
    history_write(h, 3, 0, 0);
    history_flush(h, 3, 0);
    history_write(h, 3, 0, 0);
    behind(h);
    history_applied(h, 1);
    history_read(h, 2, 0, 0);
    history_restart(h, 1);
    history_read(h, 2, 0, 0);
}

static const Story stories[] = {
    { HISTORY_NO_RULE, "state-sync-ends-io", false, 3, state_sync_write, 0, 0, false },
    { HISTORY_NO_RULE, "state-sync-ends-sync", false, 3, state_sync_power, 0, 0, false },
};

static void run(gconstpointer story)
{
    history_test(story);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(stories); i++) {
        g_autofree char *path = g_strdup_printf("/sim/histories/%s", stories[i].name);

        g_test_add_data_func(path, &stories[i], run);
    }
    return g_test_run();
}
