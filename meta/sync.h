/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State sync: the store of a cluster's map as one stream of bytes, as of its base, for a node that lags behind the log or has nothing.
 *
 * Stream, little-endian: "VVSTATE1", u64 index of the base; then all records of all tables, keys in order:
 *     u8 table, u8 bytes of the key, u32 bytes of the value, key, value
 * and last u8 255, u8 0, u32 12, u64 number of records, u32 crc32c of all before this u32.
 *
 * Who takes it writes into "sync/" of the pool directory: sync/map, then sync/journal, which begins behind the base, then the end mark
 * sync/complete. Only then does anything of the old pool go: both are renamed into their places, then "sync/" is removed.
 *   Y1 Without the end mark what is in "sync/" is nothing, and the pool is as it was. With it the pool is what was taken, and each step
 *      of vv_sync_finish can be done again.
 *   Y2 What is taken was read back whole (LMDB's pages with their checksums, every record of the catalog) before the end mark is made.
 *
 * Threads: one at a time in each object. */
#ifndef VV_SYNC_H
#define VV_SYNC_H

#include "base.h"

/* ---- who gives. One read transaction of the store, so nothing in it is reused meanwhile: to be freed soon. */
typedef struct VvSyncGive VvSyncGive;
/* Reads everything once. NULL: the store cannot be read, or there is no base. */
VvSyncGive *vv_sync_give_new(VvMeta *meta);
void vv_sync_give_free(VvSyncGive *give);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvSyncGive, vv_sync_give_free)
uint64_t vv_sync_give_index(const VvSyncGive *give);
uint64_t vv_sync_give_bytes(const VvSyncGive *give);
/* At most @most bytes from @offset, which is below the end; cheap where the last read began or ended. 0, -EIO, -EUCLEAN. */
int vv_sync_give_read(VvSyncGive *give, uint64_t offset, GByteArray *out, size_t most);

/* ---- who takes */
typedef struct VvSyncTake VvSyncTake;
/* What was taken before goes. */
VvSyncTake *vv_sync_take_new(const char *directory, GError **error);
void vv_sync_take_free(VvSyncTake *take);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvSyncTake, vv_sync_take_free)
/* The next bytes. 0; -EUCLEAN: no such stream; -EIO, -ENOSPC. */
int vv_sync_take_write(VvSyncTake *take, const uint8_t *data, size_t data_bytes);
/* All has been written, and is of base @index: make it complete, durably. 0; -EUCLEAN; -EIO, -ENOSPC. */
int vv_sync_take_complete(VvSyncTake *take, uint64_t index);

/* Before the pool in @directory is opened: put what is complete into its places, remove what is not. Errors: io, damaged. */
bool vv_sync_finish(const char *directory, GError **error);

#endif
