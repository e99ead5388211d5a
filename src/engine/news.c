/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See news.h. */
#include "news.h"

#include "engine.h"
#include "member_table.h"
#include "util.h"

#include <pthread.h>

#define SAME_LOOKS 16u /* a LUN that grows by entry after entry is told once */

typedef struct {
    uint64_t index;
    VvNewsDone done;
    void *user;
} Waiter;

struct VvNews {
    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t changed;
    GArray *items;     /* VvNewsItem that wait */
    bool all;          /* W2 */
    bool shared;       /* W4 */
    void (*settle)(void *user); /* NULL: nobody */
    void *settle_user;
    uint64_t applied;  /* index of the newest entry */
    uint64_t told_to;  /* W3 */
    GArray *waiters;   /* Waiter */
    VvNewsTold told;   /* NULL: nobody */
    void *user;
    bool telling, stopping, runs;
    pthread_t thread;
};

/* ---- from ops */

static void add(GArray *items, VvNewsKind kind, uint64_t object)
{
    VvNewsItem item = { kind, object };

    g_array_append_val(items, item);
}

static void add_op(const VvOp *op, GArray *items)
{
    switch (op->kind) {
    case VV_OP_LUN_CREATE:
        add(items, VV_NEWS_CHANGED, op->lun_create.id);
        break;
    case VV_OP_LUN_SET:
        add(items, VV_NEWS_CHANGED, op->lun_set.id);
        break;
    case VV_OP_LUN_RENAME:
        add(items, VV_NEWS_CHANGED, op->lun_rename.id);
        break;
    case VV_OP_LUN_SIZE:
        add(items, VV_NEWS_CHANGED, op->lun_size.id);
        break;
    case VV_OP_LUN_REMOVE:
        add(items, VV_NEWS_REMOVED, op->lun_remove.id);
        break;
    case VV_OP_MAP:
        if (op->map.size_bytes != UINT64_MAX)
            add(items, VV_NEWS_CHANGED, op->map.lun);
        break;
    case VV_OP_SNAPSHOT_CREATE:
        add(items, VV_NEWS_CHANGED, op->snapshot_create.id);
        break;
    case VV_OP_SNAPSHOT_RENAME:
        add(items, VV_NEWS_CHANGED, op->snapshot_rename.id);
        break;
    case VV_OP_SNAPSHOT_REMOVE:
        add(items, VV_NEWS_REMOVED, op->snapshot_remove.id);
        break;
    case VV_OP_CLONE:
        add(items, VV_NEWS_CHANGED, op->clone.id);
        break;
    case VV_OP_RESTORE:
        add(items, VV_NEWS_CONTENT, op->restore.lun);
        add(items, VV_NEWS_CHANGED, op->restore.lun);
        break;
    case VV_OP_ADOPT:
        add(items, VV_NEWS_CONTENT, op->adopt.lun);
        add(items, VV_NEWS_CHANGED, op->adopt.lun);
        break;
    default: /* nothing that a file shows */
        break;
    }
}

void vv_news_of(const VvOps *ops, GArray *items)
{
    for (unsigned i = 0; i < ops->len; i++)
        add_op(vv_ops_get(ops, i), items);
}

/* ---- the thread */

/* Lock held, and let go meanwhile. */
static void tell(VvNews *news)
{
    GArray *items = news->items;
    bool all = news->all, shared = news->shared;
    uint64_t applied = news->applied;
    VvNewsTold told = news->told;
    void *user = news->user;

    news->items = g_array_new(FALSE, FALSE, sizeof(VvNewsItem));
    news->all = news->shared = false;
    news->telling = true;
    pthread_mutex_unlock(&news->lock);
    if (told && (items->len > 0 || all))
        told(user, (const VvNewsItem *) items->data, items->len, all);
    if (shared && news->settle)
        news->settle(news->settle_user);
    g_array_unref(items);
    pthread_mutex_lock(&news->lock);
    news->telling = false;
    news->told_to = applied;
    pthread_cond_broadcast(&news->changed);
}

/* Lock held, and let go meanwhile. */
static void call_waiters(VvNews *news, bool all)
{
    for (guint i = 0; i < news->waiters->len;) {
        Waiter waiter = g_array_index(news->waiters, Waiter, i);
        bool told = waiter.index <= news->told_to;

        if (!told && !all) {
            i++;
            continue;
        }
        g_array_remove_index_fast(news->waiters, i);
        pthread_mutex_unlock(&news->lock);
        waiter.done(waiter.user, told);
        pthread_mutex_lock(&news->lock);
        i = 0; /* others came meanwhile */
    }
}

