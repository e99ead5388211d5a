/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LMDB's two headers, in pages 0 and 1 of data.mdb: transaction n writes page n modulo 2. And the note of what they were before a file of sums
 * made anew is tried, which is in that file:
 *
 *     0    8 magic "VVNOTE01"
 *     8    4 crc32c of bytes 12 to 511
 *     12   4 bytes of a page
 *     16   8 bytes of data.mdb
 *     24   152 page 0, as far as LMDB uses it
 *     176  152 page 1
 *     328  136 the header on trial */
#include "codec.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTE_AT_PAGES 24u
#define NOTE_AT_META (NOTE_AT_PAGES + 2 * META_PAGE_BYTES)

static const char note_magic[8] = "VVNOTE01";
_Static_assert(NOTE_AT_META + META_BYTES <= SECTOR_BYTES, "the note is a sector");

bool vvs_meta_is_sane(const uint8_t *page, unsigned slot, uint32_t page_bytes)
{
    const uint8_t *meta = page + PAGE_HEAD_BYTES;

    return vv_get_u64(page) == slot && (vv_get_u16(page + 10) & PAGE_META) != 0 && vv_get_u32(meta) == META_MAGIC &&
           vv_get_u32(meta + 4) == META_VERSION && vv_get_u32(meta + META_AT_TREES) == page_bytes;
}

int vvs_read_meta(int data_fd, uint32_t page_bytes, unsigned slot, uint8_t page[META_PAGE_BYTES])
{
    ssize_t got = pread(data_fd, page, META_PAGE_BYTES, (off_t) slot * page_bytes);

    if (got < 0)
        return -EIO;
    memset(page + got, 0, META_PAGE_BYTES - (size_t) got);
    return 0;
}

static void make_page(uint8_t page[META_PAGE_BYTES], unsigned slot, const uint8_t *meta, uint64_t txn)
{
    memset(page, 0, META_PAGE_BYTES);
    vv_put_u64(page, slot);
    vv_put_u16(page + 10, PAGE_META);
    memcpy(page + PAGE_HEAD_BYTES, meta, META_BYTES);
    vv_put_u64(page + PAGE_HEAD_BYTES + META_AT_TXN, txn);
}

static int write_page(int data_fd, uint32_t page_bytes, unsigned slot, const uint8_t page[META_PAGE_BYTES])
{
    return vv_pwrite_full(data_fd, page, META_PAGE_BYTES, (uint64_t) slot * page_bytes);
}

/* What LMDB finds in @slot so that @meta is the newest. */
static void make_restored(uint8_t page[META_PAGE_BYTES], unsigned slot, const uint8_t *meta)
{
    uint64_t txn = vv_get_u64(meta + META_AT_TXN);

    make_page(page, slot, meta, (txn & 1) == slot ? txn : txn - 1);
}

int vvs_restore_metas(const char *path, int data_fd, uint32_t page_bytes, const uint8_t *meta)
{
    uint64_t txn = vv_get_u64(meta + META_AT_TXN);
    unsigned slot = (unsigned) (txn & 1);
    uint8_t mine[META_PAGE_BYTES], other[META_PAGE_BYTES];
    bool changed = false;
    int err = vvs_read_meta(data_fd, page_bytes, slot, mine);

    if (err == 0)
        err = vvs_read_meta(data_fd, page_bytes, 1 - slot, other);
    if (err == 0 && (!vvs_meta_is_sane(mine, slot, page_bytes) || memcmp(mine + PAGE_HEAD_BYTES, meta, META_BYTES) != 0)) {
        vv_log(VV_LOG_WARNING, "metadata store %s: header %u of data.mdb is mended", path, slot);
        changed = true;
        make_restored(mine, slot, meta);
        err = write_page(data_fd, page_bytes, slot, mine);
    }
    if (err == 0 && (!vvs_meta_is_sane(other, 1 - slot, page_bytes) ||
                        vv_get_u64(other + PAGE_HEAD_BYTES + META_AT_TXN) >= txn)) {
        vv_log(VV_LOG_INFO, "metadata store %s: header %u of data.mdb is not certified and is put back", path, 1 - slot);
        changed = true;
        make_restored(other, 1 - slot, meta);
        err = write_page(data_fd, page_bytes, 1 - slot, other);
    }
    return err == 0 && changed && fdatasync(data_fd) != 0 ? -EIO : err;
}

/* ---- the note */

int vvs_note_metas(int new_fd, int data_fd, uint32_t page_bytes, const uint8_t *meta)
{
    uint8_t note[SECTOR_BYTES] = { 0 };
    struct stat st;
    int err = fstat(data_fd, &st) == 0 ? 0 : -EIO;

    for (unsigned slot = 0; slot < 2 && err == 0; slot++)
        err = vvs_read_meta(data_fd, page_bytes, slot, note + NOTE_AT_PAGES + slot * META_PAGE_BYTES);
    if (err != 0)
        return err;
    memcpy(note, note_magic, sizeof note_magic);
    vv_put_u32(note + 12, page_bytes);
    vv_put_u64(note + 16, (uint64_t) st.st_size);
    memcpy(note + NOTE_AT_META, meta, META_BYTES);
    vv_put_u32(note + 8, vv_crc32c(0, note + 12, sizeof note - 12));
    return vv_pwrite_full(new_fd, note, sizeof note, NOTE_AT);
}

/* Has nobody but the trial written data.mdb? Else LMDB has gone on, and what was noted is long past. */
static bool is_the_trials(const uint8_t *note, uint8_t now[2][META_PAGE_BYTES])
{
    for (unsigned slot = 0; slot < 2; slot++) {
        uint8_t tried[META_PAGE_BYTES];

        make_restored(tried, slot, note + NOTE_AT_META);
        if (memcmp(now[slot], note + NOTE_AT_PAGES + slot * META_PAGE_BYTES, META_PAGE_BYTES) != 0 &&
            memcmp(now[slot], tried, META_PAGE_BYTES) != 0)
            return false;
    }
    return true;
}

int vvs_put_back_metas(int new_fd, int data_fd)
{
    uint8_t note[SECTOR_BYTES], now[2][META_PAGE_BYTES];
    uint32_t page_bytes;
    uint64_t length_bytes;
    struct stat st;
    ssize_t got = pread(new_fd, note, sizeof note, NOTE_AT);
    int err = got < 0 || fstat(data_fd, &st) != 0 ? -EIO : 0;

    if (err != 0 || got != (ssize_t) sizeof note || memcmp(note, note_magic, sizeof note_magic) != 0 ||
        vv_get_u32(note + 8) != vv_crc32c(0, note + 12, sizeof note - 12))
        return err;
    page_bytes = vv_get_u32(note + 12);
    length_bytes = vv_get_u64(note + 16);
    for (unsigned slot = 0; slot < 2 && err == 0; slot++)
        err = vvs_read_meta(data_fd, page_bytes, slot, now[slot]);
    if (err != 0 || !is_the_trials(note, now))
        return err;
    for (unsigned slot = 0; slot < 2 && err == 0; slot++) {
        const uint8_t *before = note + NOTE_AT_PAGES + slot * META_PAGE_BYTES;

        if (memcmp(now[slot], before, META_PAGE_BYTES) != 0)
            err = write_page(data_fd, page_bytes, slot, before);
    }
    if (err == 0 && (uint64_t) st.st_size > length_bytes && ftruncate(data_fd, (off_t) length_bytes) != 0)
        err = -EIO;
    return err == 0 && fsync(data_fd) != 0 ? -EIO : err;
}
