/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PATH/sums beside LMDB's PATH/data.mdb: the crc32c of each of its pages, and the header that was last vouched for.
 *
 *     0      512   root of an even transaction        root: 0  8 magic "VVSUMS01"
 *     512    512   the same again                           8  4 version, 1
 *     1024   512   root of an odd transaction               12 4 crc32c of bytes 0 to 11 and 16 to 511
 *     1536   512   the same again                           16 8 transaction
 *     2048         zeroes, or a note (store_headers.c)      24 4 bytes of a page
 *     4096         sectors of sums                          28 4 zero
 *                                                           32 136 LMDB's header (MDB_meta) as of that transaction
 *     sector n: sums of pages 127 n to 127 n + 126, u32 each, then the crc32c of n (u64) and of them; or all zeroes
 *     sum of a page: crc32c of its number (u64) and of its bytes
 *
 * Invariants:
 *   C1  The certified transaction is the newest of the roots. Whatever LMDB's own headers say is put right at open: a commit that
 *       was not certified never was (its predecessor's pages are whole: LMDB reuses none of them before the commit after).
 *   C2  A commit is certified before anybody hears that it has succeeded and before the next begins: sums of the pages that it
 *       wrote, sync, root, sync. These pages were free in the certified transaction, so writing their sums takes nothing from it.
 *   C3  A root has two copies in sectors of their own, written after each other and synced together, and a sector is written whole:
 *       a root that is bad in both copies is damage and never a power cut. Sums of pages that stay in use are rewritten as they were.
 *   C4  No byte of a page is believed before its sum has been compared, so LMDB never walks over damage that came while the pool was
 *       closed. All pages in use are compared at open, unless the map is large (VV_MAP_AT_ONCE_BYTES) or a mount waits for a successor: then
 *       all but leaves of trees that have no overflow pages (only leaves name those). Which leaves there are, branches tell; LMDB
 *       gets to see each of them only when its sum was compared, in the background or because somebody reads it (store_lazy.h).
 *   C5  Nothing is certified while a leaf is left that was not compared, save what the start itself writes, which touches none of them (store.c
 *       S9): so no damage gets a fresh sum, and no sum changes while others are compared.
 *
 * Which pages a commit wrote is found by walking LMDB's trees from the new root and stopping where a page was in use
 * before: LMDB copies what it changes. Which pages went is what it lists in its own table of free pages under the transaction's number.
 * So the cost is that of the pages changed. The walk knows LMDB 0.9's page format (data version 1), and refuses any other. */
#include "store_sums.h"

#include "codec.h"
#include "limits.h"
#include "store_sums_private.h"
#include "error.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file's own */
#ifndef CACHE_SECTORS /* tests/fuzz makes one for each input */
#define CACHE_SECTORS 2048u         /* 1 MiB: the sums of 1 GiB of pages */
#endif
#define PREFETCH_BYTES (128u << 10) /* what the kernel reads ahead at once whatever it is asked for */
#define ROOT_BYTES 512u
#define ROOT_AT_META 32u
#define ROOT_COPIES 4u
#define ROOT_VERSION 1u

static const char root_magic[8] = "VVSUMS01";

/* Sectors of sums that were read and are good: place i has one whose number is i modulo CACHE_SECTORS. */
typedef struct {
    uint64_t numbers[CACHE_SECTORS]; /* NO_PAGE: none */
    uint8_t sectors[CACHE_SECTORS][SECTOR_BYTES];
} SectorCache;

struct VvSums {
    char *path;  /* owned */
    int data_fd; /* owned */
    int sums_fd; /* owned */
    uint32_t page_bytes;
    uint64_t txn;             /* certified */
    uint8_t meta[META_BYTES]; /* its header */
    uint64_t *used;           /* owned: a bit for each page in use in it */
    uint64_t used_pages_max;  /* bits there are */
    uint64_t count_used;
    uint64_t open_usec;
    /* the walk */
    bool verify; /* compare sums; else take them */
    uint64_t walk_txn, walk_last_page;
    unsigned leaf_depth; /* of this tree its pages are leaves whose comparing is put off; 0: none */
    VvLazy *lazy;        /* owned: those; NULL: everything was compared */
    GArray *fresh; /* NewPage: in use now and not before */
    GArray *freed; /* uint64_t: how many, and those the other way round */
    SectorCache *cache; /* owned, while pages are verified */
    char *why;                    /* owned: what -EUCLEAN or -EIO was about */
};

static int damaged(VvSums *sums, const char *format, ...) G_GNUC_PRINTF(2, 3);
static int damaged(VvSums *sums, const char *format, ...)
{
    va_list args;

    if (sums->why != NULL)
        return -EUCLEAN;
    va_start(args, format);
    sums->why = g_strdup_vprintf(format, args);
    va_end(args);
    return -EUCLEAN;
}

/* A read failed with @err; @file: what of. */
static int unreadable(VvSums *sums, int err, const char *file, uint64_t offset)
{
    if (sums->why == NULL)
        sums->why = g_strdup_printf("%s at offset %" G_GUINT64_FORMAT, file, offset);
    return err;
}

/* ---- pages in use */
static bool is_used(const VvSums *sums, uint64_t page)
{
    return page < sums->used_pages_max && (sums->used[page / 64] >> page % 64 & 1) != 0;
}

static void set_used(VvSums *sums, uint64_t page, bool used)
{
    if (page >= sums->used_pages_max) {
        uint64_t count = MAX(page + 1, sums->used_pages_max * 2) / 4096 * 4096 + 4096;

        sums->used = g_realloc(sums->used, count / 8);
        memset(sums->used + sums->used_pages_max / 64, 0, (count - sums->used_pages_max) / 8);
        sums->used_pages_max = count;
    }
    if (is_used(sums, page) == used)
        return;
    sums->used[page / 64] ^= UINT64_C(1) << page % 64;
    sums->count_used += used ? 1 : UINT64_MAX;
}

/* ---- sectors of sums */
static uint32_t sector_crc(uint64_t number, const uint8_t *sector)
{
    uint8_t n[8];

    vv_put_u64(n, number);
    return vv_crc32c(vv_crc32c(0, n, sizeof n), sector, SECTOR_SUMS * 4);
}

int vvs_read_sector(int sums_fd, uint64_t number, uint8_t *sector)
{
    ssize_t got = pread(sums_fd, sector, SECTOR_BYTES, (off_t) (SECTORS_AT + number * SECTOR_BYTES));

    if (got < 0)
        return -EIO;
    memset(sector + got, 0, SECTOR_BYTES - (size_t) got);
    if (vv_get_u32(sector + SECTOR_SUMS * 4) == sector_crc(number, sector))
        return 0;
    for (unsigned i = 0; i < SECTOR_BYTES; i++)
        if (sector[i] != 0)
            return -EUCLEAN;
    return 0;
}

uint32_t vvs_page_crc_begin(uint64_t page)
{
    uint8_t n[8];

    vv_put_u64(n, page);
    return vv_crc32c(0, n, sizeof n);
}

static uint32_t page_crc(uint64_t page, const uint8_t *bytes, uint32_t page_bytes)
{
    return vv_crc32c(vvs_page_crc_begin(page), bytes, page_bytes);
}

static int compare_sum(VvSums *sums, uint64_t page, uint32_t crc)
{
    uint64_t number = page / SECTOR_SUMS;
    uint8_t *sector = sums->cache->sectors[number % CACHE_SECTORS];

    if (sums->cache->numbers[number % CACHE_SECTORS] != number) {
        int err = vvs_read_sector(sums->sums_fd, number, sector);

        sums->cache->numbers[number % CACHE_SECTORS] = err == 0 ? number : NO_PAGE;
        if (err == -EUCLEAN)
            return damaged(sums, "%s at offset %" G_GUINT64_FORMAT, VV_SUMS_FILE, SECTORS_AT + number * SECTOR_BYTES);
        if (err != 0)
            return unreadable(sums, err, VV_SUMS_FILE, SECTORS_AT + number * SECTOR_BYTES);
    }
    if (vv_get_u32(sector + page % SECTOR_SUMS * 4) != crc)
        return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb", page);
    return 0;
}

/* ---- the walk. -EUCLEAN says in sums->why what is damaged. */

static int check_number(VvSums *sums, uint64_t page)
{
    if (page < 2 || page > sums->walk_last_page)
        return damaged(sums, "data.mdb: it names page %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT, page,
            sums->walk_last_page + 1);
    return 0;
}

/* Read a page that was not in use, and compare or take its sum. */
static int take_page(VvSums *sums, uint64_t page, uint8_t *bytes)
{
    NewPage fresh = { .page = page };
    int err = check_number(sums, page);

    if (err != 0)
        return err;
    err = vv_pread_full(sums->data_fd, bytes, sums->page_bytes, page * sums->page_bytes);
    if (err != 0)
        return unreadable(sums, err, "data.mdb", page * sums->page_bytes);
    fresh.crc = page_crc(page, bytes, sums->page_bytes);
    if (sums->verify) {
        err = compare_sum(sums, page, fresh.crc);
        if (err == 0)
            set_used(sums, page, true);
        return err;
    }
    g_array_append_val(sums->fresh, fresh);
    return 0;
}

/* A value on pages of its own; the transaction's list of freed pages may be one. */
static int take_overflow(VvSums *sums, uint64_t page, uint64_t value_bytes, bool is_freed)
{
    g_autofree uint8_t *bytes = g_malloc(sums->page_bytes);
    g_autoptr(GByteArray) value = g_byte_array_new();
    uint64_t count = (PAGE_HEAD_BYTES + value_bytes + sums->page_bytes - 1) / sums->page_bytes;

    if (!sums->verify && is_used(sums, page))
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        if (is_used(sums, page + i))
            return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: it is named twice", page + i);
        int err = take_page(sums, page + i, bytes);

        if (err != 0)
            return err;
        if (i == 0 && (vv_get_u16(bytes + 10) & PAGE_OVERFLOW) == 0)
            return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: no overflow page", page);
        if (is_freed)
            g_byte_array_append(value, bytes, sums->page_bytes);
    }
    if (is_freed)
        g_array_append_vals(sums->freed, value->data + PAGE_HEAD_BYTES, (guint) (value_bytes / 8));
    return 0;
}

