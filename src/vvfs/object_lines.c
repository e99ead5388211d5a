/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections of other nodes, and what of them may begin (S1).
 *
 * L1  A line begins when no older line of its node and channel has anything under way, and no line of another instance of its node has.
 * L2  The instance that came last is the one that counts: before the first of its lines begins, the handles of the one before are closed.
 * L3  A line that has gone is kept until what came by it has ended. */
#include "object_server_private.h"

#include "base.h"
#include "codec.h"
#include "error.h"
#include "intent.h"
#include "sharing.h"

#include <errno.h>

#define BROKEN_PROTOCOL "a message that does not belong there"

/* ---- nodes */
static VvoNode *node_new(VvObjectServer *server, uint64_t id)
{
    VvoNode *node = g_new0(VvoNode, 1);

    node->server = server;
    node->id = id;
    node->handles = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, NULL);
    node->objects = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, NULL);
    return node;
}

VvoNode *vvo_node_get_locked(VvObjectServer *server, uint64_t id)
{
    VvoNode *node = g_hash_table_lookup(server->nodes, &id);

    if (!node) {
        node = node_new(server, id);
        g_hash_table_insert(server->nodes, &node->id, node);
    }
    return node;
}

/* ---- what may begin */
static void free_ended_lines(VvoNode *node)
{
    VvoLine **at = &node->lines;

    while (*at) {
        VvoLine *line = *at;

        if (line->up || line->references > 0) {
            at = &line->next;
            continue;
        }
        *at = line->next;
        vv_peer_unref(line->peer);
        g_free(line);
    }
}

static bool is_under_way(const VvoNode *node)
{
    for (const VvoLine *line = node->lines; line; line = line->next)
        if (line->under_way > 0)
            return true;
    return false;
}

static bool is_connected(const VvoNode *node)
{
    for (const VvoLine *line = node->lines; line; line = line->next)
        if (line->up)
            return true;
    return false;
}

/* L2. False: not yet. */
static bool change_instance(VvoNode *node)
{
    if (node->instance == node->wanted)
        return true;
    for (const VvoLine *line = node->lines; line; line = line->next)
        if (line->instance != node->wanted && line->under_way > 0)
            return false;
    vvo_close_all_locked(node);
    if (node->closes > 0)
        return false;
    node->instance = node->wanted;
    return true;
}

/* L1 */
static bool may_begin(const VvoNode *node, const VvoLine *line)
{
    if (!line->up || line->begun || line->over || line->instance != node->instance)
        return false;
    for (const VvoLine *older = node->lines; older != line; older = older->next)
        if (older->channel == line->channel && (older->under_way > 0 || (older->up && !older->over)))
            return false;
    return true;
}

static void find_place(VvoLine *line)
{
    line->placed = vvo_memory_get_locked(line->node, line->waiter.bytes);
    if (line->placed) {
        vv_peer_resume(line->peer);
        return;
    }
    line->starved = true;
    vvo_wait_locked(line->node, &line->waiter);
}

/* What guests may use goes by their record (sharing.h). */
static bool is_guest_here(const VvoNode *node)
{
    VvMeta *meta = vv_pool_meta(node->server->pool);
    bool is;

    vv_meta_read_lock(meta);
    is = vv_share_is_guest(meta, node->id);
    vv_meta_read_unlock(meta);
    return is;
}

static void begin_line(VvoLine *line)
{
    VvoRequest *request;

    line->begun = true;
    line->refused = line->guest && !is_guest_here(line->node);
    if (line->waiter.bytes > 0)
        find_place(line);
    while ((request = vvo_list_pop(&line->waiting)))
        vvo_begin_locked(request);
}

void vvo_advance_locked(VvoNode *node)
{
    free_ended_lines(node);
    if (node->server->state != VVO_OPEN)
        return;
    if ((node->gone && !is_under_way(node)) || (node->expired && !node->lines))
        vvo_close_all_locked(node);
    if (node->gone && !is_under_way(node))
        vv_intents_forget(node->server->pool, node->id);
    if (node->gone || !node->lines || !change_instance(node))
        return;
    for (VvoLine *line = node->lines; line; line = line->next)
        if (may_begin(node, line))
            begin_line(line);
}

