/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was done for other nodes, and whether what they have unflushed here may be lost: over deaths, orderly ends and reboots. */
#include "done.h"
#include "engine-dying.h"

static bool was_done(Dying *f, uint64_t node, uint64_t origin, uint64_t number, uint64_t value)
{
    VvDone done = { .node = node, .origin = origin, .number = number };
    if (!vv_done_look(f->pool, &done))
        return false;
    g_assert_cmpuint(done.value, ==, value);
    return true;
}

/* ---- done once */

static void note_many(Dying *f)
{
    for (uint64_t i = 1; i <= VV_DONE_KEPT + 10; i++) {
        vv_done_note(f->pool, &(VvDone){ 2, 77, i, i * 3 });
        vv_done_note(f->pool, &(VvDone){ 3, 77, i, i * 5 });
    }
}

static void assert_many(Dying *f)
{
    for (uint64_t i = 1; i <= VV_DONE_KEPT + 10; i++) {
        g_assert_true(was_done(f, 2, 77, i, i * 3) == (i > 10));
        g_assert_true(was_done(f, 3, 77, i, i * 5) == (i > 10));
    }
    g_assert_false(was_done(f, 2, 78, 100, 0)); /* another mount's number */
    g_assert_false(was_done(f, 4, 77, 100, 0));
}

static void test_outlives_the_process(Dying *f, const void *data G_GNUC_UNUSED)
{
    dying_run(f, note_many);
    dying_open(f);
    assert_many(f);
    vv_done_note(f->pool, &(VvDone){ 2, 78, 1, 9 }); /* in the place of the oldest */
    g_assert_true(was_done(f, 2, 78, 1, 9));
    g_assert_false(was_done(f, 2, 77, 11, 33));
    g_assert_true(was_done(f, 2, 77, 12, 36));
    dying_close(f);
}

static void test_not_a_reboot(Dying *f, const void *data G_GNUC_UNUSED)
{
    dying_run(f, note_many);
    close(f->fd);
    f->fd = dying_memfd();
    dying_open(f);
    g_assert_false(was_done(f, 2, 77, 100, 300));
    note_many(f);
    assert_many(f);
    dying_close(f);
}

static void test_without_pending(Dying *f, const void *data G_GNUC_UNUSED)
{
    vv_close_fd(&f->fd);
    dying_open(f);
    note_many(f);
    assert_many(f);
    dying_close(f);
}

/* ---- incarnations */

static void test_incarnations(Dying *f, const void *data G_GNUC_UNUSED)
{
    uint64_t first = dying_run(f, NULL), again = dying_run(f, NULL), fresh;
    g_assert_cmphex(first, !=, 0);
    g_assert_cmphex(again, ==, first); /* the pending memory is there */
    close(f->fd);
    f->fd = dying_memfd();
    fresh = dying_run(f, NULL); /* as after a power cut */
    g_assert_cmphex(fresh, !=, first);
    dying_open(f);
    g_assert_cmphex(vv_pool_incarnation(f->pool), ==, fresh);
    dying_close(f); /* in order: nothing is lost */
    close(f->fd);
    f->fd = dying_memfd();
    g_assert_cmphex(dying_run(f, NULL), ==, fresh);
    close(f->fd);
    f->fd = dying_memfd();
    g_assert_cmphex(dying_run(f, NULL), !=, fresh); /* that end was not this one's */
}

static void test_flushed_is_checked(Dying *f, const void *data G_GNUC_UNUSED)
{
    g_autofree char *path = g_build_filename(f->directory, VV_FLUSHED_FILE, NULL), *text = NULL;
    uint64_t left;
    gsize bytes;
    vv_close_fd(&f->fd);
    dying_open(f);
    left = vv_pool_incarnation(f->pool);
    dying_close(f);
    g_assert_true(g_file_get_contents(path, &text, &bytes, NULL));
    text[strlen("vvfs-flushed 1\nopening 0123456789abcdef\nincarnation ")] ^= 1;
    g_assert_true(g_file_set_contents(path, text, (gssize) bytes, NULL));
    dying_open(f);
    g_assert_cmphex(vv_pool_incarnation(f->pool), !=, left);
    g_assert_cmphex(vv_pool_incarnation(f->pool), !=, left ^ UINT64_C(1) << 60);
    left = vv_pool_incarnation(f->pool);
    dying_close(f);
    dying_open(f);
    g_assert_cmphex(vv_pool_incarnation(f->pool), ==, left);
    dying_close(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/done/" name, Dying, NULL, dying_set_up, function, dying_tear_down)
    ADD("outlives-the-process", test_outlives_the_process);
    ADD("not-a-reboot", test_not_a_reboot);
    ADD("without-pending", test_without_pending);
    ADD("incarnations", test_incarnations);
    ADD("flushed-is-checked", test_flushed_is_checked);
    return g_test_run();
}
