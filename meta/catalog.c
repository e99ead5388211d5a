/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog in memory: objects, their indexes and lists, and which of them differ from the checkpoint's records.
 * Loading it from the store: load.c. */
#include "codec.h"
#include "member_table.h"
#include "meta_private.h"

#include <string.h>

const char *vv_state_name(VvState state)
{
    static const char *const names[] = { "ok", "degraded", "waiting", "filling", "removing", "failed",
                                         "offline", "evacuating", "missing" };
    return (unsigned) state < G_N_ELEMENTS(names) ? names[state] : "failed";
}

const char *vv_job_state_name(VvJobState state)
{
    static const char *const names[] = { "queued", "running", "paused", "done", "failed", "cancelled" };
    return (unsigned) state < G_N_ELEMENTS(names) ? names[state] : "failed";
}

/* ---- freeing */
static void lun_free(gpointer data)
{
    VvLun *lun = data;
    g_free(lun->name);
    g_free(lun->origin);
    g_ptr_array_unref(lun->snapshots);
    g_free(lun);
}

static void snapshot_free(gpointer data)
{
    VvSnapshot *s = data;
    g_free(s->name);
    g_free(s->note);
    g_array_unref(s->kids);
    g_free(atomic_load(&s->summary));
    g_free(s);
}

static void branch_free(gpointer data)
{
    VvBranch *b = data;
    g_ptr_array_unref(b->points);
    g_ptr_array_unref(b->jobs);
    g_free(b);
}

static void family_free(gpointer data)
{
    VvFamily *f = data;
    g_ptr_array_unref(f->segments);
    g_ptr_array_unref(f->branches);
    g_free(f->disks);
    g_free(f);
}

static void disk_free(gpointer data)
{
    VvDiskInfo *d = data;
    g_free(d->name);
    g_free(d->path);
    g_free(d->used_units);
    g_free(d);
}

static void request_free(VvRequestRecord *request)
{
    g_free(request->id);
    g_free(request->result);
    g_free(request);
}

static guint dirty_hash(gconstpointer key)
{
    const VvDirtyKey *k = key;
    uint64_t h = (k->a ^ (uint64_t) k->table << 56) * 0x9e3779b97f4a7c15u ^ k->b * 0xc2b2ae3d27d4eb4fu;
    return (guint) (h >> 32 ^ h);
}

static gboolean dirty_equal(gconstpointer a, gconstpointer b)
{
    const VvDirtyKey *x = a, *y = b;
    return x->table == y->table && x->a == y->a && x->b == y->b;
}

static GHashTable *table_by_id(GDestroyNotify free_value)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, free_value);
}

void vvm_catalog_init(VvMeta *meta)
{
    meta->pool.settings = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    meta->luns = table_by_id(lun_free);
    meta->lun_names = g_hash_table_new(g_str_hash, g_str_equal);
    meta->snapshots = table_by_id(snapshot_free);
    meta->snapshot_names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    meta->branches = table_by_id(branch_free);
    meta->families = table_by_id(family_free);
    meta->disks = table_by_id(disk_free);
    meta->jobs = table_by_id(g_free);
    meta->lun_list = g_ptr_array_new();
    meta->disk_list = g_ptr_array_new();
    meta->job_list = g_ptr_array_new();
    meta->family_list = g_ptr_array_new();
    meta->orphan_luns = g_ptr_array_new();
    meta->orphan_snapshots = g_ptr_array_new();
    meta->members = g_ptr_array_new_with_free_func(g_free);
    meta->requests = g_hash_table_new(g_str_hash, g_str_equal);
    vv_set_init(&meta->pieces, vvm_piece_hash, vvm_piece_equal, sizeof(VvPiece));
    vv_set_init(&meta->dirty, dirty_hash, dirty_equal, sizeof(VvDirtyKey));
}

static void segments_free(VvMeta *meta)
{
    for (guint i = 0; i < meta->family_list->len; i++) {
        VvFamily *f = g_ptr_array_index(meta->family_list, i);
        g_ptr_array_foreach(f->segments, (GFunc) (void (*)(void)) g_free, NULL);
    }
}

