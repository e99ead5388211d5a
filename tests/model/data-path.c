/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Many writers on one LUN, each on its own worker, while snapshots are taken.
 *
 * The LUN is cut at random sectors into spans; a span belongs to one writer, neighbours share blocks. A writer does one
 * request at a time: writes, discards and reads of 512 bytes to 1 MiB within its spans, with a stamp in each sector. So at any
 * time what a writer's spans hold is a prefix of what it did, and a snapshot must hold, for each writer, exactly
 * some prefix that is not older than when the snapshot began. Once more with the LUN's regions being moved all the time. */
#include "engine-pool.h"

#define SECTOR VV_SECTOR_BYTES
#define WRITERS 4u
#define LUN_BYTES ((uint64_t) 6 << 20)
#define SECTORS ((unsigned) (LUN_BYTES / SECTOR))
#define SPAN_SECTORS_MAX 600u
#define ROUNDS_MAX 64u

/* ---- a worker of its own, used from one other thread */

typedef struct {
    VvWorker *worker;
    pthread_t thread;
    VvTask task;
    VvIo io;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
} TestWorker;

static void *worker_main(void *user)
{
    vv_worker_run(user);
    return NULL;
}

static void worker_start(TestWorker *w, unsigned index)
{
    g_autoptr(GError) error = NULL;
    w->worker = vv_worker_new(index, false, &error);
    g_assert_no_error(error);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    g_assert_cmpint(pthread_create(&w->thread, NULL, worker_main, w->worker), ==, 0);
}

static void worker_stop(TestWorker *w)
{
    vv_worker_stop(w->worker);
    pthread_join(w->thread, NULL);
}

/* After the pool: a helper that posted to it may not have returned yet. */
static void worker_free(TestWorker *w)
{
    vv_worker_free(w->worker);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}

static void submit_run(VvTask *task)
{
    TestWorker *w = (TestWorker *) ((char *) task - G_STRUCT_OFFSET(TestWorker, task));
    vv_io_submit(w->worker, &w->io);
}

static void over_cb(VvIo *io)
{
    TestWorker *w = io->user;
    VV_LOCKED(&w->lock);
    w->over = true;
    pthread_cond_signal(&w->changed);
}

static int64_t do_io(TestWorker *w, VvView *view, VvIoKind kind, void *data, uint64_t offset, uint32_t length_bytes)
{
    w->io = (VvIo){ .kind = kind,
        .view = view,
        .data = data,
        .offset = offset,
        .length_bytes = length_bytes,
        .done = over_cb,
        .user = w };
    w->task.run = submit_run;
    w->over = false;
    vv_worker_post(w->worker, &w->task);
    pthread_mutex_lock(&w->lock);
    while (!w->over)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return w->io.result;
}

/* ---- writers */

typedef struct {
    unsigned first, count; /* sectors */
    uint32_t stamp;        /* 0: discarded */
} Step;

typedef struct {
    unsigned number;
    VvView *view;
    TestWorker worker;
    GRand *random;
    const uint8_t *owner; /* of each sector */
    GArray *steps;        /* Step, in order; lock */
    unsigned finished;    /* steps that were answered; lock */
    pthread_mutex_t lock;
    uint32_t *flat; /* stamp of each sector, its own ones */
    uint8_t *buffer;
    unsigned step_count; /* to do in this round */
    bool flushes;
} Writer;

static void fill(uint8_t *data, unsigned sector, uint32_t stamp)
{
    uint32_t words[SECTOR / 4];
    for (unsigned i = 0; i < SECTOR / 4; i++)
        words[i] = stamp == 0 ? 0 : i == 0 ? stamp : stamp * 2654435761u + sector * 40503u + i;
    memcpy(data, words, SECTOR);
}

/* The stamp of a sector that is whole; anything else is an error. */
static uint32_t stamp_of(const uint8_t *data, unsigned sector)
{
    uint8_t wanted[SECTOR];
    uint32_t stamp;
    memcpy(&stamp, data, 4);
    fill(wanted, sector, stamp);
    if (memcmp(wanted, data, SECTOR) != 0)
        g_error("sector %u is torn or foreign (stamp %u)", sector, stamp);
    return stamp;
}

