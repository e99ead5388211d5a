/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The queue of events, clocks and the network. */
#include "message.h"
#include "rules.h"
#include "sim.h"

#include <stdio.h>

uint64_t vv_rules_off;

typedef struct {
    uint64_t time_us;
    uint64_t order;
    SimNode *node; /* NULL: nobody's */
    uint64_t life;
    SimFunc func; /* NULL: a message */
    uint64_t argument;
    uint64_t from;
    uint16_t kind;
    GBytes *body;
} SimEvent;

static void event_free(SimEvent *event)
{
    if (event->body)
        g_bytes_unref(event->body);
    g_free(event);
}

/* ---- the generator: xorshift64*, the same everywhere */

uint64_t sim_random(Sim *sim, uint64_t below)
{
    sim->random ^= sim->random >> 12;
    sim->random ^= sim->random << 25;
    sim->random ^= sim->random >> 27;
    return below == 0 ? 0 : (sim->random * 0x2545F4914F6CDD1Dull >> 11) % below;
}

/* ---- heap */

static bool earlier(const SimEvent *a, const SimEvent *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->order < b->order;
}

static void push(Sim *sim, SimEvent *event)
{
    guint i = sim->queue->len;

    event->order = sim->order++;
    g_ptr_array_add(sim->queue, event);
    while (i > 0 && earlier(event, sim->queue->pdata[(i - 1) / 2])) {
        sim->queue->pdata[i] = sim->queue->pdata[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->queue->pdata[i] = event;
}

static SimEvent *pop(Sim *sim)
{
    GPtrArray *queue = sim->queue;
    SimEvent *first = queue->pdata[0], *last = queue->pdata[queue->len - 1];
    guint i = 0, length = queue->len - 1;

    g_ptr_array_set_size(queue, (int) length);
    if (length == 0)
        return first;
    for (;;) {
        guint child = 2 * i + 1;

        if (child + 1 < length && earlier(queue->pdata[child + 1], queue->pdata[child]))
            child++;
        if (child >= length || !earlier(queue->pdata[child], last))
            break;
        queue->pdata[i] = queue->pdata[child];
        i = child;
    }
    queue->pdata[i] = last;
    return first;
}

/* ---- */

static guint pair_hash(gconstpointer key)
{
    const uint64_t *pair = key;

    return (guint) ((pair[0] * 0x9E3779B97F4A7C15ull ^ pair[1] * 0xC2B2AE3D27D4EB4Full) >> 32);
}

static gboolean pair_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, 16) == 0;
}

Sim *sim_new(uint64_t seed, const SimConfig *config, const SimApp *app, void *user)
{
    Sim *sim = g_new0(Sim, 1);

    sim->config = *config;
    sim->random = (seed + 1) * 0x9E3779B97F4A7C15ull | 1;
    sim->now_us = 1000000;
    sim->app = app;
    sim->user = user;
    sim->queue = g_ptr_array_new();
    sim->leaders = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    sim->entries = g_hash_table_new_full(pair_hash, pair_equal, g_free, NULL);
    sim->digests = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    sim->committed = g_array_new(FALSE, TRUE, 24);
    for (unsigned i = 0; i < 4; i++)
        sim_random(sim, 1);
    for (unsigned i = 1; i <= config->nodes; i++)
        sim_node_create(sim, i);
    return sim;
}

void sim_free(Sim *sim)
{
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++)
        if (sim->nodes[i])
            sim_node_free(sim->nodes[i]);
    for (guint i = 0; i < sim->queue->len; i++)
        event_free(sim->queue->pdata[i]);
    g_ptr_array_free(sim->queue, TRUE);
    g_hash_table_unref(sim->leaders);
    g_hash_table_unref(sim->entries);
    g_hash_table_unref(sim->digests);
    g_array_free(sim->committed, TRUE);
    g_free(sim->violation);
    g_free(sim);
}

void sim_fail(Sim *sim, const char *format, ...)
{
    va_list arguments;

    if (sim->violation)
        return;
    va_start(arguments, format);
    sim->violation = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    sim_trace(sim, "VIOLATION: %s", sim->violation);
}

void sim_trace(Sim *sim, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    if (!sim->verbose)
        return;
    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    printf("# %8.3f %s\n", (double) sim->now_us / 1e6, text);
}

