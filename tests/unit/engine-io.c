/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The data path on a real pool: what is written is read, at any offset and length, through flush, snapshot and restart. */
#include "engine-pool.h"

#include "io_state.h"
#include "pool_jobs.h"

#define POOL_BYTES ((uint64_t) 64 << 20)
#define LUN_BYTES ((uint64_t) 8 << 20)

static void assert_reads(VvHandle *handle, uint64_t offset, const void *wanted, uint64_t length_bytes)
{
    g_autofree uint8_t *got = g_malloc(length_bytes);
    memset(got, 0xee, length_bytes);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, offset, length_bytes), ==, (int64_t) length_bytes);
    for (uint64_t i = 0; i < length_bytes; i++)
        if (got[i] != ((const uint8_t *) wanted)[i])
            g_error("byte %" G_GUINT64_FORMAT " is %02x, not %02x", offset + i, got[i], ((const uint8_t *) wanted)[i]);
}

static void write_all(VvHandle *handle, uint64_t offset, const void *data, uint64_t length_bytes)
{
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), data, offset, length_bytes), ==, (int64_t) length_bytes);
}

static void test_write_read(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true);
    g_autofree uint8_t *flat = g_malloc0(LUN_BYTES);

    assert_reads(handle, 0, flat, LUN_BYTES);
    memset(flat + 4096, 0x11, 8192);
    write_all(handle, 4096, flat + 4096, 8192);
    memset(flat + 700, 0x22, 5000); /* partial blocks at both ends */
    write_all(handle, 700, flat + 700, 5000);
    assert_reads(handle, 0, flat, LUN_BYTES);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    assert_reads(handle, 0, flat, LUN_BYTES);
    memset(flat + 1048000, 0x33, 2000); /* across regions; in place for nobody */
    write_all(handle, 1048000, flat + 1048000, 2000);
    memset(flat + 8000, 0x44, 300); /* in place */
    write_all(handle, 8000, flat + 8000, 300);
    assert_reads(handle, 0, flat, LUN_BYTES);
    test_pool_check(test);

    vv_handle_close(handle);
    test_pool_reopen(test);
    handle = test_open(test, id, true);
    assert_reads(handle, 0, flat, LUN_BYTES);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* Blocks that writing the first MiB anew puts elsewhere, flushed. */
static uint64_t redirected_by_write(TestPool *test, VvHandle *handle, int byte)
{
    g_autofree uint8_t *data = g_malloc(1 << 20);
    VvPoolStats before, after;
    memset(data, byte, 1 << 20);
    vv_pool_stats(test->pool, &before);
    write_all(handle, 0, data, 1 << 20);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_pool_stats(test->pool, &after);
    return after.blocks_redirected - before.blocks_redirected;
}

/* Restored, and the snapshots removed: merged pages have epoch 0, and are the head's own like others. Else the LUN would need
 * space for ever to be overwritten, and get ENOSPC for it in a full pool. */
static void test_in_place_after_merge(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    g_autofree char *kept = NULL;
    const char *all[] = { "a@*", NULL };
    VvRemoval removal;
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true);
    g_assert_cmpuint(redirected_by_write(test, handle, 1), ==, VV_REGION_BLOCKS);
    test_snapshot(test, "a@s");
    g_assert_cmpuint(redirected_by_write(test, handle, 2), ==, VV_REGION_BLOCKS);
    vv_handle_close(handle);
    g_assert_true(vv_pool_snapshot_restore(test->pool, "a@s", false, false, false, NULL, &kept, &error));
    g_assert_true(vv_pool_snapshot_remove(test->pool, all, false, false, NULL, &removal, &error));
    vv_removal_clear(&removal);
    g_assert_true(vv_pool_job_wait(test->pool, NULL, 0, 20000, NULL, &error));
    g_assert_no_error(error);
    handle = test_open(test, id, true);
    g_assert_cmpuint(redirected_by_write(test, handle, 3), ==, 0);
    test_snapshot(test, "a@t"); /* which is nobody's to write to */
    g_assert_cmpuint(redirected_by_write(test, handle, 4), ==, VV_REGION_BLOCKS);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

static void test_ends(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 10 * 1024), true); /* not a multiple of a block */
    VvView *view = vv_handle_view(handle);
    uint8_t data[4096], got[8192];
    memset(data, 0x55, sizeof data);

    g_assert_cmpint(vv_view_write(view, data, 9 * 1024, sizeof data), ==, 1024);
    g_assert_cmpint(vv_view_write(view, data, 10 * 1024, 1), ==, -ENOSPC);
    g_assert_cmpint(vv_view_read(view, got, 10 * 1024, 1), ==, 0);
    g_assert_cmpint(vv_view_read(view, got, 9 * 1024 - 10, sizeof got), ==, 1024 + 10);
    g_assert_cmpuint(got[9], ==, 0);
    g_assert_cmpuint(got[10], ==, 0x55);
    vv_handle_close(handle);
    test_pool_free(test);
}

