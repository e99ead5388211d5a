/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of the catalog that says where data may be: disks, segments, families. Rules of use: catalog.h. */
#ifndef VV_SEGMENT_H
#define VV_SEGMENT_H

#include "disk_set.h"
#include "limits.h"
#include "util.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* For tables of what is kept in pieces of segments: free bitmaps, checksums. */
static inline guint vv_piece_key_hash(uint64_t family, uint32_t segment, uint32_t piece)
{
    uint64_t h = family * 0x9e3779b97f4a7c15u ^ ((uint64_t) segment << 32 | piece) * 0xc2b2ae3d27d4eb4fu;
    return (guint) (h >> 32 ^ h);
}

typedef enum { VV_STATE_OK, VV_STATE_DEGRADED, VV_STATE_WAITING, VV_STATE_FILLING, VV_STATE_REMOVING, VV_STATE_FAILED,
               VV_STATE_OFFLINE, VV_STATE_EVACUATING, VV_STATE_MISSING } VvState;
const char *vv_state_name(VvState state);

typedef struct {
    uint64_t id;
    VvUuid uuid;
    char *name;
    char *path;           /* on this node; relative to the pool directory if it does not begin with '/' */
    uint64_t size_bytes;  /* whole disk */
    uint64_t incarnation; /* raised when what was written and not synced may be lost */
    uint64_t created_ns;
    VvState state;
    /* not stored: derived from the segments */
    uint32_t unit_count;      /* MiB that data may use: behind the label, before the tail */
    uint32_t free_unit_count;
    uint64_t *used_units;     /* bit = MiB in use by a segment */
} VvDiskInfo;

typedef struct {
    uint64_t disk_id;
    uint32_t unit; /* first MiB on the disk's data area; byte offset = VV_LABEL_BYTES + unit MiB */
} VvCopy;

typedef enum { VV_SEGMENT_DATA, VV_SEGMENT_META } VvSegmentKind;

typedef struct {
    uint64_t family;
    uint32_t number;
    uint8_t kind;
    uint8_t shift;       /* size is 1 << shift bytes, VV_SEGMENT_SHIFT_MIN to MAX */
    uint8_t copy_count;
    VvCopy copies[VV_SEGMENT_COPIES_MAX];
    uint32_t used_blocks; /* by the applied map */
    bool dirty;           /* not stored: record differs from the checkpoint's */
} VvSegment;

static inline uint32_t vv_segment_blocks(const VvSegment *s) { return 1u << (s->shift - VV_BLOCK_SHIFT); }
/* At least: then part of it can go back to the pool. */
static inline bool vv_segment_half_empty(const VvSegment *s) { return s->used_blocks <= vv_segment_blocks(s) / 2; }
/* Is a copy of it on one of these disks (NULL: any)? */
static inline bool vv_segment_touches(const VvSegment *s, const VvDiskSet *disks)
{
    for (unsigned i = 0; i < s->copy_count; i++) {
        if (vv_disk_set_has(disks, s->copies[i].disk_id))
            return true;
    }
    return false;
}

typedef struct {
    uint64_t id;
    uint32_t next_segment;
    VvDiskSet *disks;           /* where its segments may lie, chosen when its first LUN was made; NULL: anywhere */
    uint64_t used_blocks;       /* not stored: sum over segments */
    uint64_t held_blocks;       /* not stored: sum of the segments' sizes less used */
    GPtrArray *segments;        /* not stored: VvSegment by number, NULL where returned */
    GPtrArray *branches;        /* not stored: VvBranch */
    uint64_t change_number;     /* not stored: rises with every applied change of a page or point of the family */
    uint64_t sum_blocks;        /* places with a checksum (sums.h) */
    bool has_sums;              /* not stored: there were some since the pool was opened */
    bool dirty;
} VvFamily;

#endif
