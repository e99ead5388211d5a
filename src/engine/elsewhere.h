/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data on disks of another node: what an engine without disks calls where one with disks would look into its map.
 *
 *   vv_handle_open     open         the server's engine opens it for this node
 *   vv_io_submit       submit       read, write, flush, zero, allocate: done on the submitting worker's thread
 *   vv_view_seek, vv_pool_lun_truncate, vv_pool_lun_extend     ask      blocking
 *   vv_handle_close    close
 *
 * E1  No look-up, gate, lock or pending of this engine is involved: the server's decides everything, so what is acknowledged on one node
 *     is read on all.
 * E2  Views of such a pool are loaded from the catalog, and learn size, mtime and used bytes with each answer (vv_view_learn).
 * E3  done() of a request comes once, also if the server never comes back: after the LUN's timeout with -EIO. */
#ifndef VV_ELSEWHERE_H
#define VV_ELSEWHERE_H

#include "io.h"

typedef enum { VV_ASK_SEEK_DATA, VV_ASK_SEEK_HOLE, VV_ASK_TRUNCATE, VV_ASK_EXTEND } VvAskKind;

/* Constant while the pool is open. */
typedef struct VvElsewhere {
    /* A handle on @view's object. *ret_handle: to be closed. Waits for the server, but with @open->again not: then what is wrong comes with
     * the first request. 0 or -errno as vv_handle_open; -EACCES: it is not shared with this node; -ETIMEDOUT. Not for workers. */
    int (*open)(void *user, VvView *view, const VvOpen *open, uint64_t *ret_handle);
    /* Waits for nothing. @leave: a successor of this process will open it again. */
    void (*close)(void *user, VvView *view, uint64_t handle, bool leave);
    /* @io as vv_io_submit takes it. Worker's thread. Calls io->done on that thread, later (a FLUSH's on any). */
    void (*submit)(void *user, VvWorker *worker, VvIo *io);
    /* As vv_io_interrupt: true if it had not been sent, and ends with -EINTR. What was sent does so if it would have to be sent again. Any thread. */
    bool (*interrupt)(void *user, VvIo *io);
    /* Blocking. @at: offset, or size. 0 or -errno. */
    int (*ask)(void *user, VvView *view, VvAskKind kind, uint64_t at, uint64_t *ret_value);
    /* End what waits with -EIO, and let nothing wait from now on (vv_pool_abort_waiting). Any thread. */
    void (*abort_waiting)(void *user);
    void *user;
} VvElsewhere;

/* ---- for who implements it */
/* What an answer told of an object, with @applied, the last entry in the server's map: an answer that is older than what is known already
 * makes nothing smaller. The view's handle or request keeps it. Any thread. */
void vv_view_learn(VvView *view, const VvViewStat *stat, uint64_t applied);
/* How long requests on it wait for the server. Any thread. */
unsigned vv_view_timeout_s(VvView *view);
/* The last entry in this node's map. Takes the read lock. */
uint64_t vv_view_applied(VvView *view);
/* The end of @io, which was submitted at @started_ns (vv_monotonic_ns): counted, state NULL, done called. Where done is to be called. */
void vv_io_end_elsewhere(VvIo *io, int64_t result, uint64_t started_ns);

/* ---- for the server: what an answer tells
 * vv_view_stat, and the last entry in the map that it goes with: what is smaller under a larger index was made smaller. Any thread. */
uint64_t vv_view_stat_at(VvView *view, VvViewStat *ret_stat);

#endif
