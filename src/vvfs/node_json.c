/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool that does not listen has one node, this machine, which has no number and no address. */
#include "node_json.h"

#include "config.h"
#include "error.h"
#include "node.h"

#include <string.h>

static void set_number(JsonObject *object, const char *key, uint64_t value)
{
    if (value)
        vv_json_set_u64(object, key, value);
    else
        vv_json_set_null(object, key);
}

JsonObject *vv_node_shown_json(const VvNodeShown *shown)
{
    JsonObject *object = json_object_new();

    vv_json_set_string(object, "name", shown->name);
    set_number(object, "id", shown->id);
    vv_json_set_string(object, "address", shown->address);
    vv_json_set_string(object, "role", shown->role);
    vv_json_set_string(object, "state", shown->state);
    set_number(object, "session", shown->session);
    vv_json_set_string(object, "version", shown->version);
    if (shown->have_disks)
        vv_json_set_u64(object, "disks", shown->disks);
    else
        vv_json_set_null(object, "disks");
    vv_json_set_time(object, "since", shown->since_ns);
    return object;
}

/* Of node @id; those that are on no other are the first one's. */
static uint64_t disk_count(VvDaemon *daemon, uint64_t id)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    const GPtrArray *disks;
    uint64_t count = 0;

    vv_meta_read_lock(meta);
    disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < disks->len; i++) {
        uint64_t node = VV_FIRST_NODE;
        const char *path;

        (void) vv_node_address_parse(((const VvDiskInfo *) g_ptr_array_index(disks, i))->path, &node, &path);
        count += node == id;
    }
    vv_meta_read_unlock(meta);
    return count;
}

static JsonObject *item(VvDaemon *daemon, const VvNodeRecord *record)
{
    bool self = record->id == vv_node_id(daemon->cluster);
    uint64_t session = 0;
    VvNodeShown shown = { .name = record->name,
        .id = record->id,
        .address = record->addresses[0],
        .role = record->id == vv_node_coordinator(daemon->cluster, &session) ? "coordinator" : vv_role_name(record->role),
        .state = vv_node_state(daemon->cluster, record),
        .version = self ? PACKAGE_VERSION : record->software,
        .since_ns = record->since_ns,
        .session = self ? session : 0,
        .have_disks = true,
        .disks = disk_count(daemon, record->id) };

    return vv_node_shown_json(&shown);
}

static JsonObject *only_node(VvDaemon *daemon)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    VvNodeShown shown = { .name = daemon->node,
        .role = "coordinator",
        .state = "up",
        .version = PACKAGE_VERSION,
        .have_disks = true,
        .disks = disk_count(daemon, VV_FIRST_NODE) };

    vv_meta_read_lock(meta);
    shown.since_ns = vv_meta_pool(meta)->created_ns;
    vv_meta_read_unlock(meta);
    return vv_node_shown_json(&shown);
}

/* While it is waited for others the map may be older than a node's record, and a guest's is empty: then whom the directory knows counts too. */
static JsonObject *known_item(VvDaemon *daemon, const VvKnownNode *known)
{
    const VvNodeRecord record = { .id = known->id, .role = known->guest ? VV_ROLE_GUEST : VV_ROLE_VOTER };
    VvNodeShown shown = { .name = known->name,
        .id = known->id,
        .address = known->addresses[0],
        .role = known->guest ? "guest" : NULL,
        .state = vv_node_state(daemon->cluster, &record) };

    return vv_node_shown_json(&shown);
}

static bool has_record(const GPtrArray *records, uint64_t id)
{
    for (unsigned i = 0; i < records->len; i++)
        if (((const VvNodeRecord *) g_ptr_array_index(records, i))->id == id)
            return true;
    return false;
}

static void add_known(VvDaemon *daemon, const GPtrArray *records, JsonArray *items)
{
    g_autoptr(GArray) nodes = vv_node_known(daemon->cluster);

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvKnownNode *known = &g_array_index(nodes, VvKnownNode, i);

        if (!has_record(records, known->id))
            json_array_add_object_element(items, known_item(daemon, known));
    }
}

/* NULL: none of that name. */
static JsonObject *show_known(VvDaemon *daemon, const char *name)
{
    g_autoptr(GArray) nodes = vv_node_known(daemon->cluster);

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvKnownNode *known = &g_array_index(nodes, VvKnownNode, i);
        VvMesh *mesh = vv_node_mesh(daemon->cluster);
        g_autofree char *why = NULL;
        JsonObject *object;

        if (strcmp(known->name, name) != 0)
            continue;
        why = mesh ? vv_mesh_why(mesh, known->id) : NULL;
        object = known_item(daemon, known);
        vv_json_set_strings(object, "addresses", (const char *const *) known->addresses);
        vv_json_set_null(object, "key");
        vv_json_set_string(object, "reason", why);
        return object;
    }
    return NULL;
}

