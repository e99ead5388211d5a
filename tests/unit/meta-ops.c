/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry bodies: every op comes back as it went in; cut or flipped bytes are refused or decode to something, never crash. */
#include "ops.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

static VvOps *sample(void)
{
    VvOps *ops = vv_ops_new();
    for (unsigned kind = 0; kind < VV_N_OPS; kind++) {
        VvOp *op = vv_ops_add(ops, kind);
        switch (op->kind) {
        case VV_OP_POOL_SET:
            op->pool_set.key = g_strdup("warn-used");
            op->pool_set.value = g_strdup("80");
            break;
        case VV_OP_SEGMENT_GRANT:
            op->segment_grant.family = 5;
            op->segment_grant.shift = 20;
            op->segment_grant.copy_count = 2;
            op->segment_grant.copies[1] = (VvCopy){ .disk_id = 9, .unit = 1000 };
            break;
        case VV_OP_LUN_CREATE:
            op->lun_create.name = g_strdup("db");
            op->lun_create.props.timeout_s = 60;
            op->lun_create.elastic = true;
            op->lun_create.disks = vv_disk_set_new((const uint64_t[]){ 12, 11 }, 2);
            break;
        case VV_OP_MAP:
            op->map.lun = 7;
            op->map.size_bytes = UINT64_MAX;
            op->map.change_count = 3;
            op->map.changes = g_new0(VvMapChange, 3);
            op->map.changes[0] = (VvMapChange){ .region = 1, .first = 0, .count = 256, .place = vv_place(2, 3, true) };
            op->map.changes[1] = (VvMapChange){ .region = 1, .first = 255, .count = 1 };
            op->map.changes[2] = (VvMapChange){ .region = 4, .first = 3, .count = 5, .place = vv_place(1, 0, true) };
            break;
        case VV_OP_MOVE:
            op->move.region = 9;
            op->move.run_count = 2;
            op->move.runs = g_new0(VvMoveRun, 2);
            op->move.runs[0] = (VvMoveRun){ .first = 3, .count = 4, .from = vv_place(1, 0, false), .to = vv_place(2, 7, false) };
            op->move.runs[1] = (VvMoveRun){ .first = 7, .count = 249, .from = vv_place(0, 9, false), .to = vv_place(2, 11, false) };
            break;
        case VV_OP_MEMBER_SET:
            op->member_set.kind = 1;
            op->member_set.id = 3;
            op->member_set.body = g_memdup2("\0body", 5);
            op->member_set.body_bytes = 5;
            break;
        case VV_OP_REQUEST:
            op->request.id = g_strdup("id");
            op->request.result = g_strnfill(100000, 'x'); /* longer than a short text can be */
            break;
        default:
            break;
        }
    }
    return ops;
}

static void test_round_trip(void)
{
    g_autoptr(GByteArray) a = g_byte_array_new(), b = g_byte_array_new();
    g_autoptr(GArray) ops = sample();
    g_autoptr(GArray) back = NULL;
    vv_ops_encode(ops, a);
    g_assert_cmpint(vv_ops_decode(a->data, a->len, &back), ==, 0);
    g_assert_cmpuint(back->len, ==, ops->len);
    vv_ops_encode(back, b);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    const VvOp *map = vv_ops_get(back, VV_OP_MAP);
    g_assert_cmpuint(map->map.changes[0].count, ==, 256);
    g_assert_cmpuint(map->map.changes[1].place, ==, 0);
    const VvOp *move = vv_ops_get(back, VV_OP_MOVE);
    g_assert_cmpuint(move->move.run_count, ==, 2);
    g_assert_cmpuint(move->move.runs[1].count, ==, 249);
    g_assert_cmpuint(vv_place_block(move->move.runs[1].to), ==, 11);
    g_assert_cmpstr(vv_ops_get(back, VV_OP_LUN_CREATE)->lun_create.name, ==, "db");
}

/* One LUN_CREATE: its body; where its flags are. */
#define FLAGS_AT 5u
static GByteArray *lun_create(const VvDiskSet *disks)
{
    GByteArray *body = g_byte_array_new();
    g_autoptr(GArray) ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    op->lun_create.name = g_strdup("db");
    op->lun_create.disks = vv_disk_set_copy(disks);
    vv_ops_encode(ops, body);
    return body;
}

