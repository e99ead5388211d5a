/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A journal of one or two files with any contents is opened and replayed, and once more as a log whose entries are read back. The input is cut into pieces {u8 what, u16 length, bytes}:
 * what & 3: 0 a header's fields, 1 an entry's header's, 2 an entry's body, 3 raw; & 4: to the second file; & 8: checksums are left as
 * they are; & 16: at the next sector; & 96: the entry's kind in a log, & 128: of another term. */
#include "codec.h"
#include "fuzz.h"
#include "journal_log.h"
#include "journal_private.h"

#include <fcntl.h>

#define IMAGE_BYTES 65536u

static const VvJournalIdentity identity = { .pool_uuid = { { 1 } }, .lineage = 2, .incarnation = 9 };

typedef struct {
    uint8_t bytes[IMAGE_BYTES];
    size_t at;
    uint32_t previous_crc;
} Image;

static void put(Image *image, const void *bytes, size_t length_bytes)
{
    length_bytes = MIN(length_bytes, IMAGE_BYTES - image->at);
    memcpy(image->bytes + image->at, bytes, length_bytes);
    image->at += length_bytes;
}

static void put_head(Image *image, VvReader *in, bool keep)
{
    JournalHead head = { .format = 1, .pool_uuid = identity.pool_uuid, .lineage = 2 };
    uint8_t bytes[JOURNAL_HEAD_BYTES];
    head.number = vv_read_u8(in);
    head.first_index = vv_read_u8(in);
    head.incarnation = vv_read_u8(in);
    head.previous_crc = vv_read_u8(in) ? image->previous_crc : 0;
    vv_journal_encode_head(&head, bytes);
    if (keep)
        vv_put_u32(bytes + vv_read_u8(in) % 68, vv_read_u32(in));
    memcpy(image->bytes, bytes, sizeof bytes);
}

/* An entry with a body of the bytes that are left. */
static void put_entry(Image *image, VvReader *in, unsigned what)
{
    bool keep = (what & 8) != 0;
    JournalEntry entry = { .index = vv_read_u8(in), .incarnation = vv_read_u8(in), .durable_index = vv_read_u8(in) };
    uint8_t bytes[JOURNAL_ENTRY_BYTES];
    uint8_t how = vv_read_u8(in);
    size_t left = vv_reader_left(in);
    const uint8_t *body = vv_read_bytes(in, left);
    static const uint8_t zeroes[8];
    if (body == NULL)
        return;
    entry.flags = (how & 1) | (what >> 5 & 3) << JOURNAL_ENTRY_KIND_SHIFT;
    entry.term = what & 96 ? 1 + (what >> 7) : 0;
    entry.previous_crc = image->previous_crc;
    entry.length_bytes = (uint32_t) left + (how & 2 ? 1u << (how >> 3) : 0);
    entry.body_crc = vv_crc32c(0, body, left) ^ (how & 4);
    vv_journal_encode_entry(vv_journal_seed(&identity), &entry, bytes);
    if (keep)
        bytes[how % JOURNAL_ENTRY_BYTES] ^= how;
    else
        image->previous_crc = entry.crc;
    put(image, bytes, sizeof bytes);
    put(image, body, left);
    put(image, zeroes, -left % 8);
}

static bool seen(void *user, uint64_t index, const uint8_t *body, size_t length_bytes, GError **error)
{
    uint64_t *next = user;
    (void) error;
    g_assert_cmpuint(index, ==, *next);
    ++*next;
    g_assert_true(length_bytes == 0 || (body[0] | 1) != 0);
    return true;
}

/* Whatever can be read is what the index says, from the first on, in order and not. */
static void read_log(uint64_t applied_index)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvJournal) log = vv_journal_open_log(fuzz_folder(), &identity, applied_index, true, NULL, &error);
    VvJournalItem item;
    uint64_t last;

    g_assert_true((log == NULL) == (error != NULL));
    if (log == NULL)
        return;
    last = vv_journal_last_index(log);
    for (uint64_t i = vv_journal_first_index(log); i <= last; i++)
        if (vv_journal_get(log, i, &item) == 0)
            g_assert_true(item.index == i && item.length_bytes <= VV_ENTRY_BYTES_MAX);
    for (uint64_t i = last + 2; i-- > 0 && last - i < 300;)
        if (vv_journal_get(log, i, &item) == 0)
            g_assert_true(item.index == i && i != 0 && i <= last);
}

static void open_images(const Image images[2], uint64_t applied_index)
{
    g_autoptr(GError) error = NULL;
    uint64_t next = applied_index + 1;
    for (unsigned i = 0; i < 2; i++) {
        static int fds[2]; /* kept: who opens a journal to look at it leaves its files alone */
        if (fds[i] == 0) {
            g_autofree char *name = g_strdup_printf("%s/j-%08u", fuzz_folder(), i);
            fds[i] = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        }
        g_assert_cmpint(vv_pwrite_full(fds[i], images[i].bytes, images[i].at, 0), ==, 0);
        g_assert_cmpint(ftruncate(fds[i], (off_t) images[i].at), ==, 0);
    }
    g_autoptr(VvJournal) journal =
        vv_journal_open(fuzz_folder(), &identity, applied_index, true, NULL, seen, &next, &error);
    g_assert_true((journal == NULL) == (error != NULL));
    if (journal != NULL)
        g_assert_cmpuint(vv_journal_last_index(journal), >=, next - 1);
    read_log(applied_index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static Image images[2];
    VvReader in = vv_reader(data, length_bytes);
    uint8_t applied_index = vv_read_u8(&in);
    if (in.bad || length_bytes > IMAGE_BYTES)
        return 0;
    memset(images, 0, sizeof images);
    images[0].at = images[1].at = JOURNAL_FIRST_OFFSET;
    while (vv_reader_left(&in) > 3) {
        uint8_t what = vv_read_u8(&in);
        Image *image = &images[what >> 2 & 1];
        size_t said_bytes = vv_read_u16(&in), piece_bytes = MIN(said_bytes, vv_reader_left(&in));
        VvReader piece = vv_reader(vv_read_bytes(&in, piece_bytes), piece_bytes);
        if (what & 16)
            image->at = MIN(journal_align(image->at, VV_SECTOR_BYTES), IMAGE_BYTES);
        switch (what & 3) {
        case 0:
            put_head(image, &piece, (what & 8) != 0);
            break;
        case 3:
            put(image, piece.data, piece_bytes);
            break;
        default:
            put_entry(image, &piece, what);
            break;
        }
        images[1].previous_crc = what & 4 ? images[1].previous_crc : images[0].previous_crc;
    }
    open_images(images, applied_index);
    return 0;
}
