/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pending: what was acknowledged and is not applied yet. A ring of records in the order of acknowledgement, which the
 * committer journals, and per region the newest state of each block, which look-ups ask before the applied map.
 *
 * Everything here needs the view's lock. */
#ifndef VV_PENDING_H
#define VV_PENDING_H

#include "engine.h"

typedef struct {
    uint64_t sequence; /* of the newest record that names the block */
    VvPlace place;     /* 0: discarded */
    uint32_t tag;      /* which side of the last switch */
    int8_t delta;      /* mapped here less mapped in the applied map */
} VvPendingBlock;

struct VvPendingRegion {
    VvPendingRegion *next; /* in the bucket, or of the spare ones */
    uint64_t region;
    uint64_t present[VV_REGION_BLOCKS / 64]; /* bit = block */
    unsigned count, capacity;
    VvPendingBlock *blocks; /* owned; those present, ascending */
};

void vv_pending_init(VvPending *pending);
/* Forgets everything; records are not told. */
void vv_pending_clear(VvPending *pending);
/* NULL: nothing of the region is pending. */
const VvPendingRegion *vv_pending_find(const VvPending *pending, uint64_t region);
/* NULL: the block is not pending. */
const VvPendingBlock *vv_pending_block(const VvPendingRegion *region, unsigned block);
/* The first region at or after @region that has pending blocks. */
bool vv_pending_next_region(const VvPending *pending, uint64_t region, uint64_t *ret_region);
/* Set the blocks of @record. @applied: one place per block, what the applied map had when last looked at. */
void vv_pending_set(VvPending *pending, const VvRecord *record, const VvPlace *applied);
/* @record was applied: forget its blocks where no newer record names them. */
void vv_pending_drop(VvPending *pending, const VvRecord *record);

/* ---- the ring of records */
void vv_records_push(VvRecordRing *ring, const VvRecord *record); /* takes its checksums */
/* The i-th oldest; i < ring->count. */
const VvRecord *vv_records_get(const VvRecordRing *ring, size_t i);
void vv_records_pop(VvRecordRing *ring);
void vv_records_clear(VvRecordRing *ring);

/* ---- how much of it there is
 * What pool->pending_bytes and pool->pending_memory count, and @view's share of the latter: a record came. view->lock held. */
void vv_pending_count(VvView *view, const VvRecord *record);
/* Records that took so much are gone. Whoever waits is woken by vv_pending_wake, which the caller calls without view->lock. */
void vv_pending_uncount(VvView *view, uint64_t data_bytes, uint64_t memory_bytes);
/* Must who changes the map through @view wait until less is pending? view->lock held. */
bool vv_pending_is_full(const VvView *view);
/* Bring back the writes that wait for the journal, if there is room again. [any] */
void vv_pending_wake(VvPool *pool);
/* Data behind it: what pool->pending_bytes counts. A discard counts as a block, since it takes memory too. */
static inline uint64_t vv_record_bytes(const VvRecord *record)
{
    return (uint64_t) (record->place ? record->count : 1) << VV_BLOCK_SHIFT;
}

/* Memory that it may take until it is applied, at most: the record with the ring's spare half, a region of its own with the fewest
 * blocks that one has, or blocks in an array with its spare half. What pool->pending_memory counts. */
#define VV_RECORD_MEMORY_BYTES 400u
#define VV_RECORD_SUMS_BYTES 32u /* least size and head of an array of checksums */
static inline uint64_t vv_record_memory(const VvRecord *record)
{
    return VV_RECORD_MEMORY_BYTES + 2 * sizeof(VvPendingBlock) * (record->count > 0 ? record->count - 1u : 0u) +
           (record->sums ? sizeof *record->sums * record->count + VV_RECORD_SUMS_BYTES : 0);
}

#endif
