/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making, ending and checking pools that nobody serves.
 *
 * Create: directory, lock file, a claim on every disk (so a refusal of the last one leaves the first as it was), metadata
 * (its identity file last), labels, one entry that names them all. What fails halfway is taken away again; what a crash
 * leaves is a pool without disks, which `pool destroy` removes. */
#include "error.h"
#include "incarnation.h"
#include "members.h"
#include "pool_private.h"
#include "serving.h"
#include "base.h"
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
    static const char *const files[] = { "reserve", "reserve.new", SOCKET_NAME, "hold.sock", VV_IN_USE_FILE, VV_IN_USE_FILE ".new", VV_OLDER_FILE, VV_OLDER_FILE ".new",
        "vote", "vote.new", "nodes", "nodes.new", VV_FLUSHED_FILE, VV_FLUSHED_FILE ".new", "vvfs-pool.new", "vvfs-pool" };
    static const char *const tls_files[] = { "authority.crt", "authority.key", "node.crt", "node.key", "authority.crt.new",
        "authority.key.new", "node.crt.new", "node.key.new" };
    g_autofree char *tls = g_build_filename(directory, "tls", NULL);
    g_autofree char *map = g_build_filename(directory, "map", NULL);

    remove_file(map, "data.mdb");
    remove_file(map, "lock.mdb");
    remove_file(map, "sums");
    (void) rmdir(map);
    remove_journal(directory);
    for (unsigned i = 0; i < G_N_ELEMENTS(tls_files); i++)
        remove_file(tls, tls_files[i]);
    (void) rmdir(tls);
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
    for (unsigned i = 0; create->disks && create->disks[i]; i++) {
        if (i == VV_DISKS_MAX) {
            vv_set_error(error, VV_ERROR_LIMIT, create->name, NULL, "a pool has at most %u disks", VV_DISKS_MAX);
            return false;
        }
        if (g_path_is_absolute(create->disks[i]) || vv_is_address(create->disks[i]))
            continue;
        vv_set_error(error, VV_ERROR_USAGE, create->disks[i], NULL, "%s is not an absolute path", create->disks[i]);
        return false;
    }
    return true;
}

/* What is at @directory is taken only if it is an empty directory. */
static bool refuse_directory(const char *directory, GError **error)
{
    GError *why = NULL;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, &why);
    g_autofree char *name = NULL;
    VvUuid uuid;

    if (!dir) {
        vv_set_error(
            error, VV_ERROR_EXISTS, directory, NULL, "%s exists and cannot be used: %s", directory, why->message);
        g_error_free(why);
        return false;
    }
    if (!g_dir_read_name(dir))
        return true;
    if (vv_meta_identify(directory, &name, &uuid, NULL))
        vv_set_error(error, VV_ERROR_EXISTS, directory, NULL, "%s is the directory of pool %s", directory, name);
    else
        vv_set_error(error, VV_ERROR_NOT_EMPTY, directory, NULL, "%s is not empty: nothing was changed", directory);
    return false;
}

/* *ret_made: it was not there. */
static bool make_directory(const char *directory, bool *ret_made, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(directory);

    *ret_made = !g_file_test(directory, G_FILE_TEST_EXISTS);
    if (!*ret_made)
        return refuse_directory(directory, error);
    if (g_mkdir_with_parents(parent, 0755) == 0 && mkdir(directory, 0700) == 0)
        return true;
    vv_set_error_errno(error, errno, directory, "%s cannot be made", directory);
    return false;
}

/* A disk of the pool to be. */
typedef struct {
    const char *stored; /* as the metadata will have it; borrowed */
    char *path;         /* absolute */
    char *name;
    VvDiskClaim *claim;
    VvUuid uuid;
    bool make;    /* a file that is not there yet */
    bool written; /* erased, and labelled */
} NewDisk;

static void new_disk_free(void *data)
{
    NewDisk *disk = data;

    g_clear_pointer(&disk->claim, vv_disk_claim_free);
    g_free(disk->path);
    g_free(disk->name);
    g_free(disk);
}

static bool name_is_taken(const GPtrArray *disks, const char *name)
{
    for (unsigned i = 0; i < disks->len; i++)
        if (strcmp(((const NewDisk *) g_ptr_array_index(disks, i))->name, name) == 0)
            return true;
    return false;
}

/* After the last part of its path; what the path of another disk ends with too gets a number. */
static char *new_disk_name(const GPtrArray *disks, const char *path)
{
    char *name = vv_disk_base_name(path);

    for (char *c = name; *c; c++)
        if (!g_ascii_isalnum(*c) && !strchr("._+-", *c))
            *c = '_';
    if (strlen(name) > VV_NAME_BYTES_MAX)
        name[VV_NAME_BYTES_MAX] = '\0';
    for (unsigned number = disks->len + 1; name_is_taken(disks, name); number++) {
        char *other = g_strdup_printf("%.100s-%u", name, number);

        g_free(name);
        name = other;
    }
    return name;
}

