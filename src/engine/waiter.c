/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for one answer that comes on another thread. */
#include "waiter.h"

void vv_waiter_over_cb(void *user, int result)
{
    VvWaiter *waiter = user;
    VV_LOCKED(&waiter->lock);
    waiter->over = true;
    waiter->result = result;
    pthread_cond_signal(&waiter->changed);
}

int vv_waiter_wait(VvWaiter *waiter)
{
    int result;
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->over)
        pthread_cond_wait(&waiter->changed, &waiter->lock);
    result = waiter->result;
    pthread_mutex_unlock(&waiter->lock);
    pthread_cond_destroy(&waiter->changed);
    pthread_mutex_destroy(&waiter->lock);
    return result;
}
