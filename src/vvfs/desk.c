/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "desk.h"

#include "base.h"
#include "error.h"
#include "server.h"

#include <pthread.h>

#define LAST_ANSWERS_MS 20 /* for clients to get what is queued */

struct VvDesk {
    VvDaemon daemon; /* first; the copy */
    pthread_t thread;
    bool closing;    /* the loop's */
};

/* The loop's. */
void vv_desk_may_leave(VvDaemon *daemon)
{
    static const struct timeval soon = { .tv_usec = LAST_ANSWERS_MS * 1000 };
    VvDesk *desk = (VvDesk *) daemon;

    if (desk->closing && vv_server_busy(daemon->server) == 0)
        event_base_loopexit(vv_control_base(daemon->loop), &soon);
}

static void close_cb(void *data)
{
    VvDesk *desk = data;

    desk->closing = true;
    vv_server_stop(desk->daemon.server);
    vv_desk_may_leave(&desk->daemon);
}

static void *desk_main(void *data)
{
    VvDesk *desk = data;

    pthread_setname_np(pthread_self(), "desk");
    vv_control_run(desk->daemon.loop);
    return NULL;
}

static void desk_free(VvDesk *desk)
{
    vv_server_free(desk->daemon.server);
    vv_control_free(desk->daemon.loop);
    g_clear_pointer(&desk->daemon.running_ids, g_hash_table_unref);
    g_free(desk);
}

VvDesk *vv_desk_open(const VvDaemon *daemon, VvPool *pool, uint64_t since_ns)
{
    VvDesk *desk = g_new0(VvDesk, 1);
    g_autoptr(GError) error = NULL;

    desk->daemon = *daemon;
    desk->daemon.pool = pool;
    desk->daemon.waiting_since_ns = since_ns;
    desk->daemon.server = NULL;
    desk->daemon.running_ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) g_queue_free);
    desk->daemon.loop = vv_control_new(&error);
    if (desk->daemon.loop)
        desk->daemon.server = vv_server_new(&desk->daemon, &error);
    if (desk->daemon.server && pthread_create(&desk->thread, NULL, desk_main, desk) == 0)
        return desk;
    vv_log(VV_LOG_WARNING, "pool %s answers no commands while it waits: %s", daemon->name, error ? error->message : "a thread cannot be started");
    desk_free(desk);
    return NULL;
}

void vv_desk_close(VvDesk *desk)
{
    if (!desk)
        return;
    vv_control_post(desk->daemon.loop, close_cb, desk);
    pthread_join(desk->thread, NULL);
    desk_free(desk);
}
