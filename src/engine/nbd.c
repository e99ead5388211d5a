/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to an export of an NBD server: one thread and one connection, many requests in flight.
 *
 *   state       what it does                                 goes on to
 *   DOWN        waits for the time of the next attempt       CONNECTING
 *   CONNECTING  libnbd's handshake                           LOOKING; DOWN
 *   LOOKING     reads the label, if one is expected          REPLAYING; DOWN (another disk, or none)
 *   REPLAYING   writes again what is unsynced                UP; DOWN
 *   UP          sends requests                               DOWN
 *
 * NB1  A request that was sent when the connection is lost waits and is sent again: the server may have done it, and does it twice. Nobody
 *      else writes there meanwhile, as the engine has not been answered.
 * NB2  A write that was answered is kept until a sync that began later has succeeded (unsynced.h). After a loss of the connection all
 *      that is kept is written again, in order, before anything else is sent: who came back may have lost its cache.
 * NB3  If not all was kept, or a sync of our own failed, the next sync fails, and all later ones: never as if nothing had happened.
 * NB4  A request ends with EIO when VV_REMOTE_WAIT_MS have passed since it was submitted. One that the server has is given up together
 *      with the connection, which is reset: what lies in our socket never reaches the server.
 * NB5  NBD has no locks. The label says whose the disk is, and how often its pool was opened: it is read after each connect and every
 *      VV_NBD_LOOK_MS. Another pool's or disk's: as if it was not there. A later opening of our own pool: it is taken, for good.
 *      After each look a block beside the label is changed (vv_beat_encode): who would erase the disk waits whether it changes.
 * NB6  libnbd is called by the thread alone, and calls back only from within these calls. */
#include "nbd_private.h"

#include "disk_private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define STACK_BYTES (1u << 20)   /* getaddrinfo and TLS are called on it */
#define TICK_MS 1000u            /* deadlines are looked at so often */
#define TRIM_BYTES_MAX (1u << 30) /* of a length of 32 bits */
#define ANSWERED (UINT64_C(1) << 63) /* in a request's piece_bytes */

/* ---- queues */

void vv_nbd_push(VvNbdQueue *queue, VvRemoteRequest *request)
{
    request->next = NULL;
    request->previous = queue->last;
    if (queue->last)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
    queue->count++;
}

void vv_nbd_push_front(VvNbdQueue *queue, VvRemoteRequest *request)
{
    request->previous = NULL;
    request->next = queue->first;
    if (queue->first)
        queue->first->previous = request;
    else
        queue->last = request;
    queue->first = request;
    queue->count++;
}

void vv_nbd_take(VvNbdQueue *queue, VvRemoteRequest *request)
{
    if (request->previous)
        request->previous->next = request->next;
    else
        queue->first = request->next;
    if (request->next)
        request->next->previous = request->previous;
    else
        queue->last = request->previous;
    request->next = request->previous = NULL;
    queue->count--;
}

VvRemoteRequest *vv_nbd_pop(VvNbdQueue *queue)
{
    VvRemoteRequest *request = queue->first;

    if (request)
        vv_nbd_take(queue, request);
    return request;
}

/* ---- to the server */

/* NB6: within a call of vv_nbd_send, drive or vv_nbd_lose. The piece is over. */
static int answered_cb(void *user, int *error)
{
    VvRemoteRequest *request = user;

    request->error = *error;
    request->piece_bytes |= ANSWERED; /* seen by collect */
    return 1;
}

static int64_t give(VvNbd *nbd, VvRemoteRequest *request)
{
    nbd_completion_callback over = { .callback = answered_cb, .user_data = request };
    uint8_t *data = request->data ? (uint8_t *) request->data + request->progress_bytes : NULL;
    uint64_t offset = request->offset + request->progress_bytes, left = request->length_bytes - request->progress_bytes;
    uint64_t bytes = MIN(left, request->kind == VV_REMOTE_DISCARD ? TRIM_BYTES_MAX : nbd->piece_bytes_max);

    request->piece_bytes = bytes;
    switch (request->kind) {
    case VV_REMOTE_READ:
        return nbd_aio_pread(nbd->handle, data, bytes, offset, over, 0);
    case VV_REMOTE_WRITE:
        return nbd_aio_pwrite(nbd->handle, data, bytes, offset, over, 0);
    case VV_REMOTE_SYNC:
        if (request->progress_bytes == 0 && nbd->unsynced)
            request->mark = vv_unsynced_mark(nbd->unsynced);
        return nbd_aio_flush(nbd->handle, over, 0);
    case VV_REMOTE_DISCARD:
        return nbd_aio_trim(nbd->handle, bytes, offset, over, 0);
    case VV_REMOTE_SIZE:
        break;
    }
    g_assert_not_reached();
}

