/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool's authority, its nodes' certificates and files, and who gets through a handshake. */
#include "cluster-test.h"
#include "error.h"

#include <glib/gstdio.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

/* ---- identities */
static void test_identity(void)
{
    static const char *const bad[] = { "", "vvfs:", "vvfs:11111111-1111-4111-8111-111111111111:member:",
        "vvfs:11111111-1111-4111-8111-111111111111:member:0", "vvfs:11111111-1111-4111-8111-111111111111:member:01",
        "vvfs:11111111-1111-4111-8111-111111111111:member:-1", "vvfs:11111111-1111-4111-8111-111111111111:member:1 ",
        "vvfs:11111111-1111-4111-8111-111111111111:king:1", "vvfs:11111111-1111-4111-8111-11111111111:member:1",
        "vvfs:ABCDEFAB-1111-4111-8111-111111111111:member:1", "VVFS:11111111-1111-4111-8111-111111111111:member:1",
        "vvfs:11111111-1111-4111-8111-111111111111:member:18446744073709551616",
        "vvfs:11111111-1111-4111-8111-111111111111:member:99999999999999999999999999999999999999999999999" };
    VvIdentity identity;
    g_autofree char *text = NULL;

    g_assert_true(vv_identity_parse("vvfs:11111111-1111-4111-8111-111111111111:guest:18446744073709551615", &identity));
    g_assert_true(identity.guest);
    g_assert_cmpuint(identity.node, ==, UINT64_MAX);
    text = vv_identity_format(&identity);
    g_assert_cmpstr(text, ==, "vvfs:11111111-1111-4111-8111-111111111111:guest:18446744073709551615");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(vv_identity_parse(bad[i], &identity));
}

/* ---- signing */
static GBytes *rsa_request(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509_REQ *request = X509_REQ_new();
    unsigned char *der = NULL;
    int length;
    GBytes *bytes;

    g_assert_true(X509_REQ_set_pubkey(request, key) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0);
    length = i2d_X509_REQ(request, &der);
    bytes = g_bytes_new(der, (gsize) length);
    OPENSSL_free(der);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return bytes;
}

static void sign_fails(const VvAuthority *authority, GBytes *request, VvErrorCode code)
{
    VvIdentity identity = { .node = 3 };
    g_autoptr(GError) error = NULL;

    g_assert_null(vv_authority_sign(authority, request, &identity, 0, &error));
    g_assert_error(error, VV_ERROR, (int) code);
}

static void test_sign(void)
{
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(GBytes) certificate = vv_authority_certificate(pool->authority);
    g_autoptr(VvAuthority) mute = vv_authority_open(certificate, NULL, NULL);
    g_autoptr(GBytes) rsa = rsa_request();
    g_autoptr(GBytes) key = vv_node_key_create(NULL);
    g_autoptr(GBytes) request = vv_node_key_request(key, NULL);
    g_autoptr(GBytes) again = vv_node_key_request(key, NULL);
    g_autoptr(GBytes) garbage = g_bytes_new_static("garbage", 7);
    g_autoptr(GBytes) cut = g_bytes_new_from_bytes(request, 0, g_bytes_get_size(request) - 1);
    g_autofree uint8_t *altered = g_memdup2(g_bytes_get_data(request, NULL), g_bytes_get_size(request));
    g_autoptr(GBytes) forged = NULL;
    uint8_t id[VV_FINGERPRINT_BYTES], id_again[VV_FINGERPRINT_BYTES];

    sign_fails(pool->authority, rsa, VV_ERROR_DENIED);
    sign_fails(pool->authority, garbage, VV_ERROR_DENIED);
    sign_fails(pool->authority, cut, VV_ERROR_DENIED);
    sign_fails(mute, request, VV_ERROR_UNSUPPORTED);
    altered[g_bytes_get_size(request) - 1] ^= 1; /* of its own signature */
    forged = g_bytes_new(altered, g_bytes_get_size(request));
    sign_fails(pool->authority, forged, VV_ERROR_DENIED);
    g_assert_true(vv_request_key_id(request, id));
    g_assert_true(vv_request_key_id(again, id_again));
    g_assert_cmpmem(id, sizeof id, id_again, sizeof id_again);
    g_assert_false(vv_request_key_id(garbage, id));
}

