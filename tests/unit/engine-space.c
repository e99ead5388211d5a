/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a full pool still does, and whom it makes wait: zeroing, jobs that cannot go on, what is free, shrinking; and that opening and
 * jobs do not wait for transactions. */
#include "alloc_private.h"
#include "engine-pool.h"
#include "pool_jobs.h"
#include "transaction.h"

#include <errno.h>

static const VvReach every_disk;

#define POOL_BYTES ((uint64_t) 32 << 20)
#define BLOCK VV_BLOCK_BYTES

/* Until nothing more fits, down to single blocks. */
static void fill(VvView *view, uint64_t offset)
{
    g_autofree uint8_t *data = g_malloc0(256 * BLOCK);
    memset(data, 0xee, 256 * BLOCK);
    for (size_t length = 256 * BLOCK; length >= BLOCK; length /= 2) {
        int64_t rc;
        while ((rc = vv_view_write(view, data, offset, length)) > 0)
            offset += (uint64_t) rc;
        g_assert_cmpint(rc, ==, -ENOSPC);
    }
}

static void write_all(VvView *view, uint64_t offset, uint64_t length, int value)
{
    g_autofree uint8_t *data = g_malloc(length);
    memset(data, value, length);
    g_assert_cmpint(vv_view_write(view, data, offset, length), ==, (int64_t) length);
}

static void assert_filled(VvView *view, uint64_t offset, uint64_t length, int value)
{
    g_autofree uint8_t *data = g_malloc(length);
    g_assert_cmpint(vv_view_read(view, data, offset, length), ==, (int64_t) length);
    for (uint64_t i = 0; i < length; i++)
        g_assert_cmpuint(data[i], ==, value);
}

static bool is_over(const _Atomic bool *over)
{
    for (unsigned i = 0; i < 10000 && !atomic_load(over); i++)
        g_usleep(1000);
    return atomic_load(over);
}

static bool is_parked(VvView *view)
{
    for (unsigned i = 0; i < 10000; i++) {
        {
            VV_LOCKED(&view->lock);
            if (view->parked.first)
                return true;
        }
        g_usleep(1000);
    }
    return false;
}

/* ---- zeroing: [HOLE, HOLE_END) begins and ends within blocks */

#define HOLE 1000u
#define HOLE_END (300u * BLOCK + 1000u)

/* A full pool: LUN "a" has a snapshot that shares it; its whole blocks of the hole are its own if @own. */
static VvView *make_shared(TestPool *test, bool own, VvHandle **ret_handle)
{
    *ret_handle = test_open(test, test_lun_new(test, "a", 4 * POOL_BYTES), true);
    VvView *view = vv_handle_view(*ret_handle);
    write_all(view, 0, 512 * BLOCK, 7);
    test_snapshot(test, "a@s");
    if (own)
        write_all(view, BLOCK, 299 * BLOCK, 7);
    fill(view, POOL_BYTES);
    return view;
}

