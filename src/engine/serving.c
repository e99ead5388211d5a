/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies of a pool that do not hold together, told before anything is read through them.
 *
 * U1  A directory that was copied while it was served: its files are of different moments, and what the map names may not be on the copied
 *     disk file yet. While a pool is served its directory holds the file "in-use", which says which inode it is and when that was made.
 *     A copy is another inode. After a crash it is the same, so nobody has to do anything; a snapshot of the whole file system or
 *     device has the same too, and is as good as a crash.
 * U2  A directory that is older than its disks (put back from a backup, or a second copy): its map does not know what was written since.
 *     Each start raises the pool's incarnation in the map, then writes it into the labels of all disks. A label that says as much as the
 *     map that was just raised has seen a start that the map has not. Who was refused so is as old the next time, however often he tried:
 *     the incarnation that the map had before is in the file "older", until a start finds no newer label.
 *
 * The file older: "vvfs-older 1", "incarnation N", "crc HEX" of the lines before, a line each; one that is no such text counts as 0.
 * The file in-use, at most 256 bytes: "vvfs-in-use 1", "inode N", "born SECONDS.NANOSECONDS" (0.0: the file system does not tell),
 * "crc HEX" (crc32c of the lines before), a line each. */
#include "serving.h"

#include "codec.h"
#include "disk_private.h"
#include "error.h"
#include "pool_private.h"
#include "transaction.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define MARK_BYTES_MAX 256u

/* What the mark at @fd has to say; "" if it cannot be told. */
static char *mark_text(int fd)
{
    struct statx stx;
    g_autofree char *text = NULL;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) != 0)
        return g_strdup("");
    if ((stx.stx_mask & STATX_BTIME) == 0)
        stx.stx_btime = (struct statx_timestamp){ 0 };
    text = g_strdup_printf("vvfs-in-use 1\ninode %llu\nborn %lld.%u\n", (unsigned long long) stx.stx_ino,
        (long long) stx.stx_btime.tv_sec, stx.stx_btime.tv_nsec);
    return g_strdup_printf("%scrc %08x\n", text, vv_crc32c(0, text, strlen(text)));
}

static bool mark_is_whole(const char *text)
{
    const char *crc = strstr(text, "crc ");
    char expected[16];

    if (!crc || !g_str_has_prefix(text, "vvfs-in-use 1\n"))
        return false;
    snprintf(expected, sizeof expected, "crc %08x\n", vv_crc32c(0, text, (size_t) (crc - text)));
    return strcmp(crc, expected) == 0;
}

bool vv_serving_check(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, VV_IN_USE_FILE, NULL), *expected = NULL;
    char text[MARK_BYTES_MAX + 1];
    vv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : pread(fd, text, MARK_BYTES_MAX, 0);

    if (fd < 0 && errno == ENOENT)
        return true;
    if (got < 0) {
        vv_set_error_errno(error, errno, directory, "%s cannot be read", path);
        return false;
    }
    text[got] = '\0';
    expected = mark_text(fd);
    if (strcmp(text, expected) == 0)
        return true;
    if (!mark_is_whole(text))
        vv_set_error(error, VV_ERROR_DAMAGED, directory,
            "If this directory is not a copy made while the pool was served, remove that file.",
            "%s is damaged: it tells whether the directory was copied", path);
    else
        vv_set_error(error, VV_ERROR_CONFLICT, directory,
            "Copy a pool that is not mounted, or a snapshot of the whole file system. If nothing served the pool when this copy was made "
            "(it had crashed), remove the file in-use from the copy.",
            "the pool in %s was copied while it was in use, so its parts do not fit each other", directory);
    return false;
}

static bool write_mark(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, VV_IN_USE_FILE, NULL), *fresh = g_strconcat(path, ".new", NULL),
                    *text = NULL;
    vv_autofd int fd = -1;
    int rc;

    if (access(path, F_OK) == 0)
        return true; /* of a start that did not end: checked, and right */
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        vv_set_error_errno(error, errno, directory, "%s cannot be made", fresh);
        return false;
    }
    text = mark_text(fd);
    rc = vv_pwrite_full(fd, text, strlen(text), 0);
    if (rc == 0 && (fsync(fd) != 0 || rename(fresh, path) != 0))
        rc = -errno;
    if (rc == 0)
        rc = vv_sync_directory(directory);
    if (rc != 0)
        vv_set_error_errno(error, rc, directory, "%s cannot be written", path);
    return rc == 0;
}

