/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Identities: form in identity.h. */
#include "identity.h"

#include "error.h"

#include <inttypes.h>
#include <openssl/x509v3.h>
#include <string.h>

#define PREFIX "vvfs:"
#define UUID_TEXT 36u

char *vv_identity_format(const VvIdentity *identity)
{
    g_autofree char *pool = vv_uuid_format(&identity->pool);

    return g_strdup_printf(PREFIX "%s:%s:%" PRIu64, pool, identity->guest ? "guest" : "member", identity->node);
}

/* Decimal, no sign, no leading zero, not 0. */
static bool parse_node(const char *text, uint64_t *ret_node)
{
    uint64_t node = 0;

    if (text[0] < '1' || text[0] > '9')
        return false;
    for (const char *c = text; *c; c++) {
        uint64_t digit = (uint64_t) (*c - '0');

        if (!g_ascii_isdigit(*c) || node > (UINT64_MAX - digit) / 10)
            return false;
        node = node * 10 + digit;
    }
    *ret_node = node;
    return true;
}

bool vv_identity_parse(const char *text, VvIdentity *ret_identity)
{
    VvIdentity identity = { 0 };
    g_autofree char *uuid = NULL, *again = NULL;
    const char *rest;

    if (strlen(text) > VV_IDENTITY_TEXT_MAX || !g_str_has_prefix(text, PREFIX) ||
        strlen(text) < strlen(PREFIX) + UUID_TEXT)
        return false;
    uuid = g_strndup(text + strlen(PREFIX), UUID_TEXT);
    rest = text + strlen(PREFIX) + UUID_TEXT;
    if (!vv_uuid_parse(uuid, &identity.pool))
        return false;
    if (g_str_has_prefix(rest, ":member:"))
        rest += strlen(":member:");
    else if (g_str_has_prefix(rest, ":guest:"))
        rest += strlen(":guest:"), identity.guest = true;
    else
        return false;
    if (!parse_node(rest, &identity.node))
        return false;
    again = vv_identity_format(&identity); /* UUIDs have other spellings */
    if (strcmp(again, text) != 0)
        return false;
    *ret_identity = identity;
    return true;
}

bool vv_identity_of(const X509 *certificate, VvIdentity *ret_identity, GError **error)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool good = false;

    if (names && sk_GENERAL_NAME_num(names) == 1) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);

        if (name->type == GEN_URI) {
            const ASN1_STRING *uri = name->d.uniformResourceIdentifier;
            size_t length = (size_t) ASN1_STRING_length(uri);
            g_autofree char *text = g_strndup((const char *) ASN1_STRING_get0_data(uri), length);

            good = strlen(text) == length && vv_identity_parse(text, ret_identity);
        }
    }
    GENERAL_NAMES_free(names);
    if (!good)
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "the certificate is not of a node of a pool");
    return good;
}
