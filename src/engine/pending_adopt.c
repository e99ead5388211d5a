/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the process before this one left in the file of pending records: who may have it, and taking it over.
 *
 *   attach   map, check every checksum, remember what is there
 *   check    the store is open, nothing is written: whoever owned the file was the last to open the pool; we announce ourselves
 *   own      our opening is durable in the catalog: the file is ours
 *   adopt    the journal is replayed: what it lacks is reserved in the allocator, and becomes pending in its views again
 *
 * D1  All or nothing. What was acknowledged is adopted as it was, or the pool is not opened with this file and the file stays as it
 *     is: going on without some of it would show those who have LUNs open the past as the present. Without the file the pool opens as
 *     after a power cut, which those who had it open notice.
 * D2  Adopting changes nothing in the file but slots of what the replayed state has, at its end. So dying in the midst of it and
 *     beginning again is the same as beginning.
 * D3  A record is applied exactly if its sequence is at or below its LUN's in the catalog. The others follow that one without a gap. */
#include "alloc_private.h"
#include "done.h"
#include "error.h"
#include "incarnation.h"
#include "intent.h"
#include "pending_slots.h"

typedef struct {
    uint32_t slot;
    VvSlotRecord record;
} LeftRecord;

typedef struct {
    uint32_t slot;
    uint64_t lun, sequence, mtime_ns;
} LeftLun;

struct VvLeft {
    GArray *records;  /* LeftRecord */
    GArray *luns;     /* LeftLun */
    GHashTable *sums; /* slots of checksums that no adopted record has */
    bool reset;       /* there is nothing to adopt: the file begins anew */
};

/* ---- attach, check, own */

void vv_left_free(struct VvLeft *left)
{
    if (left == NULL)
        return;
    g_array_unref(left->records);
    g_array_unref(left->luns);
    g_hash_table_unref(left->sums);
    g_free(left);
}

typedef struct {
    VvPool *pool;
    GError **error;
} Loading;

static bool load_slot_cb(void *user, uint32_t slot, VvSlotKind kind, const VvPendingSlot *content)
{
    Loading *loading = user;
    struct VvLeft *left = loading->pool->left;
    if (kind == VV_SLOT_RECORD) {
        LeftRecord record = { .slot = slot, .record = content->record };
        g_array_append_val(left->records, record);
    } else if (kind == VV_SLOT_DONE) {
        vv_dones_load(loading->pool, slot);
    } else if (kind == VV_SLOT_INTENT) {
        vv_intents_load(loading->pool, slot);
    } else if (kind == VV_SLOT_SUMS) {
        g_hash_table_add(left->sums, GUINT_TO_POINTER(slot));
    } else {
        VvPendingFile *file = loading->pool->pending_file;
        LeftLun lun = { .slot = slot, .lun = content->lun.lun };
        if (!vv_pending_word_get(file, &content->lun.sequence, &lun.sequence) ||
            !vv_pending_word_get(file, &content->lun.mtime, &lun.mtime_ns)) {
            vv_set_error(loading->error, VV_ERROR_DAMAGED, NULL, NULL, "pending record %u is damaged", slot);
            return false;
        }
        g_array_append_val(left->luns, lun);
    }
    return true;
}

