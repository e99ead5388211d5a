/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table "member" in memory: one sorted list, as there are some dozens of records. */
#include "member_table.h"
#include "meta_private.h"

#include <string.h>

VvMemberRecord *vvm_member_new(uint8_t kind, uint64_t id, const uint8_t *body, uint32_t body_bytes)
{
    VvMemberRecord *member = g_malloc0(sizeof *member + body_bytes);
    member->kind = kind;
    member->id = id;
    member->body_bytes = body_bytes;
    memcpy(member->body, body, body_bytes);
    return member;
}

/* The first record at or after the key. */
static guint find(const VvMeta *meta, uint8_t kind, uint64_t id)
{
    guint low = 0, high = meta->members->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        const VvMemberRecord *member = g_ptr_array_index(meta->members, middle);
        if (member->kind < kind || (member->kind == kind && member->id < id))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const GPtrArray *vv_meta_members(const VvMeta *meta) { return meta->members; }

const VvMemberRecord *vv_meta_member(const VvMeta *meta, uint8_t kind, uint64_t id)
{
    guint at = find(meta, kind, id);
    const VvMemberRecord *member = at < meta->members->len ? g_ptr_array_index(meta->members, at) : NULL;
    return member != NULL && member->kind == kind && member->id == id ? member : NULL;
}

void vvm_member_set(VvMeta *meta, uint8_t kind, uint64_t id, const uint8_t *body, uint32_t body_bytes)
{
    guint at = find(meta, kind, id);
    if (vv_meta_member(meta, kind, id) != NULL)
        g_ptr_array_remove_index(meta->members, at);
    if (body_bytes > 0)
        g_ptr_array_insert(meta->members, (gint) at, vvm_member_new(kind, id, body, body_bytes));
    meta->pool.member_count = meta->members->len;
    vvm_dirty(meta, VV_TABLE_MEMBER, id, kind);
    vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
}
