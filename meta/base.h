/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The base of a cluster's map: what Raft and the cluster must know of the entries that the map holds. It is written in the transaction
 * of each checkpoint, so map and base are always of one index. A map without a base is that of a pool with one node.
 *
 * Record of table "pool" under key {1}; little-endian:
 *     0   8  magic "VVBASE01"          40   8  index of the newest configuration of the voters
 *     8   4  version, 1                48   8  index of the newest entry that changed the pool's configuration
 *    12   4  crc32c of 0-11 and 16-    56   4  c, bytes of the voters' configuration
 *    16   8  0                         60   4  s, bytes of the cluster's state
 *    24   8  index                     64   c  configuration
 *    32   8  term of that entry      64+c   s  state
 * Of the bytes from 64 on meta knows nothing.
 *
 * B1  The switch from one node to a cluster is the commit of the first base; a map never loses it again.
 * B2  A batch is made while the source holds all entries back, and its base has the applied index (asserted).
 * B3  Every entry of the log moves the applied index, also one without ops. */
#ifndef VV_BASE_H
#define VV_BASE_H

#include "meta.h"

typedef struct {
    uint64_t index; /* at least 2 in what a source gives */
    uint64_t term;
    uint64_t conf_index;
    uint64_t config_index; /* set by meta */
    GBytes *conf;          /* owned */
    GBytes *state;         /* owned */
} VvBase;
void vv_base_clear(VvBase *base);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvBase, vv_base_clear)

/* Who has the rest of the base. The checkpointer's thread. */
typedef struct {
    /* The base of the entries that are applied; no other is applied until resume. False: it cannot be had, nothing is held. */
    bool (*hold)(void *user, VvBase *ret_base);
    void (*resume)(void *user);
    /* The store holds all entries up to @index. */
    void (*stored)(void *user, uint64_t index);
    void *user;
} VvBaseSource;

/* [any] */
bool vv_meta_is_cluster(VvMeta *meta);
/* As the store has it; false: there is none. */
bool vv_meta_base(VvMeta *meta, VvBase *ret_base);
/* From now on checkpoints ask it, and the journal is not released by them: a pool that has no base gets one with the next. Before the
 * first checkpoint, or when nothing is logged or applied. @source: copied. There is no way back. */
void vv_meta_set_base_source(VvMeta *meta, const VvBaseSource *source);
/* Apply entry @index, the next one; @ops NULL: it has none. @config: it changed the configuration. Else as vv_meta_apply. */
int vv_meta_apply_entry(VvMeta *meta, uint64_t index, const VvOps *ops, bool config);
/* Index of the newest entry applied with @config, and of the newest applied. [any] */
uint64_t vv_meta_config_index(VvMeta *meta);
uint64_t vv_meta_applied_index(VvMeta *meta);
/* Of a cluster, or of a pool that is about to be one: the journal, for who runs the log; meta leaves it alone. */
VvJournal *vv_meta_journal(VvMeta *meta);

#endif
