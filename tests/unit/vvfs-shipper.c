/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool without disks and its shipper, against a server that does what the test says: what is sent again and in which order, handles that are
 * told again, lost memory, timeouts, interrupts. */
#include "engine-pool.h"

#include "elsewhere.h"
#include "shipper-net.h"

#define BIT(op) (1u << (op))
#define ALL_IO (BIT(VV_OBJECT_READ) | BIT(VV_OBJECT_WRITE_DATA) | BIT(VV_OBJECT_FLUSH))
#define WAIT_SECONDS 20

typedef struct {
    TestPool *test;
    VvShipper *shipper;
    ShipNet *net;
    uint64_t lun, other;
    _Atomic unsigned lost;
    _Atomic uint64_t lost_lun;
} Rig;

static void lost_cb(void *user, uint64_t object)
{
    Rig *rig = user;

    rig->lost_lun = object;
    rig->lost++;
}

static void reopen(Rig *rig, bool elsewhere)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .without_disks = elsewhere, .elsewhere = elsewhere ? vv_shipper_elsewhere(rig->shipper) : NULL };

    vv_pool_close(rig->test->pool);
    rig->test->pool = vv_pool_open(rig->test->directory, &options, &error);
    g_assert_no_error(error);
}

static Rig *rig_new(bool serve)
{
    Rig *rig = g_new0(Rig, 1);
    VvShipperOptions options = { .lost = lost_cb, .user = rig };
    VvLunProps props = { .timeout_s = 1 };
    g_autoptr(GError) error = NULL;

    rig->test = test_pool_new((uint64_t) 64 << 20);
    rig->lun = test_lun_new(rig->test, "lun", 1u << 20);
    rig->other = test_lun_new(rig->test, "other", 1u << 20);
    vv_pool_lun_set(rig->test->pool, "other", VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    rig->shipper = vv_shipper_new(&options);
    rig->net = ship_net_new(rig->shipper);
    if (serve)
        ship_net_serve(rig->net, true);
    reopen(rig, true);
    return rig;
}

static void rig_free(Rig *rig)
{
    reopen(rig, false);
    ship_net_free(rig->net);
    vv_shipper_free(rig->shipper);
    test_pool_check(rig->test);
    test_pool_free(rig->test);
    g_free(rig);
}

/* ---- requests */
typedef struct {
    VvIo io;
    VvTask task;
    VvWorker *worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    unsigned waits, goes; /* what io->waits told */
    uint8_t *data;
} Job;

static void job_done(VvIo *io)
{
    Job *job = io->user;
    VV_LOCKED(&job->lock);

    job->done = true;
    pthread_cond_broadcast(&job->changed);
}

static void job_waits(VvIo *io, bool waits)
{
    Job *job = io->user;
    VV_LOCKED(&job->lock);

    job->waits += waits;
    job->goes += !waits;
    pthread_cond_broadcast(&job->changed);
}

static void job_run(VvTask *task)
{
    Job *job = (Job *) ((char *) task - G_STRUCT_OFFSET(Job, task));

    vv_io_submit(job->worker, &job->io);
}

static Job *job_new(Rig *rig, VvHandle *handle, VvIoKind kind, uint64_t offset, int fill)
{
    Job *job = g_new0(Job, 1);

    pthread_mutex_init(&job->lock, NULL);
    pthread_cond_init(&job->changed, NULL);
    job->data = test_blocks_new(1, fill);
    job->io = (VvIo){ .kind = kind,
        .view = vv_handle_view(handle),
        .data = job->data,
        .offset = offset,
        .length_bytes = kind == VV_IO_FLUSH ? 0 : VV_BLOCK_BYTES,
        .done = job_done,
        .waits = job_waits,
        .user = job };
    job->task.run = job_run;
    job->worker = rig->test->pool->service;
    vv_worker_post(job->worker, &job->task);
    return job;
}

static void job_await(Job *job, const bool *flag, const unsigned *counter)
{
    struct timespec until;
    VV_LOCKED(&job->lock);

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    while (!(flag && *flag) && !(counter && *counter > 0))
        g_assert_cmpint(pthread_cond_timedwait(&job->changed, &job->lock, &until), ==, 0);
}

/* Its result, when it is done. Frees it. */
static int64_t job_end(Job *job)
{
    int64_t result;

    job_await(job, &job->done, NULL);
    pthread_mutex_lock(&job->lock);
    pthread_mutex_unlock(&job->lock);
    result = job->io.result;
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    free(job->data);
    g_free(job);
    return result;
}

static bool job_interrupt(Job *job)
{
    VV_LOCKED(&job->lock);
    if (!job->done)
        vv_io_interrupt(&job->io);
    return !job->done;
}

static int64_t do_io(Rig *rig, VvHandle *handle, VvIoKind kind, uint64_t offset, int fill)
{
    return job_end(job_new(rig, handle, kind, offset, fill));
}

#define assert_asked(net, index, wanted, on) \
    G_STMT_START \
    { \
        ShipAsked asked_ = ship_net_asked(net, index); \
        g_assert_cmpuint(asked_.ask.op, ==, wanted); \
        g_assert_cmpuint(asked_.connection, ==, on); \
        g_assert_cmpuint(asked_.opens_waiting, ==, 0); \
    } \
    G_STMT_END

/* ---- tests */
static void test_data(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true);
    VvView *view = vv_handle_view(handle);
    VvOpStat stats[VV_N_STATS];
    uint8_t back[100];
    uint64_t found = 0;
    VvViewStat stat;

    g_assert_cmpint(vv_view_write(view, "hello", 5000, 5), ==, 5);
    g_assert_cmpint(vv_view_read(view, back, 5000, 5), ==, 5);
    g_assert_cmpmem(back, 5, "hello", 5);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_assert_cmpint(vv_view_seek(view, 100, true, &found), ==, 0);
    g_assert_cmpuint(found, ==, 612);
    g_assert_cmpint(vv_view_seek(view, 100, false, &found), ==, 0);
    g_assert_cmpuint(found, ==, 1124);
    g_assert_cmpint(vv_view_zero(view, 0, 4096), ==, 0);
    ship_net_set(rig->net, 1, 1000, 2u << 20);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_view_stat(view, &stat);
    g_assert_cmpuint(stat.size_bytes, ==, 2u << 20);
    g_assert_cmpuint(stat.used_bytes, ==, 4096);
    g_assert_cmpuint(stat.mtime_ns, ==, 5);
    vv_pool_lun_stats(rig->test->pool, rig->lun, stats);
    g_assert_cmpuint(stats[VV_STAT_WRITE].count, ==, 1);
    g_assert_cmpuint(stats[VV_STAT_WRITE].bytes, ==, 5);
    g_assert_cmpuint(stats[VV_STAT_READ].count, ==, 1);
    g_assert_cmpuint(stats[VV_STAT_FLUSH].count, ==, 2);
    vv_handle_close(handle);
    ship_net_await(rig->net, ship_net_count(rig->net));
    while (ship_net_asked(rig->net, ship_net_count(rig->net) - 1).ask.op != VV_OBJECT_CLOSE)
        g_usleep(1000);
    rig_free(rig);
}

