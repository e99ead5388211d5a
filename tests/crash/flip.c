/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One byte changed anywhere in the metadata of a pool that has crashed: the next start refuses it, or everything that was flushed is
 * there, `check` is content, and the pool goes on as it would have. Never a crash, a hang or other data.
 *
 * The pool has 3 LUNs and 5 snapshots, a checkpoint in the middle of its life and entries in the journal behind it. Each trial is a
 * process. Only a change in the very last entry of the journal may undo that entry: it cannot be told from a torn one.
 *
 * Changes of the map are also tried with its leaves checked late, as in a large map: then what a trial sees before the damage is found must be
 * right, and the pool that was open meanwhile must leave it as damage to the next start, which checks all at once. And with the map's checksums
 * lost: repair makes them anew only if nothing that the pool holds has changed.
 *
 *     VV_MODEL_SEED    of the sample
 *     VV_FLIP_TRIALS   size of the sample, in all (48)
 *     VV_FLIP_ALL=1    every byte of every file (of long runs of zeroes in the journal every 509th): make flip-soak
 *     VV_FLIP_PART=K/N of those each N-th, from the K-th (0-based) on: all parts of one seed are what one run would be */
#include "codec.h"
#include "engine-pool.h"
#include "error.h"
#include "store_sums.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define POOL_BYTES ((uint64_t) 64 << 20)
#define LUN_BYTES ((uint64_t) 3 << 20)
#define KEPT_BYTES ((gsize) 1 << 20) /* of each file: nothing behind it is changed by a start */
#define TRIAL_SECONDS 60u
#define ZERO_STRIDE 509u

/* The room that a map sets aside, tens of MiB at each start, shows nothing and would take half the time of a trial. */
int flip_fallocate(int fd, int mode, off_t offset, off_t length_bytes) __asm__("fallocate") __attribute__((used, visibility("default")));
int flip_fallocate64(int fd, int mode, off_t offset, off_t length_bytes) __asm__("fallocate64") __attribute__((used, visibility("default")));

int flip_fallocate(int fd, int mode, off_t offset, off_t length_bytes)
{
    return mode == FALLOC_FL_KEEP_SIZE ? 0 : (int) syscall(SYS_fallocate, fd, mode, offset, length_bytes);
}

int flip_fallocate64(int fd, int mode, off_t offset, off_t length_bytes)
{
    return flip_fallocate(fd, mode, offset, length_bytes);
}

enum { SAME, REFUSED, WRONG, UNDONE, FOUND };

typedef struct {
    char *path;           /* owned */
    const char *name;     /* for messages */
    uint8_t *bytes;       /* owned: all of it */
    gsize length_bytes;   /* of it */
    gsize disk_gap_bytes; /* 0, or: only the two copies of the label are metadata */
    gsize last_entry;     /* of a journal file: where the last entry begins; 0: none */
    bool late;            /* leaves of the map are checked in the background */
    bool lost;            /* the map's checksums are, too; and are made anew */
} File;

static struct {
    char *folder, *directory;
    GPtrArray *files; /* of File, owned */
    char *after;      /* what the pool holds; */
    char *before;     /* without the last entry; */
    char *later;      /* after change_more() */
    GRand *rand;
    unsigned part, parts; /* of VV_FLIP_ALL */
} all;

/* ---- what a pool holds */

static const char *const objects[] = { "a", "b", "c", "a@one", "a@two", "a@three", "b@one", "c@one" };

