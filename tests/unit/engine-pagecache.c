/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page cache: what it gives back, and that an old look-up never hides a change. */
#include "engine.h"

#include <glib.h>

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
    g_test_add_func("/engine/pagecache/bound", test_bound);
    return g_test_run();
}
