/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where entries are, so that they can be read back, and what replacing a suffix takes.
 *
 * A mark is made for the first entry of a file and every JOURNAL_MARK_BYTES of it: {index, file, offset, crc of the entry before}. From the
 * newest mark at or below an index the entries are followed and verified as replay does it; who reads in order goes on where the
 * last read ended. Marks ascend by index; those of replaced entries and of files that are free are dropped. */
#include "journal_log.h"

#include "error.h"
#include "journal_private.h"

#include <errno.h>
#include <string.h>

#define JOURNAL_WINDOW_BYTES (64u << 10) /* read at once */
#define JOURNAL_MARK_BYTES (64u << 10) /* read at most to find an entry; a full journal has 2,048 marks of 32 bytes */

static VvJournalMark *mark_at(const VvJournalLog *log, unsigned i)
{
    return &g_array_index(log->marks, VvJournalMark, i);
}

void vv_journal_make_log(VvJournal *journal)
{
    g_assert(journal->log == NULL);
    journal->log = g_new0(VvJournalLog, 1);
    journal->log->marks = g_array_new(FALSE, FALSE, sizeof(VvJournalMark));
    journal->log->body = g_byte_array_new();
}

void vv_journal_log_free(VvJournalLog *log)
{
    if (log == NULL)
        return;
    g_array_unref(log->marks);
    g_byte_array_unref(log->body);
    g_free(log->window.bytes);
    g_free(log);
}

void vv_journal_note(VvJournal *journal, unsigned slot, uint64_t offset, const JournalEntry *entry)
{
    VvJournalLog *log = journal->log;
    VvJournalMark mark = { .index = entry->index, .offset = offset, .slot = slot, .previous_crc = entry->previous_crc };

    if (log == NULL || (entry->flags & JOURNAL_ENTRY_KINDS) == 0)
        return;
    if (log->marks->len > 0) {
        const VvJournalMark *last = mark_at(log, log->marks->len - 1);

        g_assert(last->index < entry->index);
        if (last->slot == slot && offset - last->offset < JOURNAL_MARK_BYTES)
            return;
    }
    g_array_append_val(log->marks, mark);
}

void vv_journal_forget_free(VvJournal *journal)
{
    VvJournalLog *log = journal->log;
    unsigned count = 0;

    if (log == NULL)
        return;
    while (count < log->marks->len && journal->files[mark_at(log, count)->slot].number < journal->held_number)
        count++;
    if (count == 0)
        return;
    g_array_remove_range(log->marks, 0, count);
    log->next.index = 0;
}

/* ---- reading */

/* From the file, whose bytes up to @end_offset are there for good. Entries are small and read in order: one call of the system for many. */
static int read_file(const VvJournal *journal, unsigned slot, uint64_t offset, uint8_t *data, size_t length_bytes, uint64_t end_offset)
{
    const JournalFile *file = &journal->files[slot];
    VvJournalWindow *window = &journal->log->window;

    if (length_bytes > JOURNAL_WINDOW_BYTES)
        return vv_pread_full(file->fd, data, length_bytes, offset);
    if (window->number != file->number || offset < window->offset || offset + length_bytes > window->offset + window->length_bytes) {
        size_t window_bytes = (size_t) MIN(end_offset - offset, JOURNAL_WINDOW_BYTES);

        if (window->bytes == NULL)
            window->bytes = g_malloc(JOURNAL_WINDOW_BYTES);
        window->length_bytes = 0;
        if (vv_pread_full(file->fd, window->bytes, window_bytes, offset) != 0) /* it may be shorter, or bad further on */
            return vv_pread_full(file->fd, data, length_bytes, offset);
        window->number = file->number;
        window->offset = offset;
        window->length_bytes = window_bytes;
    }
    memcpy(data, window->bytes + (offset - window->offset), length_bytes);
    return 0;
}

