/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A change is made when the other nodes show it: who made one asks each of them to answer when its map has it and its kernel was told.
 *
 *   here: the change is in the map     --VV_SETTLE {index}-->     there, vv-control: vv_settle_take
 *   vv_settle waits for all that are up       <-- {} --           vv-news, when all up to that index was told (news.h)
 *
 * A witness has no mount that could show anything, and is not asked.
 *
 * Q2  The node with the disks answers when guests (guests.h) show it too: they hear of nothing from others.
 * Q1  Nothing depends on it but how soon others see a change, so nobody is waited for longer than VV_SETTLE_MS, and who has not answered the
 *     question before not at all. */
#ifndef VV_SETTLE_H
#define VV_SETTLE_H

#include "daemon.h"

struct VvPeer;

#define VV_SETTLE 0x0308u   /* a request between peers; body: index u64 */
#define VV_SETTLE_MS 1000u  /* as long as a successor takes to go on with a mount */

/* What this node's map has of changes of the configuration: until the others show it, but node @but (0: all). Of a pool of one node it returns at
 * once. Any thread that may wait. */
void vv_settle(VvDaemon *daemon, uint64_t but);
/* vv-control. Answers in any case. */
void vv_settle_take(VvDaemon *daemon, struct VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes);

/* Who has not answered; owned by the node. */
typedef struct VvSettled VvSettled;
VvSettled *vv_settled_new(void);
void vv_settled_free(VvSettled *settled);

#endif
