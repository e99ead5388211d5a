/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What failed on a disk. For src/engine. */
#ifndef VV_TROUBLE_H
#define VV_TROUBLE_H

#include <glib.h>
#include <pthread.h>
#include <stdint.h>

typedef enum { VV_TROUBLE_READ, VV_TROUBLE_WRITE, VV_TROUBLE_SYNC, VV_N_TROUBLES } VvTroubleKind;
typedef struct {
    uint64_t count; /* since the disk was opened */
    uint64_t offset, time_ns; /* of the last; 0 for a sync */
    int result;
} VvTrouble;

struct VvDisk;
struct VvPool;

/* In each disk. */
typedef struct {
    pthread_mutex_t lock; /* a leaf; guards kinds */
    VvTrouble kinds[VV_N_TROUBLES];
    void (*tell)(void *user, struct VvDisk *disk, VvTroubleKind kind, const VvTrouble *trouble); /* must be quick */
    void *user;
} VvTroubles;

/* Something failed with @result. Takes leaf locks; may tell the pool's events. [any] */
void vv_trouble_note(struct VvDisk *disk, VvTroubleKind kind, uint64_t offset, int result);
void vv_trouble_get(struct VvDisk *disk, VvTroubleKind kind, VvTrouble *ret_trouble); /* [any] */
/* Tell @pool's events of it. Before any I/O. */
void vv_trouble_watch(struct VvPool *pool, struct VvDisk *disk);
/* Add what is wrong with the disk to @problems. */
void vv_trouble_look(struct VvPool *pool, struct VvDisk *disk, const char *name, GPtrArray *problems);

#endif
