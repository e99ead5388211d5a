/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Catalog records in stored form. All begin alike:
 *
 *   offset  size  field
 *        0     1  table (VvTable)
 *        1     1  version (1)
 *        2     2  incompatible features (0; others are refused)
 *        4     4  crc32c of bytes 0-3, the id and the rest
 *        8     8  id (family for a segment), as in the key
 *       16     -  fields of the table, in the order of its function below; numbers little-endian, text as u16 length and bytes
 *      end     -  typed tail: {u16 type, u16 length, bytes}...; types below 0x8000 are skipped if unknown, others refused
 *
 * A change of what a field means takes a new version; a new field goes into the tail:
 *
 *   table   type    bytes
 *   family  0x8000  the disks that its segments may lie on (disk_set.c); without it: any. Who does not know it would put
 *                   them elsewhere
 *   pool    1       u64, drawn at each opening for writing
 *   pool    0x8000  u64 number of records of table member; without it: none. Who does not know them would serve the pool without its nodes
 *   pool    0x8001  u64 1: there is a base (base.h). Who does not know it would log what no other node agrees to
 *   lun     1       u64 sequence of the newest change that its map holds */
#include "codec.h"
#include "member_table.h"
#include "meta_private.h"

#include <string.h>

#define RECORD_VERSION 1u
#define RECORD_HEADER_BYTES 16u
#define TAIL_MUST_KNOW 0x8000u
#define TAIL_FAMILY_DISKS 0x8000u
#define TAIL_POOL_OPENING 1u
#define TAIL_POOL_CLUSTER 0x8001u
#define TAIL_LUN_SEQUENCE 1u
#define TAIL_FAMILY_SUMS 0x8001u
#define TAIL_POOL_MEMBERS 0x8000u

static guint record_begin(GByteArray *out, VvTable table, uint64_t id)
{
    guint start = out->len;
    vv_write_u8(out, (uint8_t) table);
    vv_write_u8(out, RECORD_VERSION);
    vv_write_u16(out, 0);
    vv_write_u32(out, 0);
    vv_write_u64(out, id);
    return start;
}

static uint32_t record_crc(const uint8_t *bytes, size_t length_bytes)
{
    uint32_t crc = vv_crc32c(0, bytes, 4);
    return vv_crc32c(crc, bytes + 8, length_bytes - 8);
}

static void record_end(GByteArray *out, guint start)
{
    vv_put_u32(out->data + start + 4, record_crc(out->data + start, out->len - start));
}

static bool record_open(VvReader *in, VvTable table, uint64_t id)
{
    const uint8_t *p = in->data;
    if (in->length_bytes < RECORD_HEADER_BYTES || p[0] != table || p[1] != RECORD_VERSION || vv_get_u16(p + 2) != 0 ||
        vv_get_u64(p + 8) != id || vv_get_u32(p + 4) != record_crc(p, in->length_bytes))
        return false;
    in->position_bytes = RECORD_HEADER_BYTES;
    return true;
}

/* The next field of the tail that must be known; 0: there is none left, or it is bad. Those that may be skipped are. */
static uint16_t tail_next(VvReader *in, uint16_t *ret_length_bytes)
{
    while (!in->bad && vv_reader_left(in) > 0) {
        uint16_t type = vv_read_u16(in);
        *ret_length_bytes = vv_read_u16(in);
        if (type >= TAIL_MUST_KNOW)
            return type;
        vv_read_bytes(in, *ret_length_bytes);
    }
    return 0;
}

/* Of a table whose records have no such fields. */
static bool record_close(VvReader *in)
{
    uint16_t length_bytes;
    return tail_next(in, &length_bytes) == 0 && !in->bad;
}

/* A number in the tail, nothing for 0. */
static void write_tail_number(GByteArray *out, uint16_t type, uint64_t value)
{
    if (value == 0)
        return;
    vv_write_u16(out, type);
    vv_write_u16(out, sizeof value);
    vv_write_u64(out, value);
}

/* Of a table whose records have numbers of these types (0: none) in their tails, and nothing else that must be known. 0 without them. */
static bool record_close_numbers(VvReader *in, const uint16_t types[2], uint64_t ret_values[2])
{
    ret_values[0] = ret_values[1] = 0;
    while (!in->bad && vv_reader_left(in) > 0) {
        uint16_t found = vv_read_u16(in), length_bytes = vv_read_u16(in);
        unsigned which = found == types[0] ? 0 : 1;
        bool known = found == types[which];
        if ((!known && found >= TAIL_MUST_KNOW) || (known && length_bytes != sizeof *ret_values))
            return false;
        if (known)
            ret_values[which] = vv_read_u64(in);
        else
            vv_read_bytes(in, length_bytes);
    }
    return !in->bad;
}

