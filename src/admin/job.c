/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `job`: what the table cannot say. */
#include "nouns.h"
#include "util.h"

bool vv_run_job_wait(VvInvocation *inv, int *ret_exit, GError **error)
{
    g_autoptr(JsonArray) jobs = json_array_new();
    g_autoptr(JsonArray) ended = NULL;
    bool failed;

    for (unsigned i = 0; i < inv->words->len; i++) {
        const char *word = g_ptr_array_index(inv->words, i);
        guint64 number;

        if (!g_ascii_string_to_unsigned(word, 10, 1, G_MAXINT64, &number, NULL)) {
            vv_set_error(error, VV_ERROR_USAGE, word, "vvfs-admin job list", "`%s` is no job's number", word);
            return false;
        }
        json_array_add_int_element(jobs, (gint64) number);
    }
    if (!vv_jobs_wait(inv, jobs, &failed, &ended, error))
        return false;
    if (inv->json)
        vv_json_print_array(ended);
    for (unsigned i = 0; !inv->json && i < json_array_get_length(ended); i++) {
        JsonObject *job = vv_json_element(ended, i);
        const char *state = vv_json_text(job, "state");
        const char *message = vv_json_text(vv_json_object(job, "error"), "message");

        if (g_strcmp0(state, "done") != 0)
            vv_note(inv, "job %" G_GUINT64_FORMAT " %s%s%s", vv_json_u64(job, "id"), state ? state : "?",
                message ? ": " : "", message ? message : "");
    }
    *ret_exit = failed ? 5 : 0;
    return true;
}
