/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was written to a remote medium since its last sync, so that it can be written again when the medium was away: who cannot tell
 * whether it lost its cache must assume so. Beyond VV_UNSYNCED_BYTES_MAX nothing is kept, and the loss cannot be mended.
 * One thread at a time. */
#ifndef VV_UNSYNCED_H
#define VV_UNSYNCED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VvUnsynced VvUnsynced;

VvUnsynced *vv_unsynced_new(uint64_t bytes_max, unsigned writes_max);
void vv_unsynced_free(VvUnsynced *unsynced);
/* A write is over. Copies @data. */
void vv_unsynced_add(VvUnsynced *unsynced, uint64_t offset, const void *data, uint32_t length_bytes);
/* A sync begins now; and it has succeeded: it covers what was added before its mark. */
uint64_t vv_unsynced_mark(const VvUnsynced *unsynced);
void vv_unsynced_clean(VvUnsynced *unsynced, uint64_t mark);
/* Nothing was written since the last sync. */
bool vv_unsynced_is_empty(const VvUnsynced *unsynced);
/* All that was written since the last sync is here. */
bool vv_unsynced_is_whole(const VvUnsynced *unsynced);
/* So much is kept that a sync is due. */
bool vv_unsynced_is_high(const VvUnsynced *unsynced);

/* The writes in their order, from *cursor, which is 0 at first and moves on. @ret_data: borrowed until the next change. False: no more. */
bool vv_unsynced_next(
    VvUnsynced *unsynced, uint64_t *cursor, uint64_t *ret_offset, void **ret_data, uint32_t *ret_length_bytes);

#endif
