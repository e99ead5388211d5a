/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker's loop: disk I/O of both kinds, posted tasks, a pipe as the source of requests, and sleep when idle. */
#include "engine-test.h"
#include "worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define DATA_AT ((uint64_t) VV_LABEL_BYTES)

typedef struct {
    char *folder;
    VvDisk *disk;
    VvWorker *worker;
    pthread_t thread;
    unsigned left; /* owner's thread: what the test waits for */
} Fixture;

static void set_up(Fixture *f, const void *memory)
{
    g_autoptr(GError) error = NULL;
    f->folder = test_folder_new(memory != NULL);
    f->disk = test_disk_new(f->folder, "disk", NULL);
    f->worker = vv_worker_new(3, false, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vv_worker_index(f->worker), ==, 3);
}

static void tear_down(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    vv_worker_free(f->worker);
    vv_disk_close(f->disk);
    test_folder_free(f->folder);
}

static void *thread_main(void *user)
{
    Fixture *f = user;
    g_assert_null(vv_worker_current());
    vv_worker_run(f->worker);
    g_assert_null(vv_worker_current());
    return NULL;
}

static void start(Fixture *f)
{
    g_assert_cmpint(pthread_create(&f->thread, NULL, thread_main, f), ==, 0);
}

static void join(Fixture *f)
{
    pthread_join(f->thread, NULL);
}

/* Run @run on the worker's thread until it calls vv_worker_stop. */
static void run_here(Fixture *f, VvTask *task, void (*run)(VvTask *))
{
    task->run = run;
    vv_worker_post(f->worker, task);
    vv_worker_run(f->worker);
}

/* ---- many I/Os at once: more than the ring holds */

#define IO_COUNT 1500u

typedef struct {
    VvDiskIo io;
    Fixture *f;
    uint8_t *blocks;
    bool done;
} Slot;

typedef struct {
    VvTask task;
    Fixture *f;
    Slot *slots;
    bool reading;
} Burst;
static Burst burst;

static void submit_burst(void)
{
    burst.f->left = IO_COUNT;
    for (unsigned i = 0; i < IO_COUNT; i++) {
        Slot *slot = &burst.slots[i];
        slot->done = false;
        memset(slot->blocks, burst.reading ? 0xee : (int) (i % 251), VV_BLOCK_BYTES);
        slot->io.write = !burst.reading;
        vv_worker_submit(burst.f->worker, &slot->io);
    }
}

static void burst_done_cb(VvDiskIo *io)
{
    Slot *slot = (Slot *) io;
    g_assert_true(vv_worker_current() == slot->f->worker);
    g_assert_cmpint(io->result, ==, 0);
    g_assert_false(slot->done);
    slot->done = true;
    if (burst.reading)
        for (unsigned i = 0; i < VV_BLOCK_BYTES; i++)
            g_assert_cmpuint(slot->blocks[i], ==, (unsigned) (slot - burst.slots) % 251);
    if (--slot->f->left > 0)
        return;
    if (burst.reading) {
        vv_worker_stop(slot->f->worker);
    } else {
        burst.reading = true;
        submit_burst();
    }
}

static void burst_task_cb(VvTask *task G_GNUC_UNUSED)
{
    submit_burst();
}

