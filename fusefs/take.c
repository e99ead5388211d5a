/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking requests from the kernel, on a worker.
 *
 *     request                                              goes
 *     READ, WRITE, FSYNC of an object                      to the engine, in its slot; answered by its done
 *     READ of a text                                       answered here
 *     INTERRUPT                                            to whatever waits (keeper.c); libfuse never sees it
 *     what may block                                       to the operation threads, copied (operations.h)
 *     everything else                                      through libfuse, answered before it returns
 *
 * The first three are parsed here, from the kernel's own structs: nothing is allocated, and no lock is shared.
 *
 * T1  The answer to a request goes out on the descriptor that it came from (each clone has its own list in the kernel).
 * T2  Nothing is read while what was read holds too much (quota.c).
 * T3  A worker always has a spare slot to read into: where none is left it answers ENOMEM from the spare itself. */
#include "nodes.h"
#include "uring.h"

#include <string.h>

#define UNIQUE_BITS ((UINT64_C(1) << 48) - 1) /* of a request's number: counted from 0 in each mount, the highest says that it came again */

/* ---- answers */

static void answer(VvSlot *slot, uint64_t unique, int error, const void *data, size_t length_bytes)
{
    if (slot->entry) {
        const struct iovec iov = { (void *) data, length_bytes };
        vv_uring_reply(slot, unique, error, &iov, length_bytes ? 1 : 0);
        return;
    }
    struct fuse_out_header header = {
        .len = (uint32_t) (sizeof header + length_bytes),
        .error = error,
        .unique = unique,
    };
    struct iovec iov[] = { { &header, sizeof header }, { (void *) data, length_bytes } };
    ssize_t n;
    do
        n = writev(slot->fd, iov, length_bytes ? 2 : 1);
    while (n < 0 && errno == EINTR);
    /* ENOENT: nobody waits any more; ENODEV: the mount has ended. Neither is anybody's mistake. */
    if (n < 0 && errno != ENOENT && errno != ENODEV)
        vv_log(VV_LOG_WARNING, "an answer to the kernel was refused: %s", g_strerror(errno));
}

static void answer_io(VvSlot *slot, uint64_t unique, int64_t result)
{
    if (result < 0) {
        answer(slot, unique, (int) result, NULL, 0);
    } else if (slot->opcode == FUSE_READ) {
        answer(slot, unique, 0, slot->data, (size_t) result);
    } else if (slot->opcode == FUSE_WRITE) {
        struct fuse_write_out out = { .size = (uint32_t) result };
        answer(slot, unique, 0, &out, sizeof out);
    } else {
        answer(slot, unique, 0, NULL, 0);
    }
}

/* ---- requests of the engine */

static void io_done(VvIo *io)
{
    VvSlot *slot = io->user;
    uint64_t unique = atomic_load_explicit(&slot->unique, memory_order_relaxed);
    pthread_mutex_lock(&slot->lock); /* nobody interrupts it any more once we have this */
    slot->state = VV_SLOT_ANSWERED;
    atomic_store_explicit(&slot->unique, 0, memory_order_relaxed);
    bool shed = slot->shed;
    pthread_mutex_unlock(&slot->lock);
    if (unique & VV_RESENT_BIT)
        atomic_fetch_sub(&slot->slots->fuse->takeover.resent, 1);
    int64_t result = io->result;
    if (result == -EINTR && shed)
        result = -EIO;
    vv_quota_end(slot, result >= 0);
    if (result < 0 && vv_takeover_swallows(slot->slots->fuse, (int) result)) {
        vv_slot_put(slot);
    } else if (slot->entry) { /* with the answer the slot is the kernel's again */
        vv_slot_clear(slot);
        answer_io(slot, unique, result);
    } else {
        answer_io(slot, unique, result);
        vv_slot_put(slot);
    }
}

