/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to disks of other nodes: layouts in shipped.h. */
#include "shipped.h"

#include "codec.h"
#include "error.h"

#include <errno.h>

static const int results[] = { 0, EIO, ENOSPC, EROFS, EUCLEAN, ENODATA, ENOMEM, ETIMEDOUT, EINVAL, ESTALE, ESHUTDOWN };

static bool refuse(GError **error, const char *what, const char *why)
{
    vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "%s is not one: %s", what, why);
    return false;
}

static bool is_zero(const uint8_t *bytes, size_t length_bytes)
{
    for (size_t i = 0; i < length_bytes; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

void vv_shipped_encode(const VvShipped *shipped, uint8_t ret_raw[VV_SHIPPED_BYTES])
{
    memset(ret_raw, 0, VV_SHIPPED_BYTES);
    ret_raw[0] = (uint8_t) shipped->op;
    vv_put_u64(ret_raw + 8, shipped->disk);
    vv_put_u64(ret_raw + 16, shipped->session);
    vv_put_u64(ret_raw + 24, shipped->fence);
    vv_put_u64(ret_raw + 32, shipped->offset_bytes);
    vv_put_u64(ret_raw + 40, shipped->length_bytes);
}

static const char *find_fault(const VvShipped *shipped, uint32_t data_bytes)
{
    bool moves = shipped->op == VV_SHIPPED_READ || shipped->op == VV_SHIPPED_WRITE;

    if (shipped->op < VV_SHIPPED_READ || shipped->op > VV_SHIPPED_LOOK)
        return "its operation is unknown";
    if (shipped->length_bytes > INT64_MAX || shipped->offset_bytes > INT64_MAX - shipped->length_bytes)
        return "it goes past the end of any disk";
    if (moves && (shipped->length_bytes == 0 || shipped->length_bytes > VV_PEER_DATA_BYTES_MAX))
        return "its length is out of range";
    if ((shipped->op == VV_SHIPPED_SYNC || shipped->op == VV_SHIPPED_LOOK) && (shipped->length_bytes != 0 || shipped->offset_bytes != 0))
        return "a sync or a look has no range";
    if (data_bytes != (shipped->op == VV_SHIPPED_WRITE ? shipped->length_bytes : 0))
        return "its data is not as long as it says";
    return NULL;
}

bool vv_shipped_decode(
    const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, VvShipped *ret_shipped, GError **error)
{
    static const char what[] = "a request to a disk";
    VvShipped shipped;
    const char *fault;

    if (body_bytes != VV_SHIPPED_BYTES || !is_zero(body + 1, 7))
        return refuse(error, what, "its form is wrong");
    shipped = (VvShipped){
        .op = (VvShippedOp) body[0],
        .disk = vv_get_u64(body + 8),
        .session = vv_get_u64(body + 16),
        .fence = vv_get_u64(body + 24),
        .offset_bytes = vv_get_u64(body + 32),
        .length_bytes = vv_get_u64(body + 40),
    };
    fault = find_fault(&shipped, data_bytes);
    if (fault)
        return refuse(error, what, fault);
    *ret_shipped = shipped;
    return true;
}

void vv_shipped_done_encode(const VvShippedDone *done, uint8_t ret_raw[VV_SHIPPED_DONE_BYTES])
{
    memset(ret_raw, 0, VV_SHIPPED_DONE_BYTES);
    ret_raw[0] = done->result == 0 ? 0 : 1;
    for (uint8_t i = 1; i < G_N_ELEMENTS(results); i++)
        if (done->result == -results[i])
            ret_raw[0] = i;
    vv_put_u64(ret_raw + 8, done->incarnation);
    vv_put_u64(ret_raw + 16, done->fence);
    vv_put_u64(ret_raw + 24, done->bytes);
}

bool vv_shipped_done_decode(const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, uint32_t wanted_bytes,
    VvShippedDone *ret_done, GError **error)
{
    static const char what[] = "a disk's answer";

    if (body_bytes != VV_SHIPPED_DONE_BYTES || !is_zero(body + 1, 7))
        return refuse(error, what, "its form is wrong");
    if (vv_get_u64(body + 24) > INT64_MAX)
        return refuse(error, what, "its disk is too large");
    if (data_bytes != (body[0] == 0 ? wanted_bytes : 0))
        return refuse(error, what, "its data is not as long as what was asked for");
    ret_done->result = body[0] < G_N_ELEMENTS(results) ? -results[body[0]] : -EIO;
    ret_done->incarnation = vv_get_u64(body + 8);
    ret_done->fence = vv_get_u64(body + 16);
    ret_done->bytes = vv_get_u64(body + 24);
    return true;
}
