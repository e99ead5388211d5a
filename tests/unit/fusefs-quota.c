/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What requests of the mount may hold: workers stop reading at bounds and go on below them; slots give memory back. No mount. */
#include "fuse_private.h"

#include <sched.h>
#include <sys/mman.h>

#define SERVERS 2u
#define MIB (1u << 20)
#define SHARE (VV_RUNNING_BYTES_MAX / SERVERS)

typedef struct {
    VvFuse *fuse;
    VvServer *server; /* the one whose thread this is */
    VvAccount a, b;
    void (*body)(void);
    VvTask task;
} Fixture;

static Fixture f;

static void body_run(VvTask *task G_GNUC_UNUSED)
{
    f.body();
    vv_worker_stop(f.server->worker);
}

/* @body runs on the first worker's thread; whatever tasks it brings about run before this returns. */
static void on_worker(void (*body)(void))
{
    f.body = body;
    f.task.run = body_run;
    vv_worker_post(f.server->worker, &f.task);
    vv_worker_run(f.server->worker);
}

static void set_up(void)
{
    g_autoptr(GError) error = NULL;
    f = (Fixture){ .fuse = g_new0(VvFuse, 1) };
    f.fuse->server_count = SERVERS;
    vv_quota_init(f.fuse, 0);
    pthread_mutex_init(&f.fuse->keeper.lock, NULL);
    pthread_cond_init(&f.fuse->keeper.wake, NULL);
    for (unsigned i = 0; i < SERVERS; i++) {
        VvServer *server = &f.fuse->servers[i];
        server->fuse = f.fuse;
        server->worker = vv_worker_new(i, false, &error);
        g_assert_no_error(error);
        g_assert_true(vv_slots_init(&server->slots, f.fuse, SHARE));
    }
    f.server = &f.fuse->servers[0];
}

static void tear_down(void)
{
    for (unsigned i = 0; i < SERVERS; i++) {
        g_assert_cmpuint(f.fuse->servers[i].slots.running_bytes, ==, 0);
        g_assert_cmpuint(atomic_load(&f.fuse->servers[i].stopped), ==, 0);
        vv_slots_clear(&f.fuse->servers[i].slots);
        vv_worker_free(f.fuse->servers[i].worker);
    }
    g_assert_cmpuint(atomic_load(&f.fuse->parked_bytes), ==, 0);
    g_assert_cmpuint(atomic_load(&f.fuse->parked_count), ==, 0);
    pthread_mutex_destroy(&f.fuse->keeper.lock);
    pthread_cond_destroy(&f.fuse->keeper.wake);
    g_free(f.fuse);
}

static VvSlot *begin(VvAccount *account, VvIoKind kind, uint32_t length_bytes)
{
    VvSlot *slot = vv_slot_get(&f.server->slots);
    g_assert_nonnull(slot);
    memset(slot->data, 0x5a, length_bytes);
    slot->account = account;
    slot->io = (VvIo){ .kind = kind, .length_bytes = length_bytes, .user = slot };
    if (kind == VV_IO_FLUSH)
        vv_quota_begin_flush(slot);
    else
        vv_quota_begin(f.server, slot, length_bytes);
    return slot;
}

static void end(VvSlot *slot, bool well)
{
    vv_quota_end(slot, well);
    vv_slot_put(slot);
}

/* Bytes of the data areas of all slots that are in memory. */
static uint64_t resident_bytes(void)
{
    uint64_t bytes = 0;
    for (uint32_t chunk = 0; chunk < atomic_load(&f.server->slots.chunk_count); chunk++) {
        static unsigned char pages[VV_SLOTS_PER_CHUNK * VV_SLOT_AREA_BYTES / 4096];
        g_assert_cmpint(
            mincore(f.server->slots.areas[chunk], (size_t) VV_SLOTS_PER_CHUNK * VV_SLOT_AREA_BYTES, pages), ==, 0);
        for (size_t i = 0; i < sizeof pages; i++)
            bytes += 4096u * (pages[i] & 1);
    }
    return bytes;
}

/* ---- Q1: what runs */

