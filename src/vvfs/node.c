/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's life: credentials and record, the mesh, its troubles as events. Joining: node_join.c. Invites: invite.c. */
#include "node.h"

#include "base.h"
#include "config.h"
#include "error.h"
#include "far_disks.h"
#include "guest.h"
#include "guests.h"
#include "node_private.h"
#include "node_setup.h"
#include "settle.h"
#include "tls.h"

#include <errno.h>
#include <string.h>

_Static_assert(VV_MEMBER_ADDRESSES_MAX == VV_NODE_ADDRESSES_MAX && VV_MEMBER_ADDRESS_BYTES_MAX == VV_ADDRESS_BYTES_MAX &&
                   VV_MEMBER_SOFTWARE_BYTES_MAX == VV_SOFTWARE_BYTES_MAX && VV_INVITE_VERIFIER_BYTES == VV_VERIFIER_BYTES &&
                   VV_KEY_ID_BYTES == VV_FINGERPRINT_BYTES,
    "what travels fits what is kept");

#define CHOICE_MS VV_DRIVER_SESSION_MS /* some elections */
#define ANSWER_MS 200u    /* before who asked stops waiting */
#define CHOICE_LOOK_US 50000u


char *vv_host_name(void)
{
    char name[256] = "";

    gethostname(name, sizeof(name) - 1);
    name[strcspn(name, ".")] = '\0';
    return g_strdup(vv_name_check(name, "node", NULL) ? name : "localhost");
}

bool vv_node_listens(const char *directory)
{
    g_autofree char *folder = g_build_filename(directory, "tls", NULL);

    return g_file_test(folder, G_FILE_TEST_IS_DIR);
}

/* ---- who this is */
static bool load_credentials(VvClusterNode *node, GError **error)
{
    VvDaemon *daemon = node->daemon;
    g_autoptr(VvTls) tls = NULL;

    if (!vv_credentials_load(daemon->directory, &node->credentials, error))
        return false;
    tls = vv_tls_new(&node->credentials, error);
    if (!tls) {
        g_prefix_error(error, "%s/tls: ", daemon->directory);
        return false;
    }
    if (!vv_uuid_equal(&vv_tls_self(tls)->pool, &daemon->uuid)) {
        vv_set_error(error, VV_ERROR_DAMAGED, daemon->name, NULL, "%s/tls: the certificate is of another pool than %s", daemon->directory,
            daemon->name);
        return false;
    }
    node->id = vv_tls_self(tls)->node;
    node->is_guest = vv_tls_self(tls)->guest;
    return true;
}

/* ---- starting */
static VvClusterNode *node_new(VvDaemon *daemon, bool takes_over)
{
    VvClusterNode *node = g_new0(VvClusterNode, 1);

    node->daemon = daemon;
    node->takes_over = takes_over;
    pthread_mutex_init(&node->follow_lock, NULL);
    pthread_mutex_init(&node->lock, NULL);
    pthread_mutex_init(&node->switch_lock, NULL);
    pthread_mutex_init(&node->join_lock, NULL);
    pthread_mutex_init(&node->event_lock, NULL);
    node->settled = vv_settled_new();
    node->silent_since_ns = vv_now_ns();
    return node;
}

static bool has_map(const VvDaemon *daemon)
{
    g_autofree char *map = g_build_filename(daemon->directory, "map", NULL);

    return g_file_test(map, G_FILE_TEST_EXISTS);
}

