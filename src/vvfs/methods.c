/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of methods, and the check of params against it: an unknown member is an error, so that a mistyped option is
 * never ignored. */
#include "rpc.h"

#include <string.h>

#define L 0
#define C VV_METHOD_CHANGES
#define D VV_METHOD_DRY_RUN
#define Y VV_METHOD_YES
#define LIST VV_METHOD_LIST
#define EXACT VV_METHOD_EXACT
#define SLOW VV_METHOD_SLOW
#define DISKS VV_METHOD_DISKS
#define H VV_METHOD_HERE

static const VvMethod methods[] = {
    { "pool.status", vv_rpc_pool_status, L, "" },
    { "pool.get", vv_rpc_pool_get, L, "" },
    { "pool.set", vv_rpc_pool_set, C, "settings:m" },
    { "pool.check", vv_rpc_pool_check, C | H | SLOW, "repair?:b" },
    { "pool.scrub", vv_rpc_pool_scrub, C | DISKS, "rate?:u" },
    { "lun.create", vv_rpc_lun_create, C, "name:s size:u copies?:u stripes?:u disks?:S settings?:m if_not_exists?:b" },
    { "lun.list", vv_rpc_lun_list, L | LIST | EXACT, "names?:S exact?:b" },
    { "lun.show", vv_rpc_lun_show, L | EXACT, "name:s exact?:b" },
    { "lun.resize", vv_rpc_lun_resize, C | D, "name:s size?:u grow_by?:u shrink?:b" },
    { "lun.rename", vv_rpc_lun_rename, C, "name:s new_name:s" },
    { "lun.remove", vv_rpc_lun_remove, C | D, "names:S with_snapshots?:b if_exists?:b" },
    { "lun.set", vv_rpc_lun_set, C, "name:s settings:m" },
    { "lun.repack", vv_rpc_lun_repack, C | DISKS, "name:s" },
    { "lun.clone", vv_rpc_lun_clone, C, "object:s name:s" },
    { "lun.attach_check", vv_rpc_lun_attach_check, C | H, "object:s read_only?:b shared?:b" },
    { "snapshot.create", vv_rpc_snapshot_create, C, "objects?:S luns?:S prefix?:s form?:s share?:m" },
    { "snapshot.list", vv_rpc_snapshot_list, L | LIST | EXACT, "luns?:S exact?:b" },
    { "snapshot.show", vv_rpc_snapshot_show, L | EXACT, "object:s exact?:b" },
    { "snapshot.remove", vv_rpc_snapshot_remove, C | D | Y, "objects:S if_exists?:b" },
    { "snapshot.rename", vv_rpc_snapshot_rename, C, "object:s new_object:s" },
    { "snapshot.set", vv_rpc_snapshot_set, C | Y, "object:s settings:m" },
    { "snapshot.restore", vv_rpc_snapshot_restore, C | D, "object:s force?:b discard?:b" },
    { "snapshot.refresh", vv_rpc_snapshot_refresh, C | D, "object:s" },
    { "snapshot.prune", vv_rpc_snapshot_prune, C | D,
        "luns:S prefix:s keep_last?:u keep_hourly?:u keep_daily?:u keep_weekly?:u keep_monthly?:u keep_yearly?:u" },
    { "snapshot.diff", vv_rpc_snapshot_diff, L | LIST | SLOW, "object:s other?:s" },
    { "share.set", vv_rpc_share_set, C, "object:s share:m with_snapshots?:b force?:b" },
    { "share.show", vv_rpc_share_show, L, "object:s" },
    { "disk.list", vv_rpc_disk_list, L | LIST, "" },
    { "disk.show", vv_rpc_disk_show, L, "disk:s" },
    { "disk.add", vv_rpc_disk_add, C | DISKS, "path:s size?:u name?:s overwrite?:b" },
    { "disk.grow", vv_rpc_disk_grow, C | DISKS, "disk:s size?:u" },
    { "disk.remove", vv_rpc_disk_remove, C | D | Y | DISKS, "disk:s lost?:b" },
    { "lease.list", vv_rpc_lease_list, L | LIST, "" },
    { "job.list", vv_rpc_job_list, L | LIST | DISKS, "all?:b" },
    { "job.show", vv_rpc_job_show, L | DISKS, "job:u" },
    { "job.pause", vv_rpc_job_pause, C | H | DISKS, "job:u" },
    { "job.resume", vv_rpc_job_resume, C | H | DISKS, "job:u" },
    { "job.cancel", vv_rpc_job_cancel, C | H | DISKS, "job:u" },
    { "node.list", vv_rpc_node_list, L | LIST, "" },
    { "node.show", vv_rpc_node_show, L, "node:s" },
    { "node.invite", vv_rpc_node_invite, C, "name?:s role?:s ttl?:u" },
    { "node.invites", vv_rpc_node_invites, L | LIST, "" },
    { "node.revoke", vv_rpc_node_revoke, C, "invite:u" },
    { "node.set", vv_rpc_node_set, C, "node:s settings:m" },
    { "node.leave", vv_rpc_node_leave, C, "" },
    { "node.evict", vv_rpc_node_evict, C, "node:s fenced?:b" },
    { "node.lead", vv_rpc_node_lead, C, "node:s" },
    { "stats.get", vv_rpc_stats_get, L | LIST, "objects?:S" },
    { "events.list", vv_rpc_events_list, L | LIST, "since_ns?:u limit?:u" },
    { "doctor.list", vv_rpc_doctor_list, L, "" },
    { "version.get", vv_rpc_version_get, L, "" },
    { "subscribe", vv_rpc_subscribe, L, "topic:s since_ns?:u interval_ms?:u objects?:S jobs?:U" },
    { "unsubscribe", vv_rpc_unsubscribe, L, "subscription:u" },
};