static void test_many_at_once(Fixture *f, const void *memory)
{
    g_assert_true(vv_disk_is_inline(f->disk) == (memory != NULL));
    void *data = test_blocks_new(IO_COUNT, 0);
    burst = (Burst){ .f = f, .slots = g_new0(Slot, IO_COUNT) };
    for (unsigned i = 0; i < IO_COUNT; i++) {
        Slot *slot = &burst.slots[i];
        slot->f = f;
        slot->blocks = (uint8_t *) data + (size_t) i * VV_BLOCK_BYTES;
        slot->io =
            (VvDiskIo){ .disk = f->disk, .data = slot->blocks, .length_bytes = VV_BLOCK_BYTES, .done = burst_done_cb };
        slot->io.offset = DATA_AT + (uint64_t) (IO_COUNT - 1 - i) * VV_BLOCK_BYTES;
    }
    run_here(f, &burst.task, burst_task_cb);
    g_assert_cmpuint(f->left, ==, 0);
    VvDiskCounters counters = vv_disk_counters(f->disk);
    g_assert_cmpuint(counters.reads, ==, IO_COUNT);
    g_assert_cmpuint(counters.writes, ==, IO_COUNT);
    g_assert_cmpuint(counters.write_bytes, ==, (uint64_t) IO_COUNT * VV_BLOCK_BYTES);
    g_assert_cmpuint(counters.errors, ==, 0);
    g_free(burst.slots);
    free(data);
}

/* ---- a done that submits again does not deepen the stack */

typedef struct {
    VvTask task;
    VvDiskIo io;
    Fixture *f;
    char *deepest; /* the frame of the first completion */
} Chain;

static void chain_done_cb(VvDiskIo *io)
{
    Chain *chain = (Chain *) ((char *) io - offsetof(Chain, io));
    char *here = __builtin_frame_address(0); /* of the real stack: locals may be elsewhere under AddressSanitizer */
    g_assert_cmpint(io->result, ==, 0);
    if (chain->deepest == NULL)
        chain->deepest = here;
    g_assert_cmpint(labs(here - chain->deepest), <, 16384);
    if (--chain->f->left > 0)
        vv_worker_submit(chain->f->worker, io);
    else
        vv_worker_stop(chain->f->worker);
}

static void chain_task_cb(VvTask *task)
{
    Chain *chain = (Chain *) task;
    vv_worker_submit(chain->f->worker, &chain->io);
}

static void test_chain(Fixture *f, const void *memory)
{
    Chain chain = { .f = f };
    f->left = memory ? 100000 : 500;
    void *data = test_blocks_new(1, 0);
    chain.io = (VvDiskIo){ .disk = f->disk, .data = data, .length_bytes = VV_BLOCK_BYTES, .offset = DATA_AT };
    chain.io.done = chain_done_cb;
    run_here(f, &chain.task, chain_task_cb);
    g_assert_cmpuint(f->left, ==, 0);
    free(data);
}

/* ---- errors */

static void error_done_cb(VvDiskIo *io)
{
    (void) io;
    vv_worker_stop(vv_worker_current());
}

static int run_one(Fixture *f, VvDisk *disk, bool write, uint64_t offset, uint32_t length_bytes)
{
    Chain chain = { .f = f };
    void *data = test_blocks_new(length_bytes / VV_BLOCK_BYTES, 0);
    chain.io = (VvDiskIo){ .disk = disk, .data = data, .length_bytes = length_bytes, .offset = offset, .write = write };
    chain.io.done = error_done_cb;
    run_here(f, &chain.task, chain_task_cb);
    free(data);
    return chain.io.result;
}

static void test_past_the_end(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_assert_cmpint(run_one(f, f->disk, false, TEST_DISK_BYTES, VV_BLOCK_BYTES), ==, -EIO);
    g_assert_cmpuint(vv_disk_counters(f->disk).errors, ==, 1);
}

/* The last half is beyond the end: a short transfer, continued, finds nothing more. */
static void test_short_transfer(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_assert_cmpint(run_one(f, f->disk, false, TEST_DISK_BYTES - 2 * VV_BLOCK_BYTES, 4 * VV_BLOCK_BYTES), ==, -EIO);
    g_assert_cmpint(run_one(f, f->disk, false, TEST_DISK_BYTES - 4 * VV_BLOCK_BYTES, 4 * VV_BLOCK_BYTES), ==, 0);
}

static int failing_io(VvDisk *disk G_GNUC_UNUSED, void *data G_GNUC_UNUSED, size_t length_bytes G_GNUC_UNUSED,
    uint64_t offset G_GNUC_UNUSED)
{
    return -ENOSPC;
}

