/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tests of the store share: its directory, made and taken away. */
#ifndef VV_META_STORE_TEST_H
#define VV_META_STORE_TEST_H

#include "store.h"

#include <glib/gstdio.h>

static inline VvStore *test_store_open(const char *path)
{
    g_autoptr(GError) error = NULL;
    VvStore *store = vv_store_open(path, false, &error);

    g_assert_no_error(error);
    return store;
}

/* A new store in a directory of its own. */
static inline char *test_store_new(void)
{
    g_autoptr(GError) error = NULL;
    char *path = g_dir_make_tmp("vv-store-XXXXXX", &error);

    g_assert_no_error(error);
    vv_store_create(path, &error);
    g_assert_no_error(error);
    return path;
}

/* @store may be NULL. Whatever else is there is too much. */
static inline void test_store_free(VvStore *store, char *path)
{
    static const char *const names[] = { "data.mdb", "lock.mdb", "sums" };

    vv_store_close(store);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_build_filename(path, names[i], NULL);

        g_unlink(name);
    }
    g_assert_cmpint(g_rmdir(path), ==, 0);
    g_free(path);
}

#endif
