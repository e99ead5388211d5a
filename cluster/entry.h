/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries of the cluster's log.
 *
 *   offset  size  what
 *   0       2     magic "vE"
 *   2       1     version, 1
 *   3       1     flags of incompatible features, none yet: refused if not 0
 *   4       2     kind
 *   6       2     0
 *   8       8     request: client, 0 = none
 *   16      8     request: number
 *   24            fields of the kind (fields.h), and nothing behind them
 *
 * At most VV_ENTRY_BYTES_MAX, of which the body has at most VV_ENTRY_BODY_BYTES_MAX: lists that others put in later fit beside it.
 * What an entry does is state.c's affair; bodies are the engine's. */
#ifndef VV_ENTRY_H
#define VV_ENTRY_H

#include "fields.h"

/* Numbers are on disk: never reused. */
typedef enum {
    VV_ENTRY_NOOP = 1,         /* the first of a term */
    VV_ENTRY_SESSION = 2,      /* node, nonce, number: a new session of the node, whose last was number (0: none) */
    VV_ENTRY_EXPIRE = 3,       /* node, session: it ends */
    VV_ENTRY_GRANT = 4,        /* node, session, range, mode */
    VV_ENTRY_RELEASE = 5,      /* node, session, seq, range: whatever it holds there */
    VV_ENTRY_MAP = 6,          /* node, session, seq, body: changes of the map */
    VV_ENTRY_SEGMENT = 7,      /* node, session, seq, object: the segment is the session's to allocate from */
    VV_ENTRY_SNAPSHOT = 8,     /* quiesce, luns, holders that were quiesced, body */
    VV_ENTRY_REMOVE = 9,       /* object, body: a snapshot disappears */
    VV_ENTRY_PURGE = 10,       /* object, removal, holders that dropped it, body: its space comes back */
    VV_ENTRY_FENCED = 11,      /* node, session: ended, and nothing of it or of earlier ones of the node can still land */
    VV_ENTRY_NODE_ADD = 12,    /* node: must be the next id; body: name and so on */
    VV_ENTRY_NODE_SET = 13,    /* node, body */
    VV_ENTRY_NODE_REMOVE = 14, /* node: its session ends, its id is never used again */
    VV_ENTRY_CONFIG = 15,      /* body: changes of the configuration that need no quiesce */
    VV_ENTRY_KINDS
} VvEntryKind;

/* A client retries with the same id and gets the first result. client 0: none. */
typedef struct {
    uint64_t client;
    uint64_t number;
} VvRequestId;

typedef struct {
    VvEntryKind kind;
    VvRequestId request;
    VvFields f;
} VvEntry;

/* Appends to @out. Its body must fit VV_ENTRY_BODY_BYTES_MAX (asserted). */
void vv_entry_encode(GByteArray *out, const VvEntry *entry);
/* False: not an entry of this version. On true the caller clears it; its body is borrowed from @data. */
bool vv_entry_decode(const uint8_t *data, size_t length_bytes, VvEntry *ret_entry);
void vv_entry_clear(VvEntry *entry);
/* For logs and traces; "?" for others. */
const char *vv_entry_kind_name(VvEntryKind kind);
/* Is it counted by the session's seq? */
bool vv_entry_has_seq(VvEntryKind kind);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvEntry, vv_entry_clear)

#endif
