/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "error.h"
#include "limits.h"
#include "util.h"

#include <string.h>

static void test_good(void)
{
    static const char *const names[] = { "a", "db", "db.1_2+3-4", "0", ".hidden", "...", "_", "+x", "before-upgrade",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-" };
    g_autofree char *longest = g_strnfill(VV_NAME_BYTES_MAX, 'x');
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_true(vv_name_check(names[i], "LUN", &error));
        g_assert_no_error(error);
    }
    g_assert_true(vv_name_check(longest, "LUN", NULL));
}

static void assert_bad(const char *name, const char *reason)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vv_name_check(name, "snapshot", &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_INVALID_NAME);
    g_assert_nonnull(strstr(error->message, "snapshot"));
    g_assert_nonnull(strstr(error->message, reason));
    g_assert_nonnull(strstr(vv_error_get_hint(error), "A-Z a-z 0-9 . _ + -"));
    for (const char *c = error->message; *c; c++)
        g_assert_true(g_ascii_isprint(*c));
}

static void test_bad(void)
{
    static const char refused[] = " !\"#$%&'()*,/:;<=>?@[\\]^`{|}~\t\n\x01\x7f\xc3";
    g_autofree char *too_long = g_strnfill(VV_NAME_BYTES_MAX + 1, 'x');

    assert_bad("", "empty");
    assert_bad(".", "directory");
    assert_bad("..", "directory");
    assert_bad("-x", "begins with '-'");
    assert_bad("-", "begins with '-'");
    assert_bad(too_long, "129 characters");
    assert_bad("a/b", "contains '/'");
    assert_bad("a b", "contains ' '");
    assert_bad("d\xc3\xa4", "not plain ASCII");
    for (const char *c = refused; *c; c++) {
        char name[] = { 'a', *c, 'b', '\0' };

        assert_bad(name, "contains");
    }
}

static void test_split(void)
{
    g_autofree char *lun = NULL;
    g_autofree char *snapshot = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(vv_name_split("db@before-upgrade", false, &lun, &snapshot, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(lun, ==, "db");
    g_assert_cmpstr(snapshot, ==, "before-upgrade");
}

static void test_split_pattern(void)
{
    g_autofree char *lun = NULL;
    g_autofree char *snapshot = NULL;

    g_assert_true(vv_name_split("db@auto-20[12]?*", true, &lun, &snapshot, NULL));
    g_assert_cmpstr(lun, ==, "db");
    g_assert_cmpstr(snapshot, ==, "auto-20[12]?*");
}

static void test_split_bad(void)
{
    static const struct {
        const char *object;
        bool pattern;
        const char *reason;
    } bad[] = {
        { "db", false, "no '@'" },
        { "", false, "no '@'" },
        { "db@a@b", false, "more than one '@'" },
        { "@a", false, "a LUN: it is empty" },
        { "db@", false, "a snapshot: it is empty" },
        { "d b@a", false, "a LUN" },
        { "db@a*", false, "contains '*'" },
        { "d*@a", true, "a LUN: it contains '*'" },
        { "db@a/b", true, "contains '/'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        char *lun = NULL;
        char *snapshot = NULL;

        g_assert_false(vv_name_split(bad[i].object, bad[i].pattern, &lun, &snapshot, &error));
        g_assert_error(error, VV_ERROR, VV_ERROR_INVALID_NAME);
        g_assert_nonnull(strstr(error->message, bad[i].reason));
        g_assert_null(lun);
        g_assert_null(snapshot);
    }
}

static void test_node_address(void)
{
    static const char *const bad[] = { "", "node://", "node:///x", "node://2", "node://2/", "node://0/x", "node://-1/x", "node://+2/x", "node:// 2/x",
        "node://2x/y", "node://99999999999999999999/x", "node://18446744073709551615/x", "nbd://2/x", "/node://2/x" };
    g_autofree char *made = vv_node_address(12, "/srv/a?b"), *base = vv_disk_base_name(made);
    const char *path = "untouched";
    uint64_t node = 7;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(vv_node_address_parse(bad[i], &node, &path));
    g_assert_true(node == 7 && strcmp(path, "untouched") == 0);
    g_assert_true(vv_node_address_parse(made, &node, &path) && vv_is_address(made));
    g_assert_cmpuint(node, ==, 12);
    g_assert_cmpstr(path, ==, "/srv/a?b");
    g_assert_cmpstr(base, ==, "a?b");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/name/good", test_good);
    g_test_add_func("/base/name/bad", test_bad);
    g_test_add_func("/base/name/split", test_split);
    g_test_add_func("/base/name/split-pattern", test_split_pattern);
    g_test_add_func("/base/name/split-bad", test_split_bad);
    g_test_add_func("/base/name/node-address", test_node_address);
    return g_test_run();
}
