/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the map takes when a LUN has been written: a pool whose disk keeps no data, so that a TiB costs its metadata alone.
 *
 *     growth SIZE sequential|random DIRECTORY        (makes the pool in DIRECTORY, which must not exist or be empty)
 *
 * Writes SIZE bytes, each once, by 1 MiB from the beginning on, or by 4 KiB in a random order (so that each region's page ends with
 * 256 extents), through the engine with its journal and its checkpoints as the daemon has them; no FUSE. Then closes the pool and
 * prints, as JSON: bytes of pages of the store that are in use, of its file, bytes written to the journal, seconds, and the mean
 * number of extents of a region, told by the stored map. */
#include "error.h"
#include "pool.h"
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 16u
#define SIZE_BYTES_MIN ((uint64_t) 16 << 20)
#define SIZE_BYTES_MAX ((uint64_t) 16 << 40)

/* ---- a disk that keeps nothing, a journal that counts */

static int read_nothing(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset)
{
    (void) disk;
    (void) offset;
    memset(data, 0, length_bytes);
    return 0;
}

static int write_nothing(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset)
{
    (void) data;
    (void) offset;
    vv_disk_count(disk, true, length_bytes, 0);
    return 0;
}

static int sync_nothing(VvDisk *disk)
{
    (void) disk;
    return 0;
}

static int discard_nothing(VvDisk *disk, uint64_t offset, uint64_t length_bytes)
{
    (void) disk;
    (void) offset;
    (void) length_bytes;
    return 0;
}

static const VvDiskOps no_data = {
    .read = read_nothing, .write = write_nothing, .sync = sync_nothing, .discard = discard_nothing
};

static int journal_write(void *user, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    atomic_fetch_add((_Atomic uint64_t *) user, length_bytes);
    ssize_t put = pwrite(fd, data, length_bytes, (off_t) offset);
    return put == (ssize_t) length_bytes ? 0 : put < 0 ? -errno : -EIO;
}

static int journal_sync(void *user, int fd)
{
    (void) user;
    return fdatasync(fd) < 0 ? -errno : 0;
}

/* ---- writing: one worker, DEPTH requests. All on the worker's thread. */

typedef struct Writer Writer;

typedef struct Request {
    VvIo io;              /* first */
    struct Request *next; /* when it is idle */
} Request;

struct Writer {
    VvTask task;
    VvWorker *worker;
    VvView *view;
    void *data;         /* VV_IO_BYTES_MAX */
    uint64_t count, at; /* writes in all, and begun */
    uint32_t length_bytes;
    bool random, starting;
    unsigned active;
    int result;
    Request *idle;
    Request requests[DEPTH];
};

/* A permutation of [0, count): multiplications and shifts that can be undone, in the next power of two; what falls outside goes on. */
static uint64_t scattered(uint64_t number, uint64_t count)
{
    unsigned bits = 1;
    while (bits < 63 && (uint64_t) 1 << bits < count)
        bits++;
    uint64_t mask = ((uint64_t) 1 << bits) - 1;
    unsigned half = bits / 2 > 0 ? bits / 2 : 1;
    do {
        number = number * 0x9e3779b97f4a7c15u & mask;
        number ^= number >> half;
        number = number * 0xbf58476d1ce4e5b9u & mask;
        number ^= number >> half;
        number = (number + 0x94d049bb133111ebu) & mask;
    } while (number >= count);
    return number;
}

static void start_all(Writer *writer)
{
    if (writer->starting) /* what is done at once comes back here */
        return;
    writer->starting = true;
    while (writer->idle && writer->result == 0 && writer->at < writer->count) {
        Request *request = writer->idle;
        writer->idle = request->next;
        uint64_t number = writer->random ? scattered(writer->at, writer->count) : writer->at;
        request->io.offset = number * writer->length_bytes;
        writer->at++;
        writer->active++;
        vv_io_submit(writer->worker, &request->io);
    }
    writer->starting = false;
    if (writer->active == 0)
        vv_worker_stop(writer->worker);
}

static void written_cb(VvIo *io)
{
    Writer *writer = io->user;
    Request *request = (Request *) io;
    if (io->result != (int64_t) io->length_bytes)
        writer->result = io->result < 0 ? (int) io->result : -EIO;
    request->next = writer->idle;
    writer->idle = request;
    writer->active--;
    start_all(writer);
}

static void begin_run(VvTask *task)
{
    start_all((Writer *) task);
}

static int write_all(VvView *view, uint64_t size_bytes, bool random, GError **error)
{
    g_autofree Writer *writer = g_new0(Writer, 1);
    writer->task.run = begin_run;
    writer->view = view;
    writer->random = random;
    writer->length_bytes = random ? VV_BLOCK_BYTES : VV_IO_BYTES_MAX;
    writer->count = size_bytes / writer->length_bytes;
    writer->data = aligned_alloc(VV_BLOCK_BYTES, VV_IO_BYTES_MAX);
    g_assert(writer->data != NULL);
    memset(writer->data, 0x5a, VV_IO_BYTES_MAX);
    for (unsigned i = 0; i < DEPTH; i++) {
        writer->requests[i].io = (VvIo){ .kind = VV_IO_WRITE,
            .view = view,
            .data = writer->data,
            .length_bytes = writer->length_bytes,
            .done = written_cb,
            .user = writer };
        writer->requests[i].next = writer->idle;
        writer->idle = &writer->requests[i];
    }
    writer->worker = vv_worker_new(0, false, error);
    int result = -EIO;
    if (writer->worker) {
        vv_worker_post(writer->worker, &writer->task);
        vv_worker_run(writer->worker);
        result = writer->result;
        if (result < 0)
            vv_set_error_errno(error, result, NULL, "writing");
    }
    if (result == 0 && (result = vv_view_flush(view)) < 0)
        vv_set_error_errno(error, result, NULL, "flushing");
    free(writer->data);
    /* The worker may still be posted to by a helper that has not returned: it goes with the process. */
    return result;
}

