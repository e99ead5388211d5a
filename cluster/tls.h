/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS between nodes: 1.3 and nothing else, both sides with a certificate of this pool's authority and of no other, no system
 * authorities, no resumption (each connection proves anew who is there), no early data.
 *
 * Two exceptions, both for joining: a server may let strangers without any certificate finish the handshake, who can then ask to
 * join and nothing else; a joiner knows the authority by the fingerprint in its token alone. */
#ifndef VV_TLS_H
#define VV_TLS_H

#include "authority.h"

#include <openssl/types.h>

#define VV_TLS_BINDING_BYTES 32u

typedef struct VvTls VvTls; /* may be used by any threads */

/* A node's. All of @credentials but the authority's key are needed. Error: VV_ERROR_DAMAGED: something is missing or they do not
 * belong together. */
VvTls *vv_tls_new(const VvCredentials *credentials, GError **error);
/* A joiner's: only to connect. */
VvTls *vv_tls_new_joiner(const VvUuid *pool, const uint8_t fingerprint[VV_FINGERPRINT_BYTES], GError **error);
void vv_tls_free(VvTls *tls); /* connections made with it must have ended */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvTls, vv_tls_free)
/* Who its own certificate says it is; a joiner has none (asserted). */
const VvIdentity *vv_tls_self(const VvTls *tls);

/* For one connection, to be freed with SSL_free(). NULL: no memory. */
SSL *vv_tls_accept(VvTls *tls, bool strangers);
SSL *vv_tls_connect(VvTls *tls);

/* Who is at the other end, after the handshake. Node 0: a stranger, without certificate. Error: VV_ERROR_DENIED: the certificate is
 * of our authority, but not a node of this pool. */
bool vv_tls_peer(const VvTls *tls, SSL *ssl, VvIdentity *ret_identity, GError **error);
/* Bytes that both ends of this connection know, and no other connection has: what a proof is bound to. */
bool vv_tls_binding(SSL *ssl, uint8_t ret_binding[VV_TLS_BINDING_BYTES]);

#endif
