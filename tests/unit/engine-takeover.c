/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process that serves a pool dies, and another one takes over what it had acknowledged: one case each. The first is a child that kills
 * itself; random deaths are in tests/model/death.c. */
#include "engine-pool.h"
#include "pending_slots.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

typedef struct {
    TestPool test; /* closed between deaths */
    int fd;
    uint64_t lun;
    GArray *still_open; /* what the mount has open when the next process comes; NULL: there is no mount */
    unsigned syncs;
} Fixture;

static int new_memfd(void)
{
    int fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(ftruncate(fd, VV_PENDING_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

static VvPool *try_open(Fixture *f, bool read_only, const VvDiskOps *ops, GError **error)
{
    VvPoolOptions options = { .read_only = read_only,
        .lock_wait_ms = 5000,
        .have_pending = f->fd >= 0,
        .pending_fd = f->fd,
        .takes_over = f->still_open,
        .open_ids = f->still_open,
        .disk_ops = ops,
        .ops_user = f };
    return vv_pool_open(f->test.directory, &options, error);
}

static void open_pool(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    f->test.pool = try_open(f, false, NULL, &error);
    g_assert_no_error(error);
}

static void close_pool(Fixture *f)
{
    g_clear_pointer(&f->test.pool, vv_pool_close);
}

/* A pool with the LUN "db" of 8 MiB. */
static void set_up(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    *f = (Fixture){ .fd = new_memfd() };
    f->test.folder = test_folder_new(true);
    f->test.directory = g_build_filename(f->test.folder, "pool", NULL);
    VvPoolCreate create = { .directory = f->test.directory, .name = "tank", .size_bytes = 64 << 20 };
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    open_pool(f);
    f->lun = test_lun_new(&f->test, "db", 8 << 20);
    close_pool(f);
}

static void tear_down(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    vv_pool_destroy(f->test.directory, false, NULL, &error);
    g_assert_no_error(error);
    (void) g_rmdir(f->test.directory);
    test_folder_free(f->test.folder);
    g_free(f->test.directory);
    vv_close_fd(&f->fd);
}

/* Run @act in a process of its own that opens the pool and never closes it. */
static void die_after(Fixture *f, void (*act)(Fixture *f), const VvDiskOps *ops)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        g_autoptr(GError) error = NULL;
        f->test.pool = try_open(f, false, ops, &error);
        g_assert_no_error(error);
        act(f);
        kill(getpid(), SIGKILL);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void write_bytes(Fixture *f, uint64_t offset, uint64_t length, uint8_t byte)
{
    g_autofree uint8_t *data = g_malloc(length);
    g_autoptr(VvHandle) handle = test_open(&f->test, f->lun, true);
    memset(data, byte, length);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), data, offset, length), ==, (int64_t) length);
}

static int flush(Fixture *f, uint64_t id)
{
    g_autoptr(VvHandle) handle = test_open(&f->test, id, true);
    return vv_view_flush(vv_handle_view(handle));
}

static void assert_bytes(Fixture *f, uint64_t offset, uint64_t length, uint8_t byte)
{
    g_autofree uint8_t *data = g_malloc0(length);
    g_autoptr(VvHandle) handle = test_open(&f->test, f->lun, false);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), data, offset, length), ==, (int64_t) length);
    for (uint64_t i = 0; i < length; i++)
        g_assert_cmphex(data[i], ==, byte);
}

/* Records in the file. */
static unsigned left_in_file(Fixture *f)
{
    unsigned count = 0;
    const VvPendingSlot *map = mmap(NULL, VV_PENDING_FILE_BYTES, PROT_READ, MAP_SHARED, f->fd, 0);
    g_assert_true(map != MAP_FAILED);
    for (unsigned i = VV_PENDING_SLOTS_AT / VV_PENDING_SLOT_BYTES; i < 1000; i++)
        count += (uint32_t) map[i].commit == VV_SLOT_RECORD;
    munmap((void *) map, VV_PENDING_FILE_BYTES);
    return count;
}

