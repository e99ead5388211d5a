/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's term and vote in the cluster's elections: the file "vote" of the pool directory. A node that forgets one of them can make two
 * leaders of one term, so what is set is durable before this returns, and a file that is not there or not whole is an error, never
 * a beginning.
 *
 * Two copies, at 0 and 4096, written and synced one after the other; little-endian:
 *     0   8  magic "VVVOTE\0\0"      32   8  sequence, rising
 *     8   4  format, 1               40   8  term
 *    12   4  0                       48   8  vote: a node's id, 0 none
 *    16  16  pool UUID               56   4  crc32c of bytes 0 to 55; zeroes to 512
 * The good copy with the higher sequence counts. So a write that is torn leaves what was, which nobody outside has been told of yet,
 * and a sector that rots later leaves the other.
 *
 * Threads: one at a time. */
#ifndef VV_VOTE_H
#define VV_VOTE_H

#include "journal.h"

#define VV_VOTE_FILE "vote"

typedef struct VvVote VvVote;

/* Make the file in the pool directory, with @term and @vote, durably; one that is there is replaced. */
bool vv_vote_create(const char *directory, const VvUuid *pool, uint64_t term, uint64_t vote, GError **error);
/* @ops NULL: plain files. Errors: not-found; damaged: neither copy is good; conflict: another pool's; unsupported: newer; io. */
VvVote *vv_vote_open(const char *directory, const VvUuid *pool, const VvRunOps *ops, GError **error);
void vv_vote_close(VvVote *vote);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvVote, vv_vote_close)
void vv_vote_get(const VvVote *vote, uint64_t *ret_term, uint64_t *ret_vote);
/* 0, or -EIO, from then on for ever: what is on the medium is not known any more. */
int vv_vote_set(VvVote *vote, uint64_t term, uint64_t who);

#endif
