/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What changes that are not removals would free (vv_pool_exclusive and VvRemoval tell of those), for dry runs. */
#ifndef VV_FREES_H
#define VV_FREES_H

#include "pool.h"

/* What a resize to @size_bytes, or a restore with or without @discard, would free, exactly as far as it is applied; walks the pages
 * of families, without the configuration lock. False: nothing such, or it changes faster than it can be counted. */
bool vv_pool_resize_frees(VvPool *pool, const char *name, uint64_t size_bytes, uint64_t *ret_bytes);
bool vv_pool_restore_frees(VvPool *pool, const char *object, bool discard, uint64_t *ret_bytes);

#endif
