/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the holder and the process that serves share (holder.h has who does what).
 *
 * The state is a memfd that both map; descriptors in it are numbers in the holder, and the same ones in the serving
 * process, which inherits them. A socket pair, new for each serving process, wakes the one that has to look:
 *
 *     byte        from       with            means
 *     'M'         serving    descriptors     mounted: VvFuseConnection follows, and root and clones come along
 *     'R'         serving                    it serves (phase says so too)
 *     'T'         holder                     SIGTERM or SIGINT came: state->terms
 *     'L'         holder                     leave: a new binary is to follow
 *     end         holder                     the holder has died
 *
 * H1  The holder writes everything but `phase`, and only while no serving process looks at it, save `terms`.
 * H2  A serving process that ends with phase serving, or while a successor is starting, has died. */
#ifndef VV_HOLD_H
#define VV_HOLD_H

#include "survival.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Both sides must have the same: a binary that knows another one is refused before anything stops. */
#define VV_HOLD_MAGIC "vvfs-hold-state-0002"
#define VV_HOLD_SOCKET "hold.sock" /* in the pool directory: `vvfs --upgrade` */
#define VV_UPGRADE_MAGIC "vvfs-upgrade-0001"

enum { VV_HOLD_MOUNTED = 'M', VV_HOLD_READY = 'R', VV_HOLD_TERM = 'T', VV_HOLD_LEAVE = 'L' };

typedef enum {
    VV_PHASE_STARTING, /* by the holder */
    VV_PHASE_SERVING,
    VV_PHASE_ENDED, /* in order: its exit code is the holder's */
    VV_PHASE_LEFT,  /* in order, for a successor; everything is flushed and closed */
} VvHoldPhase;

typedef struct {
    char magic[24];
    uint32_t state_bytes;
    _Atomic uint32_t phase; /* VvHoldPhase */
    _Atomic uint32_t terms; /* how often the holder was asked to end */
    int32_t holder_pid;
    uint32_t background; /* logs to syslog, lets go of the terminal */
    uint32_t restarts;   /* because one died */
    uint32_t upgrades;
    int32_t last_status;   /* of wait(2), of the one that died last */
    uint64_t ended_ns;     /* when the last one had ended, monotonic */
    uint64_t connection_id; /* random: for the ids of requests */
    int32_t opens_fd, pending_fd, events_fd;
    uint32_t mounted;     /* @connection is there: take it over */
    VvFuseConnection connection;
} VvHoldState;

#endif
