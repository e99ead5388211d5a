/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page cache. For src/engine: see engine.h. */
#ifndef VV_PAGECACHE_H
#define VV_PAGECACHE_H

#include "meta.h"

/* ---- page cache: what views see, in stored form, striped; a bounded number of bytes (VV_PAGE_CACHE_BYTES)
 * Key: (branch, epoch or UINT64_MAX for the head, region). */
typedef struct VvPageCache VvPageCache;
typedef struct { bool present; VvPageKey key; uint64_t family; } VvCachedPage; /* present false: no version, all holes */
VvPageCache *vv_page_cache_new(uint64_t bytes_max);
void vv_page_cache_free(VvPageCache *cache);
size_t vv_page_cache_lock(VvPageCache *cache); /* its table stays in memory; bytes */
/* Copies places of blocks [first, first + count) into @ret_places. False: a miss. */
bool vv_page_cache_get(VvPageCache *cache, uint64_t branch, uint64_t epoch, uint64_t region, unsigned first, unsigned count,
                       VvCachedPage *ret_info, VvPlace *ret_places);
/* A look-up for a later put: remember the stripe's version first; put does nothing if an invalidation came between. */
uint64_t vv_page_cache_version(VvPageCache *cache, uint64_t branch, uint64_t region);
void vv_page_cache_put(VvPageCache *cache, uint64_t version, uint64_t branch, uint64_t epoch, uint64_t region,
                       const VvCachedPage *info, const VvPage *page);
/* The head of @key's branch, and nobody else, sees @page in @key's region now. What the cache holds for it is replaced. */
void vv_page_cache_refresh(VvPageCache *cache, uint64_t family, const VvPageKey *key, const VvPage *page);
void vv_page_cache_invalidate(VvPageCache *cache, uint64_t branch, uint64_t region); /* all epochs: same stripe */

#endif
