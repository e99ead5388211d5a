/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transactions on who may use what (sharing.h, H1 to H5). What is taken away from somebody who uses it is refused before anything is
 * logged; the claims keep others from beginning to use it until the entry is applied. */
#include "sharing.h"

#include "members.h"
#include "openers.h"
#include "transaction.h"

#include <string.h>

/* An object whose table this transaction changes. */
typedef struct {
    uint64_t id;
    char *name;
    VvShareTable table; /* as it will be */
} Changed;

static void changed_free(void *data)
{
    Changed *changed = data;

    g_free(changed->name);
    g_free(changed);
}

/* ---- changes, with node ids for names */
typedef struct VvShareWanted {
    VvShareTable rows;            /* what nodes get ... */
    uint64_t taken[VV_NODES_MAX]; /* ... and whose rows go */
    unsigned taken_count;
    bool has_standard;
    VvShareMode standard;
} Wanted;

static const VvNodeRecord *find_node(const GPtrArray *nodes, const char *name)
{
    for (unsigned i = nodes->len; i-- > 0;) { /* the newest of a name: others are gone */
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        if (node->role != VV_ROLE_GONE && strcmp(node->name, name) == 0)
            return node;
    }
    return NULL;
}

static bool is_wanted(const Wanted *wanted, uint64_t node)
{
    for (unsigned i = 0; i < wanted->taken_count; i++)
        if (wanted->taken[i] == node)
            return true;
    for (unsigned i = 0; i < wanted->rows.count; i++)
        if (wanted->rows.rows[i].node == node)
            return true;
    return false;
}

static bool refuse_twice(const char *name, GError **error)
{
    vv_set_error(error, VV_ERROR_USAGE, name, NULL, "%s is named twice", name);
    return false;
}

static bool want_node(VvPool *pool, const GPtrArray *nodes, const char *name, VvShareMode mode, Wanted *wanted, GError **error)
{
    const VvNodeRecord *node = find_node(nodes, name);

    if (!node) {
        VV_META_READ(pool->meta);

        vv_set_error(error, VV_ERROR_NOT_FOUND, name, "vvfs-admin node list", "no node %s in pool %s", name, vv_meta_pool(pool->meta)->name);
        return false;
    }
    if (node->role == VV_ROLE_WITNESS) {
        vv_set_error(error, VV_ERROR_CONFLICT, name, NULL, "node %s is a witness: it has no mount, so nothing is shared with it", name);
        return false;
    }
    if (is_wanted(wanted, node->id))
        return refuse_twice(name, error);
    if (mode != VV_SHARE_UNSET)
        return vv_share_table_set(&wanted->rows, node->id, mode); /* there is room: no node is in it twice */
    g_assert(wanted->taken_count < VV_NODES_MAX); /* there are no more that are not gone */
    wanted->taken[wanted->taken_count++] = node->id;
    return true;
}

static bool refuse_alone(VvPool *pool, const char *object, GError **error)
{
    if (pool->options.node != 0)
        return true;
    vv_set_error(error, VV_ERROR_UNSUPPORTED, object, "make a pool with `vvfs-admin pool create --listen ADDR`",
        "%s is this node's alone: the pool was made without --listen, so there is nobody to share it with", object);
    return false;
}

static bool read_changes(VvPool *pool, const struct VvShareChanges *changes, const char *object, Wanted *wanted, GError **error)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(pool->meta);

    if (!refuse_alone(pool, object, error))
        return false;
    for (unsigned i = 0; changes->nodes[i]; i++) {
        if (strcmp(changes->nodes[i], "default") != 0) {
            if (!want_node(pool, nodes, changes->nodes[i], changes->modes[i], wanted, error))
                return false;
            continue;
        }
        if (wanted->has_standard)
            return refuse_twice("default", error);
        wanted->has_standard = true;
        wanted->standard = changes->modes[i];
    }
    return true;
}

/* Rows of nodes that are gone make room: their ids are never used again. Read lock held. */
static void drop_gone(VvMeta *meta, VvShareTable *table)
{
    for (unsigned i = table->count; i-- > 0;) {
        const VvMemberRecord *record = vv_meta_member(meta, VV_MEMBER_NODE, table->rows[i].node);
        g_auto(VvNodeRecord) node = { .id = 0 };

        if (!record || !vv_node_record_decode(record->id, record->body, record->body_bytes, &node) || node.role == VV_ROLE_GONE)
            vv_share_table_set(table, table->rows[i].node, VV_SHARE_UNSET);
    }
}

