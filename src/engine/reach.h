/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of other nodes ("node://ID/PATH" in their records): what an engine asks for to reach them, and what their nodes do with them.
 *
 * R1  The disk is made, locked, checked and let go by its node; the engine with the map reaches it by a link (link.h), as it reaches an
 *     export. It need not be there when the pool opens: what needs it waits, and ends with EIO as K4 says.
 * R2  Its label is written before the entry that adds it, and erased after the entry that removes it is applied on its node.
 * R3  What an earlier process may have written there without a sync is covered by the first flush of each LUN (pending_slots.h), as the disk
 *     cannot be waited for when the pool opens. */
#ifndef VV_REACH_H
#define VV_REACH_H

#include "disk.h"
#include "pool.h"

struct VvTransport;

typedef struct VvDiskWays {
    /* A new way to disk @disk_id, which node @node serves; never NULL. Any thread that may open disks. */
    struct VvTransport *(*way)(void *user, uint64_t node, uint64_t disk_id);
    void *user;
} VvDiskWays;

/* The disk of a record whose path is @path. @label: as the record says. Waits for nothing. Errors: unsupported (@reach is NULL), damaged (no
 * such address), others if there is no thread. */
VvDisk *vv_disk_open_far(const VvDiskWays *reach, const char *path, const VvLabel *label, GError **error);

/* What stands on the disk of a record, as far as who opens it needs to know. Read lock held, or nothing changes the catalog. */
void vv_far_label(VvPool *pool, const VvDiskInfo *info, VvLabel *ret_label);

/* ---- on its node */
/* The label says @id and @name from now on. Before anybody is served. Error: io. */
bool vv_disk_adopt_label(VvDisk *disk, uint64_t id, const char *name, GError **error);

/* ---- where the map's disks are */
typedef struct {
    const char *path; /* node://ID/PATH */
    VvUuid uuid;      /* as its label says */
    uint64_t size_bytes, created_ns;
    const char *name; /* NULL: chosen from the path */
} VvFarDisk;
/* A disk that its node has made becomes one of the pool. Errors: usage, exists (name or UUID), limit, unsupported, and those of transactions.
 * @dry_run: only looks; the UUID is not looked at. */
bool vv_pool_disk_adopt(VvPool *pool, const VvFarDisk *disk, bool dry_run, VvRequest *request, char **ret_name, GError **error);

#endif
