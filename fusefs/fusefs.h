/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount of one pool: luns/NAME, snapshots/LUN/SNAP and .vvfs/ (DESIGN section 7).
 *
 *     state      entered by                 serves                         leaves by
 *     new        vv_fuse_new                nothing                        vv_fuse_mount
 *     mounted    vv_fuse_mount              INIT only: others wait         vv_fuse_run
 *     running    vv_fuse_run                everything                     the mount ends: umount, stop, force
 *     detached   vv_fuse_stop               files that are still open      their last close, force
 *     ended      vv_fuse_run returns        nothing                        vv_fuse_free
 *
 * The daemon calls, on its side: new, set_text for each text, mount, (tell its parent), run on a thread of its own; stop at the first
 * SIGTERM, force at the second or after stop-timeout; when run has returned: free, then vv_pool_close. It must lock memory with
 * MCL_ONFAULT if at all: request buffers are large areas that are touched only as far as they are used.
 *
 * Every function may be called from any thread that is not one of the mount's own, one at a time unless marked [any].
 * The pool must be open from vv_fuse_new until vv_fuse_free has returned. */
#ifndef VV_FUSEFS_H
#define VV_FUSEFS_H

#include "far.h"
#include "looker.h"
#include "pool.h"
#include "survival.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct VvFuse VvFuse;

/* All of it is copied. */
typedef struct {
    const char *mount_point; /* an existing directory */
    unsigned threads;        /* workers; 0: one per processor, at most VV_WORKERS_MAX; more is cut to that */
    bool ring;               /* FUSE over io_uring, where the kernel has it; else it is said, and done without */
    bool read_only;          /* implied by a read-only pool */
    bool allow_other;
    uid_t uid;     /* owner of what has none of its own: the directories and .vvfs; (uid_t) -1: this process's */
    gid_t gid;     /* the same; (gid_t) -1 */
    uint32_t mode; /* permission bits of those directories, 0: 0755; the files of .vvfs get 0444 of it */
    int looker_fd;            /* of vv_fuse_fork_looker, borrowed; -1: the kernel learns sizes of open files late */
    bool survives;            /* the mount may outlive this process: what follows is given. Not with @ring */
    int opens_fd;             /* a memfd of VV_OPENS_FILE_BYTES, borrowed */
    uint64_t connection_id;   /* of this mount, random */
    const VvFuseConnection *adopt; /* a predecessor's, to be taken over; NULL: mount. Its descriptors are duplicated */
    VvFuseFar far;            /* who does what needs the disks; all NULL: this process */
    const char *const *extra; /* NULL-terminated further words for -o ("noatime", "nodev"), or NULL */
} VvFuseOptions;

/* Prepare: nothing is mounted, no thread runs. Errors: usage (an option that FUSE does not know: it is named),
 * not-found (no such mount point), unsupported (no workers: io_uring is not to be had). */
VvFuse *vv_fuse_new(VvPool *pool, const VvFuseOptions *options, GError **error);

/* A text of .vvfs: @producer is called when somebody opens the file, on a thread that may block; what it returns (newly
 * allocated, *ret_bytes long) is what that open reads to its end; NULL: the open fails with EIO. Before vv_fuse_run.
 * At most VV_FUSE_TEXTS_MAX; names are copied. */
typedef char *(*VvFuseText)(void *user, size_t *ret_bytes);
void vv_fuse_set_text(VvFuse *fuse, const char *name, VvFuseText producer, void *user);

/* Mount, answer INIT, register with the pool (vv_pool_set_mount, vv_pool_set_hooks). From here on the path exists, and
 * whoever uses it waits until vv_fuse_run serves: call that soon. No fork after it.
 * Errors: io, denied, unsupported, with what mount(2) or fusermount3 said. Nothing is mounted on failure. */
bool vv_fuse_mount(VvFuse *fuse, GError **error);

/* Lock what a request needs while memory is short, if that is allowed. Bytes. After vv_fuse_mount. */
size_t vv_fuse_lock_memory(VvFuse *fuse);

/* What a successor needs; borrowed descriptors. After vv_fuse_mount, not with rings. */
void vv_fuse_connection(const VvFuse *fuse, VvFuseConnection *ret_connection);

/* [any] Leave the mount to a successor: vv_fuse_run returns soon, the mount stays, and what was not answered stays with the
 * kernel (before Linux 6.9: is answered first). Blocks until the workers have stopped. */
void vv_fuse_leave(VvFuse *fuse);

/* Serve until the mount has ended (umount, or the last close after vv_fuse_stop, or vv_fuse_force), then return: by then no
 * thread of the mount is left, every handle is closed (an elastic LUN is rounded up, an orphan purged, as after any
 * last close), and hooks and mount are taken back from the pool. Starts the workers, the notifier and the keeper; all of
 * them block all signals. */
void vv_fuse_run(VvFuse *fuse);

/* [any] After vv_fuse_run has begun to serve an adopted mount: until what the kernel sent again to this process has been done, for a few
 * seconds at most. What others do to the same data afterwards is not undone by it. */
void vv_fuse_wait_for_resent(VvFuse *fuse);

/* [any] Detach: the mount leaves the file system tree, no new opens by path; open files are served to their last close. Does
 * nothing the second time or if the mount has ended. May start a process (fusermount3) if not root, and waits for it. */
void vv_fuse_stop(VvFuse *fuse);

/* [any] End now: every request of every client ends with ENOTCONN or EIO (the connection is aborted), what is parked in the
 * engine with EIO. What was not flushed and not acknowledged is lost to the clients; what was acknowledged is not lost. */
void vv_fuse_force(VvFuse *fuse);

/* [any] The connection ends, as by force, and the mount stays where it is, dead (ENOTCONN): nobody takes its place for the directory
 * below. False: it cannot be ended but by closing its descriptors. */
bool vv_fuse_abandon(VvFuse *fuse);

/* [any] Handles on LUNs and snapshots that the kernel holds now (a loop device counts one). */
unsigned vv_fuse_open_count(const VvFuse *fuse);
/* [any] What requests hold now, and how often that was too much. */
typedef struct {
    uint64_t parked_bytes, parked_requests; /* that wait for a gate, for space or for the journal: now */
    uint64_t read_stops;                    /* times that a worker read no further request until less was parked */
    uint64_t refused_requests;              /* ended with EIO, because their LUN waited for long and held its quota */
} VvFuseHolds;
void vv_fuse_holds(VvFuse *fuse, VvFuseHolds *ret_holds);
/* [any] Absolute and without symbolic links; borrowed until vv_fuse_free. */
const char *vv_fuse_mount_point(const VvFuse *fuse);

/* Not running, and no other call (of stop, force or count either) under way. Unmounts if vv_fuse_run was never called. NULL is
 * fine. */
void vv_fuse_free(VvFuse *fuse);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvFuse, vv_fuse_free)

#define VV_FUSE_TEXTS_MAX 16u

#endif