/* Is what @path names one of @disks, under whatever name? It would be refused as open, by ourselves. */
static bool refuse_twice(const GPtrArray *disks, const char *path, GError **error)
{
    struct stat st, other;
    bool address = vv_is_address(path); /* another one of the same export is found by its label, when that is written */

    if (!address && stat(path, &st) < 0)
        return true;
    for (unsigned i = 0; i < disks->len; i++) {
        const NewDisk *disk = g_ptr_array_index(disks, i);

        if (address ? strcmp(path, disk->path) != 0 : stat(disk->path, &other) < 0 ||
            (S_ISBLK(st.st_mode) && S_ISBLK(other.st_mode) ? st.st_rdev != other.st_rdev
                                                           : st.st_dev != other.st_dev || st.st_ino != other.st_ino))
            continue;
        if (strcmp(path, disk->path) == 0)
            vv_set_error(error, VV_ERROR_USAGE, path, NULL, "%s is named twice: nothing was changed", path);
        else
            vv_set_error(error, VV_ERROR_USAGE, path, NULL, "%s and %s are the same disk: nothing was changed",
                disk->path, path);
        return false;
    }
    return true;
}

/* Check all disks and hold them; nothing is changed. NULL: one of them is refused. */
static GPtrArray *claim_disks(const VvPoolCreate *create, const VvUuid *pool_uuid, GError **error)
{
    static const char *const first[] = { FIRST_DISK, NULL };
    bool own = !create->disks || !create->disks[0];
    const char *const *paths = own ? first : create->disks;
    VvDiskFormat format = { .pool_directory = create->directory,
        .overwrite = create->overwrite,
        .create_bytes = own ? create->size_bytes : 0 };
    g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func(new_disk_free);

    for (unsigned i = 0; paths[i]; i++) {
        NewDisk *disk;
        g_autofree char *path = vv_pool_disk_path(create->directory, paths[i]);

        if (!refuse_twice(disks, path, error))
            return NULL;
        disk = g_new0(NewDisk, 1);
        disk->stored = paths[i];
        disk->name = new_disk_name(disks, paths[i]);
        disk->path = g_steal_pointer(&path);
        disk->make = own;
        disk->claim = vv_disk_claim(disk->path, &format, pool_uuid, error);
        g_ptr_array_add(disks, disk);
        if (!disk->claim)
            return NULL;
    }
    return g_steal_pointer(&disks);
}

static void undo_disks(GPtrArray *disks)
{
    for (unsigned i = 0; i < disks->len; i++) /* held disks cannot be opened */
        g_clear_pointer(&((NewDisk *) g_ptr_array_index(disks, i))->claim, vv_disk_claim_free);
    for (unsigned i = 0; i < disks->len; i++) {
        const NewDisk *disk = g_ptr_array_index(disks, i);

        if (!disk->written)
            continue;
        vv_disk_erase_label(disk->path, &disk->uuid, NULL);
        if (disk->make)
            (void) unlink(disk->path);
    }
}

static bool write_disk(
    VvMeta *meta, const VvPoolCreate *create, const VvUuid *pool_uuid, NewDisk *disk, VvOps *ops, GError **error)
{
    VvLabel label = { .pool_uuid = *pool_uuid, .disk_id = vv_meta_new_id(meta), .created_ns = vv_now_ns() };
    VvOp *op;

    vv_uuid_generate(&label.disk_uuid);
    g_strlcpy(label.pool_name, create->name, sizeof label.pool_name);
    g_strlcpy(label.disk_name, disk->name, sizeof label.disk_name);
    if (!vv_disk_claim_write(disk->claim, &label, error))
        return false;
    disk->uuid = label.disk_uuid;
    disk->written = true;
    op = vv_ops_add(ops, VV_OP_DISK_ADD);
    op->disk_add.id = label.disk_id;
    op->disk_add.uuid = label.disk_uuid;
    op->disk_add.name = g_strdup(disk->name);
    op->disk_add.path = g_strdup(disk->stored);
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

static void enter_node(VvOps *ops, const VvNodeRecord *node)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);

    vv_node_record_encode(node, body);
    op->member_set.kind = VV_MEMBER_NODE;
    op->member_set.id = node->id;
    op->member_set.body_bytes = body->len;
    op->member_set.body = g_byte_array_free(g_steal_pointer(&body), FALSE);
}