static void test_zero(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    VvView *view = vv_handle_view(handle);
    g_autofree uint8_t *flat = g_malloc(65536);
    VvViewStat stat;
    uint64_t offset;

    memset(flat, 0x66, 65536);
    write_all(handle, 0, flat, 65536);
    for (unsigned flushed = 0; flushed < 2; flushed++) { /* pending, then applied */
        vv_view_stat(view, &stat);
        g_assert_cmpuint(stat.used_bytes, ==, 65536);
        g_assert_cmpint(vv_view_zero(view, 5000, 20000), ==, 0);
        memset(flat + 5000, 0, 20000);
        assert_reads(handle, 0, flat, 65536);
        vv_view_stat(view, &stat);
        g_assert_cmpuint(stat.used_bytes, ==, 65536 - 4 * 4096); /* blocks 2 to 5 are wholly covered */
        g_assert_cmpint(vv_view_seek(view, 0, false, &offset), ==, 0);
        g_assert_cmpuint(offset, ==, 8192);
        g_assert_cmpint(vv_view_seek(view, offset, true, &offset), ==, 0);
        g_assert_cmpuint(offset, ==, 6 * 4096);
        g_assert_cmpint(vv_view_seek(view, 65536, true, &offset), ==, -ENXIO);
        g_assert_cmpint(vv_view_flush(view), ==, 0);
        assert_reads(handle, 0, flat, 65536);
        memset(flat, 0x67, 65536);
        write_all(handle, 0, flat, 65536);
    }
    g_assert_cmpint(vv_view_allocate(view, 0, 131072), ==, 0);
    vv_view_stat(view, &stat);
    g_assert_cmpuint(stat.used_bytes, ==, 131072);
    assert_reads(handle, 0, flat, 65536);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    test_pool_check(test);
    vv_handle_close(handle);
    test_pool_free(test);
}

static void test_snapshot_stays(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true);
    g_autofree uint8_t *flat = g_malloc0(LUN_BYTES), *frozen = NULL;

    memset(flat, 0x11, 300000);
    write_all(handle, 0, flat, 300000);
    test_snapshot(test, "a@one");
    frozen = g_memdup2(flat, LUN_BYTES);
    memset(flat + 1000, 0x22, 100000);
    write_all(handle, 1000, flat + 1000, 100000);
    VvHandle *snapshot = test_open(test, test_snapshot_id(test, "a", "one"), false);
    for (unsigned round = 0; round < 3; round++) { /* pending, applied, overwritten in place */
        assert_reads(snapshot, 0, frozen, LUN_BYTES);
        assert_reads(handle, 0, flat, LUN_BYTES);
        g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
        memset(flat + 20000 * round, 0x30 + (int) round, 7000);
        write_all(handle, 20000 * round, flat + 20000 * round, 7000);
    }
    assert_reads(snapshot, 0, frozen, LUN_BYTES);
    uint8_t byte = 1;
    g_assert_cmpint(vv_view_write(vv_handle_view(snapshot), &byte, 0, 1), ==, -EROFS);
    vv_handle_close(snapshot);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

static void flush_done_cb(void *user, int result)
{
    atomic_store((_Atomic int *) user, result);
}

/* A snapshot by hand: what was acknowledged before the switch is in it, pending or not; what came after is not, though it was
 * there when the entry was made; and nothing of that is journalled before the entry. */