static void test_zero_shared(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle;
    VvView *view = make_shared(test, false, &handle);
    g_assert_cmpint(vv_view_zero(view, HOLE, HOLE_END - HOLE), ==, -ENOSPC); /* nothing came free */
    assert_filled(view, 0, BLOCK, 7);
    assert_filled(view, BLOCK, 299 * BLOCK, 0);
    assert_filled(view, 300 * BLOCK, BLOCK, 7);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    VvHandle *snapshot = test_open(test, test_snapshot_id(test, "a", "s"), false);
    assert_filled(vv_handle_view(snapshot), 0, 512 * BLOCK, 7);
    vv_handle_close(snapshot);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* What the whole blocks free is enough for the others. */
static void test_zero_makes_room(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle;
    VvView *view = make_shared(test, true, &handle);
    g_assert_cmpint(vv_view_zero(view, HOLE, HOLE_END - HOLE), ==, 0);
    assert_filled(view, 0, HOLE, 7);
    assert_filled(view, HOLE, HOLE_END - HOLE, 0);
    assert_filled(view, HOLE_END, BLOCK, 7);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- jobs behind a paused one free nothing: nobody waits for them */

static uint64_t first_job(TestPool *test)
{
    vv_meta_read_lock(test->pool->meta);
    GPtrArray *jobs = vv_meta_jobs(test->pool->meta);
    uint64_t id = jobs->len > 0 ? ((const VvJob *) g_ptr_array_index(jobs, 0))->id : 0;
    vv_meta_read_unlock(test->pool->meta);
    g_assert_cmpuint(id, !=, 0);
    return id;
}

static void remove_snapshot(TestPool *test, const char *object)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };
    VvRemoval removal = { .removed = NULL };
    vv_pool_snapshot_remove(test->pool, objects, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
}

static void test_paused_job(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .timeout_s = 60 };
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 4 * POOL_BYTES), true);
    VvView *view = vv_handle_view(handle);
    vv_pool_lun_set(test->pool, "a", VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *object = g_strdup_printf("a@%u", i);
        write_all(view, 0, 512 * BLOCK, 7);
        test_snapshot(test, object);
    }
    fill(view, POOL_BYTES);
    vv_jobs_stop(test->pool); /* so that the first is not done before it is paused */
    remove_snapshot(test, "a@0");
    g_assert_true(vv_jobs_may_free(test->pool, &every_disk));
    uint64_t first = first_job(test);
    vv_pool_job_set(test->pool, first, VV_JOB_PAUSED, &error);
    g_assert_no_error(error);
    remove_snapshot(test, "a@1");
    remove_snapshot(test, "a@2");
    g_assert_true(vv_jobs_start(test->pool, &error));
    g_assert_false(vv_jobs_may_free(test->pool, &every_disk));
    uint64_t began_ms = vv_monotonic_ms();
    uint8_t byte = 1;
    g_assert_cmpint(vv_view_write(view, &byte, 3 * POOL_BYTES, 1), ==, -ENOSPC);
    g_assert_cmpuint(vv_monotonic_ms() - began_ms, <, 60000); /* told, and not by its time limit */
    vv_pool_job_set(test->pool, first, VV_JOB_QUEUED, &error);
    g_assert_no_error(error);
    vv_pool_job_wait(test->pool, NULL, 0, 60000, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(vv_view_write(view, &byte, 3 * POOL_BYTES, 1), ==, 1);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- what is told to be on its way back, before and while jobs run */

static void assert_freeing(TestPool *test, uint64_t blocks)
{
    VvSpaceSummary space;
    vv_pool_space(test->pool, &space);
    g_assert_cmpuint(space.freeing_bytes, ==, blocks * BLOCK);
    g_assert_cmpuint(space.freeing_bytes, <=, space.used_bytes);
    g_assert_cmpuint(space.used_bytes + space.held_bytes + space.free_bytes, ==, space.total_bytes);
}

static void run_jobs(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(vv_jobs_start(test->pool, &error));
    vv_pool_job_wait(test->pool, NULL, 0, 60000, NULL, &error);
    g_assert_no_error(error);
    vv_jobs_stop(test->pool);
}

static void write_and_flush(VvView *view, uint64_t blocks, int value)
{
    write_all(view, 0, blocks * BLOCK, value);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
}

/* "a" with 512 blocks; "a@s" and "a@t" each have 100 that it has no more, and the clone "c" of "a@s" wrote 300. */
static void make_family(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    uint64_t id;
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 512 * BLOCK), true);
    write_and_flush(vv_handle_view(handle), 512, 7);
    test_snapshot(test, "a@s");
    write_and_flush(vv_handle_view(handle), 100, 8);
    test_snapshot(test, "a@t");
    write_and_flush(vv_handle_view(handle), 100, 9);
    vv_handle_close(handle);
    g_assert_true(vv_pool_clone(test->pool, "a@s", "c", 0, NULL, NULL, &id, &error));
    handle = test_open(test, id, true);
    write_and_flush(vv_handle_view(handle), 300, 6);
    vv_handle_close(handle);
    vv_jobs_drain_closed(test->pool);
    vv_jobs_stop(test->pool);
}

