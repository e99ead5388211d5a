/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See roster.h. */
#include "roster.h"

#include <errno.h>
#include <glib.h>
#include <sched.h>
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
    return true;
}

void vv_roster_rise(VvRoster *roster, unsigned index)
{
    atomic_fetch_and(&roster->resting, ~(UINT64_C(1) << index));
}

static void write_event(int fd)
{
    uint64_t one = 1;
    ssize_t n;

    do
        n = write(fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    g_assert(n == sizeof one);
}

void vv_roster_wake(VvRoster *roster)
{
    uint64_t resting;

    atomic_fetch_add(&roster->waking, 1); /* C2 */
    resting = atomic_load(&roster->resting);
    while (resting != 0 && !atomic_compare_exchange_weak(&roster->resting, &resting, resting & (resting - 1)))
        ;
    if (resting != 0)
        write_event(roster->event_fds[__builtin_ctzll(resting)]);
    atomic_fetch_sub(&roster->waking, 1);
}

void vv_roster_leave(VvRoster *roster)
{
    while (atomic_load(&roster->waking) > 0)
        sched_yield();
}
