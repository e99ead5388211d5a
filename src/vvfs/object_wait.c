/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for data, and who waits for it (O3 of object_server.h).
 *
 * M1  Each node has its queue, and no more than options.node_bytes. So who takes no answers stops himself.
 * M2  Who waits gets his memory when it is put, not when he asks again: nobody overtakes him in his own queue.
 * M3  While the first that may have more finds none (pieces are too small), nobody takes any: in the end all of it is free. */
#include "object_server_private.h"

#include <errno.h>

static bool has_room(const VvoNode *node, uint32_t bytes)
{
    return node->memory_bytes + vv_object_memory_takes(bytes) <= node->server->options.node_bytes;
}

static void *get(VvoNode *node, uint32_t bytes)
{
    void *data = vv_object_memory_get(node->server->memory, bytes);

    if (data)
        node->memory_bytes += vv_object_memory_takes(bytes);
    return data;
}

void *vvo_memory_get_locked(VvoNode *node, uint32_t bytes)
{
    void *data;

    if (node->first_waiter || node->server->scarce || !has_room(node, bytes))
        return NULL;
    data = get(node, bytes);
    node->server->scarce = !data; /* the caller will wait */
    return data;
}

void vvo_wait_locked(VvoNode *node, VvoWaiter *waiter)
{
    VvoNode **last = &node->server->starving;

    waiter->next = NULL;
    *(node->last_waiter ? &node->last_waiter->next : &node->first_waiter) = waiter;
    node->last_waiter = waiter;
    if (node->starving)
        return;
    while (*last)
        last = &(*last)->next_starving;
    *last = node;
    node->next_starving = NULL;
    node->starving = true;
}

static void give(VvoWaiter *waiter, void *data)
{
    if (waiter->line) {
        waiter->line->starved = false;
        waiter->line->placed = data;
        vv_peer_resume(waiter->line->peer); /* asks place() again */
    } else {
        waiter->request->data = data;
        vvo_start_locked(waiter->request);
    }
}

/* False: there is no memory for its first waiter, who may have some. */
static bool feed_node(VvoNode *node)
{
    while (node->first_waiter && has_room(node, node->first_waiter->bytes)) {
        VvoWaiter *waiter = node->first_waiter;
        void *data = get(node, waiter->bytes);

        if (!data)
            return false;
        node->first_waiter = waiter->next;
        if (!node->first_waiter)
            node->last_waiter = NULL;
        give(waiter, data);
    }
    return true;
}

static void feed(VvObjectServer *server)
{
    VvoNode **at = &server->starving;

    server->scarce = false;
    while (*at) {
        VvoNode *node = *at;

        if (!feed_node(node)) {
            server->scarce = true; /* M3 */
            return;
        }
        if (node->first_waiter) {
            at = &node->next_starving;
            continue;
        }
        *at = node->next_starving;
        node->starving = false;
    }
}

void vvo_memory_put_locked(VvoNode *node, void *data)
{
    VvObjectMemory *memory = node->server->memory;
    size_t before = vv_object_memory_used(memory);

    if (!data)
        return;
    vv_object_memory_put(memory, data);
    node->memory_bytes -= before - vv_object_memory_used(memory);
    feed(node->server);
}

void vvo_unwait_locked(VvoNode *node, VvoWaiter *waiter)
{
    VvoWaiter **at = &node->first_waiter, *last = NULL;

    while (*at && *at != waiter) {
        last = *at;
        at = &(*at)->next;
    }
    if (!*at)
        return;
    *at = waiter->next;
    if (node->last_waiter == waiter)
        node->last_waiter = last;
    feed(node->server); /* it may have been what others waited behind */
}

void vvo_end_waits_locked(VvoNode *node, const VvoLine *line)
{
    VvoWaiter *waiter = node->first_waiter;

    while (waiter) {
        VvoRequest *request = waiter->request;

        if (!request || (line && request->line != line)) {
            waiter = waiter->next;
            continue;
        }
        vvo_unwait_locked(node, waiter); /* others may have gone from the queue too */
        vvo_over_locked(request, -ESHUTDOWN);
        waiter = node->first_waiter;
    }
}
