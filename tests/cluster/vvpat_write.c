/* SPDX-License-Identifier: GPL-2.0-or-later */
/* write: each thread has a zone of the range to itself, so that the last acknowledged write of a sector is one. mix: all threads, and
 * all processes that are pointed at the same files, read and write the same blocks.
 *
 * An operation that fails ends its thread: what it did is not known, and the log says so. */
#include "vvpat.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const Options *options;
    bool mix;
    OpLog *log; /* NULL: none */
    int fds[FILES_MAX];
    uint64_t sizes[FILES_MAX];
    uint64_t deadline_ns;      /* UINT64_MAX: none */
    _Atomic uint64_t sequence; /* the last that was used */
    _Atomic uint64_t left;     /* operations */
    _Atomic bool failed, wrong;
} Load;

typedef struct {
    Load *load;
    uint32_t number;
    uint64_t random;
    uint8_t *data;
    uint64_t unflushed;
} Worker;

static OpRecord *begin(Load *load, OpKind kind, unsigned file, uint64_t offset, uint64_t bytes, uint64_t value)
{
    OpRecord what = { .kind = kind,
        .lun = load->options->lun + file,
        .node = load->options->node,
        .offset_bytes = offset,
        .length_bytes = bytes,
        .value = value };

    return load->log ? oplog_begin(load->log, &what) : NULL;
}

static bool end(Load *load, OpRecord *record, const char *what, unsigned file, uint64_t offset, int result)
{
    if (record)
        oplog_end(record, result);
    if (result == 0)
        return true;
    if (!atomic_exchange(&load->failed, true))
        fprintf(
            stderr, "vvpat: %s: %s at %" PRIu64 ": %s\n", load->options->files[file], what, offset, strerror(-result));
    return false;
}

static bool flush(Worker *w, unsigned file)
{
    OpRecord *record = begin(w->load, OP_FLUSH, file, 0, 0, 0);

    return end(w->load, record, "flush", file, 0, fdatasync(w->load->fds[file]) == 0 ? 0 : -errno);
}

static bool write_one(Worker *w, unsigned file, uint64_t offset, uint32_t bytes)
{
    Load *load = w->load;
    Stamp stamp = { .lun = load->options->lun + file,
        .node = load->options->node,
        .sequence = atomic_fetch_add(&load->sequence, 1) + 1 };
    OpRecord *record;

    stamp_fill(w->data, bytes, offset, &stamp);
    record = begin(load, OP_WRITE, file, offset, bytes, stamp_value(&stamp));
    if (!end(load, record, "write", file, offset, vvpat_pwrite(load->fds[file], w->data, bytes, offset)))
        return false;
    if (load->options->flush_every == 0 || ++w->unflushed < load->options->flush_every)
        return true;
    w->unflushed = 0;
    return flush(w, file);
}

/* A block that two writes share is told sector by sector: only a sector is one thing. */
static void log_mixed(
    Worker *w, OpRecord *record, unsigned file, uint64_t offset, const uint64_t *values, uint32_t sectors)
{
    uint64_t start = record->start_ns, now = oplog_now_ns();

    record->length_bytes = STAMP_BYTES;
    record->value = values[0];
    record->result = 0;
    atomic_store(&record->end_ns, now);
    for (uint32_t i = 1; i < sectors; i++) {
        OpRecord *more = begin(w->load, OP_READ, file, offset + (uint64_t) i * STAMP_BYTES, STAMP_BYTES, values[i]);
        if (more == NULL)
            return;
        more->start_ns = start;
        more->result = 0;
        atomic_store(&more->end_ns, now);
    }
}

static bool read_one(Worker *w, unsigned file, uint64_t offset, uint32_t bytes)
{
    Load *load = w->load;
    uint64_t values[IO_BYTES_MAX / STAMP_BYTES] = { 0 };
    uint32_t sectors = bytes / STAMP_BYTES;
    OpRecord *record = begin(load, OP_READ, file, offset, bytes, 0);
    int result = vvpat_pread(load->fds[file], w->data, bytes, offset);
    bool same = true;

    for (uint32_t i = 0; i < sectors && result == 0; i++) {
        Stamp stamp = { 0 };
        StampState state =
            stamp_look(w->data + (size_t) i * STAMP_BYTES, load->options->lun + file, offset / STAMP_BYTES + i, &stamp);
        values[i] = state == STAMP_GOOD ? stamp_value(&stamp) : 0;
        same = same && values[i] == values[0];
        if (state != STAMP_GOOD && state != STAMP_EMPTY && !atomic_exchange(&load->wrong, true))
            printf("%s: at %" PRIu64 ": %s (LUN %u, node %u, sector %" PRIu64 ", sequence %" PRIu64 ")\n",
                load->options->files[file], offset + (uint64_t) i * STAMP_BYTES, stamp_state_name(state), stamp.lun,
                stamp.node, stamp.sector, stamp.sequence);
    }
    if (record && result == 0 && !same) {
        log_mixed(w, record, file, offset, values, sectors);
        return true;
    }
    if (record)
        record->value = values[0];
    return end(load, record, "read", file, offset, result);
}