uint64_t sim_local_ms(const SimNode *node)
{
    return (uint64_t) ((int64_t) (node->sim->now_us / 1000 * node->rate_ppm / 1000000) + node->offset_ms);
}

void sim_at(Sim *sim, uint64_t delay_us, SimNode *node, SimFunc func, uint64_t argument)
{
    SimEvent *event = g_new0(SimEvent, 1);

    event->time_us = sim->now_us + delay_us;
    event->node = node;
    event->life = node ? node->life : 0;
    event->func = func;
    event->argument = argument;
    push(sim, event);
}

void sim_anyhow(Sim *sim, uint64_t delay_us, SimFunc func, uint64_t argument)
{
    sim_at(sim, delay_us, NULL, func, argument);
}

/* ---- network */

static void deliver(SimNode *node, const SimEvent *event)
{
    gsize length;
    const uint8_t *body = g_bytes_get_data(event->body, &length);

    if (node->sim->verbose)
        sim_trace(node->sim, "n%" G_GUINT64_FORMAT " <- n%" G_GUINT64_FORMAT " %s", node->id, event->from,
            vv_message_kind_name(event->kind));
    if (!vv_message_is_rafts(event->kind)) {
        if (node->sim->app->message)
            node->sim->app->message(node, event->from, event->kind, body, length);
    } else if (!vv_raft_receive(node->raft, sim_local_ms(node), event->from, event->kind, body, length)) {
        sim_fail(node->sim, "n%" G_GUINT64_FORMAT " does not understand %s", node->id, vv_message_kind_name(event->kind));
    }
}

static void post(SimNode *from, SimNode *to, uint16_t kind, GBytes *body, uint64_t delay_us)
{
    SimEvent *event = g_new0(SimEvent, 1);

    event->time_us = MAX(from->sim->now_us, from->stalled_until_us) + delay_us;
    event->node = to;
    event->from = from->id;
    event->kind = kind;
    event->body = g_bytes_ref(body);
    push(from->sim, event);
}

void sim_send(SimNode *from, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    Sim *sim = from->sim;
    const SimConfig *config = &sim->config;
    g_autoptr(GBytes) bytes = g_bytes_new(body, body_bytes);
    unsigned copies = 1;

    if (to == 0 || to > SIM_NODES_MAX || !sim->nodes[to])
        return;
    if (to == from->id) {
        post(from, from, kind, bytes, 1);
        return;
    }
    /* Others' kinds go over connections of their own: late at worst. */
    if (kind >= VV_MESSAGE_END) {
        post(from, sim->nodes[to], kind, bytes,
            config->delay_us_min + sim_random(sim, sim->blocked[from->id][to] ? 1000000 : config->delay_us_max));
        return;
    }
    if (sim->blocked[from->id][to] || sim_random(sim, 1000) < config->loss_permille ||
        (sim->filter && !sim->filter(sim, from->id, to, kind, body, body_bytes)))
        return;
    copies += sim_random(sim, 1000) < config->twice_permille;
    for (unsigned i = 0; i < copies; i++) {
        uint64_t delay_us = config->delay_us_min + sim_random(sim, config->delay_us_max - config->delay_us_min + 1);

        /* Some are very late: of another term, of before a restart. */
        if (config->twice_permille > 0 && sim_random(sim, 64) == 0)
            delay_us *= 40;
        post(from, sim->nodes[to], kind, bytes, delay_us);
    }
}

/* ---- running */

static void timer(Sim *sim, SimNode *node, uint64_t argument)
{
    (void) sim;
    (void) node;
    (void) argument;
}

/* Due timers, then the next one. */
void sim_wake(SimNode *node)
{
    Sim *sim = node->sim;
    uint64_t local, next, delay_us;

    if (!node->up || node->stopped)
        return;
    local = sim_local_ms(node);
    if (vv_raft_deadline(node->raft) <= local)
        vv_raft_tick(node->raft, local);
    if (sim->app->deadline && sim->app->deadline(node) <= local)
        sim->app->tick(node);
    if (sim->app->after)
        sim->app->after(node);
    if (!node->up)
        return;
    next = vv_raft_deadline(node->raft);
    if (sim->app->deadline)
        next = MIN(next, sim->app->deadline(node));
    if (next == UINT64_MAX)
        return;
    delay_us = next > local ? (next - local) * 1000 * 1000 / node->rate_ppm * 1000 + 1000 : 1000;
    if (vv_raft_error(node->raft) == 0) {
        node->timer++;
        sim_at(sim, delay_us, node, timer, node->timer);
    }
}

