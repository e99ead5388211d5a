/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions, leases, snapshots and removals on a virtual clock, with the toy data layer (data.h): random walks with every rule on find
 * nothing; with a rule off, a violation within a bounded number of steps. */
#include "data.h"
#include "rules.h"
#include "script.h"

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

/* ---- what is asked of the cluster */

static void ask(SimNode *node, VvEntry *entry)
{
    Data *data = node->sim->user;
    DataNode *d = data_node(node);

    entry->request = (VvRequestId) { node->id, ++data->requests };
    if (d && !node->stopped)
        vv_cluster_request(d->cluster, entry);
}

static void snapshot(SimNode *node)
{
    static const uint64_t luns[DATA_LUNS] = { 0, 1 };
    Data *data = node->sim->user;
    VvEntry entry = { .kind = VV_ENTRY_SNAPSHOT, .f.luns = luns, .f.luns_count = DATA_LUNS };

    /* What was acknowledged before the newest request need not be in an older one's: take what all have in common. */
    data->request_effective = data->asked_snapshots > data->done_snapshots ? data->request_effective : data->effective;
    data->asked_snapshots = data->done_snapshots + 1;
    ask(node, &entry);
}

static void remove_snapshot(SimNode *node, uint64_t pick)
{
    const DataNode *d = data_node(node);
    VvEntry entry = { .kind = VV_ENTRY_REMOVE };

    if (!d || !d->map.snapshots[pick % DATA_SNAPSHOTS].id)
        return;
    entry.f.object = d->map.snapshots[pick % DATA_SNAPSHOTS].id;
    ask(node, &entry);
}

static void release(SimNode *node, uint64_t pick)
{
    DataNode *d = data_node(node);
    VvRange range = { pick % DATA_LUNS, pick / 4 % DATA_BLOCKS, DATA_BLOCKS };

    if (d && !node->stopped)
        vv_member_release(vv_cluster_member(d->cluster), sim_local_ms(node), &range);
}

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
        snapshot(node);
        break;
    case REMOVE:
        remove_snapshot(node, step->b);
        break;
    case RELEASE:
        release(node, step->b);
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

/* ---- the end of a walk: all is well again, so everything comes to rest */

static bool at_rest(Sim *sim, uint64_t argument)
{
    SimNode *leader = sim_leader(sim);

    (void) argument;
    if (!leader || !vv_raft_ready(leader->raft) || leader->applied_index != vv_raft_last(leader->raft))
        return false;
    for (unsigned i = 1; i <= sim->config.nodes; i++) {
        DataNode *d = data_node(sim->nodes[i]);

        if (!d || sim->nodes[i]->applied_index != leader->applied_index || !vv_member_alive(vv_cluster_member(d->cluster), sim_local_ms(d->node)) ||
            vv_member_gates(vv_cluster_member(d->cluster)) > 0 || d->jobs->len > 0)
            return false;
        for (unsigned j = 0; j < DATA_IOS; j++)
            if (d->ios[j].state != IO_NONE)
                return false;
    }
    return true;
}

static const char *why_not(Sim *sim)
{
    for (unsigned i = 1; i <= sim->config.nodes; i++) {
        DataNode *d = data_node(sim->nodes[i]);

        if (!d)
            return "a node is down";
        if (vv_member_gates(vv_cluster_member(d->cluster)) > 0)
            return "a gate is closed";
        if (!vv_member_alive(vv_cluster_member(d->cluster), sim_local_ms(d->node)))
            return "a node has no session";
        if (d->jobs->len > 0)
            return "something is not let go";
        for (unsigned j = 0; j < DATA_IOS; j++)
            if (d->ios[j].state != IO_NONE) {
                const DataIo *io = &d->ios[j];

                sim_trace(sim, "n%u: %s %s %u:%u place %u redirect %d, session %" G_GUINT64_FORMAT " fence %" G_GUINT64_FORMAT, i,
                    io->state == IO_SENT ? "sent" : "held", io->write ? "write" : "read", io->lun, io->block, io->place, io->redirect,
                    io->token.session, io->token.fence);
                return "a request is not answered";
            }
    }
    return "not all is applied";
}

