/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Damaged blocks, by place: a bounded set in memory, of this run of the daemon.
 *
 * D1  Who finds one is perhaps a worker: it puts a few numbers into the set and kicks the scrub's thread, which looks up the names.
 * D2  A place belongs to one block of its LUN as long as it is in use; which it is is found once. Who maps it is looked up whenever it
 *     is told, as snapshots come and go.
 * D3  A damaged block is forgotten when nothing that can be read maps it: it was written anew everywhere, or removed. */
#include "damage.h"

#include "scrub.h"
#include "transaction.h"

typedef struct {
    uint64_t family;
    VvPlace place; /* mapped, not own */
    uint64_t block;
    VvDamageKind kind;
    bool told;
} Entry;

struct VvDamages {
    VvPool *pool;
    pthread_mutex_t lock; /* a leaf */
    GHashTable *entries;  /* Entry as its own key */
    uint64_t left_out;
};

static guint entry_hash(gconstpointer key)
{
    const Entry *e = key;
    uint64_t h = e->family * 0x9e3779b97f4a7c15u ^ e->place * 0xc2b2ae3d27d4eb4fu;

    return (guint) (h >> 32 ^ h);
}

static gboolean entry_equal(gconstpointer a, gconstpointer b)
{
    const Entry *x = a, *y = b;

    return x->family == y->family && x->place == y->place;
}

VvDamages *vv_damages_new(VvPool *pool)
{
    VvDamages *damages = g_new0(VvDamages, 1);

    damages->pool = pool;
    pthread_mutex_init(&damages->lock, NULL);
    damages->entries = g_hash_table_new_full(entry_hash, entry_equal, g_free, NULL);
    return damages;
}

void vv_damages_free(VvDamages *damages)
{
    g_hash_table_unref(damages->entries);
    pthread_mutex_destroy(&damages->lock);
    g_free(damages);
}

void vv_damage_found(VvPool *pool, uint64_t family, VvPlace place, uint64_t block, VvDamageKind kind)
{
    VvDamages *damages = pool->damages;
    Entry want = { .family = family, .place = place & ~VV_PLACE_OWN, .block = block, .kind = kind };
    bool fresh = false;

    atomic_fetch_add_explicit(&pool->sums_wrong, kind == VV_DAMAGE_SUM, memory_order_relaxed);
    {
        VV_LOCKED(&damages->lock);
        Entry *entry = g_hash_table_lookup(damages->entries, &want);

        if (entry) {
            if (entry->block == UINT64_MAX)
                entry->block = block;
        } else if (g_hash_table_size(damages->entries) == VV_DAMAGES_MAX) {
            damages->left_out++;
        } else {
            g_hash_table_add(damages->entries, g_memdup2(&want, sizeof want));
            fresh = true;
        }
    }
    if (fresh)
        vv_scrub_kick(pool->scrub); /* D1 */
}

unsigned vv_damages_count(VvPool *pool, uint64_t *ret_left_out)
{
    VV_LOCKED(&pool->damages->lock);

    *ret_left_out = pool->damages->left_out;
    return g_hash_table_size(pool->damages->entries);
}

bool vv_damage_is_known(VvPool *pool, uint64_t family, VvPlace place)
{
    Entry want = { .family = family, .place = place & ~VV_PLACE_OWN };
    VV_LOCKED(&pool->damages->lock);

    return pool->damages->left_out > 0 || g_hash_table_contains(pool->damages->entries, &want);
}

/* ---- which block: D2 */

/* Those of one family whose block is not known; empty: there are none. */
static uint64_t take_unknown(VvDamages *damages, GArray *places)
{
    GHashTableIter iter;
    gpointer key;
    uint64_t family = 0;
    VV_LOCKED(&damages->lock);

    g_hash_table_iter_init(&iter, damages->entries);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const Entry *entry = key;

        if (entry->block != UINT64_MAX || (family != 0 && entry->family != family))
            continue;
        family = entry->family;
        g_array_append_val(places, entry->place);
    }
    return family;
}

