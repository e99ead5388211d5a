/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry bodies: ops in stored form.
 *
 *   offset  size  field
 *        0     1  version of the body (1)
 *        1     1  0
 *        2     2  number of ops
 *        4     -  ops: {u8 kind, u8 flags, u32 length of what follows}, fields in the order of its struct
 *
 * Flags, refused as a newer format if they are not known: 1 of LUN_CREATE, a choice of disks ends the fields; 1 of MAP, some changes
 * have checksums; 1 of JOB_ADD and JOB_STEP, of a scrub.
 *
 * MAP: lun, session, sequence, mtime, size, u32 regions, each {u64 region, u16 changes, each {u8 first, u8 count - 1,
 * u8 mapped, u64 address (segment << 18 | block) if mapped}}; u8 mapped is 2 if a u32 crc32c of each block follows the address.
 * MOVE: family, lun, branch, region, u16 runs, each {u8 first, u8 count - 1, u64 old address, u64 new address}. */
#include "ops.h"

#include "codec.h"
#include "limits.h"

#include <errno.h>

#define BODY_VERSION 1u
#define STRING_MAX 65535u
#define OP_DISKS 1u /* flag of LUN_CREATE */
#define OP_SUMS 1u  /* flag of MAP */
#define OP_SCRUB 1u /* flag of JOB_ADD and JOB_STEP */

/* ---- each field once: a visitor that encodes, decodes or clears */
typedef struct {
    GByteArray *out; /* encoding */
    VvReader *in;    /* decoding */
    uint8_t flags;   /* of the op */
} OpVisit;           /* neither: clearing */

static void visit_u8(OpVisit *v, uint8_t *x)
{
    if (v->out != NULL)
        vv_write_u8(v->out, *x);
    else if (v->in != NULL)
        *x = vv_read_u8(v->in);
}

static void visit_bool(OpVisit *v, bool *x)
{
    uint8_t byte = *x;
    visit_u8(v, &byte);
    *x = byte != 0;
}

static void visit_u32(OpVisit *v, uint32_t *x)
{
    if (v->out != NULL)
        vv_write_u32(v->out, *x);
    else if (v->in != NULL)
        *x = vv_read_u32(v->in);
}

static void visit_u64(OpVisit *v, uint64_t *x)
{
    if (v->out != NULL)
        vv_write_u64(v->out, *x);
    else if (v->in != NULL)
        *x = vv_read_u64(v->in);
}

static void visit_uuid(OpVisit *v, VvUuid *uuid)
{
    for (unsigned i = 0; i < sizeof uuid->bytes; i++)
        visit_u8(v, &uuid->bytes[i]);
}

static void visit_text(OpVisit *v, char **text)
{
    if (v->out != NULL)
        vv_write_string(v->out, *text);
    else if (v->in != NULL)
        *text = vv_read_string(v->in, STRING_MAX);
    else
        g_clear_pointer(text, g_free);
}

/* Like visit_text, for what may be longer than 64 KiB. */
static void visit_long_text(OpVisit *v, char **text)
{
    if (v->out != NULL) {
        uint32_t length_bytes = *text != NULL ? (uint32_t) strlen(*text) : 0;
        vv_write_u32(v->out, length_bytes);
        vv_write_bytes(v->out, *text, length_bytes);
    } else if (v->in != NULL) {
        uint32_t length_bytes = vv_read_u32(v->in);
        const uint8_t *bytes = vv_read_bytes(v->in, length_bytes);
        *text = bytes != NULL ? g_strndup((const char *) bytes, length_bytes) : NULL;
    } else {
        g_clear_pointer(text, g_free);
    }
}

static void visit_props(OpVisit *v, VvLunProps *p)
{
    visit_u32(v, &p->mode);
    visit_u32(v, &p->uid);
    visit_u32(v, &p->gid);
    visit_bool(v, &p->integrity);
    visit_bool(v, &p->redirect_always);
    visit_u8(v, &p->on_full);
    visit_u8(v, &p->copies);
    visit_u32(v, &p->timeout_s);
    visit_u64(v, &p->keep_until_ns);
}

/* ---- MAP */
static unsigned region_run(const VvMapChange *changes, unsigned count)
{
    unsigned n = 1;
    while (n < count && n < UINT16_MAX && changes[n].region == changes[0].region)
        n++;
    return n;
}

