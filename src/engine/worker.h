/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker: a thread's loop over one request source (a /dev/fuse descriptor), one io_uring for disks, and a mailbox.
 *
 * The loop was measured against others (docs/fuse.md): when nothing is in flight
 * a blocking read of the source (same latency as a plain FUSE loop); otherwise the ring: poll of the non-blocking
 * descriptor, disk completions and the mailbox's eventfd, woken by one io_uring_enter. Disks that are inline
 * (vv_disk_is_inline) never touch the ring.
 *
 * "In flight" counts disk I/O in the ring and holds: a request that is parked somewhere (gate, block lock, look-up
 * helper, committer) and will be brought back by vv_worker_post takes a hold, so that the worker waits where the
 * mailbox can wake it. A worker without a source waits in the ring always. */
#ifndef VV_WORKER_H
#define VV_WORKER_H

#include "roster.h"
#include "disk.h"
#include "remote.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VvWorker VvWorker;

/* Something to run on a worker's thread; embedded in its owner, which must stay alive until it has run. */
typedef struct VvTask VvTask;
struct VvTask {
    void (*run)(VvTask *task);
    VvTask *next; /* the mailbox's */
};

/* One disk I/O. The submitter owns it and keeps it and the data until @done. Offsets, lengths and addresses are
 * multiples of VV_BLOCK_BYTES. */
typedef struct VvDiskIo VvDiskIo;
struct VvDiskIo {
    VvDisk *disk;
    void *data;
    uint32_t length_bytes;
    bool write;
    uint64_t offset;
    void (*done)(VvDiskIo *io); /* on the worker's thread; for inline disks before submit returns */
    int result;                 /* 0 or -errno; short transfers are continued by the worker, at end of file -EIO */
    VvDiskIo *next;             /* the worker's: queue when the ring is full */
    uint32_t progress_bytes;    /* the worker's */
    struct VvWorker *worker;    /* the worker's: with a remote medium */
    VvTask over;
    VvRemoteRequest request;
};

/* A command to a driver through the ring (IORING_OP_URING_CMD). The submitter owns it and keeps it until @done. */
#define VV_COMMAND_BYTES 80u
typedef struct VvCommand VvCommand;
struct VvCommand {
    int fd; /* of the driver, borrowed */
    uint32_t op;
    void *address; /* what the driver makes of address, length and bytes is its affair */
    uint32_t length;
    uint8_t bytes[VV_COMMAND_BYTES];
    void (*done)(VvCommand *command, int result); /* on the worker's thread; may send the command again */
    VvCommand *next;                              /* the worker's: queue when the ring is full */
};

/* @wide: it can send commands (the ring's entries take 128 bytes instead of 64). Errors: unsupported, internal. */
VvWorker *vv_worker_new(unsigned index, bool wide, GError **error);
/* Not running, nothing in flight (asserted). */
void vv_worker_free(VvWorker *worker);
unsigned vv_worker_index(const VvWorker *worker);

/* @take reads one request from @fd and starts it: returns 1 if it did, 0 if there was none (EAGAIN, EINTR, ENOENT), and
 * -EBUSY if it may not now (something of this worker must be in flight, or a hold taken: it is asked again when that ends),
 * -ENODEV when the source has ended for good. Both descriptors stay the caller's. Before run only. */
typedef int (*VvWorkerTake)(void *user, int fd);
void vv_worker_set_source(VvWorker *worker, int blocking_fd, int nonblocking_fd, VvWorkerTake take, void *user);

/* There are other workers of the same source, with other indexes, all below VV_ROSTER_MAX. Borrowed until all are freed. Before run only. */
void vv_worker_share_source(VvWorker *worker, VvRoster *roster);
/* Owner's thread only, in take: what comes next may take a while and does not wait in the ring, so another one shall look for requests. */
void vv_worker_will_block(VvWorker *worker);

/* Run until vv_worker_stop, or the source ended, and then until nothing is in flight. Sets the thread's current worker. */
void vv_worker_run(VvWorker *worker);
/* Any thread. A worker inside the blocking read of its source notices at the next request or when the source ends
 * (the mount going away is how that is brought about). */
void vv_worker_stop(VvWorker *worker);
/* How often it has entered its ring so far: what came between two of them came together. Owner's thread only. */
uint64_t vv_worker_rounds(const VvWorker *worker);
/* The worker whose thread this is, or NULL. */
VvWorker *vv_worker_current(void);

/* Owner's thread only. May call io->done before it returns. Never fails: errors are in io->result. */
void vv_worker_submit(VvWorker *worker, VvDiskIo *io);
/* Owner's thread only, of a wide worker without a source. A driver may keep a command for as long as it likes: it does not
 * make the worker busy, but the worker does not end before its commands have. */
void vv_worker_command(VvWorker *worker, VvCommand *command);
/* Any thread (owner's too): run @task on the worker's thread, in order of posting. Lock-free push, one eventfd write if
 * the mailbox was empty. The worker must have a hold, or no source. */
void vv_worker_post(VvWorker *worker, VvTask *task);
/* Owner's thread only. */
void vv_worker_hold(VvWorker *worker);
void vv_worker_unhold(VvWorker *worker);

#endif
