/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Freezing the file systems that this node has mounted from LUNs, for the instant of a snapshot. */
#ifndef VV_ADMIN_FREEZE_H
#define VV_ADMIN_FREEZE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char *lun;
    char *mountpoint;
    char *type; /* "ext4" */
} VvLunMount;
/* What is mounted from loop devices over @luns (char *) of the pool mounted at @mountpoint: elements VvLunMount *, owned. */
GPtrArray *vv_lun_mounts(const char *mountpoint, GPtrArray *luns);

typedef struct VvFreeze VvFreeze;
/* Freeze all of @mounts, each file system once. It thaws when vv_freeze_end() is called, when this process ends in
 * whatever way, and after VV_FREEZE_SECONDS_MAX. Errors: nothing is frozen. */
VvFreeze *vv_freeze_begin(GPtrArray *mounts, GError **error);
/* When it thaws by itself, monotonic. */
uint64_t vv_freeze_deadline_ms(const VvFreeze *freeze);
/* Thaw, and free it. False: the time was over before, so what happened meanwhile was not on a frozen file system. */
bool vv_freeze_end(VvFreeze *freeze);

#endif
