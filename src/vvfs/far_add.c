/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `disk add` on a node whose pool's map is elsewhere:
 *
 *   here                                               on the node with the map
 *   claim: free, empty, large enough                   disk.adopt, dry: is there room, is the name free
 *   label, synced; the claim ends
 *   disk.adopt                                         record and name in one entry; the engine has a link to it
 *   vv-far sees the record, opens, locks, serves       waits until the link is up, a little, and answers
 *
 * A refusal takes the label, or the file that was made, away again. If no answer was heard the map tells; if that does not know either, the label stays,
 * and the next `disk add` of it finds that no record has its UUID, and begins anew. */
#include "far_disks.h"

#include "base.h"
#include "error.h"
#include "node_private.h"
#include "relay.h"

#include <string.h>
#include <unistd.h>

#define REACHED_MS 5000u     /* for its node to serve what was just added */
#define REACHED_LOOK_US 5000u
#define UNHEARD_MS 10000u    /* for this node's map to tell what was not heard */
#define UNHEARD_LOOK_US 20000u

/* ---- there */

/* Its record is there, and (@reached) so is the disk. */
static bool is_known(VvPool *pool, const VvUuid *uuid, bool reached)
{
    VvMeta *meta = vv_pool_meta(pool);
    const GPtrArray *disks;
    bool known = false;

    vv_meta_read_lock(meta);
    disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *info = g_ptr_array_index(disks, i);

        known |= vv_uuid_equal(&info->uuid, uuid) && !(reached && vv_pool_disk_state(pool, info) == VV_STATE_MISSING);
    }
    vv_meta_read_unlock(meta);
    return known;
}

static void wait_until_reached(VvPool *pool, const VvUuid *uuid)
{
    uint64_t until_ms = vv_monotonic_ms() + REACHED_MS;

    while (!is_known(pool, uuid, true) && vv_monotonic_ms() < until_ms)
        g_usleep(REACHED_LOOK_US);
}

static bool do_adopt(VvCall *call, GError **error)
{
    VvFarDisk far = { .path = vv_call_string(call, "path"),
        .size_bytes = vv_call_u64(call, "size", 0),
        .created_ns = vv_call_u64(call, "created", 0),
        .name = vv_call_string(call, "name") };
    g_autoptr(JsonObject) recipe = json_object_new();
    g_autofree char *chosen = NULL, *record = NULL;
    VvRequest request = { .id = vv_call_string(call, "id") };
    const char *path;
    uint64_t node;

    if (!call->relayed || !vv_node_address_parse(far.path, &node, &path) || node != vv_relayed_node(call->relayed) ||
        !vv_uuid_parse(vv_call_string(call, "uuid"), &far.uuid)) {
        vv_set_error(error, VV_ERROR_DENIED, far.path, NULL, "a node asks for its own disks alone");
        return false;
    }
    vv_json_set_string(recipe, "@disk", far.name ? far.name : far.path);
    request.result_json = record = vv_request_record("disk.add", vv_call_string(call, "checksum"), recipe);
    if (!vv_pool_disk_adopt(call->daemon->pool, &far, vv_call_dry(call), request.id && !vv_call_dry(call) ? &request : NULL, &chosen, error))
        return false;
    if (vv_call_dry(call))
        return vv_call_done(call, json_object_new());
    if (!chosen) {
        g_free(request.ret_previous);
        vv_set_error(error, VV_ERROR_BUSY, far.path, "do it again", "request %s was answered just now", request.id);
        return false;
    }
    wait_until_reached(call->daemon->pool, &far.uuid);
    vv_json_set_string(recipe, "@disk", chosen);
    return vv_call_done(call, g_steal_pointer(&recipe));
}

const VvMethod *vv_far_disk_method(const char *name)
{
    static const VvMethod adopt = { "disk.adopt", do_adopt, VV_METHOD_CHANGES | VV_METHOD_DRY_RUN | VV_METHOD_DISKS,
        "path:s uuid:s size:u created:u name?:s id?:s checksum:s" };

    return strcmp(name, adopt.name) == 0 ? &adopt : NULL;
}

/* ---- here */

typedef struct {
    VvDaemon *daemon;
    const char *path, *name, *id; /* name, id: NULL: none */
    const char *checksum;         /* a repeat of the call is known by it */
    uint64_t create_bytes;
    bool overwrite;
    VvLabel label;
} Adding;

static JsonObject *adopt_params(const Adding *adding, bool dry)
{
    JsonObject *params = json_object_new();
    g_autofree char *address = vv_node_address(vv_node_id(adding->daemon->cluster), adding->path);
    g_autofree char *uuid = vv_uuid_format(&adding->label.disk_uuid);

    vv_json_set_string(params, "checksum", adding->checksum);
    vv_json_set_string(params, "path", address);
    vv_json_set_string(params, "uuid", uuid);
    /* Of a dry one it is not known yet. */
    vv_json_set_u64(params, "size", dry ? VV_DISK_BYTES_MIN : adding->label.size_bytes);
    vv_json_set_u64(params, "created", adding->label.created_ns);
    if (adding->name)
        vv_json_set_string(params, "name", adding->name);
    if (dry)
        vv_json_set_bool(params, "dry_run", true);
    else if (adding->id)
        vv_json_set_string(params, "id", adding->id);
    return params;
}

