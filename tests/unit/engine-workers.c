/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several workers of one source: each request is taken once, a lone one wakes one of them, and who is not needed rests. */
#include "engine-test.h"
#include "worker.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 2u
#define REQUESTS 20000u

typedef struct Crew Crew;
typedef struct {
    Crew *crew;
    VvWorker *worker;
    pthread_t thread;
    _Atomic unsigned looks; /* at the source that does not wait */
    _Atomic unsigned taken;
    VvTask hold, unhold;
} Member;

struct Crew {
    char *folder;
    VvDisk *disk;
    int in[2], nonblocking;
    VvRoster roster;
    _Atomic unsigned answered, blocked;
    atomic_bool let_go;
    Member members[WORKERS];
};

typedef struct {
    VvDiskIo io;
    Crew *crew;
    uint8_t *block;
} Request;

static void read_done_cb(VvDiskIo *io)
{
    Request *request = (Request *) ((char *) io - offsetof(Request, io));
    g_assert_cmpint(io->result, ==, 0);
    atomic_fetch_add(&request->crew->answered, 1);
    free(request->block);
    g_free(request);
}

/* 'a': answered at once; 'b': when let go, on this thread; 'd': after a read of the disk. */
static int take(void *user, int fd)
{
    Member *member = user;
    Crew *crew = member->crew;
    char kind;
    if (fd == crew->nonblocking)
        atomic_fetch_add(&member->looks, 1);
    ssize_t n = read(fd, &kind, 1);
    if (n == 0)
        return -ENODEV;
    if (n < 0)
        return 0;
    atomic_fetch_add(&member->taken, 1);
    if (kind == 'b') {
        vv_worker_will_block(member->worker);
        atomic_fetch_add(&crew->blocked, 1);
        while (!atomic_load(&crew->let_go))
            g_usleep(100);
    }
    if (kind != 'd') {
        atomic_fetch_add(&crew->answered, 1);
        return 1;
    }
    Request *request = g_new0(Request, 1);
    request->crew = crew;
    request->block = test_blocks_new(1, 0);
    request->io = (VvDiskIo){ .disk = crew->disk, .data = request->block, .length_bytes = VV_BLOCK_BYTES,
        .offset = (uint64_t) VV_LABEL_BYTES, .done = read_done_cb };
    vv_worker_submit(member->worker, &request->io);
    return 1;
}

static void hold_cb(VvTask *task G_GNUC_UNUSED)
{
    vv_worker_hold(vv_worker_current());
}

static void unhold_cb(VvTask *task G_GNUC_UNUSED)
{
    vv_worker_unhold(vv_worker_current());
}

static void *run_main(void *user)
{
    vv_worker_run(((Member *) user)->worker);
    return NULL;
}

static void set_up(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    *crew = (Crew){ .folder = test_folder_new(false) };
    crew->disk = test_disk_new(crew->folder, "disk", NULL);
    g_assert_cmpint(pipe2(crew->in, O_CLOEXEC), ==, 0);
    g_autofree char *again = g_strdup_printf("/proc/self/fd/%d", crew->in[0]);
    crew->nonblocking = open(again, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    g_assert_cmpint(crew->nonblocking, >=, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        g_autoptr(GError) error = NULL;
        Member *member = &crew->members[i];
        *member = (Member){ .crew = crew, .hold.run = hold_cb, .unhold.run = unhold_cb };
        member->worker = vv_worker_new(i, false, &error);
        g_assert_no_error(error);
        vv_worker_set_source(member->worker, crew->in[0], crew->nonblocking, take, member);
        vv_worker_share_source(member->worker, &crew->roster);
    }
}

static void start(Member *member)
{
    g_assert_cmpint(pthread_create(&member->thread, NULL, run_main, member), ==, 0);
}

static void tear_down(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(crew->members[i].thread, NULL);
        vv_worker_free(crew->members[i].worker);
    }
    g_assert_cmpuint(atomic_load(&crew->roster.readers), ==, 0);
    close(crew->in[0]);
    close(crew->nonblocking);
    vv_disk_close(crew->disk);
    test_folder_free(crew->folder);
}

static void wait_until(_Atomic unsigned *count, unsigned wanted)
{
    uint64_t deadline_ms = vv_monotonic_ms() + 60000;
    while (atomic_load(count) != wanted && vv_monotonic_ms() < deadline_ms)
        g_usleep(100);
    g_assert_cmpuint(atomic_load(count), ==, wanted);
}

