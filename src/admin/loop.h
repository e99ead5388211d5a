/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop devices over LUNs and snapshots of a mount of this node, and who uses them. */
#ifndef VV_ADMIN_LOOP_H
#define VV_ADMIN_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* "MOUNTPOINT/luns/LUN" or "MOUNTPOINT/snapshots/LUN/SNAP", newly allocated. */
char *vv_object_path(const char *mountpoint, const char *object);
/* "/dev/vvfs/POOL/OBJECT", newly allocated. */
char *vv_object_link(const char *pool, const char *object);

/* Names ("loop0") of the loop devices over the file @path: char *, owned. By its path, and by device and inode where
 * the name has changed since. @verify: by device and inode in any case where they can be told, since one over an object that
 * was removed keeps the path that its successor has now; that asks the daemon. */
GPtrArray *vv_loops_find(const char *path, bool verify);

/* What uses a block device: elements VvLoopUser *, owned. Looks at the device, its partitions and what stands on them. */
typedef struct {
    char *device;     /* "/dev/loop0", or of what stands on it */
    char *mountpoint; /* NULL: held by @holder */
    char *type;       /* of the file system */
    char *holder;     /* "dm-0", or NULL */
} VvLoopUser;
GPtrArray *vv_loop_users(const char *name);

/* Make a loop device over @path, with direct I/O. @ret_name ("loop0") is newly allocated; @ret_direct: the kernel took
 * direct I/O. Waits until the device has its size. Errors: denied, io, no-space (no free device). */
bool vv_loop_attach(const char *path, bool read_only, bool partscan, char **ret_name, bool *ret_direct, GError **error);
/* Let it have the size that its file has now. Errors: denied, io. */
bool vv_loop_update_size(const char *name, GError **error);
/* Take it away; it must have no users. Error: busy, with nothing changed. */
bool vv_loop_detach(const char *name, GError **error);

/* See to it that @link leads to the device: udev's rule does it where it is installed, else it is made. */
bool vv_loop_link(const char *link, const char *name, GError **error);
/* Remove @link if it leads to the device. */
void vv_loop_unlink(const char *link, const char *name);
/* For udev: prints "vvfs/POOL/OBJECT" for a loop device over an object, "-partN" after it for a partition; else fails. */
bool vv_loop_print_link(const char *device, GError **error);

#endif