static void remove_lun(TestPool *test, const char *name)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { name, NULL };
    vv_pool_lun_remove(test->pool, names, true, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

static void test_freeing(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    make_family(test);
    assert_freeing(test, 0);
    remove_snapshot(test, "a@t"); /* several are left: all that the largest of them does not map, at most the job's one region */
    assert_freeing(test, 256);
    run_jobs(test);
    assert_freeing(test, 0);
    remove_lun(test, "c"); /* two are left, of which the largest does not map 100 and 300, in the two regions that "c" wrote */
    assert_freeing(test, 400);
    run_jobs(test);
    assert_freeing(test, 0);
    remove_snapshot(test, "a@s"); /* one is left: exactly */
    assert_freeing(test, 100);
    run_jobs(test);
    assert_freeing(test, 0);
    remove_lun(test, "a"); /* none is left: all */
    assert_freeing(test, 512);
    test_pool_reopen(test); /* it starts the jobs */
    g_autoptr(GError) error = NULL;
    vv_pool_job_wait(test->pool, NULL, 0, 60000, NULL, &error);
    g_assert_no_error(error);
    assert_freeing(test, 0);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- jobs are remembered when they have ended, the last of them */

static void test_ended_jobs(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GPtrArray) ended = NULL;
    uint64_t jobs[VV_ENDED_JOBS_MAX + 3];
    test_lun_new(test, "a", 1 << 20);
    VvJob job = { .kind = VV_JOB_MERGE, .total_pages = 5, .created_ns = 6 };
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++) {
        jobs[i] = job.id = 1000 + i;
        vv_meta_read_lock(test->pool->meta);
        job.lun = vv_meta_lun_by_name(test->pool->meta, "a")->id;
        vv_jobs_ended(test->pool, &job);
        vv_meta_read_unlock(test->pool->meta);
    }
    ended = vv_pool_ended_jobs(test->pool);
    g_assert_cmpuint(ended->len, ==, VV_ENDED_JOBS_MAX);
    for (unsigned i = 0; i < ended->len; i++) {
        const VvEndedJob *one = g_ptr_array_index(ended, i);
        g_assert_cmpuint(one->id, ==, jobs[i + 3]);
        g_assert_cmpstr(one->lun, ==, "a");
        g_assert_cmpuint(one->total_pages, ==, 5);
    }
    test_pool_free(test);
}

/* ---- what is free: also what others could return at once */

/* "a" is empty again and keeps its segments, for no job runs; the rest of the pool is full. */
static VvView *make_keeper(TestPool *test, VvHandle **ret_keeper, VvHandle **ret_other)
{
    *ret_keeper = test_open(test, test_lun_new(test, "a", 512 * BLOCK), true);
    *ret_other = test_open(test, test_lun_new(test, "b", 4 * POOL_BYTES), true);
    VvView *keeper = vv_handle_view(*ret_keeper);
    vv_jobs_stop(test->pool);
    write_all(keeper, 0, 512 * BLOCK, 7);
    g_assert_cmpint(vv_view_flush(keeper), ==, 0);
    fill(vv_handle_view(*ret_other), 0);
    g_assert_cmpint(vv_view_flush(vv_handle_view(*ret_other)), ==, 0);
    g_assert_cmpstr(vv_pool_state(test->pool), ==, "full");
    g_assert_cmpint(vv_view_zero(keeper, 0, 512 * BLOCK), ==, 0);
    g_assert_cmpint(vv_view_flush(keeper), ==, 0);
    while (vv_alloc_cooling_bytes(test->pool->alloc) > 0)
        vv_alloc_cool(test->pool->alloc);
    return keeper;
}

static void test_free(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle, *other;
    VvSpaceSummary raw, space;
    make_keeper(test, &handle, &other);
    vv_meta_space(test->pool->meta, &raw);
    vv_pool_space(test->pool, &space);
    g_assert_cmpuint(raw.free_bytes, <, 1 << 20);
    g_assert_cmpuint(space.free_bytes, >=, 512 * BLOCK);
    g_assert_cmpuint(space.free_bytes + space.held_bytes, ==, raw.free_bytes + raw.held_bytes);
    g_assert_cmpstr(vv_pool_state(test->pool), ==, "ok");
    write_all(vv_handle_view(other), 2 * POOL_BYTES, 512 * BLOCK, 3); /* it can be had */
    vv_handle_close(handle);
    vv_handle_close(other);
    test_pool_check(test);
    test_pool_free(test);
}

typedef struct {
    VvView *view;
    int64_t result;
    _Atomic bool over;
} Writer;