static void test_resend(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true);
    Job *jobs[8];

    ship_net_hold(rig->net, ALL_IO, 0);
    for (unsigned i = 0; i < 8; i++) {
        jobs[i] = job_new(rig, handle, VV_IO_WRITE, i * VV_BLOCK_BYTES, (int) i + 1);
        ship_net_await(rig->net, i + 2);
    }
    for (unsigned connection = 2; connection < 5; connection++) {
        ship_net_cut(rig->net);
        ship_net_await(rig->net, 9 * connection);
        assert_asked(rig->net, 9 * connection - 9, VV_OBJECT_OPEN, connection);
        g_assert_cmpuint(ship_net_asked(rig->net, 9 * connection - 9).ask.flags, ==, VV_OBJECT_AGAIN | VV_OBJECT_WRITE);
        for (unsigned i = 0; i < 8; i++) {
            ShipAsked asked = ship_net_asked(rig->net, 9 * connection - 8 + i);

            assert_asked(rig->net, 9 * connection - 8 + i, VV_OBJECT_WRITE_DATA, connection);
            g_assert_cmpuint(asked.ask.offset_bytes, ==, i * VV_BLOCK_BYTES);
            g_assert_cmpuint(asked.first, ==, i + 1);
            g_assert_cmpuint(asked.ask.number, !=, 0);
            g_assert_cmpuint(asked.ask.number, ==, ship_net_asked(rig->net, i + 1).ask.number); /* Q6 */
            g_assert_true(i == 0 || asked.ask.number > ship_net_asked(rig->net, i).ask.number);
        }
    }
    ship_net_answer_all(rig->net);
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpint(job_end(jobs[i]), ==, VV_BLOCK_BYTES);
    vv_handle_close(handle);
    rig_free(rig);
}