/* In a thread's zone: @zone of them share the file. */
static void choose(Worker *w, unsigned file, uint64_t *ret_offset, uint32_t *ret_bytes)
{
    const Options *o = w->load->options;
    uint64_t zones = w->load->mix ? 1 : o->depth, unit = o->least_bytes;
    uint64_t zone_units = w->load->sizes[file] / unit / zones, first = w->load->mix ? 0 : w->number * zone_units;
    uint64_t units = 1 + vvpat_random(&w->random) % (o->most_bytes / unit);

    if (units > zone_units)
        units = zone_units;
    *ret_bytes = (uint32_t) (units * unit);
    *ret_offset = o->offset_bytes + (first + vvpat_random(&w->random) % (zone_units - units + 1)) * unit;
}

static bool take_one(Load *load)
{
    uint64_t left = atomic_load(&load->left);

    while (left > 0 && !atomic_compare_exchange_weak(&load->left, &left, left - 1))
        continue;
    return left > 0 && !atomic_load(&load->wrong) && oplog_now_ns() < load->deadline_ns;
}

static void *work(void *user)
{
    Worker *w = user;
    const Options *o = w->load->options;
    bool good = true;

    while (good && take_one(w->load)) {
        unsigned file = (unsigned) (vvpat_random(&w->random) % o->file_count);
        uint64_t offset;
        uint32_t bytes;
        choose(w, file, &offset, &bytes);
        good = w->load->mix && vvpat_random(&w->random) % 100 < o->reads_percent ? read_one(w, file, offset, bytes)
                                                                                 : write_one(w, file, offset, bytes);
        vvpat_pause(o);
    }
    return NULL;
}

/* Goes on after the numbers that an earlier run of the same node used. */
static bool open_log(Load *load)
{
    const Options *o = load->options;
    uint64_t flushes = o->flush_every ? o->count / o->flush_every + 1 : 0,
             sectors = load->mix ? o->most_bytes / STAMP_BYTES : 1;
    uint64_t room = o->count * o->file_count * sectors + flushes * o->file_count;

    if (o->log_count == 0)
        return true;
    load->log = oplog_open(o->logs[0], room < OPLOG_OPS_MAX / 2 ? room : OPLOG_OPS_MAX / 2);
    for (uint64_t i = 0; load->log && i < oplog_count(load->log); i++) {
        const OpRecord *record = oplog_at(load->log, i);
        if (record->kind == OP_WRITE && record->node == o->node && vvpat_value_sequence(record->value) > load->sequence)
            load->sequence = vvpat_value_sequence(record->value);
    }
    return load->log != NULL;
}

static int run_threads(Load *load)
{
    Worker workers[DEPTH_MAX];
    pthread_t threads[DEPTH_MAX];
    unsigned started = 0;

    for (; started < load->options->depth; started++) {
        Worker *w = &workers[started];
        *w = (Worker){ .load = load, .number = started, .data = vvpat_buffer(load->options->most_bytes) };
        w->random = load->options->seed * 0x9e3779b97f4a7c15u + ((uint64_t) load->options->node << 32) + started + 1;
        if (pthread_create(&threads[started], NULL, work, w) != 0) {
            free(w->data);
            atomic_store(&load->failed, true);
            break;
        }
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        free(workers[i].data);
    }
    return load->wrong ? EXIT_WRONG : load->failed ? EXIT_FAILED_IO : EXIT_GOOD;
}

static int run(const Options *options, bool mix)
{
    Load load = {
        .options = options, .mix = mix, .left = options->count * options->file_count, .deadline_ns = UINT64_MAX
    };
    uint64_t zones = mix ? 1 : options->depth;
    int code = EXIT_FAILED_IO;
    unsigned opened = 0;

    if (options->log_count > 1 || (mix && (options->least_bytes != options->most_bytes || options->log_count == 0))) {
        fprintf(stderr, "vvpat: one log; mix needs one, and one --bs\n");
        return EXIT_USAGE;
    }
    for (; opened < options->file_count; opened++) {
        load.fds[opened] = vvpat_open(options, opened, true);
        if (load.fds[opened] < 0 ||
            (load.sizes[opened] = vvpat_size(options, opened, load.fds[opened], options->least_bytes * zones)) == 0)
            break;
    }
    if (options->seconds)
        load.deadline_ns = oplog_now_ns() + options->seconds * 1000000000u;
    if (opened == options->file_count && open_log(&load))
        code = run_threads(&load);
    for (unsigned i = 0; i < options->file_count && i <= opened; i++) {
        if (i < opened || load.fds[i] >= 0)
            close(load.fds[i]);
    }
    oplog_close(load.log);
    return code;
}

int vvpat_write(const Options *options)
{
    return run(options, false);
}

int vvpat_mix(const Options *options)
{
    return run(options, true);
}