/* Give the request to the engine. */
static void submit(
    VvServer *server, VvSlot *slot, VvIoKind kind, VvFile *file, uint64_t offset, uint32_t length_bytes)
{
    const struct fuse_in_header *header = slot->request;
    uint64_t unique = header->unique;
    VvSlot *next = slot->entry ? NULL : vv_slot_get(&server->slots);
    if (slot->entry == NULL && next == NULL) { /* T3 */
        answer(slot, unique, -ENOMEM, NULL, 0);
        return;
    }
    if (next)
        server->spare = next;
    slot->opcode = header->opcode;
    if (unique & VV_RESENT_BIT)
        atomic_fetch_add(&server->fuse->takeover.resent, 1);
    if (kind == VV_IO_FLUSH)
        vv_quota_begin_flush(slot);
    else
        vv_quota_begin(server, slot, length_bytes);
    slot->io.kind = kind;
    slot->io.view = file->view;
    slot->io.handle = file->handle;
    slot->io.data = slot->data;
    slot->io.length_bytes = length_bytes;
    slot->io.offset = offset;
    slot->io.origin = server->fuse->takeover.connection_id;
    slot->io.number = slot->io.origin ? unique & UNIQUE_BITS : 0;
    slot->io.done = io_done;
    slot->io.waits = vv_quota_waits;
    slot->io.result = 0;
    slot->io.state = NULL;
    pthread_mutex_lock(&slot->lock);
    slot->account = file->account;
    slot->state = VV_SLOT_UNDER_WAY;
    atomic_store_explicit(&slot->unique, unique, memory_order_relaxed);
    pthread_mutex_unlock(&slot->lock);

    vv_io_submit(server->worker, &slot->io);

    /* It may be done by now; then it is free, but not taken again: only this thread takes. */
    pthread_mutex_lock(&slot->lock);
    if (slot->state == VV_SLOT_UNDER_WAY) {
        slot->state = VV_SLOT_SETTLED;
        if (slot->interrupted)
            vv_io_interrupt(&slot->io);
    }
    pthread_mutex_unlock(&slot->lock);
}

static void read_text(VvSlot *slot, VvFile *file, uint64_t offset, uint32_t length_bytes)
{
    if (file->remade && offset > 0) { /* the rest of a text that was made by a predecessor: only its end is known */
        bool at_end = offset >= file->old_text_bytes;
        answer(slot, slot->request->unique, at_end ? 0 : -ESTALE, NULL, 0);
        return;
    }
    file->remade = false;
    size_t begin = MIN(offset, file->text_bytes);
    size_t count = MIN((size_t) length_bytes, file->text_bytes - begin);
    answer(slot, slot->request->unique, 0, file->text + begin, count);
}

static void take_read(VvServer *server, VvSlot *slot, size_t length_bytes)
{
    const struct fuse_in_header *header = slot->request;
    const struct fuse_read_in *in = (const void *) (header + 1);
    VvFile *file = length_bytes >= sizeof *header + sizeof *in ? vv_file_get(&server->fuse->handles, in->fh) : NULL;
    if (file == NULL || file->kind == VV_HANDLE_DIRECTORY)
        answer(slot, header->unique, -EBADF, NULL, 0);
    else if (in->size > VV_IO_BYTES_MAX || in->offset > INT64_MAX)
        answer(slot, header->unique, -EINVAL, NULL, 0);
    else if (file->kind == VV_HANDLE_LOST)
        answer(slot, header->unique, -EIO, NULL, 0);
    else if (file->kind == VV_HANDLE_TEXT)
        read_text(slot, file, in->offset, in->size);
    else if (in->size == 0)
        answer(slot, header->unique, 0, NULL, 0);
    else
        submit(server, slot, VV_IO_READ, file, in->offset, in->size);
}

static void take_write(VvServer *server, VvSlot *slot, size_t length_bytes)
{
    const struct fuse_in_header *header = slot->request;
    const struct fuse_write_in *in = (const void *) (header + 1);
    VvFile *file = length_bytes >= VV_SLOT_HEADER_BYTES ? vv_file_get(&server->fuse->handles, in->fh) : NULL;
    struct fuse_write_out nothing = { 0 };
    if (file == NULL || file->kind != VV_HANDLE_OBJECT)
        answer(slot, header->unique, -EBADF, NULL, 0);
    else if (!file->may_write)
        answer(slot, header->unique, -EROFS, NULL, 0);
    else if (in->size != length_bytes - VV_SLOT_HEADER_BYTES || in->size > VV_IO_BYTES_MAX || in->offset > INT64_MAX)
        answer(slot, header->unique, -EINVAL, NULL, 0);
    else if (in->size == 0)
        answer(slot, header->unique, 0, &nothing, sizeof nothing);
    else
        submit(server, slot, VV_IO_WRITE, file, in->offset, in->size);
}

