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

/* An encoded change takes 11 bytes and at most 10 of its region's head; half of an entry is left for the ops around. */
#define CHANGES_MAX (VV_ENTRY_BYTES_MAX / 2 / 21)
/* A MAP op takes 50 bytes before its changes. */
#define OPS_MAX (VV_ENTRY_BYTES_MAX / 4 / 50)
/* Checksums take what these two leave, save a page for what is around. */
#define SUMS_MAX ((VV_ENTRY_BYTES_MAX / 4 - VV_BLOCK_BYTES) / 4)

void vv_batch_init(VvBatchBuilder *builder)
{
    *builder = (VvBatchBuilder){ .entries = g_array_new(FALSE, FALSE, sizeof(VvBatchEntry)),
        .op_regions = g_hash_table_new(g_int64_hash, g_int64_equal) };
}

void vv_batch_entry_clear(VvBatchEntry *entry)
{
    vv_ops_free(entry->ops);
    for (unsigned i = 0; i < entry->parts->len; i++)
        vv_view_unref(g_array_index(entry->parts, VvBatchPart, i).view);
    g_array_unref(entry->parts);
}

void vv_batch_clear(VvBatchBuilder *builder)
{
    for (unsigned i = 0; i < builder->entries->len; i++)
        vv_batch_entry_clear(&g_array_index(builder->entries, VvBatchEntry, i));
    g_array_set_size(builder->entries, 0);
}

void vv_batch_free(VvBatchBuilder *builder)
{
    VvBatchEntry entry;
    if (vv_batch_take_entry(builder, &entry))
        vv_batch_entry_clear(&entry);
    vv_batch_clear(builder);
    g_array_unref(builder->entries);
    g_hash_table_unref(builder->op_regions);
}

static int compare_regions(gconstpointer a, gconstpointer b, gpointer user)
{
    const VvMapChange *one = a, *other = b;
    (void) user;
    return one->region < other->region ? -1 : one->region > other->region;
}

/* B1 */
static void sort_changes(VvOps *ops)
{
    for (unsigned i = 0; i < ops->len; i++) {
        VvOp *op = vv_ops_get(ops, i);
        if (op->kind == VV_OP_MAP)
            g_qsort_with_data(
                op->map.changes, (int) op->map.change_count, sizeof *op->map.changes, compare_regions, NULL); /* stable */
    }
}

bool vv_batch_take_entry(VvBatchBuilder *builder, VvBatchEntry *ret_entry)
{
    if (builder->ops == NULL)
        return false;
    sort_changes(builder->ops);
    *ret_entry = (VvBatchEntry){ .ops = g_steal_pointer(&builder->ops), .parts = g_steal_pointer(&builder->parts) };
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

static void add_sums(VvBatchBuilder *builder, GArray *sums, const VvRecord *record)
{
    if (record->sums == NULL)
        return;
    g_array_append_vals(sums, record->sums, record->count);
    builder->sum_count += record->count;
}

/* Returns false if the entry is full. */
static bool add_record(VvBatchBuilder *builder, GArray *changes, GArray *sums, const VvRecord *record)
{
    VvMapChange *last = changes->len > 0 ? &g_array_index(changes, VvMapChange, changes->len - 1) : NULL;
    if (record->count == 0)
        return true; /* a size alone */
    if (record->sums && builder->sum_count + record->count > SUMS_MAX)
        return false;
    if (last && continues(last, record)) {
        add_sums(builder, sums, record);
        last->count = (uint16_t) (last->count + record->count);
        return true;
    }
    bool new_region = (last == NULL || last->region != record->region) &&
                      !g_hash_table_contains(builder->op_regions, &record->region);
    if (builder->change_count == CHANGES_MAX || (new_region && builder->region_count == VV_ENTRY_REGIONS_MAX))
        return false;
    builder->change_count++;
    builder->region_count += new_region;
    VvMapChange change = {
        .region = record->region, .place = record->place, .first = record->first, .count = record->count
    };
    if (record->sums)
        change.sums = sums->len + 1;
    add_sums(builder, sums, record);
    g_array_append_val(changes, change);
    if (new_region) /* the keys stay where they are: the ring is not changed while an op is built */
        g_hash_table_add(builder->op_regions, (gpointer) &record->region);
    return true;
}

static void add_op_locked(VvBatchBuilder *builder, VvView *view, GArray *changes, GArray *sums, uint64_t sequence)
{
    bool limited = view->commit_limit != UINT64_MAX;
    VvOp *op = vv_ops_add(builder->ops, VV_OP_MAP);
    op->map.lun = view->id;
    op->map.sequence = sequence;
    op->map.mtime_ns = limited ? view->limit_mtime_ns : view->mtime_ns;
    op->map.size_bytes = UINT64_MAX;
    if (view->elastic && view->size_sequence > view->applied_sequence)
        op->map.size_bytes = limited ? view->limit_size_bytes : view->size_bytes;
    op->map.change_count = changes->len;
    op->map.changes = g_memdup2(changes->data, changes->len * sizeof(VvMapChange));
    op->map.sum_count = sums->len;
    op->map.sums = g_memdup2(sums->data, sums->len * sizeof(uint32_t));
    VvBatchPart part = { .view = view, .sequence = sequence, .mtime_ns = op->map.mtime_ns };
    g_atomic_int_inc(&view->refs);
    g_array_append_val(builder->parts, part);
}

bool vv_batch_add_view(VvBatchBuilder *builder, VvView *view, uint64_t sequence, bool with_mtime)
{
    g_autoptr(GArray) changes = g_array_new(FALSE, FALSE, sizeof(VvMapChange));
    g_autoptr(GArray) sums = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    bool full = false;
    VV_LOCKED(&view->lock);
    uint64_t covered = covered_locked(builder, view);
    uint64_t last = MIN(MIN(sequence, view->commit_limit), view->next_sequence - 1);
    if (view->gone || (last <= covered && !(with_mtime && view->mtime_dirty)))
        return false;
    if (builder->ops && builder->ops->len == OPS_MAX)
        return true;
    if (builder->ops == NULL) {
        builder->ops = vv_ops_new();
        builder->parts = g_array_new(FALSE, FALSE, sizeof(VvBatchPart));
    }
    while (covered < last && !full) {
        /* The ring holds the sequences behind the applied one, without gaps. */
        const VvRecord *record = vv_records_get(&view->records, (size_t) (covered - view->applied_sequence));
        g_assert(record->sequence == covered + 1);
        full = !add_record(builder, changes, sums, record);
        covered += !full;
    }
    g_hash_table_remove_all(builder->op_regions);
    add_op_locked(builder, view, changes, sums, covered);
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
