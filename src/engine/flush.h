/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flushes, asked for and in the background: io_flush.c. */
#ifndef VV_FLUSH_H
#define VV_FLUSH_H

#include "engine.h"

/* Everything acknowledged on @view before is durable, then @done on any thread, perhaps before this returns. */
typedef void (*VvFlushDone)(void *user, int result);
void vv_flush_start(VvView *view, bool commit, VvFlushDone done, void *user);
/* Such flushes of all views (of @families, a set of ids; NULL: of all) that have something pending since @since_ms or before,
 * one each at a time. Returns how many views have such, or are being flushed so. */
unsigned vv_flush_background(VvPool *pool, uint64_t since_ms, GHashTable *families);
bool vv_flush_has_pending(VvPool *pool); /* some view has */
void vv_ticker_flush_begin(VvTicker *ticker); /* one of them begins, ends: ticker.c */
void vv_ticker_flush_end(VvTicker *ticker);

#endif
