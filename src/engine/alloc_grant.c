/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segments: how many and how large ones a family is granted, and what is taken back when its disks (all of the
 * pool, if none were chosen for it) are full.
 *
 *   family holds        its disks       a segment has
 *   up to 16 MiB        any             1 MiB
 *   more                10 % free       an eighth of what is held, as a power of two, at most 1 GiB; more if a second's
 *                                       need does not fit into VV_GRANTS_PER_ENTRY_MAX of them
 *   any                 less            1 MiB
 *
 * G1  Free space is chosen and the entry that takes it is applied under pool->grant_lock: nobody chooses it twice.
 * G2  Space that is given back is out of the allocator before it is punched, and punched before the entry that gives it
 *     back is logged: what the next owner writes is never punched.
 * G3  A disk that is not reached just now gets nothing while there is space on others. */
#include "alloc_private.h"

#include <errno.h>

#define POOL_LOW_PERCENT 10u

/* ---- granting */

static void free_segment_key(void *data)
{
    g_free(data);
}

/* What this entry takes already, as vv_space_find_run wants it. */
static GHashTable *taken_by(const VvGrants *grants)
{
    GHashTable *taken = g_hash_table_new_full(NULL, NULL, free_segment_key, NULL);
    for (unsigned i = 0; i < grants->count; i++) {
        VvSegment *segment = g_new0(VvSegment, 1);
        segment->shift = grants->shifts[i];
        segment->copy_count = 1;
        segment->copies[0] = grants->copies[i];
        g_hash_table_add(taken, segment);
    }
    return taken;
}

/* Those of @disks that are reached, if some are and some are not; else NULL. Read lock held. */
static VvDiskSet *reached_of(VvPool *pool, const VvDiskSet *disks)
{
    const GPtrArray *all = vv_meta_disks(pool->meta);
    uint64_t ids[VV_FAMILY_DISKS_MAX];
    unsigned count = 0;
    bool missing = false;
    for (unsigned i = 0; i < all->len && count < G_N_ELEMENTS(ids); i++) {
        const VvDiskInfo *disk = g_ptr_array_index(all, i);
        if (!vv_disk_set_has(disks, disk->id))
            continue;
        if (vv_pool_disk_state(pool, disk) == VV_STATE_MISSING)
            missing = true;
        else
            ids[count++] = disk->id;
    }
    return missing && count > 0 ? vv_disk_set_new(ids, count) : NULL;
}

static bool find_run(const VvPool *pool, const VvDiskSet *disks, const GHashTable *taken, uint8_t *shift, VvCopy *ret_copy)
{
    for (uint8_t at = *shift; at >= VV_SEGMENT_SHIFT_MIN; at--)
        if (vv_space_find_run(pool->meta, at, disks, taken, ret_copy)) {
            *shift = at;
            return true;
        }
    return false;
}

bool vv_grant_add(VvPool *pool, VvGrants *grants, VvOps *ops, uint64_t family, uint32_t number, uint8_t shift)
{
    bool found;
    if (!grants->locked)
        pthread_mutex_lock(&pool->grant_lock); /* G1 */
    grants->locked = true;
    if (grants->count == VV_GRANTS_PER_ENTRY_MAX)
        return false;
    g_autoptr(GHashTable) taken = taken_by(grants);
    VvCopy copy;
    vv_meta_read_lock(pool->meta);
    g_autofree VvDiskSet *reached = reached_of(pool, grants->disks); /* G3 */
    found = (reached && find_run(pool, reached, taken, &shift, &copy)) || find_run(pool, grants->disks, taken, &shift, &copy);
    vv_meta_read_unlock(pool->meta);
    if (!found)
        return false;
    VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = family;
    op->segment_grant.number = number;
    op->segment_grant.kind = VV_SEGMENT_DATA;
    op->segment_grant.shift = shift;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0] = copy;
    grants->copies[grants->count] = copy;
    grants->shifts[grants->count++] = shift;
    return true;
}