/* Read lock held. */
static bool apply_wanted(VvMeta *meta, const Wanted *wanted, bool cap, const char *object, VvShareTable *table, GError **error)
{
    bool fits = true;

    drop_gone(meta, table);
    if (wanted->has_standard)
        table->standard = wanted->standard;
    for (unsigned i = 0; i < wanted->taken_count; i++)
        vv_share_table_set(table, wanted->taken[i], VV_SHARE_UNSET);
    for (unsigned i = 0; i < wanted->rows.count; i++)
        fits = vv_share_table_set(table, wanted->rows.rows[i].node, wanted->rows.rows[i].mode) && fits;
    if (cap)
        vv_share_table_cap(table);
    if (!fits)
        vv_set_error(error, VV_ERROR_LIMIT, object, NULL, "%s: a table has at most %u nodes", object, VV_NODES_MAX);
    return fits;
}

static bool refuse_writing(const Wanted *wanted, const char *object, GError **error)
{
    bool writes = wanted->has_standard && wanted->standard == VV_SHARE_RW;

    for (unsigned i = 0; i < wanted->rows.count; i++)
        writes |= wanted->rows.rows[i].mode == VV_SHARE_RW;
    if (!writes)
        return true;
    vv_set_error(error, VV_ERROR_USAGE, object, "ro, none", "%s is a snapshot: nobody can write it", object);
    return false;
}

/* ---- ops */
void vv_share_put(VvTransaction *tx, uint64_t object_id, const VvShareTable *table)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvOp *op = vv_transaction_add(tx, VV_OP_MEMBER_SET);

    vv_share_encode(table, body);
    g_assert(body->len <= VV_MEMBER_BYTES_MAX);
    op->member_set.kind = VV_MEMBER_SHARE;
    op->member_set.id = object_id;
    if (body->len == 0)
        return;
    op->member_set.body = g_memdup2(body->data, body->len);
    op->member_set.body_bytes = body->len;
}

/* ---- who is in the way */
typedef struct {
    VvPool *pool;
    const VvShareTable *table;
    VvShareMode standard;
} Judge;

static bool may_go_on(void *user, const VvOpener *opener)
{
    const Judge *judge = user;
    uint64_t node = opener->node ? opener->node : judge->pool->options.node;
    VvShareMode mode;
    VV_META_READ(judge->pool->meta);

    mode = vv_share_table_mode(judge->table, node, vv_share_is_guest(judge->pool->meta, node), judge->standard);
    return mode == VV_SHARE_RW || (mode == VV_SHARE_RO && !opener->write);
}

#define FORCE_HINT "Close it, or `--force` ends it with EIO there."

/* The read lock is not held. @hint: what to do. */
static bool refuse_users(VvTransaction *tx, uint64_t id, const VvShareTable *table, VvShareMode standard, const char *hint, GError **error)
{
    Judge judge = { tx->pool, table, standard };

    if (!vv_transaction_claim(tx, id, VV_CLAIM_OPENS)) /* H5 */
        g_assert_not_reached();
    return vv_refuse_openers(tx->pool, id, may_go_on, &judge, hint, error);
}

static VvShareMode current_standard(VvPool *pool)
{
    VV_META_READ(pool->meta);

    return vv_share_standard(pool->meta);
}

static bool refuse_blindly(const char *object, GError **error)
{
    vv_set_error(error, VV_ERROR_NO_COORDINATOR, object, "do it on the node that has the disks",
        "%s: who has it open is known on the node that has the disks", object);
    return false;
}

