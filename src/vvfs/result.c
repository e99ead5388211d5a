/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Results of changes, and remembering them by request id.
 *
 * A recipe's members whose names begin with '@':
 *   "@lun": NAME             the members of the LUN's item         "@lun_show": NAME      and what `show` adds
 *   "@snapshot": LUN@SNAP    of the snapshot's item                "@disk": DISK          as disk.show
 *   "@created": [LUN@SNAP]   "created": their items                "@settings": true      "settings": the pool's
 *   "@token": ID             "token": that of the invite, which is stored nowhere
 *   "@share": OBJECT         "default", "nodes": as share.show
 * An object that has gone since (a repeat may come a day later) keeps its name; what is not known is null.
 *
 * What is recorded for a request id: {"m": method, "p": checksum of the params, "r": recipe}. */
#include "rpc.h"

#include "objects.h"
#include "status.h"

#include <string.h>

static const char *const not_compared[] = { "request_id", "timeout_ms", "yes", NULL };

static char *params_checksum(VvCall *call)
{
    g_autofree char *text = vv_json_canonical(call->params, not_compared);

    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
}

char *vv_call_checksum(VvCall *call)
{
    return params_checksum(call);
}

char *vv_request_record(const char *method, const char *checksum, JsonObject *recipe)
{
    g_autoptr(JsonObject) record = json_object_new();

    vv_json_set_string(record, "m", method);
    vv_json_set_string(record, "p", checksum);
    json_object_set_object_member(record, "r", json_object_ref(recipe));
    return vv_json_object_text(record);
}

VvRequest *vv_call_request(VvCall *call, JsonObject *recipe)
{
    g_autofree char *checksum = NULL;

    if (!vv_call_records(call) || vv_call_dry(call))
        return NULL;
    checksum = params_checksum(call);
    g_free(call->record);
    call->record = vv_request_record(call->method->name, checksum, recipe);
    call->request.id = vv_call_string(call, "request_id");
    call->request.result_json = call->record;
    return &call->request;
}

bool vv_call_replay(VvCall *call)
{
    const char *id = vv_call_string(call, "request_id");
    g_autofree char *text = NULL, *checksum = NULL;
    g_autoptr(JsonNode) node = NULL;
    JsonObject *record;
    const char *why;

    if (!id || vv_call_dry(call))
        return false;
    text = vv_meta_request_result(vv_pool_meta(call->daemon->pool), id);
    if (!text)
        return false;
    node = vv_json_parse(text, strlen(text), &why);
    record = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    if (!record || !json_object_has_member(record, "r")) {
        vv_set_error(&call->error, VV_ERROR_DAMAGED, id, NULL, "the record of request %s cannot be read", id);
        return true;
    }
    checksum = params_checksum(call);
    if (g_strcmp0(vv_json_get_string(record, "m"), call->method->name) != 0 ||
        g_strcmp0(vv_json_get_string(record, "p"), checksum) != 0) {
        vv_set_error(&call->error, VV_ERROR_CONFLICT, id, "An id names one command with its arguments, for 24 h.",
            "request %s was another command: nothing was changed", id);
        return true;
    }
    call->result = vv_json_copy(json_object_get_object_member(record, "r"));
    vv_result_expand(call->daemon, call->result);
    return true;
}

/* ---- expanding */
/* Take over all members of @from (owned) that @result does not have. */
static void merge(JsonObject *result, JsonObject *from)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    json_object_iter_init(&iter, from);
    while (json_object_iter_next(&iter, &key, &value))
        if (!json_object_has_member(result, key))
            json_object_set_member(result, key, json_node_copy(value));
    json_object_unref(from);
}

static JsonObject *gone_lun(const char *name)
{
    static const char *const unknown[] = { "uuid", "size", "used", "exclusive", "snapshots", "copies", "origin", "keep",
        "state", "created", "created_ns" };
    JsonObject *object = json_object_new();

    vv_json_set_string(object, "object", name);
    vv_json_set_string(object, "name", name);
    vv_json_set_array(object, "open");
    for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++)
        vv_json_set_null(object, unknown[i]);
    return object;
}

