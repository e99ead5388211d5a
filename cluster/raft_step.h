/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libraft's header: named like ours, and not made for our warnings. */
#ifndef VV_RAFT_STEP_H
#define VV_RAFT_STEP_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <raft.h>
#pragma GCC diagnostic pop

#include "raft.h"

#endif
