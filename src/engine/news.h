/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries of other nodes changed here, for who keeps copies of names, attributes and content: the kernel behind the mount.
 *
 *   committer: an entry is in the map --its ops--> vv_news_add --> queue --> vv-news: told(), then whoever waits for the entry's index
 *
 * W1  told() is called without locks, on a thread of its own, and may block. What this node's transactions change is told by the hooks of pool.h.
 * W2  At most VV_NEWS_MAX wait; of more it is only known that there were some: `all`.
 * W3  Who waits for an index is called when that entry is in this node's map, and told() has returned for all up to it.
 * W4  Who may use what (sharing.h) is seen to before that too, on the same thread. */
#ifndef VV_NEWS_H
#define VV_NEWS_H

#include "ops.h"
#include "pool.h"

#define VV_NEWS_MAX 4096u        /* objects: more than one entry removes, and a millisecond's work to tell */
#define VV_NEWS_WAITERS_MAX 256u /* other nodes' commands under way: 64 nodes, four each */

typedef enum {
    VV_NEWS_CHANGED, /* name, size or attributes; or it is new */
    VV_NEWS_CONTENT, /* of a LUN: what is cached of it is not what it holds */
    VV_NEWS_REMOVED,
} VvNewsKind;

typedef struct {
    VvNewsKind kind;
    uint64_t object;
} VvNewsItem;

/* vv-news. @all: there was more than is listed: everything may have changed. */
typedef void (*VvNewsTold)(void *user, const VvNewsItem *items, unsigned count, bool all);
/* NULL: nobody. When it returns the one before is not called any more. Not from told(). */
void vv_pool_set_news(VvPool *pool, VvNewsTold told, void *user);
/* W3: @done, on vv-news or at once on this thread, must not block; @told false: the pool is closed before. False: too many wait, it is not called. [any] */
typedef void (*VvNewsDone)(void *user, bool told);
bool vv_pool_when_told(VvPool *pool, uint64_t index, VvNewsDone done, void *user);

/* ---- the engine */
typedef struct VvNews VvNews;
VvNews *vv_news_new(uint64_t applied); /* the map has all up to it, and nobody was told anything else */
/* Ends the thread; who waits is called. Nothing is added any more. */
void vv_news_free(VvNews *news);
/* W4: @settle is called, and may block. Before the first entry. */
void vv_news_on_shared(VvNews *news, void (*settle)(void *user), void *user);
/* Entry @index is in the map. @ops: of another node; NULL: nothing to tell. The committer's thread; does not block. */
void vv_news_add(VvNews *news, uint64_t index, const VvOps *ops);
/* What LUN @lun holds is another than before, as the entry says that is added next. */
void vv_news_note_content(VvNews *news, uint64_t lun);
/* What @ops change, appended to @items (VvNewsItem), in their order. */
void vv_news_of(const VvOps *ops, GArray *items);

#endif
