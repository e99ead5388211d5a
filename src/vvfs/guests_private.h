/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between guests.c (who is told, when) and guests_tell.c (what). */
#ifndef VV_GUESTS_PRIVATE_H
#define VV_GUESTS_PRIVATE_H

#include "describe.h"
#include "guests.h"

typedef struct {
    uint64_t id; /* of the node */
    /* guests->lock */
    VvPeer *peer;        /* owned; NULL: it is not connected */
    GHashTable *noted;   /* id -> 2: its content too, 1 */
    bool nodes, all;     /* noted: nodes; everything */
    bool under_way;      /* a message is not answered */
    bool more;           /* others follow it */
    bool is_late;        /* ... for long */
    uint64_t sent_ms;    /* when it went */
    uint64_t again_ms;   /* nothing before that; 0: now */
    unsigned connection; /* counts */
    /* the thread's */
    GHashTable *told; /* u64 id -> u64 its LUN, or itself, owned */
    GQueue *outbox;   /* of GByteArray: what follows what is under way */
} VvgGuest;

typedef struct {
    GHashTable *noted; /* owned; NULL: everything */
    bool nodes;
} VvgNews;
/* The object that the op is about, *ret_content: what it holds is another; 0: none that a guest is told of. */
uint64_t vvg_object_of(const VvOp *op, bool *ret_content);

/* With the map's read lock: what is noted of @guest is taken. False: there is nothing, or it has gone. */
typedef bool (*VvgTake)(void *user, VvgGuest *guest, VvgNews *ret_news);
/* Messages of what @take gives, into guest->outbox; guest->told follows. Takes the read lock. */
void vvg_tell(VvPool *pool, VvgGuest *guest, VvgTake take, void *user);

#endif
