/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of nodes. Crews' threads. */
#include "rpc.h"

#include "node.h"
#include "node_json.h"
#include "relay.h"
#include "sharing.h"

#include <string.h>

static bool need_listening(const VvCall *call, GError **error)
{
    if (call->daemon->cluster)
        return true;
    if (vv_node_listens(call->daemon->directory)) {
        vv_set_error(error, VV_ERROR_DAMAGED, call->daemon->name, "vvfs-admin events", "%s/tls could not be used when this process took over",
            call->daemon->directory);
        return false;
    }
    vv_set_error(error, VV_ERROR_UNSUPPORTED, call->daemon->name, "make a pool with `vvfs-admin pool create --listen ADDR`",
        "not in this version: other nodes in a pool that was made without --listen (%s)", call->daemon->name);
    return false;
}

bool vv_rpc_node_list(VvCall *call, GError **error)
{
    JsonObject *result = json_object_new();

    (void) error;
    json_object_set_array_member(result, "items", vv_nodes_json(call->daemon)); /* 64 at most: one piece */
    vv_json_set_null(result, "next");
    return vv_call_done(call, result);
}

bool vv_rpc_node_show(VvCall *call, GError **error)
{
    JsonObject *result = vv_node_show_json(call->daemon, vv_call_string(call, "node"), error);

    return result && vv_call_done(call, result);
}

bool vv_rpc_node_invites(VvCall *call, GError **error)
{
    g_autoptr(GPtrArray) invites = vv_meta_invites(vv_pool_meta(call->daemon->pool));
    JsonObject *result = json_object_new();
    JsonArray *items = vv_json_set_array(result, "items");

    (void) error;
    for (unsigned i = 0; i < invites->len; i++)
        json_array_add_object_element(items, vv_invite_json(call->daemon, g_ptr_array_index(invites, i)));
    vv_json_set_null(result, "next");
    return vv_call_done(call, result);
}

static bool read_ask(VvCall *call, VvInviteAsk *ask, GError **error)
{
    const char *role = vv_call_string(call, "role"), *name = vv_call_string(call, "name");

    *ask = (VvInviteAsk){ .name = name ? name : "", .role = VV_ROLE_VOTER, .ttl_seconds = vv_call_u64(call, "ttl", VV_INVITE_SECONDS) };
    if (name && !vv_member_name_check(name, error))
        return false;
    return !role || vv_invite_role_parse(role, &ask->role, error);
}

