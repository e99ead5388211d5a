/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims: what keeps an object that was found not open from being opened, so that opening need not wait for transactions on other
 * objects.
 *
 * A transaction that acts on "nobody has it open" claims the object: the look and the claim are one critical section, and so are
 * an open's look for claims and the handle that it makes. An open that meets a claim waits for its end, or is refused. */
#ifndef VV_CLAIMS_H
#define VV_CLAIMS_H

#include "io.h"

#include <glib.h>
#include <pthread.h>

typedef enum {
    VV_CLAIM_ALL,     /* against every open. Held for one entry, and the flush of a LUN that is finished: opens wait */
    VV_CLAIM_WRITERS, /* against opens for writing, save the daemon's own. Held while gates drain, and for one entry: opens wait */
    VV_CLAIM_OPENS,   /* against new opens, whoever has it open: a change of who may. Held for one entry: opens wait, save the daemon's own */
    VV_CLAIM_LONG,    /* against the same, for work that may wait for space: opens get -EBUSY */
    VV_N_CLAIMS,
} VvClaim;

typedef struct {
    pthread_mutex_t lock; /* between config_lock and meta's: see engine.h. Never held across I/O or a wait for anything else */
    pthread_cond_t changed;
    GHashTable *by_id; /* object id -> counts of claims, by kind */
    unsigned paused;   /* transactions that go on without the configuration lock: see vv_transaction_pause */
} VvClaims;

void vv_claims_init(VvClaims *claims);
void vv_claims_clear(VvClaims *claims);
/* True: nobody has @object_id open in the way that @claim is against (OPENS: who has it open does not matter), nor will anybody until vv_claim_end. Not under meta's read
 * lock, which an open takes with the claims' lock held. */
bool vv_claim(VvPool *pool, uint64_t object_id, VvClaim claim);
void vv_claim_end(VvPool *pool, uint64_t object_id, VvClaim claim);
/* For vv_handle_open, with the lock held: waits while there is such a claim. 0; -EBUSY. */
int vv_claims_pass_locked(VvPool *pool, uint64_t object_id, const VvOpen *open);

#endif
