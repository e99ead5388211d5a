/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums in the metadata: stored forms, and their way through journal, overlay, checkpoint and replay, with moves and frees. The
 * rules as a whole: tests/model/map-model. */
#include "meta.h"
#include "codec.h"
#include "store.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

typedef struct {
    char *directory;
    VvMeta *meta;
    uint64_t lun, branch, family;
} Fixture;

static void commit(Fixture *f, VvOps *ops)
{
    uint64_t index;
    g_assert_cmpint(vv_meta_log(f->meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(f->meta), ==, 0);
    g_assert_cmpint(vv_meta_apply(f->meta, index, ops), ==, 0);
    vv_ops_free(ops);
}

static uint32_t sum_at(unsigned block) { return 0x1000u + block; }

/* Blocks [@first, + @count) of region 0 to @block on of segment 0; @summed: with sum_at() of the places. */
static void map(Fixture *f, unsigned first, unsigned count, uint32_t block, bool summed)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = f->lun;
    op->map.size_bytes = UINT64_MAX;
    op->map.change_count = 1;
    op->map.changes = g_new0(VvMapChange, 1);
    op->map.changes[0] = (VvMapChange){ .first = (uint8_t) first, .count = (uint16_t) count, .sums = summed,
                                        .place = block != UINT32_MAX ? vv_place(0, block, true) : 0 };
    op->map.sum_count = summed ? count : 0;
    op->map.sums = summed ? g_new(uint32_t, count) : NULL;
    for (unsigned i = 0; summed && i < count; i++)
        op->map.sums[i] = sum_at(block + i);
    commit(f, ops);
}

static void open_meta(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
}

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    VvMetaCreate create = { .name = "sums", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-sums-XXXXXX", NULL);
    vv_uuid_generate(&create.uuid);
    g_assert_true(vv_meta_create(f->directory, &create, NULL));
    open_meta(f);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    uint64_t disk = op->disk_add.id = vv_meta_new_id(f->meta);
    op->disk_add.name = g_strdup("d");
    op->disk_add.path = g_strdup("d");
    op->disk_add.size_bytes = (uint64_t) 64 << 20;
    op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    f->lun = op->lun_create.id = vv_meta_new_id(f->meta);
    f->branch = op->lun_create.branch = vv_meta_new_id(f->meta);
    f->family = op->lun_create.family = vv_meta_new_id(f->meta);
    op->lun_create.name = g_strdup("db");
    op->lun_create.size_bytes = (uint64_t) 4 << 20;
    op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = f->family;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN + 1;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0].disk_id = disk;
    commit(f, ops);
}

static void count_cb(void *user, const VvCheckError *error)
{
    g_test_message("%s: %s", error->code, error->message);
    ++*(unsigned *) user;
}

static unsigned check(Fixture *f, bool repair)
{
    unsigned count = 0;
    g_assert_cmpint(vv_meta_check(f->meta, repair, count_cb, &count), ==, 0);
    return count;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    g_assert_cmpuint(check(f, false), ==, 0);
    vv_meta_close(f->meta);
    const char *argv[] = { "rm", "-rf", f->directory, NULL };
    g_assert_true(g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL));
    g_free(f->directory);
}

/* Blocks [@first, @end) of the segment have theirs, and no others; @count in all. */
static void assert_sums(Fixture *f, unsigned first, unsigned end, unsigned count)
{
    VvSumPiece piece;
    for (unsigned mib = 0; mib < 2; mib++) {
        g_assert_cmpint(vv_sums_lookup(f->meta, f->family, 0, mib, &piece), ==, 0);
        for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
            unsigned block = mib * VV_REGION_BLOCKS + i;
            bool wanted = block >= first && block < end;
            if (vv_sum_present(&piece, i) != wanted)
                g_error("block %u has %s", block, wanted ? "none" : "one");
            if (wanted)
                g_assert_cmpuint(piece.crc[i], ==, sum_at(block));
        }
    }
    vv_meta_read_lock(f->meta);
    g_assert_cmpuint(vv_meta_family(f->meta, f->family)->sum_blocks, ==, count);
    vv_meta_read_unlock(f->meta);
}

static void again(Fixture *f, bool checkpoint)
{
    if (checkpoint)
        g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    vv_meta_close(f->meta);
    open_meta(f);
}

