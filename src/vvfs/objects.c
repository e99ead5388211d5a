/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies of catalog records, and looking them up by what people type. */
#include "objects.h"

#include "error.h"
#include "far_disks.h"
#include "node.h"
#include "relay.h"
#include "sharing.h"

#include <string.h>

void vv_lun_item_free(VvLunItem *item)
{
    if (!item)
        return;
    g_free(item->name);
    g_free(item->origin);
    g_strfreev(item->disks);
    g_clear_pointer(&item->clones, g_ptr_array_unref);
    g_free(item);
}

void vv_snapshot_item_free(VvSnapshotItem *item)
{
    if (!item)
        return;
    g_free(item->lun);
    g_free(item->name);
    g_free(item->object);
    g_free(item->note);
    g_clear_pointer(&item->clones, g_ptr_array_unref);
    g_free(item);
}

void vv_disk_item_free(VvDiskItem *item)
{
    if (!item)
        return;
    g_free(item->name);
    g_free(item->path);
    g_free(item);
}

/* ---- copying; the read lock is held */
static char **copy_disks(const VvMeta *meta, const VvDiskSet *set)
{
    char **names = g_new0(char *, set->count + 1);

    for (unsigned i = 0; i < set->count; i++)
        names[i] = g_strdup(vv_meta_disk(meta, set->ids[i])->name);
    return names;
}

static VvLunItem *copy_lun(const VvMeta *meta, const VvLun *lun)
{
    VvLunItem *item = g_new0(VvLunItem, 1);
    const VvDiskSet *disks = vv_meta_lun_disks(meta, lun);

    item->id = lun->id;
    item->uuid = lun->uuid;
    item->name = g_strdup(lun->name);
    item->origin = g_strdup(lun->origin ? lun->origin : "");
    item->size_bytes = lun->size_bytes;
    item->used_bytes = lun->used_blocks << VV_BLOCK_SHIFT;
    item->created_ns = lun->created_ns;
    item->snapshot_count = lun->snapshots->len;
    item->props = lun->props;
    item->disks = disks ? copy_disks(meta, disks) : NULL;
    return item;
}

static VvSnapshotItem *copy_snapshot(const VvLun *lun, const VvSnapshot *snapshot)
{
    VvSnapshotItem *item = g_new0(VvSnapshotItem, 1);

    item->id = snapshot->id;
    item->uuid = snapshot->uuid;
    item->lun = g_strdup(lun->name);
    item->name = g_strdup(snapshot->name);
    item->object = g_strdup_printf("%s@%s", lun->name, snapshot->name);
    item->note = g_strdup(snapshot->note ? snapshot->note : "");
    item->size_bytes = snapshot->size_bytes;
    item->used_bytes = snapshot->used_blocks << VV_BLOCK_SHIFT;
    item->created_ns = snapshot->created_ns;
    item->keep_until_ns = snapshot->keep_until_ns;
    item->kind = snapshot->kind;
    return item;
}

/* What is relative is so to the directory of the node that has it. */
static char *path_of(const VvDaemon *daemon, const VvDiskInfo *disk, uint64_t *ret_node)
{
    const char *path;

    *ret_node = daemon->cluster ? VV_FIRST_NODE : 0;
    if (vv_node_address_parse(disk->path, ret_node, &path))
        return g_strdup(path);
    if (*disk->path == '/' || vv_is_address(disk->path) || vv_relay_is_elsewhere(daemon))
        return g_strdup(disk->path);
    return g_build_filename(daemon->directory, disk->path, NULL);
}

static VvDiskItem *copy_disk(const VvDaemon *daemon, const VvDiskInfo *disk)
{
    VvDiskItem *item = g_new0(VvDiskItem, 1);

    item->id = disk->id;
    item->uuid = disk->uuid;
    item->name = g_strdup(disk->name);
    item->path = path_of(daemon, disk, &item->node);
    item->size_bytes = disk->size_bytes;
    item->free_bytes = (uint64_t) disk->free_unit_count << VV_SEGMENT_SHIFT_MIN;
    item->used_bytes = (uint64_t) (disk->unit_count - disk->free_unit_count) << VV_SEGMENT_SHIFT_MIN;
    item->state = vv_pool_disk_state(daemon->pool, disk);
    if (item->state == VV_STATE_OK && vv_relay_is_elsewhere(daemon) && !vv_node_sees_disk(daemon->cluster, item->node, item->id))
        item->state = VV_STATE_MISSING;
    return item;
}

