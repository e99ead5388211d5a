/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request to a disk that another node serves, and its answer: the bodies of VV_FRAME_DISK on data connections. The data of a
 * write, or that a read gives, is the data of the frame. Little-endian:
 *
 *   request, 48 bytes                              answer, 32 bytes
 *    0  1  operation (VvShippedOp)                  0  1  result: 0 done, else as below
 *    1  7  zero                                     1  7  zero
 *    8  8  disk                                     8  8  the disk's incarnation: what was not synced under another is lost
 *   16  8  session: the epoch of who asks          16  8  index of the last end of a session that the server has passed
 *   24  8  fence: index of the last end of a          24  8  size of the disk in bytes, 0 if there is none
 *          session that who asks has applied
 *   32  8  offset, bytes
 *   40  8  length, bytes
 *
 *   results  1 EIO, 2 ENOSPC, 3 EROFS, 4 EUCLEAN, 5 ENODATA (no such disk here), 6 ENOMEM, 7 ETIMEDOUT, 8 EINVAL, 9 ESTALE (the
 *            session has ended), 10 ESHUTDOWN; any other is EIO. Numbers of errno are not the same on all machines. */
#ifndef VV_SHIPPED_H
#define VV_SHIPPED_H

#include "frame.h"

#define VV_SHIPPED_BYTES 48u
#define VV_SHIPPED_DONE_BYTES 32u

typedef enum {
    VV_SHIPPED_READ = 1,
    VV_SHIPPED_WRITE = 2,
    VV_SHIPPED_SYNC = 3,
    VV_SHIPPED_DISCARD = 4,
    VV_SHIPPED_LOOK = 5, /* is it there? */
} VvShippedOp;

typedef struct {
    VvShippedOp op;
    uint64_t disk, session, fence;
    uint64_t offset_bytes, length_bytes;
} VvShipped;

typedef struct {
    int result; /* 0 or -errno of error.h's closed set */
    uint64_t incarnation;
    uint64_t fence;
    uint64_t bytes; /* the size of the disk */
} VvShippedDone;

void vv_shipped_encode(const VvShipped *shipped, uint8_t ret_raw[VV_SHIPPED_BYTES]);
/* @data_bytes: of the frame: a write has as many as its length says, others none. What is accepted does not go past INT64_MAX;
 * reads and writes have 1 to VV_PEER_DATA_BYTES_MAX bytes, a sync and a look neither offset nor length. Error: VV_ERROR_DAMAGED. */
bool vv_shipped_decode(
    const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, VvShipped *ret_shipped, GError **error);

void vv_shipped_done_encode(const VvShippedDone *done, uint8_t ret_raw[VV_SHIPPED_DONE_BYTES]);
/* @data_bytes: of the frame; @wanted_bytes: what a read that succeeded must give, 0 for all else. */
bool vv_shipped_done_decode(const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, uint32_t wanted_bytes,
    VvShippedDone *ret_done, GError **error);

#endif
