/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A page: the whole map of one region at one epoch. In memory one place per block; stored as a sorted list of extents
 * (see the table in page.c and docs/format.md). */
#ifndef VV_PAGE_H
#define VV_PAGE_H

#include "limits.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a block is, within its family: 0 is a hole, else
 *   bit 63     set: mapped
 *   bit 62     own: this page is where this block's line of holders begins (DESIGN R1 to R3)
 *   bits 18-37 segment number in the family
 *   bits 0-17  block in the segment */
typedef uint64_t VvPlace;
#define VV_PLACE_MAPPED ((VvPlace) 1 << 63)
#define VV_PLACE_OWN ((VvPlace) 1 << 62)
#define VV_PLACE_ADDRESS_MASK (((VvPlace) 1 << 38) - 1)

static inline VvPlace vv_place(uint32_t segment, uint32_t block, bool own)
{
    return VV_PLACE_MAPPED | (own ? VV_PLACE_OWN : 0) | (VvPlace) segment << 18 | block;
}
static inline bool vv_place_mapped(VvPlace place) { return place != 0; }
static inline bool vv_place_own(VvPlace place) { return (place & VV_PLACE_OWN) != 0; }
static inline uint32_t vv_place_segment(VvPlace place) { return (uint32_t) (place >> 18) & (VV_SEGMENTS_PER_FAMILY - 1); }
static inline uint32_t vv_place_block(VvPlace place) { return (uint32_t) place & ((1u << 18) - 1); }
/* Same block on the medium, whoever owns it? Two holes are the same too. */
static inline bool vv_place_same(VvPlace a, VvPlace b) { return ((a ^ b) & ~VV_PLACE_OWN) == 0; }
/* The place @count blocks further in the same segment; a hole stays a hole. */
static inline VvPlace vv_place_after(VvPlace place, uint32_t count) { return place ? place + count : 0; }

typedef struct {
    VvPlace place[VV_REGION_BLOCKS];
} VvPage;

/* The key of table "page". Epochs start at 1; 0 comes only from a merge (R7). */
typedef struct {
    uint64_t branch;
    uint64_t region;
    uint64_t epoch;
} VvPageKey;

#define VV_KEY_BYTES 24u
void vv_page_key_encode(const VvPageKey *key, uint8_t *bytes);   /* branch, region, ~epoch: newest first */
void vv_page_key_decode(const uint8_t *bytes, VvPageKey *ret_key);
void vv_index_key_encode(const VvPageKey *key, uint8_t *bytes);  /* branch, epoch, region */
void vv_index_key_decode(const uint8_t *bytes, VvPageKey *ret_key);

#define VV_EXTENT_BYTES 7u
#define VV_PAGE_HEADER_BYTES 8u
#define VV_PAGE_BYTES_MAX (VV_PAGE_HEADER_BYTES + VV_REGION_BLOCKS * VV_EXTENT_BYTES)

/* Stored form; the key goes into the checksum, so that a page in a wrong place is a bad page. Returns the length. */
size_t vv_page_encode(const VvPage *page, const VvPageKey *key, uint8_t *bytes);
/* 0, or -EUCLEAN; *ret_page is undefined then. */
int vv_page_decode(const uint8_t *bytes, size_t length_bytes, const VvPageKey *key, VvPage *ret_page);
/* A stored page without extents: tells without decoding. */
bool vv_page_bytes_empty(const uint8_t *bytes, size_t length_bytes);
uint32_t vv_page_mapped_count(const VvPage *page);

#endif