void vvm_catalog_clear(VvMeta *meta)
{
    segments_free(meta);
    g_clear_pointer(&meta->pool.settings, g_hash_table_unref);
    g_clear_pointer(&meta->pool.name, g_free);
    GHashTable **tables[] = { &meta->lun_names, &meta->snapshot_names, &meta->luns, &meta->snapshots, &meta->branches,
                              &meta->families, &meta->disks, &meta->jobs, &meta->requests };
    vv_set_clear(&meta->pieces);
    vv_set_clear(&meta->dirty);
    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++)
        g_clear_pointer(tables[i], g_hash_table_unref);
    GPtrArray **lists[] = { &meta->lun_list, &meta->disk_list, &meta->job_list, &meta->family_list, &meta->orphan_luns,
                            &meta->orphan_snapshots, &meta->members };
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++)
        g_clear_pointer(lists[i], g_ptr_array_unref);
    VvRequestRecord *request;
    while ((request = g_queue_pop_head(&meta->request_queue)) != NULL ||
           (request = g_queue_pop_head(&meta->mount_requests)) != NULL)
        request_free(request);
}

void vvm_dirty(VvMeta *meta, VvTable table, uint64_t a, uint64_t b)
{
    VvDirtyKey key = { .table = table, .a = a, .b = b };
    if (meta->read_only) /* there will be no checkpoint */
        return;
    if (vv_set_find(&meta->dirty, &key) == NULL)
        vv_set_add(&meta->dirty, &key);
}

bool vvm_record_encode(VvMeta *meta, const VvDirtyKey *key, GByteArray *out)
{
    switch (key->table) {
    case VV_TABLE_POOL:
        vvm_pool_encode(meta, out);
        return true;
    case VV_TABLE_DISK: {
        VvDiskInfo *disk = g_hash_table_lookup(meta->disks, &key->a);
        if (disk != NULL)
            vvm_disk_encode(disk, out);
        return disk != NULL;
    }
    case VV_TABLE_FAMILY: {
        VvFamily *family = g_hash_table_lookup(meta->families, &key->a);
        if (family != NULL)
            vvm_family_encode(family, out);
        return family != NULL;
    }
    case VV_TABLE_SEGMENT: {
        const VvSegment *segment = vv_meta_segment(meta, key->a, (uint32_t) key->b);
        if (segment != NULL)
            vvm_segment_encode(segment, out);
        return segment != NULL;
    }
    case VV_TABLE_LUN: {
        VvLun *lun = g_hash_table_lookup(meta->luns, &key->a);
        if (lun != NULL)
            vvm_lun_encode(lun, out);
        return lun != NULL;
    }
    case VV_TABLE_BRANCH: {
        VvBranch *branch = g_hash_table_lookup(meta->branches, &key->a);
        if (branch != NULL)
            vvm_branch_encode(branch, out);
        return branch != NULL;
    }
    case VV_TABLE_SNAPSHOT: {
        VvSnapshot *snapshot = g_hash_table_lookup(meta->snapshots, &key->a);
        if (snapshot != NULL)
            vvm_snapshot_encode(snapshot, out);
        return snapshot != NULL;
    }
    case VV_TABLE_JOB: {
        VvJob *job = g_hash_table_lookup(meta->jobs, &key->a);
        if (job != NULL)
            vvm_job_encode(job, out);
        return job != NULL;
    }
    case VV_TABLE_MEMBER: {
        const VvMemberRecord *member = vv_meta_member(meta, (uint8_t) key->b, key->a);
        if (member != NULL)
            vvm_member_encode(member, out);
        return member != NULL;
    }
    default:
        g_assert_not_reached();
    }
}

/* ---- lists in the order of ids */
static void list_insert(GPtrArray *list, gpointer object, uint64_t id, uint64_t (*id_of)(gconstpointer))
{
    guint at = list->len;
    while (at > 0 && id_of(g_ptr_array_index(list, at - 1)) > id)
        at--;
    g_ptr_array_insert(list, (gint) at, object);
}

