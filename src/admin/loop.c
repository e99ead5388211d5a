/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop devices, by /sys and ioctl. The kernel's name of a backing file is the path it has now, or the last one with
 * " (deleted)"; a path alone is believed only without that, else device and inode must be the file's. Of a snapshot that went with
 * its LUN the kernel forgets to say so: see vv_loops_find. */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "call.h"
#include "util.h"

#define SYS_BLOCK "/sys/block"
#define DELETED " (deleted)"
#define ATTACH_TRIES 64        /* another program may take the free device first */
#define LET_GO_MS 2000u /* the device is refused for others only after this */
#define READY_TIMEOUT_MS 5000u /* for the kernel and udev to do what takes them milliseconds */
#define POLL_US 10000
#define HOLDER_DEPTH_MAX 8u /* partition, RAID, LVM, dm-crypt, ... */

char *vv_object_path(const char *mountpoint, const char *object)
{
    const char *at = strchr(object, '@');

    if (!at)
        return g_build_filename(mountpoint, "luns", object, NULL);
    return g_strdup_printf("%s/snapshots/%.*s/%s", mountpoint, (int) (at - object), object, at + 1);
}

char *vv_object_link(const char *pool, const char *object)
{
    return g_strdup_printf("/dev/vvfs/%s/%s", pool, object);
}

/* The first line of a file of /sys, newly allocated, or NULL. */
static char *read_attribute(const char *name, const char *attribute)
{
    g_autofree char *path = g_build_filename(SYS_BLOCK, name, attribute, NULL);
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_strchomp(text);
    return text;
}

/* ---- finding */

/* 1: it is over that file; 0: over another; -1: it cannot be told. */
static int compare_file(const char *name, const struct stat *file)
{
    g_autofree char *device = g_build_filename("/dev", name, NULL);
    struct loop_info64 info;
    vv_autofd int fd = open(device, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) != 0)
        return -1;
    return info.lo_inode == file->st_ino && info.lo_device == file->st_dev;
}

/* Does @backing lie beside @path: in the same tree of luns or snapshots? */
static bool in_same_mount(const char *backing, const char *path)
{
    const char *snapshots = g_strrstr(path, "/snapshots/");
    const char *luns = g_strrstr(path, "/luns/");
    const char *part = !snapshots || (luns && luns > snapshots) ? luns : snapshots; /* the mount point may have such parts too */
    size_t length;

    length = part ? (size_t) (part - path) + 1 : strlen(path);
    return strncmp(backing, path, length) == 0;
}

GPtrArray *vv_loops_find(const char *path, bool verify)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(SYS_BLOCK, 0, NULL);
    struct stat file;
    int known = -1; /* was stat tried? It asks the daemon, so only when there is a reason */
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *backing = g_str_has_prefix(name, "loop") ? read_attribute(name, "loop/backing_file") : NULL;
        bool is_it;

        if (!backing || !in_same_mount(backing, path))
            continue;
        is_it = strcmp(backing, path) == 0;
        if ((!is_it || verify) && known < 0)
            known = stat(path, &file) == 0;
        if (is_it ? !verify || known == 0 || compare_file(name, &file) != 0
                  : known > 0 && compare_file(name, &file) > 0)
            g_ptr_array_add(found, g_strdup(name));
    }
    return found;
}

/* ---- users */

static void user_free(VvLoopUser *user)
{
    g_free(user->device);
    g_free(user->mountpoint);
    g_free(user->type);
    g_free(user->holder);
    g_free(user);
}

