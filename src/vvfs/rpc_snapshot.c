/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of snapshots. Crews' threads. */
#include "rpc.h"

#include "frees.h"
#include "objects.h"
#include "settings.h"

#include <fnmatch.h>
#include <string.h>

#define PREFIX_TRIES 100u /* generated names within one second: -2, -3 ... */

static bool is_pattern(const char *object)
{
    return strpbrk(object, "*?[") != NULL;
}

/* ---- create */
/* One name for all LUNs: PREFIX-20261102T030700Z, or with -2, -3 ... behind where a LUN has that already. */
static char *prefix_name(VvDaemon *daemon, char **luns, const char *prefix, GError **error)
{
    g_autofree char *now = vv_time_format_compact(vv_now_ns());
    VvMeta *meta = vv_pool_meta(daemon->pool);

    for (unsigned try = 1; try <= PREFIX_TRIES; try++) {
        g_autofree char *name =
            try == 1 ? g_strdup_printf("%s-%s", prefix, now) : g_strdup_printf("%s-%s-%u", prefix, now, try);
        bool taken = false;

        if (!vv_name_check(name, "snapshot", error))
            return NULL;
        vv_meta_read_lock(meta);
        for (unsigned i = 0; luns[i]; i++) {
            const VvLun *lun = vv_meta_lun_by_name(meta, luns[i]);

            taken = taken || (lun && vv_meta_snapshot_by_name(meta, lun, name));
        }
        vv_meta_read_unlock(meta);
        if (!taken)
            return g_steal_pointer(&name);
    }
    vv_set_error(error, VV_ERROR_EXISTS, prefix, NULL, "%u snapshots were made with the prefix %s within a second",
        PREFIX_TRIES, prefix);
    return NULL;
}

/* The objects of a create: as given, or LUN@generated. NULL on error. */
static char **create_objects(VvCall *call, GError **error)
{
    g_auto(GStrv) objects = vv_call_strings(call, "objects");
    g_auto(GStrv) luns = vv_call_strings(call, "luns");
    const char *prefix = vv_call_string(call, "prefix"), *form = vv_call_string(call, "form");
    g_autofree char *name = NULL;

    if (form && strcmp(form, "row") != 0) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, form, NULL, "not in this version: snapshots of the form %s", form);
        return NULL;
    }
    if (!!*objects == (*luns && prefix) || !!*luns != !!prefix) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, NULL, "snapshot.create needs either objects, or luns and prefix");
        return NULL;
    }
    if (*objects)
        return g_steal_pointer(&objects);
    if (!vv_lun_names_check(call->daemon, luns, error))
        return NULL;
    name = prefix_name(call->daemon, luns, prefix, error);
    if (!name)
        return NULL;
    for (unsigned i = 0; luns[i]; i++) {
        char *object = g_strdup_printf("%s@%s", luns[i], name);

        g_free(luns[i]);
        luns[i] = object;
    }
    return g_steal_pointer(&luns);
}

