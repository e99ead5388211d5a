/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal: files, append, sync, release. Replay is in journal_replay.c.
 *
 * A file is VV_JOURNAL_FILE_BYTES, written once with zeroes when it is made, so that an fdatasync of entries never has to
 * commit anything of the file system. File names are places ("slots") and stay; a file that is put to use again gets
 * the next number in its header. All integers are little-endian.
 *
 * File header, at offset 0; zeroes to 4096. It keeps this layout in every format, so that a newer one is told from damage:
 *
 *     0   8  magic "VVJOURNL"
 *     8   4  format, 1
 *    12   4  flags of incompatible features, 0
 *    16  16  pool UUID
 *    32   8  lineage
 *    40   8  number: 1, 2, ... in the order of use; 0 = prepared, not in use yet
 *    48   8  index of the file's first entry
 *    56   8  incarnation that put the file to use (0: made with the pool)
 *    64   4  crc of the entry before the first
 *    68   4  crc32c of bytes 0 to 67
 *
 * Entry, at a multiple of 8, the first at 4096:
 *
 *     0   4  magic "VVJE"
 *     4   4  length of the body, at most VV_ENTRY_BYTES_MAX
 *     8   8  index
 *    16   8  term
 *    24   8  incarnation
 *    32   8  durable index when the entry was appended
 *    40   4  crc of the previous entry (its bytes 52 to 55)
 *    44   4  crc32c of the body
 *    48   4  flags: 1 = first of a sync batch; 6 = kind (journal_log.h), 0 but in a cluster's log; others are of a newer format
 *    52   4  crc32c of the pool UUID, the lineage (8 bytes) and bytes 0 to 51
 *    56   n  body, zeroes to a multiple of 8
 *
 * The next entry follows at once, or, if it is the first of a batch, at the next multiple of 512; between them are zeroes.
 * A batch begins on a sector of its own because writing a sector can tear it: no write touches a sector that holds
 * entries which an earlier sync made durable. (The kernel writes pages of 4 KiB, so earlier sectors of the page are
 * written again, but with the bytes that they hold already.)
 *
 * Invariants:
 *   J1  A file's header is durable before any entry is written to the file.
 *   J2  All entries before a file's first are durable before its header says so. So only the newest file can have a torn
 *       tail, and where an older one does not reach the next one's first entry, that is damage.
 *   J3  A chain's incarnations never fall, and an open journal's is higher than all that its files hold. Entries that an
 *       earlier incarnation left behind a torn tail chain to an entry with other bytes, so they never come back.
 *   J4  A valid entry with durable index D proves that entry D was on the medium, whatever became of the entry itself.
 *   J5  One header is rewritten at a time, and that of a file whose entries are all in the store. A crash leaves the old
 *       header, the new one, or a bad one over entries that are all older than the chain's end: no damage. A bad header
 *       over an entry that the chain lacks, of the chain's last incarnation or later, is damage.
 *   J6  The first failed write or sync is the last: append and sync return -EIO until the journal is opened again, and
 *       open writes what no later entry proves durable once more before it trusts it.
 *   J10 A file's name is durable before its header says that it is in use: who makes the file syncs the folder, and open does, as a
 *       process that died may have left a name that only the kernel knows.
 *
 *     file state   header                         becomes
 *     prepared     number 0                       in use: next_file
 *     in use       number >= held_number          released: vv_journal_release
 *     released     number < held_number, or bad   in use: next_file; gone: vv_journal_release
 *
 * Measured on a virtual disk with ext4, 200-byte entries: appended and synced one by one 1,100/s; in batches of 100
 * 500,000/s; the processor's share of an append is 0.25 us. Opening reads every file from the one that holds the first
 * entry not in the store: 11 ms for one. */
#include "journal.h"

#include "codec.h"
#include "error.h"
#include "faultpoint.h"
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Room for the largest entry and the begun sector before it. */
#define JOURNAL_BUFFER_BYTES (VV_ENTRY_BYTES_MAX + 8192u)
#define JOURNAL_USABLE_BYTES (VV_JOURNAL_FILE_BYTES - JOURNAL_FIRST_OFFSET)
#define JOURNAL_MAGIC "VVJOURNL"

