/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts of TLS: what is allowed is in tls.h. */
#include "tls.h"

#include "error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256"
#define CERTIFICATES_BYTES_MAX (16 << 10) /* ours have 1 KiB */
#define BINDING_LABEL "EXPORTER-vvfs-peer"

struct VvTls {
    SSL_CTX *server; /* NULL: a joiner's */
    SSL_CTX *client;
    VvIdentity self;                           /* node 0: a joiner's */
    uint8_t fingerprint[VV_FINGERPRINT_BYTES]; /* a joiner's */
};

static SSL_CTX *context_new(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    bool good = context && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_ciphersuites(context, CIPHERS) == 1 && SSL_CTX_set1_groups_list(context, GROUPS) == 1 &&
                SSL_CTX_set_num_tickets(context, 0) == 1;

    if (!good) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* One record at a time, so that progress is seen; nothing is kept by connections that are idle. */
    SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(context, CERTIFICATES_BYTES_MAX);
    SSL_CTX_set_verify_depth(context, 1);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return context;
}

static bool use_credentials(SSL_CTX *context, X509 *authority, X509 *certificate, EVP_PKEY *key)
{
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) == 1 &&
           SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1 &&
           SSL_CTX_check_private_key(context) == 1;
}

static bool load(VvTls *tls, X509 *authority, X509 *certificate, EVP_PKEY *key, GError **error)
{
    g_autofree char *text = NULL;

    if (authority && certificate && key && X509_verify(certificate, X509_get0_pubkey(authority)) == 1) {
        if (!vv_identity_of(certificate, &tls->self, error))
            return false;
        /* Joiners know the authority by its fingerprint, so the server sends it along. */
        if (use_credentials(tls->client, authority, certificate, key) &&
            use_credentials(tls->server, authority, certificate, key) &&
            SSL_CTX_add1_chain_cert(tls->server, authority) == 1)
            return true;
    }
    text = vv_openssl_text();
    vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL,
        "the node's certificate, its key and the authority do not belong together: %s", text);
    return false;
}

VvTls *vv_tls_new(const VvCredentials *credentials, GError **error)
{
    g_autoptr(VvTls) tls = g_new0(VvTls, 1);
    GBytes *const parts[] = { credentials->authority_certificate, credentials->node_certificate,
        credentials->node_key };
    const unsigned char *at[3];
    gsize length[3];
    X509 *authority, *certificate;
    EVP_PKEY *key;
    bool good;

    for (unsigned i = 0; i < 3; i++) {
        if (!parts[i]) {
            vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "the node has no %s",
                i == 0   ? "certificate of its pool's authority"
                : i == 1 ? "certificate"
                         : "key");
            return NULL;
        }
        at[i] = g_bytes_get_data(parts[i], &length[i]);
    }
    tls->server = context_new(TLS_server_method());
    tls->client = context_new(TLS_client_method());
    if (!tls->server || !tls->client) {
        g_autofree char *text = vv_openssl_text();

        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, NULL, "no TLS 1.3 on this machine: %s", text);
        return NULL;
    }
    authority = d2i_X509(NULL, &at[0], (long) length[0]);
    certificate = d2i_X509(NULL, &at[1], (long) length[1]);
    key = d2i_PrivateKey(EVP_PKEY_EC, NULL, &at[2], (long) length[2]);
    good = load(tls, authority, certificate, key, error);
    X509_free(authority);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return good ? g_steal_pointer(&tls) : NULL;
}

/* ---- a joiner's: it has no store, but a fingerprint */
static X509 *find_authority(const VvTls *tls, const STACK_OF(X509) * chain)
{
    for (int i = 0; chain && i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        uint8_t fingerprint[VV_FINGERPRINT_BYTES];
        unsigned length = sizeof fingerprint;

        if (X509_digest(certificate, EVP_sha256(), fingerprint, &length) == 1 && length == sizeof fingerprint &&
            CRYPTO_memcmp(fingerprint, tls->fingerprint, sizeof fingerprint) == 0)
            return certificate;
    }
    return NULL;
}

static bool signed_by(X509 *leaf, X509 *authority)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    bool good = store && context && X509_STORE_add_cert(store, authority) == 1 &&
                X509_STORE_CTX_init(context, store, leaf, NULL) == 1 &&
                X509_STORE_CTX_set_default(context, "ssl_server") == 1;

    if (good) {
        X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
        good = X509_verify_cert(context) == 1;
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return good;
}

static int joiner_verify_cb(X509_STORE_CTX *context, void *user)
{
    const VvTls *tls = user;
    X509 *leaf = X509_STORE_CTX_get0_cert(context);
    X509 *authority = find_authority(tls, X509_STORE_CTX_get0_untrusted(context));
    VvIdentity identity;

    if (!authority || !leaf || !signed_by(leaf, authority)) {
        X509_STORE_CTX_set_error(context, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
        return 0;
    }
    if (!vv_identity_of(leaf, &identity, NULL) || identity.guest || !vv_uuid_equal(&identity.pool, &tls->self.pool)) {
        X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

VvTls *vv_tls_new_joiner(const VvUuid *pool, const uint8_t fingerprint[VV_FINGERPRINT_BYTES], GError **error)
{
    VvTls *tls = g_new0(VvTls, 1);

    tls->client = context_new(TLS_client_method());
    if (!tls->client) {
        g_autofree char *text = vv_openssl_text();

        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, NULL, "no TLS 1.3 on this machine: %s", text);
        vv_tls_free(tls);
        return NULL;
    }
    tls->self.pool = *pool;
    memcpy(tls->fingerprint, fingerprint, sizeof tls->fingerprint);
    SSL_CTX_set_cert_verify_callback(tls->client, joiner_verify_cb, tls);
    return tls;
}

void vv_tls_free(VvTls *tls)
{
    if (!tls)
        return;
    SSL_CTX_free(tls->server);
    SSL_CTX_free(tls->client);
    g_free(tls);
}

const VvIdentity *vv_tls_self(const VvTls *tls)
{
    g_assert(tls->self.node != 0);
    return &tls->self;
}

SSL *vv_tls_accept(VvTls *tls, bool strangers)
{
    SSL *ssl = SSL_new(tls->server);

    if (ssl && strangers)
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return ssl;
}

SSL *vv_tls_connect(VvTls *tls)
{
    return SSL_new(tls->client);
}

bool vv_tls_peer(const VvTls *tls, SSL *ssl, VvIdentity *ret_identity, GError **error)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    VvIdentity identity = { 0 };

    if (!certificate) {
        *ret_identity = identity;
        return true;
    }
    if (SSL_get_verify_result(ssl) != X509_V_OK) {
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "the certificate was not verified");
        return false;
    }
    if (!vv_identity_of(certificate, &identity, error))
        return false;
    if (!vv_uuid_equal(&identity.pool, &tls->self.pool)) {
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "the certificate is of another pool");
        return false;
    }
    *ret_identity = identity;
    return true;
}

bool vv_tls_binding(SSL *ssl, uint8_t ret_binding[VV_TLS_BINDING_BYTES])
{
    return SSL_export_keying_material(
               ssl, ret_binding, VV_TLS_BINDING_BYTES, BINDING_LABEL, strlen(BINDING_LABEL), NULL, 0, 0) == 1;
}