JsonArray *vv_nodes_json(VvDaemon *daemon)
{
    JsonArray *items = json_array_new();
    g_autoptr(GPtrArray) nodes = NULL;

    if (!daemon->cluster) {
        json_array_add_object_element(items, only_node(daemon));
        return items;
    }
    nodes = vv_meta_nodes(vv_pool_meta(daemon->pool));
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (record->role != VV_ROLE_GONE)
            json_array_add_object_element(items, item(daemon, record));
    }
    if (daemon->waiting_since_ns != 0)
        add_known(daemon, nodes, items);
    return items;
}

static char *hex(const uint8_t *bytes, size_t length_bytes)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < length_bytes; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return g_string_free(text, FALSE);
}

JsonObject *vv_node_show_json(VvDaemon *daemon, const char *name, GError **error)
{
    g_autoptr(VvNodeRecord) record = NULL;
    g_autofree char *key = NULL, *why = NULL;
    g_autoptr(GError) unknown = NULL;
    JsonObject *object;
    VvMesh *mesh;

    if (!daemon->cluster && strcmp(name, daemon->node) == 0) {
        object = only_node(daemon);
        vv_json_set_array(object, "addresses");
        vv_json_set_null(object, "key");
        vv_json_set_null(object, "reason");
        return object;
    }
    record = vv_pool_node(daemon->pool, name, &unknown);
    if (!record && daemon->waiting_since_ns != 0 && (object = show_known(daemon, name)))
        return object;
    if (!record) {
        g_propagate_error(error, g_steal_pointer(&unknown));
        return NULL;
    }
    object = item(daemon, record);
    key = hex(record->key_id, sizeof record->key_id);
    mesh = vv_node_mesh(daemon->cluster);
    why = mesh ? vv_mesh_why(mesh, record->id) : NULL;
    vv_json_set_strings(object, "addresses", (const char *const *) record->addresses);
    vv_json_set_string(object, "key", key);
    vv_json_set_string(object, "reason", why);
    return object;
}

static char *node_name(VvDaemon *daemon, uint64_t id)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(daemon->pool));

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (record->id == id)
            return g_strdup(record->name);
    }
    return NULL;
}

/* Does it reach the node with the disks, as far as this one knows? */
static bool reaches(VvDaemon *daemon, const VvNodeRecord *record)
{
    return strcmp(vv_node_state(daemon->cluster, record), "up") == 0;
}

/* How does the node @record come to a disk of @of? */
static const char *way_of(VvDaemon *daemon, const VvNodeRecord *record, uint64_t of, bool is_there)
{
    bool has_map = vv_node_has_disks(daemon->cluster, record->id);

    if (!is_there || record->role == VV_ROLE_WITNESS)
        return "none";
    if (record->id == of)
        return "direct";
    return has_map || reaches(daemon, record) ? "shipped" : "none";
}

void vv_disk_nodes_json(VvDaemon *daemon, JsonObject *object, uint64_t of, bool is_there)
{
    g_autoptr(GPtrArray) nodes = daemon->cluster ? vv_meta_nodes(vv_pool_meta(daemon->pool)) : NULL;
    JsonObject *paths = vv_json_set_object(object, "paths");

    if (!nodes) {
        vv_json_set_string(object, "node", daemon->node);
        vv_json_set_string(paths, daemon->node, is_there ? "direct" : "none");
        return;
    }
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (record->id == of)
            vv_json_set_string(object, "node", record->name);
        if (record->role != VV_ROLE_GONE)
            vv_json_set_string(paths, record->name, way_of(daemon, record, of, is_there));
    }
}

JsonObject *vv_invite_json(VvDaemon *daemon, const VvInviteRecord *invite)
{
    JsonObject *object = json_object_new();
    g_autofree char *node = node_name(daemon, invite->node);
    bool expired = vv_now_ns() / 1000000000u > invite->expiry_seconds;

    vv_json_set_u64(object, "id", invite->id);
    vv_json_set_string(object, "name", *invite->name ? invite->name : NULL);
    vv_json_set_string(object, "role", vv_role_name(invite->role));
    vv_json_set_string(object, "state", invite->node ? "used" : expired ? "expired" : "open");
    vv_json_set_string(object, "node", node);
    vv_json_set_time(object, "expires", invite->expiry_seconds * 1000000000u);
    vv_json_set_time(object, "created", invite->created_ns);
    return object;
}
