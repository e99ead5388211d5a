/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `snapshot`: what the table cannot say. */
#include <stdio.h>
#include <string.h>

#include "freeze.h"
#include "limits.h"
#include "nouns.h"
#include "util.h"

/* ---- create */

static void add_lun(GPtrArray *luns, char *lun) /* takes @lun */
{
    if (g_ptr_array_find_with_equal_func(luns, lun, g_str_equal, NULL))
        g_free(lun);
    else
        g_ptr_array_add(luns, lun);
}

/* The words to `luns` or `objects`, and the names of the LUNs to @luns. */
static bool read_objects(VvInvocation *inv, JsonObject *params, GPtrArray *luns, GError **error)
{
    bool prefix = vv_option(inv, "prefix");
    JsonArray *names = json_array_new();

    json_object_set_array_member(params, prefix ? "luns" : "objects", names);
    for (unsigned i = 0; i < inv->words->len; i++) {
        const char *word = g_ptr_array_index(inv->words, i);
        bool has_name = strchr(word, '@');
        g_autofree char *lun = NULL;
        g_autofree char *snapshot = NULL;

        if (prefix && has_name) {
            vv_set_error(
                error, VV_ERROR_USAGE, word, NULL, "`%s` has a name already: --prefix makes names for LUNs", word);
            return false;
        }
        if (!prefix && !has_name) {
            vv_set_error(error, VV_ERROR_USAGE, word, NULL, "`%s` names no snapshot: write %s@SNAP, or add --prefix P",
                word, word);
            return false;
        }
        if (prefix ? !vv_name_check(word, "LUN", error) : !vv_name_split(word, false, &lun, &snapshot, error))
            return false;
        json_array_add_string_element(names, word);
        add_lun(luns, prefix ? g_strdup(word) : g_steal_pointer(&lun));
    }
    return true;
}

/* The call between freezing and thawing: it must not outlast the freeze. */
static JsonObject *create_frozen(VvInvocation *inv, JsonObject *params, GPtrArray *mounts, GError **error)
{
    uint64_t timeout_ms = inv->timeout_ms;
    uint64_t limit_ms;
    JsonObject *result;
    VvFreeze *freeze;

    if (!vv_connect(inv, error)) { /* before, so that nothing freezes for a daemon that is not there */
        json_object_unref(params);
        return NULL;
    }
    freeze = vv_freeze_begin(mounts, error);
    if (!freeze) {
        json_object_unref(params);
        return NULL;
    }
    limit_ms = vv_freeze_deadline_ms(freeze) - inv->started_ms;
    inv->timeout_ms = timeout_ms > 0 ? MIN(timeout_ms, limit_ms) : limit_ms;
    result = vv_call(inv, "snapshot.create", params, error);
    inv->timeout_ms = timeout_ms;
    if (!vv_freeze_end(freeze) && result)
        vv_note(inv, "the file systems thawed after %u s, before the snapshot was there: it is as after a power cut.",
            VV_FREEZE_SECONDS_MAX);
    return result;
}

/* The snapshot of @lun in the result, or NULL. */
static const char *created_of(JsonObject *result, const char *lun)
{
    JsonArray *created = vv_json_array(result, "created");

    for (unsigned i = 0; created && i < json_array_get_length(created); i++)
        if (g_strcmp0(vv_json_text(vv_json_element(created, i), "lun"), lun) == 0)
            return vv_json_text(vv_json_element(created, i), "object");
    return NULL;
}

static void note_mounted(const VvInvocation *inv, JsonObject *result, GPtrArray *mounts)
{
    for (unsigned i = 0; i < mounts->len; i++) {
        const VvLunMount *mount = g_ptr_array_index(mounts, i);
        const char *object = created_of(result, mount->lun);

        vv_note(inv,
            "%s (%s) is mounted from %s and was not frozen: %s is as after a power cut. `--freeze` takes it clean.",
            mount->mountpoint, mount->type, mount->lun, object ? object : "the snapshot");
    }
}