static bool record_close_number(VvReader *in, uint16_t type, uint64_t *ret_value)
{
    const uint16_t types[2] = { type, type };
    uint64_t values[2];
    bool good = record_close_numbers(in, types, values);
    *ret_value = values[0];
    return good;
}

static void write_uuid(GByteArray *out, const VvUuid *uuid) { vv_write_bytes(out, uuid->bytes, sizeof uuid->bytes); }

static void read_uuid(VvReader *in, VvUuid *uuid)
{
    const uint8_t *bytes = vv_read_bytes(in, sizeof uuid->bytes);
    if (bytes != NULL)
        memcpy(uuid->bytes, bytes, sizeof uuid->bytes);
}

static void text_into(VvReader *in, size_t max_bytes, char **text)
{
    g_free(*text);
    *text = vv_read_string(in, max_bytes);
}

static bool read_pool_tail(VvReader *in, VvPoolInfo *pool)
{
    uint64_t cluster = 0;
    pool->opening = pool->member_count = 0;
    while (!in->bad && vv_reader_left(in) > 0) {
        uint16_t type = vv_read_u16(in), length_bytes = vv_read_u16(in);
        uint64_t *number = type == TAIL_POOL_OPENING ? &pool->opening
                         : type == TAIL_POOL_MEMBERS ? &pool->member_count
                         : type == TAIL_POOL_CLUSTER ? &cluster
                                                     : NULL;
        if (number != NULL ? length_bytes != sizeof *number : type >= TAIL_MUST_KNOW)
            return false;
        if (number != NULL)
            *number = vv_read_u64(in);
        else
            vv_read_bytes(in, length_bytes);
    }
    pool->is_cluster = cluster == 1;
    return !in->bad && cluster <= 1;
}

/* pool: uuid, name, created, id tag, next counter, next job, lineage, incarnation, applied index, settings */
void vvm_pool_encode(const VvMeta *meta, GByteArray *out)
{
    const VvPoolInfo *pool = &meta->pool;
    guint start = record_begin(out, VV_TABLE_POOL, 0);
    write_uuid(out, &pool->uuid);
    vv_write_string(out, pool->name);
    vv_write_u64(out, pool->created_ns);
    vv_write_u64(out, pool->id_tag);
    vv_write_u64(out, pool->next_counter);
    vv_write_u64(out, meta->next_job);
    vv_write_u64(out, pool->lineage);
    vv_write_u64(out, pool->incarnation);
    vv_write_u64(out, pool->applied_index);
    vv_write_u32(out, g_hash_table_size(pool->settings));
    g_autoptr(GList) keys = g_list_sort(g_hash_table_get_keys(pool->settings), (GCompareFunc) strcmp);
    for (GList *k = keys; k != NULL; k = k->next) {
        vv_write_string(out, k->data);
        vv_write_string(out, g_hash_table_lookup(pool->settings, k->data));
    }
    write_tail_number(out, TAIL_POOL_OPENING, pool->opening);
    write_tail_number(out, TAIL_POOL_MEMBERS, pool->member_count);
    write_tail_number(out, TAIL_POOL_CLUSTER, pool->is_cluster);
    record_end(out, start);
}

bool vvm_pool_decode(VvMeta *meta, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_POOL, 0))
        return false;
    VvPoolInfo *pool = &meta->pool;
    read_uuid(&in, &pool->uuid);
    text_into(&in, VV_NAME_BYTES_MAX, &pool->name);
    pool->created_ns = vv_read_u64(&in);
    pool->id_tag = vv_read_u64(&in);
    pool->next_counter = vv_read_u64(&in);
    meta->next_job = vv_read_u64(&in);
    pool->lineage = vv_read_u64(&in);
    pool->incarnation = vv_read_u64(&in);
    pool->applied_index = vv_read_u64(&in);
    uint32_t settings = vv_read_u32(&in);
    for (uint32_t i = 0; i < settings && !in.bad; i++) {
        char *key = vv_read_string(&in, VV_NAME_BYTES_MAX), *value = vv_read_string(&in, VV_NOTE_BYTES_MAX);
        if (key != NULL && value != NULL) {
            g_hash_table_insert(pool->settings, key, value);
        } else {
            g_free(key);
            g_free(value);
        }
    }
    return read_pool_tail(&in, pool);
}

