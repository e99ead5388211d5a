/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Applying ops: the one place that changes a pool's metadata, a deterministic function of state and op (I5).
 *
 * The proposer has validated; what does not fit here is damage or a programmer's error, and fails the pool. */
#include "member_table.h"
#include "meta_private.h"

#include <errno.h>
#include <string.h>

/* Ids that ops use are never handed out again, on any node that has applied them. */
static void note_id(VvMeta *meta, uint64_t id)
{
    uint64_t counter = id & (((uint64_t) 1 << VV_ID_TAG_SHIFT) - 1);
    if (id >> VV_ID_TAG_SHIFT == meta->pool.id_tag >> VV_ID_TAG_SHIFT && counter >= meta->pool.next_counter) {
        meta->pool.next_counter = counter + 1;
        vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
    }
}

static VvLun *lun_of(VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->luns, &id); }
static VvSnapshot *snapshot_of(VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->snapshots, &id); }

static int bad(VvMeta *meta, const char *what, uint64_t id)
{
    return vvm_damaged(meta, "an entry of the journal names %s %" G_GUINT64_FORMAT " wrongly", what, id);
}

/* ---- members */
static void set_member(VvMeta *meta, uint8_t kind, uint64_t id, const uint8_t *body, uint32_t body_bytes)
{
    vvm_member_set(meta, kind, id, body, body_bytes);
    if (meta->hooks != NULL && meta->hooks->member_set != NULL)
        meta->hooks->member_set(meta->hooks_user, kind, id);
}

/* A LUN or snapshot goes, and with it what was said of who may use it. */
static void forget_object(VvMeta *meta, uint64_t id)
{
    if (vv_meta_member(meta, VV_MEMBER_OF_OBJECT, id) != NULL)
        set_member(meta, VV_MEMBER_OF_OBJECT, id, NULL, 0);
}

/* ---- disks */
static bool is_chosen(const VvMeta *meta, uint64_t disk)
{
    for (guint i = 0; i < meta->family_list->len; i++) {
        const VvFamily *family = g_ptr_array_index(meta->family_list, i);
        if (family->disks != NULL && vv_disk_set_has(family->disks, disk))
            return true;
    }
    return false;
}

static int apply_disk(VvMeta *meta, const VvOp *op)
{
    if (op->kind == VV_OP_DISK_ADD) {
        if (g_hash_table_contains(meta->disks, &op->disk_add.id))
            return bad(meta, "disk", op->disk_add.id);
        VvDiskInfo *disk = g_new0(VvDiskInfo, 1);
        disk->id = op->disk_add.id;
        disk->uuid = op->disk_add.uuid;
        disk->name = g_strdup(op->disk_add.name);
        disk->path = g_strdup(op->disk_add.path);
        disk->size_bytes = op->disk_add.size_bytes;
        disk->created_ns = op->disk_add.created_ns;
        note_id(meta, disk->id);
        vvm_disk_add(meta, disk);
        return 0;
    }
    VvDiskInfo *disk = g_hash_table_lookup(meta->disks, op->kind == VV_OP_DISK_SET ? &op->disk_set.id : &op->disk_remove.id);
    if (disk == NULL)
        return bad(meta, "disk", op->disk_set.id);
    if (op->kind == VV_OP_DISK_REMOVE) {
        if (disk->free_unit_count != disk->unit_count || is_chosen(meta, disk->id))
            return bad(meta, "disk", disk->id);
        vvm_disk_delete(meta, disk);
        return 0;
    }
    if (op->disk_set.size_bytes < disk->size_bytes || op->disk_set.state > VV_STATE_MISSING)
        return bad(meta, "disk", disk->id);
    vvm_disk_resize(disk, op->disk_set.size_bytes);
    disk->incarnation = op->disk_set.incarnation;
    disk->state = op->disk_set.state;
    g_free(disk->name);
    g_free(disk->path);
    disk->name = g_strdup(op->disk_set.name);
    disk->path = g_strdup(op->disk_set.path);
    vvm_dirty(meta, VV_TABLE_DISK, disk->id, 0);
    return 0;
}