/* False: refused on the way. */
static bool describe_object(VvPool *pool, const char *object, GString *text)
{
    g_auto(GStrv) parts = g_strsplit(object, "@", 2);
    static uint8_t data[LUN_BYTES];
    VvOpen open = { .write = false };
    VvHandle *handle = NULL;
    uint64_t id = 0, size_bytes;

    vv_meta_read_lock(pool->meta);
    const VvLun *lun = vv_meta_lun_by_name(pool->meta, parts[0]);
    const VvSnapshot *snapshot = lun && parts[1] ? vv_meta_snapshot_by_name(pool->meta, lun, parts[1]) : NULL;
    if (lun && !parts[1])
        g_string_append_printf(text, "%s mode %o created %" G_GUINT64_FORMAT, object, lun->props.mode, lun->created_ns);
    if (snapshot)
        g_string_append_printf(text, "%s note %s created %" G_GUINT64_FORMAT, object, snapshot->note, snapshot->created_ns);
    id = parts[1] ? snapshot ? snapshot->id : 0 : lun ? lun->id : 0;
    vv_meta_read_unlock(pool->meta);
    if (id == 0) {
        g_string_append_printf(text, "%s none\n", object);
        return true;
    }
    if (vv_handle_open(pool, id, &open, &handle) != 0)
        return false;
    size_bytes = vv_view_size(vv_handle_view(handle));
    int64_t got = vv_view_read(vv_handle_view(handle), data, 0, MIN(size_bytes, LUN_BYTES));
    vv_handle_close(handle);
    if (got < 0)
        return false;
    g_string_append_printf(text, " size %" G_GUINT64_FORMAT " data %" G_GINT64_FORMAT " %08x\n", size_bytes, got,
                           vv_crc32c(0, data, (size_t) got));
    return true;
}

static char *describe(VvPool *pool)
{
    GString *text = g_string_new(NULL);
    vv_meta_read_lock(pool->meta);
    g_string_append_printf(text, "%u LUNs of %s\n", vv_meta_luns(pool->meta)->len, vv_meta_pool(pool->meta)->name);
    vv_meta_read_unlock(pool->meta);
    for (unsigned i = 0; i < G_N_ELEMENTS(objects); i++) {
        if (!describe_object(pool, objects[i], text)) {
            g_string_free(text, TRUE);
            return NULL;
        }
    }
    return g_string_free(text, FALSE);
}

/* ---- making it */

static void fill(VvPool *pool, uint64_t id, uint32_t seed)
{
    VvOpen open = { .write = true };
    VvHandle *handle = NULL;
    g_autofree uint8_t *data = g_malloc(16384);
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

    g_assert_cmpint(vv_handle_open(pool, id, &open, &handle), ==, 0);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t offset = (uint64_t) g_rand_int_range(rand, 0, (gint32) (LUN_BYTES / 4096 - 4)) * 4096;
        uint64_t length_bytes = (uint64_t) g_rand_int_range(rand, 1, 5) * 4096;
        memset(data, g_rand_int_range(rand, 1, 256), 16384);
        g_assert_cmpint(vv_view_write(vv_handle_view(handle), data, offset, length_bytes), ==, (int64_t) length_bytes);
    }
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
}

static void set_note(TestPool *test, const char *object, const char *note)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { object, NULL };
    vv_pool_snapshot_set(test->pool, names, NULL, note, NULL, &error);
    g_assert_no_error(error);
}

/* In a process of its own, which ends as in a crash. */
static void build(const char *directory, const char *before_path, const char *after_path)
{
    TestPool test = { .directory = (char *) directory };
    g_autoptr(GError) error = NULL;
    VvPoolCreate create = { .directory = directory, .name = "tank", .size_bytes = POOL_BYTES };
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    test_pool_open(&test);
    uint64_t a = test_lun_new(&test, "a", LUN_BYTES), b = test_lun_new(&test, "b", LUN_BYTES);
    uint64_t c = test_lun_new(&test, "c", 1 << 20);
    fill(test.pool, a, 1);
    test_snapshot(&test, "a@one");
    fill(test.pool, a, 2);
    fill(test.pool, b, 3);
    test_snapshot(&test, "b@one");
    test_snapshot(&test, "a@two");
    g_assert_cmpint(vv_pool_checkpoint_now(test.pool), ==, 0);
    fill(test.pool, b, 4);
    fill(test.pool, a, 5);
    g_assert_cmpint(vv_pool_checkpoint_now(test.pool), ==, 0);
    fill(test.pool, a, 6);
    test_snapshot(&test, "a@three");
    test_snapshot(&test, "c@one");
    set_note(&test, "a@one", "before the last");
    fill(test.pool, b, 7);
    (void) c;
    g_autofree char *before = describe(test.pool);
    g_assert_true(g_file_set_contents(before_path, before, -1, NULL));
    set_note(&test, "a@one", "last");
    g_autofree char *after = describe(test.pool);
    g_assert_true(g_file_set_contents(after_path, after, -1, NULL));
    _exit(0);
}

