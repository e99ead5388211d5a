/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the disk layer share: a folder of their own on a disk or in memory, and disks in it. */
#ifndef VV_ENGINE_TEST_H
#define VV_ENGINE_TEST_H

#include "disk.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define TEST_DISK_BYTES ((uint64_t) 32 << 20)

/* In memory if @memory and /dev/shm is a tmpfs, else where temporary files go. */
static inline char *test_folder_new(bool memory)
{
    struct statfs sfs;
    const char *under =
        memory && statfs("/dev/shm", &sfs) == 0 && sfs.f_type == TMPFS_MAGIC ? "/dev/shm" : g_get_tmp_dir();
    char *folder = g_build_filename(under, "vvfs-test-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(folder));
    return folder;
}

/* Removes the files in it; there are no folders. */
static inline void test_folder_free(char *folder)
{
    const char *name;
    GDir *dir = g_dir_open(folder, 0, NULL);
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    if (dir)
        g_dir_close(dir);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    g_free(folder);
}

static inline VvLabel test_label(void)
{
    VvLabel label = { .disk_id = 7, .created_ns = 1700000000123456789u, .pool_name = "tank", .disk_name = "d1" };
    memset(label.pool_uuid.bytes, 0x11, 16);
    memset(label.disk_uuid.bytes, 0x22, 16);
    return label;
}

/* A formatted sparse file. @ret_path may be NULL. */
static inline VvDisk *test_disk_new(const char *folder, const char *name, char **ret_path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(folder, name, NULL);
    VvLabel label = test_label();
    VvDiskFormat format = { .create_bytes = TEST_DISK_BYTES };
    g_assert_true(vv_disk_format(path, &format, &label, &error));
    g_assert_no_error(error);
    VvDisk *disk = vv_disk_open(path, &label.pool_uuid, &label.disk_uuid, false, 0, &error);
    g_assert_no_error(error);
    if (ret_path)
        *ret_path = g_steal_pointer(&path);
    return disk;
}

static inline void *test_blocks_new(size_t count, int fill)
{
    void *data = aligned_alloc(VV_BLOCK_BYTES, count * VV_BLOCK_BYTES);
    g_assert_nonnull(data);
    memset(data, fill, count * VV_BLOCK_BYTES);
    return data;
}

#define test_assert_refused(error, wanted, text)                           \
    G_STMT_START                                                           \
    {                                                                      \
        g_assert_error(error, VV_ERROR, (int) (wanted));                   \
        if (strstr((error)->message, text) == NULL)                        \
            g_error("\"%s\" does not say \"%s\"", (error)->message, text); \
        g_clear_error(&(error));                                           \
    }                                                                      \
    G_STMT_END

#endif
