/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sync tickets: what a ticket covers, what is batched, and that a failed sync stays failed. */
#include "engine-test.h"

#include "disk_private.h"

#include <pthread.h>
#include <stdatomic.h>

/* A disk whose sync stops at a barrier until the test lets it go, and that knows which writes each sync covered. */
typedef struct {
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    unsigned begun, allowed, answered;
    int result;         /* of the next sync */
    uint64_t completed; /* writes so far */
    uint64_t covered;   /* of these when the last sync that succeeded began */
} Medium;

static int medium_write(
    VvDisk *disk, const void *data G_GNUC_UNUSED, size_t length_bytes G_GNUC_UNUSED, uint64_t offset G_GNUC_UNUSED)
{
    Medium *medium = vv_disk_ops_user(disk);
    VV_LOCKED(&medium->lock);
    medium->completed++;
    return 0;
}

static int medium_sync(VvDisk *disk)
{
    Medium *medium = vv_disk_ops_user(disk);
    pthread_mutex_lock(&medium->lock);
    uint64_t covers = medium->completed;
    unsigned mine = ++medium->begun;
    pthread_cond_broadcast(&medium->changed);
    while (medium->allowed < mine)
        pthread_cond_wait(&medium->changed, &medium->lock);
    int result = medium->result;
    if (result == 0)
        medium->covered = covers;
    pthread_mutex_unlock(&medium->lock);
    return result;
}

static const VvDiskOps medium_ops = { .write = medium_write, .sync = medium_sync };

typedef struct {
    Medium *medium;
    uint64_t must_cover;
    int result; /* 1: not answered */
    bool missed;
} Ticket;

static void ticket_done_cb(void *user, int result)
{
    Ticket *ticket = user;
    VV_LOCKED(&ticket->medium->lock);
    ticket->result = result;
    ticket->missed = result == 0 && ticket->medium->covered < ticket->must_cover;
    ticket->medium->answered++;
    pthread_cond_broadcast(&ticket->medium->changed);
}

typedef struct {
    char *folder;
    VvDisk *disk;
    Medium medium;
} Fixture;

static void set_up(Fixture *f, const void *data G_GNUC_UNUSED)
{
    f->folder = test_folder_new(true);
    f->disk = test_disk_new(f->folder, "disk", NULL);
    pthread_mutex_init(&f->medium.lock, NULL);
    pthread_cond_init(&f->medium.changed, NULL);
    vv_disk_set_ops(f->disk, &medium_ops, &f->medium);
}

static void tear_down(Fixture *f, const void *data G_GNUC_UNUSED)
{
    vv_disk_close(f->disk);
    test_folder_free(f->folder);
    pthread_cond_destroy(&f->medium.changed);
    pthread_mutex_destroy(&f->medium.lock);
}

static void ask(Fixture *f, Ticket *ticket)
{
    ticket->medium = &f->medium;
    ticket->result = 1;
    pthread_mutex_lock(&f->medium.lock);
    ticket->must_cover = f->medium.completed;
    pthread_mutex_unlock(&f->medium.lock);
    vv_disk_sync_async(f->disk, ticket_done_cb, ticket);
}

static void write_one(Fixture *f)
{
    g_assert_cmpint(vv_disk_write(f->disk, "", VV_BLOCK_BYTES, VV_LABEL_BYTES), ==, 0);
}

static void wait_until(Fixture *f, const unsigned *counter, unsigned reached)
{
    VV_LOCKED(&f->medium.lock);
    while (*counter < reached)
        pthread_cond_wait(&f->medium.changed, &f->medium.lock);
}

static void allow(Fixture *f, unsigned syncs)
{
    VV_LOCKED(&f->medium.lock);
    f->medium.allowed = syncs;
    pthread_cond_broadcast(&f->medium.changed);
}

static void test_ticket_in_flight_covers_no_later_write(Fixture *f, const void *data G_GNUC_UNUSED)
{
    Ticket first = { 0 }, second = { 0 };
    write_one(f);
    ask(f, &first);
    wait_until(f, &f->medium.begun, 1);
    write_one(f);
    ask(f, &second);
    allow(f, 1);
    wait_until(f, &f->medium.answered, 1);
    g_assert_cmpint(first.result, ==, 0);
    wait_until(f, &f->medium.begun, 2);
    g_assert_cmpint(second.result, ==, 1);
    allow(f, 2);
    wait_until(f, &f->medium.answered, 2);
    g_assert_cmpint(second.result, ==, 0);
    g_assert_false(first.missed || second.missed);
}

