/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mount that outlives the process which serves it: what must be kept, and how a successor takes it over.
 *
 *     what                        where it is kept                                      who keeps it
 *     the kernel's connection     descriptors of /dev/fuse, root and clones             a process that holds them
 *     what INIT said              VvFuseConnection.init: played again to libfuse        the same
 *     open files                  a memfd, a record each (opens.h)                      the same
 *     requests not answered       the kernel: it sends them again when asked (RESEND)   the kernel, Linux >= 6.9
 *     what they did already       the journal: request ids (again.h)                    the pool
 *
 * Nodes need nothing: their numbers are objects' (nodes.h), and look-ups are not counted. */
#ifndef VV_SURVIVAL_H
#define VV_SURVIVAL_H

#include "limits.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VV_FUSE_INIT_BYTES_MAX 256u /* a header of 40 bytes and fuse_init_in of 64, with room */
#define VV_FUSE_CLONES_MAX (2u * VV_WORKERS_MAX)

/* As shared between two versions of the program: hold.h's magic changes with it. */
typedef struct {
    int32_t root_fd;
    int32_t clone_fds[VV_FUSE_CLONES_MAX]; /* of each worker the blocking and the non-blocking one */
    uint32_t clone_count;
    uint32_t device_minor; /* of the mount, 0 unknown */
    uint32_t can_resend;   /* the kernel has RESEND */
    uint32_t init_bytes;
    uint8_t init[VV_FUSE_INIT_BYTES_MAX];
} VvFuseConnection;

/* The ids of objects that are open, and so must live, of the memfd of opens of a mount that is to be taken over: of uint64_t. */
GArray *vv_fuse_open_objects(int opens_fd);
/* How large the memfd must be. */
#define VV_OPENS_FILE_BYTES (4096u + 32ull * (1u << 20))

#endif
