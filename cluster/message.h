/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between nodes. The transport carries {kind u16, body}, knows who sent them, and understands neither.
 *
 * Body of control messages:
 *   offset  size  what
 *   0       1     version, 1
 *   1       1     flags of incompatible features, none yet: refused if not 0
 *   2             fields of the kind (fields.h), and nothing behind them
 * Bodies of Raft's messages: raft_codec.c. Messages may be lost, doubled and late: whoever needs an answer asks again. */
#ifndef VV_MESSAGE_H
#define VV_MESSAGE_H

#include "fields.h"

/* Numbers are on the wire: never reused. 1 to 255 are the transport's own. */
typedef enum {
    /* Raft: raft_codec.c */
    VV_MESSAGE_RAFT_VOTE = 0x0100,
    VV_MESSAGE_RAFT_VOTE_RESULT = 0x0101,
    VV_MESSAGE_RAFT_APPEND = 0x0102,
    VV_MESSAGE_RAFT_APPEND_RESULT = 0x0103,
    VV_MESSAGE_RAFT_TIMEOUT_NOW = 0x0104,
    VV_MESSAGE_SYNC_OFFER = 0x0105, /* a state at an index, for who lags behind the log */
    VV_MESSAGE_SYNC_ASK = 0x0106,
    VV_MESSAGE_SYNC_DATA = 0x0107,
    VV_MESSAGE_RAFT_END,

    /* sessions */
    VV_MESSAGE_OPEN = 0x0200,      /* nonce, number: a new session, please; my last was number */
    VV_MESSAGE_RENEW = 0x0201,     /* session, number, time: sent then */
    VV_MESSAGE_RENEWED = 0x0202,   /* session, number, term, quiesces that are open */
    VV_MESSAGE_CONFIRM = 0x0203,   /* term, number: is this your term? */
    VV_MESSAGE_CONFIRMED = 0x0204, /* term, number */
    VV_MESSAGE_PROPOSE = 0x0205,   /* session, seq, body: an entry */
    VV_MESSAGE_REQUEST = 0x0206,   /* body: an entry with a request id and no session: snapshot, remove, config */

    VV_MESSAGE_LEAD = 0x0207,      /* node: hand leadership to it, if it is yours */
    VV_MESSAGE_LATEST = 0x0208,    /* nonce, number: up to where is the log committed by now? */
    VV_MESSAGE_LATEST_IS = 0x0209, /* nonce, number, seq: that index */

    /* leases */
    VV_MESSAGE_LEASE = 0x0210,  /* session, range, mode: wanted */
    VV_MESSAGE_RECALL = 0x0211, /* term, session, range, mode that somebody else wants */

    /* snapshots and their removal */
    VV_MESSAGE_QUIESCE = 0x0220,  /* quiesce, session, luns */
    VV_MESSAGE_QUIESCED = 0x0221, /* quiesce, session */
    VV_MESSAGE_RESUME = 0x0222,   /* quiesce: aborted for good */
    VV_MESSAGE_RESUMED = 0x0223,  /* quiesce */
    VV_MESSAGE_DROP = 0x0224,     /* term, session, object, removal: have you let go of it? */
    VV_MESSAGE_DROPPED = 0x0225,  /* session, object, removal */

    VV_MESSAGE_END /* others' kinds begin at 0x0300 */
} VvMessageKind;

static inline bool vv_message_is_rafts(uint16_t kind)
{
    return kind >= VV_MESSAGE_RAFT_VOTE && kind < VV_MESSAGE_RAFT_END;
}

/* Does only who coordinates send it? */
bool vv_message_is_coordinators(uint16_t kind);
/* May a guest send it? It has no part in log, leadership and sessions: none of these messages; what the transport's owner has beside them looks
 * after itself. */
bool vv_message_may_be_guests(uint16_t kind);

/* Appends the body of a control message to @out. */
void vv_message_encode(GByteArray *out, uint16_t kind, const VvFields *fields);
/* False: no control message, or not of this version. On true the caller clears the fields. */
bool vv_message_decode(uint16_t kind, const uint8_t *body, size_t length_bytes, VvFields *ret_fields);
const char *vv_message_kind_name(uint16_t kind);

#endif
