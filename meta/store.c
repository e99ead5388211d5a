/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The LMDB environment behind store.h, and the only file that knows <lmdb.h>, but for store_lmdb.c: what it calls with a trap set.
 *
 *     PATH/data.mdb   all tables, as named LMDB databases
 *     PATH/lock.mdb   LMDB's table of readers and its writer lock
 *     PATH/sums       checksums of the pages of data.mdb (store_sums.h)
 *
 * Invariants:
 *   S1  Every commit is synchronous: no MDB_NOSYNC, MDB_NOMETASYNC, MDB_WRITEMAP or MDB_MAPASYNC, ever.
 *   S2  Tables are opened once, before anybody else has the store; their handles never change after that. Only "member" may be made later,
 *       by the transaction that has its first record: a pool that never had one is as it was before there was such a table.
 *   S3  A pooled read holds a reader slot but no view (mdb_txn_reset), so it keeps no old pages from being reused.
 *   S4  The data file is at least as long as LMDB's header says. LMDB reads through a mapping, where a missing tail is a
 *       SIGBUS and not an error. LMDB itself leaves the file short where a transaction took pages at the end and gave them
 *       back unwritten (up to 9 % of the commits of a random load), so commit and open lengthen it with zeroes.
 *   S5  The first error of a write transaction is the result of its commit, which then changes nothing.
 *   S6  LMDB's own assertions on what it reads from the file end as -EUCLEAN, not as an abort, and what the medium does not give as
 *       -EIO, not as a SIGBUS (store_fault.h). The pool is told (vv_store_watch).
 *   S7  LMDB sees no page whose sum was not compared (store_sums.h): damage that came while the pool was closed is refused before
 *       LMDB has the file or, in the leaves of a large map, when they are read. A commit has succeeded when it is certified, and the next
 *       one waits for that.
 *   S8  A write transaction that S6 met is never touched again, not even to abort it: its pages and cursors are as LMDB left them in
 *       the middle. Nothing of it is in the file that a start would find. No other begins, and close leaves the environment behind.
 *   S9  A write transaction begins when all pages were compared. One of the start's own may begin before (vv_store_begin_early): it
 *       may only touch tables of one page.
 *
 * Sizes, measured with 10,000 values under 24-byte keys on 4 KiB pages (mdb_stat; tests/unit/meta-store.c repeats it by
 * bytes in use), per value:
 *
 *     value      keys in scattered order          keys in ascending order
 *     2,006      3,182 bytes, no overflow page    4,131 bytes, no overflow page
 *     2,007      4,150 bytes, all on overflow     4,139 bytes, all on overflow
 *
 * LMDB moves a node of more than (4096 - 16) / 2 - 2 = 2,038 bytes (8 of them the node's header, 24 the key) to an
 * overflow page of its own. With larger system pages the limit is higher, so VV_PAGE_VALUE_BYTES_MAX holds everywhere.
 *
 * LMDB's own rules that callers inherit: do not open one directory twice in a process (closing one drops the file locks
 * of both); open after fork, never before; begin, put and commit of a write transaction on one thread. */
#include "store.h"

#include "error.h"
#include "limits.h"
#include "store_lmdb.h"
#include "store_rebuild.h"
#include "store_sums.h"
#include "store_watch.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Address space, not memory or disk: 1 TiB of tables maps some 100 TiB of data in the smallest pieces. */
#define STORE_MAP_BYTES ((size_t) 1 << 40)
/* Where address space is rationed (ulimit -v, small virtual address sizes) the map is halved down to this. */
#define STORE_MAP_BYTES_MIN ((size_t) 1 << 30)
/* Workers, helpers and jobs hold a few dozen; the rest is for other processes (`pool check`). */
#define STORE_READERS_MAX 512u
#define RESERVE_STEP_MIN (256u << 10) /* less is not worth a call */
#define HOST_FULL_BYTES (64u << 10) /* LMDB writes no more than so much at once */

_Static_assert(sizeof(size_t) == 8, "the store maps 1 TiB of address space");
_Static_assert(VV_PAGE_VALUE_BYTES_MAX == (4096 - 16) / 2 - 2 - 8 - 24, "LMDB's largest node on a 4 KiB leaf");

