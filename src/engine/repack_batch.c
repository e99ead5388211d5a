/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moving some regions of a LUN's head to new, contiguous places, while everybody goes on reading and writing.
 *
 *   step                          foreground writes that would go in place to a marked region
 *   1 mark the view: copying      go in place, and are noted
 *   2 wait for the era            (those decided before the mark have ended)
 *   3 enter an era; look up: pending, then the map; reserve new runs
 *   4 copy, sync (I2)             go in place, and are noted
 *   5 switch to committing        are redirected if their place is one that moves
 *   6 the entry: logged, applied  the same
 *   7 leave the era; wait for the era of the apply
 *   8 unmark                      go in place again
 *
 * B1  No in-place write is lost. One decided before step 1 has ended before the copy begins; one decided from 1 to 5 is noted, and its
 *     block does not move; one decided from 5 to 8 with an old place in hand (from a look-up before the apply) is redirected, and
 *     its record wins over the moved block whether it is applied before the entry (the head maps another place: the block
 *     stays) or after it. One decided after 8 began its look-up after the apply, and has the new place.
 * B2  A block that has a record before the entry is applied is either found elsewhere by the entry, or the record comes after it and
 *     frees the new place; so pending blocks are left out only because moving them is of no use.
 * B3  Nobody else writes to a place while this LUN's head sees it: it would have to own it. The entry is valid only while the head is
 *     on the same branch and maps the same place (meta/move.c X1), and the era of step 3 keeps a place from being freed
 *     and used again in between.
 * B4  Readers may have the old places in hand until their era has ended, and the old blocks are used again only then (I4).
 * B5  A write that must be redirected and finds no space waits for step 8, holding nothing: a LUN that needs no space for its
 *     writes is never told that there is none.
 * B6  Until the entry is durable nothing names the new blocks: a crash leaves them free. An entry that was not logged, or left blocks where
 *     they are, gives them back.
 * B8  What is damaged (its checksum differs) stays where it is, and is told; checksums of the others go along at apply.
 * B7  No lock is held across I/O, the entry, or a wait. */
#include "alloc_private.h"
#include "damage.h"
#include "io_state.h"
#include "repack.h"

#include <errno.h>
#include <stdlib.h>

#define ERA_POLL_US 1000u

typedef struct {
    VvPool *pool;
    VvRepackBatch *batch;
    VvMoving moving;
    uint64_t family;
    VvPlace to[VV_REPACK_REGIONS_MAX][VV_REGION_BLOCKS];
    uint8_t *data;      /* one region, aligned */
    GPtrArray *written; /* disks */
} Mover;

bool vv_moving_allows(VvMoving *moving, uint64_t block, VvPlace old)
{
    unsigned r = 0, i = (unsigned) (block % VV_REGION_BLOCKS);
    while (r < moving->region_count && moving->regions[r] != block / VV_REGION_BLOCKS)
        r++;
    if (r == moving->region_count)
        return true;
    if (moving->committing)
        return moving->from[r][i] == 0 || !vv_place_same(moving->from[r][i], old);
    moving->written[r][i / 64] |= (uint64_t) 1 << i % 64;
    return true;
}

/* Everything that is under way now has ended. */
static void wait_era(VvPool *pool)
{
    uint64_t tag = vv_era_tag(pool);
    while (!vv_era_passed(pool, tag))
        g_usleep(ERA_POLL_US);
}

/* ---- marks */

static bool mark(Mover *mover)
{
    VvView *view = mover->batch->view;
    VV_LOCKED(&view->lock);
    if (view->gone || view->branch != mover->batch->branch)
        return false;
    g_assert(view->moving == NULL);
    mover->family = view->family;
    view->moving = &mover->moving;
    return true;
}

static void unmark(Mover *mover)
{
    VvView *view = mover->batch->view;
    VvIoList woken = { NULL, NULL };
    {
        VV_LOCKED(&view->lock);
        view->moving = NULL;
        vv_unpark_all(view, VV_PARK_GATE, false, &woken); /* B5; whose gate is closed parks again */
    }
    vv_wake(&woken);
}

/* ---- step 3 */

static void note_pending(VvView *view, uint64_t region, uint64_t *ret_present)
{
    VV_LOCKED(&view->lock);
    const VvPendingRegion *pending = vv_pending_find(&view->pending, region);
    memset(ret_present, 0, VV_REGION_BLOCKS / 8);
    if (pending)
        memcpy(ret_present, pending->present, VV_REGION_BLOCKS / 8);
}

/* Which blocks of the @r-th region move. Returns how many; 0 also if it is not worth it, or may not. */
static unsigned look(Mover *mover, unsigned r)
{
    VvPool *pool = mover->pool;
    uint64_t region = mover->moving.regions[r], present[VV_REGION_BLOCKS / 64], family;
    VvPlace *from = mover->moving.from[r];
    VvPage page;
    unsigned count = 0;
    note_pending(mover->batch->view, region, present);
    if (vv_map_lookup(pool->meta, mover->batch->branch, region, UINT64_MAX, &page, NULL, &family) != 0 ||
        family != mover->family || vv_map_may_move(pool->meta, family, region) != 0)
        return 0;
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        if (present[i / 64] >> i % 64 & 1)
            page.place[i] = 0;
    if (vv_repack_breaks(&page) == 0)
        return 0;
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        from[i] = page.place[i] & ~VV_PLACE_OWN;
        count += from[i] != 0;
    }
    return count;
}

