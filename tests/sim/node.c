/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Birth and death of simulated nodes. */
#include "sim.h"

void sim_node_create(Sim *sim, uint64_t id)
{
    SimNode *node = g_new0(SimNode, 1);
    uint64_t drift = sim->config.drift_permille;

    node->sim = sim;
    node->id = id;
    node->offset_ms = (int64_t) sim_random(sim, 1000000);
    node->rate_ppm = 1000000 + (drift > 0 ? sim_random(sim, drift * 1000 + 1) : 0) - drift * 500;
    node->conf = g_byte_array_new();
    node->held = g_ptr_array_new();
    sim_disk_init(&node->disk);
    sim->nodes[id] = node;
}

void sim_bootstrap(Sim *sim, unsigned voters)
{
    g_autoptr(GByteArray) conf = g_byte_array_new();
    uint64_t ids[SIM_NODES_MAX];

    for (unsigned i = 0; i < voters; i++)
        ids[i] = i + 1;
    vv_raft_encode_voters(ids, voters, conf);
    for (unsigned i = 1; i <= voters; i++)
        sim_disk_bootstrap(sim->nodes[i], conf->data, conf->len);
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++)
        if (sim->nodes[i])
            sim_start(sim->nodes[i]);
}

void sim_start(SimNode *node)
{
    Sim *sim = node->sim;
    const SimDisk *disk = &node->disk;
    VvRaftConfig config = { .id = node->id, .seed = (uint32_t) sim_random(sim, UINT32_MAX), .election_ms = sim->config.election_ms,
        .heartbeat_ms = sim->config.heartbeat_ms, .inflight_max = sim->config.inflight_max, .prompt = sim->config.prompt, .trailing = sim->config.trailing,
        .chunk_bytes = sim->config.chunk_bytes };
    VvRaftStart start = { .term = disk->term, .vote = disk->vote, .base_index = disk->base_index, .base_term = disk->base_term,
        .conf_index = disk->conf_index, .conf = disk->conf->data, .conf_bytes = disk->conf->len, .first_index = disk->first,
        .last_index = disk->first + disk->log->len - 1 };
    int rv;

    g_assert(!node->up);
    sim_trace(sim, "n%" G_GUINT64_FORMAT " starts", node->id);
    node->up = true;
    node->stalled_until_us = 0;
    node->life++;
    node->raft = vv_raft_new(&config, &sim_raft_ops, node);
    node->applied_index = node->committed = disk->base_index;
    node->applied_term = disk->base_term;
    node->conf_index = disk->conf_index;
    g_byte_array_set_size(node->conf, 0);
    g_byte_array_append(node->conf, disk->conf->data, disk->conf->len);
    if (sim->app->born)
        sim->app->born(node);
    if (sim->app->load)
        sim->app->load(node, disk->base_index > 0 ? disk->state->data : NULL, disk->base_index > 0 ? disk->state->len : 0);
    rv = vv_raft_start(node->raft, sim_local_ms(node), &start);
    if (rv != 0)
        sim_fail(sim, "n%" G_GUINT64_FORMAT " does not start: %s", node->id, g_strerror(-rv));
    sim_wake(node);
}

void sim_crash(SimNode *node)
{
    if (!node->up)
        return;
    sim_stop(node, false);
    sim_trace(node->sim, "n%" G_GUINT64_FORMAT " crashes", node->id);
    if (node->sim->app->died)
        node->sim->app->died(node);
    vv_raft_free(node->raft);
    node->raft = NULL;
    node->up = false;
    sim_disk_crash(node);
}

void sim_checkpoint(SimNode *node)
{
    SimDisk *disk = &node->disk;

    if (!node->up || node->stopped || node->applied_index <= disk->base_index || node->applied_index < VV_RAFT_BASE_MIN || node->conf->len == 0)
        return;
    disk->base_index = node->applied_index;
    disk->base_term = node->applied_term;
    disk->conf_index = node->conf_index;
    g_byte_array_set_size(disk->conf, 0);
    g_byte_array_append(disk->conf, node->conf->data, node->conf->len);
    g_byte_array_set_size(disk->state, 0);
    if (node->sim->app->save)
        node->sim->app->save(node, disk->state);
    vv_raft_compact(node->raft, sim_local_ms(node), disk->base_index);
    sim_wake(node);
}

void sim_node_free(SimNode *node)
{
    sim_crash(node);
    g_ptr_array_free(node->held, TRUE);
    g_byte_array_unref(node->conf);
    sim_disk_clear(&node->disk);
    g_free(node);
}
