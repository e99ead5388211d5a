/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Media that are not files of this machine: requests go to a thread of the back end and are answered from there.
 *
 * A back end hides that its connection comes and goes: a request waits, and is sent again, until VV_REMOTE_WAIT_MS have passed since it was
 * submitted. What it may not hide is that acknowledged writes may be lost: then the next sync fails, and all later ones. */
#ifndef VV_REMOTE_H
#define VV_REMOTE_H

#include "disk.h"

typedef enum {
    VV_REMOTE_READ,
    VV_REMOTE_WRITE,
    VV_REMOTE_SYNC,    /* what was answered before it was submitted is durable */
    VV_REMOTE_DISCARD, /* 0 also where the medium cannot */
    VV_REMOTE_SIZE,    /* look how large it is now: ops->bytes tells */
} VvRemoteKind;

/* The submitter owns it and keeps it and the data until @done. */
typedef struct VvRemoteRequest VvRemoteRequest;
struct VvRemoteRequest {
    VvRemoteKind kind;
    void *data;
    uint64_t offset, length_bytes; /* within the medium (asserted by nobody: beyond it is -EIO) */
    /* Once; 0 or -errno. A sync's -ETIMEDOUT: nothing is lost, and another may be asked for. On the back end's thread: must not block;
     * @request may be gone when it returns. */
    void (*done)(VvRemoteRequest *request, int result);
    void *user;
    /* the back end's */
    VvRemoteRequest *next, *previous;
    uint64_t progress_bytes, piece_bytes, deadline_ms, mark, incarnation;
    int error;
    bool answered;
};

typedef struct VvRemote VvRemote;
typedef struct {
    void (*submit)(VvRemote *remote, VvRemoteRequest *request); /* any thread, never blocks */
    uint64_t (*bytes)(VvRemote *remote);                        /* its size, as far as is known. Any thread */
    /* Why it is not reached just now: a new text, NULL if it is. Any thread. */
    char *(*trouble)(VvRemote *remote);
    /* From now on it is this disk, and nobody else's: a label that says otherwise, or a higher incarnation, ends the use of it. */
    void (*expect)(VvRemote *remote, const VvLabel *label);
    void (*free)(VvRemote *remote); /* nothing may be under way */
} VvRemoteOps;

/* The beginning of each back end. */
struct VvRemote {
    const VvRemoteOps *ops;
};

/* Connect to @path, an address (vv_is_address); what cannot be reached is tried again until @wait_ms have passed. @read_only: nothing will be written, and a medium that
 * takes no writes will do.
 * Errors: usage (no such address), io (not reached), denied (read-only), unsupported, each with a message of its own that names @path. */
VvRemote *vv_remote_open(const char *path, bool read_only, unsigned wait_ms, GError **error);
void vv_remote_free(VvRemote *remote); /* NULL: nothing */
/* Submit and wait. For threads that may; not the back end's. 0 or -errno. */
int vv_remote_do(VvRemote *remote, VvRemoteKind kind, void *data, uint64_t length_bytes, uint64_t offset);

/* Operations of a disk whose remote is set. */
extern const VvDiskOps vv_disk_remote_ops;

#endif
