/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is committed by now: who is about to refuse a change, or to say that there is nothing to do, must not do so by an old map. The coordinator tells
 * its commit index when a majority has confirmed its term since it was asked (C3), and who asked waits until the map has it.
 *
 *   wanted    the newest who waits        asked    whom the question under way is for, all up to it      done    they know
 *
 * A question answers for all who waited when it was first sent; who comes later waits for the next one. */
#include "driver_private.h"

#define AGAIN_MS 200u /* two heartbeats: a question may be lost, or have been another leader's */

static uint64_t map_index(const VvDriver *d)
{
    uint64_t applied = vv_raft_applied(d->raft);

    return d->with_committer != 0 && applied >= d->with_committer ? d->with_committer - 1 : applied;
}

static void finish(VvDriver *d)
{
    VV_LOCKED(&d->lock);

    d->latest_done = d->latest_asked;
    d->latest_asked = 0;
    pthread_cond_broadcast(&d->told);
}

void vvd_work_latest(VvDriver *d)
{
    if (d->latest_asked != 0 && d->latest_index != 0 && map_index(d) >= d->latest_index)
        finish(d);
    if (d->latest_asked == 0) {
        VV_LOCKED(&d->lock);

        if (d->latest_wanted == d->latest_done)
            return;
        d->latest_asked = d->latest_wanted;
        d->latest_index = d->latest_ms = 0;
    }
    if (d->latest_index != 0 || (d->latest_ms != 0 && d->now_ms < d->latest_ms + AGAIN_MS))
        return;
    d->latest_ms = d->now_ms;
    vv_cluster_ask_latest(d->cluster, d->client, d->latest_asked);
}

uint64_t vvd_latest_deadline(const VvDriver *d)
{
    return d->latest_asked != 0 && d->latest_index == 0 ? d->latest_ms + AGAIN_MS : UINT64_MAX;
}

void vvd_latest_is(void *user, uint64_t nonce, uint64_t number, uint64_t index)
{
    VvDriver *d = user;

    if (nonce == d->client && number == d->latest_asked && d->latest_index == 0)
        d->latest_index = index;
}

bool vv_driver_catch_up(VvDriver *d, uint64_t ms)
{
    uint64_t ns = vv_monotonic_ns() + ms * UINT64_C(1000000);
    struct timespec until = { .tv_sec = (time_t) (ns / 1000000000u), .tv_nsec = (long) (ns % 1000000000u) };
    uint64_t number;
    VV_LOCKED(&d->lock);

    if (!d->running)
        return false;
    number = ++d->latest_wanted;
    d->latest_news = true;
    pthread_cond_signal(&d->changed);
    while (d->latest_done < number && d->running && !d->status.failed)
        if (pthread_cond_timedwait(&d->told, &d->lock, &until) != 0)
            break;
    return d->latest_done >= number;
}
