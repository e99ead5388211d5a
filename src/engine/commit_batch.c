/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From records to entries: MAP ops of several views share an entry up to its limits.
 *
 * An entry that is being built belongs to nobody yet: what it holds of a view is noted when it was logged. Within one
 * entry a view may come twice (two requests of one batch): the second time goes on where the entry ends.
 *
 * B1  Changes of a MAP op are sorted by region, those of one region in the order in which they were acknowledged. So a page is
 *     changed once for all of them: writes in random order come back to a region many times within an entry. The order
 *     between regions says nothing: an entry is applied whole, and what it frees is used again only after it. */
#include "commit_private.h"
#include "slab.h"

#include <sys/mman.h>

/* An encoded change takes 11 bytes and at most 10 of its region's head; half of an entry is left for the ops around. */
#define CHANGES_MAX (VV_ENTRY_BYTES_MAX / 2 / 21)
/* A MAP op takes 50 bytes before its changes. */
#define OPS_MAX (VV_ENTRY_BYTES_MAX / 4 / 50)
/* Checksums take what these two leave of what an entry of a cluster may hold, save a page for what is around. */
#define SUMS_MAX ((VV_ENTRY_BODY_BYTES_MAX - VV_ENTRY_BYTES_MAX / 4 * 3 - VV_BLOCK_BYTES) / 4)

/* While memory is short, entries are so small that the front of the store, which is locked, is enough for each. */
#define SHORT_CHANGES_MAX 512u /* each may free a block in a bitmap of its own, of 1.3 KiB in the map and 1 KiB in the allocator */
#define SHORT_REGIONS_MAX 256u
#define SHORT_SUMS_MAX 16384u
#define SHORT_OPS_MAX 16u

struct VvBatchStore {
    VvMapChange changes[3 * CHANGES_MAX]; /* a batch is settled when less than two thirds are left; one is for sorting */
    uint32_t sums[2 * SUMS_MAX];
};

static uint64_t region_of(const void *key)
{
    return *(const uint64_t *) key;
}

static guint region_hash(gconstpointer key)
{
    uint64_t h = region_of(key) * 0x9e3779b97f4a7c15u;
    return (guint) (h >> 32);
}

static gboolean region_equal(gconstpointer a, gconstpointer b)
{
    return region_of(a) == region_of(b);
}

void vv_batch_init(VvBatchBuilder *builder)
{
    *builder = (VvBatchBuilder){ .entries = g_array_new(FALSE, FALSE, sizeof(VvBatchEntry)),
        .store = g_new(VvBatchStore, 1) }; /* so large that its memory is there where it is used */
    vv_set_init(&builder->op_regions, region_hash, region_equal, sizeof(uint64_t));
    g_array_set_size(builder->entries, VV_BATCH_SPARES); /* arrays keep what they have had */
    g_array_set_size(builder->entries, 0);
    while (builder->spare_count < VV_BATCH_SPARES) {
        VvBatchEntry spare = { .ops = vv_ops_new(), .parts = g_array_new(FALSE, FALSE, sizeof(VvBatchPart)), .built = true };
        g_array_set_size(spare.ops, SHORT_OPS_MAX);
        g_array_set_size(spare.ops, 0);
        g_array_set_size(spare.parts, SHORT_OPS_MAX);
        g_array_set_size(spare.parts, 0);
        builder->spares[builder->spare_count++] = spare;
    }
}

size_t vv_batch_lock(const VvBatchBuilder *builder)
{
    size_t changes_bytes = 2 * SHORT_CHANGES_MAX * sizeof(VvMapChange), sums_bytes = SHORT_SUMS_MAX * sizeof(uint32_t);
    return mlock(builder->store->changes, changes_bytes) == 0 && mlock(builder->store->sums, sums_bytes) == 0
               ? changes_bytes + sums_bytes
               : 0;
}

bool vv_batch_is_full(const VvBatchBuilder *builder)
{
    return builder->stored_changes > CHANGES_MAX || builder->stored_sums > SUMS_MAX || builder->spare_count == 0 ||
           vv_slab_is_low();
}

/* What the store has of it is not the ops' to free. */
static void forget_changes(VvOps *ops)
{
    for (unsigned i = 0; i < ops->len; i++) {
        VvOp *op = vv_ops_get(ops, i);
        if (op->kind != VV_OP_MAP)
            continue;
        op->map.changes = NULL;
        op->map.sums = NULL;
    }
}

void vv_batch_entry_clear(VvBatchBuilder *builder, VvBatchEntry *entry)
{
    for (unsigned i = 0; i < entry->parts->len; i++)
        vv_view_unref(g_array_index(entry->parts, VvBatchPart, i).view);
    if (entry->built)
        forget_changes(entry->ops);
    if (entry->built && builder->spare_count < VV_BATCH_SPARES) {
        g_array_set_size(entry->ops, 0);
        g_array_set_size(entry->parts, 0);
        builder->spares[builder->spare_count++] = *entry;
        return;
    }
    vv_ops_free(entry->ops);
    g_array_unref(entry->parts);
}

