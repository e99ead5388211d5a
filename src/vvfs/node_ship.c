/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data of a node without disks: its shipper, and the connection that it uses, which is the first for data that this node has dialled to the
 * node with the disks. */
#include "node_private.h"

#include "base.h"
#include "far_disks.h"

/* "db", or its number. */
static char *lun_name(VvClusterNode *node, uint64_t id)
{
    char *name = NULL;
    VV_LOCKED(&node->event_lock);

    if (node->pool) {
        VvMeta *meta = vv_pool_meta(node->pool);
        const VvLun *lun;

        vv_meta_read_lock(meta);
        lun = vv_meta_lun(meta, id);
        name = lun ? g_strdup(lun->name) : NULL;
        vv_meta_read_unlock(meta);
    }
    return name ? name : g_strdup_printf("object %" G_GUINT64_FORMAT, id);
}

/* The shipper's thread. */
static void lost_cb(void *user, uint64_t object)
{
    VvClusterNode *node = user;
    g_autofree char *name = lun_name(node, object);

    vvn_event(node, VV_SEVERITY_CRITICAL, "writes-lost", name,
        "%s: the node with the disks has lost its memory, and with it perhaps what was written here and not flushed: the next flush here tells who wrote it",
        name);
}

void vvn_make_shipper(VvClusterNode *node)
{
    const VvShipperOptions options = { .lost = lost_cb, .user = node };

    if (!vv_node_has_disks(node, node->id) && !node->daemon->options->witness) /* which reads no data */
        node->shipper = vv_shipper_new(&options);
}

const VvElsewhere *vv_node_elsewhere(VvClusterNode *node)
{
    return node && node->shipper ? vv_shipper_elsewhere(node->shipper) : NULL;
}

bool vv_node_sees_disk(VvClusterNode *node, uint64_t of, uint64_t disk_id)
{
    VvMesh *mesh = node->mesh;
    g_autoptr(VvPeer) peer = mesh && of != node->id ? vv_mesh_peer(mesh, of, 0) : NULL;

    if (of == VV_FIRST_NODE)
        return true; /* that is told by who reaches it */
    return of == node->id ? vv_far_disks_serves(node->far, disk_id) : peer != NULL;
}

const VvDiskWays *vv_node_reach(VvClusterNode *node)
{
    return node ? vv_far_disks_reach(node->far) : NULL;
}

uint64_t vv_node_shipped_requests(VvClusterNode *node)
{
    VvShipperStats stats = { 0 };

    if (node && node->shipper)
        vv_shipper_stats(node->shipper, &stats);
    return stats.shipped;
}

/* ---- the mesh's loops */
static bool is_for_data(const VvClusterNode *node, const VvPeer *peer)
{
    const VvHello *ours = vv_peer_ours(peer);

    return node->shipper && vv_peer_dialled(peer) && ours->purpose != VV_PURPOSE_CONTROL && ours->channel == 1 &&
           vv_node_has_disks(node, vv_peer_node(peer));
}

/* The way that a look goes: relay.h. */
static bool is_to_the_disks(const VvClusterNode *node, const VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_CONTROL && vv_node_has_disks(node, vv_peer_node(peer));
}

void vvn_up_cb(VvMesh *mesh, VvPeer *peer, void *user)
{
    VvClusterNode *node = user;

    (void) mesh;
    if (is_to_the_disks(node, peer))
        node->silent_since_ns = 0;
    if (is_for_data(node, peer))
        vv_shipper_up(node->shipper, peer);
}

void vvn_down_cb(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    VvClusterNode *node = user;

    (void) mesh;
    (void) why;
    if (is_to_the_disks(node, peer))
        node->silent_since_ns = vv_now_ns();
    if (is_for_data(node, peer))
        vv_shipper_down(node->shipper, peer);
}

void vvn_writable_cb(VvMesh *mesh, VvPeer *peer, void *user)
{
    VvClusterNode *node = user;

    (void) mesh;
    if (is_for_data(node, peer))
        vv_shipper_writable(node->shipper, peer);
    vv_far_disks_writable(node->far, peer);
}
