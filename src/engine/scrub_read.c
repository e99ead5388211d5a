/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a scrub reads: a MiB of a segment, the metadata, the labels. */
#include "scrub_private.h"

#include "disk_private.h"
#include "transaction.h"

#include <fcntl.h>
#include <unistd.h>

#define ERRORS_TOLD 16u /* of the metadata, as events; the rest is counted */

typedef struct {
    VvPool *pool;
    uint64_t disk, family;
    uint32_t segment, mib;
    uint8_t *data;
    GArray *found;
    uint64_t used[VV_REGION_BLOCKS / 64]; /* bit = block */
} Reader;

static bool is_used(const Reader *reader, unsigned block)
{
    return (reader->used[block / 64] >> block % 64 & 1) != 0;
}

/* By the applied bitmap. False: nothing is. */
static bool find_used(Reader *reader)
{
    uint64_t bits[VV_PIECE_BYTES / 8] = { 0 }, some = 0;
    uint32_t first = reader->mib * VV_REGION_BLOCKS;
    int rc = vv_space_piece(reader->pool->meta, reader->family, reader->segment, first / VV_PIECE_BLOCKS, bits);

    if (rc != 0 && rc != -ENODATA)
        return false; /* `pool check` tells of it */
    for (unsigned w = 0; w < VV_REGION_BLOCKS / 64; w++) {
        reader->used[w] = ~bits[first % VV_PIECE_BLOCKS / 64 + w];
        some |= reader->used[w];
    }
    return some != 0;
}

static void found_damage(Reader *reader, unsigned block, VvDamageKind kind)
{
    VvScrubFound found = {
        .family = reader->family, .place = vv_place(reader->segment, reader->mib * VV_REGION_BLOCKS + block, false)
    };

    vv_damage_found(reader->pool, found.family, found.place, UINT64_MAX, kind);
    g_array_append_val(reader->found, found);
}

/* Where block @block of the MiB is on the disk; false: not there any more. */
static bool resolve(const Reader *reader, unsigned block, VvRun *ret_run)
{
    VvRun runs[VV_SEGMENT_COPIES_MAX];
    int copies = vv_resolve(
        reader->pool, reader->family, reader->segment, reader->mib * VV_REGION_BLOCKS + block, 1, VV_FOR_WRITE, runs);

    for (int i = 0; i < copies; i++)
        if (vv_disk_label(runs[i].disk)->disk_id == reader->disk) {
            *ret_run = runs[i];
            return true;
        }
    return false;
}

/* Blocks [@begin, @end). Those that cannot be read are told, and not used from then on. */
static uint64_t read_run(Reader *reader, unsigned begin, unsigned end)
{
    size_t length_bytes = (size_t) (end - begin) << VV_BLOCK_SHIFT;
    uint8_t *data = reader->data + ((size_t) begin << VV_BLOCK_SHIFT);
    VvRun run;

    if (!resolve(reader, begin, &run)) {
        for (unsigned block = begin; block < end; block++)
            reader->used[block / 64] &= ~((uint64_t) 1 << block % 64);
        return 0;
    }
    if (vv_disk_read(run.disk, data, length_bytes, run.offset_bytes) == 0)
        return length_bytes;
    for (unsigned block = begin; block < end; block++) {
        size_t at = (size_t) (block - begin) << VV_BLOCK_SHIFT;

        if (vv_disk_read(run.disk, data + at, VV_BLOCK_BYTES, run.offset_bytes + at) == 0)
            continue;
        reader->used[block / 64] &= ~((uint64_t) 1 << block % 64);
        found_damage(reader, block, VV_DAMAGE_UNREADABLE);
    }
    return length_bytes;
}

static void verify(Reader *reader)
{
    VvSumPiece piece;

    if (!vv_sum_cache_has_family(reader->pool->sums, reader->family) ||
        vv_sums_lookup(reader->pool->meta, reader->family, reader->segment, reader->mib, &piece) != 0)
        return;
    for (unsigned block = 0; block < VV_REGION_BLOCKS; block++) {
        if (!is_used(reader, block) || !vv_sum_present(&piece, block))
            continue;
        atomic_fetch_add_explicit(&reader->pool->sums_verified, 1, memory_order_relaxed);
        if (vv_sum_of(reader->data + ((size_t) block << VV_BLOCK_SHIFT)) != piece.crc[block])
            found_damage(reader, block, VV_DAMAGE_SUM);
    }
}

uint64_t vv_scrub_mib(
    VvPool *pool, uint64_t disk, uint64_t family, uint32_t segment, uint32_t mib, uint8_t *data, GArray *found)
{
    Reader reader = {
        .pool = pool, .disk = disk, .family = family, .segment = segment, .mib = mib, .data = data, .found = found
    };
    uint64_t bytes = 0;
    uint32_t era = vv_era_enter(pool);

    if (find_used(&reader)) {
        for (unsigned begin = 0, end; begin < VV_REGION_BLOCKS; begin = end) {
            end = begin + 1;
            if (!is_used(&reader, begin))
                continue;
            while (end < VV_REGION_BLOCKS && is_used(&reader, end))
                end++;
            bytes += read_run(&reader, begin, end);
        }
        verify(&reader);
    }
    vv_era_leave(pool, era);
    return bytes;
}

/* ---- metadata */

typedef struct {
    VvPool *pool;
    GPtrArray *messages; /* no locks are taken while the check runs, which holds the catalog's: told afterwards */
    uint64_t errors;
} Report;

static void note_error(void *user, const VvCheckError *error)
{
    Report *report = user;

    if (report->errors++ < ERRORS_TOLD)
        g_ptr_array_add(report->messages, g_strdup(error->message));
}

/* Both copies of each disk's label, as they are on the disk now. */
static void check_label(Report *report, const char *path)
{
    static const uint64_t at[] = { 0, VV_LABEL_SECOND_AT };
    uint8_t bytes[VV_BLOCK_BYTES];
    VvLabel label;
    vv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);

    for (unsigned i = 0; i < G_N_ELEMENTS(at); i++) {
        ssize_t n = fd < 0 ? -1 : pread(fd, bytes, sizeof bytes, (off_t) at[i]);

        if (n == (ssize_t) sizeof bytes && vv_label_decode(bytes, &label) == 0)
            continue;
        report->errors++;
        g_ptr_array_add(report->messages, g_strdup_printf("copy %u of the label of %s is damaged", i + 1, path));
    }
}

static void check_labels(Report *report)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);

    {
        VV_LOCKED(&report->pool->disks_lock);
        for (unsigned i = 0; i < report->pool->disks->len; i++)
            if (g_ptr_array_index(report->pool->disks, i))
                g_ptr_array_add(paths, g_strdup(vv_disk_path(g_ptr_array_index(report->pool->disks, i))));
    }
    for (unsigned i = 0; i < paths->len; i++)
        check_label(report, g_ptr_array_index(paths, i));
}

uint64_t vv_scrub_metadata(VvPool *pool)
{
    Report report = { .pool = pool, .messages = g_ptr_array_new_with_free_func(g_free) };

    if (vv_meta_check(pool->meta, false, note_error, &report) != 0) {
        report.errors++;
        g_ptr_array_add(report.messages, g_strdup("the metadata cannot be read to its end"));
    }
    check_labels(&report);
    for (unsigned i = 0; i < report.messages->len; i++)
        vv_pool_event(pool, VV_SEVERITY_ERROR, "damage", NULL, "%s", (const char *) g_ptr_array_index(report.messages, i));
    g_ptr_array_unref(report.messages);
    return report.errors;
}
