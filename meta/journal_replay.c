/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening a journal: find its files, follow the chain, tell a torn tail from damage, make ready to append. Layout and
 * invariants are on top of journal.c.
 *
 *     1. headers   Read every file's header. The chain starts in the newest file whose first entry is at most
 *                  applied + 1 (older files hold nothing that the store lacks) and goes through the following numbers.
 *     2. chain     Follow the entries; hand those above applied to the caller. An older file must end where the next one
 *                  begins (J2).
 *     3. the end   Behind the chain's end in the newest file, an entry header that proves the missing entry durable (J4)
 *                  makes it damage; so does an entry that the chain lacks under a bad header (J5); so does a chain that
 *                  ends before applied. Otherwise the journal ends there.
 *     4. repair    Sync the folder (J10). Bring files to full length; write the newest header and last batch once more, with zeroes up
 *                  to the next sector, and sync (J6). A process that dies leaves entries that are in the page cache only, and after
 *                  a failed sync even a successful one says nothing about them. */
#include "journal.h"

#include "codec.h"
#include "error.h"
#include "journal_log.h"
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_SLOT VV_JOURNAL_FILES_MAX

typedef struct {
    VvJournal *journal; /* borrowed */
    uint8_t *image;     /* owned: VV_JOURNAL_FILE_BYTES, zeroes behind image_bytes */
    uint64_t applied_index;
    VvJournalReplayFunc replay;
    void *user;
    size_t image_bytes;          /* of the file in the image */
    unsigned image_slot;         /* of the file in the image; NO_SLOT: none */
    unsigned slot;               /* of the file being read */
    uint64_t next_index;         /* the chain's next entry */
    uint32_t crc;                /* of its last entry */
    uint64_t incarnation;        /* of its last entry */
    uint64_t offset_bytes;       /* behind its last entry */
    uint64_t batch_offset_bytes; /* of its last batch; 0: none in this file */
    uint64_t
        missing_offset_bytes; /* where the next entry should be: at once or, if zeroes follow, in the next sector */
} Walk;

static char *slot_name(const VvJournal *journal, unsigned slot)
{
    return vv_journal_file_name(journal->path, slot, false);
}

/* ---- 1. headers */

/* Up to @length_bytes from the file's start. 0 or -errno. */
static int read_file(int fd, uint8_t *data, size_t length_bytes, size_t *ret_bytes)
{
    size_t done_bytes = 0;

    while (done_bytes < length_bytes) {
        ssize_t got = pread(fd, data + done_bytes, length_bytes - done_bytes, (off_t) done_bytes);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done_bytes += (size_t) got;
    }
    *ret_bytes = done_bytes;
    return 0;
}

/* A good header of another format, pool or lineage is no damage but a mistake: refuse. */
static bool check_head(const VvJournal *journal, const char *name, const JournalHead *head, GError **error)
{
    g_autofree char *theirs = vv_uuid_format(&head->pool_uuid);
    g_autofree char *ours = vv_uuid_format(&journal->identity.pool_uuid);

    if (head->format != JOURNAL_FORMAT || head->flags != 0) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, name, NULL,
            "journal file %s: format %u with flags 0x%x; this version knows format %u", name, head->format, head->flags,
            JOURNAL_FORMAT);
        return false;
    }
    if (!vv_uuid_equal(&head->pool_uuid, &journal->identity.pool_uuid)) {
        vv_set_error(
            error, VV_ERROR_CONFLICT, name, NULL, "journal file %s: belongs to pool %s, not to %s", name, theirs, ours);
        return false;
    }
    if (head->lineage != journal->identity.lineage) {
        vv_set_error(error, VV_ERROR_CONFLICT, name, NULL,
            "journal file %s: belongs to lineage %" G_GUINT64_FORMAT " of the pool, not to %" G_GUINT64_FORMAT, name,
            head->lineage, journal->identity.lineage);
        return false;
    }
    return true;
}

