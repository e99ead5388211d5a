/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is what happened to one register (a block, a sector) what one register could have done, one operation at a time, each at some
 * instant between its call and its return? The search is that of Wing and Gong as Lowe mended it: operations are taken in the order
 * of their calls as long as none is passed over that had returned before, with a memory of what was tried.
 *
 *     operation     may have happened                      must have
 *     read          between start and end                  yes; a read that failed is not told
 *     write         between start and end                  yes
 *     write, open   any time after start                   no: nobody knows whether it did
 *
 * If every value is written once (vvpat sees to that), an open write whose value nobody read is left out, and a write that was read has
 * happened before the first such read returned: so open writes do not make the search longer. */
#ifndef VVPAT_REGISTER_H
#define VVPAT_REGISTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTER_OPEN UINT64_MAX /* end_ns: it has not returned */

typedef struct {
    bool write;
    uint64_t value;            /* 0: what the register holds at first */
    uint64_t start_ns, end_ns; /* start <= end */
} RegisterOp;

typedef enum { REGISTER_GOOD, REGISTER_BAD, REGISTER_NO_MEMORY } RegisterVerdict;

/* @ops are put in the order of their starts. Of a bad history *ret_first_bad_ns is the time until which it was good: when the operation
 * returned that cannot be. */
RegisterVerdict register_check(RegisterOp *ops, size_t count, uint64_t *ret_first_bad_ns);

#endif
