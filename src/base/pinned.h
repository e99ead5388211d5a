/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that is there before it is needed: its pages have been given, and are locked where that is allowed. */
#ifndef VV_PINNED_H
#define VV_PINNED_H

#include <stdbool.h>
#include <stddef.h>

/* Part of a private anonymous mapping that holds nothing yet, which is to be locked: it becomes shared memory, which counts once, as locked, and
 * not as anonymous too. Where the kernel will not, it stays private. */
void vv_pin_share(void *memory, size_t bytes);
/* Lock it; what may not be locked has its pages at least. Bytes that are locked. */
size_t vv_pin_lock(void *memory, size_t bytes);
/* Give it its pages; it holds nothing yet. May wait for the kernel. False: there is no memory. */
bool vv_pin_populate(void *memory, size_t bytes);

#endif
