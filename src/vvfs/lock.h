/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file "daemon.lock" in the pool directory: flock'ed by the process that serves the pool, from before it touches anything
 * until after everything is closed (the engine's own lock is held inside that time). It says who that is: "pid N" (what to
 * send signals to: the holder, if there is one), "serving N" (who serves), "state WORD" (starting, serving, witness, ending, offline) and
 * "mountpoint PATH", a line each. */
#ifndef VV_LOCK_H
#define VV_LOCK_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#define VV_LOCK_FILE "daemon.lock"
#define VV_LOCK_WITNESS "witness" /* a state: as serving, without a mount */
#define VV_LOCK_WAIT_MS 30000u /* for a daemon that is ending: CLI.md */

/* Returns a descriptor that holds the lock until it is closed, or -1. Waits for one that starts, ends, or whose mount has
 * gone; one that serves is refused at once, unless @must_wait: then it is known to be ending. @pool_name is for the message. Errors: busy (which pid serves it, and where),
 * io, denied. */
int vv_lock_take(const char *directory, const char *pool_name, bool must_wait, GError **error);
/* @mountpoint may be NULL. */
void vv_lock_tell(int fd, const char *state, const char *mountpoint, pid_t pid);

#endif
