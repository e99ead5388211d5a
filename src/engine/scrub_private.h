/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between scrub.c, which goes through a pool, and scrub_read.c, which looks at what is there. The scrub's thread. */
#ifndef VV_SCRUB_PRIVATE_H
#define VV_SCRUB_PRIVATE_H

#include "damage.h"
#include "error.h"
#include "scrub.h"

#include <errno.h>

typedef struct {
    uint64_t family;
    VvPlace place;
} VvScrubFound;

/* Read what is in use of that MiB of the segment's copy on @disk into @data (a MiB, aligned), and compare it with the checksums there are. What
 * is damaged is remembered, and appended to @found. Returns the bytes read. Blocks on the disk. */
uint64_t vv_scrub_mib(
    VvPool *pool, uint64_t disk, uint64_t family, uint32_t segment, uint32_t mib, uint8_t *data, GArray *found);
/* All metadata and the labels; events of what is wrong. Returns how much. Blocks. */
uint64_t vv_scrub_metadata(VvPool *pool);

#endif
