/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records in entries: those of one region together, in their order. */
#include "engine-pool.h"

#define POOL_BYTES ((uint64_t) 256 << 20)
#define REGIONS 16u
#define PER_REGION 200u

static uint8_t value_of(unsigned region, unsigned block)
{
    return (uint8_t) (region * 31 + block * 7 + 1);
}

static void write_block(VvView *view, unsigned region, unsigned block, uint8_t value)
{
    uint8_t bytes[VV_BLOCK_BYTES];
    memset(bytes, value, sizeof bytes);
    uint64_t offset = (uint64_t) region * VV_REGION_BYTES + (uint64_t) block * VV_BLOCK_BYTES;
    g_assert_cmpint(vv_view_write(view, bytes, offset, sizeof bytes), ==, sizeof bytes);
}

/* More records than an entry may have regions, each in another region than the one before. */
static void test_one_entry(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "lun", (uint64_t) REGIONS * VV_REGION_BYTES);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    uint64_t before = atomic_load(&test->pool->journal_entries);
    for (unsigned block = 0; block < PER_REGION; block++)
        for (unsigned region = 0; region < REGIONS; region++)
            write_block(view, region, block, value_of(region, block));
    uint64_t granted = atomic_load(&test->pool->journal_entries);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_test_message("%u records: %" G_GUINT64_FORMAT " entries, %" G_GUINT64_FORMAT " before the flush", REGIONS * PER_REGION,
        atomic_load(&test->pool->journal_entries) - before, granted - before);
    g_assert_cmpuint(atomic_load(&test->pool->journal_entries) - granted, <=, 2); /* a grant may come meanwhile */
    vv_handle_close(handle);
    test_pool_check(test);
    test_pool_free(test);
}

/* What was acknowledged last counts: a block is written, discarded, and written again within one entry. */
static void test_order_within_a_region(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "lun", (uint64_t) REGIONS * VV_REGION_BYTES);
    VvHandle *handle = test_open(test, id, true);
    VvView *view = vv_handle_view(handle);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned block = 0; block < PER_REGION; block++)
            for (unsigned region = 0; region < REGIONS; region++) {
                uint64_t offset = (uint64_t) region * VV_REGION_BYTES + (uint64_t) block * VV_BLOCK_BYTES;
                if (round == 1)
                    g_assert_cmpint(vv_view_zero(view, offset, VV_BLOCK_BYTES), ==, 0);
                else
                    write_block(view, region, block, (uint8_t) (value_of(region, block) + round));
            }
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    vv_handle_close(handle);
    test_pool_reopen(test);
    test_pool_check(test);
    handle = test_open(test, id, false);
    for (unsigned block = 0; block < PER_REGION; block++)
        for (unsigned region = 0; region < REGIONS; region++) {
            uint8_t bytes[VV_BLOCK_BYTES];
            uint64_t offset = (uint64_t) region * VV_REGION_BYTES + (uint64_t) block * VV_BLOCK_BYTES;
            g_assert_cmpint(vv_view_read(vv_handle_view(handle), bytes, offset, sizeof bytes), ==, sizeof bytes);
            g_assert_cmpuint(bytes[0], ==, (uint8_t) (value_of(region, block) + 2));
        }
    vv_handle_close(handle);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/batch/one-entry", test_one_entry);
    g_test_add_func("/batch/order-within-a-region", test_order_within_a_region);
    return g_test_run();
}
