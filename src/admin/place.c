/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which pool: CLI.md section 2. A mount is known by its line in mountinfo, whose source is the pool directory; a pool
 * directory by its identity file. A path below a mount is compared, never opened: its daemon may hang. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "call.h"
#include "limits.h"
#include "util.h"

#define MOUNTINFO "/proc/self/mountinfo"
#define MOUNT_TYPE "fuse.vvfs"
#define IDENTITY_FILE "vvfs-pool"
#define IDENTITY_BYTES_MAX 4096

/* For tests: files in place of the system's. */
static const char *path_or(const char *variable, const char *path)
{
    const char *other = g_getenv(variable);

    return other && *other ? other : path;
}

void vv_place_free(VvPlace *place)
{
    g_free(place->directory);
    g_free(place->name);
    g_free(place->uuid);
    g_free(place->mountpoint);
    g_free(place);
}

static void mount_free(VvMount *mount)
{
    g_free(mount->mountpoint);
    g_free(mount->type);
    g_free(mount->source);
    g_free(mount);
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"; \040 and the like are decoded. */
static VvMount *mount_parse(const char *line)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", -1);
    guint count = g_strv_length(fields);
    unsigned major_number;
    unsigned minor_number;
    VvMount *mount;
    guint dash = 6;

    while (dash < count && strcmp(fields[dash], "-") != 0)
        dash++;
    if (dash + 2 >= count || sscanf(fields[2], "%u:%u", &major_number, &minor_number) != 2)
        return NULL;
    mount = g_new0(VvMount, 1);
    mount->device = makedev(major_number, minor_number);
    mount->mountpoint = g_strcompress(fields[4]);
    mount->type = g_strdup(fields[dash + 1]);
    mount->source = g_strcompress(fields[dash + 2]);
    return mount;
}

GPtrArray *vv_mounts_read(const char *path)
{
    GPtrArray *mounts = g_ptr_array_new_with_free_func((GDestroyNotify) mount_free);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path ? path : path_or("VVFS_MOUNTINFO", MOUNTINFO), &text, NULL, NULL))
        return mounts;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        VvMount *mount = mount_parse(*line);

        if (mount)
            g_ptr_array_add(mounts, mount);
    }
    return mounts;
}

/* The text after "KEY " of a line of the identity file, newly allocated. */
static char *identity_value(char **lines, const char *key)
{
    for (; *lines; lines++)
        if (g_str_has_prefix(*lines, key) && (*lines)[strlen(key)] == ' ')
            return g_strdup(*lines + strlen(key) + 1);
    return NULL;
}

VvPlace *vv_place_read(const char *directory)
{
    g_autoptr(VvPlace) place = g_new0(VvPlace, 1);
    g_autofree char *path = g_build_filename(directory, IDENTITY_FILE, NULL);
    g_autofree char *text = NULL;
    g_autofree char *version = NULL;
    g_auto(GStrv) lines = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, NULL) || length > IDENTITY_BYTES_MAX)
        return NULL;
    lines = g_strsplit(text, "\n", -1);
    version = identity_value(lines, "vvfs-pool");
    place->name = identity_value(lines, "name");
    place->uuid = identity_value(lines, "uuid");
    if (!version || !place->name || !vv_name_check(place->name, "pool", NULL))
        return NULL;
    place->directory = g_strdup(directory);
    return g_steal_pointer(&place);
}

/* The pool of a mount; if this user cannot read its directory, it is called as the directory is. */
static VvPlace *place_of_mount(const VvMount *mount)
{
    VvPlace *place = vv_place_read(mount->source);

    if (!place) {
        place = g_new0(VvPlace, 1);
        place->directory = g_strdup(mount->source);
        place->name = g_path_get_basename(mount->source);
    }
    place->mountpoint = g_strdup(mount->mountpoint);
    return place;
}

static VvPlace *find_directory(GPtrArray *places, const char *directory)
{
    for (unsigned i = 0; i < places->len; i++) {
        VvPlace *place = g_ptr_array_index(places, i);

        if (strcmp(place->directory, directory) == 0)
            return place;
    }
    return NULL;
}