/* disk: uuid, name, path, size, incarnation, created, state */
void vvm_disk_encode(const VvDiskInfo *disk, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_DISK, disk->id);
    write_uuid(out, &disk->uuid);
    vv_write_string(out, disk->name);
    vv_write_string(out, disk->path);
    vv_write_u64(out, disk->size_bytes);
    vv_write_u64(out, disk->incarnation);
    vv_write_u64(out, disk->created_ns);
    vv_write_u8(out, (uint8_t) disk->state);
    record_end(out, start);
}

VvDiskInfo *vvm_disk_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_DISK, id))
        return NULL;
    VvDiskInfo *disk = g_new0(VvDiskInfo, 1);
    disk->id = id;
    read_uuid(&in, &disk->uuid);
    text_into(&in, VV_NAME_BYTES_MAX, &disk->name);
    text_into(&in, VV_PATH_BYTES_MAX, &disk->path);
    disk->size_bytes = vv_read_u64(&in);
    disk->incarnation = vv_read_u64(&in);
    disk->created_ns = vv_read_u64(&in);
    disk->state = vv_read_u8(&in);
    if (!record_close(&in) || disk->state > VV_STATE_MISSING || disk->size_bytes > (uint64_t) INT64_MAX) {
        g_free(disk->name);
        g_free(disk->path);
        g_free(disk);
        return NULL;
    }
    return disk;
}

/* family: next segment number; tail: disks, number of checksums */
void vvm_family_encode(const VvFamily *family, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_FAMILY, family->id);
    vv_write_u32(out, family->next_segment);
    if (family->disks != NULL) {
        vv_write_u16(out, TAIL_FAMILY_DISKS);
        vv_write_u16(out, (uint16_t) (family->disks->count * sizeof family->disks->ids[0]));
        vv_disk_set_write(family->disks, out);
    }
    if (family->sum_blocks > 0) {
        vv_write_u16(out, TAIL_FAMILY_SUMS);
        vv_write_u16(out, sizeof family->sum_blocks);
        vv_write_u64(out, family->sum_blocks);
    }
    record_end(out, start);
}

VvFamily *vvm_family_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_FAMILY, id))
        return NULL;
    uint32_t next_segment = vv_read_u32(&in);
    g_autofree VvDiskSet *disks = NULL;
    uint64_t sum_blocks = 0;
    uint16_t type, tail_bytes;
    while ((type = tail_next(&in, &tail_bytes)) != 0) {
        if (type == TAIL_FAMILY_DISKS && disks == NULL)
            disks = vv_disk_set_read(&in, tail_bytes);
        else if (type == TAIL_FAMILY_SUMS && sum_blocks == 0 && tail_bytes == sizeof sum_blocks)
            sum_blocks = vv_read_u64(&in);
        else
            return NULL;
    }
    if (in.bad || next_segment > VV_SEGMENTS_PER_FAMILY)
        return NULL;
    VvFamily *family = g_new0(VvFamily, 1);
    family->id = id;
    family->next_segment = next_segment;
    family->sum_blocks = sum_blocks;
    family->has_sums = sum_blocks > 0;
    family->disks = g_steal_pointer(&disks);
    return family;
}

/* segment: number, kind, shift, used blocks, copies {disk, unit} */
void vvm_segment_encode(const VvSegment *segment, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_SEGMENT, segment->family);
    vv_write_u32(out, segment->number);
    vv_write_u8(out, segment->kind);
    vv_write_u8(out, segment->shift);
    vv_write_u8(out, segment->copy_count);
    vv_write_u32(out, segment->used_blocks);
    for (unsigned i = 0; i < segment->copy_count; i++) {
        vv_write_u64(out, segment->copies[i].disk_id);
        vv_write_u32(out, segment->copies[i].unit);
    }
    record_end(out, start);
}

