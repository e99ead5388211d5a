/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The histories: each is played by histories.c, which says with which rule off it must go wrong, on which disk and with how many nodes.
 * Where nothing else is said node 2 leads, and node 3 is the one that goes astray (PROTOCOL's A). */
#ifndef VV_SIM_STORIES_H
#define VV_SIM_STORIES_H

#include "history.h"

/* ---- stories_session.c */
void story_confirm(History *h);
void story_drift_wait(History *h);
void story_send_time(History *h);
void story_no_answer(History *h);
void story_apply_session(History *h);
void story_sequence(History *h);
void story_post_check_read(History *h);
void story_open_nonce(History *h);
void story_open_previous(History *h);
void story_old_io(History *h);
void story_no_segment(History *h);
void story_fenced_late(History *h);

/* ---- stories_snapshot.c */
void story_quiesce_sync(History *h);
void story_quiesce_check(History *h);
void story_quiesce_final(History *h);
void story_quiesce_set(History *h);
void story_drop_ask(History *h);
void story_drop_id(History *h);

/* ---- stories_disk.c */
void story_refuse(History *h);
void story_fence_index(History *h);
void story_barrier(History *h);
void story_end_sync(History *h);
void story_shared_redirect(History *h);
void story_sync_first(History *h);
void story_state_sync_write(History *h);
void story_state_sync_power(History *h);

#endif
