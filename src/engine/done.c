/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For each node a ring of what was done; each of its places has, if there is pending memory, a slot there. */
#include "done.h"

#include "engine.h"
#include "pending_file.h"

typedef struct {
    uint64_t origin, number, value, order;
    uint32_t slot; /* VV_NO_SLOT: none */
} Place;

typedef struct {
    uint64_t node;
    uint64_t order; /* of the newest */
    unsigned count; /* places in use; then the oldest is used again */
    Place places[VV_DONE_KEPT];
} Ring;

struct VvDones {
    pthread_mutex_t lock;
    GHashTable *rings; /* Ring by its node, owned; lock */
};

VvDones *vv_dones_new(void)
{
    VvDones *dones = g_new0(VvDones, 1);

    pthread_mutex_init(&dones->lock, NULL);
    dones->rings = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    return dones;
}

void vv_dones_free(VvDones *dones)
{
    if (!dones)
        return;
    g_hash_table_unref(dones->rings);
    pthread_mutex_destroy(&dones->lock);
    g_free(dones);
}

static Ring *ring_get_locked(VvDones *dones, uint64_t node)
{
    Ring *ring = g_hash_table_lookup(dones->rings, &node);

    if (!ring) {
        ring = g_new0(Ring, 1);
        ring->node = node;
        g_hash_table_insert(dones->rings, &ring->node, ring);
    }
    return ring;
}

static Place *oldest(Ring *ring)
{
    Place *place = &ring->places[0];

    for (unsigned i = 1; i < ring->count; i++)
        if (ring->places[i].order < place->order)
            place = &ring->places[i];
    return place;
}

bool vv_done_look(VvPool *pool, VvDone *done)
{
    VvDones *dones = pool->dones;
    VV_LOCKED(&dones->lock);
    const Ring *ring = g_hash_table_lookup(dones->rings, &done->node);

    for (unsigned i = 0; ring && i < ring->count; i++) {
        const Place *place = &ring->places[i];

        if (place->number != done->number || place->origin != done->origin)
            continue;
        done->value = place->value;
        return true;
    }
    return false;
}

/* As in the pending memory: whole there, or (its writer died amid it) not at all. */
static void keep(VvPool *pool, const Ring *ring, Place *place)
{
    if (!pool->pending_file)
        return;
    if (place->slot == VV_NO_SLOT) {
        if (!vv_pending_file_take(pool->pending_file, &place->slot, 1))
            place->slot = VV_NO_SLOT;
    } else {
        vv_pending_file_clear(pool->pending_file, place->slot);
    }
    if (place->slot != VV_NO_SLOT)
        vv_pending_file_put_done(pool->pending_file, place->slot,
            &(VvSlotDone){ .node = ring->node, .origin = place->origin, .number = place->number, .value = place->value, .order = place->order });
}

void vv_done_note(VvPool *pool, const VvDone *done)
{
    VvDones *dones = pool->dones;
    VV_LOCKED(&dones->lock);
    Ring *ring = ring_get_locked(dones, done->node);
    bool fresh = ring->count < VV_DONE_KEPT;
    Place *place = fresh ? &ring->places[ring->count++] : oldest(ring);

    *place = (Place){ done->origin, done->number, done->value, ++ring->order, fresh ? VV_NO_SLOT : place->slot };
    keep(pool, ring, place);
}

void vv_dones_load(VvPool *pool, uint32_t slot)
{
    const VvSlotDone *done = vv_pending_file_done(pool->pending_file, slot);
    VV_LOCKED(&pool->dones->lock);
    Ring *ring = ring_get_locked(pool->dones, done->node);

    if (ring->count == VV_DONE_KEPT) /* no process of ours writes so many */
        return;
    ring->order = MAX(ring->order, done->order);
    ring->places[ring->count++] = (Place){ done->origin, done->number, done->value, done->order, slot };
}

void vv_dones_clear(VvPool *pool)
{
    VV_LOCKED(&pool->dones->lock);

    g_hash_table_remove_all(pool->dones->rings);
}
