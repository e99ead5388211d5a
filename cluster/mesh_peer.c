/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Peers of a mesh: from the door, which made them, to their loop, and back when they are down. */
#include "mesh_private.h"

#include "message.h"

/* What a peer knows of where it belongs. Its node may be gone, so it is looked up by its id. */
typedef struct {
    VvMesh *mesh;
    VvPeer *peer; /* reference */
    uint64_t node;
    VvPurpose purpose;
    unsigned channel;
    bool inward;
    bool forbidden; /* the loop's, until it is down: a guest sent what only members may */
    uint64_t since_ms;
} VvMeshLine;

/* ---- on the peer's loop */
static void message(VvPeer *peer, const VvIncoming *in, void *user)
{
    VvMeshLine *line = user;

    if (vv_peer_identity(peer)->guest && !vv_message_may_be_guests(in->kind)) {
        line->forbidden = true;
        vv_peer_close(peer, VV_GOODBYE_PROTOCOL, "a guest sent what only members may");
        return;
    }
    line->mesh->events->message(line->mesh, peer, in, line->mesh->user);
}

static void *place(VvPeer *peer, const VvIncoming *in, void *user)
{
    const VvMeshLine *line = user;

    return line->mesh->events->place(line->mesh, peer, in, line->mesh->user);
}

static void unplace(VvPeer *peer, void *data, void *user)
{
    const VvMeshLine *line = user;

    if (line->mesh->events->unplace)
        line->mesh->events->unplace(line->mesh, peer, data, line->mesh->user);
}

static void writable(VvPeer *peer, void *user)
{
    const VvMeshLine *line = user;

    if (line->mesh->events->writable)
        line->mesh->events->writable(line->mesh, peer, line->mesh->user);
}

/* ---- back at the door */
static void count_ended(VvPeerCounters *sum, VvPeer *peer)
{
    VvPeerCounters one;

    vv_peer_counters(peer, &one);
    sum->bytes_in += one.bytes_in;
    sum->bytes_out += one.bytes_out;
    sum->messages_in += one.messages_in;
    sum->messages_out += one.messages_out;
    sum->last_seen_ms = MAX(sum->last_seen_ms, one.last_seen_ms);
}

static void gone_cb(void *data)
{
    VvMeshLine *line = data;
    VvMesh *mesh = line->mesh;
    VvMeshNode *node = vvm_mesh_node(mesh, line->node);
    VvMeshSlot *slot = node ? vvm_mesh_slot(node, line->purpose, line->channel, line->inward) : NULL;
    VvPeer *peer = NULL;

    pthread_mutex_lock(&mesh->lock);
    if (node)
        count_ended(&node->ended, line->peer);
    if (slot && slot->peer == line->peer)
        peer = g_steal_pointer(&slot->peer);
    mesh->live--;
    pthread_cond_signal(&mesh->ended);
    pthread_mutex_unlock(&mesh->lock);
    if (line->forbidden)
        vvm_mesh_tell(mesh, VV_MESH_MISTAKEN, line->node, "node %" G_GUINT64_FORMAT " is a guest, and sent what only members may: its connection was "
            "closed", line->node);
    if (peer) {
        vv_peer_unref(peer);
        /* who lets us in and throws us out again is not asked again at once, and ever less often */
        slot->pause_ms =
            vv_monotonic_ms() - line->since_ms < VV_DIAL_MS_MAX ? vvm_mesh_longer_pause(slot->pause_ms) : 0;
        vvm_mesh_dial_later(slot, slot->pause_ms);
    }
    vv_peer_unref(line->peer);
    g_free(line);
}

static void down(VvPeer *peer, const char *why, void *user)
{
    VvMeshLine *line = user;

    if (line->mesh->events->down)
        line->mesh->events->down(line->mesh, peer, why, line->mesh->user);
    vv_peer_loop_post(line->mesh->door, gone_cb, line);
}

/* ---- to its loop */
static void start_cb(void *data)
{
    VvMeshLine *line = data;

    if (line->mesh->events->up)
        line->mesh->events->up(line->mesh, line->peer, line->mesh->user);
    vv_peer_start(line->peer);
}

void vvm_mesh_install(VvMeshSlot *slot, VvPeerOptions *met)
{
    static const VvPeerEvents with_place = { message, place, unplace, writable, down };
    static const VvPeerEvents without_place = { message, NULL, NULL, writable, down };
    VvMesh *mesh = slot->mesh;
    VvMeshLine *line = g_new0(VvMeshLine, 1);
    VvPeer *old, *fresh;

    met->loop = slot->channel == 0 ? mesh->control : mesh->data[(slot->channel - 1) % mesh->channels];
    met->times = mesh->times;
    met->events = mesh->events->place ? &with_place : &without_place;
    met->user = line;
    fresh = vv_peer_new(met);
    *line = (VvMeshLine){ mesh, vv_peer_ref(fresh), slot->node->id, met->ours.purpose, slot->channel, slot->inward,
        false, vv_monotonic_ms() };
    pthread_mutex_lock(&mesh->lock);
    old = slot->peer;
    slot->peer = fresh;
    mesh->live++;
    g_clear_pointer(&slot->why, g_free);
    pthread_mutex_unlock(&mesh->lock);
    if (old) {
        vv_peer_close(old, 0, "a newer connection took its place");
        vv_peer_unref(old);
    }
    vv_peer_loop_post(met->loop, start_cb, line);
}