/* Bytes of a file as they are or will be: the end of the current one may be in the buffer only. */
static int read_bytes(const VvJournal *journal, unsigned slot, uint64_t offset, uint8_t *data, size_t length_bytes)
{
    uint64_t end = offset + length_bytes, end_offset;
    size_t from_file = length_bytes;
    int err;

    if (end > VV_JOURNAL_FILE_BYTES)
        return -ENODATA;
    if (slot == journal->current && end > journal->buffer_offset)
        from_file = offset < journal->buffer_offset ? (size_t) (journal->buffer_offset - offset) : 0;
    end_offset = slot == journal->current ? journal->buffer_offset : VV_JOURNAL_FILE_BYTES;
    if (from_file > 0 && (err = read_file(journal, slot, offset, data, from_file, end_offset)) != 0)
        return err;
    if (from_file == length_bytes)
        return 0;
    offset += from_file;
    if (end > journal->buffer_offset + journal->buffer_used_bytes)
        return -ENODATA;
    memcpy(data + from_file, journal->buffer + (offset - journal->buffer_offset), length_bytes - from_file);
    return 0;
}

static int read_head(const VvJournal *journal, const VvJournalCursor *at, uint64_t offset, JournalEntry *ret_entry)
{
    uint8_t bytes[JOURNAL_ENTRY_BYTES];
    int err = read_bytes(journal, at->slot, offset, bytes, sizeof bytes);

    if (err != 0)
        return err;
    if (!vv_journal_decode_entry(journal->seed, bytes, ret_entry) || ret_entry->index != at->index ||
        ret_entry->previous_crc != at->crc || ret_entry->length_bytes > VV_ENTRY_BYTES_MAX)
        return -EUCLEAN;
    return (ret_entry->flags & JOURNAL_ENTRY_BATCH) != 0 && offset % VV_SECTOR_BYTES != 0 ? -EUCLEAN : 0;
}

/* The entry at the cursor, which is right behind the one before or, if it begins a batch, in the next sector. */
static int find_entry(const VvJournal *journal, VvJournalCursor *at, JournalEntry *ret_entry)
{
    uint64_t sector = journal_align(at->offset, VV_SECTOR_BYTES);
    int err = read_head(journal, at, at->offset, ret_entry);

    if (err == 0 || sector == at->offset || err == -EIO)
        return err == -ENODATA ? -EUCLEAN : err;
    err = read_head(journal, at, sector, ret_entry);
    if (err != 0 || (ret_entry->flags & JOURNAL_ENTRY_BATCH) == 0)
        return err == -EIO ? err : -EUCLEAN;
    at->offset = sector;
    return 0;
}

