/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fields of entries and messages: one encoder and one decoder for all kinds. */
#include "fields.h"

#include "limits.h"

/* The plain u64 fields before the range, and those after it. */
static const struct {
    unsigned bit;
    size_t offset;
    bool not_zero;
} early[] = {
    { VV_FIELD_NODE, offsetof(VvFields, node), true },
    { VV_FIELD_SESSION, offsetof(VvFields, session), true },
    { VV_FIELD_SEQ, offsetof(VvFields, seq), false },
    { VV_FIELD_NONCE, offsetof(VvFields, nonce), true },
    { VV_FIELD_TIME, offsetof(VvFields, time_ms), false },
}, late[] = {
    { VV_FIELD_OBJECT, offsetof(VvFields, object), false },
    { VV_FIELD_REMOVAL, offsetof(VvFields, removal), true },
    { VV_FIELD_TERM, offsetof(VvFields, term), false },
    { VV_FIELD_NUMBER, offsetof(VvFields, number), false },
};

static uint64_t get(const VvFields *fields, size_t offset)
{
    uint64_t value;

    memcpy(&value, (const uint8_t *) fields + offset, sizeof value);
    return value;
}

static void set_value(VvFields *fields, size_t offset, uint64_t value)
{
    memcpy((uint8_t *) fields + offset, &value, sizeof value);
}

void vv_fields_encode(GByteArray *out, const VvFields *fields, unsigned set)
{
    for (size_t i = 0; i < G_N_ELEMENTS(early); i++)
        if (set & early[i].bit)
            vv_write_u64(out, get(fields, early[i].offset));
    if (set & VV_FIELD_RANGE) {
        vv_write_u64(out, fields->range.lun);
        vv_write_u64(out, fields->range.first);
        vv_write_u64(out, fields->range.end);
    }
    if (set & VV_FIELD_MODE)
        vv_write_u8(out, (uint8_t) fields->mode);
    if (set & VV_FIELD_QUIESCE) {
        vv_write_u64(out, fields->quiesce.term);
        vv_write_u64(out, fields->quiesce.number);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(late); i++)
        if (set & late[i].bit)
            vv_write_u64(out, get(fields, late[i].offset));
    if (set & VV_FIELD_LUNS) {
        g_assert(fields->luns_count <= VV_OBJECTS_PER_COMMAND);
        vv_write_u16(out, (uint16_t) fields->luns_count);
        for (unsigned i = 0; i < fields->luns_count; i++)
            vv_write_u64(out, fields->luns[i]);
    }
    if (set & VV_FIELD_HOLDERS) {
        g_assert(fields->holders_count <= VV_NODES_MAX);
        vv_write_u16(out, (uint16_t) fields->holders_count);
        for (unsigned i = 0; i < fields->holders_count; i++) {
            vv_write_u64(out, fields->holders[i].node);
            vv_write_u64(out, fields->holders[i].session);
        }
    }
    if (set & VV_FIELD_QUIESCES) {
        g_assert(fields->quiesces_count <= VV_QUIESCES_MAX);
        vv_write_u16(out, (uint16_t) fields->quiesces_count);
        for (unsigned i = 0; i < fields->quiesces_count; i++) {
            vv_write_u64(out, fields->quiesces[i].term);
            vv_write_u64(out, fields->quiesces[i].number);
        }
    }
    if (set & VV_FIELD_BODY) {
        g_assert(fields->body_bytes <= VV_ENTRY_BYTES_MAX);
        vv_write_u32(out, (uint32_t) fields->body_bytes);
        vv_write_bytes(out, fields->body, fields->body_bytes);
    }
}

/* A list of @count records of @words u64 each, owned by the caller; NULL (and bad) if the bytes are too few. */
static uint64_t *read_words(VvReader *in, unsigned count, unsigned words)
{
    uint64_t *list;

    if (vv_reader_left(in) < (size_t) count * words * 8) {
        in->bad = true;
        return NULL;
    }
    list = g_new(uint64_t, MAX((size_t) count * words, 1));
    for (size_t i = 0; i < (size_t) count * words; i++)
        list[i] = vv_read_u64(in);
    return list;
}

