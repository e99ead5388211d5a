/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a pool has acknowledged and not flushed: is it the same that it was? For nodes that have their data here. */
#ifndef VV_INCARNATION_H
#define VV_INCARNATION_H

#include "pool.h"

#define VV_FLUSHED_FILE "flushed" /* in the pool's directory */

/* A number, not 0, that another opening of the pool has only if nothing that was acknowledged before is lost: that of the pending memory, if
 * there is such that survives the process; of the opening before, if that had flushed everything when it ended; else a new one. Constant while
 * it is open. [any] */
uint64_t vv_pool_incarnation(const VvPool *pool);

/* ---- for src/engine */
/* That of the opening with number @opening, if it flushed everything; 0: it did not, or nobody knows. */
uint64_t vv_incarnation_left(const char *directory, uint64_t opening);
/* Everything is flushed, and nothing comes any more. */
void vv_incarnation_leave(VvPool *pool);

#endif
