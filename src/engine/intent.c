/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One list of all intents under one lock. A word of bits, one for some objects each, tells most requests without the lock that no intent
 * is of their object. */
#include "intent.h"

#include "done.h"
#include "engine.h"
#include "io_state.h"
#include "pending_file.h"

struct VvIntent {
    VvIntent *next;
    VvIntended what; /* as a predecessor left it, or as it was begun */
    uint64_t from, to; /* what is left of it */
    bool lost;         /* ... is not known */
    bool running;      /* this process does it; else it is a predecessor's */
    unsigned over;     /* requests under way on bytes of what; counted while it is not running */
    uint32_t slot;     /* VV_NO_SLOT: none */
    VvTask *task;      /* who asked again waits for over to be 0; with his worker */
    VvWorker *worker;
};

struct VvIntents {
    pthread_mutex_t lock; /* a leaf, but for the pending file's and done.c's */
    _Atomic uint64_t objects; /* changes under the lock */
    VvIntent *first, *unused;
};

VvIntents *vv_intents_new(void)
{
    VvIntents *intents = g_new0(VvIntents, 1);

    pthread_mutex_init(&intents->lock, NULL);
    return intents;
}

static void free_list(VvIntent *intent)
{
    while (intent) {
        VvIntent *next = intent->next;

        g_free(intent);
        intent = next;
    }
}

void vv_intents_free(VvIntents *intents)
{
    if (!intents)
        return;
    free_list(intents->first);
    free_list(intents->unused);
    pthread_mutex_destroy(&intents->lock);
    g_free(intents);
}