void vv_batch_clear(VvBatchBuilder *builder)
{
    for (unsigned i = 0; i < builder->entries->len; i++)
        vv_batch_entry_clear(builder, &g_array_index(builder->entries, VvBatchEntry, i));
    g_array_set_size(builder->entries, 0);
}

void vv_batch_free(VvBatchBuilder *builder)
{
    VvBatchEntry entry;
    if (vv_batch_take_entry(builder, &entry))
        vv_batch_entry_clear(builder, &entry);
    vv_batch_clear(builder);
    while (builder->spare_count > 0) {
        const VvBatchEntry *spare = &builder->spares[--builder->spare_count];
        vv_ops_free(spare->ops);
        g_array_unref(spare->parts);
    }
    g_array_unref(builder->entries);
    vv_set_clear(&builder->op_regions);
    g_free(builder->store);
}

/* B1: by region, those of one region as they are. @spare has room for half of them. */
static void sort_changes(VvMapChange *changes, unsigned count, VvMapChange *spare)
{
    unsigned half = count / 2, i = 1, k = half, at = 0;
    while (i < count && changes[i - 1].region <= changes[i].region)
        i++;
    if (i >= count)
        return;
    sort_changes(changes, half, spare);
    sort_changes(changes + half, count - half, spare);
    memcpy(spare, changes, half * sizeof *spare);
    for (i = 0; i < half; at++)
        changes[at] = k < count && changes[k].region < spare[i].region ? changes[k++] : spare[i++];
}

bool vv_batch_take_entry(VvBatchBuilder *builder, VvBatchEntry *ret_entry)
{
    VvOps *ops = builder->ops;
    if (ops == NULL)
        return false;
    for (unsigned i = 0; i < ops->len; i++) {
        VvOp *op = vv_ops_get(ops, i);
        sort_changes(op->map.changes, op->map.change_count, &builder->store->changes[builder->stored_changes]);
    }
    *ret_entry = (VvBatchEntry){ .ops = g_steal_pointer(&builder->ops), .parts = g_steal_pointer(&builder->parts), .built = true };
    builder->region_count = builder->change_count = builder->sum_count = 0;
    return true;
}

/* How far the view is logged, or in the entry being built. view->lock held. */
static uint64_t covered_locked(const VvBatchBuilder *builder, const VvView *view)
{
    uint64_t covered = view->logged_sequence;
    for (unsigned i = 0; builder->parts && i < builder->parts->len; i++) {
        const VvBatchPart *part = &g_array_index(builder->parts, VvBatchPart, i);
        if (part->view == view)
            covered = MAX(covered, part->sequence);
    }
    return covered;
}

/* Does the record continue the change, on the medium and in the LUN? */
static bool continues(const VvMapChange *change, const VvRecord *record)
{
    if (change->region != record->region || change->first + (unsigned) change->count != record->first)
        return false;
    if ((change->sums == 0) != (record->sums == NULL))
        return false;
    if (change->place == 0 || record->place == 0)
        return change->place == record->place;
    return vv_place_follows(vv_place_after(change->place, change->count - 1u), record->place);
}

/* The MAP op that is being built, behind what the store holds. */
typedef struct {
    VvMapChange *changes;
    uint32_t *sums;
    unsigned change_count, sum_count;
    bool is_short; /* memory is */
} BuiltMap;

static void add_sums(VvBatchBuilder *builder, BuiltMap *map, const VvRecord *record)
{
    if (record->sums == NULL)
        return;
    memcpy(&map->sums[map->sum_count], record->sums, record->count * sizeof *record->sums);
    map->sum_count += record->count;
    builder->sum_count += record->count;
}

/* Returns false if the entry is full. */
static bool add_record(VvBatchBuilder *builder, BuiltMap *map, const VvRecord *record)
{
    VvMapChange *last = map->change_count > 0 ? &map->changes[map->change_count - 1] : NULL;
    if (record->count == 0)
        return true; /* a size alone */
    if (record->sums && builder->sum_count + record->count > (map->is_short ? SHORT_SUMS_MAX : SUMS_MAX))
        return false;
    if (last && continues(last, record)) {
        add_sums(builder, map, record);
        last->count = (uint16_t) (last->count + record->count);
        return true;
    }
    bool new_region = (last == NULL || last->region != record->region) && !vv_set_find(&builder->op_regions, &record->region);
    if (builder->change_count >= (map->is_short ? SHORT_CHANGES_MAX : CHANGES_MAX) ||
        (new_region && builder->region_count >= (map->is_short ? SHORT_REGIONS_MAX : VV_ENTRY_REGIONS_MAX)))
        return false;
    builder->change_count++;
    builder->region_count += new_region;
    VvMapChange change = {
        .region = record->region, .place = record->place, .first = record->first, .count = record->count
    };
    if (record->sums)
        change.sums = map->sum_count + 1;
    add_sums(builder, map, record);
    map->changes[map->change_count++] = change;
    if (new_region)
        vv_set_add(&builder->op_regions, &record->region);
    return true;
}

