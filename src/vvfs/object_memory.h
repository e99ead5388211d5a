/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for data between other nodes and the disks: page-aligned pieces of one area whose size is its limit. Who gets none waits; nothing
 * here asks the kernel or malloc while requests run. Guarded by its owner's lock. */
#ifndef VV_OBJECT_MEMORY_H
#define VV_OBJECT_MEMORY_H

#include <glib.h>
#include <stddef.h>

typedef struct VvObjectMemory VvObjectMemory;

/* @bytes: a multiple of VV_IO_BYTES_MAX, at most 128 MiB. Pages are the kernel's until they are used first. */
VvObjectMemory *vv_object_memory_new(size_t bytes);
/* Everything was put back (asserted). NULL is allowed. */
void vv_object_memory_free(VvObjectMemory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvObjectMemory, vv_object_memory_free)
/* What @bytes take: a power of two pages. */
size_t vv_object_memory_takes(size_t bytes);
/* @bytes: 1 to VV_IO_BYTES_MAX. NULL: there is no piece so large now. */
void *vv_object_memory_get(VvObjectMemory *memory, size_t bytes);
void vv_object_memory_put(VvObjectMemory *memory, void *data);
size_t vv_object_memory_used(const VvObjectMemory *memory); /* bytes of pieces that are out */

#endif
