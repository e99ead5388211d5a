/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay, for the files of meta/ alone. */
#ifndef VV_OVERLAY_H
#define VV_OVERLAY_H

#include "page.h"
#include "tables.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- overlay: pages changed since a checkpoint. Two generations: one filling, one being written. */
typedef struct {
    uint64_t epoch;
    uint8_t *bytes; /* NULL: the page was removed */
    uint16_t length_bytes;
} VvOverlayPage;

typedef struct {
    VvPageKey key; /* first: what it is sorted by */
    bool added;    /* or removed */
} VvOverlayIndex;

typedef struct {
    VvSorted regions; /* (branch, region) and its versions, newest first */
    VvSorted index;   /* VvOverlayIndex, in index order */
    VvSet sums;       /* VvSumPiece as its own key: whole, as changed (sums.c) */
    size_t bytes;
} VvOverlay;

void vvm_overlay_init(VvOverlay *overlay);
void vvm_overlay_clear(VvOverlay *overlay);
/* Takes a copy of @bytes; NULL removes. */
void vvm_overlay_put(VvOverlay *overlay, const VvPageKey *key, const uint8_t *bytes, size_t length_bytes);
void vvm_overlay_index(VvOverlay *overlay, const VvPageKey *key, bool added);
/* The newest version at or below @epoch, or the oldest at or above it; removed ones count. NULL: none. */
const VvOverlayPage *vvm_overlay_at_or_below(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t epoch);
const VvOverlayPage *vvm_overlay_at_or_above(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t epoch);
/* The first index change at or after @key (in index order, any branch). */
bool vvm_overlay_index_next(const VvOverlay *overlay, const VvPageKey *key, VvPageKey *ret_key, bool *ret_added);
/* The first region at or after @region with any version, removed ones too. */
bool vvm_overlay_next_region(const VvOverlay *overlay, uint64_t branch, uint64_t region, uint64_t *ret_region);
typedef void (*VvOverlayVisit)(void *user, const VvPageKey *key, const VvOverlayPage *page);
void vvm_overlay_foreach(const VvOverlay *overlay, VvOverlayVisit visit, void *user);
typedef void (*VvOverlayIndexVisit)(void *user, const VvPageKey *key, bool added);
void vvm_overlay_index_foreach(const VvOverlay *overlay, VvOverlayIndexVisit visit, void *user);

#endif
