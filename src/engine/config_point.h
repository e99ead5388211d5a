/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Points: freezing LUNs at one instant (snapshot, refresh, adopt), and what may lie behind a LUN's end. */
#ifndef VV_CONFIG_POINT_H
#define VV_CONFIG_POINT_H

#include "transaction.h"

/* The LUNs that freeze together. */
typedef struct {
    GPtrArray *views; /* VvView, sorted by id; owned */
    uint64_t *epochs; /* by view: the newest epoch that the entry freezes; owned */
} VvFreeze;
#define VV_FREEZE_INIT \
    {                  \
        NULL, NULL     \
    }
void vv_freeze_clear(VvFreeze *freeze);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvFreeze, vv_freeze_clear)

/* @lun_ids: one for each SNAPSHOT_CREATE of the transaction; a LUN may be in it more than once. Flush with gates open, close,
 * drain, switch, open, sync, commit @tx. On error nothing is frozen. Errors: not-found, timeout, io, no-space. */
bool vv_freeze_commit(VvFreeze *freeze, VvTransaction *tx, const GArray *lun_ids, const char *object, GError **error);
/* Append SNAPSHOT_CREATE; returns the id. @name "" makes a hidden point. @options may be NULL. */
uint64_t vv_add_snapshot(VvTransaction *tx, uint64_t lun_id, const char *name, const VvSnapshotOptions *options);

/* config_lun.c: is [from, to) behind the LUN's end all holes in its applied map? */
bool vv_lun_tail_is_hole(VvView *view, uint64_t from_bytes, uint64_t to_bytes, bool *ret_hole, GError **error);
/* config_lun.c: drop everything at and behind @size_bytes from the applied map. The write gate is closed, nothing is pending. */
bool vv_lun_cut_tail(VvView *view, uint64_t size_bytes, GError **error);

#endif
