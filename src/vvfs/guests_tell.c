/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said of a pool to one guest. All with the map's read lock. */
#include "guests_private.h"

#include "base.h"
#include "members.h"
#include "sharing.h"

#include <string.h>

typedef struct {
    VvMeta *meta;
    VvgGuest *guest;
    GByteArray *body; /* the message that is being made; owned */
    GPtrArray *done;  /* of a whole set: those before it; NULL: there may be one message only */
    uint64_t index;
    bool full; /* ... and it has no room */
} Telling;

/* ---- ops */
uint64_t vvg_object_of(const VvOp *op, bool *ret_content)
{
    *ret_content = op->kind == VV_OP_RESTORE || op->kind == VV_OP_ADOPT;
    switch (op->kind) {
    case VV_OP_LUN_CREATE:
        return op->lun_create.id;
    case VV_OP_LUN_SET:
        return op->lun_set.id;
    case VV_OP_LUN_RENAME:
        return op->lun_rename.id;
    case VV_OP_LUN_SIZE:
        return op->lun_size.id;
    case VV_OP_LUN_REMOVE:
        return op->lun_remove.id;
    case VV_OP_MAP: /* times and blocks in use come with answers to requests, sizes too, but those must be shown to who only looks */
        return op->map.size_bytes != UINT64_MAX ? op->map.lun : 0;
    case VV_OP_SNAPSHOT_CREATE:
        return op->snapshot_create.name && *op->snapshot_create.name ? op->snapshot_create.id : 0;
    case VV_OP_SNAPSHOT_SET:
        return op->snapshot_set.id;
    case VV_OP_SNAPSHOT_RENAME:
        return op->snapshot_rename.id;
    case VV_OP_SNAPSHOT_REMOVE:
        return op->snapshot_remove.id;
    case VV_OP_CLONE:
        return op->clone.id;
    case VV_OP_RESTORE:
        return op->restore.lun;
    case VV_OP_ADOPT:
        return op->adopt.lun;
    case VV_OP_MEMBER_SET:
        return op->member_set.kind == VV_MEMBER_SHARE ? op->member_set.id : 0;
    default:
        return 0;
    }
}

/* ---- messages */
static void begin(Telling *t, unsigned flags)
{
    t->body = g_byte_array_new();
    vv_description_begin(t->body, flags, t->index);
}

static void add(Telling *t, const VvDescribed *described)
{
    if (t->full || vv_description_add(t->body, described))
        return;
    t->full = t->done == NULL;
    if (t->full)
        return;
    g_ptr_array_add(t->done, t->body);
    begin(t, 0);
    (void) vv_description_add(t->body, described); /* one item fits */
}

/* ---- what is shared */
/* A guest has what its own row says; most objects have no table at all, and there may be very many. */
static VvShareMode mode_of(const Telling *t, uint64_t id)
{
    VvShareTable table;

    if (!vv_meta_member(t->meta, VV_MEMBER_SHARE, id))
        return VV_SHARE_NONE;
    vv_share_table_of(t->meta, id, &table);
    return vv_share_table_mode(&table, t->guest->id, true, VV_SHARE_NONE);
}

static bool has_shared_snapshot(const Telling *t, const VvLun *lun)
{
    for (unsigned i = lun->snapshots->len; i-- > 0;)
        if (mode_of(t, ((const VvSnapshot *) g_ptr_array_index(lun->snapshots, i))->id) != VV_SHARE_NONE)
            return true;
    return false;
}

/* A clone's origin is told by name, if that is shared. */
static const char *shared_origin(const Telling *t, const VvLun *lun)
{
    const char *at = strchr(lun->origin, '@');
    g_autofree char *name = at ? g_strndup(lun->origin, (gsize) (at - lun->origin)) : NULL;
    const VvLun *base = at ? vv_meta_lun_by_name(t->meta, name) : NULL;
    const VvSnapshot *snapshot = base ? vv_meta_snapshot_by_name(t->meta, base, at + 1) : NULL;

    return snapshot && mode_of(t, snapshot->id) != VV_SHARE_NONE ? lun->origin : "";
}

/* ---- items */
static void remember(Telling *t, uint64_t id, uint64_t lun)
{
    g_hash_table_replace(t->guest->told, g_memdup2(&id, sizeof id), g_memdup2(&lun, sizeof lun));
}

