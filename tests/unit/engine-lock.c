/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block locks: who waits for whom, in which order, compared with the rule told plainly. */
#include "io_state.h"

#include <errno.h>
#include <glib.h>

#define REQUESTS 40u

typedef struct {
    VvView view;
    VvIoState *states[REQUESTS];
    bool exclusive[REQUESTS];
    unsigned order[REQUESTS]; /* of arrival; 0: not there */
    unsigned arrivals;
} Fixture;

/* A request for bytes [begin, end). */
static void set_range(VvIoState *state, uint64_t begin, uint64_t end)
{
    state->offset = begin;
    state->end = end;
    state->first_block = begin / VV_BLOCK_BYTES;
    state->block_count = (unsigned) ((end - 1) / VV_BLOCK_BYTES - state->first_block + 1);
    state->head_partial = begin % VV_BLOCK_BYTES != 0;
    state->tail_partial = end % VV_BLOCK_BYTES != 0;
    if (state->block_count == 1 && (state->head_partial || state->tail_partial))
        state->head_partial = state->tail_partial = true;
}

static bool has_alone(const VvIoState *state, bool exclusive, uint64_t block)
{
    uint64_t last = state->first_block + state->block_count - 1;
    return exclusive || (block == state->first_block && state->head_partial) || (block == last && state->tail_partial);
}

static bool conflict(const Fixture *f, unsigned a, unsigned b)
{
    const VvIoState *x = f->states[a], *y = f->states[b];
    for (uint64_t block = x->first_block; block < x->first_block + x->block_count; block++)
        if (block >= y->first_block && block < y->first_block + y->block_count &&
            (has_alone(x, f->exclusive[a], block) || has_alone(y, f->exclusive[b], block)))
            return true;
    return false;
}

/* Nobody who came before and conflicts is still there. */
static bool must_hold(const Fixture *f, unsigned i)
{
    for (unsigned k = 0; k < REQUESTS; k++)
        if (f->order[k] != 0 && f->order[k] < f->order[i] && conflict(f, i, k))
            return false;
    return true;
}

static void arrive(Fixture *f, unsigned i, uint64_t begin, uint64_t end, bool exclusive)
{
    VvIoState *state = f->states[i];
    memset(state, 0, sizeof *state);
    state->view = &f->view;
    set_range(state, begin, end);
    f->exclusive[i] = exclusive;
    f->order[i] = ++f->arrivals;
    bool held = vv_block_lock_acquire(state, exclusive);
    g_assert_cmpint(held, ==, must_hold(f, i));
    if (held)
        return;
    state->parked = VV_PARK_LOCK;
    vv_io_list_append(&f->view.parked, state);
}

static void leave(Fixture *f, unsigned i)
{
    VvIoList woken = { NULL, NULL };
    VvIoState *state;
    f->order[i] = 0;
    if (f->states[i]->parked) { /* gives up in line */
        VvIoList self = { NULL, NULL };
        vv_unpark(f->states[i], -EINTR, &self);
        vv_io_list_pop(&self);
    }
    vv_block_lock_release(f->states[i], &woken);
    while ((state = vv_io_list_pop(&woken)))
        g_assert_cmpint(state->wake_result, ==, 0);
    for (unsigned k = 0; k < REQUESTS; k++)
        if (f->order[k])
            g_assert_cmpint(f->states[k]->parked == VV_PARK_NONE, ==, must_hold(f, k));
}

static Fixture *fixture_new(void)
{
    Fixture *f = g_new0(Fixture, 1);
    for (unsigned i = 0; i < REQUESTS; i++)
        f->states[i] = g_new0(VvIoState, 1);
    return f;
}

static void fixture_free(Fixture *f)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        g_free(f->states[i]);
    g_free(f);
}

static void test_rules(void)
{
    Fixture *f = fixture_new();
    arrive(f, 0, 0, 8192, false); /* whole blocks are shared */
    arrive(f, 1, 0, 8192, false);
    arrive(f, 2, 512, 1024, false);  /* a part waits for both */
    arrive(f, 3, 4096, 8192, false); /* not touched by the part */
    arrive(f, 4, 0, 4096, false);    /* behind the part, though the holders would share */
    g_assert_cmpint(f->states[2]->parked, ==, VV_PARK_LOCK);
    g_assert_cmpint(f->states[3]->parked, ==, VV_PARK_NONE);
    g_assert_cmpint(f->states[4]->parked, ==, VV_PARK_LOCK);
    leave(f, 0);
    g_assert_cmpint(f->states[2]->parked, ==, VV_PARK_LOCK);
    leave(f, 1);
    g_assert_cmpint(f->states[2]->parked, ==, VV_PARK_NONE);
    leave(f, 2);
    leave(f, 3);
    leave(f, 4);
    fixture_free(f);
}

static void test_random(void)
{
    Fixture *f = fixture_new();
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned) g_test_rand_int_range(0, REQUESTS);
        if (f->order[i]) {
            leave(f, i);
            continue;
        }
        /* Around the end of a region, so that some have two locks. */
        uint64_t begin = VV_REGION_BYTES - 20 * 4096 + 512u * (unsigned) g_test_rand_int_range(0, 40 * 8);
        uint64_t length = 512u * (unsigned) g_test_rand_int_range(1, g_test_rand_bit() ? 10 : 120);
        if (g_test_rand_bit()) {
            begin &= ~(uint64_t) 4095;
            length = (length + 4095) & ~(uint64_t) 4095;
        }
        arrive(f, i, begin, begin + length, g_test_rand_int_range(0, 10) == 0);
    }
    for (unsigned i = 0; i < REQUESTS; i++)
        if (f->order[i])
            leave(f, i);
    for (unsigned i = 0; i < VV_LOCK_BUCKETS; i++)
        g_assert_null(f->view.block_locks[i].first);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/lock/rules", test_rules);
    g_test_add_func("/engine/lock/random", test_random);
    return g_test_run();
}
