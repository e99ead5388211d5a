/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all back ends share: finding the right one, and waiting for it. */
#include "remote.h"

#include "disk_private.h"
#include "nbd.h"
#include "waiter.h"

VvRemote *vv_remote_open(const char *path, bool read_only, unsigned wait_ms, GError **error)
{
    if (vv_is_node_address(path)) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, "vvfs-admin disk add, on that node", "%s is a disk of another node: it is reached by a pool "
            "that is open", path);
        return NULL;
    }
    return vv_nbd_open(path, read_only, wait_ms, error);
}

void vv_remote_free(VvRemote *remote)
{
    if (remote)
        remote->ops->free(remote);
}

static void over_cb(VvRemoteRequest *request, int result)
{
    vv_waiter_over_cb(request->user, result);
}

int vv_remote_do(VvRemote *remote, VvRemoteKind kind, void *data, uint64_t length_bytes, uint64_t offset)
{
    VvWaiter waiter = VV_WAITER_INIT;
    VvRemoteRequest request = {
        .kind = kind, .data = data, .offset = offset, .length_bytes = length_bytes, .done = over_cb, .user = &waiter
    };
    remote->ops->submit(remote, &request);
    return vv_waiter_wait(&waiter);
}

/* ---- as operations of a disk */

static int remote_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    return vv_remote_do(disk->remote, VV_REMOTE_READ, data, length_bytes, offset);
}

static int remote_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    return vv_remote_do(disk->remote, VV_REMOTE_WRITE, (void *) (uintptr_t) data, length_bytes, offset);
}

static int remote_sync(VvDisk *disk)
{
    return vv_remote_do(disk->remote, VV_REMOTE_SYNC, NULL, 0, 0);
}

/* Nothing depends on it, so who returns space does not wait for a medium that is away. */
static int remote_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    g_autofree char *away = disk->remote->ops->trouble(disk->remote);

    if (away)
        return 0;
    return vv_remote_do(disk->remote, VV_REMOTE_DISCARD, NULL, length_bytes, offset);
}

const VvDiskOps vv_disk_remote_ops = {
    .read = remote_read,
    .write = remote_write,
    .sync = remote_sync,
    .discard = remote_discard,
};
