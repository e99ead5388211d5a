/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a mount asks other nodes of its pool. */
#ifndef VV_FAR_H
#define VV_FAR_H

#include "pool.h"

/* All but `changed` is NULL where this node has the disks: then the mount calls pool.h itself. Else each is as the
 * function of pool.h that it is named after, done by the node that has the disks; when it returns this node's map has the change. @request: NULL,
 * or without an id: it is done once all the same. Operation threads: they wait for as long as VV_FAR_MS, also for a node that is
 * starting. Errors also: no-coordinator (it was not done), timeout (it may have been). */
#define VV_FAR_MS 60000u
typedef struct VvFuseFar {
    bool (*lun_create)(void *user, const VvLunCreate *create, VvRequest *request, GError **error);
    bool (*remove)(void *user, bool lun, const char *object, VvRequest *request, GError **error);
    bool (*snapshot_create)(void *user, const char *object, VvRequest *request, GError **error);
    bool (*set_attributes)(
        void *user, uint64_t id, uint32_t mask, const VvLunProps *props, uint64_t mtime_ns, uint64_t atime_ns, GError **error);
    /* A change was made by this process: until the other nodes show it. NULL only in a pool of one node. */
    void (*changed)(void *user);
    bool (*adopt)(void *user, uint64_t to, uint64_t from, uint64_t size_bytes, GError **error);
    void *user;
} VvFuseFar;

#endif
