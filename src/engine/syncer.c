/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sync tickets: one thread per disk turns all the tickets that wait into one sync.
 *
 * Y1  A sync starts after the last ticket that it carries was asked for: the batch is taken first, then the disk is
 *     synced. So a ticket covers every write completed before it was asked for, and one in flight never covers more.
 * Y2  The error of the first sync that fails stays. The kernel reports a lost write once and then calls the pages
 *     clean: a second sync that succeeds would say nothing about them.
 * Y3  But one of a medium that was not reached in time (ETIMEDOUT, remote.h) has lost nothing: its tickets fail, with those that came
 *     meanwhile, so that none waits longer; and the next sync may succeed. */
#include "disk_private.h"
#include "waiter.h"
#include "slab.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define SYNCER_STACK_BYTES (256u << 10)
#define BATCH_TICKETS_MIN 64u

void vv_syncer_init(VvSyncer *syncer)
{
    pthread_mutex_init(&syncer->lock, NULL);
    pthread_cond_init(&syncer->changed, NULL);
}

void vv_syncer_clear(VvSyncer *syncer)
{
    bool started;
    {
        VV_LOCKED(&syncer->lock);
        syncer->stopping = true; /* what has been asked for is still answered */
        started = syncer->started;
        pthread_cond_signal(&syncer->changed);
    }
    if (started)
        pthread_join(syncer->thread, NULL);
    vv_slab_put(syncer->waiting.tickets);
    vv_slab_put(syncer->running.tickets);
    pthread_cond_destroy(&syncer->changed);
    pthread_mutex_destroy(&syncer->lock);
}

static void batch_add(VvSyncBatch *batch, VvSyncDone done, void *user)
{
    if (batch->count == batch->capacity) {
        batch->capacity = MAX(2 * batch->capacity, BATCH_TICKETS_MIN);
        batch->tickets = vv_slab_renew(batch->tickets, batch->capacity * sizeof *batch->tickets);
    }
    batch->tickets[batch->count++] = (VvSyncTicket){ .done = done, .user = user };
}

static void answer(VvSyncBatch *batch, int result)
{
    for (size_t i = 0; i < batch->count; i++)
        batch->tickets[i].done(batch->tickets[i].user, result);
    batch->count = 0;
}

/* False: the medium was not reached in time (Y3). */
static bool run_batch(VvDisk *disk, VvSyncBatch *batch)
{
    int result = atomic_load(&disk->syncer.error);
    bool reached = true;
    if (result == 0) {
        int raw = disk->ops->sync(disk);
        result = vv_disk_errno(raw);
        vv_disk_count_sync(disk, result);
        reached = !(disk->remote && raw == -ETIMEDOUT);
        if (result != 0 && reached) {
            atomic_store(&disk->syncer.error, result); /* Y2 */
            if (disk->syncer.failed)
                disk->syncer.failed(disk->syncer.failed_user, disk, result);
            vv_trouble_note(disk, VV_TROUBLE_SYNC, 0, result);
        }
    }
    answer(batch, result);
    return reached;
}

/* Those that wait are the ones to be run. Lock held. */
static void take_waiting(VvSyncer *syncer)
{
    VvSyncBatch batch = syncer->waiting;
    syncer->waiting = syncer->running;
    syncer->running = batch;
}

static void *syncer_main(void *user)
{
    VvDisk *disk = user;
    VvSyncer *syncer = &disk->syncer;
    char name[16];
    snprintf(name, sizeof name, "sync-%u", (unsigned) (disk->label.disk_id % 1000000));
    pthread_setname_np(pthread_self(), name);

    pthread_mutex_lock(&syncer->lock);
    for (;;) {
        while (syncer->waiting.count == 0 && !syncer->stopping)
            pthread_cond_wait(&syncer->changed, &syncer->lock);
        if (syncer->waiting.count == 0)
            break;
        take_waiting(syncer); /* Y1 */
        pthread_mutex_unlock(&syncer->lock);
        bool reached = run_batch(disk, &syncer->running);
        pthread_mutex_lock(&syncer->lock);
        if (reached)
            continue;
        take_waiting(syncer); /* Y3 */
        pthread_mutex_unlock(&syncer->lock);
        answer(&syncer->running, -EIO);
        pthread_mutex_lock(&syncer->lock);
    }
    pthread_mutex_unlock(&syncer->lock);
    return NULL;
}

static int start_locked(VvDisk *disk)
{
    pthread_attr_t attributes;
    sigset_t all, old;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SYNCER_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's signals are not this thread's */
    int rc = pthread_create(&disk->syncer.thread, &attributes, syncer_main, disk);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    disk->syncer.started = rc == 0;
    return rc;
}

void vv_disk_sync_async(VvDisk *disk, VvSyncDone done, void *user)
{
    VvSyncer *syncer = &disk->syncer;
    int rc = 0;
    {
        VV_LOCKED(&syncer->lock);
        g_assert(!syncer->stopping);
        if (!syncer->started)
            rc = start_locked(disk);
        if (rc == 0) {
            batch_add(&syncer->waiting, done, user);
            if (syncer->waiting.count == 1)
                pthread_cond_signal(&syncer->changed);
        }
    }
    if (rc != 0)
        done(user, -ENOMEM); /* no thread to be had: nothing was synced */
}

int vv_disk_sync(VvDisk *disk)
{
    VvWaiter waiter = VV_WAITER_INIT;
    vv_disk_sync_async(disk, vv_waiter_over_cb, &waiter);
    return vv_waiter_wait(&waiter);
}

int vv_disk_sync_error(const VvDisk *disk)
{
    return atomic_load(&disk->syncer.error);
}

void vv_disk_inherit_sync_error(VvDisk *disk, int error)
{
    g_assert(error < 0);
    atomic_store(&disk->syncer.error, error);
}

void vv_disk_watch_syncs(VvDisk *disk, void (*failed)(void *user, VvDisk *disk, int error), void *user)
{
    disk->syncer.failed = failed;
    disk->syncer.failed_user = user;
}
