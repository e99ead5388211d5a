/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offline methods: params on stdin, a response on stdout. Each takes the pool's lock for as long as it works on a pool that
 * is there. */
#include "offline.h"

#include "check.h"
#include "disk.h"
#include "error.h"
#include "json.h"
#include "lock.h"
#include "mounts.h"
#include "node_setup.h"
#include "offline_node.h"
#include "options.h"
#include "pool.h"
#include "rpc.h"
#include "server.h"
#include "version.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_SIZE_BYTES ((uint64_t) 16 << 30)

/* ---- params */
static const char *param_string(JsonObject *params, const char *name)
{
    return vv_json_get_string(params, name);
}

static bool param_bool(JsonObject *params, const char *name)
{
    return vv_json_has(params, name) && json_object_get_boolean_member(params, name);
}

static bool need_directory(JsonObject *params, const char **ret_directory, GError **error)
{
    *ret_directory = param_string(params, "dir");
    if (**ret_directory == '/')
        return true;
    vv_set_error(error, VV_ERROR_USAGE, "dir", NULL, "the param dir must be an absolute path");
    return false;
}

/* ---- pool.create */
char **vv_offline_disks(JsonObject *params)
{
    GPtrArray *paths = g_ptr_array_new();

    if (vv_json_has(params, "disks")) {
        JsonArray *array = json_object_get_array_member(params, "disks");

        for (unsigned i = 0; i < json_array_get_length(array); i++)
            g_ptr_array_add(paths, g_strdup(json_array_get_string_element(array, i)));
    }
    g_ptr_array_add(paths, NULL);
    return (char **) g_ptr_array_free(paths, FALSE);
}

/* What a label says, as disk.show would: the pool is new, so all is free. */
static void add_disk(JsonArray *array, const char *path)
{
    JsonObject *object = vv_json_add_object(array);
    g_autofree char *uuid = NULL;
    JsonObject *paths;
    VvLabel label;
    struct stat st;

    if (!vv_disk_read_label(path, &label, NULL, NULL))
        memset(&label, 0, sizeof(label));
    uuid = vv_uuid_format(&label.disk_uuid);
    vv_json_set_string(object, "name", label.disk_name);
    vv_json_set_string(object, "uuid", uuid);
    vv_json_set_null(object, "node");
    vv_json_set_string(object, "path", path);
    vv_json_set_u64(object, "size", label.size_bytes);
    vv_json_set_u64(object, "free",
        label.size_bytes > VV_LABEL_BYTES + VV_DISK_TAIL_BYTES
            ? (label.size_bytes - VV_LABEL_BYTES - VV_DISK_TAIL_BYTES) & ~(uint64_t) (VV_REGION_BYTES - 1)
            : 0);
    vv_json_set_string(object, "state", "ok");
    paths = vv_json_set_object(object, "paths");
    (void) paths;
    vv_json_set_string(object, "kind", vv_is_address(path) ? "nbd" : stat(path, &st) == 0 && S_ISBLK(st.st_mode) ? "device" : "file");
    vv_json_set_u64(object, "used", 0);
    vv_json_set_u64(object, "label_version", 1);
}

static JsonObject *created_json(const char *directory, char **disks, GError **error)
{
    JsonObject *result;
    g_autofree char *name = NULL, *uuid = NULL, *own = g_build_filename(directory, "disk0", NULL);
    JsonArray *array;
    VvUuid id;

    if (!vv_meta_identify(directory, &name, &id, error))
        return NULL;
    uuid = vv_uuid_format(&id);
    result = json_object_new();
    vv_json_set_string(result, "name", name);
    vv_json_set_string(result, "uuid", uuid);
    vv_json_set_string(result, "directory", directory);
    array = vv_json_set_array(result, "disks");
    if (!*disks)
        add_disk(array, own);
    for (; *disks; disks++)
        add_disk(array, *disks);
    return result;
}

static JsonObject *create_dry(const VvPoolCreate *create, GError **error)
{
    JsonObject *result;

    if (!vv_pool_create_check(create, error))
        return NULL;
    result = json_object_new();
    vv_json_set_string(result, "name", create->name);
    vv_json_set_null(result, "uuid");
    vv_json_set_string(result, "directory", create->directory);
    vv_json_set_array(result, "disks");
    vv_json_set_bool(result, "dry_run", true);
    return result;
}

