/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The toy cluster as a whole: how it begins, what is asked of it, and whether it has come to rest. */
#include "whole.h"

#include <stdlib.h>

/* ---- what is asked of the cluster */

static void ask(SimNode *node, VvEntry *entry)
{
    Data *data = node->sim->user;
    DataNode *d = data_node(node);

    entry->request = (VvRequestId) { node->id, ++data->requests };
    if (d && !node->stopped)
        vv_cluster_request(d->cluster, entry);
}

void whole_snapshot(SimNode *node)
{
    static const uint64_t luns[DATA_LUNS] = { 0, 1 };
    Data *data = node->sim->user;
    VvEntry entry = { .kind = VV_ENTRY_SNAPSHOT, .f.luns = luns, .f.luns_count = DATA_LUNS };

    /* What was acknowledged before the newest request need not be in an older one's: take what all have in common. */
    data->request_effective = data->asked_snapshots > data->done_snapshots ? data->request_effective : data->effective;
    data->asked_snapshots = data->done_snapshots + 1;
    ask(node, &entry);
}

void whole_remove(SimNode *node, uint64_t pick)
{
    const DataNode *d = data_node(node);
    VvEntry entry = { .kind = VV_ENTRY_REMOVE };

    if (!d || !d->map.snapshots[pick % DATA_SNAPSHOTS].id)
        return;
    entry.f.object = d->map.snapshots[pick % DATA_SNAPSHOTS].id;
    ask(node, &entry);
}

void whole_fenced(SimNode *node, VvHolder session)
{
    VvEntry entry = { .kind = VV_ENTRY_FENCED, .f.node = session.node, .f.session = session.session };

    ask(node, &entry);
}

void whole_release(SimNode *node, uint64_t pick)
{
    DataNode *d = data_node(node);
    VvRange range = { pick % DATA_LUNS, pick / 4 % DATA_BLOCKS, DATA_BLOCKS };

    if (d && !node->stopped)
        vv_member_release(vv_cluster_member(d->cluster), sim_local_ms(node), &range);
}

/* ---- the end of a walk: all is well again, so everything comes to rest */

bool whole_at_rest(Sim *sim, uint64_t argument)
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

const char *whole_why_not(Sim *sim)
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

void whole_read_everything(Sim *sim)
{
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 1; i <= sim->config.nodes; i++)
            for (unsigned j = 0; j < DATA_LUNS * DATA_BLOCKS; j++) {
                if (pass == 0)
                    data_read(sim->nodes[i], j / DATA_BLOCKS, j % DATA_BLOCKS);
                for (unsigned s = 0; pass == 1 && s < DATA_SNAPSHOTS; s++)
                    data_read_snapshot(sim->nodes[i], s, j / DATA_BLOCKS, j % DATA_BLOCKS);
                sim_wake(sim->nodes[i]);
                if (!sim_run_until(sim, 30000000, whole_at_rest, 0))
                    return sim_fail(sim, "at the end: %s", whole_why_not(sim));
            }
}

static bool has_node(Sim *sim, uint64_t id)
{
    const Data *data = sim->user;

    return data->truth->next_node > id;
}

/* Asked again until it is done: the message may be lost. */
bool whole_add_nodes(Sim *sim)
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

bool whole_has_leader(Sim *sim, uint64_t argument)
{
    SimNode *leader = sim_leader(sim);

    (void) argument;
    return leader && vv_raft_ready(leader->raft);
}

