/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls with what the command line says of every call: --id, --dry-run, --yes, --timeout. */
#include <string.h>

#include "nouns.h"
#include "util.h"

#define LIST_PIECES_MAX 100000u /* a list of 100,000 snapshots has some 50: past this the daemon goes in circles */

uint64_t vv_deadline_ms(const VvInvocation *inv)
{
    if (inv->timeout_ms > 0)
        return inv->started_ms + inv->timeout_ms;
    if (inv->command->flags & (VV_COMMAND_SLOW | VV_COMMAND_BACKGROUND) || vv_option(inv, "exact"))
        return 0;
    return inv->started_ms + (inv->command->flags & VV_COMMAND_CHANGES ? VV_CHANGE_TIMEOUT_MS : VV_LOOK_TIMEOUT_MS);
}

bool vv_connect(VvInvocation *inv, GError **error)
{
    uint64_t timeout_ms = inv->timeout_ms > 0 ? MIN(inv->timeout_ms, VV_LOOK_TIMEOUT_MS) : VV_LOOK_TIMEOUT_MS;

    if (inv->client)
        return true;
    if (!vv_place_need(inv, error))
        return false;
    inv->client = vv_client_open(inv->place, inv, timeout_ms, error);
    return inv->client;
}

JsonObject *vv_params(const VvInvocation *inv)
{
    JsonObject *copy = json_object_new();
    JsonObjectIter iter;
    const char *key;
    JsonNode *node;

    json_object_iter_init_ordered(&iter, inv->params);
    while (json_object_iter_next_ordered(&iter, &key, &node))
        json_object_set_member(copy, key, json_node_copy(node));
    return copy;
}

static void add_common(const VvInvocation *inv, JsonObject *params, bool dry, uint64_t deadline_ms)
{
    unsigned flags = inv->command->flags;
    uint64_t now_ms = vv_monotonic_ms();

    if (dry && flags & VV_COMMAND_DRY_RUN)
        json_object_set_boolean_member(params, "dry_run", TRUE);
    if (flags & VV_COMMAND_CHANGES && inv->id && !dry)
        json_object_set_string_member(params, "request_id", inv->id);
    if (inv->yes && flags & VV_COMMAND_CONFIRMS && !dry)
        json_object_set_boolean_member(params, "yes", TRUE);
    if (inv->timeout_ms > 0)
        json_object_set_int_member(params, "timeout_ms", deadline_ms > now_ms ? (gint64) (deadline_ms - now_ms) : 1);
}

static JsonObject *call(VvInvocation *inv, const char *method, JsonObject *params, bool dry, GError **error)
{
    g_autoptr(JsonObject) owned = params ? params : json_object_new();
    g_autoptr(JsonNode) result = NULL;
    uint64_t deadline_ms = vv_deadline_ms(inv);
    bool changes = (inv->command->flags & VV_COMMAND_CHANGES || vv_option(inv, "repair")) && !dry;

    if (!vv_connect(inv, error))
        return NULL;
    add_common(inv, owned, dry, deadline_ms);
    if (!vv_client_call(inv->client, method, g_steal_pointer(&owned), changes, deadline_ms, &result, error))
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT(result)) {
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "the answer to %s is no object", method);
        return NULL;
    }
    return json_node_dup_object(result);
}

JsonObject *vv_call(VvInvocation *inv, const char *method, JsonObject *params, GError **error)
{
    return call(inv, method, params, inv->dry_run, error);
}

JsonObject *vv_call_dry(VvInvocation *inv, const char *method, JsonObject *params, GError **error)
{
    bool yes = inv->yes;
    JsonObject *result;

    inv->yes = false;
    result = call(inv, method, params, true, error);
    inv->yes = yes;
    return result;
}

/* Append the items of a piece; false: there are none. */
static bool append_items(JsonArray *all, JsonObject *piece)
{
    JsonArray *items = vv_json_array(piece, "items");

    for (unsigned i = 0; items && i < json_array_get_length(items); i++)
        json_array_add_element(all, json_node_copy(json_array_get_element(items, i)));
    return items;
}

JsonArray *vv_call_list(VvInvocation *inv, const char *method, JsonObject *params, GError **error)
{
    g_autoptr(JsonObject) owned = params ? params : json_object_new();
    g_autoptr(JsonArray) all = json_array_new();

    for (unsigned pieces = 0; pieces < LIST_PIECES_MAX; pieces++) {
        g_autoptr(JsonObject) piece = vv_call(inv, method, json_object_ref(owned), error);
        const char *next;

        if (!piece)
            return NULL;
        if (!append_items(all, piece))
            break;
        next = vv_json_text(piece, "next");
        if (!next)
            return g_steal_pointer(&all);
        json_object_set_string_member(owned, "cursor", next);
    }
    vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "the answer to %s is no list, or has no end", method);
    return NULL;
}

bool vv_run_generic(VvInvocation *inv, GError **error)
{
    const VvCommand *command = inv->command;
    g_autoptr(JsonObject) result = NULL;

    if (command->flags & VV_COMMAND_LIST) {
        g_autoptr(JsonArray) items = NULL;

        if (!vv_list_check(inv, error))
            return false;
        vv_list_need_exact(inv);
        items = vv_call_list(inv, command->method, vv_params(inv), error);
        return items && vv_list_print(inv, items, error);
    }
    result = vv_call(inv, command->method, vv_params(inv), error);
    if (!result)
        return false;
    if (inv->json)
        vv_json_print_object(result);
    else if (command->flags & VV_COMMAND_SHOW)
        vv_show_print(inv, result);
    return true;
}
