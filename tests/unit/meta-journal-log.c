/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal as a log: entries are read back, suffixes are replaced, and what a crash leaves is a log that there was. */
#include "journal_log.h"
#include "meta-journal-sim.h"

#include "error.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* What the log should hold: entry i + 1 is entries[i], and its body follows from its id. */
typedef struct {
    uint64_t term, id;
    size_t length_bytes;
} Entry;

typedef struct {
    Fixture f;
    GArray *entries; /* Entry */
    uint64_t term, next_id, applied;
    GPtrArray *states; /* of GArray of Entry: what a crash may leave */
} LogFixture;

static uint8_t *make_body(const Entry *entry)
{
    uint8_t *body = g_malloc(entry->length_bytes + 1);

    for (size_t i = 0; i < entry->length_bytes; i++)
        body[i] = (uint8_t) (i * 13 + i / 255 + entry->id * 29 + 1);
    return body;
}

static void open_log_at(LogFixture *l, uint64_t applied)
{
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&l->f.journal, vv_journal_close);
    l->f.identity.incarnation++;
    l->f.journal = vv_journal_open_log(l->f.path, &l->f.identity, applied, false, &l->f.ops, &error);
    g_assert_no_error(error);
}

static void log_set_up(LogFixture *l, gconstpointer data)
{
    set_up(&l->f, data);
    l->entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    l->states = g_ptr_array_new_with_free_func((GDestroyNotify) g_array_unref);
    l->term = 1;
    open_log_at(l, 0);
}

static void log_tear_down(LogFixture *l, gconstpointer data)
{
    g_array_unref(l->entries);
    g_ptr_array_unref(l->states);
    tear_down(&l->f, data);
}

static void note_state(LogFixture *l)
{
    g_ptr_array_add(l->states, g_array_copy(l->entries));
}

/* An entry with this index; what was there and behind goes. */
static int try_put(LogFixture *l, uint64_t index, size_t length_bytes)
{
    Entry entry = { .term = l->term, .id = ++l->next_id, .length_bytes = length_bytes };
    g_autofree uint8_t *body = make_body(&entry);
    VvJournalItem item = { .index = index, .term = l->term, .kind = VV_JOURNAL_COMMAND, .body = body, .length_bytes = length_bytes };
    g_autoptr(GArray) before = g_array_copy(l->entries);
    unsigned states = l->states->len;
    int err;

    if (index <= l->entries->len) {
        g_array_set_size(l->entries, (guint) index - 1);
        note_state(l);
    }
    g_array_append_val(l->entries, entry);
    note_state(l);
    err = vv_journal_put(l->f.journal, &item);
    if (err == -ENOSPC) { /* nothing has changed */
        g_array_set_size(l->entries, 0);
        g_array_append_vals(l->entries, before->data, before->len);
        g_ptr_array_set_size(l->states, (gint) states);
    }
    return err;
}

static void put(LogFixture *l, uint64_t index, size_t length_bytes)
{
    g_assert_cmpint(try_put(l, index, length_bytes), ==, 0);
    g_assert_cmpuint(vv_journal_last_index(l->f.journal), ==, index);
}

static void check_entry(LogFixture *l, uint64_t index)
{
    const Entry *expected = &g_array_index(l->entries, Entry, index - 1);
    g_autofree uint8_t *body = make_body(expected);
    VvJournalItem item;

    g_assert_cmpint(vv_journal_get(l->f.journal, index, &item), ==, 0);
    g_assert_cmpuint(item.index, ==, index);
    g_assert_cmpuint(item.term, ==, expected->term);
    g_assert_cmpint(item.kind, ==, VV_JOURNAL_COMMAND);
    g_assert_cmpuint(item.length_bytes, ==, expected->length_bytes);
    g_assert_cmpint(memcmp(item.body, body, expected->length_bytes), ==, 0);
}

/* From @first on, in order and then not; nothing else. */
static void check_log(LogFixture *l, uint64_t first)
{
    VvJournalItem item;

    g_assert_cmpuint(vv_journal_last_index(l->f.journal), ==, l->entries->len);
    for (uint64_t i = first; i <= l->entries->len; i++)
        check_entry(l, i);
    for (uint64_t i = l->entries->len; i >= first && i > 0; i -= MIN(i, 7))
        check_entry(l, i);
    g_assert_cmpint(vv_journal_get(l->f.journal, l->entries->len + 1, &item), ==, -ENODATA);
    g_assert_cmpint(vv_journal_get(l->f.journal, 0, &item), ==, -ENODATA);
}

