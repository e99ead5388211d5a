/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks: opened once, locked, checked against their label; the operations on them and what they count.
 *
 * D1  One open file description per disk carries the lock, the exclusive claim (block devices) and all I/O. What is in
 *     flight pins it, so whoever gets the lock knows that nothing of a predecessor can still land.
 * D2  Nothing is read from or written to a disk whose label has not been checked.
 * D3  The first copy of the label is durable before the second is touched, and it is the one that counts if both are
 *     good: an interrupted change is either not there or complete.
 * D4  vv_disk_close finds as many I/Os ended as begun. */
#include "disk_private.h"
#include "faultpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#define LOCK_POLL_MS 5u /* flock has no timeout; a successor waits this much longer than it must */

int vv_disk_errno(int err)
{
    switch (err < 0 ? -err : err) {
    case 0:
        return 0;
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case EROFS:
        return -EROFS;
    case ENOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* ---- counters */

static VvDiskShard *shard_of(VvDisk *disk)
{
    static _Atomic unsigned threads;
    static __thread unsigned mine; /* 1-based */
    if (mine == 0)
        mine = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % VV_DISK_SHARDS;
    return &disk->shards[mine - 1];
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t value(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void vv_disk_count(VvDisk *disk, bool write, uint64_t bytes, int result)
{
    VvDiskShard *shard = shard_of(disk);
    add(write ? &shard->writes : &shard->reads, 1);
    add(write ? &shard->write_bytes : &shard->read_bytes, bytes);
    if (result != 0)
        add(&shard->errors, 1);
}

void vv_disk_count_sync(VvDisk *disk, int result)
{
    VvDiskShard *shard = shard_of(disk);
    add(&shard->syncs, 1);
    if (result != 0)
        add(&shard->errors, 1);
}

VvDiskCounters vv_disk_counters(const VvDisk *disk)
{
    VvDiskCounters sum = { 0 };
    for (unsigned i = 0; i < VV_DISK_SHARDS; i++) {
        const VvDiskShard *shard = &disk->shards[i];
        sum.reads += value(&shard->reads);
        sum.read_bytes += value(&shard->read_bytes);
        sum.writes += value(&shard->writes);
        sum.write_bytes += value(&shard->write_bytes);
        sum.syncs += value(&shard->syncs);
        sum.discards += value(&shard->discards);
        sum.discard_bytes += value(&shard->discard_bytes);
        sum.errors += value(&shard->errors);
    }
    return sum;
}

void vv_disk_begin(VvDisk *disk)
{
    add(&shard_of(disk)->begun, 1);
}

void vv_disk_end(VvDisk *disk)
{
    atomic_fetch_add_explicit(&shard_of(disk)->ended, 1, memory_order_release);
}

static bool is_idle(const VvDisk *disk)
{
    uint64_t ended = 0, begun = 0;
    for (unsigned i = 0; i < VV_DISK_SHARDS; i++)
        ended += atomic_load_explicit(&disk->shards[i].ended, memory_order_acquire);
    for (unsigned i = 0; i < VV_DISK_SHARDS; i++)
        begun += value(&disk->shards[i].begun);
    return begun == ended;
}

/* ---- the operations on a file or device */

static int file_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    return vv_disk_errno(vv_pread_full(disk->fd, data, length_bytes, offset));
}

static int file_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    return vv_disk_errno(vv_pwrite_full(disk->fd, data, length_bytes, offset));
}

static int file_sync(VvDisk *disk)
{
    while (fdatasync(disk->fd) < 0)
        if (errno != EINTR)
            return vv_disk_errno(errno);
    return 0;
}

/* A medium that cannot give space back loses nothing: that is no failure. */
static int file_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    int rc;
    if (atomic_load_explicit(&disk->cannot_discard, memory_order_relaxed))
        return 0;
    do {
        if (disk->block_device) {
            uint64_t range[2] = { offset, length_bytes };
            rc = ioctl(disk->fd, BLKDISCARD, range);
        } else {
            rc = fallocate(disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) offset, (off_t) length_bytes);
        }
    } while (rc < 0 && errno == EINTR);
    if (rc < 0 && (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS)) {
        atomic_store_explicit(&disk->cannot_discard, true, memory_order_relaxed);
        return 0;
    }
    return rc < 0 ? vv_disk_errno(errno) : 0;
}

