/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads, writes and flushes allocate nothing once they have run for a while, and need nothing when nothing is to be had: then writes that
 * change the map wait for the journal and the journal for a checkpoint, and all go on. */
#include "engine-memory.h"

#include "engine-pool.h"
#include "pool_jobs.h"
#include "slab.h"

#define POOL_BYTES ((uint64_t) 512 << 20)
#define ROUND 1024u     /* writes of each kind */
#define ROUNDS 4u       /* some 30,000 requests that are counted, of all three tests */
#define WARM_UP 4u
#define SPAN_BYTES ((uint64_t) 32 << 20)
#define ROOM_BYTES ((uint64_t) 96 << 20)
#define WIDE_ROOM_BYTES ((uint64_t) 192 << 20) /* every region is written twice while what is freed may not be granted anew */
#define REGIONS 10240u  /* of a LUN with a block in each: their pages are more than the reserve has room for */
_Static_assert(REGIONS * 300u > VV_SLAB_RESERVE_BYTES / 2, "an overlay that does not fit");

typedef struct {
    TestPool *test;
    VvHandle *handle;
    VvView *view;
    uint8_t *data;  /* a region */
    uint32_t random;
} Fixture;

static void set_up(Fixture *f, gconstpointer size_bytes)
{
    f->test = test_pool_new(POOL_BYTES);
    f->handle = test_open(f->test, test_lun_new(f->test, "a", (uint64_t) GPOINTER_TO_SIZE(size_bytes)), true);
    f->view = vv_handle_view(f->handle);
    f->data = test_blocks_new(VV_REGION_BLOCKS, 0x5a);
    f->random = 1;
}

static void tear_down(Fixture *f, gconstpointer user)
{
    (void) user;
    vv_handle_close(f->handle);
    test_pool_check(f->test);
    test_pool_free(f->test);
    free(f->data);
}

static void set_integrity(TestPool *test)
{
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .integrity = true };
    g_assert_true(vv_pool_lun_set(test->pool, "a", VV_LUN_INTEGRITY, &props, NULL, &error));
    g_assert_no_error(error);
}

static uint64_t place(Fixture *f)
{
    f->random = f->random * 1664525 + 1013904223;
    return (uint64_t) (f->random >> 8) % (SPAN_BYTES / VV_BLOCK_BYTES) * VV_BLOCK_BYTES;
}

static void write_at(Fixture *f, uint64_t offset, uint64_t length_bytes)
{
    memcpy(f->data, &offset, sizeof offset);
    g_assert_cmpint(vv_view_write(f->view, f->data, offset, length_bytes), ==, (int64_t) length_bytes);
}

static void flush(Fixture *f)
{
    g_assert_cmpint(vv_view_flush(f->view), ==, 0);
}

/* So much of the LUN's segments is free that nothing need be granted: an entry that grants allocates. A block of each MiB behind @offset
 * stays, so that no segment is given back. */
static void make_room(Fixture *f, uint64_t offset, uint64_t room_bytes)
{
    for (uint64_t at = offset; at < offset + room_bytes; at += VV_REGION_BYTES)
        write_at(f, at, VV_REGION_BYTES);
    flush(f);
    for (uint64_t at = offset; at < offset + room_bytes; at += VV_REGION_BYTES)
        g_assert_cmpint(vv_view_zero(f->view, at + VV_BLOCK_BYTES, VV_REGION_BYTES - VV_BLOCK_BYTES), ==, 0);
    flush(f);
}

/* From here on calls are counted, and nothing is granted or given back: entries of transactions allocate. */
static void begin_counting(Fixture *f)
{
    vv_jobs_stop(f->test->pool);
    pthread_mutex_lock(&f->test->pool->grant_lock);
    test_memory_count();
}

static unsigned end_counting(Fixture *f)
{
    unsigned calls = test_memory_counted();
    g_autoptr(GError) error = NULL;
    pthread_mutex_unlock(&f->test->pool->grant_lock);
    vv_jobs_start(f->test->pool, &error);
    g_assert_no_error(error);
    return calls;
}

