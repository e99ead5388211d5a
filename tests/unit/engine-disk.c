/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that are files: made, refused, opened, locked, damaged, mended, grown, read and written. */
#include "engine-test.h"

#include <signal.h>
#include <sys/wait.h>

typedef struct {
    char *folder;
    char *path;
    VvLabel label;
    GError *error;
} Fixture;

static void set_up(Fixture *f, const void *memory)
{
    f->folder = test_folder_new(memory != NULL);
    f->path = g_build_filename(f->folder, "disk", NULL);
    f->label = test_label();
}

static void tear_down(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_assert_no_error(f->error);
    g_free(f->path);
    test_folder_free(f->folder);
}

static bool format(Fixture *f, bool overwrite, uint64_t create_bytes)
{
    VvDiskFormat how = { .overwrite = overwrite, .create_bytes = create_bytes };
    return vv_disk_format(f->path, &how, &f->label, &f->error);
}

static void make_disk(Fixture *f)
{
    format(f, false, TEST_DISK_BYTES);
    g_assert_no_error(f->error);
}

static VvDisk *open_disk(Fixture *f)
{
    return vv_disk_open(f->path, &f->label.pool_uuid, &f->label.disk_uuid, false, 0, &f->error);
}

/* A file of @bytes, all holes but for @length bytes of @data at @offset. */
static void make_file(Fixture *f, uint64_t bytes, uint64_t offset, const void *data, size_t length)
{
    vv_autofd int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t) bytes), ==, 0);
    g_assert_cmpint(vv_pwrite_full(fd, data, length, offset), ==, 0);
}

static void poke(Fixture *f, uint64_t offset, const void *data, size_t length)
{
    vv_autofd int fd = open(f->path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(vv_pwrite_full(fd, data, length, offset), ==, 0);
}

static char *checksum(const char *path)
{
    g_autofree char *data = NULL;
    size_t length;
    g_assert_true(g_file_get_contents(path, &data, &length, NULL));
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *) data, length);
}

/* Refused, and not a byte changed. */
static void assert_refused(Fixture *f, bool overwrite, VvErrorCode code, const char *text)
{
    g_autofree char *before = checksum(f->path);
    g_assert_false(format(f, overwrite, 0));
    test_assert_refused(f->error, code, text);
    g_autofree char *after = checksum(f->path);
    g_assert_cmpstr(before, ==, after);
}

/* Run a program that a machine may lack; false: it does. */
static bool run(const char *program, ...)
{
    g_autofree char *found = g_find_program_in_path(program);
    if (found == NULL) {
        const char *const folders[] = { "/usr/sbin", "/sbin" };
        for (size_t i = 0; found == NULL && i < G_N_ELEMENTS(folders); i++) {
            g_autofree char *path = g_build_filename(folders[i], program, NULL);
            if (access(path, X_OK) == 0)
                found = g_steal_pointer(&path);
        }
    }
    if (found == NULL)
        return false;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, found);
    va_list args;
    va_start(args, program);
    char *word;
    do
        g_ptr_array_add(argv, word = va_arg(args, char *));
    while (word);
    va_end(args);
    int status;
    g_autoptr(GError) error = NULL;
    g_spawn_sync(NULL, (char **) argv->pdata, NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
        NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
    return true;
}

/* ---- made */

static void test_sparse_file(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    struct stat st;
    VvLabel read;
    bool repaired = true;
    make_disk(f);
    g_assert_cmpuint(f->label.size_bytes, ==, TEST_DISK_BYTES);
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, TEST_DISK_BYTES);
    g_assert_cmpint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpint(st.st_blocks, <=, 64);
    g_assert_true(vv_disk_read_label(f->path, &read, &repaired, &f->error));
    g_assert_false(repaired);
    g_assert_cmpstr(read.disk_name, ==, "d1");
    g_assert_true(vv_uuid_equal(&read.disk_uuid, &f->label.disk_uuid));
}

static void test_existing_empty_file(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_file(f, TEST_DISK_BYTES + 1000, 0, "", 0);
    g_assert_true(format(f, false, 0));
    g_assert_cmpuint(f->label.size_bytes, ==, TEST_DISK_BYTES);
    vv_disk_close(open_disk(f));
    g_assert_no_error(f->error);
}