const VvDiskOps vv_disk_file_ops = {
    .read = file_read,
    .write = file_write,
    .sync = file_sync,
    .discard = file_discard,
};

int vv_disk_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    vv_disk_begin(disk);
    int result = disk->ops->read(disk, data, length_bytes, offset);
    vv_disk_count(disk, false, length_bytes, result);
    if (result != 0)
        vv_trouble_note(disk, VV_TROUBLE_READ, offset, result);
    vv_disk_end(disk);
    return result;
}

int vv_disk_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    if (disk->read_only)
        return -EROFS;
    vv_disk_begin(disk);
    int result = disk->ops->write(disk, data, length_bytes, offset);
    vv_disk_count(disk, true, length_bytes, result);
    if (result != 0)
        vv_trouble_note(disk, VV_TROUBLE_WRITE, offset, result);
    vv_disk_end(disk);
    return result;
}

int vv_disk_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    if (disk->read_only)
        return -EROFS;
    vv_disk_begin(disk);
    int result = disk->ops->discard(disk, offset, length_bytes);
    VvDiskShard *shard = shard_of(disk);
    add(&shard->discards, 1);
    add(&shard->discard_bytes, length_bytes);
    if (result != 0)
        add(&shard->errors, 1);
    vv_disk_end(disk);
    return result;
}

/* ---- labels */

/* One copy; a medium that ends before it has none there. */
static int read_copy(const VvMedium *medium, uint64_t offset, uint8_t *bytes)
{
    memset(bytes, 0, VV_BLOCK_BYTES);
    if (medium->remote && medium->remote->ops->bytes(medium->remote) < offset + VV_BLOCK_BYTES)
        return 0;
    if (medium->remote)
        return vv_medium_read(medium, bytes, VV_BLOCK_BYTES, offset) < 0 ? -EIO : 0;
    ssize_t n;
    do
        n = pread(medium->fd, bytes, VV_BLOCK_BYTES, (off_t) offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -EIO : 0;
}

bool vv_is_zero(const void *data, size_t length_bytes)
{
    const uint8_t *bytes = data;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, length_bytes - 1) == 0;
}

static int worst(int first, int second)
{
    static const int order[] = { -EOPNOTSUPP, -EUCLEAN, -EIO };
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++)
        if (first == order[i] || second == order[i])
            return order[i];
    return -ENODATA;
}

int vv_label_pair_read(const VvMedium *medium, VvLabelPair *ret_pair)
{
    VvLabelPair pair = { 0 };
    VvLabel second;
    uint8_t *bytes = aligned_alloc(VV_BLOCK_BYTES, (size_t) 2 * VV_BLOCK_BYTES); /* O_DIRECT */
    g_assert(bytes != NULL);

    pair.first = read_copy(medium, 0, bytes);
    pair.second = read_copy(medium, VV_LABEL_SECOND_AT, bytes + VV_BLOCK_BYTES);
    if (pair.first == 0) {
        pair.first_zero = vv_is_zero(bytes, VV_BLOCK_BYTES);
        pair.first = vv_label_decode(bytes, &pair.label);
    }
    if (pair.second == 0)
        pair.second = vv_label_decode(bytes + VV_BLOCK_BYTES, &second);
    pair.differ = pair.first == 0 && pair.second == 0 && memcmp(bytes, bytes + VV_BLOCK_BYTES, VV_BLOCK_BYTES) != 0;
    free(bytes);

    if (pair.first == -EOPNOTSUPP)
        return pair.first;
    if (pair.first != 0 && pair.second != 0)
        return worst(pair.first, pair.second);
    if (pair.first != 0)
        pair.label = second;
    *ret_pair = pair;
    return 0;
}