static void test_faulty_operations(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    static const VvDiskOps faulty = { .read = failing_io };
    vv_disk_set_ops(f->disk, &faulty, NULL);
    g_assert_true(vv_disk_is_inline(f->disk));
    g_assert_cmpint(run_one(f, f->disk, false, DATA_AT, VV_BLOCK_BYTES), ==, -ENOSPC);
}

/* ---- the mailbox */

#define POSTERS 4u
#define POSTS 5000u

typedef struct {
    VvTask task;
    unsigned poster, number;
} Post;

typedef struct {
    Fixture *f;
    unsigned poster;
    Post *posts;
    unsigned *seen; /* owner's thread: per poster, the number of the next */
    unsigned *total;
} Poster;
static Poster posters[POSTERS];

static void post_cb(VvTask *task)
{
    Post *post = (Post *) task;
    Poster *poster = &posters[post->poster];
    g_assert_cmpuint(poster->seen[post->poster]++, ==, post->number);
    if (++*poster->total == POSTERS * POSTS)
        vv_worker_stop(poster->f->worker);
}

static void *poster_main(void *user)
{
    Poster *poster = user;
    for (unsigned i = 0; i < POSTS; i++)
        vv_worker_post(poster->f->worker, &poster->posts[i].task);
    return NULL;
}

static void test_posts_from_threads(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    pthread_t threads[POSTERS];
    unsigned seen[POSTERS] = { 0 }, total = 0;
    start(f);
    for (unsigned p = 0; p < POSTERS; p++) {
        posters[p] = (Poster){ .f = f, .poster = p, .posts = g_new0(Post, POSTS), .seen = seen, .total = &total };
        for (unsigned i = 0; i < POSTS; i++)
            posters[p].posts[i] = (Post){ .task.run = post_cb, .poster = p, .number = i };
    }
    for (unsigned p = 0; p < POSTERS; p++)
        g_assert_cmpint(pthread_create(&threads[p], NULL, poster_main, &posters[p]), ==, 0);
    for (unsigned p = 0; p < POSTERS; p++)
        pthread_join(threads[p], NULL);
    join(f);
    g_assert_cmpuint(total, ==, POSTERS * POSTS);
    for (unsigned p = 0; p < POSTERS; p++)
        g_free(posters[p].posts);
}

/* Each post waits for the one before: every one finds the worker asleep, or about to be. */
typedef struct {
    VvTask task;
    _Atomic unsigned *rounds;
    pthread_mutex_t *lock;
    pthread_cond_t *changed;
} Ping;

static void ping_cb(VvTask *task)
{
    Ping *ping = (Ping *) task;
    VV_LOCKED(ping->lock);
    atomic_fetch_add(ping->rounds, 1);
    pthread_cond_signal(ping->changed);
}

static void test_no_wake_up_is_lost(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
    _Atomic unsigned rounds = 0;
    Ping ping = { .task.run = ping_cb, .rounds = &rounds, .lock = &lock, .changed = &changed };
    start(f);
    for (unsigned i = 1; i <= 10000; i++) {
        vv_worker_post(f->worker, &ping.task);
        VV_LOCKED(&lock);
        while (atomic_load(&rounds) < i)
            pthread_cond_wait(&changed, &lock);
    }
    vv_worker_stop(f->worker);
    join(f);
}

/* A task that posts itself gives the rest of the loop its turn. */
typedef struct {
    VvTask task;
    Fixture *f;
    VvDiskIo io;
    void *data;
    bool io_done;
    unsigned runs;
} Again;

static void again_done_cb(VvDiskIo *io)
{
    Again *again = (Again *) ((char *) io - offsetof(Again, io));
    again->io_done = true;
}

