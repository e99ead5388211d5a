/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pool.c and the files around it share: life of the parts, background work on objects, checkpoints. */
#ifndef VV_POOL_PRIVATE_H
#define VV_POOL_PRIVATE_H

#include "engine.h"

/* ---- pool.c */
struct VvPoolThreads {
    int lock_fd;
    pthread_mutex_t lock; /* a leaf; guards all below but adoptions */
    pthread_cond_t asked, done;
    uint64_t checkpoint_asked; /* number of the newest request */
    uint64_t checkpoint_done;  /* every request up to it has its result */
    int checkpoint_result;
    bool stopping;
    bool checkpointer_runs, service_runs;
    bool marked; /* as served: serving.h */
    GHashTable *adoptions; /* LUN id -> struct VvAdoption; pool->config_lock */
};
/* Lock @directory; -1 with error busy: another process has it. */
int vv_pool_take_lock(const char *directory, unsigned wait_ms, GError **error);
/* "disk0" or an absolute path, as one to open. */
char *vv_pool_disk_path(const char *directory, const char *path);

/* ---- config_adopt.c: configuration lock held */
void vv_adoption_free(void *adoption);
/* Drop what an adopted map has behind the LUN's end, if it has; afterwards it grows like any other. */
bool vv_adoption_end(VvView *view, GError **error);

/* ---- openers.c */
struct VvMountInfo *vv_mount_info_new(void);
void vv_mount_info_free(struct VvMountInfo *mount);

/* ---- events.c */
struct VvEventLog *vv_event_log_new(void);
void vv_event_log_keep(struct VvEventLog *log, int fd); /* go on with what is in there (events_file.h); before the first event */
void vv_event_log_free(struct VvEventLog *log);

/* ---- stats.c */
struct VvLunStats *vv_lun_stats_new(void);
void vv_lun_stats_free(struct VvLunStats *stats);
/* The view of a LUN goes: what it counted stays. [any] */
void vv_lun_stats_keep(VvPool *pool, uint64_t lun_id, const VvOpStat stats[VV_N_STATS]);

/* ---- jobs.c: one thread for reclaim, give-back, cooling, closed objects, exclusive counts */
struct VvJobs *vv_jobs_new(VvPool *pool);
bool vv_jobs_start(VvPool *pool, GError **error);
void vv_jobs_stop(VvPool *pool); /* ends its thread; what is queued is done at the next start */
void vv_jobs_free(struct VvJobs *jobs);
/* A batch of the job is about to run, or (@before false) has: for its rate. */
void vv_jobs_note_progress(VvPool *pool, uint64_t id, bool before);
/* From meta's hooks. */
void vv_jobs_added(VvPool *pool, const VvJob *job);
void vv_jobs_ended(VvPool *pool, const VvJob *job);
/* The configuration lock was released: objects that were closed meanwhile are seen to. [any] */
void vv_jobs_config_unlocked(VvPool *pool);
/* Closed objects told so far have been seen to (and nothing else): for closing the pool. */
void vv_jobs_drain_closed(VvPool *pool);

/* ---- closed.c */
/* Purge an orphan, end the elasticity of a LUN, unless it is open again. Takes the configuration lock; false: somebody else has it,
 * and @wait is not given. */
bool vv_pool_settle_object(VvPool *pool, uint64_t object_id, bool wait);
/* All orphans and elastic LUNs: nobody has them open when a pool has just been opened. 0 or -errno. */
int vv_pool_settle_all(VvPool *pool);

/* ---- exclusive.c: counts by object, valid while the family's change number stands */
struct VvExclusive *vv_exclusive_new(void);
void vv_exclusive_free(struct VvExclusive *counts);
/* Count one object that was asked for; false: there is none. The jobs' thread. */
bool vv_exclusive_step(VvPool *pool);
struct VvExclusive *vv_jobs_exclusive(VvPool *pool);

/* ---- giveback.c: empty segments back to the pool */
/* At most one entry of shrinks, of families that keep much unused; true if there may be more at once. */
bool vv_give_back(VvPool *pool);
/* The same of all families, whatever they keep. */
bool vv_give_back_all(VvPool *pool);

/* ---- config_disk.c */
void vv_pool_attach_disk(VvPool *pool, uint64_t id, VvDisk *disk); /* takes it over */
VvDisk *vv_pool_detach_disk(VvPool *pool, uint64_t id);            /* NULL: none */

#endif