int vv_label_pair_write(const VvMedium *medium, const VvLabel *label)
{
    uint8_t *bytes = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    g_assert(bytes != NULL);
    vv_label_encode(label, bytes);
    int rc = vv_medium_write(medium, bytes, VV_BLOCK_BYTES, 0);
    if (rc == 0)
        rc = vv_medium_sync(medium);
    if (rc == 0)
        vv_may_die(VV_DIE_LABEL_FIRST);
    if (rc == 0)
        rc = vv_medium_write(medium, bytes, VV_BLOCK_BYTES, VV_LABEL_SECOND_AT);
    if (rc == 0)
        rc = vv_medium_sync(medium);
    if (rc == 0)
        vv_may_die(VV_DIE_LABEL_WRITTEN);
    free(bytes);
    return rc;
}

static VvMedium medium_of(const VvDisk *disk)
{
    return (VvMedium){ .fd = disk->fd, .remote = disk->remote };
}

int vv_disk_write_label(VvDisk *disk, const VvLabel *label)
{
    VvMedium medium = medium_of(disk);
    if (disk->remote)
        disk->remote->ops->expect(disk->remote, label);
    return vv_label_pair_write(&medium, label);
}

void vv_label_set_error(GError **error, int rc, const char *path)
{
    switch (rc) {
    case -ENODATA:
        vv_set_error(error, VV_ERROR_NOT_FOUND, path, NULL, "%s has no vvfs label", path);
        break;
    case -EUCLEAN:
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "the label of %s is damaged in both copies", path);
        break;
    case -EOPNOTSUPP:
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, "use the version of vvfs that made it, or a newer one",
            "the label of %s is of a newer format than this version of vvfs knows", path);
        break;
    default:
        vv_set_error(error, VV_ERROR_IO, path, NULL, "the label of %s cannot be read: %s", path, g_strerror(-rc));
    }
}

bool vv_disk_stat(const char *path, struct stat *ret_stat, GError **error)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            vv_set_error(error, VV_ERROR_NOT_FOUND, path, NULL, "%s does not exist", path);
        else
            vv_set_error_errno(error, errno, path, "%s", path);
        return false;
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        const char *kind = S_ISDIR(st.st_mode)    ? "a directory"
                           : S_ISCHR(st.st_mode)  ? "a character device"
                           : S_ISFIFO(st.st_mode) ? "a pipe"
                                                  : "a socket";
        vv_set_error(
            error, VV_ERROR_UNSUPPORTED, path, NULL, "%s is %s: a disk is a file or a block device", path, kind);
        return false;
    }
    *ret_stat = st;
    return true;
}

bool vv_disk_examine(int fd, const char *path, struct stat *ret_stat, uint64_t *ret_bytes, GError **error)
{
    struct stat st;
    uint64_t bytes = 0;
    int sector = 0;
    if (fstat(fd, &st) < 0) {
        vv_set_error_errno(error, errno, path, "%s", path);
        return false;
    }
    if (S_ISREG(st.st_mode)) {
        bytes = (uint64_t) st.st_size;
    } else if (!S_ISBLK(st.st_mode)) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, NULL, "%s is neither a file nor a block device", path);
        return false;
    } else if (ioctl(fd, BLKGETSIZE64, &bytes) < 0 || ioctl(fd, BLKSSZGET, &sector) < 0) {
        vv_set_error_errno(error, errno, path, "the size of %s cannot be told", path);
        return false;
    } else if ((unsigned) sector > VV_BLOCK_BYTES) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, NULL,
            "%s has sectors of %d bytes: more than %u are not supported", path, sector, VV_BLOCK_BYTES);
        return false;
    }
    *ret_stat = st;
    *ret_bytes = bytes;
    return true;
}

static bool open_to_look(const char *path, VvMedium *medium, GError **error)
{
    struct stat st;
    if (vv_is_address(path)) {
        medium->remote = vv_remote_open(path, true, 0, error);
        return medium->remote != NULL;
    }
    if (!vv_disk_stat(path, &st, error))
        return false;
    medium->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (medium->fd < 0)
        vv_set_error_errno(error, errno, path, "%s cannot be opened", path);
    return medium->fd >= 0;
}

