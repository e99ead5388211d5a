/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unused block devices of this machine, for the advice of doctor. Opens only what /sys shows to be free. */
#include "disk_private.h"
#include "problems.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SPARES_MAX 4u

static void spare_free(void *data)
{
    VvSpareDisk *spare = data;

    g_free(spare->device);
    g_free(spare);
}

static char *read_line(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL))
        g_strdelimit(text, "\n", '\0');
    return text;
}

static bool has_entries(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);

    return dir && g_dir_read_name(dir);
}

static bool has_partitions(const char *folder, const char *name)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *child;

    while (dir && (child = g_dir_read_name(dir)))
        if (g_str_has_prefix(child, name))
            return true;
    return false;
}

static bool may_be_used(const char *name)
{
    static const char *const others[] = { "loop", "ram", "zram", "nbd", "sr", "fd", "dm-", "md", "drbd", "rbd", "zd" };

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
        if (g_str_has_prefix(name, others[i]))
            return false;
    return true;
}

/* Nobody mounts it or swaps on it (O_EXCL tells), and it is blank. */
static bool is_blank(const char *device, uint64_t size_bytes)
{
    vv_autofd int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_EXCL);
    g_autofree char *found = fd >= 0 ? vv_disk_find_signature(fd, size_bytes) : NULL;

    return fd >= 0 && !found;
}

GPtrArray *vv_spare_disks(const char *sys)
{
    GPtrArray *spares = g_ptr_array_new_with_free_func(spare_free);
    g_autofree char *block = g_build_filename(sys, "block", NULL);
    g_autoptr(GDir) dir = g_dir_open(block, 0, NULL);
    const char *name;

    while (dir && spares->len < SPARES_MAX && (name = g_dir_read_name(dir))) {
        g_autofree char *folder = g_build_filename(block, name, NULL), *device = g_strdup_printf("/dev/%s", name);
        g_autofree char *sectors = read_line(folder, "size"), *ro = read_line(folder, "ro");
        uint64_t size_bytes = sectors ? g_ascii_strtoull(sectors, NULL, 10) * VV_SECTOR_BYTES : 0;
        VvSpareDisk *spare;

        if (!may_be_used(name) || size_bytes < VV_DISK_BYTES_MIN || g_strcmp0(ro, "0") != 0 ||
            has_entries(folder, "holders") || has_partitions(folder, name) || !is_blank(device, size_bytes))
            continue;
        spare = g_new0(VvSpareDisk, 1);
        spare->device = g_steal_pointer(&device);
        spare->size_bytes = size_bytes;
        g_ptr_array_add(spares, spare);
    }
    return spares;
}
