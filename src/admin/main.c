/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vvfs-admin: parse, run, say how it went. Exit codes: CLI.md section 2. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "nouns.h"

/* What was written must have arrived: a full disk or a closed pipe is a failure. */
static int check_output(const VvInvocation *inv, int code)
{
    g_autoptr(GError) error = NULL;

    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    vv_set_error(&error, VV_ERROR_IO, "stdout", NULL, "cannot write to stdout");
    return MAX(code, vv_report_error(inv, error));
}

static bool show_help(const VvInvocation *inv, GError **error)
{
    const VvCommand *command = inv->command;
    const char *noun = inv->words->len > 0 ? g_ptr_array_index(inv->words, 0) : NULL;

    return command ? vv_help_print(inv, command->noun, command->verb, error) : vv_help_print(inv, noun, NULL, error);
}

int main(int argc, char **argv)
{
    VvInvocation inv = { 0 };
    g_autoptr(GError) error = NULL;
    int code = 0;
    bool ok;

    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C");
    ok = vv_parse(&inv, argc, argv, &error);
    if (ok && inv.help)
        ok = show_help(&inv, &error);
    else if (ok && inv.command->run)
        ok = inv.command->run(&inv, &code, &error);
    else if (ok)
        ok = vv_run_generic(&inv, &error);
    vv_bar_clear();
    if (!ok) {
        g_assert(error);
        code = vv_report_error(&inv, error);
    }
    code = check_output(&inv, code);
    vv_invocation_clear(&inv);
    return code;
}