bool vv_node_open(VvDaemon *daemon, bool takes_over, GError **error)
{
    VvClusterNode *node;

    if (!vv_node_listens(daemon->directory))
        return true;
    daemon->cluster = node = node_new(daemon, takes_over);
    if (!load_credentials(node, &node->unfit)) {
        if (takes_over && has_map(daemon) && !vv_guest_is_one(daemon->directory))
            return true; /* the pool may be one that needs no other node: vv_node_start tells */
        g_propagate_error(error, g_steal_pointer(&node->unfit));
        return false;
    }
    vvn_make_shipper(node);
    if (!node->is_guest && !daemon->options->witness)
        node->far = vv_far_disks_new(node);
    if (vv_node_has_disks(node, node->id)) {
        node->objects = vv_object_server_new(NULL);
        node->guests = vv_guests_new();
    }
    if (node->is_guest)
        return vvn_make_guest(node, error) && vvn_make_driver(node, error);
    return vvn_make_driver(node, error) && (has_map(daemon) || vvn_take_state(node, error));
}

const VvClusterLog *vv_node_log(VvClusterNode *node)
{
    if (node && node->guest)
        return vv_guest_log(node->guest);
    return node && node->driver ? vv_driver_log(node->driver) : NULL;
}

bool vv_node_has_disks(const VvClusterNode *node, uint64_t id)
{
    return !node || id == VV_FIRST_NODE;
}

/* The opener's thread, before anything waits for the others. */
bool vvn_meet(VvClusterNode *node, VvPool *pool, GError **error)
{
    vvn_load_kept(node); /* before anybody follows the records */
    {
        VV_LOCKED(&node->follow_lock);
        VV_LOCKED(&node->event_lock);
        node->pool = pool;
    }
    if (!vvn_find_self(node, error) || !vvn_begin_to_listen(node, error))
        return false;
    vvn_tell_members(node);
    vv_far_disks_begin(node->far, pool);
    return true;
}

/* The mount must not end because of what others think of this node. */
static bool serve_alone(VvDaemon *daemon, const GError *why)
{
    vv_pool_event(daemon->pool, VV_SEVERITY_CRITICAL, "node-deaf", NULL, "%s: the pool is served, but no other node can reach this one",
        why->message);
    vv_node_free(g_steal_pointer(&daemon->cluster));
    return true;
}

