/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool that is full most of the time: LUNs that wait for space and LUNs that are told, beside everything that brings some:
 * discards, removals, jobs that are paused and resumed, disks that are added. Threads choose at random; each LUN has one writer,
 * who knows what every block of it holds. The ballast fills what is left and goes again.
 *
 * Nothing is lost. A LUN that waits gets its space, since some comes all the time; one that does not wait is told before its time
 * limit. What breaks this is a lost wake-up or a deadlock; where it hangs, the alarm ends it. */
#include "engine-pool.h"
#include "pool_jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL_BYTES ((uint64_t) 24 << 20)
#define DISK_BYTES ((uint64_t) 16 << 20)
#define LUNS 6u
#define LUN_BLOCKS 512u /* of each: together half the pool */
#define RUN_BLOCKS_MAX 100u
#define BALLAST_BYTES (3 * POOL_BYTES)
#define LIMIT_SECONDS 60u /* a LUN's timeout */
#define ALARM_SECONDS 600u
#define DISKS_MAX 2u

typedef struct {
    TestPool *test;
    unsigned number;
    guint32 seed;
    VvHandle *handle;
    bool waits; /* on-full */
    uint8_t tags[LUN_BLOCKS]; /* what each block is filled with */
    unsigned written, refused;
    _Atomic bool over;
    pthread_t thread;
} Lun;

static unsigned steps = 400;

/* ---- writers */

static void choose(GRand *random, unsigned most, unsigned *ret_first, unsigned *ret_count)
{
    unsigned count = (unsigned) g_rand_int_range(random, 1, (gint32) most);
    *ret_first = (unsigned) g_rand_int_range(random, 0, LUN_BLOCKS);
    *ret_count = MIN(count, LUN_BLOCKS - *ret_first);
}

static void write_run(Lun *lun, GRand *random, uint8_t *data)
{
    unsigned first, count;
    choose(random, RUN_BLOCKS_MAX, &first, &count);
    uint8_t tag = (uint8_t) g_rand_int_range(random, 1, 256);
    memset(data, tag, (size_t) count * VV_BLOCK_BYTES);
    uint64_t began_ms = vv_monotonic_ms();
    int64_t rc = vv_view_write(
        vv_handle_view(lun->handle), data, (uint64_t) first * VV_BLOCK_BYTES, (uint64_t) count * VV_BLOCK_BYTES);
    if (rc < 0) {
        g_assert_cmpint(rc, ==, -ENOSPC);
        g_assert_false(lun->waits);
        g_assert_cmpuint(vv_monotonic_ms() - began_ms, <, 1000 * LIMIT_SECONDS);
        lun->refused++;
        g_usleep((gulong) g_rand_int_range(random, 0, 20000)); /* what brings space goes on meanwhile */
        return;
    }
    g_assert_cmpint(rc % VV_BLOCK_BYTES, ==, 0); /* cut short at a block */
    memset(lun->tags + first, tag, (size_t) (rc / VV_BLOCK_BYTES));
    lun->written++;
}

static void discard_run(Lun *lun, GRand *random)
{
    unsigned first, count;
    choose(random, 2 * RUN_BLOCKS_MAX, &first, &count);
    int rc = vv_view_zero(
        vv_handle_view(lun->handle), (uint64_t) first * VV_BLOCK_BYTES, (uint64_t) count * VV_BLOCK_BYTES);
    g_assert_cmpint(rc, ==, 0); /* whole blocks: always */
    memset(lun->tags + first, 0, count);
}

static void verify_run(Lun *lun, unsigned first, unsigned count, uint8_t *data)
{
    int64_t length = (int64_t) count * VV_BLOCK_BYTES;
    int64_t rc =
        vv_view_read(vv_handle_view(lun->handle), data, (uint64_t) first * VV_BLOCK_BYTES, (uint64_t) length);
    g_assert_cmpint(rc, ==, length);
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < VV_BLOCK_BYTES; k += 509)
            g_assert_cmpuint(data[(size_t) i * VV_BLOCK_BYTES + k], ==, lun->tags[first + i]);
}

static void verify_some(Lun *lun, GRand *random, uint8_t *data)
{
    unsigned first, count;
    choose(random, RUN_BLOCKS_MAX, &first, &count);
    verify_run(lun, first, count, data);
}

