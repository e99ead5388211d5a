/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The toy's disk. Served: requests are messages to node 1, with session and fence; its cache is lost with its machine. Shared: whoever
 * submitted writes, whatever became of him meanwhile. Requests go over connections: none is lost or doubled, all break with the server. */
#include "codec.h"
#include "data.h"
#include "rules.h"

typedef struct {
    uint64_t from, id;
    unsigned operation;
    VvIoToken token;
    uint8_t place;
    unsigned stamp;
    uint64_t connection; /* to which life of the server */
} Request;


/* How long a request is under way at the medium. */
static uint64_t landing_us(Sim *sim, const Request *request, uint64_t most_us)
{
    const Data *data = sim->user;

    if (data->script.on)
        return request->operation == DISK_SYNC || !data->script.landing_us[request->from] ? 100 : data->script.landing_us[request->from];
    return 100 + sim_random(sim, sim_random(sim, 8) == 0 ? most_us : 2000);
}

/* An event's argument. */
static uint64_t keep(Data *data, const Request *request)
{
    Request *copy = g_memdup2(request, sizeof *request);

    g_ptr_array_add(data->garbage, copy);
    return (uint64_t) (uintptr_t) copy;
}

static void put_request(GByteArray *out, const Request *request)
{
    vv_write_u64(out, request->id);
    vv_write_u8(out, (uint8_t) request->operation);
    vv_write_u64(out, request->token.session);
    vv_write_u64(out, request->token.fence);
    vv_write_u8(out, request->place);
    vv_write_u32(out, request->stamp);
    vv_write_u64(out, request->connection);
}

static void answer(DataNode *d, const Request *request, bool refused, unsigned value)
{
    const Data *data = d->node->sim->user;
    g_autoptr(GByteArray) out = g_byte_array_new();

    vv_write_u64(out, request->id);
    vv_write_u64(out, data->incarnation);
    vv_write_u8(out, refused);
    vv_write_u32(out, value);
    sim_send(d->node, request->from, DATA_MESSAGE_DONE, out->data, out->len);
}

/* ---- shared */

static void land(Sim *sim, SimNode *nobody, uint64_t argument)
{
    Data *data = sim->user;
    Request *request = (Request *) (uintptr_t) argument;
    SimNode *node = sim->nodes[request->from];
    unsigned value;

    (void) nobody;
    if (request->operation == DISK_WRITE)
        data_check_landing(sim, request->stamp, request->place, (VvHolder) { request->from, request->token.session }, 0);
    if (request->operation == DISK_WRITE)
        data->values[request->place] = data->stable[request->place] = request->stamp;
    value = data->values[request->place];
    data->old_ios[request->from]--;
    if (node->up) {
        g_autoptr(GByteArray) out = g_byte_array_new();

        vv_write_u64(out, request->id);
        vv_write_u64(out, 1);
        vv_write_u8(out, 0);
        vv_write_u32(out, value);
        sim_send(node, node->id, DATA_MESSAGE_DONE, out->data, out->len);
    }
}

/* ---- served */

/* Under way at the server: counted before the check, until it has landed (BARRIER). */
static void serve_land(Sim *sim, SimNode *node, uint64_t argument)
{
    Data *data = sim->user;
    Request *request = (Request *) (uintptr_t) argument;

    for (guint i = 0; i < data->serving->len; i++) {
        const VvHolder *holder = &g_array_index(data->serving, VvHolder, i);

        if (holder->node == request->from && holder->session == request->token.session) {
            g_array_remove_index_fast(data->serving, i);
            break;
        }
    }
    if (request->operation == DISK_WRITE)
        data_check_landing(sim, request->stamp, request->place, (VvHolder) { request->from, request->token.session }, node->applied_index);
    if (request->operation == DISK_WRITE)
        data->values[request->place] = request->stamp;
    else if (request->operation == DISK_SYNC)
        memcpy(data->stable, data->values, sizeof data->stable);
    answer(data_node(node), request, false, data->values[request->place]);
    vv_raft_poll(node->raft, sim_local_ms(node));
}

