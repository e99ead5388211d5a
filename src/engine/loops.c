/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop devices over a file, and what stands on them, from /sys and /proc alone: the server of a mount must open neither the
 * devices over its files nor paths under itself. */
#include "openers.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DELETED " (deleted)"
#define HOLDER_DEPTH_MAX 8u /* partition, crypt, LVM, multipath ... */

void vv_loop_free(VvLoop *loop)
{
    if (!loop)
        return;
    g_free(loop->device);
    g_free(loop->mountpoint);
    g_free(loop->holder);
    g_free(loop);
}

/* The first line of a small file, or NULL. */
static char *read_line(const char *path)
{
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_strdelimit(text, "\n", '\0');
    return text;
}

char *vv_process_name(const char *proc, pid_t pid)
{
    g_autofree char *path = g_strdup_printf("%s/%d/comm", proc, (int) pid);

    return pid > 0 ? read_line(path) : NULL;
}

bool vv_process_has_open(const char *proc, pid_t pid, const char *path)
{
    g_autofree char *folder = g_strdup_printf("%s/%d/fd", proc, (int) pid);
    g_autoptr(GDir) dir = pid > 0 ? g_dir_open(folder, 0, NULL) : NULL;
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *link = g_build_filename(folder, name, NULL);
        g_autofree char *target = g_file_read_link(link, NULL);

        if (target && g_str_has_suffix(target, DELETED))
            target[strlen(target) - strlen(DELETED)] = '\0';
        if (g_strcmp0(target, path) == 0)
            return true;
    }
    return false;
}

/* ---- what is mounted: by device number, and by source since Btrfs shows no device number */

typedef struct {
    GHashTable *by_number; /* "major:minor" -> mount point */
    GHashTable *by_source; /* "/dev/x" -> mount point, or "[SWAP]" */
} Mounts;

static void mounts_clear(Mounts *mounts)
{
    g_clear_pointer(&mounts->by_number, g_hash_table_unref);
    g_clear_pointer(&mounts->by_source, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Mounts, mounts_clear)

/* 36 35 98:0 /root /mnt/point options [optional fields] - type source options */
static void add_mount(Mounts *mounts, const char *line)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", -1);
    unsigned count = g_strv_length(fields), dash = 6;
    char *point;

    while (dash < count && strcmp(fields[dash], "-") != 0)
        dash++;
    if (dash + 2 >= count)
        return;
    point = g_strcompress(fields[4]); /* blanks are \040 */
    g_hash_table_insert(mounts->by_number, g_strdup(fields[2]), point);
    g_hash_table_insert(mounts->by_source, g_strcompress(fields[dash + 2]), g_strdup(point));
}

static void read_mounts(Mounts *mounts, const char *proc)
{
    g_autofree char *path = g_strdup_printf("%s/self/mountinfo", proc), *swaps = g_strdup_printf("%s/swaps", proc);
    g_autofree char *text = NULL, *swap_text = NULL;
    g_auto(GStrv) lines = NULL, swap_lines = NULL;

    mounts->by_number = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    mounts->by_source = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (g_file_get_contents(path, &text, NULL, NULL)) {
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++)
            add_mount(mounts, *line);
    }
    if (g_file_get_contents(swaps, &swap_text, NULL, NULL)) {
        swap_lines = g_strsplit(swap_text, "\n", -1);
        for (char **line = swap_lines; *line; line++) {
            g_autofree char *device = g_strndup(*line, strcspn(*line, " \t"));

            if (g_str_has_prefix(device, "/dev/"))
                g_hash_table_insert(mounts->by_source, g_steal_pointer(&device), g_strdup("[SWAP]"));
        }
    }
}

/* ---- one device and all that stands on it */

typedef struct {
    const char *sys;
    const Mounts *mounts;
    VvLoop *loop;
} Walk;

static void look_for_mount(Walk *walk, const char *folder, const char *name)
{
    g_autofree char *dev_path = g_build_filename(folder, "dev", NULL), *number = read_line(dev_path);
    g_autofree char *source = g_strdup_printf("/dev/%s", name), *dm_path = g_build_filename(folder, "dm", "name", NULL);
    g_autofree char *dm_name = read_line(dm_path);
    const char *point = number ? g_hash_table_lookup(walk->mounts->by_number, number) : NULL;

    if (!point)
        point = g_hash_table_lookup(walk->mounts->by_source, source);
    if (!point && dm_name) {
        g_autofree char *mapped = g_strdup_printf("/dev/mapper/%s", dm_name);

        point = g_hash_table_lookup(walk->mounts->by_source, mapped);
    }
    if (point && !walk->loop->mountpoint)
        walk->loop->mountpoint = g_strdup(point);
    if (!walk->loop->holder && strcmp(source + strlen("/dev/"), walk->loop->device + strlen("/dev/")) != 0 &&
        !g_str_has_prefix(name, "loop"))
        walk->loop->holder = g_strdup(dm_name ? dm_name : name);
}

static void walk_device(Walk *walk, const char *folder, const char *name, unsigned depth)
{
    g_autofree char *holders = g_build_filename(folder, "holders", NULL);
    g_autoptr(GDir) dir = NULL;
    const char *child;

    look_for_mount(walk, folder, name);
    if (depth >= HOLDER_DEPTH_MAX)
        return;
    dir = g_dir_open(holders, 0, NULL);
    while (dir && (child = g_dir_read_name(dir))) {
        g_autofree char *next = g_build_filename(walk->sys, "class", "block", child, NULL);

        walk_device(walk, next, child, depth + 1);
    }
    g_clear_pointer(&dir, g_dir_close);
    dir = g_dir_open(folder, 0, NULL); /* partitions: folders that begin with the device's name */
    while (dir && (child = g_dir_read_name(dir))) {
        g_autofree char *next = g_build_filename(folder, child, NULL);

        if (g_str_has_prefix(child, name) && g_file_test(next, G_FILE_TEST_IS_DIR))
            walk_device(walk, next, child, depth + 1);
    }
}

GPtrArray *vv_loops_find(const char *sys, const char *proc, const char *path)
{
    GPtrArray *loops = g_ptr_array_new_with_free_func((GDestroyNotify) vv_loop_free);
    g_autofree char *block = g_build_filename(sys, "block", NULL);
    g_autoptr(GDir) dir = g_dir_open(block, 0, NULL);
    g_auto(Mounts) mounts = { .by_number = NULL };
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *folder = g_build_filename(block, name, NULL);
        g_autofree char *backing_path = g_build_filename(folder, "loop", "backing_file", NULL), *backing = NULL,
                        *ro = NULL;
        g_autofree char *ro_path = g_build_filename(folder, "ro", NULL);
        Walk walk;

        if (!g_str_has_prefix(name, "loop"))
            continue;
        backing = read_line(backing_path);
        if (backing && g_str_has_suffix(backing, DELETED))
            backing[strlen(backing) - strlen(DELETED)] = '\0';
        if (g_strcmp0(backing, path) != 0)
            continue;
        if (!mounts.by_number)
            read_mounts(&mounts, proc);
        ro = read_line(ro_path);
        walk = (Walk){ .sys = sys, .mounts = &mounts, .loop = g_new0(VvLoop, 1) };
        walk.loop->device = g_strdup_printf("/dev/%s", name);
        walk.loop->write = g_strcmp0(ro, "1") != 0;
        walk_device(&walk, folder, name, 0);
        g_ptr_array_add(loops, walk.loop);
    }
    return loops;
}
