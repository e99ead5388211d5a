/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State and checks of the map's model: see map-state.h. */
#include "map-state.h"

#include "error.h"

#include <string.h>

const unsigned spot_block[SPOTS] = { 0, 1, 2, 3, 100, 255 };

void fail(Model *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_error("seed %" G_GUINT64_FORMAT ": %s", m->seed, text);
}

unsigned pick(Model *m, unsigned below) { return (unsigned) g_rand_int_range(m->random, 0, (gint32) below); }

static void page_changed_cb(void *user, uint64_t family, const VvPageKey *key, const VvPage *page)
{
    Model *m = user;
    m->told[key->region].key.branch = 0;
    if (page == NULL)
        return;
    if (!vv_map_page_is_heads(vv_meta_branch(m->meta, key->branch), key))
        fail(m, "a page that snapshots see is told to be the head's alone");
    m->told[key->region].key = *key;
    m->told[key->region].page = *page;
    m->told[key->region].family = family;
}

/* What was told while the entry was applied is what a look-up finds. */
static void check_told(Model *m)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        uint64_t branch = m->told[r].key.branch, family;
        VvPageKey key;
        VvPage page;
        m->told[r].key.branch = 0;
        if (branch == 0)
            continue;
        if (vv_map_lookup(m->meta, branch, r, UINT64_MAX, &page, &key, &family) != 0 || family != m->told[r].family ||
            key.epoch != m->told[r].key.epoch || key.branch != branch || memcmp(&page, &m->told[r].page, sizeof page) != 0)
            fail(m, "region %u: what was told of its page is not what a look-up finds", r);
    }
}

