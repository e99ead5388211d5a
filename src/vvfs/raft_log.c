/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "raft_log.h"

#include "faultpoint.h"
#include "limits.h"
#include "util.h"

#include <errno.h>
#include <string.h>

typedef struct {
    gint refs;
    VvJournalItem item; /* its body is behind this struct */
} Kept;

/* One append on its way to the journal. */
typedef struct {
    uint64_t ticket;
    GPtrArray *entries; /* of Kept, references */
} Write;

struct VvRaftLog {
    VvRaftLogOptions options;
    pthread_t thread;
    pthread_mutex_t journal_lock; /* the journal; first: */
    uint64_t compacted, released; /* what Raft, and what the store, does not need any more */
    pthread_mutex_t lock;         /* all below */
    pthread_cond_t changed;
    GQueue *tail; /* of Kept: entries tail_first ..., references */
    uint64_t tail_first;
    size_t tail_bytes;
    uint64_t durable_index; /* entries of the tail up to it may go */
    GQueue *writes;         /* of Write */
    bool stopping;
    int error;
    Kept *lent; /* Raft's thread: what the last read gave; NULL: it was the journal's */
};

G_STATIC_ASSERT((int) VV_JOURNAL_COMMAND == (int) VV_RAFT_COMMAND);
G_STATIC_ASSERT((int) VV_JOURNAL_BARRIER == (int) VV_RAFT_BARRIER);
G_STATIC_ASSERT((int) VV_JOURNAL_CHANGE == (int) VV_RAFT_CHANGE);

static Kept *kept_new(const VvRaftEntry *entry)
{
    Kept *kept = g_malloc(sizeof *kept + entry->data_bytes);

    kept->refs = 1;
    kept->item = (VvJournalItem){ .index = entry->index,
        .term = entry->term,
        .kind = (VvJournalKind) entry->type,
        .body = kept + 1,
        .length_bytes = entry->data_bytes };
    if (entry->data_bytes > 0)
        memcpy(kept + 1, entry->data, entry->data_bytes);
    return kept;
}

static Kept *kept_ref(Kept *kept)
{
    g_atomic_int_inc(&kept->refs);
    return kept;
}

static void kept_unref(void *data)
{
    Kept *kept = data;

    if (kept && g_atomic_int_dec_and_test(&kept->refs))
        g_free(kept);
}

static void write_free(void *data)
{
    Write *write = data;

    g_ptr_array_unref(write->entries);
    g_free(write);
}

/* ---- the tail; lock held */

static uint64_t tail_end(const VvRaftLog *log)
{
    return log->tail_first + log->tail->length;
}

static void tail_push(VvRaftLog *log, Kept *kept)
{
    while (log->tail->length > 0 && tail_end(log) > kept->item.index) {
        Kept *gone = g_queue_pop_tail(log->tail);

        log->tail_bytes -= gone->item.length_bytes;
        kept_unref(gone);
    }
    if (log->tail->length == 0)
        log->tail_first = kept->item.index;
    g_assert(tail_end(log) == kept->item.index);
    g_queue_push_tail(log->tail, kept);
    log->tail_bytes += kept->item.length_bytes;
    log->durable_index = MIN(log->durable_index, kept->item.index - 1);
}

static void tail_trim(VvRaftLog *log)
{
    while (log->tail->length > 0 && log->tail_bytes > VV_RAFT_TAIL_BYTES && log->tail_first <= log->durable_index) {
        Kept *gone = g_queue_pop_head(log->tail);

        log->tail_bytes -= gone->item.length_bytes;
        log->tail_first++;
        kept_unref(gone);
    }
}

/* ---- the log's thread */

static int put_all(VvRaftLog *log, GQueue *writes)
{
    VvJournal *journal = log->options.journal;
    int err = 0;

    for (GList *l = writes->head; l && err == 0; l = l->next) {
        const Write *write = l->data;

        for (unsigned i = 0; i < write->entries->len && err == 0; i++) {
            const Kept *kept = g_ptr_array_index(write->entries, i);

            err = vv_journal_put(journal, &kept->item);
            if (err == -ENOSPC && log->options.full) {
                err = vv_journal_sync(journal); /* what the store is to hold must be durable */
                pthread_mutex_unlock(&log->journal_lock);
                log->options.full(log->options.user);
                pthread_mutex_lock(&log->journal_lock);
                if (err == 0)
                    err = vv_journal_put(journal, &kept->item);
            }
        }
    }
    if (err == 0)
        vv_may_die(VV_DIE_RAFT_PUT);
    return err == 0 ? vv_journal_sync(journal) : err;
}

/* What of these writes is still the log is durable now. */
static void note_durable(VvRaftLog *log, uint64_t last)
{
    uint64_t durable = last;

    VV_LOCKED(&log->lock);
    for (GList *l = log->writes->head; l; l = l->next) {
        const Kept *first = g_ptr_array_index(((Write *) l->data)->entries, 0);

        durable = MIN(durable, first->item.index - 1);
    }
    log->durable_index = durable;
    tail_trim(log);
}

static void run(VvRaftLog *log, GQueue *writes)
{
    const Write *newest = g_queue_peek_tail(writes);
    uint64_t last;
    int err;

    {
        VV_LOCKED(&log->journal_lock);
        err = put_all(log, writes);
        last = vv_journal_durable_index(log->options.journal);
    }
    vv_may_die(VV_DIE_RAFT_STORED);
    if (err == 0) {
        note_durable(log, last);
    } else {
        VV_LOCKED(&log->lock);
        log->error = err;
    }
    log->options.stored(log->options.user, newest->ticket, err);
    g_queue_free_full(writes, write_free);
}

