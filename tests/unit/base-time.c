/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util.h"

#include <string.h>
#include <time.h>

#define NS UINT64_C(1000000000)

static void test_utc(void)
{
    static const struct {
        uint64_t ns;
        const char *utc;
        const char *compact;
    } expected[] = {
        { 0, "1970-01-01T00:00:00.000000000Z", "19700101T000000Z" },
        { 1, "1970-01-01T00:00:00.000000001Z", "19700101T000000Z" },
        { UINT64_C(1793588820) * NS, "2026-11-02T03:07:00.000000000Z", "20261102T030700Z" },
        { UINT64_C(951827696) * NS + 123456789, "2000-02-29T12:34:56.123456789Z", "20000229T123456Z" },
        { UINT64_MAX, "2554-07-21T23:34:33.709551615Z", "25540721T233433Z" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *utc = vv_time_format_utc(expected[i].ns);
        g_autofree char *compact = vv_time_format_compact(expected[i].ns);

        g_assert_cmpstr(utc, ==, expected[i].utc);
        g_assert_cmpstr(compact, ==, expected[i].compact);
    }
}

static void test_local(void)
{
    g_autofree char *text = NULL;

    g_setenv("TZ", "CET-1", TRUE);
    tzset();
    text = vv_time_format_local(UINT64_C(1793588820) * NS);
    g_assert_cmpstr(text, ==, "2026-11-02 04:07:00");
}

static void test_clocks(void)
{
    uint64_t real_seconds = vv_now_ns() / NS;
    uint64_t before_ns = vv_monotonic_ns();
    uint64_t between_ms = vv_monotonic_ms();
    uint64_t after_ns = vv_monotonic_ns();

    g_assert_cmpuint(real_seconds, >=, (uint64_t) time(NULL) - 5);
    g_assert_cmpuint(real_seconds, <=, (uint64_t) time(NULL) + 5);
    g_assert_cmpuint(before_ns, <=, after_ns);
    g_assert_cmpuint(before_ns / 1000000, <=, between_ms);
    g_assert_cmpuint(between_ms, <=, after_ns / 1000000);
}

static void test_uuid_text(void)
{
    static const char text[] = "01234567-89ab-4cde-8f01-23456789abcd";
    VvUuid uuid;
    VvUuid upper;
    g_autofree char *back = NULL;

    g_assert_true(vv_uuid_parse(text, &uuid));
    g_assert_cmphex(uuid.bytes[0], ==, 0x01);
    g_assert_cmphex(uuid.bytes[15], ==, 0xcd);
    back = vv_uuid_format(&uuid);
    g_assert_cmpstr(back, ==, text);
    g_assert_true(vv_uuid_parse("01234567-89AB-4CDE-8F01-23456789ABCD", &upper));
    g_assert_true(vv_uuid_equal(&uuid, &upper));
}

static void test_uuid_bad(void)
{
    static const char *const bad[] = { "", "-", "01234567-89ab-4cde-8f01-23456789abc",
        "01234567-89ab-4cde-8f01-23456789abcde", "0123456789ab4cde8f0123456789abcd",
        "01234567-89ab-4cde-8f01-23456789abcg", "01234567089ab-4cde-8f01-23456789abcd",
        "{1234567-89ab-4cde-8f01-23456789abc}", "01234567-89ab-4cde-8f01 23456789abcd" };
    VvUuid uuid = { { 7 } };
    VvUuid before = uuid;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(vv_uuid_parse(bad[i], &uuid));
        g_assert_true(vv_uuid_equal(&uuid, &before));
    }
}

static void test_uuid_generate(void)
{
    VvUuid first;
    VvUuid second;
    g_autofree char *text = NULL;

    vv_uuid_generate(&first);
    vv_uuid_generate(&second);
    g_assert_false(vv_uuid_equal(&first, &second));
    text = vv_uuid_format(&first);
    g_assert_cmpuint(strlen(text), ==, 36);
    g_assert_cmpint(text[14], ==, '4');
    g_assert_nonnull(strchr("89ab", text[19]));
}

static void test_random_bytes(void)
{
    uint8_t bytes[1024] = { 0 };
    unsigned zeroes = 0;

    vv_random_bytes(bytes, 0);
    vv_random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        zeroes += bytes[i] == 0;
    g_assert_cmpuint(zeroes, <, 64); /* 4 expected */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/time/utc", test_utc);
    g_test_add_func("/base/time/local", test_local);
    g_test_add_func("/base/time/clocks", test_clocks);
    g_test_add_func("/base/uuid/text", test_uuid_text);
    g_test_add_func("/base/uuid/bad", test_uuid_bad);
    g_test_add_func("/base/uuid/generate", test_uuid_generate);
    g_test_add_func("/base/random/bytes", test_random_bytes);
    return g_test_run();
}
