/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See guest_map.h. An entry's ops are in this order: what goes; purges; names out of the way; LUNs, snapshots; shares; nodes. */
#include "guest_map.h"

#include "base.h"
#include "members.h"
#include "sharing.h"
#include "transaction.h"

#include <string.h>

#define PURGES_MAX 1024u /* of an entry; the next has the rest */
#define LUN_SETS (VV_LUN_MODE | VV_LUN_UID | VV_LUN_GID | VV_LUN_TIMEOUT | VV_LUN_KEEP)

typedef struct {
    VvPool *pool;
    VvMeta *meta; /* read lock held */
    uint64_t self, now_ns;
    bool whole;
    GHashTable *wanted; /* id -> VvDescribed, borrowed */
    GHashTable *gone;   /* id -> 1: removed, 2: hidden */
    VvOps *ops;
    GArray *described;
    const char *why; /* NULL: good so far */
} Making;

void vv_guest_change_clear(VvGuestChange *change)
{
    g_clear_pointer(&change->ops, vv_ops_free);
    g_clear_pointer(&change->described, g_array_unref);
}

static const VvDescribed *wanted(const Making *m, uint64_t id)
{
    return g_hash_table_lookup(m->wanted, &id);
}

static unsigned goes(const Making *m, uint64_t id)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(m->gone, &id));
}

static void set_going(Making *m, const uint64_t *id, unsigned how)
{
    g_hash_table_insert(m->gone, (gpointer) id, GUINT_TO_POINTER(how));
}

/* ---- what goes */

static void drop_share(Making *m, uint64_t id)
{
    VvOp *op;

    if (!vv_meta_member(m->meta, VV_MEMBER_SHARE, id))
        return;
    op = vv_ops_add(m->ops, VV_OP_MEMBER_SET);
    op->member_set.kind = VV_MEMBER_SHARE;
    op->member_set.id = id;
}

static void remove_snapshot(Making *m, const VvSnapshot *snapshot, unsigned how)
{
    VvOp *op;

    if (how == 2)
        drop_share(m, snapshot->id);
    op = vv_ops_add(m->ops, VV_OP_SNAPSHOT_REMOVE);
    op->snapshot_remove.id = snapshot->id;
    op->snapshot_remove.orphan = vv_pool_is_open(m->pool, snapshot->id, false, true);
    op->snapshot_remove.time_ns = m->now_ns;
}

static void remove_lun(Making *m, const VvLun *lun, unsigned how)
{
    VvOp *op;

    for (unsigned i = 0; i < lun->snapshots->len; i++) {
        const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, i);

        if (!goes(m, snapshot->id))
            m->why = "a LUN goes and leaves a snapshot behind";
    }
    if (how == 2)
        drop_share(m, lun->id);
    op = vv_ops_add(m->ops, VV_OP_LUN_REMOVE);
    op->lun_remove.id = lun->id;
    op->lun_remove.orphan = vv_pool_is_open(m->pool, lun->id, false, true);
    op->lun_remove.time_ns = m->now_ns;
}

/* M1: of a whole set. What is missing may have been removed, or hidden, while this node was not told: nobody is let at it any more. */
static void find_unnamed(Making *m)
{
    GPtrArray *luns = vv_meta_luns(m->meta);

    for (unsigned i = 0; m->whole && i < luns->len; i++) {
        const VvLun *lun = g_ptr_array_index(luns, i);

        if (!wanted(m, lun->id))
            set_going(m, &lun->id, 2);
        for (unsigned k = 0; k < lun->snapshots->len; k++) {
            const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, k);

            if (!wanted(m, snapshot->id))
                set_going(m, &snapshot->id, 2);
        }
    }
}

