/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server of objects, of a real pool, asked by hand: what each operation does and tells, what is refused, and that nothing of a newer
 * connection or process begins before all of the older one has ended (S1 to S4 of docs/cluster-daemon.md). */
#include "engine-test.h"
#include "base.h"
#include "incarnation.h"
#include "objects-rig.h"
#include "sharing.h"

#include <string.h>

/* ---- each operation */
static void test_operations(void)
{
    Rig *rig = rig_new();
    ServeCall one = open_call(rig->lun, 1, VV_OBJECT_WRITE);
    uint64_t incarnation = vv_pool_incarnation(rig->pool->pool), used, mtime_ns;
    uint8_t into[8192];

    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_true(one.answer.is_lun && !one.answer.elastic);
    g_assert_cmpuint(one.answer.size_bytes, ==, LUN_BYTES);
    g_assert_cmpuint(one.answer.incarnation, ==, incarnation);
    g_assert_cmpuint(one.answer.applied, ==, vv_meta_applied_index(vv_pool_meta(rig->pool->pool)));
    used = one.answer.used_bytes;
    mtime_ns = one.answer.mtime_ns;
    one = write_call(rig->lun, 4096, 8192, 0x11);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.value, ==, 8192);
    g_assert_cmpuint(one.answer.used_bytes, ==, used + 8192);
    g_assert_cmpuint(one.answer.mtime_ns, >, mtime_ns);
    g_assert_cmpint(put(rig, rig->lun, 12288 + 100, 55, 0x22), ==, 55); /* not aligned */
    g_assert_cmpint(get(rig, rig->lun, 4096, 8192), ==, 0x11);
    g_assert_cmpint(get(rig, rig->lun, 12388, 55), ==, 0x22);
    g_assert_cmpint(get(rig, rig->lun, 12388, 56), ==, -1);
    one = call_of(VV_OBJECT_READ, rig->lun, LUN_BYTES - 100, sizeof into);
    one.into = into;
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.value, ==, 100); /* short at the end */
    one = call_of(VV_OBJECT_READ, rig->lun, LUN_BYTES, sizeof into);
    one.into = into;
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.value, ==, 0);
    g_assert_cmpint(put(rig, rig->lun, LUN_BYTES, 4096, 1), ==, -ENOSPC);
    one = call_of(VV_OBJECT_SEEK, rig->lun, 0, 0);
    one.ask.flags = VV_OBJECT_DATA;
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.value, ==, 4096);
    one = call_of(VV_OBJECT_SEEK, rig->lun, 4096, 0);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.value, ==, 16384);
    g_assert_cmpint(ask(rig, VV_OBJECT_SEEK, rig->lun, LUN_BYTES, 0), ==, -ENXIO);
    one = call_of(VV_OBJECT_ZERO, rig->lun, 4096, 4096);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.used_bytes, ==, used + 8192);
    g_assert_cmpint(get(rig, rig->lun, 4096, 4096), ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 8192, 4096), ==, 0x11);
    one = call_of(VV_OBJECT_ALLOCATE, rig->lun, 0, 65536);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.used_bytes, ==, used + 65536);
    one = call_of(VV_OBJECT_FLUSH, rig->lun, 0, 0);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.incarnation, ==, incarnation);
    g_assert_cmpint(ask(rig, VV_OBJECT_TRUNCATE, rig->lun, 0, LUN_BYTES / 2), ==, -EPERM); /* not without --shrink */
    one = call_of(VV_OBJECT_TRUNCATE, rig->lun, 0, 2 * LUN_BYTES);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.size_bytes, ==, 2 * LUN_BYTES);
    g_assert_cmpint(close_as(rig, rig->lun, 1), ==, 0);
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 0);
    rig_free(rig);
}

