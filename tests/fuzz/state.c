/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replicated state as a peer may send it, and entries applied to it: {u32 length, state without its checksum}, then entries {u16 length,
 * bytes}. What is accepted is the same when it is encoded again, and stays a state whatever is applied. */
#include "codec.h"
#include "fuzz.h"
#include "state.h"

static void check(const VvClusterState *state)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(VvClusterState) back = NULL;

    vv_state_encode(state, bytes);
    back = vv_state_decode(bytes->data, bytes->len);
    g_assert_nonnull(back);
    vv_state_encode(back, again);
    fuzz_assert_same(bytes->data, bytes->len, again->data, again->len);
}

static VvClusterState *decode(const uint8_t *data, size_t length_bytes)
{
    g_autoptr(GByteArray) whole = g_byte_array_new(), again = g_byte_array_new();
    VvClusterState *state;

    vv_write_bytes(whole, data, length_bytes);
    vv_write_u32(whole, vv_crc32c(0, data, length_bytes));
    state = vv_state_decode(whole->data, whole->len);
    if (state) {
        vv_state_encode(state, again);
        fuzz_assert_same(whole->data, whole->len, again->data, again->len);
    }
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    VvReader in = vv_reader(data, length_bytes);
    size_t state_bytes = MIN(vv_read_u32(&in), vv_reader_left(&in));
    const uint8_t *bytes = vv_read_bytes(&in, state_bytes);
    g_autoptr(VvClusterState) state = in.bad ? NULL : decode(bytes, state_bytes);
    g_autoptr(VvClusterState) copy = state ? vv_state_copy(state) : NULL;

    if (!state)
        return 0;
    g_assert_cmpuint(vv_state_digest(copy), ==, vv_state_digest(state));
    while (vv_reader_left(&in) > 2) {
        size_t entry_bytes = vv_read_u16(&in);
        g_auto(VvEntry) entry = { 0 };
        VvApplied applied;

        entry_bytes = MIN(entry_bytes, vv_reader_left(&in));
        if (!vv_entry_decode(vv_read_bytes(&in, entry_bytes), entry_bytes, &entry))
            continue;
        vv_state_apply(copy, copy->applied_index + 1, copy->applied_term, &entry, NULL, NULL, &applied);
        check(copy);
    }
    return 0;
}