struct VvStore {
    char *path;                  /* owned */
    MDB_env *env;                /* owned */
    _Atomic MDB_dbi tables[VV_N_TABLES]; /* S2; 0: not there */
    VvSums *sums;                /* owned; its certifying is the writer's */
    VvMapWatch *watch;           /* owned; NULL while it is made */
    size_t page_bytes;
    uint64_t allocated_end; /* data.mdb is known to be allocated so far; the writer's */
    bool read_only;
    pthread_mutex_t lock;   /* guards what follows */
    VvStoreRead *idle;      /* owned: reads waiting to be used again */
    unsigned count_reading; /* reads between begin and end */
    bool writing, stuck; /* stuck: S8 */
};

struct VvStoreTxn {
    VvStore *store; /* borrowed */
    MDB_txn *txn;   /* owned */
    int error;      /* S5: 0 or the first -errno */
    MDB_dbi made;   /* table "member", which it has made: nobody else's before it is committed; 0: none */
};

struct VvStoreRead {
    VvStore *store;                   /* borrowed */
    VvStoreRead *next;                /* in the idle list; guarded by store->lock */
    MDB_txn *txn;                     /* owned */
    MDB_cursor *cursors[VV_N_TABLES]; /* owned, made at first use */
    bool renewed[VV_N_TABLES];        /* the cursor belongs to this view */
    bool placed[VV_N_TABLES];         /* the cursor stands on a record */
};

/* ---- LMDB's codes stop here */

static int store_errno(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return -ENODATA;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_DBI:
    case VVL_DAMAGED:
        return -EUCLEAN;
    case VVL_NO_MEMORY:
    case MDB_READERS_FULL:
    case MDB_TXN_FULL:
    case MDB_CURSOR_FULL:
    case ENOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static void set_store_error(GError **error, int rc, const char *path, const char *doing)
{
    VvErrorCode code = VV_ERROR_IO;

    if (rc == ENOENT)
        code = VV_ERROR_NOT_FOUND;
    else if (rc == EACCES || rc == EPERM || rc == EROFS)
        code = VV_ERROR_DENIED;
    else if (store_errno(rc) == -EUCLEAN)
        code = VV_ERROR_DAMAGED;
    else if (store_errno(rc) == -ENOSPC)
        code = VV_ERROR_NO_SPACE;
    vv_set_error(error, code, path, NULL, "metadata store %s: %s: %s", path, doing, mdb_strerror(rc));
}

/* ---- open and close */

/* On 0 *ret_env is owned by the caller. */
static int open_env(const char *path, unsigned flags, MDB_env **ret_env)
{
    int rc = ENOMEM;

    for (size_t map_bytes = STORE_MAP_BYTES; map_bytes >= STORE_MAP_BYTES_MIN; map_bytes /= 2) {
        MDB_env *env = NULL;

        rc = mdb_env_create(&env);
        if (rc != 0)
            return rc;
        if ((rc = mdb_env_set_assert(env, vvl_on_assert)) == 0 && (rc = mdb_env_set_mapsize(env, map_bytes)) == 0 &&
            (rc = mdb_env_set_maxdbs(env, VV_N_TABLES)) == 0 &&
            (rc = mdb_env_set_maxreaders(env, STORE_READERS_MAX)) == 0 &&
            (rc = mdb_env_open(env, path, flags | MDB_NOTLS | MDB_NORDAHEAD, 0600)) == 0) {
            *ret_env = env;
            return 0;
        }
        mdb_env_close(env);
        if (rc != ENOMEM)
            break;
    }
    return rc;
}

static int open_tables(VvStore *store, bool create)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(store->env, NULL, store->read_only ? MDB_RDONLY : 0, &txn);

    for (unsigned i = 0; rc == 0 && i < VV_N_TABLES; i++) {
        MDB_dbi table = 0;

        rc = mdb_dbi_open(txn, vv_table_name(i), create && i != VV_TABLE_MEMBER ? MDB_CREATE : 0, &table);
        if (rc == MDB_NOTFOUND && i == VV_TABLE_MEMBER)
            rc = 0;
        store->tables[i] = table;
    }
    if (txn != NULL && rc == 0)
        return mdb_txn_commit(txn);
    if (txn != NULL)
        mdb_txn_abort(txn);
    return rc;
}

