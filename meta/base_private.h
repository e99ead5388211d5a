/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The base, for the files of meta/ alone. All do nothing in a pool of one node. */
#ifndef VV_BASE_PRIVATE_H
#define VV_BASE_PRIVATE_H

#include "base.h"
#include "meta_private.h"

typedef struct VvMetaCluster VvMetaCluster;
void vvm_cluster_free(VvMetaCluster *cluster);
/* ---- meta.c */

/* The index of the base in this transaction; false: there is none. */
bool vvm_base_index(VvStoreRead *read, uint64_t *ret_index);
/* Of a map that says that it is a cluster's. False: it is damaged, or not of the map's index. */
bool vvm_base_load(VvMeta *meta, VvStoreRead *read);

/* ---- the checkpointer's thread: hold, batch (under the write lock), resume; then write, written (under the write lock), stored */
bool vvm_base_hold(VvMeta *meta); /* false: no batch can be made now */
void vvm_base_batch(VvMeta *meta);
void vvm_base_resume(VvMeta *meta);
int vvm_base_write(VvMeta *meta, VvStoreTxn *txn);
bool vvm_base_written(VvMeta *meta); /* false: a pool of one node: the journal is the checkpoint's to release */
void vvm_base_stored(VvMeta *meta, uint64_t index);
/* The first base is to be written, whether or not there is anything else. */
bool vvm_base_missing(const VvMeta *meta);

#endif