/* --listen: the pool gets an authority and a first node. */
static bool set_up_node(JsonObject *params, VvNodeSetup *setup, VvPoolCreate *create, GError **error)
{
    const char *listen = param_string(params, "listen"), *node = param_string(params, "node");

    if (!listen && node) {
        vv_set_error(error, VV_ERROR_USAGE, "node", NULL, "a node's name is for a pool that listens: give --listen too");
        return false;
    }
    if (!listen)
        return true;
    create->first = &setup->first;
    return vv_node_setup_init(setup, listen, node, error);
}

static JsonObject *pool_create(JsonObject *params, GError **error)
{
    g_auto(GStrv) disks = vv_offline_disks(params);
    g_auto(VvNodeSetup) setup = { .node = { .id = 0 } };
    bool have_size = vv_json_has(params, "size");
    VvPoolCreate create = { .name = param_string(params, "name"),
        .overwrite = param_bool(params, "overwrite"),
        .disks = *disks ? (const char *const *) disks : NULL };

    if (!need_directory(params, &create.directory, error) || !vv_name_check(create.name, "pool", error) ||
        !vv_server_check_path(create.directory, error))
        return NULL;
    if (have_size && *disks) {
        vv_set_error(
            error, VV_ERROR_USAGE, "size", NULL, "size is that of the disk file, and there is none with disks");
        return NULL;
    }
    create.size_bytes = have_size ? (uint64_t) json_object_get_int_member(params, "size") : DEFAULT_SIZE_BYTES;
    if (!*disks && create.size_bytes < VV_DISK_BYTES_MIN) {
        g_autofree char *least = vv_size_format(VV_DISK_BYTES_MIN);

        vv_set_error(error, VV_ERROR_USAGE, "size", NULL,
            "a disk file of %" G_GUINT64_FORMAT " bytes is too small: at least %s", create.size_bytes, least);
        return NULL;
    }
    if (!set_up_node(params, &setup, &create, error))
        return NULL;
    if (param_bool(params, "dry_run"))
        return create_dry(&create, error);
    if (!vv_pool_create(&create, error))
        return NULL;
    return created_json(create.directory, disks, error);
}

/* ---- pool.check, pool.destroy */
static int take_pool(const char *directory, char **ret_name, VvUuid *ret_uuid, GError **error)
{
    int fd;

    if (!vv_meta_identify(directory, ret_name, ret_uuid, error))
        return -1;
    fd = vv_lock_take(directory, *ret_name, false, error);
    if (fd >= 0)
        vv_lock_tell(fd, "offline", NULL, getpid());
    return fd;
}

static JsonObject *pool_check(JsonObject *params, GError **error)
{
    g_autofree char *name = NULL;
    vv_autofd int lock_fd = -1;
    const char *directory;
    VvCheckReport report;
    JsonObject *result, *checked;
    VvUuid uuid;

    if (!need_directory(params, &directory, error) || (lock_fd = take_pool(directory, &name, &uuid, error)) < 0)
        return NULL;
    vv_check_report_init(&report);
    if (!vv_pool_check_offline(directory, param_bool(params, "repair"), vv_check_report_cb, &report, error)) {
        vv_check_report_clear(&report);
        return NULL;
    }
    result = vv_check_report_json(&report);
    checked = vv_json_set_object(result, "checked");
    vv_json_set_null(checked, "luns");
    vv_json_set_null(checked, "snapshots");
    vv_json_set_null(checked, "pages");
    vv_json_set_null(checked, "blocks");
    return result;
}

