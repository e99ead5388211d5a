/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allocator on a real pool: no block twice, contiguity, cooling, exhaustion, what many small LUNs strand. */
#include "engine-pool.h"

#include "alloc_private.h"

#define POOL_BYTES ((uint64_t) 64 << 20)

static uint64_t family_of(TestPool *test, uint64_t lun)
{
    vv_meta_read_lock(test->pool->meta);
    uint64_t family = vv_meta_branch(test->pool->meta, vv_meta_lun(test->pool->meta, lun)->branch)->family;
    vv_meta_read_unlock(test->pool->meta);
    return family;
}

/* Allocate, waiting while the family is being loaded or granted more; 0: nothing came within 2 s. */
static uint32_t get(TestPool *test, uint64_t family, uint32_t want, VvPlace hint, VvAllocRun *runs, unsigned *ret_count)
{
    uint64_t deadline_ms = vv_monotonic_ms() + 2000;
    uint32_t got;
    while ((got = vv_alloc_blocks(test->pool->alloc, family, want, hint, runs, 64, ret_count)) == 0 &&
           vv_monotonic_ms() < deadline_ms) {
        vv_alloc_want(test->pool->alloc, family, want);
        g_usleep(1000);
    }
    return got;
}

static void test_contiguous(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t family = family_of(test, test_lun_new(test, "a", POOL_BYTES));
    VvAllocRun runs[64];
    unsigned count;
    VvPlace hint = 0;
    g_assert_cmpuint(get(test, family, 1, 0, runs, &count), ==, 1);
    for (unsigned i = 0; i < 20; i++) {
        hint = vv_place_after(runs[count - 1].place, runs[count - 1].count);
        g_assert_cmpuint(get(test, family, 10, hint, runs, &count), ==, 10);
        g_assert_cmpuint(count, ==, 1);
        g_assert_true(vv_place_same(runs[0].place, hint));
    }
    test_pool_free(test);
}

typedef struct {
    VvPlace place;
    uint32_t count;
} Held;

static uint32_t *counter_of(GHashTable *taken, VvPlace place)
{
    uint64_t key = place & VV_PLACE_ADDRESS_MASK;
    uint32_t *count = g_hash_table_lookup(taken, &key);
    if (count == NULL) {
        count = g_new0(uint32_t, 1);
        g_hash_table_insert(taken, g_memdup2(&key, sizeof key), count);
    }
    return count;
}

/* Random allocation and giving back; every block has one holder at most, and comes again only after it cooled. */
static void test_random(void)
{
    TestPool *test = test_pool_new((uint64_t) 18 << 20); /* so small that next-fit is soon round again */
    uint64_t family = family_of(test, test_lun_new(test, "a", POOL_BYTES));
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    g_autoptr(GArray) held = g_array_new(FALSE, FALSE, sizeof(Held));
    VvAllocRun runs[64];
    unsigned count;
    uint32_t slot = 0;
    bool inside = false;
    g_assert_cmpuint(get(test, family, 1, 0, runs, &count), ==, 1);
    vv_alloc_unreserve(test->pool->alloc, family, runs[0].place, 1);
    for (unsigned step = 0; step < 6000; step++) {
        if (g_test_rand_int_range(0, 100) < 55 || held->len == 0) {
            uint32_t want = (uint32_t) g_test_rand_int_range(1, 120);
            uint32_t got = vv_alloc_blocks(test->pool->alloc, family, want, 0, runs, 64, &count), sum = 0;
            g_assert_cmpuint(got, <=, want);
            for (unsigned r = 0; r < count; r++) {
                Held one = { runs[r].place, runs[r].count };
                for (uint32_t i = 0; i < one.count; i++)
                    g_assert_cmpuint((*counter_of(taken, one.place + i))++, ==, 0);
                g_assert_cmpuint(vv_place_block(one.place) + one.count, <=, 1u << 18);
                g_array_append_val(held, one);
                sum += one.count;
            }
            g_assert_cmpuint(sum, ==, got);
        } else {
            unsigned i = (unsigned) g_test_rand_int_range(0, (gint32) held->len);
            Held one = g_array_index(held, Held, i);
            bool cooled = g_test_rand_bit();
            g_array_remove_index_fast(held, i);
            /* While somebody is inside, what is given back stays away: the counters say so. */
            if (cooled && inside)
                for (uint32_t k = 0; k < one.count; k++)
                    *counter_of(taken, one.place + k) = 2;
            else
                for (uint32_t k = 0; k < one.count; k++)
                    *counter_of(taken, one.place + k) = 0;
            if (cooled)
                vv_alloc_give_back(test->pool->alloc, family, one.place, one.count);
            else
                vv_alloc_unreserve(test->pool->alloc, family, one.place, one.count);
        }
        if (step % 100 == 50) {
            slot = vv_era_enter(test->pool);
            inside = true;
        } else if (step % 100 == 90) {
            vv_era_leave(test->pool, slot);
            inside = false;
            GHashTableIter iter;
            void *value;
            g_hash_table_iter_init(&iter, taken);
            while (g_hash_table_iter_next(&iter, NULL, &value))
                if (*(uint32_t *) value == 2)
                    *(uint32_t *) value = 0;
        }
        if (step % 10 == 0)
            vv_alloc_cool(test->pool->alloc);
    }
    for (unsigned i = 0; i < held->len; i++)
        vv_alloc_unreserve(
            test->pool->alloc, family, g_array_index(held, Held, i).place, g_array_index(held, Held, i).count);
    vv_alloc_cool(test->pool->alloc);
    g_assert_cmpuint(vv_alloc_cooling_bytes(test->pool->alloc), ==, 0);
    test_pool_free(test);
}

