/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A loop, its thread and its mailbox. */
#include "peerloop.h"

#include "error.h"
#include "mailbox.h"
#include "util.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdatomic.h>

struct VvPeerLoop {
    struct event_base *base;
    struct event *mail;
    VvMailbox *mailbox;
    pthread_t thread;
    bool started;
    bool ending; /* of the thread */
    _Atomic uint64_t late_ms;
};

struct VvPeerTimer {
    VvPeerLoop *loop;
    struct event *event;
    VvPeerLoopFunc func;
    void *data;
    uint64_t due_ms;
};

static void mail_cb(evutil_socket_t fd, short what, void *user)
{
    VvPeerLoop *loop = user;

    (void) fd;
    (void) what;
    vv_mailbox_run(loop->mailbox);
    if (loop->ending)
        event_base_loopbreak(loop->base);
}

static void *loop_thread(void *data)
{
    VvPeerLoop *loop = data;

    event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    while (vv_mailbox_run(loop->mailbox))
        event_base_loop(loop->base, EVLOOP_NONBLOCK);
    return NULL;
}

/* Signals are the main thread's. */
static int start_thread(VvPeerLoop *loop)
{
    sigset_t all, saved;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    err = pthread_create(&loop->thread, NULL, loop_thread, loop);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return err;
}

static void loop_clear(VvPeerLoop *loop)
{
    if (loop->mail)
        event_free(loop->mail);
    if (loop->base)
        event_base_free(loop->base);
    vv_mailbox_free(loop->mailbox);
    g_free(loop);
}

VvPeerLoop *vv_peer_loop_new(const char *name, GError **error)
{
    VvPeerLoop *loop = g_new0(VvPeerLoop, 1);
    struct event_config *config = event_config_new();
    int err = 0;

    loop->mailbox = vv_mailbox_new("peer loop");
    /* a thread alone uses it: libevent needs no locks */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->mailbox && loop->base)
        loop->mail = event_new(loop->base, vv_mailbox_fd(loop->mailbox), EV_READ | EV_PERSIST, mail_cb, loop);
    if (!loop->mail || event_add(loop->mail, NULL) != 0)
        err = errno ? errno : ENOMEM;
    if (err == 0)
        err = start_thread(loop);
    if (err != 0) {
        vv_set_error_errno(error, err, NULL, "cannot start the loop %s", name);
        loop_clear(loop);
        return NULL;
    }
    pthread_setname_np(loop->thread, name);
    return loop;
}

static void end_cb(void *data)
{
    ((VvPeerLoop *) data)->ending = true;
}

void vv_peer_loop_free(VvPeerLoop *loop)
{
    if (!loop)
        return;
    g_assert(!vv_peer_loop_is_mine(loop));
    vv_peer_loop_post(loop, end_cb, loop);
    pthread_join(loop->thread, NULL);
    loop_clear(loop);
}

struct event_base *vv_peer_loop_base(VvPeerLoop *loop)
{
    return loop->base;
}

void vv_peer_loop_post(VvPeerLoop *loop, VvPeerLoopFunc func, void *data)
{
    vv_mailbox_post(loop->mailbox, func, data);
}

typedef struct {
    VvPeerLoopFunc func;
    void *data;
    pthread_mutex_t lock;
    pthread_cond_t ran;
    bool done;
} VvRun;

static void run_cb(void *data)
{
    VvRun *run = data;

    run->func(run->data);
    VV_LOCKED(&run->lock);
    run->done = true;
    pthread_cond_signal(&run->ran);
}

void vv_peer_loop_run(VvPeerLoop *loop, VvPeerLoopFunc func, void *data)
{
    VvRun run = { .func = func, .data = data };

    if (vv_peer_loop_is_mine(loop)) {
        func(data);
        return;
    }
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.ran, NULL);
    vv_peer_loop_post(loop, run_cb, &run);
    pthread_mutex_lock(&run.lock);
    while (!run.done)
        pthread_cond_wait(&run.ran, &run.lock);
    pthread_mutex_unlock(&run.lock);
    pthread_cond_destroy(&run.ran);
    pthread_mutex_destroy(&run.lock);
}

bool vv_peer_loop_is_mine(const VvPeerLoop *loop)
{
    return pthread_equal(pthread_self(), loop->thread);
}

/* ---- timers */
static void timer_cb(evutil_socket_t fd, short what, void *user)
{
    VvPeerTimer *timer = user;
    uint64_t now_ms = vv_monotonic_ms(), late_ms = now_ms > timer->due_ms ? now_ms - timer->due_ms : 0;

    (void) fd;
    (void) what;
    if (late_ms > atomic_load_explicit(&timer->loop->late_ms, memory_order_relaxed))
        atomic_store_explicit(&timer->loop->late_ms, late_ms, memory_order_relaxed);
    timer->func(timer->data);
}

VvPeerTimer *vv_peer_timer_new(VvPeerLoop *loop, VvPeerLoopFunc func, void *data)
{
    VvPeerTimer *timer = g_new0(VvPeerTimer, 1);

    timer->loop = loop;
    timer->func = func;
    timer->data = data;
    timer->event = evtimer_new(loop->base, timer_cb, timer);
    g_assert(timer->event);
    return timer;
}

void vv_peer_timer_free(VvPeerTimer *timer)
{
    if (!timer)
        return;
    event_free(timer->event);
    g_free(timer);
}

void vv_peer_timer_set(VvPeerTimer *timer, uint64_t delay_ms)
{
    struct timeval delay = { .tv_sec = (time_t) (delay_ms / 1000), .tv_usec = (suseconds_t) (delay_ms % 1000 * 1000) };

    timer->due_ms = vv_monotonic_ms() + delay_ms;
    evtimer_add(timer->event, &delay);
}

void vv_peer_timer_clear(VvPeerTimer *timer)
{
    evtimer_del(timer->event);
}

uint64_t vv_peer_loop_take_late_ms(VvPeerLoop *loop)
{
    return atomic_exchange_explicit(&loop->late_ms, 0, memory_order_relaxed);
}
