/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal: preallocated, recycled files of chained entries. What entries mean is apply.c's affair.
 *
 * Files "j-NNNNNNNN" of VV_JOURNAL_FILE_BYTES in one directory, behind a table of operations (VvRunOps: number, size,
 * write, sync), so that they can live on disks later and faults can be put in. A file begins with a header
 * {magic, format, pool UUID, lineage, number, first index, crc}; the rest is entries, never split over files.
 * Entry: {magic, length, index, term, incarnation, crc of the previous entry, durable index when written, crc of the
 * body, crc of this header}, body, zeroes to 8 bytes. Offsets: see the tables in journal.c and docs/format.md.
 *
 * Replay accepts only a chain. A bad entry at or below a durable index that a later valid entry of this pool and
 * lineage (with a higher index than the bad one) tells is damage: open fails and names file, offset and index.
 * Otherwise it is a torn tail: the journal ends before it.
 *
 * Threads: append, sync and release are called by one thread at a time (the committer), usage by any. */
#ifndef VV_JOURNAL_H
#define VV_JOURNAL_H

#include "util.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VvJournal VvJournal;

typedef struct {
    VvUuid pool_uuid;
    uint64_t lineage;     /* changes when a pool is restored from elsewhere; entries of another lineage do not chain */
    uint64_t incarnation; /* raised durably (in the store) by the caller before open */
    uint64_t term;        /* 0 on a single node */
} VvJournalIdentity;

/* The files' operations; NULL in open means plain files. All 0 or -errno. */
typedef struct {
    int (*write)(void *user, int fd, const void *data, size_t length_bytes, uint64_t offset);
    int (*sync)(void *user, int fd); /* fdatasync */
    void *user;
} VvRunOps;
extern const VvRunOps vv_run_ops_plain;

/* Called for each entry with index > @applied_index, in order. A false return stops open with that error. */
typedef bool (*VvJournalReplayFunc)(void *user, uint64_t index, const uint8_t *body, size_t length_bytes,
                                    GError **error);

/* Make the first two files in the existing, empty directory @path. First index is 1. */
bool vv_journal_create(const char *path, const VvJournalIdentity *identity, GError **error);
/* The same for a map that holds all entries before @first_index. */
bool vv_journal_create_at(const char *path, const VvJournalIdentity *identity, uint64_t first_index, GError **error);

/* Replay, then be ready to append after the last good entry. @applied_index: what the store holds; entries up to it
 * may be missing, but the chain must reach it or begin right after it (else: damaged).
 * @read_only: replay only (append refused, nothing written). Errors: damaged, io, unsupported (newer format). */
VvJournal *vv_journal_open(const char *path, const VvJournalIdentity *identity, uint64_t applied_index,
                           bool read_only, const VvRunOps *ops, VvJournalReplayFunc replay, void *user,
                           GError **error);
void vv_journal_close(VvJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvJournal, vv_journal_close)

/* Put one entry behind the others, not durable yet. @length_bytes at most VV_ENTRY_BYTES_MAX (asserted). May make or
 * recycle a file.
 * Returns 0; -ENOSPC when VV_JOURNAL_FILES_MAX files are unreleased (checkpoint, then try again) or the file system is
 * full; -EIO. After -EIO every later append and sync returns -EIO: the journal has stopped. */
int vv_journal_append(VvJournal *journal, const void *body, size_t length_bytes, uint64_t *ret_index);
/* Would an ordinary entry of @length_bytes leave VV_JOURNAL_KEPT_BYTES for those that free something? A file is made for that if it can
 * be. 0, -ENOSPC, -EIO. */
int vv_journal_keep_room(VvJournal *journal, size_t length_bytes);
/* One fdatasync of each file written since the last (one, save where a batch crosses files). On 0 everything appended
 * before the call is durable. -EIO stops the journal (a failed sync is never retried). */
int vv_journal_sync(VvJournal *journal);
/* The front of the buffer that entries are written from stays in memory. Bytes. */
size_t vv_journal_lock_memory(VvJournal *journal, size_t bytes);
/* Entries up to @index are in the store: files that hold only such may be recycled. */
void vv_journal_release(VvJournal *journal, uint64_t index);

uint64_t vv_journal_last_index(VvJournal *journal);
uint64_t vv_journal_durable_index(VvJournal *journal);
/* Bytes of entries not yet released and the most there can be: the checkpointer starts at half. */
void vv_journal_usage(VvJournal *journal, uint64_t *ret_used_bytes, uint64_t *ret_max_bytes);
/* 0, or the -errno of the write or sync that stopped it. */
int vv_journal_error(const VvJournal *journal);
/* Completed vv_journal_sync calls that reached a disk. */
uint64_t vv_journal_sync_count(VvJournal *journal);

#endif
