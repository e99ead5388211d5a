/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One configuration transaction: what config_*.c share. Control threads only.
 *
 * begin (configuration lock, request id) -> look up and validate under the read lock -> ops -> [quiesce] -> commit -> clear
 * (lock released) -> hooks. Names and points change only under the configuration lock, so what was validated holds until
 * the entry is applied; what pointers into the catalog show (sizes, counters) may change once the read lock is gone. */
#ifndef VV_TRANSACTION_H
#define VV_TRANSACTION_H

#include "base.h"
#include "engine.h"
#include "error.h"

/* Gates are given up after this: a disk that does not answer for so long fails a snapshot, never its writers. */
#define VV_QUIESCE_MS_MAX 10000u
#define VV_EXCLUSIVE_TRIES 20u /* a count whose family changed meanwhile is begun again */

typedef struct VvTransaction {
    VvPool *pool; /* NULL: it has not begun, or is over */
    bool locked, paused;
    VvRequest *request;
    VvOps *ops;
    uint64_t now_ns;
    uint64_t seen; /* vv_meta_config_index before anything was looked up */
    GArray *claims; /* of what is claimed until it is cleared; NULL: nothing */
    bool repeated;  /* the request id is known: nothing to do */
    bool dry_run;
} VvTransaction;
#define VV_TRANSACTION_INIT \
    {                       \
        .pool = NULL        \
    }

/* False: return @tx->repeated to the caller (true: answered before; false: refused, @error set). @dry_run changes nothing,
 * so it works on a read-only pool. Errors: denied (read-only), io (failed), stale (closing). */
bool vv_transaction_begin(VvTransaction *tx, VvPool *pool, VvRequest *request, bool dry_run, GError **error);
VvOp *vv_transaction_add(VvTransaction *tx, VvOpKind kind);
/* The request is added; @object names the transaction in messages. @views: see vv_commit_ops. Errors: no-space, limit (an entry
 * cannot hold it), io, damaged. Without ops it does nothing. */
bool vv_transaction_commit(
    VvTransaction *tx, VvView *const *views, unsigned view_count, const char *object, GError **error);
/* Did a commit fail because another node changed the configuration since the transaction began? Then, at most VV_TRANSACTION_TRIES times,
 * it begins again: true, and @failure is cleared. */
#define VV_TRANSACTION_TRIES 20u
bool vv_transaction_again(GError **failure, unsigned *tries);
/* The body of a function: @call (with &failure as its error) as often as it is overtaken; then its result is returned. */
#define VV_UNTIL_DECIDED(error, call)                           \
    GError *failure = NULL;                                     \
    unsigned tries = 0;                                         \
    bool done;                                                  \
    do                                                          \
        done = (call);                                          \
    while (!done && vv_transaction_again(&failure, &tries));    \
    if (failure)                                                \
        g_propagate_error(error, failure);                      \
    return done
/* Give up the lock for work that may wait for space or is long, and take it again: what was found before must be looked at anew.
 * resume: as begin. */
void vv_transaction_pause(VvTransaction *tx);
bool vv_transaction_resume(VvTransaction *tx, GError **error);
/* For closing the pool, which takes no new ones: until all have resumed. */
void vv_transactions_wait_paused(VvPool *pool);
/* Unlocks, ends claims. Hooks of other layers are called after it. */
void vv_transaction_clear(VvTransaction *tx);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvTransaction, vv_transaction_clear)

/* ---- looking, with the read lock held; borrowed from the catalog. Error: not-found as CLI.md words it. */
const VvLun *vv_find_lun(VvPool *pool, const char *name, GError **error);
/* "LUN@SNAP". @ret_lun may be NULL. Errors: invalid-name, not-found. */
const VvSnapshot *vv_find_snapshot(VvPool *pool, const char *object, const VvLun **ret_lun, GError **error);
/* exists, if there is a LUN of that name. */
/* config_room.c: there is room for a larger map; and for a snapshot of these LUNs. Errors: no-space. */
bool vv_refuse_cramped(VvPool *pool, const char *object, GError **error);
bool vv_refuse_snapshot(VvPool *pool, const GArray *lun_ids, const char *object, GError **error);
bool vv_refuse_existing_lun(VvPool *pool, const char *name, GError **error);
bool vv_refuse_existing_snapshot(VvPool *pool, const VvLun *lun, const char *name, GError **error);
/* A disk by name, UUID or absolute path. */
const VvDiskInfo *vv_find_disk(VvPool *pool, const char *text, GError **error);
/* keep: does it refuse removal at @now_ns? */
bool vv_keep_holds(uint64_t keep_until_ns, uint64_t now_ns);
/* Error keep, if so. @snapshot NULL: of the LUN. */
bool vv_refuse_kept(const VvLun *lun, const VvSnapshot *snapshot, uint64_t now_ns, GError **error);

