/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sums are lost if their file is missing, or in it both copies of a root, or sectors, are damaged; not if the medium does not give them, which may
 * pass, and they would tell more than can be found without them: who knows better moves the file away. New ones vouch for whatever is there, so
 * first everything is held against everything that is left:
 *
 *   - a page whose sector of sums is whole must fit its sum: else it is the map that is damaged, and not the sums;
 *   - LMDB's trees, from the newest header that leads to such pages: each page is named once and has its number, keys ascend and lie between
 *     those of the branch above, all leaves are equally deep, pages and records are as many as the tree says, pages are listed free once,
 *     in order, and not if in use;
 *   - the caller then opens the pool with the new file on trial, and goes through all records (`pool check`): they have checksums. What opening
 *     changes in LMDB's headers is put back if that ends with a finding (store_headers.c).
 *
 * A changed byte is found by that: records carry their own keys in their checksums, and the number of records is in the tree. What is not found
 * where sums are lost: a leaf that is an older one of the same table, as many keys between the same bounds, because the medium has lost a
 * write. Its records are whole, and `pool check` tells only where they contradict others (blocks used twice, or by nobody). */
#include "store_rebuild.h"

#include "codec.h"
#include "error.h"
#include "store_sums.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const uint8_t *bytes; /* NULL: none */
    size_t length_bytes;
} Key;

typedef struct {
    uint64_t branches, leaves, overflows, records;
    unsigned depth;
    TreeKind kind;
} Tree;

typedef struct {
    int data_fd, sums_fd; /* -1: there is none */
    uint32_t page_bytes;
    uint64_t last_page;
    GByteArray *seen; /* a bit for each page */
    GArray *pages;    /* NewPage */
    GArray *listed;   /* uint64_t: pages that are free */
    uint64_t count_lost; /* pages without a sum that is whole */
    uint64_t sector_number;
    int sector_error;
    uint8_t sector[SECTOR_BYTES];
    char *why; /* of -EUCLEAN */
} Rebuild;

static int G_GNUC_PRINTF(2, 3) wrong(Rebuild *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_free(r->why);
    r->why = g_strdup_vprintf(format, args);
    va_end(args);
    return -EUCLEAN;
}

/* ---- pages */

static bool is_seen(const Rebuild *r, uint64_t page) { return (r->seen->data[page / 8] >> page % 8 & 1) != 0; }

static void set_seen(Rebuild *r, uint64_t page) { r->seen->data[page / 8] = (uint8_t) (r->seen->data[page / 8] | 1u << page % 8); }

static int compare_old(Rebuild *r, uint64_t page, uint32_t crc)
{
    if (r->sums_fd >= 0 && r->sector_number != page / SECTOR_SUMS) {
        r->sector_number = page / SECTOR_SUMS;
        r->sector_error = vvs_read_sector(r->sums_fd, r->sector_number, r->sector);
        if (r->sector_error == 0 && vv_get_u32(r->sector + SECTOR_SUMS * 4) == 0 && memcmp(r->sector, r->sector + 1, SECTOR_BYTES - 1) == 0)
            r->sector_error = -EUCLEAN; /* zeroes: never written */
        if (r->sector_error != 0 && r->sector_error != -EUCLEAN)
            return r->sector_error;
    }
    if (r->sums_fd < 0 || r->sector_error != 0) {
        r->count_lost++;
        return 0;
    }
    return vv_get_u32(r->sector + page % SECTOR_SUMS * 4) == crc ? 0 : wrong(r, "page %" G_GUINT64_FORMAT " does not fit its checksum", page);
}

static int claim_page(Rebuild *r, uint64_t page)
{
    if (page < 2 || page > r->last_page)
        return wrong(r, "page %" G_GUINT64_FORMAT " is named, and there are %" G_GUINT64_FORMAT, page, r->last_page + 1);
    if (is_seen(r, page))
        return wrong(r, "page %" G_GUINT64_FORMAT " is named twice", page);
    set_seen(r, page);
    return 0;
}

