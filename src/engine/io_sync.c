/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocking forms for threads that may wait: requests run on the pool's own worker, cut into pieces of VV_IO_BYTES_MAX. */
#include "io_state.h"
#include "waiter.h"

#include <errno.h>
#include <stdlib.h>

typedef struct {
    VvIo io;
    VvTask task;
    VvWorker *worker;
    VvWaiter waiter;
} SyncIo;

static void sync_done_cb(VvIo *io)
{
    SyncIo *sync = (SyncIo *) io->user;
    vv_waiter_over_cb(&sync->waiter, 0); /* the io's own result has 64 bits */
}

static void submit_run(VvTask *task)
{
    SyncIo *sync = (SyncIo *) ((char *) task - G_STRUCT_OFFSET(SyncIo, task));
    vv_io_submit(sync->worker, &sync->io);
}

/* What a blocking form works on, and for whom; without a handle: for the engine. */
typedef struct {
    VvView *view;
    VvHandle *handle;
} Target;

static int64_t run_io(Target to, VvIoKind kind, void *data, uint64_t offset, uint32_t length_bytes)
{
    SyncIo sync = {
        .io = { .kind = kind,
            .view = to.view,
            .handle = to.handle,
            .data = data,
            .offset = offset,
            .length_bytes = length_bytes,
            .done = sync_done_cb },
        .task = { .run = submit_run },
        .worker = to.view->pool->service,
        .waiter = VV_WAITER_INIT,
    };
    g_assert(vv_worker_current() == NULL); /* a worker must not wait */
    sync.io.user = &sync;
    vv_worker_post(sync.worker, &sync.task);
    (void) vv_waiter_wait(&sync.waiter);
    return sync.io.result;
}

/* ---- read and write: through aligned memory */

static void *new_buffer(uint64_t length_bytes)
{
    uint64_t bytes = (MIN(length_bytes, VV_IO_BYTES_MAX) + 2 * VV_BLOCK_BYTES) & ~(uint64_t) (VV_BLOCK_BYTES - 1);
    void *buffer = aligned_alloc(VV_BLOCK_BYTES, bytes);
    g_assert(buffer != NULL);
    return buffer;
}

/* How much of [offset, offset + left) is one piece: up to the next megabyte, so that pieces are aligned. */
static uint32_t piece_bytes(uint64_t offset, uint64_t left_bytes)
{
    return (uint32_t) MIN(left_bytes, VV_IO_BYTES_MAX - offset % VV_IO_BYTES_MAX);
}

static int64_t read_pieces(Target from, void *data, uint64_t offset, uint64_t length_bytes)
{
    void *buffer = new_buffer(length_bytes);
    uint64_t done = 0;
    int64_t rc = 0;
    while (done < length_bytes) {
        uint32_t piece = piece_bytes(offset + done, length_bytes - done);
        rc = run_io(from, VV_IO_READ, buffer, offset + done, piece);
        if (rc <= 0)
            break;
        memcpy((uint8_t *) data + done, buffer, (size_t) rc);
        done += (uint64_t) rc;
        if (rc < (int64_t) piece)
            break;
    }
    free(buffer);
    return rc < 0 && done == 0 ? rc : (int64_t) done;
}

int64_t vv_view_read(VvView *view, void *data, uint64_t offset, uint64_t length_bytes)
{
    return read_pieces((Target){ view, NULL }, data, offset, length_bytes);
}

int64_t vv_view_write(VvView *view, const void *data, uint64_t offset, uint64_t length_bytes)
{
    void *buffer = new_buffer(length_bytes);
    uint64_t done = 0;
    int64_t rc = 0;
    while (done < length_bytes) {
        uint32_t piece = piece_bytes(offset + done, length_bytes - done);
        memcpy(buffer, (const uint8_t *) data + done, piece);
        rc = run_io((Target){ view, NULL }, VV_IO_WRITE, buffer, offset + done, piece);
        if (rc <= 0)
            break;
        done += (uint64_t) rc;
        if (rc < (int64_t) piece)
            break;
    }
    free(buffer);
    return rc < 0 && done == 0 ? rc : (int64_t) done;
}

/* ---- flush */

static int wait_for_flush(VvView *view, bool commit)
{
    VvWaiter waiter = VV_WAITER_INIT;
    vv_flush_start(view, commit, vv_waiter_over_cb, &waiter);
    return vv_waiter_wait(&waiter);
}

int vv_view_flush(VvView *view)
{
    if (view->pool->elsewhere)
        return (int) run_io((Target){ view, NULL }, VV_IO_FLUSH, NULL, 0, 0);
    return wait_for_flush(view, true);
}

int vv_view_sync_disks(VvView *view)
{
    return wait_for_flush(view, false);
}

/* ---- ranges of any length */

static int zero_pieces(Target to, uint64_t offset, uint64_t end)
{
    while (offset < end) {
        uint64_t data;
        int rc = vv_view_seek(to.view, offset, true, &data); /* holes are zero already */
        if (rc == -ENXIO)
            return 0;
        if (rc < 0)
            return rc;
        offset = MAX(offset, data);
        if (offset >= end)
            break;
        uint32_t piece = piece_bytes(offset, end - offset);
        int64_t result = run_io(to, VV_IO_ZERO, NULL, offset, piece);
        if (result < 0)
            return (int) result;
        offset += piece;
    }
    return 0;
}