static bool damaged(VvPool *pool, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static bool damaged(VvPool *pool, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    vv_set_error(error, VV_ERROR_DAMAGED, pool->directory, "mount the pool anew: it is then as after a power cut",
        "what was acknowledged before the process of the pool in %s died cannot be taken over: %s", pool->directory,
        what);
    return false;
}

bool vv_pending_attach(VvPool *pool, const VvUuid *uuid, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (!pool->options.have_pending)
        return true;
    pool->pending_file = vv_pending_file_open(pool->options.pending_fd, pool->read_only, error);
    if (pool->pending_file == NULL)
        return false;
    pool->left = g_new0(struct VvLeft, 1);
    pool->left->records = g_array_new(FALSE, FALSE, sizeof(LeftRecord));
    pool->left->luns = g_array_new(FALSE, FALSE, sizeof(LeftLun));
    pool->left->sums = g_hash_table_new(NULL, NULL);
    pool->left->reset = vv_pending_file_is_empty(pool->pending_file);
    if (pool->left->reset)
        return true;
    if (!vv_pending_file_is_of(pool->pending_file, uuid)) {
        vv_set_error(error, VV_ERROR_CONFLICT, pool->directory, NULL,
            "the pending records that were handed over are not of the pool in %s", pool->directory);
        return false;
    }
    Loading loading = { .pool = pool, .error = &why };
    return vv_pending_file_load(pool->pending_file, load_slot_cb, &loading, &why) ||
           damaged(pool, error, "%s", why->message);
}

bool vv_pending_check_cb(void *user, uint64_t before, GError **error)
{
    VvPool *pool = user;
    pool->opening_before = before;
    if (pool->pending_file == NULL || pool->read_only || pool->left->reset)
        return true;
    if (vv_pending_file_is_owner(pool->pending_file, before)) {
        vv_pending_file_announce(pool->pending_file, before, pool->opening);
        return true;
    }
    if (pool->left->records->len > 0) {
        vv_set_error(error, VV_ERROR_CONFLICT, pool->directory, "mount the pool anew: it is then as it is on its disks",
            "%u changes that were acknowledged before the process of the pool in %s died cannot be taken over: "
            "somebody else has opened the pool since",
            pool->left->records->len, pool->directory);
        return false;
    }
    pool->left->reset = true;
    return true;
}

static bool own(VvPool *pool, GError **error)
{
    vv_may_die(VV_DIE_OPENED);
    if (!pool->left->reset) {
        vv_pending_file_own(pool->pending_file, pool->opening);
        return true;
    }
    vv_dones_clear(pool);
    vv_intents_clear(pool);
    int rc = vv_pending_file_reset(pool->pending_file, &vv_meta_pool(pool->meta)->uuid, pool->opening, pool->incarnation);
    if (rc < 0)
        vv_set_error_errno(error, rc, pool->directory, "the memfd for pending records cannot be used");
    return rc == 0;
}

bool vv_pending_own(VvPool *pool, GError **error)
{
    bool survives = pool->pending_file != NULL && !pool->read_only;
    pool->incarnation = vv_incarnation_left(pool->directory, pool->opening_before);
    while (pool->incarnation == 0)
        vv_random_bytes(&pool->incarnation, sizeof pool->incarnation);
    if (survives && !own(pool, error))
        return false;
    if (survives) {
        pool->incarnation = vv_pending_file_salt(pool->pending_file);
        vv_intents_loaded(pool);
    }
    return true;
}

/* ---- disks: what the syncs of a process said holds for the next */

static void sync_failed_cb(void *user, VvDisk *disk, int result)
{
    VvPool *pool = user;
    int before;
    VvCheckedWord *word = vv_pending_file_disk(pool->pending_file, vv_disk_label(disk)->disk_id, &before);
    if (word)
        vv_pending_file_set_error(pool->pending_file, word, result);
}

void vv_pending_attach_disk(VvPool *pool, uint64_t id, unsigned slot, VvDisk *disk)
{
    int result = 0;
    if (vv_is_node_address(vv_disk_path(disk)))
        atomic_fetch_or(&pool->inherited[slot / 64], UINT64_C(1) << slot % 64);
    if (pool->pending_file == NULL || pool->read_only)
        return;
    (void) vv_pending_file_disk(pool->pending_file, id, &result);
    if (result < 0)
        vv_disk_inherit_sync_error(disk, result);
    vv_disk_watch_syncs(disk, sync_failed_cb, pool);
    if (pool->left && !pool->left->reset)
        atomic_fetch_or(&pool->inherited[slot / 64], UINT64_C(1) << slot % 64);
}

void vv_pending_detach_disk(VvPool *pool, uint64_t id, unsigned slot)
{
    atomic_fetch_and(&pool->inherited[slot / 64], ~(UINT64_C(1) << slot % 64));
    if (pool->pending_file != NULL && !pool->read_only)
        vv_pending_file_forget_disk(pool->pending_file, id);
}

bool vv_pending_disk_inherits(VvPool *pool, unsigned slot)
{
    return atomic_load_explicit(&pool->inherited[slot / 64], memory_order_relaxed) >> slot % 64 & 1;
}

bool vv_pending_inherits(VvPool *pool)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(pool->inherited); i++)
        any |= atomic_load_explicit(&pool->inherited[i], memory_order_relaxed);
    return any != 0;
}

