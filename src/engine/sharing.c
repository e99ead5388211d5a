/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of who may use what: their bodies, looking at them, and what `pool check` says of them (sharing.h). Changing them: config_share.c;
 * what follows from a change: revoke.c. */
#include "sharing.h"

#include "codec.h"
#include "engine.h"
#include "error.h"
#include "members.h"
#include "transaction.h"

#include <string.h>

#define RECORD_VERSION 1u
#define NOTED_MAX 4096u /* objects whose table changed and that nobody has seen to: past it all that are open are looked at */

struct VvShares {
    pthread_mutex_t lock; /* a leaf */
    GHashTable *noted;    /* ids whose record changed, as keys */
    bool noted_all;
};

/* ---- words */
const char *vv_share_mode_name(VvShareMode mode)
{
    static const char *const names[] = { NULL, "none", "ro", "rw" };

    return (unsigned) mode < G_N_ELEMENTS(names) ? names[mode] : NULL;
}

bool vv_share_mode_parse(const char *text, VvShareMode *ret_mode, GError **error)
{
    for (VvShareMode mode = VV_SHARE_NONE; mode <= VV_SHARE_RW; mode++)
        if (strcmp(text, vv_share_mode_name(mode)) == 0) {
            *ret_mode = mode;
            return true;
        }
    if (strcmp(text, "default") == 0) {
        *ret_mode = VV_SHARE_UNSET;
        return true;
    }
    vv_set_error(error, VV_ERROR_USAGE, text, "rw, ro, none, or default: no rule of its own", "nothing can be shared \"%s\"", text);
    return false;
}

/* ---- tables */
bool vv_share_says_nothing(const VvShareTable *table)
{
    return table->standard == VV_SHARE_UNSET && table->count == 0;
}

static bool is_in_range(const VvShareTable *table)
{
    if ((unsigned) table->standard > VV_SHARE_RW || table->count > VV_NODES_MAX || vv_share_says_nothing(table))
        return false;
    for (unsigned i = 0; i < table->count; i++) {
        const VvShareRow *row = &table->rows[i];

        if (row->node == 0 || !vv_share_mode_name(row->mode) || (i > 0 && table->rows[i - 1].node >= row->node))
            return false;
    }
    return true;
}

void vv_share_encode(const VvShareTable *table, GByteArray *out)
{
    if (vv_share_says_nothing(table))
        return;
    g_assert(is_in_range(table));
    vv_write_u8(out, RECORD_VERSION);
    vv_write_u8(out, (uint8_t) table->standard);
    vv_write_u16(out, (uint16_t) table->count);
    for (unsigned i = 0; i < table->count; i++) {
        vv_write_u64(out, table->rows[i].node);
        vv_write_u8(out, (uint8_t) table->rows[i].mode);
    }
}

bool vv_share_decode(const uint8_t *body, size_t length_bytes, VvShareTable *ret_table)
{
    VvReader in = vv_reader(body, length_bytes);
    VvShareTable table;

    if (vv_read_u8(&in) != RECORD_VERSION)
        return false;
    table.standard = vv_read_u8(&in);
    table.count = vv_read_u16(&in);
    if (table.count > VV_NODES_MAX)
        return false;
    for (unsigned i = 0; i < table.count && !in.bad; i++) {
        table.rows[i].node = vv_read_u64(&in);
        table.rows[i].mode = vv_read_u8(&in);
    }
    if (in.bad || vv_reader_left(&in) != 0 || !is_in_range(&table))
        return false;
    ret_table->standard = table.standard;
    ret_table->count = table.count;
    memcpy(ret_table->rows, table.rows, table.count * sizeof *table.rows);
    return true;
}

/* The first row at or behind @node. */
static unsigned find_row(const VvShareTable *table, uint64_t node)
{
    unsigned at = 0;

    while (at < table->count && table->rows[at].node < node)
        at++;
    return at;
}

