/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool's own certificate authority, made with the pool, and the keys of its nodes. Everything is ECDSA on P-256, of which TLS 1.3
 * signs in 20 us. The authority's key is on every member (so that any of them can let a node join when the first one is lost) and on
 * no guest. Certificates have no end: a pool must not stop on a date, nor on a clock that is wrong; who may not take part
 * any more is evicted by its node id, which each handshake asks for. */
#ifndef VV_AUTHORITY_H
#define VV_AUTHORITY_H

#include "identity.h"
#include "token.h"

typedef struct VvAuthority VvAuthority;

/* What a node has of it, all DER. */
typedef struct {
    GBytes *authority_certificate;
    GBytes *authority_key; /* NULL on guests */
    GBytes *node_certificate;
    GBytes *node_key;
} VvCredentials;
void vv_credentials_clear(VvCredentials *credentials);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvCredentials, vv_credentials_clear)

/* ---- the authority */
VvAuthority *vv_authority_create(const VvUuid *pool, GError **error);
/* @key may be NULL: then it cannot sign. Error: VV_ERROR_DAMAGED: not ones, or they do not belong together. */
VvAuthority *vv_authority_open(GBytes *certificate, GBytes *key, GError **error);
void vv_authority_free(VvAuthority *authority);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvAuthority, vv_authority_free)
GBytes *vv_authority_certificate(const VvAuthority *authority); /* new reference, DER */
GBytes *vv_authority_key(const VvAuthority *authority);         /* new, DER; NULL: it has none */
void vv_authority_fingerprint(const VvAuthority *authority, uint8_t ret_fingerprint[VV_FINGERPRINT_BYTES]);
/* A node's certificate for the key in @request (a PKCS #10 request that it signed itself; its names are ignored).
 * @until_seconds  Unix time at which it ends; 0: never
 * Errors: VV_ERROR_DENIED: the request is not one, or of another kind of key; VV_ERROR_UNSUPPORTED: no key here to sign with. */
GBytes *vv_authority_sign(
    const VvAuthority *authority, GBytes *request, const VvIdentity *identity, uint64_t until_seconds, GError **error);

/* ---- a node's own key, all DER */
GBytes *vv_node_key_create(GError **error);
GBytes *vv_node_key_request(GBytes *key, GError **error);
/* SHA-256 of the public key in @request: tells a joiner that asks again from another one. False: it is no request. */
bool vv_request_key_id(GBytes *request, uint8_t ret_id[VV_FINGERPRINT_BYTES]);

/* ---- in the pool directory, in the folder tls/ (mode 0700), PEM, mode 0600: authority.crt, authority.key, node.crt, node.key.
 * Each file is replaced as a whole and durably; keys before the certificates that need them. */
bool vv_credentials_save(const VvCredentials *credentials, const char *directory, GError **error);
/* Those that are there: what is missing is NULL. A key that others than its owner may read is refused (VV_ERROR_DENIED). */
bool vv_credentials_load(const char *directory, VvCredentials *ret_credentials, GError **error);

/* A copy that is wiped when the last one lets go. */
GBytes *vv_secret_bytes(const void *data, size_t length_bytes);
/* What OpenSSL says went wrong on this thread, which it forgets; newly allocated. */
char *vv_openssl_text(void);

#endif