static dev_t device_number(const char *sys_path)
{
    g_autofree char *path = g_build_filename(sys_path, "dev", NULL);
    g_autofree char *text = NULL;
    unsigned major_number;
    unsigned minor_number;

    if (!g_file_get_contents(path, &text, NULL, NULL) || sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
        return 0;
    return makedev(major_number, minor_number);
}

/* By its number, or by its source: Btrfs mounts have a number of their own. */
static bool is_mount_of(const VvMount *mount, dev_t device)
{
    struct stat source;

    if (mount->device == device)
        return true;
    return g_str_has_prefix(mount->source, "/dev/") && stat(mount->source, &source) == 0 && S_ISBLK(source.st_mode) &&
           source.st_rdev == device;
}

static void add_mounts(GPtrArray *users, GPtrArray *mounts, const char *name, dev_t device)
{
    for (unsigned i = 0; device != 0 && i < mounts->len; i++) {
        const VvMount *mount = g_ptr_array_index(mounts, i);
        VvLoopUser *user;

        if (!is_mount_of(mount, device))
            continue;
        user = g_new0(VvLoopUser, 1);
        user->device = g_strdup_printf("/dev/%s", name);
        user->mountpoint = g_strdup(mount->mountpoint);
        user->type = g_strdup(mount->type);
        g_ptr_array_add(users, user);
    }
}

/* The mounts of the device at @sys_path, of its partitions, and of what holds it. */
static void collect(GPtrArray *users, GPtrArray *mounts, const char *sys_path, unsigned depth)
{
    g_autofree char *name = g_path_get_basename(sys_path);
    g_autofree char *holders = g_build_filename(sys_path, "holders", NULL);
    g_autoptr(GDir) parts = g_dir_open(sys_path, 0, NULL);
    g_autoptr(GDir) above = g_dir_open(holders, 0, NULL);
    const char *entry;

    add_mounts(users, mounts, name, device_number(sys_path));
    while (depth < HOLDER_DEPTH_MAX && parts && (entry = g_dir_read_name(parts))) {
        g_autofree char *part = g_str_has_prefix(entry, name) ? g_build_filename(sys_path, entry, NULL) : NULL;

        if (part)
            collect(users, mounts, part, depth + 1);
    }
    while (depth < HOLDER_DEPTH_MAX && above && (entry = g_dir_read_name(above))) {
        g_autofree char *holder = g_build_filename(SYS_BLOCK, entry, NULL);
        VvLoopUser *user = g_new0(VvLoopUser, 1);

        user->device = g_strdup_printf("/dev/%s", name);
        user->holder = g_strdup(entry);
        g_ptr_array_add(users, user);
        collect(users, mounts, holder, depth + 1);
    }
}

GPtrArray *vv_loop_users(const char *name)
{
    GPtrArray *users = g_ptr_array_new_with_free_func((GDestroyNotify) user_free);
    g_autoptr(GPtrArray) mounts = vv_mounts_read(NULL);
    g_autofree char *path = g_build_filename(SYS_BLOCK, name, NULL);

    collect(users, mounts, path, 0);
    return users;
}

/* ---- attach */

static bool wait_until_ready(int fd)
{
    uint64_t deadline_ms = vv_monotonic_ms() + READY_TIMEOUT_MS;
    uint64_t size_bytes = 0;

    while (ioctl(fd, BLKGETSIZE64, &size_bytes) < 0 || size_bytes == 0) {
        if (vv_monotonic_ms() >= deadline_ms)
            return false;
        g_usleep(POLL_US);
    }
    return true;
}

/* Configure the free loop device @number; 0 or an errno (EBUSY: somebody was faster). */
static int configure(int number, int file_fd, const char *path, uint32_t flags, bool *ret_direct)
{
    g_autofree char *device = g_strdup_printf("/dev/loop%d", number);
    g_autofree char *name = g_strdup_printf("loop%d", number);
    g_autofree char *direct = NULL;
    struct loop_config config = { .fd = (uint32_t) file_fd, .info.lo_flags = flags };
    vv_autofd int fd = open(device, (flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC);

    if (fd < 0)
        return errno;
    g_strlcpy((char *) config.info.lo_file_name, path, LO_NAME_SIZE);
    if (ioctl(fd, LOOP_CONFIGURE, &config) < 0)
        return errno;
    if (!wait_until_ready(fd)) {
        ioctl(fd, LOOP_CLR_FD, 0);
        return ETIMEDOUT;
    }
    direct = read_attribute(name, "loop/dio");
    *ret_direct = g_strcmp0(direct, "1") == 0 || ioctl(fd, LOOP_SET_DIRECT_IO, 1ul) == 0;
    return 0;
}

bool vv_loop_attach(const char *path, bool read_only, bool partscan, char **ret_name, bool *ret_direct, GError **error)
{
    uint32_t flags = LO_FLAGS_DIRECT_IO | (read_only ? LO_FLAGS_READ_ONLY : 0) | (partscan ? LO_FLAGS_PARTSCAN : 0);
    vv_autofd int file_fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    vv_autofd int control_fd = -1;
    int number = -1;
    int err = EBUSY;

    if (file_fd < 0) {
        vv_set_error_errno(error, errno, path, "cannot open %s", path);
        return false;
    }
    control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control_fd < 0) {
        vv_set_error_errno(error, errno, path, "cannot make a loop device: /dev/loop-control");
        return false;
    }
    for (unsigned i = 0; i < ATTACH_TRIES && err == EBUSY; i++) {
        number = ioctl(control_fd, LOOP_CTL_GET_FREE);
        err = number < 0 ? errno : configure(number, file_fd, path, flags, ret_direct);
    }
    if (err) {
        vv_set_error_errno(error, err, path, "cannot make a loop device over %s", path);
        return false;
    }
    *ret_name = g_strdup_printf("loop%d", number);
    return true;
}

bool vv_loop_update_size(const char *name, GError **error)
{
    g_autofree char *device = g_build_filename("/dev", name, NULL);
    vv_autofd int fd = open(device, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && ioctl(fd, LOOP_SET_CAPACITY, 0) == 0)
        return true;
    vv_set_error_errno(error, errno, device, "%s keeps its old size", device);
    return false;
}

/* ---- detach */

/* The kernel takes the device away at its last close. If that does not come, it is told to keep it after all. */
static bool wait_until_gone(int fd, const char *name)
{
    uint64_t deadline_ms = vv_monotonic_ms() + READY_TIMEOUT_MS;
    struct loop_info64 info;

    for (;;) {
        g_autofree char *backing = read_attribute(name, "loop/backing_file");

        if (!backing)
            return true;
        if (vv_monotonic_ms() >= deadline_ms)
            break;
        g_usleep(POLL_US);
    }
    if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0) {
        info.lo_flags &= ~(uint32_t) LO_FLAGS_AUTOCLEAR;
        ioctl(fd, LOOP_SET_STATUS64, &info);
    }
    return false;
}