static int file_bytes(VvStore *store, uint64_t *ret_bytes, uint64_t *ret_needed_bytes)
{
    struct stat st;
    MDB_envinfo info;
    int fd = -1;
    int rc = mdb_env_get_fd(store->env, &fd);

    if (rc == 0)
        rc = vvl_info(store->env, &info);
    if (rc != 0)
        return rc;
    if (fstat(fd, &st) != 0)
        return errno;
    *ret_bytes = (uint64_t) st.st_size;
    *ret_needed_bytes = (info.me_last_pgno + 1) * store->page_bytes;
    return 0;
}

/* S4. 0 or an errno. */
static int lengthen_file(VvStore *store)
{
    g_autofree char *name = NULL;
    vv_autofd int fd = -1;
    uint64_t have_bytes = 0, needed_bytes = 0;
    int rc = file_bytes(store, &have_bytes, &needed_bytes);

    if (rc != 0 || have_bytes >= needed_bytes)
        return rc;
    name = g_build_filename(store->path, "data.mdb", NULL);
    fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (fallocate(fd, 0, (off_t) have_bytes, (off_t) (needed_bytes - have_bytes)) == 0)
        return 0;
    if (ftruncate(fd, (off_t) needed_bytes) == 0)
        return 0;
    return errno;
}

/* S6, S7: from here on. */
static bool watch_map(VvStore *store, GError **error)
{
    uint8_t *base = NULL;
    uint64_t first_key = 0;
    MDB_envinfo info;
    int rc = vvl_info(store->env, &info);

    if (rc == 0 && vv_sums_first_key(store->sums, &first_key) != 0)
        rc = VVL_DAMAGED;
    if (rc == 0)
        rc = vvl_base(store->env, first_key, &base);
    if (rc == 0)
        store->watch = vv_map_watch_new(store->path, base, info.me_mapsize, vv_sums_lazy(store->sums), error);
    else
        set_store_error(error, rc, store->path, "opening");
    return store->watch != NULL;
}

static VvStore *open_store(const char *path, bool read_only, bool create, VvMapCheck check, GError **error)
{
    g_autoptr(VvStore) store = g_new0(VvStore, 1);
    MDB_stat stat;
    int rc, dead = 0;

    store->path = g_strdup(path);
    store->read_only = read_only;
    pthread_mutex_init(&store->lock, NULL);
    if (!create)
        store->sums = vv_sums_open(path, check, error);
    if (!create && store->sums == NULL)
        return NULL;
    if ((rc = open_env(path, read_only ? MDB_RDONLY : 0, &store->env)) != 0 ||
        (rc = mdb_env_stat(store->env, &stat)) != 0) {
        set_store_error(error, rc, path, "opening");
        return NULL;
    }
    store->page_bytes = stat.ms_psize;
    rc = open_tables(store, create);
    if (rc == MDB_NOTFOUND) {
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "metadata store %s: a table is missing", path);
        return NULL;
    }
    if (rc != 0) {
        set_store_error(error, rc, path, "opening tables");
        return NULL;
    }
    if (!create && !watch_map(store, error))
        return NULL;
    if (!read_only)
        mdb_reader_check(store->env, &dead);
    return g_steal_pointer(&store);
}

/* 0, or an errno; @ret_bytes is the length of PATH/data.mdb. */
static int stat_data(const char *path, uint64_t *ret_bytes)
{
    g_autofree char *name = g_build_filename(path, "data.mdb", NULL);
    struct stat st;

    if (stat(name, &st) != 0)
        return errno;
    *ret_bytes = (uint64_t) st.st_size;
    return 0;
}

bool vv_store_create(const char *path, GError **error)
{
    g_autoptr(VvStore) store = NULL;
    uint64_t bytes = 0;
    int rc = stat_data(path, &bytes);

    if (rc == 0) {
        vv_set_error(error, VV_ERROR_EXISTS, path, NULL, "metadata store %s: exists already", path);
        return false;
    }
    store = open_store(path, false, true, VV_MAP_BY_SIZE, error);
    if (store == NULL || !vv_sums_create(path, error))
        return false;
    rc = vv_sync_directory(path);
    if (rc != 0) {
        vv_set_error_errno(error, rc, path, "metadata store %s: syncing the directory", path);
        return false;
    }
    return true;
}

