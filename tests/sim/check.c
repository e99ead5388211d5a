/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raft's properties, held against everything that any node ever wrote, committed or applied:
 *   election safety       at most one leader a term
 *   log matching          an index and a term name one entry, and one log before it
 *   leader completeness   a new leader's log has all that was committed in terms before its own; who was stopped may win a term that is past
 *   state machine safety  an index is committed as one entry only; equal indexes, equal states */
#include "sim.h"

static uint64_t hash_entry(const SimEntry *entry, uint64_t before)
{
    gsize length;
    const uint8_t *data = g_bytes_get_data(entry->data, &length);
    uint64_t hash = 1469598103934665603ull ^ before ^ ((uint64_t) entry->type << 56);

    for (gsize i = 0; i < length; i++)
        hash = (hash ^ data[i]) * 1099511628211ull;
    return hash | 1;
}

static uint64_t known_hash(Sim *sim, uint64_t index, uint64_t term)
{
    uint64_t key[2] = { index, term };

    return (uint64_t) (uintptr_t) g_hash_table_lookup(sim->entries, key);
}

void sim_check_append(SimNode *node, const SimEntry *entry, const SimEntry *before)
{
    Sim *sim = node->sim;
    uint64_t before_hash = 0, hash, known;
    uint64_t key[2] = { entry->index, entry->term };

    if (before)
        before_hash = known_hash(sim, before->index, before->term);
    else if (entry->index > 1 && node->disk.base_index == entry->index - 1)
        before_hash = known_hash(sim, node->disk.base_index, node->disk.base_term);
    hash = hash_entry(entry, before_hash * 31);
    known = known_hash(sim, entry->index, entry->term);
    if (known && known != hash)
        sim_fail(sim, "log matching: n%" G_GUINT64_FORMAT " has another entry %" G_GUINT64_FORMAT " of term %" G_GUINT64_FORMAT, node->id,
            entry->index, entry->term);
    if (!known)
        g_hash_table_insert(sim->entries, g_memdup2(key, sizeof key), (gpointer) (uintptr_t) hash);
}

static void check_leader(Sim *sim, SimNode *node)
{
    uint64_t term = vv_raft_term(node->raft);
    const uint64_t *leader;

    if (!vv_raft_is_leader(node->raft) || node->checked_leader == term)
        return;
    node->checked_leader = term;
    sim_trace(sim, "n%" G_GUINT64_FORMAT " leads term %" G_GUINT64_FORMAT, node->id, term);
    leader = g_hash_table_lookup(sim->leaders, &term);
    if (leader && *leader != (node->id << 32 | node->life))
        sim_fail(sim, "election safety: n%" G_GUINT64_FORMAT " and n%" G_GUINT64_FORMAT " lead term %" G_GUINT64_FORMAT, *leader >> 32,
            node->id, term);
    if (!leader) {
        uint64_t value = node->id << 32 | node->life;

        g_hash_table_insert(sim->leaders, g_memdup2(&term, 8), g_memdup2(&value, 8));
    }
    for (guint i = 0; i < sim->committed->len; i++) {
        const uint64_t *committed = (const uint64_t *) (void *) sim->committed->data + (size_t) i * 3;
        const SimEntry *entry = sim_disk_entry(node, i + 1);

        if (committed[0] == 0 || committed[2] >= term || i + 1 <= node->disk.base_index)
            continue;
        if (!entry || entry->term != committed[0])
            sim_fail(sim, "leader completeness: n%" G_GUINT64_FORMAT " leads term %" G_GUINT64_FORMAT " without entry %u", node->id, term,
                i + 1);
    }
}

void sim_check_commit(Sim *sim, SimNode *node)
{
    uint64_t commit = vv_raft_commit(node->raft);

    while (node->committed < commit) {
        const SimEntry *entry = sim_disk_entry(node, node->committed + 1);
        uint64_t *committed;

        if (!entry)
            break;
        if (sim->committed->len < entry->index)
            g_array_set_size(sim->committed, (guint) entry->index);
        committed = (uint64_t *) (void *) sim->committed->data + (size_t) (entry->index - 1) * 3;
        if (committed[0] == 0) {
            committed[0] = entry->term;
            committed[1] = known_hash(sim, entry->index, entry->term);
            committed[2] = vv_raft_term(node->raft);
            if (sim->app->committed && entry->index == sim->committed_last + 1) {
                sim->committed_last++;
                sim->app->committed(sim, entry);
            }
        } else if (committed[0] != entry->term || committed[1] != known_hash(sim, entry->index, entry->term)) {
            sim_fail(sim, "state machine safety: n%" G_GUINT64_FORMAT " commits %" G_GUINT64_FORMAT " of term %" G_GUINT64_FORMAT
                          ", it was of term %" G_GUINT64_FORMAT, node->id, entry->index, entry->term, committed[0]);
        }
        node->committed++;
    }
}

void sim_check(Sim *sim, SimNode *node)
{
    if (!node->up || sim->violation)
        return;
    if (vv_raft_error(node->raft) != 0) {
        sim_fail(sim, "n%" G_GUINT64_FORMAT " failed: %s", node->id, g_strerror(-vv_raft_error(node->raft)));
        return;
    }
    sim_check_commit(sim, node);
    check_leader(sim, node);
}

/* All that applied the same index hold the same. */
void sim_check_digest(SimNode *node, uint64_t index, uint64_t digest)
{
    Sim *sim = node->sim;
    const uint64_t *known = g_hash_table_lookup(sim->digests, &index);

    if (known && *known != digest)
        sim_fail(sim, "n%" G_GUINT64_FORMAT " holds another state of index %" G_GUINT64_FORMAT, node->id, index);
    if (!known)
        g_hash_table_insert(sim->digests, g_memdup2(&index, 8), g_memdup2(&digest, 8));
}
