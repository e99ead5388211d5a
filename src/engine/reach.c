/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening a disk of another node, and its label there: reach.h. */
#include "reach.h"

#include "disk_private.h"
#include "link.h"

#include <string.h>

void vv_far_label(VvPool *pool, const VvDiskInfo *info, VvLabel *ret_label)
{
    const VvPoolInfo *about = vv_meta_pool(vv_pool_meta(pool));

    *ret_label = (VvLabel){ .pool_uuid = about->uuid,
        .disk_uuid = info->uuid,
        .disk_id = info->id,
        .size_bytes = info->size_bytes,
        .created_ns = info->created_ns };
    g_strlcpy(ret_label->pool_name, about->name, sizeof ret_label->pool_name);
    g_strlcpy(ret_label->disk_name, info->name, sizeof ret_label->disk_name);
}

VvDisk *vv_disk_open_far(const VvDiskWays *reach, const char *path, const VvLabel *label, GError **error)
{
    g_autoptr(VvDisk) disk = NULL;
    const char *there;
    uint64_t node;

    if (!vv_node_address_parse(path, &node, &there)) {
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "%s is no path of a disk", path);
        return NULL;
    }
    if (!reach) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, NULL, "%s is a disk of another node, and is reached by a daemon that talks to it", path);
        return NULL;
    }
    disk = vv_disk_new(path, false);
    disk->label = *label; /* incarnation 0: its node has the lock, and serves this node alone */
    disk->remote = vv_link_open_known(reach->way(reach->user, node, label->disk_id), label->disk_name, &disk->label, error);
    disk->ops = &vv_disk_remote_ops;
    return disk->remote ? g_steal_pointer(&disk) : NULL;
}

bool vv_disk_adopt_label(VvDisk *disk, uint64_t id, const char *name, GError **error)
{
    VvLabel label = disk->label;

    label.disk_id = id;
    g_strlcpy(label.disk_name, name, sizeof label.disk_name);
    if (disk->label.disk_id == id && strcmp(disk->label.disk_name, name) == 0)
        return true;
    int rc = vv_disk_write_label(disk, &label);
    if (rc < 0) {
        vv_set_error_errno(error, rc, disk->path, "the label of %s cannot be written", disk->path);
        return false;
    }
    disk->label = label;
    return true;
}
