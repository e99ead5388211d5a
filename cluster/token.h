/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An invitation as one line of text: "vvfs-" and, in base64url without padding, little-endian:
 *
 *    0  1  version: 1             20  8  invite id                   100     texts (u16 length, bytes): pool's name,
 *    1  1  role (VvTokenRole)     28  8  good until, Unix seconds            node's name or ""; u8 count of addresses,
 *    2  2  bytes in all           36 32  SHA-256 of the pool's               a text each
 *    4 16  pool                          authority (DER)             end-4 4 crc32c of all before
 *                                 68 32  secret
 *
 * The secret is the seed of an Ed25519 key. The pool keeps the public half (the verifier) in its log; the joiner signs its request
 * and what is unique to its TLS connection. So the log, a backup of it, or a node that was asked, lets nobody join. */
#ifndef VV_TOKEN_H
#define VV_TOKEN_H

#include "peer_limits.h"
#include "util.h"

#define VV_FINGERPRINT_BYTES 32u
#define VV_TOKEN_SECRET_BYTES 32u
#define VV_VERIFIER_BYTES 32u
#define VV_PROOF_BYTES 64u

typedef enum {
    VV_TOKEN_VOTER = 1,
    VV_TOKEN_STANDBY = 2,
    VV_TOKEN_WITNESS = 3,
    VV_TOKEN_GUEST = 4,
} VvTokenRole;
/* "voter", ...; NULL for none of them. */
const char *vv_token_role_name(unsigned role);
bool vv_token_role_parse(const char *name, VvTokenRole *ret_role);

typedef struct {
    VvUuid pool;
    VvTokenRole role;
    uint64_t invite;
    uint64_t expiry_seconds; /* Unix time */
    uint8_t fingerprint[VV_FINGERPRINT_BYTES];
    uint8_t secret[VV_TOKEN_SECRET_BYTES];
    char *pool_name;  /* owned */
    char *node_name;  /* owned; "": the joiner chooses */
    char **addresses; /* owned, 1 to VV_NODE_ADDRESSES_MAX, in the form of address.h */
} VvToken;

void vv_token_clear(VvToken *token); /* wipes the secret */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvToken, vv_token_clear)

/* The line, without LF; its contents must be in range (asserted). */
char *vv_token_format(const VvToken *token);
/* White space around it is allowed, as a pipe or an editor leaves it. Errors (VV_ERROR_USAGE) tell apart what is no token, one that
 * ends too early, one that was altered; VV_ERROR_UNSUPPORTED: of a newer release. None shows the token. */
bool vv_token_parse(const char *text, VvToken *ret_token, GError **error);
/* By this machine's clock: the pool's decides in the end. Error: VV_ERROR_STALE with both times. */
bool vv_token_check_time(const VvToken *token, uint64_t now_seconds, GError **error);

/* The half that the pool keeps. */
void vv_token_verifier(const VvToken *token, uint8_t ret_verifier[VV_VERIFIER_BYTES]);
void vv_token_prove(const VvToken *token, const void *what, size_t what_bytes, uint8_t ret_proof[VV_PROOF_BYTES]);
bool vv_token_verify(const uint8_t verifier[VV_VERIFIER_BYTES], const void *what, size_t what_bytes,
    const uint8_t proof[VV_PROOF_BYTES]);

#endif
