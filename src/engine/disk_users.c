/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who uses a file or a block device: mounts, swap, mapped devices, loop devices, locks.
 *
 * All of it is read from /proc and /sys by name and device number. No file that a FUSE server would have to answer for
 * is touched: the daemon itself may be asking. */
#include "disk_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <libmount.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define DEPTH_MAX 16u /* of devices on files on devices */

typedef struct libmnt_table MountTable;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountTable, mnt_unref_table)
typedef struct libmnt_iter MountIter;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountIter, mnt_free_iter)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DIR, closedir)

/* ---- /sys */

static char *sys_path(dev_t dev, const char *rest)
{
    return g_strdup_printf("/sys/dev/block/%u:%u/%s", major(dev), minor(dev), rest);
}

/* The first line of a file; NULL if there is none. */
static char *read_line(const char *path)
{
    char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static bool read_dev(const char *path, dev_t *ret_dev)
{
    unsigned a, b;
    g_autofree char *text = read_line(path);
    if (text == NULL || sscanf(text, "%u:%u", &a, &b) != 2)
        return false;
    *ret_dev = makedev(a, b);
    return true;
}

/* The names in a folder, without . and .. */
static GPtrArray *list_names(const char *path)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(DIR) dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            g_ptr_array_add(names, g_strdup(entry->d_name));
    return names;
}

/* @dev and its partitions; element type dev_t. */
static GArray *with_partitions(dev_t dev)
{
    GArray *devs = g_array_new(FALSE, FALSE, sizeof(dev_t));
    g_array_append_val(devs, dev);
    g_autofree char *folder = sys_path(dev, "");
    g_autoptr(GPtrArray) names = list_names(folder);
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *mark = g_build_filename(folder, name, "partition", NULL);
        g_autofree char *number = g_build_filename(folder, name, "dev", NULL);
        dev_t part;
        if (access(mark, F_OK) == 0 && read_dev(number, &part))
            g_array_append_val(devs, part);
    }
    return devs;
}

/* "sdb1": what the kernel calls it. */
static char *kernel_name(dev_t dev)
{
    g_autofree char *link = sys_path(dev, "");
    g_autofree char *target = realpath(link, NULL);
    return target ? g_path_get_basename(target) : g_strdup_printf("%u:%u", major(dev), minor(dev));
}

/* ---- mounts and swap */

static MountTable *read_mounts(void)
{
    return mnt_new_table_from_file("/proc/self/mountinfo");
}

/* The block device under a mounted file system; 0 if it has none. Btrfs shows a number of its own. */
static dev_t mounted_device(struct libmnt_fs *fs)
{
    dev_t dev = mnt_fs_get_devno(fs);
    const char *source = mnt_fs_get_srcpath(fs);
    struct stat st;
    if (major(dev) != 0)
        return dev;
    if (source && g_str_has_prefix(source, "/dev/") && stat(source, &st) == 0 && S_ISBLK(st.st_mode))
        return st.st_rdev;
    return 0;
}

static char *find_mount_point(MountTable *mounts, dev_t dev)
{
    struct libmnt_fs *fs;
    g_autoptr(MountIter) iter = mnt_new_iter(MNT_ITER_FORWARD);
    while (mnt_table_next_fs(mounts, iter, &fs) == 0)
        if (mounted_device(fs) == dev)
            return g_strdup(mnt_fs_get_target(fs));
    return NULL;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode) || S_ISBLK(b->st_mode))
        return S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_swap(const struct stat *st)
{
    struct libmnt_fs *fs;
    struct stat used;
    g_autoptr(MountTable) swaps = mnt_new_table();
    g_autoptr(MountIter) iter = mnt_new_iter(MNT_ITER_FORWARD);
    if (swaps == NULL || mnt_table_parse_swaps(swaps, NULL) != 0)
        return false;
    while (mnt_table_next_fs(swaps, iter, &fs) == 0) {
        const char *source = mnt_fs_get_source(fs);
        if (source && stat(source, &used) == 0 && is_same(st, &used))
            return true;
    }
    return false;
}

/* ---- mapped and loop devices */

