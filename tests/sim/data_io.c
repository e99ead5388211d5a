/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request of the toy: admitted, looked up, sent, checked, published. The order of the checks is the protocol's. */
#include "data.h"
#include "rules.h"

#define BIT(n) ((uint64_t) 1 << (n))

static Data *data_of(const DataNode *d)
{
    return d->node->sim->user;
}

static VvMember *member_of(DataNode *d)
{
    return vv_cluster_member(d->cluster);
}

static uint64_t now_of(const DataNode *d)
{
    return sim_local_ms(d->node);
}

/* ---- look-up */

static uint8_t look_up(const DataNode *d, unsigned lun, unsigned block)
{
    return d->pending[lun][block] != DATA_NONE ? d->pending[lun][block] : d->map.places[lun][block];
}

/* May it be overwritten? Pending always; else if no snapshot has it. */
static bool is_own(const DataNode *d, unsigned lun, unsigned block)
{
    if (d->pending[lun][block] != DATA_NONE)
        return true;
    for (unsigned i = 0; i < DATA_SNAPSHOTS; i++)
        if (d->map.snapshots[i].id && d->map.snapshots[i].places[lun][block] == d->map.places[lun][block])
            return false;
    return d->map.places[lun][block] != DATA_NONE;
}

static bool is_free(const DataNode *d, uint8_t place)
{
    for (unsigned i = 0; i < DATA_LUNS * DATA_BLOCKS; i++) {
        unsigned l = i / DATA_BLOCKS, b = i % DATA_BLOCKS;

        if (d->map.places[l][b] == place || d->pending[l][b] == place)
            return false;
        for (unsigned s = 0; s < DATA_SNAPSHOTS; s++)
            if (d->map.snapshots[s].id && d->map.snapshots[s].places[l][b] == place)
                return false;
    }
    if (d->named[place])
        return false;
    for (unsigned i = 0; i < DATA_IOS; i++) /* reads and writes of our own that are under way */
        if (d->ios[i].state == IO_SENT && d->ios[i].place == place)
            return false;
    return true;
}

/* Each node has its share of the segments; one whose owner's session ended is anybody's, if it is free. */
static void claim(DataNode *d, unsigned start)
{
    const VvClusterState *state = vv_cluster_state(d->cluster);
    VvHolder holder = { d->node->id, vv_member_session(member_of(d)) };
    bool foreign = start % 2;

    if (data_of(d)->script.segment[d->node->id]) {
        foreign = true;
        start = data_of(d)->script.segment[d->node->id] - 1;
    }
    for (unsigned i = 0; i < DATA_PLACES / DATA_SEGMENT && d->segment_seq == 0; i++) {
        unsigned segment = (start + i) % (DATA_PLACES / DATA_SEGMENT);
        VvEntry entry = { .kind = VV_ENTRY_SEGMENT, .f.object = segment };

        if (!vv_state_segment_owned(state, segment, holder) && vv_state_segment_free(state, segment, holder) &&
            (foreign || segment % d->node->sim->config.nodes == d->node->id - 1))
            vv_member_propose(member_of(d), now_of(d), &entry, &d->segment_seq);
    }
}

/* From segments of our session only. */
static uint8_t allocate(DataNode *d)
{
    const VvClusterState *state = vv_cluster_state(d->cluster);
    VvHolder holder = { d->node->id, vv_member_session(member_of(d)) };
    unsigned start = (unsigned) sim_random(d->node->sim, DATA_PLACES);

    /* The first that is free: what was freed is soon used again. */
    for (unsigned i = 0; i < DATA_PLACES; i++) {
        uint8_t place = (uint8_t) i;

        if (vv_state_segment_owned(state, place / DATA_SEGMENT, holder) && is_free(d, place))
            return place;
    }
    claim(d, start);
    return DATA_NONE;
}

/* ---- begin */

static VvIoToken read_token(DataNode *d)
{
    return vv_member_token(member_of(d));
}