static void tell_lun(Telling *t, const VvLun *lun, VvShareMode mode, bool content)
{
    VvDescribed item = { .kind = VV_DESCRIBED_LUN,
        .id = lun->id,
        .mode = (uint8_t) mode,
        .name = lun->name,
        .mode_bits = lun->props.mode & 07777,
        .uid = lun->props.uid,
        .gid = lun->props.gid,
        .timeout_s = lun->props.timeout_s };

    if (mode != VV_SHARE_NONE) {
        item.elastic = lun->elastic;
        item.content = content;
        item.uuid = lun->uuid;
        item.size_bytes = lun->size_bytes;
        item.used_blocks = lun->used_blocks;
        item.created_ns = lun->created_ns;
        item.mtime_ns = lun->mtime_ns;
        item.atime_ns = lun->atime_ns;
        item.ctime_ns = lun->ctime_ns;
        item.keep_until_ns = lun->props.keep_until_ns;
        item.origin = (char *) shared_origin(t, lun);
    }
    add(t, &item);
    remember(t, lun->id, lun->id);
}

static void tell_snapshot(Telling *t, const VvSnapshot *snapshot)
{
    VvDescribed item = { .kind = VV_DESCRIBED_SNAPSHOT,
        .id = snapshot->id,
        .lun = snapshot->lun,
        .snapshot_kind = snapshot->kind,
        .uuid = snapshot->uuid,
        .size_bytes = snapshot->size_bytes,
        .used_blocks = snapshot->used_blocks,
        .created_ns = snapshot->created_ns,
        .mtime_ns = snapshot->mtime_ns,
        .keep_until_ns = snapshot->keep_until_ns,
        .name = snapshot->name,
        .note = snapshot->note };

    add(t, &item);
    remember(t, snapshot->id, snapshot->lun);
}

static void tell_gone(Telling *t, uint64_t id, bool hidden)
{
    VvDescribed item = { .kind = VV_DESCRIBED_GONE, .id = id, .hidden = hidden };

    if (!g_hash_table_contains(t->guest->told, &id))
        return; /* it never knew of it */
    add(t, &item);
    g_hash_table_remove(t->guest->told, &id);
}

/* ---- nodes: members, and the guest itself; not other guests */
static void tell_nodes(Telling *t)
{
    const GPtrArray *members = vv_meta_members(t->meta);

    for (unsigned i = 0; i < members->len; i++) {
        const VvMemberRecord *member = g_ptr_array_index(members, i);
        g_auto(VvNodeRecord) record = { .id = 0 };
        g_autoptr(GBytes) body = NULL;
        VvDescribed item = { .kind = VV_DESCRIBED_NODE, .id = member->id };

        if (member->kind != VV_MEMBER_NODE || !vv_node_record_decode(member->id, member->body, member->body_bytes, &record) ||
            record.role == VV_ROLE_GONE || (record.role == VV_ROLE_GUEST && record.id != t->guest->id))
            continue;
        item.record = body = g_bytes_new(member->body, member->body_bytes);
        add(t, &item);
    }
}

/* ---- changes */
static void look_at_lun(Telling *t, uint64_t id, bool content)
{
    const VvLun *lun = vv_meta_lun(t->meta, id);
    VvShareMode mode = lun ? mode_of(t, id) : VV_SHARE_NONE;

    if (!lun || lun->orphan)
        tell_gone(t, id, false);
    else if (mode != VV_SHARE_NONE || has_shared_snapshot(t, lun))
        tell_lun(t, lun, mode, content);
    else
        tell_gone(t, id, true);
}

static void look_at_snapshot(Telling *t, const VvSnapshot *snapshot)
{
    const VvLun *lun = vv_meta_lun(t->meta, snapshot->lun);

    if (snapshot->hidden || !lun)
        tell_gone(t, snapshot->id, false);
    else if (mode_of(t, snapshot->id) == VV_SHARE_NONE)
        tell_gone(t, snapshot->id, true);
    else
        tell_snapshot(t, snapshot);
}

static bool is_snapshot(const Telling *t, uint64_t id)
{
    const uint64_t *lun = g_hash_table_lookup(t->guest->told, &id);

    return vv_meta_snapshot(t->meta, id) || (lun && *lun != id);
}

