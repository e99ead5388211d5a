/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a cluster puts in place of vv_meta_log, _sync and _apply: who runs the cluster's log (the driver) and the committer, to each other.
 *
 *   local changes   committer: ops -> propose, a ticket -> ... the log, this node's and others' ...
 *   every entry     driver: vv_pool_cluster_apply -> committer: ops into the map, records from pending -> applied -> the next entry
 *
 * CL1 One entry is with the committer at a time, in the log's order, also one without ops: map and log speak of one index.
 * CL2 Changes of the map (MAP) of this node are applied in the order of their proposals. Changes of the configuration (CONFIG) are ordered
 *     against them by the committer: it proposes one when all before it is applied, and the next thing when that is.
 * CL3 The committer waits for no checkpoint while an entry is with it: the driver hands none over while the map has no room.
 *
 * CL4 A guest's log (VvPoolOptions.guest) has no journal and no base: its entries say what another node described, under that node's index, of which
 *     many are left out; nothing is proposed, and the map is never stored.
 *
 * A plain pool has none of this: its committer looks at one pointer a batch. */
#ifndef VV_CLUSTER_LOG_H
#define VV_CLUSTER_LOG_H

#include "base.h"
#include "described.h"
#include "pool.h"

#define VV_NOT_CONFIG UINT64_MAX

typedef struct VvClusterLog VvClusterLog;
struct VvClusterLog {
    /* The map is there, and the committer takes entries from now on. With @error set: cannot be. */
    bool (*attach)(void *user, VvPool *pool, GError **error);
    /* Opening: until all that this node proposed in an earlier life is decided, and it may propose (its session has begun). */
    bool (*ready)(void *user, GError **error);
    /* Closing begins: what is proposed is not waited for without end any more (vv_pool_cluster_lost). */
    void (*closing)(void *user);
    /* Closing: no entry comes any more when this has returned; the base can still be held. Also after an attach that failed. */
    void (*detach)(void *user);
    /* Conversion: beside the map all is there that the base of @index asks for. */
    bool (*prepare)(void *user, VvPool *pool, uint64_t index, GError **error);
    /* The committer's thread. @seen: vv_meta_config_index when a change of the configuration was looked up; VV_NOT_CONFIG: it is none.
     * @ops: as vv_ops_encode has them. 0 and *ret_ticket (not 0), which an entry or vv_pool_cluster_lost answers;
     * -EIO: nothing can be proposed any more. */
    int (*propose)(void *user, uint64_t seen, const uint8_t *ops, size_t ops_bytes, uint64_t *ret_ticket);
    /* The committer's thread: the entry that was handed over is in the map; or -errno: the pool has failed. */
    void (*applied)(void *user, uint64_t index, int result);
    VvBaseSource base; /* its own user */
    void *user;
};

/* What became of an entry of the log. */
typedef struct {
    uint64_t index;
    uint64_t ticket;  /* of this process's proposal; 0: another's, or nobody's */
    bool config;      /* it is a change of the configuration */
    bool refused;     /* its ops are not to be applied: another change of the configuration came before */
    uint8_t *ops;     /* owned, taken over; NULL: none */
    size_t ops_bytes;
    const VvOps *given; /* CL4: instead of bytes; as `described` borrowed until `applied` */
    const VvMetaDescribed *described;
    unsigned described_count;
} VvClusterEntry;

/* Hand the next entry to the committer; `applied` answers. [any] */
void vv_pool_cluster_apply(VvPool *pool, const VvClusterEntry *entry);
/* What was proposed cannot be decided here any more: the pool fails. [any] */
void vv_pool_cluster_lost(VvPool *pool, const char *why);
/* The open pool of one node becomes a cluster's, without a stop: a checkpoint with the base that @log gives. `prepare` and `attach` are
 * called by the committer's thread; flushes wait meanwhile. False: it is what it was, unless the pool has failed. Not under the
 * configuration lock. @log: borrowed until the pool is closed. */
bool vv_pool_make_cluster(VvPool *pool, const VvClusterLog *log, GError **error);
/* Applied entries that are not in the map's store may not become more now (CL3). [any] */
bool vv_pool_cluster_may_apply(VvPool *pool);
/* A checkpoint now; blocks. 0 and the index of the store's base, or -errno. Not for the driver's thread, nor the committer's. */
int vv_pool_cluster_checkpoint(VvPool *pool, uint64_t *ret_index);
/* The pool is about to be closed: what is proposed is not waited for without end any more (`closing`). May be said again. [any] */
void vv_pool_is_ending(VvPool *pool);
/* The disks are another node's: what works on data is done there. [any] */
bool vv_pool_is_without_disks(const VvPool *pool);

#endif
