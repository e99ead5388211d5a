/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page cache: what views see of applied regions, as runs of places, in stripes.
 *
 * P1  All epochs of one (branch, region) are in one bucket of one stripe, so that one invalidation reaches them.
 * P2  A look-up remembers the stripe's version before it looks; an invalidation raises it; a put of an older version does
 *     nothing. So what is in the cache was true at some time after the last change that was told. */
#include "engine.h"

#include <stdlib.h>

#define STRIPES 16u
#define BUCKETS 256u /* per stripe */

typedef struct {
    VvPlace place;
    uint16_t count;
    uint8_t first;
} CachedRun;

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
        pthread_mutex_init(&cache->stripes[i].lock, NULL);
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
            g_free(entry);
            entry = older;
        }
        pthread_mutex_destroy(&cache->stripes[i].lock);
    }
    free(cache);
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
    g_free(entry);
}

static CacheEntry **find(CacheStripe *stripe, uint64_t branch, uint64_t epoch, uint64_t region)
{
    CacheEntry **link = bucket_of(stripe, branch, region);
    while (*link && !((*link)->branch == branch && (*link)->region == region && (*link)->epoch == epoch))
        link = &(*link)->next;
    return link;
}

static void copy_places(const CacheEntry *entry, unsigned first, unsigned count, VvPlace *ret_places)
{
    memset(ret_places, 0, count * sizeof *ret_places);
    for (unsigned i = 0; i < entry->run_count; i++) {
        const CachedRun *run = &entry->runs[i];
        unsigned begin = MAX(run->first, first);
        unsigned end = MIN(run->first + (unsigned) run->count, first + count);
        for (unsigned block = begin; block < end; block++)
            ret_places[block - first] = vv_place_after(run->place, block - run->first);
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
    for (unsigned block = 0; block < VV_REGION_BLOCKS; block++) {
        VvPlace place = page->place[block];
        CachedRun *last = count > 0 ? &ret_runs[count - 1] : NULL;
        if (place == 0)
            continue;
        if (last && last->first + (unsigned) last->count == block && vv_place_after(last->place, last->count) == place)
            last->count++;
        else
            ret_runs[count++] = (CachedRun){ .place = place, .count = 1, .first = (uint8_t) block };
    }
    return count;
}

void vv_page_cache_put(VvPageCache *cache, uint64_t version, uint64_t branch, uint64_t epoch, uint64_t region,
    const VvCachedPage *info, const VvPage *page)
{
    CachedRun runs[VV_REGION_BLOCKS];
    unsigned run_count = info->present ? make_runs(page, runs) : 0;
    CacheEntry *entry = g_malloc(sizeof *entry + run_count * sizeof *runs);
    *entry = (CacheEntry){ .branch = branch, .epoch = epoch, .region = region, .info = *info, .run_count = run_count };
    memcpy(entry->runs, runs, run_count * sizeof *runs);

    CacheStripe *stripe = stripe_of(cache, branch, region);
    VV_LOCKED(&stripe->lock);
    if (stripe->version != version) { /* P2 */
        g_free(entry);
        return;
    }
    CacheEntry **old = find(stripe, branch, epoch, region);
    if (*old)
        drop(stripe, old);
    CacheEntry **bucket = bucket_of(stripe, branch, region);
    entry->next = *bucket;
    *bucket = entry;
    link_newest(stripe, entry);
    stripe->bytes += entry_bytes(entry);
    while (stripe->bytes > cache->stripe_bytes_max && stripe->oldest != entry)
        drop(stripe, find(stripe, stripe->oldest->branch, stripe->oldest->epoch, stripe->oldest->region));
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
