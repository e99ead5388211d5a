/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims on objects that are not open: see claims.h. */
#include "holds.h"
#include "transaction.h"

#include <errno.h>

typedef struct {
    unsigned count[VV_N_CLAIMS];
} Claimed;

/* As who looks is told. */
static VvHoldKind hold_of(VvClaim claim)
{
    return claim == VV_CLAIM_ALL || claim == VV_CLAIM_OPENS ? VV_HOLD_OPENS : VV_HOLD_WRITERS;
}

void vv_claims_init(VvClaims *claims)
{
    pthread_mutex_init(&claims->lock, NULL);
    pthread_cond_init(&claims->changed, NULL);
    claims->by_id = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
}

void vv_claims_clear(VvClaims *claims)
{
    g_assert(g_hash_table_size(claims->by_id) == 0);
    g_hash_table_unref(claims->by_id);
    pthread_cond_destroy(&claims->changed);
    pthread_mutex_destroy(&claims->lock);
}

bool vv_claim(VvPool *pool, uint64_t object_id, VvClaim claim)
{
    Claimed *claimed;

    VV_LOCKED(&pool->claims.lock);
    if (claim != VV_CLAIM_OPENS && vv_pool_is_open(pool, object_id, claim != VV_CLAIM_ALL, claim == VV_CLAIM_ALL))
        return false;
    claimed = g_hash_table_lookup(pool->claims.by_id, &object_id);
    if (!claimed) {
        claimed = g_new0(Claimed, 1);
        g_hash_table_insert(pool->claims.by_id, g_memdup2(&object_id, sizeof object_id), claimed);
    }
    claimed->count[claim]++;
    vv_hold_begin(pool, object_id, hold_of(claim));
    return true;
}

void vv_claim_end(VvPool *pool, uint64_t object_id, VvClaim claim)
{
    Claimed *claimed;
    unsigned left = 0;

    VV_LOCKED(&pool->claims.lock);
    claimed = g_hash_table_lookup(pool->claims.by_id, &object_id);
    g_assert(claimed && claimed->count[claim] > 0);
    claimed->count[claim]--;
    vv_hold_end(pool, object_id, hold_of(claim));
    for (unsigned i = 0; i < VV_N_CLAIMS; i++)
        left += claimed->count[i];
    if (left == 0)
        g_hash_table_remove(pool->claims.by_id, &object_id);
    pthread_cond_broadcast(&pool->claims.changed);
}

/* Is it to wait? Else *ret_result is how it passes. */
static bool is_kept_out(VvPool *pool, uint64_t object_id, const VvOpen *open, int *ret_result)
{
    const Claimed *claimed = g_hash_table_lookup(pool->claims.by_id, &object_id);
    bool writer = open->write && !open->internal;

    *ret_result = claimed && writer && claimed->count[VV_CLAIM_LONG] > 0 ? -EBUSY : 0;
    return claimed && (claimed->count[VV_CLAIM_ALL] > 0 || (writer && claimed->count[VV_CLAIM_WRITERS] > 0) ||
                          (!open->internal && claimed->count[VV_CLAIM_OPENS] > 0));
}

int vv_claims_pass_locked(VvPool *pool, uint64_t object_id, const VvOpen *open)
{
    int result;

    if (!is_kept_out(pool, object_id, open, &result))
        return result;
    vv_hold_begin_for(pool, object_id, VV_HOLD_OPENING, open->node);
    while (is_kept_out(pool, object_id, open, &result))
        pthread_cond_wait(&pool->claims.changed, &pool->claims.lock);
    vv_hold_end(pool, object_id, VV_HOLD_OPENING);
    return result;
}