static void add_file(const char *folder, const char *name)
{
    File *file = g_new0(File, 1);
    file->path = folder ? g_build_filename(all.directory, folder, name, NULL) : g_build_filename(all.directory, name, NULL);
    file->name = file->path + strlen(all.directory) + 1;
    g_assert_true(g_file_get_contents(file->path, (char **) &file->bytes, &file->length_bytes, NULL));
    file->disk_gap_bytes = strcmp(name, "disk0") == 0 ? 512 << 10 : 0;
    for (gsize at = 0; g_str_has_prefix(name, "j-") && at + 8 <= MIN(file->length_bytes, KEPT_BYTES); at += 8)
        if (memcmp(file->bytes + at, "VVJE", 4) == 0)
            file->last_entry = at;
    g_ptr_array_add(all.files, file);
}

/* What a trial changed is put back. */
static void restore(const File *flipped, gsize at)
{
    for (guint i = 0; i < all.files->len; i++) {
        const File *file = g_ptr_array_index(all.files, i);
        vv_autofd int fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        g_assert_cmpint(ftruncate(fd, (off_t) file->length_bytes), ==, 0);
        g_assert_cmpint(vv_pwrite_full(fd, file->bytes, MIN(file->length_bytes, KEPT_BYTES), 0), ==, 0);
        if (flipped && file->path == flipped->path)
            g_assert_cmpint(vv_pwrite_full(fd, file->bytes + at, 1, at), ==, 0);
    }
    g_autofree char *mark = g_build_filename(all.directory, "in-use", NULL);
    g_unlink(mark);
}

/* ---- a trial, in its own process */

static void count_finding(void *user, const VvCheckError *error)
{
    (void) error;
    ++*(unsigned *) user;
}

/* The damage was found when the pool was open. */
static void end_found(VvPool *pool, const char *text)
{
    if (text && strcmp(text, all.before) != 0 && strcmp(text, all.after) != 0)
        _exit(WRONG);
    vv_pool_close(pool);
    vv_sums_at_once_bytes = UINT64_MAX;
    _exit(vv_pool_open(all.directory, NULL, NULL) ? WRONG : FOUND);
}

/* NULL: refused. @more: go on living first. Ends the process if the pool is not in order. */
static char *open_and_describe(bool more)
{
    VvPool *pool = vv_pool_open(all.directory, NULL, NULL);
    unsigned count_findings = 0;
    if (!pool)
        return NULL;
    if (more) {
        TestPool test = { .directory = all.directory, .pool = pool };
        const char *two[] = { "a@two", NULL };
        VvRemoval removal;
        vv_meta_read_lock(pool->meta);
        const VvLun *a = vv_meta_lun_by_name(pool->meta, "a");
        uint64_t id = a ? a->id : 0;
        vv_meta_read_unlock(pool->meta);
        fill(pool, id, 8);
        if (!vv_pool_snapshot_remove(pool, two, false, false, NULL, &removal, NULL))
            _exit(WRONG);
        vv_removal_clear(&removal);
        test_snapshot(&test, "a@two");
        fill(pool, id, 9);
    }
    char *text = describe(pool);
    if (vv_sums_at_once_bytes == 0 &&
        (!text || (vv_meta_check(pool->meta, false, count_finding, &count_findings) == 0 && count_findings > 0)))
        end_found(pool, text);
    if (text && (vv_meta_check(pool->meta, false, count_finding, &count_findings) != 0 || count_findings > 0))
        _exit(WRONG);
    vv_pool_close(pool);
    return text;
}

static char *without_times(const char *text)
{
    g_autoptr(GRegex) regex = g_regex_new("created [0-9]+", 0, 0, NULL);
    return g_regex_replace_literal(regex, text, -1, 0, "", 0, NULL);
}

