/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the journal makes of tails that are torn, bytes that are flipped and power that fails. */
#include "meta-journal-sim.h"

#include "codec.h"
#include "error.h"
#include "limits.h"
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STRIDE (2 * TEST_SHARE - 1) /* odd: all masks have their turn */
#define LEAST(of_all) (TEST_SHARE == 1 ? (of_all) : (of_all) / STRIDE / 2)
#define SMALL_BYTES 32768u /* the small journals end below this offset */

/* ---- the small journal of the byte-by-byte tests: four batches, all in file 0. All of it is on the medium, but nothing
 * there proves that the last batch was durable. */

typedef struct {
    int fd; /* of file 0, owned */
    uint8_t image[SMALL_BYTES];
    GPtrArray *bodies;    /* owned */
    uint64_t proved;      /* entries that the last batch proves durable */
    uint64_t count;       /* all */
    uint64_t last_batch;  /* offset */
    uint64_t end;         /* offset behind the last byte that is not zero */
    uint64_t offsets[16]; /* of the entries */
} Small;

static GPtrArray *copy_bodies(GPtrArray *bodies)
{
    GPtrArray *copy = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);

    for (unsigned i = 0; i < bodies->len; i++)
        g_ptr_array_add(copy, g_bytes_ref(g_ptr_array_index(bodies, i)));
    return copy;
}

static void small_make(Fixture *f, Small *small)
{
    static const size_t lengths[] = { 100, 0, 0xffff, 700, 0xffff, 1, 33, 404, 0xffff, 456, 600, 8, 90, 0xffff };
    /* 456 and the header are a sector: what follows survives when the entry is written anew. */
    g_autofree char *name = file_name(f, 0);
    uint64_t offset = FIRST_OFFSET;

    memset(small, 0, sizeof *small);
    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
        if (lengths[i] == 0xffff) {
            small->proved = i + 1 < G_N_ELEMENTS(lengths) ? small->count : small->proved;
            sync_all(f);
            offset = (offset + 511) / 512 * 512;
            small->last_batch = i + 1 < G_N_ELEMENTS(lengths) ? offset : small->last_batch;
        } else {
            append(f, lengths[i]);
            small->offsets[small->count++] = offset;
            offset += (56 + lengths[i] + 7) / 8 * 8;
        }
    }
    g_clear_pointer(&f->journal, vv_journal_close);
    small->fd = open(name, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(small->fd, >=, 0);
    g_assert_cmpint(vv_pread_full(small->fd, small->image, SMALL_BYTES, 0), ==, 0);
    small->end = SMALL_BYTES;
    while (small->image[small->end - 1] == 0)
        small->end--;
    small->bodies = copy_bodies(f->bodies);
    g_assert_cmpuint(small->proved, ==, 6);
    g_assert_cmpuint(small->count, ==, 10);
    g_assert_cmpuint(small->end, >, small->offsets[9]);
    g_assert_cmpuint(small->end, <=, small->offsets[9] + 56 + 96);
    for (unsigned i = 0; i < small->count; i++)
        g_assert_cmpint(memcmp(small->image + small->offsets[i], "VVJE", 4), ==, 0);
}

static void small_restore(Fixture *f, const Small *small)
{
    g_clear_pointer(&f->journal, vv_journal_close);
    /* Short files are quick to read: open takes what is not there for zeroes, and brings it back. */
    g_assert_cmpint(ftruncate(small->fd, SMALL_BYTES), ==, 0);
    g_assert_cmpint(vv_pwrite_full(small->fd, small->image, SMALL_BYTES, 0), ==, 0);
    g_ptr_array_unref(f->bodies);
    f->bodies = copy_bodies(small->bodies);
    g_hash_table_remove_all(f->sim.durable_ends);
}

static void small_clear(Small *small)
{
    close(small->fd);
    g_ptr_array_unref(small->bodies);
}

/* ---- torn tails */

typedef enum { TAIL_CUT, TAIL_ZEROES, TAIL_GARBAGE, TAIL_MODES } TailMode;

