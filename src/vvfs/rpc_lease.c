/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lease.list: what is held. Each node puts it together from what others know (leases.h), and from what it knows itself where they do not answer:
 *
 *   sessions    lease.sessions of the coordinator   else the log's, without times
 *   objects     lease.objects of the node with the disks   else what this node has open
 *
 * A look: neither waits longer than ASK_MS. A guest asks nobody. A list in pieces is of several moments. */
#include "rpc.h"

#include "leases.h"
#include "node.h"
#include "relay.h"

#include <stdio.h>

#define ASK_MS 800u /* twice, and all is within the two seconds of a look */

static bool add_object(void *piece, JsonObject *item, uint64_t object, unsigned row)
{
    g_autofree char *cursor = g_strdup_printf("%" G_GUINT64_FORMAT ":%u", object, row);

    return vv_piece_add(piece, item, cursor);
}

/* From the cursor of @call on. False: it is none. */
static bool read_cursor(VvCall *call, uint64_t *ret_object, unsigned *ret_row, GError **error)
{
    const char *cursor = vv_call_string(call, "cursor");
    unsigned long long object = 0;
    char end;

    *ret_row = 0;
    if (cursor && sscanf(cursor, "%llu:%u%c", &object, ret_row, &end) != 2) {
        vv_set_error(error, VV_ERROR_USAGE, "cursor", NULL, "%s: this is no cursor of that list", call->method->name);
        return false;
    }
    *ret_object = object;
    return true;
}

static void add_all(VvPiece *piece, JsonArray *items)
{
    for (unsigned i = 0; items && i < json_array_get_length(items); i++)
        json_array_add_object_element(piece->items, json_object_ref(json_array_get_object_element(items, i)));
}

static JsonObject *ask(VvCall *call, uint64_t node, const char *method, const char *cursor)
{
    g_autoptr(JsonObject) params = json_object_new();
    JsonObject *result;

    vv_json_set_u64(params, "timeout_ms", ASK_MS);
    if (cursor)
        vv_json_set_string(params, "cursor", cursor);
    result = vv_relay_look(call->daemon, node, method, params);
    if (result && (!json_object_has_member(result, "items") || !JSON_NODE_HOLDS_ARRAY(json_object_get_member(result, "items"))))
        g_clear_pointer(&result, json_object_unref);
    return result;
}

static void add_sessions(VvCall *call, VvPiece *piece)
{
    uint64_t stale_ns, node = vv_leases_ask_about_sessions(call->daemon, &stale_ns);
    g_autoptr(JsonObject) told = node ? ask(call, node, "lease.sessions", NULL) : NULL;
    g_autoptr(JsonArray) known = told ? NULL : vv_leases_of_sessions(call->daemon, stale_ns);

    add_all(piece, told ? json_object_get_array_member(told, "items") : known);
}

static void add_objects(VvCall *call, uint64_t from, unsigned row, VvPiece *piece)
{
    VvDaemon *daemon = call->daemon;
    bool guest = daemon->cluster && vv_node_is_guest(daemon->cluster);
    uint64_t asked_ns = vv_now_ns();
    g_autoptr(JsonObject) told = NULL;

    if (guest || !vv_relay_is_elsewhere(daemon)) {
        vv_leases_of_objects(daemon, from, row, vv_node_stale_since_ns(daemon->cluster), add_object, piece);
        return;
    }
    told = ask(call, VV_FIRST_NODE, "lease.objects", vv_call_string(call, "cursor"));
    if (!told) {
        vv_leases_of_objects(daemon, from, row, vv_leases_silent_since(daemon, asked_ns), add_object, piece);
        return;
    }
    add_all(piece, json_object_get_array_member(told, "items"));
    piece->next = g_strdup(vv_json_get_string(told, "next"));
}

bool vv_rpc_lease_list(VvCall *call, GError **error)
{
    VvPiece piece;
    uint64_t from;
    unsigned row;

    if (!read_cursor(call, &from, &row, error))
        return false;
    piece = vv_piece_begin();
    if (!vv_call_string(call, "cursor"))
        add_sessions(call, &piece);
    add_objects(call, from, row, &piece);
    return vv_piece_end(call, &piece);
}

/* ---- asked by other nodes */
static bool tell_objects(VvCall *call, GError **error)
{
    VvPiece piece;
    uint64_t from;
    unsigned row;

    if (!read_cursor(call, &from, &row, error))
        return false;
    piece = vv_piece_begin();
    vv_leases_of_objects(call->daemon, from, row, 0, add_object, &piece);
    return vv_piece_end(call, &piece);
}

/* Whoever is asked and does not coordinate any more says what it knows, as of when it knew. */
static bool tell_sessions(VvCall *call, G_GNUC_UNUSED GError **error)
{
    g_autoptr(JsonArray) items = NULL;
    VvPiece piece = vv_piece_begin();
    uint64_t stale_ns;

    (void) vv_leases_ask_about_sessions(call->daemon, &stale_ns);
    items = vv_leases_of_sessions(call->daemon, stale_ns);
    add_all(&piece, items);
    return vv_piece_end(call, &piece);
}

const VvMethod *vv_lease_method(const char *name)
{
    static const VvMethod methods[] = {
        { "lease.objects", tell_objects, VV_METHOD_LIST, "" },
        { "lease.sessions", tell_sessions, VV_METHOD_LIST | VV_METHOD_ANYWHERE, "" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++)
        if (g_strcmp0(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}
