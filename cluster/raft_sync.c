/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State sync: a follower that lags behind the leader's log gets the leader's state instead, in chunks that it asks for.
 *
 * libraft says "install", with index and term only, again and again while the follower does not follow. Each time the leader sends an offer;
 * the follower asks for the chunk it lacks, so lost chunks are asked again by the next offer, and nothing has a timer. libraft hears of
 * it only when all is taken, so the follower votes and follows meanwhile; only the switch itself (VvRaftOps.sync_install) is an
 * installation to it. What was taken is what all committed, so a later leader's offer of the same index and term finishes it too.
 *
 *   SYNC_OFFER  {u8 version = 1, u8 flags = 0, u64 term, index, term of index, configuration's index, stream, size; u32 n, configuration}
 *   SYNC_ASK    {u8 version = 1, u8 flags = 0, u64 stream, index, size, offset}
 *   SYNC_DATA   {u8 version = 1, u8 flags = 0, u64 stream, index, offset; u32 crc32c of the bytes, u32 n, n bytes} */
#include "codec.h"
#include "limits.h"
#include "message.h"
#include "raft_private.h"

#define VERSION 1u

static GByteArray *begin(void)
{
    GByteArray *out = g_byte_array_new();

    vv_write_u8(out, VERSION);
    vv_write_u8(out, 0);
    return out;
}

static void finish(VvRaft *raft, uint64_t to, uint16_t kind, GByteArray *out)
{
    raft->ops.send(raft->user, to, kind, out->data, out->len);
    g_byte_array_unref(out);
}

/* ---- who gives */

void vvr_sync_offer(VvRaft *raft, const struct raft_message *message)
{
    const struct raft_install_snapshot *install = &message->install_snapshot;
    VvSyncSource source;
    GByteArray *out;
    GBytes *conf;
    uint64_t conf_index = 0;
    gsize length;
    const uint8_t *data;

    if (!raft->ops.sync_source || !raft->ops.sync_source(raft->user, &source))
        return;
    conf = vvr_conf_at(raft, install->last_index, &conf_index);
    /* A checkpoint that libraft has not heard of yet: the next offer will be of it. */
    if (!conf || source.index != install->last_index)
        return;
    out = begin();
    vv_write_u64(out, install->term);
    vv_write_u64(out, install->last_index);
    vv_write_u64(out, install->last_term);
    vv_write_u64(out, conf_index);
    vv_write_u64(out, source.stream);
    vv_write_u64(out, source.size_bytes);
    data = g_bytes_get_data(conf, &length);
    vv_write_u32(out, (uint32_t) length);
    vv_write_bytes(out, data, length);
    finish(raft, message->server_id, VV_MESSAGE_SYNC_OFFER, out);
}

/* Offers go to members only. Of Raft's other messages none is refused by our configuration: it may be too old to know who votes by now, and
 * a vote that is withheld for that could be the one that a majority lacks. */
static bool is_member(const VvRaft *raft, uint64_t id)
{
    uint64_t member;
    VvRaftRole role;

    for (unsigned i = 0; vv_raft_member(raft, i, &member, &role); i++)
        if (member == id)
            return true;
    return false;
}

static bool receive_ask(VvRaft *raft, uint64_t from, VvReader *in)
{
    g_autoptr(GByteArray) chunk = g_byte_array_new();
    VvSyncSource source = { .stream = vv_read_u64(in) };
    uint64_t offset;
    GByteArray *out;

    source.index = vv_read_u64(in);
    source.size_bytes = vv_read_u64(in);
    offset = vv_read_u64(in);
    if (in->bad || vv_reader_left(in) > 0)
        return false;
    if (!raft->ops.sync_read || !is_member(raft, from) || offset >= source.size_bytes ||
        raft->ops.sync_read(raft->user, &source, offset, chunk, raft->config.chunk_bytes) != 0)
        return true;
    out = begin();
    vv_write_u64(out, source.stream);
    vv_write_u64(out, source.index);
    vv_write_u64(out, offset);
    vv_write_u32(out, vv_crc32c(0, chunk->data, chunk->len));
    vv_write_u32(out, chunk->len);
    vv_write_bytes(out, chunk->data, chunk->len);
    finish(raft, from, VV_MESSAGE_SYNC_DATA, out);
    return true;
}

/* ---- who takes */

static void ask(VvRaft *raft)
{
    const VvRaftFetch *fetch = &raft->fetch;
    GByteArray *out = begin();

    vv_write_u64(out, fetch->source.stream);
    vv_write_u64(out, fetch->source.index);
    vv_write_u64(out, fetch->source.size_bytes);
    vv_write_u64(out, fetch->offset);
    finish(raft, fetch->from, VV_MESSAGE_SYNC_ASK, out);
}

/* All is here: now libraft may know. It empties its log in memory; the log follows with sync_install. */
static void install(VvRaft *raft)
{
    VvRaftFetch *fetch = &raft->fetch;
    char address[VVR_ADDRESS_BYTES];
    struct raft_message message = { .type = RAFT_INSTALL_SNAPSHOT, .server_id = fetch->from, .server_address = address };
    struct raft_event event = { .type = RAFT_RECEIVE, .receive.message = &message };
    int rv;

    if (fetch->offer_term != raft_current_term(&raft->raft) || raft_state(&raft->raft) == RAFT_LEADER)
        return; /* the next offer */
    if (raft->ops.sync_ready && !raft->ops.sync_ready(raft->user))
        return; /* the same */
    vvr_address(fetch->from, address);
    message.install_snapshot.version = 0;
    message.install_snapshot.term = fetch->offer_term;
    message.install_snapshot.last_index = fetch->index;
    message.install_snapshot.last_term = fetch->index_term;
    message.install_snapshot.conf_index = fetch->conf_index;
    g_assert(vvr_conf_decode(fetch->conf, &message.install_snapshot.conf) == 0);
    rv = vvr_step(raft, &event);
    if (VV_RAFT_COPIES)
        raft_configuration_close(&message.install_snapshot.conf);
    if (rv != 0)
        vvr_fail(raft, rv);
}

/* Do we have what the offer holds? Then libraft's leader needs to hear only that. */
static bool have(VvRaft *raft, uint64_t index, uint64_t term)
{
    VvRaftEntry entry;

    if (raft->base_index >= index)
        return true;
    return raft->ops.read(raft->user, index, &entry) == 0 && entry.term == term;
}

static void answer_have(VvRaft *raft, uint64_t to, uint64_t index)
{
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES_RESULT, .server_id = to };

    message.append_entries_result.term = raft_current_term(&raft->raft);
    message.append_entries_result.last_log_index = MIN(index, raft->raft.last_stored);
    vvr_send(raft, &message);
}