static void running_body(void)
{
    VvSlot *slots[64];
    unsigned count = 0;
    while (vv_quota_may_read(f.server)) {
        g_assert_cmpuint(count, <, G_N_ELEMENTS(slots));
        slots[count++] = begin(&f.a, VV_IO_WRITE, MIB);
    }
    g_assert_cmpuint(count, >=, SHARE / MIB - 1);
    g_assert_cmpuint(count, <=, SHARE / MIB);
    VvSlot *flush = begin(&f.a, VV_IO_FLUSH, 0); /* takes nothing */
    g_assert_false(vv_quota_may_read(f.server));
    end(slots[--count], true);
    g_assert_true(vv_quota_may_read(f.server));
    while (count > 0)
        end(slots[--count], true);
    end(flush, true);
    /* Free slots keep no more than the share, and small requests do not pay for the large ones before them. */
    g_assert_cmpuint(resident_bytes(), <=, SHARE + MIB);
    VvSlot *small[500];
    for (count = 0; count < G_N_ELEMENTS(small); count++) {
        g_assert_true(vv_quota_may_read(f.server));
        small[count] = begin(&f.a, VV_IO_READ, 4096);
    }
    g_assert_cmpuint(resident_bytes(), <=, SHARE + MIB);
    while (count > 0)
        end(small[--count], true);
}

static void test_running(void)
{
    set_up();
    on_worker(running_body);
    tear_down();
}

/* A queue that is as deep as the share lets it: each request runs in memory that one before it had. */
static void deep_body(void)
{
    VvSlot *slots[64];
    unsigned count = 0, forgotten = 0;
    for (unsigned i = 0; i < 200; i++) {
        while (vv_quota_may_read(f.server) && count < G_N_ELEMENTS(slots))
            slots[count++] = begin(&f.a, VV_IO_READ, MIB);
        VvSlot *first = slots[0];
        memmove(slots, slots + 1, --count * sizeof *slots);
        end(first, true);
        forgotten += !first->reserved && first->touched_bytes == 0;
    }
    while (count > 0)
        end(slots[--count], true);
    g_assert_cmpuint(forgotten, ==, 0);
    g_assert_cmpuint(resident_bytes(), <=, SHARE + (1 + VV_SLOTS_RESERVED) * MIB);
}

static void test_deep(void)
{
    set_up();
    on_worker(deep_body);
    tear_down();
}

