/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's log, vote and checkpoint on a disk that syncs late and loses what it has not synced. */
#include "sim.h"

static void entry_free(gpointer data)
{
    SimEntry *entry = data;

    g_bytes_unref(entry->data);
    g_free(entry);
}

static SimEntry *entry_copy(const SimEntry *entry)
{
    SimEntry *copy = g_memdup2(entry, sizeof *entry);

    g_bytes_ref(copy->data);
    return copy;
}

static void write_free(gpointer data)
{
    SimWrite *write = data;

    g_ptr_array_unref(write->entries);
    g_free(write);
}

void sim_disk_init(SimDisk *disk)
{
    disk->first = 1;
    disk->log = g_ptr_array_new_with_free_func(entry_free);
    disk->synced = g_ptr_array_new_with_free_func(entry_free);
    disk->writes = g_ptr_array_new_with_free_func(write_free);
    disk->conf = g_byte_array_new();
    disk->state = g_byte_array_new();
    disk->taken = g_byte_array_new();
    disk->sync_us = 1000;
}

void sim_disk_clear(SimDisk *disk)
{
    g_ptr_array_unref(disk->log);
    g_ptr_array_unref(disk->synced);
    g_ptr_array_unref(disk->writes);
    g_byte_array_unref(disk->conf);
    g_byte_array_unref(disk->state);
    g_byte_array_unref(disk->taken);
}

const SimEntry *sim_disk_entry(const SimNode *node, uint64_t index)
{
    const SimDisk *disk = &node->disk;

    if (index < disk->first || index >= disk->first + disk->log->len)
        return NULL;
    return disk->log->pdata[index - disk->first];
}

uint64_t sim_disk_last(const SimNode *node)
{
    return node->disk.first + node->disk.log->len - 1;
}

static void put(GPtrArray *log, uint64_t first, GPtrArray *entries)
{
    const SimEntry *head = entries->pdata[0];

    g_assert_cmpuint(head->index, >=, first);
    g_assert_cmpuint(head->index, <=, first + log->len);
    g_ptr_array_set_size(log, (int) (head->index - first));
    for (guint i = 0; i < entries->len; i++)
        g_ptr_array_add(log, entry_copy(entries->pdata[i]));
}

void sim_disk_bootstrap(SimNode *node, const uint8_t *conf, size_t conf_bytes)
{
    SimEntry entry = { .index = 1, .term = 1, .type = VV_RAFT_CHANGE, .data = g_bytes_new(conf, conf_bytes) };

    node->disk.term = 1;
    g_ptr_array_add(node->disk.log, entry_copy(&entry));
    g_ptr_array_add(node->disk.synced, entry_copy(&entry));
    sim_check_append(node, &entry, NULL);
    g_bytes_unref(entry.data);
}

/* The syncs under way reached the medium up to some point. */
void sim_disk_crash(SimNode *node)
{
    SimDisk *disk = &node->disk;
    guint kept = (guint) sim_random(node->sim, disk->writes->len + 1);

    for (guint i = 0; i < kept; i++)
        put(disk->synced, disk->first, ((SimWrite *) disk->writes->pdata[i])->entries);
    g_ptr_array_set_size(disk->writes, 0);
    g_ptr_array_set_size(disk->log, 0);
    for (guint i = 0; i < disk->synced->len; i++)
        g_ptr_array_add(disk->log, entry_copy(disk->synced->pdata[i]));
    g_byte_array_set_size(disk->taken, 0);
    disk->last_us = 0;
}

/* ---- VvRaftOps */

/* Two copies, each synced, by the thread that does everything else too. A crash meanwhile finds it written: nobody was told. */
static int store_vote(void *user, uint64_t term, uint64_t vote)
{
    SimNode *node = user;

    if (term < node->disk.term || (term == node->disk.term && node->disk.vote != 0 && vote != node->disk.vote))
        sim_fail(node->sim, "n%" G_GUINT64_FORMAT " takes its vote of term %" G_GUINT64_FORMAT " back", node->id, term);
    node->disk.term = term;
    node->disk.vote = vote;
    if (node->sim->config.votes_stall)
        node->stalled_until_us = node->sim->now_us + 2 * node->disk.sync_us;
    return 0;
}