void vvo_refuse_waiting_locked(VvoNode *node, int result)
{
    VvoRequest *request;

    for (VvoLine *line = node->lines; line; line = line->next)
        while ((request = vvo_list_pop(&line->waiting)))
            vvo_over_locked(request, result);
}

/* ---- the mesh's events: a data loop */
void vv_object_server_up(VvObjectServer *server, VvPeer *peer)
{
    VvoLine *line = g_new0(VvoLine, 1), **last;
    VvoNode *node;

    vvo_lock(server);
    node = vvo_node_get_locked(server, vv_peer_node(peer));
    *line = (VvoLine){ .node = node,
        .peer = vv_peer_ref(peer),
        .channel = vv_peer_ours(peer)->channel,
        .instance = vv_peer_theirs(peer)->instance,
        .up = true,
        .guest = vv_peer_identity(peer)->guest };
    line->waiter.line = line;
    for (last = &node->lines; *last; last = &(*last)->next)
        (*last)->over |= (*last)->channel == line->channel || (*last)->instance != line->instance;
    *last = line;
    g_hash_table_insert(server->lines, peer, line);
    node->wanted = line->instance;
    node->away_since_ms = 0;
    node->expired = false;
    vvo_advance_locked(node);
    vvo_unlock(server);
}

void vv_object_server_down(VvObjectServer *server, VvPeer *peer)
{
    VvoRequest *request;
    VvoLine *line;
    VvoNode *node;

    vvo_lock(server);
    line = g_hash_table_lookup(server->lines, peer);
    if (line) {
        node = line->node;
        g_hash_table_remove(server->lines, peer);
        line->up = false;
        while ((request = vvo_list_pop(&line->waiting)))
            vvo_over_locked(request, -ESHUTDOWN); /* to nobody */
        if (line->starved)
            vvo_unwait_locked(node, &line->waiter);
        line->starved = false;
        vvo_memory_put_locked(node, g_steal_pointer(&line->placed));
        vvo_end_waits_locked(node, line);
        if (!is_connected(node)) {
            node->away_since_ms = vv_monotonic_ms();
            pthread_cond_signal(&server->away);
        }
        vvo_advance_locked(node);
    }
    vvo_unlock(server);
}

/* Nobody who keeps to the protocol sends it: P4 of peer.h. */
static void refuse_message(VvPeer *peer)
{
    vv_peer_close(peer, VV_GOODBYE_PROTOCOL, BROKEN_PROTOCOL);
}

/* Is it going to be refused, whatever it is? 0, or with what. */
static int refusal_of(const VvoLine *line)
{
    VvoState state = line->node->server->state;

    if (line->refused || line->node->gone)
        return -EACCES;
    return state == VVO_ENDING || state == VVO_ENDED || line->over ? -ESHUTDOWN : 0;
}

static void *place_locked(VvoLine *line, const VvIncoming *in)
{
    void *data = g_steal_pointer(&line->placed);

    if (data) {
        line->waiter.bytes = 0;
        return data;
    }
    line->waiter.bytes = in->data_bytes;
    if (!line->begun && refusal_of(line) == 0)
        return NULL; /* when it is begun */
    data = vvo_memory_get_locked(line->node, in->data_bytes);
    if (data) {
        line->waiter.bytes = 0;
    } else {
        line->starved = true;
        vvo_wait_locked(line->node, &line->waiter);
    }
    return data;
}

void *vv_object_server_place(VvObjectServer *server, VvPeer *peer, const VvIncoming *in)
{
    void *data = NULL;
    VvoLine *line;

    vvo_lock(server);
    line = g_hash_table_lookup(server->lines, peer);
    if (line && in->kind == VV_OBJECT_REQUEST && in->request != 0 && in->data_bytes <= VV_IO_BYTES_MAX)
        data = place_locked(line, in);
    else
        refuse_message(peer);
    vvo_unlock(server);
    return data;
}

