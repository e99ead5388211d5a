/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flushes: tickets of the disks that the view wrote, then the committer if it has records (I3).
 *
 * F1  What a flush covers is fixed when it starts, under the view's lock: the last sequence, and per disk the writes
 *     completed. A write that is acknowledged later is not covered.
 * F2  A disk counts as synced up to what a ticket asked for after these writes covered. A ticket that fails raises
 *     nothing: the next flush asks again, and the disk answers with the error that it remembers.
 * F3  Records are handed to the committer only after the tickets of all disks succeeded (I2): those up to the sequence
 *     noted at the start, whose data was complete then. */
#include "pending_slots.h"
#include "slab.h"

#include <errno.h>

#define TICKETS_EMBEDDED 4u

typedef struct Flush Flush;
typedef struct {
    Flush *flush;
    unsigned slot;
    uint64_t written;
    VvDisk *disk;
} FlushTicket;

struct Flush {
    VvView *view; /* borrowed: the caller keeps it */
    uint64_t sequence;
    bool commit;
    _Atomic unsigned outstanding;
    _Atomic int result;
    VvFlushDone done;
    void *user;
    unsigned ticket_count;
    FlushTicket *tickets; /* embedded, or owned */
    FlushTicket embedded[TICKETS_EMBEDDED];
};

static void finish(Flush *flush, int result)
{
    VvFlushDone done = flush->done;
    void *user = flush->user;
    if (flush->tickets != flush->embedded)
        vv_slab_put(flush->tickets);
    vv_slab_put(flush);
    done(user, result);
}

static void committed_cb(void *user, int result)
{
    finish(user, result);
}

static void tickets_over(Flush *flush)
{
    int result = atomic_load(&flush->result);
    if (result < 0 || !flush->commit)
        finish(flush, result);
    else
        vv_commit_view(flush->view->pool->committer, flush->view, flush->sequence, committed_cb, flush);
}

static void ticket_over(Flush *flush)
{
    if (atomic_fetch_sub(&flush->outstanding, 1) == 1)
        tickets_over(flush);
}

static void ticket_done_cb(void *user, int result)
{
    FlushTicket *ticket = user;
    Flush *flush = ticket->flush;
    if (result == 0) {
        VV_LOCKED(&flush->view->lock);
        VvDiskMark *mark = vv_view_mark(flush->view, ticket->slot);
        mark->synced = MAX(mark->synced, ticket->written); /* F2 */
        vv_pending_disk_synced(flush->view->pool, ticket->slot);
    } else {
        int none = 0;
        atomic_compare_exchange_strong(&flush->result, &none, result);
    }
    ticket_over(flush);
}

/* F1. view->lock held. */
static void note_tickets_locked(Flush *flush)
{
    GArray *marks = flush->view->disk_marks;
    flush->tickets = flush->embedded;
    if (marks->len > TICKETS_EMBEDDED)
        flush->tickets = vv_slab_get(marks->len * sizeof *flush->tickets);
    for (unsigned i = 0; i < marks->len; i++) {
        const VvDiskMark *mark = &g_array_index(marks, VvDiskMark, i);
        if (mark->written > mark->synced)
            flush->tickets[flush->ticket_count++] =
                (FlushTicket){ .flush = flush, .slot = mark->slot, .written = mark->written };
    }
}

static void find_disks(Flush *flush)
{
    VvPool *pool = flush->view->pool;
    VV_LOCKED(&pool->disks_lock);
    for (unsigned i = 0; i < flush->ticket_count; i++)
        flush->tickets[i].disk = g_ptr_array_index(pool->disks, flush->tickets[i].slot);
}

/* Is there nothing at all to do? view->lock held. */
static bool is_clean_locked(const VvView *view, bool commit)
{
    return vv_view_is_synced(view) && !(commit && view->applied_sequence + 1 < view->next_sequence);
}

void vv_flush_start(VvView *view, bool commit, VvFlushDone done, void *user)
{
    Flush *flush = NULL;
    {
        VV_LOCKED(&view->lock);
        if (!is_clean_locked(view, commit)) {
            flush = vv_slab_get0(sizeof *flush);
            flush->view = view;
            flush->done = done;
            flush->user = user;
            flush->sequence = view->next_sequence - 1;
            flush->commit = commit && view->applied_sequence < flush->sequence;
            note_tickets_locked(flush);
        }
    }
    if (flush == NULL) {
        done(user, 0);
        return;
    }
    VvPool *pool = view->pool;
    uint32_t era = vv_era_enter(pool); /* a disk that leaves is not closed before it was asked */
    find_disks(flush);
    atomic_store(&flush->outstanding, flush->ticket_count + 1);
    /* The last ticket may end the flush at any time after it was asked for; ours ends it if there is none. */
    unsigned count = flush->ticket_count;
    for (unsigned i = 0; i < count; i++) {
        FlushTicket *ticket = &flush->tickets[i];
        if (ticket->disk)
            vv_disk_sync_async(ticket->disk, ticket_done_cb, ticket);
        else
            ticket_done_cb(ticket, 0); /* the disk left the pool: it held nothing of ours any more */
    }
    vv_era_leave(pool, era);
    ticket_over(flush);
}

/* ---- background journalling */

static void background_done_cb(void *user, int result)
{
    VvView *view = user;
    bool drop = false;
    if (result < 0)
        vv_log(VV_LOG_WARNING, "background flush of object %" G_GUINT64_FORMAT " failed: %s", view->id,
            g_strerror(-result));
    {
        VV_LOCKED(&view->lock);
        view->committing = false;
        if (result < 0 && view->pending_since_ms)
            view->pending_since_ms = vv_monotonic_ms(); /* not again at once */
        else
            drop = vv_view_settle_pending(view);
    }
    VvTicker *ticker = view->pool->ticker;
    vv_ticker_kick(ticker);
    if (result == 0 && atomic_load_explicit(&view->pool->pending_bytes, memory_order_relaxed) >= VV_PENDING_BYTES_MAX)
        vv_ticker_rush(ticker); /* as much came meanwhile: nobody waits for the next tick */
    if (drop)
        vv_view_unref(view);
    vv_view_unref(view);
    vv_ticker_flush_end(ticker); /* the pool may end after this */
}

/* Its data is on the disks. If nothing but its mtime changed for so long, that gets an entry of its own. */
static void background_flushed_cb(void *user, int result)
{
    VvView *view = user;
    bool mtime_only;
    {
        VV_LOCKED(&view->lock);
        mtime_only = result == 0 && view->mtime_dirty && view->records.count == 0;
    }
    if (mtime_only)
        vv_commit_view(view->pool->committer, view, 0, background_done_cb, view);
    else
        background_done_cb(view, result);
}

static void background_start(VvView *view)
{
    g_atomic_int_inc(&view->refs);
    vv_ticker_flush_begin(view->pool->ticker);
    vv_flush_start(view, true, background_flushed_cb, view);
}

unsigned vv_flush_background(VvPool *pool, uint64_t since_ms, GHashTable *families)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);
    unsigned count = 0;
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        bool start;
        {
            VV_LOCKED(&view->lock);
            if (families && !g_hash_table_contains(families, &view->family))
                continue;
            bool old = view->pending_since_ms != 0 && view->pending_since_ms <= since_ms && !view->gone;
            start = old && !view->committing;
            count += old || view->committing;
            if (start)
                view->committing = true;
        }
        if (start)
            background_start(view);
    }
    return count;
}

bool vv_flush_has_pending(VvPool *pool)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);
    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        VV_LOCKED(&view->lock);
        if (view->pending_since_ms != 0)
            return true;
    }
    return false;
}