static int walk_tree(VvSums *sums, uint64_t page, TreeKind kind, unsigned depth);

/* A table's tree, as the tree of tables has it. */
static int walk_table(VvSums *sums, const uint8_t *tree)
{
    int err;

    if (sums->verify && sums->lazy != NULL && vv_get_u64(tree + TREE_AT_OVERFLOW_PAGES) == 0 && vv_get_u16(tree + TREE_AT_DEPTH) > 1)
        sums->leaf_depth = vv_get_u16(tree + TREE_AT_DEPTH) - 1u;
    err = walk_tree(sums, vv_get_u64(tree + TREE_AT_ROOT), TREE_RECORDS, 0);
    sums->leaf_depth = 0;
    return err;
}

static int walk_leaf_node(VvSums *sums, uint64_t page, const uint8_t *node, size_t room_bytes, TreeKind kind)
{
    uint32_t value_bytes = vv_get_u16(node) | (uint32_t) vv_get_u16(node + 2) << 16;
    uint16_t flags = vv_get_u16(node + 4), key_bytes = vv_get_u16(node + 6);
    bool is_freed = kind == TREE_FREE && key_bytes == 8;
    size_t inside = (flags & NODE_BIG) != 0 ? 8 : value_bytes;
    const uint8_t *value = node + NODE_HEAD_BYTES + key_bytes;

    if (NODE_HEAD_BYTES + key_bytes + inside > room_bytes || (flags & ~(NODE_BIG | NODE_TREE)) != 0)
        return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: a bad record", page);
    is_freed = is_freed && vv_get_u64(node + NODE_HEAD_BYTES) == sums->walk_txn;
    if ((flags & NODE_BIG) != 0)
        return take_overflow(sums, vv_get_u64(value), value_bytes, is_freed);
    if (is_freed)
        for (uint32_t at = 0; at + 8 <= value_bytes; at += 8) {
            uint64_t number = vv_get_u64(value + at);

            g_array_append_val(sums->freed, number);
        }
    if ((flags & NODE_TREE) == 0)
        return 0;
    if (kind != TREE_TABLES || value_bytes != TREE_BYTES)
        return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: a bad table", page);
    return walk_table(sums, value);
}

