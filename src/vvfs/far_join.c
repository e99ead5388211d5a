/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "far_join.h"

#include "base.h"
#include "disk.h"
#include "error.h"
#include "far_disks.h"
#include "pool_look.h"

#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1u << 20)

static char *file_of(const char *directory)
{
    return g_build_filename(directory, VV_FAR_JOIN_FILE, NULL);
}

/* ---- joining: offline */

static bool check_path(const char *path, GError **error)
{
    if (g_path_is_absolute(path) && !strchr(path, '\n'))
        return true;
    vv_set_error(error, VV_ERROR_USAGE, path, vv_is_address(path) ? "vvfs-admin disk add, when the node has joined" : NULL, "%s is not the path of a device or file of this machine", path);
    return false;
}

bool vv_far_join_check(const char *const *paths, const VvUuid *pool_uuid, const char *directory, GError **error)
{
    const VvDiskFormat format = { .pool_directory = directory };

    if (g_strv_length((char **) paths) > VV_DISKS_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, NULL, NULL, "a pool has at most %u disks", VV_DISKS_MAX);
        return false;
    }
    for (; *paths; paths++) {
        g_autoptr(VvDiskClaim) claim = check_path(*paths, error) ? vv_disk_claim(*paths, &format, pool_uuid, error) : NULL;

        if (!claim)
            return false;
    }
    return true;
}

bool vv_far_join_note(const char *directory, const char *const *paths, GError **error)
{
    g_autofree char *text = NULL, *lines = NULL;
    int rc;

    if (!*paths)
        return true;
    lines = g_strjoinv("\n", (char **) paths);
    text = g_strconcat(lines, "\n", NULL);
    rc = vv_replace_file(directory, VV_FAR_JOIN_FILE, text);
    if (rc < 0)
        vv_set_error_errno(error, rc, directory, "%s/" VV_FAR_JOIN_FILE " cannot be written", directory);
    return rc == 0;
}

/* ---- the daemon */

bool vv_far_join_wanted(const char *directory)
{
    g_autofree char *path = file_of(directory);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* It may be otherwise in a moment. */
static bool is_passing(const GError *error)
{
    static const VvErrorCode codes[] = { VV_ERROR_NO_COORDINATOR, VV_ERROR_NO_QUORUM, VV_ERROR_TIMEOUT, VV_ERROR_BUSY, VV_ERROR_STALE };

    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++)
        if (g_error_matches(error, VV_ERROR, (int) codes[i]))
            return true;
    return false;
}

/* True: it is over, one way or the other. */
static bool add_path(VvDaemon *daemon, const char *path)
{
    g_autoptr(GError) error = NULL;

    if (vv_far_disk_add_path(daemon, path, &error)) {
        vv_pool_event(daemon->pool, VV_SEVERITY_INFO, "disk", path, "%s of this node is a disk of the pool, as `node join` has asked", path);
        return true;
    }
    if (is_passing(error)) {
        vv_log(VV_LOG_NOTE, "%s is not added to pool %s yet: %s", path, daemon->name, error->message);
        return false;
    }
    vv_pool_event(daemon->pool, VV_SEVERITY_ERROR, "disk", path, "%s, which `node join` has named, is no disk of the pool: %s. Mend that, then: vvfs-admin disk add %s",
        path, error->message, path);
    return true;
}

bool vv_far_join_add(VvDaemon *daemon)
{
    g_autofree char *path = file_of(daemon->directory), *text = NULL;
    g_autoptr(GPtrArray) left = g_ptr_array_new();
    g_auto(GStrv) lines = NULL;
    gsize bytes;

    if (!g_file_get_contents(path, &text, &bytes, NULL) || bytes > FILE_BYTES_MAX)
        return true;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        if (**line == '/' && !add_path(daemon, *line))
            g_ptr_array_add(left, *line);
    if (left->len == 0) {
        if (unlink(path) < 0)
            vv_log(VV_LOG_WARNING, "%s cannot be removed", path);
        return true;
    }
    g_ptr_array_add(left, NULL);
    (void) vv_far_join_note(daemon->directory, (const char *const *) left->pdata, NULL); /* else they are looked at again, and are there */
    return false;
}