static void encode_change(GByteArray *out, const VvMapChange *change, const uint32_t *sums)
{
    vv_write_u8(out, change->first);
    vv_write_u8(out, (uint8_t) (change->count - 1));
    vv_write_u8(out, change->place == 0 ? 0 : change->sums == 0 ? 1 : 2);
    if (change->place != 0)
        vv_write_u64(out, change->place & VV_PLACE_ADDRESS_MASK);
    for (unsigned i = 0; change->sums != 0 && i < change->count; i++)
        vv_write_u32(out, sums[change->sums - 1 + i]);
}

static void encode_changes(GByteArray *out, const VvMapChange *changes, unsigned count, const uint32_t *sums)
{
    uint32_t regions = 0;
    guint regions_at = out->len;
    vv_write_u32(out, 0);
    for (unsigned i = 0; i < count; regions++) {
        unsigned n = region_run(changes + i, count - i);
        vv_write_u64(out, changes[i].region);
        vv_write_u16(out, (uint16_t) n);
        for (; n > 0; n--, i++)
            encode_change(out, &changes[i], sums);
    }
    vv_put_u32(out->data + regions_at, regions);
}

/* @sums: of the op; NULL: it has none. */
static bool decode_change(VvReader *in, uint64_t region, GArray *sums, VvMapChange *change)
{
    *change = (VvMapChange){ .region = region, .first = vv_read_u8(in) };
    change->count = (uint16_t) (vv_read_u8(in) + 1);
    uint8_t mapped = vv_read_u8(in);
    if (mapped > (sums != NULL ? 2 : 1) || change->first + change->count > (int) VV_REGION_BLOCKS)
        return false;
    if (mapped > 0) {
        uint64_t address = vv_read_u64(in);
        if (address > VV_PLACE_ADDRESS_MASK)
            return false;
        change->place = VV_PLACE_MAPPED | VV_PLACE_OWN | address;
        if (vv_place_block(change->place) + change->count > 1u << 18)
            return false;
    }
    if (mapped == 2)
        change->sums = sums->len + 1;
    for (unsigned i = 0; mapped == 2 && i < change->count; i++) {
        uint32_t sum = vv_read_u32(in);
        g_array_append_val(sums, sum);
    }
    return !in->bad;
}

static void decode_changes(VvReader *in, GArray *sums, VvMapChange **ret_changes, uint32_t *ret_count)
{
    uint32_t regions = vv_read_u32(in);
    g_autoptr(GArray) changes = g_array_new(FALSE, FALSE, sizeof(VvMapChange));
    for (uint32_t r = 0; r < regions && !in->bad; r++) {
        uint64_t region = vv_read_u64(in);
        uint16_t n = vv_read_u16(in);
        if (n == 0 || region > (uint64_t) INT64_MAX >> VV_REGION_SHIFT)
            in->bad = true;
        for (uint16_t i = 0; i < n && !in->bad; i++) {
            VvMapChange change;
            if (decode_change(in, region, sums, &change))
                g_array_append_val(changes, change);
            else
                in->bad = true;
        }
    }
    *ret_count = changes->len;
    *ret_changes = (VvMapChange *) (void *) g_array_free(g_steal_pointer(&changes), FALSE);
}

static void decode_map(OpVisit *v, VvOp *op)
{
    g_autoptr(GArray) sums = v->flags & OP_SUMS ? g_array_new(FALSE, FALSE, sizeof(uint32_t)) : NULL;
    decode_changes(v->in, sums, &op->map.changes, &op->map.change_count);
    if (sums == NULL || sums->len == 0)
        return;
    op->map.sum_count = sums->len;
    op->map.sums = (uint32_t *) (void *) g_array_free(g_steal_pointer(&sums), FALSE);
}

static void visit_map(OpVisit *v, VvOp *op)
{
    visit_u64(v, &op->map.lun);
    visit_u64(v, &op->map.session);
    visit_u64(v, &op->map.sequence);
    visit_u64(v, &op->map.mtime_ns);
    visit_u64(v, &op->map.size_bytes);
    if (v->out != NULL)
        encode_changes(v->out, op->map.changes, op->map.change_count, op->map.sums);
    else if (v->in != NULL)
        decode_map(v, op);
    else
        g_clear_pointer(&op->map.changes, g_free);
    if (v->out == NULL && v->in == NULL)
        g_clear_pointer(&op->map.sums, g_free);
}