static bool reserve(Mover *mover, uint32_t count, VvPlace hint, VvPlace *ret_place)
{
    VvAlloc *alloc = mover->pool->alloc;
    if (vv_alloc_run(alloc, mover->family, count, hint, ret_place))
        return true;
    if (!vv_alloc_load_family(alloc, mover->family))
        return false;
    vv_alloc_load_pieces(alloc, mover->family, count);
    if (vv_alloc_run(alloc, mover->family, count, hint, ret_place))
        return true;
    return vv_grant_more(alloc, mover->family, VV_REPACK_REGIONS_MAX * VV_REGION_BLOCKS) &&
           vv_alloc_run(alloc, mover->family, count, hint, ret_place);
}

/* 0, or -ENOSPC: then none of the @r-th region's moves. */
static int reserve_region(Mover *mover, unsigned r, uint32_t count, VvPlace *hint)
{
    VvPlace place;
    VvPlace *from = mover->moving.from[r];
    if (!reserve(mover, count, *hint, &place)) {
        memset(from, 0, VV_REGION_BLOCKS * sizeof *from);
        return -ENOSPC;
    }
    *hint = vv_place_after(place, count);
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
        if (from[i]) {
            mover->to[r][i] = place & ~VV_PLACE_OWN;
            place = vv_place_after(place, 1);
        }
    return 0;
}

/* ---- step 4 */

/* The end of the run that begins with block @i: side by side in LUN and on the medium. */
static unsigned run_end(const VvPlace *places, unsigned i)
{
    unsigned end = i + 1;
    while (end < VV_REGION_BLOCKS && vv_place_follows(places[end - 1], places[end]))
        end++;
    return end;
}

static int read_run(Mover *mover, VvPlace place, unsigned count, uint8_t *data)
{
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    int copies = vv_resolve(
        mover->pool, mover->family, vv_place_segment(place), vv_place_block(place), count, VV_FOR_READ, runs);
    if (copies < 0)
        return copies;
    return vv_disk_read(runs[0].disk, data, runs[0].length_bytes, runs[0].offset_bytes);
}

static int write_run(Mover *mover, VvPlace place, unsigned count, const uint8_t *data)
{
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    int copies = vv_resolve(
        mover->pool, mover->family, vv_place_segment(place), vv_place_block(place), count, VV_FOR_WRITE, runs);
    int rc = MIN(copies, 0);
    for (int i = 0; i < copies && rc == 0; i++) {
        rc = vv_disk_write(runs[i].disk, data, runs[i].length_bytes, runs[i].offset_bytes);
        if (!g_ptr_array_find(mover->written, runs[i].disk, NULL))
            g_ptr_array_add(mover->written, runs[i].disk);
    }
    return rc;
}

/* B8: blocks [@i, @end) of the @r-th region were read into @data. */
static int leave_damaged(Mover *mover, unsigned r, unsigned i, unsigned end, const uint8_t *data)
{
    VvPool *pool = mover->pool;
    VvPlace *from = mover->moving.from[r];
    VvSumPiece piece = { .family = 0 };
    if (!vv_sum_cache_has_family(pool->sums, mover->family))
        return 0;
    for (unsigned b = i; b < end; b++, data += VV_BLOCK_BYTES) {
        uint32_t segment = vv_place_segment(from[b]), block = vv_place_block(from[b]), mib = block / VV_REGION_BLOCKS;
        int rc = 0;
        if (piece.family == 0 || piece.segment != segment || piece.mib != mib)
            rc = vv_sums_lookup(pool->meta, mover->family, segment, mib, &piece);
        if (rc < 0)
            return rc;
        block %= VV_REGION_BLOCKS;
        if (!vv_sum_present(&piece, block) || piece.crc[block] == vv_sum_of(data))
            continue;
        vv_damage_found(pool, mover->family, from[b], mover->moving.regions[r] * VV_REGION_BLOCKS + b, VV_DAMAGE_SUM);
        from[b] = 0;
    }
    return 0;
}

static int copy_region(Mover *mover, unsigned r)
{
    const VvPlace *from = mover->moving.from[r];
    VvPlace first = 0;
    unsigned count = 0;
    int rc = 0;
    for (unsigned i = 0, end; i < VV_REGION_BLOCKS && rc == 0; i = end) {
        end = i + 1;
        if (from[i] == 0)
            continue;
        end = run_end(from, i);
        if (count == 0)
            first = mover->to[r][i];
        rc = read_run(mover, from[i], end - i, mover->data + ((size_t) count << VV_BLOCK_SHIFT));
        if (rc == 0)
            rc = leave_damaged(mover, r, i, end, mover->data + ((size_t) count << VV_BLOCK_SHIFT));
        count += end - i;
    }
    return rc == 0 && count > 0 ? write_run(mover, first, count, mover->data) : rc; /* new places are one run */
}