/* ---- the list; lock held */
static uint64_t bit_of(uint64_t object)
{
    return UINT64_C(1) << (object * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

static VvIntent *add(VvIntents *intents, const VvIntended *what)
{
    VvIntent *intent = intents->unused;

    if (intent)
        intents->unused = intent->next;
    else
        intent = g_new(VvIntent, 1);
    *intent = (VvIntent){ .next = intents->first, .what = *what, .from = what->offset, .to = what->end, .slot = VV_NO_SLOT };
    intents->first = intent;
    atomic_fetch_or(&intents->objects, bit_of(what->object));
    return intent;
}

static void drop(VvPool *pool, VvIntent *intent)
{
    VvIntents *intents = pool->intents;
    uint64_t objects = 0;

    for (VvIntent **link = &intents->first; *link;) {
        if (*link == intent) {
            *link = intent->next;
            continue;
        }
        objects |= bit_of((*link)->what.object);
        link = &(*link)->next;
    }
    atomic_store(&intents->objects, objects);
    if (intent->slot != VV_NO_SLOT) {
        vv_pending_file_clear(pool->pending_file, intent->slot);
        vv_pending_file_give(pool->pending_file, &intent->slot, 1);
    }
    intent->next = intents->unused;
    intents->unused = intent;
}

/* As in the pending memory. Its writer's death amid a change of it leaves none. */
static void keep(VvPool *pool, const VvIntent *intent)
{
    const VvIntended *what = &intent->what;
    VvSlotIntent content = { what->node, what->origin, what->number, what->object, intent->from, intent->to, intent->lost ? VV_SLOT_INTENT_LOST : 0 };

    if (intent->slot == VV_NO_SLOT)
        return;
    vv_pending_file_clear(pool->pending_file, intent->slot);
    vv_pending_file_put_intent(pool->pending_file, intent->slot, &content);
}

static bool meet(const VvIntent *intent, uint64_t object, uint64_t offset, uint64_t end)
{
    return intent->what.object == object && offset < intent->what.end && end > intent->what.offset;
}

/* [offset, end) was changed by another one. */
static void take_off(VvPool *pool, VvIntent *intent, uint64_t offset, uint64_t end)
{
    if (intent->lost || offset >= intent->to || end <= intent->from)
        return;
    if (offset <= intent->from)
        intent->from = MIN(end, intent->to);
    else if (end >= intent->to)
        intent->to = offset;
    else
        intent->lost = true; /* I2 */
    keep(pool, intent);
}

/* ---- requests of other nodes */
static VvIntent *find(const VvIntents *intents, const VvIntended *what)
{
    for (VvIntent *intent = intents->first; intent; intent = intent->next)
        if (intent->what.number == what->number && intent->what.origin == what->origin && intent->what.node == what->node)
            return intent;
    return NULL;
}

/* Of a predecessor, or (running) one that this process did not end. lock held. */
static VvIntentNow take_up(VvIntent *intent, VvIntended *intended, VvTask *task)
{
    if (!intent->running && intent->over > 0) {
        intent->task = task;
        intent->worker = vv_worker_current();
        return VV_INTENT_WAITS;
    }
    if (intent->lost)
        return VV_INTENT_LOST; /* and stays so: the answer may be lost too */
    intent->running = true;
    intended->offset = intent->from;
    intended->end = intent->to;
    return intent->from < intent->to ? VV_INTENT_GO : VV_INTENT_NONE;
}

VvIntentNow vv_intent_begin(VvPool *pool, VvIntended *intended, VvTask *task, VvIntent **ret_intent)
{
    VvIntents *intents = pool->intents;
    VV_LOCKED(&intents->lock);
    VvIntent *intent = find(intents, intended);
    VvIntentNow now = intent ? take_up(intent, intended, task) : VV_INTENT_GO;

    *ret_intent = now == VV_INTENT_GO || now == VV_INTENT_NONE ? intent : NULL;
    if (intent)
        return now;
    intent = add(intents, intended);
    intent->running = true;
    if (pool->pending_file && !vv_pending_file_take(pool->pending_file, &intent->slot, 1))
        intent->slot = VV_NO_SLOT;
    keep(pool, intent);
    *ret_intent = intent;
    return VV_INTENT_GO;
}

void vv_intent_end(VvPool *pool, VvIntent *intent)
{
    if (!intent)
        return;
    VV_LOCKED(&pool->intents->lock);
    drop(pool, intent);
}

void vv_intents_forget(VvPool *pool, uint64_t node)
{
    VV_LOCKED(&pool->intents->lock);
    VvIntent *next;

    for (VvIntent *intent = pool->intents->first; intent; intent = next) {
        next = intent->next;
        if (intent->what.node == node && !intent->running && intent->over == 0)
            drop(pool, intent);
    }
}

/* ---- everybody's changes */
void vv_intents_cover(VvPool *pool, uint64_t object, uint64_t offset)
{
    VV_LOCKED(&pool->intents->lock);

    for (VvIntent *intent = pool->intents->first; intent; intent = intent->next)
        if (intent->what.object == object)
            take_off(pool, intent, offset, UINT64_MAX);
}

static bool changes_bytes(const VvIoState *state)
{
    return state->io->kind == VV_IO_WRITE || state->io->kind == VV_IO_ZERO;
}

static bool may_meet(const VvIoState *state)
{
    return (atomic_load_explicit(&state->pool->intents->objects, memory_order_relaxed) & bit_of(state->view->id)) != 0;
}

void vv_intents_enter(VvIoState *state)
{
    VvIntents *intents = state->pool->intents;

    if (G_LIKELY(!may_meet(state)) || !changes_bytes(state))
        return;
    VV_LOCKED(&intents->lock);
    state->over_end = state->end;
    for (VvIntent *intent = intents->first; intent; intent = intent->next)
        intent->over += !intent->running && meet(intent, state->view->id, state->offset, state->over_end);
}

static void leave_one(VvIoState *state, VvIntent *intent, int64_t result)
{
    uint64_t end = state->io->kind == VV_IO_WRITE && result >= 0 ? state->offset + (uint64_t) result : state->end;

    if (result >= 0) {
        take_off(state->pool, intent, state->offset, end);
    } else if (result != VV_INTENT_GAVE_UP && !intent->lost) {
        intent->lost = true; /* I3 */
        keep(state->pool, intent);
    }
    if (intent->running || state->over_end == 0 || --intent->over > 0 || !intent->task)
        return;
    vv_worker_post(intent->worker, intent->task); /* I4 */
    intent->task = NULL;
}

void vv_intents_leave(VvIoState *state, int64_t result)
{
    VvIntents *intents = state->pool->intents;

    if (state->over_end == 0 && (G_LIKELY(!may_meet(state)) || !changes_bytes(state)))
        return;
    VV_LOCKED(&intents->lock);
    for (VvIntent *intent = intents->first; intent; intent = intent->next)
        if (intent != state->io->intent && meet(intent, state->view->id, state->offset, MAX(state->over_end, state->end)))
            leave_one(state, intent, result);
    state->over_end = 0;
}

/* ---- over a death */
void vv_intents_clear(VvPool *pool)
{
    VV_LOCKED(&pool->intents->lock);

    g_assert(!pool->intents->unused); /* nothing was begun yet */
    free_list(pool->intents->first);
    pool->intents->first = NULL;
    atomic_store(&pool->intents->objects, 0);
}

void vv_intents_load(VvPool *pool, uint32_t slot)
{
    const VvSlotIntent *left = vv_pending_file_intent(pool->pending_file, slot);
    VvIntended what = { left->node, left->origin, left->number, left->object, left->from, left->to };
    VV_LOCKED(&pool->intents->lock);
    VvIntent *intent = add(pool->intents, &what);

    intent->slot = slot;
    intent->lost = (left->flags & VV_SLOT_INTENT_LOST) != 0;
}

void vv_intents_loaded(VvPool *pool)
{
    VV_LOCKED(&pool->intents->lock);
    VvIntent *next;

    for (VvIntent *intent = pool->intents->first; intent; intent = next) {
        VvDone done = { .node = intent->what.node, .origin = intent->what.origin, .number = intent->what.number };

        next = intent->next;
        if (vv_done_look(pool, &done))
            drop(pool, intent);
    }
}
