/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Eras: when is nobody left who may still use a place that was freed (I4)?
 *
 * The current era's number rises; each request is counted in the era in which it entered. What is freed now is tagged with
 * the current era, and is out of use when that era is over (a later one is current) and all eras up to it are empty.
 *
 * E1  A request counted in era e entered while e was current. Entering counts first and looks at the current number
 *     afterwards; advancing changes the number first and looks at the counts afterwards; both are sequentially
 *     consistent, so one of them sees the other.
 * E2  Eras current - VV_ERAS + 1 to current have a slot each. The number is raised only when the slot that comes into use
 *     again is empty.
 * E3  Once an era is over and empty it stays empty, save for enterers that count in it, see that it is over, and leave
 *     again without having looked at anything. They can make an answer late, never wrong. */
#include "engine.h"

#include <stdlib.h>

typedef struct {
    _Alignas(64) _Atomic uint32_t inside;
} EraSlot;

struct VvEras {
    _Atomic uint64_t current; /* starts at VV_ERAS, so that every slot has had an era */
    _Atomic uint64_t passed;  /* eras up to this one are over and empty, as last seen */
    EraSlot slots[VV_ERAS];
};

VvEras *vv_eras_new(void)
{
    VvEras *eras = aligned_alloc(_Alignof(VvEras), sizeof *eras);
    g_assert(eras != NULL);
    memset(eras, 0, sizeof *eras);
    atomic_init(&eras->current, VV_ERAS);
    return eras;
}

void vv_eras_free(VvEras *eras)
{
    if (eras == NULL)
        return;
    for (unsigned i = 0; i < VV_ERAS; i++)
        g_assert(atomic_load(&eras->slots[i].inside) == 0);
    free(eras);
}

uint32_t vv_era_enter(VvPool *pool)
{
    VvEras *eras = pool->eras;
    for (;;) {
        uint64_t era = atomic_load(&eras->current);
        uint32_t slot = (uint32_t) (era % VV_ERAS);
        atomic_fetch_add(&eras->slots[slot].inside, 1);
        if (atomic_load(&eras->current) == era)
            return slot; /* E1 */
        atomic_fetch_sub(&eras->slots[slot].inside, 1);
    }
}

void vv_era_leave(VvPool *pool, uint32_t slot)
{
    uint32_t inside = atomic_fetch_sub(&pool->eras->slots[slot].inside, 1);
    g_assert(inside > 0);
}

uint64_t vv_era_tag(VvPool *pool)
{
    return atomic_load(&pool->eras->current);
}

/* Make a later era current, if E2 allows. */
static void advance(VvEras *eras, uint64_t era)
{
    if (atomic_load(&eras->slots[(era + 1) % VV_ERAS].inside) == 0)
        atomic_compare_exchange_strong(&eras->current, &era, era + 1);
}

bool vv_era_passed(VvPool *pool, uint64_t tag)
{
    VvEras *eras = pool->eras;
    if (tag <= atomic_load(&eras->passed))
        return true;
    uint64_t current = atomic_load(&eras->current);
    if (current <= tag) {
        advance(eras, current);
        current = atomic_load(&eras->current);
        if (current <= tag)
            return false;
    }
    for (uint64_t era = current - VV_ERAS + 1; era <= tag; era++)
        if (atomic_load(&eras->slots[era % VV_ERAS].inside) != 0)
            return false;
    /* Raised only: another thread may have seen more. */
    uint64_t passed = atomic_load(&eras->passed);
    while (passed < tag && !atomic_compare_exchange_weak(&eras->passed, &passed, tag))
        ;
    return true;
}