/* ---- nothing is allocated */

/* Blocks at random places, one in eight of them not whole, a flush after each sixteen; reads of what they wrote; some discards. */
static void run_round(Fixture *f)
{
    uint8_t *got = f->data + VV_REGION_BYTES / 2;
    for (unsigned i = 0; i < ROUND; i++) {
        uint64_t offset = place(f), wrote;
        write_at(f, i % 8 ? offset : offset + 512, i % 8 ? VV_BLOCK_BYTES : 1024);
        g_assert_cmpint(vv_view_read(f->view, got, i % 8 ? offset : offset + 512, 1024), ==, 1024);
        memcpy(&wrote, got, sizeof wrote);
        g_assert_cmpuint(wrote, ==, i % 8 ? offset : offset + 512);
        if (i % 64 == 0)
            write_at(f, offset / VV_REGION_BYTES * VV_REGION_BYTES, VV_REGION_BYTES / 2);
        if (i % 128 == 1)
            g_assert_cmpint(vv_view_zero(f->view, place(f), VV_BLOCK_BYTES), ==, 0);
        if (i % 16 == 0)
            flush(f);
    }
    flush(f);
}

static void fill(Fixture *f)
{
    for (uint64_t offset = 0; offset < SPAN_BYTES; offset += VV_REGION_BYTES)
        write_at(f, offset, VV_REGION_BYTES);
    flush(f);
}

static void assert_none(Fixture *f, void (*between)(Fixture *f))
{
    VvSlabStat before, after;
    unsigned calls = 0;
    if (TEST_SANITIZED) {
        g_test_skip("a sanitizer has its own malloc");
        return;
    }
    make_room(f, SPAN_BYTES, ROOM_BYTES);
    fill(f);
    for (unsigned i = 0; i < WARM_UP + ROUNDS; i++) {
        if (between)
            between(f);
        vv_slab_stat(&before);
        if (i >= WARM_UP)
            begin_counting(f);
        run_round(f);
        calls += i >= WARM_UP ? end_counting(f) : 0;
        vv_slab_stat(&after);
        g_assert_cmpuint(after.waits, ==, before.waits);
        g_test_message("round %u: %u calls on the path, the last of %s for %zu bytes; %u others; %" G_GUINT64_FORMAT " KiB of slab", i,
            calls, test_memory.last, atomic_load(&test_memory.last_bytes), atomic_load(&test_memory.other), after.resident_bytes >> 10);
    }
    g_assert_cmpuint(calls, ==, 0);
}

static void test_in_place(Fixture *f, gconstpointer user)
{
    (void) user;
    assert_none(f, NULL);
}

static void test_redirected(Fixture *f, gconstpointer user)
{
    (void) user;
    set_integrity(f->test); /* every write, and with checksums */
    assert_none(f, NULL);
}

/* The last snapshot goes, and there is another: what is written is shared again. */
static void snapshot_anew(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    const char *all[] = { "a@*", NULL };
    VvRemoval removal;
    if (vv_pool_snapshot_remove(f->test->pool, all, false, false, NULL, &removal, &error))
        vv_removal_clear(&removal);
    g_assert_true(vv_pool_job_wait(f->test->pool, NULL, 0, 20000, NULL, NULL));
    test_snapshot(f->test, "a@s");
}

static void test_first_touch(Fixture *f, gconstpointer user)
{
    (void) user;
    assert_none(f, snapshot_anew);
}

/* ---- nothing is to be had */

static void touch_regions(Fixture *f, unsigned flush_every)
{
    for (uint64_t i = 0; i < REGIONS; i++) {
        write_at(f, i * VV_REGION_BYTES, VV_BLOCK_BYTES);
        if (i % flush_every == flush_every - 1)
            flush(f);
    }
    flush(f);
}

