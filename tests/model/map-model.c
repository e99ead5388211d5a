/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The map's rules against flat arrays: random ops are logged and applied to a real store and journal, with checkpoints and
 * reopenings between them; after each step what every LUN, snapshot and orphan reads is compared, and every few steps
 * the whole metadata is checked. At the end everything is removed and every block must have come back.
 *
 * VV_MODEL_SEED repeats one run, VV_MODEL_RUNS and VV_MODEL_STEPS set the length. A failure prints the seed. */
#include "map-state.h"
#include "member_table.h"

#include "error.h"
#include "share.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

/* ---- objects */
static Object *free_object(Model *m)
{
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        if (!m->objects[i].used)
            return &m->objects[i];
    }
    return NULL;
}

static Object *pick_object(Model *m, bool lun, bool orphans_too)
{
    Object *found = NULL;
    unsigned seen = 0;
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        Object *o = &m->objects[i];
        if (o->used && o->is_lun == lun && (!o->orphan || orphans_too) && pick(m, ++seen) == 0)
            found = o;
    }
    return found;
}

static Object *new_object(Model *m, bool lun, uint64_t of_lun, const uint32_t *cells)
{
    Object *o = free_object(m);
    g_assert(o != NULL);
    memset(o, 0, sizeof *o);
    o->used = true;
    o->is_lun = lun;
    o->lun = of_lun;
    o->id = vv_meta_new_id(m->meta);
    g_snprintf(o->name, sizeof o->name, "%c%u", lun ? 'l' : 's', m->next_name++);
    if (cells != NULL)
        memcpy(o->cell, cells, sizeof o->cell);
    return o;
}

static bool is_reserved(Model *m, uint64_t family, VvPlace place)
{
    g_autofree uint64_t *key = data_key(family, place);
    return m->reserved != NULL && g_hash_table_contains(m->reserved, key);
}

/* ---- allocation: the first free block of the family, a new segment when there is none */
static VvPlace allocate(Model *m, uint64_t family_id, GHashTable *taken)
{
    for (;;) {
        const VvFamily *family = vv_meta_family(m->meta, family_id);
        for (guint n = 0; n < family->segments->len; n++) {
            uint64_t bits[VV_PIECE_BYTES / 8];
            if (g_ptr_array_index(family->segments, n) == NULL || vv_space_piece(m->meta, family_id, n, 0, bits) != 0)
                continue;
            for (unsigned b = 0; b < 256; b++) {
                VvPlace place = vv_place(n, b, true);
                if ((bits[b / 64] >> (b % 64) & 1) == 0 || is_reserved(m, family_id, place))
                    continue;
                if (taken == NULL || g_hash_table_add(taken, GSIZE_TO_POINTER(place)))
                    return place;
            }
        }
        VvOps *ops = vv_ops_new();
        VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
        op->segment_grant.family = family_id;
        op->segment_grant.number = family->next_segment;
        op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN;
        op->segment_grant.copy_count = 1;
        g_assert_true(vv_space_find_run(m->meta, VV_SEGMENT_SHIFT_MIN, family->disks, NULL, &op->segment_grant.copies[0]));
        commit(m, ops);
    }
}

/* Has the place a checksum? As the metadata says. */
static bool has_sum(Model *m, uint64_t family, VvPlace place)
{
    VvSumPiece piece;
    g_assert_cmpint(vv_sums_lookup(m->meta, family, vv_place_segment(place), vv_place_block(place) / VV_REGION_BLOCKS, &piece), ==, 0);
    return vv_sum_present(&piece, vv_place_block(place) % VV_REGION_BLOCKS);
}

