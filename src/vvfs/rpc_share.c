/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of sharing. Crews' threads. On a node without disks the engine refuses a change, as it is not known there who has the object
 * open, and the call is relayed. */
#include "rpc.h"

#include "objects.h"
#include "relay.h"
#include "sharing.h"

struct VvSharing {
    struct VvShareChanges changes;
    char **nodes;
    VvShareMode *modes;
};

void vv_sharing_free(VvSharing *sharing)
{
    if (!sharing)
        return;
    g_strfreev(sharing->nodes);
    g_free(sharing->modes);
    g_free(sharing);
}

const struct VvShareChanges *vv_sharing_changes(const VvSharing *sharing)
{
    return sharing ? &sharing->changes : NULL;
}

VvSharing *vv_sharing_read(JsonObject *share, GError **error)
{
    g_autoptr(VvSharing) sharing = g_new0(VvSharing, 1);
    g_autoptr(GList) names = json_object_get_members(share);
    unsigned count = g_list_length(names), at = 0;

    if (count == 0) {
        vv_set_error(error, VV_ERROR_USAGE, "share", "NODE=rw, NODE=ro, NODE=none", "no node is named");
        return NULL;
    }
    sharing->nodes = g_new0(char *, count + 1);
    sharing->modes = g_new0(VvShareMode, count);
    for (const GList *l = names; l; l = l->next, at++) {
        sharing->nodes[at] = g_strdup(l->data);
        if (!vv_share_mode_parse(vv_json_get_string(share, l->data), &sharing->modes[at], error))
            return NULL;
    }
    sharing->changes = (struct VvShareChanges){ .nodes = (const char *const *) sharing->nodes, .modes = sharing->modes };
    return g_steal_pointer(&sharing);
}

bool vv_rpc_share_set(VvCall *call, GError **error)
{
    const char *object = vv_call_string(call, "object");
    g_autoptr(VvSharing) sharing = vv_sharing_read(vv_call_object(call, "share"), error);
    g_autoptr(JsonObject) recipe = json_object_new();
    VvShareHow how = { .with_snapshots = vv_call_bool(call, "with_snapshots"), .force = vv_call_bool(call, "force") };

    if (!sharing)
        return false;
    vv_json_set_string(recipe, "object", object);
    vv_json_set_string(recipe, "@share", object);
    if (!vv_pool_share_set(call->daemon->pool, object, &sharing->changes, &how, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_share_show(VvCall *call, GError **error)
{
    JsonObject *result = vv_share_json(call->daemon, vv_call_string(call, "object"), error);

    return result && vv_call_done(call, result);
}

bool vv_call_may_read(VvCall *call, const char *object, GError **error)
{
    return vv_pool_share_refuse(call->daemon->pool, object, call->relayed ? vv_relayed_node(call->relayed) : 0, error);
}
