/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool.status and doctor.list. */
#include "status.h"

#include "held.h"
#include "jobs.h"
#include "node.h"
#include "node_json.h"
#include "objects.h"
#include "sampler.h"

/* ---- problems */
static void add_problem(JsonArray *array, const VvProblem *problem)
{
    JsonObject *object = vv_json_add_object(array);
    JsonArray *effects;

    vv_json_set_string(object, "severity", vv_severity_name(problem->severity));
    vv_json_set_string(object, "code", problem->code);
    vv_json_set_string(object, "object", problem->object && *problem->object ? problem->object : NULL);
    vv_json_set_string(object, "message", problem->message);
    vv_json_set_strings(object, "fix", (const char *const *) problem->fix);
    effects = vv_json_set_array(object, "effect");
    for (unsigned i = 0; problem->fix && problem->fix[i]; i++) {
        const char *effect = problem->effect ? problem->effect[i] : NULL;

        if (effect && *effect)
            vv_json_add_string(effects, effect);
        else
            json_array_add_null_element(effects);
    }
}

/* Of desk.h. */
static void add_waiting(VvDaemon *daemon, JsonArray *array)
{
    static char *fix[] = { (char *) "vvfs-admin node list", NULL };
    g_autofree char *since = vv_time_format_local(daemon->waiting_since_ns);
    bool guest = vv_node_is_guest(daemon->cluster);
    g_autofree char *message = g_strdup_printf("node %s reaches no %s since %s: its mount stands still until it does, and what it tells is %s",
        daemon->node, guest ? "node that says what is shared with it" : "majority of the nodes", since,
        guest ? "nothing of LUNs and snapshots" : "as of its last checkpoint");
    const VvProblem problem = { .severity = VV_SEVERITY_CRITICAL, .code = (char *) "waiting", .object = daemon->node, .message = message, .fix = fix };

    add_problem(array, &problem);
}

JsonArray *vv_problems_json(VvDaemon *daemon)
{
    JsonArray *array = json_array_new();
    g_autoptr(GPtrArray) problems = vv_pool_problems(daemon->pool);

    if (daemon->waiting_since_ns != 0)
        add_waiting(daemon, array);
    for (unsigned i = 0; i < problems->len; i++)
        add_problem(array, problems->pdata[i]);
    return array;
}

const char *vv_status_state(VvDaemon *daemon)
{
    return daemon->waiting_since_ns != 0 ? "no-quorum" : vv_pool_state(daemon->pool);
}

/* ---- pool.status */
static void set_nodes(VvDaemon *daemon, JsonObject *status)
{
    static const char *const keys[] = { "name", "state", "role" };
    g_autoptr(JsonArray) items = vv_nodes_json(daemon);
    JsonArray *nodes = vv_json_set_array(status, "nodes");

    for (unsigned i = 0; i < json_array_get_length(items); i++) {
        JsonObject *node = vv_json_add_object(nodes), *item = json_array_get_object_element(items, i);

        for (unsigned k = 0; k < G_N_ELEMENTS(keys); k++)
            vv_json_set_string(node, keys[k], vv_json_get_string(item, keys[k]));
    }
}

/* Bytes on disks that are not there. */
static uint64_t set_disks(VvDaemon *daemon, JsonObject *status)
{
    g_autoptr(GPtrArray) items = vv_disk_items(daemon);
    JsonArray *disks = vv_json_set_array(status, "disks");
    uint64_t missing = 0;

    for (unsigned i = 0; i < items->len; i++) {
        const VvDiskItem *item = items->pdata[i];
        JsonObject *disk = vv_json_add_object(disks);

        vv_json_set_string(disk, "name", item->name);
        vv_json_set_string(disk, "state", vv_state_name(item->state));
        vv_json_set_u64(disk, "size", item->size_bytes);
        vv_json_set_u64(disk, "free", item->free_bytes);
        if (item->state == VV_STATE_MISSING || item->state == VV_STATE_FAILED)
            missing += item->free_bytes + item->used_bytes;
    }
    return missing;
}