/* LUNs of what is noted, so that they stand before their snapshots (G3), and go with the last. Of the map, or as the guest knows it. */
static GHashTable *noted_luns(const Telling *t, GHashTable *noted)
{
    GHashTable *luns = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    GHashTableIter iter;
    gpointer key, how;

    g_hash_table_iter_init(&iter, noted);
    while (g_hash_table_iter_next(&iter, &key, &how)) {
        uint64_t id = *(const uint64_t *) key;
        const uint64_t *told = g_hash_table_lookup(t->guest->told, &id);
        const VvSnapshot *snapshot = vv_meta_snapshot(t->meta, id);
        uint64_t lun = snapshot ? snapshot->lun : told ? *told : id;
        bool content = lun == id && GPOINTER_TO_UINT(how) == 2;

        if (content || !g_hash_table_contains(luns, &lun))
            g_hash_table_replace(luns, g_memdup2(&lun, sizeof lun), GINT_TO_POINTER(content ? 2 : 1));
    }
    return luns;
}

static void tell_changes(Telling *t, GHashTable *noted, bool nodes)
{
    g_autoptr(GHashTable) luns = noted_luns(t, noted);
    GHashTableIter iter;
    gpointer key, how;

    begin(t, nodes ? VV_DESCRIBE_NODES : 0);
    if (nodes)
        tell_nodes(t);
    g_hash_table_iter_init(&iter, luns);
    while (g_hash_table_iter_next(&iter, &key, &how))
        look_at_lun(t, *(const uint64_t *) key, GPOINTER_TO_UINT(how) == 2);
    g_hash_table_iter_init(&iter, noted);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const VvSnapshot *snapshot = vv_meta_snapshot(t->meta, *(const uint64_t *) key);

        if (snapshot)
            look_at_snapshot(t, snapshot);
        else if (is_snapshot(t, *(const uint64_t *) key))
            tell_gone(t, *(const uint64_t *) key, false);
    }
}

/* ---- all of it */
static void tell_all_of(Telling *t, const VvLun *lun)
{
    VvShareMode mode = mode_of(t, lun->id);

    if (mode == VV_SHARE_NONE && !has_shared_snapshot(t, lun))
        return;
    tell_lun(t, lun, mode, true); /* what the guest's kernel has of it may be older */
    for (unsigned i = 0; i < lun->snapshots->len; i++) {
        const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, i);

        if (mode_of(t, snapshot->id) != VV_SHARE_NONE)
            tell_snapshot(t, snapshot);
    }
}

static void tell_everything(Telling *t)
{
    GPtrArray *luns = vv_meta_luns(t->meta);

    g_hash_table_remove_all(t->guest->told);
    t->done = g_ptr_array_new();
    begin(t, VV_DESCRIBE_FIRST);
    tell_nodes(t);
    for (unsigned i = 0; i < luns->len; i++)
        tell_all_of(t, g_ptr_array_index(luns, i));
    g_ptr_array_add(t->done, g_steal_pointer(&t->body));
    for (unsigned i = 0; i < t->done->len; i++)
        vv_description_set_flags(t->done->pdata[i],
            VV_DESCRIBE_NODES | (i == 0 ? VV_DESCRIBE_FIRST : 0) | (i + 1 == t->done->len ? VV_DESCRIBE_LAST : 0));
    for (unsigned i = 0; i < t->done->len; i++)
        g_queue_push_tail(t->guest->outbox, t->done->pdata[i]);
    g_ptr_array_unref(t->done);
}

static void tell_news(Telling *t, const VvgNews *news)
{
    if (news->noted) {
        tell_changes(t, news->noted, news->nodes);
        if (!t->full) {
            g_queue_push_tail(t->guest->outbox, t->body);
            return;
        }
        g_byte_array_unref(g_steal_pointer(&t->body));
        t->full = false;
    }
    tell_everything(t);
}

void vvg_tell(VvPool *pool, VvgGuest *guest, VvgTake take, void *user)
{
    VvMeta *meta = vv_pool_meta(pool);
    Telling t = { .meta = meta, .guest = guest };
    VvgNews news = { .noted = NULL };

    vv_meta_read_lock(meta);
    t.index = vv_meta_pool(meta)->applied_index;
    if (take(user, guest, &news))
        tell_news(&t, &news);
    vv_meta_read_unlock(meta);
    g_clear_pointer(&news.noted, g_hash_table_unref);
}