static void test_read_back(LogFixture *l, gconstpointer data)
{
    (void) data;
    g_assert_cmpuint(vv_journal_first_index(l->f.journal), ==, 1);
    for (unsigned i = 1; i <= 1000; i++) {
        put(l, i, i % 9 == 0 ? 100000 : i % 5 * 311);
        if (i % 7 == 0)
            sync_all(&l->f);
        if (i % 50 == 0)
            check_entry(l, i / 2);
        check_entry(l, i); /* also while it is nowhere but in memory */
    }
    check_log(l, 1);
    sync_all(&l->f);
    open_log_at(l, 0);
    check_log(l, 1);
    open_log_at(l, 990); /* the files before are not looked at */
    g_assert_cmpuint(vv_journal_first_index(l->f.journal), >, 1);
    check_log(l, vv_journal_first_index(l->f.journal));
}

static void test_replace_in_file(LogFixture *l, gconstpointer data)
{
    (void) data;
    for (unsigned i = 1; i <= 20; i++)
        put(l, i, 500);
    sync_all(&l->f);
    l->term = 2;
    put(l, 13, 40);
    check_log(l, 1);
    put(l, 14, 41);
    sync_all(&l->f);
    open_log_at(l, 0);
    check_log(l, 1);
    l->term = 3;
    put(l, 13, 42); /* the first of its file */
    put(l, 1, 43);  /* all of it */
    put(l, 2, 44);
    put(l, 3, 45);
    put(l, 3, 46); /* not durable yet, replaced */
    check_log(l, 1);
    sync_all(&l->f);
    open_log_at(l, 0);
    check_log(l, 1);
}

/* Files that lie wholly behind the cut are skipped, and those behind the next one too. */
static void test_replace_over_files(LogFixture *l, gconstpointer data)
{
    (void) data;
    for (unsigned i = 1; i <= 24; i++)
        put(l, i, VV_ENTRY_BYTES_MAX); /* seven to a file */
    l->term = 2;
    put(l, 5, 10);
    sync_all(&l->f);
    open_log_at(l, 0);
    check_log(l, 1);
    for (unsigned i = 6; i <= 15; i++)
        put(l, i, VV_ENTRY_BYTES_MAX);
    l->term = 3;
    put(l, 5, 11);
    put(l, 6, 12);
    sync_all(&l->f);
    open_log_at(l, 0);
    check_log(l, 1);
    open_log_at(l, 4);
    check_log(l, 5);
}

/* File 0 is free, with the replaced entries 4 to 7 of this incarnation; then it is put to use again, until operation @after fails.
 * False: none did. */
static bool reuse_replaced(LogFixture *l, unsigned after, unsigned *torn)
{
    bool failed;

    for (unsigned i = 1; i <= 7; i++)
        put(l, i, 100);
    sync_all(&l->f);
    l->term = 2;
    put(l, 3, 100); /* file 1 */
    sync_all(&l->f);
    vv_journal_release(l->f.journal, 3);
    l->f.sim.fault = FAULT_ALL;
    l->f.sim.fault_errno = -EIO;
    l->f.sim.fault_after = after;
    put(l, 4, 100);
    l->term = 3;
    failed = try_put(l, 4, 100) != 0; /* goes on in file 0 */
    g_clear_pointer(&l->f.journal, vv_journal_close);
    l->f.sim.fault = FAULT_NONE;
    for (unsigned i = 0; i < l->f.sim.unsynced->len; i++) { /* its header got there in part */
        const Write *write = g_ptr_array_index(l->f.sim.unsynced, i);

        if (write->offset == 0) {
            sim_put(write, write->before, 50, write->length_bytes);
            (*torn)++;
        }
    }
    g_ptr_array_set_size(l->f.sim.unsynced, 0);
    return failed;
}

