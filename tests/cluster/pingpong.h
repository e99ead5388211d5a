/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the numbers of a ping-pong belong. Number n, from 1, is written by participant n % participants, to file n % luns, to slot
 * n / luns % slots, which is a block of --bs bytes; the stamps say all of that. So an image of all files tells for each slot which
 * number it must hold if the highest number anywhere is N: the last that belongs there and is not above N. */
#ifndef VVPAT_PINGPONG_H
#define VVPAT_PINGPONG_H

#include <stdint.h>

static inline uint32_t pingpong_file(uint64_t number, uint32_t luns)
{
    return (uint32_t) (number % luns);
}
static inline uint32_t pingpong_slot(uint64_t number, uint32_t luns, uint32_t slots)
{
    return (uint32_t) (number / luns % slots);
}
/* The last number up to @highest that belongs to the slot; 0: none. */
static inline uint64_t pingpong_expected(uint64_t highest, uint32_t file, uint32_t slot, uint32_t luns, uint32_t slots)
{
    uint64_t first = (uint64_t) slot * luns + file, round = (uint64_t) luns * slots;

    return highest < first
               ? 0
               : highest - (highest - first) % round; /* 0 is no number: file 0, slot 0 begins with a round */
}

#endif
