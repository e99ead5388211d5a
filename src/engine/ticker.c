/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ticker: one thread that looks four times a second while there is something to time, and sleeps without end when
 * there is not: parked requests past their deadline, pending that is old or much, what cools, checkpoints due. */
#include "io_state.h"
#include "slab.h"

#include <errno.h>

#define TICK_MS 250u

struct VvTicker {
    VvPool *pool;
    pthread_t thread;
    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t changed;
    bool stopping;      /* lock */
    bool rush;          /* lock */
    bool stopped;       /* its thread has ended */
    unsigned flushes;   /* lock: background flushes under way */
    _Atomic bool awake; /* it will look soon: no need to wake it */
};

/* While the pool is cramped: a checkpoint a second finds out whether there is room again; who waits for the journal and does not want
 * to wait for space is told. */
static void look_for_room(VvPool *pool, uint64_t now_ms)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);
    if (now_ms / TICK_MS % (1000u / TICK_MS) == 0)
        vv_pool_checkpoint_kick(pool);
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        VvIoList woken = { NULL, NULL };
        {
            VV_LOCKED(&view->lock);
            if (view->on_full != VV_ON_FULL_WAIT)
                vv_unpark_all(view, VV_PARK_JOURNAL, false, &woken);
        }
        vv_wake(&woken);
    }
}

/* Does what is due. False: nothing is left to time. */
static bool tick(VvPool *pool)
{
    uint64_t now_ms = vv_monotonic_ms();
    bool some = false;
    g_autoptr(VvViewList) views = vv_views_all(pool);
    for (unsigned i = 0; i < views->len; i++)
        some |= vv_park_expire(views->at[i], now_ms);

    bool is_low = vv_slab_is_low();
    bool much = is_low || atomic_load_explicit(&pool->pending_bytes, memory_order_relaxed) >= VV_PENDING_BYTES_MAX;
    uint64_t since_ms = much ? now_ms : now_ms - MIN(now_ms, 1000u * VV_PENDING_SECONDS_MAX);
    if (!atomic_load(&pool->failed)) {
        (void) vv_flush_background(pool, since_ms, NULL);
        some |= vv_flush_has_pending(pool);
        if (vv_meta_checkpoint_due(pool->meta) || (is_low && vv_meta_overlay_bytes(pool->meta) > 0))
            vv_pool_checkpoint_kick(pool);
        if (vv_meta_is_cramped(pool->meta)) {
            look_for_room(pool, now_ms);
            some = true;
        }
    }
    vv_pending_wake(pool);
    if (vv_alloc_cooling_bytes(pool->alloc) > 0) {
        vv_jobs_kick(pool);
        some = true;
    }
    return some;
}

static void wait_tick_locked(VvTicker *ticker)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_nsec += TICK_MS * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    while (
        !ticker->stopping && !ticker->rush && pthread_cond_timedwait(&ticker->changed, &ticker->lock, &deadline) == 0)
        ;
    ticker->rush = false;
}

static void *ticker_main(void *user)
{
    VvTicker *ticker = user;
    pthread_setname_np(pthread_self(), "ticker");
    pthread_mutex_lock(&ticker->lock);
    while (!ticker->stopping) {
        if (!atomic_load(&ticker->awake)) {
            pthread_cond_wait(&ticker->changed, &ticker->lock);
            continue;
        }
        wait_tick_locked(ticker);
        if (ticker->stopping)
            break;
        atomic_store(&ticker->awake, false); /* before looking: a kick from now on counts for the next tick */
        pthread_mutex_unlock(&ticker->lock);
        if (tick(ticker->pool))
            atomic_store(&ticker->awake, true);
        else
            vv_jobs_kick(ticker->pool); /* quiet now: what was kept ready for fast writers may go back */
        pthread_mutex_lock(&ticker->lock);
    }
    pthread_mutex_unlock(&ticker->lock);
    return NULL;
}

VvTicker *vv_ticker_new(VvPool *pool)
{
    VvTicker *ticker = g_new0(VvTicker, 1);
    pthread_condattr_t attributes;
    ticker->pool = pool;
    pthread_mutex_init(&ticker->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&ticker->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int rc = pthread_create(&ticker->thread, NULL, ticker_main, ticker);
    g_assert(rc == 0);
    return ticker;
}

void vv_ticker_stop(VvTicker *ticker)
{
    if (ticker == NULL || ticker->stopped)
        return;
    pthread_mutex_lock(&ticker->lock);
    ticker->stopping = true;
    pthread_cond_broadcast(&ticker->changed);
    pthread_mutex_unlock(&ticker->lock);
    pthread_join(ticker->thread, NULL);
    ticker->stopped = true;
    pthread_mutex_lock(&ticker->lock);
    while (ticker->flushes > 0)
        pthread_cond_wait(&ticker->changed, &ticker->lock);
    pthread_mutex_unlock(&ticker->lock);
}

void vv_ticker_flush_begin(VvTicker *ticker)
{
    VV_LOCKED(&ticker->lock);
    ticker->flushes++;
}

void vv_ticker_flush_end(VvTicker *ticker)
{
    VV_LOCKED(&ticker->lock);
    if (--ticker->flushes == 0)
        pthread_cond_broadcast(&ticker->changed);
}

void vv_ticker_free(VvTicker *ticker)
{
    if (ticker == NULL)
        return;
    vv_ticker_stop(ticker);
    pthread_cond_destroy(&ticker->changed);
    pthread_mutex_destroy(&ticker->lock);
    g_free(ticker);
}

void vv_ticker_kick(VvTicker *ticker)
{
    if (ticker == NULL || atomic_exchange(&ticker->awake, true)) /* none: the pool is being opened or closed */
        return;
    VV_LOCKED(&ticker->lock);
    pthread_cond_signal(&ticker->changed);
}

void vv_ticker_rush(VvTicker *ticker)
{
    if (ticker == NULL)
        return;
    atomic_store(&ticker->awake, true);
    VV_LOCKED(&ticker->lock);
    ticker->rush = true;
    pthread_cond_signal(&ticker->changed);
}