static void op_write(Model *m, Object *o, bool discard)
{
    const VvLun *lun = vv_meta_lun(m->meta, o->id);
    const VvBranch *branch = vv_meta_branch(m->meta, lun->branch);
    uint64_t region = pick(m, REGIONS);
    VvPage page = { 0 };
    VvPageKey key = { 0 };
    int result = vv_map_lookup(m->meta, lun->branch, region, UINT64_MAX, &page, &key, NULL);
    VvMapChange changes[SPOTS];
    uint32_t count = 0, sums[SPOTS], sum_count = 0;
    bool summed = !discard && pick(m, 2) == 0;
    g_autoptr(GHashTable) taken = g_hash_table_new(NULL, NULL);
    uint64_t family = branch->family;
    for (unsigned s = 0; s < SPOTS; s++) {
        if (pick(m, 2) == 0)
            continue;
        uint32_t value = discard ? 0 : ++m->next_value | (summed ? SUMMED : 0);
        VvPlace place = page.place[spot_block[s]];
        o->cell[region * SPOTS + s] = value;
        if (!discard && !summed && result == 0 && vv_map_page_is_heads(branch, &key) && vv_place_own(place) && o->id != m->mover &&
            !has_sum(m, family, place)) {
            data_set(m, family, place, value);
            m->in_place++;
            continue;
        }
        VvPlace fresh = discard ? 0 : allocate(m, family, taken);
        branch = vv_meta_branch(m->meta, vv_meta_lun(m->meta, o->id)->branch);
        if (!discard)
            data_set(m, family, fresh, value);
        m->redirected++;
        if (summed)
            sums[sum_count++] = value;
        changes[count++] = (VvMapChange){ .region = region, .place = fresh, .first = (uint8_t) spot_block[s], .count = 1, .sums = sum_count };
    }
    if (count == 0)
        return;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = o->id;
    op->map.size_bytes = UINT64_MAX;
    op->map.sums = g_memdup2(sums, sum_count * sizeof sums[0]);
    op->map.sum_count = sum_count;
    op->map.changes = g_memdup2(changes, count * sizeof changes[0]);
    op->map.change_count = count;
    commit(m, ops);
}

/* Some of the disks for every other family. */
static VvDiskSet *choose_disks(Model *m, uint64_t family)
{
    uint64_t ids[DISKS];
    unsigned count = 0;
    for (unsigned i = 0; i < DISKS; i++) {
        if (pick(m, 2) == 0)
            ids[count++] = m->disks[i];
    }
    if (count == 0 || pick(m, 2) == 0)
        return NULL;
    m->restricted++;
    g_hash_table_insert(m->chosen, g_memdup2(&family, sizeof family), vv_disk_set_new(ids, count));
    return vv_disk_set_new(ids, count);
}

static void op_create(Model *m)
{
    Object *o = new_object(m, true, 0, NULL);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    op->lun_create.id = o->id;
    op->lun_create.name = g_strdup(o->name);
    op->lun_create.size_bytes = REGIONS << VV_REGION_SHIFT;
    op->lun_create.branch = vv_meta_new_id(m->meta);
    op->lun_create.family = vv_meta_new_id(m->meta);
    op->lun_create.disks = choose_disks(m, op->lun_create.family);
    commit(m, ops);
}

static void add_snapshot(Model *m, VvOps *ops, const Object *snapshot, const char *name)
{
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
    op->snapshot_create.id = snapshot->id;
    op->snapshot_create.lun = snapshot->lun;
    op->snapshot_create.name = g_strdup(name);
    (void) m;
}

static void add_unsnap(VvOps *ops, const Object *snapshot, bool orphan)
{
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_REMOVE);
    op->snapshot_remove.id = snapshot->id;
    op->snapshot_remove.orphan = orphan;
}

static void op_snapshot(Model *m, const Object *lun)
{
    Object *s = new_object(m, false, lun->id, lun->cell);
    VvOps *ops = vv_ops_new();
    add_snapshot(m, ops, s, s->name);
    commit(m, ops);
}

static void op_unsnap(Model *m, Object *s)
{
    VvOps *ops = vv_ops_new();
    s->orphan = !m->no_orphans && pick(m, 4) == 0;
    s->used = s->orphan;
    add_unsnap(ops, s, s->orphan);
    commit(m, ops);
}

static void op_refresh(Model *m, Object *s)
{
    const Object *lun = NULL;
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        if (m->objects[i].used && m->objects[i].is_lun && m->objects[i].id == s->lun)
            lun = &m->objects[i];
    }
    VvOps *ops = vv_ops_new();
    add_unsnap(ops, s, false);
    s->id = vv_meta_new_id(m->meta);
    memcpy(s->cell, lun->cell, sizeof s->cell);
    add_snapshot(m, ops, s, s->name);
    commit(m, ops);
}

static void op_clone(Model *m, const Object *s)
{
    Object *o = new_object(m, true, 0, s->cell);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_CLONE);
    op->clone.snapshot = s->id;
    op->clone.id = o->id;
    op->clone.name = g_strdup(o->name);
    op->clone.branch = vv_meta_new_id(m->meta);
    commit(m, ops);
}