void commit(Model *m, VvOps *ops)
{
    uint64_t index;
    g_assert_cmpint(vv_meta_log(m->meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_sync(m->meta), ==, 0);
    int result = vv_meta_apply(m->meta, index, ops);
    if (result != 0)
        fail(m, "apply: %s", vv_meta_failure(m->meta));
    vv_ops_free(ops);
    check_told(m);
}

uint64_t *data_key(uint64_t family, VvPlace place)
{
    uint64_t key = family * 1000003u ^ (place & VV_PLACE_ADDRESS_MASK);
    return g_memdup2(&key, sizeof key);
}

static void count_freed(void *user, uint64_t family, uint32_t segment, uint32_t first, uint32_t count)
{
    Model *m = user;
    m->freed_blocks += count;
    for (uint32_t i = 0; m->reserved != NULL && i < count; i++)
        g_hash_table_add(m->reserved, data_key(family, vv_place(segment, first + i, false)));
}

static const VvMetaHooks hooks = { .page_changed = page_changed_cb, .blocks_freed = count_freed };

void open_meta(Model *m)
{
    g_autoptr(GError) error = NULL;
    m->meta = vv_meta_open(m->directory, false, NULL, &error);
    if (m->meta == NULL)
        fail(m, "open: %s", error->message);
    vv_meta_set_hooks(m->meta, &hooks, m);
}

uint32_t data_get(Model *m, uint64_t family, VvPlace place)
{
    g_autofree uint64_t *key = data_key(family, place);
    return GPOINTER_TO_UINT(g_hash_table_lookup(m->data, key));
}

void data_set(Model *m, uint64_t family, VvPlace place, uint32_t value)
{
    g_hash_table_replace(m->data, data_key(family, place), GUINT_TO_POINTER(value));
}

/* ---- what an object reads */
bool object_point(Model *m, const Object *o, uint64_t *branch, uint64_t *epoch)
{
    if (o->is_lun) {
        const VvLun *lun = vv_meta_lun(m->meta, o->id);
        if (lun == NULL)
            return false;
        *branch = lun->branch;
        *epoch = UINT64_MAX;
        return true;
    }
    const VvSnapshot *s = vv_meta_snapshot(m->meta, o->id);
    if (s == NULL)
        return false;
    *branch = s->branch;
    *epoch = s->epoch;
    return true;
}

/* The same without summaries: what they let a look-up pass must not have been there. */
static void check_search(Model *m, const Object *o, const VvPoint *point, unsigned region, int result, const VvPageKey *key)
{
    VvPageKey searched = { 0 };
    m->meta->ignore_summaries = true;
    int again = vv_map_lookup(m->meta, point->branch, region, point->epoch, NULL, &searched, NULL);
    m->meta->ignore_summaries = false;
    if (again != result || (result == 0 && memcmp(&searched, key, sizeof searched) != 0))
        fail(m, "%s, region %u: a summary hides a page", o->name, region);
    const VvBranch *branch = vv_meta_branch(m->meta, point->branch);
    const VvSnapshot *origin;
    while (branch != NULL && (origin = vv_meta_snapshot(m->meta, branch->origin_snapshot)) != NULL) {
        m->passed += !vvm_summary_may_hold(m->meta, origin, region);
        branch = vv_meta_branch(m->meta, origin->branch);
    }
}

/* A place has the checksum of what it holds, or none if it was written without. */
static void check_sum(Model *m, const Object *o, uint64_t family, VvPlace place, uint32_t value)
{
    VvSumPiece piece;
    unsigned block = vv_place_block(place) % VV_REGION_BLOCKS;
    g_assert_cmpint(vv_sums_lookup(m->meta, family, vv_place_segment(place), vv_place_block(place) / VV_REGION_BLOCKS, &piece), ==, 0);
    if (vv_sum_present(&piece, block) != ((value & SUMMED) != 0))
        fail(m, "%s: value %u has %s checksum", o->name, value & ~SUMMED, value & SUMMED ? "no" : "a");
    if (value & SUMMED && piece.crc[block] != value)
        fail(m, "%s: value %u has the checksum of %u", o->name, value & ~SUMMED, piece.crc[block] & ~SUMMED);
}

void check_reads(Model *m)
{
    for (unsigned i = 0; i < OBJECTS_MAX; i++) {
        const Object *o = &m->objects[i];
        uint64_t branch, epoch;
        if (!o->used)
            continue;
        if (!object_point(m, o, &branch, &epoch))
            fail(m, "object %s is gone", o->name);
        for (unsigned r = 0; r < REGIONS; r++) {
            VvPage page = { 0 };
            VvPageKey key = { 0 };
            uint64_t family = 0;
            int result = vv_map_lookup(m->meta, branch, r, epoch, &page, &key, &family);
            g_assert_true(result == 0 || result == -ENODATA);
            check_search(m, o, &(VvPoint){ .branch = branch, .epoch = epoch }, r, result, &key);
            for (unsigned s = 0; s < SPOTS; s++) {
                VvPlace place = result == 0 ? page.place[spot_block[s]] : 0;
                uint32_t value = place != 0 ? data_get(m, family, place) : 0;
                if (value != o->cell[r * SPOTS + s])
                    fail(m, "%s reads %u at region %u spot %u, should be %u", o->name, value, r, s, o->cell[r * SPOTS + s]);
                if (place != 0)
                    check_sum(m, o, family, place, value);
            }
        }
    }
}

void report(void *user, const VvCheckError *error) { fail(user, "check: %s: %s", error->code, error->message); }
/* What was chosen is remembered, and no segment is elsewhere. */
static void check_placement(Model *m)
{
    GPtrArray *families = vv_meta_families(m->meta);
    for (guint i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);
        const VvDiskSet *chosen = g_hash_table_lookup(m->chosen, &family->id);
        if (!vv_disk_set_equal(family->disks, chosen))
            fail(m, "family %" G_GUINT64_FORMAT " has forgotten its disks", family->id);
        for (guint n = 0; n < family->segments->len; n++) {
            const VvSegment *segment = g_ptr_array_index(family->segments, n);
            if (segment != NULL && !vv_disk_set_has(chosen, segment->copies[0].disk_id))
                fail(m, "segment %u of family %" G_GUINT64_FORMAT " is elsewhere", n, family->id);
        }
    }
}

void check_meta(Model *m)
{
    g_assert_cmpint(vv_meta_check(m->meta, false, report, m), ==, 0);
    check_placement(m);
}
