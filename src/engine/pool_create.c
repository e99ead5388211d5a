/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making, ending and checking pools that nobody serves.
 *
 * Create: directory, lock file, metadata (its identity file last), disks, one entry that names them all. What fails halfway is
 * taken away again; what a crash leaves is a pool without disks, which `pool destroy` removes. */
#include "error.h"
#include "pool_private.h"
#include "transaction.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOCKET_NAME "admin.sock"
#define FIRST_DISK "disk0"
#define END_WAIT_MS 30000u /* a daemon that is ending */

/* ---- files that vvfs makes in a pool directory */

static void remove_file(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    if (unlink(path) < 0 && errno != ENOENT)
        vv_log(VV_LOG_WARNING, "%s could not be removed: %s", path, g_strerror(errno));
}

/* The journal's files: j- and digits. */
static void remove_journal(const char *directory)
{
    g_autofree char *folder = g_build_filename(directory, "journal", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_prefix(name, "j-") && strspn(name + 2, "0123456789abcdef.new") == strlen(name + 2))
            g_ptr_array_add(names, g_strdup(name));
    for (unsigned i = 0; i < names->len; i++)
        remove_file(folder, g_ptr_array_index(names, i));
    (void) rmdir(folder);
}

static void remove_metadata(const char *directory)
{
    static const char *const files[] = { "reserve", "reserve.new", SOCKET_NAME, "vvfs-pool.new", "vvfs-pool" };
    g_autofree char *map = g_build_filename(directory, "map", NULL);

    remove_file(map, "data.mdb");
    remove_file(map, "lock.mdb");
    (void) rmdir(map);
    remove_journal(directory);
    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++)
        remove_file(directory, files[i]);
}

/* ---- create */

static bool check_create(const VvPoolCreate *create, GError **error)
{
    struct sockaddr_un address;

    if (!vv_name_check(create->name, "pool", error))
        return false;
    if (!g_path_is_absolute(create->directory)) {
        vv_set_error(error, VV_ERROR_USAGE, create->directory, NULL, "%s is not an absolute path", create->directory);
        return false;
    }
    if (strlen(create->directory) + 1 + strlen(SOCKET_NAME) >= sizeof address.sun_path) {
        vv_set_error(error, VV_ERROR_LIMIT, create->directory, "choose a shorter one",
            "the path %s is too long: a socket in it may have at most %zu characters", create->directory,
            sizeof address.sun_path - 1);
        return false;
    }
    if ((!create->disks || !create->disks[0]) && create->size_bytes < VV_DISK_BYTES_MIN) {
        g_autofree char *least = vv_size_format(VV_DISK_BYTES_MIN);

        vv_set_error(error, VV_ERROR_USAGE, create->name, NULL, "a pool needs at least %s", least);
        return false;
    }
    return true;
}

/* *ret_made: it was not there. */
static bool make_directory(const char *directory, bool *ret_made, GError **error)
{
    g_autoptr(GDir) dir = NULL;
    GError *why = NULL;

    *ret_made = !g_file_test(directory, G_FILE_TEST_EXISTS);
    if (*ret_made) {
        if (g_mkdir_with_parents(directory, 0755) == 0)
            return true;
        vv_set_error_errno(error, errno, directory, "%s cannot be made", directory);
        return false;
    }
    dir = g_dir_open(directory, 0, &why);
    if (!dir) {
        vv_set_error(
            error, VV_ERROR_EXISTS, directory, NULL, "%s exists and cannot be used: %s", directory, why->message);
        g_error_free(why);
        return false;
    }
    if (!g_dir_read_name(dir))
        return true;
    {
        g_autofree char *name = NULL;
        VvUuid uuid;

        if (vv_meta_identify(directory, &name, &uuid, NULL))
            vv_set_error(error, VV_ERROR_EXISTS, directory, NULL, "%s is the directory of pool %s", directory, name);
        else
            vv_set_error(error, VV_ERROR_NOT_EMPTY, directory, NULL, "%s is not empty: nothing was changed", directory);
    }
    return false;
}

typedef struct {
    char *path; /* absolute */
    VvUuid uuid;
    bool made;
} Formatted;

static void formatted_clear(void *data)
{
    g_free(((Formatted *) data)->path);
}

static void undo_disks(const GArray *formatted)
{
    for (unsigned i = 0; i < formatted->len; i++) {
        const Formatted *disk = &g_array_index(formatted, Formatted, i);

        vv_disk_erase_label(disk->path, &disk->uuid, NULL);
        if (disk->made)
            (void) unlink(disk->path);
    }
}

