/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header of a frame: layout in frame.h. */
#include "frame.h"

#include "codec.h"
#include "error.h"

#define MAGIC 0x66507656u /* "VvPf" */
#define HEADER_VERSION 1u
#define CRC_AT 28u

G_STATIC_ASSERT(CRC_AT + 4 == VV_FRAME_BYTES);

void vv_frame_encode(const VvFrame *frame, uint8_t ret_raw[VV_FRAME_BYTES])
{
    memset(ret_raw, 0, VV_FRAME_BYTES);
    vv_put_u32(ret_raw, MAGIC);
    ret_raw[4] = HEADER_VERSION;
    vv_put_u16(ret_raw + 6, frame->kind);
    vv_put_u16(ret_raw + 8, frame->flags);
    vv_put_u32(ret_raw + 12, frame->body_bytes);
    vv_put_u64(ret_raw + 16, frame->request);
    vv_put_u32(ret_raw + 24, frame->data_bytes);
    vv_put_u32(ret_raw + CRC_AT, vv_crc32c(0, ret_raw, CRC_AT));
}

/* What is wrong with a header whose checksum is right; NULL: nothing. */
static const char *find_fault(const uint8_t *raw, const VvFrame *frame)
{
    bool asks = frame->flags == VV_FRAME_REQUEST, answers = frame->flags == VV_FRAME_REPLY;

    if (raw[4] != HEADER_VERSION)
        return "its header has a version that this one does not know";
    if (raw[5] != 0 || vv_get_u16(raw + 10) != 0)
        return "bytes of its header that must be zero are not";
    if (frame->kind == 0)
        return "it has no kind";
    if (frame->flags != 0 && !asks && !answers)
        return "its flags are unknown or contradict each other";
    if ((frame->request != 0) != (asks || answers))
        return "its request id and its flags contradict each other";
    if (frame->body_bytes > VV_PEER_BODY_BYTES_MAX)
        return "its body is too long";
    if (frame->data_bytes > VV_PEER_DATA_BYTES_MAX)
        return "its data is too long";
    return NULL;
}

bool vv_frame_decode(const uint8_t raw[VV_FRAME_BYTES], VvFrame *ret_frame, GError **error)
{
    VvFrame frame = {
        .kind = vv_get_u16(raw + 6),
        .flags = vv_get_u16(raw + 8),
        .request = vv_get_u64(raw + 16),
        .body_bytes = vv_get_u32(raw + 12),
        .data_bytes = vv_get_u32(raw + 24),
    };
    const char *fault = NULL;

    if (vv_get_u32(raw) != MAGIC)
        fault = "it does not begin as one";
    else if (vv_get_u32(raw + CRC_AT) != vv_crc32c(0, raw, CRC_AT))
        fault = "the checksum of its header is wrong";
    else
        fault = find_fault(raw, &frame);
    if (fault) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "a message is not one: %s", fault);
        return false;
    }
    *ret_frame = frame;
    return true;
}
