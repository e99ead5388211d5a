/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies of entries: decoded, written the same, and applied to a small pool that has a LUN with blocks, a snapshot and a clone. Whatever
 * an entry says, applying it ends: done, or damage. */
#include "codec.h"
#include "fuzz.h"
#include "meta_private.h"

static char *directory;
static VvStore *store; /* of the pool as it was made: entries change what is in memory alone */

static VvOp *add(VvOps *ops, VvOpKind kind) { return vv_ops_add(ops, kind); }

/* Disk 1, family 2, branch 3, LUN 4, snapshot 5, clone 6 on branch 7: small numbers, which an input finds. */
static void fill(VvMeta *meta)
{
    VvOps *ops = vv_ops_new();
    uint64_t index;
    VvOp *op = add(ops, VV_OP_DISK_ADD);
    op->disk_add.id = 1;
    op->disk_add.name = g_strdup("d");
    op->disk_add.path = g_strdup("d");
    op->disk_add.size_bytes = (uint64_t) 64 << 20;
    op = add(ops, VV_OP_LUN_CREATE);
    op->lun_create.family = 2;
    op->lun_create.branch = 3;
    op->lun_create.id = 4;
    op->lun_create.name = g_strdup("a");
    op->lun_create.size_bytes = (uint64_t) 4 << 20;
    op = add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = 2;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0].disk_id = 1;
    for (unsigned i = 0; i < 2; i++) {
        op = add(ops, VV_OP_MAP);
        op->map.lun = 4;
        op->map.size_bytes = UINT64_MAX;
        op->map.change_count = 1;
        op->map.changes = g_new0(VvMapChange, 1);
        op->map.changes[0] = (VvMapChange){ .region = 1, .first = 5, .count = 2, .place = vv_place(0, 10 + 10 * i, true) };
        if (i == 1)
            break;
        op = add(ops, VV_OP_SNAPSHOT_CREATE);
        op->snapshot_create.id = 5;
        op->snapshot_create.lun = 4;
        op->snapshot_create.name = g_strdup("s");
    }
    op = add(ops, VV_OP_CLONE);
    op->clone.snapshot = 5;
    op->clone.id = 6;
    op->clone.name = g_strdup("c");
    op->clone.branch = 7;
    g_assert_cmpint(vv_meta_log(meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(meta), ==, 0);
    g_assert_cmpint(vv_meta_apply(meta, index, ops), ==, 0);
    vv_ops_free(ops);
    g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
}

static void make_pool(void)
{
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "fuzz", .created_ns = 1 };
    directory = g_build_filename(fuzz_folder(), "pool", NULL);
    g_assert_cmpint(g_mkdir(directory, 0700), ==, 0);
    vv_meta_create(directory, &create, &error);
    g_assert_no_error(error);
    g_autoptr(VvMeta) meta = vv_meta_open(directory, false, NULL, &error);
    g_assert_no_error(error);
    fill(meta);
    g_clear_pointer(&meta, vv_meta_close);
    g_autofree char *map = g_build_filename(directory, "map", NULL);
    store = vv_store_open(map, true, &error);
    g_assert_no_error(error);
}

static void note(void *user, const VvCheckError *error)
{
    (void) user;
    g_assert_nonnull(error->message);
}

static void apply(const VvOps *ops)
{
    g_autoptr(GError) error = NULL;
    if (directory == NULL)
        make_pool();
    VvMeta *meta = vvm_new(directory, true);
    meta->store = store;
    vvm_catalog_load(meta, &error);
    g_assert_no_error(error);
    if (vv_meta_apply(meta, vv_meta_pool(meta)->applied_index + 1, ops) == 0)
        g_assert_cmpint(vv_meta_check(meta, false, note, NULL), ==, 0);
    else
        g_assert_nonnull(vv_meta_failure(meta));
    meta->store = NULL;
    vv_meta_close(meta);
}

/* A disk that claims petabytes has bits of half a GiB. Nothing touches them but AddressSanitizer's shadow, when they go: one claim of sixteen is
 * left as it is, the others say terabytes. */
static void cut_disks(VvOps *ops, bool keep)
{
    for (unsigned i = 0; i < ops->len && !keep; i++) {
        VvOp *op = &g_array_index(ops, VvOp, i);
        uint64_t *size_bytes = op->kind == VV_OP_DISK_ADD ? &op->disk_add.size_bytes : op->kind == VV_OP_DISK_SET ? &op->disk_set.size_bytes : NULL;
        if (size_bytes != NULL && *size_bytes >> 42 != 0)
            *size_bytes = *size_bytes >> 22 | UINT64_C(1) << 41;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    VvOps *ops = NULL;
    if (length_bytes > VV_ENTRY_BYTES_MAX || vv_ops_decode(data, length_bytes, &ops) != 0)
        return 0;
    g_autoptr(GByteArray) out = g_byte_array_new(), again = g_byte_array_new();
    VvOps *back = NULL;
    vv_ops_encode(ops, out); /* any byte but 0 is true when it is read */
    g_assert_cmpint(vv_ops_decode(out->data, out->len, &back), ==, 0);
    vv_ops_encode(back, again);
    fuzz_assert_same(out->data, out->len, again->data, again->len);
    vv_ops_free(back);
    cut_disks(ops, vv_crc32c(0, data, length_bytes) % 16 == 0);
    apply(ops);
    vv_ops_free(ops);
    return 0;
}
