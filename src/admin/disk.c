/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `disk`: what the table cannot say. */
#include <stdio.h>

#include "nouns.h"
#include "util.h"

/* What giving up a lost disk would damage, as a question. */
static char *lost_question(JsonObject *result, const char *disk)
{
    g_autoptr(GString) text = g_string_new(NULL);
    JsonArray *damaged = vv_json_array(result, "damaged");

    g_string_append_printf(text, "Give up disk %s", disk);
    for (unsigned i = 0; damaged && i < json_array_get_length(damaged); i++)
        g_string_append_printf(text, "%s%s", i == 0 ? ", which damages " : ", ", vv_json_element_text(damaged, i));
    return g_string_free(g_steal_pointer(&text), FALSE);
}

bool vv_run_disk_remove(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *disk = vv_json_text(inv->params, "disk");
    g_autoptr(JsonObject) result = NULL;

    if (vv_option(inv, "lost") && !inv->yes && !inv->dry_run && vv_can_ask()) {
        g_autoptr(JsonObject) would = vv_call_dry(inv, "disk.remove", vv_params(inv), error);
        g_autofree char *question = would ? lost_question(would, disk) : NULL;

        if (!would || !vv_confirm(inv, question, error))
            return false;
        inv->yes = true;
    }
    result = vv_call(inv, "disk.remove", vv_params(inv), error);
    if (!result)
        return false;
    if (inv->dry_run && !inv->json) {
        JsonArray *damaged = vv_json_array(result, "damaged");

        printf("would remove disk %s\n", disk);
        for (unsigned i = 0; damaged && i < json_array_get_length(damaged); i++)
            printf("would damage %s\n", vv_json_element_text(damaged, i));
    }
    if (!vv_job_follow(inv, result, error))
        return false;
    if (inv->json)
        vv_json_print_object(result);
    return true;
}
