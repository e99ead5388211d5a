/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ring of events: numbers, what is kept, who is told, what a successor knows. */
#include "events_file.h"
#include "pool_private.h"
#include "util.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

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

/* ---- with a file that outlives the log */

static int file_new(void)
{
    int fd = memfd_create("events", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_cmpint(ftruncate(fd, VV_EVENTS_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

static void fixture_take_over(VvPool *pool, int fd)
{
    fixture_open(pool);
    vv_event_log_keep(pool->events, fd);
}

static void check_event(GPtrArray *events, unsigned i, uint64_t number, VvSeverity severity, const char *code, const char *object,
    const char *message)
{
    const VvEvent *event = g_ptr_array_index(events, i);

    g_assert_cmpuint(event->number, ==, number);
    g_assert_cmpint(event->severity, ==, severity);
    g_assert_cmpstr(event->code, ==, code);
    g_assert_cmpstr(event->object, ==, object);
    g_assert_cmpstr(event->message, ==, message);
    g_assert_cmpuint(event->time_ns, >, 0);
}

static void test_successor(void)
{
    vv_autofd int fd = file_new();
    g_autoptr(GPtrArray) events = NULL;
    VvPool pool;

    fixture_take_over(&pool, fd);
    vv_pool_event(&pool, VV_SEVERITY_INFO, "one", NULL, "first");
    vv_pool_event(&pool, VV_SEVERITY_CRITICAL, "two", "db", "second");
    vv_event_log_free(pool.events);
    fixture_take_over(&pool, fd);
    vv_pool_event(&pool, VV_SEVERITY_WARNING, "three", NULL, "third");
    vv_event_log_free(pool.events);
    fixture_take_over(&pool, fd);
    events = vv_pool_events(&pool, 0);
    g_assert_cmpuint(events->len, ==, 3);
    check_event(events, 0, 1, VV_SEVERITY_INFO, "one", "", "first");
    check_event(events, 1, 2, VV_SEVERITY_CRITICAL, "two", "db", "second");
    check_event(events, 2, 3, VV_SEVERITY_WARNING, "three", "", "third");
    vv_event_log_free(pool.events);
}

static void test_successor_wrap(void)
{
    vv_autofd int fd = file_new();
    g_autoptr(GPtrArray) events = NULL;
    VvPool pool;

    fixture_take_over(&pool, fd);
    for (unsigned i = 0; i < VV_EVENTS_KEPT + 10; i++)
        vv_pool_event(&pool, VV_SEVERITY_INFO, "many", NULL, "%u", i);
    vv_event_log_free(pool.events);
    fixture_take_over(&pool, fd);
    events = vv_pool_events(&pool, 0);
    g_assert_cmpuint(events->len, ==, VV_EVENTS_KEPT);
    check_event(events, 0, 11, VV_SEVERITY_INFO, "many", "", "10");
    vv_event_log_free(pool.events);
}

/* What is too long is cut, between characters. */
static void test_long(void)
{
    vv_autofd int fd = file_new();
    g_autoptr(GPtrArray) events = NULL;
    g_autofree char *as = g_strnfill(900, 'a'), *uml = NULL;
    GString *text = g_string_new("x");
    const VvEvent *event;
    VvPool pool;

    for (unsigned i = 0; i < 400; i++)
        g_string_append(text, "\303\244");
    uml = g_string_free(text, FALSE);
    fixture_take_over(&pool, fd);
    vv_pool_event(&pool, VV_SEVERITY_INFO, "long", as, "%s", uml);
    vv_event_log_free(pool.events);
    fixture_take_over(&pool, fd);
    events = vv_pool_events(&pool, 0);
    g_assert_cmpuint(events->len, ==, 1);
    event = g_ptr_array_index(events, 0);
    g_assert_cmpstr(event->code, ==, "long");
    g_assert_true(g_str_has_prefix(as, event->object) && strlen(event->object) == 240);
    g_assert_true(g_str_has_prefix(uml, event->message) && strlen(event->message) == 235);
    vv_event_log_free(pool.events);
}

/* Any byte: the others are there, and this one is not, or as it was. */
static void test_damaged(void)
{
    vv_autofd int fd = file_new();
    uint8_t *bytes = mmap(NULL, VV_EVENTS_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    VvPool pool;

    fixture_take_over(&pool, fd);
    for (unsigned i = 1; i <= 3; i++)
        vv_pool_event(&pool, VV_SEVERITY_INFO, "code", "object", "message %u", i);
    vv_event_log_free(pool.events);
    for (unsigned at = 0; at < VV_EVENT_SLOT_BYTES; at++) {
        g_autoptr(GPtrArray) events = NULL;

        bytes[2 * VV_EVENT_SLOT_BYTES + at] ^= 0x41;
        fixture_take_over(&pool, fd);
        events = vv_pool_events(&pool, 0);
        g_assert_cmpuint(events->len, ==, 2);
        check_event(events, 0, 1, VV_SEVERITY_INFO, "code", "object", "message 1");
        check_event(events, 1, 3, VV_SEVERITY_INFO, "code", "object", "message 3");
        vv_event_log_free(pool.events);
        bytes[2 * VV_EVENT_SLOT_BYTES + at] ^= 0x41;
    }
    munmap(bytes, VV_EVENTS_FILE_BYTES);
}

/* What is no such file is done without. */
static void test_no_file(void)
{
    vv_autofd int fd = memfd_create("events", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    VvPool pool;

    fixture_take_over(&pool, fd);
    vv_pool_event(&pool, VV_SEVERITY_INFO, "one", NULL, "first");
    vv_event_log_free(pool.events);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "engine-events");
    g_test_add_func("/events/order", test_order);
    g_test_add_func("/events/wrap", test_wrap);
    g_test_add_func("/events/watchers", test_watchers);
    g_test_add_func("/events/severities", test_severities);
    g_test_add_func("/events/successor", test_successor);
    g_test_add_func("/events/successor-wrap", test_successor_wrap);
    g_test_add_func("/events/long", test_long);
    g_test_add_func("/events/damaged", test_damaged);
    g_test_add_func("/events/no-file", test_no_file);
    return g_test_run();
}
