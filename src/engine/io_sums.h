/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of a request's blocks. For the data path: see io_state.h. */
#ifndef VV_IO_SUMS_H
#define VV_IO_SUMS_H

#include "io_state.h"

/* The block's place in pending, which @record names, has its checksum there, if any. view->lock held. */
void vv_io_sums_pending(VvIoState *state, unsigned i, const VvRecord *record);
/* The map is known: take what is needed from the cache. True: that was all. Worker's thread. */
bool vv_io_sums_cached(VvIoState *state);
/* The same, and what is not in the cache from the store. 0 or -errno. A helper's thread. */
int vv_io_sums_load(VvIoState *state);
/* Is @data what was written to the place old[i]? True also if it has no checksum. What is not is counted and told. */
bool vv_io_sums_match(VvIoState *state, unsigned i, const uint8_t *data);
/* Before the disk writes: of block @i, as it will be recorded. */
void vv_io_sums_make(VvIoState *state, unsigned i, const uint8_t *data);
/* For a record of @count blocks from @i on; owned by the caller. NULL: without. */
uint32_t *vv_io_sums_of_record(const VvIoState *state, unsigned i, unsigned count);

#endif