static void test_switch(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    g_autofree uint8_t *frozen = g_malloc0(LUN_BYTES), *flat = g_malloc0(LUN_BYTES);
    _Atomic int flushed = 1;
    memset(frozen, 0x11, 20000);
    write_all(handle, 0, frozen, 20000); /* pending when it is switched */
    memcpy(flat, frozen, LUN_BYTES);
    g_assert_true(vv_gate_close(view, false, 1000));
    vv_view_switch(view, 1);
    vv_gate_open(view, false);
    memset(flat + 100, 0x22, 9000);
    write_all(handle, 100, flat + 100, 9000);
    memset(flat + 50000, 0x33, 5000);
    write_all(handle, 50000, flat + 50000, 5000);
    g_assert_cmpint(vv_view_sync_disks(view), ==, 0);
    vv_flush_start(view, true, flush_done_cb, &flushed);

    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
    op->snapshot_create.id = vv_meta_new_id(test->pool->meta);
    op->snapshot_create.lun = id;
    op->snapshot_create.name = g_strdup("one");
    op->snapshot_create.note = g_strdup("");
    vv_uuid_generate(&op->snapshot_create.uuid);
    g_assert_cmpint(vv_commit_ops(test->pool->committer, &view, 1, ops), ==, 0);
    g_assert_cmpint(atomic_load(&flushed), ==, 1); /* its records are behind the limit */
    vv_view_switched(view);
    while (atomic_load(&flushed) == 1)
        sched_yield();
    g_assert_cmpint(atomic_load(&flushed), ==, 0);
    VvHandle *snapshot = test_open(test, test_snapshot_id(test, "a", "one"), false);
    assert_reads(snapshot, 0, frozen, LUN_BYTES);
    assert_reads(handle, 0, flat, LUN_BYTES);
    vv_handle_close(snapshot);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

static void test_elastic(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", 0);
    VvHandle *handle = test_open(test, id, true);
    uint8_t data[5000];
    VvViewStat stat;
    memset(data, 0x77, sizeof data);
    write_all(handle, 0, data, 5000);
    g_assert_cmpuint(vv_view_size(vv_handle_view(handle)), ==, 5000);
    write_all(handle, 5000, data, 10); /* within the last block: no new one */
    g_assert_cmpuint(vv_view_size(vv_handle_view(handle)), ==, 5010);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
    vv_jobs_drain_closed(test->pool);
    g_assert_cmpint(vv_pool_stat(test->pool, id, &stat), ==, 0);
    g_assert_cmpuint(stat.size_bytes, ==, 8192);
    g_assert_false(stat.elastic);
    test_pool_free(test);
}

/* What was flushed is there after a kill: in a copy of the pool as it lies on the disk while it is open. */
static void test_killed(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    VvHandle *handle = test_open(test, id, true);
    g_autofree uint8_t *flat = g_malloc0(LUN_BYTES);
    g_autofree char *copy = g_strconcat(test->directory, "-copy", NULL), *original = NULL;
    for (unsigned i = 0; i < 50; i++) {
        uint64_t at = (uint64_t) g_test_rand_int_range(0, LUN_BYTES - 70000),
                 length = (uint64_t) g_test_rand_int_range(1, 70000);
        memset(flat + at, (int) i + 1, length);
        write_all(handle, at, flat + at, length);
        if (i == 20)
            test_snapshot(test, "a@one");
        if (i % 10 == 5) {
            g_assert_cmpint(vv_view_zero(vv_handle_view(handle), at, length), ==, 0);
            memset(flat + at, 0, length);
        }
    }
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    const char *argv[] = { "cp", "-a", "--sparse=always", test->directory, copy, NULL };
    g_assert_true(g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL));
    vv_handle_close(handle);
    vv_pool_close(test->pool);

    /* A power failure leaves the very files; only a copy is told by this one. */
    g_autofree char *mark = g_build_filename(copy, "in-use", NULL);
    g_assert_cmpint(g_unlink(mark), ==, 0);
    original = test->directory;
    test->directory = copy;
    test_pool_open(test);
    handle = test_open(test, id, true);
    assert_reads(handle, 0, flat, LUN_BYTES);
    test_pool_check(test);
    memset(flat, 0x77, LUN_BYTES / 2); /* and it goes on: nothing that is used is given out */
    write_all(handle, 0, flat, LUN_BYTES / 2);
    assert_reads(handle, 0, flat, LUN_BYTES);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    test_pool_check(test);
    vv_handle_close(handle);
    g_autoptr(GError) error = NULL;
    vv_pool_close(test->pool);
    vv_pool_destroy(copy, false, NULL, &error);
    g_assert_no_error(error);
    (void) g_rmdir(copy);
    test->directory = g_steal_pointer(&original);
    test_pool_open(test);
    test_pool_free(test);
}

/* A pool that is full says so, everything stays readable, and discarding makes room. */
static void test_full(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", 4 * POOL_BYTES);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    g_autofree uint8_t *data = g_malloc(1 << 20);
    uint64_t written = 0;
    int64_t rc;
    for (;;) {
        memset(data, (int) (written >> 20) + 1, 1 << 20);
        rc = vv_view_write(view, data, written, 1 << 20);
        if (rc < 0)
            break;
        written += (uint64_t) rc;
    }
    g_assert_cmpint(rc, ==, -ENOSPC);
    g_assert_cmpuint(written, >, POOL_BYTES - ((uint64_t) 4 << 20));
    for (uint64_t at = 0; at + (1 << 20) <= written; at += 1 << 20) {
        memset(data, (int) (at >> 20) + 1, 1 << 20);
        assert_reads(handle, at, data, 1 << 20);
    }
    g_assert_cmpint(vv_view_zero(view, 0, 2 << 20), ==, 0);
    memset(data, 0x99, 1 << 20);
    write_all(handle, 0, data, 1 << 20);
    write_all(handle, (uint64_t) 2 * POOL_BYTES, data, 1 << 20);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    test_pool_check(test);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* Some requests of the largest size on a scattered LUN end at once: their parts are more than the free list keeps. */
static void test_many_parts(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvIoState *state = vv_io_state_new(test->pool);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 4 * VV_REGION_BLOCKS; i++) {
            VvIoPart *part = vv_io_part_new(state);
            part->next = state->parts;
            state->parts = part;
        }
        vv_io_parts_free(state);
        g_assert_null(state->parts);
    }
    vv_io_state_free(state);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/io/write-read", test_write_read);
    g_test_add_func("/engine/io/in-place-after-merge", test_in_place_after_merge);
    g_test_add_func("/engine/io/ends", test_ends);
    g_test_add_func("/engine/io/zero", test_zero);
    g_test_add_func("/engine/io/snapshot-stays", test_snapshot_stays);
    g_test_add_func("/engine/io/switch", test_switch);
    g_test_add_func("/engine/io/elastic", test_elastic);
    g_test_add_func("/engine/io/killed", test_killed);
    g_test_add_func("/engine/io/full", test_full);
    g_test_add_func("/engine/io/many-parts", test_many_parts);
    return g_test_run();
}