static int take_page(Rebuild *r, uint64_t page, uint8_t *bytes)
{
    NewPage one = { .page = page };
    int err = claim_page(r, page);

    if (err != 0)
        return err;
    err = vv_pread_full(r->data_fd, bytes, r->page_bytes, page * r->page_bytes);
    if (err != 0)
        return err;
    one.crc = vv_crc32c(vvs_page_crc_begin(page), bytes, r->page_bytes);
    g_array_append_val(r->pages, one);
    return compare_old(r, page, one.crc);
}

/* ---- trees */

static int compare_keys(const Tree *tree, Key a, Key b)
{
    int order;

    if (tree->kind == TREE_FREE) {
        uint64_t x = vv_get_u64(a.bytes), y = vv_get_u64(b.bytes);

        return (x > y) - (x < y);
    }
    order = memcmp(a.bytes, b.bytes, MIN(a.length_bytes, b.length_bytes));
    return order != 0 ? order : (a.length_bytes > b.length_bytes) - (a.length_bytes < b.length_bytes);
}

static int walk(Rebuild *r, Tree *tree, uint64_t page, unsigned depth, Key low, Key high);

/* @record: MDB_db. */
static int walk_tree(Rebuild *r, const uint8_t *record, TreeKind kind)
{
    Tree tree = { .depth = vv_get_u16(record + TREE_AT_DEPTH), .kind = kind };
    uint64_t root = vv_get_u64(record + TREE_AT_ROOT);
    Key none = { .bytes = NULL };
    int err = root == NO_PAGE ? 0 : walk(r, &tree, root, 1, none, none);

    if (err == 0 && (tree.branches != vv_get_u64(record + 8) || tree.leaves != vv_get_u64(record + 16) ||
                        tree.overflows != vv_get_u64(record + TREE_AT_OVERFLOW_PAGES) || tree.records != vv_get_u64(record + 32)))
        return wrong(r, "a tree has not as many pages and records as it says");
    return err;
}

static int take_value(Rebuild *r, Tree *tree, uint64_t first, uint64_t value_bytes, GByteArray *value)
{
    g_autofree uint8_t *bytes = g_malloc(r->page_bytes);
    uint64_t count = (PAGE_HEAD_BYTES + value_bytes + r->page_bytes - 1) / r->page_bytes, kept = 0;
    int err = 0;

    for (uint64_t i = 0; i < count; i++) {
        err = take_page(r, first + i, bytes);
        if (err == 0 && i == 0) {
            kept = vv_get_u32(bytes + 12);
            if (vv_get_u64(bytes) != first || (vv_get_u16(bytes + 10) & PAGE_OVERFLOW) == 0 || kept < count)
                err = wrong(r, "page %" G_GUINT64_FORMAT " is no overflow page", first);
        }
        if (err != 0)
            return err;
        g_byte_array_append(value, bytes + (i == 0 ? PAGE_HEAD_BYTES : 0), r->page_bytes - (i == 0 ? PAGE_HEAD_BYTES : 0));
    }
    for (uint64_t i = count; i < kept && err == 0; i++) /* a value that became shorter keeps its pages, and nobody reads them */
        err = claim_page(r, first + i);
    tree->overflows += kept;
    g_byte_array_set_size(value, (guint) value_bytes);
    return err;
}

/* How many there are, then they. */
static int list_free(Rebuild *r, const uint8_t *value, size_t value_bytes)
{
    if (value_bytes < 8 || vv_get_u64(value) > value_bytes / 8 - 1)
        return wrong(r, "a list of free pages is too short");
    for (uint64_t i = 2; i <= vv_get_u64(value); i++)
        if (vv_get_u64(value + 8 * i) >= vv_get_u64(value + 8 * (i - 1)))
            return wrong(r, "a list of free pages does not descend"); /* LMDB finds pages in a row by that */
    g_array_append_vals(r->listed, value + 8, (guint) vv_get_u64(value));
    return 0;
}

