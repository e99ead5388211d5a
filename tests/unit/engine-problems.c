/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Problems: order, fixes and their effects, when a pool is full. */
#include "problems.h"

static void test_order_and_fixes(void)
{
    g_autoptr(GPtrArray) problems = vv_problems_new();
    g_autoptr(GPtrArray) fixes = g_ptr_array_new();
    const VvProblem *problem;

    g_ptr_array_add(fixes, (char *) "vvfs-admin snapshot remove db@x");
    g_ptr_array_add(fixes, (char *) "frees 8.1G");
    g_ptr_array_add(fixes, (char *) "vvfs-admin disk add PATH");
    g_ptr_array_add(fixes, NULL);
    vv_problems_add(problems, VV_SEVERITY_INFO, "job", "7", g_strdup("job 7 is paused"), NULL);
    vv_problems_add(problems, VV_SEVERITY_WARNING, "space", "tank", g_strdup("pool tank is 91 % used"), fixes);
    vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk", NULL, g_strdup("first"), NULL);
    vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk", NULL, g_strdup("second"), NULL);
    vv_problems_sort(problems);

    problem = g_ptr_array_index(problems, 0);
    g_assert_cmpstr(problem->message, ==, "first");
    g_assert_cmpstr(problem->object, ==, "");
    g_assert_null(problem->fix[0]);
    problem = g_ptr_array_index(problems, 1);
    g_assert_cmpstr(problem->message, ==, "second");
    problem = g_ptr_array_index(problems, 2);
    g_assert_cmpuint(g_strv_length(problem->fix), ==, 2);
    g_assert_cmpuint(g_strv_length(problem->effect), ==, 2);
    g_assert_cmpstr(problem->effect[0], ==, "frees 8.1G");
    g_assert_cmpstr(problem->fix[1], ==, "vvfs-admin disk add PATH");
    g_assert_cmpstr(problem->effect[1], ==, "");
    problem = g_ptr_array_index(problems, 3);
    g_assert_cmpint(problem->severity, ==, VV_SEVERITY_INFO);
}

static void test_space(void)
{
    VvSpaceSummary space = {
        .total_bytes = UINT64_C(100) << 30, .used_bytes = UINT64_C(91) << 30, .free_bytes = UINT64_C(9) << 30
    };

    g_assert_cmpuint(vv_space_used_percent(&space), ==, 91);
    g_assert_false(vv_space_is_full(&space));
    space.free_bytes = (1 << 20) - 1;
    g_assert_true(vv_space_is_full(&space));
    space.total_bytes = 0;
    g_assert_cmpuint(vv_space_used_percent(&space), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/problems/order-and-fixes", test_order_and_fixes);
    g_test_add_func("/problems/space", test_space);
    return g_test_run();
}
