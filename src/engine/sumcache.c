/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of checksums: pieces of 1 MiB of a segment, in stripes, the oldest goes first.
 *
 * C1  What it says of a place that is in use is true: a place that comes into use is told with the catalog's write lock held, before
 *     anybody can find it in the map, and changes what is cached. What it says of a free place means nothing.
 * C2  So nothing needs to be told when a place is freed, and who found a place before that, and holds its era, still verifies it.
 * C3  A put of what was looked up before the last change of its stripe does nothing. */
#include "sumcache.h"

#include "slab.h"

#include <pthread.h>
#include <stdlib.h>

#define STRIPES 8u
#define BUCKETS 256u /* per stripe: some two pieces each */

typedef struct SumEntry SumEntry;
struct SumEntry {
    SumEntry *next;          /* in the bucket */
    SumEntry *newer, *older; /* in the order of use */
    VvSumPiece piece;
};

typedef struct {
    _Alignas(64) pthread_mutex_t lock; /* a leaf */
    uint64_t version, bytes;
    SumEntry *newest, *oldest;
    SumEntry *buckets[BUCKETS];
} SumStripe;

struct VvSumCache {
    uint64_t stripe_bytes_max;
    _Atomic unsigned family_count;
    pthread_rwlock_t families_lock; /* a leaf */
    GHashTable *families;           /* set of ids */
    SumStripe stripes[STRIPES];
};

VvSumCache *vv_sum_cache_new(uint64_t bytes_max)
{
    VvSumCache *cache = aligned_alloc(_Alignof(VvSumCache), sizeof *cache);

    g_assert(cache != NULL);
    memset(cache, 0, sizeof *cache);
    cache->stripe_bytes_max = bytes_max / STRIPES;
    pthread_rwlock_init(&cache->families_lock, NULL);
    cache->families = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&cache->stripes[i].lock, NULL);
    return cache;
}

void vv_sum_cache_free(VvSumCache *cache)
{
    if (!cache)
        return;
    for (unsigned i = 0; i < STRIPES; i++) {
        SumEntry *entry = cache->stripes[i].newest;

        while (entry) {
            SumEntry *older = entry->older;

            vv_slab_put(entry);
            entry = older;
        }
        pthread_mutex_destroy(&cache->stripes[i].lock);
    }
    g_hash_table_unref(cache->families);
    pthread_rwlock_destroy(&cache->families_lock);
    free(cache);
}

/* ---- families */

bool vv_sum_cache_any(const VvSumCache *cache)
{
    return atomic_load_explicit(&cache->family_count, memory_order_acquire) > 0;
}

bool vv_sum_cache_has_family(VvSumCache *cache, uint64_t family)
{
    bool has;

    if (!vv_sum_cache_any(cache))
        return false;
    pthread_rwlock_rdlock(&cache->families_lock);
    has = g_hash_table_contains(cache->families, &family);
    pthread_rwlock_unlock(&cache->families_lock);
    return has;
}

void vv_sum_cache_add_family(VvSumCache *cache, uint64_t family)
{
    if (vv_sum_cache_has_family(cache, family)) /* each entry says so again */
        return;
    pthread_rwlock_wrlock(&cache->families_lock);
    if (g_hash_table_add(cache->families, g_memdup2(&family, sizeof family)))
        atomic_fetch_add_explicit(&cache->family_count, 1, memory_order_release);
    pthread_rwlock_unlock(&cache->families_lock);
}

/* ---- pieces */

static uint64_t hash(uint64_t family, uint32_t segment, uint32_t mib)
{
    uint64_t h = family * 0x9e3779b97f4a7c15u ^ ((uint64_t) segment << 32 | mib) * 0xc2b2ae3d27d4eb4fu;

    return h ^ h >> 29;
}

static uint64_t place_hash(uint64_t family, VvPlace place)
{
    return hash(family, vv_place_segment(place), vv_place_block(place) / VV_REGION_BLOCKS);
}

static SumEntry **find(SumStripe *stripe, uint64_t h, uint64_t family, uint32_t segment, uint32_t mib)
{
    SumEntry **link = &stripe->buckets[h / STRIPES % BUCKETS];

    while (*link && !((*link)->piece.family == family && (*link)->piece.segment == segment && (*link)->piece.mib == mib))
        link = &(*link)->next;
    return link;
}

