/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests on objects of another node, and answers: bytes as object.h's tables say, what is accepted, and what is not. */
#include "codec.h"
#include "error.h"
#include "object.h"

#include <errno.h>

/* ---- by hand */
static void test_bytes(void)
{
    static const uint8_t opens[VV_OBJECT_ASK_BYTES] = { 1, 3, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0, 0, 0, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x39, 0x30 };
    static const uint8_t writes[VV_OBJECT_ASK_BYTES] = { 4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0,
        0, 1, 0, 0, 0, 2 };
    static const uint8_t done[VV_OBJECT_ANSWER_BYTES] = { 0, 3, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0,
        0x40, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0x30, 0, 0, 0, 0, 0, 0, 0x2a };
    static const uint8_t denied[VV_OBJECT_ANSWER_BYTES] = { 15, 1 };
    VvObjectAsk ask = { .op = VV_OBJECT_OPEN, .flags = VV_OBJECT_WRITE | VV_OBJECT_AGAIN, .object = 0x8000000000002211, .handle = 7,
        .pid = 12345 };
    VvObjectAnswer answer = { .is_lun = true, .elastic = true, .value = 258, .incarnation = 0x0807060504030201, .size_bytes = 1u << 30,
        .mtime_ns = 0x0102030405060708, .used_bytes = 12288, .applied = 42 };
    uint8_t raw[VV_OBJECT_ASK_BYTES], raw_answer[VV_OBJECT_ANSWER_BYTES];

    vv_object_ask_encode(&ask, raw);
    g_assert_cmpmem(raw, sizeof raw, opens, sizeof opens);
    g_assert_true(vv_object_ask_decode(opens, sizeof opens, 0, &ask, NULL));
    g_assert_cmpuint(ask.object, ==, 0x8000000000002211);
    g_assert_true(ask.op == VV_OBJECT_OPEN && ask.flags == 3 && ask.handle == 7 && ask.pid == 12345);
    g_assert_true(vv_object_ask_decode(writes, sizeof writes, 512, &ask, NULL));
    g_assert_true(ask.op == VV_OBJECT_WRITE_DATA && ask.object == 9 && ask.offset_bytes == 0x10000001000 && ask.length_bytes == 512);
    g_assert_true(ask.handle == 0 && ask.pid == 0 && ask.flags == 0);
    vv_object_ask_encode(&ask, raw);
    g_assert_cmpmem(raw, sizeof raw, writes, sizeof writes);

    vv_object_answer_encode(&answer, raw_answer);
    g_assert_cmpmem(raw_answer, sizeof raw_answer, done, sizeof done);
    g_assert_true(vv_object_answer_decode(done, sizeof done, 0, &ask, &answer, NULL));
    g_assert_true(answer.result == 0 && answer.is_lun && answer.elastic && answer.value == 258 && answer.size_bytes == 1u << 30);
    g_assert_true(answer.incarnation == 0x0807060504030201 && answer.mtime_ns == 0x0102030405060708);
    g_assert_true(answer.used_bytes == 12288 && answer.applied == 42);
    g_assert_true(vv_object_answer_decode(denied, sizeof denied, 0, &ask, &answer, NULL));
    g_assert_true(answer.result == -EACCES && answer.is_lun && !answer.elastic && answer.value == 0);
}

/* ---- requests */
static bool decodes(const VvObjectAsk *ask, uint32_t data_bytes)
{
    uint8_t raw[VV_OBJECT_ASK_BYTES], again[VV_OBJECT_ASK_BYTES];
    VvObjectAsk back = { .object = 0x55aa };
    g_autoptr(GError) error = NULL;

    vv_object_ask_encode(ask, raw);
    if (!vv_object_ask_decode(raw, sizeof raw, data_bytes, &back, &error)) {
        g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
        g_assert_cmpuint(back.object, ==, 0x55aa); /* untouched */
        return false;
    }
    vv_object_ask_encode(&back, again);
    g_assert_cmpmem(raw, sizeof raw, again, sizeof again);
    return true;
}

