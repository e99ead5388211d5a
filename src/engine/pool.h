/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The open pool and its configuration transactions.
 *
 * A transaction is validate -> quiesce -> one entry -> apply -> resume; they are serialised by the pool's configuration
 * lock. All functions here block (on disks, on draining) and are for control and operation threads, never for workers or
 * the daemon's event loop, save those marked [any]. Errors: GError as CLI.md's codes, with object and hint. */
#ifndef VV_POOL_H
#define VV_POOL_H

#include "io.h"
#include "meta.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- life */
typedef struct {
    const char *directory;  /* absolute; made if it does not exist, refused if it is not empty */
    const char *name;
    uint64_t size_bytes;    /* of the sparse disk file "disk0" in it, if there are no @disks */
    const char *const *disks; /* NULL-terminated paths, or NULL */
    bool overwrite; const struct VvFirstNode *first; /* members.h: it will listen; NULL: it is of one node */
} VvPoolCreate;
bool vv_pool_create(const VvPoolCreate *create, GError **error);
/* Would it be made? All refusals, and nothing is changed. */
bool vv_pool_create_check(const VvPoolCreate *create, GError **error);
/* What the end of a pool lets go, as absolute paths. @disks: labels cleared, or files of the pool directory, removed. @left: not touched,
 * as not there, not writable, or of another pool by now. @all_told: false if the metadata cannot be read, so there may be more, and
 * @freed_bytes, what LUNs and snapshots hold, is 0. */
typedef struct { char **disks, **left; bool all_told; uint64_t freed_bytes; } VvDestroyed;
void vv_destroyed_clear(VvDestroyed *destroyed);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvDestroyed, vv_destroyed_clear)
/* End the unmounted pool in @directory: clear its disks' labels, remove the files vvfs made. @ret_destroyed: NULL, or cleared
 * by the caller; of a dry run: what would be. */
bool vv_pool_destroy(const char *directory, bool dry_run, VvDestroyed *ret_destroyed, GError **error);
/* `pool check` of an unmounted pool. */
bool vv_pool_check_offline(const char *directory, bool repair, VvCheckFunc report, void *user, GError **error);

typedef struct {
    bool read_only;
    unsigned lock_wait_ms;          /* for a daemon that is ending: 30,000 */
    bool have_pending;              /* there is a pending_fd: what is acknowledged survives the death of the process */
    int pending_fd;                 /* a memfd of VV_PENDING_FILE_BYTES that cannot be resized; borrowed */
    bool takes_over;                /* a mount that a predecessor served: elastic LUNs stay so, and removed objects of @open_ids live on */
    const GArray *open_ids;         /* of uint64_t: what that mount has open, or NULL; borrowed */
    bool have_events; int events_fd; /* there is a memfd of VV_EVENTS_FILE_BYTES (events_file.h), sealed like it: events are kept */
    bool others_return;             /* other nodes had open what is here: removed objects and elastic LUNs stay so until vv_pool_settle_unopened */
    const VvRunOps *run_ops; const VvDiskOps *disk_ops; void *ops_user; /* faults, or NULL */
    const struct VvClusterLog *cluster; /* of a node of a cluster: cluster_log.h; or NULL */
    uint64_t node;                  /* its id; 0: the pool does not listen */
    bool without_disks;             /* they are another node's */
    bool guest;                     /* and the map has only what that node describes: cluster_log.h, CL4 */
    const struct VvElsewhere *elsewhere; const struct VvDiskWays *reach; /* how their data is reached then: elsewhere.h; disks of other nodes: reach.h. Or NULL: not */
    void (*members_changed)(void *user); /* records of nodes or invites, here or elsewhere; must not wait. Or NULL */
    void (*shares_changed)(void *user);  /* the same of sharing.h */
    void (*op_applied)(void *user, const VvOp *op); /* any, with the map's write lock held: must be quick */
    void *members_user;
} VvPoolOptions;
VvPool *vv_pool_open(const char *directory, const VvPoolOptions *options, GError **error);
/* Refuse new requests, flush everything, checkpoint, stop the threads. No handles may be open. */
void vv_pool_close(VvPool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvPool, vv_pool_close)
/* An object that was closed before this process took over: what follows a last close, unless it is open. */
void vv_pool_closed_before(VvPool *pool, uint64_t object_id);
/* What is removed, or elastic, and nobody has open: what follows a last close. Later, and once all who had it open are back. [any] */
void vv_pool_settle_unopened(VvPool *pool);
int vv_pool_flush(VvPool *pool); /* every LUN, now */
/* End every parked request with -EIO and hold no new ones (forced stop). [any] */
void vv_pool_abort_waiting(VvPool *pool);
const char *vv_pool_directory(const VvPool *pool); /* [any] */
VvMeta *vv_pool_meta(VvPool *pool);                /* [any]: for looking at the catalog under its read lock */
bool vv_pool_is_read_only(const VvPool *pool);
const char *vv_pool_failure(const VvPool *pool); /* why it takes no writes any more, or NULL. Borrowed until it is closed. [any] */
/* Tell where the pool is mounted (device numbers and path), so that openers can be traced through loop devices. */
void vv_pool_set_mount(VvPool *pool, const char *mount_point);
const char *vv_pool_mount(const VvPool *pool); /* NULL: not mounted */

