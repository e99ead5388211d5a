/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The door: who comes in, whom we call on, and which of two connections is kept (M1 to M4 of mesh.h). All on the door's thread. */
#include "mesh_private.h"

#include "error.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define ACCEPT_AGAIN_MS 100u

/* ---- which is kept */
typedef enum { TAKE, DUPLICATE, TWIN } VvVerdict;

static bool is_old(const VvMeshNode *node, uint64_t instance)
{
    for (unsigned i = 0; i < VV_OLD_INSTANCES; i++)
        if (node->old[i] == instance)
            return true;
    return false;
}

/* Is there a living connection of the newest instance? */
static bool is_here(const VvMeshNode *node)
{
    const VvPeer *peer = node->control.peer;

    return peer && vv_peer_theirs(peer)->instance == node->instance;
}

static VvVerdict judge(const VvMeshSlot *slot, const VvHello *ours, const VvHello *theirs, bool dialled)
{
    const VvMeshNode *node = slot->node;
    const VvPeer *have = slot->peer;

    if (theirs->instance != node->instance && is_old(node, theirs->instance) && is_here(node))
        return TWIN;
    if (!have || vv_peer_theirs(have)->instance != theirs->instance)
        return TAKE; /* M1 */
    if (vv_peer_dialled(have) != dialled)
        return dialled == (slot->mesh->hello.node < node->id) ? TAKE : DUPLICATE; /* M2 */
    if (dialled)
        return ours->dial > vv_peer_ours(have)->dial ? TAKE : DUPLICATE; /* M3 */
    return theirs->dial > vv_peer_theirs(have)->dial ? TAKE : DUPLICATE;
}

/* @instance has proven that it lives. */
static void note_instance(VvMeshNode *node, uint64_t instance)
{
    if (node->instance == instance)
        return;
    for (unsigned i = 0; i < VV_OLD_INSTANCES; i++)
        if (node->old[i] == instance)
            node->old[i] = 0;
    if (node->instance != 0)
        node->old[node->old_at++ % VV_OLD_INSTANCES] = node->instance;
    node->instance = instance;
}

/* ---- what happens to a greeting */

/* Why not, for people; NULL: it is taken, or there is nothing to tell. */
static const char *unsettled(const VvMeshSlot *slot, const VvPeerOptions *met, bool *ret_take)
{
    VvVerdict verdict = judge(slot, &met->ours, &met->theirs, met->dialled);

    *ret_take = false;
    if (slot->mesh->stopping)
        return NULL;
    if (met->identity.guest != slot->node->guest)
        return met->identity.guest ? "it has a guest's certificate, and is a member here" : "it has a member's certificate, and is a guest here";
    if (verdict == TWIN)
        return "another process has the certificate of this node: was its pool directory copied?";
    *ret_take = verdict == TAKE;
    return NULL;
}

/* The table, and who is here, may have changed since the hello was judged. */
static void settle(VvMeshSlot *slot, VvPeerOptions *met)
{
    VvMesh *mesh = slot->mesh;
    bool take;
    const char *why = unsettled(slot, met, &take);

    if (why)
        vvm_mesh_tell(mesh, VV_MESH_MISTAKEN, slot->node->id, "node %" G_GUINT64_FORMAT " at %s was refused: %s", slot->node->id, met->address.text, why);
    if (!take) {
        vv_peer_options_clear(met);
        return;
    }
    note_instance(slot->node, met->theirs.instance);
    vvm_mesh_install(slot, met);
    if (slot->channel == 0)
        for (unsigned i = 0; i < mesh->channels; i++)
            vvm_mesh_dial_later(&slot->node->out[i], 0);
}

static void fill_hello(const VvMesh *mesh, VvHello *hello)
{
    bool control = hello->purpose == VV_PURPOSE_CONTROL;

    hello->requests_max = control ? VV_CONTROL_REQUESTS_MAX : VV_PEER_REQUESTS_MAX;
    hello->body_max = control ? VV_PEER_BODY_BYTES_MAX : VV_DATA_BODY_BYTES_MAX;
    hello->data_max = VV_PEER_DATA_BYTES_MAX;
    hello->channels = (uint8_t) mesh->channels;
}

/* ---- those who dial us */
static bool heard_fails(VvMesh *mesh, VvMeshTrouble trouble, uint64_t node, unsigned reason, unsigned *ret_reason,
    GError **error, const char *why)
{
    *ret_reason = reason;
    vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "%s", why);
    if (reason != VV_GOODBYE_DUPLICATE)
        vvm_mesh_tell(mesh, trouble, node, "node %" G_GUINT64_FORMAT " was refused: %s", node, why);
    return false;
}

