/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a line to a call, from a call to an answer: JSON-RPC 2.0 over the admin socket. The loop's thread, save the chore. */
#include "rpc.h"

#include "holds.h"
#include "node.h"
#include "relay.h"
#include "reserve.h"
#include "server.h"
#include "settle.h"

#include <string.h>

enum {
    RPC_PARSE = -32700,
    RPC_REQUEST = -32600,
    RPC_METHOD = -32601,
    RPC_PARAMS = -32602,
    RPC_INTERNAL = -32603,
    RPC_VVFS = -32000
};

/* ---- texts */
void vv_json_set_error(JsonObject *object, const char *key, const GError *error)
{
    JsonObject *member;

    if (!error) {
        vv_json_set_null(object, key);
        return;
    }
    member = vv_json_set_object(object, key);
    vv_json_set_string(member, "code", vv_error_code_name(error));
    vv_json_set_string(member, "message", error->message);
    vv_json_set_string(member, "object", vv_error_get_object(error));
    vv_json_set_string(member, "hint", vv_error_get_hint(error));
}

static JsonObject *envelope(JsonNode *id)
{
    JsonObject *object = json_object_new();

    vv_json_set_string(object, "jsonrpc", "2.0");
    json_object_set_member(object, "id", id ? json_node_copy(id) : json_node_new(JSON_NODE_NULL));
    return object;
}

char *vv_rpc_error_text(JsonNode *id, int code, const GError *error)
{
    g_autoptr(JsonObject) object = envelope(id);
    JsonObject *member = vv_json_set_object(object, "error");
    JsonObject *data;

    json_object_set_int_member(member, "code", code);
    vv_json_set_string(member, "message", error->message);
    data = vv_json_set_object(member, "data");
    vv_json_set_string(data, "code", vv_error_code_name(error));
    vv_json_set_string(data, "object", vv_error_get_object(error));
    vv_json_set_string(data, "hint", vv_error_get_hint(error));
    return vv_json_object_text(object);
}

char *vv_rpc_result_text(JsonNode *id, JsonObject *result)
{
    g_autoptr(JsonObject) object = envelope(id);

    json_object_set_object_member(object, "result", json_object_ref(result));
    return vv_json_object_text(object);
}

char *vv_rpc_notification_text(const char *method, JsonObject *params)
{
    g_autoptr(JsonObject) object = json_object_new();

    vv_json_set_string(object, "jsonrpc", "2.0");
    vv_json_set_string(object, "method", method);
    json_object_set_object_member(object, "params", json_object_ref(params));
    return vv_json_object_text(object);
}

int vv_rpc_error_code(const GError *error)
{
    return g_error_matches(error, VV_ERROR, VV_ERROR_INTERNAL) || error->domain != VV_ERROR ? RPC_INTERNAL : RPC_VVFS;
}

static void send_error(VvClient *client, JsonNode *id, int code, const GError *error)
{
    g_autofree char *text = vv_rpc_error_text(id, code, error);

    vv_client_send(client, text);
}

/* ---- params */
static JsonNode *call_member(VvCall *call, const char *name)
{
    JsonNode *node = json_object_get_member(call->params, name);

    return node && !JSON_NODE_HOLDS_NULL(node) ? node : NULL;
}

const char *vv_call_string(VvCall *call, const char *name)
{
    return vv_json_get_string(call->params, name);
}

bool vv_call_has(VvCall *call, const char *name)
{
    return call_member(call, name) != NULL;
}

bool vv_call_bool(VvCall *call, const char *name)
{
    JsonNode *node = call_member(call, name);

    return node && json_node_get_boolean(node);
}

uint64_t vv_call_u64(VvCall *call, const char *name, uint64_t otherwise)
{
    JsonNode *node = call_member(call, name);

    return node ? (uint64_t) json_node_get_int(node) : otherwise;
}

