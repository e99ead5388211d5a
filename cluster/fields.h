/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries of the log and messages between nodes are made of: the same few fields, chosen by kind.
 *
 * On wire and in the log, in this order, those that the kind's set names, little-endian:
 *
 *   node      u64   id, not 0             object    u64   snapshot, segment
 *   session   u64   index, not 0          removal   u64   index of the remove entry, not 0
 *   seq       u64                         term      u64
 *   nonce     u64   not 0                 number    u64
 *   time      u64   ms                    luns      u16 n, then n x u64, rising
 *   range     u64 lun, first, end         holders   u16 n, then n x {u64 node, u64 session}, rising by node
 *   mode      u8    VvLeaseMode           quiesces  u16 n, then n x {u64 term, u64 number}
 *   quiesce   u64 term, u64 number        body      u32 n, then n bytes; meaning is another layer's
 *
 * Bytes may come from peers: the decoder is total, and bounded by the maxima in limits.h. */
#ifndef VV_FIELDS_H
#define VV_FIELDS_H

#include "codec.h"

typedef enum { VV_LEASE_READ = 1, VV_LEASE_WRITE = 2 } VvLeaseMode;

/* Blocks [first, end) of a LUN. */
typedef struct {
    uint64_t lun;
    uint64_t first;
    uint64_t end;
} VvRange;

/* A node in one of its sessions; a session is named by the index of its entry. */
typedef struct {
    uint64_t node;
    uint64_t session;
} VvHolder;

/* A quiesce is named by its coordinator's term and a number of that coordinator's. {0, 0}: none. */
typedef struct {
    uint64_t term;
    uint64_t number;
} VvQuiesceId;

enum {
    VV_FIELD_NODE = 1 << 0,
    VV_FIELD_SESSION = 1 << 1,
    VV_FIELD_SEQ = 1 << 2,
    VV_FIELD_NONCE = 1 << 3,
    VV_FIELD_TIME = 1 << 4,
    VV_FIELD_RANGE = 1 << 5,
    VV_FIELD_MODE = 1 << 6,
    VV_FIELD_QUIESCE = 1 << 7,
    VV_FIELD_OBJECT = 1 << 8,
    VV_FIELD_REMOVAL = 1 << 9,
    VV_FIELD_TERM = 1 << 10,
    VV_FIELD_NUMBER = 1 << 11,
    VV_FIELD_LUNS = 1 << 12,
    VV_FIELD_HOLDERS = 1 << 13,
    VV_FIELD_QUIESCES = 1 << 14,
    VV_FIELD_BODY = 1 << 15,
};

typedef struct {
    uint64_t node;
    uint64_t session;
    uint64_t seq;
    uint64_t nonce;
    uint64_t time_ms;
    VvRange range;
    VvLeaseMode mode;
    VvQuiesceId quiesce;
    uint64_t object;
    uint64_t removal;
    uint64_t term;
    uint64_t number;
    const uint64_t *luns; /* borrowed when encoding; after decoding owned through @memory */
    unsigned luns_count;
    const VvHolder *holders;
    unsigned holders_count;
    const VvQuiesceId *quiesces;
    unsigned quiesces_count;
    const uint8_t *body; /* borrowed from the decoded bytes */
    size_t body_bytes;
    void *memory; /* of the lists after decoding, else NULL */
} VvFields;

void vv_fields_encode(GByteArray *out, const VvFields *fields, unsigned set);
/* @ret_fields: on true to be cleared by the caller; on false nothing to clear. Reads from @in; what follows is the caller's affair. */
bool vv_fields_decode(VvReader *in, unsigned set, VvFields *ret_fields);
void vv_fields_clear(VvFields *fields);

static inline bool vv_ranges_overlap(const VvRange *a, const VvRange *b)
{
    return a->lun == b->lun && a->first < b->end && b->first < a->end;
}

#endif