static void test_life(Fixture *f, gconstpointer data)
{
    bool checkpoint = data != NULL;
    map(f, 0, 32, 240, true); /* across two pieces */
    assert_sums(f, 240, 272, 32);
    again(f, checkpoint);
    assert_sums(f, 240, 272, 32);
    map(f, 0, 8, 100, false); /* the first eight are free, and those that came have none */
    assert_sums(f, 248, 272, 24);
    again(f, checkpoint);
    assert_sums(f, 248, 272, 24);
    map(f, 8, 4, UINT32_MAX, false); /* discarded */
    assert_sums(f, 252, 272, 20);
    map(f, 8, 4, 248, true); /* used again */
    assert_sums(f, 248, 272, 24);
    g_assert_cmpuint(check(f, false), ==, 0);
    map(f, 0, 40, UINT32_MAX, false);
    assert_sums(f, 0, 0, 0);
    again(f, checkpoint);
    assert_sums(f, 0, 0, 0);
    map(f, 0, 2, 240, false);
    assert_sums(f, 0, 0, 0);
}

static void test_move(Fixture *f, gconstpointer data)
{
    (void) data;
    VvSumPiece piece;
    map(f, 0, 4, 10, true);
    map(f, 4, 4, 20, false);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MOVE);
    op->move.family = f->family;
    op->move.lun = f->lun;
    op->move.branch = f->branch;
    op->move.run_count = 2;
    op->move.runs = g_new0(VvMoveRun, 2);
    op->move.runs[0] = (VvMoveRun){ .first = 2, .count = 2, .from = vv_place(0, 12, false), .to = vv_place(0, 300, false) };
    op->move.runs[1] = (VvMoveRun){ .first = 4, .count = 2, .from = vv_place(0, 20, false), .to = vv_place(0, 302, false) };
    commit(f, ops);
    again(f, true);
    g_assert_cmpint(vv_sums_lookup(f->meta, f->family, 0, 0, &piece), ==, 0);
    g_assert_cmpuint(piece.present[0], ==, 0x0c00);
    g_assert_cmpint(vv_sums_lookup(f->meta, f->family, 0, 1, &piece), ==, 0);
    g_assert_cmpuint(piece.present[0], ==, (uint64_t) 3 << (300 - 256));
    g_assert_cmpuint(piece.crc[300 - 256], ==, sum_at(12)); /* of the bytes, wherever they are */
    g_assert_cmpuint(piece.crc[301 - 256], ==, sum_at(13));
}

/* A checkpoint that is under way hides nothing, and is hidden by what comes meanwhile: as the generations do one after another. */
static void test_generations(Fixture *f, gconstpointer data)
{
    (void) data;
    for (unsigned i = 0; i < 6; i++) {
        map(f, 0, 8, 8 * i, i % 3 != 2);
        if (i % 2 == 1)
            g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
        if (i % 3 != 2)
            assert_sums(f, 8 * i, 8 * i + 8, 8);
        else
            assert_sums(f, 0, 0, 0);
    }
}

/* What the catalog's count says and what free blocks have is looked at, and put right. */
static void test_check(Fixture *f, gconstpointer data)
{
    (void) data;
    map(f, 0, 8, 8, true);
    vv_meta_read_lock(f->meta);
    ((VvFamily *) vv_meta_family(f->meta, f->family))->sum_blocks++;
    vv_meta_read_unlock(f->meta);
    g_assert_cmpuint(check(f, false), ==, 1);
    g_assert_cmpuint(check(f, true), ==, 1);
    assert_sums(f, 8, 16, 8);
}