/* A label of this pool that no record knows is what an attempt before, or a removal that this node did not see, has left. */
static VvDiskClaim *claim(Adding *adding, GError **error)
{
    VvPool *pool = adding->daemon->pool;
    const VvDiskFormat format = { .pool_directory = vv_pool_directory(pool),
        .mount_point = vv_pool_mount(pool),
        .overwrite = adding->overwrite,
        .create_bytes = adding->create_bytes };
    g_autoptr(GError) why = NULL;
    VvDiskClaim *claimed = vv_disk_claim(adding->path, &format, &adding->label.pool_uuid, &why);
    VvLabel left;

    if (!claimed && adding->create_bytes == 0 && g_error_matches(why, VV_ERROR, VV_ERROR_EXISTS) &&
        vv_disk_read_label(adding->path, &left, NULL, NULL) && vv_uuid_equal(&left.pool_uuid, &adding->label.pool_uuid) &&
        !is_known(pool, &left.disk_uuid, false) && vv_disk_erase_label(adding->path, &left.disk_uuid, NULL)) {
        g_clear_error(&why);
        claimed = vv_disk_claim(adding->path, &format, &adding->label.pool_uuid, &why);
    }
    if (!claimed)
        g_propagate_error(error, g_steal_pointer(&why));
    return claimed;
}

static void fill_label(Adding *adding)
{
    const VvDaemon *daemon = adding->daemon;
    g_autofree char *base = vv_disk_base_name(adding->path);

    adding->label = (VvLabel){ .pool_uuid = daemon->uuid, .created_ns = vv_now_ns() };
    vv_uuid_generate(&adding->label.disk_uuid);
    g_strlcpy(adding->label.pool_name, daemon->name, sizeof adding->label.pool_name);
    g_strlcpy(adding->label.disk_name, vv_name_check(base, "disk", NULL) ? base : "disk", sizeof adding->label.disk_name); /* until vv-far knows better */
}

/* Nothing is the pool's. */
static void undo(const Adding *adding)
{
    g_autoptr(GError) error = NULL;

    if (!vv_disk_erase_label(adding->path, &adding->label.disk_uuid, &error))
        vv_log(VV_LOG_WARNING, "%s is no disk of the pool, but has a label: %s", adding->path, error->message);
    else if (adding->create_bytes > 0 && unlink(adding->path) < 0)
        vv_log(VV_LOG_WARNING, "%s could not be removed", adding->path);
}

/* It may have been done. */
static JsonObject *look_at_map(const Adding *adding, GError **error)
{
    uint64_t until_ms = vv_monotonic_ms() + UNHEARD_MS;
    g_autofree char *uuid = vv_uuid_format(&adding->label.disk_uuid);
    JsonObject *recipe;

    while (!is_known(adding->daemon->pool, &adding->label.disk_uuid, false)) {
        if (vv_monotonic_ms() >= until_ms) {
            g_prefix_error(error, "%s may be a disk of the pool now (`disk list` tells): ", adding->path);
            return NULL;
        }
        g_usleep(UNHEARD_LOOK_US);
    }
    g_clear_error(error);
    recipe = json_object_new();
    vv_json_set_string(recipe, "@disk", uuid);
    return recipe;
}

static bool label_it(Adding *adding, GError **error)
{
    g_autoptr(VvDiskClaim) claimed = claim(adding, error);
    g_autoptr(JsonObject) params = adopt_params(adding, true);
    JsonObject *would = NULL;

    if (!claimed || vv_relay_ask(adding->daemon, "disk.adopt", params, &would, error) != VV_RELAY_DONE)
        return false; /* before anything is erased */
    json_object_unref(would);
    return vv_disk_claim_write(claimed, &adding->label, error);
}

/* NULL: @error. The result is a recipe, or what one became. */
static JsonObject *add_it(Adding *adding, GError **error)
{
    g_autoptr(JsonObject) params = NULL;
    JsonObject *result = NULL;

    fill_label(adding);
    if (!label_it(adding, error))
        return NULL;
    params = adopt_params(adding, false);
    switch (vv_relay_ask(adding->daemon, "disk.adopt", params, &result, error)) {
    case VV_RELAY_DONE:
        return result;
    case VV_RELAY_UNHEARD:
        return look_at_map(adding, error);
    default:
        undo(adding);
        return NULL;
    }
}

bool vv_far_disk_add(VvCall *call, GError **error)
{
    g_autofree char *path = g_canonicalize_filename(vv_call_string(call, "path"), "/"), *checksum = vv_call_checksum(call);
    Adding adding = { .daemon = call->daemon,
        .path = path,
        .name = vv_call_string(call, "name"),
        .id = vv_call_string(call, "request_id"),
        .checksum = checksum,
        .create_bytes = vv_call_u64(call, "size", 0),
        .overwrite = vv_call_bool(call, "overwrite") };
    JsonObject *result;

    if (call->daemon->options->witness) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, "vvfs-admin disk add, on another node", "node %s is a witness, and has no disks",
            call->daemon->node);
        return false;
    }
    result = add_it(&adding, error);
    return result && vv_call_done(call, result);
}

bool vv_far_disk_add_path(VvDaemon *daemon, const char *path, GError **error)
{
    Adding adding = { .daemon = daemon, .path = path, .checksum = "" };
    g_autoptr(JsonObject) result = NULL;
    VvLabel label;

    if (vv_disk_read_label(path, &label, NULL, NULL) && vv_uuid_equal(&label.pool_uuid, &daemon->uuid) &&
        is_known(daemon->pool, &label.disk_uuid, false))
        return true; /* by an attempt whose end was not seen */
    result = add_it(&adding, error);
    return result != NULL;
}
