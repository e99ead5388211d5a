/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between commit.c, which logs and applies, and commit_batch.c, which builds entries from records. The committer's thread. */
#ifndef VV_COMMIT_PRIVATE_H
#define VV_COMMIT_PRIVATE_H

#include "pending_slots.h"
#include "tables.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvView, vv_view_unref)

/* What an entry holds of one view. */
typedef struct {
    VvView *view;      /* referenced */
    uint64_t sequence; /* records up to it */
    uint64_t mtime_ns;
} VvBatchPart;

typedef struct {
    VvOps *ops;
    GArray *parts; /* VvBatchPart */
    uint64_t index;
    bool built; /* from records: changes are the store's */
} VvBatchEntry;

/* Changes and checksums of all entries of a batch, one behind the other; those of an op are not the op's own. */
typedef struct VvBatchStore VvBatchStore;
#define VV_BATCH_SPARES 16u

typedef struct {
    GArray *entries; /* VvBatchEntry, logged and not applied */
    VvOps *ops;      /* the entry being built; NULL: none */
    GArray *parts;
    unsigned region_count, change_count, sum_count; /* of it */
    VvSet op_regions; /* of the MAP op being built */
    VvBatchStore *store;
    unsigned stored_changes, stored_sums;
    VvBatchEntry spares[VV_BATCH_SPARES]; /* empty ones, so that a flush allocates none */
    unsigned spare_count;
} VvBatchBuilder;

void vv_batch_init(VvBatchBuilder *builder);
void vv_batch_free(VvBatchBuilder *builder);
/* Forget the entries. */
void vv_batch_clear(VvBatchBuilder *builder);
/* Put records of @view up to @sequence and its limit, that are not logged, into the entry being built (with @with_mtime also a
 * changed mtime alone). True: it is full before they all were in: take it, log it, and come again. */
bool vv_batch_add_view(VvBatchBuilder *builder, VvView *view, uint64_t sequence, bool with_mtime);
/* The entry being built; false: there is none. */
bool vv_batch_take_entry(VvBatchBuilder *builder, VvBatchEntry *ret_entry);
/* It is in the journal; it is applied: records go from pending. */
void vv_batch_entry_logged(const VvBatchEntry *entry);
void vv_batch_entry_applied(VvPool *pool, const VvBatchEntry *entry);
void vv_batch_entry_clear(VvBatchBuilder *builder, VvBatchEntry *entry);
/* What it holds must be settled before another entry is built. */
bool vv_batch_is_full(const VvBatchBuilder *builder);
/* Lock what a batch needs while memory is short. Bytes. */
size_t vv_batch_lock(const VvBatchBuilder *builder);

#endif
