/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of open files in memory that outlives the process: a memfd that another process holds too.
 *
 *     0      8    magic "vvopens1"
 *     8      4    records in use: those from here on were never written
 *     12     ..   zero
 *     4096   32   record 0
 *     4128   32   record 1 ...
 *
 *     record 0    4    generation: odd while open; a file handle is (generation << 32 | number of the record)
 *            4    1    kind (VvHandleKind)
 *            5    1    1: open for writing
 *            8    4    process that opened it
 *            12   4    bytes of a text
 *            16   8    node
 *            24   8    unique of the request that opened it, without the bit of a resent one
 *
 * P1  A record is whole before its generation is odd, and stays so until it is even: whatever a process dies at, what is open
 *     is told right. (It is the same machine that reads it: nothing has to reach a disk.)
 * P2  A record is there before the kernel is answered. If the answer was never sent the request comes again, and finds the record
 *     by its unique: it gets the same handle, not a second one that nobody would close.
 * P3  Node and unique of a closed record stay: a successor sees to the objects that were just closed (an elastic LUN, an orphan). */
#ifndef VV_OPENS_H
#define VV_OPENS_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    _Atomic uint32_t generation;
    uint8_t kind;
    uint8_t write;
    uint16_t zero;
    uint32_t pid;
    uint32_t text_bytes;
    uint64_t node;
    uint64_t unique;
} VvOpenRecord;
_Static_assert(sizeof(VvOpenRecord) == 32, "as in the table");

typedef struct {
    void *map; /* NULL: none */
    VvOpenRecord *records;
    _Atomic uint32_t *used;
    GHashTable *uniques; /* unique -> index + 1, of what a predecessor left open; NULL: nothing. Constant once it is served */
} VvOpens;

/* Error: io; damaged (it is not what it should be: magic, numbers). An empty one is begun. */
bool vv_opens_map(VvOpens *opens, int fd, GError **error);
void vv_opens_unmap(VvOpens *opens);

#endif