static bool open_file(VvJournal *journal, unsigned slot, GError **error)
{
    g_autofree char *name = slot_name(journal, slot);
    JournalFile *file = &journal->files[slot];
    uint8_t bytes[JOURNAL_HEAD_BYTES] = { 0 };
    size_t count_bytes;
    JournalHead head;
    struct stat st;
    int err;

    file->fd = open(name, (journal->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (file->fd < 0 && errno == ENOENT)
        return true;
    err = file->fd < 0 || fstat(file->fd, &st) != 0 ? -errno : read_file(file->fd, bytes, sizeof bytes, &count_bytes);
    if (err != 0) {
        vv_set_error_errno(error, err, name, "journal file %s", name);
        return false;
    }
    file->size_bytes = (uint64_t) st.st_size;
    if (!vv_journal_decode_head(bytes, &head))
        return true;
    if (!check_head(journal, name, &head, error))
        return false;
    file->good_head = true;
    file->number = head.number;
    file->first_index = head.first_index;
    file->previous_crc = head.previous_crc;
    file->incarnation = head.incarnation;
    return true;
}

/* Nobody but who has a copy can mend this: what the map lacks was in there. */
static void set_absent_error(const VvJournal *journal, const char *what, GError **error)
{
    vv_set_error(error, VV_ERROR_NOT_FOUND, journal->path,
        "Put it back as it was: an older copy does not fit what the disks hold now.",
        "the folder %s %s: it holds the newest changes, and without them the pool cannot be opened", journal->path,
        what);
}

/* A file that this version would not look at may hold entries; one that was never finished holds none. */
static bool check_names(const VvJournal *journal, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(journal->path, 0, NULL);
    const char *name;

    if (dir == NULL) {
        if (g_file_test(journal->path, G_FILE_TEST_IS_DIR))
            vv_set_error_errno(error, EACCES, journal->path, "the folder %s cannot be read", journal->path);
        else
            set_absent_error(
                journal, g_file_test(journal->path, G_FILE_TEST_EXISTS) ? "is no folder" : "is missing", error);
        return false;
    }
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(journal->path, name, NULL);
        char *end = NULL;

        if (!g_str_has_prefix(name, "j-"))
            continue;
        if (g_str_has_suffix(name, ".new")) {
            if (!journal->read_only)
                unlink(path);
        } else if (g_ascii_strtoull(name + 2, &end, 10) >= VV_JOURNAL_FILES_MAX && *end == '\0') {
            vv_set_error(error, VV_ERROR_UNSUPPORTED, path, NULL, "journal file %s: this version uses at most %u files",
                path, VV_JOURNAL_FILES_MAX);
            return false;
        }
    }
    return true;
}

/* The file in use with this number, or NO_SLOT; more than one is damage. */
static bool find_slot(const VvJournal *journal, uint64_t number, unsigned *ret_slot, GError **error)
{
    *ret_slot = NO_SLOT;
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        const JournalFile *file = &journal->files[i];
        g_autofree char *name = NULL;

        if (file->fd < 0 || !file->good_head || file->number != number)
            continue;
        if (*ret_slot != NO_SLOT) {
            name = slot_name(journal, i);
            vv_set_error(error, VV_ERROR_DAMAGED, name, NULL,
                "journal file %s: number %" G_GUINT64_FORMAT " is used by file %u too", name, number, *ret_slot);
            return false;
        }
        *ret_slot = i;
    }
    return true;
}

/* The name of the first file with a bad header, for messages; NULL if all are good. */
static char *bad_head_name(const VvJournal *journal)
{
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        if (journal->files[i].fd >= 0 && !journal->files[i].good_head)
            return slot_name(journal, i);
    }
    return NULL;
}

static void set_missing_error(const VvJournal *journal, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Something of the journal is not there; a bad header, if there is one, says why. */
static void set_missing_error(const VvJournal *journal, GError **error, const char *format, ...)
{
    g_autofree char *bad = bad_head_name(journal);
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    if (bad != NULL)
        vv_set_error(error, VV_ERROR_DAMAGED, bad, NULL, "journal file %s: damaged header at offset 0; %s", bad, text);
    else
        vv_set_error(error, VV_ERROR_DAMAGED, journal->path, NULL, "journal %s: %s", journal->path, text);
}

/* Where the chain starts, and the newest file. */
static bool find_ends(const Walk *walk, uint64_t *ret_first, uint64_t *ret_last, GError **error)
{
    const VvJournal *journal = walk->journal;
    uint64_t first = 0, last = 0, oldest_index = UINT64_MAX;
    bool any = false;

    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        const JournalFile *file = &journal->files[i];

        any = any || file->fd >= 0;
        if (file->fd < 0 || !file->good_head || file->number == 0)
            continue;
        last = MAX(last, file->number);
        oldest_index = MIN(oldest_index, file->first_index);
        if (file->first_index <= walk->applied_index + 1)
            first = MAX(first, file->number);
    }
    if (!any) {
        set_absent_error(journal, "has no journal files", error);
        return false;
    }
    if (first == 0 && last == 0)
        set_missing_error(journal, error, "no file is in use");
    else if (first == 0)
        set_missing_error(journal, error,
            "the oldest entry is %" G_GUINT64_FORMAT ", but the store holds entries only up to %" G_GUINT64_FORMAT,
            oldest_index, walk->applied_index);
    *ret_first = first;
    *ret_last = last;
    return first != 0;
}