static bool heard_cb(VvGreeting *greeting, const VvHello *theirs, const VvIdentity *identity, VvHello *ours,
    unsigned *ret_reason, GError **error, void *user)
{
    VvMesh *mesh = user;
    VvMeshNode *node = vvm_mesh_node(mesh, identity->node);
    VvMeshSlot *slot;

    (void) greeting;
    if (identity->node == mesh->hello.node)
        return heard_fails(mesh, VV_MESH_MISTAKEN, identity->node, VV_GOODBYE_TWIN, ret_reason, error,
            "it has the certificate of this very node");
    if (vvm_mesh_is_gone(mesh, identity->node))
        return heard_fails(mesh, VV_MESH_REFUSED, identity->node, VV_GOODBYE_GONE, ret_reason, error, VVM_GONE_TEXT);
    if (!node || node->guest != identity->guest || (node->guest && vv_tls_self(mesh->tls)->guest))
        return heard_fails(mesh, VV_MESH_REFUSED, identity->node, VV_GOODBYE_NODE, ret_reason, error,
            "it is not, or not any more, a node that this one talks to");
    slot = vvm_mesh_slot(node, theirs->purpose, theirs->channel, theirs->purpose == VV_PURPOSE_DATA);
    if (!slot)
        return heard_fails(mesh, VV_MESH_REFUSED, identity->node, VV_GOODBYE_PROTOCOL, ret_reason, error,
            "it wants more data connections than were offered");
    switch (judge(slot, ours, theirs, false)) {
    case TWIN:
        return heard_fails(mesh, VV_MESH_MISTAKEN, identity->node, VV_GOODBYE_TWIN, ret_reason, error,
            "another process has the certificate of this node: was its pool directory copied?");
    case DUPLICATE:
        vv_peer_doubt(slot->peer); /* M4 */
        return heard_fails(mesh, VV_MESH_REFUSED, identity->node, VV_GOODBYE_DUPLICATE, ret_reason, error,
            "another connection is kept");
    case TAKE:
        break;
    }
    fill_hello(mesh, ours);
    return true;
}

static void accepted_met_cb(VvGreeting *greeting, VvPeerOptions *met, void *user)
{
    VvMesh *mesh = user;
    VvMeshNode *node = vvm_mesh_node(mesh, met->identity.node);
    const VvHello *theirs = &met->theirs;
    VvMeshSlot *slot =
        node ? vvm_mesh_slot(node, theirs->purpose, theirs->channel, theirs->purpose == VV_PURPOSE_DATA) : NULL;

    g_ptr_array_remove(mesh->greetings, greeting);
    if (slot)
        settle(slot, met);
    else
        vv_peer_options_clear(met);
}

static void accepted_ended_cb(VvGreeting *greeting, const char *why, void *user)
{
    VvMesh *mesh = user;
    VvMeshTrouble trouble = vv_greeting_is_joining(greeting) ? VV_MESH_UNWELCOME : VV_MESH_STRANGER;

    g_ptr_array_remove(mesh->greetings, greeting);
    if (!vv_greeting_is_let_in(greeting) && (vv_greeting_is_strange(greeting) || vv_greeting_reason(greeting) == 0))
        vvm_mesh_tell(mesh, trouble, 0, "a connection from %s: %s", vv_greeting_address(greeting)->text, why);
}

static void join_cb(VvJoin *join, void *user)
{
    VvMesh *mesh = user;
    g_autoptr(GError) error = NULL;
    unsigned joining = 0;

    for (guint i = 0; i < mesh->greetings->len; i++)
        joining += vv_greeting_is_joining(g_ptr_array_index(mesh->greetings, i));
    if (!mesh->events->join || !atomic_load(&mesh->joining))
        vv_set_error(&error, VV_ERROR_DENIED, NULL, NULL, "no invitation is open");
    else if (joining > VV_JOINS_MAX)
        vv_set_error(&error, VV_ERROR_BUSY, NULL, NULL, "others are joining at the moment");
    if (error)
        vv_join_refuse(join, error);
    else
        mesh->events->join(mesh, join, mesh->user);
}

static const VvGreetingEvents accepted_events = { heard_cb, accepted_met_cb, accepted_ended_cb, join_cb };

