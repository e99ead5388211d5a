/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page cache: what views see of applied regions, as runs of places, in stripes.
 *
 * P1  All epochs of one (branch, region) are in one bucket of one stripe, so that one invalidation reaches them.
 * P2  A look-up remembers the stripe's version before it looks; an invalidation raises it, and so does a refresh; a put of an
 *     older version does nothing. So what is in the cache was true at some time after the last change that was told.
 * P3  A refresh replaces the head's entry, with the catalog's write lock held, by the page that the map has from then on. It
 *     makes no entry: what nobody looks at does not push out what somebody does. Its key is above every epoch that a
 *     snapshot is read at (R1), so other epochs' entries stay as true as they were.
 *
 * P4  Where there is no memory to spare (slab.h) what is not there is not put, and what changes is forgotten.
 *
 * A run is one word: bits 0-37 the first block's address, 38 own, 39-46 first block of the region, 47-54 blocks less 1. */
#include "engine.h"
#include "slab.h"

#include <stdlib.h>
#include <sys/mman.h>

#define STRIPES 16u
#define BUCKETS 2048u /* per stripe: some 5 entries each when the cache is full of the smallest */

#define RUN_OWN_SHIFT 38
#define RUN_FIRST_SHIFT 39
#define RUN_COUNT_SHIFT 47

typedef uint64_t CachedRun;

typedef struct CacheEntry CacheEntry;
struct CacheEntry {
    CacheEntry *next;          /* in the bucket */
    CacheEntry *newer, *older; /* in the order of use */
    uint64_t branch, epoch, region;
    VvCachedPage info;
    unsigned run_count;
    CachedRun runs[];
};

typedef struct {
    _Alignas(64) pthread_mutex_t lock;
    uint64_t version;
    uint64_t bytes;
    CacheEntry *newest, *oldest;
    CacheEntry *buckets[BUCKETS];
} CacheStripe;

struct VvPageCache {
    uint64_t stripe_bytes_max;
    CacheStripe stripes[STRIPES];
};

VvPageCache *vv_page_cache_new(uint64_t bytes_max)
{
    VvPageCache *cache = aligned_alloc(_Alignof(VvPageCache), sizeof *cache);
    g_assert(cache != NULL);
    memset(cache, 0, sizeof *cache);
    cache->stripe_bytes_max = bytes_max / STRIPES;
    for (unsigned i = 0; i < STRIPES; i++)
        vv_mutex_init_short(&cache->stripes[i].lock);
    return cache;
}

void vv_page_cache_free(VvPageCache *cache)
{
    if (cache == NULL)
        return;
    for (unsigned i = 0; i < STRIPES; i++) {
        CacheEntry *entry = cache->stripes[i].newest;
        while (entry) {
            CacheEntry *older = entry->older;
            vv_slab_put(entry);
            entry = older;
        }
        pthread_mutex_destroy(&cache->stripes[i].lock);
    }
    free(cache);
}

size_t vv_page_cache_lock(VvPageCache *cache)
{
    return mlock(cache, sizeof *cache) == 0 ? sizeof *cache : 0;
}

/* P1 */
static uint64_t hash(uint64_t branch, uint64_t region)
{
    uint64_t h = (branch * 0x9e3779b97f4a7c15u) ^ (region * 0xc2b2ae3d27d4eb4fu);
    return h ^ h >> 29;
}

static CacheStripe *stripe_of(VvPageCache *cache, uint64_t branch, uint64_t region)
{
    return &cache->stripes[hash(branch, region) % STRIPES];
}

static CacheEntry **bucket_of(CacheStripe *stripe, uint64_t branch, uint64_t region)
{
    return &stripe->buckets[hash(branch, region) / STRIPES % BUCKETS];
}

/* With what the allocator adds. */
static uint64_t entry_bytes(const CacheEntry *entry)
{
    return sizeof *entry + entry->run_count * sizeof *entry->runs + 16;
}

static void unlink_use(CacheStripe *stripe, CacheEntry *entry)
{
    *(entry->newer ? &entry->newer->older : &stripe->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &stripe->oldest) = entry->newer;
}

static void link_newest(CacheStripe *stripe, CacheEntry *entry)
{
    entry->newer = NULL;
    entry->older = stripe->newest;
    *(stripe->newest ? &stripe->newest->newer : &stripe->oldest) = entry;
    stripe->newest = entry;
}

/* @link points at it. */
static void drop(CacheStripe *stripe, CacheEntry **link)
{
    CacheEntry *entry = *link;
    *link = entry->next;
    unlink_use(stripe, entry);
    stripe->bytes -= entry_bytes(entry);
    vv_slab_put(entry);
}

static CacheEntry **find(CacheStripe *stripe, uint64_t branch, uint64_t epoch, uint64_t region)
{
    CacheEntry **link = bucket_of(stripe, branch, region);
    while (*link && !((*link)->branch == branch && (*link)->region == region && (*link)->epoch == epoch))
        link = &(*link)->next;
    return link;
}

static CachedRun make_run(VvPlace place, unsigned first, unsigned count)
{
    return (place & VV_PLACE_ADDRESS_MASK) | (uint64_t) vv_place_own(place) << RUN_OWN_SHIFT |
           (uint64_t) first << RUN_FIRST_SHIFT | (uint64_t) (count - 1) << RUN_COUNT_SHIFT;
}

static VvPlace run_place(CachedRun run)
{
    return VV_PLACE_MAPPED | (run & VV_PLACE_ADDRESS_MASK) | (run >> RUN_OWN_SHIFT & 1 ? VV_PLACE_OWN : 0);
}