/* A read lock for the rest of the block: VV_META_READ(pool->meta). */
typedef VvMeta VvMetaReadHolder;
static inline void vv_meta_read_holder_free(VvMetaReadHolder *meta)
{
    vv_meta_read_unlock(meta);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvMetaReadHolder, vv_meta_read_holder_free)
static inline VvMetaReadHolder *vv_meta_hold_read(VvMeta *meta)
{
    vv_meta_read_lock(meta);
    return meta;
}
#define VV_META_READ(meta) G_GNUC_UNUSED g_autoptr(VvMetaReadHolder) VV_LOCKED_NAME(__LINE__) = vv_meta_hold_read(meta)

/* ---- views of a transaction */
/* A new array that drops its references; ids are sorted and told once. Errors: not-found, io. */
GPtrArray *vv_views_get(VvPool *pool, const GArray *ids, GError **error);
/* Flush each with gates open. Error: io, no-space ... naming the LUN. */
bool vv_views_flush(GPtrArray *views, GError **error);
/* Close the gates in the order of ids and wait until they are drained. On error all are open again. Error: timeout. */
bool vv_views_close_gates(GPtrArray *views, bool reads_too, GError **error);
void vv_views_open_gates(GPtrArray *views, bool reads_too);
/* The name of an object, for messages: "db", "db@x", or its number. Takes the read lock. */
char *vv_object_name(VvPool *pool, uint64_t id);

/* ---- opens */
/* Has somebody (or only somebody who may write) @object_id open? The daemon's own handles do not count unless @internal_too.
 * The answer "no" stays true only for what takes no new opens (an orphan), or under a claim. */
bool vv_pool_is_open(VvPool *pool, uint64_t object_id, bool write_only, bool internal_too);
/* vv_claim until the transaction is cleared. */
bool vv_transaction_claim(VvTransaction *tx, uint64_t object_id, VvClaim claim);
/* The same, or the error "db is open for writing on web1: ..." as CLI.md words it; the hint goes by @restore. @claim: against writers. */
bool vv_transaction_claim_from_writers(
    VvTransaction *tx, uint64_t lun_id, VvClaim claim, const char *name, bool restore, GError **error);
/* Objects that an entry just made orphans although their last handle was closed meanwhile: purge them. */
void vv_pool_purge_unopened(VvPool *pool, const GArray *ids);

/* ---- config_remove.c: what it shares with prune and restore */
/* Append the removal of a snapshot: the caller has checked it. Claims it if it is not open, so not under the read lock. */
void vv_add_snapshot_removal(VvTransaction *tx, uint64_t id, GArray *orphans);
/* What removing the objects would free, exactly, tried until the family holds still: false if it never does, or if there are more than
 * @most_looks pages to look at (UINT64_MAX: never too many). */
bool vv_count_exclusive(VvPool *pool, const uint64_t *ids, unsigned count, uint64_t most_looks, uint64_t *ret_bytes);
/* The LUN's id and those of its visible snapshots. Read lock held. */
void vv_append_lun_ids(const VvLun *lun, GArray *ids);

/* ---- config_place.c: the disks chosen for a LUN; read lock held */
/* The set of the disks @names, for the LUN @lun. Newly allocated; NULL: an error, not-found, busy (it takes nothing), usage (none,
 * or one twice), limit. */
VvDiskSet *vv_choose_disks(VvPool *pool, const char *lun, const char *const *names, GError **error);
/* busy, naming the LUNs, if the disk was chosen for any: nothing that is left of a LUN may name a disk that is gone. */
bool vv_refuse_chosen(VvPool *pool, const VvDiskInfo *disk, GError **error);
/* Was it chosen for a family that has ended? Giving back its segments ends it. */
bool vv_is_chosen_for_ended(VvPool *pool, const VvDiskInfo *disk);

/* ---- config_pool.c: settings */
/* The value or its default. Read lock held. */
uint64_t vv_setting_number(const VvPool *pool, const char *key);
void vv_setting_defaults(const VvPool *pool, VvLunProps *ret_props);
/* usage or unsupported, if a property cannot be. */
bool vv_props_check(uint32_t mask, const VvLunProps *props, const char *object, GError **error);
/* Those of @mask from @given. */
void vv_props_merge(VvLunProps *props, uint32_t mask, const VvLunProps *given);

#endif
