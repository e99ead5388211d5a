/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views of a pool whose data is on disks of another node, for the engine: elsewhere.c. */
#ifndef VV_ELSEWHERE_VIEW_H
#define VV_ELSEWHERE_VIEW_H

#include "elsewhere.h"
#include "engine.h"

/* Size and mtime as the catalog has them, as far as no newer answer told others. Read lock and view->lock (or nobody else knows it). */
void vv_view_load_locked(VvView *view, const VvLun *lun);
/* An entry was applied: views of what it changed follow the catalog. The committer's thread. */
void vv_views_follow(VvPool *pool, uint64_t index, const VvOps *ops);
/* vv_io_submit. */
void vv_io_submit_elsewhere(VvWorker *worker, VvIo *io);
/* vv_pool_lun_truncate and _extend. */
bool vv_lun_size_elsewhere(VvPool *pool, uint64_t id, VvAskKind kind, uint64_t size_bytes, GError **error);

#endif
