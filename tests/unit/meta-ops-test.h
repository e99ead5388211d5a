/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tests of the map share: ops that are logged, synced and applied. */
#ifndef VV_META_OPS_TEST_H
#define VV_META_OPS_TEST_H

#include "meta.h"

/* What apply says; owns @ops. */
static inline int test_try_ops(VvMeta *meta, VvOps *ops)
{
    uint64_t index = 0;
    g_assert_cmpint(vv_meta_log(meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(meta), ==, 0);
    int result = vv_meta_apply(meta, index, ops);
    vv_ops_free(ops);
    return result;
}

static inline void test_commit(VvMeta *meta, VvOps *ops)
{
    g_assert_cmpint(test_try_ops(meta, ops), ==, 0);
}

#endif
