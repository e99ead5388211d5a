/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workers of one request source: who sleeps for its next request, and who rests.
 *
 * Where a request takes a disk's time and the next one comes after its answer, workers that take turns each come back to a CPU that sleeps and
 * to caches that are cold. So one of them does it all, and the others rest until there is more for one to do.
 *
 * C1  Who rests looks, after it has said so, whether somebody still sleeps in the read; who leaves the read says that before it looks for somebody
 *     who rests. So one of the two sees the other, and the source is never left by all.
 * C2  Who is woken may end before the one who wakes it has written its eventfd: it is closed after that. */
#ifndef VV_ROSTER_H
#define VV_ROSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VV_ROSTER_MAX 64u

/* Zeroed at first; lives longer than its workers. Any thread. */
typedef struct {
    _Atomic unsigned readers; /* workers that sleep in the blocking read of the source */
    _Atomic uint64_t resting; /* a bit each */
    _Atomic unsigned waking;  /* threads inside vv_roster_wake */
    int event_fds[VV_ROSTER_MAX]; /* by worker, borrowed; a write wakes it */
} VvRoster;

static inline void vv_roster_read_begins(VvRoster *roster)
{
    atomic_fetch_add(&roster->readers, 1);
}

static inline void vv_roster_read_ends(VvRoster *roster)
{
    atomic_fetch_sub(&roster->readers, 1);
}

static inline bool vv_roster_reads(const VvRoster *roster)
{
    return atomic_load(&roster->readers) > 0;
}

static inline bool vv_roster_rests(const VvRoster *roster)
{
    return atomic_load(&roster->resting) != 0;
}

static inline bool vv_roster_has(const VvRoster *roster, unsigned index)
{
    return (atomic_load(&roster->resting) & UINT64_C(1) << index) != 0;
}

/* Worker @index has nothing to do. True: it rests from now on, until its eventfd is written; false: nobody else waits for requests. */
bool vv_roster_rest(VvRoster *roster, unsigned index);
/* It does not rest any more; also if it was woken, and if it did not. */
void vv_roster_rise(VvRoster *roster, unsigned index);
/* One that rests shall look for requests; none does: nothing happens. */
void vv_roster_wake(VvRoster *roster);
/* Before the eventfd of one that has risen is closed. */
void vv_roster_leave(VvRoster *roster);

#endif