/* ---- MOVE */
static void encode_runs(GByteArray *out, const VvMoveRun *runs, uint32_t count)
{
    g_assert(count <= VV_REGION_BLOCKS);
    vv_write_u16(out, (uint16_t) count);
    for (uint32_t i = 0; i < count; i++) {
        vv_write_u8(out, runs[i].first);
        vv_write_u8(out, (uint8_t) (runs[i].count - 1));
        vv_write_u64(out, runs[i].from & VV_PLACE_ADDRESS_MASK);
        vv_write_u64(out, runs[i].to & VV_PLACE_ADDRESS_MASK);
    }
}

/* @least: the first block that the run may begin with. */
static bool decode_run(VvReader *in, unsigned least, VvMoveRun *run)
{
    run->first = vv_read_u8(in);
    run->count = (uint16_t) (vv_read_u8(in) + 1);
    uint64_t from = vv_read_u64(in), to = vv_read_u64(in);
    if (in->bad || run->first < least || run->first + run->count > (int) VV_REGION_BLOCKS ||
        from > VV_PLACE_ADDRESS_MASK || to > VV_PLACE_ADDRESS_MASK)
        return false;
    run->from = VV_PLACE_MAPPED | from;
    run->to = VV_PLACE_MAPPED | to;
    return vv_place_block(run->from) + run->count <= 1u << 18 && vv_place_block(run->to) + run->count <= 1u << 18;
}

static void decode_runs(VvReader *in, VvMoveRun **ret_runs, uint32_t *ret_count)
{
    uint16_t count = vv_read_u16(in);
    unsigned least = 0;
    if (in->bad || count > VV_REGION_BLOCKS) {
        in->bad = true;
        return;
    }
    g_autofree VvMoveRun *runs = g_new0(VvMoveRun, count);
    for (uint16_t i = 0; i < count && !in->bad; i++) {
        if (!decode_run(in, least, &runs[i]))
            in->bad = true;
        least = runs[i].first + runs[i].count;
    }
    if (in->bad)
        return;
    *ret_runs = g_steal_pointer(&runs);
    *ret_count = count;
}

static void visit_move(OpVisit *v, VvOp *op)
{
    visit_u64(v, &op->move.family);
    visit_u64(v, &op->move.lun);
    visit_u64(v, &op->move.branch);
    visit_u64(v, &op->move.region);
    if (v->out != NULL)
        encode_runs(v->out, op->move.runs, op->move.run_count);
    else if (v->in != NULL)
        decode_runs(v->in, &op->move.runs, &op->move.run_count);
    else
        g_clear_pointer(&op->move.runs, g_free);
    if (v->in != NULL && op->move.region > (uint64_t) INT64_MAX >> VV_REGION_SHIFT)
        v->in->bad = true;
}

static void visit_member(OpVisit *v, VvOp *op)
{
    visit_u8(v, &op->member_set.kind);
    visit_u64(v, &op->member_set.id);
    visit_u32(v, &op->member_set.body_bytes);
    if (v->out != NULL) {
        vv_write_bytes(v->out, op->member_set.body, op->member_set.body_bytes);
    } else if (v->in != NULL) {
        const uint8_t *body = vv_read_bytes(v->in, op->member_set.body_bytes);
        op->member_set.body = body != NULL ? g_memdup2(body, op->member_set.body_bytes) : NULL;
        v->in->bad = v->in->bad || op->member_set.kind == 0 || op->member_set.body_bytes > VV_MEMBER_BYTES_MAX;
    } else {
        g_clear_pointer(&op->member_set.body, g_free);
    }
}

