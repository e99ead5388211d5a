/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The toy cluster as a whole: how it begins, what is asked of it, and whether it has come to rest. */
#ifndef VV_SIM_WHOLE_H
#define VV_SIM_WHOLE_H

#include "data.h"

bool whole_has_leader(Sim *sim, uint64_t argument);
/* Every simulated node becomes one of the cluster's. False: it cannot. */
bool whole_add_nodes(Sim *sim);

/* Requests of clients at @node. @pick: which of what there is, any number. */
void whole_snapshot(SimNode *node);
void whole_remove(SimNode *node, uint64_t pick);
void whole_release(SimNode *node, uint64_t pick);
void whole_fenced(SimNode *node, VvHolder session); /* somebody vouches for it */

/* All up, all applied, all with a session, nothing waits. */
bool whole_at_rest(Sim *sim, uint64_t argument);
const char *whole_why_not(Sim *sim);
/* Every block of every LUN and snapshot, on every node. */
void whole_read_everything(Sim *sim);

#endif
