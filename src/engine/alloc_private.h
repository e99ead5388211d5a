/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allocator's insides, for alloc.c (bitmaps), alloc_load.c (what is known of them), alloc_cool.c (what was freed),
 * alloc_grant.c (segments), alloc_space.c (its thread).
 *
 * A block of a segment is used (applied), reserved (handed out, not applied yet), cooling (freed, perhaps still looked at), taken
 * out (behind segment->limit) or available; only the available ones are in the bitmaps here. A piece is the 8,192 blocks that one
 * record of meta tells of: */
#ifndef VV_ALLOC_PRIVATE_H
#define VV_ALLOC_PRIVATE_H

#include "engine.h"

typedef struct {
    uint64_t *bits;     /* 1 = available; NULL while all blocks are, or none, or while it is not known */
    uint16_t available; /* how many */
    bool known;         /* else the applied bitmap was not read yet */
} VvAllocPiece;

typedef struct {
    uint32_t number;
    uint32_t blocks;
    uint32_t limit;        /* blocks from here on are taken out */
    uint32_t available;    /* of the known pieces */
    uint32_t unknown_free; /* what the rest has, about */
    unsigned unknown_pieces;
    uint64_t changes; /* rises when something of it is freed or cooled: a piece that was read before is out of date */
    VvAllocPiece *pieces; /* owned */
} VvAllocSegment;

typedef struct {
    uint64_t id;
    GPtrArray *segments; /* VvAllocSegment by number, NULL where there is none */
    uint64_t blocks;     /* of all segments */
    uint64_t available, unknown_free;
    uint32_t cursor_segment, cursor_block;     /* where next-fit goes on */
    uint64_t rate_since_ms, rate_blocks, rate; /* blocks in this second so far, blocks per second lately */
    bool grant_asked;
    uint64_t grant_after_ms;                    /* a grant failed: not again before */
    uint64_t hopeless_event, hopeless_until_ms; /* -ENOSPC was final then, and holds as long */
} VvAllocFamily;

/* A family some of whose requests are parked for space. */
typedef struct {
    uint64_t family;
    uint32_t blocks;   /* what the least demanding one wants */
    uint64_t since_ms; /* what was pending then is journalled for them */
    uint64_t after_ms; /* nothing is in sight: look again then */
} VvAllocWant;

/* A run of freed blocks. */
typedef struct VvCooling VvCooling;
struct VvCooling {
    VvCooling *next;
    uint64_t tag; /* its era */
    uint64_t family;
    uint32_t segment, first, count;
};
typedef struct {
    VvCooling *first, *last;
} VvCoolingList;

struct VvAlloc {
    VvPool *pool;
    pthread_mutex_t lock;
    /* all below: lock */
    bool begun;             /* vv_alloc_begin */
    GHashTable *families;   /* VvAllocFamily by its id */
    VvCoolingList cooling;  /* by tag, ascending */
    VvCoolingList punching; /* taken from it, on their way */
    _Atomic uint64_t cooling_blocks;
    _Atomic uint64_t returning_blocks; /* taken out, and their return to the pool is not applied yet */
    _Atomic uint64_t events; /* rises with everything that may bring space */

    /* the thread: alloc_space.c */
    pthread_t thread;
    pthread_cond_t changed;
    bool work, stopping;
    GHashTable *to_load; /* ids of families that are asked for and not known */
    GHashTable *wanted;  /* VvAllocWant by its family */
};