static int walk_record(Rebuild *r, Tree *tree, uint64_t page, const uint8_t *node, size_t room_bytes)
{
    uint64_t value_bytes = vv_get_u16(node) | (uint64_t) vv_get_u16(node + 2) << 16;
    uint16_t flags = vv_get_u16(node + 4), key_bytes = vv_get_u16(node + 6);
    const uint8_t *value = node + NODE_HEAD_BYTES + key_bytes;
    g_autoptr(GByteArray) large = g_byte_array_new();
    int err;

    tree->records++;
    if (NODE_HEAD_BYTES + key_bytes + ((flags & NODE_BIG) != 0 ? 8 : value_bytes) > room_bytes || (flags & ~(NODE_BIG | NODE_TREE)) != 0)
        return wrong(r, "page %" G_GUINT64_FORMAT " has a bad record", page);
    if ((flags & NODE_BIG) != 0) {
        err = take_value(r, tree, vv_get_u64(value), value_bytes, large);
        if (err != 0)
            return err;
        value = large->data;
    }
    if (tree->kind == TREE_FREE)
        return list_free(r, value, value_bytes);
    if ((flags & NODE_TREE) == 0)
        return tree->kind == TREE_TABLES ? wrong(r, "page %" G_GUINT64_FORMAT " has a table that is none", page) : 0;
    if (tree->kind != TREE_TABLES || value_bytes != TREE_BYTES)
        return wrong(r, "page %" G_GUINT64_FORMAT " has a bad table", page);
    return walk_tree(r, value, TREE_RECORDS);
}

/* The key of a node; false: it is not within the page, or none that this tree can have. */
static bool key_of(const Rebuild *r, const Tree *tree, const uint8_t *bytes, uint16_t index, uint16_t lower, bool may_be_empty, Key *ret_key)
{
    size_t at = vv_get_u16(bytes + PAGE_HEAD_BYTES + 2 * index);

    if (at < lower || at + NODE_HEAD_BYTES > r->page_bytes)
        return false;
    *ret_key = (Key){ .bytes = bytes + at + NODE_HEAD_BYTES, .length_bytes = vv_get_u16(bytes + at + 6) };
    return at + NODE_HEAD_BYTES + ret_key->length_bytes <= r->page_bytes &&
           (may_be_empty || (ret_key->length_bytes > 0 && (tree->kind != TREE_FREE || ret_key->length_bytes == 8)));
}

static int walk_page(Rebuild *r, Tree *tree, uint64_t page, const uint8_t *bytes, unsigned depth, Key low, Key high)
{
    uint16_t lower = vv_get_u16(bytes + 12), count = (uint16_t) ((lower - PAGE_HEAD_BYTES) / 2);
    bool is_branch = vv_get_u16(bytes + 10) == PAGE_BRANCH;
    int err = 0;

    for (uint16_t i = 0; i < count && err == 0; i++) {
        bool implied = is_branch && i == 0, last = i + 1 == count; /* a branch's first key is not looked at */
        Key key, next = high;

        if (!key_of(r, tree, bytes, i, lower, implied, &key) || (!last && !key_of(r, tree, bytes, (uint16_t) (i + 1), lower, false, &next)))
            return wrong(r, "page %" G_GUINT64_FORMAT " has a bad record", page);
        if (implied)
            key = low;
        if ((key.bytes != NULL && next.bytes != NULL && compare_keys(tree, key, next) >= 0) ||
            (key.bytes != NULL && low.bytes != NULL && compare_keys(tree, key, low) < 0))
            return wrong(r, "keys in page %" G_GUINT64_FORMAT " are not in order", page);
        size_t at = vv_get_u16(bytes + PAGE_HEAD_BYTES + 2 * i);
        err = is_branch ? walk(r, tree, vv_get_u16(bytes + at) | (uint64_t) vv_get_u16(bytes + at + 2) << 16 |
                                            (uint64_t) vv_get_u16(bytes + at + 4) << 32, depth + 1, key, next)
                        : walk_record(r, tree, page, bytes + at, r->page_bytes - at);
    }
    return err;
}