/* A LUN that grows as it is written, and is finished by its last close. */
static void test_elastic(void)
{
    Rig *rig = rig_new();
    uint64_t lun = rig_lun_new(rig->pool, "e", 0);
    ServeCall one = open_call(lun, 1, VV_OBJECT_WRITE);
    VvViewStat stat;

    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_true(one.answer.elastic);
    one = write_call(lun, 0, 5000, 7);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.size_bytes, ==, 5000);
    g_assert_cmpint(ask(rig, VV_OBJECT_EXTEND, lun, 0, 9000), ==, 0);
    one = call_of(VV_OBJECT_EXTEND, lun, 0, 6000);
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.size_bytes, ==, 9000); /* never smaller */
    g_assert_cmpint(ask(rig, VV_OBJECT_TRUNCATE, lun, 0, 100), ==, 0);
    g_assert_cmpint(get(rig, lun, 0, 100), ==, 7);
    g_assert_cmpint(close_as(rig, lun, 1), ==, 0);
    await(rig, vv_pool_stat(rig->pool->pool, lun, &stat) == 0 && !stat.elastic);
    g_assert_cmpuint(stat.size_bytes, ==, 4096);
    rig_free(rig);
}

/* ---- what is refused, on a connection that goes on */
static void test_bad_bodies(void)
{
    Rig *rig = rig_new();
    uint8_t raw[VV_OBJECT_ASK_BYTES + 1];
    ServeCall good = call_of(VV_OBJECT_FLUSH, rig->lun, 0, 0), one = { .ask = { .op = VV_OBJECT_FLUSH } };
    struct {
        unsigned byte;
        uint8_t value;
        uint32_t bytes, data_bytes;
    } cases[] = {
        { 0, 0, 48, 0 },                       /* no such operation */
        { 0, 99, 48, 0 },                      /* nor this */
        { 1, 1, 48, 0 },                       /* a flag that it does not have */
        { 24, 1, 48, 0 },                      /* an offset that it does not have */
        { 0, VV_OBJECT_FLUSH, 47, 0 },         /* cut */
        { 0, VV_OBJECT_FLUSH, 49, 0 },         /* long */
        { 0, VV_OBJECT_FLUSH, 0, 0 },          /* nothing */
        { 0, VV_OBJECT_FLUSH, 48, 4096 },      /* with data */
        { 0, VV_OBJECT_WRITE_DATA, 48, 4096 }, /* that is longer than it says */
        { 0, VV_OBJECT_READ, 48, 0 },          /* of nothing */
    };

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    one.data = block;
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        memset(raw, 0, sizeof raw);
        vv_object_ask_encode(&good.ask, raw);
        raw[cases[i].byte] = cases[i].value;
        serve_net_send_raw(rig->net, &one, raw, cases[i].bytes, cases[i].data_bytes);
        serve_net_await(&one);
        g_assert_cmpint(one.wire, ==, 0);
        g_assert_cmpint(one.answer.result, ==, -EINVAL);
    }
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, 4096);
    g_assert_cmpuint(serve_net_ups(rig->net), ==, 1);
    await(rig, is.memory_bytes == 0);
    rig_free(rig);
}

static void test_refusals(void)
{
    Rig *rig = rig_new();
    uint64_t other = rig_lun_new(rig->pool, "b", LUN_BYTES), snapshot;

    snapshot = rig_snapshot_new(rig->pool);
    g_assert_cmpint(open_as(rig, 999999, 1, 0), ==, -ENOENT);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -ESTALE); /* not open */
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, -ESTALE);
    g_assert_cmpint(ask(rig, VV_OBJECT_FLUSH, rig->lun, 0, 0), ==, -ESTALE);
    g_assert_cmpint(ask(rig, VV_OBJECT_SEEK, rig->lun, 0, 0), ==, -ESTALE);
    g_assert_cmpint(close_as(rig, rig->lun, 1), ==, 0); /* it is not, which is what was wanted */
    g_assert_cmpint(open_as(rig, snapshot, 1, VV_OBJECT_WRITE), ==, -EROFS);

    g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 0);
    g_assert_cmpint(ask(rig, VV_OBJECT_FLUSH, rig->lun, 0, 0), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, -ESTALE); /* for reading alone */
    g_assert_cmpint(ask(rig, VV_OBJECT_ZERO, rig->lun, 0, 4096), ==, -ESTALE);
    g_assert_cmpint(ask(rig, VV_OBJECT_ALLOCATE, rig->lun, 0, 4096), ==, -ESTALE);
    g_assert_cmpint(ask(rig, VV_OBJECT_TRUNCATE, rig->lun, 0, 2 * LUN_BYTES), ==, -ESTALE);
    g_assert_cmpint(ask(rig, VV_OBJECT_EXTEND, rig->lun, 0, 2 * LUN_BYTES), ==, -ESTALE);

    g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, 0); /* the same again: the same answer */
    g_assert_cmpint(open_as(rig, rig->lun, 2, VV_OBJECT_WRITE), ==, -EINVAL);
    g_assert_cmpint(open_as(rig, other, 2, 0), ==, -EINVAL);
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 1);
    g_assert_cmpint(close_as(rig, other, 2), ==, 0); /* it is not open on that */
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 1);

    g_assert_cmpint(open_as(rig, rig->lun, 3, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(ask(rig, VV_OBJECT_ZERO, rig->lun, 0, 2u * MIB), ==, -EINVAL); /* longer than one request may be */
    g_assert_cmpint(ask(rig, VV_OBJECT_ALLOCATE, rig->lun, 0, INT64_MAX), ==, -EINVAL);
    g_assert_cmpint(ask(rig, VV_OBJECT_EXTEND, rig->lun, 0, INT64_MAX), <, 0);
    g_assert_cmpint(close_as(rig, rig->lun, 3), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, -ESTALE);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 0);
    g_assert_cmpint(close_as(rig, rig->lun, 2), ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -ESTALE);
    g_assert_cmpuint(rig_stats(rig).handles, ==, 0);
    rig_free(rig);
}

