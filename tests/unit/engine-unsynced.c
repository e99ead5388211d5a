/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is kept to be written again: against a list that keeps everything. */
#include "unsynced.h"

#include <glib.h>
#include <string.h>

#define RING_BYTES 4096u
#define WRITES_MAX 32u
#define LENGTH_MAX 700u

typedef struct {
    uint64_t offset;
    uint32_t length_bytes;
    uint8_t fill;
} Model;

static void add(VvUnsynced *unsynced, GArray *model, uint64_t offset, uint32_t length_bytes, uint8_t fill)
{
    uint8_t data[LENGTH_MAX];
    Model write = { offset, length_bytes, fill };

    memset(data, fill, length_bytes);
    vv_unsynced_add(unsynced, offset, data, length_bytes);
    memset(data, 0xee, length_bytes); /* it has a copy */
    g_array_append_val(model, write);
}

/* All from the @first on are kept, in order. */
static void compare(VvUnsynced *unsynced, const GArray *model, uint64_t first)
{
    uint64_t cursor = 0, offset, seen = first;
    uint32_t length_bytes;
    void *data;

    while (vv_unsynced_next(unsynced, &cursor, &offset, &data, &length_bytes)) {
        const Model *write = &g_array_index(model, Model, seen);

        g_assert_cmpuint(seen, <, model->len);
        g_assert_cmpuint(offset, ==, write->offset);
        g_assert_cmpuint(length_bytes, ==, write->length_bytes);
        for (uint32_t i = 0; i < length_bytes; i++)
            g_assert_cmpuint(((uint8_t *) data)[i], ==, write->fill);
        seen++;
    }
    g_assert_cmpuint(seen, ==, model->len);
}

static void test_random(void)
{
    for (unsigned round = 0; round < 200; round++) {
        VvUnsynced *unsynced = vv_unsynced_new(RING_BYTES, WRITES_MAX);
        g_autoptr(GArray) model = g_array_new(FALSE, FALSE, sizeof(Model));
        uint64_t clean = 0, mark = 0, missing = 0; /* missing: numbers below are lost, 0: none */

        g_assert_true(vv_unsynced_is_empty(unsynced));
        for (unsigned step = 0; step < 300; step++) {
            switch (g_test_rand_int_range(0, 10)) {
            case 0:
                mark = vv_unsynced_mark(unsynced);
                g_assert_cmpuint(mark, ==, model->len);
                break;
            case 1:
                vv_unsynced_clean(unsynced, mark);
                clean = MAX(clean, mark);
                if (mark >= missing)
                    missing = 0;
                break;
            default:
                add(unsynced, model, (uint64_t) g_test_rand_int_range(0, 1 << 30),
                    (uint32_t) g_test_rand_int_range(1, LENGTH_MAX), (uint8_t) step);
                if (!vv_unsynced_is_whole(unsynced))
                    missing = model->len;
            }
            g_assert_cmpint(vv_unsynced_is_whole(unsynced), ==, missing == 0);
            g_assert_cmpint(vv_unsynced_is_empty(unsynced), ==, clean == model->len && missing == 0);
            compare(unsynced, model, missing ? model->len : clean);
        }
        vv_unsynced_free(unsynced);
    }
}

/* A ring that is synced whenever it is high keeps everything for ever. */
static void test_high(void)
{
    VvUnsynced *unsynced = vv_unsynced_new(RING_BYTES, WRITES_MAX);
    g_autoptr(GArray) model = g_array_new(FALSE, FALSE, sizeof(Model));
    unsigned syncs = 0;

    for (unsigned step = 0; step < 2000; step++) {
        add(unsynced, model, step, 1 + step % LENGTH_MAX, (uint8_t) step);
        g_assert_true(vv_unsynced_is_whole(unsynced));
        if (vv_unsynced_is_high(unsynced)) {
            vv_unsynced_clean(unsynced, vv_unsynced_mark(unsynced));
            g_assert_false(vv_unsynced_is_high(unsynced));
            syncs++;
        }
    }
    g_assert_cmpuint(syncs, >, 100);
    g_assert_cmpuint(syncs, <, 1000);
    vv_unsynced_free(unsynced);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/unsynced/random", test_random);
    g_test_add_func("/unsynced/high", test_high);
    return g_test_run();
}