static const struct {
    VvObjectAsk ask; /* op, flags, object, handle, offset, length, pid, origin, number */
    uint32_t data_bytes;
    bool good;
} cases[] = {
    { { VV_OBJECT_OPEN, 0, 5, 1, 0, 0, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_OPEN, VV_OBJECT_WRITE, 5, UINT64_MAX, 0, 0, INT32_MAX, 0, 0 }, 0, true },
    { { VV_OBJECT_OPEN, VV_OBJECT_AGAIN, 5, 1, 0, 0, 1, 0, 0 }, 0, true },
    { { VV_OBJECT_OPEN, VV_OBJECT_DATA, 5, 1, 0, 0, 1, 0, 0 }, 0, false },
    { { VV_OBJECT_OPEN, 128, 5, 1, 0, 0, 1, 0, 0 }, 0, false },
    { { VV_OBJECT_OPEN, 0, 5, 0, 0, 0, 1, 0, 0 }, 0, false },
    { { VV_OBJECT_OPEN, 0, 5, 1, 1, 0, 1, 0, 0 }, 0, false },
    { { VV_OBJECT_OPEN, 0, 5, 1, 0, 1, 1, 0, 0 }, 0, false },
    { { VV_OBJECT_OPEN, 0, 5, 1, 0, 0, (uint64_t) INT32_MAX + 1, 0, 0 }, 0, false },
    { { VV_OBJECT_OPEN, 0, 5, 1, 0, 0, 1, 0, 0 }, 1, false },
    { { VV_OBJECT_CLOSE, 0, 5, 1, 0, 0, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_CLOSE, VV_OBJECT_WRITE, 5, 1, 0, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_CLOSE, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_CLOSE, 0, 5, 1, 0, 0, 0, 1, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 0, 4096, 1, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_READ, 0, 5, 0, INT64_MAX - VV_IO_BYTES_MAX, VV_IO_BYTES_MAX, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_READ, 0, 5, 0, INT64_MAX - VV_IO_BYTES_MAX + 1, VV_IO_BYTES_MAX, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 0, UINT64_MAX, 4096, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 0, 0, VV_IO_BYTES_MAX + 1, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 1, 0, 4096, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 0, 0, 4096, 0, 1, 0 }, 0, false },
    { { VV_OBJECT_READ, 0, 5, 0, 0, 4096, 0, 0, 0 }, 4096, false },
    { { VV_OBJECT_READ, VV_OBJECT_WRITE, 5, 0, 0, 4096, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 3, 4095, 0, 0, 0 }, 4095, true },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 0, 4096, 0, 0, 0 }, 4095, false },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 0, 4096, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 0, VV_IO_BYTES_MAX + 1, 0, 0, 0 }, VV_IO_BYTES_MAX + 1, false },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 3, 4095, 0, 0, VV_OBJECT_NUMBER_MAX }, 4095, true },
    { { VV_OBJECT_WRITE_DATA, 0, 5, 0, 3, 4095, 0, UINT64_MAX, VV_OBJECT_NUMBER_MAX }, 4095, true },
    { { VV_OBJECT_ZERO, 0, 5, 0, 3, 4095, 0, 0, 0x010203040506 }, 0, true },
    { { VV_OBJECT_ALLOCATE, 0, 5, 0, 3, 4095, 0, 0, 7 }, 0, true },
    { { VV_OBJECT_TRUNCATE, 0, 5, 0, 0, 4095, 0, 0, 7 }, 0, true },
    { { VV_OBJECT_EXTEND, 0, 5, 0, 0, 4095, 0, 0, 7 }, 0, true },
    { { VV_OBJECT_READ, 0, 5, 0, 0, 4096, 0, 0, 7 }, 0, false },
    { { VV_OBJECT_OPEN, 0, 5, 1, 0, 0, 0, 0, 7 }, 0, false },
    { { VV_OBJECT_SEEK, 0, 5, 0, 0, 0, 0, 0, 7 }, 0, false },
    { { VV_OBJECT_FLUSH, 0, 5, 0, 0, 0, 0, 0, 7 }, 0, false },
    { { VV_OBJECT_FLUSH, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_FLUSH, 0, 5, 0, 1, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_FLUSH, 0, 5, 0, 0, 1, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_FLUSH, 0, 5, 1, 0, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_ZERO, 0, 5, 0, 0, INT64_MAX, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_ZERO, 0, 5, 0, 1, INT64_MAX, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_ZERO, 0, 5, 0, 0, UINT64_MAX, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_ALLOCATE, 0, 5, 0, 4096, 8192, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_ALLOCATE, 0, 5, 0, 4096, 8192, 0, 0, 0 }, 8192, false },
    { { VV_OBJECT_SEEK, 0, 5, 0, INT64_MAX, 0, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_SEEK, VV_OBJECT_DATA, 5, 0, 77, 0, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_SEEK, VV_OBJECT_WRITE, 5, 0, 77, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_SEEK, 0, 5, 0, (uint64_t) INT64_MAX + 1, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_SEEK, 0, 5, 0, 77, 1, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_TRUNCATE, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_TRUNCATE, 0, 5, 0, 0, 1u << 30, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_TRUNCATE, 0, 5, 0, 1, 1u << 30, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_EXTEND, 0, 5, 0, 0, INT64_MAX, 0, 0, 0 }, 0, true },
    { { VV_OBJECT_EXTEND, 0, 5, 0, 0, (uint64_t) INT64_MAX + 1, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_INTERRUPT, 0, 5, 0, 0, 0, 0, 6, 7 }, 0, true },
    { { VV_OBJECT_INTERRUPT, 0, 5, 0, 0, 0, 0, 6, 0 }, 0, false },
    { { VV_OBJECT_INTERRUPT, 0, 5, 0, 0, 4096, 0, 6, 7 }, 0, false },
    { { VV_OBJECT_INTERRUPT, 0, 5, 1, 0, 0, 0, 6, 7 }, 0, false },
    { { (VvObjectOp) 0, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, false },
    { { VV_OBJECT_OPS, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, false },
    { { (VvObjectOp) 255, 0, 5, 0, 0, 0, 0, 0, 0 }, 0, false },
};

static void test_asks(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        if (decodes(&cases[i].ask, cases[i].data_bytes) != cases[i].good)
            g_error("case %zu", i);
}

static void test_form(void)
{
    uint8_t raw[VV_OBJECT_ANSWER_BYTES + 1] = { VV_OBJECT_FLUSH };
    VvObjectAsk ask = { .op = VV_OBJECT_FLUSH, .object = 1 }, back;
    VvObjectAnswer answer;

    g_assert_true(vv_object_ask_decode(raw, VV_OBJECT_ASK_BYTES, 0, &back, NULL));
    for (uint32_t n = 0; n < sizeof raw; n++)
        if (n != VV_OBJECT_ASK_BYTES)
            g_assert_false(vv_object_ask_decode(raw, n, 0, &back, NULL));
    g_assert_false(vv_object_ask_decode(NULL, 0, 0, &back, NULL));
    for (unsigned i = 2; i < 8; i++) {
        raw[i] = 1;
        g_assert_false(vv_object_ask_decode(raw, VV_OBJECT_ASK_BYTES, 0, &back, NULL));
        raw[i] = 0;
    }
    raw[0] = 0;
    g_assert_true(vv_object_answer_decode(raw, VV_OBJECT_ANSWER_BYTES, 0, &ask, &answer, NULL));
    for (uint32_t n = 0; n < sizeof raw; n++)
        if (n != VV_OBJECT_ANSWER_BYTES)
            g_assert_false(vv_object_answer_decode(raw, n, 0, &ask, &answer, NULL));
    g_assert_false(vv_object_answer_decode(NULL, 0, 0, &ask, &answer, NULL));
    for (unsigned i = 1; i < 8; i++) {
        raw[i] = 4;
        g_assert_false(vv_object_answer_decode(raw, VV_OBJECT_ANSWER_BYTES, 0, &ask, &answer, NULL));
        raw[i] = 0;
    }
}

/* ---- answers */
static void test_results(void)
{
    static const int results[] = { 0, -EIO, -ENOSPC, -EROFS, -EUCLEAN, -ENODATA, -ENOMEM, -ETIMEDOUT, -EINVAL, -ESTALE, -ESHUTDOWN, -ENOENT,
        -EBUSY, -EINTR, -ENXIO, -EACCES, -EPERM, -ENFILE };
    VvObjectAsk ask = { .op = VV_OBJECT_FLUSH, .object = 1 };
    uint8_t raw[VV_OBJECT_ANSWER_BYTES];
    VvObjectAnswer answer, back;

    for (size_t i = 0; i < G_N_ELEMENTS(results); i++) {
        answer = (VvObjectAnswer){ .result = results[i], .incarnation = 77, .applied = 88 };
        vv_object_answer_encode(&answer, raw);
        g_assert_cmpuint(raw[0], ==, i);
        g_assert_true(vv_object_answer_decode(raw, sizeof raw, 0, &ask, &back, NULL));
        g_assert_cmpint(back.result, ==, results[i]);
        g_assert_true(back.incarnation == 77 && back.applied == 88);
    }
    answer.result = -EXDEV; /* outside the set */
    vv_object_answer_encode(&answer, raw);
    g_assert_cmpuint(raw[0], ==, 1);
    raw[0] = 200; /* of a later release */
    g_assert_true(vv_object_answer_decode(raw, sizeof raw, 0, &ask, &back, NULL));
    g_assert_cmpint(back.result, ==, -EIO);
}

static bool answers(VvObjectOp op, int result, uint64_t value, uint32_t data_bytes)
{
    VvObjectAsk ask = { .op = op, .object = 1, .length_bytes = 4096 };
    VvObjectAnswer answer = { .result = result, .value = value, .size_bytes = 8192, .used_bytes = 4096 }, back = { .applied = 0x55aa };
    uint8_t raw[VV_OBJECT_ANSWER_BYTES], again[VV_OBJECT_ANSWER_BYTES];
    g_autoptr(GError) error = NULL;

    vv_object_answer_encode(&answer, raw);
    if (!vv_object_answer_decode(raw, sizeof raw, data_bytes, &ask, &back, &error)) {
        g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
        g_assert_cmpuint(back.applied, ==, 0x55aa);
        return false;
    }
    vv_object_answer_encode(&back, again);
    g_assert_cmpmem(raw, sizeof raw, again, sizeof again);
    return true;
}

static void test_answers(void)
{
    VvObjectAsk ask = { .op = VV_OBJECT_FLUSH, .object = 1 };
    VvObjectAnswer answer = { .size_bytes = UINT64_MAX };
    uint8_t raw[VV_OBJECT_ANSWER_BYTES];

    g_assert_true(answers(VV_OBJECT_READ, 0, 4096, 4096));
    g_assert_true(answers(VV_OBJECT_READ, 0, 0, 0)); /* at the end */
    g_assert_true(answers(VV_OBJECT_READ, 0, 100, 100));
    g_assert_true(answers(VV_OBJECT_READ, -EIO, 0, 0));
    g_assert_false(answers(VV_OBJECT_READ, 0, 4096, 4095));
    g_assert_false(answers(VV_OBJECT_READ, 0, 4096, 0));
    g_assert_false(answers(VV_OBJECT_READ, 0, 4097, 4097));
    g_assert_false(answers(VV_OBJECT_READ, -EIO, 0, 4096));
    g_assert_false(answers(VV_OBJECT_READ, -EIO, 4096, 4096));
    g_assert_true(answers(VV_OBJECT_WRITE_DATA, 0, 4096, 0));
    g_assert_true(answers(VV_OBJECT_WRITE_DATA, 0, 1, 0));
    g_assert_false(answers(VV_OBJECT_WRITE_DATA, 0, 4097, 0));
    g_assert_false(answers(VV_OBJECT_WRITE_DATA, -ENOSPC, 1, 0));
    g_assert_false(answers(VV_OBJECT_WRITE_DATA, 0, 4096, 4096));
    g_assert_true(answers(VV_OBJECT_SEEK, 0, INT64_MAX, 0));
    g_assert_false(answers(VV_OBJECT_SEEK, 0, UINT64_MAX, 0));
    g_assert_false(answers(VV_OBJECT_SEEK, -ENXIO, 1, 0));
    g_assert_true(answers(VV_OBJECT_FLUSH, 0, 0, 0));
    g_assert_false(answers(VV_OBJECT_FLUSH, 0, 1, 0));
    g_assert_false(answers(VV_OBJECT_OPEN, 0, 1, 0));
    g_assert_false(answers(VV_OBJECT_ZERO, 0, 4096, 0));
    g_assert_false(answers(VV_OBJECT_FLUSH, 0, 0, 1));
    vv_object_answer_encode(&answer, raw);
    g_assert_false(vv_object_answer_decode(raw, sizeof raw, 0, &ask, &answer, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/object/bytes", test_bytes);
    g_test_add_func("/cluster/object/asks", test_asks);
    g_test_add_func("/cluster/object/form", test_form);
    g_test_add_func("/cluster/object/results", test_results);
    g_test_add_func("/cluster/object/answers", test_answers);
    return g_test_run();
}