static char *find_holder(dev_t dev)
{
    g_autofree char *folder = sys_path(dev, "holders");
    g_autoptr(GPtrArray) names = list_names(folder);
    if (names->len == 0)
        return NULL;
    const char *name = g_ptr_array_index(names, 0);
    g_autofree char *mapped_at = g_build_filename("/sys/block", name, "dm", "name", NULL);
    g_autofree char *mapped = read_line(mapped_at);
    return mapped ? g_strdup_printf("in use by the mapped device %s (%s)", mapped, name)
                  : g_strdup_printf("in use by the device %s", name);
}

/* May @path be looked at? Not what a FUSE server would have to answer for. */
static bool is_safe_to_stat(MountTable *mounts, const char *path)
{
    struct libmnt_fs *fs = mnt_table_find_mountpoint(mounts, path, MNT_ITER_BACKWARD);
    const char *type = fs ? mnt_fs_get_fstype(fs) : NULL;
    return type && !g_str_has_prefix(type, "fuse");
}

/* The loop device that stands on @st. */
static char *find_loop(MountTable *mounts, const struct stat *st, dev_t *ret_dev)
{
    g_autoptr(GPtrArray) names = list_names("/sys/block");
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *backing_at = g_build_filename("/sys/block", name, "loop", "backing_file", NULL);
        g_autofree char *number_at = g_build_filename("/sys/block", name, "dev", NULL);
        g_autofree char *backing = g_str_has_prefix(name, "loop") ? read_line(backing_at) : NULL;
        struct stat under;
        if (backing && is_safe_to_stat(mounts, backing) && stat(backing, &under) == 0 && is_same(st, &under) &&
            read_dev(number_at, ret_dev))
            return g_strdup_printf("/dev/%s", name);
    }
    return NULL;
}

/* ---- locks and openers */

/* The process that holds a flock; 0 if none can be told. */
static pid_t find_locker(const struct stat *st)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/locks", &text, NULL, NULL))
        return 0;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        int pid;
        unsigned a, b;
        unsigned long long inode;
        if (sscanf(*line, "%*s FLOCK %*s %*s %d %x:%x:%llu", &pid, &a, &b, &inode) == 4 && pid > 0 &&
            inode == st->st_ino && makedev(a, b) == st->st_dev)
            return pid;
    }
    return 0;
}

static char *name_process(const char *verb, const char *pid)
{
    g_autofree char *comm_at = g_build_filename("/proc", pid, "comm", NULL);
    g_autofree char *comm = read_line(comm_at);
    return comm ? g_strdup_printf("%s process %s (%s)", verb, pid, comm) : g_strdup_printf("%s process %s", verb, pid);
}

char *vv_disk_find_opener(const char *path)
{
    g_autofree char *wanted = realpath(path, NULL);
    g_autofree char *self = g_strdup_printf("%d", (int) getpid());
    g_autoptr(GPtrArray) pids = list_names("/proc");
    for (guint i = 0; wanted && i < pids->len; i++) {
        const char *pid = g_ptr_array_index(pids, i);
        if (!g_ascii_isdigit(pid[0]) || strcmp(pid, self) == 0)
            continue;
        g_autofree char *folder = g_build_filename("/proc", pid, "fd", NULL);
        g_autoptr(GPtrArray) fds = list_names(folder);
        for (guint j = 0; j < fds->len; j++) {
            g_autofree char *fd_at = g_build_filename(folder, g_ptr_array_index(fds, j), NULL);
            g_autofree char *open_path = g_file_read_link(fd_at, NULL);
            if (open_path && strcmp(open_path, wanted) == 0)
                return name_process("open in", pid);
        }
    }
    return NULL;
}

/* ---- together */

static char *find_device_user(MountTable *mounts, dev_t dev)
{
    struct stat st = { .st_mode = S_IFBLK, .st_rdev = dev };
    g_autofree char *mount_point = find_mount_point(mounts, dev);
    if (mount_point)
        return g_strdup_printf("mounted at %s", mount_point);
    if (is_swap(&st))
        return g_strdup("in use as swap space");
    return find_holder(dev);
}

