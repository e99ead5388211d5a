/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A ring of writes and one of their bytes.
 *
 * N1  Writes are numbered from 0 in the order of their ends; [first, end) are kept. A write's bytes are in one piece.
 * N2  What does not fit drops all that is kept: half of it is of no use. Until a sync that began after the last such write has succeeded,
 *     nothing is kept (`missing_end`). */
#include "unsynced.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct {
    uint64_t offset;
    uint64_t at; /* of its bytes in the ring */
    uint32_t length_bytes;
} Write;

struct VvUnsynced {
    uint8_t *bytes; /* mapped: what was never used takes no memory */
    uint64_t bytes_max;
    Write *writes; /* of writes_max; write n is at n % writes_max */
    unsigned writes_max;
    uint64_t first, end;  /* N1 */
    uint64_t missing_end; /* N2: a write before this number is not kept; 0: none */
};

VvUnsynced *vv_unsynced_new(uint64_t bytes_max, unsigned writes_max)
{
    VvUnsynced *unsynced = g_new0(VvUnsynced, 1);

    unsynced->bytes = mmap(NULL, bytes_max, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(unsynced->bytes != MAP_FAILED);
    unsynced->bytes_max = bytes_max;
    unsynced->writes = g_new(Write, writes_max);
    unsynced->writes_max = writes_max;
    return unsynced;
}

void vv_unsynced_free(VvUnsynced *unsynced)
{
    if (!unsynced)
        return;
    munmap(unsynced->bytes, unsynced->bytes_max);
    g_free(unsynced->writes);
    g_free(unsynced);
}

static Write *write_at(const VvUnsynced *unsynced, uint64_t number)
{
    return &unsynced->writes[number % unsynced->writes_max];
}

/* Where @length_bytes in one piece are unused, or -1. */
static int64_t find_room(const VvUnsynced *unsynced, uint64_t length_bytes)
{
    const Write *oldest, *newest;
    uint64_t next;

    if (unsynced->first == unsynced->end)
        return length_bytes <= unsynced->bytes_max ? 0 : -1;
    if (unsynced->end - unsynced->first == unsynced->writes_max)
        return -1;
    oldest = write_at(unsynced, unsynced->first);
    newest = write_at(unsynced, unsynced->end - 1);
    next = newest->at + newest->length_bytes;
    if (newest->at < oldest->at) /* they go round the end */
        return oldest->at - next >= length_bytes ? (int64_t) next : -1;
    if (unsynced->bytes_max - next >= length_bytes)
        return (int64_t) next;
    return oldest->at >= length_bytes ? 0 : -1;
}

void vv_unsynced_add(VvUnsynced *unsynced, uint64_t offset, const void *data, uint32_t length_bytes)
{
    int64_t at = unsynced->missing_end ? -1 : find_room(unsynced, length_bytes);

    if (at < 0) { /* N2 */
        unsynced->end++;
        unsynced->first = unsynced->end;
        unsynced->missing_end = unsynced->end;
        return;
    }
    memcpy(unsynced->bytes + at, data, length_bytes);
    *write_at(unsynced, unsynced->end++) = (Write){ .offset = offset, .at = (uint64_t) at, .length_bytes = length_bytes };
}

uint64_t vv_unsynced_mark(const VvUnsynced *unsynced)
{
    return unsynced->end;
}

void vv_unsynced_clean(VvUnsynced *unsynced, uint64_t mark)
{
    unsynced->first = MAX(unsynced->first, mark);
    if (mark >= unsynced->missing_end)
        unsynced->missing_end = 0;
}

bool vv_unsynced_is_empty(const VvUnsynced *unsynced)
{
    return unsynced->first == unsynced->end && unsynced->missing_end == 0;
}

bool vv_unsynced_is_whole(const VvUnsynced *unsynced)
{
    return unsynced->missing_end == 0;
}

bool vv_unsynced_is_high(const VvUnsynced *unsynced)
{
    const Write *oldest, *newest;
    uint64_t used;

    if (unsynced->missing_end || (unsynced->end - unsynced->first) * 2 >= unsynced->writes_max)
        return true;
    if (unsynced->first == unsynced->end)
        return false;
    oldest = write_at(unsynced, unsynced->first);
    newest = write_at(unsynced, unsynced->end - 1);
    used = newest->at + newest->length_bytes + (newest->at < oldest->at ? unsynced->bytes_max : 0) - oldest->at;
    return used * 2 >= unsynced->bytes_max;
}

bool vv_unsynced_next(
    VvUnsynced *unsynced, uint64_t *cursor, uint64_t *ret_offset, void **ret_data, uint32_t *ret_length_bytes)
{
    const Write *write;

    *cursor = MAX(*cursor, unsynced->first);
    if (*cursor >= unsynced->end)
        return false;
    write = write_at(unsynced, (*cursor)++);
    *ret_offset = write->offset;
    *ret_data = unsynced->bytes + write->at;
    *ret_length_bytes = write->length_bytes;
    return true;
}