/* A copy of the LUN's present, through a hidden point, into an empty LUN; not where other disks were chosen. */
static void op_adopt(Model *m, const Object *from)
{
    op_create(m);
    Object *to = NULL;
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        if (m->objects[i].used && m->objects[i].is_lun && (to == NULL || m->objects[i].id > to->id))
            to = &m->objects[i];
    }
    if (!vv_space_may_adopt(m->meta, vv_meta_lun(m->meta, to->id), vv_meta_lun(m->meta, from->id)->branch))
        return;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
    uint64_t point = vv_meta_new_id(m->meta);
    op->snapshot_create.id = point;
    op->snapshot_create.lun = from->id;
    op = vv_ops_add(ops, VV_OP_ADOPT);
    op->adopt.lun = to->id;
    op->adopt.snapshot = point;
    op->adopt.branch = vv_meta_new_id(m->meta);
    op->adopt.size_bytes = REGIONS << VV_REGION_SHIFT;
    commit(m, ops);
    memcpy(to->cell, from->cell, sizeof to->cell);
}

static void op_restore(Model *m, const Object *s)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_RESTORE);
    op->restore.lun = s->lun;
    op->restore.snapshot = s->id;
    op->restore.branch = vv_meta_new_id(m->meta);
    commit(m, ops);
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        if (m->objects[i].used && m->objects[i].is_lun && m->objects[i].id == s->lun)
            memcpy(m->objects[i].cell, s->cell, sizeof s->cell);
    }
}

static void op_remove_lun(Model *m, Object *lun)
{
    VvOps *ops = vv_ops_new();
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        Object *s = &m->objects[i];
        if (s->used && !s->is_lun && !s->orphan && s->lun == lun->id) {
            s->orphan = !m->no_orphans && pick(m, 4) == 0;
            s->used = s->orphan;
            add_unsnap(ops, s, s->orphan);
        }
    }
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_REMOVE);
    op->lun_remove.id = lun->id;
    op->lun_remove.orphan = lun->orphan = !m->no_orphans && pick(m, 4) == 0;
    lun->used = lun->orphan;
    commit(m, ops);
}

static void op_purge(Model *m, Object *o)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_PURGE);
    op->purge.snapshot = !o->is_lun;
    op->purge.id = o->id;
    o->used = false;
    commit(m, ops);
}

static bool op_reclaim(Model *m, unsigned count)
{
    GPtrArray *jobs = vv_meta_jobs(m->meta);
    if (jobs->len == 0)
        return false;
    const VvJob *job = g_ptr_array_index(jobs, pick(m, jobs->len));
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_RECLAIM);
    op->reclaim.branch = job->branch;
    op->reclaim.count = count;
    commit(m, ops);
    return true;
}

/* A record of table member is put, changed or taken away. */
static void op_member(Model *m)
{
    unsigned i = pick(m, MEMBERS);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);
    m->members[i] = pick(m, 3) > 0 ? m->next_value++ : 0;
    op->member_set.kind = (uint8_t) (1 + i % 2);
    op->member_set.id = 1 + i / 2;
    if (m->members[i] != 0) {
        op->member_set.body = g_memdup2(&m->members[i], sizeof m->members[i]);
        op->member_set.body_bytes = sizeof m->members[i];
    }
    commit(m, ops);
}

static void check_members(Model *m)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        const VvMemberRecord *member = vv_meta_member(m->meta, (uint8_t) (1 + i % 2), 1 + i / 2);
        bool same = member == NULL ? m->members[i] == 0
                                   : member->body_bytes == sizeof m->members[i] && memcmp(member->body, &m->members[i], sizeof m->members[i]) == 0;
        if (!same)
            fail(m, "the record of member %u is not what was put", i);
    }
}

static uint64_t used_blocks(Model *m)
{
    VvSpaceSummary space;
    vv_meta_space(m->meta, &space);
    if (space.freeing_bytes > space.used_bytes || (space.freeing_bytes > 0 && vv_meta_jobs(m->meta)->len == 0))
        fail(m, "%" G_GUINT64_FORMAT " bytes are told to go free of %" G_GUINT64_FORMAT, space.freeing_bytes, space.used_bytes);
    return space.used_bytes / VV_BLOCK_BYTES;
}

static uint64_t freeing_blocks(Model *m)
{
    VvSpaceSummary space;
    vv_meta_space(m->meta, &space);
    return space.freeing_bytes / VV_BLOCK_BYTES;
}