/* Two handles; the server is started anew, and of the second time on it has never heard of the object. */
static void test_instance(void)
{
    Rig *rig = rig_new(true);
    VvHandle *writer = test_open(rig->test, rig->lun, true), *reader = test_open(rig->test, rig->lun, false);
    uint64_t numbers[2] = { ship_net_asked(rig->net, 0).ask.handle, ship_net_asked(rig->net, 1).ask.handle };
    Job *job;

    ship_net_serve(rig->net, false);
    job = job_new(rig, reader, VV_IO_READ, 0, 0);
    job_await(job, NULL, &job->waits);
    ship_net_hold(rig->net, BIT(VV_OBJECT_OPEN), 0);
    ship_net_serve(rig->net, true);
    ship_net_await(rig->net, 4);
    for (unsigned i = 2; i < 4; i++) {
        ShipAsked asked = ship_net_asked(rig->net, i);

        g_assert_cmpuint(asked.ask.op, ==, VV_OBJECT_OPEN);
        g_assert_true(asked.ask.flags & VV_OBJECT_AGAIN);
        g_assert_true(asked.ask.handle == numbers[asked.ask.flags & VV_OBJECT_WRITE ? 0 : 1]);
    }
    ship_net_answer_all(rig->net);
    g_assert_cmpint(job_end(job), ==, VV_BLOCK_BYTES);
    assert_asked(rig->net, 4, VV_OBJECT_READ, 2);

    ship_net_serve(rig->net, false);
    job = job_new(rig, reader, VV_IO_READ, 0, 0);
    job_await(job, NULL, &job->waits);
    ship_net_hold(rig->net, 0, 0);
    ship_net_refuse_opens(rig->net, -ENOENT, 2);
    ship_net_serve(rig->net, true);
    g_assert_cmpint(job_end(job), ==, -ESTALE);
    g_assert_cmpint(do_io(rig, writer, VV_IO_WRITE, 0, 1), ==, -ESTALE);
    vv_handle_close(writer);
    vv_handle_close(reader);
    writer = test_open(rig->test, rig->lun, true);
    g_assert_cmpint(do_io(rig, writer, VV_IO_WRITE, 0, 1), ==, VV_BLOCK_BYTES);
    vv_handle_close(writer);
    rig_free(rig);
}

static void restart(Rig *rig, uint64_t incarnation)
{
    ship_net_serve(rig->net, false);
    ship_net_set(rig->net, incarnation, 1, 1u << 20);
    ship_net_serve(rig->net, true);
}