static uint64_t child_of(const uint8_t *node)
{
    return vv_get_u16(node) | (uint64_t) vv_get_u16(node + 2) << 16 | (uint64_t) vv_get_u16(node + 4) << 32;
}

/* The next level's branches, which lie anywhere: the medium is asked for all before the first is waited for. */
static void prefetch_children(const VvSums *sums, const uint8_t *bytes, uint16_t lower)
{
    for (uint16_t at = PAGE_HEAD_BYTES; at + 2 <= lower; at = (uint16_t) (at + 2)) {
        size_t node_at = vv_get_u16(bytes + at);

        if (node_at >= lower && node_at + NODE_HEAD_BYTES <= sums->page_bytes)
            posix_fadvise(sums->data_fd, (off_t) (child_of(bytes + node_at) * sums->page_bytes), sums->page_bytes, POSIX_FADV_WILLNEED);
    }
}

static int walk_nodes(VvSums *sums, uint64_t page, const uint8_t *bytes, TreeKind kind, unsigned depth)
{
    uint16_t flags = vv_get_u16(bytes + 10), lower = vv_get_u16(bytes + 12);
    int err = 0;

    if (vv_get_u64(bytes) != page || (flags != PAGE_BRANCH && flags != PAGE_LEAF) || lower < PAGE_HEAD_BYTES ||
        lower > sums->page_bytes)
        return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: neither branch nor leaf", page);
    if (flags == PAGE_BRANCH && depth + 1 < sums->leaf_depth)
        prefetch_children(sums, bytes, lower);
    for (uint16_t at = PAGE_HEAD_BYTES; at + 2 <= lower && err == 0; at = (uint16_t) (at + 2)) {
        size_t node_at = vv_get_u16(bytes + at);
        const uint8_t *node = bytes + node_at;

        if (node_at < lower || node_at + NODE_HEAD_BYTES > sums->page_bytes ||
            node_at + NODE_HEAD_BYTES + vv_get_u16(node + 6) > sums->page_bytes)
            return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: a record outside", page);
        if (flags == PAGE_BRANCH)
            err = walk_tree(sums, child_of(node), kind, depth + 1);
        else
            err = walk_leaf_node(sums, page, node, sums->page_bytes - node_at, kind);
    }
    return err;
}