bool vv_rpc_node_invite(VvCall *call, GError **error)
{
    VvClusterNode *node = call->daemon->cluster;
    g_autoptr(JsonObject) recipe = NULL;
    g_auto(VvInviteRecord) invite = { .id = 0 };
    g_autofree char *id = NULL;
    VvInviteAsk ask;

    if (!need_listening(call, error) || !read_ask(call, &ask, error) || !vv_invite_prepare(node, &ask, &invite, error))
        return false;
    recipe = json_object_new();
    id = g_strdup_printf("%" G_GUINT64_FORMAT, invite.id);
    vv_json_set_u64(recipe, "invite", invite.id);
    vv_json_set_string(recipe, "name", *invite.name ? invite.name : NULL);
    vv_json_set_string(recipe, "role", vv_role_name(invite.role));
    vv_json_set_time(recipe, "expires", invite.expiry_seconds * 1000000000u);
    vv_json_set_string(recipe, "@token", id);
    if (!vv_pool_invite_add(call->daemon->pool, &invite, vv_call_request(call, recipe), error))
        return false;
    vv_node_changed(node);
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_node_revoke(VvCall *call, GError **error)
{
    g_autoptr(JsonObject) recipe = json_object_new();
    uint64_t id = vv_call_u64(call, "invite", 0);

    if (!need_listening(call, error))
        return false;
    vv_json_set_u64(recipe, "revoked", id);
    if (!vv_pool_invite_revoke(call->daemon->pool, id, vv_call_request(call, recipe), error))
        return false;
    vv_node_changed(call->daemon->cluster);
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* ---- changes of nodes */
static bool read_settings(VvCall *call, const char **ret_role, const char **ret_address, GError **error)
{
    g_autoptr(GList) names = json_object_get_members(vv_call_object(call, "settings"));

    *ret_role = *ret_address = NULL;
    for (const GList *l = names; l; l = l->next) {
        const char *name = l->data, *value = json_object_get_string_member(vv_call_object(call, "settings"), name);

        if (strcmp(name, "role") == 0) {
            *ret_role = value;
        } else if (strcmp(name, "address") == 0) {
            *ret_address = value;
        } else {
            vv_set_error(error, VV_ERROR_USAGE, name, "role=voter, role=standby, address=ADDR[:PORT]", "a node has no setting %s", name);
            return false;
        }
    }
    return true;
}

bool vv_rpc_node_set(VvCall *call, GError **error)
{
    const char *name = vv_call_string(call, "node"), *role, *address;
    g_autoptr(JsonObject) recipe = json_object_new();

    if (!need_listening(call, error) || !read_settings(call, &role, &address, error))
        return false;
    vv_json_set_string(recipe, "node", name);
    if (!vv_node_set(call->daemon->cluster, name, role, address, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

static bool evict(VvCall *call, const char *name, bool fenced, GError **error)
{
    g_autoptr(JsonObject) recipe = json_object_new();

    vv_json_set_string(recipe, "node", name);
    vv_json_set_bool(recipe, "fenced", fenced);
    if (!vv_node_evict(call->daemon->cluster, name, fenced, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* Who is gone is not talked to any more: a guest may hear of that before it hears the answer. */
static bool leave_as_guest(VvCall *call, GError **error)
{
    g_autoptr(GError) why = NULL;
    JsonObject *recipe;

    if (vv_relay_call(call, &why))
        return true;
    if (!g_error_matches(why, VV_ERROR, VV_ERROR_TIMEOUT) || !vv_node_await_gone(call->daemon->cluster)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    recipe = json_object_new();
    vv_json_set_string(recipe, "node", call->daemon->node);
    vv_json_set_bool(recipe, "fenced", false);
    return vv_call_done(call, recipe);
}

bool vv_rpc_node_leave(VvCall *call, GError **error)
{
    g_autofree char *name = call->relayed ? vv_pool_node_name(call->daemon->pool, vv_relayed_node(call->relayed)) : g_strdup(call->daemon->node);

    if (!need_listening(call, error))
        return false;
    return vv_node_is_guest(call->daemon->cluster) ? leave_as_guest(call, error) : evict(call, name, false, error);
}

bool vv_rpc_node_evict(VvCall *call, GError **error)
{
    return need_listening(call, error) && evict(call, vv_call_string(call, "node"), vv_call_bool(call, "fenced"), error);
}

bool vv_rpc_node_lead(VvCall *call, GError **error)
{
    const char *name = vv_call_string(call, "node");
    g_autoptr(JsonObject) recipe = json_object_new();

    vv_json_set_string(recipe, "node", name);
    return need_listening(call, error) && vv_node_lead(call->daemon->cluster, name, error) && vv_call_done(call, g_steal_pointer(&recipe));
}

/* The token of invite @id, as long as somebody may use it. */
static char *token_of(VvDaemon *daemon, const char *id)
{
    g_autoptr(GPtrArray) invites = vv_meta_invites(vv_pool_meta(daemon->pool));
    uint64_t wanted = g_ascii_strtoull(id, NULL, 10);

    for (unsigned i = 0; daemon->cluster && i < invites->len; i++) {
        const VvInviteRecord *invite = g_ptr_array_index(invites, i);

        if (invite->id == wanted)
            return invite->node == 0 ? vv_invite_token(daemon->cluster, invite, NULL) : NULL;
    }
    return NULL;
}

void vv_result_set_token(VvDaemon *daemon, JsonObject *result, const char *id)
{
    g_autofree char *token = token_of(daemon, id);

    vv_json_set_string(result, "token", token);
}
