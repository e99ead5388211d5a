/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node and its driver: messages by way of the mesh, the pool that opens, the state that is taken before there is a pool, and what
 * happens when this node's part in the cluster ends before its time. */
#include "node_private.h"

#include "error.h"
#include "base.h"
#include "desk.h"
#include "far_disks.h"
#include "fusefs.h"
#include "held.h"
#include "holds.h"
#include "node_setup.h"
#include "sharing.h"

#include <time.h>

#define LISTEN_LOOKS 10u /* of these, between tries to listen */
#define LOOK_US 100000u  /* while it is waited for others */
#define LAST_WAIT_MS 10000u /* as long as a pool that is closed waits for a majority */
#define TELL_AFTER_MS 3000u /* who watches the start wants to know what it waits for */

/* ---- messages: the driver's thread */
static void send_cb(void *user, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    VvClusterNode *node = user;
    VvMesh *mesh = node->mesh;
    g_autoptr(VvPeer) peer = mesh ? vv_mesh_peer(mesh, to, 0) : NULL;
    VvOutgoing out = { .kind = kind, .body = body, .body_bytes = (uint32_t) body_bytes };

    if (peer)
        (void) vv_peer_send(peer, &out); /* a queue that is full: it is lost, and said again */
}

/* ---- the end before its time: a successor opens the pool anew, with what was acknowledged (hold.h) */
void vvn_start_anew(void *user)
{
    VvClusterNode *node = user;
    VvDaemon *daemon = node->daemon;

    if (daemon->ending && (!daemon->fuse || vv_fuse_open_count(daemon->fuse) == 0))
        return; /* nobody waits for a successor, who would only wait for a majority, too */
    vv_log(VV_LOG_WARNING, "pool %s: %s", node->daemon->name,
        node->daemon->held ? "the process that serves it starts anew" : "nobody holds the mount, so it ends");
    _exit(VV_EXIT_FAILED);
}

static void taken_cb(void *user)
{
    VvClusterNode *node = user;

    node->taken = true;
    if (node->pool)
        vv_control_post(node->daemon->loop, vvn_start_anew, node);
}

static void failed_cb(void *user, const char *why)
{
    VvClusterNode *node = user;

    if (node->gone)
        return; /* as it was to be */
    vvn_event(node, VV_SEVERITY_CRITICAL, "node-out", node->daemon->node, "node %s serves the pool no more: %s", node->daemon->node, why);
    vv_control_post(node->daemon->loop, vvn_start_anew, node); /* runs only if the pool had been opened */
}

/* ---- waiting for others */
static void tell_waiting(VvClusterNode *node, uint64_t began_ms, bool *told)
{
    if (*told || vv_monotonic_ms() < began_ms + TELL_AFTER_MS)
        return;
    *told = true;
    vv_log(VV_LOG_NOTE, "pool %s: node %s waits for %s", node->daemon->name, node->daemon->node,
        node->pool ? "a majority of the nodes" : "the pool's map, which another node has to send");
}

/* For as long as nothing moves: a state or a log that is long may take what it takes. Who takes over a mount has what was
 * acknowledged to its users, so it waits without end, and if it is asked to end, for some time still. */
typedef struct {
    VvClusterNode *node;
    uint64_t moved_ms; /* when something was heard last, or the start */
    uint64_t applied;
    uint64_t asked_ms; /* to end; 0: not */
} Patience;

static char *lose_patience(Patience *p)
{
    VvDaemon *daemon = p->node->daemon;
    uint64_t now_ms = vv_monotonic_ms();
    VvDriverStatus status;

    vv_driver_status(p->node->driver, &status);
    if (status.leader != 0 && (!p->node->pool || status.applied != p->applied))
        p->moved_ms = now_ms;
    p->applied = status.applied;
    if (p->asked_ms == 0 && vv_daemon_is_asked_to_end(daemon))
        p->asked_ms = now_ms;
    if (p->asked_ms != 0 && (!p->node->takes_over || now_ms >= p->asked_ms + LAST_WAIT_MS))
        return g_strdup("it was asked to end while it waited for the other nodes");
    if (p->node->takes_over || now_ms < p->moved_ms + (uint64_t) daemon->options->wait_s * 1000)
        return NULL;
    if (status.leader != 0)
        return g_strdup_printf("node %" G_GUINT64_FORMAT " decides, and has not brought it up to date within %u s (wait=): if its directory is "
            "an older copy, it has to join anew", status.leader, daemon->options->wait_s);
    return g_strdup_printf("no coordinator was found within %u s (wait=): a majority of the nodes has to be up", daemon->options->wait_s);
}

