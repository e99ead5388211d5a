/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serving process's end of what it shares with the holder (hold.h). The loop's thread, unless marked [any]. */
#ifndef VV_HELD_H
#define VV_HELD_H

#include "control.h"
#include "hold.h"

typedef struct VvHeld VvHeld;

/* What the holder says; on the loop's thread. */
typedef struct {
    void (*term)(void *user, unsigned times); /* it was asked to end, so often by now */
    void (*leave)(void *user);
    void (*alone)(void *user); /* the holder has died */
} VvHeldFuncs;

/* @words: of --serve. Errors: unsupported (the state is another version's), internal. */
VvHeld *vv_held_open(const char *words, GError **error);
void vv_held_free(VvHeld *held);
/* It was only to be seen whether the state is understood. */
bool vv_held_is_probe(const VvHeld *held);
const VvHoldState *vv_held_state(const VvHeld *held); /* [any] */
/* The connection of a mount that was just made: the holder gets a share in its descriptors. */
bool vv_held_give(VvHeld *held, const VvFuseConnection *connection, GError **error);
bool vv_held_watch(VvHeld *held, VvControl *loop, const VvHeldFuncs *funcs, void *user);
/* From here on it serves. */
void vv_held_ready(VvHeld *held);
/* The last word: everything is closed. */
void vv_held_end(VvHeld *held, VvHoldPhase phase);

#endif