bool vv_share_table_set(VvShareTable *table, uint64_t node, VvShareMode mode)
{
    unsigned at = find_row(table, node);
    bool there = at < table->count && table->rows[at].node == node;
    VvShareRow *row = &table->rows[at];

    if (mode == VV_SHARE_UNSET) {
        if (there)
            memmove(row, row + 1, (--table->count - at) * sizeof *row);
        return true;
    }
    if (!there && table->count == VV_NODES_MAX)
        return false;
    if (!there)
        memmove(row + 1, row, (table->count++ - at) * sizeof *row);
    *row = (VvShareRow){ node, mode };
    return true;
}

void vv_share_table_cap(VvShareTable *table)
{
    table->standard = MIN(table->standard, VV_SHARE_RO);
    for (unsigned i = 0; i < table->count; i++)
        table->rows[i].mode = MIN(table->rows[i].mode, VV_SHARE_RO);
}

VvShareMode vv_share_table_mode(const VvShareTable *table, uint64_t node, bool guest, VvShareMode standard)
{
    unsigned at = find_row(table, node);

    if (at < table->count && table->rows[at].node == node)
        return table->rows[at].mode;
    if (guest)
        return VV_SHARE_NONE;
    return table->standard != VV_SHARE_UNSET ? table->standard : standard;
}

/* ---- looking, with the read lock */
void vv_share_table_of(VvMeta *meta, uint64_t object_id, VvShareTable *ret_table)
{
    const VvMemberRecord *record = vv_meta_member(meta, VV_MEMBER_SHARE, object_id);

    ret_table->standard = VV_SHARE_UNSET;
    ret_table->count = 0;
    /* One that cannot be read lets nobody in: what it forbade is not known. */
    if (record && !vv_share_decode(record->body, record->body_bytes, ret_table))
        ret_table->standard = VV_SHARE_NONE;
}

bool vv_share_is_guest(VvMeta *meta, uint64_t node)
{
    const VvMemberRecord *record = vv_meta_member(meta, VV_MEMBER_NODE, node);
    g_auto(VvNodeRecord) decoded = { .id = 0 };

    return record && vv_node_record_decode(node, record->body, record->body_bytes, &decoded) && decoded.role == VV_ROLE_GUEST;
}

VvShareMode vv_share_standard(VvMeta *meta)
{
    VvShareTable table;

    vv_share_table_of(meta, VV_SHARE_POOL, &table);
    return table.standard != VV_SHARE_UNSET ? table.standard : VV_SHARE_RW;
}

VvShareMode vv_pool_share_mode_locked(VvPool *pool, uint64_t object_id, uint64_t node)
{
    VvShareTable table;
    bool guest;

    if (!vv_pool_share_any(pool))
        return VV_SHARE_RW;
    if (node == 0)
        node = pool->options.node;
    if (node == 0)
        return VV_SHARE_RW;
    vv_share_table_of(pool->meta, object_id, &table);
    guest = (pool->options.guest && node == pool->options.node) || vv_share_is_guest(pool->meta, node);
    return vv_share_table_mode(&table, node, guest, vv_share_standard(pool->meta));
}

VvShareMode vv_pool_share_mode(VvPool *pool, uint64_t object_id, uint64_t node)
{
    if (!vv_pool_share_any(pool))
        return VV_SHARE_RW;
    VV_META_READ(pool->meta);
    return vv_pool_share_mode_locked(pool, object_id, node);
}

bool vv_pool_share_sees_folder_locked(VvPool *pool, const VvLun *lun)
{
    if (!vv_pool_share_any(pool) || vv_pool_share_mode_locked(pool, lun->id, 0) != VV_SHARE_NONE)
        return true;
    for (unsigned i = lun->snapshots->len; i-- > 0;)
        if (vv_pool_share_mode_locked(pool, ((const VvSnapshot *) g_ptr_array_index(lun->snapshots, i))->id, 0) != VV_SHARE_NONE)
            return true;
    return false;
}

