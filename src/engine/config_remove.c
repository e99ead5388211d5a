/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Removal of LUNs and snapshots: several at once, all or none. What is open becomes an orphan and lives to its last close;
 * the space comes back by jobs that apply creates. Removing works when the pool is full.
 *
 * What goes free is counted before the lock is taken for the change, for a count may walk every page of a family: who asks beforehand
 * waits for that; who removes waits for COUNT_LOOKS_MAX pages at most, and is told that it is not counted beyond. */
#include "config_point.h"
#include "pool_private.h"

#include <fnmatch.h>
#include <string.h>

#define COUNT_LOOKS_MAX 256u /* some 5 ms */

void vv_removal_clear(VvRemoval *removal)
{
    g_clear_pointer(&removal->removed, g_strfreev);
    removal->counted = false;
    removal->freed_bytes = removal->alone_bytes = 0;
}

/* One object of the command: a LUN with its snapshots, or a snapshot. */
typedef struct {
    uint64_t id;
    bool lun;
    char *name;
    GArray *all_ids; /* the LUN and its snapshots */
} Victim;

static void victim_free(void *data)
{
    Victim *victim = data;

    g_free(victim->name);
    g_array_unref(victim->all_ids);
    g_free(victim);
}

void vv_append_lun_ids(const VvLun *lun, GArray *ids)
{
    g_array_append_val(ids, lun->id);
    for (unsigned i = 0; i < lun->snapshots->len; i++)
        g_array_append_val(ids, ((const VvSnapshot *) g_ptr_array_index(lun->snapshots, i))->id);
}

static Victim *victim_new(uint64_t id, bool lun, char *name)
{
    Victim *victim = g_new0(Victim, 1);

    victim->id = id;
    victim->lun = lun;
    victim->name = name;
    victim->all_ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    return victim;
}

/* ---- who goes: with the read lock held */

static bool plan_lun(VvPool *pool, const char *name, bool with_snapshots, bool if_exists, uint64_t now_ns,
    GHashTable *seen, GPtrArray *victims, GError **error)
{
    const VvLun *lun = vv_find_lun(pool, name, if_exists ? NULL : error);
    Victim *victim;

    if (!lun)
        return if_exists;
    if (!vv_refuse_kept(lun, NULL, now_ns, error))
        return false;
    if (lun->snapshots->len > 0 && !with_snapshots) {
        vv_set_error(error, VV_ERROR_HAS_SNAPSHOTS, name, "`--with-snapshots` removes them too.",
            "%s has %u snapshot%s", name, lun->snapshots->len, lun->snapshots->len == 1 ? "" : "s");
        return false;
    }
    for (unsigned i = 0; i < lun->snapshots->len; i++)
        if (!vv_refuse_kept(lun, g_ptr_array_index(lun->snapshots, i), now_ns, error))
            return false;
    if (!g_hash_table_add(seen, g_strdup(name)))
        return true;
    victim = victim_new(lun->id, true, g_strdup(name));
    vv_append_lun_ids(lun, victim->all_ids);
    g_ptr_array_add(victims, victim);
    return true;
}

static bool plan_snapshot(
    const VvLun *lun, const VvSnapshot *snapshot, uint64_t now_ns, GHashTable *seen, GPtrArray *victims, GError **error)
{
    Victim *victim;
    char *object;

    if (!vv_refuse_kept(lun, snapshot, now_ns, error))
        return false;
    object = g_strdup_printf("%s@%s", lun->name, snapshot->name);
    if (!g_hash_table_add(seen, g_strdup(object))) {
        g_free(object);
        return true;
    }
    victim = victim_new(snapshot->id, false, object);
    g_array_append_val(victim->all_ids, snapshot->id);
    g_ptr_array_add(victims, victim);
    return true;
}

static bool plan_pattern(VvPool *pool, const char *object, bool if_exists, uint64_t now_ns, GHashTable *seen,
    GPtrArray *victims, GError **error)
{
    g_autofree char *lun_name = NULL, *pattern = NULL, *hint = NULL;
    const VvLun *lun;
    unsigned matches = 0;

    if (!vv_name_split(object, true, &lun_name, &pattern, error))
        return false;
    lun = vv_find_lun(pool, lun_name, if_exists ? NULL : error);
    if (!lun)
        return if_exists;
    for (unsigned i = 0; i < lun->snapshots->len; i++) {
        const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, i);

        if (fnmatch(pattern, snapshot->name, 0) != 0)
            continue;
        matches++;
        if (!plan_snapshot(lun, snapshot, now_ns, seen, victims, error))
            return false;
    }
    if (matches > 0 || if_exists)
        return true;
    hint = g_strdup_printf("vvfs-admin snapshot list %s", lun_name);
    vv_set_error(
        error, VV_ERROR_NOT_FOUND, object, hint, "no snapshot %s in pool %s", object, vv_meta_pool(pool->meta)->name);
    return false;
}