static void test_those_who_wait_share_a_sync(Fixture *f, const void *data G_GNUC_UNUSED)
{
    Ticket tickets[200] = { 0 };
    ask(f, &tickets[0]);
    wait_until(f, &f->medium.begun, 1);
    for (unsigned i = 1; i < G_N_ELEMENTS(tickets); i++) {
        write_one(f);
        ask(f, &tickets[i]);
    }
    allow(f, 100);
    wait_until(f, &f->medium.answered, G_N_ELEMENTS(tickets));
    g_assert_cmpuint(f->medium.begun, ==, 2);
    g_assert_cmpuint(vv_disk_counters(f->disk).syncs, ==, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(tickets); i++)
        g_assert_true(tickets[i].result == 0 && !tickets[i].missed);
}

static void test_failure_stays(Fixture *f, const void *data G_GNUC_UNUSED)
{
    Ticket carried[3] = { 0 }, waiting[3] = { 0 }, later = { 0 };
    allow(f, 1);
    g_assert_cmpint(vv_disk_sync(f->disk), ==, 0);
    g_assert_cmpint(vv_disk_sync_error(f->disk), ==, 0);

    ask(f, &carried[0]);
    wait_until(f, &f->medium.begun, 2);
    ask(f, &carried[1]);
    ask(f, &carried[2]);
    allow(f, 2);
    wait_until(f, &f->medium.begun, 3);
    for (unsigned i = 0; i < 3; i++)
        ask(f, &waiting[i]);
    pthread_mutex_lock(&f->medium.lock);
    f->medium.result = -ENOSPC;
    pthread_mutex_unlock(&f->medium.lock);
    allow(f, 3);
    wait_until(f, &f->medium.answered, 6);
    g_assert_cmpint(carried[0].result, ==, 0);
    g_assert_cmpint(carried[1].result, ==, -ENOSPC);
    g_assert_cmpint(carried[2].result, ==, -ENOSPC);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(waiting[i].result, ==, -ENOSPC);

    pthread_mutex_lock(&f->medium.lock);
    f->medium.result = 0; /* the medium says that it is well again: too late */
    pthread_mutex_unlock(&f->medium.lock);
    allow(f, 100);
    ask(f, &later);
    wait_until(f, &f->medium.answered, 7);
    g_assert_cmpint(later.result, ==, -ENOSPC);
    g_assert_cmpint(vv_disk_sync(f->disk), ==, -ENOSPC);
    g_assert_cmpint(vv_disk_sync_error(f->disk), ==, -ENOSPC);
    g_assert_cmpuint(f->medium.begun, ==, 3);
    g_assert_cmpuint(vv_disk_counters(f->disk).errors, ==, 1);
}

static void set_result(Fixture *f, int result)
{
    VV_LOCKED(&f->medium.lock);
    f->medium.result = result;
}

/* A medium that is away for too long: who waits is told, at once with the first, and it is not the end. */
static void test_not_reached_passes(Fixture *f, const void *data G_GNUC_UNUSED)
{
    VvRemote remote = { 0 };
    Ticket carried = { 0 }, waiting = { 0 }, later = { 0 };

    f->disk->remote = &remote;
    set_result(f, -ETIMEDOUT);
    ask(f, &carried);
    wait_until(f, &f->medium.begun, 1);
    write_one(f);
    ask(f, &waiting);
    allow(f, 1);
    wait_until(f, &f->medium.answered, 2);
    g_assert_cmpint(carried.result, ==, -EIO);
    g_assert_cmpint(waiting.result, ==, -EIO);
    g_assert_cmpint(vv_disk_sync_error(f->disk), ==, 0);

    set_result(f, 0);
    allow(f, 100);
    ask(f, &later);
    wait_until(f, &f->medium.answered, 3);
    g_assert_true(later.result == 0 && !later.missed);
    g_assert_cmpuint(f->medium.begun, ==, 2);
    f->disk->remote = NULL;
}