/* ---- what came of it */

typedef struct {
    uint64_t live_bytes, file_bytes, regions, extents, blocks;
} Usage;

static bool read_store(const char *directory, Usage *usage, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "map", NULL);
    g_autoptr(VvStore) store = vv_store_open(path, true, error);
    uint64_t free_bytes;
    if (store == NULL)
        return false;
    int rc = vv_store_usage(store, &usage->file_bytes, &free_bytes);
    if (rc < 0) {
        vv_set_error_errno(error, rc, path, "its use cannot be told");
        return false;
    }
    usage->live_bytes = usage->file_bytes - free_bytes;
    return true;
}

/* Of all regions of the LUN, as stored. */
static bool count_extents(const char *directory, Usage *usage, GError **error)
{
    g_autoptr(VvMeta) meta = vv_meta_open(directory, true, NULL, error);
    if (meta == NULL)
        return false;
    vv_meta_read_lock(meta);
    uint64_t branch = vv_meta_lun_by_name(meta, "lun")->branch;
    vv_meta_read_unlock(meta);
    g_autofree VvPage *page = g_new(VvPage, 1);
    uint64_t region = 0;
    int rc;
    while ((rc = vv_map_next_region(meta, branch, region, UINT64_MAX, &region)) == 0 &&
           (rc = vv_map_lookup(meta, branch, region, UINT64_MAX, page, NULL, NULL)) == 0) {
        for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
            bool follows = i > 0 && page->place[i - 1] != 0 && vv_place_same(page->place[i - 1] + 1, page->place[i]);
            usage->extents += page->place[i] != 0 && !follows;
            usage->blocks += page->place[i] != 0;
        }
        usage->regions++;
        region++;
    }
    if (rc != -ENODATA)
        vv_set_error_errno(error, rc, directory, "the map cannot be read");
    return rc == -ENODATA;
}

/* ---- a pool from its beginning to its end */

static bool fill_pool(
    const char *directory, uint64_t size_bytes, bool random, _Atomic uint64_t *journal_bytes, GError **error)
{
    VvRunOps run_ops = { .write = journal_write, .sync = journal_sync, .user = journal_bytes };
    VvPoolOptions options = { .run_ops = &run_ops, .disk_ops = &no_data };
    VvLunCreate lun = { .name = "lun", .size_bytes = size_bytes };
    VvOpen how = { .write = true };
    uint64_t id;
    g_autoptr(VvPool) pool = vv_pool_open(directory, &options, error);
    if (pool == NULL || !vv_pool_lun_create(pool, &lun, NULL, &id, error))
        return false;
    g_autoptr(VvHandle) handle = NULL;
    int rc = vv_handle_open(pool, id, &how, &handle);
    if (rc < 0) {
        vv_set_error_errno(error, rc, "lun", "it cannot be opened");
        return false;
    }
    return write_all(vv_handle_view(handle), size_bytes, random, error) == 0;
}

static int measure(const char *directory, uint64_t size_bytes, bool random)
{
    g_autoptr(GError) error = NULL;
    Usage usage = { .live_bytes = 0 };
    _Atomic uint64_t journal_bytes = 0;
    VvPoolCreate create = {
        .directory = directory, .name = "growth", .size_bytes = size_bytes + size_bytes / 8 + ((uint64_t) 1 << 30)
    };
    int64_t begin_us = g_get_monotonic_time();
    if (!vv_pool_create(&create, &error) || !fill_pool(directory, size_bytes, random, &journal_bytes, &error)) {
        fprintf(stderr, "growth: %s\n", error->message);
        return 1;
    }
    double seconds = (double) (g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC;
    if (!read_store(directory, &usage, &error) || !count_extents(directory, &usage, &error)) {
        fprintf(stderr, "growth: %s\n", error->message);
        return 1;
    }
    if (usage.blocks != size_bytes / VV_BLOCK_BYTES) {
        fprintf(stderr, "growth: the map has %" PRIu64 " blocks of %" PRIu64 "\n", usage.blocks,
            size_bytes / VV_BLOCK_BYTES);
        return 1;
    }
    printf("{\"written_bytes\": %" PRIu64 ", \"live_bytes\": %" PRIu64 ", \"file_bytes\": %" PRIu64
           ", \"journal_bytes\": %" PRIu64 ", \"seconds\": %.3f, \"regions\": %" PRIu64
           ", \"extents_per_region\": %.2f}\n",
        size_bytes, usage.live_bytes, usage.file_bytes, (uint64_t) journal_bytes, seconds, usage.regions,
        (double) usage.extents / (double) usage.regions);
    return 0;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    uint64_t size_bytes = argc == 4 ? g_ascii_strtoull(argv[1], &end, 10) : 0;
    bool random = argc == 4 && g_str_equal(argv[2], "random");
    if (argc != 4 || *end || size_bytes < SIZE_BYTES_MIN || size_bytes > SIZE_BYTES_MAX ||
        size_bytes % VV_IO_BYTES_MAX || !(random || g_str_equal(argv[2], "sequential")) || *argv[3] != '/') {
        fprintf(stderr, "usage: growth BYTES sequential|random /DIRECTORY        (16 MiB to 16 TiB, whole MiB)\n");
        return 2;
    }
    return measure(argv[3], size_bytes, random);
}