static int walk(Rebuild *r, Tree *tree, uint64_t page, unsigned depth, Key low, Key high)
{
    g_autofree uint8_t *bytes = g_malloc(r->page_bytes);
    int err = take_page(r, page, bytes);
    uint16_t flags, lower;

    if (err != 0)
        return err;
    flags = vv_get_u16(bytes + 10);
    lower = vv_get_u16(bytes + 12);
    if (vv_get_u64(bytes) != page || flags != (depth == tree->depth ? PAGE_LEAF : PAGE_BRANCH) || depth > tree->depth ||
        tree->depth > TREE_DEPTH_MAX || lower <= PAGE_HEAD_BYTES || lower % 2 != 0 || lower > r->page_bytes)
        return wrong(r, "page %" G_GUINT64_FORMAT " is no page of its tree", page);
    if (flags == PAGE_BRANCH)
        tree->branches++;
    else
        tree->leaves++;
    return walk_page(r, tree, page, bytes, depth, low, high);
}

static int walk_map(Rebuild *r, const uint8_t *meta)
{
    int err;

    r->last_page = vv_get_u64(meta + META_AT_LAST_PAGE);
    if (r->last_page >= UINT32_MAX)
        return wrong(r, "a header tells of %" G_GUINT64_FORMAT " pages", r->last_page);
    g_byte_array_set_size(r->seen, (guint) (r->last_page / 8 + 1));
    memset(r->seen->data, 0, r->seen->len);
    g_array_set_size(r->pages, 0);
    g_array_set_size(r->listed, 0);
    r->count_lost = 0;
    r->sector_number = NO_PAGE;
    err = walk_tree(r, meta + META_AT_TREES, TREE_FREE);
    if (err == 0)
        err = walk_tree(r, meta + META_AT_TREES + TREE_BYTES, TREE_TABLES);
    for (guint i = 0; err == 0 && i < r->listed->len; i++) {
        uint64_t page = g_array_index(r->listed, uint64_t, i);

        if (page < 2 || page > r->last_page || is_seen(r, page))
            err = wrong(r, "page %" G_GUINT64_FORMAT " is listed free, and is in use, no page, or listed twice", page);
        else
            set_seen(r, page);
    }
    return err;
}

/* ---- both headers */

/* 0: @meta, one of LMDB's two, leads to a map that is in order. */
static int try_headers(Rebuild *r, uint8_t meta[META_BYTES])
{
    uint8_t pages[2][META_PAGE_BYTES];
    bool sane[2] = { false, false };
    int err = vv_pread_full(r->data_fd, pages[0], sizeof pages[0], 0);
    g_autofree char *first = NULL; /* what is wrong with the newest */
    unsigned newest;

    if (err != 0)
        return err;
    r->page_bytes = vv_get_u32(pages[0] + PAGE_HEAD_BYTES + META_AT_TREES);
    if (r->page_bytes < SECTOR_BYTES || r->page_bytes > PAGE_BYTES_MAX || (r->page_bytes & (r->page_bytes - 1)) != 0)
        return wrong(r, "its header is damaged");
    err = vv_pread_full(r->data_fd, pages[1], sizeof pages[1], r->page_bytes);
    if (err != 0)
        return err;
    for (unsigned slot = 0; slot < 2; slot++)
        sane[slot] = vvs_meta_is_sane(pages[slot], slot, r->page_bytes);
    newest = vv_get_u64(pages[1] + PAGE_HEAD_BYTES + META_AT_TXN) > vv_get_u64(pages[0] + PAGE_HEAD_BYTES + META_AT_TXN) ? 1 : 0;
    err = wrong(r, "its headers are damaged");
    for (unsigned i = 0; i < 2 && err != 0; i++) {
        unsigned slot = i == 0 ? newest : 1 - newest;

        if (!sane[slot])
            continue;
        memcpy(meta, pages[slot] + PAGE_HEAD_BYTES, META_BYTES);
        err = walk_map(r, meta);
        if (err != 0 && err != -EUCLEAN)
            return err;
        if (first == NULL)
            first = g_steal_pointer(&r->why);
    }
    if (first != NULL)
        wrong(r, "%s", first);
    return err;
}

