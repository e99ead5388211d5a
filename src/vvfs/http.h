/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics=ADDR:PORT: GET /metrics over HTTP, on a thread and a loop of its own, so that nobody on the network can hold up
 * the control loop. */
#ifndef VV_HTTP_H
#define VV_HTTP_H

#include "daemon.h"

#include <glib.h>

typedef struct VvMetricsServer VvMetricsServer;

/* @address: ADDR:PORT, [ADDR]:PORT or :PORT. Errors: usage, io. The listening begins here, the serving with
 * vv_metrics_server_start (a thread). */
VvMetricsServer *vv_metrics_server_new(VvDaemon *daemon, const char *address, GError **error);
void vv_metrics_server_start(VvMetricsServer *server);
void vv_metrics_server_free(VvMetricsServer *server);

#endif
