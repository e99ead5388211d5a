/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking: `stats`, `top`, `events`, `doctor`, `version`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "nouns.h"
#include "util.h"

#define FIX_GAP 7u /* blanks between a command and what it brings */
#define TOP_INTERVAL_MS 2000u

/* ---- stats */

/* What one operation of a LUN did since the last look. */
typedef struct {
    double per_second;
    double bytes_per_second;
    double mean_ms;
} Rate;

static JsonObject *find_operation(JsonObject *stats, const char *lun, const char *operation)
{
    return vv_json_object(vv_json_object(vv_json_object(stats, "luns"), lun), operation);
}

static Rate rate_of(JsonObject *now, JsonObject *before, const char *lun, const char *operation)
{
    JsonObject *a = find_operation(before, lun, operation);
    JsonObject *b = find_operation(now, lun, operation);
    double span = (double) (vv_json_u64(now, "time_ns") - vv_json_u64(before, "time_ns")) / 1e9;
    double count = vv_json_double(b, "count") - vv_json_double(a, "count");
    double seconds = vv_json_double(b, "seconds") - vv_json_double(a, "seconds");

    if (span <= 0 || count <= 0)
        return (Rate){ 0 };
    return (
        Rate){ count / span, (vv_json_double(b, "bytes") - vv_json_double(a, "bytes")) / span, seconds / count * 1000 };
}

typedef struct {
    char *lun;
    char *operation;
    Rate rate;
} Row;

static void row_free(Row *row)
{
    g_free(row->lun);
    g_free(row->operation);
    g_free(row);
}

static int compare_rows(gconstpointer a, gconstpointer b)
{
    const Rate *x = &(*(const Row *const *) a)->rate;
    const Rate *y = &(*(const Row *const *) b)->rate;

    if (x->bytes_per_second != y->bytes_per_second)
        return x->bytes_per_second < y->bytes_per_second ? 1 : -1;
    return (x->per_second < y->per_second) - (x->per_second > y->per_second);
}

/* The rates between two looks, the busiest first. */
static void print_rates(JsonObject *now, JsonObject *before, unsigned lines_max)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func((GDestroyNotify) row_free);
    g_autoptr(GList) luns = vv_json_object(now, "luns") ? json_object_get_members(vv_json_object(now, "luns")) : NULL;

    for (GList *lun = luns; lun; lun = lun->next) {
        JsonObject *operations = vv_json_object(vv_json_object(now, "luns"), lun->data);
        g_autoptr(GList) names = operations ? json_object_get_members(operations) : NULL;

        for (GList *name = names; name; name = name->next) {
            Rate rate = rate_of(now, before, lun->data, name->data);
            Row *row = rate.per_second > 0 ? g_new0(Row, 1) : NULL;

            if (!row)
                continue;
            *row = (Row){ g_strdup(lun->data), g_strdup(name->data), rate };
            g_ptr_array_add(rows, row);
        }
    }
    g_ptr_array_sort(rows, compare_rows);
    printf("%-24s  %-10s  %10s  %10s  %9s\n", "LUN", "OP", "OPS/S", "BYTES/S", "MEAN MS");
    for (unsigned i = 0; i < rows->len && i < lines_max; i++) {
        const Row *row = g_ptr_array_index(rows, i);
        g_autofree char *bytes = vv_size_format((uint64_t) row->rate.bytes_per_second);

        printf("%-24s  %-10s  %10.1f  %10s  %9.3f\n", row->lun, row->operation, row->rate.per_second, bytes,
            row->rate.mean_ms);
    }
    fflush(stdout);
}