/* Snapshots before their LUNs. */
static void remove_all(Making *m)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        GHashTableIter iter;
        gpointer id, how;

        g_hash_table_iter_init(&iter, m->gone);
        while (g_hash_table_iter_next(&iter, &id, &how)) {
            const VvLun *lun = vv_meta_lun(m->meta, *(const uint64_t *) id);
            const VvSnapshot *snapshot = vv_meta_snapshot(m->meta, *(const uint64_t *) id);

            if (pass == 0 && snapshot && !snapshot->hidden)
                remove_snapshot(m, snapshot, GPOINTER_TO_UINT(how));
            else if (pass == 0 && snapshot && snapshot->orphan && GPOINTER_TO_UINT(how) == 2)
                drop_share(m, snapshot->id);
            else if (pass == 1 && lun && !lun->orphan)
                remove_lun(m, lun, GPOINTER_TO_UINT(how));
            else if (pass == 1 && lun && GPOINTER_TO_UINT(how) == 2)
                drop_share(m, lun->id);
        }
    }
}

static void purge(Making *m, uint64_t id, bool snapshot)
{
    VvOp *op = vv_ops_add(m->ops, VV_OP_PURGE);

    op->purge.id = id;
    op->purge.snapshot = snapshot;
    op->purge.time_ns = m->now_ns;
}

/* M3, and what is shared again under an id that is an orphan here. */
static void purge_orphans(Making *m)
{
    GPtrArray *luns = vv_meta_orphan_luns(m->meta), *snapshots = vv_meta_orphan_snapshots(m->meta);
    unsigned count = 0;

    for (unsigned i = 0; i < snapshots->len; i++) {
        uint64_t id = ((const VvSnapshot *) g_ptr_array_index(snapshots, i))->id;

        if (wanted(m, id) || (count < PURGES_MAX && !vv_pool_is_open(m->pool, id, false, true)))
            purge(m, id, true), count++;
    }
    for (unsigned i = 0; i < luns->len; i++) {
        uint64_t id = ((const VvLun *) g_ptr_array_index(luns, i))->id;

        if (wanted(m, id) || (count < PURGES_MAX && !vv_pool_is_open(m->pool, id, false, true)))
            purge(m, id, false), count++;
    }
}

/* ---- names */

static const VvLun *lun_here(const Making *m, uint64_t id)
{
    const VvLun *lun = vv_meta_lun(m->meta, id);

    return lun && !lun->orphan && !goes(m, id) ? lun : NULL;
}

static const VvSnapshot *snapshot_here(const Making *m, uint64_t id)
{
    const VvSnapshot *snapshot = vv_meta_snapshot(m->meta, id);

    return snapshot && !snapshot->hidden && !goes(m, id) ? snapshot : NULL;
}

/* Does who has the name now give it up? */
static bool gives_up(const Making *m, uint64_t owner, const char *name)
{
    const VvDescribed *described = wanted(m, owner);

    return goes(m, owner) || (described && strcmp(described->name, name) != 0);
}

/* M2. @names: "LUN's id/name" of all that are wanted. */
static void check_name(Making *m, GHashTable *names, const VvDescribed *item)
{
    bool is_lun = item->kind == VV_DESCRIBED_LUN;
    const VvLun *lun = is_lun ? NULL : vv_meta_lun(m->meta, item->lun), *there = is_lun ? vv_meta_lun_by_name(m->meta, item->name) : NULL;
    const VvSnapshot *other = lun && !is_lun ? vv_meta_snapshot_by_name(m->meta, lun, item->name) : NULL;
    uint64_t owner = there ? there->id : other ? other->id : 0;
    const VvDescribed *base = is_lun ? NULL : wanted(m, item->lun);

    if (!g_hash_table_add(names, g_strdup_printf("%" G_GUINT64_FORMAT "/%s", is_lun ? 0 : item->lun, item->name)) ||
        (owner != 0 && owner != item->id && !gives_up(m, owner, item->name)))
        m->why = "a name is told twice";
    else if (!is_lun && ((base && base->kind != VV_DESCRIBED_LUN) || (!base && !lun_here(m, item->lun))))
        m->why = "a snapshot is told of a LUN that is not";
    else if (is_lun ? vv_meta_snapshot(m->meta, item->id) != NULL : vv_meta_lun(m->meta, item->id) != NULL)
        m->why = "a number is of something else";
    else if (!is_lun && snapshot_here(m, item->id) && snapshot_here(m, item->id)->lun != item->lun)
        m->why = "a snapshot is told of another LUN than before";
}

