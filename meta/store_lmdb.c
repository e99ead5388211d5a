/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_lmdb.h"

#include "codec.h"
#include "store.h"
#include "store_fault.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>

#define TOUCH_BYTES 4096u

/* What @call returns, or what it was left for. */
#define TRAPPED(call)                                                                                                         \
    jmp_buf here;                                                                                                             \
    int rc;                                                                                                                   \
                                                                                                                              \
    if (!vv_fault_unblocked)                                                                                                  \
        vv_fault_unblock();                                                                                                   \
    switch (setjmp(here)) {                                                                                                   \
    case 0:                                                                                                                   \
        vv_fault_trap = &here;                                                                                                \
        rc = call;                                                                                                            \
        break;                                                                                                                \
    case VV_TRAPPED_BUS:                                                                                                      \
        rc = VVL_UNREADABLE;                                                                                                  \
        break;                                                                                                                \
    case VV_TRAPPED_NO_MEMORY:                                                                                                \
        rc = VVL_NO_MEMORY;                                                                                                   \
        break;                                                                                                                \
    default:                                                                                                                  \
        rc = VVL_DAMAGED;                                                                                                     \
        break;                                                                                                                \
    }                                                                                                                         \
    vv_fault_trap = NULL;                                                                                                     \
    return rc

static const char *const table_names[VV_N_TABLES] = {
    [VV_TABLE_POOL] = "pool",
    [VV_TABLE_DISK] = "disk",
    [VV_TABLE_FAMILY] = "family",
    [VV_TABLE_SEGMENT] = "segment",
    [VV_TABLE_LUN] = "lun",
    [VV_TABLE_BRANCH] = "branch",
    [VV_TABLE_SNAPSHOT] = "snapshot",
    [VV_TABLE_ORPHAN] = "orphan",
    [VV_TABLE_JOB] = "job",
    [VV_TABLE_REQUEST] = "request",
    [VV_TABLE_FREE] = "free",
    [VV_TABLE_SUM] = "sum",
    [VV_TABLE_PAGE] = "page",
    [VV_TABLE_INDEX] = "index",
    [VV_TABLE_MEMBER] = "member",
};

const char *vv_table_name(VvTable table)
{
    g_assert(table < VV_N_TABLES);
    return table_names[table];
}

void vvl_on_assert(MDB_env *env, const char *text)
{
    (void) env;
    vv_log(VV_LOG_ERROR, "metadata store: %s", text);
    if (vv_fault_trap != NULL)
        longjmp(*vv_fault_trap, VV_TRAPPED_ASSERT);
}

int vvl_begin(MDB_env *env, unsigned flags, MDB_txn **ret_txn) { TRAPPED(mdb_txn_begin(env, NULL, flags, ret_txn)); }
int vvl_renew(MDB_txn *txn) { TRAPPED(mdb_txn_renew(txn)); }
int vvl_commit(MDB_txn *txn) { TRAPPED(mdb_txn_commit(txn)); }
int vvl_info(MDB_env *env, MDB_envinfo *ret_info) { TRAPPED(mdb_env_info(env, ret_info)); }
int vvl_put(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value) { TRAPPED(mdb_put(txn, table, key, value, 0)); }
int vvl_make_table(MDB_txn *txn, const char *name, MDB_dbi *ret_table) { TRAPPED(mdb_dbi_open(txn, name, MDB_CREATE, ret_table)); }
int vvl_del(MDB_txn *txn, MDB_dbi table, MDB_val *key) { TRAPPED(mdb_del(txn, table, key, NULL)); }

/* What a value's pages cannot give is to be known here, where there is a trap, and not by who looks at it. */
static int touched(int rc, const MDB_val *value)
{
    const volatile uint8_t *bytes = value->mv_data;

    for (size_t at = 0; rc == 0 && at < value->mv_size; at += TOUCH_BYTES)
        (void) bytes[at];
    if (rc == 0 && value->mv_size > 0)
        (void) bytes[value->mv_size - 1];
    return rc;
}

int vvl_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value)
{
    TRAPPED(touched(mdb_get(txn, table, key, value), value));
}

int vvl_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
    TRAPPED(touched(mdb_cursor_get(cursor, key, value, op), value));
}

/* A named table's root is looked up when it is first needed in a transaction, and mdb_cursor_open loses what it allocated if it is left there. So
 * something else that needs it goes first. */
static int open_cursor(MDB_txn *txn, MDB_dbi table, MDB_cursor **ret_cursor)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, table, &stat);

    return rc != 0 ? rc : mdb_cursor_open(txn, table, ret_cursor);
}

int vvl_cursor_open(MDB_txn *txn, MDB_dbi table, MDB_cursor **ret_cursor) { TRAPPED(open_cursor(txn, table, ret_cursor)); }
int vvl_cursor_renew(MDB_txn *txn, MDB_cursor *cursor) { TRAPPED(mdb_cursor_renew(txn, cursor)); }

static int open_main(MDB_txn *txn, MDB_dbi *ret_table) { TRAPPED(mdb_dbi_open(txn, NULL, 0, ret_table)); }

/* LMDB does not tell, but it tells where in memory a key is. Nothing follows from the address itself: where the file's pages are larger than
 * the system's, the mapping need not begin at a multiple of them. */
int vvl_base(MDB_env *env, uint64_t first_key, uint8_t **ret_base)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    MDB_dbi tables;
    int rc = vvl_begin(env, MDB_RDONLY, &txn);

    if (rc == 0)
        rc = open_main(txn, &tables);
    if (rc == 0)
        rc = vvl_cursor_open(txn, tables, &cursor);
    if (rc == 0)
        rc = vvl_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == 0) {
        *ret_base = (uint8_t *) key.mv_data - first_key;
        rc = vv_get_u32(*ret_base + PAGE_HEAD_BYTES) == META_MAGIC ? 0 : EINVAL;
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    if (txn != NULL)
        mdb_txn_abort(txn);
    return rc;
}
