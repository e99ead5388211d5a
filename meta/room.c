/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room for the map: space of the file system that is allocated to data.mdb behind what it holds, and that only the store can use.
 *
 *   pages of the store in use | free pages inside | allocated behind its end
 *                             '--------- room ----------------------------'
 *
 * R1  A checkpoint needs at most what the store holds once more, if all of it is rewritten, and what is new. So at each checkpoint
 *     room is made for KEPT_BYTES, and as much again as the store holds, up to KEPT_AGAIN_BYTES; less in a small map.
 * R2  When that cannot be had, or a checkpoint finds no space, the pool is cramped: what would make the map larger is refused, until
 *     there is some more. So that room is for removal, discarding and checkpoints alone.
 * R3  Data that is written to the same file system cannot take it, whoever is faster: it is never let go.
 * R4  A checkpoint is due before it could need more than half of what there is: vvm_room_is_short. */
#include "meta_private.h"

#include <errno.h>
#include <unistd.h>

#define KEPT_BYTES ((uint64_t) VV_RESERVE_FILE_BYTES / 2)
#define KEPT_AGAIN_BYTES ((uint64_t) 7 * VV_RESERVE_FILE_BYTES)
#define TOUCHED_BYTES 4096u

/* The format of before had a file of its own for this. */
static void remove_old_file(const VvMeta *meta)
{
    g_autofree char *path = g_build_filename(meta->directory, "reserve", NULL);
    (void) unlink(path);
}

/* What must be there (R1). */
static uint64_t needed(const VvStoreRoom *room)
{
    uint64_t bytes = KEPT_BYTES + MIN(room->used_bytes, KEPT_AGAIN_BYTES);
    return MIN(bytes, room->limit_bytes / 2);
}

int vvm_room_update(VvMeta *meta, int result)
{
    VvStoreRoom room;
    int rc = vv_store_room(meta->store, 0, &room);
    uint64_t least = rc == 0 ? needed(&room) : 0;
    uint64_t wanted = least + MIN(KEPT_BYTES, room.limit_bytes / 16);
    if (rc == 0)
        rc = vv_store_room(meta->store, wanted, &room);
    if (rc == -ENOSPC) {
        remove_old_file(meta);
        rc = vv_store_room(meta->store, wanted, &room);
    }
    if (rc != 0 && rc != -ENOSPC)
        return rc;
    if (rc == 0)
        remove_old_file(meta);
    atomic_store(&meta->room_bytes, room.room_bytes);
    atomic_store(&meta->used_bytes, room.used_bytes);
    atomic_store(&meta->beyond_bytes, room.beyond_bytes);
    if (result == -ENOSPC || room.room_bytes < least)
        atomic_store(&meta->cramped, true);
    else if (result == 0 && room.room_bytes >= wanted)
        atomic_store(&meta->cramped, false);
    return rc;
}

bool vvm_room_is_short(VvMeta *meta)
{
    /* Each page and index entry may lie in a leaf of its own, which is rewritten; new ones are stored twice at most, by splits. */
    uint64_t touched = (meta->filling.regions.count + (uint64_t) meta->filling.index.count) * TOUCHED_BYTES;
    uint64_t most = MIN(touched, atomic_load(&meta->used_bytes)) + 2 * (uint64_t) meta->filling.bytes;
    return most > (atomic_load(&meta->room_bytes) + atomic_load(&meta->beyond_bytes) / 2) / 2;
}

bool vv_meta_is_cramped(VvMeta *meta)
{
    return atomic_load_explicit(&meta->cramped, memory_order_relaxed);
}

uint64_t vv_meta_room(VvMeta *meta)
{
    return atomic_load(&meta->room_bytes);
}

/* ---- what makes room */

static bool is_discard(const VvOp *op)
{
    for (uint32_t i = 0; i < op->map.change_count; i++)
        if (op->map.changes[i].place != 0)
            return false;
    return true;
}

bool vv_ops_only_free(const VvOps *ops)
{
    bool frees = false;
    for (guint i = 0; i < ops->len; i++) {
        const VvOp *op = vv_ops_get(ops, i);
        switch (op->kind) {
        case VV_OP_SEGMENT_SHRINK:
        case VV_OP_LUN_REMOVE:
        case VV_OP_SNAPSHOT_REMOVE:
        case VV_OP_PURGE:
        case VV_OP_RECLAIM:
            frees = true;
            break;
        case VV_OP_MAP:
            if (!is_discard(op))
                return false;
            frees = true;
            break;
        case VV_OP_NOOP: /* what may go along */
        case VV_OP_JOB_SET:
        case VV_OP_REQUEST:
            break;
        default:
            return false;
        }
    }
    return frees;
}