/* When the mount was served last. */
static uint64_t served_until_ns(const VvDaemon *daemon, uint64_t began_ms)
{
    uint64_t ended_ns = daemon->held ? vv_held_state(daemon->held)->ended_ns : 0, now_ns = vv_monotonic_ns();

    ended_ns = ended_ns != 0 ? ended_ns : began_ms * 1000000u;
    return vv_now_ns() - (now_ns - MIN(now_ns, ended_ns));
}

void vvn_open_desk(VvClusterNode *node, uint64_t began_ms)
{
    if (node->desk || node->desk_tried || !node->takes_over || vv_monotonic_ms() < began_ms + VV_DESK_AFTER_MS)
        return;
    node->desk_tried = true;
    node->desk = vv_desk_open(node->daemon, node->pool, served_until_ns(node->daemon, began_ms));
}

void vvn_close_desk(VvClusterNode *node)
{
    g_clear_pointer(&node->desk, vv_desk_close);
}

/* Its own thread, while the pool is being opened: the loop that would hear of a wish to end does not run yet. */
static void *wait_main(void *user)
{
    VvClusterNode *node = user;
    uint64_t began_ms = vv_monotonic_ms();
    Patience patience = { .node = node, .moved_ms = began_ms };
    bool told = false;

    for (unsigned looks = 1; !node->waited; looks++) {
        g_autofree char *why = lose_patience(&patience);

        if (looks % LISTEN_LOOKS == 0) /* the address may have been another's, and the loop that tries again does not run yet */
            (void) vvn_listen_again(node);
        if (why) {
            vv_driver_give_up(node->driver, why);
            break;
        }
        tell_waiting(node, began_ms, &told);
        vvn_open_desk(node, began_ms);
        g_usleep(LOOK_US);
    }
    return NULL;
}

void vvn_end_waiting(VvClusterNode *node)
{
    if (!node->waiter_runs)
        return;
    node->waited = true;
    pthread_join(node->waiter, NULL);
    node->waiter_runs = false;
    vvn_close_desk(node);
}

static bool opened_cb(void *user, VvPool *pool, GError **error)
{
    VvClusterNode *node = user;

    if (!vvn_meet(node, pool, error))
        return false;
    node->waiter_runs = pthread_create(&node->waiter, NULL, wait_main, node) == 0;
    return true;
}

/* Ready, or not to be. */
static void waited_cb(void *user)
{
    vvn_end_waiting(user);
}

/* The mesh goes on telling, and crews follow records, also when the pool could not be opened. */
static void closed_cb(void *user)
{
    VvClusterNode *node = user;

    vv_far_disks_end(node->far);
    VV_LOCKED(&node->follow_lock);
    VV_LOCKED(&node->event_lock);

    node->pool = NULL;
}

static void ended_cb(void *user, uint64_t of, uint64_t session, uint64_t index)
{
    VvClusterNode *node = user;

    vv_far_disks_session_ended(node->far, of, session, index);
}

/* ---- the driver */
bool vvn_make_driver(VvClusterNode *node, GError **error)
{
    VvDriverOptions options = { .node = node->id,
        .witness = node->daemon->options->witness,
        .directory = node->daemon->directory,
        .pool = node->daemon->uuid,
        .send = send_cb,
        .opened = opened_cb,
        .waited = waited_cb,
        .closed = closed_cb,
        .taken = taken_cb,
        .ended = ended_cb,
        .failed = failed_cb,
        .user = node };

    node->driver = vv_driver_new(&options, error);
    return node->driver != NULL;
}

static GArray *members(VvClusterNode *node)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(node->pool));
    GArray *list = g_array_new(FALSE, FALSE, sizeof(VvDriverMember));

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);
        VvDriverMember member = { .id = record->id,
            .voter = vv_role_votes(record->role),
            .witness = record->role == VV_ROLE_WITNESS,
            .gone = record->role == VV_ROLE_GONE };

        if (record->role != VV_ROLE_GUEST)
            g_array_append_val(list, member);
    }
    return list;
}

static bool is_alone(const GArray *list)
{
    unsigned count = 0;

    for (guint i = 0; i < list->len; i++)
        count += !g_array_index(list, VvDriverMember, i).gone;
    return count < 2;
}

void vvn_tell_members(VvClusterNode *node)
{
    g_autoptr(GArray) list = members(node);

    vv_driver_set_members(node->driver, &g_array_index(list, VvDriverMember, 0), list->len);
}