static void add_pools_directory(GPtrArray *places)
{
    const char *parent = path_or("VVFS_POOLS_DIRECTORY", VV_POOLS_DIRECTORY);
    g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *directory = g_build_filename(parent, name, NULL);
        VvPlace *place = find_directory(places, directory) ? NULL : vv_place_read(directory);

        if (place)
            g_ptr_array_add(places, place);
    }
}

static int compare_places(gconstpointer a, gconstpointer b)
{
    const VvPlace *x = *(const VvPlace *const *) a;
    const VvPlace *y = *(const VvPlace *const *) b;
    int result = strcmp(x->name, y->name);

    return result ? result : strcmp(x->directory, y->directory);
}

GPtrArray *vv_places_list(bool all)
{
    GPtrArray *places = g_ptr_array_new_with_free_func((GDestroyNotify) vv_place_free);
    g_autoptr(GPtrArray) mounts = vv_mounts_read(NULL);

    for (unsigned i = 0; i < mounts->len; i++) {
        const VvMount *mount = g_ptr_array_index(mounts, i);

        if (strcmp(mount->type, MOUNT_TYPE) == 0 && !find_directory(places, mount->source)) /* bind mounts: once */
            g_ptr_array_add(places, place_of_mount(mount));
    }
    if (all)
        add_pools_directory(places);
    g_ptr_array_sort(places, compare_places);
    return places;
}

static bool is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Of several lines the longest mount point that @path is in. Newly allocated. */
static VvPlace *place_of_path(const char *path, bool exact)
{
    g_autoptr(GPtrArray) mounts = vv_mounts_read(NULL);
    const VvMount *best = NULL;

    for (unsigned i = 0; i < mounts->len; i++) {
        const VvMount *mount = g_ptr_array_index(mounts, i);
        bool in = exact ? strcmp(path, mount->mountpoint) == 0 : is_below(path, mount->mountpoint);

        if (in && strcmp(mount->type, MOUNT_TYPE) == 0 &&
            (!best || strlen(mount->mountpoint) >= strlen(best->mountpoint)))
            best = mount;
    }
    return best ? place_of_mount(best) : NULL;
}

/* The pool in a directory, and where it is mounted. */
static VvPlace *place_of_directory(const char *directory)
{
    g_autoptr(GPtrArray) mounted = vv_places_list(false);
    VvPlace *place = vv_place_read(directory);
    const VvPlace *same = find_directory(mounted, directory);

    if (!place && same) {
        place = g_new0(VvPlace, 1);
        place->directory = g_strdup(directory);
        place->name = g_strdup(same->name);
    }
    if (place && same)
        place->mountpoint = g_strdup(same->mountpoint);
    return place;
}

/* The file's second line: "self ID ROLE" (the daemon's node_setup.h). */
bool vv_place_is_witness(const VvPlace *place)
{
    g_autofree char *path = g_build_filename(place->directory, "nodes", NULL), *text = NULL;
    g_auto(GStrv) lines = g_file_get_contents(path, &text, NULL, NULL) ? g_strsplit(text, "\n", 3) : NULL;

    return lines && lines[0] && lines[1] && g_str_has_prefix(lines[1], "self ") && g_str_has_suffix(lines[1], " witness");
}

char *vv_place_mount_command(const VvPlace *place)
{
    g_autofree char *parent = g_path_get_dirname(place->directory);
    g_autofree char *base = g_path_get_basename(place->directory);
    bool by_name =
        strcmp(parent, path_or("VVFS_POOLS_DIRECTORY", VV_POOLS_DIRECTORY)) == 0 && strcmp(base, place->name) == 0;

    if (vv_place_is_witness(place))
        return g_strdup_printf("vvfs --witness %s", by_name ? place->name : place->directory);
    return g_strdup_printf(
        "vvfs %s %s", by_name ? place->name : place->directory, place->mountpoint ? place->mountpoint : "MOUNTPOINT");
}