static bool make_disks(const VvPoolCreate *create, const VvUuid *pool_uuid, GPtrArray *disks, GError **error)
{
    g_autoptr(VvMeta) meta = vv_meta_open(create->directory, false, NULL, error);
    VvOps *ops;
    bool ok = true;

    if (!meta)
        return false;
    ops = vv_ops_new();
    for (unsigned i = 0; ok && i < disks->len; i++) {
        ok = write_disk(meta, create, pool_uuid, g_ptr_array_index(disks, i), ops, error);
        if (!ok && i > 0 && create->overwrite)
            g_prefix_error(error, "%u of %u disks have been erased, then ", i, disks->len);
    }
    if (create->first)
        enter_node(ops, create->first->node);
    ok = ok && log_disks(meta, ops, create->directory, error);
    if (!ok)
        undo_disks(disks);
    vv_ops_free(ops);
    return ok;
}

bool vv_pool_create_check(const VvPoolCreate *create, GError **error)
{
    static const VvUuid none;
    g_autoptr(GPtrArray) disks = NULL;

    if (!check_create(create, error))
        return false;
    if (g_file_test(create->directory, G_FILE_TEST_EXISTS) && !refuse_directory(create->directory, error))
        return false;
    if (!create->disks || !create->disks[0])
        return true;
    disks = claim_disks(create, &none, error);
    return disks;
}

bool vv_pool_create(const VvPoolCreate *create, GError **error)
{
    VvMetaCreate meta = { .name = create->name, .created_ns = vv_now_ns() };
    g_autoptr(GPtrArray) disks = NULL;
    vv_autofd int lock_fd = -1;
    bool made, ok;

    if (!check_create(create, error) || !make_directory(create->directory, &made, error))
        return false;
    lock_fd = vv_pool_take_lock(create->directory, 0, error);
    if (lock_fd < 0)
        return false;
    if (create->first)
        meta.uuid = create->first->uuid;
    else
        vv_uuid_generate(&meta.uuid);
    disks = claim_disks(create, &meta.uuid, error);
    ok = disks && (!create->first || create->first->prepare(create->first->user, create->directory, error)) && vv_meta_create(create->directory, &meta, error) && make_disks(create, &meta.uuid, disks, error);
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

void vv_destroyed_clear(VvDestroyed *destroyed)
{
    g_clear_pointer(&destroyed->disks, g_strfreev);
    g_clear_pointer(&destroyed->left, g_strfreev);
}

/* As they are stored. What creates leave behind when they are cut short is not in the metadata. */
static GPtrArray *stored_paths(const char *directory, VvMeta *meta)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *first = g_build_filename(directory, FIRST_DISK, NULL);

    if (meta) {
        VV_META_READ(meta);
        GPtrArray *disks = vv_meta_disks(meta);

        for (unsigned i = 0; i < disks->len; i++)
            g_ptr_array_add(paths, g_strdup(((const VvDiskInfo *) g_ptr_array_index(disks, i))->path));
    }
    if (!g_ptr_array_find_with_equal_func(paths, FIRST_DISK, g_str_equal, NULL) && g_file_test(first, G_FILE_TEST_EXISTS))
        g_ptr_array_add(paths, g_strdup(FIRST_DISK));
    return paths;
}

/* False: it is left as it is. */
static bool let_go(const char *stored, const char *path, const VvUuid *pool_uuid, bool dry_run)
{
    VvLabel label;

    if (!vv_disk_read_label(path, &label, NULL, NULL) || !vv_uuid_equal(&label.pool_uuid, pool_uuid))
        return false;
    if (dry_run)
        return true;
    return *stored != '/' && !vv_is_address(stored) ? unlink(path) == 0 : vv_disk_erase_label(path, &label.disk_uuid, NULL);
}

static void let_disks_go(const char *directory, const VvUuid *pool_uuid, bool dry_run, VvDestroyed *destroyed)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvMeta) meta = vv_meta_open(directory, true, NULL, &error);
    g_autoptr(GPtrArray) paths = stored_paths(directory, meta);
    g_autoptr(GStrvBuilder) disks = g_strv_builder_new(), left = g_strv_builder_new();
    VvSpaceSummary space = { 0 };

    destroyed->all_told = meta;
    if (meta)
        vv_meta_space(meta, &space);
    destroyed->freed_bytes = space.used_bytes;
    if (!meta)
        vv_log(VV_LOG_WARNING, "the metadata cannot be read (%s): labels of disks elsewhere are left", error->message);
    for (unsigned i = 0; i < paths->len; i++) {
        const char *stored = g_ptr_array_index(paths, i);
        g_autofree char *path = vv_pool_disk_path(directory, stored);

        g_strv_builder_add(let_go(stored, path, pool_uuid, dry_run) ? disks : left, path);
    }
    destroyed->disks = g_strv_builder_end(disks);
    destroyed->left = g_strv_builder_end(left);
}