void vv_view_inherit_marks(VvView *view)
{
    VvPool *pool = view->pool;
    const VvFamily *family = vv_meta_family(pool->meta, view->family);
    if (!vv_pending_inherits(pool) || family == NULL)
        return;
    for (unsigned i = 0; i < family->segments->len; i++) {
        const VvSegment *segment = g_ptr_array_index(family->segments, i);
        for (unsigned c = 0; segment && c < segment->copy_count; c++) {
            void *slot;
            VV_LOCKED(&pool->disks_lock);
            if (g_hash_table_lookup_extended(pool->disk_slots, &segment->copies[c].disk_id, NULL, &slot) &&
                atomic_load(&pool->inherited[GPOINTER_TO_UINT(slot) / 64]) >> GPOINTER_TO_UINT(slot) % 64 & 1)
                vv_view_mark(view, GPOINTER_TO_UINT(slot))->written = 1;
        }
    }
}

void vv_pending_disk_synced(VvPool *pool, unsigned slot)
{
    uint64_t bit = UINT64_C(1) << slot % 64;
    if (atomic_load_explicit(&pool->inherited[slot / 64], memory_order_relaxed) & bit)
        atomic_fetch_and(&pool->inherited[slot / 64], ~bit);
}

/* ---- adopt */

typedef struct {
    VvPool *pool;
    GError **error;
    unsigned adopted, luns;
    GArray *stale; /* u32 slots */
} Adopting;