/* At most one list a kind, so one pointer owns it. The first words must rise if @rising. */
static bool read_list(VvReader *in, unsigned words, unsigned most, bool rising, VvFields *fields, unsigned *ret_count)
{
    unsigned count = vv_read_u16(in);
    uint64_t *list;

    if (in->bad || count > most)
        return false;
    list = read_words(in, count, words);
    if (!list)
        return false;
    for (unsigned i = 1; rising && i < count; i++)
        if (list[(size_t) i * words] <= list[(size_t) (i - 1) * words]) {
            g_free(list);
            return false;
        }
    if (fields->memory) {
        GPtrArray *both = fields->memory;

        g_ptr_array_add(both, list);
    } else {
        fields->memory = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(fields->memory, list);
    }
    *ret_count = count;
    return true;
}

static const void *last_list(const VvFields *fields)
{
    const GPtrArray *lists = fields->memory;

    return lists->pdata[lists->len - 1];
}

G_STATIC_ASSERT(sizeof(VvHolder) == 16);
G_STATIC_ASSERT(sizeof(VvQuiesceId) == 16);

static bool read_lists(VvReader *in, unsigned set, VvFields *fields)
{
    if (set & VV_FIELD_LUNS) {
        if (!read_list(in, 1, VV_OBJECTS_PER_COMMAND, true, fields, &fields->luns_count))
            return false;
        fields->luns = last_list(fields);
    }
    if (set & VV_FIELD_HOLDERS) {
        if (!read_list(in, 2, VV_NODES_MAX, true, fields, &fields->holders_count))
            return false;
        fields->holders = last_list(fields);
    }
    if (set & VV_FIELD_QUIESCES) {
        if (!read_list(in, 2, VV_QUIESCES_MAX, false, fields, &fields->quiesces_count))
            return false;
        fields->quiesces = last_list(fields);
    }
    return true;
}

static bool read_all(VvReader *in, unsigned set, VvFields *fields)
{
    for (size_t i = 0; i < G_N_ELEMENTS(early); i++)
        if (set & early[i].bit) {
            set_value(fields, early[i].offset, vv_read_u64(in));
            if (early[i].not_zero && get(fields, early[i].offset) == 0)
                return false;
        }
    if (set & VV_FIELD_RANGE) {
        fields->range.lun = vv_read_u64(in);
        fields->range.first = vv_read_u64(in);
        fields->range.end = vv_read_u64(in);
        if (fields->range.first >= fields->range.end)
            return false;
    }
    if (set & VV_FIELD_MODE) {
        uint8_t mode = vv_read_u8(in);

        if (mode != VV_LEASE_READ && mode != VV_LEASE_WRITE)
            return false;
        fields->mode = (VvLeaseMode) mode;
    }
    if (set & VV_FIELD_QUIESCE) {
        fields->quiesce.term = vv_read_u64(in);
        fields->quiesce.number = vv_read_u64(in);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(late); i++)
        if (set & late[i].bit) {
            set_value(fields, late[i].offset, vv_read_u64(in));
            if (late[i].not_zero && get(fields, late[i].offset) == 0)
                return false;
        }
    if (!read_lists(in, set, fields))
        return false;
    if (set & VV_FIELD_BODY) {
        uint32_t length = vv_read_u32(in);

        if (in->bad || length > VV_ENTRY_BYTES_MAX)
            return false;
        fields->body = vv_read_bytes(in, length);
        fields->body_bytes = length;
    }
    return !in->bad;
}

bool vv_fields_decode(VvReader *in, unsigned set, VvFields *ret_fields)
{
    VvFields fields = { 0 };

    if (!read_all(in, set, &fields)) {
        vv_fields_clear(&fields);
        return false;
    }
    *ret_fields = fields;
    return true;
}

void vv_fields_clear(VvFields *fields)
{
    if (fields->memory)
        g_ptr_array_free(fields->memory, TRUE);
    *fields = (VvFields) { 0 };
}
