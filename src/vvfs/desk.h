/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who answers while a process that took over a mount waits for other nodes: its loop does not run yet, and its pool is being opened, for as long as
 * they cannot be reached. The desk is the admin socket on a loop of its own, before a copy of the daemon: looks are answered with what the pool
 * knows already (a member its map, a guest nothing of objects), all else is refused with no-coordinator. When the wait is over it is closed,
 * and the daemon's own server takes its place.
 *
 *   opened cb of the pool   --a second later-->  open  --the log is ready, or given up-->  closed
 *
 * Opened and closed by one thread at a time; neither on a loop. */
#ifndef VV_DESK_H
#define VV_DESK_H

#include "daemon.h"

#define VV_DESK_AFTER_MS 1000u /* most waits are over before: then nobody is told that it waits */

typedef struct VvDesk VvDesk;

/* @pool: open but for what comes when the log is ready; outlives the desk. @daemon: constant meanwhile. @since_ns: when it was served last, wall clock.
 * NULL: it cannot be, which is logged. */
VvDesk *vv_desk_open(const VvDaemon *daemon, VvPool *pool, uint64_t since_ns);
/* Answers what was asked, then is gone. NULL is allowed. */
void vv_desk_close(VvDesk *desk);
/* The desk's loop, when a call has ended there. */
void vv_desk_may_leave(VvDaemon *daemon);

#endif
