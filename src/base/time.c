/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clocks, and moments as text. */
#include "util.h"

#include <time.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    g_assert(clock_gettime(clock, &now) == 0);
    return (uint64_t) now.tv_sec * NS_PER_SECOND + (uint64_t) now.tv_nsec;
}

uint64_t vv_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t vv_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t vv_monotonic_ms(void)
{
    return vv_monotonic_ns() / NS_PER_MS;
}

/* 2^64 ns end in the year 2554, so years have four digits and the conversions cannot fail. */
static struct tm broken_down(uint64_t ns, bool local)
{
    time_t seconds = (time_t) (ns / NS_PER_SECOND);
    struct tm parts;

    if (local)
        g_assert(localtime_r(&seconds, &parts));
    else
        g_assert(gmtime_r(&seconds, &parts));
    return parts;
}

char *vv_time_format_utc(uint64_t ns)
{
    struct tm parts = broken_down(ns, false);
    char text[32];

    g_assert(strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts) > 0);
    return g_strdup_printf("%s.%09" G_GUINT64_FORMAT "Z", text, ns % NS_PER_SECOND);
}

char *vv_time_format_local(uint64_t ns)
{
    struct tm parts = broken_down(ns, true);
    char text[32];

    g_assert(strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) > 0);
    return g_strdup(text);
}

char *vv_time_format_compact(uint64_t ns)
{
    struct tm parts = broken_down(ns, false);
    char text[32];

    g_assert(strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts) > 0);
    return g_strdup(text);
}
