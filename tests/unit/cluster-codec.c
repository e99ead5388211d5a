/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries, messages and states as bytes: what is put comes back, and any other bytes are refused or come back as they were. */
#include "entry.h"
#include "limits.h"
#include "message.h"
#include "state.h"

static const uint64_t luns[] = { 3, 5, 9 };
static const VvHolder holders[] = { { 1, 17 }, { 4, 20 } };
static const VvQuiesceId quiesces[] = { { 2, 1 }, { 2, 7 } };

static VvFields some_fields(void)
{
    return (VvFields) { .node = 4, .session = 17, .seq = 9, .nonce = 77, .time_ms = 5, .range = { 3, 10, 20 }, .mode = VV_LEASE_WRITE,
        .quiesce = { 2, 7 }, .object = 12, .removal = 13, .term = 6, .number = 8, .luns = luns, .luns_count = 3, .holders = holders,
        .holders_count = 2, .quiesces = quiesces, .quiesces_count = 2, .body = (const uint8_t *) "body", .body_bytes = 4 };
}

static void test_entries(void)
{
    for (unsigned kind = VV_ENTRY_NOOP; kind < VV_ENTRY_KINDS; kind++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new(), again = g_byte_array_new();
        VvEntry entry = { .kind = (VvEntryKind) kind, .request = { 1, 2 }, .f = some_fields() };
        g_auto(VvEntry) back = { 0 };

        vv_entry_encode(bytes, &entry);
        g_assert_true(vv_entry_decode(bytes->data, bytes->len, &back));
        g_assert_cmpuint(back.kind, ==, kind);
        g_assert_cmpuint(back.request.number, ==, 2);
        vv_entry_encode(again, &back);
        g_assert_cmpmem(bytes->data, bytes->len, again->data, again->len);
        for (guint cut = 0; cut < bytes->len; cut++) {
            VvEntry none;

            g_assert_false(vv_entry_decode(bytes->data, cut, &none));
        }
    }
}

/* One byte changed: refused, or another entry whose bytes are these. */
static void test_entries_changed(void)
{
    for (unsigned kind = VV_ENTRY_NOOP; kind < VV_ENTRY_KINDS; kind++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        VvEntry entry = { .kind = (VvEntryKind) kind, .f = some_fields() };

        vv_entry_encode(bytes, &entry);
        for (guint at = 0; at < bytes->len; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                VvEntry back;

                bytes->data[at] ^= (uint8_t) (1u << bit);
                if (vv_entry_decode(bytes->data, bytes->len, &back)) {
                    g_autoptr(GByteArray) again = g_byte_array_new();

                    vv_entry_encode(again, &back);
                    g_assert_cmpmem(bytes->data, bytes->len, again->data, again->len);
                    vv_entry_clear(&back);
                }
                bytes->data[at] ^= (uint8_t) (1u << bit);
            }
    }
}

static void test_messages(void)
{
    unsigned kinds = 0;

    for (uint16_t kind = VV_MESSAGE_OPEN; kind < VV_MESSAGE_END; kind++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new(), again = g_byte_array_new();
        VvFields fields = some_fields(), back;

        if (g_str_equal(vv_message_kind_name(kind), "?")) {
            g_assert_false(vv_message_decode(kind, (const uint8_t *) "\1\0", 2, &back));
            continue;
        }
        kinds++;
        vv_message_encode(bytes, kind, &fields);
        g_assert_true(vv_message_decode(kind, bytes->data, bytes->len, &back));
        vv_message_encode(again, kind, &back);
        g_assert_cmpmem(bytes->data, bytes->len, again->data, again->len);
        vv_fields_clear(&back);
        g_assert_false(vv_message_decode(kind, bytes->data, bytes->len - 1, &back));
        vv_write_u8(bytes, 0);
        g_assert_false(vv_message_decode(kind, bytes->data, bytes->len, &back));
    }
    g_assert_cmpuint(kinds, ==, 18);
}

