/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raft's messages as bytes. All bodies begin with {u8 version = 1, u8 flags = 0, u8 version of libraft's struct, u8 bits, u64 term}:
 *
 *   kind                 bits                      then
 *   RAFT_VOTE            1 disrupt, 2 pre-vote     u64 last index, last term
 *   RAFT_VOTE_RESULT     1 granted, 2 pre-vote     u16 features, capacity
 *   RAFT_APPEND          0                         u64 previous index, previous term, commit; u32 n,
 *                                                  n x {u64 term, u8 type, u32 length, bytes}
 *   RAFT_APPEND_RESULT   0                         u64 rejected, last index; u16 features, capacity
 *   RAFT_TIMEOUT_NOW     0                         u64 last index, last term
 *
 * (The candidate is who sends.) Nothing follows. An append of many bytes goes as several messages, each a valid append. */
#include "codec.h"
#include "limits.h"
#include "message.h"
#include "raft_private.h"

#define VERSION 1u
#define ENTRY_HEADER_BYTES 13u
#define APPEND_ENTRIES_MAX 1024u

static GByteArray *begin(unsigned struct_version, unsigned bits, uint64_t term)
{
    GByteArray *out = g_byte_array_new();

    vv_write_u8(out, VERSION);
    vv_write_u8(out, 0);
    vv_write_u8(out, (uint8_t) struct_version);
    vv_write_u8(out, (uint8_t) bits);
    vv_write_u64(out, term);
    return out;
}

static void finish(VvRaft *raft, uint64_t to, uint16_t kind, GByteArray *out)
{
    raft->ops.send(raft->user, to, kind, out->data, out->len);
    g_byte_array_unref(out);
}

/* Entries from @index on that fit one message, at most @most. False: one could not be read. */
static bool put_entries(VvRaft *raft, uint64_t index, unsigned most, GByteArray *out, unsigned *ret_count, uint64_t *ret_last_term)
{
    guint start = out->len;
    unsigned count = 0;

    vv_write_u32(out, 0);
    for (; count < most; count++) {
        VvRaftEntry entry;

        if (raft->ops.read(raft->user, index + count, &entry) != 0)
            return false;
        if (count > 0 && out->len + ENTRY_HEADER_BYTES + entry.data_bytes > VV_CLUSTER_MESSAGE_BYTES_MAX)
            break;
        vv_write_u64(out, entry.term);
        vv_write_u8(out, (uint8_t) entry.type);
        vv_write_u32(out, (uint32_t) entry.data_bytes);
        vv_write_bytes(out, entry.data, entry.data_bytes);
        *ret_last_term = entry.term;
    }
    vv_put_u32(out->data + start, count);
    *ret_count = count;
    return true;
}

/* What was compacted or cannot be read is not sent: the next answer or heartbeat makes libraft choose again. */
static void send_append(VvRaft *raft, uint64_t to, const struct raft_append_entries *append)
{
    uint64_t previous = append->prev_log_index, previous_term = append->prev_log_term;
    unsigned left = append->n_entries;

    raft->append_version = append->version;
    do {
        GByteArray *out = begin(append->version, 0, append->term);
        uint64_t last_term = previous_term;
        unsigned count;

        vv_write_u64(out, previous);
        vv_write_u64(out, previous_term);
        vv_write_u64(out, append->leader_commit);
        if (!put_entries(raft, previous + 1, left, out, &count, &last_term)) {
            g_byte_array_unref(out);
            return;
        }
        finish(raft, to, VV_MESSAGE_RAFT_APPEND, out);
        previous += count;
        previous_term = last_term;
        left -= count;
    } while (left > 0);
}