/* What a worker reads a request into has its pages before. */
static void ready_body(void)
{
    VvSlot *slots[64];
    for (unsigned i = 0; i < G_N_ELEMENTS(slots); i++) {
        unsigned char there[2] = { 0, 0 };
        slots[i] = vv_slot_get(&f.server->slots);
        g_assert_cmpint(mincore(slots[i]->data - 4096, 4096 + VV_SLOT_READY_BYTES, there), ==, 0);
        if (!slots[i]->reserved) { /* theirs are locked with the pool's */
            g_assert_true(there[0] & 1);
            g_assert_true(there[1] & 1);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(slots); i++)
        vv_slot_put(slots[i]);
}

static void test_ready(void)
{
    set_up();
    on_worker(ready_body);
    tear_down();
}

/* ---- Q2: what is parked */

static VvSlot *parked[256];
static unsigned parked_count;

static void park_until_full(void)
{
    while (vv_quota_may_read(f.server)) {
        g_assert_cmpuint(parked_count, <, G_N_ELEMENTS(parked));
        VvSlot *slot = begin(&f.a, parked_count % 3 ? VV_IO_WRITE : VV_IO_READ, MIB);
        parked[parked_count++] = slot;
        vv_quota_waits(&slot->io, true);
        g_assert_cmpuint(f.server->slots.running_bytes, ==, 0); /* it does not count as both */
    }
}

static void full_body(void)
{
    park_until_full();
    g_assert_cmpuint(parked_count, <=, VV_PARKED_BYTES_MAX / MIB);
    g_assert_cmpuint(resident_bytes(), <=, VV_PARKED_BYTES_MAX);
    g_assert_true(atomic_load(&f.fuse->keeper.awake)); /* and the keeper looks at it */
    g_assert_false(vv_quota_may_read(f.server));
    g_assert_cmpuint(atomic_load(&f.fuse->stops), ==, 1); /* one hold, however often it is asked */
    while (parked_count > 0) {                            /* some go on, some fail */
        VvSlot *slot = parked[--parked_count];
        if (parked_count % 2)
            vv_quota_waits(&slot->io, false);
        end(slot, parked_count % 2);
    }
    g_assert_false(vv_quota_may_read(f.server)); /* not before its task has run: then it is asked again */
}

static void again_body(void)
{
    g_assert_true(vv_quota_may_read(f.server));
    park_until_full();
    g_assert_cmpuint(atomic_load(&f.fuse->stops), ==, 2);
    while (parked_count > 0)
        end(parked[--parked_count], false);
}

static void test_parked(void)
{
    set_up();
    on_worker(full_body); /* it ends only when the hold has gone */
    on_worker(again_body);
    tear_down();
}

/* ---- Q3: a LUN that is held gives up what is above its quota, another does not */

static void held_body(void)
{
    unsigned over = 0;
    atomic_store(&f.a.held, true); /* of long ago */
    while (vv_quota_may_read(f.server) && parked_count < 24) {
        VvSlot *slot = parked[parked_count++] = begin(&f.a, VV_IO_WRITE, MIB);
        vv_quota_waits(&slot->io, true);
        if (parked_count == 1) {
            g_assert_false(atomic_load(&f.a.held)); /* who begins to wait has not waited for long */
            atomic_store(&f.a.held, true);
        }
        over += slot->shed;
        g_assert_true(slot->shed == (atomic_load(&f.a.bytes) > VV_HELD_BYTES_PER_LUN));
    }
    g_assert_cmpuint(over, >, 0);
    VvSlot *slot = begin(&f.b, VV_IO_WRITE, MIB);
    vv_quota_waits(&slot->io, true);
    g_assert_false(slot->shed);
    end(slot, true);
    while (parked_count > 1)
        end(parked[--parked_count], false);
    g_assert_true(atomic_load(&f.a.held)); /* what fails is no sign of hope */
    vv_quota_waits(&parked[0]->io, false);
    g_assert_true(atomic_load(&f.a.held)); /* nor is another try */
    end(parked[--parked_count], true);
    g_assert_false(atomic_load(&f.a.held));
}

static void test_held(void)
{
    set_up();
    on_worker(held_body);
    tear_down();
}

/* ---- two workers stop and go on under each other's feet */

static atomic_uint turns;

static int busy_take(void *user, int fd G_GNUC_UNUSED)
{
    VvServer *server = user;
    if (!vv_quota_may_read(server))
        return -EBUSY;
    return atomic_fetch_add(&turns, 1) > 200000 ? -ENODEV : 0;
}

static void *worker_main(void *user)
{
    VvServer *server = user;
    vv_worker_run(server->worker);
    return NULL;
}

/* Somebody else parks and unparks so that the bound is passed all the time: nobody sleeps for ever, no task is posted twice. */
static void test_race(void)
{
    pthread_t threads[SERVERS];
    set_up();
    atomic_store(&turns, 0);
    int pipes[2];
    g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
    for (unsigned i = 0; i < SERVERS; i++)
        vv_worker_set_source(f.fuse->servers[i].worker, pipes[0], pipes[0], busy_take, &f.fuse->servers[i]);
    VvSlots *slots = g_new0(VvSlots, 1);
    g_assert_true(vv_slots_init(slots, f.fuse, SHARE));
    atomic_store(&f.fuse->parked_bytes, VV_PARKED_BYTES_MAX - MIB);
    for (unsigned i = 0; i < SERVERS; i++)
        g_assert_cmpint(pthread_create(&threads[i], NULL, worker_main, &f.fuse->servers[i]), ==, 0);
    VvSlot *slot = vv_slot_get(slots);
    slot->account = &f.a;
    slot->io = (VvIo){ .kind = VV_IO_READ, .length_bytes = MIB, .user = slot };
    while (atomic_load(&turns) <= 200000) {
        vv_quota_waits(&slot->io, true);
        if (g_test_rand_bit())
            sched_yield();
        vv_quota_waits(&slot->io, false);
        slots->running_bytes = 0;
        atomic_store(&slot->charged_bytes, 0);
        if (g_test_rand_bit())
            sched_yield();
    }
    for (unsigned i = 0; i < SERVERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&f.fuse->parked_bytes, 0);
    vv_quota_end(slot, true);
    vv_slot_put(slot);
    vv_slots_clear(slots);
    g_free(slots);
    close(pipes[0]);
    close(pipes[1]);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fusefs/quota/running", test_running);
    g_test_add_func("/fusefs/quota/ready", test_ready);
    g_test_add_func("/fusefs/quota/deep", test_deep);
    g_test_add_func("/fusefs/quota/parked", test_parked);
    g_test_add_func("/fusefs/quota/held", test_held);
    g_test_add_func("/fusefs/quota/race", test_race);
    return g_test_run();
}
