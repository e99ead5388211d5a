/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a pool may hold after a crash: LUNs as flat arrays, their snapshots, and of each sector what it held since its LUN's last
 * flush. A model is a value: copies are cheap (bytes are shared), and an op makes a new one of it.
 *
 *   M1  What was acknowledged before an acknowledged flush is there. A sector that was changed since holds what it held then, or
 *       any of the changes since; one whose change is under way, that too.
 *       Of two writes at once a sector may show either, or one over the other in either order; what it shows when both were
 *       acknowledged is what was acknowledged, and is noted then (EV_SEEN).
 *   M2  Snapshots hold exactly what their LUN held when they were taken.
 *   M3  LUNs and snapshots, by name and size, are those of the acknowledged transactions; one under way has happened wholly or
 *       not at all, save that what a shrinking LUN loses may be lost before its size changes. */
#ifndef VV_CRASH_MODEL_H
#define VV_CRASH_MODEL_H

#include "log.h"

#include <glib.h>

#define MODEL_LUNS 6u
#define MODEL_SNAPSHOTS 8u         /* per LUN */
#define MODEL_BYTES_MAX (5u << 18) /* of a LUN: a region and a piece */
#define MODEL_NAME_MAX 32u
#define OUTCOMES_MAX 2u

typedef enum {
    OP_WRITE = 'w',
    OP_FLUSH = 'f',
    OP_SNAPSHOT = 's',
    OP_CLONE = 'c',
    OP_DISCARD = 'd',
    OP_RESTORE = 'r',
    OP_REMOVE = 'x', /* a snapshot, or a LUN with its snapshots */
    OP_RESIZE = 'z',
    OP_MOVE = 'm',
    OP_CHECKPOINT = 'k',
    OP_WRAP = 'j', /* the journal goes on in its next file */
    OP_CREATE = 'n',
    OP_RENAME = 'e',
    OP_GROUP = 'g',   /* a snapshot of two LUNs */
    OP_REFRESH = 'h', /* a snapshot is taken anew under its name */
    OP_PAIR = 'p',    /* two writes at once */
    OP_BESIDE = 'b',  /* a flush, and a write beside it */
    OP_REOPEN = 'O',  /* the pool is closed and opened */
    OP_KILL = 'K',    /* the process dies and another begins; the kernel keeps what it has */
} OpKind;

/* One step of a workload, with all that was chosen for it. */
typedef struct {
    uint32_t kind;
    uint32_t serial;         /* what it writes is told from all else by this */
    uint64_t offset, length; /* write, discard */
    uint64_t size;           /* resize, create; pair: the offset of the write to @second */
    uint64_t keep;           /* restore: keep what was, as snapshot @fresh; pair: the length of the write to @second */
    char lun[MODEL_NAME_MAX], second[MODEL_NAME_MAX], snapshot[MODEL_NAME_MAX], fresh[MODEL_NAME_MAX];
} Op;

typedef struct ModelBytes ModelBytes;
typedef struct ModelPiece ModelPiece;

typedef struct {
    bool used;
    char name[MODEL_NAME_MAX];
    uint64_t size;
    ModelBytes *bytes;
} ModelSnapshot;

typedef struct {
    bool used;
    char name[MODEL_NAME_MAX];
    uint64_t size;
    unsigned restores;
    ModelBytes *bytes;
    ModelPiece *pieces; /* what sectors held since the last flush */
    ModelSnapshot snapshots[MODEL_SNAPSHOTS];
} ModelLun;

typedef struct {
    ModelLun luns[MODEL_LUNS];
} Model;

void model_copy(Model *to, const Model *from); /* @to is zeroed or cleared */
void model_clear(Model *model);
ModelLun *model_lun(Model *model, const char *name); /* NULL: none */
ModelSnapshot *model_snapshot(ModelLun *lun, const char *name);
/* What the op makes of @before, in the order in which it can be seen; the last is what holds when it was acknowledged. The caller
 * clears them. */
unsigned model_apply(const Model *before, const Op *op, Model outcomes[OUTCOMES_MAX]);
/* What @op writes as its first or second: of OP_PAIR both, else only the first. */
Op model_half(const Op *op, unsigned which);
/* After a kill, or two writes at once, a LUN shows this: it is what counts now, and not durable (or, @durable, all there is). */
void model_see(ModelLun *lun, uint64_t offset, uint64_t length, const uint8_t *bytes);
void model_forget_pieces(ModelLun *lun);
/* Bytes that only @serial has. */
void model_fill(const Op *op, uint8_t *bytes);
const uint8_t *model_bytes(const ModelBytes *bytes);

/* ---- what a pool shows */
typedef struct {
    char lun[MODEL_NAME_MAX];
    char snapshot[MODEL_NAME_MAX]; /* "": the LUN itself */
    uint64_t size;
    uint8_t *bytes; /* MODEL_BYTES_MAX, owned */
} ShownObject;

typedef struct {
    unsigned count;
    ShownObject objects[MODEL_LUNS * (MODEL_SNAPSHOTS + 1)];
} Shown;

ShownObject *shown_add(Shown *shown, const char *lun, const char *snapshot, uint64_t size);
void shown_clear(Shown *shown); /* keeps memory for the next */
void shown_free(Shown *shown);
/* False, with why: it is not what the model allows. */
bool model_allows(const Model *model, const Shown *shown, char **ret_why);
/* From then on the model is what @shown says (which it allows), all of it durable. */
void model_adopt(Model *model, const Shown *shown);
/* As events of a base, and back. */
void model_store(const Model *model, Log *base);
bool model_load(Model *model, const Log *base);

#endif