static void run(Sim *sim, SimEvent *event)
{
    SimNode *node = event->node;

    if (!node) {
        event->func(sim, NULL, event->argument);
        event_free(event);
        return;
    }
    if (!node->up || (event->func && event->life != node->life) || (event->func == timer && event->argument != node->timer)) {
        event_free(event);
        return;
    }
    if (node->stopped) {
        g_ptr_array_add(node->held, event);
        return;
    }
    if (sim->now_us < node->stalled_until_us) {
        event->time_us = node->stalled_until_us;
        push(sim, event);
        return;
    }
    if (event->func)
        event->func(sim, node, event->argument);
    else
        deliver(node, event);
    event_free(event);
    sim_wake(node);
    sim_check(sim, node);
}

bool sim_step(Sim *sim)
{
    SimEvent *event;

    if (sim->violation || sim->queue->len == 0)
        return false;
    event = pop(sim);
    sim->now_us = MAX(sim->now_us, event->time_us);
    sim->events++;
    run(sim, event);
    if (sim->app->check && !sim->violation)
        sim->app->check(sim);
    return !sim->violation;
}

void sim_run(Sim *sim, uint64_t duration_us)
{
    uint64_t end_us = sim->now_us + duration_us;

    while (sim->queue->len > 0 && ((const SimEvent *) sim->queue->pdata[0])->time_us <= end_us)
        if (!sim_step(sim))
            return;
    sim->now_us = end_us;
}

bool sim_run_until(Sim *sim, uint64_t limit_us, bool (*done)(Sim *sim, uint64_t argument), uint64_t argument)
{
    uint64_t end_us = sim->now_us + limit_us;

    while (!done(sim, argument)) {
        if (sim->queue->len == 0 || ((const SimEvent *) sim->queue->pdata[0])->time_us > end_us || !sim_step(sim))
            return !sim->violation && done(sim, argument);
    }
    return true;
}

/* A stop ends: what came meanwhile is handled now, in its order. */
void sim_stop(SimNode *node, bool stop)
{
    if (node->stopped == stop || !node->up)
        return;
    node->stopped = stop;
    sim_trace(node->sim, "n%" G_GUINT64_FORMAT " %s", node->id, stop ? "stops" : "goes on");
    for (guint i = 0; !stop && i < node->held->len; i++) {
        SimEvent *event = node->held->pdata[i];

        event->time_us = node->sim->now_us;
        push(node->sim, event);
    }
    if (!stop) {
        g_ptr_array_set_size(node->held, 0);
        node->timer++;
        sim_at(node->sim, 0, node, timer, node->timer);
    }
}

SimNode *sim_leader(Sim *sim)
{
    SimNode *leader = NULL;

    for (unsigned i = 1; i <= SIM_NODES_MAX; i++) {
        SimNode *node = sim->nodes[i];

        if (node && node->up && !node->stopped && vv_raft_is_leader(node->raft) &&
            (!leader || vv_raft_term(node->raft) > vv_raft_term(leader->raft)))
            leader = node;
    }
    return leader;
}

void sim_block(Sim *sim, uint64_t from, uint64_t to, bool blocked)
{
    sim->blocked[from][to] = blocked;
}

void sim_isolate(Sim *sim, uint64_t node, bool isolated)
{
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++)
        if (i != node)
            sim->blocked[node][i] = sim->blocked[i][node] = isolated;
}

void sim_heal(Sim *sim)
{
    memset(sim->blocked, 0, sizeof sim->blocked);
    sim->config.loss_permille = sim->config.twice_permille = 0;
    sim->filter = NULL;
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++) {
        SimNode *node = sim->nodes[i];

        if (!node)
            continue;
        node->disk.sync_us = 1000;
        if (!node->up)
            sim_start(node);
        sim_stop(node, false);
    }
}