static void set_block(VvDamages *damages, uint64_t family, VvPlace place, uint64_t block)
{
    Entry want = { .family = family, .place = place };
    VV_LOCKED(&damages->lock);
    Entry *entry = g_hash_table_lookup(damages->entries, &want);

    if (entry && block == UINT64_MAX)
        g_hash_table_remove(damages->entries, entry); /* D3 */
    else if (entry)
        entry->block = block;
}

static bool find_blocks(VvPool *pool, bool (*stop)(void *user), void *user)
{
    for (;;) {
        g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(VvPlace));
        uint64_t family = take_unknown(pool->damages, places);
        g_autofree uint64_t *blocks = g_new(uint64_t, places->len);

        if (family == 0)
            return true;
        if (vv_map_find_places(pool->meta, family, (const VvPlace *) (void *) places->data, places->len, stop, user, blocks) != 0)
            return false;
        for (unsigned i = 0; i < places->len; i++)
            set_block(pool->damages, family, g_array_index(places, VvPlace, i), blocks[i]);
    }
}

/* ---- whose */

typedef struct {
    uint64_t branch, epoch;
    char *name;
} Reader;

static void reader_clear(void *data)
{
    g_free(((Reader *) data)->name);
}

/* All that can be read of the family: LUNs first. */
static GArray *readers_of(VvPool *pool, uint64_t family_id)
{
    GArray *readers = g_array_new(FALSE, FALSE, sizeof(Reader));
    VV_META_READ(pool->meta);
    const VvFamily *family = vv_meta_family(pool->meta, family_id);

    g_array_set_clear_func(readers, reader_clear);
    for (unsigned b = 0; family && b < family->branches->len; b++) {
        const VvBranch *branch = g_ptr_array_index(family->branches, b);
        const VvLun *lun = branch->lun != 0 ? vv_meta_lun(pool->meta, branch->lun) : NULL;

        if (lun) {
            Reader reader = { .branch = branch->id, .epoch = UINT64_MAX };
            reader.name = g_strdup(lun->orphan ? "(a removed LUN that is open)" : lun->name);
            g_array_append_val(readers, reader);
        }
    }
    for (unsigned b = 0; family && b < family->branches->len; b++) {
        const VvBranch *branch = g_ptr_array_index(family->branches, b);

        for (unsigned i = 0; i < branch->points->len; i++) {
            const VvSnapshot *point = g_ptr_array_index(branch->points, i);
            const VvLun *lun = vv_meta_lun(pool->meta, point->lun);
            Reader reader = { .branch = branch->id, .epoch = point->epoch };

            if (point->hidden && !point->orphan)
                continue;
            reader.name = point->orphan || !lun ? g_strdup("(a removed snapshot that is open)")
                                                : g_strdup_printf("%s@%s", lun->name, point->name);
            g_array_append_val(readers, reader);
        }
    }
    return readers;
}

static GPtrArray *objects_of(VvPool *pool, const Entry *entry)
{
    GPtrArray *objects = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) readers = readers_of(pool, entry->family);

    for (unsigned i = 0; i < readers->len; i++) {
        Reader *reader = &g_array_index(readers, Reader, i);
        VvPage page;
        uint64_t family;
        VvPlace place;

        if (vv_map_lookup(pool->meta, reader->branch, entry->block / VV_REGION_BLOCKS, reader->epoch, &page, NULL, &family) != 0)
            continue;
        place = page.place[entry->block % VV_REGION_BLOCKS];
        if (family == entry->family && place != 0 && vv_place_same(place, entry->place))
            g_ptr_array_add(objects, g_steal_pointer(&reader->name));
    }
    return objects;
}

/* ---- the list */

static void damage_free(void *data)
{
    VvDamage *damage = data;

    g_free(damage->disk);
    g_ptr_array_unref(damage->objects);
    g_free(damage);
}