static void again_cb(VvTask *task)
{
    Again *again = (Again *) task;
    if (again->runs++ == 0) {
        again->io = (VvDiskIo){ .disk = again->f->disk, .data = again->data, .length_bytes = VV_BLOCK_BYTES };
        again->io.done = again_done_cb;
        vv_worker_submit(again->f->worker, &again->io);
    }
    if (again->io_done)
        vv_worker_stop(again->f->worker);
    else
        vv_worker_post(again->f->worker, task);
}

static void test_task_that_posts_itself(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    Again again = { .f = f, .data = test_blocks_new(1, 0) };
    run_here(f, &again.task, again_cb);
    g_assert_true(again.io_done);
    free(again.data);
}

/* What the owner posts after it emptied the mailbox does not wait for something else to wake it. */
typedef struct {
    VvTask task;
    unsigned left;
} Countdown;

static void countdown_cb(VvTask *task)
{
    Countdown *countdown = (Countdown *) task;
    if (--countdown->left > 0)
        vv_worker_post(vv_worker_current(), task);
    else
        vv_worker_stop(vv_worker_current());
}

static void test_owner_posts(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    Countdown countdown = { .left = 1000 };
    run_here(f, &countdown.task, countdown_cb);
    g_assert_cmpuint(countdown.left, ==, 0);
}

/* ---- stop */

static void slow_done_cb(VvDiskIo *io)
{
    Slot *slot = (Slot *) io;
    slot->done = true;
}

static void stop_task_cb(VvTask *task G_GNUC_UNUSED)
{
    for (unsigned i = 0; i < 64; i++)
        vv_worker_submit(burst.f->worker, &burst.slots[i].io);
    vv_worker_stop(burst.f->worker);
}

static void test_stop_waits_for_what_is_in_flight(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    void *data = test_blocks_new(64, 1);
    burst = (Burst){ .f = f, .slots = g_new0(Slot, 64) };
    for (unsigned i = 0; i < 64; i++) {
        Slot *slot = &burst.slots[i];
        slot->io = (VvDiskIo){ .disk = f->disk, .data = (uint8_t *) data + i * VV_BLOCK_BYTES, .write = true };
        slot->io.length_bytes = VV_BLOCK_BYTES;
        slot->io.offset = DATA_AT + i * VV_BLOCK_BYTES;
        slot->io.done = slow_done_cb;
    }
    run_here(f, &burst.task, stop_task_cb);
    for (unsigned i = 0; i < 64; i++)
        g_assert_true(burst.slots[i].done);
    g_free(burst.slots);
    free(data);
}

/* ---- a pipe as the source */

enum { ANSWER_AT_ONCE, WRITE_AND_READ, PARK, STOP };

typedef struct {
    Fixture *f;
    int in[2];
    int nonblocking;
    unsigned count[4]; /* answered, per kind */
    unsigned under_way, most;
    unsigned limit; /* of those under way; 0: none */
    _Atomic unsigned answered;
    pthread_mutex_t gate; /* the helper passes it before it brings one back */
    /* the helper that brings parked requests back */
    pthread_t helper;
    pthread_mutex_t lock; /* guards parked, ended */
    pthread_cond_t changed;
    VvTask *parked;
    bool ended;
} Source;

typedef struct {
    VvTask task;
    VvDiskIo io;
    Source *source;
    uint8_t *block;
    uint32_t kind, number;
} Request;

static void answer(Request *request)
{
    request->source->count[request->kind]++;
    request->source->under_way--;
    atomic_fetch_add(&request->source->answered, 1);
    free(request->block);
    g_free(request);
}

static void request_done_cb(VvDiskIo *io)
{
    Request *request = (Request *) ((char *) io - offsetof(Request, io));
    g_assert_cmpint(io->result, ==, 0);
    g_assert_cmpuint(request->block[17], ==, request->number % 256);
    if (!io->write) {
        answer(request);
        return;
    }
    io->write = false;
    memset(request->block, 0, VV_BLOCK_BYTES);
    vv_worker_submit(request->source->f->worker, io);
}

