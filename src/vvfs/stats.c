/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.get: counters of pool, LUNs and disks since the daemon started. They only grow. */
#include "status.h"

#include "node.h"
#include "objects.h"

#include <string.h>

/* An estimate of one LUN's text in a piece. */
#define LUN_STATS_BYTES 1100u
#define LUNS_PER_PIECE ((512u << 10) / LUN_STATS_BYTES)

static void set_op(JsonObject *parent, const char *name, const VvOpStat *stat)
{
    JsonObject *op = vv_json_set_object(parent, name);
    JsonArray *buckets;

    vv_json_set_u64(op, "count", stat->count);
    vv_json_set_u64(op, "bytes", stat->bytes);
    json_object_set_double_member(op, "seconds", (double) stat->nanoseconds / 1e9);
    buckets = vv_json_set_array(op, "buckets");
    for (unsigned i = 0; i < VV_STAT_BUCKETS; i++)
        json_array_add_int_element(buckets, (gint64) stat->buckets[i]);
}

static void set_pool(VvDaemon *daemon, JsonObject *result)
{
    JsonObject *pool = vv_json_set_object(result, "pool"), *memory;
    VvFuseHolds holds = { 0 };
    VvPoolStats stats;

    vv_pool_stats(daemon->pool, &stats);
    if (daemon->fuse)
        vv_fuse_holds(daemon->fuse, &holds);
    vv_json_set_u64(pool, "cow_bytes_copied", stats.cow_bytes_copied);
    vv_json_set_u64(pool, "blocks_redirected", stats.blocks_redirected);
    vv_json_set_u64(pool, "blocks_in_place", stats.blocks_in_place);
    vv_json_set_u64(pool, "checksums_verified", stats.sums_verified);
    vv_json_set_u64(pool, "checksums_wrong", stats.sums_wrong);
    vv_json_set_u64(pool, "journal_entries", stats.journal_entries);
    vv_json_set_u64(pool, "journal_syncs", stats.journal_syncs);
    vv_json_set_u64(pool, "disk_syncs", stats.disk_syncs);
    vv_json_set_u64(pool, "quiesce_count", stats.quiesce_count);
    vv_json_set_u64(pool, "quiesce_max_us", stats.quiesce_max_us);
    vv_json_set_u64(pool, "lease_moves", 0);
    vv_json_set_u64(pool, "shipped_requests", vv_node_shipped_requests(daemon->cluster));
    vv_json_set_u64(pool, "resync_bytes", 0);
    vv_json_set_u64(pool, "checkpoints", stats.checkpoints);
    vv_json_set_u64(pool, "page_lookups", stats.page_lookups);
    vv_json_set_u64(pool, "page_misses", stats.page_misses);
    vv_json_set_u64(pool, "reclaimed_blocks", stats.reclaimed_blocks);
    vv_json_set_u64(pool, "journal_waits", stats.journal_waits);
    vv_json_set_u64(pool, "checkpoint_waits", stats.checkpoint_waits);
    vv_json_set_u64(pool, "read_stops", holds.read_stops);
    vv_json_set_u64(pool, "refused_requests", holds.refused_requests);
    set_op(pool, "snapshot_stall", &stats.snapshot_stall);
    memory = vv_json_set_object(result, "memory");
    vv_json_set_u64(memory, "parked_bytes", holds.parked_bytes);
    vv_json_set_u64(memory, "parked_requests", holds.parked_requests);
    vv_json_set_u64(memory, "unjournalled_bytes", stats.pending_bytes);
    vv_json_set_u64(memory, "unjournalled_memory", stats.pending_memory);
    vv_json_set_u64(memory, "overlay_bytes", stats.overlay_bytes);
}

static void set_disks(VvDaemon *daemon, JsonObject *result)
{
    g_autoptr(GPtrArray) items = vv_disk_items(daemon);
    JsonObject *disks = vv_json_set_object(result, "disks");

    for (unsigned i = 0; i < items->len; i++) {
        const VvDiskItem *item = items->pdata[i];
        JsonObject *disk = vv_json_set_object(disks, item->name);
        VvDiskCounters counters;

        if (!vv_pool_disk_stats(daemon->pool, item->id, &counters))
            memset(&counters, 0, sizeof(counters));
        vv_json_set_u64(disk, "reads", counters.reads);
        vv_json_set_u64(disk, "read_bytes", counters.read_bytes);
        vv_json_set_u64(disk, "writes", counters.writes);
        vv_json_set_u64(disk, "write_bytes", counters.write_bytes);
        vv_json_set_u64(disk, "syncs", counters.syncs);
        vv_json_set_u64(disk, "discards", counters.discards);
        vv_json_set_u64(disk, "discard_bytes", counters.discard_bytes);
        vv_json_set_u64(disk, "errors", counters.errors);
    }
}

/* Returns the cursor of the next piece, or NULL. */
static char *set_luns(VvDaemon *daemon, const char *const *names, const char *from, JsonObject *result)
{
    static const char *const ops[VV_N_STATS] = { "read", "write", "flush", "discard" };
    g_autoptr(GPtrArray) items = vv_lun_items(daemon, from, UINT_MAX);
    JsonObject *luns = vv_json_set_object(result, "luns");
    unsigned count = 0;

    for (unsigned i = 0; i < items->len; i++) {
        const VvLunItem *item = items->pdata[i];
        VvOpStat stats[VV_N_STATS];
        JsonObject *lun;

        if (names && *names && !g_strv_contains(names, item->name))
            continue;
        if (count++ == LUNS_PER_PIECE)
            return g_strdup(item->name);
        vv_pool_lun_stats(daemon->pool, item->id, stats);
        lun = vv_json_set_object(luns, item->name);
        for (unsigned op = 0; op < VV_N_STATS; op++)
            set_op(lun, ops[op], &stats[op]);
    }
    return NULL;
}

JsonObject *vv_stats_json(VvDaemon *daemon, const char *const *names, const char *from, char **ret_next)
{
    JsonObject *result = json_object_new();
    JsonObject *nodes;

    vv_json_set_time(result, "time", vv_now_ns());
    set_pool(daemon, result);
    *ret_next = set_luns(daemon, names, from, result);
    set_disks(daemon, result);
    nodes = vv_json_set_object(result, "nodes");
    vv_json_set_object(nodes, daemon->node);
    vv_json_set_string(result, "next", *ret_next);
    return result;
}
