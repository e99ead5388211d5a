/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allocator and grants of segments. For src/engine: see engine.h. */
#ifndef VV_ALLOC_H
#define VV_ALLOC_H

#include "io.h"
#include "meta.h"

/* ---- allocator: inside the family's segments; the bitmap "not available" = applied | reserved | cooling */
typedef struct VvAlloc VvAlloc;
#define VV_GRANTS_PER_ENTRY_MAX 16u
VvAlloc *vv_alloc_new(VvPool *pool);
void vv_alloc_free(VvAlloc *alloc);
/* Up to @want blocks near @hint (a place, 0: none) as runs that never cross a segment; at most @runs_max. Returns blocks got
 * (0: none now). Asks the committer for a grant when the family runs low. Any thread. */
typedef struct { VvPlace place; uint32_t count; } VvAllocRun;
uint32_t vv_alloc_blocks(VvAlloc *alloc, uint64_t family, uint32_t want, VvPlace hint, VvAllocRun *ret_runs, unsigned runs_max,
                         unsigned *ret_run_count);
/* One run of @count blocks (at most VV_REGION_BLOCKS), if one is found near @hint or in the newest segments; does not disturb where the others
 * go on, and asks for no grant. Any thread. */
bool vv_alloc_run(VvAlloc *alloc, uint64_t family, uint32_t count, VvPlace hint, VvPlace *ret_place);
/* Blocks that were allocated and never published (a failed write): usable again after their era. */
void vv_alloc_give_back(VvAlloc *alloc, uint64_t family, VvPlace place, uint32_t count);
/* A request of the family that wants so many blocks is parked for space: find some, or tell it that there is none (alloc_space.c). */
void vv_alloc_want(VvAlloc *alloc, uint64_t family, uint32_t blocks);
/* The same, but its disk had no space below for the places that there were: it is tried again in a moment. */
void vv_alloc_want_later(VvAlloc *alloc, uint64_t family);
/* A grant for anybody who builds an entry. Begin (zeroed) with the first vv_grant_add, which takes pool->grant_lock, because where
 * space is free is known only when the entry before is applied; vv_grants_end, when the entry was applied or given up, releases it.
 * Adds one SEGMENT_GRANT of at most 1 << @shift bytes (smaller if the pool is low or cut up); false: no space at all. @family may
 * be made by the same entry: then its first @number is 0. Waits for returned space to be punched. Takes the read lock. */
typedef struct {
    VvCopy copies[VV_GRANTS_PER_ENTRY_MAX];
    uint8_t shifts[VV_GRANTS_PER_ENTRY_MAX];
    unsigned count;
    bool locked;
    const VvDiskSet *disks; /* set by the caller: the family's, borrowed; NULL: any */
} VvGrants;
bool vv_grant_add(VvPool *pool, VvGrants *grants, VvOps *ops, uint64_t family, uint32_t number, uint8_t shift);
void vv_grants_end(VvPool *pool, VvGrants *grants);
/* For who gives space back: take the blocks of the segment behind 1 << @shift bytes (0: all of it) out of the allocator, if none
 * is used, reserved or cooling, nor needed soon by a family that writes fast, and punch them on the disk. True: the caller
 * logs SEGMENT_SHRINK to @shift next, and if that fails puts them back. Blocks; takes the read lock. */
bool vv_alloc_take_out(VvAlloc *alloc, uint64_t family, uint32_t segment, uint8_t shift);
void vv_alloc_put_back(VvAlloc *alloc, uint64_t family, uint32_t segment);
/* Free bytes of the pool's disks changed from outside (disk added, grown): parked requests try again. [any] */
void vv_alloc_space_changed(VvAlloc *alloc);
/* The map is up to date: whatever is freed from now on may still be looked at by somebody here. What was freed by the entries before, which a
 * predecessor had written, was perhaps used again by later ones; only the map tells. Before anything is allocated or adopted. */
void vv_alloc_begin(VvAlloc *alloc);
/* From meta's hooks. */
void vv_alloc_freed(VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count);
void vv_alloc_granted(VvAlloc *alloc, const VvSegment *segment);
void vv_alloc_shrunk(VvAlloc *alloc, const VvSegment *segment, uint8_t old_shift);
/* Make what has cooled usable; punch holes of long runs first (job thread). */
void vv_alloc_cool(VvAlloc *alloc);
uint64_t vv_alloc_cooling_bytes(VvAlloc *alloc);

#endif