/* ---- alloc.c; lock held */
uint64_t *vv_alloc_bits_new(uint32_t blocks); /* zeroes; for vv_slab_put */
static inline uint32_t vv_alloc_piece_blocks(const VvAllocSegment *segment, uint32_t piece)
{
    return MIN(segment->blocks - piece * VV_PIECE_BLOCKS, VV_PIECE_BLOCKS);
}
static inline uint32_t vv_alloc_piece_count(const VvAllocSegment *segment)
{
    return (segment->blocks + VV_PIECE_BLOCKS - 1) / VV_PIECE_BLOCKS;
}
VvAllocFamily *vv_alloc_family(VvAlloc *alloc, uint64_t id);                    /* NULL: not known */
VvAllocSegment *vv_alloc_segment(const VvAllocFamily *family, uint32_t number); /* NULL: there is none */
/* Make blocks available, or (@available false) not; they must be the other way. Of known pieces. */
void vv_alloc_set(VvAllocFamily *family, VvAllocSegment *segment, uint32_t first, uint32_t count, bool available);
bool vv_alloc_are_available(const VvAllocSegment *segment, uint32_t first, uint32_t count);
void vv_alloc_segment_free(void *segment);
void vv_alloc_signal(VvAlloc *alloc); /* wake the thread */
/* Blocks that the family should have ahead: a second of its need. */
uint64_t vv_alloc_ahead(const VvAllocFamily *family, uint64_t now_ms);

/* ---- for the data path; without lock */
/* Blocks that nothing was written to: available at once. */
void vv_alloc_unreserve(VvAlloc *alloc, uint64_t family, VvPlace place, uint32_t count);
/* Was -ENOSPC final for the family, and has nothing happened since? */
bool vv_alloc_is_hopeless(VvAlloc *alloc, uint64_t family);
/* Something is pending that will free blocks when it is applied. */
void vv_alloc_will_free(VvAlloc *alloc);

/* ---- alloc_load.c; without lock, may wait for the store */
/* The family's segments from the catalog. False: there is no such family. */
bool vv_alloc_load_family(VvAlloc *alloc, uint64_t family);
/* Read pieces that are not known until @wanted blocks are available. */
void vv_alloc_load_pieces(VvAlloc *alloc, uint64_t family, uint64_t wanted);
/* All pieces of one segment. False: it cannot be read. */
bool vv_alloc_load_segment(VvAlloc *alloc, uint64_t family, uint32_t segment);
/* Blocks that a process which died had reserved are reserved again; before anybody allocates. False: they are not available. */
bool vv_alloc_adopt(VvAlloc *alloc, uint64_t family, VvPlace place, uint32_t count);
VvAllocSegment *vv_alloc_segment_new(uint32_t number, uint32_t blocks);

/* ---- alloc_reach.c: whose space could become a family's */
typedef struct VvReach {
    uint64_t family;
    GHashTable *families, *segments; /* NULL: all, for the family may use every disk */
} VvReach;
void vv_reach_init(VvReach *reach, VvPool *pool, uint64_t family); /* as it is now; takes the read lock */
void vv_reach_clear(VvReach *reach);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvReach, vv_reach_clear)
bool vv_reach_has_family(const VvReach *reach, uint64_t family);
bool vv_reach_has_segment(const VvReach *reach, uint64_t family, uint32_t number);

/* ---- alloc_cool.c */
void vv_cooling_add(VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count); /* lock held */
/* Take what cools in [first, first + count) of the segment out of @bits (bit 0 = first). lock held. */
void vv_cooling_mask(
    const VvAlloc *alloc, uint64_t family, uint32_t segment, uint32_t first, uint32_t count, uint64_t *bits);
bool vv_cooling_touches(const VvAlloc *alloc, uint64_t family, uint32_t segment); /* lock held */
/* Does anything cool that could become the family's? Takes the lock. */
bool vv_cooling_reaches(VvAlloc *alloc, const VvReach *reach);
void vv_cooling_clear(VvAlloc *alloc);

/* ---- alloc_grant.c; without lock, waits for the journal */
/* About @need more blocks for the family. False: its disks have none. */
bool vv_grant_more(VvAlloc *alloc, uint64_t family, uint64_t need);
/* Give back an empty segment, or half of one, that lies on the family's disks. False: there is none. */
bool vv_grant_squeeze(VvAlloc *alloc, uint64_t for_family);

/* ---- alloc_space.c */
void vv_alloc_start(VvAlloc *alloc);
void vv_alloc_stop(VvAlloc *alloc);

#endif
