/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's mesh: what it tells, whom it knows, the address it listens on. */
#include "node_private.h"

#include "address.h"
#include "config.h"
#include "base.h"
#include "describe.h"
#include "error.h"
#include "far_disks.h"
#include "object.h"
#include "relay.h"
#include "settle.h"

#define LISTEN_TRIES 10u /* at the start: another process may be ending */
#define LISTEN_TRY_US 100000u
#define LISTEN_AGAIN_S 3    /* who takes over a mount goes on trying */
#define DOOR_LOOK_MS 60000u /* invites expire by themselves */

void vvn_event(VvClusterNode *node, VvSeverity severity, const char *code, const char *object, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;
    VV_LOCKED(&node->event_lock);

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    if (node->pool)
        vv_pool_event(node->pool, severity, code, object, "%s", text);
    else
        vv_log(severity >= VV_SEVERITY_ERROR ? VV_LOG_ERROR : severity == VV_SEVERITY_WARNING ? VV_LOG_WARNING : VV_LOG_INFO, "%s", text);
}

/* ---- what the mesh tells */
static void trouble_cb(VvMesh *mesh, VvMeshTrouble trouble, uint64_t id, const char *text, unsigned suppressed, void *user)
{
    static const struct {
        VvSeverity severity;
        const char *code;
    } kinds[VV_MESH_TROUBLES] = {
        [VV_MESH_STRANGER] = { VV_SEVERITY_INFO, "stranger" },
        [VV_MESH_UNWELCOME] = { VV_SEVERITY_WARNING, "join-refused" },
        [VV_MESH_REFUSED] = { VV_SEVERITY_WARNING, "node-refused" },
        [VV_MESH_MISTAKEN] = { VV_SEVERITY_ERROR, "node-mistaken" },
        [VV_MESH_GONE] = { VV_SEVERITY_WARNING, "node-refused" },
    };
    VvClusterNode *node = user;
    g_autofree char *more = suppressed ? g_strdup_printf(" (and %u more like it that were not told)", suppressed) : g_strdup("");

    (void) mesh;
    (void) id;
    vvn_event(node, kinds[trouble].severity, kinds[trouble].code, NULL, "%s%s", text, more);
    if (trouble == VV_MESH_GONE)
        vvn_gone_later(node);
}

/* The server of what others ask on @peer, or NULL: data connections that they have dialled (P3 of peer.h). */
static VvObjectServer *server_of(VvClusterNode *node, VvPeer *peer)
{
    return vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && !vv_peer_dialled(peer) ? node->objects : NULL;
}

static void up_cb(VvMesh *mesh, VvPeer *peer, void *user)
{
    VvObjectServer *server = server_of(user, peer);

    vvn_up_cb(mesh, peer, user);
    vvn_guests_up(user, peer);
    vv_far_disks_up(((VvClusterNode *) user)->far, peer);
    if (server)
        vv_object_server_up(server, peer);
}

static void down_cb(VvMesh *mesh, VvPeer *peer, const char *why, void *user)
{
    VvObjectServer *server = server_of(user, peer);

    vvn_down_cb(mesh, peer, why, user);
    vvn_guests_down(user, peer);
    vv_far_disks_down(((VvClusterNode *) user)->far, peer);
    if (server)
        vv_object_server_down(server, peer);
}

static void *place_cb(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    VvClusterNode *node = user;
    VvObjectServer *server = server_of(node, peer);

    (void) mesh;
    if (in->kind == VV_FRAME_DISK && vv_far_disks_is_server(node->far, peer))
        return vv_far_disks_place(node->far, peer, in);
    if (in->kind != VV_FRAME_DISK && server)
        return vv_object_server_place(server, peer, in);
    vv_peer_close(peer, VV_GOODBYE_PROTOCOL, "data that nobody here has asked for");
    return NULL;
}

static void unplace_cb(VvMesh *mesh, VvPeer *peer, void *data, void *user)
{
    VvClusterNode *node = user;

    (void) mesh;
    if (node->objects) /* who has the map serves no disks (far_disks.h) */
        vv_object_server_unplace(server_of(node, peer), peer, data);
    else
        vv_far_disks_unplace(node->far, peer, data);
}

