/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "meta-journal-sim.h"

#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

void write_free(void *data)
{
    Write *write = data;

    close(write->fd);
    g_free(write->before);
    g_free(write->after);
    g_free(write);
}

static bool sim_fails(Sim *sim, Fault kind)
{
    sim->count_ops++;
    if (sim->fault != kind && sim->fault != FAULT_ALL)
        return false;
    if (sim->fault_after > 0) {
        sim->fault_after--;
        return false;
    }
    return true;
}

static ino_t inode_of(int fd)
{
    struct stat st;

    g_assert_cmpint(fstat(fd, &st), ==, 0);
    return st.st_ino;
}

static bool is_zeroes(const Write *write)
{
    return write->after[0] == 0 && memcmp(write->after, write->after + 1, write->length_bytes - 1) == 0;
}

/* What is durable may be written again, but only with the bytes that it holds; or a file is wiped from its first entry on. */
static void check_overwrite(Sim *sim, const Write *write)
{
    uint64_t end = GPOINTER_TO_SIZE(g_hash_table_lookup(sim->durable_ends, GSIZE_TO_POINTER(write->inode)));

    if (write->offset == 0 && memcmp(write->before, write->after, write->length_bytes) != 0)
        g_hash_table_remove(sim->durable_ends, GSIZE_TO_POINTER(write->inode)); /* put to use again */
    else if (write->offset == FIRST_OFFSET && write->length_bytes > 32768 && is_zeroes(write))
        g_hash_table_remove(sim->durable_ends, GSIZE_TO_POINTER(write->inode));
    else if (write->offset < end)
        g_assert_cmpint(memcmp(write->before, write->after, MIN(write->length_bytes, end - write->offset)), ==, 0);
}

static int sim_write(void *user, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    Sim *sim = user;
    Write *write;
    ssize_t got;

    if (sim_fails(sim, FAULT_WRITE))
        return sim->fault_errno;
    write = g_new0(Write, 1);
    write->fd = dup(fd);
    write->inode = inode_of(fd);
    write->offset = offset;
    write->length_bytes = length_bytes;
    write->before = g_malloc0(length_bytes);
    write->after = g_memdup2(data, length_bytes);
    got = pread(fd, write->before, length_bytes, (off_t) offset);
    g_assert_cmpint(got, >=, 0);
    check_overwrite(sim, write);
    g_ptr_array_add(sim->unsynced, write);
    return vv_pwrite_full(fd, data, length_bytes, offset);
}

static int sim_sync(void *user, int fd)
{
    Sim *sim = user;
    ino_t inode = inode_of(fd);

    if (sim_fails(sim, FAULT_SYNC))
        return sim->fault_errno;
    sim->count_syncs++;
    for (unsigned i = 0; i < sim->unsynced->len;) {
        Write *write = g_ptr_array_index(sim->unsynced, i);
        uint64_t end = GPOINTER_TO_SIZE(g_hash_table_lookup(sim->durable_ends, GSIZE_TO_POINTER(inode)));

        if (write->inode != inode) {
            i++;
            continue;
        }
        if (write->offset > 0 && write->after[0] != 0) /* not the zeroes of a new file */
            g_hash_table_insert(sim->durable_ends, GSIZE_TO_POINTER(inode),
                GSIZE_TO_POINTER(MAX(end, write->offset + write->length_bytes)));
        write = g_ptr_array_steal_index(sim->unsynced, i);
        if (sim->kept != NULL)
            g_ptr_array_add(sim->kept, write);
        else
            write_free(write);
    }
    return 0;
}

void sim_put(const Write *write, const uint8_t *data, uint64_t from, uint64_t to)
{
    g_assert_cmpint(vv_pwrite_full(write->fd, data + from, (size_t) (to - from), write->offset + from), ==, 0);
}

/* The power fails. Of each sector that was not synced the medium has what it had before, or (@rand, chance 1 in 2) what
 * was written, or (@torn, one sector of all) a part of that and a part of this. */
static void sim_crash(Sim *sim, GRand *rand, bool torn)
{
    unsigned torn_write =
        torn && sim->unsynced->len > 0 ? (unsigned) g_rand_int_range(rand, 0, (gint32) sim->unsynced->len) : G_MAXUINT;

    for (unsigned i = sim->unsynced->len; i > 0; i--) {
        const Write *write = g_ptr_array_index(sim->unsynced, i - 1);

        sim_put(write, write->before, 0, write->length_bytes);
    }
    for (unsigned i = 0; rand != NULL && i < sim->unsynced->len; i++) {
        const Write *write = g_ptr_array_index(sim->unsynced, i);
        uint64_t keep = (uint64_t) g_rand_int_range(rand, 0, 4); /* none, all, or sectors by chance */

        for (uint64_t at = 0; at < write->length_bytes; at += VV_SECTOR_BYTES) {
            uint64_t end = MIN(at + VV_SECTOR_BYTES, write->length_bytes);

            if (i == torn_write && g_rand_boolean(rand)) {
                sim_put(write, write->after, at, at + (uint64_t) g_rand_int_range(rand, 1, (gint32) (end - at)));
                torn_write = G_MAXUINT;
            } else if (keep == 1 || (keep > 1 && g_rand_boolean(rand))) {
                sim_put(write, write->after, at, end);
            }
        }
    }
    g_ptr_array_set_size(sim->unsynced, 0);
}

