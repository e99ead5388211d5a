/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Retention: keep-last, -hourly, -daily, -weekly, -monthly, -yearly, each on its own ("the numbers overlap": the newest of
 * today is also the newest of this week). Only names that were made with the prefix are touched. */
#include "prune.h"

#include "transaction.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COMPACT_FORMAT "%Y%m%dT%H%M%SZ"
#define COMPACT_LENGTH 16u /* 20261102T030700Z */

bool vv_prune_name(const char *name, const char *prefix, uint64_t *ret_time_ns)
{
    size_t prefix_length = strlen(prefix);
    g_autofree char *stamp = NULL, *again = NULL;
    struct tm parts = { 0 };
    const char *rest, *end;
    time_t seconds;

    if (strncmp(name, prefix, prefix_length) != 0 || name[prefix_length] != '-')
        return false;
    rest = name + prefix_length + 1;
    if (strlen(rest) < COMPACT_LENGTH)
        return false;
    stamp = g_strndup(rest, COMPACT_LENGTH);
    end = strptime(stamp, COMPACT_FORMAT, &parts);
    if (!end || *end)
        return false;
    seconds = timegm(&parts);
    if (seconds < 0)
        return false;
    again =
        vv_time_format_compact((uint64_t) seconds * UINT64_C(1000000000)); /* strptime takes blanks and 31 February */
    if (strcmp(again, stamp) != 0)
        return false;
    rest += COMPACT_LENGTH;
    if (*rest && (rest[0] != '-' || !g_ascii_isdigit(rest[1]) || strspn(rest + 1, "0123456789") != strlen(rest + 1)))
        return false;
    *ret_time_ns = (uint64_t) seconds * UINT64_C(1000000000);
    return true;
}

/* ---- periods: equal numbers, equal period */

typedef enum { RULE_LAST, RULE_HOURLY, RULE_DAILY, RULE_WEEKLY, RULE_MONTHLY, RULE_YEARLY, N_RULES } Rule;

static void get_rules(const VvPrune *prune, int rules[N_RULES])
{
    rules[RULE_LAST] = prune->keep_last;
    rules[RULE_HOURLY] = prune->keep_hourly;
    rules[RULE_DAILY] = prune->keep_daily;
    rules[RULE_WEEKLY] = prune->keep_weekly;
    rules[RULE_MONTHLY] = prune->keep_monthly;
    rules[RULE_YEARLY] = prune->keep_yearly;
}

static uint64_t period_of(Rule rule, uint64_t time_ns, unsigned position)
{
    uint64_t seconds = time_ns / UINT64_C(1000000000);
    time_t when = (time_t) seconds;
    struct tm parts;

    gmtime_r(&when, &parts);
    switch (rule) {
    case RULE_HOURLY:
        return seconds / 3600;
    case RULE_DAILY:
        return seconds / 86400;
    case RULE_WEEKLY:
        return (seconds / 86400 + 3) / 7; /* 1970-01-01 was a Thursday: weeks begin on Monday */
    case RULE_MONTHLY:
        return (uint64_t) parts.tm_year * 12 + (uint64_t) parts.tm_mon;
    case RULE_YEARLY:
        return (uint64_t) parts.tm_year;
    default:
        return position;
    }
}

bool vv_prune_check(const VvPrune *prune, GError **error)
{
    int rules[N_RULES];
    bool any = false;

    if (!prune->prefix || !*prune->prefix) {
        vv_set_error(
            error, VV_ERROR_USAGE, NULL, "--prefix P", "prune needs the prefix that the snapshots were made with");
        return false;
    }
    if (!vv_name_check(prune->prefix, "snapshot", error))
        return false;
    get_rules(prune, rules);
    for (unsigned i = 0; i < N_RULES; i++)
        any |= rules[i] > 0;
    if (any)
        return true;
    vv_set_error(error, VV_ERROR_USAGE, NULL, "--keep-last N, --keep-daily N ...",
        "prune needs at least one rule above 0, or it would remove all");
    return false;
}

static int newest_first(const void *a, const void *b)
{
    const VvPruneItem *x = *(VvPruneItem *const *) a, *y = *(VvPruneItem *const *) b;

    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? 1 : -1;
    if (x->created_ns != y->created_ns)
        return x->created_ns < y->created_ns ? 1 : -1;
    return -strcmp(x->name, y->name);
}

static void apply_rule(Rule rule, int keep, VvPruneItem *const *sorted, unsigned count)
{
    uint64_t last = 0;
    int kept = 0;

    for (unsigned i = 0; i < count && kept < keep; i++) {
        uint64_t period = period_of(rule, sorted[i]->time_ns, i);

        if (kept > 0 && period == last)
            continue;
        sorted[i]->remove = false;
        last = period;
        kept++;
    }
}

void vv_prune_choose(const VvPrune *prune, VvPruneItem *items, unsigned count)
{
    g_autofree VvPruneItem **sorted = g_new(VvPruneItem *, count ? count : 1);
    int rules[N_RULES];
    unsigned made = 0;

    for (unsigned i = 0; i < count; i++) {
        items[i].made = vv_prune_name(items[i].name, prune->prefix, &items[i].time_ns);
        items[i].remove = items[i].made && !items[i].kept;
        if (items[i].made)
            sorted[made++] = &items[i];
    }
    qsort(sorted, made, sizeof(VvPruneItem *), newest_first);
    get_rules(prune, rules);
    for (unsigned rule = 0; rule < N_RULES; rule++)
        apply_rule((Rule) rule, rules[rule], sorted, made);
}

/* ---- the command */

static bool choose_of_lun(VvPool *pool, const char *name, const VvPrune *prune, uint64_t now_ns, GPtrArray *objects,
    unsigned *of, GError **error)
{
    const VvLun *lun = vv_find_lun(pool, name, error);
    g_autofree VvPruneItem *items = NULL;

    if (!lun)
        return false;
    items = g_new0(VvPruneItem, lun->snapshots->len + 1);
    for (unsigned i = 0; i < lun->snapshots->len; i++) {
        const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, i);

        items[i].name = snapshot->name;
        items[i].created_ns = snapshot->created_ns;
        items[i].kept = vv_keep_holds(snapshot->keep_until_ns, now_ns);
    }
    vv_prune_choose(prune, items, lun->snapshots->len);
    for (unsigned i = 0; i < lun->snapshots->len; i++) {
        *of += items[i].made;
        if (items[i].remove)
            g_ptr_array_add(objects, g_strdup_printf("%s@%s", name, items[i].name));
    }
    return true;
}

bool vv_pool_snapshot_prune(VvPool *pool, const char *const *luns, const VvPrune *prune, bool dry_run,
    VvRequest *request, VvRemoval *ret_removal, unsigned *ret_of, GError **error)
{
    g_autoptr(GPtrArray) objects = g_ptr_array_new_with_free_func(g_free);
    unsigned of = 0;

    if (!vv_prune_check(prune, error))
        return false;
    {
        VV_META_READ(pool->meta);

        for (unsigned i = 0; luns[i]; i++)
            if (!choose_of_lun(pool, luns[i], prune, vv_now_ns(), objects, &of, error))
                return false;
    }
    if (ret_of)
        *ret_of = of;
    g_ptr_array_add(objects, NULL);
    /* Between here and the removal somebody may have removed one of them: that is no failure. */
    return vv_pool_snapshot_remove(
        pool, (const char *const *) objects->pdata, true, dry_run, request, ret_removal, error);
}