/* Who is told of a LUN that another node has open: that node, and the pid there, which is nobody's here. */
static void test_openers(void)
{
    Rig *rig = rig_new();
    g_autoptr(GPtrArray) openers = NULL;
    g_autoptr(GError) error = NULL;
    VvRemoval removal = { NULL };
    const char *names[] = { "a", NULL };
    const VvOpener *opener;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    openers = vv_pool_openers(rig->pool->pool, rig->lun);
    g_assert_cmpuint(openers->len, ==, 1);
    opener = g_ptr_array_index(openers, 0);
    g_assert_cmpuint(opener->node, ==, N2);
    g_assert_cmpint(opener->pid, ==, 4711);
    g_assert_null(opener->process);
    g_assert_true(opener->write);
    rig_snapshot_new(rig->pool);
    vv_pool_snapshot_restore(rig->pool->pool, "a@s", false, false, false, NULL, NULL, &error);
    test_assert_refused(error, VV_ERROR_BUSY, "a is open for writing on n2: pid 4711");
    /* removed while it is open there: it lives until it is closed */
    vv_pool_snapshot_remove(rig->pool->pool, (const char *const[]){ "a@s", NULL }, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
    if (vv_pool_lun_remove(rig->pool->pool, names, false, false, false, NULL, &removal, &error)) {
        g_assert_cmpint(put(rig, rig->lun, 0, 4096, 5), ==, 4096);
        g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, -ENOENT);
        g_assert_cmpint(open_as(rig, rig->lun, 2, VV_OBJECT_AGAIN), ==, 0); /* as it was open before */
        g_assert_cmpint(close_as(rig, rig->lun, 2), ==, 0);
    } else {
        test_assert_refused(error, VV_ERROR_BUSY, "n2");
    }
    vv_removal_clear(&removal);
    g_assert_cmpint(close_as(rig, rig->lun, 1), ==, 0);
    rig_free(rig);
}

/* ---- S1 */
/* A write waits in the engine when its connection goes. What comes on the next one waits for it: a read sees what it wrote, and what is
 * sent again does not land later. */
static void test_newer_connection(void)
{
    Rig *rig = rig_new();
    ServeCall older, read = call_of(VV_OBJECT_READ, rig->lun, 0, 4096), newer;
    uint8_t into[4096], second[4096];
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    await(rig, is.under_way == 0); /* what was answered is over */
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, false, 1000)); /* writes wait, reads do not */
    older = write_call(rig->lun, 0, 4096, 0x0a);
    serve_net_send(rig->net, &older);
    await(rig, is.under_way == 1);
    serve_net_cut(rig->net);
    serve_net_await(&older);
    g_assert_cmpint(older.wire, ==, -ECONNRESET);
    read.into = into;
    serve_net_send(rig->net, &read);
    memset(second, 0x0b, sizeof second);
    newer = call_of(VV_OBJECT_WRITE_DATA, rig->lun, 8192, sizeof second);
    newer.data = second;
    serve_net_send(rig->net, &newer);
    await(rig, is.waiting >= 1);
    g_assert_cmpuint(rig_stats(rig).under_way, ==, 1);
    g_assert_false(serve_net_is_over(&read));
    vv_gate_open(view, false);
    serve_net_await(&read);
    serve_net_await(&newer);
    g_assert_cmpint(read.answer.result, ==, 0);
    g_assert_cmpuint(into[0], ==, 0x0a);
    g_assert_cmpint(newer.answer.result, ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 8192, 4096), ==, 0x0b);
    vv_view_unref(view);
    rig_free(rig);
}

