/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making something a disk of a pool, and letting it go again.
 *
 * F1  Everything is checked before anything is written, on the same open file description that is then written to, with
 *     the lock and (block devices) the exclusive claim held from before the first check to after the last write: that is
 *     what a VvDiskClaim is. Who makes several disks claims all of them before the first is written.
 * F2  A file that was made here is removed again if anything fails. */
#include "disk_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#define BEATS_POLL_MS 500u
#define UNCHANGED "nothing was changed"
#define HINT_OVERWRITE "`--overwrite` erases it."

struct VvDiskClaim {
    char *path;      /* owned */
    VvMedium medium; /* owned; a file is locked and held; neither: a file that vv_disk_claim_write makes */
    bool overwrite;
    uint64_t size_bytes;
};

/* ---- checks */

static bool check_size(const char *path, uint64_t size_bytes, GError **error)
{
    if (size_bytes >= VV_DISK_BYTES_MIN)
        return true;
    g_autofree char *has = vv_size_format(size_bytes), *least = vv_size_format(VV_DISK_BYTES_MIN);
    vv_set_error(
        error, VV_ERROR_USAGE, path, NULL, "%s is too small: a disk has at least %s, not %s", path, least, has);
    return false;
}

static bool check_not_own_lun(const char *path, int fd, const VvDiskFormat *format, GError **error)
{
    if (format->mount_point == NULL || !vv_disk_stands_on(fd, format->mount_point))
        return true;
    vv_set_error(error, VV_ERROR_IN_USE_DEVICE, path, NULL,
        "%s stands on a LUN of this pool (mounted at %s): " UNCHANGED, path, format->mount_point);
    return false;
}

/* Is @fd the only opener of a regular file? A write lease is given to nobody else. */
static bool is_open_elsewhere(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
        (void) fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN; /* other errors: the file system has no leases */
}

static void set_in_use_error(GError **error, const char *path, const char *otherwise)
{
    g_autofree char *opener = vv_disk_find_opener(path);
    vv_set_error(error, VV_ERROR_IN_USE_DEVICE, path, NULL, "%s is %s: " UNCHANGED, path, opener ? opener : otherwise);
}

static bool check_block_device(const char *path, GError **error)
{
    int read_only = 0;
    uint32_t zone_sectors = 0;
    vv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        vv_set_error_errno(error, errno, path, "%s cannot be opened", path);
        return false;
    }
    if (ioctl(fd, BLKROGET, &read_only) == 0 && read_only) {
        vv_set_error(error, VV_ERROR_DENIED, path, NULL, "%s is read-only", path);
        return false;
    }
    if (ioctl(fd, BLKGETZONESZ, &zone_sectors) == 0 && zone_sectors != 0) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, NULL, "%s is a zoned device: these are not supported", path);
        return false;
    }
    return true;
}

/* Open @path for us alone, or say who has it. -1: refused. */
static int open_alone(const char *path, GError **error)
{
    struct stat st;
    if (!vv_disk_stat(path, &st, error))
        return -1;
    g_autofree char *user = vv_disk_find_user(&st);
    if (user) {
        vv_set_error(error, VV_ERROR_IN_USE_DEVICE, path, NULL, "%s is %s: " UNCHANGED, path, user);
        return -1;
    }
    bool block_device = S_ISBLK(st.st_mode);
    if (block_device && !check_block_device(path, error))
        return -1;
    vv_autofd int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (block_device ? O_EXCL : 0));
    if (fd < 0 && errno == EBUSY) {
        set_in_use_error(error, path, "in use by the kernel or another process (exclusive open failed)");
        return -1;
    }
    if (fd < 0) {
        vv_set_error_errno(error, errno, path, "%s cannot be opened for writing", path);
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || (!block_device && is_open_elsewhere(fd))) {
        set_in_use_error(error, path, "open in another process");
        return -1;
    }
    return g_steal_fd(&fd);
}