/* One sleeps in the read; the other, which has something under way, is left alone. */
static void test_lone_requests_wake_one(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    Member *reader = &crew->members[0], *busy = &crew->members[1];
    start(reader);
    wait_until(&crew->roster.readers, 1);
    vv_worker_post(busy->worker, &busy->hold);
    start(busy);
    for (unsigned i = 0; i < 100; i++) {
        g_assert_cmpint(write(crew->in[1], "a", 1), ==, 1);
        wait_until(&crew->answered, i + 1);
        wait_until(&crew->roster.readers, 1);
    }
    /* When it began it may have looked once before it slept. */
    g_assert_cmpuint(atomic_load(&busy->looks), <=, 2);
    vv_worker_post(busy->worker, &busy->unhold);
    close(crew->in[1]);
}

/* Nobody sleeps in the read: who is busy polls. */
static void test_busy_ones_poll(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        vv_worker_post(crew->members[i].worker, &crew->members[i].hold);
        start(&crew->members[i]);
    }
    for (unsigned i = 0; i < 100; i++) {
        g_assert_cmpint(write(crew->in[1], i % 2 ? "a" : "d", 1), ==, 1);
        wait_until(&crew->answered, i + 1);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        vv_worker_post(crew->members[i].worker, &crew->members[i].unhold);
    close(crew->in[1]);
}

/* Depths of one and of many in turn: all are answered. */
static void test_nothing_is_left(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    unsigned sent = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        start(&crew->members[i]);
    while (sent < REQUESTS) {
        unsigned depth = g_test_rand_int_range(0, 4) ? 1 : (unsigned) g_test_rand_int_range(2, 40);
        for (unsigned i = 0; i < depth; i++, sent++)
            g_assert_cmpint(write(crew->in[1], g_test_rand_int_range(0, 2) ? "a" : "d", 1), ==, 1);
        wait_until(&crew->answered, sent);
    }
    close(crew->in[1]);
}

static void send_one(Crew *crew, char kind)
{
    g_assert_cmpint(write(crew->in[1], &kind, 1), ==, 1);
}

/* Requests of the disk, one after the other, until one of them rests. */
static void make_rest(Crew *crew)
{
    uint64_t deadline_ms = vv_monotonic_ms() + 60000;
    while (!vv_roster_rests(&crew->roster) && vv_monotonic_ms() < deadline_ms) {
        unsigned answered = atomic_load(&crew->answered);
        send_one(crew, 'd');
        wait_until(&crew->answered, answered + 1);
        g_usleep(1000);
    }
    g_assert_true(vv_roster_rests(&crew->roster));
}

static void start_on_ring(Crew *crew)
{
    if (vv_disk_is_inline(crew->disk))
        g_test_skip("the folder's file system has no I/O to wait for");
    for (unsigned i = 0; i < WORKERS; i++)
        start(&crew->members[i]);
}

static void test_who_is_not_needed_rests(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    start_on_ring(crew);
    if (!vv_disk_is_inline(crew->disk)) {
        make_rest(crew);
        unsigned before[WORKERS], answered = atomic_load(&crew->answered);
        for (unsigned i = 0; i < WORKERS; i++)
            before[i] = atomic_load(&crew->members[i].taken);
        for (unsigned i = 1; i <= 100; i++) {
            send_one(crew, 'd');
            wait_until(&crew->answered, answered + i);
        }
        unsigned lazy = WORKERS;
        for (unsigned i = 0; i < WORKERS; i++)
            if (atomic_load(&crew->members[i].taken) == before[i])
                lazy = i;
        g_assert_cmpuint(lazy, <, WORKERS);
    }
    close(crew->in[1]);
}

/* Who rests is there for those that come while the other is not. */
static void test_resting_ones_come(Crew *crew, const void *memory G_GNUC_UNUSED)
{
    start_on_ring(crew);
    for (unsigned i = 1; i <= 50 && !vv_disk_is_inline(crew->disk); i++) {
        make_rest(crew);
        unsigned answered = atomic_load(&crew->answered);
        atomic_store(&crew->let_go, false);
        send_one(crew, 'b');
        wait_until(&crew->blocked, i);
        send_one(crew, i % 2 ? 'a' : 'd');
        wait_until(&crew->answered, answered + 1);
        atomic_store(&crew->let_go, true);
        wait_until(&crew->answered, answered + 2);
    }
    close(crew->in[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/workers/lone-requests-wake-one", Crew, NULL, set_up, test_lone_requests_wake_one, tear_down);
    g_test_add("/workers/busy-ones-poll", Crew, NULL, set_up, test_busy_ones_poll, tear_down);
    g_test_add("/workers/nothing-is-left", Crew, NULL, set_up, test_nothing_is_left, tear_down);
    g_test_add("/workers/who-is-not-needed-rests", Crew, NULL, set_up, test_who_is_not_needed_rests, tear_down);
    g_test_add("/workers/resting-ones-come", Crew, NULL, set_up, test_resting_ones_come, tear_down);
    return g_test_run();
}