/* ---- 2. chain */

static bool load_image(Walk *walk, unsigned slot, GError **error)
{
    VvJournal *journal = walk->journal;
    g_autofree char *name = slot_name(journal, slot);
    size_t bytes = walk->image_bytes;
    int err = read_file(journal->files[slot].fd, walk->image, VV_JOURNAL_FILE_BYTES, &bytes);

    if (bytes < walk->image_bytes)
        memset(walk->image + bytes, 0, walk->image_bytes - bytes);
    walk->image_bytes = bytes;
    walk->image_slot = err == 0 ? slot : NO_SLOT;
    if (err != 0) {
        vv_set_error_errno(error, err, name, "journal file %s", name);
        return false;
    }
    return true;
}

/* Does the chain go on at @offset? */
static bool chains(const Walk *walk, uint64_t offset, JournalEntry *ret_entry)
{
    uint64_t left_bytes;

    if (offset + JOURNAL_ENTRY_BYTES > VV_JOURNAL_FILE_BYTES)
        return false;
    left_bytes = VV_JOURNAL_FILE_BYTES - offset - JOURNAL_ENTRY_BYTES;
    if (!vv_journal_decode_entry(walk->journal->seed, walk->image + offset, ret_entry))
        return false;
    if (ret_entry->index != walk->next_index || ret_entry->previous_crc != walk->crc ||
        ret_entry->incarnation < walk->incarnation || ret_entry->durable_index >= ret_entry->index)
        return false;
    if (ret_entry->length_bytes > VV_ENTRY_BYTES_MAX || ret_entry->length_bytes > left_bytes)
        return false;
    return ret_entry->body_crc == vv_crc32c(0, walk->image + offset + JOURNAL_ENTRY_BYTES, ret_entry->length_bytes);
}

/* The next entry is right behind the last one, or begins a batch in the next sector. */
static bool find_entry(const Walk *walk, uint64_t *ret_offset, JournalEntry *ret_entry)
{
    uint64_t sector = journal_align(walk->offset_bytes, VV_SECTOR_BYTES);

    *ret_offset = walk->offset_bytes;
    if (chains(walk, walk->offset_bytes, ret_entry) &&
        ((ret_entry->flags & JOURNAL_ENTRY_BATCH) == 0 || sector == walk->offset_bytes))
        return true;
    *ret_offset = sector;
    return chains(walk, sector, ret_entry) && (ret_entry->flags & JOURNAL_ENTRY_BATCH) != 0;
}

static uint64_t find_missing(const Walk *walk)
{
    uint64_t sector = journal_align(walk->offset_bytes, VV_SECTOR_BYTES);

    for (uint64_t offset = walk->offset_bytes; offset < sector; offset++) {
        if (walk->image[offset] != 0)
            return walk->offset_bytes;
    }
    return sector;
}

