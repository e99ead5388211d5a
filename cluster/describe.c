/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See describe.h. */
#include "describe.h"

#include "codec.h"
#include "limits.h"
#include "util.h"

#include <string.h>

#define VERSION 1u
#define OBJECT_BYTES_MAX (2 * VV_NAME_BYTES_MAX + 1) /* "LUN@SNAP" */
#define SNAPSHOT_KINDS 3u
#define FLAGS (VV_DESCRIBE_FIRST | VV_DESCRIBE_LAST | VV_DESCRIBE_NODES)

enum { LUN_ELASTIC = 1, LUN_CONTENT = 2 };

void vv_described_clear(VvDescribed *described)
{
    g_clear_pointer(&described->origin, g_free);
    g_clear_pointer(&described->note, g_free);
    g_clear_pointer(&described->name, g_free);
    g_clear_pointer(&described->record, g_bytes_unref);
}

void vv_described_free(VvDescribed *described)
{
    vv_described_clear(described);
    g_free(described);
}

void vv_description_clear(VvDescription *description)
{
    g_clear_pointer(&description->items, g_ptr_array_unref);
}

/* ---- writing */
static void write_lun(GByteArray *out, const VvDescribed *lun)
{
    const uint64_t numbers[] = { lun->size_bytes, lun->used_blocks, lun->created_ns, lun->mtime_ns, lun->atime_ns, lun->ctime_ns, lun->keep_until_ns };
    const uint32_t small[] = { lun->mode_bits, lun->uid, lun->gid, lun->timeout_s };

    vv_write_u8(out, lun->mode);
    vv_write_u8(out, (uint8_t) ((lun->elastic ? LUN_ELASTIC : 0) | (lun->content ? LUN_CONTENT : 0)));
    vv_write_string(out, lun->name);
    for (unsigned i = 0; i < G_N_ELEMENTS(small); i++)
        vv_write_u32(out, small[i]);
    if (lun->mode == 1)
        return;
    vv_write_bytes(out, lun->uuid.bytes, sizeof lun->uuid.bytes);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        vv_write_u64(out, numbers[i]);
    vv_write_string(out, lun->origin);
}

static void write_snapshot(GByteArray *out, const VvDescribed *snapshot)
{
    const uint64_t numbers[] = { snapshot->size_bytes, snapshot->used_blocks, snapshot->created_ns, snapshot->mtime_ns, snapshot->keep_until_ns };

    vv_write_u64(out, snapshot->lun);
    vv_write_u8(out, snapshot->snapshot_kind);
    vv_write_bytes(out, snapshot->uuid.bytes, sizeof snapshot->uuid.bytes);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        vv_write_u64(out, numbers[i]);
    vv_write_string(out, snapshot->name);
    vv_write_string(out, snapshot->note);
}

static void write_record(GByteArray *out, GBytes *record)
{
    gsize length;
    const void *bytes = g_bytes_get_data(record, &length);

    g_assert(length <= VV_MEMBER_BYTES_MAX);
    vv_write_u16(out, (uint16_t) length);
    vv_write_bytes(out, bytes, length);
}

void vv_description_begin(GByteArray *out, unsigned flags, uint64_t index)
{
    g_byte_array_set_size(out, 0);
    vv_write_u8(out, VERSION);
    vv_write_u8(out, (uint8_t) flags);
    vv_write_u16(out, 0);
    vv_write_u64(out, index);
}

void vv_description_set_flags(GByteArray *out, unsigned flags)
{
    out->data[1] = (uint8_t) flags;
}

bool vv_description_add(GByteArray *out, const VvDescribed *described)
{
    guint before = out->len;
    unsigned count = vv_get_u16(out->data + 2);

    if (count >= VV_DESCRIBE_ITEMS_MAX)
        return false;
    vv_write_u8(out, (uint8_t) described->kind);
    vv_write_u64(out, described->id);
    if (described->kind == VV_DESCRIBED_LUN)
        write_lun(out, described);
    else if (described->kind == VV_DESCRIBED_SNAPSHOT)
        write_snapshot(out, described);
    else if (described->kind == VV_DESCRIBED_GONE)
        vv_write_u8(out, described->hidden);
    else
        write_record(out, described->record);
    if (out->len > VV_DESCRIBE_BYTES_MAX) {
        g_byte_array_set_size(out, before);
        return false;
    }
    vv_put_u16(out->data + 2, (uint16_t) (count + 1));
    return true;
}

/* ---- reading */
static void read_uuid(VvReader *in, VvUuid *uuid)
{
    const uint8_t *bytes = vv_read_bytes(in, sizeof uuid->bytes);

    if (bytes)
        memcpy(uuid->bytes, bytes, sizeof uuid->bytes);
}

