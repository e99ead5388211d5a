/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of jobs. Crews' threads. Pausing a paused job again does nothing, so request ids need no record here. */
#include "rpc.h"

#include "jobs.h"
#include "pool_jobs.h"

bool vv_rpc_job_list(VvCall *call, GError **error)
{
    g_autoptr(GPtrArray) items = vv_job_items(call->daemon, vv_call_bool(call, "all"));
    const char *cursor = vv_call_string(call, "cursor");
    uint64_t from = cursor ? g_ascii_strtoull(cursor, NULL, 10) : 0;
    VvPiece piece = vv_piece_begin();

    (void) error;
    for (unsigned i = 0; i < items->len; i++) {
        const VvJobItem *item = items->pdata[i];
        g_autofree char *here = g_strdup_printf("%" G_GUINT64_FORMAT, item->number);

        if (item->number >= from && !vv_piece_add(&piece, vv_job_json(item), here))
            break;
    }
    return vv_piece_end(call, &piece);
}

bool vv_rpc_job_show(VvCall *call, GError **error)
{
    g_autoptr(VvJobItem) item = vv_job_item(call->daemon, vv_call_u64(call, "job", 0), error);

    return item && vv_call_done(call, vv_job_json_show(item));
}

static bool set_state(VvCall *call, VvJobState state, GError **error)
{
    uint64_t number = vv_call_u64(call, "job", 0);
    g_autoptr(VvJobItem) item = vv_job_item(call->daemon, number, error);

    if (!item)
        return false;
    if (item->ended) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, NULL, "vvfs-admin job list", "job %" G_GUINT64_FORMAT " has ended: %s",
            number, vv_job_state_name(item->state));
        return false;
    }
    if (state == VV_JOB_CANCELLED) /* before: somebody may see its end at once */
        vv_job_cancelling(call->daemon, number, true);
    if (!vv_pool_job_set(call->daemon->pool, item->id, state, error)) {
        vv_job_cancelling(call->daemon, number, false);
        return false;
    }
    return vv_rpc_job_show(call, error);
}

bool vv_rpc_job_pause(VvCall *call, GError **error)
{
    return set_state(call, VV_JOB_PAUSED, error);
}

bool vv_rpc_job_resume(VvCall *call, GError **error)
{
    return set_state(call, VV_JOB_QUEUED, error);
}

bool vv_rpc_job_cancel(VvCall *call, GError **error)
{
    return set_state(call, VV_JOB_CANCELLED, error);
}
