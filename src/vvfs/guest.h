/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest's map: what the node with the disks describes (cluster/describe.h) becomes entries of this pool, as if a cluster's log had brought
 * them, so that mount, kernel and commands follow them as they follow other nodes (docs/cluster-daemon.md, "Guests").
 *
 *   nothing   a whole set is waited for, the pool is being opened   --its last part-->   followed
 *   followed  each message is an entry; a whole set replaces what there was
 *
 *   thread          calls
 *   opener, closer  the VvClusterLog
 *   vv-control      vv_guest_take, _up, _down
 *   committer       applied
 *
 * U1  One message is under way at a time: it is answered when its entry is in the map and the kernel was told.
 * U2  What cannot be is not applied, and answered with the wish for a whole set; a whole set that cannot be ends the connection.
 * U3  An entry that fails has failed the pool: it is made anew, as nothing of it is kept. */
#ifndef VV_GUEST_H
#define VV_GUEST_H

#include "cluster_log.h"
#include "peer.h"

typedef struct VvGuest VvGuest;

/* Answers to VV_DESCRIBE: one byte. */
enum { VV_GUEST_SHOWN = 0, VV_GUEST_NOT_NOW = 1, VV_GUEST_WANTS_ALL = 2 };

typedef struct {
    uint64_t self; /* of this node */
    /* The opener's thread: the pool is there, and is about to wait. False: it cannot be. */
    bool (*opened)(void *user, VvPool *pool, GError **error);
    /* The opener's, about ten times a second while it waits: why it waits no more, newly allocated; NULL: it does. */
    char *(*impatient)(void *user);
    /* The opener's: it waits no more. */
    void (*waited)(void *user);
    /* The committer's: an entry could not be applied. */
    void (*failed)(void *user);
    /* The closer's: the pool that was told by @opened goes. */
    void (*closed)(void *user);
    void *user;
} VvGuestOptions;

/* Does its certificate in @directory say that it is a guest's? What cannot be read is none: who opens it tells. Any thread. */
bool vv_guest_is_one(const char *directory);
/* Make the map in @directory anew, empty: what it held was only described. The caller has the pool's lock. */
bool vv_guest_reset(const char *directory, const char *name, const VvUuid *uuid, GError **error);

VvGuest *vv_guest_new(const VvGuestOptions *options);
/* The pool is closed, and nothing comes any more. NULL is allowed. */
void vv_guest_free(VvGuest *guest);
/* For VvPoolOptions.cluster. */
const VvClusterLog *vv_guest_log(VvGuest *guest);
/* A request from the node with the disks. Answers it, later; bad bytes end the connection. */
void vv_guest_take(VvGuest *guest, VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes);
void vv_guest_down(VvGuest *guest, VvPeer *peer);
/* Since when it is not told any more what changes, nanoseconds UTC; 0: it is. Any thread. */
uint64_t vv_guest_stale_since_ns(VvGuest *guest);

#endif
