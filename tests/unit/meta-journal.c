/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal in order, at its limits, on media that fail, and with files that are damaged or not its own. */
#include "meta-journal-sim.h"

#include "codec.h"
#include "error.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

/* ---- round trips */

static void test_round_trip(Fixture *f, gconstpointer data)
{
    static const size_t lengths[] = { 0, 1, 7, 8, 9, 447, 448, 449, 455, 456, 457, 511, 512, 4000, 4096, 70000 };

    (void) data;
    for (unsigned i = 0; i < 200; i++) {
        append(f, lengths[i * 7 % G_N_ELEMENTS(lengths)]);
        if (i % 3 == 0)
            sync_all(f);
    }
    sync_all(f);
    reopen(f);
    g_assert_cmpuint(f->replayed, ==, 200);
    for (uint64_t applied = 0; applied <= 200; applied += 40) {
        reopen_at(f, applied);
        g_assert_cmpuint(f->replayed, ==, 200);
    }
}

static void test_reopen_everywhere(Fixture *f, gconstpointer data)
{
    (void) data;
    for (unsigned i = 0; i < 60; i++) {
        append(f, i * 37 % 1500);
        sync_all(f);
        reopen(f);
        g_assert_cmpuint(f->replayed, ==, i + 1);
    }
}

/* Many times round the files; the store keeps up at a distance. */
static void test_recycle(Fixture *f, gconstpointer data)
{
    uint64_t applied = 0;

    (void) data;
    for (unsigned i = 0; i < 100; i++) {
        append(f, i % 5 == 0 ? 3000 : VV_ENTRY_BYTES_MAX - i * 100);
        if (i % 3 == 0)
            sync_all(f);
        if (i % 8 == 7) {
            sync_all(f);
            applied = vv_journal_last_index(f->journal) - 3;
            vv_journal_release(f->journal, applied);
        }
        if (i % 10 == 9) {
            sync_all(f);
            reopen_at(f, applied);
            g_assert_cmpuint(f->replayed, ==, i + 1);
        }
    }
    g_assert_cmpuint(count_files(f), <=, 4);
}

/* A file never changes its size or its blocks once it is made, so that fdatasync has no metadata to commit. */
static void test_preallocated(Fixture *f, gconstpointer data)
{
    g_autofree char *name = file_name(f, 0);
    struct stat before, after;

    (void) data;
    g_assert_cmpint(stat(name, &before), ==, 0);
    g_assert_cmpint(before.st_size, ==, VV_JOURNAL_FILE_BYTES);
    g_assert_cmpint(before.st_blocks * 512, >=, VV_JOURNAL_FILE_BYTES);
    append_large(f, 9);
    sync_all(f);
    g_assert_cmpint(stat(name, &after), ==, 0);
    g_assert_cmpint(after.st_size, ==, before.st_size);
    g_assert_cmpint(after.st_blocks, ==, before.st_blocks);
    g_assert_cmpuint(count_files(f), ==, 2);
}

static void test_numbers(Fixture *f, gconstpointer data)
{
    uint64_t used_bytes = 1, max_bytes = 0;
    unsigned syncs = f->sim.count_syncs;

    (void) data;
    vv_journal_usage(f->journal, &used_bytes, &max_bytes);
    g_assert_cmpuint(used_bytes, ==, 0);
    g_assert_cmpuint(max_bytes, >=, (uint64_t) (VV_JOURNAL_FILES_MAX - 1) * VV_JOURNAL_FILE_BYTES);
    sync_all(f);
    g_assert_cmpuint(vv_journal_sync_count(f->journal), ==, 0); /* there was nothing to do */
    append(f, 100);
    append(f, 100);
    g_assert_cmpuint(vv_journal_durable_index(f->journal), ==, 0);
    sync_all(f);
    sync_all(f);
    g_assert_cmpuint(vv_journal_sync_count(f->journal), ==, 1);
    g_assert_cmpuint(f->sim.count_syncs, ==, syncs + 1);
    vv_journal_usage(f->journal, &used_bytes, &max_bytes);
    g_assert_cmpuint(used_bytes, >=, 200);
    g_assert_cmpuint(used_bytes, <, 1000);
    vv_journal_release(f->journal, 2);
    vv_journal_usage(f->journal, &used_bytes, &max_bytes);
    g_assert_cmpuint(used_bytes, ==, 0);
    append_large(f, 20);
    vv_journal_usage(f->journal, &used_bytes, &max_bytes);
    g_assert_cmpuint(used_bytes, >, 20 * VV_ENTRY_BYTES_MAX);
    g_assert_cmpuint(used_bytes, <, 25 * VV_ENTRY_BYTES_MAX);
}

/* ---- full and empty */

