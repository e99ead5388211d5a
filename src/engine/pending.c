/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pending blocks and their records.
 *
 * N1  A block is present exactly as long as some record in the ring names it, and then shows the newest of them.
 * N2  used_delta is the sum of the blocks' deltas; a delta compares with the applied map as it is when the blocks' older
 *     records have been applied. A look-up that is out of date may make one wrong by one until the block is applied. */
#include "io_state.h"
#include "pending_file.h"
#include "slab.h"

#define BUCKETS_MIN 16u
#define BUCKETS_KEPT 256u
#define RECORD_BLOCKS_KEPT 8u /* pointers */
#define SPARE_MAX 64u
#define CAPACITY_MIN 8u

/* ---- regions */

void vv_pending_init(VvPending *pending)
{
    *pending = (VvPending){ .bucket_count = BUCKETS_MIN };
    pending->buckets = vv_slab_get0(BUCKETS_MIN * sizeof *pending->buckets);
}

static void free_region(VvPendingRegion *region)
{
    vv_slab_put(region->blocks);
    vv_slab_put(region);
}

static void free_chain(VvPendingRegion *region)
{
    while (region) {
        VvPendingRegion *next = region->next;
        free_region(region);
        region = next;
    }
}

void vv_pending_clear(VvPending *pending)
{
    for (unsigned i = 0; i < pending->bucket_count; i++)
        free_chain(pending->buckets[i]);
    free_chain(pending->spare);
    vv_slab_put(pending->buckets);
    *pending = (VvPending){ .bucket_count = 0 };
}

static VvPendingRegion **find_link(const VvPending *pending, uint64_t region)
{
    VvPendingRegion **link = &pending->buckets[region & (pending->bucket_count - 1)];
    while (*link && (*link)->region != region)
        link = &(*link)->next;
    return link;
}

const VvPendingRegion *vv_pending_find(const VvPending *pending, uint64_t region)
{
    return pending->region_count > 0 ? *find_link(pending, region) : NULL;
}

bool vv_pending_next_region(const VvPending *pending, uint64_t region, uint64_t *ret_region)
{
    bool found = false;
    for (unsigned i = 0; i < pending->bucket_count; i++)
        for (const VvPendingRegion *r = pending->buckets[i]; r; r = r->next)
            if (r->region >= region && (!found || r->region < *ret_region)) {
                *ret_region = r->region;
                found = true;
            }
    return found;
}

static void grow_buckets(VvPending *pending)
{
    VvPendingRegion **old = pending->buckets;
    unsigned old_count = pending->bucket_count;
    VvPendingRegion **buckets = vv_slab_try(2 * old_count * sizeof *buckets);
    if (buckets == NULL)
        return; /* longer chains */
    pending->bucket_count = 2 * old_count;
    pending->buckets = memset(buckets, 0, pending->bucket_count * sizeof *buckets);
    for (unsigned i = 0; i < old_count; i++) {
        VvPendingRegion *region = old[i];
        while (region) {
            VvPendingRegion *next = region->next;
            VvPendingRegion **bucket = &pending->buckets[region->region & (pending->bucket_count - 1)];
            region->next = *bucket;
            *bucket = region;
            region = next;
        }
    }
    vv_slab_put(old);
}

static VvPendingRegion *get_region(VvPending *pending, uint64_t number)
{
    VvPendingRegion **link = find_link(pending, number);
    if (*link)
        return *link;
    if (pending->region_count >= 2 * pending->bucket_count) {
        grow_buckets(pending);
        link = find_link(pending, number);
    }
    VvPendingRegion *region = pending->spare;
    if (region) {
        pending->spare = region->next;
        pending->spare_count--;
    } else {
        region = vv_slab_get0(sizeof *region);
        region->capacity = CAPACITY_MIN;
        region->blocks = vv_slab_get(CAPACITY_MIN * sizeof *region->blocks);
    }
    region->region = number;
    region->next = NULL;
    *link = region;
    pending->region_count++;
    return region;
}

/* Nothing is pending: what a burst made grow does not stay. */
static void shrink_buckets(VvPending *pending)
{
    if (pending->region_count > 0 || pending->bucket_count <= BUCKETS_KEPT)
        return;
    vv_slab_put(pending->buckets);
    pending->bucket_count = BUCKETS_MIN;
    pending->buckets = vv_slab_get0(BUCKETS_MIN * sizeof *pending->buckets);
}

