/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prometheus text: vvfs_OBJECT_WHAT_UNIT[_total]. Never one series per snapshot: their number has no bound.
 *
 * The engine counts latencies in buckets that end at powers of two of a microsecond; the bounds here are round numbers,
 * and what a bound cuts in two is shared out in proportion (as Prometheus itself does within a bucket). */
#include "status.h"

#include "held.h"
#include "jobs.h"
#include "node.h"
#include "objects.h"

#include <string.h>

typedef struct {
    VvDaemon *daemon;
    GString *out;
} VvMetrics;

static void head(VvMetrics *m, const char *name, const char *type, const char *help)
{
    g_string_append_printf(m->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* One sample; @labels: "" or ",op=\"read\"" and the like, behind the pool's. Names hold nothing that needs escaping. */
static void sample(VvMetrics *m, const char *name, const char *labels, uint64_t value)
{
    g_string_append_printf(m->out, "%s{pool=\"%s\"%s} %" G_GUINT64_FORMAT "\n", name, m->daemon->name, labels, value);
}

static void sample_seconds(VvMetrics *m, const char *name, const char *labels, uint64_t nanoseconds)
{
    g_string_append_printf(m->out, "%s{pool=\"%s\"%s} %" G_GUINT64_FORMAT ".%09u\n", name, m->daemon->name, labels,
        nanoseconds / 1000000000u, (unsigned) (nanoseconds % 1000000000u));
}

static void single(VvMetrics *m, const char *name, const char *type, const char *help, uint64_t value)
{
    head(m, name, type, help);
    sample(m, name, "", value);
}

/* Observations of at most @bound_us, as far as the buckets tell. */
static uint64_t at_most(const VvOpStat *stat, uint64_t bound_us)
{
    uint64_t count = 0, low = 0;

    for (unsigned i = 0; i < VV_STAT_BUCKETS; i++) {
        uint64_t high = (uint64_t) 1 << i;

        if (high > bound_us || i == VV_STAT_BUCKETS - 1) {
            /* The last bucket has no end. */
            if (i < VV_STAT_BUCKETS - 1)
                count += (uint64_t) ((unsigned __int128) stat->buckets[i] * (bound_us - low) / (high - low));
            return count;
        }
        count += stat->buckets[i];
        low = high;
    }
    return count;
}

static void histogram(VvMetrics *m, const char *name, const char *labels, const VvOpStat *stat)
{
    static const struct {
        const char *text;
        uint64_t us;
    } bounds[] = { { "0.0001", 100 }, { "0.001", 1000 }, { "0.01", 10000 }, { "0.1", 100000 }, { "1", 1000000 } };
    g_autofree char *sum = g_strconcat(name, "_sum", NULL), *count = g_strconcat(name, "_count", NULL);
    g_autofree char *bucket = g_strconcat(name, "_bucket", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(bounds); i++) {
        g_autofree char *with_bound = g_strdup_printf("%s,le=\"%s\"", labels, bounds[i].text);

        sample(m, bucket, with_bound, at_most(stat, bounds[i].us));
    }
    {
        g_autofree char *with_bound = g_strconcat(labels, ",le=\"+Inf\"", NULL);

        sample(m, bucket, with_bound, stat->count);
    }
    sample_seconds(m, sum, labels, stat->nanoseconds);
    sample(m, count, labels, stat->count);
}

/* ---- the pool */
static void pool_state(VvMetrics *m)
{
    static const char *const states[] = { "ok", "degraded", "full", "no-quorum", "failed" };
    const char *now = vv_status_state(m->daemon);

    head(m, "vvfs_pool_state", "gauge", "1 for the state that the pool is in.");
    for (size_t i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autofree char *labels = g_strdup_printf(",state=\"%s\"", states[i]);

        sample(m, "vvfs_pool_state", labels, strcmp(states[i], now) == 0);
    }
}

static void pool_space(VvMetrics *m)
{
    VvSpaceSummary space;

    vv_pool_space(m->daemon->pool, &space);
    single(m, "vvfs_pool_size_bytes", "gauge", "Bytes of all disks that are there.", space.total_bytes);
    single(m, "vvfs_pool_used_bytes", "gauge", "Bytes that LUNs and snapshots map.", space.used_bytes);
    single(m, "vvfs_pool_free_bytes", "gauge", "Bytes that any LUN could get now.", space.free_bytes);
    single(m, "vvfs_pool_held_bytes", "gauge", "Bytes that families keep unused.", space.held_bytes);
    single(m, "vvfs_pool_freeing_bytes", "gauge", "Bytes that jobs are returning.", space.freeing_bytes);
}

static void pool_counts(VvMetrics *m)
{
    VvMeta *meta = vv_pool_meta(m->daemon->pool);
    g_autoptr(GPtrArray) jobs = vv_job_items(m->daemon, false);
    uint64_t snapshots = 0, luns_count;
    GPtrArray *luns;

    vv_meta_read_lock(meta);
    luns = vv_meta_luns(meta);
    luns_count = luns->len;
    for (unsigned i = 0; i < luns->len; i++)
        snapshots += ((const VvLun *) luns->pdata[i])->snapshots->len;
    vv_meta_read_unlock(meta);
    single(m, "vvfs_pool_luns", "gauge", "LUNs.", luns_count);
    single(m, "vvfs_pool_snapshots", "gauge", "Snapshots.", snapshots);
    single(m, "vvfs_pool_jobs", "gauge", "Jobs that have not ended.", jobs->len);
}

static void pool_counters(VvMetrics *m)
{
    VvPoolStats stats;

    vv_pool_stats(m->daemon->pool, &stats);
    single(m, "vvfs_pool_cow_copied_bytes_total", "counter", "Bytes copied because a write covered part of a block.",
        stats.cow_bytes_copied);
    single(
        m, "vvfs_pool_redirected_blocks_total", "counter", "Blocks written to a new place.", stats.blocks_redirected);
    single(m, "vvfs_pool_in_place_blocks_total", "counter", "Blocks written where they were.", stats.blocks_in_place);
    single(m, "vvfs_pool_reclaimed_blocks_total", "counter", "Blocks returned by jobs.", stats.reclaimed_blocks);
    single(m, "vvfs_pool_checksums_verified_blocks_total", "counter", "Blocks compared with their checksum.", stats.sums_verified);
    single(m, "vvfs_pool_checksums_wrong_blocks_total", "counter", "Blocks whose checksum did not match.", stats.sums_wrong);
    single(m, "vvfs_pool_journal_entries_total", "counter", "Journal entries written.", stats.journal_entries);
    single(m, "vvfs_pool_journal_syncs_total", "counter", "Syncs of the journal.", stats.journal_syncs);
    single(m, "vvfs_pool_disk_syncs_total", "counter", "Syncs of disks.", stats.disk_syncs);
    single(m, "vvfs_pool_checkpoints_total", "counter", "Checkpoints of the map.", stats.checkpoints);
    single(m, "vvfs_pool_quiesces_total", "counter", "Times that writes were stopped for a transaction.",
        stats.quiesce_count);
    head(m, "vvfs_pool_quiesce_max_seconds", "gauge", "The longest of them.");
    sample_seconds(m, "vvfs_pool_quiesce_max_seconds", "", stats.quiesce_max_us * 1000);
    single(m, "vvfs_pool_page_lookups_total", "counter", "Look-ups of map pages.", stats.page_lookups);
    single(m, "vvfs_pool_page_misses_total", "counter", "Those that were not in the cache.", stats.page_misses);
    single(m, "vvfs_pool_shipped_requests_total", "counter", "Requests on data whose disks another node has, sent to it.",
        vv_node_shipped_requests(m->daemon->cluster));
    single(m, "vvfs_pool_journal_waits_total", "counter", "Writes that waited for the journal to catch up.",
        stats.journal_waits);
    single(m, "vvfs_pool_checkpoint_waits_total", "counter", "Journal entries that waited for a checkpoint.",
        stats.checkpoint_waits);
    single(m, "vvfs_pool_unjournalled_bytes", "gauge", "Bytes written that no journal entry names yet.",
        stats.pending_bytes);
    single(
        m, "vvfs_pool_overlay_bytes", "gauge", "Memory of map pages that wait for a checkpoint.", stats.overlay_bytes);
    single(m, "vvfs_daemon_restarts_total", "counter", "Times that the process which serves the mount died and another took over.",
        m->daemon->held ? vv_held_state(m->daemon->held)->restarts : 0);
    single(m, "vvfs_daemon_upgrades_total", "counter", "Times that it was exchanged for another binary.",
        m->daemon->held ? vv_held_state(m->daemon->held)->upgrades : 0);
    head(m, "vvfs_snapshot_stall_seconds", "histogram", "How long writes stood still for a snapshot.");
    histogram(m, "vvfs_snapshot_stall_seconds", "", &stats.snapshot_stall);
}

static void mount_holds(VvMetrics *m)
{
    VvFuseHolds holds = { 0 };

    if (m->daemon->fuse)
        vv_fuse_holds(m->daemon->fuse, &holds);
    single(m, "vvfs_mount_parked_bytes", "gauge", "Memory of requests that wait for space, a snapshot or the journal.",
        holds.parked_bytes);
    single(m, "vvfs_mount_parked_requests", "gauge", "Such requests.", holds.parked_requests);
    single(m, "vvfs_mount_read_stops_total", "counter", "Times that no request was read until fewer waited.",
        holds.read_stops);
    single(m, "vvfs_mount_refused_requests_total", "counter", "Requests refused because their LUN waits for long.",
        holds.refused_requests);
}

/* ---- disks: one family after the other, as the format wants it */
static void disks(VvMetrics *m)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } counters[] = {
        { "vvfs_disk_reads_total", "Reads.", offsetof(VvDiskCounters, reads) },
        { "vvfs_disk_read_bytes_total", "Bytes read.", offsetof(VvDiskCounters, read_bytes) },
        { "vvfs_disk_writes_total", "Writes.", offsetof(VvDiskCounters, writes) },
        { "vvfs_disk_written_bytes_total", "Bytes written.", offsetof(VvDiskCounters, write_bytes) },
        { "vvfs_disk_syncs_total", "Syncs.", offsetof(VvDiskCounters, syncs) },
        { "vvfs_disk_discarded_bytes_total", "Bytes given back.", offsetof(VvDiskCounters, discard_bytes) },
        { "vvfs_disk_errors_total", "Failed operations.", offsetof(VvDiskCounters, errors) },
    };
    g_autoptr(GPtrArray) items = vv_disk_items(m->daemon);

    head(m, "vvfs_disk_size_bytes", "gauge", "Bytes of the disk.");
    for (unsigned i = 0; i < items->len; i++) {
        const VvDiskItem *item = items->pdata[i];
        g_autofree char *labels = g_strdup_printf(",disk=\"%s\"", item->name);

        sample(m, "vvfs_disk_size_bytes", labels, item->size_bytes);
    }
    for (size_t c = 0; c < G_N_ELEMENTS(counters); c++) {
        head(m, counters[c].name, "counter", counters[c].help);
        for (unsigned i = 0; i < items->len; i++) {
            const VvDiskItem *item = items->pdata[i];
            g_autofree char *labels = g_strdup_printf(",disk=\"%s\"", item->name);
            VvDiskCounters values;
            uint64_t value;

            if (!vv_pool_disk_stats(m->daemon->pool, item->id, &values))
                continue;
            memcpy(&value, (const char *) &values + counters[c].offset, sizeof(value));
            sample(m, counters[c].name, labels, value);
        }
    }
}