char **vv_call_strings(VvCall *call, const char *name)
{
    JsonNode *node = call_member(call, name);
    GPtrArray *list = g_ptr_array_new();

    if (node) {
        JsonArray *array = json_node_get_array(node);

        for (unsigned i = 0; i < json_array_get_length(array); i++)
            g_ptr_array_add(list, g_strdup(json_array_get_string_element(array, i)));
    }
    g_ptr_array_add(list, NULL);
    return (char **) g_ptr_array_free(list, FALSE);
}

JsonObject *vv_call_object(VvCall *call, const char *name)
{
    JsonNode *node = call_member(call, name);

    return node ? json_node_get_object(node) : NULL;
}

bool vv_call_done(VvCall *call, JsonObject *recipe)
{
    g_assert(!call->result);
    call->result = recipe;
    return true;
}

void vv_call_free(VvCall *call)
{
    g_clear_pointer(&call->id, json_node_unref);
    json_object_unref(call->params);
    g_clear_pointer(&call->result, json_object_unref);
    g_clear_pointer(&call->watch, json_array_unref);
    g_clear_error(&call->error);
    g_free(call->request.ret_previous);
    g_free(call->record);
    vv_relayed_free(call->relayed);
    g_free(call);
}

/* ---- pieces of lists */
VvPiece vv_piece_begin(void)
{
    return (VvPiece){ .items = json_array_new() };
}

bool vv_piece_add(VvPiece *piece, JsonObject *item, const char *cursor)
{
    g_autofree char *text = vv_json_object_text(item);
    size_t bytes = strlen(text) + 2;

    /* Half of what a line may have: the envelope and long cursors fit in the rest, and one item always fits. */
    if (piece->bytes && piece->bytes + bytes > VV_LIST_BYTES_MAX / 2) {
        piece->next = g_strdup(cursor);
        json_object_unref(item);
        return false;
    }
    piece->bytes += bytes;
    json_array_add_object_element(piece->items, item);
    return true;
}

bool vv_piece_end(VvCall *call, VvPiece *piece)
{
    JsonObject *result = json_object_new();

    json_object_set_array_member(result, "items", piece->items);
    vv_json_set_string(result, "next", piece->next);
    g_clear_pointer(&piece->next, g_free);
    return vv_call_done(call, result);
}

/* ---- dispatch */
static void call_begin(VvCall *call);

/* The loop's thread, after the handler. */
static void call_end(void *data)
{
    VvCall *call = data;
    VvDaemon *daemon = call->daemon;
    const char *request_id = vv_call_string(call, "request_id");
    VvClient *client;
    GQueue *waiting;

    if (!call->error && call->finish)
        call->finish(call);
    client = vv_server_client(daemon->server, call->client);
    if (call->relayed)
        vv_relay_answer(call);
    if (client && call->id) {
        g_autofree char *text = call->error ? vv_rpc_error_text(call->id, vv_rpc_error_code(call->error), call->error)
                                            : vv_rpc_result_text(call->id, call->result);

        vv_client_send(client, text);
    }
    if (!client && call->reserved)
        vv_reservations_release(daemon->reservations, call->client);
    vv_server_end_call(daemon->server, call);
    waiting = request_id ? g_hash_table_lookup(daemon->running_ids, request_id) : NULL;
    if (waiting) {
        VvCall *next = g_queue_pop_head(waiting);

        if (next)
            call_begin(next);
        else
            g_hash_table_remove(daemon->running_ids, request_id);
    }
    vv_call_free(call);
    vv_daemon_may_leave(daemon);
}

/* The other nodes show what was changed here before anybody hears that it was. The kernel of a mount that asked for it knows. */
static void show(VvCall *call)
{
    unsigned flags = call->method->flags;

    if ((flags & VV_METHOD_CHANGES) && !(flags & VV_METHOD_HERE) && !vv_call_dry(call))
        vv_settle(call->daemon, (flags & VV_METHOD_MOUNT) && call->relayed ? vv_relayed_by(call->relayed) : 0);
}