/* Does the pool list a node at this host? */
static bool is_nodes_host(const VvMesh *mesh, const VvAddress *address)
{
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, mesh->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VvMeshNode *node = value;

        for (guint i = 0; i < node->addresses->len; i++)
            if (vv_address_same_host(&g_array_index(node->addresses, VvAddress, i), address))
                return true;
    }
    return false;
}

/* Has it shown, by now, that it is a node's? */
static bool has_proven(const VvMesh *mesh, const VvGreeting *greeting)
{
    uint64_t node = vv_greeting_node(greeting);

    return node != 0 && g_hash_table_contains(mesh->nodes, &node);
}

/* The oldest that has proven nothing: from @host only, or, if NULL, from a host where no node is, or else from any. Who joins is few. */
static VvGreeting *oldest_stranger(const VvMesh *mesh, const VvAddress *host)
{
    for (unsigned pass = host ? 1 : 0; pass < 2; pass++)
        for (guint i = 0; i < mesh->greetings->len; i++) {
            VvGreeting *greeting = g_ptr_array_index(mesh->greetings, i);
            const VvAddress *address = vv_greeting_address(greeting);

            if (!has_proven(mesh, greeting) && !vv_greeting_is_joining(greeting) &&
                (host ? vv_address_same_host(address, host) : pass == 1 || !is_nodes_host(mesh, address)))
                return greeting;
        }
    return NULL;
}

/* Too many who are not known yet? Who comes takes the place of the oldest that has not shown who it is: a node needs its place for a round
 * trip or two, so those who hold theirs and say nothing cannot shut it out. False: there is no place. */
static bool make_room(VvMesh *mesh, const VvAddress *address)
{
    VvGreeting *goes;
    unsigned same = 0;

    for (guint i = 0; i < mesh->greetings->len; i++)
        same += vv_address_same_host(vv_greeting_address(g_ptr_array_index(mesh->greetings, i)), address);
    if (mesh->greetings->len < VV_GREETINGS_MAX && same < VV_GREETINGS_PER_ADDRESS_MAX)
        return true;
    goes = oldest_stranger(mesh, same >= VV_GREETINGS_PER_ADDRESS_MAX ? address : NULL);
    if (!goes)
        return false;
    vvm_mesh_tell(mesh, VV_MESH_STRANGER, 0, "a connection from %s: too many are on their way in, and it has not said who it is",
        vv_greeting_address(goes)->text);
    g_ptr_array_remove(mesh->greetings, goes);
    vv_greeting_cancel(goes);
    return true;
}

static void accept_cb(
    struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *socket, int length, void *user)
{
    VvMesh *mesh = user;
    VvAddress address;

    (void) listener;
    vv_address_set(&address, socket, (socklen_t) length);
    if (mesh->stopping || !make_room(mesh, &address)) {
        vvm_mesh_tell(mesh, VV_MESH_STRANGER, 0, "a connection from %s: too many are on their way in", address.text);
        close((int) fd);
        return;
    }
    g_ptr_array_add(
        mesh->greetings, vv_greeting_accept(mesh->door, mesh->tls, (int) fd, &address, atomic_load(&mesh->joining),
                             &mesh->hello, mesh->greeting_ms, &accepted_events, mesh));
}

void vvm_mesh_accept_again(void *data)
{
    VvMesh *mesh = data;

    if (mesh->listener)
        evconnlistener_enable(mesh->listener);
}

/* Out of descriptors, mostly: accepting again at once would spin. */
static void accept_error_cb(struct evconnlistener *listener, void *user)
{
    VvMesh *mesh = user;

    vvm_mesh_tell(mesh, VV_MESH_STRANGER, 0, "cannot accept connections: %s", g_strerror(errno));
    evconnlistener_disable(listener);
    vv_peer_timer_set(mesh->accept_again, ACCEPT_AGAIN_MS);
}

static int open_socket(const VvAddress *address, GError **error)
{
    vv_autofd int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1, ret;

    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd >= 0 && address->socket.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (fd < 0 || bind(fd, (const struct sockaddr *) &address->socket, address->socket_bytes) != 0 ||
        listen(fd, 128) != 0) {
        vv_set_error_errno(error, errno, address->text, "cannot listen on %s", address->text);
        return -1;
    }
    ret = fd;
    fd = -1;
    return ret;
}