/* The snapshot of another LUN that @lun's head goes back to, NULL if it is no clone. A restored LUN's branch hangs on a
 * snapshot of its own: the way leads on from there. */
static const VvSnapshot *lun_parent(const VvMeta *meta, const VvLun *lun)
{
    const VvBranch *branch = vv_meta_branch(meta, lun->branch);

    while (branch && branch->origin_snapshot) {
        const VvSnapshot *origin = vv_meta_snapshot(meta, branch->origin_snapshot);

        if (!origin)
            return NULL;
        if (origin->lun != lun->id)
            return origin;
        branch = vv_meta_branch(meta, origin->branch);
    }
    return NULL;
}

/* Names of the LUNs whose parent is a snapshot of @lun or, if given, @snapshot itself. */
static GPtrArray *copy_clones(const VvMeta *meta, uint64_t lun_id, uint64_t snapshot_id)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GPtrArray *luns = vv_meta_luns(meta);

    for (unsigned i = 0; i < luns->len; i++) {
        const VvLun *lun = luns->pdata[i];
        const VvSnapshot *parent = lun_parent(meta, lun);

        if (parent && (snapshot_id ? parent->id == snapshot_id : parent->lun == lun_id))
            g_ptr_array_add(names, g_strdup(lun->name));
    }
    return names;
}

/* ---- lists */
static gint compare_luns(gconstpointer a, gconstpointer b)
{
    const VvLun *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

/* A guest knows LUNs by name alone of which snapshots are shared with it. The read lock is held. */
static bool is_known(const VvDaemon *daemon, const VvLun *lun)
{
    return !vv_node_is_guest(daemon->cluster) || vv_pool_share_mode_locked(daemon->pool, lun->id, 0) != VV_SHARE_NONE;
}

/* Borrowed LUNs by name, from @from on. The read lock is held. */
static GPtrArray *sorted_luns(const VvMeta *meta, const char *from)
{
    GPtrArray *all = vv_meta_luns(meta);
    GPtrArray *sorted = g_ptr_array_new();

    for (unsigned i = 0; i < all->len; i++) {
        const VvLun *lun = all->pdata[i];

        if (!from || strcmp(lun->name, from) >= 0)
            g_ptr_array_add(sorted, all->pdata[i]);
    }
    g_ptr_array_sort(sorted, compare_luns);
    return sorted;
}

GPtrArray *vv_lun_items(VvDaemon *daemon, const char *from, unsigned max)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    GPtrArray *items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_lun_item_free);
    g_autoptr(GPtrArray) luns = NULL;

    vv_meta_read_lock(meta);
    luns = sorted_luns(meta, from);
    for (unsigned i = 0; i < luns->len && items->len < max; i++)
        if (is_known(daemon, luns->pdata[i]))
            g_ptr_array_add(items, copy_lun(meta, luns->pdata[i]));
    vv_meta_read_unlock(meta);
    return items;
}

GPtrArray *vv_snapshot_items(
    VvDaemon *daemon, const char *const *luns, const char *from_lun, uint64_t from_id, unsigned max)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    GPtrArray *items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_snapshot_item_free);
    g_autoptr(GPtrArray) all = NULL;

    vv_meta_read_lock(meta);
    all = sorted_luns(meta, from_lun);
    for (unsigned i = 0; i < all->len && items->len < max; i++) {
        const VvLun *lun = all->pdata[i];
        uint64_t first = from_lun && strcmp(lun->name, from_lun) == 0 ? from_id : 0;

        if (luns && *luns && !g_strv_contains(luns, lun->name))
            continue;
        for (unsigned j = 0; j < lun->snapshots->len && items->len < max; j++) {
            const VvSnapshot *snapshot = lun->snapshots->pdata[j];

            if (snapshot->id >= first)
                g_ptr_array_add(items, copy_snapshot(lun, snapshot));
        }
    }
    vv_meta_read_unlock(meta);
    return items;
}