/* Follow the chain in the loaded file, up to entry @end_index, which is in the next one. */
static bool follow(Walk *walk, uint64_t end_index, GError **error)
{
    JournalEntry entry;
    uint64_t offset;

    while (walk->next_index < end_index && find_entry(walk, &offset, &entry)) {
        if ((entry.flags & ~(JOURNAL_ENTRY_BATCH | (walk->journal->log != NULL ? JOURNAL_ENTRY_KINDS : 0))) != 0) {
            g_autofree char *name = slot_name(walk->journal, walk->slot);

            vv_set_error(error, VV_ERROR_UNSUPPORTED, name, NULL,
                "journal file %s: entry %" G_GUINT64_FORMAT " at offset %" G_GUINT64_FORMAT " has unknown flags 0x%x",
                name, entry.index, offset, entry.flags);
            return false;
        }
        vv_journal_note(walk->journal, walk->slot, offset, &entry);
        if (entry.index > walk->applied_index && walk->replay != NULL &&
            !walk->replay(
                walk->user, entry.index, walk->image + offset + JOURNAL_ENTRY_BYTES, entry.length_bytes, error))
            return false;
        if ((entry.flags & JOURNAL_ENTRY_BATCH) != 0)
            walk->batch_offset_bytes = offset;
        walk->next_index = entry.index + 1;
        walk->crc = entry.crc;
        walk->incarnation = entry.incarnation;
        walk->offset_bytes = offset + journal_entry_space(entry.length_bytes);
    }
    walk->missing_offset_bytes = find_missing(walk);
    return true;
}

static void set_entry_error(const Walk *walk, const char *why, GError **error)
{
    g_autofree char *name = slot_name(walk->journal, walk->slot);

    vv_set_error(error, VV_ERROR_DAMAGED, name, NULL,
        "journal file %s: entry %" G_GUINT64_FORMAT " at offset %" G_GUINT64_FORMAT " is damaged: %s", name,
        walk->next_index, walk->missing_offset_bytes, why);
}

static void begin_file(Walk *walk, unsigned slot)
{
    walk->slot = slot;
    walk->offset_bytes = JOURNAL_FIRST_OFFSET;
    walk->batch_offset_bytes = 0;
}

/* The first index that a file with a number above @number and up to @last begins with (J7): what is left of the log before it. */
static uint64_t find_end(const VvJournal *journal, uint64_t number, uint64_t last)
{
    uint64_t end = UINT64_MAX;

    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        const JournalFile *file = &journal->files[i];

        if (file->fd >= 0 && file->good_head && file->number > number && file->number <= last)
            end = MIN(end, file->first_index);
    }
    return end;
}

static void set_gap_error(const Walk *walk, unsigned next, GError **error)
{
    g_autofree char *name = slot_name(walk->journal, next);
    g_autofree char *why = g_strdup_printf("file %s, which follows, begins with entry %" G_GUINT64_FORMAT, name,
        walk->journal->files[next].first_index);

    set_entry_error(walk, why, error);
}

/* The file in the walk, up to entry @end of the file @next. */
static bool follow_to(Walk *walk, unsigned next, uint64_t end, GError **error)
{
    const JournalFile *following = &walk->journal->files[next];
    JournalEntry entry;
    uint64_t offset;

    if (!load_image(walk, walk->slot, error) || !follow(walk, end, error))
        return false;
    if (walk->next_index != following->first_index || walk->crc != following->previous_crc) {
        set_gap_error(walk, next, error);
        return false;
    }
    if (walk->journal->log != NULL && find_entry(walk, &offset, &entry))
        walk->journal->files[walk->slot].replaced = true; /* J9 */
    walk->incarnation = MAX(walk->incarnation, following->incarnation);
    begin_file(walk, next);
    return true;
}

/* All files but the newest. In a log those are skipped that a later one has replaced from their first entry on. */
static bool follow_older(Walk *walk, uint64_t first, uint64_t last, GError **error)
{
    const VvJournal *journal = walk->journal;
    unsigned slot, next;

    if (!find_slot(journal, first, &slot, error))
        return false;
    begin_file(walk, slot);
    walk->next_index = journal->files[slot].first_index;
    walk->crc = journal->files[slot].previous_crc;
    walk->incarnation = journal->files[slot].incarnation;
    for (uint64_t number = first; number < last; number++) {
        if (!find_slot(journal, number + 1, &next, error))
            return false;
        if (next == NO_SLOT) {
            set_missing_error(journal, error,
                "file number %" G_GUINT64_FORMAT " is missing between %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT,
                number + 1, number, last);
            return false;
        }
        if (journal->log != NULL && journal->files[next].first_index >= find_end(journal, number + 1, last)) {
            walk->journal->files[next].replaced = true;
            continue;
        }
        if (!follow_to(walk, next, journal->files[next].first_index, error))
            return false;
    }
    return true;
}