static void *writer_main(void *user)
{
    Writer *writer = user;
    uint8_t data[BLOCK] = { 1 };
    writer->result = vv_view_write(writer->view, data, 2 * POOL_BYTES, BLOCK);
    atomic_store(&writer->over, true);
    return NULL;
}

/* What is on its way back to the pool is waited for, and so long it is free. */
static void test_returning(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    VvHandle *handle, *other;
    VvSpaceSummary space;
    VvView *keeper = make_keeper(test, &handle, &other);
    Writer writer = { .view = vv_handle_view(other) };
    pthread_t thread;
    unsigned taken = 0;
    for (uint32_t i = 0; i < 16; i++)
        taken += vv_alloc_take_out(test->pool->alloc, keeper->family, i, 0);
    g_assert_cmpuint(taken, >=, 2);
    vv_pool_space(test->pool, &space);
    g_assert_cmpuint(space.free_bytes, >=, 512 * BLOCK);
    g_assert_cmpint(pthread_create(&thread, NULL, writer_main, &writer), ==, 0);
    g_assert_true(is_parked(writer.view));
    g_usleep(100000); /* long enough for a verdict */
    g_assert_true(is_parked(writer.view));
    for (uint32_t i = 0; i < 16; i++)
        vv_alloc_put_back(test->pool->alloc, keeper->family, i);
    pthread_join(thread, NULL);
    g_assert_cmpint(writer.result, ==, BLOCK);
    vv_handle_close(handle);
    vv_handle_close(other);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- who waits for space while the LUN gets another family */

static void test_family_changes(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .on_full = VV_ON_FULL_WAIT, .timeout_s = 300 };
    uint64_t from = test_lun_new(test, "from", 8 * BLOCK); /* of a segment that has 248 blocks more */
    VvHandle *source = test_open(test, from, true);
    VvHandle *other = test_open(test, test_lun_new(test, "b", 4 * POOL_BYTES), true), *handle;
    Writer writer;
    pthread_t thread;
    write_all(vv_handle_view(source), 0, 8 * BLOCK, 7);
    g_assert_cmpint(vv_view_flush(vv_handle_view(source)), ==, 0);
    fill(vv_handle_view(other), 0);
    uint64_t to = test_lun_new(test, "to", 0);
    vv_pool_lun_set(test->pool, "to", VV_LUN_ON_FULL | VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    handle = test_open(test, to, true);
    writer = (Writer){ .view = vv_handle_view(handle) };
    g_assert_cmpint(pthread_create(&thread, NULL, writer_main, &writer), ==, 0);
    g_assert_true(is_parked(writer.view));
    vv_pool_lun_adopt(test->pool, to, from, 8 * BLOCK, &error);
    g_assert_no_error(error);
    g_assert_true(is_over(&writer.over));
    pthread_join(thread, NULL);
    g_assert_cmpint(writer.result, ==, BLOCK);
    vv_handle_close(handle);
    vv_handle_close(source);
    vv_handle_close(other);
    vv_jobs_drain_closed(test->pool);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- a transaction that takes long is in nobody's way */

typedef struct {
    VvPool *pool;
    uint64_t id;
    bool write;
    int result;
    VvHandle *handle;
    _Atomic bool over;
    pthread_t thread;
} Opener;

static void *open_main(void *user)
{
    Opener *opener = user;
    VvOpen how = { .write = opener->write };
    opener->result = vv_handle_open(opener->pool, opener->id, &how, &opener->handle);
    atomic_store(&opener->over, true);
    return NULL;
}

static void open_start(Opener *opener, TestPool *test, uint64_t id, bool write)
{
    *opener = (Opener){ .pool = test->pool, .id = id, .write = write };
    g_assert_cmpint(pthread_create(&opener->thread, NULL, open_main, opener), ==, 0);
}

static void test_open_beside(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "a", 1 << 20), other = test_lun_new(test, "b", 1 << 20);
    Opener opener, blocked;
    vv_config_lock(test->pool); /* a transaction on something else */
    g_assert_true(vv_claim(test->pool, other, VV_CLAIM_ALL));
    open_start(&opener, test, id, true);
    g_assert_true(is_over(&opener.over));
    open_start(&blocked, test, other, false);
    g_usleep(20000);
    g_assert_false(atomic_load(&blocked.over));
    vv_claim_end(test->pool, other, VV_CLAIM_ALL);
    g_assert_true(is_over(&blocked.over));
    vv_config_unlock(test->pool);
    pthread_join(opener.thread, NULL);
    pthread_join(blocked.thread, NULL);
    g_assert_cmpint(opener.result, ==, 0);
    g_assert_cmpint(blocked.result, ==, 0);
    g_assert_false(vv_claim(test->pool, other, VV_CLAIM_ALL)); /* it is open now */
    g_assert_true(vv_claim(test->pool, other, VV_CLAIM_WRITERS));
    vv_claim_end(test->pool, other, VV_CLAIM_WRITERS);
    vv_handle_close(opener.handle);
    vv_handle_close(blocked.handle);
    test_pool_free(test);
}

/* An elastic LUN was closed and waits for the lock: jobs go on, and it is seen to when the lock is free. */
static void test_jobs_beside(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvViewStat stat;
    uint64_t elastic = test_lun_new(test, "e", 0);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", POOL_BYTES), true);
    VvHandle *grown = test_open(test, elastic, true);
    write_all(vv_handle_view(handle), 0, 512 * BLOCK, 7);
    write_all(vv_handle_view(grown), 0, 1000, 7);
    test_snapshot(test, "a@s");
    write_all(vv_handle_view(handle), 0, 512 * BLOCK, 8);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_jobs_stop(test->pool);
    remove_snapshot(test, "a@s");
    g_assert_true(vv_jobs_may_free(test->pool, &every_disk));
    vv_config_lock(test->pool);
    vv_handle_close(grown);
    g_assert_true(vv_jobs_start(test->pool, &error));
    vv_pool_job_wait(test->pool, NULL, 0, 20000, NULL, &error);
    g_assert_no_error(error);
    vv_config_unlock(test->pool);
    vv_jobs_drain_closed(test->pool);
    g_assert_cmpint(vv_pool_stat(test->pool, elastic, &stat), ==, 0);
    g_assert_false(stat.elastic);
    g_assert_cmpuint(stat.size_bytes, ==, BLOCK);
    vv_handle_close(handle);
    test_pool_free(test);
}

typedef struct {
    VvPool *pool;
    bool ok;
    _Atomic bool over;
} Shrink;

static void *shrink_main(void *user)
{
    Shrink *shrink = user;
    g_autoptr(GError) error = NULL;
    shrink->ok = vv_pool_lun_resize(shrink->pool, "a", 10 * BLOCK + 512, true, false, NULL, &error);
    g_assert_no_error(error);
    atomic_store(&shrink->over, true);
    return NULL;
}

/* The block at the new end is a snapshot's too, and there is no space for a new one. */
static void test_shrink_waits(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .on_full = VV_ON_FULL_WAIT, .timeout_s = 300 };
    uint64_t id = test_lun_new(test, "a", 512 * BLOCK);
    VvHandle *handle = test_open(test, id, true), *reader;
    VvHandle *other = test_open(test, test_lun_new(test, "b", 4 * POOL_BYTES), true);
    Shrink shrink = { .pool = test->pool };
    VvOpen how = { .write = true };
    pthread_t thread;
    vv_pool_lun_set(test->pool, "a", VV_LUN_ON_FULL | VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    write_all(vv_handle_view(handle), 0, 512 * BLOCK, 7);
    vv_handle_close(handle);
    test_snapshot(test, "a@s");
    fill(vv_handle_view(other), 0);
    reader = test_open(test, id, false);
    g_assert_cmpint(pthread_create(&thread, NULL, shrink_main, &shrink), ==, 0);
    g_assert_true(is_parked(vv_handle_view(reader)));
    g_assert_false(atomic_load(&shrink.over));
    g_assert_cmpint(vv_handle_open(test->pool, id, &how, &handle), ==, -EBUSY);
    vv_handle_close(test_open(test, id, false));
    const char *objects[] = { "a@t", NULL }, *note = "kept";
    g_assert_false(vv_pool_snapshot_create(test->pool, objects, NULL, NULL, &error));
    test_assert_refused(error, VV_ERROR_NO_SPACE, "every write to it needs new space");
    objects[0] = "a@s"; /* other transactions go on, also of this LUN */
    vv_pool_snapshot_set(test->pool, objects, NULL, note, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(vv_view_zero(vv_handle_view(other), 0, 1 << 20), ==, 0);
    g_assert_true(is_over(&shrink.over));
    pthread_join(thread, NULL);
    g_assert_true(shrink.ok);
    g_assert_cmpuint(vv_view_size(vv_handle_view(reader)), ==, 10 * BLOCK + 512);
    assert_filled(vv_handle_view(reader), 0, 10 * BLOCK + 512, 7);
    vv_handle_close(reader);
    vv_handle_close(test_open(test, id, true));
    vv_handle_close(other);
    test_pool_check(test);
    test_pool_free(test);
}

/* ---- what is claimed stays unopened: a handle is never gone under its owner, nor restored */

typedef struct {
    TestPool *test;
    _Atomic uint64_t id; /* of "x", which comes and goes */
    uint64_t kept;       /* "kept", which is restored */
    _Atomic bool stop;
} Race;

static void *race_main(void *user)
{
    Race *race = user;
    VvOpen read = { .write = false }, write = { .write = true };
    uint8_t data[BLOCK], got[BLOCK];
    memset(data, 0x5a, sizeof data);
    while (!atomic_load(&race->stop)) {
        VvHandle *handle;
        int rc = vv_handle_open(race->test->pool, atomic_load(&race->id), &read, &handle);
        g_assert_true(rc == 0 || rc == -ENOENT);
        if (rc == 0) {
            g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 0, BLOCK), ==, (int64_t) BLOCK);
            vv_handle_close(handle);
        }
        g_assert_cmpint(vv_handle_open(race->test->pool, race->kept, &write, &handle), ==, 0);
        g_assert_cmpint(vv_view_write(vv_handle_view(handle), data, 0, BLOCK), ==, (int64_t) BLOCK);
        g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 0, BLOCK), ==, (int64_t) BLOCK);
        g_assert_cmpint(memcmp(data, got, BLOCK), ==, 0);
        vv_handle_close(handle);
        g_thread_yield();
    }
    return NULL;
}