void vvr_send(VvRaft *raft, const struct raft_message *message)
{
    uint64_t to = message->server_id;
    GByteArray *out;

    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        send_append(raft, to, &message->append_entries);
        break;
    case RAFT_APPEND_ENTRIES_RESULT: {
        const struct raft_append_entries_result *result = &message->append_entries_result;

        out = begin(result->version, 0, result->term);
        vv_write_u64(out, result->rejected);
        vv_write_u64(out, result->last_log_index);
        vv_write_u16(out, result->features);
        vv_write_u16(out, result->capacity);
        finish(raft, to, VV_MESSAGE_RAFT_APPEND_RESULT, out);
        break;
    }
    case RAFT_REQUEST_VOTE: {
        const struct raft_request_vote *vote = &message->request_vote;

        out = begin(vote->version, (vote->disrupt_leader ? 1u : 0) | (vote->pre_vote ? 2u : 0), vote->term);
        vv_write_u64(out, vote->last_log_index);
        vv_write_u64(out, vote->last_log_term);
        finish(raft, to, VV_MESSAGE_RAFT_VOTE, out);
        break;
    }
    case RAFT_REQUEST_VOTE_RESULT: {
        const struct raft_request_vote_result *result = &message->request_vote_result;

        out = begin(result->version, (result->vote_granted ? 1u : 0) | (result->pre_vote ? 2u : 0), result->term);
        vv_write_u16(out, result->features);
        vv_write_u16(out, result->capacity);
        finish(raft, to, VV_MESSAGE_RAFT_VOTE_RESULT, out);
        break;
    }
    case RAFT_TIMEOUT_NOW:
        out = begin(message->timeout_now.version, 0, message->timeout_now.term);
        vv_write_u64(out, message->timeout_now.last_log_index);
        vv_write_u64(out, message->timeout_now.last_log_term);
        finish(raft, to, VV_MESSAGE_RAFT_TIMEOUT_NOW, out);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        vvr_sync_offer(raft, message);
        break;
    }
}

/* ---- decoding */

static bool decode_entries(VvReader *in, struct raft_append_entries *append)
{
    uint32_t count = vv_read_u32(in);
    struct raft_entry *entries;
    uint8_t *batch;
    size_t used = 0;

    if (in->bad || count > APPEND_ENTRIES_MAX || count > vv_reader_left(in) / ENTRY_HEADER_BYTES)
        return false;
    append->n_entries = count;
    append->entries = NULL;
    if (count == 0)
        return true;
    entries = g_new0(struct raft_entry, count);
    batch = raft_malloc(vv_reader_left(in) + 1);
    g_assert(batch);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t term = vv_read_u64(in);
        uint8_t type = vv_read_u8(in);
        uint32_t length = vv_read_u32(in);
        const uint8_t *data = in->bad || length > VV_ENTRY_BYTES_MAX ? NULL : vv_read_bytes(in, length);

        if (in->bad || length > VV_ENTRY_BYTES_MAX || type < VV_RAFT_COMMAND || type > VV_RAFT_CHANGE ||
            (type == VV_RAFT_CHANGE && !vvr_conf_valid(data, length))) {
            raft_free(batch);
            g_free(entries);
            return false;
        }
        if (length > 0)
            memcpy(batch + used, data, length);
        entries[i] = (struct raft_entry) { .term = term, .type = type, .buf = { batch + used, length }, .batch = batch };
        used += length;
    }
    append->entries = entries;
    return true;
}

static bool decode_append(VvReader *in, struct raft_append_entries *append)
{
    append->prev_log_index = vv_read_u64(in);
    append->prev_log_term = vv_read_u64(in);
    append->leader_commit = vv_read_u64(in);
    if (!decode_entries(in, append))
        return false;
    if (vv_reader_left(in) == 0)
        return true;
    if (append->n_entries > 0)
        raft_free(append->entries[0].batch);
    g_free(append->entries);
    return false;
}

