/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for jobs, with a bar on a terminal. Ctrl-C ends the waiting, not the job. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nouns.h"
#include "util.h"

#define BAR_WIDTH 30u

static bool bar_drawn;

void vv_bar_draw(
    const VvInvocation *inv, const char *what, uint64_t done, uint64_t total, double rate, double seconds_left)
{
    g_autofree char *clean = vv_clean(what);
    g_autofree char *speed = rate > 0 ? vv_size_format((uint64_t) rate) : NULL;
    g_autofree char *left = seconds_left >= 0 ? vv_span_text(seconds_left) : NULL;
    unsigned permille = total > 0 ? (unsigned) ((double) MIN(done, total) / (double) total * 1000) : 0;
    char bar[BAR_WIDTH + 1];

    if (inv->quiet || inv->json || !isatty(STDERR_FILENO))
        return;
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        bar[i] = i * 1000 < permille * BAR_WIDTH ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    if (total == 0)
        fprintf(stderr, "\r\033[K%s", clean);
    else
        fprintf(stderr, "\r\033[K%s  [%s] %3u %%%s%s%s%s%s", clean, bar, permille / 10, speed ? "  " : "",
            speed ? speed : "", speed ? "/s" : "", left ? "  " : "", left ? left : "");
    if (left && total > 0)
        fputs(" left", stderr);
    fflush(stderr);
    bar_drawn = true;
}

void vv_bar_clear(void)
{
    if (bar_drawn)
        fputs("\r\033[K", stderr);
    bar_drawn = false;
}

static void interrupt_cb(G_GNUC_UNUSED int signal_number)
{
    vv_interrupted = 1;
}

void vv_interrupt_catch(void)
{
    struct sigaction action = { .sa_handler = interrupt_cb };

    sigaction(SIGINT, &action, NULL);
}

void vv_interrupt_die(void)
{
    fflush(stdout);
    signal(SIGINT, SIG_DFL);
    raise(SIGINT);
}

static bool has_ended(JsonObject *job)
{
    const char *state = vv_json_text(job, "state");

    return g_strcmp0(state, "done") == 0 || g_strcmp0(state, "failed") == 0 || g_strcmp0(state, "cancelled") == 0;
}

static void draw_job(const VvInvocation *inv, JsonObject *job)
{
    g_autofree char *what = g_strdup_printf("job %" G_GUINT64_FORMAT " %s %s", vv_json_u64(job, "id"),
        vv_json_text(job, "kind") ? vv_json_text(job, "kind") : "?",
        vv_json_text(job, "object") ? vv_json_text(job, "object") : "");

    vv_bar_draw(inv, what, vv_json_u64(job, "done"), vv_json_u64(job, "total"), vv_json_double(job, "rate"),
        vv_json_is_number(job, "seconds_left") ? vv_json_double(job, "seconds_left") : -1);
}

/* Ctrl-C: say which jobs go on, and end as everything does that is interrupted. */
static void leave(const VvInvocation *inv, GHashTable *waiting)
{
    g_autoptr(GList) ids = g_hash_table_get_keys(waiting);

    for (GList *id = ids; id; id = id->next)
        vv_note(inv, "job %s goes on: `vvfs-admin job wait %s` waits for it, `vvfs-admin job cancel %s` ends it.",
            (char *) id->data, (char *) id->data, (char *) id->data);
    vv_interrupt_die();
}

/* Takes note of @job; removes it from @waiting when it has ended. */
static void follow_job(const VvInvocation *inv, JsonObject *job, GHashTable *waiting, JsonArray *ended, bool *failed)
{
    g_autofree char *id = g_strdup_printf("%" G_GUINT64_FORMAT, vv_json_u64(job, "id"));

    if (!has_ended(job)) {
        draw_job(inv, job);
        return;
    }
    if (!g_hash_table_remove(waiting, id))
        return;
    *failed |= g_strcmp0(vv_json_text(job, "state"), "done") != 0;
    json_array_add_object_element(ended, json_object_ref(job));
}