static void visit_job(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_JOB_SET:
        visit_u64(v, &op->job_set.id);
        visit_u8(v, &op->job_set.state);
        break;
    case VV_OP_JOB_ADD:
        visit_u8(v, &op->job_add.kind);
        visit_u64(v, &op->job_add.lun);
        visit_u64(v, &op->job_add.total);
        visit_u64(v, &op->job_add.created_ns);
        if (v->flags & OP_SCRUB)
            visit_u64(v, &op->job_add.rate_bytes);
        break;
    default:
        visit_u64(v, &op->job_step.id);
        visit_u64(v, &op->job_step.cursor);
        visit_u64(v, &op->job_step.done);
        visit_u64(v, &op->job_step.total);
        op->job_step.scrub = (v->flags & OP_SCRUB) != 0;
        if (!op->job_step.scrub)
            break;
        visit_u64(v, &op->job_step.disk);
        visit_u64(v, &op->job_step.errors);
        break;
    }
}

static void visit_grant(OpVisit *v, VvOp *op)
{
    visit_u64(v, &op->segment_grant.family);
    visit_u32(v, &op->segment_grant.number);
    visit_u8(v, &op->segment_grant.kind);
    visit_u8(v, &op->segment_grant.shift);
    visit_u8(v, &op->segment_grant.copy_count);
    if (op->segment_grant.copy_count > VV_SEGMENT_COPIES_MAX) {
        if (v->in != NULL)
            v->in->bad = true;
        return;
    }
    for (unsigned i = 0; i < op->segment_grant.copy_count; i++) {
        visit_u64(v, &op->segment_grant.copies[i].disk_id);
        visit_u32(v, &op->segment_grant.copies[i].unit);
    }
}

static void visit_disk(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_DISK_ADD:
        visit_u64(v, &op->disk_add.id);
        visit_uuid(v, &op->disk_add.uuid);
        visit_text(v, &op->disk_add.name);
        visit_text(v, &op->disk_add.path);
        visit_u64(v, &op->disk_add.size_bytes);
        visit_u64(v, &op->disk_add.created_ns);
        break;
    case VV_OP_DISK_SET:
        visit_u64(v, &op->disk_set.id);
        visit_u64(v, &op->disk_set.size_bytes);
        visit_u64(v, &op->disk_set.incarnation);
        visit_u8(v, &op->disk_set.state);
        visit_text(v, &op->disk_set.name);
        visit_text(v, &op->disk_set.path);
        break;
    default:
        visit_u64(v, &op->disk_remove.id);
        break;
    }
}

/* To the end of the fields. */
static void visit_disk_set(OpVisit *v, VvDiskSet **disks)
{
    if (v->out != NULL)
        vv_disk_set_write(*disks, v->out);
    else if (v->in != NULL)
        *disks = vv_disk_set_read(v->in, vv_reader_left(v->in));
    else
        g_clear_pointer(disks, g_free);
}

static void visit_lun(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_LUN_CREATE:
        visit_u64(v, &op->lun_create.id);
        visit_uuid(v, &op->lun_create.uuid);
        visit_text(v, &op->lun_create.name);
        visit_u64(v, &op->lun_create.size_bytes);
        visit_u64(v, &op->lun_create.branch);
        visit_u64(v, &op->lun_create.family);
        visit_props(v, &op->lun_create.props);
        visit_bool(v, &op->lun_create.elastic);
        visit_u64(v, &op->lun_create.created_ns);
        if (v->flags & OP_DISKS)
            visit_disk_set(v, &op->lun_create.disks);
        break;
    case VV_OP_LUN_SET:
        visit_u64(v, &op->lun_set.id);
        visit_u32(v, &op->lun_set.mask);
        visit_props(v, &op->lun_set.props);
        visit_u64(v, &op->lun_set.mtime_ns);
        visit_u64(v, &op->lun_set.atime_ns);
        visit_u64(v, &op->lun_set.ctime_ns);
        visit_bool(v, &op->lun_set.elastic);
        break;
    case VV_OP_LUN_RENAME:
        visit_u64(v, &op->lun_rename.id);
        visit_text(v, &op->lun_rename.name);
        visit_u64(v, &op->lun_rename.ctime_ns);
        break;
    case VV_OP_LUN_SIZE:
        visit_u64(v, &op->lun_size.id);
        visit_u64(v, &op->lun_size.size_bytes);
        visit_u64(v, &op->lun_size.mtime_ns);
        break;
    default:
        visit_u64(v, &op->lun_remove.id);
        visit_bool(v, &op->lun_remove.orphan);
        visit_u64(v, &op->lun_remove.time_ns);
        break;
    }
}