VvSegment *vvm_segment_decode(uint64_t family, uint64_t number, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_SEGMENT, family))
        return NULL;
    VvSegment s = { .family = family, .number = vv_read_u32(&in) };
    s.kind = vv_read_u8(&in);
    s.shift = vv_read_u8(&in);
    s.copy_count = vv_read_u8(&in);
    s.used_blocks = vv_read_u32(&in);
    for (unsigned i = 0; i < s.copy_count && i < VV_SEGMENT_COPIES_MAX; i++) {
        s.copies[i].disk_id = vv_read_u64(&in);
        s.copies[i].unit = vv_read_u32(&in);
    }
    if (s.number != number || s.kind > VV_SEGMENT_META || s.shift < VV_SEGMENT_SHIFT_MIN || s.shift > VV_SEGMENT_SHIFT_MAX ||
        s.copy_count == 0 || s.copy_count > VV_SEGMENT_COPIES_MAX || !record_close(&in) ||
        s.used_blocks > vv_segment_blocks(&s) || number >= VV_SEGMENTS_PER_FAMILY)
        return NULL;
    return g_memdup2(&s, sizeof s);
}

static void write_props(GByteArray *out, const VvLunProps *p)
{
    vv_write_u32(out, p->mode);
    vv_write_u32(out, p->uid);
    vv_write_u32(out, p->gid);
    vv_write_u8(out, (uint8_t) (p->integrity | p->redirect_always << 1));
    vv_write_u8(out, p->on_full);
    vv_write_u8(out, p->copies);
    vv_write_u32(out, p->timeout_s);
    vv_write_u64(out, p->keep_until_ns);
}

static void read_props(VvReader *in, VvLunProps *p)
{
    p->mode = vv_read_u32(in);
    p->uid = vv_read_u32(in);
    p->gid = vv_read_u32(in);
    uint8_t flags = vv_read_u8(in);
    p->integrity = (flags & 1) != 0;
    p->redirect_always = (flags & 2) != 0;
    p->on_full = vv_read_u8(in);
    p->copies = vv_read_u8(in);
    p->timeout_s = vv_read_u32(in);
    p->keep_until_ns = vv_read_u64(in);
}

/* lun (also in "orphan"): uuid, name, branch, size, used, created, mtime, atime, ctime, origin, properties, flags
 * (1 elastic, 2 orphan), restores */
void vvm_lun_encode(const VvLun *lun, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_LUN, lun->id);
    write_uuid(out, &lun->uuid);
    vv_write_string(out, lun->name);
    vv_write_u64(out, lun->branch);
    vv_write_u64(out, lun->size_bytes);
    vv_write_u64(out, lun->used_blocks);
    vv_write_u64(out, lun->created_ns);
    vv_write_u64(out, lun->mtime_ns);
    vv_write_u64(out, lun->atime_ns);
    vv_write_u64(out, lun->ctime_ns);
    vv_write_string(out, lun->origin);
    write_props(out, &lun->props);
    vv_write_u8(out, (uint8_t) (lun->elastic | lun->orphan << 1));
    vv_write_u32(out, lun->restore_count);
    write_tail_number(out, TAIL_LUN_SEQUENCE, lun->sequence);
    record_end(out, start);
}

VvLun *vvm_lun_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_LUN, id))
        return NULL;
    VvLun *lun = g_new0(VvLun, 1);
    lun->id = id;
    read_uuid(&in, &lun->uuid);
    text_into(&in, VV_NAME_BYTES_MAX, &lun->name);
    lun->branch = vv_read_u64(&in);
    lun->size_bytes = vv_read_u64(&in);
    lun->used_blocks = vv_read_u64(&in);
    lun->created_ns = vv_read_u64(&in);
    lun->mtime_ns = vv_read_u64(&in);
    lun->atime_ns = vv_read_u64(&in);
    lun->ctime_ns = vv_read_u64(&in);
    text_into(&in, 2 * VV_NAME_BYTES_MAX + 1, &lun->origin);
    read_props(&in, &lun->props);
    uint8_t flags = vv_read_u8(&in);
    lun->elastic = (flags & 1) != 0;
    lun->orphan = (flags & 2) != 0;
    lun->restore_count = vv_read_u32(&in);
    if (!record_close_number(&in, TAIL_LUN_SEQUENCE, &lun->sequence) || lun->size_bytes > VV_LUN_BYTES_MAX ||
        lun->props.on_full > VV_ON_FULL_WAIT) {
        g_free(lun->name);
        g_free(lun->origin);
        g_free(lun);
        return NULL;
    }
    return lun;
}

/* branch: family, origin snapshot, epoch, lun, head page count */
void vvm_branch_encode(const VvBranch *branch, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_BRANCH, branch->id);
    vv_write_u64(out, branch->family);
    vv_write_u64(out, branch->origin_snapshot);
    vv_write_u64(out, branch->epoch);
    vv_write_u64(out, branch->lun);
    vv_write_u64(out, branch->head_page_count);
    record_end(out, start);
}

