/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The resolver: from (family, segment, block) to disks and offsets.
 *
 * The table is the catalog's segments in the form that I/O needs, so that no request takes the catalog's lock. It follows
 * meta's hooks. A segment that was returned goes at once: nothing names its blocks any more, and whoever found them before
 * has resolved them. One that shrank keeps its place: buddies give back their upper half. */
#include "engine.h"
#include "error.h"

#include <errno.h>

typedef struct {
    VvDisk *disk; /* borrowed: a disk leaves when it holds no segment */
    unsigned disk_slot;
    uint64_t offset_bytes; /* of the segment on the disk */
} SegmentCopy;

typedef struct {
    uint32_t count_blocks; /* 0: no such segment */
    uint8_t copy_count;
    SegmentCopy copies[VV_SEGMENT_COPIES_MAX];
} SegmentEntry;

typedef struct {
    uint64_t id;
    GArray *segments; /* SegmentEntry by number */
} FamilyEntry;

struct VvSegmentTable {
    pthread_rwlock_t lock; /* a leaf */
    GHashTable *families;  /* FamilyEntry by its id */
};

static void family_free(void *data)
{
    FamilyEntry *family = data;
    g_array_unref(family->segments);
    g_free(family);
}

static SegmentEntry make_entry(VvPool *pool, const VvSegment *segment)
{
    SegmentEntry entry = { .count_blocks = vv_segment_blocks(segment), .copy_count = segment->copy_count };
    VV_LOCKED(&pool->disks_lock);
    for (unsigned i = 0; i < segment->copy_count; i++) {
        void *slot;
        if (!g_hash_table_lookup_extended(pool->disk_slots, &segment->copies[i].disk_id, NULL, &slot))
            continue; /* an absent disk: resolving says so */
        entry.copies[i].disk_slot = GPOINTER_TO_UINT(slot);
        entry.copies[i].disk = g_ptr_array_index(pool->disks, entry.copies[i].disk_slot);
        entry.copies[i].offset_bytes = VV_LABEL_BYTES + ((uint64_t) segment->copies[i].unit << VV_SEGMENT_SHIFT_MIN);
    }
    return entry;
}

static void put_locked(VvSegmentTable *table, uint64_t family_id, uint32_t number, const SegmentEntry *entry)
{
    FamilyEntry *family = g_hash_table_lookup(table->families, &family_id);
    if (family == NULL) {
        family = g_new0(FamilyEntry, 1);
        family->id = family_id;
        family->segments = g_array_new(FALSE, TRUE, sizeof(SegmentEntry));
        g_hash_table_insert(table->families, &family->id, family);
    }
    if (number >= family->segments->len)
        g_array_set_size(family->segments, number + 1);
    g_array_index(family->segments, SegmentEntry, number) = *entry;
}

static void fill(VvSegmentTable *table, VvPool *pool)
{
    vv_meta_read_lock(pool->meta);
    GPtrArray *families = vv_meta_families(pool->meta);
    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);
        for (unsigned k = 0; k < family->segments->len; k++) {
            const VvSegment *segment = g_ptr_array_index(family->segments, k);
            if (segment == NULL)
                continue;
            SegmentEntry entry = make_entry(pool, segment);
            pthread_rwlock_wrlock(&table->lock);
            put_locked(table, family->id, segment->number, &entry);
            pthread_rwlock_unlock(&table->lock);
        }
    }
    vv_meta_read_unlock(pool->meta);
}

VvSegmentTable *vv_segments_new(VvPool *pool)
{
    VvSegmentTable *table = g_new0(VvSegmentTable, 1);
    pthread_rwlock_init(&table->lock, NULL);
    table->families = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, family_free);
    fill(table, pool);
    return table;
}

void vv_segments_disks_changed(VvPool *pool)
{
    fill(pool->segments, pool);
}

void vv_segments_free(VvSegmentTable *table)
{
    if (table == NULL)
        return;
    g_hash_table_unref(table->families);
    pthread_rwlock_destroy(&table->lock);
    g_free(table);
}

void vv_segments_granted(VvPool *pool, const VvSegment *segment)
{
    SegmentEntry entry = make_entry(pool, segment);
    pthread_rwlock_wrlock(&pool->segments->lock);
    put_locked(pool->segments, segment->family, segment->number, &entry);
    pthread_rwlock_unlock(&pool->segments->lock);
}

void vv_segments_shrunk(VvPool *pool, const VvSegment *segment, uint8_t old_shift)
{
    VvSegmentTable *table = pool->segments;
    (void) old_shift;
    pthread_rwlock_wrlock(&table->lock);
    FamilyEntry *family = g_hash_table_lookup(table->families, &segment->family);
    if (family && segment->number < family->segments->len) {
        SegmentEntry *entry = &g_array_index(family->segments, SegmentEntry, segment->number);
        if (segment->shift == 0)
            *entry = (SegmentEntry){ .count_blocks = 0 };
        else
            entry->count_blocks = vv_segment_blocks(segment);
    }
    pthread_rwlock_unlock(&table->lock);
}

static bool find(VvSegmentTable *table, uint64_t family_id, uint32_t number, SegmentEntry *ret_entry)
{
    bool found = false;
    pthread_rwlock_rdlock(&table->lock);
    const FamilyEntry *family = g_hash_table_lookup(table->families, &family_id);
    if (family && number < family->segments->len) {
        *ret_entry = g_array_index(family->segments, SegmentEntry, number);
        found = ret_entry->count_blocks > 0;
    }
    pthread_rwlock_unlock(&table->lock);
    return found;
}

int vv_resolve(VvPool *pool, uint64_t family, uint32_t segment, uint32_t block, uint32_t count_blocks,
    VvPurpose purpose, VvRun *ret_runs)
{
    SegmentEntry entry;
    if (!find(pool->segments, family, segment, &entry) || block + count_blocks > entry.count_blocks)
        return -EUCLEAN;
    int count = 0;
    for (unsigned i = 0; i < entry.copy_count; i++) {
        const SegmentCopy *copy = &entry.copies[i];
        if (copy->disk == NULL) {
            if (purpose == VV_FOR_READ)
                continue;
            return -EIO; /* a copy that cannot be written is no copy: with mirrors an entry marks it stale first */
        }
        ret_runs[count++] = (VvRun){
            .disk = copy->disk,
            .disk_slot = copy->disk_slot,
            .offset_bytes = copy->offset_bytes + ((uint64_t) block << VV_BLOCK_SHIFT),
            .length_bytes = count_blocks << VV_BLOCK_SHIFT,
        };
        if (purpose == VV_FOR_READ)
            break;
    }
    return count > 0 ? count : -EIO;
}