bool vv_run_snapshot_create(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) params = vv_params(inv);
    g_autoptr(JsonObject) result = NULL;
    g_autoptr(GPtrArray) luns = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) mounts = NULL;
    bool freeze = vv_option(inv, "freeze");
    JsonArray *created;

    if (!read_objects(inv, params, luns, error) || !vv_place_need(inv, error))
        return false;
    mounts = inv->place->mountpoint ? vv_lun_mounts(inv->place->mountpoint, luns) : g_ptr_array_new();
    if (freeze && mounts->len > 0)
        result = create_frozen(inv, g_steal_pointer(&params), mounts, error);
    else
        result = vv_call(inv, "snapshot.create", g_steal_pointer(&params), error);
    if (!result)
        return false;
    if (freeze && mounts->len == 0)
        vv_note(inv, "nothing was frozen: this node has no file system mounted from a loop device over %s.",
            luns->len == 1 ? "it" : "them");
    else if (!freeze)
        note_mounted(inv, result, mounts);
    created = vv_json_array(result, "created");
    if (inv->json)
        vv_json_print_object(result);
    for (unsigned i = 0; !inv->json && vv_option(inv, "prefix") && created && i < json_array_get_length(created); i++) {
        const char *object = vv_json_text(vv_json_element(created, i), "object");

        puts(object ? object : "?");
    }
    return true;
}

/* ---- remove, set: patterns */