static void place_on_disk(VvPool *pool, const Entry *entry, VvDamage *damage)
{
    uint32_t number = vv_place_segment(entry->place), block = vv_place_block(entry->place);
    VV_META_READ(pool->meta);
    const VvSegment *segment = vv_meta_segment(pool->meta, entry->family, number);
    const VvDiskInfo *disk = segment ? vv_meta_disk(pool->meta, segment->copies[0].disk_id) : NULL;

    damage->disk = g_strdup(disk ? disk->name : "");
    if (segment)
        damage->disk_offset = VV_LABEL_BYTES + ((uint64_t) segment->copies[0].unit << VV_SEGMENT_SHIFT_MIN) +
                              ((uint64_t) block << VV_BLOCK_SHIFT);
}

static int by_disk(const void *a, const void *b)
{
    const VvDamage *x = *(VvDamage *const *) a, *y = *(VvDamage *const *) b;
    int order = strcmp(x->disk, y->disk);

    return order != 0 ? order : x->disk_offset < y->disk_offset ? -1 : x->disk_offset > y->disk_offset;
}

GPtrArray *vv_damages_list(VvPool *pool, unsigned most, bool (*stop)(void *user), void *user)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(damage_free);
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    GHashTableIter iter;
    gpointer key;

    (void) find_blocks(pool, stop, user);
    pthread_mutex_lock(&pool->damages->lock);
    g_hash_table_iter_init(&iter, pool->damages->entries);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (((const Entry *) key)->block != UINT64_MAX)
            g_array_append_vals(entries, key, 1);
    pthread_mutex_unlock(&pool->damages->lock);
    for (unsigned i = 0; i < entries->len && list->len < most; i++) {
        const Entry *entry = &g_array_index(entries, Entry, i);
        VvDamage *damage = g_new0(VvDamage, 1);

        *damage = (VvDamage){ .kind = entry->kind, .told = entry->told, .family = entry->family, .place = entry->place };
        damage->offset = entry->block << VV_BLOCK_SHIFT;
        damage->objects = objects_of(pool, entry);
        place_on_disk(pool, entry, damage);
        if (damage->objects->len > 0) {
            g_ptr_array_add(list, damage);
            continue;
        }
        damage_free(damage);
        set_block(pool->damages, entry->family, entry->place, UINT64_MAX); /* D3 */
    }
    g_ptr_array_sort(list, by_disk);
    return list;
}

#define NAMES_TOLD 8u

char *vv_damage_text(const VvDamage *damage)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "disk %s %s at %" G_GUINT64_FORMAT ": ", damage->disk,
        damage->kind == VV_DAMAGE_SUM ? "holds wrong bytes" : "cannot be read", damage->disk_offset);
    for (unsigned i = 0; i < damage->objects->len && i < NAMES_TOLD; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", (const char *) g_ptr_array_index(damage->objects, i));
    if (damage->objects->len > NAMES_TOLD)
        g_string_append_printf(text, " and %u more", damage->objects->len - NAMES_TOLD);
    g_string_append_printf(text, " at %" G_GUINT64_FORMAT, damage->offset);
    return g_string_free(text, FALSE);
}

/* ---- events */

static bool mark_told(VvDamages *damages, const VvDamage *damage)
{
    Entry want = { .family = damage->family, .place = damage->place };
    VV_LOCKED(&damages->lock);
    Entry *entry = g_hash_table_lookup(damages->entries, &want);

    if (!entry || entry->told)
        return false;
    entry->told = true;
    return true;
}

void vv_damages_tell(VvPool *pool, bool (*stop)(void *user), void *user)
{
    g_autoptr(GPtrArray) list = vv_damages_list(pool, VV_DAMAGES_MAX, stop, user);

    for (unsigned i = 0; i < list->len; i++) {
        const VvDamage *damage = g_ptr_array_index(list, i);
        g_autofree char *text = NULL;

        if (damage->told || !mark_told(pool->damages, damage))
            continue;
        text = vv_damage_text(damage);
        vv_pool_event(pool, VV_SEVERITY_ERROR, "damage", damage->disk, "%s", text);
    }
}