/* Does somebody use what has no lock? Waits for two beats. What cannot be read is not ours to erase. */
static bool beats(const VvMedium *medium)
{
    uint64_t deadline_ms = vv_monotonic_ms() + VV_LINK_BEATS_WAIT_MS;
    g_autofree uint8_t *first = g_malloc(VV_BLOCK_BYTES), *now = g_malloc(VV_BLOCK_BYTES);
    bool beats = vv_medium_read(medium, first, VV_BLOCK_BYTES, VV_BEAT_AT) != 0;
    while (!beats && vv_monotonic_ms() < deadline_ms) {
        g_usleep(BEATS_POLL_MS * 1000);
        beats = vv_medium_read(medium, now, VV_BLOCK_BYTES, VV_BEAT_AT) != 0 || memcmp(first, now, VV_BLOCK_BYTES) != 0;
    }
    return beats;
}

/* A label that is there already, good or not. */
static bool check_label(
    const char *path, const VvMedium *medium, const VvDiskFormat *format, const VvUuid *pool_uuid, GError **error)
{
    VvLabelPair pair;
    int rc = vv_label_pair_read(medium, &pair);
    if (rc == -ENODATA)
        return true;
    if (rc == -EIO) {
        vv_set_error(error, VV_ERROR_IO, path, NULL, "%s cannot be read", path);
        return false;
    }
    if (rc == 0 && vv_uuid_equal(&pair.label.pool_uuid, pool_uuid)) {
        vv_set_error(error, VV_ERROR_EXISTS, path, NULL, "%s is disk %s of this pool already: " UNCHANGED, path,
            pair.label.disk_name);
        return false;
    }
    if (format->overwrite && rc == 0 && medium->remote && beats(medium)) {
        vv_set_error(error, VV_ERROR_IN_USE_DEVICE, path, NULL, "%s is disk %s of the pool %s, which is in use: " UNCHANGED, path,
            pair.label.disk_name, pair.label.pool_name);
        return false;
    }
    if (format->overwrite)
        return true;
    if (rc == 0)
        vv_set_error(error, VV_ERROR_EXISTS, path, HINT_OVERWRITE, "%s is disk %s of the pool %s: " UNCHANGED, path,
            pair.label.disk_name, pair.label.pool_name);
    else
        vv_set_error(error, VV_ERROR_EXISTS, path, HINT_OVERWRITE, "%s holds a vvfs label that %s: " UNCHANGED, path,
            rc == -EUCLEAN ? "is damaged" : "is of a newer format");
    return false;
}

/* A file or an export is seldom empty by chance: one that starts with anything is somebody's. */
static bool starts_with_data(const VvMedium *medium)
{
    bool found = true;
    void *data = g_malloc(VV_LABEL_BYTES);
    if (vv_medium_read(medium, data, VV_LABEL_BYTES, 0) == 0)
        found = !vv_is_zero(data, VV_LABEL_BYTES);
    g_free(data);
    return found;
}

static bool check_contents(
    const char *path, const VvMedium *medium, bool block_device, uint64_t size_bytes, GError **error)
{
    g_autofree char *signature = vv_medium_find_signature(medium, size_bytes);
    if (signature == NULL && !block_device && starts_with_data(medium))
        signature = g_strdup("data of unknown kind");
    if (signature == NULL)
        return true;
    vv_set_error(error, VV_ERROR_IN_USE_DEVICE, path, HINT_OVERWRITE, "%s holds %s: " UNCHANGED, path, signature);
    return false;
}

/* ---- writing */

static int zero_label_area(const VvMedium *medium)
{
    void *zeroes = g_malloc0(VV_LABEL_BYTES);
    int rc = vv_medium_write(medium, zeroes, VV_LABEL_BYTES, 0);
    g_free(zeroes);
    return rc == 0 ? vv_medium_sync(medium) : rc;
}

/* There is no lock on a remote medium: somebody else may have labelled it since it was claimed, or we, under another address. */
static bool check_again(const char *path, const VvMedium *medium, bool overwrite, const VvLabel *label, GError **error)
{
    VvLabelPair pair;
    if (medium->remote == NULL || vv_label_pair_read(medium, &pair) != 0)
        return true;
    if (vv_uuid_equal(&pair.label.pool_uuid, &label->pool_uuid)) {
        vv_set_error(error, VV_ERROR_USAGE, path, NULL, "%s is disk %s of this pool already, under another address", path,
            pair.label.disk_name);
        return false;
    }
    if (overwrite)
        return true;
    vv_set_error(error, VV_ERROR_EXISTS, path, NULL, "%s has just become disk %s of the pool %s: " UNCHANGED, path,
        pair.label.disk_name, pair.label.pool_name);
    return false;
}

