/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The label's codec: the bytes are those of the table, and damage is never taken for a label. */
#include "codec.h"
#include "disk.h"

#include <errno.h>
#include <string.h>

static VvLabel example(void)
{
    VvLabel label = {
        .disk_id = 0x0102030405060708u,
        .size_bytes = (uint64_t) 64 << 20,
        .created_ns = 0x1112131415161718u,
        .pool_name = "tank",
        .disk_name = "sdb+1.x",
    };
    for (unsigned i = 0; i < 16; i++) {
        label.pool_uuid.bytes[i] = (uint8_t) (0x40 + i);
        label.disk_uuid.bytes[i] = (uint8_t) (0x80 + i);
    }
    return label;
}

/* A checksum that fits what stands there now. */
static void seal(uint8_t *bytes)
{
    vv_put_u32(bytes + 8, vv_crc32c(0, bytes + 12, VV_BLOCK_BYTES - 12));
}

static void test_round_trip(void)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label = example(), read;
    memset(&read, 0xff, sizeof read);
    vv_label_encode(&label, bytes);
    g_assert_cmpint(vv_label_decode(bytes, &read), ==, 0);
    g_assert_true(vv_uuid_equal(&read.pool_uuid, &label.pool_uuid));
    g_assert_true(vv_uuid_equal(&read.disk_uuid, &label.disk_uuid));
    g_assert_cmpuint(read.disk_id, ==, label.disk_id);
    g_assert_cmpuint(read.size_bytes, ==, label.size_bytes);
    g_assert_cmpuint(read.created_ns, ==, label.created_ns);
    g_assert_cmpstr(read.pool_name, ==, label.pool_name);
    g_assert_cmpstr(read.disk_name, ==, label.disk_name);
}

static void test_longest_names(void)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label = example(), read;
    memset(label.pool_name, 'p', VV_NAME_BYTES_MAX);
    memset(label.disk_name, 'd', VV_NAME_BYTES_MAX);
    vv_label_encode(&label, bytes);
    g_assert_cmpint(vv_label_decode(bytes, &read), ==, 0);
    g_assert_cmpstr(read.pool_name, ==, label.pool_name);
    g_assert_cmpstr(read.disk_name, ==, label.disk_name);
}

static void test_bytes_are_the_table(void)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label = example();
    vv_label_encode(&label, bytes);
    g_assert_cmpmem(bytes, 8, "VVFSDISK", 8);
    g_assert_cmphex(vv_get_u32(bytes + 8), ==, vv_crc32c(0, bytes + 12, VV_BLOCK_BYTES - 12));
    g_assert_cmpuint(vv_get_u32(bytes + 12), ==, 1);
    g_assert_cmpuint(vv_get_u64(bytes + 16), ==, 0);
    g_assert_cmpmem(bytes + 24, 16, label.pool_uuid.bytes, 16);
    g_assert_cmpmem(bytes + 40, 16, label.disk_uuid.bytes, 16);
    g_assert_cmpmem(bytes + 56, 8, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    g_assert_cmpuint(vv_get_u64(bytes + 64), ==, label.size_bytes);
    g_assert_cmpuint(vv_get_u64(bytes + 72), ==, label.created_ns);
    g_assert_cmpmem(bytes + 80, 6, "\x04tank", 6);
    g_assert_cmpmem(bytes + 209, 9, "\x07sdb+1.x", 9);
    for (size_t i = 338; i < VV_BLOCK_BYTES; i++)
        g_assert_cmpuint(bytes[i], ==, 0);
}

static void test_every_flipped_bit(void)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label = example(), untouched, read;
    memset(&untouched, 0x5a, sizeof untouched);
    memset(&read, 0x5a, sizeof read);
    vv_label_encode(&label, bytes);
    for (size_t bit = 0; bit < 8 * VV_BLOCK_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
        g_assert_cmpint(vv_label_decode(bytes, &read), ==, -EUCLEAN);
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
    }
    g_assert_cmpmem(&read, sizeof read, &untouched, sizeof untouched);
    g_assert_cmpint(vv_label_decode(bytes, &read), ==, 0);
}

static void test_every_byte_replaced(void)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label = example(), read;
    vv_label_encode(&label, bytes);
    for (size_t i = 0; i < VV_BLOCK_BYTES; i++) {
        uint8_t was = bytes[i];
        bytes[i] = (uint8_t) g_test_rand_int();
        int rc = vv_label_decode(bytes, &read);
        g_assert_true(bytes[i] == was ? rc == 0 : rc == -EUCLEAN);
        bytes[i] = was;
    }
}

static void test_not_a_label(void)
{
    uint8_t bytes[VV_BLOCK_BYTES] = { 0 };
    VvLabel read;
    g_assert_cmpint(vv_label_decode(bytes, &read), ==, -ENODATA);
    for (unsigned n = 0; n < 1000; n++) {
        for (size_t i = 0; i < VV_BLOCK_BYTES; i++)
            bytes[i] = (uint8_t) g_test_rand_int();
        g_assert_cmpint(vv_label_decode(bytes, &read), ==, -ENODATA);
    }
}

static void test_newer_format(void)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label = example(), read;
    vv_label_encode(&label, bytes);
    vv_put_u32(bytes + 12, 2);
    seal(bytes);
    g_assert_cmpint(vv_label_decode(bytes, &read), ==, -EOPNOTSUPP);
    vv_label_encode(&label, bytes);
    vv_put_u64(bytes + 16, (uint64_t) 1 << 63);
    seal(bytes);
    g_assert_cmpint(vv_label_decode(bytes, &read), ==, -EOPNOTSUPP);
}

/* What no encoder writes is refused even if the checksum fits. */
static void test_fields_out_of_range(void)
{
    static const struct {
        size_t at;
        const char *bytes;
        size_t length;
    } bad[] = {
        { 80, "\x00", 1 },
        { 80, "\x81", 1 },
        { 80, "\xff", 1 },
        { 80, "\x05", 1 },
        { 81, "a/nk", 4 },
        { 81, "-ank", 4 },
        { 209, "\x00", 1 },
        { 209, "\x81", 1 },
        { 210, "sd\0", 3 },
        { 210, "\xff\xfe", 2 },
        { 12, "\0\0\0", 4 },
        { 64, "\0\0\0\0\0\0\0", 8 },
        { 64, "\0\0\0\0\0\0\0\x80", 8 },
        { 64, "\xff\xff\xff\0\0\0\0", 8 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint8_t bytes[VV_BLOCK_BYTES];
        VvLabel label = example(), read;
        vv_label_encode(&label, bytes);
        memcpy(bytes + bad[i].at, bad[i].bytes, bad[i].length);
        seal(bytes);
        g_assert_cmpint(vv_label_decode(bytes, &read), ==, -EUCLEAN);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/label/round-trip", test_round_trip);
    g_test_add_func("/label/longest-names", test_longest_names);
    g_test_add_func("/label/bytes-are-the-table", test_bytes_are_the_table);
    g_test_add_func("/label/every-flipped-bit", test_every_flipped_bit);
    g_test_add_func("/label/every-byte-replaced", test_every_byte_replaced);
    g_test_add_func("/label/not-a-label", test_not_a_label);
    g_test_add_func("/label/newer-format", test_newer_format);
    g_test_add_func("/label/fields-out-of-range", test_fields_out_of_range);
    return g_test_run();
}
