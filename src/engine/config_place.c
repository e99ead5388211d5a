/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement: the disks chosen for a LUN when it is made. They are its family's: snapshots and clones share its blocks, so
 * they lie where it lies.
 *
 * P1  A disk is there as long as a family names it: choosing and removing disks are transactions, and removal is refused
 *     while any family, even one that has no LUN any more, names the disk. */
#include "pool_private.h"
#include "transaction.h"

#include <string.h>

#define LUNS_TOLD 3u

static bool is_open(VvPool *pool, const VvDiskInfo *disk)
{
    VV_LOCKED(&pool->disks_lock);
    return g_hash_table_contains(pool->disk_slots, &disk->id);
}

static bool refuse_unusable(VvPool *pool, const VvDiskInfo *disk, const char *lun, GError **error)
{
    bool there = is_open(pool, disk);

    if (disk->state == VV_STATE_OK && there)
        return true;
    vv_set_error(error, VV_ERROR_BUSY, disk->name, "vvfs-admin disk list", "disk %s is %s: %s cannot be put on it",
        disk->name, disk->state == VV_STATE_OK ? "not there" : vv_state_name(disk->state), lun);
    return false;
}

VvDiskSet *vv_choose_disks(VvPool *pool, const char *lun, const char *const *names, GError **error)
{
    uint64_t ids[VV_FAMILY_DISKS_MAX];
    unsigned count = g_strv_length((char **) names);

    if (count == 0) {
        vv_set_error(error, VV_ERROR_USAGE, lun, "vvfs-admin disk list", "no disk is named for %s", lun);
        return NULL;
    }
    if (count > VV_FAMILY_DISKS_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, lun, "Without --disks it may use all disks.",
            "%u disks are named for %s, at most %u can be", count, lun, VV_FAMILY_DISKS_MAX);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++) {
        const VvDiskInfo *disk = vv_find_disk(pool, names[i], error);

        if (!disk || !refuse_unusable(pool, disk, lun, error))
            return NULL;
        for (unsigned k = 0; k < i; k++)
            if (ids[k] == disk->id) {
                vv_set_error(error, VV_ERROR_USAGE, disk->name, NULL, "disk %s is named twice for %s", disk->name, lun);
                return NULL;
            }
        ids[i] = disk->id;
    }
    return vv_disk_set_new(ids, count);
}

/* ---- whose a disk is */

static bool is_chosen(const VvFamily *family, const VvDiskInfo *disk)
{
    return family->disks && vv_disk_set_has(family->disks, disk->id);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Names of the LUNs whose data may lie on the disk by choice, borrowed. *ret_unseen: there is something else, of LUNs that are
 * removed. */
static GPtrArray *luns_of(const VvMeta *meta, const VvDiskInfo *disk, bool *ret_unseen)
{
    GPtrArray *names = g_ptr_array_new();
    const GPtrArray *families = vv_meta_families(meta);

    *ret_unseen = false;
    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);
        unsigned before = names->len;

        for (unsigned k = 0; is_chosen(family, disk) && k < family->branches->len; k++) {
            const VvBranch *branch = g_ptr_array_index(family->branches, k);
            const VvLun *lun = branch->lun ? vv_meta_lun(meta, branch->lun) : NULL;

            if (lun && !lun->orphan)
                g_ptr_array_add(names, lun->name);
        }
        *ret_unseen |= is_chosen(family, disk) && names->len == before;
    }
    g_ptr_array_sort(names, by_name);
    return names;
}

bool vv_refuse_chosen(VvPool *pool, const VvDiskInfo *disk, GError **error)
{
    bool unseen;
    g_autoptr(GPtrArray) names = luns_of(pool->meta, disk, &unseen);
    g_autoptr(GString) list = g_string_new(NULL);

    if (names->len == 0 && !unseen)
        return true;
    if (names->len == 0) {
        vv_set_error(error, VV_ERROR_BUSY, disk->name, "vvfs-admin job wait",
            "disk %s was chosen for a LUN that is removed, but still open or not freed yet", disk->name);
        return false;
    }
    for (unsigned i = 0; i < names->len && i < LUNS_TOLD; i++)
        g_string_append_printf(list, "%s%s", i > 0 ? ", " : "", (const char *) g_ptr_array_index(names, i));
    if (names->len > LUNS_TOLD)
        g_string_append_printf(list, " and %u more", names->len - LUNS_TOLD);
    vv_set_error(error, VV_ERROR_BUSY, disk->name,
        "Copy what is needed to LUNs that may lie elsewhere, and remove these with their snapshots.",
        "disk %s was chosen for %s (`lun create --disks`)", disk->name, list->str);
    return false;
}

bool vv_is_chosen_for_ended(VvPool *pool, const VvDiskInfo *disk)
{
    const GPtrArray *families = vv_meta_families(pool->meta);

    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);

        if (is_chosen(family, disk) && family->branches->len == 0)
            return true;
    }
    return false;
}
