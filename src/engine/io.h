/* SPDX-License-Identifier: GPL-2.0-or-later */
/* I/O on LUNs and snapshots: views, handles on them, and requests.
 *
 * A view is what a look-up goes through: the head of a LUN, or a snapshot's epoch. One exists per object that is in use;
 * handles (opens) keep it. A request (VvIo) runs as a state machine on one worker's thread and never blocks it: what must
 * wait is parked and brought back through the worker's mailbox. */
#ifndef VV_IO_H
#define VV_IO_H

#include "worker.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct VvPool VvPool;
typedef struct VvView VvView;
typedef struct VvHandle VvHandle;

/* ---- handles. Any thread but workers (open may look into the catalog, and wait while an entry about this very object is journalled). */
typedef struct {
    bool write;
    bool internal; /* the daemon's own (diff, copy): not told as an opener */
    bool again;    /* it was open when a predecessor of this process ended: also what was removed meanwhile */
    pid_t pid;     /* of the opener, 0 unknown */
    uint64_t node; /* for which it is opened; 0: this one */
} VvOpen;
/* Open a LUN or snapshot by id. 0; -ENOENT gone (or removed: an orphan takes no new opens); -EROFS writing a snapshot or a read-only pool;
 * -EBUSY writing a LUN that is being made smaller; -EACCES it is not shared with the node, or not for writing (sharing.h; not asked of the daemon's
 * own); -EIO its metadata is bad. */
int vv_handle_open(VvPool *pool, uint64_t object_id, const VvOpen *open, VvHandle **ret_handle);
/* The last close of an orphan purges it, the last close of an elastic LUN rounds its size up to VV_BLOCK_BYTES; both in the
 * background. No request of this handle may be under way. */
void vv_handle_close(VvHandle *handle);
/* A successor of this process will open it again: nothing of what follows a last close is done. */
void vv_handle_leave(VvHandle *handle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvHandle, vv_handle_close)
VvView *vv_handle_view(const VvHandle *handle);
bool vv_handle_may_write(const VvHandle *handle);
/* Has the node that it is open for lost the right to it? For good. Requests on it end with -EIO, if they name it (VvIo.handle). */
bool vv_handle_is_revoked(const VvHandle *handle);
uint64_t vv_handle_node(const VvHandle *handle);

/* ---- views: any thread */
uint64_t vv_view_id(const VvView *view);
bool vv_view_is_lun(const VvView *view);
uint64_t vv_view_size(const VvView *view);
/* Size, mtime, used blocks as readers see them now (pending counted). */
typedef struct { uint64_t size_bytes, mtime_ns, used_bytes; bool elastic; } VvViewStat;
void vv_view_stat(VvView *view, VvViewStat *ret_stat);
/* The same by id, without a handle (getattr of a file nobody has open). -ENOENT. */
int vv_pool_stat(VvPool *pool, uint64_t object_id, VvViewStat *ret_stat);

/* ---- requests */
typedef enum {
    VV_IO_READ,     /* result: bytes, short at the end of the object */
    VV_IO_WRITE,    /* result: bytes; across the end short, at or past it -ENOSPC; an elastic LUN grows */
    VV_IO_FLUSH,    /* result 0 when everything acknowledged on this view before is durable (I3) */
    VV_IO_ZERO,     /* the range reads as zeroes and holds no space where whole blocks allow (punch, zero, discard). In a full pool
                     * it fails as a whole if a partial block needs a new place: see vv_view_zero */
    VV_IO_ALLOCATE, /* holes in the range become written zeroes, so that later writes need no space */
} VvIoKind;

/* Owned by the submitter until done. At most VV_IO_BYTES_MAX long and inside one view. */
typedef struct VvIo VvIo;
struct VvIo {
    VvIoKind kind;
    VvView *view;
    VvHandle *handle;      /* on @view, by which it is asked for; NULL: the engine's own. Stays open until done */
    void *data;            /* READ, WRITE: VV_BLOCK_BYTES-aligned memory that can take length rounded up to blocks at both
                            * ends only if the offset is aligned; else bounce buffers are used inside */
    uint32_t length_bytes;
    uint64_t offset;
    void (*done)(VvIo *io); /* exactly once; on the submitting worker's thread, for FLUSH on any */
    void (*waits)(VvIo *io, bool waits); /* NULL, or: it waits for a gate, for space or for the journal, perhaps for long; and
                            * then, unless it ends so: it goes on. Worker's thread, before done */
    uint64_t origin, number; /* the same when a successor of this process submits it again, and no other's; 0: none. For elsewhere.h */
    struct VvIntent *intent; /* intent.h: whose request it is; NULL: none */
    void *user;
    int64_t result;         /* bytes or 0, or -errno */
    struct VvIoState *state; /* the engine's, from a pool; NULL before and after */
};
/* Worker's thread. May call done before it returns. */
void vv_io_submit(VvWorker *worker, VvIo *io);
/* Any thread: if @io is parked and not at a disk yet it ends with -EINTR soon. The caller guarantees that @io is not done
 * while this runs (it holds whatever its done takes). */
void vv_io_interrupt(VvIo *io);
/* Does what would wait end with -EIO, as this process is about to end (vv_pool_abort_waiting)? Any thread. */
bool vv_pool_aborts_waiting(const VvPool *pool);
/* Any thread, with the same guarantee: does it wait for space of which none is in sight? */
bool vv_io_is_hopeless(VvIo *io);

/* Blocking forms for threads that may wait; any length (cut inside; a long ZERO skips what is a hole already). Run on the
 * pool's own worker. Bytes or 0, or -errno. */
int64_t vv_view_read(VvView *view, void *data, uint64_t offset, uint64_t length_bytes);
int64_t vv_view_write(VvView *view, const void *data, uint64_t offset, uint64_t length_bytes);
int vv_view_flush(VvView *view);
/* Whole blocks first, then the partial ones at both ends: only these can end with -ENOSPC, and the whole ones are zero then. */
int vv_view_zero(VvView *view, uint64_t offset, uint64_t length_bytes);
int vv_view_allocate(VvView *view, uint64_t offset, uint64_t length_bytes);
/* SEEK_DATA / SEEK_HOLE in blocks that are mapped (pending counted). -ENXIO as lseek(2). */
int vv_view_seek(VvView *view, uint64_t offset, bool data, uint64_t *ret_offset);
/* The same for who has it open: ends with -EIO when the handle is revoked, also between pieces. */
int vv_handle_zero(VvHandle *handle, uint64_t offset, uint64_t length_bytes);
int vv_handle_allocate(VvHandle *handle, uint64_t offset, uint64_t length_bytes);
int64_t vv_handle_copy(VvHandle *from, uint64_t from_offset, VvHandle *to, uint64_t to_offset, uint64_t length_bytes);
/* Copy a range between views (same pool): zero-aware, 1 MiB at a time. Stops early and returns bytes copied, or -errno if none. */
int64_t vv_view_copy(VvView *from, uint64_t from_offset, VvView *to, uint64_t to_offset, uint64_t length_bytes);

#endif
