/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of places on a real pool: a byte that changed on the disk is EIO for who maps it and for nobody else, wherever the checksum
 * comes from (pending, cache, overlay, store); no place with a checksum is written in place; nothing is taken for damaged that is not. */
#include "engine-pool.h"

#include "damage.h"
#include "io_state.h"
#include "pool_jobs.h"

#include <unistd.h>

#define POOL_BYTES ((uint64_t) 64 << 20)
#define LUN_BYTES ((uint64_t) 8 << 20)
#define BLOCK ((uint64_t) VV_BLOCK_BYTES)

static void set_integrity(TestPool *test, const char *lun, bool on)
{
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .integrity = on };
    vv_pool_lun_set(test->pool, lun, VV_LUN_INTEGRITY, &props, NULL, &error);
    g_assert_no_error(error);
}

static void write_block(VvHandle *handle, uint64_t block, unsigned count, int byte)
{
    g_autofree uint8_t *data = test_blocks_new(count, byte);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), data, block * BLOCK, count * BLOCK), ==, (int64_t) (count * BLOCK));
}

static int64_t read_block(VvHandle *handle, uint64_t block, int wanted)
{
    g_autofree uint8_t *data = test_blocks_new(1, 0xee);
    int64_t result = vv_view_read(vv_handle_view(handle), data, block * BLOCK, BLOCK);
    if (result == (int64_t) BLOCK)
        for (unsigned i = 0; i < VV_BLOCK_BYTES; i++)
            g_assert_cmpuint(data[i], ==, (unsigned) wanted);
    return result < 0 ? result : 0;
}

static void flush(VvHandle *handle)
{
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
}

/* Where the view's block is, pending or applied. */
static VvPlace place_of(VvHandle *handle, uint64_t block)
{
    VvView *view = vv_handle_view(handle);
    VvPage page;
    {
        VV_LOCKED(&view->lock);
        const VvPendingRegion *region = vv_pending_find(&view->pending, block / VV_REGION_BLOCKS);
        const VvPendingBlock *pending = region ? vv_pending_block(region, block % VV_REGION_BLOCKS) : NULL;
        if (pending)
            return pending->place;
    }
    g_assert_cmpint(vv_map_lookup(view->pool->meta, view->branch, block / VV_REGION_BLOCKS, view->epoch, &page, NULL, NULL), ==, 0);
    return page.place[block % VV_REGION_BLOCKS];
}

