/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of the pool as a whole. Crews' threads. */
#include "rpc.h"

#include "check.h"
#include "jobs.h"
#include "pool_jobs.h"
#include "status.h"

#include <string.h>

bool vv_rpc_pool_status(VvCall *call, GError **error)
{
    (void) error;
    return vv_call_done(call, vv_status_json(call->daemon));
}

bool vv_rpc_pool_get(VvCall *call, GError **error)
{
    JsonObject *result = json_object_new();

    (void) error;
    vv_status_settings(call->daemon, vv_json_set_object(result, "settings"));
    return vv_call_done(call, result);
}

bool vv_rpc_pool_set(VvCall *call, GError **error)
{
    JsonObject *settings = vv_call_object(call, "settings");
    g_autoptr(GPtrArray) keys = g_ptr_array_new(), values = g_ptr_array_new();
    g_autoptr(JsonObject) recipe = json_object_new();
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    json_object_iter_init(&iter, settings);
    while (json_object_iter_next(&iter, &key, &value)) {
        g_ptr_array_add(keys, (void *) key);
        g_ptr_array_add(values, (void *) json_node_get_string(value));
    }
    g_ptr_array_add(keys, NULL);
    g_ptr_array_add(values, NULL);
    vv_json_set_bool(recipe, "@settings", true);
    if (!vv_pool_set(call->daemon->pool, (const char *const *) keys->pdata, (const char *const *) values->pdata,
            vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* What a check went through, by the catalog's own counters. */
static void set_checked(VvDaemon *daemon, JsonObject *result)
{
    JsonObject *checked = vv_json_set_object(result, "checked");
    VvMeta *meta = vv_pool_meta(daemon->pool);
    uint64_t luns, snapshots = 0, pages = 0, blocks = 0;
    GPtrArray *families;

    vv_meta_read_lock(meta);
    luns = vv_meta_luns(meta)->len;
    families = vv_meta_families(meta);
    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = families->pdata[i];

        blocks += family->used_blocks;
        for (unsigned j = 0; j < family->branches->len; j++) {
            const VvBranch *branch = family->branches->pdata[j];

            pages += branch->head_page_count;
            for (unsigned k = 0; k < branch->points->len; k++) {
                const VvSnapshot *point = branch->points->pdata[k];

                pages += point->page_count;
                snapshots += !point->hidden;
            }
        }
    }
    vv_meta_read_unlock(meta);
    vv_json_set_u64(checked, "luns", luns);
    vv_json_set_u64(checked, "snapshots", snapshots);
    vv_json_set_u64(checked, "pages", pages);
    vv_json_set_u64(checked, "blocks", blocks);
}

bool vv_rpc_pool_check(VvCall *call, GError **error)
{
    VvDaemon *daemon = call->daemon;
    VvCheckReport report;
    JsonObject *result;

    if (vv_call_bool(call, "repair")) {
        vv_set_error(error, VV_ERROR_BUSY, daemon->name, "Unmount it, then repeat the command.",
            "pool %s is mounted: a repair needs it for itself", daemon->name);
        return false;
    }
    vv_check_report_init(&report);
    if (!vv_pool_check(daemon->pool, vv_check_report_cb, &report, error)) {
        vv_check_report_clear(&report);
        return false;
    }
    result = vv_check_report_json(&report);
    set_checked(daemon, result);
    return vv_call_done(call, result);
}

/* Asked for again while it runs it does nothing, so request ids need no record here. */
bool vv_rpc_pool_scrub(VvCall *call, GError **error)
{
    g_autoptr(VvJobItem) item = NULL;
    JsonObject *result;
    uint64_t job, used, checksummed;

    if (!vv_pool_scrub(call->daemon->pool, vv_call_u64(call, "rate", 0), &job, error))
        return false;
    item = vv_job_item_or_ended(call->daemon, job, "scrub", NULL);
    result = json_object_new();
    vv_pool_checksummed(call->daemon->pool, 0, &used, &checksummed);
    vv_json_set_u64(result, "job", item->number);
    vv_json_set_u64(result, "used", used);
    vv_json_set_u64(result, "checksummed", checksummed);
    return vv_call_done(call, result);
}
