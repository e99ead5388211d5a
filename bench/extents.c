/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a LUN's blocks are, and what reading them there costs without vvfs.
 *
 *     extents map POOL LUN               of a pool that is not mounted: one line for each part that the daemon would read at once,
 *                                        "LUN-OFFSET LENGTH DISK-OFFSET DISK", in the LUN's order, holes left out
 *     extents read LIST DEPTH SECONDS    these parts over and over, as the daemon reads them for 1 MiB requests of which DEPTH are
 *                                        under way; prints "BYTES SECONDS READS"
 *     extents compare LIST FILE          FILE (the LUN through the mount) has the same bytes as the parts
 *
 * Reading goes through the engine's own worker and disk, so sizes, order, O_DIRECT and io_uring are the daemon's; what is left
 * out is FUSE, the map and everything else. A disk is opened for reading alone, without its lock: the pool may be mounted. */
#include "disk.h"
#include "error.h"
#include "meta.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 64u
#define SECONDS_MAX 3600.0

/* ---- map */

typedef struct {
    uint64_t lun_offset, length_bytes, disk_offset;
    const char *path; /* borrowed; NULL: a hole */
} Part;

static int say(const GError *error)
{
    fprintf(stderr, "extents: %s\n", error->message);
    return 1;
}

static int say_errno(const char *what, int result)
{
    fprintf(stderr, "extents: %s: %s\n", what, strerror(-result));
    return 1;
}

/* The absolute path of the disk; owned by @paths. */
static const char *path_of(GHashTable *paths, VvMeta *meta, const char *directory, uint64_t disk_id)
{
    const char *found = g_hash_table_lookup(paths, &disk_id);
    const VvDiskInfo *disk = found ? NULL : vv_meta_disk(meta, disk_id);
    if (disk) {
        char *path = *disk->path == '/' ? g_strdup(disk->path) : g_build_filename(directory, disk->path, NULL);
        g_hash_table_insert(paths, g_memdup2(&disk_id, sizeof disk_id), path);
        found = path;
    }
    return found;
}

static void print_part(const Part *part)
{
    if (part->path)
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", part->lun_offset, part->length_bytes, part->disk_offset,
            part->path);
}

/* The parts of one region, neighbours put together as engine/io_read.c does: within a segment. */
static int print_region(
    VvMeta *meta, const char *directory, GHashTable *paths, uint64_t family, uint64_t region, const VvPage *page)
{
    Part part = { .path = NULL };
    for (unsigned i = 0; i < VV_REGION_BLOCKS; i++) {
        VvPlace place = page->place[i];
        bool follows = i > 0 && part.path && place != 0 && vv_place_same(page->place[i - 1] + 1, place) &&
                       vv_place_segment(page->place[i - 1]) == vv_place_segment(place);
        if (follows) {
            part.length_bytes += VV_BLOCK_BYTES;
            continue;
        }
        print_part(&part);
        part.path = NULL;
        if (place == 0)
            continue;
        const VvSegment *segment = vv_meta_segment(meta, family, vv_place_segment(place));
        if (segment == NULL || segment->copy_count == 0)
            return -EUCLEAN;
        part = (Part){
            .lun_offset = (region << VV_REGION_SHIFT) + i * VV_BLOCK_BYTES,
            .length_bytes = VV_BLOCK_BYTES,
            .disk_offset = VV_LABEL_BYTES + ((uint64_t) segment->copies[0].unit << VV_SEGMENT_SHIFT_MIN) +
                           (uint64_t) vv_place_block(place) * VV_BLOCK_BYTES,
            .path = path_of(paths, meta, directory, segment->copies[0].disk_id),
        };
        if (part.path == NULL)
            return -EUCLEAN;
    }
    print_part(&part);
    return 0;
}

static int map(const char *directory, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvMeta) meta = vv_meta_open(directory, true, NULL, &error);
    if (meta == NULL)
        return say(error);
    vv_meta_read_lock(meta);
    const VvLun *lun = vv_meta_lun_by_name(meta, name);
    uint64_t branch = lun ? lun->branch : 0;
    vv_meta_read_unlock(meta);
    if (lun == NULL) {
        fprintf(stderr, "extents: no LUN %s in %s\n", name, directory);
        return 1;
    }
    g_autoptr(GHashTable) paths = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    g_autofree VvPage *page = g_new(VvPage, 1);
    uint64_t region = 0, family;
    int rc;
    while ((rc = vv_map_next_region(meta, branch, region, UINT64_MAX, &region)) == 0) {
        rc = vv_map_lookup(meta, branch, region, UINT64_MAX, page, NULL, &family);
        if (rc == 0) {
            vv_meta_read_lock(meta);
            rc = print_region(meta, directory, paths, family, region, page);
            vv_meta_read_unlock(meta);
        }
        if (rc < 0)
            break;
        region++;
    }
    if (rc != -ENODATA)
        return say_errno(directory, rc);
    return fflush(stdout) == 0 ? 0 : say_errno("stdout", -errno);
}

