/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast the pool fills: one thread looks once a minute and keeps a day's history. */
#ifndef VV_SAMPLER_H
#define VV_SAMPLER_H

#include "daemon.h"

#include <stdbool.h>

typedef struct VvSampler VvSampler;

VvSampler *vv_sampler_new(VvDaemon *daemon);
void vv_sampler_free(VvSampler *sampler); /* ends the thread */
/* At the last day's rate, or at that of what is known of it (10 minutes at least). False: unknown, or it does not fill. */
bool vv_sampler_full_in(VvSampler *sampler, uint64_t *ret_seconds);

#endif
