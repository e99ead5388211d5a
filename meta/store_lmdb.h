/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calls of LMDB that look into its mapping, with a trap set (store_fault.h): where LMDB would die, because it asserts, because a page may
 * not be looked at or because the medium does not give it, they return. For store.c alone, as <lmdb.h>. */
#ifndef VV_STORE_LMDB_H
#define VV_STORE_LMDB_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

/* Beside LMDB's codes. What the call worked on is in no state that LMDB knows: a cursor may be closed and a read be ended, a write
 * transaction must be left as it is for ever, with its environment. */
#define VVL_DAMAGED (-41001)
#define VVL_UNREADABLE (-41002)
#define VVL_NO_MEMORY (-41003)
static inline bool vvl_is_trapped(int rc) { return rc == VVL_DAMAGED || rc == VVL_UNREADABLE || rc == VVL_NO_MEMORY; }

void vvl_on_assert(MDB_env *env, const char *text);
int vvl_begin(MDB_env *env, unsigned flags, MDB_txn **ret_txn);
int vvl_renew(MDB_txn *txn);
int vvl_commit(MDB_txn *txn);
int vvl_info(MDB_env *env, MDB_envinfo *ret_info);
/* All bytes of the value can be read when these are back. */
int vvl_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value);
int vvl_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);
int vvl_make_table(MDB_txn *txn, const char *name, MDB_dbi *ret_table);
int vvl_put(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value);
int vvl_del(MDB_txn *txn, MDB_dbi table, MDB_val *key);
int vvl_cursor_open(MDB_txn *txn, MDB_dbi table, MDB_cursor **ret_cursor);
int vvl_cursor_renew(MDB_txn *txn, MDB_cursor *cursor);
/* Where LMDB's mapping begins. @first_key: offset in data.mdb of the first key of the table of tables. */
int vvl_base(MDB_env *env, uint64_t first_key, uint8_t **ret_base);

#endif
