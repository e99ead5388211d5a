/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests on objects, and their answers, of any bytes: 4 say how much data the frame has, 48 are the request, the rest is the answer to it.
 * What is accepted keeps the promises of object.h, and is the same once more. */
#include "codec.h"
#include "fuzz.h"
#include "object.h"

static void check_ask(const VvObjectAsk *ask, uint32_t data_bytes)
{
    g_assert_cmpuint(ask->offset_bytes, <=, INT64_MAX);
    g_assert_cmpuint(ask->offset_bytes + ask->length_bytes, <=, INT64_MAX);
    g_assert_cmpuint(data_bytes, ==, ask->op == VV_OBJECT_WRITE_DATA ? ask->length_bytes : 0);
    if (ask->op == VV_OBJECT_READ || ask->op == VV_OBJECT_WRITE_DATA)
        g_assert_true(ask->length_bytes > 0 && ask->length_bytes <= VV_IO_BYTES_MAX);
}

static void try_answer(const uint8_t *data, size_t length_bytes, uint32_t data_bytes, const VvObjectAsk *ask)
{
    uint8_t again[VV_OBJECT_ANSWER_BYTES];
    VvObjectAnswer answer;

    if (!vv_object_answer_decode(data, (uint32_t) length_bytes, data_bytes, ask, &answer, NULL))
        return;
    g_assert_true(answer.result <= 0 && answer.size_bytes <= INT64_MAX && answer.value <= INT64_MAX);
    g_assert_true(data_bytes == 0 || (ask->op == VV_OBJECT_READ && data_bytes <= ask->length_bytes && data_bytes == answer.value));
    vv_object_answer_encode(&answer, again);
    if (data[0] > 17) /* of a later release: read as EIO */
        again[0] = data[0];
    fuzz_assert_same(data, length_bytes, again, VV_OBJECT_ANSWER_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    uint8_t again[VV_OBJECT_ASK_BYTES];
    uint32_t data_bytes;
    VvObjectAsk ask;

    if (length_bytes < 4)
        return 0;
    data_bytes = vv_get_u32(data);
    data += 4;
    length_bytes -= 4;
    if (vv_object_ask_decode(data, (uint32_t) MIN(length_bytes, VV_OBJECT_ASK_BYTES), data_bytes, &ask, NULL)) {
        vv_object_ask_encode(&ask, again);
        fuzz_assert_same(data, VV_OBJECT_ASK_BYTES, again, VV_OBJECT_ASK_BYTES);
        check_ask(&ask, data_bytes);
        try_answer(data + VV_OBJECT_ASK_BYTES, length_bytes - VV_OBJECT_ASK_BYTES, 0, &ask);
    }
    /* The request of a read has no data, its answer has. */
    if (vv_object_ask_decode(data, (uint32_t) MIN(length_bytes, VV_OBJECT_ASK_BYTES), 0, &ask, NULL))
        try_answer(data + VV_OBJECT_ASK_BYTES, length_bytes - VV_OBJECT_ASK_BYTES, data_bytes, &ask);
    return 0;
}
