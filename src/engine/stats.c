/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counters as others see them. What a LUN's view counted is kept here when the view goes. */
#include "pool_private.h"

#include <string.h>

struct VvLunStats {
    pthread_mutex_t lock; /* a leaf */
    GHashTable *kept;     /* LUN id -> VvOpStat[VV_N_STATS] */
};

struct VvLunStats *vv_lun_stats_new(void)
{
    struct VvLunStats *stats = g_new0(struct VvLunStats, 1);

    pthread_mutex_init(&stats->lock, NULL);
    stats->kept = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    return stats;
}

void vv_lun_stats_free(struct VvLunStats *stats)
{
    if (!stats)
        return;
    g_hash_table_unref(stats->kept);
    pthread_mutex_destroy(&stats->lock);
    g_free(stats);
}

static void add_stats(VvOpStat *sum, const VvOpStat *more)
{
    for (unsigned op = 0; op < VV_N_STATS; op++) {
        sum[op].count += more[op].count;
        sum[op].bytes += more[op].bytes;
        sum[op].nanoseconds += more[op].nanoseconds;
        for (unsigned i = 0; i < VV_STAT_BUCKETS; i++)
            sum[op].buckets[i] += more[op].buckets[i];
    }
}

static bool is_used(const VvOpStat *stats)
{
    for (unsigned op = 0; op < VV_N_STATS; op++)
        if (stats[op].count > 0)
            return true;
    return false;
}

void vv_lun_stats_keep(VvPool *pool, uint64_t lun_id, const VvOpStat stats[VV_N_STATS])
{
    VvOpStat *kept;

    if (!pool->lun_stats || !is_used(stats))
        return;
    VV_LOCKED(&pool->lun_stats->lock);
    kept = g_hash_table_lookup(pool->lun_stats->kept, &lun_id);
    if (!kept) {
        kept = g_new0(VvOpStat, VV_N_STATS);
        g_hash_table_insert(pool->lun_stats->kept, g_memdup2(&lun_id, sizeof lun_id), kept);
    }
    add_stats(kept, stats);
}

void vv_pool_lun_stats(VvPool *pool, uint64_t lun_id, VvOpStat ret_stats[VV_N_STATS])
{
    VvView *view;
    const VvOpStat *kept;

    memset(ret_stats, 0, VV_N_STATS * sizeof *ret_stats);
    VV_LOCKED(&pool->views_lock); /* so that a view that goes is counted once: here or among the kept */
    view = g_hash_table_lookup(pool->views, &lun_id);
    if (view) {
        VV_LOCKED(&view->lock);
        add_stats(ret_stats, view->stats);
    }
    VV_LOCKED(&pool->lun_stats->lock);
    kept = g_hash_table_lookup(pool->lun_stats->kept, &lun_id);
    if (kept)
        add_stats(ret_stats, kept);
}

static uint64_t count_disk_syncs(VvPool *pool)
{
    uint64_t syncs = 0;

    VV_LOCKED(&pool->disks_lock);
    for (unsigned i = 0; i < pool->disks->len; i++)
        if (g_ptr_array_index(pool->disks, i))
            syncs += vv_disk_counters(g_ptr_array_index(pool->disks, i)).syncs;
    return syncs;
}

void vv_pool_stats(VvPool *pool, VvPoolStats *ret_stats)
{
    VvPoolStats stats = {
        .cow_bytes_copied = atomic_load_explicit(&pool->cow_bytes_copied, memory_order_relaxed),
        .blocks_redirected = atomic_load_explicit(&pool->blocks_redirected, memory_order_relaxed),
        .blocks_in_place = atomic_load_explicit(&pool->blocks_in_place, memory_order_relaxed),
        .journal_entries = atomic_load_explicit(&pool->journal_entries, memory_order_relaxed),
        .journal_syncs = vv_meta_journal_syncs(pool->meta),
        .quiesce_count = atomic_load_explicit(&pool->quiesce_count, memory_order_relaxed),
        .quiesce_max_us = atomic_load_explicit(&pool->quiesce_max_us, memory_order_relaxed),
        .checkpoints = atomic_load_explicit(&pool->checkpoints, memory_order_relaxed),
        .page_lookups = atomic_load_explicit(&pool->page_lookups, memory_order_relaxed),
        .page_misses = atomic_load_explicit(&pool->page_misses, memory_order_relaxed),
        .reclaimed_blocks = atomic_load_explicit(&pool->reclaimed_blocks, memory_order_relaxed),
    };

    stats.disk_syncs = count_disk_syncs(pool);
    stats.sums_verified = atomic_load_explicit(&pool->sums_verified, memory_order_relaxed);
    stats.sums_wrong = atomic_load_explicit(&pool->sums_wrong, memory_order_relaxed);
    stats.pending_bytes = atomic_load_explicit(&pool->pending_bytes, memory_order_relaxed);
    stats.pending_memory = atomic_load_explicit(&pool->pending_memory, memory_order_relaxed);
    stats.overlay_bytes = vv_meta_overlay_bytes(pool->meta);
    stats.journal_waits = atomic_load_explicit(&pool->journal_waits, memory_order_relaxed);
    stats.checkpoint_waits = atomic_load_explicit(&pool->checkpoint_waits, memory_order_relaxed);
    {
        VV_LOCKED(&pool->stats_lock);
        stats.snapshot_stall = pool->snapshot_stall;
    }
    *ret_stats = stats;
}

GPtrArray *vv_pool_disk_handles(VvPool *pool)
{
    GPtrArray *disks = g_ptr_array_new();

    VV_LOCKED(&pool->disks_lock);
    for (unsigned i = 0; i < pool->disks->len; i++)
        if (g_ptr_array_index(pool->disks, i))
            g_ptr_array_add(disks, g_ptr_array_index(pool->disks, i));
    return disks;
}

bool vv_pool_disk_stats(VvPool *pool, uint64_t disk_id, VvDiskCounters *ret_counters)
{
    void *slot;

    VV_LOCKED(&pool->disks_lock);
    if (!g_hash_table_lookup_extended(pool->disk_slots, &disk_id, NULL, &slot))
        return false;
    *ret_counters = vv_disk_counters(g_ptr_array_index(pool->disks, GPOINTER_TO_UINT(slot)));
    return true;
}