/* A leaf whose bytes are compared later. */
static int put_off(VvSums *sums, uint64_t page)
{
    int err = check_number(sums, page);

    if (err != 0)
        return err;
    set_used(sums, page, true);
    vv_lazy_add(sums->lazy, page);
    return 0;
}

static int walk_tree(VvSums *sums, uint64_t page, TreeKind kind, unsigned depth)
{
    g_autofree uint8_t *bytes = NULL;
    int err;

    if (page == NO_PAGE || (!sums->verify && is_used(sums, page)))
        return 0;
    if (depth >= TREE_DEPTH_MAX || is_used(sums, page))
        return damaged(sums, "page %" G_GUINT64_FORMAT " of data.mdb: it is named twice", page);
    if (sums->leaf_depth != 0 && depth == sums->leaf_depth)
        return put_off(sums, page);
    bytes = g_malloc(sums->page_bytes);
    err = take_page(sums, page, bytes);
    return err != 0 ? err : walk_nodes(sums, page, bytes, kind, depth);
}

/* All that @meta leads to. */
static int walk_all(VvSums *sums, const uint8_t *meta, bool verify)
{
    const uint8_t *trees = meta + META_AT_TREES;
    int err;

    sums->verify = verify;
    sums->walk_txn = vv_get_u64(meta + META_AT_TXN);
    sums->walk_last_page = vv_get_u64(meta + META_AT_LAST_PAGE);
    g_array_set_size(sums->fresh, 0);
    g_array_set_size(sums->freed, 0);
    g_clear_pointer(&sums->why, g_free);
    err = walk_tree(sums, vv_get_u64(trees + TREE_AT_ROOT), TREE_FREE, 0);
    return err != 0 ? err : walk_tree(sums, vv_get_u64(trees + TREE_BYTES + TREE_AT_ROOT), TREE_TABLES, 0);
}