/* umount(2) may return a little before the file system has let go of its device. */
static int open_alone(const char *device)
{
    uint64_t deadline_ms = vv_monotonic_ms() + LET_GO_MS;
    int fd;

    while ((fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC)) < 0 && errno == EBUSY && vv_monotonic_ms() < deadline_ms)
        g_usleep(POLL_US);
    return fd;
}

/* A container that was started while a file system was mounted has a mount of its own of it, and keeps that. "at X for process 12 (name)". */
static char *mounted_elsewhere(const char *device)
{
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    struct stat file;
    const char *pid;

    while (processes && stat(device, &file) == 0 && (pid = g_dir_read_name(processes))) {
        g_autofree char *path = g_build_filename("/proc", pid, "mountinfo", NULL);
        g_autofree char *name_path = g_build_filename("/proc", pid, "comm", NULL);
        g_autofree char *name = NULL;
        g_autoptr(GPtrArray) mounts = NULL;

        if (!g_ascii_isdigit(*pid))
            continue;
        mounts = vv_mounts_read(path);
        for (unsigned i = 0; i < mounts->len; i++) {
            const VvMount *mount = g_ptr_array_index(mounts, i);

            if (!is_mount_of(mount, file.st_rdev))
                continue;
            if (g_file_get_contents(name_path, &name, NULL, NULL))
                g_strchomp(name);
            return g_strdup_printf("at %s for process %s (%s)", mount->mountpoint, pid, name ? name : "?");
        }
    }
    return NULL;
}