static void stored(Sim *sim, SimNode *node, uint64_t ticket)
{
    SimDisk *disk = &node->disk;

    (void) sim;
    while (disk->writes->len > 0 && ((SimWrite *) disk->writes->pdata[0])->ticket <= ticket) {
        put(disk->synced, disk->first, ((SimWrite *) disk->writes->pdata[0])->entries);
        g_ptr_array_remove_index(disk->writes, 0);
    }
    vv_raft_stored(node->raft, sim_local_ms(node), ticket);
}

/* When what is put to the disk now will be durable: not before what was put before it. */
static uint64_t durable_in(SimNode *node)
{
    Sim *sim = node->sim;
    uint64_t time_us = sim->now_us + node->disk.sync_us / 2 + sim_random(sim, node->disk.sync_us);

    node->disk.last_us = MAX(node->disk.last_us + 1, time_us);
    return node->disk.last_us - sim->now_us;
}

static int append(void *user, const VvRaftEntry *entries, unsigned count, uint64_t ticket)
{
    SimNode *node = user;
    SimDisk *disk = &node->disk;
    SimWrite *write = g_new0(SimWrite, 1);

    write->ticket = ticket;
    write->entries = g_ptr_array_new_with_free_func(entry_free);
    for (unsigned i = 0; i < count; i++) {
        SimEntry *entry = g_new0(SimEntry, 1);

        *entry = (SimEntry) { .index = entries[i].index, .term = entries[i].term, .type = entries[i].type,
            .data = g_bytes_new(entries[i].data, entries[i].data_bytes) };
        g_ptr_array_add(write->entries, entry);
    }
    put(disk->log, disk->first, write->entries);
    for (unsigned i = 0; i < count; i++)
        sim_check_append(node, write->entries->pdata[i], sim_disk_entry(node, entries[i].index - 1));
    g_ptr_array_add(disk->writes, write);
    sim_at(node->sim, durable_in(node), node, stored, ticket);
    return 0;
}

static int read_entry(void *user, uint64_t index, VvRaftEntry *ret_entry)
{
    const SimEntry *entry = sim_disk_entry(user, index);
    gsize length;

    if (!entry)
        return -ENODATA;
    ret_entry->index = entry->index;
    ret_entry->term = entry->term;
    ret_entry->type = entry->type;
    ret_entry->data = g_bytes_get_data(entry->data, &length);
    ret_entry->data_bytes = length;
    return 0;
}

static void compact(void *user, uint64_t index)
{
    SimNode *node = user;
    SimDisk *disk = &node->disk;
    guint count;

    /* Only what is synced goes: a crash must find a log that begins at the base or before. */
    if (index < disk->first)
        return;
    count = (guint) MIN(index - disk->first + 1, disk->synced->len);
    if (count == 0)
        return;
    for (guint i = 0; i < disk->writes->len; i++) {
        const SimEntry *head = ((SimWrite *) disk->writes->pdata[i])->entries->pdata[0];

        if (head->index < disk->first + count)
            return;
    }
    g_ptr_array_remove_range(disk->log, 0, count);
    g_ptr_array_remove_range(disk->synced, 0, count);
    disk->first += count;
}

static void send_message(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    sim_send(user, node, kind, body, body_bytes);
}

static bool apply(void *user, const VvRaftEntry *entry)
{
    SimNode *node = user;
    Sim *sim = node->sim;

    sim_check_commit(sim, node);
    if (entry->index != node->applied_index + 1)
        sim_fail(sim, "n%" G_GUINT64_FORMAT " applies %" G_GUINT64_FORMAT " after %" G_GUINT64_FORMAT, node->id, entry->index,
            node->applied_index);
    if (sim->app->apply && !sim->app->apply(node, entry))
        return false;
    node->applied_index = entry->index;
    node->applied_term = entry->term;
    if (entry->type == VV_RAFT_CHANGE) {
        node->conf_index = entry->index;
        g_byte_array_set_size(node->conf, 0);
        g_byte_array_append(node->conf, entry->data, (guint) entry->data_bytes);
    }
    return true;
}

