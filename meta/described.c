/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See described.h. */
#include "described.h"

#include "meta_private.h"

#include <string.h>

static void describe_lun(VvLun *lun, const VvMetaDescribed *described)
{
    lun->uuid = described->uuid;
    lun->size_bytes = described->size_bytes;
    lun->used_blocks = described->used_blocks;
    lun->created_ns = described->created_ns;
    lun->mtime_ns = described->mtime_ns;
    lun->atime_ns = described->atime_ns;
    lun->ctime_ns = described->ctime_ns;
    lun->elastic = described->elastic;
    if (described->origin != NULL && strcmp(lun->origin, described->origin) != 0) {
        g_free(lun->origin);
        lun->origin = g_strdup(described->origin);
    }
}

static void describe_snapshot(VvSnapshot *snapshot, const VvMetaDescribed *described)
{
    snapshot->size_bytes = described->size_bytes;
    snapshot->used_blocks = described->used_blocks;
    snapshot->mtime_ns = described->mtime_ns;
}

static void set_index(VvMeta *meta, uint64_t index)
{
    vvm_write_lock(meta);
    meta->pool.applied_index = index;
    vvm_write_unlock(meta);
}

int vv_meta_apply_described(VvMeta *meta, uint64_t index, const VvOps *ops, const VvMetaDescribed *described, unsigned count)
{
    static const VvOps none;
    g_assert(meta->read_only && index > 0);
    set_index(meta, index - 1);
    int result = vv_meta_apply(meta, index, ops != NULL ? ops : &none);
    if (result != 0)
        return result;
    vvm_write_lock(meta);
    for (unsigned i = 0; i < count; i++) {
        VvLun *lun = g_hash_table_lookup(meta->luns, &described[i].id);
        VvSnapshot *snapshot = lun != NULL ? NULL : g_hash_table_lookup(meta->snapshots, &described[i].id);
        if (lun != NULL)
            describe_lun(lun, &described[i]);
        else if (snapshot != NULL)
            describe_snapshot(snapshot, &described[i]);
    }
    vvm_write_unlock(meta);
    return 0;
}
