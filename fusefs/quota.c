/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What requests hold, on the workers: how much memory they have, and when no more of them are read.
 *
 * A request keeps its slot and its data until it is answered. It is *running* while it goes on by itself (it is at a disk, in line
 * for a block, looking up its map), and *parked* while it waits for a gate, for space or for the journal.
 *
 *     Q1  A worker reads no request while those that run on it hold its share of VV_RUNNING_BYTES_MAX. What runs ends by itself,
 *         and each end lets the next one in: a LUN may have any depth, and costs the kernel's memory for what is too deep.
 *     Q2  No worker reads a request while those that are parked, of all LUNs, hold VV_PARKED_BYTES_MAX or VV_PARKED_COUNT_MAX.
 *     Q3  Q2 lasts for moments: a LUN that waits for longer gives up what is above its quota (keeper.c), so that the sum falls
 *         below the bound, and what parks on it above the quota is refused from then on, by us.
 *     Q4  Where memory for what is under way is short (slab.h), a worker reads only if nothing runs on it.
 *
 * A flush has no data, may end on another thread, and counts for neither Q1 nor Q4: it takes some 700 bytes of the slab and a page of its slot.
 * So what Q4 keeps for what is under way, 1 MiB, is enough for 1,500 at once, each of a caller that waits in the kernel; more get theirs after a
 * wait of the slab, then from malloc. Rejected: a maximum, behind which workers would not read. A disk whose sync hangs would stop the LUNs of
 * all others with it (I9), and nobody could tell them apart in the queue.
 *
 * Why not read on, and wait without the data? All requests of a mount come out of one queue: what is not read stops what is behind it,
 * so who waits must be read, and what was read cannot be put back (docs/fuse.md has what was tried). The parked counts are
 * shared and atomic; those of what runs are the worker's own. */
#include "nodes.h"
#include "slab.h"

#define WORTH_TRIMMING_BYTES (64u << 10)

/* All that are held may be in one queue, and some of its places must be left. */
void vv_quota_init(VvFuse *fuse, unsigned places)
{
    fuse->held_count_per_lun = places ? MAX(places / 2, 1) : VV_HELD_COUNT_PER_LUN;
    fuse->held_count_max = places ? MAX(places * 3 / 4, 1) : VV_HELD_COUNT_MAX;
}

/* ---- Q2: workers that do not read */

enum { READS = 0, STOPPED, TOLD_TO_GO_ON }; /* server->stopped */

static bool is_full(VvFuse *fuse)
{
    return atomic_load(&fuse->parked_bytes) >= VV_PARKED_BYTES_MAX ||
           atomic_load(&fuse->parked_count) >= VV_PARKED_COUNT_MAX;
}

static void go_on_run(VvTask *task)
{
    VvServer *server = (VvServer *) ((char *) task - G_STRUCT_OFFSET(VvServer, go_on));
    atomic_store(&server->stopped, READS);
    vv_worker_unhold(server->worker);
}

/* Less is parked: who stopped goes on. Any thread. */
static void let_go_on(VvFuse *fuse)
{
    if (is_full(fuse))
        return;
    for (unsigned i = 0; i < fuse->server_count; i++) {
        VvServer *server = &fuse->servers[i];
        unsigned stopped = STOPPED;
        if (atomic_load(&server->stopped) == STOPPED &&
            atomic_compare_exchange_strong(&server->stopped, &stopped, TOLD_TO_GO_ON))
            vv_worker_post(server->worker, &server->go_on);
    }
}

/* True: this worker has a hold until somebody lets it go on. */
static bool stop(VvServer *server)
{
    unsigned stopped = STOPPED;
    if (atomic_load(&server->stopped) != READS)
        return true;
    server->go_on.run = go_on_run;
    vv_worker_hold(server->worker);
    atomic_store(&server->stopped, STOPPED);
    if (is_full(server->fuse)) { /* who makes room after this sees that we stopped */
        atomic_fetch_add_explicit(&server->fuse->stops, 1, memory_order_relaxed);
        return true;
    }
    if (!atomic_compare_exchange_strong(&server->stopped, &stopped, READS))
        return true; /* the task is on its way */
    vv_worker_unhold(server->worker);
    return false;
}

bool vv_quota_may_read(VvServer *server)
{
    uint64_t share = VV_RUNNING_BYTES_MAX / server->fuse->server_count;
    uint64_t running = server->slots.running_bytes;
    if (running >= share || (running > 0 && vv_slab_is_short())) /* Q1, Q4 */
        return false;
    if (atomic_load_explicit(&server->stopped, memory_order_relaxed) == READS && !is_full(server->fuse))
        return true;
    return !stop(server); /* Q2 */
}

/* ---- a request runs */

static void run(VvSlot *slot)
{
    slot->charged_bytes = slot->touched_bytes + VV_SLOT_COST_BYTES;
    slot->slots->running_bytes += slot->charged_bytes;
}

