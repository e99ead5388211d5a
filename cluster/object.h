/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request on a LUN or snapshot whose disks another node has, and its answer: the bodies of VV_OBJECT_REQUEST on data connections.
 * The data of a write, or that a read gives, is the data of the frame. Little-endian:
 *
 *   request, 48 bytes                               answer, 56 bytes
 *    0  1  operation (VvObjectOp)                    0  1  result: 0 done, else as below
 *    1  1  flags, of the operation                   1  1  flags: 1 a LUN, 2 elastic
 *    2  6  number of what changes data, else 0         2  6  zero
 *    8  8  object                                    8  8  value: bytes that a READ gave or a WRITE took; where a SEEK ended
 *   16  8  handle: a number of who asks, never used 16  8  incarnation: what was not flushed under another may be lost
 *          again by it; OPEN, CLOSE. Else 0         24  8  size of the object, bytes
 *   24  8  offset, bytes                            32  8  mtime, ns
 *   32  8  length, bytes; TRUNCATE, EXTEND: size    40  8  bytes that it maps
 *   40  8  pid of the opener, OPEN; of what has a   48  8  index of the last entry in the server's map
 *          number: whose numbers they are. Else 0
 *
 *   results  1 EIO, 2 ENOSPC, 3 EROFS, 4 EUCLEAN, 5 ENODATA, 6 ENOMEM, 7 ETIMEDOUT, 8 EINVAL, 9 ESTALE (no handle of this node is open
 *            on it that may do this), 10 ESHUTDOWN, 11 ENOENT, 12 EBUSY, 13 EINTR, 14 ENXIO, 15 EACCES (it is not shared with this
 *            node), 16 EPERM, 17 ENFILE (too many handles); any other is EIO. Numbers of errno are not the same on all machines. */
#ifndef VV_OBJECT_H
#define VV_OBJECT_H

#include "frame.h"

#define VV_OBJECT_REQUEST 0x0301u /* a request between peers, on data connections */
#define VV_OBJECT_ASK_BYTES 48u
#define VV_OBJECT_ANSWER_BYTES 56u

typedef enum {
    VV_OBJECT_OPEN = 1,  /* flags: VV_OBJECT_WRITE, VV_OBJECT_AGAIN. The same handle again: the same answer */
    VV_OBJECT_CLOSE = 2, /* a handle that is not open: done */
    VV_OBJECT_READ = 3,
    VV_OBJECT_WRITE_DATA = 4,
    VV_OBJECT_FLUSH = 5,
    VV_OBJECT_ZERO = 6,
    VV_OBJECT_ALLOCATE = 7,
    VV_OBJECT_SEEK = 8,     /* flags: VV_OBJECT_DATA, else a hole */
    VV_OBJECT_TRUNCATE = 9, /* as ftruncate through the mount: vv_pool_lun_truncate */
    VV_OBJECT_EXTEND = 10,  /* vv_pool_lun_extend */
    VV_OBJECT_INTERRUPT = 11, /* the request of this connection with that number: if it waits for space or a gate it ends with EINTR. Done in any
                             * case; a server from before refuses it with EINVAL */
    VV_OBJECT_OPS
} VvObjectOp;

#define VV_OBJECT_NUMBER_MAX ((UINT64_C(1) << 48) - 1)
#define VV_OBJECT_WRITE 1u /* OPEN: for writing */
#define VV_OBJECT_AGAIN 2u /* OPEN: it was open before the server was started anew: also what was removed meanwhile */
#define VV_OBJECT_DATA 4u  /* SEEK */

typedef struct {
    VvObjectOp op;
    uint8_t flags;
    uint64_t object, handle;
    uint64_t offset_bytes, length_bytes;
    uint64_t pid;
    uint64_t origin, number; /* of WRITE_DATA, ZERO, ALLOCATE, TRUNCATE, EXTEND: engine/done.h; 0: none. INTERRUPT: whose it is */
} VvObjectAsk;

typedef struct {
    int result; /* 0 or -errno of error.h's closed set */
    bool is_lun, elastic;
    uint64_t value, incarnation;
    uint64_t size_bytes, mtime_ns, used_bytes;
    uint64_t applied;
} VvObjectAnswer;

void vv_object_ask_encode(const VvObjectAsk *ask, uint8_t ret_raw[VV_OBJECT_ASK_BYTES]);
/* Total. @data_bytes: of the frame: a write has as many as its length says, others none. What is accepted does not go past INT64_MAX; reads and
 * writes have 1 to VV_IO_BYTES_MAX bytes; OPEN and CLOSE name a handle that is not 0; a pid is below 2^31; fields and flags that an
 * operation does not have are 0. Error: VV_ERROR_DAMAGED. */
bool vv_object_ask_decode(
    const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, VvObjectAsk *ret_ask, GError **error);

void vv_object_answer_encode(const VvObjectAnswer *answer, uint8_t ret_raw[VV_OBJECT_ANSWER_BYTES]);
/* Total. @ask: what was asked: a read gives as many bytes of data as its value says, and no more than were asked for; others none.
 * Only a READ, WRITE or SEEK that was done has a value. No size is beyond INT64_MAX. */
bool vv_object_answer_decode(const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, const VvObjectAsk *ask,
    VvObjectAnswer *ret_answer, GError **error);

#endif
