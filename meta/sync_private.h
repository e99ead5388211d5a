/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stream of sync.h: for sync_give.c and sync_take.c. */
#ifndef VV_SYNC_PRIVATE_H
#define VV_SYNC_PRIVATE_H

#include "sync.h"

#define VVY_MAGIC "VVSTATE1"
#define VVY_HEAD_BYTES 16u
#define VVY_RECORD_BYTES 6u
#define VVY_END 255u
#define VVY_TAIL_BYTES 18u
#define VVY_VALUE_BYTES_MAX (64u << 20) /* the base of a cluster with a million segments has 24 MiB */

#endif