static void check_names(Making *m)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTableIter iter;
    gpointer item;

    g_hash_table_iter_init(&iter, m->wanted);
    while (!m->why && g_hash_table_iter_next(&iter, NULL, &item))
        check_name(m, names, item);
}

static void rename_to(Making *m, const VvDescribed *item, char *name)
{
    VvOp *op = vv_ops_add(m->ops, item->kind == VV_DESCRIBED_LUN ? VV_OP_LUN_RENAME : VV_OP_SNAPSHOT_RENAME);

    if (item->kind == VV_DESCRIBED_LUN) {
        op->lun_rename.id = item->id;
        op->lun_rename.name = name;
        op->lun_rename.ctime_ns = item->ctime_ns;
    } else {
        op->snapshot_rename.id = item->id;
        op->snapshot_rename.name = name;
    }
}

/* Two may have changed names with each other: @aside brings all out of the way first, under names that nothing can have. */
static void rename_all(Making *m, const GPtrArray *items, bool aside)
{
    for (unsigned i = 0; i < items->len; i++) {
        const VvDescribed *item = g_ptr_array_index(items, i);
        const VvLun *lun = item->kind == VV_DESCRIBED_LUN ? lun_here(m, item->id) : NULL;
        const VvSnapshot *snapshot = item->kind == VV_DESCRIBED_SNAPSHOT ? snapshot_here(m, item->id) : NULL;

        if (wanted(m, item->id) == item && ((lun && strcmp(lun->name, item->name) != 0) || (snapshot && strcmp(snapshot->name, item->name) != 0)))
            rename_to(m, item, aside ? g_strdup_printf("/%" G_GUINT64_FORMAT, item->id) : g_strdup(item->name));
    }
}

/* ---- LUNs and snapshots */

static void set_share(Making *m, uint64_t id, VvShareMode mode)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvShareTable table = { .standard = VV_SHARE_NONE, .count = 1, .rows = { { m->self, mode } } };
    const VvMemberRecord *record = vv_meta_member(m->meta, VV_MEMBER_SHARE, id);
    VvOp *op;

    if (mode == VV_SHARE_NONE) {
        drop_share(m, id);
        return;
    }
    vv_share_encode(&table, body);
    /* An orphan's record goes with its purge. */
    if (record && (lun_here(m, id) || snapshot_here(m, id)) && record->body_bytes == body->len && memcmp(record->body, body->data, body->len) == 0)
        return;
    op = vv_ops_add(m->ops, VV_OP_MEMBER_SET);
    op->member_set.kind = VV_MEMBER_SHARE;
    op->member_set.id = id;
    op->member_set.body = g_memdup2(body->data, body->len);
    op->member_set.body_bytes = body->len;
}

static void describe(Making *m, const VvDescribed *item)
{
    VvMetaDescribed described = { .id = item->id,
        .uuid = item->uuid,
        .size_bytes = item->size_bytes,
        .used_blocks = item->used_blocks,
        .created_ns = item->created_ns,
        .mtime_ns = item->mtime_ns,
        .atime_ns = item->atime_ns,
        .ctime_ns = item->ctime_ns,
        .elastic = item->elastic,
        .content = item->content,
        .origin = item->origin ? item->origin : (char *) "" };

    g_array_append_val(m->described, described);
}

static VvLunProps props_of(const VvDescribed *item)
{
    return (VvLunProps){ .mode = item->mode_bits,
        .uid = item->uid,
        .gid = item->gid,
        .copies = 1,
        .timeout_s = item->timeout_s,
        .keep_until_ns = item->keep_until_ns };
}

