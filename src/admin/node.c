/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `node`. Inviting is the daemon's affair; joining needs none, as the machine that joins has no pool yet. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "limits.h"
#include "nouns.h"
#include "util.h"

#define TOKEN_FILE_BYTES_MAX 4096u /* a token has at most 2,744 characters; white space around it is allowed */

/* ---- list */

/* By the daemon; without one, what the pool directory says. */
static JsonArray *node_items(VvInvocation *inv, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(JsonObject) params = NULL, result = NULL;
    JsonArray *items = vv_call_list(inv, "node.list", NULL, &failure);

    if (items)
        return items;
    if (strcmp(vv_error_code_name(failure), "no-daemon") != 0 || !inv->place) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    params = json_object_new();
    json_object_set_string_member(params, "dir", inv->place->directory);
    result = vv_offline(inv, "node.list", g_steal_pointer(&params), error);
    if (!result)
        return NULL;
    return json_array_ref(json_object_get_array_member(result, "items"));
}

bool vv_run_node_list(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonArray) items = NULL;

    if (!vv_list_check(inv, error))
        return false;
    items = node_items(inv, error);
    return items && vv_list_print(inv, items, error);
}

/* ---- invite */

/* "90", "10m", "2h", "3d": in seconds. */
static bool ttl_parse(const char *text, uint64_t *ret_seconds, GError **error)
{
    static const char units[] = "smhdw";
    static const uint64_t unit_seconds[] = { 1, 60, 3600, 86400, 604800 };
    char *end = NULL;
    guint64 count = g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 10) : 0;
    const char *unit = end && *end && !end[1] ? strchr(units, *end) : NULL;

    if (count > 0 && count <= UINT32_MAX && (!*end || unit)) {
        *ret_seconds = count * (unit ? unit_seconds[unit - units] : 1);
        return true;
    }
    vv_set_error(error, VV_ERROR_USAGE, text, NULL, "`%s` is no time to live: write seconds, or a span such as 10m, 2h, 3d", text);
    return false;
}

static bool refuse_together(const VvInvocation *inv, const char *one, const char *const *others, GError **error)
{
    for (; *others; others++)
        if (vv_option(inv, one) && vv_option(inv, *others)) {
            vv_set_error(error, VV_ERROR_USAGE, one, NULL, "--%s and --%s do not go together", one, *others);
            return false;
        }
    return true;
}

static bool check_invite(const VvInvocation *inv, GError **error)
{
    static const char *const not_list[] = { "revoke", "name", "role", "guest", "ttl", NULL };
    static const char *const not_revoke[] = { "name", "role", "guest", "ttl", NULL };
    static const char *const not_role[] = { "guest", NULL };

    return refuse_together(inv, "list", not_list, error) && refuse_together(inv, "revoke", not_revoke, error) &&
           refuse_together(inv, "role", not_role, error);
}

static bool list_invites(VvInvocation *inv, GError **error)
{
    g_autoptr(JsonArray) items = NULL;

    if (!vv_list_check(inv, error))
        return false;
    items = vv_call_list(inv, "node.invites", NULL, error);
    return items && vv_list_print(inv, items, error);
}

static bool revoke_invite(VvInvocation *inv, GError **error)
{
    const char *text = vv_option(inv, "revoke");
    g_autoptr(JsonObject) params = json_object_new(), result = NULL;
    guint64 id;

    if (!g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT64, &id, NULL)) {
        vv_set_error(error, VV_ERROR_USAGE, text, "vvfs-admin node invite --list", "`%s` is no invitation's number", text);
        return false;
    }
    json_object_set_int_member(params, "invite", (gint64) id);
    result = vv_call(inv, "node.revoke", g_steal_pointer(&params), error);
    if (result && inv->json)
        vv_json_print_object(result);
    return result;
}

/* "17:45", with the day if that is another one. */
static char *until_text(uint64_t ns)
{
    g_autofree char *today = vv_time_format_local(vv_now_ns()), *until = vv_time_format_local(ns);
    size_t day = strlen("2026-11-02 "), minute = strlen("2026-11-02 04:07");

    return strncmp(today, until, day) == 0 ? g_strndup(until + day, minute - day) : g_strndup(until, minute);
}