_Static_assert(JOURNAL_HEAD_BYTES == 8 + 4 + 4 + 16 + 4 * 8 + 4 + 4, "the header's table");
_Static_assert(JOURNAL_HEAD_BYTES <= VV_SECTOR_BYTES, "a header is one sector, written at once");
_Static_assert(JOURNAL_ENTRY_BYTES == 4 + 4 + 4 * 8 + 4 * 4, "the entry's table");
_Static_assert(JOURNAL_ENTRY_BYTES % JOURNAL_ENTRY_ALIGN == 0, "bodies are aligned");
_Static_assert(JOURNAL_ENTRY_BYTES + VV_ENTRY_BYTES_MAX + VV_SECTOR_BYTES <= JOURNAL_BUFFER_BYTES, "the largest entry");
_Static_assert(JOURNAL_BUFFER_BYTES <= JOURNAL_USABLE_BYTES, "every entry fits an empty file");
_Static_assert(sizeof(VvUuid) == 16, "stored as it is");

/* ---- bytes */

uint32_t vv_journal_seed(const VvJournalIdentity *identity)
{
    uint8_t bytes[24];

    memcpy(bytes, identity->pool_uuid.bytes, 16);
    vv_put_u64(bytes + 16, identity->lineage);
    return vv_crc32c(0, bytes, sizeof bytes);
}

void vv_journal_encode_head(const JournalHead *head, uint8_t out[JOURNAL_HEAD_BYTES])
{
    memcpy(out, JOURNAL_MAGIC, 8);
    vv_put_u32(out + 8, head->format);
    vv_put_u32(out + 12, head->flags);
    memcpy(out + 16, head->pool_uuid.bytes, 16);
    vv_put_u64(out + 32, head->lineage);
    vv_put_u64(out + 40, head->number);
    vv_put_u64(out + 48, head->first_index);
    vv_put_u64(out + 56, head->incarnation);
    vv_put_u32(out + 64, head->previous_crc);
    vv_put_u32(out + 68, vv_crc32c(0, out, 68));
}

bool vv_journal_decode_head(const uint8_t in[JOURNAL_HEAD_BYTES], JournalHead *ret_head)
{
    if (memcmp(in, JOURNAL_MAGIC, 8) != 0 || vv_get_u32(in + 68) != vv_crc32c(0, in, 68))
        return false;
    ret_head->format = vv_get_u32(in + 8);
    ret_head->flags = vv_get_u32(in + 12);
    memcpy(ret_head->pool_uuid.bytes, in + 16, 16);
    ret_head->lineage = vv_get_u64(in + 32);
    ret_head->number = vv_get_u64(in + 40);
    ret_head->first_index = vv_get_u64(in + 48);
    ret_head->incarnation = vv_get_u64(in + 56);
    ret_head->previous_crc = vv_get_u32(in + 64);
    return true;
}

void vv_journal_encode_entry(uint32_t seed, JournalEntry *entry, uint8_t out[JOURNAL_ENTRY_BYTES])
{
    vv_put_u32(out, JOURNAL_ENTRY_MAGIC);
    vv_put_u32(out + 4, entry->length_bytes);
    vv_put_u64(out + 8, entry->index);
    vv_put_u64(out + 16, entry->term);
    vv_put_u64(out + 24, entry->incarnation);
    vv_put_u64(out + 32, entry->durable_index);
    vv_put_u32(out + 40, entry->previous_crc);
    vv_put_u32(out + 44, entry->body_crc);
    vv_put_u32(out + 48, entry->flags);
    entry->crc = vv_crc32c(seed, out, 52);
    vv_put_u32(out + 52, entry->crc);
}

