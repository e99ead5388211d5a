/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control messages to bytes and back: a table says which fields a kind has. */
#include "message.h"

#include "limits.h"

#define VERSION 1u

static const struct {
    uint16_t kind;
    unsigned fields;
    const char *name;
} kinds[] = {
    { VV_MESSAGE_OPEN, VV_FIELD_NONCE | VV_FIELD_NUMBER, "open" },
    { VV_MESSAGE_RENEW, VV_FIELD_SESSION | VV_FIELD_TIME | VV_FIELD_NUMBER, "renew" },
    { VV_MESSAGE_RENEWED, VV_FIELD_SESSION | VV_FIELD_TERM | VV_FIELD_NUMBER | VV_FIELD_QUIESCES, "renewed" },
    { VV_MESSAGE_CONFIRM, VV_FIELD_TERM | VV_FIELD_NUMBER, "confirm" },
    { VV_MESSAGE_CONFIRMED, VV_FIELD_TERM | VV_FIELD_NUMBER, "confirmed" },
    { VV_MESSAGE_PROPOSE, VV_FIELD_SESSION | VV_FIELD_SEQ | VV_FIELD_BODY, "propose" },
    { VV_MESSAGE_REQUEST, VV_FIELD_BODY, "request" },
    { VV_MESSAGE_LEAD, VV_FIELD_NODE, "lead" },
    { VV_MESSAGE_LATEST, VV_FIELD_NONCE | VV_FIELD_NUMBER, "latest" },
    { VV_MESSAGE_LATEST_IS, VV_FIELD_NONCE | VV_FIELD_NUMBER | VV_FIELD_SEQ, "latest-is" },
    { VV_MESSAGE_LEASE, VV_FIELD_SESSION | VV_FIELD_RANGE | VV_FIELD_MODE, "lease" },
    { VV_MESSAGE_RECALL, VV_FIELD_SESSION | VV_FIELD_RANGE | VV_FIELD_MODE | VV_FIELD_TERM, "recall" },
    { VV_MESSAGE_QUIESCE, VV_FIELD_SESSION | VV_FIELD_QUIESCE | VV_FIELD_LUNS, "quiesce" },
    { VV_MESSAGE_QUIESCED, VV_FIELD_SESSION | VV_FIELD_QUIESCE, "quiesced" },
    { VV_MESSAGE_RESUME, VV_FIELD_QUIESCE, "resume" },
    { VV_MESSAGE_RESUMED, VV_FIELD_QUIESCE, "resumed" },
    { VV_MESSAGE_DROP, VV_FIELD_SESSION | VV_FIELD_OBJECT | VV_FIELD_REMOVAL | VV_FIELD_TERM, "drop" },
    { VV_MESSAGE_DROPPED, VV_FIELD_SESSION | VV_FIELD_OBJECT | VV_FIELD_REMOVAL, "dropped" },
    { VV_MESSAGE_RAFT_VOTE, 0, "vote" },
    { VV_MESSAGE_RAFT_VOTE_RESULT, 0, "vote-result" },
    { VV_MESSAGE_RAFT_APPEND, 0, "append" },
    { VV_MESSAGE_RAFT_APPEND_RESULT, 0, "append-result" },
    { VV_MESSAGE_RAFT_TIMEOUT_NOW, 0, "timeout-now" },
    { VV_MESSAGE_SYNC_OFFER, 0, "sync-offer" },
    { VV_MESSAGE_SYNC_ASK, 0, "sync-ask" },
    { VV_MESSAGE_SYNC_DATA, 0, "sync-data" },
};

bool vv_message_is_coordinators(uint16_t kind)
{
    return kind == VV_MESSAGE_RENEWED || kind == VV_MESSAGE_CONFIRM || kind == VV_MESSAGE_RECALL || kind == VV_MESSAGE_QUIESCE ||
           kind == VV_MESSAGE_RESUME || kind == VV_MESSAGE_DROP || kind == VV_MESSAGE_LATEST_IS;
}

static int find(uint16_t kind)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (kinds[i].kind == kind)
            return (int) i;
    return -1;
}

bool vv_message_may_be_guests(uint16_t kind)
{
    return !vv_message_is_rafts(kind) && find(kind) < 0;
}

void vv_message_encode(GByteArray *out, uint16_t kind, const VvFields *fields)
{
    int i = find(kind);

    g_assert(i >= 0 && !vv_message_is_rafts(kind));
    vv_write_u8(out, VERSION);
    vv_write_u8(out, 0);
    vv_fields_encode(out, fields, kinds[i].fields);
}

bool vv_message_decode(uint16_t kind, const uint8_t *body, size_t length_bytes, VvFields *ret_fields)
{
    VvReader in = vv_reader(body, length_bytes);
    VvFields fields;
    int i = find(kind);

    if (i < 0 || vv_message_is_rafts(kind) || length_bytes > VV_CLUSTER_MESSAGE_BYTES_MAX)
        return false;
    if (vv_read_u8(&in) != VERSION || vv_read_u8(&in) != 0 || !vv_fields_decode(&in, kinds[i].fields, &fields))
        return false;
    if (vv_reader_left(&in) > 0) {
        vv_fields_clear(&fields);
        return false;
    }
    *ret_fields = fields;
    return true;
}

const char *vv_message_kind_name(uint16_t kind)
{
    int i = find(kind);

    return i >= 0 ? kinds[i].name : "?";
}
