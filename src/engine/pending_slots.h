/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pending that survives the process: what the view puts into the file that its parent holds (pending_file.h), and what a successor
 * takes from it. For src/engine: see engine.h. Without a file everything here does nothing. */
#ifndef VV_PENDING_SLOTS_H
#define VV_PENDING_SLOTS_H

#include "io_state.h"
#include "pending_file.h"

/* A view's slots, while it has something pending; view->lock. */
struct VvViewSlots {
    uint32_t lun; /* its LUN slot; VV_NO_SLOT: there was none to be had */
    unsigned count, capacity;
    uint32_t *spare; /* owned: taken, and clear */
};

/* ---- view->lock held */
/* Have a slot for each of @records records. False: too many are in use. */
bool vv_slots_reserve(VvView *view, unsigned records);
/* Put the record, whose sequence is set, and note its slot in it. */
void vv_slots_put(VvView *view, VvRecord *record);
/* Records up to the newest, and the mtime, are what the next process will find. */
void vv_slots_publish(VvView *view);
/* @record is durable, and applied. */
void vv_slots_drop(VvView *view, const VvRecord *record);
void vv_slots_mtime_clean(VvView *view);
/* Nothing is pending any more. */
void vv_slots_end(VvView *view);

/* ---- what a view that is gone had; any thread, no lock held */
typedef struct VvRetired {
    uint64_t lun, family;
    VvRecordRing records;       /* owned */
    uint64_t logged_sequence;
    struct VvViewSlots *slots;  /* owned, or NULL */
} VvRetired;
/* The entry that took the LUN away is durable: blocks and slots go back. @keep: nobody knows, so the slots stay as they are. */
void vv_retired_finish(VvPool *pool, VvRetired *retired, bool keep);

/* ---- pending_adopt.c: life of pool->pending_file */
/* Map the file, if there is one. Errors: as vv_pending_file_open; conflict (another pool's). */
bool vv_pending_attach(VvPool *pool, const VvUuid *uuid, GError **error);
/* For vv_meta_open_as: may whoever has the file open the pool? Conflict: somebody else had it since, and there are records. */
bool vv_pending_check_cb(void *user, uint64_t before, GError **error);
/* The metadata is open: the file is ours. */
bool vv_pending_own(VvPool *pool, GError **error);
/* Adopt what the process before left, before anybody allocates or opens. Damaged: it contradicts itself or the catalog; it is kept. */
bool vv_pending_adopt(VvPool *pool, GError **error);
void vv_left_free(struct VvLeft *left);

/* ---- disks: a sync that failed, and writes that no sync covers, are not forgotten with the process */
void vv_pending_attach_disk(VvPool *pool, uint64_t id, unsigned slot, VvDisk *disk);
void vv_pending_detach_disk(VvPool *pool, uint64_t id, unsigned slot);
/* Is there a disk with writes of the process before that no sync of ours covers? Is it this one? Of another node's that is assumed (reach.h, R3). */
bool vv_pending_inherits(VvPool *pool);
bool vv_pending_disk_inherits(VvPool *pool, unsigned slot);
/* A new view: its first flush covers what the process before wrote. Read lock held. */
void vv_view_inherit_marks(VvView *view);
/* A ticket of the disk that was asked for by this process succeeded. */
void vv_pending_disk_synced(VvPool *pool, unsigned slot);

#endif
