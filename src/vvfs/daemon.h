/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon: what it is made of, and the order in which it starts and stops.
 *
 * Start: options, pool found | fork | lock, pool opened, admin socket, mount, "ready" to the parent | loop.
 * Stop: mount gone (umount, or SIGTERM and the last close) | no more calls | crews done | pool flushed, checkpointed, closed |
 * socket removed, lock let go.
 *
 * A witness has no mount: `fuse` is NULL, it ends at SIGTERM, and there is nothing to flush.
 *
 * Threads: the loop's (main), the three crews', the sampler's, the metrics server's; those of mount and engine are their own. */
#ifndef VV_DAEMON_H
#define VV_DAEMON_H

#include "control.h"
#include "crew.h"
#include "fusefs.h"
#include "options.h"
#include "pool.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VvDaemon VvDaemon;
typedef struct VvHeld VvHeld;
typedef struct VvMountedPool VvMountedPool;

struct VvDaemon {
    /* set before the first thread, constant */
    const VvOptions *options;
    char *directory; /* absolute */
    char *name;
    VvUuid uuid;
    char *node; /* this machine's name, or that of its node record */
    uid_t owner;
    gid_t admin_gid; /* (gid_t) -1: none */
    VvHeld *held; /* borrowed; NULL: nobody holds the mount for us */
    VvPool *pool;
    uint64_t waiting_since_ns; /* not 0: this is a desk's, which only answers looks: desk.h */
    struct VvClusterNode *cluster; /* owned; NULL: the pool does not listen */
    VvFuse *fuse; /* borrowed; NULL before it is made */
    VvControl *loop;
    VvCrew *lookers;                     /* answers that are quick */
    VvCrew *slow;                        /* looks that may take long */
    VvCrew *changers;                    /* whatever may wait for disks and drains */
    struct VvJobTable *jobs;             /* own lock */
    struct VvReservations *reservations; /* own lock */
    struct VvSampler *sampler;           /* own lock */
    struct VvMetricsServer *metrics;     /* own thread; NULL: not asked for */

    /* the loop's thread */
    struct VvServer *server;
    struct VvSubscriptions *subscriptions;
    GHashTable *running_ids; /* request id -> GQueue of VvCall that wait for the first to end */
    bool ending;             /* asked to */
};

/* The loop's thread, whenever a call has been answered: leave if the mount has gone and nothing is left to answer. */
void vv_daemon_may_leave(VvDaemon *daemon);

/* Any thread: this node has left the pool. As if SIGTERM had come. */
void vv_daemon_end_gone(VvDaemon *daemon);

/* Any thread, while it starts. */
bool vv_daemon_is_asked_to_end(VvDaemon *daemon);

/* Serve until the mount has ended. @ready_fd: the parent waits there for one byte, the exit code; -1 with -f.
 * @held: what the holder keeps, and perhaps a mount to take over; NULL: the mount ends with this process, however that ends.
 * Returns the program's exit code. */
int vv_daemon_run(const VvOptions *options, const char *directory, int ready_fd, VvHeld *held);

#endif
