/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is held is told: who has what open, what claims and gates keep from others, on whose behalf, and who waits; and nothing of it when it is over. */
#include "engine-pool.h"
#include "holds.h"

#include "faultpoint.h"
#include "transaction.h"

#define POOL_BYTES ((uint64_t) 64 << 20)
#define LUN_BYTES ((uint64_t) 4 << 20)
#define N2 2u

static GPtrArray *held(TestPool *test)
{
    return vv_pool_held(test->pool, 0);
}

static void assert_nothing(TestPool *test)
{
    g_autoptr(GPtrArray) list = held(test);

    g_assert_cmpuint(list->len, ==, 0);
}

static const VvHeldObject *only(const GPtrArray *list, uint64_t id, guint uses, guint holds)
{
    const VvHeldObject *object;

    g_assert_cmpuint(list->len, ==, 1);
    object = g_ptr_array_index(list, 0);
    g_assert_cmpuint(object->id, ==, id);
    g_assert_cmpuint(object->uses->len, ==, uses);
    g_assert_cmpuint(object->holds->len, ==, holds);
    return object;
}

static VvHandle *open_for(TestPool *test, uint64_t id, uint64_t node, bool write, bool internal)
{
    VvOpen open = { .node = node, .write = write, .internal = internal };
    VvHandle *handle = NULL;

    g_assert_cmpint(vv_handle_open(test->pool, id, &open, &handle), ==, 0);
    return handle;
}

/* One row for each node and mode; the daemon's own are nobody's. */
static void test_uses(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "db", LUN_BYTES), before_ns = vv_now_ns();
    VvHandle *handles[] = { open_for(test, id, N2, false, false), open_for(test, id, N2, true, false), open_for(test, id, 0, true, false),
        open_for(test, id, N2, true, false), open_for(test, id, 0, false, true) };

    for (unsigned left = G_N_ELEMENTS(handles); left > 0; left--) {
        g_autoptr(GPtrArray) list = held(test);
        const VvHeldObject *object = only(list, id, MIN(left, 3u), 0);
        const VvUse *use = &g_array_index(object->uses, VvUse, object->uses->len - 1);

        g_assert_cmpuint(use->node, ==, N2);
        g_assert_false(use->write);
        g_assert_cmpuint(use->handles, ==, 1);
        g_assert_cmpuint(use->since_ns, >=, before_ns);
        if (left >= 4)
            g_assert_cmpuint(g_array_index(object->uses, VvUse, 1).handles, ==, 2);
        vv_handle_close(handles[left - 1]);
    }
    assert_nothing(test);
    test_pool_free(test);
}

/* ---- claims */
typedef struct {
    TestPool *test;
    uint64_t id;
} Opening;

static gpointer open_main(gpointer data)
{
    const Opening *opening = data;

    vv_handle_close(open_for(opening->test, opening->id, N2, true, false));
    return NULL;
}

static void await_holds(TestPool *test, uint64_t id, guint holds)
{
    for (;;) {
        g_autoptr(GPtrArray) list = held(test);

        if (list->len == 1 && ((const VvHeldObject *) g_ptr_array_index(list, 0))->holds->len == holds) {
            g_assert_cmpuint(((const VvHeldObject *) g_ptr_array_index(list, 0))->id, ==, id);
            return;
        }
        g_usleep(500);
    }
}

static void test_claim(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    Opening opening = { test, test_lun_new(test, "db", LUN_BYTES) };
    GThread *thread;

    vv_holds_author("lun.remove", N2);
    g_assert_true(vv_claim(test->pool, opening.id, VV_CLAIM_ALL));
    vv_holds_author(NULL, 0);
    thread = g_thread_new("open", open_main, &opening);
    await_holds(test, opening.id, 2);
    {
        g_autoptr(GPtrArray) list = held(test), later = vv_pool_held(test->pool, opening.id + 1);
        const VvHeldObject *object = only(list, opening.id, 0, 2);
        const VvHold *claim = &g_array_index(object->holds, VvHold, 0), *waits = &g_array_index(object->holds, VvHold, 1);

        g_assert_cmpint(claim->kind, ==, VV_HOLD_OPENS);
        g_assert_cmpstr(claim->what, ==, "lun.remove");
        g_assert_cmpuint(claim->node, ==, N2);
        g_assert_cmpint(waits->kind, ==, VV_HOLD_OPENING);
        g_assert_cmpuint(waits->node, ==, N2);
        g_assert_cmpuint(later->len, ==, 0);
    }
    vv_claim_end(test->pool, opening.id, VV_CLAIM_ALL);
    g_thread_join(thread);
    assert_nothing(test);
    test_pool_free(test);
}

/* ---- a gate that waits for a write at the disk, and a write that waits for the gate */
static pthread_mutex_t stop_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool stopped;

static void stop_written(VvDiePoint point)
{
    if (point != VV_DIE_DATA_WRITTEN)
        return;
    atomic_store(&stopped, true);
    pthread_mutex_lock(&stop_lock);
    pthread_mutex_unlock(&stop_lock);
}

static gpointer write_main(gpointer data)
{
    static const char text[VV_BLOCK_BYTES] = "text";

    g_assert_cmpint(vv_view_write(vv_handle_view(data), text, 0, sizeof text), ==, sizeof text);
    return NULL;
}

static gpointer gate_main(gpointer data)
{
    VvView *view = vv_handle_view(data);

    vv_holds_author("snapshot.create", 0);
    g_assert_true(vv_gate_close(view, false, VV_QUIESCE_MS_MAX));
    vv_gate_open(view, false);
    return NULL;
}

static void test_gate(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    uint64_t id = test_lun_new(test, "db", LUN_BYTES);
    VvHandle *handle = open_for(test, id, N2, true, false);
    GThread *writer, *gate;

    pthread_mutex_lock(&stop_lock);
    vv_die_hook = stop_written;
    writer = g_thread_new("write", write_main, handle);
    while (!atomic_load(&stopped))
        g_usleep(500);
    gate = g_thread_new("gate", gate_main, handle);
    await_holds(test, id, 1);
    {
        g_autoptr(GPtrArray) list = held(test);
        const VvHeldObject *object = only(list, id, 1, 1);
        const VvHold *hold = &g_array_index(object->holds, VvHold, 0);

        g_assert_cmpint(hold->kind, ==, VV_HOLD_WRITES);
        g_assert_cmpstr(hold->what, ==, "snapshot.create");
        g_assert_cmpuint(hold->node, ==, 0);
        g_assert_cmpuint(object->under_way, ==, 1);
    }
    vv_die_hook = NULL;
    pthread_mutex_unlock(&stop_lock);
    g_thread_join(writer);
    g_thread_join(gate);
    {
        g_autoptr(GPtrArray) list = held(test);
        const VvHeldObject *object = only(list, id, 1, 0);

        g_assert_cmpuint(object->under_way, ==, 0);
        g_assert_true(g_array_index(object->uses, VvUse, 0).unflushed);
        g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    }
    {
        g_autoptr(GPtrArray) list = held(test);

        g_assert_false(g_array_index(only(list, id, 1, 0)->uses, VvUse, 0).unflushed);
    }
    vv_handle_close(handle);
    assert_nothing(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/holds/uses", test_uses);
    g_test_add_func("/engine/holds/claim", test_claim);
    g_test_add_func("/engine/holds/gate", test_gate);
    return g_test_run();
}
