/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs of the pool: work in the background that transactions left, or that was asked for. Their states are in the catalog. */
#ifndef VV_POOL_JOBS_H
#define VV_POOL_JOBS_H

#include "pool.h"

/* Bring the LUN's scattered blocks together again: the number of the job that does (or does so already). It may have
 * ended already. Errors: not-found, no-space. */
bool vv_pool_lun_repack(VvPool *pool, const char *name, uint64_t *ret_job, GError **error);
/* Read and verify everything, at most @rate_bytes a second (0: as fast as others leave it): the number of the job that does, or does so
 * already, or has ended at once. */
bool vv_pool_scrub(VvPool *pool, uint64_t rate_bytes, uint64_t *ret_job, GError **error);
/* Bytes in use, and those of them that have checksums; of the LUN with its snapshots and clones, 0: of the pool. [any] */
void vv_pool_checksummed(VvPool *pool, uint64_t lun_id, uint64_t *ret_used_bytes, uint64_t *ret_bytes);
bool vv_pool_job_set(VvPool *pool, uint64_t id, VvJobState state, GError **error); /* PAUSED, QUEUED (resume), CANCELLED */
/* 0 ids: all that run now. True when all have ended; *ret_failed if one failed. timeout error. */
bool vv_pool_job_wait(VvPool *pool, const uint64_t *ids, unsigned count, unsigned timeout_ms, bool *ret_failed, GError **error);
/* Progress as the runner knows it. [any] */
typedef struct { uint64_t rate_bytes; uint64_t seconds_left; } VvJobRate;
bool vv_pool_job_rate(VvPool *pool, uint64_t id, VvJobRate *ret_rate);
typedef struct { uint64_t id; VvJobKind kind; uint64_t total_pages, created_ns, ended_ns, errors; char *lun; /* NULL: gone */ } VvEndedJob;
void vv_ended_job_free(void *job);
/* Copies of the last VV_ENDED_JOBS_MAX that ended since the pool was opened, oldest first; of VvEndedJob with free function. */
GPtrArray *vv_pool_ended_jobs(VvPool *pool);

#endif
