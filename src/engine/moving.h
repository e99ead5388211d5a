/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mark of a LUN's view whose blocks are being moved. For src/engine: see engine.h. */
#ifndef VV_MOVING_H
#define VV_MOVING_H

#include "view.h"

/* view->moving points at it; all its fields: view->lock, save that the mover alone fills @from before it commits; from then on it
 * stays as it is. */
struct VvMoving {
    unsigned region_count;
    uint64_t regions[VV_REPACK_REGIONS_MAX]; /* ascending */
    bool committing;                         /* else copying */
    uint64_t written[VV_REPACK_REGIONS_MAX][VV_REGION_BLOCKS / 64]; /* bit = block that was written in place meanwhile */
    VvPlace from[VV_REPACK_REGIONS_MAX][VV_REGION_BLOCKS];          /* 0: the block is not moved */
};

/* @block of the LUN is about to be written in place at @old. True: it may be; false: it must be redirected. view->lock held. */
bool vv_moving_allows(VvMoving *moving, uint64_t block, VvPlace old);

#endif
