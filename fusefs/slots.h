/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots: where a request of the kernel lives while it is under way, with its data.
 *
 *     area of one slot   [0, 4096)                header page; a request is read at 4096 - 80, so that the data of a WRITE
 *                                                 (behind 40 bytes of header and 40 of arguments) begin a page
 *                        [4096, 4096 + 1 MiB)     data
 *                        [.., + 4096)             slack
 *     state              free -> taken (read, being parsed) -> under way (given to the engine) -> settled (it returned from
 *                        vv_io_submit: may be interrupted) -> answered -> free
 *
 * Areas are address space without memory until touched. The free list is last in, first out; free slots keep touched memory as
 * far as it is in the worker's share together with what runs, the rest is given back. VV_SLOTS_RESERVED of each worker keep the memory of
 * all their data, locked, and are taken before others: so many requests of any size need no memory of the kernel. Slots are made as needed up to VV_SLOTS_MAX
 * per worker, more than the kernel has under way in the background (VV_FUSE_BACKGROUND_MAX), so that requests of LUNs that
 * wait never keep a worker from reading those of others (I9). What requests may hold is the affair of quota.c. */
#ifndef VV_SLOTS_H
#define VV_SLOTS_H

#include "handles.h"
#include "io.h"
#include "limits.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/uio.h>

#define VV_SLOT_HEADER_BYTES 80u /* fuse_in_header, fuse_write_in */
#define VV_SLOT_READ_BYTES \
    (VV_SLOT_HEADER_BYTES + VV_IO_BYTES_MAX) /* what the kernel asks of a reader: max_write and header */
#define VV_SLOT_AREA_BYTES (4096u + VV_IO_BYTES_MAX + 4096u)
#define VV_SLOTS_PER_CHUNK 16u
#define VV_SLOTS_RESERVED 2u /* one under way, one to read the next request into */
#define VV_SLOT_READY_BYTES 4096u /* of each: pages that it has from the start, behind that of the header */
#define VV_SLOT_CHUNKS_MAX 320u
#define VV_SLOTS_MAX \
    (VV_SLOTS_PER_CHUNK * VV_SLOT_CHUNKS_MAX) /* 5,120: the 4,096 of the background and 1,024 that wait in read(2) */
#define VV_SLOT_COST_BYTES \
    (10u << 10) /* that a request takes beside its data: the header's page, the slot, the engine's state */

typedef struct VvSlot VvSlot;
typedef struct VvSlots VvSlots;

typedef enum { VV_SLOT_FREE, VV_SLOT_UNDER_WAY, VV_SLOT_SETTLED, VV_SLOT_ANSWERED } VvSlotState;

struct VvSlot {
    VvIo io; /* first: io.user is the slot */
    VvSlots *slots;
    uint8_t *data; /* VV_IO_BYTES_MAX and slack; the request stands in front of it */
    const struct fuse_in_header *request; /* in the area: header, arguments and data without a gap */
    struct VvUringEntry *entry;           /* it came through a ring (uring.h), and its slot stays the entry's; else NULL: */
    int fd;                               /* that the request came from, and the reply goes to */
    uint32_t opcode;
    uint32_t touched_bytes; /* of the area, since memory was last given back */
    VvSlot *next;           /* free lists */
    bool reserved;          /* its memory is never given back */

    _Atomic uint64_t unique; /* 0 unless under way: so that an interrupt can search without locks */
    pthread_mutex_t lock;    /* guards what follows */
    VvSlotState state;
    VvAccount *account; /* charged; its handle is open as long as the request is under way */
    bool interrupted; /* asked for before it was settled */
    bool shed;        /* interrupted by the keeper */
    /* quota.c: set by the worker alone */
    _Atomic uint32_t charged_bytes;
    atomic_bool parked; /* now */
    bool waited;        /* ever */
};

/* One worker's. */
struct VvSlots {
    VvSlot *free, *reserve;      /* owner's thread */
    uint64_t warm_bytes;         /* touched memory of free slots; owner's thread */
    uint64_t running_bytes;      /* of requests that run; owner's thread (quota.c) */
    uint64_t share_bytes;        /* that both may have together */
    struct VvFuse *fuse;         /* whose they are: NULL in tests */
    _Atomic(VvSlot *) returned;  /* by other threads */
    pthread_t owner; /* valid once owned */
    bool owned;
    _Atomic(VvSlot *) chunks[VV_SLOT_CHUNKS_MAX]; /* arrays of VV_SLOTS_PER_CHUNK, never freed before the end */
    _Atomic uint32_t chunk_count;
    void *areas[VV_SLOT_CHUNKS_MAX];
};

/* False: no memory. @share_bytes: of touched memory that free slots and running requests may have together. */
bool vv_slots_init(VvSlots *slots, struct VvFuse *fuse, uint64_t share_bytes);
void vv_slots_clear(VvSlots *slots); /* all must be free */
/* Lock the reserved ones, with their memory. Bytes. */
size_t vv_slots_lock(VvSlots *slots);
/* The calling thread is the worker. */
void vv_slots_own(VvSlots *slots);
/* Owner. NULL: VV_SLOTS_MAX are under way, or no memory. */
VvSlot *vv_slot_get(VvSlots *slots);
/* Give back the memory of the slot's data behind the first @keep_bytes. Who owns the slot. */
void vv_slot_trim(VvSlot *slot, uint32_t keep_bytes);
/* Any thread: the slot is answered. */
void vv_slot_put(VvSlot *slot);
/* Any thread: what the slot said of its last request is forgotten. Part of put; an entry's slot is only cleared. */
void vv_slot_clear(VvSlot *slot);
/* The worker has ended: wait until those that other threads answer (a flush) have come back. */
void vv_slots_drain(VvSlots *slots);
/* Any thread: every slot there is, in any state. A false return of @each stops. */
void vv_slots_each(VvSlots *slots, bool (*each)(void *user, VvSlot *slot), void *user);

/* Milliseconds of the coarse monotonic clock: costs no more than a read of memory. */
uint64_t vv_coarse_ms(void);

#endif
