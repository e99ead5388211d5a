/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allocator's thread: finds space for whom the bitmaps have none.
 *
 * For a family that runs low it grants segments ahead. For requests that are parked it tries, in this order, what may
 * bring space, and wakes them as soon as it did:
 *
 *   1. read pieces that are not known yet    4. cool what has been freed
 *   2. grant a segment                       5. take empty segments and halves from other families
 *   3. journal what is pending, once per wait: it may free blocks
 *
 * Q1  -ENOSPC is final only when all of these have brought nothing, nothing cools, no segment is on its way back to the
 *     pool, and no job that can go on may free blocks: each of them on disks that the family may use (alloc_reach.c). Then
 *     requests of LUNs with on-full=error are told; the others stay, and it is tried again and again until their time is over.
 * Q2  The verdict holds for those who come later until something happens that may bring space, or a second has passed. */
#include "alloc_private.h"
#include "io_state.h"

#include <errno.h>

#define POLL_MS 20u       /* while something may come by itself */
#define POLL_SLOW_MS 250u /* while nothing is in sight */
#define VERDICT_MS 1000u
#define GRANT_RETRY_MS 1000u

void vv_alloc_signal(VvAlloc *alloc)
{
    alloc->work = true;
    pthread_cond_signal(&alloc->changed);
}

void vv_alloc_want(VvAlloc *alloc, uint64_t family, uint32_t blocks)
{
    VV_LOCKED(&alloc->lock);
    VvAllocWant *want = g_hash_table_lookup(alloc->wanted, &family);
    if (want == NULL) {
        want = g_new0(VvAllocWant, 1);
        want->family = family;
        want->blocks = blocks;
        want->since_ms = vv_monotonic_ms();
        g_hash_table_insert(alloc->wanted, &want->family, want);
    }
    want->blocks = MIN(want->blocks, blocks);
    want->after_ms = 0;
    vv_alloc_signal(alloc);
}

void vv_alloc_want_later(VvAlloc *alloc, uint64_t family)
{
    VV_LOCKED(&alloc->lock);
    VvAllocWant *want = g_hash_table_lookup(alloc->wanted, &family);
    if (want == NULL) {
        want = g_new0(VvAllocWant, 1);
        want->family = family;
        want->blocks = 1;
        want->since_ms = vv_monotonic_ms();
        g_hash_table_insert(alloc->wanted, &want->family, want);
    }
    want->after_ms = vv_monotonic_ms() + POLL_SLOW_MS;
    vv_alloc_signal(alloc);
}

void vv_alloc_space_changed(VvAlloc *alloc)
{
    VV_LOCKED(&alloc->lock);
    alloc->events++;
    GHashTableIter iter;
    void *family;
    g_hash_table_iter_init(&iter, alloc->families);
    while (g_hash_table_iter_next(&iter, NULL, &family))
        ((VvAllocFamily *) family)->grant_after_ms = 0;
    vv_alloc_signal(alloc);
}

/* ---- granting ahead */

/* A family that asked: its id and need. */
static bool next_asked(VvAlloc *alloc, uint64_t *ret_family, uint64_t *ret_need)
{
    uint64_t now_ms = vv_monotonic_ms();
    VV_LOCKED(&alloc->lock);
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, alloc->families);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvAllocFamily *family = value;
        if (!family->grant_asked)
            continue;
        family->grant_asked = false;
        family->grant_after_ms = now_ms + GRANT_RETRY_MS; /* until it has succeeded */
        *ret_family = family->id;
        *ret_need = vv_alloc_ahead(family, now_ms);
        return true;
    }
    return false;
}

static void grant_ahead(VvAlloc *alloc)
{
    uint64_t family_id, need;
    while (next_asked(alloc, &family_id, &need)) {
        if (!vv_grant_more(alloc, family_id, need))
            continue;
        VV_LOCKED(&alloc->lock);
        VvAllocFamily *family = vv_alloc_family(alloc, family_id);
        if (family)
            family->grant_after_ms = 0;
    }
}

/* ---- parked requests */

static bool is_satisfied(VvAlloc *alloc, const VvAllocWant *want)
{
    VV_LOCKED(&alloc->lock);
    const VvAllocFamily *family = vv_alloc_family(alloc, want->family);
    return family && family->available >= want->blocks;
}

typedef enum { SPACE_FOUND, SPACE_MAY_COME, SPACE_NONE } Outlook;

static Outlook find_space(VvAlloc *alloc, const VvAllocWant *want)
{
    VvPool *pool = alloc->pool;
    if (!vv_alloc_load_family(alloc, want->family))
        return SPACE_NONE; /* the LUN is gone: its requests will learn that */
    vv_alloc_load_pieces(alloc, want->family, want->blocks);
    while (!is_satisfied(alloc, want) && vv_grant_more(alloc, want->family, want->blocks))
        ;
    if (is_satisfied(alloc, want))
        return SPACE_FOUND;
    g_auto(VvReach) reach = { 0 };
    vv_reach_init(&reach, pool, want->family);
    /* In the order in which space travels: what has left one place unseen is at a later one, and at last in the pool (Q1). */
    bool comes = vv_jobs_may_free(pool, &reach);
    comes |= vv_flush_background(pool, want->since_ms, reach.families) > 0;
    comes |= vv_cooling_reaches(alloc, &reach);
    vv_alloc_cool(alloc);
    while (!is_satisfied(alloc, want) && vv_grant_squeeze(alloc, want->family))
        (void) vv_grant_more(alloc, want->family, want->blocks);
    comes |= atomic_load(&alloc->returning_blocks) > 0;
    if (!is_satisfied(alloc, want))
        (void) vv_grant_more(alloc, want->family, want->blocks);
    if (is_satisfied(alloc, want))
        return SPACE_FOUND;
    return comes ? SPACE_MAY_COME : SPACE_NONE;
}