static bool plan_object(VvPool *pool, const char *object, bool if_exists, uint64_t now_ns, GHashTable *seen,
    GPtrArray *victims, GError **error)
{
    g_autoptr(GError) why = NULL;
    const VvLun *lun;
    const VvSnapshot *snapshot;

    if (strpbrk(object, "*?["))
        return plan_pattern(pool, object, if_exists, now_ns, seen, victims, error);
    snapshot = vv_find_snapshot(pool, object, &lun, &why);
    if (snapshot)
        return plan_snapshot(lun, snapshot, now_ns, seen, victims, error);
    if (if_exists && g_error_matches(why, VV_ERROR, VV_ERROR_NOT_FOUND))
        return true;
    g_propagate_error(error, g_steal_pointer(&why));
    return false;
}

/* ---- ops */

void vv_add_snapshot_removal(VvTransaction *tx, uint64_t id, GArray *orphans)
{
    bool open = !vv_transaction_claim(tx, id, VV_CLAIM_ALL);
    VvOp *op = vv_transaction_add(tx, VV_OP_SNAPSHOT_REMOVE);

    op->snapshot_remove.id = id;
    op->snapshot_remove.orphan = open;
    op->snapshot_remove.time_ns = tx->now_ns;
    if (open)
        g_array_append_val(orphans, id);
}

static void add_lun_removal(VvTransaction *tx, const Victim *victim, GArray *orphans)
{
    bool open = !vv_transaction_claim(tx, victim->id, VV_CLAIM_ALL);
    VvOp *op;

    for (unsigned i = 1; i < victim->all_ids->len; i++)
        vv_add_snapshot_removal(tx, g_array_index(victim->all_ids, uint64_t, i), orphans);
    op = vv_transaction_add(tx, VV_OP_LUN_REMOVE);
    op->lun_remove.id = victim->id;
    op->lun_remove.orphan = open;
    op->lun_remove.time_ns = tx->now_ns;
    if (open)
        g_array_append_val(orphans, victim->id);
}

/* ---- counting */

bool vv_count_exclusive(VvPool *pool, const uint64_t *ids, unsigned count, uint64_t most_looks, uint64_t *ret_bytes)
{
    uint64_t blocks = 0;

    for (unsigned try = 0; try < VV_EXCLUSIVE_TRIES; try++) {
        atomic_fetch_add(&pool->counting, 1);
        int result = count > 0 ? vv_space_exclusive(pool->meta, ids, count, most_looks, &blocks) : 0;
        atomic_fetch_sub(&pool->counting, 1);

        if (result == 0) {
            *ret_bytes = blocks << VV_BLOCK_SHIFT;
            return true;
        }
        if (result != -EAGAIN)
            return false;
    }
    return false;
}

/* Exactly, or @removal says that it is not counted: what is asked for is done all the same. */
static void count_removal(VvPool *pool, GPtrArray *victims, bool dry_run, VvRemoval *removal)
{
    uint64_t most_looks = dry_run ? UINT64_MAX : COUNT_LOOKS_MAX;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t freed = 0, alone = 0;

    removal->counted = false;
    removal->alone_bytes = removal->freed_bytes = 0;
    for (unsigned i = 0; i < victims->len; i++) {
        const Victim *victim = g_ptr_array_index(victims, i);
        uint64_t bytes = 0;

        g_array_append_vals(ids, victim->all_ids->data, victim->all_ids->len);
        if (!dry_run || victims->len == 1)
            continue;
        if (!vv_count_exclusive(
                pool, (const uint64_t *) (const void *) victim->all_ids->data, victim->all_ids->len, most_looks, &bytes))
            return;
        alone += bytes;
    }
    if (!vv_count_exclusive(pool, (const uint64_t *) (const void *) ids->data, ids->len, most_looks, &freed))
        return;
    removal->counted = true;
    removal->freed_bytes = freed;
    removal->alone_bytes = !dry_run || victims->len == 1 ? freed : alone;
}

static void name_removed(GPtrArray *victims, VvPool *pool, VvRemoval *removal)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (unsigned i = 0; i < victims->len; i++) {
        const Victim *victim = g_ptr_array_index(victims, i);

        for (unsigned k = 0; k < victim->all_ids->len; k++)
            g_ptr_array_add(names,
                k == 0 ? g_strdup(victim->name) : vv_object_name(pool, g_array_index(victim->all_ids, uint64_t, k)));
    }
    g_ptr_array_add(names, NULL);
    removal->removed = (char **) g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

/* ---- the command */

typedef struct {
    const char *const *names;
    bool luns;
    bool with_snapshots;
    bool if_exists;
} Wanted;

static GPtrArray *find_victims(VvTransaction *tx, const Wanted *wanted, GError **error)
{
    g_autoptr(GPtrArray) victims = g_ptr_array_new_with_free_func(victim_free);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned total = 0;
    VV_META_READ(tx->pool->meta);

    for (unsigned i = 0; wanted->names[i]; i++)
        if (wanted->luns
                ? !plan_lun(tx->pool, wanted->names[i], wanted->with_snapshots, wanted->if_exists, tx->now_ns, seen,
                      victims, error)
                : !plan_object(tx->pool, wanted->names[i], wanted->if_exists, tx->now_ns, seen, victims, error))
            return NULL;
    for (unsigned i = 0; i < victims->len; i++)
        total += ((const Victim *) g_ptr_array_index(victims, i))->all_ids->len;
    if (total > VV_REMOVALS_PER_COMMAND) {
        vv_set_error(error, VV_ERROR_LIMIT, wanted->names[0], "do it in several commands",
            "%u objects are more than one transaction can remove (%u)", total, VV_REMOVALS_PER_COMMAND);
        return NULL;
    }
    return g_steal_pointer(&victims);
}