static void test_lost(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true), *other = test_open(rig->test, rig->other, true);
    unsigned before;
    Job *flush, *second;

    /* a server's process that is started anew loses nothing */
    g_assert_cmpint(do_io(rig, handle, VV_IO_WRITE, 0, 1), ==, VV_BLOCK_BYTES);
    restart(rig, 1);
    g_assert_cmpint(do_io(rig, handle, VV_IO_FLUSH, 0, 0), ==, 0);
    /* nor does a machine what was flushed */
    restart(rig, 2);
    g_assert_cmpint(do_io(rig, handle, VV_IO_FLUSH, 0, 0), ==, 0);
    g_assert_cmpuint(rig->lost, ==, 0);
    /* but what was not */
    g_assert_cmpint(do_io(rig, handle, VV_IO_WRITE, 0, 1), ==, VV_BLOCK_BYTES);
    restart(rig, 3);
    g_assert_cmpint(do_io(rig, other, VV_IO_FLUSH, 0, 0), ==, 0);
    g_assert_cmpint(do_io(rig, handle, VV_IO_FLUSH, 0, 0), ==, -EIO);
    g_assert_cmpint(do_io(rig, handle, VV_IO_FLUSH, 0, 0), ==, 0);
    while (rig->lost == 0)
        g_usleep(1000);
    g_assert_cmpuint(rig->lost_lun, ==, rig->lun);
    /* a flush that began before a write was acknowledged does not cover it */
    ship_net_hold(rig->net, BIT(VV_OBJECT_FLUSH), 0);
    before = ship_net_count(rig->net);
    flush = job_new(rig, handle, VV_IO_FLUSH, 0, 0);
    ship_net_await(rig->net, before + 1);
    g_assert_cmpint(do_io(rig, handle, VV_IO_WRITE, 0, 1), ==, VV_BLOCK_BYTES);
    ship_net_answer_all(rig->net);
    g_assert_cmpint(job_end(flush), ==, 0);
    /* and one that is under way when it is noticed is the one that tells */
    before = ship_net_count(rig->net);
    flush = job_new(rig, handle, VV_IO_FLUSH, 0, 0);
    ship_net_await(rig->net, before + 1);
    ship_net_hold(rig->net, 0, 0);
    restart(rig, 4);
    g_assert_cmpint(job_end(flush), ==, -EIO);
    g_assert_cmpint(do_io(rig, handle, VV_IO_FLUSH, 0, 0), ==, 0);
    /* all of them, if there are several */
    g_assert_cmpint(do_io(rig, handle, VV_IO_WRITE, 0, 1), ==, VV_BLOCK_BYTES);
    ship_net_hold(rig->net, BIT(VV_OBJECT_FLUSH), 0);
    before = ship_net_count(rig->net);
    flush = job_new(rig, handle, VV_IO_FLUSH, 0, 0);
    second = job_new(rig, handle, VV_IO_FLUSH, 0, 0);
    ship_net_await(rig->net, before + 2);
    ship_net_set(rig->net, 5, 1, 1u << 20);
    ship_net_hold(rig->net, 0, 0);
    ship_net_answer_all(rig->net);
    g_assert_cmpint(job_end(flush), ==, -EIO);
    g_assert_cmpint(job_end(second), ==, -EIO);
    g_assert_cmpint(do_io(rig, handle, VV_IO_FLUSH, 0, 0), ==, 0);
    vv_handle_close(handle);
    vv_handle_close(other);
    rig_free(rig);
}

static void test_timeout(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->other, true), *none = NULL;
    VvOpen how = { .write = true };
    uint64_t began_ms, took_ms;
    Job *job;

    /* what the server lets wait has more time */
    ship_net_hold(rig->net, ALL_IO, 0);
    job = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    ship_net_await(rig->net, 2);
    began_ms = vv_monotonic_ms();
    while (vv_monotonic_ms() < began_ms + 1200)
        g_usleep(50000);
    ship_net_answer_all(rig->net);
    g_assert_cmpint(job_end(job), ==, VV_BLOCK_BYTES);

    ship_net_serve(rig->net, false);
    began_ms = vv_monotonic_ms();
    job = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    job_await(job, NULL, &job->waits);
    g_assert_cmpint(job_end(job), ==, -EIO);
    took_ms = vv_monotonic_ms() - began_ms;
    g_assert_cmpuint(took_ms, >=, 1000);
    g_assert_cmpuint(took_ms, <, 4000);
    g_assert_cmpint(vv_handle_open(rig->test->pool, rig->other, &how, &none), ==, -ETIMEDOUT);
    vv_handle_close(handle);
    rig_free(rig);
}