char *vv_disk_find_user(const struct stat *st)
{
    dev_t loop_dev;
    g_autoptr(MountTable) mounts = read_mounts();
    if (mounts == NULL)
        return NULL;
    if (S_ISBLK(st->st_mode)) {
        g_autoptr(GArray) devs = with_partitions(st->st_rdev);
        for (guint i = 0; i < devs->len; i++) {
            dev_t dev = g_array_index(devs, dev_t, i);
            g_autofree char *user = find_device_user(mounts, dev);
            g_autofree char *name = kernel_name(dev);
            if (user)
                return i == 0 ? g_steal_pointer(&user) : g_strdup_printf("in use: its partition %s is %s", name, user);
        }
    } else if (is_swap(st)) {
        return g_strdup("in use as swap space");
    }
    g_autofree char *loop = find_loop(mounts, st, &loop_dev);
    if (loop) {
        g_autofree char *mount_point = find_mount_point(mounts, loop_dev);
        return g_strdup_printf("in use by the loop device %s%s%s", loop, mount_point ? ", mounted at " : "",
            mount_point ? mount_point : "");
    }
    pid_t pid = find_locker(st);
    if (pid > 0) {
        g_autofree char *number = g_strdup_printf("%d", (int) pid);
        return name_process("locked by", number);
    }
    return NULL;
}

/* ---- what stands on what */

static bool device_stands_on(MountTable *mounts, dev_t target, dev_t dev, unsigned depth);

static bool path_stands_on(MountTable *mounts, dev_t target, const char *path, unsigned depth)
{
    struct libmnt_fs *fs = mnt_table_find_mountpoint(mounts, path, MNT_ITER_BACKWARD);
    if (fs == NULL)
        return false;
    if (mnt_fs_get_devno(fs) == target)
        return true;
    dev_t dev = mounted_device(fs);
    return dev != 0 && device_stands_on(mounts, target, dev, depth + 1);
}

static bool device_stands_on(MountTable *mounts, dev_t target, dev_t dev, unsigned depth)
{
    if (depth > DEPTH_MAX)
        return true; /* nobody can say: refuse */
    g_autofree char *backing_at = sys_path(dev, "loop/backing_file");
    g_autofree char *backing = read_line(backing_at);
    if (backing)
        return path_stands_on(mounts, target, backing, depth + 1);

    dev_t lower;
    g_autofree char *partition_at = sys_path(dev, "partition");
    g_autofree char *whole_at = sys_path(dev, "../dev");
    if (access(partition_at, F_OK) == 0 && read_dev(whole_at, &lower))
        return device_stands_on(mounts, target, lower, depth + 1);

    g_autofree char *folder = sys_path(dev, "slaves");
    g_autoptr(GPtrArray) names = list_names(folder);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *number_at = g_build_filename(folder, g_ptr_array_index(names, i), "dev", NULL);
        if (read_dev(number_at, &lower) && device_stands_on(mounts, target, lower, depth + 1))
            return true;
    }
    return false;
}

static bool fd_stands_on(MountTable *mounts, int fd, dev_t target)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return false;
    if (S_ISBLK(st.st_mode))
        return device_stands_on(mounts, target, st.st_rdev, 0);
    if (st.st_dev == target)
        return true;
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *path = g_file_read_link(link, NULL);
    return path && path_stands_on(mounts, target, path, 0);
}

bool vv_disk_stands_on_device(int fd, dev_t target)
{
    g_autoptr(MountTable) mounts = read_mounts();
    return mounts && fd_stands_on(mounts, fd, target);
}

bool vv_disk_stands_on(int fd, const char *mount_point)
{
    g_autoptr(MountTable) mounts = read_mounts();
    g_autofree char *canonical = realpath(mount_point, NULL);
    if (mounts == NULL)
        return false;
    struct libmnt_fs *fs = mnt_table_find_target(mounts, canonical ? canonical : mount_point, MNT_ITER_BACKWARD);
    return fs && g_str_has_prefix(mnt_fs_get_fstype(fs), "fuse") && fd_stands_on(mounts, fd, mnt_fs_get_devno(fs));
}
