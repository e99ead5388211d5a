/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs on a branch's pages: removal (R3, R4) and merge (R7), one page visit at a time, the cursor in the job.
 *
 * Nothing here looks at LUNs: a page goes when no live point lies between it and its successor. */
#include "meta_private.h"

#include <errno.h>

static int decode(VvMeta *meta, const VvVersion *version, VvPage *page)
{
    int result = vv_page_decode(version->bytes, version->length_bytes, &version->key, page);
    if (result == -EUCLEAN)
        return vvm_damaged(meta, "the page of branch %" G_GUINT64_FORMAT ", region %" G_GUINT64_FORMAT ", epoch %" G_GUINT64_FORMAT
                           " does not decode", version->key.branch, version->key.region, version->key.epoch);
    return result;
}

/* R3, then R6 for the successor. @successor may be NULL. Both versions' bytes are used before anything changes. */
static int remove_page(VvMeta *meta, const VvVersion *gone, const VvVersion *successor)
{
    VvPage p, q = { 0 };
    int result = decode(meta, gone, &p);
    if (result == 0 && successor != NULL)
        result = decode(meta, successor, &q);
    if (result != 0)
        return result;
    VvPageKey gone_key = gone->key, q_key = { 0 };
    if (successor != NULL)
        q_key = successor->key;
    const VvBranch *branch = vv_meta_branch(meta, gone_key.branch);
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    bool changed = false;
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        if (!vv_place_own(p.place[i]))
            continue;
        if (vv_place_same(q.place[i], p.place[i]) && !vv_place_own(q.place[i])) {
            q.place[i] |= VV_PLACE_OWN;
            changed = true;
        } else {
            result = vvm_space_release(meta, family, p.place[i]);
            if (result != 0)
                return result;
        }
    }
    result = vvm_page_remove(meta, &gone_key);
    if (result == 0 && successor != NULL && (changed || vv_page_mapped_count(&q) == 0))
        result = vvm_page_store(meta, &q_key, &q, false);
    return result;
}

/* 1: the job is done; 0: one page was visited; else an error. */
static int step_removal(VvMeta *meta, VvBranch *branch, VvJob *job)
{
    uint64_t low = job->newer_side ? job->point_epoch : job->below_epoch;
    uint64_t high = job->newer_side ? job->above_epoch : job->point_epoch;
    /* A merge may have left pages of epoch 0 in the lowest interval. */
    VvPageKey from = { .branch = branch->id, .epoch = low == 0 ? 0 : low + 1 }, at;
    if (job->cursor_epoch != UINT64_MAX) {
        from.epoch = job->cursor_epoch;
        from.region = job->cursor_region + 1;
    }
    int result = vvm_index_next(meta, meta->apply_read, &from, &at);
    if (result == -ENODATA || (result == 0 && at.epoch > high))
        return 1;
    if (result != 0)
        return result;
    job->cursor_epoch = at.epoch;
    job->cursor_region = at.region;
    job->done_pages++;
    VvVersion gone, next;
    result = vvm_version_at_or_below(meta, meta->apply_read, branch->id, at.region, job->newer_side ? job->point_epoch : at.epoch, &gone);
    if (result == -ENODATA || (result == 0 && job->below_epoch != 0 && gone.key.epoch <= job->below_epoch))
        return 0; /* nothing of this point's there */
    if (result != 0)
        return result;
    result = vvm_version_at_or_above(meta, meta->apply_read, branch->id, at.region, gone.key.epoch + 1, &next);
    if (result != 0 && result != -ENODATA)
        return result;
    bool has_next = result == 0;
    if (job->above_epoch == 0 || (has_next && next.key.epoch <= job->above_epoch))
        return remove_page(meta, &gone, has_next ? &next : NULL);
    return 0;
}

/* Move @page of the merged branch to the child, unless it has become useless there. */
static int move_page(VvMeta *meta, const VvVersion *version, const VvBranch *child)
{
    VvPage page;
    int result = decode(meta, version, &page);
    if (result != 0)
        return result;
    VvPageKey old = version->key, moved = { .branch = child->id, .region = old.region, .epoch = 0 };
    result = vvm_page_remove(meta, &old);
    return result == 0 ? vvm_page_store(meta, &moved, &page, true) : result;
}

