/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the map's model knows: objects as flat arrays, the data that places hold, and what was told by hooks; and the checks that compare
 * the metadata with it. */
#ifndef VV_MAP_STATE_H
#define VV_MAP_STATE_H

#include "meta_private.h"

#include <glib.h>

#define REGIONS 4u
#define SPOTS 6u
#define CELLS (REGIONS * SPOTS)
#define OBJECTS_MAX 24u
#define DISKS 4u
#define MEMBERS 6u
#define SUMMED (1u << 31) /* in a value: its place has a checksum, which in this model is the value */

extern const unsigned spot_block[SPOTS];

typedef struct {
    bool used, is_lun, orphan, kept; /* kept: named in the catalog */
    uint64_t id, lun;
    char name[16];
    uint32_t cell[CELLS];
} Object;

typedef struct {
    uint64_t seed;
    GRand *random;
    char *directory;
    VvMeta *meta;
    GHashTable *data; /* "family/segment/block" -> value */
    Object objects[OBJECTS_MAX];
    uint32_t next_value, next_name;
    unsigned in_place, redirected, moved, stayed;
    uint64_t freed_blocks; /* told by the hook since it was set to 0 */
    uint64_t mover;        /* the LUN that is being moved; 0: none */
    GHashTable *reserved;  /* data keys that nobody may allocate while it is: new places, and what was freed meanwhile */
    bool no_orphans;
    uint64_t disks[DISKS];
    GHashTable *chosen; /* family -> VvDiskSet that was chosen for it */
    unsigned restricted;
    unsigned failed_checkpoints, passed;
    uint32_t members[MEMBERS]; /* what the record of kind 1 + i % 2, id 1 + i / 2 says; 0: there is none */
    struct { VvPageKey key; VvPage page; uint64_t family; } told[REGIONS]; /* what a head sees since the last entry; branch 0: not told */
} Model;

void fail(Model *m, const char *format, ...) G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN; /* with the seed */
unsigned pick(Model *m, unsigned below);

/* Open the metadata, with hooks that tell the model. */
void open_meta(Model *m);
/* Log and apply; what was told of pages is what look-ups find. Frees @ops. */
void commit(Model *m, VvOps *ops);

/* What a place of a family holds. */
uint64_t *data_key(uint64_t family, VvPlace place); /* newly allocated */
uint32_t data_get(Model *m, uint64_t family, VvPlace place);
void data_set(Model *m, uint64_t family, VvPlace place, uint32_t value);

bool object_point(Model *m, const Object *o, uint64_t *branch, uint64_t *epoch);
void check_reads(Model *m); /* every object, block for block */
void report(void *user, const VvCheckError *error); /* for vv_meta_check: fails */
void check_meta(Model *m);

#endif
