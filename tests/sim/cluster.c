/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions, leases, snapshots and removals on a virtual clock, with the toy data layer (data.h): random walks with every rule on find
 * nothing; with a rule off, a violation within a bounded number of steps. */
#include "data.h"
#include "rules.h"
#include "script.h"
#include "whole.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WRITE, READ, READ_SNAPSHOT, FLUSH, SNAPSHOT, REMOVE, RELEASE, CRASH, START, STOP, GO, ISOLATE, JOIN, BLOCK, UNBLOCK, SLOW, CHECKPOINT,
    TRANSFER, WAIT, ACTIONS
};

static const unsigned weights[ACTIONS] = { 30, 24, 20, 10, 8, 5, 4, 4, 5, 3, 8, 2, 5, 3, 5, 2, 2, 1, 4 };
static const char *const names[ACTIONS] = { "write", "read", "read-snapshot", "flush", "snapshot", "remove", "release", "crash", "start",
    "stop", "go", "isolate", "join", "block", "unblock", "slow", "checkpoint", "transfer", "wait" };

typedef struct {
    bool shared;
    uint64_t done[5];
} Setting;

static void act_on_links(Sim *sim, const SimStep *step, SimNode *node, uint64_t other)
{
    switch (step->action) {
    case ISOLATE:
    case JOIN:
        sim_isolate(sim, node->id, step->action == ISOLATE);
        break;
    case BLOCK:
    case UNBLOCK:
        sim_block(sim, node->id, other, step->action == BLOCK);
        break;
    case SLOW:
        node->disk.sync_us = 500 + step->b % sim->config.sync_us_max;
        break;
    case CHECKPOINT:
        sim_checkpoint(node);
        break;
    case TRANSFER:
        if (node->up && !node->stopped)
            vv_raft_transfer(node->raft, sim_local_ms(node), other);
        break;
    default:
        break;
    }
}

static void come_back(Sim *sim, SimNode *nobody, uint64_t id)
{
    (void) nobody;
    if (!sim->nodes[id]->up)
        sim_start(sim->nodes[id]);
}

static void act(Sim *sim, const SimStep *step)
{
    SimNode *node = sim->nodes[1 + step->a % sim->config.nodes];
    unsigned lun = (unsigned) (step->b % DATA_LUNS), block = (unsigned) (step->b / DATA_LUNS % DATA_BLOCKS);
    uint64_t other = 1 + step->b % sim->config.nodes;

    sim_trace(sim, "== %s n%" G_GUINT64_FORMAT " %u:%u", names[step->action], node->id, lun, block);
    switch (step->action) {
    case WRITE:
        data_write(node, lun, block);
        break;
    case READ:
        data_read(node, lun, block);
        break;
    case READ_SNAPSHOT:
        data_read_snapshot(node, step->b / 8, lun, block);
        break;
    case FLUSH:
        data_flush(node, lun);
        break;
    case SNAPSHOT:
        whole_snapshot(node);
        break;
    case REMOVE:
        whole_remove(node, step->b);
        break;
    case RELEASE:
        whole_release(node, step->b);
        break;
    case CRASH: /* half of them are back soon; the disk's server dies as often as all others */
        if (step->b / 2 % 2)
            node = sim->nodes[1];
        sim_crash(node);
        if (step->b % 2)
            sim_anyhow(sim, 1000 + step->b % 200000, come_back, node->id);
        break;
    case START:
        if (!node->up)
            sim_start(node);
        break;
    case STOP:
    case GO:
        sim_stop(node, step->action == STOP);
        break;
    default:
        act_on_links(sim, step, node, other);
        break;
    }
    sim_wake(node);
}