static void test_starved(Fixture *f, gconstpointer user)
{
    (void) user;
    VvPoolStats before, after;
    VvSlabStat slab, starved;
    if (TEST_SANITIZED) {
        g_test_skip("a sanitizer has its own malloc");
        return;
    }
    set_integrity(f->test);
    make_room(f, (uint64_t) REGIONS * VV_REGION_BYTES, WIDE_ROOM_BYTES);
    for (unsigned i = 0; i < 2; i++)
        touch_regions(f, 512);
    g_assert_cmpint(vv_pool_checkpoint_now(f->test->pool), ==, 0);
    vv_pool_stats(f->test->pool, &before);
    vv_slab_stat(&slab);
    vv_slab_starve(VV_SLAB_RESERVE_BYTES);
    begin_counting(f);
    atomic_store(&test_memory.fails, true);
    touch_regions(f, 16);
    touch_regions(f, REGIONS); /* nobody flushes: what is low asks for it */
    atomic_store(&test_memory.fails, false);
    unsigned calls = end_counting(f);
    vv_slab_stat(&starved);
    vv_pool_stats(f->test->pool, &after);
    vv_slab_starve(SIZE_MAX);
    g_test_message("%u calls failed; %" G_GUINT64_FORMAT " waits for memory, %" G_GUINT64_FORMAT " writes for the journal, %" G_GUINT64_FORMAT
                   " checkpoints", calls, starved.waits - slab.waits, after.journal_waits - before.journal_waits,
        after.checkpoints - before.checkpoints);
    g_assert_cmpuint(starved.grown, ==, slab.grown);
    g_assert_cmpuint(starved.waits, ==, slab.waits); /* limits hold, so nobody had to */
    g_assert_cmpuint(after.journal_waits, >, before.journal_waits);
    g_assert_cmpuint(after.checkpoints, >, before.checkpoints);
    for (uint64_t i = 0; i < REGIONS; i += 97) {
        uint64_t wrote;
        g_assert_cmpint(vv_view_read(f->view, &wrote, i * VV_REGION_BYTES, sizeof wrote), ==, sizeof wrote);
        g_assert_cmpuint(wrote, ==, i * VV_REGION_BYTES);
    }
}

/* Little is free, and nothing that journalling brings back is why: who writes goes on all the same. */
static void test_low_for_good(Fixture *f, gconstpointer user)
{
    (void) user;
    g_autoptr(GPtrArray) held = g_ptr_array_new_with_free_func(vv_slab_put);
    if (TEST_SANITIZED) {
        g_test_skip("a sanitizer has its own malloc");
        return;
    }
    set_integrity(f->test);
    make_room(f, SPAN_BYTES, ROOM_BYTES);
    fill(f);
    vv_slab_starve(VV_SLAB_RESERVE_BYTES);
    for (unsigned more = 0; more < (1u << 20); more += vv_slab_is_low() ? 8192 : 0) /* what writes and a checkpoint give back changes nothing */
        g_ptr_array_add(held, vv_slab_get(8192));
    for (unsigned i = 0; i < 64; i++)
        write_at(f, place(f), VV_BLOCK_BYTES);
    flush(f);
    g_assert_true(vv_slab_is_low());
    vv_slab_starve(SIZE_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    atomic_store(&test_memory.traps, g_getenv("VV_MEMORY_TRAP") != NULL);
    gpointer span = GSIZE_TO_POINTER(SPAN_BYTES + ROOM_BYTES);
    gpointer wide = GSIZE_TO_POINTER((uint64_t) REGIONS * VV_REGION_BYTES + WIDE_ROOM_BYTES);
    g_test_add("/memory/none/in-place", Fixture, span, set_up, test_in_place, tear_down);
    g_test_add("/memory/none/redirected", Fixture, span, set_up, test_redirected, tear_down);
    g_test_add("/memory/none/first-touch", Fixture, span, set_up, test_first_touch, tear_down);
    g_test_add("/memory/low-for-good", Fixture, span, set_up, test_low_for_good, tear_down);
    g_test_add("/memory/starved", Fixture, wide, set_up, test_starved, tear_down);
    return g_test_run();
}
