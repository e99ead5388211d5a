/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pending blocks and their records.
 *
 * N1  A block is present exactly as long as some record in the ring names it, and then shows the newest of them.
 * N2  used_delta is the sum of the blocks' deltas; a delta compares with the applied map as it is when the blocks' older
 *     records have been applied. A look-up that is out of date may make one wrong by one until the block is applied. */
#include "io_state.h"
#include "pending_file.h"

#define BUCKETS_MIN 16u
#define BUCKETS_KEPT 256u
#define RECORDS_KEPT 1024u
#define SPARE_MAX 64u
#define CAPACITY_MIN 8u

/* ---- regions */

void vv_pending_init(VvPending *pending)
{
    *pending = (VvPending){ .bucket_count = BUCKETS_MIN };
    pending->buckets = g_new0(VvPendingRegion *, BUCKETS_MIN);
}

static void free_region(VvPendingRegion *region)
{
    g_free(region->blocks);
    g_free(region);
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
    g_free(pending->buckets);
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
    pending->bucket_count = 2 * old_count;
    pending->buckets = g_new0(VvPendingRegion *, pending->bucket_count);
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
    g_free(old);
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
        region = g_new0(VvPendingRegion, 1);
        region->capacity = CAPACITY_MIN;
        region->blocks = g_new(VvPendingBlock, CAPACITY_MIN);
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
    g_free(pending->buckets);
    pending->bucket_count = BUCKETS_MIN;
    pending->buckets = g_new0(VvPendingRegion *, BUCKETS_MIN);
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
        region->blocks = g_renew(VvPendingBlock, region->blocks, region->capacity);
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

void vv_records_push(VvRecordRing *ring, const VvRecord *record)
{
    if (ring->count == ring->capacity) {
        size_t capacity = MAX(2 * ring->capacity, 16);
        VvRecord *records = g_new(VvRecord, capacity);
        for (size_t i = 0; i < ring->count; i++)
            records[i] = *vv_records_get(ring, i);
        g_free(ring->records);
        *ring = (VvRecordRing){ .records = records, .count = ring->count, .capacity = capacity };
    }
    ring->records[(ring->first + ring->count) & (ring->capacity - 1)] = *record;
    ring->count++;
}

const VvRecord *vv_records_get(const VvRecordRing *ring, size_t i)
{
    return &ring->records[(ring->first + i) & (ring->capacity - 1)];
}

void vv_records_pop(VvRecordRing *ring)
{
    g_assert(ring->count > 0);
    g_free(ring->records[ring->first].sums);
    ring->first = (ring->first + 1) & (ring->capacity - 1);
    ring->count--;
    if (ring->count == 0 && ring->capacity > RECORDS_KEPT)
        vv_records_clear(ring);
}

void vv_records_clear(VvRecordRing *ring)
{
    for (size_t i = 0; i < ring->count; i++)
        g_free(vv_records_get(ring, i)->sums);
    g_free(ring->records);
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

bool vv_pending_is_full(const VvView *view)
{
    return view->pending_memory >= VV_PENDING_MEMORY_PER_LUN ||
           atomic_load(&view->pool->pending_memory) >= VV_PENDING_MEMORY_MAX || is_file_full(view->pool);
}

/* Who parks is counted before it looks whether there is room, and room is made before we look whether somebody is parked: so one
 * of both sees the other. */
void vv_pending_wake(VvPool *pool)
{
    if (atomic_load(&pool->journal_waiters) == 0 || atomic_load(&pool->pending_memory) >= VV_PENDING_MEMORY_MAX)
        return;
    g_autoptr(GPtrArray) views = vv_views_all(pool);
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = g_ptr_array_index(views, i);
        VvIoList woken = { NULL, NULL };
        {
            VV_LOCKED(&view->lock);
            if (!vv_pending_is_full(view))
                vv_unpark_all(view, VV_PARK_JOURNAL, false, &woken);
        }
        vv_wake(&woken);
    }
}