static void spoil_tail(int fd, uint64_t from, TailMode mode)
{
    uint8_t bytes[SMALL_BYTES];

    memset(bytes, 0, sizeof bytes);
    if (mode == TAIL_GARBAGE) {
        for (unsigned i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t) (i * i * 31 + i * 7 + 0x5a);
    }
    if (mode == TAIL_CUT)
        g_assert_cmpint(ftruncate(fd, (off_t) from), ==, 0);
    else
        g_assert_cmpint(vv_pwrite_full(fd, bytes, SMALL_BYTES - from, from), ==, 0);
}

/* Cut, zeroed and overwritten from every byte of the batch that nothing proves durable: a prefix with all that was
 * durable; the journal goes on behind it, and what it appends is what the next start finds. */
static void test_torn_tail(Fixture *f, gconstpointer data)
{
    Small small;

    (void) data;
    small_make(f, &small);
    for (uint64_t at = small.last_batch; at <= small.end; at += STRIDE) {
        for (unsigned mode = 0; mode < TAIL_MODES; mode++) {
            uint64_t kept;

            small_restore(f, &small);
            spoil_tail(small.fd, at, (TailMode) mode);
            f->journal = try_open(f, 0, true, NULL);
            g_assert_nonnull(f->journal);
            kept = f->replayed;
            g_assert_cmpuint(kept, >=, small.proved);
            g_assert_cmpuint(kept, <=, small.count);
            for (uint64_t i = small.proved; i < small.count; i++) /* whole entries before the cut are all there */
                g_assert_true(kept >= i || at < small.offsets[i]);
            if (at % 32 != 0)
                continue;
            reopen(f);
            g_assert_cmpuint(f->replayed, ==, kept);
            append(f, 50);
            append(f, 20);
            sync_all(f);
            reopen(f);
            g_assert_cmpuint(f->replayed, ==, kept + 2);
        }
    }
    small_clear(&small);
}

/* A tail cut further down, where the entries behind it prove nothing any more because they are gone too. */
static void test_cut_anywhere(Fixture *f, gconstpointer data)
{
    Small small;

    (void) data;
    small_make(f, &small);
    for (uint64_t at = FIRST_OFFSET; at < small.last_batch; at += 11 * TEST_SHARE) {
        for (unsigned mode = 0; mode < TAIL_MODES; mode++) {
            small_restore(f, &small);
            spoil_tail(small.fd, at, (TailMode) mode);
            f->journal = try_open(f, 0, true, NULL);
            g_assert_nonnull(f->journal);
            g_assert_cmpuint(f->replayed, <, small.count);
        }
    }
    small_clear(&small);
}

/* Every byte of the journal spoilt in turn: damage, or a prefix that lacks nothing that was proved durable. */
static void test_flip_every_byte(Fixture *f, gconstpointer data)
{
    static const uint8_t masks[] = { 0x01, 0x80, 0xff };
    unsigned count_damaged = 0, count_shorter = 0, count_whole = 0;
    Small small;

    (void) data;
    small_make(f, &small);
    for (uint64_t at = 0; at < small.end; at += STRIDE) {
        uint8_t byte = small.image[at] ^ masks[at % G_N_ELEMENTS(masks)];
        g_autoptr(GError) error = NULL;

        if (at >= 72 && at < FIRST_OFFSET && at % 64 != 0)
            continue; /* zeroes behind the header: some of them will do */
        small_restore(f, &small);
        g_assert_cmpint(vv_pwrite_full(small.fd, &byte, 1, at), ==, 0);
        f->journal = try_open(f, 0, true, &error);
        if (f->journal == NULL) {
            g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
            g_assert_nonnull(strstr(error->message, "j-00000000"));
            g_assert_nonnull(strstr(error->message, "offset"));
            g_assert_cmpuint(at, <, small.last_batch);
            count_damaged++;
        } else {
            g_assert_cmpuint(f->replayed, >=, small.proved);
            count_shorter += f->replayed < small.count;
            count_whole += f->replayed == small.count;
        }
    }
    g_test_message(
        "%u damaged, %u without some of the last batch, %u whole", count_damaged, count_shorter, count_whole);
    g_assert_cmpuint(count_damaged, >=, LEAST(72 + 6 * 56 + 1238)); /* headers and bodies */
    g_assert_cmpuint(count_shorter, >=, LEAST(4 * 56 + 1154));
    g_assert_cmpuint(count_whole, >, 0);
    small_clear(&small);
}

