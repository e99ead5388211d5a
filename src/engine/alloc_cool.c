/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cooling: freed blocks become available when everything that may still look at them has ended (I4), and long runs give
 * their space back to the disk before.
 *
 * O1  A run's era is noted after the change that freed it is visible to everybody who enters later. Tags ascend along the
 *     list, so what has passed is at its front.
 * O2  A run is punched after it cooled and before it is available: no read or write that is under way meets the hole, and
 *     nothing new is lost in it. While it is punched it is in the second list, so that reading a piece does not take its
 *     blocks for available. */
#include "alloc_private.h"
#include "slab.h"

#define PUNCH_BLOCKS_MIN 64u /* 256 KiB: shorter holes cost a file system more than they give */

static void push(VvCoolingList *list, VvCooling *run)
{
    run->next = NULL;
    *(list->last ? &list->last->next : &list->first) = run;
    list->last = run;
}

static VvCooling *pop(VvCoolingList *list)
{
    VvCooling *run = list->first;
    list->first = run->next;
    if (list->first == NULL)
        list->last = NULL;
    return run;
}

static void remove_run(VvCoolingList *list, VvCooling *run)
{
    VvCooling *previous = NULL;
    for (VvCooling *at = list->first; at != run; at = at->next)
        previous = at;
    *(previous ? &previous->next : &list->first) = run->next;
    if (list->last == run)
        list->last = previous;
}

void vv_cooling_clear(VvAlloc *alloc)
{
    g_assert(alloc->punching.first == NULL);
    while (alloc->cooling.first)
        vv_slab_put(pop(&alloc->cooling));
}

static void note_change(VvAlloc *alloc, uint64_t family, uint32_t segment)
{
    VvAllocSegment *known = vv_alloc_segment(vv_alloc_family(alloc, family), segment);
    if (known)
        known->changes++;
    alloc->events++;
}

void vv_cooling_add(VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count)
{
    uint64_t tag = vv_era_tag(alloc->pool); /* O1 */
    VvCooling *last = alloc->cooling.last;
    atomic_fetch_add(&alloc->cooling_blocks, count);
    note_change(alloc, family, segment);
    if (last && last->tag == tag && last->family == family && last->segment == segment &&
        last->first + last->count == first) {
        last->count += count;
        return;
    }
    VvCooling *run = vv_slab_get(sizeof *run);
    *run = (VvCooling){ .tag = tag, .family = family, .segment = segment, .first = first, .count = count };
    push(&alloc->cooling, run);
}

static void mask_list(
    const VvCoolingList *list, uint64_t family, uint32_t segment, uint32_t first, uint32_t count, uint64_t *bits)
{
    for (const VvCooling *run = list->first; run; run = run->next) {
        if (run->family != family || run->segment != segment)
            continue;
        uint32_t end = MIN(run->first + run->count, first + count);
        for (uint32_t block = MAX(run->first, first); block < end; block++)
            bits[(block - first) / 64] &= ~((uint64_t) 1 << (block - first) % 64);
    }
}

void vv_cooling_mask(
    const VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count, uint64_t *bits)
{
    mask_list(&alloc->cooling, family, segment, first, count, bits);
    mask_list(&alloc->punching, family, segment, first, count, bits);
}

bool vv_cooling_touches(const VvAlloc *alloc, uint64_t family, uint32_t segment)
{
    for (const VvCooling *run = alloc->cooling.first; run; run = run->next)
        if (run->family == family && run->segment == segment)
            return true;
    for (const VvCooling *run = alloc->punching.first; run; run = run->next)
        if (run->family == family && run->segment == segment)
            return true;
    return false;
}

static bool list_reaches(const VvCoolingList *list, const VvReach *reach)
{
    for (const VvCooling *run = list->first; run; run = run->next)
        if (vv_reach_has_segment(reach, run->family, run->segment))
            return true;
    return false;
}

bool vv_cooling_reaches(VvAlloc *alloc, const VvReach *reach)
{
    if (atomic_load(&alloc->cooling_blocks) == 0)
        return false;
    VV_LOCKED(&alloc->lock);
    return list_reaches(&alloc->cooling, reach) || list_reaches(&alloc->punching, reach);
}

/* Known pieces get their bits; the others will read them from the applied bitmap. lock held. */
static void make_available(VvAlloc *alloc, const VvCooling *run)
{
    VvAllocFamily *family = vv_alloc_family(alloc, run->family);
    VvAllocSegment *segment = vv_alloc_segment(family, run->segment);
    uint32_t first = run->first, end = run->first + run->count;
    note_change(alloc, run->family, run->segment);
    atomic_fetch_sub(&alloc->cooling_blocks, run->count);
    while (segment && first < end) {
        uint32_t number = first / VV_PIECE_BLOCKS;
        uint32_t count = MIN(end, (number + 1) * VV_PIECE_BLOCKS) - first;
        if (segment->pieces[number].known) {
            vv_alloc_set(family, segment, first, count, true);
        } else {
            segment->unknown_free += count;
            family->unknown_free += count;
        }
        first += count;
    }
    vv_alloc_signal(alloc);
}

static void punch(VvPool *pool, const VvCooling *run)
{
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    int copies = vv_resolve(pool, run->family, run->segment, run->first, run->count, VV_FOR_DISCARD, runs);
    for (int i = 0; i < copies; i++)
        (void) vv_disk_discard(
            runs[i].disk, runs[i].offset_bytes, runs[i].length_bytes); /* space not given back loses nothing */
}

void vv_alloc_cool(VvAlloc *alloc)
{
    VvPool *pool = alloc->pool;
    pthread_mutex_lock(&alloc->lock);
    while (alloc->cooling.first && vv_era_passed(pool, alloc->cooling.first->tag)) {
        VvCooling *run = pop(&alloc->cooling);
        if (run->count >= PUNCH_BLOCKS_MIN) {
            push(&alloc->punching, run); /* O2 */
            pthread_mutex_unlock(&alloc->lock);
            punch(pool, run);
            pthread_mutex_lock(&alloc->lock);
            remove_run(&alloc->punching, run);
        }
        make_available(alloc, run);
        vv_slab_put(run);
    }
    pthread_mutex_unlock(&alloc->lock);
}

uint64_t vv_alloc_cooling_bytes(VvAlloc *alloc)
{
    return atomic_load(&alloc->cooling_blocks) << VV_BLOCK_SHIFT;
}