static void test_interrupt(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true);
    Job *sent, *waiting;
    ShipAsked told;

    ship_net_hold(rig->net, ALL_IO, 0);
    sent = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    ship_net_await(rig->net, 2);
    g_assert_true(job_interrupt(sent)); /* too late, if it does not wait there */
    g_assert_true(job_interrupt(sent)); /* said once */
    ship_net_await(rig->net, 3);
    told = ship_net_asked(rig->net, 2);
    g_assert_cmpint(told.ask.op, ==, VV_OBJECT_INTERRUPT);
    g_assert_cmpuint(told.ask.number, ==, ship_net_asked(rig->net, 1).ask.number);
    g_assert_cmpuint(told.ask.origin, ==, ship_net_asked(rig->net, 1).ask.origin);
    ship_net_answer(rig->net, 1, 0);
    g_assert_cmpint(job_end(sent), ==, VV_BLOCK_BYTES);

    sent = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    ship_net_await(rig->net, 4);
    g_assert_true(job_interrupt(sent));
    ship_net_await(rig->net, 5);
    ship_net_answer(rig->net, 3, -EINTR); /* it did */
    g_assert_cmpint(job_end(sent), ==, -EINTR);

    sent = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    ship_net_await(rig->net, 6);
    g_assert_true(job_interrupt(sent)); /* and it need not be sent again */
    ship_net_await(rig->net, 7);
    ship_net_serve(rig->net, false);
    g_assert_cmpint(job_end(sent), ==, -EINTR);
    ship_net_serve(rig->net, true);
    ship_net_await(rig->net, 8); /* its handle is told again */

    sent = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    ship_net_await(rig->net, 9);
    ship_net_serve(rig->net, false);
    waiting = job_new(rig, handle, VV_IO_READ, 0, 0);
    job_await(waiting, NULL, &waiting->waits);
    job_await(sent, NULL, &sent->waits);
    g_assert_true(job_interrupt(waiting));
    g_assert_cmpint(job_end(waiting), ==, -EINTR);
    g_assert_true(job_interrupt(sent)); /* it was, and waits to be sent again */
    g_assert_cmpint(job_end(sent), ==, -EINTR);
    vv_handle_close(handle);
    rig_free(rig);
}

static void test_abort(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true);
    Job *held, *waiting;

    ship_net_hold(rig->net, ALL_IO, 0);
    held = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    ship_net_await(rig->net, 2);
    vv_pool_abort_waiting(rig->test->pool);
    g_assert_cmpint(job_end(held), ==, -EIO);
    ship_net_serve(rig->net, false);
    waiting = job_new(rig, handle, VV_IO_READ, 0, 0);
    g_assert_cmpint(job_end(waiting), ==, -EIO);
    vv_handle_leave(handle);
    rig_free(rig);
}

/* As a process does that takes over a mount: it waits for nothing. */
static void test_again(void)
{
    Rig *rig = rig_new(false);
    VvOpen how = { .write = true, .again = true };
    VvHandle *handle = NULL;
    ShipAsked asked;
    Job *job;

    g_assert_cmpint(vv_handle_open(rig->test->pool, rig->lun, &how, &handle), ==, 0);
    job = job_new(rig, handle, VV_IO_WRITE, 0, 1);
    job_await(job, NULL, &job->waits);
    ship_net_refuse_opens(rig->net, -EBUSY, 3); /* not now */
    ship_net_serve(rig->net, true);
    g_assert_cmpint(job_end(job), ==, VV_BLOCK_BYTES);
    g_assert_cmpuint(ship_net_count(rig->net), ==, 5);
    for (unsigned i = 0; i < 4; i++) {
        asked = ship_net_asked(rig->net, i);
        g_assert_cmpuint(asked.ask.op, ==, VV_OBJECT_OPEN);
        g_assert_cmpuint(asked.ask.flags, ==, VV_OBJECT_AGAIN | VV_OBJECT_WRITE);
    }
    vv_handle_leave(handle);
    rig_free(rig);
}

/* What waits there on one LUN leaves room for others. */
static void test_share(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true), *other = test_open(rig->test, rig->other, true);
    Job *jobs[100];

    ship_net_hold(rig->net, ALL_IO, rig->lun);
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++)
        jobs[i] = job_new(rig, handle, VV_IO_WRITE, i * VV_BLOCK_BYTES, 1);
    ship_net_await(rig->net, 2 + VV_PEER_REQUESTS_MAX / 2);
    for (unsigned i = 0; i < 10; i++)
        g_assert_cmpint(do_io(rig, other, VV_IO_WRITE, 0, 1), ==, VV_BLOCK_BYTES);
    g_assert_cmpuint(ship_net_count(rig->net), ==, 2 + VV_PEER_REQUESTS_MAX / 2 + 10);
    ship_net_hold(rig->net, 0, 0);
    ship_net_answer_all(rig->net);
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++)
        g_assert_cmpint(job_end(jobs[i]), ==, VV_BLOCK_BYTES);
    vv_handle_close(handle);
    vv_handle_close(other);
    rig_free(rig);
}

