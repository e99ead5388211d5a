/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of the store's pages: LMDB has none, and damage to its inner pages makes it crash or answer wrongly. The design is on
 * top of store_sums.c. Used by store.c alone: opened before LMDB sees the file, told of each commit by its one writer. */
#ifndef VV_STORE_SUMS_H
#define VV_STORE_SUMS_H

#include "map_check.h"
#include "store_lazy.h"

#include <glib.h>

#define VV_SUMS_FILE "sums"
#define VV_SUMS_NEW_FILE "sums.new" /* made anew, on trial */

typedef struct VvSums VvSums;

/* Make PATH/sums for the PATH/data.mdb that LMDB has just made, vouching for every page it holds now. */
bool vv_sums_create(const char *path, GError **error);
/* A larger map has its leaves compared in the background (C4): limits.h says how large. Tests set it. */
extern uint64_t vv_sums_at_once_bytes;
/* Check every page that is in use in PATH/data.mdb, which no LMDB environment may have open, with VV_SUMS_FILE or, on trial, with
 * VV_SUMS_NEW_FILE; by @check, all or all but those of vv_sums_lazy. A commit that was not certified is undone, LMDB's two headers are
 * mended, and the file is made as long as its header says. Errors: damaged (says which page), not-found (no sums), unsupported, io. */
VvSums *vv_sums_open(const char *path, VvMapCheck check, GError **error);
/* Where in data.mdb, as it was opened, the first key of LMDB's table of tables is. 0; -EIO; -EUCLEAN. */
int vv_sums_first_key(const VvSums *sums, uint64_t *ret_offset);
/* What is not compared yet; NULL: nothing. Borrowed until vv_sums_close. */
VvLazy *vv_sums_lazy(const VvSums *sums);
void vv_sums_close(VvSums *sums);
/* Vouch for what the last commit wrote; durable when it returns. Does nothing if all is certified. 0; -EUCLEAN; -ENOSPC; -EIO: then
 * nothing may be committed before another call has succeeded, because an uncertified commit can only be undone as long as no other
 * has reused its predecessor's pages. */
int vv_sums_certify(VvSums *sums);
/* Allocate what the sums of a map of @data_bytes take. 0 (also where the file system cannot allocate ahead) or an errno. */
int vv_sums_reserve(VvSums *sums, uint64_t data_bytes);
/* Pages in use, and microseconds that checking them took at open: for tests and measurements. */
void vv_sums_figures(const VvSums *sums, uint64_t *ret_pages, uint64_t *ret_usec);

#endif