static void trial(void)
{
    alarm(TRIAL_SECONDS);
    g_autofree char *text = open_and_describe(false), *later = NULL, *plain = NULL;
    if (!text)
        _exit(REFUSED);
    if (strcmp(text, all.before) == 0)
        _exit(UNDONE);
    if (strcmp(text, all.after) != 0)
        _exit(WRONG);
    later = open_and_describe(true);
    plain = later ? without_times(later) : NULL;
    _exit(g_strcmp0(plain, all.later) == 0 ? SAME : WRONG);
}

static void lose_sums(void)
{
    g_autofree char *sums = g_build_filename(all.directory, "map", "sums", NULL);
    unsigned count_findings = 0;
    g_unlink(sums);
    (void) vv_pool_check_offline(all.directory, true, count_finding, &count_findings, NULL);
}

static int run_trial(const File *file, gsize at, uint8_t mask)
{
    uint8_t byte = (uint8_t) (file->bytes[at] ^ mask);
    int status, fd = open(file->path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(vv_pwrite_full(fd, &byte, 1, at), ==, 0);
    close(fd);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDERR_FILENO);
        vv_sums_at_once_bytes = file->late ? 0 : UINT64_MAX;
        if (file->lost)
            lose_sums();
        trial();
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    restore(file, at);
    if (WIFEXITED(status) && (WEXITSTATUS(status) == SAME || WEXITSTATUS(status) == REFUSED || WEXITSTATUS(status) == FOUND))
        return WEXITSTATUS(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == UNDONE && file->last_entry != 0 && at >= file->last_entry)
        return UNDONE;
    g_error("%s, byte %" G_GSIZE_FORMAT ", bits %02x: %s %d", file->name, at, mask, WIFEXITED(status) ? "result" : "signal",
            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* Bytes that come to nothing are tried now and then. */
static gsize next_offset(const File *file, gsize at)
{
    gsize next = at + 1, zero = next;
    while (zero < file->length_bytes && zero < next + ZERO_STRIDE && file->bytes[zero] == 0)
        zero++;
    if (zero - next == ZERO_STRIDE && file->length_bytes > KEPT_BYTES)
        next = zero;
    if (file->disk_gap_bytes != 0 && next % file->disk_gap_bytes >= VV_BLOCK_BYTES)
        return next < file->disk_gap_bytes ? file->disk_gap_bytes : file->length_bytes;
    return next;
}

static void tell(const File *file, const unsigned counts[5])
{
    g_test_message("%s: %u as it was, %u refused, %u found when it was open, %u without the last entry", file->name, counts[SAME],
                   counts[REFUSED], counts[FOUND], counts[UNDONE]);
}

static void test_all(gconstpointer data)
{
    const File *file = data;
    unsigned counts[5] = { 0 }, number = 0;
    for (gsize at = 0; at < file->length_bytes; at = next_offset(file, at)) {
        uint8_t mask = (uint8_t) (1u << g_rand_int_range(all.rand, 0, 8));
        if (number++ % all.parts == all.part)
            counts[run_trial(file, at, mask)]++;
    }
    tell(file, counts);
}

static void test_sample(gconstpointer data)
{
    const File *file = data;
    const char *trials = g_getenv("VV_FLIP_TRIALS");
    unsigned counts[5] = { 0 }, count = (trials ? (unsigned) strtoul(trials, NULL, 10) : 48) / all.files->len;
    gsize room = file->disk_gap_bytes != 0 ? VV_BLOCK_BYTES : MIN(file->length_bytes, 256 << 10);
    for (unsigned i = 0; i < count; i++) {
        gsize at = (gsize) g_rand_int_range(all.rand, 0, (gint32) room);
        if (file->last_entry != 0 && g_rand_int_range(all.rand, 0, 8) != 0)
            at = (gsize) g_rand_int_range(all.rand, 0, (gint32) file->last_entry + 64); /* the rest is zeroes */
        if (file->disk_gap_bytes != 0 && g_rand_boolean(all.rand))
            at += file->disk_gap_bytes;
        unsigned flip = g_rand_boolean(all.rand) ? 0xffu : 1u << g_rand_int_range(all.rand, 0, 8);
        counts[run_trial(file, at, (uint8_t) flip)]++;
    }
    tell(file, counts);
}

static void wait_for(pid_t child)
{
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
}

static void set_up(void)
{
    g_autofree char *before = NULL, *after = NULL, *journal = NULL, *mark = NULL, *later = NULL;
    const char *name;
    all.folder = test_folder_new(true);
    all.directory = g_build_filename(all.folder, "pool", NULL);
    all.files = g_ptr_array_new();
    before = g_build_filename(all.folder, "before", NULL);
    after = g_build_filename(all.folder, "after", NULL);
    journal = g_build_filename(all.directory, "journal", NULL);
    mark = g_build_filename(all.directory, "in-use", NULL);
    later = g_build_filename(all.folder, "later", NULL);
    pid_t child = fork();
    if (child == 0)
        build(all.directory, before, after);
    wait_for(child);
    g_unlink(mark); /* it is of this one directory, and restore() makes others of its files */
    g_assert_true(g_file_get_contents(before, &all.before, NULL, NULL));
    g_assert_true(g_file_get_contents(after, &all.after, NULL, NULL));
    add_file(NULL, "vvfs-pool");
    add_file("map", "data.mdb");
    add_file("map", "sums");
    add_file("map", "lock.mdb");
    add_file(NULL, "disk0");
    g_autoptr(GDir) dir = g_dir_open(journal, 0, NULL);
    while ((name = g_dir_read_name(dir)))
        add_file("journal", name);
    child = fork();
    if (child == 0) {
        g_free(open_and_describe(false));
        g_autofree char *text = open_and_describe(true), *plain = without_times(text);
        g_assert_true(g_file_set_contents(later, plain, -1, NULL));
        _exit(0);
    }
    wait_for(child);
    g_assert_true(g_file_get_contents(later, &all.later, NULL, NULL));
    restore(NULL, 0);
    g_unlink(before);
    g_unlink(after);
    g_unlink(later);
}

static bool read_part(const char *text)
{
    g_auto(GStrv) halves = g_strsplit(text ? text : "0/1", "/", 3);
    guint64 part, parts;

    if (g_strv_length(halves) != 2 || !g_ascii_string_to_unsigned(halves[1], 10, 1, 1000000, &parts, NULL) ||
        !g_ascii_string_to_unsigned(halves[0], 10, 0, parts - 1, &part, NULL))
        return false;
    all.part = (unsigned) part;
    all.parts = (unsigned) parts;
    return true;
}

int main(int argc, char **argv)
{
    const char *seed = g_getenv("VV_MODEL_SEED");
    g_autoptr(GError) error = NULL;
    g_test_init(&argc, &argv, NULL);
    uint32_t number = seed ? (uint32_t) strtoul(seed, NULL, 10) : g_random_int();
    g_test_message("VV_MODEL_SEED=%u", number);
    all.rand = g_rand_new_with_seed(number);
    if (!read_part(g_getenv("VV_FLIP_PART"))) {
        fputs("flip: VV_FLIP_PART is K/N, K from 0 and below N, N up to 1000000\n", stderr);
        return 2;
    }
    set_up();
    for (guint i = 0; i < all.files->len; i++) {
        const File *file = g_ptr_array_index(all.files, i);
        g_autofree char *path = g_strdup_printf("/flip/%s", file->name), *late = g_strdup_printf("/flip/late/%s", file->name),
                        *lost = g_strdup_printf("/flip/lost/%s", file->name);
        g_test_add_data_func(path, file, g_getenv("VV_FLIP_ALL") ? test_all : test_sample);
        if (strcmp(file->name, "map/data.mdb") != 0 && strcmp(file->name, "map/sums") != 0)
            continue;
        File *again = g_memdup2(file, sizeof *file), *without = g_memdup2(file, sizeof *file);
        again->late = without->lost = true;
        g_test_add_data_func_full(late, again, g_getenv("VV_FLIP_ALL") ? test_all : test_sample, g_free);
        g_test_add_data_func_full(lost, without, g_getenv("VV_FLIP_ALL") ? test_all : test_sample, g_free);
    }
    int result = g_test_run();
    vv_pool_destroy(all.directory, false, NULL, &error);
    g_assert_no_error(error);
    (void) g_rmdir(all.directory);
    test_folder_free(all.folder);
    return result;
}