bool vvr_decode(uint16_t kind, const uint8_t *body, size_t body_bytes, struct raft_message *ret_message)
{
    VvReader in = vv_reader(body, body_bytes);
    struct raft_message m = { 0 };
    uint8_t version = vv_read_u8(&in), flags = vv_read_u8(&in), struct_version = vv_read_u8(&in), bits = vv_read_u8(&in);
    uint64_t term = vv_read_u64(&in);

    if (in.bad || version != VERSION || flags != 0 || body_bytes > VV_CLUSTER_MESSAGE_BYTES_MAX + 4096)
        return false;
    switch (kind) {
    case VV_MESSAGE_RAFT_APPEND:
        m.type = RAFT_APPEND_ENTRIES;
        m.append_entries.version = struct_version;
        m.append_entries.term = term;
        if (!decode_append(&in, &m.append_entries))
            return false;
        *ret_message = m;
        return true;
    case VV_MESSAGE_RAFT_APPEND_RESULT:
        m.type = RAFT_APPEND_ENTRIES_RESULT;
        m.append_entries_result.version = struct_version;
        m.append_entries_result.term = term;
        m.append_entries_result.rejected = vv_read_u64(&in);
        m.append_entries_result.last_log_index = vv_read_u64(&in);
        m.append_entries_result.features = vv_read_u16(&in);
        m.append_entries_result.capacity = vv_read_u16(&in);
        break;
    case VV_MESSAGE_RAFT_VOTE:
        m.type = RAFT_REQUEST_VOTE;
        m.request_vote.version = struct_version;
        m.request_vote.term = term;
        m.request_vote.disrupt_leader = bits & 1;
        m.request_vote.pre_vote = bits & 2;
        m.request_vote.last_log_index = vv_read_u64(&in);
        m.request_vote.last_log_term = vv_read_u64(&in);
        break;
    case VV_MESSAGE_RAFT_VOTE_RESULT:
        m.type = RAFT_REQUEST_VOTE_RESULT;
        m.request_vote_result.version = struct_version;
        m.request_vote_result.term = term;
        m.request_vote_result.vote_granted = bits & 1;
        m.request_vote_result.pre_vote = bits & 2;
        m.request_vote_result.features = vv_read_u16(&in);
        m.request_vote_result.capacity = vv_read_u16(&in);
        break;
    case VV_MESSAGE_RAFT_TIMEOUT_NOW:
        m.type = RAFT_TIMEOUT_NOW;
        m.timeout_now.version = struct_version;
        m.timeout_now.term = term;
        m.timeout_now.last_log_index = vv_read_u64(&in);
        m.timeout_now.last_log_term = vv_read_u64(&in);
        break;
    default:
        return false;
    }
    if (in.bad || vv_reader_left(&in) > 0)
        return false;
    *ret_message = m;
    return true;
}

/* ---- configurations: libraft's encoding, {u8 1, u64 n, n x {u64 id, address, 0, u8 role}}. It wants an
 * address of each, all different; ours is "n" and the id: the transport knows the real ones. */

int vvr_address(uint64_t id, char *address)
{
    return g_snprintf(address, VVR_ADDRESS_BYTES, "n%" G_GUINT64_FORMAT, id);
}

bool vvr_conf_valid(const uint8_t *data, size_t data_bytes)
{
    VvReader in = vv_reader(data, data_bytes);
    uint64_t ids[VV_RAFT_MEMBERS_MAX];
    uint64_t count;

    if (vv_read_u8(&in) != 1)
        return false;
    count = vv_read_u64(&in);
    if (in.bad || count == 0 || count > VV_RAFT_MEMBERS_MAX)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        char address[VVR_ADDRESS_BYTES];
        const uint8_t *bytes;
        int length;

        ids[i] = vv_read_u64(&in);
        length = vvr_address(ids[i], address) + 1;
        bytes = vv_read_bytes(&in, (size_t) length);
        if (in.bad || ids[i] == 0 || memcmp(bytes, address, (size_t) length) != 0 || vv_read_u8(&in) > RAFT_SPARE || in.bad)
            return false;
        for (uint64_t j = 0; j < i; j++)
            if (ids[j] == ids[i])
                return false;
    }
    /* It pads to 8 bytes. */
    return vv_reader_left(&in) < 8;
}

int vvr_conf_decode(GBytes *bytes, struct raft_configuration *ret_conf)
{
    gsize length;
    const uint8_t *data = g_bytes_get_data(bytes, &length);
    struct raft_buffer buffer = { (void *) data, length };

    if (!vvr_conf_valid(data, length))
        return RAFT_MALFORMED;
    return raft_configuration_decode(&buffer, ret_conf);
}
