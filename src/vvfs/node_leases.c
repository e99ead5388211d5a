/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `lease list`: sessions of nodes, and who knows more. Sessions are the cluster's state, which each member has; until when they are good is known to
 * who holds one, of his own, and to the coordinator. One whose time is over holds nothing: it is not listed, though the log ends it only when
 * somebody needs that (C4 of coordinator.h). */
#include "leases.h"
#include "node_private.h"

#include <string.h>

static bool has_sessions(VvDaemon *daemon)
{
    VvClusterNode *node = daemon->cluster;

    return node && !node->guest && node->driver && vv_meta_is_cluster(vv_pool_meta(daemon->pool));
}

static bool is_held(const VvDriverNode *known, uint64_t now_ns)
{
    return known->session != 0 && (known->until_ns == 0 || known->until_ns > now_ns);
}

JsonArray *vv_leases_of_sessions(VvDaemon *daemon, uint64_t stale_ns)
{
    g_autoptr(GPtrArray) records = vv_meta_nodes(vv_pool_meta(daemon->pool));
    JsonArray *items = json_array_new();
    uint64_t now_ns = vv_now_ns();

    for (unsigned i = 0; has_sessions(daemon) && i < records->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(records, i);
        bool self = record->id == daemon->cluster->id;
        VvDriverNode known;
        VvLeaseShown shown = { .node = record->name, .kind = "session", .state = "held", .stale_ns = self ? 0 : stale_ns };
        JsonObject *item;

        if (!vv_driver_node(daemon->cluster->driver, record->id, &known) || !is_held(&known, now_ns))
            continue;
        shown.session = known.session;
        shown.since_ns = known.since_ns;
        shown.renewed_ns = known.renewed_ns;
        shown.until_ns = known.until_ns;
        item = vv_lease_json(&shown);
        if (record->role == VV_ROLE_GONE) /* what it holds is free when that is over */
            vv_lease_add_waits(item, "node evict", NULL, 1, 0);
        json_array_add_object_element(items, item);
    }
    return items;
}

uint64_t vv_leases_ask_about_sessions(VvDaemon *daemon, uint64_t *ret_stale_ns)
{
    VvDriverStatus status;

    *ret_stale_ns = 0;
    if (!has_sessions(daemon))
        return 0;
    vv_driver_status(daemon->cluster->driver, &status);
    if (status.leads)
        return 0;
    *ret_stale_ns = status.led_ns;
    return status.leader == daemon->cluster->id ? 0 : status.leader;
}

uint64_t vv_leases_silent_since(VvDaemon *daemon, uint64_t asked_ns)
{
    VvClusterNode *node = daemon->cluster;
    VvMesh *mesh = vv_node_mesh(node);
    g_autoptr(VvPeer) peer = mesh ? vv_mesh_peer(mesh, VV_FIRST_NODE, 0) : NULL;
    uint64_t since_ns = node->silent_since_ns;

    return peer || since_ns == 0 ? asked_ns : since_ns;
}

uint64_t vv_leases_away_until(VvDaemon *daemon, uint64_t node)
{
    VvObjectServer *objects = daemon->cluster ? daemon->cluster->objects : NULL;
    uint64_t ms;

    return node != 0 && objects && vv_object_server_is_away(objects, node, &ms) ? vv_now_ns() + ms * 1000000u : 0;
}