/* ---- for people */
char *vv_pool_node_name(VvPool *pool, uint64_t id)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(pool->meta);

    if (id == 0)
        id = pool->options.node;
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        if (node->id == id)
            return g_strdup(node->name);
    }
    return id ? g_strdup_printf("%" G_GUINT64_FORMAT, id) : g_strdup(g_get_host_name());
}

bool vv_share_find(VvPool *pool, const char *object, const VvLun **ret_lun, const VvSnapshot **ret_snapshot, GError **error)
{
    if (strchr(object, '@')) {
        *ret_snapshot = vv_find_snapshot(pool, object, ret_lun, error);
        return *ret_snapshot;
    }
    *ret_snapshot = NULL;
    *ret_lun = vv_find_lun(pool, object, error);
    return *ret_lun;
}

bool vv_pool_share_refuse(VvPool *pool, const char *object, uint64_t node, GError **error)
{
    const VvLun *lun;
    const VvSnapshot *snapshot;
    g_autofree char *name = NULL;

    if (!vv_pool_share_any(pool))
        return true;
    {
        VV_META_READ(pool->meta);

        if (!vv_share_find(pool, object, &lun, &snapshot, NULL) ||
            vv_pool_share_mode_locked(pool, snapshot ? snapshot->id : lun->id, node) != VV_SHARE_NONE)
            return true;
    }
    name = vv_pool_node_name(pool, node);
    vv_set_error(error, VV_ERROR_NOT_FOUND, object, NULL, "no %s that %s may read (`share show` on a node that may says more)", object, name);
    return false;
}

void vv_share_view_clear(VvShareView *view)
{
    g_clear_pointer(&view->nodes, g_strfreev);
    g_clear_pointer(&view->modes, g_free);
}

typedef struct {
    const char *name;
    VvShareMode mode;
} Named;

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const Named *) a)->name, ((const Named *) b)->name);
}

static void fill_view(const GPtrArray *nodes, const VvShareTable *table, VvShareView *view)
{
    Named named[VV_NODES_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);
        unsigned at = find_row(table, node->id);

        if (node->role != VV_ROLE_GONE && at < table->count && table->rows[at].node == node->id)
            named[count++] = (Named){ node->name, table->rows[at].mode };
    }
    qsort(named, count, sizeof *named, compare_named);
    view->nodes = g_new0(char *, count + 1);
    view->modes = g_new0(VvShareMode, count + 1);
    for (unsigned i = 0; i < count; i++) {
        view->nodes[i] = g_strdup(named[i].name);
        view->modes[i] = named[i].mode;
    }
}

void vv_pool_share_get_id(VvPool *pool, uint64_t object_id, VvShareView *ret_view)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(pool->meta);
    VvShareTable table;
    VV_META_READ(pool->meta);

    vv_share_table_of(pool->meta, object_id, &table);
    ret_view->standard = table.standard != VV_SHARE_UNSET ? table.standard : vv_share_standard(pool->meta);
    if (vv_meta_snapshot(pool->meta, object_id)) {
        ret_view->standard = MIN(ret_view->standard, VV_SHARE_RO); /* H1 */
        vv_share_table_cap(&table);
    }
    fill_view(nodes, &table, ret_view);
}

bool vv_pool_share_get(VvPool *pool, const char *object, VvShareView *ret_view, GError **error)
{
    const VvLun *lun;
    const VvSnapshot *snapshot;
    uint64_t id;

    {
        VV_META_READ(pool->meta);

        if (!vv_share_find(pool, object, &lun, &snapshot, error))
            return false;
        id = snapshot ? snapshot->id : lun->id;
    }
    vv_pool_share_get_id(pool, id, ret_view);
    return true;
}

/* ---- what changed */
struct VvShares *vv_shares_new(void)
{
    struct VvShares *shares = g_new0(struct VvShares, 1);

    pthread_mutex_init(&shares->lock, NULL);
    shares->noted = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    return shares;
}