GPtrArray *vv_disk_items(VvDaemon *daemon)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    GPtrArray *items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_disk_item_free);
    GPtrArray *disks;

    vv_meta_read_lock(meta);
    disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < disks->len; i++)
        g_ptr_array_add(items, copy_disk(daemon, disks->pdata[i]));
    vv_meta_read_unlock(meta);
    return items;
}

/* ---- one */
void vv_set_error_no_lun(VvDaemon *daemon, const char *name, GError **error)
{
    vv_set_error(error, VV_ERROR_NOT_FOUND, name, "vvfs-admin lun list", "no LUN %s in pool %s", name, daemon->name);
}

VvLunItem *vv_lun_item(VvDaemon *daemon, const char *name, GError **error)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    VvLunItem *item = NULL;
    const VvLun *lun;

    if (!vv_name_check(name, "LUN", error))
        return NULL;
    vv_meta_read_lock(meta);
    lun = vv_meta_lun_by_name(meta, name);
    if (lun && is_known(daemon, lun)) {
        item = copy_lun(meta, lun);
        item->clones = copy_clones(meta, lun->id, 0);
    }
    vv_meta_read_unlock(meta);
    if (!item)
        vv_set_error_no_lun(daemon, name, error);
    return item;
}

bool vv_lun_names_check(VvDaemon *daemon, char **names, GError **error)
{
    for (unsigned i = 0; names[i]; i++) {
        g_autoptr(VvLunItem) item = vv_lun_item(daemon, names[i], error);

        if (!item)
            return false;
    }
    return true;
}

VvSnapshotItem *vv_snapshot_item(VvDaemon *daemon, const char *object, GError **error)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    VvSnapshotItem *item = NULL;
    g_autofree char *lun_name = NULL, *name = NULL;
    const VvLun *lun;
    const VvSnapshot *snapshot;

    if (!vv_name_split(object, false, &lun_name, &name, error))
        return NULL;
    vv_meta_read_lock(meta);
    lun = vv_meta_lun_by_name(meta, lun_name);
    snapshot = lun ? vv_meta_snapshot_by_name(meta, lun, name) : NULL;
    if (snapshot) {
        item = copy_snapshot(lun, snapshot);
        item->clones = copy_clones(meta, lun->id, snapshot->id);
    }
    vv_meta_read_unlock(meta);
    if (!lun)
        vv_set_error_no_lun(daemon, lun_name, error);
    else if (!item) {
        g_autofree char *hint = g_strdup_printf("vvfs-admin snapshot list %s", lun_name);

        vv_set_error(error, VV_ERROR_NOT_FOUND, object, hint, "no snapshot %s in pool %s", object, daemon->name);
    }
    return item;
}

VvDiskItem *vv_disk_item(VvDaemon *daemon, const char *disk, GError **error)
{
    return vv_disk_item_for(daemon, daemon->cluster ? vv_node_id(daemon->cluster) : 0, disk, error);
}

VvDiskItem *vv_disk_item_for(VvDaemon *daemon, uint64_t own, const char *disk, GError **error)
{
    g_autoptr(GPtrArray) items = vv_disk_items(daemon);
    g_autofree char *path = *disk == '/' ? g_canonicalize_filename(disk, "/") : NULL;
    uint64_t node = 0;
    const char *there = NULL;
    unsigned at = items->len; /* whose path it is */
    VvUuid uuid;
    bool is_uuid = vv_uuid_parse(disk, &uuid);

    (void) vv_node_address_parse(disk, &node, &there);
    for (unsigned i = 0; i < items->len; i++) {
        VvDiskItem *item = items->pdata[i];

        if (strcmp(item->name, disk) == 0 || (is_uuid && vv_uuid_equal(&item->uuid, &uuid)) || (node && item->node == node && strcmp(item->path, there) == 0))
            return g_ptr_array_steal_index(items, i);
        if (path && strcmp(item->path, path) == 0 && (at == items->len || item->node == own))
            at = i;
    }
    if (at < items->len)
        return g_ptr_array_steal_index(items, at);
    vv_set_error(error, VV_ERROR_NOT_FOUND, disk, "vvfs-admin disk list", "no disk %s in pool %s", disk, daemon->name);
    return NULL;
}
