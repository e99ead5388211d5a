/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks that a family may use. In stored form, in the tail of a family and in a LUN_CREATE: ids, u64 each, strictly
 * ascending, at least one, at most VV_FAMILY_DISKS_MAX. What is not so is damage. */
#include "disk_set.h"

#include <string.h>

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

VvDiskSet *vv_disk_set_new(const uint64_t *ids, unsigned count)
{
    g_assert(count > 0 && count <= VV_FAMILY_DISKS_MAX);
    VvDiskSet *set = g_malloc(sizeof *set + count * sizeof set->ids[0]);
    set->count = count;
    memcpy(set->ids, ids, count * sizeof set->ids[0]);
    qsort(set->ids, count, sizeof set->ids[0], by_id);
    return set;
}

VvDiskSet *vv_disk_set_copy(const VvDiskSet *set)
{
    return set != NULL ? g_memdup2(set, sizeof *set + set->count * sizeof set->ids[0]) : NULL;
}

bool vv_disk_set_has(const VvDiskSet *set, uint64_t id)
{
    return set == NULL || bsearch(&id, set->ids, set->count, sizeof set->ids[0], by_id) != NULL;
}

bool vv_disk_set_equal(const VvDiskSet *a, const VvDiskSet *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->count == b->count && memcmp(a->ids, b->ids, a->count * sizeof a->ids[0]) == 0;
}

void vv_disk_set_write(const VvDiskSet *set, GByteArray *out)
{
    for (unsigned i = 0; i < set->count; i++)
        vv_write_u64(out, set->ids[i]);
}

VvDiskSet *vv_disk_set_read(VvReader *in, size_t length_bytes)
{
    const uint8_t *bytes = vv_read_bytes(in, length_bytes);
    uint64_t ids[VV_FAMILY_DISKS_MAX];
    unsigned count = (unsigned) (length_bytes / sizeof ids[0]);
    bool good = bytes != NULL && length_bytes % sizeof ids[0] == 0 && count > 0 && count <= VV_FAMILY_DISKS_MAX;
    for (unsigned i = 0; good && i < count; i++) {
        ids[i] = vv_get_u64(bytes + i * sizeof ids[0]);
        good = i == 0 || ids[i - 1] < ids[i];
    }
    if (!good)
        in->bad = true;
    return good ? vv_disk_set_new(ids, count) : NULL;
}
