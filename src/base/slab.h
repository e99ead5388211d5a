/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of the I/O path: what reads, writes, flushes and the journal need while they run, from memory that is there already. Freeing
 * memory may need us (a page of a LUN is written back before it is free), so nothing here waits for the kernel to find some.
 *
 *     chunk      absent -> free (the kernel has given its pages) -> used (cut into objects of one class, or part of a span) -> free
 *
 *     M1  Who asks gets memory that has its pages, and makes no system call. Between vv_slab_start and vv_slab_stop chunks become free
 *         by a thread of its own alone, the filler: it may wait for the kernel, and nobody waits for it as long as something is free.
 *     M2  It keeps VV_SLAB_RESERVE_BYTES free. Where it cannot, caches do without (vv_slab_try), then writes that change the map
 *         wait for the journal (vv_slab_is_low), then no request is read (vv_slab_is_short), and the last part is for what is under
 *         way, for journalling and applying (vv_slab_get), which frees.
 *     M3  What was free for long beyond that goes back to the kernel.
 *
 * Chunks lie in one area of VV_SLAB_BYTES_MAX of address space, the first VV_SLAB_RESERVE_BYTES of which are locked, and
 * taken before others. Under a sanitizer that looks for misuse of memory everything comes from malloc.
 * Any thread; the locks inside are leaves. */
#ifndef VV_SLAB_H
#define VV_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VV_SLAB_CHUNK_BYTES (32u << 10)

/* Before the first and after the last use by threads of an open pool; counted. The first start makes the reserve. */
void vv_slab_start(void);
void vv_slab_stop(void);
/* Lock the reserve, before anything was got. The process must not fork any more, save to execute a program. Bytes that are locked. */
size_t vv_slab_lock(void);

/* @bytes, or NULL: there is none to spare. */
void *vv_slab_try(size_t bytes);
/* @bytes; waits for memory to be put if there is really none, which limits elsewhere are to prevent; after a second malloc is asked.
 * Of more than 8 KiB, and when all of VV_SLAB_BYTES_MAX is in use, what is missing comes from malloc: not for the I/O path. */
void *vv_slab_get(size_t bytes);
void *vv_slab_get0(size_t bytes); /* zeroes */
void *vv_slab_copy(const void *data, size_t bytes); /* NULL for no bytes */
/* As realloc: the content moves. @memory may be NULL. */
void *vv_slab_renew(void *memory, size_t bytes);
void vv_slab_put(void *memory); /* NULL: nothing */
/* Is so little free that who can wait should? Costs a read of memory. */
bool vv_slab_is_low(void);
bool vv_slab_is_short(void); /* so little that no more requests should begin */

/* Called by the filler, with no lock held, when it is no longer low. At most VV_SLAB_WATCHERS_MAX. After unwatch has returned it does
 * not run. */
typedef void (*VvSlabRoom)(void *user);
void vv_slab_watch(VvSlabRoom room, void *user);
void vv_slab_unwatch(VvSlabRoom room, void *user);

typedef struct {
    uint64_t resident_bytes; /* chunks that have their pages */
    uint64_t free_bytes;     /* of them */
    uint64_t grown;          /* chunks that the filler has asked the kernel for, ever */
    uint64_t waits;          /* that vv_slab_get had to make, ever */
} VvSlabStat;
void vv_slab_stat(VvSlabStat *ret_stat);
/* For tests: the kernel gives nothing any more, and what is free beyond @keep_bytes is taken away; or (SIZE_MAX) as ever. */
void vv_slab_starve(size_t keep_bytes);

#endif