static bool admit(DataNode *d, DataIo *io)
{
    VvRange range = { io->lun, io->block, io->block + 1u };
    VvLeaseMode mode = io->write ? VV_LEASE_WRITE : VV_LEASE_READ;

    if (io->snapshot) {
        const DataSnapshot *snapshot = data_snapshot(&d->map, io->snapshot);

        if (!snapshot || snapshot->removed) {
            io->state = IO_NONE; /* the handle is stale */
            return false;
        }
        io->token = read_token(d);
        return vv_member_alive(member_of(d), now_of(d));
    }
    if (vv_member_may(member_of(d), now_of(d), &range, mode, &io->token))
        return true;
    if (!vv_state_holds(vv_cluster_state(d->cluster), (VvHolder) { d->node->id, vv_member_session(member_of(d)) }, &range, mode))
        vv_member_want(member_of(d), now_of(d), &range, mode);
    return false;
}

static void begin(DataNode *d, DataIo *io)
{
    Data *data = data_of(d);

    if (!admit(d, io))
        return;
    if (io->snapshot) {
        io->place = data_snapshot(&d->map, io->snapshot)->places[io->lun][io->block];
    } else if (!io->write) {
        io->place = look_up(d, io->lun, io->block);
        io->effective = data->effective;
    } else {
        /* Two writes of one block exclude each other, as block locks do. */
        for (unsigned i = 0; i < DATA_IOS; i++)
            if (d->ios[i].state == IO_SENT && d->ios[i].write && d->ios[i].lun == io->lun && d->ios[i].block == io->block)
                return;
        io->redirect = !is_own(d, io->lun, io->block) || (data->shared && vv_rule(VV_RULE_SHARED_REDIRECT)) ||
                       (!data->script.on && sim_random(d->node->sim, 6) == 0);
        io->place = io->redirect ? allocate(d) : look_up(d, io->lun, io->block);
        if (io->place == DATA_NONE)
            return;
    }
    if (io->place == DATA_NONE) { /* never written: zeros, no disk is asked */
        io->stamp = 0;
        io->incarnation = data->incarnation;
        if (io->snapshot)
            data_check_snapshot(d->node->sim, d->node->id, io);
        else
            data_check_read(d->node->sim, d->node->id, io);
        io->state = IO_NONE;
        return;
    }
    io->id = ++data->next_io;
    io->state = IO_SENT;
    data_submit(d, io->id, io->write ? DISK_WRITE : DISK_READ, io->token, io->place, io->stamp);
}

static DataIo *free_io(DataNode *d)
{
    for (unsigned i = 0; i < DATA_IOS; i++)
        if (d->ios[i].state == IO_NONE)
            return &d->ios[i];
    return NULL;
}

static void start_io(SimNode *node, DataIo what)
{
    DataNode *d = data_node(node);
    DataIo *io = d ? free_io(d) : NULL;

    if (!io || node->stopped)
        return;
    *io = what;
    if (io->write) {
        if (data_of(d)->writes >= DATA_WRITES)
            return (void) (io->state = IO_NONE);
        io->stamp = data_issue(node->sim, node->id, io->lun, io->block);
    }
    io->state = IO_HELD;
    begin(d, io);
}

void data_write(SimNode *node, unsigned lun, unsigned block)
{
    start_io(node, (DataIo) { .write = true, .lun = (uint8_t) lun, .block = (uint8_t) block });
}

void data_read(SimNode *node, unsigned lun, unsigned block)
{
    start_io(node, (DataIo) { .lun = (uint8_t) lun, .block = (uint8_t) block });
}

void data_read_snapshot(SimNode *node, uint64_t pick, unsigned lun, unsigned block)
{
    DataNode *d = data_node(node);
    uint64_t id = d ? d->map.snapshots[pick % DATA_SNAPSHOTS].id : 0;

    if (id)
        start_io(node, (DataIo) { .lun = (uint8_t) lun, .block = (uint8_t) block, .snapshot = id });
}

void data_retry(DataNode *d)
{
    for (unsigned i = 0; i < DATA_IOS; i++)
        if (d->ios[i].state == IO_HELD)
            begin(d, &d->ios[i]);
}

/* ---- end */

/* The disk is another since we wrote: what was not synced may be gone. */
static void see_incarnation(DataNode *d, uint64_t incarnation)
{
    if (!vv_rule(VV_RULE_INCARNATION) || d->incarnation == incarnation)
        return;
    if (d->incarnation != 0) {
        for (unsigned i = 0; i < DATA_LUNS * DATA_BLOCKS; i++)
            if (!d->pending_seq[i / DATA_BLOCKS][i % DATA_BLOCKS])
                d->pending[i / DATA_BLOCKS][i % DATA_BLOCKS] = DATA_NONE;
        for (unsigned l = 0; l < DATA_LUNS; l++)
            d->flushing[l] = false; /* EIO */
        data_lose(data_of(d), d->node->id);
    }
    d->incarnation = incarnation;
}

