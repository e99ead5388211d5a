/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raft as we drive it: the paper's figure 8, and random walks with crashes, partitions, slow disks, state sync and changes of members. */
#include "entry.h"
#include "message.h"
#include "script.h"
#include "sim.h"

#include <stdlib.h>

/* ---- the layer above: the replicated state alone */

static void born(SimNode *node)
{
    node->app = vv_state_new();
}

static void died(SimNode *node)
{
    vv_state_free(node->app);
    node->app = NULL;
}

static bool apply(SimNode *node, const VvRaftEntry *raw)
{
    VvEntry entry = { 0 };
    VvApplied applied;
    bool ours = raw->type == VV_RAFT_COMMAND && vv_entry_decode(raw->data, raw->data_bytes, &entry);

    if (raw->type == VV_RAFT_COMMAND && !ours)
        sim_fail(node->sim, "n%" G_GUINT64_FORMAT " cannot decode %" G_GUINT64_FORMAT, node->id, raw->index);
    vv_state_apply(node->app, raw->index, raw->term, ours ? &entry : NULL, NULL, NULL, &applied);
    vv_entry_clear(&entry);
    sim_check_digest(node, raw->index, vv_state_digest(node->app));
    return true;
}

static void save(SimNode *node, GByteArray *out)
{
    vv_state_encode(node->app, out);
}

static void load(SimNode *node, const uint8_t *data, size_t data_bytes)
{
    VvClusterState *state = data ? vv_state_decode(data, data_bytes) : vv_state_new();

    if (!state) {
        sim_fail(node->sim, "n%" G_GUINT64_FORMAT " got a state that does not decode", node->id);
        return;
    }
    vv_state_free(node->app);
    node->app = state;
}

static const SimApp app = { .born = born, .died = died, .apply = apply, .save = save, .load = load };

static int propose(SimNode *node, uint64_t what, uint64_t *ret_index)
{
    const VvClusterState *state = node->app;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint64_t id = state->next_node > 1 ? 1 + what / 8 % (state->next_node - 1) : 1;
    VvHolder holder = { id, vv_state_session(state, id) };
    const VvNodeState *known = vv_state_node(state, id);
    VvEntry entry = { .kind = VV_ENTRY_CONFIG, .f.node = id, .f.body = (const uint8_t *) &what, .f.body_bytes = sizeof what };

    switch (what % 8) {
    case 0:
        entry.kind = VV_ENTRY_NODE_ADD;
        entry.f.node = state->next_node;
        break;
    case 1:
        entry.kind = VV_ENTRY_SESSION;
        entry.f.nonce = what;
        entry.f.number = known ? known->last_session : 0;
        break;
    case 2:
    case 3:
        entry.kind = holder.session ? VV_ENTRY_GRANT : VV_ENTRY_NOOP;
        entry.f.session = holder.session;
        entry.f.range = (VvRange) { what / 64 % 3, what / 256 % 8, what / 256 % 8 + 1 + what / 4096 % 4 };
        entry.f.mode = what / 65536 % 2 ? VV_LEASE_READ : VV_LEASE_WRITE;
        break;
    case 4:
        entry.kind = holder.session ? VV_ENTRY_RELEASE : VV_ENTRY_NOOP;
        entry.f.session = holder.session;
        entry.f.seq = known && holder.session ? known->seq + 1 : 1;
        entry.f.range = (VvRange) { what / 64 % 3, what / 256 % 8, what / 256 % 8 + 1 + what / 4096 % 4 };
        break;
    default:
        entry.request = (VvRequestId) { 1 + what % 3, what / 64 % 32 };
        break;
    }
    vv_entry_encode(bytes, &entry);
    return vv_raft_propose(node->raft, sim_local_ms(node), bytes->data, bytes->len, ret_index);
}

/* ---- walks */

enum { PROPOSE, CRASH, START, BLOCK, UNBLOCK, ISOLATE, JOIN, STOP, GO, SLOW, CHECKPOINT, ADD, PROMOTE, REMOVE, TRANSFER, ACTIONS };

static const unsigned weights[ACTIONS] = { 60, 4, 6, 6, 6, 3, 4, 2, 4, 3, 6, 2, 2, 1, 2 };
static const char *const names[ACTIONS] = { "propose", "crash", "start", "block", "unblock", "isolate", "join", "stop", "go", "slow",
    "checkpoint", "add", "promote", "remove", "transfer" };

