/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool of which n2 is a node too, its server of objects, and n2 that asks it: what tests of the server share. */
#ifndef VV_OBJECTS_RIG_H
#define VV_OBJECTS_RIG_H

#include "objects-net.h"
#include "view.h"

#define LUN_BYTES ((uint64_t) 8 << 20)
#define MIB ((uint32_t) 1 << 20)
#define N2 2u
#define RIG_LOOK_US 500
#define RIG_LOOKS 40000u /* 20 s are for ever */

typedef struct {
    char *folder, *directory;
    VvPool *pool;
} TestPool;

typedef struct {
    TestPool *pool;
    VvObjectServer *server;
    ServeNet *net;
    uint64_t lun; /* "a", of LUN_BYTES */
} Rig;

/* Served, and n2 is connected; @options may be NULL. Unopened: neither. */
Rig *rig_new(void);
Rig *rig_new_with(const VvObjectServerOptions *options);
Rig *rig_unopened(const VvObjectServerOptions *options);
void rig_serve(Rig *rig);
/* Ends what runs, and checks the pool. */
void rig_free(Rig *rig);
void rig_open_pool(TestPool *test);
uint64_t rig_lun_new(TestPool *test, const char *name, uint64_t size_bytes); /* 0: elastic */
uint64_t rig_snapshot_new(TestPool *test); /* "a@s" */
VvObjectServerStats rig_stats(Rig *rig);
VvView *rig_view(Rig *rig, uint64_t object);          /* open; a reference */
unsigned rig_openers(Rig *rig, uint64_t object);      /* of n2 */

/* Wait until @condition, in which @is may be used, holds. */
#define await(rig, condition)                               \
    G_STMT_START                                            \
    {                                                       \
        VvObjectServerStats is = rig_stats(rig);            \
        for (unsigned looks = 0; !(condition); looks++) {   \
            if (looks == RIG_LOOKS)                         \
                g_error("it never came to %s", #condition); \
            g_usleep(RIG_LOOK_US);                          \
            is = rig_stats(rig);                            \
        }                                                   \
        (void) is;                                          \
    }                                                       \
    G_STMT_END

/* ---- asking */
ServeCall call_of(VvObjectOp op, uint64_t object, uint64_t offset, uint64_t length);
ServeCall open_call(uint64_t object, uint64_t handle, unsigned flags);
extern uint8_t block[MIB]; /* data of all writes; */
ServeCall write_call(uint64_t object, uint64_t offset, uint32_t length, int value); /* ... @value from here on */
/* Each waits for the answer: its result, of put the bytes. */
int call(Rig *rig, ServeCall *one);
int ask(Rig *rig, VvObjectOp op, uint64_t object, uint64_t offset, uint64_t length);
int open_as(Rig *rig, uint64_t object, uint64_t handle, unsigned flags);
int close_as(Rig *rig, uint64_t object, uint64_t handle);
int put(Rig *rig, uint64_t object, uint64_t offset, uint32_t length, int value);
/* The value of all bytes; -1: they differ; or -errno, which is less. */
int get(Rig *rig, uint64_t object, uint64_t offset, uint32_t length);

#endif