/* It goes again and again: what was not begun is forgotten, and the order stays. */
static void test_many_cuts(void)
{
    Rig *rig = rig_new();
    ServeCall first, lost[3];
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    await(rig, is.under_way == 0); /* what was answered is over */
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, false, 1000));
    first = write_call(rig->lun, 0, 4096, 1);
    serve_net_send(rig->net, &first);
    await(rig, is.under_way == 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(lost); i++) {
        serve_net_cut(rig->net);
        lost[i] = call_of(VV_OBJECT_ZERO, rig->lun, 0, 4096);
        serve_net_send(rig->net, &lost[i]);
        await(rig, is.waiting == 1);
    }
    serve_net_cut(rig->net);
    for (unsigned i = 0; i < G_N_ELEMENTS(lost); i++) {
        serve_net_await(&lost[i]);
        g_assert_cmpint(lost[i].wire, ==, -ECONNRESET);
    }
    serve_net_await(&first);
    await(rig, is.waiting == 0);
    vv_gate_open(view, false);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 1);
    vv_view_unref(view);
    rig_free(rig);
}

static ServeCall interrupt_call(const ServeCall *of)
{
    ServeCall interrupt = call_of(VV_OBJECT_INTERRUPT, of->ask.object, 0, 0);

    interrupt.ask.origin = of->ask.origin;
    interrupt.ask.number = of->ask.number;
    return interrupt;
}

/* Who asks wants no answer any more to what waits. */
static void test_interrupt(void)
{
    Rig *rig = rig_new();
    ServeCall parked, other, interrupt;
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, 4096);
    await(rig, is.under_way == 0); /* what was answered is over */
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, false, 1000));
    parked = write_call(rig->lun, 0, 4096, 2);
    parked.ask.origin = 5;
    parked.ask.number = 1;
    other = call_of(VV_OBJECT_ZERO, rig->lun, 4096, 4096);
    other.ask.origin = 5;
    other.ask.number = 2;
    interrupt = interrupt_call(&parked);
    serve_net_send(rig->net, &parked);
    serve_net_send(rig->net, &other);
    g_assert_cmpint(call(rig, &interrupt), ==, 0); /* it may not wait yet */
    serve_net_await(&parked);
    g_assert_cmpint(parked.answer.result, ==, -EINTR);
    g_assert_false(serve_net_is_over(&other));
    vv_gate_open(view, false);
    serve_net_await(&other);
    g_assert_cmpint(other.answer.result, ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 1);
    g_assert_cmpint(call(rig, &parked), ==, 0); /* its number was not noted as done by being interrupted */
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 2);
    interrupt = interrupt_call(&parked);
    g_assert_cmpint(call(rig, &interrupt), ==, 0); /* it is over */
    vv_view_unref(view);
    rig_free(rig);
}

/* A number that was done is not done again, and answered as it was. */
static void test_done_once(void)
{
    Rig *rig = rig_new();
    ServeCall one, grow = call_of(VV_OBJECT_TRUNCATE, rig->lun, 0, 2 * LUN_BYTES);

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    one = write_call(rig->lun, 0, 4096, 1);
    one.ask.origin = 5;
    one.ask.number = 1;
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 2), ==, 4096);
    memset(block, 1, sizeof block);
    serve_net_cut(rig->net);
    one.answer.value = 0;
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpuint(one.answer.value, ==, 4096);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 2);
    memset(block, 3, sizeof block);
    one.ask.origin = 6; /* somebody else's number */
    g_assert_cmpint(call(rig, &one), ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 3);
    grow.ask.origin = 5;
    grow.ask.number = 2;
    g_assert_cmpint(call(rig, &grow), ==, 0);
    g_assert_cmpint(ask(rig, VV_OBJECT_TRUNCATE, rig->lun, 0, 3 * LUN_BYTES), ==, 0);
    g_assert_cmpint(call(rig, &grow), ==, 0); /* else it would be smaller, and denied */
    g_assert_cmpuint(grow.answer.size_bytes, ==, 3 * LUN_BYTES);
    rig_free(rig);
}