void vv_nbd_send(VvNbd *nbd, VvRemoteRequest *request)
{
    vv_nbd_push(&nbd->in_flight, request);
    if (give(nbd, request) >= 0)
        return;
    /* Refused by libnbd: beyond the end, or the connection has just gone (then it is looked at next, and this waits). */
    request->error = nbd_aio_is_dead(nbd->handle) > 0 || nbd_aio_is_closed(nbd->handle) > 0 ? ENOTCONN : nbd_get_errno();
    if (request->error == 0)
        request->error = EIO;
    request->piece_bytes |= ANSWERED;
}

/* ---- answers */

static bool is_own(const VvNbd *nbd, const VvRemoteRequest *request)
{
    return request == &nbd->flush || request == &nbd->look || request == &nbd->beat || vv_nbd_is_replay(nbd, request);
}

static void finish_own(VvNbd *nbd, VvRemoteRequest *request, int result)
{
    if (request == &nbd->look) {
        vv_nbd_looked(nbd, result);
    } else if (request == &nbd->beat) {
        nbd->beating = false;
    } else if (request == &nbd->flush) {
        nbd->flushing = false;
        if (result == 0)
            vv_unsynced_clean(nbd->unsynced, request->mark);
        else if (result != -ENOTCONN)
            nbd->lost = true; /* NB3 */
    } else {
        vv_nbd_replayed(nbd, request, result);
    }
}

static void finish(VvNbd *nbd, VvRemoteRequest *request, int result)
{
    if (result == 0 && request->kind == VV_REMOTE_WRITE)
        vv_unsynced_add(nbd->unsynced, request->offset, request->data, (uint32_t) request->length_bytes); /* NB2 */
    if (result == 0 && request->kind == VV_REMOTE_SYNC && nbd->unsynced)
        vv_unsynced_clean(nbd->unsynced, request->mark);
    request->done(request, result);
}

/* The server, or the end of the connection, has answered a piece of it. */
static void answered(VvNbd *nbd, VvRemoteRequest *request)
{
    bool gone = request->error == ENOTCONN || request->error == ESHUTDOWN;

    request->piece_bytes &= ~ANSWERED;
    if (is_own(nbd, request)) {
        finish_own(nbd, request, gone ? -ENOTCONN : vv_disk_errno(request->error));
    } else if (gone) { /* NB1 */
        vv_nbd_push_front(&nbd->waiting, request);
    } else if (request->kind == VV_REMOTE_DISCARD && (request->error == ENOTSUP || request->error == EINVAL)) {
        finish(nbd, request, 0); /* it cannot, or not this: nothing is lost */
    } else if (request->error != 0) {
        finish(nbd, request, vv_disk_errno(request->error));
    } else {
        request->progress_bytes += request->piece_bytes;
        if (request->progress_bytes < request->length_bytes)
            vv_nbd_push_front(&nbd->waiting, request);
        else
            finish(nbd, request, 0);
    }
}

/* What libnbd has called back for. What the end of one submits comes in another round. */
static void collect(VvNbd *nbd)
{
    VvRemoteRequest *request = nbd->in_flight.first;

    while (request) {
        VvRemoteRequest *next = request->next;

        if (request->piece_bytes & ANSWERED) {
            vv_nbd_take(&nbd->in_flight, request);
            vv_nbd_push(&nbd->over, request);
        }
        request = next;
    }
    while ((request = vv_nbd_pop(&nbd->over)))
        answered(nbd, request);
}

/* ---- what is asked for */

static void start(VvNbd *nbd, VvRemoteRequest *request)
{
    if (nbd->taken || (nbd->lost && request->kind == VV_REMOTE_SYNC))
        finish(nbd, request, -EIO);
    else if (nbd->read_only && request->kind == VV_REMOTE_WRITE)
        finish(nbd, request, -EROFS);
    else if (request->kind == VV_REMOTE_DISCARD && nbd->handle && nbd->state == VV_NBD_UP && nbd_can_trim(nbd->handle) <= 0)
        finish(nbd, request, 0);
    else if (request->kind == VV_REMOTE_SIZE)
        nbd->resize = request;
    else
        vv_nbd_send(nbd, request);
}

/* A sync before so much is unsynced that it could not be written again. */
static void flush_if_high(VvNbd *nbd)
{
    if (nbd->flushing || !nbd->unsynced || nbd->lost)
        return;
    if (!vv_unsynced_is_high(nbd->unsynced) && !(nbd->resize && !vv_unsynced_is_empty(nbd->unsynced)))
        return;
    nbd->flushing = true;
    nbd->flush = (VvRemoteRequest){ .kind = VV_REMOTE_SYNC };
    vv_nbd_send(nbd, &nbd->flush);
}

