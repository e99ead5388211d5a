/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What changes for other nodes have begun to do, so that what a process did not end is not done over what came after it.
 *
 * A write of another node is noted as done (done.h) after its bytes are on the disk. A process that dies in between leaves bytes that may have been seen, and
 * no note; the write will be asked again, perhaps after others have overwritten these bytes. To write it again would bring back what is
 * gone. So what it is about to change is noted first, in the pending memory, and what is changed meanwhile is taken off that.
 *
 * I1  An intent is noted before its request goes to the engine, and ends after what it did is noted as done, or after it failed. It stays if the
 *     request is given up because this process ends: then it is asked again, of this one or the next.
 * I2  What a predecessor left is kept until it is asked again, or its node is gone for good. Asked again, only what is left of it is done: nothing, or the
 *     range that nothing else has changed since; with a hole in it, it fails (EIO): nothing says any more what it may change.
 * I3  What changes bytes of an intent, and ends well, has them taken off it before it is answered. What fails may have changed some: the intent fails then.
 * I4  Who is asked again waits for what is changing his bytes: what is left is known afterwards.
 *
 * Where the pending memory is full an intent is known to this process only. */
#ifndef VV_INTENT_H
#define VV_INTENT_H

#include "worker.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct VvIoState;
struct VvPool;

typedef struct {
    uint64_t node, origin, number; /* whose request it is, as in done.h */
    uint64_t object;
    uint64_t offset, end; /* what it changes; bytes */
} VvIntended;

typedef struct VvIntent VvIntent;

typedef enum {
    VV_INTENT_GO,    /* *ret_intent is set */
    VV_INTENT_NONE,  /* nothing of it is left: it was overwritten */
    VV_INTENT_LOST,  /* what is left of it is not known: -EIO */
    VV_INTENT_WAITS, /* ask again in @task, on this worker */
} VvIntentNow;

/* Worker's thread. The request is about to be done; narrows @intended to what is left of it. */
VvIntentNow vv_intent_begin(struct VvPool *pool, VvIntended *intended, VvTask *task, VvIntent **ret_intent);
/* Any thread. It was done and noted, or failed. NULL is allowed. */
void vv_intent_end(struct VvPool *pool, VvIntent *intent);
/* Any thread: @object's bytes from @offset on were changed otherwise than by requests (restored, cut off). */
void vv_intents_cover(struct VvPool *pool, uint64_t object, uint64_t offset);
/* Any thread: @node does not ask again. */
void vv_intents_forget(struct VvPool *pool, uint64_t node);

/* ---- for src/engine */
typedef struct VvIntents VvIntents;
VvIntents *vv_intents_new(void);
void vv_intents_free(VvIntents *intents);
void vv_intents_clear(struct VvPool *pool); /* the pending memory begins anew */
/* What a predecessor noted in @slot; when all were loaded, and the memory is ours to write, those that were done are ended. */
void vv_intents_load(struct VvPool *pool, uint32_t slot);
void vv_intents_loaded(struct VvPool *pool);

#define VV_INTENT_GAVE_UP INT64_MIN
/* A request that changes bytes was admitted; it leaves, with its result or GAVE_UP: it comes again. view->lock held, and leaf locks taken. */
void vv_intents_enter(struct VvIoState *state);
void vv_intents_leave(struct VvIoState *state, int64_t result);

#endif
