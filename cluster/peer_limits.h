/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every maximum of the peer protocol, with where the number comes from. docs/peer-protocol.md repeats those of the wire. */
#ifndef VV_PEER_LIMITS_H
#define VV_PEER_LIMITS_H

#include "limits.h"

#define VV_PEER_PORT 7333u

/* ---- what a frame may have. A body is decoded, data is not: it goes to or comes from a disk. */
#define VV_FRAME_BYTES 32u
#define VV_PEER_BODY_BYTES_MAX (VV_ENTRY_BYTES_MAX + (64u << 10)) /* a journal entry and what is said about it */
#define VV_PEER_DATA_BYTES_MAX VV_IO_BYTES_MAX
#define VV_DATA_BODY_BYTES_MAX (4u << 10) /* on data connections bodies only say what the data is */
#define VV_HELLO_BYTES_MAX (1u << 10)     /* before a peer is one: hello, goodbye */
#define VV_JOIN_BYTES_MAX (8u << 10)      /* a certificate request has 300 bytes, an address 64 */
#define VV_REASON_BYTES_MAX 512u          /* the words of a goodbye */
#define VV_SOFTWARE_BYTES_MAX 32u

/* ---- nodes: VV_NODES_MAX of limits.h; ids are never reused, so they are counted by what is known at a time */
#define VV_NODE_ADDRESSES_MAX 8u
#define VV_ADDRESS_BYTES_MAX 64u /* "[IPv6%interface]:port" has 71 at most with a scope; without one 47 */
#define VV_CHANNELS_MAX 8u       /* data connections from one node to another */

/* ---- the answer to a request to join: texts and blobs have a length of 2, addresses a count of 1; the rest is in joining.h */
#define VV_CREDENTIAL_BYTES_MAX (4u << 10) /* a certificate or a key: ours have 500 */
#define VV_KNOWN_NODE_BYTES_MAX (8u + 1u + 2u + VV_NAME_BYTES_MAX + 1u + VV_NODE_ADDRESSES_MAX * (2u + VV_ADDRESS_BYTES_MAX))
#define VV_JOINED_BYTES_MAX \
    (1u + 8u + 1u + 2u * (2u + VV_NAME_BYTES_MAX) + 3u * (2u + VV_CREDENTIAL_BYTES_MAX) + 2u + VV_NODES_MAX * VV_KNOWN_NODE_BYTES_MAX)

/* ---- tokens */
#define VV_TOKEN_BYTES_MAX 2048u /* 8 addresses of 64, two names of 128, 120 fixed: half of it */
#define VV_TOKEN_TEXT_MAX 2744u  /* the same in base64url, with its prefix */

/* ---- requests: unanswered ones of one connection, each direction. 64 of 1 MiB keep a 100 Gbit/s line of 1 ms busy. */
#define VV_PEER_REQUESTS_MAX 64u
#define VV_CONTROL_REQUESTS_MAX 1024u

/* ---- output of one connection that waits. At the high water senders are told -EAGAIN until it is below the low one; what may not
 * be refused (answers, keep-alive) goes on to the hard limit, at which the connection ends. */
#define VV_PEER_OUTPUT_BYTES_HIGH (512u << 10)
#define VV_PEER_OUTPUT_BYTES_LOW (128u << 10)
#define VV_PEER_OUTPUT_BYTES_MAX (8u << 20)  /* control: answers that nobody reads */
#define VV_DATA_OUTPUT_BYTES_HIGH (4u << 20) /* borrowed from the engine, not the transport's own memory */
#define VV_DATA_OUTPUT_BYTES_LOW (1u << 20)
#define VV_DATA_OUTPUT_BYTES_MAX ((VV_PEER_REQUESTS_MAX + 1u) * (VV_PEER_DATA_BYTES_MAX + VV_DATA_BODY_BYTES_MAX))
#define VV_PEER_QUEUE_BATCH_BYTES \
    (256u << 10) /* given to TLS at a time: the rest can still be dropped with its request */

/* ---- times. A pool's T is 10 s; a dead connection must be known well before. */
#define VV_PEER_IDLE_MS 1000u  /* nothing sent for so long: a ping */
#define VV_PEER_DEAD_MS 5000u  /* nothing received for so long: closed */
#define VV_PEER_DOUBT_MS 1000u /* ... while the other end is dialling anew */
#define VV_PEER_FRAME_MS \
    20000u /* from the first byte of a frame to its last, pauses not counted: 1 MiB at 0.5 Mbit/s */
#define VV_CONTROL_STALL_MS 5000u /* output waits and none of it goes */
#define VV_DATA_STALL_MS (VV_LUN_TIMEOUT_SECONDS * 1000u)
#define VV_GREETING_MS 5000u /* from accept or connect to the end of hello */
#define VV_JOIN_MS 30000u    /* a join request to its answer: an entry must be committed meanwhile */
#define VV_DIAL_MS_MIN 100u  /* before the second try, doubled each time, with jitter */
#define VV_DIAL_MS_MAX 3000u
#define VV_DIAL_GRACE_MS 300u /* the node with the higher id lets the other dial first */

/* ---- strangers */
#define VV_GREETINGS_MAX 128u            /* connections that are not peers yet: 64 nodes that all come back, twice */
#define VV_GREETINGS_PER_ADDRESS_MAX 16u /* ... of them from one address */
#define VV_JOINS_MAX 4u                  /* join requests under way */
#define VV_LOG_PER_MINUTE_MAX 10u        /* lines about strangers, refusals, mistakes, each; more are counted */

#endif
