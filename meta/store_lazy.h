/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages of data.mdb that are in use and whose sums were not compared yet: the leaves of a large map, which would take too long at open.
 * The mapping of LMDB is closed there (PROT_NONE), so LMDB sees no byte of them before their sums were compared, whoever is first: a
 * thread in the background, or the read itself (store_fault.h).
 *
 *   L1  A page is opened once its bytes fit its sum, and never closed again. One that does not fit stays closed: reading it is an error.
 *   L2  Neither these pages nor their sums change before all were compared: no transaction that may touch them begins (store.c S9).
 *   L3  Who compares may be overtaken by others, and they by a checkpoint: what does not fit counts only if the page is still one of these
 *       afterwards, so that by L2 nothing had changed.
 *
 * Pages are compared in chunks of at least 64, so that what is open and what is closed are few ranges: the kernel has 65,530 for a process. */
#ifndef VV_STORE_LAZY_H
#define VV_STORE_LAZY_H

#include "store_fault.h"

typedef struct VvLazy VvLazy;

/* For @count_pages of @page_bytes; the descriptors are borrowed. */
VvLazy *vv_lazy_new(int data_fd, int sums_fd, uint32_t page_bytes, uint64_t count_pages);
void vv_lazy_free(VvLazy *lazy);
/* Before vv_lazy_close. */
void vv_lazy_add(VvLazy *lazy, uint64_t page);
uint64_t vv_lazy_left(VvLazy *lazy); /* pages; any thread */
/* Close the pages in LMDB's mapping at @base; what is found wrong from here on goes to @fault. False: they cannot be closed, or not all. */
bool vv_lazy_close(VvLazy *lazy, uint8_t *base, VvFault *fault);
/* VvFaultAdmit. */
VvFaultKind vv_lazy_admit(void *lazy, uint64_t offset);
/* Compare one more chunk. *ret_bytes: what was read for it. False: each one was begun. Any thread. */
bool vv_lazy_next(VvLazy *lazy, uint64_t *ret_bytes);
/* Compare all that are left, also those that did not fit before. 0; -EUCLEAN, -EIO, -ENOMEM: *ret_kind is what is wrong and *ret_offset where;
 * -ESHUTDOWN: some are left, and it is not to go on. Any thread. */
int vv_lazy_finish(VvLazy *lazy, VvFaultKind *ret_kind, uint64_t *ret_offset);
/* Who is in vv_lazy_finish, or will be, is not to wait for it any longer. */
void vv_lazy_stop(VvLazy *lazy);

#endif