static void back_cb(VvTask *task)
{
    Request *request = (Request *) task;
    vv_worker_unhold(vv_worker_current());
    answer(request);
}

static VvTask *wait_for_parked(Source *source)
{
    VV_LOCKED(&source->lock);
    while (source->parked == NULL && !source->ended)
        pthread_cond_wait(&source->changed, &source->lock);
    VvTask *task = source->parked;
    if (task)
        source->parked = task->next;
    return task;
}

static void *helper_main(void *user)
{
    Source *source = user;
    VvTask *task;
    while ((task = wait_for_parked(source))) {
        VV_LOCKED(&source->gate);
        vv_worker_post(source->f->worker, task);
    }
    return NULL;
}

static void park(Source *source, Request *request)
{
    vv_worker_hold(source->f->worker);
    VV_LOCKED(&source->lock);
    request->task.next = source->parked;
    source->parked = &request->task;
    pthread_cond_signal(&source->changed);
}

static int take(void *user, int fd)
{
    Source *source = user;
    uint32_t words[2];
    if (source->limit > 0 && source->under_way >= source->limit)
        return -EBUSY;
    ssize_t n = read(fd, words, sizeof words);
    if (n == 0)
        return -ENODEV;
    if (n < 0)
        return 0;
    g_assert_cmpint(n, ==, sizeof words);
    Request *request = g_new0(Request, 1);
    *request = (Request){ .source = source, .kind = words[0], .number = words[1], .task.run = back_cb };
    source->under_way++;
    source->most = MAX(source->most, source->under_way);
    if (request->kind == STOP)
        vv_worker_stop(source->f->worker);
    if (request->kind == ANSWER_AT_ONCE || request->kind == STOP) {
        answer(request);
    } else if (request->kind == PARK) {
        park(source, request);
    } else {
        request->block = test_blocks_new(1, (int) (request->number % 256));
        request->io = (VvDiskIo){ .disk = source->f->disk, .data = request->block, .length_bytes = VV_BLOCK_BYTES };
        request->io.write = true;
        request->io.offset = DATA_AT + (uint64_t) (request->number % 4096) * VV_BLOCK_BYTES;
        request->io.done = request_done_cb;
        vv_worker_submit(source->f->worker, &request->io);
    }
    return 1;
}