void vv_object_server_unplace(VvObjectServer *server, VvPeer *peer, void *data)
{
    VvoLine *line;

    vvo_lock(server);
    line = g_hash_table_lookup(server->lines, peer);
    g_assert(line); /* place() knew it, and it is not down yet */
    vvo_memory_put_locked(line->node, data);
    vvo_unlock(server);
}

void vv_object_server_take(VvObjectServer *server, VvPeer *peer, const VvIncoming *in)
{
    VvoRequest *request = vvo_request_new(server, in);
    g_autoptr(GError) error = NULL;
    bool good = vv_object_ask_decode(in->body, in->body_bytes, in->data_bytes, &request->ask, &error);
    VvoLine *line;
    int refusal;

    if (!good)
        vv_log(VV_LOG_DEBUG, "node %" G_GUINT64_FORMAT ": %s", vv_peer_node(peer), error->message);
    vvo_lock(server);
    line = g_hash_table_lookup(server->lines, peer);
    g_assert(line); /* messages come between up and down */
    request->node = line->node;
    request->line = line;
    line->references++;
    refusal = refusal_of(line);
    if (refusal != 0 || !good)
        vvo_over_locked(request, refusal != 0 ? refusal : -EINVAL);
    else if (line->begun)
        vvo_begin_locked(request);
    else
        vvo_list_push(&line->waiting, request);
    vvo_unlock(server);
}

/* ---- nodes that do not come back */
void vv_object_server_gone(VvObjectServer *server, uint64_t id)
{
    VvoNode *node;

    vvo_lock(server);
    node = vvo_node_get_locked(server, id);
    if (!node->gone) {
        node->gone = true;
        vvo_refuse_waiting_locked(node, -EACCES);
        vvo_advance_locked(node);
    }
    vvo_unlock(server);
}

bool vv_object_server_is_away(VvObjectServer *server, uint64_t id, uint64_t *ret_ms)
{
    uint64_t now_ms = vv_monotonic_ms(), until_ms;
    const VvoNode *node;
    bool away;

    vvo_lock(server);
    node = g_hash_table_lookup(server->nodes, &id);
    away = node && node->away_since_ms != 0;
    until_ms = away ? node->away_since_ms + server->options.away_ms : 0;
    vvo_unlock(server);
    *ret_ms = until_ms - MIN(until_ms, now_ms);
    return away;
}

/* Returns when to look again. Lock held. */
static uint64_t expire(VvObjectServer *server, uint64_t now_ms)
{
    uint64_t due_ms = server->settle_ms ? server->settle_ms : UINT64_MAX;
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, server->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvoNode *node = value;

        if (node->away_since_ms == 0)
            continue;
        if (now_ms < node->away_since_ms + server->options.away_ms) {
            due_ms = MIN(due_ms, node->away_since_ms + server->options.away_ms);
            continue;
        }
        node->away_since_ms = 0;
        node->expired = true;
        vvo_advance_locked(node);
    }
    return due_ms;
}

/* What was removed or elastic before this process, and nobody has open now. Lock held; not while it works. */
static void settle_unopened(VvObjectServer *server)
{
    VvPool *pool = server->pool; /* it outlives this thread */

    server->settle_ms = 0;
    vvo_unlock(server);
    vv_pool_settle_unopened(pool);
    vvo_lock(server);
}

void *vvo_away_main(void *user)
{
    VvObjectServer *server = user;

    pthread_setname_np(pthread_self(), "vv-serve-away");
    vvo_lock(server);
    while (server->state == VVO_OPEN) {
        uint64_t due_ms = expire(server, vv_monotonic_ms());
        struct timespec until = { .tv_sec = (time_t) (due_ms / 1000), .tv_nsec = (long) (due_ms % 1000) * 1000000 };

        if (server->settle_ms && vv_monotonic_ms() >= server->settle_ms)
            settle_unopened(server);
        else if (due_ms == UINT64_MAX)
            pthread_cond_wait(&server->away, &server->lock);
        else
            pthread_cond_timedwait(&server->away, &server->lock, &until);
    }
    vvo_unlock(server);
    return NULL;
}
