/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to a medium behind a transport: one thread, many requests in flight.
 *
 *   state       what it does                                 goes on to
 *   DOWN        waits for the time of the next attempt       CONNECTING
 *   CONNECTING  waits for the transport                      LOOKING; DOWN
 *   LOOKING     reads the label, if one is expected          REPLAYING; DOWN (another disk, or none)
 *   REPLAYING   writes again what is unsynced                UP; DOWN
 *   UP          sends requests                               DOWN
 *
 * K1  A request that was sent when the connection is lost waits and is sent again: the server may have done it, and does it twice. Nobody
 *     else writes there meanwhile, as the engine has not been answered.
 * K2  A write that was answered is kept until a sync that began later has succeeded (unsynced.h). After a loss of the connection all
 *     that is kept is written again, in order, before anything else is sent: who came back may have lost its cache. Unless it tells that it
 *     has not: its incarnation is the same. An answer under another incarnation than the last is none: the connection is given up.
 * K3  If not all was kept, or a sync of our own failed, the next sync fails, and all later ones: never as if nothing had happened.
 * K4  A request ends with EIO when VV_REMOTE_WAIT_MS have passed since it was submitted. One that the server has is given up together
 *     with the connection, and what was not sent by then never is.
 * K5  There may be no locks. The label says whose the disk is, and how often its pool was opened: it is read after each connect and every
 *     VV_LINK_LOOK_MS. Another pool's or disk's: as if it was not there. A later opening of our own pool: it is taken, for good.
 *     After each look a block beside the label is changed (vv_beat_encode): who would erase the disk waits whether it changes.
 * K6  The transport is called by the thread alone, and answers only from within these calls.
 * K7  A sync that ends by K4 has lost nothing, as what it was to cover is kept (K2): it ends with ETIMEDOUT, and another may be asked for. */
#include "link_private.h"

#include "disk_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define STACK_BYTES (1u << 20)   /* getaddrinfo and TLS are called on it */
#define TICK_MS 1000u            /* deadlines are looked at so often */
#define DISCARD_BYTES_MAX (1u << 30) /* of a length of 32 bits */

/* ---- queues */

void vv_link_push(VvLinkQueue *queue, VvRemoteRequest *request)
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

void vv_link_push_front(VvLinkQueue *queue, VvRemoteRequest *request)
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

void vv_link_take(VvLinkQueue *queue, VvRemoteRequest *request)
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

VvRemoteRequest *vv_link_pop(VvLinkQueue *queue)
{
    VvRemoteRequest *request = queue->first;

    if (request)
        vv_link_take(queue, request);
    return request;
}

/* ---- to the server */

void vv_link_answered(VvRemoteRequest *request, int error, uint64_t incarnation)
{
    request->error = error;
    request->incarnation = incarnation;
    request->answered = true; /* seen by collect */
}

void vv_link_send(VvLink *link, VvRemoteRequest *request)
{
    uint8_t *data = request->data ? (uint8_t *) request->data + request->progress_bytes : NULL;
    uint64_t offset = request->offset + request->progress_bytes, left = request->length_bytes - request->progress_bytes;
    int error = ENOTCONN;

    request->piece_bytes = MIN(left, request->kind == VV_REMOTE_DISCARD ? DISCARD_BYTES_MAX : link->facts.piece_bytes_max);
    request->answered = false;
    if (request->kind == VV_REMOTE_SYNC && link->unsynced)
        request->mark = vv_unsynced_mark(link->unsynced);
    vv_link_push(&link->in_flight, request);
    if (link->begun)
        error = link->transport->ops->give(link->transport, request, data, offset, request->piece_bytes);
    if (error != 0)
        vv_link_answered(request, error, 0);
}

/* ---- answers */

static bool is_own(const VvLink *link, const VvRemoteRequest *request)
{
    return request == &link->flush || request == &link->look || request == &link->beat || vv_link_is_replay(link, request);
}