VvStore *vv_store_open(const char *path, bool read_only, GError **error)
{
    return vv_store_open_as(path, read_only, VV_MAP_BY_SIZE, error);
}

VvStore *vv_store_open_as(const char *path, bool read_only, VvMapCheck check, GError **error)
{
    uint64_t bytes = 0;
    int rc = stat_data(path, &bytes);

    /* LMDB would make a missing file and fill an empty one. */
    if (rc == ENOENT || rc == ENOTDIR) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, path,
            "Put it back as it was: an older copy does not fit what the disks hold now.",
            "%s/data.mdb is missing: it is the map of the pool, and without it the pool cannot be opened", path);
        return NULL;
    }
    if (rc != 0) {
        set_store_error(error, rc, path, "opening data.mdb");
        return NULL;
    }
    if (bytes == 0) {
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "metadata store %s: data.mdb is empty", path);
        return NULL;
    }
    /* Who gave a file its name (sums, by a rebuild) may have died before that was durable. */
    rc = read_only ? 0 : vv_sync_directory(path);
    if (rc != 0) {
        vv_set_error_errno(error, rc, path, "metadata store %s: syncing the directory", path);
        return NULL;
    }
    return open_store(path, read_only, false, check, error);
}

bool vv_store_rebuild(const char *path, GError **error) { return vv_sums_rebuild(path, error); }
bool vv_store_end_trial(const char *path, bool take, GError **error) { return vv_sums_end_trial(path, take, error); }

static void free_read(VvStoreRead *read)
{
    for (unsigned i = 0; i < VV_N_TABLES; i++) {
        if (read->cursors[i] != NULL)
            mdb_cursor_close(read->cursors[i]);
    }
    mdb_txn_abort(read->txn);
    g_free(read);
}

static GSList *left_behind; /* S8: environments, so that who looks for leaks sees them kept */
static pthread_mutex_t left_behind_lock = PTHREAD_MUTEX_INITIALIZER;

static void leave_behind(MDB_env *env)
{
    VV_LOCKED(&left_behind_lock);
    left_behind = g_slist_prepend(left_behind, env);
}

void vv_store_close(VvStore *store)
{
    if (store == NULL)
        return;
    g_assert(store->count_reading == 0 && !store->writing);
    while (store->idle != NULL) {
        VvStoreRead *read = store->idle;

        store->idle = read->next;
        free_read(read);
    }
    vv_map_watch_free(store->watch);
    if (store->env != NULL && store->stuck)
        leave_behind(store->env);
    else if (store->env != NULL)
        mdb_env_close(store->env);
    vv_sums_close(store->sums);
    pthread_mutex_destroy(&store->lock);
    g_free(store->path);
    g_free(store);
}

bool vv_store_watch(VvStore *store, VvStoreTroubleFunc trouble, void *user, GError **error)
{
    return vv_map_watch_start(store->watch, trouble, user, error);
}

void vv_store_unwatch(VvStore *store) { vv_map_watch_stop(store->watch); }
int vv_store_check(VvStore *store) { return vv_map_watch_finish(store->watch); }
void vv_store_give_up_check(VvStore *store) { vv_map_watch_give_up(store->watch); }
char *vv_store_trouble(VvStore *store) { return vv_map_watch_trouble(store->watch); }

