/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allocator: bitmaps of available blocks, next-fit with contiguity.
 *
 * L1  A block is handed out only if it is available, and then is not, until it was given back, freed (and has cooled), or
 *     was never written to. Nothing here waits for the store or the journal: what is missing is asked of the thread.
 * L2  piece->bits is NULL exactly when all blocks of a known piece are available, or none, or it is not known; so full
 *     and empty segments cost next to nothing.
 * L3  segment and family sums agree with the pieces. */
#include "alloc_private.h"
#include "slab.h"

#define SEARCH_RUNS_MAX 512u /* looked at before the longest seen is taken */
#define RATE_MS_MAX 5000u    /* a rate older than this says nothing */
#define RUN_BLOCKS_MAX 256u  /* as long as a request; more contiguity gains nothing */

/* ---- families and segments */

VvAllocFamily *vv_alloc_family(VvAlloc *alloc, uint64_t id)
{
    return g_hash_table_lookup(alloc->families, &id);
}

VvAllocSegment *vv_alloc_segment(const VvAllocFamily *family, uint32_t number)
{
    return family && number < family->segments->len ? g_ptr_array_index(family->segments, number) : NULL;
}

void vv_alloc_segment_free(void *data)
{
    VvAllocSegment *segment = data;
    if (segment == NULL)
        return;
    for (uint32_t i = 0; i < vv_alloc_piece_count(segment); i++)
        vv_slab_put(segment->pieces[i].bits);
    g_free(segment->pieces);
    g_free(segment);
}

static void family_free(void *data)
{
    VvAllocFamily *family = data;
    g_ptr_array_unref(family->segments);
    g_free(family);
}

VvAlloc *vv_alloc_new(VvPool *pool)
{
    VvAlloc *alloc = g_new0(VvAlloc, 1);
    alloc->pool = pool;
    vv_mutex_init_short(&alloc->lock);
    alloc->families = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, family_free);
    vv_alloc_start(alloc);
    return alloc;
}

void vv_alloc_free(VvAlloc *alloc)
{
    if (alloc == NULL)
        return;
    vv_alloc_stop(alloc);
    vv_cooling_clear(alloc);
    g_hash_table_unref(alloc->families);
    pthread_mutex_destroy(&alloc->lock);
    g_free(alloc);
}

/* ---- bits of a piece */

static bool bit_get(const VvAllocPiece *piece, uint32_t bit)
{
    if (piece->bits == NULL)
        return piece->available > 0; /* all or none: L2 */
    return piece->bits[bit / 64] >> bit % 64 & 1;
}

/* The first bit at or after @bit that is @value, at most @end. */
static uint32_t bit_find(const VvAllocPiece *piece, uint32_t bit, uint32_t end, bool value)
{
    if (piece->bits == NULL)
        return (piece->available > 0) == value ? bit : end;
    while (bit < end) {
        uint64_t word = value ? piece->bits[bit / 64] : ~piece->bits[bit / 64];
        word &= ~(uint64_t) 0 << bit % 64;
        if (word)
            return MIN(end, (bit & ~63u) + (uint32_t) __builtin_ctzll(word));
        bit = (bit & ~63u) + 64;
    }
    return end;
}

/* As many as the pool is large, so they leave the reserve alone: where the slab has none to spare malloc serves. */
uint64_t *vv_alloc_bits_new(uint32_t blocks)
{
    size_t bytes = (blocks + 63) / 64 * sizeof(uint64_t);
    uint64_t *bits = vv_slab_try(bytes);
    return memset(bits ? bits : g_malloc(bytes), 0, bytes);
}

static void bits_make(VvAllocPiece *piece, uint32_t blocks)
{
    if (piece->bits)
        return;
    piece->bits = vv_alloc_bits_new(blocks);
    if (piece->available > 0)
        for (uint32_t bit = 0; bit < blocks; bit++)
            piece->bits[bit / 64] |= (uint64_t) 1 << bit % 64;
}

