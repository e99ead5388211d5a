/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A map that holds what another node describes (docs/cluster-daemon.md, "Guests"): it is opened read-only, so nothing of it is ever stored, and its
 * entries have the numbers of the other's. Ops make and remove its objects; what ops would work out from data that is not here is set. */
#ifndef VV_DESCRIBED_H
#define VV_DESCRIBED_H

#include "meta.h"

/* Of a LUN or a snapshot; what an object does not have is not looked at. */
typedef struct {
    uint64_t id;
    VvUuid uuid;
    uint64_t size_bytes, used_blocks, created_ns, mtime_ns, atime_ns, ctime_ns;
    bool elastic;
    bool content;  /* for who calls: what a LUN holds is another than before */
    char *origin;  /* owned by who calls; of a LUN */
} VvMetaDescribed;

/* vv_meta_apply of @ops as entry @index, which may be any, and then of @described, of objects that are there (others are passed over). The map
 * must have been opened read-only (asserted). */
int vv_meta_apply_described(VvMeta *meta, uint64_t index, const VvOps *ops, const VvMetaDescribed *described, unsigned count);

#endif
