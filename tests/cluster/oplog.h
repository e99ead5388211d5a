/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one process did to LUNs, and when: a file that is mapped, so that it tells everything after the process was killed. In the
 * order of the machine that wrote it; a header of 64 bytes, then a record of 64 bytes per operation:
 *
 *     begin   everything but `end_ns` and `result` is there before the operation is issued
 *     end     `end_ns` is set, `result` said how it ended; 0: it is not known whether it was done
 *
 * Times are CLOCK_MONOTONIC: of one machine, so of all nodes of a rig. */
#ifndef VVPAT_OPLOG_H
#define VVPAT_OPLOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OPLOG_OPS_MAX (UINT64_C(1) << 24) /* 1 GiB of log, sparse until it is used */

typedef enum { OP_NONE, OP_WRITE, OP_READ, OP_FLUSH } OpKind;

typedef struct {
    _Atomic uint32_t kind; /* OpKind; the last that is set at the begin */
    int32_t result;        /* 0, -errno; valid with end_ns */
    uint32_t lun, node;
    uint64_t offset_bytes, length_bytes; /* of a flush: 0, 0: the whole LUN */
    uint64_t value;                      /* stamp_value() of what was written or, from the end on, read */
    uint64_t start_ns;
    _Atomic uint64_t end_ns; /* 0: it has not returned */
    uint64_t reserved;
} OpRecord;
_Static_assert(sizeof(OpRecord) == 64, "a record is 64 bytes");

typedef struct OpLog OpLog;

/* Open for appending @room more operations; made if it is not there. Says on stderr why not. */
OpLog *oplog_open(const char *path, uint64_t room);
/* For reading, whether somebody still writes it or not. */
OpLog *oplog_read(const char *path);
void oplog_close(OpLog *log);
uint64_t oplog_count(const OpLog *log);
const OpRecord *oplog_at(const OpLog *log, uint64_t i);
/* Any thread. NULL: the log is full. */
OpRecord *oplog_begin(OpLog *log, const OpRecord *what);
void oplog_end(OpRecord *record, int result);
uint64_t oplog_now_ns(void);

#endif