const VvMethod *vv_method_lookup(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

static bool is_string(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING;
}

static bool is_count(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64 &&
           json_node_get_int(node) >= 0;
}

static bool is_list_of(JsonNode *node, bool (*is_element)(JsonNode *element))
{
    JsonArray *array;

    if (!JSON_NODE_HOLDS_ARRAY(node))
        return false;
    array = json_node_get_array(node);
    for (unsigned i = 0; i < json_array_get_length(array); i++)
        if (!is_element(json_array_get_element(array, i)))
            return false;
    return json_array_get_length(array) <= VV_OBJECTS_PER_COMMAND;
}

static bool is_settings(JsonNode *node)
{
    JsonObjectIter iter;
    JsonNode *member;
    const char *name;

    if (!JSON_NODE_HOLDS_OBJECT(node))
        return false;
    json_object_iter_init(&iter, json_node_get_object(node));
    while (json_object_iter_next(&iter, &name, &member))
        if (!is_string(member))
            return false;
    return true;
}

/* A constant text for people if @node is not of @type, else NULL. */
static const char *wrong_type(char type, JsonNode *node)
{
    switch (type) {
    case 's':
        return is_string(node) ? NULL : "must be a string";
    case 'S':
        return is_list_of(node, is_string) ? NULL : "must be an array of at most 4096 strings";
    case 'u':
        return is_count(node) ? NULL : "must be an integer from 0";
    case 'U':
        return is_list_of(node, is_count) ? NULL : "must be an array of at most 4096 integers";
    case 'b':
        return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN
                   ? NULL
                   : "must be true or false";
    case 'm':
        return is_settings(node) ? NULL : "must be an object of strings";
    default:
        g_assert_not_reached();
    }
}

/* Check what @spec ("NAME:TYPE NAME?:TYPE ...") tells of @params. */
static bool check_spec(const VvMethod *method, const char *spec, JsonObject *params, GError **error)
{
    g_auto(GStrv) words = g_strsplit(spec, " ", -1);

    for (unsigned i = 0; words[i]; i++) {
        char *colon = strchr(words[i], ':');
        bool optional;
        JsonNode *node;
        const char *why;

        if (!colon)
            continue; /* an empty spec */
        optional = colon[-1] == '?';
        colon[optional ? -1 : 0] = '\0';
        node = json_object_get_member(params, words[i]);
        if (!node) {
            if (optional)
                continue;
            vv_set_error(error, VV_ERROR_USAGE, words[i], NULL, "%s needs the param %s", method->name, words[i]);
            return false;
        }
        if (optional && JSON_NODE_HOLDS_NULL(node))
            continue;
        why = wrong_type(colon[1], node);
        if (why) {
            vv_set_error(error, VV_ERROR_USAGE, words[i], NULL, "%s: the param %s %s", method->name, words[i], why);
            return false;
        }
    }
    return true;
}

/* The params that come from the method's flags. */
static const char *common_spec(const VvMethod *method)
{
    bool list = (method->flags & VV_METHOD_LIST) != 0;

    if (!(method->flags & VV_METHOD_CHANGES))
        return list ? "timeout_ms?:u cursor?:s" : "timeout_ms?:u";
    switch (method->flags & (VV_METHOD_DRY_RUN | VV_METHOD_YES)) {
    case VV_METHOD_DRY_RUN | VV_METHOD_YES:
        return "timeout_ms?:u request_id?:s dry_run?:b yes?:b";
    case VV_METHOD_DRY_RUN:
        return "timeout_ms?:u request_id?:s dry_run?:b";
    case VV_METHOD_YES:
        return "timeout_ms?:u request_id?:s yes?:b";
    default:
        return "timeout_ms?:u request_id?:s";
    }
}

/* Has the method all members of @params? */
static bool check_known(const VvMethod *method, JsonObject *params, GError **error)
{
    g_autofree char *known = g_strdup_printf(" %s %s", method->params, common_spec(method));
    g_autoptr(GList) names = json_object_get_members(params);

    for (GList *l = names; l; l = l->next) {
        g_autofree char *plain = g_strdup_printf(" %s:", (const char *) l->data);
        g_autofree char *optional = g_strdup_printf(" %s?:", (const char *) l->data);

        if (strstr(known, plain) || strstr(known, optional))
            continue;
        vv_set_error(error, VV_ERROR_USAGE, l->data, NULL, "%s has no param %s", method->name, (const char *) l->data);
        return false;
    }
    return true;
}

bool vv_method_check(const VvMethod *method, JsonObject *params, GError **error)
{
    const char *id;

    if (!check_known(method, params, error) || !check_spec(method, method->params, params, error) ||
        !check_spec(method, common_spec(method), params, error))
        return false;
    id = vv_json_get_string(params, "request_id");
    if (id && (!*id || strlen(id) > VV_REQUEST_ID_BYTES_MAX)) {
        vv_set_error(error, VV_ERROR_USAGE, "request_id", NULL, "%s: the param request_id must have 1 to %u bytes",
            method->name, VV_REQUEST_ID_BYTES_MAX);
        return false;
    }
    return true;
}
