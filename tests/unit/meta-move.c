/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MOVE entries: what they re-point, what they leave, what they refuse; and the repack job in the catalog. The map's rules as a whole:
 * tests/model/map-model. */
#include "meta.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

typedef struct {
    char *directory;
    VvMeta *meta;
    uint64_t lun, branch, family, next;
    uint64_t freed_blocks;
    unsigned jobs_added, jobs_ended;
    GHashTable *told; /* branches that the hook told of */
} Fixture;

static void note_page(void *user, uint64_t family, const VvPageKey *key, const VvPage *page)
{
    (void) family;
    g_assert_cmpuint(key->region, ==, 1);
    if (page == NULL)
        g_hash_table_add(((Fixture *) user)->told, GSIZE_TO_POINTER(key->branch));
}

static void note_freed(void *user, uint64_t family, uint32_t segment, uint32_t first, uint32_t count)
{
    (void) family;
    (void) segment;
    (void) first;
    ((Fixture *) user)->freed_blocks += count;
}

static void note_added(void *user, const VvJob *job)
{
    ((Fixture *) user)->jobs_added += job->kind == VV_JOB_REPACK;
}

static void note_ended(void *user, const VvJob *job)
{
    ((Fixture *) user)->jobs_ended += job->kind == VV_JOB_REPACK;
}

static const VvMetaHooks hooks = {
    .page_changed = note_page, .blocks_freed = note_freed, .job_added = note_added, .job_ended = note_ended,
};

static int try_commit(Fixture *f, VvOps *ops)
{
    uint64_t index;
    g_assert_cmpint(vv_meta_log(f->meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(f->meta), ==, 0);
    int result = vv_meta_apply(f->meta, index, ops);
    vv_ops_free(ops);
    return result;
}

static void commit(Fixture *f, VvOps *ops) { g_assert_cmpint(try_commit(f, ops), ==, 0); }

static void add_map(VvOps *ops, uint64_t lun, unsigned first, unsigned count, VvPlace place)
{
    VvOp *op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = lun;
    op->map.size_bytes = UINT64_MAX;
    op->map.change_count = 1;
    op->map.changes = g_new0(VvMapChange, 1);
    op->map.changes[0] = (VvMapChange){ .region = 1, .first = (uint8_t) first, .count = (uint16_t) count, .place = place };
}

static uint64_t add_snapshot(Fixture *f, VvOps *ops)
{
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);
    op->snapshot_create.id = vv_meta_new_id(f->meta);
    op->snapshot_create.lun = f->lun;
    op->snapshot_create.name = g_strdup_printf("s%" G_GUINT64_FORMAT, f->next++);
    return op->snapshot_create.id;
}

static void add_clone(Fixture *f, VvOps *ops, uint64_t snapshot)
{
    VvOp *op = vv_ops_add(ops, VV_OP_CLONE);
    op->clone.snapshot = snapshot;
    op->clone.id = vv_meta_new_id(f->meta);
    op->clone.branch = vv_meta_new_id(f->meta);
    op->clone.name = g_strdup_printf("c%" G_GUINT64_FORMAT, f->next++);
}

/* Blocks [@first, + @count) of region 1 from @from to @to of segment 0. */
static VvOps *move_ops(const Fixture *f, unsigned first, unsigned count, uint32_t from, uint32_t to)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MOVE);
    op->move.family = f->family;
    op->move.lun = f->lun;
    op->move.branch = f->branch;
    op->move.region = 1;
    op->move.run_count = 1;
    op->move.runs = g_new0(VvMoveRun, 1);
    op->move.runs[0] = (VvMoveRun){
        .first = (uint8_t) first, .count = (uint16_t) count, .from = vv_place(0, from, false), .to = vv_place(0, to, false),
    };
    return ops;
}

static void open_meta(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    f->meta = vv_meta_open(f->directory, false, NULL, &error);
    g_assert_no_error(error);
    vv_meta_set_hooks(f->meta, &hooks, f);
}

/* A disk, a LUN, and four blocks of region 1 at 10 of its segment. */
static void set_up(Fixture *f, gconstpointer data)
{
    (void) data;
    VvMetaCreate create = { .name = "move", .created_ns = 1 };
    f->directory = g_dir_make_tmp("vvfs-move-XXXXXX", NULL);
    f->told = g_hash_table_new(NULL, NULL);
    vv_uuid_generate(&create.uuid);
    g_assert_true(vv_meta_create(f->directory, &create, NULL));
    open_meta(f);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    uint64_t disk = op->disk_add.id = vv_meta_new_id(f->meta);
    op->disk_add.name = g_strdup("d");
    op->disk_add.path = g_strdup("d");
    op->disk_add.size_bytes = (uint64_t) 64 << 20;
    op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    f->lun = op->lun_create.id = vv_meta_new_id(f->meta);
    f->branch = op->lun_create.branch = vv_meta_new_id(f->meta);
    f->family = op->lun_create.family = vv_meta_new_id(f->meta);
    op->lun_create.name = g_strdup("db");
    op->lun_create.size_bytes = (uint64_t) 4 << 20;
    op = vv_ops_add(ops, VV_OP_SEGMENT_GRANT);
    op->segment_grant.family = f->family;
    op->segment_grant.shift = VV_SEGMENT_SHIFT_MIN;
    op->segment_grant.copy_count = 1;
    op->segment_grant.copies[0].disk_id = disk;
    add_map(ops, f->lun, 4, 4, vv_place(0, 10, true));
    commit(f, ops);
    f->freed_blocks = 0;
    g_hash_table_remove_all(f->told);
}