/* Where to begin; false: it is not in the log. */
static bool begin_at(const VvJournalLog *log, uint64_t index, VvJournalCursor *ret_at)
{
    unsigned low = 0, high = log->marks->len;
    const VvJournalMark *mark;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (mark_at(log, middle)->index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    mark = mark_at(log, low - 1);
    *ret_at = (VvJournalCursor){ .index = mark->index, .offset = mark->offset, .slot = mark->slot, .crc = mark->previous_crc };
    /* The last read ended nearer, and in the same file. */
    if (log->next.index > mark->index && log->next.index <= index && log->next.slot == mark->slot)
        *ret_at = log->next;
    return true;
}

static void step(VvJournalCursor *at, const JournalEntry *entry)
{
    at->index++;
    at->crc = entry->crc;
    at->offset += journal_entry_space(entry->length_bytes);
}

/* *ret_at: of this entry. */
static int seek_entry(VvJournal *journal, uint64_t index, VvJournalCursor *ret_at, JournalEntry *ret_entry)
{
    int err;

    if (index > journal->last_index || !begin_at(journal->log, index, ret_at))
        return -ENODATA;
    while ((err = find_entry(journal, ret_at, ret_entry)) == 0 && ret_at->index < index)
        step(ret_at, ret_entry);
    return err;
}

int vv_journal_get(VvJournal *journal, uint64_t index, VvJournalItem *ret_item)
{
    VvJournalLog *log = journal->log;
    VvJournalCursor at;
    JournalEntry entry;
    int err = seek_entry(journal, index, &at, &entry);

    if (err != 0)
        return err;
    g_byte_array_set_size(log->body, entry.length_bytes);
    if (entry.length_bytes > 0)
        err = read_bytes(journal, at.slot, at.offset + JOURNAL_ENTRY_BYTES, log->body->data, entry.length_bytes);
    if (err != 0)
        return err == -EIO ? err : -EUCLEAN;
    if (entry.body_crc != vv_crc32c(0, log->body->data, entry.length_bytes))
        return -EUCLEAN;
    step(&at, &entry);
    log->next = at;
    *ret_item = (VvJournalItem){ .index = index,
        .term = entry.term,
        .kind = (VvJournalKind) ((entry.flags & JOURNAL_ENTRY_KINDS) >> JOURNAL_ENTRY_KIND_SHIFT),
        .body = log->body->data,
        .length_bytes = entry.length_bytes };
    return 0;
}

uint64_t vv_journal_first_index(VvJournal *journal)
{
    return journal->log->marks->len > 0 ? mark_at(journal->log, 0)->index : journal->last_index + 1;
}

uint64_t vv_journal_recent_index(VvJournal *journal, uint64_t bytes)
{
    const VvJournalLog *log = journal->log;
    uint64_t index = journal->last_index + 1, taken = 0;

    for (unsigned i = log->marks->len; i-- > 0;) {
        const VvJournalMark *mark = mark_at(log, i), *next = i + 1 < log->marks->len ? mark_at(log, i + 1) : NULL;
        uint64_t end = VV_JOURNAL_FILE_BYTES; /* the rest of a file is gone with it */

        if (next != NULL && next->slot == mark->slot)
            end = next->offset;
        else if (next == NULL)
            end = journal->buffer_offset + journal->buffer_used_bytes;
        taken += end - MIN(mark->offset, end);
        if (taken > bytes)
            break;
        index = mark->index;
    }
    return index;
}

/* ---- replacing a suffix */

static int crc_before(VvJournal *journal, uint64_t index, uint32_t *ret_crc)
{
    VvJournalLog *log = journal->log;
    VvJournalCursor at;
    JournalEntry entry;
    int err;

    if (begin_at(log, index, &at) && at.index == index) {
        *ret_crc = at.crc;
        return 0;
    }
    err = seek_entry(journal, index - 1, &at, &entry);
    if (err == 0)
        *ret_crc = entry.crc;
    return err;
}

/* Where the entry is, and all files behind that one. */
static void mark_replaced(VvJournal *journal, uint64_t index)
{
    VvJournalCursor at;
    uint64_t from = begin_at(journal->log, index, &at) ? journal->files[at.slot].number : 0;

    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        JournalFile *file = &journal->files[i];

        if (file->fd >= 0 && file->good_head && file->number >= from && i != journal->current)
            file->replaced = true;
    }
}

static int cut(VvJournal *journal, uint64_t index)
{
    VvJournalLog *log = journal->log;
    unsigned kept = log->marks->len;
    uint32_t crc = 0;
    int err = crc_before(journal, index, &crc);

    if (err == 0)
        err = vv_journal_next_file(journal, index, crc);
    if (err != 0)
        return err;
    mark_replaced(journal, index);
    while (kept > 0 && mark_at(log, kept - 1)->index >= index)
        kept--;
    g_array_set_size(log->marks, kept);
    log->next.index = 0;
    journal->last_index = index - 1;
    journal->durable_index = index - 1;
    journal->crc = crc;
    vv_journal_update_usage(journal);
    return 0;
}

int vv_journal_put(VvJournal *journal, const VvJournalItem *item)
{
    uint64_t index;
    int err;

    g_assert(journal->log != NULL && item->term != 0 && item->kind != VV_JOURNAL_OPS);
    g_assert(item->index >= 1 && item->index <= journal->last_index + 1);
    if (journal->read_only)
        return -EROFS;
    if (journal->failed)
        return -EIO;
    if (item->index <= journal->last_index && (err = cut(journal, item->index)) != 0)
        return err;
    return vv_journal_append_as(
        journal, item->term, (uint32_t) item->kind << JOURNAL_ENTRY_KIND_SHIFT, item->body, item->length_bytes, &index);
}