/* Whole blocks first: discarding them needs no space and may bring some. A partial block that a snapshot shares needs a new
 * place, so it comes last, and a full pool refuses only that. */
static int zero(Target to, uint64_t offset, uint64_t length_bytes)
{
    const uint64_t mask = VV_BLOCK_BYTES - 1;
    VvViewStat now;
    vv_view_stat(to.view, &now);
    uint64_t size_bytes = now.size_bytes;
    uint64_t end = length_bytes > size_bytes || offset > size_bytes - length_bytes ? size_bytes : offset + length_bytes;
    uint64_t body = (offset + mask) & ~mask;
    uint64_t body_end = end == size_bytes && !now.elastic ? end : end & ~mask; /* a LUN's last block is whole */
    if (body >= body_end)
        return zero_pieces(to, offset, end); /* at most two blocks, each in part */
    int rc = zero_pieces(to, body, body_end);
    if (rc == 0)
        rc = zero_pieces(to, offset, body);
    return rc == 0 ? zero_pieces(to, body_end, end) : rc;
}

int vv_view_zero(VvView *view, uint64_t offset, uint64_t length_bytes)
{
    return zero((Target){ view, NULL }, offset, length_bytes);
}

int vv_handle_zero(VvHandle *handle, uint64_t offset, uint64_t length_bytes)
{
    return zero((Target){ handle->view, handle }, offset, length_bytes);
}

/* Could all holes in [offset, end) be filled, if nobody else took space? What cannot be filled is not begun. */
static bool may_fit(VvView *view, uint64_t offset, uint64_t end)
{
    VvSpaceSummary space;
    uint64_t holes = 0, data = 0;
    vv_meta_space(view->pool->meta, &space);
    while (offset < end && holes <= space.total_bytes) {
        if (vv_view_seek(view, offset, true, &data) < 0)
            data = end;
        holes += MIN(data, end) - offset;
        if (data >= end || vv_view_seek(view, data, false, &offset) < 0)
            break;
    }
    return holes <= space.free_bytes + space.held_bytes + space.freeing_bytes;
}

static int allocate(Target to, uint64_t offset, uint64_t length_bytes)
{
    uint64_t size_bytes = vv_view_size(to.view);
    uint64_t end = length_bytes > size_bytes || offset > size_bytes - length_bytes ? size_bytes : offset + length_bytes;
    if (!may_fit(to.view, offset, end))
        return -ENOSPC;
    while (offset < end) {
        uint32_t piece = piece_bytes(offset, end - offset);
        int64_t result = run_io(to, VV_IO_ALLOCATE, NULL, offset, piece);
        if (result < 0)
            return (int) result;
        offset += piece;
    }
    return 0;
}

int vv_view_allocate(VvView *view, uint64_t offset, uint64_t length_bytes)
{
    return allocate((Target){ view, NULL }, offset, length_bytes);
}

int vv_handle_allocate(VvHandle *handle, uint64_t offset, uint64_t length_bytes)
{
    return allocate((Target){ handle->view, handle }, offset, length_bytes);
}

static int64_t copy(Target from, uint64_t from_offset, Target to, uint64_t to_offset, uint64_t length_bytes)
{
    uint64_t from_size = vv_view_size(from.view), done = 0;
    int64_t rc = 0;
    if (from_offset >= from_size)
        return 0;
    length_bytes = MIN(length_bytes, from_size - from_offset);
    void *buffer = new_buffer(length_bytes);
    while (done < length_bytes) {
        uint32_t piece = piece_bytes(to_offset + done, length_bytes - done);
        uint64_t data = 0;
        rc = vv_view_seek(from.view, from_offset + done, true, &data);
        if (rc < 0 && rc != -ENXIO)
            break;
        bool hole = rc == -ENXIO || data >= from_offset + done + piece;
        if (hole && to_offset + done + piece <= vv_view_size(to.view)) {
            rc = zero(to, to_offset + done, piece);
            if (rc < 0)
                break;
            rc = piece;
        } else {
            rc = read_pieces(from, buffer, from_offset + done, piece);
            if (rc > 0)
                rc = run_io(to, VV_IO_WRITE, buffer, to_offset + done, (uint32_t) rc);
            if (rc <= 0)
                break;
        }
        done += (uint64_t) rc;
        if (rc < (int64_t) piece)
            break;
    }
    free(buffer);
    return rc < 0 && done == 0 ? rc : (int64_t) done;
}

int64_t vv_view_copy(VvView *from, uint64_t from_offset, VvView *to, uint64_t to_offset, uint64_t length_bytes)
{
    return copy((Target){ from, NULL }, from_offset, (Target){ to, NULL }, to_offset, length_bytes);
}

int64_t vv_handle_copy(VvHandle *from, uint64_t from_offset, VvHandle *to, uint64_t to_offset, uint64_t length_bytes)
{
    return copy((Target){ from->view, from }, from_offset, (Target){ to->view, to }, to_offset, length_bytes);
}
