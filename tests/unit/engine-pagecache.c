/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page cache: what it gives back, and that an old look-up never hides a change. */
#include "engine.h"

#include <glib.h>
#include <pthread.h>

static void make_page(VvPage *page, unsigned salt)
{
    memset(page, 0, sizeof *page);
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        if ((i * 7 + salt) % 5 != 0)
            page->place[i] = vv_place(salt, i % 3 == 0 ? 1000 - i : i, i % 2 == 0);
}

static void put(VvPageCache *cache, uint64_t version, uint64_t epoch, uint64_t region, unsigned salt)
{
    VvCachedPage info = { .present = true, .key = { .branch = 5, .region = region, .epoch = 3 }, .family = 9 };
    VvPage page;
    make_page(&page, salt);
    vv_page_cache_put(cache, version, 5, epoch, region, &info, &page);
}

static void test_contents(void)
{
    VvPageCache *cache = vv_page_cache_new(1 << 20);
    VvCachedPage info;
    VvPlace places[VV_REGION_BLOCKS];
    VvPage page;
    g_assert_false(vv_page_cache_get(cache, 5, UINT64_MAX, 1, 0, 256, &info, places));
    put(cache, vv_page_cache_version(cache, 5, 1), UINT64_MAX, 1, 11);
    make_page(&page, 11);
    for (unsigned first = 0; first < VV_REGION_BLOCKS; first += 13)
        for (unsigned count = 1; first + count <= VV_REGION_BLOCKS; count += 37) {
            g_assert_true(vv_page_cache_get(cache, 5, UINT64_MAX, 1, first, count, &info, places));
            g_assert_cmpint(memcmp(places, &page.place[first], count * sizeof *places), ==, 0);
        }
    g_assert_true(info.present);
    g_assert_cmpuint(info.key.epoch, ==, 3);
    g_assert_cmpuint(info.family, ==, 9);
    g_assert_false(vv_page_cache_get(cache, 5, 2, 1, 0, 1, &info, places));
    vv_page_cache_free(cache);
}

static void test_versions(void)
{
    VvPageCache *cache = vv_page_cache_new(1 << 20);
    VvCachedPage info;
    VvPlace place;
    uint64_t before = vv_page_cache_version(cache, 5, 1);
    vv_page_cache_invalidate(cache, 5, 1); /* while the look-up is under way */
    put(cache, before, UINT64_MAX, 1, 11);
    g_assert_false(vv_page_cache_get(cache, 5, UINT64_MAX, 1, 0, 1, &info, &place));
    put(cache, vv_page_cache_version(cache, 5, 1), UINT64_MAX, 1, 12);
    put(cache, vv_page_cache_version(cache, 5, 1), 2, 1, 13);
    g_assert_true(vv_page_cache_get(cache, 5, UINT64_MAX, 1, 0, 1, &info, &place));
    vv_page_cache_invalidate(cache, 5, 1); /* all epochs */
    g_assert_false(vv_page_cache_get(cache, 5, UINT64_MAX, 1, 0, 1, &info, &place));
    g_assert_false(vv_page_cache_get(cache, 5, 2, 1, 0, 1, &info, &place));
    vv_page_cache_free(cache);
}

/* What the head sees after an entry: in place of what was cached, which is older than no look-up under way; other epochs stay. */
static void test_refresh(void)
{
    VvPageCache *cache = vv_page_cache_new(1 << 20);
    VvPageKey key = { .branch = 5, .region = 1, .epoch = 4 };
    VvCachedPage info;
    VvPlace places[VV_REGION_BLOCKS];
    VvPage page;
    make_page(&page, 12);
    vv_page_cache_refresh(cache, 9, &key, &page);
    g_assert_false(vv_page_cache_get(cache, 5, UINT64_MAX, 1, 0, 1, &info, places)); /* nobody looks at it */
    put(cache, vv_page_cache_version(cache, 5, 1), UINT64_MAX, 1, 11);
    put(cache, vv_page_cache_version(cache, 5, 1), 3, 1, 13);
    uint64_t before = vv_page_cache_version(cache, 5, 1);
    vv_page_cache_refresh(cache, 9, &key, &page);
    put(cache, before, UINT64_MAX, 1, 11);
    g_assert_true(vv_page_cache_get(cache, 5, UINT64_MAX, 1, 0, 256, &info, places));
    g_assert_cmpint(memcmp(places, page.place, sizeof places), ==, 0);
    g_assert_true(info.present);
    g_assert_cmpuint(info.key.epoch, ==, 4);
    g_assert_cmpuint(info.family, ==, 9);
    make_page(&page, 13);
    g_assert_true(vv_page_cache_get(cache, 5, 3, 1, 0, 256, &info, places));
    g_assert_cmpint(memcmp(places, page.place, sizeof places), ==, 0);
    vv_page_cache_free(cache);
}