/* A range within one of its spans. */
static void choose(Writer *writer, unsigned *ret_first, unsigned *ret_count)
{
    unsigned first;
    do
        first = (unsigned) g_rand_int_range(writer->random, 0, (gint32) SECTORS);
    while (writer->owner[first] != writer->number);
    unsigned most = g_rand_int_range(writer->random, 0, 8) == 0 ? 2048 : g_rand_boolean(writer->random) ? 40 : 3;
    unsigned count = 1 + (unsigned) g_rand_int_range(writer->random, 0, (gint32) most), end = first;
    while (end < SECTORS && end - first < count && writer->owner[end] == writer->number)
        end++;
    *ret_first = first;
    *ret_count = end - first;
}

static void change(Writer *writer, bool discard)
{
    Step step;
    choose(writer, &step.first, &step.count);
    {
        VV_LOCKED(&writer->lock);
        step.stamp = discard ? 0 : writer->steps->len * WRITERS + writer->number + 1;
        g_array_append_val(writer->steps, step);
    }
    for (unsigned i = 0; i < step.count; i++) {
        fill(writer->buffer + i * SECTOR, step.first + i, step.stamp);
        writer->flat[step.first + i] = step.stamp;
    }
    int64_t rc = do_io(&writer->worker, writer->view, discard ? VV_IO_ZERO : VV_IO_WRITE, writer->buffer,
        (uint64_t) step.first * SECTOR, step.count * SECTOR);
    g_assert_cmpint(rc, ==, discard ? 0 : (int64_t) step.count * SECTOR);
    VV_LOCKED(&writer->lock);
    writer->finished = writer->steps->len;
}

static void verify(Writer *writer)
{
    unsigned first, count;
    choose(writer, &first, &count);
    g_assert_cmpint(
        do_io(&writer->worker, writer->view, VV_IO_READ, writer->buffer, (uint64_t) first * SECTOR, count * SECTOR), ==,
        (int64_t) count * SECTOR);
    for (unsigned i = 0; i < count; i++)
        g_assert_cmpuint(stamp_of(writer->buffer + i * SECTOR, first + i), ==, writer->flat[first + i]);
}

static void *writer_main(void *user)
{
    Writer *writer = user;
    for (unsigned i = 0; i < writer->step_count; i++) {
        int what = g_rand_int_range(writer->random, 0, 20);
        if (what < 10)
            change(writer, false);
        else if (what < 12)
            change(writer, true);
        else if (what < 19 || !writer->flushes)
            verify(writer);
        else
            g_assert_cmpint(do_io(&writer->worker, writer->view, VV_IO_FLUSH, NULL, 0, 0), ==, 0);
    }
    return NULL;
}

/* ---- looking at a point */

typedef struct {
    Writer writers[WRITERS];
    uint8_t owner[SECTORS];
    GRand *random;
    TestPool *test;
    uint64_t lun;
    VvHandle *handle;
    bool moves;
    _Atomic bool enough; /* the mover ends */
    uint64_t moved_blocks;
} Stress;

static void cut_spans(Stress *stress)
{
    unsigned sector = 0;
    while (sector < SECTORS) {
        unsigned count = 1 + (unsigned) g_rand_int_range(stress->random, 0, (gint32) SPAN_SECTORS_MAX);
        uint8_t owner = (uint8_t) g_rand_int_range(stress->random, 0, WRITERS);
        for (; count > 0 && sector < SECTORS; count--)
            stress->owner[sector++] = owner;
    }
}

/* How far each writer was: at least @least[], exactly one prefix of its steps. */
static void check_prefixes(Stress *stress, const uint8_t *data, const unsigned *least)
{
    g_autofree uint32_t *replay = g_new(uint32_t, SECTORS);
    for (unsigned w = 0; w < WRITERS; w++) {
        Writer *writer = &stress->writers[w];
        unsigned newest = 0, matches = 0;
        for (unsigned i = 0; i < SECTORS; i++)
            if (stress->owner[i] == w && stamp_of(data + (size_t) i * SECTOR, i) != 0)
                newest = MAX(newest, (stamp_of(data + (size_t) i * SECTOR, i) - 1 - w) / WRITERS + 1);
        /* Steps behind the newest stamp may have been discards. */
        memset(replay, 0, SECTORS * sizeof *replay);
        for (unsigned k = 0; k <= writer->steps->len && matches == 0; k++) {
            bool same = k >= newest && k >= least[w];
            for (unsigned i = 0; same && i < SECTORS; i++)
                same = stress->owner[i] != w || stamp_of(data + (size_t) i * SECTOR, i) == replay[i];
            matches += same;
            const Step *step = k < writer->steps->len ? &g_array_index(writer->steps, Step, k) : NULL;
            for (unsigned i = 0; step && i < step->count; i++)
                replay[step->first + i] = step->stamp;
        }
        if (matches == 0)
            g_error("what writer %u did is in no prefix (newest step %u, finished before %u)", w, newest, least[w]);
    }
}

