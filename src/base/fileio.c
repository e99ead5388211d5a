/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole-buffer file I/O: goes on after short transfers and signals. */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int vv_pread_full(int fd, void *data, size_t length_bytes, uint64_t offset)
{
    uint8_t *next = data;

    while (length_bytes > 0) {
        ssize_t done = pread(fd, next, length_bytes, (off_t) offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)
            return -EIO;
        next += done;
        offset += (uint64_t) done;
        length_bytes -= (size_t) done;
    }
    return 0;
}

int vv_pwrite_full(int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    const uint8_t *next = data;

    while (length_bytes > 0) {
        ssize_t done = pwrite(fd, next, length_bytes, (off_t) offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)
            return -EIO;
        next += done;
        offset += (uint64_t) done;
        length_bytes -= (size_t) done;
    }
    return 0;
}

int vv_sync_directory(const char *path)
{
    vv_autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        return -errno;
    return 0;
}

int vv_replace_file(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL), *fresh = g_strconcat(path, ".new", NULL);
    vv_autofd int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result = fd < 0 ? -errno : vv_pwrite_full(fd, text, strlen(text), 0);
    if (result == 0 && (fsync(fd) != 0 || rename(fresh, path) != 0))
        result = -errno;
    return result == 0 ? vv_sync_directory(directory) : result;
}