bool vv_pool_destroy(const char *directory, bool dry_run, VvDestroyed *ret_destroyed, GError **error)
{
    g_auto(VvDestroyed) destroyed = { .disks = NULL };
    g_autofree char *absolute = g_canonicalize_filename(directory, NULL), *name = NULL;
    vv_autofd int lock_fd = -1;
    VvUuid uuid;

    if (!vv_meta_identify(absolute, &name, &uuid, error) || !refuse_mounted(absolute, name, error))
        return false;
    lock_fd = vv_pool_take_lock(absolute, END_WAIT_MS, error);
    if (lock_fd < 0)
        return false;
    let_disks_go(absolute, &uuid, dry_run, &destroyed);
    if (!dry_run) {
        remove_metadata(absolute);
        if (rmdir(absolute) < 0 && errno != ENOENT)
            vv_log(VV_LOG_NOTE, "%s is left: %s", absolute, g_strerror(errno));
    }
    if (ret_destroyed) {
        *ret_destroyed = destroyed;
        destroyed = (VvDestroyed){ .disks = NULL };
    }
    return true;
}

/* ---- check */

static void report_error(VvCheckFunc report, void *user, const char *code, const char *object, const GError *error)
{
    const char *hint = vv_error_get_hint(error);
    g_autofree char *name = g_strdup(object),
                    *message = hint ? g_strdup_printf("%s. %s", error->message, hint) : g_strdup(error->message);
    VvCheckError found = { .code = code, .object = name, .message = message };

    report(user, &found);
}

/* That the metadata does not open is what the check found, if the metadata is why: damaged, in parts not there (the pool is: it
 * has been identified), or not of one pool. Anything else (no permission, a newer format) kept it from looking. */
static bool is_finding(const GError *error)
{
    return g_error_matches(error, VV_ERROR, VV_ERROR_DAMAGED) || g_error_matches(error, VV_ERROR, VV_ERROR_NOT_FOUND) ||
           g_error_matches(error, VV_ERROR, VV_ERROR_CONFLICT);
}

/* Each disk is there, and is the one that the pool knows. */
static void check_disks(VvMeta *meta, const char *directory, const VvUuid *uuid, VvCheckFunc report, void *user)
{
    bool elsewhere = vv_meta_is_cluster(meta); /* what is not there may be another node's */
    const GPtrArray *disks;
    VV_META_READ(meta);

    disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *info = g_ptr_array_index(disks, i);
        g_autofree char *path = vv_pool_disk_path(directory, info->path);
        g_autoptr(GError) error = NULL;
        g_autoptr(VvDisk) disk = vv_is_node_address(path) ? NULL : vv_disk_open(path, uuid, &info->uuid, true, 0, &error);

        if (!disk && !vv_is_node_address(path) && !(elsewhere && g_error_matches(error, VV_ERROR, VV_ERROR_NOT_FOUND)))
            report_error(report, user, "disk", info->name, error);
    }
}

/* The map is compared before it opens, however large, so that damage to its checksums is told apart from damage to it. With @repair: those that
 * are lost are made anew. NULL: *ret_failure says why it does not open. */
static VvMeta *open_to_check(const char *directory, bool repair, const char *name, VvCheckFunc report, void *user, GError **ret_failure)
{
    g_autofree char *object = g_strdup(name),
                    *message = g_strdup("the checksums of the map were lost, and everything else is in order: they are made anew");
    VvCheckError made = { .code = "sums", .object = object, .message = message, .repaired = true };
    VvOpening opening = { .map_check = VV_MAP_WHOLE };
    VvMeta *meta = vv_meta_open_as(directory, !repair, NULL, &opening, ret_failure);
    g_autoptr(GError) why = NULL;

    if (meta || !repair || !is_finding(*ret_failure))
        return meta;
    if (!vv_meta_rebuild_sums(directory, &why)) {
        if (!g_error_matches(why, VV_ERROR, VV_ERROR_CONFLICT)) /* they are not lost */
            report_error(report, user, "damaged", name, why);
        return NULL;
    }
    g_clear_error(ret_failure);
    report(user, &made);
    return vv_meta_open_as(directory, false, NULL, &opening, ret_failure);
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
    if (!vv_serving_check(directory, error))
        return false;
    meta = open_to_check(directory, repair, name, report, user, &failure);
    if (!meta && is_finding(failure)) {
        report_error(report, user, "damaged", name, failure);
        return true;
    }
    if (!meta) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    repair = repair && !vv_meta_is_cluster(meta); /* or this node's map would not be the others' any more */
    check_disks(meta, directory, &uuid, report, user);
    vv_members_check(meta, report, user);
    result = vv_meta_check(meta, repair, report, user);
    if (result < 0)
        vv_set_error_errno(error, result, name, "pool %s could not be checked to the end", name);
    return result == 0;
}
