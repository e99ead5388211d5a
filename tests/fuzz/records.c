/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of each table, bodies of nodes, invites and shares, pieces of free bitmaps and labels of disks, of any bytes (families: family.c). The first byte chooses.
 * What is taken is written again as a record that is taken and written the same. */
#include "codec.h"
#include "disk_private.h"
#include "fuzz.h"
#include "member_table.h"
#include "members.h"
#include "meta_private.h"
#include "sharing.h"

#define ID 7u
#define MEMBER_KIND 1u
#define NODE_BODY 100u   /* first bytes of the bodies in table member */
#define INVITE_BODY 101u
#define SHARE_BODY 102u

static GByteArray *record_of(VvTable table, uint64_t id, const uint8_t *data, size_t length_bytes)
{
    GByteArray *record = g_byte_array_new();
    vv_write_u8(record, (uint8_t) table);
    vv_write_u8(record, 1);
    vv_write_u16(record, 0);
    vv_write_u32(record, 0);
    vv_write_u64(record, id);
    g_byte_array_append(record, data, (guint) length_bytes);
    vv_put_u32(record->data + 4, vv_crc32c(vv_crc32c(0, record->data, 4), record->data + 8, record->len - 8));
    return record;
}

static VvMeta *meta_for_pool(void)
{
    VvMeta *meta = g_new0(VvMeta, 1);
    vvm_catalog_init(meta);
    return meta;
}

static void meta_free(VvMeta *meta)
{
    vvm_catalog_clear(meta);
    g_free(meta);
}

/* What a record says, written again; NULL: it is refused. Objects are let go by a catalog that held them. */
static GByteArray *again(VvTable table, const GByteArray *record)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    VvMeta *meta = meta_for_pool();
    bool good = false;
    switch (table) {
    case VV_TABLE_POOL:
        if ((good = vvm_pool_decode(meta, record->data, record->len)))
            vvm_pool_encode(meta, out);
        break;
#define TRY(TABLE, Type, decoded, encode, add)      \
    case TABLE: {                                   \
        Type *object = decoded;                     \
        if ((good = object != NULL)) {              \
            encode(object, out);                    \
            add;                                    \
        }                                           \
        break;                                      \
    }
        TRY(VV_TABLE_DISK, VvDiskInfo, vvm_disk_decode(ID, record->data, record->len), vvm_disk_encode, vvm_disk_add(meta, object))
        TRY(VV_TABLE_SEGMENT, VvSegment, vvm_segment_decode(ID, 3, record->data, record->len), vvm_segment_encode, g_free(object))
        TRY(VV_TABLE_BRANCH, VvBranch, vvm_branch_decode(ID, record->data, record->len), vvm_branch_encode, g_free(object))
        TRY(VV_TABLE_JOB, VvJob, vvm_job_decode(ID, record->data, record->len), vvm_job_encode, g_free(object))
        TRY(VV_TABLE_REQUEST, VvRequestRecord, vvm_request_decode(record->data, record->len), vvm_request_encode,
            vvm_request_add(meta, object))
    case VV_TABLE_LUN: {
        VvLun *lun = vvm_lun_decode(ID, record->data, record->len);
        if ((good = lun != NULL)) {
            vvm_lun_encode(lun, out);
            g_free(lun->name);
            g_free(lun->origin);
            g_free(lun);
        }
        break;
    }
    case VV_TABLE_SNAPSHOT: {
        VvSnapshot *snapshot = vvm_snapshot_decode(ID, record->data, record->len);
        if ((good = snapshot != NULL)) {
            vvm_snapshot_encode(snapshot, out);
            g_clear_pointer(&snapshot->kids, g_array_unref);
            g_free(snapshot->name);
            g_free(snapshot->note);
            g_free(snapshot);
        }
        break;
    }
    case VV_TABLE_MEMBER: {
        VvMemberRecord *member = vvm_member_decode(MEMBER_KIND, ID, record->data, record->len);
        if ((good = member != NULL))
            vvm_member_encode(member, out);
        g_free(member);
        break;
    }
    default:
        break;
    }
    meta_free(meta);
    return good ? g_steal_pointer(&out) : NULL;
}

static void try_record(VvTable table, const uint8_t *data, size_t length_bytes)
{
    uint64_t id = table == VV_TABLE_POOL ? 0 : table == VV_TABLE_REQUEST && length_bytes >= 8 ? vv_get_u64(data) : ID;
    g_autoptr(GByteArray) record = record_of(table, id, data, length_bytes), second = again(table, record), third = NULL;
    if (second == NULL)
        return;
    third = again(table, second);
    g_assert_nonnull(third);
    fuzz_assert_same(second->data, second->len, third->data, third->len);
}

static void try_piece(const uint8_t *data, size_t length_bytes)
{
    VvPiece piece = { .family = 1, .segment = 2, .piece = 3 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (!vvm_piece_decode(&piece, data, length_bytes))
        return;
    vvm_piece_encode(&piece, out);
    fuzz_assert_same(out->data, out->len, data, length_bytes);
}

static void try_label(const uint8_t *data, size_t length_bytes)
{
    uint8_t bytes[VV_BLOCK_BYTES] = "VVFSDISK", second[VV_BLOCK_BYTES];
    VvLabel label, back;
    memcpy(bytes + 12, data, MIN(length_bytes, VV_BLOCK_BYTES - 12));
    vv_put_u32(bytes + 8, vv_crc32c(0, bytes + 12, VV_BLOCK_BYTES - 12));
    if (vv_label_decode(bytes, &label) != 0)
        return;
    vv_label_encode(&label, second);
    g_assert_cmpint(vv_label_decode(second, &back), ==, 0);
    fuzz_assert_same(&label, sizeof label, &back, sizeof back);
}

/* What decodes is in range, which encoding asserts, and is the only way to write it. */
static void try_node(const uint8_t *data, size_t length_bytes)
{
    g_auto(VvNodeRecord) node = { .id = 0 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (!vv_node_record_decode(ID, data, length_bytes, &node))
        return;
    vv_node_record_encode(&node, out);
    fuzz_assert_same(out->data, out->len, data, length_bytes);
}

static void try_invite(const uint8_t *data, size_t length_bytes)
{
    g_auto(VvInviteRecord) invite = { .id = 0 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (!vv_invite_record_decode(ID, data, length_bytes, &invite))
        return;
    vv_invite_record_encode(&invite, out);
    fuzz_assert_same(out->data, out->len, data, length_bytes);
}

static void try_share(const uint8_t *data, size_t length_bytes)
{
    VvShareTable table;
    g_autoptr(GByteArray) out = g_byte_array_new();
    if (!vv_share_decode(data, length_bytes, &table))
        return;
    vv_share_encode(&table, out);
    fuzz_assert_same(out->data, out->len, data, length_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    if (length_bytes == 0 || length_bytes > VV_RPC_LINE_BYTES_MAX)
        return 0;
    if (data[0] < VV_N_TABLES && data[0] != VV_TABLE_FREE)
        try_record((VvTable) data[0], data + 1, length_bytes - 1);
    else if (data[0] == NODE_BODY)
        try_node(data + 1, length_bytes - 1);
    else if (data[0] == INVITE_BODY)
        try_invite(data + 1, length_bytes - 1);
    else if (data[0] == SHARE_BODY)
        try_share(data + 1, length_bytes - 1);
    else if (data[0] == VV_TABLE_FREE)
        try_piece(data + 1, length_bytes - 1);
    else
        try_label(data + 1, length_bytes - 1);
    return 0;
}
