/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views: what look-ups go through. Made when somebody needs one, kept by references, by handles and by what is pending.
 *
 * V1  pool->views holds at most one view of an object; a view leaves it when its last reference goes, under views_lock.
 * V2  A view with records, a dirty mtime or writes that no ticket covers keeps itself (pending_since_ms), so that closing a
 *     file loses nothing, and a flush through the next handle covers what the last one wrote.
 * V3  What was found in a view under a closed and drained gate may be changed: branch, size, tag. Everything else that a
 *     request remembers it remembers while it is counted in flight. */
#include "elsewhere_view.h"
#include "holds.h"
#include "pending_slots.h"
#include "pool_private.h"

#include "slab.h"

#include <errno.h>

/* ---- from the catalog; read lock and view->lock (or nobody else knows the view) */

static void load_lun(VvView *view, const VvLun *lun)
{
    const VvBranch *branch = vv_meta_branch(view->pool->meta, lun->branch);
    g_assert(branch != NULL);
    if (view->branch != lun->branch || view->family != branch->family)
        view->alloc_hint = 0;
    /* Whether an adopted map goes on behind the end is not in the catalog: who extends the LUN first has it looked at. */
    if (view->branch != lun->branch && lun->elastic && lun->used_blocks > 0)
        view->tail_behind = true;
    if (!view->is_lun) /* nobody knows it yet */
        view->applied_sequence = view->logged_sequence = lun->sequence;
    view->next_sequence = MAX(view->next_sequence, lun->sequence + 1);
    view->is_lun = true;
    view->branch = lun->branch;
    view->epoch = UINT64_MAX;
    view->family = branch->family;
    view->last_live = vv_branch_last_live(branch);
    if (view->pool->elsewhere) {
        vv_view_load_locked(view, lun);
    } else {
        if (!(lun->elastic && view->size_sequence > view->applied_sequence && lun->size_bytes < view->size_bytes))
            view->size_bytes = lun->size_bytes;
        if (!view->mtime_dirty)
            view->mtime_ns = lun->mtime_ns;
    }
    view->elastic = lun->elastic;
    view->redirect_always = lun->props.redirect_always || lun->props.integrity;
    view->integrity = lun->props.integrity;
    view->on_full = lun->props.on_full;
    view->timeout_s = lun->props.timeout_s;
}

static void load_snapshot(VvView *view, const VvSnapshot *snapshot)
{
    const VvBranch *branch = vv_meta_branch(view->pool->meta, snapshot->branch);
    g_assert(branch != NULL);
    view->branch = snapshot->branch;
    view->epoch = snapshot->epoch;
    view->family = branch->family;
    view->size_bytes = snapshot->size_bytes;
    view->mtime_ns = snapshot->mtime_ns;
    view->timeout_s = VV_LUN_TIMEOUT_SECONDS;
}

static bool load(VvView *view)
{
    const VvMeta *meta = view->pool->meta;
    const VvLun *lun = vv_meta_lun(meta, view->id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(meta, view->id);
    if (lun)
        load_lun(view, lun);
    else if (snapshot && (!snapshot->hidden || snapshot->orphan))
        load_snapshot(view, snapshot);
    else
        return false;
    return true;
}

/* ---- life */

static VvView *new_view(VvPool *pool, uint64_t id)
{
    VvView *view = g_new0(VvView, 1);
    view->pool = pool;
    view->id = id;
    view->refs = 1;
    pthread_condattr_t attributes;
    vv_mutex_init_short(&view->lock);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&view->drained, &attributes);
    pthread_condattr_destroy(&attributes);
    g_queue_init(&view->handles);
    vv_pending_init(&view->pending);
    view->next_sequence = 1;
    view->commit_limit = UINT64_MAX;
    view->disk_marks = g_array_new(FALSE, TRUE, sizeof(VvDiskMark));
    return view;
}

static void free_view(VvView *view)
{
    g_assert(view->handles.length == 0 && view->records.count == 0 && view->parked.first == NULL && view->slots == NULL);
    g_assert(view->writes_in_flight == 0 && view->reads_in_flight == 0);
    g_assert(!view->pool->elsewhere || (view->disk_marks->len == 0 && view->pending_since_ms == 0)); /* E1 */
    vv_pending_clear(&view->pending);
    vv_records_clear(&view->records);
    g_array_unref(view->disk_marks);
    pthread_cond_destroy(&view->drained);
    pthread_mutex_destroy(&view->lock);
    g_free(view);
}

VvView *vv_view_peek(VvPool *pool, uint64_t object_id)
{
    VV_LOCKED(&pool->views_lock);
    VvView *view = g_hash_table_lookup(pool->views, &object_id);
    if (view)
        g_atomic_int_inc(&view->refs);
    return view;
}

