/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A choice of disks: where a family's segments may lie. NULL stands for any disk of the pool, in every function. */
#ifndef VV_DISK_SET_H
#define VV_DISK_SET_H

#include "codec.h"
#include "limits.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    uint32_t count; /* 1 to VV_FAMILY_DISKS_MAX */
    uint64_t ids[]; /* strictly ascending */
} VvDiskSet;        /* freed by g_free */

/* @ids: @count different ones, in any order. Newly allocated. */
VvDiskSet *vv_disk_set_new(const uint64_t *ids, unsigned count);
VvDiskSet *vv_disk_set_copy(const VvDiskSet *set);
bool vv_disk_set_has(const VvDiskSet *set, uint64_t id);
bool vv_disk_set_equal(const VvDiskSet *a, const VvDiskSet *b);
/* Stored form; @set is not NULL. Its length is 8 bytes a disk. */
void vv_disk_set_write(const VvDiskSet *set, GByteArray *out);
/* The next @length_bytes as a set. NULL, and @in is bad: past the end, none, too many, not ascending. */
VvDiskSet *vv_disk_set_read(VvReader *in, size_t length_bytes);

#endif