/* ---- 3. the end */

/* The first valid entry header at or behind *offset; moves *offset there. */
static bool scan(const Walk *walk, uint64_t *offset, JournalEntry *ret_entry)
{
    for (; *offset + JOURNAL_ENTRY_BYTES <= walk->image_bytes; *offset += JOURNAL_ENTRY_ALIGN) {
        if (vv_get_u32(walk->image + *offset) == JOURNAL_ENTRY_MAGIC &&
            vv_journal_decode_entry(walk->journal->seed, walk->image + *offset, ret_entry))
            return true;
    }
    return false;
}

/* J4: does an entry behind the chain's end prove that the entry missing there was durable? */
static bool proves_damage(const Walk *walk, JournalEntry *ret_entry, uint64_t *ret_offset)
{
    *ret_offset = walk->offset_bytes;
    for (; scan(walk, ret_offset, ret_entry); *ret_offset += JOURNAL_ENTRY_ALIGN) {
        if (ret_entry->index > walk->next_index && ret_entry->durable_index >= walk->next_index)
            return true;
    }
    return false;
}

static bool follow_newest(Walk *walk, GError **error)
{
    g_autofree char *why = NULL;
    JournalEntry entry;
    uint64_t offset = 0, index;

    /* Beside a living writer the file is not read all at once: what was not there yet is looked at again. */
    do {
        index = walk->next_index;
        if (!load_image(walk, walk->slot, error) || !follow(walk, UINT64_MAX, error))
            return false;
        if (!proves_damage(walk, &entry, &offset))
            return true;
    } while (walk->journal->read_only && walk->next_index > index);
    why = g_strdup_printf(
        "entry %" G_GUINT64_FORMAT " at offset %" G_GUINT64_FORMAT " says that it was durable", entry.index, offset);
    set_entry_error(walk, why, error);
    return false;
}

/* J5. Loads other files into the image. */
static bool check_bad_heads(Walk *walk, GError **error)
{
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        g_autofree char *name = NULL;
        JournalEntry entry;

        if (walk->journal->files[i].fd < 0 || walk->journal->files[i].good_head)
            continue;
        if (!load_image(walk, i, error))
            return false;
        for (uint64_t offset = JOURNAL_FIRST_OFFSET; scan(walk, &offset, &entry); offset += JOURNAL_ENTRY_ALIGN) {
            if (entry.index < walk->next_index || entry.incarnation < walk->incarnation)
                continue;
            name = slot_name(walk->journal, i);
            vv_set_error(error, VV_ERROR_DAMAGED, name, NULL,
                "journal file %s: damaged header at offset 0; it holds entry %" G_GUINT64_FORMAT
                " at offset %" G_GUINT64_FORMAT ", the other files end before entry %" G_GUINT64_FORMAT,
                name, entry.index, offset, walk->next_index);
            return false;
        }
    }
    return true;
}

static bool check_end(Walk *walk, GError **error)
{
    if (!check_bad_heads(walk, error))
        return false;
    if (walk->next_index <= walk->applied_index) {
        g_autofree char *why =
            g_strdup_printf("the store holds entries up to %" G_GUINT64_FORMAT " already", walk->applied_index);

        set_entry_error(walk, why, error);
        return false;
    }
    /* J3: with the same incarnation twice, entries behind a torn tail could come back. */
    if (!walk->journal->read_only && walk->journal->identity.incarnation <= walk->incarnation) {
        vv_set_error(error, VV_ERROR_CONFLICT, walk->journal->path, NULL,
            "journal %s: holds entries of incarnation %" G_GUINT64_FORMAT ", but the store is at %" G_GUINT64_FORMAT,
            walk->journal->path, walk->incarnation, walk->journal->identity.incarnation);
        return false;
    }
    return true;
}

/* ---- 4. repair */

static int repair_newest(Walk *walk, uint8_t head[VV_SECTOR_BYTES])
{
    VvJournal *journal = walk->journal;
    int fd = journal->files[walk->slot].fd;
    uint64_t end = journal_align(walk->offset_bytes, VV_SECTOR_BYTES);
    int err = journal->ops.write(journal->ops.user, fd, head, VV_SECTOR_BYTES, 0);

    if (err == 0 && walk->batch_offset_bytes != 0) {
        memset(walk->image + walk->offset_bytes, 0, end - walk->offset_bytes);
        err = journal->ops.write(journal->ops.user, fd, walk->image + walk->batch_offset_bytes,
            end - walk->batch_offset_bytes, walk->batch_offset_bytes);
    }
    return err != 0 ? err : journal->ops.sync(journal->ops.user, fd);
}

