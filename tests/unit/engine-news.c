/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries of other nodes change, and how it is told: from ops to objects, the bound of the queue, who waits for an index. */
#include "news.h"
#include "member_table.h"
#include "pool_private.h"
#include "util.h"

#include <string.h>

typedef struct {
    VvPool pool; /* of which there is nothing but the news */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned calls, items, alls, done, broken;
    bool blocked; /* told() waits */
} Fixture;

static void told_cb(void *user, const VvNewsItem *items, unsigned count, bool all)
{
    Fixture *f = user;
    VV_LOCKED(&f->lock);

    f->calls++;
    f->items += count;
    f->alls += all;
    for (unsigned i = 0; i < count; i++)
        g_assert_cmpuint(items[i].object, !=, 0);
    pthread_cond_broadcast(&f->changed);
    while (f->blocked)
        pthread_cond_wait(&f->changed, &f->lock);
}

static void done_cb(void *user, bool told)
{
    Fixture *f = user;
    VV_LOCKED(&f->lock);

    f->done += told;
    f->broken += !told;
    pthread_cond_broadcast(&f->changed);
}

static void fixture_open(Fixture *f)
{
    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->pool.news = vv_news_new(7);
    vv_pool_set_news(&f->pool, told_cb, f);
}

static void fixture_close(Fixture *f)
{
    g_clear_pointer(&f->pool.news, vv_news_free);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
}

static void await(Fixture *f, const unsigned *what, unsigned least)
{
    VV_LOCKED(&f->lock);
    while (*what < least)
        pthread_cond_wait(&f->changed, &f->lock);
}

static void set_blocked(Fixture *f, bool blocked)
{
    VV_LOCKED(&f->lock);
    f->blocked = blocked;
    pthread_cond_broadcast(&f->changed);
}

static VvOps *mode_of(uint64_t lun)
{
    VvOps *ops = vv_ops_new();

    vv_ops_add(ops, VV_OP_LUN_SET)->lun_set.id = lun;
    return ops;
}

static void add_mode(Fixture *f, uint64_t index, uint64_t lun)
{
    g_autoptr(GArray) ops = mode_of(lun);

    vv_news_add(f->pool.news, index, ops);
}

/* ---- from ops */

static void test_ops(void)
{
    static const VvNewsItem wanted[] = {
        { VV_NEWS_CHANGED, 11 }, { VV_NEWS_CHANGED, 12 }, { VV_NEWS_CHANGED, 13 }, { VV_NEWS_CHANGED, 14 }, { VV_NEWS_REMOVED, 15 },
        { VV_NEWS_CHANGED, 16 }, { VV_NEWS_CHANGED, 18 }, { VV_NEWS_CHANGED, 19 }, { VV_NEWS_REMOVED, 20 }, { VV_NEWS_CHANGED, 21 },
        { VV_NEWS_CONTENT, 22 }, { VV_NEWS_CHANGED, 22 }, { VV_NEWS_CONTENT, 23 }, { VV_NEWS_CHANGED, 23 },
    };
    g_autoptr(GArray) ops = vv_ops_new(), items = g_array_new(FALSE, FALSE, sizeof(VvNewsItem));
    VvOp *op;

    vv_ops_add(ops, VV_OP_LUN_CREATE)->lun_create.id = 11;
    vv_ops_add(ops, VV_OP_LUN_SET)->lun_set.id = 12;
    vv_ops_add(ops, VV_OP_LUN_RENAME)->lun_rename.id = 13;
    vv_ops_add(ops, VV_OP_LUN_SIZE)->lun_size.id = 14;
    vv_ops_add(ops, VV_OP_LUN_REMOVE)->lun_remove.id = 15;
    op = vv_ops_add(ops, VV_OP_MAP);
    op->map.lun = 16;
    op->map.size_bytes = 4096;
    op = vv_ops_add(ops, VV_OP_MAP); /* written within its size: nothing that a kernel believes */
    op->map.lun = 17;
    op->map.size_bytes = UINT64_MAX;
    vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE)->snapshot_create.id = 18;
    vv_ops_add(ops, VV_OP_SNAPSHOT_RENAME)->snapshot_rename.id = 19;
    vv_ops_add(ops, VV_OP_SNAPSHOT_REMOVE)->snapshot_remove.id = 20;
    vv_ops_add(ops, VV_OP_CLONE)->clone.id = 21;
    vv_ops_add(ops, VV_OP_RESTORE)->restore.lun = 22;
    vv_ops_add(ops, VV_OP_ADOPT)->adopt.lun = 23;
    vv_ops_add(ops, VV_OP_SNAPSHOT_SET)->snapshot_set.id = 24;
    vv_ops_add(ops, VV_OP_RECLAIM)->reclaim.branch = 25;
    vv_ops_add(ops, VV_OP_NOOP);
    vv_news_of(ops, items);
    g_assert_cmpuint(items->len, ==, G_N_ELEMENTS(wanted));
    for (unsigned i = 0; i < items->len; i++) {
        g_assert_cmpint(g_array_index(items, VvNewsItem, i).kind, ==, wanted[i].kind);
        g_assert_cmpuint(g_array_index(items, VvNewsItem, i).object, ==, wanted[i].object);
    }
}

