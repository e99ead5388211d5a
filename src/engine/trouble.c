/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What failed on a disk: counted and remembered by kind, told once as an event, and shown by doctor for a while.
 *
 * U1  An event tells the first failure of a kind on a disk, and the first after VV_TROUBLE_QUIET_SECONDS without one: a disk that
 *     is gone fails every request.
 * U2  A failed read or write is over when it is over: the disk is asked again each time. A failed sync is not (syncer.c Y2). */
#include "trouble.h"

#include "disk_private.h"
#include "pool_private.h"
#include "problems.h"
#include "transaction.h"

#include <errno.h>
#include <sys/statvfs.h>

#define NS_PER_SECOND UINT64_C(1000000000)

static const char *const words[VV_N_TROUBLES] = { "read", "write", "sync" };

/* ---- on the disk */

void vv_trouble_note(VvDisk *disk, VvTroubleKind kind, uint64_t offset, int result)
{
    VvTrouble *trouble = &disk->troubles.kinds[kind];
    uint64_t now_ns = vv_now_ns();
    bool tell;
    VvTrouble copy;
    {
        VV_LOCKED(&disk->troubles.lock);
        tell = trouble->count == 0 || now_ns > trouble->time_ns + VV_TROUBLE_QUIET_SECONDS * NS_PER_SECOND;
        trouble->count++;
        trouble->offset = offset;
        trouble->time_ns = now_ns;
        trouble->result = result;
        copy = *trouble;
    }
    if (tell && disk->troubles.tell)
        disk->troubles.tell(disk->troubles.user, disk, kind, &copy);
}

void vv_trouble_get(VvDisk *disk, VvTroubleKind kind, VvTrouble *ret_trouble)
{
    VV_LOCKED(&disk->troubles.lock);
    *ret_trouble = disk->troubles.kinds[kind];
}

/* ---- in the pool */

static void tell_cb(void *user, VvDisk *disk, VvTroubleKind kind, const VvTrouble *trouble)
{
    VvPool *pool = user;
    const char *name = disk->label.disk_name;
    g_autofree char *code = g_strdup_printf("disk-%s", words[kind]);

    if (kind == VV_TROUBLE_SYNC)
        vv_pool_event(pool, VV_SEVERITY_CRITICAL, code, name,
            "disk %s failed to sync (%s): what was written to it since its last sync may be lost, and no flush that needs it succeeds until "
            "the pool is stopped and mounted again",
            name, g_strerror(-trouble->result));
    else
        vv_pool_event(pool, VV_SEVERITY_ERROR, code, name, "disk %s failed to %s at offset %" G_GUINT64_FORMAT ": %s", name, words[kind],
            trouble->offset, g_strerror(-trouble->result));
}

void vv_trouble_watch(VvPool *pool, VvDisk *disk)
{
    disk->troubles.tell = tell_cb;
    disk->troubles.user = pool;
}

/* ---- doctor */

static void add_restart(VvPool *pool, GPtrArray *fixes)
{
    if (!vv_pool_mount(pool))
        return;
    vv_fixes_add(fixes, g_strdup_printf("umount %s", vv_pool_mount(pool)), g_strdup("ends the daemon"));
    vv_fixes_add(
        fixes, g_strdup_printf("vvfs %s %s", pool->directory, vv_pool_mount(pool)), g_strdup("goes on with what the disk holds"));
}

static void look_at_sync(VvPool *pool, VvDisk *disk, const char *name, GPtrArray *problems)
{
    g_autoptr(GPtrArray) fixes = vv_fixes_new();
    int error = vv_disk_sync_error(disk);

    if (error == 0)
        return;
    add_restart(pool, fixes);
    vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk", name,
        g_strdup_printf("disk %s failed to sync (%s): no flush that needs it succeeds, and what was not flushed before may be lost", name,
            g_strerror(-error)),
        fixes);
}

/* The last failure of a transfer is not long ago. */
static bool is_recent(const VvTrouble *trouble)
{
    return trouble->count > 0 && vv_now_ns() <= trouble->time_ns + VV_TROUBLE_SHOWN_SECONDS * NS_PER_SECOND;
}

static void look_at_transfers(VvDisk *disk, const char *name, GPtrArray *problems)
{
    for (unsigned kind = VV_TROUBLE_READ; kind <= VV_TROUBLE_WRITE; kind++) {
        VvTrouble trouble;
        g_autofree char *when = NULL;

        vv_trouble_get(disk, kind, &trouble);
        if (!is_recent(&trouble))
            continue;
        when = vv_time_format_local(trouble.time_ns);
        vv_problems_add(problems, VV_SEVERITY_ERROR, "disk", name,
            g_strdup_printf("disk %s failed to %s %" G_GUINT64_FORMAT " times, last at %s, offset %" G_GUINT64_FORMAT ": %s", name, words[kind],
                trouble.count, when, trouble.offset, g_strerror(-trouble.result)),
            NULL);
    }
}

static void look_at_connection(VvDisk *disk, const char *name, GPtrArray *problems)
{
    g_autofree char *why = vv_disk_unreached(disk);

    if (why)
        vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk", name,
            g_strdup_printf("disk %s is not reached (%s): what needs it waits, and fails after %u s", name, why, VV_REMOTE_WAIT_MS / 1000), NULL);
}

void vv_trouble_look(VvPool *pool, VvDisk *disk, const char *name, GPtrArray *problems)
{
    look_at_connection(disk, name, problems);
    look_at_sync(pool, disk, name, problems);
    look_at_transfers(disk, name, problems);
}

VvState vv_pool_disk_state(VvPool *pool, const VvDiskInfo *info)
{
    VvDisk *disk = NULL;
    void *slot;
    g_autofree char *unreached = NULL;

    {
        VV_LOCKED(&pool->disks_lock);
        if (g_hash_table_lookup_extended(pool->disk_slots, &info->id, NULL, &slot))
            disk = g_ptr_array_index(pool->disks, GPOINTER_TO_UINT(slot));
    }
    if (!disk || info->state != VV_STATE_OK)
        return info->state;
    unreached = vv_disk_unreached(disk);
    if (unreached)
        return VV_STATE_MISSING;
    if (vv_disk_sync_error(disk) != 0)
        return VV_STATE_DEGRADED;
    for (unsigned kind = VV_TROUBLE_READ; kind <= VV_TROUBLE_WRITE; kind++) {
        VvTrouble trouble;

        vv_trouble_get(disk, kind, &trouble);
        if (is_recent(&trouble))
            return VV_STATE_DEGRADED;
    }
    return VV_STATE_OK;
}