/* LMDB reads through a mapping, where a missing tail would be a SIGBUS. It leaves the file short where a transaction gave back
 * pages at the end unwritten; what is really missing is zeroes then, and found as damage. */
static int lengthen(const VvSums *sums)
{
    uint64_t needed_bytes = (vv_get_u64(sums->meta + META_AT_LAST_PAGE) + 1) * sums->page_bytes;
    struct stat st;

    if (fstat(sums->data_fd, &st) != 0)
        return -EIO;
    if ((uint64_t) st.st_size >= needed_bytes)
        return 0;
    return ftruncate(sums->data_fd, (off_t) needed_bytes) == 0 ? 0 : -errno;
}

/* ---- roots */
static uint32_t root_crc(const uint8_t *root)
{
    return vv_crc32c(vv_crc32c(0, root, 12), root + 16, ROOT_BYTES - 16);
}

/* 0; -ENODATA: zeroes, never written; -EUCLEAN; -EOPNOTSUPP: a newer format. */
static int read_root(const VvSums *sums, unsigned copy, uint8_t root[ROOT_BYTES])
{
    ssize_t got = pread(sums->sums_fd, root, ROOT_BYTES, (off_t) copy * ROOT_BYTES);
    uint32_t page_bytes = vv_get_u32(root + 24);
    uint64_t txn = vv_get_u64(root + 16);

    if (got < 0)
        return -EIO;
    if (got != ROOT_BYTES)
        return -EUCLEAN;
    if (root[0] == 0 && memcmp(root, root + 1, ROOT_BYTES - 1) == 0)
        return -ENODATA;
    if (memcmp(root, root_magic, sizeof root_magic) != 0 || vv_get_u32(root + 12) != root_crc(root))
        return -EUCLEAN;
    if (vv_get_u32(root + 8) != ROOT_VERSION)
        return -EOPNOTSUPP;
    if (page_bytes < SECTOR_BYTES || page_bytes > PAGE_BYTES_MAX || (page_bytes & (page_bytes - 1)) != 0 || txn == 0 ||
        txn != vv_get_u64(root + ROOT_AT_META + META_AT_TXN) || copy / 2 != (txn & 1))
        return -EUCLEAN;
    return 0;
}

/* Takes the newest. -EUCLEAN also if both copies of either root are bad: it may have been the newest. */
static int read_roots(VvSums *sums)
{
    bool found = false, all_bad[2] = { true, true };

    for (unsigned copy = 0; copy < ROOT_COPIES; copy++) {
        uint8_t root[ROOT_BYTES];
        int err = read_root(sums, copy, root);

        if (err == -EIO)
            return unreadable(sums, err, VV_SUMS_FILE, (uint64_t) copy * ROOT_BYTES);
        if (err == -EOPNOTSUPP)
            return err;
        all_bad[copy / 2] = all_bad[copy / 2] && err == -EUCLEAN;
        if (err == -EUCLEAN)
            vv_log(VV_LOG_WARNING, "metadata store %s: a copy of the root in %s is damaged", sums->path, VV_SUMS_FILE);
        if (err != 0 || (found && vv_get_u64(root + 16) <= sums->txn))
            continue;
        found = true;
        sums->txn = vv_get_u64(root + 16);
        sums->page_bytes = vv_get_u32(root + 24);
        memcpy(sums->meta, root + ROOT_AT_META, META_BYTES);
    }
    return found && !all_bad[0] && !all_bad[1] ? 0 : damaged(sums, "the root in %s", VV_SUMS_FILE);
}

/* C3 */
static int write_root(VvSums *sums, const uint8_t *meta)
{
    uint8_t root[ROOT_BYTES] = { 0 };
    uint64_t txn = vv_get_u64(meta + META_AT_TXN), at = (txn & 1) * 2 * ROOT_BYTES;
    int err;

    memcpy(root, root_magic, sizeof root_magic);
    vv_put_u32(root + 8, ROOT_VERSION);
    vv_put_u64(root + 16, txn);
    vv_put_u32(root + 24, sums->page_bytes);
    memcpy(root + ROOT_AT_META, meta, META_BYTES);
    vv_put_u32(root + 12, root_crc(root));
    err = vv_pwrite_full(sums->sums_fd, root, sizeof root, at);
    if (err == 0)
        err = vv_pwrite_full(sums->sums_fd, root, sizeof root, at + ROOT_BYTES);
    return err != 0 ? err : fdatasync(sums->sums_fd) == 0 ? 0 : -EIO;
}