static bool write_disk(const char *path, const VvMedium *medium, bool overwrite, const VvLabel *label, GError **error)
{
    if (!check_again(path, medium, overwrite, label, error))
        return false;
    int rc = overwrite ? vv_medium_wipe_signatures(medium, label->size_bytes) : 0;
    if (rc < 0) {
        vv_set_error_errno(error, rc, path, "what %s holds cannot be erased", path);
        return false;
    }
    rc = zero_label_area(medium);
    if (rc == 0)
        rc = vv_label_pair_write(medium, label);
    if (rc < 0) {
        vv_set_error_errno(error, rc, path, "the label of %s cannot be written", path);
        return false;
    }
    if (overwrite && medium->fd >= 0)
        (void) ioctl(medium->fd, BLKRRPART); /* the partitions that were there; a file or a partition has none */
    return true;
}

/* Fills medium and size_bytes of @claim. */
static bool claim_remote(VvDiskClaim *claim, const VvDiskFormat *format, const VvUuid *pool_uuid, GError **error)
{
    const char *path = claim->path;
    VvMedium *medium = &claim->medium;
    medium->remote = vv_remote_open(path, false, 0, error);
    if (medium->remote == NULL)
        return false;
    uint64_t size_bytes = medium->remote->ops->bytes(medium->remote);
    if (!check_size(path, size_bytes, error) || !check_label(path, medium, format, pool_uuid, error))
        return false;
    if (!format->overwrite && !check_contents(path, medium, false, size_bytes, error))
        return false;
    claim->size_bytes = size_bytes - size_bytes % VV_BLOCK_BYTES;
    return true;
}

/* The same. */
static bool claim_existing(VvDiskClaim *claim, const VvDiskFormat *format, const VvUuid *pool_uuid, GError **error)
{
    const char *path = claim->path;
    struct stat st;
    uint64_t size_bytes;
    /* Before it is really opened: to open a LUN of this pool this daemon would wait for itself. */
    vv_autofd int path_fd = open(path, O_PATH | O_CLOEXEC);
    if (path_fd >= 0 && !check_not_own_lun(path, path_fd, format, error))
        return false;
    vv_autofd int fd = open_alone(path, error);
    if (fd < 0 || !vv_disk_examine(fd, path, &st, &size_bytes, error))
        return false;
    VvMedium medium = { .fd = fd };
    if (!check_size(path, size_bytes, error) || !check_label(path, &medium, format, pool_uuid, error))
        return false;
    if (!format->overwrite && !check_contents(path, &medium, S_ISBLK(st.st_mode), size_bytes, error))
        return false;
    claim->size_bytes = size_bytes - size_bytes % VV_BLOCK_BYTES;
    claim->medium.fd = g_steal_fd(&fd);
    return true;
}

/* ---- a sparse file */

static bool fill_created(const char *path, const char *folder, int fd, const VvLabel *label, GError **error)
{
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        vv_set_error_errno(error, errno, path, "%s cannot be locked", path);
        return false;
    }
    if (ftruncate(fd, (off_t) label->size_bytes) < 0) {
        g_autofree char *size = vv_size_format(label->size_bytes);
        vv_set_error_errno(error, errno, path, "%s cannot have %s", path, size);
        return false;
    }
    VvMedium medium = { .fd = fd };
    int rc = vv_label_pair_write(&medium, label);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (rc == 0)
        rc = vv_sync_directory(folder);
    if (rc < 0)
        vv_set_error_errno(error, rc, path, "the label of %s cannot be written", path);
    return rc == 0;
}

static bool set_exists_error(const char *path, GError **error)
{
    vv_set_error(
        error, VV_ERROR_EXISTS, path, "without a size what is there is used", "%s exists already: " UNCHANGED, path);
    return false;
}

