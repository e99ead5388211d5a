/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "idle.h"

#include "pool_private.h"

void vv_idle_begin(VvIdle *idle) { idle->seen_ms = vv_monotonic_ms(); }

bool vv_idle_is_busy(VvIdle *idle, const VvPool *pool, uint64_t quiet_ms)
{
    uint64_t lookups = atomic_load_explicit(&pool->page_lookups, memory_order_relaxed), now_ms = vv_monotonic_ms();

    if (lookups != idle->seen_lookups) {
        idle->seen_lookups = lookups;
        idle->seen_ms = now_ms;
    }
    return now_ms - idle->seen_ms < quiet_ms;
}
