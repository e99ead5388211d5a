/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stage on which histories play. */
#include "history.h"

#include "message.h"
#include "whole.h"

#include <stdlib.h>

#define PATIENCE_US 8000000u

typedef struct {
    uint64_t from, to;
    uint16_t kind;
    GBytes *body;
} Kept;

static void kept_free(void *data)
{
    Kept *kept = data;

    g_bytes_unref(kept->body);
    g_free(kept);
}

/* ---- time */

void history_wait(History *h, uint64_t ms)
{
    sim_run(h->sim, ms * 1000);
}

bool history_until(History *h, const char *what, bool (*done)(Sim *sim, uint64_t argument), uint64_t argument)
{
    bool good = !h->stuck && !h->sim->violation && sim_run_until(h->sim, PATIENCE_US, done, argument);

    if (!good && !h->stuck && !h->sim->violation) {
        h->stuck = what;
        sim_trace(h->sim, "in vain: %s", what);
    }
    return good;
}

/* ---- the network */

static bool filter(Sim *sim, uint64_t from, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    History *h = (History *) sim->user;

    for (unsigned i = 0; !h->letting_go && i < h->filters_count; i++) {
        const HistoryFilter *f = &h->filters[i];
        Kept *kept;

        if ((f->from && f->from != from) || (f->to && f->to != to) || kind < f->first || kind > f->last)
            continue;
        if (f->keep) {
            kept = g_new(Kept, 1);
            *kept = (Kept) { from, to, kind, g_bytes_new(body, body_bytes) };
            g_ptr_array_add(h->kept, kept);
        }
        return f->pass;
    }
    return true;
}

static void add_filter(History *h, HistoryFilter what)
{
    g_assert_cmpuint(h->filters_count, <, HISTORY_FILTERS);
    h->filters[h->filters_count++] = what;
}

void history_lose(History *h, uint64_t from, uint64_t to, unsigned first, unsigned last)
{
    add_filter(h, (HistoryFilter) { from, to, first, last, false, false });
}

void history_keep(History *h, uint64_t from, uint64_t to, unsigned kind)
{
    add_filter(h, (HistoryFilter) { from, to, kind, kind, true, false });
}

void history_twice(History *h, uint64_t from, uint64_t to, unsigned kind)
{
    add_filter(h, (HistoryFilter) { from, to, kind, kind, true, true });
}

void history_pass(History *h)
{
    h->filters_count = 0;
}

static bool has_kept(Sim *sim, uint64_t count)
{
    return ((const History *) sim->user)->kept->len >= count;
}

void history_kept(History *h, unsigned count)
{
    history_until(h, "a message", has_kept, count);
}

void history_let_go(History *h)
{
    h->letting_go = true;
    for (guint i = 0; i < h->kept->len; i++) {
        const Kept *kept = h->kept->pdata[i];
        gsize length;
        const uint8_t *body = g_bytes_get_data(kept->body, &length);

        sim_send(h->sim->nodes[kept->from], kept->to, kept->kind, body, length);
    }
    h->letting_go = false;
    g_ptr_array_set_size(h->kept, 0);
}

/* ---- nodes */

SimNode *history_node(History *h, uint64_t node)
{
    return h->sim->nodes[node];
}

static bool all_follow(Sim *sim, uint64_t id)
{
    for (unsigned i = 1; i <= sim->config.nodes; i++)
        if (sim->nodes[i]->up && vv_raft_leader(sim->nodes[i]->raft) != id)
            return false;
    return vv_raft_ready(sim->nodes[id]->raft) && sim_leader(sim) == sim->nodes[id];
}

static bool leads(Sim *sim, uint64_t id)
{
    return vv_raft_ready(sim->nodes[id]->raft);
}

void history_lead(History *h, uint64_t node)
{
    for (unsigned tries = 0; tries < 20 && !all_follow(h->sim, node); tries++) {
        SimNode *leader = sim_leader(h->sim);

        if (leader && leader->id != node && vv_raft_ready(leader->raft)) {
            vv_raft_transfer(leader->raft, sim_local_ms(leader), node);
            sim_wake(leader);
        }
        sim_run_until(h->sim, 300000, all_follow, node);
    }
    history_until(h, "another leader", all_follow, node);
    history_until(h, "rest", whole_at_rest, 0);
}

void history_leads(History *h, uint64_t node)
{
    history_until(h, "a leader", leads, node);
}

void history_hold(History *h, uint64_t node, bool hold)
{
    h->data.script.held[node] = hold;
    if (!hold)
        sim_wake(history_node(h, DATA_SERVER));
}