/* ---- LUNs: sizes of all, operations of those that somebody used */
typedef enum { LUN_OPS, LUN_BYTES, LUN_SECONDS } VvLunFamily;

static void lun_family(VvMetrics *m, GPtrArray *items, const VvOpStat (*stats)[VV_N_STATS], VvLunFamily family)
{
    static const char *const ops[VV_N_STATS] = { "read", "write", "flush", "discard" };

    for (unsigned i = 0; i < items->len; i++) {
        const VvLunItem *item = items->pdata[i];

        for (unsigned op = 0; op < VV_N_STATS; op++) {
            g_autofree char *labels = NULL;

            if (stats[i][op].count == 0)
                continue;
            labels = g_strdup_printf(",lun=\"%s\",op=\"%s\"", item->name, ops[op]);
            if (family == LUN_SECONDS)
                histogram(m, "vvfs_lun_operation_seconds", labels, &stats[i][op]);
            else
                sample(m, family == LUN_OPS ? "vvfs_lun_operations_total" : "vvfs_lun_operation_bytes_total", labels,
                    family == LUN_OPS ? stats[i][op].count : stats[i][op].bytes);
        }
    }
}

static void luns(VvMetrics *m)
{
    g_autoptr(GPtrArray) items = vv_lun_items(m->daemon, NULL, UINT_MAX);
    g_autofree VvOpStat(*stats)[VV_N_STATS] = g_malloc0_n(MAX(items->len, 1u), sizeof(*stats));

    for (unsigned i = 0; i < items->len; i++)
        vv_pool_lun_stats(m->daemon->pool, ((const VvLunItem *) items->pdata[i])->id, stats[i]);
    for (unsigned what = 0; what < 2; what++) {
        const char *name = what == 0 ? "vvfs_lun_size_bytes" : "vvfs_lun_used_bytes";

        head(m, name, "gauge", what == 0 ? "Bytes that the LUN promises." : "Bytes that it maps.");
        for (unsigned i = 0; i < items->len; i++) {
            const VvLunItem *item = items->pdata[i];
            g_autofree char *labels = g_strdup_printf(",lun=\"%s\"", item->name);

            sample(m, name, labels, what == 0 ? item->size_bytes : item->used_bytes);
        }
    }
    head(m, "vvfs_lun_operations_total", "counter", "Operations.");
    lun_family(m, items, (const VvOpStat(*)[VV_N_STATS]) stats, LUN_OPS);
    head(m, "vvfs_lun_operation_bytes_total", "counter", "Bytes that they moved.");
    lun_family(m, items, (const VvOpStat(*)[VV_N_STATS]) stats, LUN_BYTES);
    head(m, "vvfs_lun_operation_seconds", "histogram", "How long they took.");
    lun_family(m, items, (const VvOpStat(*)[VV_N_STATS]) stats, LUN_SECONDS);
}

char *vv_metrics_text(VvDaemon *daemon)
{
    VvMetrics m = { daemon, g_string_new(NULL) };

    pool_state(&m);
    pool_space(&m);
    pool_counts(&m);
    pool_counters(&m);
    mount_holds(&m);
    disks(&m);
    luns(&m);
    return g_string_free(m.out, FALSE);
}
