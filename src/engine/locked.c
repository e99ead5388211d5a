/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locking a pool's memory: locked.h. */
#include "locked.h"

#include "commit_private.h"

size_t vv_pool_lock_memory(VvPool *pool)
{
    size_t bytes = vv_io_pool_lock(pool->io_pool) + vv_meta_lock_memory(pool->meta);
    if (pool->committer)
        bytes += vv_committer_lock(pool->committer);
    bytes += vv_page_cache_lock(pool->cache);
    return bytes + (pool->pending_file ? vv_pending_file_lock(pool->pending_file) : 0);
}