static void finish_own(VvLink *link, VvRemoteRequest *request, int result)
{
    if (request == &link->look) {
        vv_link_looked(link, result);
    } else if (request == &link->beat) {
        link->beating = false;
    } else if (request == &link->flush) {
        link->flushing = false;
        if (result == 0)
            vv_unsynced_clean(link->unsynced, request->mark);
        else if (result != -ENOTCONN)
            link->lost = true; /* K3 */
    } else {
        vv_link_replayed(link, request, result);
    }
}

static void finish(VvLink *link, VvRemoteRequest *request, int result)
{
    if (result == 0 && request->kind == VV_REMOTE_WRITE)
        vv_unsynced_add(link->unsynced, request->offset, request->data, (uint32_t) request->length_bytes); /* K2 */
    if (result == 0 && request->kind == VV_REMOTE_SYNC && link->unsynced)
        vv_unsynced_clean(link->unsynced, request->mark);
    request->done(request, result);
}

/* The server, or the end of the connection, has answered a piece of it. */
static void answered(VvLink *link, VvRemoteRequest *request)
{
    bool gone = request->error == ENOTCONN || request->error == ESHUTDOWN;

    if (request->incarnation != 0 && request->incarnation != link->incarnation && !gone && request != &link->look) {
        gone = link->incarnation != 0; /* K2 */
        if (gone)
            vv_link_lose(link, "the server has lost what was not synced");
        else
            link->incarnation = request->incarnation;
    }
    if (is_own(link, request)) {
        finish_own(link, request, gone ? -ENOTCONN : vv_disk_errno(request->error));
    } else if (gone) { /* K1 */
        vv_link_push_front(&link->waiting, request);
    } else if (request->kind == VV_REMOTE_DISCARD && (request->error == ENOTSUP || request->error == EINVAL)) {
        finish(link, request, 0); /* it cannot, or not this: nothing is lost */
    } else if (request->error != 0) {
        finish(link, request, vv_disk_errno(request->error));
    } else {
        request->progress_bytes += request->piece_bytes;
        if (request->progress_bytes < request->length_bytes)
            vv_link_push_front(&link->waiting, request);
        else
            finish(link, request, 0);
    }
}

/* What the transport has answered. What the end of one submits comes in another round. */
static void collect(VvLink *link)
{
    VvRemoteRequest *request = link->in_flight.first;

    while (request) {
        VvRemoteRequest *next = request->next;

        if (request->answered) {
            vv_link_take(&link->in_flight, request);
            vv_link_push(&link->over, request);
        }
        request = next;
    }
    while ((request = vv_link_pop(&link->over)))
        answered(link, request);
}

/* ---- what is asked for */

static void start(VvLink *link, VvRemoteRequest *request)
{
    if (link->taken || (link->lost && request->kind == VV_REMOTE_SYNC))
        finish(link, request, -EIO);
    else if (link->read_only && request->kind == VV_REMOTE_WRITE)
        finish(link, request, -EROFS);
    else if (request->kind == VV_REMOTE_DISCARD && !link->facts.can_discard)
        finish(link, request, 0);
    else if (request->kind == VV_REMOTE_SIZE)
        link->resize = request;
    else
        vv_link_send(link, request);
}

/* A sync before so much is unsynced that it could not be written again. */
static void flush_if_high(VvLink *link)
{
    if (link->flushing || !link->unsynced || link->lost)
        return;
    if (!vv_unsynced_is_high(link->unsynced) && !(link->resize && !vv_unsynced_is_empty(link->unsynced)))
        return;
    link->flushing = true;
    link->flush = (VvRemoteRequest){ .kind = VV_REMOTE_SYNC };
    vv_link_send(link, &link->flush);
}

/* Its size is told at the beginning of a connection only: make a new one, with nothing under way. */
static void resize(VvLink *link)
{
    if (link->in_flight.count > 0 || (link->unsynced && !vv_unsynced_is_empty(link->unsynced)))
        return;
    if (link->resize->mark == 0) {
        link->resize->mark = 1;
        vv_link_disconnect(link);
        return;
    }
    VvRemoteRequest *request = link->resize;
    link->resize = NULL;
    finish(link, request, 0);
}