static void test_full(Fixture *f, gconstpointer data)
{
    const unsigned fill = 7 * VV_JOURNAL_FILES_MAX;

    (void) data;
    append_large(f, fill);
    g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -ENOSPC);
    g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -ENOSPC);
    g_assert_cmpuint(count_files(f), ==, VV_JOURNAL_FILES_MAX);
    append(f, 1000); /* there is still room for a small one */
    sync_all(f);
    vv_journal_release(f->journal, 6);
    g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -ENOSPC); /* file 0 holds entry 7 */
    vv_journal_release(f->journal, 7);
    append(f, VV_ENTRY_BYTES_MAX);
    sync_all(f);
    reopen_at(f, 7);
    g_assert_cmpuint(f->replayed, ==, fill + 2);
    vv_journal_release(f->journal, fill + 2);
    g_assert_cmpuint(count_files(f), <=, 3); /* since it was opened it has needed none */
    append_large(f, 30);
    sync_all(f);
    reopen_at(f, fill + 2);
    g_assert_cmpuint(f->replayed, ==, fill + 32);
}

/* Files that a load needed stay for the next round, and go when the load has gone. */
static void test_shrink(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 40);
    sync_all(f);
    g_assert_cmpuint(count_files(f), ==, 6);
    vv_journal_release(f->journal, 40);
    g_assert_cmpuint(count_files(f), ==, 6);
    append(f, 100);
    sync_all(f);
    vv_journal_release(f->journal, 41);
    g_assert_cmpuint(count_files(f), ==, 2);
    append_large(f, 40);
    sync_all(f);
    reopen_at(f, 41);
    g_assert_cmpuint(f->replayed, ==, 81);
}

/* ---- faults */

static void expect_stopped(Fixture *f)
{
    unsigned count = f->sim.count_ops;

    f->sim.fault = FAULT_NONE;
    g_assert_cmpint(try_append(f, 10), ==, -EIO);
    g_assert_cmpint(vv_journal_sync(f->journal), ==, -EIO);
    g_assert_cmpuint(f->sim.count_ops, ==, count);
}

static void test_fault_sync(Fixture *f, gconstpointer data)
{
    (void) data;
    append(f, 10);
    sync_all(f);
    append(f, 10);
    f->sim.fault = FAULT_SYNC;
    f->sim.fault_errno = -EIO;
    g_assert_cmpint(vv_journal_sync(f->journal), ==, -EIO);
    g_assert_cmpuint(vv_journal_durable_index(f->journal), ==, 1);
    g_assert_cmpuint(vv_journal_sync_count(f->journal), ==, 1);
    expect_stopped(f);
}

static void test_fault_write(Fixture *f, gconstpointer data)
{
    (void) data;
    append(f, 10);
    f->sim.fault = FAULT_WRITE;
    f->sim.fault_errno = -ENOSPC; /* in a file that is preallocated: the medium lies, stop */
    g_assert_cmpint(vv_journal_sync(f->journal), ==, -EIO);
    g_assert_cmpuint(vv_journal_durable_index(f->journal), ==, 0);
    expect_stopped(f);
}

static void test_fault_early_write(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 1);
    f->sim.fault = FAULT_WRITE;
    f->sim.fault_errno = -EIO;
    g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -EIO);
    expect_stopped(f);
}

/* No space for another file: nothing is lost, and the same append succeeds when there is. */
static void test_fault_no_space(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 14);
    f->sim.fault = FAULT_WRITE;
    f->sim.fault_errno = -ENOSPC;
    for (unsigned after = 0; after < 100; after += 33) {
        f->sim.fault_after = after;
        g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -ENOSPC);
        g_assert_cmpuint(count_files(f), ==, 2);
    }
    f->sim.fault = FAULT_NONE;
    append(f, 1000);
    sync_all(f);
    append_large(f, 1);
    sync_all(f);
    g_assert_cmpuint(count_files(f), ==, 3);
    reopen(f);
    g_assert_cmpuint(f->replayed, ==, 16);
}

static void test_fault_new_file(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 14);
    f->sim.fault = FAULT_SYNC;
    f->sim.fault_errno = -EIO;
    g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -EIO);
    g_assert_cmpuint(count_files(f), ==, 2);
    expect_stopped(f);
}

/* ---- damage of whole files, and journals that are not ours */

static void expect_refused(Fixture *f, uint64_t applied_index, VvErrorCode code, const char *text)
{
    for (unsigned read_only = 0; read_only < 2; read_only++) {
        g_autoptr(GError) error = NULL;

        g_clear_pointer(&f->journal, vv_journal_close);
        f->identity.incarnation++;
        f->journal = try_open(f, applied_index, read_only != 0, &error);
        g_assert_null(f->journal);
        g_assert_error(error, VV_ERROR, (int) code);
        if (read_only == 0)
            g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, text));
    }
}

