/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Eras: what was freed is out of use exactly when everybody who was there has left. */
#include "engine.h"

#include <glib.h>

static void test_order(void)
{
    VvPool pool = { .eras = vv_eras_new() };
    uint32_t before = vv_era_enter(&pool);
    uint64_t tag = vv_era_tag(&pool);
    g_assert_false(vv_era_passed(&pool, tag));
    uint32_t after = vv_era_enter(&pool); /* in a later era: asking made one current */
    g_assert_false(vv_era_passed(&pool, tag));
    vv_era_leave(&pool, before);
    g_assert_true(vv_era_passed(&pool, tag)); /* the newcomer is in nobody's way */
    uint64_t next = vv_era_tag(&pool);
    g_assert_cmpuint(next, >, tag);
    g_assert_false(vv_era_passed(&pool, next));
    vv_era_leave(&pool, after);
    g_assert_true(vv_era_passed(&pool, next));
    vv_eras_free(pool.eras);
}

/* One who stays holds up what was freed since, and only that, however many eras go by. */
static void test_one_stays(void)
{
    VvPool pool = { .eras = vv_eras_new() };
    uint32_t slot = vv_era_enter(&pool);
    uint64_t tag = vv_era_tag(&pool);
    for (unsigned i = 0; i < 10 * VV_ERAS; i++) {
        vv_era_leave(&pool, vv_era_enter(&pool));
        g_assert_false(vv_era_passed(&pool, tag));
        g_assert_false(vv_era_passed(&pool, vv_era_tag(&pool)));
        g_assert_true(vv_era_passed(&pool, tag - 1));
    }
    vv_era_leave(&pool, slot);
    g_assert_true(vv_era_passed(&pool, tag));
    vv_eras_free(pool.eras);
}

/* Readers look at a place that a freer replaces; after the era has passed the freer spoils it. */
typedef struct {
    VvPool pool;
    int *_Atomic place;
    _Atomic bool stop;
} Race;

static void *reader_main(void *user)
{
    Race *race = user;
    while (!atomic_load(&race->stop)) {
        uint32_t slot = vv_era_enter(&race->pool);
        int *place = atomic_load(&race->place);
        for (unsigned i = 0; i < 20; i++)
            g_assert_cmpint(__atomic_load_n(place, __ATOMIC_RELAXED), ==, 1);
        vv_era_leave(&race->pool, slot);
    }
    return NULL;
}

static void test_race(void)
{
    enum { READERS = 3, PLACES = 20000 };
    Race race = { .pool = { .eras = vv_eras_new() } };
    int places[2] = { 1, 1 };
    pthread_t threads[READERS];
    atomic_store(&race.place, &places[0]);
    for (unsigned i = 0; i < READERS; i++)
        g_assert_cmpint(pthread_create(&threads[i], NULL, reader_main, &race), ==, 0);
    for (unsigned i = 0; i < PLACES; i++) {
        int *old = atomic_load(&race.place);
        atomic_store(&race.place, old == &places[0] ? &places[1] : &places[0]);
        uint64_t tag = vv_era_tag(&race.pool);
        while (!vv_era_passed(&race.pool, tag))
            sched_yield();
        __atomic_store_n(old, 0, __ATOMIC_RELAXED);
        __atomic_store_n(old, 1, __ATOMIC_RELAXED);
    }
    atomic_store(&race.stop, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    vv_eras_free(race.pool.eras);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/era/order", test_order);
    g_test_add_func("/engine/era/one-stays", test_one_stays);
    g_test_add_func("/engine/era/race", test_race);
    return g_test_run();
}