static void assert_refused(Fixture *f, VvErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *before = g_malloc(1 << 20), *after = g_malloc(1 << 20);
    g_assert_cmpint(vv_pread_full(f->fd, before, 1 << 20, 4096), ==, 0);
    g_assert_null(try_open(f, false, NULL, &error));
    g_assert_error(error, VV_ERROR, (int) code);
    g_assert_cmpint(vv_pread_full(f->fd, after, 1 << 20, 4096), ==, 0);
    g_assert_true(memcmp(before, after, 1 << 20) == 0); /* kept */
}

/* As after a power cut, with another memfd. */
static void open_anew(Fixture *f)
{
    vv_close_fd(&f->fd);
    f->fd = new_memfd();
    open_pool(f);
}

/* ---- what is taken over */

static void write_three(Fixture *f)
{
    write_bytes(f, 0, 10000, 1);
    write_bytes(f, 1 << 20, 4096, 2);
    write_bytes(f, 5000, 5000, 3);
}

static void test_taken_over(void)
{
    Fixture f;
    VvViewStat stat, before;
    set_up(&f);
    open_pool(&f);
    g_assert_cmpint(vv_pool_stat(f.test.pool, f.lun, &before), ==, 0);
    close_pool(&f);
    die_after(&f, write_three, NULL);
    g_assert_cmpuint(left_in_file(&f), ==, 2); /* the third was written over the first */
    open_pool(&f);
    assert_bytes(&f, 0, 5000, 1);
    assert_bytes(&f, 5000, 5000, 3);
    assert_bytes(&f, 1 << 20, 4096, 2);
    g_assert_cmpint(vv_pool_stat(f.test.pool, f.lun, &stat), ==, 0);
    g_assert_cmpuint(stat.used_bytes, ==, 4 * 4096);
    g_assert_cmpuint(stat.mtime_ns, >, before.mtime_ns);
    g_assert_cmpint(flush(&f, f.lun), ==, 0);
    g_assert_cmpuint(left_in_file(&f), ==, 0);
    test_pool_check(&f.test);
    close_pool(&f);
    tear_down(&f);
}

static void die_at_logged(VvDiePoint point)
{
    if (point == VV_DIE_LOGGED)
        kill(getpid(), SIGKILL);
}

static void remove_it(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { "db", NULL };
    write_bytes(f, 0, 3 * 4096, 9);
    vv_die_hook = die_at_logged;
    vv_pool_lun_remove(f->test.pool, names, false, false, false, NULL, NULL, &error);
    g_assert_not_reached();
}

/* The entry of a removal was appended to the journal's buffer, and never written: the LUN is there with all that it had. */
static void test_removal_not_durable(void)
{
    Fixture f;
    set_up(&f);
    die_after(&f, remove_it, NULL);
    g_assert_cmpuint(left_in_file(&f), ==, 1);
    open_pool(&f);
    assert_bytes(&f, 0, 3 * 4096, 9);
    close_pool(&f);
    tear_down(&f);
}

static void write_summed(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VvLunProps props = { .integrity = true };
    vv_pool_lun_set(f->test.pool, "db", VV_LUN_INTEGRITY, &props, NULL, &error);
    g_assert_no_error(error);
    write_bytes(f, 0, 4096, 1);
    write_bytes(f, 1 << 20, 35 * 4096, 2);
    write_bytes(f, (2 << 20) - 4096, 3 * 4096, 3);
}

/* What is verified while it is pending, and when it is applied. */
static void assert_verified(Fixture *f, uint64_t blocks)
{
    VvPoolStats before, after;
    vv_pool_stats(f->test.pool, &before);
    assert_bytes(f, 0, 4096, 1);
    assert_bytes(f, 1 << 20, 35 * 4096, 2);
    assert_bytes(f, (2 << 20) - 4096, 3 * 4096, 3);
    vv_pool_stats(f->test.pool, &after);
    g_assert_cmpuint(after.sums_verified - before.sums_verified, ==, blocks);
}

