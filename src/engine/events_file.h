/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events in a memfd that outlives the process, so that a successor goes on with them: slots of 512 bytes, event n in slot n modulo
 * VV_EVENTS_KEPT. Words have the machine's byte order: a memfd never leaves it.
 *
 *   offset    bytes
 *        0        8  number; 0: none, or its writer died amid it. Stored last
 *        8        8  time
 *       16        4  crc32c of bytes 0 to 15 and 20 to 511
 *       20        1  severity
 *       21        1  bytes of code, of object (2), of message (2); they follow each other at 32, what is too long is cut
 *
 * Who reads believes nothing: what does not fit is left out. For engine/events.c, which calls with its lock held. */
#ifndef VV_EVENTS_FILE_H
#define VV_EVENTS_FILE_H

#include "pool.h"

#define VV_EVENT_SLOT_BYTES 512u
#define VV_EVENTS_FILE_BYTES (VV_EVENTS_KEPT * VV_EVENT_SLOT_BYTES)

typedef struct VvEventsFile VvEventsFile;

/* NULL: @fd, borrowed, is no memfd of that size that cannot shrink. */
VvEventsFile *vv_events_file_open(int fd);
void vv_events_file_close(VvEventsFile *file);
void vv_events_file_put(VvEventsFile *file, const VvEvent *event);
/* The event with @number, newly allocated with its texts, or NULL. */
VvEvent *vv_events_file_get(const VvEventsFile *file, uint64_t number);
uint64_t vv_events_file_last(const VvEventsFile *file); /* highest number; 0: none */

#endif