static int apply_grant(VvMeta *meta, const VvOp *op)
{
    VvSegment segment = { .family = op->segment_grant.family, .number = op->segment_grant.number, .kind = op->segment_grant.kind,
                          .shift = op->segment_grant.shift, .copy_count = op->segment_grant.copy_count };
    memcpy(segment.copies, op->segment_grant.copies, sizeof segment.copies);
    return vvm_space_grant(meta, &segment);
}

/* ---- LUNs */
static VvLun *new_lun(VvMeta *meta, uint64_t id, const VvUuid *uuid, const char *name, uint64_t size_bytes, uint64_t branch,
                      const VvLunProps *props, const char *origin, uint64_t created_ns)
{
    VvLun *lun = g_new0(VvLun, 1);
    lun->id = id;
    lun->uuid = *uuid;
    lun->name = g_strdup(name);
    lun->size_bytes = size_bytes;
    lun->branch = branch;
    lun->props = *props;
    lun->origin = g_strdup(origin != NULL ? origin : "");
    lun->created_ns = lun->mtime_ns = lun->atime_ns = lun->ctime_ns = created_ns;
    note_id(meta, id);
    note_id(meta, branch);
    return lun;
}

static int apply_lun_create(VvMeta *meta, const VvOp *op)
{
    if (lun_of(meta, op->lun_create.id) != NULL || vv_meta_lun_by_name(meta, op->lun_create.name) != NULL ||
        vv_meta_family(meta, op->lun_create.family) != NULL || op->lun_create.size_bytes > VV_LUN_BYTES_MAX ||
        !vvm_disks_exist(meta, op->lun_create.disks))
        return bad(meta, "LUN", op->lun_create.id);
    VvFamily *family = g_new0(VvFamily, 1);
    family->id = op->lun_create.family;
    family->disks = vv_disk_set_copy(op->lun_create.disks);
    vvm_family_add(meta, family);
    VvBranch *branch = g_new0(VvBranch, 1);
    branch->id = op->lun_create.branch;
    branch->family = family->id;
    branch->epoch = 1;
    branch->lun = op->lun_create.id;
    vvm_branch_add(meta, branch);
    note_id(meta, family->id);
    VvLun *lun = new_lun(meta, op->lun_create.id, &op->lun_create.uuid, op->lun_create.name, op->lun_create.size_bytes,
                         branch->id, &op->lun_create.props, NULL, op->lun_create.created_ns);
    lun->elastic = op->lun_create.elastic;
    vvm_lun_add(meta, lun);
    return 0;
}

static void set_props(VvLunProps *props, const VvLunProps *from, uint32_t mask)
{
    if ((mask & VV_LUN_MODE) != 0)
        props->mode = from->mode & 07777;
    if ((mask & VV_LUN_UID) != 0)
        props->uid = from->uid;
    if ((mask & VV_LUN_GID) != 0)
        props->gid = from->gid;
    if ((mask & VV_LUN_INTEGRITY) != 0)
        props->integrity = from->integrity;
    if ((mask & VV_LUN_REDIRECT) != 0)
        props->redirect_always = from->redirect_always;
    if ((mask & VV_LUN_ON_FULL) != 0)
        props->on_full = from->on_full;
    if ((mask & VV_LUN_COPIES) != 0)
        props->copies = from->copies;
    if ((mask & VV_LUN_TIMEOUT) != 0)
        props->timeout_s = from->timeout_s;
    if ((mask & VV_LUN_KEEP) != 0)
        props->keep_until_ns = from->keep_until_ns;
}