static int end_merge(VvMeta *meta, VvBranch *branch, VvBranch *child, VvSnapshot *point, uint64_t time_ns)
{
    VvSnapshot *below = vvm_branch_point_below(branch, point->epoch);
    uint64_t lun = point->lun;
    vvm_snapshot_delete(meta, point);
    vvm_dirty(meta, VV_TABLE_BRANCH, child->id, 0);
    if (below != NULL) {
        child->origin_snapshot = below->id;
        g_array_append_val(below->kids, child->id);
        return vvm_point_settle(meta, below, lun, time_ns);
    }
    VvSnapshot *origin = g_hash_table_lookup(meta->snapshots, &branch->origin_snapshot);
    child->origin_snapshot = branch->origin_snapshot;
    branch->origin_snapshot = 0;
    vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
    if (origin == NULL)
        return 0;
    for (guint i = 0; i < origin->kids->len; i++) {
        if (g_array_index(origin->kids, uint64_t, i) == branch->id)
            g_array_remove_index(origin->kids, i--);
    }
    g_array_append_val(origin->kids, child->id);
    return vvm_point_settle(meta, origin, lun, time_ns);
}

static VvSnapshot *point_at(const VvBranch *branch, uint64_t epoch)
{
    VvSnapshot *point = vvm_branch_point_below(branch, epoch + 1);
    return point != NULL && point->epoch == epoch ? point : NULL;
}

static int step_merge(VvMeta *meta, VvBranch *branch, VvJob *job)
{
    VvBranch *child = g_hash_table_lookup(meta->branches, &job->child);
    VvSnapshot *point = point_at(branch, job->point_epoch);
    if (child == NULL || point == NULL || (child->lun == 0 && child->points->len == 0))
        return 1; /* the child is ending: its end ends the point */
    const VvSnapshot *below = vvm_branch_point_below(branch, point->epoch);
    VvPageKey from = { .branch = branch->id, .epoch = below == NULL ? 0 : below->epoch + 1 }, at;
    int result = vvm_index_next(meta, meta->apply_read, &from, &at);
    if (result == -ENODATA || (result == 0 && at.epoch > point->epoch)) {
        result = end_merge(meta, branch, child, point, job->created_ns);
        return result != 0 ? result : 1;
    }
    if (result != 0)
        return result;
    job->done_pages++;
    VvVersion page, next;
    result = vvm_version_at_or_below(meta, meta->apply_read, branch->id, at.region, at.epoch, &page);
    if (result != 0)
        return result == -ENODATA ? vvm_damaged(meta, "the index of branch %" G_GUINT64_FORMAT " names a page that is not there", branch->id) : result;
    result = vvm_version_at_or_above(meta, meta->apply_read, branch->id, at.region, at.epoch + 1, &next);
    if (result == -ENODATA) {
        const VvSnapshot *first = vvm_branch_first_point(child);
        result = vvm_version_at_or_above(meta, meta->apply_read, child->id, at.region, 0, &next);
        if (result == 0 && next.key.epoch > (first != NULL ? first->epoch : child->epoch))
            result = -ENODATA;
    }
    if (result != 0 && result != -ENODATA)
        return result;
    return result == 0 ? remove_page(meta, &page, &next) : move_page(meta, &page, child);
}

static int visit(VvMeta *meta, uint64_t branch_id, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        VvBranch *branch = g_hash_table_lookup(meta->branches, &branch_id);
        VvJob *job = branch != NULL && branch->jobs->len > 0 ? g_ptr_array_index(branch->jobs, 0) : NULL;
        if (job == NULL || job->state == VV_JOB_PAUSED)
            return 0;
        vvm_dirty(meta, VV_TABLE_JOB, job->id, 0);
        /* A merge's last step may end other branches, but not this one while its job stands. */
        int result = job->kind == VV_JOB_MERGE ? step_merge(meta, branch, job) : step_removal(meta, branch, job);
        if (result < 0)
            return result;
        if (result == 1) {
            uint64_t time_ns = job->created_ns;
            if (meta->hooks != NULL && meta->hooks->job_ended != NULL)
                meta->hooks->job_ended(meta->hooks_user, job);
            vvm_job_delete(meta, job);
            result = vvm_branch_end(meta, branch, time_ns);
            if (result != 0)
                return result;
        }
    }
    return 0;
}

int vvm_reclaim(VvMeta *meta, uint64_t branch_id, uint32_t count)
{
    uint64_t began_ns = vv_monotonic_ns();
    int result = visit(meta, branch_id, count);
    atomic_store(&meta->reclaim_ns, vv_monotonic_ns() - began_ns);
    return result;
}

uint64_t vv_meta_reclaim_ns(const VvMeta *meta)
{
    return atomic_load(&meta->reclaim_ns);
}
