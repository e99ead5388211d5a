/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was done for other nodes, by number, so that what is asked again is not done again: its answer may have been lost with a connection, or
 * with a process that died at either end. The last VV_DONE_KEPT of each node are remembered, in the pending memory where there is such, so
 * that they outlive the process as what they wrote does.
 *
 * X1  Noted after the request has ended well in the engine, and before it is answered.
 * X2  Who asks has fewer requests without answer than are kept, so what he asks again is among them. */
#ifndef VV_DONE_H
#define VV_DONE_H

#include "pool.h"

#define VV_DONE_KEPT 256u /* of a node: 64 requests on each of 4 channels */

typedef struct {
    uint64_t node;   /* who asks */
    uint64_t origin; /* whose numbers they are: a mount, or a process; random */
    uint64_t number; /* not 0 */
    uint64_t value;  /* of the answer */
} VvDone;

/* [any]; a leaf lock. True: it was done, and done->value is set. */
bool vv_done_look(VvPool *pool, VvDone *done);
void vv_done_note(VvPool *pool, const VvDone *done);

/* ---- for src/engine */
typedef struct VvDones VvDones;
VvDones *vv_dones_new(void);
void vv_dones_free(VvDones *dones);
/* What a predecessor noted in @slot of the pending memory. */
struct VvPendingFile;
void vv_dones_load(VvPool *pool, uint32_t slot);
/* The pending memory begins anew. */
void vv_dones_clear(VvPool *pool);

#endif