static char *older_text(uint64_t incarnation)
{
    g_autofree char *text = g_strdup_printf("vvfs-older 1\nincarnation %" G_GUINT64_FORMAT "\n", incarnation);

    return g_strdup_printf("%scrc %08x\n", text, vv_crc32c(0, text, strlen(text)));
}

/* What U2 noted; UINT64_MAX: nothing. */
static uint64_t noted_incarnation(const char *directory)
{
    static const char beginning[] = "vvfs-older 1\nincarnation ";
    g_autofree char *path = g_build_filename(directory, VV_OLDER_FILE, NULL), *text = NULL, *expected = NULL;
    g_autoptr(GError) error = NULL;
    uint64_t incarnation;

    if (!g_file_get_contents(path, &text, NULL, &error))
        return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) ? UINT64_MAX : 0;
    if (!g_str_has_prefix(text, beginning))
        return 0;
    incarnation = g_ascii_strtoull(text + strlen(beginning), NULL, 10);
    expected = older_text(incarnation);
    return strcmp(text, expected) == 0 ? incarnation : 0;
}

static void note_older(const char *directory, uint64_t incarnation)
{
    g_autofree char *text = older_text(incarnation);
    int rc = vv_replace_file(directory, VV_OLDER_FILE, text);

    if (rc < 0)
        vv_log(VV_LOG_WARNING, "%s/%s cannot be written: %s", directory, VV_OLDER_FILE, g_strerror(-rc));
}

static void forget_older(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, VV_OLDER_FILE, NULL);

    if (unlink(path) != 0)
        vv_log(VV_LOG_WARNING, "%s cannot be removed: %s", path, g_strerror(errno));
}

/* U2 */
static bool check_labels(VvPool *pool, uint64_t incarnation, GError **error)
{
    /* One that is not raised here may be as old as the labels. */
    uint64_t labels_max = pool->read_only ? incarnation : incarnation - 1, noted = noted_incarnation(pool->directory);

    labels_max = MIN(labels_max, noted);
    for (unsigned i = 0; i < pool->disks->len; i++) {
        const VvDisk *disk = g_ptr_array_index(pool->disks, i);

        if (!disk || disk->label.incarnation <= labels_max)
            continue;
        if (!pool->read_only && noted == UINT64_MAX)
            note_older(pool->directory, labels_max);
        vv_set_error(error, VV_ERROR_CONFLICT, pool->directory,
            "Use the directory that served the pool last: an older copy does not know what was written since.",
            "the pool directory %s is older than disk %s: the disk was served since with another copy of the directory",
            pool->directory, disk->label.disk_name);
        return false;
    }
    if (!pool->read_only && noted != UINT64_MAX)
        forget_older(pool->directory);
    return true;
}

static void raise_labels(VvPool *pool, uint64_t incarnation)
{
    for (unsigned i = 0; i < pool->disks->len; i++) {
        VvDisk *disk = g_ptr_array_index(pool->disks, i);
        int rc;

        if (!disk || vv_is_node_address(disk->path)) /* R1 of reach.h */
            continue;
        disk->label.incarnation = incarnation;
        rc = vv_disk_write_label(disk, &disk->label);
        if (rc < 0)
            vv_log(VV_LOG_WARNING, "%s: the label cannot be written: %s", disk->path, g_strerror(-rc));
    }
}

bool vv_serving_begin(VvPool *pool, GError **error)
{
    uint64_t incarnation;

    {
        VV_META_READ(pool->meta);
        incarnation = vv_meta_pool(pool->meta)->incarnation;
    }
    if (!check_labels(pool, incarnation, error))
        return false;
    if (pool->read_only || pool->options.guest) /* nothing of it is kept */
        return true;
    if (!write_mark(pool->directory, error))
        return false;
    pool->threads->marked = true;
    raise_labels(pool, incarnation);
    return true;
}

void vv_serving_end(VvPool *pool)
{
    g_autofree char *path = NULL;

    if (!pool->threads->marked)
        return;
    path = g_build_filename(pool->directory, VV_IN_USE_FILE, NULL);
    if (unlink(path) != 0)
        vv_log(VV_LOG_WARNING, "%s cannot be removed: %s", path, g_strerror(errno));
}
