/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `lease`: JSON is what the daemon says; in the table a session stands where others have their object, and who waits is put in words. */
#include <string.h>

#include "nouns.h"
#include "util.h"

/* "2 requests", "share set by n2". */
static void append_waits(GString *out, JsonObject *waits)
{
    const char *what = vv_json_text(waits, "what"), *node = vv_json_text(waits, "node");
    uint64_t count = vv_json_u64(waits, "count");

    g_string_append(out, out->len > 0 ? ", " : "");
    if (!node && count > 1)
        g_string_append_printf(out, "%" G_GUINT64_FORMAT " ", count);
    g_string_append(out, what ? what : "?");
    if (node)
        g_string_append_printf(out, " by %s", node);
}

static void set_words(JsonObject *item)
{
    JsonArray *list = vv_json_array(item, "waits");
    const char *what = vv_json_text(item, "what"), *mode = vv_json_text(item, "mode");
    g_autoptr(GString) waits = g_string_new(NULL);

    for (unsigned i = 0; list && i < json_array_get_length(list); i++)
        if (vv_json_element(list, i))
            append_waits(waits, vv_json_element(list, i));
    if (waits->len > 0)
        json_object_set_string_member(item, "waits", waits->str);
    if (what && mode) {
        g_autofree char *both = g_strdup_printf("%s (%s)", mode, what);

        json_object_set_string_member(item, "mode", both);
    }
    if (!vv_json_text(item, "object") && vv_json_is_number(item, "session")) {
        g_autofree char *session = g_strdup_printf("session %" G_GUINT64_FORMAT, vv_json_u64(item, "session"));

        json_object_set_string_member(item, "object", session);
    }
}

/* Some of it is old: since when, the longest. */
static void note_stale(VvInvocation *inv, JsonArray *items)
{
    uint64_t since_ns = 0;
    g_autofree char *text = NULL;

    for (unsigned i = 0; i < json_array_get_length(items); i++) {
        JsonObject *item = vv_json_element(items, i);
        uint64_t ns = item && vv_json_is_number(item, "stale_since_ns") ? vv_json_u64(item, "stale_since_ns") : 0;

        if (ns != 0 && (since_ns == 0 || ns < since_ns))
            since_ns = ns;
    }
    if (since_ns == 0)
        return;
    text = vv_time_format_local(since_ns);
    vv_note(inv, "this node does not reach all who know: some of it is what it knew itself, since %s.", text);
}

bool vv_run_lease_list(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonArray) items = NULL;

    if (!vv_list_check(inv, error))
        return false;
    items = vv_call_list(inv, "lease.list", NULL, error);
    if (!items)
        return false;
    note_stale(inv, items);
    for (unsigned i = 0; !inv->json && i < json_array_get_length(items); i++)
        if (vv_json_element(items, i))
            set_words(vv_json_element(items, i));
    return vv_list_print(inv, items, error);
}
