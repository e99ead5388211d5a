/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A map that is a cluster's: its base, what opens it and what refuses to; given and taken as a stream, with a death at each step of taking
 * its place. */
#include "base.h"
#include "engine-test.h"
#include "error.h"
#include "journal_log.h"
#include "meta-ops-test.h"
#include "meta_private.h"
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>

typedef struct {
    VvBase base;
    unsigned held, resumed;
    uint64_t stored;
} Source;

static bool hold(void *user, VvBase *ret_base)
{
    Source *s = user;

    s->held++;
    *ret_base = s->base;
    ret_base->conf = g_bytes_new_static("conf", 4);
    ret_base->state = g_bytes_new_static("the state", 9);
    return true;
}

static void resume(void *user)
{
    ((Source *) user)->resumed++;
}

static void stored(void *user, uint64_t index)
{
    ((Source *) user)->stored = index;
}

static void spawn(const char *first, const char *second, const char *third, const char *fourth)
{
    const char *argv[] = { first, second, third, fourth, NULL };
    g_autoptr(GError) error = NULL;
    int status;

    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
}

static char *new_pool(void)
{
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "tank", .created_ns = 1 };
    char *directory = test_folder_new(true);

    vv_uuid_generate(&create.uuid);
    vv_meta_create(directory, &create, &error);
    g_assert_no_error(error);
    return directory;
}

static VvMeta *open_meta(const char *directory)
{
    g_autoptr(GError) error = NULL;
    VvMeta *meta = vv_meta_open(directory, false, NULL, &error);

    g_assert_no_error(error);
    return meta;
}

static VvOps *new_lun(uint64_t id, const char *name)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);

    op->lun_create.id = id;
    op->lun_create.name = g_strdup(name);
    op->lun_create.size_bytes = 1 << 20;
    op->lun_create.branch = id + 1;
    op->lun_create.family = id + 2;
    return ops;
}

/* The pool of one node, made a cluster's, closed. */
static char *new_cluster(Source *s)
{
    char *directory = new_pool();
    VvMeta *meta = open_meta(directory);
    VvBaseSource source = { hold, resume, stored, s };

    test_commit(meta, new_lun(10, "a"));
    test_commit(meta, new_lun(20, "b"));
    g_assert_false(vv_meta_is_cluster(meta));
    *s = (Source){ .base = { .index = 2, .term = 1, .conf_index = 2 } };
    vv_meta_set_base_source(meta, &source);
    g_assert_false(vv_meta_is_cluster(meta));
    g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
    g_assert_true(vv_meta_is_cluster(meta));
    g_assert_cmpuint(s->held, ==, 1);
    g_assert_cmpuint(s->resumed, ==, 1);
    g_assert_cmpuint(s->stored, ==, 2);
    vv_meta_close(meta);
    return directory;
}

static void test_base(void)
{
    Source s;
    g_autofree char *directory = new_cluster(&s);
    VvMeta *meta = open_meta(directory);
    VvBaseSource source = { hold, resume, stored, &s };
    VvOps *ops = new_lun(30, "c");
    VvJournalItem item = { .index = 3, .term = 2, .kind = VV_JOURNAL_COMMAND, .body = "x", .length_bytes = 1 };
    VvBase base;

    g_assert_true(vv_meta_base(meta, &base));
    g_assert_cmpuint(base.index, ==, 2);
    g_assert_cmpuint(base.term, ==, 1);
    g_assert_cmpuint(base.conf_index, ==, 2);
    g_assert_cmpuint(base.config_index, ==, 0);
    g_assert_cmpuint(g_bytes_get_size(base.state), ==, 9);
    vv_base_clear(&base);

    vv_meta_set_base_source(meta, &source);
    for (; item.index <= 5; item.index++)
        g_assert_cmpint(vv_journal_put(vv_meta_journal(meta), &item), ==, 0);
    g_assert_cmpint(vv_journal_sync(vv_meta_journal(meta)), ==, 0);
    g_assert_cmpint(vv_meta_apply_entry(meta, 3, NULL, false), ==, 0); /* B3 */
    g_assert_cmpint(vv_meta_apply_entry(meta, 4, ops, true), ==, 0);
    vv_ops_free(ops);
    g_assert_cmpuint(vv_meta_config_index(meta), ==, 4);
    s.base.index = 4;
    s.base.term = 2;
    g_assert_cmpint(vv_meta_checkpoint(meta), ==, 0);
    g_assert_cmpint(vv_meta_apply_entry(meta, 5, NULL, false), ==, 0); /* lost: nothing is replayed by itself */
    vv_meta_close(meta);

    meta = open_meta(directory);
    g_assert_cmpuint(vv_meta_applied_index(meta), ==, 4);
    g_assert_cmpuint(vv_journal_last_index(vv_meta_journal(meta)), ==, 5);
    g_assert_cmpuint(vv_meta_config_index(meta), ==, 4);
    vv_meta_close(meta);
    spawn("rm", "-rf", "--", directory);
}

