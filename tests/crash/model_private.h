/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What model.c and shown.c share. */
#ifndef VV_CRASH_MODEL_PRIVATE_H
#define VV_CRASH_MODEL_PRIVATE_H

#include "model.h"

/* What whole sectors held before, or will hold if a change that is under way reaches them. Immutable, so lists share their ends. */
struct ModelPiece {
    int refs;
    ModelPiece *next;
    uint64_t offset, length;
    uint8_t data[];
};

#endif
