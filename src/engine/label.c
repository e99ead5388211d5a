/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The label of a disk: whose it is. Two copies, at 0 and at 512 KiB of the label area; little-endian.
 *
 *   offset  size  field
 *        0     8  magic "VVFSDISK"
 *        8     4  crc32c of bytes 12 to 4095
 *       12     4  version, 1
 *       16     8  features that a reader must know; none yet
 *       24    16  UUID of the pool
 *       40    16  UUID of the disk
 *       56     8  number of the disk in its pool
 *       64     8  size of the whole disk in bytes
 *       72     8  made at, Unix nanoseconds
 *       80     1  length of the pool's name
 *       81   128  the pool's name, padded with zeroes
 *      209     1  length of the disk's name
 *      210   128  the disk's name, padded with zeroes
 *      338     8  incarnation of the pool that served the disk last; 0: none (serving.c)
 *      346  3750  zeroes; a reader of version 1 ignores them
 *
 * L1  The checksum stands at the same place in every version, so that a newer label and a damaged one can be told apart.
 * L2  The checksum leaves the magic out: a label whose magic has a flipped bit is known as a damaged label. */
#include "codec.h"
#include "disk_private.h"

#include <errno.h>

#define LABEL_MAGIC "VVFSDISK"
#define LABEL_VERSION 1u

enum {
    AT_MAGIC = 0,
    AT_CRC = 8,
    AT_VERSION = 12,
    AT_FEATURES = 16,
    AT_POOL_UUID = 24,
    AT_DISK_UUID = 40,
    AT_DISK_ID = 56,
    AT_SIZE = 64,
    AT_CREATED = 72,
    AT_POOL_NAME = 80,
    AT_DISK_NAME = 209,
    AT_INCARNATION = 338,
    AT_END = 346,
};
_Static_assert(AT_POOL_NAME + 1 + VV_NAME_BYTES_MAX == AT_DISK_NAME, "pool name");
_Static_assert(AT_DISK_NAME + 1 + VV_NAME_BYTES_MAX == AT_INCARNATION, "disk name");
_Static_assert(AT_END <= VV_BLOCK_BYTES, "the label is one block");
_Static_assert(sizeof(VvUuid) == 16, "UUID");

static void put_name(uint8_t *p, const char *name)
{
    size_t length = strlen(name);
    g_assert(length <= VV_NAME_BYTES_MAX);
    p[0] = (uint8_t) length;
    memcpy(p + 1, name, length);
}

/* @ret_name holds VV_NAME_BYTES_MAX + 1 bytes. */
static bool get_name(const uint8_t *p, char *ret_name)
{
    size_t length = p[0];
    if (length > VV_NAME_BYTES_MAX)
        return false;
    char name[VV_NAME_BYTES_MAX + 1] = "";
    memcpy(name, p + 1, length);
    if (strlen(name) != length || !vv_name_check(name, "label", NULL))
        return false;
    memcpy(ret_name, name, sizeof name);
    return true;
}

void vv_label_encode(const VvLabel *label, uint8_t *bytes)
{
    memset(bytes, 0, VV_BLOCK_BYTES);
    memcpy(bytes + AT_MAGIC, LABEL_MAGIC, 8);
    vv_put_u32(bytes + AT_VERSION, LABEL_VERSION);
    vv_put_u64(bytes + AT_FEATURES, 0);
    memcpy(bytes + AT_POOL_UUID, label->pool_uuid.bytes, 16);
    memcpy(bytes + AT_DISK_UUID, label->disk_uuid.bytes, 16);
    vv_put_u64(bytes + AT_DISK_ID, label->disk_id);
    vv_put_u64(bytes + AT_SIZE, label->size_bytes);
    vv_put_u64(bytes + AT_CREATED, label->created_ns);
    put_name(bytes + AT_POOL_NAME, label->pool_name);
    put_name(bytes + AT_DISK_NAME, label->disk_name);
    vv_put_u64(bytes + AT_INCARNATION, label->incarnation);
    vv_put_u32(bytes + AT_CRC, vv_crc32c(0, bytes + AT_VERSION, VV_BLOCK_BYTES - AT_VERSION));
}

/* Beside the label, of a disk without locks, and never read but to see whether it changes:
 *
 *   offset  size  field
 *        0     8  magic "VVFSBEAT"
 *        8    16  UUID of the disk
 *       24     8  a number that rises
 *       32  4064  zeroes */
void vv_beat_encode(const VvUuid *disk_uuid, uint64_t count, uint8_t *bytes)
{
    memset(bytes, 0, VV_BLOCK_BYTES);
    memcpy(bytes, "VVFSBEAT", 8);
    memcpy(bytes + 8, disk_uuid->bytes, 16);
    vv_put_u64(bytes + 24, count);
}

int vv_label_decode(const uint8_t *bytes, VvLabel *ret_label)
{
    bool has_magic = memcmp(bytes + AT_MAGIC, LABEL_MAGIC, 8) == 0;
    uint32_t version = vv_get_u32(bytes + AT_VERSION);
    bool sound = vv_get_u32(bytes + AT_CRC) == vv_crc32c(0, bytes + AT_VERSION, VV_BLOCK_BYTES - AT_VERSION);

    if (!has_magic)
        return sound && version != 0 ? -EUCLEAN : -ENODATA; /* L2; a block of zeroes is no label */
    if (!sound || version == 0)
        return -EUCLEAN;
    if (version != LABEL_VERSION || vv_get_u64(bytes + AT_FEATURES) != 0)
        return -EOPNOTSUPP;

    VvLabel label = { 0 };
    memcpy(label.pool_uuid.bytes, bytes + AT_POOL_UUID, 16);
    memcpy(label.disk_uuid.bytes, bytes + AT_DISK_UUID, 16);
    label.disk_id = vv_get_u64(bytes + AT_DISK_ID);
    label.size_bytes = vv_get_u64(bytes + AT_SIZE);
    label.created_ns = vv_get_u64(bytes + AT_CREATED);
    label.incarnation = vv_get_u64(bytes + AT_INCARNATION);
    if (!get_name(bytes + AT_POOL_NAME, label.pool_name) || !get_name(bytes + AT_DISK_NAME, label.disk_name))
        return -EUCLEAN;
    if (label.size_bytes < VV_DISK_BYTES_MIN || label.size_bytes > INT64_MAX)
        return -EUCLEAN;
    *ret_label = label;
    return 0;
}