void vv_grants_end(VvPool *pool, VvGrants *grants)
{
    if (grants->locked)
        pthread_mutex_unlock(&pool->grant_lock);
    *grants = (VvGrants){ .count = 0 };
}

/* Of the disks that the family may use. */
static bool space_is_low(const VvMeta *meta, const VvDiskSet *chosen)
{
    uint64_t units = 0, free_units = 0;
    GPtrArray *disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *disk = g_ptr_array_index(disks, i);
        if (!vv_disk_set_has(chosen, disk->id))
            continue;
        units += disk->unit_count;
        free_units += disk->free_unit_count;
    }
    return free_units * 100 < units * POOL_LOW_PERCENT;
}

static uint8_t choose_shift(uint64_t held_blocks, uint64_t need_blocks, bool low)
{
    uint8_t shift = VV_SEGMENT_SHIFT_MIN;
    if (low)
        return shift;
    while (shift < VV_SEGMENT_SHIFT_MAX &&
           ((uint64_t) 2 << shift <= (held_blocks << VV_BLOCK_SHIFT) / 8 ||
               ((uint64_t) VV_GRANTS_PER_ENTRY_MAX << shift) < need_blocks << VV_BLOCK_SHIFT))
        shift++;
    return shift;
}

/* Numbers that the family's next segments can have, those of returned ones first. Read lock held. */
static unsigned free_numbers(const VvFamily *family, uint32_t *ret_numbers, unsigned count)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < family->segments->len && i < family->next_segment && found < count; i++)
        if (g_ptr_array_index(family->segments, i) == NULL)
            ret_numbers[found++] = i;
    for (uint32_t i = family->next_segment; i < VV_SEGMENTS_PER_FAMILY && found < count; i++)
        ret_numbers[found++] = i;
    return found;
}

bool vv_grant_more(VvAlloc *alloc, uint64_t family_id, uint64_t need)
{
    VvPool *pool = alloc->pool;
    VvGrants grants = { .count = 0 };
    uint32_t numbers[VV_GRANTS_PER_ENTRY_MAX];
    unsigned number_count = 0, i = 0;
    uint64_t held = 0, got = 0;
    bool low = false;
    g_autofree VvDiskSet *disks = NULL; /* the family's own goes with it */
    {
        VV_LOCKED(&alloc->lock);
        const VvAllocFamily *family = vv_alloc_family(alloc, family_id);
        held = family ? family->blocks : 0;
    }
    VvOps *ops = vv_ops_new();
    pthread_mutex_lock(&pool->grant_lock);
    grants.locked = true;
    vv_meta_read_lock(pool->meta);
    const VvFamily *stored = vv_meta_family(pool->meta, family_id);
    if (stored) {
        number_count = free_numbers(stored, numbers, G_N_ELEMENTS(numbers));
        grants.disks = disks = vv_disk_set_copy(stored->disks);
        low = space_is_low(pool->meta, disks);
    }
    vv_meta_read_unlock(pool->meta);
    uint8_t shift = choose_shift(held, need, low);
    while (i < number_count && got < need && vv_grant_add(pool, &grants, ops, family_id, numbers[i], shift))
        got += (uint64_t) 1 << (grants.shifts[i++] - VV_BLOCK_SHIFT);
    bool granted = false;
    if (i > 0)
        granted = vv_commit_ops(pool->committer, NULL, 0, ops) == 0;
    else
        vv_ops_free(ops);
    vv_grants_end(pool, &grants);
    return granted;
}

/* ---- taking out, putting back */

/* Is the family writing so fast that it would ask for the segment again at once? lock held. */
static bool is_needed(const VvAllocFamily *family, uint32_t blocks)
{
    uint64_t ahead = vv_alloc_ahead(family, vv_monotonic_ms());
    return ahead > VV_REGION_BLOCKS && family->available < ahead + blocks;
}