/* @source must not move. */
static void source_open(Source *source, Fixture *f)
{
    *source = (Source){ .f = f };
    pthread_mutex_init(&source->gate, NULL);
    pthread_mutex_init(&source->lock, NULL);
    pthread_cond_init(&source->changed, NULL);
    g_assert_cmpint(pipe2(source->in, O_CLOEXEC), ==, 0);
    g_autofree char *again = g_strdup_printf("/proc/self/fd/%d", source->in[0]);
    source->nonblocking = open(again, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    g_assert_cmpint(source->nonblocking, >=, 0);
    vv_worker_set_source(f->worker, source->in[0], source->nonblocking, take, source);
    g_assert_cmpint(pthread_create(&source->helper, NULL, helper_main, source), ==, 0);
}

static void send_request(Source *source, uint32_t kind, uint32_t number)
{
    uint32_t words[2] = { kind, number };
    g_assert_cmpint(write(source->in[1], words, sizeof words), ==, sizeof words);
}

static void source_close(Source *source)
{
    {
        VV_LOCKED(&source->lock);
        source->ended = true;
        pthread_cond_signal(&source->changed);
    }
    pthread_join(source->helper, NULL);
    close(source->in[0]);
    close(source->nonblocking);
}

static void test_source(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    Source source;
    unsigned sent[3] = { 0 };
    source_open(&source, f);
    start(f);
    for (unsigned i = 0; i < 4000; i++) {
        uint32_t kind = (uint32_t) g_test_rand_int_range(0, 3);
        sent[kind]++;
        send_request(&source, kind, i);
    }
    close(source.in[1]); /* the source ends with requests under way */
    join(f);
    for (unsigned k = 0; k < 3; k++)
        g_assert_cmpuint(source.count[k], ==, sent[k]);
    g_assert_cmpuint(source.under_way, ==, 0);
    source_close(&source);
}

/* A source that may not be read is asked again when something has ended, and nothing is lost. */
static void test_shut_source(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    Source source;
    unsigned sent[3] = { 0 };
    source_open(&source, f);
    source.limit = 3;
    start(f);
    for (unsigned i = 0; i < 2000; i++) {
        uint32_t kind = (uint32_t) g_test_rand_int_range(0, 3);
        sent[kind]++;
        send_request(&source, kind, i);
    }
    close(source.in[1]);
    join(f);
    for (unsigned k = 0; k < 3; k++)
        g_assert_cmpuint(source.count[k], ==, sent[k]);
    g_assert_cmpuint(source.most, ==, 3);
    source_close(&source);
}

/* While one request is parked others are taken and answered. */
static void test_parked_request_stops_nobody(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    Source source;
    source_open(&source, f);
    start(f);
    pthread_mutex_lock(&source.gate);
    send_request(&source, PARK, 0);
    for (unsigned i = 0; i < 200; i++) {
        send_request(&source, WRITE_AND_READ, i);
        send_request(&source, ANSWER_AT_ONCE, i);
    }
    uint64_t deadline_ms = vv_monotonic_ms() + 30000;
    while (atomic_load(&source.answered) < 400 && vv_monotonic_ms() < deadline_ms)
        g_usleep(1000);
    g_assert_cmpuint(atomic_load(&source.answered), ==, 400);
    pthread_mutex_unlock(&source.gate);
    close(source.in[1]);
    join(f);
    g_assert_cmpuint(source.count[PARK], ==, 1);
    g_assert_cmpuint(source.count[WRITE_AND_READ], ==, 200);
    g_assert_cmpuint(source.count[ANSWER_AT_ONCE], ==, 200);
    source_close(&source);
}

/* ---- idle */

typedef struct {
    VvTask task;
    struct rusage usage;
    bool unhold;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
} Measure;

static void measure_cb(VvTask *task)
{
    Measure *measure = (Measure *) task;
    g_assert_cmpint(getrusage(RUSAGE_THREAD, &measure->usage), ==, 0);
    if (measure->unhold)
        vv_worker_unhold(vv_worker_current());
    VV_LOCKED(&measure->lock);
    measure->done = true;
    pthread_cond_signal(&measure->changed);
}

static void measure_now(Fixture *f, Measure *measure, bool unhold)
{
    *measure = (Measure){ .task.run = measure_cb, .unhold = unhold };
    pthread_mutex_init(&measure->lock, NULL);
    pthread_cond_init(&measure->changed, NULL);
    vv_worker_post(f->worker, &measure->task);
    VV_LOCKED(&measure->lock);
    while (!measure->done)
        pthread_cond_wait(&measure->changed, &measure->lock);
}

/* The time that passes is not what is asserted: a loop that does not sleep would switch, or use the whole of it. */
static void assert_idle(Fixture *f, bool unhold)
{
    Measure before, after;
    measure_now(f, &before, false);
    g_usleep(300000);
    measure_now(f, &after, unhold);
    long switches = after.usage.ru_nvcsw - before.usage.ru_nvcsw;
    int64_t cpu_us = (after.usage.ru_utime.tv_sec - before.usage.ru_utime.tv_sec + after.usage.ru_stime.tv_sec -
                         before.usage.ru_stime.tv_sec) *
                         1000000 +
                     (after.usage.ru_utime.tv_usec - before.usage.ru_utime.tv_usec) + after.usage.ru_stime.tv_usec -
                     before.usage.ru_stime.tv_usec;
    g_assert_cmpint(switches, <=, 4);
    g_assert_cmpint(cpu_us, <, 100000);
}

static void test_idle_without_source(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    start(f);
    assert_idle(f, false);
    vv_worker_stop(f->worker);
    join(f);
}

static void hold_cb(VvTask *task G_GNUC_UNUSED)
{
    vv_worker_hold(vv_worker_current());
}

enum { SILENT, STOPPED, ENDED };

static void idle_with_source(Fixture *f, int how)
{
    Source source;
    VvTask hold = { .run = hold_cb };
    source_open(&source, f);
    vv_worker_post(f->worker, &hold);
    if (how == STOPPED) /* with more to take than it does at once, so that it stops while there is more */
        for (unsigned i = 0; i < 100; i++)
            send_request(&source, i == 0 ? STOP : ANSWER_AT_ONCE, i);
    if (how == ENDED)
        close(source.in[1]);
    start(f);
    assert_idle(f, true);
    if (how != ENDED)
        close(source.in[1]);
    join(f);
    source_close(&source);
}

/* Something is parked and the source is silent: asleep in the ring, where a post can wake it. */
static void test_idle_with_hold(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    idle_with_source(f, SILENT);
}

static void test_idle_while_stopping(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    idle_with_source(f, STOPPED);
}

static void test_idle_after_the_source(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    idle_with_source(f, ENDED);
}

/* What run leaves behind: nothing in the kernel that pins the source. Run on this thread, because the end of a thread
 * cancels what it left. */
static void *stopper_main(void *user)
{
    Fixture *f = user;
    Measure measure;
    measure_now(f, &measure, false);
    measure_now(f, &measure, false); /* it has been in the ring once, or is in it now */
    vv_worker_stop(f->worker);
    measure_now(f, &measure, true);
    return NULL;
}

static void test_run_lets_go_of_the_source(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    Source source;
    pthread_t stopper;
    VvTask hold = { .run = hold_cb };
    source_open(&source, f);
    vv_worker_post(f->worker, &hold);
    g_assert_cmpint(pthread_create(&stopper, NULL, stopper_main, f), ==, 0);
    vv_worker_run(f->worker);
    pthread_join(stopper, NULL);
    source_close(&source); /* both ends for reading */
    g_assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    ssize_t n = write(source.in[1], "x", 1);
    g_assert_true(n < 0 && errno == EPIPE);
    close(source.in[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function)                                                             \
    g_test_add("/worker/memory/" name, Fixture, "memory", set_up, function, tear_down); \
    g_test_add("/worker/disk/" name, Fixture, NULL, set_up, function, tear_down)
#define ADD_ONCE(name, function) g_test_add("/worker/" name, Fixture, "memory", set_up, function, tear_down)
    ADD("many-at-once", test_many_at_once);
    ADD("chain", test_chain);
    ADD("past-the-end", test_past_the_end);
    ADD("short-transfer", test_short_transfer);
    ADD("faulty-operations", test_faulty_operations);
    ADD("task-that-posts-itself", test_task_that_posts_itself);
    ADD("stop-waits-for-what-is-in-flight", test_stop_waits_for_what_is_in_flight);
    ADD("source", test_source);
    ADD("shut-source", test_shut_source);
    ADD("parked-request-stops-nobody", test_parked_request_stops_nobody);
    ADD_ONCE("owner-posts", test_owner_posts);
    ADD_ONCE("posts-from-threads", test_posts_from_threads);
    ADD_ONCE("no-wake-up-is-lost", test_no_wake_up_is_lost);
    ADD_ONCE("idle-without-source", test_idle_without_source);
    ADD_ONCE("idle-with-hold", test_idle_with_hold);
    ADD_ONCE("idle-while-stopping", test_idle_while_stopping);
    ADD_ONCE("idle-after-the-source", test_idle_after_the_source);
    ADD_ONCE("run-lets-go-of-the-source", test_run_lets_go_of_the_source);
    return g_test_run();
}
