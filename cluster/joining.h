/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a machine becomes a node: one frame JOIN over TLS without a certificate of its own, one frame JOINED back. Little-endian; text is
 * u16 length and bytes, blob is u16 length and bytes.
 *
 *   JOIN      u64 invite id, text name, text software, u8 count of addresses, a text each, blob certificate request (PKCS #10), and in
 *             the last 64 bytes the proof: Ed25519 with the token's secret over {binding of this TLS connection, all bytes before}
 *   JOINED    u8 0, u64 node id, u8 role, text pool's name, text node's name, blob certificate, blob authority's certificate, blob
 *             authority's key (empty for guests), u16 count of nodes, each {u64 id, u8 guest, text name, u8 count, texts of addresses}
 *      or     u8 1, text code (a word of error.h), text message */
#ifndef VV_JOINING_H
#define VV_JOINING_H

#include "authority.h"
#include "tls.h"
#include "token.h"

/* What is known of a node. */
typedef struct {
    uint64_t id;
    bool guest;
    char *name;       /* owned */
    char **addresses; /* owned, in the form of address.h; may be empty */
} VvKnownNode;
void vv_known_node_clear(VvKnownNode *node);
/* A GArray of them that clears its elements. */
GArray *vv_known_nodes_new(void);
void vv_known_nodes_add(GArray *nodes, uint64_t id, bool guest, const char *name, const char *const *addresses);
/* No id, name or address twice, all in range? Error: VV_ERROR_EXISTS names both, VV_ERROR_USAGE, VV_ERROR_LIMIT. */
bool vv_known_nodes_check(const GArray *nodes, GError **error);

typedef struct {
    uint64_t invite;
    char *name, *software; /* owned */
    char **addresses;      /* owned */
    GBytes *request;       /* owned */
    uint8_t proof[VV_PROOF_BYTES];
} VvJoinRequest;
void vv_join_request_clear(VvJoinRequest *request);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvJoinRequest, vv_join_request_clear)
/* All but the proof. */
void vv_join_request_encode(const VvJoinRequest *request, GByteArray *out);
/* Total. Error: VV_ERROR_DAMAGED. */
bool vv_join_request_decode(const uint8_t *bytes, size_t length_bytes, VvJoinRequest *ret_request, GError **error);

typedef struct {
    uint64_t node;
    VvTokenRole role;
    char *pool_name, *node_name; /* owned */
    VvCredentials credentials;   /* without the node's key */
    GArray *nodes;               /* VvKnownNode, owned */
} VvJoined;
void vv_joined_clear(VvJoined *joined);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvJoined, vv_joined_clear)
void vv_joined_encode(const VvJoined *joined, GByteArray *out);
void vv_joined_encode_refusal(const GError *why, GByteArray *out);
/* Total. Error: the refusal, with the code of who refused; VV_ERROR_DAMAGED. */
bool vv_joined_is_refusal(const uint8_t *bytes, size_t length_bytes);
bool vv_joined_decode(const uint8_t *bytes, size_t length_bytes, VvJoined *ret_joined, GError **error);

/* Join, as a machine that is no node yet: asks one address of the token after the other until one answers. Blocks, for @timeout_ms at
 * most. @key: the machine's own, made durable before, so that asking again with the same token and key, when an answer was lost, gives
 * the same node id. On success the node's key is in the credentials too, and they belong together (verified).
 * Errors: the pool's refusal (VV_ERROR_STALE, VV_ERROR_DENIED, VV_ERROR_EXISTS, ...), which is final unless it is VV_ERROR_BUSY; else, with
 * what each address did, VV_ERROR_DENIED if one at least closed the door or has another authority's certificate, VV_ERROR_TIMEOUT. */
bool vv_join(const VvToken *token, GBytes *key, const char *name, const char *const *addresses, const char *software,
    uint64_t timeout_ms, VvJoined *ret_joined, GError **error);

#endif
