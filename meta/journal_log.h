/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal as the log of a cluster: entries with a term and a kind, read back by index, a suffix of which may be replaced.
 *
 * Files and format are the journal's (journal.h). An entry that takes the place of an earlier one goes on in the next file, whose header
 * names its first index and the crc of the entry before: nothing durable is overwritten, so a crash leaves the old suffix, or the
 * log up to the new one.
 *   J7  A file's entries from the first index of any later file on are not part of the log; a file that begins with such is none.
 *   J8  No entry at or below the one that the store has applied is replaced (the caller's promise).
 *   J9  A file with replaced entries is zeroed before its header is written for another use: under a torn header they would look
 *       like entries that were lost (J5).
 *
 * Threads: as for the journal, one at a time in all of these. */
#ifndef VV_JOURNAL_LOG_H
#define VV_JOURNAL_LOG_H

#include "journal.h"

/* Numbers are on disk (flags of the entry). */
typedef enum {
    VV_JOURNAL_OPS = 0,     /* of a pool with one node */
    VV_JOURNAL_COMMAND = 1, /* the cluster's */
    VV_JOURNAL_BARRIER = 2,
    VV_JOURNAL_CHANGE = 3, /* of members */
} VvJournalKind;

typedef struct {
    uint64_t index;
    uint64_t term; /* not 0 */
    VvJournalKind kind;
    const void *body; /* of get: borrowed until the next call */
    size_t length_bytes; /* at most VV_ENTRY_BYTES_MAX (asserted) */
} VvJournalItem;

/* As vv_journal_open, but nothing is replayed: entries behind @applied_index are there to be read. */
VvJournal *vv_journal_open_log(const char *path, const VvJournalIdentity *identity, uint64_t applied_index, bool read_only,
    const VvRunOps *ops, GError **error);
/* The open journal of a pool that had one node becomes a log: entries from now on can be read. */
void vv_journal_make_log(VvJournal *journal);

/* @item->index is the next one, or an earlier one: then that and all behind it go. Kind and term not 0 (asserted). Not durable yet.
 * 0; -ENODATA: the entry before it cannot be found; else as vv_journal_append. */
int vv_journal_put(VvJournal *journal, const VvJournalItem *item);
/* 0; -ENODATA: not (or not any more) in the log; -EUCLEAN: not what was written; -EIO. */
int vv_journal_get(VvJournal *journal, uint64_t index, VvJournalItem *ret_item);
/* The first that can be read; last + 1 if none can. */
uint64_t vv_journal_first_index(VvJournal *journal);
/* The first of those that take the last @bytes of the log, or fewer by what a mark is exact to; last + 1 if none can be read. */
uint64_t vv_journal_recent_index(VvJournal *journal, uint64_t bytes);

#endif
