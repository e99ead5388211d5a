/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tokens: layout in token.h. */
#include "token.h"

#include "address.h"
#include "codec.h"
#include "error.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define PREFIX "vvfs-"
#define TOKEN_VERSION 1u
#define FIXED_BYTES 100u
#define CRC_BYTES 4u
#define HINT "Ask for a new one on a node of the pool: vvfs-admin node invite"

static const char *const role_names[] = { NULL, "voter", "standby", "witness", "guest" };

const char *vv_token_role_name(unsigned role)
{
    return role < G_N_ELEMENTS(role_names) ? role_names[role] : NULL;
}

bool vv_token_role_parse(const char *name, VvTokenRole *ret_role)
{
    for (unsigned i = 1; i < G_N_ELEMENTS(role_names); i++) {
        if (strcmp(name, role_names[i]) == 0) {
            *ret_role = (VvTokenRole) i;
            return true;
        }
    }
    return false;
}

void vv_token_clear(VvToken *token)
{
    OPENSSL_cleanse(token->secret, sizeof token->secret);
    g_clear_pointer(&token->pool_name, g_free);
    g_clear_pointer(&token->node_name, g_free);
    g_clear_pointer(&token->addresses, g_strfreev);
}

/* ---- text */
static void array_wipe(GByteArray *array)
{
    OPENSSL_cleanse(array->data, array->len);
    g_byte_array_unref(array);
}

static char *to_base64url(const uint8_t *bytes, size_t length_bytes)
{
    char *text = g_base64_encode(bytes, length_bytes);

    g_strdelimit(text, "+", '-');
    g_strdelimit(text, "/", '_');
    text[strcspn(text, "=")] = '\0';
    return text;
}

/* NULL: a character that is none of base64url, or a number of them that no bytes give. */
static uint8_t *from_base64url(const char *text, size_t *ret_bytes)
{
    size_t length = strlen(text);
    g_autofree char *padded = NULL;

    if (length % 4 == 1 || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != length)
        return NULL;
    padded = g_strdup_printf("%s%.*s", text, (int) ((4 - length % 4) % 4), "==");
    g_strdelimit(padded, "-", '+');
    g_strdelimit(padded, "_", '/');
    return g_base64_decode(padded, ret_bytes);
}

char *vv_token_format(const VvToken *token)
{
    GByteArray *out = g_byte_array_new();
    g_autofree char *text = NULL;
    guint count = g_strv_length(token->addresses);
    char *line;

    g_assert(count >= 1 && count <= VV_NODE_ADDRESSES_MAX && vv_token_role_name(token->role));
    vv_write_u8(out, TOKEN_VERSION);
    vv_write_u8(out, (uint8_t) token->role);
    vv_write_u16(out, 0);
    vv_write_bytes(out, token->pool.bytes, sizeof token->pool.bytes);
    vv_write_u64(out, token->invite);
    vv_write_u64(out, token->expiry_seconds);
    vv_write_bytes(out, token->fingerprint, sizeof token->fingerprint);
    vv_write_bytes(out, token->secret, sizeof token->secret);
    g_assert(out->len == FIXED_BYTES);
    vv_write_string(out, token->pool_name);
    vv_write_string(out, token->node_name);
    vv_write_u8(out, (uint8_t) count);
    for (guint i = 0; i < count; i++)
        vv_write_string(out, token->addresses[i]);
    vv_put_u16(out->data + 2, (uint16_t) (out->len + CRC_BYTES));
    vv_write_u32(out, vv_crc32c(0, out->data, out->len));
    g_assert(out->len <= VV_TOKEN_BYTES_MAX);
    text = to_base64url(out->data, out->len);
    line = g_strconcat(PREFIX, text, NULL);
    OPENSSL_cleanse(text, strlen(text));
    array_wipe(out);
    return line;
}

static bool refuse(GError **error, VvErrorCode code, const char *why)
{
    vv_set_error(error, code, NULL, HINT, "the token is not usable: %s", why);
    return false;
}

/* The texts behind the fixed part, into @token. False: not as they should be. */
static bool read_texts(VvReader *in, VvToken *token)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(g_free);
    unsigned count;
    bool good;

    token->pool_name = vv_read_string(in, VV_NAME_BYTES_MAX);
    token->node_name = vv_read_string(in, VV_NAME_BYTES_MAX);
    count = vv_read_u8(in);
    good = !in->bad && count >= 1 && count <= VV_NODE_ADDRESSES_MAX && vv_name_check(token->pool_name, "pool", NULL) &&
           (token->node_name[0] == '\0' || vv_name_check(token->node_name, "node", NULL));
    for (unsigned i = 0; good && i < count; i++) {
        char *text = vv_read_string(in, VV_ADDRESS_BYTES_MAX);
        VvAddress address;

        good = text && vv_address_parse(text, false, &address, NULL);
        if (text)
            g_ptr_array_add(addresses, text);
    }
    if (!good || vv_reader_left(in) != 0)
        return false;
    g_ptr_array_add(addresses, NULL);
    token->addresses = (char **) g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
    return true;
}