void vv_quota_begin(VvServer *server, VvSlot *slot, uint32_t length_bytes)
{
    uint64_t share = VV_RUNNING_BYTES_MAX / server->fuse->server_count;
    VvSlots *slots = slot->slots;
    /* A small request in a slot that had a large one: what it does not need goes back before anybody has to wait for it. */
    if (slot->touched_bytes > length_bytes + WORTH_TRIMMING_BYTES &&
        slots->running_bytes + slot->touched_bytes > share / 4)
        vv_slot_trim(slot, length_bytes);
    slot->touched_bytes = MAX(slot->touched_bytes, length_bytes);
    run(slot);
}

void vv_quota_begin_flush(VvSlot *slot)
{
    if (slot->touched_bytes > WORTH_TRIMMING_BYTES)
        vv_slot_trim(slot, 0);
    slot->charged_bytes = 0; /* it may end on any thread */
}

/* ---- it is parked */

bool vv_quota_is_over(const VvFuse *fuse, uint64_t bytes, uint64_t count)
{
    return bytes > VV_HELD_BYTES_PER_LUN || count > fuse->held_count_per_lun;
}

static void refuse(VvSlot *slot)
{
    {
        VV_LOCKED(&slot->lock);
        slot->shed = true;
    }
    atomic_fetch_add_explicit(&slot->slots->fuse->refused, 1, memory_order_relaxed);
    vv_io_interrupt(&slot->io); /* our own thread is where it would end: it is there still */
}

static void park(VvSlot *slot)
{
    VvAccount *account = slot->account;
    VvFuse *fuse = slot->slots->fuse;
    uint32_t length_bytes = slot->io.kind == VV_IO_READ || slot->io.kind == VV_IO_WRITE ? slot->io.length_bytes : 0;
    slot->slots->running_bytes -= slot->charged_bytes;
    uint32_t keep_bytes = slot->io.kind == VV_IO_WRITE ? length_bytes : 0;
    if (slot->touched_bytes > keep_bytes + WORTH_TRIMMING_BYTES)
        vv_slot_trim(slot, keep_bytes);
    slot->charged_bytes =
        length_bytes + VV_SLOT_COST_BYTES; /* a read needs it when it goes on, with all others at once */
    slot->parked = true;
    if (!slot->waited) {
        slot->waited = true;
        if (atomic_fetch_add(&account->waiting, 1) == 0) { /* nobody has waited for long yet */
            atomic_store_explicit(&account->progress_ms, vv_coarse_ms(), memory_order_relaxed);
            atomic_store_explicit(&account->held, false, memory_order_relaxed);
        }
    }
    uint64_t bytes = slot->charged_bytes + atomic_fetch_add(&account->bytes, slot->charged_bytes);
    uint64_t count = 1 + (uint64_t) atomic_fetch_add(&account->count, 1);
    uint64_t all_bytes = slot->charged_bytes + atomic_fetch_add(&fuse->parked_bytes, slot->charged_bytes);
    uint64_t all_count = 1 + (uint64_t) atomic_fetch_add(&fuse->parked_count, 1);
    bool over = vv_quota_is_over(fuse, bytes, count);
    if (over && atomic_load_explicit(&account->held, memory_order_relaxed))
        refuse(slot); /* Q3 */
    if (over || all_bytes > VV_HELD_BYTES_MAX || all_count > fuse->held_count_max)
        vv_keeper_wake(fuse);
}

static void unpark(VvSlot *slot)
{
    VvFuse *fuse = slot->slots->fuse;
    slot->parked = false;
    atomic_fetch_sub(&slot->account->bytes, slot->charged_bytes);
    atomic_fetch_sub(&slot->account->count, 1);
    atomic_fetch_sub(&fuse->parked_bytes, slot->charged_bytes);
    atomic_fetch_sub(&fuse->parked_count, 1);
    let_go_on(fuse);
}

void vv_quota_waits(VvIo *io, bool waits)
{
    VvSlot *slot = io->user;
    if (waits) {
        park(slot);
    } else {
        unpark(slot);
        slot->touched_bytes = MAX(slot->touched_bytes, io->kind == VV_IO_READ ? io->length_bytes : 0);
        run(slot);
    }
}

/* ---- it ends */

void vv_quota_end(VvSlot *slot, bool well)
{
    VvAccount *account = slot->account;
    if (slot->waited) {
        if (well) { /* so the others may hope */
            atomic_store_explicit(&account->progress_ms, vv_coarse_ms(), memory_order_relaxed);
            atomic_store_explicit(&account->held, false, memory_order_relaxed);
        }
        atomic_fetch_sub(&account->waiting, 1);
    }
    if (slot->parked)
        unpark(slot);
    else if (slot->charged_bytes > 0)
        slot->slots->running_bytes -= slot->charged_bytes;
    slot->charged_bytes = 0;
    slot->waited = false;
}

/* ---- looking */

void vv_fuse_holds(VvFuse *fuse, VvFuseHolds *ret_holds)
{
    *ret_holds = (VvFuseHolds){
        .parked_bytes = atomic_load_explicit(&fuse->parked_bytes, memory_order_relaxed),
        .parked_requests = atomic_load_explicit(&fuse->parked_count, memory_order_relaxed),
        .read_stops = atomic_load_explicit(&fuse->stops, memory_order_relaxed),
        .refused_requests = atomic_load_explicit(&fuse->refused, memory_order_relaxed),
    };
}