static void send_waiting(VvLink *link, uint64_t now_ms)
{
    VvRemoteRequest *request;

    while (link->state == VV_LINK_UP && !link->resize && link->in_flight.count < VV_LINK_IN_FLIGHT_MAX &&
           (request = vv_link_pop(&link->waiting)))
        start(link, request);
    collect(link);
    if (link->state != VV_LINK_UP)
        return;
    flush_if_high(link);
    if (!link->looking && atomic_load(&link->expecting) && now_ms >= link->next_look_ms)
        vv_link_start_look(link, false);
    if (link->resize)
        resize(link);
}

/* K4, K5 */
static void expire(VvLink *link, uint64_t now_ms)
{
    for (VvRemoteRequest *request = link->in_flight.first; request; request = request->next)
        if (request->deadline_ms != 0 && now_ms >= request->deadline_ms) {
            vv_link_lose(link, "no answer in time");
            break;
        }
    for (VvRemoteRequest *request = link->waiting.first, *next; request; request = next) {
        next = request->next;
        if (now_ms < request->deadline_ms && !link->taken)
            continue;
        vv_link_take(&link->waiting, request);
        finish(link, request, request->kind == VV_REMOTE_SYNC && !link->lost && !link->taken ? -ETIMEDOUT : -EIO); /* K7 */
    }
    if (link->resize && (link->taken || now_ms >= link->resize->deadline_ms)) {
        VvRemoteRequest *request = link->resize;
        link->resize = NULL;
        finish(link, request, -EIO);
    }
}

/* ---- the thread */

/* False: it shall end. */
static bool take_incoming(VvLink *link)
{
    VvRemoteRequest *request;
    VV_LOCKED(&link->lock);

    while ((request = vv_link_pop(&link->incoming)))
        vv_link_push(&link->waiting, request);
    return !link->stopping;
}

static int time_to_sleep(const VvLink *link, uint64_t now_ms)
{
    uint64_t until_ms = now_ms + TICK_MS;

    if (link->state == VV_LINK_DOWN)
        until_ms = MIN(until_ms, link->next_try_ms);
    return until_ms > now_ms ? (int) (until_ms - now_ms) : 0;
}

static void *link_main(void *user)
{
    VvLink *link = user;
    const VvTransportOps *ops = link->transport->ops;

    pthread_setname_np(pthread_self(), "link");
    while (take_incoming(link)) {
        uint64_t now_ms = vv_monotonic_ms();
        g_autofree char *why = NULL;

        if (link->state == VV_LINK_DOWN)
            vv_link_connect(link, now_ms);
        if (link->begun && ops->state(link->transport, &why) == VV_TRANSPORT_GONE)
            vv_link_lose(link, why);
        if (link->state == VV_LINK_CONNECTING)
            vv_link_connected(link, now_ms);
        if (link->state == VV_LINK_REPLAYING)
            vv_link_replay(link);
        if (link->state == VV_LINK_UP)
            send_waiting(link, now_ms);
        collect(link);
        expire(link, now_ms);
        ops->drive(link->transport, link->event_fd, time_to_sleep(link, now_ms));
        collect(link);
    }
    vv_link_disconnect(link);
    return NULL;
}

/* ---- any thread */

static void kick(VvLink *link)
{
    uint64_t one = 1;

    (void) !write(link->event_fd, &one, sizeof one);
}

static void link_submit(VvRemote *remote, VvRemoteRequest *request)
{
    VvLink *link = (VvLink *) remote;
    bool first;

    request->progress_bytes = request->piece_bytes = request->mark = request->incarnation = 0;
    request->answered = false;
    request->error = 0;
    request->deadline_ms = vv_monotonic_ms() + VV_REMOTE_WAIT_MS;
    {
        VV_LOCKED(&link->lock);
        first = link->incoming.count == 0;
        vv_link_push(&link->incoming, request);
    }
    if (first)
        kick(link);
}

