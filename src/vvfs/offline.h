/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vvfs --offline METHOD: what no daemon can do, as it makes or ends a pool (docs/admin-protocol.md section 8). */
#ifndef VV_OFFLINE_H
#define VV_OFFLINE_H

/* Params from stdin, one response to stdout. The exit code: 0 whenever a response was written. */
int vv_offline_run(const char *method);

#endif