static void change_members(Sim *sim, const SimStep *step, uint64_t target)
{
    uint64_t *removed = sim->user;
    SimNode *leader = sim_leader(sim);
    uint64_t now;

    if (!leader)
        return;
    now = sim_local_ms(leader);
    switch (step->action) {
    case ADD: /* an id that was removed is never used again */
        if (!(*removed >> target & 1))
            vv_raft_add(leader->raft, now, target);
        break;
    case PROMOTE:
        vv_raft_promote(leader->raft, now, target);
        break;
    case REMOVE:
        if (vv_raft_remove(leader->raft, now, target) == 0)
            *removed |= (uint64_t) 1 << target;
        break;
    default:
        vv_raft_transfer(leader->raft, now, target);
        break;
    }
    sim_wake(leader);
}

static void act(Sim *sim, const SimStep *step)
{
    SimNode *node = sim->nodes[1 + step->a % sim->config.nodes];
    uint64_t other = 1 + step->b % sim->config.nodes, index;

    sim_trace(sim, "== %s n%" G_GUINT64_FORMAT " n%" G_GUINT64_FORMAT, names[step->action], node->id, other);
    switch (step->action) {
    case PROPOSE: /* to whoever thinks that it leads */
        for (unsigned i = 1; i <= sim->config.nodes; i++) {
            SimNode *leader = sim->nodes[1 + (step->a + i) % sim->config.nodes];

            if (leader->up && !leader->stopped && vv_raft_ready(leader->raft)) {
                propose(leader, step->b, &index);
                sim_wake(leader);
                break;
            }
        }
        break;
    case CRASH:
        sim_crash(node);
        break;
    case START:
        if (!node->up)
            sim_start(node);
        break;
    case BLOCK:
    case UNBLOCK:
        sim_block(sim, node->id, other, step->action == BLOCK);
        break;
    case ISOLATE:
    case JOIN:
        sim_isolate(sim, node->id, step->action == ISOLATE);
        break;
    case STOP:
    case GO:
        sim_stop(node, step->action == STOP);
        break;
    case SLOW:
        node->disk.sync_us = 500 + step->b % sim->config.sync_us_max;
        break;
    case CHECKPOINT:
        sim_checkpoint(node);
        break;
    default:
        change_members(sim, step, other);
        break;
    }
}

static bool all_equal(Sim *sim, uint64_t argument)
{
    SimNode *leader = sim_leader(sim);
    VvRaftRole role;
    uint64_t id;

    (void) argument;
    if (!leader || !vv_raft_ready(leader->raft) || vv_raft_change_pending(leader->raft) ||
        leader->applied_index != vv_raft_last(leader->raft))
        return false;
    for (unsigned i = 0; vv_raft_member(leader->raft, i, &id, &role); i++)
        if (!sim->nodes[id]->up || sim->nodes[id]->applied_index != leader->applied_index ||
            vv_state_digest(sim->nodes[id]->app) != vv_state_digest(leader->app))
            return false;
    return true;
}

static SimConfig walk_config(uint64_t seed, unsigned nodes)
{
    return (SimConfig) { .nodes = nodes, .loss_permille = (unsigned) (seed % 3 * 40), .twice_permille = (unsigned) (seed % 2 * 60), .delay_us_min = 200,
        .delay_us_max = seed % 5 == 0 ? 60000 : 4000, .sync_us_max = seed % 4 == 0 ? 300000 : 10000, .drift_permille = 50,
        .election_ms = 150, .heartbeat_ms = 40, .inflight_max = seed % 7 == 0 ? 1 : 0, .trailing = (unsigned) (seed % 3 * 4),
        .chunk_bytes = 64, .votes_stall = seed % 2, .prompt = seed % 4 < 2 };
}