/* Another process of the node: nothing of it begins before the older one's last request has ended and its handles are closed. */
static void test_newer_instance(void)
{
    Rig *rig = rig_new();
    ServeCall older, opens = open_call(rig->lun, 1, 0);
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, 0);
    await(rig, is.under_way == 0); /* what was answered is over */
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, false, 1000));
    older = write_call(rig->lun, 0, 4096, 0x0c);
    serve_net_send(rig->net, &older);
    await(rig, is.under_way == 1);
    serve_net_client(rig->net, false);
    serve_net_await(&older);
    serve_net_client(rig->net, true);
    serve_net_send(rig->net, &opens); /* a number that the older process has used too: it is another handle */
    await(rig, is.waiting == 1);
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 2);
    g_assert_false(serve_net_is_over(&opens));
    vv_gate_open(view, false);
    serve_net_await(&opens);
    g_assert_cmpint(opens.answer.result, ==, 0);
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 1);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 0x0c);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, -ESTALE); /* it is open for reading now */
    vv_view_unref(view);
    rig_free(rig);
}

/* An OPEN behind a CLOSE of the same object, and all at once: each is done in its turn. */
static void test_order(void)
{
    Rig *rig = rig_new();
    ServeCall calls[48];

    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++) {
            uint64_t handle = 1 + round * G_N_ELEMENTS(calls) + i / 3;

            calls[i] = open_call(rig->lun, handle, i % 2 ? VV_OBJECT_WRITE : 0);
            if (i % 3 == 1)
                calls[i] = call_of(VV_OBJECT_SEEK, rig->lun, 0, 0);
            else if (i % 3 == 2)
                calls[i] = (ServeCall){ .ask = { .op = VV_OBJECT_CLOSE, .object = rig->lun, .handle = handle } };
            serve_net_send(rig->net, &calls[i]);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++) {
            serve_net_await(&calls[i]);
            g_assert_cmpint(calls[i].answer.result, ==, 0);
        }
        g_assert_cmpuint(rig_stats(rig).handles, ==, 0);
    }
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 0);
    rig_free(rig);
}

/* ---- nodes that are away, gone, or guests */
static void test_away(void)
{
    VvObjectServerOptions options = { .away_ms = 100 };
    Rig *rig = rig_new_with(&options);

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 9), ==, 4096);
    serve_net_client(rig->net, false);
    await(rig, is.handles == 0 && is.under_way == 0);
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 0);
    serve_net_client(rig->net, true);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -ESTALE);
    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE | VV_OBJECT_AGAIN), ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 9);
    rig_free(rig);
}

static void test_gone(void)
{
    Rig *rig = rig_new();

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    vv_object_server_gone(rig->server, N2);
    await(rig, is.handles == 0 && is.under_way == 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -EACCES);
    g_assert_cmpint(put(rig, rig->lun, 0, MIB, 1), ==, -EACCES);
    g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, -EACCES);
    vv_object_server_gone(rig->server, N2);
    await(rig, is.memory_bytes == 0);
    rig_free(rig);
}

static void test_guest(void)
{
    Rig *rig = rig_unopened(NULL);

    rig_serve(rig);
    serve_net_guest(rig->net);
    g_assert_cmpint(open_as(rig, rig->lun, 1, 0), ==, -EACCES);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, -EACCES);
    g_assert_cmpuint(rig_stats(rig).handles, ==, 0);
    rig_free(rig);
}

/* ---- O3 */
/* Reads, and among them as many writes as a connection takes that is not read. */
static void send_many(Rig *rig, ServeCall *calls, unsigned count, uint8_t *into)
{
    memset(block, 0x33, sizeof block);
    for (unsigned i = 0; i < count; i++) {
        bool writes = i % 8 == 3, large = i < 24;

        calls[i] = call_of(writes ? VV_OBJECT_WRITE_DATA : VV_OBJECT_READ, rig->lun, i % 8 * MIB, writes && !large ? 5000 : MIB);
        calls[i].data = writes ? block : NULL;
        calls[i].into = writes ? NULL : into + i * MIB;
        serve_net_send(rig->net, &calls[i]);
    }
}

