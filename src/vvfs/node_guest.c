/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node that is a guest: its pool, which opens when it was told all that is shared with it; and what other nodes tell it. */
#include "node_private.h"

#include "base.h"
#include "error.h"
#include "far_disks.h"
#include "guest.h"
#include "guests.h"
#include "sharing.h"

#define LISTEN_LOOKS 10u /* of those of VvGuestOptions.impatient, between tries to listen */
#define LAST_WAIT_MS 10000u
#define TELL_AFTER_MS 3000u

static bool opened_cb(void *user, VvPool *pool, GError **error)
{
    VvClusterNode *node = user;

    node->wait_began_ms = vv_monotonic_ms();
    return vvn_meet(node, pool, error);
}

static void tell_waiting(VvClusterNode *node, uint64_t waited_ms)
{
    if (node->wait_told || waited_ms < TELL_AFTER_MS)
        return;
    node->wait_told = true;
    vv_log(VV_LOG_NOTE, "pool %s: node %s, a guest, waits for the node with the disks to tell what is shared with it", node->daemon->name,
        node->daemon->node);
}

/* Who takes over a mount waits without end, as other nodes do, and for a while when it is asked to end. */
static char *impatient_cb(void *user)
{
    VvClusterNode *node = user;
    uint64_t now_ms = vv_monotonic_ms(), waited_ms = now_ms - node->wait_began_ms;
    unsigned wait_s = node->daemon->options->wait_s;

    if (++node->wait_looks % LISTEN_LOOKS == 0)
        (void) vvn_listen_again(node);
    if (node->wait_asked_ms == 0 && vv_daemon_is_asked_to_end(node->daemon))
        node->wait_asked_ms = now_ms;
    tell_waiting(node, waited_ms);
    vvn_open_desk(node, node->wait_began_ms);
    if (node->gone)
        return g_strdup("this node is none of the pool's any more");
    if (node->wait_asked_ms != 0 && (!node->takes_over || now_ms >= node->wait_asked_ms + LAST_WAIT_MS))
        return g_strdup("it was asked to end while it waited for the node with the disks");
    if (node->takes_over || waited_ms < (uint64_t) wait_s * 1000)
        return NULL;
    return g_strdup_printf("node %s is a guest of pool %s, and the node with the disks did not tell it within %u s (wait=) what is shared with it",
        node->daemon->node, node->daemon->name, wait_s);
}

static void waited_cb(void *user)
{
    vvn_close_desk(user);
}

/* Runs only if the pool had been opened. */
static void failed_cb(void *user)
{
    VvClusterNode *node = user;

    vv_control_post(node->daemon->loop, vvn_start_anew, node);
}

static void closed_cb(void *user)
{
    VvClusterNode *node = user;
    VV_LOCKED(&node->follow_lock);
    VV_LOCKED(&node->event_lock);

    node->pool = NULL;
}

bool vvn_make_guest(VvClusterNode *node, GError **error)
{
    VvDaemon *daemon = node->daemon;
    const VvGuestOptions options = { .self = node->id, .opened = opened_cb, .impatient = impatient_cb, .waited = waited_cb, .failed = failed_cb, .closed = closed_cb, .user = node };

    if (!vv_guest_reset(daemon->directory, daemon->name, &daemon->uuid, error))
        return false;
    node->guest = vv_guest_new(&options);
    return true;
}

bool vv_node_is_guest(const VvClusterNode *node)
{
    return node && node->guest;
}

uint64_t vv_node_stale_since_ns(VvClusterNode *node)
{
    return vv_node_is_guest(node) ? vv_guest_stale_since_ns(node->guest) : 0;
}

bool vv_node_refuse_guest(VvDaemon *daemon, GError **error)
{
    if (!vv_node_is_guest(daemon->cluster))
        return true;
    vv_refuse_guest(daemon->name, error);
    return false;
}

/* The map's write lock is held. */
void vv_node_op_applied(void *user, const VvOp *op)
{
    VvDaemon *daemon = user;
    VvClusterNode *node = daemon->cluster;

    if (node && node->guests)
        vv_guests_note(node->guests, op);
    if (node && (op->kind == VV_OP_DISK_ADD || op->kind == VV_OP_DISK_SET || op->kind == VV_OP_DISK_REMOVE))
        vv_far_disks_changed(node->far);
}

/* ---- the mesh's: vv-control */
static bool is_of_guest(const VvClusterNode *node, const VvPeer *peer)
{
    return node->guests && vv_peer_ours(peer)->purpose == VV_PURPOSE_CONTROL && vv_peer_identity(peer)->guest;
}

void vvn_guests_up(VvClusterNode *node, VvPeer *peer)
{
    if (is_of_guest(node, peer))
        vv_guests_up(node->guests, peer);
}

void vvn_guests_down(VvClusterNode *node, VvPeer *peer)
{
    if (is_of_guest(node, peer))
        vv_guests_down(node->guests, peer);
    if (node->guest && vv_peer_ours(peer)->purpose == VV_PURPOSE_CONTROL)
        vv_guest_down(node->guest, peer);
}

void vvn_take_description(VvClusterNode *node, VvPeer *peer, const VvIncoming *in)
{
    if (!node->guest || !vv_node_has_disks(node, vv_peer_node(peer)) || vv_peer_ours(peer)->purpose != VV_PURPOSE_CONTROL)
        vv_peer_close(peer, VV_GOODBYE_PROTOCOL, "descriptions that nobody here waits for");
    else
        vv_guest_take(node->guest, peer, in->request, in->body, in->body_bytes);
}
