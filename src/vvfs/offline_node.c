/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offline methods of nodes: joining, and what a pool directory says of its nodes while nobody serves it. */
#include "offline_node.h"

#include "config.h"
#include "error.h"
#include "guest.h"
#include "lock.h"
#include "node.h"
#include "node_json.h"
#include "node_setup.h"

#include <string.h>

#define JOIN_MS 40000u /* more than a node takes to answer (VV_JOIN_MS), and to be reached */

/* ---- node.join */
JsonObject *vv_offline_node_join(JsonObject *params, GError **error)
{
    VvNodeJoin join = { .directory = vv_json_get_string(params, "dir"),
        .parent = vv_json_get_string(params, "parent"),
        .token = vv_json_get_string(params, "token"),
        .listen = vv_json_get_string(params, "listen"),
        .name = vv_json_get_string(params, "node"),
        .timeout_ms = JOIN_MS };
    g_auto(VvJoined) joined = { 0 };
    g_auto(GStrv) disks = vv_offline_disks(params);
    g_autofree char *directory = NULL, *uuid = NULL, *name = NULL;
    const char *place = join.directory ? join.directory : join.parent;
    JsonObject *result;
    bool again = false;
    VvUuid id;

    if (!place || *place != '/') {
        vv_set_error(error, VV_ERROR_USAGE, "dir", NULL, "the param dir or parent must be an absolute path");
        return NULL;
    }
    join.disks = (const char *const *) disks;
    if (vv_json_has(params, "timeout_ms"))
        join.timeout_ms = (uint64_t) json_object_get_int_member(params, "timeout_ms");
    if (!vv_node_join(&join, &directory, &joined, &again, error) || !vv_meta_identify(directory, &name, &id, error))
        return NULL;
    uuid = vv_uuid_format(&id);
    result = json_object_new();
    vv_json_set_string(result, "name", name);
    vv_json_set_string(result, "uuid", uuid);
    vv_json_set_string(result, "directory", directory);
    vv_json_set_string(result, "node", joined.node_name);
    vv_json_set_u64(result, "id", joined.node);
    vv_json_set_string(result, "role", vv_token_role_name(joined.role));
    vv_json_set_bool(result, "again", again);
    return result;
}

/* ---- node.list */
/* Of a directory that has joined and has no map, or a guest's, which keeps none: what it was told. */
static bool list_joined(const char *directory, bool has_map, JsonArray *items, GError **error)
{
    g_auto(VvJoined) joined = { 0 };

    if (!vv_nodes_load(directory, &joined, error))
        return false;
    for (unsigned i = 0; i < joined.nodes->len; i++) {
        const VvKnownNode *node = &g_array_index(joined.nodes, VvKnownNode, i);
        bool self = node->id == joined.node;
        VvNodeShown shown = { .name = node->name,
            .id = node->id,
            .address = node->addresses[0],
            .role = self ? vv_token_role_name(joined.role) : node->guest ? "guest" : NULL,
            .state = !self ? NULL : has_map ? "down" : "joining",
            .version = self ? PACKAGE_VERSION : NULL };

        json_array_add_object_element(items, vv_node_shown_json(&shown));
    }
    return true;
}

static bool list_stored(const char *directory, JsonArray *items, GError **error)
{
    g_autoptr(VvMeta) meta = vv_meta_open(directory, true, NULL, error);
    g_autoptr(GPtrArray) nodes = NULL;
    g_autofree char *host = vv_host_name();
    uint64_t disks, created_ns;

    if (!meta)
        return false;
    vv_meta_read_lock(meta);
    disks = vv_meta_disks(meta)->len;
    created_ns = vv_meta_pool(meta)->created_ns;
    vv_meta_read_unlock(meta);
    nodes = vv_meta_nodes(meta);
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);
        VvNodeShown shown = { .name = record->name,
            .id = record->id,
            .address = record->addresses[0],
            .role = vv_role_name(record->role),
            .state = "down",
            .version = record->software,
            .since_ns = record->since_ns };

        if (record->role != VV_ROLE_GONE)
            json_array_add_object_element(items, vv_node_shown_json(&shown));
    }
    if (nodes->len == 0) {
        VvNodeShown shown = { .name = host, .role = "coordinator", .state = "down", .since_ns = created_ns, .have_disks = true, .disks = disks };

        json_array_add_object_element(items, vv_node_shown_json(&shown));
    }
    return true;
}

JsonObject *vv_offline_node_list(JsonObject *params, GError **error)
{
    const char *directory = vv_json_get_string(params, "dir");
    g_autofree char *name = NULL, *map = NULL;
    g_autoptr(JsonArray) items = json_array_new();
    vv_autofd int lock_fd = -1;
    JsonObject *result;
    VvUuid uuid;
    bool has_map, good;

    if (*directory != '/') {
        vv_set_error(error, VV_ERROR_USAGE, "dir", NULL, "the param dir must be an absolute path");
        return NULL;
    }
    if (!vv_meta_identify(directory, &name, &uuid, error) || (lock_fd = vv_lock_take(directory, name, false, error)) < 0)
        return NULL;
    vv_lock_tell(lock_fd, "offline", NULL, getpid());
    map = g_build_filename(directory, "map", NULL);
    has_map = g_file_test(map, G_FILE_TEST_EXISTS);
    good = vv_node_listens(directory) && (!has_map || vv_guest_is_one(directory)) ? list_joined(directory, has_map, items, error)
                                                                                  : list_stored(directory, items, error);
    if (!good)
        return NULL;
    result = json_object_new();
    json_object_set_array_member(result, "items", g_steal_pointer(&items));
    vv_json_set_null(result, "next");
    return result;
}
