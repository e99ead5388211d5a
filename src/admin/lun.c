/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `lun`, and attaching and detaching for snapshots too. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "nouns.h"
#include "util.h"

#define ANSWER_TIMEOUT_MS 2000u

/* "2 LUNs and 3 snapshots" of a result's `removed`, newly allocated. */
static char *removed_text(JsonObject *result)
{
    JsonArray *removed = vv_json_array(result, "removed");
    unsigned luns = 0;
    unsigned snapshots = 0;
    g_autofree char *lun_text = NULL;
    g_autofree char *snapshot_text = NULL;

    for (unsigned i = 0; removed && i < json_array_get_length(removed); i++) {
        if (strchr(vv_json_element_text(removed, i), '@'))
            snapshots++;
        else
            luns++;
    }
    lun_text = vv_count_text(luns, "LUN");
    snapshot_text = vv_count_text(snapshots, "snapshot");
    return snapshots > 0 ? g_strdup_printf("%s and %s", lun_text, snapshot_text) : g_steal_pointer(&lun_text);
}

bool vv_run_remove(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = vv_call(inv, inv->command->method, vv_params(inv), error);

    if (!result)
        return false;
    if (inv->json) {
        vv_json_print_object(result);
    } else if (inv->dry_run) {
        g_autofree char *what = removed_text(result);
        g_autofree char *freed = vv_freed_text(result);
        JsonArray *removed = vv_json_array(result, "removed");

        printf("would remove %s and free %s:", what, freed);
        for (unsigned i = 0; removed && i < json_array_get_length(removed); i++)
            printf(" %s", vv_json_element_text(removed, i));
        putchar('\n');
    }
    return true;
}

/* The loop devices over @object on this node; empty if the pool is not mounted here. */
static GPtrArray *loops_of(const VvPlace *place, const char *object, bool verify)
{
    g_autofree char *path = place->mountpoint ? vv_object_path(place->mountpoint, object) : NULL;

    return path ? vv_loops_find(path, verify) : g_ptr_array_new_with_free_func(g_free);
}

/* Loop devices take a new size only when they are told. */
static void tell_loops(const VvInvocation *inv, const char *name)
{
    g_autoptr(GPtrArray) loops = loops_of(inv->place, name, false);

    for (unsigned i = 0; i < loops->len; i++) {
        const char *loop = g_ptr_array_index(loops, i);
        GError *error = NULL;

        if (vv_loop_update_size(loop, &error))
            continue;
        vv_note(inv, "%s: losetup -c /dev/%s", error->message, loop);
        g_error_free(error);
    }
}

bool vv_run_lun_resize(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = vv_place_need(inv, error) ? vv_call(inv, "lun.resize", vv_params(inv), error) : NULL;

    if (!result)
        return false;
    if (!inv->dry_run)
        tell_loops(inv, vv_json_text(inv->params, "name"));
    if (inv->json) {
        vv_json_print_object(result);
    } else if (inv->dry_run) {
        g_autofree char *size = vv_size_format(vv_json_u64(result, "size"));
        g_autofree char *freed = vv_freed_text(result);
        bool counted = vv_json_is_number(result, "freed");

        printf("would make %s %s%s%s\n", vv_json_text(inv->params, "name"), size,
            counted ? " and free " : " (what that frees is not counted)", counted ? freed : "");
    }
    return true;
}

bool vv_run_lun_rename(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *old = vv_json_text(inv->params, "name");
    const char *new = vv_json_text(inv->params, "new_name");
    g_autoptr(JsonObject) result = NULL;
    g_autoptr(GPtrArray) loops = NULL;

    if (!vv_place_need(inv, error))
        return false;
    loops = loops_of(inv->place, old, false);
    result = vv_call(inv, "lun.rename", vv_params(inv), error);
    if (!result)
        return false;
    for (unsigned i = 0; i < loops->len; i++) {
        g_autofree char *old_link = vv_object_link(inv->place->name, old);
        g_autofree char *new_link = vv_object_link(inv->place->name, new);

        vv_loop_link(new_link, g_ptr_array_index(loops, i), NULL); /* the device serves on, whatever it is called */
        vv_loop_unlink(old_link, g_ptr_array_index(loops, i));
    }
    if (inv->json)
        vv_json_print_object(result);
    return true;
}

bool vv_run_lun_repack(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    g_autoptr(JsonObject) result = vv_call(inv, "lun.repack", vv_params(inv), error);

    if (!result || !vv_job_follow(inv, result, error))
        return false;
    if (inv->json)
        vv_json_print_object(result);
    return true;
}

/* ---- attach and detach */

static bool set_error_attached(const VvPlace *place, const char *object, GError **error)
{
    g_autoptr(GPtrArray) loops = loops_of(place, object, true);
    const char *name = loops->len > 0 ? g_ptr_array_index(loops, 0) : NULL;
    g_autofree char *hint =
        g_strdup_printf("vvfs-admin %s detach %s", strchr(object, '@') ? "snapshot" : "lun", object);

    if (name)
        vv_set_error(error, VV_ERROR_BUSY, object, hint, "%s is attached already as /dev/%s", object, name);
    return name;
}

static bool need_mount(VvInvocation *inv, GError **error)
{
    g_autofree char *hint = NULL;

    if (!vv_place_need(inv, error))
        return false;
    if (inv->place->mountpoint)
        return true;
    if (vv_place_is_witness(inv->place)) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, inv->place->name, NULL, "this node is a witness of pool %s: it has no mount", inv->place->name);
        return false;
    }
    hint = vv_place_mount_command(inv->place);
    vv_set_error(
        error, VV_ERROR_NO_DAEMON, inv->place->name, hint, "pool %s is not mounted on this node", inv->place->name);
    return false;
}

