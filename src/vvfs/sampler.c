/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread that looks once a minute. The history is a ring of a day's samples, ten minutes apart. */
#include "sampler.h"

#include <time.h>

#define LOOK_SECONDS 60
#define SAMPLE_SECONDS 600u
#define SAMPLES 145u /* a day and its beginning */

typedef struct {
    uint64_t time_s; /* monotonic */
    uint64_t used_bytes;
} VvSample;

struct VvSampler {
    VvDaemon *daemon;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    bool ending;
    VvSample samples[SAMPLES];
    unsigned count, next;
    VvSpaceSummary space; /* of the last look */
};

/* ---- the thread */
static void add_sample_locked(VvSampler *sampler, uint64_t used_bytes)
{
    uint64_t now_s = vv_monotonic_ms() / 1000;
    const VvSample *last = &sampler->samples[(sampler->next + SAMPLES - 1) % SAMPLES];

    if (sampler->count && now_s - last->time_s < SAMPLE_SECONDS)
        return;
    sampler->samples[sampler->next] = (VvSample){ now_s, used_bytes };
    sampler->next = (sampler->next + 1) % SAMPLES;
    sampler->count = MIN(sampler->count + 1, SAMPLES);
}

static void look(VvSampler *sampler)
{
    VvSpaceSummary space;

    vv_pool_space(sampler->daemon->pool, &space);
    VV_LOCKED(&sampler->lock);
    sampler->space = space;
    add_sample_locked(sampler, space.used_bytes);
}

static void *sampler_main(void *user)
{
    VvSampler *sampler = user;
    struct timespec until;

    pthread_setname_np(pthread_self(), "sampler");
    for (;;) {
        bool ending;

        look(sampler);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += LOOK_SECONDS;
        pthread_mutex_lock(&sampler->lock);
        while (!sampler->ending && pthread_cond_timedwait(&sampler->wake, &sampler->lock, &until) == 0)
            continue;
        ending = sampler->ending;
        pthread_mutex_unlock(&sampler->lock);
        if (ending)
            return NULL;
    }
}

VvSampler *vv_sampler_new(VvDaemon *daemon)
{
    VvSampler *sampler = g_new0(VvSampler, 1);
    pthread_condattr_t attr;
    int err;

    sampler->daemon = daemon;
    pthread_mutex_init(&sampler->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&sampler->wake, &attr);
    pthread_condattr_destroy(&attr);
    err = pthread_create(&sampler->thread, NULL, sampler_main, sampler);
    if (err)
        g_error("cannot start a thread: %s", g_strerror(err));
    return sampler;
}

void vv_sampler_free(VvSampler *sampler)
{
    if (!sampler)
        return;
    pthread_mutex_lock(&sampler->lock);
    sampler->ending = true;
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->lock);
    pthread_join(sampler->thread, NULL);
    pthread_cond_destroy(&sampler->wake);
    pthread_mutex_destroy(&sampler->lock);
    g_free(sampler);
}

bool vv_sampler_full_in(VvSampler *sampler, uint64_t *ret_seconds)
{
    const VvSample *first;
    uint64_t now_s = vv_monotonic_ms() / 1000, grown, passed_s;
    VV_LOCKED(&sampler->lock);

    if (sampler->count == 0)
        return false;
    first = &sampler->samples[sampler->count < SAMPLES ? 0 : sampler->next];
    passed_s = now_s - first->time_s;
    if (passed_s < SAMPLE_SECONDS || sampler->space.used_bytes <= first->used_bytes)
        return false;
    grown = sampler->space.used_bytes - first->used_bytes;
    *ret_seconds = (uint64_t) ((unsigned __int128) sampler->space.free_bytes * passed_s / grown);
    return true;
}