static void report(void *user, const VvCheckError *error)
{
    (void) user;
    g_error("%s: %s", error->code, error->message);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void) data;
    if (vv_meta_failure(f->meta) == NULL)
        g_assert_cmpint(vv_meta_check(f->meta, false, report, NULL), ==, 0);
    vv_meta_close(f->meta);
    const char *argv[] = { "rm", "-rf", f->directory, NULL };
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_hash_table_unref(f->told);
    g_free(f->directory);
}

static uint32_t block_of(const Fixture *f, uint64_t branch, uint64_t epoch, unsigned block)
{
    VvPage page;
    g_assert_cmpint(vv_map_lookup(f->meta, branch, 1, epoch, &page, NULL, NULL), ==, 0);
    return vv_place_block(page.place[block]);
}

/* Snapshot, clone and head see the copy; every branch was told, the clone's too, although it has no page. */
static void test_all_versions_move(Fixture *f, gconstpointer data)
{
    (void) data;
    VvOps *ops = vv_ops_new();
    uint64_t snapshot = add_snapshot(f, ops);
    add_clone(f, ops, snapshot);
    add_map(ops, f->lun, 5, 1, vv_place(0, 50, true));
    commit(f, ops);
    uint64_t clone = vv_meta_lun_by_name(f->meta, "c1")->branch;
    g_hash_table_remove_all(f->told);
    commit(f, move_ops(f, 4, 4, 10, 100)); /* block 5 is elsewhere in the head: it stays */
    g_assert_cmpuint(f->freed_blocks, ==, 4);
    g_assert_true(g_hash_table_contains(f->told, GSIZE_TO_POINTER(f->branch)));
    g_assert_true(g_hash_table_contains(f->told, GSIZE_TO_POINTER(clone)));
    g_assert_cmpuint(block_of(f, f->branch, UINT64_MAX, 4), ==, 100);
    g_assert_cmpuint(block_of(f, f->branch, UINT64_MAX, 5), ==, 50);
    g_assert_cmpuint(block_of(f, f->branch, 1, 4), ==, 100);
    g_assert_cmpuint(block_of(f, f->branch, 1, 5), ==, 11);
    g_assert_cmpuint(block_of(f, clone, UINT64_MAX, 7), ==, 103);
}

static void test_stale_moves_do_nothing(Fixture *f, gconstpointer data)
{
    (void) data;
    VvOps *ops = move_ops(f, 4, 4, 20, 100); /* nobody maps 20 */
    commit(f, ops);
    g_assert_cmpuint(f->freed_blocks, ==, 4);
    ops = move_ops(f, 4, 4, 10, 100);
    vv_ops_get(ops, 0)->move.branch = f->branch + 1000; /* a restore came between */
    commit(f, ops);
    ops = move_ops(f, 4, 4, 10, 100);
    vv_ops_get(ops, 0)->move.lun = 1;
    commit(f, ops);
    g_assert_cmpuint(f->freed_blocks, ==, 12);
    ops = move_ops(f, 4, 4, 10, 100);
    vv_ops_get(ops, 0)->move.family = 1;
    commit(f, ops);
    g_assert_cmpuint(f->freed_blocks, ==, 12);
    g_assert_cmpuint(block_of(f, f->branch, UINT64_MAX, 4), ==, 10);
    g_assert_cmpuint(g_hash_table_size(f->told), ==, 0);
}

static void test_place_in_use_fails_the_pool(Fixture *f, gconstpointer data)
{
    (void) data;
    g_assert_cmpint(try_commit(f, move_ops(f, 4, 2, 10, 12)), ==, -EUCLEAN);
    g_assert_nonnull(vv_meta_failure(f->meta));
}

/* One version each: at the limit it moves, above it stays. */
static void test_versions_are_limited(Fixture *f, gconstpointer data)
{
    (void) data;
    for (unsigned n = 1; n < VV_MOVE_VISITS_MAX - 1; n++) {
        VvOps *ops = vv_ops_new();
        add_snapshot(f, ops);
        add_map(ops, f->lun, 200, 1, 0); /* a page of its own, although it maps nothing new */
        commit(f, ops);
    }
    int before = vv_map_may_move(f->meta, f->family, 1);
    g_assert_cmpint(before, ==, 0);
    commit(f, move_ops(f, 4, 4, 10, 100));
    g_assert_cmpuint(block_of(f, f->branch, 1, 4), ==, 100);
    VvOps *ops = vv_ops_new();
    add_snapshot(f, ops);
    add_map(ops, f->lun, 200, 1, 0);
    commit(f, ops);
    g_assert_cmpint(vv_map_may_move(f->meta, f->family, 1), ==, -E2BIG);
    f->freed_blocks = 0;
    commit(f, move_ops(f, 4, 4, 100, 10));
    g_assert_cmpuint(f->freed_blocks, ==, 4);
    g_assert_cmpuint(block_of(f, f->branch, 1, 4), ==, 100);
}

