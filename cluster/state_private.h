/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between state.c, state_lease.c and state_codec.c. */
#ifndef VV_STATE_PRIVATE_H
#define VV_STATE_PRIVATE_H

#include "state.h"

#define VV_STATE_AT(array, type, i) (&g_array_index(array, type, i))

/* The order of state->leases: by LUN, beginning, node. */
int vvs_compare_leases(const VvLease *a, const VvLease *b);
VvVerdict vvs_grant(VvClusterState *state, uint64_t index, const VvEntry *entry);
/* Take @range away from @holder, whatever of it it holds. False: the table is full and the range would split a lease. */
bool vvs_release(VvClusterState *state, VvHolder holder, const VvRange *range);
void vvs_release_all(VvClusterState *state, VvHolder holder);
void vvs_clear_node(void *node);

#endif
