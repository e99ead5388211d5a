/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a sector says about itself: which LUN's it is, where it belongs, who wrote it, as which of its writes. Little-endian:
 *
 *     offset  size                                   offset  size
 *          0     8  magic "vvpat\0\0\1"                  36     4  participants  of a ping-pong, else 0:
 *          8     4  LUN, a number that the user gives    40     4  LUNs          they tell where each
 *         12     4  node                                 44     4  slots         number belongs
 *         16     8  address, in sectors                  48   460  made from all the above
 *         24     8  sequence, from 1                    508     4  crc32c of the 508 bytes before
 *         32     4  bytes of the write it was part of
 *
 * A sector of zeros was never written. */
#ifndef VVPAT_STAMP_H
#define VVPAT_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_BYTES 512u
#define STAMP_NODES_MAX (1u << 20)
#define STAMP_SEQUENCE_MAX (((uint64_t) 1 << 43) - 1)

typedef struct {
    uint32_t lun, node;
    uint64_t sector;
    uint64_t sequence;
    uint32_t write_bytes;
    uint32_t participants, luns, slots;
} Stamp;

typedef enum {
    STAMP_GOOD,
    STAMP_EMPTY,
    STAMP_STRANGE,       /* neither zeros nor a stamp */
    STAMP_DAMAGED,       /* the checksum or the filling is wrong */
    STAMP_OTHER_LUN,     /* another LUN's data */
    STAMP_OTHER_ADDRESS, /* data that belongs elsewhere */
} StampState;

/* Stamp @bytes of data for address @offset: @stamp's sector is set for each. */
void stamp_fill(uint8_t *data, size_t bytes, uint64_t offset, Stamp *stamp);
/* Look at one sector that was read at @sector of @lun. *ret_stamp is set unless it is empty or strange. */
StampState stamp_look(const uint8_t *data, uint32_t lun, uint64_t sector, Stamp *ret_stamp);
const char *stamp_state_name(StampState state);
/* Node and sequence as one number, 0 for never written. */
uint64_t stamp_value(const Stamp *stamp);

#endif
