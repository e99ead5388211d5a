/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cluster library on a simulated node, with the toy below it. */
#include "data.h"
#include "message.h"

#define SESSION_MS 400u
#define LATEST_EVERY 50u /* events of a node */

DataNode *data_node(SimNode *node)
{
    return node->up ? node->app : NULL;
}

/* ---- operations of the library */

static void send_message(void *user, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    sim_send(((DataNode *) user)->node, to, kind, body, body_bytes);
}

static bool may_apply(void *user, const VvEntry *entry)
{
    return data_may_apply(user, entry);
}

static bool admit(void *user, uint64_t index, const VvEntry *entry)
{
    (void) index;
    return data_map_admit(&((DataNode *) user)->map, entry);
}

static void ended(void *user, VvHolder session)
{
    (void) session;
    data_session_ended(user);
}

static void applied(void *user, uint64_t index, uint64_t term, const VvEntry *entry, const VvApplied *what)
{
    DataNode *d = user;

    (void) term;
    if (entry)
        data_map_apply(&d->map, index, entry, what->verdict);
}

static void settle(void *user, uint64_t job, VvSettleStep step, const VvRange *ranges, unsigned count, bool reads)
{
    DataNode *d = user;
    DataJob what = { .job = job, .step = step, .count = MIN(count, DATA_LUNS), .reads = reads };

    memcpy(what.ranges, ranges, what.count * sizeof *ranges);
    g_array_append_val(d->jobs, what);
}

static bool old_io(void *user)
{
    return data_old_io(user);
}

static bool uses(void *user, uint64_t object)
{
    return data_uses(user, object);
}

static uint64_t nonce(void *user)
{
    return sim_random(((DataNode *) user)->node->sim, UINT64_MAX) | 1;
}

static void session_changed(void *user, uint64_t session)
{
    DataNode *d = user;

    (void) session;
    memset(d->pending, (int) DATA_NONE, sizeof d->pending);
    memset(d->pending_seq, 0, sizeof d->pending_seq);
    memset(d->named, 0, sizeof d->named);
    g_array_set_size(d->jobs, 0);
    d->segment_seq = 0;
    d->synced = d->written;
    for (unsigned l = 0; l < DATA_LUNS; l++)
        d->flushing[l] = false;
}

static void proposal_done(void *user, uint64_t seq, VvVerdict verdict)
{
    DataNode *d = user;

    (void) verdict;
    if (d->segment_seq == seq)
        d->segment_seq = 0;
    for (unsigned i = 0; i < DATA_PLACES; i++)
        if (d->named[i] == seq)
            d->named[i] = 0;
    for (unsigned i = 0; i < DATA_LUNS * DATA_BLOCKS; i++)
        if (d->pending_seq[i / DATA_BLOCKS][i % DATA_BLOCKS] == seq) {
            d->pending[i / DATA_BLOCKS][i % DATA_BLOCKS] = DATA_NONE;
            d->pending_seq[i / DATA_BLOCKS][i % DATA_BLOCKS] = 0;
        }
}

static void retry(void *user)
{
    (void) user; /* `after` does it: not from inside the library */
}

static void latest(void *user, uint64_t nonce_of_life, uint64_t number, uint64_t index)
{
    DataNode *d = user;

    (void) nonce_of_life;
    if (number != d->latest)
        return;
    d->latest = 0;
    if (index < d->latest_least)
        sim_fail(d->node->sim, "LATEST: n%" G_GUINT64_FORMAT " heard of %" G_GUINT64_FORMAT ", and %" G_GUINT64_FORMAT " was committed before it asked",
            d->node->id, index, d->latest_least);
}

/* Now and then; what is lost is asked anew. Numbers are never used twice. */
static void ask_latest(DataNode *d)
{
    Data *data = d->node->sim->user;

    if (data->script.on || ++d->events % LATEST_EVERY != 0)
        return;
    d->latest = ++data->next_io;
    d->latest_least = data->truth->applied_index;
    vv_cluster_ask_latest(d->cluster, 1, d->latest);
}

static const VvClusterOps cluster_ops = {
    .send = send_message,
    .may_apply = may_apply,
    .admit = admit,
    .ended = ended,
    .applied = applied,
    .latest = latest,
    .member = { .settle = settle, .old_io = old_io, .uses = uses, .nonce = nonce, .session_changed = session_changed,
        .proposal_done = proposal_done, .retry = retry },
};

/* ---- the simulator's layer */

