/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of places: crc32c of the 4 KiB of a block, kept by where it lies, not by who maps it (DESIGN section 4).
 *
 * S1  A place has a sum from the entry that uses it to the entry that frees it, and it is always the same one; or it has none all
 *     that time. So who knows that a mapped place has none may rely on it as long as an era keeps the place from being reused.
 * S2  A place with a sum is never written in place. Who writes blocks with sums redirects all of them; who does not redirects
 *     those that have one (engine/io_write.c).
 * S3  A free place has no sum. VvFamily.sum_blocks counts those there are; a family that never had one (has_sums) looks for none. */
#ifndef VV_SUMS_H
#define VV_SUMS_H

#include "catalog.h"
#include "limits.h"
#include "page.h"

#include <stdbool.h>
#include <stdint.h>

/* The sums of 1 MiB of a segment: what table "sum" has under one key. */
typedef struct {
    uint64_t family;
    uint32_t segment;
    uint32_t mib;                            /* of the segment */
    uint64_t present[VV_REGION_BLOCKS / 64]; /* bit = block: it has a sum */
    uint32_t crc[VV_REGION_BLOCKS];          /* of those present */
} VvSumPiece;

/* For people, and before words are made of it: of the 4 KiB at @data. */
uint32_t vv_sum_of(const void *data);

static inline bool vv_sum_present(const VvSumPiece *piece, unsigned block)
{
    return (piece->present[block / 64] >> block % 64 & 1) != 0;
}

#define VV_SUM_HEADER_BYTES 40u
#define VV_SUM_BYTES_MAX (VV_SUM_HEADER_BYTES + VV_REGION_BLOCKS * 4u)

/* Stored form; the key goes into the checksum. Returns the length. */
size_t vv_sum_piece_encode(const VvSumPiece *piece, uint8_t *bytes);
/* The key's fields of @piece are set by the caller. 0, or -EUCLEAN: *piece has no sums then. */
int vv_sum_piece_decode(VvSumPiece *piece, const uint8_t *bytes, size_t length_bytes);

/* What is applied of that MiB, none present included. Takes the read lock behind a writer that waits; may page-fault. 0; -EUCLEAN the
 * record failed to decode; -EIO. Source: overlay, then table "sum". */
int vv_sums_lookup(VvMeta *meta, uint64_t family, uint32_t segment, uint32_t mib, VvSumPiece *ret_piece);

#endif