/* Ids ascend, so look from the end, where what changes mostly is. */
static void list_remove(GPtrArray *list, gconstpointer object)
{
    for (guint i = list->len; i > 0; i--) {
        if (g_ptr_array_index(list, i - 1) == object) {
            g_ptr_array_remove_index(list, i - 1);
            return;
        }
    }
}

static uint64_t lun_id(gconstpointer o) { return ((const VvLun *) o)->id; }
static uint64_t snapshot_id(gconstpointer o) { return ((const VvSnapshot *) o)->id; }
static uint64_t snapshot_epoch(gconstpointer o) { return ((const VvSnapshot *) o)->epoch; }
static uint64_t disk_id(gconstpointer o) { return ((const VvDiskInfo *) o)->id; }
static uint64_t job_id(gconstpointer o) { return ((const VvJob *) o)->id; }
static uint64_t family_id(gconstpointer o) { return ((const VvFamily *) o)->id; }

/* ---- LUNs */
void vvm_lun_add(VvMeta *meta, VvLun *lun)
{
    lun->snapshots = g_ptr_array_new();
    g_hash_table_insert(meta->luns, &lun->id, lun);
    if (lun->orphan) {
        list_insert(meta->orphan_luns, lun, lun->id, lun_id);
    } else {
        g_hash_table_insert(meta->lun_names, lun->name, lun);
        list_insert(meta->lun_list, lun, lun->id, lun_id);
    }
    vvm_dirty(meta, VV_TABLE_LUN, lun->id, 0);
}

void vvm_lun_unname(VvMeta *meta, VvLun *lun)
{
    if (lun->orphan) {
        list_remove(meta->orphan_luns, lun);
    } else {
        g_hash_table_remove(meta->lun_names, lun->name);
        list_remove(meta->lun_list, lun);
    }
    vvm_dirty(meta, VV_TABLE_LUN, lun->id, 0);
}

void vvm_lun_make_orphan(VvMeta *meta, VvLun *lun)
{
    vvm_lun_unname(meta, lun);
    lun->orphan = true;
    g_free(lun->name);
    lun->name = g_strdup("");
    list_insert(meta->orphan_luns, lun, lun->id, lun_id);
}

void vvm_lun_delete(VvMeta *meta, VvLun *lun)
{
    vvm_lun_unname(meta, lun);
    g_hash_table_remove(meta->luns, &lun->id);
}

/* ---- snapshots */
static char *snapshot_key(uint64_t lun, const char *name) { return g_strdup_printf("%" G_GUINT64_FORMAT "/%s", lun, name); }

/* What counts of this branch's family were worth is over. */
static void family_changed(VvMeta *meta, const VvBranch *branch)
{
    VvFamily *family = branch != NULL ? g_hash_table_lookup(meta->families, &branch->family) : NULL;
    if (family != NULL)
        family->change_number++;
}

void vvm_snapshot_add(VvMeta *meta, VvSnapshot *snapshot)
{
    VvBranch *branch = g_hash_table_lookup(meta->branches, &snapshot->branch);
    family_changed(meta, branch);
    VvLun *lun = g_hash_table_lookup(meta->luns, &snapshot->lun);
    snapshot->kids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_hash_table_insert(meta->snapshots, &snapshot->id, snapshot);
    list_insert(branch->points, snapshot, snapshot->epoch, snapshot_epoch);
    if (snapshot->orphan)
        list_insert(meta->orphan_snapshots, snapshot, snapshot->id, snapshot_id);
    if (!snapshot->hidden) {
        g_hash_table_insert(meta->snapshot_names, snapshot_key(snapshot->lun, snapshot->name), snapshot);
        list_insert(lun->snapshots, snapshot, snapshot->id, snapshot_id);
    }
    vvm_dirty(meta, VV_TABLE_SNAPSHOT, snapshot->id, 0);
}