bool vv_journal_decode_entry(uint32_t seed, const uint8_t in[JOURNAL_ENTRY_BYTES], JournalEntry *ret_entry)
{
    if (vv_get_u32(in) != JOURNAL_ENTRY_MAGIC || vv_get_u32(in + 52) != vv_crc32c(seed, in, 52))
        return false;
    ret_entry->length_bytes = vv_get_u32(in + 4);
    ret_entry->index = vv_get_u64(in + 8);
    ret_entry->term = vv_get_u64(in + 16);
    ret_entry->incarnation = vv_get_u64(in + 24);
    ret_entry->durable_index = vv_get_u64(in + 32);
    ret_entry->previous_crc = vv_get_u32(in + 40);
    ret_entry->body_crc = vv_get_u32(in + 44);
    ret_entry->flags = vv_get_u32(in + 48);
    ret_entry->crc = vv_get_u32(in + 52);
    return true;
}

/* ---- files */

char *vv_journal_file_name(const char *path, unsigned slot, bool new_file)
{
    return g_strdup_printf("%s/j-%08u%s", path, slot, new_file ? ".new" : "");
}

int vv_journal_write_zeroes(const VvJournal *journal, int fd, uint64_t from)
{
    static const uint8_t zeroes[64 << 10];
    int err = 0;

    while (err == 0 && from < VV_JOURNAL_FILE_BYTES) {
        size_t part_bytes = (size_t) MIN(VV_JOURNAL_FILE_BYTES - from, sizeof zeroes - from % sizeof zeroes);

        err = journal->ops.write(journal->ops.user, fd, zeroes, part_bytes, from);
        from += part_bytes;
    }
    return err;
}

static int write_head(const VvJournal *journal, int fd, const JournalHead *head)
{
    uint8_t sector[VV_SECTOR_BYTES] = { 0 };
    int err;

    vv_journal_encode_head(head, sector);
    err = journal->ops.write(journal->ops.user, fd, sector, sizeof sector, 0);
    return err != 0 ? err : journal->ops.sync(journal->ops.user, fd);
}

/* A file under its ".new" name, whole and durable. */
static int fill_file(const VvJournal *journal, const char *name, const JournalHead *head, int *ret_fd)
{
    vv_autofd int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err;

    if (fd < 0)
        return -errno;
    /* One run of space where the file system can; the zeroes find out whether there is any. */
    if (fallocate(fd, 0, 0, VV_JOURNAL_FILE_BYTES) != 0 && errno == ENOSPC)
        return -ENOSPC;
    err = vv_journal_write_zeroes(journal, fd, 0);
    if (err == 0)
        err = write_head(journal, fd, head);
    if (err == 0) {
        *ret_fd = fd;
        fd = -1;
    }
    return err;
}

/* Make the file of @slot: whole, durable and named, or absent. */
static int create_file(VvJournal *journal, unsigned slot, const JournalHead *head)
{
    g_autofree char *name = vv_journal_file_name(journal->path, slot, false);
    g_autofree char *new_name = vv_journal_file_name(journal->path, slot, true);
    vv_autofd int fd = -1;
    int err = fill_file(journal, new_name, head, &fd);

    if (err == 0 && rename(new_name, name) != 0)
        err = -errno;
    if (err == 0)
        err = vv_sync_directory(journal->path);
    if (err != 0) {
        unlink(new_name);
        return err;
    }
    journal->files[slot] = (JournalFile){ .fd = fd,
        .good_head = true,
        .number = head->number,
        .first_index = head->first_index,
        .previous_crc = head->previous_crc,
        .incarnation = head->incarnation,
        .size_bytes = VV_JOURNAL_FILE_BYTES };
    fd = -1;
    return 0;
}

static JournalHead make_head(const VvJournalIdentity *identity)
{
    return (JournalHead){ .format = JOURNAL_FORMAT, .pool_uuid = identity->pool_uuid, .lineage = identity->lineage };
}

static int plain_write(void *user, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    (void) user;
    return vv_pwrite_full(fd, data, length_bytes, offset);
}

static int plain_sync(void *user, int fd)
{
    (void) user;
    return fdatasync(fd) == 0 ? 0 : -errno;
}

const VvRunOps vv_run_ops_plain = { .write = plain_write, .sync = plain_sync };