/* A file's is one like any other. */
static void test_timeout_of_a_file_stays(Fixture *f, const void *data G_GNUC_UNUSED)
{
    set_result(f, -ETIMEDOUT);
    allow(f, 100);
    g_assert_cmpint(vv_disk_sync(f->disk), ==, -EIO);
    set_result(f, 0);
    g_assert_cmpint(vv_disk_sync(f->disk), ==, -EIO);
}

/* A done that asks for the next ticket, as a committer does. */
typedef struct {
    Fixture *f;
    unsigned left;
} Chain;

static void chain_done_cb(void *user, int result)
{
    Chain *chain = user;
    g_assert_cmpint(result, ==, 0);
    if (--chain->left > 0) {
        vv_disk_sync_async(chain->f->disk, chain_done_cb, chain);
        return;
    }
    VV_LOCKED(&chain->f->medium.lock);
    chain->f->medium.answered++;
    pthread_cond_broadcast(&chain->f->medium.changed);
}

static void test_done_may_ask_again(Fixture *f, const void *data G_GNUC_UNUSED)
{
    Chain chain = { .f = f, .left = 100 };
    allow(f, 1000);
    vv_disk_sync_async(f->disk, chain_done_cb, &chain);
    wait_until(f, &f->medium.answered, 1);
    g_assert_cmpuint(f->medium.begun, ==, 100);
}

static void *writer_main(void *user)
{
    Fixture *f = user;
    for (unsigned i = 0; i < 500; i++) {
        write_one(f);
        uint64_t must_cover;
        {
            VV_LOCKED(&f->medium.lock);
            must_cover = f->medium.completed;
        }
        g_assert_cmpint(vv_disk_sync(f->disk), ==, 0);
        VV_LOCKED(&f->medium.lock);
        g_assert_cmpuint(f->medium.covered, >=, must_cover);
    }
    return NULL;
}

static void test_many_threads(Fixture *f, const void *data G_GNUC_UNUSED)
{
    pthread_t threads[4];
    allow(f, G_MAXUINT);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpint(pthread_create(&threads[i], NULL, writer_main, f), ==, 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void *allow_when_stopping(void *user)
{
    Fixture *f = user;
    for (bool stopping = false; !stopping; g_usleep(1000)) {
        VV_LOCKED(&f->disk->syncer.lock);
        stopping = f->disk->syncer.stopping;
    }
    allow(f, 2);
    return NULL;
}

/* Somebody asked for a sync just before the disk left: he is answered. */
static void test_close_answers_all(Fixture *f, const void *data G_GNUC_UNUSED)
{
    Ticket first = { 0 }, second = { 0 };
    pthread_t thread;
    write_one(f);
    ask(f, &first);
    wait_until(f, &f->medium.begun, 1);
    ask(f, &second);
    g_assert_cmpint(pthread_create(&thread, NULL, allow_when_stopping, f), ==, 0);
    vv_disk_close(f->disk);
    pthread_join(thread, NULL);
    f->disk = NULL;
    g_assert_cmpint(first.result, ==, 0);
    g_assert_cmpint(second.result, ==, 0);
}

/* The thread may still be at its last answer when the one who waited for it closes the disk. */
static void test_close_after_sync(void)
{
    char *folder = test_folder_new(true);
    g_autofree char *path = NULL;
    vv_disk_close(test_disk_new(folder, "disk", &path));
    for (unsigned i = 0; i < 200; i++) {
        VvDisk *disk = vv_disk_open(path, NULL, NULL, false, 0, NULL);
        g_assert_cmpint(vv_disk_sync(disk), ==, 0);
        vv_disk_close(disk);
    }
    test_folder_free(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/syncer/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("ticket-in-flight-covers-no-later-write", test_ticket_in_flight_covers_no_later_write);
    ADD("those-who-wait-share-a-sync", test_those_who_wait_share_a_sync);
    ADD("failure-stays", test_failure_stays);
    ADD("not-reached-passes", test_not_reached_passes);
    ADD("timeout-of-a-file-stays", test_timeout_of_a_file_stays);
    ADD("done-may-ask-again", test_done_may_ask_again);
    ADD("many-threads", test_many_threads);
    ADD("close-answers-all", test_close_answers_all);
    g_test_add_func("/syncer/close-after-sync", test_close_after_sync);
    return g_test_run();
}