/* A node that is alone with its pool has a driver that is not running: it listens to nobody. */
static void message_cb(VvMesh *mesh, VvPeer *peer, const VvIncoming *in, void *user)
{
    VvClusterNode *node = user;
    VvObjectServer *server = server_of(node, peer);

    (void) mesh;
    if (in->request != 0 && in->kind == VV_OBJECT_REQUEST && server)
        vv_object_server_take(server, peer, in);
    else if (in->request != 0 && in->kind == VV_FRAME_DISK && vv_far_disks_is_server(node->far, peer))
        vv_far_disks_take(node->far, peer, in);
    else if (in->request != 0 && in->kind == VV_RELAY_CALL)
        vv_relay_take(node->daemon, peer, in->request, in->body, in->body_bytes);
    else if (in->request != 0 && in->kind == VV_DESCRIBE)
        vvn_take_description(node, peer, in);
    else if (in->request != 0 && in->kind == VV_SETTLE)
        vv_settle_take(node->daemon, peer, in->request, in->body, in->body_bytes);
    else if (vv_peer_ours(peer)->purpose == VV_PURPOSE_CONTROL && in->request == 0)
        vv_driver_receive(node->driver, vv_peer_node(peer), in->kind, in->body, in->body_bytes);
    else
        vv_log(VV_LOG_DEBUG, "node %" G_GUINT64_FORMAT " says what nobody listens to", vv_peer_node(peer));
}

static void join_cb(VvMesh *mesh, VvJoin *join, void *user)
{
    (void) mesh;
    vv_node_take_join(user, join);
}

static const VvMeshEvents mesh_events = { .up = up_cb,
    .down = down_cb,
    .writable = vvn_writable_cb,
    .message = message_cb,
    .place = place_cb,
    .unplace = unplace_cb,
    .trouble = trouble_cb,
    .join = join_cb };

/* ---- the mesh follows the records */
/* Whoever could be told something about an invite may knock. */
static bool door_is_open(VvClusterNode *node)
{
    g_autoptr(GPtrArray) invites = vv_meta_invites(vv_pool_meta(node->pool));
    uint64_t now_s = vv_now_ns() / 1000000000u;

    if (vv_pool_is_read_only(node->pool))
        return false;
    for (unsigned i = 0; i < invites->len; i++)
        if (now_s <= ((const VvInviteRecord *) g_ptr_array_index(invites, i))->expiry_seconds + VV_INVITE_KEPT_SECONDS)
            return true;
    return false;
}

/* vv-control. */
static void look_at_door(void *user)
{
    VvClusterNode *node = user;

    vv_mesh_set_joining(node->mesh, door_is_open(node));
    vv_peer_timer_set(node->timer, DOOR_LOOK_MS);
}

static void make_timer(void *user)
{
    VvClusterNode *node = user;

    node->timer = vv_peer_timer_new(vv_mesh_control_loop(node->mesh), look_at_door, node);
    vv_peer_timer_set(node->timer, DOOR_LOOK_MS);
}

static void free_timer(void *user)
{
    VvClusterNode *node = user;

    g_clear_pointer(&node->timer, vv_peer_timer_free);
}

static void follow_records_locked(VvClusterNode *node)
{
    g_autoptr(GArray) known = NULL;
    g_autoptr(GError) error = NULL;

    if (!node->mesh)
        return;
    vvn_follow_gone(node);
    known = vv_node_known(node);
    if (!vv_mesh_set_nodes(node->mesh, known, &error))
        vvn_event(node, VV_SEVERITY_ERROR, "node-mistaken", NULL, "the nodes of the pool contradict each other: %s", error->message);
    else
        vvn_keep_known(node, known);
    if (node->serving)
        vv_mesh_set_joining(node->mesh, door_is_open(node));
}

