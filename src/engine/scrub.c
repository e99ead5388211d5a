/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scrub's thread. */
#include "scrub.h"

#include "damage.h"
#include "error.h"

struct VvScrub {
    VvPool *pool;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t changed;
    bool kicked, stopping;
};

static bool is_stopping(void *user)
{
    VvScrub *scrub = user;
    VV_LOCKED(&scrub->lock);

    return scrub->stopping;
}

static void wait_for_work(VvScrub *scrub)
{
    VV_LOCKED(&scrub->lock);
    while (!scrub->kicked && !scrub->stopping)
        pthread_cond_wait(&scrub->changed, &scrub->lock);
    scrub->kicked = false;
}

static void *scrub_main(void *user)
{
    VvScrub *scrub = user;

    pthread_setname_np(pthread_self(), "vv-scrub");
    while (!is_stopping(scrub)) {
        vv_damages_tell(scrub->pool, is_stopping, scrub);
        wait_for_work(scrub);
    }
    return NULL;
}

VvScrub *vv_scrub_new(VvPool *pool)
{
    VvScrub *scrub = g_new0(VvScrub, 1);
    pthread_condattr_t attributes;

    scrub->pool = pool;
    pthread_mutex_init(&scrub->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&scrub->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return scrub;
}

bool vv_scrub_start(VvScrub *scrub, GError **error)
{
    int err = pthread_create(&scrub->thread, NULL, scrub_main, scrub);

    if (err != 0)
        vv_set_error_errno(error, err, NULL, "the thread for scrubbing cannot be started");
    scrub->started = err == 0;
    return err == 0;
}

void vv_scrub_stop(VvScrub *scrub)
{
    if (!scrub || !scrub->started)
        return;
    pthread_mutex_lock(&scrub->lock);
    scrub->stopping = true;
    pthread_cond_signal(&scrub->changed);
    pthread_mutex_unlock(&scrub->lock);
    pthread_join(scrub->thread, NULL);
    scrub->started = false;
}

void vv_scrub_free(VvScrub *scrub)
{
    if (!scrub)
        return;
    g_assert(!scrub->started);
    pthread_cond_destroy(&scrub->changed);
    pthread_mutex_destroy(&scrub->lock);
    g_free(scrub);
}

void vv_scrub_kick(VvScrub *scrub)
{
    if (!scrub)
        return;
    VV_LOCKED(&scrub->lock);
    scrub->kicked = true;
    pthread_cond_signal(&scrub->changed);
}
