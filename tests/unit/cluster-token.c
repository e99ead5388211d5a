/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The line that lets a node join, and the proofs made with it. */
#include "error.h"
#include "joining.h"
#include "peer_limits.h"
#include "token.h"

#include <string.h>

static void some_token(VvToken *token)
{
    *token = (VvToken){ .role = VV_TOKEN_VOTER, .invite = 42, .expiry_seconds = 1800000000 };
    memset(token->pool.bytes, 0x11, sizeof token->pool.bytes);
    memset(token->fingerprint, 0x22, sizeof token->fingerprint);
    memset(token->secret, 0x33, sizeof token->secret);
    token->pool_name = g_strdup("prod");
    token->node_name = g_strdup("n2");
    token->addresses = g_strsplit("10.0.0.1:7333 [fd00::1]:7333", " ", -1);
}

static void test_round_trip(void)
{
    g_auto(VvToken) token = { 0 };
    g_auto(VvToken) back = { 0 };
    g_autoptr(GError) error = NULL;
    g_autofree char *line = NULL;
    g_autofree char *piped = NULL;

    some_token(&token);
    line = vv_token_format(&token);
    g_assert_true(g_str_has_prefix(line, "vvfs-"));
    g_assert_cmpuint(strcspn(line, "+/= \n"), ==, strlen(line));
    piped = g_strdup_printf("\n %s\r\n", line);
    g_assert_true(vv_token_parse(piped, &back, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(back.role, ==, VV_TOKEN_VOTER);
    g_assert_cmpuint(back.invite, ==, 42);
    g_assert_cmpuint(back.expiry_seconds, ==, 1800000000);
    g_assert_cmpmem(back.secret, sizeof back.secret, token.secret, sizeof token.secret);
    g_assert_cmpmem(back.fingerprint, sizeof back.fingerprint, token.fingerprint, sizeof token.fingerprint);
    g_assert_cmpstr(back.pool_name, ==, "prod");
    g_assert_cmpstr(back.node_name, ==, "n2");
    g_assert_cmpuint(g_strv_length(back.addresses), ==, 2);
    g_assert_cmpstr(back.addresses[1], ==, "[fd00::1]:7333");
}

static void refused(const char *line, VvErrorCode code, const char *why)
{
    g_autoptr(GError) error = NULL;
    VvToken back = { .invite = 99 };

    g_assert_false(vv_token_parse(line, &back, &error));
    g_assert_error(error, VV_ERROR, (int) code);
    if (why)
        g_assert_nonnull(strstr(error->message, why));
    g_assert_cmpuint(back.invite, ==, 99);
    g_assert_null(back.addresses);
    /* a message goes to logs and screens */
    if (strlen(line) > 60)
        g_assert_null(strstr(error->message, line + 40));
}

static void test_refused(void)
{
    g_auto(VvToken) token = { 0 };
    g_autofree char *line = NULL, *longer = NULL, *huge = g_strnfill(100000, 'A');
    size_t length;

    some_token(&token);
    line = vv_token_format(&token);
    length = strlen(line);
    refused("", VV_ERROR_USAGE, "empty");
    refused("  \n", VV_ERROR_USAGE, "empty");
    refused("hello", VV_ERROR_USAGE, "begins with");
    refused("vvfs-", VV_ERROR_USAGE, "too early");
    refused("vvfs-Agggggg", VV_ERROR_UNSUPPORTED, "another release");
    refused(huge, VV_ERROR_USAGE, "too long");
    longer = g_strconcat(line, "AAAA", NULL);
    refused(longer, VV_ERROR_USAGE, "follows");
    /* cut anywhere, each character another one */
    for (size_t n = 5; n < length; n++) {
        g_autofree char *cut = g_strndup(line, n);
        refused(cut, VV_ERROR_USAGE, n > 12 && (n - 5) % 4 != 1 ? "too early" : NULL);
    }
    for (size_t i = 0; i < length - 1; i++) {
        g_autofree char *altered = g_strdup(line);
        g_autoptr(GError) error = NULL;
        VvToken back;

        altered[i] = altered[i] == 'Q' ? 'R' : 'Q';
        g_assert_false(vv_token_parse(altered, &back, &error));
        g_assert_true(error->code == VV_ERROR_USAGE || error->code == VV_ERROR_UNSUPPORTED);
    }
}

static void test_time(void)
{
    g_auto(VvToken) token = { 0 };
    g_autoptr(GError) error = NULL;

    some_token(&token);
    g_assert_true(vv_token_check_time(&token, 1799999999, NULL));
    g_assert_false(vv_token_check_time(&token, 1800000000, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_STALE);
    g_assert_nonnull(strstr(error->message, "2027-01-15"));
    token.expiry_seconds = 0;
    g_assert_false(vv_token_check_time(&token, UINT64_MAX, NULL));
}

static void test_proof(void)
{
    g_auto(VvToken) token = { 0 };
    uint8_t verifier[VV_VERIFIER_BYTES], proof[VV_PROOF_BYTES];

    some_token(&token);
    vv_token_verifier(&token, verifier);
    g_assert_true(memcmp(verifier, token.secret, sizeof verifier) != 0);
    vv_token_prove(&token, "what", 4, proof);
    g_assert_true(vv_token_verify(verifier, "what", 4, proof));
    g_assert_false(vv_token_verify(verifier, "whaT", 4, proof));
    g_assert_false(vv_token_verify(verifier, "what", 3, proof));
    proof[63] ^= 1;
    g_assert_false(vv_token_verify(verifier, "what", 4, proof));
    proof[63] ^= 1;
    verifier[0] ^= 1;
    g_assert_false(vv_token_verify(verifier, "what", 4, proof));
    memset(verifier, 0xff, sizeof verifier);
    g_assert_false(vv_token_verify(verifier, "what", 4, proof));
}

static void test_roles(void)
{
    VvTokenRole role;

    for (unsigned i = 1; i <= 4; i++) {
        g_assert_true(vv_token_role_parse(vv_token_role_name(i), &role));
        g_assert_cmpuint(role, ==, i);
    }
    g_assert_null(vv_token_role_name(0));
    g_assert_null(vv_token_role_name(5));
    g_assert_false(vv_token_role_parse("king", &role));
}

static GBytes *largest_credential(void)
{
    return g_bytes_new_take(g_malloc0(VV_CREDENTIAL_BYTES_MAX), VV_CREDENTIAL_BYTES_MAX);
}

/* As many nodes as there may be, with names and addresses as long as they may be: the answer to a joiner fits what both ends take. */
static void test_largest_answer(void)
{
    g_auto(VvJoined) joined = { .node = 1, .role = VV_TOKEN_VOTER, .nodes = vv_known_nodes_new() };
    g_auto(VvJoined) back = { 0 };
    g_autoptr(GByteArray) body = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    joined.pool_name = g_strnfill(VV_NAME_BYTES_MAX, 'p');
    joined.node_name = g_strnfill(VV_NAME_BYTES_MAX, 'n');
    joined.credentials.node_certificate = largest_credential();
    joined.credentials.authority_certificate = largest_credential();
    joined.credentials.authority_key = largest_credential();
    for (unsigned i = 0; i < VV_NODES_MAX; i++) {
        g_autofree char *fill = g_strnfill(VV_NAME_BYTES_MAX - 3, 'n'), *name = g_strdup_printf("%s%03u", fill, i);
        g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(g_free);

        for (unsigned j = 0; j < VV_NODE_ADDRESSES_MAX; j++)
            g_ptr_array_add(addresses, g_strdup_printf("[fd11:1111:1111:1111:1111:1111:1%03u:1%03u]:17333", i, j));
        g_ptr_array_add(addresses, NULL);
        vv_known_nodes_add(joined.nodes, i + 1, false, name, (const char *const *) addresses->pdata);
    }
    vv_joined_encode(&joined, body);
    g_assert_cmpuint(body->len, <=, VV_JOINED_BYTES_MAX);
    g_assert_true(vv_joined_decode(body->data, body->len, &back, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(back.nodes->len, ==, VV_NODES_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/token/round-trip", test_round_trip);
    g_test_add_func("/cluster/token/refused", test_refused);
    g_test_add_func("/cluster/token/time", test_time);
    g_test_add_func("/cluster/token/proof", test_proof);
    g_test_add_func("/cluster/token/roles", test_roles);
    g_test_add_func("/cluster/join/largest-answer", test_largest_answer);
    return g_test_run();
}