static VvVerdict apply(VvClusterState *state, VvEntry entry)
{
    VvApplied applied;

    return vv_state_apply(state, state->applied_index + 1, 1, &entry, NULL, NULL, &applied);
}

static VvClusterState *some_state(void)
{
    VvClusterState *state = vv_state_new();

    for (uint64_t id = 1; id <= 3; id++)
        g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_NODE_ADD, .f.node = id, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 }),
            ==, VV_VERDICT_OK);
    for (uint64_t id = 1; id <= 2; id++)
        g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_SESSION, .f.node = id, .f.nonce = 5 }), ==, VV_VERDICT_OK);
    g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_GRANT, .f.node = 1, .f.session = 4, .f.range = { 7, 0, 100 }, .f.mode = VV_LEASE_WRITE }),
        ==, VV_VERDICT_OK);
    return state;
}

static void test_leases(void)
{
    g_autoptr(VvClusterState) state = some_state();
    VvEntry grant = { .kind = VV_ENTRY_GRANT, .f.node = 2, .f.session = 5, .f.range = { 7, 40, 60 }, .f.mode = VV_LEASE_READ };
    VvEntry release = { .kind = VV_ENTRY_RELEASE, .f.node = 1, .f.session = 4, .f.seq = 1, .f.range = { 7, 40, 60 } };

    g_assert_cmpint(apply(state, grant), ==, VV_VERDICT_CONFLICT);
    g_assert_cmpint(apply(state, release), ==, VV_VERDICT_OK);
    g_assert_cmpint(apply(state, release), ==, VV_VERDICT_SEQ); /* a second copy */
    g_assert_cmpint(apply(state, grant), ==, VV_VERDICT_OK);
    g_assert_true(vv_state_holds(state, (VvHolder) { 1, 4 }, &(VvRange) { 7, 0, 40 }, VV_LEASE_WRITE));
    g_assert_false(vv_state_holds(state, (VvHolder) { 1, 4 }, &(VvRange) { 7, 39, 41 }, VV_LEASE_WRITE));
    g_assert_true(vv_state_holds(state, (VvHolder) { 2, 5 }, &(VvRange) { 7, 40, 60 }, VV_LEASE_READ));
    g_assert_cmpuint(state->leases->len, ==, 3);
    g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_EXPIRE, .f.node = 1, .f.session = 4 }), ==, VV_VERDICT_OK);
    g_assert_cmpuint(state->leases->len, ==, 1);
}

/* An ask of before a restart, delivered after it, does not end the session of after it. */
static void test_late_open(void)
{
    g_autoptr(VvClusterState) state = some_state();

    g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_SESSION, .f.node = 1, .f.nonce = 8, .f.number = 4 }), ==, VV_VERDICT_OK);
    g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_SESSION, .f.node = 1, .f.nonce = 9, .f.number = 4 }), ==, VV_VERDICT_SESSION);
    g_assert_cmpint(apply(state, (VvEntry) { .kind = VV_ENTRY_SESSION, .f.node = 1, .f.nonce = 5, .f.number = 0 }), ==, VV_VERDICT_SESSION);
    g_assert_cmpuint(vv_state_session(state, 1), ==, 7);
}

static void test_states(void)
{
    g_autoptr(VvClusterState) state = some_state(), back = NULL;
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    vv_state_encode(state, bytes);
    back = vv_state_decode(bytes->data, bytes->len);
    g_assert_nonnull(back);
    g_assert_cmpuint(vv_state_digest(back), ==, vv_state_digest(state));
    for (guint cut = 0; cut < bytes->len; cut++)
        g_assert_null(vv_state_decode(bytes->data, cut));
    /* Past the checksum: any byte, put right again; what decodes must encode as it was. */
    for (guint at = 0; at < bytes->len - 4; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            g_autoptr(VvClusterState) other = NULL;

            bytes->data[at] ^= (uint8_t) (1u << bit);
            vv_put_u32(bytes->data + bytes->len - 4, vv_crc32c(0, bytes->data, bytes->len - 4));
            other = vv_state_decode(bytes->data, bytes->len);
            if (other) {
                g_autoptr(GByteArray) again = g_byte_array_new();

                vv_state_encode(other, again);
                g_assert_cmpmem(bytes->data, bytes->len, again->data, again->len);
            }
            bytes->data[at] ^= (uint8_t) (1u << bit);
        }
}

