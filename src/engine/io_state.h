/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request's state, for the files that make up the data path: io.c, io_*.c, lock.c, park.c, lookup.c.
 *
 * States of a request, and the function that moves it on (all on its worker's thread):
 *
 *   admitted    io.c vv_io_admit         gate passed, counted in flight, block locks asked for; else parked
 *   locked      io_read.c, io_write.c    its era entered, pending looked up (at admission, if it had not to wait)
 *   mapped      lookup.c vv_io_map       old[] known: pending, then page cache, then the helper
 *   decided     io_write.c               how[] known
 *   allocated   io_write.c               target[] known; no space, or too much is pending: all given up, parked, admitted anew
 *   at disks    io_disk.c                parts under way
 *   published   io_write.c               records and pending set, in-flight count and locks left: one critical section
 *   done        io.c vv_io_finish
 */
#ifndef VV_IO_STATE_H
#define VV_IO_STATE_H

#include "flush.h"
#include "pending.h"

typedef struct VvIoState VvIoState;
typedef struct VvIoPart VvIoPart;

/* ---- block locks: lock.c */
struct VvBlockLock {
    VvBlockLock *previous, *next; /* in the view's bucket, in order of arrival */
    VvIoState *owner;
    uint64_t region;
    uint16_t begin, end;           /* blocks of the region, half open */
    uint16_t body_begin, body_end; /* those shared with others' bodies; the rest is exclusive */
};

/* What is done with a block: how[]. */
enum {
    VV_HOW_PENDING = 1 << 0,  /* old[] is pending's */
    VV_HOW_TAG = 1 << 1,      /* ... of this side of the last switch */
    VV_HOW_IN_PLACE = 1 << 2, /* written where it is */
    VV_HOW_REDIRECT = 1 << 3, /* written to a new place, and recorded */
    VV_HOW_DISCARD = 1 << 4,  /* recorded as a hole */
    VV_HOW_SUM = 1 << 5,      /* old[] has a checksum: sums[] */
};

typedef enum { VV_PARK_NONE, VV_PARK_GATE, VV_PARK_LOCK, VV_PARK_SPACE, VV_PARK_JOURNAL } VvPark;

/* One disk I/O of a request. */
struct VvIoPart {
    VvDiskIo io;
    VvIoState *state;
    VvIoPart *next;
};

struct VvIoState {
    VvIo *io; /* borrowed */
    VvPool *pool;
    VvIoPool *io_pool; /* where it goes back to, when the pool is perhaps being closed already */
    VvView *view;      /* borrowed: the submitter's handle keeps it */
    VvWorker *worker;  /* whose thread runs this */
    VvTask task;
    void (*resume)(VvIoState *state); /* what the task goes on with */
    uint64_t started_ns;

    /* parking: view->lock, save reason's owner-only uses */
    VvIoState *previous, *next; /* in view->parked, in a list to wake, or in the io pool's lists */
    VvPark parked, waits_for; /* the latter, and told: the worker's own, why it was parked last */
    bool told;                /* io->waits(true) was called */
    int wake_result;
    uint64_t deadline_ms; /* 0: not parked yet */
    bool space_final;     /* told that no space will come */
    bool waits_for_space; /* the view's on-full */

    /* what it holds */
    bool counted_read, counted_write, in_era;
    bool pending_read, accounted; /* pending was looked up at admission; all was left under the lock of publish */
    uint32_t era;
    unsigned lock_count, blockers; /* view->lock */
    VvBlockLock locks[2];

    /* the range, clipped at admission */
    uint64_t offset, end; /* bytes */
    uint64_t over_end;    /* end, as intent.c counted it; 0: it did not */
    uint64_t first_block;
    unsigned block_count;
    bool head_partial, tail_partial; /* the first or last block is not wholly covered */

    /* what the view was at admission: stays true while it is counted in flight */
    uint64_t branch, epoch, family;

    /* the map */
    struct {
        VvCachedPage page;
        bool missing;
    } regions[2];
    VvPlace hint; /* where the next allocation had best be; 0: none */
    unsigned redirect_count;
    bool changes_map, journal_full, forced; /* it must wait for the journal before it may; a block is being moved */
    bool redirects, summed, summing; /* everything it writes; some old[] has a checksum; what it writes gets some */
    VvPlace old[VV_IO_RUNS_MAX], target[VV_IO_RUNS_MAX];
    uint8_t how[VV_IO_RUNS_MAX];
    uint32_t *sums; /* of VV_IO_RUNS_MAX, once there was use for it: io_sums.c */

    /* at disks */
    VvIoPart *parts; /* finished ones, to be freed */
    unsigned outstanding;
    int part_result; /* the first failure */
    void (*after_parts)(VvIoState *state);
    uint64_t disk_set[VV_DISKS_MAX / 64]; /* slots written to */
    uint8_t *bounce;
    unsigned bounce_blocks;
    bool bounce_all; /* all blocks are in it; else only the partial tail */
};
/* ---- lists, by previous and next */
void vv_io_list_append(VvIoList *list, VvIoState *state);
void vv_io_list_remove(VvIoList *list, VvIoState *state);
VvIoState *vv_io_list_pop(VvIoList *list);
/* ---- lock.c: view->lock held */
/* Ask for the state's range, exclusively where it covers a block in part, or (@exclusive) everywhere. True: it has it at once.
 * Otherwise it is in line, and state->blockers falls to 0 when its turn comes. */
bool vv_block_lock_acquire(VvIoState *state, bool exclusive);
/* Leave, whether held or in line. Those whose turn has come are unparked into @woken. */
void vv_block_lock_release(VvIoState *state, VvIoList *woken);

/* ---- park.c */
/* Wait for @why, on the state's worker, which then goes on with state->resume. Returns 0, or the error that forbids waiting: then
 * it is not parked. view->lock held. */
int vv_park(VvIoState *state, VvPark why);
void vv_park_told(VvIoState *state); /* after vv_park, without view->lock: tells the submitter */
/* view->lock held. */
void vv_unpark(VvIoState *state, int result, VvIoList *woken);
/* Post their tasks; without view->lock. */
void vv_wake(VvIoList *woken);
/* Those waiting for @why. @final: there is no space, for those who do not wait for it. view->lock held. */
void vv_unpark_all(VvView *view, VvPark why, bool final, VvIoList *woken);
/* What has waited too long. Returns whether something still waits. */
bool vv_park_expire(VvView *view, uint64_t now_ms);
/* Wake the family's requests that are parked for space. Returns how many of them stay (@final: those that rather wait). */
unsigned vv_park_wake_space(VvPool *pool, uint64_t family, bool final);

/* ---- io_pool.c: memory */
VvIoState *vv_io_state_new(VvPool *pool);
void vv_io_state_free(VvIoState *state);
VvIoPart *vv_io_part_new(VvIoState *state);
void vv_io_parts_free(VvIoState *state);
/* True: state->bounce has room for @blocks now. False: the limit is reached; state->resume runs when it has. */
bool vv_bounce_get(VvIoState *state, unsigned blocks);
void vv_bounce_put(VvIoState *state);

/* ---- io.c */
/* Give up locks, count and era, without having changed anything. */
void vv_io_leave(VvIoState *state);
/* The same under view->lock, save the era. */
void vv_io_leave_locked(VvIoState *state, VvIoList *woken);
/* What vv_io_finish would do under view->lock, for who holds it: a lock less for each write. */
void vv_io_account_locked(VvIoState *state, int64_t result, VvIoList *woken);
/* One more in its view's statistics. view->lock held. */
void vv_io_count_locked(const VvIo *io, uint64_t started_ns, uint64_t bytes);
/* Leave what is still held, free the state, call done. */
void vv_io_finish(VvIoState *state, int64_t result);
/* (Re)start a request: io.c. */
void vv_io_admit(VvIoState *state);

/* ---- lookup.c */
/* Enter the era and look up what is pending. view->lock held. */
void vv_io_read_pending(VvIoState *state);
/* Fill old[] and regions[]; then @next, at once or later. -errno: @next gets part_result. */
void vv_io_map(VvIoState *state, void (*next)(VvIoState *state));
static inline unsigned vv_io_region_of(const VvIoState *state, unsigned block)
{
    return (unsigned) ((state->first_block + block) / VV_REGION_BLOCKS - state->first_block / VV_REGION_BLOCKS);
}

/* ---- io_disk.c: parts. begin, any number of adds, end; @after runs when all are over, with state->part_result. */
void vv_io_parts_begin(VvIoState *state, void (*after)(VvIoState *state));
/* @count blocks at @place, which do not cross a segment's end: all copies (write) or the first that answers (read). */
void vv_io_parts_add(VvIoState *state, bool write, uint64_t family, VvPlace place, unsigned count, void *data);
void vv_io_parts_end(VvIoState *state);
/* The family that names the place old[i]. */
uint64_t vv_io_family_of(const VvIoState *state, unsigned i);
/* Does @next follow @place on the medium, in the same segment? */
static inline bool vv_place_follows(VvPlace place, VvPlace next)
{
    return place != 0 && next != 0 && vv_place_same(place + 1, next) &&
           vv_place_segment(place) == vv_place_segment(next);
}

/* ---- io_read.c, io_write.c: from admission on */
void vv_io_read_start(VvIoState *state);
void vv_io_write_start(VvIoState *state);

/* ---- view.c */
/* Does a ticket cover everything that was written? view->lock held. */
bool vv_view_is_synced(const VvView *view);
/* Records or a dirty mtime came: keeps the view. view->lock held. */
void vv_view_has_pending(VvView *view);
/* True if nothing is pending any more: the caller drops a reference after unlocking. view->lock held. */
bool vv_view_settle_pending(VvView *view);
/* @view is gone for good (removed, purged). What it had pending is the caller's, for vv_retired_finish: pending_slots.h. */
void vv_view_retire(VvView *view, struct VvRetired *ret_retired);
VvDiskMark *vv_view_mark(VvView *view, unsigned slot);

#endif