static void test_memory(void)
{
    VvObjectServerOptions options = { .memory_bytes = 4u * MIB, .node_bytes = 2u * MIB };
    Rig *rig = rig_new_with(&options);
    ServeCall calls[64];
    uint8_t *into = g_malloc(64u * MIB);
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, true, 1000)); /* nothing ends */
    send_many(rig, calls, G_N_ELEMENTS(calls), into);
    await(rig, is.waiting >= 2); /* reads, and the first write */
    g_assert_cmpuint(rig_stats(rig).memory_bytes, ==, options.node_bytes);
    vv_gate_open(view, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++) {
        serve_net_await(&calls[i]);
        g_assert_cmpint(calls[i].wire, ==, 0);
        g_assert_cmpint(calls[i].answer.result, ==, 0);
        g_assert_cmpuint(calls[i].answer.value, ==, calls[i].ask.length_bytes);
    }
    await(rig, is.memory_bytes == 0 && is.waiting == 0);
    /* and with a connection that goes while some wait */
    for (unsigned round = 0; round < 2; round++) {
        send_many(rig, calls, G_N_ELEMENTS(calls), into);
        serve_net_cut(rig->net);
        for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++)
            serve_net_await(&calls[i]);
    }
    await(rig, is.memory_bytes == 0 && is.waiting == 0 && is.under_way == 0);
    g_assert_cmpint(get(rig, rig->lun, 3 * MIB, MIB), ==, 0x33);
    vv_view_unref(view);
    g_free(into);
    rig_free(rig);
}

/* ---- beginning and end */
/* Who connects before the pool is served waits. */
static void test_before(void)
{
    Rig *rig = rig_unopened(NULL);
    ServeCall opens = open_call(rig->lun, 1, VV_OBJECT_WRITE), writes;

    serve_net_client(rig->net, true);
    serve_net_send(rig->net, &opens);
    await(rig, is.waiting == 1);
    g_assert_false(serve_net_is_over(&opens));
    rig_serve(rig);
    serve_net_await(&opens);
    g_assert_cmpint(opens.answer.result, ==, 0);
    writes = write_call(rig->lun, 0, 4096, 4);
    g_assert_cmpint(call(rig, &writes), ==, 0);
    rig_free(rig);
}

/* Nothing that waits holds the end: it was not begun. */
static void test_end(void)
{
    Rig *rig = rig_new();
    ServeCall parked;
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, 4096);
    await(rig, is.under_way == 0); /* what was answered is over */
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, false, 1000));
    parked = write_call(rig->lun, 0, 4096, 2);
    serve_net_send(rig->net, &parked);
    await(rig, is.under_way == 1);
    vv_object_server_end(rig->server);
    vv_gate_open(view, false);
    vv_view_unref(view);
    serve_net_await(&parked);
    g_assert_cmpint(parked.wire, ==, 0);
    g_assert_cmpint(parked.answer.result, ==, -ESHUTDOWN);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -ESHUTDOWN);
    g_assert_cmpint(put(rig, rig->lun, 0, MIB, 2), ==, -ESHUTDOWN);
    g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, -ESHUTDOWN);
    g_assert_cmpuint(rig_openers(rig, rig->lun), ==, 0);
    vv_object_server_end(rig->server); /* again: nothing */
    rig_free(rig);
}

/* The process is about to leave its mount to another one, and its requests are the kernel's again: those of other nodes are no failures either. */
static void test_leaving(void)
{
    Rig *rig = rig_new();
    ServeCall parked;
    VvView *view;

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, 4096);
    view = rig_view(rig, rig->lun);
    g_assert_true(vv_gate_close(view, false, 1000));
    parked = write_call(rig->lun, 0, 4096, 2);
    parked.ask.origin = 5;
    parked.ask.number = 1;
    serve_net_send(rig->net, &parked);
    await(rig, is.under_way == 1);
    vv_pool_abort_waiting(rig->pool->pool);
    serve_net_await(&parked);
    g_assert_cmpint(parked.answer.result, ==, -ESHUTDOWN);
    g_assert_cmpint(call(rig, &parked), ==, -ESHUTDOWN); /* again, of the same process */
    vv_gate_open(view, false);
    g_assert_cmpint(call(rig, &parked), ==, 0);
    g_assert_cmpuint(parked.answer.value, ==, 4096);
    vv_view_unref(view);
    rig_free(rig);
}

