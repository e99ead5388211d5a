/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of the I/O path: objects of all sizes from several threads; what is left where the kernel gives nothing; and the tables in it. */
#include "limits.h"
#include "slab.h"
#include "tables.h"
#include "util.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define MALLOCED true
#else
#define MALLOCED false
#endif

#define OBJECTS 2000u

typedef struct {
    uint32_t random;
    uint8_t *objects[OBJECTS];
    size_t bytes[OBJECTS];
} Churn;

static uint32_t draw(uint32_t *random)
{
    *random = *random * 1664525 + 1013904223;
    return *random >> 8;
}

static void put_one(Churn *churn, unsigned i)
{
    for (size_t k = 0; churn->objects[i] && k < churn->bytes[i]; k += 97)
        g_assert_cmpuint(churn->objects[i][k], ==, i % 251);
    vv_slab_put(g_steal_pointer(&churn->objects[i]));
}

/* Each object keeps what was put into it until it is put. */
static void *churn_main(void *user)
{
    Churn *churn = user;
    for (unsigned n = 0; n < 20 * OBJECTS; n++) {
        unsigned i = draw(&churn->random) % OBJECTS;
        put_one(churn, i);
        churn->bytes[i] = 1 + draw(&churn->random) % (n % 64 == 0 ? 100000 : 4u << draw(&churn->random) % 10);
        churn->objects[i] = vv_slab_get(churn->bytes[i]);
        g_assert_cmpuint((uintptr_t) churn->objects[i] % 16, ==, 0);
        memset(churn->objects[i], (int) (i % 251), churn->bytes[i]);
        if (n % 8 == 0) {
            churn->bytes[i] += 1 + draw(&churn->random) % 300;
            churn->objects[i] = vv_slab_renew(churn->objects[i], churn->bytes[i]);
            memset(churn->objects[i] + churn->bytes[i] - 1, (int) (i % 251), 1);
            memset(churn->objects[i], (int) (i % 251), churn->bytes[i]);
        }
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        put_one(churn, i);
    return NULL;
}

static void test_churn(void)
{
    pthread_t threads[3];
    Churn *churns = g_new0(Churn, G_N_ELEMENTS(threads));
    VvSlabStat stat;
    vv_slab_start();
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        churns[i].random = i;
        g_assert_cmpint(pthread_create(&threads[i], NULL, churn_main, &churns[i]), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        pthread_join(threads[i], NULL);
    vv_slab_stat(&stat);
    if (!MALLOCED) /* all came back, save a chunk of each size */
        g_assert_cmpuint(stat.resident_bytes - stat.free_bytes, <=, 40 * VV_SLAB_CHUNK_BYTES);
    vv_slab_stop();
    g_free(churns);
}

/* ---- the kernel gives nothing */

#define HELD_MAX (2 * VV_SLAB_RESERVE_BYTES / 4096)

typedef struct {
    void *held[HELD_MAX];
    unsigned count;
    unsigned rooms;
} Starved;

static void room_cb(void *user)
{
    g_atomic_int_inc((gint *) &((Starved *) user)->rooms);
}

static void take_until(Starved *starved, bool (*enough)(void))
{
    while (!enough() && starved->count < HELD_MAX)
        starved->held[starved->count++] = vv_slab_get(4096);
    g_assert_cmpuint(starved->count, <, HELD_MAX);
}

static void test_starved(void)
{
    g_autofree Starved *starved = g_new0(Starved, 1);
    VvSlabStat stat;
    if (MALLOCED) {
        g_test_skip("all memory is malloc's");
        return;
    }
    vv_slab_start();
    vv_slab_watch(room_cb, starved);
    vv_slab_starve(VV_SLAB_RESERVE_BYTES);
    g_assert_false(vv_slab_is_low());
    void *cached = vv_slab_try(5000);
    g_assert_nonnull(cached);
    vv_slab_put(cached);

    take_until(starved, vv_slab_is_low);
    g_assert_false(vv_slab_is_short());
    g_assert_null(vv_slab_try(20000)); /* caches go without */
    take_until(starved, vv_slab_is_short);
    vv_slab_stat(&stat);
    uint64_t waits = stat.waits;
    void *last = vv_slab_get(5000); /* who is under way does not */
    memset(last, 1, 5000);
    vv_slab_put(last);
    vv_slab_stat(&stat);
    g_assert_cmpuint(stat.waits, ==, waits);

    while (starved->count > 0)
        vv_slab_put(starved->held[--starved->count]);
    g_assert_false(vv_slab_is_low());
    uint64_t until_ms = vv_monotonic_ms() + 20000;
    while (g_atomic_int_get((gint *) &starved->rooms) == 0 && vv_monotonic_ms() < until_ms)
        g_usleep(1000);
    g_assert_cmpuint(starved->rooms, >, 0); /* who waits was told */
    vv_slab_starve(SIZE_MAX);
    vv_slab_unwatch(room_cb, starved);
    vv_slab_stop();
}

/* Without a reserve and without anybody who is in a hurry: as malloc. */
static void test_not_started(void)
{
    uint8_t *memory = vv_slab_get0(3 << 20);
    g_assert_cmpuint(memory[(3 << 20) - 1], ==, 0);
    vv_slab_put(memory);
    g_assert_null(vv_slab_copy(NULL, 0));
    vv_slab_put(NULL);
    vv_slab_put(g_malloc(10)); /* what somebody else made */
    g_assert_false(vv_slab_is_low());
}

/* ---- tables against GLib's */

typedef struct {
    uint64_t key, value;
} Element;

static guint hash(gconstpointer key)
{
    return (guint) ((const Element *) key)->key;
}

static gboolean equal(gconstpointer a, gconstpointer b)
{
    return ((const Element *) a)->key == ((const Element *) b)->key;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const Element *) a)->key, y = ((const Element *) b)->key;
    return x < y ? -1 : x > y;
}