static bool format_disk(VvMeta *meta, const VvPoolCreate *create, const VvUuid *pool_uuid, const char *path,
    GArray *formatted, VvOps *ops, GError **error)
{
    VvDiskFormat format = { .pool_directory = create->directory, .overwrite = create->overwrite };
    g_autofree char *stored = g_strdup(path), *absolute = NULL, *name = g_path_get_basename(path);
    VvLabel label = { .pool_uuid = *pool_uuid, .created_ns = vv_now_ns() };
    Formatted disk = { .made = *path != '/' };
    VvOp *op;

    if (disk.made)
        format.create_bytes = create->size_bytes;
    absolute = vv_pool_disk_path(create->directory, path);
    for (char *c = name; *c; c++)
        if (!g_ascii_isalnum(*c) && !strchr("._+-", *c))
            *c = '_';
    if (strlen(name) > VV_NAME_BYTES_MAX)
        name[VV_NAME_BYTES_MAX] = '\0';
    for (unsigned i = 0; i < ops->len; i++)
        if (strcmp(vv_ops_get(ops, i)->disk_add.name, name) == 0) {
            g_autofree char *other = g_strdup_printf("%.100s-%u", name, i + 1);

            g_free(name);
            name = g_steal_pointer(&other);
        }
    label.disk_id = vv_meta_new_id(meta);
    vv_uuid_generate(&label.disk_uuid);
    g_strlcpy(label.pool_name, create->name, sizeof label.pool_name);
    g_strlcpy(label.disk_name, name, sizeof label.disk_name);
    if (!vv_disk_format(absolute, &format, &label, error))
        return false;
    disk.path = g_steal_pointer(&absolute);
    disk.uuid = label.disk_uuid;
    g_array_append_val(formatted, disk);
    op = vv_ops_add(ops, VV_OP_DISK_ADD);
    op->disk_add.id = label.disk_id;
    op->disk_add.uuid = label.disk_uuid;
    op->disk_add.name = g_strdup(name);
    op->disk_add.path = g_steal_pointer(&stored);
    op->disk_add.size_bytes = label.size_bytes;
    op->disk_add.created_ns = label.created_ns;
    return true;
}

static bool log_disks(VvMeta *meta, VvOps *ops, const char *directory, GError **error)
{
    uint64_t index;
    int result = vv_meta_log(meta, ops, &index);

    if (result == 0)
        result = vv_meta_sync(meta);
    if (result == 0)
        result = vv_meta_apply(meta, index, ops);
    if (result == 0)
        result = vv_meta_checkpoint(meta);
    if (result < 0)
        vv_set_error_errno(error, result, directory, "the disks cannot be entered in %s", directory);
    return result == 0;
}

static bool make_disks(const VvPoolCreate *create, const VvUuid *pool_uuid, GError **error)
{
    static const char *const first[] = { FIRST_DISK, NULL };
    const char *const *paths = create->disks && create->disks[0] ? create->disks : first;
    g_autoptr(VvMeta) meta = vv_meta_open(create->directory, false, NULL, error);
    g_autoptr(GArray) formatted = g_array_new(FALSE, TRUE, sizeof(Formatted));
    VvOps *ops;
    bool ok = true;

    if (!meta)
        return false;
    g_array_set_clear_func(formatted, formatted_clear);
    ops = vv_ops_new();
    for (unsigned i = 0; ok && paths[i]; i++) {
        if (paths != first && !g_path_is_absolute(paths[i])) {
            vv_set_error(error, VV_ERROR_USAGE, paths[i], NULL, "%s is not an absolute path", paths[i]);
            ok = false;
        } else {
            ok = format_disk(meta, create, pool_uuid, paths[i], formatted, ops, error);
        }
    }
    ok = ok && log_disks(meta, ops, create->directory, error);
    if (!ok)
        undo_disks(formatted);
    vv_ops_free(ops);
    return ok;
}

bool vv_pool_create(const VvPoolCreate *create, GError **error)
{
    VvMetaCreate meta = { .name = create->name, .created_ns = vv_now_ns() };
    vv_autofd int lock_fd = -1;
    bool made, ok;

    if (!check_create(create, error) || !make_directory(create->directory, &made, error))
        return false;
    lock_fd = vv_pool_take_lock(create->directory, 0, error);
    if (lock_fd < 0)
        return false;
    vv_uuid_generate(&meta.uuid);
    ok = vv_meta_create(create->directory, &meta, error) && make_disks(create, &meta.uuid, error);
    if (ok && vv_sync_directory(create->directory) < 0) {
        vv_set_error(error, VV_ERROR_IO, create->directory, NULL, "%s cannot be synced", create->directory);
        ok = false;
    }
    if (!ok) {
        remove_metadata(create->directory);
        if (made)
            (void) rmdir(create->directory);
    }
    return ok;
}

/* ---- destroy */