/* While its pool waits for other nodes it answers what it knows. */
static bool may_be_told(VvCall *call)
{
    VvDaemon *daemon = call->daemon;
    bool look = (call->method->flags & ~(unsigned) (VV_METHOD_LIST | VV_METHOD_EXACT)) == 0 && !vv_call_bool(call, "exact");

    if (daemon->waiting_since_ns == 0 || (look && call->method->handler != vv_rpc_subscribe && call->method->handler != vv_rpc_unsubscribe))
        return true;
    vv_set_error(&call->error, VV_ERROR_NO_COORDINATOR, daemon->name, "vvfs-admin node list",
        "node %s waits until it reaches other nodes of pool %s: nothing was changed", daemon->node, daemon->name);
    return false;
}

/* A guest answers what it was told, and about itself; it may leave. */
static bool may_answer(VvCall *call)
{
    unsigned flags = call->method->flags;
    bool here = !(flags & VV_METHOD_DISKS) && (!(flags & VV_METHOD_CHANGES) || (flags & VV_METHOD_HERE));

    return here || call->method->handler == vv_rpc_node_leave || vv_node_refuse_guest(call->daemon, &call->error);
}

static bool answer(VvCall *call)
{
    if (vv_relay_is_wanted(call))
        return vv_relay_call(call, &call->error);
    if (call->method->handler(call, &call->error)) {
        show(call);
        return true;
    }
    if (!vv_relay_may_mend(call))
        return false;
    g_clear_error(&call->error);
    return vv_relay_call(call, &call->error);
}

/* Without a coordinator a change would wait without end for an answer that it may get: it is not begun. */
static bool may_be_decided(VvCall *call)
{
    unsigned flags = call->method->flags;

    return !(flags & VV_METHOD_CHANGES) || (flags & VV_METHOD_HERE) || vv_call_bool(call, "dry_run") ||
           vv_node_may_change(call->daemon->cluster, !vv_relay_is_wanted(call), call->deadline_ms, &call->error);
}

/* A crew's thread. */
static void call_chore(void *data)
{
    VvCall *call = data;
    VvDaemon *daemon = call->daemon;

    if (atomic_load(&call->cancelled))
        vv_set_error(&call->error, VV_ERROR_INTERNAL, NULL, NULL, "the client has gone");
    else if (call->deadline_ms && vv_monotonic_ms() > call->deadline_ms)
        vv_set_error(&call->error, VV_ERROR_TIMEOUT, NULL, NULL, "%s could not begin in time: nothing was changed",
            call->method->name);
    else if (may_be_told(call) && may_answer(call) && !vv_call_replay(call) && may_be_decided(call) && !vv_call_replay(call)) { /* the map may have learned of it meanwhile */
        bool good;

        vv_holds_author(call->method->name, call->relayed ? vv_relayed_by(call->relayed) : 0);
        good = answer(call);
        vv_holds_author(NULL, 0);
        g_assert(good == !call->error && (!good || call->result));
        /* Somebody else's request with the same id came between (another socket): its result counts. */
        if (good && call->request.ret_previous) {
            json_object_unref(g_steal_pointer(&call->result));
            vv_call_replay(call);
        }
        if (call->result)
            vv_result_expand(daemon, call->result);
    }
    if (call->error && call->error->domain == VV_ERROR && call->error->code == VV_ERROR_INTERNAL)
        vv_log(VV_LOG_WARNING, "%s: %s", call->method->name, call->error->message);
    vv_control_post(daemon->loop, call_end, call);
}

static void call_begin(VvCall *call)
{
    VvDaemon *daemon = call->daemon;
    unsigned flags = call->method->flags;
    VvCrew *crew = daemon->lookers;

    if ((flags & VV_METHOD_SLOW) || ((flags & VV_METHOD_EXACT) && vv_call_bool(call, "exact")))
        crew = daemon->slow;
    else if (flags & VV_METHOD_CHANGES)
        crew = daemon->changers;
    vv_crew_run(crew, call_chore, call);
}

/* Begin now, or when the call that has the same request id has ended. */
static void call_enqueue(VvCall *call)
{
    GHashTable *ids = call->daemon->running_ids;
    const char *request_id = vv_call_string(call, "request_id");
    GQueue *waiting = request_id ? g_hash_table_lookup(ids, request_id) : NULL;

    if (waiting) {
        g_queue_push_tail(waiting, call);
        return;
    }
    if (request_id)
        g_hash_table_insert(ids, g_strdup(request_id), g_queue_new());
    call_begin(call);
}