bool vvn_make_cluster(VvClusterNode *node, GError **error)
{
    g_autoptr(GArray) list = members(node);
    VV_LOCKED(&node->switch_lock);

    if (node->guest || is_alone(list) || vv_meta_is_cluster(vv_pool_meta(node->pool)))
        return true;
    if (!vv_driver_convert(node->driver, node->pool, &g_array_index(list, VvDriverMember, 0), list->len, error))
        return false;
    vvn_event(node, VV_SEVERITY_INFO, "cluster", NULL, "pool %s is one of several nodes from now on", node->daemon->name);
    return true;
}

/* A changer's. */
static void follow_chore(void *data)
{
    vv_node_changed(data);
}

/* The committer's thread. */
void vv_node_members_changed(void *user)
{
    VvDaemon *daemon = user;
    VvClusterNode *node = daemon->cluster;

    if (!node)
        return;
    VV_LOCKED(&node->join_lock);
    if (!node->ending)
        vv_crew_run(daemon->changers, follow_chore, node);
}

/* A changer's. */
static void settle_chore(void *data)
{
    VvClusterNode *node = data;
    VvPool *pool;

    pthread_mutex_lock(&node->join_lock);
    node->settling = false;
    pthread_mutex_unlock(&node->join_lock);
    pool = node->daemon->pool;
    vv_holds_author("revoke", 0);
    if (pool) /* else it is being opened, and nothing is open yet */
        vv_pool_shares_settle(pool);
    vv_holds_author(NULL, 0);
    if (pool && node->objects)
        vv_object_server_shares_changed(node->objects);
}

/* The committer's thread. One chore that has not begun sees to all. */
void vv_node_shares_changed(void *user)
{
    VvDaemon *daemon = user;
    VvClusterNode *node = daemon->cluster;

    if (!node)
        return;
    VV_LOCKED(&node->join_lock);
    if (node->ending || node->settling)
        return;
    node->settling = true;
    vv_crew_run(daemon->changers, settle_chore, node);
}

/* ---- a state, before there is a pool */
static const char *own_address(const VvJoined *joined)
{
    for (unsigned i = 0; i < joined->nodes->len; i++) {
        const VvKnownNode *known = &g_array_index(joined->nodes, VvKnownNode, i);

        if (known->id == joined->node)
            return known->addresses[0];
    }
    return NULL;
}

static bool wait_for_state(VvClusterNode *node, GError **error)
{
    VvDriverStatus status = { .failed = false };
    uint64_t began_ms = vv_monotonic_ms();
    Patience patience = { .node = node, .moved_ms = began_ms };
    g_autofree char *why = NULL;
    bool told = false;

    while (!node->taken && !status.failed && !(why = lose_patience(&patience))) {
        tell_waiting(node, began_ms, &told);
        g_usleep(LOOK_US);
        vv_driver_status(node->driver, &status);
    }
    if (!node->taken)
        vv_set_error(error, VV_ERROR_NO_QUORUM, node->daemon->name, "vvfs-admin node list, on a node that is up",
            "node %s has no map of pool %s yet: %s", node->daemon->node, node->daemon->name, why ? why : "it could not be taken");
    return node->taken;
}

bool vvn_take_state(VvClusterNode *node, GError **error)
{
    g_auto(VvJoined) joined = { 0 };
    const char *address;
    bool ok;

    if (node->daemon->options->read_only) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, node->daemon->name, NULL,
            "pool %s has no map on node %s yet, and read-only none can be taken from the others", node->daemon->name, node->daemon->node);
        return false;
    }
    if (!vv_nodes_load(node->daemon->directory, &joined, error))
        return false;
    address = own_address(&joined);
    if (joined.node != node->id || !address) {
        vv_set_error(error, VV_ERROR_DAMAGED, node->daemon->name, "join again with a new invite", "%s: the list of nodes is not of node %"
            G_GUINT64_FORMAT ", whom the certificate names", node->daemon->directory, node->id);
        return false;
    }
    g_free(node->daemon->node);
    node->daemon->node = g_strdup(joined.node_name);
    ok = vvn_listen(node, address, joined.nodes, error) && vv_driver_take(node->driver, error) && wait_for_state(node, error);
    vv_driver_stop(node->driver); /* it sends nothing, and the mesh may still bring something */
    vvn_stop_listening(node);
    g_clear_pointer(&node->driver, vv_driver_free);
    node->taken = false;
    if (!ok)
        return false;
    vv_log(VV_LOG_NOTE, "pool %s: node %s has taken the pool's map", node->daemon->name, node->daemon->node);
    return vvn_make_driver(node, error);
}
