/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a pool needs while memory is short, and keeps locked. */
#ifndef VV_LOCKED_H
#define VV_LOCKED_H

#include "pool.h"

/* Lock it, if that is allowed: an unaligned request's buffer, an entry of the journal, the tables of the caches,
 * the first records in the parent's memfd. Bytes that are locked. Once, after vv_pool_open. */
size_t vv_pool_lock_memory(VvPool *pool);

#endif
