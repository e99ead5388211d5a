/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process had begun for other nodes when it died is not done over what came after it. */
#include "engine-dying.h"

#include "done.h"
#include "faultpoint.h"
#include "intent.h"

#define LUN_BYTES (1u << 20)
#define NODE 2u
#define ORIGIN 77u

typedef struct {
    Dying dying; /* first: die() is given it */
    uint64_t lun;
    VvHandle *handle;
    VvView *view;
} Fixture;

static void open_lun(Fixture *f)
{
    dying_open(&f->dying);
    g_assert_cmpint(vv_handle_open(f->dying.pool, f->lun, &(VvOpen){ .write = true }, &f->handle), ==, 0);
    f->view = vv_handle_view(f->handle);
}

static void close_lun(Fixture *f)
{
    g_clear_pointer(&f->handle, vv_handle_close);
    dying_close(&f->dying);
}

static void change(Fixture *f, uint64_t offset, uint64_t length_bytes)
{
    g_autofree uint8_t *data = g_malloc0(length_bytes);

    g_assert_cmpint(vv_view_write(f->view, data, offset, length_bytes), ==, (int64_t) length_bytes);
}

static void set_up(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = "a", .size_bytes = LUN_BYTES };

    dying_set_up(&f->dying, data);
    dying_open(&f->dying);
    vv_pool_lun_create(f->dying.pool, &create, NULL, &f->lun, &error);
    g_assert_no_error(error);
    dying_close(&f->dying);
    open_lun(f);
    change(f, 0, 128 << 10); /* so that it holds no holes, which need not be zeroed */
    close_lun(f);
}

static void tear_down(Fixture *f, const void *data)
{
    dying_tear_down(&f->dying, data);
}

static VvIntended intended(const Fixture *f, uint64_t number, uint64_t offset, uint64_t end)
{
    return (VvIntended){ .node = NODE, .origin = ORIGIN, .number = number, .object = f->lun, .offset = offset, .end = end };
}

static VvIntent *begin(Fixture *f, uint64_t number, uint64_t offset, uint64_t end)
{
    VvIntended what = intended(f, number, offset, end);
    VvIntent *intent = NULL;

    g_assert_cmpint(vv_intent_begin(f->dying.pool, &what, NULL, &intent), ==, VV_INTENT_GO);
    g_assert_cmpuint(what.offset, ==, offset);
    g_assert_cmpuint(what.end, ==, end);
    return intent;
}

/* Asked again, of bytes 0 to 64 Ki: this is what is left of it. It is not ended. */
static void assert_left(Fixture *f, uint64_t number, uint64_t offset, uint64_t end)
{
    VvIntended what = intended(f, number, 0, 65536);
    VvIntent *intent = NULL;
    VvIntentNow now = vv_intent_begin(f->dying.pool, &what, NULL, &intent);

    g_assert_cmpint(now, ==, offset < end ? VV_INTENT_GO : VV_INTENT_NONE);
    g_assert_nonnull(intent);
    g_assert_cmpuint(what.offset, ==, offset);
    g_assert_cmpuint(what.end, ==, end);
}

static void assert_lost(Fixture *f, uint64_t number)
{
    VvIntended what = intended(f, number, 0, 65536);
    VvIntent *intent = NULL;

    for (unsigned i = 0; i < 2; i++) { /* its answer may be lost */
        g_assert_cmpint(vv_intent_begin(f->dying.pool, &what, NULL, &intent), ==, VV_INTENT_LOST);
        g_assert_null(intent);
    }
}

/* ---- over a death */
static void begin_six(Dying *dying)
{
    Fixture *f = (Fixture *) (void *) dying;

    for (uint64_t number = 1; number <= 6; number++)
        begin(f, number, 0, 65536);
    vv_intent_end(dying->pool, begin(f, 7, 0, 65536));
    vv_done_note(dying->pool, &(VvDone){ NODE, ORIGIN, 6, 65536 }); /* dies before it ends the intent */
}

