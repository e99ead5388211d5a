/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What two nodes say before they are peers, what ends it, and what keeps it alive. Bodies, little-endian:
 *
 *   HELLO: the dialler's first, then the other's; one each
 *    0  2  oldest version it speaks        60  8  dial: numbers this instance's connections, ascending
 *    2  2  newest version it speaks        68  1  purpose: 1 control, 2 data
 *    4  8  features it requires            69  1  channel: 0 for control, from 1 for data
 *   12  8  features it can do              70  1  data channels it serves
 *   20 16  pool                            71  1  zero
 *   36  8  node that speaks                72  4  unanswered requests it takes at a time
 *   44  8  node it means to talk to        76  4  longest body it takes
 *   52  8  instance: random, new for each  80  4  most data it takes in one message
 *          start of the process            84     texts (u16 length, bytes): name, software
 *   then fields of later versions, {u16 tag, u16 length, bytes} each: unknown tags are skipped
 *
 *   GOODBYE: u16 reason, text; the connection ends    PING, PONG: u64 time of who sent the ping, which only that one reads */
#ifndef VV_HELLO_H
#define VV_HELLO_H

#include "peer_limits.h"
#include "util.h"

#define VV_PEER_VERSION_MIN 1u
#define VV_PEER_VERSION_MAX 1u

typedef enum { VV_PURPOSE_CONTROL = 1, VV_PURPOSE_DATA = 2 } VvPurpose;

typedef struct {
    uint16_t version_min, version_max;
    uint64_t features_required; /* who does not know one of these must not talk to us */
    uint64_t features_offered;  /* ... and what both offer is used; contains those required */
    VvUuid pool;
    uint64_t node;
    uint64_t to;
    uint64_t instance;
    uint64_t dial;
    VvPurpose purpose;
    uint8_t channel;
    uint8_t channels;
    uint32_t requests_max; /* unanswered ones that it takes at a time */
    uint32_t body_max, data_max;
    char name[VV_NAME_BYTES_MAX + 1];
    char software[VV_SOFTWARE_BYTES_MAX + 1];
} VvHello;

void vv_hello_encode(const VvHello *hello, GByteArray *out);
/* Total. Error: VV_ERROR_DAMAGED. */
bool vv_hello_decode(const uint8_t *bytes, size_t length_bytes, VvHello *ret_hello, GError **error);

/* May who says @theirs be our peer? Versions, features and pool, in this order, so that the first difference is named. On success
 * the version and features that both speak. Error: VV_ERROR_UNSUPPORTED (version, features), VV_ERROR_DENIED (pool). */
bool vv_hello_agree(
    const VvHello *ours, const VvHello *theirs, uint16_t *ret_version, uint64_t *ret_features, GError **error);

typedef enum {
    VV_GOODBYE_ENDING = 1,    /* the process ends: dial again later */
    VV_GOODBYE_VERSION = 2,   /* no version, or a feature, in common */
    VV_GOODBYE_POOL = 3,      /* another pool */
    VV_GOODBYE_NODE = 4,      /* no member that is known (yet), or not whom the dialler meant */
    VV_GOODBYE_DUPLICATE = 5, /* another connection of this pair is kept */
    VV_GOODBYE_TWIN = 6,      /* another process has the same node's certificate */
    VV_GOODBYE_PROTOCOL = 7,  /* broke the rules */
    VV_GOODBYE_BUSY = 8,      /* too many connections */
    VV_GOODBYE_GONE = 9,      /* its id is used up: it left, or was evicted. Not said of an id that is not known */
} VvGoodbyeReason;

typedef struct {
    uint16_t reason; /* any: later versions may have more */
    char text[VV_REASON_BYTES_MAX + 1];
} VvGoodbye;

void vv_goodbye_encode(uint16_t reason, const char *text, GByteArray *out);
/* Total; what cannot be printed becomes '?'. Error: VV_ERROR_DAMAGED. */
bool vv_goodbye_decode(const uint8_t *bytes, size_t length_bytes, VvGoodbye *ret_goodbye, GError **error);

#endif