static JsonObject *pool_destroy(JsonObject *params, GError **error)
{
    g_autofree char *name = NULL, *uuid = NULL, *lock = NULL, *socket = NULL;
    vv_autofd int lock_fd = -1;
    bool dry = param_bool(params, "dry_run");
    g_auto(VvDestroyed) destroyed = { .disks = NULL };
    const char *directory;
    JsonObject *result;
    JsonArray *removed;
    VvUuid id;

    if (!need_directory(params, &directory, error) || (lock_fd = take_pool(directory, &name, &id, error)) < 0)
        return NULL;
    if (!dry && !param_bool(params, "yes")) {
        vv_set_error(error, VV_ERROR_DENIED, name, "`--yes` does it.",
            "would end pool %s in %s, with all that is in it", name, directory);
        return NULL;
    }
    uuid = vv_uuid_format(&id);
    lock = g_build_filename(directory, VV_LOCK_FILE, NULL);
    socket = g_build_filename(directory, VV_ADMIN_SOCKET, NULL);
    if (!dry)
        unlink(socket);
    if (!vv_pool_destroy(directory, dry, &destroyed, error))
        return NULL;
    if (!dry) {
        unlink(lock);
        rmdir(directory); /* stays if foreign files are in it */
    }
    result = json_object_new();
    vv_json_set_string(result, "name", name);
    vv_json_set_string(result, "uuid", uuid);
    vv_json_set_string(result, "directory", directory);
    removed = vv_json_set_array(result, "removed");
    vv_json_add_string(removed, directory);
    for (char **disk = destroyed.disks; *disk; disk++)
        vv_json_add_string(removed, *disk);
    if (destroyed.all_told)
        vv_json_set_strings(result, "left", (const char *const *) destroyed.left);
    else
        vv_json_set_null(result, "left");
    if (destroyed.all_told)
        vv_json_set_u64(result, "freed", destroyed.freed_bytes);
    else
        vv_json_set_null(result, "freed");
    if (dry)
        vv_json_set_bool(result, "dry_run", true);
    return result;
}

static JsonObject *version_get(JsonObject *params, GError **error)
{
    (void) params;
    (void) error;
    return vv_version_json();
}

/* ---- the response */
static const struct {
    VvMethod method; /* name and params */
    JsonObject *(*run)(JsonObject *params, GError **error);
} methods[] = {
    { { "pool.create", NULL, 0, "dir:s name:s size?:u disks?:S overwrite?:b listen?:s node?:s dry_run?:b" }, pool_create },
    { { "pool.check", NULL, 0, "dir:s repair?:b" }, pool_check },
    { { "pool.destroy", NULL, 0, "dir:s yes?:b dry_run?:b" }, pool_destroy },
    { { "node.join", NULL, 0, "dir?:s parent?:s token:s listen:s node?:s disks?:S" }, vv_offline_node_join },
    { { "node.list", NULL, 0, "dir:s" }, vv_offline_node_list },
    { { "version.get", NULL, 0, "" }, version_get },
};

static JsonObject *run(const char *name, JsonObject *params, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++)
        if (strcmp(methods[i].method.name, name) == 0)
            return vv_method_check(&methods[i].method, params, error) ? methods[i].run(params, error) : NULL;
    vv_set_error(error, VV_ERROR_UNSUPPORTED, name, NULL, "there is no offline method %s", name);
    return NULL;
}

/* All of stdin, up to a limit. */
static JsonObject *read_params(GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(JsonNode) node = NULL;
    const char *why = NULL;
    char piece[65536];
    size_t got;

    while ((got = fread(piece, 1, sizeof(piece), stdin)) > 0 && text->len <= VV_RPC_LINE_BYTES_MAX)
        g_string_append_len(text, piece, (gssize) got);
    if (text->len > VV_RPC_LINE_BYTES_MAX)
        why = "more than 4 MiB";
    else
        node = vv_json_parse(text->str, text->len, &why);
    if (node && JSON_NODE_HOLDS_OBJECT(node))
        return json_object_ref(json_node_get_object(node));
    vv_set_error(error, VV_ERROR_USAGE, NULL, NULL, "params must be one JSON object on stdin%s%s", why ? ": " : "",
        why ? why : "");
    return NULL;
}

int vv_offline_run(const char *method)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) params = read_params(&error), result = NULL;
    g_autofree char *text = NULL;

    vv_log_init(VV_LOG_WARNING, false, "vvfs");
    if (params)
        result = run(method, params, &error);
    text = result ? vv_rpc_result_text(NULL, result) : vv_rpc_error_text(NULL, vv_rpc_error_code(error), error);
    if (printf("%s\n", text) < 0 || fflush(stdout) != 0)
        return VV_EXIT_FAILED;
    return VV_EXIT_OK;
}