static bool decode(const uint8_t *bytes, size_t length_bytes, VvToken *ret_token, GError **error)
{
    VvReader in;
    g_auto(VvToken) token = { 0 };

    if (length_bytes < 4)
        return refuse(error, VV_ERROR_USAGE, "it ends too early");
    if (bytes[0] != TOKEN_VERSION)
        return refuse(error, VV_ERROR_UNSUPPORTED, "it is of another release of vvfs");
    if (length_bytes < vv_get_u16(bytes + 2))
        return refuse(error, VV_ERROR_USAGE, "it ends too early; was all of the line taken?");
    if (length_bytes > vv_get_u16(bytes + 2))
        return refuse(error, VV_ERROR_USAGE, "something follows it");
    if (length_bytes < FIXED_BYTES + CRC_BYTES || length_bytes > VV_TOKEN_BYTES_MAX ||
        vv_get_u32(bytes + length_bytes - CRC_BYTES) != vv_crc32c(0, bytes, length_bytes - CRC_BYTES))
        return refuse(error, VV_ERROR_USAGE, "it was altered on the way");
    in = vv_reader(bytes + 4, length_bytes - 4 - CRC_BYTES);
    token.role = (VvTokenRole) bytes[1];
    memcpy(token.pool.bytes, vv_read_bytes(&in, sizeof token.pool.bytes), sizeof token.pool.bytes);
    token.invite = vv_read_u64(&in);
    token.expiry_seconds = vv_read_u64(&in);
    memcpy(token.fingerprint, vv_read_bytes(&in, sizeof token.fingerprint), sizeof token.fingerprint);
    memcpy(token.secret, vv_read_bytes(&in, sizeof token.secret), sizeof token.secret);
    if (!vv_token_role_name(token.role) || !read_texts(&in, &token))
        return refuse(error, VV_ERROR_USAGE, "what it says is out of range");
    *ret_token = token;
    memset(&token, 0, sizeof token);
    return true;
}

bool vv_token_parse(const char *text, VvToken *ret_token, GError **error)
{
    size_t skip = strspn(text, " \t\r\n"), length = strlen(text), bytes = 0;
    g_autofree char *line = NULL;
    uint8_t *raw;
    bool good;

    while (length > skip && strchr(" \t\r\n", text[length - 1]))
        length--;
    if (length - skip > VV_TOKEN_TEXT_MAX)
        return refuse(error, VV_ERROR_USAGE, "it is too long to be one");
    line = g_strndup(text + skip, length - skip);
    if (line[0] == '\0')
        return refuse(error, VV_ERROR_USAGE, "it is empty");
    if (!g_str_has_prefix(line, PREFIX))
        return refuse(error, VV_ERROR_USAGE, "a token begins with \"" PREFIX "\"");
    raw = from_base64url(line + strlen(PREFIX), &bytes);
    OPENSSL_cleanse(line, strlen(line));
    if (!raw)
        return refuse(error, VV_ERROR_USAGE, "it was cut, or has characters that no token has");
    good = decode(raw, bytes, ret_token, error);
    OPENSSL_cleanse(raw, bytes);
    g_free(raw);
    return good;
}

bool vv_token_check_time(const VvToken *token, uint64_t now_seconds, GError **error)
{
    g_autofree char *until = NULL, *now = NULL;

    if (now_seconds < token->expiry_seconds)
        return true;
    until = vv_time_format_utc(MIN(token->expiry_seconds, UINT64_MAX / 1000000000u) * 1000000000u);
    now = vv_time_format_utc(MIN(now_seconds, UINT64_MAX / 1000000000u) * 1000000000u);
    vv_set_error(error, VV_ERROR_STALE, NULL, HINT, "the token was good until %s; it is %s", until, now);
    return false;
}

/* ---- proofs. The calls fail only when memory does, or when the key's algorithm is not there: both are the process's end. */
static EVP_PKEY *secret_key(const VvToken *token)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, token->secret, sizeof token->secret);

    g_assert(key);
    return key;
}

void vv_token_verifier(const VvToken *token, uint8_t ret_verifier[VV_VERIFIER_BYTES])
{
    EVP_PKEY *key = secret_key(token);
    size_t bytes = VV_VERIFIER_BYTES;

    g_assert(EVP_PKEY_get_raw_public_key(key, ret_verifier, &bytes) == 1 && bytes == VV_VERIFIER_BYTES);
    EVP_PKEY_free(key);
}

void vv_token_prove(const VvToken *token, const void *what, size_t what_bytes, uint8_t ret_proof[VV_PROOF_BYTES])
{
    EVP_PKEY *key = secret_key(token);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t bytes = VV_PROOF_BYTES;

    g_assert(context && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1);
    g_assert(EVP_DigestSign(context, ret_proof, &bytes, what, what_bytes) == 1 && bytes == VV_PROOF_BYTES);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
}

bool vv_token_verify(
    const uint8_t verifier[VV_VERIFIER_BYTES], const void *what, size_t what_bytes, const uint8_t proof[VV_PROOF_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, verifier, VV_VERIFIER_BYTES);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
                EVP_DigestVerify(context, proof, VV_PROOF_BYTES, what, what_bytes) == 1;

    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return good;
}
