/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The authority and what it signs.
 *
 *   certificate   authority                                  node
 *   subject       CN=vvfs POOL-UUID                          CN=node N
 *   names         -                                          the one of identity.h
 *   constraints   CA, path length 0 (critical)               no CA (critical)
 *   key usage     certificates (critical)                    signatures (critical); TLS server and client
 *   valid         1970 to 9999                               1970 to 9999, unless asked otherwise */
#include "authority.h"

#include "error.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define SERIAL_BYTES 16
#define FOR_EVER "99991231235959Z" /* RFC 5280, 4.1.2.5: no well-defined end */

struct VvAuthority {
    X509 *certificate;
    EVP_PKEY *key; /* NULL: cannot sign */
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_REQ, X509_REQ_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)

char *vv_openssl_text(void)
{
    GString *text = g_string_new(NULL);
    unsigned long code;

    while ((code = ERR_get_error()) != 0) {
        const char *reason = ERR_reason_error_string(code);

        if (text->len > 0)
            g_string_append(text, ", ");
        if (reason)
            g_string_append(text, reason);
        else
            g_string_append_printf(text, "error %lx", code);
    }
    if (text->len == 0)
        g_string_append(text, "no reason given");
    return g_string_free(text, FALSE);
}

static void throw_openssl(GError **error, const char *what)
{
    g_autofree char *text = vv_openssl_text();

    vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "%s: %s", what, text);
}

/* ---- DER in and out */
static void wipe_and_free(void *data)
{
    GByteArray *array = data;

    OPENSSL_cleanse(array->data, array->len);
    g_byte_array_unref(array);
}

GBytes *vv_secret_bytes(const void *data, size_t length_bytes)
{
    GByteArray *array = g_byte_array_sized_new((guint) length_bytes);

    g_byte_array_append(array, data, (guint) length_bytes);
    return g_bytes_new_with_free_func(array->data, array->len, wipe_and_free, array);
}

static GBytes *key_bytes(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int length = i2d_PrivateKey(key, &der);
    GBytes *bytes;

    g_assert(length > 0);
    bytes = vv_secret_bytes(der, (size_t) length);
    OPENSSL_clear_free(der, (size_t) length);
    return bytes;
}

static GBytes *certificate_bytes(X509 *certificate)
{
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    GBytes *bytes;

    g_assert(length > 0);
    bytes = g_bytes_new(der, (gsize) length);
    OPENSSL_free(der);
    return bytes;
}

static bool is_our_kind(EVP_PKEY *key)
{
    char group[32] = "";
    size_t length = 0;

    return key && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_group_name(key, group, sizeof group, &length) == 1 && strcmp(group, "prime256v1") == 0;
}

/* The whole of @bytes is one certificate, or NULL. */
static X509 *certificate_from(GBytes *bytes)
{
    gsize length = 0;
    const unsigned char *at = g_bytes_get_data(bytes, &length), *end = at + length;
    X509 *certificate = length <= VV_CREDENTIAL_BYTES_MAX ? d2i_X509(NULL, &at, (long) length) : NULL;

    if (certificate && at != end)
        g_clear_pointer(&certificate, X509_free);
    ERR_clear_error();
    return certificate;
}

static EVP_PKEY *key_from(GBytes *bytes)
{
    gsize length = 0;
    const unsigned char *at = g_bytes_get_data(bytes, &length);
    EVP_PKEY *key = length <= VV_CREDENTIAL_BYTES_MAX ? d2i_PrivateKey(EVP_PKEY_EC, NULL, &at, (long) length) : NULL;

    if (key && !is_our_kind(key))
        g_clear_pointer(&key, EVP_PKEY_free);
    ERR_clear_error();
    return key;
}

static X509_REQ *request_from(GBytes *bytes)
{
    gsize length = 0;
    const unsigned char *at = g_bytes_get_data(bytes, &length), *end = at + length;
    X509_REQ *request = length <= VV_JOIN_BYTES_MAX ? d2i_X509_REQ(NULL, &at, (long) length) : NULL;

    if (request && at != end)
        g_clear_pointer(&request, X509_REQ_free);
    ERR_clear_error();
    return request;
}

/* ---- certificates */
static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    bool good;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    good = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool set_serial(X509 *certificate)
{
    uint8_t raw[SERIAL_BYTES];
    BIGNUM *number;
    bool good;

    vv_random_bytes(raw, sizeof raw);
    raw[0] = (raw[0] & 0x7f) | 0x40; /* positive, and never short */
    number = BN_bin2bn(raw, sizeof raw, NULL);
    good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return good;
}

/* Everything but what tells the authority's from a node's. */
static bool fill(X509 *certificate, const char *common_name, EVP_PKEY *key, uint64_t until_seconds)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    bool good =
        X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
        X509_set_pubkey(certificate, key) == 1 && ASN1_TIME_set(X509_getm_notBefore(certificate), 0) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *) common_name, -1, -1, 0) == 1;

    if (!good)
        return false;
    if (until_seconds == 0)
        return ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), FOR_EVER) == 1;
    return ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t) MIN(until_seconds, INT64_MAX)) != NULL;
}

static bool make_authority(X509 *certificate, EVP_PKEY *key, const VvUuid *pool)
{
    g_autofree char *uuid = vv_uuid_format(pool);
    g_autofree char *name = g_strdup_printf("vvfs %s", uuid);

    return fill(certificate, name, key, 0) &&
           X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) == 1 &&
           add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign") &&
           add_extension(certificate, certificate, NID_subject_key_identifier, "hash") &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

