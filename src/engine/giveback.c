/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Empty segments back to the pool: all of a family that has ended, those of a family that keeps much more than it uses.
 *
 * A segment is taken out of the allocator first (and only if nothing of it is used, reserved or cooling), then the entry is
 * logged; if that fails it is put back. */
#include "pool_private.h"
#include "transaction.h"

#define SHRINKS_PER_ENTRY 256u
#define KEPT_BYTES_MIN (UINT64_C(16) << 20) /* what a living family may keep unused, */
#define KEPT_SHARE 4u                       /* or this part of what it uses, if that is more */

typedef struct {
    uint64_t family;
    uint32_t number;
} Empty;

/* How many blocks of empty segments the family should lose. Read lock held. */
static uint64_t surplus_of(const VvFamily *family, bool all)
{
    uint64_t kept = MAX(KEPT_BYTES_MIN >> VV_BLOCK_SHIFT, family->used_blocks / KEPT_SHARE);

    if (all || family->branches->len == 0)
        return family->held_blocks;
    return family->held_blocks > kept ? family->held_blocks - kept : 0;
}

static void find_empty_of(const VvFamily *family, bool all, GArray *empty)
{
    uint64_t surplus = surplus_of(family, all);

    for (unsigned i = family->segments->len; i-- > 0 && surplus > 0 && empty->len < SHRINKS_PER_ENTRY;) {
        const VvSegment *segment = g_ptr_array_index(family->segments, i);
        Empty one = { family->id, i };

        if (!segment || segment->used_blocks > 0 || vv_segment_blocks(segment) > surplus)
            continue;
        surplus -= vv_segment_blocks(segment);
        g_array_append_val(empty, one);
    }
}

static GArray *find_empty(VvPool *pool, bool all)
{
    GArray *empty = g_array_new(FALSE, FALSE, sizeof(Empty));
    VV_META_READ(pool->meta);
    GPtrArray *families = vv_meta_families(pool->meta);

    for (unsigned i = 0; i < families->len && empty->len < SHRINKS_PER_ENTRY; i++)
        find_empty_of(g_ptr_array_index(families, i), all, empty);
    return empty;
}

static bool give_back(VvPool *pool, bool all)
{
    g_autoptr(GArray) empty = find_empty(pool, all);
    g_autoptr(GArray) taken = g_array_new(FALSE, FALSE, sizeof(Empty));
    VvOps *ops = vv_ops_new();

    for (unsigned i = 0; i < empty->len; i++) {
        const Empty *one = &g_array_index(empty, Empty, i);
        VvOp *op;

        if (!vv_alloc_take_out(pool->alloc, one->family, one->number, 0))
            continue;
        g_array_append_vals(taken, one, 1);
        op = vv_ops_add(ops, VV_OP_SEGMENT_SHRINK);
        op->segment_shrink.family = one->family;
        op->segment_shrink.number = one->number;
        op->segment_shrink.shift = 0;
    }
    if (taken->len == 0) {
        vv_ops_free(ops);
        return false;
    }
    if (vv_commit_ops(pool->committer, NULL, 0, ops) == 0)
        return true;
    for (unsigned i = 0; i < taken->len; i++)
        vv_alloc_put_back(pool->alloc, g_array_index(taken, Empty, i).family, g_array_index(taken, Empty, i).number);
    return false;
}

bool vv_give_back(VvPool *pool)
{
    return give_back(pool, false);
}

bool vv_give_back_all(VvPool *pool)
{
    return give_back(pool, true);
}
