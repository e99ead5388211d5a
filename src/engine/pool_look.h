/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at an open pool: who has what open, events, problems, space, counters. Changes nothing. Part of pool.h, which includes it. */
#ifndef VV_POOL_LOOK_H
#define VV_POOL_LOOK_H

#include "io.h"
#include "meta.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- looking [any] */
typedef struct { uint64_t node; pid_t pid; char *process; bool write; char *device; char *mountpoint; } VvOpener; /* node: 0 this one; device: /dev/loopN or NULL */
void vv_opener_free(VvOpener *opener);
/* Who has @object_id open: handles, and through loop devices over our mount point the file systems mounted from them. */
GPtrArray *vv_pool_openers(VvPool *pool, uint64_t object_id); /* of VvOpener */
/* The same for who would refuse because of them: close(2) returns before the mount is told, so a handle for writing that nobody
 * has any more is waited for, for a second. [not any: blocks] */
GPtrArray *vv_pool_openers_left(VvPool *pool, uint64_t object_id);
/* Bytes that removing the object (a LUN with its snapshots) would free. True with *ret_bytes; false while unknown (a count is
 * started in the background; @wait: counts now). */
bool vv_pool_exclusive(VvPool *pool, uint64_t object_id, bool wait, uint64_t *ret_bytes);

typedef enum { VV_SEVERITY_INFO, VV_SEVERITY_WARNING, VV_SEVERITY_ERROR, VV_SEVERITY_CRITICAL } VvSeverity;
const char *vv_severity_name(VvSeverity severity);
typedef struct { uint64_t number, time_ns; VvSeverity severity; char *code, *object, *message; } VvEvent;
void vv_pool_event(VvPool *pool, VvSeverity severity, const char *code, const char *object, const char *format, ...) G_GNUC_PRINTF(5, 6);
/* Copies of events numbered above @after, oldest first; of VvEvent with free function. The last VV_EVENTS_KEPT are kept. */
GPtrArray *vv_pool_events(VvPool *pool, uint64_t after);
/* Call @notify (any thread, must be quick) at each new event. */
void vv_pool_watch_events(VvPool *pool, void (*notify)(void *user), void *user);

/* Problems, for status and doctor. */
typedef struct { VvSeverity severity; char *code, *object, *message; char **fix, **effect; } VvProblem; /* effect[i]: what fix[i] brings, or "" */
GPtrArray *vv_pool_problems(VvPool *pool); /* of VvProblem, worst first */
const char *vv_pool_state(VvPool *pool);   /* "failed", "full", "degraded", "ok" */

/* What the catalog says (vv_meta_space), and what families keep and could return at once, which is what a full pool takes from them,
 * counted as free. Walks all segments. [any] */
void vv_pool_space(VvPool *pool, VvSpaceSummary *ret_space);
/* ---- counters [any] */
typedef enum { VV_STAT_READ, VV_STAT_WRITE, VV_STAT_FLUSH, VV_STAT_DISCARD, VV_N_STATS } VvStatOp;
#define VV_STAT_BUCKETS 24u /* bucket i: up to 2^i microseconds; the last is the rest */
typedef struct { uint64_t count, bytes, nanoseconds, buckets[VV_STAT_BUCKETS]; } VvOpStat;
typedef struct {
    uint64_t cow_bytes_copied, blocks_redirected, blocks_in_place, journal_entries, journal_syncs, disk_syncs;
    uint64_t quiesce_count, quiesce_max_us, checkpoints, page_lookups, page_misses, reclaimed_blocks;
    uint64_t sums_verified, sums_wrong; /* blocks that were compared with their checksum, and that did not match */
    uint64_t pending_bytes;    /* data that is acknowledged and not journalled, now */
    uint64_t pending_memory;   /* that this takes, now */
    uint64_t overlay_bytes;    /* of map pages that wait for a checkpoint, now */
    uint64_t journal_waits;    /* writes that waited for the journal, because too much was pending */
    uint64_t checkpoint_waits; /* times that the journal's entries waited for a checkpoint, because the overlay was full */
    VvOpStat snapshot_stall;
} VvPoolStats;
void vv_pool_stats(VvPool *pool, VvPoolStats *ret_stats);
/* Of one LUN since the daemon started; all zero if nobody used it. */
void vv_pool_lun_stats(VvPool *pool, uint64_t lun_id, VvOpStat ret_stats[VV_N_STATS]);
GPtrArray *vv_pool_disk_handles(VvPool *pool); /* VvDisk, borrowed, with the read lock of the catalog held */
/* As the catalog says; degraded also if something failed on it of late. With the read lock of the catalog held. */
VvState vv_pool_disk_state(VvPool *pool, const VvDiskInfo *disk);
bool vv_pool_disk_stats(VvPool *pool, uint64_t disk_id, VvDiskCounters *ret_counters);

#endif