static VvPlace *choose_path(const char *chosen, GError **error)
{
    g_autofree char *path = g_canonicalize_filename(chosen, NULL);
    VvPlace *place = place_of_path(path, true);
    g_autofree char *real = NULL;

    if (!place)
        place = place_of_directory(path);
    if (!place) {
        real = realpath(path, NULL); /* a symbolic link */
        place = real ? place_of_path(real, true) : NULL;
        if (real && !place)
            place = place_of_directory(real);
    }
    if (!place)
        vv_set_error(error, VV_ERROR_NOT_FOUND, chosen, "vvfs-admin pool list",
            "%s is neither a pool directory nor where a pool is mounted", path);
    return place;
}

static VvPlace *choose_name(const char *chosen, GError **error)
{
    g_autoptr(GPtrArray) mounted = vv_places_list(false);
    g_autofree char *standard = g_build_filename(path_or("VVFS_POOLS_DIRECTORY", VV_POOLS_DIRECTORY), chosen, NULL);
    g_autofree char *relative = g_canonicalize_filename(chosen, NULL);
    const VvPlace *found = NULL;
    VvPlace *place;

    for (unsigned i = 0; i < mounted->len; i++) {
        const VvPlace *other = g_ptr_array_index(mounted, i);

        if (strcmp(other->name, chosen) != 0)
            continue;
        if (found) {
            vv_set_error(error, VV_ERROR_CONFLICT, chosen, "`-p DIRECTORY` chooses one.",
                "two pools named %s are mounted, %s and %s", chosen, found->directory, other->directory);
            return NULL;
        }
        found = other;
    }
    if (found)
        return place_of_directory(found->directory);
    place = place_of_directory(standard);
    if (!place)
        place = place_of_directory(relative);
    if (!place)
        vv_set_error(error, VV_ERROR_NOT_FOUND, chosen, "vvfs-admin pool list",
            "no pool %s: it is neither mounted nor in %s", chosen, path_or("VVFS_POOLS_DIRECTORY", VV_POOLS_DIRECTORY));
    return place;
}

/* Nothing is mounted: say how to mount what there is. */
static void set_error_none(GError **error)
{
    g_autoptr(GPtrArray) places = vv_places_list(true);
    g_autofree char *hint =
        places->len == 1 ? vv_place_mount_command(g_ptr_array_index(places, 0)) : g_strdup("vvfs POOL MOUNTPOINT");

    vv_set_error(error, VV_ERROR_NO_DAEMON, NULL, hint, "no pool is mounted here");
}

static VvPlace *choose_without(GError **error)
{
    g_autoptr(GPtrArray) mounted = NULL;
    g_autofree char *cwd = g_get_current_dir();
    VvPlace *place = place_of_path(cwd, false);
    const VvPlace *first;

    if (place)
        return place;
    mounted = vv_places_list(false);
    if (mounted->len == 0) {
        set_error_none(error);
        return NULL;
    }
    first = g_ptr_array_index(mounted, 0);
    if (mounted->len > 1) {
        g_autoptr(GString) names = g_string_new(NULL);

        for (unsigned i = 0; i < mounted->len; i++) {
            const VvPlace *other = g_ptr_array_index(mounted, i);

            g_string_append_printf(names, "%s%s (%s)",
                i == 0                  ? ""
                : i + 1 == mounted->len ? " and "
                                        : ", ",
                other->name, other->mountpoint);
        }
        vv_set_error(error, VV_ERROR_CONFLICT, NULL, "`-p POOL` chooses one.", "%u pools are mounted here, %s",
            mounted->len, names->str);
        return NULL;
    }
    return place_of_directory(first->directory);
}

VvPlace *vv_place_choose(const char *chosen, GError **error)
{
    if (!chosen)
        return choose_without(error);
    if (!*chosen) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs-admin pool list", "the pool's name is empty");
        return NULL;
    }
    return strchr(chosen, '/') ? choose_path(chosen, error) : choose_name(chosen, error);
}

bool vv_place_need(VvInvocation *inv, GError **error)
{
    if (!inv->place)
        inv->place = vv_place_choose(inv->pool, error);
    return inv->place;
}
