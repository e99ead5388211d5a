/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Retention: which names count, and what each rule keeps. */
#include "error.h"
#include "prune.h"
#include "util.h"

#include <string.h>

#define HOUR UINT64_C(3600)
#define DAY (24 * HOUR)
#define START UINT64_C(1793577600) /* 2026-11-02 00:00:00 UTC, a Monday */
#define NONE                           \
    {                                  \
        "auto", -1, -1, -1, -1, -1, -1 \
    }

static void test_names(void)
{
    uint64_t ns = 0;

    g_assert_true(vv_prune_name("auto-20261102T030700Z", "auto", &ns));
    g_assert_cmpuint(ns, ==, (START + 3 * HOUR + 420) * 1000000000);
    g_assert_true(vv_prune_name("auto-20261102T030700Z-2", "auto", &ns));
    g_assert_true(vv_prune_name("a-b-20261102T030700Z", "a-b", &ns));
    g_assert_false(vv_prune_name("auto", "auto", &ns));
    g_assert_false(vv_prune_name("auto-important", "auto", &ns));
    g_assert_false(vv_prune_name("auto-daily-20261102T030700Z", "auto", &ns));
    g_assert_false(vv_prune_name("automatic-20261102T030700Z", "auto", &ns));
    g_assert_false(vv_prune_name("auto-20260231T030700Z", "auto", &ns));
    g_assert_false(vv_prune_name("auto-20261102T030700Zx", "auto", &ns));
    g_assert_false(vv_prune_name("auto-20261102T030700Z-", "auto", &ns));
    g_assert_false(vv_prune_name("auto-20261102T250700Z", "auto", &ns));
}

typedef struct {
    VvPruneItem *items;
    unsigned count;
} List;

/* One snapshot every @step seconds, oldest first. */
static List make(unsigned count, uint64_t step)
{
    List list = { g_new0(VvPruneItem, count), count };

    for (unsigned i = 0; i < count; i++) {
        g_autofree char *stamp = vv_time_format_compact((START + i * step) * 1000000000);

        list.items[i].name = g_strdup_printf("auto-%s", stamp);
        list.items[i].created_ns = (START + i * step) * 1000000000;
    }
    return list;
}

static void clear(List *list)
{
    for (unsigned i = 0; i < list->count; i++)
        g_free((char *) list->items[i].name);
    g_free(list->items);
}

static unsigned removed(const List *list)
{
    unsigned count = 0;

    for (unsigned i = 0; i < list->count; i++)
        count += list->items[i].remove;
    return count;
}

static void test_last(void)
{
    VvPrune prune = NONE;
    List list = make(10, 60);

    prune.keep_last = 3;
    vv_prune_choose(&prune, list.items, list.count);
    g_assert_cmpuint(removed(&list), ==, 7);
    for (unsigned i = 0; i < 10; i++)
        g_assert_true(list.items[i].remove == (i < 7));
    clear(&list);
}

/* The manual's example: 27 hourly ones, 24 are kept. */
static void test_hourly(void)
{
    VvPrune prune = NONE;
    List list = make(27, HOUR);

    prune.keep_hourly = 24;
    vv_prune_choose(&prune, list.items, list.count);
    g_assert_cmpuint(removed(&list), ==, 3);
    g_assert_true(list.items[0].remove && list.items[1].remove && list.items[2].remove);
    clear(&list);
}

/* Of several in one period the newest stays. */
static void test_newest_of_period(void)
{
    VvPrune prune = NONE;
    List list = make(8, HOUR / 4);

    prune.keep_hourly = 2;
    vv_prune_choose(&prune, list.items, list.count);
    g_assert_cmpuint(removed(&list), ==, 6);
    g_assert_false(list.items[3].remove);
    g_assert_false(list.items[7].remove);
    clear(&list);
}

/* Each rule counts on its own: the newest hour is also the newest day. */
static void test_rules_overlap(void)
{
    VvPrune prune = NONE;
    List list = make(24 * 20, HOUR);
    unsigned kept;

    prune.keep_hourly = 24;
    prune.keep_daily = 14;
    prune.keep_weekly = 8;
    vv_prune_choose(&prune, list.items, list.count);
    kept = list.count - removed(&list);
    /* 24 hours: all of the last day. 14 days: 13 more. Weeks end on Sundays, days 7 and 14 of these 20: 7 is one of the days
     * only if it is among the last 14 (days 7 to 20): so nothing more but what lies before. */
    g_assert_cmpuint(kept, ==, 24 + 13);
    for (unsigned i = list.count - 24; i < list.count; i++)
        g_assert_false(list.items[i].remove);
    clear(&list);
}

static void test_months_and_years(void)
{
    VvPrune prune = NONE;
    List list = make(800, DAY);

    prune.keep_monthly = 3;
    prune.keep_yearly = 10;
    vv_prune_choose(&prune, list.items, list.count);
    /* November 2026 to January 2029: the last of January, December, November; the last of 2028 is December's. */
    g_assert_cmpuint(list.count - removed(&list), ==, 3 + 2);
    clear(&list);
}

static void test_keep_and_strangers(void)
{
    VvPrune prune = NONE;
    List list = make(5, HOUR);

    g_free((char *) list.items[0].name);
    list.items[0].name = g_strdup("by-hand");
    list.items[1].kept = true;
    prune.keep_last = 1;
    vv_prune_choose(&prune, list.items, list.count);
    g_assert_false(list.items[0].remove);
    g_assert_false(list.items[0].made);
    g_assert_false(list.items[1].remove);
    g_assert_true(list.items[1].made);
    g_assert_true(list.items[2].remove && list.items[3].remove);
    g_assert_false(list.items[4].remove);
    clear(&list);
}

static void test_refusals(void)
{
    g_autoptr(GError) error = NULL;
    VvPrune prune = NONE;

    g_assert_false(vv_prune_check(&prune, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_USAGE);
    g_clear_error(&error);
    prune.keep_last = 0;
    g_assert_false(vv_prune_check(&prune, NULL));
    prune.keep_yearly = 1;
    g_assert_true(vv_prune_check(&prune, NULL));
    prune.prefix = "";
    g_assert_false(vv_prune_check(&prune, NULL));
    prune.prefix = "a b";
    g_assert_false(vv_prune_check(&prune, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_INVALID_NAME);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prune/names", test_names);
    g_test_add_func("/prune/last", test_last);
    g_test_add_func("/prune/hourly", test_hourly);
    g_test_add_func("/prune/newest-of-period", test_newest_of_period);
    g_test_add_func("/prune/rules-overlap", test_rules_overlap);
    g_test_add_func("/prune/months-and-years", test_months_and_years);
    g_test_add_func("/prune/keep-and-strangers", test_keep_and_strangers);
    g_test_add_func("/prune/refusals", test_refusals);
    return g_test_run();
}