void vv_node_changed(VvClusterNode *node)
{
    if (!node)
        return;
    VV_LOCKED(&node->follow_lock);
    if (!node->pool)
        return; /* it is not there yet, or was not to be had */
    vvn_wait_for_last_word(node);
    vvn_tell_members(node);
    {
        VV_LOCKED(&node->lock);
        follow_records_locked(node);
    }
    if (vvn_is_gone(node))
        vvn_gone(node);
}

/* ---- listening */
static VvMesh *new_mesh(VvClusterNode *node, const char *text, const GArray *known, GError **error)
{
    VvAddress address;
    VvMeshOptions options = { .credentials = &node->credentials,
        .name = node->daemon->node,
        .software = PACKAGE_VERSION,
        .listen = &address,
        .nodes = known,
        .events = &mesh_events,
        .user = node };
    g_autoptr(GError) why = NULL;
    VvMesh *mesh;

    if (!vv_address_parse(text, false, &address, error))
        return NULL;
    mesh = vv_mesh_new(&options, &why);
    if (!mesh)
        vv_set_error(error, why->domain == VV_ERROR ? (VvErrorCode) why->code : VV_ERROR_IO, node->daemon->node, "vvfs-admin node list",
            "node %s cannot be reached by others: %s", node->daemon->node, why->message);
    return mesh;
}

bool vvn_listen(VvClusterNode *node, const char *address, GArray *known, GError **error)
{
    node->mesh = new_mesh(node, address, known, error);
    return node->mesh != NULL;
}

static bool listen_once(VvClusterNode *node, GError **error)
{
    g_autoptr(GArray) known = vv_node_known(node);
    VvMesh *mesh = new_mesh(node, node->address, known, error);

    if (!mesh)
        return false;
    VV_LOCKED(&node->lock);
    node->mesh = mesh;
    if (node->serving)
        vv_peer_loop_run(vv_mesh_control_loop(mesh), make_timer, node);
    follow_records_locked(node);
    return true;
}

void vvn_open_door(VvClusterNode *node)
{
    VV_LOCKED(&node->lock);

    node->serving = true;
    if (node->mesh)
        vv_peer_loop_run(vv_mesh_control_loop(node->mesh), make_timer, node);
    follow_records_locked(node);
}

void vvn_close_door(VvClusterNode *node)
{
    VV_LOCKED(&node->lock);

    node->serving = false;
    if (!node->mesh)
        return;
    vv_mesh_set_joining(node->mesh, false);
    vv_peer_loop_run(vv_mesh_control_loop(node->mesh), free_timer, node);
}

void vvn_stop_listening(VvClusterNode *node)
{
    VvMesh *mesh = node->mesh;

    if (!mesh)
        return;
    node->mesh = NULL;
    vv_mesh_free(mesh);
}

bool vvn_listen_again(VvClusterNode *node)
{
    if (node->mesh)
        return true;
    if (!listen_once(node, NULL))
        return false;
    vvn_event(node, VV_SEVERITY_INFO, "node-listens", node->name, "node %s listens on %s again", node->name, node->address);
    return true;
}

/* The daemon's loop. */
static void listen_again_cb(evutil_socket_t fd, short what, void *user)
{
    static const struct timeval soon = { .tv_sec = LISTEN_AGAIN_S };
    VvClusterNode *node = user;

    (void) fd;
    (void) what;
    if (!vvn_listen_again(node))
        event_add(node->listen_again, &soon);
}

bool vvn_begin_to_listen(VvClusterNode *node, GError **error)
{
    g_autoptr(GError) why = NULL;

    for (unsigned i = 0; i < LISTEN_TRIES; i++) {
        g_clear_error(&why);
        if (listen_once(node, &why))
            return true;
        if (node->takes_over || !g_error_matches(why, VV_ERROR, VV_ERROR_IN_USE_DEVICE))
            break;
        g_usleep(LISTEN_TRY_US);
    }
    if (!node->takes_over) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    vvn_event(node, VV_SEVERITY_WARNING, "node-deaf", node->name, "%s; it is tried again", why->message);
    node->listen_again = event_new(vv_control_base(node->daemon->loop), -1, 0, listen_again_cb, node);
    listen_again_cb(-1, 0, node);
    return true;
}