void history_reuse_ids(History *h)
{
    h->data.map.reused_ids = true;
    for (unsigned i = 1; i <= h->sim->config.nodes; i++)
        data_node(history_node(h, i))->map.reused_ids = true;
}

static bool has_session(Sim *sim, uint64_t id)
{
    DataNode *d = data_node(sim->nodes[id]);

    return d && vv_member_alive(vv_cluster_member(d->cluster), sim_local_ms(d->node));
}

void history_alive(History *h, uint64_t node)
{
    history_until(h, "a session", has_session, node);
}

void history_restart(History *h, uint64_t node)
{
    sim_crash(history_node(h, node));
    sim_start(history_node(h, node));
    history_alive(h, node);
}

uint64_t history_session(History *h, uint64_t node)
{
    return vv_state_session(h->data.truth, node);
}

static bool other_session(Sim *sim, uint64_t both)
{
    return vv_state_session(((const Data *) sim->user)->truth, both >> 32) != (both & UINT32_MAX);
}

void history_expired(History *h, uint64_t node, uint64_t session)
{
    history_until(h, "the end of a session", other_session, node << 32 | session);
}

void history_silence(History *h, uint64_t node, uint64_t leader)
{
    history_lose(h, node, leader, VV_MESSAGE_RENEW, VV_MESSAGE_RENEW);
    history_lose(h, leader, node, VV_MESSAGE_RECALL, VV_MESSAGE_RECALL);
}

void history_expire(History *h, uint64_t node, uint64_t by, unsigned lun)
{
    uint64_t session = history_session(h, node);

    history_silence(h, node, by);
    history_want(h, by, lun, 0, DATA_BLOCKS, VV_LEASE_READ);
    history_expired(h, node, session);
}

/* ---- requests */

static bool is_idle(Sim *sim, uint64_t id)
{
    const DataNode *d = data_node(sim->nodes[id]);

    for (unsigned i = 0; d && i < DATA_IOS; i++)
        if (d->ios[i].state != IO_NONE)
            return false;
    for (unsigned l = 0; d && l < DATA_LUNS; l++)
        if (d->flushing[l])
            return false;
    return true;
}

void history_idle(History *h, uint64_t node)
{
    history_until(h, "a request", is_idle, node);
}

static bool has_applied(Sim *sim, uint64_t id)
{
    return sim->nodes[id]->applied_index >= ((const Data *) sim->user)->truth->applied_index;
}

void history_applied(History *h, uint64_t node)
{
    history_until(h, "what is committed", has_applied, node);
}

void history_begin_write(History *h, uint64_t node, unsigned lun, unsigned block)
{
    data_write(history_node(h, node), lun, block);
    sim_wake(history_node(h, node));
}

void history_begin_read(History *h, uint64_t node, unsigned lun, unsigned block)
{
    data_read(history_node(h, node), lun, block);
    sim_wake(history_node(h, node));
}

void history_begin_read_snapshot(History *h, uint64_t node, unsigned slot, unsigned lun, unsigned block)
{
    data_read_snapshot(history_node(h, node), slot, lun, block);
    sim_wake(history_node(h, node));
}

void history_begin_flush(History *h, uint64_t node, unsigned lun)
{
    data_flush(history_node(h, node), lun);
    sim_wake(history_node(h, node));
}

void history_begin_snapshot(History *h, uint64_t node)
{
    whole_snapshot(history_node(h, node));
    sim_wake(history_node(h, node));
}

void history_begin_remove(History *h, uint64_t node, unsigned slot)
{
    whole_remove(history_node(h, node), slot);
    sim_wake(history_node(h, node));
}

void history_fenced(History *h, uint64_t node, uint64_t of, uint64_t session)
{
    whole_fenced(history_node(h, node), (VvHolder) { of, session });
    sim_wake(history_node(h, node));
}

void history_want(History *h, uint64_t node, unsigned lun, uint64_t first, uint64_t end, VvLeaseMode mode)
{
    VvRange range = { lun, first, end };
    SimNode *n = history_node(h, node);

    vv_member_want(vv_cluster_member(data_node(n)->cluster), sim_local_ms(n), &range, mode);
    sim_wake(n);
}

void history_release(History *h, uint64_t node, unsigned lun, uint64_t first, uint64_t end)
{
    VvRange range = { lun, first, end };
    SimNode *n = history_node(h, node);

    vv_member_release(vv_cluster_member(data_node(n)->cluster), sim_local_ms(n), &range);
    sim_wake(n);
}

void history_write(History *h, uint64_t node, unsigned lun, unsigned block)
{
    history_begin_write(h, node, lun, block);
    history_idle(h, node);
}

void history_read(History *h, uint64_t node, unsigned lun, unsigned block)
{
    history_begin_read(h, node, lun, block);
    history_idle(h, node);
}