static void read_everything(Sim *sim)
{
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 1; i <= sim->config.nodes; i++)
            for (unsigned j = 0; j < DATA_LUNS * DATA_BLOCKS; j++) {
                if (pass == 0)
                    data_read(sim->nodes[i], j / DATA_BLOCKS, j % DATA_BLOCKS);
                for (unsigned s = 0; pass == 1 && s < DATA_SNAPSHOTS; s++)
                    data_read_snapshot(sim->nodes[i], s, j / DATA_BLOCKS, j % DATA_BLOCKS);
                sim_wake(sim->nodes[i]);
                if (!sim_run_until(sim, 30000000, at_rest, 0))
                    return sim_fail(sim, "at the end: %s", why_not(sim));
            }
}

static bool has_node(Sim *sim, uint64_t id)
{
    const Data *data = sim->user;

    return data->truth->next_node > id;
}

/* Asked again until it is done: the message may be lost. */
static bool add_nodes(Sim *sim)
{
    Data *data = sim->user;
    unsigned tries = 100;

    while (data->truth->next_node <= sim->config.nodes && tries-- > 0) {
        SimNode *leader = sim_leader(sim);
        uint64_t id = data->truth->next_node;
        VvEntry entry = { .kind = VV_ENTRY_NODE_ADD, .request = { 100, id }, .f.node = id };

        if (leader) {
            vv_cluster_request(data_node(leader)->cluster, &entry);
            sim_wake(leader);
        }
        sim_run_until(sim, 500000, has_node, id);
    }
    return data->truth->next_node > sim->config.nodes;
}

static bool has_leader(Sim *sim, uint64_t argument)
{
    SimNode *leader = sim_leader(sim);

    (void) argument;
    return leader && vv_raft_ready(leader->raft);
}

static char *run(uint64_t seed, const SimStep *steps, unsigned count, bool verbose, void *user, uint64_t *ret_events)
{
    Setting *setting = user;
    SimConfig config = { .nodes = 2 + (unsigned) (seed % 2), .loss_permille = (unsigned) (seed % 3 * 15),
        .twice_permille = (unsigned) (seed % 2 * 40), .delay_us_min = 200, .delay_us_max = seed % 5 == 0 ? 30000 : 3000,
        .sync_us_max = seed % 4 == 0 ? 200000 : 10000, .drift_permille = 50, .election_ms = 150, .heartbeat_ms = 40,
        .trailing = (unsigned) (seed % 3 * 8), .chunk_bytes = 256 };
    Data data;
    Sim *sim = sim_new(seed, &config, &data_app, &data);
    static const uint64_t tempo[] = { 50, 200, 1000, 2000 }; /* us a ms: much at once, or time for sessions to end */
    uint64_t begin_us;
    char *violation;

    data_init(sim, &data, setting->shared);
    sim->verbose = verbose;
    sim_bootstrap(sim, config.nodes);
    if (!sim_run_until(sim, 20000000, has_leader, 0) || !add_nodes(sim) || !sim_run_until(sim, 20000000, at_rest, 0))
        sim_fail(sim, "the cluster does not begin: %s", why_not(sim));
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
        if (!sim_run_until(sim, 60000000, at_rest, 0) && !sim->violation)
            sim_fail(sim, "60 s after all is well: %s", why_not(sim));
        if (!sim->violation)
            read_everything(sim);
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
    SimWalk walk = { shared ? "shared disk" : "served disk", ACTIONS, weights, names, 60, run, &setting };

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
            SimWalk walk = { rules[rule].name, ACTIONS, weights, names, 60, run, &setting };
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
    SimWalk walk = { rules[missed[i].rule].name, ACTIONS, weights, names, 60, run, &setting };
    g_autoptr(SimFinding) finding = NULL;

    vv_rules_off = (uint64_t) 1 << missed[i].rule;
    finding = sim_walk(&walk, 1, missed[i].runs, 160, false);
    vv_rules_off = 0;
    g_test_message("without: %s: %s (%" G_GUINT64_FORMAT " walks, %" G_GUINT64_FORMAT " events)", rules[missed[i].rule].text,
        finding->violation ? finding->violation : "nothing", finding->walks, finding->events);
    g_assert_nonnull(finding->violation);
}

int main(int argc, char **argv)
{
    if (getenv("VV_SIM_SURVEY"))
        return survey((unsigned) strtoul(getenv("VV_SIM_SURVEY"), NULL, 10));
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sim/cluster/served-disk", test_served);
    g_test_add_func("/sim/cluster/shared-disk", test_shared);
    for (guint i = 0; i < G_N_ELEMENTS(missed); i++) {
        g_autofree char *path = g_strdup_printf("/sim/cluster/without/%s", rules[missed[i].rule].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_rule);
    }
    return g_test_run();
}