static void born(SimNode *node)
{
    VvClusterConfig config = { .id = node->id, .session_ms = SESSION_MS, .drift_permille = node->sim->config.drift_permille * 2 };
    DataNode *d = g_new0(DataNode, 1);

    d->node = node;
    d->cluster = vv_cluster_new(&config, node->raft, &cluster_ops, d);
    d->jobs = g_array_new(FALSE, FALSE, sizeof(DataJob));
    d->requests = g_ptr_array_new_with_free_func(g_free);
    memset(d->pending, (int) DATA_NONE, sizeof d->pending);
    memset(d->map.places, (int) DATA_NONE, sizeof d->map.places);
    d->map.reused_ids = ((const Data *) node->sim->user)->map.reused_ids;
    node->app = d;
    if (node->id == DATA_SERVER)
        data_connection_lost(node->sim);
}

static void died(SimNode *node)
{
    DataNode *d = node->app;

    data_lose(node->sim->user, node->id);
    if (node->id == DATA_SERVER)
        data_disk_crash(node->sim);
    vv_cluster_free(d->cluster);
    g_array_free(d->jobs, TRUE);
    g_ptr_array_free(d->requests, TRUE);
    g_free(d);
    node->app = NULL;
}

static bool apply(SimNode *node, const VvRaftEntry *entry)
{
    DataNode *d = node->app;

    if (!vv_cluster_apply(d->cluster, sim_local_ms(node), entry)) {
        if (vv_cluster_error(d->cluster))
            sim_fail(node->sim, "n%" G_GUINT64_FORMAT " cannot apply %" G_GUINT64_FORMAT, node->id, entry->index);
        return false;
    }
    sim_check_digest(node, entry->index, vv_state_digest(vv_cluster_state(d->cluster)));
    return true;
}

static void changed(SimNode *node)
{
    vv_cluster_changed(((DataNode *) node->app)->cluster);
}

static void message(SimNode *node, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    DataNode *d = node->app;

    if (kind >= DATA_MESSAGE_DISK)
        data_disk_message(d, from, kind, body, body_bytes);
    else if (!vv_cluster_receive(d->cluster, sim_local_ms(node), from, kind, body, body_bytes))
        sim_fail(node->sim, "n%" G_GUINT64_FORMAT " does not understand %s", node->id, vv_message_kind_name(kind));
}

static void tick(SimNode *node)
{
    (void) node; /* `after` does the work */
}

/* Lost requests to the disk are asked again, so look often while there are any. */
static uint64_t deadline(SimNode *node)
{
    const DataNode *d = node->app;
    uint64_t next = vv_cluster_deadline(d->cluster);
    bool busy = d->jobs->len > 0;

    for (unsigned i = 0; i < DATA_IOS; i++)
        busy |= d->ios[i].state != IO_NONE;
    for (unsigned l = 0; l < DATA_LUNS; l++)
        busy |= d->flushing[l];
    return busy ? MIN(next, sim_local_ms(node) + 20) : next;
}

static void after(SimNode *node)
{
    DataNode *d = node->app;

    data_serve(d);
    ask_latest(d);
    vv_cluster_work(d->cluster, sim_local_ms(node));
    data_work(d);
    data_retry(d);
}

static void save(SimNode *node, GByteArray *out)
{
    const DataNode *d = node->app;

    g_byte_array_append(out, (const uint8_t *) &d->map, sizeof d->map);
    vv_state_encode(vv_cluster_state(d->cluster), out);
}

static bool may_load(SimNode *node, const uint8_t *bytes, size_t length)
{
    return vv_cluster_may_load(((DataNode *) node->app)->cluster, node->disk.taken_index, bytes + sizeof(DataMap), length - sizeof(DataMap));
}

static void load(SimNode *node, const uint8_t *bytes, size_t length)
{
    DataNode *d = node->app;

    if (!bytes)
        return;
    memcpy(&d->map, bytes, sizeof d->map);
    if (!vv_cluster_load(d->cluster, sim_local_ms(node), node->disk.base_index, bytes + sizeof d->map, length - sizeof d->map))
        sim_fail(node->sim, "n%" G_GUINT64_FORMAT " got a state that does not decode", node->id);
}

const SimApp data_app = { .born = born, .died = died, .apply = apply, .changed = changed, .message = message, .tick = tick,
    .deadline = deadline, .save = save, .may_load = may_load, .load = load, .after = after, .committed = data_committed };

void data_init(Sim *sim, Data *data, bool shared)
{
    (void) sim;
    memset(data, 0, sizeof *data);
    data->shared = shared;
    data->incarnation = 1;
    data->truth = vv_state_new();
    data->serving = g_array_new(FALSE, FALSE, sizeof(VvHolder));
    data->garbage = g_ptr_array_new_with_free_func(g_free);
    memset(data->map.places, (int) DATA_NONE, sizeof data->map.places);
}

void data_clear(Data *data)
{
    vv_state_free(data->truth);
    g_array_free(data->serving, TRUE);
    g_ptr_array_free(data->garbage, TRUE);
}