static void create_lun(Making *m, const VvDescribed *item)
{
    VvOp *op = vv_ops_add(m->ops, VV_OP_LUN_CREATE);

    op->lun_create.id = item->id;
    op->lun_create.branch = op->lun_create.family = vv_meta_new_id(m->meta); /* an orphan may have left those of the same LUN */
    op->lun_create.uuid = item->uuid;
    op->lun_create.name = g_strdup(item->name);
    op->lun_create.size_bytes = item->size_bytes;
    op->lun_create.props = props_of(item);
    op->lun_create.elastic = item->elastic;
    op->lun_create.created_ns = item->created_ns;
}

static bool is_same(const VvLun *lun, const VvDescribed *item)
{
    return lun->props.mode == item->mode_bits && lun->props.uid == item->uid && lun->props.gid == item->gid &&
           lun->props.timeout_s == item->timeout_s && lun->props.keep_until_ns == item->keep_until_ns && lun->mtime_ns == item->mtime_ns &&
           lun->atime_ns == item->atime_ns && lun->ctime_ns == item->ctime_ns && lun->used_blocks == item->used_blocks &&
           lun->elastic == item->elastic;
}

static void change_lun(Making *m, const VvLun *lun, const VvDescribed *item)
{
    VvOp *op;

    if (lun->size_bytes != item->size_bytes) {
        op = vv_ops_add(m->ops, VV_OP_LUN_SIZE);
        op->lun_size.id = item->id;
        op->lun_size.size_bytes = item->size_bytes;
        op->lun_size.mtime_ns = item->mtime_ns;
    }
    if (is_same(lun, item))
        return;
    op = vv_ops_add(m->ops, VV_OP_LUN_SET);
    op->lun_set.id = item->id;
    op->lun_set.mask = LUN_SETS;
    op->lun_set.props = props_of(item);
    op->lun_set.ctime_ns = item->ctime_ns;
}

static void put_snapshot(Making *m, const VvDescribed *item)
{
    const VvSnapshot *there = snapshot_here(m, item->id);
    VvOp *op;

    if (!there) {
        op = vv_ops_add(m->ops, VV_OP_SNAPSHOT_CREATE);
        op->snapshot_create.id = item->id;
        op->snapshot_create.uuid = item->uuid;
        op->snapshot_create.lun = item->lun;
        op->snapshot_create.name = g_strdup(item->name);
        op->snapshot_create.kind = item->snapshot_kind;
        op->snapshot_create.created_ns = item->created_ns;
        op->snapshot_create.keep_until_ns = item->keep_until_ns;
        op->snapshot_create.note = g_strdup(item->note);
    } else if (there->keep_until_ns != item->keep_until_ns || strcmp(there->note, item->note) != 0) {
        op = vv_ops_add(m->ops, VV_OP_SNAPSHOT_SET);
        op->snapshot_set.id = item->id;
        op->snapshot_set.keep_until_ns = item->keep_until_ns;
        op->snapshot_set.note = g_strdup(item->note);
    }
    set_share(m, item->id, VV_SHARE_RO);
    describe(m, item);
}

static void put_lun(Making *m, const VvDescribed *item)
{
    const VvLun *there = lun_here(m, item->id);

    if (!there)
        create_lun(m, item);
    else
        change_lun(m, there, item);
    set_share(m, item->id, (VvShareMode) item->mode);
    describe(m, item);
}

static void put_all(Making *m, const GPtrArray *items)
{
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < items->len; i++) {
            const VvDescribed *item = g_ptr_array_index(items, i);

            if (wanted(m, item->id) != item)
                continue;
            if (pass == 0 && item->kind == VV_DESCRIBED_LUN)
                put_lun(m, item);
            else if (pass == 1 && item->kind == VV_DESCRIBED_SNAPSHOT)
                put_snapshot(m, item);
        }
}

/* ---- nodes */

