/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leases of the replicated state: a sorted list of ranges. Those of one session and mode that touch are melted into one. */
#include "limits.h"
#include "state_private.h"

int vvs_compare_leases(const VvLease *a, const VvLease *b)
{
    if (a->range.lun != b->range.lun)
        return a->range.lun < b->range.lun ? -1 : 1;
    if (a->range.first != b->range.first)
        return a->range.first < b->range.first ? -1 : 1;
    return a->holder.node < b->holder.node ? -1 : a->holder.node > b->holder.node;
}

static void insert(GArray *leases, VvLease lease)
{
    guint low = 0, high = leases->len;

    while (low < high) {
        guint middle = (low + high) / 2;

        if (vvs_compare_leases(VV_STATE_AT(leases, VvLease, middle), &lease) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    g_array_insert_val(leases, low, lease);
}

static bool same_holder(VvHolder a, VvHolder b)
{
    return a.node == b.node && a.session == b.session;
}

int vv_state_conflict(const VvClusterState *state, VvHolder holder, const VvRange *range, VvLeaseMode mode, unsigned from)
{
    for (guint i = from; i < state->leases->len; i++) {
        const VvLease *lease = VV_STATE_AT(state->leases, VvLease, i);

        if (!vv_ranges_overlap(&lease->range, range))
            continue;
        /* Its own in the other mode too: R is released before W is asked, or two that want more wait for each other. */
        if (same_holder(lease->holder, holder) ? lease->mode != mode : lease->mode == VV_LEASE_WRITE || mode == VV_LEASE_WRITE)
            return (int) i;
    }
    return -1;
}

VvVerdict vvs_grant(VvClusterState *state, uint64_t index, const VvEntry *entry)
{
    VvHolder holder = { entry->f.node, entry->f.session };
    VvLease lease = { .range = entry->f.range, .holder = holder, .mode = entry->f.mode, .index = index };

    if (vv_state_conflict(state, holder, &lease.range, lease.mode, 0) >= 0)
        return VV_VERDICT_CONFLICT;
    if (state->leases->len >= VV_LEASES_MAX)
        return VV_VERDICT_LIMIT;
    for (guint i = 0; i < state->leases->len;) {
        const VvLease *other = VV_STATE_AT(state->leases, VvLease, i);

        if (same_holder(other->holder, holder) && other->mode == lease.mode && other->range.lun == lease.range.lun &&
            other->range.first <= lease.range.end && lease.range.first <= other->range.end) {
            lease.range.first = MIN(lease.range.first, other->range.first);
            lease.range.end = MAX(lease.range.end, other->range.end);
            g_array_remove_index(state->leases, i);
        } else {
            i++;
        }
    }
    insert(state->leases, lease);
    return VV_VERDICT_OK;
}

bool vvs_release(VvClusterState *state, VvHolder holder, const VvRange *range)
{
    g_autoptr(GArray) rest = g_array_new(FALSE, FALSE, sizeof(VvLease));
    guint splits = 0;

    for (guint i = 0; i < state->leases->len; i++) {
        const VvLease *lease = VV_STATE_AT(state->leases, VvLease, i);

        if (same_holder(lease->holder, holder) && vv_ranges_overlap(&lease->range, range))
            splits += lease->range.first < range->first && range->end < lease->range.end;
    }
    if (state->leases->len + splits > VV_LEASES_MAX)
        return false;
    for (guint i = 0; i < state->leases->len;) {
        VvLease lease = *VV_STATE_AT(state->leases, VvLease, i);
        VvLease left = lease, right = lease;

        if (!same_holder(lease.holder, holder) || !vv_ranges_overlap(&lease.range, range)) {
            i++;
            continue;
        }
        g_array_remove_index(state->leases, i);
        left.range.end = range->first;
        right.range.first = range->end;
        if (left.range.first < left.range.end)
            g_array_append_val(rest, left);
        if (right.range.first < right.range.end)
            g_array_append_val(rest, right);
    }
    for (guint i = 0; i < rest->len; i++)
        insert(state->leases, *VV_STATE_AT(rest, VvLease, i));
    return true;
}

void vvs_release_all(VvClusterState *state, VvHolder holder)
{
    for (guint i = 0; i < state->leases->len;) {
        if (same_holder(VV_STATE_AT(state->leases, VvLease, i)->holder, holder))
            g_array_remove_index(state->leases, i);
        else
            i++;
    }
}

bool vv_state_holds(const VvClusterState *state, VvHolder holder, const VvRange *range, VvLeaseMode mode)
{
    uint64_t position = range->first;

    /* Sorted by first, and those of one session do not overlap: one pass. */
    for (guint i = 0; i < state->leases->len && position < range->end; i++) {
        const VvLease *lease = VV_STATE_AT(state->leases, VvLease, i);

        if (lease->range.lun == range->lun && same_holder(lease->holder, holder) && lease->mode >= mode &&
            lease->range.first <= position && position < lease->range.end)
            position = lease->range.end;
    }
    return position >= range->end;
}