static int open_in(const char *path, const char *name, int flags)
{
    g_autofree char *full = g_build_filename(path, name, NULL);
    int fd = open(full, flags | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : fd;
}

/* @new_fd: -ENOENT: there was no trial. */
static int put_back(const char *path, int new_fd)
{
    int data_fd, err;

    if (new_fd < 0)
        return new_fd == -ENOENT ? 0 : new_fd;
    data_fd = open_in(path, "data.mdb", O_RDWR);
    err = data_fd < 0 ? data_fd : vvs_put_back_metas(new_fd, data_fd);
    vv_close_fd(&data_fd);
    return err;
}

static int put_back_trial(const char *path)
{
    int new_fd = open_in(path, VV_SUMS_NEW_FILE, O_RDONLY), err = put_back(path, new_fd);

    vv_close_fd(&new_fd);
    return err;
}

static int rebuild(Rebuild *r, const char *path)
{
    uint8_t meta[META_BYTES];
    int fd, err = put_back_trial(path);

    if (err != 0)
        return err;
    r->data_fd = open_in(path, "data.mdb", O_RDONLY);
    r->sums_fd = open_in(path, VV_SUMS_FILE, O_RDONLY);
    if (r->data_fd < 0)
        return r->data_fd;
    if (r->sums_fd < 0 && r->sums_fd != -ENOENT)
        return r->sums_fd;
    err = try_headers(r, meta);
    if (err != 0)
        return err;
    err = r->sums_fd >= 0 ? vvs_check_root(r->sums_fd) : -EUCLEAN;
    if (err == 0 && r->count_lost == 0)
        return -EEXIST;
    if (err != 0 && err != -EUCLEAN)
        return err;
    fd = open_in(path, VV_SUMS_NEW_FILE, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0)
        return fd;
    err = vvs_note_metas(fd, r->data_fd, r->page_bytes, meta);
    if (err == 0)
        err = vvs_write_new(fd, meta, r->page_bytes, r->pages);
    vv_close_fd(&fd);
    return err;
}

bool vv_sums_rebuild(const char *path, GError **error)
{
    Rebuild r = { .data_fd = -1, .sums_fd = -1 };
    int err;

    r.seen = g_byte_array_new();
    r.pages = g_array_new(FALSE, FALSE, sizeof(NewPage));
    r.listed = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    err = rebuild(&r, path);
    if (err == -EUCLEAN)
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "%s/data.mdb itself is damaged: %s", path, r.why);
    else if (err == -EEXIST)
        vv_set_error(error, VV_ERROR_CONFLICT, path, NULL, "%s/%s is whole", path, VV_SUMS_FILE);
    else if (err == -EIO)
        vv_set_error(error, VV_ERROR_IO, path, VV_SUMS_UNREADABLE_HINT, "metadata store %s: the map or its checksums cannot be read", path);
    else if (err != 0)
        vv_set_error_errno(error, err, path, "metadata store %s: making %s anew", path, VV_SUMS_FILE);
    vv_close_fd(&r.data_fd);
    vv_close_fd(&r.sums_fd);
    g_byte_array_unref(r.seen);
    g_array_unref(r.pages);
    g_array_unref(r.listed);
    g_free(r.why);
    return err == 0;
}

bool vv_sums_end_trial(const char *path, bool take, GError **error)
{
    g_autofree char *fresh = g_build_filename(path, VV_SUMS_NEW_FILE, NULL), *name = g_build_filename(path, VV_SUMS_FILE, NULL);
    int err = take ? 0 : put_back_trial(path);

    if (err == 0)
        err = (take ? rename(fresh, name) : unlink(fresh)) == 0 ? vv_sync_directory(path) : -errno;
    if (err != 0)
        vv_set_error_errno(error, err, path, take ? "metadata store %s: putting %s in its place" : "metadata store %s: undoing what %s was tried with",
            path, VV_SUMS_NEW_FILE);
    return err == 0;
}