int vv_view_get(VvPool *pool, uint64_t object_id, VvView **ret_view)
{
    if (pool->without_disks && !pool->elsewhere)
        return -EREMOTE;
    VvView *view = vv_view_peek(pool, object_id);
    if (view == NULL) {
        VvView *made = new_view(pool, object_id);
        vv_meta_read_lock(pool->meta);
        {
            VV_LOCKED(&pool->views_lock);
            view = g_hash_table_lookup(pool->views, &object_id);
            if (view) {
                g_atomic_int_inc(&view->refs);
            } else if (load(made)) {
                if (made->is_lun && !pool->elsewhere)
                    vv_view_inherit_marks(made);
                view = g_steal_pointer(&made);
                g_hash_table_insert(pool->views, &view->id, view);
            }
        }
        vv_meta_read_unlock(pool->meta);
        if (made)
            free_view(made);
    }
    if (view == NULL)
        return -ENOENT;
    *ret_view = view;
    return 0;
}

void vv_view_unref(VvView *view)
{
    VvPool *pool = view->pool;
    gint refs = g_atomic_int_get(&view->refs);
    while (refs > 1)
        if (g_atomic_int_compare_and_exchange(&view->refs, refs, refs - 1))
            return;
        else
            refs = g_atomic_int_get(&view->refs);
    {
        VV_LOCKED(&pool->views_lock); /* V1 */
        if (!g_atomic_int_dec_and_test(&view->refs))
            return;
        g_hash_table_remove(pool->views, &view->id);
        if (view->is_lun)
            vv_lun_stats_keep(pool, view->id, view->stats);
    }
    free_view(view);
}

VvViewList *vv_views_all(VvPool *pool)
{
    VV_LOCKED(&pool->views_lock);
    unsigned count = g_hash_table_size(pool->views);
    VvViewList *views = vv_slab_get(sizeof *views + count * sizeof views->at[0]);
    GHashTableIter iter;
    void *view;
    views->len = 0;
    g_hash_table_iter_init(&iter, pool->views);
    while (g_hash_table_iter_next(&iter, NULL, &view)) {
        views->at[views->len] = view;
        g_atomic_int_inc(&views->at[views->len++]->refs);
    }
    return views;
}

void vv_view_list_free(VvViewList *views)
{
    for (unsigned i = 0; i < views->len; i++)
        vv_view_unref(views->at[i]);
    vv_slab_put(views);
}

/* ---- pending keeps it */

void vv_view_has_pending(VvView *view)
{
    if (view->pending_since_ms != 0)
        return;
    g_assert(!view->pool->elsewhere); /* E1 */
    view->pending_since_ms = vv_monotonic_ms();
    g_atomic_int_inc(&view->refs); /* V2 */
    vv_ticker_kick(view->pool->ticker);
}

bool vv_view_is_synced(const VvView *view)
{
    for (unsigned i = 0; i < view->disk_marks->len; i++) {
        const VvDiskMark *mark = &g_array_index(view->disk_marks, VvDiskMark, i);
        if (mark->written > mark->synced)
            return false;
    }
    return true;
}

bool vv_view_settle_pending(VvView *view)
{
    if (view->pending_since_ms == 0)
        return false;
    if (view->records.count > 0 || view->mtime_dirty || !vv_view_is_synced(view)) {
        view->pending_since_ms = vv_monotonic_ms();
        return false;
    }
    view->pending_since_ms = 0;
    vv_slots_end(view);
    return true;
}

void vv_view_retire(VvView *view, VvRetired *ret_retired)
{
    VvIoList woken = { NULL, NULL };
    uint64_t bytes = 0;
    bool drop;
    {
        VV_LOCKED(&view->lock);
        view->gone = true;
        *ret_retired = (VvRetired){ .lun = view->id,
            .family = view->family,
            .records = view->records,
            .logged_sequence = view->logged_sequence,
            .slots = g_steal_pointer(&view->slots) };
        while (view->parked.first)
            vv_unpark(view->parked.first, -ESTALE, &woken);
        view->records = (VvRecordRing){ .count = 0 };
        for (size_t i = 0; i < ret_retired->records.count; i++)
            bytes += vv_record_bytes(vv_records_get(&ret_retired->records, i));
        vv_pending_uncount(view, bytes, view->pending_memory);
        vv_pending_clear(&view->pending);
        vv_pending_init(&view->pending);
        view->applied_sequence = view->logged_sequence = view->next_sequence - 1;
        view->mtime_dirty = false;
        g_array_set_size(view->disk_marks, 0);
        drop = vv_view_settle_pending(view);
    }
    vv_wake(&woken);
    vv_pending_wake(view->pool);
    if (drop)
        vv_view_unref(view);
}

VvDiskMark *vv_view_mark(VvView *view, unsigned slot)
{
    for (unsigned i = 0; i < view->disk_marks->len; i++)
        if (g_array_index(view->disk_marks, VvDiskMark, i).slot == slot)
            return &g_array_index(view->disk_marks, VvDiskMark, i);
    VvDiskMark mark = { .slot = slot };
    g_array_append_val(view->disk_marks, mark);
    return &g_array_index(view->disk_marks, VvDiskMark, view->disk_marks->len - 1);
}

/* ---- looking */

uint64_t vv_view_id(const VvView *view)
{
    return view->id;
}

bool vv_view_is_lun(const VvView *view)
{
    return view->is_lun;
}

uint64_t vv_view_size(const VvView *view)
{
    VV_LOCKED((pthread_mutex_t *) &view->lock);
    return view->size_bytes;
}

