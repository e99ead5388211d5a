/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Journals for tests, on a medium that forgets. Sim stands between the journal and its files: it lets writes through to
 * the file (as the page cache would show them) and keeps what was there before until the file is synced. A crash undoes all
 * that is not synced and then lets the test choose which of it the medium got nevertheless. */
#ifndef VV_TESTS_META_JOURNAL_SIM_H
#define VV_TESTS_META_JOURNAL_SIM_H

#include "journal.h"
#include "util.h"

#include <sys/types.h>

#define FIRST_OFFSET 4096u /* of a file's entries */

/* ---- a medium that forgets */

typedef struct {
    int fd; /* a duplicate, owned */
    ino_t inode;
    uint64_t offset;
    size_t length_bytes;
    uint8_t *before; /* owned */
    uint8_t *after;  /* owned */
} Write;

typedef enum { FAULT_NONE, FAULT_WRITE, FAULT_SYNC, FAULT_ALL } Fault;

typedef struct {
    GPtrArray *unsynced;      /* Write */
    GPtrArray *kept;          /* Write: what was synced goes here if not NULL */
    GHashTable *durable_ends; /* inode -> offset behind the entries that are durable in the file's present use */
    Fault fault;
    unsigned fault_after; /* operations of that kind that still succeed */
    int fault_errno;
    unsigned count_ops;
    unsigned count_syncs;
} Sim;

/* ---- fixture */

typedef struct {
    char *path;
    VvJournalIdentity identity;
    Sim sim;
    VvRunOps ops;
    VvJournal *journal;
    GPtrArray *bodies; /* GBytes; entry i + 1 as it was appended last */
    uint64_t replayed; /* the last index that replay gave, or what it began after */
} Fixture;

void write_free(void *data);
/* Let the medium have bytes [@from, @to) of a write, from @data. */
void sim_put(const Write *write, const uint8_t *data, uint64_t from, uint64_t to);
/* A new journal, open. */
void set_up(Fixture *f, gconstpointer data);
void tear_down(Fixture *f, gconstpointer data);
char *file_name(const Fixture *f, unsigned slot);
/* In the journal's directory. */
unsigned count_files(const Fixture *f);
/* A replay function for @user = Fixture: the next entry, as it was appended. */
bool compare_entry(void *user, uint64_t index, const uint8_t *body, size_t length_bytes, GError **error);
/* NULL and @error as vv_journal_open; every replayed body is compared. */
VvJournal *try_open(Fixture *f, uint64_t applied_index, bool read_only, GError **error);
/* Open as after a restart, with the next incarnation. */
void reopen_at(Fixture *f, uint64_t applied_index);
void reopen(Fixture *f);
/* Give up the open journal as a power failure does. Of each sector that was not synced the medium has what it had before,
 * or (@rand, by chance) what was written, or (@torn, one sector of all) a part of this and a part of that. */
void crash(Fixture *f, GRand *rand, bool torn);
/* One entry whose body nobody else has. */
int try_append(Fixture *f, size_t length_bytes);
void append(Fixture *f, size_t length_bytes);
void sync_all(Fixture *f);
/* @count entries of 1 MiB, seven to a file. */
void append_large(Fixture *f, unsigned count);

#endif