static void flip(const Fixture *f, unsigned slot, uint64_t offset)
{
    g_autofree char *name = file_name(f, slot);
    vv_autofd int fd = open(name, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    g_assert_cmpint(vv_pread_full(fd, &byte, 1, offset), ==, 0);
    byte ^= 0x10;
    g_assert_cmpint(vv_pwrite_full(fd, &byte, 1, offset), ==, 0);
}

/* J2: where an older file does not reach the newer one, nothing has to prove that it did. */
static void test_older_file(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 8);
    sync_all(f);
    flip(f, 0, FIRST_OFFSET + 6 * (VV_ENTRY_BYTES_MAX + 56) + 100);
    expect_refused(f, 0, VV_ERROR_DAMAGED, "j-00000000: entry 7 at offset 6");
    g_assert_cmpuint(f->replayed, ==, 6);
}

static void test_bad_heads(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 18); /* 7 in file 0, 7 in file 1, 4 in file 2 */
    sync_all(f);
    for (unsigned slot = 0; slot < 3; slot++) {
        g_autofree char *name = g_strdup_printf("j-%08u: damaged header", slot);

        flip(f, slot, 50);
        expect_refused(f, 0, VV_ERROR_DAMAGED, name);
        flip(f, slot, 50);
    }
    flip(f, 0, 50); /* that the store holds: not needed, and used again */
    reopen_at(f, 10);
    g_assert_cmpuint(f->replayed, ==, 18);
    append_large(f, 5);
    sync_all(f);
    reopen_at(f, 10);
    g_assert_cmpuint(f->replayed, ==, 23);
    g_assert_cmpuint(count_files(f), ==, 3);
}

/* The newest file's only batch is proved durable by nothing but that the header was (J1). */
static void test_bad_newest_head(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 8);
    sync_all(f);
    flip(f, 1, 0);
    expect_refused(f, 0, VV_ERROR_DAMAGED, "j-00000001: damaged header");
    expect_refused(f, 3, VV_ERROR_DAMAGED, "j-00000001: damaged header");
}

static void test_missing_file(Fixture *f, gconstpointer data)
{
    g_autofree char *name = file_name(f, 1);
    g_autofree char *aside = g_strconcat(name, "x", NULL);

    (void) data;
    append_large(f, 18);
    sync_all(f);
    g_assert_cmpint(g_rename(name, aside), ==, 0);
    expect_refused(f, 0, VV_ERROR_DAMAGED, "number 2 is missing");
    g_assert_cmpint(g_rename(aside, name), ==, 0);
    reopen(f);
}

static void test_twin_file(Fixture *f, gconstpointer data)
{
    g_autofree char *name = file_name(f, 0);
    g_autofree char *twin = file_name(f, 5);
    g_autofree char *contents = NULL;
    gsize length_bytes = 0;

    (void) data;
    g_assert_true(g_file_get_contents(name, &contents, &length_bytes, NULL));
    g_assert_true(g_file_set_contents(twin, contents, (gssize) length_bytes, NULL));
    expect_refused(f, 0, VV_ERROR_DAMAGED, "number 1 is used");
}

/* The store must hold what the journal lacks, and no more than the journal ever had. */
static void test_applied(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 14);
    sync_all(f);
    vv_journal_release(f->journal, 8);
    append_large(f, 7); /* over file 0, which held entries 1 to 7 */
    sync_all(f);
    expect_refused(f, 0, VV_ERROR_DAMAGED, "oldest entry is 8");
    expect_refused(f, 6, VV_ERROR_DAMAGED, "oldest entry is 8");
    expect_refused(f, 22, VV_ERROR_DAMAGED, "entry 22 at offset");
    reopen_at(f, 7);
    g_assert_cmpuint(f->replayed, ==, 21);
    reopen_at(f, 21);
    g_assert_cmpuint(f->replayed, ==, 21);
}

/* Put a header or entry back with a good crc after changing @value at @offset. */
static void forge(const Fixture *f, uint64_t start, uint64_t offset, uint32_t value, uint32_t crc_offset, uint32_t seed)
{
    g_autofree char *name = file_name(f, 0);
    vv_autofd int fd = open(name, O_RDWR | O_CLOEXEC);
    uint8_t bytes[128];

    g_assert_cmpint(vv_pread_full(fd, bytes, sizeof bytes, start), ==, 0);
    vv_put_u32(bytes + offset, value);
    vv_put_u32(bytes + crc_offset, vv_crc32c(seed, bytes, crc_offset));
    g_assert_cmpint(vv_pwrite_full(fd, bytes, sizeof bytes, start), ==, 0);
}