int vv_store_usage(VvStore *store, uint64_t *ret_file_bytes, uint64_t *ret_free_bytes)
{
    VvStoreRead *read = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    uint64_t have_bytes = 0, needed_bytes = 0, count_free = 0;
    int rc = vv_store_read_begin(store, &read);

    if (rc != 0)
        return rc;
    rc = file_bytes(store, &have_bytes, &needed_bytes);
    if (rc == 0)
        rc = vvl_cursor_open(read->txn, 0, &cursor); /* handle 0: transaction -> list of pages, a count in front */
    while (rc == 0 && (rc = vvl_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t count = 0;

        if (value.mv_size >= sizeof count)
            memcpy(&count, value.mv_data, sizeof count);
        count_free += count;
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    vv_store_read_end(read);
    if (rc != MDB_NOTFOUND)
        return store_errno(rc);
    *ret_file_bytes = have_bytes;
    *ret_free_bytes = count_free * store->page_bytes;
    return 0;
}

void vv_store_checked(const VvStore *store, uint64_t *ret_pages, uint64_t *ret_usec)
{
    vv_sums_figures(store->sums, ret_pages, ret_usec);
}

/* What the file system has left; 0 if it does not tell. */
static uint64_t host_left_bytes(VvStore *store)
{
    struct statvfs host;
    int fd = -1;

    if (mdb_env_get_fd(store->env, &fd) != 0 || fstatvfs(fd, &host) != 0)
        return 0;
    return (uint64_t) host.f_bavail * host.f_frsize;
}

/* Allocate data.mdb up to @end, or as far as that goes in halves. 0 or an errno. */
static int allocate_behind(VvStore *store, uint64_t needed_bytes, uint64_t end)
{
    int fd = -1;
    int rc = mdb_env_get_fd(store->env, &fd);

    if (rc != 0)
        return rc;
    for (uint64_t from = MAX(store->allocated_end, needed_bytes); from < end; end = from + (end - from) / 2) {
        if (end - from < RESERVE_STEP_MIN)
            return ENOSPC;
        rc = vv_sums_reserve(store->sums, end);
        if (rc == 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t) from, (off_t) (end - from)) != 0)
            rc = errno;
        if (rc == 0 || rc == EOPNOTSUPP) {
            store->allocated_end = end; /* one that cannot allocate ahead has nothing to offer */
            return 0;
        }
        if (rc != ENOSPC && rc != EDQUOT && rc != EINTR && rc != EFBIG)
            return rc;
    }
    return rc;
}

int vv_store_room(VvStore *store, uint64_t wanted_bytes, VvStoreRoom *ret_room)
{
    uint64_t have_bytes = 0, needed_bytes = 0, free_bytes = 0, behind_bytes, limit_bytes, left_bytes;
    MDB_envinfo info;
    int rc = vv_store_usage(store, &have_bytes, &free_bytes);

    g_assert(!store->read_only);
    if (rc != 0)
        return rc;
    if (file_bytes(store, &have_bytes, &needed_bytes) != 0 || vvl_info(store->env, &info) != 0)
        return -EIO;
    limit_bytes = info.me_mapsize / store->page_bytes * store->page_bytes;
    behind_bytes = MAX(wanted_bytes - MIN(wanted_bytes, free_bytes), wanted_bytes / 4);
    behind_bytes = MIN(behind_bytes, limit_bytes - MIN(limit_bytes, needed_bytes));
    rc = allocate_behind(store, needed_bytes, needed_bytes + behind_bytes);
    if (rc != 0 && store_errno(rc) != -ENOSPC)
        return store_errno(rc);
    behind_bytes = store->allocated_end - MIN(store->allocated_end, needed_bytes);
    left_bytes = limit_bytes - MIN(limit_bytes, needed_bytes + behind_bytes);
    *ret_room = (VvStoreRoom){ .beyond_bytes = MIN(left_bytes, host_left_bytes(store)),
        .used_bytes = needed_bytes - MIN(needed_bytes, free_bytes),
        .room_bytes = free_bytes + behind_bytes,
        .limit_bytes = limit_bytes };
    return rc != 0 || ret_room->room_bytes < wanted_bytes ? -ENOSPC : 0;
}

/* ---- the writer */

static int stop_writing(VvStore *store, int err)
{
    VV_LOCKED(&store->lock);
    store->writing = false;
    return err;
}

/* S8 */
static bool is_stuck(VvStore *store, int rc)
{
    VV_LOCKED(&store->lock);
    store->stuck = store->stuck || vvl_is_trapped(rc);
    return store->stuck;
}

int vv_store_begin(VvStore *store, VvStoreTxn **ret_txn)
{
    int err = vv_store_check(store); /* S9 */

    return err != 0 ? err : vv_store_begin_early(store, ret_txn);
}

int vv_store_begin_early(VvStore *store, VvStoreTxn **ret_txn)
{
    VvStoreTxn *txn;
    int rc, dead = 0;

    g_assert(!store->read_only);
    if (is_stuck(store, 0))
        return -EIO;
    {
        VV_LOCKED(&store->lock);
        g_assert(!store->writing);
        store->writing = true;
    }
    rc = vv_sums_certify(store->sums); /* S7: what the last commit could not */
    if (rc != 0)
        return stop_writing(store, rc);
    /* A reader that was killed must not keep the pages that it looked at forever. */
    mdb_reader_check(store->env, &dead);
    txn = g_new0(VvStoreTxn, 1);
    txn->store = store;
    rc = vvl_begin(store->env, 0, &txn->txn);
    if (rc != 0) {
        is_stuck(store, rc);
        g_free(txn);
        return stop_writing(store, store_errno(rc));
    }
    *ret_txn = txn;
    return 0;
}