static int compare_records(const void *a, const void *b)
{
    const VvSlotRecord *x = &((const LeftRecord *) a)->record, *y = &((const LeftRecord *) b)->record;
    if (x->lun != y->lun)
        return x->lun < y->lun ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static int compare_luns(const void *a, const void *b)
{
    const LeftLun *x = a, *y = b;
    return x->lun < y->lun ? -1 : x->lun > y->lun;
}

/* What the catalog says of one LUN. */
typedef struct {
    bool found, elastic;
    uint64_t sequence, size_bytes, family, mtime_ns;
} Known;

static Known look_up(VvPool *pool, uint64_t id)
{
    Known known = { .found = false };
    vv_meta_read_lock(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    if (lun)
        known = (Known){ .found = true,
            .elastic = lun->elastic,
            .sequence = lun->sequence,
            .size_bytes = lun->size_bytes,
            .family = vv_meta_branch(pool->meta, lun->branch)->family,
            .mtime_ns = lun->mtime_ns };
    vv_meta_read_unlock(pool->meta);
    return known;
}

static bool is_sane(const VvSlotRecord *record, const Known *known)
{
    bool sized = record->size_bytes != UINT64_MAX;
    if ((record->flags & VV_SLOT_HAS_SUMS && (record->count == 0 || record->place == 0)) ||
        record->count > VV_REGION_BLOCKS || record->first + (unsigned) record->count > VV_REGION_BLOCKS ||
        record->region > VV_LUN_BYTES_MAX / VV_REGION_BYTES || record->family != (uint32_t) known->family)
        return false;
    return !sized ||
           (record->size_bytes <= VV_LUN_BYTES_MAX && (known->elastic || record->size_bytes <= known->size_bytes));
}

/* The applied places of the record's blocks. */
static int applied_places(VvView *view, const VvRecord *record, VvPlace *ret_places)
{
    VvPage page;
    int rc = vv_map_lookup(view->pool->meta, view->branch, record->region, UINT64_MAX, &page, NULL, NULL);
    memset(ret_places, 0, record->count * sizeof *ret_places);
    if (rc == 0)
        memcpy(ret_places, &page.place[record->first], record->count * sizeof *ret_places);
    return rc == -ENODATA ? 0 : rc;
}

/* The checksums of the record's blocks, which are the caller's; NULL: not all are there. */
static uint32_t *adopt_sums(Adopting *adopting, const VvSlotRecord *record)
{
    struct VvLeft *left = adopting->pool->left;
    g_autofree uint32_t *sums = g_new(uint32_t, record->count);
    unsigned have = 1;
    sums[0] = record->sum;
    for (uint32_t slot = record->more; have < record->count;) {
        const VvSlotSums *more =
            vv_pending_file_sums(adopting->pool->pending_file, slot, record->lun, record->sequence);
        if (!more || more->from != have || more->count == 0 || more->count > VV_SLOT_SUMS_MAX ||
            have + more->count > record->count)
            return NULL;
        memcpy(&sums[have], more->sums, more->count * sizeof *sums);
        have += more->count;
        g_hash_table_remove(left->sums, GUINT_TO_POINTER(slot));
        slot = more->more;
    }
    return g_steal_pointer(&sums);
}

/* Nobody else knows the view yet, so look-ups may come between. */
static bool adopt_record(Adopting *adopting, VvView *view, const LeftRecord *left, const Known *known)
{
    VvPool *pool = adopting->pool;
    VvPlace applied[VV_REGION_BLOCKS];
    VvRecord record = {
        .sequence = left->record.sequence,
        .region = left->record.region,
        .place = left->record.place,
        .tag = view->tag,
        .slot = left->slot,
        .count = left->record.count,
        .first = left->record.first,
    };
    if (!is_sane(&left->record, known) || record.sequence != view->next_sequence)
        return damaged(pool, adopting->error,
            "change %" G_GUINT64_FORMAT " of object %" G_GUINT64_FORMAT " does not follow change %" G_GUINT64_FORMAT,
            record.sequence, view->id, view->next_sequence - 1);
    if (record.place && !vv_alloc_adopt(pool->alloc, known->family, record.place, record.count))
        return damaged(pool, adopting->error,
            "the blocks of change %" G_GUINT64_FORMAT " of object %" G_GUINT64_FORMAT " are not free", record.sequence,
            view->id);
    if (record.count > 0 && applied_places(view, &record, applied) < 0)
        return damaged(pool, adopting->error, "the map of object %" G_GUINT64_FORMAT " cannot be read", view->id);
    if (left->record.flags & VV_SLOT_HAS_SUMS && !(record.sums = adopt_sums(adopting, &left->record)))
        return damaged(pool, adopting->error,
            "checksums of change %" G_GUINT64_FORMAT " of object %" G_GUINT64_FORMAT " are missing", record.sequence,
            view->id);
    VV_LOCKED(&view->lock);
    view->next_sequence++;
    vv_records_push(&view->records, &record);
    vv_pending_set(&view->pending, &record, applied);
    vv_pending_count(view, &record);
    if (left->record.size_bytes != UINT64_MAX && left->record.size_bytes > view->size_bytes) {
        view->size_bytes = left->record.size_bytes;
        view->size_sequence = record.sequence;
    }
    return true;
}

/* @lun: NULL if the LUN has no slot. */
static bool adopt_into(
    Adopting *adopting, VvView *view, const LeftRecord *records, unsigned count, const LeftLun *lun, const Known *known)
{
    bool ok = true;
    {
        VV_LOCKED(&view->lock);
        if (lun) {
            view->slots = g_new0(struct VvViewSlots, 1);
            view->slots->lun = lun->slot;
        } else {
            (void) vv_slots_reserve(view, 0);
        }
        vv_view_has_pending(view);
    }
    for (unsigned i = 0; i < count && ok; i++)
        ok = adopt_record(adopting, view, &records[i], known);
    VV_LOCKED(&view->lock);
    view->mtime_ns = lun && lun->mtime_ns ? MAX(view->mtime_ns, lun->mtime_ns) : vv_now_ns();
    view->mtime_dirty = true;
    if (ok)
        vv_slots_publish(view);
    return ok;
}

static bool adopt_lun(Adopting *adopting, uint64_t id, const LeftRecord *records, unsigned count, const LeftLun *lun)
{
    VvPool *pool = adopting->pool;
    Known known = look_up(pool, id);
    unsigned applied = 0;
    while (applied < count && (!known.found || records[applied].record.sequence <= known.sequence)) /* D3 */
        g_array_append_val(adopting->stale, records[applied++].slot);
    uint64_t last = applied < count ? records[count - 1].record.sequence : known.sequence;
    if (known.found && lun && lun->sequence > last)
        return damaged(pool, adopting->error, "change %" G_GUINT64_FORMAT " of object %" G_GUINT64_FORMAT " is missing",
            lun->sequence, id);
    if (applied == count && !(known.found && lun && lun->mtime_ns > known.mtime_ns)) {
        if (lun)
            g_array_append_val(adopting->stale, lun->slot);
        return true;
    }
    VvView *view;
    if (vv_view_get(pool, id, &view) < 0)
        return damaged(pool, adopting->error, "object %" G_GUINT64_FORMAT " is gone", id);
    bool ok = adopt_into(adopting, view, &records[applied], count - applied, lun, &known);
    vv_view_unref(view);
    adopting->adopted += count - applied;
    adopting->luns++;
    return ok;
}

/* All LUNs that have a record or a slot of their own. */
static bool adopt_luns(Adopting *adopting)
{
    GArray *records = adopting->pool->left->records, *luns = adopting->pool->left->luns;
    unsigned r = 0, l = 0;
    g_array_sort(records, compare_records);
    g_array_sort(luns, compare_luns);
    while (r < records->len || l < luns->len) {
        const LeftRecord *first = r < records->len ? &g_array_index(records, LeftRecord, r) : NULL;
        const LeftLun *lun = l < luns->len ? &g_array_index(luns, LeftLun, l) : NULL;
        uint64_t id = first && (!lun || first->record.lun <= lun->lun) ? first->record.lun : lun->lun;
        unsigned count = 0;
        while (r + count < records->len && first[count].record.lun == id)
            count++;
        lun = lun && lun->lun == id ? lun : NULL;
        if (lun && l + 1 < luns->len && lun[1].lun == id)
            return damaged(adopting->pool, adopting->error, "object %" G_GUINT64_FORMAT " is there twice", id);
        if (!adopt_lun(adopting, id, first, count, lun))
            return false;
        r += count;
        l += lun != NULL;
    }
    return true;
}

/* What a pool that may not be written to would have to adopt. */
static void tell_kept(VvPool *pool)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < pool->left->records->len; i++) {
        const VvSlotRecord *record = &g_array_index(pool->left->records, LeftRecord, i).record;
        Known known = look_up(pool, record->lun);
        kept += known.found && record->sequence > known.sequence;
    }
    if (kept > 0)
        vv_pool_event(pool, VV_SEVERITY_WARNING, "pending-kept", NULL,
            "%u acknowledged changes that no flush covers are kept and not shown: the pool is open for reading only",
            kept);
}