/* J9: a torn header over replaced entries is not damage. */
static void test_torn_header_over_replaced(LogFixture *l, gconstpointer data)
{
    unsigned torn = 0;

    for (unsigned after = 0; after < 150; after = after == 4 ? 126 : after + 1) { /* the file is wiped in between */
        bool failed = reuse_replaced(l, after, &torn);

        open_log_at(l, 3);
        g_assert_cmpuint(vv_journal_last_index(l->f.journal), >=, 3);
        g_assert_cmpuint(vv_journal_last_index(l->f.journal), <=, 4);
        log_tear_down(l, data);
        memset(l, 0, sizeof *l);
        log_set_up(l, data);
        if (!failed)
            break;
    }
    g_assert_cmpuint(torn, ==, 1);
}

static void test_refused_by_others(LogFixture *l, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    (void) data;
    put(l, 1, 10);
    sync_all(&l->f);
    g_clear_pointer(&l->f.journal, vv_journal_close);
    l->f.identity.incarnation++;
    g_assert_null(try_open(&l->f, 0, false, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_UNSUPPORTED);
}

static void test_spoilt(LogFixture *l, gconstpointer data)
{
    g_autofree char *name = file_name(&l->f, 0);
    vv_autofd int fd = open(name, O_RDWR | O_CLOEXEC);
    VvJournalItem item;

    (void) data;
    for (unsigned i = 1; i <= 5; i++)
        put(l, i, 1000);
    sync_all(&l->f);
    g_assert_cmpint(vv_pwrite_full(fd, "x", 1, FIRST_OFFSET + 2 * 1056 + 300), ==, 0);
    check_entry(l, 2);
    g_assert_cmpint(vv_journal_get(l->f.journal, 3, &item), ==, -EUCLEAN);
    check_entry(l, 4);
    g_assert_cmpint(vv_pwrite_full(fd, "x", 1, FIRST_OFFSET + 3 * 1056 + 8), ==, 0); /* its index */
    g_hash_table_remove_all(l->f.sim.durable_ends);
    open_log_at(l, 1);
    g_assert_cmpuint(vv_journal_last_index(l->f.journal), ==, 2); /* nothing proves that it was durable */
}

/* A pool of one node becomes a cluster: its entries stay its own, the log begins behind them. */
static void test_from_one_node(LogFixture *l, gconstpointer data)
{
    VvJournalItem item;

    (void) data;
    g_clear_pointer(&l->f.journal, vv_journal_close);
    reopen(&l->f);
    for (unsigned i = 0; i < 10; i++)
        append(&l->f, 300);
    sync_all(&l->f);
    vv_journal_release(l->f.journal, 10);
    vv_journal_make_log(l->f.journal);
    g_assert_cmpuint(vv_journal_first_index(l->f.journal), ==, 11);
    g_array_set_size(l->entries, 10);
    for (unsigned i = 11; i <= 30; i++)
        put(l, i, 100);
    check_log(l, 11);
    l->term = 2;
    put(l, 11, 7);
    sync_all(&l->f);
    check_log(l, 11);
    open_log_at(l, 10);
    g_assert_cmpuint(vv_journal_first_index(l->f.journal), ==, 11);
    check_log(l, 11);
    g_assert_cmpint(vv_journal_get(l->f.journal, 10, &item), ==, -ENODATA);
}

static void test_release(LogFixture *l, gconstpointer data)
{
    VvJournalItem item;

    (void) data;
    for (unsigned i = 1; i <= 100; i++) {
        put(l, i, VV_ENTRY_BYTES_MAX);
        if (i % 10 != 0)
            continue;
        sync_all(&l->f);
        vv_journal_release(l->f.journal, i - 5);
        g_assert_cmpuint(vv_journal_first_index(l->f.journal), <=, i - 4);
        check_log(l, vv_journal_first_index(l->f.journal));
        if (vv_journal_first_index(l->f.journal) > 1)
            g_assert_cmpint(vv_journal_get(l->f.journal, vv_journal_first_index(l->f.journal) - 1, &item), ==, -ENODATA);
    }
    g_assert_cmpuint(vv_journal_first_index(l->f.journal), >, 50);
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) { /* replacing takes files, and says so when there are none */
        int err = try_put(l, 100, 100);

        if (err == -ENOSPC) {
            g_assert_cmpuint(vv_journal_last_index(l->f.journal), ==, 100);
            return;
        }
        g_assert_cmpint(err, ==, 0);
    }
    g_assert_not_reached();
}