/* The device exists: link and tell. */
static bool finish_attach(const VvInvocation *inv, const char *object, const char *name, bool direct, GError **error)
{
    g_autofree char *link = vv_object_link(inv->place->name, object);
    g_autofree char *device = g_build_filename("/dev", name, NULL);

    if (!vv_loop_link(link, name, error)) {
        vv_loop_detach(name, NULL);
        return false;
    }
    if (!direct)
        vv_note(inv, "%s works without direct I/O: data of %s is cached twice.", device, object);
    if (inv->json) {
        g_autoptr(JsonObject) result = json_object_new();

        json_object_set_string_member(result, "object", object);
        json_object_set_string_member(result, "device", device);
        json_object_set_string_member(result, "link", link);
        vv_json_print_object(result);
    } else {
        puts(device);
    }
    return true;
}

bool vv_run_attach(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *object = vv_json_text(inv->params, "object");
    g_autoptr(JsonObject) check = NULL;
    g_autofree char *name = NULL;
    const char *path;
    bool read_only;
    bool direct = false;

    if (!need_mount(inv, error) || set_error_attached(inv->place, object, error))
        return false;
    check = vv_call(inv, "lun.attach_check", vv_params(inv), error); /* reserves it until this process ends */
    if (!check)
        return false;
    path = vv_json_text(check, "path");
    read_only = strchr(object, '@') || vv_json_bool(inv->params, "read_only") || vv_json_bool(check, "read_only");
    if (!path) {
        vv_set_error(error, VV_ERROR_INTERNAL, object, NULL, "the daemon did not say where %s is", object);
        return false;
    }
    return vv_loop_attach(path, read_only, vv_option(inv, "partscan"), &name, &direct, error) &&
           finish_attach(inv, object, name, direct, error);
}

/* Refuse if the device is used. */
static bool check_unused(const char *object, const char *name, GError **error)
{
    g_autoptr(GPtrArray) users = vv_loop_users(name);
    const VvLoopUser *user = users->len > 0 ? g_ptr_array_index(users, 0) : NULL;
    g_autofree char *hint = user && user->mountpoint ? g_strdup_printf("umount %s", user->mountpoint) : NULL;

    if (!user)
        return true;
    if (user->mountpoint)
        vv_set_error(error, VV_ERROR_BUSY, object, hint, "%s is in use: %s is mounted at %s", object, user->device,
            user->mountpoint);
    else
        vv_set_error(
            error, VV_ERROR_BUSY, object, NULL, "%s is in use: %s is held by %s", object, user->device, user->holder);
    return false;
}

static bool contains(GPtrArray *names, const char *name)
{
    return g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL);
}

/* A file of a mount whose daemon hangs is not looked at: that would hang too. */
static bool daemon_answers(const VvPlace *place)
{
    VvClient *client = vv_client_open(place, NULL, ANSWER_TIMEOUT_MS, NULL);

    if (client)
        vv_client_free(client);
    return client;
}

/* Of @loops, all over a file of that name below the mount point, those that go: the ones over the object as it is now. Without
 * any (or with nobody to ask) all go, as somebody must be able to clear away what an object left that was removed. */
static GPtrArray *choose_loops(const VvInvocation *inv, const char *object, GPtrArray *loops, JsonArray *left)
{
    bool asks = daemon_answers(inv->place);
    GPtrArray *present = loops_of(inv->place, object, asks);
    g_autofree char *path = vv_object_path(inv->place->mountpoint, object);
    bool gone = asks && access(path, F_OK) < 0 && errno == ENOENT;

    for (unsigned i = 0; i < loops->len; i++) {
        const char *name = g_ptr_array_index(loops, i);

        if (contains(present, name) && !gone)
            continue;
        if (present->len > 0 && !contains(present, name)) {
            g_autofree char *device = g_build_filename("/dev", name, NULL);

            json_array_add_string_element(left, device);
            vv_note(inv, "%s is left: it is over an older %s, which was removed: losetup -d %s", device, object, device);
        } else {
            vv_note(inv, "/dev/%s is over %s%s, which was removed.", name, gone ? "" : "an older ", object);
        }
    }
    if (present->len > 0)
        return present;
    g_ptr_array_unref(present);
    return g_ptr_array_ref(loops);
}

bool vv_run_detach(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *object = vv_json_text(inv->params, "object");
    g_autoptr(GPtrArray) all = NULL;
    g_autoptr(GPtrArray) loops = NULL;
    g_autoptr(JsonObject) result = json_object_new();
    g_autofree char *link = NULL;
    JsonArray *detached = json_array_new();
    JsonArray *left = json_array_new();

    json_object_set_array_member(result, "detached", detached);
    json_object_set_array_member(result, "left", left);
    if (!need_mount(inv, error))
        return false;
    link = vv_object_link(inv->place->name, object);
    all = loops_of(inv->place, object, false);
    if (all->len == 0) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, object, NULL, "%s is not attached on this node", object);
        return false;
    }
    loops = choose_loops(inv, object, all, left);
    for (unsigned i = 0; i < loops->len; i++)
        if (!check_unused(object, g_ptr_array_index(loops, i), error))
            return false;
    for (unsigned i = 0; i < loops->len; i++) {
        const char *name = g_ptr_array_index(loops, i);
        g_autofree char *device = g_build_filename("/dev", name, NULL);

        if (!vv_loop_detach(name, error)) {
            g_prefix_error(error, "%s: ", object);
            return false;
        }
        vv_loop_unlink(link, name);
        json_array_add_string_element(detached, device);
    }
    if (inv->json)
        vv_json_print_object(result);
    return true;
}