static int latch(VvStoreTxn *txn, int rc)
{
    int err = store_errno(rc);

    is_stuck(txn->store, rc);
    if (txn->error == 0)
        txn->error = err;
    return err;
}

/* S2. LMDB lets go of the handle if the transaction comes to nothing. */
static int make_table(VvStoreTxn *txn, VvTable table)
{
    g_assert(table == VV_TABLE_MEMBER);
    return latch(txn, vvl_make_table(txn->txn, vv_table_name(table), &txn->made));
}

static MDB_dbi table_of(const VvStoreTxn *txn, VvTable table)
{
    MDB_dbi found = txn->store->tables[table];

    return found != 0 ? found : txn->made;
}

int vv_store_put(
    VvStoreTxn *txn, VvTable table, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    MDB_val k = { .mv_size = key_bytes, .mv_data = (void *) key };
    MDB_val v = { .mv_size = value_bytes, .mv_data = (void *) value };

    g_assert(table < VV_N_TABLES && key_bytes > 0);
    if (txn->error == 0 && table_of(txn, table) == 0)
        make_table(txn, table);
    if (txn->error != 0)
        return txn->error;
    return latch(txn, vvl_put(txn->txn, table_of(txn, table), &k, &v));
}

int vv_store_delete(VvStoreTxn *txn, VvTable table, const void *key, size_t key_bytes)
{
    MDB_val k = { .mv_size = key_bytes, .mv_data = (void *) key };
    int rc;

    g_assert(table < VV_N_TABLES && key_bytes > 0);
    if (txn->error != 0 || table_of(txn, table) == 0)
        return txn->error;
    rc = vvl_del(txn->txn, table_of(txn, table), &k);
    return rc == MDB_NOTFOUND ? 0 : latch(txn, rc);
}

static void end_txn(VvStoreTxn *txn)
{
    VvStore *store = txn->store;

    g_free(txn);
    stop_writing(store, 0);
}

static void abort_txn(VvStoreTxn *txn)
{
    if (!is_stuck(txn->store, 0)) /* S8 */
        mdb_txn_abort(txn->txn);
}

int vv_store_commit(VvStoreTxn *txn)
{
    int err = txn->error;

    if (err != 0) {
        abort_txn(txn);
    } else {
        err = latch(txn, vvl_commit(txn->txn));
        if (err == 0 && txn->made != 0)
            txn->store->tables[VV_TABLE_MEMBER] = txn->made;
        if (err == -EIO && host_left_bytes(txn->store) < HOST_FULL_BYTES) /* a short write, which LMDB calls an I/O error */
            err = -ENOSPC;
        if (err == 0 && lengthen_file(txn->store) != 0)
            vv_log(VV_LOG_WARNING, "metadata store %s: lengthening data.mdb failed", txn->store->path);
        if (err == 0)
            err = vv_sums_certify(txn->store->sums);
    }
    end_txn(txn);
    return err;
}

void vv_store_abort(VvStoreTxn *txn)
{
    abort_txn(txn);
    end_txn(txn);
}

/* ---- readers */

int vv_store_read_begin(VvStore *store, VvStoreRead **ret_read)
{
    VvStoreRead *read;
    int rc;

    {
        VV_LOCKED(&store->lock);
        read = store->idle;
        if (read != NULL)
            store->idle = read->next;
        store->count_reading++;
    }
    if (read != NULL) {
        rc = vvl_renew(read->txn);
        memset(read->renewed, 0, sizeof read->renewed);
        memset(read->placed, 0, sizeof read->placed);
    } else {
        read = g_new0(VvStoreRead, 1);
        read->store = store;
        rc = vvl_begin(store->env, MDB_RDONLY, &read->txn);
        if (rc != 0)
            g_clear_pointer(&read, g_free);
    }
    if (rc != 0) {
        if (read != NULL)
            free_read(read);
        VV_LOCKED(&store->lock);
        store->count_reading--;
        return store_errno(rc);
    }
    *ret_read = read;
    return 0;
}