/* What the catalog says; false: there is no such object. Read lock held. */
static bool stat_catalog(const VvMeta *meta, uint64_t id, VvViewStat *ret_stat)
{
    const VvLun *lun = vv_meta_lun(meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(meta, id);
    if (lun)
        *ret_stat = (VvViewStat){ .size_bytes = lun->size_bytes,
            .mtime_ns = lun->mtime_ns,
            .used_bytes = lun->used_blocks << VV_BLOCK_SHIFT,
            .elastic = lun->elastic };
    else if (snapshot)
        *ret_stat = (VvViewStat){ .size_bytes = snapshot->size_bytes,
            .mtime_ns = snapshot->mtime_ns,
            .used_bytes = snapshot->used_blocks << VV_BLOCK_SHIFT };
    return lun || snapshot;
}

void vv_view_stat(VvView *view, VvViewStat *ret_stat)
{
    VvViewStat stat = { 0 };
    vv_meta_read_lock(view->pool->meta);
    (void) stat_catalog(view->pool->meta, view->id, &stat);
    {
        VV_LOCKED(&view->lock);
        int64_t used_blocks = (int64_t) (stat.used_bytes >> VV_BLOCK_SHIFT) + view->pending.used_delta;
        stat.used_bytes = (uint64_t) MAX(used_blocks, 0) << VV_BLOCK_SHIFT;
        if (view->learnt > 0 && view->learnt >= vv_meta_pool(view->pool->meta)->applied_index)
            stat.used_bytes = view->learnt_used_bytes;
        stat.size_bytes = view->size_bytes;
        stat.mtime_ns = view->mtime_ns;
        stat.elastic = view->elastic;
    }
    vv_meta_read_unlock(view->pool->meta);
    *ret_stat = stat;
}

int vv_pool_stat(VvPool *pool, uint64_t object_id, VvViewStat *ret_stat)
{
    VvView *view = vv_view_peek(pool, object_id);
    if (view) {
        vv_view_stat(view, ret_stat);
        vv_view_unref(view);
        return 0;
    }
    vv_meta_read_lock(pool->meta);
    bool found = stat_catalog(pool->meta, object_id, ret_stat);
    vv_meta_read_unlock(pool->meta);
    return found ? 0 : -ENOENT;
}

/* ---- gates */

bool vv_gate_close(VvView *view, bool reads_too, unsigned timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    g_assert(!view->pool->elsewhere); /* E1 */
    vv_hold_begin(view->pool, view->id, reads_too ? VV_HOLD_REQUESTS : VV_HOLD_WRITES);
    VV_LOCKED(&view->lock);
    view->write_gates++;
    view->read_gates += reads_too;
    while (view->writes_in_flight > 0 || (reads_too && view->reads_in_flight > 0))
        if (pthread_cond_timedwait(&view->drained, &view->lock, &deadline) == ETIMEDOUT)
            return view->writes_in_flight == 0 && !(reads_too && view->reads_in_flight > 0);
    return true;
}

void vv_gate_open(VvView *view, bool reads_too)
{
    VvIoList woken = { NULL, NULL };
    vv_hold_end(view->pool, view->id, reads_too ? VV_HOLD_REQUESTS : VV_HOLD_WRITES);
    {
        VV_LOCKED(&view->lock);
        g_assert(view->write_gates > 0 && (!reads_too || view->read_gates > 0));
        view->write_gates--;
        view->read_gates -= reads_too;
        vv_unpark_all(view, VV_PARK_GATE, false, &woken); /* whose gate is closed still parks again */
    }
    vv_wake(&woken);
}

void vv_view_switch(VvView *view, uint64_t epoch)
{
    VV_LOCKED(&view->lock);
    g_assert(view->write_gates > 0 && view->writes_in_flight == 0 && view->switched_epoch == 0);
    view->tag++;
    view->switched_epoch = epoch;
    view->commit_limit = view->next_sequence - 1;
    view->limit_size_bytes = view->size_bytes;
    view->limit_mtime_ns = view->mtime_ns;
}

void vv_view_switched(VvView *view)
{
    VvMeta *meta = view->pool->meta;
    vv_meta_read_lock(meta);
    const VvLun *lun = vv_meta_lun(meta, view->id);
    const VvBranch *branch = lun ? vv_meta_branch(meta, lun->branch) : NULL;
    {
        VV_LOCKED(&view->lock);
        view->switched_epoch = 0;
        if (branch)
            view->last_live = vv_branch_last_live(branch);
        view->commit_limit = UINT64_MAX;
    }
    vv_meta_read_unlock(meta);
    vv_commit_kick(view->pool->committer);
}

void vv_view_reload(VvView *view)
{
    VvIoList woken = { NULL, NULL };
    vv_meta_read_lock(view->pool->meta);
    {
        VV_LOCKED(&view->lock);
        uint64_t family = view->family;
        (void) load(view);
        if (view->family != family) /* who waits for space asked for it in the other one */
            vv_unpark_all(view, VV_PARK_SPACE, false, &woken);
    }
    vv_meta_read_unlock(view->pool->meta);
    vv_wake(&woken);
}