static char *run(uint64_t seed, const SimStep *steps, unsigned count, bool verbose, void *user, uint64_t *ret_events)
{
    Setting *setting = user;
    SimConfig config = { .nodes = 2 + (unsigned) (seed % 2), .loss_permille = (unsigned) (seed % 3 * 15),
        .twice_permille = (unsigned) (seed % 2 * 40), .delay_us_min = 200, .delay_us_max = seed % 5 == 0 ? 30000 : 3000,
        .sync_us_max = seed % 4 == 0 ? 200000 : 10000, .drift_permille = 50, .election_ms = 150, .heartbeat_ms = 40,
        .trailing = (unsigned) (seed % 3 * 8), .chunk_bytes = 256, .votes_stall = seed % 10 == 9,
        .prompt = seed / 2 % 2 && vv_rules_off == 0 };
    Data data;
    Sim *sim = sim_new(seed, &config, &data_app, &data);
    static const uint64_t tempo[] = { 50, 200, 1000, 2000 }; /* us a ms: much at once, or time for sessions to end */
    uint64_t begin_us;
    char *violation;

    data_init(sim, &data, setting->shared);
    sim->verbose = verbose;
    sim_bootstrap(sim, config.nodes);
    if (!sim_run_until(sim, 20000000, whole_has_leader, 0) || !whole_add_nodes(sim) || !sim_run_until(sim, 20000000, whole_at_rest, 0))
        sim_fail(sim, "the cluster does not begin: %s", whole_why_not(sim));
    begin_us = sim->now_us;
    for (unsigned i = 0; i < count && !sim->violation; i++) {
        uint64_t at_us = begin_us + steps[i].time_ms * tempo[seed / 2 % 4];

        if (at_us > sim->now_us)
            sim_run(sim, at_us - sim->now_us);
        if (!sim->violation)
            act(sim, &steps[i]);
    }
    sim_trace(sim, "== all well");
    if (!sim->violation) {
        sim_heal(sim);
        if (!sim_run_until(sim, 60000000, whole_at_rest, 0) && !sim->violation)
            sim_fail(sim, "60 s after all is well: %s", whole_why_not(sim));
        if (!sim->violation)
            whole_read_everything(sim);
    }
    setting->done[0] += data.done_writes, setting->done[1] += data.done_reads, setting->done[2] += data.done_snapshots;
    setting->done[3] += data.done_purges, setting->done[4] += data.done_snapshot_reads;
    *ret_events = sim->events;
    violation = g_strdup(sim->violation);
    sim_free(sim);
    data_clear(&data);
    return violation;
}

static void walks(bool shared)
{
    Setting setting = { .shared = shared };
    SimWalk walk = { shared ? "shared disk" : "served disk", ACTIONS, weights, names, 60, run, &setting, 0 };

    vv_rules_off = 0;
    sim_walk_test(&walk, 40, 160);
    g_test_message("%" G_GUINT64_FORMAT " writes, %" G_GUINT64_FORMAT " reads, %" G_GUINT64_FORMAT " snapshots, %" G_GUINT64_FORMAT
                   " purges, %" G_GUINT64_FORMAT " reads of snapshots", setting.done[0], setting.done[1], setting.done[2],
        setting.done[3], setting.done[4]);
}

static void test_served(void)
{
    walks(false);
}

static void test_shared(void)
{
    walks(true);
}

/* ---- every rule is needed */

static const struct {
    const char *name;
    const char *text;
} rules[] = {
#define X(rule, what) { #rule, what },
    VV_RULES(X)
#undef X
};

/* Which rules are found by walks, and how soon: for those who change the walks. */
static int survey(unsigned runs)
{
    const char *only = getenv("VV_SIM_RULES"); /* names, if not all */

    for (unsigned rule = 0; rule < VV_RULE_COUNT; rule++)
        for (unsigned shared = 0; shared < 2; shared++) {
            Setting setting = { .shared = shared };
            SimWalk walk = { rules[rule].name, ACTIONS, weights, names, 60, run, &setting, 0 };
            g_autoptr(SimFinding) finding = NULL;

            if (only && !strstr(only, rules[rule].name))
                continue;
            vv_rules_off = (uint64_t) 1 << rule;
            finding = sim_walk(&walk, 1, runs, 160, false);
            printf("# %-18s %s %5" G_GUINT64_FORMAT " walks %9" G_GUINT64_FORMAT " events: %s\n", rules[rule].name,
                shared ? "shared" : "served", finding->walks, finding->events, finding->violation ? finding->violation : "-");
            fflush(stdout);
        }
    return 0;
}

