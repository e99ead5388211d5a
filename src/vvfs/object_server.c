/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server of objects: its life, threads and memory. Lines: object_lines.c. Handles: object_handles.c. Requests: object_request.c. */
#include "object_server_private.h"

#include "base.h"
#include "error.h"

#include <errno.h>
#include <unistd.h>

#define INTERRUPT_MS 50u /* while it ends: what has come to wait meanwhile */

/* ---- life */
static void line_free(VvoLine *line)
{
    vv_peer_unref(line->peer);
    g_free(line);
}

static void node_free(void *data)
{
    VvoNode *node = data;

    g_assert(g_hash_table_size(node->handles) == 0 && !node->first_waiter);
    for (VvoLine *line = node->lines, *next; line; line = next) {
        next = line->next;
        line_free(line);
    }
    g_hash_table_unref(node->handles);
    g_hash_table_unref(node->objects);
    g_free(node);
}

VvObjectServer *vv_object_server_new(const VvObjectServerOptions *options)
{
    VvObjectServer *server = g_new0(VvObjectServer, 1);
    pthread_condattr_t attributes;

    if (options)
        server->options = *options;
    if (server->options.memory_bytes == 0)
        server->options.memory_bytes = VV_SERVE_MEMORY_BYTES;
    if (server->options.node_bytes == 0)
        server->options.node_bytes = MIN(VV_SERVE_NODE_BYTES, server->options.memory_bytes);
    if (server->options.away_ms == 0)
        server->options.away_ms = VV_SERVE_AWAY_MS;
    vv_mutex_init_short(&server->lock);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->ended, &attributes);
    pthread_cond_init(&server->away, &attributes);
    pthread_condattr_destroy(&attributes);
    server->nodes = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, node_free);
    server->lines = g_hash_table_new(NULL, NULL);
    server->memory = vv_object_memory_new(server->options.memory_bytes);
    return server;
}

void vv_object_server_free(VvObjectServer *server)
{
    if (!server)
        return;
    g_assert(server->state != VVO_OPEN && g_hash_table_size(server->lines) == 0);
    g_hash_table_unref(server->nodes);
    g_hash_table_unref(server->lines);
    vv_object_memory_free(server->memory);
    pthread_cond_destroy(&server->ended);
    pthread_cond_destroy(&server->away);
    pthread_mutex_destroy(&server->lock);
    g_free(server);
}

/* ---- opening */
static void *worker_main(void *user)
{
    VvWorker *worker = user;
    char name[16];

    g_snprintf(name, sizeof name, "vv-serve-%u", vv_worker_index(worker) - VV_SERVE_FIRST_WORKER + 1);
    pthread_setname_np(pthread_self(), name);
    vv_worker_run(worker);
    return NULL;
}

static void end_workers(VvObjectServer *server)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        vv_worker_stop(server->workers[i]);
        pthread_join(server->threads[i], NULL);
        vv_worker_free(server->workers[i]);
    }
    server->worker_count = 0;
}

static bool start_workers(VvObjectServer *server, GError **error)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = (unsigned) CLAMP(cores, 1, (long) VV_SERVE_WORKERS_MAX);

    while (server->worker_count < wanted) {
        unsigned i = server->worker_count;

        server->workers[i] = vv_worker_new(VV_SERVE_FIRST_WORKER + i, false, error);
        if (!server->workers[i])
            return false;
        if (pthread_create(&server->threads[i], NULL, worker_main, server->workers[i]) != 0) {
            vv_worker_free(server->workers[i]);
            vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "cannot start a thread");
            return false;
        }
        server->worker_count++;
    }
    return true;
}

static void advance_all_locked(VvObjectServer *server)
{
    GHashTableIter iter;
    void *node;

    g_hash_table_iter_init(&iter, server->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &node))
        vvo_advance_locked(node);
}

bool vv_object_server_open(VvObjectServer *server, VvPool *pool, GError **error)
{
    if (!start_workers(server, error)) {
        end_workers(server);
        return false;
    }
    server->crew = vv_crew_new("serve", VV_SERVE_BLOCKING_MAX);
    vvo_lock(server);
    server->pool = pool;
    server->state = VVO_OPEN;
    server->settle_ms = vv_monotonic_ms() + server->options.away_ms;
    if (pthread_create(&server->away_thread, NULL, vvo_away_main, server) != 0)
        g_error("cannot start a thread");
    advance_all_locked(server);
    vvo_unlock(server);
    return true;
}