static void test_untouched(Fixture *f, const void *data G_GNUC_UNUSED)
{
    dying_run(&f->dying, begin_six);
    open_lun(f);
    change(f, 65536, 4096);
    assert_left(f, 1, 0, 65536);
    assert_left(f, 7, 0, 65536); /* as if it were new */
    close_lun(f);
}

static void test_overwritten(Fixture *f, const void *data G_GNUC_UNUSED)
{
    VvIntended what = intended(f, 6, 0, 4096);
    VvIntent *intent;

    dying_run(&f->dying, begin_six);
    open_lun(f);
    change(f, 0, 4096);
    assert_left(f, 1, 4096, 65536);
    change(f, 61440 + 512, 8192);
    assert_left(f, 2, 4096, 61440 + 512);
    g_assert_cmpint(vv_view_zero(f->view, 4096, 8192), ==, 0);
    assert_left(f, 3, 12288, 61440 + 512);
    change(f, 32768, 512);
    assert_lost(f, 4);
    g_assert_cmpint(vv_intent_begin(f->dying.pool, &what, NULL, &intent), ==, VV_INTENT_GO); /* 6 was done: nothing is left to look at */
    g_assert_cmpuint(what.end, ==, 4096);
    close_lun(f);
}

static void test_covered(Fixture *f, const void *data G_GNUC_UNUSED)
{
    dying_run(&f->dying, begin_six);
    open_lun(f);
    change(f, 0, 32768);
    change(f, 32768, 65536);
    assert_left(f, 1, 65536, 65536);
    close_lun(f);
}

/* What was taken off stays off over another death; also what this process does itself. */
static void overwrite_and_die(Dying *dying)
{
    Fixture *f = (Fixture *) (void *) dying;

    g_assert_cmpint(vv_handle_open(dying->pool, f->lun, &(VvOpen){ .write = true }, &f->handle), ==, 0);
    f->view = vv_handle_view(f->handle);
    assert_left(f, 2, 0, 65536);
    change(f, 0, 8192);
    begin(f, 20, 0, 65536);
    change(f, 65536 - 4096, 4096);
    begin(f, 21, 0, 65536);
    change(f, 8192, 512);
}

static void test_died_twice(Fixture *f, const void *data G_GNUC_UNUSED)
{
    dying_run(&f->dying, begin_six);
    dying_run(&f->dying, overwrite_and_die);
    f->handle = NULL;
    open_lun(f);
    assert_left(f, 1, 8192 + 512, 65536 - 4096);
    assert_left(f, 2, 8192 + 512, 65536 - 4096);
    assert_lost(f, 20);
    assert_lost(f, 21);
    close_lun(f);
}

static void test_not_by_requests(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    const char *objects[] = { "a@s", NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };

    dying_run(&f->dying, begin_six);
    dying_open(&f->dying);
    vv_pool_lun_resize(f->dying.pool, "a", 16384, true, false, NULL, &error);
    g_assert_no_error(error);
    assert_left(f, 1, 0, 16384);
    vv_pool_snapshot_create(f->dying.pool, objects, &options, NULL, &error);
    g_assert_no_error(error);
    vv_pool_snapshot_restore(f->dying.pool, "a@s", true, true, false, NULL, NULL, &error);
    g_assert_no_error(error);
    assert_left(f, 2, 16384, 16384);
    dying_close(&f->dying);
}

static void test_forgotten(Fixture *f, const void *data G_GNUC_UNUSED)
{
    dying_run(&f->dying, begin_six);
    open_lun(f);
    change(f, 0, 4096);
    vv_intents_forget(f->dying.pool, NODE + 1);
    assert_left(f, 1, 4096, 65536);
    vv_intents_forget(f->dying.pool, NODE);
    assert_left(f, 2, 0, 65536);
    close_lun(f);
}

static void test_not_a_reboot(Fixture *f, const void *data G_GNUC_UNUSED)
{
    dying_run(&f->dying, begin_six);
    close(f->dying.fd);
    f->dying.fd = dying_memfd();
    open_lun(f);
    change(f, 0, 4096);
    assert_left(f, 1, 0, 65536);
    close_lun(f);
}