void vv_store_read_end(VvStoreRead *read)
{
    VvStore *store = read->store;

    mdb_txn_reset(read->txn);
    VV_LOCKED(&store->lock);
    read->next = store->idle;
    store->idle = read;
    g_assert(store->count_reading > 0);
    store->count_reading--;
}

int vv_store_get(VvStoreRead *read, VvTable table, const void *key, size_t key_bytes, const uint8_t **ret_value,
    size_t *ret_value_bytes)
{
    MDB_val k = { .mv_size = key_bytes, .mv_data = (void *) key };
    MDB_val v;
    int rc;

    g_assert(table < VV_N_TABLES && key_bytes > 0);
    rc = read->store->tables[table] == 0 ? MDB_NOTFOUND : vvl_get(read->txn, read->store->tables[table], &k, &v);
    if (rc != 0)
        return store_errno(rc);
    *ret_value = v.mv_data;
    *ret_value_bytes = v.mv_size;
    return 0;
}

/* The cursor of @table in this view, standing anywhere. */
static int get_cursor(VvStoreRead *read, VvTable table, MDB_cursor **ret_cursor)
{
    int rc = 0;

    if (read->cursors[table] == NULL)
        rc = vvl_cursor_open(read->txn, read->store->tables[table], &read->cursors[table]);
    else if (!read->renewed[table])
        rc = vvl_cursor_renew(read->txn, read->cursors[table]);
    if (rc != 0)
        return rc;
    read->renewed[table] = true;
    *ret_cursor = read->cursors[table];
    return 0;
}

/* A cursor that met damage is not used again. */
static int lose_place(VvStoreRead *read, VvTable table, int rc)
{
    read->placed[table] = false;
    if (rc != MDB_NOTFOUND && read->cursors[table] != NULL)
        g_clear_pointer(&read->cursors[table], mdb_cursor_close);
    return store_errno(rc);
}

static int compare_keys(const MDB_val *a, const void *key, size_t key_bytes)
{
    int order = memcmp(a->mv_data, key, MIN(a->mv_size, key_bytes));

    return order != 0 ? order : (a->mv_size > key_bytes) - (a->mv_size < key_bytes);
}

int vv_store_seek(VvStoreRead *read, VvTable table, VvSeek how, const void *key, size_t key_bytes,
    const uint8_t **ret_key, size_t *ret_key_bytes, const uint8_t **ret_value, size_t *ret_value_bytes)
{
    MDB_val k = { .mv_size = key_bytes, .mv_data = (void *) key };
    MDB_val v;
    MDB_cursor *cursor = NULL;
    int rc;

    g_assert(table < VV_N_TABLES && key_bytes > 0);
    read->placed[table] = false;
    if (read->store->tables[table] == 0)
        return -ENODATA;
    rc = get_cursor(read, table, &cursor);
    if (rc == 0)
        rc = vvl_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (how == VV_SEEK_LE && rc == MDB_NOTFOUND)
        rc = vvl_cursor_get(cursor, &k, &v, MDB_LAST);
    else if (how == VV_SEEK_LE && rc == 0 && compare_keys(&k, key, key_bytes) > 0)
        rc = vvl_cursor_get(cursor, &k, &v, MDB_PREV);
    if (rc != 0)
        return lose_place(read, table, rc);
    read->placed[table] = true;
    *ret_key = k.mv_data;
    *ret_key_bytes = k.mv_size;
    *ret_value = v.mv_data;
    *ret_value_bytes = v.mv_size;
    return 0;
}

int vv_store_next(VvStoreRead *read, VvTable table, const uint8_t **ret_key, size_t *ret_key_bytes,
    const uint8_t **ret_value, size_t *ret_value_bytes)
{
    MDB_val k, v;
    int rc;

    g_assert(table < VV_N_TABLES);
    if (!read->placed[table])
        return -ENODATA;
    rc = vvl_cursor_get(read->cursors[table], &k, &v, MDB_NEXT);
    if (rc != 0)
        return lose_place(read, table, rc);
    *ret_key = k.mv_data;
    *ret_key_bytes = k.mv_size;
    *ret_value = v.mv_data;
    *ret_value_bytes = v.mv_size;
    return 0;
}