/* ---- telling */

static void test_index(void)
{
    Fixture f;

    fixture_open(&f);
    g_assert_true(vv_pool_when_told(&f.pool, 7, done_cb, &f)); /* as the pool was opened */
    g_assert_cmpuint(f.done, ==, 1);
    vv_news_add(f.pool.news, 8, NULL);
    g_assert_true(vv_pool_when_told(&f.pool, 8, done_cb, &f)); /* nothing was to be told */
    g_assert_cmpuint(f.done, ==, 2);
    g_assert_true(vv_pool_when_told(&f.pool, 10, done_cb, &f));
    set_blocked(&f, true);
    add_mode(&f, 9, 1);
    await(&f, &f.calls, 1);
    add_mode(&f, 10, 2);
    g_assert_cmpuint(f.done, ==, 2); /* 10 is in the map, and nobody was told */
    set_blocked(&f, false);
    await(&f, &f.done, 3);
    g_assert_cmpuint(f.items, ==, 2);
    g_assert_true(vv_pool_when_told(&f.pool, 11, done_cb, &f));
    vv_news_add(f.pool.news, 11, NULL); /* an entry without ops wakes too */
    await(&f, &f.done, 4);
    g_assert_true(vv_pool_when_told(&f.pool, 12, done_cb, &f));
    fixture_close(&f);
    g_assert_cmpuint(f.broken, ==, 1);
}

static void test_bounds(void)
{
    Fixture f;

    fixture_open(&f);
    set_blocked(&f, true);
    add_mode(&f, 8, 1);
    await(&f, &f.calls, 1);
    for (unsigned i = 0; i < 100; i++) /* a LUN that grows */
        add_mode(&f, 9 + i, 5);
    for (unsigned i = 0; i < VV_NEWS_MAX + 100; i++)
        add_mode(&f, 109 + i, 1000 + i);
    for (unsigned i = 0; i < VV_NEWS_WAITERS_MAX; i++)
        g_assert_true(vv_pool_when_told(&f.pool, 109, done_cb, &f));
    g_assert_false(vv_pool_when_told(&f.pool, 109, done_cb, &f));
    set_blocked(&f, false);
    await(&f, &f.done, VV_NEWS_WAITERS_MAX);
    g_assert_cmpuint(f.calls, ==, 2);
    g_assert_cmpuint(f.items, ==, 1 + VV_NEWS_MAX);
    g_assert_cmpuint(f.alls, ==, 1);
    vv_pool_set_news(&f.pool, NULL, NULL);
    add_mode(&f, 100000, 1);
    g_assert_true(vv_pool_when_told(&f.pool, 100000, done_cb, &f)); /* nobody is told, nobody waits for ever */
    await(&f, &f.done, VV_NEWS_WAITERS_MAX + 1);
    g_assert_cmpuint(f.calls, ==, 2);
    fixture_close(&f);
}

/* Tables of who may use what are seen to before anybody hears of the entry, also where nobody is told of names. */
static void settle_cb(void *user)
{
    Fixture *f = user;
    VV_LOCKED(&f->lock);

    g_assert_cmpuint(f->done, ==, 0);
    f->calls += 100;
    pthread_cond_broadcast(&f->changed);
}

static void test_shared(void)
{
    Fixture f;
    g_autoptr(GArray) ops = mode_of(1);
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);

    op->member_set.kind = VV_MEMBER_OF_OBJECT;
    op->member_set.id = 1;
    fixture_open(&f);
    vv_news_on_shared(f.pool.news, settle_cb, &f);
    vv_pool_set_news(&f.pool, NULL, NULL);
    g_assert_true(vv_pool_when_told(&f.pool, 8, done_cb, &f));
    vv_news_add(f.pool.news, 8, ops);
    await(&f, &f.done, 1);
    g_assert_cmpuint(f.calls, ==, 100);
    add_mode(&f, 9, 1);
    g_assert_true(vv_pool_when_told(&f.pool, 9, done_cb, &f));
    await(&f, &f.done, 2);
    g_assert_cmpuint(f.calls, ==, 100);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/news/ops", test_ops);
    g_test_add_func("/engine/news/index", test_index);
    g_test_add_func("/engine/news/bounds", test_bounds);
    g_test_add_func("/engine/news/shared", test_shared);
    return g_test_run();
}