void vv_shares_free(struct VvShares *shares)
{
    if (!shares)
        return;
    g_hash_table_unref(shares->noted);
    pthread_mutex_destroy(&shares->lock);
    g_free(shares);
}

bool vv_pool_share_any(VvPool *pool)
{
    return atomic_load_explicit(&pool->shares_any, memory_order_acquire);
}

/* Are there tables, or guests? Kinds are in order. The role is looked at in the body, as this is done for each record that is set. */
static bool look_for_any(VvMeta *meta)
{
    const GPtrArray *members = vv_meta_members(meta);
    const VvMemberRecord *last = members->len > 0 ? g_ptr_array_index(members, members->len - 1) : NULL;

    if (last && last->kind >= VV_MEMBER_SHARE)
        return true;
    for (unsigned i = 0; i < members->len; i++) {
        const VvMemberRecord *member = g_ptr_array_index(members, i);

        if (member->kind != VV_MEMBER_NODE)
            break;
        if (vv_share_is_guest(meta, member->id))
            return true;
    }
    return false;
}

void vv_shares_load(VvPool *pool)
{
    VV_META_READ(pool->meta);

    atomic_store(&pool->shares_any, pool->options.guest || look_for_any(pool->meta));
}

void vv_shares_note(VvPool *pool, uint8_t kind, uint64_t id)
{
    struct VvShares *shares = pool->shares;

    if (kind == VV_MEMBER_INVITE)
        return;
    atomic_store(&pool->shares_any, pool->options.guest || look_for_any(pool->meta));
    {
        VV_LOCKED(&shares->lock);
        if (kind != VV_MEMBER_SHARE || id == VV_SHARE_POOL || g_hash_table_size(shares->noted) >= NOTED_MAX)
            shares->noted_all = true;
        else
            g_hash_table_add(shares->noted, g_memdup2(&id, sizeof id));
    }
    if (kind == VV_MEMBER_SHARE && pool->options.shares_changed)
        pool->options.shares_changed(pool->options.members_user);
}

GArray *vv_shares_take(VvPool *pool, bool *ret_all)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter iter;
    gpointer id;
    VV_LOCKED(&pool->shares->lock);

    g_hash_table_iter_init(&iter, pool->shares->noted);
    while (g_hash_table_iter_next(&iter, &id, NULL))
        g_array_append_vals(ids, id, 1);
    g_hash_table_remove_all(pool->shares->noted);
    *ret_all = pool->shares->noted_all;
    pool->shares->noted_all = false;
    return ids;
}

/* ---- check */
static void check_record(VvMeta *meta, const VvMemberRecord *member, VvCheckFunc report, void *user)
{
    const VvSnapshot *snapshot = vv_meta_snapshot(meta, member->id);
    g_autofree char *object = g_strdup_printf("share of %" G_GUINT64_FORMAT, member->id), *message = NULL;
    VvCheckError found = { .code = "member", .object = object };
    VvShareTable table;

    if (!vv_share_decode(member->body, member->body_bytes, &table))
        found.message = message = g_strdup("the table of who may use it cannot be read: nobody may");
    else if (member->id != VV_SHARE_POOL && !vv_meta_lun(meta, member->id) && !(snapshot && (!snapshot->hidden || snapshot->orphan)))
        found.message = message = g_strdup("there is no LUN or snapshot of that number");
    else
        return;
    report(user, &found);
}

void vv_shares_check(VvMeta *meta, VvCheckFunc report, void *user)
{
    VV_META_READ(meta);
    const GPtrArray *members = vv_meta_members(meta);

    for (unsigned i = members->len; i-- > 0;) {
        const VvMemberRecord *member = g_ptr_array_index(members, i);

        if (member->kind < VV_MEMBER_SHARE)
            break;
        if (member->kind == VV_MEMBER_SHARE)
            check_record(meta, member, report, user);
    }
}