/* ---- certifying */
static int by_page(const void *a, const void *b)
{
    uint64_t x = ((const NewPage *) a)->page, y = ((const NewPage *) b)->page;

    return (x > y) - (x < y);
}

/* Has the sector a sum of a page in use? */
static bool sector_is_used(const VvSums *sums, uint64_t number)
{
    for (uint64_t page = number * SECTOR_SUMS; page < (number + 1) * SECTOR_SUMS; page++)
        if (is_used(sums, page))
            return true;
    return false;
}

static int write_sums(VvSums *sums)
{
    guint i = 0;

    g_array_sort(sums->fresh, by_page);
    while (i < sums->fresh->len) {
        uint64_t number = g_array_index(sums->fresh, NewPage, i).page / SECTOR_SUMS;
        uint8_t sector[SECTOR_BYTES];
        int err = vvs_read_sector(sums->sums_fd, number, sector);

        if (err == -EUCLEAN && !sector_is_used(sums, number)) {
            memset(sector, 0, sizeof sector); /* nobody has asked it yet */
            err = 0;
        }
        if (err != 0)
            return err;
        for (; i < sums->fresh->len && g_array_index(sums->fresh, NewPage, i).page / SECTOR_SUMS == number; i++) {
            const NewPage *fresh = &g_array_index(sums->fresh, NewPage, i);

            vv_put_u32(sector + fresh->page % SECTOR_SUMS * 4, fresh->crc);
        }
        vv_put_u32(sector + SECTOR_SUMS * 4, sector_crc(number, sector));
        err = vv_pwrite_full(sums->sums_fd, sector, sizeof sector, SECTORS_AT + number * SECTOR_BYTES);
        if (err != 0)
            return err;
    }
    return fdatasync(sums->sums_fd) == 0 ? 0 : -EIO;
}

/* The commit is certified. */
static void adopt(VvSums *sums, const uint8_t *meta)
{
    guint count_freed = sums->freed->len > 0 ? (guint) MIN(g_array_index(sums->freed, uint64_t, 0), sums->freed->len - 1) : 0;

    for (guint i = 1; i <= count_freed; i++)
        set_used(sums, g_array_index(sums->freed, uint64_t, i), false);
    for (guint i = 0; i < sums->fresh->len; i++)
        set_used(sums, g_array_index(sums->fresh, NewPage, i).page, true);
    memcpy(sums->meta, meta, META_BYTES);
    sums->txn = vv_get_u64(meta + META_AT_TXN);
}

int vv_sums_certify(VvSums *sums)
{
    uint8_t pages[2][META_PAGE_BYTES];
    const uint8_t *meta = NULL;
    int err = 0;

    for (unsigned slot = 0; slot < 2 && err == 0; slot++) {
        err = vvs_read_meta(sums->data_fd, sums->page_bytes, slot, pages[slot]);
        if (err == 0 && !vvs_meta_is_sane(pages[slot], slot, sums->page_bytes))
            err = -EUCLEAN;
    }
    if (err != 0)
        return err;
    meta = pages[0] + PAGE_HEAD_BYTES;
    if (vv_get_u64(pages[1] + PAGE_HEAD_BYTES + META_AT_TXN) > vv_get_u64(meta + META_AT_TXN))
        meta = pages[1] + PAGE_HEAD_BYTES;
    if (vv_get_u64(meta + META_AT_TXN) == sums->txn)
        return 0;
    err = walk_all(sums, meta, false);
    if (err == 0)
        err = write_sums(sums);
    if (err == 0)
        err = write_root(sums, meta);
    if (err == 0)
        adopt(sums, meta);
    else
        vv_log(VV_LOG_ERROR, "metadata store %s: the map's checksums cannot be written: %s", sums->path,
            sums->why != NULL ? sums->why : g_strerror(-err));
    return err;
}