VvBranch *vvm_branch_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_BRANCH, id))
        return NULL;
    VvBranch b = { .id = id, .family = vv_read_u64(&in) };
    b.origin_snapshot = vv_read_u64(&in);
    b.epoch = vv_read_u64(&in);
    b.lun = vv_read_u64(&in);
    b.head_page_count = vv_read_u64(&in);
    if (!record_close(&in) || b.epoch == 0 || b.epoch > UINT64_MAX / 2)
        return NULL;
    return g_memdup2(&b, sizeof b);
}

/* snapshot (also in "orphan"): uuid, lun, name, branch, epoch, size, used, page count, created, mtime, keep, note, kind, form,
 * flags (1 hidden, 2 orphan) */
void vvm_snapshot_encode(const VvSnapshot *s, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_SNAPSHOT, s->id);
    write_uuid(out, &s->uuid);
    vv_write_u64(out, s->lun);
    vv_write_string(out, s->name);
    vv_write_u64(out, s->branch);
    vv_write_u64(out, s->epoch);
    vv_write_u64(out, s->size_bytes);
    vv_write_u64(out, s->used_blocks);
    vv_write_u64(out, s->page_count);
    vv_write_u64(out, s->created_ns);
    vv_write_u64(out, s->mtime_ns);
    vv_write_u64(out, s->keep_until_ns);
    vv_write_string(out, s->note);
    vv_write_u8(out, s->kind);
    vv_write_u8(out, s->form);
    vv_write_u8(out, (uint8_t) (s->hidden | s->orphan << 1));
    record_end(out, start);
}

VvSnapshot *vvm_snapshot_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_SNAPSHOT, id))
        return NULL;
    VvSnapshot *s = g_new0(VvSnapshot, 1);
    s->id = id;
    read_uuid(&in, &s->uuid);
    s->lun = vv_read_u64(&in);
    text_into(&in, VV_NAME_BYTES_MAX, &s->name);
    s->branch = vv_read_u64(&in);
    s->epoch = vv_read_u64(&in);
    s->size_bytes = vv_read_u64(&in);
    s->used_blocks = vv_read_u64(&in);
    s->page_count = vv_read_u64(&in);
    s->created_ns = vv_read_u64(&in);
    s->mtime_ns = vv_read_u64(&in);
    s->keep_until_ns = vv_read_u64(&in);
    text_into(&in, VV_NOTE_BYTES_MAX, &s->note);
    s->kind = vv_read_u8(&in);
    s->form = vv_read_u8(&in);
    uint8_t flags = vv_read_u8(&in);
    s->hidden = (flags & 1) != 0;
    s->orphan = (flags & 2) != 0;
    if (!record_close(&in) || s->size_bytes > VV_LUN_BYTES_MAX || s->kind > VV_SNAPSHOT_RESTORE || s->form != 0 || s->epoch == 0) {
        g_free(s->name);
        g_free(s->note);
        g_free(s);
        return NULL;
    }
    return s;
}

/* job: kind, state, branch, lun, s, p, n, side, child, cursor epoch and region, done, total, created */
void vvm_job_encode(const VvJob *job, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_JOB, job->id);
    vv_write_u8(out, (uint8_t) job->kind);
    vv_write_u8(out, (uint8_t) job->state);
    vv_write_u64(out, job->branch);
    vv_write_u64(out, job->lun);
    vv_write_u64(out, job->point_epoch);
    vv_write_u64(out, job->below_epoch);
    vv_write_u64(out, job->above_epoch);
    vv_write_u8(out, job->newer_side);
    vv_write_u64(out, job->child);
    vv_write_u64(out, job->cursor_epoch);
    vv_write_u64(out, job->cursor_region);
    vv_write_u64(out, job->done_pages);
    vv_write_u64(out, job->total_pages);
    vv_write_u64(out, job->created_ns);
    record_end(out, start);
}