char *file_name(const Fixture *f, unsigned slot)
{
    return g_strdup_printf("%s/j-%08u", f->path, slot);
}

unsigned count_files(const Fixture *f)
{
    g_autoptr(GDir) dir = g_dir_open(f->path, 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(dir) != NULL)
        count++;
    return count;
}

bool compare_entry(void *user, uint64_t index, const uint8_t *body, size_t length_bytes, GError **error)
{
    Fixture *f = user;
    GBytes *expected;

    (void) error;
    g_assert_cmpuint(index, ==, f->replayed + 1);
    g_assert_cmpuint(index, <=, f->bodies->len);
    expected = g_ptr_array_index(f->bodies, index - 1);
    g_assert_cmpuint(length_bytes, ==, g_bytes_get_size(expected));
    if (length_bytes > 0)
        g_assert_cmpint(memcmp(body, g_bytes_get_data(expected, NULL), length_bytes), ==, 0);
    f->replayed = index;
    return true;
}

VvJournal *try_open(Fixture *f, uint64_t applied_index, bool read_only, GError **error)
{
    f->replayed = applied_index;
    return vv_journal_open(f->path, &f->identity, applied_index, read_only, &f->ops, compare_entry, f, error);
}

void reopen_at(Fixture *f, uint64_t applied_index)
{
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&f->journal, vv_journal_close);
    f->identity.incarnation++;
    f->journal = try_open(f, applied_index, false, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vv_journal_last_index(f->journal), ==, f->replayed);
    g_assert_cmpuint(vv_journal_durable_index(f->journal), ==, f->replayed);
    g_ptr_array_set_size(f->bodies, (gint) f->replayed);
}

void reopen(Fixture *f)
{
    reopen_at(f, 0);
}

void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    (void) data;
    /* Memory, if there is some: these tests write and never need a real disk. */
    f->path = g_strdup("/dev/shm/vv-journal-XXXXXX");
    if (g_mkdtemp(f->path) == NULL) {
        g_free(f->path);
        f->path = g_dir_make_tmp("vv-journal-XXXXXX", &error);
        g_assert_no_error(error);
    }
    vv_uuid_generate(&f->identity.pool_uuid);
    f->identity.lineage = 1;
    f->sim.unsynced = g_ptr_array_new_with_free_func(write_free);
    f->sim.durable_ends = g_hash_table_new(NULL, NULL);
    f->ops = (VvRunOps){ .write = sim_write, .sync = sim_sync, .user = &f->sim };
    f->bodies = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    g_assert_true(vv_journal_create(f->path, &f->identity, &error));
    g_assert_no_error(error);
    reopen(f);
}

void tear_down(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) dir = g_dir_open(f->path, 0, NULL);
    const char *name;

    (void) data;
    vv_journal_close(f->journal);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(f->path, name, NULL);

        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(f->path), ==, 0);
    g_ptr_array_unref(f->bodies);
    g_ptr_array_unref(f->sim.unsynced);
    g_hash_table_unref(f->sim.durable_ends);
    g_free(f->path);
}

void crash(Fixture *f, GRand *rand, bool torn)
{
    g_clear_pointer(&f->journal, vv_journal_close);
    f->sim.fault = FAULT_NONE;
    sim_crash(&f->sim, rand, torn);
}

int try_append(Fixture *f, size_t length_bytes)
{
    g_autofree uint8_t *body = g_malloc(length_bytes + 8);
    uint64_t index = 0;
    int err;

    for (size_t i = 0; i < length_bytes; i++)
        body[i] = (uint8_t) (i * 7 + i / 251 + f->bodies->len * 31 + f->identity.incarnation * 101 + 1);
    err = vv_journal_append(f->journal, body, length_bytes, &index);
    if (err == 0) {
        g_ptr_array_add(f->bodies, g_bytes_new(body, length_bytes));
        g_assert_cmpuint(index, ==, f->bodies->len);
        g_assert_cmpuint(index, ==, vv_journal_last_index(f->journal));
    }
    return err;
}

void append(Fixture *f, size_t length_bytes)
{
    g_assert_cmpint(try_append(f, length_bytes), ==, 0);
}

void sync_all(Fixture *f)
{
    g_assert_cmpint(vv_journal_sync(f->journal), ==, 0);
    g_assert_cmpuint(vv_journal_durable_index(f->journal), ==, vv_journal_last_index(f->journal));
}

void append_large(Fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        append(f, VV_ENTRY_BYTES_MAX);
}