static void print_counters(JsonObject *stats)
{
    JsonObject *pool = vv_json_object(stats, "pool");
    JsonObject *luns = vv_json_object(stats, "luns");
    g_autoptr(GList) keys = pool ? json_object_get_members(pool) : NULL;
    g_autoptr(GList) names = luns ? json_object_get_members(luns) : NULL;

    for (GList *key = keys; key; key = key->next)
        if (vv_json_is_number(pool, key->data))
            printf("%-24s  %" G_GUINT64_FORMAT "\n", (char *) key->data, vv_json_u64(pool, key->data));
    if (names)
        printf("\n%-24s  %-10s  %14s  %10s  %12s\n", "LUN", "OP", "COUNT", "BYTES", "SECONDS");
    for (GList *name = names; name; name = name->next) {
        JsonObject *operations = vv_json_object(luns, name->data);
        g_autoptr(GList) ops = operations ? json_object_get_members(operations) : NULL;

        for (GList *op = ops; op; op = op->next) {
            JsonObject *values = vv_json_object(operations, op->data);
            g_autofree char *bytes = vv_size_format(vv_json_u64(values, "bytes"));

            printf("%-24s  %-10s  %14" G_GUINT64_FORMAT "  %10s  %12.3f\n", (char *) name->data, (char *) op->data,
                vv_json_u64(values, "count"), bytes, vv_json_double(values, "seconds"));
        }
    }
}

/* All pieces of stats.get as one document. */
static JsonObject *get_stats(VvInvocation *inv, GError **error)
{
    g_autoptr(JsonObject) whole = NULL;
    g_autofree char *next = NULL;

    do {
        JsonObject *params = vv_params(inv);
        g_autoptr(JsonObject) piece = NULL;
        JsonObject *luns;
        g_autoptr(GList) names = NULL;

        if (next)
            json_object_set_string_member(params, "cursor", next);
        piece = vv_call(inv, "stats.get", params, error);
        if (!piece)
            return NULL;
        g_free(next);
        next = g_strdup(vv_json_text(piece, "next"));
        if (!whole) {
            whole = g_steal_pointer(&piece);
            continue;
        }
        luns = vv_json_object(piece, "luns");
        names = luns ? json_object_get_members(luns) : NULL;
        for (GList *name = names; name && vv_json_object(whole, "luns"); name = name->next)
            json_object_set_member(
                vv_json_object(whole, "luns"), name->data, json_node_copy(json_object_get_member(luns, name->data)));
    } while (next);
    json_object_remove_member(whole, "next");
    return g_steal_pointer(&whole);
}

/* Subscribe to @topic with what is in @params (taken). */
static bool subscribe(VvInvocation *inv, const char *topic, JsonObject *params, GError **error)
{
    json_object_set_string_member(params, "topic", topic);
    if (vv_connect(inv, error))
        return vv_client_call(
            inv->client, "subscribe", params, false, vv_monotonic_ms() + VV_LOOK_TIMEOUT_MS, NULL, error);
    json_object_unref(params);
    return false;
}

/* The next notification @method; NULL on failure, or after Ctrl-C with *error unset. */
static JsonObject *next_notification(VvInvocation *inv, const char *method, GError **error)
{
    uint64_t deadline_ms = inv->timeout_ms > 0 ? inv->started_ms + inv->timeout_ms : 0;

    for (;;) {
        g_autofree char *name = NULL;
        g_autoptr(JsonObject) params = NULL;

        if (!vv_client_next(inv->client, deadline_ms, &name, &params, error)) {
            if (vv_interrupted)
                vv_interrupt_die();
            return NULL;
        }
        if (g_strcmp0(name, method) == 0) {
            json_object_remove_member(params, "subscription");
            json_object_remove_member(params, "next");
            return g_steal_pointer(&params);
        }
    }
}

/* Rates every @interval_ms; @screens 0: without end. */
static bool watch_stats(VvInvocation *inv, uint64_t interval_ms, bool clears, unsigned screens, GError **error)
{
    JsonObject *params = vv_params(inv);
    g_autoptr(JsonObject) before = NULL;

    json_object_set_int_member(params, "interval_ms", (gint64) MAX(interval_ms, 100));
    if (!subscribe(inv, "stats", params, error))
        return false;
    vv_interrupt_catch();
    for (unsigned shown = 0; screens == 0 || shown < screens;) {
        JsonObject *now = next_notification(inv, "stats", error);

        if (!now)
            return false;
        if (inv->json) {
            vv_json_print_object(now);
            fflush(stdout);
            shown++;
        } else if (before) {
            if (clears)
                fputs("\033[H\033[J", stdout);
            print_rates(now, before, clears ? 40 : G_MAXUINT);
            shown++;
        }
        g_clear_pointer(&before, json_object_unref);
        before = now;
    }
    return true;
}