VvJob *vvm_job_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_JOB, id))
        return NULL;
    VvJob job = { .id = id, .kind = vv_read_u8(&in) };
    job.state = vv_read_u8(&in);
    job.branch = vv_read_u64(&in);
    job.lun = vv_read_u64(&in);
    job.point_epoch = vv_read_u64(&in);
    job.below_epoch = vv_read_u64(&in);
    job.above_epoch = vv_read_u64(&in);
    job.newer_side = vv_read_u8(&in) != 0;
    job.child = vv_read_u64(&in);
    job.cursor_epoch = vv_read_u64(&in);
    job.cursor_region = vv_read_u64(&in);
    job.done_pages = vv_read_u64(&in);
    job.total_pages = vv_read_u64(&in);
    job.created_ns = vv_read_u64(&in);
    if (!record_close(&in) || job.kind > VV_JOB_SCRUB || job.state > VV_JOB_PAUSED)
        return NULL;
    return g_memdup2(&job, sizeof job);
}

/* request: time, id, result */
void vvm_request_encode(const VvRequestRecord *request, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_REQUEST, request->time_ns);
    vv_write_string(out, request->id);
    vv_write_u32(out, (uint32_t) strlen(request->result));
    vv_write_bytes(out, request->result, strlen(request->result));
    record_end(out, start);
}

VvRequestRecord *vvm_request_decode(const uint8_t *bytes, size_t length_bytes)
{
    if (length_bytes < RECORD_HEADER_BYTES)
        return NULL;
    VvReader in = vv_reader(bytes, length_bytes);
    uint64_t time_ns = vv_get_u64(bytes + 8);
    if (!record_open(&in, VV_TABLE_REQUEST, time_ns))
        return NULL;
    g_autofree char *id = vv_read_string(&in, VV_NAME_BYTES_MAX);
    uint32_t result_bytes = vv_read_u32(&in);
    const uint8_t *result = vv_read_bytes(&in, result_bytes);
    if (id == NULL || result == NULL || !record_close(&in))
        return NULL;
    VvRequestRecord *request = g_new0(VvRequestRecord, 1);
    request->time_ns = time_ns;
    request->id = g_steal_pointer(&id);
    request->result = g_strndup((const char *) result, result_bytes);
    return request;
}

/* member: kind, body (to the end: it has no tail, its owner gives it versions) */
void vvm_member_encode(const VvMemberRecord *member, GByteArray *out)
{
    guint start = record_begin(out, VV_TABLE_MEMBER, member->id);
    vv_write_u8(out, member->kind);
    vv_write_bytes(out, member->body, member->body_bytes);
    record_end(out, start);
}

VvMemberRecord *vvm_member_decode(uint8_t kind, uint64_t id, const uint8_t *bytes, size_t length_bytes)
{
    VvReader in = vv_reader(bytes, length_bytes);
    if (!record_open(&in, VV_TABLE_MEMBER, id) || kind == 0 || vv_read_u8(&in) != kind)
        return NULL;
    size_t body_bytes = vv_reader_left(&in);
    return body_bytes > 0 && body_bytes <= VV_MEMBER_BYTES_MAX ? vvm_member_new(kind, id, vv_read_bytes(&in, body_bytes), (uint32_t) body_bytes)
                                                               : NULL;
}

/* A piece of a free bitmap: crc32c of what follows and of the key, u32 number of free blocks, 1 KiB of bits little-endian. */
static uint32_t piece_crc(const VvPiece *piece, const uint8_t *bytes)
{
    uint8_t key[VV_KEY_BYTES];
    vv_put_be64(key, piece->family);
    vv_put_be64(key + 8, piece->segment);
    vv_put_be64(key + 16, piece->piece);
    return vv_crc32c(vv_crc32c(0, key, sizeof key), bytes + 4, VV_PIECE_BYTES + 4);
}

void vvm_piece_encode(const VvPiece *piece, GByteArray *out)
{
    uint8_t bytes[VV_PIECE_BYTES + 8];
    uint32_t free_count = 0;
    for (unsigned i = 0; i < VV_PIECE_BYTES / 8; i++) {
        vv_put_u64(bytes + 8 + 8 * i, piece->bits[i]);
        free_count += (uint32_t) __builtin_popcountll(piece->bits[i]);
    }
    vv_put_u32(bytes + 4, free_count);
    vv_put_u32(bytes, piece_crc(piece, bytes));
    vv_write_bytes(out, bytes, sizeof bytes);
}

bool vvm_piece_decode(VvPiece *piece, const uint8_t *bytes, size_t length_bytes)
{
    if (length_bytes != VV_PIECE_BYTES + 8 || vv_get_u32(bytes) != piece_crc(piece, bytes))
        return false;
    for (unsigned i = 0; i < VV_PIECE_BYTES / 8; i++)
        piece->bits[i] = vv_get_u64(bytes + 8 + 8 * i);
    return true;
}