static void add_op_locked(VvBatchBuilder *builder, VvView *view, const BuiltMap *map, uint64_t sequence)
{
    bool limited = view->commit_limit != UINT64_MAX;
    VvOp *op = vv_ops_add(builder->ops, VV_OP_MAP);
    op->map.lun = view->id;
    op->map.sequence = sequence;
    op->map.mtime_ns = limited ? view->limit_mtime_ns : view->mtime_ns;
    op->map.size_bytes = UINT64_MAX;
    if (view->elastic && view->size_sequence > view->applied_sequence)
        op->map.size_bytes = limited ? view->limit_size_bytes : view->size_bytes;
    op->map.change_count = map->change_count;
    op->map.changes = map->change_count > 0 ? map->changes : NULL;
    op->map.sum_count = map->sum_count;
    op->map.sums = map->sum_count > 0 ? map->sums : NULL;
    builder->stored_changes += map->change_count;
    builder->stored_sums += map->sum_count;
    VvBatchPart part = { .view = view, .sequence = sequence, .mtime_ns = op->map.mtime_ns };
    g_atomic_int_inc(&view->refs);
    g_array_append_val(builder->parts, part);
}

static void begin_entry(VvBatchBuilder *builder)
{
    if (builder->entries->len == 0) /* and none that was taken is anywhere else: the store is free */
        builder->stored_changes = builder->stored_sums = 0;
    if (builder->spare_count > 0) {
        const VvBatchEntry *spare = &builder->spares[--builder->spare_count];
        builder->ops = spare->ops;
        builder->parts = spare->parts;
    } else {
        builder->ops = vv_ops_new();
        builder->parts = g_array_new(FALSE, FALSE, sizeof(VvBatchPart));
    }
}

bool vv_batch_add_view(VvBatchBuilder *builder, VvView *view, uint64_t sequence, bool with_mtime)
{
    bool full = false;
    vv_set_empty(&builder->op_regions); /* of the view before: not while anybody waits for this one's lock */
    VV_LOCKED(&view->lock);
    uint64_t covered = covered_locked(builder, view);
    uint64_t last = MIN(MIN(sequence, view->commit_limit), view->next_sequence - 1);
    if (view->gone || (last <= covered && !(with_mtime && view->mtime_dirty)))
        return false;
    if (builder->ops && builder->ops->len >= (vv_slab_is_low() ? SHORT_OPS_MAX : OPS_MAX))
        return true;
    if (builder->ops == NULL)
        begin_entry(builder);
    BuiltMap map = { .changes = &builder->store->changes[builder->stored_changes],
        .sums = &builder->store->sums[builder->stored_sums],
        .is_short = vv_slab_is_low() };
    while (covered < last && !full) {
        /* The ring holds the sequences behind the applied one, without gaps. */
        const VvRecord *record = vv_records_get(&view->records, (size_t) (covered - view->applied_sequence));
        g_assert(record->sequence == covered + 1);
        full = !add_record(builder, &map, record);
        covered += !full;
    }
    add_op_locked(builder, view, &map, covered);
    return full;
}

void vv_batch_entry_logged(const VvBatchEntry *entry)
{
    for (unsigned i = 0; i < entry->parts->len; i++) {
        const VvBatchPart *part = &g_array_index(entry->parts, VvBatchPart, i);
        VV_LOCKED(&part->view->lock);
        part->view->logged_sequence = MAX(part->view->logged_sequence, part->sequence);
    }
}

static void drop_records_locked(VvView *view, uint64_t sequence)
{
    uint64_t bytes = 0, memory_bytes = 0;
    while (view->records.count > 0) {
        const VvRecord *record = vv_records_get(&view->records, 0);
        if (record->sequence > sequence)
            break;
        bytes += vv_record_bytes(record);
        memory_bytes += vv_record_memory(record);
        vv_pending_drop(&view->pending, record);
        vv_slots_drop(view, record);
        vv_records_pop(&view->records);
    }
    vv_pending_uncount(view, bytes, memory_bytes);
}

void vv_batch_entry_applied(VvPool *pool, const VvBatchEntry *entry)
{
    for (unsigned i = 0; i < entry->parts->len; i++) {
        const VvBatchPart *part = &g_array_index(entry->parts, VvBatchPart, i);
        VvView *view = part->view;
        bool drop = false;
        {
            VV_LOCKED(&view->lock);
            if (!view->gone) {
                drop_records_locked(view, part->sequence);
                view->applied_sequence = MAX(view->applied_sequence, part->sequence);
                if (view->mtime_ns == part->mtime_ns) {
                    view->mtime_dirty = false;
                    vv_slots_mtime_clean(view);
                }
                drop = vv_view_settle_pending(view);
            }
        }
        if (drop)
            vv_view_unref(view);
    }
    vv_pending_wake(pool);
}