/* True: it need not wait any more. */
static bool serve(DataNode *d, const Request *request)
{
    Sim *sim = d->node->sim;
    Data *data = sim->user;
    const VvClusterState *state = vv_cluster_state(d->cluster);
    VvHolder holder = { request->from, request->token.session };

    if (data->script.held[request->from])
        return false;
    if (vv_rule(VV_RULE_FENCE_INDEX) && state->applied_index < request->token.fence)
        return false;
    if (vv_rule(VV_RULE_REFUSE) && vv_state_session(state, request->from) != request->token.session &&
        state->applied_index >= request->token.session) {
        answer(d, request, true, 0);
        return true;
    }
    g_array_append_val(data->serving, holder);
    sim_at(sim, landing_us(sim, request, 300000), d->node, serve_land, keep(data, request));
    return true;
}

void data_serve(DataNode *d)
{
    for (guint i = 0; i < d->requests->len;) {
        if (serve(d, d->requests->pdata[i]))
            g_ptr_array_remove_index(d->requests, i);
        else
            i++;
    }
}

void data_disk_message(DataNode *d, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    VvReader in = vv_reader(body, body_bytes);
    uint64_t id = vv_read_u64(&in);

    if (kind == DATA_MESSAGE_DONE) {
        uint64_t incarnation = vv_read_u64(&in);
        bool refused = vv_read_u8(&in);

        data_done(d, id, incarnation, refused, vv_read_u32(&in));
    } else {
        Request request = { .from = from, .id = id, .operation = vv_read_u8(&in) };

        request.token.session = vv_read_u64(&in);
        request.token.fence = vv_read_u64(&in);
        request.place = vv_read_u8(&in);
        request.stamp = vv_read_u32(&in);
        request.connection = vv_read_u64(&in);
        if (request.connection != ((const Data *) d->node->sim->user)->connection)
            return; /* its connection broke with the server before */
        g_ptr_array_add(d->requests, g_memdup2(&request, sizeof request));
        data_serve(d);
    }
}

void data_submit(DataNode *d, uint64_t id, unsigned operation, VvIoToken token, uint8_t place, unsigned stamp)
{
    Sim *sim = d->node->sim;
    Data *data = sim->user;
    Request request = { d->node->id, id, operation, token, place, stamp, data->connection };
    sim_trace(sim, "n%" G_GUINT64_FORMAT " disk op %u place %u write %u session %" G_GUINT64_FORMAT " fence %" G_GUINT64_FORMAT, d->node->id, operation,
        place, stamp, token.session, token.fence);
    g_autoptr(GByteArray) out = g_byte_array_new();

    if (data->shared) {
        data->old_ios[d->node->id]++;
        sim_anyhow(sim, landing_us(sim, &request, 3000000), land, keep(data, &request));
        return;
    }
    put_request(out, &request);
    sim_send(d->node, DATA_SERVER, DATA_MESSAGE_DISK, out->data, out->len);
}

bool data_may_apply(DataNode *d, const VvEntry *entry)
{
    const Data *data = d->node->sim->user;
    uint64_t ended = 0;

    if (data->shared || d->node->id != DATA_SERVER || !vv_rule(VV_RULE_BARRIER))
        return true;
    if (entry->kind == VV_ENTRY_EXPIRE || entry->kind == VV_ENTRY_SESSION || entry->kind == VV_ENTRY_NODE_REMOVE)
        ended = vv_state_session(vv_cluster_state(d->cluster), entry->f.node);
    for (guint i = 0; ended && i < data->serving->len; i++) {
        const VvHolder *holder = &g_array_index(data->serving, VvHolder, i);

        if (holder->node == entry->f.node && holder->session == ended)
            return false;
    }
    return true;
}

void data_session_ended(DataNode *d)
{
    Data *data = d->node->sim->user;

    if (!data->shared && d->node->id == DATA_SERVER && vv_rule(VV_RULE_END_SYNC))
        memcpy(data->stable, data->values, sizeof data->stable);
}

/* What was under way never lands: its events are of the life before. */
void data_disk_crash(Sim *sim)
{
    Data *data = sim->user;

    if (data->shared)
        return;
    memcpy(data->values, data->stable, sizeof data->values);
    data->incarnation++;
    g_array_set_size(data->serving, 0);
    data_lose(data, 0);
    data_connection_lost(sim);
}