/* Flip a bit under the pool. */
static void flip(VvHandle *handle, uint64_t block)
{
    VvView *view = vv_handle_view(handle);
    VvPlace place = place_of(handle, block);
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    uint8_t byte;
    g_assert_cmpint(vv_resolve(view->pool, view->family, vv_place_segment(place), vv_place_block(place), 1, VV_FOR_READ, runs), ==, 1);
    int fd = open(vv_disk_path(runs[0].disk), O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    off_t at = (off_t) runs[0].offset_bytes + 1234;
    g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
    byte ^= 0x10;
    g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
    close(fd);
}

/* The same damage is seen from pending, from the overlay, from the store after a restart, and by snapshot and LUN; a block written anew
 * is well, a block beside was always. */
static void test_flip(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", LUN_BYTES);
    set_integrity(test, "a", true);
    VvHandle *handle = test_open(test, id, true);
    write_block(handle, 10, 4, 0x11);
    g_assert_cmpint(read_block(handle, 11, 0x11), ==, 0);
    flip(handle, 11);
    g_assert_cmpint(read_block(handle, 11, 0x11), ==, -EIO);
    g_assert_cmpint(read_block(handle, 12, 0x11), ==, 0);
    flush(handle);
    g_assert_cmpint(read_block(handle, 11, 0x11), ==, -EIO);
    test_snapshot(test, "a@s");
    write_block(handle, 11, 1, 0x22);
    g_assert_cmpint(read_block(handle, 11, 0x22), ==, 0);
    flush(handle);
    g_assert_cmpint(read_block(handle, 11, 0x22), ==, 0);
    uint64_t snapshot = test_snapshot_id(test, "a", "s");
    VvHandle *old = test_open(test, snapshot, false);
    g_assert_cmpint(read_block(old, 11, 0x11), ==, -EIO);
    g_assert_cmpint(read_block(old, 10, 0x11), ==, 0);
    vv_handle_close(old);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_reopen(test);
    handle = test_open(test, id, true);
    old = test_open(test, snapshot, false);
    g_assert_cmpint(read_block(old, 11, 0x11), ==, -EIO);
    g_assert_cmpint(read_block(old, 12, 0x11), ==, 0);
    g_assert_cmpint(read_block(handle, 11, 0x22), ==, 0);
    flip(handle, 12); /* which both see */
    g_assert_cmpint(read_block(handle, 12, 0x11), ==, -EIO);
    g_assert_cmpint(read_block(old, 12, 0x11), ==, -EIO);
    vv_handle_close(old);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* A write of a part needs the rest: it fails where that is damaged, and leaves the block as it was; a write of the whole does not. */
static void test_partial(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    set_integrity(test, "a", true);
    write_block(handle, 3, 2, 0x11);
    flush(handle);
    flip(handle, 3);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), "x", 3 * BLOCK + 7, 1), ==, -EIO);
    g_assert_cmpint(vv_view_zero(vv_handle_view(handle), 3 * BLOCK + 7, 100), ==, -EIO);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), "x", 4 * BLOCK + 7, 1), ==, 1);
    uint8_t got[3];
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 4 * BLOCK + 6, 3), ==, 3);
    g_assert_cmpmem(got, 3, "\x11x\x11", 3);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 3 * BLOCK + 4000, 3), ==, -EIO);
    write_block(handle, 3, 1, 0x33);
    g_assert_cmpint(read_block(handle, 3, 0x33), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

static uint64_t blocks_in_place(TestPool *test)
{
    VvPoolStats stats;
    vv_pool_stats(test->pool, &stats);
    return stats.blocks_in_place;
}

/* integrity=off again: what has a checksum is redirected, what has none is written in place; pending or applied, by the LUN that wrote it
 * or by a clone that inherited it. */
static void test_never_in_place(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    uint64_t id = test_lun_new(test, "a", LUN_BYTES), clone;
    VvHandle *handle = test_open(test, id, true);
    set_integrity(test, "a", true);
    write_block(handle, 0, 8, 0x11);
    flush(handle);
    write_block(handle, 8, 8, 0x22); /* pending */
    set_integrity(test, "a", false);
    uint64_t before = blocks_in_place(test);
    write_block(handle, 0, 16, 0x33);
    g_assert_cmpuint(blocks_in_place(test), ==, before);
    write_block(handle, 0, 16, 0x44);
    g_assert_cmpuint(blocks_in_place(test), ==, before + 16); /* pending without */
    flush(handle);
    write_block(handle, 0, 16, 0x55);
    g_assert_cmpuint(blocks_in_place(test), ==, before + 32); /* applied without, in a family that has some */
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpint(read_block(handle, i, 0x55), ==, 0);

    set_integrity(test, "a", true);
    write_block(handle, 0, 4, 0x66);
    test_snapshot(test, "a@s");
    g_assert_true(vv_pool_clone(test->pool, "a@s", "c", 0, NULL, NULL, &clone, &error));
    g_assert_no_error(error);
    set_integrity(test, "c", false);
    const char *luns[] = { "a", NULL };
    VvRemoval removal;
    vv_handle_close(handle);
    g_assert_true(vv_pool_lun_remove(test->pool, luns, true, false, false, NULL, &removal, &error)); /* its pages go to the clone (R7) */
    vv_removal_clear(&removal);
    g_assert_true(vv_pool_job_wait(test->pool, NULL, 0, 20000, NULL, &error));
    handle = test_open(test, clone, true);
    before = blocks_in_place(test);
    write_block(handle, 0, 8, 0x77);
    g_assert_cmpuint(blocks_in_place(test), ==, before + 4); /* blocks 4 to 7 have none */
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpint(read_block(handle, i, i < 8 ? 0x77 : 0x55), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_reopen(test);
    handle = test_open(test, clone, true);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpint(read_block(handle, i, i < 8 ? 0x77 : 0x55), ==, 0);
    vv_handle_close(handle);
    test_pool_free(test);
}

/* Places go round and round between a LUN with checksums and its clone without: nothing stale is left behind. */
static void test_reuse(void)
{
    TestPool *test = test_pool_new((uint64_t) 16 << 20);
    g_autoptr(GError) error = NULL;
    uint64_t id = test_lun_new(test, "a", 2 << 20), clone;
    VvHandle *a = test_open(test, id, true);
    set_integrity(test, "a", true);
    test_snapshot(test, "a@s");
    g_assert_true(vv_pool_clone(test->pool, "a@s", "c", 0, NULL, NULL, &clone, &error));
    set_integrity(test, "c", false);
    VvHandle *c = test_open(test, clone, true);
    for (unsigned round = 0; round < 24; round++) {
        VvHandle *handle = round % 2 ? c : a;
        write_block(handle, 0, 512, (int) round + 1);
        flush(handle);
        for (unsigned i = 0; i < 512; i += 37)
            g_assert_cmpint(read_block(handle, i, (int) round + 1), ==, 0);
        if (round % 4 >= 2) { /* all of it free */
            g_assert_cmpint(vv_view_zero(vv_handle_view(handle), 0, 2 << 20), ==, 0);
            flush(handle);
            write_block(handle, round, 100, 0x7f);
            g_assert_cmpint(read_block(handle, round + 99, 0x7f), ==, 0);
        }
        if (round % 8 == 7)
            test_pool_check(test);
    }
    vv_handle_close(a);
    vv_handle_close(c);
    test_pool_check(test);
    test_pool_free(test);
}

/* A family that never had one is not asked about. */
static void test_without(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    write_block(handle, 0, 4, 0x11);
    flush(handle);
    flip(handle, 1);
    uint8_t data[4096];
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), data, BLOCK, BLOCK), ==, (int64_t) BLOCK);
    g_assert_cmpuint(atomic_load(&test->pool->sums_verified), ==, 0);
    g_assert_false(vv_sum_cache_any(test->pool->sums));
    vv_handle_close(handle);
    test_pool_free(test);
}