static void set_space(VvDaemon *daemon, JsonObject *status, uint64_t missing_bytes)
{
    JsonObject *member = vv_json_set_object(status, "space");
    VvSpaceSummary space;

    vv_pool_space(daemon->pool, &space);
    vv_json_set_u64(member, "total", space.total_bytes);
    vv_json_set_u64(member, "used", space.used_bytes);
    vv_json_set_u64(member, "free", space.free_bytes);
    vv_json_set_u64(member, "held", space.held_bytes);
    vv_json_set_u64(member, "freeing", space.freeing_bytes);
    vv_json_set_u64(member, "missing", missing_bytes);
}

/* Counts, and what LUNs promise: of each, what its size says and what it maps. */
static void set_counts(VvDaemon *daemon, JsonObject *status)
{
    VvMeta *meta = vv_pool_meta(daemon->pool);
    uint64_t snapshots = 0, promised = 0, backed = 0, count;
    GPtrArray *luns;

    vv_meta_read_lock(meta);
    luns = vv_meta_luns(meta);
    count = luns->len;
    for (unsigned i = 0; i < luns->len; i++) {
        const VvLun *lun = luns->pdata[i];

        snapshots += lun->snapshots->len;
        backed += lun->used_blocks << VV_BLOCK_SHIFT;
        promised += lun->size_bytes;
        if (promised > INT64_MAX) /* eight LUNs can promise more than a number holds */
            promised = INT64_MAX;
    }
    vv_meta_read_unlock(meta);
    vv_json_set_u64(status, "luns", count);
    vv_json_set_u64(status, "snapshots", snapshots);
    vv_json_set_u64(status, "promised", promised);
    vv_json_set_u64(status, "backed", backed);
}

static void set_jobs(VvDaemon *daemon, JsonObject *status)
{
    g_autoptr(GPtrArray) items = vv_job_items(daemon, false);
    JsonArray *jobs = vv_json_set_array(status, "jobs");

    for (unsigned i = 0; i < items->len; i++)
        json_array_add_object_element(jobs, vv_job_json(items->pdata[i]));
}

JsonObject *vv_status_json(VvDaemon *daemon)
{
    JsonObject *status = json_object_new();
    g_autofree char *uuid = vv_uuid_format(&daemon->uuid);
    uint64_t missing_bytes, seconds;

    vv_json_set_string(status, "name", daemon->name);
    vv_json_set_string(status, "uuid", uuid);
    vv_json_set_string(status, "state", vv_status_state(daemon));
    json_object_set_array_member(status, "problems", vv_problems_json(daemon));
    set_nodes(daemon, status);
    missing_bytes = set_disks(daemon, status);
    set_space(daemon, status, missing_bytes);
    set_jobs(daemon, status);
    vv_json_set_time(status, "stale_since", daemon->waiting_since_ns != 0 ? daemon->waiting_since_ns : vv_node_stale_since_ns(daemon->cluster));
    vv_json_set_string(status, "directory", daemon->directory);
    vv_json_set_string(status, "mountpoint", daemon->waiting_since_ns != 0 ? daemon->options->mountpoint : vv_pool_mount(daemon->pool));
    set_counts(daemon, status);
    if (daemon->sampler && vv_sampler_full_in(daemon->sampler, &seconds))
        vv_json_set_u64(status, "full_in_seconds", seconds);
    else
        vv_json_set_null(status, "full_in_seconds");
    vv_json_set_bool(status, "read_only", vv_pool_is_read_only(daemon->pool));
    vv_json_set_u64(status, "restarts", daemon->held ? vv_held_state(daemon->held)->restarts : 0);
    return status;
}

void vv_status_settings(VvDaemon *daemon, JsonObject *settings)
{
    g_auto(GStrv) pairs = vv_pool_settings(daemon->pool);

    for (unsigned i = 0; pairs[i] && pairs[i + 1]; i += 2)
        vv_json_set_string(settings, pairs[i], pairs[i + 1]);
}

JsonObject *vv_event_json(VvDaemon *daemon, const VvEvent *event)
{
    JsonObject *object = json_object_new();

    vv_json_set_time(object, "time", event->time_ns);
    vv_json_set_string(object, "severity", vv_severity_name(event->severity));
    vv_json_set_string(object, "code", event->code);
    vv_json_set_string(object, "object", event->object && *event->object ? event->object : NULL);
    vv_json_set_string(object, "node", daemon->node);
    vv_json_set_string(object, "message", event->message);
    return object;
}