bool vv_rpc_begin(VvCall *call)
{
    if (!vv_server_begin_call(call->daemon->server))
        return false;
    call_enqueue(call);
    return true;
}

static bool may_call(VvDaemon *daemon, VvClient *client, const VvMethod *method, GError **error)
{
    if (!(method->flags & VV_METHOD_CHANGES) || vv_client_may_change(client))
        return true;
    vv_set_error(error, VV_ERROR_DENIED, daemon->name, NULL,
        "only root, the daemon's owner and members of its admin-group may change pool %s", daemon->name);
    return false;
}

/* An envelope that is good; starts the call, or answers why not. */
static void receive_request(VvDaemon *daemon, VvClient *client, JsonNode *id, const char *name, JsonObject *params)
{
    const VvMethod *method = vv_method_lookup(name);
    g_autoptr(GError) error = NULL;
    VvCall *call;
    uint64_t timeout_ms;

    if (!method) {
        vv_set_error(&error, VV_ERROR_UNSUPPORTED, name, NULL, "there is no method %s", name);
        if (id)
            send_error(client, id, RPC_METHOD, error);
        return;
    }
    if (!may_call(daemon, client, method, &error) || !vv_method_check(method, params, &error)) {
        if (id)
            send_error(client, id, g_error_matches(error, VV_ERROR, VV_ERROR_DENIED) ? RPC_VVFS : RPC_PARAMS, error);
        return;
    }
    call = g_new0(VvCall, 1);
    call->daemon = daemon;
    call->method = method;
    call->client = vv_client_number(client);
    call->id = id ? json_node_copy(id) : NULL;
    call->params = json_object_ref(params);
    timeout_ms = vv_call_u64(call, "timeout_ms", 0);
    call->deadline_ms = timeout_ms ? vv_monotonic_ms() + MIN(timeout_ms, (uint64_t) G_MAXINT32) : 0;
    vv_client_add_call(client, call);
    call_enqueue(call);
}

/* No fractions: the library may write a large or small one as "1e+92.0", which is not JSON. */
static bool id_is_good(JsonNode *id)
{
    GType type;

    if (!JSON_NODE_HOLDS_VALUE(id))
        return JSON_NODE_HOLDS_NULL(id);
    type = json_node_get_value_type(id);
    return type == G_TYPE_INT64 || type == G_TYPE_STRING;
}

bool vv_rpc_receive(VvDaemon *daemon, VvClient *client, const char *line, size_t length_bytes)
{
    const char *why = NULL;
    g_autoptr(JsonNode) root = vv_json_parse(line, length_bytes, &why);
    g_autoptr(JsonObject) none = json_object_new();
    g_autoptr(GError) error = NULL;
    JsonObject *request;
    JsonNode *id, *params;
    const char *name;

    if (!root) {
        vv_set_error(&error, VV_ERROR_USAGE, NULL, NULL, "not JSON: %s", why);
        send_error(client, NULL, RPC_PARSE, error);
        return true;
    }
    request = JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : none;
    id = json_object_get_member(request, "id");
    params = json_object_get_member(request, "params");
    name = vv_json_get_string(request, "method");
    if (g_strcmp0(vv_json_get_string(request, "jsonrpc"), "2.0") != 0 || !name || (id && !id_is_good(id)) ||
        (params && !JSON_NODE_HOLDS_OBJECT(params))) {
        vv_set_error(&error, VV_ERROR_USAGE, NULL, NULL,
            "not a request: an object with \"jsonrpc\": \"2.0\", a text \"method\", an object \"params\" and an "
            "\"id\"");
        send_error(client, id && id_is_good(id) ? id : NULL, RPC_REQUEST, error);
        return true;
    }
    receive_request(daemon, client, id, name, params ? json_node_get_object(params) : none);
    return true;
}