static void *news_main(void *user)
{
    VvNews *news = user;

    pthread_setname_np(pthread_self(), "vv-news");
    pthread_mutex_lock(&news->lock);
    while (!news->stopping) {
        if (news->told_to == news->applied && news->items->len == 0 && !news->all && !news->shared) {
            pthread_cond_wait(&news->changed, &news->lock);
            continue;
        }
        tell(news);
        call_waiters(news, false);
    }
    pthread_mutex_unlock(&news->lock);
    return NULL;
}

/* Lock held. A pool of one node never needs the thread. */
static void need_thread(VvNews *news)
{
    int rc;

    if (news->runs || news->stopping)
        return;
    rc = pthread_create(&news->thread, NULL, news_main, news);
    news->runs = rc == 0;
    if (rc != 0)
        vv_log(VV_LOG_WARNING, "no thread to tell what other nodes changed: %s", g_strerror(rc));
}

/* ---- from outside */

VvNews *vv_news_new(uint64_t applied)
{
    VvNews *news = g_new0(VvNews, 1);

    pthread_mutex_init(&news->lock, NULL);
    pthread_cond_init(&news->changed, NULL);
    news->applied = news->told_to = applied;
    news->items = g_array_new(FALSE, FALSE, sizeof(VvNewsItem));
    news->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
    return news;
}

void vv_news_free(VvNews *news)
{
    if (!news)
        return;
    pthread_mutex_lock(&news->lock);
    news->stopping = true;
    pthread_cond_broadcast(&news->changed);
    pthread_mutex_unlock(&news->lock);
    if (news->runs)
        pthread_join(news->thread, NULL);
    pthread_mutex_lock(&news->lock);
    call_waiters(news, true);
    pthread_mutex_unlock(&news->lock);
    g_array_unref(news->items);
    g_array_unref(news->waiters);
    pthread_cond_destroy(&news->changed);
    pthread_mutex_destroy(&news->lock);
    g_free(news);
}

/* Lock held. */
static void queue(VvNews *news, const VvNewsItem *item)
{
    guint length = news->items->len;

    for (guint i = length; i > 0 && i + SAME_LOOKS > length; i--) {
        const VvNewsItem *other = &g_array_index(news->items, VvNewsItem, i - 1);

        if (other->kind == item->kind && other->object == item->object)
            return;
    }
    if (length >= VV_NEWS_MAX)
        news->all = true;
    else
        g_array_append_val(news->items, *item);
}

void vv_news_note_content(VvNews *news, uint64_t lun)
{
    const VvNewsItem item = { VV_NEWS_CONTENT, lun };
    VV_LOCKED(&news->lock);

    queue(news, &item);
}

void vv_news_on_shared(VvNews *news, void (*settle)(void *user), void *user)
{
    VV_LOCKED(&news->lock);
    news->settle = settle;
    news->settle_user = user;
}

static bool changes_shares(const VvOps *ops)
{
    for (unsigned i = 0; ops && i < ops->len; i++) {
        const VvOp *op = vv_ops_get(ops, i);

        if (op->kind == VV_OP_MEMBER_SET && op->member_set.kind == VV_MEMBER_OF_OBJECT)
            return true;
    }
    return false;
}

void vv_news_add(VvNews *news, uint64_t index, const VvOps *ops)
{
    g_autoptr(GArray) items = ops ? g_array_new(FALSE, FALSE, sizeof(VvNewsItem)) : NULL;

    if (ops)
        vv_news_of(ops, items);
    VV_LOCKED(&news->lock);
    news->applied = index;
    news->shared = news->shared || changes_shares(ops);
    for (guint i = 0; items && i < items->len; i++)
        queue(news, &g_array_index(items, VvNewsItem, i));
    if (news->items->len == 0 && !news->all && !news->shared && !news->telling && news->waiters->len == 0) {
        news->told_to = index; /* nothing to tell, and nobody to wake */
        return;
    }
    need_thread(news);
    pthread_cond_broadcast(&news->changed);
}

void vv_pool_set_news(VvPool *pool, VvNewsTold told, void *user)
{
    VvNews *news = pool->news;
    VV_LOCKED(&news->lock);

    news->told = told;
    news->user = user;
    while (news->telling)
        pthread_cond_wait(&news->changed, &news->lock);
}

bool vv_pool_when_told(VvPool *pool, uint64_t index, VvNewsDone done, void *user)
{
    VvNews *news = pool->news;
    Waiter waiter = { index, done, user };
    bool now;

    {
        VV_LOCKED(&news->lock);
        now = index <= news->told_to;
        if (!now && (news->stopping || news->waiters->len >= VV_NEWS_WAITERS_MAX))
            return false;
        if (!now) {
            g_array_append_val(news->waiters, waiter);
            need_thread(news);
        }
    }
    if (now)
        done(user, true);
    return true;
}