/* Bits [first, first + count) of one piece. */
static void piece_set(VvAllocPiece *piece, uint32_t blocks, uint32_t first, uint32_t count, bool available)
{
    g_assert(piece->known && first + count <= blocks);
    bits_make(piece, blocks);
    for (uint32_t bit = first; bit < first + count; bit++) {
        g_assert(bit_get(piece, bit) != available); /* L1 */
        piece->bits[bit / 64] ^= (uint64_t) 1 << bit % 64;
    }
    piece->available = (uint16_t) (available ? piece->available + count : piece->available - count);
    if (piece->available == 0 || piece->available == blocks)
        g_clear_pointer(&piece->bits, vv_slab_put);
}

void vv_alloc_set(VvAllocFamily *family, VvAllocSegment *segment, uint32_t first, uint32_t count, bool available)
{
    uint32_t end = first + count;
    while (first < end) {
        uint32_t number = first / VV_PIECE_BLOCKS;
        uint32_t part = MIN(end, (number + 1) * VV_PIECE_BLOCKS) - first;
        piece_set(
            &segment->pieces[number], vv_alloc_piece_blocks(segment, number), first % VV_PIECE_BLOCKS, part, available);
        first += part;
    }
    if (available) {
        segment->available += count;
        family->available += count;
    } else {
        segment->available -= count;
        family->available -= count;
    }
}

/* How many blocks from @block on are available, at most @most. */
static uint32_t run_length(const VvAllocSegment *segment, uint32_t block, uint32_t most)
{
    uint32_t end = MIN(segment->limit, block + most), at = block;
    while (at < end) {
        const VvAllocPiece *piece = &segment->pieces[at / VV_PIECE_BLOCKS];
        uint32_t base = at - at % VV_PIECE_BLOCKS;
        uint32_t piece_end = MIN(end, base + VV_PIECE_BLOCKS);
        if (!piece->known)
            break;
        uint32_t stop = base + bit_find(piece, at - base, piece_end - base, false);
        at = stop;
        if (stop < piece_end)
            break;
    }
    return at - block;
}

bool vv_alloc_are_available(const VvAllocSegment *segment, uint32_t first, uint32_t count)
{
    return first + count <= segment->limit && run_length(segment, first, count) == count;
}

/* The first available block at or after @block; segment->limit: none. */
static uint32_t next_available(const VvAllocSegment *segment, uint32_t block)
{
    while (block < segment->limit) {
        const VvAllocPiece *piece = &segment->pieces[block / VV_PIECE_BLOCKS];
        uint32_t base = block - block % VV_PIECE_BLOCKS;
        uint32_t end = MIN(segment->limit, base + VV_PIECE_BLOCKS);
        if (piece->known && piece->available > 0) {
            uint32_t found = base + bit_find(piece, block - base, end - base, true);
            if (found < end)
                return found;
        }
        block = base + VV_PIECE_BLOCKS;
    }
    return segment->limit;
}

/* ---- searching */

typedef struct {
    uint32_t segment, block, count;
} FoundRun;

/* Runs of [from, to) of the segment; true if one of @want blocks was found, else the longest is kept. */
static bool search_segment(
    const VvAllocSegment *segment, uint32_t from, uint32_t to, uint32_t want, unsigned *budget, FoundRun *best)
{
    uint32_t block = next_available(segment, from);
    while (block < MIN(to, segment->limit) && *budget > 0) {
        uint32_t count = run_length(segment, block, want);
        (*budget)--;
        if (count > best->count)
            *best = (FoundRun){ segment->number, block, count };
        if (count == want)
            return true;
        block = next_available(segment, block + count);
    }
    return false;
}

/* Next-fit: from the cursor around; a run of @want blocks if one is near, else the longest seen. */
static FoundRun search(const VvAllocFamily *family, uint32_t want)
{
    FoundRun best = { 0 };
    unsigned budget = SEARCH_RUNS_MAX;
    uint32_t count = family->segments->len;
    for (uint32_t i = 0; i <= count && (budget > 0 || best.count == 0); i++) {
        const VvAllocSegment *segment = vv_alloc_segment(family, (family->cursor_segment + i) % count);
        if (segment == NULL || segment->available == 0)
            continue;
        uint32_t from = i == 0 ? family->cursor_block : 0;
        uint32_t to = i == count ? family->cursor_block : UINT32_MAX;
        if (search_segment(segment, from, to, want, &budget, &best))
            break;
    }
    return best;
}

