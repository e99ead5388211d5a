/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Subscriptions: notifications that clients asked for. The loop's thread, save the handlers in rpc.h. */
#ifndef VV_SUBSCRIBE_H
#define VV_SUBSCRIBE_H

#include "daemon.h"

#include <stdint.h>

#define VV_SUBSCRIPTIONS_PER_CLIENT_MAX 16u

typedef struct VvSubscriptions VvSubscriptions;

/* Watches the pool's events from here on. */
VvSubscriptions *vv_subscriptions_new(VvDaemon *daemon);
/* The crews must have ended. */
void vv_subscriptions_free(VvSubscriptions *subscriptions);
void vv_subscriptions_drop_client(VvSubscriptions *subscriptions, uint64_t client);

#endif
