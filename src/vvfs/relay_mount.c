/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes through the mount of a node without disks: here they are asked for, on the node with the disks they are done. The methods are of
 * other nodes alone: the kernel of the asking node has checked who may. */
#include "relay.h"

#include "far.h"
#include "node.h"
#include "settle.h"

#include <string.h>

#define AGAIN_US 50000u /* between tries, while the other node cannot be reached */

/* ---- asking: operation threads of the mount */

/* A request that has no id gets one: what was not heard is asked again. */
static void set_id(JsonObject *params, const VvRequest *request)
{
    g_autofree char *drawn = NULL;

    if (!request || !request->id) {
        g_autofree char *uuid = g_uuid_string_random();

        drawn = g_strconcat(VV_MOUNT_REQUEST_PREFIX, uuid, NULL);
    }
    vv_json_set_string(params, "request_id", drawn ? drawn : request->id);
}

/* Until it is answered, as the call may be done twice, or has an id. */
static bool ask(VvDaemon *daemon, const char *method, JsonObject *params, GError **error)
{
    uint64_t until_ms = vv_monotonic_ms() + VV_FAR_MS;

    for (;;) {
        g_autoptr(GError) why = NULL;
        g_autoptr(JsonObject) result = NULL;
        uint64_t now_ms = vv_monotonic_ms();
        VvRelayEnd end;

        vv_json_set_u64(params, "timeout_ms", now_ms < until_ms ? until_ms - now_ms : 1);
        end = vv_relay_ask(daemon, method, params, &result, &why);
        if (end == VV_RELAY_DONE)
            return true;
        if (end == VV_RELAY_REFUSED || vv_node_is_ending(daemon->cluster) || vv_monotonic_ms() >= until_ms) {
            g_propagate_error(error, g_steal_pointer(&why));
            return false;
        }
        g_usleep(AGAIN_US);
    }
}

static void set_props(JsonObject *params, const VvLunProps *props)
{
    vv_json_set_u64(params, "mode", props->mode);
    vv_json_set_u64(params, "uid", props->uid);
    vv_json_set_u64(params, "gid", props->gid);
}

static bool far_lun_create(void *user, const VvLunCreate *create, VvRequest *request, GError **error)
{
    g_autoptr(JsonObject) params = json_object_new();

    vv_json_set_string(params, "name", create->name);
    set_props(params, &create->props);
    set_id(params, request);
    return ask(user, "mount.lun_create", params, error);
}

static bool far_remove(void *user, bool lun, const char *object, VvRequest *request, GError **error)
{
    g_autoptr(JsonObject) params = json_object_new();

    json_object_set_boolean_member(params, "lun", lun);
    vv_json_set_string(params, "object", object);
    set_id(params, request);
    return ask(user, "mount.remove", params, error);
}

static bool far_snapshot_create(void *user, const char *object, VvRequest *request, GError **error)
{
    g_autoptr(JsonObject) params = json_object_new();

    vv_json_set_string(params, "object", object);
    set_id(params, request);
    return ask(user, "mount.snapshot_create", params, error);
}

static bool far_set_attributes(
    void *user, uint64_t id, uint32_t mask, const VvLunProps *props, uint64_t mtime_ns, uint64_t atime_ns, GError **error)
{
    g_autoptr(JsonObject) params = json_object_new();

    vv_json_set_u64(params, "id", id);
    vv_json_set_u64(params, "mask", mask);
    set_props(params, props);
    vv_json_set_u64(params, "mtime", MIN(mtime_ns, (uint64_t) INT64_MAX));
    vv_json_set_u64(params, "atime", MIN(atime_ns, (uint64_t) INT64_MAX));
    return ask(user, "mount.set_attributes", params, error);
}

static bool far_adopt(void *user, uint64_t to, uint64_t from, uint64_t size_bytes, GError **error)
{
    g_autoptr(JsonObject) params = json_object_new();

    vv_json_set_u64(params, "to", to);
    vv_json_set_u64(params, "from", from);
    vv_json_set_u64(params, "size", size_bytes);
    return ask(user, "mount.adopt", params, error);
}

