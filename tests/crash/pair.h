/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two things at once on a recorded pool: writes on workers of their own, as a mount's, and a flush beside one. */
#ifndef VV_CRASH_PAIR_H
#define VV_CRASH_PAIR_H

#include "model.h"
#include "view.h"

/* Both halves of @op (OP_PAIR, OP_BESIDE) begin together; back when both were answered. Their workers stay until the process ends. */
void pair_do(VvView *first, VvView *second, const Op *op);

#endif
