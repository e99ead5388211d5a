/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sums, for the files of meta/ alone. Write lock, meta->apply_read open, unless said otherwise. */
#ifndef VV_SUMS_PRIVATE_H
#define VV_SUMS_PRIVATE_H

#include "meta_private.h"

guint vvm_sum_hash(gconstpointer piece);
gboolean vvm_sum_equal(gconstpointer a, gconstpointer b);
/* What the overlay or the store has, into *piece, whose key is set. Read lock. 0 also if there is nothing. */
int vvm_sums_get(VvMeta *meta, VvStoreRead *read, VvSumPiece *piece);
/* @count blocks from @place on are in use now, with these sums, or (NULL) without. They had none. */
int vvm_sums_use(VvMeta *meta, VvFamily *family, VvPlace place, unsigned count, const uint32_t *sums);
/* The place is free now. */
int vvm_sums_release(VvMeta *meta, VvFamily *family, VvPlace place);
/* @to, which is in use since just now and told nobody of yet, holds the bytes of @from. */
int vvm_sums_copy(VvMeta *meta, VvFamily *family, VvPlace from, VvPlace to);
/* One transaction's worth of the overlay's, for checkpoints; no lock. */
int vvm_sums_write(const VvOverlay *overlay, VvStoreTxn *txn);
/* `pool check`: sums only where blocks are in use, and as many as the family's record says; no record of a segment that is not there.
 * @is_used: looks at what the pages say. Read lock, or @repair: write lock. 0 or the store's error. */
typedef bool (*VvSumsUsed)(void *user, const VvSegment *segment, uint32_t block);
int vvm_sums_check(VvMeta *meta, VvStoreRead *read, bool repair, VvSumsUsed is_used, VvCheckFunc report, void *user);

#endif