static void changed(void *user)
{
    SimNode *node = user;

    if (node->sim->app->changed)
        node->sim->app->changed(node);
}

static bool sync_source(void *user, VvSyncSource *ret_source)
{
    const SimNode *node = user;

    if (node->disk.base_index == 0)
        return false;
    *ret_source = (VvSyncSource) { .stream = node->id << 32 | node->disk.base_index, .index = node->disk.base_index,
        .size_bytes = node->disk.state->len };
    return true;
}

static int sync_read(void *user, const VvSyncSource *source, uint64_t offset, GByteArray *out, size_t most)
{
    const SimNode *node = user;

    if (source->stream != (node->id << 32 | node->disk.base_index) || offset >= node->disk.state->len)
        return -ESTALE;
    g_byte_array_append(out, node->disk.state->data + offset, (guint) MIN(most, node->disk.state->len - offset));
    return 0;
}

static int sync_begin(void *user, uint64_t index, uint64_t size_bytes)
{
    SimNode *node = user;

    (void) size_bytes;
    node->disk.taken_index = index;
    g_byte_array_set_size(node->disk.taken, 0);
    return 0;
}

static int sync_write(void *user, uint64_t offset, const uint8_t *data, size_t data_bytes)
{
    SimNode *node = user;

    g_assert_cmpuint(offset, ==, node->disk.taken->len);
    g_byte_array_append(node->disk.taken, data, (guint) data_bytes);
    return 0;
}

static bool sync_ready(void *user)
{
    SimNode *node = user;

    return !node->sim->app->may_load || node->sim->app->may_load(node, node->disk.taken->data, node->disk.taken->len);
}

static void installed(Sim *sim, SimNode *node, uint64_t argument)
{
    (void) argument;
    sim_trace(sim, "n%" G_GUINT64_FORMAT " has the state of %" G_GUINT64_FORMAT, node->id, node->disk.base_index);
    vv_raft_installed(node->raft, sim_local_ms(node));
}

/* The switch is atomic on the disk; it happens now, and is reported later. */
static int sync_install(void *user, uint64_t index, uint64_t term, uint64_t conf_index, const uint8_t *conf, size_t conf_bytes)
{
    SimNode *node = user;
    SimDisk *disk = &node->disk;

    g_assert_cmpuint(disk->taken_index, ==, index);
    g_ptr_array_set_size(disk->writes, 0);
    g_ptr_array_set_size(disk->log, 0);
    g_ptr_array_set_size(disk->synced, 0);
    disk->first = index + 1;
    disk->base_index = index;
    disk->base_term = term;
    disk->conf_index = node->conf_index = conf_index;
    g_byte_array_set_size(disk->conf, 0);
    g_byte_array_append(disk->conf, conf, (guint) conf_bytes);
    g_byte_array_set_size(node->conf, 0);
    g_byte_array_append(node->conf, conf, (guint) conf_bytes);
    g_byte_array_set_size(disk->state, 0);
    g_byte_array_append(disk->state, disk->taken->data, disk->taken->len);
    node->applied_index = index;
    node->applied_term = term;
    node->committed = MAX(node->committed, index);
    if (node->sim->app->load)
        node->sim->app->load(node, disk->state->data, disk->state->len);
    sim_at(node->sim, durable_in(node), node, installed, 0);
    return 0;
}

const VvRaftOps sim_raft_ops = {
    .store_vote = store_vote,
    .append = append,
    .read = read_entry,
    .compact = compact,
    .send = send_message,
    .apply = apply,
    .changed = changed,
    .sync_source = sync_source,
    .sync_read = sync_read,
    .sync_begin = sync_begin,
    .sync_write = sync_write,
    .sync_ready = sync_ready,
    .sync_install = sync_install,
};
