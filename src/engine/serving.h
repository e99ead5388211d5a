/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling a pool from a copy of it. The design is on top of serving.c. */
#ifndef VV_SERVING_H
#define VV_SERVING_H

#include "engine.h"

#include <glib.h>
#include <stdbool.h>

#define VV_IN_USE_FILE "in-use"
#define VV_OLDER_FILE "older"

/* Was the pool in @directory copied while somebody served it? Then conflict, with what to do. Who asks holds its lock. */
bool vv_serving_check(const char *directory, GError **error);
/* Metadata and disks are open: is the directory as new as they are? If not read-only, mark it as served, and the disks
 * with the incarnation. Errors: conflict, io. */
bool vv_serving_begin(VvPool *pool, GError **error);
/* All is closed: what lies in the directory stays as it is. Before the lock goes. */
void vv_serving_end(VvPool *pool);

#endif
