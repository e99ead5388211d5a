/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replicated state as bytes.
 *
 *   offset  size  what
 *   0       4     magic "vvcs"
 *   4       2     version, 1
 *   6       2     flags of incompatible features, none yet: refused if not 0
 *   8       8     applied index        24  8  index of the last session end
 *   16      8     applied term         32  8  next node id
 *   40            lists, each a u32 count and its records:
 *     nodes     {u64 id, session, last session, nonce, seq, u8 removed, u32 n, n bytes}
 *     leases    {u64 lun, first, end, node, session, u8 mode, u64 index}
 *     segments  {u64 segment, node, session}      unfenced  {u64 node, session, end index}
 *     removals  {u64 object, index}               requests  {u64 client, number, index, u8 verdict}
 *     done      {u64 number}
 *   at the end  u32 crc32c of all before
 *
 * It comes from a peer in a state sync: the decoder is total, and refuses what S3 and S4 rule out. */
#include "limits.h"
#include "state_private.h"

#define MAGIC 0x73637676u /* "vvcs" */
#define VERSION 1u

static void put_holder(GByteArray *out, VvHolder holder)
{
    vv_write_u64(out, holder.node);
    vv_write_u64(out, holder.session);
}

static void encode_nodes(const VvClusterState *state, GByteArray *out)
{
    vv_write_u32(out, state->nodes->len);
    for (guint i = 0; i < state->nodes->len; i++) {
        const VvNodeState *node = VV_STATE_AT(state->nodes, VvNodeState, i);

        vv_write_u64(out, node->id);
        vv_write_u64(out, node->session);
        vv_write_u64(out, node->last_session);
        vv_write_u64(out, node->nonce);
        vv_write_u64(out, node->seq);
        vv_write_u8(out, node->removed);
        vv_write_u32(out, node->body_bytes);
        vv_write_bytes(out, node->body, node->body_bytes);
    }
}

static void encode_leases(const VvClusterState *state, GByteArray *out)
{
    vv_write_u32(out, state->leases->len);
    for (guint i = 0; i < state->leases->len; i++) {
        const VvLease *lease = VV_STATE_AT(state->leases, VvLease, i);

        vv_write_u64(out, lease->range.lun);
        vv_write_u64(out, lease->range.first);
        vv_write_u64(out, lease->range.end);
        put_holder(out, lease->holder);
        vv_write_u8(out, (uint8_t) lease->mode);
        vv_write_u64(out, lease->index);
    }
}

void vv_state_encode(const VvClusterState *state, GByteArray *out)
{
    guint start = out->len;

    vv_write_u32(out, MAGIC);
    vv_write_u16(out, VERSION);
    vv_write_u16(out, 0);
    vv_write_u64(out, state->applied_index);
    vv_write_u64(out, state->applied_term);
    vv_write_u64(out, state->last_end);
    vv_write_u64(out, state->next_node);
    encode_nodes(state, out);
    encode_leases(state, out);
    vv_write_u32(out, state->segments->len);
    for (guint i = 0; i < state->segments->len; i++) {
        vv_write_u64(out, VV_STATE_AT(state->segments, VvSegmentOwner, i)->segment);
        put_holder(out, VV_STATE_AT(state->segments, VvSegmentOwner, i)->owner);
    }
    vv_write_u32(out, state->unfenced->len);
    for (guint i = 0; i < state->unfenced->len; i++) {
        put_holder(out, VV_STATE_AT(state->unfenced, VvUnfenced, i)->holder);
        vv_write_u64(out, VV_STATE_AT(state->unfenced, VvUnfenced, i)->end_index);
    }
    vv_write_u32(out, state->removals->len);
    for (guint i = 0; i < state->removals->len; i++) {
        vv_write_u64(out, VV_STATE_AT(state->removals, VvPendingRemoval, i)->object);
        vv_write_u64(out, VV_STATE_AT(state->removals, VvPendingRemoval, i)->index);
    }
    vv_write_u32(out, state->requests->len);
    for (guint i = 0; i < state->requests->len; i++) {
        const VvRequestResult *result = VV_STATE_AT(state->requests, VvRequestResult, i);

        vv_write_u64(out, result->id.client);
        vv_write_u64(out, result->id.number);
        vv_write_u64(out, result->index);
        vv_write_u8(out, (uint8_t) result->verdict);
    }
    vv_write_u32(out, state->done->len);
    for (guint i = 0; i < state->done->len; i++)
        vv_write_u64(out, *VV_STATE_AT(state->done, uint64_t, i));
    vv_write_u32(out, vv_crc32c(0, out->data + start, out->len - start));
}