/* What other layers are told; called without locks, on control threads, before a command returns. */
typedef struct {
    void (*object_changed)(void *user, uint64_t object_id); /* size or attributes: push to the kernel */
    void (*object_removed)(void *user, uint64_t object_id);
    void (*content_changed)(void *user, uint64_t lun_id);   /* restore: drop cached data */
} VvPoolHooks;
void vv_pool_set_hooks(VvPool *pool, const VvPoolHooks *hooks, void *user);

/* ---- request ids (CLI.md --id). Given to a transaction, {id, result} goes into its entry. If the id is recorded
 * already the transaction changes nothing, returns true and sets ret_previous (owned by the caller). */
typedef struct {
    const char *id;          /* NULL: none */
    const char *result_json; /* what to record */
    char *ret_previous;
} VvRequest;

/* ---- LUNs. Where a name list is given: all or none. */
typedef struct {
    const char *name;
    uint64_t size_bytes; /* 0 only with elastic */
    uint32_t props_mask; /* which of @props are given; others get the pool's defaults */
    VvLunProps props;
    bool elastic; uint64_t node; /* for a file that is made through the mount of that node; 0: this one */
    const char *const *disks; /* NULL-terminated: its data lies on these alone (names, UUIDs or paths); NULL: on any */
} VvLunCreate;
bool vv_pool_lun_create(VvPool *pool, const VvLunCreate *create, VvRequest *request, uint64_t *ret_id, GError **error);
bool vv_pool_lun_resize(VvPool *pool, const char *name, uint64_t size_bytes, bool shrink, bool dry_run, VvRequest *request, GError **error);
/* ftruncate through the mount: grows any LUN, sets an elastic one both ways; else denied. */
bool vv_pool_lun_truncate(VvPool *pool, uint64_t id, uint64_t size_bytes, GError **error);
/* An elastic LUN becomes at least so large (an allocation past its end), and never smaller, whatever writes or resizes meanwhile.
 * no-space: it is finished and smaller. */
bool vv_pool_lun_extend(VvPool *pool, uint64_t id, uint64_t size_bytes, GError **error);
bool vv_pool_lun_rename(VvPool *pool, const char *old_name, const char *new_name, VvRequest *request, GError **error);
bool vv_pool_lun_set(VvPool *pool, const char *name, uint32_t mask, const VvLunProps *props, VvRequest *request, GError **error);
/* chmod, chown, utimens through the mount; mtime and atime only if in @mask. */
bool vv_pool_lun_set_attributes(VvPool *pool, uint64_t id, uint32_t mask, const VvLunProps *props, uint64_t mtime_ns, uint64_t atime_ns, GError **error);
/* copy_file_range into the empty @to from offset 0: make it a clone of @from's present (a LUN: after flushing it and with a
 * hidden point; or a snapshot) with @size_bytes = what was asked so far, at most the source's size. Called again with a larger
 * size for the next piece (which begins where the last ended, or behind a hole of the source) it only raises the size.
 * unsupported: not empty, another source, the source was written meanwhile, or not possible: copy this and all that follows. */
