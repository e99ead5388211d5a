/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables: chained buckets that double when there is memory to spare (else chains get longer), and a skip list.
 *
 *     element of the skip list   height - 1 ... 0: the elements behind it on these levels | height | the element itself */
#include "tables.h"

#include "slab.h"

#include <string.h>

/* ---- by hash */

#define BUCKETS_MIN 64u
#define BUCKETS_KEPT 256u /* by vv_set_empty: 2 KiB */

struct VvSetNode {
    VvSetNode *next;
    _Alignas(8) uint8_t element[];
};

void vv_set_init(VvSet *set, GHashFunc hash, GEqualFunc equal, size_t element_bytes)
{
    *set = (VvSet){ .hash = hash, .equal = equal, .element_bytes = element_bytes };
}

void vv_set_clear(VvSet *set)
{
    for (unsigned i = 0; i < set->bucket_count; i++) {
        VvSetNode *node = set->buckets[i];
        while (node) {
            VvSetNode *next = node->next;
            vv_slab_put(node);
            node = next;
        }
    }
    vv_slab_put(set->buckets);
    vv_set_init(set, set->hash, set->equal, set->element_bytes);
}

void vv_set_empty(VvSet *set)
{
    if (set->bucket_count > BUCKETS_KEPT) {
        vv_set_clear(set);
        return;
    }
    for (unsigned i = 0; i < set->bucket_count && set->count > 0; i++) {
        for (VvSetNode *node = set->buckets[i]; node; set->count--) {
            VvSetNode *next = node->next;
            vv_slab_put(node);
            node = next;
        }
        set->buckets[i] = NULL;
    }
}

static VvSetNode **bucket_of(const VvSet *set, const void *key)
{
    uint32_t h = set->hash(key) * 0x9e3779b1u;
    return &set->buckets[(h ^ h >> 15) & (set->bucket_count - 1)];
}

void *vv_set_find(const VvSet *set, const void *key)
{
    VvSetNode *node = set->count > 0 ? *bucket_of(set, key) : NULL;
    while (node && !set->equal(node->element, key))
        node = node->next;
    return node ? node->element : NULL;
}

static void grow(VvSet *set)
{
    unsigned old_count = set->bucket_count, count = old_count ? 2 * old_count : BUCKETS_MIN;
    VvSetNode **old = set->buckets;
    VvSetNode **buckets = old ? vv_slab_try(count * sizeof *buckets) : vv_slab_get(count * sizeof *buckets);
    if (buckets == NULL)
        return;
    memset(buckets, 0, count * sizeof *buckets);
    set->buckets = buckets;
    set->bucket_count = count;
    for (unsigned i = 0; i < old_count; i++) {
        VvSetNode *node = old[i];
        while (node) {
            VvSetNode *next = node->next, **bucket = bucket_of(set, node->element);
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    vv_slab_put(old);
}

void *vv_set_add(VvSet *set, const void *element)
{
    if (set->count >= set->bucket_count)
        grow(set);
    VvSetNode *node = vv_slab_get(sizeof *node + set->element_bytes), **bucket = bucket_of(set, element);
    memcpy(node->element, element, set->element_bytes);
    node->next = *bucket;
    *bucket = node;
    set->count++;
    return node->element;
}

void vv_set_remove_if(VvSet *set, bool (*is_wanted)(const void *element))
{
    for (unsigned i = 0; i < set->bucket_count; i++) {
        VvSetNode **link = &set->buckets[i];
        while (*link) {
            VvSetNode *node = *link;
            if (!is_wanted(node->element)) {
                link = &node->next;
                continue;
            }
            *link = node->next;
            vv_slab_put(node);
            set->count--;
        }
    }
}

void vv_set_begin(const VvSet *set, VvSetIter *ret_iter)
{
    (void) set;
    *ret_iter = (VvSetIter){ NULL, 0 };
}

void *vv_set_next(const VvSet *set, VvSetIter *iter)
{
    while (iter->node == NULL && iter->bucket < set->bucket_count)
        iter->node = set->buckets[iter->bucket++];
    VvSetNode *node = iter->node;
    if (node == NULL)
        return NULL;
    iter->node = node->next;
    return node->element;
}

/* ---- in order */

typedef struct {
    uint64_t height;
} SortedHead;

static void **next_of(const void *element, unsigned level)
{
    return (void **) (void *) ((uint8_t *) element - sizeof(SortedHead)) - 1 - level;
}

static unsigned height_of(const void *element)
{
    const SortedHead *head = (const void *) ((const uint8_t *) element - sizeof(SortedHead));
    return (unsigned) head->height;
}

void vv_sorted_init(VvSorted *sorted, int (*compare)(const void *a, const void *b), size_t element_bytes)
{
    *sorted = (VvSorted){ .compare = compare, .element_bytes = element_bytes, .random = 0x2545f491u };
}

void vv_sorted_clear(VvSorted *sorted)
{
    for (void *element = sorted->first[0], *next; element; element = next) {
        next = *next_of(element, 0);
        vv_slab_put(next_of(element, height_of(element) - 1));
    }
    vv_sorted_init(sorted, sorted->compare, sorted->element_bytes);
}

/* The links on each level to the first element at or after @key; @links may be NULL. */
static void *search(const VvSorted *sorted, const void *key, void ***links)
{
    void **level_links = (void **) sorted->first; /* of the element before it: its link on level 0, the others around it */
    void *before = NULL, *found = NULL;
    for (unsigned level = VV_SORTED_HEIGHT_MAX; level-- > 0;) {
        void **link = before ? next_of(before, level) : &level_links[level];
        while (*link && *link != found && sorted->compare(*link, key) < 0) {
            before = *link;
            link = next_of(before, level);
        }
        found = *link;
        if (links)
            links[level] = link;
    }
    return found;
}

void *vv_sorted_at_or_after(const VvSorted *sorted, const void *key)
{
    return search(sorted, key, NULL);
}

void *vv_sorted_find(const VvSorted *sorted, const void *key)
{
    void *found = search(sorted, key, NULL);
    return found && sorted->compare(found, key) == 0 ? found : NULL;
}

void *vv_sorted_first(const VvSorted *sorted)
{
    return sorted->first[0];
}

void *vv_sorted_next(const void *element)
{
    return *next_of(element, 0);
}

static unsigned draw_height(VvSorted *sorted)
{
    uint32_t x = sorted->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    sorted->random = x;
    unsigned zeroes = (unsigned) __builtin_ctz(x | 1u << 30) / 2;
    return MIN(zeroes + 1, VV_SORTED_HEIGHT_MAX);
}

void *vv_sorted_add(VvSorted *sorted, const void *element)
{
    void **links[VV_SORTED_HEIGHT_MAX];
    unsigned height = draw_height(sorted);
    void **memory = vv_slab_get(height * sizeof *memory + sizeof(SortedHead) + sorted->element_bytes);
    SortedHead *head = (SortedHead *) (void *) (memory + height);
    void *added = memcpy(head + 1, element, sorted->element_bytes);
    head->height = height;
    (void) search(sorted, element, links);
    for (unsigned level = 0; level < height; level++) {
        *next_of(added, level) = *links[level];
        *links[level] = added;
    }
    sorted->count++;
    return added;
}
