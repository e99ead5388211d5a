/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mesh's life, its table of nodes, and what others ask of it. */
#include "mesh_private.h"

#include "error.h"

#include <event2/listener.h>
#include <stdio.h>
#include <string.h>

/* ---- the table */
VvMeshNode *vvm_mesh_node(VvMesh *mesh, uint64_t id)
{
    return g_hash_table_lookup(mesh->nodes, &id);
}

VvMeshSlot *vvm_mesh_slot(VvMeshNode *node, VvPurpose purpose, unsigned channel, bool inward)
{
    if (purpose == VV_PURPOSE_CONTROL)
        return &node->control;
    if (channel == 0 || channel > node->control.mesh->channels)
        return NULL;
    return inward ? &node->in[channel - 1] : &node->out[channel - 1];
}

typedef void (*VvSlotFunc)(VvMeshSlot *slot, void *data);

static void each_slot(VvMeshNode *node, VvSlotFunc func, void *data)
{
    func(&node->control, data);
    for (unsigned i = 0; i < node->control.mesh->channels; i++) {
        func(&node->out[i], data);
        func(&node->in[i], data);
    }
}

static void slot_clear(VvMeshSlot *slot, void *data)
{
    (void) data;
    if (slot->greeting)
        vv_greeting_cancel(slot->greeting);
    slot->greeting = NULL;
    g_clear_pointer(&slot->timer, vv_peer_timer_free);
    g_clear_pointer(&slot->peer, vv_peer_unref);
    g_clear_pointer(&slot->why, g_free);
}

/* On the door's thread. */
static void node_free(void *data)
{
    VvMeshNode *node = data;

    each_slot(node, slot_clear, NULL);
    g_array_unref(node->addresses);
    g_free(node->name);
    g_free(node);
}

static void slot_init(VvMeshSlot *slot, VvMesh *mesh, VvMeshNode *node, unsigned channel, bool inward)
{
    slot->mesh = mesh;
    slot->node = node;
    slot->channel = channel;
    slot->inward = inward;
    if (!inward)
        slot->timer = vv_peer_timer_new(mesh->door, vvm_mesh_dial_cb, slot);
}

static VvMeshNode *node_new(VvMesh *mesh, uint64_t id)
{
    VvMeshNode *node = g_new0(VvMeshNode, 1);

    node->id = id;
    slot_init(&node->control, mesh, node, 0, false);
    for (unsigned i = 0; i < mesh->channels; i++) {
        slot_init(&node->out[i], mesh, node, i + 1, false);
        slot_init(&node->in[i], mesh, node, i + 1, true);
    }
    return node;
}

/* ---- telling */
void vvm_mesh_tell(VvMesh *mesh, VvMeshTrouble trouble, uint64_t node, const char *format, ...)
{
    uint64_t now_ms = vv_monotonic_ms();
    g_autofree char *text = NULL;
    va_list arguments;

    if (mesh->told_since_ms == 0 || now_ms - mesh->told_since_ms >= 60000) {
        mesh->told_since_ms = now_ms;
        memset(mesh->told, 0, sizeof mesh->told);
    }
    if (!mesh->events->trouble || mesh->stopping)
        return;
    if (++mesh->told[trouble] > VV_LOG_PER_MINUTE_MAX) {
        mesh->suppressed[trouble]++;
        return;
    }
    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    mesh->events->trouble(mesh, trouble, node, text, mesh->suppressed[trouble], mesh->user);
    mesh->suppressed[trouble] = 0;
}

/* ---- nodes come and go */
bool vvm_mesh_is_gone(const VvMesh *mesh, uint64_t id)
{
    for (guint i = 0; i < mesh->gone->len; i++)
        if (g_array_index(mesh->gone, uint64_t, i) == id)
            return true;
    return false;
}

typedef struct {
    VvMesh *mesh;
    const GArray *nodes;
} VvSetNodes;

static GArray *parse_addresses(const VvKnownNode *known)
{
    GArray *addresses = g_array_new(FALSE, TRUE, sizeof(VvAddress));

    for (char **text = known->addresses; *text; text++) {
        VvAddress address;

        g_assert(vv_address_parse(*text, false, &address, NULL)); /* vv_known_nodes_check() has */
        g_array_append_val(addresses, address);
    }
    return addresses;
}

static void close_slot(VvMeshSlot *slot, void *data)
{
    const VvGoodbye *goodbye = data;

    if (slot->peer)
        vv_peer_close(slot->peer, goodbye->reason, goodbye->text);
}

static bool is_listed(const GArray *nodes, uint64_t id)
{
    for (guint i = 0; i < nodes->len; i++)
        if (g_array_index(nodes, VvKnownNode, i).id == id)
            return true;
    return false;
}