static void put_region_if_empty(VvPending *pending, VvPendingRegion *region)
{
    if (region->count > 0)
        return;
    VvPendingRegion **link = find_link(pending, region->region);
    *link = region->next;
    pending->region_count--;
    if (pending->spare_count == SPARE_MAX) {
        free_region(region);
        return;
    }
    region->next = pending->spare;
    pending->spare = region;
    pending->spare_count++;
}

/* ---- blocks of a region */

static bool is_present(const VvPendingRegion *region, unsigned block)
{
    return region->present[block / 64] >> block % 64 & 1;
}

/* How many present blocks are below @block: its index. */
static unsigned rank(const VvPendingRegion *region, unsigned block)
{
    unsigned below = (unsigned) __builtin_popcountll(region->present[block / 64] & (((uint64_t) 1 << block % 64) - 1));
    for (unsigned i = 0; i < block / 64; i++)
        below += (unsigned) __builtin_popcountll(region->present[i]);
    return below;
}

const VvPendingBlock *vv_pending_block(const VvPendingRegion *region, unsigned block)
{
    return is_present(region, block) ? &region->blocks[rank(region, block)] : NULL;
}

static VvPendingBlock *insert_block(VvPendingRegion *region, unsigned block)
{
    unsigned at = rank(region, block);
    if (region->count == region->capacity) {
        region->capacity = MIN(2 * region->capacity, VV_REGION_BLOCKS);
        region->blocks = vv_slab_renew(region->blocks, region->capacity * sizeof *region->blocks);
    }
    memmove(&region->blocks[at + 1], &region->blocks[at], (region->count - at) * sizeof *region->blocks);
    region->present[block / 64] |= (uint64_t) 1 << block % 64;
    region->count++;
    return &region->blocks[at];
}

static void remove_block(VvPendingRegion *region, unsigned block)
{
    unsigned at = rank(region, block);
    region->count--;
    memmove(&region->blocks[at], &region->blocks[at + 1], (region->count - at) * sizeof *region->blocks);
    region->present[block / 64] &= ~((uint64_t) 1 << block % 64);
}

static void set_delta(VvPending *pending, VvPendingBlock *block, int applied)
{
    int delta = (block->place != 0) - applied;
    pending->used_delta += delta - block->delta;
    block->delta = (int8_t) delta;
}

void vv_pending_set(VvPending *pending, const VvRecord *record, const VvPlace *applied)
{
    if (record->count == 0)
        return;
    VvPendingRegion *region = get_region(pending, record->region);
    for (unsigned i = 0; i < record->count; i++) {
        unsigned number = record->first + i;
        VvPendingBlock *block;
        int base;
        if (is_present(region, number)) {
            block = &region->blocks[rank(region, number)];
            base = (block->place != 0) - block->delta;
        } else {
            block = insert_block(region, number);
            block->delta = 0;
            base = applied[i] != 0;
        }
        block->sequence = record->sequence;
        block->place = vv_place_after(record->place, i);
        block->tag = record->tag;
        set_delta(pending, block, base);
    }
}

void vv_pending_drop(VvPending *pending, const VvRecord *record)
{
    if (record->count == 0)
        return;
    VvPendingRegion *region = *find_link(pending, record->region);
    g_assert(region != NULL); /* N1 */
    for (unsigned i = 0; i < record->count; i++) {
        unsigned number = record->first + i;
        g_assert(is_present(region, number)); /* N1 */
        VvPendingBlock *block = &region->blocks[rank(region, number)];
        if (block->sequence == record->sequence) {
            pending->used_delta -= block->delta;
            remove_block(region, number);
        } else {
            set_delta(pending, block, record->place != 0);
        }
    }
    put_region_if_empty(pending, region);
    shrink_buckets(pending);
}

/* ---- records */

/* The place of the record that is @at behind the first place of the first block. */
static VvRecord *record_place(const VvRecordRing *ring, size_t at)
{
    return &ring->blocks[(ring->first_block + at / VV_RECORDS_PER_BLOCK) & (ring->capacity - 1)][at % VV_RECORDS_PER_BLOCK];
}

/* More room for pointers to blocks; the first one comes to the front. */
static void grow_ring(VvRecordRing *ring, size_t block_count)
{
    size_t capacity = MAX(2 * ring->capacity, RECORD_BLOCKS_KEPT);
    VvRecord **blocks = vv_slab_get(capacity * sizeof *blocks);
    for (size_t i = 0; i < block_count; i++)
        blocks[i] = ring->blocks[(ring->first_block + i) & (ring->capacity - 1)];
    vv_slab_put(ring->blocks);
    ring->blocks = blocks;
    ring->capacity = capacity;
    ring->first_block = 0;
}