/* The server's map lags behind this node's: what it does not know yet is asked for again. */
static void test_late(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = NULL;
    VvOpen how = { .write = false };

    ship_net_set(rig->net, 1, 0, 1u << 20);
    ship_net_refuse_opens(rig->net, -ENOENT, 4);
    handle = test_open(rig->test, rig->lun, false);
    vv_handle_close(handle);
    ship_net_set(rig->net, 1, 1000, 1u << 20);
    ship_net_refuse_opens(rig->net, -ENOENT, 1);
    g_assert_cmpint(vv_handle_open(rig->test->pool, rig->lun, &how, &handle), ==, -ENOENT);
    ship_net_refuse_opens(rig->net, -EACCES, 1);
    g_assert_cmpint(vv_handle_open(rig->test->pool, rig->lun, &how, &handle), ==, -EACCES);
    rig_free(rig);
}

static uint64_t learn(VvView *view, uint64_t applied, uint64_t size_bytes)
{
    VvViewStat stat = { .size_bytes = size_bytes, .mtime_ns = applied, .elastic = true };

    vv_view_learn(view, &stat, applied);
    return vv_view_size(view);
}

/* Sizes come in any order; an older answer makes nothing smaller. */
static void test_sizes(void)
{
    Rig *rig = rig_new(true);
    VvHandle *handle = test_open(rig->test, rig->lun, true);
    VvView *view = vv_handle_view(handle);

    g_assert_cmpuint(learn(view, 1000, 5000), ==, 5000);
    g_assert_cmpuint(learn(view, 1000, 9000), ==, 9000);
    g_assert_cmpuint(learn(view, 1000, 7000), ==, 9000);
    g_assert_cmpuint(learn(view, 999, 10), ==, 9000);
    g_assert_cmpuint(learn(view, 999, 9500), ==, 9500);
    g_assert_cmpuint(learn(view, 1001, 100), ==, 100); /* it was cut */
    vv_view_reload(view); /* some entry */
    g_assert_cmpuint(vv_view_size(view), ==, 100); /* the catalog here is older */
    vv_handle_close(handle);
    rig_free(rig);
}

static void test_refused(void)
{
    Rig *rig = rig_new(true);
    g_autoptr(GError) error = NULL;
    const char *objects[] = { "lun@x", NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };

    g_assert_false(vv_pool_lun_adopt(rig->test->pool, rig->lun, rig->other, 4096, &error));
    test_assert_refused(error, VV_ERROR_UNSUPPORTED, "another node's");
    g_assert_false(vv_pool_snapshot_create(rig->test->pool, objects, &options, NULL, &error));
    test_assert_refused(error, VV_ERROR_NO_COORDINATOR, "has none of the disks");
    g_assert_false(vv_pool_lun_resize(rig->test->pool, "lun", 4096, true, false, NULL, &error));
    test_assert_refused(error, VV_ERROR_NO_COORDINATOR, "has none of the disks");
    g_assert_cmpuint(ship_net_count(rig->net), ==, 0);
    vv_pool_lun_truncate(rig->test->pool, rig->lun, 2u << 20, &error);
    g_assert_no_error(error);
    ship_net_await(rig->net, 3);
    g_assert_cmpuint(ship_net_asked(rig->net, 0).ask.op, ==, VV_OBJECT_OPEN);
    g_assert_cmpuint(ship_net_asked(rig->net, 1).ask.op, ==, VV_OBJECT_TRUNCATE);
    g_assert_cmpuint(ship_net_asked(rig->net, 1).ask.length_bytes, ==, 2u << 20);
    rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/shipper/data", test_data);
    g_test_add_func("/shipper/resend", test_resend);
    g_test_add_func("/shipper/instance", test_instance);
    g_test_add_func("/shipper/lost", test_lost);
    g_test_add_func("/shipper/timeout", test_timeout);
    g_test_add_func("/shipper/interrupt", test_interrupt);
    g_test_add_func("/shipper/abort", test_abort);
    g_test_add_func("/shipper/again", test_again);
    g_test_add_func("/shipper/share", test_share);
    g_test_add_func("/shipper/late", test_late);
    g_test_add_func("/shipper/sizes", test_sizes);
    g_test_add_func("/shipper/refused", test_refused);
    return g_test_run();
}
