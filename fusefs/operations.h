/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operation threads: requests that may block (create, open, release, rename, truncate, fallocate, copies ...).
 *
 * A worker copies such a request whole and queues it; an operation thread gives it to libfuse and answers it. Each has a
 * lane (node, class): operations of one lane run in the order they came, at most so many at once, so that what waits for one LUN
 * holds few threads and its open comes after its release:
 *
 *     VV_LANE_ORDER    open, release, setattr of a file; create, unlink, rename by their directory    1 at once
 *     VV_LANE_LONG     fallocate, lseek, copy_file_range by their file                                4 at once
 *
 * Threads are made as needed, up to VV_OPERATION_THREADS_MAX, and end after VV_OPERATION_IDLE_S without work. Lanes that can all be
 * stuck and others go on: (VV_OPERATION_THREADS_MAX - 1) / 4. */
#ifndef VV_OPERATIONS_H
#define VV_OPERATIONS_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VV_OPERATION_THREADS_MAX 128u
#define VV_OPERATION_IDLE_S 10
#define VV_LANE_LONG_AT_ONCE 4u

typedef enum { VV_LANE_ORDER, VV_LANE_LONG } VvLaneClass;

typedef struct VvLane VvLane;

typedef struct {
    VvLane *lane;
    uint64_t unique;
    void *slot; /* of a request that came through a ring: its answer goes there; NULL: to ... */
    int fd;     /* ... the descriptor that the request came from */
    size_t length_bytes;
    _Alignas(8) uint8_t request[]; /* fuse_in_header and what follows */
} VvOperation;

typedef void (*VvOperationRun)(void *user, VvOperation *operation);

typedef struct {
    VvOperationRun run;
    void *user;
    pthread_mutex_t lock;            /* guards what follows */
    pthread_cond_t work;             /* runnable grew, or stopping */
    pthread_cond_t ended;            /* a thread ended, or everything is done */
    GHashTable *lanes;               /* VvLane, by (node, class): those with operations */
    GQueue runnable;                 /* VvOperation whose lane has room */
    GHashTable *uniques;             /* of operations queued or running: for interrupts */
    unsigned threads, idle, pending; /* pending: queued and running operations */
    bool stopping;
} VvOperations;

void vv_operations_init(VvOperations *operations, VvOperationRun run, void *user);
/* Waits until all is done, and ends the threads. */
void vv_operations_stop(VvOperations *operations);
void vv_operations_clear(VvOperations *operations);
/* Any thread. Copies @request, a fuse_in_header and what follows. */
void vv_operations_add(VvOperations *operations, VvLaneClass class, void *slot, int fd, const void *request,
    size_t length_bytes);
/* Is a request of that number queued or running? */
bool vv_operations_has(VvOperations *operations, uint64_t unique);

#endif