void vvm_snapshot_unname(VvMeta *meta, VvSnapshot *snapshot)
{
    if (!snapshot->hidden) {
        g_autofree char *key = snapshot_key(snapshot->lun, snapshot->name);
        g_hash_table_remove(meta->snapshot_names, key);
        VvLun *lun = g_hash_table_lookup(meta->luns, &snapshot->lun);
        if (lun != NULL)
            list_remove(lun->snapshots, snapshot);
    }
    if (snapshot->orphan)
        list_remove(meta->orphan_snapshots, snapshot);
    family_changed(meta, vv_meta_branch(meta, snapshot->branch));
    vvm_dirty(meta, VV_TABLE_SNAPSHOT, snapshot->id, 0);
}

void vvm_snapshot_hide(VvMeta *meta, VvSnapshot *snapshot, bool orphan)
{
    vvm_snapshot_unname(meta, snapshot);
    snapshot->hidden = true;
    snapshot->orphan = orphan;
    g_free(snapshot->name);
    snapshot->name = g_strdup("");
    if (orphan)
        list_insert(meta->orphan_snapshots, snapshot, snapshot->id, snapshot_id);
}

void vvm_snapshot_rename(VvMeta *meta, VvSnapshot *snapshot, const char *name)
{
    g_autofree char *key = snapshot_key(snapshot->lun, snapshot->name);
    g_hash_table_remove(meta->snapshot_names, key);
    g_free(snapshot->name);
    snapshot->name = g_strdup(name);
    g_hash_table_insert(meta->snapshot_names, snapshot_key(snapshot->lun, name), snapshot);
    vvm_dirty(meta, VV_TABLE_SNAPSHOT, snapshot->id, 0);
}

void vvm_snapshot_delete(VvMeta *meta, VvSnapshot *snapshot)
{
    VvBranch *branch = g_hash_table_lookup(meta->branches, &snapshot->branch);
    vvm_snapshot_unname(meta, snapshot);
    vvm_summary_drop(meta, snapshot);
    if (branch != NULL)
        list_remove(branch->points, snapshot);
    g_hash_table_remove(meta->snapshots, &snapshot->id);
}

/* ---- branches, families, segments */
void vvm_branch_add(VvMeta *meta, VvBranch *branch)
{
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    branch->points = g_ptr_array_new();
    branch->jobs = g_ptr_array_new();
    g_hash_table_insert(meta->branches, &branch->id, branch);
    g_ptr_array_add(family->branches, branch);
    family->change_number++;
    vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
}

void vvm_branch_delete(VvMeta *meta, VvBranch *branch)
{
    VvFamily *family = g_hash_table_lookup(meta->families, &branch->family);
    list_remove(family->branches, branch);
    vvm_dirty(meta, VV_TABLE_BRANCH, branch->id, 0);
    g_hash_table_remove(meta->branches, &branch->id);
}

bool vvm_disks_exist(const VvMeta *meta, const VvDiskSet *disks)
{
    for (unsigned i = 0; disks != NULL && i < disks->count; i++) {
        if (!g_hash_table_contains(meta->disks, &disks->ids[i]))
            return false;
    }
    return true;
}

void vvm_family_add(VvMeta *meta, VvFamily *family)
{
    family->segments = g_ptr_array_new();
    family->branches = g_ptr_array_new();
    g_hash_table_insert(meta->families, &family->id, family);
    list_insert(meta->family_list, family, family->id, family_id);
    vvm_dirty(meta, VV_TABLE_FAMILY, family->id, 0);
}

void vvm_family_delete(VvMeta *meta, VvFamily *family)
{
    list_remove(meta->family_list, family);
    vvm_dirty(meta, VV_TABLE_FAMILY, family->id, 0);
    g_hash_table_remove(meta->families, &family->id);
}

void vvm_segment_add(VvMeta *meta, VvFamily *family, VvSegment *segment)
{
    if (family->segments->len <= segment->number)
        g_ptr_array_set_size(family->segments, (gint) segment->number + 1);
    g_assert(g_ptr_array_index(family->segments, segment->number) == NULL);
    g_ptr_array_index(family->segments, segment->number) = segment;
    uint64_t held = vv_segment_blocks(segment) - segment->used_blocks;
    family->used_blocks += segment->used_blocks;
    family->held_blocks += held;
    meta->total_used_blocks += segment->used_blocks;
    meta->total_held_blocks += held;
    vvm_dirty(meta, VV_TABLE_SEGMENT, segment->family, segment->number);
}

