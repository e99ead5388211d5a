/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool's LMDB environment: named tables of key and value. LMDB is known to store.c and store_lmdb.c alone.
 *
 * Durability: every commit is fully synchronous (never MDB_NOSYNC, never MDB_WRITEMAP). One writer at a time: the
 * checkpointer (or create and repair, before there is one). Readers on any thread, each with a transaction of its own.
 *
 * All functions returning int give 0 or: -ENODATA no such key; -ENOSPC file system or map full; -EUCLEAN LMDB says the
 * file is damaged or of another version; -ENOMEM; -EIO anything else. LMDB's codes stop here. */
#ifndef VV_STORE_H
#define VV_STORE_H

#include "map_check.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys are big-endian, so that LMDB's order is the numbers' order. */
typedef enum {
    VV_TABLE_POOL,     /* "pool": one record, key u8 0 */
    VV_TABLE_DISK,     /* id be64 */
    VV_TABLE_FAMILY,   /* id be64 */
    VV_TABLE_SEGMENT,  /* family be64, number be64 */
    VV_TABLE_LUN,      /* id be64 */
    VV_TABLE_BRANCH,   /* id be64 */
    VV_TABLE_SNAPSHOT, /* id be64 */
    VV_TABLE_ORPHAN,   /* kind u8, id be64: a LUN or snapshot that is removed but open */
    VV_TABLE_JOB,      /* id be64 */
    VV_TABLE_REQUEST,  /* time be64, crc32c of the request id be64 */
    VV_TABLE_FREE,     /* family be64, segment be64, piece be64: 1 KiB of bits, 1 = free; absent = all used */
    VV_TABLE_SUM,      /* family be64, segment be64, MiB be64: checksums of places */
    VV_TABLE_PAGE,     /* branch be64, region be64, ~epoch be64 */
    VV_TABLE_INDEX,    /* branch be64, epoch be64, region be64: empty value */
    VV_TABLE_MEMBER,   /* kind u8, id be64: nodes and invites; made with its first record, so most pools have none */
    VV_N_TABLES,
} VvTable;

const char *vv_table_name(VvTable table);

/* The longest value that stays on its leaf page with a 24-byte key; measured, see docs/format.md. */
#define VV_PAGE_VALUE_BYTES_MAX 2006u

typedef struct VvStore VvStore;
typedef struct VvStoreTxn VvStoreTxn;
typedef struct VvStoreRead VvStoreRead;

/* Make an environment with all tables in the existing, empty directory @path. */
bool vv_store_create(const char *path, GError **error);
/* Checks every page in use, and undoes a commit that never succeeded (store_sums.h), also if @read_only, which is for looking: so
 * nobody may be writing, which the pool's lock sees to. Errors: damaged, io, not-found. Free with vv_store_close; no
 * transaction may be open then (asserted). */
VvStore *vv_store_open(const char *path, bool read_only, GError **error);
/* The other: VV_MAP_BY_SIZE. */
VvStore *vv_store_open_as(const char *path, bool read_only, VvMapCheck check, GError **error);
/* The checksums are lost, but the map is in order: make new ones, for a trial (store_rebuild.h has the errors). */
bool vv_store_rebuild(const char *path, GError **error);
/* The trial is over, and closed: @take them for good, or remove them; then the map is as it was before. */
bool vv_store_end_trial(const char *path, bool take, GError **error);
void vv_store_close(VvStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvStore, vv_store_close)

/* From now on check in the background what opening left, and call @trouble, on a thread of its own and once, when something in the map is
 * damaged or cannot be read, whoever has met it. @why: for the user. */
typedef void (*VvStoreTroubleFunc)(void *user, const char *why);
bool vv_store_watch(VvStore *store, VvStoreTroubleFunc trouble, void *user, GError **error);
void vv_store_unwatch(VvStore *store); /* it is not called any more; also if there is no watch */
/* Check at once what opening left. 0, -EUCLEAN, -EIO, -ENOMEM, -ESHUTDOWN. Any thread. */
int vv_store_check(VvStore *store);
/* Nobody is to wait for that any longer, and what needs it is refused with -ESHUTDOWN: the store is about to be closed. */
void vv_store_give_up_check(VvStore *store);
char *vv_store_trouble(VvStore *store); /* what is wrong with it, or NULL. Any thread */

/* Bytes the data file occupies, and bytes of it that are free pages inside. */
int vv_store_usage(VvStore *store, uint64_t *ret_file_bytes, uint64_t *ret_free_bytes);

/* Pages in use now, and microseconds that checking them took at open: for tests and measurements. */
void vv_store_checked(const VvStore *store, uint64_t *ret_pages, uint64_t *ret_usec);
/* What it can write without asking anybody for space. */
typedef struct {
    uint64_t used_bytes;  /* pages that hold something */
    uint64_t room_bytes;  /* free pages, and what is allocated behind them */
    uint64_t beyond_bytes; /* that the file system has left now, as far as the mapping reaches */
    uint64_t limit_bytes; /* of the mapping */
} VvStoreRoom;
/* Allocate so much behind what it holds that there is room for @wanted_bytes, and at least a quarter of them there, because free pages may be
 * needed by readers. The writer's thread, no transaction open. 0 (also where the file system cannot allocate ahead); -ENOSPC: *ret_room
 * says what there is; or another error: it is untouched. */
int vv_store_room(VvStore *store, uint64_t wanted_bytes, VvStoreRoom *ret_room);

/* ---- the writer */
int vv_store_begin(VvStore *store, VvStoreTxn **ret_txn); /* checks first what opening left, which may take a while: vv_store_check */
/* The same, without: only for the pool's record (store.c S9). */
int vv_store_begin_early(VvStore *store, VvStoreTxn **ret_txn);
int vv_store_put(VvStoreTxn *txn, VvTable table, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes);
/* Deleting what is not there is 0. */
int vv_store_delete(VvStoreTxn *txn, VvTable table, const void *key, size_t key_bytes);
/* Both end and free @txn, whatever they return. A commit that failed changed nothing that a start would find; if only its
 * checksums could not be written, readers of this process see it, and the next begin tries them again. */
int vv_store_commit(VvStoreTxn *txn);
void vv_store_abort(VvStoreTxn *txn);

/* ---- readers: a consistent view as of begin. Transactions are pooled, so begin costs no malloc in the steady state. */
int vv_store_read_begin(VvStore *store, VvStoreRead **ret_read);
void vv_store_read_end(VvStoreRead *read);

/* *ret_value is borrowed until the read ends. -ENODATA if absent. */
int vv_store_get(VvStoreRead *read, VvTable table, const void *key, size_t key_bytes, const uint8_t **ret_value,
                 size_t *ret_value_bytes);
/* The first record at or after @key (VV_SEEK_GE), or the last one at or before it (VV_SEEK_LE); -ENODATA if none.
 * Keys and values are borrowed until the read ends. One cursor per table and read is kept inside. */
typedef enum { VV_SEEK_GE, VV_SEEK_LE } VvSeek;
int vv_store_seek(VvStoreRead *read, VvTable table, VvSeek how, const void *key, size_t key_bytes,
                  const uint8_t **ret_key, size_t *ret_key_bytes, const uint8_t **ret_value, size_t *ret_value_bytes);
/* The record after the one that the last seek or next of this table returned; -ENODATA at the end. */
int vv_store_next(VvStoreRead *read, VvTable table, const uint8_t **ret_key, size_t *ret_key_bytes,
                  const uint8_t **ret_value, size_t *ret_value_bytes);

#endif