/* The blocks of the segment from @new_blocks on, if all are available, are taken. @ret_blocks: what it has. */
static bool take_out_blocks(
    VvAlloc *alloc, uint64_t family_id, uint32_t number, uint32_t new_blocks, bool anyway, uint32_t *ret_blocks)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    VvAllocSegment *segment = vv_alloc_segment(family, number);
    if (segment == NULL || segment->limit != segment->blocks || new_blocks >= segment->blocks)
        return false;
    if (!vv_alloc_are_available(segment, new_blocks, segment->blocks - new_blocks))
        return false;
    if (!anyway && is_needed(family, segment->blocks - new_blocks))
        return false;
    vv_alloc_set(family, segment, new_blocks, segment->blocks - new_blocks, false);
    atomic_fetch_add(&alloc->returning_blocks, segment->blocks - new_blocks);
    segment->limit = new_blocks;
    *ret_blocks = segment->blocks;
    return true;
}

static bool take_out(VvAlloc *alloc, uint64_t family, uint32_t number, uint8_t shift, bool anyway)
{
    uint32_t new_blocks = shift == 0 ? 0 : 1u << (shift - VV_BLOCK_SHIFT), blocks;
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    if (!vv_alloc_load_family(alloc, family) || !vv_alloc_load_segment(alloc, family, number) ||
        !take_out_blocks(alloc, family, number, new_blocks, anyway, &blocks))
        return false;
    int copies = vv_resolve(alloc->pool, family, number, new_blocks, blocks - new_blocks, VV_FOR_DISCARD, runs);
    for (int i = 0; i < copies; i++)
        (void) vv_disk_discard(runs[i].disk, runs[i].offset_bytes, runs[i].length_bytes); /* G2 */
    return true;
}

bool vv_alloc_take_out(VvAlloc *alloc, uint64_t family, uint32_t number, uint8_t shift)
{
    vv_meta_read_lock(alloc->pool->meta);
    const VvFamily *stored = vv_meta_family(alloc->pool->meta, family);
    bool ended = stored && stored->branches->len == 0;
    vv_meta_read_unlock(alloc->pool->meta);
    return take_out(alloc, family, number, shift, ended);
}

void vv_alloc_put_back(VvAlloc *alloc, uint64_t family_id, uint32_t number)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    VvAllocSegment *segment = vv_alloc_segment(family, number);
    if (segment == NULL || segment->limit == segment->blocks)
        return;
    uint32_t first = segment->limit;
    segment->limit = segment->blocks;
    atomic_fetch_sub(&alloc->returning_blocks, segment->blocks - first);
    vv_alloc_set(family, segment, first, segment->blocks - first, true);
    alloc->events++;
    vv_alloc_signal(alloc);
}

/* ---- squeezing: the disks are full, somebody keeps what is empty on them */

typedef struct {
    uint64_t family;
    uint32_t number;
    uint8_t shift;
    bool empty;
} Candidate;

static int compare_candidates(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    if (x->empty != y->empty)
        return x->empty ? -1 : 1; /* whole ones first */
    return (int) y->shift - (int) x->shift;
}

static GArray *find_candidates(VvPool *pool, uint64_t for_family)
{
    GArray *candidates = g_array_new(FALSE, FALSE, sizeof(Candidate));
    vv_meta_read_lock(pool->meta);
    const VvFamily *wanting = vv_meta_family(pool->meta, for_family);
    const VvDiskSet *disks = wanting ? wanting->disks : NULL;
    GPtrArray *families = vv_meta_families(pool->meta);
    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);
        for (unsigned k = 0; k < family->segments->len && family->id != for_family; k++) {
            const VvSegment *segment = g_ptr_array_index(family->segments, k);
            if (segment == NULL || !vv_segment_half_empty(segment) || !vv_segment_touches(segment, disks))
                continue;
            Candidate candidate = { family->id, segment->number, segment->shift, segment->used_blocks == 0 };
            if (candidate.empty || candidate.shift > VV_SEGMENT_SHIFT_MIN)
                g_array_append_val(candidates, candidate);
        }
    }
    vv_meta_read_unlock(pool->meta);
    g_array_sort(candidates, compare_candidates);
    return candidates;
}