static void read_lun(VvReader *in, VvDescribed *lun)
{
    uint64_t *const numbers[] = { &lun->size_bytes, &lun->used_blocks, &lun->created_ns, &lun->mtime_ns, &lun->atime_ns, &lun->ctime_ns,
        &lun->keep_until_ns };
    uint32_t *const small[] = { &lun->mode_bits, &lun->uid, &lun->gid, &lun->timeout_s };
    uint8_t flags;

    lun->mode = vv_read_u8(in);
    flags = vv_read_u8(in);
    lun->name = vv_read_string(in, VV_NAME_BYTES_MAX);
    lun->elastic = flags & LUN_ELASTIC;
    lun->content = flags & LUN_CONTENT;
    for (unsigned i = 0; i < G_N_ELEMENTS(small); i++)
        *small[i] = vv_read_u32(in);
    in->bad |= lun->mode_bits > 07777 || lun->mode < 1 || lun->mode > 3 || flags > (LUN_ELASTIC | LUN_CONTENT) || (lun->mode == 1 && flags);
    if (lun->mode == 1)
        return;
    read_uuid(in, &lun->uuid);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        *numbers[i] = vv_read_u64(in);
    lun->origin = vv_read_string(in, OBJECT_BYTES_MAX);
}

static void read_snapshot(VvReader *in, VvDescribed *snapshot)
{
    uint64_t *const numbers[] = { &snapshot->size_bytes, &snapshot->used_blocks, &snapshot->created_ns, &snapshot->mtime_ns,
        &snapshot->keep_until_ns };

    snapshot->lun = vv_read_u64(in);
    snapshot->snapshot_kind = vv_read_u8(in);
    read_uuid(in, &snapshot->uuid);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        *numbers[i] = vv_read_u64(in);
    snapshot->name = vv_read_string(in, VV_NAME_BYTES_MAX);
    snapshot->note = vv_read_string(in, VV_NOTE_BYTES_MAX);
    in->bad |= snapshot->snapshot_kind >= SNAPSHOT_KINDS || snapshot->lun == 0;
}

static void read_record(VvReader *in, VvDescribed *node)
{
    uint16_t length = vv_read_u16(in);
    const uint8_t *bytes = length <= VV_MEMBER_BYTES_MAX ? vv_read_bytes(in, length) : NULL;

    if (bytes)
        node->record = g_bytes_new(bytes, length);
    in->bad |= !bytes || length == 0;
}

static bool is_named_well(const VvDescribed *described)
{
    return (described->kind != VV_DESCRIBED_LUN && described->kind != VV_DESCRIBED_SNAPSHOT) ||
           (described->name && described->size_bytes <= VV_LUN_BYTES_MAX && described->used_blocks <= VV_LUN_BYTES_MAX >> VV_BLOCK_SHIFT &&
               vv_name_check(described->name, "object", NULL));
}

static bool read_item(VvReader *in, VvDescribed *described)
{
    uint8_t gone;

    described->kind = vv_read_u8(in);
    described->id = vv_read_u64(in);
    switch (described->kind) {
    case VV_DESCRIBED_LUN:
        read_lun(in, described);
        break;
    case VV_DESCRIBED_SNAPSHOT:
        read_snapshot(in, described);
        break;
    case VV_DESCRIBED_GONE:
        gone = vv_read_u8(in);
        described->hidden = gone == 1;
        in->bad |= gone > 1;
        break;
    case VV_DESCRIBED_NODE:
        read_record(in, described);
        break;
    default:
        in->bad = true;
    }
    return !in->bad && described->id != 0 && is_named_well(described);
}

bool vv_description_decode(const uint8_t *body, size_t length_bytes, VvDescription *ret_description)
{
    VvReader in = vv_reader(body, length_bytes);
    g_auto(VvDescription) description = { .items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_described_free) };
    uint8_t version = vv_read_u8(&in);
    uint16_t count;
    bool good = length_bytes <= VV_DESCRIBE_BYTES_MAX && version == VERSION;

    description.flags = vv_read_u8(&in);
    count = vv_read_u16(&in);
    description.index = vv_read_u64(&in);
    good = good && !in.bad && (description.flags | FLAGS) == FLAGS && count <= VV_DESCRIBE_ITEMS_MAX && description.index > 0 &&
           description.index <= INT64_MAX;
    for (unsigned i = 0; i < count && good; i++) {
        VvDescribed *described = g_new0(VvDescribed, 1);

        g_ptr_array_add(description.items, described);
        good = read_item(&in, described);
    }
    if (!good || in.bad || vv_reader_left(&in) != 0)
        return false;
    *ret_description = description;
    description.items = NULL;
    return true;
}
