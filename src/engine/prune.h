/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which snapshots retention keeps: a pure function of names, times and numbers. */
#ifndef VV_PRUNE_H
#define VV_PRUNE_H

#include "pool.h"

typedef struct {
    const char *name; /* borrowed */
    uint64_t created_ns;
    uint64_t time_ns; /* set here: what the name tells, to the second, or created_ns */
    bool kept;        /* keep= holds: counts as there, never removed */
    bool made;        /* set here: made with the prefix; others are neither counted nor removed */
    bool remove;      /* set here */
} VvPruneItem;

/* "PREFIX-20261102T030700Z" or that with "-2", "-3" ... behind it. */
bool vv_prune_name(const char *name, const char *prefix, uint64_t *ret_time_ns);
/* usage: no rule, or none above 0, or a negative one that is not "not given" (-1). */
bool vv_prune_check(const VvPrune *prune, GError **error);
/* Mark @items: of those made with the prefix, newest first, each rule keeps the newest of its last N hours, days, ISO weeks,
 * months or years (UTC) that have one; what any rule keeps stays. The periods of one rule do not skip what another keeps. */
void vv_prune_choose(const VvPrune *prune, VvPruneItem *items, unsigned count);

#endif