/* As much of it as is empty at its end. */
static bool squeeze(VvAlloc *alloc, const Candidate *candidate)
{
    VvPool *pool = alloc->pool;
    uint8_t shift = candidate->empty ? 0 : VV_SEGMENT_SHIFT_MIN;
    bool taken = false;
    while (!taken && shift < candidate->shift) {
        taken = take_out(alloc, candidate->family, candidate->number, shift, true);
        if (!taken)
            shift = shift == 0 ? VV_SEGMENT_SHIFT_MIN : (uint8_t) (shift + 1);
    }
    if (!taken)
        return false;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_SHRINK);
    op->segment_shrink.family = candidate->family;
    op->segment_shrink.number = candidate->number;
    op->segment_shrink.shift = shift;
    if (vv_commit_ops(pool->committer, NULL, 0, ops) == 0)
        return true;
    vv_alloc_put_back(alloc, candidate->family, candidate->number);
    return false;
}

/* What squeezing the segment would bring now: the blocks behind the least size that it can be cut to. lock held. */
static uint32_t returnable_of_known(const VvAllocSegment *known, bool empty)
{
    if (known->limit != known->blocks)
        return known->blocks - known->limit; /* it is on its way */
    uint32_t blocks = empty ? 0 : 1u << (VV_SEGMENT_SHIFT_MIN - VV_BLOCK_SHIFT);
    for (; blocks < known->blocks; blocks = MAX(2 * blocks, 1u << (VV_SEGMENT_SHIFT_MIN - VV_BLOCK_SHIFT)))
        if (vv_alloc_are_available(known, blocks, known->blocks - blocks))
            return known->blocks - blocks;
    return 0;
}

/* Read lock held. Of a segment with pieces that nobody has read yet, only the applied count is known: it is as good if the
 * segment is empty and nothing cools. */
static uint64_t returnable_of(VvAlloc *alloc, const VvFamily *family, bool nothing_cools)
{
    uint64_t blocks = 0;
    VV_LOCKED(&alloc->lock);
    const VvAllocFamily *loaded = vv_alloc_family(alloc, family->id);
    for (unsigned i = 0; i < family->segments->len; i++) {
        const VvSegment *segment = g_ptr_array_index(family->segments, i);
        if (segment == NULL || segment->used_blocks > vv_segment_blocks(segment) / 2)
            continue;
        bool empty = segment->used_blocks == 0;
        const VvAllocSegment *known = vv_alloc_segment(loaded, segment->number);
        if (known == NULL || (known->unknown_pieces > 0 && known->available + known->unknown_free == known->blocks))
            blocks += empty && nothing_cools ? vv_segment_blocks(segment) : 0;
        else
            blocks += returnable_of_known(known, empty);
    }
    return blocks;
}

void vv_pool_space(VvPool *pool, VvSpaceSummary *ret_space)
{
    uint64_t bytes = 0;
    vv_meta_space(pool->meta, ret_space);
    bool nothing_cools = vv_alloc_cooling_bytes(pool->alloc) == 0;
    vv_meta_read_lock(pool->meta);
    GPtrArray *families = vv_meta_families(pool->meta);
    for (unsigned i = 0; i < families->len; i++)
        bytes += returnable_of(pool->alloc, g_ptr_array_index(families, i), nothing_cools) << VV_BLOCK_SHIFT;
    vv_meta_read_unlock(pool->meta);
    bytes = MIN(bytes, ret_space->held_bytes);
    ret_space->held_bytes -= bytes;
    ret_space->free_bytes += bytes;
}

bool vv_grant_squeeze(VvAlloc *alloc, uint64_t for_family)
{
    g_autoptr(GArray) candidates = find_candidates(alloc->pool, for_family);
    for (unsigned i = 0; i < candidates->len; i++)
        if (squeeze(alloc, &g_array_index(candidates, Candidate, i)))
            return true;
    return false;
}