static void far_changed(void *user)
{
    vv_settle(user, 0);
}

void vv_relay_mount(VvDaemon *daemon, VvFuseFar *ret_far)
{
    *ret_far = (VvFuseFar){ .changed = daemon->cluster ? far_changed : NULL, .user = daemon };
    if (!vv_relay_is_elsewhere(daemon) || vv_node_is_guest(daemon->cluster)) /* a guest's pool refuses all of it */
        return;
    ret_far->lun_create = far_lun_create;
    ret_far->remove = far_remove;
    ret_far->snapshot_create = far_snapshot_create;
    ret_far->set_attributes = far_set_attributes;
    ret_far->adopt = far_adopt;
}

/* ---- answering: changers */

static VvLunProps props_of(VvCall *call)
{
    return (VvLunProps){ .mode = (uint32_t) vv_call_u64(call, "mode", 0) & 0777,
        .uid = (uint32_t) vv_call_u64(call, "uid", 0),
        .gid = (uint32_t) vv_call_u64(call, "gid", 0) };
}

static bool do_lun_create(VvCall *call, GError **error)
{
    g_autoptr(JsonObject) recipe = json_object_new();
    VvLunCreate create = { .name = vv_call_string(call, "name"),
        .elastic = true,
        .node = call->relayed ? vv_relayed_node(call->relayed) : 0,
        .props_mask = VV_LUN_MODE | VV_LUN_UID | VV_LUN_GID,
        .props = props_of(call) };
    uint64_t id;

    if (!vv_pool_lun_create(call->daemon->pool, &create, vv_call_request(call, recipe), &id, error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

static bool do_remove(VvCall *call, GError **error)
{
    g_autoptr(JsonObject) recipe = json_object_new();
    const char *const objects[] = { vv_call_string(call, "object"), NULL };
    VvRequest *request = vv_call_request(call, recipe);
    bool removed = vv_call_bool(call, "lun")
                       ? vv_pool_lun_remove(call->daemon->pool, objects, false, false, false, request, NULL, error)
                       : vv_pool_snapshot_remove(call->daemon->pool, objects, false, false, request, NULL, error);

    return removed && vv_call_done(call, g_steal_pointer(&recipe));
}

static bool do_snapshot_create(VvCall *call, GError **error)
{
    g_autoptr(JsonObject) recipe = json_object_new();
    const char *const objects[] = { vv_call_string(call, "object"), NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };

    if (!vv_pool_snapshot_create(call->daemon->pool, objects, &options, vv_call_request(call, recipe), error))
        return false;
    return vv_call_done(call, g_steal_pointer(&recipe));
}

static bool do_set_attributes(VvCall *call, GError **error)
{
    VvLunProps props = props_of(call);

    if (!vv_pool_lun_set_attributes(call->daemon->pool, vv_call_u64(call, "id", 0), (uint32_t) vv_call_u64(call, "mask", 0), &props,
            vv_call_u64(call, "mtime", 0), vv_call_u64(call, "atime", 0), error))
        return false;
    return vv_call_done(call, json_object_new());
}

static bool do_adopt(VvCall *call, GError **error)
{
    if (!vv_pool_lun_adopt(call->daemon->pool, vv_call_u64(call, "to", 0), vv_call_u64(call, "from", 0), vv_call_u64(call, "size", 0), error))
        return false;
    return vv_call_done(call, json_object_new());
}

#define MOUNT (VV_METHOD_CHANGES | VV_METHOD_MOUNT)

const VvMethod *vv_relay_mount_method(const char *name)
{
    static const VvMethod methods[] = {
        { "mount.lun_create", do_lun_create, MOUNT, "name:s mode:u uid:u gid:u" },
        { "mount.remove", do_remove, MOUNT, "lun:b object:s" },
        { "mount.snapshot_create", do_snapshot_create, MOUNT, "object:s" },
        { "mount.set_attributes", do_set_attributes, MOUNT, "id:u mask:u mode:u uid:u gid:u mtime:u atime:u" },
        { "mount.adopt", do_adopt, MOUNT, "to:u from:u size:u" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}
