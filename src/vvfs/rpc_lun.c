/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Methods of LUNs. Crews' threads. */
#include "rpc.h"

#include "frees.h"
#include "jobs.h"
#include "objects.h"
#include "pool_jobs.h"
#include "reserve.h"
#include "settings.h"
#include "sharing.h"

#include <string.h>

static JsonObject *recipe_of(const char *key, const char *name)
{
    JsonObject *recipe = json_object_new();

    vv_json_set_string(recipe, key, name);
    return recipe;
}

/* Sizes of LUNs: the rule, and its words, are those of what people type. */
static bool check_size(uint64_t size_bytes, GError **error)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, size_bytes);
    uint64_t again;

    return vv_size_parse(text, VV_SECTOR_BYTES, &again, error);
}

/* ---- create, clone */
static bool refuse_layout(VvCall *call, GError **error)
{
    const char *what = NULL;

    if (vv_call_u64(call, "copies", 1) != 1)
        what = "more than one copy";
    else if (vv_call_u64(call, "stripes", 1) != 1)
        what = "stripes";
    if (what)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, vv_call_string(call, "name"), NULL, "not in this version: %s", what);
    return what != NULL;
}

/* Are @disks (NULL: it does not matter) those that were chosen for the LUN? */
static bool has_disks(VvDaemon *daemon, const VvLunItem *item, const char *const *disks)
{
    g_auto(GStrv) names = NULL;
    unsigned count;

    if (!disks)
        return true;
    count = g_strv_length((char **) disks);
    if (!item->disks || count != g_strv_length(item->disks))
        return false;
    names = g_new0(char *, count + 1);
    for (unsigned i = 0; i < count; i++) {
        g_autoptr(VvDiskItem) disk = vv_disk_item(daemon, disks[i], NULL);

        names[i] = g_strdup(disk ? disk->name : "");
    }
    for (unsigned i = 0; i < count; i++) /* as many as there are, so none twice */
        if (!g_strv_contains((const char *const *) names, item->disks[i]))
            return false;
    return true;
}

/* The call is done if there is a LUN of that name, size and disks. */
static bool take_existing(VvCall *call, const VvLunItem *item, const VvLunCreate *create, GError **error)
{
    JsonObject *recipe;

    if (item->size_bytes != create->size_bytes) {
        g_autofree char *has = vv_size_format(item->size_bytes), *wanted = vv_size_format(create->size_bytes);

        vv_set_error(error, VV_ERROR_EXISTS, item->name, "vvfs-admin lun resize",
            "LUN %s exists in pool %s with another size (%s, %" G_GUINT64_FORMAT " bytes, not %s)", item->name,
            call->daemon->name, has, item->size_bytes, wanted);
        return false;
    }
    if (!has_disks(call->daemon, item, create->disks)) {
        vv_set_error(error, VV_ERROR_EXISTS, item->name, NULL, "LUN %s exists in pool %s on other disks", item->name,
            call->daemon->name);
        return false;
    }
    recipe = recipe_of("@lun", item->name);
    vv_json_set_bool(recipe, "made", false);
    return vv_call_done(call, recipe);
}

