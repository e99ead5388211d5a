/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of problems.c that need no pool, and the search for unused disks. */
#ifndef VV_PROBLEMS_H
#define VV_PROBLEMS_H

#include "meta.h"
#include "pool.h"

GPtrArray *vv_problems_new(void);
/* Takes @message. @fixes: command, effect or NULL, command, effect or NULL ...; copied. May be NULL. */
void vv_problems_add(GPtrArray *problems, VvSeverity severity, const char *code, const char *object, char *message,
    const GPtrArray *fixes);
void vv_problems_sort(GPtrArray *problems); /* worst first, else in the order added */
unsigned vv_space_used_percent(const VvSpaceSummary *space);
bool vv_space_is_full(const VvSpaceSummary *space); /* nobody can get a segment */

/* spare.c: block devices that nothing uses: no partitions, holders, mounts, swap, no signature that libblkid knows, at least
 * VV_DISK_BYTES_MIN, writable; loop, ram, zram, nbd and optical devices are left out. Those that cannot be opened too. */
typedef struct {
    char *device;
    uint64_t size_bytes;
} VvSpareDisk;
GPtrArray *vv_spare_disks(const char *sys); /* of VvSpareDisk with free function */

#endif