static void print_token(const VvInvocation *inv, JsonObject *result)
{
    const char *token = vv_json_text(result, "token");
    bool witness = g_strcmp0(vv_json_text(result, "role"), "witness") == 0;
    g_autofree char *until = until_text(vv_json_u64(result, "expires_ns"));

    if (!token) {
        vv_note(inv, "invitation %" G_GUINT64_FORMAT " of this --id was used or revoked: there is no token any more.",
            vv_json_u64(result, "invite"));
        return;
    }
    printf("%s\n", token);
    vv_note(inv, "good once, until %s. On the new node: vvfs-admin node join --token - --listen ADDR, then: vvfs %s%s%s", until,
        witness ? "--witness " : "", inv->place->name, witness ? "" : " MOUNTPOINT");
}

bool vv_run_node_invite(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) params = NULL, result = NULL;
    const char *ttl = vv_option(inv, "ttl");
    uint64_t seconds;

    if (!check_invite(inv, error))
        return false;
    if (vv_option(inv, "list"))
        return list_invites(inv, error);
    if (vv_option(inv, "revoke"))
        return revoke_invite(inv, error);
    params = vv_params(inv);
    if (vv_option(inv, "guest"))
        json_object_set_string_member(params, "role", "guest");
    if (ttl && !ttl_parse(ttl, &seconds, error))
        return false;
    if (ttl)
        json_object_set_int_member(params, "ttl", (gint64) seconds);
    result = vv_call(inv, "node.invite", g_steal_pointer(&params), error);
    if (!result)
        return false;
    if (inv->json)
        vv_json_print_object(result);
    else
        print_token(inv, result);
    return true;
}

/* ---- join */

/* All of @file, which is no longer than a token may be. NULL: an error. */
static char *read_token(FILE *file, const char *what, GError **error)
{
    g_autofree char *text = g_malloc0(TOKEN_FILE_BYTES_MAX + 1);
    size_t length = fread(text, 1, TOKEN_FILE_BYTES_MAX, file);

    if (ferror(file)) {
        vv_set_error_errno(error, errno, what, "cannot read the token from %s", what);
        return NULL;
    }
    if (length == 0 || length == TOKEN_FILE_BYTES_MAX || strlen(text) != length) {
        vv_set_error(error, VV_ERROR_USAGE, what, NULL, "%s holds no token", what);
        return NULL;
    }
    return g_steal_pointer(&text);
}

/* "-": stdin; "@FILE"; or the token itself. */
static char *take_token(const char *text, GError **error)
{
    char *token;
    FILE *file;

    if (strcmp(text, "-") == 0)
        return read_token(stdin, "stdin", error);
    if (*text != '@')
        return g_strdup(text);
    file = fopen(text + 1, "re");
    if (!file) {
        vv_set_error_errno(error, errno, text + 1, "cannot read the token from %s", text + 1);
        return NULL;
    }
    token = read_token(file, text + 1, error);
    fclose(file);
    return token;
}

static bool need_option(const VvInvocation *inv, const char *name, const char *example, GError **error)
{
    if (vv_option(inv, name))
        return true;
    vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs-admin help node join", "node join needs --%s %s", name, example);
    return false;
}

bool vv_run_node_join(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) params = vv_params(inv), result = NULL;
    g_autofree char *token = NULL;

    if (!need_option(inv, "token", "-, @FILE or TOKEN", error) || !need_option(inv, "listen", "ADDR[:PORT]", error))
        return false;
    token = take_token(vv_option(inv, "token"), error);
    if (!token)
        return false;
    if (!g_utf8_validate(token, -1, NULL)) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, NULL, "this is no token");
        return false;
    }
    json_object_set_string_member(params, "token", token);
    if (!json_object_has_member(params, "dir"))
        json_object_set_string_member(params, "parent", VV_POOLS_DIRECTORY);
    if (inv->timeout_ms > 0)
        json_object_set_int_member(params, "timeout_ms", (gint64) inv->timeout_ms);
    result = vv_offline(inv, "node.join", g_steal_pointer(&params), error);
    if (!result)
        return false;
    if (inv->json) {
        vv_json_print_object(result);
    } else {
        g_autofree char *directory = vv_clean(vv_json_text(result, "directory") ? vv_json_text(result, "directory") : "?");

        printf("%s\n", directory);
        if (vv_json_bool(result, "again"))
            vv_note(inv, "it had joined already, as node %s.", vv_json_text(result, "node"));
    }
    return true;
}