static void begin_fetch(VvRaft *raft, const VvRaftFetch *offer)
{
    int rv;

    g_clear_pointer(&raft->fetch.conf, g_bytes_unref);
    raft->fetch = *offer;
    raft->fetch.conf = g_bytes_ref(offer->conf);
    raft->fetch.active = true;
    rv = raft->ops.sync_begin(raft->user, offer->index, offer->source.size_bytes);
    if (rv != 0)
        vvr_fail(raft, rv);
}

static void take_offer(VvRaft *raft, const VvRaftFetch *offer)
{
    VvRaftFetch *fetch = &raft->fetch;

    if (!raft->ops.sync_begin || fetch->installing || offer->offer_term < raft_current_term(&raft->raft))
        return; /* heartbeats tell an old leader our term */
    if (have(raft, offer->index, offer->index_term)) {
        if (offer->offer_term == raft_current_term(&raft->raft) && raft_state(&raft->raft) == RAFT_FOLLOWER)
            answer_have(raft, offer->from, offer->index);
        return;
    }
    if (fetch->complete && fetch->index == offer->index && fetch->index_term == offer->index_term) {
        fetch->offer_term = offer->offer_term;
        fetch->from = offer->from;
        install(raft);
        return;
    }
    if (!fetch->active || fetch->from != offer->from || fetch->source.stream != offer->source.stream ||
        fetch->index != offer->index || fetch->index_term != offer->index_term || fetch->source.size_bytes != offer->source.size_bytes)
        begin_fetch(raft, offer);
    fetch->offer_term = offer->offer_term;
    if (raft->error == 0)
        ask(raft);
}

static bool receive_offer(VvRaft *raft, uint64_t from, VvReader *in)
{
    VvRaftFetch offer = { .from = from, .offer_term = vv_read_u64(in) };
    const uint8_t *conf;
    uint32_t length;

    offer.index = offer.source.index = vv_read_u64(in);
    offer.index_term = vv_read_u64(in);
    offer.conf_index = vv_read_u64(in);
    offer.source.stream = vv_read_u64(in);
    offer.source.size_bytes = vv_read_u64(in);
    length = vv_read_u32(in);
    conf = vv_read_bytes(in, length);
    if (in->bad || vv_reader_left(in) > 0 || !vvr_conf_valid(conf, length) || offer.index == 0 || offer.index_term == 0 ||
        offer.index > VV_RAFT_NUMBER_MAX || offer.offer_term > VV_RAFT_NUMBER_MAX || offer.index_term > offer.offer_term || offer.conf_index > offer.index || offer.source.size_bytes == 0 ||
        offer.source.size_bytes > VV_SYNC_STATE_BYTES_MAX)
        return false;
    offer.conf = g_bytes_new(conf, length);
    take_offer(raft, &offer);
    g_bytes_unref(offer.conf);
    return true;
}

static bool receive_data(VvRaft *raft, uint64_t from, VvReader *in)
{
    VvRaftFetch *fetch = &raft->fetch;
    uint64_t stream = vv_read_u64(in), index = vv_read_u64(in), offset = vv_read_u64(in);
    uint32_t crc = vv_read_u32(in), length = vv_read_u32(in);
    const uint8_t *data = vv_read_bytes(in, length);
    int rv;

    if (in->bad || vv_reader_left(in) > 0 || length == 0 || vv_crc32c(0, data, length) != crc)
        return false;
    if (!fetch->active || fetch->complete || fetch->installing || fetch->from != from || fetch->source.stream != stream ||
        fetch->index != index || fetch->offset != offset || length > fetch->source.size_bytes - offset)
        return true;
    rv = raft->ops.sync_write(raft->user, offset, data, length);
    if (rv != 0) {
        vvr_fail(raft, rv);
        return true;
    }
    fetch->offset += length;
    fetch->complete = fetch->offset == fetch->source.size_bytes;
    if (!fetch->complete)
        ask(raft);
    else if (!have(raft, fetch->index, fetch->index_term))
        install(raft);
    return true;
}

bool vvr_sync_receive(VvRaft *raft, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    VvReader in = vv_reader(body, body_bytes);

    if (vv_read_u8(&in) != VERSION || vv_read_u8(&in) != 0)
        return false;
    switch (kind) {
    case VV_MESSAGE_SYNC_OFFER:
        return receive_offer(raft, from, &in);
    case VV_MESSAGE_SYNC_ASK:
        return receive_ask(raft, from, &in);
    case VV_MESSAGE_SYNC_DATA:
        return receive_data(raft, from, &in);
    default:
        return false;
    }
}