/* ---- the end */
/* What waits in the engine, which may be for a minute. Lock held. */
static void interrupt_all(VvObjectServer *server)
{
    for (VvoRequest *request = server->ios; request; request = request->io_next)
        vv_io_interrupt(&request->io);
}

static void refuse_all_locked(VvObjectServer *server)
{
    GHashTableIter iter;
    void *node;

    server->state = VVO_ENDING;
    pthread_cond_signal(&server->away);
    g_hash_table_iter_init(&iter, server->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &node)) {
        vvo_refuse_waiting_locked(node, -ESHUTDOWN);
        vvo_end_waits_locked(node, NULL);
        vvo_refuse_operations_locked(node);
    }
}

static void wait_for_end(VvObjectServer *server)
{
    vvo_lock(server);
    while (server->under_way > 0) {
        uint64_t until_ms = vv_monotonic_ms() + INTERRUPT_MS;
        struct timespec until = { .tv_sec = (time_t) (until_ms / 1000), .tv_nsec = (long) (until_ms % 1000) * 1000000 };

        interrupt_all(server);
        pthread_cond_timedwait(&server->ended, &server->lock, &until);
    }
    server->state = VVO_ENDED;
    server->pool = NULL;
    vvo_unlock(server);
}

/* All that are open, out of their tables: no requests are begun any more. Nodes may still connect meanwhile. */
static GPtrArray *take_handles(VvObjectServer *server)
{
    GPtrArray *taken = g_ptr_array_new();
    GHashTableIter nodes, handles;
    void *node, *value;

    vvo_lock(server);
    g_hash_table_iter_init(&nodes, server->nodes);
    while (g_hash_table_iter_next(&nodes, NULL, &node)) {
        g_hash_table_iter_init(&handles, ((VvoNode *) node)->handles);
        while (g_hash_table_iter_next(&handles, NULL, &value)) {
            VvoHandle *handle = value;

            g_ptr_array_add(taken, handle->handle);
            g_hash_table_iter_remove(&handles);
            g_queue_unlink(&handle->object->handles, &handle->link);
            if (handle->object->handles.length == 0) {
                g_hash_table_remove(((VvoNode *) node)->objects, &handle->object->id);
                vvo_object_free(handle->object);
            }
            vvo_handle_free(handle);
        }
    }
    vvo_unlock(server);
    return taken;
}

static void leave_handles(VvObjectServer *server)
{
    g_autoptr(GPtrArray) handles = take_handles(server);

    for (unsigned i = 0; i < handles->len; i++)
        vv_handle_leave(g_ptr_array_index(handles, i));
}

void vv_object_server_end(VvObjectServer *server)
{
    vvo_lock(server);
    if (server->state != VVO_OPEN) {
        vvo_unlock(server);
        return;
    }
    refuse_all_locked(server);
    vvo_unlock(server);
    wait_for_end(server);
    pthread_join(server->away_thread, NULL);
    vv_crew_free(g_steal_pointer(&server->crew));
    end_workers(server);
    leave_handles(server);
}

/* ---- looking */
void vv_object_server_stats(VvObjectServer *server, VvObjectServerStats *ret_stats)
{
    VvObjectServerStats stats = { 0 };
    GHashTableIter iter;
    void *value;

    vvo_lock(server);
    g_hash_table_iter_init(&iter, server->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VvoNode *node = value;

        stats.handles += g_hash_table_size(node->handles);
        for (const VvoLine *line = node->lines; line; line = line->next)
            for (const VvoRequest *request = line->waiting.first; request; request = request->next)
                stats.waiting++;
        for (const VvoWaiter *waiter = node->first_waiter; waiter; waiter = waiter->next)
            stats.waiting++;
    }
    stats.under_way = server->under_way;
    stats.memory_bytes = vv_object_memory_used(server->memory);
    vvo_unlock(server);
    *ret_stats = stats;
}