static bool wait_loop(VvInvocation *inv, GHashTable *waiting, JsonArray *ended, bool *failed, GError **error)
{
    uint64_t deadline_ms = inv->timeout_ms > 0 ? inv->started_ms + inv->timeout_ms : 0;

    vv_interrupt_catch();
    while (g_hash_table_size(waiting) > 0) {
        g_autofree char *method = NULL;
        g_autoptr(JsonObject) job = NULL;

        if (!vv_client_next(inv->client, deadline_ms, &method, &job, error)) {
            vv_bar_clear();
            if (vv_interrupted)
                leave(inv, waiting);
            return false;
        }
        if (g_strcmp0(method, "job") == 0)
            follow_job(inv, job, waiting, ended, failed);
    }
    vv_bar_clear();
    signal(SIGINT, SIG_DFL);
    return true;
}

bool vv_jobs_wait(VvInvocation *inv, JsonArray *jobs, bool *ret_failed, JsonArray **ret_jobs, GError **error)
{
    g_autoptr(GHashTable) waiting = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(JsonArray) ended = json_array_new();
    g_autoptr(JsonObject) params = json_object_new();
    g_autoptr(JsonNode) answer = NULL;
    JsonArray *now;
    bool failed = false;

    json_object_set_string_member(params, "topic", "jobs");
    if (jobs && json_array_get_length(jobs) > 0)
        json_object_set_array_member(params, "jobs", json_array_ref(jobs));
    if (!vv_connect(inv, error) || !vv_client_call(inv->client, "subscribe", g_steal_pointer(&params), false,
                                       vv_monotonic_ms() + VV_LOOK_TIMEOUT_MS, &answer, error))
        return false;
    now = JSON_NODE_HOLDS_OBJECT(answer) ? vv_json_array(json_node_get_object(answer), "jobs") : NULL;
    for (unsigned i = 0; now && i < json_array_get_length(now); i++) {
        JsonObject *job = vv_json_element(now, i);

        g_hash_table_add(waiting, g_strdup_printf("%" G_GUINT64_FORMAT, vv_json_u64(job, "id")));
        follow_job(inv, job, waiting, ended, &failed);
    }
    if (!wait_loop(inv, waiting, ended, &failed, error))
        return false;
    *ret_failed = failed;
    if (ret_jobs)
        *ret_jobs = g_steal_pointer(&ended);
    return true;
}

bool vv_job_follow(VvInvocation *inv, JsonObject *result, GError **error)
{
    g_autoptr(JsonArray) jobs = json_array_new();
    g_autoptr(JsonArray) ended = NULL;
    JsonObject *job_error;
    const char *state;
    bool failed;

    if (!vv_json_is_number(result, "job") || inv->dry_run)
        return true;
    if (inv->background) {
        if (!inv->json)
            printf("%" G_GUINT64_FORMAT "\n", vv_json_u64(result, "job"));
        return true;
    }
    json_array_add_int_element(jobs, (gint64) vv_json_u64(result, "job"));
    if (!vv_jobs_wait(inv, jobs, &failed, &ended, error))
        return false;
    if (!failed)
        return true;
    job_error = vv_json_object(vv_json_element(ended, 0), "error");
    state = vv_json_text(vv_json_element(ended, 0), "state");
    if (job_error) {
        g_autoptr(JsonObject) rpc = json_object_new(); /* in the shape of the protocol's errors */

        json_object_set_string_member(
            rpc, "message", vv_json_text(job_error, "message") ? vv_json_text(job_error, "message") : "the job failed");
        json_object_set_object_member(rpc, "data", json_object_ref(job_error));
        vv_set_error_rpc(error, rpc);
    } else {
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "job %" G_GUINT64_FORMAT " ended as %s",
            vv_json_u64(result, "job"), state ? state : "?");
    }
    return false;
}
