/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is held, for who looks: what nodes have open, what changes keep from others meanwhile, and who waits for that. Nothing is decided by
 * it: claims.h and view.h do.
 *
 * A change is known by what its thread said of itself (vv_holds_author). Lists are copies, as of one instant for each object. */
#ifndef VV_HOLDS_H
#define VV_HOLDS_H

#include "io.h"

typedef enum {
    VV_HOLD_OPENS,    /* nobody opens it: VV_CLAIM_ALL, VV_CLAIM_OPENS */
    VV_HOLD_WRITERS,  /* nobody opens it for writing: VV_CLAIM_WRITERS, VV_CLAIM_LONG */
    VV_HOLD_WRITES,   /* its gate is closed to writes */
    VV_HOLD_REQUESTS, /* ... and to reads */
    VV_HOLD_OPENING,  /* nothing is held: an open waits for one of the first two */
} VvHoldKind;

typedef struct {
    uint64_t object;
    VvHoldKind kind;
    const char *what;  /* lives for ever; NULL: not known */
    uint64_t node;     /* who asked for it, or opens; 0: this one */
    uint64_t since_ns; /* wall clock */
    pthread_t thread;  /* of whoever began it */
} VvHold;

/* Handles of one node on one object, of one mode. */
typedef struct {
    uint64_t node; /* 0: this one */
    bool write;
    bool revoked;   /* it is taken away, and what was under way is waited for */
    bool unflushed; /* what was written to the LUN, by whomever, is not all durable */
    unsigned handles;
    unsigned waiting;  /* requests by them that wait: for a gate, space, the journal */
    uint64_t since_ns; /* the oldest; in this process */
} VvUse;

typedef struct {
    uint64_t id;
    unsigned under_way; /* requests for which a closed gate waits */
    unsigned waiting;   /* requests that wait for a gate */
    GArray *uses;       /* of VvUse, by node, those for writing first */
    GArray *holds;      /* of VvHold, oldest first */
} VvHeldObject;
void vv_held_object_free(void *object);

struct VvHolds *vv_holds_new(void);
void vv_holds_free(struct VvHolds *holds); /* all have ended (asserted) */

/* Until it says otherwise, what this thread holds is held for @what (which lives for ever, NULL: for nobody) that @node (0: this one) asked for. */
void vv_holds_author(const char *what, uint64_t node);
/* Under any lock but leaves. What began is ended once, by whatever thread. */
void vv_hold_begin(VvPool *pool, uint64_t object, VvHoldKind kind);
void vv_hold_begin_for(VvPool *pool, uint64_t object, VvHoldKind kind, uint64_t node);
void vv_hold_end(VvPool *pool, uint64_t object, VvHoldKind kind);

/* Of all objects of which something is held, from number @from on, rising. The daemon's own handles are not told. [any] */
GPtrArray *vv_pool_held(VvPool *pool, uint64_t from); /* of VvHeldObject */
/* "db", "db@x", or "object N" of one that is removed; owned. [any] */
char *vv_pool_object_name(VvPool *pool, uint64_t id);

#endif