/* What lies at the hint, if anything. */
static FoundRun at_hint(const VvAllocFamily *family, VvPlace hint, uint32_t want)
{
    uint32_t block = vv_place_block(hint);
    const VvAllocSegment *segment = hint ? vv_alloc_segment(family, vv_place_segment(hint)) : NULL;
    if (segment == NULL || block >= segment->limit)
        return (FoundRun){ 0 };
    return (FoundRun){ segment->number, block, run_length(segment, block, want) };
}

static void take(VvAllocFamily *family, const FoundRun *run)
{
    vv_alloc_set(family, vv_alloc_segment(family, run->segment), run->block, run->count, false);
    family->cursor_segment = run->segment;
    family->cursor_block = run->block + run->count;
}

/* ---- the rate, and asking for more */

static void count_rate(VvAllocFamily *family, uint32_t blocks, uint64_t now_ms)
{
    family->rate_blocks += blocks;
    uint64_t elapsed_ms = now_ms - family->rate_since_ms;
    if (elapsed_ms < 1000)
        return;
    family->rate = MAX(family->rate_blocks * 1000 / elapsed_ms, family->rate / 2);
    family->rate_blocks = 0;
    family->rate_since_ms = now_ms;
}

uint64_t vv_alloc_ahead(const VvAllocFamily *family, uint64_t now_ms)
{
    if (now_ms - family->rate_since_ms > RATE_MS_MAX)
        return VV_REGION_BLOCKS;
    return MAX(MAX(family->rate, family->rate_blocks), VV_REGION_BLOCKS);
}

static void ask_ahead(VvAlloc *alloc, VvAllocFamily *family, uint64_t now_ms)
{
    if (family->grant_asked || now_ms < family->grant_after_ms)
        return;
    if (family->available + family->unknown_free >= vv_alloc_ahead(family, now_ms))
        return;
    family->grant_asked = true;
    vv_alloc_signal(alloc);
}

uint32_t vv_alloc_blocks(VvAlloc *alloc, uint64_t family_id, uint32_t want, VvPlace hint, VvAllocRun *ret_runs,
    unsigned runs_max, unsigned *ret_run_count)
{
    uint32_t got = 0;
    uint64_t now_ms = vv_monotonic_ms();
    unsigned count = 0;
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    *ret_run_count = 0;
    if (family == NULL) {
        g_hash_table_add(alloc->to_load, g_memdup2(&family_id, sizeof family_id));
        vv_alloc_signal(alloc);
        return 0;
    }
    while (got < want && count < runs_max) {
        FoundRun run = at_hint(family, hint, MIN(want - got, RUN_BLOCKS_MAX));
        hint = 0;
        if (run.count == 0 && family->available > 0)
            run = search(family, MIN(want - got, RUN_BLOCKS_MAX));
        if (run.count == 0)
            break;
        take(family, &run);
        ret_runs[count++] = (VvAllocRun){ vv_place(run.segment, run.block, true), run.count };
        got += run.count;
    }
    count_rate(family, got, now_ms);
    ask_ahead(alloc, family, now_ms);
    *ret_run_count = count;
    return got;
}

/* In the newest segments first: there the others have not been yet. lock held. */
static FoundRun search_newest(const VvAllocFamily *family, uint32_t count)
{
    FoundRun best = { 0 };
    unsigned budget = SEARCH_RUNS_MAX;
    for (uint32_t i = family->segments->len; i > 0 && budget > 0; i--) {
        const VvAllocSegment *segment = vv_alloc_segment(family, i - 1);
        if (segment && segment->available >= count && search_segment(segment, 0, UINT32_MAX, count, &budget, &best))
            break;
    }
    return best;
}

bool vv_alloc_run(VvAlloc *alloc, uint64_t family_id, uint32_t count, VvPlace hint, VvPlace *ret_place)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    if (family == NULL || family->available < count)
        return false;
    FoundRun run = at_hint(family, hint, count);
    if (run.count < count)
        run = search_newest(family, count);
    if (run.count < count)
        return false;
    vv_alloc_set(family, vv_alloc_segment(family, run.segment), run.block, count, false);
    *ret_place = vv_place(run.segment, run.block, true);
    return true;
}

/* ---- giving back */