/* Its size is told at the beginning of a connection only: make a new one, with nothing under way. */
static void resize(VvNbd *nbd)
{
    if (nbd->in_flight.count > 0 || (nbd->unsynced && !vv_unsynced_is_empty(nbd->unsynced)))
        return;
    if (nbd->resize->mark == 0) {
        nbd->resize->mark = 1;
        vv_nbd_disconnect(nbd);
        return;
    }
    VvRemoteRequest *request = nbd->resize;
    nbd->resize = NULL;
    finish(nbd, request, 0);
}

static void send_waiting(VvNbd *nbd, uint64_t now_ms)
{
    VvRemoteRequest *request;

    while (nbd->state == VV_NBD_UP && !nbd->resize && nbd->in_flight.count < VV_NBD_IN_FLIGHT_MAX &&
           (request = vv_nbd_pop(&nbd->waiting)))
        start(nbd, request);
    collect(nbd);
    if (nbd->state != VV_NBD_UP)
        return;
    flush_if_high(nbd);
    if (!nbd->looking && atomic_load(&nbd->expecting) && now_ms >= nbd->next_look_ms)
        vv_nbd_start_look(nbd, false);
    if (nbd->resize)
        resize(nbd);
}

/* NB4, NB5 */
static void expire(VvNbd *nbd, uint64_t now_ms)
{
    for (VvRemoteRequest *request = nbd->in_flight.first; request; request = request->next)
        if (request->deadline_ms != 0 && now_ms >= request->deadline_ms) {
            vv_nbd_lose(nbd, "no answer in time");
            break;
        }
    for (VvRemoteRequest *request = nbd->waiting.first, *next; request; request = next) {
        next = request->next;
        if (now_ms < request->deadline_ms && !nbd->taken)
            continue;
        vv_nbd_take(&nbd->waiting, request);
        finish(nbd, request, -EIO);
    }
    if (nbd->resize && (nbd->taken || now_ms >= nbd->resize->deadline_ms)) {
        VvRemoteRequest *request = nbd->resize;
        nbd->resize = NULL;
        finish(nbd, request, -EIO);
    }
}

/* ---- the thread */

/* False: it shall end. */
static bool take_incoming(VvNbd *nbd)
{
    VvRemoteRequest *request;
    VV_LOCKED(&nbd->lock);

    while ((request = vv_nbd_pop(&nbd->incoming)))
        vv_nbd_push(&nbd->waiting, request);
    return !nbd->stopping;
}

static int time_to_sleep(const VvNbd *nbd, uint64_t now_ms)
{
    uint64_t until_ms = now_ms + TICK_MS;

    if (nbd->state == VV_NBD_DOWN)
        until_ms = MIN(until_ms, nbd->next_try_ms);
    return until_ms > now_ms ? (int) (until_ms - now_ms) : 0;
}

