/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE over io_uring (option `ring`): requests and answers travel in a server's own ring instead of /dev/fuse.
 *
 * The kernel has a queue for each possible CPU, filled by the tasks that run there. A server owns one queue, or several where there
 * are more CPUs than servers, and has given the kernel VvUringEntry's for each: a slot with room for one request. A request comes as
 * the completion of the entry's command; the next command carries the answer and waits for the next request. One system call
 * sends all answers of a round and fetches what has come meanwhile.
 *
 *     entry   registering -> waiting (the kernel has it) -> fetched (a request is in its slot) -> answered: waiting again
 *             gone, from any of them: the mount has ended
 *
 * U1  An entry serves no other request until its own is answered, and there are few: what waits for space or for a gate may
 *     hold only a part of them (keeper.c), or the other LUNs would wait too.
 * U2  Commands are sent by the server's thread only. An answer of another thread goes there by the mailbox.
 * U3  FORGET and INTERRUPT still come through /dev/fuse, and notifications go there: one more server, without a queue, reads it.
 * U4  Once the kernel was told, it waits until every queue has an entry, and there is no way back. So whatever can refuse is
 *     asked before INIT is answered. */
#ifndef VV_URING_H
#define VV_URING_H

#include "fuse_private.h"

typedef struct VvUringEntry VvUringEntry;

/* Can it be used, as far as can be known before the mount? False: *ret_why says what is missing. */
bool vv_uring_is_possible(const char **ret_why);
/* How many queues the kernel has: one per possible CPU. 0: cannot be told. */
unsigned vv_uring_queue_count(void);
unsigned vv_uring_entries_per_queue(unsigned queue_count);
/* Does the kernel offer it in this INIT request? */
bool vv_uring_is_offered(const void *request, size_t length_bytes);
/* Accept the offer in our answer to INIT. */
void vv_uring_accept(struct fuse_init_out *out);
/* Before the server's thread runs its worker: have it register entries for the queues that are its own. */
void vv_uring_start(VvServer *server, unsigned queue_count, unsigned server_count);
/* Whether the server's thread stays on the CPU whose queue it serves, if it is one, is from now on decided by what comes (uring.c,
 * U5). On that thread. */
void vv_uring_place(VvServer *server, unsigned queue_count, unsigned server_count);
/* The server has ended. */
void vv_uring_clear(VvServer *server);
/* Answer the request in @slot, which must not be used any more (U2: any thread). @iov: data behind the header, may point into
 * slot->data. */
void vv_uring_reply(VvSlot *slot, uint64_t unique, int error, const struct iovec *iov, int count);

#endif