static void check_object(Stress *stress, uint64_t id, const unsigned *least)
{
    g_autofree uint8_t *data = g_malloc(LUN_BYTES);
    VvHandle *handle = test_open(stress->test, id, false);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), data, 0, LUN_BYTES), ==, LUN_BYTES);
    vv_handle_close(handle);
    check_prefixes(stress, data, least);
}

/* Moves random regions of the LUN, one batch after the other. */
static void *mover_main(void *user)
{
    Stress *stress = user;
    GRand *random = g_rand_new_with_seed(g_rand_int(stress->random));
    while (!atomic_load(&stress->enough)) {
        VvRepackBatch batch = { .view = vv_handle_view(stress->handle), .step.kind = VV_OP_JOB_STEP };
        for (unsigned region = 0; region < LUN_BYTES / VV_REGION_BYTES; region++)
            if (g_rand_boolean(random))
                batch.regions[batch.region_count++] = region;
        {
            VV_LOCKED(&batch.view->lock);
            batch.branch = batch.view->branch;
        }
        int rc = vv_repack_run(stress->test->pool, &batch);
        g_assert_true(rc == 0 || rc == -ENOSPC);
        stress->moved_blocks += batch.moved_blocks;
    }
    g_rand_free(random);
    return NULL;
}

static void noted(Stress *stress, unsigned *ret_finished)
{
    for (unsigned w = 0; w < WRITERS; w++) {
        VV_LOCKED(&stress->writers[w].lock);
        ret_finished[w] = stress->writers[w].finished;
    }
}

static void run_round(Stress *stress, unsigned round, unsigned least[WRITERS])
{
    pthread_t threads[WRITERS], mover;
    g_autofree char *object = g_strdup_printf("a@s%u", round);
    atomic_store(&stress->enough, false);
    if (stress->moves)
        g_assert_cmpint(pthread_create(&mover, NULL, mover_main, stress), ==, 0);
    for (unsigned w = 0; w < WRITERS; w++)
        g_assert_cmpint(pthread_create(&threads[w], NULL, writer_main, &stress->writers[w]), ==, 0);
    noted(stress, least);
    test_snapshot(stress->test, object);
    for (unsigned w = 0; w < WRITERS; w++)
        pthread_join(threads[w], NULL);
    atomic_store(&stress->enough, true);
    if (stress->moves)
        pthread_join(mover, NULL);
}

static void remove_snapshot(Stress *stress, unsigned round)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *object = g_strdup_printf("a@s%u", round);
    const char *objects[] = { object, NULL };
    VvRemoval removal = { 0 };
    vv_pool_snapshot_remove(stress->test->pool, objects, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
}

static void start_writers(Stress *stress, unsigned steps)
{
    for (unsigned w = 0; w < WRITERS; w++) {
        Writer *writer = &stress->writers[w];
        *writer = (Writer){ .number = w, .owner = stress->owner, .step_count = steps, .flushes = w % 2 == 0 };
        writer->random = g_rand_new_with_seed(g_rand_int(stress->random));
        writer->steps = g_array_new(FALSE, FALSE, sizeof(Step));
        writer->flat = g_new0(uint32_t, SECTORS);
        writer->buffer = test_blocks_new(258, 0);
        pthread_mutex_init(&writer->lock, NULL);
        writer->view = vv_handle_view(stress->handle);
        worker_start(&writer->worker, w);
    }
}

static void free_writers(Stress *stress)
{
    for (unsigned w = 0; w < WRITERS; w++) {
        Writer *writer = &stress->writers[w];
        worker_free(&writer->worker);
        g_rand_free(writer->random);
        g_array_unref(writer->steps);
        g_free(writer->flat);
        free(writer->buffer);
        pthread_mutex_destroy(&writer->lock);
    }
}