static uint64_t count_exclusive(Model *m, const uint64_t *ids, unsigned count)
{
    uint64_t blocks = 0;
    g_assert_cmpint(vv_space_exclusive(m->meta, ids, count, UINT64_MAX, &blocks), ==, 0);
    return blocks;
}

static void assert_freed(Model *m, const char *what, uint64_t before, uint64_t told)
{
    while (op_reclaim(m, 64))
        ;
    if (before - used_blocks(m) != told)
        fail(m, "%s was said to free %" G_GUINT64_FORMAT " blocks, it freed %" G_GUINT64_FORMAT, what, told, before - used_blocks(m));
}

/* Everything of a LUN from a block on becomes a hole. */
static void op_cut(Model *m, Object *o, uint64_t first_block)
{
    VvMapChange changes[REGIONS * SPOTS];
    uint32_t count = 0;
    for (unsigned i = 0; i < REGIONS * SPOTS; i++) {
        unsigned region = i / SPOTS, block = spot_block[i % SPOTS];
        if (region * (uint64_t) VV_REGION_BLOCKS + block < first_block)
            continue;
        o->cell[i] = 0;
        changes[count++] = (VvMapChange){ .region = region, .place = 0, .first = (uint8_t) block, .count = 1 };
    }
    if (count == 0)
        return;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = o->id;
    op->map.size_bytes = UINT64_MAX;
    op->map.changes = g_memdup2(changes, count * sizeof changes[0]);
    op->map.change_count = count;
    commit(m, ops);
}

/* The same of what goes with a cut LUN, and with what a LUN holds when it is restored. */
static void op_exclusive_head(Model *m)
{
    Object *lun = pick_object(m, true, false), *s = pick_object(m, false, false);
    uint64_t before = used_blocks(m), told, block = pick(m, REGIONS * VV_REGION_BLOCKS);
    if (lun != NULL && pick(m, 2) == 0) {
        g_assert_cmpint(vv_space_cut(m->meta, lun->id, block * VV_BLOCK_BYTES - pick(m, 2) * (block > 0), &told), ==, 0);
        op_cut(m, lun, block);
        assert_freed(m, "a cut", before, told);
    } else if (s != NULL) {
        uint64_t branch = vv_meta_lun(m->meta, s->lun)->branch;
        told = count_exclusive(m, &branch, 1);
        op_restore(m, s);
        assert_freed(m, "a restore", before, told);
    }
}

/* What is told to go free must be what goes free: first what jobs owe, then an object's removal. */
static void op_exclusive(Model *m)
{
    uint64_t before = used_blocks(m), told = count_exclusive(m, NULL, 0);
    if (told > 0 && freeing_blocks(m) == 0)
        fail(m, "nothing is told to go free, of %" G_GUINT64_FORMAT " blocks", told);
    while (op_reclaim(m, 64))
        ;
    if (before - used_blocks(m) != told)
        fail(m, "jobs were said to free %" G_GUINT64_FORMAT " blocks, they freed %" G_GUINT64_FORMAT, told, before - used_blocks(m));
    if (pick(m, 2) == 0) {
        op_exclusive_head(m);
        return;
    }
    Object *o = pick_object(m, pick(m, 3) == 0, false);
    if (o == NULL)
        return;
    told = count_exclusive(m, &o->id, 1);
    before = used_blocks(m);
    m->no_orphans = true;
    if (o->is_lun)
        op_remove_lun(m, o);
    else
        op_unsnap(m, o);
    m->no_orphans = false;
    assert_freed(m, o->name, before, told);
}

static void op_move(Model *m, const Object *o);

static void step_object(Model *m, unsigned k)
{
    Object *lun = pick_object(m, true, false), *s = pick_object(m, false, false);
    bool room = free_object(m) != NULL;
    if (lun == NULL) {
        if (s != NULL && room && k % 3 != 0)
            op_clone(m, s);
        else if (room)
            op_create(m);
        return;
    }
    if (k < 30)
        op_write(m, lun, false);
    else if (k < 38)
        op_write(m, lun, true);
    else if (k < 50 && room)
        op_snapshot(m, lun);
    else if (k < 60 && s != NULL)
        op_unsnap(m, s);
    else if (k < 63 && s != NULL)
        op_refresh(m, s);
    else if (k < 67 && s != NULL && room)
        op_clone(m, s);
    else if (k < 72 && s != NULL)
        op_restore(m, s);
    else if (k < 74)
        op_remove_lun(m, lun);
    else if (k < 75 && room)
        op_adopt(m, lun);
    else if (k < 76 && room)
        op_create(m);
    else if (k < 86 && m->mover == 0)
        op_move(m, lun);
    else
        op_reclaim(m, 1 + pick(m, 3));
}

