/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is refused while there is little room, so that reading, writing in place, discarding and removing go on.
 *
 * N1  While the pool is cramped (meta/room.c) nothing is begun that makes the map larger.
 * N2  A snapshot takes the LUN's blocks from it: from then on each write needs a new place and a larger map. So it is refused before
 *     that: when the LUN could get no more than VV_SNAPSHOT_ROOM_BYTES, or the room for the map could not be filled up again. */
#include "problems.h"

#include "pool_private.h"
#include "transaction.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

bool vv_refuse_cramped(VvPool *pool, const char *object, GError **error)
{
    if (!vv_meta_is_cramped(pool->meta))
        return true;
    vv_set_error(error, VV_ERROR_NO_SPACE, object, "vvfs-admin doctor",
        "%s: there is no room for a larger map in %s: only removing and discarding are possible", object, pool->directory);
    return false;
}

/* What the LUN's family has and could get, in bytes. */
static uint64_t room_of(VvPool *pool, uint64_t lun_id)
{
    VvSpaceSummary space;
    uint64_t bytes;

    vv_pool_space(pool, &space);
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, lun_id);
    const VvBranch *branch = lun ? vv_meta_branch(pool->meta, lun->branch) : NULL;
    const VvFamily *family = branch ? vv_meta_family(pool->meta, branch->family) : NULL;

    if (!family)
        return UINT64_MAX; /* it is gone: somebody else says so */
    bytes = family->held_blocks << VV_BLOCK_SHIFT;
    if (!family->disks)
        return bytes + space.free_bytes;
    for (unsigned i = 0; i < family->disks->count; i++)
        bytes += (uint64_t) vv_meta_disk(pool->meta, family->disks->ids[i])->free_unit_count << VV_SEGMENT_SHIFT_MIN;
    return bytes;
}

static uint64_t wanted_room(VvPool *pool)
{
    VvSpaceSummary space;

    vv_meta_space(pool->meta, &space);
    return CLAMP(space.total_bytes / 64, UINT64_C(1) << VV_SEGMENT_SHIFT_MIN, VV_SNAPSHOT_ROOM_BYTES);
}

static bool refuse_low_host(VvPool *pool, const char *object, GError **error)
{
    struct statvfs host;
    g_autofree char *left = NULL;
    uint64_t bytes;

    if (statvfs(pool->directory, &host) < 0)
        return true;
    bytes = (uint64_t) host.f_bavail * host.f_frsize;
    if (bytes >= VV_SNAPSHOT_HOST_BYTES)
        return true;
    left = vv_size_format(bytes);
    vv_set_error(error, VV_ERROR_NO_SPACE, object, "vvfs-admin doctor",
        "%s is not taken: the file system of %s has only %s left, and after a snapshot the map grows with every write", object,
        pool->directory, left);
    return false;
}

bool vv_refuse_snapshot(VvPool *pool, const GArray *lun_ids, const char *object, GError **error)
{
    uint64_t wanted = wanted_room(pool);

    if (!vv_refuse_cramped(pool, object, error) || !refuse_low_host(pool, object, error))
        return false;
    for (unsigned i = 0; i < lun_ids->len; i++) {
        uint64_t id = g_array_index(lun_ids, uint64_t, i), room = room_of(pool, id);
        g_autofree char *name = NULL, *left = NULL;

        if (room >= wanted)
            continue;
        name = vv_object_name(pool, id);
        left = vv_size_format(room);
        vv_set_error(error, VV_ERROR_NO_SPACE, object, "vvfs-admin doctor",
            "%s is not taken: only %s are left for %s, and after a snapshot every write to it needs new space", object, left, name);
        return false;
    }
    return true;
}

/* ---- doctor */

/* Journal, map and sparse disk files share the file system of the pool directory; disk files elsewhere have one of their own. */
static void look_at_file_system(const char *path, const char *what, uint64_t least_bytes, GPtrArray *problems)
{
    struct statvfs host;
    g_autofree char *left = NULL;
    uint64_t bytes;

    if (statvfs(path, &host) < 0)
        return;
    bytes = (uint64_t) host.f_bavail * host.f_frsize;
    if (bytes >= least_bytes)
        return;
    left = vv_size_format(bytes);
    vv_problems_add(problems, VV_SEVERITY_CRITICAL, "host-space", path,
        g_strdup_printf("the file system of %s has only %s left: %s", path, left, what), NULL);
}

/* Disks that are sparse files on file systems other than the pool directory's. */
static void look_at_disk_files(VvPool *pool, dev_t own, GPtrArray *problems)
{
    VV_META_READ(pool->meta);
    GPtrArray *disks = vv_meta_disks(pool->meta);

    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *info = g_ptr_array_index(disks, i);
        g_autofree char *path = vv_pool_disk_path(pool->directory, info->path);
        struct stat st;

        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev != own && st.st_blocks * 512 < st.st_size)
            look_at_file_system(path, "the disk file grows in it", VV_HOST_FREE_BYTES_MIN, problems);
    }
}

void vv_look_at_room(VvPool *pool, const char *name, GPtrArray *problems)
{
    struct stat st;

    if (vv_meta_is_cramped(pool->meta)) {
        g_autoptr(GPtrArray) fixes = vv_fixes_new();

        vv_suggest_removals(pool, NULL, fixes);
        vv_problems_add(problems, VV_SEVERITY_CRITICAL, "map-full", name,
            g_strdup_printf("there is no room for the map of pool %s in %s: writes that need new space, snapshots and new LUNs are refused",
                name, pool->directory),
            fixes);
    }
    look_at_file_system(pool->directory, "journal, map and disk files in it need room", VV_HOST_FREE_BYTES_MIN, problems);
    if (stat(pool->directory, &st) == 0)
        look_at_disk_files(pool, st.st_dev, problems);
}