static uint64_t fill(VvView *view, uint64_t offset)
{
    static uint8_t data[1 << 18];
    uint64_t written = 0;
    for (;;) {
        int64_t rc = vv_view_write(view, data, offset + written, sizeof data);
        if (rc < 0) {
            g_assert_cmpint(rc, ==, -ENOSPC);
            return written;
        }
        written += (uint64_t) rc;
    }
}

/* Many small LUNs filled until there is no more: little may be stranded; and it all comes back. */
static void test_many_small(void)
{
    enum { LUNS = 40 };
    TestPool *test = test_pool_new((uint64_t) 4 * POOL_BYTES);
    VvHandle *handles[LUNS];
    VvSpaceSummary space;
    for (unsigned i = 0; i < LUNS; i++) {
        g_autofree char *name = g_strdup_printf("lun%u", i);
        handles[i] = test_open(test, test_lun_new(test, name, 8 * POOL_BYTES), true);
    }
    static uint8_t piece[100000];
    for (unsigned round = 0; round < 100; round++)
        for (unsigned i = 0; i < LUNS; i++)
            if (round < 5 + i)
                (void) vv_view_write(vv_handle_view(handles[i]), piece, round * sizeof piece, sizeof piece);
    for (unsigned i = 0; i < LUNS; i++)
        (void) fill(vv_handle_view(handles[i]), 4 * POOL_BYTES);
    for (unsigned i = 0; i < LUNS; i++)
        g_assert_cmpint(vv_view_flush(vv_handle_view(handles[i])), ==, 0);
    vv_meta_space(test->pool->meta, &space);
    g_test_message("total %" G_GUINT64_FORMAT " KiB, used %" G_GUINT64_FORMAT ", held %" G_GUINT64_FORMAT
                   ", free %" G_GUINT64_FORMAT,
        space.total_bytes >> 10, space.used_bytes >> 10, space.held_bytes >> 10, space.free_bytes >> 10);
    g_assert_cmpuint((space.total_bytes - space.used_bytes) * 100, <, space.total_bytes * 5);
    test_pool_check(test);
    for (unsigned i = 0; i < LUNS; i++) {
        g_autofree char *name = g_strdup_printf("lun%u", i);
        const char *names[] = { name, NULL };
        g_autoptr(GError) error = NULL;
        VvRemoval removal = { 0 };
        vv_handle_close(handles[i]);
        vv_pool_lun_remove(test->pool, names, true, false, false, NULL, &removal, &error);
        g_assert_no_error(error);
        vv_removal_clear(&removal);
    }
    uint64_t deadline_ms = vv_monotonic_ms() + 20000;
    do {
        g_usleep(10000);
        vv_meta_space(test->pool->meta, &space);
    } while (space.free_bytes != space.total_bytes && vv_monotonic_ms() < deadline_ms);
    g_assert_cmpuint(space.free_bytes, ==, space.total_bytes);
    test_pool_check(test);
    test_pool_free(test);
}

/* A LUN with on-full=wait waits while another one is told at once; removing wakes it. */
typedef struct {
    VvView *view;
    int64_t result;
} WaitingWrite;

static void *write_main(void *user)
{
    WaitingWrite *write = user;
    static uint8_t data[1 << 20];
    write->result = vv_view_write(write->view, data, 0, sizeof data);
    return NULL;
}

static void test_wait(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    VvHandle *full = test_open(test, test_lun_new(test, "full", 8 * POOL_BYTES), true);
    uint64_t id = test_lun_new(test, "waits", POOL_BYTES);
    VvLunProps props = { .on_full = VV_ON_FULL_WAIT, .timeout_s = 30 };
    vv_pool_lun_set(test->pool, "waits", VV_LUN_ON_FULL | VV_LUN_TIMEOUT, &props, NULL, &error);
    g_assert_no_error(error);
    VvHandle *handle = test_open(test, id, true);
    (void) fill(vv_handle_view(full), 0);
    g_assert_cmpint(vv_view_flush(vv_handle_view(full)), ==, 0);

    WaitingWrite write = { .view = vv_handle_view(handle), .result = 1 };
    pthread_t thread;
    g_assert_cmpint(pthread_create(&thread, NULL, write_main, &write), ==, 0);
    bool parked = false;
    while (!parked) {
        VV_LOCKED(&write.view->lock);
        parked = write.view->parked.first != NULL;
    }
    uint8_t byte = 1;
    g_assert_cmpint(vv_view_write(vv_handle_view(full), &byte, 7 * POOL_BYTES, 1), ==, -ENOSPC); /* does not wait */
    const char *objects[] = { "waits@while-waiting", NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };
    g_assert_false(vv_pool_snapshot_create(test->pool, objects, &options, NULL, &error)); /* nor do this and that */
    g_assert_error(error, VV_ERROR, VV_ERROR_NO_SPACE);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    g_assert_cmpint(vv_view_zero(vv_handle_view(full), 0, 8 << 20), ==, 0);
    g_assert_cmpint(vv_view_flush(vv_handle_view(full)), ==, 0);
    pthread_join(thread, NULL);
    g_assert_cmpint(write.result, ==, 1 << 20);
    vv_handle_close(handle);
    vv_handle_close(full);
    test_pool_check(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/alloc/contiguous", test_contiguous);
    g_test_add_func("/engine/alloc/random", test_random);
    g_test_add_func("/engine/alloc/many-small", test_many_small);
    g_test_add_func("/engine/alloc/wait", test_wait);
    return g_test_run();
}
