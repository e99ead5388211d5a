/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Watching: stats, events, problems, versions. Crews' threads. */
#include "rpc.h"

#include "objects.h"
#include "status.h"
#include "version.h"

#include <string.h>

#define EVENTS_DEFAULT 100u

bool vv_rpc_stats_get(VvCall *call, GError **error)
{
    g_auto(GStrv) objects = vv_call_strings(call, "objects");
    const char *cursor = vv_call_string(call, "cursor");
    g_autofree char *next = NULL;

    if (!cursor && !vv_lun_names_check(call->daemon, objects, error))
        return false;
    return vv_call_done(call, vv_stats_json(call->daemon, (const char *const *) objects, cursor, &next));
}

bool vv_rpc_events_list(VvCall *call, GError **error)
{
    const char *cursor = vv_call_string(call, "cursor");
    uint64_t since_ns = vv_call_u64(call, "since_ns", 0);
    uint64_t limit = vv_call_u64(call, "limit", since_ns ? VV_EVENTS_KEPT : EVENTS_DEFAULT);
    uint64_t from = cursor ? g_ascii_strtoull(cursor, NULL, 10) : 0;
    g_autoptr(GPtrArray) events = vv_pool_events(call->daemon->pool, from ? from - 1 : 0);
    VvPiece piece = vv_piece_begin();
    unsigned first = 0;

    (void) error;
    while (first < events->len && ((VvEvent *) events->pdata[first])->time_ns < since_ns)
        first++;
    if (!cursor && events->len - first > limit)
        first = events->len - (unsigned) limit;
    for (unsigned i = first; i < events->len; i++) {
        const VvEvent *event = events->pdata[i];
        g_autofree char *here = g_strdup_printf("%" G_GUINT64_FORMAT, event->number);

        if (!vv_piece_add(&piece, vv_event_json(call->daemon, event), here))
            break;
    }
    return vv_piece_end(call, &piece);
}

bool vv_rpc_doctor_list(VvCall *call, GError **error)
{
    JsonObject *result = json_object_new();

    (void) error;
    json_object_set_array_member(result, "items", vv_problems_json(call->daemon));
    vv_json_set_null(result, "next");
    return vv_call_done(call, result);
}

bool vv_rpc_version_get(VvCall *call, GError **error)
{
    (void) error;
    return vv_call_done(call, vv_version_json());
}