/* The server and the pool begin anew; n2 is to come back. */
static void begin_anew(Rig *rig, const VvObjectServerOptions *options)
{
    vv_object_server_end(rig->server);
    serve_net_free(rig->net);
    vv_object_server_free(rig->server);
    vv_pool_close(rig->pool->pool);
    rig_open_pool(rig->pool);
    rig->server = vv_object_server_new(options);
    rig->net = serve_net_new(rig->server);
    rig_serve(rig);
}

static bool is_elastic(Rig *rig, uint64_t lun)
{
    VvViewStat stat;

    return vv_pool_stat(rig->pool->pool, lun, &stat) == 0 && stat.elastic;
}

static bool is_there(Rig *rig, uint64_t lun)
{
    VvViewStat stat;

    return vv_pool_stat(rig->pool->pool, lun, &stat) == 0;
}

/* "a" is removed and "e" elastic while n2 has them open as handles 1 and 2. */
static uint64_t open_two(Rig *rig)
{
    g_autoptr(GError) error = NULL;
    const char *names[] = { "a", NULL };
    uint64_t lun = rig_lun_new(rig->pool, "e", 0);
    VvRemoval removal = { NULL };

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 0x0e), ==, 4096);
    vv_pool_lun_remove(rig->pool->pool, names, false, false, false, NULL, &removal, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
    g_assert_cmpint(open_as(rig, lun, 2, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, lun, 0, 5000, 0x0f), ==, 5000);
    return lun;
}

/* What n2 has open is so still when the server is back, also what was removed meanwhile and what grows as it is written. */
static void test_back(void)
{
    Rig *rig = rig_new();
    uint64_t lun = open_two(rig);

    begin_anew(rig, NULL);
    serve_net_client(rig->net, true);
    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE | VV_OBJECT_AGAIN), ==, 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 0x0e);
    g_assert_cmpint(open_as(rig, lun, 2, VV_OBJECT_WRITE | VV_OBJECT_AGAIN), ==, 0);
    g_assert_cmpint(put(rig, lun, 5000, 4000, 0x0f), ==, 4000);
    g_assert_cmpint(get(rig, lun, 0, 9000), ==, 0x0f);
    g_assert_cmpint(close_as(rig, rig->lun, 1), ==, 0);
    g_assert_cmpint(close_as(rig, lun, 2), ==, 0);
    await(rig, !is_there(rig, rig->lun) && !is_elastic(rig, lun));
    rig_free(rig);
}

/* It does not come back in time, or not with all: what it had open is closed. */
static void test_not_back(void)
{
    VvObjectServerOptions options = { .away_ms = 3000 };
    Rig *rig = rig_new();
    uint64_t lun = open_two(rig);

    begin_anew(rig, &options);
    serve_net_client(rig->net, true);
    g_assert_cmpint(open_as(rig, lun, 2, VV_OBJECT_WRITE | VV_OBJECT_AGAIN), ==, 0);
    g_assert_true(is_there(rig, rig->lun) && is_elastic(rig, lun));
    await(rig, !is_there(rig, rig->lun));
    g_assert_true(is_elastic(rig, lun)); /* seen to before, and open */
    g_assert_cmpint(put(rig, lun, 5000, 4000, 0x0f), ==, 4000);
    rig_free(rig);
}