static void visit_snapshot(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_SNAPSHOT_CREATE:
        visit_u64(v, &op->snapshot_create.id);
        visit_uuid(v, &op->snapshot_create.uuid);
        visit_u64(v, &op->snapshot_create.lun);
        visit_text(v, &op->snapshot_create.name);
        visit_u8(v, &op->snapshot_create.kind);
        visit_u8(v, &op->snapshot_create.form);
        visit_u64(v, &op->snapshot_create.created_ns);
        visit_u64(v, &op->snapshot_create.keep_until_ns);
        visit_text(v, &op->snapshot_create.note);
        break;
    case VV_OP_SNAPSHOT_SET:
        visit_u64(v, &op->snapshot_set.id);
        visit_u64(v, &op->snapshot_set.keep_until_ns);
        visit_text(v, &op->snapshot_set.note);
        break;
    case VV_OP_SNAPSHOT_RENAME:
        visit_u64(v, &op->snapshot_rename.id);
        visit_text(v, &op->snapshot_rename.name);
        break;
    default:
        visit_u64(v, &op->snapshot_remove.id);
        visit_bool(v, &op->snapshot_remove.orphan);
        visit_u64(v, &op->snapshot_remove.time_ns);
        break;
    }
}

static void visit_branching(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_CLONE:
        visit_u64(v, &op->clone.snapshot);
        visit_u64(v, &op->clone.id);
        visit_uuid(v, &op->clone.uuid);
        visit_text(v, &op->clone.name);
        visit_u64(v, &op->clone.branch);
        visit_props(v, &op->clone.props);
        visit_text(v, &op->clone.origin);
        visit_u64(v, &op->clone.created_ns);
        break;
    case VV_OP_RESTORE:
        visit_u64(v, &op->restore.lun);
        visit_u64(v, &op->restore.snapshot);
        visit_u64(v, &op->restore.branch);
        visit_u64(v, &op->restore.time_ns);
        visit_text(v, &op->restore.origin);
        visit_bool(v, &op->restore.count_restore);
        break;
    default:
        visit_u64(v, &op->adopt.lun);
        visit_u64(v, &op->adopt.snapshot);
        visit_u64(v, &op->adopt.branch);
        visit_u64(v, &op->adopt.size_bytes);
        visit_text(v, &op->adopt.origin);
        visit_u64(v, &op->adopt.time_ns);
        break;
    }
}

static void visit_other(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_POOL_SET:
        visit_text(v, &op->pool_set.key);
        visit_text(v, &op->pool_set.value);
        break;
    case VV_OP_SEGMENT_GRANT:
        visit_grant(v, op);
        break;
    case VV_OP_SEGMENT_SHRINK:
        visit_u64(v, &op->segment_shrink.family);
        visit_u32(v, &op->segment_shrink.number);
        visit_u8(v, &op->segment_shrink.shift);
        break;
    case VV_OP_PURGE:
        visit_bool(v, &op->purge.snapshot);
        visit_u64(v, &op->purge.id);
        visit_u64(v, &op->purge.time_ns);
        break;
    case VV_OP_RECLAIM:
        visit_u64(v, &op->reclaim.branch);
        visit_u32(v, &op->reclaim.count);
        break;
    case VV_OP_REQUEST:
        visit_u64(v, &op->request.time_ns);
        visit_text(v, &op->request.id);
        visit_long_text(v, &op->request.result);
        break;
    default:
        break;
    }
}

static void op_visit(OpVisit *v, VvOp *op)
{
    switch (op->kind) {
    case VV_OP_DISK_ADD:
    case VV_OP_DISK_SET:
    case VV_OP_DISK_REMOVE:
        visit_disk(v, op);
        break;
    case VV_OP_LUN_CREATE:
    case VV_OP_LUN_SET:
    case VV_OP_LUN_RENAME:
    case VV_OP_LUN_SIZE:
    case VV_OP_LUN_REMOVE:
        visit_lun(v, op);
        break;
    case VV_OP_SNAPSHOT_CREATE:
    case VV_OP_SNAPSHOT_SET:
    case VV_OP_SNAPSHOT_RENAME:
    case VV_OP_SNAPSHOT_REMOVE:
        visit_snapshot(v, op);
        break;
    case VV_OP_CLONE:
    case VV_OP_RESTORE:
    case VV_OP_ADOPT:
        visit_branching(v, op);
        break;
    case VV_OP_MAP:
        visit_map(v, op);
        break;
    case VV_OP_MOVE:
        visit_move(v, op);
        break;
    case VV_OP_JOB_SET:
    case VV_OP_JOB_ADD:
    case VV_OP_JOB_STEP:
        visit_job(v, op);
        break;
    case VV_OP_MEMBER_SET:
        visit_member(v, op);
        break;
    default:
        visit_other(v, op);
        break;
    }
}