bool vv_pool_lun_adopt(VvPool *pool, uint64_t to, uint64_t from, uint64_t size_bytes, GError **error);

typedef struct {
    char **removed;       /* names, NULL-terminated */
    bool counted;         /* false: it changes faster than it can be counted, and what follows is 0 */
    uint64_t freed_bytes; /* what goes free, exactly */
    uint64_t alone_bytes; /* dry run: the sum of what each alone would free; else as freed_bytes */
} VvRemoval;
void vv_removal_clear(VvRemoval *removal);
bool vv_pool_lun_remove(VvPool *pool, const char *const *names, bool with_snapshots, bool if_exists, bool dry_run, VvRequest *request, VvRemoval *ret_removal, GError **error);
bool vv_pool_clone(VvPool *pool, const char *snapshot, const char *name, uint32_t props_mask, const VvLunProps *props, VvRequest *request, uint64_t *ret_id, GError **error);

/* ---- snapshots; objects are "LUN@SNAP" */
typedef struct { VvSnapshotKind kind; uint64_t keep_until_ns; const char *note; const struct VvShareChanges *share; } VvSnapshotOptions; /* sharing.h; or NULL */
bool vv_pool_snapshot_create(VvPool *pool, const char *const *objects, const VvSnapshotOptions *options, VvRequest *request, GError **error);
/* Objects may hold patterns in the SNAP part; @ret_removal->removed tells what matched. A pattern that matches nothing is
 * not-found, unless if_exists. */
bool vv_pool_snapshot_remove(VvPool *pool, const char *const *objects, bool if_exists, bool dry_run, VvRequest *request, VvRemoval *ret_removal, GError **error);
bool vv_pool_snapshot_rename(VvPool *pool, const char *object, const char *new_name, VvRequest *request, GError **error);
/* All or none; NULL leaves a setting as it is. limit: more than VV_SETTINGS_PER_COMMAND, or their notes do not fit one entry. */
bool vv_pool_snapshot_set(VvPool *pool, const char *const *objects, const uint64_t *keep_until_ns, const char *note, VvRequest *request, GError **error);
bool vv_pool_snapshot_refresh(VvPool *pool, const char *object, VvRequest *request, GError **error);
/* *ret_kept: "LUN@before-restore-N", or NULL with @discard. */
bool vv_pool_snapshot_restore(VvPool *pool, const char *object, bool force, bool discard, bool dry_run, VvRequest *request, char **ret_kept, GError **error);
/* Ranges in which @from (a snapshot) differs from @to (a snapshot, or NULL: the LUN now, flushed first). */
bool vv_pool_snapshot_diff(VvPool *pool, const char *from, const char *to, VvDiffFunc range, void *user, GError **error);
/* Choose what `prune` removes (names made with the prefix, never kept ones); keep_* < 0: not given. */
typedef struct { const char *prefix; int keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly; } VvPrune;
bool vv_pool_snapshot_prune(VvPool *pool, const char *const *luns, const VvPrune *prune, bool dry_run, VvRequest *request, VvRemoval *ret_removal, unsigned *ret_of, GError **error);

/* ---- disks and pool */
bool vv_pool_disk_add(VvPool *pool, const char *path, uint64_t create_bytes, const char *name, bool overwrite, VvRequest *request, char **ret_name, GError **error);
bool vv_pool_disk_grow(VvPool *pool, const char *disk, uint64_t size_bytes /* 0: all there is */, VvRequest *request, GError **error);
bool vv_pool_disk_remove(VvPool *pool, const char *disk, bool dry_run, VvRequest *request, GError **error);
/* KEY, VALUE, KEY, VALUE ...: all settings there are, stored or not; table in config_pool.c. [any] */
char **vv_pool_settings(VvPool *pool);
bool vv_pool_set(VvPool *pool, const char *const *keys, const char *const *values, VvRequest *request, GError **error);
bool vv_pool_check(VvPool *pool, VvCheckFunc report, void *user, GError **error); /* mounted: looks only */

#include "pool_look.h"

#endif
