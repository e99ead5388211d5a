/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See roster.h. */
#include "roster.h"

#include <errno.h>
#include <glib.h>
#include <unistd.h>

bool vv_roster_rest(VvRoster *roster, unsigned index)
{
    uint64_t bit = UINT64_C(1) << index;

    if (!vv_roster_reads(roster))
        return false;
    atomic_fetch_or(&roster->resting, bit); /* C1 */
    if (!vv_roster_reads(roster)) {
        vv_roster_rise(roster, index);
        return false;
    }
    atomic_fetch_add_explicit(&roster->rests, 1, memory_order_relaxed);
    return true;
}

void vv_roster_rise(VvRoster *roster, unsigned index)
{
    atomic_fetch_and(&roster->resting, ~(UINT64_C(1) << index));
}

void vv_roster_wake(VvRoster *roster)
{
    uint64_t resting = atomic_load(&roster->resting), one = 1;
    ssize_t n;

    do {
        if (resting == 0)
            return;
    } while (!atomic_compare_exchange_weak(&roster->resting, &resting, resting & (resting - 1)));
    do
        n = write(roster->event_fds[__builtin_ctzll(resting)], &one, sizeof one);
    while (n < 0 && errno == EINTR);
    g_assert(n == sizeof one);
}