/* ---- a list that was written by map */

typedef struct {
    uint64_t lun_offset, disk_offset;
    uint32_t length_bytes;
    VvDisk *disk; /* borrowed */
} Extent;

typedef struct {
    GArray *extents;   /* Extent, in the LUN's order */
    GHashTable *disks; /* VvDisk by path */
} List;

static void list_clear(List *list)
{
    g_clear_pointer(&list->extents, g_array_unref);
    g_clear_pointer(&list->disks, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(List, list_clear)

static bool list_line(List *list, const char *line, GError **error)
{
    Extent extent;
    uint64_t length_bytes;
    int end = 0;
    int count = sscanf(
        line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %n", &extent.lun_offset, &length_bytes, &extent.disk_offset, &end);
    if (count != 3 || end == 0 || line[end] == '\0' || length_bytes == 0 || length_bytes > VV_REGION_BYTES ||
        (extent.lun_offset | length_bytes | extent.disk_offset) % VV_BLOCK_BYTES != 0 ||
        extent.lun_offset % VV_REGION_BYTES + length_bytes > VV_REGION_BYTES) {
        g_set_error(error, VV_ERROR, VV_ERROR_USAGE, "not a line of extents map: %s", line);
        return false;
    }
    extent.length_bytes = (uint32_t) length_bytes;
    extent.disk = g_hash_table_lookup(list->disks, line + end);
    if (extent.disk == NULL) {
        extent.disk = vv_disk_open(line + end, NULL, NULL, true, 0, error);
        if (extent.disk == NULL)
            return false;
        g_hash_table_insert(list->disks, g_strdup(line + end), extent.disk);
    }
    g_array_append_val(list->extents, extent);
    return true;
}

static bool list_load(List *list, const char *path, GError **error)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, error))
        return false;
    list->extents = g_array_new(FALSE, FALSE, sizeof(Extent));
    list->disks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) vv_disk_close);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (**line && !list_line(list, *line, error))
            return false;
    }
    if (list->extents->len == 0) {
        g_set_error(error, VV_ERROR, VV_ERROR_USAGE, "%s names no extent", path);
        return false;
    }
    return true;
}

/* ---- read: one worker, DEPTH requests, each the parts of one region. All on the worker's thread. */

typedef struct Reader Reader;
typedef struct Request Request;

typedef struct {
    VvDiskIo io; /* first */
    Request *request;
} RequestPart;

struct Request {
    Reader *reader;
    Request *next; /* when it is idle */
    uint8_t *data; /* VV_REGION_BYTES */
    unsigned outstanding;
    RequestPart parts[VV_REGION_BLOCKS];
};

struct Reader {
    VvTask task;
    VvWorker *worker;
    const GArray *extents;
    guint at; /* extent to read next */
    unsigned active;
    bool starting; /* start_all() is on the stack: inline disks are done before submit returns */
    int64_t end_us;
    int result;
    uint64_t bytes, reads;
    Request *idle;
};

static void start_all(Reader *reader);

static void request_part_over(Request *request)
{
    Reader *reader = request->reader;
    if (--request->outstanding > 0)
        return;
    request->next = reader->idle;
    reader->idle = request;
    reader->active--;
    start_all(reader);
}

static void part_done_cb(VvDiskIo *io)
{
    RequestPart *part = (RequestPart *) io;
    Reader *reader = part->request->reader;
    if (io->result < 0)
        reader->result = io->result;
    reader->bytes += io->length_bytes;
    reader->reads++;
    request_part_over(part->request);
}

/* The parts of the next region, all at once, as io_read.c does. */
static void start(Reader *reader, Request *request)
{
    const Extent *first = &g_array_index(reader->extents, Extent, reader->at);
    unsigned count = 0;
    reader->active++;
    request->outstanding = 1;
    while (reader->at < reader->extents->len) {
        const Extent *extent = &g_array_index(reader->extents, Extent, reader->at);
        if (extent->lun_offset >> VV_REGION_SHIFT != first->lun_offset >> VV_REGION_SHIFT || count == VV_REGION_BLOCKS)
            break;
        RequestPart *part = &request->parts[count++];
        part->request = request;
        part->io = (VvDiskIo){
            .disk = extent->disk,
            .data = request->data + extent->lun_offset % VV_REGION_BYTES,
            .length_bytes = extent->length_bytes,
            .offset = extent->disk_offset,
            .done = part_done_cb,
        };
        reader->at++;
        request->outstanding++;
        vv_worker_submit(reader->worker, &part->io);
    }
    if (reader->at == reader->extents->len)
        reader->at = 0;
    request_part_over(request);
}