/* The message names file, offset and entry. */
static void test_damage_named(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *expected = NULL;
    Small small;

    (void) data;
    small_make(f, &small);
    g_assert_cmpint(vv_pwrite_full(small.fd, "x", 1, small.offsets[2] + 60), ==, 0);
    g_assert_null(try_open(f, 0, false, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
    expected = g_strdup_printf("j-00000000: entry 3 at offset %" G_GUINT64_FORMAT " is damaged", small.offsets[2]);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, expected));
    g_assert_cmpuint(f->replayed, ==, 2);
    small_clear(&small);
}

/* Entries that survived behind a lost one are never part of the journal again, even where the entry that takes the lost
 * one's place is the same to the byte but for the incarnation. */
static void test_stale_tail(Fixture *f, gconstpointer data)
{
    Small small;

    (void) data;
    small_make(f, &small);
    for (unsigned trial = 0; trial < 4; trial++) {
        static const uint8_t lost[1] = { 0xee };
        gsize length_bytes = 0;
        const uint8_t *body;
        uint64_t index = 0;

        small_restore(f, &small);
        g_assert_cmpint(vv_pwrite_full(small.fd, lost, 1, small.last_batch + trial * 14), ==, 0); /* entry 7 */
        reopen(f);
        g_assert_cmpuint(f->replayed, ==, small.proved);
        body = g_bytes_get_data(g_ptr_array_index(small.bodies, 6), &length_bytes);
        g_assert_cmpint(vv_journal_append(f->journal, body, length_bytes, &index), ==, 0);
        g_assert_cmpuint(index, ==, 7);
        g_ptr_array_add(f->bodies, g_bytes_ref(g_ptr_array_index(small.bodies, 6)));
        sync_all(f);
        reopen(f);
        g_assert_cmpuint(f->replayed, ==, 7);
        append(f, 10);
        sync_all(f);
        reopen(f);
        g_assert_cmpuint(f->replayed, ==, 8);
    }
    small_clear(&small);
}

