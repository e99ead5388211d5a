/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file of sums made anew, where it is lost and the map is sound. For store.c. */
#ifndef VV_STORE_REBUILD_H
#define VV_STORE_REBUILD_H

#include <glib.h>
#include <stdbool.h>

/* Make PATH/sums.new for PATH/data.mdb, which nobody has open; PATH/sums and data.mdb stay as they are, or become again what they were before a
 * trial that was cut short. Errors: damaged: LMDB's trees are not in order, or a page does not fit a sum that is whole (says which);
 * conflict: no sum is lost; io, no-space. */
bool vv_sums_rebuild(const char *path, GError **error);
/* The file has been tried: @take it for good, or remove it and put back what opening with it has changed in data.mdb. */
bool vv_sums_end_trial(const char *path, bool take, GError **error);

#endif
