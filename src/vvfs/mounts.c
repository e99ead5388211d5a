/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads /proc/self/mountinfo, and finds the pool that a word means. */
#include "mounts.h"

#include "error.h"
#include "meta.h"
#include "options.h"

#include <string.h>

#define POOLS_DIRECTORY "/var/lib/vvfs"

static void entry_free(void *data)
{
    VvMountEntry *entry = data;

    g_free(entry->mountpoint);
    g_free(entry->directory);
    g_free(entry);
}

/* \040 and the like, in place. */
static char *unescape(const char *text)
{
    return g_strcompress(text);
}

/* "36 35 0:30 / /vv rw,... [optional...] - fuse.vvfs /var/lib/vvfs/tank rw,..." */
GPtrArray *vv_mounts_list(void)
{
    GPtrArray *entries = g_ptr_array_new_with_free_func(entry_free);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
        return entries;
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        char *behind = strstr(lines[i], " - fuse.vvfs ");
        g_auto(GStrv) front = NULL, back = NULL;
        VvMountEntry *entry;

        if (!behind)
            continue;
        front = g_strsplit(lines[i], " ", 6);
        back = g_strsplit(behind + strlen(" - fuse.vvfs "), " ", 2);
        if (g_strv_length(front) < 6 || !back[0])
            continue;
        entry = g_new0(VvMountEntry, 1);
        entry->mountpoint = unescape(front[4]);
        entry->directory = unescape(back[0]);
        g_ptr_array_add(entries, entry);
    }
    return entries;
}

bool vv_mounts_have(const char *directory, const char *mountpoint)
{
    g_autoptr(GPtrArray) entries = vv_mounts_list();

    for (unsigned i = 0; i < entries->len; i++) {
        const VvMountEntry *entry = entries->pdata[i];

        if (strcmp(entry->directory, directory) == 0 && (!mountpoint || strcmp(entry->mountpoint, mountpoint) == 0))
            return true;
    }
    return false;
}

char *vv_mounts_directory_at(const char *mountpoint)
{
    g_autoptr(GPtrArray) entries = vv_mounts_list();

    /* The last one covers those before. */
    for (unsigned i = entries->len; i-- > 0;) {
        const VvMountEntry *entry = entries->pdata[i];

        if (strcmp(entry->mountpoint, mountpoint) == 0)
            return g_strdup(entry->directory);
    }
    return NULL;
}

/* ---- which pool? */
static char *mounted_by_name(const char *name)
{
    g_autoptr(GPtrArray) entries = vv_mounts_list();

    for (unsigned i = 0; i < entries->len; i++) {
        const VvMountEntry *entry = entries->pdata[i];
        g_autofree char *pool = NULL;
        VvUuid uuid;

        if (vv_meta_identify(entry->directory, &pool, &uuid, NULL) && strcmp(pool, name) == 0)
            return g_strdup(entry->directory);
    }
    return NULL;
}

char *vv_pool_locate(const char *pool, GError **error)
{
    g_autofree char *path = NULL, *below = NULL, *real = NULL;

    if (strchr(pool, '/'))
        path = g_canonicalize_filename(pool, NULL);
    else {
        path = mounted_by_name(pool);
        if (!path) {
            below = g_build_filename(POOLS_DIRECTORY, pool, NULL);
            path =
                g_file_test(below, G_FILE_TEST_IS_DIR) ? g_steal_pointer(&below) : g_canonicalize_filename(pool, NULL);
        }
    }
    /* A mount point stands for the pool that is mounted there; asked first, for it may not answer. */
    real = vv_mounts_directory_at(path);
    if (real)
        return g_steal_pointer(&real);
    {
        char *resolved = realpath(path, NULL);

        if (resolved) {
            real = g_strdup(resolved);
            free(resolved);
            g_free(path);
            path = g_steal_pointer(&real);
            real = vv_mounts_directory_at(path);
            return real ? g_steal_pointer(&real) : g_steal_pointer(&path);
        }
    }
    if (strchr(pool, '/'))
        vv_set_error(error, VV_ERROR_NOT_FOUND, pool, "vvfs-admin pool list", "no pool directory %s", pool);
    else
        vv_set_error(error, VV_ERROR_NOT_FOUND, pool, "vvfs-admin pool list",
            "no pool %s: neither %s/%s nor a directory %s is there", pool, POOLS_DIRECTORY, pool, pool);
    return NULL;
}