/* A map of one number per region, looked up and changed as the catalog is: under a read/write lock, told to the cache with it
 * held, acknowledged afterwards. Whoever looks then must see it or something newer. */
#define RACED_REGIONS 64u
typedef struct {
    VvPageCache *cache;
    pthread_rwlock_t lock;
    uint32_t number[RACED_REGIONS];
    gint acknowledged[RACED_REGIONS], stop;
    unsigned hits;
} Race;

static void number_page(uint32_t number, VvPage *page)
{
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        page->place[i] = i % 2 == 0 ? vv_place(number, i, true) : 0;
}

static gpointer look_cb(gpointer user)
{
    Race *race = user;
    g_autoptr(GRand) random = g_rand_new();
    while (!g_atomic_int_get(&race->stop)) {
        unsigned region = (unsigned) g_rand_int_range(random, 0, RACED_REGIONS);
        uint32_t floor = (uint32_t) g_atomic_int_get(&race->acknowledged[region]);
        VvCachedPage info = { .present = true, .key = { .branch = 5, .region = region, .epoch = 1 }, .family = 9 }, found;
        VvPlace place;
        VvPage page;
        if (vv_page_cache_get(race->cache, 5, UINT64_MAX, region, 2, 1, &found, &place)) {
            g_assert_cmpuint(vv_place_segment(place), >=, floor);
            g_atomic_int_inc((gint *) &race->hits);
            continue;
        }
        uint64_t version = vv_page_cache_version(race->cache, 5, region);
        pthread_rwlock_rdlock(&race->lock);
        number_page(race->number[region], &page);
        pthread_rwlock_unlock(&race->lock);
        vv_page_cache_put(race->cache, version, 5, UINT64_MAX, region, &info, &page);
    }
    return NULL;
}

static void test_race(void)
{
    Race race = { .cache = vv_page_cache_new(48 << 10), .lock = PTHREAD_RWLOCK_INITIALIZER }; /* not room for all */
    GThread *threads[3];
    g_autoptr(GRand) random = g_rand_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("look", look_cb, &race);
    for (unsigned i = 0; i < 100000 || g_atomic_int_get((gint *) &race.hits) < 1000; i++) {
        unsigned region = (unsigned) g_rand_int_range(random, 0, RACED_REGIONS);
        VvPageKey key = { .branch = 5, .region = region, .epoch = 1 };
        VvPage page;
        pthread_rwlock_wrlock(&race.lock);
        number_page(++race.number[region], &page);
        if (i % 8 == 0)
            vv_page_cache_invalidate(race.cache, 5, region);
        else
            vv_page_cache_refresh(race.cache, 9, &key, &page);
        pthread_rwlock_unlock(&race.lock);
        g_atomic_int_set(&race.acknowledged[region], (gint) race.number[region]);
    }
    g_atomic_int_set(&race.stop, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    pthread_rwlock_destroy(&race.lock);
    vv_page_cache_free(race.cache);
}

/* It stays within its bound, and keeps what was used last. */
static void test_bound(void)
{
    VvPageCache *cache = vv_page_cache_new(512 << 10);
    VvCachedPage info;
    VvPlace place;
    unsigned kept = 0;
    for (unsigned region = 0; region < 5000; region++) {
        put(cache, vv_page_cache_version(cache, 5, region), UINT64_MAX, region, region);
        put(cache, vv_page_cache_version(cache, 5, region), UINT64_MAX, region, region + 1); /* replaces it */
        g_assert_true(vv_page_cache_get(cache, 5, UINT64_MAX, region, 0, 1, &info, &place));
        if (region > 0)
            g_assert_true(vv_page_cache_get(cache, 5, UINT64_MAX, region - 1, 0, 1, &info, &place));
    }
    for (unsigned region = 0; region < 5000; region++)
        kept += vv_page_cache_get(cache, 5, UINT64_MAX, region, 0, 1, &info, &place);
    g_assert_cmpuint(kept, >, 50);
    g_assert_cmpuint(kept, <, 500);
    vv_page_cache_free(cache);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/pagecache/contents", test_contents);
    g_test_add_func("/engine/pagecache/versions", test_versions);
    g_test_add_func("/engine/pagecache/refresh", test_refresh);
    g_test_add_func("/engine/pagecache/race", test_race);
    g_test_add_func("/engine/pagecache/bound", test_bound);
    return g_test_run();
}