static char *run(uint64_t seed, const SimStep *steps, unsigned count, bool verbose, void *user, uint64_t *ret_events)
{
    static const unsigned voters[] = { 1, 2, 3, 3, 5, 3, 4 };
    unsigned first = voters[seed % G_N_ELEMENTS(voters)];
    SimConfig config = walk_config(seed, MIN(first + 2, 7));
    uint64_t removed = 0;
    Sim *sim = sim_new(seed, &config, &app, &removed);
    char *violation;

    (void) user;
    sim->verbose = verbose;
    sim_bootstrap(sim, first);
    for (unsigned i = 0; i < count && !sim->violation; i++) {
        uint64_t at_us = 1000000 + steps[i].time_ms * 1000;

        if (at_us > sim->now_us)
            sim_run(sim, at_us - sim->now_us);
        if (!sim->violation)
            act(sim, &steps[i]);
    }
    sim_trace(sim, "== all well");
    if (!sim->violation)
        sim_heal(sim);
    if (!sim->violation && !sim_run_until(sim, 60000000, all_equal, 0))
        sim_fail(sim, "60 s after all is well the members are not equal");
    *ret_events = sim->events;
    violation = g_strdup(sim->violation);
    sim_free(sim);
    return violation;
}

static void test_walks(void)
{
    SimWalk walk = { "raft", ACTIONS, weights, names, 60, run, NULL, 0 };

    sim_walk_test(&walk, 60, 150);
}

/* ---- figure 8 */