bool vv_disk_read_label(const char *path, VvLabel *ret_label, bool *ret_repaired, GError **error)
{
    VvMedium medium = { .fd = -1 };
    VvLabelPair pair;
    if (!open_to_look(path, &medium, error))
        return false;
    int rc = vv_label_pair_read(&medium, &pair);
    vv_close_fd(&medium.fd);
    vv_remote_free(medium.remote);
    if (rc < 0) {
        vv_label_set_error(error, rc, path);
        return false;
    }
    *ret_label = pair.label;
    if (ret_repaired)
        *ret_repaired = pair.first != 0;
    return true;
}

/* ---- open */

/* The lock is held, or the device claimed, by somebody else. */
static void set_busy_error(GError **error, const char *path, const struct stat *st)
{
    g_autofree char *user = vv_disk_find_user(st);
    vv_set_error(error, VV_ERROR_BUSY, path, NULL, "%s is %s", path, user ? user : "locked by another process");
}

/* D1. A block device is claimed too (O_EXCL): the lock belongs to one device node, the claim to the device. */
static bool open_and_lock(VvDisk *disk, const struct stat *st, unsigned lock_wait_ms, GError **error)
{
    uint64_t deadline_ms = vv_monotonic_ms() + lock_wait_ms;
    int mode = disk->read_only ? O_RDONLY : S_ISBLK(st->st_mode) ? O_RDWR | O_EXCL : O_RDWR;
    for (;;) {
        if (disk->fd < 0)
            disk->fd = open(disk->path, mode | O_CLOEXEC | O_NONBLOCK);
        if (disk->fd < 0 && errno != EBUSY && errno != EINTR) {
            vv_set_error_errno(error, errno, disk->path, "%s cannot be opened", disk->path);
            return false;
        }
        if (disk->fd >= 0 && (disk->read_only || flock(disk->fd, LOCK_EX | LOCK_NB) == 0))
            return true;
        if (disk->fd >= 0 && errno != EWOULDBLOCK && errno != EINTR) {
            vv_set_error_errno(error, errno, disk->path, "%s cannot be locked", disk->path);
            return false;
        }
        if (vv_monotonic_ms() >= deadline_ms) {
            set_busy_error(error, disk->path, st);
            return false;
        }
        g_usleep(LOCK_POLL_MS * 1000);
    }
}

/* Turns O_DIRECT on if the medium takes aligned blocks of VV_BLOCK_BYTES; otherwise the page cache stands between. */
static bool try_direct(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN) &&
        (stx.stx_dio_offset_align == 0 || stx.stx_dio_offset_align > VV_BLOCK_BYTES ||
            stx.stx_dio_mem_align > VV_BLOCK_BYTES))
        return false;
#endif
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) < 0)
        return false;
    void *block = aligned_alloc(VV_BLOCK_BYTES, VV_BLOCK_BYTES);
    g_assert(block != NULL);
    bool works = pread(fd, block, VV_BLOCK_BYTES, 0) == VV_BLOCK_BYTES;
    free(block);
    if (!works)
        (void) fcntl(fd, F_SETFL, flags);
    return works;
}

static bool find_medium(VvDisk *disk, uint64_t *ret_bytes, GError **error)
{
    struct stat st;
    struct statfs sfs;
    if (!vv_disk_examine(disk->fd, disk->path, &st, ret_bytes, error))
        return false;
    disk->block_device = S_ISBLK(st.st_mode);
    if (!disk->block_device && fstatfs(disk->fd, &sfs) == 0)
        disk->memory = sfs.f_type == TMPFS_MAGIC || sfs.f_type == RAMFS_MAGIC;
    /* O_NONBLOCK was for the open alone: the ring would answer EAGAIN where it should wait. */
    (void) fcntl(disk->fd, F_SETFL, fcntl(disk->fd, F_GETFL) & ~O_NONBLOCK);
    disk->direct = !disk->memory && try_direct(disk->fd);
    return true;
}