static void again(DataIo *io)
{
    io->state = IO_HELD;
}

static void end_write(DataNode *d, DataIo *io)
{
    bool good = !io->refused;

    if (vv_rule(VV_RULE_POST_CHECK_WRITE))
        good &= vv_member_check(member_of(d), now_of(d), &io->token);
    if (vv_rule(VV_RULE_INCARNATION))
        good &= io->incarnation == d->incarnation;
    if (vv_rule(VV_RULE_REVALIDATE_WRITE) && !io->redirect)
        good &= look_up(d, io->lun, io->block) == io->place;
    d->written++;
    if (!good)
        return again(io);
    if (io->redirect) {
        d->pending[io->lun][io->block] = io->place;
        d->pending_seq[io->lun][io->block] = 0;
    }
    data_acknowledge(d->node->sim, d->node->id, io);
    io->state = IO_NONE;
}

static void end_read(DataNode *d, DataIo *io)
{
    bool good = !io->refused;

    if (vv_rule(VV_RULE_POST_CHECK_READ))
        good &= vv_member_check(member_of(d), now_of(d), &io->token);
    if (io->snapshot) {
        if (!good)
            return again(io);
        data_check_snapshot(d->node->sim, d->node->id, io);
    } else {
        if (vv_rule(VV_RULE_REVALIDATE_READ))
            good &= look_up(d, io->lun, io->block) == io->place;
        if (!good)
            return again(io);
        data_check_read(d->node->sim, d->node->id, io);
    }
    io->state = IO_NONE;
}

void data_connection_lost(Sim *sim)
{
    Data *data = sim->user;

    if (data->shared)
        return;
    data->connection++;
    for (unsigned i = 1; i <= SIM_NODES_MAX; i++) {
        DataNode *d = sim->nodes[i] ? data_node(sim->nodes[i]) : NULL;

        for (unsigned j = 0; d && j < DATA_IOS; j++)
            if (d->ios[j].state == IO_SENT)
                again(&d->ios[j]);
    }
}

void data_done(DataNode *d, uint64_t id, uint64_t incarnation, bool refused, unsigned value)
{
    see_incarnation(d, incarnation);
    if (id == d->sync) {
        d->sync_done = id;
        d->synced = d->sync_covers;
    }
    for (unsigned i = 0; i < DATA_IOS; i++) {
        DataIo *io = &d->ios[i];

        if (io->state != IO_SENT || io->id != id)
            continue;
        io->incarnation = incarnation;
        io->refused = refused;
        if (io->write) {
            end_write(d, io);
        } else {
            io->stamp = value;
            end_read(d, io);
        }
        break;
    }
    data_retry(d);
}

bool data_old_io(DataNode *d)
{
    return data_of(d)->shared && data_of(d)->old_ios[d->node->id] > 0;
}

bool data_uses(DataNode *d, uint64_t snapshot)
{
    for (unsigned i = 0; i < DATA_IOS; i++)
        if (d->ios[i].state == IO_SENT && d->ios[i].snapshot == snapshot)
            return true;
    return false;
}

/* ---- sync, journal, flush */

void data_sync(DataNode *d)
{
    if (d->sync != d->sync_done && now_of(d) < d->sync_sent_ms + 100)
        return; /* under way; asked again if it was lost */
    d->sync = ++data_of(d)->next_io;
    d->sync_sent_ms = now_of(d);
    d->sync_covers = d->written;
    data_submit(d, d->sync, DISK_SYNC, read_token(d), 0, 0);
}

static bool pending_in(const DataNode *d, const VvRange *ranges, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (uint64_t b = ranges[i].first; b < MIN(ranges[i].end, DATA_BLOCKS); b++)
            if (d->pending[ranges[i].lun][b] != DATA_NONE)
                return true;
    return false;
}