bool vv_node_start(VvDaemon *daemon, GError **error)
{
    VvClusterNode *node = daemon->cluster;
    g_autoptr(GError) why = NULL;

    if (!node)
        return true;
    vvn_end_waiting(node);
    if (!node->pool && (node->unfit || !vvn_meet(node, daemon->pool, &why))) {
        if (node->takes_over)
            return serve_alone(daemon, node->unfit ? node->unfit : why);
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    if (!vvn_make_cluster(node, error))
        return false;
    vvn_open_door(node);
    return !node->gone; /* vv_node_explain */
}

/* ---- ending */
bool vv_node_serve(VvDaemon *daemon, GError **error)
{
    VvClusterNode *node = daemon->cluster;

    if (node)
        vv_far_disks_serve(node->far);
    return !node || !node->objects ||
           (vv_object_server_open(node->objects, daemon->pool, error) && vv_guests_begin(node->guests, daemon->pool, error));
}

void vv_node_end_joins(VvClusterNode *node)
{
    if (!node)
        return;
    VV_LOCKED(&node->join_lock);
    node->ending = true;
}

void vv_node_leave_pool(VvClusterNode *node)
{
    if (!node)
        return;
    vvn_end_waiting(node);
    vvn_close_door(node);
    vv_far_disks_end(node->far);
    if (node->objects)
        vv_object_server_end(node->objects);
    if (node->guests)
        vv_guests_end(node->guests);
    if (node->gone && node->driver)
        vv_driver_give_up(node->driver, "this node is none of the pool's any more");
    VV_LOCKED(&node->event_lock);
    node->pool = NULL;
}

void vv_node_free(VvClusterNode *node)
{
    if (!node)
        return;
    if (node->listen_again)
        event_free(node->listen_again);
    vvn_stop_listening(node);
    vv_shipper_free(node->shipper);
    vv_far_disks_free(node->far);
    vv_object_server_free(node->objects);
    vv_guests_free(node->guests);
    vv_guest_free(node->guest);
    vv_driver_free(node->driver);
    vv_settled_free(node->settled);
    vv_credentials_clear(&node->credentials);
    vv_joined_clear(&node->kept);
    g_clear_error(&node->unfit);
    pthread_mutex_destroy(&node->follow_lock);
    pthread_mutex_destroy(&node->lock);
    pthread_mutex_destroy(&node->switch_lock);
    pthread_mutex_destroy(&node->join_lock);
    pthread_mutex_destroy(&node->event_lock);
    g_free(node->name);
    g_free(node->address);
    g_free(node);
}

/* ---- looking */
bool vv_node_is_ending(VvClusterNode *node)
{
    VV_LOCKED(&node->join_lock);
    return node->ending;
}

VvDaemon *vv_node_daemon(VvClusterNode *node)
{
    return node->daemon;
}

uint64_t vv_node_id(const VvClusterNode *node)
{
    return node->id;
}

VvMesh *vv_node_mesh(VvClusterNode *node)
{
    return node->mesh;
}

/* Also while the pool is being opened. */
static bool is_cluster(VvClusterNode *node)
{
    VV_LOCKED(&node->event_lock);
    return node->pool && vv_meta_is_cluster(vv_pool_meta(node->pool));
}

const char *vv_node_state(VvClusterNode *node, const VvNodeRecord *record)
{
    VvMesh *mesh = vv_node_mesh(node);
    g_autoptr(VvPeer) peer = NULL;

    if (record->id == node->id)
        return mesh ? "up" : "down";
    peer = mesh ? vv_mesh_peer(mesh, record->id, 0) : NULL;
    if (peer)
        return "up";
    return node->guest || record->role == VV_ROLE_GUEST || is_cluster(node) ? "down" : "joining";
}

uint64_t vv_node_coordinator(VvClusterNode *node, uint64_t *ret_session)
{
    VvDriverStatus status;

    *ret_session = 0;
    if (node->guest)
        return 0;
    if (!is_cluster(node))
        return node->id;
    vv_driver_status(node->driver, &status);
    *ret_session = status.session;
    return status.leader;
}

bool vv_node_may_change(VvClusterNode *node, bool here, uint64_t deadline_ms, GError **error)
{
    uint64_t until_ms = vv_monotonic_ms() + CHOICE_MS;
    VvDriverStatus status;

    if (!node || !is_cluster(node))
        return true;
    if (deadline_ms != 0)
        until_ms = MIN(until_ms, deadline_ms - MIN(deadline_ms, ANSWER_MS));
    for (;;) {
        uint64_t now_ms = vv_monotonic_ms();

        vv_driver_status(node->driver, &status);
        if (status.failed || /* the pool has failed, too, and says so */
            (status.leader != 0 && (!here || vv_driver_catch_up(node->driver, until_ms - MIN(now_ms, until_ms)))))
            return true;
        if (vv_monotonic_ms() >= until_ms)
            break;
        g_usleep(CHOICE_LOOK_US);
    }
    if (status.leader != 0) {
        vv_set_error(error, VV_ERROR_NO_COORDINATOR, node->daemon->name, "vvfs-admin node list",
            "node %s could not learn what was done to pool %s before: its coordinator reaches no majority of the nodes, or this node lags far "
            "behind: nothing was changed", node->daemon->node, node->daemon->name);
        return false;
    }
    vv_set_error(error, VV_ERROR_NO_COORDINATOR, node->daemon->name, "vvfs-admin node list",
        "node %s knows no coordinator of pool %s, as it does not reach a majority of the nodes: nothing was changed", node->daemon->node,
        node->daemon->name);
    return false;
}

VvAuthority *vv_node_authority(VvClusterNode *node, GError **error)
{
    if (!node->credentials.authority_key) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, node->name, NULL,
            "node %s has no key of the pool's authority: it lets nobody in", node->name);
        return NULL;
    }
    return vv_authority_open(node->credentials.authority_certificate, node->credentials.authority_key, error);
}
