/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for one answer that comes on another thread: submit with vv_waiter_over_cb and a VvWaiter on the stack, then
 * vv_waiter_wait. Only for threads that may wait. */
#ifndef VV_WAITER_H
#define VV_WAITER_H

#include "util.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct {
    pthread_mutex_t lock; /* a leaf; guards all below */
    pthread_cond_t changed;
    bool over;
    int result;
} VvWaiter;
#define VV_WAITER_INIT                                                         \
    {                                                                          \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER \
    }

/* The answer: a VvCommitDone, VvFlushDone and VvSyncDone. Exactly once; the waiter (@user) may be gone when this returns. [any] */
void vv_waiter_over_cb(void *user, int result);
/* The answer's result. Ends the waiter. */
int vv_waiter_wait(VvWaiter *waiter);

#endif