bool vv_run_stats(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *interval = vv_option(inv, "interval");
    g_autoptr(JsonObject) stats = NULL;
    uint64_t interval_ms;

    if (interval)
        return vv_seconds_parse(interval, &interval_ms, error) && watch_stats(inv, interval_ms, false, 0, error);
    stats = get_stats(inv, error);
    if (!stats)
        return false;
    if (inv->json)
        vv_json_print_object(stats);
    else
        print_counters(stats);
    return true;
}

bool vv_run_top(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *interval = vv_option(inv, "interval");
    uint64_t interval_ms = TOP_INTERVAL_MS;
    bool terminal = isatty(STDOUT_FILENO);

    if (interval && !vv_seconds_parse(interval, &interval_ms, error))
        return false;
    return watch_stats(inv, interval_ms, terminal && !inv->json, terminal && !inv->json ? 0 : 1, error);
}

/* ---- events */

/* "10:00" or "10:00:30", when it was last so: today, or yesterday if that is still to come. NULL: @text is no time of day. */
static GDateTime *time_of_day(const char *text, GTimeZone *zone)
{
    g_autoptr(GDateTime) now = g_date_time_new_now(zone);
    g_autofree char *today = g_date_time_format(now, "%Y-%m-%d");
    g_autofree char *full = g_strconcat(today, "T", text, strlen(text) == 5 ? ":00" : "", NULL);
    g_autoptr(GDateTime) time = NULL;

    if ((strlen(text) != 5 && strlen(text) != 8) || text[2] != ':')
        return NULL;
    time = g_date_time_new_from_iso8601(full, zone);
    if (time && g_date_time_compare(time, now) > 0)
        return g_date_time_add_days(time, -1);
    return g_steal_pointer(&time);
}

/* A span before now ("10m", "2h", "3d"), a time of day, a local date with or without time, or RFC 3339. */
static bool since_parse(const char *text, uint64_t *ret_ns, GError **error)
{
    static const char units[] = "smhdw";
    static const uint64_t unit_seconds[] = { 1, 60, 3600, 86400, 604800 };
    char *end = NULL;
    guint64 count = g_ascii_strtoull(text, &end, 10);
    const char *unit = end != text && *end && !end[1] ? strchr(units, *end) : NULL;
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    g_autofree char *iso = g_strdup(text);
    g_autofree char *full = NULL;
    g_autoptr(GDateTime) time = NULL;
    uint64_t now_ns = vv_now_ns();

    if (unit && g_ascii_isdigit(*text)) {
        uint64_t seconds = MIN(count, now_ns / 1000000000u / unit_seconds[unit - units]) * unit_seconds[unit - units];

        *ret_ns = now_ns - MIN(seconds * 1000000000u, now_ns);
        return true;
    }
    g_strdelimit(iso, " ", 'T');
    full = strlen(iso) == 10   ? g_strconcat(iso, "T00:00:00", NULL)
           : strlen(iso) == 16 ? g_strconcat(iso, ":00", NULL)
                               : g_strdup(iso);
    time = time_of_day(text, zone);
    if (!time)
        time = g_date_time_new_from_iso8601(full, zone);
    if (!time || g_date_time_to_unix(time) < 0) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL,
            "`%s` is no time: write 04:07, 2026-11-02, \"2026-11-02 04:07\", or a span before now such as 10m, 2h, 3d", text);
        return false;
    }
    *ret_ns = (uint64_t) g_date_time_to_unix(time) * 1000000000u;
    return true;
}

static bool follow_events(VvInvocation *inv, JsonObject *params, GError **error)
{
    if (!subscribe(inv, "events", params, error))
        return false;
    vv_interrupt_catch();
    for (;;) {
        g_autoptr(JsonObject) event = next_notification(inv, "event", error);
        g_autofree char *time = NULL;
        g_autofree char *message = NULL;
        const char *severity;
        const char *object;

        if (!event)
            return false;
        if (inv->json) {
            vv_json_print_object(event);
        } else {
            time = vv_time_format_local(vv_json_u64(event, "time_ns"));
            message = vv_clean(vv_json_text(event, "message") ? vv_json_text(event, "message") : "?");
            severity = vv_json_text(event, "severity");
            object = vv_json_text(event, "object");
            printf("%s  %-8s  %s  %s\n", time, severity ? severity : "?", object ? object : "-", message);
        }
        fflush(stdout);
    }
}