static void start_all(Reader *reader)
{
    if (reader->starting)
        return;
    reader->starting = true;
    while (reader->idle && reader->result == 0 && g_get_monotonic_time() < reader->end_us) {
        Request *request = reader->idle;
        reader->idle = request->next;
        start(reader, request);
    }
    reader->starting = false;
    if (reader->active == 0)
        vv_worker_stop(reader->worker);
}

static void begin_run(VvTask *task)
{
    start_all((Reader *) task);
}

static int read_list(const List *list, unsigned depth, double seconds)
{
    g_autoptr(GError) error = NULL;
    Reader reader = { .task.run = begin_run, .extents = list->extents };
    g_autofree Request *requests = g_new0(Request, depth);
    uint8_t *memory = aligned_alloc(VV_BLOCK_BYTES, (size_t) depth * VV_REGION_BYTES);
    g_assert(memory != NULL);
    memset(memory, 0, (size_t) depth * VV_REGION_BYTES);
    for (unsigned i = 0; i < depth; i++) {
        requests[i] =
            (Request){ .reader = &reader, .next = reader.idle, .data = memory + (size_t) i * VV_REGION_BYTES };
        reader.idle = &requests[i];
    }
    reader.worker = vv_worker_new(0, false, &error);
    if (reader.worker == NULL) {
        free(memory);
        return say(error);
    }
    int64_t begin_us = g_get_monotonic_time();
    reader.end_us = begin_us + (int64_t) (seconds * G_USEC_PER_SEC);
    vv_worker_post(reader.worker, &reader.task);
    vv_worker_run(reader.worker);
    double took = (double) (g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC;
    vv_worker_free(reader.worker);
    free(memory);
    if (reader.result < 0)
        return say_errno("reading", reader.result);
    printf("%" PRIu64 " %.6f %" PRIu64 "\n", reader.bytes, took, reader.reads);
    return 0;
}

/* ---- compare */

static int compare_extent(const Extent *extent, int fd, uint8_t *memory)
{
    int rc = vv_disk_read(extent->disk, memory, extent->length_bytes, extent->disk_offset);
    if (rc < 0)
        return say_errno(vv_disk_path(extent->disk), rc);
    uint8_t *other = memory + VV_REGION_BYTES;
    ssize_t got = pread(fd, other, extent->length_bytes, (off_t) extent->lun_offset);
    if (got != (ssize_t) extent->length_bytes)
        return say_errno("the file", got < 0 ? -errno : -ENODATA);
    if (memcmp(memory, other, extent->length_bytes) != 0) {
        fprintf(stderr, "extents: %" PRIu32 " bytes at %" PRIu64 " of the LUN are not what %s has at %" PRIu64 "\n",
            extent->length_bytes, extent->lun_offset, vv_disk_path(extent->disk), extent->disk_offset);
        return 1;
    }
    return 0;
}

static int compare(const List *list, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return say_errno(path, -errno);
    uint8_t *memory = aligned_alloc(VV_BLOCK_BYTES, 2 * VV_REGION_BYTES);
    g_assert(memory != NULL);
    int code = 0;
    for (guint i = 0; code == 0 && i < list->extents->len; i++)
        code = compare_extent(&g_array_index(list->extents, Extent, i), fd, memory);
    free(memory);
    close(fd);
    return code;
}

/* ---- the command line */

static int with_list(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_auto(List) list = { .extents = NULL };
    char *end = NULL;
    unsigned long depth = 0;
    double seconds = 0;
    if (argc == 5) {
        depth = strtoul(argv[3], &end, 10);
        seconds = *end ? 0 : g_ascii_strtod(argv[4], &end);
        if (*end || depth < 1 || depth > DEPTH_MAX || !(seconds > 0 && seconds <= SECONDS_MAX)) {
            fprintf(stderr, "extents: a depth from 1 to %u, and at most %g seconds\n", DEPTH_MAX, SECONDS_MAX);
            return 2;
        }
    }
    if (!list_load(&list, argv[2], &error))
        return say(error);
    return depth > 0 ? read_list(&list, (unsigned) depth, seconds) : compare(&list, argv[3]);
}

int main(int argc, char **argv)
{
    if (argc == 4 && g_str_equal(argv[1], "map"))
        return map(argv[2], argv[3]);
    if ((argc == 5 && g_str_equal(argv[1], "read")) || (argc == 4 && g_str_equal(argv[1], "compare")))
        return with_list(argc, argv);
    fprintf(stderr, "usage: extents map POOL LUN | read LIST DEPTH SECONDS | compare LIST FILE\n");
    return 2;
}