static void journal(DataNode *d, const VvRange *ranges, unsigned count)
{
    uint8_t body[3 * DATA_LUNS * DATA_BLOCKS];
    VvEntry entry = { .kind = VV_ENTRY_MAP, .f.body = body };
    uint64_t seq;

    for (unsigned i = 0; i < count; i++)
        for (uint64_t b = ranges[i].first; b < MIN(ranges[i].end, DATA_BLOCKS); b++)
            if (d->pending[ranges[i].lun][b] != DATA_NONE && !d->pending_seq[ranges[i].lun][b]) {
                body[entry.f.body_bytes++] = (uint8_t) ranges[i].lun;
                body[entry.f.body_bytes++] = (uint8_t) b;
                body[entry.f.body_bytes++] = d->pending[ranges[i].lun][b];
            }
    if (entry.f.body_bytes == 0 || vv_member_propose(member_of(d), now_of(d), &entry, &seq) != 0)
        return;
    for (size_t i = 0; i < entry.f.body_bytes; i += 3) {
        d->pending_seq[body[i]][body[i + 1]] = seq;
        d->named[body[i + 2]] = seq;
    }
}

static bool is_drained(const DataNode *d, const DataJob *job)
{
    for (unsigned i = 0; i < DATA_IOS; i++)
        for (unsigned r = 0; r < job->count; r++)
            if (d->ios[i].state == IO_SENT && !d->ios[i].snapshot && (d->ios[i].write || job->reads) &&
                d->ios[i].lun == job->ranges[r].lun && d->ios[i].block >= job->ranges[r].first && d->ios[i].block < job->ranges[r].end)
                return false;
    return true;
}

/* Journalling comes behind a sync: data is durable before an entry maps it. */
static bool is_settled(DataNode *d, DataJob *job)
{
    switch (job->step) {
    case VV_SETTLE_DRAIN:
        return is_drained(d, job);
    case VV_SETTLE_SYNC:
        if (job->sync == 0 || d->sync_done < job->sync) {
            data_sync(d);
            job->sync = job->sync ? job->sync : d->sync;
            return d->sync_done >= job->sync;
        }
        return true;
    default:
        if (vv_rule(VV_RULE_SYNC_FIRST) && d->synced < d->written && pending_in(d, job->ranges, job->count)) {
            data_sync(d);
            return false;
        }
        journal(d, job->ranges, job->count);
        return !pending_in(d, job->ranges, job->count);
    }
}

static void work_flush(DataNode *d, unsigned lun)
{
    Data *data = data_of(d);
    VvRange range = { lun, 0, DATA_BLOCKS };
    bool alive = vv_member_alive(member_of(d), now_of(d));

    if (!d->flushing[lun] || !alive)
        return;
    if (d->flush_sync[lun] == 0 || d->sync_done < d->flush_sync[lun]) {
        data_sync(d);
        if (d->flush_sync[lun] == 0)
            d->flush_sync[lun] = d->sync;
        return;
    }
    if (vv_rule(VV_RULE_SYNC_FIRST) && d->synced < d->written && pending_in(d, &range, 1))
        return data_sync(d);
    journal(d, &range, 1);
    if (pending_in(d, &range, 1))
        return;
    data->flushed |= d->flush_covers[lun];
    d->flushing[lun] = false;
}

void data_flush(SimNode *node, unsigned lun)
{
    DataNode *d = data_node(node);
    Data *data = node->sim->user;

    if (!d || node->stopped || d->flushing[lun] || !vv_member_alive(member_of(d), now_of(d)))
        return;
    d->flushing[lun] = true;
    d->flush_sync[lun] = 0;
    d->flush_covers[lun] = 0;
    for (unsigned w = 1; w <= data->writes; w++)
        if (data->writer[w] == node->id && data->lun[w] == lun && (data->acked & data->effective & BIT(w)))
            d->flush_covers[lun] |= BIT(w);
    work_flush(d, lun);
}

void data_work(DataNode *d)
{
    uint64_t done[16];
    unsigned count = 0;

    for (unsigned l = 0; l < DATA_LUNS; l++)
        work_flush(d, l);
    for (guint i = 0; i < d->jobs->len && count < G_N_ELEMENTS(done);) {
        DataJob *job = &g_array_index(d->jobs, DataJob, i);

        if (is_settled(d, job)) {
            done[count++] = job->job;
            g_array_remove_index(d->jobs, i);
        } else {
            i++;
        }
    }
    for (unsigned i = 0; i < count; i++)
        vv_member_settled(member_of(d), now_of(d), done[i]);
}
