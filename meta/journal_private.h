/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What journal.c (append, sync, files) and journal_replay.c (open) share. The design is on top of journal.c. */
#ifndef VV_JOURNAL_PRIVATE_H
#define VV_JOURNAL_PRIVATE_H

#include "codec.h"
#include "journal.h"
#include "limits.h"

#include <stdatomic.h>

#define JOURNAL_FORMAT 1u
/* Entries begin behind the header's block, so that no write of theirs ever touches it. */
#define JOURNAL_FIRST_OFFSET 4096u

/* ---- bytes; the tables are in journal.c */
#define JOURNAL_HEAD_BYTES 72u
#define JOURNAL_ENTRY_BYTES 56u
#define JOURNAL_ENTRY_ALIGN 8u
#define JOURNAL_ENTRY_BATCH (1u << 0) /* flag: the first of a sync batch, at a multiple of VV_SECTOR_BYTES */
#define JOURNAL_ENTRY_KIND_SHIFT 1u
#define JOURNAL_ENTRY_KINDS (3u << JOURNAL_ENTRY_KIND_SHIFT) /* a VvJournalKind: only in a log (journal_log.h) */

typedef struct {
    uint32_t format;
    uint32_t flags;
    VvUuid pool_uuid;
    uint64_t lineage;
    uint64_t number;       /* 1-based; 0: prepared, not in use yet */
    uint64_t first_index;  /* of the file's first entry */
    uint64_t incarnation;  /* that put the file to use */
    uint32_t previous_crc; /* of the entry before first_index; 0 before entry 1 */
} JournalHead;

typedef struct {
    uint32_t length_bytes; /* of the body */
    uint64_t index;
    uint64_t term;
    uint64_t incarnation;
    uint64_t durable_index;
    uint32_t previous_crc;
    uint32_t body_crc;
    uint32_t flags;
    uint32_t crc; /* of all this, and of the pool's UUID and lineage: what the next entry chains to */
} JournalEntry;

static inline uint64_t journal_align(uint64_t offset, uint64_t unit)
{
    return (offset + unit - 1) / unit * unit;
}

/* The place that entry of @length_bytes takes. */
static inline uint64_t journal_entry_space(uint64_t length_bytes)
{
    return journal_align(JOURNAL_ENTRY_BYTES + length_bytes, JOURNAL_ENTRY_ALIGN);
}

/* Where crcs of entries start, so that another pool's or lineage's never match. */
uint32_t vv_journal_seed(const VvJournalIdentity *identity);
void vv_journal_encode_head(const JournalHead *head, uint8_t out[JOURNAL_HEAD_BYTES]);
/* False: not a header, or its crc does not match. */
bool vv_journal_decode_head(const uint8_t in[JOURNAL_HEAD_BYTES], JournalHead *ret_head);
/* Sets entry->crc too. */
void vv_journal_encode_entry(uint32_t seed, JournalEntry *entry, uint8_t out[JOURNAL_ENTRY_BYTES]);
#define JOURNAL_ENTRY_MAGIC 0x454a5656u /* "VVJE" */
/* The header alone; the body is not looked at. */
bool vv_journal_decode_entry(uint32_t seed, const uint8_t in[JOURNAL_ENTRY_BYTES], JournalEntry *ret_entry);

/* ---- the open journal */
typedef struct {
    int fd;         /* owned; -1: no such file */
    bool good_head; /* the header decodes and is of this pool */
    uint64_t number;
    uint64_t first_index;
    uint32_t previous_crc;
    uint64_t incarnation;
    uint64_t size_bytes; /* of the file when it was opened */
    bool replaced;       /* J9: may hold entries that are not part of the log */
} JournalFile;

/* ---- journal_log.c: where entries are */
typedef struct {
    uint64_t index, offset;
    unsigned slot;
    uint32_t previous_crc;
} VvJournalMark;

typedef struct {
    uint64_t index; /* 0: none */
    uint64_t offset;
    unsigned slot;
    uint32_t crc; /* of the entry before */
} VvJournalCursor;

/* A piece of a file, read at once. It is of the file's use with this number; what is on the medium there does not change before the next. */
typedef struct {
    uint8_t *bytes; /* owned; NULL: none yet */
    uint64_t number, offset;
    size_t length_bytes;
} VvJournalWindow;

typedef struct {
    GArray *marks;        /* VvJournalMark, by index */
    VvJournalCursor next; /* behind the last read */
    GByteArray *body;     /* of the last read */
    VvJournalWindow window;
} VvJournalLog;

struct VvJournal {
    char *path; /* owned */
    VvJournalIdentity identity;
    VvRunOps ops;
    uint32_t seed;
    bool read_only;
    bool failed; /* J6 */
    int failed_errno; /* negative: of the first failure */
    JournalFile files[VV_JOURNAL_FILES_MAX];
    unsigned current;        /* the file that is appended to */
    uint64_t held_number;    /* files from this number on hold entries that are not released */
    uint64_t released_bytes; /* offset in the current file before which all is released */
    uint64_t appended_bytes; /* since the last release */
    uint8_t *buffer;         /* owned, page aligned: the bytes of the current file from buffer_offset on */
    uint64_t buffer_offset;  /* a multiple of VV_SECTOR_BYTES */
    uint64_t buffer_used_bytes;
    bool batch;   /* entries have been appended since the last sync */
    uint32_t crc; /* of the last entry */
    VvJournalLog *log; /* owned; NULL: entries are not read back */
    /* Written by the committer, read by anybody. */
    _Atomic uint64_t last_index;
    _Atomic uint64_t durable_index;
    _Atomic uint64_t count_syncs;
    _Atomic uint64_t used_bytes;
};

/* Nothing opened yet; @ops NULL: plain files. */
VvJournal *vv_journal_new(const char *path, const VvJournalIdentity *identity, const VvRunOps *ops);
/* "PATH/j-NNNNNNNN"; @new: with ".new" behind it. */
char *vv_journal_file_name(const char *path, unsigned slot, bool new_file);
/* Files with a number below held_number, with number 0 or without a good header hold nothing that is needed. */
static inline bool vv_journal_file_is_free(const VvJournal *journal, const JournalFile *file)
{
    return file->fd >= 0 && (!file->good_head || file->number < journal->held_number);
}
/* Zeroes from @from to the file's end, through the operations. */
int vv_journal_write_zeroes(const VvJournal *journal, int fd, uint64_t from);
void vv_journal_update_usage(VvJournal *journal);
/* Go on in another file, with entry @first_index, which follows one with this crc. -ENOSPC leaves everything as it was. */
int vv_journal_next_file(VvJournal *journal, uint64_t first_index, uint32_t previous_crc);
/* The next entry, of @term, with these flags. */
int vv_journal_append_as(
    VvJournal *journal, uint64_t term, uint32_t flags, const void *body, size_t length_bytes, uint64_t *ret_index);
/* ---- journal_log.c. In a log: an entry is there; files that are free (or used anew) are not read any more. */
void vv_journal_note(VvJournal *journal, unsigned slot, uint64_t offset, const JournalEntry *entry);
void vv_journal_forget_free(VvJournal *journal);
void vv_journal_log_free(VvJournalLog *log);

#endif
