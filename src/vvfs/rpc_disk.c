/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of disks. Crews' threads. */
#include "rpc.h"

#include "far_disks.h"
#include "objects.h"
#include "relay.h"

#include <string.h>

bool vv_rpc_disk_list(VvCall *call, GError **error)
{
    g_autoptr(GPtrArray) items = vv_disk_items(call->daemon);
    const char *cursor = vv_call_string(call, "cursor");
    VvPiece piece = vv_piece_begin();

    (void) error;
    for (unsigned i = 0; i < items->len; i++) {
        const VvDiskItem *item = items->pdata[i];
        g_autofree char *here = g_strdup_printf("%" G_GUINT64_FORMAT, item->id);

        /* In the order of ids, which is that of adding. */
        if (cursor && item->id < g_ascii_strtoull(cursor, NULL, 10))
            continue;
        if (!vv_piece_add(&piece, vv_disk_json(call->daemon, item), here))
            break;
    }
    return vv_piece_end(call, &piece);
}

bool vv_rpc_disk_show(VvCall *call, GError **error)
{
    g_autoptr(VvDiskItem) item = vv_disk_item(call->daemon, vv_call_string(call, "disk"), error);
    JsonObject *result;

    if (!item)
        return false;
    result = vv_disk_json(call->daemon, item);
    vv_disk_json_more(call->daemon, item, result);
    return vv_call_done(call, result);
}

bool vv_rpc_disk_add(VvCall *call, GError **error)
{
    const char *path = vv_call_string(call, "path"), *wanted = vv_call_string(call, "name");
    g_autofree char *chosen = NULL, *base = NULL;
    g_autoptr(JsonObject) recipe = json_object_new();
    JsonObject *result;

    if (*path != '/' && !vv_is_address(path)) {
        vv_set_error(error, VV_ERROR_USAGE, path, NULL, "disk.add: the param path must be absolute, or an address");
        return false;
    }
    if (vv_is_node_address(path)) {
        vv_set_error(error, VV_ERROR_USAGE, path, "vvfs-admin disk add PATH, on that node", "the disk of a node is added there");
        return false;
    }
    if (vv_relay_is_elsewhere(call->daemon))
        return vv_is_address(path) ? vv_relay_call(call, error) : vv_far_disk_add(call, error);
    /* The name is chosen in the transaction; the path finds the disk in any case. */
    base = vv_is_address(path) ? g_strdup(path) : g_canonicalize_filename(path, "/");
    vv_json_set_string(recipe, "@disk", wanted ? wanted : base);
    if (!vv_pool_disk_add(call->daemon->pool, path, vv_call_u64(call, "size", 0), wanted,
            vv_call_bool(call, "overwrite"), vv_call_request(call, recipe), &chosen, error))
        return false;
    if (!chosen)
        return vv_call_done(call, g_steal_pointer(&recipe));
    result = json_object_new();
    vv_json_set_string(result, "@disk", chosen);
    return vv_call_done(call, result);
}

/* A path is first one of the node where it was typed. */
static VvDiskItem *find(VvCall *call, GError **error)
{
    const char *disk = vv_call_string(call, "disk");

    return call->relayed ? vv_disk_item_for(call->daemon, vv_relayed_node(call->relayed), disk, error) : vv_disk_item(call->daemon, disk, error);
}

bool vv_rpc_disk_grow(VvCall *call, GError **error)
{
    g_autoptr(VvDiskItem) item = find(call, error);
    g_autoptr(JsonObject) recipe = json_object_new();

    if (!item)
        return false;
    vv_json_set_string(recipe, "@disk", item->name);
    if (!vv_pool_disk_grow(
            call->daemon->pool, item->name, vv_call_u64(call, "size", 0), vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_disk_remove(VvCall *call, GError **error)
{
    g_autoptr(VvDiskItem) item = find(call, error);
    g_autoptr(JsonObject) recipe = json_object_new();
    const char *removed[2] = { NULL, NULL };

    if (!item)
        return false;
    if (vv_call_bool(call, "lost")) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, item->name, NULL, "not in this version: giving up a lost disk");
        return false;
    }
    removed[0] = item->name;
    vv_json_set_strings(recipe, "removed", removed);
    vv_json_set_array(recipe, "damaged");
    vv_json_set_null(recipe, "job");
    if (vv_call_dry(call)) {
        vv_json_set_bool(recipe, "dry_run", true);
        vv_json_set_bool(recipe, "confirm", false);
    }
    if (!vv_pool_disk_remove(call->daemon->pool, item->name, vv_call_dry(call), vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}