/* Both copies say the same again, unless something else now stands where the first one stood. */
static bool mend_label(VvDisk *disk, const VvLabelPair *pair, uint64_t size_bytes, GError **error)
{
    if (pair->first == -ENODATA && !pair->first_zero) {
        VvMedium medium = medium_of(disk);
        g_autofree char *found = vv_medium_find_signature(&medium, size_bytes);
        if (found) {
            vv_set_error(error, VV_ERROR_DAMAGED, disk->path, NULL, "%s was disk %s of pool %s and now holds %s",
                disk->path, disk->label.disk_name, disk->label.pool_name, found);
            return false;
        }
    }
    if (disk->read_only || (pair->first == 0 && pair->second == 0 && !pair->differ))
        return true;
    int rc = vv_disk_write_label(disk, &disk->label);
    vv_log(VV_LOG_WARNING, "%s: one copy of the label was bad and %s from the other%s%s", disk->path,
        rc < 0 ? "cannot be mended" : "was mended", rc < 0 ? ": " : "", rc < 0 ? g_strerror(-rc) : "");
    return true;
}

static bool check_label(
    VvDisk *disk, const VvUuid *pool_uuid, const VvUuid *disk_uuid, uint64_t size_bytes, GError **error)
{
    VvMedium medium = medium_of(disk);
    VvLabelPair pair;
    int rc = vv_label_pair_read(&medium, &pair);
    if (rc < 0) {
        vv_label_set_error(error, rc, disk->path);
        return false;
    }
    disk->label = pair.label;
    if (pool_uuid && !vv_uuid_equal(pool_uuid, &pair.label.pool_uuid)) {
        vv_set_error(error, VV_ERROR_CONFLICT, disk->path, NULL, "%s is disk %s of another pool, %s", disk->path,
            pair.label.disk_name, pair.label.pool_name);
        return false;
    }
    if (disk_uuid && !vv_uuid_equal(disk_uuid, &pair.label.disk_uuid)) {
        vv_set_error(error, VV_ERROR_CONFLICT, disk->path, NULL, "%s is another disk of this pool, %s", disk->path,
            pair.label.disk_name);
        return false;
    }
    if (size_bytes < pair.label.size_bytes) {
        g_autofree char *is = vv_size_format(size_bytes), *was = vv_size_format(pair.label.size_bytes);
        vv_set_error(error, VV_ERROR_DAMAGED, disk->path, NULL, "%s was cut short: it has %s, its label says %s",
            disk->path, is, was);
        return false;
    }
    return mend_label(disk, &pair, size_bytes, error);
}

static bool open_local(VvDisk *disk, unsigned lock_wait_ms, uint64_t *ret_bytes, GError **error)
{
    struct stat st;
    return vv_disk_stat(disk->path, &st, error) && open_and_lock(disk, &st, lock_wait_ms, error) &&
           find_medium(disk, ret_bytes, error);
}

/* It has no lock: what stands in its place is on top of link.c. */
static bool open_remote(VvDisk *disk, unsigned wait_ms, uint64_t *ret_bytes, GError **error)
{
    disk->remote = vv_remote_open(disk->path, disk->read_only, wait_ms, error);
    if (!disk->remote)
        return false;
    disk->ops = &vv_disk_remote_ops;
    *ret_bytes = disk->remote->ops->bytes(disk->remote);
    return true;
}

VvDisk *vv_disk_new(const char *path, bool read_only)
{
    void *memory = aligned_alloc(_Alignof(VvDisk), sizeof(VvDisk));
    g_assert(memory != NULL);
    VvDisk *disk = memset(memory, 0, sizeof(VvDisk));
    disk->path = g_strdup(path);
    disk->fd = -1;
    disk->read_only = read_only;
    disk->ops = &vv_disk_file_ops;
    vv_syncer_init(&disk->syncer);
    pthread_mutex_init(&disk->troubles.lock, NULL);
    return disk;
}

VvDisk *vv_disk_open(const char *path, const VvUuid *pool_uuid, const VvUuid *disk_uuid, bool read_only,
    unsigned lock_wait_ms, GError **error)
{
    uint64_t size_bytes;
    g_autoptr(VvDisk) disk = vv_disk_new(path, read_only);

    if (!(vv_is_address(path) ? open_remote(disk, lock_wait_ms, &size_bytes, error)
                                  : open_local(disk, lock_wait_ms, &size_bytes, error)) ||
        !check_label(disk, pool_uuid, disk_uuid, size_bytes, error))
        return NULL;
    if (disk->remote)
        disk->remote->ops->expect(disk->remote, &disk->label);
    return g_steal_pointer(&disk);
}