static void test_create_is_refused(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_assert_false(format(f, false, VV_DISK_BYTES_MIN - 1));
    test_assert_refused(f->error, VV_ERROR_USAGE, "too small: a disk has at least 16M");
    if (format(f, false, INT64_MAX)) /* some file systems take any size */
        g_assert_cmpint(g_unlink(f->path), ==, 0);
    else
        test_assert_refused(f->error, VV_ERROR_LIMIT, "cannot have 8E: File too large");
    g_assert_cmpint(access(f->path, F_OK), <, 0); /* nothing is left behind */
    make_file(f, 100, 0, "mine", 4);
    g_assert_false(format(f, false, TEST_DISK_BYTES));
    test_assert_refused(f->error, VV_ERROR_EXISTS, "exists already: nothing was changed");
    g_assert_false(format(f, true, TEST_DISK_BYTES));
    test_assert_refused(f->error, VV_ERROR_EXISTS, "exists already: nothing was changed");
    g_free(f->path);
    f->path = g_build_filename(f->folder, "none", "disk", NULL);
    g_assert_false(format(f, false, TEST_DISK_BYTES));
    test_assert_refused(f->error, VV_ERROR_NOT_FOUND, "none");
}

/* ---- refused */

static void test_what_is_no_disk(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_autofree char *disk = g_steal_pointer(&f->path);
    f->path = g_strdup(disk);
    g_assert_false(format(f, true, 0));
    test_assert_refused(f->error, VV_ERROR_NOT_FOUND, "does not exist");
    g_assert_cmpint(mkfifo(f->path, 0600), ==, 0);
    g_assert_false(format(f, true, 0));
    test_assert_refused(f->error, VV_ERROR_UNSUPPORTED, "is a pipe");
    g_assert_null(open_disk(f));
    test_assert_refused(f->error, VV_ERROR_UNSUPPORTED, "is a pipe");
    g_free(f->path);
    f->path = g_strdup("/dev/null");
    g_assert_false(format(f, true, 0));
    test_assert_refused(f->error, VV_ERROR_UNSUPPORTED, "is a character device");
    g_free(f->path);
    f->path = g_strdup(f->folder);
    g_assert_false(format(f, true, 0));
    test_assert_refused(f->error, VV_ERROR_UNSUPPORTED, "is a directory");
}

static void test_too_small(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_file(f, VV_DISK_BYTES_MIN - 1, 0, "", 0);
    assert_refused(f, true, VV_ERROR_USAGE, "too small: a disk has at least 16M");
}

static void test_data_of_unknown_kind(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_file(f, TEST_DISK_BYTES, VV_LABEL_BYTES - 5, "hello", 5);
    assert_refused(f, false, VV_ERROR_IN_USE_DEVICE, "holds data of unknown kind: nothing was changed");
    g_assert_true(format(f, true, 0));
}

static void test_open_in_another_process(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_file(f, TEST_DISK_BYTES, 0, "", 0);
    vv_autofd int fd = open(f->path, O_RDWR | O_CLOEXEC);
    assert_refused(f, true, VV_ERROR_IN_USE_DEVICE, "open in another process: nothing was changed");
    g_assert_cmpint(close(g_steal_fd(&fd)), ==, 0);
    g_assert_true(format(f, false, 0));
}

static void test_disk_of_a_pool(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_disk(f);
    assert_refused(f, true, VV_ERROR_EXISTS, "is disk d1 of this pool already: nothing was changed");
    g_autofree char *disk = g_steal_pointer(&f->path);
    f->path = g_build_filename(f->folder, "other-name", NULL);
    g_assert_cmpint(link(disk, f->path), ==, 0);
    assert_refused(f, true, VV_ERROR_EXISTS, "is disk d1 of this pool already");

    memset(f->label.pool_uuid.bytes, 0x99, 16);
    g_strlcpy(f->label.pool_name, "other", sizeof f->label.pool_name);
    assert_refused(f, false, VV_ERROR_EXISTS, "is disk d1 of the pool tank: nothing was changed");
    g_assert_true(format(f, true, 0));
    VvDisk *open = open_disk(f);
    g_assert_nonnull(open);
    memset(f->label.pool_uuid.bytes, 0x77, 16);
    assert_refused(f, true, VV_ERROR_IN_USE_DEVICE, "is locked by process");
    vv_disk_close(open);
}