VvJournal *vv_journal_new(const char *path, const VvJournalIdentity *identity, const VvRunOps *ops)
{
    VvJournal *journal = g_new0(VvJournal, 1);

    journal->path = g_strdup(path);
    journal->identity = *identity;
    journal->ops = ops != NULL ? *ops : vv_run_ops_plain;
    journal->seed = vv_journal_seed(identity);
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++)
        journal->files[i].fd = -1;
    journal->buffer = aligned_alloc(4096, JOURNAL_BUFFER_BYTES);
    g_assert(journal->buffer != NULL);
    journal->buffer_offset = JOURNAL_FIRST_OFFSET;
    return journal;
}

void vv_journal_close(VvJournal *journal)
{
    if (journal == NULL)
        return;
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++)
        vv_close_fd(&journal->files[i].fd);
    free(journal->buffer);
    vv_journal_log_free(journal->log);
    g_free(journal->path);
    g_free(journal);
}

bool vv_journal_create(const char *path, const VvJournalIdentity *identity, GError **error)
{
    return vv_journal_create_at(path, identity, 1, error);
}

bool vv_journal_create_at(const char *path, const VvJournalIdentity *identity, uint64_t first_index, GError **error)
{
    g_autoptr(VvJournal) journal = vv_journal_new(path, identity, NULL);
    g_autofree char *name = vv_journal_file_name(path, 0, false);
    JournalHead head = make_head(identity);
    int err;

    if (access(name, F_OK) == 0) {
        vv_set_error(error, VV_ERROR_EXISTS, path, NULL, "journal %s: exists already", path);
        return false;
    }
    err = create_file(journal, 1, &head); /* the spare one first: file 0 makes it a journal */
    head.number = 1;
    head.first_index = first_index;
    if (err == 0)
        err = create_file(journal, 0, &head);
    if (err != 0) {
        vv_set_error_errno(error, err, path, "journal %s: making its first files", path);
        return false;
    }
    return true;
}

/* ---- append and sync */

static int fail(VvJournal *journal, int err)
{
    journal->failed = true;
    journal->failed_errno = err;
    return -EIO;
}

/* Write the buffer out. What it holds of the last sector stays in it, so that every write begins at a sector; that
 * sector is not durable yet. */
static int write_buffer(VvJournal *journal)
{
    uint64_t whole_bytes = journal_align(journal->buffer_used_bytes, VV_SECTOR_BYTES);
    uint64_t done_bytes = journal->buffer_used_bytes / VV_SECTOR_BYTES * VV_SECTOR_BYTES;
    int err;

    if (journal->buffer_used_bytes == 0)
        return 0;
    memset(journal->buffer + journal->buffer_used_bytes, 0, whole_bytes - journal->buffer_used_bytes);
    err = journal->ops.write(journal->ops.user, journal->files[journal->current].fd, journal->buffer, whole_bytes,
        journal->buffer_offset);
    if (err != 0)
        return fail(journal, err);
    memmove(journal->buffer, journal->buffer + done_bytes, journal->buffer_used_bytes - done_bytes);
    journal->buffer_offset += done_bytes;
    journal->buffer_used_bytes -= done_bytes;
    return 0;
}

/* Everything appended so far becomes durable, and the next entry begins a batch on a sector of its own. */
static int sync_batch(VvJournal *journal)
{
    int err = write_buffer(journal);

    if (err != 0)
        return err;
    vv_may_die(VV_DIE_JOURNAL_WRITTEN);
    err = journal->ops.sync(journal->ops.user, journal->files[journal->current].fd);
    if (err != 0)
        return fail(journal, err);
    vv_may_die(VV_DIE_JOURNAL_SYNCED);
    journal->buffer_offset += journal_align(journal->buffer_used_bytes, VV_SECTOR_BYTES);
    journal->buffer_used_bytes = 0;
    journal->batch = false;
    journal->durable_index = journal->last_index;
    return 0;
}

