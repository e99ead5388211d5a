/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A history for each rule of the protocol that random walks do not miss at once, or only because something waits for ever (cluster.c has the
 * others), and for what once went wrong. */
#include "stories.h"

static const Story stories[] = {
    { VV_RULE_CONFIRM, "confirm", true, 5, story_confirm, 0, 0, false, 600 },
    { VV_RULE_DRIFT_WAIT, "drift-wait", true, 3, story_drift_wait, 400, 8, false, 0 },
    { VV_RULE_SEND_TIME, "send-time", true, 3, story_send_time, 0, 0, false, 0 },
    { VV_RULE_NO_ANSWER, "no-answer", true, 3, story_no_answer, 0, 0, false, 0 },
    { VV_RULE_APPLY_SESSION, "apply-session", false, 3, story_apply_session, 0, 0, false, 0 },
    { VV_RULE_SEQUENCE, "sequence", false, 3, story_sequence, 0, 0, false, 0 },
    { VV_RULE_POST_CHECK_READ, "post-check-read", true, 3, story_post_check_read, 0, 0, false, 0 },
    { VV_RULE_QUIESCE_SYNC, "quiesce-sync", false, 3, story_quiesce_sync, 0, 0, false, 0 },
    { VV_RULE_QUIESCE_CHECK, "quiesce-check", false, 3, story_quiesce_check, 0, 0, false, 0 },
    { VV_RULE_QUIESCE_FINAL, "quiesce-final", false, 3, story_quiesce_final, 0, 0, false, 0 },
    { VV_RULE_QUIESCE_SET, "quiesce-set", false, 3, story_quiesce_set, 0, 0, false, 0 },
    { VV_RULE_DROP_ASK, "drop-ask", false, 3, story_drop_ask, 0, 0, false, 0 },
    { VV_RULE_DROP_ID, "drop-id", false, 3, story_drop_id, 0, 0, false, 0 },
    { VV_RULE_OPEN_NONCE, "open-nonce", true, 3, story_open_nonce, 0, 0, false, 0 },
    { VV_RULE_OPEN_PREVIOUS, "open-previous", true, 3, story_open_previous, 0, 0, false, 0 },
    { VV_RULE_OLD_IO, "old-io", true, 3, story_old_io, 0, 0, false, 0 },
    { VV_RULE_REFUSE, "refuse", false, 3, story_refuse, 0, 0, false, 0 },
    { VV_RULE_FENCE_INDEX, "fence-index", false, 3, story_fence_index, 0, 0, false, 0 },
    { VV_RULE_BARRIER, "barrier", false, 3, story_barrier, 0, 0, false, 0 },
    { VV_RULE_END_SYNC, "end-sync", false, 3, story_end_sync, 0, 0, false, 0 },
    { VV_RULE_NO_SEGMENT, "no-segment", true, 3, story_no_segment, 0, 0, false, 0 },
    { VV_RULE_SHARED_REDIRECT, "shared-redirect", true, 3, story_shared_redirect, 0, 0, false, 0 },
    { VV_RULE_SYNC_FIRST, "sync-first", false, 3, story_sync_first, 0, 6, false, 0 },
    { HISTORY_NO_RULE, "fenced-late", true, 3, story_fenced_late, 0, 0, false, 0 },
    { HISTORY_NO_RULE, "state-sync-ends-io", false, 3, story_state_sync_write, 0, 0, false, 0 },
    { HISTORY_NO_RULE, "state-sync-ends-sync", false, 3, story_state_sync_power, 0, 0, false, 0 },
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