bool vv_run_events(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *since = vv_option(inv, "since");
    g_autoptr(JsonObject) params = vv_params(inv);
    g_autoptr(JsonArray) items = NULL;
    uint64_t since_ns;

    if (!vv_list_check(inv, error) || (since && !since_parse(since, &since_ns, error)))
        return false;
    if (since)
        json_object_set_int_member(params, "since_ns", (gint64) since_ns);
    if (vv_option(inv, "follow"))
        return follow_events(inv, g_steal_pointer(&params), error);
    items = vv_call_list(inv, "events.list", g_steal_pointer(&params), error);
    return items && vv_list_print(inv, items, error);
}

/* ---- doctor */

static void print_problem(const VvInvocation *inv, JsonObject *problem, size_t severity_width, size_t fix_width)
{
    const char *severity = vv_json_text(problem, "severity") ? vv_json_text(problem, "severity") : "?";
    g_autofree char *painted = vv_paint(inv, severity,
        strcmp(severity, "critical") == 0  ? 31
        : strcmp(severity, "warning") == 0 ? 33
                                           : 0);
    g_autofree char *message = vv_clean(vv_json_text(problem, "message") ? vv_json_text(problem, "message") : "?");
    JsonArray *fixes = vv_json_array(problem, "fix");
    JsonArray *effects = vv_json_array(problem, "effect");

    printf("%s%*s  %s\n", painted, (int) (severity_width - strlen(severity)), "", message);
    for (unsigned i = 0; fixes && i < json_array_get_length(fixes); i++) {
        const char *fix = vv_json_element_text(fixes, i);
        bool has_effect = effects && i < json_array_get_length(effects) && !json_array_get_null_element(effects, i);

        printf("%*s%s", (int) severity_width + 4, "", fix);
        if (has_effect)
            printf("%*s%s", (int) (fix_width - strlen(fix) + FIX_GAP), "", vv_json_element_text(effects, i));
        putchar('\n');
    }
}

bool vv_run_doctor(VvInvocation *inv, int *ret_exit, GError **error)
{
    g_autoptr(JsonArray) problems = vv_call_list(inv, "doctor.list", vv_params(inv), error);
    size_t severity_width = 0;
    size_t fix_width = 0;

    if (!problems)
        return false;
    for (unsigned i = 0; i < json_array_get_length(problems); i++) {
        JsonObject *problem = vv_json_element(problems, i);
        const char *severity = vv_json_text(problem, "severity");
        JsonArray *fixes = vv_json_array(problem, "fix");

        severity_width = MAX(severity_width, strlen(severity ? severity : "?"));
        for (unsigned j = 0; fixes && j < json_array_get_length(fixes); j++)
            fix_width = MAX(fix_width, strlen(vv_json_element_text(fixes, j)));
        if (g_strcmp0(severity, "info") != 0) /* a word that is not known is not ok */
            *ret_exit = 5;
    }
    if (inv->json)
        vv_json_print_array(problems);
    for (unsigned i = 0; !inv->json && i < json_array_get_length(problems); i++)
        if (vv_json_element(problems, i))
            print_problem(inv, vv_json_element(problems, i), severity_width, fix_width);
    return true;
}

/* ---- version */

bool vv_run_version(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) daemon = NULL;
    g_autoptr(JsonObject) result = json_object_new();
    g_autoptr(GError) failure = NULL;

    if (inv->pool && !vv_place_need(inv, error))
        return false;
    daemon = vv_call(inv, "version.get", NULL, &failure); /* no daemon is no failure here */
    json_object_set_string_member(result, "version", PACKAGE_VERSION);
    json_object_set_int_member(result, "protocol", VV_PROTOCOL_VERSION);
    if (daemon)
        json_object_set_object_member(result, "daemon", json_object_ref(daemon));
    else
        json_object_set_null_member(result, "daemon");
    if (inv->json) {
        vv_json_print_object(result);
        return true;
    }
    printf("vvfs-admin %s\n", PACKAGE_VERSION);
    if (daemon)
        printf("vvfs %s (pool %s)\n", vv_json_text(daemon, "version") ? vv_json_text(daemon, "version") : "?",
            inv->place->name);
    return true;
}