/* S3: an orderly end keeps what was written, so the incarnation too; a machine that was lost does not. */
static void test_incarnation(void)
{
    Rig *rig = rig_new();
    g_autofree char *file = g_build_filename(rig->pool->directory, VV_FLUSHED_FILE, NULL);
    uint64_t incarnations[3];

    for (unsigned i = 0; i < 3; i++) {
        ServeCall opens = open_call(rig->lun, 1, VV_OBJECT_WRITE);

        g_assert_cmpint(call(rig, &opens), ==, 0);
        incarnations[i] = opens.answer.incarnation;
        g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, 4096);
        vv_object_server_end(rig->server);
        serve_net_free(rig->net);
        vv_object_server_free(rig->server);
        vv_pool_close(rig->pool->pool);
        if (i == 1)
            g_assert_cmpint(g_unlink(file), ==, 0);
        rig_open_pool(rig->pool);
        rig->server = vv_object_server_new(NULL);
        rig->net = serve_net_new(rig->server);
        rig_serve(rig);
        serve_net_client(rig->net, true);
    }
    g_assert_cmpuint(incarnations[0], !=, 0);
    g_assert_cmpuint(incarnations[0], ==, incarnations[1]);
    g_assert_cmpuint(incarnations[1], !=, incarnations[2]);
    rig_free(rig);
}

/* ---- S4 */
static void share(Rig *rig, VvShareMode mode)
{
    g_autoptr(GError) error = NULL;
    const char *nodes[] = { "n2", NULL };
    struct VvShareChanges changes = { .nodes = nodes, .modes = &mode };
    VvShareHow how = { .force = true };

    vv_pool_share_set(rig->pool->pool, "a", &changes, &how, NULL, &error);
    g_assert_no_error(error);
}

static void test_shares(void)
{
    Rig *rig = rig_new();

    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(open_as(rig, rig->lun, 2, 0), ==, 0);
    share(rig, VV_SHARE_RO);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 1), ==, -ESTALE); /* at once, though it is not closed yet */
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 0);
    g_assert_cmpint(open_as(rig, rig->lun, 1, VV_OBJECT_WRITE), ==, -EACCES);
    vv_object_server_shares_changed(rig->server);
    await(rig, is.handles == 1 && is.under_way == 0);
    g_assert_cmpint(open_as(rig, rig->lun, 3, VV_OBJECT_WRITE), ==, -EACCES);
    share(rig, VV_SHARE_NONE);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -ESTALE);
    g_assert_cmpint(open_as(rig, rig->lun, 4, 0), ==, -EACCES);
    /* it may again, before what it lost is closed: what is opened from now on is good */
    share(rig, VV_SHARE_RW);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, -ESTALE);
    g_assert_cmpint(open_as(rig, rig->lun, 5, VV_OBJECT_WRITE), ==, 0);
    g_assert_cmpint(put(rig, rig->lun, 0, 4096, 6), ==, 4096);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 6);
    vv_object_server_shares_changed(rig->server);
    await(rig, is.handles == 1 && is.under_way == 0);
    g_assert_cmpint(get(rig, rig->lun, 0, 4096), ==, 6);
    rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vvfs/objects/operations", test_operations);
    g_test_add_func("/vvfs/objects/elastic", test_elastic);
    g_test_add_func("/vvfs/objects/bad-bodies", test_bad_bodies);
    g_test_add_func("/vvfs/objects/refusals", test_refusals);
    g_test_add_func("/vvfs/objects/openers", test_openers);
    g_test_add_func("/vvfs/objects/newer-connection", test_newer_connection);
    g_test_add_func("/vvfs/objects/many-cuts", test_many_cuts);
    g_test_add_func("/vvfs/objects/done-once", test_done_once);
    g_test_add_func("/vvfs/objects/newer-instance", test_newer_instance);
    g_test_add_func("/vvfs/objects/order", test_order);
    g_test_add_func("/vvfs/objects/away", test_away);
    g_test_add_func("/vvfs/objects/gone", test_gone);
    g_test_add_func("/vvfs/objects/guest", test_guest);
    g_test_add_func("/vvfs/objects/memory", test_memory);
    g_test_add_func("/vvfs/objects/before", test_before);
    g_test_add_func("/vvfs/objects/end", test_end);
    g_test_add_func("/vvfs/objects/leaving", test_leaving);
    g_test_add_func("/vvfs/objects/interrupt", test_interrupt);
    g_test_add_func("/vvfs/objects/back", test_back);
    g_test_add_func("/vvfs/objects/not-back", test_not_back);
    g_test_add_func("/vvfs/objects/incarnation", test_incarnation);
    g_test_add_func("/vvfs/objects/shares", test_shares);
    return g_test_run();
}