static int apply_lun_change(VvMeta *meta, const VvOp *op)
{
    /* The id is the first field of all three. */
    VvLun *lun = lun_of(meta, op->lun_set.id);
    if (lun == NULL)
        return bad(meta, "LUN", op->lun_set.id);
    vvm_dirty(meta, VV_TABLE_LUN, lun->id, 0);
    if (op->kind == VV_OP_LUN_RENAME) {
        if (lun->orphan || vv_meta_lun_by_name(meta, op->lun_rename.name) != NULL)
            return bad(meta, "LUN", lun->id);
        g_hash_table_remove(meta->lun_names, lun->name);
        g_free(lun->name);
        lun->name = g_strdup(op->lun_rename.name);
        lun->ctime_ns = op->lun_rename.ctime_ns;
        g_hash_table_insert(meta->lun_names, lun->name, lun);
    } else if (op->kind == VV_OP_LUN_SIZE) {
        if (op->lun_size.size_bytes > VV_LUN_BYTES_MAX)
            return bad(meta, "LUN", lun->id);
        lun->size_bytes = op->lun_size.size_bytes;
        lun->mtime_ns = lun->ctime_ns = MAX(lun->mtime_ns, op->lun_size.mtime_ns);
    } else {
        set_props(&lun->props, &op->lun_set.props, op->lun_set.mask);
        if ((op->lun_set.mask & VV_LUN_MTIME) != 0)
            lun->mtime_ns = op->lun_set.mtime_ns;
        if ((op->lun_set.mask & VV_LUN_ATIME) != 0)
            lun->atime_ns = op->lun_set.atime_ns;
        if ((op->lun_set.mask & VV_LUN_ELASTIC) != 0)
            lun->elastic = op->lun_set.elastic;
        if (op->lun_set.ctime_ns != 0)
            lun->ctime_ns = op->lun_set.ctime_ns;
    }
    return 0;
}

/* Of a LUN; or (@lun 0) the scrub. */
static VvJob *job_of(const VvMeta *meta, VvJobKind kind, uint64_t lun)
{
    for (guint i = 0; i < meta->job_list->len; i++) {
        VvJob *job = g_ptr_array_index(meta->job_list, i);
        if (job->kind == kind && job->lun == lun)
            return job;
    }
    return NULL;
}

static void end_job(VvMeta *meta, VvJob *job)
{
    if (meta->hooks != NULL && meta->hooks->job_ended != NULL)
        meta->hooks->job_ended(meta->hooks_user, job);
    vvm_job_delete(meta, job);
}

static void end_repack(VvMeta *meta, uint64_t lun)
{
    VvJob *job = job_of(meta, VV_JOB_REPACK, lun);
    if (job != NULL)
        end_job(meta, job);
}

static int delete_lun(VvMeta *meta, VvLun *lun, uint64_t time_ns)
{
    VvBranch *branch = g_hash_table_lookup(meta->branches, &lun->branch);
    uint64_t id = lun->id;
    end_repack(meta, id);
    forget_object(meta, id);
    vvm_lun_delete(meta, lun);
    return vvm_branch_drop_head(meta, branch, id, time_ns);
}

static int apply_lun_remove(VvMeta *meta, const VvOp *op)
{
    VvLun *lun = lun_of(meta, op->lun_remove.id);
    if (lun == NULL || lun->orphan || lun->snapshots->len > 0)
        return bad(meta, "LUN", op->lun_remove.id);
    if (!op->lun_remove.orphan)
        return delete_lun(meta, lun, op->lun_remove.time_ns);
    end_repack(meta, lun->id);
    vvm_lun_make_orphan(meta, lun);
    return 0;
}

static int apply_map(VvMeta *meta, const VvOp *op)
{
    VvLun *lun = lun_of(meta, op->map.lun);
    if (lun == NULL)
        return bad(meta, "LUN", op->map.lun);
    for (uint32_t i = 0; i < op->map.change_count;) {
        uint32_t n = 1;
        while (i + n < op->map.change_count && op->map.changes[i + n].region == op->map.changes[i].region)
            n++;
        int result = vvm_map_edit(meta, lun, op->map.changes + i, n, op->map.sums);
        if (result != 0)
            return result;
        i += n;
    }
    if (op->map.mtime_ns > lun->mtime_ns)
        lun->mtime_ns = lun->ctime_ns = op->map.mtime_ns;
    if (op->map.size_bytes != UINT64_MAX)
        lun->size_bytes = MIN(op->map.size_bytes, VV_LUN_BYTES_MAX);
    lun->sequence = MAX(lun->sequence, op->map.sequence);
    vvm_dirty(meta, VV_TABLE_LUN, lun->id, 0);
    return 0;
}

