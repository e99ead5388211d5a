/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries do to the toy map, and what no reader may see. */
#include "data.h"

#include <limits.h>

#define BIT(n) ((uint64_t) 1 << (n))

/* ---- the map */

const DataSnapshot *data_snapshot(const DataMap *map, uint64_t id)
{
    for (unsigned i = 0; id && i < DATA_SNAPSHOTS; i++)
        if (map->snapshots[i].id == id)
            return &map->snapshots[i];
    return NULL;
}

bool data_map_admit(const DataMap *map, const VvEntry *entry)
{
    const DataSnapshot *snapshot = data_snapshot(map, entry->f.object);

    switch (entry->kind) {
    case VV_ENTRY_SNAPSHOT:
        for (unsigned i = 0; i < DATA_SNAPSHOTS; i++)
            if (map->snapshots[i].id == 0)
                return true;
        return false;
    case VV_ENTRY_REMOVE:
        return snapshot && !snapshot->removed;
    case VV_ENTRY_PURGE:
        return snapshot && snapshot->removed;
    default:
        return true;
    }
}

void data_map_apply(DataMap *map, uint64_t index, const VvEntry *entry, VvVerdict verdict)
{
    DataSnapshot *snapshot = (DataSnapshot *) data_snapshot(map, entry->f.object);

    if (verdict != VV_VERDICT_OK)
        return;
    switch (entry->kind) {
    case VV_ENTRY_MAP:
        for (size_t i = 0; i + 3 <= entry->f.body_bytes; i += 3)
            if (entry->f.body[i] < DATA_LUNS && entry->f.body[i + 1] < DATA_BLOCKS && entry->f.body[i + 2] < DATA_PLACES)
                map->places[entry->f.body[i]][entry->f.body[i + 1]] = entry->f.body[i + 2];
        break;
    case VV_ENTRY_SNAPSHOT:
        for (unsigned i = 0; i < DATA_SNAPSHOTS; i++)
            if (map->snapshots[i].id == 0) {
                map->snapshots[i].id = map->reused_ids ? i + 1 : index;
                map->snapshots[i].index = index;
                map->snapshots[i].removed = false;
                memcpy(map->snapshots[i].places, map->places, sizeof map->places);
                break;
            }
        break;
    case VV_ENTRY_REMOVE:
        snapshot->removed = true;
        break;
    case VV_ENTRY_PURGE:
        memset(snapshot, 0, sizeof *snapshot);
        break;
    default:
        break;
    }
}

/* ---- writes */

unsigned data_issue(Sim *sim, uint64_t node, unsigned lun, unsigned block)
{
    Data *data = sim->user;
    unsigned stamp = ++data->writes;

    data->lun[stamp] = (uint8_t) lun;
    data->block[stamp] = (uint8_t) block;
    data->writer[stamp] = node;
    data->before[stamp] = data->acked;
    return stamp;
}

void data_acknowledge(Sim *sim, uint64_t node, const DataIo *io)
{
    Data *data = sim->user;
    VvRange range = { io->lun, io->block, io->block + 1u };
    VvHolder holder = { node, io->token.session };

    if (vv_state_session(data->truth, node) != io->token.session || !vv_state_holds(data->truth, holder, &range, VV_LEASE_WRITE))
        sim_fail(sim, "I6: write %u of n%" G_GUINT64_FORMAT " is acknowledged without a live session that holds W", io->stamp, node);
    data->acked |= BIT(io->stamp);
    /* The disk lost it before its writer heard of it: its writer will find out by the incarnation. */
    if (data->shared || io->incarnation == data->incarnation)
        data->effective |= BIT(io->stamp);
    data->done_writes++;
}

void data_lose(Data *data, uint64_t node)
{
    for (unsigned w = 1; w <= data->writes; w++)
        if ((node == 0 || data->writer[w] == node) && !(data->flushed & BIT(w)) && !(data->seen & BIT(w)))
            data->effective &= ~BIT(w);
}

/* A write lands on @place of the disk, whose server (0: it has none) has applied up to @served. The place of a frozen block may change only
 * while the server does not know the snapshot yet, by a session that ended before it; that of another block never. */
void data_check_landing(Sim *sim, unsigned stamp, unsigned place, VvHolder writer, uint64_t served)
{
    const Data *data = sim->user;
    bool live = vv_state_session(data->truth, writer.node) == writer.session;

    for (unsigned i = 0; i < DATA_LUNS * DATA_BLOCKS; i++) {
        unsigned l = i / DATA_BLOCKS, b = i % DATA_BLOCKS;

        if (data->map.places[l][b] == place && (data->lun[stamp] != l || data->block[stamp] != b))
            sim_fail(sim, "I4: write %u of n%" G_GUINT64_FORMAT " lands on the place of %u:%u", stamp, writer.node, l, b);
        for (unsigned s = 0; s < DATA_SNAPSHOTS; s++)
            if (data->map.snapshots[s].id && data->map.snapshots[s].places[l][b] == place &&
                (live || data->shared || served >= data->map.snapshots[s].index))
                sim_fail(sim, "I1: write %u of n%" G_GUINT64_FORMAT " lands on a frozen place", stamp, writer.node);
    }
}