static void test_same_incarnation(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    (void) data;
    append(f, 10);
    sync_all(f);
    g_clear_pointer(&f->journal, vv_journal_close);
    g_assert_null(try_open(f, 0, false, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_CONFLICT);
}

/* ---- crashes of a medium that forgets */

typedef struct {
    uint64_t durable; /* entries that sync said are durable */
    uint64_t applied; /* what the store would hold */
} Progress;

/* Entries of all sizes over several files, syncs and releases, until an operation fails. */
static void work(Fixture *f, GRand *rand, unsigned steps, Progress *progress)
{
    for (unsigned i = 0; i < steps; i++) {
        int dice = g_rand_int_range(rand, 0, 10), err = 0;

        if (dice < 4)
            err = try_append(f, VV_ENTRY_BYTES_MAX - (uint32_t) g_rand_int_range(rand, 0, 4096));
        else if (dice < 7)
            err = try_append(f, (size_t) g_rand_int_range(rand, 0, 3000));
        else
            err = vv_journal_sync(f->journal);
        progress->durable = MAX(progress->durable, vv_journal_durable_index(f->journal));
        if (err == -EIO)
            return;
        g_assert_cmpint(err, ==, 0);
        if (i % 20 == 19) {
            progress->applied = progress->durable;
            vv_journal_release(f->journal, progress->applied);
        }
    }
}

/* The power fails at any operation, again and again on the same journal, and the medium keeps what it likes of what was
 * not synced: all that was durable is there, in order, and nothing that was never appended; nothing of it is damage. */
static void test_crash(Fixture *f, gconstpointer data)
{
    uint32_t seed = (uint32_t) g_test_rand_int();
    GRand *rand = g_rand_new_with_seed(seed);
    Progress progress = { 0 };

    (void) data;
    g_test_message("seed %u", seed);
    for (unsigned round = 0; round < TEST_SHARE_OF(150u); round++) {
        f->sim.fault = FAULT_ALL;
        f->sim.fault_errno = -EIO;
        f->sim.fault_after = (unsigned) g_rand_int_range(rand, 0, 60);
        work(f, rand, 60, &progress);
        crash(f, rand, g_rand_boolean(rand));
        reopen_at(f, progress.applied);
        g_assert_cmpuint(f->replayed, >=, progress.durable);
        progress.durable = f->replayed;
        if (g_rand_boolean(rand)) { /* and in the middle of opening */
            f->sim.fault = FAULT_ALL;
            f->sim.fault_after = (unsigned) g_rand_int_range(rand, 0, 3);
            g_clear_pointer(&f->journal, vv_journal_close);
            f->identity.incarnation++;
            f->journal = try_open(f, progress.applied, false, NULL);
            crash(f, rand, false);
            reopen_at(f, progress.applied);
            g_assert_cmpuint(f->replayed, ==, progress.durable);
        }
    }
    g_rand_free(rand);
}

/* The process dies and the page cache does not, or a sync fails and the kernel takes the pages for clean: what open has
 * replayed must be on the medium from then on. The medium is what it was before the unsynced writes, and then what was
 * written and synced since: by open, and for one more entry. */
static void power_fails_after_open(Fixture *f, uint64_t expected)
{
    GPtrArray *lost = g_steal_pointer(&f->sim.unsynced);

    f->sim.unsynced = g_ptr_array_new_with_free_func(write_free);
    f->sim.kept = g_ptr_array_new_with_free_func(write_free);
    reopen(f);
    g_assert_cmpuint(f->replayed, ==, expected);
    append(f, VV_ENTRY_BYTES_MAX);
    sync_all(f);
    crash(f, NULL, false);
    for (unsigned i = lost->len; i > 0; i--) {
        const Write *write = g_ptr_array_index(lost, i - 1);

        sim_put(write, write->before, 0, write->length_bytes);
    }
    for (unsigned i = 0; i < f->sim.kept->len; i++) {
        const Write *write = g_ptr_array_index(f->sim.kept, i);

        sim_put(write, write->after, 0, write->length_bytes);
    }
    g_ptr_array_unref(lost);
    g_clear_pointer(&f->sim.kept, g_ptr_array_unref);
    reopen(f);
    g_assert_cmpuint(f->replayed, ==, expected + 1);
}

static void test_killed_then_power(Fixture *f, gconstpointer data)
{
    (void) data;
    append(f, 10);
    sync_all(f);
    append(f, 2000);
    append_large(f, 3); /* the first of them are written, but not synced, and the last one is not even that */
    g_clear_pointer(&f->journal, vv_journal_close);
    g_assert_cmpuint(f->sim.unsynced->len, >, 0);
    power_fails_after_open(f, 4);
}

static void test_failed_sync_then_power(Fixture *f, gconstpointer data)
{
    (void) data;
    append(f, 10);
    sync_all(f);
    append(f, 2000);
    f->sim.fault = FAULT_SYNC;
    f->sim.fault_errno = -EIO;
    g_assert_cmpint(vv_journal_sync(f->journal), ==, -EIO);
    f->sim.fault = FAULT_NONE;
    power_fails_after_open(f, 2);
}

/* The same where it is the header of the next file that the failed sync left in the page cache. */
static void test_failed_header_then_power(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 7);
    sync_all(f);
    f->sim.fault = FAULT_SYNC;
    f->sim.fault_errno = -EIO;
    g_assert_cmpint(try_append(f, VV_ENTRY_BYTES_MAX), ==, -EIO);
    f->sim.fault = FAULT_NONE;
    power_fails_after_open(f, 7);
}

