/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What guests are told: bytes as describe.h's table says, what is accepted, what is not, and limits. */
#include "codec.h"
#include "describe.h"
#include "limits.h"

#include <string.h>

static VvDescribed a_lun(uint8_t mode)
{
    return (VvDescribed){ .kind = VV_DESCRIBED_LUN,
        .id = 0x2211,
        .mode = mode,
        .elastic = mode > 1,
        .name = (char *) "db",
        .origin = (char *) "",
        .size_bytes = 40 << 20,
        .used_blocks = 7,
        .created_ns = 1,
        .mtime_ns = 2,
        .atime_ns = 3,
        .ctime_ns = 4,
        .mode_bits = 0640,
        .uid = 5,
        .gid = 6,
        .timeout_s = 60 };
}

static VvDescribed a_snapshot(void)
{
    return (VvDescribed){ .kind = VV_DESCRIBED_SNAPSHOT,
        .id = 0x3322,
        .lun = 0x2211,
        .snapshot_kind = 1,
        .name = (char *) "nightly",
        .note = (char *) "kept",
        .size_bytes = 40 << 20,
        .created_ns = 9,
        .keep_until_ns = UINT64_MAX };
}

static void test_bytes(void)
{
    static const uint8_t wanted[] = { 1, 3, 2, 0, 42, 0, 0, 0, 0, 0, 0, 0, /**/ 1, 0x11, 0x22, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 'd', 'b',
        0xa0, 1, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 60, 0, 0, 0, /**/ 3, 0x22, 0x33, 0, 0, 0, 0, 0, 0, 1 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    VvDescribed lun = a_lun(1), gone = { .kind = VV_DESCRIBED_GONE, .id = 0x3322, .hidden = true };
    g_auto(VvDescription) back = { .items = NULL };

    vv_description_begin(out, VV_DESCRIBE_FIRST | VV_DESCRIBE_LAST, 42);
    g_assert_true(vv_description_add(out, &lun) && vv_description_add(out, &gone));
    g_assert_cmpmem(out->data, out->len, wanted, sizeof wanted);
    g_assert_true(vv_description_decode(wanted, sizeof wanted, &back));
    g_assert_true(back.flags == 3 && back.index == 42 && back.items->len == 2);
    g_assert_cmpstr(((VvDescribed *) back.items->pdata[0])->name, ==, "db");
    g_assert_true(((VvDescribed *) back.items->pdata[1])->hidden);
}

/* G1: of a LUN that is not shared only what its snapshots have from it goes, whatever else is known of it. */
static void test_only_the_name(void)
{
    g_autoptr(GByteArray) little = g_byte_array_new(), same = g_byte_array_new();
    VvDescribed lun = a_lun(1), bare = { .kind = VV_DESCRIBED_LUN, .id = 0x2211, .mode = 1, .name = (char *) "db", .mode_bits = 0640, .uid = 5, .gid = 6, .timeout_s = 60 };

    lun.origin = (char *) "secret@x";
    vv_description_begin(little, 0, 1);
    vv_description_begin(same, 0, 1);
    g_assert_true(vv_description_add(little, &lun) && vv_description_add(same, &bare));
    g_assert_cmpmem(little->data, little->len, same->data, same->len);
}

static void test_back(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GBytes) record = g_bytes_new_static("abc", 3);
    VvDescribed lun = a_lun(3), snapshot = a_snapshot(), node = { .kind = VV_DESCRIBED_NODE, .id = 4, .record = record };
    g_auto(VvDescription) back = { .items = NULL };
    const VvDescribed *item;

    lun.origin = (char *) "base@then";
    vv_description_begin(out, VV_DESCRIBE_NODES, 7);
    g_assert_true(vv_description_add(out, &lun) && vv_description_add(out, &snapshot) && vv_description_add(out, &node));
    g_assert_true(vv_description_decode(out->data, out->len, &back));
    item = back.items->pdata[0];
    g_assert_true(item->mode == 3 && item->elastic && !item->content && item->size_bytes == 40 << 20 && item->used_blocks == 7);
    g_assert_true(item->mode_bits == 0640 && item->uid == 5 && item->gid == 6 && item->timeout_s == 60 && item->ctime_ns == 4);
    g_assert_cmpstr(item->origin, ==, "base@then");
    item = back.items->pdata[1];
    g_assert_true(item->lun == 0x2211 && item->snapshot_kind == 1 && item->keep_until_ns == UINT64_MAX && item->created_ns == 9);
    g_assert_cmpstr(item->note, ==, "kept");
    item = back.items->pdata[2];
    g_assert_true(item->id == 4 && g_bytes_equal(item->record, record));
    for (guint cut = 0; cut < out->len; cut++) { /* every beginning of it is refused */
        g_auto(VvDescription) part = { .items = NULL };

        g_assert_false(vv_description_decode(out->data, cut, &part));
        g_assert_null(part.items);
    }
}

/* Each change of one byte that makes it mean what no sender says. */
static void test_refused(void)
{
    static const struct {
        guint at;
        uint8_t value;
    } bad[] = { { 0, 2 }, { 1, 8 }, { 2, 9 }, { 3, 0x80 }, { 11, 0x80 }, { 12, 0 }, { 12, 5 }, { 21, 0 }, { 21, 4 }, { 22, 4 }, { 25, '/' }, { 26, 0 }, { 28, 0x10 } };
    g_autoptr(GByteArray) out = g_byte_array_new();
    VvDescribed lun = a_lun(2);
    g_auto(VvDescription) back = { .items = NULL };

    vv_description_begin(out, 0, 7);
    g_assert_true(vv_description_add(out, &lun));
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint8_t was = out->data[bad[i].at];

        out->data[bad[i].at] = bad[i].value;
        if (vv_description_decode(out->data, out->len, &back))
            g_error("byte %u as %u is taken", bad[i].at, bad[i].value);
        out->data[bad[i].at] = was;
    }
    memset(out->data + 13, 0, 8);
    g_assert_false(vv_description_decode(out->data, out->len, &back)); /* id 0 */
    vv_description_begin(out, 0, 0);
    g_assert_false(vv_description_decode(out->data, out->len, &back)); /* index 0 */
}

static void test_full(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree char *note = g_strnfill(VV_NOTE_BYTES_MAX, 'n');
    VvDescribed snapshot = a_snapshot(), gone = { .kind = VV_DESCRIBED_GONE, .id = 1 };
    g_auto(VvDescription) back = { .items = NULL };
    unsigned count = 0, kept;
    guint length;

    snapshot.note = note;
    for (vv_description_begin(out, 0, 1); vv_description_add(out, &snapshot); count++)
        continue;
    kept = count;
    length = out->len;
    g_assert_true(count > 900 && length <= VV_DESCRIBE_BYTES_MAX);
    g_assert_true(vv_description_decode(out->data, out->len, &back) && back.items->len == kept);
    for (vv_description_begin(out, 0, 1), count = 0; vv_description_add(out, &gone); count++)
        continue;
    g_assert_cmpuint(count, ==, VV_DESCRIBE_ITEMS_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/describe/bytes", test_bytes);
    g_test_add_func("/cluster/describe/only-the-name", test_only_the_name);
    g_test_add_func("/cluster/describe/back", test_back);
    g_test_add_func("/cluster/describe/refused", test_refused);
    g_test_add_func("/cluster/describe/full", test_full);
    return g_test_run();
}