/* A file to go on in: a prepared or released one, else a new one. */
static int find_file(VvJournal *journal, unsigned *ret_slot)
{
    JournalHead head = make_head(&journal->identity);
    unsigned found = VV_JOURNAL_FILES_MAX, absent = VV_JOURNAL_FILES_MAX;
    int err;

    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        const JournalFile *file = &journal->files[i];

        if (file->fd < 0)
            absent = MIN(absent, i);
        else if (vv_journal_file_is_free(journal, file) &&
                 (found == VV_JOURNAL_FILES_MAX || file->number < journal->files[found].number))
            found = i;
    }
    if (found < VV_JOURNAL_FILES_MAX) {
        *ret_slot = found;
        return 0;
    }
    if (absent == VV_JOURNAL_FILES_MAX)
        return -ENOSPC;
    err = create_file(journal, absent, &head);
    if (err == -ENOSPC || err == -EDQUOT)
        return -ENOSPC;
    if (err != 0)
        return fail(journal, err);
    *ret_slot = absent;
    return 0;
}

/* J9. The old header stays meanwhile: it says that the file is free. */
static int wipe_replaced(VvJournal *journal, JournalFile *file)
{
    int err = file->replaced ? vv_journal_write_zeroes(journal, file->fd, JOURNAL_FIRST_OFFSET) : 0;

    if (err == 0 && file->replaced)
        err = journal->ops.sync(journal->ops.user, file->fd);
    if (err == 0)
        file->replaced = false;
    return err;
}

int vv_journal_next_file(VvJournal *journal, uint64_t first_index, uint32_t previous_crc)
{
    JournalHead head = make_head(&journal->identity);
    unsigned slot = 0;
    JournalFile *file;
    int err = find_file(journal, &slot);

    if (err == 0 && journal->batch)
        err = sync_batch(journal); /* J2 */
    if (err != 0)
        return err;
    file = &journal->files[slot];
    head.number = journal->files[journal->current].number + 1;
    head.first_index = first_index;
    head.incarnation = journal->identity.incarnation;
    head.previous_crc = previous_crc;
    err = wipe_replaced(journal, file);
    if (err == 0)
        err = write_head(journal, file->fd, &head); /* J1 */
    if (err != 0)
        return fail(journal, err);
    file->good_head = true;
    file->number = head.number;
    file->first_index = head.first_index;
    file->incarnation = head.incarnation;
    file->previous_crc = head.previous_crc;
    journal->current = slot;
    journal->buffer_offset = JOURNAL_FIRST_OFFSET;
    journal->buffer_used_bytes = 0;
    journal->released_bytes = JOURNAL_FIRST_OFFSET;
    return 0;
}

int vv_journal_keep_room(VvJournal *journal, size_t length_bytes)
{
    uint64_t end = journal->buffer_offset + journal->buffer_used_bytes + journal_entry_space(length_bytes);
    unsigned slot;

    if (journal->failed || journal->read_only || end + VV_JOURNAL_KEPT_BYTES <= VV_JOURNAL_FILE_BYTES)
        return 0; /* append says what is wrong */
    return find_file(journal, &slot);
}

int vv_journal_append(VvJournal *journal, const void *body, size_t length_bytes, uint64_t *ret_index)
{
    return vv_journal_append_as(journal, journal->identity.term, 0, body, length_bytes, ret_index);
}

int vv_journal_append_as(
    VvJournal *journal, uint64_t term, uint32_t flags, const void *body, size_t length_bytes, uint64_t *ret_index)
{
    uint64_t space_bytes = journal_entry_space(length_bytes);
    JournalEntry entry;
    uint8_t *place;
    int err;

    g_assert(length_bytes <= VV_ENTRY_BYTES_MAX);
    if (journal->read_only)
        return -EROFS;
    if (journal->failed)
        return -EIO;
    if (journal->buffer_offset + journal->buffer_used_bytes + space_bytes > VV_JOURNAL_FILE_BYTES &&
        (err = vv_journal_next_file(journal, journal->last_index + 1, journal->crc)) != 0)
        return err;
    if (journal_align(journal->buffer_used_bytes + space_bytes, VV_SECTOR_BYTES) > JOURNAL_BUFFER_BYTES &&
        (err = write_buffer(journal)) != 0)
        return err;
    place = journal->buffer + journal->buffer_used_bytes;
    entry = (JournalEntry){ .length_bytes = (uint32_t) length_bytes,
        .index = journal->last_index + 1,
        .term = term,
        .incarnation = journal->identity.incarnation,
        .durable_index = journal->durable_index,
        .previous_crc = journal->crc,
        .body_crc = vv_crc32c(0, body, length_bytes),
        .flags = flags | (journal->batch ? 0 : JOURNAL_ENTRY_BATCH) };
    vv_journal_encode_entry(journal->seed, &entry, place);
    vv_journal_note(journal, journal->current, journal->buffer_offset + journal->buffer_used_bytes, &entry);
    if (length_bytes > 0)
        memcpy(place + JOURNAL_ENTRY_BYTES, body, length_bytes);
    memset(place + JOURNAL_ENTRY_BYTES + length_bytes, 0, space_bytes - JOURNAL_ENTRY_BYTES - length_bytes);
    journal->buffer_used_bytes += space_bytes;
    journal->appended_bytes += space_bytes;
    journal->batch = true;
    journal->crc = entry.crc;
    journal->last_index = entry.index;
    vv_journal_update_usage(journal);
    *ret_index = entry.index;
    vv_may_die(VV_DIE_JOURNAL_APPENDED);
    return 0;
}

