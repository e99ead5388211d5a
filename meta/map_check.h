/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much of the map is compared with its checksums before a pool opens. */
#ifndef VV_MAP_CHECK_H
#define VV_MAP_CHECK_H

typedef enum {
    VV_MAP_BY_SIZE, /* all; of one that is larger than VV_MAP_AT_ONCE_BYTES not the leaves */
    VV_MAP_LATE,    /* not the leaves: somebody waits. What they hold is told by errors of the reads that need it, -EUCLEAN or -EIO */
    VV_MAP_WHOLE,   /* all, however large */
    VV_MAP_TRIAL    /* all, with the checksums that vv_store_rebuild has made */
} VvMapCheck;

#endif
