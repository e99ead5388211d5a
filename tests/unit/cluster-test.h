/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tests of the peer protocol share: pools of their own. */
#ifndef VV_CLUSTER_TEST_H
#define VV_CLUSTER_TEST_H

#include "authority.h"
#include "tls.h"

#include <glib.h>

typedef struct {
    VvUuid uuid;
    VvAuthority *authority;
} TestPool;

static inline void test_pool_free(TestPool *pool)
{
    vv_authority_free(pool->authority);
    g_free(pool);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestPool, test_pool_free)

/* Another authority that says it is @of's. */
static inline TestPool *test_pool_new_like(const TestPool *of)
{
    TestPool *pool = g_new0(TestPool, 1);
    g_autoptr(GError) error = NULL;

    pool->uuid = of->uuid;
    pool->authority = vv_authority_create(&pool->uuid, &error);
    g_assert_no_error(error);
    return pool;
}

static inline TestPool *test_pool_new(void)
{
    TestPool pool = { 0 };

    vv_uuid_generate(&pool.uuid);
    return test_pool_new_like(&pool);
}

static inline void test_pool_node(
    const TestPool *pool, uint64_t node, bool guest, uint64_t until_seconds, VvCredentials *ret_credentials)
{
    VvIdentity identity = { .pool = pool->uuid, .node = node, .guest = guest };
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) key = vv_node_key_create(&error);
    g_autoptr(GBytes) request = vv_node_key_request(key, &error);

    *ret_credentials = (VvCredentials){
        .authority_certificate = vv_authority_certificate(pool->authority),
        .authority_key = vv_authority_key(pool->authority),
        .node_certificate = vv_authority_sign(pool->authority, request, &identity, until_seconds, &error),
        .node_key = g_bytes_ref(key),
    };
    g_assert_no_error(error);
}

static inline VvTls *test_pool_tls(const TestPool *pool, uint64_t node, bool guest, uint64_t until_seconds)
{
    g_auto(VvCredentials) credentials = { 0 };
    g_autoptr(GError) error = NULL;
    VvTls *tls;

    test_pool_node(pool, node, guest, until_seconds, &credentials);
    tls = vv_tls_new(&credentials, &error);
    g_assert_no_error(error);
    return tls;
}

#endif
