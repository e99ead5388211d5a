/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pending against plain arrays: the newest state of each block, in the order of records, and what it adds to the used count. */
#include "pending.h"

#include <glib.h>

#define REGIONS 40u
#define BLOCKS (REGIONS * VV_REGION_BLOCKS)

typedef struct {
    VvPending pending;
    VvRecordRing records;
    uint64_t sequence;
    VvPlace applied[BLOCKS], newest[BLOCKS];
    uint64_t newest_sequence[BLOCKS]; /* 0: not pending */
} Fixture;

static void add(Fixture *f)
{
    VvRecord record = { .region = (uint64_t) g_test_rand_int_range(0, REGIONS), .sequence = ++f->sequence, .tag = 3 };
    record.first = (uint8_t) g_test_rand_int_range(0, VV_REGION_BLOCKS);
    record.count = (uint16_t) g_test_rand_int_range(1, (gint32) MIN(VV_REGION_BLOCKS - record.first, 20u) + 1);
    if (g_test_rand_int_range(0, 4) > 0)
        record.place = vv_place(1, (uint32_t) g_test_rand_int_range(0, 200000), true);
    uint64_t base = record.region * VV_REGION_BLOCKS + record.first;
    vv_records_push(&f->records, &record);
    vv_pending_set(&f->pending, &record, &f->applied[base]);
    for (unsigned i = 0; i < record.count; i++) {
        f->newest[base + i] = vv_place_after(record.place, i);
        f->newest_sequence[base + i] = record.sequence;
    }
}

static void apply_one(Fixture *f)
{
    VvRecord record = *vv_records_get(&f->records, 0);
    uint64_t base = record.region * VV_REGION_BLOCKS + record.first;
    vv_pending_drop(&f->pending, &record);
    vv_records_pop(&f->records);
    for (unsigned i = 0; i < record.count; i++) {
        f->applied[base + i] = vv_place_after(record.place, i);
        if (f->newest_sequence[base + i] == record.sequence)
            f->newest_sequence[base + i] = 0;
    }
}

static void check(const Fixture *f)
{
    int64_t delta = 0;
    uint64_t next = UINT64_MAX, found;
    for (unsigned b = 0; b < BLOCKS; b++) {
        const VvPendingRegion *region = vv_pending_find(&f->pending, b / VV_REGION_BLOCKS);
        const VvPendingBlock *block = region ? vv_pending_block(region, b % VV_REGION_BLOCKS) : NULL;
        g_assert_cmpint(block != NULL, ==, f->newest_sequence[b] != 0);
        if (block == NULL)
            continue;
        g_assert_cmpuint(block->place, ==, f->newest[b]);
        g_assert_cmpuint(block->sequence, ==, f->newest_sequence[b]);
        g_assert_cmpuint(block->tag, ==, 3);
        delta += (block->place != 0) - (f->applied[b] != 0);
        if (next == UINT64_MAX && b / VV_REGION_BLOCKS >= 7)
            next = b / VV_REGION_BLOCKS;
    }
    g_assert_cmpint(f->pending.used_delta, ==, delta);
    if (vv_pending_next_region(&f->pending, 7, &found))
        g_assert_cmpuint(found, ==, next);
    else
        g_assert_cmpuint(next, ==, UINT64_MAX);
}

static void test_random(void)
{
    Fixture *f = g_new0(Fixture, 1);
    vv_pending_init(&f->pending);
    for (unsigned round = 0; round < 60; round++) {
        unsigned adds = (unsigned) g_test_rand_int_range(0, 120), drops = (unsigned) g_test_rand_int_range(0, 120);
        for (unsigned i = 0; i < adds; i++)
            add(f);
        check(f);
        for (unsigned i = 0; i < drops && f->records.count > 0; i++)
            apply_one(f);
        check(f);
    }
    while (f->records.count > 0)
        apply_one(f);
    check(f);
    g_assert_cmpint(f->pending.used_delta, ==, 0);
    g_assert_cmpuint(f->pending.region_count, ==, 0);
    vv_pending_clear(&f->pending);
    vv_records_clear(&f->records);
    g_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/pending/random", test_random);
    return g_test_run();
}