/* A repack takes checksums along, and leaves what is damaged where it is, as bad as it was. */
static void test_repack(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    uint64_t job;
    set_integrity(test, "a", true);
    write_block(handle, 0, 64, 0x11);
    for (unsigned i = 0; i < 64; i += 2)
        write_block(handle, i, 1, 0x22);
    flush(handle);
    flip(handle, 20);
    VvPlace bad = place_of(handle, 20), good = place_of(handle, 22);
    g_assert_true(vv_pool_lun_repack(test->pool, "a", &job, &error));
    g_assert_no_error(error);
    g_assert_true(vv_pool_job_wait(test->pool, &job, 1, 20000, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(place_of(handle, 20), ==, bad);
    g_assert_cmpuint(place_of(handle, 22), !=, good);
    g_assert_cmpint(read_block(handle, 20, 0), ==, -EIO);
    for (unsigned i = 0; i < 64; i++)
        if (i != 20)
            g_assert_cmpint(read_block(handle, i, i % 2 ? 0x11 : 0x22), ==, 0);
    flip(handle, 22);
    g_assert_cmpint(read_block(handle, 22, 0), ==, -EIO);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

static uint64_t scrub(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    uint64_t job, errors = UINT64_MAX;
    g_assert_true(vv_pool_scrub(test->pool, 0, &job, &error));
    g_assert_true(vv_pool_job_wait(test->pool, &job, 1, 30000, NULL, &error));
    g_assert_no_error(error);
    g_autoptr(GPtrArray) ended = vv_pool_ended_jobs(test->pool);
    for (unsigned i = 0; i < ended->len; i++)
        if (((const VvEndedJob *) g_ptr_array_index(ended, i))->id == job)
            errors = ((const VvEndedJob *) g_ptr_array_index(ended, i))->errors;
    return errors;
}

/* A scrub finds what nobody has read, once however many share it; not what has no checksum, nor what nothing can be read through. */
static void test_scrub(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *plain = test_open(test, test_lun_new(test, "plain", LUN_BYTES), true);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    g_assert_cmpuint(scrub(test), ==, 0);
    write_block(plain, 0, 100, 0x11);
    flush(plain);
    flip(plain, 50);
    set_integrity(test, "a", true);
    for (unsigned i = 0; i < 8; i++)
        write_block(handle, i * 256, 100, 0x22);
    flush(handle);
    test_snapshot(test, "a@s");
    g_assert_cmpuint(scrub(test), ==, 0);
    uint64_t verified = atomic_load(&test->pool->sums_verified);
    g_assert_cmpuint(verified, ==, 800);
    flip(handle, 256 + 3);
    flip(handle, 1024 + 99);
    g_assert_cmpuint(scrub(test), ==, 2);
    g_assert_cmpuint(atomic_load(&test->pool->sums_verified), ==, verified + 800);
    uint64_t used, checksummed;
    vv_pool_checksummed(test->pool, 0, &used, &checksummed);
    g_assert_cmpuint(used, ==, 900 * BLOCK);
    g_assert_cmpuint(checksummed, ==, 800 * BLOCK);
    write_block(handle, 1024, 100, 0x33);
    flush(handle);
    g_assert_cmpuint(scrub(test), ==, 2); /* the snapshot */
    vv_handle_close(handle);
    vv_handle_close(plain);
    test_pool_reopen(test);
    g_assert_cmpuint(scrub(test), ==, 2);
    const char *all[] = { "a@*", NULL };
    VvRemoval removal;
    g_autoptr(GError) error = NULL;
    g_assert_true(vv_pool_snapshot_remove(test->pool, all, false, false, NULL, &removal, &error));
    vv_removal_clear(&removal);
    g_assert_cmpuint(scrub(test), ==, 1);
    test_pool_check(test);
    test_pool_free(test);
}

static uint64_t bad_offset;

static int bad_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    if (offset <= bad_offset && bad_offset < offset + length_bytes)
        return -EIO;
    return vv_disk_file_ops.read(disk, data, length_bytes, offset);
}

/* What the disk does not give is found too, with a checksum or without, and what is around it is read. */
static void test_unreadable(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t plain = test_lun_new(test, "plain", LUN_BYTES);
    VvHandle *handle = test_open(test, plain, true);
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    write_block(handle, 0, 100, 0x11);
    flush(handle);
    VvPlace place = place_of(handle, 42);
    g_assert_cmpint(vv_resolve(test->pool, vv_handle_view(handle)->family, vv_place_segment(place), vv_place_block(place), 1,
                        VV_FOR_READ, runs), ==, 1);
    bad_offset = runs[0].offset_bytes + 77;
    vv_handle_close(handle);
    test_pool_reopen(test);
    VvDiskOps ops = vv_disk_file_ops;
    ops.read = bad_read;
    vv_disk_set_ops(g_ptr_array_index(test->pool->disks, 0), &ops, NULL);
    g_assert_cmpuint(scrub(test), ==, 1);
    g_autoptr(GPtrArray) list = vv_damages_list(test->pool, 10, NULL, NULL);
    g_assert_cmpuint(list->len, ==, 1);
    const VvDamage *damage = g_ptr_array_index(list, 0);
    g_assert_cmpint(damage->kind, ==, VV_DAMAGE_UNREADABLE);
    g_assert_cmpuint(damage->offset, ==, 42 * BLOCK);
    g_assert_cmpuint(damage->disk_offset, ==, bad_offset - 77);
    test_pool_free(test);
}

static char *damage_event(TestPool *test)
{
    for (unsigned tries = 0; tries < 2000; tries++) {
        g_autoptr(GPtrArray) events = vv_pool_events(test->pool, 0);
        for (unsigned i = 0; i < events->len; i++) {
            const VvEvent *event = g_ptr_array_index(events, i);
            if (strcmp(event->code, "damage") == 0)
                return g_strdup(event->message);
        }
        g_usleep(5000);
    }
    return NULL;
}

static void test_told(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", LUN_BYTES), true);
    set_integrity(test, "a", true);
    write_block(handle, 300, 4, 0x11);
    test_snapshot(test, "a@one");
    test_snapshot(test, "a@two");
    flip(handle, 301);
    g_assert_cmpint(read_block(handle, 301, 0x11), ==, -EIO);
    g_autofree char *message = damage_event(test);
    g_assert_nonnull(message);
    g_autoptr(GPtrArray) problems = vv_pool_problems(test->pool);
    const VvProblem *problem = g_ptr_array_index(problems, 0);
    g_assert_cmpstr(problem->code, ==, "damage");
    g_assert_cmpstr(problem->message, ==, message);
    if (strstr(message, "disk0 holds wrong bytes at ") == NULL || strstr(message, ": a, a@one, a@two at 1232896") == NULL)
        g_error("%s", message);
    write_block(handle, 301, 1, 0x22);
    flush(handle);
    g_autoptr(GPtrArray) left = vv_damages_list(test->pool, 10, NULL, NULL);
    g_assert_cmpuint(left->len, ==, 1);
    const VvDamage *damage = g_ptr_array_index(left, 0);
    g_assert_cmpuint(damage->objects->len, ==, 2); /* the snapshots */
    const char *all[] = { "a@*", NULL };
    VvRemoval removal;
    g_autoptr(GError) error = NULL;
    g_assert_true(vv_pool_snapshot_remove(test->pool, all, false, false, NULL, &removal, &error));
    vv_removal_clear(&removal);
    g_autoptr(GPtrArray) none = vv_damages_list(test->pool, 10, NULL, NULL);
    g_assert_cmpuint(none->len, ==, 0);
    uint64_t more;
    g_assert_cmpuint(vv_damages_count(test->pool, &more), ==, 0);
    g_assert_cmpuint(more, ==, 0);
    vv_handle_close(handle);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/sums/flip", test_flip);
    g_test_add_func("/engine/sums/partial", test_partial);
    g_test_add_func("/engine/sums/never-in-place", test_never_in_place);
    g_test_add_func("/engine/sums/reuse", test_reuse);
    g_test_add_func("/engine/sums/without", test_without);
    g_test_add_func("/engine/sums/told", test_told);
    g_test_add_func("/engine/sums/repack", test_repack);
    g_test_add_func("/engine/sums/scrub", test_scrub);
    g_test_add_func("/engine/sums/unreadable", test_unreadable);
    return g_test_run();
}