static void *log_main(void *user)
{
    VvRaftLog *log = user;

    pthread_setname_np(pthread_self(), "vv-log");
    pthread_mutex_lock(&log->lock);
    for (;;) {
        GQueue *writes;

        while ((log->writes->length == 0 || log->error != 0) && !log->stopping)
            pthread_cond_wait(&log->changed, &log->lock);
        if (log->writes->length == 0 || log->error != 0)
            break;
        writes = log->writes;
        log->writes = g_queue_new();
        pthread_mutex_unlock(&log->lock);
        run(log, writes);
        pthread_mutex_lock(&log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* ---- */

VvRaftLog *vv_raft_log_new(const VvRaftLogOptions *options)
{
    VvRaftLog *log = g_new0(VvRaftLog, 1);
    int rc;

    log->options = *options;
    pthread_mutex_init(&log->journal_lock, NULL);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->changed, NULL);
    log->tail = g_queue_new();
    log->writes = g_queue_new();
    log->durable_index = vv_journal_last_index(options->journal);
    log->tail_first = log->durable_index + 1;
    rc = pthread_create(&log->thread, NULL, log_main, log);
    g_assert(rc == 0);
    return log;
}

void vv_raft_log_free(VvRaftLog *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->lock);
    log->stopping = true;
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    g_queue_free_full(log->writes, write_free);
    g_queue_free_full(log->tail, kept_unref);
    kept_unref(log->lent);
    pthread_cond_destroy(&log->changed);
    pthread_mutex_destroy(&log->lock);
    pthread_mutex_destroy(&log->journal_lock);
    g_free(log);
}

int vv_raft_log_store_vote(VvRaftLog *log, uint64_t term, uint64_t vote)
{
    return vv_vote_set(log->options.vote, term, vote);
}

int vv_raft_log_append(VvRaftLog *log, const VvRaftEntry *entries, unsigned count, uint64_t ticket)
{
    Write *write;

    g_assert(count > 0);
    VV_LOCKED(&log->lock);
    if (log->error != 0) /* RL3 */
        return -EIO;
    write = g_new0(Write, 1);
    write->ticket = ticket;
    write->entries = g_ptr_array_new_with_free_func(kept_unref);
    for (unsigned i = 0; i < count; i++) {
        Kept *kept = kept_new(&entries[i]);

        g_ptr_array_add(write->entries, kept_ref(kept));
        tail_push(log, kept);
    }
    g_queue_push_tail(log->writes, write);
    pthread_cond_signal(&log->changed);
    return 0;
}

static int read_journal(VvRaftLog *log, uint64_t index, VvRaftEntry *ret_entry)
{
    VvJournalItem item;
    int err;

    VV_LOCKED(&log->journal_lock);
    err = vv_journal_get(log->options.journal, index, &item);
    if (err == 0)
        *ret_entry = (VvRaftEntry){ .index = item.index,
            .term = item.term,
            .type = (VvRaftEntryType) item.kind,
            .data = item.body, /* nobody else reads, so it stays until the next call */
            .data_bytes = item.length_bytes };
    return err;
}

int vv_raft_log_read(VvRaftLog *log, uint64_t index, VvRaftEntry *ret_entry)
{
    uint64_t end;

    g_clear_pointer(&log->lent, kept_unref);
    {
        VV_LOCKED(&log->lock);
        end = tail_end(log);
        if (index >= log->tail_first && index < end)
            log->lent = kept_ref(g_queue_peek_nth(log->tail, (guint) (index - log->tail_first)));
    }
    if (!log->lent) /* behind the tail there is nothing, though the journal may not know it yet (RL1) */
        return index >= end ? -ENODATA : read_journal(log, index, ret_entry);
    *ret_entry = (VvRaftEntry){ .index = index,
        .term = log->lent->item.term,
        .type = (VvRaftEntryType) log->lent->item.kind,
        .data = log->lent->item.body,
        .data_bytes = log->lent->item.length_bytes };
    return 0;
}

/* Journal lock held. */
static void release(VvRaftLog *log)
{
    uint64_t index = MIN(log->compacted, log->released);

    index = MIN(index, vv_journal_durable_index(log->options.journal));
    if (index > 0)
        vv_journal_release(log->options.journal, index);
}

void vv_raft_log_compact(VvRaftLog *log, uint64_t index)
{
    VV_LOCKED(&log->journal_lock);
    log->compacted = MAX(log->compacted, index);
    release(log);
}

void vv_raft_log_release(VvRaftLog *log, uint64_t index)
{
    VV_LOCKED(&log->journal_lock);
    log->released = MAX(log->released, index);
    release(log);
}

uint64_t vv_raft_log_recent(VvRaftLog *log, uint64_t bytes)
{
    VV_LOCKED(&log->journal_lock);
    return vv_journal_recent_index(log->options.journal, bytes);
}

void vv_raft_log_start(VvRaftLog *log, VvRaftStart *start)
{
    VV_LOCKED(&log->journal_lock);
    vv_vote_get(log->options.vote, &start->term, &start->vote);
    start->last_index = vv_journal_last_index(log->options.journal);
    start->first_index = MIN(vv_journal_first_index(log->options.journal), start->base_index + 1);
}