static void test_foreign(Fixture *f, gconstpointer data)
{
    VvJournalIdentity ours = f->identity;
    uint8_t identity[24];

    (void) data;
    append(f, 10);
    sync_all(f);
    vv_uuid_generate(&f->identity.pool_uuid);
    expect_refused(f, 0, VV_ERROR_CONFLICT, "belongs to pool");
    f->identity.pool_uuid = ours.pool_uuid;
    f->identity.lineage = 2;
    expect_refused(f, 0, VV_ERROR_CONFLICT, "belongs to lineage 1");
    f->identity.lineage = 1;
    reopen(f);
    memcpy(identity, ours.pool_uuid.bytes, 16);
    vv_put_u64(identity + 16, 1);
    forge(f, FIRST_OFFSET, 48, 3, 52, vv_crc32c(0, identity, sizeof identity));
    expect_refused(f, 0, VV_ERROR_UNSUPPORTED, "unknown flags 0x3");
    forge(f, 0, 12, 1, 68, 0);
    expect_refused(f, 0, VV_ERROR_UNSUPPORTED, "flags 0x1");
    forge(f, 0, 8, 2, 68, 0);
    expect_refused(f, 0, VV_ERROR_UNSUPPORTED, "format 2");
}

static void test_directory(Fixture *f, gconstpointer data)
{
    g_autofree char *left = g_build_filename(f->path, "j-00000002.new", NULL);
    g_autofree char *high = g_build_filename(f->path, "j-00000099", NULL);
    g_autofree char *empty = g_build_filename(f->path, "empty", NULL);
    g_autoptr(GError) error = NULL;

    (void) data;
    g_assert_false(vv_journal_create(f->path, &f->identity, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_true(g_file_set_contents(left, "x", 1, NULL));
    reopen(f);
    g_assert_cmpint(access(left, F_OK), ==, -1); /* a file that was never finished */
    g_assert_true(g_file_set_contents(high, "x", 1, NULL));
    expect_refused(f, 0, VV_ERROR_UNSUPPORTED, "j-00000099");
    g_assert_cmpint(g_mkdir(empty, 0700), ==, 0);
    g_assert_null(vv_journal_open(empty, &f->identity, 0, false, NULL, compare_entry, f, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_NOT_FOUND);
    g_assert_cmpint(g_rmdir(empty), ==, 0);
}

static void test_read_only(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvJournal) reader = NULL;
    unsigned count;

    (void) data;
    append(f, 10);
    sync_all(f);
    count = f->sim.count_ops;
    reader = try_open(f, 0, true, &error); /* beside the one that writes */
    g_assert_no_error(error);
    g_assert_cmpuint(f->replayed, ==, 1);
    g_assert_cmpint(vv_journal_append(reader, "x", 1, &(uint64_t){ 0 }), ==, -EROFS);
    g_assert_cmpint(vv_journal_sync(reader), ==, 0);
    g_assert_cmpuint(f->sim.count_ops, ==, count);
    append(f, 10);
    sync_all(f);
}

static bool refuse_entry(void *user, uint64_t index, const uint8_t *body, size_t length_bytes, GError **error)
{
    (void) user;
    (void) body;
    (void) length_bytes;
    vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "not entry %" G_GUINT64_FORMAT, index);
    return false;
}

static void test_refused_entry(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    (void) data;
    append(f, 10);
    append(f, 10);
    sync_all(f);
    g_clear_pointer(&f->journal, vv_journal_close);
    f->identity.incarnation++;
    g_assert_null(vv_journal_open(f->path, &f->identity, 1, false, &f->ops, refuse_entry, f, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_INTERNAL);
    g_assert_cmpstr(error->message, ==, "not entry 2");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/meta/journal/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("round-trip", test_round_trip);
    ADD("reopen-everywhere", test_reopen_everywhere);
    ADD("recycle", test_recycle);
    ADD("preallocated", test_preallocated);
    ADD("numbers", test_numbers);
    ADD("full", test_full);
    ADD("shrink", test_shrink);
    ADD("fault-sync", test_fault_sync);
    ADD("fault-write", test_fault_write);
    ADD("fault-early-write", test_fault_early_write);
    ADD("fault-no-space", test_fault_no_space);
    ADD("fault-new-file", test_fault_new_file);
    ADD("older-file", test_older_file);
    ADD("bad-heads", test_bad_heads);
    ADD("bad-newest-head", test_bad_newest_head);
    ADD("missing-file", test_missing_file);
    ADD("twin-file", test_twin_file);
    ADD("applied", test_applied);
    ADD("foreign", test_foreign);
    ADD("directory", test_directory);
    ADD("read-only", test_read_only);
    ADD("refused-entry", test_refused_entry);
    return g_test_run();
}
