/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The committer. For src/engine: see engine.h. */
#ifndef VV_COMMIT_H
#define VV_COMMIT_H

#include "io.h"
#include "meta.h"

/* ---- committer: the one thread that logs, syncs and applies */
typedef struct VvCommitter VvCommitter;
VvCommitter *vv_committer_new(VvPool *pool);
void vv_committer_free(VvCommitter *committer);
size_t vv_committer_lock(VvCommitter *committer); /* what it builds entries in, before it has built any; bytes */ /* after a last flush */
/* Journal and apply @view's records up to @sequence (its data is durable already: I2), then call done (committer's thread,
 * must not block). Any thread. */
typedef void (*VvCommitDone)(void *user, int result);
void vv_commit_view(VvCommitter *committer, VvView *view, uint64_t sequence, VvCommitDone done, void *user);
/* One entry of a transaction: first all records of @views up to their commit limits (in entries before it), then @ops, in one
 * batch, one sync, applied; blocks. 0, -ENOSPC (after a checkpoint was tried), -EIO, -EUCLEAN. Takes over @ops. */
int vv_commit_ops(VvCommitter *committer, VvView *const *views, unsigned view_count, VvOps *ops);
/* The same for what was looked up under the configuration lock when vv_meta_config_index was @seen: in a cluster it is -ESTALE, and
 * nothing has happened, if the configuration has been changed since. */
int vv_commit_config(VvCommitter *committer, VvView *const *views, unsigned view_count, VvOps *ops, uint64_t seen);
/* The same without waiting (grants, job batches). */
void vv_commit_ops_async(VvCommitter *committer, VvOps *ops, VvCommitDone done, void *user);
void vv_commit_kick(VvCommitter *committer);

#endif