bool vv_loop_detach(const char *name, GError **error)
{
    g_autofree char *device = g_build_filename("/dev", name, NULL);
    vv_autofd int fd = open_alone(device);

    if (fd < 0 && errno == EBUSY) {
        g_autofree char *where = mounted_elsewhere(device);

        if (where)
            vv_set_error(error, VV_ERROR_BUSY, device, NULL,
                "%s is still mounted in another mount namespace, %s: end that process, or umount it there", device, where);
        else
            vv_set_error(error, VV_ERROR_BUSY, device, NULL, "%s is in use, as swap space or by another driver", device);
        return false;
    }
    if (fd < 0 || ioctl(fd, LOOP_CLR_FD, 0) < 0) {
        vv_set_error_errno(error, errno, device, "cannot detach %s", device);
        return false;
    }
    vv_close_fd(&fd);
    if (wait_until_gone(-1, name))
        return true;
    fd = open(device, O_RDONLY | O_CLOEXEC);
    wait_until_gone(fd, name);
    vv_set_error(error, VV_ERROR_BUSY, device, NULL, "a process has %s open", device);
    return false;
}

/* ---- links */

static bool has_udev_rule(void)
{
    static const char *const folders[] = { "/run/udev/rules.d", "/etc/udev/rules.d", "/usr/local/lib/udev/rules.d",
        "/lib/udev/rules.d" };

    for (unsigned i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(folders[i], "60-vvfs.rules", NULL);

        if (g_file_test(path, G_FILE_TEST_EXISTS) && g_file_test("/run/udev/control", G_FILE_TEST_EXISTS))
            return true;
    }
    return false;
}

static bool leads_to(const char *link, const char *name)
{
    g_autofree char *target = g_file_read_link(link, NULL);
    g_autofree char *base = target ? g_path_get_basename(target) : NULL;

    return g_strcmp0(base, name) == 0;
}

bool vv_loop_link(const char *link, const char *name, GError **error)
{
    uint64_t deadline_ms = vv_monotonic_ms() + READY_TIMEOUT_MS;
    g_autofree char *folder = g_path_get_dirname(link);
    g_autofree char *target = g_strdup_printf("../../%s", name);
    g_autofree char *temporary = g_strdup_printf("%s.%s", link, name);

    while (has_udev_rule() && !leads_to(link, name) && vv_monotonic_ms() < deadline_ms)
        g_usleep(POLL_US);
    if (leads_to(link, name))
        return true;
    unlink(temporary);
    if (g_mkdir_with_parents(folder, 0755) < 0 || symlink(target, temporary) < 0 || rename(temporary, link) < 0) {
        vv_set_error_errno(error, errno, link, "cannot make the link %s", link);
        return false;
    }
    return true;
}

void vv_loop_unlink(const char *link, const char *name)
{
    g_autofree char *folder = g_path_get_dirname(link);

    if (leads_to(link, name))
        unlink(link);
    rmdir(folder); /* the last one of the pool */
}

bool vv_loop_print_link(const char *device, GError **error)
{
    g_autofree char *name = g_path_get_basename(device);
    char *part = strlen(name) > 4 ? strchr(name + 4, 'p') : NULL;
    g_autofree char *backing = NULL;
    g_autoptr(GPtrArray) places = vv_places_list(false);

    if (part)
        *part++ = '\0';
    backing = read_attribute(name, "loop/backing_file");
    for (unsigned i = 0; backing && i < places->len; i++) {
        const VvPlace *place = g_ptr_array_index(places, i);
        size_t length = strlen(place->mountpoint);
        const char *rest = strncmp(backing, place->mountpoint, length) == 0 ? backing + length : "";
        g_autofree char *lun = g_str_has_prefix(rest, "/luns/") ? g_strdup(rest + strlen("/luns/")) : NULL;
        g_autofree char *snapshot =
            g_str_has_prefix(rest, "/snapshots/") ? g_strdup(rest + strlen("/snapshots/")) : NULL;
        const char *object = lun ? lun : snapshot;

        if (!object || g_str_has_suffix(object, DELETED))
            continue;
        if (snapshot)
            g_strdelimit(snapshot, "/", '@');
        printf("vvfs/%s/%s%s%s\n", place->name, object, part ? "-part" : "", part ? part : "");
        return true;
    }
    vv_set_error(error, VV_ERROR_NOT_FOUND, device, NULL,
        "%s is no loop device over a LUN or snapshot that is mounted here", device);
    return false;
}
