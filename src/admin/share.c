/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `share`: who may use what. */
#include "nouns.h"

static void add_row(JsonArray *rows, const char *node, const char *mode)
{
    JsonObject *row = json_object_new();

    json_object_set_string_member(row, "node", node);
    json_object_set_string_member(row, "mode", mode ? mode : "?");
    json_array_add_object_element(rows, row);
}

/* The default first, then the nodes as they came: by name. */
static JsonArray *rows_of(JsonObject *share)
{
    JsonArray *rows = json_array_new();
    JsonObject *nodes = json_object_has_member(share, "nodes") ? json_object_get_object_member(share, "nodes") : NULL;
    g_autoptr(GList) names = nodes ? json_object_get_members(nodes) : NULL;

    add_row(rows, "default", vv_json_text(share, "default"));
    for (const GList *l = names; l; l = l->next)
        add_row(rows, l->data, vv_json_text(nodes, l->data));
    return rows;
}

bool vv_run_share_show(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) share = NULL;
    g_autoptr(JsonArray) rows = NULL;

    if (!vv_list_check(inv, error))
        return false;
    share = vv_call(inv, "share.show", vv_params(inv), error);
    if (!share)
        return false;
    if (inv->json) {
        vv_json_print_object(share);
        return true;
    }
    rows = rows_of(share);
    return vv_list_print(inv, rows, error);
}

/* Nobody can write a clone that took its table from a snapshot: that is said, as it is what a clone is for. */
static bool nobody_writes(JsonObject *share)
{
    JsonObject *nodes = json_object_has_member(share, "nodes") ? json_object_get_object_member(share, "nodes") : NULL;
    g_autoptr(GList) names = nodes ? json_object_get_members(nodes) : NULL;

    for (const GList *l = names; l; l = l->next)
        if (g_strcmp0(vv_json_text(nodes, l->data), "rw") == 0)
            return false;
    return g_strcmp0(vv_json_text(share, "default"), "rw") != 0;
}

bool vv_run_lun_clone(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = vv_call(inv, "lun.clone", vv_params(inv), error), share = NULL, params = NULL;
    const char *name = vv_json_text(inv->params, "name");

    if (!result)
        return false;
    if (inv->json)
        vv_json_print_object(result);
    params = json_object_new();
    json_object_set_string_member(params, "object", name);
    share = vv_call(inv, "share.show", g_steal_pointer(&params), NULL);
    if (share && nobody_writes(share))
        vv_note(inv, "%s is shared as %s is: nobody may write it. `vvfs-admin share set %s NODE=rw`", name, vv_json_text(inv->params, "object"),
            name);
    return true;
}
