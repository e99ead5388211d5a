/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pinned.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* 5.14 */
#endif

void vv_pin_share(void *memory, size_t bytes)
{
    (void) mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

size_t vv_pin_lock(void *memory, size_t bytes)
{
    if (mlock(memory, bytes) == 0)
        return bytes;
    (void) madvise(memory, bytes, MADV_POPULATE_WRITE);
    return 0;
}

bool vv_pin_populate(void *memory, size_t bytes)
{
    if (madvise(memory, bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    memset(memory, 0, bytes);
    return true;
}
