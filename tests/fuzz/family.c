/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record of a family and the body of an entry, of any bytes. The checksum of the record is made right, else nothing would
 * get past it. What is taken keeps the promises of the headers and is written as it was read. */
#include "codec.h"
#include "meta_private.h"

#define FAMILY 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes);

static void check_set(const VvDiskSet *disks)
{
    if (disks == NULL)
        return;
    g_assert_true(disks->count >= 1 && disks->count <= VV_FAMILY_DISKS_MAX);
    for (unsigned i = 1; i < disks->count; i++)
        g_assert_cmpuint(disks->ids[i - 1], <, disks->ids[i]);
}

/* @data follows the header. */
static void try_family(const uint8_t *data, size_t length_bytes)
{
    VvFamily none = { .id = FAMILY };
    g_autoptr(GByteArray) record = g_byte_array_new(), again = g_byte_array_new();
    vvm_family_encode(&none, record);
    g_byte_array_set_size(record, 16);
    g_byte_array_append(record, data, (guint) length_bytes);
    vv_put_u32(record->data + 4, vv_crc32c(vv_crc32c(0, record->data, 4), record->data + 8, record->len - 8));
    VvFamily *family = vvm_family_decode(FAMILY, record->data, record->len);
    if (family == NULL)
        return;
    check_set(family->disks);
    vvm_family_encode(family, again);
    VvFamily *back = vvm_family_decode(FAMILY, again->data, again->len); /* without what was skipped */
    g_assert_nonnull(back);
    g_assert_cmpuint(back->next_segment, ==, family->next_segment);
    g_assert_true(vv_disk_set_equal(back->disks, family->disks));
    g_free(back->disks);
    g_free(back);
    g_free(family->disks);
    g_free(family);
}

static void try_entry(const uint8_t *data, size_t length_bytes)
{
    g_autoptr(GArray) ops = NULL;
    if (vv_ops_decode(data, length_bytes, &ops) != 0)
        return;
    for (guint i = 0; i < ops->len; i++)
        if (vv_ops_get(ops, i)->kind == VV_OP_LUN_CREATE)
            check_set(vv_ops_get(ops, i)->lun_create.disks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    if (length_bytes > VV_ENTRY_BYTES_MAX)
        return 0;
    try_family(data, length_bytes);
    try_entry(data, length_bytes);
    return 0;
}
