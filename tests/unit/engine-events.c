/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ring of events: numbers, what is kept, who is told. */
#include "pool_private.h"
#include "util.h"

#include <string.h>

static unsigned told;

static void notify_cb(void *user)
{
    g_assert_cmpstr(user, ==, "me");
    told++;
}

static void fixture_open(VvPool *pool)
{
    memset(pool, 0, sizeof *pool);
    pool->events = vv_event_log_new();
}

static void test_order(void)
{
    VvPool pool;
    g_autoptr(GPtrArray) all = NULL, later = NULL, none = NULL;
    const VvEvent *event;

    fixture_open(&pool);
    vv_pool_event(&pool, VV_SEVERITY_INFO, "one", NULL, "number %d", 1);
    vv_pool_event(&pool, VV_SEVERITY_INFO, "two", "db", "number %d", 2);
    all = vv_pool_events(&pool, 0);
    g_assert_cmpuint(all->len, ==, 2);
    event = g_ptr_array_index(all, 0);
    g_assert_cmpuint(event->number, ==, 1);
    g_assert_cmpstr(event->code, ==, "one");
    g_assert_cmpstr(event->object, ==, "");
    g_assert_cmpstr(event->message, ==, "number 1");
    later = vv_pool_events(&pool, 1);
    g_assert_cmpuint(later->len, ==, 1);
    event = g_ptr_array_index(later, 0);
    g_assert_cmpstr(event->object, ==, "db");
    g_assert_cmpuint(event->time_ns, >, 0);
    none = vv_pool_events(&pool, UINT64_MAX);
    g_assert_cmpuint(none->len, ==, 0);
    vv_event_log_free(pool.events);
}

static void test_wrap(void)
{
    VvPool pool;
    g_autoptr(GPtrArray) kept = NULL;

    fixture_open(&pool);
    for (unsigned i = 0; i < VV_EVENTS_KEPT + 10; i++)
        vv_pool_event(&pool, VV_SEVERITY_INFO, "many", NULL, "%u", i);
    kept = vv_pool_events(&pool, 0);
    g_assert_cmpuint(kept->len, ==, VV_EVENTS_KEPT);
    g_assert_cmpstr(((const VvEvent *) g_ptr_array_index(kept, 0))->message, ==, "10");
    g_assert_cmpuint(((const VvEvent *) g_ptr_array_index(kept, kept->len - 1))->number, ==, VV_EVENTS_KEPT + 10);
    vv_event_log_free(pool.events);
}

static void test_watchers(void)
{
    VvPool pool;
    char me[] = "me";

    fixture_open(&pool);
    vv_pool_watch_events(&pool, notify_cb, me);
    vv_pool_event(&pool, VV_SEVERITY_INFO, "one", NULL, "one");
    vv_pool_event(&pool, VV_SEVERITY_INFO, "two", NULL, "two");
    g_assert_cmpuint(told, ==, 2);
    vv_event_log_free(pool.events);
}

static void test_severities(void)
{
    g_assert_cmpstr(vv_severity_name(VV_SEVERITY_INFO), ==, "info");
    g_assert_cmpstr(vv_severity_name(VV_SEVERITY_CRITICAL), ==, "critical");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "engine-events");
    g_test_add_func("/events/order", test_order);
    g_test_add_func("/events/wrap", test_wrap);
    g_test_add_func("/events/watchers", test_watchers);
    g_test_add_func("/events/severities", test_severities);
    return g_test_run();
}
