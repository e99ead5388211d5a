/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between commit.c, which logs and applies, commit_batch.c, which builds entries from records, and commit_cluster.c, which proposes to a
 * cluster and applies what its log brings. The committer's thread. */
#ifndef VV_COMMIT_PRIVATE_H
#define VV_COMMIT_PRIVATE_H

#include "cluster_log.h"
#include "pending_slots.h"
#include "tables.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvView, vv_view_unref)

/* What an entry holds of one view. */
typedef struct {
    VvView *view;      /* referenced */
    uint64_t sequence; /* records up to it */
    uint64_t mtime_ns;
} VvBatchPart;

typedef struct {
    VvOps *ops;
    GArray *parts; /* VvBatchPart */
    uint64_t index; /* in a cluster the ticket of its proposal, 0 when that is decided */
    bool built; /* from records: changes are the store's */
} VvBatchEntry;

/* Changes and checksums of all entries of a batch, one behind the other; those of an op are not the op's own. */
typedef struct VvBatchStore VvBatchStore;
#define VV_BATCH_SPARES 16u

typedef struct {
    GArray *entries; /* VvBatchEntry, logged and not applied */
    VvOps *ops;      /* the entry being built; NULL: none */
    GArray *parts;
    unsigned region_count, change_count, sum_count; /* of it */
    VvSet op_regions; /* of the MAP op being built */
    VvBatchStore *store;
    unsigned stored_changes, stored_sums;
    VvBatchEntry spares[VV_BATCH_SPARES]; /* empty ones, so that a flush allocates none */
    unsigned spare_count;
} VvBatchBuilder;

void vv_batch_init(VvBatchBuilder *builder);
void vv_batch_free(VvBatchBuilder *builder);
/* Forget the entries. */
void vv_batch_clear(VvBatchBuilder *builder);
/* Put records of @view up to @sequence and its limit, that are not logged, into the entry being built (with @with_mtime also a
 * changed mtime alone). True: it is full before they all were in: take it, log it, and come again. */
bool vv_batch_add_view(VvBatchBuilder *builder, VvView *view, uint64_t sequence, bool with_mtime);
/* The entry being built; false: there is none. */
bool vv_batch_take_entry(VvBatchBuilder *builder, VvBatchEntry *ret_entry);
/* It is in the journal; it is applied: records go from pending. */
void vv_batch_entry_logged(const VvBatchEntry *entry);
void vv_batch_entry_applied(VvPool *pool, const VvBatchEntry *entry);
void vv_batch_entry_clear(VvBatchBuilder *builder, VvBatchEntry *entry);
/* What it holds must be settled before another entry is built. */
bool vv_batch_is_full(const VvBatchBuilder *builder);
/* Lock what a batch needs while memory is short. Bytes. */
size_t vv_batch_lock(const VvBatchBuilder *builder);

/* ---- commit.c */
typedef struct VvCommitRequest VvCommitRequest;
struct VvCommitRequest {
    VvCommitRequest *next;
    VvView *view; /* referenced, or NULL */
    uint64_t sequence;
    VvOps *ops;           /* owned, or NULL */
    uint64_t seen;        /* of a change of the configuration: VvClusterLog.propose */
    const VvClusterLog *convert; /* make the pool a cluster's; NULL: no */
    GError **error;              /* of that */
    VvView *const *views; /* borrowed */
    unsigned view_count;
    VvCommitDone done;
    void *user;
    int result;
};

typedef struct {
    VvCommitRequest *first, **last;
} VvCommitList;

struct VvCommitter {
    VvPool *pool;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    VvCommitList incoming; /* lock */
    bool kicked, stopping;
    VvClusterEntry handed; /* lock; index 0: none */
    char *lost;            /* lock; owned: why nothing is decided any more */
    /* the thread's own */
    const VvClusterLog *cluster; /* NULL: a pool of one node */
    GByteArray *body;            /* of what is proposed */
    bool refused;                /* the last change of the configuration was */
    VvCommitList waiting; /* above their views' limits */
    VvBatchBuilder builder;
    int log_error; /* why an entry of this batch was not logged; 0: all were */
    GArray *retired; /* VvRetired: what gone views had, until this batch is durable */
};
/* What an entry of somebody's ops means for views (C3), before it is applied. */
void vv_commit_note_ops(VvCommitter *committer, const VvOps *ops);
void vv_commit_fail_pool(VvPool *pool);
int vv_commit_settle(VvCommitter *committer);

/* ---- commit_cluster.c */
/* As logging it; -ESTALE: a change of the configuration that came too late. Takes over what is in @entry. */
int vv_commit_propose(VvCommitter *committer, VvBatchEntry *entry, uint64_t seen);
/* Until all that is proposed is decided, and applied. 0, -EIO. */
int vv_commit_decide(VvCommitter *committer);
/* Apply what was handed over, if anything was. */
void vv_commit_apply_handed(VvCommitter *committer);
/* Nothing is logged and not settled. */
int vv_commit_convert(VvCommitter *committer, const VvClusterLog *log, GError **error);

#endif