/* J1: a header that is torn while the file is put to use again lies over old entries only, and is not damage. */
static void test_torn_header(Fixture *f, gconstpointer data)
{
    (void) data;
    append_large(f, 14);
    sync_all(f);
    for (unsigned fail_after = 0; fail_after < 6; fail_after++) {
        reopen_at(f, 13);
        vv_journal_release(f->journal, 13);
        f->sim.fault = FAULT_ALL;
        f->sim.fault_errno = -EIO;
        f->sim.fault_after = fail_after;
        for (int err = 0, i = 0; err == 0 && i < 3; i++)
            err = try_append(f, VV_ENTRY_BYTES_MAX);
        g_clear_pointer(&f->journal, vv_journal_close);
        f->sim.fault = FAULT_NONE;
        for (unsigned i = 0; i < f->sim.unsynced->len; i++) { /* the entries got to the medium, the header in part */
            const Write *write = g_ptr_array_index(f->sim.unsynced, i);

            if (write->offset == 0)
                sim_put(write, write->before, 50, write->length_bytes);
        }
        g_ptr_array_set_size(f->sim.unsynced, 0);
        reopen_at(f, 13);
        g_assert_cmpuint(f->replayed, >=, 14);
        g_assert_cmpuint(f->replayed, <=, 17);
        if (f->replayed > 14)
            break; /* the file is in use now */
    }
    append_large(f, 3);
    sync_all(f);
    reopen_at(f, 13);
}

/* ---- names */

static bool folder_is_synced;

int noted_fsync(int fd) __asm__("fsync") __attribute__((used, visibility("default")));

int noted_fsync(int fd)
{
    struct stat st;

    folder_is_synced = folder_is_synced || (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode));
    return (int) syscall(SYS_fsync, fd);
}

/* J10: the prepared file has a name that only the kernel knows, as the process that gave it died before it could sync the folder. It is
 * put to use, and power fails. */
static void test_name_then_power(Fixture *f, gconstpointer data)
{
    g_autofree char *prepared = file_name(f, 1), *named = file_name(f, 2);

    (void) data;
    g_clear_pointer(&f->journal, vv_journal_close);
    g_assert_cmpint(rename(prepared, named), ==, 0);
    folder_is_synced = false;
    reopen(f);
    append_large(f, 9);
    sync_all(f);
    g_assert_cmpuint(count_files(f), ==, 2); /* no other one was made, which would sync the folder too */
    crash(f, NULL, false);
    if (!folder_is_synced)
        g_assert_cmpint(unlink(named), ==, 0);
    reopen(f);
    g_assert_cmpuint(f->replayed, ==, 9);
}

/* Who only reads changes nothing. */
static void test_names_read_only(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    (void) data;
    append(f, 10);
    sync_all(f);
    g_clear_pointer(&f->journal, vv_journal_close);
    folder_is_synced = false;
    f->journal = try_open(f, 0, true, &error);
    g_assert_no_error(error);
    g_assert_false(folder_is_synced);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/meta/journal-crash/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("torn-tail", test_torn_tail);
    ADD("cut-anywhere", test_cut_anywhere);
    ADD("flip-every-byte", test_flip_every_byte);
    ADD("damage-named", test_damage_named);
    ADD("stale-tail", test_stale_tail);
    ADD("same-incarnation", test_same_incarnation);
    ADD("crash", test_crash);
    ADD("killed-then-power", test_killed_then_power);
    ADD("failed-sync-then-power", test_failed_sync_then_power);
    ADD("failed-header-then-power", test_failed_header_then_power);
    ADD("torn-header", test_torn_header);
    ADD("name-then-power", test_name_then_power);
    ADD("names-read-only", test_names_read_only);
    return g_test_run();
}