static void test_race(void)
{
    enum { ROUNDS = 150 };
    TestPool *test = test_pool_new(POOL_BYTES);
    Race race = { .test = test, .kept = test_lun_new(test, "kept", 1 << 20) };
    const char *names[] = { "x", NULL };
    unsigned restored = 0, refused = 0;
    pthread_t thread;
    test_snapshot(test, "kept@s");
    test_snapshot(test, "kept@empty");
    atomic_store(&race.id, test_lun_new(test, "x", 1 << 20));
    g_assert_cmpint(pthread_create(&thread, NULL, race_main, &race), ==, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autoptr(GError) error = NULL;
        vv_pool_lun_remove(test->pool, names, true, false, false, NULL, NULL, &error);
        g_assert_no_error(error);
        atomic_store(&race.id, test_lun_new(test, "x", 1 << 20));
        vv_pool_snapshot_refresh(test->pool, "kept@empty", NULL, &error); /* claims, too */
        g_assert_no_error(error);
        if (vv_pool_snapshot_restore(test->pool, "kept@s", false, true, false, NULL, NULL, &error)) {
            restored++;
        } else {
            g_assert_error(error, VV_ERROR, VV_ERROR_BUSY);
            refused++;
        }
    }
    atomic_store(&race.stop, true);
    pthread_join(thread, NULL);
    g_test_message("%u restored, %u refused", restored, refused);
    vv_jobs_drain_closed(test->pool);
    test_pool_check(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/space/zero-shared", test_zero_shared);
    g_test_add_func("/engine/space/zero-makes-room", test_zero_makes_room);
    g_test_add_func("/engine/space/paused-job", test_paused_job);
    g_test_add_func("/engine/space/freeing", test_freeing);
    g_test_add_func("/engine/space/ended-jobs", test_ended_jobs);
    g_test_add_func("/engine/space/free", test_free);
    g_test_add_func("/engine/space/returning", test_returning);
    g_test_add_func("/engine/space/family-changes", test_family_changes);
    g_test_add_func("/engine/space/open-beside", test_open_beside);
    g_test_add_func("/engine/space/jobs-beside", test_jobs_beside);
    g_test_add_func("/engine/space/shrink-waits", test_shrink_waits);
    g_test_add_func("/engine/space/race", test_race);
    return g_test_run();
}