VvAuthority *vv_authority_create(const VvUuid *pool, GError **error)
{
    g_autoptr(VvAuthority) authority = g_new0(VvAuthority, 1);

    authority->key = EVP_EC_gen("P-256");
    authority->certificate = X509_new();
    if (!authority->key || !authority->certificate || !make_authority(authority->certificate, authority->key, pool)) {
        throw_openssl(error, "cannot make the pool's authority");
        return NULL;
    }
    return g_steal_pointer(&authority);
}

VvAuthority *vv_authority_open(GBytes *certificate, GBytes *key, GError **error)
{
    g_autoptr(VvAuthority) authority = g_new0(VvAuthority, 1);
    const char *fault = NULL;

    authority->certificate = certificate_from(certificate);
    authority->key = key ? key_from(key) : NULL;
    if (!authority->certificate || X509_check_ca(authority->certificate) != 1)
        fault = "the authority's certificate is not one";
    else if (key && !authority->key)
        fault = "the authority's key is not one";
    else if (authority->key && X509_check_private_key(authority->certificate, authority->key) != 1)
        fault = "the authority's key is not that of its certificate";
    ERR_clear_error();
    if (fault) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "%s", fault);
        return NULL;
    }
    return g_steal_pointer(&authority);
}

void vv_authority_free(VvAuthority *authority)
{
    if (!authority)
        return;
    X509_free(authority->certificate);
    EVP_PKEY_free(authority->key);
    g_free(authority);
}

GBytes *vv_authority_certificate(const VvAuthority *authority)
{
    return certificate_bytes(authority->certificate);
}

GBytes *vv_authority_key(const VvAuthority *authority)
{
    return authority->key ? key_bytes(authority->key) : NULL;
}

void vv_authority_fingerprint(const VvAuthority *authority, uint8_t ret_fingerprint[VV_FINGERPRINT_BYTES])
{
    unsigned length = VV_FINGERPRINT_BYTES;

    g_assert(X509_digest(authority->certificate, EVP_sha256(), ret_fingerprint, &length) == 1);
}

static bool make_node(
    X509 *certificate, const VvAuthority *authority, EVP_PKEY *key, const VvIdentity *identity, uint64_t until_seconds)
{
    g_autofree char *name = g_strdup_printf("node %" PRIu64, identity->node);
    g_autofree char *text = vv_identity_format(identity);
    g_autofree char *uri = g_strdup_printf("URI:%s", text);

    return fill(certificate, name, key, until_seconds) &&
           X509_set_issuer_name(certificate, X509_get_subject_name(authority->certificate)) == 1 &&
           add_extension(certificate, authority->certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, authority->certificate, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, authority->certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(certificate, authority->certificate, NID_subject_key_identifier, "hash") &&
           add_extension(certificate, authority->certificate, NID_authority_key_identifier, "keyid:always") &&
           add_extension(certificate, authority->certificate, NID_subject_alt_name, uri) &&
           X509_sign(certificate, authority->key, EVP_sha256()) > 0;
}

GBytes *vv_authority_sign(
    const VvAuthority *authority, GBytes *request, const VvIdentity *identity, uint64_t until_seconds, GError **error)
{
    g_autoptr(X509_REQ) asked = request_from(request);
    g_autoptr(X509) certificate = NULL;
    EVP_PKEY *key = asked ? X509_REQ_get0_pubkey(asked) : NULL; /* borrowed */

    if (!authority->key) {
        vv_set_error(
            error, VV_ERROR_UNSUPPORTED, NULL, NULL, "this node does not have the key of the pool's authority");
        return NULL;
    }
    if (!is_our_kind(key) || X509_REQ_verify(asked, key) != 1) {
        ERR_clear_error();
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL,
            "the request for a certificate is not one, or of a key of another kind");
        return NULL;
    }
    certificate = X509_new();
    if (!certificate || !make_node(certificate, authority, key, identity, until_seconds)) {
        throw_openssl(error, "cannot sign a node's certificate");
        return NULL;
    }
    return certificate_bytes(certificate);
}

/* ---- nodes' keys */
GBytes *vv_node_key_create(GError **error)
{
    g_autoptr(EVP_PKEY) key = EVP_EC_gen("P-256");

    if (!key) {
        throw_openssl(error, "cannot make a key");
        return NULL;
    }
    return key_bytes(key);
}

GBytes *vv_node_key_request(GBytes *key_der, GError **error)
{
    g_autoptr(EVP_PKEY) key = key_from(key_der);
    g_autoptr(X509_REQ) request = X509_REQ_new();
    unsigned char *der = NULL;
    int length;
    GBytes *bytes;

    if (!key) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "the node's key is not one");
        return NULL;
    }
    if (!request || X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(request, key) != 1 ||
        X509_REQ_sign(request, key, EVP_sha256()) <= 0 || (length = i2d_X509_REQ(request, &der)) <= 0) {
        throw_openssl(error, "cannot make a request for a certificate");
        return NULL;
    }
    bytes = g_bytes_new(der, (gsize) length);
    OPENSSL_free(der);
    return bytes;
}

bool vv_request_key_id(GBytes *request, uint8_t ret_id[VV_FINGERPRINT_BYTES])
{
    g_autoptr(X509_REQ) asked = request_from(request);
    unsigned char *der = NULL;
    int length = asked ? i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(asked), &der) : -1;
    bool good = length > 0 && EVP_Digest(der, (size_t) length, ret_id, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    return good;
}