static void put_node(Making *m, const VvDescribed *item)
{
    gsize length;
    const uint8_t *body = g_bytes_get_data(item->record, &length);
    const VvMemberRecord *there = vv_meta_member(m->meta, VV_MEMBER_NODE, item->id);
    VvOp *op;

    if (there && there->body_bytes == length && memcmp(there->body, body, length) == 0)
        return;
    op = vv_ops_add(m->ops, VV_OP_MEMBER_SET);
    op->member_set.kind = VV_MEMBER_NODE;
    op->member_set.id = item->id;
    op->member_set.body = g_memdup2(body, length);
    op->member_set.body_bytes = (uint32_t) length;
}

static void drop_nodes(Making *m, GHashTable *named)
{
    const GPtrArray *members = vv_meta_members(m->meta);

    for (unsigned i = 0; i < members->len; i++) {
        const VvMemberRecord *member = g_ptr_array_index(members, i);
        VvOp *op;

        if (member->kind != VV_MEMBER_NODE || g_hash_table_contains(named, &member->id))
            continue;
        op = vv_ops_add(m->ops, VV_OP_MEMBER_SET);
        op->member_set.kind = VV_MEMBER_NODE;
        op->member_set.id = member->id;
    }
}

static void put_nodes(Making *m, const GPtrArray *items)
{
    g_autoptr(GHashTable) named = g_hash_table_new(g_int64_hash, g_int64_equal);
    bool self = false;

    for (unsigned i = 0; i < items->len && !m->why; i++) {
        const VvDescribed *item = g_ptr_array_index(items, i);
        g_auto(VvNodeRecord) record = { .id = 0 };
        gsize length;
        const uint8_t *body;

        if (item->kind != VV_DESCRIBED_NODE)
            continue;
        body = g_bytes_get_data(item->record, &length);
        if (!vv_node_record_decode(item->id, body, length, &record) || !g_hash_table_add(named, (gpointer) &item->id))
            m->why = "a node's record cannot be read";
        else if (item->id == m->self)
            self = record.role == VV_ROLE_GUEST;
        put_node(m, item);
    }
    if (!m->why && !self)
        m->why = "this node is not named as a guest";
    drop_nodes(m, named);
}

/* ---- all of it */

static void index_items(Making *m, const GPtrArray *items)
{
    for (unsigned i = 0; i < items->len; i++) {
        const VvDescribed *item = g_ptr_array_index(items, i);

        if (item->kind == VV_DESCRIBED_LUN || item->kind == VV_DESCRIBED_SNAPSHOT)
            g_hash_table_replace(m->wanted, (gpointer) &item->id, (gpointer) item);
    }
    for (unsigned i = 0; i < items->len; i++) {
        const VvDescribed *item = g_ptr_array_index(items, i);

        if (item->kind == VV_DESCRIBED_GONE && !wanted(m, item->id))
            set_going(m, &item->id, item->hidden ? 2 : 1);
    }
}

bool vv_guest_change_make(VvPool *pool, uint64_t self, const GPtrArray *items, bool whole, bool nodes, VvGuestChange *ret_change, const char **ret_why)
{
    g_autoptr(GHashTable) wanted_items = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_autoptr(GHashTable) gone = g_hash_table_new(g_int64_hash, g_int64_equal);
    Making m = { .pool = pool,
        .meta = vv_pool_meta(pool),
        .self = self,
        .now_ns = vv_now_ns(),
        .whole = whole,
        .wanted = wanted_items,
        .gone = gone,
        .ops = vv_ops_new(),
        .described = g_array_new(FALSE, FALSE, sizeof(VvMetaDescribed)) };
    VvGuestChange change = { m.ops, m.described };
    VV_META_READ(m.meta);

    index_items(&m, items);
    find_unnamed(&m);
    check_names(&m);
    if (!m.why) {
        remove_all(&m);
        purge_orphans(&m);
        rename_all(&m, items, true);
        rename_all(&m, items, false);
        put_all(&m, items);
    }
    if (!m.why && nodes)
        put_nodes(&m, items);
    if (m.why) {
        *ret_why = m.why;
        vv_guest_change_clear(&change);
        return false;
    }
    *ret_change = change;
    return true;
}