static void wait_and_drive(VvNbd *nbd, uint64_t now_ms)
{
    struct pollfd polled[2] = { { .fd = nbd->event_fd, .events = POLLIN }, { .fd = -1 } };
    unsigned direction = nbd->handle ? nbd_aio_get_direction(nbd->handle) : 0;
    int rc = 0;

    if (nbd->handle) {
        polled[1].fd = nbd_aio_get_fd(nbd->handle);
        polled[1].events = (short) ((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                                    (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    }
    if (poll(polled, 2, time_to_sleep(nbd, now_ms)) <= 0)
        return;
    if (polled[0].revents) {
        uint64_t value;
        (void) !read(nbd->event_fd, &value, sizeof value);
    }
    if (!nbd->handle || !polled[1].revents)
        return;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (polled[1].revents & (POLLIN | POLLHUP | POLLERR)))
        rc = nbd_aio_notify_read(nbd->handle);
    else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (polled[1].revents & (POLLOUT | POLLHUP | POLLERR)))
        rc = nbd_aio_notify_write(nbd->handle);
    if (rc < 0 || nbd_aio_is_dead(nbd->handle) > 0 || nbd_aio_is_closed(nbd->handle) > 0)
        vv_nbd_lose(nbd, rc < 0 ? vv_nbd_last_error() : "the server closed the connection");
    collect(nbd);
}

static void *nbd_main(void *user)
{
    VvNbd *nbd = user;

    pthread_setname_np(pthread_self(), "nbd");
    while (take_incoming(nbd)) {
        uint64_t now_ms = vv_monotonic_ms();

        if (nbd->state == VV_NBD_DOWN)
            vv_nbd_connect(nbd, now_ms);
        if (nbd->state == VV_NBD_CONNECTING)
            vv_nbd_connected(nbd, now_ms);
        if (nbd->state == VV_NBD_REPLAYING)
            vv_nbd_replay(nbd);
        if (nbd->state == VV_NBD_UP)
            send_waiting(nbd, now_ms);
        if (nbd->handle && nbd->state >= VV_NBD_LOOKING &&
            (nbd_aio_is_dead(nbd->handle) > 0 || nbd_aio_is_closed(nbd->handle) > 0))
            vv_nbd_lose(nbd, "the connection has failed");
        collect(nbd);
        expire(nbd, now_ms);
        wait_and_drive(nbd, now_ms);
    }
    vv_nbd_disconnect(nbd);
    return NULL;
}

/* ---- any thread */

static void kick(VvNbd *nbd)
{
    uint64_t one = 1;

    (void) !write(nbd->event_fd, &one, sizeof one);
}

static void nbd_submit(VvRemote *remote, VvRemoteRequest *request)
{
    VvNbd *nbd = (VvNbd *) remote;
    bool first;

    request->progress_bytes = request->piece_bytes = request->mark = 0;
    request->error = 0;
    request->deadline_ms = vv_monotonic_ms() + VV_REMOTE_WAIT_MS;
    {
        VV_LOCKED(&nbd->lock);
        first = nbd->incoming.count == 0;
        vv_nbd_push(&nbd->incoming, request);
    }
    if (first)
        kick(nbd);
}

static uint64_t nbd_bytes(VvRemote *remote)
{
    return atomic_load(&((VvNbd *) remote)->bytes);
}

static char *nbd_trouble(VvRemote *remote)
{
    VvNbd *nbd = (VvNbd *) remote;
    VV_LOCKED(&nbd->lock);

    return g_strdup(nbd->trouble);
}

static void nbd_expect(VvRemote *remote, const VvLabel *label)
{
    VvNbd *nbd = (VvNbd *) remote;
    VV_LOCKED(&nbd->lock);

    nbd->expected = *label;
    atomic_store(&nbd->expecting, true);
}

static void nbd_free(VvRemote *remote)
{
    VvNbd *nbd = (VvNbd *) remote;
    {
        VV_LOCKED(&nbd->lock);
        g_assert(nbd->incoming.count == 0);
        nbd->stopping = true;
    }
    kick(nbd);
    pthread_join(nbd->thread, NULL);
    g_assert(nbd->waiting.count == 0 && nbd->in_flight.count == 0 && !nbd->resize);
    vv_unsynced_free(nbd->unsynced);
    pthread_cond_destroy(&nbd->changed);
    pthread_mutex_destroy(&nbd->lock);
    close(nbd->event_fd);
    g_clear_error(&nbd->refusal);
    g_free(nbd->trouble);
    g_free(nbd->uri);
    g_free(nbd->replays);
    free(nbd->label_bytes);
    free(nbd->beat_bytes);
    g_free(nbd);
}

static const VvRemoteOps nbd_ops = {
    .submit = nbd_submit,
    .bytes = nbd_bytes,
    .trouble = nbd_trouble,
    .expect = nbd_expect,
    .free = nbd_free,
};

static bool start_thread(VvNbd *nbd, GError **error)
{
    pthread_attr_t attributes;
    sigset_t all, old;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's signals are not this thread's */
    int rc = pthread_create(&nbd->thread, &attributes, nbd_main, nbd);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (rc != 0)
        vv_set_error_errno(error, rc, nbd->uri, "a thread for %s cannot be started", nbd->uri);
    return rc == 0;
}

VvRemote *vv_nbd_open(const char *uri, bool read_only, unsigned wait_ms, GError **error)
{
    VvNbd *nbd = g_new0(VvNbd, 1);
    GError *refusal;

    nbd->remote.ops = &nbd_ops;
    nbd->uri = g_strdup(uri);
    nbd->read_only = read_only;
    nbd->open_deadline_ms = vv_monotonic_ms() + wait_ms;
    nbd->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&nbd->lock, NULL);
    pthread_cond_init(&nbd->changed, NULL);
    nbd->label_bytes = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    nbd->beat_bytes = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    nbd->replays = g_new0(VvRemoteRequest, VV_NBD_REPLAYS_MAX);
    nbd->unsynced = read_only ? NULL : vv_unsynced_new(VV_UNSYNCED_BYTES_MAX, VV_UNSYNCED_WRITES_MAX);
    g_assert(nbd->event_fd >= 0 && nbd->label_bytes && nbd->beat_bytes);
    if (!start_thread(nbd, error)) {
        close(nbd->event_fd);
        vv_unsynced_free(nbd->unsynced);
        g_free(nbd->replays);
        free(nbd->label_bytes);
        free(nbd->beat_bytes);
        g_free(nbd->uri);
        g_free(nbd);
        return NULL;
    }
    {
        VV_LOCKED(&nbd->lock);
        while (!nbd->opened)
            pthread_cond_wait(&nbd->changed, &nbd->lock);
        refusal = g_steal_pointer(&nbd->refusal);
    }
    if (!refusal)
        return &nbd->remote;
    g_propagate_error(error, refusal);
    nbd_free(&nbd->remote);
    return NULL;
}