/* ---- snapshots */
static int apply_snapshot_create(VvMeta *meta, const VvOp *op)
{
    VvLun *lun = lun_of(meta, op->snapshot_create.lun);
    bool hidden = op->snapshot_create.name == NULL || op->snapshot_create.name[0] == 0;
    if (lun == NULL || snapshot_of(meta, op->snapshot_create.id) != NULL || op->snapshot_create.form != 0 ||
        (!hidden && (lun->orphan || vv_meta_snapshot_by_name(meta, lun, op->snapshot_create.name) != NULL)))
        return bad(meta, "snapshot", op->snapshot_create.id);
    VvBranch *branch = g_hash_table_lookup(meta->branches, &lun->branch);
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    VvSnapshot *s = g_new0(VvSnapshot, 1);
    s->id = op->snapshot_create.id;
    s->uuid = op->snapshot_create.uuid;
    s->lun = lun->id;
    s->name = g_strdup(hidden ? "" : op->snapshot_create.name);
    s->note = g_strdup(op->snapshot_create.note != NULL ? op->snapshot_create.note : "");
    s->branch = branch->id;
    s->epoch = branch->epoch;
    s->size_bytes = lun->size_bytes;
    s->used_blocks = lun->used_blocks;
    s->mtime_ns = lun->mtime_ns;
    s->page_count = branch->head_page_count;
    s->created_ns = op->snapshot_create.created_ns;
    s->keep_until_ns = op->snapshot_create.keep_until_ns;
    s->kind = op->snapshot_create.kind;
    s->hidden = hidden;
    branch->head_page_count = 0;
    branch->epoch++;
    family->change_number++;
    note_id(meta, s->id);
    vvm_snapshot_add(meta, s);
    vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
    return 0;
}

static int apply_snapshot_change(VvMeta *meta, const VvOp *op)
{
    VvSnapshot *s = snapshot_of(meta, op->snapshot_set.id);
    if (s == NULL || s->hidden)
        return bad(meta, "snapshot", op->snapshot_set.id);
    if (op->kind == VV_OP_SNAPSHOT_SET) {
        s->keep_until_ns = op->snapshot_set.keep_until_ns;
        g_free(s->note);
        s->note = g_strdup(op->snapshot_set.note != NULL ? op->snapshot_set.note : "");
        vvm_dirty(meta, VV_TABLE_SNAPSHOT, s->id, 0);
        return 0;
    }
    if (vv_meta_snapshot_by_name(meta, vv_meta_lun(meta, s->lun), op->snapshot_rename.name) != NULL)
        return bad(meta, "snapshot", s->id);
    vvm_snapshot_rename(meta, s, op->snapshot_rename.name);
    return 0;
}

static int apply_snapshot_remove(VvMeta *meta, const VvOp *op)
{
    VvSnapshot *s = snapshot_of(meta, op->snapshot_remove.id);
    if (s == NULL || s->hidden)
        return bad(meta, "snapshot", op->snapshot_remove.id);
    if (!op->snapshot_remove.orphan)
        forget_object(meta, s->id);
    vvm_snapshot_hide(meta, s, op->snapshot_remove.orphan);
    return vvm_point_settle(meta, s, s->lun, op->snapshot_remove.time_ns);
}

static int apply_purge(VvMeta *meta, const VvOp *op)
{
    if (op->purge.snapshot) {
        VvSnapshot *s = snapshot_of(meta, op->purge.id);
        if (s == NULL || !s->orphan)
            return bad(meta, "snapshot", op->purge.id);
        forget_object(meta, s->id);
        vvm_snapshot_hide(meta, s, false);
        return vvm_point_settle(meta, s, s->lun, op->purge.time_ns);
    }
    VvLun *lun = lun_of(meta, op->purge.id);
    if (lun == NULL || !lun->orphan)
        return bad(meta, "LUN", op->purge.id);
    return delete_lun(meta, lun, op->purge.time_ns);
}

/* ---- new branches */
static int apply_clone(VvMeta *meta, const VvOp *op)
{
    VvSnapshot *s = snapshot_of(meta, op->clone.snapshot);
    if (s == NULL || lun_of(meta, op->clone.id) != NULL || vv_meta_lun_by_name(meta, op->clone.name) != NULL ||
        vv_meta_branch(meta, op->clone.branch) != NULL)
        return bad(meta, "snapshot", op->clone.snapshot);
    VvBranch *branch = vvm_branch_hang(meta, s, op->clone.branch, op->clone.id);
    VvLun *lun = new_lun(meta, op->clone.id, &op->clone.uuid, op->clone.name, s->size_bytes, branch->id, &op->clone.props,
                         op->clone.origin, op->clone.created_ns);
    lun->used_blocks = s->used_blocks;
    vvm_lun_add(meta, lun);
    return 0;
}

