/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the mount share. Only files of fusefs/ include this.
 *
 * Locks, in order (take only to the right of what you hold): operations.lock > handles.lock > slot->lock > notifier.lock >
 * keeper.lock. None is held across a call into the pool or the engine, save slot->lock across vv_io_interrupt.
 *
 * Threads: the workers (vv_worker_run; never block), the operation threads (whatever may block), the notifier (tells the
 * kernel), the keeper (looks after LUNs that hold too much). */
#ifndef VV_FUSE_PRIVATE_H
#define VV_FUSE_PRIVATE_H

#define FUSE_USE_VERSION 314

#include "error.h"
#include "fusefs.h"
#include "handles.h"
#include "operations.h"
#include "slots.h"
#include "takeover.h"

#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- maxima of the mount */
#define VV_FUSE_REQUEST_BYTES_MAX \
    8192u /* of a request that is not a WRITE: two names of 1 KiB and a header, with room */
#define VV_NOTICES_MAX \
    65536u /* queued for the notifier; past it invalidations are dropped (they only cost a look-up) */
#define VV_NOTICE_WAIT_MS 2000u   /* how long a command waits for the kernel to learn a size: CLI.md's 2 s */
#define VV_NAME_TIMEOUT_S 86400.0 /* how long the kernel may believe the names luns, snapshots and .vvfs */
#define VV_LISTED_TIMEOUT_MS \
    100u /* how long names of snapshots and their folders are believed: from readdir to the stat behind it */
#define VV_DIRECTORY_BYTES_MAX 65536u /* of one answer to readdir */

typedef struct {
    char *name;
    VvFuseText producer;
    void *user;
} VvLiveText;

typedef enum { VV_NOTICE_CHANGED, VV_NOTICE_CONTENT, VV_NOTICE_REMOVED, VV_NOTICE_ALL } VvNoticeKind;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something to do, or done */
    GQueue queue, late;     /* VvNotice; of late ones only the size is left to tell */
    uint64_t queued, done;  /* counts: notice number n is done when done >= n */
    bool running, stopping;
    pthread_t thread;
} VvNotifier;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_bool awake; /* there may be something to look after */
    bool running, stopping;
    pthread_t thread;
    uint64_t told_ms; /* last event, keeper's thread */
} VvKeeper;

/* One thread that serves the kernel. */
typedef struct VvServer {
    VvFuse *fuse;
    unsigned index;
    VvWorker *worker;                /* owned */
    int blocking_fd, nonblocking_fd; /* clones of the session's descriptor, owned; -1 */
    pthread_t thread;
    bool running; /* takeover.lock */
    VvSlots slots;
    VvSlot *spare; /* the next request is read into it */
    _Atomic unsigned stopped; /* it does not read until less is parked: quota.c */
    VvTask go_on;

    /* with option ring: uring.c */
    struct VvUringEntry *entries; /* owned */
    unsigned entry_count, entries_alive; /* the latter: its thread */
    struct VvUringPlace *place;   /* owned; its thread. NULL: stays where the scheduler puts it */
    VvTask start_task;
} VvServer;

struct VvFuse {
    VvPool *pool;      /* borrowed */
    VvMeta *meta;      /* borrowed: the pool's */
    char *mount_point; /* absolute */
    bool read_only;
    uid_t uid;
    gid_t gid;
    uint32_t mode;
    uint64_t started_ns;         /* CLOCK_REALTIME: times of the directories */
    _Atomic uint64_t changed_ns; /* the last change of names: mtime of luns/ and snapshots/ */
    _Atomic uint64_t listed_ms;  /* when snapshots were last listed with VV_LISTED_TIMEOUT_MS; coarse clock */
    unsigned device_minor;       /* of the mount, 0 unknown */
    VvFuseFar far;
    bool mounted; atomic_bool detached, forced;
    VvTakeover takeover;

    struct fuse_session *session; /* owned */
    int root_fd, looker_fd;       /* a duplicate of the session's: notifications; the looker's (looker.h), borrowed; -1 */
    bool uring;            /* the first ring_count servers have rings, one more reads /dev/fuse (uring.h, U3) */
    unsigned queue_count;  /* of the kernel; 0 without rings */
    unsigned ring_count, server_count; /* the latter: all */
    VvRoster roster; /* of the workers */
    VvServer servers[VV_WORKERS_MAX + 1];
    VvHandles handles;
    VvOperations operations;
    VvNotifier notifier;
    VvKeeper keeper;
    _Atomic uint64_t parked_bytes; /* of requests that are parked, of all LUNs: quota.c */
    _Atomic uint32_t parked_count;
    uint32_t held_count_per_lun, held_count_max; /* set before the mount serves */
    _Atomic uint64_t stops, refused; /* times that a worker did not read because of them; requests that were refused */
    VvLiveText texts[VV_FUSE_TEXTS_MAX];
    unsigned text_count;
};