static uint64_t link_bytes(VvRemote *remote)
{
    return atomic_load(&((VvLink *) remote)->bytes);
}

static char *link_trouble(VvRemote *remote)
{
    VvLink *link = (VvLink *) remote;
    VV_LOCKED(&link->lock);

    return g_strdup(link->trouble);
}

static void link_expect(VvRemote *remote, const VvLabel *label)
{
    VvLink *link = (VvLink *) remote;
    VV_LOCKED(&link->lock);

    link->expected = *label;
    atomic_store(&link->expecting, true);
}

/* Its thread has ended, or never began. */
static void link_clear(VvLink *link)
{
    vv_unsynced_free(link->unsynced);
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->lock);
    close(link->event_fd);
    g_clear_error(&link->refusal);
    g_free(link->trouble);
    link->transport->ops->free(link->transport);
    g_free(link->name);
    g_free(link->replays);
    free(link->label_bytes);
    free(link->beat_bytes);
    g_free(link);
}

static void link_free(VvRemote *remote)
{
    VvLink *link = (VvLink *) remote;
    {
        VV_LOCKED(&link->lock);
        g_assert(link->incoming.count == 0);
        link->stopping = true;
    }
    kick(link);
    pthread_join(link->thread, NULL);
    g_assert(link->waiting.count == 0 && link->in_flight.count == 0 && !link->resize);
    link_clear(link);
}

static const VvRemoteOps link_ops = {
    .submit = link_submit,
    .bytes = link_bytes,
    .trouble = link_trouble,
    .expect = link_expect,
    .free = link_free,
};

static bool start_thread(VvLink *link, GError **error)
{
    pthread_attr_t attributes;
    sigset_t all, old;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's signals are not this thread's */
    int rc = pthread_create(&link->thread, &attributes, link_main, link);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (rc != 0)
        vv_set_error_errno(error, rc, link->name, "a thread for %s cannot be started", link->name);
    return rc == 0;
}

static VvLink *link_new(VvTransport *transport, const char *name, bool read_only, unsigned wait_ms)
{
    VvLink *link = g_new0(VvLink, 1);

    link->remote.ops = &link_ops;
    link->transport = transport;
    link->name = g_strdup(name);
    link->read_only = read_only;
    link->open_deadline_ms = vv_monotonic_ms() + wait_ms;
    link->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&link->lock, NULL);
    pthread_cond_init(&link->changed, NULL);
    link->label_bytes = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    link->beat_bytes = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    link->replays = g_new0(VvRemoteRequest, VV_LINK_REPLAYS_MAX);
    link->unsynced = read_only ? NULL : vv_unsynced_new(VV_UNSYNCED_BYTES_MAX, VV_UNSYNCED_WRITES_MAX);
    g_assert(link->event_fd >= 0 && link->label_bytes && link->beat_bytes);
    return link;
}

/* Frees it, if it cannot be. */
static bool begin(VvLink *link, GError **error)
{
    if (start_thread(link, error))
        return true;
    link_clear(link);
    return false;
}

VvRemote *vv_link_open_known(VvTransport *transport, const char *name, const VvLabel *label, GError **error)
{
    VvLink *link = link_new(transport, name, false, 0);

    link->opened = true;
    link->trouble = g_strdup("it is being connected");
    link->bytes = label->size_bytes;
    link_expect(&link->remote, label);
    return begin(link, error) ? &link->remote : NULL;
}

VvRemote *vv_link_open(VvTransport *transport, const char *name, bool read_only, unsigned wait_ms, GError **error)
{
    VvLink *link = link_new(transport, name, read_only, wait_ms);
    GError *refusal;

    if (!begin(link, error))
        return NULL;
    {
        VV_LOCKED(&link->lock);
        while (!link->opened)
            pthread_cond_wait(&link->changed, &link->lock);
        refusal = g_steal_pointer(&link->refusal);
    }
    if (!refusal)
        return &link->remote;
    g_propagate_error(error, refusal);
    link_free(&link->remote);
    return NULL;
}
