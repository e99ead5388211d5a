/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server of disks must not wait for memory that the kernel can only free by writing to those disks. */
#ifndef VV_MEMORY_H
#define VV_MEMORY_H

/* Before the first thread: PR_SET_IO_FLUSHER, and stacks of a bounded size for all threads to come. Does without what is
 * not permitted. */
void vv_memory_init(void);
/* Behind the last fork, before the pool is opened: what the path of I/O allocates from (slab.h) is there, and locked if that is allowed. */
void vv_memory_reserve(void);
/* When the threads are there: keep code and stacks in memory once they are touched, up to a bound, and what the I/O of this pool and mount
 * needs while memory is short (pool, mount: locked.h, fusefs.h). LMDB's map stays out: a bounded page cache stands before it. */
struct VvPool;
struct VvFuse;
void vv_memory_lock(struct VvPool *pool, struct VvFuse *fuse);

/* Of the holder: so little that all of it can be kept in memory. And PR_SET_IO_FLUSHER, which those that it starts inherit. */
void vv_memory_hold(void);

#endif
