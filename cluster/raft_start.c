/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The first event: what was durable. */
#include "limits.h"
#include "raft_private.h"

/* ---- start */

/* Entries as libraft wants them at its start: terms, and the bytes of configurations. */
static int load(VvRaft *raft, const VvRaftStart *start, struct raft_entry **ret_entries, unsigned *ret_count, GBytes **ret_newest)
{
    uint64_t count = start->last_index + 1 - start->first_index;
    g_autofree struct raft_entry *entries = g_new0(struct raft_entry, MAX(count, 1));
    uint64_t term = 0;

    for (uint64_t i = 0; i < count; i++) {
        VvRaftEntry entry;
        int rv = raft->ops.read(raft->user, start->first_index + i, &entry);

        if (rv != 0)
            return rv;
        if (entry.term < term || entry.term > start->term || entry.term == 0)
            return -EUCLEAN;
        term = entry.term;
        entries[i].term = entry.term;
        entries[i].type = (enum raft_entry_type) entry.type;
        if (entry.type == VV_RAFT_CHANGE) {
            if (!vvr_conf_valid(entry.data, entry.data_bytes))
                return -EUCLEAN;
            entries[i].buf.base = g_memdup2(entry.data, entry.data_bytes);
            entries[i].buf.len = entry.data_bytes;
            if (entry.index > start->conf_index) {
                g_clear_pointer(ret_newest, g_bytes_unref);
                *ret_newest = g_bytes_new(entry.data, entry.data_bytes);
            }
        }
    }
    if (start->base_index == 0 && count > 0 && (start->first_index != 1 || entries[0].type != RAFT_CHANGE))
        return -EUCLEAN;
    *ret_entries = g_steal_pointer(&entries);
    *ret_count = (unsigned) count;
    return 0;
}

static bool is_sole_voter(const VvRaft *raft, GBytes *bytes)
{
    struct raft_configuration conf;
    unsigned voters = 0;
    bool me = false;

    if (!bytes || vvr_conf_decode(bytes, &conf) != 0)
        return false;
    for (unsigned i = 0; i < conf.n; i++) {
        voters += conf.servers[i].role == RAFT_VOTER;
        me |= conf.servers[i].role == RAFT_VOTER && conf.servers[i].id == raft->config.id;
    }
    raft_configuration_close(&conf);
    return me && voters == 1;
}

static int check_start(const VvRaftStart *start)
{
    if (start->first_index == 0 || start->first_index > start->base_index + 1 || start->last_index + 1 < start->first_index ||
        start->last_index < start->base_index)
        return -EUCLEAN;
    if (start->base_index > 0 && (start->base_index < VV_RAFT_BASE_MIN || start->base_term == 0 || start->base_term > start->term || !vvr_conf_valid(start->conf, start->conf_bytes)))
        return -EUCLEAN;
    if (start->term == 0 && (start->vote != 0 || start->last_index > 0))
        return -EUCLEAN;
    return 0;
}

/* What libraft is told at its start; the caller frees entries. */
static int fill_start(VvRaft *raft, const VvRaftStart *start, struct raft_snapshot_metadata *metadata, struct raft_event *event)
{
    g_autoptr(GBytes) newest = NULL;
    struct raft_entry *entries = NULL;
    unsigned count = 0;
    int rv;

    if (start->base_index > 0) {
        newest = g_bytes_new(start->conf, start->conf_bytes);
        metadata->index = start->base_index;
        metadata->term = start->base_term;
        metadata->configuration_index = start->conf_index;
        if (vvr_conf_decode(newest, &metadata->configuration) != 0)
            return -EUCLEAN;
        event->start.metadata = metadata;
        vvr_remember_conf(raft, start->conf_index, start->conf, start->conf_bytes);
    }
    rv = load(raft, start, &entries, &count, &newest);
    if (rv != 0)
        return rv;
    event->start.term = start->term;
    event->start.voted_for = start->vote;
    event->start.start_index = start->first_index;
    event->start.entries = entries;
    event->start.n_entries = count;
    /* libraft makes a sole voter leader at once, in the term that it finds (L6). */
    if (is_sole_voter(raft, newest)) {
        event->start.term = start->term + 1;
        event->start.voted_for = raft->config.id;
        rv = raft->ops.store_vote(raft->user, event->start.term, event->start.voted_for);
    }
    return rv;
}

int vv_raft_start(VvRaft *raft, uint64_t now_ms, const VvRaftStart *start)
{
    struct raft_snapshot_metadata metadata = { 0 };
    struct raft_event event = { .type = RAFT_START };
    int rv = check_start(start);

    g_assert(!raft->started);
    if (rv != 0)
        return rv;
    raft->now_ms = now_ms;
    raft->busy = true;
    raft->applied = raft->base_index = start->base_index;
    raft->base_term = start->base_term;
    raft_set_election_timeout(&raft->raft, raft->config.election_ms);
    raft_set_heartbeat_timeout(&raft->raft, raft->config.heartbeat_ms);
    rv = fill_start(raft, start, &metadata, &event);
    if (rv == 0)
        rv = vvr_step(raft, &event);
    for (unsigned i = 0; i < event.start.n_entries; i++)
        g_free(event.start.entries[i].buf.base);
    g_free(event.start.entries);
    if (event.start.metadata && (VV_RAFT_COPIES || rv != 0))
        raft_configuration_close(&metadata.configuration);
    if (rv == 0)
        rv = raft->error;
    if (rv != 0) {
        raft->busy = false;
        return rv;
    }
    raft->started = true;
    vvr_leave(raft);
    return raft->error;
}

void vv_raft_encode_voters(const uint64_t *ids, unsigned count, GByteArray *out)
{
    struct raft_configuration conf;
    struct raft_buffer buffer;

    raft_configuration_init(&conf);
    for (unsigned i = 0; i < count; i++) {
        char address[VVR_ADDRESS_BYTES];

        vvr_address(ids[i], address);
        g_assert(raft_configuration_add(&conf, ids[i], address, RAFT_VOTER) == 0);
    }
    g_assert(raft_configuration_encode(&conf, &buffer) == 0);
    g_byte_array_append(out, buffer.base, (guint) buffer.len);
    raft_free(buffer.base);
    raft_configuration_close(&conf);
}
