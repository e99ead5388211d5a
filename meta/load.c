/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Filling the catalog from the store at start. What a record leaves out (indexes, kids, sums) is derived here. */
#include "base_private.h"
#include "codec.h"
#include "error.h"
#include "member_table.h"
#include "meta_private.h"

#include <errno.h>

typedef bool (*LoadFunc)(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes);

static bool load_disk(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    VvDiskInfo *disk = key_bytes == 8 ? vvm_disk_decode(vv_get_be64(key), value, value_bytes) : NULL;
    if (disk != NULL)
        vvm_disk_add(meta, disk);
    return disk != NULL;
}

static bool load_family(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    VvFamily *family = key_bytes == 8 ? vvm_family_decode(vv_get_be64(key), value, value_bytes) : NULL;
    if (family == NULL || !vvm_disks_exist(meta, family->disks)) {
        if (family != NULL)
            g_free(family->disks);
        g_free(family);
        return false;
    }
    vvm_family_add(meta, family);
    return true;
}

static bool load_segment(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    if (key_bytes != 16)
        return false;
    uint64_t family_id = vv_get_be64(key);
    VvFamily *family = g_hash_table_lookup(meta->families, &family_id);
    VvSegment *segment = vvm_segment_decode(family_id, vv_get_be64(key + 8), value, value_bytes);
    if (segment == NULL || family == NULL || segment->number >= family->next_segment) {
        g_free(segment);
        return false;
    }
    for (unsigned i = 0; i < segment->copy_count; i++) {
        VvDiskInfo *disk = g_hash_table_lookup(meta->disks, &segment->copies[i].disk_id);
        if (disk == NULL || !vvm_units_take(disk, segment->copies[i].unit, 1u << (segment->shift - VV_SEGMENT_SHIFT_MIN))) {
            g_free(segment);
            return false;
        }
    }
    vvm_segment_add(meta, family, segment);
    return true;
}

static bool load_branch(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    VvBranch *branch = key_bytes == 8 ? vvm_branch_decode(vv_get_be64(key), value, value_bytes) : NULL;
    if (branch == NULL || !g_hash_table_contains(meta->families, &branch->family)) {
        g_free(branch);
        return false;
    }
    vvm_branch_add(meta, branch);
    return true;
}

static bool add_lun(VvMeta *meta, uint64_t id, bool orphan, const uint8_t *value, size_t value_bytes)
{
    VvLun *lun = vvm_lun_decode(id, value, value_bytes);
    VvBranch *branch = lun != NULL ? g_hash_table_lookup(meta->branches, &lun->branch) : NULL;
    if (branch == NULL || branch->lun != id || lun->orphan != orphan ||
        (!orphan && g_hash_table_contains(meta->lun_names, lun->name))) {
        if (lun != NULL) {
            g_free(lun->name);
            g_free(lun->origin);
        }
        g_free(lun);
        return false;
    }
    vvm_lun_add(meta, lun);
    return true;
}

static bool add_snapshot(VvMeta *meta, uint64_t id, bool orphan, const uint8_t *value, size_t value_bytes)
{
    VvSnapshot *s = vvm_snapshot_decode(id, value, value_bytes);
    if (s == NULL)
        return false;
    const VvBranch *branch = vv_meta_branch(meta, s->branch);
    const VvLun *lun = vv_meta_lun(meta, s->lun);
    if (branch == NULL || s->orphan != orphan || s->epoch >= branch->epoch || (!s->hidden && lun == NULL) ||
        (!s->hidden && vv_meta_snapshot_by_name(meta, lun, s->name) != NULL)) {
        g_free(s->name);
        g_free(s->note);
        g_free(s);
        return false;
    }
    vvm_snapshot_add(meta, s);
    return true;
}

static bool load_lun(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    return key_bytes == 8 && add_lun(meta, vv_get_be64(key), false, value, value_bytes);
}

static bool load_snapshot(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    return key_bytes == 8 && add_snapshot(meta, vv_get_be64(key), false, value, value_bytes);
}

static bool load_orphan(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    if (key_bytes != 9 || key[0] > 1)
        return false;
    uint64_t id = vv_get_be64(key + 1);
    return key[0] == 0 ? add_lun(meta, id, true, value, value_bytes) : add_snapshot(meta, id, true, value, value_bytes);
}

static bool load_job(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    VvJob *job = key_bytes == 8 ? vvm_job_decode(vv_get_be64(key), value, value_bytes) : NULL;
    bool known = job != NULL && (job->kind == VV_JOB_SCRUB    ? job->branch == 0 && job->lun == 0
                                 : job->kind == VV_JOB_REPACK ? job->branch == 0 && g_hash_table_contains(meta->luns, &job->lun)
                                                              : g_hash_table_contains(meta->branches, &job->branch));
    if (!known) {
        g_free(job);
        return false;
    }
    vvm_job_add(meta, job);
    return true;
}

static bool load_request(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    (void) key;
    VvRequestRecord *request = key_bytes == 16 ? vvm_request_decode(value, value_bytes) : NULL;
    if (request != NULL)
        vvm_request_add(meta, request);
    return request != NULL;
}

static bool load_member(VvMeta *meta, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    VvMemberRecord *member = key_bytes == 9 ? vvm_member_decode(key[0], vv_get_be64(key + 1), value, value_bytes) : NULL;
    if (member != NULL)
        vvm_member_set(meta, member->kind, member->id, member->body, member->body_bytes);
    g_free(member);
    return member != NULL;
}