static bool repair(Walk *walk, GError **error)
{
    VvJournal *journal = walk->journal;
    g_autofree char *name = NULL;
    unsigned slot = walk->slot;
    int err = vv_sync_directory(journal->path);

    if (err != 0) {
        vv_set_error_errno(error, err, journal->path, "journal %s: syncing the folder", journal->path);
        return false;
    }
    for (unsigned i = 0; err == 0 && i < VV_JOURNAL_FILES_MAX; i++) {
        const JournalFile *file = &journal->files[i];

        if (file->fd < 0 || file->size_bytes >= VV_JOURNAL_FILE_BYTES)
            continue;
        slot = i;
        err = vv_journal_write_zeroes(journal, file->fd, file->size_bytes);
        if (err == 0)
            err = journal->ops.sync(journal->ops.user, file->fd);
    }
    if (err == 0) {
        slot = walk->slot;
        if (walk->image_slot != slot && !load_image(walk, slot, error))
            return false;
        err = repair_newest(walk, walk->image);
    }
    if (err != 0) {
        name = slot_name(journal, slot);
        vv_set_error_errno(error, err, name, "journal file %s: writing its end again", name);
        return false;
    }
    return true;
}

static void make_ready(const Walk *walk, uint64_t first)
{
    VvJournal *journal = walk->journal;

    journal->current = walk->slot;
    journal->held_number = first;
    journal->buffer_offset = journal_align(walk->offset_bytes, VV_SECTOR_BYTES);
    journal->released_bytes = JOURNAL_FIRST_OFFSET;
    journal->crc = walk->crc;
    journal->last_index = walk->next_index - 1;
    journal->durable_index = walk->next_index - 1;
    vv_journal_update_usage(journal);
}

/* J9: what a released file holds is not known, and a file with a bad header may be one that was about to be used. */
static void doubt_free_files(VvJournal *journal, uint64_t first)
{
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        JournalFile *file = &journal->files[i];

        file->replaced = file->replaced || (file->fd >= 0 && (!file->good_head || (file->number > 0 && file->number < first)));
    }
}

static VvJournal *open_journal(const char *path, const VvJournalIdentity *identity, uint64_t applied_index, bool read_only,
    bool log, const VvRunOps *ops, VvJournalReplayFunc replay, void *user, GError **error)
{
    g_autoptr(VvJournal) journal = vv_journal_new(path, identity, ops);
    g_autofree uint8_t *image = g_malloc0(VV_JOURNAL_FILE_BYTES);
    Walk walk = { .journal = journal,
        .image = image,
        .image_slot = NO_SLOT,
        .applied_index = applied_index,
        .replay = replay,
        .user = user };
    uint64_t first = 0, last = 0;

    journal->read_only = read_only;
    if (log)
        vv_journal_make_log(journal);
    if (!check_names(journal, error))
        return NULL;
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        if (!open_file(journal, i, error))
            return NULL;
    }
    if (!find_ends(&walk, &first, &last, error) || !follow_older(&walk, first, last, error) ||
        !follow_newest(&walk, error) || !check_end(&walk, error))
        return NULL;
    if (!read_only && !repair(&walk, error))
        return NULL;
    make_ready(&walk, first);
    if (log)
        doubt_free_files(journal, first);
    return g_steal_pointer(&journal);
}

VvJournal *vv_journal_open(const char *path, const VvJournalIdentity *identity, uint64_t applied_index, bool read_only,
    const VvRunOps *ops, VvJournalReplayFunc replay, void *user, GError **error)
{
    return open_journal(path, identity, applied_index, read_only, false, ops, replay, user, error);
}

VvJournal *vv_journal_open_log(const char *path, const VvJournalIdentity *identity, uint64_t applied_index, bool read_only,
    const VvRunOps *ops, GError **error)
{
    return open_journal(path, identity, applied_index, read_only, true, ops, NULL, NULL, error);
}