static bool claim_created(VvDiskClaim *claim, const VvDiskFormat *format, GError **error)
{
    const char *path = claim->path;
    struct stat st;
    if (vv_is_address(path)) {
        vv_set_error(error, VV_ERROR_USAGE, path, "without a size what is there is used",
            "%s is not made here: its server decides how large it is", path);
        return false;
    }
    if (!check_size(path, format->create_bytes, error))
        return false;
    g_autofree char *folder = g_path_get_dirname(path);
    vv_autofd int folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) {
        vv_set_error_errno(error, errno, path, "%s", folder);
        return false;
    }
    if (!check_not_own_lun(path, folder_fd, format, error))
        return false;
    if (lstat(path, &st) == 0)
        return set_exists_error(path, error);
    claim->size_bytes = format->create_bytes - format->create_bytes % VV_BLOCK_BYTES;
    return true;
}

static bool write_created(const VvDiskClaim *claim, const VvLabel *label, GError **error)
{
    const char *path = claim->path;
    g_autofree char *folder = g_path_get_dirname(path);
    vv_autofd int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return set_exists_error(path, error);
    if (fd < 0) {
        vv_set_error_errno(error, errno, path, "%s cannot be made", path);
        return false;
    }
    if (fill_created(path, folder, fd, label, error))
        return true;
    (void) unlink(path); /* F2 */
    return false;
}

/* ---- in and out */

VvDiskClaim *vv_disk_claim(const char *path, const VvDiskFormat *format, const VvUuid *pool_uuid, GError **error)
{
    g_autoptr(VvDiskClaim) claim = g_new0(VvDiskClaim, 1);
    claim->path = g_strdup(path);
    claim->medium.fd = -1;
    claim->overwrite = format->overwrite;
    if (format->create_bytes         ? claim_created(claim, format, error)
            : vv_is_address(path) ? claim_remote(claim, format, pool_uuid, error)
                                      : claim_existing(claim, format, pool_uuid, error))
        return g_steal_pointer(&claim);
    return NULL;
}

bool vv_disk_claim_write(VvDiskClaim *claim, VvLabel *label, GError **error)
{
    VvLabel wanted = *label;
    wanted.size_bytes = claim->size_bytes;
    bool made = claim->medium.fd < 0 && claim->medium.remote == NULL;
    if (made ? !write_created(claim, &wanted, error)
             : !write_disk(claim->path, &claim->medium, claim->overwrite, &wanted, error))
        return false;
    label->size_bytes = claim->size_bytes;
    return true;
}

void vv_disk_claim_free(VvDiskClaim *claim)
{
    vv_close_fd(&claim->medium.fd);
    vv_remote_free(claim->medium.remote);
    g_free(claim->path);
    g_free(claim);
}

bool vv_disk_format(const char *path, const VvDiskFormat *format, VvLabel *label, GError **error)
{
    g_autoptr(VvDiskClaim) claim = vv_disk_claim(path, format, &label->pool_uuid, error);
    return claim && vv_disk_claim_write(claim, label, error);
}

static bool erase_label(const char *path, const VvMedium *medium, const VvUuid *disk_uuid, GError **error)
{
    VvLabelPair pair;
    int rc = vv_label_pair_read(medium, &pair);
    if (rc < 0) {
        vv_label_set_error(error, rc, path);
        return false;
    }
    if (!vv_uuid_equal(&pair.label.disk_uuid, disk_uuid)) {
        vv_set_error(error, VV_ERROR_CONFLICT, path, NULL, "%s is now disk %s of the pool %s: " UNCHANGED, path,
            pair.label.disk_name, pair.label.pool_name);
        return false;
    }
    rc = zero_label_area(medium);
    if (rc < 0)
        vv_set_error_errno(error, rc, path, "the label of %s cannot be erased", path);
    return rc == 0;
}

bool vv_disk_erase_label(const char *path, const VvUuid *disk_uuid, GError **error)
{
    bool remote = vv_is_address(path);
    VvMedium medium = { .fd = remote ? -1 : open_alone(path, error),
        .remote = remote ? vv_remote_open(path, false, 0, error) : NULL };
    bool ok = (medium.fd >= 0 || medium.remote) && erase_label(path, &medium, disk_uuid, error);
    vv_close_fd(&medium.fd);
    vv_remote_free(medium.remote);
    return ok;
}