/* A base that contradicts the map's index is damage. */
static void test_damaged(void)
{
    Source s;
    g_autofree char *directory = new_cluster(&s), *map = g_build_filename(directory, "map", NULL);
    g_autoptr(GError) error = NULL;
    VvStore *store = vv_store_open(map, false, &error);
    VvStoreTxn *txn;
    static const uint8_t key[1] = { 1 };

    g_assert_no_error(error);
    g_assert_cmpint(vv_store_begin(store, &txn), ==, 0);
    g_assert_cmpint(vv_store_delete(txn, VV_TABLE_POOL, key, sizeof key), ==, 0);
    g_assert_cmpint(vv_store_commit(txn), ==, 0);
    vv_store_close(store);
    g_assert_null(vv_meta_open(directory, false, NULL, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    spawn("rm", "-rf", "--", directory);
}

/* ---- streams */

static GByteArray *give(const char *directory, size_t chunk)
{
    VvMeta *meta = open_meta(directory);
    g_autoptr(VvSyncGive) g = vv_sync_give_new(meta);
    GByteArray *all = g_byte_array_new();

    g_assert_nonnull(g);
    g_assert_cmpuint(vv_sync_give_index(g), ==, 2);
    while (all->len < vv_sync_give_bytes(g))
        g_assert_cmpint(vv_sync_give_read(g, all->len, all, chunk), ==, 0);
    if (all->len > 100) { /* what was lost is asked for again */
        g_autoptr(GByteArray) again = g_byte_array_new();

        g_assert_cmpint(vv_sync_give_read(g, 50, again, 40), ==, 0);
        g_assert_cmpint(memcmp(again->data, all->data + 50, 40), ==, 0);
    }
    g_clear_pointer(&g, vv_sync_give_free);
    vv_meta_close(meta);
    return all;
}

static int take(const char *directory, const GByteArray *stream, size_t bytes, size_t chunk, uint64_t index)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvSyncTake) t = vv_sync_take_new(directory, &error);
    int rc = 0;

    g_assert_no_error(error);
    for (size_t done = 0; rc == 0 && done < bytes; done += chunk)
        rc = vv_sync_take_write(t, stream->data + done, MIN(chunk, bytes - done));
    return rc == 0 ? vv_sync_take_complete(t, index) : rc;
}

static void check_taken(const char *directory)
{
    VvMeta *meta = open_meta(directory);

    g_assert_true(vv_meta_is_cluster(meta));
    g_assert_cmpuint(vv_meta_applied_index(meta), ==, 2);
    vv_meta_read_lock(meta);
    g_assert_cmpuint(vv_meta_luns(meta)->len, ==, 2);
    vv_meta_read_unlock(meta);
    g_assert_cmpuint(vv_journal_last_index(vv_meta_journal(meta)), ==, 2);
    vv_meta_close(meta);
}

static bool is_in(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void finish(const char *directory)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vv_sync_finish(directory, &error));
    g_assert_no_error(error);
    g_assert_false(is_in(directory, "sync"));
}

static void test_streams(void)
{
    static const size_t chunks[] = { 1, 61, 4096 };
    Source s;
    g_autofree char *directory = new_cluster(&s), *empty = test_folder_new(true);
    g_autoptr(GByteArray) stream = give(directory, 100);

    for (unsigned i = 0; i < G_N_ELEMENTS(chunks); i++) {
        g_autoptr(GByteArray) same = give(directory, chunks[i]);

        g_assert_cmpuint(stream->len, ==, same->len);
        g_assert_cmpint(take(empty, same, same->len, chunks[i], 2), ==, 0);
    }
    finish(empty);
    check_taken(empty);
    spawn("rm", "-rf", "--", directory);
    spawn("rm", "-rf", "--", empty);
}

static void test_bad_streams(void)
{
    Source s;
    g_autofree char *directory = new_cluster(&s), *empty = test_folder_new(true);
    g_autoptr(GByteArray) stream = give(directory, 4096);

    for (guint at = 0; at < stream->len; at += 101) {
        stream->data[at] ^= 0x40;
        g_assert_cmpint(take(empty, stream, stream->len, 4096, 2), <, 0);
        stream->data[at] ^= 0x40;
        finish(empty);
        g_assert_false(is_in(empty, "map"));
    }
    g_assert_cmpint(take(empty, stream, stream->len - 1, 4096, 2), ==, -EUCLEAN);
    g_assert_cmpint(take(empty, stream, stream->len, 4096, 3), ==, -EUCLEAN);
    finish(empty);
    g_assert_false(is_in(empty, "vvfs-pool"));
    spawn("rm", "-rf", "--", directory);
    spawn("rm", "-rf", "--", empty);
}

static void move(const char *directory, const char *from, const char *to)
{
    g_autofree char *a = g_build_filename(directory, from, NULL), *b = g_build_filename(directory, to, NULL);

    g_assert_cmpint(g_rename(a, b), ==, 0);
}

/* Y1: it dies after so many renames, in a directory that has an older map. */
static void test_deaths(void)
{
    static const char *const moves[][2] = { { "map", "sync/old-map" }, { "sync/map", "map" }, { "journal", "sync/old-journal" },
        { "sync/journal", "journal" } };
    Source s;
    g_autofree char *directory = new_cluster(&s);
    g_autoptr(GByteArray) stream = give(directory, 4096);

    for (unsigned dies = 0; dies <= G_N_ELEMENTS(moves); dies++) {
        g_autofree char *old = new_pool();

        g_assert_cmpint(take(old, stream, stream->len / 2, 4096, 2), ==, -EUCLEAN);
        finish(old); /* half of it is nothing */
        g_assert_cmpint(take(old, stream, stream->len, 4096, 2), ==, 0);
        for (unsigned i = 0; i < dies; i++)
            move(old, moves[i][0], moves[i][1]);
        {
            g_autofree char *identity = g_build_filename(directory, "vvfs-pool", NULL);

            spawn("cp", "--", identity, old); /* both were one pool's */
        }
        finish(old);
        finish(old);
        check_taken(old);
        spawn("rm", "-rf", "--", old);
    }
    spawn("rm", "-rf", "--", directory);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/written", test_base);
    g_test_add_func("/base/damaged", test_damaged);
    g_test_add_func("/sync/streams", test_streams);
    g_test_add_func("/sync/bad", test_bad_streams);
    g_test_add_func("/sync/deaths", test_deaths);
    return g_test_run();
}