static void test_damaged_label_is_named(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_disk(f);
    poke(f, 100, "x", 1);
    poke(f, 512 * 1024 + 100, "x", 1);
    assert_refused(f, false, VV_ERROR_EXISTS, "holds a vvfs label that is damaged: nothing was changed");
    g_assert_true(format(f, true, 0));
}

static void test_ext4_is_named(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_file(f, TEST_DISK_BYTES, 0, "", 0);
    if (!run("mkfs.ext4", "-q", "-L", "old-data", "-O", "^metadata_csum", f->path, NULL)) {
        g_test_skip("no mkfs.ext4");
        return;
    }
    assert_refused(
        f, false, VV_ERROR_IN_USE_DEVICE, "holds an ext4 file system \"old-data\", never mounted: nothing was changed");
    poke(f, 1024 + 0x2c, "\x00\x3d\x07\x69", 4); /* 2025-11-02 11:15:44 UTC */
    assert_refused(f, false, VV_ERROR_IN_USE_DEVICE,
        "holds an ext4 file system \"old-data\", last mounted 2025-11-02: nothing was changed");
    g_assert_false(format(f, false, 0));
    g_assert_cmpstr(vv_error_get_hint(f->error), ==, "`--overwrite` erases it.");
    g_clear_error(&f->error);
    g_assert_true(format(f, true, 0));
    VvLabel read;
    g_assert_true(vv_disk_read_label(f->path, &read, NULL, &f->error));
}

