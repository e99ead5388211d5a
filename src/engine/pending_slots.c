/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots of a view: see pending_slots.h.
 *
 * K1  A record is in the file before its request is answered, and until its entry is durable and applied. So a successor that has
 *     replayed the journal finds every record that was acknowledged in one of both, and knows by the LUN's sequence which.
 * K2  A view takes slots in chunks, so that putting a record takes no lock but the view's, which is held anyway. */
#include "pending_slots.h"
#include "slab.h"

#define CHUNK_MIN 8u
#define CHUNK_MAX 64u /* taken at once by who puts many */

static bool begin(VvView *view)
{
    VvPendingFile *file = view->pool->pending_file;
    struct VvViewSlots *slots = vv_slab_get0(sizeof *slots);
    view->slots = slots;
    if (!vv_pending_file_take(file, &slots->lun, 1)) {
        slots->lun = VV_NO_SLOT;
        return false;
    }
    vv_pending_file_put_lun(file, slots->lun, view->id);
    return true;
}

static void grow(struct VvViewSlots *slots, unsigned capacity)
{
    if (capacity <= slots->capacity)
        return;
    slots->capacity = capacity;
    slots->spare = vv_slab_renew(slots->spare, capacity * sizeof *slots->spare);
}

bool vv_slots_reserve(VvView *view, unsigned records)
{
    VvPendingFile *file = view->pool->pending_file;
    if (file == NULL)
        return true;
    if (view->slots == NULL)
        (void) begin(view); /* without a slot of its own the LUN's mtime does not survive; records do */
    struct VvViewSlots *slots = view->slots;
    if (slots->count >= records)
        return true;
    unsigned want = MAX(records - slots->count, MIN(CHUNK_MAX, MAX(CHUNK_MIN, slots->capacity)));
    grow(slots, slots->count + want);
    if (!vv_pending_file_take(file, &slots->spare[slots->count], want)) {
        if (view->pending_since_ms == 0)
            vv_slots_end(view);
        return false;
    }
    slots->count += want;
    return true;
}

static uint32_t pop(VvView *view)
{
    g_assert(view->slots->count > 0); /* reserved */
    return view->slots->spare[--view->slots->count];
}

/* All but the first block's. Returns the slot that they begin in. */
static uint32_t put_sums(VvView *view, const VvRecord *record)
{
    uint32_t more = VV_NO_SLOT;
    for (unsigned end = record->count; end > 1;) {
        unsigned from = 1 + (end - 2) / VV_SLOT_SUMS_MAX * VV_SLOT_SUMS_MAX;
        VvSlotSums content = { .lun = view->id,
            .sequence = record->sequence,
            .more = more,
            .from = (uint16_t) from,
            .count = (uint16_t) (end - from) };
        memcpy(content.sums, &record->sums[from], (end - from) * sizeof *record->sums);
        more = pop(view);
        vv_pending_file_put_sums(view->pool->pending_file, more, &content);
        end = from;
    }
    return more;
}

void vv_slots_put(VvView *view, VvRecord *record)
{
    VvPendingFile *file = view->pool->pending_file;
    record->slot = VV_NO_SLOT;
    if (file == NULL)
        return;
    VvSlotRecord content = {
        .lun = view->id,
        .sequence = record->sequence,
        .region = record->region,
        .place = record->place,
        .size_bytes = view->elastic ? view->size_bytes : UINT64_MAX,
        .more = record->sums ? put_sums(view, record) : VV_NO_SLOT,
        .sum = record->sums ? record->sums[0] : 0,
        .count = record->count,
        .first = record->first,
        .flags = record->sums ? VV_SLOT_HAS_SUMS : 0,
        .family = (uint32_t) view->family,
    };
    record->slot = pop(view);
    vv_pending_file_put_record(file, record->slot, &content);
}

void vv_slots_publish(VvView *view)
{
    if (view->slots == NULL || view->slots->lun == VV_NO_SLOT)
        return;
    vv_pending_file_set_sequence(view->pool->pending_file, view->slots->lun, view->next_sequence - 1);
    vv_pending_file_set_mtime(view->pool->pending_file, view->slots->lun, view->mtime_ns);
}

static void push(VvView *view, uint32_t slot)
{
    struct VvViewSlots *slots = view->slots;
    if (slots->count >= 2 * CHUNK_MAX) {
        vv_pending_file_give(view->pool->pending_file, &slots->spare[slots->count - CHUNK_MAX], CHUNK_MAX);
        slots->count -= CHUNK_MAX;
    }
    if (slots->count == slots->capacity)
        grow(slots, MAX(CHUNK_MIN, 2 * slots->capacity));
    slots->spare[slots->count++] = slot;
}

/* Clear the record's slot and those of its checksums; each goes to @free_slot. The record goes first: it is never without them. */
static void clear_record(
    VvPendingFile *file, uint64_t lun, const VvRecord *record, void (*free_slot)(void *user, uint32_t slot), void *user)
{
    uint32_t more = vv_pending_file_more(file, record->slot);
    vv_pending_file_clear(file, record->slot);
    free_slot(user, record->slot);
    while (more != VV_NO_SLOT && vv_pending_file_sums(file, more, lun, record->sequence)) {
        uint32_t next = vv_pending_file_more(file, more);
        vv_pending_file_clear(file, more);
        free_slot(user, more);
        more = next;
    }
}

static void push_cb(void *user, uint32_t slot)
{
    push(user, slot);
}

void vv_slots_drop(VvView *view, const VvRecord *record)
{
    if (view->pool->pending_file && record->slot != VV_NO_SLOT)
        clear_record(view->pool->pending_file, view->id, record, push_cb, view);
}

void vv_slots_mtime_clean(VvView *view)
{
    if (view->slots && view->slots->lun != VV_NO_SLOT)
        vv_pending_file_set_mtime(view->pool->pending_file, view->slots->lun, 0);
}

static void free_slots(VvPool *pool, struct VvViewSlots *slots, bool keep)
{
    if (slots == NULL)
        return;
    if (slots->count > 0)
        vv_pending_file_give(pool->pending_file, slots->spare, slots->count);
    if (slots->lun != VV_NO_SLOT && !keep) {
        vv_pending_file_clear(pool->pending_file, slots->lun);
        vv_pending_file_give(pool->pending_file, &slots->lun, 1);
    }
    vv_slab_put(slots->spare);
    vv_slab_put(slots);
}

void vv_slots_end(VvView *view)
{
    free_slots(view->pool, g_steal_pointer(&view->slots), false);
}

static void give_cb(void *user, uint32_t slot)
{
    vv_pending_file_give(user, &slot, 1);
}

void vv_retired_finish(VvPool *pool, VvRetired *retired, bool keep)
{
    for (size_t i = 0; i < retired->records.count; i++) {
        const VvRecord *record = vv_records_get(&retired->records, i);
        if (keep)
            continue;
        if (pool->pending_file && record->slot != VV_NO_SLOT)
            clear_record(pool->pending_file, retired->lun, record, give_cb, pool->pending_file);
        if (record->place &&
            record->sequence > retired->logged_sequence) /* the others are applied, and freed with the LUN */
            vv_alloc_give_back(pool->alloc, retired->family, record->place, record->count);
    }
    vv_records_clear(&retired->records);
    free_slots(pool, g_steal_pointer(&retired->slots), keep);
}
