/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims on objects that are not open: see claims.h. */
#include "transaction.h"

#include <errno.h>

typedef struct {
    unsigned count[VV_N_CLAIMS];
} Claimed;

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
    for (unsigned i = 0; i < VV_N_CLAIMS; i++)
        left += claimed->count[i];
    if (left == 0)
        g_hash_table_remove(pool->claims.by_id, &object_id);
    pthread_cond_broadcast(&pool->claims.changed);
}

int vv_claims_pass_locked(VvPool *pool, uint64_t object_id, const VvOpen *open)
{
    const Claimed *claimed;
    bool writer = open->write && !open->internal;

    while ((claimed = g_hash_table_lookup(pool->claims.by_id, &object_id))) {
        if (claimed->count[VV_CLAIM_ALL] == 0 && !(writer && claimed->count[VV_CLAIM_WRITERS] > 0) &&
            !(!open->internal && claimed->count[VV_CLAIM_OPENS] > 0))
            return writer && claimed->count[VV_CLAIM_LONG] > 0 ? -EBUSY : 0;
        pthread_cond_wait(&pool->claims.changed, &pool->claims.lock);
    }
    return 0;
}