static void *writer_main(void *user)
{
    Lun *lun = user;
    GRand *random = g_rand_new_with_seed(lun->seed);
    g_autofree uint8_t *data = g_malloc((size_t) RUN_BLOCKS_MAX * VV_BLOCK_BYTES);
    for (unsigned i = 0; i < steps; i++) {
        int what = g_rand_int_range(random, 0, 20);
        if (what < 12)
            write_run(lun, random, data);
        else if (what < 14)
            discard_run(lun, random);
        else if (what < 18)
            verify_some(lun, random, data);
        else
            g_assert_cmpint(vv_view_flush(vv_handle_view(lun->handle)), ==, 0);
    }
    g_rand_free(random);
    atomic_store(&lun->over, true);
    return NULL;
}

/* ---- what happens beside them */

/* Refused where the LUN could hardly be written afterwards. */
static bool may_snapshot(TestPool *test, const char *object)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };
    bool taken = vv_pool_snapshot_create(test->pool, objects, NULL, NULL, &error);
    if (!taken)
        g_assert_error(error, VV_ERROR, VV_ERROR_NO_SPACE);
    return taken;
}

static void take_snapshot(TestPool *test, GRand *random, uint64_t number)
{
    g_autofree char *object =
        g_strdup_printf("lun%d@%" G_GUINT64_FORMAT, g_rand_int_range(random, 0, (gint32) LUNS), number);
    (void) may_snapshot(test, object);
}

static char *random_snapshot(TestPool *test, GRand *random)
{
    g_autofree char *name = g_strdup_printf("lun%d", g_rand_int_range(random, 0, (gint32) LUNS));
    char *object = NULL;
    vv_meta_read_lock(test->pool->meta);
    const VvLun *lun = vv_meta_lun_by_name(test->pool->meta, name);
    if (lun && lun->snapshots->len > 0) {
        unsigned i = (unsigned) g_rand_int_range(random, 0, (gint32) lun->snapshots->len);
        object = g_strdup_printf("%s@%s", name, ((const VvSnapshot *) g_ptr_array_index(lun->snapshots, i))->name);
    }
    vv_meta_read_unlock(test->pool->meta);
    return object;
}

