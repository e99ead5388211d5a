/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that a predecessor may have carried out without answering. What must not be done twice (a creation, a removal, a rename, a
 * snapshot) carries an id into its journal entry, "fuse-CONNECTION-UNIQUE"; when the kernel sends the request again and the id is
 * recorded, the answer is that it is done. All the rest may be done twice: writing, discarding and setting give the same result, and
 * what was not answered is in no order with what came after it. */
#ifndef VV_AGAIN_H
#define VV_AGAIN_H

#include "fuse_private.h"

typedef struct {
    char id[64];
    VvRequest request; /* for the pool; its id is NULL where the mount does not outlive the process */
} VvAgain;

/* For the request that this thread has from libfuse. */
void vv_again_begin(const VvFuse *fuse, VvAgain *ret_again);
/* It was sent again, and is recorded as done. */
bool vv_again_is_done(VvFuse *fuse, const VvAgain *again);
void vv_again_clear(VvAgain *again);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvAgain, vv_again_clear)

#endif
