/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workloads: choosing ops, doing them on a real pool, and looking at what a pool shows. */
#ifndef VV_CRASH_WORK_H
#define VV_CRASH_WORK_H

#include "model.h"
#include "pool.h"

/* All that ops are chosen by: the same letters with the same seed are the same ops. */
typedef struct {
    uint64_t random;
    uint32_t serial;
} Chance;
uint64_t chance_below(Chance *chance, uint64_t below);

#define OPS_EXHAUSTIVE "wfscdrxzmkj" /* every sequence of these */
#define OPS_RANDOM OPS_EXHAUSTIVE "wwwwwfneghOKwwdfpppb"

/* False: there is nothing to do that to (no snapshot to remove): leave it out. */
bool work_choose(const Model *model, char letter, Chance *chance, Op *ret_op);
/* Do it; what is refused fails the program. */
void work_do(VvPool *pool, const Op *op);
/* Everything that can be seen. */
void work_look(VvPool *pool, Shown *shown);
/* The metadata is as it should be; else why. */
bool work_check(VvPool *pool, char **ret_why);
bool work_check_offline(const char *directory, char **ret_why);

/* Pools that recordings begin with:
 *   0  closed: all in the map, the journal in its first file
 *   1  killed after a flush: a second disk, a clone, the journal in its second file, the first one free; entries that the map lacks
 *   2  the same with two files of the journal that are held
 * For a process of its own: never returns. The folder must not exist. */
#define BASES 3u
void work_make_base(unsigned number, const char *directory, Log *ret_model) __attribute__((noreturn));

#endif