static int move_lun(VvMeta *meta, VvLun *lun, VvSnapshot *s, uint64_t branch_id, const char *origin, uint64_t time_ns)
{
    VvBranch *old = g_hash_table_lookup(meta->branches, &lun->branch);
    vvm_branch_hang(meta, s, branch_id, lun->id);
    note_id(meta, branch_id);
    lun->branch = branch_id;
    lun->size_bytes = s->size_bytes;
    lun->used_blocks = s->used_blocks;
    lun->mtime_ns = lun->ctime_ns = MAX(time_ns, lun->mtime_ns);
    if (origin != NULL) {
        g_free(lun->origin);
        lun->origin = g_strdup(origin);
    }
    vvm_dirty(meta, VV_TABLE_LUN, lun->id, 0);
    return vvm_branch_drop_head(meta, old, lun->id, time_ns);
}

static int apply_restore(VvMeta *meta, const VvOp *op)
{
    VvLun *lun = lun_of(meta, op->restore.lun);
    VvSnapshot *s = snapshot_of(meta, op->restore.snapshot);
    if (lun == NULL || s == NULL || s->lun != lun->id || s->hidden || vv_meta_branch(meta, op->restore.branch) != NULL)
        return bad(meta, "snapshot", op->restore.snapshot);
    if (op->restore.count_restore)
        lun->restore_count++;
    return move_lun(meta, lun, s, op->restore.branch, op->restore.origin, op->restore.time_ns);
}

static int apply_adopt(VvMeta *meta, const VvOp *op)
{
    VvLun *lun = lun_of(meta, op->adopt.lun);
    VvSnapshot *s = snapshot_of(meta, op->adopt.snapshot);
    if (lun == NULL || s == NULL || lun->used_blocks != 0 || lun->snapshots->len > 0 || s->lun == lun->id ||
        vv_meta_branch(meta, op->adopt.branch) != NULL || op->adopt.size_bytes > VV_LUN_BYTES_MAX ||
        !vv_space_may_adopt(meta, lun, s->branch))
        return bad(meta, "LUN", op->adopt.lun);
    int result = move_lun(meta, lun, s, op->adopt.branch, op->adopt.origin, op->adopt.time_ns);
    lun->size_bytes = op->adopt.size_bytes;
    return result;
}

static int apply_job_set(VvMeta *meta, const VvOp *op)
{
    VvJob *job = g_hash_table_lookup(meta->jobs, &op->job_set.id);
    VvJobState state = op->job_set.state;
    if (job == NULL)
        return 0; /* it ended meanwhile */
    if ((job->kind == VV_JOB_REPACK || job->kind == VV_JOB_SCRUB) && (state == VV_JOB_DONE || state == VV_JOB_CANCELLED)) {
        end_job(meta, job);
        return 0;
    }
    if (state != VV_JOB_PAUSED && state != VV_JOB_QUEUED)
        return 0;
    job->state = state;
    vvm_dirty(meta, VV_TABLE_JOB, job->id, 0);
    return 0;
}

static int apply_job_add(VvMeta *meta, const VvOp *op)
{
    VvJobKind kind = op->job_add.kind;
    if ((kind != VV_JOB_REPACK && kind != VV_JOB_SCRUB) || (kind == VV_JOB_SCRUB && op->job_add.lun != 0))
        return bad(meta, "job", op->job_add.kind);
    if ((kind == VV_JOB_REPACK && lun_of(meta, op->job_add.lun) == NULL) || job_of(meta, kind, op->job_add.lun) != NULL)
        return 0; /* the LUN went meanwhile, or somebody was faster */
    VvJob *job = g_new0(VvJob, 1);
    job->id = meta->next_job++;
    job->kind = kind;
    job->above_epoch = op->job_add.rate_bytes;
    job->lun = op->job_add.lun;
    job->total_pages = op->job_add.total;
    job->created_ns = op->job_add.created_ns;
    vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
    vvm_job_add(meta, job);
    if (meta->hooks != NULL && meta->hooks->job_added != NULL)
        meta->hooks->job_added(meta->hooks_user, job);
    return 0;
}

