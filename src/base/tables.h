/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of elements of one size whose first bytes are their key, in memory of slab.h: a set by hash, and one in order. Elements stay where
 * they are until they go. Whoever shares one locks it; looking changes nothing. */
#ifndef VV_TABLES_H
#define VV_TABLES_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- by hash */
typedef struct VvSetNode VvSetNode;
typedef struct {
    GHashFunc hash;
    GEqualFunc equal;
    size_t element_bytes;
    unsigned count, bucket_count; /* the latter a power of two; 0: nothing was added yet */
    VvSetNode **buckets;          /* owned */
} VvSet;
typedef struct {
    VvSetNode *node; /* the next */
    unsigned bucket; /* of those after it */
} VvSetIter;

void vv_set_init(VvSet *set, GHashFunc hash, GEqualFunc equal, size_t element_bytes);
void vv_set_clear(VvSet *set); /* to as it was after init */
void vv_set_empty(VvSet *set); /* of its elements; for who fills it again and again: a small set keeps its memory */
/* NULL: there is none. */
void *vv_set_find(const VvSet *set, const void *key);
/* A copy of @element, whose key is not there yet. */
void *vv_set_add(VvSet *set, const void *element);
/* All for which it is true. */
void vv_set_remove_if(VvSet *set, bool (*is_wanted)(const void *element));
/* Each once, while the set does not change: begin, then next until NULL. */
void vv_set_begin(const VvSet *set, VvSetIter *ret_iter);
void *vv_set_next(const VvSet *set, VvSetIter *iter);

/* ---- in order */
#define VV_SORTED_HEIGHT_MAX 10u /* a quarter of each level is in the one above: a million elements and more */
typedef struct {
    int (*compare)(const void *a, const void *b); /* of two keys */
    size_t element_bytes;
    unsigned count;
    uint32_t random;
    void *first[VV_SORTED_HEIGHT_MAX]; /* owned */
} VvSorted;

void vv_sorted_init(VvSorted *sorted, int (*compare)(const void *a, const void *b), size_t element_bytes);
void vv_sorted_clear(VvSorted *sorted); /* to as it was after init; what elements own is the caller's affair */
void *vv_sorted_find(const VvSorted *sorted, const void *key);
void *vv_sorted_at_or_after(const VvSorted *sorted, const void *key);
void *vv_sorted_first(const VvSorted *sorted);
void *vv_sorted_next(const void *element);
/* A copy of @element, whose key is not there yet. */
void *vv_sorted_add(VvSorted *sorted, const void *element);

#endif
