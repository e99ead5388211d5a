/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads through a mapping of a file that cannot be done: SIGSEGV where a page may not be looked at yet, SIGBUS where the medium does not
 * give it (or the file has become shorter). Both come in the thread that reads, in the instruction that does. For store.c.
 *
 *   F1  A page that may not be looked at yet is asked for (@admit, in the signal handler); if it is admitted, the read goes on.
 *   F2  Else the read is left by longjmp to vv_fault_trap, if this thread has set it. LMDB is called with a trap set: while it reads it
 *       holds no lock; a write transaction that was left this way is never touched again (store.c S8).
 *   F3  Without a trap the process dies as it would have, and what comes elsewhere is the business of who had the signal before. */
#ifndef VV_STORE_FAULT_H
#define VV_STORE_FAULT_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VvFault VvFault;
/* Of a page, or of the sector of sums that it is to be compared with; the last: the kernel does not open it. */
typedef enum {
    VV_FAULT_NONE,
    VV_FAULT_DAMAGED,
    VV_FAULT_UNREADABLE,
    VV_FAULT_SUMS_DAMAGED,
    VV_FAULT_SUMS_UNREADABLE,
    VV_FAULT_NO_MEMORY,
} VvFaultKind;
/* 0; -EUCLEAN; -EIO; -ENOMEM. */
int vv_fault_errno(VvFaultKind kind);

/* What setjmp returns at a trap. */
enum { VV_TRAPPED_ASSERT = 1, VV_TRAPPED_CLOSED, VV_TRAPPED_BUS, VV_TRAPPED_NO_MEMORY };
extern _Thread_local jmp_buf *vv_fault_trap;
/* Before this thread reads the mapping: threads that were begun with all signals blocked must not be so here, or the kernel kills. */
extern _Thread_local bool vv_fault_unblocked;
void vv_fault_unblock(void);

/* May the page at @offset be looked at? VV_FAULT_NONE: yes. Called in a signal handler, several at a time: only what is safe there. */
typedef VvFaultKind (*VvFaultAdmit)(void *user, uint64_t offset);

/* Watch the mapping of @bytes at @base until vv_fault_free; nothing reads it any more then. @admit: NULL, all may be. NULL: there are
 * too many, or signals cannot be had. */
VvFault *vv_fault_new(const void *base, size_t bytes, VvFaultAdmit admit, void *user);
void vv_fault_free(VvFault *fault);
/* Something is wrong at @offset, of data.mdb or of the sums; the first is remembered. Safe in a signal handler. */
void vv_fault_note(VvFault *fault, VvFaultKind kind, uint64_t offset);
VvFaultKind vv_fault_get(VvFault *fault, uint64_t *ret_offset);
/* Until vv_fault_wake, the first note, or @ms have passed. */
void vv_fault_wait(VvFault *fault, unsigned ms);
void vv_fault_wake(VvFault *fault);

#endif
