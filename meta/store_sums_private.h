/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LMDB's format and the file of sums, for store_sums.c and the files beside it: store_headers.c, store_lazy.c, store_lmdb.c, store_rebuild.c. */
#ifndef VV_STORE_SUMS_PRIVATE_H
#define VV_STORE_SUMS_PRIVATE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- LMDB's format */
#define PAGE_BYTES_MAX 65536u /* of any LMDB */
#define PAGE_HEAD_BYTES 16u
#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_META 0x08u
#define NODE_HEAD_BYTES 8u
#define NODE_BIG 0x01u
#define NODE_TREE 0x02u
#define META_MAGIC 0xbeefc0deu
#define META_VERSION 1u
#define META_BYTES 136u
#define META_PAGE_BYTES (PAGE_HEAD_BYTES + META_BYTES) /* of page 0 and 1; behind it is nothing */
#define META_AT_TREES 24u /* two of TREE_BYTES: free pages, tables */
#define META_AT_LAST_PAGE 120u
#define META_AT_TXN 128u
#define TREE_BYTES 48u
#define TREE_AT_DEPTH 6u
#define TREE_AT_OVERFLOW_PAGES 24u
#define TREE_AT_ROOT 40u
#define TREE_DEPTH_MAX 32u /* of LMDB's cursors */
#define NO_PAGE UINT64_MAX

typedef enum { TREE_FREE, TREE_TABLES, TREE_RECORDS } TreeKind;

/* store_headers.c. Is it a header that LMDB can open? @page: its page's head, and it. */
bool vvs_meta_is_sane(const uint8_t *page, unsigned slot, uint32_t page_bytes);
/* What is not there is zeroes. */
int vvs_read_meta(int data_fd, uint32_t page_bytes, unsigned slot, uint8_t page[META_PAGE_BYTES]);
/* Make @meta what LMDB will find. Durable. */
int vvs_restore_metas(const char *path, int data_fd, uint32_t page_bytes, const uint8_t *meta);
/* That is to come for a trial: note in the file on trial what data.mdb is like before. Durable when vvs_write_new has returned. */
int vvs_note_metas(int new_fd, int data_fd, uint32_t page_bytes, const uint8_t *meta);
/* Make data.mdb what was noted, if only the trial has changed it since. Durable. 0 also if nothing was noted. */
int vvs_put_back_metas(int new_fd, int data_fd);

/* ---- the file of sums */
#define VV_SUMS_UNREADABLE_HINT \
    "Nothing was changed. Look at the medium of this directory. If it is map/sums, and stays so: move it away, and vvfs-admin pool check --repair."
#define SECTOR_BYTES 512u
#define SECTOR_SUMS 127u
#define SECTORS_AT 4096u
#define NOTE_AT 2048u /* of a file made anew; a sector */

typedef struct {
    uint64_t page;
    uint32_t crc;
} NewPage;

/* Both are safe in a signal handler. -EUCLEAN: neither a sector nor zeroes; -EIO. Past the end of the file are zeroes. */
int vvs_read_sector(int sums_fd, uint64_t number, uint8_t *sector);
/* What a page's sum begins with. */
uint32_t vvs_page_crc_begin(uint64_t page);
/* 0: there is a root, and none of those damaged that may be the newest; -EUCLEAN; -EIO: one cannot be read; -EOPNOTSUPP: of a newer format. */
int vvs_check_root(int sums_fd);
/* Write a whole file: the header it vouches for, and all pages in use (NewPage; sorted then). Durable; 0 or -errno. */
int vvs_write_new(int sums_fd, const uint8_t *meta, uint32_t page_bytes, GArray *pages);

#endif