static inline VvFuse *vv_fuse_of(fuse_req_t request)
{
    return fuse_req_userdata(request);
}

/* ---- session.c: where libfuse's replies of this thread go: the slot of the request, if it came through a ring, else ... */
extern __thread VvSlot *vv_reply_slot;
/* ... this descriptor; -1: the root's */
extern __thread int vv_reply_fd;
/* Give a request to libfuse; its answer goes to @slot, or if that is NULL to @fd. Returns when it is answered. [any] */
void vv_process(VvFuse *fuse, VvSlot *slot, int fd, const void *request, size_t length_bytes);
/* This thread answers a request of the mount now (so it must not wait for the kernel). */
extern __thread bool vv_in_request;
extern const struct fuse_lowlevel_ops vv_fuse_operations; /* table.c */

/* ---- take.c: one request from @fd; the VvWorkerTake of a server */
int vv_take(void *server, int fd);
/* The request in @slot, @length_bytes from slot->request on. */
void vv_take_slot(VvServer *server, VvSlot *slot, size_t length_bytes);

/* ---- names.c: which requests are for names and directories. All run on workers: quick. */
void vv_fuse_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
void vv_fuse_opendir(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info);
void vv_fuse_readdir(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info);
void vv_fuse_readdirplus(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info);
void vv_fuse_releasedir(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info);

/* ---- attributes.c */
void vv_fuse_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info);
void vv_fuse_setattr(fuse_req_t request, fuse_ino_t node, struct stat *attr, int to_set, struct fuse_file_info *info);
void vv_fuse_statfs(fuse_req_t request, fuse_ino_t node);

/* ---- files.c: on operation threads */
void vv_fuse_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info);
void vv_fuse_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info);
void vv_fuse_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void vv_fuse_release(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info);
void vv_fuse_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void vv_fuse_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
    const char *new_name, unsigned flags);
/* Answer with what @error stands for, and log its text: the caller of a system call gets only a number. */
void vv_reply_error(fuse_req_t request, const GError *error);

/* ---- ranges.c: on operation threads */
void vv_fuse_fallocate(
    fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, struct fuse_file_info *info);
void vv_fuse_lseek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *info);
void vv_fuse_copy_file_range(fuse_req_t request, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_info,
    fuse_ino_t to, off_t to_offset, struct fuse_file_info *to_info, size_t length, int flags);

/* ---- notifier.c */
void vv_notifier_start(VvFuse *fuse); /* also sets the pool's hooks */
void vv_notifier_stop(VvFuse *fuse);
/* Without waiting, for changes that came through the mount. [any] */
void vv_notify(VvFuse *fuse, VvNoticeKind kind, uint64_t object_id);

/* ---- quota.c: what requests hold (limits.h has the bytes). The worker's thread */
#define VV_HELD_COUNT_PER_LUN 1024u
#define VV_HELD_COUNT_MAX 2560u
#define VV_PARKED_COUNT_MAX \
    3072u /* with all that are parked: the kernel has VV_FUSE_BACKGROUND_MAX under way, some must be left */
#define VV_HELD_GRACE_MS 1000u /* a LUN of whose parked requests none has ended for so long is held */
/* Before anything is read. @places: how many requests one queue of a ring can have under way; 0: no rings, there are plenty. */
void vv_quota_init(VvFuse *fuse, unsigned places);
/* Is there memory for another request? False: an end of one, or a task, brings the worker back to ask again. */
bool vv_quota_may_read(VvServer *server);
/* The request in @slot begins: its data take @length_bytes. */
void vv_quota_begin(VvServer *server, VvSlot *slot, uint32_t length_bytes);
void vv_quota_begin_flush(VvSlot *slot);
void vv_quota_waits(VvIo *io, bool waits); /* VvIo.waits */
/* It ends; @well: with what was asked for. A flush: any thread. */
void vv_quota_end(VvSlot *slot, bool well);
/* Is so much above the quota of a LUN that is held? */
bool vv_quota_is_over(const VvFuse *fuse, uint64_t bytes, uint64_t count);

/* ---- keeper.c */
void vv_keeper_wake(VvFuse *fuse); /* somebody holds much. [any] */
void vv_keeper_start(VvFuse *fuse);
void vv_keeper_stop(VvFuse *fuse);
/* A FUSE_INTERRUPT: true if the request was found (waiting, or at an operation thread). [any] */
bool vv_interrupt(VvFuse *fuse, uint64_t unique);

#endif
