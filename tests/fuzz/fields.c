/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries and control messages are made of, entries of the cluster's log, and messages; the first byte chooses. What is accepted is
 * the same bytes when it is encoded again. */
#include "entry.h"
#include "fuzz.h"
#include "limits.h"
#include "message.h"

static void try_fields(const uint8_t *data, size_t length_bytes)
{
    VvReader in = vv_reader(data, length_bytes);
    unsigned set = vv_read_u16(&in);
    size_t left;
    VvFields fields;

    if (in.bad || !vv_fields_decode(&in, set, &fields))
        return;
    left = vv_reader_left(&in);
    {
        g_autoptr(GByteArray) again = g_byte_array_new();

        vv_fields_encode(again, &fields, set);
        if (set != 0)
            fuzz_assert_same(again->data, again->len, data + 2, length_bytes - 2 - left);
        else
            g_assert_true(again->len == 0 && left == length_bytes - 2);
    }
    vv_fields_clear(&fields);
}

static void try_entry(const uint8_t *data, size_t length_bytes)
{
    g_autoptr(GByteArray) again = g_byte_array_new();
    g_auto(VvEntry) entry = { 0 };

    if (!vv_entry_decode(data, length_bytes, &entry))
        return;
    g_assert_cmpuint(entry.f.body_bytes, <=, VV_ENTRY_BODY_BYTES_MAX);
    g_assert_cmpstr(vv_entry_kind_name(entry.kind), !=, "?");
    vv_entry_encode(again, &entry);
    fuzz_assert_same(again->data, again->len, data, length_bytes);
}

static void try_message(const uint8_t *data, size_t length_bytes)
{
    g_autoptr(GByteArray) again = g_byte_array_new();
    VvReader in = vv_reader(data, length_bytes);
    uint16_t kind = vv_read_u16(&in);
    VvFields fields;

    if (in.bad || !vv_message_decode(kind, data + 2, length_bytes - 2, &fields))
        return;
    g_assert_cmpstr(vv_message_kind_name(kind), !=, "?");
    vv_message_encode(again, kind, &fields);
    fuzz_assert_same(again->data, again->len, data + 2, length_bytes - 2);
    vv_fields_clear(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static void (*const targets[])(const uint8_t *, size_t) = { try_fields, try_entry, try_message };

    if (length_bytes > 0)
        targets[data[0] % G_N_ELEMENTS(targets)](data + 1, length_bytes - 1);
    return 0;
}