static SumEntry **find_place(SumStripe *stripe, uint64_t h, uint64_t family, VvPlace place)
{
    return find(stripe, h, family, vv_place_segment(place), vv_place_block(place) / VV_REGION_BLOCKS);
}

static void unlink_use(SumStripe *stripe, SumEntry *entry)
{
    *(entry->newer ? &entry->newer->older : &stripe->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &stripe->oldest) = entry->newer;
}

static void link_newest(SumStripe *stripe, SumEntry *entry)
{
    entry->newer = NULL;
    entry->older = stripe->newest;
    *(stripe->newest ? &stripe->newest->newer : &stripe->oldest) = entry;
    stripe->newest = entry;
}

static void drop_oldest(SumStripe *stripe)
{
    SumEntry *entry = stripe->oldest;
    const VvSumPiece *p = &entry->piece;
    SumEntry **link = find(stripe, hash(p->family, p->segment, p->mib), p->family, p->segment, p->mib);

    *link = entry->next;
    unlink_use(stripe, entry);
    stripe->bytes -= sizeof *entry;
    vv_slab_put(entry);
}

bool vv_sum_cache_get(VvSumCache *cache, uint64_t family, VvPlace place, bool *ret_present, uint32_t *ret_sum)
{
    uint64_t h = place_hash(family, place);
    SumStripe *stripe = &cache->stripes[h % STRIPES];
    unsigned block = vv_place_block(place) % VV_REGION_BLOCKS;
    VV_LOCKED(&stripe->lock);
    SumEntry *entry = *find_place(stripe, h, family, place);

    if (!entry)
        return false;
    if (entry != stripe->newest) {
        unlink_use(stripe, entry);
        link_newest(stripe, entry);
    }
    *ret_present = vv_sum_present(&entry->piece, block);
    *ret_sum = entry->piece.crc[block];
    return true;
}

uint64_t vv_sum_cache_version(VvSumCache *cache, uint64_t family, VvPlace place)
{
    SumStripe *stripe = &cache->stripes[place_hash(family, place) % STRIPES];
    VV_LOCKED(&stripe->lock);

    return stripe->version;
}

void vv_sum_cache_put(VvSumCache *cache, uint64_t version, const VvSumPiece *piece)
{
    uint64_t h = hash(piece->family, piece->segment, piece->mib);
    SumStripe *stripe = &cache->stripes[h % STRIPES];
    VV_LOCKED(&stripe->lock);
    SumEntry **link = find(stripe, h, piece->family, piece->segment, piece->mib), *entry;

    if (stripe->version != version || *link) /* C3 */
        return;
    entry = vv_slab_try(sizeof *entry);
    if (!entry) /* nothing to spare */
        return;
    entry->piece = *piece;
    entry->next = NULL;
    *link = entry;
    link_newest(stripe, entry);
    stripe->bytes += sizeof *entry;
    while (stripe->bytes > cache->stripe_bytes_max && stripe->oldest != entry)
        drop_oldest(stripe);
}

/* Within one piece. */
static void set_part(VvSumCache *cache, uint64_t family, VvPlace place, unsigned count, const uint32_t *sums)
{
    uint64_t h = place_hash(family, place);
    SumStripe *stripe = &cache->stripes[h % STRIPES];
    unsigned first = vv_place_block(place) % VV_REGION_BLOCKS;
    VV_LOCKED(&stripe->lock);
    SumEntry *entry = *find_place(stripe, h, family, place);

    stripe->version++;
    for (unsigned block = first; entry && block < first + count; block++) {
        uint64_t bit = (uint64_t) 1 << block % 64;

        if (sums) {
            entry->piece.present[block / 64] |= bit;
            entry->piece.crc[block] = sums[block - first];
        } else {
            entry->piece.present[block / 64] &= ~bit;
        }
    }
}

void vv_sum_cache_set(VvSumCache *cache, uint64_t family, VvPlace place, unsigned count, const uint32_t *sums)
{
    for (unsigned i = 0, n; i < count; i += n) {
        n = MIN(count - i, VV_REGION_BLOCKS - vv_place_block(place + i) % VV_REGION_BLOCKS);
        set_part(cache, family, place + i, n, sums ? sums + i : NULL);
    }
}
