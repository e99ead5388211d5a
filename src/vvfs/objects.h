/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUNs, snapshots and disks as JSON. The catalog is copied under its read lock and asked no more: what the engine adds (who
 * has it open, exclusive bytes) takes locks of its own. Crews' threads. */
#ifndef VV_OBJECTS_H
#define VV_OBJECTS_H

#include "daemon.h"
#include "json.h"

#include <glib.h>
#include <stdbool.h>

/* A copy of what the catalog says of a LUN. */
typedef struct {
    uint64_t id;
    VvUuid uuid;
    char *name;
    char *origin; /* "" if it is no clone */
    uint64_t size_bytes, used_bytes, created_ns;
    unsigned snapshot_count;
    VvLunProps props;
    char **disks;      /* names of those that were chosen for it; NULL: any */
    GPtrArray *clones; /* char *; only if asked for, else NULL */
} VvLunItem;
void vv_lun_item_free(VvLunItem *item);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvLunItem, vv_lun_item_free)

typedef struct {
    uint64_t id;
    VvUuid uuid;
    char *lun, *name, *object, *note;
    uint64_t size_bytes, used_bytes, created_ns, keep_until_ns;
    uint8_t kind;
    GPtrArray *clones;
} VvSnapshotItem;
void vv_snapshot_item_free(VvSnapshotItem *item);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvSnapshotItem, vv_snapshot_item_free)

typedef struct {
    uint64_t id;
    VvUuid uuid;
    uint64_t node;     /* whose it is; 0: the pool does not listen */
    char *name, *path; /* there */
    uint64_t size_bytes, free_bytes, used_bytes;
    VvState state;
} VvDiskItem;
void vv_disk_item_free(VvDiskItem *item);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvDiskItem, vv_disk_item_free)

/* All LUNs by name, from @from on (NULL: the first), at most @max. With free function. */
GPtrArray *vv_lun_items(VvDaemon *daemon, const char *from, unsigned max);
/* All snapshots of the LUNs @luns (NULL or empty: all), by LUN's name, then by creation, at or after (@from_lun, @from_id). */
GPtrArray *vv_snapshot_items(
    VvDaemon *daemon, const char *const *luns, const char *from_lun, uint64_t from_id, unsigned max);
GPtrArray *vv_disk_items(VvDaemon *daemon);
/* One, with its clones. Errors: not-found, with the words of the protocol; invalid-name. */
VvLunItem *vv_lun_item(VvDaemon *daemon, const char *name, GError **error);
VvSnapshotItem *vv_snapshot_item(VvDaemon *daemon, const char *object, GError **error);
/* By name, UUID, address or path; a path is first one of this node. */
VvDiskItem *vv_disk_item(VvDaemon *daemon, const char *disk, GError **error);
VvDiskItem *vv_disk_item_for(VvDaemon *daemon, uint64_t node, const char *disk, GError **error); /* asked by that node */
/* Is each a LUN of the pool? Errors: as vv_lun_item. */
bool vv_lun_names_check(VvDaemon *daemon, char **names, GError **error);
/* not-found, in the words of the protocol. */
void vv_set_error_no_lun(VvDaemon *daemon, const char *name, GError **error);

/* The items of lists. */
/* What "exclusive" is worth to who asks: a change's answer is not held up, and starts no count that its caller may not want. */
typedef enum { VV_EXCLUSIVE_NONE, VV_EXCLUSIVE_IF_KNOWN, VV_EXCLUSIVE_COUNT_NOW } VvExclusiveWish;
/* For a list: asks for counts of its first items, and gives them a moment, so that what is cheap to count is told at the first
 * look and a long list does not keep the machine busy for hours. Blocks; returns how many items may be asked for. */
unsigned vv_exclusive_await(VvDaemon *daemon, const uint64_t *ids, unsigned count);
static inline VvExclusiveWish vv_exclusive_wish(bool exact, bool asked)
{
    return exact ? VV_EXCLUSIVE_COUNT_NOW : asked ? VV_EXCLUSIVE_IF_KNOWN : VV_EXCLUSIVE_NONE;
}
JsonObject *vv_lun_json(VvDaemon *daemon, const VvLunItem *item, VvExclusiveWish wish);
JsonObject *vv_snapshot_json(VvDaemon *daemon, const VvSnapshotItem *item, VvExclusiveWish wish);
JsonObject *vv_disk_json(VvDaemon *daemon, const VvDiskItem *item);
/* What `show` says beyond. */
void vv_lun_json_more(VvDaemon *daemon, const VvLunItem *item, JsonObject *object);
void vv_snapshot_json_more(VvDaemon *daemon, const VvSnapshotItem *item, JsonObject *object);
void vv_disk_json_more(VvDaemon *daemon, const VvDiskItem *item, JsonObject *object);

/* {default, nodes}. NULL: not-found, invalid-name. */
JsonObject *vv_share_json(VvDaemon *daemon, const char *object, GError **error);

/* MOUNT/luns/NAME or MOUNT/snapshots/LUN/SNAP; NULL: not mounted. Newly allocated. */
char *vv_object_path(VvDaemon *daemon, const char *lun, const char *snapshot);
/* The "prefix" that a generated name was made with, or NULL. Newly allocated. */
char *vv_snapshot_prefix(const char *name);

#endif