bool vv_rpc_snapshot_create(VvCall *call, GError **error)
{
    g_auto(GStrv) objects = create_objects(call, error);
    g_autoptr(JsonObject) recipe = NULL;
    g_autoptr(VvSharing) sharing = NULL;
    VvSnapshotOptions options = { .kind = vv_call_has(call, "prefix") ? VV_SNAPSHOT_AUTO : VV_SNAPSHOT_MANUAL,
        .note = "" };

    if (!objects)
        return false;
    if (vv_call_has(call, "share") && !(sharing = vv_sharing_read(vv_call_object(call, "share"), error)))
        return false;
    options.share = vv_sharing_changes(sharing);
    recipe = json_object_new();
    vv_json_set_strings(recipe, "@created", (const char *const *) objects);
    if (!vv_pool_snapshot_create(
            call->daemon->pool, (const char *const *) objects, &options, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* ---- looking */
bool vv_rpc_snapshot_list(VvCall *call, GError **error)
{
    g_auto(GStrv) luns = vv_call_strings(call, "luns");
    const char *cursor = vv_call_string(call, "cursor");
    g_auto(GStrv) at = cursor ? g_strsplit(cursor, "@", 2) : NULL;
    uint64_t from_id = at && at[0] && at[1] ? g_ascii_strtoull(at[1], NULL, 16) : 0;
    g_autoptr(GPtrArray) items = NULL;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    VvPiece piece = { 0 };
    unsigned asked;

    if (!cursor && !vv_lun_names_check(call->daemon, luns, error))
        return false;
    items = vv_snapshot_items(call->daemon, (const char *const *) luns, at ? at[0] : NULL, from_id, UINT_MAX);
    for (unsigned i = 0; i < items->len; i++)
        g_array_append_val(ids, ((const VvSnapshotItem *) items->pdata[i])->id);
    asked = vv_call_bool(call, "exact") ? 0 : vv_exclusive_await(call->daemon, (const uint64_t *) (const void *) ids->data, ids->len);
    piece = vv_piece_begin();
    for (unsigned i = 0; i < items->len; i++) {
        const VvSnapshotItem *item = items->pdata[i];
        g_autofree char *here = g_strdup_printf("%s@%" G_GINT64_MODIFIER "x", item->lun, item->id);

        if (!vv_piece_add(&piece, vv_snapshot_json(call->daemon, item, vv_exclusive_wish(vv_call_bool(call, "exact"), i < asked)), here))
            break;
    }
    return vv_piece_end(call, &piece);
}

bool vv_rpc_snapshot_show(VvCall *call, GError **error)
{
    g_autoptr(VvSnapshotItem) item = vv_snapshot_item(call->daemon, vv_call_string(call, "object"), error);
    JsonObject *result;

    if (!item)
        return false;
    result = vv_snapshot_json(call->daemon, item, vv_exclusive_wish(vv_call_bool(call, "exact"), true));
    vv_snapshot_json_more(call->daemon, item, result);
    return vv_call_done(call, result);
}

/* ---- patterns */
typedef struct {
    char **objects; /* what @given means now, without doubles; NULL on error */
    bool confirm;   /* a pattern matched more than one */
    unsigned luns;  /* of how many LUNs */
    char *first_lun;
} VvMatched;

static void matched_clear(VvMatched *matched)
{
    g_strfreev(matched->objects);
    g_free(matched->first_lun);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvMatched, matched_clear)

/* Adds what @pattern matches to @list. Returns how many, or -1 with @error set. */
static int match_one(VvDaemon *daemon, const char *pattern, bool if_exists, GPtrArray *list, GError **error)
{
    g_autofree char *lun = NULL, *snapshot = NULL;
    const char *luns[2] = { NULL, NULL };
    g_autoptr(GPtrArray) items = NULL;
    g_autoptr(VvLunItem) there = NULL;
    int count = 0;

    if (!vv_name_split(pattern, true, &lun, &snapshot, error))
        return -1;
    luns[0] = lun;
    there = vv_lun_item(daemon, lun, if_exists ? NULL : error);
    if (!there)
        return if_exists ? 0 : -1;
    items = vv_snapshot_items(daemon, luns, NULL, 0, UINT_MAX);
    for (unsigned i = 0; i < items->len; i++) {
        const VvSnapshotItem *item = items->pdata[i];

        if (fnmatch(snapshot, item->name, FNM_NOESCAPE) != 0)
            continue;
        g_ptr_array_add(list, g_strdup(item->object));
        count++;
    }
    if (count == 0 && !if_exists) {
        g_autofree char *hint = g_strdup_printf("vvfs-admin snapshot list %s", lun);

        vv_set_error(
            error, VV_ERROR_NOT_FOUND, pattern, hint, "no snapshot matches %s in pool %s", pattern, daemon->name);
        return -1;
    }
    return count;
}

/* Replace the patterns in @given by what they match. False: @error is set. */
static bool match_objects(VvDaemon *daemon, char **given, bool if_exists, VvMatched *ret_matched, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) luns = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GPtrArray *unique = g_ptr_array_new();

    for (unsigned i = 0; given[i]; i++) {
        int count = 1;

        if (is_pattern(given[i]))
            count = match_one(daemon, given[i], if_exists, list, error);
        else
            g_ptr_array_add(list, g_strdup(given[i]));
        if (count < 0) {
            g_ptr_array_unref(unique);
            return false;
        }
        ret_matched->confirm = ret_matched->confirm || count > 1;
    }
    for (unsigned i = 0; i < list->len; i++) {
        const char *object = list->pdata[i];

        if (!g_hash_table_add(seen, list->pdata[i]))
            continue;
        g_ptr_array_add(unique, g_strdup(object));
        g_hash_table_add(luns, g_strndup(object, strcspn(object, "@")));
    }
    ret_matched->luns = g_hash_table_size(luns);
    ret_matched->first_lun = unique->len ? g_strndup(unique->pdata[0], strcspn(unique->pdata[0], "@")) : NULL;
    g_ptr_array_add(unique, NULL);
    ret_matched->objects = (char **) g_ptr_array_free(unique, FALSE);
    return true;
}

/* "31 snapshots of db", "31 snapshots of 2 LUNs". Newly allocated. */
static char *matched_text(const VvMatched *matched, unsigned count)
{
    if (matched->luns == 1)
        return g_strdup_printf("%u snapshot%s of %s", count, count == 1 ? "" : "s", matched->first_lun);
    return g_strdup_printf("%u snapshots of %u LUNs", count, matched->luns);
}

/* ---- remove, prune */
static void set_removal(JsonObject *recipe, const VvRemoval *removal, bool dry)
{
    vv_json_set_strings(recipe, "removed", (const char *const *) removal->removed);
    if (removal->counted) {
        vv_json_set_u64(recipe, "freed", removal->freed_bytes);
        vv_json_set_u64(recipe, "freed_alone", removal->alone_bytes);
    } else {
        vv_json_set_null(recipe, "freed");
        vv_json_set_null(recipe, "freed_alone");
    }
    if (dry)
        vv_json_set_bool(recipe, "dry_run", true);
}

static bool refuse_unconfirmed(VvDaemon *daemon, const VvMatched *matched, const VvRemoval *removal, GError **error)
{
    g_autofree char *what = matched_text(matched, g_strv_length(removal->removed));
    g_autofree char *freed =
        removal->counted ? vv_size_format(removal->freed_bytes) : g_strdup("an unknown amount");

    vv_set_error(error, VV_ERROR_DENIED, matched->first_lun, "`--yes` does it.", "would remove %s in pool %s and free %s", what,
        daemon->name, freed);
    return false;
}

static bool remove_nothing(VvCall *call)
{
    JsonObject *result = json_object_new();
    VvRemoval none = { .counted = true };

    set_removal(result, &none, vv_call_dry(call));
    vv_json_set_bool(result, "confirm", false);
    return vv_call_done(call, result);
}

bool vv_rpc_snapshot_remove(VvCall *call, GError **error)
{
    g_auto(GStrv) given = vv_call_strings(call, "objects");
    bool if_exists = vv_call_bool(call, "if_exists"), dry = vv_call_dry(call), refused = false;
    VvPool *pool = call->daemon->pool;
    g_autoptr(JsonObject) recipe = json_object_new();
    g_auto(VvMatched) matched = { 0 };
    VvRemoval removal = { 0 };

    if (!match_objects(call->daemon, given, if_exists, &matched, error))
        return false;
    if (!*matched.objects)
        return remove_nothing(call);
    if (matched.confirm && !dry && !vv_call_bool(call, "yes"))
        refused = true;
    if (dry || refused || vv_call_records(call)) {
        bool good = vv_pool_snapshot_remove(
            pool, (const char *const *) matched.objects, if_exists, true, NULL, &removal, error);

        if (good && refused)
            good = refuse_unconfirmed(call->daemon, &matched, &removal, error);
        if (good)
            set_removal(recipe, &removal, dry);
        vv_removal_clear(&removal);
        if (!good)
            return false;
    }
    vv_json_set_bool(recipe, "confirm", matched.confirm);
    if (!dry) {
        memset(&removal, 0, sizeof(removal));
        if (!vv_pool_snapshot_remove(pool, (const char *const *) matched.objects, if_exists, false,
                vv_call_request(call, recipe), &removal, error))
            return false;
        if (!vv_call_records(call))
            set_removal(recipe, &removal, false);
        vv_removal_clear(&removal);
    }
    return vv_call_done(call, g_steal_pointer(&recipe));
}

static int keep_param(VvCall *call, const char *name)
{
    return vv_call_has(call, name) ? (int) MIN(vv_call_u64(call, name, 0), (uint64_t) G_MAXINT) : -1;
}

bool vv_rpc_snapshot_prune(VvCall *call, GError **error)
{
    g_auto(GStrv) luns = vv_call_strings(call, "luns");
    VvPrune prune = { vv_call_string(call, "prefix"), keep_param(call, "keep_last"), keep_param(call, "keep_hourly"),
        keep_param(call, "keep_daily"), keep_param(call, "keep_weekly"), keep_param(call, "keep_monthly"),
        keep_param(call, "keep_yearly") };
    bool dry = vv_call_dry(call);
    g_autoptr(JsonObject) recipe = json_object_new();
    VvRemoval removal = { 0 };
    unsigned considered = 0;

    if (prune.keep_last < 0 && prune.keep_hourly < 0 && prune.keep_daily < 0 && prune.keep_weekly < 0 &&
        prune.keep_monthly < 0 && prune.keep_yearly < 0) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, NULL,
            "snapshot.prune needs one or more of keep_last, keep_hourly, keep_daily, "
            "keep_weekly, keep_monthly and keep_yearly");
        return false;
    }
    if (dry || vv_call_records(call)) {
        if (!vv_pool_snapshot_prune(
                call->daemon->pool, (const char *const *) luns, &prune, true, NULL, &removal, &considered, error))
            return false;
        set_removal(recipe, &removal, dry);
        vv_json_set_u64(recipe, "considered", considered);
        vv_removal_clear(&removal);
    }
    if (!dry) {
        memset(&removal, 0, sizeof(removal));
        if (!vv_pool_snapshot_prune(call->daemon->pool, (const char *const *) luns, &prune, false,
                vv_call_request(call, recipe), &removal, &considered, error))
            return false;
        if (!vv_call_records(call)) {
            set_removal(recipe, &removal, false);
            vv_json_set_u64(recipe, "considered", considered);
        }
        vv_removal_clear(&removal);
    }
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* ---- other changes */
bool vv_rpc_snapshot_rename(VvCall *call, GError **error)
{
    const char *object = vv_call_string(call, "object"), *new_object = vv_call_string(call, "new_object");
    g_autofree char *lun = NULL, *name = NULL, *new_lun = NULL, *new_name = NULL;
    g_autoptr(JsonObject) recipe = NULL;

    if (!vv_name_split(object, false, &lun, &name, error) ||
        !vv_name_split(new_object, false, &new_lun, &new_name, error))
        return false;
    if (strcmp(lun, new_lun) != 0) {
        vv_set_error(error, VV_ERROR_USAGE, object, NULL, "%s stays a snapshot of %s: the new name must be %s@NAME",
            object, lun, lun);
        return false;
    }
    recipe = json_object_new();
    vv_json_set_string(recipe, "@snapshot", new_object);
    if (!vv_pool_snapshot_rename(call->daemon->pool, object, new_name, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

typedef struct {
    bool have_keep;
    uint64_t keep_until_ns;
    const char *note; /* borrowed; NULL: not given */
} VvSnapshotSettings;

static bool parse_settings(JsonObject *settings, VvSnapshotSettings *ret_settings, GError **error)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    json_object_iter_init(&iter, settings);
    while (json_object_iter_next(&iter, &key, &value)) {
        const char *text = json_node_get_string(value);

        if (strcmp(key, "keep") == 0) {
            if (!vv_keep_parse(text, &ret_settings->keep_until_ns, error))
                return false;
            ret_settings->have_keep = true;
        } else if (strcmp(key, "note") == 0) {
            if (strlen(text) > VV_NOTE_BYTES_MAX) {
                vv_set_error(error, VV_ERROR_LIMIT, key, NULL, "a note may have %u bytes", VV_NOTE_BYTES_MAX);
                return false;
            }
            ret_settings->note = text;
        } else {
            vv_set_error(error, VV_ERROR_USAGE, key, NULL, "no setting %s; there are keep note", key);
            return false;
        }
    }
    return true;
}

bool vv_rpc_snapshot_set(VvCall *call, GError **error)
{
    char *given[2] = { (char *) vv_call_string(call, "object"), NULL };
    g_autoptr(JsonObject) recipe = json_object_new();
    g_auto(VvMatched) matched = { 0 };
    VvSnapshotSettings settings = { 0 };
    unsigned count;

    if (!parse_settings(vv_call_object(call, "settings"), &settings, error) ||
        !match_objects(call->daemon, given, false, &matched, error))
        return false;
    count = g_strv_length(matched.objects);
    if (matched.confirm && !vv_call_bool(call, "yes")) {
        g_autofree char *what = matched_text(&matched, count);

        vv_set_error(
            error, VV_ERROR_DENIED, matched.first_lun, "`--yes` does it.", "would change %s in pool %s", what, call->daemon->name);
        return false;
    }
    vv_json_set_strings(recipe, "changed", (const char *const *) matched.objects);
    if (!vv_pool_snapshot_set(call->daemon->pool, (const char *const *) matched.objects,
            settings.have_keep ? &settings.keep_until_ns : NULL, settings.note, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

static void set_restored(JsonObject *recipe, const char *object, const char *kept, bool discard)
{
    vv_json_set_string(recipe, "restored", object);
    vv_json_set_string(recipe, "kept", kept);
    if (discard)
        vv_json_set_null(recipe, "freed"); /* not counted */
    else
        vv_json_set_u64(recipe, "freed", 0);
}

bool vv_rpc_snapshot_restore(VvCall *call, GError **error)
{
    const char *object = vv_call_string(call, "object");
    bool force = vv_call_bool(call, "force"), discard = vv_call_bool(call, "discard"), dry = vv_call_dry(call);
    VvPool *pool = call->daemon->pool;
    g_autoptr(JsonObject) recipe = json_object_new();
    g_autofree char *would_keep = NULL, *kept = NULL;
    uint64_t freed;

    if (dry || vv_call_records(call)) {
        if (!vv_pool_snapshot_restore(pool, object, force, discard, true, NULL, &would_keep, error))
            return false;
        set_restored(recipe, object, would_keep, discard);
    }
    if (dry) {
        vv_json_set_bool(recipe, "dry_run", true);
        if (vv_pool_restore_frees(pool, object, discard, &freed))
            vv_json_set_u64(recipe, "freed", freed);
        else
            vv_json_set_null(recipe, "freed");
    }
    if (!dry) {
        if (!vv_pool_snapshot_restore(pool, object, force, discard, false, vv_call_request(call, recipe), &kept, error))
            return false;
        if (!vv_call_records(call))
            set_restored(recipe, object, kept, discard);
    }
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_snapshot_refresh(VvCall *call, GError **error)
{
    const char *object = vv_call_string(call, "object");
    g_autoptr(JsonObject) recipe = json_object_new();

    vv_json_set_string(recipe, "@snapshot", object);
    if (vv_call_dry(call)) {
        g_autoptr(VvSnapshotItem) item = vv_snapshot_item(call->daemon, object, error);

        if (!item)
            return false;
        if (item->keep_until_ns > vv_now_ns()) {
            g_autofree char *keep = vv_keep_format(item->keep_until_ns);
            g_autofree char *hint = g_strdup_printf("vvfs-admin snapshot set %s keep=off", object);

            vv_set_error(error, VV_ERROR_KEEP, object, hint, "%s is kept (keep=%s)", object, keep);
            return false;
        }
        vv_json_set_bool(recipe, "dry_run", true);
        return vv_call_done(call, g_steal_pointer(&recipe));
    }
    if (!vv_pool_snapshot_refresh(call->daemon->pool, object, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* ---- diff */
typedef struct {
    VvPiece piece;
    uint64_t from; /* ranges that end at or before it went out in earlier pieces */
    bool full;
} VvDiffWalk;

static bool diff_range(void *user, uint64_t offset, uint64_t length, bool zero)
{
    VvDiffWalk *walk = user;
    JsonObject *item;
    g_autofree char *cursor = NULL;

    if (offset + length <= walk->from)
        return true;
    if (offset < walk->from) {
        length -= walk->from - offset;
        offset = walk->from;
    }
    item = json_object_new();
    cursor = g_strdup_printf("%" G_GUINT64_FORMAT, offset);
    vv_json_set_u64(item, "offset", offset);
    vv_json_set_u64(item, "length", length);
    vv_json_set_string(item, "type", zero ? "zero" : "data");
    walk->full = !vv_piece_add(&walk->piece, item, cursor);
    return !walk->full;
}

bool vv_rpc_snapshot_diff(VvCall *call, GError **error)
{
    const char *object = vv_call_string(call, "object"), *other = vv_call_string(call, "other");
    const char *cursor = vv_call_string(call, "cursor");
    g_autofree char *lun = g_strndup(object, strcspn(object, "@"));
    g_autoptr(GError) stopped = NULL;
    VvDiffWalk walk = { .from = cursor ? g_ascii_strtoull(cursor, NULL, 10) : 0 };

    if (!vv_call_may_read(call, object, error) || !vv_call_may_read(call, other ? other : lun, error))
        return false;
    if (other && !strchr(other, '@')) {
        if (strcmp(other, lun) != 0) {
            vv_set_error(error, VV_ERROR_USAGE, other, NULL, "%s and %s are not of one LUN", object, other);
            return false;
        }
        other = NULL; /* the LUN now */
    }
    walk.piece = vv_piece_begin();
    /* A walk that we stopped ourselves is good, whatever the engine calls it. */
    if (!vv_pool_snapshot_diff(call->daemon->pool, object, other, diff_range, &walk, &stopped) && !walk.full) {
        json_array_unref(walk.piece.items);
        g_propagate_error(error, g_steal_pointer(&stopped));
        return false;
    }
    return vv_piece_end(call, &walk.piece);
}
