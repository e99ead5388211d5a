/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is live: points and heads that go, the jobs that follow, branches that end (DESIGN R4, R5, R7, R8).
 *
 * A point is kept by its name, by being open (orphan) and by the branches that hang on it. When the last of these goes,
 * it leaves its branch at once and a job visits the smaller of the page sets around it. A hidden point that is the last
 * of a branch without head and has one branch on it is merged into that branch instead. */
#include "meta_private.h"

#include <errno.h>

static void add_job(VvMeta *meta, const VvJob *job)
{
    VvJob *added = g_memdup2(job, sizeof *job);
    added->id = meta->next_job++;
    added->cursor_epoch = UINT64_MAX;
    vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
    vvm_job_add(meta, added);
    if (meta->hooks != NULL && meta->hooks->job_added != NULL)
        meta->hooks->job_added(meta->hooks_user, added);
}

/* R4: the point (or dropped head) at @epoch has left @branch; @pages counts the pages between its lower neighbour and it. */
static void queue_removal(VvMeta *meta, VvBranch *branch, uint64_t epoch, uint64_t pages, uint64_t lun, uint64_t time_ns)
{
    const VvSnapshot *below = vvm_branch_point_below(branch, epoch), *above = vvm_branch_point_above(branch, epoch);
    VvJob job = { .kind = VV_JOB_RECLAIM, .branch = branch->id, .lun = lun, .point_epoch = epoch, .created_ns = time_ns };
    job.below_epoch = below != NULL ? below->epoch : 0;
    job.total_pages = pages;
    if (above != NULL || branch->lun != 0) {
        uint64_t newer = above != NULL ? above->page_count : branch->head_page_count;
        job.above_epoch = above != NULL ? above->epoch : branch->epoch;
        job.newer_side = newer <= pages;
        job.total_pages = MIN(newer, pages);
    }
    if (job.total_pages > 0)
        add_job(meta, &job);
}

static bool merge_is_queued(const VvBranch *branch, uint64_t epoch, uint64_t child)
{
    for (guint i = 0; i < branch->jobs->len; i++) {
        const VvJob *job = g_ptr_array_index(branch->jobs, i);
        if (job->kind == VV_JOB_MERGE && job->point_epoch == epoch && job->child == child)
            return true;
    }
    return false;
}

/* The pages of the point that goes now count for its upper neighbour. */
static void hand_pages_up(VvMeta *meta, VvBranch *branch, const VvSnapshot *point)
{
    VvSnapshot *above = vvm_branch_point_above(branch, point->epoch);
    if (above != NULL) {
        above->page_count += point->page_count;
        vvm_dirty(meta, VV_TABLE_SNAPSHOT, above->id, 0);
    } else {
        branch->head_page_count += point->page_count;
        vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
    }
}

int vvm_point_settle(VvMeta *meta, VvSnapshot *point, uint64_t lun, uint64_t time_ns)
{
    if (point == NULL || !point->hidden || point->orphan)
        return 0;
    VvBranch *branch = g_hash_table_lookup(meta->branches, &point->branch);
    if (point->kids->len == 0) {
        uint64_t epoch = point->epoch, pages = point->page_count;
        /* The job counts both sides as they are before the point's pages count for its neighbour. */
        g_ptr_array_remove(branch->points, point);
        queue_removal(meta, branch, epoch, pages, lun, time_ns);
        hand_pages_up(meta, branch, point);
        vvm_snapshot_delete(meta, point);
        int result = vvm_point_settle(meta, vvm_branch_last_point(branch), lun, time_ns);
        return result != 0 ? result : vvm_branch_end(meta, branch, time_ns);
    }
    if (point->kids->len == 1 && branch->lun == 0 && point == vvm_branch_last_point(branch)) {
        uint64_t child = g_array_index(point->kids, uint64_t, 0);
        if (!merge_is_queued(branch, point->epoch, child)) {
            VvJob job = { .kind = VV_JOB_MERGE, .branch = branch->id, .lun = lun, .point_epoch = point->epoch, .child = child,
                          .total_pages = point->page_count, .created_ns = time_ns };
            add_job(meta, &job);
        }
    }
    return 0;
}

int vvm_branch_drop_head(VvMeta *meta, VvBranch *branch, uint64_t lun, uint64_t time_ns)
{
    branch->lun = 0;
    vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
    queue_removal(meta, branch, branch->epoch, branch->head_page_count, lun, time_ns);
    uint64_t id = branch->id;
    int result = vvm_point_settle(meta, vvm_branch_last_point(branch), lun, time_ns);
    branch = g_hash_table_lookup(meta->branches, &id);
    return result != 0 || branch == NULL ? result : vvm_branch_end(meta, branch, time_ns);
}

static void remove_kid(VvSnapshot *point, uint64_t branch)
{
    for (guint i = 0; i < point->kids->len; i++) {
        if (g_array_index(point->kids, uint64_t, i) == branch) {
            g_array_remove_index(point->kids, i);
            return;
        }
    }
}

/* R8 */
int vvm_branch_end(VvMeta *meta, VvBranch *branch, uint64_t time_ns)
{
    if (branch->lun != 0 || branch->points->len > 0 || branch->jobs->len > 0)
        return 0;
    VvPageKey from = { .branch = branch->id }, left;
    int result = vvm_index_next(meta, meta->apply_read, &from, &left);
    if (result == 0)
        return vvm_damaged(meta, "branch %" G_GUINT64_FORMAT " ends, but still has the page of region %" G_GUINT64_FORMAT,
                           branch->id, left.region);
    if (result != -ENODATA)
        return result;
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    uint64_t id = branch->id;
    VvSnapshot *origin = g_hash_table_lookup(meta->snapshots, &branch->origin_snapshot);
    vvm_branch_delete(meta, branch);
    family->change_number++;
    if (origin != NULL) {
        remove_kid(origin, id);
        return vvm_point_settle(meta, origin, origin->lun, time_ns);
    }
    bool any = family->branches->len > 0;
    for (guint i = 0; i < family->segments->len && !any; i++)
        any = g_ptr_array_index(family->segments, i) != NULL;
    if (!any)
        vvm_family_delete(meta, family);
    return 0;
}

VvBranch *vvm_branch_hang(VvMeta *meta, VvSnapshot *point, uint64_t id, uint64_t lun)
{
    const VvBranch *parent = vv_meta_branch(meta, point->branch);
    VvBranch *branch = g_new0(VvBranch, 1);
    branch->id = id;
    branch->family = parent->family;
    branch->origin_snapshot = point->id;
    branch->epoch = 1;
    branch->lun = lun;
    vvm_branch_add(meta, branch);
    g_array_append_val(point->kids, id);
    return branch;
}