/* Somebody else has had the pool since: what is in the memory is of no use, and begins anew. */
static void test_not_ours(Fixture *f, const void *data G_GNUC_UNUSED)
{
    int fd;

    dying_run(&f->dying, begin_six);
    fd = f->dying.fd;
    f->dying.fd = -1;
    dying_open(&f->dying);
    dying_close(&f->dying);
    f->dying.fd = fd;
    open_lun(f);
    change(f, 0, 4096);
    assert_left(f, 1, 0, 65536);
    close_lun(f);
}

/* Who only reads writes nothing to the memory. */
static void test_read_only(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .lock_wait_ms = 5000, .have_pending = true, .pending_fd = f->dying.fd, .read_only = true };

    dying_run(&f->dying, begin_six);
    f->dying.pool = vv_pool_open(f->dying.directory, &options, &error);
    g_assert_no_error(error);
    dying_close(&f->dying);
    open_lun(f);
    change(f, 0, 4096);
    assert_left(f, 1, 4096, 65536);
    close_lun(f);
}

/* ---- who asks again while his bytes are being changed */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool at_disk, go_on;
} held = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false };

static void hold(VvDiePoint point)
{
    if (point != VV_DIE_DATA_WRITTEN)
        return;
    VV_LOCKED(&held.lock);
    held.at_disk = true;
    pthread_cond_broadcast(&held.changed);
    while (!held.go_on)
        pthread_cond_wait(&held.changed, &held.lock);
}

typedef struct {
    VvTask task; /* first */
    Fixture *f;
    VvIntentNow first, now; /* GO: not asked yet */
    VvIntended left;
    VvIntent *intent;
    VvWorker *worker;
} Again;

static void ask_run(VvTask *task)
{
    Again *again = (Again *) (void *) task;
    VV_LOCKED(&held.lock);

    again->left = intended(again->f, 1, 0, 65536);
    again->first = again->now;
    again->now = vv_intent_begin(again->f->dying.pool, &again->left, task, &again->intent);
    if (again->first == VV_INTENT_WAITS)
        vv_worker_stop(again->worker);
    pthread_cond_broadcast(&held.changed);
}

static void *worker_main(void *user)
{
    vv_worker_run(user);
    return NULL;
}

static void *change_main(void *user)
{
    change(user, 0, 16384);
    return NULL;
}

static void test_waits(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    Again again = { .task = { .run = ask_run }, .f = f };
    pthread_t changer, asker;

    dying_run(&f->dying, begin_six);
    open_lun(f);
    again.worker = vv_worker_new(1, false, &error);
    g_assert_no_error(error);
    vv_die_hook = hold;
    g_assert_cmpint(pthread_create(&changer, NULL, change_main, f), ==, 0);
    g_assert_cmpint(pthread_create(&asker, NULL, worker_main, again.worker), ==, 0);
    pthread_mutex_lock(&held.lock);
    while (!held.at_disk)
        pthread_cond_wait(&held.changed, &held.lock);
    vv_worker_post(again.worker, &again.task);
    while (again.now != VV_INTENT_WAITS)
        pthread_cond_wait(&held.changed, &held.lock);
    held.go_on = true;
    pthread_cond_broadcast(&held.changed);
    pthread_mutex_unlock(&held.lock);
    pthread_join(asker, NULL);
    pthread_join(changer, NULL);
    vv_die_hook = NULL;
    g_assert_cmpint(again.now, ==, VV_INTENT_GO);
    g_assert_cmpuint(again.left.offset, ==, 16384);
    vv_intent_end(f->dying.pool, again.intent);
    close_lun(f);
    vv_worker_free(again.worker);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/intent/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("untouched", test_untouched);
    ADD("overwritten", test_overwritten);
    ADD("covered", test_covered);
    ADD("died-twice", test_died_twice);
    ADD("not-by-requests", test_not_by_requests);
    ADD("forgotten", test_forgotten);
    ADD("not-a-reboot", test_not_a_reboot);
    ADD("not-ours", test_not_ours);
    ADD("read-only", test_read_only);
    ADD("waits", test_waits);
    return g_test_run();
}
