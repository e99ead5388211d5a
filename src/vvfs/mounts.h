/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mounted here (/proc/self/mountinfo), as far as vvfs cares. Touches no file system. */
#ifndef VV_MOUNTS_H
#define VV_MOUNTS_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    char *mountpoint;
    char *directory; /* the pool's: the source of the mount */
} VvMountEntry;

/* All mounts of type fuse.vvfs, in the order they were made; of VvMountEntry with free function. */
GPtrArray *vv_mounts_list(void);
/* Is @directory mounted at @mountpoint (NULL: anywhere)? */
bool vv_mounts_have(const char *directory, const char *mountpoint);
/* The pool directory that is mounted at @mountpoint, or NULL. Newly allocated. */
char *vv_mounts_directory_at(const char *mountpoint);

#endif