int vv_sums_reserve(VvSums *sums, uint64_t data_bytes)
{
    uint64_t sectors = data_bytes / sums->page_bytes / SECTOR_SUMS + 1;

    if (fallocate(sums->sums_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t) (SECTORS_AT + sectors * SECTOR_BYTES)) != 0 && errno != EOPNOTSUPP)
        return errno;
    return 0;
}

/* ---- open, create, close */
static int open_file(const char *path, const char *name, int flags)
{
    g_autofree char *full = g_build_filename(path, name, NULL);
    int fd = open(full, O_RDWR | O_CLOEXEC | flags, 0600);

    return fd < 0 ? -errno : fd;
}

/* @name, @flags: of the file of sums, how to open it. */
static VvSums *sums_new(const char *path, const char *name, int flags, int *ret_error)
{
    VvSums *sums = g_new0(VvSums, 1);

    sums->path = g_strdup(path);
    sums->fresh = g_array_new(FALSE, FALSE, sizeof(NewPage));
    sums->freed = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    sums->sums_fd = open_file(path, name, flags);
    sums->data_fd = open_file(path, "data.mdb", 0);
    *ret_error = sums->sums_fd < 0 ? sums->sums_fd : sums->data_fd < 0 ? sums->data_fd : 0;
    return sums;
}

void vv_sums_close(VvSums *sums)
{
    if (sums == NULL)
        return;
    vv_lazy_free(sums->lazy);
    vv_close_fd(&sums->data_fd);
    vv_close_fd(&sums->sums_fd);
    g_array_unref(sums->fresh);
    g_array_unref(sums->freed);
    g_free(sums->used);
    g_free(sums->why);
    g_free(sums->path);
    g_free(sums);
}

bool vv_sums_create(const char *path, GError **error)
{
    uint8_t page[META_PAGE_BYTES];
    int err = 0;
    VvSums *sums = sums_new(path, VV_SUMS_FILE, O_CREAT | O_EXCL, &err);

    /* Both headers tell the size of a page; the first is at 0 whatever it is. */
    if (err == 0)
        err = vv_pread_full(sums->data_fd, page, sizeof page, 0);
    if (err == 0) {
        sums->page_bytes = vv_get_u32(page + PAGE_HEAD_BYTES + META_AT_TREES);
        err = ftruncate(sums->sums_fd, SECTORS_AT) == 0 ? vv_sums_certify(sums) : -errno;
    }
    if (err != 0)
        vv_set_error_errno(error, err, path, "metadata store %s: writing %s", path, VV_SUMS_FILE);
    vv_sums_close(sums);
    return err == 0;
}

static void set_open_error(const VvSums *sums, int err, GError **error)
{
    if (err == -ENOENT && sums->sums_fd < 0)
        vv_set_error(error, VV_ERROR_NOT_FOUND, sums->path, "Put it back as it was, together with data.mdb, or see whether it can be made anew: vvfs-admin pool check --repair.",
            "%s/%s is missing: without it damage to the map cannot be told", sums->path, VV_SUMS_FILE);
    else if (err == -EUCLEAN)
        vv_set_error(error, VV_ERROR_DAMAGED, sums->path,
            "Nothing was changed. Look at the medium of this directory; the disks are not concerned.",
            "metadata store %s is damaged: %s", sums->path, sums->why);
    else if (err == -EIO && sums->why != NULL)
        vv_set_error(error, VV_ERROR_IO, sums->path, VV_SUMS_UNREADABLE_HINT, "metadata store %s cannot be read: %s", sums->path, sums->why);
    else if (err == -EOPNOTSUPP)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, sums->path, "use the newer vvfs that made it",
            "metadata store %s: %s is of a newer format", sums->path, VV_SUMS_FILE);
    else
        vv_set_error_errno(error, err, sums->path, "metadata store %s: checking its pages", sums->path);
}

uint64_t vv_sums_at_once_bytes = VV_MAP_AT_ONCE_BYTES;