static int decode(const GByteArray *body)
{
    g_autoptr(GArray) back = NULL;
    return vv_ops_decode(body->data, body->len, &back);
}

static void test_chosen_disks(void)
{
    static const uint64_t ids[] = { 11, 12 };
    g_autofree VvDiskSet *set = vv_disk_set_new(ids, 2);
    g_autoptr(GByteArray) some = lun_create(set), any = lun_create(NULL);
    g_autoptr(GArray) back = NULL;
    g_assert_cmpint(vv_ops_decode(some->data, some->len, &back), ==, 0);
    g_assert_true(vv_disk_set_equal(vv_ops_get(back, 0)->lun_create.disks, set));
    g_clear_pointer(&back, g_array_unref);
    g_assert_cmpint(vv_ops_decode(any->data, any->len, &back), ==, 0);
    g_assert_null(vv_ops_get(back, 0)->lun_create.disks);
    g_assert_cmpuint(some->len, ==, any->len + 16); /* as it was before there was a choice */
    any->data[FLAGS_AT] = 1; /* said, and not there */
    g_assert_cmpint(decode(any), ==, -EUCLEAN);
    any->data[FLAGS_AT] = 2; /* of a newer version */
    g_assert_cmpint(decode(any), ==, -EOPNOTSUPP);
    some->data[FLAGS_AT] = 0; /* there, and not said */
    g_assert_cmpint(decode(some), ==, -EUCLEAN);
    some->data[FLAGS_AT] = 1;
    some->data[some->len - 8] = 11; /* twice the same */
    g_assert_cmpint(decode(some), ==, -EUCLEAN);
    some->data[some->len - 8] = 10; /* not ascending */
    g_assert_cmpint(decode(some), ==, -EUCLEAN);
}

static void test_too_many_disks(void)
{
    uint64_t ids[VV_FAMILY_DISKS_MAX];
    for (unsigned i = 0; i < VV_FAMILY_DISKS_MAX; i++)
        ids[i] = i + 1;
    g_autofree VvDiskSet *set = vv_disk_set_new(ids, VV_FAMILY_DISKS_MAX);
    g_autoptr(GByteArray) body = lun_create(set);
    uint8_t more[8] = { VV_FAMILY_DISKS_MAX + 1 };
    g_assert_cmpint(decode(body), ==, 0);
    g_byte_array_append(body, more, sizeof more);
    vv_put_u32(body->data + FLAGS_AT + 1, vv_get_u32(body->data + FLAGS_AT + 1) + 8);
    g_assert_cmpint(decode(body), ==, -EUCLEAN);
}

static void test_cuts_are_refused(void)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    g_autoptr(GArray) ops = sample();
    vv_ops_encode(ops, body);
    for (guint n = 0; n < body->len; n = n < 3000 ? n + 1 : n + 1009) {
        VvOps *back = NULL;
        g_autofree uint8_t *copy = g_memdup2(body->data, n);
        g_assert_cmpint(vv_ops_decode(copy, n, &back), ==, -EUCLEAN);
        g_assert_null(back);
    }
}

static void test_flips_never_crash(void)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    g_autoptr(GArray) ops = sample();
    vv_ops_encode(ops, body);
    for (guint at = 0; at < MIN(body->len, 3000u); at++) {
        for (unsigned value = 1; value < 256; value <<= 1) {
            VvOps *back = NULL;
            body->data[at] ^= (uint8_t) value;
            if (vv_ops_decode(body->data, body->len, &back) == 0)
                vv_ops_free(back);
            body->data[at] ^= (uint8_t) value;
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/round-trip", test_round_trip);
    g_test_add_func("/ops/chosen-disks", test_chosen_disks);
    g_test_add_func("/ops/too-many-disks", test_too_many_disks);
    g_test_add_func("/ops/cuts-refused", test_cuts_are_refused);
    g_test_add_func("/ops/flips", test_flips_never_crash);
    return g_test_run();
}