static void test_other_signatures_are_named(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    static const struct {
        uint64_t at;
        const char *bytes;
        size_t length;
        const char *text;
    } table[] = {
        { 4096 - 10, "SWAPSPACE2", 10, "holds swap space" },
        { 0, "LUKS\xba\xbe\0\2", 8, "signature" },
        { 446, "\0\x20\x21\0\x83\xff\xff\xff\0\x08\0\0\0\x40\0\0", 16, "holds a dos partition table" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        make_file(f, 320u << 20, table[i].at, table[i].bytes, table[i].length);
        if (i == 0)
            poke(f, 1024, "\1\0\0\0\xff\x0f\0\0", 8); /* swap: version 1, last page */
        if (i == 2)
            poke(f, 510, "\x55\xaa", 2);
        g_assert_false(format(f, false, 0));
        if (i != 1) /* libblkid wants a whole LUKS header; then it is data of unknown kind */
            test_assert_refused(f->error, VV_ERROR_IN_USE_DEVICE, table[i].text);
        g_clear_error(&f->error);
        g_assert_true(format(f, true, 0));
        g_assert_cmpint(g_unlink(f->path), ==, 0);
    }
}

/* ---- opened */

static void test_open_checks_whose(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    VvUuid other = { { 0x33 } };
    make_disk(f);
    g_assert_null(vv_disk_open(f->path, &other, NULL, false, 0, &f->error));
    test_assert_refused(f->error, VV_ERROR_CONFLICT, "is disk d1 of another pool, tank");
    g_assert_null(vv_disk_open(f->path, NULL, &other, false, 0, &f->error));
    test_assert_refused(f->error, VV_ERROR_CONFLICT, "is another disk of this pool, d1");
    vv_disk_close(vv_disk_open(f->path, NULL, NULL, false, 0, &f->error));
    g_assert_no_error(f->error);
}

static void test_cut_short(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_disk(f);
    g_assert_cmpint(truncate(f->path, TEST_DISK_BYTES - 4096), ==, 0);
    g_assert_null(open_disk(f));
    test_assert_refused(f->error, VV_ERROR_DAMAGED, "was cut short");
}

static void test_no_label(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_file(f, TEST_DISK_BYTES, 0, "", 0);
    g_assert_null(open_disk(f));
    test_assert_refused(f->error, VV_ERROR_NOT_FOUND, "has no vvfs label");
    g_assert_false(vv_disk_read_label(f->path, &f->label, NULL, &f->error));
    test_assert_refused(f->error, VV_ERROR_NOT_FOUND, "has no vvfs label");
}

static void test_second_copy_is_used(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    VvLabel read;
    bool repaired = false;
    make_disk(f);
    g_autofree char *whole = checksum(f->path);
    for (unsigned i = 0; i < 3; i++) {
        static const uint64_t hurt[] = { 3, 30, 4000 }; /* the magic, a UUID, the empty rest */
        poke(f, hurt[i], "\x01", 1);
        g_assert_true(vv_disk_read_label(f->path, &read, &repaired, &f->error));
        g_assert_true(repaired);
        g_assert_cmpmem(&read.disk_uuid, 16, &f->label.disk_uuid, 16);
        vv_disk_close(open_disk(f));
        g_assert_no_error(f->error);
        g_autofree char *mended = checksum(f->path);
        g_assert_cmpstr(mended, ==, whole);
    }
    poke(f, 512 * 1024 + 30, "\x01", 1);
    g_assert_true(vv_disk_read_label(f->path, &read, &repaired, &f->error));
    g_assert_false(repaired);
    vv_disk_close(open_disk(f));
    g_autofree char *mended = checksum(f->path);
    g_assert_cmpstr(mended, ==, whole);

    poke(f, 30, "\x01", 1);
    poke(f, 512 * 1024 + 40, "\x01", 1);
    g_assert_null(open_disk(f));
    test_assert_refused(f->error, VV_ERROR_DAMAGED, "damaged in both copies");
}

/* mkfs over a disk leaves the second copy. It must not bring the disk back, nor be used to mend. */
static void test_file_system_over_the_label(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_autofree char *data = NULL;
    size_t length;
    g_autofree char *disk = g_steal_pointer(&f->path);
    f->path = g_build_filename(f->folder, "ext4", NULL);
    make_file(f, TEST_DISK_BYTES, 0, "", 0);
    bool have = run("mkfs.ext4", "-q", f->path, NULL);
    g_assert_true(g_file_get_contents(f->path, &data, &length, NULL));
    g_free(f->path);
    f->path = g_steal_pointer(&disk);
    make_disk(f);
    if (!have) {
        g_test_skip("no mkfs.ext4");
        return;
    }
    poke(f, 0, data, VV_BLOCK_BYTES);
    g_autofree char *before = checksum(f->path);
    g_assert_null(open_disk(f));
    test_assert_refused(f->error, VV_ERROR_DAMAGED, "was disk d1 of pool tank and now holds an ext4 file system");
    g_autofree char *after = checksum(f->path);
    g_assert_cmpstr(before, ==, after);
}

/* ---- locked */

/* A process that has the disk open until it is told to end. Returns its pid. */
static pid_t start_holder(Fixture *f, int *ret_tell)
{
    int tell[2], told[2];
    char byte;
    g_assert_cmpint(pipe(tell), ==, 0);
    g_assert_cmpint(pipe(told), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(tell[1]);
        VvDisk *disk = open_disk(f);
        if (disk == NULL || write(told[1], "x", 1) != 1)
            _exit(1);
        (void) !read(tell[0], &byte, 1);
        _exit(0); /* without closing: what the kernel does for a process that was killed */
    }
    close(tell[0]);
    close(told[1]);
    g_assert_cmpint(read(told[0], &byte, 1), ==, 1);
    close(told[0]);
    *ret_tell = tell[1];
    return pid;
}

static void test_locked_by_another_process(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    int tell;
    make_disk(f);
    pid_t pid = start_holder(f, &tell);
    g_autofree char *text = g_strdup_printf("is locked by process %d (", (int) pid);
    g_assert_null(open_disk(f));
    test_assert_refused(f->error, VV_ERROR_BUSY, text);
    g_assert_false(vv_disk_erase_label(f->path, &f->label.disk_uuid, &f->error));
    test_assert_refused(f->error, VV_ERROR_IN_USE_DEVICE, text);
    vv_disk_close(vv_disk_open(f->path, NULL, NULL, true, 0, &f->error)); /* check may read */
    g_assert_no_error(f->error);
    close(tell);
    VvDisk *disk = vv_disk_open(f->path, NULL, NULL, false, 60000, &f->error); /* waits for the end of the other */
    g_assert_no_error(f->error);
    vv_disk_close(disk);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void test_locked_by_ourselves(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_disk(f);
    VvDisk *disk = open_disk(f);
    g_assert_null(vv_disk_open(f->path, NULL, NULL, false, 20, &f->error));
    test_assert_refused(f->error, VV_ERROR_BUSY, "is locked by process");
    vv_disk_close(disk);
}

/* ---- used */

static void test_read_write_discard(Fixture *f, const void *memory)
{
    struct stat before, after;
    make_disk(f);
    g_autoptr(VvDisk) disk = open_disk(f);
    g_assert_true(vv_disk_is_inline(disk) == (memory != NULL));
    g_assert_false(memory && vv_disk_is_direct(disk));
    if (!memory)
        g_test_message("direct I/O: %s", vv_disk_is_direct(disk) ? "yes" : "no");
    uint8_t *data = test_blocks_new(256, 0x5c), *read = test_blocks_new(256, 0);
    g_assert_cmpint(vv_disk_write(disk, data, 256 * VV_BLOCK_BYTES, 3 << 20), ==, 0);
    g_assert_cmpint(vv_disk_sync(disk), ==, 0);
    g_assert_cmpint(vv_disk_read(disk, read, 256 * VV_BLOCK_BYTES, 3 << 20), ==, 0);
    g_assert_cmpmem(read, 256 * VV_BLOCK_BYTES, data, 256 * VV_BLOCK_BYTES);
    g_assert_cmpint(stat(f->path, &before), ==, 0);
    g_assert_cmpint(vv_disk_discard(disk, 3 << 20, 1 << 20), ==, 0);
    g_assert_cmpint(stat(f->path, &after), ==, 0);
    g_assert_cmpint(before.st_blocks - after.st_blocks, >=, 2048);
    g_assert_cmpint(after.st_size, ==, before.st_size);
    g_assert_cmpint(vv_disk_read(disk, read, VV_BLOCK_BYTES, TEST_DISK_BYTES), ==, -EIO);
    VvDiskCounters n = vv_disk_counters(disk);
    g_assert_cmpuint(n.reads, ==, 2);
    g_assert_cmpuint(n.read_bytes, ==, 257 * VV_BLOCK_BYTES);
    g_assert_cmpuint(n.writes, ==, 1);
    g_assert_cmpuint(n.write_bytes, ==, 256 * VV_BLOCK_BYTES);
    g_assert_cmpuint(n.syncs, ==, 1);
    g_assert_cmpuint(n.discards, ==, 1);
    g_assert_cmpuint(n.discard_bytes, ==, 1 << 20);
    g_assert_cmpuint(n.errors, ==, 1);
    free(data);
    free(read);
}

static void test_read_only(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    make_disk(f);
    g_autofree char *before = checksum(f->path);
    g_autoptr(VvDisk) disk = vv_disk_open(f->path, NULL, NULL, true, 0, &f->error);
    void *data = test_blocks_new(1, 1);
    g_assert_cmpint(vv_disk_write(disk, data, VV_BLOCK_BYTES, VV_LABEL_BYTES), ==, -EROFS);
    g_assert_cmpint(vv_disk_discard(disk, VV_LABEL_BYTES, VV_BLOCK_BYTES), ==, -EROFS);
    g_assert_cmpint(vv_disk_read(disk, data, VV_BLOCK_BYTES, VV_LABEL_BYTES), ==, 0);
    free(data);
    g_autofree char *after = checksum(f->path);
    g_assert_cmpstr(before, ==, after);
}

static void test_relabel(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    VvLabel read;
    make_disk(f);
    VvDisk *disk = open_disk(f);
    g_assert_true(vv_disk_relabel(disk, 2 * TEST_DISK_BYTES, "bigger", &f->error));
    g_assert_cmpuint(vv_disk_current_bytes(disk), ==, 2 * TEST_DISK_BYTES);
    g_assert_cmpuint(vv_disk_label(disk)->size_bytes, ==, 2 * TEST_DISK_BYTES);
    g_assert_true(vv_disk_relabel(disk, 2 * TEST_DISK_BYTES, NULL, &f->error));
    g_assert_false(vv_disk_relabel(disk, TEST_DISK_BYTES, NULL, &f->error));
    test_assert_refused(f->error, VV_ERROR_UNSUPPORTED, "cannot be made smaller");
    vv_disk_close(disk);
    g_assert_true(vv_disk_read_label(f->path, &read, NULL, &f->error));
    g_assert_cmpstr(read.disk_name, ==, "bigger");
    g_assert_cmpuint(read.size_bytes, ==, 2 * TEST_DISK_BYTES);
    vv_disk_close(open_disk(f));
    g_assert_no_error(f->error);
}

/* Power lost between the two copies: the new one counts, and the old one follows. */
static void test_interrupted_relabel(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    g_autofree char *old = NULL;
    VvLabel read;
    size_t length;
    make_disk(f);
    g_assert_true(g_file_get_contents(f->path, &old, &length, NULL));
    VvDisk *disk = open_disk(f);
    g_assert_true(vv_disk_relabel(disk, 2 * TEST_DISK_BYTES, "new", &f->error));
    vv_disk_close(disk);
    poke(f, 512 * 1024, old, VV_BLOCK_BYTES);
    vv_disk_close(open_disk(f));
    poke(f, 0, "\0", 1);
    g_assert_true(vv_disk_read_label(f->path, &read, NULL, &f->error));
    g_assert_cmpstr(read.disk_name, ==, "new");
}

static void test_erase_label(Fixture *f, const void *memory G_GNUC_UNUSED)
{
    VvUuid other = { { 0x33 } };
    make_disk(f);
    g_assert_false(vv_disk_erase_label(f->path, &other, &f->error));
    test_assert_refused(f->error, VV_ERROR_CONFLICT, "is now disk d1 of the pool tank: nothing was changed");
    g_assert_true(vv_disk_erase_label(f->path, &f->label.disk_uuid, &f->error));
    g_assert_false(vv_disk_erase_label(f->path, &f->label.disk_uuid, &f->error));
    test_assert_refused(f->error, VV_ERROR_NOT_FOUND, "has no vvfs label");
    g_assert_true(format(f, false, 0));
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    vv_log_init(VV_LOG_ERROR, false, "engine-disk"); /* mending warns */
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function)                                                           \
    g_test_add("/disk/memory/" name, Fixture, "memory", set_up, function, tear_down); \
    g_test_add("/disk/disk/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("sparse-file", test_sparse_file);
    ADD("existing-empty-file", test_existing_empty_file);
    ADD("create-is-refused", test_create_is_refused);
    ADD("what-is-no-disk", test_what_is_no_disk);
    ADD("too-small", test_too_small);
    ADD("data-of-unknown-kind", test_data_of_unknown_kind);
    ADD("open-in-another-process", test_open_in_another_process);
    ADD("disk-of-a-pool", test_disk_of_a_pool);
    ADD("damaged-label-is-named", test_damaged_label_is_named);
    ADD("ext4-is-named", test_ext4_is_named);
    ADD("other-signatures-are-named", test_other_signatures_are_named);
    ADD("open-checks-whose", test_open_checks_whose);
    ADD("cut-short", test_cut_short);
    ADD("no-label", test_no_label);
    ADD("second-copy-is-used", test_second_copy_is_used);
    ADD("file-system-over-the-label", test_file_system_over_the_label);
    ADD("locked-by-another-process", test_locked_by_another_process);
    ADD("locked-by-ourselves", test_locked_by_ourselves);
    ADD("read-write-discard", test_read_write_discard);
    ADD("read-only", test_read_only);
    ADD("relabel", test_relabel);
    ADD("interrupted-relabel", test_interrupted_relabel);
    ADD("erase-label", test_erase_label);
    return g_test_run();
}