static unsigned run_first(CachedRun run)
{
    return run >> RUN_FIRST_SHIFT & 0xff;
}

static unsigned run_count(CachedRun run)
{
    return (run >> RUN_COUNT_SHIFT & 0xff) + 1;
}

static void copy_places(const CacheEntry *entry, unsigned first, unsigned count, VvPlace *ret_places)
{
    memset(ret_places, 0, count * sizeof *ret_places);
    for (unsigned i = 0; i < entry->run_count; i++) {
        CachedRun run = entry->runs[i];
        unsigned begin = MAX(run_first(run), first);
        unsigned end = MIN(run_first(run) + run_count(run), first + count);
        for (unsigned block = begin; block < end; block++)
            ret_places[block - first] = vv_place_after(run_place(run), block - run_first(run));
    }
}

bool vv_page_cache_get(VvPageCache *cache, uint64_t branch, uint64_t epoch, uint64_t region, unsigned first,
    unsigned count, VvCachedPage *ret_info, VvPlace *ret_places)
{
    CacheStripe *stripe = stripe_of(cache, branch, region);
    VV_LOCKED(&stripe->lock);
    CacheEntry *entry = *find(stripe, branch, epoch, region);
    if (entry == NULL)
        return false;
    if (entry != stripe->newest) {
        unlink_use(stripe, entry);
        link_newest(stripe, entry);
    }
    *ret_info = entry->info;
    copy_places(entry, first, count, ret_places);
    return true;
}

uint64_t vv_page_cache_version(VvPageCache *cache, uint64_t branch, uint64_t region)
{
    CacheStripe *stripe = stripe_of(cache, branch, region);
    VV_LOCKED(&stripe->lock);
    return stripe->version;
}

/* Runs of @page into @ret_runs (VV_REGION_BLOCKS of them); returns how many. */
static unsigned make_runs(const VvPage *page, CachedRun *ret_runs)
{
    unsigned count = 0;
    for (unsigned block = 0; block < VV_REGION_BLOCKS;) {
        unsigned end = block + 1;
        if (page->place[block] == 0) {
            block++;
            continue;
        }
        while (end < VV_REGION_BLOCKS && page->place[end] == vv_place_after(page->place[block], end - block) &&
               vv_place_segment(page->place[end]) == vv_place_segment(page->place[block]))
            end++;
        ret_runs[count++] = make_run(page->place[block], block, end - block);
        block = end;
    }
    return count;
}

static void drop_oldest(CacheStripe *stripe)
{
    drop(stripe, find(stripe, stripe->oldest->branch, stripe->oldest->epoch, stripe->oldest->region));
}

/* Instead of the one with the same key. @like: all of it but the runs. P4 */
static void insert(VvPageCache *cache, CacheStripe *stripe, const CacheEntry *like, const CachedRun *runs)
{
    CacheEntry **old = find(stripe, like->branch, like->epoch, like->region);
    if (*old)
        drop(stripe, old);
    CacheEntry *entry = vv_slab_try(sizeof *entry + like->run_count * sizeof *runs);
    if (entry == NULL && stripe->oldest) {
        drop_oldest(stripe);
        entry = vv_slab_try(sizeof *entry + like->run_count * sizeof *runs);
    }
    if (entry == NULL)
        return;
    memcpy(entry, like, sizeof *entry);
    memcpy(entry->runs, runs, like->run_count * sizeof *runs);
    CacheEntry **bucket = bucket_of(stripe, entry->branch, entry->region);
    entry->next = *bucket;
    *bucket = entry;
    link_newest(stripe, entry);
    stripe->bytes += entry_bytes(entry);
    while (stripe->bytes > cache->stripe_bytes_max && stripe->oldest != entry)
        drop_oldest(stripe);
}

void vv_page_cache_put(VvPageCache *cache, uint64_t version, uint64_t branch, uint64_t epoch, uint64_t region,
    const VvCachedPage *info, const VvPage *page)
{
    CachedRun runs[VV_REGION_BLOCKS];
    CacheEntry like = { .branch = branch, .epoch = epoch, .region = region, .info = *info };
    like.run_count = info->present ? make_runs(page, runs) : 0;
    CacheStripe *stripe = stripe_of(cache, branch, region);
    VV_LOCKED(&stripe->lock);
    if (stripe->version == version) /* P2 */
        insert(cache, stripe, &like, runs);
}

void vv_page_cache_refresh(VvPageCache *cache, uint64_t family, const VvPageKey *key, const VvPage *page)
{
    CachedRun runs[VV_REGION_BLOCKS];
    CacheEntry like = { .branch = key->branch, .epoch = UINT64_MAX, .region = key->region };
    like.info = (VvCachedPage){ .present = true, .key = *key, .family = family };
    like.run_count = make_runs(page, runs);
    CacheStripe *stripe = stripe_of(cache, key->branch, key->region);
    VV_LOCKED(&stripe->lock);
    stripe->version++;
    if (*find(stripe, key->branch, UINT64_MAX, key->region)) /* P3 */
        insert(cache, stripe, &like, runs);
}

void vv_page_cache_invalidate(VvPageCache *cache, uint64_t branch, uint64_t region)
{
    CacheStripe *stripe = stripe_of(cache, branch, region);
    VV_LOCKED(&stripe->lock);
    stripe->version++;
    CacheEntry **link = bucket_of(stripe, branch, region);
    while (*link) {
        if ((*link)->branch == branch && (*link)->region == region)
            drop(stripe, link);
        else
            link = &(*link)->next;
    }
}
