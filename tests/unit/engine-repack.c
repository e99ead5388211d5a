/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Repacking on a real pool: scattered blocks come together, every object reads as before, no space is lost; the job is paused,
 * cancelled, overtaken by restore and removal; and who has an old place in hand is redirected. Under many writers:
 * tests/model/data-path. */
#include "engine-pool.h"

#include "alloc_private.h"
#include "pool_jobs.h"

#include <errno.h>

#define POOL_BYTES ((uint64_t) 256 << 20)
#define LUN_REGIONS 20u /* a repack begins by itself from 16 scattered ones on */
#define LUN_BYTES ((uint64_t) LUN_REGIONS << VV_REGION_SHIFT)
#define WAIT_MS 30000u

typedef struct {
    TestPool *test;
    uint64_t lun;
    VvHandle *handle;
    uint8_t *flat;                /* what the LUN holds */
    uint8_t *frozen[3];           /* what its snapshots s0 to s2 hold */
    GRand *random;
    GPtrArray *reserved; /* places */
} Fixture;

static void write_block(Fixture *f, unsigned block, unsigned count)
{
    uint8_t *at = f->flat + (size_t) block * VV_BLOCK_BYTES;
    for (size_t i = 0; i < (size_t) count * VV_BLOCK_BYTES; i += 8) {
        uint64_t word = g_rand_int(f->random);
        memcpy(at + i, &word, 8);
    }
    g_assert_cmpint(vv_view_write(vv_handle_view(f->handle), at, (uint64_t) block * VV_BLOCK_BYTES,
                        (uint64_t) count * VV_BLOCK_BYTES), ==, (int64_t) count * VV_BLOCK_BYTES);
}

/* A full LUN; three snapshots with random overwrites between them. */
static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    f->random = g_rand_new_with_seed((guint32) g_test_rand_int());
    f->test = test_pool_new(POOL_BYTES);
    f->lun = test_lun_new(f->test, "db", LUN_BYTES);
    f->handle = test_open(f->test, f->lun, true);
    f->flat = g_malloc0(LUN_BYTES);
    for (unsigned r = 0; r < LUN_REGIONS; r++)
        write_block(f, r * VV_REGION_BLOCKS, VV_REGION_BLOCKS);
    for (unsigned s = 0; s < 3; s++) {
        g_autofree char *object = g_strdup_printf("db@s%u", s);
        test_snapshot(f->test, object);
        f->frozen[s] = g_memdup2(f->flat, LUN_BYTES);
        for (unsigned i = 0; i < LUN_REGIONS * 40; i++)
            write_block(f, (unsigned) g_rand_int_range(f->random, 0, LUN_REGIONS * VV_REGION_BLOCKS), 1);
    }
    g_assert_cmpint(vv_view_flush(vv_handle_view(f->handle)), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    test_pool_check(f->test);
    if (f->handle)
        vv_handle_close(f->handle);
    test_pool_free(f->test);
    for (unsigned s = 0; s < 3; s++)
        g_free(f->frozen[s]);
    g_free(f->flat);
    g_rand_free(f->random);
}

static void assert_object(Fixture *f, uint64_t id, const uint8_t *wanted)
{
    g_autofree uint8_t *got = g_malloc(LUN_BYTES);
    g_autoptr(VvHandle) handle = test_open(f->test, id, false);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 0, LUN_BYTES), ==, (int64_t) LUN_BYTES);
    for (uint64_t i = 0; i < LUN_BYTES; i += VV_BLOCK_BYTES)
        if (memcmp(got + i, wanted + i, VV_BLOCK_BYTES) != 0)
            g_error("block %" G_GUINT64_FORMAT " differs", i / VV_BLOCK_BYTES);
}

static void assert_all(Fixture *f)
{
    assert_object(f, f->lun, f->flat);
    for (unsigned s = 0; s < 3; s++) {
        g_autofree char *name = g_strdup_printf("s%u", s);
        assert_object(f, test_snapshot_id(f->test, "db", name), f->frozen[s]);
    }
}

static uint64_t branch_of(Fixture *f)
{
    vv_meta_read_lock(f->test->pool->meta);
    uint64_t branch = vv_meta_lun(f->test->pool->meta, f->lun)->branch;
    vv_meta_read_unlock(f->test->pool->meta);
    return branch;
}

