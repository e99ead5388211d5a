/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages in stored form.
 *
 *   offset  size  field
 *        0     1  version (1)
 *        1     1  flags (0; others are refused)
 *        2     2  number of extents, 0 to 256
 *        4     4  crc32c of the page's key (24 bytes as in table "page"), bytes 0-3 and the extents
 *        8   7*n  extents, ascending, not overlapping, not mergeable
 *
 * Extent, 56 bits little-endian:
 *   bits 0-7    first block of the region
 *   bits 8-15   number of blocks less 1
 *   bit  16     own (R1 to R3)
 *   bit  17     reserved (0)
 *   bits 18-35  first block in the segment
 *   bits 36-55  segment number in the family */
#include "page.h"

#include "codec.h"

#include <errno.h>

#define PAGE_VERSION 1u

_Static_assert(VV_REGION_BLOCKS == 256, "an extent has 8 bits for a block");
_Static_assert(VV_PAGE_BYTES_MAX <= 2006, "a page stays on an LMDB leaf");
_Static_assert(VV_SEGMENTS_PER_FAMILY == 1u << 20, "an extent has 20 bits for a segment");
_Static_assert(VV_SEGMENT_SHIFT_MAX - VV_BLOCK_SHIFT == 18, "an extent has 18 bits for a block in a segment");

void vv_page_key_encode(const VvPageKey *key, uint8_t *bytes)
{
    vv_put_be64(bytes, key->branch);
    vv_put_be64(bytes + 8, key->region);
    vv_put_be64(bytes + 16, ~key->epoch);
}

void vv_page_key_decode(const uint8_t *bytes, VvPageKey *ret_key)
{
    ret_key->branch = vv_get_be64(bytes);
    ret_key->region = vv_get_be64(bytes + 8);
    ret_key->epoch = ~vv_get_be64(bytes + 16);
}

void vv_index_key_encode(const VvPageKey *key, uint8_t *bytes)
{
    vv_put_be64(bytes, key->branch);
    vv_put_be64(bytes + 8, key->epoch);
    vv_put_be64(bytes + 16, key->region);
}

void vv_index_key_decode(const uint8_t *bytes, VvPageKey *ret_key)
{
    ret_key->branch = vv_get_be64(bytes);
    ret_key->epoch = vv_get_be64(bytes + 8);
    ret_key->region = vv_get_be64(bytes + 16);
}

static uint32_t page_crc(const uint8_t *bytes, size_t length_bytes, const VvPageKey *key)
{
    uint8_t key_bytes[VV_KEY_BYTES];
    vv_page_key_encode(key, key_bytes);
    uint32_t crc = vv_crc32c(0, key_bytes, sizeof key_bytes);
    crc = vv_crc32c(crc, bytes, 4);
    return vv_crc32c(crc, bytes + VV_PAGE_HEADER_BYTES, length_bytes - VV_PAGE_HEADER_BYTES);
}

/* How many blocks from @first on are one run. */
static unsigned run_length(const VvPage *page, unsigned first)
{
    unsigned n = 1;
    while (first + n < VV_REGION_BLOCKS && page->place[first + n] == page->place[first] + n &&
           vv_place_segment(page->place[first + n]) == vv_place_segment(page->place[first]))
        n++;
    return n;
}

size_t vv_page_encode(const VvPage *page, const VvPageKey *key, uint8_t *bytes)
{
    uint8_t *out = bytes + VV_PAGE_HEADER_BYTES;
    uint16_t extents = 0;
    for (unsigned i = 0; i < VV_REGION_BLOCKS;) {
        VvPlace place = page->place[i];
        if (place == 0) {
            i++;
            continue;
        }
        unsigned n = run_length(page, i);
        uint64_t extent = (uint64_t) i | (uint64_t) (n - 1) << 8 | (uint64_t) vv_place_own(place) << 16 |
                          (place & VV_PLACE_ADDRESS_MASK) << 18;
        for (unsigned b = 0; b < VV_EXTENT_BYTES; b++)
            *out++ = (uint8_t) (extent >> (8 * b));
        extents++;
        i += n;
    }
    size_t length_bytes = (size_t) (out - bytes);
    bytes[0] = PAGE_VERSION;
    bytes[1] = 0;
    vv_put_u16(bytes + 2, extents);
    vv_put_u32(bytes + 4, page_crc(bytes, length_bytes, key));
    return length_bytes;
}

int vv_page_decode(const uint8_t *bytes, size_t length_bytes, const VvPageKey *key, VvPage *ret_page)
{
    if (length_bytes < VV_PAGE_HEADER_BYTES || length_bytes > VV_PAGE_BYTES_MAX || bytes[0] != PAGE_VERSION || bytes[1] != 0)
        return -EUCLEAN;
    unsigned extents = vv_get_u16(bytes + 2);
    if (length_bytes != VV_PAGE_HEADER_BYTES + (size_t) extents * VV_EXTENT_BYTES ||
        vv_get_u32(bytes + 4) != page_crc(bytes, length_bytes, key))
        return -EUCLEAN;
    memset(ret_page, 0, sizeof *ret_page);
    const uint8_t *in = bytes + VV_PAGE_HEADER_BYTES;
    unsigned next = 0;
    for (unsigned e = 0; e < extents; e++, in += VV_EXTENT_BYTES) {
        uint64_t extent = 0;
        for (unsigned b = 0; b < VV_EXTENT_BYTES; b++)
            extent |= (uint64_t) in[b] << (8 * b);
        unsigned first = extent & 0xff, count = (unsigned) (extent >> 8 & 0xff) + 1;
        uint64_t address = extent >> 18;
        unsigned block = (unsigned) address & ((1u << 18) - 1);
        if (first < next || first + count > VV_REGION_BLOCKS || (extent >> 17 & 1) != 0 || block + count > 1u << 18)
            return -EUCLEAN;
        VvPlace place = VV_PLACE_MAPPED | address | ((extent >> 16 & 1) != 0 ? VV_PLACE_OWN : 0);
        if (first == next && first > 0 && place == ret_page->place[first - 1] + 1 &&
            vv_place_segment(place) == vv_place_segment(ret_page->place[first - 1]))
            return -EUCLEAN; /* one extent in two: nobody writes that */
        for (unsigned i = 0; i < count; i++)
            ret_page->place[first + i] = place + i;
        next = first + count;
    }
    return 0;
}

bool vv_page_bytes_empty(const uint8_t *bytes, size_t length_bytes)
{
    return length_bytes == VV_PAGE_HEADER_BYTES && vv_get_u16(bytes + 2) == 0;
}

uint32_t vv_page_mapped_count(const VvPage *page)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        n += page->place[i] != 0;
    return n;
}
