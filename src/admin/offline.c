/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What needs no daemon needs the daemon's program: `vvfs --offline METHOD`, params on stdin, a response on stdout. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "limits.h"
#include "nouns.h"

static char *try_program(char *path) /* takes @path */
{
    if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE) && !g_file_test(path, G_FILE_TEST_IS_DIR))
        return path;
    g_free(path);
    return NULL;
}

/* In the order of docs/admin-protocol.md section 8. Newly allocated, or NULL. */
static char *find_program(void)
{
    static const char *const beside[] = { "vvfs", "../sbin/vvfs", "../vvfs/vvfs" };
    static const char *const elsewhere[] = { "/usr/local/sbin/vvfs", "/usr/sbin/vvfs" };
    const char *given = g_getenv("VVFS_DAEMON");
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self ? g_path_get_dirname(self) : NULL;
    char *found = NULL;

    if (given && *given)
        return try_program(g_strdup(given));
    for (unsigned i = 0; folder && !found && i < G_N_ELEMENTS(beside); i++)
        found = try_program(g_build_filename(folder, beside[i], NULL));
    if (!found)
        found = g_find_program_in_path("vvfs");
    for (unsigned i = 0; !found && i < G_N_ELEMENTS(elsewhere); i++)
        found = try_program(g_strdup(elsewhere[i]));
    return found;
}

static GSubprocess *start(const char *method, GError **error)
{
    g_autofree char *program = find_program();
    g_autoptr(GError) failure = NULL;
    GSubprocess *process;

    if (!program) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, "vvfs", "`VVFS_DAEMON=PATH` says where it is.",
            "the program vvfs is not installed beside vvfs-admin");
        return NULL;
    }
    process = g_subprocess_new(
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE, &failure, program, "--offline", method, NULL);
    if (!process)
        vv_set_error(error, VV_ERROR_IO, program, NULL, "cannot run %s: %s", program, failure->message);
    return process;
}

/* The last line of @out is the response; those before it are progress. */
static JsonNode *read_response(const VvInvocation *inv, GInputStream *stream, GError **error)
{
    g_autoptr(GDataInputStream) lines = g_data_input_stream_new(stream);
    g_autoptr(JsonObject) response = NULL;

    while (!response) {
        g_autofree char *line = g_data_input_stream_read_line(lines, NULL, NULL, NULL);
        g_autoptr(JsonNode) node = NULL;
        g_autoptr(JsonObject) message = NULL;

        if (!line)
            break;
        node = json_from_string(line, NULL);
        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
            break;
        message = json_node_dup_object(node);
        if (g_strcmp0(vv_json_text(message, "method"), "progress") == 0)
            vv_draw_progress(inv, message);
        else
            response = g_steal_pointer(&message);
    }
    vv_bar_clear();
    if (response)
        return vv_response_result(response, error);
    vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "`vvfs --offline` ended without an answer");
    return NULL;
}

JsonObject *vv_offline(VvInvocation *inv, const char *method, JsonObject *params, GError **error)
{
    g_autoptr(JsonObject) owned = params;
    g_autoptr(GSubprocess) process = start(method, error);
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(JsonNode) result = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    GOutputStream *to;

    if (!process)
        return NULL;
    if (inv->dry_run)
        json_object_set_boolean_member(owned, "dry_run", TRUE);
    json_node_set_object(node, owned);
    vv_json_append(text, node);
    g_string_append_c(text, '\n');
    to = g_subprocess_get_stdin_pipe(process);
    signal(SIGPIPE, SIG_IGN); /* a program that died is told of below */
    g_output_stream_write_all(to, text->str, text->len, NULL, NULL, NULL);
    g_output_stream_close(to, NULL, NULL);
    signal(SIGPIPE, SIG_DFL);
    result = read_response(inv, g_subprocess_get_stdout_pipe(process), error);
    g_subprocess_wait(process, NULL, NULL);
    if (!result)
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT(result)) {
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "the answer to %s is no object", method);
        return NULL;
    }
    return json_node_dup_object(result);
}