static void take_fsync(VvServer *server, VvSlot *slot, size_t length_bytes)
{
    const struct fuse_in_header *header = slot->request;
    const struct fuse_fsync_in *in = (const void *) (header + 1);
    VvFile *file = length_bytes >= sizeof *header + sizeof *in ? vv_file_get(&server->fuse->handles, in->fh) : NULL;
    if (file == NULL)
        answer(slot, header->unique, -EBADF, NULL, 0);
    else if (file->kind == VV_HANDLE_LOST)
        answer(slot, header->unique, -EIO, NULL, 0);
    else if (file->kind != VV_HANDLE_OBJECT || !vv_view_is_lun(file->view)) /* what never changes is durable */
        answer(slot, header->unique, 0, NULL, 0);
    else
        submit(server, slot, VV_IO_FLUSH, file, 0, 0);
}

static void take_interrupt(VvServer *server, VvSlot *slot, size_t length_bytes)
{
    const struct fuse_in_header *header = slot->request;
    const struct fuse_interrupt_in *in = (const void *) (header + 1);
    /* Not found: another worker has read the request and not looked at it yet, or it is answered. EAGAIN makes the kernel
     * ask again in the first case, and is nothing to it in the second. */
    if (length_bytes >= sizeof *header + sizeof *in && !vv_interrupt(server->fuse, in->unique))
        answer(slot, header->unique, -EAGAIN, NULL, 0);
}

/* ---- the rest */

static void through_libfuse(VvServer *server, VvSlot *slot, size_t length_bytes)
{
    vv_worker_will_block(server->worker);
    vv_process(server->fuse, slot->entry ? slot : NULL, slot->fd, slot->request, length_bytes); /* T1 */
}

static void queue_operation(VvServer *server, VvSlot *slot, VvLaneClass class, size_t length_bytes)
{
    const struct fuse_in_header *header = slot->request;
    if (length_bytes > VV_FUSE_REQUEST_BYTES_MAX)
        answer(slot, header->unique, -ENAMETOOLONG, NULL, 0);
    else
        vv_operations_add(
            &server->fuse->operations, class, slot->entry ? slot : NULL, slot->fd, header, length_bytes);
}

void vv_take_slot(VvServer *server, VvSlot *slot, size_t length_bytes)
{
    switch (slot->request->opcode) {
    case FUSE_READ:
        take_read(server, slot, length_bytes);
        break;
    case FUSE_WRITE:
        take_write(server, slot, length_bytes);
        break;
    case FUSE_FSYNC:
        take_fsync(server, slot, length_bytes);
        break;
    case FUSE_INTERRUPT:
        take_interrupt(server, slot, length_bytes);
        break;
    case FUSE_OPEN:
    case FUSE_CREATE:
    case FUSE_MKNOD:
    case FUSE_RELEASE:
    case FUSE_UNLINK:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_SETATTR:
        queue_operation(server, slot, VV_LANE_ORDER, length_bytes);
        break;
    case FUSE_FALLOCATE:
    case FUSE_LSEEK:
    case FUSE_COPY_FILE_RANGE:
        queue_operation(server, slot, VV_LANE_LONG, length_bytes);
        break;
    default:
        through_libfuse(server, slot, length_bytes);
    }
}

int vv_take(void *user, int fd)
{
    VvServer *server = user;
    VvSlot *slot = server->spare;
    if (!vv_quota_may_read(server))
        return -EBUSY;
    ssize_t n = read(fd, slot->data - VV_SLOT_HEADER_BYTES, VV_SLOT_READ_BYTES);
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ENOENT)
            return 0; /* vv_fuse_wait_for_resent sees for itself that there is nothing */
        if (errno != ENODEV && errno != ECONNABORTED)
            vv_log(VV_LOG_ERROR, "the kernel ends the mount at %s: %s", server->fuse->mount_point, g_strerror(errno));
        return -ENODEV;
    }
    if ((size_t) n < sizeof(struct fuse_in_header))
        return 0;
    slot->fd = fd;
    slot->request = (const void *) (slot->data - VV_SLOT_HEADER_BYTES);
    if (!atomic_load_explicit(&server->fuse->takeover.resent_read, memory_order_relaxed))
        vv_takeover_look(server->fuse, slot->request);
    slot->touched_bytes = MAX(slot->touched_bytes, n > VV_SLOT_HEADER_BYTES ? (uint32_t) n - VV_SLOT_HEADER_BYTES : 0);
    vv_take_slot(server, slot, (size_t) n);
    return 1;
}