static void forget_stale(VvPool *pool, GArray *stale)
{
    GHashTableIter iter;
    void *slot;
    g_hash_table_iter_init(&iter, pool->left->sums);
    while (g_hash_table_iter_next(&iter, &slot, NULL)) {
        uint32_t number = GPOINTER_TO_UINT(slot);
        g_array_append_val(stale, number);
    }
    for (unsigned i = 0; i < stale->len; i++)
        vv_pending_file_clear(pool->pending_file, g_array_index(stale, uint32_t, i));
    if (stale->len > 0)
        vv_pending_file_give(pool->pending_file, (const uint32_t *) (const void *) stale->data, stale->len);
}

bool vv_pending_adopt(VvPool *pool, GError **error)
{
    if (pool->pending_file == NULL)
        return true;
    Adopting adopting = { .pool = pool, .error = error, .stale = g_array_new(FALSE, FALSE, sizeof(uint32_t)) };
    bool ok = true;
    if (pool->read_only) {
        tell_kept(pool);
        g_clear_pointer(&pool->pending_file, vv_pending_file_close);
    } else if (!pool->left->reset) {
        ok = adopt_luns(&adopting);
        vv_may_die(VV_DIE_ADOPTED);
        if (ok)
            forget_stale(pool, adopting.stale); /* D2 */
    }
    if (ok && adopting.adopted > 0)
        vv_pool_event(pool, VV_SEVERITY_INFO, "adopted", NULL,
            "%u changes of %u LUNs were taken over from the process that died", adopting.adopted, adopting.luns);
    g_clear_pointer(&pool->left, vv_left_free);
    g_array_unref(adopting.stale);
    return ok;
}
