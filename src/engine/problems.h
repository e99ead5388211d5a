/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of problems share, and the search for unused disks. */
#ifndef VV_PROBLEMS_H
#define VV_PROBLEMS_H

#include "meta.h"
#include "pool.h"

GPtrArray *vv_problems_new(void);
/* Takes @message. @fixes: command, effect or NULL, command, effect or NULL ...; copied. May be NULL. */
void vv_problems_add(GPtrArray *problems, VvSeverity severity, const char *code, const char *object, char *message,
    const GPtrArray *fixes);
/* Lists of fixes; both texts are taken, @effect may be NULL. */
GPtrArray *vv_fixes_new(void);
void vv_fixes_add(GPtrArray *fixes, char *command, char *effect);
/* Snapshots to remove: of LUNs for which @disks were chosen; NULL: of all. */
void vv_suggest_removals(VvPool *pool, const VvDiskSet *disks, GPtrArray *fixes);
void vv_problems_sort(GPtrArray *problems); /* worst first, else in the order added */
unsigned vv_space_used_percent(const VvSpaceSummary *space);
bool vv_space_is_full(const VvSpaceSummary *space); /* nobody can get a segment */

/* problems_disks.c: LUNs for which disks were chosen that are full, while the pool is not. */
void vv_look_at_chosen_disks(VvPool *pool, GPtrArray *problems);

/* problems_disks.c: blocks that do not hold what was written, or cannot be read (damage.h). */
void vv_look_at_damages(VvPool *pool, GPtrArray *problems);

/* config_room.c: the file systems below, and the map. */
void vv_look_at_room(VvPool *pool, const char *name, GPtrArray *problems);

/* spare.c: block devices that nothing uses: no partitions, holders, mounts, swap, no signature that libblkid knows, at least
 * VV_DISK_BYTES_MIN, writable; loop, ram, zram, nbd and optical devices are left out. Those that cannot be opened too. */
typedef struct {
    char *device;
    uint64_t size_bytes;
} VvSpareDisk;
GPtrArray *vv_spare_disks(const char *sys); /* of VvSpareDisk with free function */

#endif