/* What would go, and how much it is. Takes and releases the configuration lock by itself. */
static bool preview(VvPool *pool, const Wanted *wanted, bool dry_run, VvRemoval *removal, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) victims = NULL;

    if (!vv_transaction_begin(&tx, pool, NULL, true, error))
        return false;
    victims = find_victims(&tx, wanted, error);
    if (!victims)
        return false;
    name_removed(victims, pool, removal);
    vv_transaction_clear(&tx);
    count_removal(pool, victims, dry_run, removal);
    return true;
}

static bool remove_now(VvTransaction *tx, GPtrArray *victims, const char *object, GError **error)
{
    g_autoptr(GArray) orphans = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    VvPool *pool = tx->pool;

    for (unsigned i = 0; i < victims->len; i++) {
        const Victim *victim = g_ptr_array_index(victims, i);

        if (victim->lun)
            add_lun_removal(tx, victim, orphans);
        else
            vv_add_snapshot_removal(tx, victim->id, orphans);
    }
    if (!vv_transaction_commit(tx, NULL, 0, object, error))
        return false;
    vv_pool_purge_unopened(pool, orphans);
    for (unsigned i = 0; i < victims->len; i++)
        if (!vv_pool_is_open(pool, ((const Victim *) g_ptr_array_index(victims, i))->id, false, true))
            g_hash_table_remove(pool->threads->adoptions, &((const Victim *) g_ptr_array_index(victims, i))->id);
    vv_transaction_clear(tx);
    for (unsigned i = 0; pool->hooks.object_removed && i < victims->len; i++) {
        const Victim *victim = g_ptr_array_index(victims, i);

        for (unsigned k = victim->all_ids->len; k-- > 0;)
            pool->hooks.object_removed(pool->hooks_user, g_array_index(victim->all_ids, uint64_t, k));
    }
    return true;
}

static bool request_is_known(VvPool *pool, const VvRequest *request)
{
    g_autofree char *previous = request && request->id ? vv_meta_request_result(pool->meta, request->id) : NULL;

    return previous != NULL;
}

static bool run_removal(VvPool *pool, const Wanted *wanted, bool dry_run, VvRequest *request, bool count,
    VvRemoval *removal, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) victims = NULL;

    if ((count || dry_run) && !(!dry_run && request_is_known(pool, request)) &&
        !preview(pool, wanted, dry_run, removal, error))
        return false;
    if (dry_run)
        return true;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    victims = find_victims(&tx, wanted, error);
    if (!victims)
        return false;
    g_clear_pointer(&removal->removed, g_strfreev);
    name_removed(victims, pool, removal);
    return remove_now(&tx, victims, wanted->names[0] ? wanted->names[0] : "nothing", error);
}

static bool run_and_tell(
    VvPool *pool, const Wanted *wanted, bool dry_run, VvRequest *request, VvRemoval *ret_removal, GError **error)
{
    VvRemoval removal = { .removed = NULL };
    bool ok = run_removal(pool, wanted, dry_run, request, ret_removal != NULL, &removal, error);

    if (ok && ret_removal)
        *ret_removal = removal;
    else
        vv_removal_clear(&removal);
    return ok;
}

static bool lun_remove_once(VvPool *pool, const char *const *names, bool with_snapshots, bool if_exists, bool dry_run,
    VvRequest *request, VvRemoval *ret_removal, GError **error)
{
    Wanted wanted = { .names = names, .luns = true, .with_snapshots = with_snapshots, .if_exists = if_exists };

    return run_and_tell(pool, &wanted, dry_run, request, ret_removal, error);
}

static bool snapshot_remove_once(VvPool *pool, const char *const *objects, bool if_exists, bool dry_run,
    VvRequest *request, VvRemoval *ret_removal, GError **error)
{
    Wanted wanted = { .names = objects, .if_exists = if_exists };

    return run_and_tell(pool, &wanted, dry_run, request, ret_removal, error);
}

/* ---- until they are decided: another node may have changed something while they looked */

bool vv_pool_lun_remove(VvPool *pool, const char *const *names, bool with_snapshots, bool if_exists, bool dry_run,
    VvRequest *request, VvRemoval *ret_removal, GError **error)
{
    VV_UNTIL_DECIDED(
        error, lun_remove_once(pool, names, with_snapshots, if_exists, dry_run, request, ret_removal, &failure));
}

bool vv_pool_snapshot_remove(VvPool *pool, const char *const *objects, bool if_exists, bool dry_run, VvRequest *request,
    VvRemoval *ret_removal, GError **error)
{
    VV_UNTIL_DECIDED(
        error, snapshot_remove_once(pool, objects, if_exists, dry_run, request, ret_removal, &failure));
}