static void store_put(Fixture *f, const VvSumPiece *piece, bool damage)
{
    g_autofree char *map_path = g_build_filename(f->directory, "map", NULL);
    uint8_t key[24], bytes[VV_SUM_BYTES_MAX];
    size_t length_bytes = vv_sum_piece_encode(piece, bytes);
    VvStoreTxn *txn;
    vv_put_be64(key, piece->family);
    vv_put_be64(key + 8, piece->segment);
    vv_put_be64(key + 16, piece->mib);
    bytes[length_bytes - 1] ^= damage;
    vv_meta_close(f->meta);
    VvStore *store = vv_store_open(map_path, false, NULL);
    g_assert_nonnull(store);
    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    g_assert_cmpint(vv_store_put(txn, VV_TABLE_SUM, key, sizeof key, bytes, length_bytes), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    vv_store_close(store);
    open_meta(f);
}

/* Records of nothing that is there, and one that does not decode: found, and gone for good with a repair. */
static void test_strays(Fixture *f, gconstpointer data)
{
    (void) data;
    VvSumPiece stray = { .family = 999, .segment = 3, .present = { 6 } }, own = { .family = f->family, .mib = 1, .present = { 1 } };
    again(f, true); /* so that a repair has nothing else to write */
    store_put(f, &stray, false);
    store_put(f, &own, false); /* of a family that has none */
    g_assert_cmpuint(check(f, false), ==, 2);
    g_assert_cmpuint(check(f, true), ==, 2);
    again(f, true);
    g_assert_cmpuint(check(f, false), ==, 0);
    map(f, 0, 4, 256, true);
    again(f, true);
    store_put(f, &own, true);
    VvSumPiece got;
    g_assert_cmpint(vv_sums_lookup(f->meta, f->family, 0, 1, &got), ==, -EUCLEAN);
    g_assert_cmpuint(check(f, false), ==, 2); /* and the count is wrong */
    g_assert_cmpuint(check(f, true), ==, 2);
    again(f, true);
    assert_sums(f, 0, 0, 0);
}

static void test_codec(void)
{
    VvSumPiece piece = { .family = 77, .segment = 3, .mib = 9 }, got = piece;
    uint8_t bytes[VV_SUM_BYTES_MAX];
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        if (i % 3 != 0)
            piece.present[i / 64] |= (uint64_t) 1 << i % 64;
        piece.crc[i] = i * 0x9e3779b9u;
    }
    size_t length_bytes = vv_sum_piece_encode(&piece, bytes);
    g_assert_cmpuint(length_bytes, ==, 40 + 170 * 4);
    g_assert_cmpint(vv_sum_piece_decode(&got, bytes, length_bytes), ==, 0);
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        g_assert_cmpint(vv_sum_present(&got, i), ==, i % 3 != 0);
        if (i % 3 != 0)
            g_assert_cmpuint(got.crc[i], ==, piece.crc[i]);
    }
    for (size_t i = 0; i < length_bytes * 8; i++) { /* every bit */
        bytes[i / 8] ^= (uint8_t) (1u << i % 8);
        g_assert_cmpint(vv_sum_piece_decode(&got, bytes, length_bytes), ==, -EUCLEAN);
        g_assert_cmpuint(got.present[0], ==, 0);
        bytes[i / 8] ^= (uint8_t) (1u << i % 8);
    }
    for (size_t i = 0; i < length_bytes; i++)
        g_assert_cmpint(vv_sum_piece_decode(&got, bytes, i), ==, -EUCLEAN);
    got.mib = 10; /* in a wrong place */
    g_assert_cmpint(vv_sum_piece_decode(&got, bytes, length_bytes), ==, -EUCLEAN);
}

/* An entry with some: as it was, refused as newer where the flag is not known, damaged where sums are named and the flag is not set. */
static void test_entry(void)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvOps *ops = vv_ops_new(), *got = NULL;
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    VvMapChange changes[] = {
        { .region = 1, .first = 0, .count = 2, .place = vv_place(0, 5, true), .sums = 1 },
        { .region = 1, .first = 9, .count = 1, .place = 0 },
        { .region = 2, .first = 0, .count = 3, .place = vv_place(0, 9, true) },
        { .region = 2, .first = 7, .count = 1, .place = vv_place(1, 9, true), .sums = 3 },
    };
    uint32_t sums[] = { 1, 0xffffffff, 3 };
    op->map.change_count = G_N_ELEMENTS(changes);
    op->map.changes = g_memdup2(changes, sizeof changes);
    op->map.sum_count = G_N_ELEMENTS(sums);
    op->map.sums = g_memdup2(sums, sizeof sums);
    vv_ops_encode(ops, body);
    vv_ops_free(ops);
    g_assert_cmpint(vv_ops_decode(body->data, body->len, &got), ==, 0);
    op = vv_ops_get(got, 0);
    g_assert_cmpmem(op->map.sums, op->map.sum_count * 4, sums, sizeof sums);
    for (unsigned i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_assert_cmpuint(op->map.changes[i].sums, ==, changes[i].sums);
        g_assert_cmpuint(op->map.changes[i].place, ==, changes[i].place);
        g_assert_cmpuint(op->map.changes[i].count, ==, changes[i].count);
    }
    vv_ops_free(got);
    for (guint i = 4; i < body->len; i++)
        g_assert_cmpint(vv_ops_decode(body->data, i, &got), ==, -EUCLEAN);
    g_assert_cmpuint(body->data[5], ==, 1);
    body->data[5] = 3;
    g_assert_cmpint(vv_ops_decode(body->data, body->len, &got), ==, -EOPNOTSUPP);
    body->data[5] = 0;
    g_assert_cmpint(vv_ops_decode(body->data, body->len, &got), ==, -EUCLEAN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/meta/sums/codec", test_codec);
    g_test_add_func("/meta/sums/entry", test_entry);
    g_test_add("/meta/sums/life-replayed", Fixture, NULL, set_up, test_life, tear_down);
    g_test_add("/meta/sums/life-checkpointed", Fixture, "", set_up, test_life, tear_down);
    g_test_add("/meta/sums/move", Fixture, NULL, set_up, test_move, tear_down);
    g_test_add("/meta/sums/generations", Fixture, NULL, set_up, test_generations, tear_down);
    g_test_add("/meta/sums/check", Fixture, NULL, set_up, test_check, tear_down);
    g_test_add("/meta/sums/strays", Fixture, NULL, set_up, test_strays, tear_down);
    return g_test_run();
}