static void test_checksums(void)
{
    Fixture f;
    set_up(&f);
    die_after(&f, write_summed, NULL);
    open_pool(&f);
    assert_verified(&f, 39);
    g_assert_cmpint(flush(&f, f.lun), ==, 0);
    assert_verified(&f, 39);
    g_assert_cmpuint(
        vv_pending_file_free_count(f.test.pool->pending_file), >=, VV_PENDING_SLOTS - 200); /* nothing is lost */
    test_pool_check(&f.test);
    close_pool(&f);
    tear_down(&f);
}

/* ---- with a mount that lives on */

static void grow_and_die(Fixture *f)
{
    uint64_t id = test_lun_new(&f->test, "file", 0);
    VvView *view = vv_handle_view(test_open(&f->test, id, true));
    g_assert_cmpint(vv_view_write(view, "abc", 5000, 3), ==, 3);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    g_assert_cmpint(vv_view_write(view, "defg", 5003, 4), ==, 4); /* in place, and larger: a record of a size alone */
    g_assert_cmpuint(vv_view_size(view), ==, 5007);
}

static uint64_t find_file(Fixture *f)
{
    vv_meta_read_lock(f->test.pool->meta);
    const VvLun *lun = vv_meta_lun_by_name(f->test.pool->meta, "file");
    uint64_t id = lun ? lun->id : 0;
    vv_meta_read_unlock(f->test.pool->meta);
    return id;
}

/* A file that is being made grows on, through any number of processes. */
static void test_growing(void)
{
    Fixture f;
    char got[8] = "";
    set_up(&f);
    f.still_open = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    die_after(&f, grow_and_die, NULL);
    open_pool(&f);
    VvHandle *handle = test_open(&f.test, find_file(&f), true);
    VvView *view = vv_handle_view(handle);
    g_assert_cmpuint(vv_view_size(view), ==, 5007);
    g_assert_cmpint(vv_view_read(view, got, 5000, 7), ==, 7);
    g_assert_cmpstr(got, ==, "abcdefg");
    g_assert_cmpint(vv_view_write(view, "h", 20000, 1), ==, 1);
    g_assert_cmpuint(vv_view_size(view), ==, 20001);
    g_assert_cmpint(vv_view_flush(view), ==, 0);
    test_pool_check(&f.test);
    vv_handle_close(handle);
    close_pool(&f);
    g_array_unref(f.still_open);
    tear_down(&f);
}

static void remove_and_write(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { "db", NULL };
    VvView *view = vv_handle_view(test_open(&f->test, f->lun, true));
    g_assert_cmpint(vv_view_write(view, "old", 0, 3), ==, 3);
    vv_pool_lun_remove(f->test.pool, names, false, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(vv_view_write(view, "new", 5000, 3), ==, 3);
}

/* Removed, but open: it keeps what it had, and when it is closed all its space comes back. */
static void test_orphan(void)
{
    Fixture f;
    VvOpen how = { .write = true, .again = true };
    VvHandle *handle = NULL;
    char got[4] = "";
    VvSpaceSummary space;
    uint64_t deadline_ms = vv_monotonic_ms() + 20000;
    set_up(&f);
    f.still_open = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_array_append_val(f.still_open, f.lun);
    die_after(&f, remove_and_write, NULL);
    open_pool(&f);
    g_assert_cmpint(vv_handle_open(f.test.pool, f.lun, &how, &handle), ==, 0);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 0, 3), ==, 3);
    g_assert_cmpstr(got, ==, "old");
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 5000, 3), ==, 3);
    g_assert_cmpstr(got, ==, "new");
    test_pool_check(&f.test);
    vv_handle_close(handle);
    do {
        g_usleep(1000);
        vv_meta_space(f.test.pool->meta, &space);
    } while ((space.used_bytes > 0 || space.held_bytes > 0 || left_in_file(&f) > 0) && vv_monotonic_ms() < deadline_ms);
    g_assert_cmpuint(space.used_bytes + space.held_bytes, ==, 0);
    g_assert_cmpuint(left_in_file(&f), ==, 0);
    close_pool(&f);
    g_array_unref(f.still_open);
    tear_down(&f);
}

