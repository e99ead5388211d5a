/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header of every message between nodes. Little-endian, 32 bytes:
 *
 *   offset size
 *        0    4  magic "VvPf"
 *        4    1  version of this header: 1 for ever; a hello must be readable to every version
 *        5    1  zero
 *        6    2  kind
 *        8    2  flags: 1 request (wants an answer), 2 reply
 *       10    2  zero
 *       12    4  bytes of body, which follows
 *       16    8  request id: not 0 in requests and replies, 0 elsewhere
 *       24    4  bytes of data, which follow the body
 *       28    4  crc32c of bytes 0 to 27
 *
 * TLS authenticates every byte; the checksum finds who speaks something else, or has lost the boundary. */
#ifndef VV_FRAME_H
#define VV_FRAME_H

#include "peer_limits.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    VV_FRAME_HELLO = 1,
    VV_FRAME_GOODBYE = 2,
    VV_FRAME_PING = 3,
    VV_FRAME_PONG = 4,
    VV_FRAME_JOIN = 5,
    VV_FRAME_JOINED = 6,
    VV_FRAME_DISK = 16,  /* a request to a disk, and its answer: shipped.h */
    VV_FRAME_OWNER = 256 /* from here on kinds are the owner's: the transport does not look into them */
} VvFrameKind;

#define VV_FRAME_REQUEST 1u
#define VV_FRAME_REPLY 2u

typedef struct {
    uint16_t kind;
    uint16_t flags;
    uint64_t request;
    uint32_t body_bytes;
    uint32_t data_bytes;
} VvFrame;

void vv_frame_encode(const VvFrame *frame, uint8_t ret_raw[VV_FRAME_BYTES]);
/* Total: any 32 bytes. What it accepts would be encoded to the same bytes, and its lengths are below VV_PEER_BODY_BYTES_MAX and
 * VV_PEER_DATA_BYTES_MAX. Error: VV_ERROR_DAMAGED with what is wrong; @ret_frame untouched. */
bool vv_frame_decode(const uint8_t raw[VV_FRAME_BYTES], VvFrame *ret_frame, GError **error);

#endif
