/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recording workloads that are written as letters (work.h), and exploring them: all short ones, long ones by chance. */
#ifndef VV_CRASH_SEQUENCES_H
#define VV_CRASH_SEQUENCES_H

#include "explore.h"

/* Begin every recording from @base (work.h) from now on. */
void sequences_begin_base(Explorer *explorer, unsigned base);
/* One sequence, wholly; or only from its last op on, as what is before is another sequence. @close: the pool is closed at its end,
 * else the process dies. */
void sequence_explore(Explorer *explorer, unsigned base, const char *letters, bool only_last, bool close);
/* All sequences of @length letters of which (number % of) is @part. */
void sequences_explore_all(Explorer *explorer, unsigned base, unsigned length, uint64_t part, uint64_t of);
/* @legs recordings of @steps ops; each but the first begins with a state in which the one before was cut. */
void sequences_explore_random(Explorer *explorer, unsigned base, unsigned legs, unsigned steps);

#endif
