/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages in stored form: what goes in comes out, whatever is wrong is refused, the worst page stays on an LMDB leaf. */
#include "page.h"
#include "store.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

static const VvPageKey key = { .branch = 0x0102030405060708, .region = 77, .epoch = 9 };

static void random_page(GRand *random, VvPage *page)
{
    memset(page, 0, sizeof *page);
    for (unsigned i = 0; i < VV_REGION_BLOCKS;) {
        unsigned n = (unsigned) g_rand_int_range(random, 1, 40);
        bool hole = g_rand_boolean(random), own = g_rand_boolean(random);
        VvPlace place = vv_place((uint32_t) g_rand_int_range(random, 0, 1 << 20), (uint32_t) g_rand_int_range(random, 0, (1 << 18) - 64), own);
        for (; n > 0 && i < VV_REGION_BLOCKS; n--, i++, place++)
            page->place[i] = hole ? 0 : place;
    }
}

static void test_round_trip(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    for (unsigned i = 0; i < 2000; i++) {
        VvPage page, back;
        uint8_t bytes[VV_PAGE_BYTES_MAX];
        random_page(random, &page);
        size_t n = vv_page_encode(&page, &key, bytes);
        g_assert_cmpint(vv_page_decode(bytes, n, &key, &back), ==, 0);
        g_assert_cmpmem(&page, sizeof page, &back, sizeof back);
        g_assert_cmpint(vv_page_bytes_empty(bytes, n), ==, vv_page_mapped_count(&page) == 0);
    }
}

static void test_worst_page_fits_a_leaf(void)
{
    VvPage page, back;
    uint8_t bytes[VV_PAGE_BYTES_MAX];
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        page.place[i] = vv_place(VV_SEGMENTS_PER_FAMILY - 1, (1u << 18) - 1 - 2 * i, i % 2 == 0);
    size_t n = vv_page_encode(&page, &key, bytes);
    g_assert_cmpuint(n, ==, VV_PAGE_BYTES_MAX);
    g_assert_cmpuint(n, <=, VV_PAGE_VALUE_BYTES_MAX);
    g_assert_cmpint(vv_page_decode(bytes, n, &key, &back), ==, 0);
    g_assert_cmpmem(&page, sizeof page, &back, sizeof back);
}

/* Two neighbours on the medium, but not in one segment or not both own, are two extents. */
static void test_runs_split_where_they_must(void)
{
    VvPage page = { 0 }, back;
    uint8_t bytes[VV_PAGE_BYTES_MAX];
    page.place[0] = vv_place(3, (1u << 18) - 1, true);
    page.place[1] = vv_place(4, 0, true);
    page.place[2] = vv_place(4, 1, false);
    page.place[255] = vv_place(4, 2, false);
    size_t n = vv_page_encode(&page, &key, bytes);
    g_assert_cmpuint(n, ==, VV_PAGE_HEADER_BYTES + 4 * VV_EXTENT_BYTES);
    g_assert_cmpint(vv_page_decode(bytes, n, &key, &back), ==, 0);
    g_assert_cmpmem(&page, sizeof page, &back, sizeof back);
}

static void test_flips_and_cuts_are_refused(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(2);
    VvPage page, back;
    uint8_t bytes[VV_PAGE_BYTES_MAX];
    random_page(random, &page);
    size_t n = vv_page_encode(&page, &key, bytes);
    for (size_t at = 0; at < n; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t) (1u << bit);
            g_assert_cmpint(vv_page_decode(bytes, n, &key, &back), ==, -EUCLEAN);
            bytes[at] ^= (uint8_t) (1u << bit);
        }
        g_assert_cmpint(vv_page_decode(bytes, at, &key, &back), ==, -EUCLEAN);
    }
    VvPageKey other = key;
    other.region++;
    g_assert_cmpint(vv_page_decode(bytes, n, &other, &back), ==, -EUCLEAN);
}

static void test_keys_sort(void)
{
    uint8_t a[VV_KEY_BYTES], b[VV_KEY_BYTES];
    VvPageKey back, newer = key;
    newer.epoch++;
    vv_page_key_encode(&key, a);
    vv_page_key_encode(&newer, b);
    g_assert_cmpint(memcmp(b, a, sizeof a), <, 0); /* newest first */
    vv_page_key_decode(a, &back);
    g_assert_cmpmem(&key, sizeof key, &back, sizeof back);
    vv_index_key_encode(&key, a);
    vv_index_key_encode(&newer, b);
    g_assert_cmpint(memcmp(a, b, sizeof a), <, 0); /* by epoch */
    vv_index_key_decode(a, &back);
    g_assert_cmpmem(&key, sizeof key, &back, sizeof back);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/page/round-trip", test_round_trip);
    g_test_add_func("/page/worst-fits-a-leaf", test_worst_page_fits_a_leaf);
    g_test_add_func("/page/runs-split", test_runs_split_where_they_must);
    g_test_add_func("/page/flips-refused", test_flips_and_cuts_are_refused);
    g_test_add_func("/page/keys-sort", test_keys_sort);
    return g_test_run();
}