/* The walk goes by keys, so what is compared whole is asked of the medium in its own order first. */
static int verify_all(VvSums *sums, VvMapCheck check)
{
    uint64_t count_pages = vv_get_u64(sums->meta + META_AT_LAST_PAGE) + 1, data_bytes = count_pages * sums->page_bytes;
    int err;

    bool closes = sums->page_bytes % (uint64_t) sysconf(_SC_PAGESIZE) == 0; /* what is smaller than the system's cannot be closed alone */
    if (closes && (check == VV_MAP_LATE || (check == VV_MAP_BY_SIZE && data_bytes > vv_sums_at_once_bytes)))
        sums->lazy = vv_lazy_new(sums->data_fd, sums->sums_fd, sums->page_bytes, count_pages);
    for (uint64_t at = 0; at < data_bytes && sums->lazy == NULL; at += PREFETCH_BYTES)
        posix_fadvise(sums->data_fd, (off_t) at, PREFETCH_BYTES, POSIX_FADV_WILLNEED);
    sums->cache = g_new(SectorCache, 1);
    memset(sums->cache->numbers, 0xff, sizeof sums->cache->numbers);
    err = walk_all(sums, sums->meta, true);
    g_clear_pointer(&sums->cache, g_free);
    if (sums->lazy != NULL && vv_lazy_left(sums->lazy) == 0)
        g_clear_pointer(&sums->lazy, vv_lazy_free);
    return err;
}

VvLazy *vv_sums_lazy(const VvSums *sums) { return sums->lazy; }

int vv_sums_first_key(const VvSums *sums, uint64_t *ret_offset)
{
    g_autofree uint8_t *bytes = g_malloc(sums->page_bytes);
    uint64_t page = vv_get_u64(sums->meta + META_AT_TREES + TREE_BYTES + TREE_AT_ROOT);

    for (unsigned depth = 0; depth < TREE_DEPTH_MAX && page != NO_PAGE; depth++) {
        int err = vv_pread_full(sums->data_fd, bytes, sums->page_bytes, page * sums->page_bytes);
        size_t node_at;

        if (err != 0)
            return err;
        node_at = vv_get_u16(bytes + PAGE_HEAD_BYTES);
        if (node_at + NODE_HEAD_BYTES > sums->page_bytes)
            break;
        *ret_offset = page * sums->page_bytes + node_at + NODE_HEAD_BYTES;
        if (vv_get_u16(bytes + 10) == PAGE_LEAF)
            return 0;
        page = child_of(bytes + node_at);
    }
    return -EUCLEAN;
}

VvSums *vv_sums_open(const char *path, VvMapCheck check, GError **error)
{
    uint64_t began_ns = vv_monotonic_ns();
    int err = 0;
    VvSums *sums = sums_new(path, check == VV_MAP_TRIAL ? VV_SUMS_NEW_FILE : VV_SUMS_FILE, 0, &err);

    if (err == 0)
        err = read_roots(sums);
    if (err == 0)
        err = lengthen(sums);
    if (err == 0)
        err = verify_all(sums, check);
    if (err == 0)
        err = vvs_restore_metas(sums->path, sums->data_fd, sums->page_bytes, sums->meta); /* C1 */
    if (err != 0) {
        set_open_error(sums, err, error);
        g_clear_pointer(&sums, vv_sums_close);
        return NULL;
    }
    sums->open_usec = (vv_monotonic_ns() - began_ns) / 1000;
    vv_log(VV_LOG_DEBUG, "metadata store %s: %" G_GUINT64_FORMAT " pages checked in %" G_GUINT64_FORMAT " us", path,
        sums->count_used, sums->open_usec);
    return sums;
}

/* ---- for store_rebuild.c */
int vvs_check_root(int sums_fd)
{
    VvSums sums = { .sums_fd = sums_fd, .path = (char *) VV_SUMS_FILE };
    int err = read_roots(&sums);

    g_free(sums.why);
    return err;
}

int vvs_write_new(int sums_fd, const uint8_t *meta, uint32_t page_bytes, GArray *pages)
{
    VvSums sums = { .sums_fd = sums_fd, .page_bytes = page_bytes, .fresh = pages };
    int err = ftruncate(sums_fd, SECTORS_AT) == 0 ? write_sums(&sums) : -errno;

    return err != 0 ? err : write_root(&sums, meta);
}

void vv_sums_figures(const VvSums *sums, uint64_t *ret_pages, uint64_t *ret_usec)
{
    *ret_pages = sums->count_used;
    *ret_usec = sums->open_usec;
}