static gint compare_keys(gconstpointer a, gconstpointer b, gpointer user)
{
    (void) user;
    return compare(a, b);
}

static bool is_odd(const void *element)
{
    return ((const Element *) element)->key % 2;
}

static void test_set(void)
{
    uint32_t random = 7;
    VvSet set;
    VvSetIter iter;
    Element *element;
    g_autoptr(GHashTable) other = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    vv_set_init(&set, hash, equal, sizeof(Element));
    for (unsigned i = 0; i < 20000; i++) {
        Element e = { .key = draw(&random) % 8192, .value = i };
        element = vv_set_find(&set, &e);
        g_assert_cmpint(element != NULL, ==, g_hash_table_contains(other, &e.key));
        if (element == NULL) {
            vv_set_add(&set, &e);
            g_hash_table_add(other, g_memdup2(&e.key, sizeof e.key));
        }
    }
    g_assert_cmpuint(set.count, ==, g_hash_table_size(other));
    vv_set_remove_if(&set, is_odd);
    unsigned count = 0;
    vv_set_begin(&set, &iter);
    while ((element = vv_set_next(&set, &iter))) {
        g_assert_cmpuint(element->key % 2, ==, 0);
        g_assert_true(g_hash_table_contains(other, &element->key));
        count++;
    }
    g_assert_cmpuint(count, ==, set.count);
    vv_set_clear(&set);
    g_assert_null(vv_set_find(&set, &(Element){ .key = 2 }));
    vv_set_begin(&set, &iter);
    g_assert_null(vv_set_next(&set, &iter));
}

static void test_sorted(void)
{
    uint32_t random = 7;
    VvSorted sorted;
    g_autoptr(GTree) other = g_tree_new_full(compare_keys, NULL, g_free, NULL);
    vv_sorted_init(&sorted, compare, sizeof(Element));
    g_assert_null(vv_sorted_first(&sorted));
    for (unsigned i = 0; i < 20000; i++) {
        Element e = { .key = draw(&random) % 8192, .value = i };
        const Element *found = vv_sorted_find(&sorted, &e), *next = vv_sorted_at_or_after(&sorted, &e);
        GTreeNode *node = g_tree_lower_bound(other, &e);
        g_assert_cmpint(found != NULL, ==, g_tree_lookup(other, &e) != NULL);
        g_assert_cmpint(next != NULL, ==, node != NULL);
        if (next)
            g_assert_cmpuint(next->key, ==, ((const Element *) g_tree_node_key(node))->key);
        if (!found) {
            Element *added = vv_sorted_add(&sorted, &e), *copy = g_memdup2(&e, sizeof e);
            g_assert_cmpuint(added->value, ==, i);
            g_tree_insert(other, copy, copy);
        }
    }
    const Element *at = vv_sorted_first(&sorted);
    for (GTreeNode *node = g_tree_node_first(other); node; node = g_tree_node_next(node)) {
        g_assert_cmpuint(at->key, ==, ((const Element *) g_tree_node_key(node))->key);
        at = vv_sorted_next(at);
    }
    g_assert_null(at);
    g_assert_cmpuint(sorted.count, ==, (unsigned) g_tree_nnodes(other));
    vv_sorted_clear(&sorted);
    g_assert_null(vv_sorted_first(&sorted));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/slab/not-started", test_not_started);
    g_test_add_func("/slab/churn", test_churn);
    g_test_add_func("/slab/starved", test_starved);
    g_test_add_func("/tables/set", test_set);
    g_test_add_func("/tables/sorted", test_sorted);
    return g_test_run();
}