bool vv_rpc_lun_create(VvCall *call, GError **error)
{
    VvLunCreate create = { .name = vv_call_string(call, "name"), .size_bytes = vv_call_u64(call, "size", 0) };
    g_autoptr(JsonObject) recipe = recipe_of("@lun", create.name);
    g_auto(GStrv) disks = vv_call_has(call, "disks") ? vv_call_strings(call, "disks") : NULL;
    g_autoptr(VvLunItem) there = NULL;
    uint64_t id;

    create.disks = (const char *const *) disks;
    vv_json_set_bool(recipe, "made", true);
    if (!vv_name_check(create.name, "LUN", error) || !check_size(create.size_bytes, error) ||
        refuse_layout(call, error) ||
        !vv_lun_settings_parse(vv_call_object(call, "settings"), &create.props_mask, &create.props, error))
        return false;
    there = vv_call_bool(call, "if_not_exists") ? vv_lun_item(call->daemon, create.name, NULL) : NULL;
    if (there)
        return take_existing(call, there, &create, error);
    if (!vv_pool_lun_create(call->daemon->pool, &create, vv_call_request(call, recipe), &id, error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_lun_clone(VvCall *call, GError **error)
{
    const char *name = vv_call_string(call, "name");
    g_autoptr(JsonObject) recipe = recipe_of("@lun", name);
    VvLunProps props = { 0 };
    uint64_t id;

    if (!vv_call_may_read(call, vv_call_string(call, "object"), error) ||
        !vv_pool_clone(call->daemon->pool, vv_call_string(call, "object"), name, 0, &props,
            vv_call_request(call, recipe), &id, error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* ---- looking */
bool vv_rpc_lun_list(VvCall *call, GError **error)
{
    g_auto(GStrv) names = vv_call_strings(call, "names");
    const char *cursor = vv_call_string(call, "cursor");
    g_autoptr(GPtrArray) items = NULL;
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    VvPiece piece = { 0 };
    unsigned asked;

    if (!cursor && !vv_lun_names_check(call->daemon, names, error))
        return false;
    items = vv_lun_items(call->daemon, cursor, UINT_MAX);
    for (unsigned i = 0; i < items->len; i++) {
        const VvLunItem *item = items->pdata[i];

        if (*names && !g_strv_contains((const char *const *) names, item->name))
            g_ptr_array_remove_index(items, i--);
        else
            g_array_append_val(ids, item->id);
    }
    asked = vv_call_bool(call, "exact") ? 0 : vv_exclusive_await(call->daemon, (const uint64_t *) (const void *) ids->data, ids->len);
    piece = vv_piece_begin();
    for (unsigned i = 0; i < items->len; i++) {
        const VvLunItem *item = items->pdata[i];

        if (!vv_piece_add(&piece, vv_lun_json(call->daemon, item, vv_exclusive_wish(vv_call_bool(call, "exact"), i < asked)), item->name))
            break;
    }
    return vv_piece_end(call, &piece);
}

bool vv_rpc_lun_show(VvCall *call, GError **error)
{
    g_autoptr(VvLunItem) item = vv_lun_item(call->daemon, vv_call_string(call, "name"), error);
    JsonObject *result;

    if (!item)
        return false;
    result = vv_lun_json(call->daemon, item, vv_exclusive_wish(vv_call_bool(call, "exact"), true));
    vv_lun_json_more(call->daemon, item, result);
    return vv_call_done(call, result);
}

/* ---- changing */
static bool wanted_size(VvCall *call, const VvLunItem *item, uint64_t *ret_bytes, GError **error)
{
    uint64_t grow_by = vv_call_u64(call, "grow_by", 0);

    if (vv_call_has(call, "size") == vv_call_has(call, "grow_by")) {
        vv_set_error(
            error, VV_ERROR_USAGE, item->name, NULL, "lun.resize needs either the param size or the param grow_by");
        return false;
    }
    if (grow_by > VV_LUN_BYTES_MAX - item->size_bytes)
        grow_by = VV_LUN_BYTES_MAX - item->size_bytes + 1; /* too large: check_size says so */
    *ret_bytes = vv_call_u64(call, "size", item->size_bytes + grow_by);
    return check_size(*ret_bytes, error);
}

bool vv_rpc_lun_resize(VvCall *call, GError **error)
{
    VvDaemon *daemon = call->daemon;
    g_autoptr(VvLunItem) item = vv_lun_item(daemon, vv_call_string(call, "name"), error);
    g_autoptr(JsonObject) recipe = json_object_new();
    uint64_t size_bytes, freed;

    if (!item || !wanted_size(call, item, &size_bytes, error))
        return false;
    vv_json_set_u64(recipe, "size", size_bytes);
    /* What a shrink frees depends on what snapshots and clones share: it is counted for who asks beforehand. */
    if (size_bytes >= item->size_bytes)
        vv_json_set_u64(recipe, "freed", 0);
    else
        vv_json_set_null(recipe, "freed");
    if (vv_call_dry(call))
        vv_json_set_bool(recipe, "dry_run", true);
    if (!vv_pool_lun_resize(daemon->pool, item->name, size_bytes, vv_call_bool(call, "shrink"), vv_call_dry(call),
            vv_call_request(call, recipe), error))
        return false;
    if (vv_call_dry(call) && vv_pool_resize_frees(daemon->pool, item->name, size_bytes, &freed))
        vv_json_set_u64(recipe, "freed", freed);
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_lun_rename(VvCall *call, GError **error)
{
    const char *new_name = vv_call_string(call, "new_name");
    g_autoptr(JsonObject) recipe = recipe_of("@lun", new_name);

    if (!vv_pool_lun_rename(
            call->daemon->pool, vv_call_string(call, "name"), new_name, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

static void set_removal(JsonObject *recipe, const VvRemoval *removal, bool dry)
{
    vv_json_set_strings(recipe, "removed", (const char *const *) removal->removed);
    if (removal->counted)
        vv_json_set_u64(recipe, "freed", removal->freed_bytes);
    else
        vv_json_set_null(recipe, "freed");
    if (dry)
        vv_json_set_bool(recipe, "dry_run", true);
}

bool vv_rpc_lun_remove(VvCall *call, GError **error)
{
    g_auto(GStrv) names = vv_call_strings(call, "names");
    const char *const *list = (const char *const *) names;
    bool with_snapshots = vv_call_bool(call, "with_snapshots"), if_exists = vv_call_bool(call, "if_exists");
    bool dry = vv_call_dry(call);
    g_autoptr(JsonObject) recipe = json_object_new();
    VvPool *pool = call->daemon->pool;
    VvRemoval removal = { 0 };

    /* With a request id the result goes into the same entry as the change, so it must be known before. */
    if (dry || vv_call_records(call)) {
        if (!vv_pool_lun_remove(pool, list, with_snapshots, if_exists, true, NULL, &removal, error))
            return false;
        set_removal(recipe, &removal, dry);
        vv_removal_clear(&removal);
    }
    if (!dry) {
        memset(&removal, 0, sizeof(removal));
        if (!vv_pool_lun_remove(
                pool, list, with_snapshots, if_exists, false, vv_call_request(call, recipe), &removal, error))
            return false;
        if (!vv_call_records(call))
            set_removal(recipe, &removal, false);
        vv_removal_clear(&removal);
    }
    return vv_call_done(call, g_steal_pointer(&recipe));
}

bool vv_rpc_lun_set(VvCall *call, GError **error)
{
    const char *name = vv_call_string(call, "name");
    g_autoptr(JsonObject) recipe = recipe_of("@lun_show", name);
    VvLunProps props;
    uint32_t mask;

    if (!vv_lun_settings_parse(vv_call_object(call, "settings"), &mask, &props, error) ||
        !vv_pool_lun_set(call->daemon->pool, name, mask, &props, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

/* Asked for again while it runs it does nothing, so request ids need no record here. */
bool vv_rpc_lun_repack(VvCall *call, GError **error)
{
    g_autoptr(VvJobItem) item = NULL;
    JsonObject *result;
    uint64_t job;

    if (!vv_pool_lun_repack(call->daemon->pool, vv_call_string(call, "name"), &job, error))
        return false;
    item = vv_job_item_or_ended(call->daemon, job, "repack", vv_call_string(call, "name"));
    result = json_object_new();
    vv_json_set_u64(result, "job", item->number);
    return vv_call_done(call, result);
}

/* ---- attach: the client makes the loop device, the daemon says whether it may */
/* "/dev/loop0, mounted at /srv/db" or "qemu-system-x86 (pid 4711)". Newly allocated. */
static char *opener_text(const VvOpener *opener)
{
    if (opener->device && opener->mountpoint)
        return g_strdup_printf("%s, mounted at %s", opener->device, opener->mountpoint);
    if (opener->device)
        return g_strdup(opener->device);
    if (opener->process && opener->pid > 0)
        return g_strdup_printf("%s (pid %d)", opener->process, (int) opener->pid);
    if (opener->pid > 0)
        return g_strdup_printf("pid %d", (int) opener->pid);
    return g_strdup(opener->node ? "a process of that node" : "a process that has ended");
}

static bool check_openers(VvDaemon *daemon, uint64_t id, const char *object, GError **error)
{
    g_autoptr(GPtrArray) openers = vv_pool_openers_left(daemon->pool, id);

    for (unsigned i = 0; i < openers->len; i++) {
        const VvOpener *opener = openers->pdata[i];
        g_autofree char *text = NULL, *node = NULL;

        if (!opener->write && !opener->device)
            continue;
        text = opener_text(opener);
        node = opener->node ? vv_pool_node_name(daemon->pool, opener->node) : g_strdup(daemon->node);
        if (opener->write)
            vv_set_error(error, VV_ERROR_BUSY, object,
                "`--shared` attaches it none the less: only for a cluster file system.",
                "%s is open for writing on %s: %s", object, node, text);
        else
            vv_set_error(error, VV_ERROR_BUSY, object, "`--shared` attaches it once more.",
                "%s is attached on %s already: %s", object, node, text);
        return false;
    }
    return true;
}

/* Fills id, size and path of @object. */
static bool attach_object(
    VvDaemon *daemon, const char *object, uint64_t *ret_id, uint64_t *ret_size, char **ret_path, GError **error)
{
    if (strchr(object, '@')) {
        g_autoptr(VvSnapshotItem) item = vv_snapshot_item(daemon, object, error);

        if (!item)
            return false;
        *ret_id = item->id;
        *ret_size = item->size_bytes;
        *ret_path = vv_object_path(daemon, item->lun, item->name);
    } else {
        g_autoptr(VvLunItem) item = vv_lun_item(daemon, object, error);

        if (!item)
            return false;
        *ret_id = item->id;
        *ret_size = item->size_bytes;
        *ret_path = vv_object_path(daemon, item->name, NULL);
    }
    if (*ret_path)
        return true;
    vv_set_error(error, VV_ERROR_BUSY, object, NULL, "pool %s is being unmounted", daemon->name);
    return false;
}

/* For a device that can be written. */
static bool may_write(VvDaemon *daemon, uint64_t id, const char *object, GError **error)
{
    if (vv_pool_is_read_only(daemon->pool) || vv_pool_share_mode(daemon->pool, id, 0) == VV_SHARE_RW)
        return true;
    vv_set_error(error, VV_ERROR_DENIED, object, "`--read-only` attaches it so.", "%s is shared with %s read-only (`share show %s`)", object,
        daemon->node, object);
    return false;
}

bool vv_rpc_lun_attach_check(VvCall *call, GError **error)
{
    VvDaemon *daemon = call->daemon;
    const char *object = vv_call_string(call, "object");
    bool snapshot = strchr(object, '@') != NULL;
    g_autofree char *path = NULL;
    uint64_t id, size_bytes;
    JsonObject *result;

    if (!attach_object(daemon, object, &id, &size_bytes, &path, error) || !vv_call_may_read(call, object, error) ||
        !(snapshot || vv_call_bool(call, "read_only") || may_write(daemon, id, object, error)))
        return false;
    if (!vv_reservations_take(daemon->reservations, object, call->client)) {
        vv_set_error(error, VV_ERROR_BUSY, object, NULL, "%s is being attached", object);
        return false;
    }
    call->reserved = true;
    if (!vv_call_bool(call, "shared") && !check_openers(daemon, id, object, error)) {
        vv_reservations_drop(daemon->reservations, object);
        call->reserved = false;
        return false;
    }
    result = json_object_new();
    vv_json_set_string(result, "path", path);
    vv_json_set_string(result, "pool", daemon->name);
    vv_json_set_string(result, "name", object);
    vv_json_set_u64(result, "size", size_bytes);
    vv_json_set_bool(
        result, "read_only", snapshot || vv_call_bool(call, "read_only") || vv_pool_is_read_only(daemon->pool));
    return vv_call_done(call, result);
}