static unsigned count_breaks(Fixture *f)
{
    unsigned breaks = 0;
    for (unsigned region = 0; region < LUN_REGIONS; region++) {
        VvPage page;
        g_assert_cmpint(vv_map_lookup(f->test->pool->meta, branch_of(f), region, UINT64_MAX, &page, NULL, NULL), ==, 0);
        breaks += vv_repack_breaks(&page);
    }
    return breaks;
}

static uint64_t used_bytes(Fixture *f)
{
    VvSpaceSummary space;
    vv_meta_space(f->test->pool->meta, &space);
    return space.used_bytes;
}

static uint64_t start(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    uint64_t job = 0;
    vv_pool_lun_repack(f->test->pool, "db", &job, &error);
    g_assert_no_error(error);
    return job;
}

static void finish(Fixture *f, uint64_t job)
{
    g_autoptr(GError) error = NULL;
    bool failed = false;
    if (job == 0)
        return;
    vv_pool_job_wait(f->test->pool, &job, 1, WAIT_MS, &failed, &error);
    g_assert_no_error(error);
    g_assert_false(failed);
}

static void set_job(Fixture *f, uint64_t job, VvJobState state)
{
    g_autoptr(GError) error = NULL;
    vv_pool_job_set(f->test->pool, job, state, &error);
    g_assert_no_error(error);
}

static bool has_job(Fixture *f, uint64_t job)
{
    vv_meta_read_lock(f->test->pool->meta);
    bool has = vv_meta_job(f->test->pool->meta, job) != NULL;
    vv_meta_read_unlock(f->test->pool->meta);
    return has;
}

/* ---- tests */

static void test_comes_together(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GError) error = NULL;
    uint64_t clone, used = used_bytes(f);
    unsigned before = count_breaks(f);
    vv_pool_clone(f->test->pool, "db@s1", "copy", 0, NULL, NULL, &clone, &error);
    g_assert_no_error(error);
    assert_object(f, clone, f->frozen[1]); /* its pages are in the cache, under its own branch */
    g_assert_cmpuint(before, >, LUN_REGIONS * 50);
    finish(f, start(f));
    g_assert_cmpuint(count_breaks(f), ==, 0);
    g_assert_cmpuint(used_bytes(f), ==, used);
    assert_all(f);
    assert_object(f, clone, f->frozen[1]);
    vv_handle_close(f->handle);
    test_pool_reopen(f->test);
    f->handle = test_open(f->test, f->lun, true);
    assert_all(f);
    assert_object(f, clone, f->frozen[1]);
    g_assert_cmpuint(used_bytes(f), ==, used);
}

static void test_writes_go_on(Fixture *f, gconstpointer data)
{
    (void) data;
    uint64_t job = start(f);
    while (has_job(f, job))
        for (unsigned i = 0; i < 64; i++)
            write_block(f, (unsigned) g_rand_int_range(f->random, 0, LUN_REGIONS * VV_REGION_BLOCKS), 1);
    assert_all(f);
    g_assert_cmpint(vv_view_flush(vv_handle_view(f->handle)), ==, 0);
    assert_all(f);
}

static void test_pause_and_cancel(Fixture *f, gconstpointer data)
{
    (void) data;
    uint64_t job = start(f);
    set_job(f, job, VV_JOB_PAUSED);
    if (has_job(f, job)) { /* else it was faster */
        g_assert_cmpuint(start(f), ==, job);
        set_job(f, job, VV_JOB_CANCELLED);
        g_assert_false(has_job(f, job));
    }
    finish(f, start(f));
    assert_all(f);
}

/* Large reads that fall apart are enough, when nobody uses the pool for a while. */
static void test_begins_by_itself(Fixture *f, gconstpointer data)
{
    (void) data;
    uint64_t until_ms = vv_monotonic_ms() + WAIT_MS;
    g_assert_cmpuint(count_breaks(f), >, 0);
    for (unsigned i = 0; i < 5; i++) /* 100 reads of 1 MiB */
        assert_object(f, f->lun, f->flat);
    while (count_breaks(f) > 0 && vv_monotonic_ms() < until_ms)
        g_usleep(100000);
    g_assert_cmpuint(count_breaks(f), ==, 0);
    assert_all(f);
}

