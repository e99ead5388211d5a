/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Summaries of long chains of clones: made by use, right while pages move below them, dropped when they are full or their point
 * goes, not made where they are too large or what they would be made from does not add up; and all this beside readers. */
#include "meta_private.h"

#include <errno.h>
#include <glib.h>

#define REGIONS 2048u

typedef struct {
    char *directory;
    VvMeta *meta;
    uint64_t family;
    uint32_t next_block;
    VvPlace seen[REGIONS]; /* by the newest clone, of each region's first block */
} Fixture;

static void commit(Fixture *f, VvOps *ops)
{
    uint64_t index;
    g_assert_cmpint(vv_meta_log(f->meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(f->meta), ==, 0);
    g_assert_cmpint(vv_meta_apply(f->meta, index, ops), ==, 0);
    vv_ops_free(ops);
}

static uint64_t set_up_lun(Fixture *f)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    uint64_t disk = op->disk_add.id = vv_meta_new_id(f->meta);
    op->disk_add.name = g_strdup("d");
    op->disk_add.path = g_strdup("d");
    op->disk_add.size_bytes = (uint64_t) 2 << 30;
    op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    uint64_t lun = op->lun_create.id = vv_meta_new_id(f->meta);
    op->lun_create.branch = vv_meta_new_id(f->meta);
    f->family = op->lun_create.family = vv_meta_new_id(f->meta);
    op->lun_create.name = g_strdup("c0");
    op->lun_create.size_bytes = (uint64_t) 64 << 30;
    op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = f->family;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MAX;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0].disk_id = disk;
    commit(f, ops);
    return lun;
}

static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "summary", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-summary-XXXXXX", NULL);
    vv_uuid_generate(&create.uuid);
    g_assert_true(vv_meta_create(f->directory, &create, NULL));
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    const char *argv[] = { "rm", "-rf", f->directory, NULL };
    vv_meta_close(f->meta);
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(f->directory);
}

/* The first blocks of every @step-th region of [from, to), for the LUN that is to be cloned next. */
static void write_regions(Fixture *f, uint64_t lun, unsigned from, unsigned to, unsigned step)
{
    while (from < to) {
        VvOps *ops = vv_ops_new();
        VvOp *op = vv_ops_add(ops, VV_OP_MAP);
        op->map.lun = lun;
        op->map.size_bytes = UINT64_MAX;
        op->map.changes = g_new0(VvMapChange, VV_ENTRY_REGIONS_MAX);
        for (; from < to && op->map.change_count < VV_ENTRY_REGIONS_MAX; from += step) {
            VvPlace place = vv_place(0, f->next_block++, true);
            op->map.changes[op->map.change_count++] = (VvMapChange){ .region = from, .count = 1, .place = place };
            if (from < REGIONS)
                f->seen[from] = place;
        }
        commit(f, ops);
    }
}

static uint64_t snapshot(Fixture *f, uint64_t lun)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
    uint64_t id = op->snapshot_create.id = vv_meta_new_id(f->meta);
    op->snapshot_create.lun = lun;
    op->snapshot_create.name = g_strdup("s");
    commit(f, ops);
    return id;
}

static uint64_t clone_of(Fixture *f, uint64_t point, const char *name)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_CLONE);
    uint64_t id = op->clone.id = vv_meta_new_id(f->meta);
    op->clone.snapshot = point;
    op->clone.name = g_strdup(name);
    op->clone.branch = vv_meta_new_id(f->meta);
    commit(f, ops);
    return id;
}

static void remove_lun(Fixture *f, uint64_t lun, uint64_t point)
{
    VvOps *ops = vv_ops_new();
    if (point != 0)
        vv_ops_add(ops, VV_OP_SNAPSHOT_REMOVE)->snapshot_remove.id = point;
    vv_ops_add(ops, VV_OP_LUN_REMOVE)->lun_remove.id = lun;
    commit(f, ops);
}

static bool reclaim(Fixture *f, unsigned count)
{
    GPtrArray *jobs = vv_meta_jobs(f->meta);
    if (jobs->len == 0)
        return false;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_RECLAIM);
    op->reclaim.branch = ((const VvJob *) g_ptr_array_index(jobs, 0))->branch;
    op->reclaim.count = count;
    commit(f, ops);
    return true;
}

static void check_sees(Fixture *f, uint64_t branch)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        VvPage page = { 0 };
        int result = vv_map_lookup(f->meta, branch, r, UINT64_MAX, &page, NULL, NULL);
        g_assert_cmpint(result, ==, f->seen[r] != 0 ? 0 : -ENODATA);
        g_assert_true(vv_place_same(page.place[0], f->seen[r]));
    }
}

static void report(void *user, const VvCheckError *error)
{
    (void) user;
    g_error("check: %s", error->message);
}

static uint64_t branch_of(Fixture *f, uint64_t lun) { return vv_meta_lun(f->meta, lun)->branch; }
static VvSnapshot *point_of(Fixture *f, uint64_t id) { return g_hash_table_lookup(f->meta->snapshots, &id); }

typedef struct { uint64_t luns[4], points[3]; } Chain;

/* c0 has the even regions below REGIONS / 2, c1 every sixteenth of all, c2 the first three; c3 writes nothing. */
static Chain make_chain(Fixture *f)
{
    static const unsigned to[] = { REGIONS / 2, REGIONS, 3 }, steps[] = { 2, 16, 1 };
    static const char *const names[] = { "c1", "c2", "c3" };
    Chain c = { .luns[0] = set_up_lun(f) };
    for (unsigned i = 0; i < 3; i++) {
        write_regions(f, c.luns[i], 0, to[i], steps[i]);
        c.points[i] = snapshot(f, c.luns[i]);
        c.luns[i + 1] = clone_of(f, c.points[i], names[i]);
    }
    return c;
}