static bool load_table(VvMeta *meta, VvStoreRead *read, VvTable table, LoadFunc load, GError **error)
{
    const uint8_t *key, *value;
    size_t key_bytes, value_bytes;
    static const uint8_t first[1];
    int result = vv_store_seek(read, table, VV_SEEK_GE, first, sizeof first, &key, &key_bytes, &value, &value_bytes);
    while (result == 0) {
        if (!load(meta, key, key_bytes, value, value_bytes)) {
            GString *hex = g_string_new(NULL);
            for (size_t i = 0; i < key_bytes; i++)
                g_string_append_printf(hex, "%02x", key[i]);
            vv_set_error(error, VV_ERROR_DAMAGED, meta->directory, NULL,
                         "pool directory %s: table %s: the record with key %s is damaged", meta->directory,
                         vv_table_name(table), hex->str);
            g_string_free(hex, TRUE);
            return false;
        }
        result = vv_store_next(read, table, &key, &key_bytes, &value, &value_bytes);
    }
    if (result == -ENODATA)
        return true;
    vv_set_error_errno(error, result, meta->directory, "cannot read table %s of pool directory %s", vv_table_name(table),
                       meta->directory);
    return false;
}

/* The pool's record tells how many there are: a node that is missing would be let in again. */
static bool load_members(VvMeta *meta, VvStoreRead *read, GError **error)
{
    uint64_t count = meta->pool.member_count;
    meta->pool.member_count = 0;
    if (!load_table(meta, read, VV_TABLE_MEMBER, load_member, error))
        return false;
    if (meta->pool.member_count == count)
        return true;
    vv_set_error(error, VV_ERROR_DAMAGED, meta->directory, NULL,
                 "pool directory %s: table member has %" G_GUINT64_FORMAT " records instead of %" G_GUINT64_FORMAT, meta->directory,
                 meta->pool.member_count, count);
    return false;
}

static bool link_branches(VvMeta *meta, GError **error)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, meta->branches);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VvBranch *branch = value;
        if (branch->origin_snapshot == 0)
            continue;
        VvSnapshot *origin = g_hash_table_lookup(meta->snapshots, &branch->origin_snapshot);
        if (origin == NULL) {
            vv_set_error(error, VV_ERROR_DAMAGED, meta->directory, "vvfs-admin pool check",
                         "pool directory %s: branch %" G_GUINT64_FORMAT " hangs on a snapshot that does not exist",
                         meta->directory, branch->id);
            return false;
        }
        g_array_append_val(origin->kids, branch->id);
    }
    /* Ascending, so that every start walks them in the same order. */
    g_hash_table_iter_init(&iter, meta->snapshots);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        GArray *kids = ((VvSnapshot *) value)->kids;
        for (guint i = 1; i < kids->len; i++) {
            for (guint j = i; j > 0 && g_array_index(kids, uint64_t, j - 1) > g_array_index(kids, uint64_t, j); j--) {
                uint64_t swap = g_array_index(kids, uint64_t, j);
                g_array_index(kids, uint64_t, j) = g_array_index(kids, uint64_t, j - 1);
                g_array_index(kids, uint64_t, j - 1) = swap;
            }
        }
    }
    return true;
}

bool vvm_catalog_load(VvMeta *meta, GError **error)
{
    static const struct { VvTable table; LoadFunc load; } order[] = {
        { VV_TABLE_DISK, load_disk },     { VV_TABLE_FAMILY, load_family },     { VV_TABLE_SEGMENT, load_segment },
        { VV_TABLE_BRANCH, load_branch }, { VV_TABLE_LUN, load_lun },           { VV_TABLE_SNAPSHOT, load_snapshot },
        { VV_TABLE_ORPHAN, load_orphan }, { VV_TABLE_JOB, load_job },           { VV_TABLE_REQUEST, load_request },
    };
    VvStoreRead *read;
    int result = vv_store_read_begin(meta->store, &read);
    if (result != 0) {
        vv_set_error_errno(error, result, meta->directory, "cannot read the map of pool directory %s", meta->directory);
        return false;
    }
    static const uint8_t pool_key[1];
    const uint8_t *value;
    size_t value_bytes;
    result = vv_store_get(read, VV_TABLE_POOL, pool_key, sizeof pool_key, &value, &value_bytes);
    bool ok = result == 0 && vvm_pool_decode(meta, value, value_bytes);
    if (!ok)
        vv_set_error(error, VV_ERROR_DAMAGED, meta->directory, NULL, "pool directory %s: the pool's record is damaged",
                     meta->directory);
    for (unsigned i = 0; ok && i < G_N_ELEMENTS(order); i++)
        ok = load_table(meta, read, order[i].table, order[i].load, error);
    ok = ok && load_members(meta, read, error);
    if (ok && !vvm_base_load(meta, read)) {
        vv_set_error(error, VV_ERROR_DAMAGED, meta->directory, NULL,
                     "pool directory %s: the record of what the cluster's log has brought is damaged", meta->directory);
        ok = false;
    }
    vv_store_read_end(read);
    ok = ok && link_branches(meta, error);
    vv_set_clear(&meta->dirty);
    return ok;
}
