/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries to bytes and back: a table says which fields a kind has. */
#include "entry.h"

#include "limits.h"

#define MAGIC 0x4576u /* "vE" */
#define VERSION 1u

static const struct {
    unsigned fields;
    const char *name;
} kinds[VV_ENTRY_KINDS] = {
    [VV_ENTRY_NOOP] = { 0, "noop" },
    [VV_ENTRY_SESSION] = { VV_FIELD_NODE | VV_FIELD_NONCE | VV_FIELD_NUMBER, "session" },
    [VV_ENTRY_EXPIRE] = { VV_FIELD_NODE | VV_FIELD_SESSION, "expire" },
    [VV_ENTRY_GRANT] = { VV_FIELD_NODE | VV_FIELD_SESSION | VV_FIELD_RANGE | VV_FIELD_MODE, "grant" },
    [VV_ENTRY_RELEASE] = { VV_FIELD_NODE | VV_FIELD_SESSION | VV_FIELD_SEQ | VV_FIELD_RANGE, "release" },
    [VV_ENTRY_MAP] = { VV_FIELD_NODE | VV_FIELD_SESSION | VV_FIELD_SEQ | VV_FIELD_BODY, "map" },
    [VV_ENTRY_SEGMENT] = { VV_FIELD_NODE | VV_FIELD_SESSION | VV_FIELD_SEQ | VV_FIELD_OBJECT, "segment" },
    [VV_ENTRY_SNAPSHOT] = { VV_FIELD_QUIESCE | VV_FIELD_LUNS | VV_FIELD_HOLDERS | VV_FIELD_BODY, "snapshot" },
    [VV_ENTRY_REMOVE] = { VV_FIELD_OBJECT | VV_FIELD_BODY, "remove" },
    [VV_ENTRY_PURGE] = { VV_FIELD_OBJECT | VV_FIELD_REMOVAL | VV_FIELD_HOLDERS | VV_FIELD_BODY, "purge" },
    [VV_ENTRY_FENCED] = { VV_FIELD_NODE | VV_FIELD_SESSION, "fenced" },
    [VV_ENTRY_NODE_ADD] = { VV_FIELD_NODE | VV_FIELD_BODY, "node-add" },
    [VV_ENTRY_NODE_SET] = { VV_FIELD_NODE | VV_FIELD_BODY, "node-set" },
    [VV_ENTRY_NODE_REMOVE] = { VV_FIELD_NODE, "node-remove" },
    [VV_ENTRY_CONFIG] = { VV_FIELD_BODY, "config" },
};

void vv_entry_encode(GByteArray *out, const VvEntry *entry)
{
    guint start = out->len;

    g_assert(entry->kind > 0 && entry->kind < VV_ENTRY_KINDS);
    g_assert(!(kinds[entry->kind].fields & VV_FIELD_BODY) || entry->f.body_bytes <= VV_ENTRY_BODY_BYTES_MAX);
    vv_write_u16(out, MAGIC);
    vv_write_u8(out, VERSION);
    vv_write_u8(out, 0);
    vv_write_u16(out, (uint16_t) entry->kind);
    vv_write_u16(out, 0);
    vv_write_u64(out, entry->request.client);
    vv_write_u64(out, entry->request.number);
    vv_fields_encode(out, &entry->f, kinds[entry->kind].fields);
    g_assert(out->len - start <= VV_ENTRY_BYTES_MAX);
}

bool vv_entry_decode(const uint8_t *data, size_t length_bytes, VvEntry *ret_entry)
{
    VvReader in = vv_reader(data, length_bytes);
    VvEntry entry = { 0 };
    uint16_t magic = vv_read_u16(&in);
    uint8_t version = vv_read_u8(&in);
    uint8_t flags = vv_read_u8(&in);
    uint16_t kind = vv_read_u16(&in);
    uint16_t zero = vv_read_u16(&in);

    if (in.bad || length_bytes > VV_ENTRY_BYTES_MAX || magic != MAGIC || version != VERSION || flags != 0 || zero != 0)
        return false;
    if (kind == 0 || kind >= VV_ENTRY_KINDS)
        return false;
    entry.kind = (VvEntryKind) kind;
    entry.request.client = vv_read_u64(&in);
    entry.request.number = vv_read_u64(&in);
    if (in.bad || !vv_fields_decode(&in, kinds[kind].fields, &entry.f))
        return false;
    if (vv_reader_left(&in) > 0 || entry.f.body_bytes > VV_ENTRY_BODY_BYTES_MAX) {
        vv_fields_clear(&entry.f);
        return false;
    }
    *ret_entry = entry;
    return true;
}

void vv_entry_clear(VvEntry *entry)
{
    vv_fields_clear(&entry->f);
    *entry = (VvEntry) { 0 };
}

const char *vv_entry_kind_name(VvEntryKind kind)
{
    return kind > 0 && kind < VV_ENTRY_KINDS ? kinds[kind].name : "?";
}

bool vv_entry_has_seq(VvEntryKind kind)
{
    return kind > 0 && kind < VV_ENTRY_KINDS && (kinds[kind].fields & VV_FIELD_SEQ) != 0;
}
