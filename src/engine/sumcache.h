/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of checksums, so that who reads need not ask the store for them. For src/engine: see engine.h. */
#ifndef VV_SUMCACHE_H
#define VV_SUMCACHE_H

#include "meta.h"

typedef struct VvSumCache VvSumCache;
VvSumCache *vv_sum_cache_new(uint64_t bytes_max);
void vv_sum_cache_free(VvSumCache *cache);
/* The family has checksums, or had some since the pool was opened. It costs one load while no family has. [any] */
bool vv_sum_cache_has_family(VvSumCache *cache, uint64_t family);
bool vv_sum_cache_any(const VvSumCache *cache); /* some family has */
void vv_sum_cache_add_family(VvSumCache *cache, uint64_t family);
/* The checksum of a place that is in use, if it has one (*ret_present). False: a miss. [any] */
bool vv_sum_cache_get(VvSumCache *cache, uint64_t family, VvPlace place, bool *ret_present, uint32_t *ret_sum);
/* As for pages: the version is taken before the look-up whose result is put. [any] */
uint64_t vv_sum_cache_version(VvSumCache *cache, uint64_t family, VvPlace place);
void vv_sum_cache_put(VvSumCache *cache, uint64_t version, const VvSumPiece *piece);
/* From meta's hook: places came into use, with @sums or (NULL) without. */
void vv_sum_cache_set(VvSumCache *cache, uint64_t family, VvPlace place, unsigned count, const uint32_t *sums);

#endif