typedef struct {
    bool allowed[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    uint64_t term_max; /* of entries that pass */
    bool all;
} Figure;

/* Appends with entries go only where the figure wants them, and as heartbeats elsewhere; everything else passes. */
static bool figure_filter(Sim *sim, uint64_t from, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    const Figure *figure = sim->user;
    VvReader in = vv_reader(body, body_bytes);
    uint8_t heartbeat[12 + 24 + 4];

    if (figure->all || kind != VV_MESSAGE_RAFT_APPEND)
        return true;
    vv_read_bytes(&in, 12 + 24);
    if (vv_read_u32(&in) == 0)
        return true;
    if (figure->allowed[from][to] && vv_read_u64(&in) <= figure->term_max)
        return true;
    memcpy(heartbeat, body, sizeof heartbeat);
    vv_put_u32(heartbeat + 12 + 24, 0);
    sim_send(sim->nodes[from], to, kind, heartbeat, sizeof heartbeat);
    return false;
}

static bool is_ready(Sim *sim, uint64_t id)
{
    SimNode *node = sim->nodes[id];

    return node->up && vv_raft_ready(node->raft);
}

static bool leads(Sim *sim, uint64_t id)
{
    return sim->nodes[id]->up && vv_raft_is_leader(sim->nodes[id]->raft);
}

static bool somebody_leads(Sim *sim, uint64_t argument)
{
    SimNode *leader = sim_leader(sim);

    (void) argument;
    return leader && vv_raft_ready(leader->raft);
}

static uint64_t wanted_index;

static bool has_wanted(Sim *sim, uint64_t id)
{
    return sim_disk_entry(sim->nodes[id], wanted_index) && sim->nodes[id]->disk.synced->len >= wanted_index;
}

/* (a) A leads and brings X to B alone. (b) It crashes; E leads a later term, writes its first entry where X is, and crashes before anybody
 * has it. (c) A leads again and brings X to C too: a majority has it, but it is not committed, for no entry of A's new term is. Then
 * either (d) A crashes, E comes back and rightly overwrites X, or (e) A's entry comes to a majority: both are committed and E cannot win. */
static void figure8(bool committed)
{
    SimConfig config = { .nodes = 5, .delay_us_min = 300, .delay_us_max = 900, .sync_us_max = 1000, .election_ms = 150, .heartbeat_ms = 40,
        .inflight_max = 1 };
    Figure figure = { .all = true };
    Sim *sim = sim_new(8, &config, &app, &figure);
    uint64_t a, b, c, d, e, x, term, other;
    SimNode *leader;

    sim->verbose = getenv("VV_SIM_VERBOSE") != NULL;
    sim->filter = figure_filter;
    sim_bootstrap(sim, 5);
    g_assert_true(sim_run_until(sim, 20000000, somebody_leads, 0));
    sim_run(sim, 1000000);
    leader = sim_leader(sim);
    a = leader->id;
    b = a % 5 + 1, c = b % 5 + 1, d = c % 5 + 1, e = d % 5 + 1;
    /* (a) */
    figure.all = false;
    figure.allowed[a][b] = true;
    figure.term_max = term = vv_raft_term(leader->raft);
    g_assert_cmpint(propose(leader, 6, &x), ==, 0);
    sim_wake(leader);
    wanted_index = x;
    g_assert_true(sim_run_until(sim, 2000000, has_wanted, b));
    sim_crash(leader);
    g_assert_null(sim_disk_entry(sim->nodes[c], x));
    /* (b) E alone may win: the others cannot be heard when they ask. */
    sim_isolate(sim, b, true);
    for (other = 1; other <= 5; other++)
        if (other != e)
            sim_block(sim, c, other, other != e), sim_block(sim, d, other, other != e);
    g_assert_true(sim_run_until(sim, 20000000, leads, e));
    sim_run(sim, 100000);
    g_assert_cmpuint(sim_disk_entry(sim->nodes[e], x)->term, >, term);
    sim_crash(sim->nodes[e]);
    /* (c) */
    memset(sim->blocked, 0, sizeof sim->blocked);
    sim_block(sim, c, d, true), sim_block(sim, d, c, true);
    sim_isolate(sim, b, true);
    sim_start(sim->nodes[a]);
    g_assert_true(sim_run_until(sim, 20000000, leads, a));
    sim_isolate(sim, b, false);
    memset(sim->blocked, 0, sizeof sim->blocked);
    figure.allowed[a][c] = true;
    g_assert_true(sim_run_until(sim, 5000000, has_wanted, c));
    sim_run(sim, 500000);
    g_assert_true(leads(sim, a));
    g_assert_cmpuint(sim_disk_entry(sim->nodes[a], x)->term, ==, term);
    g_assert_cmpuint(sim_disk_entry(sim->nodes[b], x)->term, ==, term);
    g_assert_cmpuint(sim_disk_entry(sim->nodes[c], x)->term, ==, term);
    g_assert_cmpuint(vv_raft_commit(sim->nodes[a]->raft), <, x);
    if (committed) {
        figure.term_max = UINT64_MAX;
        g_assert_true(sim_run_until(sim, 5000000, is_ready, a));
        g_assert_cmpuint(vv_raft_commit(sim->nodes[a]->raft), >, x);
    }
    sim_crash(sim->nodes[a]);
    figure.all = true;
    if (!committed)
        sim_block(sim, b, c, true), sim_block(sim, b, d, true); /* so that it is E that asks */
    sim_start(sim->nodes[e]);
    if (!committed)
        g_assert_true(sim_run_until(sim, 30000000, is_ready, e));
    sim_heal(sim);
    g_assert_true(sim_run_until(sim, 60000000, all_equal, 0));
    for (other = 1; other <= 5; other++)
        g_assert_cmpint(sim_disk_entry(sim->nodes[other], x)->term == term, ==, committed);
    g_assert_cmpstr(sim->violation, ==, NULL);
    sim_free(sim);
}

static void test_figure8_overwritten(void)
{
    figure8(false);
}

static void test_figure8_committed(void)
{
    figure8(true);
}

/* ---- what is done is seen everywhere before the next heartbeat */

static bool some_leader_ready(Sim *sim, uint64_t argument)
{
    SimNode *leader = sim_leader(sim);

    (void) argument;
    return leader && vv_raft_ready(leader->raft);
}

static void test_told_at_once(void)
{
    SimConfig config = { .nodes = 3, .delay_us_min = 200, .delay_us_max = 2000, .sync_us_max = 5000, .election_ms = 8000, .heartbeat_ms = 2000,
        .prompt = true };
    uint64_t removed = 0, index = 0;
    Sim *sim = sim_new(3, &config, &app, &removed);
    SimNode *leader;

    sim_bootstrap(sim, 3);
    g_assert_true(sim_run_until(sim, 60000000, some_leader_ready, 0));
    sim_run(sim, 5000000);
    leader = sim_leader(sim);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpint(propose(leader, i, &index), ==, 0);
        sim_wake(leader);
        sim_run(sim, 100000);
        for (unsigned id = 1; id <= 3; id++)
            g_assert_cmpuint(sim->nodes[id]->applied_index, >=, index);
    }
    g_assert_cmpstr(sim->violation, ==, NULL);
    sim_free(sim);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sim/raft/figure-8-overwritten", test_figure8_overwritten);
    g_test_add_func("/sim/raft/figure-8-committed", test_figure8_committed);
    g_test_add_func("/sim/raft/told-at-once", test_told_at_once);
    g_test_add_func("/sim/raft/walks", test_walks);
    return g_test_run();
}