/* Those that walks miss within seconds. What else the protocol has needs longer or more particular histories: `survey` says which. */
static const struct {
    VvRule rule;
    bool shared;
    unsigned runs; /* several times what it takes */
} missed[] = {
    { VV_RULE_NEW_WAIT, false, 600 },
    { VV_RULE_SEQUENCE, false, 600 },
    { VV_RULE_POST_CHECK_WRITE, true, 600 },
    { VV_RULE_RELEASE_STOP, false, 100 },
    { VV_RULE_RELEASE_DRAIN, false, 100 },
    { VV_RULE_RELEASE_SYNC, false, 600 },
    { VV_RULE_RELEASE_JOURNAL, true, 100 },
    { VV_RULE_QUIESCE_DRAIN, false, 200 },
    { VV_RULE_QUIESCE_JOURNAL, true, 100 },
    { VV_RULE_QUIESCE_HOLD, false, 200 },
    { VV_RULE_QUIESCE_TERM, false, 200 },
    { VV_RULE_OPEN_NONCE, false, 600 },
    { VV_RULE_INCARNATION, false, 200 },
    { VV_RULE_REVALIDATE_READ, false, 100 },
    { VV_RULE_REVALIDATE_WRITE, false, 200 },
};

static void test_rule(gconstpointer which)
{
    guint i = GPOINTER_TO_UINT(which);
    Setting setting = { .shared = missed[i].shared };
    SimWalk walk = { rules[missed[i].rule].name, ACTIONS, weights, names, 60, run, &setting, 0 };
    g_autoptr(SimFinding) finding = NULL;

    vv_rules_off = (uint64_t) 1 << missed[i].rule;
    finding = sim_walk(&walk, 1, missed[i].runs, 160, false);
    vv_rules_off = 0;
    g_test_message("without: %s: %s (%" G_GUINT64_FORMAT " walks, %" G_GUINT64_FORMAT " events)", rules[missed[i].rule].text,
        finding->violation ? finding->violation : "nothing", finding->walks, finding->events);
    g_assert_nonnull(finding->violation);
}

/* A violation is told with its seed and few steps, which do it again. */
static void test_shortened(void)
{
    Setting setting = { .shared = false };
    SimWalk walk = { "shortened", ACTIONS, weights, names, 60, run, &setting, 0 };
    g_autoptr(SimFinding) finding = NULL;
    g_autofree char *again = NULL, *text = NULL, *seed = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t events;

    vv_rules_off = (uint64_t) 1 << VV_RULE_RELEASE_DRAIN;
    finding = sim_walk(&walk, 1, 100, 160, true);
    g_assert_nonnull(finding->violation);
    again = run(finding->seed, (const SimStep *) (void *) finding->steps->data, finding->steps->len, false, &setting, &events);
    vv_rules_off = 0;
    g_assert_cmpstr(again, ==, finding->violation);
    g_assert_cmpuint(finding->steps->len, >, 0);
    g_assert_cmpuint(finding->steps->len, <, 40);
    text = sim_finding_text(&walk, finding);
    seed = g_strdup_printf("# shortened: seed %" G_GUINT64_FORMAT ": %s; %u steps do it:\n", finding->seed, again, finding->steps->len);
    g_assert_true(g_str_has_prefix(text, seed));
    lines = g_strsplit(text, "\n", 0);
    for (guint i = 0; i < finding->steps->len; i++)
        g_assert_nonnull(strstr(lines[i + 1], names[g_array_index(finding->steps, SimStep, i).action]));
}

int main(int argc, char **argv)
{
    if (getenv("VV_SIM_SURVEY"))
        return survey((unsigned) strtoul(getenv("VV_SIM_SURVEY"), NULL, 10));
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sim/cluster/served-disk", test_served);
    g_test_add_func("/sim/cluster/shared-disk", test_shared);
    g_test_add_func("/sim/cluster/shortened", test_shortened);
    for (guint i = 0; i < G_N_ELEMENTS(missed); i++) {
        g_autofree char *path = g_strdup_printf("/sim/cluster/without/%s", rules[missed[i].rule].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_rule);
    }
    return g_test_run();
}