bool vvm_mesh_listen(VvMesh *mesh, const VvAddress *address, GError **error)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    VvAddress shown;
    int fd = open_socket(address, error);

    if (fd < 0)
        return false;
    mesh->listener = evconnlistener_new(
        vv_peer_loop_base(mesh->door), accept_cb, mesh, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!mesh->listener || getsockname(fd, (struct sockaddr *) &bound, &length) != 0) {
        vv_set_error_errno(error, ENOMEM, address->text, "cannot listen on %s", address->text);
        if (!mesh->listener)
            close(fd);
        return false;
    }
    evconnlistener_set_error_cb(mesh->listener, accept_error_cb);
    vv_address_set(&shown, (struct sockaddr *) &bound, length);
    mesh->port = vv_address_port(&shown);
    return true;
}

/* ---- those we dial */
static void dialled_met_cb(VvGreeting *greeting, VvPeerOptions *met, void *user)
{
    VvMeshSlot *slot = user;

    (void) greeting;
    slot->greeting = NULL;
    settle(slot, met);
    vvm_mesh_dial_later(slot, VV_DIAL_MS_MAX); /* if it was not taken, nor another one is there */
}

/* Tell of a failure once, not each time that it is tried. */
static void tell_dial(VvMeshSlot *slot, unsigned reason, const char *text)
{
    VvMesh *mesh = slot->mesh;
    bool known = g_strcmp0(slot->why, text) == 0;

    pthread_mutex_lock(&mesh->lock);
    g_free(slot->why);
    slot->why = g_strdup(text);
    pthread_mutex_unlock(&mesh->lock);
    if (!known && reason != 0 && reason != VV_GOODBYE_ENDING && reason != VV_GOODBYE_DUPLICATE)
        vvm_mesh_tell(mesh, reason == VV_GOODBYE_GONE ? VV_MESH_GONE :
            reason == VV_GOODBYE_TWIN || reason == VV_GOODBYE_NODE ? VV_MESH_MISTAKEN : VV_MESH_REFUSED, slot->node->id, "%s", text);
}

static void dialled_ended_cb(VvGreeting *greeting, const char *why, void *user)
{
    VvMeshSlot *slot = user;
    g_autofree char *text = g_strdup_printf("%s at %s: %s", slot->node->name, vv_greeting_address(greeting)->text, why);

    slot->greeting = NULL;
    tell_dial(slot, vv_greeting_reason(greeting), text);
    /* all addresses once, then a pause */
    if (slot->node->addresses->len > 0 && slot->next_address % slot->node->addresses->len == 0)
        slot->pause_ms = vvm_mesh_longer_pause(slot->pause_ms);
    vvm_mesh_dial_later(slot, slot->pause_ms);
}

static const VvGreetingEvents dialled_events = { NULL, dialled_met_cb, dialled_ended_cb, NULL };

static bool may_dial(const VvMeshSlot *slot)
{
    const VvMesh *mesh = slot->mesh;

    if (mesh->stopping || slot->inward || slot->peer || slot->greeting || slot->node->addresses->len == 0)
        return false;
    return slot->channel == 0 || (slot->node->control.peer && /* data follows control */
                                     slot->channel <= vv_peer_theirs(slot->node->control.peer)->channels);
}

uint64_t vvm_mesh_longer_pause(uint64_t pause_ms)
{
    return MIN(MAX(pause_ms * 2, VV_DIAL_MS_MIN), VV_DIAL_MS_MAX);
}

void vvm_mesh_dial_later(VvMeshSlot *slot, uint64_t delay_ms)
{
    uint16_t random;

    if (!may_dial(slot))
        return;
    vv_random_bytes(&random, sizeof random);
    if (slot->channel == 0 && slot->mesh->hello.node > slot->node->id)
        delay_ms += VV_DIAL_GRACE_MS; /* M2 */
    vv_peer_timer_set(slot->timer, delay_ms * 3 / 4 + delay_ms * random / 2 / UINT16_MAX);
}

void vvm_mesh_dial_cb(void *data)
{
    VvMeshSlot *slot = data;
    VvMesh *mesh = slot->mesh;
    VvHello hello = mesh->hello;
    const VvAddress *address;

    if (!may_dial(slot))
        return;
    address = &g_array_index(slot->node->addresses, VvAddress, slot->next_address++ % slot->node->addresses->len);
    hello.to = slot->node->id;
    hello.purpose = slot->channel == 0 ? VV_PURPOSE_CONTROL : VV_PURPOSE_DATA;
    hello.channel = (uint8_t) slot->channel;
    hello.dial = ++mesh->dials;
    fill_hello(mesh, &hello);
    slot->greeting = vv_greeting_dial(mesh->door, mesh->tls, address, &hello, mesh->greeting_ms, &dialled_events, slot);
}