static JsonObject *lun_or_gone(VvDaemon *daemon, const char *name, bool more)
{
    g_autoptr(VvLunItem) item = vv_lun_item(daemon, name, NULL);
    JsonObject *object;

    if (!item)
        return gone_lun(name);
    object = vv_lun_json(daemon, item, VV_EXCLUSIVE_NONE);
    if (more)
        vv_lun_json_more(daemon, item, object);
    return object;
}

static JsonObject *snapshot_or_gone(VvDaemon *daemon, const char *name)
{
    static const char *const unknown[] = { "size", "used", "exclusive", "form", "kind", "keep", "note", "state",
        "created", "created_ns" };
    g_autoptr(VvSnapshotItem) item = vv_snapshot_item(daemon, name, NULL);
    const char *at = strchr(name, '@');
    g_autofree char *lun = NULL;
    JsonObject *object;

    if (item)
        return vv_snapshot_json(daemon, item, VV_EXCLUSIVE_NONE);
    object = json_object_new();
    lun = at ? g_strndup(name, (size_t) (at - name)) : NULL;
    vv_json_set_string(object, "object", name);
    vv_json_set_string(object, "lun", lun);
    vv_json_set_string(object, "name", at ? at + 1 : NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++)
        vv_json_set_null(object, unknown[i]);
    return object;
}

static JsonObject *disk_or_gone(VvDaemon *daemon, const char *name)
{
    static const char *const unknown[] = { "uuid", "node", "path", "size", "free", "state", "kind", "used",
        "label_version" };
    g_autoptr(VvDiskItem) item = vv_disk_item(daemon, name, NULL);
    JsonObject *object;

    if (item) {
        object = vv_disk_json(daemon, item);
        vv_disk_json_more(daemon, item, object);
        return object;
    }
    object = json_object_new();
    vv_json_set_string(object, "name", name);
    vv_json_set_object(object, "paths");
    for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++)
        vv_json_set_null(object, unknown[i]);
    return object;
}

static JsonObject *share_or_gone(VvDaemon *daemon, const char *name)
{
    JsonObject *object = vv_share_json(daemon, name, NULL);

    if (object)
        return object;
    object = json_object_new();
    vv_json_set_null(object, "default");
    vv_json_set_object(object, "nodes");
    return object;
}

static void expand_created(VvDaemon *daemon, JsonObject *result)
{
    JsonArray *names = json_array_ref(json_object_get_array_member(result, "@created"));
    JsonArray *created = vv_json_set_array(result, "created");

    for (unsigned i = 0; i < json_array_get_length(names); i++)
        json_array_add_object_element(created, snapshot_or_gone(daemon, json_array_get_string_element(names, i)));
    json_object_remove_member(result, "@created");
    json_array_unref(names);
}

void vv_result_expand(VvDaemon *daemon, JsonObject *result)
{
    static const char *const names[] = { "@lun", "@lun_show", "@snapshot", "@disk", "@token", "@share" };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_strdup(vv_json_get_string(result, names[i]));

        if (!name)
            continue;
        json_object_remove_member(result, names[i]);
        switch (i) {
        case 0:
        case 1:
            merge(result, lun_or_gone(daemon, name, i == 1));
            break;
        case 2:
            merge(result, snapshot_or_gone(daemon, name));
            break;
        case 3:
            merge(result, disk_or_gone(daemon, name));
            break;
        case 4:
            vv_result_set_token(daemon, result, name);
            break;
        default:
            merge(result, share_or_gone(daemon, name));
        }
    }
    if (json_object_has_member(result, "@created"))
        expand_created(daemon, result);
    if (json_object_has_member(result, "@settings")) {
        json_object_remove_member(result, "@settings");
        vv_status_settings(daemon, vv_json_set_object(result, "settings"));
    }
}
