/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Documents about the pool as a whole. Crews' threads and those of the mount that may block. */
#ifndef VV_STATUS_H
#define VV_STATUS_H

#include "daemon.h"
#include "json.h"

#include <glib.h>

/* pool.status */
JsonObject *vv_status_json(VvDaemon *daemon);
/* doctor.list's items: worst first. */
JsonArray *vv_problems_json(VvDaemon *daemon);
/* The worst of `failed`, `full`, `degraded`, `ok`. Constant text. */
const char *vv_status_state(VvDaemon *daemon);
/* All settings of the pool, as text. */
void vv_status_settings(VvDaemon *daemon, JsonObject *settings);
/* stats.get: a piece with LUNs by name from @from on (NULL: all); @names NULL-terminated or NULL: all. *ret_next: newly
 * allocated cursor or NULL. */
JsonObject *vv_stats_json(VvDaemon *daemon, const char *const *names, const char *from, char **ret_next);
/* An event, as in lists and notifications. */
JsonObject *vv_event_json(VvDaemon *daemon, const VvEvent *event);
/* Prometheus text; newly allocated. */
char *vv_metrics_text(VvDaemon *daemon);

#endif