static void put_lease(VvClusterState *state, VvLeaseMode mode, uint64_t lun, uint64_t first, uint64_t end, uint64_t node)
{
    VvLease lease = { .range = { lun, first, end }, .holder = { node, vv_state_session(state, node) }, .mode = mode, .index = 6 };

    g_array_append_val(state->leases, lease);
}

static bool decodes(const VvClusterState *state)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(VvClusterState) back = NULL;

    vv_state_encode(state, bytes);
    back = vv_state_decode(bytes->data, bytes->len);
    return back != NULL;
}

/* S3 in what a peer sends: also behind a long lease that others lie within. */
static void test_overlaps(void)
{
    static const struct {
        VvLeaseMode mode;
        uint64_t lun, first, end;
        bool good;
    } cases[] = { { VV_LEASE_READ, 1, 50, 60, true }, { VV_LEASE_WRITE, 1, 50, 60, false }, { VV_LEASE_WRITE, 1, 99, 101, false },
        { VV_LEASE_WRITE, 1, 100, 101, true }, { VV_LEASE_WRITE, 2, 50, 60, true }, { VV_LEASE_READ, 0, 50, 60, false },
        { VV_LEASE_READ, 1, 20, 30, false } };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(VvClusterState) state = some_state();

        g_array_set_size(state->leases, 0);
        put_lease(state, VV_LEASE_READ, 1, 0, 100, 1);
        put_lease(state, VV_LEASE_READ, 1, 20, 30, 2);
        put_lease(state, cases[i].mode, cases[i].lun, cases[i].first, cases[i].end, 2);
        g_assert_cmpint(decodes(state), ==, cases[i].good);
    }
    for (unsigned mode = VV_LEASE_READ; mode <= VV_LEASE_WRITE; mode++) {
        g_autoptr(VvClusterState) state = some_state();

        g_array_set_size(state->leases, 0);
        put_lease(state, VV_LEASE_WRITE, 1, 0, 100, 1);
        put_lease(state, mode, 1, 40, 50, 2);
        g_assert_false(decodes(state));
    }
}

/* As much as there may be: one LUN, read by all. It is decoded and copied in the time that it takes to look at each once. */
static void test_many_leases(void)
{
    g_autoptr(VvClusterState) state = some_state(), copy = NULL;

    g_array_set_size(state->leases, 0);
    for (uint64_t i = 0; i < VV_LEASES_MAX; i++)
        put_lease(state, VV_LEASE_READ, 1, 2 * i, 4 * (uint64_t) VV_LEASES_MAX, 1 + i % 2);
    for (unsigned i = 0; i < 4; i++)
        g_assert_true(decodes(state));
    copy = vv_state_copy(state);
    g_assert_cmpuint(vv_state_digest(copy), ==, vv_state_digest(state));
    apply(copy, (VvEntry) { .kind = VV_ENTRY_NODE_SET, .f.node = 1, .f.body = (const uint8_t *) "other", .f.body_bytes = 5 });
    g_assert_cmpuint(vv_state_node(state, 1)->body_bytes, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/codec/entries", test_entries);
    g_test_add_func("/cluster/codec/entries-changed", test_entries_changed);
    g_test_add_func("/cluster/codec/messages", test_messages);
    g_test_add_func("/cluster/state/leases", test_leases);
    g_test_add_func("/cluster/state/late-open", test_late_open);
    g_test_add_func("/cluster/codec/states", test_states);
    g_test_add_func("/cluster/codec/overlaps", test_overlaps);
    g_test_add_func("/cluster/codec/many-leases", test_many_leases);
    return g_test_run();
}
