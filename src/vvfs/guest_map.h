/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From what a guest was told (cluster/describe.h) to what its map has to do: ops, and values that no op sets.
 *
 * M1  The map becomes what was described whatever it was before, so that one way serves whole sets and changes.
 * M2  What cannot be (a name twice, a snapshot without its LUN) is refused before anything is done: no entry fails.
 * M3  What is open here and goes stays in the map as an orphan until it is closed; of what is not shared any more the share goes at once, so
 *     its handles are revoked (revoke.c). Orphans that nobody has open any more go with the next entry.
 * M4  A LUN of which only a snapshot is shared is in the map with what the snapshot has from it, and nothing else. */
#ifndef VV_GUEST_MAP_H
#define VV_GUEST_MAP_H

#include "describe.h"
#include "described.h"
#include "pool.h"

typedef struct {
    VvOps *ops;       /* owned */
    GArray *described; /* owned, of VvMetaDescribed, whose texts are the items' */
} VvGuestChange;
void vv_guest_change_clear(VvGuestChange *change);

/* @items: VvDescribed, borrowed until @ret_change is cleared; @whole: what is not named goes; @nodes: nodes are named, and all. @self: this node.
 * Takes the map's read lock. False: M2, *ret_why (a constant) says what; nothing is set. */
bool vv_guest_change_make(VvPool *pool, uint64_t self, const GPtrArray *items, bool whole, bool nodes, VvGuestChange *ret_change, const char **ret_why);

#endif
