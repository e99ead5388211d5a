/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reach: whose space could become a family's. One that may use every disk is reached by all that is freed anywhere. One that
 * may use some disks only waits for what lies on these: what goes on elsewhere must neither keep its requests from being told
 * that there is no space, nor be squeezed for it.
 *
 *   what happens          reaches the family if
 *   a job, a flush        of a family that has segments on its disks
 *   blocks cool           in a segment of its own, or one on its disks that is half empty: it can be given back */
#include "alloc_private.h"

typedef struct {
    uint64_t family;
    uint64_t number;
} SegmentKey;

static guint key_hash(const void *data)
{
    const SegmentKey *key = data;
    return (guint) (key->family * 31 + key->number);
}

static gboolean key_equal(const void *a, const void *b)
{
    const SegmentKey *x = a, *y = b;
    return x->family == y->family && x->number == y->number;
}

/* Read lock held. */
static void add_family(VvReach *reach, const VvFamily *family, const VvDiskSet *disks)
{
    bool some = family->id == reach->family;
    for (unsigned i = 0; i < family->segments->len; i++) {
        const VvSegment *segment = g_ptr_array_index(family->segments, i);
        SegmentKey key = { family->id, i };
        if (segment == NULL || !vv_segment_touches(segment, disks))
            continue;
        some = true;
        if (family->id == reach->family || vv_segment_half_empty(segment))
            g_hash_table_add(reach->segments, g_memdup2(&key, sizeof key));
    }
    if (some)
        g_hash_table_add(reach->families, g_memdup2(&family->id, sizeof family->id));
}

void vv_reach_init(VvReach *reach, VvPool *pool, uint64_t family_id)
{
    *reach = (VvReach){ .family = family_id };
    vv_meta_read_lock(pool->meta);
    const VvFamily *family = vv_meta_family(pool->meta, family_id);
    if (family && family->disks) {
        GPtrArray *families = vv_meta_families(pool->meta);
        reach->families = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        reach->segments = g_hash_table_new_full(key_hash, key_equal, g_free, NULL);
        for (unsigned i = 0; i < families->len; i++)
            add_family(reach, g_ptr_array_index(families, i), family->disks);
    }
    vv_meta_read_unlock(pool->meta);
}

void vv_reach_clear(VvReach *reach)
{
    g_clear_pointer(&reach->families, g_hash_table_unref);
    g_clear_pointer(&reach->segments, g_hash_table_unref);
}

bool vv_reach_has_family(const VvReach *reach, uint64_t family)
{
    return reach->families == NULL || g_hash_table_contains(reach->families, &family);
}

bool vv_reach_has_segment(const VvReach *reach, uint64_t family, uint32_t number)
{
    SegmentKey key = { family, number };
    return reach->segments == NULL || g_hash_table_contains(reach->segments, &key);
}