static void test_stress(gconstpointer moves)
{
    const char *text = g_getenv("VV_STRESS_ROUNDS");
    unsigned rounds = text ? (unsigned) MIN(g_ascii_strtoull(text, NULL, 10), ROUNDS_MAX) : 6;
    unsigned least[ROUNDS_MAX][WRITERS];
    Stress *stress = g_new0(Stress, 1);
    stress->moves = moves != NULL;
    guint32 seed = (guint32) g_test_rand_int();
    g_test_message("seed %u", seed);
    stress->random = g_rand_new_with_seed(seed);
    stress->test = test_pool_new((uint64_t) 160 << 20);
    stress->lun = test_lun_new(stress->test, "a", LUN_BYTES);
    stress->handle = test_open(stress->test, stress->lun, true);
    cut_spans(stress);
    start_writers(stress, 150);
    for (unsigned round = 0; round < rounds; round++) {
        run_round(stress, round, least[round]);
        if (round >= 3)
            remove_snapshot(stress, round - 3);
    }
    unsigned all[WRITERS];
    noted(stress, all);
    check_object(stress, stress->lun, all);
    for (unsigned round = rounds - MIN(rounds, 3); round < rounds; round++) {
        g_autofree char *name = g_strdup_printf("s%u", round);
        check_object(stress, test_snapshot_id(stress->test, "a", name), least[round]);
    }
    test_pool_check(stress->test);
    vv_handle_close(stress->handle);
    /* What was flushed by closing is there again. */
    test_pool_reopen(stress->test);
    check_object(stress, stress->lun, all);
    test_pool_check(stress->test);
    for (unsigned w = 0; w < WRITERS; w++)
        worker_stop(&stress->writers[w].worker);
    test_pool_free(stress->test);
    g_test_message("%" G_GUINT64_FORMAT " blocks moved", stress->moved_blocks);
    g_assert_true(!stress->moves || stress->moved_blocks > 0);
    free_writers(stress);
    g_rand_free(stress->random);
    g_free(stress);
}

/* Writers of 512 bytes and of 4 KiB on one block at once: only the two orders may be seen. */
static void test_two_orders(void)
{
    enum { TRIES = 400 };
    TestPool *test = test_pool_new((uint64_t) 64 << 20);
    VvHandle *handle = test_open(test, test_lun_new(test, "a", 1 << 20), true);
    VvView *view = vv_handle_view(handle);
    TestWorker *workers = g_new0(TestWorker, 2);
    uint8_t *small = test_blocks_new(1, 0), *large = test_blocks_new(1, 0);
    uint8_t got[VV_BLOCK_BYTES];
    worker_start(&workers[0], 0);
    worker_start(&workers[1], 1);
    for (unsigned i = 0; i < TRIES; i++) {
        memset(small, (int) (1 + i % 100), SECTOR);
        memset(large, (int) (101 + i % 100), VV_BLOCK_BYTES);
        for (unsigned k = 0; k < 2; k++) {
            TestWorker *w = &workers[k];
            w->io = (VvIo){ .kind = VV_IO_WRITE,
                .view = view,
                .data = k ? large : small,
                .offset = 8192 + (k ? 0 : 1024),
                .length_bytes = k ? VV_BLOCK_BYTES : SECTOR,
                .done = over_cb,
                .user = w };
            w->task.run = submit_run;
            w->over = false;
        }
        vv_worker_post(workers[i % 2].worker, &workers[i % 2].task);
        vv_worker_post(workers[1 - i % 2].worker, &workers[1 - i % 2].task);
        for (unsigned k = 0; k < 2; k++) {
            pthread_mutex_lock(&workers[k].lock);
            while (!workers[k].over)
                pthread_cond_wait(&workers[k].changed, &workers[k].lock);
            pthread_mutex_unlock(&workers[k].lock);
            g_assert_cmpint(workers[k].io.result, >, 0);
        }
        g_assert_cmpint(vv_view_read(view, got, 8192, VV_BLOCK_BYTES), ==, VV_BLOCK_BYTES);
        for (unsigned at = 0; at < VV_BLOCK_BYTES; at++) {
            bool inside = at >= 1024 && at < 1024 + SECTOR;
            bool small_last = got[1024] == small[0];
            g_assert_cmpuint(got[at], ==, inside && small_last ? small[0] : large[0]);
        }
        if (i % 50 == 49)
            g_assert_cmpint(vv_view_flush(view), ==, 0);
    }
    worker_stop(&workers[0]);
    worker_stop(&workers[1]);
    vv_handle_close(handle);
    test_pool_free(test);
    worker_free(&workers[0]);
    worker_free(&workers[1]);
    g_free(workers);
    free(small);
    free(large);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/data-path/two-orders", test_two_orders);
    g_test_add_data_func("/model/data-path/stress", NULL, test_stress);
    g_test_add_data_func("/model/data-path/stress-moving", "", test_stress);
    return g_test_run();
}
