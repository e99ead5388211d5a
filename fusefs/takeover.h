/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking over a mount, and leaving one: see takeover.c. */
#ifndef VV_TAKEOVER_H
#define VV_TAKEOVER_H

#include "survival.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define VV_RESENT_BIT ((uint64_t) 1 << 63) /* of `unique`: FUSE_UNIQUE_RESEND */
#define VV_RESENT_MS 5000u /* it is waited for; what takes longer waits for space, and was not done before */

struct VvFuse;
struct VvServer;
struct fuse_in_header;

typedef struct {
    VvFuseConnection connection; /* what INIT said; of a predecessor: all */
    bool adopts;                 /* the connection is a predecessor's */
    bool keeps_opens;            /* in opens_fd, borrowed */
    int opens_fd;
    uint64_t connection_id; /* 0: the mount does not outlive the process */
    atomic_bool leaving;
    atomic_bool resent_read;     /* what the kernel sent again has been read: it comes before all else */
    _Atomic unsigned resent;     /* writes and flushes of it that are under way */
    pthread_mutex_t lock; /* a leaf */
} VvTakeover;

void vv_takeover_save_init(struct VvFuse *fuse, const void *request, size_t length_bytes);
/* Instead of mounting. */
bool vv_takeover_adopt(struct VvFuse *fuse, GError **error);
/* Instead of fuse_session_unmount, which knows only what it mounted. */
void vv_takeover_detach(struct VvFuse *fuse);
/* Open files are kept in the memfd, if there is one, and what it holds is open again. */
bool vv_takeover_restore_files(struct VvFuse *fuse, GError **error);
/* On a worker's thread, first and last. */
void vv_takeover_worker_begins(void);
void vv_takeover_worker_ended(struct VvServer *server);
/* @request was read. Until ->resent_read. */
void vv_takeover_look(struct VvFuse *fuse, const struct fuse_in_header *request);
/* An answer that is not given, because a successor does it again. [any] */
bool vv_takeover_swallows(const struct VvFuse *fuse, int error);

/* ---- session.c */
/* The number of the request that libfuse has on this thread, without the bit of one that was sent again. */
extern __thread uint64_t vv_request_unique;
extern __thread bool vv_request_again; /* it was */
/* libfuse writes and reads through us, on @session_fd, which it owns. */
bool vv_session_set_io(struct VvFuse *fuse, int session_fd);
/* A greeting that a predecessor answered. */
bool vv_session_replay_init(struct VvFuse *fuse, const void *request, size_t length_bytes, GError **error);

#endif