size_t vv_journal_lock_memory(VvJournal *journal, size_t bytes)
{
    return journal->buffer != NULL && mlock(journal->buffer, bytes) == 0 ? bytes : 0;
}

int vv_journal_sync(VvJournal *journal)
{
    int err;

    if (journal->failed)
        return -EIO;
    if (!journal->batch)
        return 0;
    err = sync_batch(journal);
    if (err == 0)
        journal->count_syncs++;
    return err;
}

/* ---- release */

static const JournalFile *find_number(const VvJournal *journal, uint64_t number)
{
    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        if (journal->files[i].fd >= 0 && journal->files[i].good_head && journal->files[i].number == number)
            return &journal->files[i];
    }
    return NULL;
}

void vv_journal_update_usage(VvJournal *journal)
{
    uint64_t held_files = journal->files[journal->current].number - journal->held_number;
    uint64_t used_bytes = journal->buffer_offset + journal->buffer_used_bytes - journal->released_bytes;

    journal->used_bytes = used_bytes + held_files * JOURNAL_USABLE_BYTES;
}

/* Keep as many free files as the time since the last release took, and one; the others go. No sync: a removed file that
 * comes back after a crash holds only what the store holds too, and is free again. */
static void remove_files(VvJournal *journal)
{
    uint64_t keep = journal->appended_bytes / JOURNAL_USABLE_BYTES + 1;

    for (unsigned i = 0; i < VV_JOURNAL_FILES_MAX; i++) {
        if (!vv_journal_file_is_free(journal, &journal->files[i]))
            continue;
        if (keep > 0) {
            keep--;
        } else {
            g_autofree char *name = vv_journal_file_name(journal->path, i, false);

            if (unlink(name) == 0)
                vv_close_fd(&journal->files[i].fd);
        }
    }
}

void vv_journal_release(VvJournal *journal, uint64_t index)
{
    const JournalFile *next;

    g_assert(!journal->read_only);
    g_assert(index <= journal->durable_index);
    while ((next = find_number(journal, journal->held_number + 1)) != NULL && next->first_index <= index + 1)
        journal->held_number++;
    if (index == journal->last_index)
        journal->released_bytes = journal->buffer_offset + journal->buffer_used_bytes;
    vv_journal_update_usage(journal);
    vv_journal_forget_free(journal);
    remove_files(journal);
    journal->appended_bytes = 0;
}

/* ---- numbers */

uint64_t vv_journal_last_index(VvJournal *journal)
{
    return journal->last_index;
}

uint64_t vv_journal_durable_index(VvJournal *journal)
{
    return journal->durable_index;
}

void vv_journal_usage(VvJournal *journal, uint64_t *ret_used_bytes, uint64_t *ret_max_bytes)
{
    *ret_used_bytes = journal->used_bytes;
    *ret_max_bytes = (uint64_t) VV_JOURNAL_FILES_MAX * JOURNAL_USABLE_BYTES;
}

int vv_journal_error(const VvJournal *journal)
{
    return journal->failed_errno;
}

uint64_t vv_journal_sync_count(VvJournal *journal)
{
    return journal->count_syncs;
}