/* ---- moves */
/* What may come between the copy and the entry. */
static void late_steps(Model *m)
{
    for (unsigned n = pick(m, 20); n > 0; n--)
        step_object(m, pick(m, 100));
}

static VvOps *move_ops(const Object *o, uint64_t family, uint64_t branch, uint64_t region, const VvMoveRun *runs, uint32_t count)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MOVE);
    op->move.family = family;
    op->move.lun = o->id;
    op->move.branch = branch;
    op->move.region = region;
    op->move.run_count = count;
    op->move.runs = g_memdup2(runs, count * sizeof runs[0]);
    return ops;
}

static void commit_move(Model *m, VvOps *ops, uint32_t count)
{
    uint64_t used_before = used_blocks(m);
    m->freed_blocks = 0;
    commit(m, ops);
    if (used_blocks(m) != used_before)
        fail(m, "a move changed the used blocks from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, used_before, used_blocks(m));
    if (m->freed_blocks != count && vv_meta_families(m->meta)->len > 0)
        fail(m, "a move of %u blocks gave back %" G_GUINT64_FORMAT, count, m->freed_blocks);
}

/* Some blocks of a LUN's region go elsewhere. Between copy and entry anything may happen, save that the LUN itself writes in
 * place, and that what is freed is used again (the engine sees to both). */
static void op_move(Model *m, const Object *o)
{
    uint64_t id = o->id, branch = vv_meta_lun(m->meta, id)->branch, family = vv_meta_branch(m->meta, branch)->family;
    uint64_t region = pick(m, REGIONS);
    VvPage page = { 0 };
    VvMoveRun runs[SPOTS];
    uint32_t count = 0;
    if (vv_map_lookup(m->meta, branch, region, UINT64_MAX, &page, NULL, NULL) != 0)
        return;
    g_autoptr(GHashTable) reserved = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    m->reserved = reserved;
    m->mover = id;
    for (unsigned s = 0; s < SPOTS; s++) {
        VvPlace from = page.place[spot_block[s]];
        if (from == 0 || pick(m, 4) == 0)
            continue;
        VvPlace to = allocate(m, family, NULL);
        g_hash_table_add(reserved, data_key(family, to));
        data_set(m, family, to, data_get(m, family, from));
        runs[count++] = (VvMoveRun){ .first = (uint8_t) spot_block[s], .count = 1, .from = from, .to = to };
    }
    if (pick(m, 2) == 0)
        late_steps(m);
    commit_move(m, move_ops(o, family, branch, region, runs, count), count);
    m->reserved = NULL;
    m->mover = 0;
    const VvLun *lun = vv_meta_lun(m->meta, id);
    if (lun == NULL || vv_map_lookup(m->meta, lun->branch, region, UINT64_MAX, &page, NULL, NULL) != 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        *(vv_place_same(page.place[runs[i].first], runs[i].to) ? &m->moved : &m->stayed) += 1;
}

/* A checkpoint that cannot write (no file may grow or be written past 4 KiB): what it held must stay visible, and go out
 * with a later one. */
static void failed_checkpoint(Model *m)
{
    struct rlimit old, none = { .rlim_cur = 4096, .rlim_max = RLIM_INFINITY };
    getrlimit(RLIMIT_FSIZE, &old);
    none.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &none);
    int result = vv_meta_checkpoint(m->meta);
    setrlimit(RLIMIT_FSIZE, &old);
    m->failed_checkpoints += result != 0;
}

static void step(Model *m)
{
    unsigned k = pick(m, 100);
    if (k < 4) {
        failed_checkpoint(m);
    } else if (k < 5) {
        g_assert_cmpint(vv_meta_checkpoint(m->meta), ==, 0);
    } else if (k < 7) {
        vv_meta_close(m->meta);
        open_meta(m);
    } else if (k < 9) {
        op_exclusive(m);
    } else if (k < 11) {
        op_member(m);
    } else if (k < 14) {
        Object *o = pick_object(m, pick(m, 2) == 0, true);
        if (o != NULL && o->orphan)
            op_purge(m, o);
    } else {
        step_object(m, pick(m, 100));
    }
}

/* Remove everything; all space must come back. */
static void finish(Model *m)
{
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        Object *o = &m->objects[i];
        if (o->used && o->is_lun && !o->orphan)
            op_remove_lun(m, o);
    }
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        if (m->objects[i].used)
            op_purge(m, &m->objects[i]);
    }
    while (op_reclaim(m, 64))
        ;
    check_meta(m);
    VvSpaceSummary space;
    vv_meta_space(m->meta, &space);
    if (space.used_bytes != 0)
        fail(m, "%" G_GUINT64_FORMAT " bytes are used by nothing", space.used_bytes);
    VvOps *ops = vv_ops_new();
    GPtrArray *families = vv_meta_families(m->meta);
    for (guint i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);
        if (family->branches->len > 0)
            fail(m, "a family has %u branches left", family->branches->len);
        for (guint n = 0; n < family->segments->len; n++) {
            if (g_ptr_array_index(family->segments, n) == NULL)
                continue;
            VvOp *op = vv_ops_add(ops, VV_OP_SEGMENT_SHRINK);
            op->segment_shrink.family = family->id;
            op->segment_shrink.number = n;
        }
    }
    commit(m, ops);
    g_assert_cmpint(vv_meta_checkpoint(m->meta), ==, 0);
    vv_meta_space(m->meta, &space);
    g_assert_cmpuint(vv_meta_families(m->meta)->len, ==, 0);
    g_assert_cmpuint(space.free_bytes, ==, space.total_bytes);
}