void vv_alloc_unreserve(VvAlloc *alloc, uint64_t family_id, VvPlace place, uint32_t count)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    VvAllocSegment *segment = vv_alloc_segment(family, vv_place_segment(place));
    g_assert(segment != NULL); /* what is reserved is not returned */
    vv_alloc_set(family, segment, vv_place_block(place), count, true);
    alloc->events++;
}

void vv_alloc_give_back(VvAlloc *alloc, uint64_t family, VvPlace place, uint32_t count)
{
    {
        VV_LOCKED(&alloc->lock);
        vv_cooling_add(alloc, family, vv_place_segment(place), vv_place_block(place), count);
    }
    vv_ticker_kick(alloc->pool->ticker);
}

void vv_alloc_will_free(VvAlloc *alloc)
{
    atomic_fetch_add_explicit(&alloc->events, 1, memory_order_relaxed);
}

bool vv_alloc_is_hopeless(VvAlloc *alloc, uint64_t family_id)
{
    VV_LOCKED(&alloc->lock);
    const VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    return family && family->hopeless_until_ms > vv_monotonic_ms() && family->hopeless_event == alloc->events;
}

/* ---- meta's hooks */

void vv_alloc_begin(VvAlloc *alloc)
{
    VV_LOCKED(&alloc->lock);
    g_assert(g_hash_table_size(alloc->families) == 0); /* else its pieces are older than the map */
    alloc->begun = true;
}

void vv_alloc_freed(VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count)
{
    {
        VV_LOCKED(&alloc->lock);
        if (!alloc->begun)
            return;
        vv_cooling_add(alloc, family, segment, first, count);
    }
    vv_ticker_kick(alloc->pool->ticker);
}

void vv_alloc_granted(VvAlloc *alloc, const VvSegment *granted)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, granted->family);
    alloc->events++;
    if (family == NULL)
        return; /* loading it will find the segment in the catalog */
    VvAllocSegment *segment = vv_alloc_segment_new(granted->number, vv_segment_blocks(granted));
    segment->unknown_pieces = 0;
    for (uint32_t i = 0; i < vv_alloc_piece_count(segment); i++)
        segment->pieces[i] = (VvAllocPiece){ .known = true, .available = (uint16_t) vv_alloc_piece_blocks(segment, i) };
    if (granted->number >= family->segments->len)
        g_ptr_array_set_size(family->segments, (gint) granted->number + 1);
    g_assert(g_ptr_array_index(family->segments, granted->number) == NULL);
    g_ptr_array_index(family->segments, granted->number) = segment;
    segment->available = segment->blocks;
    family->available += segment->blocks;
    family->blocks += segment->blocks;
    vv_alloc_signal(alloc); /* somebody may wait for it */
}

void vv_alloc_shrunk(VvAlloc *alloc, const VvSegment *shrunk, uint8_t old_shift)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, shrunk->family);
    VvAllocSegment *segment = vv_alloc_segment(family, shrunk->number);
    uint32_t blocks = shrunk->shift == 0 ? 0 : vv_segment_blocks(shrunk);
    (void) old_shift;
    alloc->events++;
    if (segment == NULL)
        return;
    g_assert(segment->limit <= blocks); /* it was taken out before */
    atomic_fetch_sub(&alloc->returning_blocks, segment->blocks - blocks);
    family->blocks -= segment->blocks - blocks;
    if (blocks == 0) {
        g_assert(segment->available == 0);
        family->unknown_free -= segment->unknown_free;
        g_ptr_array_index(family->segments, shrunk->number) = NULL;
        vv_alloc_segment_free(segment);
        return;
    }
    for (uint32_t i = (blocks + VV_PIECE_BLOCKS - 1) / VV_PIECE_BLOCKS; i < vv_alloc_piece_count(segment); i++)
        vv_slab_put(segment->pieces[i].bits); /* none available: NULL already, save in a piece that is cut */
    segment->blocks = blocks;
    VvAllocPiece *last = &segment->pieces[vv_alloc_piece_count(segment) - 1];
    if (last->available == vv_alloc_piece_blocks(segment, vv_alloc_piece_count(segment) - 1))
        g_clear_pointer(&last->bits, vv_slab_put); /* L2: what is left of it is all available */
}
