/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was done for other nodes, and whether what they have unflushed here may be lost: over deaths, orderly ends and reboots. */
#include "done.h"
#include "engine-pool.h"
#include "incarnation.h"
#include "limits.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

typedef struct {
    char *folder, *directory;
    VvPool *pool;
    int fd;
} Fixture;

static int new_memfd(void)
{
    int fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(ftruncate(fd, VV_PENDING_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

static void open_pool(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .lock_wait_ms = 5000, .have_pending = f->fd >= 0, .pending_fd = f->fd };
    f->pool = vv_pool_open(f->directory, &options, &error);
    g_assert_no_error(error);
}

static void close_pool(Fixture *f)
{
    g_clear_pointer(&f->pool, vv_pool_close);
}

static void set_up(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    *f = (Fixture){ .folder = test_folder_new(true), .fd = new_memfd() };
    f->directory = g_build_filename(f->folder, "pool", NULL);
    VvPoolCreate create = { .directory = f->directory, .name = "tank", .size_bytes = 64 << 20 };
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    vv_pool_destroy(f->directory, false, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(g_file_test(f->directory, G_FILE_TEST_EXISTS) && g_rmdir(f->directory) != 0); /* nothing is left in it */
    test_folder_free(f->folder);
    g_free(f->directory);
    vv_close_fd(&f->fd);
}

/* Run @act in a process of its own that opens the pool and never closes it. Returns its incarnation. */
static uint64_t die_after(Fixture *f, void (*act)(Fixture *f))
{
    uint64_t incarnation = 0;
    int status, ends[2];
    g_assert_cmpint(pipe(ends), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        open_pool(f);
        incarnation = vv_pool_incarnation(f->pool);
        g_assert_cmpint(write(ends[1], &incarnation, sizeof incarnation), ==, sizeof incarnation);
        if (act)
            act(f);
        kill(getpid(), SIGKILL);
    }
    g_assert_cmpint(read(ends[0], &incarnation, sizeof incarnation), ==, sizeof incarnation);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ends[0]);
    close(ends[1]);
    return incarnation;
}

static bool was_done(Fixture *f, uint64_t node, uint64_t origin, uint64_t number, uint64_t value)
{
    VvDone done = { .node = node, .origin = origin, .number = number };
    if (!vv_done_look(f->pool, &done))
        return false;
    g_assert_cmpuint(done.value, ==, value);
    return true;
}

/* ---- done once */

static void note_many(Fixture *f)
{
    for (uint64_t i = 1; i <= VV_DONE_KEPT + 10; i++) {
        vv_done_note(f->pool, &(VvDone){ 2, 77, i, i * 3 });
        vv_done_note(f->pool, &(VvDone){ 3, 77, i, i * 5 });
    }
}

static void assert_many(Fixture *f)
{
    for (uint64_t i = 1; i <= VV_DONE_KEPT + 10; i++) {
        g_assert_true(was_done(f, 2, 77, i, i * 3) == (i > 10));
        g_assert_true(was_done(f, 3, 77, i, i * 5) == (i > 10));
    }
    g_assert_false(was_done(f, 2, 78, 100, 0)); /* another mount's number */
    g_assert_false(was_done(f, 4, 77, 100, 0));
}

static void test_outlives_the_process(Fixture *f, const void *data G_GNUC_UNUSED)
{
    die_after(f, note_many);
    open_pool(f);
    assert_many(f);
    vv_done_note(f->pool, &(VvDone){ 2, 78, 1, 9 }); /* in the place of the oldest */
    g_assert_true(was_done(f, 2, 78, 1, 9));
    g_assert_false(was_done(f, 2, 77, 11, 33));
    g_assert_true(was_done(f, 2, 77, 12, 36));
    close_pool(f);
}

static void test_not_a_reboot(Fixture *f, const void *data G_GNUC_UNUSED)
{
    die_after(f, note_many);
    close(f->fd);
    f->fd = new_memfd();
    open_pool(f);
    g_assert_false(was_done(f, 2, 77, 100, 300));
    note_many(f);
    assert_many(f);
    close_pool(f);
}

static void test_without_pending(Fixture *f, const void *data G_GNUC_UNUSED)
{
    vv_close_fd(&f->fd);
    open_pool(f);
    note_many(f);
    assert_many(f);
    close_pool(f);
}

/* ---- incarnations */

static void test_incarnations(Fixture *f, const void *data G_GNUC_UNUSED)
{
    uint64_t first = die_after(f, NULL), again = die_after(f, NULL), fresh;
    g_assert_cmphex(first, !=, 0);
    g_assert_cmphex(again, ==, first); /* the pending memory is there */
    close(f->fd);
    f->fd = new_memfd();
    fresh = die_after(f, NULL); /* as after a power cut */
    g_assert_cmphex(fresh, !=, first);
    open_pool(f);
    g_assert_cmphex(vv_pool_incarnation(f->pool), ==, fresh);
    close_pool(f); /* in order: nothing is lost */
    close(f->fd);
    f->fd = new_memfd();
    g_assert_cmphex(die_after(f, NULL), ==, fresh);
    close(f->fd);
    f->fd = new_memfd();
    g_assert_cmphex(die_after(f, NULL), !=, fresh); /* that end was not this one's */
}

static void test_flushed_is_checked(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autofree char *path = g_build_filename(f->directory, VV_FLUSHED_FILE, NULL), *text = NULL;
    uint64_t left;
    gsize bytes;
    vv_close_fd(&f->fd);
    open_pool(f);
    left = vv_pool_incarnation(f->pool);
    close_pool(f);
    g_assert_true(g_file_get_contents(path, &text, &bytes, NULL));
    text[strlen("vvfs-flushed 1\nopening 0123456789abcdef\nincarnation ")] ^= 1;
    g_assert_true(g_file_set_contents(path, text, (gssize) bytes, NULL));
    open_pool(f);
    g_assert_cmphex(vv_pool_incarnation(f->pool), !=, left);
    g_assert_cmphex(vv_pool_incarnation(f->pool), !=, left ^ UINT64_C(1) << 60);
    left = vv_pool_incarnation(f->pool);
    close_pool(f);
    open_pool(f);
    g_assert_cmphex(vv_pool_incarnation(f->pool), ==, left);
    close_pool(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/done/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("outlives-the-process", test_outlives_the_process);
    ADD("not-a-reboot", test_not_a_reboot);
    ADD("without-pending", test_without_pending);
    ADD("incarnations", test_incarnations);
    ADD("flushed-is-checked", test_flushed_is_checked);
    return g_test_run();
}