static VvOps *job_add(const Fixture *f)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_JOB_ADD);
    op->job_add.kind = VV_JOB_REPACK;
    op->job_add.lun = f->lun;
    op->job_add.total = 4;
    return ops;
}

static void set_job(Fixture *f, uint64_t id, VvJobState state)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_JOB_SET);
    op->job_set.id = id;
    op->job_set.state = (uint8_t) state;
    commit(f, ops);
}

static void test_job(Fixture *f, gconstpointer data)
{
    (void) data;
    commit(f, job_add(f));
    commit(f, job_add(f)); /* it has one */
    g_assert_cmpuint(vv_meta_jobs(f->meta)->len, ==, 1);
    uint64_t id = ((const VvJob *) g_ptr_array_index(vv_meta_jobs(f->meta), 0))->id;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_JOB_STEP);
    op->job_step.id = id;
    op->job_step.cursor = 3;
    op->job_step.done = 2;
    op->job_step.total = 4;
    commit(f, ops);
    set_job(f, id, VV_JOB_PAUSED);
    g_assert_cmpint(vv_meta_checkpoint(f->meta), ==, 0);
    vv_meta_close(f->meta);
    open_meta(f);
    const VvJob *job = vv_meta_job(f->meta, id);
    g_assert_nonnull(job);
    g_assert_cmpint(job->kind, ==, VV_JOB_REPACK);
    g_assert_cmpint(job->state, ==, VV_JOB_PAUSED);
    g_assert_cmpuint(job->cursor_region, ==, 3);
    g_assert_cmpuint(job->done_pages, ==, 2);
    set_job(f, id, VV_JOB_CANCELLED);
    g_assert_null(vv_meta_job(f->meta, id));
    commit(f, job_add(f));
    g_assert_cmpuint(vv_meta_jobs(f->meta)->len, ==, 1);
    ops = vv_ops_new();
    op = vv_ops_add(ops, VV_OP_LUN_REMOVE);
    op->lun_remove.id = f->lun;
    commit(f, ops);
    for (unsigned i = 0; i < vv_meta_jobs(f->meta)->len; i++)
        g_assert_cmpint(((const VvJob *) g_ptr_array_index(vv_meta_jobs(f->meta), i))->kind, !=, VV_JOB_REPACK);
    g_assert_cmpuint(f->jobs_added, ==, 2);
    g_assert_cmpuint(f->jobs_ended, ==, 2);
}

/* Runs that go back, overlap, leave the region or the segment. */
static void test_bad_runs_are_refused(Fixture *f, gconstpointer data)
{
    (void) data;
    static const VvMoveRun bad[][2] = {
        { { .first = 4, .count = 2, .from = 1, .to = 9 }, { .first = 5, .count = 1, .from = 5, .to = 13 } },
        { { .first = 9, .count = 1, .from = 1, .to = 9 }, { .first = 5, .count = 1, .from = 5, .to = 13 } },
        { { .first = 1, .count = 1, .from = 1, .to = 9 }, { .first = 250, .count = 7, .from = 5, .to = 13 } },
        { { .first = 1, .count = 1, .from = 1, .to = 9 }, { .first = 2, .count = 7, .from = (1 << 18) - 2, .to = 13 } },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GByteArray) body = g_byte_array_new();
        g_autoptr(GArray) ops = move_ops(f, 4, 1, 10, 100);
        VvOp *op = vv_ops_get(ops, 0);
        g_free(op->move.runs);
        op->move.runs = g_memdup2(bad[i], sizeof bad[i]);
        op->move.run_count = 2;
        vv_ops_encode(ops, body);
        VvOps *back = NULL;
        g_assert_cmpint(vv_ops_decode(body->data, body->len, &back), ==, -EUCLEAN);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/move/all-versions", Fixture, NULL, set_up, test_all_versions_move, tear_down);
    g_test_add("/move/stale", Fixture, NULL, set_up, test_stale_moves_do_nothing, tear_down);
    g_test_add("/move/place-in-use", Fixture, NULL, set_up, test_place_in_use_fails_the_pool, tear_down);
    g_test_add("/move/versions-limited", Fixture, NULL, set_up, test_versions_are_limited, tear_down);
    g_test_add("/move/job", Fixture, NULL, set_up, test_job, tear_down);
    g_test_add("/move/bad-runs", Fixture, NULL, set_up, test_bad_runs_are_refused, tear_down);
    return g_test_run();
}