/* "31 snapshots of db", "2 snapshots of db and web", newly allocated. */
static char *names_text(JsonArray *objects)
{
    g_autoptr(GPtrArray) luns = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *count = vv_count_text(objects ? json_array_get_length(objects) : 0, "snapshot");

    for (unsigned i = 0; objects && i < json_array_get_length(objects); i++) {
        const char *object = vv_json_element_text(objects, i);

        add_lun(luns, g_strndup(object, strcspn(object, "@")));
    }
    g_string_append(text, count);
    if (luns->len > 3)
        g_string_append_printf(text, " of %u LUNs", luns->len);
    for (unsigned i = 0; luns->len <= 3 && i < luns->len; i++)
        g_string_append_printf(text, "%s%s",
            i == 0               ? " of "
            : i + 1 == luns->len ? " and "
                                 : ", ",
            (char *) g_ptr_array_index(luns, i));
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static bool has_pattern(JsonObject *params)
{
    JsonArray *objects = vv_json_array(params, "objects");
    const char *object = vv_json_text(params, "object");
    bool pattern = object && strpbrk(object, "*?[");

    for (unsigned i = 0; objects && i < json_array_get_length(objects); i++)
        pattern |= strpbrk(vv_json_element_text(objects, i), "*?[") != NULL;
    return pattern;
}

/* What the patterns matched is shown, and if a person agrees, put in their place: what was shown is what goes. */
static bool ask_for_pattern(VvInvocation *inv, GError **error)
{
    g_autoptr(JsonObject) would = vv_call_dry(inv, "snapshot.remove", vv_params(inv), error);
    g_autofree char *what = NULL;
    g_autofree char *freed = NULL;
    g_autofree char *question = NULL;

    if (!would)
        return false;
    if (!vv_json_bool(would, "confirm") || !vv_json_array(would, "removed"))
        return true;
    what = names_text(vv_json_array(would, "removed"));
    freed = vv_freed_text(would);
    question = g_strdup_printf("Remove %s in pool %s, freeing %s", what, inv->place->name, freed);
    if (!vv_confirm(inv, question, error))
        return false;
    json_object_set_array_member(inv->params, "objects", json_array_ref(vv_json_array(would, "removed")));
    inv->yes = true;
    return true;
}

static void print_would_remove(JsonObject *result)
{
    g_autofree char *what = names_text(vv_json_array(result, "removed"));
    g_autofree char *freed = vv_freed_text(result);
    g_autofree char *alone = vv_size_format(vv_json_u64(result, "freed_alone"));

    printf("would remove %s and free %s", what, freed);
    if (vv_json_is_number(result, "freed_alone") && vv_json_u64(result, "freed_alone") < vv_json_u64(result, "freed"))
        printf(" (each alone %s in all: the rest is shared among them)", alone);
    putchar('\n');
}

bool vv_run_snapshot_remove(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = NULL;

    if (has_pattern(inv->params) && !inv->yes && !inv->dry_run && vv_can_ask() && !ask_for_pattern(inv, error))
        return false;
    result = vv_call(inv, "snapshot.remove", vv_params(inv), error);
    if (!result)
        return false;
    if (inv->json)
        vv_json_print_object(result);
    else if (inv->dry_run)
        print_would_remove(result);
    return true;
}

bool vv_run_snapshot_set(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *object = vv_json_text(inv->params, "object");
    g_autoptr(JsonObject) result = NULL;
    g_autofree char *question = g_strdup_printf("Change all snapshots that %s matches", object);

    if (has_pattern(inv->params) && !inv->yes && vv_can_ask()) {
        if (!vv_confirm(inv, question, error))
            return false;
        inv->yes = true;
    }
    result = vv_call(inv, "snapshot.set", vv_params(inv), error);
    if (result && inv->json)
        vv_json_print_object(result);
    return result;
}

/* ---- the others */

/* NEW is a name, or LUN@NEW of the same LUN. */
bool vv_run_snapshot_rename(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *object = vv_json_text(inv->params, "object");
    const char *new = vv_json_text(inv->params, "new_object");
    g_autoptr(JsonObject) result = NULL;
    g_autofree char *whole =
        strchr(new, '@') ? g_strdup(new) : g_strdup_printf("%.*s@%s", (int) strcspn(object, "@"), object, new);
    g_autofree char *lun = NULL;
    g_autofree char *snapshot = NULL;

    if (!vv_name_split(whole, false, &lun, &snapshot, error))
        return false;
    if (strncmp(whole, object, strcspn(object, "@") + 1) != 0) {
        vv_set_error(
            error, VV_ERROR_USAGE, whole, NULL, "%s stays a snapshot of its LUN: it cannot become %s", object, whole);
        return false;
    }
    json_object_set_string_member(inv->params, "new_object", whole);
    result = vv_call(inv, "snapshot.rename", vv_params(inv), error);
    if (result && inv->json)
        vv_json_print_object(result);
    return result;
}

bool vv_run_snapshot_restore(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *object = vv_json_text(inv->params, "object");
    int lun_length = (int) strcspn(object, "@");
    g_autoptr(JsonObject) result = vv_call(inv, "snapshot.restore", vv_params(inv), error);
    g_autofree char *freed = result ? vv_freed_text(result) : NULL;
    const char *kept;

    if (!result)
        return false;
    kept = vv_json_text(result, "kept");
    if (inv->json) {
        vv_json_print_object(result);
    } else if (inv->dry_run) {
        if (kept)
            printf("would restore %.*s to %s and keep what it holds now as %s\n", lun_length, object, object, kept);
        else if (vv_json_is_number(result, "freed"))
            printf("would restore %.*s to %s, discard what it holds now and free %s\n", lun_length, object, object, freed);
        else
            printf("would restore %.*s to %s and discard what it holds now (what that frees is not counted)\n",
                lun_length, object, object);
    } else if (kept) {
        puts(kept);
        vv_note(inv, "what %.*s held until now is kept as %s.", lun_length, object, kept);
    }
    return true;
}

bool vv_run_snapshot_refresh(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *object = vv_json_text(inv->params, "object");
    g_autoptr(JsonObject) result = vv_call(inv, "snapshot.refresh", vv_params(inv), error);

    if (!result)
        return false;
    if (inv->json)
        vv_json_print_object(result);
    else if (inv->dry_run)
        printf("would take %s anew and drop what it holds now\n", object);
    return true;
}

bool vv_run_snapshot_prune(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    static const char *const rules[] = { "keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly",
        "keep-yearly" };
    g_autoptr(JsonObject) result = NULL;
    JsonArray *removed;
    bool has_rule = false;

    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++)
        has_rule |= vv_option(inv, rules[i]) != NULL;
    if (!vv_option(inv, "prefix") || !has_rule) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs-admin help snapshot prune", "snapshot prune needs %s",
            has_rule ? "--prefix P" : "a rule of what to keep, such as --keep-daily 14");
        return false;
    }
    result = vv_call(inv, "snapshot.prune", vv_params(inv), error);
    if (!result)
        return false;
    removed = vv_json_array(result, "removed");
    if (inv->json) {
        vv_json_print_object(result);
    } else if (inv->dry_run) {
        g_autofree char *freed = vv_freed_text(result);
        g_autofree char *considered = vv_count_text(vv_json_u64(result, "considered"), "snapshot");
        unsigned count = vv_json_length(result, "removed");

        printf("would remove %u of %s and free %s%s", count, considered, freed, count > 0 ? ":" : "");
        for (unsigned i = 0; removed && i < count; i++)
            printf(" %s", vv_json_element_text(removed, i));
        putchar('\n');
    }
    return true;
}