static void test_not_if_turned_off(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GError) error = NULL;
    const char *keys[] = { "repack", NULL }, *values[] = { "off", NULL };
    vv_pool_set(f->test->pool, keys, values, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(vv_repack_is_worth_it(f->test->pool, f->lun));
    values[0] = "auto";
    vv_pool_set(f->test->pool, keys, values, NULL, &error);
    g_assert_true(vv_repack_is_worth_it(f->test->pool, f->lun));
    finish(f, start(f));
    g_assert_false(vv_repack_is_worth_it(f->test->pool, f->lun));
}

static void test_overtaken(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GError) error = NULL;
    uint64_t job = start(f);
    vv_handle_close(g_steal_pointer(&f->handle));
    vv_pool_snapshot_restore(f->test->pool, "db@s1", false, true, false, NULL, NULL, &error);
    g_assert_no_error(error);
    finish(f, job);
    memcpy(f->flat, f->frozen[1], LUN_BYTES);
    assert_all(f);
    job = start(f);
    const char *names[] = { "db", NULL };
    VvRemoval removal = { 0 };
    vv_pool_lun_remove(f->test->pool, names, true, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
    finish(f, job);
    vv_pool_job_wait(f->test->pool, NULL, 0, WAIT_MS, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(used_bytes(f), ==, 0);
}

/* ---- who has an old place in hand: an era that is held from the copy on keeps the mark after the apply */

typedef struct {
    VvPool *pool;
    VvRepackBatch batch;
    pthread_t thread;
} Mover;

static void *mover_main(void *user)
{
    Mover *mover = user;
    g_assert_cmpint(vv_repack_run(mover->pool, &mover->batch), ==, 0);
    return NULL;
}

static _Atomic int held_era;
static VvPool *held_pool;

static int holding_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    if (atomic_load(&held_era) == -1)
        atomic_store(&held_era, (int) vv_era_enter(held_pool)); /* step 4 */
    return vv_disk_file_ops.write(disk, data, length_bytes, offset);
}

static VvPlace place_of(Fixture *f, unsigned block)
{
    VvPage page;
    g_assert_cmpint(vv_map_lookup(f->test->pool->meta, branch_of(f), 0, UINT64_MAX, &page, NULL, NULL), ==, 0);
    return page.place[block];
}

static void test_old_places_are_redirected(Fixture *f, gconstpointer data)
{
    (void) data;
    VvView *view = vv_handle_view(f->handle);
    VvDiskOps ops = vv_disk_file_ops;
    ops.write = holding_write;
    held_pool = f->test->pool;
    atomic_store(&held_era, -1);
    vv_disk_set_ops(g_ptr_array_index(held_pool->disks, 0), &ops, NULL);
    VvPlace old = place_of(f, 7);
    Mover mover = { .pool = held_pool, .batch = { .view = view, .branch = branch_of(f), .region_count = 1 } };
    mover.batch.step.kind = VV_OP_JOB_STEP;
    g_assert_cmpint(pthread_create(&mover.thread, NULL, mover_main, &mover), ==, 0);
    while (vv_place_same(place_of(f, 7), old))
        g_usleep(500);
    for (unsigned i = 0; i < 50; i++) { /* it would have ended by now, if it did not wait */
        VV_LOCKED(&view->lock);
        g_assert_nonnull(view->moving);
        g_usleep(200);
    }
    {
        VvPlace fresh = place_of(f, 7);
        VV_LOCKED(&view->lock);
        g_assert_false(vv_moving_allows(view->moving, 7, old));
        g_assert_true(vv_moving_allows(view->moving, 7, fresh));
        g_assert_true(vv_moving_allows(view->moving, VV_REGION_BLOCKS + 7, old)); /* another region */
    }
    vv_era_leave(held_pool, (uint32_t) atomic_load(&held_era));
    pthread_join(mover.thread, NULL);
    g_assert_null(view->moving);
    vv_disk_set_ops(g_ptr_array_index(held_pool->disks, 0), &vv_disk_file_ops, NULL);
    assert_all(f);
}

/* ---- a pool without space: who is redirected for the move alone waits for its end, and is not told that there is no space */

typedef struct {
    VvTask task; /* submits it, on the pool's own worker */
    VvIo io;
    uint8_t *data;
    atomic_uint parked, resumed; /* what the submitter was told */
    _Atomic bool over;
} LateWrite;

static void late_write_run(VvTask *task)
{
    LateWrite *late = (LateWrite *) (void *) task;
    vv_io_submit(vv_worker_current(), &late->io);
}