/* ---- disks */
void vvm_disk_resize(VvDiskInfo *disk, uint64_t size_bytes)
{
    uint32_t old_count = disk->unit_count;
    uint64_t overhead = VV_LABEL_BYTES + VV_DISK_TAIL_BYTES;
    uint64_t units = size_bytes > overhead ? (size_bytes - overhead) >> VV_SEGMENT_SHIFT_MIN : 0;
    disk->size_bytes = size_bytes;
    disk->unit_count = (uint32_t) MIN(units, UINT32_MAX - 64);
    size_t words = disk->unit_count / 64 + 1, old_words = disk->used_units != NULL ? old_count / 64 + 1 : 0;
    if (words > old_words) { /* not a longer one of the same: of a record that claims 4 EiB nothing is touched */
        uint64_t *longer = g_new0(uint64_t, words);
        if (old_words > 0)
            memcpy(longer, disk->used_units, old_words * sizeof *longer);
        g_free(disk->used_units);
        disk->used_units = longer;
    }
    disk->free_unit_count += disk->unit_count - old_count;
}

void vvm_disk_add(VvMeta *meta, VvDiskInfo *disk)
{
    vvm_disk_resize(disk, disk->size_bytes);
    g_hash_table_insert(meta->disks, &disk->id, disk);
    list_insert(meta->disk_list, disk, disk->id, disk_id);
    vvm_dirty(meta, VV_TABLE_DISK, disk->id, 0);
}

void vvm_disk_delete(VvMeta *meta, VvDiskInfo *disk)
{
    list_remove(meta->disk_list, disk);
    vvm_dirty(meta, VV_TABLE_DISK, disk->id, 0);
    g_hash_table_remove(meta->disks, &disk->id);
}

/* ---- jobs */
void vvm_job_add(VvMeta *meta, VvJob *job)
{
    VvBranch *branch = g_hash_table_lookup(meta->branches, &job->branch);
    g_hash_table_insert(meta->jobs, &job->id, job);
    list_insert(meta->job_list, job, job->id, job_id);
    if (branch != NULL) /* a repack has none */
        list_insert(branch->jobs, job, job->id, job_id);
    vvm_dirty(meta, VV_TABLE_JOB, job->id, 0);
}

void vvm_job_delete(VvMeta *meta, VvJob *job)
{
    VvBranch *branch = g_hash_table_lookup(meta->branches, &job->branch);
    if (branch != NULL)
        list_remove(branch->jobs, job);
    list_remove(meta->job_list, job);
    vvm_dirty(meta, VV_TABLE_JOB, job->id, 0);
    g_hash_table_remove(meta->jobs, &job->id);
}

/* ---- requests: a key is the time and the id's crc. Those of the mount have a queue of their own, a short one: a successor asks
 * for what was under way, and nobody's --id must be forgotten because many files were made. */
void vvm_request_add(VvMeta *meta, VvRequestRecord *request)
{
    if (g_hash_table_contains(meta->requests, request->id)) {
        request_free(request);
        return;
    }
    bool of_mount = g_str_has_prefix(request->id, VV_MOUNT_REQUEST_PREFIX);
    GQueue *queue = of_mount ? &meta->mount_requests : &meta->request_queue;
    unsigned kept = of_mount ? VV_MOUNT_REQUEST_IDS_KEPT : VV_REQUEST_IDS_KEPT;
    g_hash_table_insert(meta->requests, request->id, request);
    g_queue_push_tail(queue, request);
    vvm_dirty(meta, VV_TABLE_REQUEST, request->time_ns, vv_crc32c(0, request->id, strlen(request->id)));
    uint64_t oldest_ns = request->time_ns > (uint64_t) VV_REQUEST_ID_SECONDS * 1000000000u
                             ? request->time_ns - (uint64_t) VV_REQUEST_ID_SECONDS * 1000000000u : 0;
    VvRequestRecord *old;
    while ((old = g_queue_peek_head(queue)) != NULL && old != request &&
           ((old->time_ns < oldest_ns && queue->length > MIN(kept, VV_REQUEST_IDS_LEAST)) || queue->length > kept)) {
        g_queue_pop_head(queue);
        g_hash_table_remove(meta->requests, old->id);
        vvm_dirty(meta, VV_TABLE_REQUEST, old->time_ns, vv_crc32c(0, old->id, strlen(old->id)));
        request_free(old);
    }
}