static int sync_written(Mover *mover)
{
    int rc = 0;
    for (unsigned i = 0; i < mover->written->len && rc == 0; i++)
        rc = vv_disk_sync(g_ptr_array_index(mover->written, i));
    return rc;
}

/* Steps 3 and 4; an era is held. */
static int copy(Mover *mover)
{
    VvPlace hint = 0;
    unsigned regions = 0;
    int rc = 0;
    for (unsigned r = 0; r < mover->moving.region_count && rc == 0; r++) {
        unsigned count = look(mover, r);
        if (count == 0)
            continue;
        rc = reserve_region(mover, r, count, &hint);
        if (rc == 0)
            rc = copy_region(mover, r);
        regions += rc == 0;
    }
    if (rc == -ENOSPC && regions > 0)
        rc = 0; /* what has room goes */
    return rc == 0 ? sync_written(mover) : rc;
}

/* ---- steps 5 and 6 */

/* Blocks whose copy is of no use go back; all of them if @all. */
static void give_back(Mover *mover, bool all)
{
    for (unsigned r = 0; r < mover->moving.region_count; r++)
        for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
            if (mover->to[r][i] == 0 || (mover->moving.from[r][i] != 0 && !all))
                continue;
            vv_alloc_give_back(mover->pool->alloc, mover->family, mover->to[r][i], 1);
            mover->to[r][i] = 0;
        }
}

static bool begin_commit(Mover *mover)
{
    VvView *view = mover->batch->view;
    VvMoving *moving = &mover->moving;
    VV_LOCKED(&view->lock);
    if (view->gone || view->branch != mover->batch->branch)
        return false;
    for (unsigned r = 0; r < moving->region_count; r++)
        for (unsigned i = 0; i < VV_REGION_BLOCKS; i++)
            if (moving->written[r][i / 64] >> i % 64 & 1)
                moving->from[r][i] = 0; /* B1 */
    moving->committing = true;
    return true;
}

static void add_move(Mover *mover, VvOps *ops, unsigned r)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(VvMoveRun));
    const VvPlace *from = mover->moving.from[r], *to = mover->to[r];
    for (unsigned i = 0, end; i < VV_REGION_BLOCKS; i = end) {
        end = i + 1;
        if (from[i] == 0)
            continue;
        end = MIN(run_end(from, i), run_end(to, i));
        VvMoveRun run = { .first = (uint8_t) i, .count = (uint16_t) (end - i), .from = from[i], .to = to[i] };
        g_array_append_val(runs, run);
        mover->batch->moved_blocks += end - i;
    }
    if (runs->len == 0)
        return;
    VvOp *op = vv_ops_add(ops, VV_OP_MOVE);
    op->move.family = mover->family;
    op->move.lun = mover->batch->view->id;
    op->move.branch = mover->batch->branch;
    op->move.region = mover->moving.regions[r];
    op->move.run_count = runs->len;
    op->move.runs = g_memdup2(runs->data, runs->len * sizeof(VvMoveRun));
}

static int commit(Mover *mover)
{
    VvOps *ops = vv_ops_new();
    for (unsigned r = 0; r < mover->moving.region_count; r++)
        add_move(mover, ops, r);
    VvOp *op = vv_ops_add(ops, VV_OP_JOB_STEP);
    op->job_step = mover->batch->step.job_step;
    int rc = vv_commit_ops(mover->pool->committer, NULL, 0, ops);
    if (rc < 0 && !atomic_load(&mover->pool->failed))
        give_back(mover, true); /* not logged: B6 */
    return rc;
}

static int move_marked(Mover *mover)
{
    VvPool *pool = mover->pool;
    wait_era(pool);
    uint32_t era = vv_era_enter(pool);
    int rc = copy(mover);
    if (rc == 0 && !begin_commit(mover))
        rc = -ESTALE;
    give_back(mover, rc != 0);
    if (rc == 0)
        rc = commit(mover);
    vv_era_leave(pool, era);
    if (mover->moving.committing)
        wait_era(pool);
    return rc;
}

int vv_repack_run(VvPool *pool, VvRepackBatch *batch)
{
    g_autofree Mover *mover = g_new0(Mover, 1);
    int rc = -ESTALE;
    mover->pool = pool;
    mover->batch = batch;
    mover->moving.region_count = batch->region_count;
    memcpy(mover->moving.regions, batch->regions, sizeof batch->regions);
    batch->moved_blocks = 0;
    mover->data = aligned_alloc(VV_BLOCK_BYTES, VV_REGION_BYTES);
    if (mover->data == NULL)
        return -ENOMEM;
    mover->written = g_ptr_array_new();
    if (mark(mover)) {
        rc = move_marked(mover);
        unmark(mover);
    }
    if (rc != 0)
        batch->moved_blocks = 0;
    g_ptr_array_unref(mover->written);
    free(mover->data);
    return rc;
}