/* Before its requests are woken: who fails again asks anew, and must not be forgotten. */
static void drop_want(VvAlloc *alloc, uint64_t family)
{
    VV_LOCKED(&alloc->lock);
    g_hash_table_remove(alloc->wanted, &family);
}

static void keep_verdict(VvAlloc *alloc, uint64_t family_id, uint64_t event)
{
    VV_LOCKED(&alloc->lock);
    VvAllocFamily *family = vv_alloc_family(alloc, family_id);
    if (family == NULL)
        return;
    family->hopeless_event = event; /* Q2 */
    family->hopeless_until_ms = vv_monotonic_ms() + VERDICT_MS;
}

/* Some rather wait: look again for them, in a while. */
static void keep_want(VvAlloc *alloc, const VvAllocWant *old)
{
    VV_LOCKED(&alloc->lock);
    if (g_hash_table_contains(alloc->wanted, &old->family))
        return;
    VvAllocWant *want = g_memdup2(old, sizeof *old);
    want->since_ms = vv_monotonic_ms();
    want->after_ms = want->since_ms + POLL_SLOW_MS;
    g_hash_table_insert(alloc->wanted, &want->family, want);
}

static void tell_final(VvAlloc *alloc, const VvAllocWant *want, uint64_t event)
{
    keep_verdict(alloc, want->family, event);
    drop_want(alloc, want->family);
    if (vv_park_wake_space(alloc->pool, want->family, true) > 0)
        keep_want(alloc, want);
}

/* Returns when to look again, 0: when asked. */
static unsigned serve(VvAlloc *alloc, const VvAllocWant *want)
{
    uint64_t event = atomic_load(&alloc->events);
    Outlook outlook = SPACE_NONE; /* cramped: there may be places, but no room for them in the map */
    if (atomic_load(&alloc->pool->failed))
        outlook = SPACE_FOUND;
    else if (!vv_meta_is_cramped(alloc->pool->meta))
        outlook = find_space(alloc, want);
    switch (outlook) {
    case SPACE_FOUND:
        drop_want(alloc, want->family);
        (void) vv_park_wake_space(alloc->pool, want->family, false);
        return 0;
    case SPACE_MAY_COME:
        return POLL_MS;
    case SPACE_NONE:
    default:
        tell_final(alloc, want, event);
        return POLL_SLOW_MS;
    }
}

static unsigned serve_wants(VvAlloc *alloc)
{
    g_autoptr(GArray) wants = g_array_new(FALSE, FALSE, sizeof(VvAllocWant));
    unsigned timeout_ms = 0;
    uint64_t now_ms = vv_monotonic_ms();
    {
        VV_LOCKED(&alloc->lock);
        GHashTableIter iter;
        void *value;
        g_hash_table_iter_init(&iter, alloc->wanted);
        while (g_hash_table_iter_next(&iter, NULL, &value))
            g_array_append_vals(wants, value, 1);
    }
    for (unsigned i = 0; i < wants->len; i++) {
        const VvAllocWant *want = &g_array_index(wants, VvAllocWant, i);
        unsigned ms = want->after_ms > now_ms ? POLL_SLOW_MS : serve(alloc, want);
        if (ms > 0)
            timeout_ms = timeout_ms == 0 ? ms : MIN(timeout_ms, ms);
    }
    return timeout_ms;
}

static void load_asked(VvAlloc *alloc)
{
    g_autoptr(GHashTable) asked = NULL;
    {
        VV_LOCKED(&alloc->lock);
        asked = alloc->to_load;
        alloc->to_load = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    }
    GHashTableIter iter;
    void *id;
    g_hash_table_iter_init(&iter, asked);
    while (g_hash_table_iter_next(&iter, &id, NULL))
        (void) vv_alloc_load_family(alloc, *(const uint64_t *) id);
}

/* ---- the thread */

static void wait_ms_locked(VvAlloc *alloc, unsigned timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_nsec += (long) timeout_ms * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    (void) pthread_cond_timedwait(&alloc->changed, &alloc->lock, &deadline);
}

static void *space_main(void *user)
{
    VvAlloc *alloc = user;
    unsigned timeout_ms = 0;
    pthread_setname_np(pthread_self(), "space");
    pthread_mutex_lock(&alloc->lock);
    while (!alloc->stopping) {
        if (!alloc->work && timeout_ms > 0)
            wait_ms_locked(alloc, timeout_ms);
        else if (!alloc->work)
            pthread_cond_wait(&alloc->changed, &alloc->lock);
        alloc->work = false;
        if (alloc->stopping)
            break;
        pthread_mutex_unlock(&alloc->lock);
        load_asked(alloc);
        grant_ahead(alloc);
        timeout_ms = serve_wants(alloc);
        pthread_mutex_lock(&alloc->lock);
    }
    pthread_mutex_unlock(&alloc->lock);
    return NULL;
}

void vv_alloc_start(VvAlloc *alloc)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&alloc->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    alloc->to_load = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    alloc->wanted = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    int rc = pthread_create(&alloc->thread, NULL, space_main, alloc);
    g_assert(rc == 0);
}

void vv_alloc_stop(VvAlloc *alloc)
{
    {
        VV_LOCKED(&alloc->lock);
        if (alloc->stopping)
            return;
        alloc->stopping = true;
        pthread_cond_signal(&alloc->changed);
    }
    pthread_join(alloc->thread, NULL);
    g_hash_table_unref(alloc->to_load);
    g_hash_table_unref(alloc->wanted);
    pthread_cond_destroy(&alloc->changed);
}