static int apply_job_step(VvMeta *meta, const VvOp *op)
{
    VvJob *job = g_hash_table_lookup(meta->jobs, &op->job_step.id);
    if (job == NULL || job->kind != (op->job_step.scrub ? VV_JOB_SCRUB : VV_JOB_REPACK))
        return 0; /* it ended meanwhile */
    if (op->job_step.scrub) {
        job->cursor_epoch = op->job_step.disk;
        job->point_epoch = op->job_step.errors;
    }
    job->cursor_region = op->job_step.cursor;
    job->done_pages = op->job_step.done;
    job->total_pages = op->job_step.total;
    vvm_dirty(meta, VV_TABLE_JOB, job->id, 0);
    return 0;
}

static int apply_request(VvMeta *meta, const VvOp *op)
{
    VvRequestRecord *request = g_new0(VvRequestRecord, 1);
    request->time_ns = op->request.time_ns;
    request->id = g_strdup(op->request.id);
    request->result = g_strdup(op->request.result);
    vvm_request_add(meta, request);
    return 0;
}

int vvm_apply_op(VvMeta *meta, const VvOp *op)
{
    switch (op->kind) {
    case VV_OP_NOOP:
        return 0;
    case VV_OP_POOL_SET:
        if (op->pool_set.value[0] != 0)
            g_hash_table_replace(meta->pool.settings, g_strdup(op->pool_set.key), g_strdup(op->pool_set.value));
        else
            g_hash_table_remove(meta->pool.settings, op->pool_set.key);
        vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
        return 0;
    case VV_OP_DISK_ADD:
    case VV_OP_DISK_SET:
    case VV_OP_DISK_REMOVE:
        return apply_disk(meta, op);
    case VV_OP_SEGMENT_GRANT:
        return apply_grant(meta, op);
    case VV_OP_SEGMENT_SHRINK:
        return vvm_space_shrink(meta, op->segment_shrink.family, op->segment_shrink.number, op->segment_shrink.shift);
    case VV_OP_LUN_CREATE:
        return apply_lun_create(meta, op);
    case VV_OP_LUN_SET:
    case VV_OP_LUN_RENAME:
    case VV_OP_LUN_SIZE:
        return apply_lun_change(meta, op);
    case VV_OP_LUN_REMOVE:
        return apply_lun_remove(meta, op);
    case VV_OP_MAP:
        return apply_map(meta, op);
    case VV_OP_SNAPSHOT_CREATE:
        return apply_snapshot_create(meta, op);
    case VV_OP_SNAPSHOT_SET:
    case VV_OP_SNAPSHOT_RENAME:
        return apply_snapshot_change(meta, op);
    case VV_OP_SNAPSHOT_REMOVE:
        return apply_snapshot_remove(meta, op);
    case VV_OP_CLONE:
        return apply_clone(meta, op);
    case VV_OP_RESTORE:
        return apply_restore(meta, op);
    case VV_OP_ADOPT:
        return apply_adopt(meta, op);
    case VV_OP_PURGE:
        return apply_purge(meta, op);
    case VV_OP_RECLAIM:
        return vvm_reclaim(meta, op->reclaim.branch, op->reclaim.count);
    case VV_OP_MOVE:
        return vvm_move(meta, op);
    case VV_OP_JOB_SET:
        return apply_job_set(meta, op);
    case VV_OP_JOB_ADD:
        return apply_job_add(meta, op);
    case VV_OP_JOB_STEP:
        return apply_job_step(meta, op);
    case VV_OP_REQUEST:
        return apply_request(meta, op);
    case VV_OP_MEMBER_SET:
        set_member(meta, op->member_set.kind, op->member_set.id, op->member_set.body, op->member_set.body_bytes);
        return 0;
    default:
        return bad(meta, "op", (uint64_t) op->kind);
    }
}