void history_read_snapshot(History *h, uint64_t node, unsigned slot, unsigned lun, unsigned block)
{
    history_applied(h, node);
    history_begin_read_snapshot(h, node, slot, lun, block);
    history_idle(h, node);
}

void history_flush(History *h, uint64_t node, unsigned lun)
{
    history_begin_flush(h, node, lun);
    history_idle(h, node);
}

static bool has_snapshots(Sim *sim, uint64_t count)
{
    return ((const Data *) sim->user)->done_snapshots >= count;
}

void history_snapshot(History *h, uint64_t node)
{
    uint64_t wanted = h->data.done_snapshots + 1;

    history_begin_snapshot(h, node);
    history_until(h, "a snapshot", has_snapshots, wanted);
}

static bool has_purges(Sim *sim, uint64_t count)
{
    return ((const Data *) sim->user)->done_purges >= count;
}

void history_remove(History *h, uint64_t node, unsigned slot)
{
    uint64_t wanted = h->data.done_purges + 1;

    history_applied(h, node);
    history_begin_remove(h, node, slot);
    history_until(h, "a purge", has_purges, wanted);
}

/* ---- the play */

static void end_well(History *h)
{
    sim_trace(h->sim, "== all well");
    h->filters_count = 0;
    memset(&h->data.script.held, 0, sizeof h->data.script.held);
    memset(&h->data.script.landing_us, 0, sizeof h->data.script.landing_us);
    sim_heal(h->sim);
    if (!sim_run_until(h->sim, 60000000, whole_at_rest, 0) && !h->sim->violation)
        sim_fail(h->sim, "60 s after all is well: %s", whole_why_not(h->sim));
    if (!h->sim->violation)
        whole_read_everything(h->sim);
}

/* What was violated, or NULL; the caller frees it. */
static char *play(const Story *story, uint64_t seed, const char **ret_stuck)
{
    SimConfig config = { .nodes = story->nodes, .delay_us_min = 200, .delay_us_max = 400, .sync_us_max = 1000,
        .drift_permille = story->drift_permille, .election_ms = story->election_ms ? story->election_ms : 150, .heartbeat_ms = 40, .chunk_bytes = 256 };
    History h = { .stuck = NULL };
    char *violation;

    h.kept = g_ptr_array_new_with_free_func(kept_free);
    h.sim = sim_new(seed, &config, &data_app, &h.data);
    data_init(h.sim, &h.data, story->shared);
    h.data.script.on = true;
    h.sim->verbose = getenv("VV_SIM_VERBOSE") != NULL;
    h.sim->filter = filter;
    sim_bootstrap(h.sim, config.nodes);
    if (!sim_run_until(h.sim, 20000000, whole_has_leader, 0) || !whole_add_nodes(h.sim) || !sim_run_until(h.sim, 20000000, whole_at_rest, 0))
        sim_fail(h.sim, "the cluster does not begin: %s", whole_why_not(h.sim));
    story->play(&h);
    if (!h.sim->violation && !h.stuck && !story->unfinished)
        end_well(&h);
    *ret_stuck = h.stuck;
    violation = g_strdup(h.sim->violation);
    sim_free(h.sim);
    data_clear(&h.data);
    g_ptr_array_free(h.kept, TRUE);
    return violation;
}

void history_test(const Story *story)
{
    unsigned seeds = story->seeds ? story->seeds : 3, shown = 0;
    const char *stuck;
    bool failed = false;

    for (unsigned seed = 1; seed <= seeds; seed++) {
        g_autofree char *violation = NULL;

        vv_rules_off = 0;
        violation = play(story, seed, &stuck);
        if (violation || stuck)
            failed = true, g_test_message("%s: seed %u: %s%s", story->name, seed, violation ? violation : "waits in vain for ",
                violation ? "" : stuck);
    }
    for (unsigned seed = 1; story->rule != HISTORY_NO_RULE && seed <= seeds; seed++) {
        g_autofree char *violation = NULL;

        vv_rules_off = (uint64_t) 1 << story->rule;
        violation = play(story, seed, &stuck);
        vv_rules_off = 0;
        if (violation && shown++ == 0)
            g_test_message("without it: %s", violation);
        else if (stuck)
            g_test_message("without it: seed %u waits in vain for %s", seed, stuck);
    }
    if (story->rule != HISTORY_NO_RULE && shown == 0)
        failed = true, g_test_message("%s: nothing goes wrong without the rule", story->name);
    if (story->rule != HISTORY_NO_RULE)
        g_test_message("%u of %u seeds show it", shown, seeds);
    if (failed)
        g_test_fail();
}