/* ---- crashes */

static void settle(LogFixture *l)
{
    g_ptr_array_set_size(l->states, 0);
    note_state(l);
}

/* Puts, cuts, syncs and releases until an operation fails. */
static void work(LogFixture *l, GRand *rand, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        int dice = g_rand_int_range(rand, 0, 20), err;
        uint64_t next = l->entries->len + 1;

        if (dice == 0 && next > l->applied + 1) {
            l->term++;
            next = l->applied + 1 + (uint64_t) g_rand_int_range(rand, 0, (gint32) (next - l->applied - 1));
        }
        if (dice < 6)
            err = try_put(l, next, VV_ENTRY_BYTES_MAX - (uint32_t) g_rand_int_range(rand, 0, 4096));
        else if (dice < 15)
            err = try_put(l, next, (size_t) g_rand_int_range(rand, 0, 3000));
        else
            err = vv_journal_sync(l->f.journal);
        if (err == -EIO)
            return;
        if (err == -ENOSPC) { /* what is durable is released */
            sync_all(&l->f);
            l->applied = vv_journal_durable_index(l->f.journal);
            vv_journal_release(l->f.journal, l->applied);
            err = 0;
        }
        g_assert_cmpint(err, ==, 0);
        if (vv_journal_durable_index(l->f.journal) == vv_journal_last_index(l->f.journal))
            settle(l);
        if (i % 16 == 15 && vv_journal_durable_index(l->f.journal) > 0) {
            l->applied = MAX(l->applied, vv_journal_durable_index(l->f.journal) - MIN(vv_journal_durable_index(l->f.journal), 3));
            vv_journal_release(l->f.journal, l->applied);
        }
    }
}

/* The log is as it was at one of the moments since it was durable as a whole. */
static void adopt_state(LogFixture *l)
{
    uint64_t last = vv_journal_last_index(l->f.journal), first = vv_journal_first_index(l->f.journal);

    g_assert_cmpuint(last, >=, l->applied);
    for (unsigned i = l->states->len; i-- > 0;) {
        const GArray *state = g_ptr_array_index(l->states, i);
        bool same = state->len == last;

        for (uint64_t index = first; same && index <= last; index++) {
            const Entry *entry = &g_array_index(state, Entry, index - 1);
            g_autofree uint8_t *body = make_body(entry);
            VvJournalItem item;

            g_assert_cmpint(vv_journal_get(l->f.journal, index, &item), ==, 0);
            same = item.term == entry->term && item.length_bytes == entry->length_bytes &&
                   memcmp(item.body, body, entry->length_bytes) == 0;
        }
        if (!same)
            continue;
        g_array_set_size(l->entries, 0);
        g_array_append_vals(l->entries, state->data, state->len);
        settle(l);
        return;
    }
    g_error("the log has %" G_GUINT64_FORMAT " entries and is none that there was", last);
}

static void test_crash(LogFixture *l, gconstpointer data)
{
    uint32_t seed = (uint32_t) g_test_rand_int();
    GRand *rand = g_rand_new_with_seed(seed);

    (void) data;
    g_test_message("seed %u", seed);
    settle(l);
    for (unsigned round = 0; round < 50; round++) {
        l->f.sim.fault = FAULT_ALL;
        l->f.sim.fault_errno = -EIO;
        l->f.sim.fault_after = (unsigned) g_rand_int_range(rand, 0, 80);
        work(l, rand, 60);
        crash(&l->f, rand, g_rand_boolean(rand));
        open_log_at(l, l->applied);
        adopt_state(l);
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/meta/journal-log/" name, LogFixture, NULL, log_set_up, function, log_tear_down)
    ADD("read-back", test_read_back);
    ADD("replace-in-file", test_replace_in_file);
    ADD("replace-over-files", test_replace_over_files);
    ADD("torn-header-over-replaced", test_torn_header_over_replaced);
    ADD("refused-by-others", test_refused_by_others);
    ADD("spoilt", test_spoilt);
    ADD("from-one-node", test_from_one_node);
    ADD("release", test_release);
    ADD("crash", test_crash);
    return g_test_run();
}