/* A pool that is mounted here is told at once; only one that is ending is waited for. */
static bool refuse_mounted(const char *directory, const char *name, GError **error)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
        return true;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        const char *dash = strstr(*line, " - fuse.vvfs ");
        g_auto(GStrv) fields = dash ? g_strsplit(*line, " ", -1) : NULL;
        g_auto(GStrv) tail = dash ? g_strsplit(dash + 3, " ", -1) : NULL;
        g_autofree char *source = dash && g_strv_length(tail) > 1 ? g_strcompress(tail[1]) : NULL;

        if (g_strcmp0(source, directory) != 0 || g_strv_length(fields) < 5)
            continue;
        g_autofree char *point = g_strcompress(fields[4]), *hint = g_strdup_printf("umount %s", point);

        vv_set_error(error, VV_ERROR_BUSY, name, hint, "pool %s is mounted at %s: nothing was changed", name, point);
        return false;
    }
    return true;
}

static void erase_disks(const char *directory, const VvUuid *pool_uuid)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvMeta) meta = vv_meta_open(directory, true, NULL, &error);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);

    if (!meta)
        vv_log(VV_LOG_WARNING, "the metadata cannot be read (%s): labels of disks elsewhere are left", error->message);
    g_ptr_array_add(paths, g_strdup(FIRST_DISK));
    if (meta) {
        VV_META_READ(meta);
        GPtrArray *disks = vv_meta_disks(meta);

        for (unsigned i = 0; i < disks->len; i++)
            g_ptr_array_add(paths, g_strdup(((const VvDiskInfo *) g_ptr_array_index(disks, i))->path));
    }
    for (unsigned i = 0; i < paths->len; i++) {
        const char *stored = g_ptr_array_index(paths, i);
        g_autofree char *path = vv_pool_disk_path(directory, stored);
        VvLabel label;

        if (!vv_disk_read_label(path, &label, NULL, NULL) || !vv_uuid_equal(&label.pool_uuid, pool_uuid))
            continue;
        if (*stored != '/')
            (void) unlink(path);
        else if (!vv_disk_erase_label(path, &label.disk_uuid, NULL))
            vv_log(VV_LOG_WARNING, "the label of %s could not be erased", path);
    }
}

bool vv_pool_destroy(const char *directory, GError **error)
{
    g_autofree char *absolute = g_canonicalize_filename(directory, NULL), *name = NULL;
    vv_autofd int lock_fd = -1;
    VvUuid uuid;

    if (!vv_meta_identify(absolute, &name, &uuid, error) || !refuse_mounted(absolute, name, error))
        return false;
    lock_fd = vv_pool_take_lock(absolute, END_WAIT_MS, error);
    if (lock_fd < 0)
        return false;
    erase_disks(absolute, &uuid);
    remove_metadata(absolute);
    if (rmdir(absolute) < 0 && errno != ENOENT)
        vv_log(VV_LOG_NOTE, "%s is left: %s", absolute, g_strerror(errno));
    return true;
}

/* ---- check */

static void report_error(VvCheckFunc report, void *user, const char *code, const char *object, const GError *error)
{
    g_autofree char *name = g_strdup(object), *message = g_strdup(error->message);
    VvCheckError found = { .code = code, .object = name, .message = message };

    report(user, &found);
}

/* Each disk is there, and is the one that the pool knows. */
static void check_disks(VvMeta *meta, const char *directory, const VvUuid *uuid, VvCheckFunc report, void *user)
{
    const GPtrArray *disks;
    VV_META_READ(meta);

    disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *info = g_ptr_array_index(disks, i);
        g_autofree char *path = vv_pool_disk_path(directory, info->path);
        g_autoptr(GError) error = NULL;
        g_autoptr(VvDisk) disk = vv_disk_open(path, uuid, &info->uuid, true, 0, &error);

        if (!disk)
            report_error(report, user, "disk", info->name, error);
    }
}

bool vv_pool_check_offline(const char *directory, bool repair, VvCheckFunc report, void *user, GError **error)
{
    g_autofree char *name = NULL;
    g_autoptr(VvMeta) meta = NULL;
    g_autoptr(GError) failure = NULL;
    vv_autofd int lock_fd = -1;
    VvUuid uuid;
    int result;

    if (!vv_meta_identify(directory, &name, &uuid, error))
        return false;
    lock_fd = vv_pool_take_lock(directory, END_WAIT_MS, error);
    if (lock_fd < 0)
        return false;
    meta = vv_meta_open(directory, !repair, NULL, &failure);
    if (!meta && g_error_matches(failure, VV_ERROR, VV_ERROR_DAMAGED)) {
        report_error(report, user, "damaged", name, failure); /* looked, and found it */
        return true;
    }
    if (!meta) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    check_disks(meta, directory, &uuid, report, user);
    result = vv_meta_check(meta, repair, report, user);
    if (result < 0)
        vv_set_error_errno(error, result, name, "pool %s could not be checked to the end", name);
    return result == 0;
}