void vv_records_push(VvRecordRing *ring, const VvRecord *record)
{
    size_t at = ring->first + ring->count, block = at / VV_RECORDS_PER_BLOCK;
    if (block == ring->block_count) {
        if (block == ring->capacity)
            grow_ring(ring, block);
        ring->blocks[(ring->first_block + block) & (ring->capacity - 1)] =
            vv_slab_get(VV_RECORDS_PER_BLOCK * sizeof(VvRecord));
        ring->block_count++;
    }
    *record_place(ring, at) = *record;
    ring->count++;
}

const VvRecord *vv_records_get(const VvRecordRing *ring, size_t i)
{
    return record_place(ring, ring->first + i);
}

void vv_records_pop(VvRecordRing *ring)
{
    g_assert(ring->count > 0);
    vv_slab_put(record_place(ring, ring->first)->sums);
    ring->first++;
    ring->count--;
    if (ring->count == 0 && ring->capacity > RECORD_BLOCKS_KEPT) {
        vv_records_clear(ring);
    } else if (ring->count == 0 && ring->block_count == 1) {
        ring->first = 0; /* who writes and flushes in turns stays in one block */
    } else if (ring->first == VV_RECORDS_PER_BLOCK) {
        vv_slab_put(ring->blocks[ring->first_block]);
        ring->first_block = (ring->first_block + 1) & (ring->capacity - 1);
        ring->block_count--;
        ring->first = 0;
    }
}

void vv_records_clear(VvRecordRing *ring)
{
    for (size_t i = 0; i < ring->count; i++)
        vv_slab_put(record_place(ring, ring->first + i)->sums);
    for (size_t i = 0; i < ring->block_count; i++)
        vv_slab_put(ring->blocks[(ring->first_block + i) & (ring->capacity - 1)]);
    vv_slab_put(ring->blocks);
    *ring = (VvRecordRing){ .count = 0 };
}

/* ---- how much there is */

void vv_pending_count(VvView *view, const VvRecord *record)
{
    VvPool *pool = view->pool;
    uint64_t bytes = vv_record_bytes(record), memory_bytes = vv_record_memory(record);
    uint64_t before = atomic_fetch_add_explicit(&pool->pending_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->pending_memory, memory_bytes, memory_order_relaxed);
    view->pending_memory += memory_bytes;
    if (before < VV_PENDING_BYTES_MAX && before + bytes >= VV_PENDING_BYTES_MAX)
        vv_ticker_rush(pool->ticker);
}

void vv_pending_uncount(VvView *view, uint64_t data_bytes, uint64_t memory_bytes)
{
    VvPool *pool = view->pool;
    g_assert(view->pending_memory >= memory_bytes);
    view->pending_memory -= memory_bytes;
    atomic_fetch_sub(&pool->pending_bytes, data_bytes);
    atomic_fetch_sub(&pool->pending_memory, memory_bytes);
}

static bool is_file_full(const VvPool *pool)
{
    return pool->pending_file && vv_pending_file_free_count(pool->pending_file) < VV_PENDING_SLOTS_SPARE;
}

/* Of memory: at the limit, or while little is free and journalling what is pending brings some. What it cannot bring back is no reason
 * to wait: then each write waits for the one before it, and all go on. */
static bool is_memory_full(const VvPool *pool)
{
    uint64_t bytes = atomic_load(&pool->pending_memory);
    return bytes >= VV_PENDING_MEMORY_MAX || (bytes > 0 && vv_slab_is_low());
}

bool vv_pending_is_full(const VvView *view)
{
    return view->pending_memory >= VV_PENDING_MEMORY_PER_LUN || is_memory_full(view->pool) || is_file_full(view->pool);
}

/* Who parks is counted before it looks whether there is room, and room is made before we look whether somebody is parked: so one
 * of both sees the other. */
void vv_pending_wake(VvPool *pool)
{
    if (atomic_load(&pool->journal_waiters) == 0 || is_memory_full(pool))
        return;
    g_autoptr(VvViewList) views = vv_views_all(pool);
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        VvIoList woken = { NULL, NULL };
        {
            VV_LOCKED(&view->lock);
            if (!vv_pending_is_full(view))
                vv_unpark_all(view, VV_PARK_JOURNAL, false, &woken);
        }
        vv_wake(&woken);
    }
}