static void test_passes(Fixture *f, gconstpointer in_store)
{
    Chain c = make_chain(f);
    unsigned passed = 0;
    if (GPOINTER_TO_INT(in_store))
        g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    for (unsigned pass = 0; pass < 3; pass++)
        check_sees(f, branch_of(f, c.luns[3]));
    g_assert_null(point_of(f, c.points[0])->summary); /* the last of the chain is searched anyway */
    g_assert_nonnull(point_of(f, c.points[1])->summary);
    g_assert_nonnull(point_of(f, c.points[2])->summary);
    for (unsigned r = 0; r < REGIONS; r++)
        passed += !vvm_summary_may_hold(f->meta, point_of(f, c.points[1]), r);
    g_assert_cmpuint(passed, >, REGIONS * 15 / 16 * 95 / 100);
    g_assert_cmpuint(f->meta->summary_bytes, >, 0);
    g_assert_cmpint(vv_meta_check(f->meta, false, report, NULL), ==, 0);
    remove_lun(f, c.luns[3], 0);
    for (unsigned i = 3; i > 0; i--)
        remove_lun(f, c.luns[i - 1], c.points[i - 1]);
    while (reclaim(f, 64))
        ;
    g_assert_cmpuint(f->meta->summary_bytes, ==, 0);
}

/* c1 goes: its pages move into c2's branch, below c2's point, whose summary was made for three pages. */
static void test_merge(Fixture *f, gconstpointer data)
{
    (void) data;
    Chain c = make_chain(f);
    bool dropped = false;
    uint64_t branch = branch_of(f, c.luns[3]);
    check_sees(f, branch);
    g_assert_nonnull(point_of(f, c.points[2])->summary);
    remove_lun(f, c.luns[1], c.points[1]);
    for (unsigned i = 0; reclaim(f, 1); i++) {
        VvPage page;
        unsigned region = i * 16 % REGIONS; /* one: with more it would be made again before anybody looks */
        dropped = dropped || point_of(f, c.points[2])->summary == NULL;
        g_assert_cmpint(vv_map_lookup(f->meta, branch, region, UINT64_MAX, &page, NULL, NULL), ==, 0);
        g_assert_true(vv_place_same(page.place[0], f->seen[region]));
    }
    g_assert_true(dropped);
    for (unsigned pass = 0; pass < 2; pass++)
        check_sees(f, branch);
    g_assert_nonnull(point_of(f, c.points[2])->summary);
    g_assert_cmpint(vv_meta_check(f->meta, false, report, NULL), ==, 0);
}

/* An index that says less than the catalog counts: every look-up searches. */
static void test_mistrust(Fixture *f, gconstpointer data)
{
    (void) data;
    Chain c = make_chain(f);
    VvPageKey lost = { .branch = branch_of(f, c.luns[1]), .region = 16, .epoch = 1 };
    vvm_overlay_index(&f->meta->filling, &lost, false);
    for (unsigned pass = 0; pass < 3; pass++)
        check_sees(f, branch_of(f, c.luns[3]));
    g_assert_null(point_of(f, c.points[1])->summary);
}

static void test_too_many(Fixture *f, gconstpointer data)
{
    (void) data;
    uint64_t lun = set_up_lun(f);
    lun = clone_of(f, snapshot(f, lun), "c1");
    write_regions(f, lun, 1, 2 * VV_SUMMARY_PAGES_MAX + 3, 2);
    uint64_t point = snapshot(f, lun);
    lun = clone_of(f, point, "c2");
    for (unsigned pass = 0; pass < 6; pass++)
        check_sees(f, branch_of(f, lun));
    g_assert_null(point_of(f, point)->summary);
}

typedef struct {
    Fixture *f;
    uint64_t branch;
    int stop;
} Reader;

static gpointer read_cb(gpointer user)
{
    Reader *reader = user;
    do
        check_sees(reader->f, reader->branch);
    while (!g_atomic_int_get(&reader->stop));
    return NULL;
}

/* Readers make summaries while entries move pages below them and checkpoints empty the overlay. */
static void test_beside_readers(Fixture *f, gconstpointer data)
{
    (void) data;
    Chain c = make_chain(f);
    GThread *threads[3];
    Reader reader = { .f = f, .branch = branch_of(f, c.luns[3]) };
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("reader", read_cb, &reader);
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    remove_lun(f, c.luns[1], c.points[1]);
    for (unsigned i = 0; reclaim(f, 3); i++)
        if (i % 10 == 0)
            g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    remove_lun(f, c.luns[0], c.points[0]);
    while (reclaim(f, 3))
        ;
    g_atomic_int_set(&reader.stop, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(vv_meta_check(f->meta, false, report, NULL), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/meta/summary/passes/overlay", Fixture, GINT_TO_POINTER(0), set_up, test_passes, tear_down);
    g_test_add("/meta/summary/passes/store", Fixture, GINT_TO_POINTER(1), set_up, test_passes, tear_down);
    g_test_add("/meta/summary/merge", Fixture, NULL, set_up, test_merge, tear_down);
    g_test_add("/meta/summary/mistrust", Fixture, NULL, set_up, test_mistrust, tear_down);
    g_test_add("/meta/summary/too-many", Fixture, NULL, set_up, test_too_many, tear_down);
    g_test_add("/meta/summary/beside-readers", Fixture, NULL, set_up, test_beside_readers, tear_down);
    return g_test_run();
}