/* ---- what the disks owe */

static int count_sync(VvDisk *disk)
{
    Fixture *f = vv_disk_ops_user(disk);
    f->syncs++;
    return vv_disk_file_ops.sync(disk);
}

static int fail_sync(VvDisk *disk)
{
    (void) disk;
    return -EIO;
}

static void overwrite(Fixture *f)
{
    write_bytes(f, 0, 4096, 5); /* in place: no record */
}

static void test_first_flush_syncs(void)
{
    VvDiskOps ops = vv_disk_file_ops;
    g_autoptr(GError) error = NULL;
    Fixture f;
    set_up(&f);
    open_pool(&f);
    write_bytes(&f, 0, 4096, 4);
    g_assert_cmpint(flush(&f, f.lun), ==, 0);
    close_pool(&f);
    die_after(&f, overwrite, NULL);
    g_assert_cmpuint(left_in_file(&f), ==, 0);
    ops.sync = count_sync;
    f.test.pool = try_open(&f, false, &ops, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(f.syncs, ==, 0); /* nobody waits for it before the mount goes on */
    g_assert_cmpint(flush(&f, f.lun), ==, 0);
    g_assert_cmpuint(f.syncs, ==, 1);
    g_assert_cmpint(flush(&f, f.lun), ==, 0); /* all is covered now */
    g_assert_cmpuint(f.syncs, ==, 1);
    assert_bytes(&f, 0, 4096, 5);
    close_pool(&f);
    tear_down(&f);
}

static void write_and_fail(Fixture *f)
{
    write_bytes(f, 0, 4096, 6);
    g_assert_cmpint(flush(f, f->lun), ==, -EIO);
}

static void test_failed_sync_stays(void)
{
    VvDiskOps ops = vv_disk_file_ops;
    Fixture f;
    set_up(&f);
    ops.sync = fail_sync;
    die_after(&f, write_and_fail, &ops);
    open_pool(&f); /* whose syncs would succeed */
    assert_bytes(&f, 0, 4096, 6);
    g_assert_cmpint(flush(&f, f.lun), ==, -EIO);
    close_pool(&f);
    g_assert_cmpuint(left_in_file(&f), ==, 1); /* closing could not flush it: kept */
    open_anew(&f);
    assert_bytes(&f, 0, 4096, 0);
    test_pool_check(&f.test);
    close_pool(&f);
    tear_down(&f);
}

/* ---- what is refused */

static void test_other_pool(void)
{
    Fixture f, other;
    set_up(&f);
    set_up(&other);
    die_after(&other, write_three, NULL);
    int fd = f.fd;
    f.fd = other.fd;
    assert_refused(&f, VV_ERROR_CONFLICT);
    f.fd = fd;
    open_pool(&other);
    assert_bytes(&other, 0, 5000, 1);
    close_pool(&other);
    tear_down(&f);
    tear_down(&other);
}

static void test_opened_between(void)
{
    Fixture f;
    set_up(&f);
    die_after(&f, write_three, NULL);
    int fd = f.fd;
    f.fd = -1;
    open_pool(&f); /* without: as today */
    assert_bytes(&f, 0, 10000, 0);
    close_pool(&f);
    f.fd = fd;
    assert_refused(&f, VV_ERROR_CONFLICT);
    assert_refused(&f, VV_ERROR_CONFLICT); /* however often it is tried */
    open_anew(&f);
    close_pool(&f);
    fd = f.fd;
    f.fd = -1;
    open_pool(&f);
    close_pool(&f);
    f.fd = fd;
    open_pool(&f); /* nothing was left in it: it begins anew */
    close_pool(&f);
    tear_down(&f);
}

static void test_read_only(void)
{
    g_autoptr(GError) error = NULL;
    Fixture f;
    bool told = false;
    set_up(&f);
    die_after(&f, write_three, NULL);
    f.test.pool = try_open(&f, true, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) events = vv_pool_events(f.test.pool, 0);
    for (unsigned i = 0; i < events->len; i++)
        told |= strcmp(((const VvEvent *) g_ptr_array_index(events, i))->code, "pending-kept") == 0;
    g_assert_true(told);
    close_pool(&f);
    open_pool(&f);
    assert_bytes(&f, 0, 5000, 1);
    close_pool(&f);
    tear_down(&f);
}

/* The records slot by slot, so that what follows can spoil them; their checksums are made right again. */
static void spoil(Fixture *f, void (*change)(VvSlotRecord *records))
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvPendingFile) file = vv_pending_file_open(f->fd, false, &error);
    VvPendingSlot *map = mmap(NULL, VV_PENDING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    uint32_t base = VV_PENDING_SLOTS_AT / VV_PENDING_SLOT_BYTES, slots[2], count = 0;
    VvSlotRecord records[2];
    g_assert_no_error(error);
    g_assert_true(map != MAP_FAILED);
    for (uint32_t i = 0; i < 100 && count < 2; i++)
        if ((uint32_t) map[base + i].commit == VV_SLOT_RECORD) {
            records[count] = map[base + i].record;
            slots[count++] = i;
        }
    g_assert_cmpuint(count, ==, 2);
    for (uint32_t i = 0; i < 2; i++)
        vv_pending_file_clear(file, slots[i]);
    change(records);
    for (uint32_t i = 0; i < 2; i++)
        if (records[i].lun)
            vv_pending_file_put_record(file, slots[i], &records[i]);
    munmap(map, VV_PENDING_FILE_BYTES);
}

