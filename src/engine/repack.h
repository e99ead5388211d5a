/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Repacking: a LUN's blocks are brought together again in the background. For src/engine: see engine.h. */
#ifndef VV_REPACK_H
#define VV_REPACK_H

#include "moving.h"

typedef struct VvRepack VvRepack;
VvRepack *vv_repack_new(VvPool *pool);
bool vv_repack_start(VvRepack *repack, GError **error);
void vv_repack_stop(VvRepack *repack); /* after the batch under way; what is left is done at the next start */
void vv_repack_free(VvRepack *repack);
void vv_repack_kick(VvRepack *repack); /* there may be work. A leaf lock. [any] */
void vv_repack_added(VvRepack *repack, const VvJob *job); /* from meta's hook; of any kind */
/* Large reads of the LUN fell apart: worth a look when the pool is idle. [any] */
void vv_repack_hint(VvRepack *repack, uint64_t lun_id);

/* ---- how scattered */
/* Neighbouring blocks of the region that are both mapped and do not lie side by side. */
unsigned vv_repack_breaks(const VvPage *page);
bool vv_repack_has_room(VvPool *pool); /* takes the read lock */
/* Is so much of the LUN scattered that a repack should begin by itself, and may it? */
bool vv_repack_is_worth_it(VvPool *pool, uint64_t lun_id);
/* The first regions at or after *@cursor, at most @most, that are worth moving; *@cursor becomes the first one not looked at. Looks at
 * a bounded number. 0; 1: the end was reached; or an error. */
int vv_repack_find(VvPool *pool, uint64_t branch, uint64_t *cursor, unsigned most, uint64_t *ret_regions, unsigned *ret_count);

/* ---- repack_batch.c */
typedef struct {
    VvView *view;    /* of the LUN: referenced by the caller */
    uint64_t branch; /* its head's, when the regions were found */
    unsigned region_count;
    uint64_t regions[VV_REPACK_REGIONS_MAX]; /* ascending */
    VvOp step;       /* JOB_STEP, for the same entry */
    uint64_t moved_blocks; /* result */
} VvRepackBatch;
/* Move them. Blocks on disks and the committer. 0: the entry is applied; -ENOSPC: no room in pool or journal, nothing changed;
 * -ESTALE: the LUN went or was restored; or -errno. */
int vv_repack_run(VvPool *pool, VvRepackBatch *batch);

#endif
