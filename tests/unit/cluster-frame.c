/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers of frames, hellos, goodbyes, addresses. */
#include "address.h"
#include "codec.h"
#include "error.h"
#include "frame.h"
#include "hello.h"

/* ---- frames */
static void test_frame(void)
{
    static const VvFrame frames[] = {
        { .kind = VV_FRAME_PING, .body_bytes = 8 },
        { .kind = VV_FRAME_OWNER + 7, .flags = VV_FRAME_REQUEST, .request = 1, .body_bytes = VV_PEER_BODY_BYTES_MAX },
        { .kind = UINT16_MAX, .flags = VV_FRAME_REPLY, .request = UINT64_MAX, .data_bytes = VV_PEER_DATA_BYTES_MAX },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(frames); i++) {
        g_autoptr(GError) error = NULL;
        uint8_t raw[VV_FRAME_BYTES];
        VvFrame back;

        vv_frame_encode(&frames[i], raw);
        g_assert_true(vv_frame_decode(raw, &back, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(back.kind, ==, frames[i].kind);
        g_assert_cmpuint(back.flags, ==, frames[i].flags);
        g_assert_cmpuint(back.request, ==, frames[i].request);
        g_assert_cmpuint(back.body_bytes, ==, frames[i].body_bytes);
        g_assert_cmpuint(back.data_bytes, ==, frames[i].data_bytes);
    }
}

/* The bytes of version 1, for ever. */
static void test_frame_layout(void)
{
    static const VvFrame frame = { .kind = 0x0102,
        .flags = VV_FRAME_REPLY,
        .request = 0x1112131415161718,
        .body_bytes = 0x00090807,
        .data_bytes = 0x00060504 };
    static const uint8_t bytes[28] = { 'V', 'v', 'P', 'f', 1, 0, 2, 1, 2, 0, 0, 0, 7, 8, 9, 0, //
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 4, 5, 6, 0 };
    uint8_t raw[VV_FRAME_BYTES];

    vv_frame_encode(&frame, raw);
    g_assert_cmpmem(raw, sizeof bytes, bytes, sizeof bytes);
    g_assert_cmphex(vv_get_u32(raw + 28), ==, vv_crc32c(0, bytes, sizeof bytes));
}

static void refused(uint8_t *raw, bool mend, const char *why)
{
    g_autoptr(GError) error = NULL;
    VvFrame back = { .kind = 99 };

    if (mend)
        vv_put_u32(raw + 28, vv_crc32c(0, raw, 28));
    g_assert_false(vv_frame_decode(raw, &back, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    if (why)
        g_assert_nonnull(strstr(error->message, why));
    g_assert_cmpuint(back.kind, ==, 99);
}

static void test_frame_refused(void)
{
    static const struct {
        unsigned at;
        uint8_t value;
        const char *why;
    } cases[] = {
        { 0, 'x', "begin" },
        { 4, 2, "version" },
        { 5, 1, "zero" },
        { 10, 1, "zero" },
        { 6, 0, "kind" },
        { 8, 3, "flags" },
        { 8, 4, "flags" },
        { 8, 0, "request id" },
        { 16, 0, "request id" },
        { 15, 1, "body" },
        { 27, 1, "data" },
        { 26, 0x11, "data" },
    };
    static const VvFrame frame = { .kind = 5, .flags = VV_FRAME_REQUEST, .request = 7, .body_bytes = 9 };
    uint8_t raw[VV_FRAME_BYTES];

    for (unsigned bit = 0; bit < VV_FRAME_BYTES * 8; bit++) {
        vv_frame_encode(&frame, raw);
        raw[bit / 8] ^= (uint8_t) (1u << bit % 8);
        refused(raw, false, NULL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        vv_frame_encode(&frame, raw);
        raw[cases[i].at] = cases[i].value;
        refused(raw, true, cases[i].why);
    }
}

/* ---- hellos */
static VvHello some_hello(void)
{
    VvHello hello = { .version_min = 1,
        .version_max = 3,
        .features_required = 1,
        .features_offered = 5,
        .node = 17,
        .to = 18,
        .instance = 0xabcdef,
        .dial = 9,
        .purpose = VV_PURPOSE_DATA,
        .channel = 2,
        .channels = 4,
        .requests_max = 64,
        .body_max = 4096,
        .data_max = 1 << 20,
        .name = "n1",
        .software = "1.0.0" };

    memset(hello.pool.bytes, 0x77, sizeof hello.pool.bytes);
    return hello;
}

static void test_hello(void)
{
    VvHello hello = some_hello(), back;
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    vv_hello_encode(&hello, out);
    g_assert_cmpuint(vv_get_u64(out->data + 36), ==, 17);
    g_assert_cmpuint(out->data[68], ==, VV_PURPOSE_DATA);
    g_assert_cmpuint(vv_get_u32(out->data + 80), ==, 1 << 20);
    g_assert_true(vv_hello_decode(out->data, out->len, &back, &error));
    g_assert_cmpuint(back.features_offered, ==, 5);
    g_assert_cmpuint(back.dial, ==, 9);
    g_assert_cmpuint(back.channel, ==, 2);
    g_assert_cmpstr(back.name, ==, "n1");
    g_assert_cmpstr(back.software, ==, "1.0.0");
    /* cut anywhere it is none */
    for (guint n = 0; n < out->len; n++)
        g_assert_false(vv_hello_decode(out->data, n, &back, NULL));
    /* a field of a later version is skipped; half of one is not */
    vv_write_u16(out, 4711);
    vv_write_u16(out, 3);
    vv_write_bytes(out, "abc", 3);
    g_assert_true(vv_hello_decode(out->data, out->len, &back, NULL));
    g_assert_false(vv_hello_decode(out->data, out->len - 1, &back, NULL));
}

static void test_hello_refused(void)
{
    static const struct {
        unsigned at;
        uint8_t value;
    } cases[] = { { 0, 0 }, { 0, 4 }, { 4, 2 }, { 68, 3 }, { 68, 1 }, { 69, 0 }, { 69, 99 }, { 70, 0 }, { 70, 99 },
        { 71, 1 }, { 72, 0 }, { 84, 255 }, { 86, 7 } };
    VvHello hello = some_hello(), back;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        g_autoptr(GError) error = NULL;

        vv_hello_encode(&hello, out);
        out->data[cases[i].at] = cases[i].value;
        g_assert_false(vv_hello_decode(out->data, out->len, &back, &error));
        g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    }
}

static void agree_fails(const VvHello *a, const VvHello *b, VvErrorCode code, const char *word)
{
    g_autoptr(GError) error = NULL;
    uint16_t version = 77;
    uint64_t features = 77;

    g_assert_false(vv_hello_agree(a, b, &version, &features, &error));
    g_assert_error(error, VV_ERROR, (int) code);
    g_assert_nonnull(strstr(error->message, word));
    g_assert_cmpuint(version, ==, 77);
}

static void test_agree(void)
{
    VvHello a = some_hello(), b = some_hello();
    uint16_t version;
    uint64_t features;

    b.version_max = 2;
    b.features_offered = 3;
    g_assert_true(vv_hello_agree(&a, &b, &version, &features, NULL));
    g_assert_cmpuint(version, ==, 2);
    g_assert_cmpuint(features, ==, 1);
    b.version_max = b.version_min = 4;
    agree_fails(&a, &b, VV_ERROR_UNSUPPORTED, "speaks 1 to 3");
    agree_fails(&b, &a, VV_ERROR_UNSUPPORTED, "speaks 4 to 4");
    b = some_hello();
    b.features_required = b.features_offered = 1 | (UINT64_C(1) << 40) | (UINT64_C(1) << 41);
    agree_fails(&a, &b, VV_ERROR_UNSUPPORTED, "feature 40, 41");
    agree_fails(&b, &a, VV_ERROR_UNSUPPORTED, "feature 40, 41");
    b = some_hello();
    b.pool.bytes[3] = 1;
    agree_fails(&a, &b, VV_ERROR_DENIED, "another pool");
}

static void test_goodbye(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree char *long_text = g_strnfill(5000, 'x');
    VvGoodbye back;

    vv_goodbye_encode(VV_GOODBYE_TWIN, "two\nof\x1b them", out);
    g_assert_true(vv_goodbye_decode(out->data, out->len, &back, NULL));
    g_assert_cmpuint(back.reason, ==, VV_GOODBYE_TWIN);
    g_assert_cmpstr(back.text, ==, "two?of? them");
    for (guint n = 0; n < out->len; n++)
        g_assert_false(vv_goodbye_decode(out->data, n, &back, NULL));
    g_byte_array_set_size(out, 0);
    vv_goodbye_encode(1, long_text, out);
    g_assert_true(vv_goodbye_decode(out->data, out->len, &back, NULL));
    g_assert_cmpuint(strlen(back.text), ==, VV_REASON_BYTES_MAX);
    vv_write_u8(out, 0);
    g_assert_false(vv_goodbye_decode(out->data, out->len, &back, NULL));
}

/* ---- addresses */
static void test_address(void)
{
    static const char *const good[][2] = {
        { "10.0.0.1", "10.0.0.1:7333" },
        { "10.0.0.1:1", "10.0.0.1:1" },
        { "[fd00::1]", "[fd00::1]:7333" },
        { "fd00::1", "[fd00::1]:7333" },
        { "[fd00:0:0::1]:65535", "[fd00::1]:65535" },
        { "::1", "[::1]:7333" },
    };
    static const char *const bad[] = { "", ":", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:07",
        "10.0.0.1:-1", "10.1", "0x7f.1", "n1", "n1:7333", "[::1", "[::1]7333", "[::1]:", "::1::2", "10.0.0.1:7333:1",
        "[10.0.0.1]x", " 10.0.0.1", "0123456789012345678901234567890123456789012345678901234567890123456789" };
    VvAddress a, b;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_true(vv_address_parse(good[i][0], false, &a, NULL));
        g_assert_cmpstr(a.text, ==, good[i][1]);
        g_assert_true(vv_address_parse(a.text, false, &b, NULL));
        g_assert_cmpstr(b.text, ==, a.text);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(vv_address_parse(bad[i], false, &a, &error));
        g_assert_error(error, VV_ERROR, VV_ERROR_USAGE);
    }
    g_assert_true(vv_address_parse("10.0.0.1:0", true, &a, NULL));
    g_assert_true(vv_address_parse("10.0.0.1:9", true, &b, NULL));
    g_assert_true(vv_address_same_host(&a, &b));
    g_assert_cmpuint(vv_address_port(&b), ==, 9);
    g_assert_true(vv_address_parse("::1", true, &b, NULL));
    g_assert_false(vv_address_same_host(&a, &b));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/frame/round-trip", test_frame);
    g_test_add_func("/cluster/frame/layout", test_frame_layout);
    g_test_add_func("/cluster/frame/refused", test_frame_refused);
    g_test_add_func("/cluster/hello/round-trip", test_hello);
    g_test_add_func("/cluster/hello/refused", test_hello_refused);
    g_test_add_func("/cluster/hello/agree", test_agree);
    g_test_add_func("/cluster/goodbye", test_goodbye);
    g_test_add_func("/cluster/address", test_address);
    return g_test_run();
}