/* ---- looking */
const VvPoolInfo *vv_meta_pool(const VvMeta *meta) { return &meta->pool; }
const VvLun *vv_meta_lun(const VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->luns, &id); }
const VvLun *vv_meta_lun_by_name(const VvMeta *meta, const char *name) { return g_hash_table_lookup(meta->lun_names, name); }
const VvSnapshot *vv_meta_snapshot(const VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->snapshots, &id); }
const VvBranch *vv_meta_branch(const VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->branches, &id); }
const VvDiskSet *vv_meta_lun_disks(const VvMeta *meta, const VvLun *lun)
{
    const VvBranch *branch = vv_meta_branch(meta, lun->branch);
    return vv_meta_family(meta, branch->family)->disks;
}

const VvFamily *vv_meta_family(const VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->families, &id); }
const VvDiskInfo *vv_meta_disk(const VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->disks, &id); }
const VvJob *vv_meta_job(const VvMeta *meta, uint64_t id) { return g_hash_table_lookup(meta->jobs, &id); }
GPtrArray *vv_meta_luns(const VvMeta *meta) { return meta->lun_list; }
GPtrArray *vv_meta_disks(const VvMeta *meta) { return meta->disk_list; }
GPtrArray *vv_meta_jobs(const VvMeta *meta) { return meta->job_list; }
GPtrArray *vv_meta_families(const VvMeta *meta) { return meta->family_list; }
GPtrArray *vv_meta_orphan_luns(const VvMeta *meta) { return meta->orphan_luns; }
GPtrArray *vv_meta_orphan_snapshots(const VvMeta *meta) { return meta->orphan_snapshots; }

const VvSnapshot *vv_meta_snapshot_by_name(const VvMeta *meta, const VvLun *lun, const char *name)
{
    g_autofree char *key = snapshot_key(lun->id, name);
    return g_hash_table_lookup(meta->snapshot_names, key);
}

const VvSegment *vv_meta_segment(const VvMeta *meta, uint64_t family, uint32_t number)
{
    const VvFamily *f = g_hash_table_lookup(meta->families, &family);
    return f != NULL && number < f->segments->len ? g_ptr_array_index(f->segments, number) : NULL;
}

VvSnapshot *vvm_branch_last_point(const VvBranch *branch)
{
    return branch->points->len > 0 ? g_ptr_array_index(branch->points, branch->points->len - 1) : NULL;
}

VvSnapshot *vvm_branch_first_point(const VvBranch *branch)
{
    return branch->points->len > 0 ? g_ptr_array_index(branch->points, 0) : NULL;
}

/* The number of points with an epoch below @epoch. */
static guint points_below(const VvBranch *branch, uint64_t epoch)
{
    guint low = 0, high = branch->points->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (((const VvSnapshot *) g_ptr_array_index(branch->points, middle))->epoch < epoch)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

VvSnapshot *vvm_branch_point_below(const VvBranch *branch, uint64_t epoch)
{
    guint n = points_below(branch, epoch);
    return n > 0 ? g_ptr_array_index(branch->points, n - 1) : NULL;
}

VvSnapshot *vvm_branch_point_above(const VvBranch *branch, uint64_t epoch)
{
    guint n = points_below(branch, epoch + 1);
    return n < branch->points->len ? g_ptr_array_index(branch->points, n) : NULL;
}

uint64_t vv_branch_last_live(const VvBranch *branch)
{
    const VvSnapshot *point = vvm_branch_last_point(branch);
    return point != NULL ? point->epoch : 0;
}
