/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies of a pool (serving.c): made in use, after a crash, closed; and a directory that is older than its disk. */
#include "engine-pool.h"
#include "error.h"
#include "serving.h"

#include <sys/stat.h>
#include <sys/wait.h>

static void run(const char *program, const char *option, const char *a, const char *b)
{
    const char *argv[] = { program, option, a, b, NULL };
    int status = -1;
    g_assert_true(g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

static char *copy(TestPool *test, const char *name)
{
    char *to = g_build_filename(test->folder, name, NULL);
    run("cp", "-a", test->directory, to);
    return to;
}

static void expect_refused(const char *directory, VvErrorCode code, const char *text)
{
    for (unsigned read_only = 0; read_only < 2; read_only++) {
        g_autoptr(GError) error = NULL;
        VvPoolOptions options = { .read_only = read_only };
        g_assert_null(vv_pool_open(directory, &options, &error));
        g_assert_error(error, VV_ERROR, (int) code);
        g_assert_nonnull(strstr(error->message, text));
        g_test_message("%s", error->message);
    }
}

static void open_and_close(const char *directory)
{
    g_autoptr(GError) error = NULL;
    VvPool *pool = vv_pool_open(directory, NULL, &error);
    g_assert_no_error(error);
    vv_pool_close(pool);
}

static bool has_mark(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, VV_IN_USE_FILE, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void test_in_use(void)
{
    TestPool *test = test_pool_new(64 << 20);
    g_autoptr(GError) error = NULL;
    test_lun_new(test, "a", 4 << 20);
    g_autofree char *to = copy(test, "copy");
    g_assert_true(has_mark(to));
    expect_refused(to, VV_ERROR_CONFLICT, "copied while it was in use");
    g_assert_false(vv_pool_check_offline(to, true, NULL, NULL, &error)); /* nothing to mend: it does not hold together */
    g_assert_error(error, VV_ERROR, VV_ERROR_CONFLICT);
    vv_pool_close(test->pool);
    g_assert_false(has_mark(test->directory));
    expect_refused(to, VV_ERROR_CONFLICT, "copied while it was in use");

    g_autofree char *closed = copy(test, "closed");
    open_and_close(closed);
    open_and_close(test->directory);
    run("rm", "-r", to, closed);
    test_pool_open(test);
    test_pool_free(test);
}

static void test_crash(void)
{
    TestPool *test = test_pool_new(64 << 20);
    int status;
    vv_pool_close(test->pool);
    pid_t child = fork();
    if (child == 0) {
        test_pool_open(test);
        _exit(0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
    g_assert_true(has_mark(test->directory));

    g_autofree char *to = copy(test, "copy"), *mark = g_build_filename(to, VV_IN_USE_FILE, NULL);
    expect_refused(to, VV_ERROR_CONFLICT, "copied while it was in use");
    g_assert_cmpint(g_unlink(mark), ==, 0); /* as the hint says */
    open_and_close(to);
    run("rm", "-r", to, NULL);
    test_pool_open(test); /* the pool itself */
    test_pool_free(test);
}

static void test_bad_mark(void)
{
    TestPool *test = test_pool_new(64 << 20);
    g_autofree char *to = copy(test, "copy"), *mark = g_build_filename(to, VV_IN_USE_FILE, NULL), *text = NULL;
    gsize length_bytes;
    g_assert_true(g_file_get_contents(mark, &text, &length_bytes, NULL));
    for (gsize i = 0; i < length_bytes; i++) {
        text[i] ^= 1;
        g_assert_true(g_file_set_contents(mark, text, (gssize) length_bytes, NULL));
        expect_refused(to, VV_ERROR_DAMAGED, "is damaged");
        text[i] ^= 1;
    }
    run("rm", "-r", to, NULL);
    test_pool_free(test);
}

/* A directory put back from a backup beside a disk that went on. */
static void test_old_directory(void)
{
    g_autoptr(GError) error = NULL;
    TestPool test = { .folder = test_folder_new(true) };
    g_autofree char *disk = g_build_filename(test.folder, "disk", NULL), *now = g_build_filename(test.folder, "now", NULL);
    const char *disks[] = { disk, NULL };
    VvPoolCreate create = { .name = "tank", .disks = disks };
    create.directory = test.directory = g_build_filename(test.folder, "pool", NULL);
    int fd = open(disk, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    g_assert_cmpint(ftruncate(fd, 64 << 20), ==, 0);
    close(fd);
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    open_and_close(test.directory);

    g_autofree char *backup = copy(&test, "backup"), *old = g_build_filename(test.folder, "old", NULL);
    run("cp", "-a", disk, old);
    for (unsigned i = 0; i < 2; i++)
        open_and_close(test.directory); /* goes on */
    g_assert_cmpint(rename(test.directory, now), ==, 0);
    g_assert_cmpint(rename(backup, test.directory), ==, 0);
    for (unsigned i = 0; i < 4; i++) /* trying again does not make it newer */
        expect_refused(test.directory, VV_ERROR_CONFLICT, "is older than disk");
    g_autofree char *saved = g_build_filename(test.folder, "saved", NULL), *older = g_build_filename(test.directory, VV_OLDER_FILE, NULL);
    run("cp", "-a", disk, saved);
    run("cp", "-a", old, disk); /* put back too: then all is as it was */
    open_and_close(test.directory);
    g_assert_false(g_file_test(older, G_FILE_TEST_EXISTS));
    run("cp", "-a", saved, disk);
    g_assert_cmpint(rename(test.directory, backup), ==, 0);
    g_assert_cmpint(rename(now, test.directory), ==, 0);
    open_and_close(test.directory);
    run("rm", "-r", old, saved);
    run("rm", "-r", backup, NULL);
    vv_pool_destroy(test.directory, false, NULL, &error);
    g_assert_no_error(error);
    g_unlink(disk);
    (void) g_rmdir(test.directory);
    test_folder_free(test.folder);
    g_free(test.directory);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/serving/in-use", test_in_use);
    g_test_add_func("/engine/serving/crash", test_crash);
    g_test_add_func("/engine/serving/bad-mark", test_bad_mark);
    g_test_add_func("/engine/serving/old-directory", test_old_directory);
    return g_test_run();
}
