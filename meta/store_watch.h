/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What watches over the store's map while it is open: the thread that compares what was not compared at open (store_lazy.h), and tells of what
 * is found wrong, by it or by who reads. For store.c, which does LMDB's part. */
#ifndef VV_STORE_WATCH_H
#define VV_STORE_WATCH_H

#include "store.h"
#include "store_lazy.h"

typedef struct VvMapWatch VvMapWatch;

/* What the thread compares in a second: limits.h. Tests set it. */
extern uint64_t vv_map_check_bytes;

/* Over the mapping of @bytes at @base of PATH/data.mdb. @lazy: borrowed, or NULL; what cannot be put off is compared here. Errors:
 * damaged, io. */
VvMapWatch *vv_map_watch_new(const char *path, uint8_t *base, size_t bytes, VvLazy *lazy, GError **error);
void vv_map_watch_free(VvMapWatch *watch);
/* The thread. @trouble is called in it, once. */
bool vv_map_watch_start(VvMapWatch *watch, VvStoreTroubleFunc trouble, void *user, GError **error);
void vv_map_watch_stop(VvMapWatch *watch);
/* Compare what is left now, beside the thread. 0, -EUCLEAN, -EIO, -ENOMEM, -ESHUTDOWN: given up. Any thread. */
int vv_map_watch_finish(VvMapWatch *watch);
/* What is left then stays so: who waits in vv_map_watch_finish, or comes to it, gets -ESHUTDOWN. Any thread. */
void vv_map_watch_give_up(VvMapWatch *watch);
/* What is wrong, or NULL. Any thread. */
char *vv_map_watch_trouble(VvMapWatch *watch);

#endif
