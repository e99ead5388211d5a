/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs as people see them: small numbers, and remembered for a day after they ended. The catalog forgets a job when it has
 * ended; the engine notes the last VV_ENDED_JOBS_MAX then, and this table is brought up to date whenever somebody looks. Any thread but the loop's (takes the catalog's lock). */
#ifndef VV_DAEMON_JOBS_H
#define VV_DAEMON_JOBS_H

#include "daemon.h"
#include "json.h"

#include <glib.h>
#include <stdbool.h>

#define VV_ENDED_JOB_SECONDS 86400u

typedef struct VvJobTable VvJobTable;

typedef struct {
    uint64_t number; /* what people type: the counter in the id */
    uint64_t id;
    char *kind, *object; /* object: NULL unknown */
    uint64_t done, total;
    VvJobState state;
    bool ended;
    uint64_t rate_bytes, seconds_left; /* 0: unknown */
    uint64_t created_ns, ended_ns;
    uint64_t errors; /* a scrub's, when it has ended */
} VvJobItem;
void vv_job_item_free(VvJobItem *item);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvJobItem, vv_job_item_free)

VvJobTable *vv_job_table_new(void);
void vv_job_table_free(VvJobTable *table);
/* Copies, by number; of VvJobItem with free function. @all: those that have ended too. */
GPtrArray *vv_job_items(VvDaemon *daemon, bool all);
/* Error: not-found. */
VvJobItem *vv_job_item(VvDaemon *daemon, uint64_t number, GError **error);
/* One that was just begun: if it ended before anybody saw it, it is told as done. */
VvJobItem *vv_job_item_or_ended(VvDaemon *daemon, uint64_t id, const char *kind, const char *object);
/* It is being cancelled (or is not): when it is gone, that is why. */
void vv_job_cancelling(VvDaemon *daemon, uint64_t number, bool cancelling);
JsonObject *vv_job_json(const VvJobItem *item);      /* of lists */
JsonObject *vv_job_json_show(const VvJobItem *item); /* of job.show */

#endif