static void remove_missing(VvMesh *mesh, const GArray *nodes)
{
    VvGoodbye goodbye = { .reason = VV_GOODBYE_NODE, .text = VVM_GONE_TEXT };
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, mesh->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvMeshNode *node = value;

        if (is_listed(nodes, node->id))
            continue;
        goodbye.reason = vvm_mesh_is_gone(mesh, node->id) ? VV_GOODBYE_GONE : VV_GOODBYE_NODE;
        each_slot(node, close_slot, &goodbye);
        g_hash_table_iter_steal(&iter);
        node_free(node);
    }
}

static void update_node(VvMesh *mesh, const VvKnownNode *known)
{
    VvMeshNode *node = vvm_mesh_node(mesh, known->id);

    if (!node) {
        node = node_new(mesh, known->id);
        g_hash_table_insert(mesh->nodes, &node->id, node);
    }
    g_free(node->name);
    node->name = g_strdup(known->name);
    node->guest = known->guest;
    g_clear_pointer(&node->addresses, g_array_unref);
    node->addresses = parse_addresses(known);
    if (vv_tls_self(mesh->tls)->guest && node->guest)
        g_array_set_size(node->addresses, 0); /* guests do not talk to guests */
}

static void set_nodes_cb(void *data)
{
    const VvSetNodes *set = data;
    VvMesh *mesh = set->mesh;

    {
        VV_LOCKED(&mesh->lock);
        remove_missing(mesh, set->nodes);
        for (guint i = 0; i < set->nodes->len; i++) {
            const VvKnownNode *known = &g_array_index(set->nodes, VvKnownNode, i);

            if (known->id != mesh->hello.node)
                update_node(mesh, known);
        }
    }
    for (guint i = 0; i < set->nodes->len; i++) {
        VvMeshNode *node = vvm_mesh_node(mesh, g_array_index(set->nodes, VvKnownNode, i).id);

        if (node)
            vvm_mesh_dial_later(&node->control, 0);
    }
}

bool vv_mesh_set_nodes(VvMesh *mesh, const GArray *nodes, GError **error)
{
    VvSetNodes set = { mesh, nodes };

    if (!vv_known_nodes_check(nodes, error))
        return false;
    vv_peer_loop_run(mesh->door, set_nodes_cb, &set);
    return true;
}

typedef struct {
    VvMesh *mesh;
    const GArray *ids;
} VvSetGone;

static void set_gone_cb(void *data)
{
    const VvSetGone *set = data;

    g_array_set_size(set->mesh->gone, 0);
    if (set->ids->len > 0)
        g_array_append_vals(set->mesh->gone, set->ids->data, set->ids->len);
}

void vv_mesh_set_gone(VvMesh *mesh, const GArray *ids)
{
    VvSetGone set = { mesh, ids };

    vv_peer_loop_run(mesh->door, set_gone_cb, &set);
}

/* ---- life */
static bool start_loops(VvMesh *mesh, GError **error)
{
    mesh->door = vv_peer_loop_new("vv-door", error);
    mesh->control = mesh->door ? vv_peer_loop_new("vv-control", error) : NULL;
    if (!mesh->control)
        return false;
    for (unsigned i = 0; i < mesh->channels; i++) {
        char name[16];

        g_snprintf(name, sizeof name, "vv-data-%u", i + 1);
        mesh->data[i] = vv_peer_loop_new(name, error);
        if (!mesh->data[i])
            return false;
    }
    return true;
}

typedef struct {
    VvMesh *mesh;
    const VvAddress *address;
    GError *error;
    bool good;
} VvOpenDoor;

static void open_door_cb(void *data)
{
    VvOpenDoor *open = data;

    open->mesh->accept_again = vv_peer_timer_new(open->mesh->door, vvm_mesh_accept_again, open->mesh);
    open->good = !open->address || vvm_mesh_listen(open->mesh, open->address, &open->error);
}

static void fill_hello(VvMesh *mesh, const VvMeshOptions *options)
{
    const VvIdentity *self = vv_tls_self(mesh->tls);

    mesh->hello = (VvHello){
        .version_min = VV_PEER_VERSION_MIN,
        .version_max = VV_PEER_VERSION_MAX,
        .features_required = options->features_required,
        .features_offered = options->features_offered | options->features_required,
        .pool = self->pool,
        .node = self->node,
        .channels = (uint8_t) mesh->channels,
    };
    while (mesh->hello.instance == 0)
        vv_random_bytes(&mesh->hello.instance, sizeof mesh->hello.instance);
    g_strlcpy(mesh->hello.name, options->name, sizeof mesh->hello.name);
    g_strlcpy(mesh->hello.software, options->software, sizeof mesh->hello.software);
}