static uint8_t flags_of(const VvOp *op)
{
    if (op->kind == VV_OP_MAP && op->map.sum_count > 0)
        return OP_SUMS;
    if ((op->kind == VV_OP_JOB_ADD && op->job_add.kind == VV_JOB_SCRUB) || (op->kind == VV_OP_JOB_STEP && op->job_step.scrub))
        return OP_SCRUB;
    return op->kind == VV_OP_LUN_CREATE && op->lun_create.disks != NULL ? OP_DISKS : 0;
}

static uint8_t flags_known(uint8_t kind)
{
    return kind == VV_OP_LUN_CREATE ? OP_DISKS : kind == VV_OP_MAP ? OP_SUMS : kind == VV_OP_JOB_ADD || kind == VV_OP_JOB_STEP ? OP_SCRUB : 0;
}

void vv_op_clear(VvOp *op)
{
    OpVisit v = { .flags = flags_of(op) };
    op_visit(&v, op);
    op->kind = VV_OP_NOOP;
}

static void op_clear(gpointer data) { vv_op_clear(data); }

VvOps *vv_ops_new(void)
{
    GArray *ops = g_array_new(FALSE, TRUE, sizeof(VvOp));
    g_array_set_clear_func(ops, op_clear);
    return ops;
}

VvOp *vv_ops_add(VvOps *ops, VvOpKind kind)
{
    g_array_set_size(ops, ops->len + 1);
    VvOp *op = vv_ops_get(ops, ops->len - 1);
    op->kind = kind;
    return op;
}

void vv_ops_encode(const VvOps *ops, GByteArray *out)
{
    g_assert(ops->len <= UINT16_MAX);
    vv_write_u8(out, BODY_VERSION);
    vv_write_u8(out, 0);
    vv_write_u16(out, (uint16_t) ops->len);
    for (guint i = 0; i < ops->len; i++) {
        VvOp *op = vv_ops_get(ops, i);
        vv_write_u8(out, (uint8_t) op->kind);
        OpVisit v = { .out = out, .flags = flags_of(op) };
        vv_write_u8(out, v.flags);
        guint length_at = out->len;
        vv_write_u32(out, 0);
        op_visit(&v, op);
        vv_put_u32(out->data + length_at, out->len - length_at - 4);
    }
}

int vv_ops_decode(const uint8_t *body, size_t length_bytes, VvOps **ret_ops)
{
    VvReader in = vv_reader(body, length_bytes);
    uint8_t version = vv_read_u8(&in), zero = vv_read_u8(&in);
    uint16_t count = vv_read_u16(&in);
    if (in.bad || zero != 0)
        return -EUCLEAN;
    if (version != BODY_VERSION)
        return -EOPNOTSUPP;
    g_autoptr(GArray) ops = vv_ops_new();
    for (uint16_t i = 0; i < count; i++) {
        uint8_t kind = vv_read_u8(&in), flags = vv_read_u8(&in);
        uint32_t op_bytes = vv_read_u32(&in);
        const uint8_t *bytes = vv_read_bytes(&in, op_bytes);
        if (bytes == NULL)
            return -EUCLEAN;
        if (kind >= VV_N_OPS || (flags & ~flags_known(kind)) != 0)
            return -EOPNOTSUPP;
        VvOp *op = vv_ops_add(ops, kind);
        VvReader fields = vv_reader(bytes, op_bytes);
        OpVisit v = { .in = &fields, .flags = flags };
        op_visit(&v, op);
        if (fields.bad || vv_reader_left(&fields) != 0)
            return -EUCLEAN;
    }
    if (vv_reader_left(&in) != 0)
        return -EUCLEAN;
    *ret_ops = g_steal_pointer(&ops);
    return 0;
}
