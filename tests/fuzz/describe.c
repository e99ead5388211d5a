/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptions for guests, of any bytes: what is accepted keeps the promises of describe.h, and is the same once more. */
#include "describe.h"
#include "fuzz.h"
#include "limits.h"
#include "util.h"

static void check(const VvDescribed *described)
{
    g_assert_true(described->id != 0);
    if (described->kind == VV_DESCRIBED_NODE) {
        g_assert_true(described->record && g_bytes_get_size(described->record) > 0);
        return;
    }
    if (described->kind == VV_DESCRIBED_GONE)
        return;
    g_assert_true(vv_name_check(described->name, "object", NULL));
    g_assert_cmpuint(described->size_bytes, <=, VV_LUN_BYTES_MAX);
    if (described->kind == VV_DESCRIBED_LUN)
        g_assert_true(described->mode >= 1 && described->mode <= 3 && (described->mode == 1 || described->origin));
    else
        g_assert_true(described->lun != 0 && described->note);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    g_auto(VvDescription) description = { .items = NULL };
    g_autoptr(GByteArray) again = NULL;

    if (!vv_description_decode(data, length_bytes, &description))
        return 0;
    again = g_byte_array_new();
    vv_description_begin(again, description.flags, description.index);
    for (unsigned i = 0; i < description.items->len; i++) {
        check(g_ptr_array_index(description.items, i));
        g_assert_true(vv_description_add(again, g_ptr_array_index(description.items, i)));
    }
    fuzz_assert_same(data, length_bytes, again->data, again->len);
    return 0;
}