static void remove_tree(const char *directory)
{
    const char *argv[] = { "rm", "-rf", directory, NULL };
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

static void run(uint64_t seed, unsigned steps)
{
    g_autoptr(GError) error = NULL;
    Model m = { .seed = seed, .random = g_rand_new_with_seed((guint32) seed) };
    m.directory = g_strdup("/dev/shm/vvfs-map-XXXXXX");
    if (g_mkdtemp(m.directory) == NULL) {
        g_free(m.directory);
        m.directory = g_dir_make_tmp("vvfs-map-XXXXXX", NULL);
    }
    m.data = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    m.chosen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    VvMetaCreate create = { .name = "model", .created_ns = 1 };
    vv_uuid_generate(&create.uuid);
    if (!vv_meta_create(m.directory, &create, &error))
        g_error("create: %s", error->message);
    open_meta(&m);
    VvOps *ops = vv_ops_new();
    for (unsigned i = 0; i < DISKS; i++) {
        VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
        m.disks[i] = op->disk_add.id = vv_meta_new_id(m.meta);
        op->disk_add.name = g_strdup_printf("disk%u", i);
        op->disk_add.path = g_strdup_printf("disk%u", i);
        op->disk_add.size_bytes = (uint64_t) (128 + 64 * i) << 20;
    }
    commit(&m, ops);
    for (unsigned i = 0; i < steps; i++) {
        step(&m);
        check_reads(&m);
        check_members(&m);
        if (i % 5 == 0)
            check_meta(&m);
    }
    check_meta(&m);
    finish(&m);
    g_test_message("seed %" G_GUINT64_FORMAT
                   ": %u in place, %u redirected, %u moved, %u stayed, %u families on chosen disks, %u failed checkpoints, %u "
                   "passed by summaries",
        seed, m.in_place, m.redirected, m.moved, m.stayed, m.restricted, m.failed_checkpoints, m.passed);
    vv_meta_close(m.meta);
    g_hash_table_unref(m.data);
    g_hash_table_unref(m.chosen);
    g_rand_free(m.random);
    remove_tree(m.directory);
    g_free(m.directory);
}

static unsigned setting(const char *name, unsigned fallback)
{
    const char *text = g_getenv(name);
    return text != NULL ? (unsigned) strtoul(text, NULL, 10) : fallback;
}

static void test_random(void)
{
    unsigned runs = setting("VV_MODEL_RUNS", TEST_SHARE_OF(40u)), steps = setting("VV_MODEL_STEPS", 400);
    const char *seed = g_getenv("VV_MODEL_SEED");
    if (seed != NULL) {
        run(strtoull(seed, NULL, 10), steps);
        return;
    }
    uint64_t first = g_random_int();
    for (unsigned i = 0; i < runs; i++)
        run((first + i) & UINT32_MAX, steps);
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/map/random", test_random);
    return g_test_run();
}
