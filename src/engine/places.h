/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where places are, and when nobody looks at them any more. For src/engine: see engine.h. */
#ifndef VV_PLACES_H
#define VV_PLACES_H

#include "io.h"
#include "meta.h"

/* ---- resolver (DESIGN section 10): places to disks. Loops over runs even when there is one. */
typedef enum { VV_FOR_READ, VV_FOR_WRITE, VV_FOR_SYNC, VV_FOR_DISCARD } VvPurpose;
typedef struct {
    VvDisk *disk; /* borrowed; disks leave only when they hold no segment */
    unsigned disk_slot; /* index in pool->disks, bit in disk sets */
    uint64_t offset_bytes;
    uint32_t length_bytes;
} VvRun;
/* @ret_runs has room for VV_SEGMENT_COPIES_MAX. Returns the count (copies for WRITE, one for READ), or -EUCLEAN if the
 * segment is unknown. Source: a table of segments that the engine keeps from meta's hooks; takes a leaf lock. */
int vv_resolve(VvPool *pool, uint64_t family, uint32_t segment, uint32_t block, uint32_t count_blocks, VvPurpose purpose,
               VvRun *ret_runs);
typedef struct VvSegmentTable VvSegmentTable;
/* Of all segments in the catalog: when the disks are open, before the first request. Takes the read lock. */
VvSegmentTable *vv_segments_new(VvPool *pool);
void vv_segments_disks_changed(VvPool *pool); /* while nobody uses it */
void vv_segments_free(VvSegmentTable *table);
/* From meta's hooks. */
void vv_segments_granted(VvPool *pool, const VvSegment *segment);
void vv_segments_shrunk(VvPool *pool, const VvSegment *segment, uint8_t old_shift);

/* ---- eras (I4): every request that may use a place enters before its look-up and leaves after its last disk I/O */
#define VV_ERAS 8u
typedef struct VvEras VvEras;
VvEras *vv_eras_new(void);
void vv_eras_free(VvEras *eras);
uint32_t vv_era_enter(VvPool *pool);             /* returns the slot to leave */
void vv_era_leave(VvPool *pool, uint32_t slot);  /* any thread */
/* A tag for what was freed now, and whether everything that began before that tag has ended. */
uint64_t vv_era_tag(VvPool *pool);
bool vv_era_passed(VvPool *pool, uint64_t tag);

#endif