/* ---- set */
static bool is_same(const VvShareTable *a, const VvShareTable *b)
{
    if (a->standard != b->standard || a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (a->rows[i].node != b->rows[i].node || a->rows[i].mode != b->rows[i].mode)
            return false;
    return true;
}

/* Read lock held. */
static bool change_one(VvTransaction *tx, uint64_t id, const char *name, bool snapshot, const Wanted *wanted, GPtrArray *list, GError **error)
{
    VvShareTable old;
    Changed *changed = g_new0(Changed, 1);

    changed->id = id;
    changed->name = g_strdup(name);
    g_ptr_array_add(list, changed);
    vv_share_table_of(tx->pool->meta, id, &old);
    vv_share_table_of(tx->pool->meta, id, &changed->table);
    if (!apply_wanted(tx->pool->meta, wanted, snapshot, name, &changed->table, error))
        return false;
    if (is_same(&old, &changed->table))
        g_ptr_array_remove(list, changed);
    else
        vv_share_put(tx, id, &changed->table);
    return true;
}

static bool change_all(VvTransaction *tx, const char *object, bool with_snapshots, const Wanted *wanted, GPtrArray *list, GError **error)
{
    VV_META_READ(tx->pool->meta);
    const VvLun *lun;
    const VvSnapshot *snapshot;

    if (!vv_share_find(tx->pool, object, &lun, &snapshot, error))
        return false;
    if (snapshot)
        return refuse_writing(wanted, object, error) && change_one(tx, snapshot->id, object, true, wanted, list, error);
    if (!change_one(tx, lun->id, object, false, wanted, list, error))
        return false;
    for (unsigned i = 0; with_snapshots && i < lun->snapshots->len; i++) {
        const VvSnapshot *each = g_ptr_array_index(lun->snapshots, i);
        g_autofree char *name = g_strdup_printf("%s@%s", lun->name, each->name);

        if (!change_one(tx, each->id, name, true, wanted, list, error))
            return false;
    }
    return true;
}

static bool share_set_once(VvPool *pool, const char *object, const struct VvShareChanges *changes, const VvShareHow *how, VvRequest *request,
    GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(changed_free);
    g_autofree Wanted *wanted = g_new0(Wanted, 1);
    VvShareMode standard;

    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    if (!read_changes(pool, changes, object, wanted, error) || !change_all(&tx, object, how->with_snapshots, wanted, list, error))
        return false;
    if (pool->without_disks)
        return refuse_blindly(object, error);
    if (list->len > VV_SETTINGS_PER_COMMAND) {
        vv_set_error(error, VV_ERROR_LIMIT, object, "name the snapshots in several commands", "%u tables are more than one transaction can change (%u)",
            list->len, VV_SETTINGS_PER_COMMAND);
        return false;
    }
    standard = current_standard(pool);
    for (unsigned i = 0; !how->force && i < list->len; i++) {
        const Changed *changed = g_ptr_array_index(list, i);

        if (!refuse_users(&tx, changed->id, &changed->table, standard, FORCE_HINT, error))
            return false;
    }
    return vv_transaction_commit(&tx, NULL, 0, object, error);
}

static bool set_until_decided(
    VvPool *pool, const char *object, const struct VvShareChanges *changes, const VvShareHow *how, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, share_set_once(pool, object, changes, how, request, &failure));
}

bool vv_pool_share_set(
    VvPool *pool, const char *object, const struct VvShareChanges *changes, const VvShareHow *how, VvRequest *request, GError **error)
{
    bool done = set_until_decided(pool, object, changes, how, request, error);

    if (done)
        vv_pool_shares_settle(pool); /* H4 */
    return done;
}

/* ---- in the transactions of others */
VvShareWanted *vv_share_read_changes(VvPool *pool, const struct VvShareChanges *changes, const char *object, GError **error)
{
    g_autofree Wanted *wanted = g_new0(Wanted, 1);

    if (!read_changes(pool, changes, object, wanted, error) || !refuse_writing(wanted, object, error))
        return NULL;
    return g_steal_pointer(&wanted);
}

bool vv_share_inherit(VvTransaction *tx, uint64_t from, uint64_t to, bool snapshot, const VvShareWanted *wanted, GError **error)
{
    VvShareTable table;

    vv_share_table_of(tx->pool->meta, from, &table);
    if (snapshot)
        vv_share_table_cap(&table);
    if (wanted && !apply_wanted(tx->pool->meta, wanted, snapshot, "the snapshot", &table, error))
        return false;
    if (!vv_share_says_nothing(&table))
        vv_share_put(tx, to, &table);
    return true;
}

void vv_share_own(VvTransaction *tx, uint64_t object_id, uint64_t node)
{
    VvShareTable table = { .standard = VV_SHARE_UNSET };
    VvPool *pool = tx->pool;

    if (!vv_pool_share_any(pool) || vv_pool_share_mode(pool, object_id, node) == VV_SHARE_RW)
        return;
    vv_share_table_set(&table, node ? node : pool->options.node, VV_SHARE_RW);
    vv_share_put(tx, object_id, &table);
}

static GArray *all_ids(VvMeta *meta)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    VV_META_READ(meta);
    const GPtrArray *luns = vv_meta_luns(meta);

    for (unsigned i = 0; i < luns->len; i++)
        vv_append_lun_ids(g_ptr_array_index(luns, i), ids);
    return ids;
}

bool vv_share_set_standard(VvTransaction *tx, VvShareMode mode, GError **error)
{
    VvPool *pool = tx->pool;
    VvShareTable table = { .standard = mode == VV_SHARE_RW ? VV_SHARE_UNSET : mode };
    VvShareMode old = current_standard(pool);
    g_autoptr(GArray) ids = NULL;

    if (old == mode)
        return true;
    if (!refuse_alone(pool, "share-default", error))
        return false;
    if (pool->without_disks)
        return refuse_blindly("share-default", error);
    ids = all_ids(pool->meta);
    for (unsigned i = 0; mode < old && i < ids->len; i++) {
        uint64_t id = g_array_index(ids, uint64_t, i);
        VvShareTable each;

        vv_meta_read_lock(pool->meta);
        vv_share_table_of(pool->meta, id, &each);
        vv_meta_read_unlock(pool->meta);
        if (!refuse_users(tx, id, &each, mode, "Close it.", error))
            return false;
    }
    vv_share_put(tx, VV_SHARE_POOL, &table);
    return true;
}
