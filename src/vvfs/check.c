/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors of a check as JSON, bounded. */
#include "check.h"

#include <string.h>

void vv_check_report_init(VvCheckReport *report)
{
    *report = (VvCheckReport){ .errors = json_array_new() };
}

void vv_check_report_clear(VvCheckReport *report)
{
    g_clear_pointer(&report->errors, json_array_unref);
}

void vv_check_report_cb(void *user, const VvCheckError *error)
{
    VvCheckReport *report = user;
    JsonObject *object;

    report->count++;
    report->repaired += error->repaired;
    if (json_array_get_length(report->errors) == VV_CHECK_ERRORS_MAX)
        return;
    object = vv_json_add_object(report->errors);
    vv_json_set_string(object, "code", error->code);
    vv_json_set_string(object, "object", error->object);
    vv_json_set_string(object, "message", error->message);
    vv_json_set_bool(object, "repaired", error->repaired);
}

JsonObject *vv_check_report_json(VvCheckReport *report)
{
    JsonObject *result = json_object_new();

    vv_json_set_bool(result, "ok", report->count == report->repaired);
    json_object_set_array_member(result, "errors", g_steal_pointer(&report->errors));
    if (report->count > VV_CHECK_ERRORS_MAX)
        vv_json_set_bool(result, "truncated", true);
    return result;
}
