/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "codec.h"

static void test_byte_order(void)
{
    static const uint8_t little[] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 };
    static const uint8_t big[] = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88 };
    uint8_t raw[8];

    vv_put_u64(raw, UINT64_C(0x1122334455667788));
    g_assert_cmpmem(raw, 8, little, 8);
    g_assert_cmphex(vv_get_u64(raw), ==, UINT64_C(0x1122334455667788));
    vv_put_be64(raw, UINT64_C(0x1122334455667788));
    g_assert_cmpmem(raw, 8, big, 8);
    g_assert_cmphex(vv_get_be64(raw), ==, UINT64_C(0x1122334455667788));
    vv_put_u32(raw, 0x55667788);
    g_assert_cmpmem(raw, 4, little, 4);
    g_assert_cmphex(vv_get_u32(raw), ==, 0x55667788);
    vv_put_u16(raw, 0x7788);
    g_assert_cmpmem(raw, 2, little, 2);
    g_assert_cmphex(vv_get_u16(raw), ==, 0x7788);
}

static void test_round_trip(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree char *text = NULL;
    g_autofree char *empty = NULL;
    g_autofree char *null = NULL;
    VvReader in;

    vv_write_u8(out, 0xfe);
    vv_write_u16(out, 0xfedc);
    vv_write_u32(out, 0xfedcba98);
    vv_write_u64(out, UINT64_C(0xfedcba9876543210));
    vv_write_string(out, "snapshot");
    vv_write_string(out, "");
    vv_write_string(out, NULL);
    vv_write_bytes(out, NULL, 0);
    vv_write_bytes(out, "xyz", 3);
    g_assert_cmpuint(out->len, ==, 1 + 2 + 4 + 8 + 2 + 8 + 2 + 2 + 3);

    in = vv_reader(out->data, out->len);
    g_assert_cmphex(vv_read_u8(&in), ==, 0xfe);
    g_assert_cmphex(vv_read_u16(&in), ==, 0xfedc);
    g_assert_cmphex(vv_read_u32(&in), ==, 0xfedcba98);
    g_assert_cmphex(vv_read_u64(&in), ==, UINT64_C(0xfedcba9876543210));
    text = vv_read_string(&in, 8);
    empty = vv_read_string(&in, 0);
    null = vv_read_string(&in, 100);
    g_assert_cmpstr(text, ==, "snapshot");
    g_assert_cmpstr(empty, ==, "");
    g_assert_cmpstr(null, ==, "");
    g_assert_cmpuint(vv_reader_left(&in), ==, 3);
    g_assert_cmpmem(vv_read_bytes(&in, 3), 3, "xyz", 3);
    g_assert_cmpuint(vv_reader_left(&in), ==, 0);
    g_assert_nonnull(vv_read_bytes(&in, 0));
    g_assert_false(in.bad);
}

/* Every length that is too short sets bad, and nothing is read after that although bytes are left. */
static void test_past_the_end(void)
{
    static const uint8_t raw[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

    for (size_t length_bytes = 0; length_bytes < 8; length_bytes++) {
        VvReader in = vv_reader(raw, length_bytes);

        g_assert_cmpuint(vv_read_u64(&in), ==, 0);
        g_assert_true(in.bad);
        g_assert_cmpuint(vv_read_u8(&in), ==, 0);
        g_assert_cmpuint(vv_read_u16(&in), ==, 0);
        g_assert_cmpuint(vv_read_u32(&in), ==, 0);
        g_assert_null(vv_read_bytes(&in, 0));
        g_assert_null(vv_read_string(&in, 100));
        g_assert_cmpuint(vv_reader_left(&in), ==, 0);
    }
}

static void test_huge_length(void)
{
    static const uint8_t raw[4] = { 1, 2, 3, 4 };
    VvReader in = vv_reader(raw, sizeof raw);

    vv_read_u8(&in);
    g_assert_null(vv_read_bytes(&in, SIZE_MAX));
    g_assert_true(in.bad);
}

static void test_empty_span(void)
{
    VvReader in = vv_reader(NULL, 0);

    g_assert_nonnull(vv_read_bytes(&in, 0));
    g_assert_false(in.bad);
    g_assert_cmpuint(vv_read_u8(&in), ==, 0);
    g_assert_true(in.bad);
}

static void assert_bad_string(const char *raw, size_t length_bytes, size_t max_bytes)
{
    VvReader in = vv_reader(raw, length_bytes);

    g_assert_null(vv_read_string(&in, max_bytes));
    g_assert_true(in.bad);
}

static void test_bad_strings(void)
{
    assert_bad_string("\5\0abcd", 6, 100);  /* shorter than it says */
    assert_bad_string("\4\0abcd", 6, 3);    /* longer than allowed */
    assert_bad_string("\4\0ab\0d", 6, 100); /* holds a NUL */
    assert_bad_string("\4", 1, 100);        /* no room for the length */
}

static void test_longest_string(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree char *text = g_strnfill(UINT16_MAX, 'x');
    g_autofree char *back = NULL;
    VvReader in;

    vv_write_string(out, text);
    in = vv_reader(out->data, out->len);
    back = vv_read_string(&in, SIZE_MAX);
    g_assert_cmpstr(back, ==, text);
}

static void test_string_too_long(void)
{
    if (g_test_subprocess()) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        g_autofree char *text = g_strnfill((gsize) UINT16_MAX + 1, 'x');

        vv_write_string(out, text);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*length_bytes <= UINT16_MAX*");
}

/* The vectors of RFC 3720, appendix B.4, and the usual check value. */
static void test_crc32c(void)
{
    uint8_t raw[32];
    uint32_t crc;

    g_assert_cmphex(vv_crc32c(0, "123456789", 9), ==, 0xe3069283);
    g_assert_cmphex(vv_crc32c(0, NULL, 0), ==, 0);
    memset(raw, 0, sizeof raw);
    g_assert_cmphex(vv_crc32c(0, raw, sizeof raw), ==, 0x8a9136aa);
    memset(raw, 0xff, sizeof raw);
    g_assert_cmphex(vv_crc32c(0, raw, sizeof raw), ==, 0x62a8ab43);
    for (uint8_t i = 0; i < sizeof raw; i++)
        raw[i] = i;
    g_assert_cmphex(vv_crc32c(0, raw, sizeof raw), ==, 0x46dd794e);
    for (size_t cut = 0; cut <= sizeof raw; cut++) {
        crc = vv_crc32c(0, raw, cut);
        g_assert_cmphex(vv_crc32c(crc, raw + cut, sizeof raw - cut), ==, 0x46dd794e);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/codec/byte-order", test_byte_order);
    g_test_add_func("/base/codec/round-trip", test_round_trip);
    g_test_add_func("/base/codec/past-the-end", test_past_the_end);
    g_test_add_func("/base/codec/huge-length", test_huge_length);
    g_test_add_func("/base/codec/empty-span", test_empty_span);
    g_test_add_func("/base/codec/bad-strings", test_bad_strings);
    g_test_add_func("/base/codec/longest-string", test_longest_string);
    g_test_add_func("/base/codec/string-too-long", test_string_too_long);
    g_test_add_func("/base/codec/crc32c", test_crc32c);
    return g_test_run();
}
