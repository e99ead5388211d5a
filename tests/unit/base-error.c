/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "error.h"

#include <errno.h>

static void test_set(void)
{
    g_autoptr(GError) error = NULL;

    vv_set_error(&error, VV_ERROR_NOT_FOUND, "nope", "vvfs-admin lun list", "no LUN %s in pool %s", "nope", "tank");
    g_assert_error(error, VV_ERROR, VV_ERROR_NOT_FOUND);
    g_assert_cmpstr(error->message, ==, "no LUN nope in pool tank");
    g_assert_cmpstr(vv_error_get_object(error), ==, "nope");
    g_assert_cmpstr(vv_error_get_hint(error), ==, "vvfs-admin lun list");
    g_assert_cmpstr(vv_error_code_name(error), ==, "not-found");
}

static void test_set_without(void)
{
    g_autoptr(GError) error = NULL;

    vv_set_error(NULL, VV_ERROR_BUSY, "x", "y", "ignored");
    vv_set_error_errno(NULL, EIO, "x", "ignored");
    vv_set_error(&error, VV_ERROR_BUSY, NULL, NULL, "it is busy");
    g_assert_null(vv_error_get_object(error));
    g_assert_null(vv_error_get_hint(error));
}

/* Object and hint survive what callers do to an error. */
static void test_travel(void)
{
    g_autoptr(GError) copy = NULL;
    GError *first = NULL;
    GError *second = NULL;

    vv_set_error(&first, VV_ERROR_KEEP, "db@a", "hint", "kept");
    copy = g_error_copy(first);
    g_propagate_prefixed_error(&second, first, "pool %s: ", "tank");
    g_assert_cmpstr(second->message, ==, "pool tank: kept");
    g_assert_cmpstr(vv_error_get_object(second), ==, "db@a");
    g_assert_cmpstr(vv_error_get_hint(second), ==, "hint");
    g_error_free(second);
    g_assert_cmpstr(vv_error_get_object(copy), ==, "db@a");
    g_assert_cmpstr(vv_error_get_hint(copy), ==, "hint");
}

static void test_other_domain(void)
{
    g_autoptr(GError) error = g_error_new(G_MARKUP_ERROR, G_MARKUP_ERROR_PARSE, "other");

    g_assert_null(vv_error_get_object(error));
    g_assert_null(vv_error_get_hint(error));
    g_assert_cmpstr(vv_error_code_name(error), ==, "internal");
    g_assert_cmpint(vv_error_to_errno(error), ==, EIO);
}

static void test_unknown_code(void)
{
    g_autoptr(GError) error = g_error_new(VV_ERROR, 9999, "from a newer version");

    g_assert_cmpstr(vv_error_code_name(error), ==, "internal");
    g_assert_cmpint(vv_error_to_errno(error), ==, EIO);
}

/* The words, in the order of CLI.md section 4, with what the mount answers. */
static void test_words(void)
{
    static const struct {
        const char *word;
        int err;
    } expected[] = {
        { "usage", EINVAL },
        { "invalid-name", EINVAL },
        { "not-found", ENOENT },
        { "exists", EEXIST },
        { "busy", EBUSY },
        { "has-snapshots", EBUSY },
        { "keep", EPERM },
        { "in-use-device", EBUSY },
        { "no-space", ENOSPC },
        { "limit", ENOSPC },
        { "denied", EPERM },
        { "not-empty", ENOTEMPTY },
        { "stale", ESTALE },
        { "conflict", EIO },
        { "damaged", EUCLEAN },
        { "io", EIO },
        { "unsupported", EOPNOTSUPP },
        { "no-daemon", EIO },
        { "no-coordinator", EIO },
        { "no-quorum", EIO },
        { "timeout", ETIMEDOUT },
        { "internal", EIO },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autoptr(GError) error = NULL;

        vv_set_error(&error, (VvErrorCode) i, NULL, NULL, "x");
        g_assert_cmpstr(vv_error_code_name(error), ==, expected[i].word);
        g_assert_cmpint(vv_error_code_from_name(expected[i].word), ==, i);
        g_assert_cmpint(vv_error_to_errno(error), ==, expected[i].err);
    }
    g_assert_cmpint(vv_error_code_from_name("Usage"), ==, -1);
    g_assert_cmpint(vv_error_code_from_name(""), ==, -1);
}

static void test_from_errno(void)
{
    static const struct {
        int err;
        VvErrorCode code;
    } expected[] = {
        { ENOENT, VV_ERROR_NOT_FOUND },
        { -ENOENT, VV_ERROR_NOT_FOUND },
        { ENODATA, VV_ERROR_NOT_FOUND },
        { EEXIST, VV_ERROR_EXISTS },
        { EBUSY, VV_ERROR_BUSY },
        { ENOSPC, VV_ERROR_NO_SPACE },
        { EROFS, VV_ERROR_DENIED },
        { EACCES, VV_ERROR_DENIED },
        { EUCLEAN, VV_ERROR_DAMAGED },
        { EIO, VV_ERROR_IO },
        { ETIMEDOUT, VV_ERROR_TIMEOUT },
        { ESTALE, VV_ERROR_STALE },
        { ENOMEM, VV_ERROR_LIMIT },
        { EOPNOTSUPP, VV_ERROR_UNSUPPORTED },
        { EINVAL, VV_ERROR_INTERNAL },
        { ESHUTDOWN, VV_ERROR_NO_DAEMON },
        { EXDEV, VV_ERROR_IO },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autoptr(GError) error = NULL;

        vv_set_error_errno(&error, expected[i].err, "sda", "cannot open %s", "sda");
        g_assert_error(error, VV_ERROR, (int) expected[i].code);
        g_assert_true(g_str_has_prefix(error->message, "cannot open sda: "));
        g_assert_true(g_str_has_suffix(error->message, g_strerror(ABS(expected[i].err))));
        g_assert_cmpstr(vv_error_get_object(error), ==, "sda");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/error/set", test_set);
    g_test_add_func("/base/error/set-without", test_set_without);
    g_test_add_func("/base/error/travel", test_travel);
    g_test_add_func("/base/error/other-domain", test_other_domain);
    g_test_add_func("/base/error/unknown-code", test_unknown_code);
    g_test_add_func("/base/error/words", test_words);
    g_test_add_func("/base/error/from-errno", test_from_errno);
    return g_test_run();
}
