/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pool`. create, destroy and check without a mount go to the daemon's program; list is this node's own knowledge. */
#include <stdio.h>
#include <string.h>

#include "nouns.h"
#include "util.h"

#define STATUS_GAP 7u /* blanks between what is and what is remarked */
#define RED 31
#define GREEN 32
#define YELLOW 33

/* ---- create, list, destroy */

/* Fill in `name` and `dir` from each other. */
static bool complete_create(JsonObject *params, GError **error)
{
    const char *name = vv_json_text(params, "name");
    const char *directory = vv_json_text(params, "dir");
    g_autofree char *made = NULL;

    if (!name && !directory) {
        vv_set_error(
            error, VV_ERROR_USAGE, NULL, "vvfs-admin help pool create", "pool create needs --name N or a directory");
        return false;
    }
    if (!name) {
        made = g_path_get_basename(directory);
        if (!vv_name_check(made, "pool", error))
            return false;
        json_object_set_string_member(params, "name", made);
        return true;
    }
    if (!vv_name_check(name, "pool", error))
        return false;
    if (!directory) {
        made = g_build_filename(VV_POOLS_DIRECTORY, name, NULL);
        json_object_set_string_member(params, "dir", made);
    }
    return true;
}

bool vv_run_pool_create(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) params = vv_params(inv);
    g_autoptr(JsonObject) result = NULL;

    if (vv_option(inv, "size") && vv_option(inv, "disk")) {
        vv_set_error(error, VV_ERROR_USAGE, "--size", NULL, "--size is for the disk file that is made without --disk");
        return false;
    }
    if (!complete_create(params, error))
        return false;
    result = vv_offline(inv, "pool.create", g_steal_pointer(&params), error);
    if (!result)
        return false;
    if (inv->json) {
        vv_json_print_object(result);
    } else {
        g_autofree char *directory =
            vv_clean(vv_json_text(result, "directory") ? vv_json_text(result, "directory") : "?");

        printf("%s%s\n", inv->dry_run ? "would make a pool in " : "", directory);
    }
    return true;
}

static void set_text(JsonObject *object, const char *key, const char *text)
{
    if (text)
        json_object_set_string_member(object, key, text);
    else
        json_object_set_null_member(object, key);
}

/* Mounted, mounted without anybody behind it, or not mounted. */
static const char *place_state(const VvPlace *place)
{
    g_autoptr(GError) failure = NULL;
    VvClient *client;

    if (!place->mountpoint)
        return "not-mounted";
    client = vv_client_open(place, NULL, 2000, &failure);
    if (client)
        vv_client_free(client);
    return failure && strcmp(vv_error_code_name(failure), "denied") != 0 ? "no-daemon" : "mounted";
}

bool vv_run_pool_list(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(GPtrArray) places = NULL;
    g_autoptr(JsonArray) items = json_array_new();

    if (!vv_list_check(inv, error))
        return false;
    places = vv_places_list(true);
    for (unsigned i = 0; i < places->len; i++) {
        const VvPlace *place = g_ptr_array_index(places, i);
        JsonObject *item = json_object_new();

        set_text(item, "name", place->name);
        set_text(item, "uuid", place->uuid);
        set_text(item, "directory", place->directory);
        set_text(item, "mountpoint", place->mountpoint);
        set_text(item, "state", place_state(place));
        json_array_add_object_element(items, item);
    }
    return vv_list_print(inv, items, error);
}

/* The pool that DIR or the common rules name. */
static bool choose_place(VvInvocation *inv, GError **error)
{
    if (inv->words->len > 0) {
        g_autofree char *path = g_canonicalize_filename(g_ptr_array_index(inv->words, 0), NULL);

        inv->place = vv_place_choose(path, error);
        return inv->place;
    }
    return vv_place_need(inv, error);
}

/* What stays as it was, for somebody may wonder later whose disk that is. */
static void note_left(const VvInvocation *inv, JsonObject *result)
{
    JsonArray *left = vv_json_array(result, "left");

    for (unsigned i = 0; left && i < json_array_get_length(left); i++)
        vv_note(inv, "%s %s left as it is: not there, not writable, or no disk of %s any more.", vv_json_element_text(left, i),
            inv->dry_run ? "would be" : "is", inv->place->name);
    if (!left)
        vv_note(inv, "the metadata cannot be read: disks outside of %s are left as they are.", inv->place->directory);
}

bool vv_run_pool_destroy(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) params = json_object_new();
    g_autoptr(JsonObject) result = NULL;
    g_autofree char *question = NULL;

    if (inv->words->len == 0 && !inv->pool) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs-admin pool destroy DIR --yes",
            "pool destroy needs the directory of the pool, or -p POOL");
        return false;
    }
    if (!choose_place(inv, error))
        return false;
    if (inv->place->mountpoint) {
        g_autofree char *hint = g_strdup_printf("umount %s", inv->place->mountpoint);

        vv_set_error(error, VV_ERROR_BUSY, inv->place->name, hint, "pool %s is mounted at %s: nothing was changed",
            inv->place->name, inv->place->mountpoint);
        return false;
    }
    question = g_strdup_printf(
        "Destroy pool %s in %s, with all its LUNs and snapshots", inv->place->name, inv->place->directory);
    if (!inv->dry_run && !vv_confirm(inv, question, error))
        return false;
    json_object_set_string_member(params, "dir", inv->place->directory);
    if (!inv->dry_run)
        json_object_set_boolean_member(params, "yes", TRUE);
    result = vv_offline(inv, "pool.destroy", g_steal_pointer(&params), error);
    if (!result)
        return false;
    if (inv->json) {
        vv_json_print_object(result);
    } else if (inv->dry_run) {
        g_autofree char *freed = vv_freed_text(result);
        JsonArray *removed = vv_json_array(result, "removed");

        printf("would destroy pool %s, free %s and let go:", inv->place->name, freed);
        for (unsigned i = 0; removed && i < json_array_get_length(removed); i++)
            printf(" %s", vv_json_element_text(removed, i));
        putchar('\n');
    }
    if (!inv->json)
        note_left(inv, result);
    return true;
}

/* ---- check */

/* A disk that is not there and metadata that does not open are for a person to mend. */
static bool may_repair(JsonArray *errors)
{
    for (unsigned i = 0; errors && i < json_array_get_length(errors); i++) {
        const char *code = vv_json_text(vv_json_element(errors, i), "code");

        if (g_strcmp0(code, "disk") != 0 && g_strcmp0(code, "damaged") != 0)
            return true;
    }
    return false;
}

static void print_check(const VvInvocation *inv, JsonObject *result)
{
    JsonArray *errors = vv_json_array(result, "errors");

    for (unsigned i = 0; errors && i < json_array_get_length(errors); i++) {
        JsonObject *item = vv_json_element(errors, i);
        const char *object = vv_json_text(item, "object");
        g_autofree char *message = vv_clean(vv_json_text(item, "message") ? vv_json_text(item, "message") : "?");
        const char *code = vv_json_text(item, "code");

        printf("%s  %s%s%s%s\n", code ? code : "?", object ? object : "", object ? ": " : "", message,
            vv_json_bool(item, "repaired") ? "  (repaired)" : "");
    }
    if (vv_json_bool(result, "truncated"))
        vv_note(inv, "there are more errors than these.");
    if (!vv_json_bool(result, "ok") && !vv_option(inv, "repair") && may_repair(errors))
        vv_note(inv, "`vvfs-admin -p %s pool check --repair` repairs what can be repaired without guessing.",
            inv->place->directory);
}

/* By the daemon, or without one. Behind umount(8) there may be one that ends before it answers: the check without it waits for its
 * end. A daemon never repairs, so nothing is done twice. */
static JsonObject *check(VvInvocation *inv, GError **error)
{
    g_autoptr(JsonObject) params = vv_params(inv);
    g_autoptr(GError) failure = NULL;

    if (vv_connect(inv, &failure)) {
        JsonObject *result = vv_call(inv, "pool.check", vv_params(inv), &failure);

        if (result)
            return result;
    }
    if (strcmp(vv_error_code_name(failure), "no-daemon") != 0) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    json_object_set_string_member(params, "dir", inv->place->directory);
    return vv_offline(inv, "pool.check", g_steal_pointer(&params), error);
}

bool vv_run_pool_check(VvInvocation *inv, int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = NULL;

    if (!choose_place(inv, error))
        return false;
    result = check(inv, error);
    if (!result)
        return false;
    vv_bar_clear();
    if (inv->json)
        vv_json_print_object(result);
    else
        print_check(inv, result);
    *ret_exit = vv_json_bool(result, "ok") ? 0 : 5;
    return true;
}

static void print_unverified(VvInvocation *inv, JsonObject *result)
{
    uint64_t used = vv_json_u64(result, "used"), checksummed = vv_json_u64(result, "checksummed");
    g_autofree char *without = vv_size_format(used - MIN(used, checksummed)), *all = vv_size_format(used);

    if (used > checksummed)
        vv_note(inv, "%s of %s had no checksum and could only be read.", without, all);
}

/* What doctor says of damage. */
static bool print_damage(VvInvocation *inv, GError **error)
{
    g_autoptr(JsonArray) problems = vv_call_list(inv, "doctor.list", json_object_new(), error);

    for (unsigned i = 0; problems && i < json_array_get_length(problems); i++) {
        JsonObject *problem = vv_json_element(problems, i);

        if (g_strcmp0(vv_json_text(problem, "code"), "damage") == 0)
            vv_note(inv, "%s", vv_json_text(problem, "message"));
    }
    return problems != NULL;
}

bool vv_run_pool_scrub(VvInvocation *inv, int *ret_exit, GError **error)
{
    g_autoptr(JsonArray) jobs = json_array_new(), ended = NULL;
    g_autoptr(JsonObject) result = vv_call(inv, "pool.scrub", vv_params(inv), error);
    bool failed = false;

    if (!result || (inv->background && !vv_job_follow(inv, result, error)))
        return false;
    json_array_add_int_element(jobs, (gint64) vv_json_u64(result, "job"));
    if (!inv->background && !vv_jobs_wait(inv, jobs, &failed, &ended, error))
        return false;
    if (inv->json)
        vv_json_print_object(ended && json_array_get_length(ended) > 0 ? vv_json_element(ended, 0) : result);
    *ret_exit = failed ? 5 : 0;
    if (!inv->json && !inv->background)
        print_unverified(inv, result);
    if (!failed || inv->json)
        return true;
    JsonObject *job_error = vv_json_object(vv_json_element(ended, 0), "error");
    vv_note(inv, "%s", job_error ? vv_json_text(job_error, "message") : "the scrub did not come to its end.");
    return print_damage(inv, error);
}

/* ---- settings */

bool vv_run_pool_settings(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = vv_call(inv, "pool.get", vv_params(inv), error);
    JsonObject *settings = vv_json_object(result, "settings");
    JsonObjectIter iter;
    const char *key;
    JsonNode *node;

    if (!result)
        return false;
    for (unsigned i = 0; i < inv->words->len; i++) {
        const char *word = g_ptr_array_index(inv->words, i);

        if (!settings || !json_object_has_member(settings, word)) {
            vv_set_error(error, VV_ERROR_USAGE, word, "vvfs-admin pool get", "pool %s has no setting `%s`",
                inv->place->name, word);
            return false;
        }
    }
    if (inv->json || !settings) {
        vv_json_print_object(result);
        return true;
    }
    json_object_iter_init_ordered(&iter, settings);
    while (json_object_iter_next_ordered(&iter, &key, &node))
        if (inv->words->len == 0 || g_ptr_array_find_with_equal_func(inv->words, key, g_str_equal, NULL))
            printf("%s=%s\n", key, vv_json_text(settings, key) ? vv_json_text(settings, key) : "");
    return true;
}

/* ---- status: lines with what is on the left, remarks beside them */

typedef struct {
    GPtrArray *left;  /* char *, owned */
    GPtrArray *right; /* the same; element n stands beside line n */
} Screen;

static void G_GNUC_PRINTF(2, 3) add_line(GPtrArray *lines, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(lines, g_strdup_vprintf(format, args));
    va_end(args);
}

/* Stands beside the head, not among the other problems. */
static bool is_fullness(JsonObject *problem)
{
    const char *code = vv_json_text(problem, "code");

    return g_strcmp0(code, "space") == 0 || g_strcmp0(code, "full") == 0;
}

/* "WARNING: 91 % used, full in about 2 days at the last day's rate", or "". */
static char *fullness(JsonObject *status)
{
    JsonObject *space = vv_json_object(status, "space");
    JsonArray *problems = vv_json_array(status, "problems");
    double total = vv_json_double(space, "total");
    unsigned percent = total > 0 ? (unsigned) ((total - vv_json_double(space, "free")) / total * 100 + 0.5) : 0;
    g_autofree char *span = vv_span_text(vv_json_double(status, "full_in_seconds"));

    for (unsigned i = 0; problems && i < json_array_get_length(problems); i++) {
        JsonObject *problem = vv_json_element(problems, i);
        const char *severity = vv_json_text(problem, "severity");
        g_autofree char *loud = g_ascii_strup(severity ? severity : "?", -1);

        if (!is_fullness(problem))
            continue;
        if (!vv_json_is_number(status, "full_in_seconds"))
            return g_strdup_printf("%s: %u %% used", loud, percent);
        return g_strdup_printf("%s: %u %% used, full in about %s at the last day's rate", loud, percent, span);
    }
    return g_strdup("");
}

static void add_head(const VvInvocation *inv, Screen *screen, JsonObject *status)
{
    g_autofree char *nodes = vv_count_text(vv_json_length(status, "nodes"), "node");
    g_autofree char *disks = vv_count_text(vv_json_length(status, "disks"), "disk");
    g_autofree char *luns = vv_count_text(vv_json_u64(status, "luns"), "LUN");
    g_autofree char *snapshots = vv_count_text(vv_json_u64(status, "snapshots"), "snapshot");
    const char *name = vv_json_text(status, "name");
    const char *state = vv_json_text(status, "state");
    int color = g_strcmp0(state, "ok") == 0 ? GREEN : g_strcmp0(state, "degraded") == 0 ? YELLOW : RED;
    g_autofree char *painted = vv_paint(inv, state ? state : "?", color);

    add_line(screen->left, "%s   %s   %s, %s, %s, %s", name ? name : "?", painted, nodes, disks, luns, snapshots);
    g_ptr_array_add(screen->right, fullness(status));
}

static void add_space(Screen *screen, JsonObject *status)
{
    JsonObject *space = vv_json_object(status, "space");
    g_autofree char *total = vv_size_format(vv_json_u64(space, "total"));
    g_autofree char *used = vv_size_format(vv_json_u64(space, "used"));
    g_autofree char *freeing = vv_size_format(vv_json_u64(space, "freeing"));
    g_autofree char *held = vv_size_format(vv_json_u64(space, "held"));
    g_autofree char *unused = vv_size_format(vv_json_u64(space, "free"));
    g_autofree char *missing = vv_size_format(vv_json_u64(space, "missing"));
    g_autofree char *promised = vv_size_format(vv_json_u64(status, "promised"));
    g_autofree char *backed = vv_size_format(vv_json_u64(status, "backed"));
    bool is_freeing = vv_json_u64(space, "freeing") > 0;
    bool is_missing = vv_json_u64(space, "missing") > 0;

    add_line(screen->left, "space  %s = used %s%s%s%s + held %s + free %s%s%s%s", total, used,
        is_freeing ? " (freeing " : "", is_freeing ? freeing : "", is_freeing ? ")" : "", held, unused,
        is_missing ? "   and " : "", is_missing ? missing : "", is_missing ? " missing" : "");
    add_line(screen->right, "LUNs promise %s, of that backed %s", promised, backed);
}

static void add_disks(Screen *screen, JsonArray *disks)
{
    for (unsigned i = 0; disks && i < json_array_get_length(disks); i++) {
        JsonObject *disk = vv_json_element(disks, i);
        g_autofree char *size = vv_size_format(vv_json_u64(disk, "size"));
        g_autofree char *unused = vv_size_format(vv_json_u64(disk, "free"));
        const char *name = vv_json_text(disk, "name");
        const char *state = vv_json_text(disk, "state");

        add_line(screen->left, "disk   %s  %s  %s  free %s", name ? name : "?", state ? state : "?", size, unused);
    }
}

static void add_jobs(Screen *screen, JsonArray *jobs)
{
    for (unsigned i = 0; jobs && i < json_array_get_length(jobs); i++) {
        JsonObject *job = vv_json_element(jobs, i);
        double total = vv_json_double(job, "total");
        g_autofree char *rate = vv_json_is_number(job, "rate") ? vv_size_format(vv_json_u64(job, "rate")) : NULL;
        g_autofree char *left =
            vv_json_is_number(job, "seconds_left") ? vv_span_text(vv_json_double(job, "seconds_left")) : NULL;
        const char *kind = vv_json_text(job, "kind");
        const char *object = vv_json_text(job, "object");
        const char *state = vv_json_text(job, "state");
        unsigned percent = total > 0 ? (unsigned) (MIN(vv_json_double(job, "done") / total, 1) * 100) : 0;
        bool runs = g_strcmp0(state, "running") == 0;

        add_line(screen->right, "job %" G_GUINT64_FORMAT "  %s %s  %u %%%s%s%s%s%s%s%s", vv_json_u64(job, "id"),
            kind ? kind : "?", object ? object : "-", percent, runs ? "" : "  ",
            runs    ? ""
            : state ? state
                    : "?",
            rate && runs ? "  " : "", rate && runs ? rate : "", rate && runs ? "/s" : "", left && runs ? "  " : "",
            left && runs ? left : "");
        if (left && runs) {
            char **last = (char **) &g_ptr_array_index(screen->right, screen->right->len - 1);
            char *whole = g_strconcat(*last, " left", NULL);

            g_free(*last);
            *last = whole;
        }
    }
}

/* What is wrong, except fullness, which stands beside the head. */
static void add_problems(Screen *screen, JsonArray *problems)
{
    for (unsigned i = 0; problems && i < json_array_get_length(problems); i++) {
        JsonObject *problem = vv_json_element(problems, i);
        const char *severity = vv_json_text(problem, "severity");
        const char *message = vv_json_text(problem, "message");

        if (!is_fullness(problem))
            add_line(screen->left, "%s  %s", severity ? severity : "?", message ? message : "?");
    }
}

/* Width on the terminal: colours have none. */
static size_t visible_length(const char *text)
{
    size_t length = 0;

    for (const char *p = text; *p; p = g_utf8_next_char(p)) {
        if (*p == '\033')
            p = strchr(p, 'm') ? strchr(p, 'm') : p;
        else
            length++;
    }
    return length;
}

static void print_screen(const Screen *screen)
{
    size_t width = 0;
    unsigned lines = MAX(screen->left->len, screen->right->len);

    for (unsigned i = 0; i < screen->left->len && i < screen->right->len; i++)
        width = MAX(width, visible_length(g_ptr_array_index(screen->left, i)));
    for (unsigned i = 0; i < lines; i++) {
        const char *left = i < screen->left->len ? g_ptr_array_index(screen->left, i) : "";
        const char *right = i < screen->right->len ? g_ptr_array_index(screen->right, i) : "";
        size_t length = visible_length(left);

        if (*right)
            printf("%s%*s%s\n", left, (int) (MAX(width, length) - length + STATUS_GAP), "", right);
        else
            puts(left);
    }
}

static void print_status(const VvInvocation *inv, JsonObject *status)
{
    Screen screen = { g_ptr_array_new_with_free_func(g_free), g_ptr_array_new_with_free_func(g_free) };

    add_head(inv, &screen, status);
    add_space(&screen, status);
    add_disks(&screen, vv_json_array(status, "disks"));
    add_jobs(&screen, vv_json_array(status, "jobs"));
    add_problems(&screen, vv_json_array(status, "problems"));
    print_screen(&screen);
    if (vv_json_text(status, "stale_since"))
        vv_note(inv, "this is what this node knew at %s.", vv_json_text(status, "stale_since"));
    g_ptr_array_unref(screen.left);
    g_ptr_array_unref(screen.right);
}

bool vv_run_pool_status(VvInvocation *inv, int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) status = vv_call(inv, "pool.status", vv_params(inv), error);
    bool check = vv_option(inv, "check");

    if (!status)
        return false;
    if (inv->json)
        vv_json_print_object(status);
    else if (!inv->quiet || !check) /* of a quiet check the exit code is the answer */
        print_status(inv, status);
    if (check && g_strcmp0(vv_json_text(status, "state"), "ok") != 0)
        *ret_exit = 5;
    return true;
}