static void remove_snapshot(TestPool *test, GRand *random)
{
    g_autofree char *object = random_snapshot(test, random);
    g_autoptr(GError) error = NULL;
    const char *objects[] = { object, NULL };
    if (object)
        vv_pool_snapshot_remove(test->pool, objects, true, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

static void set_jobs(TestPool *test, VvJobState state)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    vv_meta_read_lock(test->pool->meta);
    GPtrArray *jobs = vv_meta_jobs(test->pool->meta);
    for (unsigned i = 0; i < jobs->len; i++)
        g_array_append_val(ids, ((const VvJob *) g_ptr_array_index(jobs, i))->id);
    vv_meta_read_unlock(test->pool->meta);
    for (unsigned i = 0; i < ids->len; i++) {
        g_autoptr(GError) error = NULL;
        if (!vv_pool_job_set(test->pool, g_array_index(ids, uint64_t, i), state, &error))
            g_assert_error(error, VV_ERROR, VV_ERROR_NOT_FOUND); /* it has ended */
    }
}

static void add_disk(TestPool *test, unsigned number)
{
    g_autofree char *path = g_strdup_printf("%s/more%u", test->folder, number);
    g_autofree char *name = g_strdup_printf("more%u", number);
    g_autoptr(GError) error = NULL;
    vv_pool_disk_add(test->pool, path, DISK_BYTES, name, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

/* A LUN that is made, written and made smaller, or removed: its end lies within a block. */
static void come_and_go(TestPool *test, GRand *random)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { "guest", NULL };
    g_autofree uint8_t *data = g_malloc0(1 << 20);
    VvHandle *handle = test_open(test, test_lun_new(test, "guest", 1 << 20), true);
    (void) vv_view_write(vv_handle_view(handle), data, 0, 1 << 20);
    vv_handle_close(handle);
    if (g_rand_boolean(random)) {
        (void) may_snapshot(test, "guest@s");
        if (!vv_pool_lun_resize(test->pool, "guest", 5000 / 512 * 512, true, false, NULL, &error))
            g_assert_error(error, VV_ERROR, VV_ERROR_NO_SPACE);
        g_clear_error(&error);
    }
    vv_pool_lun_remove(test->pool, names, true, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
}

/* Fill what is left, or give some of it back. */
static void move_ballast(VvView *ballast, GRand *random, bool fill)
{
    g_autofree uint8_t *data = g_malloc0(1 << 20);
    uint64_t offset = 0;
    if (!fill) {
        offset = (uint64_t) g_rand_int_range(random, 0, (gint32) (BALLAST_BYTES >> 20)) << 20;
        g_assert_cmpint(vv_view_zero(ballast, offset, (uint64_t) g_rand_int_range(random, 1, 32) << 20), ==, 0);
        return;
    }
    memset(data, 1, 1 << 20);
    for (int64_t rc = 1; rc > 0 && offset < BALLAST_BYTES; offset += 1 << 20)
        rc = vv_view_write(ballast, data, offset, 1 << 20);
}

static bool all_over(Lun *luns)
{
    for (unsigned i = 0; i < LUNS; i++)
        if (!atomic_load(&luns[i].over))
            return false;
    return true;
}

static void disturb(TestPool *test, Lun *luns, VvView *ballast, GRand *random)
{
    uint64_t number = 0;
    unsigned disks = 0;
    while (!all_over(luns)) {
        VvSpaceSummary space;
        int what = g_rand_int_range(random, 0, 100);
        if (what < 20)
            take_snapshot(test, random, number++);
        else if (what < 45)
            remove_snapshot(test, random);
        else if (what < 55)
            set_jobs(test, VV_JOB_PAUSED);
        else if (what < 75)
            set_jobs(test, VV_JOB_QUEUED);
        else if (what < 80)
            come_and_go(test, random);
        else if (what < 97)
            move_ballast(ballast, random, g_rand_boolean(random));
        else if (what < 98 && disks < DISKS_MAX)
            add_disk(test, disks++);
        vv_pool_space(test->pool, &space);
        g_assert_cmpuint(space.used_bytes + space.held_bytes + space.free_bytes, ==, space.total_bytes);
        g_usleep((gulong) g_rand_int_range(random, 0, 5000));
    }
    set_jobs(test, VV_JOB_QUEUED);
}

/* ---- the whole */

static void start_lun(TestPool *test, Lun *lun, unsigned number)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strdup_printf("lun%u", number);
    uint64_t id = test_lun_new(test, name, (uint64_t) LUN_BLOCKS * VV_BLOCK_BYTES);
    *lun = (Lun){ .test = test, .number = number, .seed = (guint32) g_test_rand_int(), .waits = number % 2 == 0 };
    VvLunProps props = { .on_full = lun->waits ? VV_ON_FULL_WAIT : VV_ON_FULL_ERROR, .timeout_s = LIMIT_SECONDS };
    vv_pool_lun_set(test->pool, name, VV_LUN_ON_FULL | VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    lun->handle = test_open(test, id, true);
}

static void remove_all(TestPool *test)
{
    const char *names[] = { "lun0", "lun1", "lun2", "lun3", "lun4", "lun5", "ballast", NULL };
    g_autoptr(GError) error = NULL;
    uint64_t deadline_ms = vv_monotonic_ms() + 1000 * LIMIT_SECONDS;
    VvSpaceSummary space;
    vv_pool_lun_remove(test->pool, names, true, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
    do {
        g_usleep(1000);
        vv_meta_space(test->pool->meta, &space);
    } while (space.free_bytes != space.total_bytes && vv_monotonic_ms() < deadline_ms);
    g_assert_cmpuint(space.free_bytes, ==, space.total_bytes);
}

static void test_full_pool(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    GRand *random = g_rand_new_with_seed((guint32) g_test_rand_int());
    g_autofree uint8_t *data = g_malloc((size_t) LUN_BLOCKS * VV_BLOCK_BYTES);
    Lun luns[LUNS];
    VvHandle *ballast = test_open(test, test_lun_new(test, "ballast", BALLAST_BYTES), true);
    alarm(ALARM_SECONDS);
    move_ballast(vv_handle_view(ballast), random, true);
    for (unsigned i = 0; i < LUNS; i++)
        start_lun(test, &luns[i], i);
    for (unsigned i = 0; i < LUNS; i++)
        g_assert_cmpint(pthread_create(&luns[i].thread, NULL, writer_main, &luns[i]), ==, 0);
    disturb(test, luns, vv_handle_view(ballast), random);
    for (unsigned i = 0; i < LUNS; i++) {
        pthread_join(luns[i].thread, NULL);
        verify_run(&luns[i], 0, LUN_BLOCKS, data);
        g_assert_cmpint(vv_view_flush(vv_handle_view(luns[i].handle)), ==, 0);
        g_test_message("lun%u: %u written, %u refused", i, luns[i].written, luns[i].refused);
        vv_handle_close(luns[i].handle);
    }
    vv_handle_close(ballast);
    test_pool_check(test);
    remove_all(test);
    test_pool_check(test);
    alarm(0);
    g_rand_free(random);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    const char *wanted = g_getenv("VV_MODEL_STEPS"); /* more than in make check */
    g_test_init(&argc, &argv, NULL);
    if (wanted)
        steps = (unsigned) atoi(wanted);
    g_test_add_func("/model/full-pool", test_full_pool);
    return g_test_run();
}