static void first_is_gone(VvSlotRecord *records)
{
    records[records[1].sequence < records[0].sequence].lun = 0;
}
static void last_is_gone(VvSlotRecord *records)
{
    records[records[1].sequence > records[0].sequence].lun = 0;
}
static void is_twice(VvSlotRecord *records)
{
    records[1] = records[0];
}
static void places_are_one(VvSlotRecord *records)
{
    records[1].place = records[0].place;
}
static void place_is_nowhere(VvSlotRecord *records)
{
    records[1].place = vv_place(7, 0, true);
}
static void family_is_another(VvSlotRecord *records)
{
    records[0].family++;
}
static void range_is_bad(VvSlotRecord *records)
{
    records[0].first = 255;
    records[0].count = 2;
}

static void test_contradictions(void)
{
    void (*const changes[])(VvSlotRecord *) = { first_is_gone, last_is_gone, is_twice, places_are_one, place_is_nowhere,
        family_is_another, range_is_bad };
    for (unsigned i = 0; i < G_N_ELEMENTS(changes); i++) {
        Fixture f;
        set_up(&f);
        die_after(&f, write_three, NULL);
        spoil(&f, changes[i]);
        assert_refused(&f, VV_ERROR_DAMAGED);
        open_anew(&f);
        assert_bytes(&f, 0, 10000, 0);
        test_pool_check(&f.test);
        close_pool(&f);
        tear_down(&f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "engine-takeover");
    g_test_add_func("/takeover/taken-over", test_taken_over);
    g_test_add_func("/takeover/removal-not-durable", test_removal_not_durable);
    g_test_add_func("/takeover/checksums", test_checksums);
    g_test_add_func("/takeover/growing", test_growing);
    g_test_add_func("/takeover/orphan", test_orphan);
    g_test_add_func("/takeover/first-flush-syncs", test_first_flush_syncs);
    g_test_add_func("/takeover/failed-sync-stays", test_failed_sync_stays);
    g_test_add_func("/takeover/other-pool", test_other_pool);
    g_test_add_func("/takeover/opened-between", test_opened_between);
    g_test_add_func("/takeover/read-only", test_read_only);
    g_test_add_func("/takeover/contradictions", test_contradictions);
    return g_test_run();
}
