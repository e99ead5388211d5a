/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks that turned out to be damaged: found by who reads, told by the scrub's thread, listed by doctor. For src/engine. */
#ifndef VV_DAMAGE_H
#define VV_DAMAGE_H

#include "engine.h"

typedef enum {
    VV_DAMAGE_SUM,        /* it does not hold what was written: its checksum differs */
    VV_DAMAGE_UNREADABLE, /* the disk does not give it */
} VvDamageKind;

typedef struct VvDamages VvDamages;
VvDamages *vv_damages_new(VvPool *pool);
void vv_damages_free(VvDamages *damages);
/* @block: of the LUN, UINT64_MAX if it is not known. Counts what is found again, and what is more than VV_DAMAGES_MAX. A leaf lock. [any] */
void vv_damage_found(VvPool *pool, uint64_t family, VvPlace place, uint64_t block, VvDamageKind kind);

/* One of them with names. */
typedef struct {
    VvDamageKind kind;
    bool told;            /* an event was made of it */
    char *disk;           /* name */
    uint64_t disk_offset; /* bytes from the disk's begin */
    uint64_t offset;      /* bytes in those that map it */
    GPtrArray *objects;   /* names: LUNs, then snapshots; owned */
    uint64_t family;
    VvPlace place;
} VvDamage;
/* What is left, at most @most: one that no LUN or snapshot maps any more is forgotten. Of VvDamage with free function, in the order of disk
 * and offset. @stop: as of vv_map_find_places; what is not found by then is left out. Control threads: walks maps. */
GPtrArray *vv_damages_list(VvPool *pool, unsigned most, bool (*stop)(void *user), void *user);
/* For people: "disk disk0 holds wrong bytes at 1052672: db, db@a, db@b at 45056". Newly allocated. */
char *vv_damage_text(const VvDamage *damage);
/* Events of those that nobody was told of yet. The scrub's thread. */
void vv_damages_tell(VvPool *pool, bool (*stop)(void *user), void *user);
/* Is it remembered, or are there more than that? [any] */
bool vv_damage_is_known(VvPool *pool, uint64_t family, VvPlace place);
/* How many are remembered; and how often one was found beyond VV_DAMAGES_MAX. [any] */
unsigned vv_damages_count(VvPool *pool, uint64_t *ret_left_out);

#endif
