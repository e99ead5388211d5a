/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node that is none of the pool's any more. It hears of it
 *   by its own map    its record says `gone`: it was applied here before the others stopped talking to it
 *   from the others   who refuse it at their door, because its id is used up (VV_GOODBYE_GONE)
 * and ends: what serves is unmounted as by SIGTERM, what is being started is given up. Nobody waits for its session: the coordinator ends
 * that when it was silent for long enough, as its promise was that it may act for so long. */
#include "error.h"
#include "base.h"
#include "node_private.h"

#define HAND_OVER_MS 5000u /* a leader stays until another leads, so that nobody waits for an election */
#define LOOK_US 20000u
#define LAST_WORD_US (3 * 1000 * VV_DRIVER_HEARTBEAT_MS) /* what is committed goes with the next heartbeat */

void vvn_set_gone_error(const VvClusterNode *node, GError **error)
{
    vv_set_error(error, VV_ERROR_DENIED, node->daemon->name, "to join again: vvfs-admin node join, with a new invite, into a new directory",
        "node %s is no node of pool %s any more: it left, or was evicted", node->daemon->node, node->daemon->name);
}

void vv_node_explain(VvClusterNode *node, GError **error)
{
    if (!node || !node->gone)
        return;
    g_clear_error(error);
    vvn_set_gone_error(node, error);
}

bool vvn_is_gone(VvClusterNode *node)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(node->pool));

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (record->id == node->id)
            return record->role == VV_ROLE_GONE;
    }
    return false;
}

static GArray *gone_ids(VvClusterNode *node)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(node->pool));
    GArray *gone = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (record->role == VV_ROLE_GONE)
            g_array_append_val(gone, record->id);
    }
    return gone;
}

void vvn_wait_for_last_word(VvClusterNode *node)
{
    g_autoptr(GArray) gone = gone_ids(node);
    bool newly;

    {
        VV_LOCKED(&node->lock);
        newly = node->mesh && gone->len > node->gone_told;
    }
    if (newly)
        g_usleep(LAST_WORD_US);
}

void vvn_follow_gone(VvClusterNode *node)
{
    g_autoptr(GArray) gone = gone_ids(node);

    node->gone_told = gone->len;
    for (unsigned i = 0; node->objects && i < gone->len; i++)
        vv_object_server_gone(node->objects, g_array_index(gone, uint64_t, i));
    vv_mesh_set_gone(node->mesh, gone);
}

static void wait_for_other_leader(VvClusterNode *node)
{
    uint64_t until_ms = vv_monotonic_ms() + HAND_OVER_MS;
    VvDriverStatus status;

    vv_driver_status(node->driver, &status);
    while (status.leads && !status.failed && vv_monotonic_ms() < until_ms) {
        g_usleep(LOOK_US);
        vv_driver_status(node->driver, &status);
    }
}

void vvn_gone(VvClusterNode *node)
{
    bool serving;

    if (atomic_exchange(&node->gone, true))
        return;
    vvn_event(node, VV_SEVERITY_CRITICAL, "node-gone", node->daemon->node, "node %s is no node of pool %s any more: it left, or was evicted",
        node->daemon->node, node->daemon->name);
    {
        VV_LOCKED(&node->lock);
        serving = node->serving;
    }
    if (serving) {
        wait_for_other_leader(node);
        if (!vvn_is_gone(node))
            vv_driver_give_up(node->driver, "this node has left the pool"); /* the others have told: what was asked for here is decided without it */
        vv_daemon_end_gone(node->daemon);
    } else if (node->driver) {
        vv_driver_give_up(node->driver, "this node is none of the pool's any more"); /* and vv_node_start looks again */
    }
}

bool vv_node_await_gone(VvClusterNode *node)
{
    uint64_t until_ms = vv_monotonic_ms() + HAND_OVER_MS;

    while (!node->gone && vv_monotonic_ms() < until_ms)
        g_usleep(LOOK_US);
    return node->gone;
}

/* A changer's. */
static void gone_chore(void *data)
{
    vvn_gone(data);
}

void vvn_gone_later(VvClusterNode *node)
{
    VV_LOCKED(&node->join_lock);
    if (!node->ending)
        vv_crew_run(node->daemon->changers, gone_chore, node);
}