void vv_disk_close(VvDisk *disk)
{
    if (disk == NULL)
        return;
    vv_syncer_clear(&disk->syncer);
    pthread_mutex_destroy(&disk->troubles.lock);
    g_assert(is_idle(disk)); /* D4 */
    vv_close_fd(&disk->fd);
    vv_remote_free(disk->remote);
    g_free(disk->path);
    free(disk);
}

/* ---- what it is */

const VvLabel *vv_disk_label(const VvDisk *disk)
{
    return &disk->label;
}

const char *vv_disk_path(const VvDisk *disk)
{
    return disk->path;
}

int vv_disk_fd(const VvDisk *disk)
{
    return disk->fd;
}

bool vv_disk_is_inline(const VvDisk *disk)
{
    return disk->memory || (disk->ops != &vv_disk_file_ops && disk->ops != &vv_disk_remote_ops);
}

char *vv_disk_unreached(const VvDisk *disk)
{
    return disk->remote ? disk->remote->ops->trouble(disk->remote) : NULL;
}

bool vv_disk_is_direct(const VvDisk *disk)
{
    return disk->direct;
}

uint64_t vv_disk_current_bytes(const VvDisk *disk)
{
    struct stat st;
    uint64_t bytes;
    if (disk->remote)
        return vv_remote_do(disk->remote, VV_REMOTE_SIZE, NULL, 0, 0) == 0 ? disk->remote->ops->bytes(disk->remote) : 0;
    return vv_disk_examine(disk->fd, disk->path, &st, &bytes, NULL) ? bytes : 0;
}

const VvDiskOps *vv_disk_ops(const VvDisk *disk)
{
    return disk->ops;
}

void vv_disk_set_ops(VvDisk *disk, const VvDiskOps *ops, void *user)
{
    disk->ops = ops;
    disk->ops_user = user;
}

void *vv_disk_ops_user(const VvDisk *disk)
{
    return disk->ops_user;
}

bool vv_disk_relabel(VvDisk *disk, uint64_t size_bytes, const char *disk_name, GError **error)
{
    VvLabel label = disk->label;
    uint64_t now_bytes = vv_disk_current_bytes(disk);
    g_assert(!disk->read_only);
    g_assert(disk_name == NULL || strlen(disk_name) <= VV_NAME_BYTES_MAX);

    label.size_bytes = size_bytes & ~(uint64_t) (VV_BLOCK_BYTES - 1);
    if (disk_name)
        g_strlcpy(label.disk_name, disk_name, sizeof label.disk_name);
    if (label.size_bytes < disk->label.size_bytes) {
        vv_set_error(
            error, VV_ERROR_UNSUPPORTED, disk->path, NULL, "disk %s cannot be made smaller", disk->label.disk_name);
        return false;
    }
    if (now_bytes < label.size_bytes && (disk->block_device || disk->remote)) {
        g_autofree char *has = vv_size_format(now_bytes);
        vv_set_error(error, VV_ERROR_NO_SPACE, disk->path, vv_is_node_address(disk->path) ? "grow it on its node first" : disk->remote ? "grow the export first" : "grow the device first", "%s has only %s", disk->path, has);
        return false;
    }
    if (now_bytes < label.size_bytes && ftruncate(disk->fd, (off_t) label.size_bytes) < 0) {
        vv_set_error_errno(error, errno, disk->path, "%s cannot grow", disk->path);
        return false;
    }
    int rc = vv_disk_write_label(disk, &label);
    if (rc < 0) {
        vv_set_error_errno(error, rc, disk->path, "the label of %s cannot be written", disk->path);
        return false;
    }
    disk->label.size_bytes = label.size_bytes;
    memcpy(disk->label.disk_name, label.disk_name, sizeof label.disk_name);
    return true;
}