VvMesh *vv_mesh_new(const VvMeshOptions *options, GError **error)
{
    VvMesh *mesh = g_new0(VvMesh, 1);
    VvOpenDoor open = { mesh, options->listen, NULL, false };

    g_assert(options->channels <= VV_CHANNELS_MAX && options->events->message);
    mesh->events = options->events;
    mesh->user = options->user;
    mesh->channels = options->channels ? options->channels : 1;
    mesh->times = options->times;
    mesh->greeting_ms = options->greeting_ms;
    mesh->greetings = g_ptr_array_new();
    mesh->gone = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    mesh->nodes = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, node_free);
    pthread_mutex_init(&mesh->lock, NULL);
    pthread_cond_init(&mesh->ended, NULL);
    mesh->tls = vv_tls_new(options->credentials, error);
    if (mesh->tls)
        fill_hello(mesh, options);
    if (mesh->tls && start_loops(mesh, error) && (!options->nodes || vv_mesh_set_nodes(mesh, options->nodes, error))) {
        vv_peer_loop_run(mesh->door, open_door_cb, &open);
        if (open.good)
            return mesh;
        g_propagate_error(error, open.error);
    }
    vv_mesh_free(mesh);
    return NULL;
}

static void stop_cb(void *data)
{
    VvMesh *mesh = data;
    VvGoodbye goodbye = { .reason = VV_GOODBYE_ENDING, .text = "this node's process ends" };
    GHashTableIter iter;
    void *value;

    mesh->stopping = true;
    g_clear_pointer(&mesh->listener, evconnlistener_free);
    g_clear_pointer(&mesh->accept_again, vv_peer_timer_free);
    for (guint i = 0; i < mesh->greetings->len; i++)
        vv_greeting_cancel(g_ptr_array_index(mesh->greetings, i));
    g_ptr_array_set_size(mesh->greetings, 0);
    g_hash_table_iter_init(&iter, mesh->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        each_slot(value, close_slot, &goodbye);
    VV_LOCKED(&mesh->lock);
    g_hash_table_remove_all(mesh->nodes);
}

void vv_mesh_free(VvMesh *mesh)
{
    if (!mesh)
        return;
    if (mesh->door) {
        vv_peer_loop_run(mesh->door, stop_cb, mesh);
        pthread_mutex_lock(&mesh->lock);
        while (mesh->live > 0)
            pthread_cond_wait(&mesh->ended, &mesh->lock);
        pthread_mutex_unlock(&mesh->lock);
    }
    for (unsigned i = 0; i < mesh->channels; i++)
        vv_peer_loop_free(mesh->data[i]);
    vv_peer_loop_free(mesh->control);
    vv_peer_loop_free(mesh->door); /* last: peers' ends are posted there */
    vv_tls_free(mesh->tls);
    g_hash_table_unref(mesh->nodes);
    g_ptr_array_unref(mesh->greetings);
    g_array_unref(mesh->gone);
    pthread_cond_destroy(&mesh->ended);
    pthread_mutex_destroy(&mesh->lock);
    g_free(mesh);
}

/* ---- what others ask */
void vv_mesh_set_joining(VvMesh *mesh, bool on)
{
    atomic_store(&mesh->joining, on);
}

VvPeer *vv_mesh_peer(VvMesh *mesh, uint64_t id, unsigned channel)
{
    VV_LOCKED(&mesh->lock);
    VvMeshNode *node = vvm_mesh_node(mesh, id);
    VvMeshSlot *slot =
        node ? vvm_mesh_slot(node, channel == 0 ? VV_PURPOSE_CONTROL : VV_PURPOSE_DATA, channel, false) : NULL;

    return slot && slot->peer ? vv_peer_ref(slot->peer) : NULL;
}

char *vv_mesh_why(VvMesh *mesh, uint64_t id)
{
    VV_LOCKED(&mesh->lock);
    VvMeshNode *node = vvm_mesh_node(mesh, id);

    return node ? g_strdup(node->control.why) : NULL;
}

VvPeerLoop *vv_mesh_control_loop(VvMesh *mesh)
{
    return mesh->control;
}

const VvIdentity *vv_mesh_self(const VvMesh *mesh)
{
    return vv_tls_self(mesh->tls);
}

unsigned vv_mesh_port(const VvMesh *mesh)
{
    return mesh->port;
}

static void count_slot(VvMeshSlot *slot, void *data)
{
    VvPeerCounters *sum = data, one;

    if (!slot->peer)
        return;
    vv_peer_counters(slot->peer, &one);
    sum->bytes_in += one.bytes_in;
    sum->bytes_out += one.bytes_out;
    sum->messages_in += one.messages_in;
    sum->messages_out += one.messages_out;
    sum->waiting_bytes += one.waiting_bytes;
    sum->last_seen_ms = MAX(sum->last_seen_ms, one.last_seen_ms);
    if (slot->channel == 0)
        sum->round_trip_us = one.round_trip_us;
}

bool vv_mesh_counters(VvMesh *mesh, uint64_t id, VvPeerCounters *ret_counters)
{
    VV_LOCKED(&mesh->lock);
    VvMeshNode *node = vvm_mesh_node(mesh, id);

    if (!node)
        return false;
    *ret_counters = node->ended;
    ret_counters->waiting_bytes = ret_counters->round_trip_us = 0;
    each_slot(node, count_slot, ret_counters);
    return true;
}
