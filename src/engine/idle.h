/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Do others use the pool? For what rests while they do. */
#ifndef VV_IDLE_H
#define VV_IDLE_H

#include "pool.h"

/* Of one thread. Zeroes: nobody has, since the machine started; or begin with vv_idle_begin. */
typedef struct {
    uint64_t seen_lookups, seen_ms; /* of people's requests, and when it was seen that they had made one */
} VvIdle;

void vv_idle_begin(VvIdle *idle); /* somebody has just now */
/* Has a request come within the last @quiet_ms, as far as it was looked? */
bool vv_idle_is_busy(VvIdle *idle, const VvPool *pool, uint64_t quiet_ms);

#endif
