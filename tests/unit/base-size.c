/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "error.h"
#include "limits.h"
#include "util.h"

#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)
#define TIB (GIB * KIB)
#define PIB (TIB * KIB)
#define EIB (PIB * KIB)

static void test_good(void)
{
    static const struct {
        const char *text;
        uint64_t multiple_bytes;
        uint64_t bytes;
    } good[] = {
        { "1", 0, 1 },
        { "512", 512, 512 },
        { "0000512", 512, 512 },
        { "512.0", 512, 512 },
        { "1K", 512, KIB },
        { "1k", 512, KIB },
        { "1KiB", 512, KIB },
        { "3M", 512, 3 * MIB },
        { "3MiB", 512, 3 * MIB },
        { "10G", 512, 10 * GIB },
        { "10g", 512, 10 * GIB },
        { "40GiB", 4096, 40 * GIB },
        { "2T", 512, 2 * TIB },
        { "2TiB", 512, 2 * TIB },
        { "5P", 512, 5 * PIB },
        { "7E", 512, 7 * EIB },
        { "7EiB", 512, 7 * EIB },
        { "1.5G", 512, GIB + GIB / 2 },
        { "1.50GiB", 512, GIB + GIB / 2 },
        { "0.5K", 512, 512 },
        { "0.5G", 512, GIB / 2 },
        { "1.25M", 512, MIB + MIB / 4 },
        { "9223372036854771712", 512, VV_LUN_BYTES_MAX },
        /* a person's rounding, as the lists print it, goes up to the multiple */
        { "21.4G", 1, UINT64_C(22978075034) },
        { "21.4G", 512, UINT64_C(22978075136) },
        { "0.1M", 4096, 106496 },
        /* with no multiple asked for: the nearest byte */
        { "0.1K", 0, 102 },
        { "1.46K", 0, 1495 },
        { "21.4G", 0, UINT64_C(22978075034) },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 0;

        g_test_message("%s", good[i].text);
        g_assert_true(vv_size_parse(good[i].text, good[i].multiple_bytes, &bytes, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(bytes, ==, good[i].bytes);
    }
}

/* The message, newly allocated. */
static char *refusal(const char *text, uint64_t multiple_bytes)
{
    g_autoptr(GError) error = NULL;
    uint64_t bytes = 4711;

    g_test_message("%s", text);
    g_assert_false(vv_size_parse(text, multiple_bytes, &bytes, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_USAGE);
    g_assert_cmpstr(vv_error_get_object(error), ==, text);
    g_assert_cmpuint(bytes, ==, 4711);
    return g_strdup(error->message);
}

static void assert_refused(const char *text, uint64_t multiple_bytes, const char *reason)
{
    g_autofree char *message = refusal(text, multiple_bytes);

    if (!strstr(message, reason))
        g_error("\"%s\" does not say \"%s\"", message, reason);
}

static void test_nonsense(void)
{
    static const char *const nonsense[] = { "", " ", "abc", "K", "G", ".", ".5G", "1.", "1.G", "1..5G", "1.5.5G",
        "1,5G", "1 G", " 1G", "1G ", "1G\n", "+1G", "0x10", "0X10G", "1e3", "1E3", "nan", "NaN", "inf", "infinity",
        "1KK", "1Ki", "1KIB", "1kib", "1X", "1B", "1iB", "--1", "-", "-K", "1-", "10GBs", "1.0000000000000000001G",
        "1\xc2\xb2" };

    for (size_t i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        assert_refused(nonsense[i], 512, "is not a size");
        assert_refused(nonsense[i], 0, "is not a size");
    }
}

static void test_not_positive(void)
{
    assert_refused("0", 512, "zero");
    assert_refused("0G", 512, "zero");
    assert_refused("0.0K", 512, "zero");
    assert_refused("0", 0, "zero");
    assert_refused("0.0001K", 0, "zero");
    assert_refused("0GB", 512, "zero");
    assert_refused("-1", 512, "negative");
    assert_refused("-10G", 512, "negative");
    assert_refused("-0", 0, "negative");
}

static void test_both_readings(void)
{
    g_autofree char *message = refusal("10GB", 512);

    g_assert_cmpstr(message, ==,
        "size \"10GB\" can be read in two ways: write \"10G\" for 10 GiB = 10737418240 bytes, "
        "or \"10000000000\" for 10 GB = 10000000000 bytes");
    assert_refused("10gb", 512, "10737418240");
    assert_refused("10Gb", 0, "10000000000");
    assert_refused("1.5GB", 512, "1610612736");
    assert_refused("1.5GB", 512, "1500000000");
    assert_refused("1KB", 512, "1000");
    assert_refused("1MB", 512, "1048576");
    assert_refused("2TB", 512, "2000000000000");
    assert_refused("2PB", 512, "2000000000000000");
    assert_refused("2EB", 512, "2000000000000000000");
    assert_refused("9EB", 512, "too large");
}

static void test_too_large(void)
{
    static const char *const huge[] = { "8E", "8EiB", "9223372036854771713", "9223372036854775807",
        "9223372036854775808", "18446744073709551615", "18446744073709551616",
        "99999999999999999999999999999999999999999999", "16E", "9000P", "99999999999999999999E", "8.5E" };

    for (size_t i = 0; i < G_N_ELEMENTS(huge); i++) {
        assert_refused(huge[i], 512, "too large: at most 9223372036854771712 bytes");
        assert_refused(huge[i], 0, "too large");
    }
}

static void test_multiple(void)
{
    assert_refused("1000", 512, "is 1000 bytes, not a multiple of 512: 512 or 1024 would do");
    assert_refused("1", 512, "is 1 bytes, not a multiple of 512: 512 would do");
    assert_refused("0.1K", 512, "is 102.4 bytes, not a multiple of 512: 512 would do");
    assert_refused("1.3K", 512, "is 1331.2 bytes, not a multiple of 512: 1024 or 1536 would do");
    assert_refused("512.5", 512, "not a multiple");
    assert_refused("512.01", 512, "not a multiple");
    assert_refused("1K", 4096, "not a multiple of 4096: 4096 would do");
}

static void test_format(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } expected[] = {
        { 0, "0" },
        { 1, "1" },
        { 512, "512" },
        { 1000, "1000" },
        { 1023, "1023" },
        { 1024, "1K" },
        { 1025, "1K" },
        { 1536, "1.5K" },
        { 1495, "1.46K" },
        { 10234, "9.99K" },
        { 10235, "10K" },
        { 102348, "99.9K" },
        { 102349, "100K" },
        { 612 * MIB, "612M" },
        { 1000 * MIB, "1000M" },
        { 1023 * MIB, "1023M" },
        { 1024 * MIB - 1, "1G" },
        { 1024 * MIB - MIB / 2, "1G" },
        { 1024 * MIB - MIB / 2 - 1, "1023M" },
        { 40 * GIB, "40G" },
        { UINT64_C(22978075033), "21.4G" },
        { 16 * GIB, "16G" },
        { TIB, "1T" },
        { PIB + PIB / 4, "1.25P" },
        { 7 * EIB, "7E" },
        { UINT64_MAX, "16E" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *text = vv_size_format(expected[i].bytes);

        g_assert_cmpstr(text, ==, expected[i].text);
    }
}

/* What is printed is valid input, means the same within its three digits, and prints the same again. */
static void test_format_is_input(void)
{
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t bytes =
            ((uint64_t) g_test_rand_int() << 32 | (uint32_t) g_test_rand_int()) >> g_test_rand_int_range(1, 55);
        g_autofree char *text = NULL;
        g_autofree char *again = NULL;
        g_autoptr(GError) error = NULL;
        uint64_t exact;
        uint64_t back;

        bytes = MAX(bytes - bytes % VV_SECTOR_BYTES, VV_SECTOR_BYTES);
        if (bytes > VV_LUN_BYTES_MAX / 1000 * 995) /* "8E" is more than the maximum */
            continue;
        text = vv_size_format(bytes);
        g_assert_cmpuint(strlen(text), <=, 5);
        g_assert_true(vv_size_parse(text, VV_SECTOR_BYTES, &back, &error));
        g_assert_no_error(error);
        again = vv_size_format(back);
        g_assert_cmpstr(again, ==, text);
        g_assert_true(vv_size_parse(text, 0, &exact, &error));
        g_assert_cmpuint(MAX(exact, bytes) - MIN(exact, bytes), <=, bytes / 190);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/size/good", test_good);
    g_test_add_func("/base/size/nonsense", test_nonsense);
    g_test_add_func("/base/size/not-positive", test_not_positive);
    g_test_add_func("/base/size/both-readings", test_both_readings);
    g_test_add_func("/base/size/too-large", test_too_large);
    g_test_add_func("/base/size/multiple", test_multiple);
    g_test_add_func("/base/size/format", test_format);
    g_test_add_func("/base/size/format-is-input", test_format_is_input);
    return g_test_run();
}
