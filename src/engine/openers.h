/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who uses a file of the mount: what /sys and /proc tell of loop devices, what is mounted from them, and processes. */
#ifndef VV_OPENERS_H
#define VV_OPENERS_H

#include "pool.h"

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* One loop device. */
typedef struct {
    char *device;     /* "/dev/loop0" */
    char *mountpoint; /* of a file system on it, its partitions or what stands on them; "[SWAP]"; NULL: none */
    char *holder;     /* name of a mapped device or array that holds it, or NULL */
    bool write;
} VvLoop;
void vv_loop_free(VvLoop *loop);

/* Loop devices over @path. @sys and @proc: "/sys" and "/proc", or a test's. Never opens a device or a mounted path. */
GPtrArray *vv_loops_find(const char *sys, const char *proc, const char *path);
/* The name of a living process, or NULL. */
char *vv_process_name(const char *proc, pid_t pid);
/* Has @pid a descriptor of @path? */
bool vv_process_has_open(const char *proc, pid_t pid, const char *path);

/* busy, with @hint, if somebody has the object open who may not (@may says). Waits a second for those that nobody has any more, as
 * vv_pool_openers_left. Takes the read lock, and calls @may without any. */
typedef bool (*VvOpenerJudge)(void *user, const VvOpener *opener);
bool vv_refuse_openers(VvPool *pool, uint64_t object_id, VvOpenerJudge may, void *user, const char *hint, GError **error);

#endif