static void late_write_waits(VvIo *io, bool waits)
{
    LateWrite *late = io->user;
    atomic_fetch_add(waits ? &late->parked : &late->resumed, 1);
}

static void late_write_done(VvIo *io)
{
    LateWrite *late = io->user;
    atomic_store(&late->over, true);
}

static void late_write_start(Fixture *f, LateWrite *late)
{
    late->data = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    memset(late->data, 0x77, VV_BLOCK_BYTES);
    late->task.run = late_write_run;
    late->io = (VvIo){
        .kind = VV_IO_WRITE,
        .view = vv_handle_view(f->handle),
        .data = late->data,
        .offset = (uint64_t) 7 * VV_BLOCK_BYTES,
        .length_bytes = VV_BLOCK_BYTES,
        .done = late_write_done,
        .waits = late_write_waits,
        .user = late,
    };
    vv_worker_post(f->test->pool->service, &late->task);
}

static void fill_pool(Fixture *f)
{
    g_autoptr(VvHandle) handle = test_open(f->test, test_lun_new(f->test, "big", 2 * POOL_BYTES), true);
    g_autofree uint8_t *data = g_malloc0(VV_REGION_BYTES);
    VvAllocRun run;
    unsigned count;
    for (uint64_t offset = 0; vv_view_write(vv_handle_view(handle), data, offset, VV_REGION_BYTES) == VV_REGION_BYTES;)
        offset += VV_REGION_BYTES;
    while (vv_alloc_blocks(f->test->pool->alloc, vv_handle_view(f->handle)->family, 1, 0, &run, 1, &count) > 0)
        g_ptr_array_add(f->reserved, GSIZE_TO_POINTER(run.place));
}

static void test_full_pool_waits(Fixture *f, gconstpointer data)
{
    (void) data;
    VvView *view = vv_handle_view(f->handle);
    VvAlloc *alloc = f->test->pool->alloc;
    VvMoving moving = { .region_count = 1, .committing = true };
    LateWrite late = { .data = NULL };
    finish(f, start(f));
    write_block(f, 7, 1); /* its own from here on */
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    f->reserved = g_ptr_array_new();
    fill_pool(f);
    moving.from[0][7] = place_of(f, 7);
    {
        VV_LOCKED(&view->lock);
        view->moving = &moving;
    }
    late_write_start(f, &late);
    for (unsigned i = 0; i < 20000 && atomic_load(&late.parked) == 0; i++) /* its memory counts as what waits, not as what runs */
        g_usleep(500);
    g_assert_cmpuint(atomic_load(&late.parked), ==, 1);
    g_assert_false(atomic_load(&late.over));
    {
        VV_LOCKED(&view->lock);
        view->moving = NULL;
    }
    vv_view_wake(view);
    while (!atomic_load(&late.over))
        g_usleep(500);
    g_assert_cmpuint(atomic_load(&late.resumed), ==, 1);
    g_assert_cmpint(late.io.result, ==, VV_BLOCK_BYTES);
    free(late.data);
    memset(f->flat + (size_t) 7 * VV_BLOCK_BYTES, 0x77, VV_BLOCK_BYTES);
    assert_all(f);
    for (unsigned i = 0; i < f->reserved->len; i++)
        vv_alloc_unreserve(alloc, view->family, (VvPlace) GPOINTER_TO_SIZE(g_ptr_array_index(f->reserved, i)), 1);
    g_ptr_array_unref(f->reserved);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/repack/comes-together", Fixture, NULL, set_up, test_comes_together, tear_down);
    g_test_add("/repack/writes-go-on", Fixture, NULL, set_up, test_writes_go_on, tear_down);
    g_test_add("/repack/pause-and-cancel", Fixture, NULL, set_up, test_pause_and_cancel, tear_down);
    g_test_add("/repack/by-itself", Fixture, NULL, set_up, test_begins_by_itself, tear_down);
    g_test_add("/repack/off", Fixture, NULL, set_up, test_not_if_turned_off, tear_down);
    g_test_add("/repack/overtaken", Fixture, NULL, set_up, test_overtaken, tear_down);
    g_test_add("/repack/full-pool", Fixture, NULL, set_up, test_full_pool_waits, tear_down);
    g_test_add("/repack/old-places", Fixture, NULL, set_up, test_old_places_are_redirected, tear_down);
    return g_test_run();
}
