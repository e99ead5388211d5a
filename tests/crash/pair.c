/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pair.h"

#include "engine.h"
#include "limits.h"
#include "util.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct {
    VvWorker *worker; /* NULL: not started yet */
    pthread_t thread;
    VvTask task;
    VvIo io;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
    uint8_t *bytes; /* MODEL_BYTES_MAX, owned */
} Writer;

static Writer writers[2];

static void *writer_main(void *user)
{
    vv_worker_run(user);
    return NULL;
}

static void start_writer(Writer *writer, unsigned index)
{
    g_autoptr(GError) error = NULL;

    writer->worker = vv_worker_new(index, false, &error);
    g_assert_no_error(error);
    writer->bytes = aligned_alloc(VV_BLOCK_BYTES, MODEL_BYTES_MAX); /* as of a slot of the mount */
    g_assert(writer->bytes != NULL);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    g_assert_cmpint(pthread_create(&writer->thread, NULL, writer_main, writer->worker), ==, 0);
}

static void submit_run(VvTask *task)
{
    Writer *writer = (Writer *) ((char *) task - G_STRUCT_OFFSET(Writer, task));

    vv_io_submit(writer->worker, &writer->io);
}

static void over_cb(VvIo *io)
{
    Writer *writer = io->user;
    VV_LOCKED(&writer->lock);

    writer->over = true;
    pthread_cond_signal(&writer->changed);
}

static void begin_write(Writer *writer, VvView *view, const Op *half)
{
    model_fill(half, writer->bytes);
    writer->over = false;
    writer->task.run = submit_run;
    writer->io = (VvIo){ .kind = VV_IO_WRITE,
        .view = view,
        .data = writer->bytes,
        .offset = half->offset,
        .length_bytes = (uint32_t) half->length,
        .done = over_cb,
        .user = writer };
    vv_worker_post(writer->worker, &writer->task);
}

static void end_write(Writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    while (!writer->over)
        pthread_cond_wait(&writer->changed, &writer->lock);
    pthread_mutex_unlock(&writer->lock);
    g_assert_cmpint(writer->io.result, ==, writer->io.length_bytes);
}

void pair_do(VvView *first, VvView *second, const Op *op)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(writers) && !writers[i].worker; i++)
        start_writer(&writers[i], i);
    Op halves[2] = { model_half(op, 0), model_half(op, 1) };

    begin_write(&writers[0], first, &halves[0]);
    if (op->kind == OP_BESIDE) {
        g_assert_cmpint(vv_view_flush(second), ==, 0);
    } else {
        begin_write(&writers[1], second, &halves[1]);
        end_write(&writers[1]);
    }
    end_write(&writers[0]);
}