static void test_open(void)
{
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(TestPool) other = test_pool_new();
    g_autoptr(GBytes) certificate = vv_authority_certificate(pool->authority);
    g_autoptr(GBytes) key = vv_authority_key(pool->authority);
    g_autoptr(GBytes) wrong = vv_authority_key(other->authority);
    g_autoptr(VvAuthority) back = vv_authority_open(certificate, key, NULL);
    g_auto(VvCredentials) node = { 0 };
    g_autoptr(GError) error = NULL;
    uint8_t a[VV_FINGERPRINT_BYTES], b[VV_FINGERPRINT_BYTES];

    g_assert_nonnull(back);
    vv_authority_fingerprint(pool->authority, a);
    vv_authority_fingerprint(back, b);
    g_assert_cmpmem(a, sizeof a, b, sizeof b);
    g_assert_null(vv_authority_open(certificate, wrong, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    g_clear_error(&error);
    /* a node's certificate is no authority */
    test_pool_node(pool, 1, false, 0, &node);
    g_assert_null(vv_authority_open(node.node_certificate, node.node_key, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
}

/* ---- files */
static void test_files(void)
{
    g_autofree char *directory = g_dir_make_tmp("vvfs-test-XXXXXX", NULL);
    g_autofree char *key_path = g_build_filename(directory, "tls", "node.key", NULL);
    g_autofree char *folder = g_build_filename(directory, "tls", NULL);
    g_autoptr(TestPool) pool = test_pool_new();
    g_auto(VvCredentials) node = { 0 };
    g_auto(VvCredentials) back = { 0 };
    g_auto(VvCredentials) none = { 0 };
    g_autoptr(GError) error = NULL;
    static const char *const names[] = { "authority.crt", "authority.key", "node.crt", "node.key" };
    struct stat st;

    g_assert_true(vv_credentials_load(directory, &none, &error));
    g_assert_null(none.node_key);
    test_pool_node(pool, 1, false, 0, &node);
    g_assert_true(vv_credentials_save(&node, directory, &error));
    g_assert_true(vv_credentials_save(&node, directory, &error));
    g_assert_true(vv_credentials_load(directory, &back, &error));
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(back.node_key, node.node_key));
    g_assert_true(g_bytes_equal(back.node_certificate, node.node_certificate));
    g_assert_true(g_bytes_equal(back.authority_key, node.authority_key));
    g_assert_true(g_bytes_equal(back.authority_certificate, node.authority_certificate));
    g_assert_cmpint(stat(folder, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 0777, ==, 0700);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);

        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmphex(st.st_mode & 0777, ==, 0600);
    }
    vv_credentials_clear(&back);
    g_assert_cmpint(chmod(key_path, 0640), ==, 0);
    g_assert_false(vv_credentials_load(directory, &back, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DENIED);
    g_clear_error(&error);
    g_assert_null(back.authority_certificate);
    g_assert_true(g_file_set_contents(key_path, "garbage", -1, NULL));
    g_assert_cmpint(chmod(key_path, 0600), ==, 0);
    g_assert_false(vv_credentials_load(directory, &back, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        g_unlink(path);
    }
    g_rmdir(folder);
    g_rmdir(directory);
}

/* ---- handshakes, in memory */
typedef struct {
    SSL *client, *server;
    bool client_done, server_done;
} Pair;

/* Takes both. Runs until both are done or neither can go on. True: both are through. */
static bool shake(Pair *pair, SSL *client, SSL *server)
{
    BIO *a = NULL, *b = NULL;

    *pair = (Pair){ .client = client, .server = server };
    g_assert_true(BIO_new_bio_pair(&a, 65536, &b, 65536) == 1);
    SSL_set_bio(client, a, a);
    SSL_set_bio(server, b, b);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    for (unsigned i = 0; i < 20; i++) {
        char byte;

        pair->client_done = SSL_do_handshake(client) == 1;
        pair->server_done = SSL_do_handshake(server) == 1;
        if (pair->client_done && SSL_read(client, &byte, 1) < 0 && SSL_get_error(client, -1) == SSL_ERROR_SSL)
            pair->client_done = false; /* TLS 1.3: it hears afterwards that it was refused */
    }
    return pair->client_done && pair->server_done;
}

static void pair_free(Pair *pair)
{
    SSL_free(pair->client);
    SSL_free(pair->server);
    g_free(vv_openssl_text());
}

static void test_nodes_meet(void)
{
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(VvTls) one = test_pool_tls(pool, 1, false, 0);
    g_autoptr(VvTls) two = test_pool_tls(pool, 2, true, 0);
    uint8_t a[VV_TLS_BINDING_BYTES], b[VV_TLS_BINDING_BYTES];
    VvIdentity identity;
    Pair pair;

    g_assert_true(shake(&pair, vv_tls_connect(one), vv_tls_accept(two, false)));
    g_assert_cmpstr(SSL_get_version(pair.client), ==, "TLSv1.3");
    g_assert_true(vv_tls_peer(one, pair.client, &identity, NULL));
    g_assert_cmpuint(identity.node, ==, 2);
    g_assert_true(identity.guest);
    g_assert_true(vv_tls_peer(two, pair.server, &identity, NULL));
    g_assert_cmpuint(identity.node, ==, 1);
    g_assert_false(identity.guest);
    g_assert_true(vv_tls_binding(pair.client, a) && vv_tls_binding(pair.server, b));
    g_assert_cmpmem(a, sizeof a, b, sizeof b);
    g_assert_false(SSL_session_reused(pair.client));
    pair_free(&pair);
    g_assert_true(shake(&pair, vv_tls_connect(one), vv_tls_accept(two, true)));
    g_assert_true(vv_tls_binding(pair.client, b));
    g_assert_true(memcmp(a, b, sizeof a) != 0);
    pair_free(&pair);
}

static void meet_fails(SSL *client, SSL *server)
{
    Pair pair;

    g_assert_false(shake(&pair, client, server));
    pair_free(&pair);
}

static void test_strangers(void)
{
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(TestPool) other = test_pool_new();
    g_autoptr(VvTls) one = test_pool_tls(pool, 1, false, 0);
    g_autoptr(VvTls) foreign = test_pool_tls(other, 1, false, 0);
    g_autoptr(VvTls) late = test_pool_tls(pool, 3, false, 1000000000);
    SSL_CTX *plain = SSL_CTX_new(TLS_client_method());
    VvIdentity identity;
    Pair pair;

    /* no certificate: only where joining is possible, and then nobody */
    meet_fails(SSL_new(plain), vv_tls_accept(one, false));
    g_assert_true(shake(&pair, SSL_new(plain), vv_tls_accept(one, true)));
    g_assert_true(vv_tls_peer(one, pair.server, &identity, NULL));
    g_assert_cmpuint(identity.node, ==, 0);
    pair_free(&pair);
    /* TLS 1.2 */
    SSL_CTX_set_max_proto_version(plain, TLS1_2_VERSION);
    meet_fails(SSL_new(plain), vv_tls_accept(one, true));
    /* another pool's, either way; one that has ended, either way */
    meet_fails(vv_tls_connect(foreign), vv_tls_accept(one, false));
    meet_fails(vv_tls_connect(foreign), vv_tls_accept(one, true));
    meet_fails(vv_tls_connect(one), vv_tls_accept(foreign, true));
    meet_fails(vv_tls_connect(late), vv_tls_accept(one, true));
    meet_fails(vv_tls_connect(one), vv_tls_accept(late, true));
    SSL_CTX_free(plain);
}

/* A node's key signs another "node's" certificate, and presents both. */
static void test_node_is_no_authority(void)
{
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(TestPool) fake = test_pool_new_like(pool);
    g_autoptr(VvTls) one = test_pool_tls(pool, 1, false, 0);
    g_autoptr(VvTls) two = test_pool_tls(fake, 2, false, 0); /* an authority of the same name and pool */
    g_auto(VvCredentials) mixed = { 0 };
    g_auto(VvCredentials) theirs = { 0 };
    g_autoptr(GError) error = NULL;

    meet_fails(vv_tls_connect(two), vv_tls_accept(one, false));
    meet_fails(vv_tls_connect(one), vv_tls_accept(two, false));
    /* files that do not belong together are refused at the start */
    test_pool_node(pool, 1, false, 0, &mixed);
    test_pool_node(fake, 1, false, 0, &theirs);
    g_bytes_unref(mixed.node_key);
    mixed.node_key = g_bytes_ref(theirs.node_key);
    g_assert_null(vv_tls_new(&mixed, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    g_clear_error(&error);
    g_bytes_unref(mixed.node_certificate);
    mixed.node_certificate = g_bytes_ref(theirs.node_certificate);
    g_assert_null(vv_tls_new(&mixed, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    g_clear_error(&error);
    g_clear_pointer(&mixed.node_certificate, g_bytes_unref);
    g_assert_null(vv_tls_new(&mixed, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
}

static void test_joiner(void)
{
    g_autoptr(TestPool) pool = test_pool_new();
    g_autoptr(TestPool) other = test_pool_new();
    g_autoptr(TestPool) fake = test_pool_new_like(pool);
    g_autoptr(VvTls) one = test_pool_tls(pool, 1, false, 0);
    g_autoptr(VvTls) guest = test_pool_tls(pool, 2, true, 0);
    g_autoptr(VvTls) faker = test_pool_tls(fake, 1, false, 0);
    uint8_t fingerprint[VV_FINGERPRINT_BYTES];
    Pair pair;

    vv_authority_fingerprint(pool->authority, fingerprint);
    g_autoptr(VvTls) joiner = vv_tls_new_joiner(&pool->uuid, fingerprint, NULL);
    g_autoptr(VvTls) astray = vv_tls_new_joiner(&other->uuid, fingerprint, NULL);
    g_assert_true(shake(&pair, vv_tls_connect(joiner), vv_tls_accept(one, true)));
    pair_free(&pair);
    meet_fails(vv_tls_connect(joiner), vv_tls_accept(one, false));
    meet_fails(vv_tls_connect(joiner), vv_tls_accept(faker, true));
    meet_fails(vv_tls_connect(joiner), vv_tls_accept(guest, true)); /* a guest lets nobody in */
    meet_fails(vv_tls_connect(astray), vv_tls_accept(one, true));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/identity", test_identity);
    g_test_add_func("/cluster/authority/sign", test_sign);
    g_test_add_func("/cluster/authority/open", test_open);
    g_test_add_func("/cluster/authority/files", test_files);
    g_test_add_func("/cluster/tls/nodes-meet", test_nodes_meet);
    g_test_add_func("/cluster/tls/strangers", test_strangers);
    g_test_add_func("/cluster/tls/node-is-no-authority", test_node_is_no_authority);
    g_test_add_func("/cluster/tls/joiner", test_joiner);
    return g_test_run();
}