/* ---- decoding */

/* @least: bytes of the smallest record, so that a count cannot ask for more memory than its bytes. */
static bool read_count(VvReader *in, guint most, size_t least, guint *ret_count)
{
    *ret_count = vv_read_u32(in);
    return !in->bad && *ret_count <= most && *ret_count <= vv_reader_left(in) / least;
}

static VvHolder read_holder(VvReader *in)
{
    VvHolder holder = { .node = vv_read_u64(in) };

    holder.session = vv_read_u64(in);
    return holder;
}

static bool decode_nodes(VvReader *in, VvClusterState *state)
{
    uint64_t last = 0;
    guint count;

    if (!read_count(in, VV_SEGMENTS_OWNED_MAX, 45, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        VvNodeState node = { .id = vv_read_u64(in) };
        const uint8_t *body;
        uint8_t removed;

        node.session = vv_read_u64(in);
        node.last_session = vv_read_u64(in);
        node.nonce = vv_read_u64(in);
        node.seq = vv_read_u64(in);
        removed = vv_read_u8(in);
        node.body_bytes = vv_read_u32(in);
        if (in->bad || node.id <= last || node.id >= state->next_node || removed > 1 || node.body_bytes > VV_NODE_BODY_BYTES_MAX ||
            (node.session && (node.session != node.last_session || removed)) || node.last_session > state->applied_index)
            return false;
        body = vv_read_bytes(in, node.body_bytes);
        if (in->bad)
            return false;
        last = node.id;
        node.removed = removed;
        node.body = g_memdup2(body, node.body_bytes);
        g_array_append_val(state->nodes, node);
    }
    return true;
}

/* Where the leases of one LUN that were read so far end: all, and those that may write. */
typedef struct {
    uint64_t lun, end, write_end;
} Reach;

/* Sorted by where they begin, so one that was read overlaps if it ends behind the beginning of this. */
static bool follows(Reach *reach, const VvLease *before, const VvLease *lease)
{
    if (before && vvs_compare_leases(before, lease) >= 0)
        return false;
    if (!before || reach->lun != lease->range.lun)
        *reach = (Reach) { .lun = lease->range.lun };
    if (lease->range.first < (lease->mode == VV_LEASE_WRITE ? reach->end : reach->write_end))
        return false;
    reach->end = MAX(reach->end, lease->range.end);
    if (lease->mode == VV_LEASE_WRITE)
        reach->write_end = MAX(reach->write_end, lease->range.end);
    return true;
}

static bool decode_leases(VvReader *in, VvClusterState *state)
{
    Reach reach = { 0 };
    guint count;

    if (!read_count(in, VV_LEASES_MAX, 49, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        VvLease lease = { .range.lun = vv_read_u64(in) };
        const VvLease *before = i > 0 ? VV_STATE_AT(state->leases, VvLease, i - 1) : NULL;
        uint8_t mode;

        lease.range.first = vv_read_u64(in);
        lease.range.end = vv_read_u64(in);
        lease.holder = read_holder(in);
        mode = vv_read_u8(in);
        lease.index = vv_read_u64(in);
        lease.mode = (VvLeaseMode) mode;
        if (in->bad || (mode != VV_LEASE_READ && mode != VV_LEASE_WRITE) || lease.range.first >= lease.range.end ||
            lease.holder.session == 0 || vv_state_session(state, lease.holder.node) != lease.holder.session)
            return false;
        if (!follows(&reach, before, &lease))
            return false;
        g_array_append_val(state->leases, lease);
    }
    return true;
}

static bool decode_rest(VvReader *in, VvClusterState *state)
{
    guint count;

    if (!read_count(in, VV_SEGMENTS_OWNED_MAX, 24, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        VvSegmentOwner owner = { .segment = vv_read_u64(in) };

        owner.owner = read_holder(in);
        if (in->bad || (i > 0 && VV_STATE_AT(state->segments, VvSegmentOwner, i - 1)->segment >= owner.segment))
            return false;
        g_array_append_val(state->segments, owner);
    }
    /* One more than the limit that stops new sessions may be added by each node that is there then. */
    if (!read_count(in, VV_UNFENCED_MAX + VV_NODES_MAX, 24, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        VvUnfenced unfenced = { .holder = read_holder(in) };

        unfenced.end_index = vv_read_u64(in);
        g_array_append_val(state->unfenced, unfenced);
    }
    if (!read_count(in, VV_REMOVALS_WAITING_MAX, 16, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        VvPendingRemoval removal = { .object = vv_read_u64(in) };

        removal.index = vv_read_u64(in);
        g_array_append_val(state->removals, removal);
    }
    if (!read_count(in, VV_CLUSTER_REQUESTS_KEPT, 25, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        VvRequestResult result = { .id.client = vv_read_u64(in) };
        uint8_t verdict;

        result.id.number = vv_read_u64(in);
        result.index = vv_read_u64(in);
        verdict = vv_read_u8(in);
        if (verdict >= VV_VERDICTS)
            return false;
        result.verdict = (VvVerdict) verdict;
        g_array_append_val(state->requests, result);
    }
    if (!read_count(in, VV_QUIESCES_MAX, 8, &count))
        return false;
    for (guint i = 0; i < count; i++) {
        uint64_t number = vv_read_u64(in);

        g_array_append_val(state->done, number);
    }
    return !in->bad;
}

VvClusterState *vv_state_decode(const uint8_t *data, size_t length_bytes)
{
    g_autoptr(VvClusterState) state = vv_state_new();
    VvReader in = vv_reader(data, length_bytes);

    if (length_bytes < 4 || vv_get_u32(data + length_bytes - 4) != vv_crc32c(0, data, length_bytes - 4))
        return NULL;
    in.length_bytes -= 4;
    if (vv_read_u32(&in) != MAGIC || vv_read_u16(&in) != VERSION || vv_read_u16(&in) != 0)
        return NULL;
    state->applied_index = vv_read_u64(&in);
    state->applied_term = vv_read_u64(&in);
    state->last_end = vv_read_u64(&in);
    state->next_node = vv_read_u64(&in);
    if (!decode_nodes(&in, state) || !decode_leases(&in, state) || !decode_rest(&in, state) || vv_reader_left(&in) > 0)
        return NULL;
    return g_steal_pointer(&state);
}

static void copy_array(GArray *to, const GArray *from)
{
    if (from->len > 0)
        g_array_append_vals(to, from->data, from->len);
}

VvClusterState *vv_state_copy(const VvClusterState *state)
{
    VvClusterState *copy = vv_state_new();

    copy->applied_index = state->applied_index;
    copy->applied_term = state->applied_term;
    copy->last_end = state->last_end;
    copy->next_node = state->next_node;
    copy_array(copy->nodes, state->nodes);
    for (guint i = 0; i < copy->nodes->len; i++) {
        VvNodeState *node = VV_STATE_AT(copy->nodes, VvNodeState, i);

        node->body = g_memdup2(node->body, node->body_bytes);
    }
    copy_array(copy->leases, state->leases);
    copy_array(copy->segments, state->segments);
    copy_array(copy->unfenced, state->unfenced);
    copy_array(copy->removals, state->removals);
    copy_array(copy->requests, state->requests);
    copy_array(copy->done, state->done);
    return copy;
}

uint64_t vv_state_digest(const VvClusterState *state)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    uint8_t digest[32];
    gsize length = sizeof digest;

    vv_state_encode(state, bytes);
    g_checksum_update(checksum, bytes->data, bytes->len);
    g_checksum_get_digest(checksum, digest, &length);
    return vv_get_u64(digest);
}
