/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a cluster begins with. */
#include "state_private.h"

VvClusterState *vv_state_first(uint64_t index, uint64_t term, const uint64_t *ids, unsigned count)
{
    VvClusterState *state = vv_state_new();
    VvApplied applied;
    unsigned next = 0;

    for (uint64_t id = 1; next < count; id++) {
        VvEntry entry = { .kind = VV_ENTRY_NODE_ADD, .f.node = id };

        vv_state_apply(state, state->applied_index + 1, term, &entry, NULL, NULL, &applied);
        if (ids[next] == id) {
            next++;
            continue;
        }
        entry.kind = VV_ENTRY_NODE_REMOVE;
        vv_state_apply(state, state->applied_index + 1, term, &entry, NULL, NULL, &applied);
    }
    state->applied_index = index;
    state->applied_term = term;
    return state;
}