/* ---- reads */

static void check_own_block(Sim *sim, uint64_t node, const DataIo *io)
{
    const Data *data = sim->user;

    if (io->stamp != 0 && (data->lun[io->stamp] != io->lun || data->block[io->stamp] != io->block))
        sim_fail(sim, "I4: n%" G_GUINT64_FORMAT " reads write %u (%u:%u) at %u:%u", node, io->stamp, data->lun[io->stamp],
            data->block[io->stamp], io->lun, io->block);
}

void data_check_read(Sim *sim, uint64_t node, const DataIo *io)
{
    Data *data = sim->user;
    unsigned value = io->stamp;

    check_own_block(sim, node, io);
    for (unsigned w = 1; w <= data->writes; w++)
        if ((io->effective & data->effective & BIT(w)) && data->lun[w] == io->lun && data->block[w] == io->block &&
            (data->before[w] & BIT(value) || (value == 0 && w != value)))
            sim_fail(sim, "STALE: n%" G_GUINT64_FORMAT " reads write %u at %u:%u although %u was acknowledged%s before", node, value,
                io->lun, io->block, w, data->flushed & BIT(w) ? " and flushed" : "");
    if (value && (data->shared || io->incarnation == data->incarnation)) {
        data->effective |= BIT(value);
        if (data->writer[value] != node)
            data->seen |= BIT(value);
    }
    data->done_reads++;
}

/* Of what a snapshot showed so far: does it lack something that it should hold? */
static void check_shown(Sim *sim, unsigned slot)
{
    const Data *data = sim->user;

    for (unsigned l = 0; l < DATA_LUNS; l++)
        for (unsigned b = 0; b < DATA_BLOCKS; b++) {
            unsigned value = data->shown[slot].value[l][b];

            for (unsigned x = 1; value != UINT_MAX && x <= data->writes; x++) {
                if (!(data->shown[slot].effective & data->effective & BIT(x)) || data->lun[x] != l || data->block[x] != b ||
                    (value != 0 && !(data->before[x] & BIT(value))))
                    continue;
                if (data->shown[slot].before & BIT(x))
                    sim_fail(sim, "SNAP: a snapshot shows write %u at %u:%u, %u was acknowledged before it was asked for", value, l, b, x);
                for (unsigned i = 0; i < DATA_LUNS * DATA_BLOCKS; i++) {
                    unsigned other = data->shown[slot].value[i / DATA_BLOCKS][i % DATA_BLOCKS];

                    if (other != UINT_MAX && other != 0 && (data->before[other] & BIT(x)))
                        sim_fail(sim, "I7: a snapshot shows write %u without %u, which was acknowledged before", other, x);
                }
            }
        }
}

void data_check_snapshot(Sim *sim, uint64_t node, const DataIo *io)
{
    Data *data = sim->user;

    check_own_block(sim, node, io);
    for (unsigned i = 0; i < DATA_SNAPSHOTS; i++) {
        unsigned *value = &data->shown[i].value[io->lun][io->block];

        if (data->shown_ids[i] != io->snapshot)
            continue;
        if (*value != UINT_MAX && *value != io->stamp)
            sim_fail(sim, "I1: n%" G_GUINT64_FORMAT " reads write %u at %u:%u of a snapshot that showed %u", node, io->stamp, io->lun,
                io->block, *value);
        *value = io->stamp;
        data->done_snapshot_reads++;
        check_shown(sim, i);
    }
}

/* ---- the log as committed */

static bool admit(void *user, uint64_t index, const VvEntry *entry)
{
    (void) index;
    return data_map_admit(&((Data *) user)->map, entry);
}

static void snapshot_committed(Data *data, uint64_t index)
{
    for (unsigned i = 0; i < DATA_SNAPSHOTS; i++)
        if (data->map.snapshots[i].id && data->map.snapshots[i].index == index) {
            data->shown_ids[i] = data->map.snapshots[i].id;
            for (unsigned j = 0; j < DATA_LUNS * DATA_BLOCKS; j++)
                data->shown[i].value[j / DATA_BLOCKS][j % DATA_BLOCKS] = UINT_MAX;
            data->shown[i].effective = data->effective;
            data->shown[i].before = data->effective & data->request_effective;
            data->done_snapshots++;
        }
}

void data_committed(Sim *sim, const SimEntry *raw)
{
    Data *data = sim->user;
    g_auto(VvEntry) entry = { 0 };
    VvApplied applied;
    gsize length;
    const uint8_t *bytes = g_bytes_get_data(raw->data, &length);
    bool ours = raw->type == VV_RAFT_COMMAND && vv_entry_decode(bytes, length, &entry);

    vv_state_apply(data->truth, raw->index, raw->term, ours ? &entry : NULL, admit, data, &applied);
    if (applied.ended.node)
        data_lose(data, applied.ended.node);
    if (!ours)
        return;
    data_map_apply(&data->map, raw->index, &entry, applied.verdict);
    if (applied.verdict == VV_VERDICT_OK && entry.kind == VV_ENTRY_SNAPSHOT)
        snapshot_committed(data, raw->index);
    data->done_purges += applied.verdict == VV_VERDICT_OK && entry.kind == VV_ENTRY_PURGE;
}
